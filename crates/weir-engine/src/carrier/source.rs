//! What waits in the checkpoint as a stream without end: one split, whose position is the number of the last thing.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::watch;
use weir_connect::{
    Batch, Event, EventStream, Position, ReadRequest, ResumeVerdict, Source, SourceCapabilities, Split, SplitProgress,
    StreamInfo, StreamReader,
};
use weir_error::{Error, Result};

/// The checkpoint store is asked so often: it may be on another machine, and tells nobody what is new.
const LOOK: Duration = Duration::from_millis(500);

/// What comes next.
pub(crate) struct Portion {
    pub(crate) records: RecordBatch,
    /// The greatest number among them.
    pub(crate) last: i64,
    pub(crate) source_bytes: u64,
}

/// One kind of thing that is kept for one sink.
#[async_trait]
pub(crate) trait Kept: Send + Sync {
    /// The flow in the checkpoint: [`super::carries`] knows it.
    fn flow(&self) -> String;
    /// Its one split.
    fn split(&self) -> &'static str;
    /// What they are, in a sentence: `dead letters`.
    fn what(&self) -> &'static str;
    /// The columns of their rows; `id` is the number.
    fn schema(&self) -> SchemaRef;
    /// The next ones behind this number, in order: a few megabytes at most. `None`: there are none.
    async fn after(&self, number: i64) -> Result<Option<Portion>>;
    /// The sink has all up to this number, durably.
    async fn carried(&self, _number: i64) -> Result<()> {
        Ok(())
    }
}

/// What waits, for a reader.
#[derive(Clone)]
pub(super) struct Waiting {
    kept: Arc<dyn Kept>,
    /// Nothing will come any more.
    over: watch::Receiver<bool>,
}

impl Waiting {
    pub(super) fn new(kept: Arc<dyn Kept>, over: watch::Receiver<bool>) -> Self {
        Self { kept, over }
    }

    pub(super) fn flow(&self) -> String {
        self.kept.flow()
    }

    pub(super) fn info(&self) -> StreamInfo {
        StreamInfo {
            name: self.flow().trim_start_matches('$').to_owned(),
            schema: self.kept.schema(),
            primary_key: vec!["id".into()],
            estimated_rows: None,
            estimated_bytes: None,
            reading: "from the checkpoint, by number".into(),
        }
    }

    /// The next ones behind `after`, or `Idle` once it is sure that there are none and will be none.
    async fn next(&mut self, after: &mut i64) -> Result<Event> {
        loop {
            // Before the question: what was kept until then is in the answer.
            let over = *self.over.borrow_and_update();
            if let Some(portion) = self.kept.after(*after).await? {
                *after = portion.last;
                let Portion { records, source_bytes, .. } = portion;
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

fn number(position: &Value) -> Result<i64> {
    position.as_i64().ok_or_else(|| Error::internal("the position of what is carried is no number"))
}

#[async_trait]
impl Source for Waiting {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { replayable: true, replay_note: format!("{} wait in the checkpoint", self.kept.what()) }
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

    async fn committed(&self, _: &str, progress: &[SplitProgress]) -> Result<()> {
        for position in progress.iter().filter_map(|part| part.position.as_ref()) {
            self.kept.carried(number(position)?).await?;
        }
        Ok(())
    }
}

struct Reader {
    waiting: Waiting,
    verdict: ResumeVerdict,
}

#[async_trait]
impl StreamReader for Reader {
    fn schema(&self) -> SchemaRef {
        self.waiting.kept.schema()
    }

    fn splits(&self) -> Vec<Split> {
        vec![Split { id: self.waiting.kept.split().into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None }]
    }

    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }

    async fn read(&self, _: &Split, from: Option<Position>) -> Result<EventStream> {
        let after = from.as_ref().map(number).transpose()?.unwrap_or_default();
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
