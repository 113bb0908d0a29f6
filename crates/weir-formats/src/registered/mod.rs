//! Records whose schema is kept in a schema registry and named by a number in front of each: Avro, JSON Schema and Protobuf.
//!
//! * [`Definition`]: a schema with everything that it refers to, and the columns that it means.
//! * [`Resolution`]: how records of one definition become rows of another one, which is the one that is read.
//! * [`RegisteredRows`]: the rows. [`RegisteredEncoder`]: the way back.
//!
//! Not here: the registry itself, and the frame around a record (the connectors), files of Avro and JSON (the modules of those formats).
//!
//! ## What is promised
//! * A record is taken whole or refused whole, with a reason.
//! * A value that the reader's type does not hold exactly refuses its record, also where the rules of the format would round it.
//! * What the reader has no column for is named by [`Resolution::extra`]; the caller decides.

mod avro_read;
mod avro_schema;
mod avro_write;
mod json_schema;
mod proto_read;
mod proto_schema;
mod proto_write;
#[cfg(test)]
mod tests;
mod value;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use weir_connect::{Edge, SinkType};
use weir_error::{Error, Kind, Result};

use self::avro_read::Plan;
use self::avro_schema::Avro;
use self::avro_write::AvroRows;
use self::proto_read::MessagePlan;
use self::proto_schema::Proto;
use self::proto_write::ProtoRows;
use self::value::{Column, Value};
use crate::format::{Compression, Format};
use crate::messages::{JsonMessages, Refusal};
use crate::options::{JsonOptions, WriteOptions};

/// Which language a schema is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaKind {
    /// Apache Avro.
    Avro,
    /// JSON Schema.
    Json,
    /// Protocol Buffers.
    Protobuf,
}

impl SchemaKind {
    /// As registries write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Avro => "AVRO",
            Self::Json => "JSON",
            Self::Protobuf => "PROTOBUF",
        }
    }

    /// By the word of a registry; none means Avro.
    pub fn named(word: Option<&str>) -> Option<Self> {
        match word.unwrap_or("AVRO") {
            "AVRO" => Some(Self::Avro),
            "JSON" => Some(Self::Json),
            "PROTOBUF" => Some(Self::Protobuf),
            _ => None,
        }
    }
}

/// A schema as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaText {
    /// Its language.
    pub kind: SchemaKind,
    /// Itself.
    pub text: String,
    /// What it refers to, by the names that it uses, each behind those that it refers to itself.
    pub references: Vec<(String, String)>,
}

/// A schema, understood.
#[derive(Debug)]
pub struct Definition(Language);

#[derive(Debug)]
enum Language {
    Avro(Avro),
    Json(SchemaRef),
    Protobuf(Proto),
}

impl Definition {
    /// Understands a schema. `message`: the full name of the message that rows are made of (Protobuf; default: the first of the file).
    ///
    /// # Errors
    /// `WEIR-FMT-050` (Avro), `WEIR-FMT-051` (JSON Schema), `WEIR-FMT-052` (Protobuf): no schema, or one that has no columns.
    pub fn new(schema: &SchemaText, message: Option<&str>) -> Result<Self> {
        Ok(Self(match schema.kind {
            SchemaKind::Avro => Language::Avro(avro_schema::parse(&schema.text, &schema.references)?),
            SchemaKind::Json => Language::Json(json_schema::columns(&schema.text, &schema.references)?),
            SchemaKind::Protobuf => Language::Protobuf(Proto::new(&schema.text, &schema.references, message)?),
        }))
    }

    /// Understands a Protobuf schema that comes compiled: a `FileDescriptorSet` with all that it imports. `message` is the full name of the message
    /// that rows are made of; its records have no path to it in front.
    ///
    /// # Errors
    /// `WEIR-FMT-052`: no descriptors, or no such message.
    pub fn of_descriptors(set: &[u8], message: &str) -> Result<Self> {
        Ok(Self(Language::Protobuf(Proto::of_descriptors(set, message)?)))
    }

    /// Its language.
    pub fn kind(&self) -> SchemaKind {
        match self.0 {
            Language::Avro(_) => SchemaKind::Avro,
            Language::Json(_) => SchemaKind::Json,
            Language::Protobuf(_) => SchemaKind::Protobuf,
        }
    }

    /// The columns of its rows.
    ///
    /// # Errors
    /// `WEIR-FMT-052` for a Protobuf message that contains itself.
    pub fn columns(&self) -> Result<SchemaRef> {
        match &self.0 {
            Language::Avro(avro) => Ok(avro.columns()),
            Language::Json(columns) => Ok(columns.clone()),
            Language::Protobuf(proto) => proto.columns(),
        }
    }
}

/// How records of a writer's definition become rows of a reader's.
#[derive(Debug)]
pub struct Resolution {
    way: Way,
    extra: Vec<String>,
}

#[derive(Debug)]
enum Way {
    Avro(Plan),
    Json,
    Protobuf(MessagePlan),
}

impl Resolution {
    /// Finds the way.
    ///
    /// # Errors
    /// `WEIR-FMT-053` when there is none, saying why.
    pub fn new(writer: &Definition, reader: &Definition) -> Result<Self> {
        let none = |why: String| {
            Error::new("WEIR-FMT-053", Kind::Schema, "records of this schema cannot be read into the stream's columns")
                .because(why)
        };
        let mut extra = Vec::new();
        let way = match (&writer.0, &reader.0) {
            (Language::Avro(writer), Language::Avro(reader)) => {
                Way::Avro(avro_read::resolve(writer, reader, "", &mut extra).map_err(none)?)
            }
            (Language::Json(writer), Language::Json(reader)) => {
                let other = |field: &&Arc<Field>| {
                    reader.field_with_name(field.name()).map_or(true, |column| column.data_type() != field.data_type())
                };
                extra.extend(writer.fields().iter().filter(other).map(|field| field.name().clone()));
                Way::Json
            }
            (Language::Protobuf(writer), Language::Protobuf(reader)) => {
                Way::Protobuf(proto_read::resolve(writer, reader, &mut extra).map_err(none)?)
            }
            _ => {
                let (writer, reader) = (writer.kind().as_str(), reader.kind().as_str());
                return Err(none(format!("it is a schema of {writer}, the stream's is one of {reader}")));
            }
        };
        extra.sort();
        extra.dedup();
        Ok(Self { way, extra })
    }

    /// What the writer has and the reader has no column for, by path. JSON: or one of another type; the values decide then.
    pub fn extra(&self) -> &[String] {
        &self.extra
    }
}

/// Rows in the making.
pub struct RegisteredRows(Building);

enum Building {
    Columns { columns: Vec<Column>, record: bool, rows: usize },
    Json(Box<JsonMessages>),
}

impl RegisteredRows {
    /// Builders for the columns of the definition that is read. `columns` are those that the stream has: the definition's, perhaps all of them nullable.
    ///
    /// # Errors
    /// A column whose type has no form; `WEIR-FMT-027` for JSON.
    pub fn new(reader: &Definition, columns: &SchemaRef, json: &JsonOptions) -> Result<Self> {
        Ok(Self(match &reader.0 {
            Language::Json(_) => Building::Json(Box::new(JsonMessages::new(columns, None, json)?)),
            Language::Avro(avro) => Building::new(columns, matches!(avro, Avro::Record(_)))?,
            Language::Protobuf(_) => Building::new(columns, true)?,
        }))
    }

    /// Whether a record can be taken, without taking it: for those that come with another one, of which both are rows or neither.
    ///
    /// # Errors
    /// What the record is not taken for.
    pub fn check(&mut self, way: &Resolution, record: &[u8]) -> Result<(), Refusal> {
        if let (Building::Json(json), Way::Json) = (&mut self.0, &way.way) {
            json.push(record)?;
            json.take_back();
            return Ok(());
        }
        self.value(way, record).map(drop)
    }

    fn value<'a>(&self, way: &Resolution, record: &'a [u8]) -> Result<Value<'a>, Refusal> {
        let refused = |reason: String| Refusal { code: "WEIR-FMT-056", reason };
        match (&self.0, &way.way) {
            (Building::Columns { .. }, Way::Avro(plan)) => avro_read::Bytes::new(record).whole(plan).map_err(refused),
            (Building::Columns { .. }, Way::Protobuf(plan)) => plan.read(record).map_err(refused),
            _ => Err(refused("the record is of another kind than the stream".into())),
        }
    }

    /// Takes one record, without the frame around it: a row more, or a refusal and no row. Protobuf: with the path to its message in front, unless the
    /// schema came compiled.
    ///
    /// # Errors
    /// What the record is not taken for.
    pub fn push(&mut self, way: &Resolution, record: &[u8]) -> Result<(), Refusal> {
        let refused = |reason: String| Refusal { code: "WEIR-FMT-056", reason };
        if let (Building::Json(json), Way::Json) = (&mut self.0, &way.way) {
            return json.push(record);
        }
        let value = self.value(way, record)?;
        match &mut self.0 {
            Building::Columns { columns, record, rows } => {
                let values = match value {
                    Value::Record(values) if *record => values,
                    other => vec![other],
                };
                for (column, value) in columns.iter_mut().zip(values) {
                    column.push(value).map_err(|error| refused(error.to_string()))?;
                }
                *rows += 1;
                Ok(())
            }
            Building::Json(_) => Ok(()),
        }
    }

    /// A row of NULLs. The caller sees to it that every column may be NULL.
    pub fn push_nulls(&mut self) {
        match &mut self.0 {
            Building::Json(json) => json.push_nulls(),
            Building::Columns { columns, rows, .. } => {
                for column in columns {
                    // NULL goes into every column.
                    let _never_refused = column.push(Value::Null);
                }
                *rows += 1;
            }
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        match &self.0 {
            Building::Json(json) => json.rows(),
            Building::Columns { rows, .. } => *rows,
        }
    }

    /// The columns so far; the builders are empty afterwards.
    ///
    /// # Errors
    /// `WEIR-FMT-057` for a column of over 2^31 elements.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        match &mut self.0 {
            Building::Json(json) => json.finish(),
            Building::Columns { columns, rows, .. } => {
                *rows = 0;
                columns.iter_mut().map(Column::finish).collect()
            }
        }
    }
}

impl Building {
    fn new(columns: &Schema, record: bool) -> Result<Self> {
        let columns = columns.fields().iter().map(|field| Column::new(field.data_type())).collect::<Result<_>>()?;
        Ok(Self::Columns { columns, record, rows: 0 })
    }
}

/// Encoded rows, pieces of one buffer.
#[derive(Debug, Default)]
pub struct Payloads {
    /// All of them.
    pub bytes: Vec<u8>,
    /// Each.
    pub ranges: Vec<Range<usize>>,
}

impl Payloads {
    fn with_capacity(bytes: usize, rows: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ranges: Vec::with_capacity(rows) }
    }

    fn push<const N: usize>(&mut self, parts: [&[u8]; N]) {
        let start = self.bytes.len();
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.ranges.push(start..self.bytes.len());
    }
}

/// What a column becomes in Protobuf. Pure.
pub fn protobuf_type(field: &Field) -> SinkType {
    let (list, inner) = match field.data_type() {
        DataType::List(item) | DataType::LargeList(item) => ("repeated ", item.data_type()),
        other => ("", other),
    };
    let Some((word, taken)) = proto_write::form(inner) else {
        let reason = format!("{inner} has no counterpart here: plain values and lists of them are written");
        return SinkType { name: "none".into(), edge: Edge::Unsupported { reason } };
    };
    let edge = match (inner == &taken, word) {
        (true, _) => Edge::Exact,
        (false, "string") if !matches!(inner, DataType::LargeUtf8 | DataType::Utf8View) => {
            Edge::Widening { note: "as text".into() }
        }
        (false, _) => Edge::Widening { note: "in the next wider type".into() },
    };
    SinkType { name: format!("{list}{word}"), edge }
}

/// Rows as records of a schema.
#[derive(Debug, Clone)]
pub struct RegisteredEncoder {
    kind: SchemaKind,
    text: String,
    rows: RowsOf,
}

#[derive(Debug, Clone)]
enum RowsOf {
    Avro(AvroRows),
    Json(SchemaRef),
    Protobuf(Arc<ProtoRows>),
}

impl RegisteredEncoder {
    /// By a schema made of the columns; `name` is the full name of its record. Protobuf keeps the numbers that fields have in `before`, the subject's last
    /// schema.
    ///
    /// # Errors
    /// `WEIR-FMT-011` for a column that has no form.
    pub fn own(kind: SchemaKind, schema: &SchemaRef, name: &str, before: Option<&SchemaText>) -> Result<Self> {
        let (text, rows) = match kind {
            SchemaKind::Avro => {
                let rows = AvroRows::own(schema, name)?;
                (rows.text.clone(), RowsOf::Avro(rows))
            }
            SchemaKind::Json => {
                crate::check_writable(Format::Ndjson, schema)?;
                (json_schema::schema_of(schema, name), RowsOf::Json(schema.clone()))
            }
            SchemaKind::Protobuf => {
                let rows = ProtoRows::own(schema, name, before)?;
                (rows.text.clone(), RowsOf::Protobuf(Arc::new(rows)))
            }
        };
        Ok(Self { kind, text, rows })
    }

    /// By a schema that is there.
    ///
    /// # Errors
    /// `WEIR-FMT-055` when it is not that of the columns.
    pub fn given(given: &SchemaText, schema: &SchemaRef, message: Option<&str>) -> Result<Self> {
        let rows = match given.kind {
            SchemaKind::Avro => RowsOf::Avro(AvroRows::given(schema, &given.text, &given.references)?),
            SchemaKind::Json => {
                crate::check_writable(Format::Ndjson, schema)?;
                let known = json_schema::columns(&given.text, &given.references)?;
                if let Some(field) = schema.fields().iter().find(|field| known.field_with_name(field.name()).is_err()) {
                    return Err(Error::new("WEIR-FMT-055", Kind::Schema, "the registered schema is not that of the columns")
                        .because(format!("it has no property `{}`", field.name())));
                }
                RowsOf::Json(schema.clone())
            }
            SchemaKind::Protobuf => RowsOf::Protobuf(Arc::new(ProtoRows::given(schema, given, message)?)),
        };
        Ok(Self { kind: given.kind, text: given.text.clone(), rows })
    }

    /// The schema's language.
    pub fn kind(&self) -> SchemaKind {
        self.kind
    }

    /// The schema.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The records of a batch, each behind `prefix`.
    ///
    /// # Errors
    /// A value that has no form.
    pub fn encode(&self, batch: &RecordBatch, prefix: &[u8]) -> Result<Payloads> {
        match &self.rows {
            RowsOf::Avro(rows) => rows.encode(batch, prefix),
            RowsOf::Protobuf(rows) => rows.encode(batch, prefix),
            RowsOf::Json(schema) => {
                let mut options = WriteOptions::new(Format::Ndjson);
                options.compression = Compression::None;
                let mut encoder = crate::encoder(schema.clone(), &options)?;
                encoder.write(batch)?;
                let mut parts = encoder.drain();
                parts.extend(encoder.finish()?);
                let text = parts.concat();
                let mut payloads = Payloads::with_capacity(text.len() + batch.num_rows() * prefix.len(), batch.num_rows());
                // In JSON lines a line end is always an end.
                text.split(|byte| *byte == b'\n').take(batch.num_rows()).for_each(|line| payloads.push([prefix, line]));
                Ok(payloads)
            }
        }
    }
}
