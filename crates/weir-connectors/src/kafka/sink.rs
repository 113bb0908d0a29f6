//! Writing: a lane is a producer, a flush is a transaction.
//!
//! With `guarantee: exactly_once` rows and the progress of their splits enter in one transaction (see [`super::ledger`]), whose id names pipeline, node,
//! stream and lane, and no run: a new attempt shuts the old one out before it looks what is durable. With `at_least_once` a flush waits for the
//! brokers' answers; the checkpoint alone knows how far a run got.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use async_trait::async_trait;
use twox_hash::XxHash3_128;
use weir_connect::{
    Barrier, CommitKind, CommitReport, CommitToken, Error, Flushed, Kind, Recovery, Result, Sink, SinkCapabilities, SinkType,
    StreamSink, StreamTarget, StreamWriter, WriteMode, failpoint,
};
use weir_formats::Format;

use super::client::{Address, blocking};
use super::config::{Guarantee, Isolation, SinkFormat, SinkOptions};
use super::encode::Encoding;
use super::ledger::{Ledger, State};
use super::producer::{Record, Writing};
use super::registry::outgoing::{self, Outgoing};
use super::topics;

/// A configured sink.
pub struct KafkaSink {
    address: Address,
    options: SinkOptions,
    node: String,
    parallelism: usize,
}

impl KafkaSink {
    /// Connects later.
    pub fn new(address: Address, options: SinkOptions, node: String, parallelism: usize) -> Self {
        Self { address, options, node, parallelism: parallelism.max(1) }
    }

    fn progress_topic(&self) -> &str {
        self.options.progress_topic.as_deref().unwrap_or("weir.progress")
    }

    /// Whether the topic is there; whether one may be seen is not the question.
    async fn exists(&self, topic: &str) -> Result<bool> {
        let consumer = self.address.consumer(None, Isolation::ReadCommitted, 1 << 20)?;
        let (address, topic) = (self.address.clone(), topic.to_owned());
        blocking(move || match address.partitions(&consumer, &topic) {
            Ok(_) => Ok(true),
            Err(error) if error.code() == "WEIR-KAFKA-005" => Ok(false),
            Err(error) => Err(error),
        })
        .await
    }

    /// Makes what is missing and waits until it can be seen.
    async fn topic(&self, topic: &str, partitions: i32, replication: i32, config: &[(&str, &str)]) -> Result<()> {
        if self.exists(topic).await? {
            return Ok(());
        }
        topics::create(&self.address, topic, partitions, replication, config).await?;
        let end = std::time::Instant::now() + self.address.patience();
        while !self.exists(topic).await? {
            if std::time::Instant::now() > end {
                return Err(super::errors::unreachable(&format!("topic `{topic}`"), "the topic was made but does not appear"));
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn key<'a>(&'a self, target: &'a StreamTarget) -> &'a [String] {
        if self.options.key.is_empty() && target.write_mode == WriteMode::Upsert { &target.key } else { &self.options.key }
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn capabilities(&self, _mode: WriteMode) -> SinkCapabilities {
        let (commit, commit_note) = match self.options.guarantee {
            Guarantee::ExactlyOnce => (
                CommitKind::CoCommitted,
                format!("kafka keeps positions in the topic {}, in the rows' own transaction", self.progress_topic()),
            ),
            Guarantee::AtLeastOnce => {
                (CommitKind::Append, "kafka without transactions: rows of an interrupted epoch come twice".to_owned())
            }
        };
        SinkCapabilities { commit, commit_note, write_modes: vec![WriteMode::Append, WriteMode::Upsert] }
    }

    fn sink_type(&self, field: &Field) -> SinkType {
        match self.options.format {
            SinkFormat::Json | SinkFormat::JsonSchema => weir_formats::sink_type(Format::Ndjson, field),
            SinkFormat::Csv => weir_formats::sink_type(Format::Csv, field),
            SinkFormat::Avro => weir_formats::sink_type(Format::Avro, field),
            SinkFormat::Protobuf => weir_formats::registered::protobuf_type(field),
        }
    }

    fn place(&self, stream: &str) -> String {
        format!("topic {} at {}", self.options.topic_of(stream), self.address.place())
    }

    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>> {
        let mut steps = Vec::new();
        let topic = self.options.topic_of(&target.stream);
        if !self.exists(&topic).await? {
            if self.options.create_topic == Some(false) {
                return Err(missing(&topic));
            }
            steps.push(format!("create topic {topic}"));
        }
        if self.options.guarantee == Guarantee::ExactlyOnce && !self.exists(self.progress_topic()).await? {
            steps.push(format!("create the compacted topic {}", self.progress_topic()));
        }
        if self.options.format.registered().is_some() {
            steps.push(format!("values by a schema of subject {}", outgoing::subject(&self.options, &topic)));
        }
        Ok(steps)
    }

    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        let topic = self.options.topic_of(&target.stream);
        let registered = match self.options.format.registered() {
            Some(_) => {
                let registry = self.address.registry()?;
                Some(Outgoing::new(&registry, &self.options, &topic, &target.schema).await?)
            }
            None => None,
        };
        let encoding = Encoding::new(&self.options, target.schema.clone(), self.key(&target), target.write_mode, registered)?;
        if self.options.create_topic == Some(false) {
            if !self.exists(&topic).await? {
                return Err(missing(&topic));
            }
        } else {
            let mut config: Vec<(&str, &str)> =
                self.options.topic_config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            if target.write_mode == WriteMode::Upsert && !self.options.topic_config.contains_key("cleanup.policy") {
                config.push(("cleanup.policy", "compact"));
            }
            self.topic(&topic, self.options.partitions.unwrap_or(-1), self.options.replication.unwrap_or(-1), &config).await?;
        }
        let ledger = Ledger {
            topic: self.progress_topic().to_owned(),
            owner: [target.run.pipeline.clone(), self.node.clone(), target.stream.clone()],
            run_id: target.run.run_id.clone(),
        };
        let exactly_once = self.options.guarantee == Guarantee::ExactlyOnce;
        let (lanes, main, state) = if exactly_once {
            self.topic(&ledger.topic, 1, self.options.replication.unwrap_or(-1), &[("cleanup.policy", "compact")]).await?;
            let (address, options, ledger, lanes) =
                (self.address.clone(), self.options.clone(), ledger.clone(), self.parallelism);
            blocking(move || take_over(&address, &options, &ledger, lanes)).await?
        } else {
            (BTreeMap::new(), None, State::default())
        };
        let shared = Shared {
            address: self.address.clone(),
            headers: self.options.headers.clone().into_iter().collect(),
            options: self.options.clone(),
            topic,
            encoding,
            ledger,
            exactly_once,
            state: Mutex::new(Totals { lanes: state.lanes.clone(), keys: state.keys.clone() }),
            producers: Mutex::new(lanes),
            main: Mutex::new(main),
        };
        Ok(Box::new(KafkaStream {
            place: self.place(&target.stream),
            upsert: target.write_mode == WriteMode::Upsert,
            shared: Arc::new(shared),
            state: Mutex::new(state),
        }))
    }
}

fn missing(topic: &str) -> Error {
    Error::new("WEIR-KAFKA-005", Kind::NotFound, format!("there is no topic `{topic}`"))
        .hint("make it, or let `create_topic: true` do so")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The id of a lane's transactions: readable, and never that of another stream.
fn transactional_id(options: &SinkOptions, ledger: &Ledger, lane: &str) -> String {
    let prefix = options.transactional_id_prefix.as_deref().unwrap_or("weir");
    let name: String =
        ledger.owner[0].chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).take(60).collect();
    format!("{prefix}-{name}-{}-{lane}", short_hash(&ledger.owner))
}

/// A short name for three long ones.
fn short_hash(parts: &[String; 3]) -> String {
    let text: String = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    format!("{:032x}", XxHash3_128::oneshot(text.as_bytes()))
}

type Producers = BTreeMap<usize, Writing>;

/// Shuts every earlier attempt out, and then looks what is durable.
fn take_over(
    address: &Address,
    options: &SinkOptions,
    ledger: &Ledger,
    lanes: usize,
) -> Result<(Producers, Option<Writing>, State)> {
    let seen = ledger.read(address, false)?;
    let width = seen.width.max(lanes);
    let producer = |lane: String| -> Result<Writing> {
        let writing = Writing::new(address, options, Some(&transactional_id(options, ledger, &lane)))?;
        writing.take_over()?;
        Ok(writing)
    };
    let (mut main, producers) = std::thread::scope(|scope| {
        let main = scope.spawn(|| producer("main".into()));
        let others: Vec<_> = (0..width).map(|lane| (lane, scope.spawn(move || producer(lane.to_string())))).collect();
        let joined = |result: std::thread::Result<Result<Writing>>| {
            result.unwrap_or_else(|_| Err(Error::internal("a thread of the kafka sink panicked")))
        };
        let producers: Result<Producers> = others.into_iter().map(|(lane, thread)| Ok((lane, joined(thread.join())?))).collect();
        (joined(main.join()), producers)
    });
    let mut producers = producers?;
    if let (Ok(main), true) = (&mut main, seen.width < width) {
        let (key, value) = ledger.width(width);
        main.begin()?;
        note(main, &ledger.topic, &key, Some(&value))?;
        main.commit()?;
    }
    let state = ledger.read(address, true)?;
    producers.retain(|lane, _| *lane < lanes);
    Ok((producers, Some(main?), state))
}

/// One line of the ledger, in the open transaction.
fn note(writing: &mut Writing, topic: &str, key: &[u8], value: Option<&[u8]>) -> Result<()> {
    writing.send(&Record { topic, key: Some(key), value, partition: Some(0), timestamp: None, headers: &[] })
}

struct Totals {
    lanes: BTreeMap<usize, (u64, u64)>,
    keys: BTreeSet<Vec<u8>>,
}

/// What the lanes of one stream share.
struct Shared {
    address: Address,
    options: SinkOptions,
    headers: Vec<(String, String)>,
    topic: String,
    encoding: Encoding,
    ledger: Ledger,
    exactly_once: bool,
    state: Mutex<Totals>,
    /// Of the lanes that have no writer yet.
    producers: Mutex<Producers>,
    /// Writes what concerns all lanes.
    main: Mutex<Option<Writing>>,
}

impl Shared {
    /// Forgets the splits and lanes, and says `more` in the same transaction.
    fn forget(&self, more: Option<(Vec<u8>, Vec<u8>)>) -> Result<()> {
        let keys = locked(&self.state).keys.clone();
        let mut main = locked(&self.main);
        let Some(main) = main.as_mut() else { return Err(Error::internal("a sink without transactions has no ledger")) };
        if keys.is_empty() && more.is_none() {
            return Ok(());
        }
        main.begin()?;
        for key in &keys {
            note(main, &self.ledger.topic, key, None)?;
        }
        if let Some((key, value)) = &more {
            note(main, &self.ledger.topic, key, Some(value))?;
        }
        main.commit()?;
        let mut state = locked(&self.state);
        state.keys.clear();
        state.lanes.clear();
        Ok(())
    }
}

/// One stream's way into its topic, for one run.
struct KafkaStream {
    place: String,
    upsert: bool,
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[async_trait]
impl StreamSink for KafkaStream {
    async fn recover(&self) -> Result<Recovery> {
        if !self.shared.exactly_once {
            return Ok(Recovery::default());
        }
        let state = locked(&self.state);
        let rows = state.lanes.values().map(|(rows, _)| rows).sum();
        Ok(Recovery { progress: Some(state.progress.clone()), committed: state.committed.clone(), rows })
    }

    async fn discard(&self, _keep: &[CommitToken]) -> Result<()> {
        if !self.shared.exactly_once || locked(&self.state).committed.is_some() {
            return Ok(());
        }
        let rows: u64 = locked(&self.shared.state).lanes.values().map(|(rows, _)| rows).sum();
        if rows > 0 && !self.upsert {
            return Err(Error::new("WEIR-KAFKA-036", Kind::Unsupported, "rows that are in a topic cannot be taken back")
                .at(self.place.clone())
                .because(format!("{rows} rows of the interrupted run are there"))
                .hint("`weir state reset` accepts them; with `write_mode: upsert` they are replaced by key"));
        }
        {
            let mut state = locked(&self.state);
            state.progress.clear();
            state.lanes.clear();
        }
        let shared = self.shared.clone();
        blocking(move || shared.forget(None)).await
    }

    async fn writer(&self, lane: usize) -> Result<Box<dyn StreamWriter>> {
        if locked(&self.state).committed.is_some() {
            return Err(Error::internal("a writer was asked for after the commit").at(self.place.clone()));
        }
        let shared = self.shared.clone();
        let writing = blocking(move || {
            if let Some(writing) = locked(&shared.producers).remove(&lane) {
                return Ok(writing);
            }
            if !shared.exactly_once {
                return Writing::new(&shared.address, &shared.options, None);
            }
            // A lane that was not announced, or a second writer of one: later attempts have to shut this one out too.
            let id = transactional_id(&shared.options, &shared.ledger, &lane.to_string());
            if let Some(main) = locked(&shared.main).as_mut()
                && shared.ledger.read(&shared.address, false)?.width <= lane
            {
                let (key, value) = shared.ledger.width(lane + 1);
                main.begin()?;
                note(main, &shared.ledger.topic, &key, Some(&value))?;
                main.commit()?;
            }
            let writing = Writing::new(&shared.address, &shared.options, Some(&id))?;
            writing.take_over()?;
            Ok(writing)
        })
        .await?;
        Ok(Box::new(Writer { shared: self.shared.clone(), lane, work: Some(Work { writing, open: false }), rows: 0, bytes: 0 }))
    }

    async fn commit(&self, tokens: &[CommitToken]) -> Result<CommitReport> {
        if let Some(done) = locked(&self.state).committed.clone() {
            return Ok(done);
        }
        let mut report = CommitReport { rows: 0, bytes: 0, objects: 1, place: self.place.clone() };
        if !self.shared.exactly_once {
            for token in tokens {
                report.rows += token.get("rows").and_then(serde_json::Value::as_u64).unwrap_or(0);
                report.bytes += token.get("bytes").and_then(serde_json::Value::as_u64).unwrap_or(0);
            }
            return Ok(report);
        }
        for (rows, bytes) in locked(&self.shared.state).lanes.values() {
            report.rows += rows;
            report.bytes += bytes;
        }
        failpoint!("kafka.commit.before");
        let (shared, entry) = (self.shared.clone(), self.shared.ledger.commit(&report)?);
        blocking(move || shared.forget(Some(entry))).await?;
        failpoint!("kafka.commit.after");
        locked(&self.state).committed = Some(report.clone());
        Ok(report)
    }
}

struct Work {
    writing: Writing,
    /// A transaction is open.
    open: bool,
}

impl Drop for Work {
    /// Readers wait for an open transaction: it is given up at once, and not when its time is over.
    fn drop(&mut self) {
        if self.open {
            let _fenced_or_gone = self.writing.abort();
        }
    }
}

/// One lane's writer.
struct Writer {
    shared: Arc<Shared>,
    lane: usize,
    /// Gone while a thread has it, and for good after an error.
    work: Option<Work>,
    /// Since the last flush.
    rows: u64,
    bytes: u64,
}

impl Writer {
    fn work(&mut self) -> Result<Work> {
        self.work.take().ok_or_else(|| Error::internal("a writer was used after an error"))
    }
}

#[async_trait]
impl StreamWriter for Writer {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let (shared, mut work) = (self.shared.clone(), self.work()?);
        let rows = batch.num_rows() as u64;
        let (work, bytes) = blocking(move || {
            let records = shared.encoding.encode(&batch)?;
            if shared.exactly_once && !work.open {
                work.writing.begin()?;
                work.open = true;
            }
            let mut bytes = 0;
            for row in 0..records.count() {
                let (key, value) = (records.key(row), records.value(row));
                bytes += (value.len() + key.map_or(0, <[u8]>::len)) as u64;
                work.writing.send(&Record {
                    topic: &shared.topic,
                    key,
                    value: Some(value),
                    partition: records.partition(row),
                    timestamp: records.timestamp(row),
                    headers: &shared.headers,
                })?;
            }
            Ok((work, bytes))
        })
        .await?;
        self.work = Some(work);
        self.rows += rows;
        self.bytes += bytes;
        Ok(())
    }

    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
        if rows == 0 && (barrier.progress.is_empty() || !self.shared.exactly_once) {
            return Ok(Flushed { token: serde_json::Value::Null, rows: 0, bytes: 0 });
        }
        let (shared, mut work, lane, progress) = (self.shared.clone(), self.work()?, self.lane, barrier.progress.clone());
        failpoint!("kafka.flush.before");
        let work = blocking(move || {
            if !shared.exactly_once {
                work.writing.deliver()?;
                return Ok(work);
            }
            if !work.open {
                work.writing.begin()?;
                work.open = true;
            }
            let before = locked(&shared.state).lanes.get(&lane).copied().unwrap_or_default();
            let total = (before.0 + rows, before.1 + bytes);
            let mut keys = Vec::with_capacity(progress.len() + 1);
            for part in &progress {
                let (key, value) = shared.ledger.split(part)?;
                note(&mut work.writing, &shared.ledger.topic, &key, Some(&value))?;
                keys.push(key);
            }
            let (key, value) = shared.ledger.lane(lane, total.0, total.1);
            note(&mut work.writing, &shared.ledger.topic, &key, Some(&value))?;
            keys.push(key);
            work.writing.commit()?;
            work.open = false;
            let mut state = locked(&shared.state);
            state.lanes.insert(lane, total);
            state.keys.extend(keys);
            Ok(work)
        })
        .await?;
        failpoint!("kafka.flush.after");
        self.work = Some(work);
        let token =
            if self.shared.exactly_once { serde_json::Value::Null } else { serde_json::json!({"rows": rows, "bytes": bytes}) };
        Ok(Flushed { token, rows, bytes })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(work) = self.work.take()
            && work.open
        {
            // Giving a transaction up asks the brokers.
            let _detached = std::thread::Builder::new().name("kafka writer ends".into()).spawn(move || drop(work));
        }
    }
}
