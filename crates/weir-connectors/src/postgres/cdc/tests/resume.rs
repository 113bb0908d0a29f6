//! Stopping anywhere, and going on.

use futures::StreamExt;
use serde_json::json;
use weir_connect::ChangeEvent;
use weir_testkit::{Database, PostgresServer};

use super::{Applied, Follow};

#[tokio::test(flavor = "multi_thread")]
async fn every_boundary_can_be_resumed_from() {
    for server in [PostgresServer::shared().unwrap(), PostgresServer::version(18).unwrap()] {
        let database = server.create_database().unwrap();
        database
            .execute(
                "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'start' FROM generate_series(1, 2000) i; \
                 CREATE TABLE u (id text PRIMARY KEY, v int); INSERT INTO u SELECT 'k' || i, i FROM generate_series(1, 500) i",
            )
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
                if step > 40 {
                    break;
                }
                follow
                    .database
                    .execute(format!(
                        "BEGIN; UPDATE t SET v = v || '{step}' WHERE id % 10 = {step} % 10; DELETE FROM t WHERE id = {step} * 7; \
                         INSERT INTO t VALUES ({step} + 5000, 'x') ON CONFLICT (id) DO UPDATE SET v = 'y'; UPDATE t SET id = id + 10000 WHERE id = {step} * 11; \
                         UPDATE u SET v = -{step} WHERE v % 20 = {step} % 20; COMMIT"
                    ))
                    .unwrap();
            }
        }
        drop((log, events));
        for state in kept {
            // Nothing was acknowledged, so the slot still has everything.
            let (log, mut events) = follow.open_from(state.position.clone(), true).await.unwrap();
            follow.state = state;
            while let Some(event) = events.next().await {
                follow.state.apply(event.unwrap());
            }
            drop(log);
            follow.expect("public.t");
            follow.expect("public.u");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sender_is_a_transient_error_and_nothing_is_lost() {
    let mut follow = Follow::shared(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'start' FROM generate_series(1, 1000) i",
        json!({ "tables": ["t"], "chunk_bytes": 8192 }),
    );
    let mut killed = 0;
    for round in 0..6 {
        follow.announce().await;
        let (log, mut events) = follow.open_from(follow.state.position.clone(), false).await.unwrap();
        follow.database.execute(format!("UPDATE t SET v = v || '{round}' WHERE id % 3 = {round} % 3; INSERT INTO t SELECT i, 'n' FROM generate_series({round}0000 + 2000, {round}0000 + 3000) i")).unwrap();
        let mut state = follow.state.clone();
        let mut seen = 0;
        let error = loop {
            match events.next().await.unwrap() {
                Err(error) => break error,
                Ok(event) => {
                    let bounded = matches!(event, ChangeEvent::Boundary(_));
                    state.apply(event);
                    seen += 1;
                    if bounded {
                        follow.state = state.clone();
                        log.acknowledge(state.position.as_ref().unwrap()).await.unwrap();
                    }
                    if seen == 2 + round {
                        follow
                            .database
                            .execute(format!(
                                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{}'",
                                follow.slot()
                            ))
                            .unwrap();
                    }
                }
            }
        };
        assert!(error.retryable() != weir_error::Retry::Never, "{error:?}");
        killed += 1;
    }
    assert_eq!(killed, 6);
    follow.run().await;
    follow.expect("public.t");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_loses_nothing_that_was_acknowledged() {
    let mut server = PostgresServer::start().unwrap();
    let database = server.create_database().unwrap();
    database
        .execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'start' FROM generate_series(1, 1000) i")
        .unwrap();
    let mut follow = Follow::new(database, json!({ "tables": ["t"] }));
    for round in 0..3 {
        follow.run().await;
        follow.expect("public.t");
        follow.database.execute(format!("UPDATE t SET v = v || '{round}'; INSERT INTO t VALUES (5000 + {round}, 'n')")).unwrap();
        server.kill_9().unwrap();
        server.restart().unwrap();
    }
    follow.run().await;
    follow.expect("public.t");
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_session() {
    let follow = Follow::shared("CREATE TABLE t (id int PRIMARY KEY)", json!({ "tables": ["t"] }));
    let (log, events) = follow.open_from(None, false).await.unwrap();
    drop(events);
    drop(log);
    follow.idle().await;
}

#[tokio::test]
async fn pipelines_of_one_name_on_two_databases_of_one_server_have_a_slot_each() {
    let setup = "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)";
    let mut one = Follow::shared(setup, json!({ "tables": ["t"] }));
    let mut other = Follow::shared(setup, json!({ "tables": ["t"] }));
    other.pipeline.clone_from(&one.pipeline);
    for follow in [&mut one, &mut other] {
        follow.run().await;
    }
    one.database.execute("INSERT INTO t VALUES (2)").unwrap();
    other.database.execute("INSERT INTO t VALUES (3)").unwrap();
    for follow in [&mut one, &mut other] {
        follow.run().await;
        follow.expect("public.t");
    }
    // What one leaves behind is its own.
    one.idle().await;
    one.source().await.changes().unwrap().forget(&one.pipeline, None).await.unwrap();
    let slots = |follow: &Follow| {
        let own = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()";
        follow.database.value(own).unwrap()
    };
    assert_eq!((slots(&one).as_str(), slots(&other).as_str()), ("0", "1"));
}

#[tokio::test]
async fn a_slot_under_the_name_of_an_older_version_is_used_on_with_its_position() {
    let mut follow = Follow::shared("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", json!({ "tables": ["t"] }));
    let former = super::super::Names::former_slot(&follow.pipeline, &Default::default()).unwrap();
    assert_ne!(former, follow.slot());
    let here = "SELECT string_agg(slot_name, ' ') FROM pg_replication_slots WHERE database = current_database()";
    follow.database.execute(format!("SELECT pg_create_logical_replication_slot('{former}', 'pgoutput')")).unwrap();
    // As an attempt that ended before its first boundary had left it, and then with a position.
    for id in 2..5 {
        follow.run().await;
        assert_eq!(follow.state.position.as_ref().unwrap()["slot"], former.as_str());
        assert_eq!(follow.database.value(here).unwrap(), former);
        follow.database.execute(format!("INSERT INTO t VALUES ({id})")).unwrap();
    }
    follow.run().await;
    follow.expect("public.t");
    // The name of another database's slot is not taken for ours.
    let mut other = Follow::shared("CREATE TABLE t (id int PRIMARY KEY)", json!({ "tables": ["t"] }));
    other.pipeline.clone_from(&follow.pipeline);
    other.run().await;
    assert_eq!(other.database.value(here).unwrap(), other.slot());
    let source = follow.source().await;
    // A reader that has just gone is waited for.
    source.changes().unwrap().forget(&follow.pipeline, follow.state.position.as_ref()).await.unwrap();
    assert_eq!(
        follow.database.value("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()").unwrap(),
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_standby_goes_on_with_the_slot_and_nothing_is_lost_or_double() {
    let mut primary = PostgresServer::version(18).unwrap();
    let standby = primary.standby().unwrap();
    let database = primary.create_database().unwrap();
    database
        .execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'start' FROM generate_series(1, 1000) i")
        .unwrap();
    let mut follow = Follow::new(database, json!({ "tables": ["t"], "failover": true }));
    follow.run().await;
    let (slot, name) = (follow.slot(), follow.database.name().to_owned());
    let failover = format!("SELECT failover FROM pg_replication_slots WHERE slot_name = '{slot}'");
    assert_eq!(follow.database.value(failover).unwrap(), "t");
    // A standby keeps a slot for good once the primary's has moved past what the standby has.
    let there = Database::at(standby.url_of("postgres"));
    let kept = format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{slot}' AND synced AND NOT temporary");
    let began = std::time::Instant::now();
    while there.value(&kept).unwrap() != "1" {
        assert!(began.elapsed().as_secs() < 60, "the standby does not keep the slot: {}", standby.log());
        follow.database.execute("UPDATE t SET v = v || '.' WHERE id = 1; SELECT pg_log_standby_snapshot()").unwrap();
        follow.run().await;
    }
    // What is there while nobody reads must come from the new primary.
    follow.database.execute("UPDATE t SET v = 'before' WHERE id % 3 = 0; DELETE FROM t WHERE id % 7 = 0").unwrap();
    let end = follow.database.value("SELECT pg_current_wal_lsn()").unwrap();
    let ready = format!("SELECT (pg_last_wal_replay_lsn() >= '{end}')::text");
    weir_testkit::wait_until("the standby has the rows", std::time::Duration::from_secs(60), || {
        there.value(&ready).is_ok_and(|ready| ready == "true")
    })
    .unwrap();
    primary.kill_9().unwrap();
    assert_eq!(there.value("SELECT pg_promote()").unwrap(), "t");
    follow.database = Database::at(standby.url_of(&name));
    follow
        .database
        .execute("INSERT INTO t SELECT i, 'after' FROM generate_series(2000, 2500) i; DELETE FROM t WHERE id % 11 = 0")
        .unwrap();
    // The oracle refuses rows that come twice, and changes of rows that it lacks.
    follow.run().await;
    follow.expect("public.t");
    let lines = follow.state.lines("public.t");
    assert!(lines.iter().any(|line| line.ends_with("v=before")) && lines.iter().any(|line| line.ends_with("v=after")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_failover_slots_says_so() {
    let mut follow = Follow::shared("CREATE TABLE t (id int PRIMARY KEY)", json!({ "tables": ["t"], "failover": true }));
    let error = follow.try_run().await.unwrap_err();
    assert!(error.to_string().contains("no failover slots"), "{error}");
}
