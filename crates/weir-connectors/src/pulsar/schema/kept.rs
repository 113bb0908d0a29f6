//! A schema as the broker keeps it. Pure.

use std::sync::Arc;

use base64::Engine;
use pulsar::message::proto::Schema;
use pulsar::message::proto::schema::Type;
use serde::Deserialize;
use weir_connect::{Error, Kind, Result};

/// The version of a schema, as messages name it.
pub type Version = Arc<[u8]>;

/// The code of a schema that nobody here understands.
pub const STRANGE: &str = "WEIR-PULSAR-027";

/// Pulsar's own registry numbers versions in eight bytes, the highest first.
fn number(version: &[u8]) -> Option<u64> {
    version.try_into().ok().map(u64::from_be_bytes)
}

/// A version for people: its number, or its bytes.
pub fn shown(version: &[u8]) -> String {
    match number(version) {
        Some(number) => number.to_string(),
        None => version.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// The way back from [`shown`].
pub fn parsed(text: &str) -> Option<Version> {
    text.parse::<u64>().ok().map(|number| number.to_be_bytes().as_slice().into())
}

/// Whether one version came after another. Where a registry of another make gives versions that are no numbers nobody knows.
pub fn is_later(version: &[u8], than: &[u8]) -> bool {
    matches!((number(version), number(than)), (Some(version), Some(than)) if version > than)
}

/// A schema with its version.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its version.
    pub version: Version,
    /// What it is.
    pub half: Half,
    /// What is said of it besides.
    properties: Vec<(String, String)>,
}

/// Kind and definition: of a whole schema, or of the key or the value in one of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Half {
    /// Its kind.
    pub kind: Type,
    /// Its definition, in the form of the kind.
    pub data: Vec<u8>,
}

/// A schema of keys and values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Of the keys.
    pub key: Half,
    /// Of the values.
    pub value: Half,
    /// The key is the message's own; else both are in the payload.
    pub separated: bool,
}

/// What a Protobuf schema is kept as.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Native {
    file_descriptor_set: String,
    root_message_type_name: String,
}

fn broken(why: impl std::fmt::Display) -> Error {
    Error::new(STRANGE, Kind::Schema, "the schema that the broker has cannot be understood")
        .because(why)
        .hint("`format: raw` takes the messages as they are")
}

/// The word of a kind as Pulsar's tools write it.
pub fn word(kind: Type) -> &'static str {
    match kind {
        Type::None => "BYTES",
        Type::String => "STRING",
        Type::Json => "JSON",
        Type::Protobuf => "PROTOBUF",
        Type::Avro => "AVRO",
        Type::Bool => "BOOLEAN",
        Type::Int8 => "INT8",
        Type::Int16 => "INT16",
        Type::Int32 => "INT32",
        Type::Int64 => "INT64",
        Type::Float => "FLOAT",
        Type::Double => "DOUBLE",
        Type::Date => "DATE",
        Type::Time => "TIME",
        Type::Timestamp => "TIMESTAMP",
        Type::KeyValue => "KEY_VALUE",
        Type::Instant => "INSTANT",
        Type::LocalDate => "LOCAL_DATE",
        Type::LocalTime => "LOCAL_TIME",
        Type::LocalDateTime => "LOCAL_DATE_TIME",
        Type::ProtobufNative => "PROTOBUF_NATIVE",
    }
}

const WORDS: [Type; 21] = [
    Type::None,
    Type::String,
    Type::Json,
    Type::Protobuf,
    Type::Avro,
    Type::Bool,
    Type::Int8,
    Type::Int16,
    Type::Int32,
    Type::Int64,
    Type::Float,
    Type::Double,
    Type::Date,
    Type::Time,
    Type::Timestamp,
    Type::KeyValue,
    Type::Instant,
    Type::LocalDate,
    Type::LocalTime,
    Type::LocalDateTime,
    Type::ProtobufNative,
];

impl Kept {
    /// As the broker tells it; `None`: it is none (bytes).
    ///
    /// # Errors
    /// `WEIR-PULSAR-027`: a kind that is not known.
    pub fn of(schema: Schema, version: Option<Vec<u8>>) -> Result<Option<Self>> {
        let kind = Type::try_from(schema.r#type).map_err(|_| broken(format!("it is of the kind number {}", schema.r#type)))?;
        if kind == Type::None {
            return Ok(None);
        }
        Ok(Some(Self {
            version: version.unwrap_or_default().into(),
            half: Half { kind, data: schema.schema_data },
            properties: schema.properties.into_iter().map(|one| (one.key, one.value)).collect(),
        }))
    }

    /// Its kind.
    pub fn kind(&self) -> Type {
        self.half.kind
    }

    fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Key and value of a schema of both: each with its length in front, and their kinds in the properties.
    ///
    /// # Errors
    /// `WEIR-PULSAR-027`: it is none.
    pub fn pair(&self) -> Result<Pair> {
        let (key, rest) = sized(&self.half.data).ok_or_else(|| broken("it ends before its key does"))?;
        let (value, _) = sized(rest).ok_or_else(|| broken("it ends before its value does"))?;
        let half = |side: &str, data: Option<&[u8]>| -> Result<Half> {
            // What is not named is bytes.
            let name = self.property(&format!("{side}.schema.type")).unwrap_or("BYTES");
            let kind = WORDS.into_iter().find(|kind| word(*kind) == name || (*kind == Type::None && name == "NONE"));
            let kind = kind.ok_or_else(|| broken(format!("its {side} is of the kind `{name}`")))?;
            Ok(Half { kind, data: data.unwrap_or_default().to_vec() })
        };
        let separated = self.property("kv.encoding.type").is_some_and(|word| word.eq_ignore_ascii_case("SEPARATED"));
        Ok(Pair { key: half("key", key)?, value: half("value", value)?, separated })
    }
}

impl Half {
    /// The definition as text.
    ///
    /// # Errors
    /// `WEIR-PULSAR-027`.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.data).map_err(|_| broken("it is no text in UTF-8"))
    }

    /// Of `PROTOBUF_NATIVE`: the descriptors of its files, and the full name of its message.
    ///
    /// # Errors
    /// `WEIR-PULSAR-027`.
    pub fn descriptors(&self) -> Result<(Vec<u8>, String)> {
        let native: Native = serde_json::from_slice(&self.data).map_err(broken)?;
        let set = base64::engine::general_purpose::STANDARD.decode(&native.file_descriptor_set).map_err(broken)?;
        Ok((set, native.root_message_type_name))
    }
}

/// Bytes with their length in front (four bytes, the highest first; -1: there are none), and what is behind them. `None`: it ends too early.
pub fn sized(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    match i32::from_be_bytes(*length) {
        -1 => Some((None, rest)),
        length => {
            let length = usize::try_from(length).ok().filter(|length| *length <= rest.len())?;
            let (bytes, rest) = rest.split_at(length);
            Some((Some(bytes), rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use pulsar::message::proto::KeyValue;

    use super::*;

    fn pair(data: &[u8], properties: &[(&str, &str)]) -> Result<Pair> {
        let properties = properties.iter().map(|(key, value)| KeyValue { key: (*key).into(), value: (*value).into() }).collect();
        let schema = Schema { name: String::new(), schema_data: data.to_vec(), r#type: Type::KeyValue as i32, properties };
        Kept::of(schema, Some(vec![0; 8]))?.unwrap().pair()
    }

    #[test]
    fn a_schema_of_both_is_taken_apart_and_one_that_is_cut_off_is_refused() {
        let properties = [("key.schema.type", "INT32"), ("value.schema.type", "AVRO"), ("kv.encoding.type", "SEPARATED")];
        let found = pair(b"\0\0\0\0\0\0\0\x02{}", &properties).unwrap();
        assert_eq!((found.key.kind, found.value.kind, found.separated), (Type::Int32, Type::Avro, true));
        assert_eq!((found.key.data.as_slice(), found.value.data.as_slice()), (&b""[..], &b"{}"[..]));
        assert_eq!(pair(b"\xff\xff\xff\xff\0\0\0\0", &[]).unwrap().key.kind, Type::None);
        assert!(!pair(b"\0\0\0\0\0\0\0\0", &[]).unwrap().separated);
        for (data, kind) in [(&b"\0\0\0\x09x"[..], "AVRO"), (b"\0\0\0\0", "AVRO"), (b"\0\0\0\0\0\0\0\0", "NEW")] {
            assert_eq!(pair(data, &[("key.schema.type", kind)]).unwrap_err().code(), "WEIR-PULSAR-027", "{data:?} {kind}");
        }
    }

    #[test]
    fn versions_are_numbers_that_grow() {
        let version = |number: u64| number.to_be_bytes();
        assert!(is_later(&version(256), &version(255)));
        assert!(!is_later(&version(3), &version(3)));
        assert!(!is_later(b"\x09", &version(3)));
        assert_eq!((shown(&version(7)), shown(b"\x0a\xff")), ("7".into(), "0aff".into()));
        assert_eq!(parsed("7").as_deref(), Some(&version(7)[..]));
    }
}
