//! What is found before a row is given out.

use serde_json::json;
use weir_testkit::PostgresServer;

use super::Follow;

async fn refused(follow: &Follow) -> weir_connect::Error {
    match follow.open_from(follow.state.position.clone(), true).await {
        Err(error) => error,
        Ok(_) => panic!("nothing was found"),
    }
}

async fn followed() -> Follow {
    let mut follow =
        Follow::shared("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')", json!({ "tables": ["t"] }));
    follow.run().await;
    follow.idle().await;
    follow
}

#[tokio::test]
async fn a_table_whose_rows_cannot_be_told_apart_is_refused_before_it_is_published() {
    for (setup, why) in [
        ("CREATE TABLE x (a int)", "no primary key"),
        ("CREATE TABLE x (a int PRIMARY KEY DEFERRABLE)", "no primary key"),
        ("CREATE TABLE x (a int PRIMARY KEY); ALTER TABLE x REPLICA IDENTITY NOTHING", "NOTHING"),
        (
            "CREATE TABLE x (a int PRIMARY KEY) PARTITION BY RANGE (a); CREATE TABLE x1 PARTITION OF x DEFAULT; ALTER TABLE x1 REPLICA IDENTITY NOTHING",
            "x1",
        ),
    ] {
        let follow = Follow::shared(setup, json!({ "tables": ["x"] }));
        let error = refused(&follow).await;
        assert_eq!(error.code(), "WEIR-PG-074");
        assert!(error.why().unwrap().contains(why), "{error}");
        assert!(error.advice().unwrap().contains("REPLICA IDENTITY FULL"));
        let left = follow.database.value("SELECT count(*) FROM pg_publication").unwrap();
        assert_eq!(left, "0", "a table that is published so cannot be updated any more");
    }
    let follow = Follow::shared("CREATE UNLOGGED TABLE x (a int PRIMARY KEY)", json!({ "tables": ["x"] }));
    assert_eq!(refused(&follow).await.code(), "WEIR-PG-073");
    let follow = Follow::shared("CREATE VIEW x AS SELECT 1 AS a", json!({ "tables": ["x"] }));
    let source = follow.source().await;
    assert_eq!(source.changes().unwrap().streams().await.unwrap_err().code(), "WEIR-PG-074");
}

#[tokio::test]
async fn a_slot_that_is_gone_or_was_advanced_is_a_gap() {
    let follow = followed().await;
    let slot = follow.slot();
    follow.database.execute(format!("SELECT pg_drop_replication_slot('{slot}')")).unwrap();
    let error = refused(&follow).await;
    assert_eq!(error.code(), "WEIR-PG-075");
    assert!(error.what().contains("gone"), "{error}");

    let follow = followed().await;
    follow.database.execute("INSERT INTO t VALUES (2, 'lost')").unwrap();
    follow.database.execute(format!("SELECT pg_replication_slot_advance('{}', pg_current_wal_lsn())", follow.slot())).unwrap();
    let error = refused(&follow).await;
    assert_eq!(error.code(), "WEIR-PG-075");
    assert!(error.what().contains("advanced"), "{error}");
}

#[tokio::test]
async fn a_slot_that_the_server_gave_up_is_a_gap() {
    let server = PostgresServer::options()
        .set("max_slot_wal_keep_size", "1MB")
        .set("min_wal_size", "32MB")
        .set("max_wal_size", "32MB")
        .start()
        .unwrap();
    let database = server.create_database().unwrap();
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE noise (v text)").unwrap();
    let mut follow = Follow::new(database, json!({ "tables": ["t"] }));
    follow.run().await;
    for _ in 0..8 {
        follow.database.execute("INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 10000)").unwrap();
        follow.database.execute("SELECT pg_switch_wal()").unwrap();
        follow.database.execute("CHECKPOINT").unwrap();
    }
    let error = refused(&follow).await;
    assert_eq!((error.code(), error.what().contains("lost")), ("WEIR-PG-075", true), "{error}");
}

#[tokio::test]
async fn another_server_database_or_position_is_a_gap() {
    let follow = followed().await;
    let position = follow.state.position.clone().unwrap();
    for (field, value) in
        [("system", json!("1")), ("database", json!("other")), ("timeline", json!(7)), ("lsn", json!("FFFFFF/0"))]
    {
        let mut other = position.clone();
        other[field] = value;
        let error = follow.open_from(Some(other), true).await.err().expect(field);
        assert_eq!(error.code(), "WEIR-PG-075", "{field}: {error}");
    }
    let mut other = position;
    other["tables"]["public.t"]["oid"] = json!(1);
    assert_eq!(follow.open_from(Some(other), true).await.err().unwrap().code(), "WEIR-PG-080");
}

#[tokio::test]
async fn server_and_user_must_be_ready_for_it() {
    let server = PostgresServer::options().set("wal_level", "replica").start().unwrap();
    let database = server.create_database().unwrap();
    database.execute("CREATE TABLE t (id int PRIMARY KEY)").unwrap();
    let follow = Follow::new(database, json!({ "tables": ["t"] }));
    let error = refused(&follow).await;
    assert_eq!(error.code(), "WEIR-PG-073");
    assert!(error.advice().unwrap().contains("wal_level"));

    let server = PostgresServer::options().set("max_replication_slots", "1").start().unwrap();
    let database = server.create_database().unwrap();
    database.execute("CREATE TABLE t (id int PRIMARY KEY)").unwrap();
    database.execute("SELECT pg_create_logical_replication_slot('other', 'pgoutput')").unwrap();
    let follow = Follow::new(database, json!({ "tables": ["t"] }));
    assert_eq!(refused(&follow).await.code(), "WEIR-PG-079");
}

#[tokio::test]
async fn a_user_without_the_privileges_is_told_the_statements() {
    use weir_connect::{ChangeRequest, Connector, SourceContext};
    let follow = Follow::shared("CREATE TABLE t (id int PRIMARY KEY)", json!({ "tables": ["t"] }));
    let role = format!("role_{}", follow.database.name());
    follow
        .database
        .execute(format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON t TO {role}; GRANT USAGE ON SCHEMA public TO {role}"))
        .unwrap();
    let open = || async {
        let context = SourceContext {
            connection: json!({ "url": follow.database.url(), "user": role }),
            options: follow.options.clone(),
            on_loss: Default::default(),
            parallelism: 1,
            base_dir: ".".into(),
        };
        let source = super::PostgresCdc::default().source(context).await.unwrap();
        let request = ChangeRequest {
            pipeline: follow.pipeline.clone(),
            streams: vec!["public.t".into()],
            from: None,
            until_caught_up: true,
            before_images: false,
            parallelism: 1,
            batch_bytes: 0,
            linger: std::time::Duration::ZERO,
        };
        source.changes().unwrap().open(request).await.map(drop)
    };
    // Without the attribute, not even the replication session is let in.
    let error = open().await.unwrap_err();
    assert!(matches!(error.code(), "WEIR-PG-006" | "WEIR-PG-010" | "WEIR-PG-003"), "{error:?}");
    follow.database.execute(format!("ALTER ROLE {role} REPLICATION")).unwrap();
    let error = open().await.unwrap_err();
    assert_eq!(error.code(), "WEIR-PG-006", "{error}");
    assert!(error.advice().unwrap().contains("CREATE PUBLICATION"), "{error:?}");
}

#[tokio::test]
async fn a_given_publication_is_checked_and_never_altered() {
    let setup = "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY);";
    for (publication, why) in [
        ("", "does not exist"),
        ("CREATE PUBLICATION mine FOR TABLE t", "public.u"),
        ("CREATE PUBLICATION mine FOR TABLE t, u WITH (publish = 'insert')", "update"),
        ("CREATE PUBLICATION mine FOR TABLE t WHERE (id > 5), u", "filtered"),
        ("CREATE PUBLICATION mine FOR TABLE t (v), u", "key"),
    ] {
        let follow = Follow::shared(&format!("{setup}{publication}"), json!({ "tables": ["t", "u"], "publication": "mine" }));
        let error = refused(&follow).await;
        assert_eq!(error.code(), "WEIR-PG-076", "{error}");
        assert!(format!("{error:?}").contains(why), "{error:?}");
    }
    let mut follow = Follow::shared(
        &format!("{setup} CREATE PUBLICATION mine FOR ALL TABLES"),
        json!({ "tables": ["t", "u"], "publication": "mine" }),
    );
    follow.run().await;
    follow.database.execute("INSERT INTO t VALUES (1, 'a'); INSERT INTO other VALUES (1); INSERT INTO u VALUES (1)").unwrap();
    follow.run().await;
    follow.expect("public.t");
    assert!(!follow.state.tables.contains_key("public.other"));
}

#[tokio::test]
async fn forgetting_leaves_nothing_on_the_server() {
    let follow = followed().await;
    let source = follow.source().await;
    for _ in 0..2 {
        source.changes().unwrap().forget(&follow.pipeline, follow.state.position.as_ref()).await.unwrap();
        let left = format!(
            "SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{}')",
            follow.slot()
        );
        assert_eq!(follow.database.value(left).unwrap(), "0");
    }
}

#[tokio::test]
async fn the_snapshot_can_be_left_out_be_all_or_be_a_part() {
    let setup = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, 100) i";
    for (options, reads) in [
        (json!({ "tables": ["t"], "snapshot": "never" }), None),
        (json!({ "tables": ["t"], "snapshot": "only" }), Some(&100)),
        (json!({ "tables": ["t"], "snapshot_where": { "t": "id > 90 -- the last" } }), Some(&10)),
    ] {
        let mut follow = Follow::shared(setup, options);
        follow.run().await;
        assert_eq!(follow.state.ops.get("r"), reads);
        follow.database.execute("INSERT INTO t VALUES (1000, 'new')").unwrap();
        follow.run().await;
        assert_eq!(follow.state.ops.get("c"), Some(&1));
    }
}
