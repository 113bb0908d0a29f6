//! Record batches → the text that the server reads: fields of `LOAD DATA` or literals of `INSERT`. Pure: no I/O.
//!
//! Two steps per batch: [`ColumnPlan::normalise`] brings every column to one of a few Arrow types (a no-op where it is one already), then rows are
//! written by a loop without conversions. What does not fit is an error that names column and row: the server itself would cut blanks,
//! round fractions of seconds, and take `'2'` for the second value of an enum.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array, Float64Array, Int64Array,
    RecordBatch, StringArray, StringBuilder, Time64MicrosecondArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, TimeUnit};
use arrow::json::writer::{EncoderOptions, make_encoder};
use weir_connect::{Error, Kind, Result};
use weir_formats::civil;

use super::values::shape_in;

/// How the values of a normalised column are written.
#[derive(Debug, Clone, PartialEq)]
pub enum Encoding {
    /// Digits.
    Number,
    /// A year as four digits: as a number, 1 would mean 2001.
    Year,
    /// Text with the column's limits.
    Text {
        /// Most characters.
        characters: Option<u64>,
        /// Most bytes in UTF-8.
        bytes: Option<u64>,
        /// Blanks at the end would be lost.
        padded: bool,
    },
    /// One (enum) or several (set) of these words.
    Members {
        /// The words.
        values: Vec<String>,
        /// Several.
        several: bool,
    },
    /// Bytes with the column's limit.
    Bytes {
        /// Most bytes.
        limit: u64,
        /// Shorter values would be filled with zeros.
        fixed: bool,
    },
    /// `bit(n)`.
    Bits(u8),
    /// WKB.
    Shape,
    /// Date, time, or both, with so many digits after the second.
    Moment(u8),
}

/// One column on its way.
#[derive(Debug, Clone)]
pub struct ColumnPlan {
    /// Index in the batch.
    pub index: usize,
    /// Name at the target.
    pub name: String,
    /// The Arrow type that is encoded.
    pub normal: DataType,
    /// Nested values become JSON text first.
    pub as_json: bool,
    /// How it is encoded.
    pub encoding: Encoding,
    /// Losing digits was accepted.
    pub accept_loss: bool,
}

/// What the text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A field of `LOAD DATA`.
    Load,
    /// A literal of `INSERT`.
    Insert,
}

impl ColumnPlan {
    /// Whether `LOAD DATA` must put the field through a function, and which.
    pub fn through(&self, variable: &str) -> Option<String> {
        match self.encoding {
            Encoding::Bytes { .. } | Encoding::Shape => Some(format!("UNHEX({variable})")),
            Encoding::Bits(_) => Some(format!("CAST({variable} AS UNSIGNED)")),
            _ => None,
        }
    }

    /// The column of a batch in its normal form.
    pub fn normalise(&self, batch: &RecordBatch, field: &Field) -> Result<ArrayRef> {
        let array = batch.column(self.index);
        if self.as_json {
            return json_text(array, field).map_err(|error| error.at(format!("column `{}`", self.name)));
        }
        if array.data_type() == &self.normal {
            return Ok(array.clone());
        }
        let cast = |array: &dyn Array, to: &DataType| {
            cast_with_options(array, to, &CastOptions { safe: false, ..Default::default() }).map_err(|error| {
                Error::new("WEIR-MY-050", Kind::TypeLoss, "a value does not fit the column of the target")
                    .at(format!("column `{}`", self.name))
                    .because(error)
            })
        };
        let normal = cast(array, &self.normal)?;
        let finer =
            matches!(array.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, _) | DataType::Time64(TimeUnit::Nanosecond));
        if !self.accept_loss && finer && cast(&normal, array.data_type())?.to_data() != array.to_data() {
            return Err(Error::new("WEIR-MY-050", Kind::TypeLoss, "a value has nanoseconds, which MySQL does not keep")
                .at(format!("column `{}`", self.name))
                .hint("set `on_loss: accept` (or `string`) for this column"));
        }
        Ok(normal)
    }
}

/// Whether a number anywhere inside is one that JSON has no word for; arrow-json would write null for it.
fn has_special_float(array: &dyn Array) -> bool {
    let between = |items: &ArrayRef, from: usize, to: usize| items.slice(from, to - from);
    match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().iter().flatten().any(|number| !number.is_finite()),
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().flatten().any(|number| !number.is_finite()),
        DataType::Struct(_) => array.as_struct().columns().iter().any(|column| has_special_float(column)),
        // The items of the rows at hand only: a slice shares its items with the rows around it.
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets();
            has_special_float(&between(list.values(), offsets[0] as usize, offsets[list.len()] as usize))
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let offsets = list.value_offsets();
            has_special_float(&between(list.values(), offsets[0] as usize, offsets[list.len()] as usize))
        }
        DataType::FixedSizeList(_, _) => has_special_float(array.as_fixed_size_list().values()),
        DataType::Map(_, _) => {
            let map = array.as_map();
            let (from, to) = (map.value_offsets()[0] as usize, map.value_offsets()[map.len()] as usize);
            has_special_float(&map.entries().slice(from, to - from))
        }
        _ => false,
    }
}

/// Nested values as JSON text.
fn json_text(array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if has_special_float(array) {
        return Err(Error::new("WEIR-MY-050", Kind::TypeLoss, "a nested number is NaN or infinite, which JSON cannot say")
            .hint("take it out of the nested value, or replace it by NULL, in a sql transform"));
    }
    let broken = |error: arrow::error::ArrowError| {
        Error::new("WEIR-MY-052", Kind::Unsupported, "a nested value cannot be written as JSON").because(error)
    };
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let field = Arc::new(field.clone());
    let mut encoder = make_encoder(&field, array, &options).map_err(broken)?;
    let mut out = StringBuilder::new();
    let mut text = Vec::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            out.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        out.append_value(std::str::from_utf8(&text).map_err(|_| Error::internal("JSON that is not UTF-8"))?);
    }
    Ok(Arc::new(out.finish()))
}

/// A normalised column, ready for the row loop.
enum Typed {
    Bool(BooleanArray),
    Int(Int64Array),
    UInt(UInt64Array),
    Year(UInt64Array),
    Bits(UInt64Array, u8),
    Float(Float64Array),
    Decimal128(Decimal128Array),
    Decimal256(Decimal256Array),
    Text(StringArray, Option<u64>, Option<u64>, bool),
    Members(StringArray, Vec<String>, bool),
    Bytes(BinaryArray, u64, bool),
    Shape(BinaryArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray, u8),
    Stamp(TimestampMicrosecondArray, u8),
}

#[derive(Debug)]
struct Wrong(String, &'static str);

fn wrong(why: impl Into<String>, hint: &'static str) -> Wrong {
    Wrong(why.into(), hint)
}

const NARROWER: &str = "widen the column, or change the value in the pipeline";

impl Typed {
    fn new(array: &ArrayRef, plan: &ColumnPlan) -> Result<Self> {
        Ok(match (array.data_type(), &plan.encoding) {
            (DataType::Boolean, _) => Self::Bool(array.as_boolean().clone()),
            (DataType::Int64, _) => Self::Int(array.as_primitive().clone()),
            (DataType::UInt64, Encoding::Year) => Self::Year(array.as_primitive().clone()),
            (DataType::UInt64, Encoding::Bits(bits)) => Self::Bits(array.as_primitive().clone(), *bits),
            (DataType::UInt64, _) => Self::UInt(array.as_primitive().clone()),
            (DataType::Float64, _) => Self::Float(array.as_primitive().clone()),
            (DataType::Decimal128(..), _) => Self::Decimal128(array.as_primitive().clone()),
            (DataType::Decimal256(..), _) => Self::Decimal256(array.as_primitive().clone()),
            (DataType::Utf8, Encoding::Members { values, several }) => {
                Self::Members(array.as_string().clone(), values.clone(), *several)
            }
            (DataType::Utf8, Encoding::Text { characters, bytes, padded }) => {
                Self::Text(array.as_string().clone(), *characters, *bytes, *padded)
            }
            (DataType::Utf8, _) => Self::Text(array.as_string().clone(), None, None, false),
            (DataType::Binary, Encoding::Shape) => Self::Shape(array.as_binary().clone()),
            (DataType::Binary, Encoding::Bytes { limit, fixed }) => Self::Bytes(array.as_binary().clone(), *limit, *fixed),
            (DataType::Date32, _) => Self::Date(array.as_primitive().clone()),
            (DataType::Time64(_), Encoding::Moment(digits)) => Self::Time(array.as_primitive().clone(), *digits),
            (DataType::Timestamp(..), Encoding::Moment(digits)) => {
                let digits = if plan.accept_loss { 6 } else { *digits };
                Self::Stamp(array.as_primitive().clone(), digits)
            }
            (other, encoding) => return Err(Error::internal(format!("{other} cannot be written as {encoding:?}"))),
        })
    }

    fn array(&self) -> &dyn Array {
        match self {
            Self::Bool(array) => array,
            Self::Int(array) => array,
            Self::UInt(array) | Self::Year(array) | Self::Bits(array, _) => array,
            Self::Float(array) => array,
            Self::Decimal128(array) => array,
            Self::Decimal256(array) => array,
            Self::Text(array, ..) | Self::Members(array, ..) => array,
            Self::Bytes(array, ..) | Self::Shape(array) => array,
            Self::Date(array) => array,
            Self::Time(array, _) => array,
            Self::Stamp(array, _) => array,
        }
    }

    #[inline]
    fn write(&self, row: usize, form: Form, out: &mut Vec<u8>) -> Result<(), Wrong> {
        if self.array().is_null(row) {
            null(form, out);
            return Ok(());
        }
        match self {
            Self::Bool(array) => out.push(if array.value(row) { b'1' } else { b'0' }),
            Self::Int(array) => {
                let value = array.value(row);
                if value < 0 {
                    out.push(b'-');
                }
                digits(value.unsigned_abs(), 1, out);
            }
            Self::UInt(array) => digits(array.value(row), 1, out),
            Self::Year(array) => match array.value(row) {
                year @ (0 | 1901..=2155) => quoted(form, out, |out| digits(year, 4, out)),
                other => return Err(wrong(format!("{other} is no year that MySQL can hold"), NARROWER)),
            },
            Self::Bits(array, bits) => {
                let value = array.value(row);
                if *bits < 64 && value >> bits != 0 {
                    return Err(wrong(format!("{value} has more than {bits} bits"), NARROWER));
                }
                digits(value, 1, out);
            }
            Self::Float(array) => {
                let value = array.value(row);
                if !value.is_finite() {
                    return Err(wrong(format!("MySQL cannot hold {value}"), "replace it by NULL in the pipeline"));
                }
                // As a string: a negative zero in a literal would lose its sign.
                quoted(form, out, |out| out.extend_from_slice(format!("{value:e}").as_bytes()));
            }
            Self::Decimal128(array) => out.extend_from_slice(array.value_as_string(row).as_bytes()),
            Self::Decimal256(array) => out.extend_from_slice(array.value_as_string(row).as_bytes()),
            Self::Text(array, characters, bytes, padded) => {
                let text = array.value(row);
                if let Some(limit) = characters
                    && text.len() as u64 > *limit
                {
                    // As many bytes as characters allowed cannot be too many characters; only longer text is counted.
                    let count = text.chars().count() as u64;
                    if count > *limit {
                        return Err(wrong(format!("the text has {count} characters and the column holds {limit}"), NARROWER));
                    }
                }
                if bytes.is_some_and(|limit| text.len() as u64 > limit) {
                    return Err(wrong(format!("the text has {} bytes, more than the column holds", text.len()), NARROWER));
                }
                if *padded && text.ends_with(' ') {
                    return Err(wrong("the column is of type char and would lose the blanks at the end", "make it a varchar"));
                }
                put_text(text, form, out);
            }
            Self::Members(array, values, several) => {
                let text = array.value(row);
                let known = |word: &str| values.iter().any(|value| value == word);
                if !(known(text) || *several && (text.is_empty() || text.split(',').all(known))) {
                    return Err(wrong(format!("`{text}` is not among the column's values"), "add it to the column's type"));
                }
                put_text(text, form, out);
            }
            Self::Bytes(array, limit, fixed) => {
                let bytes = array.value(row);
                let length = bytes.len() as u64;
                if length > *limit || (*fixed && length < *limit) {
                    let which = if *fixed { "exactly" } else { "up to" };
                    return Err(wrong(format!("the value has {length} bytes and the column holds {which} {limit}"), NARROWER));
                }
                hex(bytes, form, out);
            }
            Self::Shape(array) => {
                let shape = shape_in(array.value(row)).ok_or_else(|| wrong("the value is no WKB", "cast it in the pipeline"))?;
                hex(&shape, form, out);
            }
            Self::Date(array) => {
                let days = i64::from(array.value(row));
                in_range(days * DAY)?;
                quoted(form, out, |out| date(days, out));
            }
            Self::Time(array, places) => {
                let micros = array.value(row);
                whole(micros, *places)?;
                quoted(form, out, |out| clock(micros, out));
            }
            Self::Stamp(array, places) => {
                let micros = array.value(row);
                in_range(micros)?;
                whole(micros, *places)?;
                quoted(form, out, |out| {
                    date(micros.div_euclid(DAY), out);
                    out.push(b' ');
                    clock(micros.rem_euclid(DAY), out);
                });
            }
        }
        Ok(())
    }
}

const DAY: i64 = 86_400_000_000;

fn in_range(micros: i64) -> Result<(), Wrong> {
    // 0001-01-01 to 9999-12-31.
    if (-62_135_596_800_000_000..253_402_300_800_000_000).contains(&micros) {
        return Ok(());
    }
    Err(wrong("the date lies outside the years 1 to 9999", NARROWER))
}

/// The server would round.
fn whole(micros: i64, places: u8) -> Result<(), Wrong> {
    if places >= 6 || micros % 10_i64.pow(u32::from(6 - places)) == 0 {
        return Ok(());
    }
    Err(wrong(format!("the time has more than the {places} digits after the second that the column holds"), NARROWER))
}

/// Appends a number in at least so many digits.
#[inline]
pub fn digits(mut value: u64, least: usize, out: &mut Vec<u8>) {
    let mut buffer = [b'0'; 20];
    let mut at = buffer.len();
    while value > 0 || buffer.len() - at < least {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&buffer[at..]);
}

fn date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(days);
    digits(year.unsigned_abs(), 4, out);
    out.push(b'-');
    digits(month.unsigned_abs(), 2, out);
    out.push(b'-');
    digits(day.unsigned_abs(), 2, out);
}

fn clock(micros: i64, out: &mut Vec<u8>) {
    let seconds = micros.unsigned_abs() / 1_000_000;
    digits(seconds / 3600, 2, out);
    out.push(b':');
    digits(seconds / 60 % 60, 2, out);
    out.push(b':');
    digits(seconds % 60, 2, out);
    let fraction = micros.unsigned_abs() % 1_000_000;
    if fraction != 0 {
        out.push(b'.');
        digits(fraction, 6, out);
    }
}

/// NULL.
pub fn null(form: Form, out: &mut Vec<u8>) {
    out.extend_from_slice(if form == Form::Load { b"\\N" } else { b"NULL" });
}

fn quoted(form: Form, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if form == Form::Insert {
        out.push(b'\'');
        write(out);
        out.push(b'\'');
    } else {
        write(out);
    }
}

fn put_text(text: &str, form: Form, out: &mut Vec<u8>) {
    quoted(form, out, |out| {
        let bytes = text.as_bytes();
        let special = |byte: &u8| match form {
            Form::Load => matches!(byte, b'\\' | b'\t' | b'\n' | 0),
            Form::Insert => matches!(byte, b'\\' | b'\'' | 0),
        };
        let mut from = 0;
        while let Some(found) = bytes[from..].iter().position(special) {
            out.extend_from_slice(&bytes[from..from + found]);
            out.push(b'\\');
            out.push(match bytes[from + found] {
                b'\t' => b't',
                b'\n' => b'n',
                0 => b'0',
                other => other,
            });
            from += found + 1;
        }
        out.extend_from_slice(&bytes[from..]);
    });
}

fn hex(bytes: &[u8], form: Form, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if form == Form::Insert {
        out.push(b'X');
    }
    quoted(form, out, |out| {
        for byte in bytes {
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
    });
}

/// A batch ready to be written row by row.
pub struct Rows {
    columns: Vec<Typed>,
    form: Form,
}

impl Rows {
    /// Prepares a batch.
    pub fn new(batch: &RecordBatch, plans: &[ColumnPlan], form: Form) -> Result<Self> {
        let schema = batch.schema();
        let columns = plans
            .iter()
            .map(|plan| Typed::new(&plan.normalise(batch, schema.field(plan.index))?, plan))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { columns, form })
    }

    fn value(&self, column: &Typed, at: usize, row: usize, plans: &[ColumnPlan], out: &mut Vec<u8>) -> Result<()> {
        column.write(row, self.form, out).map_err(|Wrong(why, hint)| {
            let name = plans.get(at).map(|plan| plan.name.as_str()).unwrap_or_default();
            Error::new("WEIR-MY-050", Kind::TypeLoss, why).at(format!("column `{name}`, row {} of the batch", row + 1)).hint(hint)
        })
    }

    /// Appends one value.
    pub fn cell(&self, at: usize, row: usize, plans: &[ColumnPlan], out: &mut Vec<u8>) -> Result<()> {
        match self.columns.get(at) {
            Some(column) => self.value(column, at, row, plans, out),
            None => Err(Error::internal(format!("there is no column {at} to write"))),
        }
    }

    /// Appends one row; with `sequence`, a number behind it.
    pub fn write(&self, row: usize, sequence: Option<u64>, plans: &[ColumnPlan], out: &mut Vec<u8>) -> Result<()> {
        let separator = if self.form == Form::Load { b'\t' } else { b',' };
        if self.form == Form::Insert {
            out.push(b'(');
        }
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                out.push(separator);
            }
            self.value(column, at, row, plans, out)?;
        }
        if let Some(sequence) = sequence {
            if !self.columns.is_empty() {
                out.push(separator);
            }
            digits(sequence, 1, out);
        }
        out.push(if self.form == Form::Load { b'\n' } else { b')' });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(array: ArrayRef, encoding: Encoding, form: Form) -> Result<String> {
        let plan = ColumnPlan {
            index: 0,
            name: "c".into(),
            normal: array.data_type().clone(),
            as_json: false,
            encoding,
            accept_loss: false,
        };
        let batch = RecordBatch::try_from_iter([("c", array)]).unwrap();
        let rows = Rows::new(&batch, std::slice::from_ref(&plan), form)?;
        let mut out = Vec::new();
        rows.write(0, None, &[plan], &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn limits(characters: Option<u64>, padded: bool) -> Encoding {
        Encoding::Text { characters, bytes: None, padded }
    }

    #[test]
    fn text_cannot_leave_its_field_or_literal() {
        let array: ArrayRef = Arc::new(StringArray::from(vec!["a\tb\\N\n'x'\0"]));
        assert_eq!(text(array.clone(), limits(None, false), Form::Load).unwrap(), "a\\tb\\\\N\\n'x'\\0\n");
        assert_eq!(text(array, limits(None, false), Form::Insert).unwrap(), "('a\tb\\\\N\n\\'x\\'\\0')");
    }

    #[test]
    fn what_the_server_would_bend_is_refused() {
        let word = |word: &str| Arc::new(StringArray::from(vec![word])) as ArrayRef;
        assert!(text(word("üü"), limits(Some(2), false), Form::Load).is_ok());
        assert!(text(word("a  "), limits(Some(2), false), Form::Load).is_err());
        assert!(text(word("a "), limits(Some(9), true), Form::Load).is_err());
        let members = |several| Encoding::Members { values: vec!["a".into(), "b".into()], several };
        assert!(text(word("2"), members(false), Form::Load).is_err());
        assert!(text(word("a,b"), members(false), Form::Load).is_err());
        assert!(text(word("a,b"), members(true), Form::Load).is_ok());
        assert!(text(word("3"), members(true), Form::Load).is_err());
        let number = |number: u64| Arc::new(UInt64Array::from(vec![number])) as ArrayRef;
        assert!(text(number(70), Encoding::Year, Form::Load).is_err());
        assert_eq!(text(number(0), Encoding::Year, Form::Load).unwrap(), "0000\n");
        assert!(text(number(8), Encoding::Bits(3), Form::Load).is_err());
        let bytes = || Arc::new(BinaryArray::from_vec(vec![b"a"])) as ArrayRef;
        assert!(text(bytes(), Encoding::Bytes { limit: 2, fixed: true }, Form::Load).is_err());
        let micros = |micros| Arc::new(TimestampMicrosecondArray::from(vec![micros])) as ArrayRef;
        assert!(text(micros(1), Encoding::Moment(3), Form::Load).is_err());
        assert_eq!(text(micros(-1), Encoding::Moment(6), Form::Insert).unwrap(), "('1969-12-31 23:59:59.999999')");
        assert!(text(micros(253_402_300_800_000_000), Encoding::Moment(6), Form::Load).is_err());
        assert!(text(Arc::new(Float64Array::from(vec![f64::NAN])), Encoding::Number, Form::Load).is_err());
    }
}
