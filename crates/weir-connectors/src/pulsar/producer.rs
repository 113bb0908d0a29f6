//! A producer of one lane for one partition: messages in, confirmed by the broker out.
//!
//! What is not confirmed is kept and sent again under the same name and numbers when a connection is lost. Where the namespace deduplicates
//! (`brokerDeduplicationEnabled`), the broker knows it again.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use chrono::Utc;
use prost::Message as _;
use pulsar::message::Payload;
use pulsar::message::proto::base_command::Type;
use pulsar::message::proto::{
    BaseCommand, CommandCloseProducer, CommandProducer, CommandSend, CompressionType, KeyValue, MessageMetadata, Schema,
    SingleMessageMetadata,
};
use weir_connect::{Error, Kind, Result, Retry};

use super::client::{Address, ONLY};
use super::config::{Compression, SinkOptions};
use super::encode::Key;
use super::errors::{garbled, told, unreachable};
use super::wire::Connection;

/// A batch is sent when it has so many bytes, uncompressed.
const BATCH_BYTES: usize = 128 << 10;
/// Bytes that may wait in the connection while more is encoded.
const UNSENT_BYTES: usize = 1 << 20;
/// What the broker counts as the message besides payload and metadata.
const FRAME_BYTES: usize = 64;
/// Lost connections in a row without a single confirmation.
const FRUITLESS: u32 = 6;

/// One message on its way.
pub struct Outgoing<'a> {
    /// Its payload.
    pub payload: &'a [u8],
    /// Its key.
    pub key: Option<Key>,
    /// Its properties.
    pub properties: Vec<KeyValue>,
    /// Its event time, milliseconds since 1970.
    pub event_time: Option<u64>,
}

/// Sent and not confirmed.
struct Sent {
    command: CommandSend,
    payload: Payload,
}

impl Sent {
    fn bytes(&self) -> usize {
        self.payload.data.len() + 256
    }

    /// The number of its last message.
    fn last(&self) -> u64 {
        self.command.highest_sequence_id.unwrap_or(self.command.sequence_id)
    }
}

/// Messages that will be stored as one entry.
#[derive(Default)]
struct Gathered {
    data: Vec<u8>,
    count: u32,
    first: u64,
}

/// A client that writes to one topic or partition.
pub struct Producer {
    address: Address,
    topic: String,
    name: String,
    compression: Compression,
    batch_messages: u32,
    chunking: bool,
    most_bytes: usize,
    patience: Duration,
    /// What the broker is told of the payloads, and the version that it gives that.
    schema: Option<Schema>,
    version: Option<Vec<u8>>,
    connection: Option<Connection>,
    epoch: u64,
    /// The number of the next message.
    next: u64,
    batch: Gathered,
    pending: VecDeque<Sent>,
    pending_bytes: usize,
    fruitless: u32,
}

impl Producer {
    /// Connects; makes the topic if the broker does so by itself. `most_bytes` may be unconfirmed.
    pub async fn new(
        address: Address,
        options: &SinkOptions,
        schema: Option<Schema>,
        topic: String,
        name: String,
        most_bytes: usize,
    ) -> Result<Self> {
        let mut producer = Self {
            address,
            topic,
            name,
            compression: options.compression,
            batch_messages: options.batch_messages.unwrap_or(1000).clamp(1, 100_000),
            chunking: options.chunking,
            most_bytes,
            patience: Duration::from_secs(options.broker_timeout_secs.unwrap_or(60).max(1)),
            schema,
            version: None,
            connection: None,
            epoch: 0,
            next: 0,
            batch: Gathered::default(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            fruitless: 0,
        };
        producer.connect().await?;
        Ok(producer)
    }

    /// Bytes that are not confirmed.
    pub fn held(&self) -> usize {
        self.pending_bytes + self.batch.data.len()
    }

    /// Connects, and sends again what the broker does not have.
    async fn connect(&mut self) -> Result<()> {
        self.connection = None;
        self.epoch += 1;
        let (address, topic, name, epoch, schema) = (&self.address, &self.topic, &self.name, self.epoch, &self.schema);
        let open = || async {
            let mut connection = address.owner(topic).await?;
            let number = connection.number();
            let request = BaseCommand {
                r#type: Type::Producer as i32,
                producer: Some(CommandProducer {
                    topic: topic.clone(),
                    producer_id: ONLY,
                    request_id: number,
                    producer_name: Some(name.clone()),
                    schema: schema.clone(),
                    epoch: Some(epoch),
                    // With a higher epoch the broker puts us in the place of the connection that was lost.
                    user_provided_producer_name: Some(false),
                    ..CommandProducer::default()
                }),
                ..BaseCommand::default()
            };
            let asked = connection.ask(request, number, |command| {
                command.producer_success.take_if(|answer| answer.request_id == number && answer.producer_ready != Some(false))
            });
            let success = address.in_time(asked, topic).await?;
            Ok((connection, success.last_sequence_id.unwrap_or(-1), success.schema_version))
        };
        let (mut connection, stored, version) =
            address.persist(self.patience, open).await.map_err(|error| error.at(topic.clone()))?;
        self.version = version.filter(|version| self.schema.is_some() && !version.is_empty());
        // Known only where the broker deduplicates; chunks share a number, of which the last may be missing.
        while self.pending.front().is_some_and(|sent| {
            i64::try_from(sent.last()).is_ok_and(|last| last <= stored) && sent.command.is_chunk != Some(true)
        }) {
            self.confirmed();
        }
        for sent in &self.pending {
            connection.send_payload(command(sent.command), sent.payload.clone())?;
        }
        self.connection = Some(connection);
        Ok(())
    }

    fn confirmed(&mut self) {
        if let Some(sent) = self.pending.pop_front() {
            self.pending_bytes -= sent.bytes();
        }
    }

    /// Takes a message; waits while too much is unconfirmed.
    pub async fn send(&mut self, message: Outgoing<'_>) -> Result<()> {
        let sequence = self.next;
        self.next += 1;
        let (key, encoded) = match message.key {
            Some(key) => (Some(key.text), key.encoded.then_some(true)),
            None => (None, None),
        };
        if message.payload.len() >= BATCH_BYTES || self.batch_messages == 1 {
            self.seal().await?;
            let metadata = MessageMetadata {
                sequence_id: sequence,
                partition_key: key,
                partition_key_b64_encoded: encoded,
                properties: message.properties,
                event_time: message.event_time,
                ..MessageMetadata::default()
            };
            return self.put(metadata, message.payload.to_vec(), None).await;
        }
        let single = SingleMessageMetadata {
            properties: message.properties,
            partition_key: key,
            partition_key_b64_encoded: encoded,
            payload_size: i32::try_from(message.payload.len()).unwrap_or(i32::MAX),
            event_time: message.event_time,
            sequence_id: Some(sequence),
            ..SingleMessageMetadata::default()
        };
        let batch = &mut self.batch;
        if batch.count == 0 {
            batch.first = sequence;
        }
        let size = u32::try_from(single.encoded_len()).unwrap_or(u32::MAX);
        batch.data.extend_from_slice(&size.to_be_bytes());
        batch.data.extend_from_slice(&single.encode_to_vec());
        batch.data.extend_from_slice(message.payload);
        batch.count += 1;
        if batch.count >= self.batch_messages || batch.data.len() >= BATCH_BYTES {
            self.seal().await?;
        }
        Ok(())
    }

    /// Sends the batch so far.
    async fn seal(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.count == 0 {
            return Ok(());
        }
        let last = batch.first + u64::from(batch.count) - 1;
        let metadata = MessageMetadata {
            sequence_id: batch.first,
            highest_sequence_id: Some(last),
            num_messages_in_batch: i32::try_from(batch.count).ok(),
            ..MessageMetadata::default()
        };
        self.put(metadata, batch.data, Some((batch.count, last))).await
    }

    async fn put(&mut self, mut metadata: MessageMetadata, plain: Vec<u8>, batch: Option<(u32, u64)>) -> Result<()> {
        metadata.producer_name.clone_from(&self.name);
        metadata.schema_version.clone_from(&self.version);
        metadata.publish_time = u64::try_from(Utc::now().timestamp_millis()).unwrap_or_default();
        let size = plain.len();
        let data = deflate(self.compression, plain)?;
        if self.compression != Compression::None {
            metadata.compression = Some(wire_name(self.compression) as i32);
            metadata.uncompressed_size = u32::try_from(size).ok();
        }
        let most = self.connection.as_ref().map_or(5 << 20, |connection| connection.max_message_bytes);
        let room = most.saturating_sub(metadata.encoded_len() + FRAME_BYTES);
        let command = CommandSend {
            producer_id: ONLY,
            sequence_id: metadata.sequence_id,
            num_messages: batch.and_then(|(count, _)| i32::try_from(count).ok()),
            highest_sequence_id: batch.map(|(_, last)| last),
            ..CommandSend::default()
        };
        if data.len() <= room {
            return self.hand_over(Sent { command, payload: Payload { metadata, data } }).await;
        }
        if !self.chunking || batch.is_some() || room < 1024 {
            let key = metadata.partition_key.map(|key| format!(", key `{}`", key.chars().take(120).collect::<String>()));
            let place = format!("{}{}, a message of {size} bytes", self.topic, key.unwrap_or_default());
            return Err(Error::new("WEIR-PULSAR-030", Kind::Limit, "a message is larger than the broker takes")
                .at(place)
                .because(format!("it takes {most} bytes with the metadata, and this has {} after compression", data.len()))
                .hint("`chunking: true` sends it in pieces; or raise the broker's `maxMessageSize`, or leave columns out"));
        }
        // The identity of a message in chunks costs a little more of the room.
        let piece = room - 256;
        let total = i32::try_from(data.len().div_ceil(piece)).unwrap_or(i32::MAX);
        metadata.uuid = Some(format!("{}-{}", self.name, metadata.sequence_id));
        metadata.num_chunks_from_msg = Some(total);
        metadata.total_chunk_msg_size = i32::try_from(data.len()).ok();
        for (id, part) in (0..).zip(data.chunks(piece)) {
            let payload = Payload { metadata: MessageMetadata { chunk_id: Some(id), ..metadata.clone() }, data: part.to_vec() };
            self.hand_over(Sent { command: CommandSend { is_chunk: Some(true), ..command }, payload }).await?;
        }
        Ok(())
    }

    async fn hand_over(&mut self, sent: Sent) -> Result<()> {
        while self.pending_bytes > 0 && self.pending_bytes + sent.bytes() > self.most_bytes {
            self.receipt().await?;
        }
        let (order, payload) = (command(sent.command), sent.payload.clone());
        self.pending_bytes += sent.bytes();
        self.pending.push_back(sent);
        let delivered = match &mut self.connection {
            Some(connection) => {
                connection.send_payload(order, payload)?;
                connection.drain(UNSENT_BYTES).await
            }
            None => return Err(Error::internal("a producer was used after an error")),
        };
        self.or_again(delivered).await
    }

    /// A connection that was lost is made again, and what it lost is sent again.
    async fn or_again(&mut self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(error) if error.retryable() == Retry::Transient && self.fruitless < FRUITLESS => {
                self.fruitless += 1;
                tracing::debug!(target: "weir::pulsar", "{}: {error}; {} sends are repeated", self.topic, self.pending.len());
                self.connect().await
            }
            Err(error) => {
                self.connection = None;
                Err(error.at(self.topic.clone()))
            }
            Ok(()) => Ok(()),
        }
    }

    /// Waits for one word of the broker.
    async fn receipt(&mut self) -> Result<()> {
        let Some(connection) = &mut self.connection else { return Err(Error::internal("a producer was used after an error")) };
        let received = match tokio::time::timeout(self.patience, connection.receive()).await {
            Ok(received) => received,
            Err(_) => Err(unreachable(&self.topic, format!("nothing was confirmed for {} s", self.patience.as_secs()))),
        };
        let heard = received.and_then(|message| self.heard(message.command));
        self.or_again(heard).await
    }

    fn heard(&mut self, command: BaseCommand) -> Result<()> {
        if let Some(receipt) = command.send_receipt {
            match self.pending.front() {
                Some(sent) if sent.command.sequence_id == receipt.sequence_id => {
                    self.fruitless = 0;
                    self.confirmed();
                }
                // Of something that was confirmed before a connection was lost.
                Some(sent) if receipt.sequence_id < sent.command.sequence_id => {}
                None => {}
                Some(_) => return Err(garbled(&self.topic, "a message was confirmed that is not the next one")),
            }
        } else if let Some(error) = command.send_error {
            return Err(told(error.error, &error.message, &self.topic));
        } else if command.close_producer.is_some() {
            return Err(unreachable(&self.topic, "the topic moves to another broker"));
        } else if let Some(error) = command.error {
            return Err(told(error.error, &error.message, &self.topic));
        }
        Ok(())
    }

    /// Sends what was gathered and waits until the broker has confirmed everything.
    pub async fn flush(&mut self) -> Result<()> {
        self.seal().await?;
        while !self.pending.is_empty() {
            self.receipt().await?;
        }
        Ok(())
    }

    /// Says goodbye, so that the broker need not find out.
    pub async fn close(mut self) {
        if let Some(mut connection) = self.connection.take() {
            let number = connection.number();
            let goodbye = BaseCommand {
                r#type: Type::CloseProducer as i32,
                close_producer: Some(CommandCloseProducer { producer_id: ONLY, request_id: number }),
                ..BaseCommand::default()
            };
            if connection.send(goodbye).is_ok() {
                let _it_finds_out = tokio::time::timeout(Duration::from_secs(1), connection.drain(0)).await;
            }
        }
    }
}

fn command(send: CommandSend) -> BaseCommand {
    BaseCommand { r#type: Type::Send as i32, send: Some(send), ..BaseCommand::default() }
}

fn wire_name(compression: Compression) -> CompressionType {
    match compression {
        Compression::None => CompressionType::None,
        Compression::Lz4 => CompressionType::Lz4,
        Compression::Zlib => CompressionType::Zlib,
        Compression::Zstd => CompressionType::Zstd,
        Compression::Snappy => CompressionType::Snappy,
    }
}

fn deflate(compression: Compression, plain: Vec<u8>) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| Error::internal("a message cannot be compressed").because(error);
    match compression {
        Compression::None => Ok(plain),
        Compression::Lz4 => Ok(lz4_flex::block::compress(&plain)),
        Compression::Zstd => zstd::bulk::compress(&plain, 3).map_err(failed),
        Compression::Snappy => snap::raw::Encoder::new()
            .compress_vec(&plain)
            .map_err(|error| Error::internal("a message cannot be compressed").because(error)),
        Compression::Zlib => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&plain).and_then(|()| encoder.finish()).map_err(failed)
        }
    }
}
