//! Dead letters as rows: what a sink of dead letters is given, one row per letter, in the order of their numbers.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};
use weir_error::{Error, Result};

use crate::stream::DeadLetter;

/// The column with the record as it came.
pub const PAYLOAD: &str = "payload";
/// The column with the stream that the record came from.
pub const STREAM: &str = "stream";
/// The column with where it was.
pub const PLACE: &str = "place";
/// The column with when it was set aside.
pub const AT: &str = "at";

/// A dead letter as it was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptLetter {
    /// Its number: greater than those of all letters of the run that were kept before.
    pub id: i64,
    /// When it was set aside: microseconds since 1970, UTC.
    pub at: i64,
    /// The flow that met it.
    pub flow: String,
    /// The sink that lacks it, if a transform on the way there set it aside; otherwise no sink has it.
    pub sink: Option<String>,
    /// The letter.
    pub letter: DeadLetter,
}

/// The columns: `id`, `at`, `pipeline`, `run_id`, `flow`, `sink`, `stream`, `code`, `reason`, `place`, `media_type`, `payload`.
pub fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new(AT, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        text("pipeline"),
        text("run_id"),
        text("flow"),
        Field::new("sink", DataType::Utf8, true),
        text(STREAM),
        text("code"),
        text("reason"),
        text(PLACE),
        text("media_type"),
        Field::new(PAYLOAD, DataType::Binary, false),
    ]))
}

/// Letters of a run as a batch of [`schema`].
///
/// # Errors
/// More than 2^31 bytes of payloads or texts in one batch.
pub fn batch(pipeline: &str, run_id: &str, letters: &[KeptLetter]) -> Result<RecordBatch> {
    let text = |of: fn(&KeptLetter) -> &str| Arc::new(StringArray::from_iter_values(letters.iter().map(of))) as ArrayRef;
    let same = |value: &str| Arc::new(StringArray::from_iter_values(letters.iter().map(|_| value))) as ArrayRef;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(letters.iter().map(|kept| kept.id))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(letters.iter().map(|kept| kept.at)).with_timezone("UTC")),
        same(pipeline),
        same(run_id),
        text(|kept| &kept.flow),
        Arc::new(letters.iter().map(|kept| kept.sink.as_deref()).collect::<StringArray>()),
        text(|kept| &kept.letter.stream),
        text(|kept| &kept.letter.code),
        text(|kept| &kept.letter.reason),
        text(|kept| &kept.letter.place),
        text(|kept| &kept.letter.media_type),
        Arc::new(BinaryArray::from_iter_values(letters.iter().map(|kept| kept.letter.payload.as_slice()))),
    ];
    RecordBatch::try_new(schema(), columns).map_err(|error| Error::internal("dead letters as rows").caused_by(error))
}
