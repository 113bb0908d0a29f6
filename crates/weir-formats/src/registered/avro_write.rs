//! Rows as Avro records by a schema: one of our own, or the one that is registered.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_avro::schema::{AVRO_NAME_METADATA_KEY, AVRO_NAMESPACE_METADATA_KEY, AvroSchema, SCHEMA_METADATA_KEY};
use arrow_avro::writer::WriterBuilder;
use arrow_avro::writer::format::AvroBinaryFormat;
use serde_json::Value as Json;
use weir_error::{Error, Kind, Result};

use super::Payloads;
use super::avro_schema::{Avro, parse};
use crate::format::Format;
use crate::stored::{stored_batch, stored_schema};

fn failed(why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-FMT-054", Kind::Data, "the rows cannot be written by the Avro schema").because(why)
}

/// A writer of one stream.
#[derive(Debug, Clone)]
pub(super) struct AvroRows {
    stored: SchemaRef,
    pub(super) text: String,
}

impl AvroRows {
    /// By a schema made of the columns; `name` is the record's full name.
    pub(super) fn own(schema: &SchemaRef, name: &str) -> Result<Self> {
        crate::check_writable(Format::Avro, schema)?;
        let stored = stored_schema(Format::Avro, schema);
        let (space, last) = name.rsplit_once('.').unwrap_or(("", name));
        let mut metadata = std::collections::HashMap::from([(AVRO_NAME_METADATA_KEY.to_owned(), last.to_owned())]);
        if !space.is_empty() {
            metadata.insert(AVRO_NAMESPACE_METADATA_KEY.to_owned(), space.to_owned());
        }
        let named = Schema::new_with_metadata(stored.fields().clone(), metadata);
        let made = AvroSchema::try_from(&named).map_err(failed)?;
        let mut json: Json = serde_json::from_str(&made.json_string).map_err(failed)?;
        with_defaults(&mut json);
        Self::checked(stored, json.to_string())
    }

    /// By a schema that is there.
    ///
    /// # Errors
    /// `WEIR-FMT-055` when its fields are not the columns.
    pub(super) fn given(schema: &SchemaRef, text: &str, references: &[(String, String)]) -> Result<Self> {
        let avro = parse(text, references)?;
        let Avro::Record(record) = &avro else {
            return Err(misfit("it is no record"));
        };
        if !references.is_empty() {
            return Err(misfit("it refers to other schemas, which is not written yet")
                .hint("`auto_register: true` registers a schema of the columns themselves"));
        }
        let stored = stored_schema(Format::Avro, schema);
        for field in stored.fields() {
            let member = record.fields.iter().find(|member| member.name == *field.name());
            let member = member.ok_or_else(|| misfit(format!("it has no field `{}`", field.name())))?;
            // The column's own type, or its type and NULL: what an encoder would turn on the way is refused.
            if *member.kind.field(field.name()).data_type() != Avro::plain(field.data_type()) {
                return Err(misfit(format!("its field `{}` is no {}", field.name(), field.data_type())));
            }
        }
        if let Some(more) = record.fields.iter().find(|member| stored.field_with_name(&member.name).is_err()) {
            return Err(misfit(format!("the stream has no column for its field `{}`", more.name)));
        }
        Self::checked(stored, text.to_owned())
    }

    fn checked(stored: SchemaRef, text: String) -> Result<Self> {
        let rows = Self { stored, text };
        rows.encoder().map(|_| rows)
    }

    fn encoder(&self) -> Result<arrow_avro::writer::Encoder> {
        let metadata = std::collections::HashMap::from([(SCHEMA_METADATA_KEY.to_owned(), self.text.clone())]);
        let schema = Schema::new_with_metadata(self.stored.fields().clone(), metadata);
        WriterBuilder::new(schema).build_encoder::<AvroBinaryFormat>().map_err(failed)
    }

    pub(super) fn encode(&self, batch: &RecordBatch, prefix: &[u8]) -> Result<Payloads> {
        let batch = stored_batch(batch, &self.stored)?;
        let mut encoder = self.encoder()?;
        encoder.encode(&batch).map_err(failed)?;
        let rows = encoder.flush();
        let mut payloads = Payloads::with_capacity(rows.bytes().len() + batch.num_rows() * prefix.len(), batch.num_rows());
        for pair in rows.offsets().windows(2) {
            payloads.push([prefix, &rows.bytes()[pair[0]..pair[1]]]);
        }
        Ok(payloads)
    }
}

fn misfit(why: impl Into<String>) -> Error {
    Error::new("WEIR-FMT-055", Kind::Schema, "the registered schema is not that of the columns").because(why.into())
}

/// A field that may be NULL is NULL where a record does not have it: without a default it could never be added to a schema.
fn with_defaults(json: &mut Json) {
    match json {
        Json::Object(object) => {
            let null_first = object.get("type").and_then(Json::as_array).and_then(|branches| branches.first());
            if object.contains_key("name") && null_first.is_some_and(|first| first == "null") {
                object.insert("default".into(), Json::Null);
            }
            object.values_mut().for_each(with_defaults);
        }
        Json::Array(items) => items.iter_mut().for_each(with_defaults),
        _ => {}
    }
}
