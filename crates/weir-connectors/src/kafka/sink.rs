//! Writing: a lane is a producer, a flush is a transaction.
//!
//! With `guarantee: exactly_once` rows and the progress of their splits enter in one transaction ([`super::lanes`], [`super::ledger`]), whose id names
//! pipeline, node, stream and lane, and no run: a new attempt shuts the old one out before it looks what is durable. With `at_least_once` a flush waits for the
//! brokers' answers; the checkpoint alone knows how far a run got.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use async_trait::async_trait;
use serde_json::{Value, json};
use weir_connect::{
    Barrier, ChangeWriter, CommitKind, CommitReport, CommitToken, DeleteMode, Error, Flushed, Kind, Recovery, Result, Sink,
    SinkCapabilities, SinkType, StreamSink, StreamTarget, StreamWriter, WriteMode, failpoint,
};
use weir_formats::Format;

use super::changes::Changes;
use super::client::{Address, blocking};
use super::config::{Guarantee, SinkFormat, SinkOptions};
use super::encode::{Encoding, Values};
use super::lanes::{Hand, Shared, Totals, Work, locked, take_over};
use super::ledger::{Ledger, State};
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

    /// Makes what is missing and waits until it can be seen.
    async fn topic(&self, topic: &str, partitions: i32, replication: i32, config: &[(&str, &str)]) -> Result<()> {
        if self.address.exists(topic).await? {
            return Ok(());
        }
        topics::create(&self.address, topic, partitions, replication, config).await?;
        let end = std::time::Instant::now() + self.address.patience();
        while !self.address.exists(topic).await? {
            if std::time::Instant::now() > end {
                return Err(super::errors::unreachable(&format!("topic `{topic}`"), "the topic was made but does not appear"));
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn key<'a>(&'a self, target: &'a StreamTarget) -> &'a [String] {
        let keyed = target.write_mode == WriteMode::Upsert || self.options.format == SinkFormat::DebeziumJson;
        if self.options.key.is_empty() && keyed { &target.key } else { &self.options.key }
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
            SinkFormat::DebeziumJson => weir_formats::debezium::sink_type(field),
            SinkFormat::DeadLetter => {
                SinkType::exact(if field.name() == weir_connect::letters::PAYLOAD { "value" } else { "header" })
            }
        }
    }

    fn change_modes(&self) -> Vec<WriteMode> {
        if self.options.format == SinkFormat::DebeziumJson { vec![WriteMode::Append] } else { Vec::new() }
    }

    fn wants_before(&self) -> bool {
        self.options.format == SinkFormat::DebeziumJson
    }

    fn place(&self, stream: &str) -> String {
        format!("topic {} at {}", self.options.topic_of(stream), self.address.place())
    }

    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>> {
        let mut steps = Vec::new();
        let topic = self.options.topic_of(&target.stream);
        if !self.address.exists(&topic).await? {
            if self.options.create_topic == Some(false) {
                return Err(missing(&topic));
            }
            steps.push(format!("create topic {topic}"));
        }
        if self.options.guarantee == Guarantee::ExactlyOnce && !self.address.exists(self.progress_topic()).await? {
            steps.push(format!("create the compacted topic {}", self.progress_topic()));
        }
        if self.options.format.registered().is_some() {
            steps.push(format!("values by a schema of subject {}", outgoing::subject(&self.options, &topic)));
        }
        Ok(steps)
    }

    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        let topic = self.options.topic_of(&target.stream);
        let given = match self.options.format.registered() {
            Some(_) => {
                let registry = self.address.registry()?;
                Some(Values::Registered(Box::new(Outgoing::new(&registry, &self.options, &topic, &target.schema).await?)))
            }
            None => None,
        };
        let encoding = Encoding::new(&self.options, &target, self.key(&target), given)?;
        if self.options.create_topic == Some(false) {
            if !self.address.exists(&topic).await? {
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
                (self.address.clone(), self.options.clone(), ledger.clone(), if target.changes { 1 } else { self.parallelism });
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
            shared: Arc::new(shared),
            state: Mutex::new(state),
            target,
        }))
    }
}

fn missing(topic: &str) -> Error {
    Error::new("WEIR-KAFKA-005", Kind::NotFound, format!("there is no topic `{topic}`"))
        .hint("make it, or let `create_topic: true` do so")
}

/// One stream's way into its topic, for one run.
struct KafkaStream {
    place: String,
    target: StreamTarget,
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
        if rows > 0 && self.target.write_mode != WriteMode::Upsert {
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
        Ok(Box::new(Writer { hand: self.shared.hand(lane).await?, shared: self.shared.clone(), lane }))
    }

    async fn change_writer(&self, deletes: DeleteMode) -> Result<Box<dyn ChangeWriter>> {
        let context = self.shared.options.debezium_context(&self.target.run.pipeline);
        Ok(Box::new(Changes::new(self.shared.clone(), context, self.target.clone(), deletes).await?))
    }

    async fn commit(&self, tokens: &[CommitToken]) -> Result<CommitReport> {
        if let Some(done) = locked(&self.state).committed.clone() {
            return Ok(done);
        }
        let mut report = CommitReport { rows: 0, bytes: 0, objects: 1, place: self.place.clone() };
        if !self.shared.exactly_once && !self.target.changes {
            for token in tokens {
                report.rows += token.get("rows").and_then(Value::as_u64).unwrap_or(0);
                report.bytes += token.get("bytes").and_then(Value::as_u64).unwrap_or(0);
            }
            return Ok(report);
        }
        for (rows, bytes) in locked(&self.shared.state).lanes.values() {
            report.rows += rows;
            report.bytes += bytes;
        }
        if !self.shared.exactly_once {
            return Ok(report);
        }
        failpoint!("kafka.commit.before");
        let (shared, entry) = (self.shared.clone(), self.shared.ledger.commit(&report)?);
        blocking(move || shared.forget(Some(entry))).await?;
        failpoint!("kafka.commit.after");
        locked(&self.state).committed = Some(report.clone());
        Ok(report)
    }
}

/// One lane's writer.
struct Writer {
    shared: Arc<Shared>,
    lane: usize,
    hand: Hand,
}

#[async_trait]
impl StreamWriter for Writer {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let shared = self.shared.clone();
        let write = move |work: &mut Work| -> Result<()> {
            let records = shared.encoding.encode(&batch)?;
            match records.plain() && shared.headers.is_empty() {
                true => shared.send_all(work, &records)?,
                false => shared.send_each(work, &records)?,
            }
            work.rows += batch.num_rows() as u64;
            Ok(())
        };
        self.hand.with(write).await
    }

    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        if self.hand.rows()? == 0 && (barrier.progress.is_empty() || !self.shared.exactly_once) {
            return Ok(Flushed { token: Value::Null, rows: 0, bytes: 0 });
        }
        let (rows, bytes) = self.shared.flush(&mut self.hand, self.lane, barrier).await?;
        let token = if self.shared.exactly_once { Value::Null } else { json!({"rows": rows, "bytes": bytes}) };
        Ok(Flushed { token, rows, bytes })
    }
}
