//! The one mapping JSON ↔ Arrow: what a column may be, how it is called in `columns`, what Arrow holds it, and where the sink's JSON
//! is another than that of a file.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use weir_connect::fidelity::{LOGICAL_TYPE, SOURCE_TYPE};
use weir_connect::{Edge, SinkType};
use weir_formats::Format;

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// `true`, `false`.
    Bool,
    /// A signed integer of 8, 16, 32 or 64 bits.
    Int(u8),
    /// An unsigned integer of 8, 16, 32 or 64 bits.
    UInt(u8),
    /// A float of 32 bits.
    Float32,
    /// A float of 64 bits.
    Float64,
    /// Digits before and after the point are exact.
    Decimal(u8, i8),
    /// Text.
    Text,
    /// Any value, as JSON text.
    Json,
    /// `2024-02-29`.
    Date,
    /// `23:59:59.999999`.
    Time,
    /// RFC 3339 without an offset.
    Timestamp,
    /// RFC 3339 with an offset.
    TimestampTz,
    /// A number of seconds since 1970.
    EpochSecs,
    /// A number of milliseconds since 1970.
    EpochMs,
    /// Base64.
    Binary,
    /// A list.
    List(Box<ColumnType>),
    /// An object with these keys.
    Struct(Vec<(String, ColumnType)>),
}

impl ColumnType {
    /// The Arrow type.
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int(8) => DataType::Int8,
            Self::Int(16) => DataType::Int16,
            Self::Int(32) => DataType::Int32,
            Self::Int(_) => DataType::Int64,
            Self::UInt(8) => DataType::UInt8,
            Self::UInt(16) => DataType::UInt16,
            Self::UInt(32) => DataType::UInt32,
            Self::UInt(_) => DataType::UInt64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale),
            Self::Text | Self::Json => DataType::Utf8,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz | Self::EpochSecs | Self::EpochMs => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Binary => DataType::Binary,
            Self::List(item) => DataType::List(Arc::new(item.field("item"))),
            Self::Struct(members) => {
                DataType::Struct(members.iter().map(|(name, member)| member.field(name)).collect::<Fields>())
            }
        }
    }

    /// A nullable field with what the source knows about it.
    pub fn field(&self, name: &str) -> Field {
        let mut metadata = HashMap::from([(SOURCE_TYPE.to_owned(), self.source_type().to_owned())]);
        if *self == Self::Json {
            metadata.insert(LOGICAL_TYPE.to_owned(), "json".to_owned());
        }
        Field::new(name, self.arrow(), true).with_metadata(metadata)
    }

    fn source_type(&self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Int(_) | Self::UInt(_) => "integer",
            Self::Float32 | Self::Float64 | Self::Decimal(..) | Self::EpochSecs | Self::EpochMs => "number",
            Self::Json => "any",
            Self::List(_) => "array",
            Self::Struct(_) => "object",
            _ => "string",
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int(bits) => write!(f, "int{bits}"),
            Self::UInt(bits) => write!(f, "uint{bits}"),
            Self::Float32 => f.write_str("float32"),
            Self::Float64 => f.write_str("float64"),
            Self::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Self::Text => f.write_str("text"),
            Self::Json => f.write_str("json"),
            Self::Date => f.write_str("date"),
            Self::Time => f.write_str("time"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::TimestampTz => f.write_str("timestamptz"),
            Self::EpochSecs => f.write_str("epoch_secs"),
            Self::EpochMs => f.write_str("epoch_ms"),
            Self::Binary => f.write_str("binary"),
            Self::List(item) => write!(f, "list<{item}>"),
            Self::Struct(members) => {
                f.write_str("struct<")?;
                for (index, (name, member)) in members.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{name}: {member}")?;
                }
                f.write_str(">")
            }
        }
    }
}

impl FromStr for ColumnType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(item) = text.strip_prefix("list<").and_then(|rest| rest.strip_suffix('>')) {
            return Ok(Self::List(Box::new(item.parse()?)));
        }
        if let Some(members) = text.strip_prefix("struct<").and_then(|rest| rest.strip_suffix('>')) {
            let members = split_outside(members)
                .into_iter()
                .map(|member| {
                    let (name, kind) = member.split_once(':').ok_or_else(|| format!("`{member}` is not `name: type`"))?;
                    Ok((name.trim().to_owned(), kind.parse()?))
                })
                .collect::<Result<Vec<_>, String>>()?;
            return Ok(Self::Struct(members));
        }
        if let Some(digits) = ["decimal(", "numeric("].iter().find_map(|word| text.strip_prefix(word)) {
            let digits = digits.strip_suffix(')').ok_or("`)` is missing")?;
            let (precision, scale) = digits.split_once(',').unwrap_or((digits, "0"));
            let parsed = precision.trim().parse::<u8>().ok().zip(scale.trim().parse::<i8>().ok());
            return match parsed {
                Some((precision @ 1..=38, scale)) if scale >= 0 && scale as u8 <= precision => {
                    Ok(Self::Decimal(precision, scale))
                }
                _ => Err("a decimal has 1 to 38 digits, at most all of them after the point".into()),
            };
        }
        Ok(match text {
            "bool" | "boolean" => Self::Bool,
            "int8" => Self::Int(8),
            "int16" | "smallint" => Self::Int(16),
            "int32" | "int" | "integer" => Self::Int(32),
            "int64" | "bigint" | "long" => Self::Int(64),
            "uint8" => Self::UInt(8),
            "uint16" => Self::UInt(16),
            "uint32" => Self::UInt(32),
            "uint64" => Self::UInt(64),
            "float32" | "real" => Self::Float32,
            "float64" | "float" | "double" => Self::Float64,
            "text" | "string" | "utf8" | "varchar" => Self::Text,
            "json" => Self::Json,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" | "datetime" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            "epoch_secs" => Self::EpochSecs,
            "epoch_ms" => Self::EpochMs,
            "binary" | "bytes" => Self::Binary,
            _ => return Err("no such type; there are bool, int8 … uint64, float32, float64, decimal(p,s), text, json, date, time, timestamp, timestamptz, epoch_secs, epoch_ms, binary, list<…>, struct<name: …>".into()),
        })
    }
}

/// Splits at commas that are not inside brackets.
fn split_outside(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// How the sink writes a field into JSON: as a JSON file has it, where the sink does not differ.
pub fn sink_type(field: &Field) -> SinkType {
    let nested = |name: &str, parts: &mut dyn Iterator<Item = &Arc<Field>>| SinkType {
        name: name.into(),
        edge: parts.map(|part| sink_type(part).edge).fold(Edge::Exact, Edge::then),
    };
    match field.data_type() {
        // NaN and infinities have no number in JSON: a file has texts for them, here such a value stops the run.
        data_type if data_type.is_floating() => SinkType::exact("number"),
        // JSON text stays the text that it is; in a file it becomes part of the document.
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => SinkType::exact("string"),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            nested("array", &mut std::iter::once(item))
        }
        DataType::Struct(fields) => nested("object", &mut fields.iter()),
        DataType::Dictionary(_, value) => sink_type(&Field::new(field.name(), value.as_ref().clone(), true)),
        other @ (DataType::Map(..) | DataType::Duration(_) | DataType::Interval(_)) => {
            SinkType { name: String::new(), edge: Edge::Unsupported { reason: format!("the http sink has no form for {other}") } }
        }
        _ => weir_formats::sink_type(Format::Ndjson, field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_the_same_text_in_a_file_is_judged_as_in_a_file() {
        for data_type in [
            DataType::Decimal128(38, 9),
            DataType::Decimal256(60, 5),
            DataType::Int64,
            DataType::UInt64,
            DataType::Date32,
            DataType::Binary,
            DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        ] {
            for data_type in [data_type.clone(), DataType::new_list(data_type, true)] {
                let field = Field::new("c", data_type, true);
                assert_eq!(sink_type(&field), weir_formats::sink_type(Format::Ndjson, &field));
            }
        }
    }

    #[test]
    fn types_print_as_they_parse() {
        for text in [
            "bool",
            "int8",
            "uint64",
            "decimal(15,2)",
            "list<list<text>>",
            "struct<a: int64, b: struct<c: decimal(3,1), d: list<date>>>",
        ] {
            assert_eq!(text.parse::<ColumnType>().unwrap().to_string(), text);
        }
        for text in ["decimal(39,0)", "decimal(3,4)", "decimal(3", "list<x>", "varchar2", "struct<a>"] {
            assert!(text.parse::<ColumnType>().is_err(), "{text}");
        }
    }
}
