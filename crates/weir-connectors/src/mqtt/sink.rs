//! Writing: messages go out one after the other, many on their way at once; a flush waits until the broker has confirmed each (PUBACK).
//!
//! What the broker has confirmed it gives to its subscribers; it cannot be taken back, so rows of an interrupted epoch come twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use serde_json::json;
use weir_connect::{
    Barrier, CommitKind, CommitReport, CommitToken, Error, Flushed, Kind, Recovery, Result, Sink, SinkCapabilities, SinkType,
    StreamSink, StreamTarget, StreamWriter, WriteMode,
};

use super::config::{SinkOptions, is_topic, wrong};
use super::connection::{Address, Connection, Hello};
use super::errors::{lost, rejected, unreachable};
use super::packet::{self, Ack, Incoming, Publish, Qos, Version};
use crate::messages::{Encoding, SinkFormat};

/// Messages that may be on their way, if the broker allows so many.
const ON_THEIR_WAY: usize = 4096;
/// Bytes that are sent at once.
const CHUNK: usize = 64 << 10;
/// A connection that nobody has used for so long is made anew: the broker, or something in between, may have given it up.
const STALE: Duration = Duration::from_secs(20);
/// What a broker may send to one who only writes.
const ANSWER_BYTES: usize = 1 << 20;

/// A configured sink.
pub struct MqttSink {
    address: Address,
    options: SinkOptions,
}

impl MqttSink {
    /// Connects later.
    pub fn new(address: Address, options: SinkOptions) -> Self {
        Self { address, options }
    }
}

#[async_trait]
impl Sink for MqttSink {
    fn capabilities(&self, _mode: WriteMode) -> SinkCapabilities {
        SinkCapabilities {
            commit: CommitKind::Append,
            commit_note: "mqtt gives what it has confirmed to its subscribers: rows of an interrupted epoch come twice".into(),
            write_modes: vec![WriteMode::Append],
        }
    }

    fn sink_type(&self, field: &Field) -> SinkType {
        match self.options.format {
            SinkFormat::Csv => weir_formats::sink_type(weir_formats::Format::Csv, field),
            _ => weir_formats::sink_type(weir_formats::Format::Ndjson, field),
        }
    }

    fn place(&self, stream: &str) -> String {
        match self.options.topic_of(stream) {
            Some(topic) => format!("topic {topic} at {}", self.address.place()),
            None => format!("topics of a column at {}", self.address.place()),
        }
    }

    /// A broker has no topics to make.
    async fn preview(&self, _target: &StreamTarget) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        let topic = match (self.options.topic_of(&target.stream), &self.options.topic_column) {
            (Some(topic), _) if is_topic(&topic) => Topic::All(topic),
            (Some(topic), _) => {
                return Err(wrong(format!("`{topic}` is no topic to write to"), "give one without wildcards as `topic`"));
            }
            (None, name) => {
                let name = name.as_deref().unwrap_or_default();
                Topic::Column(target.schema.index_of(name).map_err(|_| {
                    let columns: Vec<&str> = target.schema.fields().iter().map(|field| field.name().as_str()).collect();
                    Error::new("WEIR-MQTT-020", Kind::Schema, format!("`topic_column` `{name}` is no column of the stream"))
                        .hint(format!("columns are: {}", columns.join(", ")))
                })?)
            }
        };
        if !self.options.headers.is_empty() && self.address.version() == Version::V311 {
            return Err(wrong("`headers` needs MQTT 5", "set `protocol_version: v5`, or drop them"));
        }
        let shared = Shared {
            encoding: Encoding::new(self.options.format, &target.schema)?,
            headers: self.options.headers.clone().into_iter().collect(),
            buffer: usize::try_from(self.options.max_buffer_bytes.unwrap_or(8 << 20)).unwrap_or(8 << 20),
            patience: Duration::from_secs(self.options.ack_timeout_secs.unwrap_or(30).max(1)),
            address: self.address.clone(),
            retain: self.options.retain,
            topic,
        };
        // Whether it can be written to is known before a row is read.
        shared.connect().await?.close(true).await;
        Ok(Box::new(MqttStream { place: self.place(&target.stream), shared: Arc::new(shared) }))
    }
}

enum Topic {
    All(String),
    Column(usize),
}

/// What the lanes of one stream share.
struct Shared {
    address: Address,
    encoding: Encoding,
    topic: Topic,
    headers: Vec<(String, String)>,
    retain: bool,
    buffer: usize,
    patience: Duration,
}

impl Shared {
    async fn connect(&self) -> Result<Connection> {
        let connection = self.address.connect(&Hello::guest(), ANSWER_BYTES).await?;
        let refuse = |what: &str, hint: &str| {
            Err(Error::new("WEIR-MQTT-006", Kind::Unsupported, what.to_owned()).at(self.address.place()).hint(hint.to_owned()))
        };
        if connection.limits.qos == 0 {
            return refuse("the broker confirms no messages", "it offers quality 0 only, with which messages are lost silently");
        }
        if self.retain && !connection.limits.retain {
            return refuse("the broker retains no messages", "drop `retain`");
        }
        Ok(connection)
    }
}

struct MqttStream {
    place: String,
    shared: Arc<Shared>,
}

#[async_trait]
impl StreamSink for MqttStream {
    async fn recover(&self) -> Result<Recovery> {
        Ok(Recovery::default())
    }

    async fn discard(&self, _keep: &[CommitToken]) -> Result<()> {
        Ok(())
    }

    async fn writer(&self, _lane: usize) -> Result<Box<dyn StreamWriter>> {
        Ok(Box::new(Writer {
            shared: self.shared.clone(),
            connection: None,
            used: Instant::now(),
            out: BytesMut::new(),
            waiting: HashMap::new(),
            next: 1,
            held: 0,
            rows: 0,
            bytes: 0,
            unheard: false,
        }))
    }

    async fn commit(&self, tokens: &[CommitToken]) -> Result<CommitReport> {
        let mut report = CommitReport { rows: 0, bytes: 0, objects: 1, place: self.place.clone() };
        for token in tokens {
            report.rows += token.get("rows").and_then(serde_json::Value::as_u64).unwrap_or(0);
            report.bytes += token.get("bytes").and_then(serde_json::Value::as_u64).unwrap_or(0);
        }
        Ok(report)
    }
}

/// One lane's writer.
struct Writer {
    shared: Arc<Shared>,
    connection: Option<Connection>,
    used: Instant,
    out: BytesMut,
    /// Bytes of every message that is not confirmed, by its packet.
    waiting: HashMap<u16, usize>,
    /// The number to try next.
    next: u16,
    /// Bytes of those.
    held: usize,
    /// Confirmed since the last flush.
    rows: u64,
    bytes: u64,
    /// It was told that nobody listens.
    unheard: bool,
}

impl Writer {
    /// A connection that is fit to be written to.
    async fn ready(&mut self) -> Result<usize> {
        if self.waiting.is_empty() && self.used.elapsed() > STALE {
            self.connection = None;
        }
        if self.connection.is_none() && !self.waiting.is_empty() {
            return Err(Error::internal("a writer was used after an error"));
        }
        self.used = Instant::now();
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.shared.connect().await?,
        };
        let window = usize::from(connection.limits.receive_maximum).min(ON_THEIR_WAY);
        self.connection = Some(connection);
        Ok(window)
    }

    fn connection(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(|| Error::internal("a writer was used after an error"))
    }

    /// Takes answers: at least one if `wait`, and all that are there.
    async fn answers(&mut self, mut wait: bool) -> Result<()> {
        let patience = self.shared.patience;
        loop {
            let connection = self.connection()?;
            let packet = if wait {
                match tokio::time::timeout(patience, connection.next()).await {
                    Ok(packet) => packet?,
                    Err(_) => {
                        let silent = format!("a message was not confirmed within {} s", patience.as_secs());
                        return Err(unreachable(connection.place(), silent));
                    }
                }
            } else {
                match connection.next().now_or_never() {
                    Some(packet) => packet?,
                    None => return Ok(()),
                }
            };
            match packet {
                Incoming::Ack { kind: Ack::Received, id, code } => {
                    let Some(bytes) = self.waiting.remove(&id) else { continue };
                    self.held -= bytes;
                    if code >= 0x80 {
                        let place = self.connection()?.place().to_owned();
                        return Err(rejected(&place, "a message's topic", code));
                    }
                    if code == 0x10 && !self.shared.retain && !self.unheard {
                        self.unheard = true;
                        tracing::warn!(target: "weir::mqtt", "nobody subscribes to what is written: the broker keeps none of it");
                    }
                    self.rows += 1;
                    self.bytes += bytes as u64;
                    wait = false;
                }
                Incoming::Disconnect(code) => {
                    let place = self.connection()?.place().to_owned();
                    return Err(match code {
                        // Not authorised, a topic or quality it does not take, too large a packet, a quota.
                        0x87 | 0x90 | 0x95 | 0x97 | 0x9A | 0x9B => rejected(&place, "a message", code),
                        _ => lost(&place, format!("the broker ended it with code {code:#04x}")),
                    });
                }
                _ => {}
            }
        }
    }

    async fn send(&mut self) -> Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let mut out = std::mem::take(&mut self.out);
        let sent = self.connection()?.send(&mut out).await;
        self.out = out;
        sent
    }

    /// A free number for a packet. There is one: fewer are on their way than there are numbers.
    fn number(&mut self) -> u16 {
        while self.waiting.contains_key(&self.next) {
            self.next = self.next.checked_add(1).unwrap_or(1);
        }
        let id = self.next;
        self.next = self.next.checked_add(1).unwrap_or(1);
        id
    }

    async fn message(&mut self, window: usize, topic: &str, payload: Bytes) -> Result<()> {
        let bytes = payload.len();
        while !self.waiting.is_empty() && (self.held + bytes > self.shared.buffer || self.waiting.len() >= window) {
            self.send().await?;
            self.answers(true).await?;
        }
        let message = Publish {
            duplicate: false,
            qos: Qos::AtLeastOnce,
            retain: self.shared.retain,
            topic: topic.to_owned(),
            id: self.number(),
            properties: self.shared.headers.clone(),
            payload,
        };
        let (version, limit) = (self.connection()?.version(), self.connection()?.limits.packet_bytes);
        let written = packet::publish(&mut self.out, version, &message);
        // The fixed header takes five bytes at most, and a packet 268,435,455 beside it (2.1.4).
        if written > 268_435_455 || written + 5 > usize::try_from(limit).unwrap_or(usize::MAX) {
            return Err(Error::new(
                "WEIR-MQTT-030",
                Kind::Limit,
                format!("a row makes a message of {written} bytes, and the broker takes {limit}"),
            )
            .at(self.shared.address.place())
            .hint("raise the broker's largest packet, or leave columns out"));
        }
        self.waiting.insert(message.id, bytes);
        self.held += bytes;
        if self.out.len() >= CHUNK {
            self.send().await?;
            self.answers(false).await?;
        }
        Ok(())
    }

    async fn rows(&mut self, batch: &RecordBatch) -> Result<()> {
        let shared = self.shared.clone();
        let payloads = shared.encoding.encode(batch)?;
        let topics = match &shared.topic {
            Topic::All(_) => None,
            Topic::Column(at) => Some(topics(batch, *at)?),
        };
        let window = self.ready().await?;
        for row in 0..payloads.count() {
            let topic = match (&shared.topic, &topics) {
                (Topic::All(topic), _) => topic.as_str(),
                (_, Some(topics)) => topics.value(row),
                (_, None) => return Err(Error::internal("a message has no topic")),
            };
            if !is_topic(topic) {
                return Err(Error::new("WEIR-MQTT-021", Kind::Data, format!("`{topic}` is no topic to write to"))
                    .hint("topics have no wildcards and are not empty; map the column with `sql`"));
            }
            self.message(window, topic, payloads.get(row)).await?;
        }
        Ok(())
    }

    async fn confirmed(&mut self) -> Result<()> {
        while !self.waiting.is_empty() {
            self.send().await?;
            self.answers(true).await?;
        }
        self.used = Instant::now();
        Ok(())
    }
}

fn topics(batch: &RecordBatch, at: usize) -> Result<StringArray> {
    let name = batch.schema().field(at).name().clone();
    let cast = cast_with_options(batch.column(at), &DataType::Utf8, &CastOptions { safe: false, ..CastOptions::default() })
        .map_err(|error| {
            Error::new("WEIR-MQTT-021", Kind::Data, format!("a topic cannot be made of column `{name}`")).because(error)
        })?;
    let texts: StringArray = cast.as_string::<i32>().clone();
    if texts.logical_null_count() > 0 {
        return Err(Error::new(
            "WEIR-MQTT-021",
            Kind::Data,
            format!("a row has no value in column `{name}`, which is its topic"),
        )
        .hint("filter such rows out, or choose another column"));
    }
    Ok(texts)
}

#[async_trait]
impl StreamWriter for Writer {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let written = self.rows(&batch).await;
        if written.is_err() {
            self.connection = None;
        }
        written
    }

    async fn flush(&mut self, _barrier: &Barrier) -> Result<Flushed> {
        let confirmed = self.confirmed().await;
        if confirmed.is_err() {
            self.connection = None;
        }
        confirmed?;
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
        let token = if rows == 0 { serde_json::Value::Null } else { json!({"rows": rows, "bytes": bytes}) };
        Ok(Flushed { token, rows, bytes })
    }

    fn buffered_bytes(&self) -> usize {
        self.held
    }
}
