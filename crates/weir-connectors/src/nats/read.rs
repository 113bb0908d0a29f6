//! One stream, read by a task of its own: from a sequence to a sequence, or for ever.
//!
//! The server keeps a consumer for the reader that lives only as long as it, acknowledges nothing, and gives messages in their order. They are
//! asked for in portions of so many bytes, and each carries its number in the stream and its number in the consumer: a hole in the latter is a
//! message that got lost on its way, a hole in the former is looked into.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::{Batch as Portion, Config};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use async_nats::jetstream::stream::Stream;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use weir_connect::{Batch, Error, Event, EventStream, Result};
use weir_formats::Refusal;

use super::client::Link;
use super::config::{Metadata, OnDataLoss};
use super::errors::interrupted;
use super::view::{Now, loss, position};
use crate::messages::letters::letter;
use crate::messages::{OwnValue, Rows, Shape};

/// Batch size when the engine has no wish.
const BATCH_BYTES: usize = 4 << 20;
/// Rows per batch at most, so that narrow messages do not make huge batches.
const BATCH_ROWS: usize = 64 * 1024;
/// Messages that one request asks for; far fewer than may wait for us.
const PORTION: usize = 8192;
/// Batches that may wait for the engine.
const AHEAD: usize = 2;
/// How long rows wait for others when the server falls silent in the middle of a portion.
const LINGER: Duration = Duration::from_millis(20);
/// How long a request waits at the server for messages, and how often the end is looked at meanwhile.
const WAIT: Duration = Duration::from_secs(5);
/// How often the connection is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long the server keeps a consumer that nobody asks.
const FORGET: Duration = Duration::from_secs(120);

/// What one reader does.
pub struct Job {
    /// The connection.
    pub link: Link,
    /// The stream.
    pub stream: Stream<()>,
    /// Its name.
    pub name: String,
    /// Only such subjects.
    pub subject: Option<String>,
    /// What batches look like.
    pub shape: Arc<Shape>,
    /// The message's own columns, in the shape's order.
    pub metadata: Vec<Metadata>,
    /// The first sequence.
    pub start: u64,
    /// The sequence to stop at; `None`: never.
    pub end: Option<u64>,
    /// What is done about holes.
    pub on_data_loss: OnDataLoss,
    /// Wanted size of batches; 0: our own.
    pub batch_bytes: usize,
    /// Bytes that one request asks for.
    pub fetch_bytes: usize,
    /// How many messages are left, as the server says with each.
    pub lag: Arc<AtomicU64>,
}

/// A consumer that begins at a sequence or time, for as long as we ask it.
pub async fn consumer(link: &Link, stream: &Stream<()>, subject: Option<&str>, from: DeliverPolicy) -> Result<Consumer<Config>> {
    let config = Config {
        description: Some("a reader of Weir".into()),
        deliver_policy: from,
        ack_policy: AckPolicy::None,
        filter_subject: subject.unwrap_or_default().to_owned(),
        inactive_threshold: FORGET,
        memory_storage: true,
        num_replicas: 1,
        ..Config::default()
    };
    stream.create_consumer(config).await.map_err(|error| link.shown(&error))
}

/// Starts the reader. Dropping the stream ends it.
pub fn start(job: Job) -> Result<EventStream> {
    if job.end.is_some_and(|end| job.start >= end) {
        return Ok(futures::stream::empty().boxed());
    }
    let (events, receiver) = mpsc::channel(AHEAD);
    let rows = Rows::new(&job.shape)?;
    let (next, limit) = (job.start, if job.batch_bytes == 0 { BATCH_BYTES } else { job.batch_bytes });
    let mut reader = Reader { job, events, rows, limit, next, told: next, expected: 1, hole: None, behind: true, idle: false };
    let task = tokio::spawn(async move {
        if let Err(error) = reader.run().await {
            let _nobody_listens = reader.events.send(Err(error)).await;
        }
    });
    let held = (receiver, Running(task.abort_handle()));
    let stream = futures::stream::unfold(held, |(mut receiver, running)| async move {
        receiver.recv().await.map(|event| (event, (receiver, running)))
    });
    Ok(stream.boxed())
}

struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The sequence out of a dead letter's place.
pub fn place_of(stream: &str, place: &str) -> Option<u64> {
    place.strip_prefix(stream)?.strip_prefix(" sequence ")?.parse().ok()
}

struct Reader {
    job: Job,
    events: mpsc::Sender<Result<Event>>,
    rows: Rows,
    /// Bytes of a batch.
    limit: usize,
    /// The next sequence.
    next: u64,
    /// What the last position that was sent said.
    told: u64,
    /// The next number of the consumer.
    expected: u64,
    /// The first sequence that was passed over since the last batch.
    hole: Option<u64>,
    /// The server had more for us when it gave the last message.
    behind: bool,
    /// The end was told since the last message.
    idle: bool,
}

/// Nobody listens any more, or the end is reached.
struct Stop;

impl Reader {
    async fn run(&mut self) -> Result<()> {
        let connects = self.job.link.connects().ok_or_else(|| self.lost("the connection is down"))?;
        let from = DeliverPolicy::ByStartSequence { start_sequence: self.next };
        let consumer = consumer(&self.job.link, &self.job.stream, self.job.subject.as_deref(), from).await?;
        let left = consumer.cached_info().num_pending;
        self.job.lag.store(left, Ordering::Relaxed);
        self.behind = left > 0;
        if left == 0 && self.at_end(&consumer).await?.is_some() {
            return Ok(());
        }
        let mut alone = false;
        loop {
            let request = consumer.batch().expires(WAIT);
            let request = match alone {
                true => request.max_messages(1),
                false => request.max_messages(PORTION).max_bytes(self.job.fetch_bytes),
            };
            let mut portion = request.messages().await.map_err(|error| self.job.link.shown(&error))?;
            let before = self.expected;
            let over = self.portion(&consumer, &mut portion, connects).await?;
            if over.is_none() && self.expected == before && self.flush().await?.is_none() {
                // Nothing came while it waited, or the next message is larger than a portion.
                alone = consumer.get_info().await.map_err(|error| self.job.link.shown(&error))?.num_pending > 0;
                if !alone && self.at_end(&consumer).await?.is_some() {
                    return Ok(());
                }
            } else if over.is_some() {
                return Ok(());
            } else {
                alone = false;
            }
        }
    }

    /// What one request brings.
    async fn portion(&mut self, consumer: &Consumer<Config>, portion: &mut Portion, connects: u64) -> Result<Option<Stop>> {
        loop {
            let patience = if self.rows.count() > 0 { LINGER } else { LOOK };
            let Ok(next) = tokio::time::timeout(patience, portion.next()).await else {
                if self.job.link.connects() != Some(connects) {
                    return Err(self.lost("the connection was lost"));
                }
                if self.events.is_closed() || self.flush().await?.is_some() {
                    return Ok(Some(Stop));
                }
                continue;
            };
            match next {
                None => return Ok(None),
                Some(Ok(message)) => {
                    if self.message(consumer, &message).await?.is_some() {
                        return Ok(Some(Stop));
                    }
                }
                // The portion is full by its bytes.
                Some(Err(error)) if error.to_string().contains("MaxBytes") => return Ok(None),
                Some(Err(error)) => return Err(self.lost(error)),
            }
        }
    }

    fn lost(&self, why: impl std::fmt::Display) -> Error {
        interrupted(&format!("{} at {}", self.job.name, self.job.link.place()), why)
    }

    async fn message(&mut self, consumer: &Consumer<Config>, message: &Message) -> Result<Option<Stop>> {
        let info = message.info().map_err(|error| self.lost(format!("a message without its numbers: {error}")))?;
        let (sequence, pending, published) = (info.stream_sequence, info.pending, info.published);
        if info.consumer_sequence != self.expected || sequence < self.next {
            return Err(self.lost(format!("message {} came in place of {}", info.consumer_sequence, self.expected)));
        }
        self.expected += 1;
        if self.job.end.is_some_and(|end| sequence >= end) {
            return self.finish().await;
        }
        // At the end of the stream the server passes over other subjects only; before it, limits may have taken what we wanted.
        if sequence > self.next && (self.behind || self.job.subject.is_none()) {
            self.hole = self.hole.or(Some(self.next));
        }
        self.job.lag.store(pending, Ordering::Relaxed);
        (self.behind, self.idle) = (pending > 0, false);
        let refusal = {
            let headers = match self.job.metadata.contains(&Metadata::Headers) {
                true => message.headers.as_ref().map(headers_of),
                false => None,
            };
            let own: Vec<OwnValue<'_>> = (self.job.metadata.iter())
                .map(|kind| match kind {
                    Metadata::Subject => OwnValue::Text(message.subject.as_str()),
                    Metadata::Headers => headers.as_deref().map_or(OwnValue::Null, OwnValue::Text),
                    Metadata::Sequence => i64::try_from(sequence).map_or(OwnValue::Null, OwnValue::Int),
                    Metadata::Timestamp => {
                        i64::try_from(published.unix_timestamp_nanos() / 1000).map_or(OwnValue::Null, OwnValue::Time)
                    }
                })
                .collect();
            self.rows.push(&message.payload, &own).err()
        };
        if let Some(refusal) = refusal {
            // What came before it goes before it, with a position that does not contain it.
            self.next = sequence;
            if self.flush().await?.is_some() || self.dead(message, sequence, refusal).await?.is_some() {
                return Ok(Some(Stop));
            }
            self.next = sequence + 1;
            if self.position().await?.is_some() {
                return Ok(Some(Stop));
            }
        } else {
            self.next = sequence + 1;
        }
        if self.rows.bytes() >= self.limit || self.rows.count() >= BATCH_ROWS || pending == 0 {
            if self.flush().await?.is_some() {
                return Ok(Some(Stop));
            }
            if pending == 0 {
                return match self.job.end {
                    Some(_) => self.at_end(consumer).await,
                    None => self.nothing_more().await,
                };
            }
        }
        Ok(None)
    }

    async fn nothing_more(&mut self) -> Result<Option<Stop>> {
        if self.idle {
            return Ok(None);
        }
        self.idle = true;
        Ok(self.send(Event::Idle).await)
    }

    /// Looks whether everything was given that the stream has now; then the position moves behind other subjects too.
    async fn at_end(&mut self, consumer: &Consumer<Config>) -> Result<Option<Stop>> {
        let now = self.now().await?;
        let info = consumer.get_info().await.map_err(|error| self.job.link.shown(&error))?;
        self.job.lag.store(info.num_pending, Ordering::Relaxed);
        if info.num_pending > 0 || info.delivered.consumer_sequence >= self.expected {
            return Ok(None);
        }
        let all = self.job.end.map_or(now.high, |end| end.min(now.high));
        // The server had something for us, and now has not.
        if (self.behind || self.job.subject.is_none()) && self.next < all && now.low > self.next {
            self.passed_over(self.next, &now)?;
        }
        self.behind = false;
        match self.job.end {
            Some(end) => {
                self.next = self.next.max(end);
                self.position().await?;
                Ok(Some(Stop))
            }
            None => {
                self.next = self.next.max(now.high);
                if self.position().await?.is_some() {
                    return Ok(Some(Stop));
                }
                self.nothing_more().await
            }
        }
    }

    /// The stream goes on behind our end.
    async fn finish(&mut self) -> Result<Option<Stop>> {
        self.next = self.job.end.unwrap_or(self.next);
        self.position().await?;
        Ok(Some(Stop))
    }

    async fn now(&mut self) -> Result<Now> {
        let info = self.job.stream.get_info().await.map_err(|error| self.job.link.shown(&error))?;
        Ok(Now::of(&info))
    }

    fn passed_over(&self, from: u64, now: &Now) -> Result<()> {
        let why = format!("sequence {from} was to be read, and the oldest that is kept is {} by now", now.low);
        loss(&self.job.name, why, now.low, self.job.on_data_loss).map(drop)
    }

    async fn send(&mut self, event: Event) -> Option<Stop> {
        self.events.send(Ok(event)).await.is_err().then_some(Stop)
    }

    async fn flush(&mut self) -> Result<Option<Stop>> {
        if self.rows.count() == 0 { Ok(None) } else { self.position().await }
    }

    /// The rows so far, if there are any, and the position behind them.
    async fn position(&mut self) -> Result<Option<Stop>> {
        if self.rows.count() == 0 && self.next == self.told {
            return Ok(None);
        }
        if let Some(from) = self.hole.take() {
            // Messages that were deleted one by one leave holes too, but behind the oldest that is kept.
            let now = self.now().await?;
            if now.low > from {
                self.passed_over(from, &now)?;
            }
        }
        self.told = self.next;
        let source_bytes = self.rows.bytes() as u64;
        let records = self.rows.finish()?;
        Ok(self.send(Event::Batch(Batch { records, position: Some(position(self.next)), source_bytes })).await)
    }

    async fn dead(&mut self, message: &Message, sequence: u64, refusal: Refusal) -> Result<Option<Stop>> {
        let place = format!("{} sequence {sequence}", self.job.name);
        let media_type = self.job.shape.payload.format.media_type();
        let letter = letter(&self.job.name, place, (refusal.code, refusal.reason), &message.payload, media_type);
        Ok(self.send(Event::Dead(letter)).await)
    }
}

/// `[["name", "value"], …]`; the client keeps no order between names.
fn headers_of(headers: &async_nats::HeaderMap) -> String {
    let mut all: Vec<(&str, &str)> = headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (AsRef::<str>::as_ref(name), value.as_str())))
        .collect();
    // Values of one name stay in their order.
    all.sort_by_key(|(name, _)| *name);
    serde_json::json!(all).to_string()
}
