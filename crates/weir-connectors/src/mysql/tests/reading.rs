//! What a read sees, and of what.

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use serde_json::json;
use weir_connect::{Connector, CursorWindow, Kind, OnLoss, ReadRequest, SourceContext};
use weir_testkit::MysqlDatabase;
use weir_testkit::mysql::Flavor;

use super::super::Mysql;
use super::{connection, database, database_of, lines, open, server_lines, source, source_at, take_all, take_split};

fn numbers(database: &MysqlDatabase, table: &str, rows: i64) {
    database.execute(format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, v INT) ENGINE = InnoDB")).unwrap();
    let values: Vec<String> = (0..rows).map(|id| format!("({id}, {})", id * 7 % 13)).collect();
    database.execute(format!("INSERT INTO {table} VALUES {}", values.join(", "))).unwrap();
}

#[tokio::test]
async fn all_lanes_see_the_moment_in_which_the_stream_was_opened() {
    for flavor in [Flavor::MariaDb, Flavor::MySql] {
        let database = database_of(flavor);
        numbers(&database, "t", 1000);
        let source = source(database.url(), json!({ "table": "t", "split_rows": 100 })).await;
        let before = server_lines(&database, "SELECT * FROM t");
        let reader = open(&source, ReadRequest::default()).await.unwrap();
        assert!(reader.splits().len() >= 4, "{}", reader.splits().len());
        database.execute("UPDATE t SET v = -1; INSERT INTO t VALUES (5000, 1); DELETE FROM t WHERE id < 100").unwrap();
        // Two at the same time are two sessions.
        let splits = reader.splits();
        let (mut one, mut two) = (super::Taken::default(), super::Taken::default());
        let (a, b) = tokio::join!(
            take_split(reader.as_ref(), &splits[0], None, &mut one),
            take_split(reader.as_ref(), &splits[1], None, &mut two)
        );
        a.and(b).unwrap();
        for split in &splits[2..] {
            take_split(reader.as_ref(), split, None, &mut one).await.unwrap();
        }
        one.batches.append(&mut two.batches);
        assert_eq!(lines(&one.batches), before, "{flavor:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_under_way_when_the_lanes_begin_is_in_all_of_them_or_in_none() {
    for flavor in [Flavor::MariaDb, Flavor::MySql] {
        let database = database_of(flavor);
        numbers(&database, "t", 1000);
        let mut other = database.client().await.unwrap();
        use mysql_async::prelude::Queryable;
        other.query_drop("START TRANSACTION").await.unwrap();
        other.query_drop("UPDATE t SET v = 99").await.unwrap();
        let url = database.url().to_string();
        let opening = tokio::spawn(async move {
            let source = source(&url, json!({ "table": "t", "split_rows": 100 })).await;
            let reader = open(&source, ReadRequest::default()).await.unwrap();
            take_all(reader.as_ref()).await.unwrap()
        });
        // The lanes wait for the lock, or have begun without one.
        let waits = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table metadata lock'";
        weir_testkit::wait_until("the reader waits for the writer", std::time::Duration::from_secs(4), || {
            database.value(waits).unwrap() != "0" || opening.is_finished()
        })
        .unwrap();
        other.query_drop("COMMIT").await.unwrap();
        let taken = opening.await.unwrap();
        assert_eq!(lines(&taken.batches), server_lines(&database, "SELECT * FROM t"), "{flavor:?}");
        other.disconnect().await.unwrap();
    }
}

#[tokio::test]
async fn without_the_right_to_lock_one_lane_reads_all() {
    let database = database();
    numbers(&database, "t", 500);
    let user = format!("u_{}", &database.name()[2..20]);
    database.execute(format!("CREATE USER {user}@'%'; GRANT SELECT ON {}.t TO {user}@'%'", database.name())).unwrap();
    let source =
        source_at(json!({ "url": database.url(), "user": user }), json!({ "table": "t", "split_rows": 50 }), OnLoss::default())
            .await;
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    assert!(reader.splits().len() > 1);
    assert_eq!(take_all(reader.as_ref()).await.unwrap().rows(), 500);
}

#[tokio::test]
async fn a_user_without_select_is_told_the_grant() {
    let database = database();
    numbers(&database, "t", 5);
    let user = format!("n_{}", &database.name()[2..20]);
    database.execute(format!("CREATE USER {user}@'%'; GRANT INSERT ON {}.t TO {user}@'%'", database.name())).unwrap();
    let source = source_at(json!({ "url": database.url(), "user": user }), json!({ "table": "t" }), OnLoss::default()).await;
    let error = open(&source, ReadRequest::default()).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), Kind::Privilege, "{error}");
    assert!(error.advice().unwrap().contains("GRANT SELECT"), "{error}");
}

#[tokio::test]
async fn tables_are_chosen_by_patterns_and_views_by_name_only() {
    let database = database();
    for table in ["order_1", "order_2", "order_tmp", "`o.x`", "other"] {
        database.execute(format!("CREATE TABLE {table} (id INT PRIMARY KEY)")).unwrap();
    }
    database.execute("CREATE VIEW order_v AS SELECT * FROM order_1").unwrap();
    let name = database.name();
    let streams = |options| async {
        let source = source(database.url(), options).await;
        source.streams().await.map(|streams| streams.into_iter().map(|stream| stream.name).collect::<Vec<_>>())
    };
    assert_eq!(
        streams(json!({ "tables": ["order_*", "!order_tmp"] })).await.unwrap(),
        [format!("{name}.order_1"), format!("{name}.order_2")]
    );
    assert_eq!(streams(json!({ "table": "order_v" })).await.unwrap(), [format!("{name}.order_v")]);
    assert_eq!(streams(json!({ "table": "`o.x`" })).await.unwrap(), [format!("{name}.`o.x`")]);
    assert_eq!(streams(json!({ "tables": [format!("{name}.othe?")] })).await.unwrap(), [format!("{name}.other")]);
    let error = streams(json!({ "tables": ["order_*", "nothing_*"] })).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("nothing_*"));
}

#[tokio::test]
async fn discover_names_every_table_with_key_and_types() {
    let database = database();
    database
        .execute("CREATE TABLE a (x INT, y CHAR(3), z DECIMAL(65,30), PRIMARY KEY (y, x)); CREATE VIEW v AS SELECT x FROM a")
        .unwrap();
    let context = SourceContext {
        connection: connection(database.url()),
        options: json!({}),
        on_loss: OnLoss::default(),
        parallelism: 1,
        base_dir: ".".into(),
    };
    let streams = Mysql::default().discover(context).await.unwrap();
    let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, [format!("{}.a", database.name()), format!("{}.v", database.name())]);
    assert_eq!(streams[0].primary_key, ["y", "x"]);
    assert_eq!(streams[0].schema.field(2).data_type(), &DataType::Decimal256(65, 30));
}

#[tokio::test]
async fn a_query_is_read_with_bound_references() {
    let database = database();
    database
        .execute("CREATE TABLE t (id BIGINT PRIMARY KEY, at DATETIME(6)); INSERT INTO t VALUES (1, '2024-01-01 00:00:00.5'), (2, '2024-01-02'), (9007199254740993, NULL)")
        .unwrap();
    let query = "SELECT id, at FROM t WHERE at > '${last_run_time}' -- since\n";
    let source = source(database.url(), json!({ "query": query, "name": "recent" })).await;
    let request = ReadRequest {
        stream: "recent".into(),
        last_run_time: Some("2024-01-01T02:00:00.5+02:00".into()),
        ..ReadRequest::default()
    };
    let reader = open(&source, request).await.unwrap();
    assert_eq!(lines(&take_all(reader.as_ref()).await.unwrap().batches), ["2|2024-01-02T00:00:00"]);
    let reader = open(&source, ReadRequest { stream: "recent".into(), ..ReadRequest::default() }).await.unwrap();
    assert_eq!(take_all(reader.as_ref()).await.unwrap().rows(), 2);
}

#[tokio::test]
async fn a_cursor_above_2_to_the_53_is_compared_exactly() {
    let database = database();
    database
        .execute("CREATE TABLE t (id BIGINT UNSIGNED, d DECIMAL(30,5)); INSERT INTO t VALUES (9007199254740992, 1.00001), (9007199254740993, 1.00002), (18446744073709551615, NULL)")
        .unwrap();
    for (options, stream) in [
        (json!({ "table": "t" }), format!("{}.t", database.name())),
        (json!({ "query": "SELECT id, d FROM t WHERE id >= ${cursor}" , "cursor": "id" }), "query".into()),
    ] {
        let source = source(database.url(), options).await;
        for (lower, expected) in [(Some("9007199254740993"), 2), (Some("18446744073709551615"), 1), (None, 3)] {
            let cursor = CursorWindow { column: "id".into(), lower: lower.map(str::to_string) };
            let reader = open(&source, ReadRequest { stream: stream.clone(), cursor: Some(cursor), ..ReadRequest::default() })
                .await
                .unwrap();
            assert_eq!(take_all(reader.as_ref()).await.unwrap().rows(), expected, "{stream} {lower:?}");
        }
    }
    let source = source(database.url(), json!({ "table": "t" })).await;
    let cursor = CursorWindow { column: "d".into(), lower: Some("1.00002".into()) };
    let reader = open(&source, ReadRequest { cursor: Some(cursor), ..ReadRequest::default() }).await.unwrap();
    assert_eq!(take_all(reader.as_ref()).await.unwrap().rows(), 1);
}

#[tokio::test]
async fn a_limit_and_a_choice_of_columns_are_the_servers_work() {
    let database = database();
    numbers(&database, "t", 100);
    let source = source(database.url(), json!({ "table": "t" })).await;
    let request = ReadRequest { limit: Some(7), columns: Some(vec!["v".into()]), ..ReadRequest::default() };
    let reader = open(&source, request).await.unwrap();
    assert_eq!(reader.schema().fields().len(), 1);
    assert_eq!(take_all(reader.as_ref()).await.unwrap().rows(), 7);
    let none = ReadRequest { columns: Some(Vec::new()), ..ReadRequest::default() };
    let reader = open(&source, none).await.unwrap();
    assert_eq!(take_all(reader.as_ref()).await.unwrap().rows(), 100);
}

#[tokio::test]
async fn every_row_of_a_skewed_key_is_in_exactly_one_split() {
    let database = database();
    database.execute("CREATE TABLE t (id BIGINT PRIMARY KEY, v INT)").unwrap();
    let ids = [i64::MIN, i64::MIN + 1, -1, 0, 1, 2, 3, i64::MAX - 1, i64::MAX];
    let values: Vec<String> = ids.iter().map(|id| format!("({id}, 1)")).collect();
    database.execute(format!("INSERT INTO t VALUES {}", values.join(", "))).unwrap();
    let source = source(database.url(), json!({ "table": "t", "split_rows": 1 })).await;
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    assert!(reader.splits().len() > 2);
    let mut found: Vec<i64> = take_all(reader.as_ref())
        .await
        .unwrap()
        .batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    found.sort_unstable();
    assert_eq!(found, ids);
}

#[tokio::test]
async fn tables_without_key_without_transactions_and_partitions_are_read_whole() {
    let database = database();
    database
        .execute(
            "CREATE TABLE nokey (v INT); INSERT INTO nokey VALUES (1), (1), (NULL); \
             CREATE TABLE isam (id INT PRIMARY KEY) ENGINE = MyISAM; INSERT INTO isam VALUES (1), (2); \
             CREATE TABLE parts (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 4; INSERT INTO parts VALUES (1), (2), (3), (4), (5); \
             CREATE VIEW seen AS SELECT * FROM parts WHERE id > 2",
        )
        .unwrap();
    for table in ["nokey", "isam", "parts", "seen"] {
        let source = source(database.url(), json!({ "table": table, "split_rows": 2 })).await;
        let reader = open(&source, ReadRequest::default()).await.unwrap();
        let found = lines(&take_all(reader.as_ref()).await.unwrap().batches);
        assert_eq!(found, server_lines(&database, &format!("SELECT * FROM {table}")), "{table}");
    }
}
