//! The source over an inbox: a peer fills it, the engine reads it. What peers do is theirs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex as Cell, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;
use weir_connect::{
    DeadLetter, Error, Event, ReadRequest, Result, ResumeVerdict, Source, SourceCapabilities, SplitProgress, StreamInfo,
    StreamReader,
};

use super::cursor::Cursor;
use super::folder::Inbox;
use super::queue::Queue;
use super::reading::{self, At, Column, Reader};
use crate::http::json::Scanner;
use crate::messages::{Format, Payload, Shape};

/// Messages to look at for names and types.
const SAMPLE: usize = 1000;
/// Bytes of them.
const SAMPLE_BYTES: usize = 8 << 20;

/// A stream that a peer offers.
#[derive(Clone)]
pub(crate) struct Offered {
    pub name: String,
    pub payload: Payload,
    pub columns: Vec<Column>,
    /// Messages to look at for names and types; `None`: our own number.
    pub sample_records: Option<u64>,
}

/// Where messages come from.
#[async_trait]
pub(crate) trait Peer: Send + Sync + 'static {
    /// The connector's name.
    fn connector(&self) -> &'static str;

    /// Its streams, at least one.
    fn streams(&self) -> Vec<Offered>;

    /// How messages come, one clause for the plan.
    fn reading(&self) -> String;

    /// Begins to receive into the inbox. The work that comes back is done until it is dropped, or ends with why it cannot go on.
    async fn begin(&self, inbox: Arc<Inbox>) -> Result<Work>;
}

/// What fills a queue until it is dropped, or ends with why it cannot go on.
pub(crate) type Work = BoxFuture<'static, Error>;

/// A server that is asked for one stream.
pub(crate) struct OneStream<B> {
    pub connector: &'static str,
    pub reading: &'static str,
    pub offered: Offered,
    /// Begins to fill the stream's queue.
    pub begin: B,
}

#[async_trait]
impl<B> Peer for OneStream<B>
where
    B: Fn(Arc<Queue>) -> BoxFuture<'static, Result<Work>> + Send + Sync + 'static,
{
    fn connector(&self) -> &'static str {
        self.connector
    }

    fn streams(&self) -> Vec<Offered> {
        vec![self.offered.clone()]
    }

    fn reading(&self) -> String {
        self.reading.to_owned()
    }

    async fn begin(&self, inbox: Arc<Inbox>) -> Result<Work> {
        let queue = inbox.queue(&self.offered.name)?.clone();
        (self.begin)(queue).await
    }
}

/// A peer at work; it stops when this is dropped.
pub(super) struct Receiver {
    task: AbortHandle,
    over: watch::Receiver<bool>,
    error: Arc<Cell<Option<Error>>>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    fn start(work: BoxFuture<'static, Error>) -> Arc<Self> {
        let (tell, over) = watch::channel(false);
        let error = Arc::new(Cell::new(None));
        let kept = error.clone();
        let task = tokio::spawn(async move {
            // Dropped after a panic too: then nobody has said why.
            let tell = tell;
            let failed = work.await;
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
            let _ = tell.send(true);
        });
        Arc::new(Self { task: task.abort_handle(), over, error })
    }

    fn is_over(&self) -> bool {
        *self.over.borrow() || self.task.is_finished()
    }

    /// Why it ended, when it has. The first who asks is told the cause.
    pub(super) async fn failed(&self) -> Error {
        let mut over = self.over.clone();
        let said = over.wait_for(|over| *over).await.is_ok();
        let cause = self.error.lock().unwrap_or_else(PoisonError::into_inner).take();
        cause.unwrap_or_else(|| match said {
            true => Error::new("WEIR-INBOX-014", weir_connect::Kind::Connect, "nothing is received any more").transient(),
            false => Error::internal("the receiver of messages died"),
        })
    }
}

struct Live {
    inbox: Arc<Inbox>,
    receiver: Option<Arc<Receiver>>,
}

/// A configured source.
pub(crate) struct InboxSource<P> {
    peer: P,
    folder: PathBuf,
    max_bytes: u64,
    shapes: Mutex<BTreeMap<String, Arc<Shape>>>,
    /// Open from the first read on, over all attempts: what comes meanwhile is kept.
    live: Mutex<Option<Live>>,
}

impl<P: Peer> InboxSource<P> {
    /// Opens nothing yet.
    pub fn new(peer: P, folder: PathBuf, max_bytes: u64) -> Self {
        Self { peer, folder, max_bytes, shapes: Mutex::default(), live: Mutex::new(None) }
    }

    fn offered(&self, stream: &str) -> Result<Offered> {
        let mut all = self.peer.streams();
        match all.iter().position(|offered| offered.name == stream) {
            Some(at) => Ok(all.swap_remove(at)),
            None => {
                let names: Vec<String> = all.into_iter().map(|offered| offered.name).collect();
                Err(Error::new("WEIR-INBOX-010", weir_connect::Kind::NotFound, format!("there is no stream `{stream}`"))
                    .hint(format!("there are: {}", names.join(", "))))
            }
        }
    }

    /// The inbox, with a receiver if one is wanted.
    async fn live(&self, receive: bool) -> Result<(Arc<Inbox>, Option<Arc<Receiver>>)> {
        let mut live = self.live.lock().await;
        if live.is_none() {
            let streams: Vec<String> = self.peer.streams().into_iter().map(|offered| offered.name).collect();
            let (folder, max_bytes) = (self.folder.clone(), self.max_bytes);
            let inbox = blocking(move || Inbox::open(&folder, &streams, max_bytes)).await?;
            *live = Some(Live { inbox: Arc::new(inbox), receiver: None });
        }
        let Some(live) = live.as_mut() else { return Err(Error::internal("an inbox that is open and is not")) };
        if receive && live.receiver.as_ref().is_none_or(|receiver| receiver.is_over()) {
            live.receiver = None;
            let work = self.peer.begin(live.inbox.clone()).await?;
            live.receiver = Some(Receiver::start(work));
        }
        Ok((live.inbox.clone(), live.receiver.clone().filter(|_| receive)))
    }

    /// The queue without a lock, unless it is open here; `None` if nothing was ever received.
    async fn look(&self, stream: &str) -> Result<Option<Arc<Queue>>> {
        if let Some(live) = self.live.lock().await.as_ref() {
            return live.inbox.queue(stream).cloned().map(Some);
        }
        let (folder, stream) = (self.folder.clone(), stream.to_owned());
        blocking(move || Inbox::view(&folder, &stream)).await
    }

    async fn shape(&self, offered: &Offered) -> Result<Arc<Shape>> {
        let mut known = self.shapes.lock().await;
        if let Some(shape) = known.get(&offered.name) {
            return Ok(shape.clone());
        }
        let mut payload = offered.payload.clone();
        // Columns that depend on what happens to wait would be others in the next run.
        payload.only_columns = payload.declared.is_some();
        let mut sample = Vec::new();
        if payload.format == Format::Json
            && payload.declared.is_none()
            && let Some(queue) = self.look(&offered.name).await?
        {
            let wanted =
                offered.sample_records.map_or(SAMPLE, |wanted| usize::try_from(wanted.clamp(1, 1_000_000)).unwrap_or(SAMPLE));
            sample = blocking(move || sample_of(queue, wanted)).await?;
        }
        let own = offered.columns.iter().map(|column| column.own.clone()).collect();
        let place = format!("stream `{}`", offered.name);
        let shape = Arc::new(Shape::of(payload, own, &sample, &place).await?);
        known.insert(offered.name.clone(), shape.clone());
        Ok(shape)
    }
}

/// Messages that are objects, the oldest that are kept.
fn sample_of(queue: Arc<Queue>, wanted: usize) -> Result<Vec<Bytes>> {
    let mut cursor = Cursor::new(queue.clone(), queue.oldest());
    let (mut sample, mut bytes) = (Vec::new(), 0);
    loop {
        let records = cursor.read(1 << 20)?;
        if records.is_empty() {
            return Ok(sample);
        }
        for record in records {
            if record.refused.is_some() || !is_object(&record.payload) {
                continue;
            }
            bytes += record.payload.len();
            sample.push(record.payload);
            if sample.len() >= wanted || bytes >= SAMPLE_BYTES {
                return Ok(sample);
            }
        }
    }
}

fn is_object(payload: &[u8]) -> bool {
    let mut scanner = Scanner::new(payload);
    std::str::from_utf8(payload).is_ok() && scanner.peek() == Ok(b'{') && scanner.skip().is_ok() && scanner.end().is_ok()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal("work on the inbox died").caused_by(error))?
}

#[async_trait]
impl<P: Peer> Source for InboxSource<P> {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            replayable: true,
            replay_note: format!(
                "{} reads messages again from its inbox on disk, where they are kept until they are durable",
                self.peer.connector()
            ),
        }
    }

    fn unbounded(&self) -> bool {
        true
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let mut infos = Vec::new();
        for offered in self.peer.streams() {
            let shape = self.shape(&offered).await?;
            infos.push(StreamInfo {
                name: offered.name,
                schema: shape.schema.clone(),
                primary_key: Vec::new(),
                estimated_rows: None,
                estimated_bytes: None,
                reading: self.peer.reading(),
            });
        }
        Ok(infos)
    }

    /// Without end: begins to receive. Otherwise: what is in the inbox now.
    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let offered = self.offered(&request.stream)?;
        let shape = self.shape(&offered).await?;
        // A preview may look while a run receives.
        let (queue, receiver) = match (request.unbounded, request.limit) {
            (false, Some(_)) => match self.look(&offered.name).await? {
                Some(queue) => (queue, None),
                None => (self.live(false).await?.0.queue(&offered.name)?.clone(), None),
            },
            (unbounded, _) => {
                let (inbox, receiver) = self.live(unbounded).await?;
                (inbox.queue(&offered.name)?.clone(), receiver)
            }
        };
        let (mut start, mut done, mut verdict) = (queue.begin(), false, ResumeVerdict::Fresh);
        let mut end = queue.end();
        if let Some(resume) = &request.resume {
            verdict = ResumeVerdict::Continued;
            if let Some(part) = resume.progress.first() {
                let begun = At::read(&part.split.descriptor)?;
                done = part.done;
                let from = match &part.position {
                    Some(position) => At::read(position)?,
                    None => begun.clone(),
                };
                from.within(&queue)?;
                start = begun.next;
            }
            if !request.unbounded
                && let Ok(state) = At::read(&resume.reader_state)
            {
                end = state.next;
            }
        } else if let Some(previous) = request.previous.as_ref().filter(|previous| !previous.is_null()) {
            start = At::read(previous)?.within(&queue)?;
        }
        Ok(Box::new(Reader {
            stream: offered.name,
            shape,
            columns: offered.columns,
            given: Arc::new(AtomicU64::new(start)),
            queue,
            receiver,
            end: end.max(start),
            start,
            batch_bytes: request.batch_bytes,
            verdict,
            done,
        }))
    }

    async fn redecode(&self, stream: &str, letter: &DeadLetter) -> Result<Vec<Event>> {
        let offered = self.offered(stream)?;
        let shape = self.shape(&offered).await?;
        reading::again(&shape, &offered.columns, letter)
    }

    /// Lets the inbox forget.
    async fn committed(&self, stream: &str, progress: &[SplitProgress]) -> Result<()> {
        let queue = match self.live.lock().await.as_ref() {
            Some(live) => live.inbox.queue(stream)?.clone(),
            // Nothing was read here: who reads next is told again.
            None => return Ok(()),
        };
        for position in progress.iter().filter_map(|part| part.position.as_ref()) {
            let at = At::read(position)?;
            if at.inbox == queue.id() {
                let queue = queue.clone();
                blocking(move || queue.forget(at.next)).await?;
            }
        }
        Ok(())
    }
}
