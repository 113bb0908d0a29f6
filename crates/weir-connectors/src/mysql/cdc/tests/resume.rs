//! Stopping anywhere, and going on.

use futures::StreamExt;
use serde_json::json;
use weir_connect::ChangeEvent;
use weir_testkit::mysql::Flavor;
use weir_testkit::{MysqlDatabase, MysqlServer};

use super::{Applied, BOTH, Follow, filled};

async fn from_every_boundary(database: MysqlDatabase) {
    let keys: Vec<String> = (1..=500).map(|number| format!("('k{number}', {number})")).collect();
    database
        .execute(format!("CREATE TABLE u (id varchar(20) PRIMARY KEY, v int); INSERT INTO u VALUES {}", keys.join(", ")))
        .unwrap();
    let mut follow = Follow::new(database, json!({ "tables": ["t", "u"], "chunk_bytes": 8192 }));
    follow.announce().await;
    follow.linger = std::time::Duration::ZERO;
    // Changes during the snapshot: one transaction after each boundary.
    let mut state = follow.state.clone();
    let mut kept: Vec<Applied> = vec![state.clone()];
    let (log, mut events) = follow.open_from(None, false).await.unwrap();
    let mut step = 0;
    while let Some(event) = events.next().await {
        let event = event.unwrap();
        let bounded = matches!(event, ChangeEvent::Boundary(_));
        state.apply(event);
        if bounded {
            kept.push(state.clone());
            step += 1;
            if step > 24 {
                break;
            }
            follow
                .database
                .execute(format!(
                    "BEGIN; UPDATE t SET v = CONCAT(LEFT(v, 40), '{step}') WHERE id % 10 = {step} % 10; DELETE FROM t WHERE id = {step} * 7; \
                     INSERT INTO t VALUES ({step} + 5000, 'x', 0) ON DUPLICATE KEY UPDATE v = 'y'; UPDATE t SET id = id + 10000 WHERE id = {step} * 11; \
                     UPDATE u SET v = -{step} WHERE v % 20 = {step} % 20; COMMIT"
                ))
                .unwrap();
        }
    }
    drop((log, events));
    for state in kept {
        let (log, mut events) = follow.open_from(state.position.clone(), true).await.unwrap();
        follow.state = state;
        while let Some(event) = events.next().await {
            follow.state.apply(event.unwrap());
        }
        drop(log);
        follow.expect("t");
        follow.expect("u");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_boundary_of_mysql_can_be_resumed_from() {
    let database = MysqlServer::shared(Flavor::MySql).unwrap().create_database().unwrap();
    database.execute(filled(1000)).unwrap();
    from_every_boundary(database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_boundary_of_mariadb_can_be_resumed_from() {
    let database = MysqlServer::shared(Flavor::MariaDb).unwrap().create_database().unwrap();
    database.execute(filled(1000)).unwrap();
    from_every_boundary(database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_boundary_of_mysql_without_gtids_can_be_resumed_from() {
    let server =
        MysqlServer::options(Flavor::MySql).set("gtid-mode", "OFF").set("enforce-gtid-consistency", "OFF").start().unwrap();
    let database = server.create_database().unwrap();
    database.execute(filled(1000)).unwrap();
    from_every_boundary(database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_added_and_removed_between_runs() {
    for flavor in BOTH {
        let mut follow = Follow::shared(flavor, &filled(300), json!({ "tables": ["t"] }));
        follow.database.execute("CREATE TABLE late (id int PRIMARY KEY, v int); INSERT INTO late VALUES (1, 1), (2, 2)").unwrap();
        follow.run().await;
        // Before the table is followed it has another shape.
        follow
            .database
            .execute("UPDATE late SET v = 5; ALTER TABLE late ADD w int DEFAULT 3; UPDATE late SET w = 4 WHERE id = 1")
            .unwrap();
        follow.database.execute("DELETE FROM t WHERE id = 1").unwrap();
        follow.options = json!({ "tables": ["t", "late"] });
        follow.run().await;
        follow.expect("t");
        follow.expect("late");
        follow.database.execute("UPDATE late SET v = 9; UPDATE t SET v = 'x'").unwrap();
        follow.options = json!({ "tables": ["late"] });
        follow.run().await;
        follow.expect("late");
        assert!(follow.state.position.as_ref().unwrap()["tables"].get(follow.stream("t")).is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_is_a_transient_error_and_nothing_is_lost() {
    for flavor in BOTH {
        let mut server = MysqlServer::start(flavor).unwrap();
        let mut follow = Follow::at(&server, &filled(400), json!({ "tables": ["t"], "chunk_bytes": 8192 }));
        for round in 0..3 {
            follow.announce().await;
            let (log, mut events) = follow.open_from(follow.state.position.clone(), false).await.unwrap();
            follow.database.execute(format!("UPDATE t SET n = n + 1 WHERE id % 3 = {round}")).unwrap();
            let mut state = follow.state.clone();
            let mut bounded = 0;
            let mut killed = false;
            let error = loop {
                match events.next().await.unwrap() {
                    Err(error) => break error,
                    Ok(event) => {
                        bounded += usize::from(matches!(event, ChangeEvent::Boundary(_)));
                        let whole = matches!(event, ChangeEvent::Boundary(_));
                        state.apply(event);
                        if whole {
                            follow.state = state.clone();
                        }
                        if bounded > 0 && !killed {
                            killed = true;
                            server.kill_9().unwrap();
                        }
                    }
                }
            };
            assert_ne!(error.retryable(), weir_connect::Retry::Never, "{error}");
            drop((log, events));
            server.restart().unwrap();
        }
        follow.run().await;
        follow.expect("t");
    }
}
