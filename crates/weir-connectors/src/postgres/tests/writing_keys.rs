//! Upsert and merge by key, and what a crash between a flush and its acknowledgement leaves: exactly one of each row.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use serde_json::json;
use weir_connect::{Error, Kind, Sink, StreamSink, WriteMode};
use weir_testkit::Database;

use super::{barrier, database, done, rows, run, server_lines, sink, target, values, write};

async fn into(database: &Database) -> Arc<dyn Sink> {
    sink(database.url(), json!({ "table": "t" })).await
}

/// Rows of (a, b, v).
fn pairs(rows: &[(Option<i32>, &str, &str)]) -> RecordBatch {
    let a: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int32Array>());
    let b: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)));
    let v: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2)));
    RecordBatch::try_from_iter_with_nullable([("a", a, true), ("b", b, true), ("v", v, true)]).unwrap()
}

async fn keyed(database: &Database, run_id: &str, mode: WriteMode, key: &[&str], batches: &[RecordBatch]) -> Result<u64, Error> {
    Ok(run(&into(database).await, target(run_id, "s", batches[0].schema(), mode, key), batches).await?.rows)
}

#[tokio::test]
async fn a_composite_key_replaces_the_last_one_wins_and_the_rest_stays() {
    let database = database();
    let first = pairs(&[(Some(1), "x", "one"), (Some(1), "y", "two"), (Some(2), "x", "three")]);
    keyed(&database, "r1", WriteMode::Upsert, &["a", "b"], &[first]).await.unwrap();
    // The same key twice in one batch, and again in a later one.
    let second = pairs(&[(Some(1), "y", "older"), (Some(1), "y", "newer"), (Some(3), "z", "first")]);
    let third = pairs(&[(Some(3), "z", "last")]);
    assert_eq!(keyed(&database, "r2", WriteMode::Upsert, &["b", "a"], &[second, third]).await.unwrap(), 4);
    assert_eq!(server_lines(&database, "SELECT a, b, v FROM t"), ["1|x|one", "1|y|newer", "2|x|three", "3|z|last"]);
    let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'p'";
    assert_eq!(values(&database, key), ["PRIMARY KEY (a, b)"]);
}

#[tokio::test]
async fn upsert_leaves_nothing_of_the_old_row_and_merge_only_changes_what_it_has() {
    let database = database();
    for (mode, expected) in [(WriteMode::Upsert, ["1|x|new|9", "2|x|kept|5"]), (WriteMode::Merge, ["1|x|new|5", "2|x|kept|5"])] {
        database
            .execute("DROP TABLE IF EXISTS t; CREATE TABLE t (a int, b text, v text, other int DEFAULT 9, UNIQUE (b, a)); INSERT INTO t VALUES (1, 'x', 'old', 5), (2, 'x', 'kept', 5)")
            .unwrap();
        keyed(&database, mode.as_str(), mode, &["a", "b"], &[pairs(&[(Some(1), "x", "new")])]).await.unwrap();
        assert_eq!(server_lines(&database, "SELECT a, b, v, other FROM t"), expected, "{mode:?}");
    }
}

#[tokio::test]
async fn a_stream_of_keys_only_inserts_what_is_missing() {
    let database = database();
    let keys = pairs(&[(Some(1), "x", "k"), (Some(1), "x", "k"), (Some(2), "y", "k")]);
    for run_id in ["r1", "r2"] {
        keyed(&database, run_id, WriteMode::Upsert, &["a", "b", "v"], std::slice::from_ref(&keys)).await.unwrap();
    }
    assert_eq!(server_lines(&database, "SELECT a, b, v FROM t"), ["1|x|k", "2|y|k"]);
}

#[tokio::test]
async fn keys_that_cannot_serve_are_refused_with_the_remedy() {
    let database = database();
    let batch = pairs(&[(Some(1), "x", "v")]);
    let refused = |key: &'static [&'static str], batch: RecordBatch| {
        let database = &database;
        async move { keyed(database, &key.join("-"), WriteMode::Upsert, key, &[batch]).await.unwrap_err() }
    };
    let error = refused(&[], batch.clone()).await;
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-043", Kind::Spec));
    let error = refused(&["absent"], batch.clone()).await;
    assert!(error.why().unwrap().contains("a, b, v"), "{error}");
    // The index must be over the key, whole and for every row.
    database
        .execute("CREATE TABLE t (a int, b text, v text); CREATE UNIQUE INDEX ON t (a) WHERE b = 'x'; CREATE UNIQUE INDEX ON t (lower(b)); CREATE UNIQUE INDEX ON t (a, b, v)")
        .unwrap();
    for key in [&["a"] as &[&str], &["b"], &["a", "b"]] {
        let error = refused(key, batch.clone()).await;
        assert_eq!((error.code(), error.kind()), ("WEIR-PG-044", Kind::Schema), "{key:?}");
        assert!(
            error.advice().unwrap().starts_with("create one: CREATE UNIQUE INDEX ON \"public\".\"t\" (\"a\"") || key[0] == "b",
            "{error}"
        );
    }
    let error = refused(&["a", "b", "v"], pairs(&[(Some(1), "x", "v"), (None, "x", "v"), (None, "y", "v")])).await;
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-055", Kind::Data));
    assert!(error.to_string().contains("2 rows have no value in the key"), "{error}");
    assert_eq!(values(&database, "SELECT count(*) FROM t"), ["0"]);
}

fn ids(database: &Database) -> Vec<String> {
    values(database, "SELECT id FROM t ORDER BY id")
}

/// Sets a failpoint for as long as it lives.
struct Fails(&'static str);

impl Fails {
    fn at(place: &'static str) -> Self {
        weir_connect::__fail::cfg(place, "return").unwrap();
        Self(place)
    }
}

impl Drop for Fails {
    fn drop(&mut self) {
        weir_connect::__fail::remove(self.0);
    }
}

/// The engine's part after a crash: what is known to be done is not sent again.
async fn send_missing(stream: &dyn StreamSink, epoch: u64, batches: &[(&str, RecordBatch)]) {
    let progress = stream.recover().await.unwrap().progress.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    for (split, batch) in batches.iter().filter(|(split, _)| !progress.iter().any(|part| part.split.id == *split)) {
        writer.write(batch.clone()).await.unwrap();
        writer.flush(&barrier(epoch, vec![done(split, batch.num_rows() as u64)])).await.unwrap();
    }
}

#[tokio::test]
async fn a_crash_around_a_flush_neither_doubles_nor_loses_a_row() {
    for mode in [WriteMode::Append, WriteMode::Overwrite, WriteMode::Upsert] {
        // Before: the rows are gone with the transaction. After: they are there and nobody was told.
        for (place, durable) in [("postgres.flush.before", 0), ("postgres.flush.after", 5)] {
            let database = database();
            let sink = into(&database).await;
            let to = || target("r", "s", rows(0, 1).schema(), mode, &["id"]);
            let batches = [("a", rows(0, 5)), ("b", rows(5, 8))];
            let stream = sink.prepare(to()).await.unwrap();
            let mut writer = stream.writer(0).await.unwrap();
            writer.write(batches[0].1.clone()).await.unwrap();
            let fails = Fails::at(place);
            let error = writer.flush(&barrier(1, vec![done("a", 5)])).await.unwrap_err();
            assert_eq!(error.code(), "WEIR-TEST-001");
            drop((fails, writer, stream));

            let stream = sink.prepare(to()).await.unwrap();
            assert_eq!(stream.recover().await.unwrap().rows, durable, "{mode:?} {place}");
            send_missing(stream.as_ref(), 2, &batches).await;
            let report = stream.commit(&[]).await.unwrap();
            assert_eq!((report.rows, ids(&database).len()), (8, 8), "{mode:?} {place}");
        }
    }
}

#[tokio::test]
async fn a_crash_around_the_commit_leaves_one_result() {
    for mode in [WriteMode::Append, WriteMode::Overwrite, WriteMode::Upsert, WriteMode::Merge] {
        for (place, committed) in [("postgres.commit.before", false), ("postgres.commit.after", true)] {
            let database = database();
            let sink = into(&database).await;
            let to = || target("r", "s", rows(0, 1).schema(), mode, &["id"]);
            let stream = sink.prepare(to()).await.unwrap();
            write(stream.as_ref(), 1, &[rows(0, 5)]).await.unwrap();
            let fails = Fails::at(place);
            assert_eq!(stream.commit(&[]).await.unwrap_err().code(), "WEIR-TEST-001");
            drop((fails, stream));

            let stream = sink.prepare(to()).await.unwrap();
            let recovered = stream.recover().await.unwrap();
            assert_eq!((recovered.committed.is_some(), recovered.rows), (committed, 5), "{mode:?} {place}");
            assert_eq!(stream.commit(&[]).await.unwrap().rows, 5);
            assert_eq!(ids(&database), ["0", "1", "2", "3", "4"], "{mode:?} {place}");
        }
    }
}

#[tokio::test]
async fn a_writer_of_an_earlier_attempt_is_shut_out() {
    let database = database();
    let sink = into(&database).await;
    let to = || target("r", "s", rows(0, 1).schema(), WriteMode::Append, &[]);
    let old = sink.prepare(to()).await.unwrap();
    let mut writer = old.writer(0).await.unwrap();
    // It has connected, and then hangs between two flushes while another process takes over.
    writer.write(rows(0, 2)).await.unwrap();
    writer.flush(&barrier(1, vec![done("a", 2)])).await.unwrap();
    let new = sink.prepare(to()).await.unwrap();
    let error = writer.write(rows(2, 4)).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-041", Kind::Conflict), "{error}");
    let error = old.commit(&[]).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-PG-041", "{error}");
    send_missing(new.as_ref(), 2, &[("a", rows(0, 2)), ("b", rows(2, 4))]).await;
    assert_eq!(new.commit(&[]).await.unwrap().rows, 4);
    assert_eq!(ids(&database), ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn lanes_write_side_by_side_and_the_ledger_counts_them_together() {
    let database = database();
    let stream = into(&database).await.prepare(target("r", "s", rows(0, 1).schema(), WriteMode::Append, &[])).await.unwrap();
    let lane = |lane: usize| {
        let stream = &stream;
        async move {
            let mut writer = stream.writer(lane).await?;
            let from = lane as i64 * 100;
            for epoch in 0..3_i64 {
                writer.write(rows(from + epoch * 10, from + epoch * 10 + 10)).await?;
                writer.flush(&barrier(epoch as u64, vec![done(&format!("{lane}-{epoch}"), 10)])).await?;
            }
            Ok::<_, Error>(())
        }
    };
    futures::future::try_join_all((0..4).map(lane)).await.unwrap();
    assert_eq!(stream.recover().await.unwrap().progress.unwrap().len(), 12);
    assert_eq!(stream.commit(&[]).await.unwrap().rows, 120);
    assert_eq!(values(&database, "SELECT count(DISTINCT id) FROM t"), ["120"]);
}

#[tokio::test]
async fn a_trigger_that_leaves_rows_out_is_found_by_counting() {
    let database = database();
    database
        .execute(
            "CREATE TABLE t (id bigint, name text, n bigint); \
             CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN CASE WHEN NEW.id <> 2 THEN NEW END; END'; \
             CREATE TRIGGER leaves_out BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION leave_out()",
        )
        .unwrap();
    let stream = into(&database).await.prepare(target("r", "s", rows(0, 1).schema(), WriteMode::Append, &[])).await.unwrap();
    let error = write(stream.as_ref(), 1, &[rows(0, 4)]).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-056", Kind::Data));
    assert!(error.to_string().contains("3 of 4 rows"), "{error}");
    assert_eq!(values(&database, "SELECT count(*) FROM t"), ["0"]);
}
