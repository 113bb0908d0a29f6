//! One partition, read by its places: from a start to an end, or for ever. The broker remembers nothing of it.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use chrono::Utc;
use futures::StreamExt;
use pulsar::message::Message;
use pulsar::message::proto::command_subscribe::SubType;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use weir_connect::{Batch, DeadLetter, Event, EventStream, Result, Retry};
use weir_formats::Refusal;

use super::client::{Address, Subscribing, flow, oldest, reader_name};
use super::errors::{data_loss, unreachable};
use super::position::{Entry, Place, Range, Start};
use super::rows::{Layout, Rows, Shape};
use super::schema::incoming::Known;
use super::schema::kept::{Version, shown};
use super::unpack::{Incoming, Unpack};
use super::wire::Connection;
use crate::messages::letters;

/// Batch size when the engine has no wish.
pub const BATCH_BYTES: usize = 4 << 20;
/// Rows per batch at most, so that narrow messages do not make huge batches.
pub const BATCH_ROWS: usize = 64 * 1024;
/// Batches that may wait for the engine.
pub const AHEAD: usize = 2;
/// Messages that the broker may send before it is asked for more.
pub const WINDOW: u32 = 1000;
/// How long rows wait for more of them.
pub const LINGER: Duration = Duration::from_millis(5);
/// How long it is quiet before the broker is asked whether there is more.
const QUIET: Duration = Duration::from_millis(100);
/// How long a run waits at its end for the rest of messages that come in chunks.
const CHUNKS: Duration = Duration::from_secs(10);
/// How long nothing may come of a topic that is read from a time on.
const SILENCE: Duration = Duration::from_secs(2);
/// Attempts to read on without a single message before that is told as a failure.
const FRUITLESS: u32 = 6;
/// A broker's and our clock may differ by so much.
const SKEW_SECS: u64 = 60;

/// Between a message's id and the version of its schema in a letter's place.
pub const SCHEMA: &str = " schema ";

/// What one reader does.
pub struct Job {
    /// The brokers.
    pub address: Address,
    /// What batches look like.
    pub shape: Arc<Shape>,
    /// What is told of a message besides.
    pub layout: Layout,
    /// The stream's name, for dead letters.
    pub stream: String,
    /// The partition's full name.
    pub topic: String,
    /// What is read.
    pub range: Range,
    /// Wanted size of batches; 0: our own.
    pub batch_bytes: usize,
    /// Bytes that may have come and not be rows.
    pub fetch_bytes: usize,
    /// The largest message.
    pub max_message_bytes: usize,
    /// How long there may be no connection.
    pub patience: Duration,
}

/// What is known of a message's schema.
pub enum Learned {
    /// How it is read, or that none is needed.
    Lasting,
    /// That it cannot be read, for now.
    Refused,
    /// It came later and has other columns: the stream's schema with these.
    Changed(SchemaRef),
}

impl Job {
    /// About a message that is no row.
    pub fn letter(&self, at: Entry, one: &Incoming, refusal: Refusal) -> DeadLetter {
        let mut place = format!("{} message {}", self.topic, self.layout.id(at, one));
        if let (Some(_), Some(version)) = (&self.shape.schemas, &one.schema) {
            place.push_str(&format!("{SCHEMA}{}", shown(version)));
        }
        letters::letter(&self.stream, place, (refusal.code, refusal.reason), &one.payload, self.shape.media_type())
    }

    /// Sees to it that something is known of a message's schema.
    pub async fn learn(&self, connection: &mut Connection, version: &Version) -> Result<Learned> {
        let Some(schemas) = &self.shape.schemas else { return Ok(Learned::Lasting) };
        if schemas.known(version).is_none() {
            schemas.learn(&self.address, connection, version).await?;
        }
        match schemas.known(version) {
            Some(Known::Changed(columns)) => Ok(Learned::Changed(self.shape.changed(&columns)?)),
            Some(Known::Ways(_)) => Ok(Learned::Lasting),
            _ => Ok(Learned::Refused),
        }
    }
}

/// Starts the reader. Dropping the stream ends it.
pub fn start(job: Job) -> Result<EventStream> {
    let (events, receiver) = mpsc::channel(AHEAD);
    if job.range.is_empty() {
        return Ok(futures::stream::empty().boxed());
    }
    let mut reader = Reader::new(job, events.clone())?;
    tokio::spawn(async move {
        let outcome = tokio::select! {
            outcome = reader.run() => outcome,
            () = events.closed() => return,
        };
        if let Err(error) = outcome {
            let _nobody_listens = events.send(Err(error)).await;
        }
    });
    Ok(tokio_stream(receiver))
}

/// What comes out of a channel, as a stream.
pub fn tokio_stream(receiver: mpsc::Receiver<Result<Event>>) -> EventStream {
    futures::stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|event| (event, receiver)) }).boxed()
}

/// Why reading stops.
#[derive(PartialEq)]
enum Stop {
    /// The end is reached.
    End,
    /// Nobody listens any more.
    Unheard,
}

/// A consumer behind a place; `None`: where the range begins, or, not `by_time`, at the oldest message.
async fn subscribe(job: &Job, place: Option<Place>, by_time: bool) -> Result<Connection> {
    let name = reader_name();
    let rollback_secs = match (place, job.range.start) {
        (None, Start::Published(time)) if by_time => {
            let age = Utc::now().timestamp_millis().saturating_sub(time).max(0);
            Some(u64::try_from(age / 1000).unwrap_or_default() + SKEW_SECS)
        }
        _ => None,
    };
    let how = Subscribing {
        topic: &job.topic,
        name: &name,
        kind: SubType::Exclusive,
        durable: false,
        start: Some(place.map_or_else(oldest, Place::to_wire)),
        rollback_secs,
        latest: false,
    };
    job.address.consumer(&how).await
}

struct Reader {
    job: Job,
    events: mpsc::Sender<Result<Event>>,
    rows: Rows,
    unpack: Unpack,
    /// Up to here everything was given or is in `rows`; `None`: nothing was met.
    place: Option<Place>,
    /// What the last position that was sent said.
    told: Option<Place>,
    /// Bytes taken from the wire for the batch at hand.
    bytes: usize,
    /// That everything was given was told since the last message.
    idle: bool,
    fruitless: u32,
    /// The broker is asked to begin near the time that reading begins at.
    by_time: bool,
    /// Since when only the rest of messages in chunks is read.
    ending: Option<Instant>,
    /// The schema of the message before.
    schema: Option<Version>,
}

impl Reader {
    fn new(job: Job, events: mpsc::Sender<Result<Event>>) -> Result<Self> {
        let rows = Rows::new(&job.shape)?;
        let unpack = Unpack::new(job.max_message_bytes, job.range.start == Start::Oldest);
        let place = match job.range.start {
            Start::Behind(place) => Some(place),
            _ => None,
        };
        Ok(Self {
            job,
            events,
            rows,
            unpack,
            place,
            told: place,
            bytes: 0,
            idle: false,
            fruitless: 0,
            by_time: true,
            ending: None,
            schema: None,
        })
    }

    /// Reads, over lost connections and topics that move to other brokers.
    async fn run(&mut self) -> Result<()> {
        loop {
            let (job, place, by_time) = (&self.job, self.place, self.by_time);
            let subscribed = job.address.persist(job.patience, || subscribe(job, place, by_time)).await;
            let mut connection = subscribed.map_err(|error| error.at(self.job.topic.clone()))?;
            self.unpack.clear();
            match self.follow(&mut connection).await {
                Ok(_) => return Ok(()),
                Err(error) if error.retryable() == Retry::Transient && self.fruitless < FRUITLESS => {
                    self.fruitless += 1;
                    tracing::debug!(target: "weir::pulsar", "{}: {error}; reading goes on behind {:?}", self.job.topic, self.place);
                    tokio::time::sleep(Duration::from_millis(100 << self.fruitless)).await;
                }
                Err(error) => return Err(error.at(self.job.topic.clone())),
            }
        }
    }

    async fn follow(&mut self, connection: &mut Connection) -> Result<Stop> {
        let mut permits = 0;
        let mut heard = Instant::now();
        // When the first row of the batch at hand came.
        let mut begun = None;
        loop {
            if permits < i64::from(WINDOW / 2) {
                flow(connection, WINDOW - u32::try_from(permits.max(0)).unwrap_or_default())?;
                permits = permits.min(0) + i64::from(WINDOW);
            }
            begun = (self.rows.count() > 0).then(|| begun.unwrap_or_else(Instant::now));
            let message = match connection.at_hand()? {
                Some(message) => message,
                None => {
                    let wait = begun.map_or(QUIET, |begun| LINGER.saturating_sub(begun.elapsed()));
                    let received = match timeout(wait, connection.receive()).await {
                        Ok(message) => Some(message?),
                        Err(_) if self.position_is_due() => {
                            if let Some(stop) = self.position(connection).await? {
                                return Ok(stop);
                            }
                            None
                        }
                        Err(_) => {
                            if let Some(stop) = self.quiet(connection, heard).await? {
                                return Ok(stop);
                            }
                            if self.idle {
                                Some(connection.receive().await?)
                            } else if self.job.range.end.is_some() && heard.elapsed() > self.job.patience {
                                return Err(unreachable(
                                    &self.job.topic,
                                    "the messages that were there when the run began do not come",
                                ));
                            } else {
                                None
                            }
                        }
                    };
                    let Some(message) = received else { continue };
                    message
                }
            };
            if message.command.message.is_some() {
                heard = Instant::now();
                permits -= i64::from(
                    message.payload.as_ref().and_then(|payload| payload.metadata.num_messages_in_batch).unwrap_or(1).max(1),
                );
            }
            if let Some(stop) = self.message(connection, message).await? {
                return Ok(stop);
            }
        }
    }

    async fn message(&mut self, connection: &mut Connection, message: Message) -> Result<Option<Stop>> {
        if message.command.close_consumer.is_some() {
            return Err(unreachable(&self.job.topic, "the topic moves to another broker"));
        }
        if message.command.reached_end_of_topic.is_some() {
            // The topic was terminated: nothing will come any more.
            return Ok(self.position(connection).await?.or(Some(Stop::End)));
        }
        let (Some(command), Some(payload)) = (message.command.message, message.payload) else { return Ok(None) };
        (self.idle, self.fruitless) = (false, 0);
        let at = Entry::of(&command.message_id);
        let beyond = self.job.range.end.is_some_and(|end| at > end);
        if beyond && self.unpack.open().is_none() {
            return Ok(self.position(connection).await?.or(Some(Stop::End)));
        }
        if beyond && self.ending.get_or_insert_with(Instant::now).elapsed() > self.job.patience {
            return self.give_up(connection, at).await.map(Some);
        }
        self.bytes += payload.data.len();
        let wanted = match self.job.range.start {
            Start::Published(time) => payload.metadata.publish_time >= u64::try_from(time).unwrap_or_default(),
            _ => true,
        };
        let ones = if beyond { self.unpack.rest(at, payload) } else { self.unpack.entry(at, payload, &[]) };
        for one in ones {
            if self.place.is_some_and(|place| !place.is_before(at, one.index)) {
                continue;
            }
            if wanted && let Some(stop) = self.one(connection, at, one).await? {
                return Ok(Some(stop));
            }
        }
        // Also behind what was left out: an entry that was read whole is never read again.
        if self.place.is_none_or(|place| place.at <= at) {
            self.place = Some(Place { at, index: None, open: self.unpack.open() });
        }
        if self.job.range.end.is_some_and(|end| at >= end) && self.unpack.open().is_none() {
            return Ok(self.position(connection).await?.or(Some(Stop::End)));
        }
        Ok(None)
    }

    async fn one(&mut self, connection: &mut Connection, at: Entry, one: Incoming) -> Result<Option<Stop>> {
        if let Some(version) =
            one.schema.as_ref().filter(|version| one.refusal.is_none() && self.schema.as_ref() != Some(*version))
        {
            match self.job.learn(connection, version).await? {
                Learned::Lasting => self.schema = Some(version.clone()),
                Learned::Refused => {}
                Learned::Changed(schema) => {
                    // What came before it goes before it, and the next run begins with it.
                    let stop = if self.rows.count() > 0 { self.position(connection).await? } else { None };
                    return match stop {
                        Some(stop) => Ok(Some(stop)),
                        None => Ok(self.send(connection, Event::SchemaChange(schema)).await?.or(Some(Stop::End))),
                    };
                }
            }
        }
        let behind = Place { at, index: one.index.filter(|_| !one.last), open: self.unpack.open() };
        match self.job.layout.push(&mut self.rows, at, &one) {
            Ok(()) => self.place = Some(behind),
            Err(refusal) => {
                // What came before it goes before it, with a position that does not contain it.
                if self.rows.count() > 0
                    && let Some(stop) = self.position(connection).await?
                {
                    return Ok(Some(stop));
                }
                let letter = self.job.letter(at, &one, refusal);
                if let Some(stop) = self.send(connection, Event::Dead(letter)).await? {
                    return Ok(Some(stop));
                }
                // What was given up on the way has no place of its own: the one of the message that follows it in the entry holds for both.
                if one.index.is_some() || one.last {
                    self.place = Some(behind);
                    return self.position(connection).await;
                }
            }
        }
        let limit = if self.job.batch_bytes == 0 { BATCH_BYTES } else { self.job.batch_bytes };
        if self.rows.bytes() >= limit || self.rows.count() >= BATCH_ROWS {
            return self.position(connection).await;
        }
        Ok(None)
    }

    /// Nothing has come for a while: perhaps that was all.
    async fn quiet(&mut self, connection: &mut Connection, heard: Instant) -> Result<Option<Stop>> {
        if self.idle {
            return Ok(None);
        }
        let (last, _) = self.job.address.last(connection).await?;
        if last.is_message() && self.place.is_none_or(|place| place.at < last) {
            let by_time = self.by_time && self.place.is_none() && matches!(self.job.range.start, Start::Published(_));
            if by_time && heard.elapsed() > SILENCE {
                // Nothing is as young as that, or the broker's clock is another one: everything is looked at.
                self.by_time = false;
                return Err(unreachable(&self.job.topic, "no message has come; the topic is read from its beginning"));
            }
            return Ok(None);
        }
        let Some(end) = self.job.range.end else {
            (self.idle, self.fruitless) = (true, 0);
            return self.send(connection, Event::Idle).await;
        };
        if last < end {
            return Err(data_loss(&self.job.topic, format!("the partition ended at {end:?} and now ends at {last:?}")));
        }
        // Only the rest of messages in chunks is waited for. A producer that was cut off never sends it.
        if heard.elapsed() < CHUNKS {
            return Ok(None);
        }
        self.give_up(connection, last).await.map(Some)
    }

    /// The run ends; what is under way in chunks will not become whole.
    async fn give_up(&mut self, connection: &mut Connection, at: Entry) -> Result<Stop> {
        for one in self.unpack.abandon("the rest did not come before the end of the run") {
            if let Some(stop) = self.one(connection, at, one).await? {
                return Ok(stop);
            }
        }
        Ok(self.position(connection).await?.unwrap_or(Stop::End))
    }

    fn position_is_due(&self) -> bool {
        self.rows.count() > 0 || self.place != self.told
    }

    /// The rows so far, if there are any, and the position behind them.
    async fn position(&mut self, connection: &mut Connection) -> Result<Option<Stop>> {
        let (true, Some(place)) = (self.position_is_due(), self.place) else { return Ok(None) };
        self.told = Some(place);
        let source_bytes = std::mem::take(&mut self.bytes) as u64;
        let batch = Batch { records: self.rows.finish()?, position: Some(place.position()), source_bytes };
        self.send(connection, Event::Batch(batch)).await
    }

    /// Waits for the engine and keeps the connection alive meanwhile.
    async fn send(&mut self, connection: &mut Connection, event: Event) -> Result<Option<Stop>> {
        let permit = tokio::select! {
            biased;
            permit = self.events.reserve() => permit,
            // A connection that ends now is found ended when it is read from again.
            _ended = connection.tend(self.job.fetch_bytes) => self.events.reserve().await,
        };
        match permit {
            Ok(permit) => {
                permit.send(Ok(event));
                Ok(None)
            }
            Err(_) => Ok(Some(Stop::Unheard)),
        }
    }
}

/// The oldest payloads of some partitions, about so many in all: to know names and types by.
pub async fn sample(address: &Address, topics: &[String], wanted: u64, max_message_bytes: usize) -> Result<Vec<Bytes>> {
    /// Text that is enough to know types by.
    const BYTES: usize = 8 << 20;
    let share = usize::try_from(wanted.div_ceil(topics.len().max(1) as u64)).unwrap_or(usize::MAX).max(1);
    let mut payloads = Vec::new();
    let mut bytes = 0;
    for topic in topics {
        let (mut connection, last) = address.look(topic, oldest()).await?;
        if !last.is_message() {
            continue;
        }
        let mut unpack = Unpack::new(max_message_bytes, false);
        let end = Instant::now() + address.patience();
        let until = payloads.len() + share;
        let mut permits = 0;
        'partition: while payloads.len() < until && bytes < BYTES {
            if permits <= 0 {
                flow(&mut connection, WINDOW)?;
                permits += i64::from(WINDOW);
            }
            let received = tokio::time::timeout_at(end, connection.receive()).await;
            let message = match received {
                Ok(message) => message?,
                // What is there is enough.
                Err(_) if !payloads.is_empty() => break,
                Err(_) => return Err(unreachable(topic, "messages are there and do not come")),
            };
            let (Some(command), Some(payload)) = (message.command.message, message.payload) else { continue };
            permits -= i64::from(payload.metadata.num_messages_in_batch.unwrap_or(1).max(1));
            let at = Entry::of(&command.message_id);
            for one in unpack.entry(at, payload, &[]) {
                if one.refusal.is_none() && payloads.len() < until {
                    bytes += one.payload.len();
                    payloads.push(Bytes::from(one.payload));
                }
            }
            if at >= last {
                break 'partition;
            }
        }
    }
    Ok(payloads)
}
