//! State as bytes: keys that sort as what they stand for, values as Arrow IPC.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use datafusion::error::DataFusionError;
use weir_connect::Result;
use weir_error::{Error, Kind};

use crate::keyed::{StateChange, Stored};
use crate::program::row::own;

/// Groups of one slice that are written together.
pub(super) const CHUNK: usize = 4096;
/// The watermark of an operator.
const CLOCK: u8 = 0;
/// What it keeps.
const KEPT: u8 = 1;

/// Beginning of the keys of everything that an operator keeps under a number, by the order of the numbers.
pub(super) fn under(operator: u8, number: i64) -> Vec<u8> {
    let mut key = vec![operator, KEPT];
    // Without the sign bit turned, negative numbers would come last.
    key.extend(((number as u64) ^ (1 << 63)).to_be_bytes());
    key
}

/// Beginning of the keys of everything that an operator keeps.
pub(super) fn all(operator: u8) -> [u8; 2] {
    [operator, KEPT]
}

/// The number in such a key, and what follows.
pub(super) fn number(key: &[u8]) -> Result<(i64, &[u8])> {
    let (number, rest) = key.get(2..).and_then(|key| key.split_first_chunk::<8>()).ok_or_else(foreign)?;
    Ok(((u64::from_be_bytes(*number) ^ (1 << 63)) as i64, rest))
}

/// The clock of an operator: the last watermark that it saw, so that it does not do again after a restart what it did then.
#[derive(Debug, Default)]
pub(super) struct Clock {
    pub(super) now: Option<i64>,
    saved: Option<i64>,
}

impl Clock {
    /// Whether it is later now.
    pub(super) fn advance(&mut self, time: i64) -> bool {
        let later = self.now.is_none_or(|now| now < time);
        if later {
            self.now = Some(time);
        }
        later
    }

    /// Whether it is that late.
    pub(super) fn past(&self, time: i64) -> bool {
        self.now.is_some_and(|now| now >= time)
    }

    pub(super) fn changes(&mut self, operator: u8, into: &mut Vec<StateChange>) {
        if let Some(now) = self.now.filter(|_| self.now != self.saved) {
            into.push(StateChange::Put(vec![operator, CLOCK], Bytes::copy_from_slice(&now.to_be_bytes())));
            self.saved = self.now;
        }
    }

    pub(super) fn restore(&mut self, operator: u8, stored: &dyn Stored) -> Result<()> {
        if let Some(value) = stored.get(&[operator, CLOCK])? {
            let time = value.as_ref().try_into().map_err(|_| foreign())?;
            self.now = Some(i64::from_be_bytes(time));
            self.saved = self.now;
        }
        Ok(())
    }
}

/// The columns of a chunk: keys, then states.
pub(super) fn schema<'a>(fields: impl Iterator<Item = &'a FieldRef>) -> SchemaRef {
    // States of different aggregates may have one name; here places count.
    let plain = |(at, field): (usize, &FieldRef)| Field::new(at.to_string(), field.data_type().clone(), true);
    Arc::new(Schema::new(fields.enumerate().map(plain).collect::<Vec<_>>()))
}

pub(super) fn encode(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<Bytes> {
    let write = || {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
        writer.write(&batch)?;
        writer.into_inner()
    };
    write().map(Bytes::from).map_err(|error| Error::internal("state cannot be written").caused_by(error))
}

pub(super) fn decode(schema: &SchemaRef, bytes: &Bytes) -> Result<RecordBatch> {
    let mut reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(|error| foreign().because(error))?;
    match reader.next() {
        Some(Ok(batch)) if batch.schema() == *schema => Ok(batch),
        Some(Err(error)) => Err(foreign().because(error)),
        _ => Err(foreign()),
    }
}

/// State that is not ours.
pub(super) fn foreign() -> Error {
    Error::new("WEIR-KEYED-001", Kind::Data, "the state of this pipeline was not written by this program")
        .hint("begin anew without the state, or run the pipeline as it was")
}

/// What an operator could not compute.
pub(super) fn failed(node: &str) -> impl Fn(DataFusionError) -> Error + '_ {
    move |error| match own(error) {
        Ok(ours) => ours.at(format!("node `{node}`")),
        Err(error) => Error::new("WEIR-KEYED-002", Kind::Data, "an aggregate over a window failed")
            .at(format!("node `{node}`"))
            .because(crate::problem::plain(&error.find_root().strip_backtrace())),
    }
}
