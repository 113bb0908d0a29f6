//! What the batches of a stream of messages look like.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_connect::fidelity::LOGICAL_TYPE;
use weir_connect::{Edge, Error, Kind, Result};
use weir_formats::{Compression, Input, JsonOptions, MemoryInput, ReadOptions, declared_type, infer_schema};

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A JSON object: a column per key.
    #[default]
    Json,
    /// Text in UTF-8: one column `value`.
    Text,
    /// Bytes as they are: one column `value`.
    Raw,
}

/// How payloads become columns.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    /// What they are.
    pub format: Format,
    /// Columns that are declared and not inferred; see [`declared`].
    pub declared: Option<SchemaRef>,
    /// Only those: nothing is inferred.
    pub only_columns: bool,
    /// How JSON is read.
    pub json: JsonOptions,
}

/// A column about the message itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Own {
    /// Its name: `_subject`.
    pub name: &'static str,
    /// Its type: Utf8, Binary, Boolean, Int32, Int64, or a timestamp in milliseconds or microseconds, UTC.
    pub data_type: DataType,
    /// Whether a message may lack it.
    pub nullable: bool,
    /// What the system calls it.
    pub source: &'static str,
    /// Its text is JSON.
    pub json: bool,
}

impl Own {
    fn field(&self) -> Field {
        let field = Edge::Exact.record(Field::new(self.name, self.data_type.clone(), self.nullable), self.source);
        if !self.json {
            return field;
        }
        let mut metadata = field.metadata().clone();
        metadata.insert(LOGICAL_TYPE.into(), "json".into());
        field.with_metadata(metadata)
    }
}

/// What batches look like, and all that is needed to make them.
#[derive(Debug, Clone)]
pub struct Shape {
    /// All columns: those of the payload, then those of the message.
    pub schema: SchemaRef,
    /// Those of the payload.
    pub value: SchemaRef,
    /// How it is read.
    pub payload: Payload,
    /// Those of the message, in this order.
    pub own: Vec<Own>,
}

impl Shape {
    /// Of messages like these.
    ///
    /// # Errors
    /// * `WEIR-MSG-001`: the columns are neither declared nor to be seen in a sample. `place` says of what.
    /// * `WEIR-MSG-002`: a column of the payload has the name of one of the message's.
    pub async fn of(payload: Payload, own: Vec<Own>, sample: &[Bytes], place: &str) -> Result<Self> {
        let one = |data_type, source: &str| {
            Arc::new(Schema::new(vec![Edge::Exact.record(Field::new("value", data_type, false), source)]))
        };
        let value = match payload.format {
            Format::Text => one(DataType::Utf8, "text"),
            Format::Raw => one(DataType::Binary, "bytes"),
            Format::Json => json_columns(&payload, sample, place).await?,
        };
        Self::with(value, payload, own)
    }

    /// With these columns of the payload.
    ///
    /// # Errors
    /// `WEIR-MSG-002`.
    pub fn with(value: SchemaRef, payload: Payload, own: Vec<Own>) -> Result<Self> {
        let mut fields: Vec<Field> = value.fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.extend(own.iter().map(Own::field));
        for (at, field) in fields.iter().enumerate() {
            if fields[..at].iter().any(|other| other.name() == field.name()) {
                let what = format!("the payloads have a column `{}`, and so has the message itself", field.name());
                return Err(Error::new("WEIR-MSG-002", Kind::Schema, what)
                    .hint("take it out of `metadata`, or leave the payload's out with `columns`, `only_columns` and `json: {extra_keys: ignore}`"));
            }
        }
        Ok(Self { schema: Arc::new(Schema::new(fields)), value, payload, own })
    }
}

async fn json_columns(payload: &Payload, sample: &[Bytes], place: &str) -> Result<SchemaRef> {
    if let (true, Some(declared)) = (payload.only_columns, &payload.declared) {
        return Ok(declared.clone());
    }
    if sample.is_empty() {
        return payload.declared.clone().ok_or_else(|| {
            Error::new("WEIR-MSG-001", Kind::Schema, "there are no messages, so their columns are not known")
                .at(place.to_owned())
                .hint("declare them under `columns`")
        });
    }
    let mut text = Vec::new();
    for message in sample {
        // Line ends can only stand between the parts of a JSON text.
        text.extend(message.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
        text.push(b'\n');
    }
    let mut read = ReadOptions::new(weir_formats::Format::Ndjson);
    (read.compression, read.json, read.declared) = (Compression::None, payload.json.clone(), payload.declared.clone());
    let input: Arc<dyn Input> = Arc::new(MemoryInput::new(place, text));
    let inferred = infer_schema(&input, &read).await.map_err(|error| {
        if error.code() == "WEIR-FMT-028" {
            return error.hint("payloads of `format: json` are objects; `format: text` and `raw` take others");
        }
        error
    })?;
    Ok(inferred.schema)
}

/// The option `columns`: name → type. `None` if it is empty.
///
/// # Errors
/// A type that is none.
pub fn declared(columns: &BTreeMap<String, String>) -> Result<Option<SchemaRef>> {
    if columns.is_empty() {
        return Ok(None);
    }
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, word)| {
            Ok(Field::new(name, declared_type(word).map_err(|error| error.at(format!("column `{name}`")))?, true))
        })
        .collect::<Result<_>>()?;
    Ok(Some(Arc::new(Schema::new(fields))))
}
