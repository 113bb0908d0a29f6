//! One consistent view whatever others write, and the choice of what is read.

use arrow::array::RecordBatch;
use futures::future::try_join_all;
use serde_json::{Value, json};
use weir_connect::{Connector, CursorWindow, Error, Kind, OnLoss, ReadRequest, SourceContext, StreamReader};
use weir_testkit::Database;

use super::super::Postgres;
use super::{Taken, connection, database, lines, open, server_lines, source, take_all, take_split};

/// A table of about 60 blocks.
const SEED: &str = "CREATE TABLE t (id bigint PRIMARY KEY, v text); \
     INSERT INTO t SELECT i, 'v' || i || repeat('x', 60) FROM generate_series(1, 5000) i";

/// What a concurrent writer does.
const WRITES: &str = "UPDATE t SET v = 'changed' WHERE id % 3 = 0; DELETE FROM t WHERE id % 5 = 0; \
     INSERT INTO t SELECT i, 'new' FROM generate_series(5001, 7000) i";

async fn read(database: &Database, options: Value, request: ReadRequest) -> Result<Vec<String>, Error> {
    let source = source(database.url(), options).await;
    let reader = open(&source, request).await?;
    Ok(lines(&take_all(reader.as_ref()).await?.batches))
}

async fn lane(reader: &dyn StreamReader, lane: usize, lanes: usize) -> Result<Vec<RecordBatch>, Error> {
    let mut taken = Taken::default();
    for split in reader.splits().iter().skip(lane).step_by(lanes) {
        take_split(reader, split, &mut taken).await?;
    }
    Ok(taken.batches)
}

#[tokio::test]
async fn lanes_see_nothing_of_what_is_written_after_the_stream_was_opened() {
    let database = database();
    database.execute(SEED).unwrap();
    let before = server_lines(&database, "SELECT id, v FROM t");
    let source = source(database.url(), json!({ "table": "t", "split_bytes": 32768 })).await;
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    assert!(reader.splits().len() >= 10, "{} splits", reader.splits().len());
    // Some lanes have their session before the writes, the others connect after them.
    let mut first = Taken::default();
    take_split(reader.as_ref(), &reader.splits()[3], &mut first).await.unwrap();
    database.execute(WRITES).unwrap();
    database.execute("VACUUM t").unwrap();
    let lanes = try_join_all((0..4).map(|at| lane(reader.as_ref(), at, 4))).await.unwrap();
    assert_eq!(lines(&lanes.concat()), before);
    assert_ne!(server_lines(&database, "SELECT id, v FROM t"), before);
}

#[tokio::test]
async fn a_transaction_that_is_open_when_the_stream_is_opened_stays_out_of_every_split() {
    let database = database();
    database.execute(SEED).unwrap();
    let before = server_lines(&database, "SELECT id, v FROM t");
    let writer = database.client().await.unwrap();
    writer.batch_execute(&format!("BEGIN; {WRITES}")).await.unwrap();
    let source = source(database.url(), json!({ "table": "t", "split_bytes": 32768 })).await;
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    let half = lane(reader.as_ref(), 0, 2).await.unwrap();
    writer.batch_execute("COMMIT").await.unwrap();
    let rest = lane(reader.as_ref(), 1, 2).await.unwrap();
    assert_eq!(lines(&[half, rest].concat()), before);
}

#[tokio::test]
async fn the_table_cannot_be_rewritten_while_it_is_read() {
    let database = database();
    database.execute(SEED).unwrap();
    let source = source(database.url(), json!({ "table": "t" })).await;
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    let error = database.execute("SET lock_timeout = '50ms'; TRUNCATE t").unwrap_err();
    assert!(format!("{error:?}").contains("lock timeout"), "{error:?}");
    assert_eq!(take_all(reader.as_ref()).await.unwrap().rows(), 5000);
    // The lock goes with the reader.
    drop(reader);
    database.execute("SET lock_timeout = '30s'; TRUNCATE t").unwrap();
}

#[tokio::test]
async fn any_name_can_be_read_by_its_stream_name_and_by_a_quoted_entry() {
    let database = database();
    let names =
        ["a,b", "say \"hi\"", "Grüße 🦀", "t.x", "select", "Mixed Case", "st*r[1]", "{x}", "it's", " lead", "!no", "back\\slash"];
    database.execute("CREATE SCHEMA \"my.schema\"").unwrap();
    for (at, name) in names.iter().enumerate() {
        let quoted = name.replace('"', "\"\"");
        let table = format!("\"my.schema\".\"{quoted}\"");
        database.execute(format!("CREATE TABLE {table} (\"{quoted}\" int); INSERT INTO {table} VALUES ({at})")).unwrap();
        let entry = format!("\"my.schema\".\"{quoted}\"");
        let expected = vec![at.to_string()];
        for options in
            [json!({ "tables": [&entry] }), json!({ "table": &entry }), json!({ "tables": [format!("!none, {entry}")] })]
        {
            let rows = read(&database, options.clone(), ReadRequest::default()).await;
            assert_eq!(rows.map_err(|error| error.to_string()), Ok(expected.clone()), "{options}");
        }
    }
    // The names that discovery gives are names to open.
    let context = SourceContext {
        connection: connection(database.url()),
        options: json!({}),
        on_loss: OnLoss::default(),
        parallelism: 1,
        base_dir: ".".into(),
    };
    let found = Postgres::default().discover(context).await.unwrap();
    assert_eq!(found.len(), names.len());
    let all = source(database.url(), json!({ "tables": ["\"my.schema\".*"] })).await;
    for stream in found {
        let at = names.iter().position(|name| stream.schema.field(0).name() == name).unwrap();
        let request = ReadRequest { stream: stream.name.clone(), ..ReadRequest::default() };
        let reader = open(&all, request).await.unwrap();
        assert_eq!(lines(&take_all(reader.as_ref()).await.unwrap().batches), [at.to_string()], "{}", stream.name);
    }
}

#[tokio::test]
async fn patterns_choose_tables_once_and_views_only_by_name() {
    let database = database();
    database
        .execute(
            "CREATE SCHEMA s; CREATE TABLE order_a (id int); CREATE TABLE order_b (id int); CREATE TABLE order_tmp (id int); CREATE TABLE other (id int); \
             CREATE TABLE s.order_c (id int); CREATE VIEW order_v AS SELECT 1 AS id; \
             CREATE TABLE order_p (id int) PARTITION BY LIST (id); CREATE TABLE order_p1 PARTITION OF order_p FOR VALUES IN (1)",
        )
        .unwrap();
    let cases: [(&[&str], &[&str]); 8] = [
        (&["order_*", "!order_tmp"], &["public.order_a", "public.order_b", "public.order_p"]),
        (&["order_a,order_b"], &["public.order_a", "public.order_b"]),
        (&["order_?", "order_a", "!*_p"], &["public.order_a", "public.order_b"]),
        (&["*.order_[ac]"], &["public.order_a", "s.order_c"]),
        (&["order_v"], &["public.order_v"]),
        (&["order_p1"], &["public.order_p1"]),
        (&["{other,order_a}"], &["public.order_a", "public.other"]),
        (&["{other,order_a}x", "other"], &[]),
    ];
    for (tables, expected) in cases {
        let source = source(database.url(), json!({ "tables": tables })).await;
        let names = source.streams().await.map(|streams| streams.into_iter().map(|stream| stream.name).collect::<Vec<_>>());
        match names {
            Ok(names) => assert_eq!(names, expected, "{tables:?}"),
            Err(error) => {
                assert!(expected.is_empty(), "{tables:?}: {error}");
                assert_eq!((error.code(), error.kind()), ("WEIR-PG-007", Kind::NotFound));
                assert!(error.to_string().contains("public.order_a"), "it lists what is there: {error}");
            }
        }
    }
}

#[tokio::test]
async fn everything_excluded_is_an_error_and_not_an_empty_run() {
    let database = database();
    database.execute("CREATE TABLE a (id int)").unwrap();
    let source = source(database.url(), json!({ "tables": ["a", "!a"] })).await;
    assert_eq!(source.streams().await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_query_reads_with_bound_values_which_are_never_part_of_the_text() {
    let database = database();
    database
        .execute("CREATE TABLE q (id int, v text, at timestamptz); INSERT INTO q SELECT i, 'v' || i, timestamptz '2024-01-01 00:00:00+00' + i * interval '1 day' FROM generate_series(1, 9) i")
        .unwrap();
    let request = |lower: Option<&str>| ReadRequest {
        cursor: lower.map(|lower| CursorWindow { column: "id".into(), lower: Some(lower.into()) }),
        last_run_time: Some("2024-01-08T12:00:00Z".into()),
        ..ReadRequest::default()
    };
    let read = |query: &str, lower: Option<&str>| read(&database, json!({ "query": query }), request(lower));
    let some = |ids: &[i32]| ids.iter().map(|id| format!("{id}|v{id}")).collect::<Vec<_>>();
    assert_eq!(read("SELECT id, v FROM q WHERE id < 3 -- all; of it\n ;", None).await.unwrap(), some(&[1, 2]));
    assert_eq!(read("SELECT id, v FROM q WHERE at > '${last_run_time}'", None).await.unwrap(), some(&[8, 9]));
    assert_eq!(read("SELECT id, v FROM q WHERE id >= ${cursor} AND id <> 9", Some("8")).await.unwrap(), some(&[8]));
    assert_eq!(read("SELECT id, v FROM q", Some("9")).await.unwrap(), some(&[9]));
    assert_eq!(read("WITH x AS (SELECT 1) SELECT id, v FROM q ORDER BY id DESC LIMIT 1", None).await.unwrap(), some(&[9]));
    // A value that would be an attack as text is just no number.
    let error = read("SELECT id, v FROM q WHERE id >= ${cursor}", Some("0) OR true; DROP TABLE q; --")).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-015", Kind::Data), "{error}");
    assert_eq!(server_lines(&database, "SELECT count(*) FROM q"), ["9"]);
}

#[tokio::test]
async fn a_query_that_cannot_be_a_stream_says_why() {
    let database = database();
    database.execute("CREATE TABLE q (id int)").unwrap();
    for (query, code, kind) in [
        ("SELECT id, id FROM q", "WEIR-PG-024", Kind::Schema),
        ("SELECT nothing FROM q", "WEIR-PG-008", Kind::Schema),
        ("SELECT * FROM absent", "WEIR-PG-007", Kind::NotFound),
        ("SELEC 1", "WEIR-PG-014", Kind::Spec),
        ("SELECT id FROM q WHERE id > '${unknown}' OR id > ${unknown}", "WEIR-PG-022", Kind::Spec),
    ] {
        let error = read(&database, json!({ "query": query }), ReadRequest::default()).await.unwrap_err();
        assert_eq!((error.code(), error.kind()), (code, kind), "{query}: {error}");
    }
    // A query is read in a read-only transaction.
    database.execute("CREATE FUNCTION add() RETURNS int LANGUAGE sql AS 'INSERT INTO q VALUES (1) RETURNING id'").unwrap();
    let error = read(&database, json!({ "query": "SELECT add() AS id" }), ReadRequest::default()).await.unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
    assert_eq!(server_lines(&database, "SELECT count(*) FROM q"), ["0"]);
}

#[tokio::test]
async fn a_cursor_reads_from_its_value_on_with_the_equal_ones() {
    let database = database();
    database.execute("CREATE TABLE c (id int, at timestamp); INSERT INTO c VALUES (1, '2024-01-01'), (2, '2024-01-02'), (3, '2024-01-02'), (4, '2024-01-03'), (5, NULL)").unwrap();
    let from = |lower: Option<&str>| {
        let cursor = Some(CursorWindow { column: "at".into(), lower: lower.map(Into::into) });
        let request = ReadRequest { cursor, columns: Some(vec!["id".into()]), ..ReadRequest::default() };
        read(&database, json!({ "table": "c", "cursor": "at" }), request)
    };
    assert_eq!(from(None).await.unwrap(), ["1", "2", "3", "4", "5"]);
    assert_eq!(from(Some("2024-01-02T00:00:00")).await.unwrap(), ["2", "3", "4"]);
    assert_eq!(from(Some("2025-01-01T00:00:00")).await.unwrap(), Vec::<String>::new());
}
