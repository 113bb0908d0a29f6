//! The reader's session: a task that owns the connection, gives messages on, and acknowledges what has become durable.
//!
//! The broker gives `receive_maximum` messages ahead and then waits for acknowledgements; it sends every one again that it has none for when the session
//! goes on. So a message is acknowledged only when the engine says that its rows are durable, and never by being read. The task outlives its readers:
//! what they have given becomes durable after they are gone.
//!
//! A ping is a barrier: a broker answers in order, so when nothing came before the answer and it is not waiting for acknowledgements, everything that
//! it had for us when the ping was sent has been given.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use weir_connect::{Batch, Error, Event, EventStream, Kind, Position, Result};
use weir_formats::Refusal;

use super::config::Metadata;
use super::connection::Connection;
use super::errors::{lost, rejected, unreachable};
use super::packet::{self, Ack, Incoming, Publish, Qos};
use crate::messages::letters::letter;
use crate::messages::{OwnValue, Rows, Shape};

/// Batch size when the engine has no wish.
const BATCH_BYTES: usize = 4 << 20;
/// Rows per batch at most, so that narrow messages do not make huge batches.
const BATCH_ROWS: usize = 64 * 1024;
/// Batches that may wait for the engine.
const AHEAD: usize = 2;

/// What a session does.
pub struct Job {
    /// The stream's name, for dead letters.
    pub stream: String,
    /// The topics that were asked for. What the broker kept for them may come before its answer.
    pub filters: Vec<String>,
    /// The quality that was asked for.
    pub qos: Qos,
    /// What batches look like.
    pub shape: Arc<Shape>,
    /// The message's own columns, in the shape's order.
    pub metadata: Vec<Metadata>,
    /// Ends when everything that was there has been given.
    pub bounded: bool,
    /// Wanted size of batches; 0: our own.
    pub batch_bytes: usize,
    /// Messages that the broker gives unacknowledged.
    pub window: usize,
    /// The number of the last message that an earlier session has given.
    pub delivered: u64,
    /// How often the broker must hear from us.
    pub keep_alive: Duration,
    /// How long it may be silent when it was asked.
    pub patience: Duration,
}

/// A session that runs.
pub struct Session {
    id: String,
    durable: mpsc::UnboundedSender<Told>,
    task: JoinHandle<()>,
}

impl Session {
    /// Begins to read. The events end with the read; the session when it is closed or dropped.
    pub fn start(connection: Connection, job: Job) -> Result<(Self, EventStream)> {
        let (events, receiver) = mpsc::channel(AHEAD);
        let (durable, told) = mpsc::unbounded_channel();
        let id = uuid::Uuid::new_v4().simple().to_string();
        let limit = if job.batch_bytes == 0 { BATCH_BYTES } else { job.batch_bytes };
        let mut reader = Reader {
            id: id.clone(),
            rows: Rows::new(&job.shape)?,
            delivered: job.delivered,
            position: job.delivered,
            job,
            connection,
            events: Some(events),
            waiting: VecDeque::new(),
            out: BytesMut::new(),
            unacknowledged: VecDeque::new(),
            releasing: 0,
            limit,
            pings: 0,
            quiet: false,
            idle: false,
            heard: Instant::now(),
        };
        let task = tokio::spawn(async move {
            match reader.run(told).await {
                Ok(()) => reader.connection.close(false).await,
                Err(error) => {
                    if let Some(events) = reader.events {
                        let _nobody_listens = events.send(Err(error)).await;
                    }
                }
            }
        });
        let stream =
            futures::stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|event| (event, receiver)) });
        Ok((Self { id, durable, task }, stream.boxed()))
    }

    /// Acknowledges everything up to a position. One of another session means nothing here: the broker gives that again.
    pub async fn acknowledge(&self, position: &Position) {
        if position.get("session").and_then(Value::as_str) != Some(self.id.as_str()) {
            return;
        }
        let Some(delivered) = delivered(position) else { return };
        let (done, wait) = oneshot::channel();
        // A session that has failed tells its reader.
        if self.durable.send((delivered, done)).is_ok() {
            let _failed = wait.await;
        }
    }

    /// Ends it, and waits until the broker was told.
    pub async fn close(self) {
        drop(self.durable);
        let _gone = tokio::time::timeout(Duration::from_secs(5), self.task).await;
    }
}

/// Whether a broker gives what was asked for: its answer has a code per topic.
pub fn granted(place: &str, filters: &[String], qos: Qos, codes: &[u8]) -> Result<()> {
    for (filter, code) in filters.iter().zip(codes) {
        if *code >= 0x80 {
            return Err(rejected(place, &format!("the topic `{filter}`"), *code));
        }
        if *code < qos as u8 {
            let what = format!("the broker offers only quality {code} for `{filter}`");
            return Err(Error::new("WEIR-MQTT-006", Kind::Unsupported, what)
                .at(place.to_owned())
                .hint("lower `qos`, and read in the README what that means"));
        }
    }
    Ok(())
}

/// The number of a position.
pub fn delivered(position: &Position) -> Option<u64> {
    position.get("delivery").and_then(Value::as_u64)
}

struct Reader {
    id: String,
    job: Job,
    connection: Connection,
    /// `None`: nobody reads any more.
    events: Option<mpsc::Sender<Result<Event>>>,
    /// For the engine. Nothing is read while there is something in it.
    waiting: VecDeque<Event>,
    out: BytesMut,
    /// Number and packet of every message that was given.
    unacknowledged: VecDeque<(u64, u16, Qos)>,
    /// Messages of [`Qos::ExactlyOnce`] that were acknowledged and that the broker has not let go of.
    releasing: usize,
    rows: Rows,
    limit: usize,
    /// The number of the last message.
    delivered: u64,
    /// The number that the last position says.
    position: u64,
    /// Pings without an answer.
    pings: u32,
    /// No message came since the last ping.
    quiet: bool,
    /// The end was told since the last message.
    idle: bool,
    heard: Instant,
}

/// Up to which message, and who wants to know when that is done.
type Told = (u64, oneshot::Sender<()>);

enum Turn {
    Durable(Option<Told>),
    Room(bool),
    Packet(Result<Incoming>),
    Tick,
}

impl Reader {
    async fn run(&mut self, mut told: mpsc::UnboundedReceiver<Told>) -> Result<()> {
        let every = (self.job.keep_alive / 2).clamp(Duration::from_millis(500), Duration::from_secs(30));
        let mut tick = tokio::time::interval(every.min(Duration::from_secs(5)));
        let mut spoken = Instant::now();
        loop {
            if self.waiting.is_empty() && self.events.is_some() {
                self.more().await?;
            }
            let turn = {
                let (room, closed) = (self.events.as_ref(), self.events.as_ref());
                let (full, reading) = (!self.waiting.is_empty(), self.events.is_some());
                tokio::select! {
                    biased;
                    told = told.recv() => Turn::Durable(told),
                    () = async { if let Some(events) = closed { events.closed().await } }, if reading => Turn::Room(false),
                    room = async { match room { Some(events) => events.reserve().await.is_ok(), None => false } }, if full && reading => Turn::Room(room),
                    packet = self.connection.next(), if !full && reading => Turn::Packet(packet),
                    _ = tick.tick() => Turn::Tick,
                }
            };
            match turn {
                Turn::Durable(None) => return Ok(()),
                Turn::Durable(Some((upto, done))) => {
                    self.acknowledge(upto).await?;
                    let _nobody_waits = done.send(());
                }
                Turn::Room(true) => self.give(),
                Turn::Room(false) => self.stop(),
                Turn::Packet(packet) => self.packet(packet?)?,
                Turn::Tick => {
                    if self.pings > 0
                        && self.waiting.is_empty()
                        && self.events.is_some()
                        && self.heard.elapsed() > self.job.patience
                    {
                        let silent = format!("no answer to a ping for {} s", self.job.patience.as_secs());
                        return Err(unreachable(self.connection.place(), silent));
                    }
                    if spoken.elapsed() >= every {
                        spoken = Instant::now();
                        self.ping().await?;
                    }
                }
            }
        }
    }

    /// There is room for one event; only the engine's side could have closed meanwhile.
    fn give(&mut self) {
        let Some(events) = &self.events else { return };
        if let Some(event) = self.waiting.pop_front()
            && let Err(mpsc::error::TrySendError::Full(Ok(event))) = events.try_send(Ok(event))
        {
            self.waiting.push_front(event);
        }
        // What the broker says meanwhile waits in the socket.
        self.heard = Instant::now();
        if self.job.bounded && self.idle && self.waiting.is_empty() {
            self.events = None;
        }
    }

    /// Nobody reads any more: what was not given comes again in the next session.
    fn stop(&mut self) {
        self.events = None;
        self.waiting.clear();
    }

    /// Everything that is there already, then the batch, then the question whether that was all.
    async fn more(&mut self) -> Result<()> {
        while self.waiting.is_empty() {
            match self.connection.next().now_or_never() {
                Some(packet) => self.packet(packet?)?,
                None => {
                    self.flush()?;
                    self.send().await?;
                    return self.barrier().await;
                }
            }
        }
        self.send().await
    }

    async fn send(&mut self) -> Result<()> {
        if self.out.is_empty() { Ok(()) } else { self.connection.send(&mut self.out).await }
    }

    async fn ping(&mut self) -> Result<()> {
        packet::ping(&mut self.out);
        self.pings += 1;
        self.send().await
    }

    /// Asks whether that was all.
    async fn barrier(&mut self) -> Result<()> {
        if self.idle || self.pings > 0 {
            return Ok(());
        }
        if self.full() {
            // It waits for us; a bounded read ends here, and the next one goes on.
            if self.job.bounded {
                self.at_end();
            }
            return Ok(());
        }
        self.quiet = true;
        self.ping().await
    }

    /// The broker gives nothing more before something is acknowledged.
    fn full(&self) -> bool {
        self.unacknowledged.len() + self.releasing >= self.job.window
    }

    fn packet(&mut self, packet: Incoming) -> Result<()> {
        self.heard = Instant::now();
        match packet {
            Incoming::Publish(message) => {
                (self.quiet, self.idle) = (false, false);
                self.message(&message)
            }
            Incoming::Pong => {
                self.pings = self.pings.saturating_sub(1);
                if self.pings == 0 && self.quiet && self.rows.count() == 0 && !self.idle && !self.full() {
                    self.at_end();
                }
                Ok(())
            }
            Incoming::Ack { kind: Ack::Release, id, .. } => {
                self.releasing = self.releasing.saturating_sub(1);
                packet::acknowledge(&mut self.out, Ack::Complete, id);
                Ok(())
            }
            Incoming::Disconnect(code) => {
                Err(lost(self.connection.place(), format!("the broker ended it with code {code:#04x}")))
            }
            Incoming::Subscribed { codes, .. } => granted(self.connection.place(), &self.job.filters, self.job.qos, &codes),
            // No other answer concerns us here.
            _ => Ok(()),
        }
    }

    fn at_end(&mut self) {
        self.idle = true;
        match self.job.bounded {
            false => self.waiting.push_back(Event::Idle),
            true if self.waiting.is_empty() => self.events = None,
            true => {}
        }
    }

    fn message(&mut self, message: &Publish) -> Result<()> {
        let before = self.delivered;
        self.delivered += 1;
        if message.qos != Qos::AtMostOnce {
            self.unacknowledged.push_back((self.delivered, message.id, message.qos));
        }
        let headers = match message.properties.is_empty() || !self.job.metadata.contains(&Metadata::Headers) {
            true => None,
            false => Some(json!(message.properties).to_string()),
        };
        let own: Vec<OwnValue<'_>> = (self.job.metadata.iter())
            .map(|kind| match kind {
                Metadata::Topic => OwnValue::Text(&message.topic),
                Metadata::Headers => headers.as_deref().map_or(OwnValue::Null, OwnValue::Text),
                Metadata::Qos => OwnValue::Int(i64::from(message.qos as u8)),
                Metadata::Retained => OwnValue::Bool(message.retain),
                Metadata::Duplicate => OwnValue::Bool(message.duplicate),
            })
            .collect();
        if let Err(refusal) = self.rows.push(&message.payload, &own) {
            // What came before it goes before it, with a position that does not contain it.
            if self.rows.count() > 0 {
                self.batch(before)?;
            }
            self.dead(message, refusal);
            return self.batch(self.delivered);
        }
        if self.rows.bytes() >= self.limit || self.rows.count() >= BATCH_ROWS { self.batch(self.delivered) } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.delivered == self.position { Ok(()) } else { self.batch(self.delivered) }
    }

    fn batch(&mut self, delivered: u64) -> Result<()> {
        self.position = delivered;
        let source_bytes = self.rows.bytes() as u64;
        let records = self.rows.finish()?;
        let position = Some(json!({"session": self.id, "delivery": delivered}));
        self.waiting.push_back(Event::Batch(Batch { records, position, source_bytes }));
        Ok(())
    }

    fn dead(&mut self, message: &Publish, refusal: Refusal) {
        let place = format!("{} delivery {}", message.topic, self.delivered);
        let media_type = self.job.shape.payload.format.media_type();
        let letter = letter(&self.job.stream, place, (refusal.code, refusal.reason), &message.payload, media_type);
        self.waiting.push_back(Event::Dead(letter));
    }

    /// In the order in which the messages came, as the standard wants it (4.6).
    async fn acknowledge(&mut self, upto: u64) -> Result<()> {
        while let Some(&(number, id, qos)) = self.unacknowledged.front() {
            if number > upto {
                break;
            }
            self.unacknowledged.pop_front();
            match qos {
                Qos::ExactlyOnce => {
                    self.releasing += 1;
                    packet::acknowledge(&mut self.out, Ack::Taken, id);
                }
                _ => packet::acknowledge(&mut self.out, Ack::Received, id),
            }
        }
        self.send().await
    }
}
