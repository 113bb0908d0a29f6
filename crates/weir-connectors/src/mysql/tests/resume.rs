//! Interrupted reads: what goes on after the last key, and what starts over because the server cannot prove that nothing changed.

use std::time::Duration;

use serde_json::json;
use weir_connect::{ReadRequest, Resume, ResumeVerdict, SplitProgress, StreamReader};
use weir_testkit::mysql::Flavor;
use weir_testkit::{MysqlDatabase, MysqlServer, wait_until};

use super::{Taken, database, lines, open, server_lines, source, take_all, take_split};

/// Waits until the server's clock has left the second in which the table was last written to.
pub(super) fn settled(database: &MysqlDatabase, table: &str) {
    let sql = format!(
        "SELECT UNIX_TIMESTAMP() - UNIX_TIMESTAMP(COALESCE(UPDATE_TIME, CREATE_TIME)) >= 2 FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME = '{table}'",
        database.name()
    );
    wait_until("the table's last second is over", Duration::from_secs(20), || database.value(&sql).unwrap() == "1").unwrap();
}

fn thousand(database: &MysqlDatabase) {
    database
        .execute(
            "CREATE TABLE t (a INT, b VARCHAR(20), v TEXT, PRIMARY KEY (a, b)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        )
        .unwrap();
    let rows: Vec<String> = (0..1000).map(|i| format!("({}, 'k{}', 'value {i}')", i / 10, i % 10)).collect();
    database.execute(format!("INSERT INTO t VALUES {}", rows.join(", "))).unwrap();
    settled(database, "t");
}

fn resume(reader: &dyn StreamReader, progress: Vec<SplitProgress>) -> ReadRequest {
    let resume = Resume { reader_state: reader.state(), progress };
    ReadRequest { batch_bytes: 500, resume: Some(resume), ..ReadRequest::default() }
}

/// Reads some batches of the first split; what came and the progress up to there.
async fn half(reader: &dyn StreamReader) -> (Taken, SplitProgress) {
    let split = reader.splits().remove(0);
    let mut taken = Taken::default();
    take_split(reader, &split, None, &mut taken).await.unwrap();
    let kept = taken.batches.len() / 2;
    assert!(kept > 1, "{} batches", taken.batches.len());
    let position = taken.positions[kept - 1].clone();
    assert!(position.is_some());
    taken.batches.truncate(kept);
    let rows = taken.rows() as u64;
    (taken, SplitProgress { split, position, done: false, rows })
}

#[tokio::test]
async fn a_read_goes_on_after_the_last_key_of_a_composite_key() {
    let database = database();
    thousand(&database);
    let source = source(database.url(), json!({ "table": "t", "split_rows": 250 })).await;
    let reader = open(&source, ReadRequest { batch_bytes: 500, ..ReadRequest::default() }).await.unwrap();
    assert!(reader.splits().len() > 1);
    let (mut taken, progress) = half(reader.as_ref()).await;
    let again = open(&source, resume(reader.as_ref(), vec![progress.clone()])).await.unwrap();
    assert_eq!(again.verdict(), ResumeVerdict::Continued);
    for split in again.splits() {
        let from = (split.id == progress.split.id).then(|| progress.position.clone()).flatten();
        take_split(again.as_ref(), &split, from, &mut taken).await.unwrap();
    }
    assert_eq!(lines(&taken.batches), server_lines(&database, "SELECT * FROM t"));
}

#[tokio::test]
async fn a_change_since_the_first_attempt_starts_the_read_over() {
    for change in [
        "INSERT INTO t VALUES (5, 'new', 'x')",
        "UPDATE t SET v = 'x' WHERE a = 99",
        "DELETE FROM t WHERE a = 99",
        "ALTER TABLE t ADD COLUMN w INT",
        "TRUNCATE t",
        "DROP TABLE t; CREATE TABLE t (a INT, b VARCHAR(20), v TEXT, PRIMARY KEY (a, b))",
    ] {
        let database = database();
        thousand(&database);
        let source = source(database.url(), json!({ "table": "t" })).await;
        let reader = open(&source, ReadRequest { batch_bytes: 500, ..ReadRequest::default() }).await.unwrap();
        let (_, progress) = half(reader.as_ref()).await;
        let request = resume(reader.as_ref(), vec![progress]);
        // It holds the table as it is.
        drop(reader);
        database.execute(change).unwrap();
        let again = open(&source, request).await.unwrap();
        assert!(matches!(again.verdict(), ResumeVerdict::StartOver { .. }), "{change}");
        assert_eq!(
            lines(&take_all(again.as_ref()).await.unwrap().batches),
            server_lines(&database, "SELECT * FROM t"),
            "{change}"
        );
    }
}

#[tokio::test]
async fn a_change_in_the_second_of_the_first_view_starts_the_read_over() {
    let database = database();
    database.execute("CREATE TABLE t (a INT PRIMARY KEY); INSERT INTO t VALUES (1), (2)").unwrap();
    let source = source(database.url(), json!({ "table": "t" })).await;
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    let progress = SplitProgress { split: reader.splits().remove(0), position: Some(json!(["1"])), done: false, rows: 1 };
    let again = open(&source, resume(reader.as_ref(), vec![progress])).await.unwrap();
    assert!(matches!(again.verdict(), ResumeVerdict::StartOver { .. }));
}

#[tokio::test]
async fn after_a_restart_of_the_server_an_untouched_table_is_known_by_the_binlog() {
    let mut server = MysqlServer::start(Flavor::MariaDb).unwrap();
    let database = server.create_database().unwrap();
    thousand(&database);
    server.restart().unwrap();
    let source = source(database.url(), json!({ "table": "t" })).await;
    let reader = open(&source, ReadRequest { batch_bytes: 500, ..ReadRequest::default() }).await.unwrap();
    let (mut taken, progress) = half(reader.as_ref()).await;
    let request = resume(reader.as_ref(), vec![progress.clone()]);
    drop(reader);
    let again = open(&source, request.clone()).await.unwrap();
    assert_eq!(again.verdict(), ResumeVerdict::Continued);
    take_split(again.as_ref(), &again.splits()[0], progress.position, &mut taken).await.unwrap();
    assert_eq!(lines(&taken.batches), server_lines(&database, "SELECT * FROM t"));
    drop(again);
    server.kill_9().unwrap();
    server.restart().unwrap();
    database.execute("UPDATE t SET v = 'other' WHERE a = 1").unwrap();
    let again = open(&source, request).await.unwrap();
    assert!(matches!(again.verdict(), ResumeVerdict::StartOver { .. }));
}

#[tokio::test]
async fn a_commit_that_the_view_just_missed_is_not_taken_for_old() {
    let database = database();
    thousand(&database);
    let source = source(database.url(), json!({ "table": "t" })).await;
    let reader = open(&source, ReadRequest { batch_bytes: 500, ..ReadRequest::default() }).await.unwrap();
    let (_, progress) = half(reader.as_ref()).await;
    let request = resume(reader.as_ref(), vec![progress]);
    database.execute("UPDATE t SET v = 'missed' WHERE a = 0").unwrap();
    settled(&database, "t");
    let again = open(&source, request).await.unwrap();
    assert!(matches!(again.verdict(), ResumeVerdict::StartOver { .. }));
}
