//! The dead letters of a run as a stream without end: one split, whose position is the number of the last letter.

use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::watch;
use weir_connect::{
    Batch, Event, EventStream, Position, ReadRequest, ResumeVerdict, Source, SourceCapabilities, Split, StreamInfo, StreamReader,
    letters,
};
use weir_error::{Error, Result};

use crate::store::StateStore;

/// The checkpoint store is asked so often: it may be on another machine, and tells nobody what is new.
const LOOK: Duration = Duration::from_millis(500);

/// Letters that wait in the checkpoint.
#[derive(Clone)]
pub(super) struct Waiting {
    store: StateStore,
    pipeline: String,
    run_id: String,
    /// No letter will come any more.
    over: watch::Receiver<bool>,
}

impl Waiting {
    pub(super) fn new(store: StateStore, pipeline: String, run_id: String, over: watch::Receiver<bool>) -> Self {
        Self { store, pipeline, run_id, over }
    }

    pub(super) fn info(&self) -> StreamInfo {
        StreamInfo {
            name: "dead_letters".into(),
            schema: letters::schema(),
            primary_key: vec!["id".into()],
            estimated_rows: None,
            estimated_bytes: None,
            reading: "from the checkpoint, by number".into(),
        }
    }

    /// The next letters behind `after`, or `Idle` once it is sure that there are none and will be none.
    async fn next(&mut self, after: &mut i64) -> Result<Event> {
        loop {
            // Before the question: what was kept until then is in the answer.
            let over = *self.over.borrow_and_update();
            let kept = self.store.letters(&self.pipeline, &self.run_id, *after).await?;
            if let Some(last) = kept.last() {
                *after = last.id;
                let source_bytes = kept.iter().map(|kept| kept.letter.payload.len() as u64).sum();
                let records = letters::batch(&self.pipeline, &self.run_id, &kept)?;
                return Ok(Event::Batch(Batch { records, position: Some(json!(after)), source_bytes }));
            }
            if over {
                return Ok(Event::Idle);
            }
            tokio::select! {
                changed = self.over.changed() => if changed.is_err() { std::future::pending().await },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

#[async_trait]
impl Source for Waiting {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { replayable: true, replay_note: "dead letters stay in the checkpoint".into() }
    }

    fn unbounded(&self) -> bool {
        true
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        Ok(vec![self.info()])
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let verdict = if request.resume.is_some() { ResumeVerdict::Continued } else { ResumeVerdict::Fresh };
        Ok(Box::new(Reader { waiting: self.clone(), verdict }))
    }
}

struct Reader {
    waiting: Waiting,
    verdict: ResumeVerdict,
}

#[async_trait]
impl StreamReader for Reader {
    fn schema(&self) -> SchemaRef {
        letters::schema()
    }

    fn splits(&self) -> Vec<Split> {
        vec![Split { id: "letters".into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None }]
    }

    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }

    async fn read(&self, _: &Split, from: Option<Position>) -> Result<EventStream> {
        let after = match from {
            None => 0,
            Some(position) => position.as_i64().ok_or_else(|| Error::internal("the position of dead letters is no number"))?,
        };
        let begin = (self.waiting.clone(), after, false);
        let events = futures::stream::unfold(begin, |(mut waiting, mut after, idle)| async move {
            if idle {
                // Nothing comes any more; the split stays open, because the next run may have more.
                return std::future::pending().await;
            }
            let event = waiting.next(&mut after).await;
            let idle = matches!(event, Ok(Event::Idle));
            Some((event, (waiting, after, idle)))
        });
        Ok(events.boxed())
    }
}
