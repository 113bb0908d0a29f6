//! The type words of `cast` and `field_mapper.cast`.

use arrow::datatypes::{DataType, TimeUnit};
use weir_connect::{Error, Kind, Result};

/// All words, for messages.
pub const WORDS: &str = "text, bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64, \
decimal(precision, scale), date, time, timestamp, timestamptz, binary, json";

/// The Arrow type of a word. Words are case-insensitive; SQL's usual names are accepted too.
pub fn parse(word: &str) -> Result<DataType> {
    let lower = word.trim().to_lowercase();
    let (head, arguments) = match lower.split_once('(') {
        Some((head, rest)) => (head.trim(), rest.strip_suffix(')').map(str::trim)),
        None => (lower.as_str(), Some("")),
    };
    let arguments = arguments.ok_or_else(|| unknown(word))?;
    Ok(match (head, arguments) {
        ("text" | "string" | "varchar" | "utf8" | "json", _) => DataType::Utf8,
        ("bool" | "boolean", "") => DataType::Boolean,
        ("int8" | "tinyint", "") => DataType::Int8,
        ("int16" | "smallint", "") => DataType::Int16,
        ("int32" | "int" | "integer", "") => DataType::Int32,
        ("int64" | "bigint" | "long", "") => DataType::Int64,
        ("uint8", "") => DataType::UInt8,
        ("uint16", "") => DataType::UInt16,
        ("uint32", "") => DataType::UInt32,
        ("uint64", "") => DataType::UInt64,
        ("float32" | "real", "") => DataType::Float32,
        ("float64" | "double" | "float", "") => DataType::Float64,
        ("decimal" | "numeric", arguments) => decimal(arguments).ok_or_else(|| unknown(word))?,
        ("date", "") => DataType::Date32,
        ("time", "") => DataType::Time64(TimeUnit::Microsecond),
        ("timestamp", unit) => DataType::Timestamp(time_unit(unit).ok_or_else(|| unknown(word))?, None),
        ("timestamptz", unit) => DataType::Timestamp(time_unit(unit).ok_or_else(|| unknown(word))?, Some("UTC".into())),
        ("binary" | "bytes", "") => DataType::Binary,
        _ => return Err(unknown(word)),
    })
}

fn decimal(arguments: &str) -> Option<DataType> {
    let (precision, scale) = arguments.split_once(',')?;
    let (precision, scale): (u8, i8) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
    match precision {
        1..=38 if i16::from(scale) <= i16::from(precision) => Some(DataType::Decimal128(precision, scale)),
        39..=76 if i16::from(scale) <= i16::from(precision) => Some(DataType::Decimal256(precision, scale)),
        _ => None,
    }
}

fn time_unit(word: &str) -> Option<TimeUnit> {
    match word {
        "s" | "0" => Some(TimeUnit::Second),
        "ms" | "3" => Some(TimeUnit::Millisecond),
        "" | "us" | "6" => Some(TimeUnit::Microsecond),
        "ns" | "9" => Some(TimeUnit::Nanosecond),
        _ => None,
    }
}

fn unknown(word: &str) -> Error {
    Error::new("WEIR-PLAN-020", Kind::Spec, format!("`{word}` is not a type")).hint(format!("types: {WORDS}"))
}

/// A type in the words of this module, for people.
pub fn print(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".into(),
        DataType::Boolean => "bool".into(),
        DataType::Decimal128(p, s) => format!("decimal128({p},{s})"),
        DataType::Decimal256(p, s) => format!("decimal256({p},{s})"),
        DataType::Date32 => "date32".into(),
        DataType::Timestamp(unit, zone) => match zone {
            Some(zone) => format!("timestamp[{}, {zone}]", unit_word(*unit)),
            None => format!("timestamp[{}]", unit_word(*unit)),
        },
        DataType::Time64(unit) | DataType::Time32(unit) => format!("time[{}]", unit_word(*unit)),
        DataType::List(field) | DataType::LargeList(field) => format!("list<{}>", print(field.data_type())),
        DataType::Struct(fields) => {
            let inner: Vec<String> =
                fields.iter().map(|field| format!("{}: {}", field.name(), print(field.data_type()))).collect();
            format!("struct<{}>", inner.join(", "))
        }
        other => other.to_string().to_lowercase(),
    }
}

fn unit_word(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_what_sql_means() {
        assert_eq!(parse("decimal(15, 2)").unwrap(), DataType::Decimal128(15, 2));
        assert_eq!(parse("NUMERIC(40,0)").unwrap(), DataType::Decimal256(40, 0));
        assert_eq!(parse("timestamptz").unwrap(), DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
        for wrong in ["decimal", "decimal(77,0)", "decimal(2,5)", "varchr", "timestamp(hours)", "int64(3"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
