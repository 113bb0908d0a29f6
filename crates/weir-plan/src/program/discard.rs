//! `on_schema_change: discard_row`: rows with a value in a column that the target does not have are set aside.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use weir_connect::DeadLetter;
use weir_error::{Error, Result};

use crate::changes::OutputWay;
use crate::gates::{Passed, value_bytes};
use crate::model::{RowOutput, RowProgram};
use crate::program::record::encode;

/// What one output may not have.
pub(crate) struct Unknown {
    pub(crate) sink: String,
    /// Places of the columns that the target does not have, in the program's own output.
    pub(crate) columns: Vec<usize>,
    /// The rest.
    pub(crate) kept: Vec<usize>,
}

impl Unknown {
    /// `None` if the target knows every column.
    pub(crate) fn find(sink: &str, schema: &Schema, known: &[String]) -> Option<Self> {
        let (kept, columns): (Vec<usize>, Vec<usize>) =
            (0..schema.fields().len()).partition(|at| known.contains(schema.field(*at).name()));
        (!columns.is_empty()).then(|| Self { sink: sink.into(), columns, kept })
    }

    pub(crate) fn schema(&self, schema: &Schema) -> Result<SchemaRef> {
        Ok(Arc::new(schema.project(&self.kept).map_err(|error| Error::internal(error.to_string()))?))
    }
}

/// A program whose outputs are held against what their targets have.
pub(crate) struct DiscardRows {
    pub(crate) inner: Arc<dyn RowProgram>,
    pub(crate) stream: String,
    /// Per output.
    pub(crate) unknown: Vec<Option<Unknown>>,
    /// The gate of the first output.
    pub(crate) gate: usize,
}

impl RowProgram for DiscardRows {
    fn apply(&self, batch: &RecordBatch) -> Result<Vec<RowOutput>> {
        self.apply_counting(batch, &mut [])
    }

    fn apply_counting(&self, batch: &RecordBatch, passed: &mut [Passed]) -> Result<Vec<RowOutput>> {
        let mut outputs = self.inner.apply_counting(batch, passed)?;
        for (at, (output, unknown)) in outputs.iter_mut().zip(&self.unknown).enumerate() {
            let Some(unknown) = unknown else { continue };
            let (rows, dead) = (output.batch.clone(), output.dead.len());
            self.discard(batch, output, unknown)?;
            // It is the sink that does not take them.
            if let Some(here) = passed.get_mut(self.gate + at) {
                here.rows -= (rows.num_rows() - output.batch.num_rows()) as u64;
                here.bytes -= value_bytes(&rows).saturating_sub(value_bytes(&output.batch));
                here.dead += (output.dead.len() - dead) as u64;
            }
        }
        Ok(outputs)
    }

    fn ways(&self, columns: usize) -> Option<Vec<OutputWay>> {
        let mut ways = self.inner.ways(columns)?;
        for (way, unknown) in ways.iter_mut().zip(&self.unknown) {
            let Some(unknown) = unknown else { continue };
            let read: Vec<usize> = unknown.columns.iter().flat_map(|&at| way.columns[at].from.clone()).collect();
            way.filters.extend(read);
            way.filtered = true;
            way.columns = unknown.kept.iter().map(|&at| way.columns[at].clone()).collect();
        }
        Some(ways)
    }
}

impl DiscardRows {
    fn discard(&self, input: &RecordBatch, output: &mut RowOutput, unknown: &Unknown) -> Result<()> {
        let broken = |error: arrow::error::ArrowError| Error::internal(error.to_string());
        let batch = output.batch.clone();
        let new = |row: usize| unknown.columns.iter().find(|at| batch.column(**at).is_valid(row));
        let mut keep = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let at = new(row);
            keep.push(at.is_none());
            let Some(at) = at else { continue };
            let (payload, media_type) = encode(input, output.origin(row));
            output.dead.push(DeadLetter {
                stream: self.stream.clone(),
                code: "WEIR-ROW-003".into(),
                reason: format!(
                    "the target of `{}` has no column `{}`, and `on_schema_change: discard_row` sets such rows aside",
                    unknown.sink,
                    batch.schema_ref().field(*at).name()
                ),
                place: format!("node `{}`", unknown.sink),
                payload,
                media_type: media_type.into(),
            });
        }
        let kept = batch.project(&unknown.kept).map_err(broken)?;
        let keep = BooleanArray::from(keep);
        output.batch = filter_record_batch(&kept, &keep).map_err(broken)?;
        output.kept.push(Arc::new(keep));
        Ok(())
    }
}
