//! The brokers to kill, and somebody who writes into each without pause, also while it is away.
//!
//! Every record is handed to the broker once. What it said it has, it must give; of what it did not answer to it may have some.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::kafka;
use super::mqtt::Mqtt;
use super::nats::Jetstream;
use super::pulsar::Topics;
use super::rabbitmq::Queues;
use super::redis::Streams;

/// Where records come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Topics with partitions.
    Kafka,
    /// Streams of JetStream.
    Nats,
    /// Streams.
    Redis,
    /// Queues.
    Rabbitmq,
    /// Topics of MQTT.
    Mqtt,
    /// Topics.
    Pulsar,
}

impl From {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Kafka, Self::Nats, Self::Redis, Self::Rabbitmq, Self::Mqtt, Self::Pulsar];

    /// In the names of suites.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Nats => "nats",
            Self::Redis => "redis",
            Self::Rabbitmq => "rabbitmq",
            Self::Mqtt => "mqtt",
            Self::Pulsar => "pulsar",
        }
    }

    /// Whether it gives again what it gave, at its place: only then rows can be there once without a key.
    pub fn has_places(self) -> bool {
        !matches!(self, Self::Rabbitmq | Self::Mqtt)
    }
}

/// Records of one key keep their order where the broker has keys.
pub(super) const KEYS: u64 = 50;
/// Numbers from here on only say that it is late by now.
pub(super) const CLOSING: u64 = 1_000_000_000;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    pub id: i64,
    pub key: String,
    pub pad: String,
}

impl Record {
    pub fn new(id: u64) -> Self {
        Self { id: id as i64, key: format!("k{}", id * 7 % KEYS), pad: format!("{:0>60}", u128::from(id) * u128::from(id)) }
    }

    pub fn json(&self) -> String {
        format!("{{\"id\": {}, \"key\": \"{}\", \"pad\": \"{}\"}}", self.id, self.key, self.pad)
    }
}

/// The columns of a record, as options of a source.
pub(super) const COLUMNS: &str = "columns: {id: bigint, key: text, pad: text}, only_columns: true";

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The broker said that it has them.
    pub sure: Vec<Record>,
    /// It did not answer.
    pub unsure: Vec<Record>,
}

/// A broker of the suite's own.
pub(super) trait Broker {
    /// A new place for records.
    fn topic(&self, name: &str) -> Result<String>;
    /// The pipeline's `source`.
    fn source(&self, topic: &str) -> String;
    /// Takes it away, at once if it can bear that without losing what it has confirmed, and starts it with what it has.
    fn kill_and_start(&mut self) -> Result<()>;
    /// How one connects to write.
    fn pen(&self, topic: &str) -> Result<Connect>;
    /// Messages reach only who is subscribed: the pipeline must have run before the first one is written.
    fn forgets_unless_subscribed(&self) -> bool {
        false
    }
}

/// A connection that writes.
pub(super) trait Pen: Send {
    /// The broker has all of them when this comes back well. After an error the connection is of no use.
    fn write(&mut self, records: &[Record]) -> Result<()>;
}

/// Makes a connection; fails while the broker is away.
pub(super) type Connect = Box<dyn Fn() -> Result<Box<dyn Pen>> + Send>;

/// A broker, started.
pub(super) enum Bus {
    Kafka(kafka::Bus),
    Other(Box<dyn Broker>),
}

/// Somebody who writes.
pub(super) enum Writing {
    Tool(kafka::Writer),
    Pen(PenWriter),
}

impl Bus {
    /// One of one's own; where nobody takes it away, one that others use too will do.
    pub fn start(from: From, is_killed: bool) -> Result<Self> {
        Ok(Self::Other(match from {
            From::Kafka => return Ok(Self::Kafka(kafka::Bus::start()?)),
            From::Nats => Box::new(Jetstream::start()?),
            From::Redis => Box::new(Streams::start()?),
            From::Rabbitmq => Box::new(Queues::start(is_killed)?),
            From::Mqtt => Box::new(Mqtt::start()?),
            From::Pulsar => Box::new(Topics::start(is_killed)?),
        }))
    }

    /// Where it is known that there is one.
    pub fn kafka(&self) -> Result<&kafka::Bus> {
        match self {
            Self::Kafka(bus) => Ok(bus),
            Self::Other(_) => bail!("only Kafka's topics can be a target here"),
        }
    }

    pub fn topic(&self, name: &str) -> Result<String> {
        match self {
            Self::Kafka(bus) => bus.topic(name),
            Self::Other(broker) => broker.topic(name),
        }
    }

    pub fn source(&self, topic: &str) -> String {
        match self {
            Self::Kafka(bus) => bus.source(topic, COLUMNS),
            Self::Other(broker) => broker.source(topic),
        }
    }

    pub fn kill_and_start(&mut self) -> Result<()> {
        match self {
            Self::Kafka(bus) => bus.kill_and_start(),
            Self::Other(broker) => broker.kill_and_start(),
        }
    }

    pub fn forgets_unless_subscribed(&self) -> bool {
        matches!(self, Self::Other(broker) if broker.forgets_unless_subscribed())
    }

    /// Begins to write so many records a second.
    pub fn write(&self, topic: &str, rate: u64) -> Result<Writing> {
        Ok(match self {
            Self::Kafka(bus) => Writing::Tool(kafka::Writer::start(bus, topic, rate, kafka::Lines::plain())?),
            Self::Other(broker) => Writing::Pen(PenWriter::start(broker.pen(topic)?, rate)),
        })
    }

    /// Ends the writing; what came of it.
    pub fn written(&self, topic: &str, writing: Writing) -> Result<Written> {
        match writing {
            // It brings in again what was not answered, so only the broker knows.
            Writing::Tool(writer) => {
                writer.stop()?;
                Ok(Written { sure: self.kafka()?.read(topic)?, unsure: Vec::new() })
            }
            Writing::Pen(writer) => writer.stop(),
        }
    }
}

/// Writes through connection after connection.
pub(super) struct PenWriter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Written>>,
}

impl PenWriter {
    /// Records between two answers.
    const CHUNK: u64 = 64;
    /// A broker that takes nothing for so long does not come back.
    const PATIENCE: Duration = Duration::from_secs(180);

    fn start(connect: Connect, rate: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (begin, mut heard, mut next) = (Instant::now(), Instant::now(), 0);
            let (mut pen, mut written) = (None::<Box<dyn Pen>>, Written::default());
            while !stopped.load(Ordering::SeqCst) {
                let due = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX) * rate / 1_000;
                if due <= next {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
                let writer = match &mut pen {
                    Some(pen) => pen,
                    None => match connect() {
                        Ok(new) => pen.insert(new),
                        Err(error) if heard.elapsed() > Self::PATIENCE => return Err(error.context("nobody can write")),
                        Err(_) => {
                            std::thread::sleep(Duration::from_millis(50));
                            continue;
                        }
                    },
                };
                let end = due.min(next + Self::CHUNK);
                let records: Vec<Record> = (next..end).map(Record::new).collect();
                next = end;
                match writer.write(&records) {
                    Ok(()) => {
                        heard = Instant::now();
                        written.sure.extend(records);
                    }
                    Err(_) => {
                        pen = None;
                        written.unsure.extend(records);
                    }
                }
            }
            Ok(written)
        });
        Self { stop, thread }
    }

    fn stop(self) -> Result<Written> {
        self.stop.store(true, Ordering::SeqCst);
        let written = self.thread.join().map_err(|_| anyhow::anyhow!("the writer died"))?;
        written.context("the writer gave up")
    }
}
