//! Binary rows → Arrow columns, without a value in between. Pure: no I/O.
//!
//! A row with a value that Arrow cannot hold leaves no trace in the columns: what it has added is taken back, and the row is handed out as a
//! dead one.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Decimal128Array, Decimal256Array, PrimitiveArray, RecordBatch,
    StringArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef,
    Time64MicrosecondType, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};
use weir_connect::{Error, Result};

use super::client::{Cells, ResultColumn, kind};
use super::errors::protocol;
use super::types::{SourceColumn, Travel};

const DAY_MICROS: i64 = 86_400_000_000;

/// Why a value was not taken.
#[derive(Debug, PartialEq)]
pub enum Bad {
    /// The value is good MySQL but has no Arrow counterpart: the row is a dead letter.
    Value(Box<str>),
    /// The bytes are not what the type says: the stream cannot be trusted.
    Corrupt(Box<str>),
}

#[cold]
fn value(why: impl Into<Box<str>>) -> Bad {
    Bad::Value(why.into())
}

#[cold]
fn corrupt(why: impl Into<Box<str>>) -> Bad {
    Bad::Corrupt(why.into())
}

/// Variable-length values.
struct Bytes {
    offsets: Vec<i32>,
    data: Vec<u8>,
}

impl Bytes {
    #[inline]
    fn push(&mut self, bytes: &[u8]) -> Result<(), Bad> {
        self.data.extend_from_slice(bytes);
        // Batches are closed long before; the largest cell has 1 GiB.
        let end = i32::try_from(self.data.len()).map_err(|_| value("more than 2 GiB in one column of one batch"))?;
        self.offsets.push(end);
        Ok(())
    }
}

enum Values {
    Bool(Vec<bool>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    UInt8(Vec<u8>),
    UInt16(Vec<u16>),
    UInt32(Vec<u32>),
    UInt64(Vec<u64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Decimal128(Vec<i128>),
    Decimal256(Vec<i256>),
    Bytes(Bytes),
}

/// One column being built.
struct Column {
    travel: Travel,
    lenient: bool,
    values: Values,
    /// Made when the first NULL comes.
    validity: Option<BooleanBufferBuilder>,
    rows: usize,
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Bad> {
    bytes.try_into().map_err(|_| corrupt(format!("{} bytes where the type has {N}", bytes.len())))
}

#[inline]
fn utf8(bytes: &[u8]) -> Result<&[u8], Bad> {
    if std::str::from_utf8(bytes).is_err() {
        return Err(value("the text is not valid UTF-8"));
    }
    Ok(bytes)
}

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// A day of the calendar in its 4 bytes. Zero dates and days like February 31st, which MySQL can hold, are none.
#[inline]
fn day(bytes: &[u8]) -> Result<i64, Bad> {
    let Some([low, high, month, day]) = bytes.first_chunk::<4>() else {
        return if bytes.is_empty() { Err(value("a zero date has no Arrow counterpart")) } else { Err(corrupt("a cut date")) };
    };
    let year = u16::from_le_bytes([*low, *high]);
    if *month == 0 || *day == 0 || year == 0 {
        return Err(value(format!("`{year:04}-{month:02}-{day:02}` is a zero date, which has no Arrow counterpart")));
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + u8::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return Err(corrupt("a month after December")),
    };
    if *day > last {
        return Err(value(format!("`{year:04}-{month:02}-{day:02}` is no day of the calendar")));
    }
    Ok(days(year.into(), (*month).into(), (*day).into()))
}

/// Hour, minute, second and microseconds after the first bytes of a value.
#[inline]
fn clock(bytes: &[u8]) -> Result<i64, Bad> {
    let (seconds, micros) = match bytes {
        [] => return Ok(0),
        [hour, minute, second] => ((i64::from(*hour) * 60 + i64::from(*minute)) * 60 + i64::from(*second), 0),
        [hour, minute, second, a, b, c, d] => (
            (i64::from(*hour) * 60 + i64::from(*minute)) * 60 + i64::from(*second),
            i64::from(u32::from_le_bytes([*a, *b, *c, *d])),
        ),
        _ => return Err(corrupt("a cut time")),
    };
    Ok(seconds * 1_000_000 + micros)
}

#[inline]
fn moment(bytes: &[u8]) -> Result<i64, Bad> {
    Ok(day(bytes)? * DAY_MICROS + clock(bytes.get(4..).unwrap_or_default())?)
}

/// Microseconds of a span of up to 838 hours, of either sign.
fn span(bytes: &[u8]) -> Result<i64, Bad> {
    let Some(([negative, a, b, c, d], rest)) = bytes.split_first_chunk::<5>() else {
        return if bytes.is_empty() { Ok(0) } else { Err(corrupt("a cut time")) };
    };
    let micros = i64::from(u32::from_le_bytes([*a, *b, *c, *d])) * DAY_MICROS + clock(rest)?;
    Ok(if *negative == 0 { micros } else { -micros })
}

/// Digits with a point into an integer of so many digits after the point.
#[inline]
fn decimal128(text: &[u8], precision: u8, scale: i8) -> Result<i128, Bad> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let mut number: i128 = 0;
    let mut fraction: Option<i8> = None;
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                number = number
                    .checked_mul(10)
                    .and_then(|number| number.checked_add(i128::from(byte - b'0')))
                    .ok_or_else(|| value("the number has more digits than the column's decimal type"))?;
                fraction = fraction.map(|count| count + 1);
            }
            b'.' if fraction.is_none() => fraction = Some(0),
            _ => return Err(corrupt("a decimal that is none")),
        }
    }
    for _ in fraction.unwrap_or(0)..scale {
        number = number.checked_mul(10).ok_or_else(|| value("the number has more digits than the column's decimal type"))?;
    }
    if fraction.unwrap_or(0) > scale || number >= 10_i128.pow(precision.into()) {
        return Err(value("the number has more digits than the column's decimal type"));
    }
    Ok(if negative { -number } else { number })
}

fn decimal256(text: &[u8], precision: u8, scale: i8) -> Result<i256, Bad> {
    let text = std::str::from_utf8(text).map_err(|_| corrupt("a decimal that is none"))?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let missing = usize::try_from(scale).ok().and_then(|scale| scale.checked_sub(fraction.len()));
    let missing = missing.ok_or_else(|| value("the number has more digits than the column's decimal type"))?;
    let digits = format!("{whole}{fraction}{}", "0".repeat(missing));
    if digits.trim_start_matches(['-', '0']).len() > precision.into() {
        return Err(value("the number has more digits than the column's decimal type"));
    }
    i256::from_string(&digits).ok_or_else(|| corrupt("a decimal that is none"))
}

/// The server's own form of a shape, four bytes of reference system and then WKB, as WKB, or as EWKB if there is a reference system.
pub fn shape_out(bytes: &[u8]) -> Option<Vec<u8>> {
    let (system, wkb) = bytes.split_first_chunk::<4>()?;
    if *system == [0; 4] {
        return Some(wkb.to_vec());
    }
    let (order, rest) = wkb.split_first()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let mut out = vec![*order];
    const HAS_SYSTEM: u32 = 0x2000_0000;
    // The server writes little-endian only.
    out.extend_from_slice(&(u32::from_le_bytes(*kind) | HAS_SYSTEM).to_le_bytes());
    out.extend_from_slice(system);
    out.extend_from_slice(rest);
    (*order == 1).then_some(out)
}

/// The way back.
pub fn shape_in(bytes: &[u8]) -> Option<Vec<u8>> {
    let (order, rest) = bytes.split_first()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let number = if *order == 1 { u32::from_le_bytes(*kind) } else { u32::from_be_bytes(*kind) };
    let mut out = Vec::with_capacity(bytes.len() + 4);
    if number & 0x2000_0000 == 0 {
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(bytes);
        return Some(out);
    }
    let (system, rest) = rest.split_first_chunk::<4>()?;
    let system = if *order == 1 { u32::from_le_bytes(*system) } else { u32::from_be_bytes(*system) };
    let number = number & !0x2000_0000;
    out.extend_from_slice(&system.to_le_bytes());
    out.push(*order);
    out.extend_from_slice(&if *order == 1 { number.to_le_bytes() } else { number.to_be_bytes() });
    out.extend_from_slice(rest);
    Some(out)
}

impl Column {
    fn new(column: &SourceColumn) -> Self {
        let values = match &column.travel {
            Travel::Bool | Travel::BitBool => Values::Bool(Vec::new()),
            Travel::Int8 => Values::Int8(Vec::new()),
            Travel::Int16 => Values::Int16(Vec::new()),
            Travel::Int32 | Travel::Date => Values::Int32(Vec::new()),
            Travel::Int64 | Travel::Time | Travel::DateTime | Travel::Timestamp => Values::Int64(Vec::new()),
            Travel::UInt8 => Values::UInt8(Vec::new()),
            Travel::UInt16 => Values::UInt16(Vec::new()),
            Travel::UInt32 => Values::UInt32(Vec::new()),
            Travel::UInt64 | Travel::BitNumber => Values::UInt64(Vec::new()),
            Travel::Float => Values::Float(Vec::new()),
            Travel::Double => Values::Double(Vec::new()),
            Travel::Decimal128(..) => Values::Decimal128(Vec::new()),
            Travel::Decimal256(..) => Values::Decimal256(Vec::new()),
            Travel::Text | Travel::Bytes | Travel::Geometry => Values::Bytes(Bytes { offsets: vec![0], data: Vec::new() }),
        };
        Self { travel: column.travel.clone(), lenient: column.lenient, values, validity: None, rows: 0 }
    }

    #[inline]
    fn push(&mut self, cell: Option<&[u8]>) -> Result<(), Bad> {
        match cell {
            Some(bytes) => match self.value(bytes) {
                Ok(()) => {
                    if let Some(validity) = &mut self.validity {
                        validity.append(true);
                    }
                }
                Err(Bad::Value(_)) if self.lenient => {
                    self.truncate(self.rows);
                    self.null();
                }
                Err(bad) => return Err(bad),
            },
            None => self.null(),
        }
        self.rows += 1;
        Ok(())
    }

    #[inline]
    fn value(&mut self, bytes: &[u8]) -> Result<(), Bad> {
        match (&mut self.values, &self.travel) {
            (Values::Int32(values), Travel::Date) => values.push(day(bytes)? as i32),
            (Values::Int32(values), _) => values.push(i32::from_le_bytes(fixed(bytes)?)),
            (Values::Int64(values), Travel::Int64) => values.push(i64::from_le_bytes(fixed(bytes)?)),
            (Values::Int64(values), Travel::Time) => match span(bytes)? {
                micros @ 0..DAY_MICROS => values.push(micros),
                _ => return Err(value(format!("`{}` is no time of a day", render_span(bytes)))),
            },
            (Values::Int64(values), _) => values.push(moment(bytes)?),
            (Values::Bytes(values), Travel::Text) => values.push(utf8(bytes)?)?,
            (Values::Bytes(values), Travel::Geometry) => {
                values.push(&shape_out(bytes).ok_or_else(|| corrupt("a shape in an unknown form"))?)?;
            }
            (Values::Bytes(values), _) => values.push(bytes)?,
            (Values::Decimal128(values), Travel::Decimal128(precision, scale)) => {
                values.push(decimal128(bytes, *precision, *scale)?);
            }
            (Values::Decimal256(values), Travel::Decimal256(precision, scale)) => {
                values.push(decimal256(bytes, *precision, *scale)?);
            }
            (Values::Double(values), _) => values.push(f64::from_le_bytes(fixed(bytes)?)),
            (Values::Float(values), _) => values.push(f32::from_le_bytes(fixed(bytes)?)),
            (Values::Int16(values), _) => values.push(i16::from_le_bytes(fixed(bytes)?)),
            (Values::Int8(values), _) => values.push(i8::from_le_bytes(fixed(bytes)?)),
            (Values::UInt8(values), _) => values.push(u8::from_le_bytes(fixed(bytes)?)),
            (Values::UInt16(values), _) => values.push(u16::from_le_bytes(fixed(bytes)?)),
            (Values::UInt32(values), _) => values.push(u32::from_le_bytes(fixed(bytes)?)),
            (Values::UInt64(values), Travel::UInt64) => values.push(u64::from_le_bytes(fixed(bytes)?)),
            (Values::UInt64(values), _) => values.push(bits(bytes)?),
            (Values::Bool(values), Travel::BitBool) => values.push(bits(bytes)? != 0),
            (Values::Bool(values), _) => match fixed(bytes)? {
                [number @ (0 | 1)] => values.push(number == 1),
                [number] => return Err(value(format!("{} is neither true nor false", number as i8))),
            },
            (Values::Decimal128(_) | Values::Decimal256(_), _) => return Err(corrupt("a column of another type")),
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
            Values::Int8(values) => values.push(0),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) => values.push(0),
            Values::Int64(values) => values.push(0),
            Values::UInt8(values) => values.push(0),
            Values::UInt16(values) => values.push(0),
            Values::UInt32(values) => values.push(0),
            Values::UInt64(values) => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Double(values) => values.push(0.0),
            Values::Decimal128(values) => values.push(0),
            Values::Decimal256(values) => values.push(i256::ZERO),
            Values::Bytes(values) => values.offsets.push(values.offsets.last().copied().unwrap_or(0)),
        }
    }

    /// Takes back everything after the first `rows` values, including the traces of a value that failed.
    fn truncate(&mut self, rows: usize) {
        if let Some(validity) = &mut self.validity {
            validity.truncate(rows.min(validity.len()));
        }
        match &mut self.values {
            Values::Bool(values) => values.truncate(rows),
            Values::Int8(values) => values.truncate(rows),
            Values::Int16(values) => values.truncate(rows),
            Values::Int32(values) => values.truncate(rows),
            Values::Int64(values) => values.truncate(rows),
            Values::UInt8(values) => values.truncate(rows),
            Values::UInt16(values) => values.truncate(rows),
            Values::UInt32(values) => values.truncate(rows),
            Values::UInt64(values) => values.truncate(rows),
            Values::Float(values) => values.truncate(rows),
            Values::Double(values) => values.truncate(rows),
            Values::Decimal128(values) => values.truncate(rows),
            Values::Decimal256(values) => values.truncate(rows),
            Values::Bytes(values) => {
                values.offsets.truncate(rows + 1);
                values.data.truncate(values.offsets.last().copied().unwrap_or(0) as usize);
            }
        }
        self.rows = rows;
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let rows = std::mem::take(&mut self.rows);
        let nulls = self.validity.take().map(|mut validity| NullBuffer::new(validity.finish()));
        let broken = |error: arrow::error::ArrowError| Error::internal("a column cannot be built").caused_by(error);
        Ok(match (&mut self.values, &self.travel) {
            (Values::Bool(values), _) => {
                Arc::new(BooleanArray::new(BooleanBuffer::from(std::mem::take(values)), nulls)) as ArrayRef
            }
            (Values::Int8(values), _) => primitive::<Int8Type>(values, nulls),
            (Values::Int16(values), _) => primitive::<Int16Type>(values, nulls),
            (Values::Int32(values), Travel::Date) => primitive::<Date32Type>(values, nulls),
            (Values::Int32(values), _) => primitive::<Int32Type>(values, nulls),
            (Values::Int64(values), Travel::Time) => primitive::<Time64MicrosecondType>(values, nulls),
            (Values::Int64(values), Travel::DateTime) => primitive::<TimestampMicrosecondType>(values, nulls),
            (Values::Int64(values), Travel::Timestamp) => Arc::new(
                PrimitiveArray::<TimestampMicrosecondType>::new(ScalarBuffer::from(std::mem::take(values)), nulls)
                    .with_timezone("UTC"),
            ),
            (Values::Int64(values), _) => primitive::<Int64Type>(values, nulls),
            (Values::UInt8(values), _) => primitive::<UInt8Type>(values, nulls),
            (Values::UInt16(values), _) => primitive::<UInt16Type>(values, nulls),
            (Values::UInt32(values), _) => primitive::<UInt32Type>(values, nulls),
            (Values::UInt64(values), _) => primitive::<UInt64Type>(values, nulls),
            (Values::Float(values), _) => primitive::<Float32Type>(values, nulls),
            (Values::Double(values), _) => primitive::<Float64Type>(values, nulls),
            (Values::Decimal128(values), travel) => {
                Arc::new(Decimal128Array::new(ScalarBuffer::from(std::mem::take(values)), nulls).with_data_type(travel.arrow()))
            }
            (Values::Decimal256(values), travel) => {
                Arc::new(Decimal256Array::new(ScalarBuffer::from(std::mem::take(values)), nulls).with_data_type(travel.arrow()))
            }
            (Values::Bytes(values), travel) => {
                let mut offsets = Vec::with_capacity(rows + 1);
                offsets.push(0);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(&mut values.offsets, offsets)));
                let data = Buffer::from_vec(std::mem::take(&mut values.data));
                if *travel == Travel::Text {
                    Arc::new(StringArray::try_new(offsets, data, nulls).map_err(broken)?)
                } else {
                    Arc::new(BinaryArray::try_new(offsets, data, nulls).map_err(broken)?)
                }
            }
        })
    }
}

fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    let capacity = values.len();
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(std::mem::replace(values, Vec::with_capacity(capacity))), nulls))
}

/// Up to 64 bits, the first byte highest.
fn bits(bytes: &[u8]) -> Result<u64, Bad> {
    if bytes.len() > 8 {
        return Err(corrupt("more than 64 bits"));
    }
    Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// A row that Arrow cannot hold.
#[derive(Debug)]
pub struct DeadRow {
    /// Index of the column that failed.
    pub column: usize,
    /// Why.
    pub reason: Box<str>,
    /// The row as a JSON object of texts.
    pub payload: Vec<u8>,
}

/// Collects rows into batches.
pub struct Decoder {
    schema: SchemaRef,
    columns: Vec<Column>,
    kinds: Vec<ResultColumn>,
    rows: usize,
    bytes: usize,
    dead: Vec<DeadRow>,
    /// The last row that came was taken.
    last_good: bool,
}

impl Decoder {
    /// For rows of these columns, which the server defines like that.
    pub fn new(schema: SchemaRef, columns: &[SourceColumn], kinds: Vec<ResultColumn>) -> Self {
        Self {
            schema,
            columns: columns.iter().map(Column::new).collect(),
            kinds,
            rows: 0,
            bytes: 0,
            dead: Vec::new(),
            last_good: true,
        }
    }

    /// Takes one binary row.
    pub fn feed(&mut self, body: &[u8], place: &str) -> Result<()> {
        self.bytes += body.len();
        let cut = || protocol(place, "a cut row");
        let mut cells = Cells::new(body, self.columns.len()).ok_or_else(cut)?;
        for at in 0..self.columns.len() {
            let cell = cells.next(self.kinds.get(at).map_or(kind::NULL, |column| column.kind)).ok_or_else(cut)?;
            match self.columns[at].push(cell) {
                Ok(()) => {}
                Err(Bad::Value(reason)) => {
                    for column in &mut self.columns {
                        column.truncate(self.rows);
                    }
                    let payload = self.payload(body);
                    self.dead.push(DeadRow { column: at, reason, payload });
                    self.last_good = false;
                    return Ok(());
                }
                Err(Bad::Corrupt(why)) => return Err(protocol(place, why)),
            }
        }
        self.rows += 1;
        self.last_good = true;
        Ok(())
    }

    fn payload(&self, body: &[u8]) -> Vec<u8> {
        let mut object = serde_json::Map::new();
        let Some(mut cells) = Cells::new(body, self.kinds.len()) else { return Vec::new() };
        for column in &self.kinds {
            let Some(cell) = cells.next(column.kind) else { break };
            object.insert(column.name.clone(), cell.map_or(serde_json::Value::Null, |raw| render(column, raw).into()));
        }
        let mut text = serde_json::Value::Object(object).to_string().into_bytes();
        text.truncate(1 << 20);
        text
    }

    /// Rows collected.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes taken for them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a position after the rows so far covers all of them: the last one was not a dead one.
    pub fn may_cut(&self) -> bool {
        self.last_good
    }

    /// The dead rows so far.
    pub fn take_dead(&mut self) -> Vec<DeadRow> {
        std::mem::take(&mut self.dead)
    }

    /// The rows so far, and the bytes they came in.
    pub fn take_batch(&mut self) -> Result<Option<(RecordBatch, u64)>> {
        let bytes = std::mem::take(&mut self.bytes) as u64;
        let rows = std::mem::take(&mut self.rows);
        if rows == 0 {
            return Ok(None);
        }
        let arrays = self.columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>>>()?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|error| Error::internal("a batch cannot be built").caused_by(error))?;
        Ok(Some((batch, bytes)))
    }
}

fn render_clock(bytes: &[u8]) -> String {
    let micros = clock(bytes).unwrap_or(0);
    let seconds = micros / 1_000_000;
    let fraction = micros % 1_000_000;
    let text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 { text } else { format!("{text}.{fraction:06}") }
}

fn render_span(bytes: &[u8]) -> String {
    let micros = span(bytes).unwrap_or(0);
    let (sign, micros) = if micros < 0 { ("-", -micros) } else { ("", micros) };
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let text = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 { text } else { format!("{text}.{fraction:06}") }
}

/// A binary value about as the server prints it, for people.
pub fn render(column: &ResultColumn, raw: &[u8]) -> String {
    let unsigned = column.flags & 32 != 0;
    let wide = |size: usize| {
        let mut bytes = [if !unsigned && raw.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 }; 16];
        bytes[..size.min(raw.len())].copy_from_slice(&raw[..size.min(raw.len())]);
        i128::from_le_bytes(bytes).to_string()
    };
    match column.kind {
        kind::TINY => wide(1),
        kind::SHORT | kind::YEAR => wide(2),
        kind::LONG | kind::INT24 => wide(4),
        kind::LONGLONG => wide(8),
        kind::FLOAT => fixed(raw).map(|bytes| f32::from_le_bytes(bytes).to_string()).unwrap_or_default(),
        kind::DOUBLE => fixed(raw).map(|bytes| f64::from_le_bytes(bytes).to_string()).unwrap_or_default(),
        kind::TIME => render_span(raw),
        kind::DATE | kind::DATETIME | kind::TIMESTAMP => {
            let head: [u8; 4] = raw.first_chunk().copied().unwrap_or_default();
            let date = format!("{:04}-{:02}-{:02}", u16::from_le_bytes([head[0], head[1]]), head[2], head[3]);
            if column.kind == kind::DATE { date } else { format!("{date} {}", render_clock(raw.get(4..).unwrap_or_default())) }
        }
        _ => match std::str::from_utf8(raw) {
            Ok(text) => text.to_string(),
            Err(_) => raw.iter().map(|byte| format!("{byte:02x}")).collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_over_all_eras() {
        for (ymd, expected) in [((1970, 1, 1), 0), ((2000, 2, 29), 11_016), ((1, 1, 1), -719_162), ((9999, 12, 31), 2_932_896)] {
            assert_eq!(days(ymd.0, ymd.1, ymd.2), expected);
            assert_eq!(weir_formats::civil(expected), (ymd.0, ymd.1, ymd.2));
        }
    }

    #[test]
    fn dates_that_the_calendar_lacks_are_no_values() {
        for bytes in [&[][..], &[0, 0, 0, 0], &[0xe4, 7, 0, 10], &[0xe4, 7, 2, 31], &[0, 0, 1, 1]] {
            assert!(matches!(day(bytes), Err(Bad::Value(_))), "{bytes:?}");
        }
        assert!(matches!(day(&[1, 2]), Err(Bad::Corrupt(_))));
        assert_eq!(day(&[0xe4, 7, 2, 29]).unwrap(), 18_321);
    }

    #[test]
    fn decimals_keep_every_digit() {
        assert_eq!(decimal128(b"-123.45", 10, 2).unwrap(), -12_345);
        assert_eq!(decimal128(b"7", 10, 2).unwrap(), 700);
        assert_eq!(decimal128(b"0.05", 3, 2).unwrap(), 5);
        assert!(matches!(decimal128(b"1000.00", 5, 2), Err(Bad::Value(_))));
        assert!(matches!(decimal128(b"1.234", 5, 2), Err(Bad::Value(_))));
        let digits = "9".repeat(65);
        assert_eq!(decimal256(digits.as_bytes(), 65, 0).unwrap().to_string(), digits);
        assert_eq!(decimal256(b"-1.5", 65, 30).unwrap().to_string(), format!("-15{}", "0".repeat(29)));
    }

    #[test]
    fn a_shape_survives_with_and_without_reference_system() {
        let wkb: Vec<u8> = [&[1, 1, 0, 0, 0][..], &[7; 16]].concat();
        for system in [0_u32, 4326] {
            let inner = [&system.to_le_bytes()[..], &wkb].concat();
            let out = shape_out(&inner).unwrap();
            assert_eq!(shape_in(&out).unwrap(), inner);
            assert_eq!(out.len(), wkb.len() + if system == 0 { 0 } else { 4 });
        }
    }
}
