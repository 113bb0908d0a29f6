//! Applying changes: what is visible after a flush, what a crash leaves, and how fast it is.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::json;
use weir_connect::{Barrier, ChangeWriter, DeleteMode, Error, Kind, Op, Sink, StreamSink, WriteMode};
use weir_testkit::MysqlDatabase;
use weir_testkit::mysql::Flavor;

use super::{database, database_of, server_lines, sink, target};
use crate::changes::seeds::{
    after, applied, batch, change_batch, changes_target, delete, durable, is, line, mark, pgbench, schema,
};

pub(super) const BOTH: [Flavor; 2] = [Flavor::MariaDb, Flavor::MySql];

pub(super) async fn into(database: &MysqlDatabase) -> Arc<dyn Sink> {
    sink(database.url(), json!({ "table": "t" })).await
}

/// A stream into `t`, and its writer.
pub(super) async fn opened(
    database: &MysqlDatabase,
    mode: WriteMode,
    deletes: DeleteMode,
) -> (Box<dyn StreamSink>, Box<dyn ChangeWriter>) {
    let stream = into(database).await.prepare(changes_target("r", schema(), mode, &["id"])).await.unwrap();
    let writer = stream.change_writer(deletes).await.unwrap();
    (stream, writer)
}

pub(super) const TABLE: &str = "SELECT id, a, b FROM t";

fn count(database: &MysqlDatabase) -> String {
    database.value("SELECT COUNT(*) FROM t").unwrap()
}

#[tokio::test]
async fn each_flush_of_changes_is_visible_and_nothing_before_it() {
    for flavor in BOTH {
        let database = database_of(flavor);
        let (stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
        let first = [
            line(Op::Create, 1, is("a"), is("b")),
            line(Op::Create, 2, is("a"), is("b")),
            line(Op::Create, 3, is("a"), Some(None)),
        ];
        writer.apply(batch(&first)).await.unwrap();
        assert_eq!(count(&database), "0");
        assert_eq!(writer.flush(&after(3)).await.unwrap().rows, 3);
        assert_eq!(server_lines(&database, TABLE), ["1|a|b", "2|a|b", "3|a|NULL"]);
        let second = [line(Op::Update, 1, is("new"), None), delete(2), line(Op::Update, 3, Some(None), is("c")), delete(99)];
        assert_eq!(applied(writer.as_mut(), &second).await.unwrap().rows, 4);
        assert_eq!(server_lines(&database, TABLE), ["1|new|b", "3|NULL|c"]);
        // The run's report counts changes, and nothing was staged beside the table.
        assert_eq!(stream.commit(&[]).await.unwrap().rows, 7);
        let left = format!(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME LIKE '\\_weir%'",
            database.name()
        );
        assert_eq!(server_lines(&database, &left), [""; 0]);
        assert!(database.rows("SHOW CREATE TABLE t").unwrap()[0][1].as_deref().unwrap().contains("PRIMARY KEY (`id`)"));
    }
}

#[tokio::test]
async fn many_flushes_of_changes_leave_one_row_in_the_ledger() {
    let database = database();
    let (stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
    for count in 1..=20 {
        writer.apply(batch(&[line(Op::Create, 1, is("a"), is("b"))])).await.unwrap();
        writer.flush(&after(count)).await.unwrap();
    }
    // Nothing but progress: the source was idle.
    writer.flush(&after(25)).await.unwrap();
    assert_eq!(database.value("SELECT COUNT(*) FROM flushes").unwrap(), "1");
    let recovered = stream.recover().await.unwrap();
    assert_eq!((durable(stream.as_ref()).await, recovered.rows), (25, 20));
    let nothing = Barrier { epoch: 26, lane: 0, progress: Vec::new() };
    assert_eq!(writer.flush(&nothing).await.unwrap().rows, 0);
}

#[tokio::test]
async fn replaced_rows_have_null_in_columns_that_the_stream_lacks_and_merged_ones_keep_them() {
    for flavor in BOTH {
        for unique in ["", ", UNIQUE (a(20))"] {
            for (mode, expected) in [(WriteMode::Upsert, "1|x|b|NULL|6"), (WriteMode::Merge, "1|x|b|5|6")] {
                let database = database_of(flavor);
                database
                    .execute(format!(
                        "CREATE TABLE t (id bigint PRIMARY KEY, a text, b text, gone int, own int DEFAULT 9{unique}); INSERT INTO t VALUES (1, 'a', 'b', 5, 6)"
                    ))
                    .unwrap();
                let (_stream, mut writer) = opened(&database, mode, DeleteMode::Hard).await;
                applied(writer.as_mut(), &[line(Op::Update, 1, is("x"), None)]).await.unwrap();
                assert_eq!(server_lines(&database, "SELECT id, a, b, gone, own FROM t"), [expected], "{mode:?}");
                let put = [line(Op::Update, 1, is("y"), is("z")), line(Op::Create, 2, is("v"), is("w"))];
                applied(writer.as_mut(), &put).await.unwrap();
                let kept = if mode == WriteMode::Merge { "5" } else { "NULL" };
                let lines = [format!("1|y|z|{kept}|6"), "2|v|w|NULL|9".into()];
                assert_eq!(server_lines(&database, "SELECT id, a, b, gone, own FROM t"), lines, "{mode:?}");
            }
        }
    }
}

#[tokio::test]
async fn soft_deletes_mark_and_a_later_create_unmarks() {
    for flavor in BOTH {
        let database = database_of(flavor);
        database
            .execute("CREATE TABLE t (id bigint PRIMARY KEY, a text, b text); INSERT INTO t VALUES (1, 'a', 'b'), (2, 'a', 'b')")
            .unwrap();
        let (_stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Soft).await;
        assert_eq!(database.value("SELECT COUNT(*) FROM t WHERE NOT _deleted").unwrap(), "2");
        applied(writer.as_mut(), &[delete(1), delete(3), line(Op::Create, 4, is("x"), is("y")), delete(4)]).await.unwrap();
        let lines = "SELECT id, a, b, _deleted FROM t";
        assert_eq!(server_lines(&database, lines), ["1|a|b|1", "2|a|b|0", "3|NULL|NULL|1", "4|x|y|1"]);
        applied(writer.as_mut(), &[line(Op::Create, 1, is("again"), Some(None)), line(Op::Update, 4, is("z"), None)])
            .await
            .unwrap();
        assert_eq!(server_lines(&database, lines), ["1|again|NULL|0", "2|a|b|0", "3|NULL|NULL|1", "4|z|y|0"]);
        writer.truncate(&mark(1)).await.unwrap();
        applied(writer.as_mut(), &[line(Op::Create, 2, is("n"), is("n"))]).await.unwrap();
        assert_eq!(server_lines(&database, lines), ["1|again|NULL|1", "2|n|n|0", "3|NULL|NULL|1", "4|z|y|1"]);
    }
}

/// Sets a failpoint for as long as it lives.
pub(super) struct Fails(&'static str);

impl Fails {
    pub(super) fn at(place: &'static str) -> Self {
        Self::after(place, 0)
    }

    /// When the place is passed once more than so often.
    pub(super) fn after(place: &'static str, passes: usize) -> Self {
        let action = if passes == 0 { "return".to_string() } else { format!("{passes}*off->return") };
        weir_connect::__fail::cfg(place, &action).unwrap();
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
    for (place, kept) in [("mysql.flush.before", 2), ("mysql.flush.after", 4)] {
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
async fn a_writer_of_changes_of_an_earlier_attempt_is_shut_out() {
    let database = database();
    let (_old, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
    applied(writer.as_mut(), &[line(Op::Create, 1, is("old"), is("b"))]).await.unwrap();
    let (_new, mut second) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
    let error = applied(writer.as_mut(), &[line(Op::Create, 2, is("old"), is("b"))]).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-MY-041", Kind::Conflict), "{error}");
    applied(second.as_mut(), &[line(Op::Create, 3, is("new"), is("b"))]).await.unwrap();
    assert_eq!(server_lines(&database, TABLE), ["1|old|b", "3|new|b"]);
}

#[tokio::test]
async fn a_table_that_is_gone_is_made_anew_and_what_the_ledger_said_is_forgotten() {
    let database = database();
    let (stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
    applied(writer.as_mut(), &[line(Op::Create, 1, is("a"), is("b"))]).await.unwrap();
    drop((writer, stream));
    database.execute("DROP TABLE t").unwrap();
    let (stream, _writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
    assert_eq!((durable(stream.as_ref()).await, count(&database).as_str()), (0, "0"));
}

#[tokio::test]
async fn changes_of_a_thousand_columns() {
    let database = database();
    let fields: Vec<Field> = std::iter::once(Field::new("id", DataType::Int64, false))
        .chain((1..1000).map(|at| Field::new(format!("c{at}"), DataType::Int32, true)))
        .collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let rows = |ids: [i64; 2], add: i64| {
        let column = |at: i64| -> ArrayRef {
            Arc::new(arrow::array::Int32Array::from_iter_values(ids.iter().map(|id| (id * at + add) as i32)))
        };
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
    assert_eq!(server_lines(&database, "SELECT id, c998, c999 FROM t"), ["1|1005|1006", "2|1996|2005"]);
}

#[tokio::test]
async fn a_transaction_larger_than_memory_is_invisible_until_its_flush() {
    for flavor in BOTH {
        let database = database_of(flavor);
        let (_stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
        let wide = "w".repeat(1 << 20);
        let mut most = 0;
        for id in 0..40 {
            writer.apply(batch(&[line(Op::Create, id, is(&wide), is("b")), line(Op::Update, id, None, is("c"))])).await.unwrap();
            most = most.max(writer.buffered_bytes());
        }
        writer.apply(batch(&[line(Op::Update, 0, is("short"), None), delete(1)])).await.unwrap();
        assert!(most < 40 << 20, "{most} bytes were held");
        assert_eq!(count(&database), "0");
        writer.flush(&after(82)).await.unwrap();
        let sums = "SELECT COUNT(*), CAST(SUM(LENGTH(a)) AS CHAR), MIN(b), MAX(b) FROM t";
        assert_eq!(server_lines(&database, sums), [format!("39|{}|c|c", (38 << 20) + 5)]);
        // The session's table is small again.
        applied(writer.as_mut(), &[line(Op::Create, 1, is("a"), is("b"))]).await.unwrap();
        assert_eq!(count(&database), "40");
    }
}

#[tokio::test]
async fn hard_text_and_both_ways_of_loading_give_the_same() {
    for flavor in BOTH {
        for load in ["auto", "insert"] {
            let database = database_of(flavor);
            let sink = sink(database.url(), json!({ "table": "t", "load": load })).await;
            let stream = sink.prepare(changes_target("r", schema(), WriteMode::Upsert, &["id"])).await.unwrap();
            let mut writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
            let words = ["", " ", "NULL", "\\N", "tab\tnl\nbs\\ q' \"", "Ærø 北京 🦆", "a\0b", "?"];
            // More than go by one small statement.
            let lines: Vec<_> =
                (0..400).map(|id| line(Op::Create, id, is(words[id as usize % words.len()]), is(&"x".repeat(1000)))).collect();
            applied(writer.as_mut(), &lines).await.unwrap();
            for (at, word) in words.iter().enumerate() {
                let hex: String = word.bytes().map(|byte| format!("{byte:02X}")).collect();
                let sql = format!("SELECT COUNT(*) FROM t WHERE id % 8 = {at} AND HEX(a) = '{hex}'");
                assert_eq!(database.value(sql).unwrap(), "50", "{word:?} {load}");
            }
        }
    }
}

#[tokio::test]
async fn a_truncate_stands_between_what_came_before_and_after() {
    for flavor in BOTH {
        let database = database_of(flavor);
        let (_stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
        applied(writer.as_mut(), &[line(Op::Create, 1, is("a"), is("b")), line(Op::Create, 2, is("a"), is("b"))]).await.unwrap();
        writer.apply(batch(&[line(Op::Create, 3, is("a"), is("b"))])).await.unwrap();
        writer.truncate(&mark(1)).await.unwrap();
        assert_eq!(count(&database), "2");
        applied(writer.as_mut(), &[line(Op::Create, 2, is("new"), Some(None))]).await.unwrap();
        assert_eq!(server_lines(&database, TABLE), ["2|new|NULL"]);
        writer.truncate(&mark(1)).await.unwrap();
        writer.flush(&after(4)).await.unwrap();
        assert_eq!(count(&database), "0");
    }
}

#[tokio::test]
async fn keys_of_several_columns_and_a_table_of_keys_only() {
    for flavor in BOTH {
        let database = database_of(flavor);
        let schema: SchemaRef =
            Arc::new(Schema::new(vec![Field::new("name", DataType::Utf8, false), Field::new("id", DataType::Int64, false)]));
        let rows = |list: &[(&str, i64)]| {
            let names: ArrayRef = Arc::new(list.iter().map(|(name, _)| Some(*name)).collect::<StringArray>());
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(list.iter().map(|(_, id)| *id)));
            RecordBatch::try_new(schema.clone(), vec![names, ids]).unwrap()
        };
        let target = changes_target("r", schema.clone(), WriteMode::Upsert, &["name", "id"]);
        let stream = into(&database).await.prepare(target).await.unwrap();
        let mut writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
        // In a table that the sink makes, names differ by case and blanks.
        let all = [("a", 1), ("A", 1), ("a ", 1), ("a", 2)];
        writer.apply(change_batch(rows(&all), vec![Op::Create; 4], Vec::new())).await.unwrap();
        writer.flush(&after(4)).await.unwrap();
        writer.apply(change_batch(rows(&all[..2]), vec![Op::Update, Op::Delete], Vec::new())).await.unwrap();
        writer.flush(&after(6)).await.unwrap();
        let mut expected = ["a|1", "a |1", "a|2"];
        expected.sort_unstable();
        assert_eq!(server_lines(&database, "SELECT name, id FROM t"), expected);
    }
}

/// `cargo nextest run --run-ignored all -E 'test(rate_of_changes_into_mysql)' --no-capture`, on a quiet machine.
#[tokio::test]
#[ignore = "measures"]
async fn rate_of_changes_into_mysql() {
    for flavor in BOTH {
        let database = database_of(flavor);
        let stream =
            into(&database).await.prepare(changes_target("r", pgbench(0, 1).schema(), WriteMode::Upsert, &["id"])).await.unwrap();
        let mut writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
        let mut total = 0;
        for (size, flushes) in [(1_i64, 300_i64), (10, 300), (1_000, 50), (50_000, 4)] {
            for (what, op) in [("insert", Op::Create), ("update", Op::Update), ("delete", Op::Delete)] {
                let batches: Vec<RecordBatch> = (0..flushes).map(|at| pgbench(size * 10_000_000 + at * size, size)).collect();
                let mut each = Vec::new();
                let start = Instant::now();
                for rows in batches {
                    let one = Instant::now();
                    total += rows.num_rows();
                    writer.apply(change_batch(rows, vec![op; size as usize], Vec::new())).await.unwrap();
                    writer.flush(&after(total)).await.unwrap();
                    each.push(one.elapsed());
                }
                let rate = (size * flushes) as f64 / start.elapsed().as_secs_f64();
                each.sort();
                let (p50, p99) = (each[each.len() / 2], each[each.len() * 99 / 100]);
                eprintln!("{flavor:?} {size:>6} rows, {what}: {rate:>9.0} events/s, flush p50 {p50:?} p99 {p99:?}");
            }
        }
        assert_eq!(count(&database), "0");
    }
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
    assert_eq!(refused(error), ("WEIR-MY-043", Kind::Spec));
    let changes = sink.prepare(changes_target("r3", schema(), WriteMode::Upsert, &["id"])).await.unwrap();
    assert!(changes.writer(0).await.is_err());
}
