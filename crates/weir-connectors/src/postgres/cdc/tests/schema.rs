//! Tables that change their columns.

use serde_json::json;
use weir_testkit::PostgresServer;

use super::Follow;

#[tokio::test]
async fn columns_come_and_go_between_the_rows() {
    for server in [PostgresServer::shared().unwrap(), PostgresServer::version(18).unwrap()] {
        let database = server.create_database().unwrap();
        database.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b text); INSERT INTO t VALUES (1, 1, 'x')").unwrap();
        let mut follow = Follow::new(database, json!({ "tables": ["t"] }));
        follow.run().await;
        let (log, mut events) = {
            follow.announce().await;
            follow.open_from(follow.state.position.clone(), false).await.unwrap()
        };
        let mut state = follow.state.clone();
        for (ddl, columns) in [
            ("ALTER TABLE t ADD c int", vec!["id", "a", "b", "c"]),
            ("ALTER TABLE t RENAME b TO d", vec!["id", "a", "d", "c"]),
            ("ALTER TABLE t DROP a", vec!["id", "d", "c"]),
            ("ALTER TABLE t ALTER c TYPE bigint", vec!["id", "d", "c"]),
        ] {
            follow.database.execute(ddl).unwrap();
            follow
                .database
                .execute("UPDATE t SET d = 'after' WHERE false OR id = 1")
                .or_else(|_| follow.database.execute("UPDATE t SET c = 5"))
                .unwrap();
            let change = super::until(&mut events, &mut state, |event, _| match event {
                weir_connect::ChangeEvent::Schema(change) => Some(change.clone()),
                _ => None,
            })
            .await;
            let names: Vec<&str> = change.schema.fields().iter().map(|field| field.name().as_str()).collect();
            assert_eq!(names, columns, "{ddl}");
            let renamed: Vec<_> = change.renamed.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
            assert_eq!(renamed, if ddl.contains("RENAME") { vec![("b", "d")] } else { vec![] });
        }
        drop((log, events));
    }
}

#[tokio::test]
async fn rows_of_every_shape_in_the_log_are_read_in_their_shape() {
    let mut follow = Follow::shared("CREATE TABLE t (id int PRIMARY KEY, a int, b text)", json!({ "tables": ["t"] }));
    follow.run().await;
    follow
        .database
        .execute(
            "INSERT INTO t VALUES (1, 1, 'one'); ALTER TABLE t ADD c text; INSERT INTO t VALUES (2, 2, 'two', 'c'); ALTER TABLE t DROP a; \
             INSERT INTO t VALUES (3, 'three', 'd'); ALTER TABLE t ALTER id TYPE bigint; INSERT INTO t VALUES (4000000000, 'four', 'e')",
        )
        .unwrap();
    follow.run().await;
    follow.expect("public.t");
}

#[tokio::test]
async fn a_column_that_only_the_server_can_print_changes_the_form_of_the_log_in_the_middle() {
    let mut follow = Follow::shared(
        "CREATE TABLE t (id int PRIMARY KEY, a int); CREATE TABLE u (id int PRIMARY KEY, d date)",
        json!({ "tables": ["t", "u"] }),
    );
    follow.batch_bytes = 2000;
    follow.run().await;
    follow
        .database
        .execute(
            "BEGIN; INSERT INTO t SELECT i, i FROM generate_series(1, 500) i; INSERT INTO u SELECT i, '2024-01-01' FROM generate_series(1, 500) i; \
             ALTER TABLE t ADD ip inet; INSERT INTO t SELECT i, i, '10.0.0.1' FROM generate_series(501, 600) i; UPDATE u SET d = d + 1; COMMIT; DELETE FROM t WHERE id < 10; \
             INSERT INTO u VALUES (9999, '2023-05-05')",
        )
        .unwrap();
    follow.run().await;
    follow.expect("public.t");
    follow.expect("public.u");
    // The column is gone before we begin again: the catalogue does not tell.
    follow.database.execute("ALTER TABLE t ADD net cidr; INSERT INTO t VALUES (7000, 1, NULL, '10.0.0.0/8'); ALTER TABLE t DROP net; ALTER TABLE t DROP ip; INSERT INTO t VALUES (7001, 1)").unwrap();
    follow.run().await;
    follow.expect("public.t");
}

#[tokio::test]
async fn columns_that_change_while_chunks_are_read_are_not_lost() {
    let mut follow = Follow::shared(
        "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t SELECT i, i FROM generate_series(1, 5000) i",
        json!({ "tables": ["t"], "chunk_bytes": 8192 }),
    );
    follow.announce().await;
    let (log, mut events) = follow.open_from(None, false).await.unwrap();
    let mut state = follow.state.clone();
    super::until(&mut events, &mut state, |_, state| (state.ops.get("r").is_some_and(|rows| *rows > 500)).then_some(())).await;
    follow.database.execute("ALTER TABLE t ADD b text; UPDATE t SET b = 'b' || id WHERE id % 2 = 0").unwrap();
    super::until(&mut events, &mut state, |event, _| match event {
        weir_connect::ChangeEvent::Boundary(boundary) => {
            let done = boundary.position["tables"]["public.t"]["done"] == true;
            (done && boundary.caught_up).then_some(())
        }
        _ => None,
    })
    .await;
    drop((log, events));
    follow.state = state;
    follow.run().await;
    follow.expect("public.t");
}

#[tokio::test]
async fn generated_columns_are_there_where_the_server_publishes_them() {
    for (server, published) in [(PostgresServer::shared().unwrap(), false), (PostgresServer::version(18).unwrap(), true)] {
        let database = server.create_database().unwrap();
        database.execute("CREATE TABLE t (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, n int GENERATED ALWAYS AS IDENTITY); INSERT INTO t VALUES (1, 2)").unwrap();
        let mut follow = Follow::new(database, json!({ "tables": ["t"] }));
        follow.run().await;
        follow.database.execute("INSERT INTO t VALUES (2, 3); UPDATE t SET a = 10 WHERE id = 1").unwrap();
        follow.run().await;
        let rows: Vec<_> = follow.state.tables["public.t"]
            .values()
            .map(|row| (row["a"].clone().unwrap(), row.get("twice").cloned().flatten()))
            .collect();
        let twice = |text: &str| published.then(|| text.to_string());
        assert_eq!(rows, [("10".to_string(), twice("20")), ("3".to_string(), twice("6"))]);
        let columns = if published { vec!["id", "a", "twice", "n"] } else { vec!["id", "a", "n"] };
        for change in &follow.state.schemas {
            let names: Vec<&str> = change.schema.fields().iter().map(|field| field.name().as_str()).collect();
            assert_eq!(names, columns, "the log has other columns than the snapshot");
        }
        assert!(follow.state.tables["public.t"].values().all(|row| row["n"].is_some()));
    }
}
