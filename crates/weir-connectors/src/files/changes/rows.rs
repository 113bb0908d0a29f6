//! Changes as rows: the columns of the table, and five that say what happened.
//!
//! | column | |
//! | --- | --- |
//! | `_op` | `c` inserted, `u` changed, `d` deleted, `r` read by the snapshot, `t` the table was emptied |
//! | `_source_ts` | when the transaction was committed, by the source's clock |
//! | `_position` | of the transaction, as the source writes it |
//! | `_absent` | names of the columns whose value the log does not have (not changed, or of a row that is gone): the NULL in them means nothing; NULL: all are there |
//! | `_seq` | counts the changes of the stream in this place from 1, without a gap: the order |
//!
//! All columns of the table are nullable here: of a deleted row often only the key is known, of an emptied table nothing.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, ListBuilder, RecordBatch, RecordBatchOptions, StringArray, StringBuilder,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use weir_connect::{ChangeBatch, Op, TransactionMark};
use weir_error::{Error, Kind, Result};

const OP: &str = "_op";
pub(crate) const SOURCE_TS: &str = "_source_ts";
const POSITION: &str = "_position";
const ABSENT: &str = "_absent";
const SEQ: &str = "_seq";

fn added() -> [Field; 5] {
    [
        Field::new(OP, DataType::Utf8, false),
        Field::new(SOURCE_TS, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new(POSITION, DataType::Utf8, false),
        Field::new(ABSENT, DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true),
        Field::new(SEQ, DataType::Int64, false),
    ]
}

/// The schema of the rows.
///
/// # Errors
/// `WEIR-FILE-091` if the table has a column of one of the names.
pub(super) fn schema(table: &SchemaRef) -> Result<SchemaRef> {
    let added = added();
    if let Some(taken) = added.iter().find(|field| table.field_with_name(field.name()).is_ok()) {
        return Err(Error::new("WEIR-FILE-091", Kind::Schema, format!("the table has a column `{}` of its own", taken.name()))
            .because("changes are kept as rows with _op, _source_ts, _position, _absent and _seq")
            .hint("rename the column at the source, or write `format: debezium`"));
    }
    let own = table.fields().iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true)));
    Ok(Arc::new(Schema::new(own.chain(added.into_iter().map(Arc::new)).collect::<Vec<_>>())))
}

/// The columns of the table among those of the rows.
pub(super) fn table(stored: &SchemaRef) -> SchemaRef {
    let ours = added();
    let own = stored.fields().iter().filter(|field| !ours.iter().any(|added| added.name() == field.name()));
    Arc::new(Schema::new(own.cloned().collect::<Vec<_>>()))
}

fn built(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|error| Error::internal("changes do not fit the schema of their rows").caused_by(error))
}

/// The rows of a batch; `schema` is that of [`schema`], and `seq` the number of the last change before it.
pub(super) fn of(batch: &ChangeBatch, schema: &SchemaRef, seq: u64) -> Result<RecordBatch> {
    let rows = batch.ops.len();
    let mut columns = batch.rows.columns().to_vec();
    columns.push(Arc::new(batch.ops.iter().map(|op| Some(op.as_str())).collect::<StringArray>()));
    let (mut times, mut positions) = (Vec::with_capacity(rows), StringBuilder::new());
    for mark in &batch.transactions {
        for _ in times.len()..mark.end.min(rows) {
            times.push(mark.committed_at_us);
            positions.append_value(&mark.position);
        }
    }
    columns.push(Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")));
    columns.push(Arc::new(positions.finish()));
    columns.push(absent(batch));
    columns.push(numbers(seq, rows));
    built(schema, columns, rows)
}

fn numbers(seq: u64, rows: usize) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values((1..=rows as u64).map(|row| i64::try_from(seq + row).unwrap_or(i64::MAX))))
}

fn absent(batch: &ChangeBatch) -> ArrayRef {
    let schema = batch.rows.schema();
    let mut names = ListBuilder::new(StringBuilder::new());
    for row in 0..batch.ops.len() {
        let mut any = false;
        for (field, bits) in schema.fields().iter().zip(&batch.absent) {
            if bits.as_ref().is_some_and(|bits| bits.value(row)) {
                names.values().append_value(field.name());
                any = true;
            }
        }
        names.append(any);
    }
    Arc::new(names.finish())
}

/// The row of a table that was emptied.
pub(super) fn emptied(mark: &TransactionMark, schema: &SchemaRef, seq: u64) -> Result<RecordBatch> {
    let own = schema.fields().len() - added().len();
    let mut columns: Vec<ArrayRef> = schema.fields()[..own].iter().map(|field| new_null_array(field.data_type(), 1)).collect();
    columns.push(Arc::new(StringArray::from(vec!["t"])));
    columns.push(Arc::new(TimestampMicrosecondArray::from(vec![mark.committed_at_us]).with_timezone("UTC")));
    columns.push(Arc::new(StringArray::from(vec![&*mark.position])));
    columns.push(new_null_array(schema.field(own + 3).data_type(), 1));
    columns.push(numbers(seq, 1));
    built(schema, columns, 1)
}

/// The batch without its deletes.
pub(super) fn without_deletes(batch: ChangeBatch) -> Result<ChangeBatch> {
    if !batch.ops.contains(&Op::Delete) {
        return Ok(batch);
    }
    let kept: Vec<bool> = batch.ops.iter().map(|op| *op != Op::Delete).collect();
    let mask = BooleanArray::from(kept.clone());
    let filtered = |rows: &RecordBatch| {
        filter_record_batch(rows, &mask).map_err(|error| Error::internal("deletes cannot be left out").caused_by(error))
    };
    let mut transactions = Vec::new();
    let (mut from, mut end) = (0, 0);
    for mark in &batch.transactions {
        let rows = kept[from..mark.end].iter().filter(|kept| **kept).count();
        (from, end) = (mark.end, end + rows);
        if rows > 0 {
            transactions.push(TransactionMark { end, ..mark.clone() });
        }
    }
    let absent = batch
        .absent
        .iter()
        .map(|bits| bits.as_ref().map(|bits| bits.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(bit, _)| bit).collect()));
    Ok(ChangeBatch {
        ops: batch.ops.iter().copied().filter(|op| *op != Op::Delete).collect(),
        rows: filtered(&batch.rows)?,
        absent: absent.collect(),
        before: batch.before.as_ref().map(filtered).transpose()?,
        transactions,
        ..batch
    })
}
