//! One partition, read by a thread of its own: from an offset to an offset, or for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use tokio::sync::mpsc;
use weir_connect::{Batch, Error, Event, EventStream, Result};
use weir_formats::Refusal;

use super::client::Reading;
use super::config::{SourceFormat, Tombstones};
use super::errors::{data_loss, of_code, passes, shown, unreachable};
use super::lag::Lags;
use super::registry::frame;
use super::registry::incoming::{Incoming, Known};
use super::rows::{Rows, Shape};
use super::waiting::Waiting;
use crate::messages::letters::letter;

/// Batch size when the engine has no wish.
const BATCH_BYTES: usize = 4 << 20;
/// Rows per batch at most, so that narrow records do not make huge batches.
const BATCH_ROWS: usize = 64 * 1024;
/// Batches that may wait for the engine.
const AHEAD: usize = 2;
/// How long the reader waits before it looks whether anybody still listens.
const LOOK: Duration = Duration::from_millis(200);
/// How long a row may wait for others once nothing more is at hand. While records are at hand batches become full instead.
const LINGER: Duration = Duration::from_millis(2);

/// What one reader does.
pub struct Job {
    /// What batches look like.
    pub shape: Arc<Shape>,
    /// The stream's name, for dead letters.
    pub stream: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub start: i64,
    /// The offset to stop at; `None`: never.
    pub end: Option<i64>,
    /// Wanted size of batches; 0: our own.
    pub batch_bytes: usize,
    /// Where readers without end say how far they are.
    pub lags: Arc<Lags>,
    /// Where the registry is asked.
    pub runtime: tokio::runtime::Handle,
}

/// Starts the reader. Dropping the stream ends it.
pub fn start(consumer: Reading, job: Job) -> Result<EventStream> {
    let (events, receiver) = mpsc::channel(AHEAD);
    if job.end.is_some_and(|end| job.start >= end) {
        return Ok(futures::stream::empty().boxed());
    }
    let name = format!("kafka {}[{}]", job.topic, job.partition);
    std::thread::Builder::new()
        .name(name)
        .spawn(move || {
            let mut reader = match Reader::new(job, events) {
                Ok(reader) => reader,
                Err((events, error)) => {
                    let _nobody_listens = events.blocking_send(Err(error));
                    return;
                }
            };
            if let Err(error) = reader.run(&consumer) {
                let _nobody_listens = reader.events.blocking_send(Err(error));
            }
        })
        .map_err(|error| Error::from(error).at("a thread for a partition"))?;
    let stream =
        futures::stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|event| (event, receiver)) });
    Ok(stream.boxed())
}

/// Partition and offset out of a dead letter's place.
pub fn place_of(topic: &str, place: &str) -> Option<(i32, i64)> {
    let (partition, offset) = place.strip_prefix(topic)?.strip_prefix('[')?.split_once("] offset ")?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

struct Reader {
    job: Job,
    events: mpsc::Sender<Result<Event>>,
    rows: Rows,
    /// Bytes of records in the batch at hand.
    bytes: usize,
    /// The next offset.
    next: i64,
    /// What the last position that was sent said.
    told: i64,
    /// The end of the partition was told since the last record.
    idle: bool,
    heard: Instant,
    /// When the first row of the batch at hand came.
    begun: Instant,
    trouble: Option<Error>,
    /// The schema of the record before.
    schema: Option<u32>,
}

/// Nobody listens any more, or the end is reached.
struct Stop;

type Sender = mpsc::Sender<Result<Event>>;

impl Reader {
    fn new(job: Job, events: Sender) -> Result<Self, (Sender, Error)> {
        match Rows::new(&job.shape) {
            Ok(rows) => {
                let next = job.start;
                if job.end.is_none() {
                    job.lags.reached(job.partition, next);
                }
                Ok(Self {
                    job,
                    events,
                    rows,
                    bytes: 0,
                    next,
                    told: next,
                    idle: false,
                    heard: Instant::now(),
                    begun: Instant::now(),
                    trouble: None,
                    schema: None,
                })
            }
            Err(error) => Err((events, error)),
        }
    }

    fn place(&self) -> String {
        format!("{}[{}]", self.job.topic, self.job.partition)
    }

    fn run(&mut self, consumer: &Reading) -> Result<()> {
        let mut assignment = TopicPartitionList::with_capacity(1);
        assignment
            .add_partition_offset(&self.job.topic, self.job.partition, Offset::Offset(self.job.start))
            .and_then(|()| consumer.assign(&assignment))
            .map_err(|error| shown(&error, &self.place()))?;
        let waiting = Waiting::of(consumer);
        let patience = Duration::from_secs(self.job.shape.options.broker_timeout_secs.unwrap_or(60).max(1));
        loop {
            // By the clock of the last record: another look at it for each would cost as much as the record.
            let wait = match self.rows.count() {
                0 => LOOK,
                _ => LINGER.saturating_sub(self.heard.duration_since(self.begun)),
            };
            let done = match consumer.poll(wait) {
                Some(Ok(message)) => {
                    self.heard = Instant::now();
                    match self.record(&message)? {
                        None => self.at_hand(&waiting, consumer)?,
                        stop => stop,
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => self.at_end(consumer)?,
                Some(Err(error)) => {
                    self.complain(&error)?;
                    None
                }
                // The end of a partition that is always written to is never told: whoever waits for it keeps rows back for seconds.
                None if self.rows.count() > 0 => self.flush()?,
                None => {
                    if self.events.is_closed() {
                        return Ok(());
                    }
                    None
                }
            };
            if done.is_some() {
                return Ok(());
            }
            if !self.idle && self.heard.elapsed() > patience {
                let silent = unreachable(&self.place(), format!("nothing was heard for {} s", patience.as_secs()));
                return Err(self.trouble.take().unwrap_or(silent));
            }
        }
    }

    /// Whatever the client has fetched already.
    fn at_hand(&mut self, waiting: &Waiting<'_>, consumer: &Reading) -> Result<Option<Stop>> {
        loop {
            let taken = waiting.take();
            self.heard = Instant::now();
            for record in taken.records() {
                let done = match record {
                    Ok(record) => self.record(&record)?,
                    Err(Code::PartitionEOF) => self.at_end(consumer)?,
                    Err(code) => {
                        self.complain(&KafkaError::MessageConsumption(code))?;
                        None
                    }
                };
                if done.is_some() {
                    return Ok(done);
                }
            }
            if !taken.full() {
                return Ok(None);
            }
        }
    }

    /// Something that the client says. Most of it passes by itself; what lasts ends in the patience.
    fn complain(&mut self, error: &KafkaError) -> Result<()> {
        let Some(code) = error.rdkafka_error_code() else { return Err(shown(error, &self.place())) };
        // The group is a name only: nothing is asked of it here.
        if matches!(code, Code::GroupAuthorizationFailed | Code::CoordinatorNotAvailable | Code::NotCoordinator) {
            return Ok(());
        }
        if !passes(code) {
            return Err(of_code(code, &self.place(), error));
        }
        // Who waits for records that are not there yet waits for the brokers too.
        if !self.idle {
            self.trouble = Some(of_code(code, &self.place(), error));
        }
        Ok(())
    }

    fn record<M: Message>(&mut self, message: &M) -> Result<Option<Stop>> {
        let offset = message.offset();
        if self.job.end.is_some_and(|end| offset >= end) {
            return self.flush().map(|_| Some(Stop));
        }
        if offset < self.next {
            return Err(Error::internal(format!("record {offset} came after {}", self.next)).at(self.place()));
        }
        (self.trouble, self.idle) = (None, false);
        if let Some(schemas) = &self.job.shape.registered
            && let Some(Ok((id, _))) = message.payload().map(frame)
            && self.schema != Some(id)
        {
            let schemas = schemas.clone();
            if self.schema(&schemas, id, offset)?.is_some() {
                return Ok(Some(Stop));
            }
        }
        let options = &self.job.shape.options;
        if message.payload().is_none() && options.format == SourceFormat::DebeziumJson && options.tombstones != Tombstones::Keep {
            // It follows each delete, which has been told, and says nothing more.
            self.next = offset + 1;
            return Ok(None);
        }
        let bytes = message.payload().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len);
        match self.rows.push(message) {
            Ok(()) => {
                if self.rows.count() == 1 {
                    self.begun = self.heard;
                }
                self.bytes += bytes;
                self.next = offset + 1;
            }
            Err(refusal) => {
                // What came before it goes before it, with a position that does not contain it.
                self.next = offset;
                if self.flush()?.is_some() || self.dead(message, refusal)?.is_some() {
                    return Ok(Some(Stop));
                }
                self.next = offset + 1;
                return self.position();
            }
        }
        let limit = if self.job.batch_bytes == 0 { BATCH_BYTES } else { self.job.batch_bytes };
        if self.bytes >= limit || self.rows.count() >= BATCH_ROWS {
            return self.flush();
        }
        Ok(None)
    }

    /// Sees to it that something is known of a record's schema. One that came later and has other columns ends the reading.
    fn schema(&mut self, schemas: &Incoming, id: u32, offset: i64) -> Result<Option<Stop>> {
        if schemas.known(id).is_none() {
            let asked = self.job.runtime.block_on(schemas.learn(id));
            // The registry may have taken its time; that was not the brokers' fault.
            self.heard = Instant::now();
            asked.map_err(|error| error.at(format!("{} offset {offset}", self.place())))?;
        }
        match schemas.known(id) {
            Some(Known::Changed(columns)) => {
                self.next = offset;
                if self.flush()?.is_some() {
                    return Ok(Some(Stop));
                }
                let shape = Shape::new(columns, &self.job.shape.options, None)?;
                self.send(Event::SchemaChange(shape.schema));
                Ok(Some(Stop))
            }
            Some(Known::Way(_)) => {
                self.schema = Some(id);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Everything that there is now was given.
    fn at_end(&mut self, consumer: &Reading) -> Result<Option<Stop>> {
        (self.heard, self.trouble) = (Instant::now(), None);
        if let Some(end) = self.job.end {
            // What is left up to our end are marks of transactions, unless the partition has become shorter.
            let bounds = consumer.fetch_watermarks(&self.job.topic, self.job.partition, Duration::from_secs(5));
            match bounds {
                Ok((_, high)) if high < end => {
                    return Err(data_loss(&self.place(), format!("the partition ended at {end} and now ends at {high}")));
                }
                Ok(_) => {}
                Err(error) => {
                    // The end is told once only: another reader sees it again.
                    return Err(unreachable(&self.place(), error));
                }
            }
            self.next = self.next.max(end);
            return self.flush().map(|_| Some(Stop));
        }
        if self.flush()?.is_some() {
            return Ok(Some(Stop));
        }
        self.job.lags.at_end(self.job.partition, self.next);
        if !self.idle {
            self.idle = true;
            return Ok(self.send(Event::Idle));
        }
        Ok(None)
    }

    fn send(&self, event: Event) -> Option<Stop> {
        self.events.blocking_send(Ok(event)).is_err().then_some(Stop)
    }

    fn flush(&mut self) -> Result<Option<Stop>> {
        if self.rows.count() == 0 { Ok(None) } else { self.position() }
    }

    /// The rows so far, if there are any, and the position behind them.
    fn position(&mut self) -> Result<Option<Stop>> {
        if self.rows.count() == 0 && self.next == self.told {
            return Ok(None);
        }
        self.told = self.next;
        if self.job.end.is_none() {
            self.job.lags.reached(self.job.partition, self.next);
        }
        let source_bytes = std::mem::take(&mut self.bytes) as u64;
        let records = self.rows.finish()?;
        let sent = self.send(Event::Batch(Batch { records, position: Some(json!({"offset": self.next})), source_bytes }));
        // That nobody took it for so long was not the brokers' silence.
        self.heard = Instant::now();
        Ok(sent)
    }

    fn dead<M: Message>(&self, message: &M, refusal: Refusal) -> Result<Option<Stop>> {
        let payload = message.payload().unwrap_or_default();
        let media_type = match self.job.shape.options.format {
            SourceFormat::Json | SourceFormat::DebeziumJson => "application/json",
            SourceFormat::Csv => "text/csv",
            SourceFormat::Text => "text/plain",
            SourceFormat::Raw | SourceFormat::Avro | SourceFormat::Protobuf | SourceFormat::JsonSchema => {
                "application/octet-stream"
            }
        };
        let place = format!("{} offset {}", self.place(), message.offset());
        Ok(self.send(Event::Dead(letter(&self.job.stream, place, (refusal.code, refusal.reason), payload, media_type))))
    }
}
