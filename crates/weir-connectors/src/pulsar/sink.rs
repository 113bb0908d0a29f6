//! Writing: a lane has a producer per partition, and a flush waits until the broker has confirmed every message.
//!
//! The broker knows no progress of ours: what was sent after the last checkpoint is sent again after a crash. A producer's name is new with every
//! attempt, because rows come in another order then, and numbers by which the broker would know messages again would be given to others.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use async_trait::async_trait;
use pulsar::message::proto::Schema;
use pulsar::message::proto::schema::Type as SchemaType;
use serde_json::{Value, json};
use weir_connect::{
    Barrier, CommitKind, CommitReport, CommitToken, Error, Flushed, Kind, Recovery, Result, Sink, SinkCapabilities, SinkType,
    StreamSink, StreamTarget, StreamWriter, WriteMode, failpoint,
};

use super::admin::Admin;
use super::client::Address;
use super::config::{SinkFormat, SinkOptions};
use super::encode::{Messages, partition_of};
use super::errors::{missing, wrong};
use super::names::Topic;
use super::producer::{Outgoing, Producer};
use super::schema::announced::Announced;
use super::schema::kept::{Kept, word};

/// A configured sink.
pub struct PulsarSink {
    address: Address,
    options: SinkOptions,
    node: String,
}

impl PulsarSink {
    /// Connects later.
    pub fn new(address: Address, options: SinkOptions, node: String) -> Self {
        Self { address, options, node }
    }

    fn topic(&self, stream: &str) -> Result<Topic> {
        self.address.topic(&self.options.topic_of(stream))
    }

    /// What is to be made; `None`: the topic is there.
    async fn lacking(&self, topic: &Topic) -> Result<Option<String>> {
        if self.address.exists(topic).await? {
            return Ok(None);
        }
        if self.options.create_topic == Some(false) {
            return Err(missing(&topic.to_string()).at(self.address.place()).hint("make it, or let `create_topic: true` do so"));
        }
        match self.options.partitions {
            Some(_) if self.address.options().admin_url.is_none() => Err(wrong(
                "a topic with `partitions` is made through the admin interface",
                "give the connection its `admin_url`, make the topic yourself, or leave `partitions` out",
            )),
            Some(count) => Ok(Some(format!("create topic {topic} with {count} partitions"))),
            None => Ok(Some(format!("create topic {topic}"))),
        }
    }
}

#[async_trait]
impl Sink for PulsarSink {
    fn capabilities(&self, mode: WriteMode) -> SinkCapabilities {
        let (commit, commit_note) = if mode == WriteMode::Upsert {
            (CommitKind::Idempotent, "pulsar: who reads the compacted topic sees the last message of each key")
        } else {
            (CommitKind::Append, "pulsar keeps what it is sent: rows of an interrupted epoch come twice")
        };
        let write_modes = vec![WriteMode::Append, WriteMode::Upsert];
        SinkCapabilities { commit, commit_note: commit_note.to_owned(), write_modes }
    }

    fn sink_type(&self, field: &Field) -> SinkType {
        weir_formats::sink_type(self.options.format.of_files(), field)
    }

    fn place(&self, stream: &str) -> String {
        let topic = self.topic(stream).map_or_else(|_| self.options.topic_of(stream), |topic| topic.to_string());
        format!("topic {topic} at {}", self.address.place())
    }

    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>> {
        Ok(self.lacking(&self.topic(&target.stream)?).await?.into_iter().collect())
    }

    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        let topic = self.topic(&target.stream)?;
        let key =
            if self.options.key.is_empty() && target.write_mode == WriteMode::Upsert { &target.key } else { &self.options.key };
        if self.lacking(&topic).await?.is_some()
            && let Some(partitions) = self.options.partitions
            && let Some(admin) = Admin::of(&self.address)?
        {
            admin.create(&topic, partitions).await?;
        }
        let newest = self.address.schema(&topic).await?;
        writable(&topic, self.options.format, newest.as_ref().map(Kept::kind))?;
        let announced = Announced::new(&self.options, &target.schema, newest.as_ref())?;
        let messages = Messages::new(&self.options, &target.schema, key, target.write_mode, &announced)?;
        let partitions = match self.address.partitions(&topic).await? {
            0 => vec![topic.partition(None)],
            count => (0..count).map(|number| topic.partition(Some(number))).collect(),
        };
        let shared = Shared {
            address: self.address.clone(),
            options: self.options.clone(),
            name: format!("weir-{}-{}-{}", plain(&target.run.pipeline), plain(&self.node), uuid::Uuid::new_v4().simple()),
            partitions,
            messages,
            schema: announced.schema,
        };
        Ok(Box::new(PulsarStream { place: self.place(&target.stream), shared: Arc::new(shared) }))
    }
}

/// Whether the topic takes what is written, as far as the broker knows what its messages are.
fn writable(topic: &Topic, format: SinkFormat, schema: Option<SchemaType>) -> Result<()> {
    let Some(kind) = schema else { return Ok(()) };
    let fits = match format {
        SinkFormat::Avro => kind == SchemaType::Avro,
        _ => matches!(kind, SchemaType::Json | SchemaType::String),
    };
    if fits {
        return Ok(());
    }
    let what = format!("the topic's messages have a schema of the kind {}, which this is not", word(kind));
    let hint = match kind {
        SchemaType::Avro => "`format: avro` writes Avro; or choose another topic",
        _ => "AVRO is written with `format: avro`, JSON, STRING and topics without schema with the others; choose another topic",
    };
    Err(Error::new("WEIR-PULSAR-007", Kind::Unsupported, what).at(topic.to_string()).hint(hint))
}

/// What may be in a name anywhere.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).take(60).collect()
}

/// What the lanes of one stream share.
struct Shared {
    address: Address,
    options: SinkOptions,
    /// What the producers' names begin with.
    name: String,
    partitions: Vec<String>,
    messages: Messages,
    /// What producers tell the broker of them.
    schema: Option<Schema>,
}

/// One stream's way into its topic, for one run.
struct PulsarStream {
    place: String,
    shared: Arc<Shared>,
}

#[async_trait]
impl StreamSink for PulsarStream {
    async fn recover(&self) -> Result<Recovery> {
        Ok(Recovery::default())
    }

    async fn discard(&self, _keep: &[CommitToken]) -> Result<()> {
        Ok(())
    }

    async fn writer(&self, lane: usize) -> Result<Box<dyn StreamWriter>> {
        let shared = &self.shared;
        let all = usize::try_from(shared.options.max_buffer_bytes.unwrap_or(32 << 20)).unwrap_or(usize::MAX);
        let share = (all / shared.partitions.len().max(1)).max(64 << 10);
        // Two writers of one lane may overlap for a moment.
        let id = uuid::Uuid::new_v4().simple();
        let mut producers = Vec::with_capacity(shared.partitions.len());
        for partition in &shared.partitions {
            let name = format!("{}-{lane}-{id}", shared.name);
            let (address, schema) = (shared.address.clone(), shared.schema.clone());
            producers.push(Producer::new(address, &shared.options, schema, partition.clone(), name, share).await?);
        }
        Ok(Box::new(Writer { shared: shared.clone(), producers, turn: lane, rows: 0, bytes: 0 }))
    }

    async fn commit(&self, tokens: &[CommitToken]) -> Result<CommitReport> {
        let sum = |name: &str| tokens.iter().filter_map(|token| token.get(name).and_then(Value::as_u64)).sum();
        Ok(CommitReport { rows: sum("rows"), bytes: sum("bytes"), objects: 1, place: self.place.clone() })
    }
}

/// One lane's writer.
struct Writer {
    shared: Arc<Shared>,
    /// One per partition.
    producers: Vec<Producer>,
    /// Where rows without a key go next.
    turn: usize,
    /// Since the last flush.
    rows: u64,
    bytes: u64,
}

#[async_trait]
impl StreamWriter for Writer {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let encoded = self.shared.messages.encode(&batch)?;
        let partitions = self.producers.len();
        for row in 0..encoded.count() {
            let (payload, key) = (encoded.payload(row), encoded.key(row));
            let partition = match &key {
                Some(key) => partition_of(&key.text, partitions),
                None => self.turn % partitions.max(1),
            };
            self.bytes += (payload.len() + key.as_ref().map_or(0, |key| key.text.len())) as u64;
            let Some(producer) = self.producers.get_mut(partition) else {
                return Err(Error::internal("a topic of no partitions"));
            };
            let (properties, event_time) = (encoded.properties(row), encoded.event_time(row));
            producer.send(Outgoing { payload, key, properties, event_time }).await?;
        }
        self.rows += batch.num_rows() as u64;
        // Rows without a key change the partition with the batch, so that they still share entries.
        self.turn += 1;
        Ok(())
    }

    async fn flush(&mut self, _barrier: &Barrier) -> Result<Flushed> {
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
        if rows == 0 {
            return Ok(Flushed { token: Value::Null, rows: 0, bytes: 0 });
        }
        failpoint!("pulsar.flush.before");
        for producer in &mut self.producers {
            producer.flush().await?;
        }
        failpoint!("pulsar.flush.after");
        Ok(Flushed { token: json!({"rows": rows, "bytes": bytes}), rows, bytes })
    }

    fn buffered_bytes(&self) -> usize {
        self.producers.iter().map(Producer::held).sum()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let producers = std::mem::take(&mut self.producers);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for producer in producers {
                    producer.close().await;
                }
            });
        }
    }
}
