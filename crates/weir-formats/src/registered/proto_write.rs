//! Rows as Protobuf records, and the schema that is registered for them.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, DurationNanosecondType, Field, Float32Type, Float64Type, Int32Type, Int64Type, SchemaRef, TimeUnit,
    TimestampNanosecondType, UInt32Type, UInt64Type,
};
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind as Wire, MessageDescriptor, Value};
use weir_error::{Error, Kind, Result};

use super::proto_schema::{Known, Proto, known};
use super::{Payloads, SchemaText};

fn unwritable(field: &Field, why: &str) -> Error {
    Error::new(
        "WEIR-FMT-011",
        Kind::Unsupported,
        format!("column `{}` ({}) has no form in Protobuf", field.name(), field.data_type()),
    )
    .because(why)
    .hint("cast it to a text, or drop it")
}

fn misfit(why: impl Into<String>) -> Error {
    Error::new("WEIR-FMT-055", Kind::Schema, "the registered schema is not that of the columns").because(why.into())
}

/// A writer of one stream.
#[derive(Debug)]
pub(super) struct ProtoRows {
    pub(super) text: String,
    message: MessageDescriptor,
    /// Per column: its field, and the type that its values are taken in.
    fields: Vec<(FieldDescriptor, DataType)>,
    /// The path of the message, as it stands in front of each record.
    path: Vec<u8>,
}

/// What a column becomes: the type of the field, and the Arrow type that its values are read in.
pub(super) fn form(data_type: &DataType) -> Option<(&'static str, DataType)> {
    use DataType as D;
    Some(match data_type {
        D::Boolean => ("bool", D::Boolean),
        D::Int8 | D::Int16 | D::Int32 => ("int32", D::Int32),
        D::Int64 => ("int64", D::Int64),
        D::UInt8 | D::UInt16 | D::UInt32 => ("uint32", D::UInt32),
        D::UInt64 => ("uint64", D::UInt64),
        D::Float16 | D::Float32 => ("float", D::Float32),
        D::Float64 => ("double", D::Float64),
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => ("bytes", D::Binary),
        D::Timestamp(_, Some(_)) => ("google.protobuf.Timestamp", D::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))),
        D::Duration(_) => ("google.protobuf.Duration", D::Duration(TimeUnit::Nanosecond)),
        D::Dictionary(_, value) => return form(value),
        D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Date32 | D::Time32(_) | D::Time64(_) | D::Timestamp(_, None) => {
            ("string", D::Utf8)
        }
        D::Decimal128(..) | D::Decimal256(..) => ("string", D::Utf8),
        _ => return None,
    })
}

impl ProtoRows {
    /// By a schema made of the columns. Fields keep the numbers that they have in `before`.
    pub(super) fn own(schema: &SchemaRef, name: &str, before: Option<&SchemaText>) -> Result<Self> {
        let (package, last) = name.rsplit_once('.').unwrap_or(("", name));
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        if let Some(before) = before {
            let known = Proto::new(&before.text, &before.references, None)?;
            numbers = known.message.fields().map(|field| (field.name().to_owned(), field.number())).collect();
        }
        let mut next = numbers.values().max().map_or(1, |most| most + 1);
        let mut body = String::new();
        for field in schema.fields() {
            let named = |name: &str| {
                let mut bytes = name.bytes();
                bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
                    && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            if !named(field.name()) {
                return Err(unwritable(field, "names have only letters, digits and _")
                    .hint("rename it with the `field_mapper` transform"));
            }
            let number = numbers.get(field.name()).copied().unwrap_or_else(|| {
                // These belong to Protobuf itself.
                next = if (19_000..20_000).contains(&next) { 20_000 } else { next };
                next += 1;
                next - 1
            });
            let word = match field.data_type() {
                DataType::List(item) | DataType::LargeList(item) => {
                    let (word, _) = form(item.data_type()).ok_or_else(|| unwritable(field, "lists are of plain values"))?;
                    format!("repeated {word}")
                }
                data_type => {
                    let (word, _) = form(data_type).ok_or_else(|| unwritable(field, "its type has none"))?;
                    // A message has presence of itself.
                    let optional = field.is_nullable() && !word.contains('.');
                    if optional { format!("optional {word}") } else { word.to_owned() }
                }
            };
            body.push_str(&format!("  {word} {} = {number};\n", field.name()));
        }
        let mut text = "syntax = \"proto3\";\n".to_owned();
        if !package.is_empty() {
            text.push_str(&format!("package {package};\n"));
        }
        for import in ["timestamp", "duration"] {
            let capital = if import == "timestamp" { "google.protobuf.Timestamp" } else { "google.protobuf.Duration" };
            if body.contains(capital) {
                text.push_str(&format!("import \"google/protobuf/{import}.proto\";\n"));
            }
        }
        text.push_str(&format!("message {last} {{\n{body}}}\n"));
        let proto = Proto::new(&text, &[], None)?;
        Self::new(schema, text, proto)
    }

    /// By a schema that is there.
    pub(super) fn given(schema: &SchemaRef, given: &SchemaText, message: Option<&str>) -> Result<Self> {
        let proto = Proto::new(&given.text, &given.references, message)?;
        Self::new(schema, given.text.clone(), proto)
    }

    fn new(schema: &SchemaRef, text: String, proto: Proto) -> Result<Self> {
        let fields = schema.fields().iter().map(|column| {
            let field = proto.message.get_field_by_name(column.name());
            let field = field.ok_or_else(|| misfit(format!("it has no field `{}`", column.name())))?;
            let (list, inner) = match column.data_type() {
                DataType::List(item) | DataType::LargeList(item) => (true, item.data_type()),
                other => (false, other),
            };
            let (word, taken) = form(inner).ok_or_else(|| unwritable(column, "its type has none"))?;
            if field.is_list() != list || field.is_map() || !takes(&field, word) {
                return Err(misfit(format!("its field `{}` is no {word}", column.name())));
            }
            let optional = field.is_list() || field.supports_presence() && !field.is_required();
            if column.is_nullable() && !optional {
                return Err(misfit(format!("its field `{}` cannot be without a value, and the column can", column.name())));
            }
            Ok((field, taken))
        });
        let fields = fields.collect::<Result<Vec<_>>>()?;
        let missing = |field: &FieldDescriptor| field.is_required() && schema.field_with_name(field.name()).is_err();
        if let Some(field) = proto.message.fields().find(missing) {
            return Err(misfit(format!("the stream has no column for its field `{}`", field.name())));
        }
        let path = path_bytes(&Proto::path_of(&proto.message));
        Ok(Self { text, message: proto.message, fields, path })
    }

    pub(super) fn encode(&self, batch: &RecordBatch, prefix: &[u8]) -> Result<Payloads> {
        let columns = batch.columns().iter().zip(&self.fields).map(|(column, (field, taken))| match field.is_list() {
            true => Ok(column.clone()),
            false => converted(column, taken, field),
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let mut payloads = Payloads::with_capacity(0, batch.num_rows());
        for row in 0..batch.num_rows() {
            let mut message = DynamicMessage::new(self.message.clone());
            for (column, (field, taken)) in columns.iter().zip(&self.fields) {
                if column.is_null(row) {
                    if field.is_list() {
                        return Err(Error::new(
                            "WEIR-FMT-054",
                            Kind::Data,
                            format!("column `{}` has a list that is NULL", field.name()),
                        )
                        .because("Protobuf cannot tell it from an empty one"));
                    }
                    continue;
                }
                let value = if field.is_list() {
                    let items = match column.data_type() {
                        DataType::LargeList(_) => column.as_list::<i64>().value(row),
                        _ => column.as_list::<i32>().value(row),
                    };
                    let items = converted(&items, taken, field)?;
                    if items.null_count() > 0 {
                        return Err(Error::new(
                            "WEIR-FMT-054",
                            Kind::Data,
                            format!("a list in column `{}` has a NULL", field.name()),
                        )
                        .because("Protobuf's lists have none"));
                    }
                    Value::List((0..items.len()).map(|at| single(&items, at, field)).collect::<Result<_>>()?)
                } else {
                    single(column, row, field)?
                };
                message.set_field(field, value);
            }
            payloads.push([prefix, &self.path, &message.encode_to_vec()]);
        }
        Ok(payloads)
    }
}

/// Whether a field is of the type that a column is written as.
fn takes(field: &FieldDescriptor, word: &str) -> bool {
    match (field.kind(), word) {
        (Wire::Bool, "bool")
        | (Wire::Int32 | Wire::Sint32 | Wire::Sfixed32, "int32")
        | (Wire::Int64 | Wire::Sint64 | Wire::Sfixed64, "int64")
        | (Wire::Uint32 | Wire::Fixed32, "uint32")
        | (Wire::Uint64 | Wire::Fixed64, "uint64")
        | (Wire::Float, "float")
        | (Wire::Double, "double")
        | (Wire::Bytes, "bytes")
        | (Wire::String, "string") => true,
        (Wire::Message(message), word) => match known(&message) {
            Some(Known::Timestamp) => word == "google.protobuf.Timestamp",
            Some(Known::Duration) => word == "google.protobuf.Duration",
            _ => false,
        },
        _ => false,
    }
}

fn converted(column: &ArrayRef, to: &DataType, field: &FieldDescriptor) -> Result<ArrayRef> {
    if column.data_type() == to {
        return Ok(column.clone());
    }
    cast_with_options(column, to, &CastOptions { safe: false, ..CastOptions::default() }).map_err(|error| {
        Error::new("WEIR-FMT-054", Kind::Data, format!("a value of column `{}` has no form in Protobuf", field.name()))
            .because(error)
    })
}

/// One value of a column that was brought to its form.
fn single(column: &ArrayRef, row: usize, field: &FieldDescriptor) -> Result<Value> {
    Ok(match column.data_type() {
        DataType::Boolean => Value::Bool(column.as_boolean().value(row)),
        DataType::Int32 => Value::I32(column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => Value::I64(column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt32 => Value::U32(column.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt64 => Value::U64(column.as_primitive::<UInt64Type>().value(row)),
        DataType::Float32 => Value::F32(column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => Value::F64(column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Value::String(column.as_string::<i32>().value(row).to_owned()),
        DataType::Binary => Value::Bytes(column.as_binary::<i32>().value(row).to_vec().into()),
        DataType::Timestamp(..) => {
            let nanos = column.as_primitive::<TimestampNanosecondType>().value(row);
            // The nanoseconds of a moment count forward.
            moment(field, nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000))?
        }
        DataType::Duration(_) => {
            let nanos = column.as_primitive::<DurationNanosecondType>().value(row);
            // Those of a duration have its sign.
            moment(field, nanos / 1_000_000_000, nanos % 1_000_000_000)?
        }
        other => return Err(Error::internal(format!("a column of {other} among Protobuf's"))),
    })
}

fn moment(field: &FieldDescriptor, seconds: i64, nanos: i64) -> Result<Value> {
    let Wire::Message(descriptor) = field.kind() else { return Err(Error::internal("a time in a field that is none")) };
    let mut message = DynamicMessage::new(descriptor);
    message.set_field_by_number(1, Value::I64(seconds));
    message.set_field_by_number(2, Value::I32(i32::try_from(nanos).unwrap_or_default()));
    Ok(Value::Message(message))
}

/// Zigzag numbers, their count first; the first message of a file is one zero byte.
fn path_bytes(path: &[i64]) -> Vec<u8> {
    if path == [0] {
        return vec![0];
    }
    let mut bytes = Vec::new();
    for number in std::iter::once(path.len() as i64).chain(path.iter().copied()) {
        let mut rest = ((number << 1) ^ (number >> 63)) as u64;
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes
}
