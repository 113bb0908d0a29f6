//! Relations of every shape: each row once, each column by its name.

use serde_json::json;
use weir_connect::{Kind, OnLoss, ReadRequest, WriteMode};
use weir_testkit::Database;

use super::{
    Taken, connection, copy, database, lines, open, run, server_lines, sink, source, source_at, stranger, take_all, target,
    values,
};

/// Reads a table in splits of one block and compares it with what the server says. Returns how many splits it took.
async fn whole(database: &Database, table: &str, list: &str) -> usize {
    let source = source(database.url(), json!({ "table": table, "split_bytes": 8192 })).await;
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    let names: Vec<String> = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names.join(", "), list, "columns of {table}");
    let taken = take_all(reader.as_ref()).await.unwrap();
    assert_eq!(lines(&taken.batches), server_lines(database, &format!("SELECT {list} FROM {table}")), "rows of {table}");
    reader.splits().len()
}

#[tokio::test]
async fn an_empty_table_is_one_split_with_a_schema_and_makes_an_empty_table() {
    let database = database();
    database.execute("CREATE TABLE e (id int, v varchar(7))").unwrap();
    assert_eq!(whole(&database, "e", "id, v").await, 1);
    let taken: Taken = copy(&database, "e", "e_copy", OnLoss::default()).await.unwrap();
    assert_eq!(taken.rows(), 0);
    assert_eq!(
        server_lines(&database, "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'e_copy'"),
        ["id|integer", "v|character varying"]
    );
}

#[tokio::test]
async fn a_table_as_wide_as_the_server_allows_arrives_whole() {
    let database = database();
    let columns: Vec<String> = (0..1600).map(|at| format!("c{at} int")).collect();
    let row: Vec<String> = (0..1600).map(|at| if at % 3 == 0 { "NULL".into() } else { at.to_string() }).collect();
    database
        .execute(format!("CREATE TABLE wide ({}); INSERT INTO wide VALUES ({})", columns.join(", "), row.join(", ")))
        .unwrap();
    copy(&database, "wide", "wide_copy", OnLoss::default()).await.unwrap();
    assert_eq!(values(&database, "SELECT wide_copy FROM wide_copy"), values(&database, "SELECT wide FROM wide"));
}

#[tokio::test]
async fn a_large_cell_and_a_toasted_one_arrive_byte_by_byte() {
    let database = database();
    database
        .execute(
            "CREATE TABLE big (id int, v text); ALTER TABLE big ALTER v SET STORAGE EXTERNAL; \
             INSERT INTO big SELECT 1, string_agg(md5(i::text), 'ü') FROM generate_series(1, 200000) i; INSERT INTO big VALUES (2, repeat('ab', 5000))",
        )
        .unwrap();
    copy(&database, "big", "big_copy", OnLoss::default()).await.unwrap();
    let digest = |table: &str| server_lines(&database, &format!("SELECT id, octet_length(v), md5(v) FROM {table}"));
    assert_eq!(digest("big_copy"), digest("big"));
    assert!(digest("big")[0].starts_with("1|6799998|"), "nearly seven megabytes: {}", digest("big")[0]);
}

#[tokio::test]
async fn partitions_and_children_give_each_row_once_and_each_column_by_name() {
    let database = database();
    database
        .execute(
            "CREATE TABLE p (id int, v text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1000); \
             CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (1000) TO (2000) PARTITION BY RANGE (id); \
             CREATE TABLE p21 (v text, gone int, id int); ALTER TABLE p21 DROP COLUMN gone; ALTER TABLE p2 ATTACH PARTITION p21 FOR VALUES FROM (1000) TO (2000); \
             CREATE TABLE p9 PARTITION OF p DEFAULT; INSERT INTO p SELECT i, 'v' || i FROM generate_series(1, 2500) i; \
             CREATE TABLE parent (id int, v text); CREATE TABLE child (extra int) INHERITS (parent); \
             INSERT INTO parent VALUES (1, 'own'); INSERT INTO child VALUES (2, 'inherited', 3)",
        )
        .unwrap();
    assert!(whole(&database, "p", "id, v").await >= 12);
    assert_eq!(whole(&database, "parent", "id, v").await, 2);
    whole(&database, "child", "id, v, extra").await;
    whole(&database, "p21", "v, id").await;
}

#[tokio::test]
async fn a_partitioned_table_can_be_read_with_a_privilege_on_itself_only() {
    let database = database();
    let (role, connection) = stranger(&database);
    database
        .execute(format!(
            "CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1, 2, 3); \
             INSERT INTO p VALUES (1), (2), (3); GRANT SELECT ON p TO {role}"
        ))
        .unwrap();
    let source = source_at(connection, json!({ "table": "p" }), OnLoss::default()).await;
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    assert_eq!(lines(&take_all(reader.as_ref()).await.unwrap().batches), ["1", "2", "3"]);
}

#[tokio::test]
async fn generated_identity_and_dropped_columns_are_read_as_they_stand() {
    let database = database();
    database
        .execute(
            "CREATE TABLE g (id bigint GENERATED ALWAYS AS IDENTITY, gone text, base int NOT NULL, twice int GENERATED ALWAYS AS (base * 2) STORED); \
             ALTER TABLE g DROP COLUMN gone; INSERT INTO g (base) VALUES (1), (21); ALTER TABLE g ADD late int DEFAULT 7",
        )
        .unwrap();
    whole(&database, "g", "id, base, twice, late").await;
    copy(&database, "g", "g_copy", OnLoss::default()).await.unwrap();
    assert_eq!(server_lines(&database, "SELECT * FROM g_copy"), ["1|1|2|7", "2|21|42|7"]);
    // The other way it is the table that makes the value.
    let error = copy(&database, "g_copy", "g", OnLoss::default()).await.map(drop).unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-045", Kind::Schema), "{error}");
    assert!(error.to_string().contains("generated"), "{error}");
}

#[tokio::test]
async fn views_are_one_split_and_materialised_views_are_divided() {
    let database = database();
    database
        .execute(
            "CREATE TABLE t AS SELECT i AS id, repeat('x', 50) AS v FROM generate_series(1, 900) i; \
             CREATE VIEW v AS SELECT id * 2 AS double, v FROM t WHERE id > 100; CREATE MATERIALIZED VIEW m AS SELECT id, v FROM t WHERE id > 50",
        )
        .unwrap();
    assert_eq!(whole(&database, "v", "double, v").await, 1);
    assert!(whole(&database, "m", "id, v").await > 3);
    // Rows cannot be copied into a view.
    let sink = sink(database.url(), json!({ "table": "v" })).await;
    let source = source(database.url(), json!({ "table": "v" })).await;
    let schema = source.streams().await.unwrap().remove(0).schema;
    let error = run(&sink, target("r", "v", schema, WriteMode::Append, &[]), &[]).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-049", Kind::Unsupported));
}

#[tokio::test]
async fn a_table_without_columns_has_rows_all_the_same() {
    let database = database();
    database.execute("CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES; INSERT INTO bare DEFAULT VALUES").unwrap();
    let source = source(database.url(), json!({ "table": "bare" })).await;
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    assert_eq!(take_all(reader.as_ref()).await.unwrap().rows(), 2);
}

#[tokio::test]
async fn temporary_and_system_tables_are_not_discovered() {
    let database = database();
    database.execute("CREATE TABLE mine (id int)").unwrap();
    let client = database.client().await.unwrap();
    client.batch_execute("CREATE TEMP TABLE passing (id int)").await.unwrap();
    let source = source_at(connection(database.url()), json!({ "tables": ["*.*"] }), OnLoss::default()).await;
    let names: Vec<String> = source.streams().await.unwrap().into_iter().map(|stream| stream.name).collect();
    assert_eq!(names, ["public.mine"]);
}
