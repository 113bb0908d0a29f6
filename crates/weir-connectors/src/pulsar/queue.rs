//! `read_by: subscription`: the broker remembers how far was read. A message is acknowledged when the engine says that it is durable; the rest comes
//! again. Positions are the numbers of deliveries and mean nothing to a later attempt.
//!
//! An entry is acknowledged as a whole, when all its messages are durable. A consumer stays until its source is dropped, because what was read last
//! becomes durable after the reading has ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use pulsar::message::Message;
use pulsar::message::proto::base_command::Type;
use pulsar::message::proto::command_ack::AckType;
use pulsar::message::proto::command_subscribe::SubType;
use pulsar::message::proto::{BaseCommand, CommandAck};
use serde_json::json;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;
use weir_connect::{Batch, Event, EventStream, Position, Result, Retry};
use weir_formats::Refusal;

use super::client::{ONLY, Subscribing, flow};
use super::config::{SourceOptions, StartMode, SubscriptionType};
use super::errors::{broken, told, unreachable};
use super::position::Entry;
use super::read::{AHEAD, BATCH_BYTES, BATCH_ROWS, Job, LINGER, Learned, WINDOW, tokio_stream};
use super::rows::Rows;
use super::unpack::Unpack;
use super::wire::Connection;

/// How long it is quiet before that is taken for all there is, when the broker cannot tell: other consumers may have the rest.
const QUIET: Duration = Duration::from_secs(2);
/// How often it is looked whether it is quiet.
const LOOK: Duration = Duration::from_millis(100);
/// Attempts to read on without a single message before that is told as a failure.
const FRUITLESS: u32 = 6;
/// Entries that are acknowledged in one command.
const ACKNOWLEDGED: usize = 1000;

/// The number out of a position.
pub fn delivery_of(position: &Position) -> Result<u64> {
    position.get("delivery").and_then(serde_json::Value::as_u64).ok_or_else(|| broken(&position.to_string()))
}

/// Everything up to a delivery (or all) is durable.
struct Durable {
    up_to: Option<u64>,
    told: oneshot::Sender<Result<()>>,
}

/// The consumers of a source, by partition.
#[derive(Default)]
pub struct Queues {
    open: Mutex<BTreeMap<String, mpsc::Sender<Durable>>>,
}

impl Queues {
    /// Starts a consumer. One that the source had before ends.
    pub async fn start(&self, job: Job, options: &SourceOptions, from: Option<Position>) -> Result<EventStream> {
        let number = from.as_ref().map(delivery_of).transpose()?.unwrap_or_default();
        let (events, receiver) = mpsc::channel(AHEAD);
        let (tell, told) = mpsc::channel(1);
        self.open.lock().await.insert(job.topic.clone(), tell);
        let rows = Rows::new(&job.shape)?;
        let unpack = Unpack::new(job.max_message_bytes, true);
        let queue = Queue {
            membership: Membership {
                name: options.subscription_name.clone().unwrap_or_default(),
                kind: match options.subscription_type.unwrap_or_default() {
                    SubscriptionType::Exclusive => SubType::Exclusive,
                    SubscriptionType::Shared => SubType::Shared,
                    SubscriptionType::Failover => SubType::Failover,
                    SubscriptionType::KeyShared => SubType::KeyShared,
                },
                latest: options.start_mode == StartMode::Latest,
            },
            job,
            events: Some(events),
            told,
            rows,
            unpack,
            number,
            sent: number,
            begun: None,
            bytes: 0,
            given: VecDeque::new(),
            held: Vec::new(),
            known: BTreeSet::new(),
            met: None,
            idle: false,
            fruitless: 0,
        };
        tokio::spawn(queue.run());
        Ok(tokio_stream(receiver))
    }

    /// Acknowledges what is durable; waits until the broker has it.
    pub async fn durable(&self, topic: &str, up_to: Option<u64>) -> Result<()> {
        let Some(tell) = self.open.lock().await.get(topic).cloned() else { return Ok(()) };
        let (told, answer) = oneshot::channel();
        if tell.send(Durable { up_to, told }).await.is_err() {
            // The consumer has ended by an error that the engine sees: what it gave comes again.
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }
}

/// What makes the consumer go on.
enum Next {
    Message(Box<Message>),
    Durable(Durable),
    Quiet,
    Linger,
    /// The source is gone.
    Over,
}

/// The subscription that is read.
struct Membership {
    name: String,
    kind: SubType,
    latest: bool,
}

impl Membership {
    async fn join(&self, job: &Job) -> Result<Connection> {
        let how = Subscribing {
            topic: &job.topic,
            name: &self.name,
            kind: self.kind,
            durable: true,
            start: None,
            rollback_secs: None,
            latest: self.latest,
        };
        job.address.consumer(&how).await
    }

    /// Whether everything comes to us, in the order of the topic.
    fn is_alone(&self) -> bool {
        matches!(self.kind, SubType::Exclusive | SubType::Failover)
    }
}

/// An entry that was given and is not acknowledged.
struct Given {
    /// The delivery with which the last of it was given.
    number: u64,
    at: Entry,
}

struct Queue {
    job: Job,
    membership: Membership,
    /// `None`: everything was given, or nobody listens any more.
    events: Option<mpsc::Sender<Result<Event>>>,
    told: mpsc::Receiver<Durable>,
    rows: Rows,
    unpack: Unpack,
    /// Of the last delivery.
    number: u64,
    /// Of the last position.
    sent: u64,
    /// When the first message that waits came.
    begun: Option<Instant>,
    bytes: usize,
    given: VecDeque<Given>,
    /// Entries with chunks of messages that are not whole yet.
    held: Vec<Entry>,
    /// All of both: they are not given again when a connection is lost.
    known: BTreeSet<Entry>,
    /// The last entry, in the order of the topic, that has come.
    met: Option<Entry>,
    idle: bool,
    fruitless: u32,
}

impl Queue {
    async fn run(mut self) {
        loop {
            let (job, membership) = (&self.job, &self.membership);
            let connected = job.address.persist(job.patience, || membership.join(job)).await;
            let outcome = match connected {
                Ok(mut connection) => self.follow(&mut connection).await,
                Err(error) => {
                    self.fruitless = FRUITLESS;
                    Err(error)
                }
            };
            let error = match outcome {
                Ok(()) => return,
                Err(error) => error.at(self.job.topic.clone()),
            };
            if self.events.is_none() && self.given.is_empty() {
                return;
            }
            if error.retryable() == Retry::Transient && self.fruitless < FRUITLESS {
                self.fruitless += 1;
                tracing::debug!(target: "weir::pulsar", "{error}; the subscription is joined again");
                tokio::time::sleep(Duration::from_millis(100 << self.fruitless)).await;
                continue;
            }
            match self.events.take() {
                Some(events) => drop(events.send(Err(error)).await),
                None => tracing::warn!(target: "weir::pulsar", "what is durable was not acknowledged and comes again: {error}"),
            }
            return;
        }
    }

    /// Gives and acknowledges, until the source is gone.
    async fn follow(&mut self, connection: &mut Connection) -> Result<()> {
        // Chunks that are not whole come again, as everything does that was not acknowledged.
        self.unpack.clear();
        for at in std::mem::take(&mut self.held) {
            self.known.remove(&at);
        }
        let mut permits = 0;
        let mut heard = Instant::now();
        loop {
            if self.events.is_some() && permits < i64::from(WINDOW / 2) {
                flow(connection, WINDOW - u32::try_from(permits.max(0)).unwrap_or_default())?;
                permits = permits.min(0) + i64::from(WINDOW);
            }
            match self.next(connection).await? {
                Next::Over => {
                    connection.drain(0).await?;
                    return Ok(());
                }
                Next::Durable(durable) => self.answer(connection, durable).await?,
                Next::Linger => self.position(connection).await?,
                Next::Quiet => self.quiet(connection, heard).await?,
                Next::Message(message) => {
                    if let Some(payload) = &message.payload {
                        heard = Instant::now();
                        permits -= i64::from(payload.metadata.num_messages_in_batch.unwrap_or(1).max(1));
                    }
                    self.message(connection, *message).await?;
                }
            }
        }
    }

    async fn next(&mut self, connection: &mut Connection) -> Result<Next> {
        if self.events.as_ref().is_some_and(mpsc::Sender::is_closed) {
            self.events = None;
        }
        let reading = self.events.is_some();
        if reading && let Some(message) = connection.at_hand()? {
            return Ok(Next::Message(Box::new(message)));
        }
        self.begun = (self.number != self.sent).then(|| self.begun.unwrap_or_else(Instant::now));
        let (waits, look) = (self.begun.is_some(), self.begun.map_or(LOOK, |begun| LINGER.saturating_sub(begun.elapsed())));
        tokio::select! {
            durable = self.told.recv() => Ok(durable.map_or(Next::Over, Next::Durable)),
            message = connection.receive() => Ok(Next::Message(Box::new(message?))),
            () = tokio::time::sleep(look), if reading => Ok(if waits { Next::Linger } else { Next::Quiet }),
        }
    }

    async fn message(&mut self, connection: &mut Connection, message: Message) -> Result<()> {
        if message.command.close_consumer.is_some() {
            return Err(unreachable(&self.job.topic, "the topic moves to another broker"));
        }
        if message.command.reached_end_of_topic.is_some() {
            // Nothing will come any more.
            self.position(connection).await?;
            self.events = None;
            return Ok(());
        }
        let (Some(command), Some(payload), true) = (message.command.message, message.payload, self.events.is_some()) else {
            return Ok(());
        };
        let at = Entry::of(&command.message_id);
        (self.idle, self.fruitless) = (false, 0);
        self.met = self.met.max(Some(at));
        // Given already, and perhaps durable in a moment.
        if !self.known.insert(at) {
            return Ok(());
        }
        self.bytes += payload.data.len();
        let ones = self.unpack.entry(at, payload, &command.ack_set);
        let version = ones.iter().find(|one| one.refusal.is_none()).and_then(|one| one.schema.clone());
        if let Some(version) = version
            && let Learned::Changed(schema) = self.job.learn(connection, &version).await?
        {
            // What came before goes before it. The entry is not acknowledged: it comes again, to the next run.
            self.position(connection).await?;
            self.send(connection, Event::SchemaChange(schema)).await;
            self.known.remove(&at);
            self.events = None;
            return Ok(());
        }
        let nothing = ones.is_empty();
        for one in ones {
            self.number += 1;
            if let Err(refusal) = self.job.layout.push(&mut self.rows, at, &one) {
                self.dead(connection, at, &one, refusal).await?;
            }
        }
        if nothing && self.unpack.open().is_some() {
            self.held.push(at);
        } else {
            self.given.push_back(Given { number: self.number, at });
        }
        if self.unpack.open().is_none() {
            // The messages of these chunks are whole by now, and were given at the latest with this delivery.
            let held = std::mem::take(&mut self.held);
            self.given.extend(held.into_iter().map(|at| Given { number: self.number, at }));
        }
        let limit = if self.job.batch_bytes == 0 { BATCH_BYTES } else { self.job.batch_bytes };
        if self.rows.bytes() >= limit || self.rows.count() >= BATCH_ROWS {
            self.position(connection).await?;
        }
        // Only who gets everything sees the end come.
        if self.membership.is_alone() && self.job.range.end.is_some_and(|end| at >= end) && self.unpack.open().is_none() {
            self.position(connection).await?;
            self.events = None;
        }
        Ok(())
    }

    async fn dead(
        &mut self,
        connection: &mut Connection,
        at: Entry,
        one: &super::unpack::Incoming,
        refusal: Refusal,
    ) -> Result<()> {
        let number = self.number;
        if self.rows.count() > 0 {
            // What came before it goes before it, with a position that does not contain it.
            self.number = number - 1;
            self.position(connection).await?;
            self.number = number;
        }
        let letter = self.job.letter(at, one, refusal);
        self.send(connection, Event::Dead(letter)).await;
        self.position(connection).await
    }

    async fn quiet(&mut self, connection: &mut Connection, heard: Instant) -> Result<()> {
        if self.idle {
            return Ok(());
        }
        let (last, mark) = self.job.address.last(connection).await?;
        let all = self.membership.is_alone() && self.met >= Some(last);
        let nothing = !last.is_message() || mark.is_some_and(|mark| mark >= last) || all;
        if !nothing && heard.elapsed() < QUIET {
            return Ok(());
        }
        self.idle = true;
        if self.job.range.end.is_some() {
            self.events = None;
            return Ok(());
        }
        self.send(connection, Event::Idle).await;
        Ok(())
    }

    async fn position(&mut self, connection: &mut Connection) -> Result<()> {
        if self.number == self.sent {
            return Ok(());
        }
        self.sent = self.number;
        let source_bytes = std::mem::take(&mut self.bytes) as u64;
        let position = Some(json!({"delivery": self.number}));
        let batch = Batch { records: self.rows.finish()?, position, source_bytes };
        self.send(connection, Event::Batch(batch)).await;
        Ok(())
    }

    /// Waits for the engine; keeps the connection alive and acknowledges meanwhile, because the engine may wait for that first.
    async fn send(&mut self, connection: &mut Connection, event: Event) {
        let Some(events) = self.events.clone() else { return };
        let mut lost = false;
        let permit = loop {
            tokio::select! {
                biased;
                permit = events.reserve() => break permit,
                durable = self.told.recv() => match durable {
                    // A connection that ends now is found ended when it is read from again.
                    Some(durable) => lost |= self.answer(connection, durable).await.is_err(),
                    None => {
                        self.events = None;
                        return;
                    }
                },
                _ended = connection.tend(self.job.fetch_bytes), if !lost => lost = true,
            }
        };
        match permit {
            Ok(permit) => permit.send(Ok(event)),
            Err(_) => self.events = None,
        }
    }

    /// Tells the engine what became of its word. The error: the connection is lost.
    async fn answer(&mut self, connection: &mut Connection, durable: Durable) -> Result<()> {
        let outcome = self.acknowledge(connection, durable.up_to).await;
        let lost = outcome.as_ref().is_err_and(|error| error.retryable() == Retry::Transient);
        // What is not acknowledged comes again; that is promised, so it is no failure of the engine's.
        drop(durable.told.send(if lost { Ok(()) } else { outcome }));
        if lost { Err(unreachable(&self.job.topic, "the connection was lost at an acknowledgement")) } else { Ok(()) }
    }

    async fn acknowledge(&mut self, connection: &mut Connection, up_to: Option<u64>) -> Result<()> {
        let up_to = up_to.unwrap_or(u64::MAX);
        let done: Vec<Entry> = self.given.iter().filter(|given| given.number <= up_to).map(|given| given.at).collect();
        for some in done.chunks(ACKNOWLEDGED) {
            let number = connection.number();
            let request = BaseCommand {
                r#type: Type::Ack as i32,
                ack: Some(CommandAck {
                    consumer_id: ONLY,
                    ack_type: AckType::Individual as i32,
                    message_id: some.iter().map(|at| at.to_wire()).collect(),
                    request_id: Some(number),
                    ..CommandAck::default()
                }),
                ..BaseCommand::default()
            };
            let asked = connection
                .ask(request, number, |command| command.ack_response.take_if(|answer| answer.request_id == Some(number)));
            let answer = self.job.address.in_time(asked, &self.job.topic).await?;
            if let Some(code) = answer.error {
                return Err(told(code, answer.message.as_deref().unwrap_or_default(), &self.job.topic));
            }
        }
        self.given.retain(|given| given.number > up_to);
        for at in done {
            self.known.remove(&at);
        }
        Ok(())
    }
}
