//! What payloads are. No I/O.

use pulsar::message::proto::schema::Type;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::messages;

/// What a payload is that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceFormat {
    /// A JSON object: a column per key.
    #[default]
    Json,
    /// Text in UTF-8: one column `value`.
    Text,
    /// Bytes as they are: one column `value`.
    Raw,
    /// Avro by the topic's schema; a column per field.
    Avro,
    /// Protobuf by the topic's schema of the kind PROTOBUF_NATIVE; a column per field.
    #[serde(alias = "protobuf_native")]
    Protobuf,
    /// A key and a value, each by its half of the topic's schema: the columns of the value, and those of the key with `_key_` before their names.
    KeyValue,
}

impl SourceFormat {
    /// What a topic with this kind of schema is read as when nobody says.
    pub fn of(kind: Option<Type>) -> Self {
        match kind {
            Some(Type::Avro) => Self::Avro,
            Some(Type::ProtobufNative) => Self::Protobuf,
            Some(Type::KeyValue) => Self::KeyValue,
            _ => Self::Json,
        }
    }

    /// The kind of schema without which it cannot be read.
    pub fn needs(self) -> Option<Type> {
        match self {
            Self::Avro => Some(Type::Avro),
            Self::Protobuf => Some(Type::ProtobufNative),
            Self::KeyValue => Some(Type::KeyValue),
            Self::Json | Self::Text | Self::Raw => None,
        }
    }

    /// What all connectors of messages know of it; what is read by a schema has a payload of bytes.
    pub fn plain(self) -> messages::Format {
        match self {
            Self::Json => messages::Format::Json,
            Self::Text => messages::Format::Text,
            Self::Raw | Self::Avro | Self::Protobuf | Self::KeyValue => messages::Format::Raw,
        }
    }
}

/// What a payload is that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkFormat {
    /// A JSON object per row.
    #[default]
    Json,
    /// A line of CSV per row, without a header and without the line's end.
    Csv,
    /// The text of the only column.
    Text,
    /// The bytes of the only column.
    Raw,
    /// Avro, by a schema that the broker is told.
    Avro,
}

impl SinkFormat {
    /// What all connectors of messages know of it; `None`: it is written by a schema.
    pub fn plain(self) -> Option<messages::SinkFormat> {
        Some(match self {
            Self::Json => messages::SinkFormat::Json,
            Self::Csv => messages::SinkFormat::Csv,
            Self::Text => messages::SinkFormat::Text,
            Self::Raw => messages::SinkFormat::Raw,
            Self::Avro => return None,
        })
    }

    /// What files of it are called, for the types of columns.
    pub fn of_files(self) -> weir_formats::Format {
        match self {
            Self::Csv => weir_formats::Format::Csv,
            Self::Avro => weir_formats::Format::Avro,
            Self::Json | Self::Text | Self::Raw => weir_formats::Format::Ndjson,
        }
    }
}
