//! After a crash: what was read is kept only if the server proves that it still holds. Whatever the verdict, what is delivered in the end
//! equals one consistent read of the table as it is then.

use std::time::Duration;

use serde_json::{Value, json};
use weir_connect::{ReadRequest, Resume, ResumeVerdict, Split};
use weir_testkit::{Database, wait_until};

use super::{Taken, database, lines, open, server_lines, source, take_all, take_split};

const FINISHED: usize = 4;

fn seed(database: &Database) {
    database
        .execute(
            "CREATE TABLE t (id bigint PRIMARY KEY, v text) WITH (autovacuum_enabled = false); \
             INSERT INTO t SELECT i, 'v' || i || repeat('x', 60) FROM generate_series(1, 3000) i",
        )
        .unwrap();
    // While a transaction runs that is older than these rows, in whatever database of the server, nobody can prove that they are older.
    let settled =
        "SELECT count(*) = 0 FROM t WHERE xmin::text::numeric >= pg_snapshot_xmin(pg_current_snapshot())::text::numeric";
    wait_until("all older transactions have ended", Duration::from_secs(60), || database.value(settled).unwrap() == "t").unwrap();
}

fn options() -> Value {
    json!({ "table": "t", "split_bytes": 32768 })
}

/// Reads the first splits of `t`, as an attempt does that dies then.
async fn interrupted(database: &Database) -> (Taken, Value, Vec<Split>) {
    let source = source(database.url(), options()).await;
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    assert_eq!(reader.verdict(), ResumeVerdict::Fresh);
    let splits = reader.splits();
    assert!(splits.len() > FINISHED + 2, "{} splits", splits.len());
    let mut taken = Taken::default();
    for split in &splits[..FINISHED] {
        take_split(reader.as_ref(), split, &mut taken).await.unwrap();
    }
    (taken, reader.state(), splits)
}

/// Resumes; checks that the rows delivered are the table's; returns the verdict.
async fn resumed(database: &Database, before: &Taken, state: Value) -> ResumeVerdict {
    let source = source(database.url(), options()).await;
    let resume = Some(Resume { reader_state: state, progress: before.progress.clone() });
    let reader = open(&source, ReadRequest { resume, ..ReadRequest::default() }).await.unwrap();
    let rest = take_all(reader.as_ref()).await.unwrap();
    let delivered = match reader.verdict() {
        ResumeVerdict::Continued => {
            let again = rest.progress.iter().any(|part| before.progress.iter().any(|done| done.split.id == part.split.id));
            assert!(!again, "a finished split was read again");
            [before.batches.clone(), rest.batches].concat()
        }
        ResumeVerdict::StartOver { .. } => rest.batches,
        ResumeVerdict::Fresh => panic!("a resume that does not say what it did"),
    };
    assert_eq!(lines(&delivered), server_lines(database, "SELECT id, v FROM t"));
    reader.verdict()
}

/// The verdict after `changes`, each a call of its own, because VACUUM cannot be in a transaction with others.
async fn after(changes: &[&str]) -> ResumeVerdict {
    let database = database();
    seed(&database);
    let (taken, state, _) = interrupted(&database).await;
    for change in changes {
        database.execute(*change).unwrap();
    }
    resumed(&database, &taken, state).await
}

fn reason(verdict: ResumeVerdict) -> String {
    match verdict {
        ResumeVerdict::StartOver { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_unchanged_table_is_continued() {
    assert_eq!(after(&[]).await, ResumeVerdict::Continued);
}

#[tokio::test]
async fn rows_added_at_the_end_are_read_with_what_is_left() {
    // As wide as the others: a short row would go into the room that is left in a block that was read.
    let append = "INSERT INTO t SELECT i, 'v' || i || repeat('x', 60) FROM generate_series(3001, 9000) i";
    assert_eq!(after(&[append]).await, ResumeVerdict::Continued);
}

#[tokio::test]
async fn changes_in_blocks_that_were_not_read_yet_do_no_harm() {
    let changes = "UPDATE t SET v = v || '!' WHERE id > 2900; DELETE FROM t WHERE id = 2850";
    assert_eq!(after(&[changes]).await, ResumeVerdict::Continued);
}

#[tokio::test]
async fn an_update_of_what_was_read_starts_over_and_names_the_blocks() {
    let said = reason(after(&["UPDATE t SET v = 'changed' WHERE id = 3"]).await);
    assert!(said.contains("public.t blocks 0 to"), "{said}");
}

#[tokio::test]
async fn a_delete_of_what_was_read_starts_over() {
    let said = reason(after(&["DELETE FROM t WHERE id = 3"]).await);
    assert!(said.contains("deleted or updated"), "{said}");
}

#[tokio::test]
async fn as_many_rows_put_into_the_room_of_deleted_ones_are_noticed() {
    let changes = [
        "DELETE FROM t WHERE id <= 5",
        "VACUUM t",
        "INSERT INTO t SELECT i, 'v' || i || repeat('x', 60) FROM generate_series(4001, 4005) i",
    ];
    reason(after(&changes).await);
}

#[tokio::test]
async fn vacuum_and_freezing_change_nothing() {
    assert_eq!(after(&["VACUUM t"]).await, ResumeVerdict::Continued);
    assert_eq!(after(&["VACUUM (FREEZE) t", "ANALYZE t"]).await, ResumeVerdict::Continued);
}

#[tokio::test]
async fn a_rewritten_truncated_or_altered_table_starts_over() {
    let cases: [(&[&str], &str); 6] = [
        (&["VACUUM FULL t"], "rewritten"),
        (&["CLUSTER t USING t_pkey"], "rewritten"),
        (&["TRUNCATE t; INSERT INTO t VALUES (1, 'again')"], "truncated"),
        (&["ALTER TABLE t ALTER v TYPE varchar(200)"], "altered"),
        (&["CREATE TABLE n (LIKE t); INSERT INTO n SELECT * FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t"], "gone"),
        (&["CREATE TABLE c () INHERITS (t); INSERT INTO c VALUES (-1, 'child')"], "new"),
    ];
    for (changes, word) in cases {
        let said = reason(after(changes).await);
        assert!(said.contains(word), "{changes:?}: {said}");
    }
}

#[tokio::test]
async fn what_was_rolled_back_never_happened() {
    assert_eq!(after(&["BEGIN; UPDATE t SET v = 'no'; DELETE FROM t; ROLLBACK"]).await, ResumeVerdict::Continued);
}

/// A transaction writes to what is read while it is read, and commits after the crash.
async fn across(writes: &str) -> ResumeVerdict {
    let database = database();
    seed(&database);
    let writer = database.client().await.unwrap();
    writer.batch_execute(writes).await.unwrap();
    // A later transaction that ends before the snapshot: the writer's is then inside the snapshot's span and not after it.
    database.execute("CREATE TABLE later (id int)").unwrap();
    let (taken, state, _) = interrupted(&database).await;
    writer.batch_execute("COMMIT").await.unwrap();
    resumed(&database, &taken, state).await
}

#[tokio::test]
async fn a_transaction_that_commits_after_the_snapshot_is_seen() {
    reason(across("BEGIN; UPDATE t SET v = v || '!' WHERE id = 3").await);
    reason(across("BEGIN; DELETE FROM t WHERE id = 3").await);
}

#[tokio::test]
async fn so_is_one_that_wrote_after_a_savepoint() {
    // The new version lies in the block of the old one, so the number of rows does not tell.
    let database = database();
    seed(&database);
    database.execute("DELETE FROM t WHERE id IN (4, 5)").unwrap();
    database.execute("VACUUM t").unwrap();
    let writer = database.client().await.unwrap();
    writer
        .batch_execute(
            "BEGIN; SELECT txid_current(); SAVEPOINT s; UPDATE t SET v = 'after the savepoint' WHERE id = 3; RELEASE s",
        )
        .await
        .unwrap();
    database.execute("CREATE TABLE later (id int)").unwrap();
    let (taken, state, _) = interrupted(&database).await;
    writer.batch_execute("COMMIT").await.unwrap();
    let block = database.value("SELECT (ctid::text::point)[0] FROM t WHERE id = 3").unwrap();
    assert_eq!(block, "0");
    reason(resumed(&database, &taken, state).await);
}

#[tokio::test]
async fn when_everything_was_read_nothing_has_to_be_proven() {
    let database = database();
    seed(&database);
    let source = source(database.url(), options()).await;
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    let all = take_all(reader.as_ref()).await.unwrap();
    let state = reader.state();
    drop(reader);
    database.execute("UPDATE t SET v = 'later'").unwrap();
    let resume = Some(Resume { reader_state: state, progress: all.progress });
    let again = open(&source, ReadRequest { resume, ..ReadRequest::default() }).await.unwrap();
    assert_eq!((again.verdict(), again.splits().len()), (ResumeVerdict::Continued, 0));
}

#[tokio::test]
async fn a_second_crash_continues_what_the_second_attempt_read() {
    let database = database();
    seed(&database);
    let (mut taken, state, _) = interrupted(&database).await;
    database.execute("INSERT INTO t SELECT i, 'v' || i || repeat('x', 60) FROM generate_series(3001, 4000) i").unwrap();
    let source = source(database.url(), options()).await;
    let resume = Some(Resume { reader_state: state, progress: taken.progress.clone() });
    let reader = open(&source, ReadRequest { resume, ..ReadRequest::default() }).await.unwrap();
    assert_eq!(reader.verdict(), ResumeVerdict::Continued);
    take_split(reader.as_ref(), &reader.splits()[0], &mut taken).await.unwrap();
    let state = reader.state();
    drop(reader);
    // What the second attempt read is under its own snapshot: the rows added before it are old news.
    assert_eq!(resumed(&database, &taken, state).await, ResumeVerdict::Continued);
}

#[tokio::test]
async fn another_database_with_the_same_table_is_not_the_same() {
    let (here, there) = (database(), database());
    seed(&here);
    seed(&there);
    let (taken, state, _) = interrupted(&here).await;
    let said = reason(resumed(&there, &taken, state).await);
    assert!(said.contains("restored or replaced"), "{said}");
}

#[tokio::test]
async fn a_state_that_cannot_be_understood_starts_over() {
    let database = database();
    seed(&database);
    let (taken, mut state, _) = interrupted(&database).await;
    state["version"] = json!(999);
    for state in [state, Value::Null, json!({ "snapshot": 7 })] {
        let said = reason(resumed(&database, &taken, state).await);
        assert!(said.contains("cannot be understood"), "{said}");
    }
}

#[tokio::test]
async fn a_new_partition_starts_over_and_a_query_always_does() {
    let database = database();
    database
        .execute(
            "CREATE TABLE t (id bigint, v text) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9000); \
             INSERT INTO t SELECT i, repeat('x', 60) FROM generate_series(1, 3000) i",
        )
        .unwrap();
    let (taken, state, _) = interrupted(&database).await;
    database.execute("CREATE TABLE t2 PARTITION OF t DEFAULT; INSERT INTO t VALUES (9999, 'far')").unwrap();
    let said = reason(resumed(&database, &taken, state).await);
    assert!(said.contains("partition t2 is new"), "{said}");

    let query = source(database.url(), json!({ "query": "SELECT id FROM t" })).await;
    let reader = open(&query, ReadRequest::default()).await.unwrap();
    let resume = Some(Resume { reader_state: reader.state(), progress: Vec::new() });
    drop(reader);
    let reader = open(&query, ReadRequest { resume, ..ReadRequest::default() }).await.unwrap();
    assert!(reason(reader.verdict()).contains("cannot be proven"));
    assert_eq!(reader.splits().len(), 1);
}
