//! Protobuf schemas as a registry has them, compiled, and the columns that a message means.
//!
//! | Protobuf | column |
//! | --- | --- |
//! | numbers, `bool`, `string`, `bytes` | their own type; nullable where the field has presence (`optional`, `oneof`, proto2) |
//! | enum | the symbol's name; a number without one as its digits |
//! | message, group | struct, nullable |
//! | `repeated`, `map` | list, map; never NULL |
//! | `Timestamp`, `Duration` | timestamp and duration in nanoseconds; what does not fit refuses the record |
//! | wrappers (`Int64Value`, …) | the nullable value |
//! | `Struct`, `Value`, `ListValue` | JSON text |

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind as Proto3, MessageDescriptor};
use protox::Compiler;
use protox::file::{File, FileResolver, GoogleFileResolver};
use std::sync::Arc;
use weir_connect::fidelity::LOGICAL_TYPE;
use weir_error::{Error, Kind, Result};

use super::value::{list_type, map_type};

/// The name that a schema has while it is compiled; nobody else's.
const FILE: &str = "weir-registered.proto";
/// Messages inside each other.
const MAX_DEPTH: usize = 64;

pub(super) fn wrong(why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-FMT-052", Kind::Schema, "the Protobuf schema cannot be used").because(why)
}

/// A compiled schema.
#[derive(Debug)]
pub(super) struct Proto {
    /// Messages of the file itself by their path: `[0]` is the first.
    pool: DescriptorPool,
    /// The name of the file.
    file: String,
    /// Records are the message alone: the schema says which one it is, and no path stands in front.
    pub(super) bare: bool,
    /// The one that rows are made of.
    pub(super) message: MessageDescriptor,
}

/// Its text and those that it imports.
struct Texts {
    text: String,
    references: Vec<(String, String)>,
    google: GoogleFileResolver,
}

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> std::result::Result<File, protox::Error> {
        if name == FILE {
            return File::from_source(name, &self.text);
        }
        match self.references.iter().find(|(reference, _)| reference == name) {
            Some((_, text)) => File::from_source(name, text),
            None => self.google.open_file(name),
        }
    }
}

impl Proto {
    pub(super) fn new(text: &str, references: &[(String, String)], message: Option<&str>) -> Result<Self> {
        let texts = Texts { text: text.to_owned(), references: references.to_vec(), google: GoogleFileResolver::new() };
        let mut compiler = Compiler::with_file_resolver(texts);
        compiler.include_imports(true);
        compiler.open_file(FILE).map_err(wrong)?;
        let pool = compiler.descriptor_pool();
        let file = pool.get_file_by_name(FILE).ok_or_else(|| wrong("it was not compiled"))?;
        let found = match message {
            Some(name) => pool.get_message_by_name(name).filter(|message| message.parent_file().name() == FILE),
            None => file.messages().next(),
        };
        let found = found.ok_or_else(|| match message {
            Some(name) => wrong(format!("it has no message `{name}`")),
            None => wrong("it has no message"),
        })?;
        Ok(Self { message: found, pool, file: FILE.to_owned(), bare: false })
    }

    /// Of a schema that comes compiled: the file of the message and all that it imports.
    pub(super) fn of_descriptors(set: &[u8], message: &str) -> Result<Self> {
        let pool = DescriptorPool::decode(set).map_err(wrong)?;
        let found = pool.get_message_by_name(message).ok_or_else(|| wrong(format!("it has no message `{message}`")))?;
        Ok(Self { file: found.parent_file().name().to_owned(), message: found, pool, bare: true })
    }

    /// The message of a path: indexes among the messages of the file, and of each message on the way.
    pub(super) fn at(&self, path: &[usize]) -> Option<MessageDescriptor> {
        let (first, rest) = path.split_first()?;
        let mut message = self.pool.get_file_by_name(&self.file)?.messages().nth(*first)?;
        for at in rest {
            let inner = message.child_messages().nth(*at);
            message = inner?;
        }
        Some(message)
    }

    /// A message of the file by its full name.
    pub(super) fn named(&self, name: &str) -> Option<MessageDescriptor> {
        self.pool.get_message_by_name(name).filter(|message| message.parent_file().name() == self.file)
    }

    /// The path of a message.
    pub(super) fn path_of(message: &MessageDescriptor) -> Vec<i64> {
        // In a file's descriptor a path has the kind of each step too.
        message.path().iter().skip(1).step_by(2).map(|at| i64::from(*at)).collect()
    }

    pub(super) fn columns(&self) -> Result<SchemaRef> {
        Ok(Arc::new(Schema::new(fields(&self.message, &mut Vec::new())?)))
    }
}

fn fields(message: &MessageDescriptor, open: &mut Vec<String>) -> Result<Vec<Field>> {
    let name = message.full_name().to_owned();
    if open.contains(&name) || open.len() >= MAX_DEPTH {
        return Err(
            wrong(format!("`{name}` contains itself: such values have no columns")).hint("read the topic with `format: raw`")
        );
    }
    open.push(name);
    let found = message.fields().map(|field| column(&field, open)).collect::<Result<Vec<_>>>()?;
    open.pop();
    Ok(found)
}

fn column(field: &FieldDescriptor, open: &mut Vec<String>) -> Result<Field> {
    if field.is_map() {
        let Proto3::Message(entry) = field.kind() else { return Err(wrong("a map without entries")) };
        let key = single("key", &entry.map_entry_key_field().kind(), open)?;
        let value = single("value", &entry.map_entry_value_field().kind(), open)?;
        return Ok(Field::new(field.name(), map_type(key.data_type().clone(), value), false));
    }
    let one = single(field.name(), &field.kind(), open)?;
    if field.is_list() {
        return Ok(Field::new(field.name(), list_type(one), false));
    }
    let nullable = one.is_nullable() || (field.supports_presence() && !field.is_required());
    Ok(one.with_nullable(nullable))
}

/// What the well-known messages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Timestamp,
    Duration,
    Wrapper,
    Json,
}

pub(super) fn known(message: &MessageDescriptor) -> Option<Known> {
    let name = message.full_name().strip_prefix("google.protobuf.")?;
    Some(match name {
        "Timestamp" => Known::Timestamp,
        "Duration" => Known::Duration,
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value" | "BoolValue"
        | "StringValue" | "BytesValue" => Known::Wrapper,
        "Struct" | "Value" | "ListValue" => Known::Json,
        _ => return None,
    })
}

fn single(name: &str, kind: &Proto3, open: &mut Vec<String>) -> Result<Field> {
    use DataType as D;
    let data_type = match kind {
        Proto3::Double => D::Float64,
        Proto3::Float => D::Float32,
        Proto3::Int32 | Proto3::Sint32 | Proto3::Sfixed32 => D::Int32,
        Proto3::Int64 | Proto3::Sint64 | Proto3::Sfixed64 => D::Int64,
        Proto3::Uint32 | Proto3::Fixed32 => D::UInt32,
        Proto3::Uint64 | Proto3::Fixed64 => D::UInt64,
        Proto3::Bool => D::Boolean,
        Proto3::String | Proto3::Enum(_) => D::Utf8,
        Proto3::Bytes => D::Binary,
        Proto3::Message(message) => match known(message) {
            Some(Known::Timestamp) => return Ok(Field::new(name, D::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), true)),
            Some(Known::Duration) => return Ok(Field::new(name, D::Duration(TimeUnit::Nanosecond), true)),
            Some(Known::Wrapper) => {
                let value = message.get_field(1).ok_or_else(|| wrong("a wrapper without a value"))?;
                return Ok(single(name, &value.kind(), open)?.with_nullable(true));
            }
            Some(Known::Json) => {
                let logical = [(LOGICAL_TYPE.to_owned(), "json".to_owned())];
                return Ok(Field::new(name, D::Utf8, true).with_metadata(logical.into()));
            }
            None => return Ok(Field::new(name, D::Struct(fields(message, open)?.into()), true)),
        },
    };
    Ok(Field::new(name, data_type, false))
}
