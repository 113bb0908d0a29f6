//! How fast a backlog is drained, beside `pg_recvlogical` on the same slot position. Only says something in a release build.

use std::process::Command;
use std::time::Instant;

use futures::StreamExt;
use serde_json::json;
use weir_connect::ChangeEvent;
use weir_testkit::PostgresServer;

use super::Follow;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: cargo nextest run --release --run-ignored all -E 'test(cdc::tests::speed)'"]
async fn a_backlog_of_inserts_is_drained_about_as_fast_as_the_server_sends_it() {
    let rows: usize = std::env::var("WEIR_CDC_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let server = PostgresServer::start().unwrap();
    let database = server.create_database().unwrap();
    database.execute("CREATE TABLE t (id bigint PRIMARY KEY, a int, b text, at timestamptz DEFAULT now())").unwrap();
    for (name, per_transaction) in [("one row per transaction", 1), ("1,000 rows per transaction", 1000)] {
        let mut follow = Follow::new(database.clone(), json!({ "tables": ["t"] }));
        follow.pipeline = format!("speed {per_transaction}");
        follow.batch_bytes = 4 << 20;
        follow.linger = std::time::Duration::from_secs(1);
        database.execute("TRUNCATE t").unwrap();
        follow.run().await;
        follow.idle().await;
        database.execute(format!("SELECT pg_copy_logical_replication_slot('{}', 'floor')", follow.slot())).unwrap();
        database
            .execute("CREATE OR REPLACE PROCEDURE fill(total int, step int) LANGUAGE plpgsql AS $$ BEGIN FOR i IN 0 .. total / step - 1 LOOP \
                      INSERT INTO t SELECT i * step + j, j, 'value ' || i FROM generate_series(0, step - 1) j; COMMIT; END LOOP; END $$")
            .unwrap();
        database.execute(format!("CALL fill({rows}, {per_transaction})")).unwrap();
        let end = database.value("SELECT pg_current_wal_lsn()").unwrap();
        let publication = super::super::Names::of(&follow.pipeline, follow.database.name(), &Default::default()).publication;
        let floor = Instant::now();
        let status = Command::new(server.bin_dir().join("pg_recvlogical"))
            .args([
                "-d",
                database.url(),
                "-S",
                "floor",
                "--start",
                "-f",
                "/dev/null",
                "-o",
                "proto_version=2",
                "-o",
                "binary=true",
            ])
            .args(["-o", "streaming=on", "-o", &format!("publication_names={publication}"), "--endpos", &end, "--no-loop"])
            .status()
            .unwrap();
        assert!(status.success());
        let floor = floor.elapsed();
        let (log, mut events) = follow.open_from(follow.state.position.clone(), true).await.unwrap();
        let begun = Instant::now();
        let (mut changes, mut batches) = (0, 0);
        while let Some(event) = events.next().await {
            if let ChangeEvent::Changes(batch) = event.unwrap() {
                changes += batch.ops.len();
                batches += 1;
            }
        }
        let took = begun.elapsed();
        drop(log);
        database.execute("SELECT pg_drop_replication_slot('floor')").unwrap();
        assert_eq!(changes, rows);
        println!(
            "{name}: {took:?} in {batches} batches; pg_recvlogical {floor:?}; {:.2} times",
            took.as_secs_f64() / floor.as_secs_f64()
        );
    }
}
