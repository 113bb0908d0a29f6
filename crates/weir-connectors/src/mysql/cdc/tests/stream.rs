//! Rows and transactions.

use futures::StreamExt;
use serde_json::json;
use weir_connect::{ChangeEvent, Op};
use weir_testkit::MysqlServer;
use weir_testkit::mysql::Flavor;

use super::{BOTH, Follow, filled, rows, until};

const CHANGES: &str = "INSERT INTO t VALUES (101, 'new', 1), (102, NULL, 2); UPDATE t SET v = 'changed' WHERE id <= 3; DELETE FROM t WHERE id = 4; \
    UPDATE t SET id = 200 WHERE id = 5; UPDATE t SET id = id + 1000 WHERE id BETWEEN 10 AND 12; \
    BEGIN; INSERT INTO t VALUES (103, 'in', 1); UPDATE t SET v = 'twice' WHERE id = 103; DELETE FROM t WHERE id = 6; COMMIT; \
    BEGIN; INSERT INTO t VALUES (104, 'never', 1); ROLLBACK; \
    BEGIN; INSERT INTO t VALUES (105, 'stays', 1); SAVEPOINT s; INSERT INTO t VALUES (106, 'never', 1); ROLLBACK TO s; COMMIT; \
    REPLACE INTO t VALUES (7, 'replaced', 9); INSERT INTO t VALUES (8, 'x', 1) ON DUPLICATE KEY UPDATE v = 'upserted'";

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_every_kind_arrive_in_order() {
    for flavor in BOTH {
        let mut follow = Follow::shared(flavor, &filled(50), json!({ "tables": ["t"] }));
        follow.run().await;
        follow.expect("t");
        assert_eq!(follow.state.ops, [("r", 50)].into());
        follow.database.execute(CHANGES).unwrap();
        follow.run().await;
        follow.expect("t");
        assert!(follow.state.dead.is_empty() && follow.state.truncates == 0);
        assert!(follow.state.ops["d"] >= 6 && follow.state.ops["c"] >= 8 && follow.state.ops["u"] >= 5, "{:?}", follow.state.ops);
        // A key change is a delete and a create.
        let moved = &follow.state.history[&(follow.stream("t"), "Some(\"5\")".to_string())];
        assert_eq!(moved.iter().map(|(op, _)| *op).collect::<Vec<_>>(), [Op::Read, Op::Delete]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_compress_their_log_or_have_no_gtids_are_read_too() {
    let servers = [
        MysqlServer::options(Flavor::MySql).set("binlog-transaction-compression", "ON").start().unwrap(),
        MysqlServer::options(Flavor::MySql).set("gtid-mode", "OFF").set("enforce-gtid-consistency", "OFF").start().unwrap(),
        MysqlServer::options(Flavor::MariaDb)
            .set("log-bin-compress", "ON")
            .set("log-bin-compress-min-len", "10")
            .start()
            .unwrap(),
    ];
    for server in servers {
        let mut follow = Follow::at(&server, &filled(99), json!({ "tables": ["t"], "chunk_bytes": 1024 }));
        follow.run().await;
        follow.expect("t");
        follow.database.execute(CHANGES).unwrap();
        follow.database.execute("FLUSH BINARY LOGS; UPDATE t SET v = REPEAT('long ', 10); FLUSH BINARY LOGS").unwrap();
        follow.run().await;
        follow.expect("t");
        follow.run().await;
        follow.expect("t");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_before_and_marks_of_transactions_come_with_the_changes() {
    for flavor in BOTH {
        let mut follow = Follow::shared(flavor, &filled(5), json!({ "tables": ["t"] }));
        follow.before = true;
        follow.run().await;
        follow.database.execute("UPDATE t SET n = 7 WHERE id = 1").unwrap();
        follow.database.execute("BEGIN; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (9, 'x', 0); COMMIT").unwrap();
        let (_log, mut events) = follow.open_from(follow.state.position.clone(), false).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 3 {
            if let ChangeEvent::Changes(batch) = events.next().await.unwrap().unwrap() {
                let before = super::rows(&weir_connect::ChangeBatch { rows: batch.before.clone().unwrap(), ..batch.clone() });
                let after = rows(&batch);
                for at in 0..after.len() {
                    let mark = batch.transactions.iter().find(|mark| mark.end > at).unwrap().clone();
                    seen.push((
                        batch.ops[at],
                        before[at]["n"].clone(),
                        after[at]["n"].clone(),
                        mark.position,
                        mark.committed_at_us,
                    ));
                }
            }
        }
        let text = |text: &str| Some(text.to_string());
        assert_eq!((seen[0].0, &seen[0].1, &seen[0].2), (Op::Update, &text("0"), &text("7")));
        assert_eq!((seen[1].0, &seen[1].1), (Op::Delete, &text("0")));
        assert_eq!((seen[2].0, &seen[2].1), (Op::Create, &None));
        assert_ne!(seen[0].3, seen[1].3);
        assert_eq!(seen[1].3, seen[2].3);
        assert!(seen[1].3.contains(if flavor == Flavor::MySql { ':' } else { '-' }), "{}", seen[1].3);
        let age = chrono::Utc::now().timestamp_micros() - seen[1].4;
        assert!((0..120_000_000).contains(&age), "{age}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_comes_in_parts_and_without_a_boundary_in_between() {
    for flavor in BOTH {
        let mut follow = Follow::shared(flavor, &filled(1), json!({ "tables": ["t"] }));
        follow.run().await;
        let values =
            |from: usize| (from..from + 5000).map(|id| format!("({id}, REPEAT('x', 60), 1)")).collect::<Vec<_>>().join(", ");
        let inserts: Vec<String> = (0..6).map(|part| format!("INSERT INTO t VALUES {}", values(10 + part * 5000))).collect();
        follow.database.execute(format!("BEGIN; {}; COMMIT", inserts.join("; "))).unwrap();
        let (_log, mut events) = follow.open_from(follow.state.position.clone(), true).await.unwrap();
        let (mut parts, mut rows) = (0, 0);
        until(&mut events, &mut follow.state, |event, _| match event {
            ChangeEvent::Changes(batch) => {
                (parts, rows) = (parts + 1, rows + batch.ops.len());
                assert!(batch.source_bytes < 1 << 20);
                None
            }
            ChangeEvent::Boundary(_) if rows > 0 => Some(()),
            _ => None,
        })
        .await;
        assert_eq!(rows, 30_000);
        assert!(parts > 5, "{parts}");
        follow.expect("t");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_databases_move_the_position_of_a_quiet_table() {
    for flavor in BOTH {
        let mut follow = Follow::shared(flavor, &filled(3), json!({ "tables": ["t"] }));
        follow.run().await;
        let first = follow.state.position.clone().unwrap();
        let other = MysqlServer::shared(flavor).unwrap().create_database().unwrap();
        other.execute(filled(500)).unwrap();
        follow.run().await;
        let second = follow.state.position.clone().unwrap();
        assert_ne!(first["gtids"], second["gtids"]);
        assert_eq!(follow.state.ops, [("r", 3)].into());
    }
}
