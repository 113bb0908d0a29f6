//! Messages into columns: the payload by its format or its schema, and beside it what the option `metadata` tells of the message.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use weir_connect::{Error, Kind, Result};
use weir_formats::{JsonOptions, Refusal};

use super::config::{KeyFormat, Metadata, SourceFormat, SourceOptions};
use super::position::{Entry, Id};
use super::schema::incoming::{Columns, Incoming as Schemas};
use super::schema::values::Values;
use super::unpack::Incoming;
use crate::messages::{self, Own, OwnValue, Payload};

/// What the batches of a stream look like, and all that is needed to make them.
pub struct Shape {
    /// All columns: those of the value, those of the message, those of the key.
    pub schema: SchemaRef,
    /// The schemas of its messages, if it is read by these.
    pub schemas: Option<Arc<Schemas>>,
    /// Read by a schema: the columns of the message beside a payload that nothing is put into.
    plain: messages::Shape,
    format: SourceFormat,
    json: JsonOptions,
}

impl Shape {
    /// Of messages that no schema is needed for.
    pub fn plain(format: SourceFormat, plain: messages::Shape) -> Self {
        Self { schema: plain.schema.clone(), schemas: None, json: plain.payload.json.clone(), plain, format }
    }

    /// Of messages that are read by the schemas of their topic.
    ///
    /// # Errors
    /// `WEIR-MSG-002`, `WEIR-PULSAR-023`: two columns have one name.
    pub fn by_schema(format: SourceFormat, schemas: Schemas, options: &SourceOptions) -> Result<Self> {
        let none = Arc::new(Schema::new(vec![Field::new("value", DataType::Binary, false)]));
        let payload = Payload { format: messages::Format::Raw, ..Payload::default() };
        let plain = messages::Shape::with(none, payload, own(options))?;
        let schema = joined(schemas.columns(), &plain.own)?;
        Ok(Self { schema, schemas: Some(Arc::new(schemas)), plain, format, json: options.json.clone() })
    }

    /// The stream's columns when those of its schema are these.
    ///
    /// # Errors
    /// As [`Shape::by_schema`].
    pub fn changed(&self, columns: &Columns) -> Result<SchemaRef> {
        joined(columns, &self.plain.own)
    }

    /// What a payload is called in a letter.
    pub fn media_type(&self) -> &'static str {
        self.format.plain().media_type()
    }
}

/// All columns.
fn joined(columns: &Columns, own: &[Own]) -> Result<SchemaRef> {
    let payload = Payload { format: messages::Format::Raw, ..Payload::default() };
    let front = messages::Shape::with(columns.value.clone(), payload, own.to_vec())?.schema;
    let fields: Vec<_> = front.fields().iter().chain(columns.key.fields()).cloned().collect();
    for (at, field) in fields.iter().enumerate() {
        if fields[..at].iter().any(|other| other.name() == field.name()) {
            return Err(Error::new("WEIR-PULSAR-023", Kind::Schema, format!("two columns have the name `{}`", field.name()))
                .hint("the columns of the key have `_key_` before their names; `format: raw` takes messages as they are"));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// A batch in the making.
pub struct Rows {
    schema: SchemaRef,
    plain: messages::Rows,
    values: Option<Box<Values>>,
    /// Of the payloads that are read by a schema.
    bytes: usize,
}

impl Rows {
    /// Builders for a shape.
    ///
    /// # Errors
    /// A column type that the format has no form for.
    pub fn new(shape: &Shape) -> Result<Self> {
        let values = shape.schemas.as_ref().map(|schemas| Values::new(schemas, &shape.json)).transpose()?;
        Ok(Self {
            schema: shape.schema.clone(),
            plain: messages::Rows::new(&shape.plain)?,
            values: values.map(Box::new),
            bytes: 0,
        })
    }

    /// Rows so far.
    pub fn count(&self) -> usize {
        self.plain.count()
    }

    /// Bytes of the payloads so far.
    pub fn bytes(&self) -> usize {
        self.plain.bytes() + self.bytes
    }

    fn push(&mut self, message: &Incoming, own: &[OwnValue<'_>]) -> Result<(), Refusal> {
        let Some(values) = &mut self.values else { return self.plain.push(&message.payload, own) };
        values.push(message)?;
        self.bytes += message.payload.len();
        // Bytes are never refused.
        self.plain.push(b"", own)
    }

    /// The batch so far; the builders are empty afterwards.
    ///
    /// # Errors
    /// A list column of over 2^31 elements; a message without a value that its column demands.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        self.bytes = 0;
        let plain = self.plain.finish()?;
        let Some(values) = &mut self.values else { return Ok(plain) };
        let (mut columns, key) = values.finish()?;
        columns.extend(plain.columns().iter().skip(1).cloned());
        columns.extend(key);
        let options = RecordBatchOptions::new().with_row_count(Some(plain.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| Error::internal("the columns of a batch do not fit together").because(error))
    }
}

/// Which columns there are.
#[derive(Debug, Clone)]
pub struct Layout {
    kinds: Vec<Metadata>,
    key_format: KeyFormat,
    topic: String,
    partition: Option<u32>,
}

/// The columns of the message itself.
pub fn own(options: &SourceOptions) -> Vec<Own> {
    let millis = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    kinds(options)
        .into_iter()
        .map(|kind| {
            let (name, data_type, nullable, source, json) = match (kind, options.key_format) {
                (Metadata::Key, KeyFormat::Text) => ("_key", DataType::Utf8, true, "key", false),
                (Metadata::Key, KeyFormat::Raw) => ("_key", DataType::Binary, true, "key", false),
                (Metadata::Properties, _) => ("_properties", DataType::Utf8, false, "properties", true),
                (Metadata::Topic, _) => ("_topic", DataType::Utf8, false, "topic", false),
                (Metadata::Partition, _) => ("_partition", DataType::Int32, true, "partition", false),
                (Metadata::MessageId, _) => ("_message_id", DataType::Utf8, false, "message id", false),
                (Metadata::PublishTime, _) => ("_publish_time", millis.clone(), false, "publish time", false),
                (Metadata::EventTime, _) => ("_event_time", millis.clone(), true, "event time", false),
                (Metadata::Producer, _) => ("_producer", DataType::Utf8, false, "producer", false),
                (Metadata::Sequence, _) => ("_sequence", DataType::Int64, false, "sequence id", false),
            };
            Own { name, data_type, nullable, source, json }
        })
        .collect()
}

/// Each once, in the order of the option.
fn kinds(options: &SourceOptions) -> Vec<Metadata> {
    let mut kinds = Vec::new();
    for kind in &options.metadata {
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    kinds
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Layout {
    /// For one partition of a topic.
    pub fn new(options: &SourceOptions, topic: String, partition: Option<u32>) -> Self {
        Self { kinds: kinds(options), key_format: options.key_format, topic, partition }
    }

    /// How a message is named.
    pub fn id(&self, at: Entry, message: &Incoming) -> String {
        Id { at, partition: self.partition, index: message.index }.text()
    }

    /// Makes a row of a message.
    ///
    /// # Errors
    /// What is wrong with it; then there is no row.
    pub fn push(&self, rows: &mut Rows, at: Entry, message: &Incoming) -> Result<(), Refusal> {
        if let Some(refusal) = &message.refusal {
            return Err(Refusal { code: refusal.code, reason: refusal.reason.clone() });
        }
        let has = |kind| self.kinds.contains(&kind);
        let key = match (&message.key, self.key_format) {
            (Some(key), KeyFormat::Text) if has(Metadata::Key) => Some(std::str::from_utf8(key).map_err(|_| Refusal {
                code: "WEIR-PULSAR-021",
                reason: "the key is not valid UTF-8; `key_format: raw` takes it as it is".to_owned(),
            })?),
            _ => None,
        };
        let properties = if has(Metadata::Properties) {
            let all: Vec<[&str; 2]> = message.properties.iter().map(|one| [one.key.as_str(), one.value.as_str()]).collect();
            serde_json::json!(all).to_string()
        } else {
            String::new()
        };
        let id = if has(Metadata::MessageId) { self.id(at, message) } else { String::new() };
        let own: Vec<OwnValue<'_>> = self
            .kinds
            .iter()
            .map(|kind| match kind {
                Metadata::Key => match (self.key_format, key, &message.key) {
                    (KeyFormat::Text, Some(key), _) => OwnValue::Text(key),
                    (KeyFormat::Raw, _, Some(key)) => OwnValue::Bytes(key),
                    _ => OwnValue::Null,
                },
                Metadata::Properties => OwnValue::Text(&properties),
                Metadata::Topic => OwnValue::Text(&self.topic),
                Metadata::Partition => self.partition.map_or(OwnValue::Null, |partition| OwnValue::Int(i64::from(partition))),
                Metadata::MessageId => OwnValue::Text(&id),
                Metadata::PublishTime => OwnValue::Time(number(message.publish_time)),
                Metadata::EventTime => message.event_time.map_or(OwnValue::Null, |time| OwnValue::Time(number(time))),
                Metadata::Producer => OwnValue::Text(&message.producer),
                Metadata::Sequence => OwnValue::Int(number(message.sequence)),
            })
            .collect();
        rows.push(message, &own)
    }
}
