//! Stable typing: from texts to the narrowest Arrow type that keeps every one of them, and the union of schemas.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use weir_connect::fidelity::LOGICAL_TYPE;
use weir_error::{Error, Kind, Result};

use crate::options::Decimals;
use crate::scalar;

/// Marks a column of which the sample showed no value: another file decides its type.
const ONLY_NULLS: &str = "weir.only_nulls";

/// What the texts of a column have in common so far.
#[derive(Debug, Clone)]
pub(crate) struct TextSeen {
    values: u64,
    bool_: bool,
    int: bool,
    date: bool,
    wall: bool,
    instant: bool,
    /// Fractions of seconds go beyond microseconds.
    fine: bool,
    /// Only within the range of 64-bit nanoseconds.
    nanos_fit: bool,
    float: bool,
    decimal: bool,
    number: bool,
    scale: usize,
    whole_digits: usize,
}

impl Default for TextSeen {
    fn default() -> Self {
        Self {
            values: 0,
            bool_: true,
            int: true,
            date: true,
            wall: true,
            instant: true,
            fine: false,
            nanos_fit: true,
            float: true,
            decimal: true,
            number: false,
            scale: 0,
            whole_digits: 0,
        }
    }
}

impl TextSeen {
    /// Takes a value that is not NULL.
    pub(crate) fn see(&mut self, text: &[u8]) {
        self.values += 1;
        if self.bool_ {
            self.bool_ = scalar::parse_bool(text, true).is_some();
        }
        if self.int {
            // Up to 18 digits: longer digit strings are more often identifiers than quantities.
            self.int = text.len() <= 19 && scalar::parse_i64(text, true).is_some_and(|v| v.unsigned_abs() < 10u64.pow(18));
        }
        if self.date {
            self.date = scalar::parse_date(text).is_some();
        }
        if self.wall || self.instant {
            match scalar::parse_moment(text) {
                Some(moment) => {
                    self.wall &= moment.offset.is_none();
                    self.instant &= moment.offset.is_some();
                    self.fine |= moment.in_unit(TimeUnit::Microsecond).is_none();
                    self.nanos_fit &= moment.in_unit(TimeUnit::Nanosecond).is_some();
                }
                None => (self.wall, self.instant) = (false, false),
            }
        }
        if self.float {
            // A long digit string would not be printed the same by a double.
            let identifier = text.len() > 15 && text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
            match scalar::parse_f64(text, true).filter(|_| !identifier) {
                Some(value) => self.number |= value.is_finite(),
                None => self.float = false,
            }
        }
        if self.decimal {
            match plain_decimal(text) {
                Some((whole, scale)) => {
                    self.whole_digits = self.whole_digits.max(whole);
                    self.scale = self.scale.max(scale);
                }
                None => self.decimal = false,
            }
        }
    }

    /// Whether any value was seen.
    pub(crate) fn empty(&self) -> bool {
        self.values == 0
    }

    /// The type; text if nothing narrower keeps every value.
    pub(crate) fn data_type(&self, decimals: Decimals) -> DataType {
        let unit = if self.fine { TimeUnit::Nanosecond } else { TimeUnit::Microsecond };
        let fits = !self.fine || self.nanos_fit;
        if self.values == 0 {
            DataType::Utf8
        } else if self.bool_ {
            DataType::Boolean
        } else if self.int {
            DataType::Int64
        } else if self.date {
            DataType::Date32
        } else if self.wall && fits {
            DataType::Timestamp(unit, None)
        } else if self.instant && fits {
            DataType::Timestamp(unit, Some("UTC".into()))
        } else if decimals == Decimals::Exact && self.decimal && self.scale > 0 && self.whole_digits + self.scale <= 38 {
            DataType::Decimal128(38, self.scale as i8)
        } else if self.float && self.number {
            DataType::Float64
        } else {
            DataType::Utf8
        }
    }
}

/// (digits before the point, digits behind it) of a canonical decimal number without exponent.
fn plain_decimal(text: &[u8]) -> Option<(usize, usize)> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, fraction) = match digits.iter().position(|b| *b == b'.') {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &digits[..0]),
    };
    let canonical = !whole.is_empty() && (whole.len() == 1 || whole[0] != b'0');
    (canonical && whole.iter().chain(fraction).all(u8::is_ascii_digit)).then_some((whole.len(), fraction.len()))
}

/// A nullable field of an inferred type.
pub(crate) fn inferred_field(name: &str, data_type: DataType, only_nulls: bool) -> Field {
    let field = Field::new(name, data_type, true);
    if only_nulls { field.with_metadata(HashMap::from([(ONLY_NULLS.into(), "true".into())])) } else { field }
}

/// A column that keeps JSON as text.
pub(crate) fn json_text_field(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true).with_metadata(HashMap::from([(LOGICAL_TYPE.into(), "json".into())]))
}

/// Whether a field keeps JSON as text.
pub(crate) fn is_json_text(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8)
        && field.metadata().get(LOGICAL_TYPE).is_some_and(|logical| logical == "json")
}

/// Puts declared types in the place of inferred ones. A declared column that the file does not have is an error.
pub(crate) fn with_declared(inferred: Schema, declared: Option<&SchemaRef>, name: &str) -> Result<Schema> {
    let Some(declared) = declared else { return Ok(inferred) };
    for field in declared.fields() {
        if inferred.field_with_name(field.name()).is_err() && !inferred.fields().is_empty() {
            let known: Vec<&str> = inferred.fields().iter().map(|f| f.name().as_str()).collect();
            return Err(Error::new("WEIR-FMT-022", Kind::Schema, format!("there is no column `{}`", field.name()))
                .at(name)
                .hint(format!("the columns are: {}", known.join(", "))));
        }
    }
    let fields: Vec<Arc<Field>> = inferred
        .fields()
        .iter()
        .map(|field| match declared.field_with_name(field.name()) {
            Ok(wanted) => Arc::new(wanted.clone()),
            Err(_) => field.clone(),
        })
        .collect();
    Ok(Schema::new_with_metadata(fields, inferred.metadata().clone()))
}

/// Whether the user declared this column.
pub(crate) fn is_declared(declared: Option<&SchemaRef>, name: &str) -> bool {
    declared.is_some_and(|schema| schema.field_with_name(name).is_ok())
}

pub(crate) fn unify(files: &[(&str, SchemaRef)]) -> Result<SchemaRef> {
    let mut columns: Vec<(Field, &str, usize)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut with_columns = 0;
    for (name, schema) in files {
        if schema.fields().is_empty() {
            continue;
        }
        with_columns += 1;
        for field in schema.fields() {
            match places.get(field.name().as_str()) {
                None => {
                    places.insert(field.name(), columns.len());
                    columns.push((field.as_ref().clone(), name, 1));
                }
                Some(&at) => {
                    let (seen, first, count) = &mut columns[at];
                    *count += 1;
                    *seen = widen(seen, field).ok_or_else(|| {
                        Error::new(
                            "WEIR-FMT-020",
                            Kind::Schema,
                            format!("column `{}` has different types in different files", field.name()),
                        )
                        .at(format!("{first}, {name}"))
                        .because(format!("{} and {}", seen.data_type(), field.data_type()))
                        .hint("declare its type under `columns`, or read the files as separate streams")
                    })?;
                }
            }
        }
    }
    let fields: Vec<Field> = columns
        .into_iter()
        .map(|(field, _, count)| {
            let nullable = field.is_nullable() || count < with_columns;
            field.with_nullable(nullable)
        })
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// A field that holds the values of both.
fn widen(a: &Field, b: &Field) -> Option<Field> {
    let nullable = a.is_nullable() || b.is_nullable();
    if a.metadata().contains_key(ONLY_NULLS) {
        return Some(b.clone().with_nullable(nullable));
    }
    if b.metadata().contains_key(ONLY_NULLS) {
        return Some(a.clone().with_nullable(nullable));
    }
    if is_json_text(a) || is_json_text(b) {
        return Some(json_text_field(a.name()));
    }
    let data_type = wider(a.data_type(), b.data_type())?;
    Some(Field::new(a.name(), data_type, nullable).with_metadata(a.metadata().clone()))
}

fn wider(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType as D;
    if a == b {
        return Some(a.clone());
    }
    if let (Some((a_signed, a_bits)), Some((b_signed, b_bits))) = (integer(a), integer(b)) {
        let needed = |signed: bool, bits: u8| if signed { bits } else { bits * 2 };
        if a_signed == b_signed {
            return Some(if a_bits > b_bits { a.clone() } else { b.clone() });
        }
        return match needed(a_signed, a_bits).max(needed(b_signed, b_bits)) {
            16 => Some(D::Int16),
            32 => Some(D::Int32),
            64 => Some(D::Int64),
            _ => Some(D::Decimal128(20, 0)),
        };
    }
    match (a, b) {
        (D::Null, other) | (other, D::Null) => Some(other.clone()),
        (D::Float32, D::Float64) | (D::Float64, D::Float32) => Some(D::Float64),
        // Whole numbers from a text sample are below 2^53 or fail as dead letters; from typed files they stay exact only
        // up to 32 bits.
        (D::Float64, D::Int8 | D::Int16 | D::Int32 | D::UInt8 | D::UInt16 | D::UInt32)
        | (D::Int8 | D::Int16 | D::Int32 | D::UInt8 | D::UInt16 | D::UInt32, D::Float64) => Some(D::Float64),
        (D::Float64, D::Int64) | (D::Int64, D::Float64) => Some(D::Float64),
        (D::Decimal128(..), other) | (other, D::Decimal128(..))
            if integer(other).is_some() || matches!(other, D::Decimal128(..)) =>
        {
            let (a, b) = (decimal(a)?, decimal(b)?);
            let scale = a.1.max(b.1);
            let whole = (i16::from(a.0) - i16::from(a.1)).max(i16::from(b.0) - i16::from(b.1));
            let precision = (whole + i16::from(scale)).min(38);
            Some(D::Decimal128(precision as u8, scale))
        }
        (D::Timestamp(a_unit, a_zone), D::Timestamp(b_unit, b_zone)) if a_zone.is_some() == b_zone.is_some() => {
            Some(D::Timestamp(*(a_unit.max(b_unit)), a_zone.clone()))
        }
        (D::Utf8, D::LargeUtf8) | (D::LargeUtf8, D::Utf8) => Some(D::LargeUtf8),
        (D::Binary, D::LargeBinary) | (D::LargeBinary, D::Binary) => Some(D::LargeBinary),
        (D::List(a), D::List(b)) => Some(D::List(Arc::new(widen(a, &b.as_ref().clone().with_name(a.name()))?))),
        (D::Struct(a), D::Struct(b)) => {
            let mut fields: Vec<Field> = Vec::new();
            for field in a {
                fields.push(match b.find(field.name()) {
                    Some((_, other)) => widen(field, other)?,
                    None => field.as_ref().clone().with_nullable(true),
                });
            }
            for field in b {
                if a.find(field.name()).is_none() {
                    fields.push(field.as_ref().clone().with_nullable(true));
                }
            }
            Some(D::Struct(Fields::from(fields)))
        }
        (D::Utf8 | D::LargeUtf8, other) | (other, D::Utf8 | D::LargeUtf8) if is_scalar(other) => Some(D::Utf8),
        (a, b) if is_scalar(a) && is_scalar(b) => Some(D::Utf8),
        _ => None,
    }
}

/// (signed, bits).
fn integer(data_type: &DataType) -> Option<(bool, u8)> {
    Some(match data_type {
        DataType::Int8 => (true, 8),
        DataType::Int16 => (true, 16),
        DataType::Int32 => (true, 32),
        DataType::Int64 => (true, 64),
        DataType::UInt8 => (false, 8),
        DataType::UInt16 => (false, 16),
        DataType::UInt32 => (false, 32),
        DataType::UInt64 => (false, 64),
        _ => return None,
    })
}

fn decimal(data_type: &DataType) -> Option<(u8, i8)> {
    match data_type {
        DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        other => match integer(other)? {
            (_, 8) => Some((3, 0)),
            (_, 16) => Some((5, 0)),
            (_, 32) => Some((10, 0)),
            (true, _) => Some((19, 0)),
            (false, _) => Some((20, 0)),
        },
    }
}

fn is_scalar(data_type: &DataType) -> bool {
    !data_type.is_nested() && !matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(texts: &[&str], decimals: Decimals) -> String {
        let mut seen = TextSeen::default();
        for text in texts {
            seen.see(text.as_bytes());
        }
        seen.data_type(decimals).to_string()
    }

    #[test]
    fn texts_become_the_narrowest_type_that_keeps_them() {
        for (texts, expected) in [
            (&["1", "-2", "300"][..], "Int64"),
            (&["01234", "94107"], "Utf8"),
            (&["+1", "2"], "Utf8"),
            (&["1", "2.5"], "Float64"),
            (&["1", "NaN"], "Float64"),
            (&["NaN"], "Utf8"),
            (&["999999999999999999"], "Int64"),
            (&["1000000000000000000"], "Utf8"),
            (&["0.12345678901234567890"], "Utf8"),
            (&["true", "FALSE"], "Boolean"),
            (&["t", "f"], "Utf8"),
            (&["0", "1"], "Int64"),
            (&["2024-02-29"], "Date32"),
            (&["2023-02-29"], "Utf8"),
            (&["2024-01-01", "2024-01-01T00:00:00"], "Utf8"),
            (&["2024-01-01T00:00:00Z", "2024-01-01 01:00:00+01:00"], "Timestamp(µs, \"UTC\")"),
            (&["2024-01-01T00:00:00"], "Timestamp(µs)"),
            (&["2024-01-01T00:00:00.123456789"], "Timestamp(ns)"),
            (&["2024-01-01T00:00:00.123456789", "9999-01-01T00:00:00"], "Utf8"),
            (&["2024-01-01T00:00:00", "2024-01-01T00:00:00Z"], "Utf8"),
            (&["12:30"], "Utf8"),
            (&[], "Utf8"),
        ] {
            assert_eq!(seen(texts, Decimals::Float), expected, "{texts:?}");
        }
        assert_eq!(seen(&["1.50", "2", "3.125"], Decimals::Exact), "Decimal128(38, 3)");
        assert_eq!(seen(&["1", "2"], Decimals::Exact), "Int64");
    }

    fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
        Arc::new(Schema::new(fields.iter().map(|(n, t)| Field::new(*n, t.clone(), false)).collect::<Vec<_>>()))
    }

    #[test]
    fn schemas_of_files_unite() {
        let a = schema(&[("id", DataType::Int64), ("x", DataType::Int32)]);
        let b = schema(&[("x", DataType::UInt32), ("id", DataType::Utf8), ("new", DataType::Date32)]);
        let united = unify(&[("a.csv", a), ("empty.csv", Arc::new(Schema::empty())), ("b.csv", b)]).unwrap();
        let shown: Vec<String> =
            united.fields().iter().map(|f| format!("{} {} {}", f.name(), f.data_type(), f.is_nullable())).collect();
        assert_eq!(shown, ["id Utf8 false", "x Int64 false", "new Date32 true"]);
    }

    #[test]
    fn types_without_a_common_one_name_both_files() {
        let a = schema(&[("id", DataType::Int64)]);
        let b = schema(&[("id", DataType::new_list(DataType::Int64, true))]);
        let error = unify(&[("a", a), ("b", b)]).unwrap_err();
        assert_eq!((error.code(), error.place()), ("WEIR-FMT-020", Some("a, b")));
    }
}
