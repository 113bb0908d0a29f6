//! A producer of one lane: records in, delivered or committed out.

use std::ffi::CString;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use rdkafka::bindings as sys;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use weir_connect::{Error, Kind, Result};

use super::client::{Address, Undelivered, Voice};
use super::config::{CompressionCodec, Partitioner, SinkOptions};
use super::errors::{of_code, passes, shown, unreachable};

/// How long the brokers may take for a commit, or for the last records.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long one call waits for the last records, before what was refused is heard.
const FLUSH_MS: i32 = 10;
/// Records between two looks at what was delivered, and those of one call.
const LOOK: usize = 512;
/// Milliseconds that records wait for others, unless it is written.
const LINGER_MS: u64 = 20;
/// The same in transactions: before the commit nobody sees them, and it lets none wait. While the oldest record of a partition has waited for so long and a
/// request is under way, the library's thread spins; so this is longer than a full buffer takes.
const LINGER_IN_TRANSACTION_MS: u64 = 1_000;
/// The partition is found by the key.
const ANY_PARTITION: i32 = -1;
/// A buffer that stays full for so long is not waiting for brokers, but holds records of many partitions that wait for others.
const FULL: Duration = Duration::from_millis(200);
/// Bytes of a request, unless the library is told otherwise.
const REQUEST_BYTES: usize = 1_000_000;
/// When nothing was answered for so long, what is left waits for a request to become full; and the same while so much is left that this is unlikely.
const SETTLED: Duration = Duration::from_millis(10);
const NOT_SETTLED: Duration = Duration::from_millis(200);

/// A client that writes.
pub struct Writing {
    /// Gone only while it is dropped.
    producer: Option<BaseProducer<Voice>>,
    /// The topic of the records that come in numbers.
    topic: Option<(String, Topic)>,
    place: String,
    sent: usize,
    /// Records and their bytes since everything was delivered.
    since: (usize, usize),
}

/// A topic as the library knows it.
struct Topic(*mut sys::rd_kafka_topic_t);

// SAFETY: the library's handles may be used by any thread.
#[allow(unsafe_code)]
unsafe impl Send for Topic {}

impl Drop for Topic {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it was made by `rd_kafka_topic_new` and is not used after this.
        unsafe { sys::rd_kafka_topic_destroy(self.0) }
    }
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
        let transaction_ms = options.transaction_timeout_secs.unwrap_or(600).clamp(1, 2_000_000) * 1000;
        let linger_ms = match transactional_id {
            Some(_) => LINGER_IN_TRANSACTION_MS.min(transaction_ms / 2),
            None => LINGER_MS,
        };
        config.set("linger.ms", options.linger_ms.unwrap_or(linger_ms).min(900_000).to_string());
        config.set("compression.type", options.compression.unwrap_or(CompressionCodec::Lz4).as_str());
        config.set("batch.num.messages", "100000");
        // Nobody asks after those that were delivered: what is flushed or committed without an error told before it is.
        config.set("delivery.report.only.error", "true");
        let buffer = options.max_buffer_bytes.unwrap_or(16 << 20);
        config.set("queue.buffering.max.kbytes", (buffer >> 10).clamp(1, 2_147_483_647).to_string());
        config.set("queue.buffering.max.messages", "1000000");
        config.set("message.max.bytes", options.max_message_bytes.unwrap_or(1 << 20).clamp(1000, 1_000_000_000).to_string());
        if let Some(id) = transactional_id {
            config.set("transactional.id", id);
            config.set("transaction.timeout.ms", transaction_ms.to_string());
        } else {
            config.set("message.timeout.ms", PATIENCE.as_millis().to_string());
        }
        let producer: BaseProducer<Voice> =
            config.create_with_context(Voice::default()).map_err(|error| shown(&error, address.place()))?;
        address.join(producer.client())?;
        Ok(Self { producer: Some(producer), topic: None, place: address.place().to_owned(), sent: 0, since: (0, 0) })
    }

    fn producer(&self) -> Result<&BaseProducer<Voice>> {
        self.producer.as_ref().ok_or_else(|| Error::internal("a producer that is gone"))
    }

    /// Shuts out whoever writes under this id, finishes or throws away what it left, and waits until that is done. The topic is one that there is.
    pub fn take_over(&self, topic: &str) -> Result<()> {
        // The library looks for the coordinator only each half second while it has no connection. The first question goes to the address of the options,
        // the second waits for the broker that answers at it.
        for _ in 0..2 {
            let _said_below = self.producer()?.client().fetch_metadata(Some(topic), Duration::from_secs(1));
        }
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
                    self.wait_for_room(*begun.get_or_insert_with(Instant::now))?;
                    next = back;
                }
                Err((error, _)) => return Err(self.not_taken(error, record.topic, record.key, record.value)),
            }
        }
        self.sent = sent + 1;
        self.since = (self.since.0 + 1, self.since.1 + record.value.map_or(0, <[u8]>::len));
        if self.sent.is_multiple_of(LOOK) {
            self.look()?;
        }
        Ok(())
    }

    /// Hands records over, in their order, with nothing but a key and a value each; waits while the buffer is full.
    #[allow(unsafe_code)]
    pub fn send_all<'a>(&mut self, topic: &str, records: impl Iterator<Item = (Option<&'a [u8]>, &'a [u8])>) -> Result<()> {
        let topic_handle = self.topic(topic)?;
        let mut records = records.map(|(key, value)| sys::rd_kafka_message_t {
            err: sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
            rkt: null_mut(),
            partition: ANY_PARTITION,
            payload: value.as_ptr().cast_mut().cast(),
            len: value.len(),
            key: key.map_or(null_mut(), |key| key.as_ptr().cast_mut().cast()),
            key_len: key.map_or(0, <[u8]>::len),
            offset: 0,
            _private: null_mut(),
        });
        let mut some = Vec::with_capacity(LOOK);
        loop {
            some.clear();
            some.extend(records.by_ref().take(LOOK));
            if some.is_empty() {
                return Ok(());
            }
            let (mut from, mut begun) = (0, None);
            while from < some.len() {
                let rest = &mut some[from..];
                // SAFETY: topic and client live; keys and values are borrowed until this returns, and the library copies them.
                let taken = unsafe {
                    let (first, count) = (rest.as_mut_ptr(), rest.len() as i32);
                    sys::rd_kafka_produce_batch(topic_handle, ANY_PARTITION, sys::RD_KAFKA_MSG_F_COPY, first, count)
                };
                if usize::try_from(taken).is_ok_and(|taken| taken == rest.len()) {
                    break;
                }
                // None is taken behind one for which there was no room: they stay in their order.
                let Some(at) = rest.iter().position(|one| Code::from(one.err) != Code::NoError) else { break };
                let code = Code::from(rest[at].err);
                if code != Code::QueueFull {
                    let one = &rest[at];
                    // SAFETY: as above.
                    let (key, value) = unsafe { (bytes(one.key, one.key_len), bytes(one.payload, one.len)) };
                    return Err(self.not_taken(KafkaError::MessageProduction(code), topic, key, value));
                }
                if at > 0 {
                    begun = None;
                }
                from += at;
                self.wait_for_room(*begun.get_or_insert_with(Instant::now))?;
            }
            self.sent += some.len();
            self.since = (self.since.0 + some.len(), self.since.1 + some.iter().map(|one| one.len).sum::<usize>());
            self.look()?;
        }
    }

    /// The handle of a topic; that of the one before is kept.
    #[allow(unsafe_code)]
    fn topic(&mut self, name: &str) -> Result<*mut sys::rd_kafka_topic_t> {
        if let Some((known, topic)) = &self.topic
            && known == name
        {
            return Ok(topic.0);
        }
        let text = CString::new(name).map_err(|_| Error::new("WEIR-KAFKA-001", Kind::Spec, "a topic has no NUL in its name"))?;
        // SAFETY: the client lives, the name is copied; without settings it gets the client's.
        let topic = unsafe { sys::rd_kafka_topic_new(self.producer()?.client().native_ptr(), text.as_ptr(), null_mut()) };
        if topic.is_null() {
            return Err(Error::new("WEIR-KAFKA-001", Kind::Spec, format!("`{name}` is no topic")).at(self.place.clone()));
        }
        self.topic = Some((name.to_owned(), Topic(topic)));
        Ok(topic)
    }

    /// The buffer has been full since then.
    #[allow(unsafe_code)]
    fn wait_for_room(&self, begun: Instant) -> Result<()> {
        let producer = self.producer()?;
        if begun.elapsed() > FULL {
            // SAFETY: the client lives as long as its producer.
            let _until_later = unsafe { sys::rd_kafka_flush(producer.client().native_ptr(), 1) };
        }
        producer.poll(Duration::from_millis(5));
        self.no_loss()?;
        if begun.elapsed() <= PATIENCE {
            return Ok(());
        }
        let why = format!("no record was taken for {} s", PATIENCE.as_secs());
        let said = producer.context().said();
        Err(said.map_or_else(|| unreachable(&self.place, why), |(code, reason)| of_code(code, &self.place, reason)))
    }

    fn look(&self) -> Result<()> {
        self.producer()?.poll(Duration::ZERO);
        self.no_loss()
    }

    fn not_taken(&self, error: KafkaError, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> Error {
        let key = key.map(|key| String::from_utf8_lossy(&key[..key.len().min(120)]).into_owned()).unwrap_or_default();
        self.refused(&Undelivered { error, topic: topic.to_owned(), key, bytes: value.map_or(0, <[u8]>::len) })
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
    pub fn deliver(&mut self) -> Result<()> {
        let since = std::mem::take(&mut self.since);
        let producer = self.producer()?;
        let flushed = flush(producer, since);
        self.no_loss()?;
        flushed.map_err(|error| self.fatal(producer).unwrap_or_else(|| shown(&error, &self.place)))
    }

    /// Commits the transaction with everything in it. After an error it may have been committed or not: who takes over sees which.
    pub fn commit(&mut self) -> Result<()> {
        let since = std::mem::take(&mut self.since);
        let end = Instant::now() + PATIENCE;
        loop {
            let producer = self.producer()?;
            // The call would wait for its records in steps of a tenth of a second.
            let committed = flush(producer, since).and_then(|()| producer.commit_transaction(Duration::from_secs(30)));
            let Err(error) = committed else { return Ok(()) };
            let abort = matches!(&error, KafkaError::Transaction(inner) if inner.txn_requires_abort());
            if abort {
                let _rolled_back_by_the_broker_otherwise = producer.abort_transaction(Duration::from_secs(30));
                // Whoever was shut out learns it here at the latest.
                if let Some(fatal) = self.fatal(producer) {
                    return Err(fatal);
                }
                self.no_loss()?;
                return Err(Error::new("WEIR-KAFKA-033", Kind::Connect, "the transaction was given up")
                    .at(self.place.clone())
                    .because(error)
                    .transient());
            }
            if let Some(fatal) = self.fatal(producer) {
                return Err(fatal);
            }
            if !retriable(&error) {
                return Err(self.told(&error));
            }
            if Instant::now() >= end {
                return Err(unreachable(&self.place, error));
            }
        }
    }

    /// What ended this client for good.
    fn fatal(&self, producer: &BaseProducer<Voice>) -> Option<Error> {
        producer.client().fatal_error().map(|(code, reason)| of_code(code, &self.place, reason))
    }

    /// Throws the transaction away.
    pub fn abort(&self) -> Result<()> {
        self.producer()?.abort_transaction(Duration::from_secs(10)).map_err(|error| self.told(&error))
    }

    fn told(&self, error: &KafkaError) -> Error {
        match error {
            KafkaError::Transaction(inner) if inner.is_fatal() => {
                let fatal = self.producer.as_ref().and_then(|producer| self.fatal(producer));
                fatal.unwrap_or_else(|| shown(error, &self.place))
            }
            _ => shown(error, &self.place),
        }
    }
}

/// Waits until the client holds no record any more. `Producer::flush` looks again a tenth of a second later, whatever happens in it; the library's own
/// call returns with the last answer, and lets no record wait for others meanwhile.
#[allow(unsafe_code)]
fn flush(producer: &BaseProducer<Voice>, since: (usize, usize)) -> Result<(), KafkaError> {
    settle(producer, since);
    let end = Instant::now() + PATIENCE;
    loop {
        // SAFETY: the client lives as long as its producer.
        let code = unsafe { sys::rd_kafka_flush(producer.client().native_ptr(), FLUSH_MS) };
        // What was not delivered counts until it was told.
        producer.poll(Duration::ZERO);
        match Code::from(code) {
            Code::NoError => return Ok(()),
            code if passes(code) && producer.client().fatal_error().is_none() && Instant::now() < end => {}
            code => return Err(KafkaError::Flush(code)),
        }
    }
}

/// Waits while full requests go by themselves. Asked to hurry while requests wait behind others under way, the library's thread spins until those are
/// answered, and takes the processor from who is to answer.
fn settle(producer: &BaseProducer<Voice>, (records, bytes): (usize, usize)) {
    if bytes <= REQUEST_BYTES {
        return;
    }
    let (mut left, mut moved) = (producer.in_flight_count(), Instant::now());
    // What is left of a few partitions is less than a few requests.
    let few = i32::try_from(4 * REQUEST_BYTES / (bytes / records.max(1)).max(1)).unwrap_or(i32::MAX);
    while left > 0 && moved.elapsed() < if left > few { NOT_SETTLED } else { SETTLED } {
        producer.poll(Duration::from_millis(1));
        let now = producer.in_flight_count();
        if now != left {
            (left, moved) = (now, Instant::now());
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

/// What the library was given.
///
/// # Safety
/// `first` is NULL, or `length` bytes are there for as long as the result is used.
#[allow(unsafe_code)]
unsafe fn bytes<'a>(first: *const std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as above.
    (!first.is_null()).then(|| unsafe { std::slice::from_raw_parts(first.cast(), length) })
}

impl Drop for Writing {
    /// Waits for its threads: not on the runtime's.
    fn drop(&mut self) {
        self.topic = None;
        if let Some(producer) = self.producer.take() {
            let _detached = std::thread::Builder::new().name("kafka producer ends".into()).spawn(move || drop(producer));
        }
    }
}
