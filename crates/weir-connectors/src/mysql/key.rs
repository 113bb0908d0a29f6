//! Values of the primary key and of cursors: out of a batch into a position, and into bound parameters. A number is never compared as text
//! or as a double.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use serde_json::Value;
use weir_connect::{Error, Kind, Result};
use weir_formats::civil;

use super::catalog::Shape;
use super::client::Param;
use super::quote::ident;
use super::types::{SourceColumn, Travel};

/// A column of the primary key that rows are ordered by.
#[derive(Debug, Clone)]
pub struct KeyColumn {
    /// Its name.
    pub name: String,
    travel: Travel,
    at: usize,
}

impl KeyColumn {
    /// Whether ranges of it can be computed.
    pub fn integer(&self) -> bool {
        matches!(
            self.travel,
            Travel::Int8
                | Travel::Int16
                | Travel::Int32
                | Travel::Int64
                | Travel::UInt8
                | Travel::UInt16
                | Travel::UInt32
                | Travel::UInt64
        )
    }
}

/// The primary key's columns, if rows can be ordered and found again by them; else none.
pub fn of(shape: &Shape, columns: &[SourceColumn]) -> Vec<KeyColumn> {
    let find = |name: &String| {
        let at = columns.iter().position(|column| &column.name == name)?;
        let column = &columns[at];
        // As it is, not as text; and a number must be a number, not a year or an enum's index.
        let plain = column.select == ident(name) && !column.field.metadata().contains_key(weir_connect::fidelity::LOGICAL_TYPE);
        let usable = plain
            && !matches!(
                column.travel,
                Travel::Bool
                    | Travel::BitBool
                    | Travel::BitNumber
                    | Travel::Float
                    | Travel::Double
                    | Travel::Decimal256(..)
                    | Travel::Time
                    | Travel::Geometry
            );
        usable.then(|| KeyColumn { name: name.clone(), travel: column.travel.clone(), at })
    };
    shape.key.iter().map(find).collect::<Option<Vec<_>>>().unwrap_or_default()
}

fn text_of(array: &ArrayRef, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).to_string(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).to_string(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).to_string(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::Utf8 => array.as_string::<i32>().value(row).to_string(),
        DataType::Binary => array.as_binary::<i32>().value(row).iter().map(|byte| format!("{byte:02x}")).collect(),
        DataType::Date32 => {
            let (year, month, day) = civil(array.as_primitive::<Date32Type>().value(row).into());
            format!("{year:04}-{month:02}-{day:02}")
        }
        DataType::Timestamp(..) => date_time(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        _ => return None,
    })
}

/// `YYYY-MM-DD hh:mm:ss.ffffff`.
pub fn date_time(micros: i64) -> String {
    const DAY: i64 = 86_400_000_000;
    let (year, month, day) = civil(micros.div_euclid(DAY));
    let rest = micros.rem_euclid(DAY);
    let seconds = rest / 1_000_000;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        rest % 1_000_000
    )
}

/// The key of a batch's last row.
pub fn position(keys: &[KeyColumn], batch: &RecordBatch) -> Option<Value> {
    let row = batch.num_rows().checked_sub(1)?;
    if keys.is_empty() {
        return None;
    }
    keys.iter().map(|key| text_of(batch.column(key.at), row).map(Value::String)).collect::<Option<Vec<_>>>().map(Value::Array)
}

/// A value of a column, from the text that a position or the server has of it.
pub fn parameter(travel: &Travel, text: &str) -> Param {
    match travel {
        Travel::Decimal128(..) | Travel::Decimal256(..) => Param::Decimal(text.into()),
        Travel::Text => Param::Text(text.into()),
        Travel::Bytes => Param::Bytes(
            (0..text.len() / 2).filter_map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect(),
        ),
        Travel::Date | Travel::DateTime | Travel::Timestamp | Travel::Time => Param::Text(moment(text)),
        Travel::Float | Travel::Double => text.parse().map_or_else(|_| Param::Text(text.into()), Param::Double),
        _ => number(text),
    }
}

/// A whole number of up to 64 bits; what is none stays text.
pub fn number(text: &str) -> Param {
    match (text.parse::<i64>(), text.parse::<u64>()) {
        (Ok(number), _) => Param::Int(number),
        (_, Ok(number)) => Param::UInt(number),
        _ => Param::Decimal(text.into()),
    }
}

/// The condition that a row comes after a position, and its parameters.
pub fn after(keys: &[KeyColumn], position: &Value) -> Option<(String, Vec<Param>)> {
    let values = position.as_array().filter(|values| values.len() == keys.len() && !keys.is_empty())?;
    let values: Vec<Param> =
        keys.iter().zip(values).map(|(key, value)| Some(parameter(&key.travel, value.as_str()?))).collect::<Option<_>>()?;
    let (mut alternatives, mut parameters) = (Vec::new(), Vec::new());
    for at in 0..keys.len() {
        let mut parts: Vec<String> = keys[..at].iter().map(|key| format!("{} = ?", ident(&key.name))).collect();
        parts.push(format!("{} > ?", ident(&keys[at].name)));
        parameters.extend(values[..=at].iter().cloned());
        alternatives.push(format!("({})", parts.join(" AND ")));
    }
    // Says nothing new, but lets the server start its range there.
    parameters.push(values[0].clone());
    Some((format!("({}) AND {} >= ?", alternatives.join(" OR "), ident(&keys[0].name)), parameters))
}

/// RFC 3339 → what the server reads in a session in UTC; other text as it is.
pub fn moment(text: &str) -> String {
    match chrono::DateTime::parse_from_rfc3339(text) {
        Ok(moment) => date_time(moment.timestamp_micros()),
        Err(_) => text.replacen('T', " ", 1),
    }
}

/// The lower bound of a cursor column, from the text in which Arrow prints its type.
pub fn bound(column: &SourceColumn, text: &str) -> Param {
    match column.travel {
        Travel::Bytes => Param::Bytes(text.as_bytes().to_vec()),
        _ => parameter(&column.travel, text),
    }
}

/// A bound whose column is not known.
pub fn guess(text: &str) -> Param {
    match number(text) {
        Param::Decimal(_) if text.parse::<f64>().is_err() => Param::Text(moment(text)),
        known => known,
    }
}

/// Below or at everything that the column can hold.
pub fn smallest(column: &SourceColumn) -> Result<Param> {
    Ok(match column.travel {
        Travel::Int8 | Travel::Int16 | Travel::Int32 | Travel::Int64 => Param::Int(i64::MIN),
        Travel::UInt8 | Travel::UInt16 | Travel::UInt32 | Travel::UInt64 | Travel::BitNumber => Param::UInt(0),
        Travel::Decimal128(..) | Travel::Decimal256(..) => Param::Decimal(format!("-{}", "9".repeat(65))),
        Travel::Float | Travel::Double => Param::Double(f64::MIN),
        Travel::Date | Travel::DateTime | Travel::Timestamp => Param::Text("0000-00-00 00:00:00".into()),
        Travel::Text => Param::Text(String::new()),
        _ => {
            return Err(Error::new("WEIR-MY-022", Kind::Spec, "`${cursor}` has no smallest value of its type for the first run")
                .hint("leave `${cursor}` out of the query: the `cursor` option adds the condition itself"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_after_a_composite_key_is_lexicographic() {
        let keys = [
            KeyColumn { name: "a".into(), travel: Travel::Int64, at: 0 },
            KeyColumn { name: "b".into(), travel: Travel::Text, at: 1 },
        ];
        let (sql, parameters) = after(&keys, &serde_json::json!(["7", "x"])).unwrap();
        assert_eq!(sql, "((`a` > ?) OR (`a` = ? AND `b` > ?)) AND `a` >= ?");
        assert_eq!(parameters, [Param::Int(7), Param::Int(7), Param::Text("x".into()), Param::Int(7)]);
        assert!(after(&keys, &serde_json::json!(["7"])).is_none());
    }

    #[test]
    fn moments_and_large_numbers_are_bound_exactly() {
        assert_eq!(moment("2024-02-29T12:00:00.123456+02:00"), "2024-02-29 10:00:00.123456");
        assert_eq!(moment("2024-02-29"), "2024-02-29");
        assert_eq!(number("18446744073709551615"), Param::UInt(u64::MAX));
        assert_eq!(guess("2024-01-01T00:00:00Z"), Param::Text("2024-01-01 00:00:00.000000".into()));
    }
}
