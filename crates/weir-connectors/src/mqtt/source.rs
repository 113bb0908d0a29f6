//! Reading: one stream, one split, and a session at the broker that keeps what was not read.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};
use weir_connect::{
    DeadLetter, Error, Event, EventStream, Position, ReadRequest, Result, ResumeVerdict, Source, SourceCapabilities, Split,
    SplitProgress, StreamInfo, StreamReader,
};

use super::config::{Metadata, OnDataLoss, SourceOptions};
use super::connection::{Address, Connection, Hello};
use super::errors::{data_loss, unreachable};
use super::packet::{self, Incoming, Qos, Version};
use super::session::{self, Job, Session};
use crate::messages::{Format, Own, OwnValue, Shape, letters};

/// Seconds within which the broker hears from a reader.
const KEEP_ALIVE_SECS: u16 = 30;
/// What brokers of 3.1.1 commonly give unacknowledged.
const WINDOW_V311: u16 = 20;

/// What is kept of a session. A split's descriptor, and what the next run must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    version: u8,
    client_id: String,
}

/// A configured source.
pub struct MqttSource {
    address: Address,
    options: SourceOptions,
    shape: OnceCell<Arc<Shape>>,
    /// The last session; it may have something to acknowledge when its reader is gone.
    session: Arc<Mutex<Option<Session>>>,
}

impl MqttSource {
    /// Connects later.
    pub fn new(address: Address, options: SourceOptions) -> Self {
        Self { address, options, shape: OnceCell::new(), session: Arc::default() }
    }

    fn metadata(&self) -> Vec<Metadata> {
        let mut kinds = self.options.metadata.clone();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    async fn shape(&self) -> Result<&Arc<Shape>> {
        self.shape
            .get_or_try_init(|| async {
                let payload = self.options.payload()?;
                let sample = match payload.format == Format::Json && payload.declared.is_none() {
                    true => self.sample().await?,
                    false => Vec::new(),
                };
                let own = self.metadata().into_iter().map(column).collect();
                Ok(Arc::new(Shape::of(payload, own, &sample, &self.options.name()).await?))
            })
            .await
    }

    /// What the broker retains of the topics. A guest sees it without touching the session.
    async fn sample(&self) -> Result<Vec<Bytes>> {
        /// Text that is enough to know types by.
        const BYTES: usize = 8 << 20;
        let mut connection = self.address.connect(&Hello::guest(), largest(&self.options)).await?;
        let (mut sample, mut bytes) = (Vec::new(), 0);
        let filters = self.options.filters();
        let looked = tokio::time::timeout(self.address.patience(), async {
            let mut out = BytesMut::new();
            packet::subscribe(&mut out, connection.version(), 1, &filters, Qos::AtMostOnce, true);
            packet::ping(&mut out);
            connection.send(&mut out).await?;
            loop {
                match connection.next().await? {
                    Incoming::Publish(message) => {
                        bytes += message.payload.len();
                        sample.push(message.payload);
                        if bytes >= BYTES || sample.len() >= 1000 {
                            return Ok::<_, Error>(());
                        }
                    }
                    Incoming::Subscribed { codes, .. } => {
                        session::granted(connection.place(), &filters, Qos::AtMostOnce, &codes)?;
                    }
                    Incoming::Pong => return Ok(()),
                    _ => {}
                }
            }
        });
        looked.await.map_err(|_| unreachable(&self.address.place(), "no answer to a ping"))??;
        connection.close(true).await;
        Ok(sample)
    }
}

fn largest(options: &SourceOptions) -> usize {
    usize::try_from(options.max_message_bytes.unwrap_or(32 << 20)).unwrap_or(32 << 20)
}

fn column(kind: Metadata) -> Own {
    let own = |name, data_type, nullable, source| Own { name, data_type, nullable, source, json: false };
    match kind {
        Metadata::Topic => own("_topic", DataType::Utf8, false, "topic"),
        Metadata::Headers => Own { json: true, ..own("_headers", DataType::Utf8, true, "user properties") },
        Metadata::Qos => own("_qos", DataType::Int32, false, "qos"),
        Metadata::Retained => own("_retained", DataType::Boolean, false, "retain"),
        Metadata::Duplicate => own("_duplicate", DataType::Boolean, false, "dup"),
    }
}

#[async_trait]
impl Source for MqttSource {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            replayable: false,
            replay_note: match self.options.quality() {
                Qos::AtMostOnce => {
                    "mqtt with `qos: 0` gives what comes while somebody reads, once: what a crash interrupts is lost".into()
                }
                _ => "mqtt gives again what was not acknowledged: after a crash some messages come twice, none is lost".into(),
            },
        }
    }

    fn unbounded(&self) -> bool {
        true
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let shape = self.shape().await?;
        Ok(vec![StreamInfo {
            name: self.options.name(),
            schema: shape.schema.clone(),
            primary_key: Vec::new(),
            estimated_rows: None,
            estimated_bytes: None,
            reading: format!("the session {} of {}", self.options.client_id, self.options.filters().join(", ")),
        }])
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let kept = Kept { version: 1, client_id: self.options.client_id.clone() };
        let same = |value: &Value| serde_json::from_value::<Kept>(value.clone()).is_ok_and(|known| known == kept);
        let resume = request.resume.as_ref();
        let progress = resume.and_then(|resume| resume.progress.first());
        // Where a message was read before, the broker has had a session for us.
        let known = progress.is_some_and(|part| part.position.is_some() && same(&part.split.descriptor))
            || request.previous.as_ref().is_some_and(same);
        Ok(Box::new(MqttReader {
            address: self.address.clone(),
            options: self.options.clone(),
            metadata: self.metadata(),
            shape: self.shape().await?.clone(),
            session: self.session.clone(),
            verdict: if resume.is_some() { ResumeVerdict::Continued } else { ResumeVerdict::Fresh },
            done: progress.is_some_and(|part| part.done),
            unbounded: request.unbounded,
            batch_bytes: request.batch_bytes,
            kept,
            known,
        }))
    }

    /// The payload that was kept, into the columns as they are now.
    async fn redecode(&self, _stream: &str, letter: &DeadLetter) -> Result<Vec<Event>> {
        let still = |reason: &str| letters::still(letter, reason);
        if letters::is_cut(letter) {
            return still("only the beginning of the message was kept");
        }
        let metadata = self.metadata();
        let topic = letter.place.rsplit_once(" delivery ").map(|(topic, _)| topic);
        let (Some(topic), true) = (topic, metadata.iter().all(|kind| *kind == Metadata::Topic)) else {
            return still("of the message only its topic and payload were kept, and the stream has more of it as columns");
        };
        let own = vec![OwnValue::Text(topic); metadata.len()];
        letters::again(self.shape().await?, &own, letter)
    }

    /// Lets the broker forget what is durable.
    async fn committed(&self, _stream: &str, progress: &[SplitProgress]) -> Result<()> {
        let session = self.session.lock().await;
        if let Some(session) = session.as_ref() {
            for position in progress.iter().filter_map(|part| part.position.as_ref()) {
                session.acknowledge(position).await;
            }
        }
        Ok(())
    }
}

/// An opened stream.
struct MqttReader {
    address: Address,
    options: SourceOptions,
    metadata: Vec<Metadata>,
    shape: Arc<Shape>,
    session: Arc<Mutex<Option<Session>>>,
    verdict: ResumeVerdict,
    done: bool,
    unbounded: bool,
    batch_bytes: usize,
    kept: Kept,
    /// There was a session before.
    known: bool,
}

impl MqttReader {
    fn split(&self) -> Split {
        Split { id: "session".into(), descriptor: self.state(), estimated_rows: None, estimated_bytes: None }
    }

    fn window(&self) -> u16 {
        let default = if self.address.version() == Version::V5 { u16::MAX } else { WINDOW_V311 };
        self.options.receive_maximum.unwrap_or(default)
    }

    fn hello(&self) -> Hello {
        Hello {
            client_id: self.options.client_id.clone(),
            clean: false,
            keep_alive_secs: KEEP_ALIVE_SECS,
            session_expiry_secs: self.options.session_expiry_secs.unwrap_or(u32::MAX),
            receive_maximum: self.window(),
        }
    }

    /// The session, as it was left.
    async fn connect(&self) -> Result<Connection> {
        let connection = self.address.connect(&self.hello(), largest(&self.options)).await?;
        if connection.session || !self.known || self.options.quality() == Qos::AtMostOnce {
            return Ok(connection);
        }
        let error = data_loss(&self.address.place(), &self.options.client_id);
        match self.options.on_data_loss {
            OnDataLoss::Earliest => {
                tracing::warn!(target: "weir::mqtt", "{error}; reading goes on with what comes from now on");
                Ok(connection)
            }
            OnDataLoss::Fail => {
                // The session that has just begun must not be taken for the old one by the next attempt.
                connection.close(true).await;
                if self.address.version() == Version::V311 {
                    let clean = Hello { clean: true, ..self.hello() };
                    self.address.connect(&clean, largest(&self.options)).await?.close(true).await;
                }
                Err(error)
            }
        }
    }
}

#[async_trait]
impl StreamReader for MqttReader {
    fn schema(&self) -> SchemaRef {
        self.shape.schema.clone()
    }

    fn splits(&self) -> Vec<Split> {
        if self.done { Vec::new() } else { vec![self.split()] }
    }

    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }

    fn state(&self) -> Value {
        serde_json::to_value(&self.kept).unwrap_or_default()
    }

    fn next_state(&self) -> Option<Value> {
        Some(self.state())
    }

    async fn look(&self) -> Result<Vec<Split>> {
        Ok(vec![self.split()])
    }

    /// The place to go on from is the broker's: it gives what was not acknowledged.
    async fn read(&self, _split: &Split, from: Option<Position>) -> Result<EventStream> {
        let mut current = self.session.lock().await;
        if let Some(before) = current.take() {
            before.close().await;
        }
        let mut connection = self.connect().await?;
        let (filters, qos) = (self.options.filters(), self.options.quality());
        let mut out = BytesMut::new();
        packet::subscribe(&mut out, connection.version(), 1, &filters, qos, self.options.retained != Some(false));
        connection.send(&mut out).await?;
        let keep_alive = connection.limits.keep_alive_secs.unwrap_or(KEEP_ALIVE_SECS).max(1);
        let (session, events) = Session::start(
            connection,
            Job {
                stream: self.options.name(),
                filters,
                qos,
                shape: self.shape.clone(),
                metadata: self.metadata.clone(),
                bounded: !self.unbounded,
                batch_bytes: self.batch_bytes,
                window: usize::from(self.window()),
                delivered: from.as_ref().and_then(session::delivered).unwrap_or(0),
                keep_alive: Duration::from_secs(u64::from(keep_alive)),
                patience: self.address.patience(),
            },
        )?;
        *current = Some(session);
        Ok(events)
    }
}
