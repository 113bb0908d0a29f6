//! What changes become.

use serde_json::json;
use weir_connect::{ChangeEvent, Op};
use weir_testkit::PostgresServer;
use weir_testkit::postgres::Version;

use super::{Follow, until};

const ACCOUNTS: &str = "CREATE TABLE accounts (id int PRIMARY KEY, name text NOT NULL, balance numeric(12,2)); \
    INSERT INTO accounts SELECT i, 'name ' || i, i FROM generate_series(1, 1000) i";

fn accounts() -> Follow {
    Follow::shared(ACCOUNTS, json!({ "tables": ["accounts"] }))
}

#[tokio::test]
async fn a_snapshot_and_then_every_change_give_the_table() {
    for server in [PostgresServer::shared().unwrap(), PostgresServer::version(18).unwrap()] {
        let database = server.create_database().unwrap();
        database.execute(ACCOUNTS).unwrap();
        let mut follow = Follow::new(database, json!({ "tables": ["accounts"] }));
        follow.run().await;
        follow.expect("public.accounts");
        assert_eq!(follow.state.ops, [("r", 1000)].into());
        follow
            .database
            .execute(
                "INSERT INTO accounts VALUES (2000, 'new', NULL); UPDATE accounts SET balance = balance * 2 WHERE id <= 10; \
                 DELETE FROM accounts WHERE id BETWEEN 11 AND 20; UPDATE accounts SET id = 3000 WHERE id = 5",
            )
            .unwrap();
        follow.run().await;
        follow.expect("public.accounts");
        // A change of the key is a delete and a create.
        assert_eq!(follow.state.ops, [("r", 1000), ("c", 2), ("u", 10), ("d", 11)].into());
        follow.database.execute("TRUNCATE accounts; INSERT INTO accounts VALUES (1, 'again', 1)").unwrap();
        follow.run().await;
        follow.expect("public.accounts");
        assert_eq!(follow.state.truncates, 1);
    }
}

#[tokio::test]
async fn changes_come_while_we_wait_with_their_transactions_and_only_when_committed() {
    let mut follow = accounts();
    follow.announce().await;
    let (log, mut events) = follow.open_from(None, false).await.unwrap();
    let state = &mut follow.state;
    until(&mut events, state, |event, state| {
        (matches!(event, ChangeEvent::Boundary(b) if b.caught_up) && state.ops.get("r") == Some(&1000)).then_some(())
    })
    .await;
    let open = follow.database.client().await.unwrap();
    open.batch_execute("BEGIN; INSERT INTO accounts VALUES (7000, 'not yet', 0)").await.unwrap();
    follow.database.execute("UPDATE accounts SET name = 'now' WHERE id = 1").unwrap();
    let batch = until(&mut events, state, |event, _| match event {
        ChangeEvent::Changes(batch) => Some(batch.clone()),
        _ => None,
    })
    .await;
    assert_eq!(batch.ops, [Op::Update]);
    assert_eq!(batch.transactions.len(), 1);
    assert!(batch.transactions[0].id.is_some() && batch.transactions[0].committed_at_us > 1_600_000_000_000_000);
    open.batch_execute("COMMIT").await.unwrap();
    let batch = until(&mut events, state, |event, _| match event {
        ChangeEvent::Changes(batch) => Some(batch.clone()),
        _ => None,
    })
    .await;
    assert_eq!(batch.ops, [Op::Create]);
    let bounded = until(&mut events, state, |event, _| match event {
        ChangeEvent::Boundary(boundary) => Some(boundary.clone()),
        _ => None,
    })
    .await;
    assert!(bounded.caught_up && bounded.committed_at_us == Some(batch.transactions[0].committed_at_us));
    follow.expect("public.accounts");
    drop(log);
}

#[tokio::test]
async fn the_server_hears_only_of_what_was_acknowledged_and_an_idle_table_does_not_hold_its_log() {
    let follow = accounts();
    follow.database.execute("CREATE TABLE noise (n int)").unwrap();
    let mut state = super::Applied { keys: [("public.accounts".into(), vec!["id".into()])].into(), ..Default::default() };
    let (log, mut events) = follow.open_from(None, false).await.unwrap();
    let confirmed = || {
        let sql = format!("SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = '{}'", follow.slot());
        follow.database.value(sql).unwrap().parse::<u64>().unwrap()
    };
    let start = confirmed();
    let first = until(&mut events, &mut state, |event, _| match event {
        ChangeEvent::Boundary(boundary) if boundary.caught_up => Some(boundary.position.clone()),
        _ => None,
    })
    .await;
    follow.database.execute("INSERT INTO noise SELECT i FROM generate_series(1, 10000) i").unwrap();
    let later = until(&mut events, &mut state, |event, _| match event {
        ChangeEvent::Boundary(boundary) if boundary.position["lsn"] != first["lsn"] => Some(boundary.position.clone()),
        _ => None,
    })
    .await;
    assert_eq!(confirmed(), start, "nothing was acknowledged");
    log.acknowledge(&later).await.unwrap();
    let lsn = super::super::position::lsn_of(&later).unwrap();
    let told = async {
        while confirmed() != lsn {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), told).await.expect("the server was not told");
}

#[tokio::test]
async fn large_values_that_did_not_change_are_absent_not_null() {
    let big = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 400))";
    for identity in ["DEFAULT", "FULL"] {
        let mut follow = Follow::shared(
            &format!(
                "CREATE TABLE docs (id int PRIMARY KEY, n int, body text, other text); ALTER TABLE docs ALTER body SET STORAGE EXTERNAL; \
                 ALTER TABLE docs REPLICA IDENTITY {identity}; INSERT INTO docs SELECT i, i, {big} || i, NULL FROM generate_series(1, 5) i"
            ),
            json!({ "tables": ["docs"] }),
        );
        follow.run().await;
        follow
            .database
            .execute(format!(
                "UPDATE docs SET n = n + 1; UPDATE docs SET other = 'x' WHERE id = 2; UPDATE docs SET body = NULL WHERE id = 3; \
                 UPDATE docs SET body = {big} WHERE id = 4; UPDATE docs SET id = 50 WHERE id = 5; UPDATE docs SET n = 77 WHERE id = 50"
            ))
            .unwrap();
        follow.run().await;
        follow.expect("public.docs");
        let lengths = follow.state.tables["public.docs"].values().filter(|row| row["body"].is_some()).count();
        assert_eq!(lengths, 4, "{identity}");
    }
}

#[tokio::test]
async fn a_large_value_that_went_with_the_row_of_a_new_key_is_absent_not_null() {
    let mut follow = Follow::shared(
        "CREATE TABLE docs (id int PRIMARY KEY, n int, body text); ALTER TABLE docs ALTER body SET STORAGE EXTERNAL; \
         INSERT INTO docs VALUES (1, 1, repeat('x', 5000)), (2, 2, NULL)",
        json!({ "tables": ["docs"] }),
    );
    follow.run().await;
    follow
        .database
        .execute("UPDATE docs SET id = id + 10; UPDATE docs SET n = 5 WHERE id = 11; DELETE FROM docs WHERE id = 11")
        .unwrap();
    let (_log, mut events) = follow.open_from(follow.state.position.clone(), true).await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = futures::StreamExt::next(&mut events).await {
        let event = event.unwrap();
        if let ChangeEvent::Changes(batch) = &event {
            let absent = |at: usize| batch.absent[2].as_ref().is_some_and(|bits| bits.value(at));
            let shown = super::rows(batch).into_iter().enumerate();
            seen.extend(shown.map(|(at, row)| (batch.ops[at].as_str(), row["id"].clone().unwrap(), absent(at))));
        }
        follow.state.apply(event);
    }
    let expected =
        [("d", "1", true), ("c", "11", true), ("d", "2", true), ("c", "12", false), ("u", "11", true), ("d", "11", true)];
    assert_eq!(seen, expected.map(|(op, id, absent)| (op, id.to_string(), absent)));
    follow.expect("public.docs");
}

#[tokio::test]
async fn rows_before_come_when_asked_for() {
    let mut follow = Follow::shared(
        "CREATE TABLE f (id int PRIMARY KEY, v text); ALTER TABLE f REPLICA IDENTITY FULL; CREATE TABLE d (id int PRIMARY KEY, v text)",
        json!({ "tables": ["f", "d"], "snapshot": "never" }),
    );
    follow.before = true;
    follow.run().await;
    follow
        .database
        .execute("INSERT INTO f VALUES (1, 'a'); UPDATE f SET v = 'b'; DELETE FROM f; INSERT INTO d VALUES (1, 'a'); UPDATE d SET v = 'b'; DELETE FROM d")
        .unwrap();
    let (_log, mut events) = follow.open_from(follow.state.position.clone(), true).await.unwrap();
    let mut seen = std::collections::BTreeMap::new();
    while let Some(event) = futures::StreamExt::next(&mut events).await {
        if let ChangeEvent::Changes(batch) = event.unwrap() {
            let before = batch.before.clone().unwrap();
            let shown = super::rows(&weir_connect::ChangeBatch { rows: before, ..batch.clone() });
            let shown: Vec<_> = shown.iter().map(|row| (row["id"].clone(), row["v"].clone())).collect();
            seen.insert(batch.stream.to_string(), shown);
        }
    }
    let some = |text: &str| Some(text.to_string());
    assert_eq!(seen["public.f"], [(None, None), (some("1"), some("a")), (some("1"), some("b"))]);
    assert_eq!(seen["public.d"], [(None, None), (None, None), (some("1"), None)]);
}

#[tokio::test]
async fn partitions_come_as_their_root_and_inheriting_tables_as_themselves() {
    for server in [PostgresServer::shared().unwrap(), PostgresServer::version(18).unwrap()] {
        let database = server.create_database().unwrap();
        database
            .execute(
                "CREATE TABLE m (id int, day int, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day); \
                 CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10); \
                 CREATE TABLE m2 (v text, day int NOT NULL, id int NOT NULL, PRIMARY KEY (id, day)); ALTER TABLE m ATTACH PARTITION m2 FOR VALUES FROM (10) TO (20); \
                 CREATE TABLE parent (id int PRIMARY KEY, v text); CREATE TABLE child (extra int, PRIMARY KEY (id)) INHERITS (parent); \
                 INSERT INTO m SELECT i, i % 20, 'v' || i FROM generate_series(1, 100) i; INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (1, 'c', 5)",
            )
            .unwrap();
        let mut follow = Follow::new(database, json!({ "tables": ["m", "parent", "child"] }));
        follow.run().await;
        follow
            .database
            .execute("UPDATE m SET v = 'w' WHERE id < 10; UPDATE m SET day = day + 10 WHERE day < 5; DELETE FROM m WHERE id = 50; INSERT INTO child VALUES (2, 'd', 6); UPDATE parent SET v = 'q'; \
                      CREATE TABLE m3 PARTITION OF m FOR VALUES FROM (20) TO (30); INSERT INTO m VALUES (500, 25, 'x')")
            .unwrap();
        follow.run().await;
        for stream in ["public.m", "public.parent", "public.child"] {
            follow.expect(stream);
        }
    }
}

#[tokio::test]
async fn a_large_transaction_comes_whole_or_not_at_all_with_its_savepoints_taken_back() {
    for version in [Version::System, Version::V18] {
        let server = PostgresServer::options().version(version).set("logical_decoding_work_mem", "64kB").start().unwrap();
        let database = server.create_database().unwrap();
        database.execute("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, v text)").unwrap();
        let mut follow = Follow::new(database, json!({ "tables": ["t", "u"] }));
        follow.run().await;
        let (one, two) = (follow.database.client().await.unwrap(), follow.database.client().await.unwrap());
        let fill =
            |from: i32| format!("INSERT INTO t SELECT i, repeat('x', 50) || i FROM generate_series({from}, {}) i", from + 4999);
        one.batch_execute(&format!("BEGIN; {}; SAVEPOINT a; {}; SAVEPOINT b; {}", fill(0), fill(10_000), fill(20_000)))
            .await
            .unwrap();
        two.batch_execute(&format!("BEGIN; {}; INSERT INTO u VALUES (1, 'lost')", fill(50_000))).await.unwrap();
        one.batch_execute("ROLLBACK TO b; UPDATE t SET v = 'after b' WHERE id < 100; ROLLBACK TO a").await.unwrap();
        one.batch_execute(&format!(
            "{}; SAVEPOINT c; DELETE FROM t WHERE id < 50; RELEASE c; INSERT INTO u VALUES (2, 'kept')",
            fill(30_000)
        ))
        .await
        .unwrap();
        two.batch_execute("ROLLBACK").await.unwrap();
        one.batch_execute("COMMIT").await.unwrap();
        two.batch_execute(&format!("BEGIN; {}; COMMIT", fill(70_000))).await.unwrap();
        follow.run().await;
        follow.expect("public.t");
        follow.expect("public.u");
        assert_eq!(follow.state.tables["public.t"].len(), 14_950);
        let streamed = follow
            .database
            .value(format!("SELECT stream_txns FROM pg_stat_replication_slots WHERE slot_name = '{}'", follow.slot()));
        assert!(streamed.unwrap().parse::<u32>().unwrap() > 0, "the server streamed nothing: the test proves nothing");
    }
}

#[tokio::test]
async fn tables_without_key_are_followed_by_their_whole_rows() {
    let mut follow = Follow::shared(
        "CREATE TABLE k (a int, b text); ALTER TABLE k REPLICA IDENTITY FULL; INSERT INTO k SELECT i, 'x' FROM generate_series(1, 100) i",
        json!({ "tables": ["k"] }),
    );
    follow.run().await;
    follow.database.execute("INSERT INTO k VALUES (200, NULL); DELETE FROM k WHERE a < 10").unwrap();
    follow.run().await;
    follow.expect("public.k");
    assert!(follow.state.keys["public.k"].is_empty());
}

#[tokio::test]
async fn an_index_can_be_the_identity() {
    let mut follow = Follow::shared(
        "CREATE TABLE k (a int PRIMARY KEY, b text NOT NULL, c int); CREATE UNIQUE INDEX kb ON k (b) INCLUDE (c); ALTER TABLE k REPLICA IDENTITY USING INDEX kb; \
         INSERT INTO k SELECT i, 'x' || i, i FROM generate_series(1, 100) i",
        json!({ "tables": ["k"] }),
    );
    follow.run().await;
    assert_eq!(follow.state.keys["public.k"], ["b"]);
    follow
        .database
        .execute("UPDATE k SET a = a + 1000; UPDATE k SET b = 'moved' WHERE c = 7; DELETE FROM k WHERE c = 8")
        .unwrap();
    follow.run().await;
    follow.expect("public.k");
}

#[tokio::test]
async fn a_value_without_counterpart_is_a_dead_letter_in_snapshot_and_stream() {
    let mut follow = Follow::shared(
        "CREATE TABLE w (id int PRIMARY KEY, d date); INSERT INTO w VALUES (1, 'infinity'), (2, NULL)",
        json!({ "tables": ["w"] }),
    );
    follow.run().await;
    follow.database.execute("INSERT INTO w VALUES (3, '-infinity'), (4, '2024-02-29')").unwrap();
    follow.run().await;
    assert_eq!(follow.state.dead.len(), 2);
    assert!(follow.state.dead.iter().all(|letter| letter.reason.contains("infinity") && letter.stream == "public.w"));
    assert_eq!(follow.state.tables["public.w"].len(), 2);
}
