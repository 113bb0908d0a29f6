//! The canonical forms of `weir_connect::verify` as SQL: what the server must compute so that its hashes equal those of any other side. Pure: no I/O.

use weir_connect::verify::{Comparison, Form};

use super::super::quote::ident;
use super::super::types::oid;

/// Operands of one level of `||`: a table may have 1,600 columns, and the server's parser a limited depth.
const AT_ONCE: usize = 40;

/// A column of the table.
#[derive(Debug, Clone)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type with its modifiers, for messages.
    pub kind: String,
    /// The type without modifiers: text cast to it is neither cut nor rounded.
    pub cast: String,
    /// Number of the type, of a domain that of its base.
    pub base: u32,
}

impl Column {
    /// The form of its values.
    pub fn form(&self) -> Form {
        match self.base {
            oid::BOOL => Form::Bool,
            oid::INT2 | oid::INT4 | oid::INT8 | oid::OID | oid::NUMERIC | oid::MONEY => Form::Number,
            oid::FLOAT4 => Form::Float32,
            oid::FLOAT8 => Form::Float64,
            oid::BYTEA => Form::Bytes,
            oid::DATE => Form::Date,
            oid::TIME => Form::Time,
            oid::TIMESTAMP => Form::Timestamp,
            oid::TIMESTAMPTZ => Form::TimestampTz,
            oid::INTERVAL => Form::Interval,
            oid::JSON => Form::JsonText,
            oid::JSONB => Form::Json,
            _ => Form::Text,
        }
    }

    fn place(&self) -> String {
        format!("t.{}", ident(&self.name))
    }

    /// As the server prints it, in the settings of our sessions; NULL for NULL.
    pub fn printed(&self) -> String {
        let x = self.place();
        match self.base {
            oid::TEXT | oid::VARCHAR | oid::NAME | oid::BOOL => format!("{x}::text"),
            // The output function: `::text` cuts the padding of char(n) and adds a mask to inet.
            _ => format!("CASE WHEN {x} IS NOT NULL THEN format('%s', {x}) END"),
        }
    }

    /// The value's text in that form; NULL for NULL.
    pub fn sql(&self, form: Form, version: u32) -> String {
        let x = self.place();
        match form {
            Form::Bool => format!("{x}::text"),
            Form::Number => match self.base {
                oid::NUMERIC => digits(&x, version),
                oid::MONEY => digits(&format!("{x}::numeric"), version),
                oid::BOOL => format!("{x}::int::text"),
                _ => format!("{x}::text"),
            },
            Form::Float32 => format!("CASE WHEN {x} = 'NaN' THEN 'NaN' ELSE encode(float4send({x}), 'hex') END"),
            Form::Float64 => format!("CASE WHEN {x} = 'NaN' THEN 'NaN' ELSE encode(float8send({x}::float8), 'hex') END"),
            Form::Text | Form::JsonText => hashed(&format!("textsend({})", self.printed())),
            Form::Json => hashed(&format!("textsend({x}::jsonb::text)")),
            Form::Bytes => hashed(&x),
            Form::Date => format!("encode(date_send({x}), 'hex')"),
            Form::Time => format!("encode(time_send({x}), 'hex')"),
            Form::Timestamp => format!("encode(timestamp_send({x}), 'hex')"),
            Form::TimestampTz => format!("encode(timestamptz_send({x}), 'hex')"),
            Form::Interval => format!("encode(interval_send({x}), 'hex')"),
        }
    }
}

/// The first 128 bits of the SHA-256 of some bytes, in hex.
fn hashed(bytes: &str) -> String {
    format!("left(encode(sha256({bytes}), 'hex'), 32)")
}

/// A numeric without zeros at its end.
fn digits(x: &str, version: u32) -> String {
    if version >= 130_000 {
        return format!("trim_scale({x})::text");
    }
    format!("CASE WHEN strpos(({x})::text, '.') > 0 THEN rtrim(rtrim(({x})::text, '0'), '.') ELSE ({x})::text END")
}

/// The statements' parts for one table and one comparison.
#[derive(Debug, Clone)]
pub struct Forms {
    /// Form of each compared column.
    pub cells: Vec<String>,
    /// Hash of the key.
    pub key: String,
    /// Hash of the row.
    pub row: String,
    /// The key's columns as the server prints them; none without a key.
    pub printed: Vec<String>,
}

impl Forms {
    /// `columns` are those of the comparison, in its order.
    pub fn new(columns: &[&Column], comparison: &Comparison, version: u32) -> Self {
        let forms = comparison.columns.iter().map(|(_, form)| *form);
        let cells: Vec<String> = columns.iter().zip(forms).map(|(column, form)| column.sql(form, version)).collect();
        let key = comparison.key.iter().map(|at| cells[*at].as_str());
        let printed =
            if comparison.keyed { comparison.key.iter().map(|at| columns[*at].printed()).collect() } else { Vec::new() };
        Self { key: hash(key), row: hash(cells.iter().map(String::as_str)), printed, cells }
    }
}

fn hash<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let parts: Vec<String> = cells.map(|cell| format!("coalesce({cell}, 'N')")).collect();
    let groups: Vec<String> = parts.chunks(AT_ONCE).map(|group| format!("({})", group.join(" || ',' || "))).collect();
    hashed(&format!("textsend({})", groups.join(" || ',' || ")))
}

/// `{"a","b",NULL}` for a parameter of an array type.
pub fn array<'a>(values: impl Iterator<Item = Option<&'a str>>) -> String {
    let mut text = String::from("{");
    for (at, value) in values.enumerate() {
        if at > 0 {
            text.push(',');
        }
        match value {
            None => text.push_str("NULL"),
            Some(value) => {
                text.push('"');
                for character in value.chars() {
                    if matches!(character, '"' | '\\') {
                        text.push('\\');
                    }
                    text.push(character);
                }
                text.push('"');
            }
        }
    }
    text.push('}');
    text
}
