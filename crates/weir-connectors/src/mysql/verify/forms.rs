//! The canonical forms of `weir_connect::verify` as SQL of this family, for the types that have exact ones. Pure: no I/O.
//!
//! Not here: floats (the server prints them rounded, and does not give their bits), JSON by its meaning, shapes (read as EWKB), and columns that are read as
//! text by choice. A table in which one of these is compared is read and hashed outside of the server.

use weir_connect::verify::{Comparison, Form};

use super::super::catalog::RawColumn;
use super::super::quote::ident;
use super::super::types::{Base, SourceColumn, Travel};

/// 2000-01-01 as the server counts days.
const DAYS: u32 = 730_485;

/// The first 128 bits of the SHA-256 of some bytes, in hex.
fn hashed(bytes: &str) -> String {
    format!("LEFT(SHA2({bytes}, 256), 32)")
}

/// 64 bits of a whole number.
fn hex(number: &str) -> String {
    format!("LOWER(LPAD(HEX({number}), 16, '0'))")
}

/// The text of a column's values in that form, NULL for NULL; `None` if the server has no exact one.
fn cell(raw: &RawColumn, read: &SourceColumn, form: Form) -> Option<String> {
    let x = ident(&raw.name);
    if read.select != x {
        return None;
    }
    let filled = raw.type_name.contains("zerofill");
    let printed = format!("CAST({x} AS CHAR)");
    Some(match (form, &raw.of.base) {
        (Form::Bool, _) if matches!(read.travel, Travel::Bool | Travel::BitBool) => {
            format!("CASE WHEN {x} IS NULL THEN NULL WHEN {x} THEN 'true' ELSE 'false' END")
        }
        // Not the zeros in front.
        (Form::Number, Base::Bit(_) | Base::Year) => format!("CAST({x} + 0 AS CHAR)"),
        (Form::Number, Base::Int(_)) if filled => format!("CAST({x} + 0 AS CHAR)"),
        (Form::Number | Form::Text, Base::Int(_) | Base::Decimal(..)) if filled => return None,
        (Form::Number, Base::Int(_) | Base::Decimal(_, 0)) => printed,
        (Form::Number, Base::Decimal(..)) => format!("TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM {printed}))"),
        (Form::Text, Base::Int(_)) if read.travel == Travel::Bool => return None,
        (Form::Text, Base::Int(_) | Base::Decimal(..) | Base::Named(_)) => hashed(&printed),
        (Form::Text | Form::JsonText, Base::Char(_) | Base::Varchar(_) | Base::Text(_) | Base::Enum(_) | Base::Set(_)) => {
            hashed(&format!("CONVERT({x} USING utf8mb4)"))
        }
        (Form::Text | Form::JsonText, Base::Json) => hashed(&printed),
        (Form::Bytes, Base::Binary(_) | Base::Bytes(_)) => hashed(&x),
        (Form::Date, Base::Date) => {
            format!("LOWER(LPAD(HEX((TO_DAYS({x}) - {DAYS}) & 4294967295), 8, '0'))")
        }
        (Form::Time, Base::Time(_)) => {
            hex(&format!("(HOUR({x}) * 3600 + MINUTE({x}) * 60 + SECOND({x})) * 1000000 + MICROSECOND({x})"))
        }
        (Form::Timestamp | Form::TimestampTz, Base::DateTime(_) | Base::Timestamp(_)) => {
            hex(&format!("TIMESTAMPDIFF(MICROSECOND, TIMESTAMP'2000-01-01 00:00:00', {x})"))
        }
        _ => return None,
    })
}

fn hash<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let parts: Vec<String> = cells.map(|cell| format!("COALESCE({cell}, 'N')")).collect();
    format!("UNHEX({})", hashed(&format!("CONCAT_WS(',', {})", parts.join(", "))))
}

/// The hashes of a row's key and of the row, as bytes; `None` if a compared column has no exact form here.
pub fn hashes<'a>(
    comparison: &Comparison,
    column: impl Fn(&str) -> Option<(&'a RawColumn, &'a SourceColumn)>,
) -> Option<(String, String)> {
    let cells = comparison.columns.iter().map(|(name, form)| {
        let (raw, read) = column(name)?;
        cell(raw, read, *form)
    });
    let cells: Vec<String> = cells.collect::<Option<_>>()?;
    let key = hash(comparison.key.iter().map(|at| cells[*at].as_str()));
    Some((key, hash(cells.iter().map(String::as_str))))
}
