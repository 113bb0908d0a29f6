//! The type words of pipeline files (`cast`, `field_mapper.cast`) and how types are shown to people.

use arrow::datatypes::{DataType, Field, TimeUnit};

/// A type as written in a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TypeWord {
    /// What values become.
    pub data_type: DataType,
    /// `json`: text that must be one well-formed JSON value; recorded as the column's logical type.
    pub json: bool,
}

/// The words, for messages.
pub const WORDS: &str = "text, bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64, decimal(p,s), \
                         date, time, timestamp, timestamp(s|ms|us|ns), timestamptz, timestamptz(s|ms|us|ns), binary, json";

impl TypeWord {
    /// Reads a word. Case does not matter; the error names what would have been right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let (word, arguments) = match lower.split_once('(') {
            Some((word, rest)) => match rest.strip_suffix(')') {
                Some(inside) => (word.trim(), inside.split(',').map(|part| part.trim().to_string()).collect::<Vec<_>>()),
                None => return Err(format!("`{text}`: the bracket is not closed")),
            },
            None => (lower.as_str(), Vec::new()),
        };
        let plain = |data_type| {
            if arguments.is_empty() { Ok(Self { data_type, json: false }) } else { Err(format!("`{word}` takes no arguments")) }
        };
        match word {
            "text" | "string" => plain(DataType::Utf8),
            "bool" | "boolean" => plain(DataType::Boolean),
            "int8" => plain(DataType::Int8),
            "int16" => plain(DataType::Int16),
            "int32" => plain(DataType::Int32),
            "int64" => plain(DataType::Int64),
            "uint8" => plain(DataType::UInt8),
            "uint16" => plain(DataType::UInt16),
            "uint32" => plain(DataType::UInt32),
            "uint64" => plain(DataType::UInt64),
            "float32" => plain(DataType::Float32),
            "float64" | "double" => plain(DataType::Float64),
            "date" => plain(DataType::Date32),
            "time" => plain(DataType::Time64(TimeUnit::Microsecond)),
            "binary" => plain(DataType::Binary),
            "json" => plain(DataType::Utf8).map(|word| Self { json: true, ..word }),
            "timestamp" => Ok(Self { data_type: DataType::Timestamp(unit(word, &arguments)?, None), json: false }),
            "timestamptz" => {
                Ok(Self { data_type: DataType::Timestamp(unit(word, &arguments)?, Some("UTC".into())), json: false })
            }
            "decimal" | "numeric" => Ok(Self { data_type: decimal(&arguments)?, json: false }),
            _ => Err(format!("`{text}` is no type")),
        }
    }
}

fn unit(word: &str, arguments: &[String]) -> Result<TimeUnit, String> {
    match arguments {
        [] => Ok(TimeUnit::Microsecond),
        [one] => match one.as_str() {
            "s" => Ok(TimeUnit::Second),
            "ms" => Ok(TimeUnit::Millisecond),
            "us" => Ok(TimeUnit::Microsecond),
            "ns" => Ok(TimeUnit::Nanosecond),
            other => Err(format!("`{other}` is no unit of `{word}`; the units are s, ms, us, ns")),
        },
        _ => Err(format!("`{word}` takes one unit")),
    }
}

fn decimal(arguments: &[String]) -> Result<DataType, String> {
    let [precision, scale] = arguments else {
        return Err("a decimal needs its precision and scale: `decimal(15,2)`".into());
    };
    let precision: u8 = precision.parse().map_err(|_| format!("`{precision}` is no precision"))?;
    let scale: i8 = scale.parse().map_err(|_| format!("`{scale}` is no scale"))?;
    if !(1..=76).contains(&precision) {
        return Err(format!("a decimal has 1 to 76 digits, not {precision}"));
    }
    if scale < 0 || scale.unsigned_abs() > precision {
        return Err(format!("the scale of a decimal is between 0 and its precision ({precision}), not {scale}"));
    }
    Ok(if precision <= 38 { DataType::Decimal128(precision, scale) } else { DataType::Decimal256(precision, scale) })
}

/// An Arrow type as people read it in `weir plan`: `decimal128(15,2)`, `timestamp[us, UTC]`.
pub fn show(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "bool".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "utf8".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary".into(),
        DataType::FixedSizeBinary(size) => format!("binary({size})"),
        DataType::Date32 => "date32".into(),
        DataType::Date64 => "date64".into(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("time[{}]", unit_word(unit)),
        DataType::Timestamp(unit, None) => format!("timestamp[{}]", unit_word(unit)),
        DataType::Timestamp(unit, Some(zone)) => format!("timestamp[{}, {zone}]", unit_word(unit)),
        DataType::Duration(unit) => format!("duration[{}]", unit_word(unit)),
        DataType::Decimal32(precision, scale) => format!("decimal32({precision},{scale})"),
        DataType::Decimal64(precision, scale) => format!("decimal64({precision},{scale})"),
        DataType::Decimal128(precision, scale) => format!("decimal128({precision},{scale})"),
        DataType::Decimal256(precision, scale) => format!("decimal256({precision},{scale})"),
        DataType::List(field) | DataType::LargeList(field) | DataType::ListView(field) | DataType::LargeListView(field) => {
            format!("list<{}>", show(field.data_type()))
        }
        DataType::FixedSizeList(field, size) => format!("list<{}, {size}>", show(field.data_type())),
        DataType::Struct(fields) => {
            let inner: Vec<String> = fields.iter().map(|f| format!("{}: {}", f.name(), show(f.data_type()))).collect();
            format!("struct<{}>", inner.join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!("map<{}, {}>", show(fields[0].data_type()), show(fields[1].data_type()))
            }
            _ => "map".into(),
        },
        DataType::Dictionary(_, value) => show(value),
        DataType::Null => "null".into(),
        other => format!("{other:?}").to_ascii_lowercase(),
    }
}

fn unit_word(unit: &TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// A field's type, with the logical type where Arrow has no word for it: `json (utf8)`.
pub fn show_field(field: &Field) -> String {
    match field.metadata().get(weir_connect::fidelity::LOGICAL_TYPE) {
        Some(logical) => format!("{logical} ({})", show(field.data_type())),
        None => show(field.data_type()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_list_is_a_type() {
        for word in WORDS.replace("decimal(p,s)", "decimal(15.2)").replace("(s|ms|us|ns)", "(ms)").split(',') {
            let word = word.replace("15.2", "15,2");
            assert!(TypeWord::parse(word.trim()).is_ok(), "{word}");
        }
    }

    #[test]
    fn a_wrong_decimal_says_what_is_wrong() {
        assert!(TypeWord::parse("decimal").unwrap_err().contains("precision and scale"));
        assert!(TypeWord::parse("decimal(5,6)").unwrap_err().contains("between 0 and its precision"));
        assert!(TypeWord::parse("decimal(77,0)").unwrap_err().contains("1 to 76"));
        assert_eq!(TypeWord::parse("decimal(39,2)").unwrap().data_type, DataType::Decimal256(39, 2));
    }

    #[test]
    fn timestamps_take_a_unit() {
        assert_eq!(
            TypeWord::parse("timestamptz(ns)").unwrap().data_type,
            DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
        );
        assert!(TypeWord::parse("timestamp(5)").unwrap_err().contains("s, ms, us, ns"));
    }
}
