//! Record batches → `COPY … FROM STDIN (FORMAT binary)`. Pure: no I/O.
//!
//! Two steps per batch: [`ColumnPlan::normal`] brings every column to one of about a dozen Arrow types (a no-op where it is one already), then rows
//! are written by a loop without conversions. What does not fit is an error that names column and row; nothing is rounded unless the spec accepted it.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, RecordBatch, StringArray,
    StringBuilder, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, IntervalMonthDayNano, TimeUnit};
use arrow::json::writer::{EncoderOptions, make_encoder};
use weir_connect::{Error, Kind, Result};

use super::numeric;

/// The 19 bytes that open a binary COPY stream.
pub const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The mark that ends it.
pub const TRAILER: [u8; 2] = [0xff, 0xff];

const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// How the values of a normalised column are written.
#[derive(Debug, Clone, PartialEq)]
pub enum Encoding {
    /// The binary form that belongs to the normalised Arrow type.
    Native,
    /// Text of at most so many characters: `varchar(n)`.
    Limited(usize),
    /// A version byte, then text.
    Jsonb,
    /// Text into 16 bytes.
    Uuid,
    /// A decimal as its unscaled 64-bit integer.
    Money,
    /// An array with items of this type, encoded like this.
    List(u32, Box<Encoding>),
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

fn at_column(error: Error, name: &str) -> Error {
    error.at(format!("column `{name}`"))
}

impl ColumnPlan {
    /// The column of a batch in its normal form.
    pub fn normalise(&self, batch: &RecordBatch, field: &Field) -> Result<ArrayRef> {
        let array = batch.column(self.index);
        if self.as_json {
            return json_text(array, field).map_err(|error| at_column(error, &self.name));
        }
        if array.data_type() == &self.normal {
            return Ok(array.clone());
        }
        let cast = |array: &dyn Array, to: &DataType| {
            cast_with_options(array, to, &CastOptions { safe: false, ..Default::default() }).map_err(|error| {
                Error::new("WEIR-PG-050", Kind::TypeLoss, "a value does not fit the column of the target")
                    .at(format!("column `{}`", self.name))
                    .because(error)
            })
        };
        if let (DataType::FixedSizeBinary(16), Encoding::Uuid) = (array.data_type(), &self.encoding) {
            return Ok(uuid_text(array));
        }
        let normal = cast(array, &self.normal)?;
        if !self.accept_loss && finer_than_micros(array.data_type()) {
            let back = cast(&normal, array.data_type())?;
            if back.to_data() != array.to_data() {
                return Err(Error::new("WEIR-PG-050", Kind::TypeLoss, "a value has nanoseconds, which PostgreSQL does not keep")
                    .at(format!("column `{}`", self.name))
                    .hint("set `on_loss: accept` (or `string`) for this column"));
            }
        }
        Ok(normal)
    }
}

fn finer_than_micros(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Timestamp(TimeUnit::Nanosecond, _)
            | DataType::Time64(TimeUnit::Nanosecond)
            | DataType::Duration(TimeUnit::Nanosecond)
    )
}

fn uuid_text(array: &ArrayRef) -> ArrayRef {
    let bytes = array.as_fixed_size_binary();
    let text: StringArray = bytes
        .iter()
        .map(|value| value.and_then(|value| uuid::Uuid::from_slice(value).ok()).map(|uuid| uuid.hyphenated().to_string()))
        .collect();
    Arc::new(text)
}

fn between(items: &ArrayRef, from: usize, to: usize) -> ArrayRef {
    items.slice(from, to - from)
}

/// Whether a number anywhere inside is one that JSON has no word for; arrow-json would write null for it.
fn has_special_float(array: &dyn Array) -> bool {
    match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().iter().flatten().any(|number| !number.is_finite()),
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().flatten().any(|number| !number.is_finite()),
        DataType::Struct(_) => array.as_struct().columns().iter().any(|column| has_special_float(column)),
        // The items of the rows at hand only: a slice shares its items with the rows around it.
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            has_special_float(&between(
                list.values(),
                list.value_offsets()[0] as usize,
                list.value_offsets()[list.len()] as usize,
            ))
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            has_special_float(&between(
                list.values(),
                list.value_offsets()[0] as usize,
                list.value_offsets()[list.len()] as usize,
            ))
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

/// Structs, maps and nested lists as JSON text.
fn json_text(array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    if has_special_float(array) {
        return Err(Error::new("WEIR-PG-050", Kind::TypeLoss, "a nested number is NaN or infinite, which JSON cannot say")
            .hint("take it out of the nested value, or replace it by NULL, in a sql transform"));
    }
    let broken = |error: arrow::error::ArrowError| {
        Error::new("WEIR-PG-052", Kind::Unsupported, "a nested value cannot be written as JSON").because(error)
    };
    let options = EncoderOptions::default();
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

/// A normalised column, typed, ready for the row loop.
enum Typed {
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    Float4(Float32Array),
    Float8(Float64Array),
    Decimal128(Decimal128Array, u8),
    Decimal256(Decimal256Array, u8),
    Money(Decimal128Array),
    Text(StringArray),
    Limited(StringArray, usize),
    Jsonb(StringArray),
    Uuid(StringArray),
    Bytes(BinaryArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    Timestamp(TimestampMicrosecondArray),
    Interval(IntervalMonthDayNanoArray),
    List(ListArray, u32, Box<Typed>),
}

/// What is wrong with one value.
struct Wrong {
    code: &'static str,
    kind: Kind,
    why: String,
    hint: &'static str,
}

#[cold]
fn wrong(code: &'static str, kind: Kind, why: impl Into<String>, hint: &'static str) -> Wrong {
    Wrong { code, kind, why: why.into(), hint }
}

/// Whether text holds a NUL, which PostgreSQL cannot.
fn check_nul(array: &StringArray, name: &str) -> Result<()> {
    let range = array.value_offsets()[0] as usize..array.value_offsets()[array.len()] as usize;
    if !array.value_data()[range].contains(&0) {
        return Ok(());
    }
    match (0..array.len()).find(|row| array.is_valid(*row) && array.value(*row).contains('\0')) {
        None => Ok(()),
        Some(row) => Err(Error::new("WEIR-PG-051", Kind::Data, "PostgreSQL cannot store text with a NUL character")
            .at(format!("column `{name}`, row {} of the batch", row + 1))
            .hint("take it out with a sql transform: replace(the_column, chr(0), '')")),
    }
}

impl Typed {
    fn new(array: &ArrayRef, encoding: &Encoding, name: &str) -> Result<Self> {
        let text = |array: &ArrayRef| -> Result<StringArray> {
            let text = array.as_string::<i32>().clone();
            check_nul(&text, name)?;
            Ok(text)
        };
        Ok(match (array.data_type(), encoding) {
            (DataType::Boolean, _) => Self::Bool(array.as_boolean().clone()),
            (DataType::Int16, _) => Self::Int2(array.as_primitive().clone()),
            (DataType::Int32, _) => Self::Int4(array.as_primitive().clone()),
            (DataType::Int64, _) => Self::Int8(array.as_primitive().clone()),
            (DataType::Float32, _) => Self::Float4(array.as_primitive().clone()),
            (DataType::Float64, _) => Self::Float8(array.as_primitive().clone()),
            (DataType::Decimal128(_, _), Encoding::Money) => Self::Money(array.as_primitive().clone()),
            (DataType::Decimal128(_, scale), _) if *scale >= 0 => {
                Self::Decimal128(array.as_primitive().clone(), scale.unsigned_abs())
            }
            (DataType::Decimal256(_, scale), _) if *scale >= 0 => {
                Self::Decimal256(array.as_primitive().clone(), scale.unsigned_abs())
            }
            (DataType::Utf8, Encoding::Limited(characters)) => Self::Limited(text(array)?, *characters),
            (DataType::Utf8, Encoding::Jsonb) => Self::Jsonb(text(array)?),
            (DataType::Utf8, Encoding::Uuid) => Self::Uuid(text(array)?),
            (DataType::Utf8, _) => Self::Text(text(array)?),
            (DataType::Binary, _) => Self::Bytes(array.as_binary().clone()),
            (DataType::Date32, _) => Self::Date(array.as_primitive().clone()),
            (DataType::Time64(TimeUnit::Microsecond), _) => Self::Time(array.as_primitive().clone()),
            (DataType::Timestamp(TimeUnit::Microsecond, _), _) => Self::Timestamp(array.as_primitive().clone()),
            (DataType::Interval(_), _) => Self::Interval(array.as_primitive().clone()),
            (DataType::List(_), Encoding::List(oid, item)) => {
                let list = array.as_list::<i32>().clone();
                let items = Self::new(list.values(), item, name)?;
                Self::List(list, *oid, Box::new(items))
            }
            (other, encoding) => return Err(Error::internal(format!("no binary form of {other} as {encoding:?}"))),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(array) => array.is_null(row),
            Self::Int2(array) => array.is_null(row),
            Self::Int4(array) => array.is_null(row),
            Self::Int8(array) => array.is_null(row),
            Self::Float4(array) => array.is_null(row),
            Self::Float8(array) => array.is_null(row),
            Self::Decimal128(array, _) | Self::Money(array) => array.is_null(row),
            Self::Decimal256(array, _) => array.is_null(row),
            Self::Text(array) | Self::Limited(array, _) | Self::Jsonb(array) | Self::Uuid(array) => array.is_null(row),
            Self::Bytes(array) => array.is_null(row),
            Self::Date(array) => array.is_null(row),
            Self::Time(array) => array.is_null(row),
            Self::Timestamp(array) => array.is_null(row),
            Self::Interval(array) => array.is_null(row),
            Self::List(array, _, _) => array.is_null(row),
        }
    }

    /// Appends length and value.
    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Wrong> {
        if self.is_null(row) {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            return Ok(());
        }
        match self {
            Self::Int4(array) => fixed4(array.value(row).to_be_bytes(), out),
            Self::Int8(array) => fixed8(array.value(row).to_be_bytes(), out),
            Self::Decimal128(array, scale) => numeric::encode_i128(array.value(row), *scale, out),
            Self::Text(array) => bytes(array.value(row).as_bytes(), out)?,
            Self::Date(array) => {
                let days = array.value(row).checked_sub(EPOCH_DAYS).filter(|days| (-2_451_545..=2_145_031_948).contains(days));
                let days =
                    days.ok_or_else(|| wrong("WEIR-PG-050", Kind::TypeLoss, "the date lies outside PostgreSQL's range", ""))?;
                fixed4(days.to_be_bytes(), out);
            }
            Self::Timestamp(array) => {
                // 4714-11-24 BC to 294276-12-31.
                let micros = array
                    .value(row)
                    .checked_sub(EPOCH_MICROS)
                    .filter(|micros| (-211_813_488_000_000_000..9_223_371_331_200_000_000).contains(micros));
                let micros =
                    micros.ok_or_else(|| wrong("WEIR-PG-050", Kind::TypeLoss, "the time lies outside PostgreSQL's range", ""))?;
                fixed8(micros.to_be_bytes(), out);
            }
            Self::Float8(array) => fixed8(array.value(row).to_be_bytes(), out),
            Self::Float4(array) => fixed4(array.value(row).to_be_bytes(), out),
            Self::Int2(array) => {
                out.extend_from_slice(&2i32.to_be_bytes());
                out.extend_from_slice(&array.value(row).to_be_bytes());
            }
            Self::Bool(array) => {
                out.extend_from_slice(&1i32.to_be_bytes());
                out.push(u8::from(array.value(row)));
            }
            Self::Bytes(array) => bytes(array.value(row), out)?,
            Self::Limited(array, characters) => {
                let text = array.value(row);
                // As many bytes as characters allowed cannot be too many characters; only longer text is counted.
                if text.len() > *characters && text.chars().count() > *characters {
                    let why = format!("the text has {} characters and the column holds {characters}", text.chars().count());
                    return Err(wrong(
                        "WEIR-PG-050",
                        Kind::TypeLoss,
                        why,
                        "widen the column, or shorten the text in the pipeline",
                    ));
                }
                bytes(text.as_bytes(), out)?;
            }
            Self::Jsonb(array) => {
                let text = array.value(row).as_bytes();
                out.extend_from_slice(&length(text.len() + 1)?.to_be_bytes());
                out.push(1);
                out.extend_from_slice(text);
            }
            Self::Uuid(array) => {
                let uuid = uuid::Uuid::try_parse(array.value(row)).map_err(|_| {
                    wrong("WEIR-PG-053", Kind::Data, "the text is not a UUID", "cast the column to text in the pipeline")
                })?;
                bytes(uuid.as_bytes(), out)?;
            }
            Self::Time(array) => fixed8(array.value(row).to_be_bytes(), out),
            Self::Interval(array) => interval(array.value(row), out)?,
            Self::Money(array) => {
                let units = i64::try_from(array.value(row))
                    .map_err(|_| wrong("WEIR-PG-050", Kind::TypeLoss, "the amount does not fit money", ""))?;
                fixed8(units.to_be_bytes(), out);
            }
            Self::Decimal256(array, scale) => numeric::encode_i256(array.value(row), *scale, out),
            Self::List(array, oid, items) => {
                let (from, to) = (array.value_offsets()[row] as usize, array.value_offsets()[row + 1] as usize);
                let start = out.len();
                out.extend_from_slice(&[0; 4]);
                if from == to {
                    out.extend_from_slice(&0i32.to_be_bytes());
                    out.extend_from_slice(&0i32.to_be_bytes());
                    out.extend_from_slice(&oid.to_be_bytes());
                } else {
                    let has_nulls = (from..to).any(|item| items.is_null(item));
                    out.extend_from_slice(&1i32.to_be_bytes());
                    out.extend_from_slice(&i32::from(has_nulls).to_be_bytes());
                    out.extend_from_slice(&oid.to_be_bytes());
                    out.extend_from_slice(&length(to - from)?.to_be_bytes());
                    out.extend_from_slice(&1i32.to_be_bytes());
                    for item in from..to {
                        items.write(item, out)?;
                    }
                }
                let size = length(out.len() - start - 4)?;
                out[start..start + 4].copy_from_slice(&size.to_be_bytes());
            }
        }
        Ok(())
    }
}

fn length(bytes: usize) -> Result<i32, Wrong> {
    // The server's own limit of one value.
    i32::try_from(bytes)
        .ok()
        .filter(|bytes| *bytes < 1 << 30)
        .ok_or_else(|| wrong("WEIR-PG-054", Kind::Limit, "the value is larger than the 1 GiB that PostgreSQL takes", ""))
}

#[inline]
fn fixed4(value: [u8; 4], out: &mut Vec<u8>) {
    let mut field = [0, 0, 0, 4, 0, 0, 0, 0];
    field[4..].copy_from_slice(&value);
    out.extend_from_slice(&field);
}

#[inline]
fn fixed8(value: [u8; 8], out: &mut Vec<u8>) {
    let mut field = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    field[4..].copy_from_slice(&value);
    out.extend_from_slice(&field);
}

#[inline]
fn bytes(value: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
    out.extend_from_slice(&length(value.len())?.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

fn interval(value: IntervalMonthDayNano, out: &mut Vec<u8>) -> Result<(), Wrong> {
    if value.nanoseconds % 1000 != 0 {
        return Err(wrong("WEIR-PG-050", Kind::TypeLoss, "the interval has nanoseconds, which PostgreSQL does not keep", ""));
    }
    out.extend_from_slice(&16i32.to_be_bytes());
    out.extend_from_slice(&(value.nanoseconds / 1000).to_be_bytes());
    out.extend_from_slice(&value.days.to_be_bytes());
    out.extend_from_slice(&value.months.to_be_bytes());
    Ok(())
}

/// A batch ready to be written row by row.
pub struct Rows {
    columns: Vec<Typed>,
    count: i16,
    /// Appended to every row: the staging order.
    sequence: bool,
}

impl Rows {
    /// Prepares a batch. With `sequence`, a bigint is appended to every row.
    pub fn new(batch: &RecordBatch, plans: &[ColumnPlan], sequence: bool) -> Result<Self> {
        let schema = batch.schema();
        let columns = plans
            .iter()
            .map(|plan| {
                let array = plan.normalise(batch, schema.field(plan.index))?;
                Typed::new(&array, &plan.encoding, &plan.name)
            })
            .collect::<Result<Vec<_>>>()?;
        let count = i16::try_from(columns.len() + usize::from(sequence)).map_err(|_| Error::internal("too many columns"))?;
        Ok(Self { columns, count, sequence })
    }

    /// Appends one row.
    #[inline]
    pub fn write(&self, row: usize, sequence: u64, plans: &[ColumnPlan], out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&self.count.to_be_bytes());
        for at in 0..self.columns.len() {
            self.cell(at, row, plans, out)?;
        }
        if self.sequence {
            fixed8(sequence.to_be_bytes(), out);
        }
        Ok(())
    }

    /// Appends one value of a row, with its length.
    #[inline]
    pub fn cell(&self, at: usize, row: usize, plans: &[ColumnPlan], out: &mut Vec<u8>) -> Result<()> {
        self.columns[at].write(row, out).map_err(|wrong| {
            let name = plans.get(at).map(|plan| plan.name.as_str()).unwrap_or_default();
            let error =
                Error::new(wrong.code, wrong.kind, wrong.why).at(format!("column `{name}`, row {} of the batch", row + 1));
            if wrong.hint.is_empty() { error } else { error.hint(wrong.hint) }
        })
    }
}
