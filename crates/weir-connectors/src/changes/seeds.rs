//! Changes for tests of every sink that applies them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::{Value, json};
use weir_connect::{
    Barrier, ChangeBatch, ChangeWriter, Flushed, Op, Result, RunIdentity, SchemaChangePolicy, Split, SplitProgress, StreamSink,
    StreamTarget, TransactionMark, WriteMode,
};

/// A value: `None` = not in the log.
pub type Cell = Option<Option<String>>;

/// A change of a row (id, a, b).
#[derive(Debug, Clone)]
pub struct Line {
    pub op: Op,
    pub id: i64,
    pub a: Cell,
    pub b: Cell,
}

/// A value that is there.
pub fn is(text: &str) -> Cell {
    Some(Some(text.to_string()))
}

pub fn line(op: Op, id: i64, a: Cell, b: Cell) -> Line {
    Line { op, id, a, b }
}

/// As a log gives it that has the key only.
pub fn delete(id: i64) -> Line {
    line(Op::Delete, id, None, None)
}

pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("a", DataType::Utf8, true),
        Field::new("b", DataType::Utf8, true),
    ]))
}

/// One transaction up to this row.
pub fn mark(end: usize) -> TransactionMark {
    TransactionMark { end, position: "0/1".into(), id: None, committed_at_us: 0 }
}

pub fn change_batch(rows: RecordBatch, ops: Vec<Op>, absent: Vec<Option<BooleanBuffer>>) -> ChangeBatch {
    let transactions = vec![mark(ops.len())];
    ChangeBatch { stream: "s".into(), ops, rows, absent, before: None, transactions, source_bytes: 0 }
}

pub fn batch(lines: &[Line]) -> ChangeBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(lines.iter().map(|line| line.id)));
    let column = |of: fn(&Line) -> &Cell| -> ArrayRef {
        Arc::new(lines.iter().map(|line| of(line).clone().flatten()).collect::<StringArray>())
    };
    let absent = |of: fn(&Line) -> &Cell| {
        let absent: BooleanBuffer = lines.iter().map(|line| of(line).is_none()).collect();
        (absent.count_set_bits() > 0).then_some(absent)
    };
    let rows = RecordBatch::try_new(schema(), vec![ids, column(|line| &line.a), column(|line| &line.b)]).unwrap();
    change_batch(rows, lines.iter().map(|line| line.op).collect(), vec![None, absent(|line| &line.a), absent(|line| &line.b)])
}

pub fn changes_target(run: &str, schema: SchemaRef, mode: WriteMode, key: &[&str]) -> StreamTarget {
    StreamTarget {
        run: RunIdentity { pipeline: "p".into(), run_id: run.into() },
        stream: "s".into(),
        schema,
        key: key.iter().map(|key| key.to_string()).collect(),
        cursor: None,
        write_mode: mode,
        on_schema_change: SchemaChangePolicy::Evolve,
        changes: true,
    }
}

/// A barrier after so many changes.
pub fn after(count: usize) -> Barrier {
    let split = Split { id: "log".into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
    let progress = SplitProgress { split, position: Some(json!(count)), done: false, rows: count as u64 };
    Barrier { epoch: count as u64, lane: 0, progress: vec![progress] }
}

/// How many changes are durable.
pub async fn durable(stream: &dyn StreamSink) -> usize {
    durable_or_error(stream).await.unwrap()
}

/// The same, where asking may fail.
pub async fn durable_or_error(stream: &dyn StreamSink) -> Result<usize> {
    let progress = stream.recover().await?.progress.unwrap_or_default();
    Ok(progress.first().and_then(|part| part.position.as_ref()).and_then(Value::as_u64).unwrap_or(0) as usize)
}

/// Applies and flushes.
pub async fn applied(writer: &mut dyn ChangeWriter, lines: &[Line]) -> Result<Flushed> {
    writer.apply(batch(lines)).await?;
    writer.flush(&after(lines.len())).await
}

/// Small rows of several types.
pub fn pgbench(from: i64, rows: i64) -> RecordBatch {
    let ids = from..from + rows;
    let int = |of: fn(i64) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(ids.clone().map(of))) };
    let filler: ArrayRef = Arc::new(StringArray::from_iter_values(ids.clone().map(|id| format!("{id:>60}"))));
    let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(ids.clone().map(|id| id * 1000)));
    let amount: ArrayRef = Arc::new(Float64Array::from_iter_values(ids.clone().map(|id| id as f64 / 7.0)));
    RecordBatch::try_from_iter([
        ("id", int(|id| id)),
        ("bid", int(|id| id % 10)),
        ("filler", filler),
        ("at", at),
        ("amount", amount),
    ])
    .unwrap()
}
