//! What the bytes of a payload mean, or those of a key or a value in it. Pure.
//!
//! Values of the simple kinds (INT32, STRING, …) are put as Avro would write them, so that one way leads to columns.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use pulsar::message::proto::schema::Type;
use weir_connect::fidelity::LOGICAL_TYPE;
use weir_connect::{Error, Kind, Result};
use weir_formats::registered::{Definition, Resolution, SchemaKind, SchemaText};

use super::kept::{Half, word};

/// One definition, understood.
#[derive(Debug)]
pub struct Side {
    kind: Type,
    columns: SchemaRef,
    definition: Definition,
}

/// How the bytes that one definition wrote become rows of another.
#[derive(Debug)]
pub enum Way {
    /// A record of Avro or Protobuf.
    Record(Resolution),
    /// A value of a simple kind.
    Simple(Type, Resolution),
    /// A JSON object.
    Json,
}

/// The Avro of a simple kind.
fn avro_of(kind: Type) -> Option<&'static str> {
    Some(match kind {
        Type::None => r#""bytes""#,
        Type::String => r#""string""#,
        Type::Bool => r#""boolean""#,
        Type::Int8 | Type::Int16 | Type::Int32 => r#""int""#,
        Type::Int64 => r#""long""#,
        Type::Float => r#""float""#,
        Type::Double => r#""double""#,
        // Both are milliseconds since 1970.
        Type::Date | Type::Timestamp => r#"{"type": "long", "logicalType": "timestamp-millis"}"#,
        _ => return None,
    })
}

fn avro(text: &str) -> Result<Definition> {
    Definition::new(&SchemaText { kind: SchemaKind::Avro, text: text.to_owned(), references: Vec::new() }, None)
}

impl Side {
    /// Understands a definition.
    ///
    /// # Errors
    /// `WEIR-PULSAR-027`, `WEIR-FMT-050`, `WEIR-FMT-052`: it cannot be; `WEIR-PULSAR-007`: it is of a kind that is not read.
    pub fn of(half: &Half) -> Result<Self> {
        let definition = match half.kind {
            // JSON's definition is one of Avro too.
            Type::Avro | Type::Json => avro(half.text()?)?,
            Type::ProtobufNative => {
                let (set, message) = half.descriptors()?;
                Definition::of_descriptors(&set, &message)?
            }
            kind => {
                let simple = avro_of(kind).ok_or_else(|| {
                    Error::new("WEIR-PULSAR-007", Kind::Unsupported, format!("values of the kind {} are not read", word(kind)))
                        .hint("`format: raw` takes the messages as they are")
                })?;
                avro(simple)?
            }
        };
        let columns = definition.columns()?;
        let columns = if half.kind == Type::Json { json_columns(&columns) } else { columns };
        Ok(Self { kind: half.kind, columns, definition })
    }

    /// The columns. A value that is no record is a column `value`.
    pub fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// Whether its bytes are JSON.
    pub fn is_json(&self) -> bool {
        self.kind == Type::Json
    }

    /// The definition that rows are made by.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// How bytes that `writer` wrote become rows of this, and what the writer has that these have no column for.
    ///
    /// # Errors
    /// `WEIR-FMT-053`: there is no way.
    pub fn way(&self, writer: &Self) -> Result<(Way, Vec<String>)> {
        match (writer.is_json(), self.is_json()) {
            (true, true) => {
                let other = |field: &&Arc<Field>| {
                    self.columns.field_with_name(field.name()).map_or(true, |column| column.data_type() != field.data_type())
                };
                Ok((Way::Json, writer.columns.fields().iter().filter(other).map(|field| field.name().clone()).collect()))
            }
            (false, false) => {
                let resolution = Resolution::new(&writer.definition, &self.definition)?;
                let extra = resolution.extra().to_vec();
                let way = match avro_of(writer.kind) {
                    Some(_) => Way::Simple(writer.kind, resolution),
                    None => Way::Record(resolution),
                };
                Ok((way, extra))
            }
            _ => {
                let why = format!("one is {}, the other {}", word(writer.kind), word(self.kind));
                Err(Error::new("WEIR-FMT-053", Kind::Schema, "messages of this schema cannot be read into the stream's columns")
                    .because(why))
            }
        }
    }
}

/// The columns of JSON whose definition has these. What JSON may write in several ways (times, bytes, decimals) is JSON text: there any value stays what
/// it is. A member that is not there is NULL.
fn json_columns(columns: &Schema) -> SchemaRef {
    Arc::new(Schema::new(columns.fields().iter().map(|field| json_field(field)).collect::<Vec<_>>()))
}

fn json_field(field: &Field) -> Field {
    match json_type(field.data_type()) {
        Some(data_type) => Field::new(field.name(), data_type, true),
        None => {
            let logical = [(LOGICAL_TYPE.to_owned(), "json".to_owned())];
            Field::new(field.name(), DataType::Utf8, true).with_metadata(logical.into())
        }
    }
}

fn json_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Boolean | DataType::Int32 | DataType::Int64 | DataType::Float64 | DataType::Utf8 => data_type.clone(),
        // JSON writes its shortest digits, which are those of a double.
        DataType::Float32 => DataType::Float64,
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| json_field(field)).collect()),
        DataType::List(item) => DataType::List(Arc::new(json_field(item))),
        _ => return None,
    })
}

/// A value of a simple kind as Avro writes it.
///
/// # Errors
/// It has not the bytes of its kind.
pub fn as_avro(kind: Type, bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    fn exact<const N: usize>(kind: Type, bytes: &[u8]) -> Result<[u8; N], String> {
        bytes.try_into().map_err(|_| format!("a value of {} bytes is no {}", bytes.len(), word(kind)))
    }
    fn long(value: i64) -> Vec<u8> {
        let mut rest = (value << 1 ^ value >> 63) as u64;
        let mut out = Vec::with_capacity(10);
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
        out
    }
    Ok(match kind {
        Type::Bool => {
            exact::<1>(kind, bytes)?;
            bytes.into()
        }
        Type::Int8 => long(i8::from_be_bytes(exact(kind, bytes)?).into()).into(),
        Type::Int16 => long(i16::from_be_bytes(exact(kind, bytes)?).into()).into(),
        Type::Int32 => long(i32::from_be_bytes(exact(kind, bytes)?).into()).into(),
        Type::Int64 | Type::Date | Type::Timestamp => long(i64::from_be_bytes(exact(kind, bytes)?)).into(),
        Type::Float => exact::<4>(kind, bytes)?.iter().rev().copied().collect::<Vec<_>>().into(),
        Type::Double => exact::<8>(kind, bytes)?.iter().rev().copied().collect::<Vec<_>>().into(),
        _ => [long(i64::try_from(bytes.len()).unwrap_or(i64::MAX)), bytes.to_vec()].concat().into(),
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, RecordBatch};
    use arrow::datatypes::{Float32Type, Int32Type, Int64Type};
    use weir_formats::JsonOptions;
    use weir_formats::registered::RegisteredRows;

    use super::*;

    fn half(kind: Type, data: &str) -> Half {
        Half { kind, data: data.as_bytes().to_vec() }
    }

    fn read(kind: Type, values: &[&[u8]]) -> RecordBatch {
        let side = Side::of(&half(kind, "")).unwrap();
        let (Way::Simple(kind, way), _) = side.way(&side).unwrap() else { panic!("{kind:?}") };
        let mut rows = RegisteredRows::new(side.definition(), side.columns(), &JsonOptions::default()).unwrap();
        for value in values {
            rows.push(&way, &as_avro(kind, value).unwrap()).unwrap();
        }
        RecordBatch::try_new(side.columns().clone(), rows.finish().unwrap()).unwrap()
    }

    #[test]
    fn values_of_the_simple_kinds_keep_their_value_and_odd_ones_are_refused() {
        let ints = read(Type::Int16, &[&(-300i16).to_be_bytes(), &i16::MAX.to_be_bytes()]);
        assert_eq!(ints.column(0).as_primitive::<Int32Type>().values(), &[-300, 32767]);
        let longs = read(Type::Int64, &[&i64::MIN.to_be_bytes(), &63i64.to_be_bytes(), &64i64.to_be_bytes()]);
        assert_eq!(longs.column(0).as_primitive::<Int64Type>().values(), &[i64::MIN, 63, 64]);
        assert_eq!(read(Type::Float, &[&1.5f32.to_be_bytes()]).column(0).as_primitive::<Float32Type>().values(), &[1.5]);
        assert_eq!(read(Type::String, &["ü".as_bytes(), b""]).column(0).as_string::<i32>().value(0), "ü");
        assert_eq!(read(Type::None, &[b"\xff"]).column(0).as_binary::<i32>().value(0), b"\xff");
        assert!(as_avro(Type::Int32, b"abc").unwrap_err().contains("INT32"));
        assert_eq!(Side::of(&half(Type::LocalTime, "")).unwrap_err().code(), "WEIR-PULSAR-007");
    }

    #[test]
    fn json_has_a_column_of_its_type_only_where_json_has_one_form_for_it() {
        let text = r#"{"type": "record", "name": "R", "fields": [{"name": "id", "type": "int"}, {"name": "f", "type": "float"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}, {"name": "raw", "type": ["null", "bytes"]},
            {"name": "tags", "type": {"type": "array", "items": "string"}}]}"#;
        let side = Side::of(&half(Type::Json, text)).unwrap();
        let words: Vec<String> = side
            .columns()
            .fields()
            .iter()
            .map(|field| format!("{} {} {}", field.name(), field.data_type(), field.metadata().contains_key(LOGICAL_TYPE)))
            .collect();
        assert_eq!(words[..4], ["id Int32 false", "f Float64 false", "at Utf8 true", "raw Utf8 true"]);
        assert!(words[4].starts_with("tags List("), "{words:?}");
        assert!(side.columns().fields().iter().all(|field| field.is_nullable()));
        let other = Side::of(&half(Type::Avro, text)).unwrap();
        assert_eq!(side.way(&other).unwrap_err().code(), "WEIR-FMT-053");
    }
}
