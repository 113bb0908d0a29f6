//! Extended JSON, version 2: BSON as text and back. Canonical text keeps every type; relaxed text reads better and leaves out which kind of
//! number it was. Specification: mongodb/specifications, extended-json.
//!
//! Writing goes straight from the bytes. Reading keeps the order of keys, and duplicate keys too, as BSON may hold them.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat};
use mongodb::bson::Decimal128;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::bson::{DEPTH, Malformed, Value, Writer, elements};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Numbers as JSON numbers, dates as text: what people read.
    #[default]
    Relaxed,
    /// Every type is told: what comes back is the same BSON.
    Canonical,
}

/// Writes a value.
pub fn write(value: Value<'_>, form: Form, out: &mut String) -> Result<(), Malformed> {
    value_at(value, form, out, 0)
}

/// A document as canonical text.
pub fn canonical(document: &[u8]) -> Result<String, Malformed> {
    let mut out = String::with_capacity(document.len() * 2);
    write(Value::Document(document), Form::Canonical, &mut out)?;
    Ok(out)
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            other => {
                let _ = write!(out, "\\u{other:04x}");
            }
        }
    }
    out.push_str(&text[from..]);
    out.push('"');
}

/// 24 digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The other way.
pub fn object_id(text: &str) -> Option<[u8; 12]> {
    if text.len() != 24 || !text.is_ascii() {
        return None;
    }
    let mut id = [0; 12];
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(id)
}

/// A double as the specification writes it: always with a point or an exponent.
fn double(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        value => format!("{value:?}"),
    }
}

fn value_at(value: Value<'_>, form: Form, out: &mut String, depth: usize) -> Result<(), Malformed> {
    if depth > DEPTH {
        return Err(Malformed(format!("nested deeper than {DEPTH} levels")));
    }
    let relaxed = form == Form::Relaxed;
    let _ = match value {
        Value::String(text) => {
            quoted(text, out);
            Ok(())
        }
        Value::Document(inner) => {
            out.push('{');
            for (at, element) in elements(inner)?.enumerate() {
                let (name, value) = element?;
                if at > 0 {
                    out.push(',');
                }
                quoted(name, out);
                out.push(':');
                value_at(value, form, out, depth + 1)?;
            }
            out.push('}');
            Ok(())
        }
        Value::Array(inner) => {
            out.push('[');
            for (at, element) in elements(inner)?.enumerate() {
                if at > 0 {
                    out.push(',');
                }
                value_at(element?.1, form, out, depth + 1)?;
            }
            out.push(']');
            Ok(())
        }
        Value::Bool(value) => write!(out, "{value}"),
        Value::Null => write!(out, "null"),
        Value::Double(value) if relaxed && value.is_finite() => write!(out, "{value:?}"),
        Value::Double(value) => write!(out, "{{\"$numberDouble\":\"{}\"}}", double(value)),
        Value::Int32(value) if relaxed => write!(out, "{value}"),
        Value::Int32(value) => write!(out, "{{\"$numberInt\":\"{value}\"}}"),
        Value::Int64(value) if relaxed => write!(out, "{value}"),
        Value::Int64(value) => write!(out, "{{\"$numberLong\":\"{value}\"}}"),
        Value::Decimal128(bytes) => write!(out, "{{\"$numberDecimal\":\"{}\"}}", Decimal128::from_bytes(bytes)),
        Value::Date(ms) => match DateTime::from_timestamp_millis(ms) {
            // Years 1970 to 9999 only: what is outside, readers of dates disagree about.
            Some(date) if relaxed && (0..253_402_300_800_000).contains(&ms) => {
                let exact = if ms % 1000 == 0 { SecondsFormat::Secs } else { SecondsFormat::Millis };
                write!(out, "{{\"$date\":\"{}\"}}", date.to_rfc3339_opts(exact, true))
            }
            _ => write!(out, "{{\"$date\":{{\"$numberLong\":\"{ms}\"}}}}"),
        },
        Value::ObjectId(id) => write!(out, "{{\"$oid\":\"{}\"}}", hex(&id)),
        Value::Binary(subtype, bytes) => {
            write!(out, "{{\"$binary\":{{\"base64\":\"{}\",\"subType\":\"{subtype:02x}\"}}}}", STANDARD.encode(bytes))
        }
        Value::Undefined => write!(out, "{{\"$undefined\":true}}"),
        Value::MinKey => write!(out, "{{\"$minKey\":1}}"),
        Value::MaxKey => write!(out, "{{\"$maxKey\":1}}"),
        Value::Timestamp(seconds, increment) => write!(out, "{{\"$timestamp\":{{\"t\":{seconds},\"i\":{increment}}}}}"),
        Value::Regex(pattern, options) => {
            out.push_str("{\"$regularExpression\":{\"pattern\":");
            quoted(pattern, out);
            out.push_str(",\"options\":");
            quoted(options, out);
            out.push_str("}}");
            Ok(())
        }
        Value::DbPointer(namespace, id) => {
            out.push_str("{\"$dbPointer\":{\"$ref\":");
            quoted(namespace, out);
            write!(out, ",\"$id\":{{\"$oid\":\"{}\"}}}}}}", hex(&id))
        }
        Value::JavaScript(code) => {
            out.push_str("{\"$code\":");
            quoted(code, out);
            out.push('}');
            Ok(())
        }
        Value::Symbol(text) => {
            out.push_str("{\"$symbol\":");
            quoted(text, out);
            out.push('}');
            Ok(())
        }
        Value::CodeWithScope(code, scope) => {
            out.push_str("{\"$code\":");
            quoted(code, out);
            out.push_str(",\"$scope\":");
            value_at(Value::Document(scope), form, out, depth + 1)?;
            out.push('}');
            Ok(())
        }
    };
    Ok(())
}

/// JSON as it was written: order and duplicates of keys kept.
#[derive(Debug, Clone, PartialEq)]
enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tree;
        impl<'de> Visitor<'de> for Tree {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("extended JSON")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Int(value))
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Json, E> {
                i64::try_from(value).map(Json::Int).map_err(|_| E::custom(format!("{value} fits no 64-bit integer")))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Float(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Json::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
                let mut object = Vec::new();
                while let Some(member) = members.next_entry()? {
                    object.push(member);
                }
                Ok(Json::Object(object))
            }
        }
        deserializer.deserialize_any(Tree)
    }
}

/// A document from text, canonical or relaxed.
pub fn document(text: &str) -> Result<Vec<u8>, Malformed> {
    match parsed(text)? {
        // `{"$oid": …}` on its own is a value, not a document.
        Json::Object(members) if special(&members)?.is_none() => object(&members),
        _ => Err(Malformed("this is no document".into())),
    }
}

/// Adds a value, given as text, to a document.
pub fn put(writer: &mut Writer, name: &str, text: &str) -> Result<(), Malformed> {
    append(writer, name, &parsed(text)?)
}

fn parsed(text: &str) -> Result<Json, Malformed> {
    // serde_json gives up at 128 levels: a document of the server has 100 at most.
    serde_json::from_str(text).map_err(|error| Malformed(format!("not extended JSON: {error}")))
}

fn object(members: &[(String, Json)]) -> Result<Vec<u8>, Malformed> {
    let mut writer = Writer::default();
    for (name, value) in members {
        append(&mut writer, name, value)?;
    }
    Ok(writer.finish())
}

fn append(writer: &mut Writer, name: &str, value: &Json) -> Result<(), Malformed> {
    match value {
        Json::Null => writer.put(name, Value::Null),
        Json::Bool(value) => writer.put(name, Value::Bool(*value)),
        Json::Int(value) => match i32::try_from(*value) {
            Ok(small) => writer.put(name, Value::Int32(small)),
            Err(_) => writer.put(name, Value::Int64(*value)),
        },
        Json::Float(value) => writer.put(name, Value::Double(*value)),
        Json::Text(text) => writer.put(name, Value::String(text)),
        Json::List(items) => {
            let mut inner = Writer::default();
            for (at, item) in items.iter().enumerate() {
                append(&mut inner, &at.to_string(), item)?;
            }
            writer.put(name, Value::Array(&inner.finish()))
        }
        Json::Object(members) => match special(members)? {
            Some(Special::Plain(value)) => writer.put(name, value),
            Some(Special::Bytes(subtype, bytes)) => writer.put(name, Value::Binary(subtype, &bytes)),
            Some(Special::Scoped(code, scope)) => writer.put(name, Value::CodeWithScope(code, &scope)),
            None => writer.put(name, Value::Document(&object(members)?)),
        },
    }
}

enum Special<'a> {
    Plain(Value<'a>),
    Bytes(u8, Vec<u8>),
    Scoped(&'a str, Vec<u8>),
}

/// What an object with `$` keys stands for; `None` if it is an ordinary document.
fn special(members: &[(String, Json)]) -> Result<Option<Special<'_>>, Malformed> {
    let wrong = |key: &str| Err(Malformed(format!("a value of `{key}` that is none")));
    let plain = |value| Ok(Some(Special::Plain(value)));
    match members {
        [(key, value)] => match (key.as_str(), value) {
            ("$oid", Json::Text(text)) => match object_id(text) {
                Some(id) => plain(Value::ObjectId(id)),
                None => wrong(key),
            },
            ("$symbol", Json::Text(text)) => plain(Value::Symbol(text)),
            ("$code", Json::Text(text)) => plain(Value::JavaScript(text)),
            ("$numberInt", Json::Text(text)) => text.parse().map_or_else(|_| wrong(key), |value| plain(Value::Int32(value))),
            ("$numberLong", Json::Text(text)) => text.parse().map_or_else(|_| wrong(key), |value| plain(Value::Int64(value))),
            ("$numberDouble", Json::Text(text)) => match text.as_str() {
                "NaN" => plain(Value::Double(f64::NAN)),
                "Infinity" => plain(Value::Double(f64::INFINITY)),
                "-Infinity" => plain(Value::Double(f64::NEG_INFINITY)),
                text => match text.parse::<f64>() {
                    Ok(value) if value.is_finite() => plain(Value::Double(value)),
                    _ => wrong(key),
                },
            },
            ("$numberDecimal", Json::Text(text)) => match Decimal128::from_str(text) {
                Ok(value) => plain(Value::Decimal128(value.bytes())),
                Err(_) => wrong(key),
            },
            ("$undefined", Json::Bool(true)) => plain(Value::Undefined),
            ("$minKey", Json::Int(1)) => plain(Value::MinKey),
            ("$maxKey", Json::Int(1)) => plain(Value::MaxKey),
            ("$date", Json::Int(ms)) => plain(Value::Date(*ms)),
            ("$date", Json::Text(text)) => match DateTime::parse_from_rfc3339(text) {
                Ok(date) if date.timestamp_subsec_nanos() % 1_000_000 == 0 => plain(Value::Date(date.timestamp_millis())),
                _ => wrong(key),
            },
            ("$date", Json::Object(inner)) => match special(inner)? {
                Some(Special::Plain(Value::Int64(ms))) => plain(Value::Date(ms)),
                _ => wrong(key),
            },
            ("$binary", Json::Object(inner)) => match inner.as_slice() {
                [(a, Json::Text(data)), (b, Json::Text(subtype))] if a == "base64" && b == "subType" => {
                    match (STANDARD.decode(data), u8::from_str_radix(subtype, 16)) {
                        (Ok(bytes), Ok(subtype)) => Ok(Some(Special::Bytes(subtype, bytes))),
                        _ => wrong(key),
                    }
                }
                _ => wrong(key),
            },
            ("$uuid", Json::Text(text)) => match uuid::Uuid::parse_str(text) {
                Ok(id) => Ok(Some(Special::Bytes(4, id.as_bytes().to_vec()))),
                Err(_) => wrong(key),
            },
            ("$timestamp", Json::Object(inner)) => match inner.as_slice() {
                [(t, Json::Int(seconds)), (i, Json::Int(increment))] if t == "t" && i == "i" => {
                    match (u32::try_from(*seconds), u32::try_from(*increment)) {
                        (Ok(seconds), Ok(increment)) => plain(Value::Timestamp(seconds, increment)),
                        _ => wrong(key),
                    }
                }
                _ => wrong(key),
            },
            ("$regularExpression", Json::Object(inner)) => match inner.as_slice() {
                [(p, Json::Text(pattern)), (o, Json::Text(options))] if p == "pattern" && o == "options" => {
                    plain(Value::Regex(pattern, options))
                }
                _ => wrong(key),
            },
            ("$dbPointer", Json::Object(inner)) => match inner.as_slice() {
                [(r, Json::Text(namespace)), (i, Json::Object(id))] if r == "$ref" && i == "$id" => match special(id)? {
                    Some(Special::Plain(Value::ObjectId(id))) => plain(Value::DbPointer(namespace, id)),
                    _ => wrong(key),
                },
                _ => wrong(key),
            },
            _ => Ok(None),
        },
        [(code, Json::Text(text)), (scope, Json::Object(inner))] if code == "$code" && scope == "$scope" => {
            Ok(Some(Special::Scoped(text, object(inner)?)))
        }
        _ => Ok(None),
    }
}
