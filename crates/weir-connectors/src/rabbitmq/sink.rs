//! Writing: a row is a message, a flush waits until the broker has confirmed every one.
//!
//! A message that no queue takes comes back before its confirmation (`mandatory`) and ends the run. A broker knows no message twice, so what comes
//! again after a crash is a second message.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, SchemaRef};
use async_trait::async_trait;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, ExchangeKind, PublisherConfirm};
use weir_connect::{
    Barrier, CommitKind, CommitReport, CommitToken, Error, Flushed, Kind, Recovery, Result, Sink, SinkCapabilities, SinkType,
    StreamSink, StreamTarget, StreamWriter, WriteMode, failpoint,
};

use super::client::{Address, Link};
use super::config::{SinkOptions, short};
use super::errors::{shown, unreachable};
use crate::messages::{Encoding, SinkFormat};

/// A configured sink.
pub struct RabbitmqSink {
    address: Address,
    options: SinkOptions,
}

impl RabbitmqSink {
    /// Connects later.
    pub fn new(address: Address, options: SinkOptions) -> Self {
        Self { address, options }
    }

    fn exchange(&self) -> &str {
        self.options.exchange.as_deref().unwrap_or_default()
    }

    /// Whether what is written to is there, as far as one name says it.
    async fn look(&self, link: &Link, stream: &str) -> Result<()> {
        let channel = link.channel().await?;
        let place = self.place(stream);
        let asked = async {
            if !self.exchange().is_empty() {
                let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                let name = short("exchange", self.exchange())?;
                let declaring = channel.exchange_declare(name, ExchangeKind::Direct, passive, FieldTable::default());
                declaring.await.map_err(|error| shown(&error, &place))
            } else if self.options.routing_key_column.is_none() && self.options.mandatory.unwrap_or(true) {
                let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                let name = short("routing_key", &self.options.key_of(stream))?;
                let declaring = channel.queue_declare(name, passive, FieldTable::default());
                declaring.await.map(drop).map_err(|error| shown(&error, &place))
            } else {
                Ok(())
            }
        };
        tokio::time::timeout(link.patience(), asked).await.map_err(|_| unreachable(&place, "the broker is silent"))?
    }
}

#[async_trait]
impl Sink for RabbitmqSink {
    fn capabilities(&self, _mode: WriteMode) -> SinkCapabilities {
        SinkCapabilities {
            commit: CommitKind::Append,
            commit_note: match &self.options.message_id_column {
                Some(column) => {
                    format!(
                        "rabbitmq takes a message twice if it comes twice; readers can tell by its id, from the column {column}"
                    )
                }
                None => "rabbitmq takes a message twice if it comes twice: those of an interrupted epoch do".into(),
            },
            write_modes: vec![WriteMode::Append],
        }
    }

    fn sink_type(&self, field: &Field) -> SinkType {
        let format = match self.options.format {
            SinkFormat::Csv => weir_formats::Format::Csv,
            _ => weir_formats::Format::Ndjson,
        };
        weir_formats::sink_type(format, field)
    }

    fn place(&self, stream: &str) -> String {
        let key = match &self.options.routing_key_column {
            Some(column) => format!("the key in {column}"),
            None => self.options.key_of(stream),
        };
        let at = format!("{} {}", self.address.place(), self.address.virtual_host());
        if self.exchange().is_empty() {
            format!("queue {key} at {at}")
        } else {
            format!("exchange {} with {key} at {at}", self.exchange())
        }
    }

    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>> {
        let link = self.address.connect().await?;
        self.look(&link, &target.stream).await?;
        link.close().await;
        Ok(Vec::new())
    }

    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        let columns = Columns::new(&self.options, &target.schema)?;
        let encoding = Encoding::new(self.options.format, &target.schema)?;
        let mut headers = FieldTable::default();
        for (name, value) in &self.options.headers {
            headers.insert(short("headers", name)?, AMQPValue::LongString(value.as_bytes().into()));
        }
        let link = self.address.connect().await?;
        self.look(&link, &target.stream).await?;
        let shared = Shared {
            exchange: short("exchange", self.exchange())?,
            key: short("routing_key", &self.options.key_of(&target.stream))?,
            place: self.place(&target.stream),
            options: self.options.clone(),
            headers,
            link,
            columns,
            encoding,
        };
        Ok(Box::new(RabbitmqStream { shared: Arc::new(shared) }))
    }
}

/// Columns that say something of their row's message.
struct Columns {
    key: Option<usize>,
    id: Option<usize>,
}

impl Columns {
    fn new(options: &SinkOptions, schema: &SchemaRef) -> Result<Self> {
        let place = |name: &Option<String>, option: &str| {
            let Some(name) = name else { return Ok(None) };
            schema.index_of(name).map(Some).map_err(|_| {
                let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                Error::new("WEIR-RABBITMQ-024", Kind::Schema, format!("`{option}` `{name}` is no column of the stream"))
                    .hint(format!("columns are: {}", columns.join(", ")))
            })
        };
        Ok(Self {
            key: place(&options.routing_key_column, "routing_key_column")?,
            id: place(&options.message_id_column, "message_id_column")?,
        })
    }
}

/// A column as texts.
fn texts(batch: &RecordBatch, at: Option<usize>) -> Result<Option<StringArray>> {
    let Some(at) = at else { return Ok(None) };
    let column = cast(batch.column(at), &DataType::Utf8).map_err(|error| {
        let what = format!("the column `{}` cannot be written as a text", batch.schema().field(at).name());
        Error::new("WEIR-RABBITMQ-025", Kind::Data, what).because(error)
    })?;
    Ok(Some(column.as_string().clone()))
}

/// A text of a row as AMQP has it.
fn short_value(what: &str, text: &str) -> Result<ShortString> {
    ShortString::try_new(text).map_err(|_| {
        Error::new("WEIR-RABBITMQ-025", Kind::Data, format!("a row has a {what} of {} bytes", text.len()))
            .hint("AMQP allows 255 bytes")
    })
}

struct Shared {
    link: Link,
    options: SinkOptions,
    exchange: ShortString,
    key: ShortString,
    place: String,
    headers: FieldTable,
    columns: Columns,
    encoding: Encoding,
}

impl Shared {
    fn properties(&self) -> BasicProperties {
        let content_type = match self.options.format {
            SinkFormat::Json => "application/json",
            SinkFormat::Csv => "text/csv",
            SinkFormat::Text => "text/plain",
            SinkFormat::Raw => "application/octet-stream",
        };
        let mode = if self.options.persistent.unwrap_or(true) { 2 } else { 1 };
        let properties = BasicProperties::default().with_content_type(content_type.into()).with_delivery_mode(mode);
        if self.headers.inner().is_empty() { properties } else { properties.with_headers(self.headers.clone()) }
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.options.confirm_timeout_secs.unwrap_or(60).max(1))
    }

    /// Nothing was heard of a message.
    fn unconfirmed(&self) -> Error {
        let why = match self.link.blocked() {
            Some(reason) => format!("the broker has blocked the connection: {reason}"),
            None => format!("nothing was heard for {} s", self.patience().as_secs()),
        };
        Error::new("WEIR-RABBITMQ-034", Kind::Limit, "the broker does not confirm messages")
            .at(self.place.clone())
            .because(why)
            .hint("a broker that is short of memory or disk takes no messages until that is over (`rabbitmqctl status`)")
            .transient()
    }
}

/// One stream's way to its exchange, for one run.
struct RabbitmqStream {
    shared: Arc<Shared>,
}

#[async_trait]
impl StreamSink for RabbitmqStream {
    async fn recover(&self) -> Result<Recovery> {
        Ok(Recovery::default())
    }

    /// Messages that were published are gone to their queues: they come again, which is what this sink promises.
    async fn discard(&self, _keep: &[CommitToken]) -> Result<()> {
        Ok(())
    }

    async fn writer(&self, _lane: usize) -> Result<Box<dyn StreamWriter>> {
        let shared = self.shared.clone();
        let channel = shared.link.channel().await?;
        let confirming = tokio::time::timeout(shared.link.patience(), channel.confirm_select(ConfirmSelectOptions::default()));
        confirming
            .await
            .map_err(|_| unreachable(&shared.place, "the broker is silent"))?
            .map_err(|error| shown(&error, &shared.place))?;
        Ok(Box::new(Writer { shared, channel, waiting: VecDeque::new(), held: 0, rows: 0, bytes: 0, broken: false }))
    }

    async fn commit(&self, tokens: &[CommitToken]) -> Result<CommitReport> {
        let mut report = CommitReport { rows: 0, bytes: 0, objects: 1, place: self.shared.place.clone() };
        for token in tokens {
            report.rows += token.get("rows").and_then(serde_json::Value::as_u64).unwrap_or(0);
            report.bytes += token.get("bytes").and_then(serde_json::Value::as_u64).unwrap_or(0);
        }
        Ok(report)
    }
}

/// Bytes that a message takes here besides its payload, about.
const OVERHEAD: usize = 256;

/// One lane's writer.
struct Writer {
    shared: Arc<Shared>,
    channel: Channel,
    /// Messages that are not confirmed, with their sizes, in their order.
    waiting: VecDeque<(PublisherConfirm, usize)>,
    /// Bytes in `waiting`.
    held: usize,
    /// Since the last flush.
    rows: u64,
    bytes: u64,
    /// Something was not taken: what comes after it must not be either.
    broken: bool,
}

impl Writer {
    async fn publish(&mut self, key: ShortString, payload: &[u8], properties: BasicProperties) -> Result<()> {
        let options = BasicPublishOptions { mandatory: self.shared.options.mandatory.unwrap_or(true), immediate: false };
        let publishing = self.channel.basic_publish(self.shared.exchange.clone(), key, options, payload, properties);
        let confirm = tokio::time::timeout(self.shared.patience(), publishing)
            .await
            .map_err(|_| self.shared.unconfirmed())?
            .map_err(|error| shown(&error, &self.shared.place))?;
        let size = payload.len() + OVERHEAD;
        self.held += size;
        self.waiting.push_back((confirm, size));
        self.rows += 1;
        self.bytes += payload.len() as u64;
        Ok(())
    }

    /// Waits for confirmations until no more than so many bytes are without.
    async fn settle(&mut self, most: usize) -> Result<()> {
        while self.held > most {
            let Some((confirm, size)) = self.waiting.pop_front() else { break };
            self.held -= size;
            let answered = tokio::time::timeout(self.shared.patience(), confirm).await;
            let answered = answered.map_err(|_| self.shared.unconfirmed())?.map_err(|error| shown(&error, &self.shared.place))?;
            match answered {
                Confirmation::Ack(None) => {}
                Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
                    let key = &returned.delivery.routing_key;
                    let what = format!("no queue takes messages with the routing key `{key}`");
                    return Err(Error::new("WEIR-RABBITMQ-032", Kind::NotFound, what)
                        .at(self.shared.place.clone())
                        .because(format!("{} {}", returned.reply_code, returned.reply_text))
                        .hint("bind a queue to the exchange for this key; `mandatory: false` lets the broker throw such messages away"));
                }
                Confirmation::Nack(None) => {
                    return Err(Error::new("WEIR-RABBITMQ-033", Kind::Limit, "the broker refuses a message")
                        .at(self.shared.place.clone())
                        .because("it answered with a nack")
                        .hint("a queue may be full (`x-overflow: reject-publish`), or the broker in trouble: see its log")
                        .transient());
                }
                Confirmation::NotRequested => {
                    return Err(Error::internal("a message was published without asking for its confirmation"));
                }
            }
        }
        Ok(())
    }

    async fn rows(&mut self, batch: &RecordBatch) -> Result<()> {
        let shared = self.shared.clone();
        let payloads = shared.encoding.encode(batch)?;
        let (keys, ids) = (texts(batch, shared.columns.key)?, texts(batch, shared.columns.id)?);
        let most = usize::try_from(shared.options.max_buffer_bytes.unwrap_or(8 << 20)).unwrap_or(usize::MAX);
        let properties = shared.properties();
        for row in 0..payloads.count() {
            let key = match &keys {
                None => shared.key.clone(),
                Some(keys) if keys.is_null(row) => {
                    return Err(Error::new("WEIR-RABBITMQ-025", Kind::Data, "a row has no routing key")
                        .at(shared.place.clone())
                        .hint("filter such rows out, or give `routing_key`"));
                }
                Some(keys) => short_value("routing key", keys.value(row))?,
            };
            let properties = match ids.as_ref().filter(|ids| ids.is_valid(row)) {
                None => properties.clone(),
                Some(ids) => properties.clone().with_message_id(short_value("message id", ids.value(row))?),
            };
            self.publish(key, payloads.slice(row), properties).await?;
            self.settle(most).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl StreamWriter for Writer {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if self.broken {
            return Err(Error::internal("a writer was used after an error"));
        }
        self.broken = true;
        self.rows(&batch).await?;
        self.broken = false;
        Ok(())
    }

    async fn flush(&mut self, _barrier: &Barrier) -> Result<Flushed> {
        if self.broken {
            return Err(Error::internal("a writer was used after an error"));
        }
        failpoint!("rabbitmq.flush.before");
        self.broken = true;
        self.settle(0).await?;
        self.broken = false;
        failpoint!("rabbitmq.flush.after");
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
        let token = if rows == 0 { serde_json::Value::Null } else { serde_json::json!({"rows": rows, "bytes": bytes}) };
        Ok(Flushed { token, rows, bytes })
    }

    fn buffered_bytes(&self) -> usize {
        self.held
    }
}
