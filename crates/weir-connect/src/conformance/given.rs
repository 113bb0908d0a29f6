//! A source over batches in memory: what the kit feeds to a sink.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::{Value, json};
use weir_error::{Error, Result};

use crate::source::{
    Batch, Event, EventStream, Position, ReadRequest, ResumeVerdict, Source, SourceCapabilities, Split, StreamReader,
};
use crate::stream::StreamInfo;

/// Batches that are read in splits of `batches_per_split`, each batch a resume point.
pub struct Given {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    batches_per_split: usize,
}

impl Given {
    /// These batches; `schema` is theirs also when there are none.
    pub fn new(schema: SchemaRef, batches: &[RecordBatch], batches_per_split: usize) -> Self {
        Self { schema, batches: batches.to_vec(), batches_per_split: batches_per_split.max(1) }
    }
}

struct GivenReader {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    splits: Vec<Split>,
    verdict: ResumeVerdict,
}

#[async_trait]
impl Source for Given {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { replayable: true, replay_note: "the batches stay in memory".into() }
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let rows = self.batches.iter().map(|batch| batch.num_rows() as u64).sum();
        Ok(vec![StreamInfo {
            name: "given".into(),
            schema: self.schema.clone(),
            primary_key: Vec::new(),
            estimated_rows: Some(rows),
            estimated_bytes: None,
            reading: "from memory".into(),
        }])
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let done =
            |id: &str| request.resume.iter().flat_map(|resume| &resume.progress).any(|entry| entry.done && entry.split.id == id);
        let splits = (0..self.batches.len())
            .step_by(self.batches_per_split)
            .map(|from| Split {
                id: format!("from-{from}"),
                descriptor: json!({"from": from, "to": (from + self.batches_per_split).min(self.batches.len())}),
                estimated_rows: None,
                estimated_bytes: None,
            })
            .filter(|split| !done(&split.id))
            .collect();
        let verdict = if request.resume.is_some() { ResumeVerdict::Continued } else { ResumeVerdict::Fresh };
        Ok(Box::new(GivenReader { schema: self.schema.clone(), batches: self.batches.clone(), splits, verdict }))
    }
}

#[async_trait]
impl StreamReader for GivenReader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
    fn splits(&self) -> Vec<Split> {
        self.splits.clone()
    }
    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }
    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        let index = |value: &Value| value.as_u64().map(|number| number as usize);
        let (Some(first), Some(end)) = (index(&split.descriptor["from"]), index(&split.descriptor["to"])) else {
            return Err(Error::internal("not a split of these batches"));
        };
        let start = from.as_ref().and_then(index).unwrap_or(first);
        let events: Vec<_> = self.batches[start..end]
            .iter()
            .enumerate()
            .map(|(offset, batch)| {
                Ok(Event::Batch(Batch {
                    records: batch.clone(),
                    position: Some(json!(start + offset + 1)),
                    source_bytes: batch.get_array_memory_size() as u64,
                }))
            })
            .collect();
        Ok(futures::stream::iter(events).boxed())
    }
}
