//! Writing: a row is an entry, a flush waits until the server has answered for every one.
//!
//! With `id_column` an entry that is there already is found by its id and not added again. Without it the server gives ids, and what comes again after
//! a crash is a second entry.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, Value};
use weir_connect::{
    Barrier, CommitKind, CommitReport, CommitToken, Error, Flushed, Kind, Recovery, Result, Sink, SinkCapabilities, SinkType,
    StreamSink, StreamTarget, StreamWriter, WriteMode, failpoint,
};

use super::client::{Address, Link};
use super::config::SinkOptions;
use super::entries::{Entry, Id};
use super::errors::{shown, unexpected};
use crate::messages::{Encoding, Payloads, SinkFormat};

/// A configured sink.
pub struct RedisSink {
    address: Address,
    options: SinkOptions,
}

impl RedisSink {
    /// Connects later.
    pub fn new(address: Address, options: SinkOptions) -> Self {
        Self { address, options }
    }
}

/// The format of files that these payloads are like.
fn file_format(format: SinkFormat) -> weir_formats::Format {
    match format {
        SinkFormat::Csv => weir_formats::Format::Csv,
        _ => weir_formats::Format::Ndjson,
    }
}

#[async_trait]
impl Sink for RedisSink {
    fn capabilities(&self, _mode: WriteMode) -> SinkCapabilities {
        let (commit, commit_note) = match &self.options.id_column {
            Some(column) => {
                (CommitKind::Idempotent, format!("redis takes each entry id once, and ids come from the column {column}"))
            }
            None => (CommitKind::Append, "redis gives the ids: entries of an interrupted epoch come twice".to_owned()),
        };
        SinkCapabilities { commit, commit_note, write_modes: vec![WriteMode::Append] }
    }

    fn sink_type(&self, field: &Field) -> SinkType {
        weir_formats::sink_type(file_format(self.options.format), field)
    }

    fn place(&self, stream: &str) -> String {
        format!("stream {} at {}", self.options.key_of(stream), self.address.place())
    }

    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>> {
        let key = self.options.key_of(&target.stream);
        let there = self.address.connect().await?.facts(&key).await?.is_some();
        Ok(if there { Vec::new() } else { vec![format!("create stream {key} with its first entry")] })
    }

    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        let form = Form::new(&self.options, &target.schema)?;
        let key = self.options.key_of(&target.stream);
        // A key of another type is found before a row is read.
        self.address.connect().await?.facts(&key).await?;
        let shared = Shared { address: self.address.clone(), options: self.options.clone(), key, form };
        Ok(Box::new(RedisStream { place: self.place(&target.stream), shared: Arc::new(shared) }))
    }
}

/// How rows become fields.
#[derive(Debug, Clone)]
struct Form {
    /// The whole row into one field, or a column each.
    whole: Option<(String, Encoding)>,
    columns: Vec<(String, Part)>,
    id: Option<usize>,
}

/// How a column becomes the value of a field.
#[derive(Debug, Clone)]
enum Part {
    Text,
    Bytes,
    /// Its JSON text, and of a JSON string what is in it; with the schema of the column alone.
    Json(Encoding, SchemaRef),
}

/// What a value is called while it is encoded by itself: the text before it is known then.
const ALONE: &str = "v";
const BEFORE: &[u8] = br#"{"v":"#;

impl Form {
    fn new(options: &SinkOptions, schema: &SchemaRef) -> Result<Self> {
        let id = options.id_column.as_deref().map(|name| {
            schema.index_of(name).map_err(|_| {
                let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                Error::new("WEIR-REDIS-024", Kind::Schema, format!("`id_column` `{name}` is no column of the stream"))
                    .hint(format!("columns are: {}", columns.join(", ")))
            })
        });
        let id = id.transpose()?;
        if let Some(field) = &options.field {
            // The id is in the payload too: a reader of the field alone has the whole row.
            let whole = Some((field.clone(), Encoding::new(options.format, schema)?));
            return Ok(Self { whole, columns: Vec::new(), id });
        }
        let part = |field: &Arc<Field>| {
            let part = match field.data_type() {
                DataType::Utf8 => Part::Text,
                DataType::Binary => Part::Bytes,
                _ => {
                    let alone = Arc::new(Schema::new(vec![field.as_ref().clone().with_name(ALONE)]));
                    Part::Json(Encoding::new(SinkFormat::Json, &alone)?, alone)
                }
            };
            Ok((field.name().clone(), part))
        };
        Ok(Self { whole: None, columns: schema.fields().iter().map(part).collect::<Result<_>>()?, id })
    }

    /// The fields of every row.
    fn rows(&self, batch: &RecordBatch) -> Result<Vec<Vec<(&str, Bytes)>>> {
        if let Some((field, encoding)) = &self.whole {
            let payloads = encoding.encode(batch)?;
            return Ok((0..payloads.count()).map(|row| vec![(field.as_str(), payloads.get(row))]).collect());
        }
        let mut rows: Vec<Vec<(&str, Bytes)>> = (0..batch.num_rows()).map(|_| Vec::with_capacity(self.columns.len())).collect();
        for ((name, part), column) in self.columns.iter().zip(batch.columns()) {
            let payloads = match part {
                Part::Json(encoding, schema) => Some(encoding.encode(&alone(column, schema)?)?),
                _ => None,
            };
            for (row, fields) in rows.iter_mut().enumerate() {
                if let Some(value) = value(part, column, payloads.as_ref(), row)? {
                    fields.push((name, value));
                }
            }
        }
        Ok(rows)
    }

    fn id(&self, batch: &RecordBatch) -> Result<Option<Vec<Id>>> {
        let Some(at) = self.id else { return Ok(None) };
        let name = batch.schema().field(at).name().clone();
        let wrong = |what: &str| {
            Error::new("WEIR-REDIS-025", Kind::Data, format!("the id column `{name}` {what}"))
                .hint("an id is `milliseconds-number`, or the milliseconds alone, and larger than 0-0")
        };
        let texts =
            arrow::compute::cast(batch.column(at), &DataType::Utf8).map_err(|error| wrong("is no text").because(error))?;
        let ids = texts.as_string::<i32>().iter().map(|text| {
            let text = text.ok_or_else(|| wrong("has no value in a row"))?;
            Id::parse(text).filter(|id| *id > Id::default()).ok_or_else(|| wrong(&format!("holds `{text}`, which is no id")))
        });
        ids.collect::<Result<Vec<Id>>>().map(Some)
    }
}

fn alone(column: &ArrayRef, schema: &SchemaRef) -> Result<RecordBatch> {
    RecordBatch::try_new(schema.clone(), vec![column.clone()])
        .map_err(|error| Error::internal("a column does not fit its own field").because(error))
}

/// `None`: NULL, which is no field.
fn value(part: &Part, column: &ArrayRef, payloads: Option<&Payloads>, row: usize) -> Result<Option<Bytes>> {
    if column.is_null(row) {
        return Ok(None);
    }
    Ok(match (part, payloads) {
        (Part::Text, _) => Some(Bytes::copy_from_slice(column.as_string::<i32>().value(row).as_bytes())),
        (Part::Bytes, _) => Some(Bytes::copy_from_slice(column.as_binary::<i32>().value(row))),
        (Part::Json(..), Some(payloads)) => {
            let whole = payloads.get(row);
            let raw = whole.strip_prefix(BEFORE).and_then(|rest| rest.strip_suffix(b"}"));
            let raw = raw.ok_or_else(|| Error::internal("a value alone is not encoded as it should be"))?;
            match raw.first() {
                Some(b'"') => {
                    let text: String = serde_json::from_slice(raw)
                        .map_err(|error| Error::internal("an encoded text cannot be read").because(error))?;
                    Some(Bytes::from(text))
                }
                _ if raw == b"null" => None,
                _ => Some(Bytes::copy_from_slice(raw)),
            }
        }
        (Part::Json(..), None) => return Err(Error::internal("a column was not encoded")),
    })
}

struct Shared {
    address: Address,
    options: SinkOptions,
    key: String,
    form: Form,
}

/// One stream's way into its key, for one run.
struct RedisStream {
    place: String,
    shared: Arc<Shared>,
}

#[async_trait]
impl StreamSink for RedisStream {
    async fn recover(&self) -> Result<Recovery> {
        Ok(Recovery::default())
    }

    /// Entries that are there stay there: they come again, which is what this sink promises.
    async fn discard(&self, _keep: &[CommitToken]) -> Result<()> {
        Ok(())
    }

    async fn writer(&self, _lane: usize) -> Result<Box<dyn StreamWriter>> {
        let link = self.shared.address.connect().await?;
        Ok(Box::new(Writer { shared: self.shared.clone(), link, waiting: Vec::new(), held: 0, rows: 0, bytes: 0, broken: false }))
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

/// Bytes that an entry takes here besides its fields, about.
const OVERHEAD: usize = 128;

/// An entry that the server was not asked to add yet.
struct Waiting {
    id: Option<Id>,
    fields: Vec<(String, Bytes)>,
}

/// One lane's writer.
struct Writer {
    shared: Arc<Shared>,
    link: Link,
    waiting: Vec<Waiting>,
    /// Bytes in `waiting`.
    held: usize,
    /// Since the last flush.
    rows: u64,
    bytes: u64,
    /// Something was not written: what comes after it must not be either.
    broken: bool,
}

impl Writer {
    fn command(&self, entry: &Waiting) -> Cmd {
        let mut command = redis::cmd("XADD");
        command.arg(&self.shared.key);
        if let Some(most) = self.shared.options.max_length {
            command.arg("MAXLEN");
            command.arg(if self.shared.options.approximate.unwrap_or(true) { "~" } else { "=" }).arg(most);
        }
        match entry.id {
            Some(id) => command.arg(id.to_string()),
            None => command.arg("*"),
        };
        for (name, value) in &entry.fields {
            command.arg(name).arg(value.as_ref());
        }
        command
    }

    /// Sends what waits, and waits for every answer.
    async fn send(&mut self) -> Result<()> {
        if self.broken {
            return Err(Error::internal("a writer was used after an error"));
        }
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.broken = true;
        let waiting = std::mem::take(&mut self.waiting);
        self.held = 0;
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        for entry in &waiting {
            pipe.add_command(self.command(entry));
        }
        let answers = self.link.send(&pipe).await.map_err(|error| shown(&error, &self.shared.key))?;
        if answers.len() != waiting.len() {
            return Err(unexpected(&self.shared.key, "a pipeline of XADD"));
        }
        for (entry, answer) in waiting.iter().zip(answers) {
            self.answered(entry, answer).await?;
        }
        self.broken = false;
        Ok(())
    }

    async fn answered(&mut self, entry: &Waiting, answer: Value) -> Result<()> {
        let key = self.shared.key.clone();
        let refused = match answer {
            Value::BulkString(_) | Value::SimpleString(_) => return Ok(()),
            Value::ServerError(error) => redis::RedisError::from(error),
            _ => return Err(unexpected(&key, "XADD")),
        };
        let Some(id) = entry.id.filter(|_| refused.to_string().contains("equal or smaller")) else {
            return Err(shown(&refused, &key));
        };
        let mut command = redis::cmd("XRANGE");
        command.arg(&key).arg(id.to_string()).arg(id.to_string());
        let there = Entry::list(self.link.ask(&command, &key).await?).ok_or_else(|| unexpected(&key, "XRANGE"))?;
        let same = |there: &Entry| {
            there.fields.len() == entry.fields.len()
                && there.fields.iter().zip(&entry.fields).all(|(a, b)| a.0 == b.0.as_bytes() && a.1 == b.1.as_ref())
        };
        match there.first() {
            Some(there) if same(there) => return Ok(()),
            Some(_) => {
                return Err(Error::new("WEIR-REDIS-033", Kind::Conflict, format!("another entry has the id {id} already"))
                    .at(key)
                    .hint("ids of `id_column` must be unique, and nobody else may write to the stream"));
            }
            None => {}
        }
        // Written before, and trimmed since.
        let facts = self.link.facts(&key).await?;
        if facts.is_some_and(|facts| facts.first.is_none_or(|first| first > id) && self.shared.options.max_length.is_some()) {
            return Ok(());
        }
        Err(Error::new("WEIR-REDIS-032", Kind::Data, format!("the id {id} is smaller than the last one of the stream"))
            .at(key)
            .because("Redis only adds entries with rising ids")
            .hint("read in the order of `id_column` with `parallelism: 1`, or leave `id_column` out: then Redis gives the ids"))
    }
}

#[async_trait]
impl StreamWriter for Writer {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let shared = self.shared.clone();
        let limit = usize::try_from(shared.options.max_buffer_bytes.unwrap_or(1 << 20)).unwrap_or(usize::MAX);
        let ids = shared.form.id(&batch)?;
        for (row, fields) in shared.form.rows(&batch)?.into_iter().enumerate() {
            if fields.is_empty() {
                return Err(Error::new(
                    "WEIR-REDIS-026",
                    Kind::Data,
                    "a row has no value in any column, and an entry needs a field",
                )
                .at(shared.key.clone())
                .hint("`field: payload` writes every row as one JSON text"));
            }
            let size: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
            let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            self.waiting.push(Waiting { id: ids.as_ref().map(|ids| ids[row]), fields });
            self.held += size + OVERHEAD;
            self.rows += 1;
            self.bytes += size as u64;
            if self.held >= limit {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self, _barrier: &Barrier) -> Result<Flushed> {
        failpoint!("redis.flush.before");
        self.send().await?;
        failpoint!("redis.flush.after");
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
        let token = if rows == 0 { serde_json::Value::Null } else { serde_json::json!({"rows": rows, "bytes": bytes}) };
        Ok(Flushed { token, rows, bytes })
    }

    fn buffered_bytes(&self) -> usize {
        self.held
    }
}
