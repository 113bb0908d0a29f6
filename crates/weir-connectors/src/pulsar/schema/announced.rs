//! Writing: the schema that a sink's producers announce to the broker, which keeps it and says its version.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use pulsar::message::proto;
use pulsar::message::proto::schema::Type;
use serde_json::Value;
use weir_connect::fidelity::LOGICAL_TYPE;
use weir_connect::{Error, Kind, Result};
use weir_formats::registered::{RegisteredEncoder, SchemaKind, SchemaText};

use super::super::config::{SinkFormat, SinkOptions};
use super::kept::{Half, Kept};

/// What is announced, and how rows are written by it.
#[derive(Debug, Clone, Default)]
pub struct Announced {
    /// What producers say; `None`: nothing.
    pub schema: Option<proto::Schema>,
    /// `format: avro`: the way into its bytes.
    pub encoder: Option<RegisteredEncoder>,
}

impl Announced {
    /// By the options, for these columns. The newest schema of the topic is taken as it is if it is that of the columns.
    ///
    /// # Errors
    /// `WEIR-FMT-011`: a column that Avro has no form for. `WEIR-PULSAR-029`: one that no definition can name.
    pub fn new(options: &SinkOptions, columns: &SchemaRef, newest: Option<&Kept>) -> Result<Self> {
        let name = name_of(options, newest);
        match options.format {
            SinkFormat::Avro => {
                let given = newest.filter(|kept| kept.kind() == Type::Avro).and_then(|kept| fitting(&kept.half, columns));
                let encoder = match given {
                    Some(encoder) => encoder,
                    None => RegisteredEncoder::own(SchemaKind::Avro, columns, &name, None)?,
                };
                Ok(Self { schema: Some(schema(Type::Avro, &name, encoder.text())), encoder: Some(encoder) })
            }
            SinkFormat::Json if options.announce_schema => {
                let described = described(columns)?;
                let definition = RegisteredEncoder::own(SchemaKind::Avro, &described, &name, None)?;
                Ok(Self { schema: Some(schema(Type::Json, &name, definition.text())), encoder: None })
            }
            SinkFormat::Text if options.announce_schema => {
                Ok(Self { schema: Some(schema(Type::String, "String", "")), encoder: None })
            }
            _ => Ok(Self::default()),
        }
    }
}

fn schema(kind: Type, name: &str, text: &str) -> proto::Schema {
    let name = name.rsplit('.').next().unwrap_or(name).to_owned();
    proto::Schema { name, schema_data: text.as_bytes().to_vec(), r#type: kind as i32, properties: Vec::new() }
}

/// The topic's own schema, if it is that of the columns.
fn fitting(half: &Half, columns: &SchemaRef) -> Option<RegisteredEncoder> {
    let text = SchemaText { kind: SchemaKind::Avro, text: half.text().ok()?.to_owned(), references: Vec::new() };
    RegisteredEncoder::given(&text, columns, None).ok()
}

/// The record's full name: that of the options; else that which it has in the topic already, because a record of another name is no later version of it.
fn name_of(options: &SinkOptions, newest: Option<&Kept>) -> String {
    let known = || -> Option<String> {
        let kept = newest.filter(|kept| matches!(kept.kind(), Type::Avro | Type::Json))?;
        let json: Value = serde_json::from_slice(&kept.half.data).ok()?;
        let name = json.get("name")?.as_str()?;
        match json.get("namespace").and_then(Value::as_str).filter(|space| !space.is_empty() && !name.contains('.')) {
            Some(space) => Some(format!("{space}.{name}")),
            None => Some(name.to_owned()),
        }
    };
    options.record_name.clone().or_else(known).unwrap_or_else(|| "Row".to_owned())
}

/// The columns as JSON shows them: what it writes as text is text.
fn described(columns: &Schema) -> Result<SchemaRef> {
    Ok(Arc::new(Schema::new(columns.fields().iter().map(|field| in_json(field)).collect::<Result<Vec<_>>>()?)))
}

fn in_json(field: &Field) -> Result<Field> {
    use DataType as D;
    if field.metadata().get(LOGICAL_TYPE).is_some_and(|word| word == "json") {
        let what =
            format!("column `{}` is JSON text, which may be anything: no schema of the topic can say what it is", field.name());
        return Err(Error::new("WEIR-PULSAR-029", Kind::Schema, what)
            .hint("leave it out with `field_mapper`, or write without `announce_schema`"));
    }
    let data_type = match field.data_type() {
        D::Boolean | D::Float32 | D::Float64 | D::Utf8 | D::Null => field.data_type().clone(),
        D::Int8 | D::Int16 | D::Int32 | D::UInt8 | D::UInt16 => D::Int32,
        D::Int64 | D::UInt32 => D::Int64,
        // Their digits are a number in JSON, and Avro has no larger one that JSON's readers would take.
        data_type if data_type.is_decimal() => D::Float64,
        D::UInt64 | D::Float16 => D::Float64,
        D::List(item) | D::LargeList(item) | D::FixedSizeList(item, _) => D::List(Arc::new(in_json(item)?)),
        D::Struct(fields) => D::Struct(fields.iter().map(|field| in_json(field)).collect::<Result<Vec<_>>>()?.into()),
        D::Map(entries, sorted) => match entries.data_type() {
            D::Struct(pair) => {
                let pair = pair.iter().map(|field| in_json(field)).collect::<Result<Vec<_>>>()?;
                D::Map(Arc::new(Field::new(entries.name(), D::Struct(pair.into()), entries.is_nullable())), *sorted)
            }
            other => other.clone(),
        },
        D::Dictionary(_, value) => {
            return in_json(&Field::new(field.name(), value.as_ref().clone(), field.is_nullable()));
        }
        // Times, dates, bytes: text.
        _ => D::Utf8,
    };
    Ok(Field::new(field.name(), data_type, field.is_nullable()))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    fn columns(fields: Vec<Field>) -> SchemaRef {
        Arc::new(Schema::new(fields))
    }

    fn definition(announced: &Announced) -> Value {
        serde_json::from_slice(&announced.schema.as_ref().unwrap().schema_data).unwrap()
    }

    #[test]
    fn json_is_described_as_it_is_written_and_not_as_the_columns_are() {
        let options = SinkOptions { announce_schema: true, record_name: Some("shop.Order".into()), ..SinkOptions::default() };
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let all = columns(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("at", zoned, true),
            Field::new("price", DataType::Decimal128(9, 2), false),
            Field::new("raw", DataType::Binary, false),
        ]);
        let found = definition(&Announced::new(&options, &all, None).unwrap());
        assert_eq!((&found["name"], &found["namespace"]), (&"Order".into(), &"shop".into()));
        let types: Vec<String> = found["fields"].as_array().unwrap().iter().map(|field| field["type"].to_string()).collect();
        assert_eq!(types, [r#""long""#, r#"["null","string"]"#, r#""double""#, r#""string""#]);
        let any = Field::new("any", DataType::Utf8, true).with_metadata([(LOGICAL_TYPE.to_owned(), "json".to_owned())].into());
        assert_eq!(Announced::new(&options, &columns(vec![any]), None).unwrap_err().code(), "WEIR-PULSAR-029");
        assert!(Announced::new(&SinkOptions::default(), &all, None).unwrap().schema.is_none());
    }

    #[test]
    fn the_topics_own_schema_is_kept_where_it_is_that_of_the_columns_and_its_name_else() {
        let text =
            r#"{"type": "record", "name": "Order", "namespace": "shop", "doc": "d", "fields": [{"name": "id", "type": "long"}]}"#;
        let schema = proto::Schema { schema_data: text.into(), r#type: Type::Avro as i32, ..proto::Schema::default() };
        let kept = Kept::of(schema, Some(vec![0; 8])).unwrap();
        let options = SinkOptions { format: SinkFormat::Avro, ..SinkOptions::default() };
        let same = Announced::new(&options, &columns(vec![Field::new("id", DataType::Int64, false)]), kept.as_ref()).unwrap();
        assert_eq!(same.encoder.as_ref().unwrap().text(), text);
        let more = columns(vec![Field::new("id", DataType::Int64, false), Field::new("note", DataType::Utf8, true)]);
        let found = definition(&Announced::new(&options, &more, kept.as_ref()).unwrap());
        assert_eq!((&found["name"], &found["namespace"]), (&"Order".into(), &"shop".into()));
        assert_eq!(found["fields"][1]["default"], Value::Null);
    }
}
