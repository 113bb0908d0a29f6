//! Records into columns: the value by its format, and beside it what the record says of itself.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Int32Builder, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder,
    TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use base64::Engine;
use rdkafka::message::{Headers, Message};
use weir_connect::fidelity::LOGICAL_TYPE;
use weir_connect::{Edge, Error, Kind, Result};
use weir_formats::debezium::Opener;
use weir_formats::registered::{RegisteredRows, Resolution};
use weir_formats::{CsvMessages, JsonMessages, Refusal};

use crate::messages::declared;

use super::config::{KeyFormat, Metadata, SourceFormat, SourceOptions, Tombstones};
use super::registry::frame;
use super::registry::incoming::{Incoming, Known};

/// Code of a record without a value.
pub const TOMBSTONE: &str = "WEIR-KAFKA-022";

/// What the batches of a stream look like, and all that is needed to make them.
pub struct Shape {
    /// All columns.
    pub schema: SchemaRef,
    /// Those of the value.
    pub value: SchemaRef,
    /// The options that say how.
    pub options: SourceOptions,
    /// The schemas of its values, if they are in a registry.
    pub registered: Option<Arc<Incoming>>,
    /// Members of the key, if it is JSON.
    keys: Option<SchemaRef>,
}

/// The column of what a change was.
pub const OP: &str = "_op";

impl Shape {
    /// By the columns of the value.
    ///
    /// # Errors
    /// A column of the value with the name of one of the record's own.
    pub fn new(value: SchemaRef, options: &SourceOptions, registered: Option<Arc<Incoming>>) -> Result<Self> {
        let keep = options.tombstones == Tombstones::Keep;
        let mut fields: Vec<Field> = value
            .fields()
            .iter()
            // A record without a value has none in any column.
            .map(|field| if keep { field.as_ref().clone().with_nullable(true) } else { field.as_ref().clone() })
            .collect();
        let value = Arc::new(Schema::new(fields.clone()));
        let mut kinds = options.metadata.clone();
        kinds.sort_unstable();
        kinds.dedup();
        fields.extend(kinds.iter().map(|kind| field_of(*kind, options.key_format)));
        let keys = declared(&options.key_columns)?;
        for key in keys.iter().flat_map(|keys| keys.fields()) {
            fields.push(Edge::Exact.record(key.as_ref().clone().with_name(format!("_key_{}", key.name())), "key"));
        }
        if keep {
            fields.push(Field::new("_tombstone", DataType::Boolean, false));
        }
        for (at, field) in fields.iter().enumerate() {
            if fields[..at].iter().any(|other| other.name() == field.name()) {
                let what = format!("the records have a column `{}`, and so has the record itself", field.name());
                return Err(Error::new("WEIR-KAFKA-020", Kind::Schema, what)
                    .hint("take it out of `metadata`, or leave the value's out with `columns`, `only_columns` and `json: {extra_keys: ignore}`"));
            }
        }
        Ok(Self { schema: Arc::new(Schema::new(fields)), value, options: options.clone(), registered, keys })
    }
}

fn field_of(kind: Metadata, key_format: KeyFormat) -> Field {
    let plain = |name: &str, data_type, nullable, source: &str| Edge::Exact.record(Field::new(name, data_type, nullable), source);
    match kind {
        Metadata::Key => plain("_key", if key_format == KeyFormat::Raw { DataType::Binary } else { DataType::Utf8 }, true, "key"),
        Metadata::Headers => {
            let field = plain("_headers", DataType::Utf8, true, "headers");
            let mut metadata = field.metadata().clone();
            metadata.insert(LOGICAL_TYPE.into(), "json".into());
            field.with_metadata(metadata)
        }
        Metadata::Topic => plain("_topic", DataType::Utf8, false, "topic"),
        Metadata::Partition => plain("_partition", DataType::Int32, false, "partition"),
        Metadata::Offset => plain("_offset", DataType::Int64, false, "offset"),
        Metadata::Timestamp => {
            plain("_timestamp", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true, "timestamp")
        }
    }
}

enum Value {
    Json(Box<JsonMessages>),
    Text(StringBuilder),
    Raw(BinaryBuilder),
    Csv(Box<CsvMessages>),
    Debezium { opener: Opener, rows: Box<JsonMessages>, ops: StringBuilder },
    Registered(Box<Registered>),
}

/// Values whose schema is in a registry.
struct Registered {
    rows: RegisteredRows,
    schemas: Arc<Incoming>,
    /// The schema of the record before.
    last: Option<(u32, Arc<Resolution>)>,
}

impl Registered {
    fn push(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let (id, record) = frame(value)?;
        if let Some((last, way)) = &self.last
            && *last == id
        {
            return self.rows.push(way, record);
        }
        match self.schemas.known(id) {
            Some(Known::Way(way)) => {
                self.last = Some((id, way.clone()));
                self.rows.push(&way, record)
            }
            Some(Known::Refused(refusal)) => Err(refusal),
            Some(Known::Changed(_)) => {
                let reason = format!("schema {id} came later than the stream's and has other columns; the next run reads it");
                Err(Refusal { code: "WEIR-KAFKA-046", reason })
            }
            None => Err(Refusal { code: "WEIR-KAFKA-042", reason: format!("nothing is known of schema {id}") }),
        }
    }
}

enum Own {
    KeyText(StringBuilder),
    KeyRaw(BinaryBuilder),
    Headers(StringBuilder),
    Topic(StringBuilder),
    Partition(Int32Builder),
    Offset(Int64Builder),
    Timestamp(TimestampMillisecondBuilder),
}

/// A batch in the making.
pub struct Rows {
    schema: SchemaRef,
    value: Value,
    own: Vec<Own>,
    keys: Option<Box<JsonMessages>>,
    tombstones: Option<BooleanBuilder>,
    rows: usize,
    max_depth: usize,
}

impl Rows {
    /// Builders for a shape.
    pub fn new(shape: &Shape) -> Result<Self> {
        let options = &shape.options;
        let value = match options.format {
            SourceFormat::Json => {
                Value::Json(Box::new(JsonMessages::new(&shape.value, options.declared()?.as_ref(), &options.json)?))
            }
            SourceFormat::Text => Value::Text(StringBuilder::new()),
            SourceFormat::Raw => Value::Raw(BinaryBuilder::new()),
            SourceFormat::Csv => Value::Csv(Box::new(CsvMessages::new(&shape.value, &options.csv)?)),
            SourceFormat::DebeziumJson => {
                // The last column is what the change was.
                let row: Vec<_> = shape.value.fields().iter().filter(|field| field.name() != OP).cloned().collect();
                let rows = JsonMessages::new(&Arc::new(Schema::new(row)), options.declared()?.as_ref(), &options.json)?;
                Value::Debezium { opener: Opener::default(), rows: Box::new(rows), ops: StringBuilder::new() }
            }
            SourceFormat::Avro | SourceFormat::Protobuf | SourceFormat::JsonSchema => {
                let schemas = shape.registered.clone().ok_or_else(|| Error::internal("a format of the registry without one"))?;
                let rows = RegisteredRows::new(schemas.reader(), &shape.value, &options.json)?;
                Value::Registered(Box::new(Registered { rows, schemas, last: None }))
            }
        };
        let own = shape.schema.fields()[shape.value.fields().len()..]
            .iter()
            .filter_map(|field| {
                Some(match field.name().as_str() {
                    "_key" if options.key_format == KeyFormat::Raw => Own::KeyRaw(BinaryBuilder::new()),
                    "_key" => Own::KeyText(StringBuilder::new()),
                    "_headers" => Own::Headers(StringBuilder::new()),
                    "_topic" => Own::Topic(StringBuilder::new()),
                    "_partition" => Own::Partition(Int32Builder::new()),
                    "_offset" => Own::Offset(Int64Builder::new()),
                    "_timestamp" => Own::Timestamp(TimestampMillisecondBuilder::new().with_timezone("UTC")),
                    _ => return None,
                })
            })
            .collect();
        let tombstones = (options.tombstones == Tombstones::Keep).then(BooleanBuilder::new);
        let keys = match &shape.keys {
            Some(keys) => Some(Box::new(JsonMessages::new(keys, Some(keys), &options.json)?)),
            None => None,
        };
        Ok(Self { schema: shape.schema.clone(), value, own, keys, tombstones, rows: 0, max_depth: options.json.max_depth })
    }

    /// Rows so far.
    pub fn count(&self) -> usize {
        self.rows
    }

    /// Takes one record: a row more, or an error and no row.
    ///
    /// # Errors
    /// What is wrong with the record.
    pub fn push<M: Message>(&mut self, record: &M) -> Result<(), Refusal> {
        if let Some(key) = record.key()
            && self.own.iter().any(|own| matches!(own, Own::KeyText(_)))
            && std::str::from_utf8(key).is_err()
        {
            let reason = "the key is not valid UTF-8; `key_format: raw` takes it as it is".to_owned();
            return Err(Refusal { code: "WEIR-KAFKA-021", reason });
        }
        if let Some(keys) = &mut self.keys {
            match record.key() {
                Some(key) => {
                    keys.push(key).map_err(|refusal| Refusal { reason: format!("the key: {}", refusal.reason), ..refusal })?
                }
                None => keys.push_nulls(),
            }
        }
        if let Err(refusal) = self.value(record.payload()) {
            if let Some(keys) = &mut self.keys {
                keys.take_back();
            }
            return Err(refusal);
        }
        if let Some(tombstones) = &mut self.tombstones {
            tombstones.append_value(record.payload().is_none());
        }
        for own in &mut self.own {
            match own {
                Own::KeyText(keys) => keys.append_option(record.key().map(|key| std::str::from_utf8(key).unwrap_or_default())),
                Own::KeyRaw(keys) => keys.append_option(record.key()),
                Own::Headers(headers) => headers.append_option(record.headers().map(headers_of)),
                Own::Topic(topics) => topics.append_value(record.topic()),
                Own::Partition(partitions) => partitions.append_value(record.partition()),
                Own::Offset(offsets) => offsets.append_value(record.offset()),
                Own::Timestamp(timestamps) => timestamps.append_option(record.timestamp().to_millis()),
            }
        }
        self.rows += 1;
        Ok(())
    }

    fn value(&mut self, payload: Option<&[u8]>) -> Result<(), Refusal> {
        match (payload, &mut self.value) {
            (None, _) if self.tombstones.is_none() => {
                let reason = "the record has no value (a tombstone); `tombstones: keep` makes a row of it".to_owned();
                return Err(Refusal { code: TOMBSTONE, reason });
            }
            (None, Value::Json(json)) => json.push_nulls(),
            (None, Value::Text(text)) => text.append_null(),
            (None, Value::Raw(raw)) => raw.append_null(),
            (None, Value::Csv(rows)) => rows.push_nulls(),
            (None, Value::Debezium { rows, ops, .. }) => {
                rows.push_nulls();
                ops.append_null();
            }
            (None, Value::Registered(values)) => values.rows.push_nulls(),
            (Some(payload), Value::Json(json)) => json.push(payload)?,
            (Some(payload), Value::Text(text)) => match std::str::from_utf8(payload) {
                Ok(payload) => text.append_value(payload),
                Err(_) => {
                    let reason = "the value is not valid UTF-8; `format: raw` takes it as it is".to_owned();
                    return Err(Refusal { code: "WEIR-KAFKA-021", reason });
                }
            },
            (Some(payload), Value::Raw(raw)) => raw.append_value(payload),
            (Some(payload), Value::Csv(rows)) => rows.push(payload)?,
            (Some(payload), Value::Debezium { opener, rows, ops }) => {
                let change = opener.open(payload, self.max_depth)?;
                rows.push(change.row)?;
                ops.append_value(change.op);
            }
            (Some(payload), Value::Registered(values)) => values.push(payload)?,
        }
        Ok(())
    }

    /// The batch so far; the builders are empty afterwards.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let rows = std::mem::take(&mut self.rows);
        let mut columns: Vec<ArrayRef> = match &mut self.value {
            Value::Json(json) => json.finish()?,
            Value::Text(text) => vec![Arc::new(text.finish())],
            Value::Raw(raw) => vec![Arc::new(raw.finish())],
            Value::Csv(rows) => rows.finish()?,
            Value::Debezium { rows, ops, .. } => {
                let mut columns = rows.finish()?;
                columns.push(Arc::new(ops.finish()));
                columns
            }
            Value::Registered(values) => values.rows.finish()?,
        };
        for own in &mut self.own {
            columns.push(match own {
                Own::KeyText(builder) | Own::Headers(builder) | Own::Topic(builder) => Arc::new(builder.finish()),
                Own::KeyRaw(builder) => Arc::new(builder.finish()),
                Own::Partition(builder) => Arc::new(builder.finish()),
                Own::Offset(builder) => Arc::new(builder.finish()),
                Own::Timestamp(builder) => Arc::new(builder.finish()),
            });
        }
        if let Some(keys) = &mut self.keys {
            columns.extend(keys.finish()?);
        }
        if let Some(tombstones) = &mut self.tombstones {
            columns.push(Arc::new(tombstones.finish()));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| Error::internal("the columns of a batch do not fit together").because(error))
    }
}

/// `[["name", "value"], …]`.
fn headers_of<H: Headers>(headers: &H) -> String {
    let all: Vec<serde_json::Value> = headers
        .iter()
        .map(|header| {
            let value = match header.value.map(|value| std::str::from_utf8(value).map_err(|_| value)) {
                None => serde_json::Value::Null,
                Some(Ok(text)) => text.into(),
                Some(Err(bytes)) => serde_json::json!({"base64": base64::engine::general_purpose::STANDARD.encode(bytes)}),
            };
            serde_json::json!([header.key, value])
        })
        .collect();
    serde_json::Value::Array(all).to_string()
}
