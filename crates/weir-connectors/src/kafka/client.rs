//! Clients of the brokers: their settings, what they say while they work, and one look at a topic.
//!
//! Everything here blocks; [`blocking`] takes it off the runtime.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use weir_connect::{Error, Kind, Result, guard};

use super::asking::Asking;
use super::config::{ConnectionOptions, Isolation, SaslMechanism};
use super::errors::{NOT_PERMITTED, of_code, passes, shown, unreachable};
use super::guarded;
use super::registry::client::Registry;

/// What the library holds for a record that waits, besides its bytes, which alone it counts.
const OF_A_RECORD: u64 = 512;

/// What a client has said.
#[derive(Debug, Default)]
pub struct Voice {
    /// The last error of the client as a whole.
    said: Mutex<Option<(Code, String)>>,
    /// The first record that was not delivered, or the largest of those that were too large.
    lost: Mutex<Option<Undelivered>>,
    /// Why it may not connect to a broker.
    refused: OnceLock<String>,
}

/// A record that a broker did not take.
#[derive(Debug, Clone)]
pub struct Undelivered {
    /// Why.
    pub error: KafkaError,
    /// Its topic.
    pub topic: String,
    /// The beginning of its key, for the message.
    pub key: String,
    /// Bytes of its value.
    pub bytes: usize,
}

impl Voice {
    /// The last error that was told since the last time this was asked. That a connection is not permitted is said each time: nothing that comes after it matters.
    pub fn said(&self) -> Option<(Code, String)> {
        if let Some(refusal) = self.refused.get() {
            return Some((NOT_PERMITTED, refusal.clone()));
        }
        self.said.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The guard does not permit a connection.
    pub(super) fn refuse(&self, refusal: Error) {
        let advice = refusal.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
        let _the_first_one_stays = self.refused.set(format!("{refusal}{advice}"));
    }

    /// The first record that was not delivered since the last time this was asked.
    pub fn lost(&self) -> Option<Undelivered> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Voice {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(target: "weir::kafka", "{facility}: {message}");
            }
            _ => tracing::debug!(target: "weir::kafka", "{facility}: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "weir::kafka", "{error}: {reason}");
        let Some(code) = error.rdkafka_error_code() else { return };
        // The end of a partition comes this way too.
        if code == Code::PartitionEOF {
            return;
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers are down" says less than what came before it.
        if code != Code::AllBrokersDown || said.is_none() {
            *said = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Voice {}

impl ProducerContext for Voice {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        let Err((error, message)) = result else { return };
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let new = undelivered(error.clone(), message);
        // A broker refuses a batch as a whole for its largest record.
        let too_large = new.error.rdkafka_error_code() == Some(Code::MessageSizeTooLarge);
        if lost.as_ref().is_none_or(|known| too_large && new.bytes > known.bytes) {
            *lost = Some(new);
        }
    }
}

fn undelivered(error: KafkaError, message: &BorrowedMessage<'_>) -> Undelivered {
    let key = message.key().map(|key| String::from_utf8_lossy(&key[..key.len().min(120)]).into_owned()).unwrap_or_default();
    Undelivered { error, topic: message.topic().to_owned(), key, bytes: message.payload().map_or(0, <[u8]>::len) }
}

/// A consumer whose errors are kept. It takes a tenth of a second to close, whatever it did: so that is left to a thread of its own.
pub struct Reading(ManuallyDrop<BaseConsumer<Voice>>);

impl Deref for Reading {
    type Target = BaseConsumer<Voice>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Reading {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: nothing uses it after this.
        let consumer = unsafe { ManuallyDrop::take(&mut self.0) };
        let _detached = std::thread::Builder::new().name("kafka consumer ends".into()).spawn(move || drop(consumer));
    }
}

/// A connection, not yet made.
#[derive(Clone)]
pub struct Address {
    options: ConnectionOptions,
    base_dir: std::path::PathBuf,
    /// One for all that use the connection: what was asked for is not asked for again.
    registry: Arc<OnceLock<Arc<Registry>>>,
    /// Whom one asks what topics there are.
    asking: Asking,
}

impl Address {
    /// By its options.
    pub fn new(options: ConnectionOptions, base_dir: std::path::PathBuf) -> Result<Self> {
        options.validate()?;
        Ok(Self { options, base_dir, registry: Arc::default(), asking: Asking::default() })
    }

    /// The brokers, for messages.
    pub fn place(&self) -> &str {
        &self.options.bootstrap_servers
    }

    /// The schema registry.
    ///
    /// # Errors
    /// The connection names none; files of certificates that are none.
    pub fn registry(&self) -> Result<Arc<Registry>> {
        if let Some(known) = self.registry.get() {
            return Ok(known.clone());
        }
        let options = self.options.registry.as_ref().ok_or_else(super::registry::missing)?;
        let new = Arc::new(Registry::new(options, &self.base_dir)?);
        Ok(self.registry.get_or_init(|| new).clone())
    }

    /// How long a broker may take to answer.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.options.connect_timeout_secs.unwrap_or(20).max(1))
    }

    fn file(&self, path: &std::path::Path) -> Result<String> {
        let path = guard::current().file(&self.base_dir.join(path))?;
        if !path.is_file() {
            return Err(Error::new("WEIR-KAFKA-001", Kind::NotFound, "there is no such file").at(path.display().to_string()));
        }
        Ok(path.display().to_string())
    }

    /// The settings that every client has. Whoever makes one lets it [`Self::join`].
    ///
    /// # Errors
    /// Under a guard: settings that would reach past it.
    pub fn settings(&self) -> Result<ClientConfig> {
        guarded::check(self.options.properties.keys())?;
        let options = &self.options;
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Warning);
        for (name, value) in &options.properties {
            config.set(name, value);
        }
        guarded::brokers(&mut config, options.bootstrap_servers.trim());
        config.set("client.id", "weir");
        config.set("allow.auto.create.topics", "false");
        config.set(
            "security.protocol",
            match (options.user.is_some(), options.encrypted()) {
                (false, false) => "plaintext",
                (false, true) => "ssl",
                (true, false) => "sasl_plaintext",
                (true, true) => "sasl_ssl",
            },
        );
        if let (Some(user), Some(password)) = (&options.user, &options.password) {
            config.set("sasl.mechanisms", options.sasl_mechanism.unwrap_or(SaslMechanism::Plain).as_str());
            config.set("sasl.username", user);
            config.set("sasl.password", password.expose());
        }
        for (name, path) in [
            ("ssl.ca.location", &options.ssl_root_cert),
            ("ssl.certificate.location", &options.ssl_cert),
            ("ssl.key.location", &options.ssl_key),
        ] {
            if let Some(path) = path {
                config.set(name, self.file(path)?);
            }
        }
        if let Some(password) = &options.ssl_key_password {
            config.set("ssl.key.password", password.expose());
        }
        if options.verify_tls == Some(false) {
            config.set("enable.ssl.certificate.verification", "false");
        }
        Ok(config)
    }

    /// Lets a new client connect to the brokers.
    ///
    /// # Errors
    /// Under a guard: brokers that are no list of addresses.
    pub fn join(&self, client: &Client<Voice>) -> Result<()> {
        guarded::join(client, self.options.bootstrap_servers.trim())
    }

    /// A consumer that is given its partitions, commits nothing and never jumps. `group` is only a name here: no group is joined.
    pub fn consumer(&self, group: Option<&str>, isolation: Isolation, fetch_bytes: u64) -> Result<Reading> {
        self.waiting(group, isolation, fetch_bytes, 100)
    }

    /// A consumer that looks what there is, and does not wait for what comes later.
    pub fn looking(&self, isolation: Isolation, fetch_bytes: u64) -> Result<Reading> {
        self.waiting(None, isolation, fetch_bytes, 5)
    }

    /// A consumer to which the brokers answer after so many milliseconds if nothing came.
    fn waiting(&self, group: Option<&str>, isolation: Isolation, fetch_bytes: u64, wait_ms: u32) -> Result<Reading> {
        let mut config = self.settings()?;
        config.set("group.id", group.unwrap_or("weir"));
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error");
        config.set("enable.partition.eof", "true");
        config.set("isolation.level", isolation.as_str());
        config.set("check.crcs", "true");
        let own = |name: &str| self.options.properties.contains_key(name);
        if !own("queued.max.messages.kbytes") {
            config.set("queued.max.messages.kbytes", (fetch_bytes >> 10).clamp(1, 2_097_151).to_string());
        }
        if !own("queued.min.messages") {
            config.set("queued.min.messages", (fetch_bytes / OF_A_RECORD).clamp(1, 1_000_000).to_string());
        }
        // A full queue is asked for more after this time; the client's own second leaves a fast reader idle for most of it.
        if !own("fetch.queue.backoff.ms") {
            config.set("fetch.queue.backoff.ms", "5");
        }
        if !own("fetch.wait.max.ms") {
            config.set("fetch.wait.max.ms", wait_ms.to_string());
        }
        if !own("fetch.error.backoff.ms") {
            config.set("fetch.error.backoff.ms", "100");
        }
        let consumer: BaseConsumer<Voice> =
            config.create_with_context(Voice::default()).map_err(|error| shown(&error, self.place()))?;
        let consumer = Reading(ManuallyDrop::new(consumer));
        self.join(consumer.client())?;
        Ok(consumer)
    }

    /// What the brokers say of one topic or of all. Fails as soon as it is known why it cannot work.
    pub fn metadata(&self, consumer: &Reading, topic: Option<&str>) -> Result<Metadata> {
        let end = Instant::now() + self.patience();
        loop {
            let last = match consumer.fetch_metadata(topic, Duration::from_secs(2).min(self.patience())) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            // Only a client that is asked tells what went wrong underneath.
            for _ in 0..16 {
                if consumer.poll(Duration::ZERO).is_none() {
                    break;
                }
            }
            if let Some((code, reason)) = consumer.context().said() {
                let down = matches!(code, Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve);
                if down || !passes(code) {
                    return Err(of_code(code, self.place(), reason));
                }
            }
            let code = last.rdkafka_error_code();
            if !code.is_none_or(passes) {
                return Err(shown(&last, self.place()));
            }
            if Instant::now() >= end {
                let away = unreachable(self.place(), last);
                // To the client a session that does not come about often is a broker that is away.
                return Err(match self.options.encrypted() {
                    true => away.hint("check `bootstrap_servers`, that the port speaks TLS, and that its certificate is of `ssl_root_cert` and names the host"),
                    false => away,
                });
            }
        }
    }

    /// The partitions of a topic.
    pub fn partitions(&self, consumer: &Reading, topic: &str) -> Result<Vec<i32>> {
        let metadata = self.metadata(consumer, Some(topic))?;
        let missing = || Error::new("WEIR-KAFKA-005", Kind::NotFound, format!("there is no topic `{topic}`")).at(self.place());
        let found = metadata.topics().iter().find(|found| found.name() == topic).ok_or_else(missing)?;
        if let Some(error) = found.error() {
            return Err(match Code::from(error) {
                Code::UnknownTopicOrPartition | Code::UnknownTopic => missing(),
                code => of_code(code, topic, code),
            });
        }
        let mut partitions: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// Whether a topic is there; whether one may be seen is not the question.
    pub async fn exists(&self, topic: &str) -> Result<bool> {
        let (address, topic) = (self.clone(), topic.to_owned());
        let new = || self.looking(Isolation::ReadCommitted, 1 << 20);
        let ask = move |consumer: &Reading| match address.partitions(consumer, &topic) {
            Ok(_) => Ok(true),
            Err(error) if error.code() == "WEIR-KAFKA-005" => Ok(false),
            Err(error) => Err(error),
        };
        self.asking.ask(new, ask).await
    }

    /// First offset that is kept, and the one behind the last record that may be read (the last stable one with `read_committed`).
    pub fn bounds(&self, consumer: &Reading, topic: &str, partition: i32) -> Result<(i64, i64)> {
        let end = Instant::now() + self.patience();
        loop {
            match consumer.fetch_watermarks(topic, partition, Duration::from_secs(5)) {
                Ok(bounds) => return Ok(bounds),
                Err(error) if error.rdkafka_error_code().is_some_and(passes) && Instant::now() < end => {
                    if let Some((NOT_PERMITTED, refusal)) = consumer.context().said() {
                        return Err(of_code(NOT_PERMITTED, self.place(), refusal));
                    }
                }
                Err(error) => return Err(shown(&error, &format!("{topic}[{partition}]"))),
            }
        }
    }
}

/// Runs what blocks on a thread where that is allowed.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal(format!("a thread of the kafka connector ended: {error}")))?
}
