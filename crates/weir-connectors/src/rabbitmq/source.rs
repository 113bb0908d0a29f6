//! Reading: one queue, one stream, one split. A position is the number of a message; it only serves to acknowledge.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use lapin::options::{BasicGetOptions, BasicNackOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use weir_connect::{
    DeadLetter, Error, Event, EventStream, Kind, Position, ReadRequest, Result, ResumeVerdict, Source, SourceCapabilities, Split,
    SplitProgress, StreamInfo, StreamReader,
};

use super::client::{Address, Link};
use super::config::{ExchangeType, SourceOptions, short, wrong};
use super::errors::{broken_state, shown, unreachable};
use super::properties::column;
use super::read::{self, Job};
use super::session::Session;
use crate::messages::{Payload, Shape, declared, letters};

/// The only split of a queue.
const SPLIT: &str = "messages";
/// Text that is enough to know types by.
const SAMPLE_BYTES: usize = 8 << 20;

/// The number of a message.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    message: u64,
    session: String,
}

fn mark(position: Position) -> Result<Mark> {
    serde_json::from_value(position).map_err(broken_state)
}

/// A configured source.
pub struct RabbitmqSource {
    address: Address,
    options: SourceOptions,
    /// Once looked at.
    shape: Mutex<Option<Arc<Shape>>>,
    /// What was opened last: it holds the messages that are not acknowledged.
    session: Mutex<Option<Arc<Session>>>,
}

impl RabbitmqSource {
    /// Connects later.
    pub fn new(address: Address, options: SourceOptions) -> Self {
        Self { address, options, shape: Mutex::default(), session: Mutex::default() }
    }

    fn place(&self) -> String {
        format!("queue {}", self.options.queue)
    }

    async fn answer<T>(&self, asked: impl Future<Output = lapin::Result<T>>) -> Result<T> {
        let answered = tokio::time::timeout(self.address.patience(), asked).await;
        answered.map_err(|_| unreachable(&self.place(), "the broker is silent"))?.map_err(|error| shown(&error, &self.place()))
    }

    /// Makes what the options ask for, as far as it is not there. What is there otherwise is refused by the broker.
    async fn declare(&self, link: &Link) -> Result<()> {
        let (options, queue) = (&self.options, short("queue", &self.options.queue)?);
        if options.declare_queue != Some(true) && options.exchange.is_none() {
            return Ok(());
        }
        let channel = link.channel().await?;
        let exchange = short("exchange", options.exchange.as_deref().unwrap_or_default())?;
        if let Some(kind) = options.exchange_type {
            let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let declaring = channel.exchange_declare(exchange.clone(), kind_of(kind), durable, FieldTable::default());
            self.answer(declaring).await.map_err(|error| error.at(format!("exchange {exchange}")))?;
        }
        if options.declare_queue == Some(true) {
            let mut arguments = FieldTable::default();
            for (name, value) in &options.queue_arguments {
                arguments.insert(short("queue_arguments", name)?, argument(name, value)?);
            }
            let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            self.answer(channel.queue_declare(queue.clone(), durable, arguments)).await?;
        }
        if options.exchange.is_some() {
            let none = [String::new()];
            let keys = if options.routing_keys.is_empty() { &none[..] } else { &options.routing_keys };
            for key in keys {
                let key = short("routing_keys", key)?;
                let binding =
                    channel.queue_bind(queue.clone(), exchange.clone(), key, QueueBindOptions::default(), FieldTable::default());
                self.answer(binding).await?;
            }
        }
        self.answer(channel.close(200, "OK".into())).await
    }

    /// How many messages wait in the queue.
    async fn waiting(&self, channel: &Channel) -> Result<u64> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = short("queue", &self.options.queue)?;
        Ok(self.answer(channel.queue_declare(queue, passive, FieldTable::default())).await?.message_count().into())
    }

    /// What batches look like, and how many messages wait.
    async fn look(&self, link: &Link) -> Result<(Arc<Shape>, u64)> {
        let channel = link.channel().await?;
        // Before some are taken for the sample: when they are back is not told.
        let waiting = self.waiting(&channel).await?;
        let mut known = self.shape.lock().await;
        let shape = match &*known {
            Some(shape) => shape.clone(),
            None => {
                let payload = Payload {
                    format: self.options.format,
                    declared: declared(&self.options.columns)?,
                    only_columns: self.options.only_columns,
                    json: self.options.json.clone(),
                };
                let sample = self.sample(&channel, &payload).await?;
                let own = self.options.kinds().into_iter().map(column).collect();
                let shape = Arc::new(Shape::of(payload, own, &sample, &self.place()).await?);
                *known = Some(shape.clone());
                shape
            }
        };
        self.answer(channel.close(200, "OK".into())).await?;
        Ok((shape, waiting))
    }

    /// The next messages, which go back to where they were.
    async fn sample(&self, channel: &Channel, payload: &Payload) -> Result<Vec<Bytes>> {
        let inferred = payload.format == crate::messages::Format::Json;
        if !inferred || (payload.only_columns && payload.declared.is_some()) {
            return Ok(Vec::new());
        }
        let wanted = self.options.sample_records.unwrap_or(100).clamp(1, 10_000) as usize;
        let (mut sample, mut bytes) = (Vec::new(), 0);
        let queue = short("queue", &self.options.queue)?;
        while sample.len() < wanted && bytes < SAMPLE_BYTES {
            let Some(message) = self.answer(channel.basic_get(queue.clone(), BasicGetOptions::default())).await? else { break };
            bytes += message.delivery.data.len();
            sample.push(Bytes::from(message.delivery.data));
        }
        if !sample.is_empty() {
            // The tag 0 means all.
            self.answer(channel.basic_nack(0, BasicNackOptions { multiple: true, requeue: true })).await?;
        }
        Ok(sample)
    }
}

fn kind_of(kind: ExchangeType) -> ExchangeKind {
    match kind {
        ExchangeType::Direct => ExchangeKind::Direct,
        ExchangeType::Fanout => ExchangeKind::Fanout,
        ExchangeType::Topic => ExchangeKind::Topic,
        ExchangeType::Headers => ExchangeKind::Headers,
    }
}

fn argument(name: &str, value: &Value) -> Result<AMQPValue> {
    match value {
        Value::String(text) => Ok(AMQPValue::LongString(text.as_bytes().into())),
        Value::Bool(yes) => Ok(AMQPValue::Boolean(*yes)),
        Value::Number(number) if number.is_i64() => Ok(AMQPValue::LongLongInt(number.as_i64().unwrap_or_default())),
        _ => Err(wrong(format!("the queue argument `{name}` is no text, whole number or boolean"), "`{x-queue-type: quorum}`")),
    }
}

#[async_trait]
impl Source for RabbitmqSource {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            replayable: false,
            replay_note: "rabbitmq keeps a message until it is acknowledged, which happens when it is durable; after a crash in between it comes again".into(),
        }
    }

    fn unbounded(&self) -> bool {
        true
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let link = self.address.connect().await?;
        self.declare(&link).await?;
        let (shape, waiting) = self.look(&link).await?;
        link.close().await;
        Ok(vec![StreamInfo {
            name: self.options.queue.clone(),
            schema: shape.schema.clone(),
            primary_key: Vec::new(),
            estimated_rows: Some(waiting),
            estimated_bytes: None,
            reading: "as many messages as wait in the queue when the run begins; acknowledged when they are durable".into(),
        }])
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        if request.stream != self.options.queue {
            let what = format!("there is no stream `{}`", request.stream);
            return Err(Error::new("WEIR-RABBITMQ-005", Kind::NotFound, what).at(self.place()));
        }
        let mut held = self.session.lock().await;
        let link = self.address.connect().await?;
        self.declare(&link).await?;
        let (shape, waiting) = self.look(&link).await?;
        let (mut taken, mut given) = (0, 0);
        if let Some(before) = held.take() {
            // What an earlier attempt was given belongs to the queue again.
            (taken, given) = before.held();
            before.give_back().await;
        }
        let session = Arc::new(Session::new(link, short("queue", &self.options.queue)?));
        *held = Some(session.clone());
        let done = request.resume.as_ref().is_some_and(|resume| resume.progress.iter().any(|part| part.done));
        Ok(Box::new(RabbitmqReader {
            options: self.options.clone(),
            session,
            shape,
            verdict: if request.resume.is_some() { ResumeVerdict::Continued } else { ResumeVerdict::Fresh },
            batch_bytes: request.batch_bytes,
            count: (!request.unbounded).then_some(waiting + given),
            expected: waiting + taken,
            done,
        }))
    }

    /// The payload that was kept, into the columns as they are now.
    async fn redecode(&self, _stream: &str, letter: &DeadLetter) -> Result<Vec<Event>> {
        let still = |reason: &str| letters::still(letter, reason);
        if letters::is_cut(letter) {
            return still("only the beginning of the message was kept; correct it at its publisher");
        }
        if !self.options.metadata.is_empty() {
            return still("of the message only its payload was kept, and the stream has its properties as columns too");
        }
        let link = self.address.connect().await?;
        let (shape, _) = self.look(&link).await?;
        link.close().await;
        letters::again(&shape, &[], letter)
    }

    async fn committed(&self, _stream: &str, progress: &[SplitProgress]) -> Result<()> {
        let Some(session) = self.session.lock().await.clone() else { return Ok(()) };
        for part in progress {
            match (&part.position, part.done) {
                (Some(position), _) => {
                    let mark = mark(position.clone())?;
                    // Numbers of an earlier attempt mean messages that have come again, or were acknowledged by it.
                    if mark.session == session.id() {
                        session.acknowledge(mark.message).await?;
                    }
                }
                (None, true) => {
                    // The rows are where they belong: that the broker is gone is no failure of the run.
                    if let Err(error) = session.acknowledge(u64::MAX).await {
                        tracing::warn!(target: "weir::rabbitmq", "{}: the messages were not acknowledged and come again: {error}", self.place());
                    }
                }
                (None, false) => {}
            }
        }
        Ok(())
    }
}

/// An opened queue.
struct RabbitmqReader {
    options: SourceOptions,
    session: Arc<Session>,
    shape: Arc<Shape>,
    verdict: ResumeVerdict,
    batch_bytes: usize,
    count: Option<u64>,
    /// So many were there at least, if nobody else took them.
    expected: u64,
    done: bool,
}

#[async_trait]
impl StreamReader for RabbitmqReader {
    fn schema(&self) -> SchemaRef {
        self.shape.schema.clone()
    }

    fn splits(&self) -> Vec<Split> {
        if self.done {
            return Vec::new();
        }
        let descriptor = json!({"version": 1, "queue": self.options.queue});
        vec![Split { id: SPLIT.into(), descriptor, estimated_rows: self.count, estimated_bytes: None }]
    }

    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }

    /// What is not acknowledged comes again, wherever it was: `from` only says which numbers are taken.
    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        let of = split.descriptor.get("queue").and_then(Value::as_str).unwrap_or_default();
        if of != self.options.queue {
            return Err(broken_state(format!("it is of the queue `{of}`")));
        }
        let job = Job {
            shape: self.shape.clone(),
            options: self.options.clone(),
            session: self.session.clone(),
            after: from.map(mark).transpose()?.map_or(0, |mark| mark.message),
            count: self.count,
            expected: self.expected,
            batch_bytes: self.batch_bytes,
        };
        read::start(job).await
    }
}
