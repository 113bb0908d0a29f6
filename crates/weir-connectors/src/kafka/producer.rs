//! A producer of one lane: records in, delivered or committed out.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use weir_connect::{Error, Kind, Result};

use super::client::{Address, Undelivered, Voice};
use super::config::{CompressionCodec, Partitioner, SinkOptions};
use super::errors::{of_code, passes, shown, unreachable};

/// How long the brokers may take for a commit, or for the last records.
const PATIENCE: Duration = Duration::from_secs(90);
/// Records between two looks at what was delivered.
const LOOK: usize = 512;

/// A client that writes.
pub struct Writing {
    /// Gone only while it is dropped.
    producer: Option<BaseProducer<Voice>>,
    place: String,
    sent: usize,
}

/// One record on its way.
pub struct Record<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None`: a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its partition; `None`: by its key.
    pub partition: Option<i32>,
    /// Its time; `None`: now.
    pub timestamp: Option<i64>,
    /// Its headers.
    pub headers: &'a [(String, String)],
}

impl Writing {
    /// With `transactional_id` everything is written in transactions, and whoever had the id before is shut out.
    pub fn new(address: &Address, options: &SinkOptions, transactional_id: Option<&str>) -> Result<Self> {
        let mut config = address.settings()?;
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        config.set(
            "partitioner",
            if options.partitioner == Partitioner::KeyCrc32 { "consistent_random" } else { "murmur2_random" },
        );
        config.set("linger.ms", options.linger_ms.unwrap_or(20).min(900_000).to_string());
        config.set("compression.type", options.compression.unwrap_or(CompressionCodec::Lz4).as_str());
        config.set("batch.num.messages", "100000");
        // Nobody asks after those that were delivered: what is flushed or committed without an error told before it is.
        config.set("delivery.report.only.error", "true");
        let buffer = options.max_buffer_bytes.unwrap_or(32 << 20);
        config.set("queue.buffering.max.kbytes", (buffer >> 10).clamp(1, 2_147_483_647).to_string());
        config.set("queue.buffering.max.messages", "1000000");
        config.set("message.max.bytes", options.max_message_bytes.unwrap_or(1 << 20).clamp(1000, 1_000_000_000).to_string());
        if let Some(id) = transactional_id {
            config.set("transactional.id", id);
            config.set(
                "transaction.timeout.ms",
                (options.transaction_timeout_secs.unwrap_or(600).clamp(1, 2_000_000) * 1000).to_string(),
            );
        } else {
            config.set("message.timeout.ms", PATIENCE.as_millis().to_string());
        }
        let producer: BaseProducer<Voice> =
            config.create_with_context(Voice::default()).map_err(|error| shown(&error, address.place()))?;
        address.join(producer.client())?;
        Ok(Self { producer: Some(producer), place: address.place().to_owned(), sent: 0 })
    }

    fn producer(&self) -> Result<&BaseProducer<Voice>> {
        self.producer.as_ref().ok_or_else(|| Error::internal("a producer that is gone"))
    }

    /// Shuts out whoever writes under this id, finishes or throws away what it left, and waits until that is done.
    pub fn take_over(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let producer = self.producer()?;
            let error = match producer.init_transactions(Duration::from_secs(5)) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            producer.poll(Duration::ZERO);
            if let Some((code, reason)) = producer.context().said()
                && !passes(code)
            {
                return Err(of_code(code, &self.place, reason));
            }
            if !retriable(&error) {
                return Err(self.told(&error));
            }
            if Instant::now() >= end {
                return Err(unreachable(&self.place, error));
            }
        }
    }

    /// Begins a transaction.
    pub fn begin(&self) -> Result<()> {
        self.producer()?.begin_transaction().map_err(|error| self.told(&error))
    }

    /// Hands a record over; waits while the buffer is full.
    pub fn send(&mut self, record: &Record<'_>) -> Result<()> {
        let sent = self.sent;
        let producer = self.producer()?;
        let mut next = BaseRecord::<[u8], [u8], ()>::to(record.topic);
        if let Some(key) = record.key {
            next = next.key(key);
        }
        if let Some(value) = record.value {
            next = next.payload(value);
        }
        if let Some(partition) = record.partition {
            next = next.partition(partition);
        }
        if let Some(timestamp) = record.timestamp {
            next = next.timestamp(timestamp);
        }
        if !record.headers.is_empty() {
            let headers =
                record.headers.iter().fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (key, value)| {
                    headers.insert(Header { key, value: Some(value.as_bytes()) })
                });
            next = next.headers(headers);
        }
        let mut begun: Option<Instant> = None;
        loop {
            match producer.send(next) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                    producer.poll(Duration::from_millis(5));
                    self.no_loss()?;
                    if begun.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                        let why = format!("no record was taken for {} s", PATIENCE.as_secs());
                        return Err(producer
                            .context()
                            .said()
                            .map_or_else(|| unreachable(&self.place, why), |(code, reason)| of_code(code, &self.place, reason)));
                    }
                    next = back;
                }
                Err((error, _)) => {
                    let key = record.key.map(|key| String::from_utf8_lossy(&key[..key.len().min(120)]).into_owned());
                    return Err(self.refused(&Undelivered {
                        error,
                        topic: record.topic.to_owned(),
                        key: key.unwrap_or_default(),
                        bytes: record.value.map_or(0, <[u8]>::len),
                    }));
                }
            }
        }
        self.sent = sent + 1;
        if self.sent.is_multiple_of(LOOK) {
            self.producer()?.poll(Duration::ZERO);
            self.no_loss()?;
        }
        Ok(())
    }

    fn no_loss(&self) -> Result<()> {
        match self.producer()?.context().lost() {
            Some(lost) => Err(self.refused(&lost)),
            None => Ok(()),
        }
    }

    /// A record that was not taken, with what it was.
    fn refused(&self, lost: &Undelivered) -> Error {
        let key = if lost.key.is_empty() { String::new() } else { format!(", key `{}`", lost.key) };
        let place = format!("topic `{}`{key}, a value of {} bytes", lost.topic, lost.bytes);
        match lost.error.rdkafka_error_code() {
            // The transaction as a whole failed before; its error says why.
            Some(Code::PurgeQueue | Code::PurgeInflight) => {
                Error::new("WEIR-KAFKA-033", Kind::Connect, "the transaction was given up")
                    .at(place)
                    .because(&lost.error)
                    .transient()
            }
            Some(code) => of_code(code, &place, &lost.error),
            None => shown(&lost.error, &place),
        }
    }

    /// Waits until everything is delivered; without transactions that is what makes it durable.
    pub fn deliver(&self) -> Result<()> {
        let flushed = flush(self.producer()?);
        self.no_loss()?;
        flushed.map_err(|error| shown(&error, &self.place))
    }

    /// Commits the transaction with everything in it. After an error it may have been committed or not: who takes over sees which.
    pub fn commit(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let producer = self.producer()?;
            // The call waits for its records, too, but looks for them only each tenth of a second.
            let error = match flush(producer).and_then(|()| producer.commit_transaction(Duration::from_secs(30))) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let abort = matches!(&error, KafkaError::Transaction(inner) if inner.txn_requires_abort());
            if abort {
                let _rolled_back_by_the_broker_otherwise = producer.abort_transaction(Duration::from_secs(30));
                // Whoever was shut out learns it here at the latest.
                if let Some((code, reason)) = producer.client().fatal_error() {
                    return Err(of_code(code, &self.place, reason));
                }
                self.no_loss()?;
                return Err(Error::new("WEIR-KAFKA-033", Kind::Connect, "the transaction was given up")
                    .at(self.place.clone())
                    .because(error)
                    .transient());
            }
            if !retriable(&error) {
                return Err(self.told(&error));
            }
            if Instant::now() >= end {
                return Err(unreachable(&self.place, error));
            }
        }
    }

    /// Throws the transaction away.
    pub fn abort(&self) -> Result<()> {
        self.producer()?.abort_transaction(Duration::from_secs(10)).map_err(|error| self.told(&error))
    }

    fn told(&self, error: &KafkaError) -> Error {
        match error {
            KafkaError::Transaction(inner) if inner.is_fatal() => {
                let producer = self.producer.as_ref();
                let fatal = producer.and_then(|producer| producer.client().fatal_error());
                match fatal {
                    Some((code, reason)) => of_code(code, &self.place, reason),
                    None => shown(error, &self.place),
                }
            }
            _ => shown(error, &self.place),
        }
    }
}

/// Waits until everything was sent and answered, in small steps: one long call sleeps through a tenth of a second, whatever arrives in it.
fn flush(producer: &BaseProducer<Voice>) -> Result<(), KafkaError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match producer.flush(Duration::from_millis(1)) {
            Err(KafkaError::Flush(code)) if passes(code) && Instant::now() < end => {}
            done => return done,
        }
    }
}

/// Whether the same call may be made again.
fn retriable(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(inner) => inner.is_retriable() || passes(inner.code()),
        KafkaError::Flush(code) => passes(*code),
        _ => false,
    }
}

impl Drop for Writing {
    /// Waits for its threads: not on the runtime's.
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            let _detached = std::thread::Builder::new().name("kafka producer ends".into()).spawn(move || drop(producer));
        }
    }
}
