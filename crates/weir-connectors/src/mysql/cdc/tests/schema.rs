//! Statements that change tables, in the middle of their rows.

use serde_json::json;
use weir_testkit::MysqlServer;
use weir_testkit::mysql::Flavor;

use super::{BOTH, Follow, filled};

/// Statements, and what must have been told of them: renamed columns.
const SCRIPT: &[(&str, &[(&str, &str)])] = &[
    ("ALTER TABLE t ADD w int; UPDATE t SET w = id WHERE id < 5", &[]),
    (
        "ALTER TABLE t ADD x varchar(9) NOT NULL DEFAULT 'it''s', ADD y decimal(5,2) DEFAULT -1.50 FIRST; UPDATE t SET n = 1 WHERE id = 2",
        &[],
    ),
    ("ALTER TABLE t ADD z int NOT NULL AFTER id; DELETE FROM t WHERE id = 3", &[]),
    ("ALTER TABLE t RENAME COLUMN w TO renamed; UPDATE t SET renamed = 9 WHERE id = 5", &[("w", "renamed")]),
    ("ALTER TABLE t CHANGE v `v v` varchar(80); INSERT INTO t (id, `v v`, z) VALUES (1000, 'wider', 0)", &[("v", "v v")]),
    ("ALTER TABLE t DROP COLUMN y; UPDATE t SET n = 5 WHERE id = 6", &[]),
    ("ALTER TABLE t MODIFY n bigint; UPDATE t SET n = 5000000000 WHERE id = 7", &[]),
    ("ALTER TABLE t MODIFY x varchar(30) FIRST; UPDATE t SET x = 'moved' WHERE id = 8", &[]),
    ("ALTER TABLE t ADD INDEX (n); UPDATE t SET n = 8 WHERE id = 9", &[]),
    ("TRUNCATE TABLE t; INSERT INTO t (id, z) VALUES (1, 2), (2, 3)", &[]),
    (
        "RENAME TABLE t TO away; CREATE TABLE copied LIKE away; INSERT INTO copied SELECT * FROM away; RENAME TABLE copied TO t; UPDATE t SET z = 9",
        &[],
    ),
    ("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, other varchar(5)); INSERT INTO t VALUES (1, 'anew')", &[]),
    ("CREATE TABLE IF NOT EXISTS t (id int); INSERT INTO t VALUES (2, 'more')", &[]),
    ("ALTER TABLE t ADD at date DEFAULT (CURRENT_DATE); INSERT INTO t (id, other) VALUES (3, 'c')", &[]),
    (
        "CREATE TABLE foreign_one (a int); ALTER TABLE foreign_one ADD b int; DROP TABLE foreign_one; UPDATE t SET other = 'z' WHERE id = 1",
        &[],
    ),
];

async fn play(follow: &mut Follow) {
    follow.run().await;
    for (statements, renamed) in SCRIPT {
        let before = follow.state.schemas.len();
        follow.database.execute(*statements).unwrap();
        follow.run().await;
        follow.expect("t");
        let told: Vec<(String, String)> =
            follow.state.schemas[before..].iter().flat_map(|change| change.renamed.clone()).collect();
        let expected: Vec<(String, String)> = renamed.iter().map(|(old, new)| (old.to_string(), new.to_string())).collect();
        assert_eq!(told, expected, "{statements}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_between_rows_change_the_stream_where_they_stand() {
    for flavor in BOTH {
        let mut follow = Follow::shared(flavor, &filled(20), json!({ "tables": ["t"] }));
        play(&mut follow).await;
        assert!(
            follow.state.schemas.iter().any(|change| change.statement.as_deref().is_some_and(|sql| sql.contains("ADD w int")))
        );
    }
}

/// All at once: the catalogue is ahead of the log by all that follows.
#[tokio::test(flavor = "multi_thread")]
async fn statements_that_the_catalogue_is_ahead_of_are_followed_by_the_log() {
    for flavor in BOTH {
        let mut follow = Follow::shared(flavor, &filled(20), json!({ "tables": ["t"] }));
        follow.run().await;
        for (statements, _) in &SCRIPT[..9] {
            follow.database.execute(*statements).unwrap();
        }
        follow.run().await;
        follow.expect("t");
        let told: Vec<(String, String)> = follow.state.schemas.iter().flat_map(|change| change.renamed.clone()).collect();
        assert_eq!(told, [("w", "renamed"), ("v", "v v")].map(|(old, new)| (old.to_string(), new.to_string())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_names_is_followed_while_the_catalogue_agrees_with_it_and_refused_else() {
    for (flavor, metadata) in [(Flavor::MySql, "MINIMAL"), (Flavor::MariaDb, "NO_LOG")] {
        let server = MysqlServer::options(flavor).set("binlog-row-metadata", metadata).start().unwrap();
        let mut follow = Follow::at(&server, &filled(20), json!({ "tables": ["t"] }));
        play(&mut follow).await;
        let mut follow = Follow::at(&server, &filled(20), json!({ "tables": ["t"] }));
        follow.run().await;
        follow
            .database
            .execute("ALTER TABLE t ADD w int; UPDATE t SET w = 5; ALTER TABLE t DROP COLUMN v; UPDATE t SET w = 6")
            .unwrap();
        let error = follow.try_run().await.unwrap_err();
        assert_eq!(error.code(), "WEIR-MY-078", "{error}");
        assert!(error.advice().unwrap().contains("binlog_row_metadata"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_dropped_make_the_table_be_read_again() {
    for flavor in BOTH {
        let mut follow = Follow::shared(
            flavor,
            "CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id) (PARTITION a VALUES LESS THAN (10), PARTITION b VALUES LESS THAN MAXVALUE); \
             INSERT INTO t VALUES (1, 1), (2, 2), (20, 3)",
            json!({ "tables": ["t"] }),
        );
        follow.run().await;
        follow.expect("t");
        follow.database.execute("UPDATE t SET v = 5; ALTER TABLE t DROP PARTITION a; INSERT INTO t VALUES (30, 1)").unwrap();
        follow.run().await;
        follow.expect("t");
        assert_eq!(follow.state.truncates, 1);
    }
}
