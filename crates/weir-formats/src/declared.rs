//! The words for types in the spec: `columns: {zip: string, price: "decimal(15,2)"}`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use weir_error::{Error, Kind, Result};

/// The Arrow type that a word of the spec means: `bool`, `int8`…`int64`, `uint8`…`uint64`, `float32`, `float64`,
/// `decimal(p,s)`, `string`, `binary`, `date`, `time`, `timestamp` (without zone), `timestamptz` (an instant, UTC; both in microseconds
/// unless `(s|ms|us|ns)` follows), `list(type)`. The usual SQL spellings mean the same (`text`, `bigint`, `double`, `numeric(15,2)`, …).
///
/// # Errors
/// `WEIR-FMT-012` when the word is not a type.
pub fn declared_type(text: &str) -> Result<DataType> {
    let lower = text.trim().to_ascii_lowercase();
    parse(&lower).ok_or_else(|| {
        Error::new("WEIR-FMT-012", Kind::Spec, format!("`{text}` is not a type")).hint(
            "types are: bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64, decimal(p,s), string, \
             binary, date, time, timestamp, timestamptz, list(type)",
        )
    })
}

fn parse(text: &str) -> Option<DataType> {
    let (name, arguments) = match text.split_once('(') {
        Some((name, rest)) => (name.trim(), Some(rest.trim().strip_suffix(')')?.trim())),
        None => (text, None),
    };
    let unit = |default: TimeUnit| match arguments {
        None => Some(default),
        Some("s" | "0") => Some(TimeUnit::Second),
        Some("ms" | "3") => Some(TimeUnit::Millisecond),
        Some("us" | "6") => Some(TimeUnit::Microsecond),
        Some("ns" | "9") => Some(TimeUnit::Nanosecond),
        Some(_) => None,
    };
    let plain = match name {
        "bool" | "boolean" => DataType::Boolean,
        "int8" | "tinyint" => DataType::Int8,
        "int16" | "smallint" => DataType::Int16,
        "int32" | "int" | "integer" => DataType::Int32,
        "int64" | "bigint" | "long" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "uint16" => DataType::UInt16,
        "uint32" => DataType::UInt32,
        "uint64" => DataType::UInt64,
        "float32" | "real" => DataType::Float32,
        "float64" | "double" | "double precision" | "float" => DataType::Float64,
        "string" | "text" | "utf8" | "varchar" | "char" => return Some(DataType::Utf8),
        "binary" | "bytes" | "bytea" => DataType::Binary,
        "date" | "date32" => DataType::Date32,
        "time" => {
            return Some(match unit(TimeUnit::Microsecond)? {
                unit @ (TimeUnit::Second | TimeUnit::Millisecond) => DataType::Time32(unit),
                unit => DataType::Time64(unit),
            });
        }
        "timestamp" | "datetime" => return Some(DataType::Timestamp(unit(TimeUnit::Microsecond)?, None)),
        "timestamptz" | "timestamp_tz" => return Some(DataType::Timestamp(unit(TimeUnit::Microsecond)?, Some("UTC".into()))),
        "decimal" | "numeric" => {
            let (precision, scale) = match arguments?.split_once(',') {
                Some((p, s)) => (p.trim().parse::<u8>().ok()?, s.trim().parse::<i8>().ok()?),
                None => (arguments?.parse::<u8>().ok()?, 0),
            };
            if scale < 0 || scale as u8 > precision || precision == 0 {
                return None;
            }
            return match precision {
                1..=38 => Some(DataType::Decimal128(precision, scale)),
                39..=76 => Some(DataType::Decimal256(precision, scale)),
                _ => None,
            };
        }
        "list" | "array" => return Some(DataType::List(Arc::new(Field::new("item", parse(arguments?)?, true)))),
        _ => return None,
    };
    arguments.is_none().then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_arrow_types() {
        for (word, expected) in [
            ("string", DataType::Utf8),
            ("varchar(20)", DataType::Utf8),
            ("BIGINT", DataType::Int64),
            ("decimal(15, 2)", DataType::Decimal128(15, 2)),
            ("numeric(40,2)", DataType::Decimal256(40, 2)),
            ("timestamptz", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
            ("timestamp(ns)", DataType::Timestamp(TimeUnit::Nanosecond, None)),
            ("time", DataType::Time64(TimeUnit::Microsecond)),
            ("list(int64)", DataType::List(Arc::new(Field::new("item", DataType::Int64, true)))),
        ] {
            assert_eq!(declared_type(word).unwrap(), expected, "{word}");
        }
        for word in ["decimal", "decimal(2,3)", "int64(3)", "money", "", "timestamp(x)", "decimal(77,0)", "list(int64"] {
            assert_eq!(declared_type(word).unwrap_err().code(), "WEIR-FMT-012", "{word}");
        }
    }
}
