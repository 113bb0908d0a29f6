//! Applying changes: what is visible after a flush, what a crash leaves, and how fast it is.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::json;
use weir_connect::{Barrier, ChangeWriter, DeleteMode, Error, Kind, Op, Sink, StreamSink, WriteMode};
use weir_testkit::Database;

use super::{database, server_lines, sink, target, values};
use crate::changes::seeds::{
    after, applied, batch, change_batch, changes_target, delete, durable, is, line, mark, pgbench, schema,
};

pub(super) async fn into(database: &Database) -> Arc<dyn Sink> {
    sink(database.url(), json!({ "table": "t" })).await
}

/// A stream into `t`, and its writer.
pub(super) async fn opened(
    database: &Database,
    mode: WriteMode,
    deletes: DeleteMode,
) -> (Box<dyn StreamSink>, Box<dyn ChangeWriter>) {
    let stream = into(database).await.prepare(changes_target("r", schema(), mode, &["id"])).await.unwrap();
    let writer = stream.change_writer(deletes).await.unwrap();
    (stream, writer)
}

pub(super) const TABLE: &str = "SELECT id, a, b FROM t";

#[tokio::test]
async fn each_flush_is_visible_and_nothing_before_it() {
    let database = database();
    let (stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
    let first =
        [line(Op::Create, 1, is("a"), is("b")), line(Op::Create, 2, is("a"), is("b")), line(Op::Create, 3, is("a"), Some(None))];
    writer.apply(batch(&first)).await.unwrap();
    assert_eq!(values(&database, "SELECT count(*) FROM t"), ["0"]);
    assert_eq!(writer.flush(&after(3)).await.unwrap().rows, 3);
    assert_eq!(server_lines(&database, TABLE), ["1|a|b", "2|a|b", "3|a|NULL"]);
    let second = [line(Op::Update, 1, is("new"), None), delete(2), line(Op::Update, 3, Some(None), is("c")), delete(99)];
    assert_eq!(applied(writer.as_mut(), &second).await.unwrap().rows, 4);
    assert_eq!(server_lines(&database, TABLE), ["1|new|b", "3|NULL|c"]);
    // The run's report counts changes, and its commit leaves nothing to stage or to drop.
    assert_eq!(stream.commit(&[]).await.unwrap().rows, 7);
    assert_eq!(values(&database, "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_weir\\_stage%'"), ["0"]);
    let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'p'";
    assert_eq!(values(&database, key), ["PRIMARY KEY (id)"]);
}

#[tokio::test]
async fn many_flushes_leave_one_row_in_the_ledger() {
    let database = database();
    let (stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
    for count in 1..=20 {
        writer.apply(batch(&[line(Op::Create, 1, is("a"), is("b"))])).await.unwrap();
        writer.flush(&after(count)).await.unwrap();
    }
    // Nothing but progress: the source was idle.
    writer.flush(&after(25)).await.unwrap();
    assert_eq!(values(&database, "SELECT count(*) FROM _weir.flushes"), ["1"]);
    let recovered = stream.recover().await.unwrap();
    assert_eq!((durable(stream.as_ref()).await, recovered.rows), (25, 20));
    let nothing = Barrier { epoch: 26, lane: 0, progress: Vec::new() };
    assert_eq!(writer.flush(&nothing).await.unwrap().rows, 0);
}

#[tokio::test]
async fn replaced_rows_have_null_in_columns_that_the_stream_lacks_and_merged_ones_keep_them() {
    for (mode, expected) in [(WriteMode::Upsert, "1|x|b|NULL|9"), (WriteMode::Merge, "1|x|b|5|6")] {
        let database = database();
        database
            .execute("CREATE TABLE t (id bigint PRIMARY KEY, a text, b text, gone int, own int DEFAULT 9); INSERT INTO t VALUES (1, 'a', 'b', 5, 6)")
            .unwrap();
        let (_stream, mut writer) = opened(&database, mode, DeleteMode::Hard).await;
        applied(writer.as_mut(), &[line(Op::Update, 1, is("x"), None)]).await.unwrap();
        let expected = if mode == WriteMode::Upsert { "1|x|b|NULL|6" } else { expected };
        assert_eq!(server_lines(&database, "SELECT id, a, b, gone, own FROM t"), [expected], "{mode:?}");
    }
}

#[tokio::test]
async fn soft_deletes_mark_and_a_later_create_unmarks() {
    let database = database();
    database
        .execute("CREATE TABLE t (id bigint PRIMARY KEY, a text, b text); INSERT INTO t VALUES (1, 'a', 'b'), (2, 'a', 'b')")
        .unwrap();
    let (_stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Soft).await;
    assert_eq!(values(&database, "SELECT count(*) FROM t WHERE NOT _deleted"), ["2"]);
    applied(writer.as_mut(), &[delete(1), delete(3), line(Op::Create, 4, is("x"), is("y")), delete(4)]).await.unwrap();
    let lines = "SELECT id, a, b, _deleted FROM t";
    assert_eq!(server_lines(&database, lines), ["1|a|b|t", "2|a|b|f", "3|NULL|NULL|t", "4|x|y|t"]);
    applied(writer.as_mut(), &[line(Op::Create, 1, is("again"), Some(None)), line(Op::Update, 4, is("z"), None)]).await.unwrap();
    assert_eq!(server_lines(&database, lines), ["1|again|NULL|f", "2|a|b|f", "3|NULL|NULL|t", "4|z|y|f"]);
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

#[tokio::test]
async fn a_crash_around_a_flush_applies_every_change_once() {
    for (place, kept) in [("postgres.flush.before", 2), ("postgres.flush.after", 4)] {
        let database = database();
        let lines = [
            line(Op::Create, 1, is("a"), is("b")),
            line(Op::Create, 2, is("a"), is("b")),
            line(Op::Update, 1, is("c"), None),
            delete(2),
            line(Op::Update, 1, None, is("d")),
        ];
        let (stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
        writer.apply(batch(&lines[..2])).await.unwrap();
        writer.flush(&after(2)).await.unwrap();
        writer.apply(batch(&lines[2..4])).await.unwrap();
        let fails = Fails::at(place);
        assert_eq!(writer.flush(&after(4)).await.unwrap_err().code(), "WEIR-TEST-001");
        // What happened in between is not known to it.
        assert_eq!(writer.apply(batch(&lines[4..])).await.unwrap_err().kind(), Kind::Internal);
        drop((fails, writer, stream));

        let (stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
        let from = durable(stream.as_ref()).await;
        assert_eq!((from, stream.recover().await.unwrap().rows), (kept, kept as u64), "{place}");
        writer.apply(batch(&lines[from..])).await.unwrap();
        writer.flush(&after(5)).await.unwrap();
        assert_eq!(server_lines(&database, TABLE), ["1|c|d"], "{place}");
        assert_eq!(stream.commit(&[]).await.unwrap().rows, 5);
    }
}

#[tokio::test]
async fn a_writer_of_an_earlier_attempt_is_shut_out() {
    let database = database();
    let (_old, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
    applied(writer.as_mut(), &[line(Op::Create, 1, is("old"), is("b"))]).await.unwrap();
    let (_new, mut second) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
    let error = applied(writer.as_mut(), &[line(Op::Create, 2, is("old"), is("b"))]).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-041", Kind::Conflict), "{error}");
    applied(second.as_mut(), &[line(Op::Create, 3, is("new"), is("b"))]).await.unwrap();
    assert_eq!(server_lines(&database, TABLE), ["1|old|b", "3|new|b"]);
}

#[tokio::test]
async fn a_thousand_columns() {
    let database = database();
    let fields: Vec<Field> = std::iter::once(Field::new("id", DataType::Int64, false))
        .chain((1..1000).map(|at| Field::new(format!("c{at}"), DataType::Int64, true)))
        .collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let rows = |ids: [i64; 2], add: i64| {
        let column = |at: i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| id * at + add))) };
        let columns =
            std::iter::once(Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef).chain((1..1000).map(column)).collect();
        RecordBatch::try_new(schema.clone(), columns).unwrap()
    };
    let stream = into(&database).await.prepare(changes_target("r", schema.clone(), WriteMode::Upsert, &["id"])).await.unwrap();
    let mut writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
    writer.apply(change_batch(rows([1, 2], 0), vec![Op::Create; 2], Vec::new())).await.unwrap();
    // Of the second row every other value is missing.
    let absent = (0..1000).map(|at| (at > 0 && at % 2 == 0).then(|| BooleanBuffer::from(vec![false, true]))).collect();
    writer.apply(change_batch(rows([1, 2], 7), vec![Op::Update; 2], absent)).await.unwrap();
    writer.flush(&after(4)).await.unwrap();
    let sums = "SELECT id, c998, c999 FROM t";
    assert_eq!(server_lines(&database, sums), ["1|1005|1006", "2|1996|2005"]);
}

#[tokio::test]
async fn a_transaction_larger_than_memory_is_invisible_until_its_flush() {
    let database = database();
    let (_stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
    let wide = "w".repeat(1 << 20);
    let mut most = 0;
    for id in 0..40 {
        writer.apply(batch(&[line(Op::Create, id, is(&wide), is("b")), line(Op::Update, id, None, is("c"))])).await.unwrap();
        most = most.max(writer.buffered_bytes());
    }
    writer.apply(batch(&[line(Op::Update, 0, is("short"), None), delete(1)])).await.unwrap();
    assert!(most < 40 << 20, "{most} bytes were held");
    assert_eq!(values(&database, "SELECT count(*) FROM t"), ["0"]);
    writer.flush(&after(82)).await.unwrap();
    assert_eq!(
        server_lines(&database, "SELECT count(*), sum(length(a)), min(b), max(b) FROM t"),
        [format!("39|{}|c|c", (38 << 20) + 5)]
    );
}

#[tokio::test]
async fn values_that_the_server_must_parse_go_the_same_way() {
    let database = database();
    database.execute("CREATE TABLE t (id bigint PRIMARY KEY, a text, b cidr)").unwrap();
    let (_stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
    let lines = [
        line(Op::Create, 1, is("tab\tand\\N"), is("10.0.0.0/8")),
        line(Op::Create, 2, is("x"), is("10.0.0.0/8")),
        line(Op::Update, 1, None, Some(None)),
        delete(2),
        line(Op::Create, 3, Some(None), is("10.1.0.0/16")),
    ];
    applied(writer.as_mut(), &lines).await.unwrap();
    applied(writer.as_mut(), &[line(Op::Update, 3, is("y"), None)]).await.unwrap();
    assert_eq!(server_lines(&database, "SELECT id, a, b::text FROM t"), ["1|tab\tand\\N|NULL", "3|y|10.1.0.0/16"]);
}

#[tokio::test]
async fn a_truncate_stands_between_what_came_before_and_after() {
    for privileged in [true, false] {
        let database = database();
        let (_stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
        if !privileged {
            // Somebody refers to the table: TRUNCATE is not possible, DELETE is.
            drop(writer);
            database.execute("CREATE TABLE child (t_id bigint REFERENCES t)").unwrap();
            writer = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await.1;
        }
        applied(writer.as_mut(), &[line(Op::Create, 1, is("a"), is("b")), line(Op::Create, 2, is("a"), is("b"))]).await.unwrap();
        writer.apply(batch(&[line(Op::Create, 3, is("a"), is("b"))])).await.unwrap();
        writer.truncate(&mark(1)).await.unwrap();
        assert_eq!(values(&database, "SELECT count(*) FROM t"), ["2"]);
        applied(writer.as_mut(), &[line(Op::Create, 2, is("new"), Some(None))]).await.unwrap();
        assert_eq!(server_lines(&database, TABLE), ["2|new|NULL"]);
        writer.truncate(&mark(1)).await.unwrap();
        writer.flush(&after(4)).await.unwrap();
        assert_eq!(values(&database, "SELECT count(*) FROM t"), ["0"]);
    }
}

/// `cargo nextest run --run-ignored all -E 'test(rate_of_applied_changes)' --no-capture`, on a quiet machine.
#[tokio::test]
#[ignore = "measures"]
async fn rate_of_applied_changes() {
    let database = database();
    let stream =
        into(&database).await.prepare(changes_target("r", pgbench(0, 1).schema(), WriteMode::Upsert, &["id"])).await.unwrap();
    let mut writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
    let mut count = 0;
    for (size, flushes) in [(1_i64, 500_i64), (10, 500), (1_000, 100), (50_000, 8)] {
        for (what, op) in [("insert", Op::Create), ("update", Op::Update), ("delete", Op::Delete)] {
            let batches: Vec<RecordBatch> = (0..flushes).map(|at| pgbench(size * 10_000_000 + at * size, size)).collect();
            let mut each = Vec::new();
            let start = Instant::now();
            for rows in batches {
                let one = Instant::now();
                count += rows.num_rows();
                writer.apply(change_batch(rows, vec![op; size as usize], Vec::new())).await.unwrap();
                writer.flush(&after(count)).await.unwrap();
                each.push(one.elapsed());
            }
            let rate = (size * flushes) as f64 / start.elapsed().as_secs_f64();
            each.sort();
            let (p50, p99) = (each[each.len() / 2], each[each.len() * 99 / 100]);
            eprintln!("{size:>6} rows, {what}: {rate:>9.0} events/s, flush p50 {p50:?} p99 {p99:?}");
        }
    }
    assert_eq!(values(&database, "SELECT count(*) FROM t"), ["0"]);
}

#[tokio::test]
async fn rows_and_changes_do_not_mix() {
    let database = database();
    let sink = into(&database).await;
    assert!(sink.applies_changes());
    let refused = |error: Error| (error.code(), error.kind());
    let rows = sink.prepare(target("r1", "s", schema(), WriteMode::Upsert, &["id"])).await.unwrap();
    assert!(rows.change_writer(DeleteMode::Hard).await.is_err());
    let appended = sink.prepare(changes_target("r2", schema(), WriteMode::Append, &[])).await.unwrap();
    let error = appended.change_writer(DeleteMode::Hard).await.err().unwrap();
    assert_eq!(refused(error), ("WEIR-PG-043", Kind::Spec));
    let changes = sink.prepare(changes_target("r3", schema(), WriteMode::Upsert, &["id"])).await.unwrap();
    assert!(changes.writer(0).await.is_err());
}
