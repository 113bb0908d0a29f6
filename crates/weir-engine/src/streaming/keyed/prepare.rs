//! What is done to a batch beside the lane, in its reader's task: the program's row-by-row beginning, and the times of its rows.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, max};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use serde_json::Value;
use weir_connect::{Batch, DeadLetter};
use weir_error::{Error, Result};
use weir_plan::keyed::{EventTime, KeyedProgram};
use weir_plan::{Passed, RowOutput, RowProgram, RuleCount, encode_record};

/// A batch as the operators take it.
pub(in crate::streaming) struct Prepared {
    pub(in crate::streaming) records: RecordBatch,
    /// Rows read for it.
    pub(in crate::streaming) read: u64,
    pub(in crate::streaming) source_bytes: u64,
    pub(in crate::streaming) position: Option<Value>,
    pub(super) filtered: u64,
    pub(super) dead: Vec<DeadLetter>,
    pub(super) rules: Vec<RuleCount>,
    /// What has passed the gates of the flow so far.
    pub(super) passed: Vec<Passed>,
    /// The newest time in it.
    pub(super) newest: Option<i64>,
}

impl Prepared {
    /// What it takes in a queue.
    pub(in crate::streaming) fn bytes(&self) -> usize {
        self.records.get_array_memory_size() + self.dead.iter().map(|letter| letter.payload.len() + 256).sum::<usize>()
    }
}

/// How batches of one input are prepared.
pub(in crate::streaming) struct Preparation {
    program: Arc<dyn RowProgram>,
    time: Option<EventTime>,
    stream: String,
    /// How many gates the flow has, and the one at which rows without a time count.
    gates: (usize, Option<usize>),
}

impl Preparation {
    pub(super) fn new(program: &dyn KeyedProgram, input: usize, stream: String, gates: usize) -> Self {
        let gates = (gates, program.gate_of_untimed(input));
        Self { program: program.prepare(input).0, time: program.event_time(input), stream, gates }
    }

    /// Prepares one batch of a split.
    pub(in crate::streaming) fn apply(&self, batch: Batch, split: &str) -> Result<Prepared> {
        let read = batch.records.num_rows() as u64;
        let source_bytes = match batch.source_bytes {
            0 if read > 0 => batch.records.get_array_memory_size() as u64,
            bytes => bytes,
        };
        let mut passed = vec![Passed::default(); self.gates.0];
        let (mut output, said) = match self.program.is_identity() || read == 0 {
            // A batch without rows brings a position only.
            true => {
                let batch = batch.records.clone();
                self.program.count_unchanged(&batch, &mut passed);
                (RowOutput { batch, filtered: 0, dead: Vec::new(), kept: Vec::new(), rules: Vec::new() }, None)
            }
            false => {
                let mut outputs = self.program.apply_counting(&batch.records, &mut passed)?.into_iter();
                let first = outputs.next().ok_or_else(|| Error::internal("a preparation without an output"))?;
                (first, outputs.next())
            }
        };
        let mut newest = None;
        if let Some(time) = &self.time
            && read > 0
        {
            let column = |batch: &RecordBatch, at: usize| {
                let column = batch.columns().get(at).cloned();
                column.ok_or_else(|| Error::internal("the column of the time is not there"))
            };
            // Rows that are filtered out after their time is said tell what time it is, too.
            newest = newest_of(column(said.as_ref().map_or(&output.batch, |said| &said.batch), time.said)?.as_ref())?;
            let column = column(&output.batch, time.column)?;
            if column.null_count() > 0 {
                let known = BooleanArray::from_iter((0..column.len()).map(|row| Some(column.is_valid(row))));
                if let Some(here) = self.gates.1.and_then(|gate| passed.get_mut(gate)) {
                    here.dead += column.null_count() as u64;
                }
                for row in (0..column.len()).filter(|row| column.is_null(*row)) {
                    output.dead.push(self.letter(&batch.records, output.origin(row), time, &output.batch, split));
                }
                output.batch = filter_record_batch(&output.batch, &known)
                    .map_err(|error| Error::internal("rows without a time cannot be taken out").caused_by(error))?;
            }
        }
        let RowOutput { batch: records, filtered, dead, rules, .. } = output;
        Ok(Prepared { records, read, source_bytes, position: batch.position, filtered, dead, rules, passed, newest })
    }

    fn letter(&self, input: &RecordBatch, row: usize, time: &EventTime, prepared: &RecordBatch, split: &str) -> DeadLetter {
        let (payload, media_type) = encode_record(input, row);
        let column = prepared.schema_ref().fields().get(time.column).map(|field| field.name().clone()).unwrap_or_default();
        DeadLetter {
            stream: self.stream.clone(),
            code: "WEIR-STREAM-005".into(),
            reason: format!("it has no time: `{column}` is NULL"),
            place: format!("split {split}"),
            payload,
            media_type: media_type.into(),
        }
    }
}

/// The newest time of a column, in microseconds.
fn newest_of(column: &dyn Array) -> Result<Option<i64>> {
    let DataType::Timestamp(unit, _) = column.data_type() else {
        return Err(Error::internal(format!("a column of type {} is no time", column.data_type())));
    };
    Ok(match unit {
        TimeUnit::Second => max(column.as_primitive::<TimestampSecondType>()).map(|time| time.saturating_mul(1_000_000)),
        TimeUnit::Millisecond => max(column.as_primitive::<TimestampMillisecondType>()).map(|time| time.saturating_mul(1_000)),
        TimeUnit::Microsecond => max(column.as_primitive::<TimestampMicrosecondType>()),
        TimeUnit::Nanosecond => max(column.as_primitive::<TimestampNanosecondType>()).map(|time| time.div_euclid(1_000)),
    })
}
