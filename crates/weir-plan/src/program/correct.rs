//! A row that somebody wrote, checked column by column: it is taken if it stands there exactly as it would be kept, and nothing is guessed,
//! rounded or cut.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use serde::de::IgnoredAny;
use serde_json::Deserializer;

use super::record::{JSON, decode_record, encode};
use crate::show_field;

/// What is wrong with a row that somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongColumn {
    /// The column; `None`: the record as a whole.
    pub column: Option<String>,
    /// What.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl WrongColumn {
    /// Of the record as a whole.
    pub fn of_record(message: String) -> Self {
        Self { column: None, message, help: None }
    }

    fn of(column: &str, message: String, help: Option<String>) -> Self {
        Self { column: Some(column.to_owned()), message, help }
    }
}

/// Characters of a value that are quoted.
const QUOTED: usize = 80;

/// The row as it is kept: an object with every column in the schema's order; and its media type.
///
/// # Errors
/// Every column that is missing, unknown, given twice, or of which another value would be kept than the one that stands there.
pub fn correct_record(text: &[u8], schema: &SchemaRef) -> Result<(Vec<u8>, &'static str), Vec<WrongColumn>> {
    let whole = |message: &str| vec![WrongColumn::of_record(message.to_owned())];
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(text) {
        return Err(whole(&format!("this is no JSON: {error}")));
    }
    let Some(given) = members(text) else { return Err(whole("a row is one JSON object, its columns by name")) };
    let mut wrong = Vec::new();
    for (at, (name, _)) in given.iter().enumerate() {
        if schema.field_with_name(name).is_err() {
            let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).take(30).collect();
            wrong.push(WrongColumn::of(name, "there is no such column".into(), Some(format!("there are: {}", known.join(", ")))));
        } else if given[..at].iter().any(|(other, _)| other == name) {
            wrong.push(WrongColumn::of(name, "this column is given twice".into(), None));
        }
    }
    for field in schema.fields() {
        match given.iter().find(|(name, _)| name == field.name()) {
            None => wrong.push(WrongColumn::of(
                field.name(),
                "this column is missing".into(),
                Some("write null if it has no value".into()),
            )),
            Some((_, value)) => wrong.extend(refuse(field, value)),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let row = parse(text, schema).map_err(|why| whole(&why))?;
    let (kept, media_type) = encode(&row, 0);
    match decode_record(&kept, media_type, schema) {
        Some(_) => Ok((kept, media_type)),
        None => Err(whole("this row cannot be kept exactly; correct it at its source")),
    }
}

/// What is wrong with a value.
fn refuse(field: &FieldRef, value: &[u8]) -> Option<WrongColumn> {
    let name = field.name();
    let shape = show_field(field);
    if value == b"null" && !field.is_nullable() {
        return Some(WrongColumn::of(name, format!("a {shape} that may not be null"), None));
    }
    let alone = Arc::new(Schema::new(vec![field.clone()]));
    let key = serde_json::to_vec(name).ok()?;
    let text = [b"{", key.as_slice(), b":", value, b"}"].concat();
    let no = || WrongColumn::of(name, format!("{} is no {shape}", quoted(value)), None);
    let Ok(row) = parse(&text, &alone) else { return Some(no()) };
    let (kept, media_type) = encode(&row, 0);
    let kept = members(&kept).filter(|_| media_type == JSON).and_then(|members| members.first().map(|(_, kept)| kept.to_vec()));
    match kept {
        Some(kept) if same(value, &kept) => None,
        Some(kept) => {
            let help = Some(format!("write {} if that is what you mean", quoted(&kept)));
            Some(WrongColumn::of(name, format!("{} would become {} as {shape}", quoted(value), quoted(&kept)), help))
        }
        None => Some(no()),
    }
}

fn parse(text: &[u8], schema: &SchemaRef) -> Result<RecordBatch, String> {
    let none = || "there is no row in it".to_owned();
    let mut reader = ReaderBuilder::new(schema.clone()).with_strict_mode(true).build(text).map_err(|error| error.to_string())?;
    let batch = reader.next().ok_or_else(none)?.map_err(|error| error.to_string())?;
    if batch.num_rows() == 1 { Ok(batch) } else { Err(none()) }
}

fn quoted(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let mut shown: String = text.chars().take(QUOTED).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// The members of an object as they stand there. `None`: it is none. The text is known to be JSON.
fn members(text: &[u8]) -> Option<Vec<(String, &[u8])>> {
    let mut rest = text.trim_ascii().strip_prefix(b"{")?.trim_ascii_start();
    let mut found = Vec::new();
    while rest.first() != Some(&b'}') {
        let (key, after) = next(rest)?;
        let value = after.trim_ascii_start().strip_prefix(b":")?;
        let (value, after) = next(value)?;
        found.push((serde_json::from_slice(key).ok()?, value));
        rest = after.trim_ascii_start();
        rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
    }
    Some(found)
}

/// The items of an array as they stand there.
fn items(text: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = text.trim_ascii().strip_prefix(b"[")?.trim_ascii_start();
    let mut found = Vec::new();
    while rest.first() != Some(&b']') {
        let (value, after) = next(rest)?;
        found.push(value);
        rest = after.trim_ascii_start();
        rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
    }
    Some(found)
}

/// The value at the beginning, and what comes after it.
fn next(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut values = Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    let (value, rest) = text.split_at(values.byte_offset());
    Some((value.trim_ascii(), rest))
}

/// Whether two JSON values mean the same, numbers to the last digit.
fn same(a: &[u8], b: &[u8]) -> bool {
    let by_name = |text| {
        let mut members: Vec<(String, &[u8])> = members(text)?;
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        Some(members)
    };
    match (a.first(), b.first()) {
        (Some(b'{'), Some(b'{')) => match (by_name(a), by_name(b)) {
            (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1)),
            _ => false,
        },
        (Some(b'['), Some(b'[')) => match (items(a), items(b)) {
            (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| same(a, b)),
            _ => false,
        },
        (Some(b'"'), Some(b'"')) => {
            let text = |bytes| serde_json::from_slice::<String>(bytes).ok();
            text(a).is_some() && text(a) == text(b)
        }
        (Some(b'-' | b'0'..=b'9'), Some(b'-' | b'0'..=b'9')) => number(a).is_some() && number(a) == number(b),
        _ => a == b,
    }
}

/// Sign, digits without zeros at either end, and the power of ten of the last of them.
fn number(text: &[u8]) -> Option<(bool, String, i64)> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (digits, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let power: i64 = power.parse::<i64>().ok()?.checked_sub(i64::try_from(part.len()).ok()?)?;
    let all = format!("{whole}{part}");
    let short = all.trim_end_matches('0');
    let power = power.checked_add(i64::try_from(all.len() - short.len()).ok()?)?;
    let short = short.trim_start_matches('0');
    Some((negative, short.to_owned(), if short.is_empty() { 0 } else { power }))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, TimeUnit};

    use super::*;

    fn schema() -> SchemaRef {
        let list = DataType::List(Arc::new(Field::new("item", DataType::Decimal128(38, 2), true)));
        Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
            Field::new("price", DataType::Decimal128(38, 2), true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            Field::new("share", DataType::Float64, true),
            Field::new("all", list, true),
        ]))
    }

    fn wrong(text: &str) -> Vec<(Option<String>, String)> {
        correct_record(text.as_bytes(), &schema()).unwrap_err().into_iter().map(|wrong| (wrong.column, wrong.message)).collect()
    }

    #[test]
    fn a_row_is_kept_in_the_order_of_its_columns_whatever_the_spelling() {
        let text =
            r#" {"name": "a\u0062", "id": 7, "price": 1.50, "at": "2026-01-31T12:00:00", "share": 1e0, "all": [1.20, null]} "#;
        let (kept, media_type) = correct_record(text.as_bytes(), &schema()).unwrap();
        assert_eq!(media_type, JSON);
        let expected = r#"{"id":7,"name":"ab","price":1.50,"at":"2026-01-31T12:00:00","share":1.0,"all":[1.20,null]}"#;
        assert_eq!(String::from_utf8(kept).unwrap(), expected);
    }

    #[test]
    fn nothing_is_guessed_rounded_or_cut() {
        let row = |name: &str, value: &str| {
            let columns = [("id", "7"), ("name", "null"), ("price", "null"), ("at", "null"), ("share", "null"), ("all", "null")];
            let shown = columns.map(|(column, own)| format!("\"{column}\": {}", if column == name { value } else { own }));
            format!("{{{}}}", shown.join(", "))
        };
        assert!(correct_record(row("", "").as_bytes(), &schema()).is_ok());
        for (column, value) in [
            ("id", "\"7\""),
            ("id", "7.5"),
            ("id", "null"),
            ("id", "9223372036854775808"),
            ("name", "7"),
            ("price", "1.005"),
            ("price", "123456789012345678901234567890123456789012"),
            ("at", "\"2026-01-31 12:00:00.1234567\""),
            ("at", "\"soon\""),
            ("share", "0.10000000000000000001"),
            ("share", "1e999"),
            ("all", "[1.005]"),
            ("all", "{}"),
        ] {
            let found = wrong(&row(column, value));
            assert_eq!(found.len(), 1, "{column} {value}: {found:?}");
            assert_eq!(found[0].0.as_deref(), Some(column), "{value}: {found:?}");
        }
    }

    #[test]
    fn columns_that_are_missing_unknown_or_given_twice_are_all_told() {
        let found = wrong(r#"{"id": 1, "id": 2, "nane": "x", "price": null, "at": null, "share": null}"#);
        let told: Vec<_> = found.iter().map(|(column, message)| (column.as_deref().unwrap(), message.as_str())).collect();
        assert_eq!(
            told,
            [
                ("id", "this column is given twice"),
                ("nane", "there is no such column"),
                ("name", "this column is missing"),
                ("all", "this column is missing"),
            ]
        );
        for text in ["", "[]", "7", "{", "{} {}", "{\"id\": 1} x"] {
            assert_eq!(wrong(text).iter().filter(|(column, _)| column.is_none()).count(), 1, "{text}");
        }
    }

    #[test]
    fn numbers_are_the_same_to_the_last_digit() {
        for (a, b, yes) in [
            ("1", "1.0", true),
            ("10", "1e1", true),
            ("0.10", "1E-1", true),
            ("0", "0.00", true),
            ("-1", "1", false),
            ("0.1", "0.10000000000000000001", false),
            ("100", "1", false),
        ] {
            assert_eq!(same(a.as_bytes(), b.as_bytes()), yes, "{a} {b}");
        }
    }
}
