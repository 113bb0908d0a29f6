//! Column builders for decoded values. Unlike Arrow's own they can take a value back, so that a row with one value that Arrow
//! cannot hold leaves no trace in the columns before it.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Decimal128Array, Decimal256Array, ListArray, PrimitiveArray,
    StringArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType, i256,
};
use weir_connect::{Error, Result};

use super::numeric;
use super::types::Travel;

/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// Why a value was not taken.
#[derive(Debug, PartialEq)]
pub enum Bad {
    /// The value is good PostgreSQL but has no Arrow counterpart: the row is a dead letter.
    Value(Box<str>),
    /// The bytes are not what the type says: the stream cannot be trusted.
    Corrupt(Box<str>),
}

impl Bad {
    /// No counterpart.
    #[cold]
    pub fn value(why: impl Into<Box<str>>) -> Self {
        Self::Value(why.into())
    }
    /// Garbage.
    #[cold]
    pub fn corrupt(why: impl Into<Box<str>>) -> Self {
        Self::Corrupt(why.into())
    }
}

/// Values of one column.
enum Values {
    Bool(Vec<bool>),
    Int2(Vec<i16>),
    Int4(Vec<i32>),
    Int8(Vec<i64>),
    Oid(Vec<i64>),
    Float4(Vec<f32>),
    Float8(Vec<f64>),
    Decimal128 { values: Vec<i128>, precision: u8, scale: i8, round: bool },
    Decimal256 { values: Vec<i256>, precision: u8, scale: i8 },
    Money { values: Vec<i128>, scale: i8 },
    Text(Bytes),
    Jsonb(Bytes),
    Uuid(Bytes),
    Bytes(Bytes),
    Date(Vec<i32>),
    Time(Vec<i64>),
    Timestamp(Vec<i64>),
    TimestampTz(Vec<i64>),
    Interval(Vec<IntervalMonthDayNano>),
    List { offsets: Vec<i32>, item: Box<Column> },
}

/// Variable-length values.
struct Bytes {
    offsets: Vec<i32>,
    data: Vec<u8>,
}

impl Bytes {
    fn new() -> Self {
        Self { offsets: vec![0], data: Vec::new() }
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) -> Result<(), Bad> {
        self.data.extend_from_slice(bytes);
        // Batches are closed long before; only cells of more than a gigabyte, side by side in a list, come near.
        let end = i32::try_from(self.data.len()).map_err(|_| Bad::value("more than 2 GiB in one column of one row"))?;
        self.offsets.push(end);
        Ok(())
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.data.truncate(self.offsets.last().copied().unwrap_or(0) as usize);
    }
}

/// One column being built.
pub struct Column {
    values: Values,
    /// Made when the first NULL comes.
    validity: Option<BooleanBufferBuilder>,
    rows: usize,
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Bad> {
    bytes.try_into().map_err(|_| Bad::corrupt(format!("{} bytes where the type has {N}", bytes.len())))
}

#[inline]
fn utf8(bytes: &[u8]) -> Result<&[u8], Bad> {
    if std::str::from_utf8(bytes).is_err() {
        return Err(Bad::value("the text is not valid UTF-8 (the database does not enforce an encoding)"));
    }
    Ok(bytes)
}

#[inline]
fn micros(bytes: &[u8], what: &str) -> Result<i64, Bad> {
    let raw = i64::from_be_bytes(fixed(bytes)?);
    match raw {
        i64::MAX => Err(Bad::value(format!("{what} `infinity` has no Arrow counterpart"))),
        i64::MIN => Err(Bad::value(format!("{what} `-infinity` has no Arrow counterpart"))),
        _ => raw.checked_add(EPOCH_MICROS).ok_or_else(|| Bad::value(format!("{what} after the year 294246 does not fit"))),
    }
}

impl Column {
    /// An empty column for values that travel this way.
    pub fn new(travel: &Travel) -> Self {
        let values = match travel {
            Travel::Bool => Values::Bool(Vec::new()),
            Travel::Int2 => Values::Int2(Vec::new()),
            Travel::Int4 => Values::Int4(Vec::new()),
            Travel::Int8 => Values::Int8(Vec::new()),
            Travel::Oid => Values::Oid(Vec::new()),
            Travel::Float4 => Values::Float4(Vec::new()),
            Travel::Float8 => Values::Float8(Vec::new()),
            Travel::Decimal128 { precision, scale, round } => {
                Values::Decimal128 { values: Vec::new(), precision: *precision, scale: *scale, round: *round }
            }
            Travel::Decimal256 { precision, scale } => {
                Values::Decimal256 { values: Vec::new(), precision: *precision, scale: *scale }
            }
            Travel::Money { scale } => Values::Money { values: Vec::new(), scale: *scale },
            Travel::Text => Values::Text(Bytes::new()),
            Travel::Jsonb => Values::Jsonb(Bytes::new()),
            Travel::Uuid => Values::Uuid(Bytes::new()),
            Travel::Bytes => Values::Bytes(Bytes::new()),
            Travel::Date => Values::Date(Vec::new()),
            Travel::Time => Values::Time(Vec::new()),
            Travel::Timestamp => Values::Timestamp(Vec::new()),
            Travel::TimestampTz => Values::TimestampTz(Vec::new()),
            Travel::Interval => Values::Interval(Vec::new()),
            Travel::List(item) => Values::List { offsets: vec![0], item: Box::new(Column::new(item)) },
        };
        Self { values, validity: None, rows: 0 }
    }

    /// Takes one value in binary format, or NULL. On an error nothing may have changed but what [`Self::truncate`] undoes.
    #[inline]
    pub fn push(&mut self, value: Option<&[u8]>) -> Result<(), Bad> {
        match value {
            Some(bytes) => {
                self.value(bytes)?;
                if let Some(validity) = &mut self.validity {
                    validity.append(true);
                }
            }
            None => self.null(),
        }
        self.rows += 1;
        Ok(())
    }

    #[inline]
    fn value(&mut self, bytes: &[u8]) -> Result<(), Bad> {
        match &mut self.values {
            Values::Int4(values) => values.push(i32::from_be_bytes(fixed(bytes)?)),
            Values::Int8(values) => values.push(i64::from_be_bytes(fixed(bytes)?)),
            Values::Text(values) => values.push(utf8(bytes)?)?,
            Values::Decimal128 { values, precision, scale, round } => {
                let value = numeric::decode_i128(bytes, *scale, *round)?;
                if !numeric::fits_i128(value, *precision) {
                    return Err(Bad::value("the number has more digits than the column's decimal type"));
                }
                values.push(value);
            }
            Values::Date(values) => values.push(match i32::from_be_bytes(fixed(bytes)?) {
                i32::MAX => return Err(Bad::value("date `infinity` has no Arrow counterpart")),
                i32::MIN => return Err(Bad::value("date `-infinity` has no Arrow counterpart")),
                days => days.checked_add(EPOCH_DAYS).ok_or_else(|| Bad::value("the date does not fit"))?,
            }),
            Values::Timestamp(values) => values.push(micros(bytes, "timestamp")?),
            Values::TimestampTz(values) => values.push(micros(bytes, "timestamptz")?),
            Values::Float8(values) => values.push(f64::from_be_bytes(fixed(bytes)?)),
            Values::Float4(values) => values.push(f32::from_be_bytes(fixed(bytes)?)),
            Values::Int2(values) => values.push(i16::from_be_bytes(fixed(bytes)?)),
            Values::Oid(values) => values.push(u32::from_be_bytes(fixed(bytes)?).into()),
            Values::Bool(values) => values.push(match fixed(bytes)? {
                [0] => false,
                [1] => true,
                _ => return Err(Bad::corrupt("a boolean that is neither 0 nor 1")),
            }),
            Values::Bytes(values) => values.push(bytes)?,
            Values::Jsonb(values) => match bytes.split_first() {
                Some((1, text)) => values.push(utf8(text)?)?,
                _ => return Err(Bad::corrupt("jsonb in an unknown version")),
            },
            Values::Uuid(values) => values.push(&hyphenated(fixed(bytes)?))?,
            Values::Time(values) => match i64::from_be_bytes(fixed(bytes)?) {
                time @ 0..86_400_000_000 => values.push(time),
                86_400_000_000 => return Err(Bad::value("time `24:00:00` has no Arrow counterpart")),
                _ => return Err(Bad::corrupt("a time outside the day")),
            },
            Values::Interval(values) => {
                let raw: [u8; 16] = fixed(bytes)?;
                let (micros, rest) = raw.split_first_chunk::<8>().ok_or_else(|| Bad::corrupt("interval"))?;
                let (days, months) = rest.split_first_chunk::<4>().ok_or_else(|| Bad::corrupt("interval"))?;
                let nanos = i64::from_be_bytes(*micros)
                    .checked_mul(1000)
                    .ok_or_else(|| Bad::value("the interval has more than 292 years in its time part"))?;
                values.push(IntervalMonthDayNano {
                    months: i32::from_be_bytes(fixed(months)?),
                    days: i32::from_be_bytes(*days),
                    nanoseconds: nanos,
                });
            }
            Values::Money { values, .. } => values.push(i64::from_be_bytes(fixed(bytes)?).into()),
            Values::Decimal256 { values, precision, scale } => {
                let value = numeric::decode_i256(bytes, *scale)?;
                let limit = i256::from_i128(10).checked_pow((*precision).into());
                if limit.is_some_and(|limit| value >= limit || value <= limit.wrapping_neg()) {
                    return Err(Bad::value("the number has more digits than the column's decimal type"));
                }
                values.push(value);
            }
            Values::List { offsets, item } => {
                list(bytes, item)?;
                let end = i32::try_from(item.rows).map_err(|_| Bad::value("more than 2^31 array items in one batch"))?;
                offsets.push(end);
            }
        }
        Ok(())
    }

    fn null(&mut self) {
        let rows = self.rows;
        self.validity
            .get_or_insert_with(|| {
                let mut validity = BooleanBufferBuilder::new(rows.next_power_of_two().max(64));
                validity.append_n(rows, true);
                validity
            })
            .append(false);
        match &mut self.values {
            Values::Bool(values) => values.push(false),
            Values::Int2(values) => values.push(0),
            Values::Int4(values) | Values::Date(values) => values.push(0),
            Values::Int8(values)
            | Values::Oid(values)
            | Values::Time(values)
            | Values::Timestamp(values)
            | Values::TimestampTz(values) => values.push(0),
            Values::Float4(values) => values.push(0.0),
            Values::Float8(values) => values.push(0.0),
            Values::Decimal128 { values, .. } | Values::Money { values, .. } => values.push(0),
            Values::Decimal256 { values, .. } => values.push(i256::ZERO),
            Values::Interval(values) => values.push(IntervalMonthDayNano::ZERO),
            Values::Text(values) | Values::Jsonb(values) | Values::Uuid(values) | Values::Bytes(values) => {
                values.offsets.push(values.offsets.last().copied().unwrap_or(0));
            }
            Values::List { offsets, .. } => offsets.push(offsets.last().copied().unwrap_or(0)),
        }
    }

    /// Takes back everything after the first `rows` values, including the traces of a value that failed.
    pub fn truncate(&mut self, rows: usize) {
        if let Some(validity) = &mut self.validity {
            validity.truncate(rows.min(validity.len()));
        }
        match &mut self.values {
            Values::Bool(values) => values.truncate(rows),
            Values::Int2(values) => values.truncate(rows),
            Values::Int4(values) | Values::Date(values) => values.truncate(rows),
            Values::Int8(values)
            | Values::Oid(values)
            | Values::Time(values)
            | Values::Timestamp(values)
            | Values::TimestampTz(values) => values.truncate(rows),
            Values::Float4(values) => values.truncate(rows),
            Values::Float8(values) => values.truncate(rows),
            Values::Decimal128 { values, .. } | Values::Money { values, .. } => values.truncate(rows),
            Values::Decimal256 { values, .. } => values.truncate(rows),
            Values::Interval(values) => values.truncate(rows),
            Values::Text(values) | Values::Jsonb(values) | Values::Uuid(values) | Values::Bytes(values) => values.truncate(rows),
            Values::List { offsets, item } => {
                offsets.truncate(rows + 1);
                item.truncate(offsets.last().copied().unwrap_or(0) as usize);
            }
        }
        self.rows = rows;
    }

    /// The values as an array; the column is empty afterwards.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>) -> PrimitiveArray<T> {
            // The next batch will be about as large.
            let next = Vec::with_capacity(values.len());
            PrimitiveArray::new(ScalarBuffer::from(std::mem::replace(values, next)), nulls)
        }
        fn parts(bytes: &mut Bytes) -> (OffsetBuffer<i32>, Buffer) {
            let mut offsets = Vec::with_capacity(bytes.offsets.len());
            offsets.push(0);
            let offsets = std::mem::replace(&mut bytes.offsets, offsets);
            let data = Vec::with_capacity(bytes.data.len().min(16 << 20));
            let data = std::mem::replace(&mut bytes.data, data);
            (OffsetBuffer::new(ScalarBuffer::from(offsets)), Buffer::from_vec(data))
        }
        let broken = |error: arrow::error::ArrowError| Error::internal("cannot build a column").caused_by(error);
        let nulls = self.validity.take().map(|mut validity| NullBuffer::new(validity.finish()));
        self.rows = 0;
        Ok(match &mut self.values {
            Values::Bool(values) => {
                let array = BooleanArray::new(BooleanBuffer::from(values.as_slice()), nulls);
                values.clear();
                Arc::new(array)
            }
            Values::Int2(values) => Arc::new(primitive::<Int16Type>(values, nulls)),
            Values::Int4(values) => Arc::new(primitive::<Int32Type>(values, nulls)),
            Values::Int8(values) | Values::Oid(values) => Arc::new(primitive::<Int64Type>(values, nulls)),
            Values::Float4(values) => Arc::new(primitive::<Float32Type>(values, nulls)),
            Values::Float8(values) => Arc::new(primitive::<Float64Type>(values, nulls)),
            Values::Decimal128 { values, precision, scale, .. } => {
                let next = Vec::with_capacity(values.len());
                let array = Decimal128Array::new(ScalarBuffer::from(std::mem::replace(values, next)), nulls);
                Arc::new(array.with_precision_and_scale(*precision, *scale).map_err(broken)?)
            }
            Values::Money { values, scale } => {
                let array = Decimal128Array::new(ScalarBuffer::from(std::mem::take(values)), nulls);
                Arc::new(array.with_precision_and_scale(19, *scale).map_err(broken)?)
            }
            Values::Decimal256 { values, precision, scale } => {
                let array = Decimal256Array::new(ScalarBuffer::from(std::mem::take(values)), nulls);
                Arc::new(array.with_precision_and_scale(*precision, *scale).map_err(broken)?)
            }
            Values::Date(values) => Arc::new(primitive::<Date32Type>(values, nulls)),
            Values::Time(values) => Arc::new(primitive::<Time64MicrosecondType>(values, nulls)),
            Values::Timestamp(values) => Arc::new(primitive::<TimestampMicrosecondType>(values, nulls)),
            Values::TimestampTz(values) => Arc::new(primitive::<TimestampMicrosecondType>(values, nulls).with_timezone("UTC")),
            Values::Interval(values) => Arc::new(primitive::<IntervalMonthDayNanoType>(values, nulls)),
            Values::Text(bytes) | Values::Jsonb(bytes) | Values::Uuid(bytes) => {
                let (offsets, data) = parts(bytes);
                Arc::new(StringArray::try_new(offsets, data, nulls).map_err(broken)?)
            }
            Values::Bytes(bytes) => {
                let (offsets, data) = parts(bytes);
                Arc::new(BinaryArray::try_new(offsets, data, nulls).map_err(broken)?)
            }
            Values::List { offsets, item } => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(offsets, vec![0])));
                let items = item.finish()?;
                let field = Arc::new(Field::new("item", items.data_type().clone(), true));
                Arc::new(ListArray::try_new(field, offsets, items, nulls).map_err(broken)?)
            }
        })
    }
}

/// An array: dimensions, a flag, the item type, then length and lower bound per dimension, then the items.
fn list(bytes: &[u8], item: &mut Column) -> Result<(), Bad> {
    let short = || Bad::corrupt("an array that ends early");
    let mut rest = bytes;
    let mut next = || -> Result<i32, Bad> {
        let (number, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        rest = after;
        Ok(i32::from_be_bytes(*number))
    };
    let dimensions = next()?;
    let _has_nulls = next()?;
    let _item_type = next()?;
    match dimensions {
        0 => {
            return if rest.is_empty() { Ok(()) } else { Err(Bad::corrupt("an empty array with items")) };
        }
        1 => {}
        2..=6 => return Err(Bad::value(format!("an array with {dimensions} dimensions has no Arrow counterpart"))),
        _ => return Err(Bad::corrupt("an array with an impossible number of dimensions")),
    }
    let count = next()?;
    if next()? != 1 {
        return Err(Bad::value("an array whose first index is not 1 has no Arrow counterpart"));
    }
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        rest = after;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => {
                let (value, after) = rest.split_at_checked(length).ok_or_else(short)?;
                item.push(Some(value))?;
                rest = after;
            }
            Err(_) => item.push(None)?,
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(Bad::corrupt("an array with more bytes than items")) }
}

fn hyphenated(uuid: [u8; 16]) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        out[at] = HEX[usize::from(byte >> 4)];
        out[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    out
}
