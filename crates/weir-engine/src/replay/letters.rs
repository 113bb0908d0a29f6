//! Rows of dead letters, as a source with one split.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::{Value, json};
use twox_hash::XxHash3_128;
use weir_connect::{
    Batch, Event, EventStream, Position, ReadRequest, Resume, ResumeVerdict, Source, SourceCapabilities, Split, StreamInfo,
    StreamReader,
};
use weir_error::{Error, Result};

/// Events that are already here.
pub(super) struct Letters {
    /// Made from the letters: a replay of other letters is no resume of this one.
    split: String,
    ids: Vec<i64>,
    info: StreamInfo,
    events: Arc<Vec<Event>>,
}

impl Letters {
    pub(super) fn new(info: StreamInfo, ids: Vec<i64>, events: Vec<Event>) -> Self {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        Self { split: format!("{:032x}", XxHash3_128::oneshot(&bytes)), ids, info, events: Arc::new(events) }
    }
}

#[async_trait]
impl Source for Letters {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { replayable: true, replay_note: "dead letters stay until they are replayed".into() }
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        Ok(vec![self.info.clone()])
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let split = Split { id: self.split.clone(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
        let (verdict, splits) = match request.resume {
            None => (ResumeVerdict::Fresh, vec![split]),
            Some(Resume { progress, .. }) if progress.iter().all(|part| part.split.id == self.split) => {
                (ResumeVerdict::Continued, if progress.iter().any(|part| part.done) { vec![] } else { vec![split] })
            }
            Some(_) => (ResumeVerdict::StartOver { reason: "other dead letters are replayed now".into() }, vec![split]),
        };
        let (info, events) = (self.info.clone(), self.events.clone());
        Ok(Box::new(LettersReader { ids: self.ids.clone(), info, events, splits, verdict }))
    }
}

struct LettersReader {
    ids: Vec<i64>,
    info: StreamInfo,
    events: Arc<Vec<Event>>,
    splits: Vec<Split>,
    verdict: ResumeVerdict,
}

#[async_trait]
impl StreamReader for LettersReader {
    fn schema(&self) -> SchemaRef {
        self.info.schema.clone()
    }

    fn splits(&self) -> Vec<Split> {
        self.splits.clone()
    }

    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }

    /// What [`super::letters_of`] reads once the flow is committed.
    fn state(&self) -> Value {
        json!({"letters": self.ids})
    }

    async fn read(&self, _: &Split, _: Option<Position>) -> Result<EventStream> {
        let events = self.events.clone();
        // Positions belong to the original split; here only the whole counts.
        let event = move |at: usize| match &events[at] {
            Event::Batch(batch) => Ok(Event::Batch(Batch { position: None, ..batch.clone() })),
            Event::Dead(letter) => {
                Err(Error::internal(format!("letter {} was found broken after it was found good", letter.place)))
            }
            other => Ok(other.clone()),
        };
        Ok(futures::stream::iter((0..self.events.len()).map(event)).boxed())
    }
}
