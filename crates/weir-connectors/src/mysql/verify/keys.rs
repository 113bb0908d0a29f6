//! Rows by their keys, which either side may have printed: the condition of a statement, with the keys as bound parameters. Pure: no I/O.
//!
//! A condition may hold for more rows than those of the keys (collations); the hashes of the keys decide. It never holds for fewer.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use weir_connect::verify::Key;

use super::super::client::Param;
use super::super::key::{self, date_time};
use super::super::quote::ident;
use super::super::types::{SourceColumn, Travel};

/// A moment, or a date and time, of any of the systems that print them.
fn moment(text: &str) -> Option<String> {
    let micros = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"))
        .map(|moment| moment.timestamp_micros())
        .or_else(|_| {
            let plain = text.replacen('T', " ", 1);
            NaiveDateTime::parse_from_str(&plain, "%Y-%m-%d %H:%M:%S%.f").map(|plain| plain.and_utc().timestamp_micros())
        })
        .ok()?;
    Some(date_time(micros))
}

/// The text as a value of the column; `None` if it is none, so that no row has it.
fn value(column: &SourceColumn, text: &str) -> Option<Param> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
    Some(match &column.travel {
        Travel::Bool | Travel::BitBool => Param::Int(match text {
            "true" | "t" | "1" => 1,
            "false" | "f" | "0" => 0,
            _ => return None,
        }),
        Travel::Bytes | Travel::Geometry => key::parameter(&Travel::Bytes, text.strip_prefix("\\x")?),
        Travel::Date => Param::Text(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.format("%Y-%m-%d").to_string()),
        Travel::Time => Param::Text(NaiveTime::parse_from_str(text, "%H:%M:%S%.f").ok()?.format("%H:%M:%S%.6f").to_string()),
        Travel::DateTime | Travel::Timestamp => Param::Text(moment(text)?),
        // As the column has it: a single is another number than the double of the same digits.
        Travel::Float => Param::Double(text.parse::<f32>().ok()?.into()),
        Travel::Double => Param::Double(text.parse().ok()?),
        Travel::Text => Param::Text(text.into()),
        Travel::Decimal128(..) | Travel::Decimal256(..) => Param::Decimal(digits(text).then(|| text.to_string())?),
        _ => match key::number(text) {
            Param::Decimal(_) => return None,
            number => number,
        },
    })
}

/// `None`: there are no such rows.
pub fn condition(columns: &[&SourceColumn], keys: &[Key]) -> Option<(String, Vec<Param>)> {
    let (mut alternatives, mut parameters) = (Vec::new(), Vec::new());
    for key in keys {
        let mut parts = Vec::new();
        let mut values = Vec::new();
        for (column, text) in columns.iter().zip(&key.values) {
            // By what is selected: a column that is read as text is asked for by its text.
            let place = column.select.split(" AS `").next().filter(|_| column.travel == Travel::Text);
            let place = place.map_or_else(|| ident(&column.name), str::to_string);
            match text {
                None => parts.push(format!("{place} IS NULL")),
                Some(text) => match value(column, text) {
                    Some(bound) => {
                        parts.push(format!("{place} = ?"));
                        values.push(bound);
                    }
                    None => break,
                },
            }
        }
        if parts.len() == columns.len() && !parts.is_empty() {
            alternatives.push(format!("({})", parts.join(" AND ")));
            parameters.extend(values);
        }
    }
    (!alternatives.is_empty()).then(|| (alternatives.join(" OR "), parameters))
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn moments_are_read_as_either_family_prints_them() {
        for text in ["2024-03-31T01:30:00.000001Z", "2024-03-31 01:30:00.000001+00", "2024-03-31 03:30:00.000001+02"] {
            assert_eq!(moment(text).as_deref(), Some("2024-03-31 01:30:00.000001"), "{text}");
        }
        assert_eq!(moment("2024-03-31 01:30:00").as_deref(), Some("2024-03-31 01:30:00.000000"));
        assert_eq!(moment("infinity"), None);
    }
}
