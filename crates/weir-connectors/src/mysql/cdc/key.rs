//! Keys compared as the server compares them, and told apart: what decides whether a change of the log is in the part of a table that was
//! read. Values come as the binary protocol has them, from the log as well as from a chunk.

use super::super::catalog::RawColumn;
use super::super::client::{Cells, ResultColumn};
use super::super::quote::ident;
use super::super::types::{Base, SourceColumn, Travel};

/// One value. Values of one column are all of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyValue {
    /// Numbers, days, moments.
    Number(i128),
    /// By bytes.
    Bytes(Vec<u8>),
}

/// The values of the key's columns, compared from the first.
pub type Key = Vec<KeyValue>;

/// A key as text, for the position and for statements, and as values.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// As parameters of statements are made from it.
    pub text: Vec<String>,
    /// To compare.
    pub key: Key,
}

/// Whether values of a column are ordered here as the server orders them.
pub fn ordered(raw: &RawColumn, column: &SourceColumn) -> bool {
    if column.select != ident(&column.name) {
        return false;
    }
    match (&raw.of.base, &column.travel) {
        (Base::Int(_), travel) => *travel != Travel::Bool,
        (Base::Decimal(..), Travel::Decimal128(..)) => true,
        (Base::Date | Base::DateTime(_) | Base::Timestamp(_), _) => true,
        (Base::Binary(_) | Base::Bytes(_), _) => true,
        // Other collations, and those that pad with blanks, order otherwise than bytes do.
        (Base::Char(_) | Base::Varchar(_) | Base::Text(_), _) => {
            matches!(raw.collation.as_str(), "utf8mb4_0900_bin" | "utf8mb4_nopad_bin" | "utf8mb3_nopad_bin" | "utf8_nopad_bin")
        }
        _ => false,
    }
}

/// A day and a time of it, in the order of the calendar; zero dates are below all others.
fn moment(year: i128, month: i128, day: i128, micros: i128) -> KeyValue {
    KeyValue::Number(((year * 16 + month) * 32 + day) * 86_400_000_000 + micros)
}

fn decimal(text: &str, scale: i8) -> Option<KeyValue> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let missing = usize::try_from(scale).ok()?.checked_sub(fraction.len())?;
    let number: i128 = format!("{whole}{fraction}{}", "0".repeat(missing)).parse().ok()?;
    Some(KeyValue::Number(if negative { -number } else { number }))
}

fn whole(bytes: &[u8], signed: bool) -> Option<KeyValue> {
    let negative = signed && bytes.last()? & 0x80 != 0;
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(KeyValue::Number(i128::from_le_bytes(wide)))
}

/// A value of the binary protocol. What has no order here is told apart by its bytes.
fn value(travel: &Travel, bytes: &[u8]) -> Option<KeyValue> {
    match travel {
        Travel::Int8 | Travel::Int16 | Travel::Int32 | Travel::Int64 => whole(bytes, true),
        Travel::UInt8 | Travel::UInt16 | Travel::UInt32 | Travel::UInt64 => whole(bytes, false),
        Travel::Decimal128(_, scale) => decimal(std::str::from_utf8(bytes).ok()?, *scale),
        Travel::Date | Travel::DateTime | Travel::Timestamp => {
            let byte = |at: usize| i128::from(bytes.get(at).copied().unwrap_or(0));
            let micros = (0..4).fold(0, |sum, at| sum | byte(7 + at) << (8 * at));
            let clock = ((byte(4) * 60 + byte(5)) * 60 + byte(6)) * 1_000_000 + micros;
            Some(moment(byte(0) | byte(1) << 8, byte(2), byte(3), clock))
        }
        _ => Some(KeyValue::Bytes(bytes.to_vec())),
    }
}

/// The key in a binary row of these columns; `None`: it has a NULL, or the row is cut.
pub fn of_row(row: &[u8], kinds: &[ResultColumn], columns: &[SourceColumn], key: &[usize]) -> Option<Key> {
    let mut cells = Cells::new(row, kinds.len())?;
    let mut found: Vec<Option<KeyValue>> = vec![None; key.len()];
    let last = key.iter().max()?;
    for (at, column) in kinds.iter().enumerate().take(last + 1) {
        let cell = cells.next(column.kind)?;
        for (place, wanted) in found.iter_mut().zip(key) {
            if *wanted == at {
                *place = Some(value(&columns.get(at)?.travel, cell?)?);
            }
        }
    }
    found.into_iter().collect()
}

/// A value that the server printed, or that [`printed`] made it print.
fn of_text(travel: &Travel, text: &str) -> Option<KeyValue> {
    match travel {
        Travel::Decimal128(_, scale) => decimal(text, *scale),
        Travel::Date | Travel::DateTime | Travel::Timestamp => {
            let (date, clock) = text.split_once(' ').unwrap_or((text, "0:0:0"));
            let mut date = date.splitn(3, '-').map(|part| part.parse::<i128>().ok());
            let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
            let seconds = clock.splitn(3, ':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<i128>().ok()?))?;
            let micros: i128 = format!("{fraction:0<6}").parse().ok()?;
            Some(moment(date.next()??, date.next()??, date.next()??, seconds * 1_000_000 + micros))
        }
        Travel::Text => Some(KeyValue::Bytes(text.as_bytes().to_vec())),
        Travel::Bytes => {
            let digits = (0..text.len() / 2).map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok());
            Some(KeyValue::Bytes(digits.collect::<Option<_>>()?))
        }
        _ => Some(KeyValue::Number(text.parse().ok()?)),
    }
}

/// A bound from the texts of its values.
pub fn bound(travels: &[Travel], text: Vec<String>) -> Option<Bound> {
    if text.len() != travels.len() {
        return None;
    }
    let key = travels.iter().zip(&text).map(|(travel, text)| of_text(travel, text)).collect::<Option<_>>()?;
    Some(Bound { text, key })
}

/// The expression that makes the server print a value so that [`bound`] reads it.
pub fn printed(name: &str, travel: &Travel) -> String {
    match travel {
        Travel::Bytes => format!("HEX({})", ident(name)),
        _ => format!("CAST({} AS CHAR)", ident(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocols_values_and_the_printed_ones_are_the_same() {
        for (travel, bytes, text) in [
            (Travel::Int8, &[0x80_u8][..], "-128"),
            (Travel::UInt8, &[0x80], "128"),
            (Travel::Int64, &[0xff; 8], "-1"),
            (Travel::UInt64, &[0xff; 8], "18446744073709551615"),
            (Travel::Decimal128(10, 2), b"-1.50", "-1.50"),
            (Travel::Decimal128(10, 2), b"7", "7.00"),
            (Travel::Date, &[0xe8, 7, 2, 29], "2024-02-29"),
            (Travel::DateTime, &[0xe8, 7, 2, 29], "2024-02-29 00:00:00"),
            (Travel::DateTime, &[0xe8, 7, 2, 29, 1, 2, 3], "2024-02-29 01:02:03.000"),
            (Travel::Timestamp, &[0xe8, 7, 2, 29, 1, 2, 3, 0x40, 0xe2, 1, 0], "2024-02-29 01:02:03.123456"),
            (Travel::Date, &[], "0000-00-00"),
            (Travel::Text, "ü ".as_bytes(), "ü "),
            (Travel::Bytes, &[0, 255], "00FF"),
        ] {
            assert_eq!(value(&travel, bytes).unwrap(), of_text(&travel, text).unwrap(), "{text}");
        }
    }

    #[test]
    fn moments_are_in_the_order_of_the_calendar() {
        let texts = ["0000-00-00", "0001-01-01", "2023-12-31 23:59:59.999999", "2024-01-01", "2024-01-31", "2024-02-01 00:00:01"];
        let keys: Vec<_> = texts.iter().map(|text| of_text(&Travel::DateTime, text).unwrap()).collect();
        assert!(keys.is_sorted());
        for text in ["x", "2024-01", "2024-01-01 1:x"] {
            assert!(of_text(&Travel::DateTime, text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_key_is_found_in_a_row_in_the_order_of_the_key() {
        let column = |kind| ResultColumn { kind, ..ResultColumn::default() };
        let kinds = [column(253), column(1)];
        let columns: Vec<SourceColumn> = ["varchar(9)", "tinyint"]
            .iter()
            .map(|text| {
                let of = super::super::super::types::ColumnType::parse(text);
                super::super::super::types::source_column("c", &of, text, true, false, &Default::default()).unwrap()
            })
            .collect();
        let row = [0, 0, 1, b'x', 0xff];
        let expected = vec![KeyValue::Number(-1), KeyValue::Bytes(b"x".to_vec())];
        assert_eq!(of_row(&row, &kinds, &columns, &[1, 0]), Some(expected));
        assert_eq!(of_row(&[0, 4, 1, b'x', 0xff], &kinds, &columns, &[0]), None);
        assert_eq!(of_row(&row[..3], &kinds, &columns, &[0]), None);
    }
}
