//! Writing: messages go out one after the other, many on their way at once; a flush waits until the server has confirmed each.
//!
//! A message that was confirmed is on the server's disk (with `storage: file`), and stays: rows of an interrupted epoch come twice, unless they carry
//! an id. The id names pipeline, node, stream and run beside the row's own columns, so that it is the same when an attempt is gone on with, and
//! another in the next run. Two rows of one attempt with the same id would leave one message: that is found by the sequence of the first and refused.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, SchemaRef};
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::stream::{Config, Info};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use async_trait::async_trait;
use serde_json::json;
use tokio::sync::OnceCell;
use twox_hash::XxHash3_128;
use weir_connect::{
    Barrier, CommitKind, CommitReport, CommitToken, Error, Flushed, Kind, Recovery, Result, Sink, SinkCapabilities, SinkType,
    StreamSink, StreamTarget, StreamWriter, WriteMode,
};

use super::client::{Address, Link};
use super::config::{SinkOptions, is_subject, wrong};
use super::errors::no_stream;
use crate::messages::{Encoding, SinkFormat};

/// Messages that may be on their way; fewer than the client allows.
const ON_THEIR_WAY: usize = 4096;

/// A configured sink.
pub struct NatsSink {
    address: Address,
    options: SinkOptions,
    node: String,
    link: OnceCell<Link>,
}

impl NatsSink {
    /// Connects later.
    pub fn new(address: Address, options: SinkOptions, node: String) -> Self {
        Self { address, options, node, link: OnceCell::new() }
    }

    async fn link(&self) -> Result<&Link> {
        self.link.get_or_try_init(|| self.address.connect()).await
    }

    /// The stream that will take the messages; `None`: it is missing, and may be made.
    async fn taker(&self, subject: Option<&str>) -> Result<Option<Info>> {
        let link = self.link().await?;
        let jetstream = link.jetstream();
        let name = match (&self.options.stream, subject) {
            (Some(name), _) => name.clone(),
            (None, Some(subject)) => jetstream.stream_by_subject(subject).await.map_err(|error| match error.kind() {
                async_nats::jetstream::context::GetStreamByNameErrorKind::NotFound => nobody(subject, link),
                _ => link.shown(&error),
            })?,
            // Each message finds its own.
            (None, None) => return Ok(None),
        };
        let stream = jetstream.get_stream_no_info(&name).await.map_err(|_| no_stream(link.place(), &name))?;
        match stream.get_info().await {
            Ok(info) if info.config.no_ack => {
                Err(Error::new("WEIR-NATS-025", Kind::Unsupported, format!("stream `{name}` confirms nothing"))
                    .at(link.place().to_owned())
                    .hint("take `no_ack` off the stream: without confirmations messages are lost silently"))
            }
            Ok(info) => Ok(Some(info)),
            Err(error) => match link.shown(&error) {
                missing if missing.code() == "WEIR-NATS-005" && self.options.create_stream == Some(true) => Ok(None),
                missing if missing.code() == "WEIR-NATS-005" => {
                    Err(no_stream(link.place(), &name).hint("make it, or let `create_stream: true` do so"))
                }
                other => Err(other),
            },
        }
    }

    fn subjects(&self, subject: Option<&str>) -> Vec<String> {
        match self.options.stream_subjects.is_empty() {
            true => subject.map(str::to_owned).into_iter().collect(),
            false => self.options.stream_subjects.clone(),
        }
    }

    fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.options.headers {
            let bad = || {
                wrong(
                    format!("`headers` holds `{name}`, which cannot be sent"),
                    "names have no blanks or colons, values one line",
                )
            };
            if name.to_ascii_lowercase().starts_with("nats-") {
                return Err(wrong(
                    format!("`headers` may not set `{name}`"),
                    "names that begin with `Nats-` mean something to the server",
                ));
            }
            headers.append(HeaderName::from_str(name).map_err(|_| bad())?, HeaderValue::from_str(value).map_err(|_| bad())?);
        }
        Ok(headers)
    }
}

fn nobody(subject: &str, link: &Link) -> Error {
    Error::new("WEIR-NATS-005", Kind::NotFound, format!("no stream takes the subject `{subject}`"))
        .at(link.place().to_owned())
        .hint("make one, or give `stream` and `create_stream: true`; without a stream nothing is kept")
}

/// The place of a column.
fn index(schema: &SchemaRef, name: &str, what: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_| {
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Error::new("WEIR-NATS-020", Kind::Schema, format!("{what} `{name}` is no column of the stream"))
            .hint(format!("columns are: {}", columns.join(", ")))
    })
}

#[async_trait]
impl Sink for NatsSink {
    fn capabilities(&self, _mode: WriteMode) -> SinkCapabilities {
        let (commit, commit_note) = match self.options.message_id.is_empty() {
            true => (CommitKind::Append, "nats keeps what it has confirmed: rows of an interrupted epoch come twice".to_owned()),
            false => (
                CommitKind::Idempotent,
                "nats drops a message whose id it has seen within the stream's duplicate window; a run that is gone on with later than that brings rows twice".to_owned(),
            ),
        };
        SinkCapabilities { commit, commit_note, write_modes: vec![WriteMode::Append] }
    }

    fn sink_type(&self, field: &Field) -> SinkType {
        match self.options.format {
            SinkFormat::Csv => weir_formats::sink_type(weir_formats::Format::Csv, field),
            _ => weir_formats::sink_type(weir_formats::Format::Ndjson, field),
        }
    }

    fn place(&self, stream: &str) -> String {
        match self.options.subject_of(stream) {
            Some(subject) => format!("subject {subject} at {}", self.address.place()),
            None => format!("subjects of a column at {}", self.address.place()),
        }
    }

    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>> {
        let subject = self.options.subject_of(&target.stream);
        match (self.taker(subject.as_deref()).await?, &self.options.stream) {
            (None, Some(name)) => Ok(vec![format!("create stream {name} for {}", self.subjects(subject.as_deref()).join(", "))]),
            _ => Ok(Vec::new()),
        }
    }

    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        let subject = self.options.subject_of(&target.stream);
        if let Some(subject) = subject.as_deref().filter(|subject| !is_subject(subject)) {
            return Err(wrong(format!("`{subject}` is no subject"), "give one as `subject`: words between dots, without blanks"));
        }
        let link = self.link().await?.clone();
        let mut taker = self.taker(subject.as_deref()).await?;
        if let (None, Some(name)) = (&taker, &self.options.stream) {
            let config = Config { name: name.clone(), subjects: self.subjects(subject.as_deref()), ..Config::default() };
            link.jetstream().create_stream(config).await.map_err(|error| link.shown(&error))?;
            taker = self.taker(subject.as_deref()).await?;
        }
        let subject = match (subject, &self.options.subject_column) {
            (Some(subject), _) => Subject::All(subject),
            (None, name) => Subject::Column(index(&target.schema, name.as_deref().unwrap_or_default(), "`subject_column`")?),
        };
        let ids = (self.options.message_id.iter())
            .map(|name| index(&target.schema, name, "`message_id`"))
            .collect::<Result<Vec<_>>>()?;
        // Without a stream of its own each message may go to another one: their sequences cannot be compared.
        let before = taker.as_ref().map(|info| info.state.last_sequence);
        if !ids.is_empty() && before.is_none() {
            return Err(wrong("`message_id` with `subject_column` needs `stream`", "name the stream that takes the messages"));
        }
        let owner = [&target.run.pipeline, &self.node, &target.stream, &target.run.run_id];
        Ok(Box::new(NatsStream {
            place: self.place(&target.stream),
            shared: Arc::new(Shared {
                jetstream: link.jetstream_with(Duration::from_secs(self.options.ack_timeout_secs.unwrap_or(30).max(1))),
                link,
                encoding: Encoding::new(self.options.format, &target.schema)?,
                headers: self.headers()?,
                stream: taker.map(|info| info.config.name),
                subject,
                ids,
                before: before.unwrap_or_default(),
                owner: owner.iter().map(|part| format!("{}:{part}", part.len())).collect(),
                buffer: usize::try_from(self.options.max_buffer_bytes.unwrap_or(8 << 20)).unwrap_or(8 << 20),
            }),
        }))
    }
}

enum Subject {
    All(String),
    Column(usize),
}

/// What the lanes of one stream share.
struct Shared {
    link: Link,
    jetstream: Context,
    encoding: Encoding,
    headers: HeaderMap,
    /// The stream that must take the messages, if that is known beforehand.
    stream: Option<String>,
    subject: Subject,
    /// Columns of the id.
    ids: Vec<usize>,
    /// The last sequence before this attempt.
    before: u64,
    /// What ids begin with.
    owner: String,
    buffer: usize,
}

struct NatsStream {
    place: String,
    shared: Arc<Shared>,
}

#[async_trait]
impl StreamSink for NatsStream {
    async fn recover(&self) -> Result<Recovery> {
        Ok(Recovery::default())
    }

    async fn discard(&self, _keep: &[CommitToken]) -> Result<()> {
        Ok(())
    }

    async fn writer(&self, _lane: usize) -> Result<Box<dyn StreamWriter>> {
        Ok(Box::new(Writer { shared: self.shared.clone(), waiting: VecDeque::new(), held: 0, rows: 0, bytes: 0 }))
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

type Confirmation = Pin<Box<dyn Future<Output = Result<PublishAck, PublishError>> + Send>>;

/// A message that the server has not confirmed yet.
struct Sent {
    confirmation: Confirmation,
    bytes: usize,
}

/// One lane's writer.
struct Writer {
    shared: Arc<Shared>,
    waiting: VecDeque<Sent>,
    /// Bytes of those.
    held: usize,
    /// Confirmed since the last flush.
    rows: u64,
    bytes: u64,
}

fn texts(batch: &RecordBatch, at: usize, what: &str) -> Result<StringArray> {
    let column = batch.column(at);
    let name = batch.schema().field(at).name().clone();
    let cast =
        cast_with_options(column, &DataType::Utf8, &CastOptions { safe: false, ..CastOptions::default() }).map_err(|error| {
            Error::new("WEIR-NATS-021", Kind::Data, format!("{what} cannot be made of column `{name}`")).because(error)
        })?;
    let texts: StringArray = cast.as_string::<i32>().clone();
    if texts.logical_null_count() > 0 {
        return Err(Error::new(
            "WEIR-NATS-021",
            Kind::Data,
            format!("a row has no value in column `{name}`, of which {what} is made"),
        )
        .hint("filter such rows out, or choose another column"));
    }
    Ok(texts)
}

impl Writer {
    fn failed(&self, error: &PublishError) -> Error {
        let link = &self.shared.link;
        match error.kind() {
            PublishErrorKind::StreamNotFound => {
                Error::new("WEIR-NATS-005", Kind::NotFound, "no stream takes a message's subject")
                    .at(link.place().to_owned())
                    .hint("make a stream that has it; without a stream nothing is kept")
            }
            PublishErrorKind::MaxPayloadExceeded => {
                Error::new("WEIR-NATS-030", Kind::Limit, "a row is larger than the server takes")
                    .at(link.place().to_owned())
                    .because(error)
                    .hint("raise the server's `max_payload`, or leave columns out")
            }
            _ => link.shown(error),
        }
    }

    /// Waits for the oldest message.
    async fn confirm(&mut self) -> Result<()> {
        let Some(sent) = self.waiting.pop_front() else { return Ok(()) };
        let ack = sent.confirmation.await.map_err(|error| self.failed(&error))?;
        if ack.duplicate && ack.sequence > self.shared.before {
            return Err(Error::new("WEIR-NATS-022", Kind::Data, "two rows of this run have the same `message_id`")
                .at(format!("{} sequence {}", ack.stream, ack.sequence))
                .because("the server keeps the first message with an id and drops the others")
                .hint("name columns in which all rows differ"));
        }
        self.held -= sent.bytes;
        self.rows += 1;
        self.bytes += sent.bytes as u64;
        Ok(())
    }

    async fn send(&mut self, subject: &str, id: Option<String>, payload: bytes::Bytes) -> Result<()> {
        let bytes = payload.len();
        while !self.waiting.is_empty() && (self.held + bytes > self.shared.buffer || self.waiting.len() >= ON_THEIR_WAY) {
            self.confirm().await?;
        }
        let mut message = PublishMessage::build().payload(payload);
        if !self.shared.headers.is_empty() {
            message = message.headers(self.shared.headers.clone());
        }
        if let Some(stream) = &self.shared.stream {
            message = message.expected_stream(stream);
        }
        if let Some(id) = &id {
            message = message.message_id(id);
        }
        let sent = self.shared.jetstream.send_publish(subject.to_owned(), message).await.map_err(|error| self.failed(&error))?;
        self.waiting.push_back(Sent { confirmation: sent.into_future(), bytes });
        self.held += bytes;
        Ok(())
    }
}

#[async_trait]
impl StreamWriter for Writer {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let shared = self.shared.clone();
        let payloads = shared.encoding.encode(&batch)?;
        let subjects = match &shared.subject {
            Subject::All(_) => None,
            Subject::Column(at) => Some(texts(&batch, *at, "a subject")?),
        };
        let ids = shared.ids.iter().map(|at| texts(&batch, *at, "an id")).collect::<Result<Vec<_>>>()?;
        for row in 0..payloads.count() {
            let subject = match (&shared.subject, &subjects) {
                (Subject::All(subject), _) => subject.as_str(),
                (_, Some(subjects)) => subjects.value(row),
                (_, None) => return Err(Error::internal("a message has no subject")),
            };
            if !is_subject(subject) {
                return Err(Error::new("WEIR-NATS-021", Kind::Data, format!("`{subject}` is no subject"))
                    .hint("subjects are words between dots, without blanks and wildcards; map the column with `sql`"));
            }
            let id = (!ids.is_empty()).then(|| {
                let mut text = shared.owner.clone();
                for column in &ids {
                    let value = column.value(row);
                    text.push_str(&format!(",{}:{value}", value.len()));
                }
                format!("{:032x}", XxHash3_128::oneshot(text.as_bytes()))
            });
            self.send(subject, id, payloads.get(row)).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, _barrier: &Barrier) -> Result<Flushed> {
        while !self.waiting.is_empty() {
            self.confirm().await?;
        }
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
        let token = if rows == 0 { serde_json::Value::Null } else { json!({"rows": rows, "bytes": bytes}) };
        Ok(Flushed { token, rows, bytes })
    }

    fn buffered_bytes(&self) -> usize {
        self.held
    }
}
