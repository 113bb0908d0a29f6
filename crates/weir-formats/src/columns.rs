//! Column builders that take texts. The loops over cells are compiled per type: no dispatch and no allocation per value.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, FixedSizeBinaryArray, LargeBinaryArray, LargeStringArray,
    NullBufferBuilder, PrimitiveArray, StringArray, new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use base64::Engine;
use weir_error::{Error, Result};

use crate::csv::scan::CsvCells;
use crate::scalar;

/// One cell of a text file.
pub(crate) enum Cell<'a> {
    /// No value.
    Null,
    /// The value's text.
    Text(&'a [u8]),
    /// The value's text, quotes removed.
    Owned(Vec<u8>),
    /// Quoting that makes no sense.
    Malformed,
}

/// Grows by one value per call, whatever happens: a value that does not fit leaves a NULL in its place and the caller drops the
/// row.
pub(crate) trait TextColumn: Send {
    /// Whether the text is a value of the type.
    fn push(&mut self, text: &[u8]) -> bool;
    fn push_null(&mut self);
    fn finish(&mut self) -> Result<ArrayRef>;

    /// Appends a column's cells; rows that do not fit are added to `bad`. Compiled per builder.
    fn extend(&mut self, cells: &CsvCells<'_>, bad: &mut Vec<u32>);
}

#[inline(always)]
pub(crate) fn extend_from<C: TextColumn + ?Sized>(column: &mut C, cells: &CsvCells<'_>, bad: &mut Vec<u32>) {
    for row in 0..cells.rows() {
        let fits = match cells.cell(row) {
            Cell::Text(text) => column.push(text),
            Cell::Null => {
                column.push_null();
                true
            }
            Cell::Owned(text) => column.push(&text),
            Cell::Malformed => {
                column.push_null();
                false
            }
        };
        if !fits {
            bad.push(row as u32);
        }
    }
}

/// A builder for a type, or `None` if values of the type have no text form here (nested types are JSON's business).
pub(crate) fn text_column(data_type: &DataType, strict: bool) -> Option<Box<dyn TextColumn>> {
    fn int<T>(data_type: &DataType, strict: bool) -> Option<Box<dyn TextColumn>>
    where
        T: ArrowPrimitiveType,
        T::Native: TryFrom<i64>,
    {
        Some(primitive::<T, _>(data_type, move |text| T::Native::try_from(scalar::parse_i64(text, strict)?).ok()))
    }
    fn time<T>(data_type: &DataType, nanos_per: i64) -> Option<Box<dyn TextColumn>>
    where
        T: ArrowPrimitiveType,
        T::Native: TryFrom<i64>,
    {
        Some(primitive::<T, _>(data_type, move |text| {
            let nanos = scalar::parse_time(text)?;
            if nanos % nanos_per != 0 {
                return None;
            }
            T::Native::try_from(nanos / nanos_per).ok()
        }))
    }
    fn timestamp<T>(data_type: &DataType, unit: TimeUnit, zoned: bool) -> Option<Box<dyn TextColumn>>
    where
        T: ArrowPrimitiveType<Native = i64>,
    {
        Some(primitive::<T, _>(data_type, move |text| {
            let moment = scalar::parse_moment(text)?;
            if moment.offset.is_some() != zoned {
                return None;
            }
            moment.in_unit(unit)
        }))
    }
    match data_type {
        DataType::Boolean => Some(Box::new(Bools { values: Vec::new(), nulls: NullBufferBuilder::new(0), strict })),
        DataType::Int8 => int::<Int8Type>(data_type, strict),
        DataType::Int16 => int::<Int16Type>(data_type, strict),
        DataType::Int32 => int::<Int32Type>(data_type, strict),
        DataType::Int64 => int::<Int64Type>(data_type, strict),
        DataType::UInt8 => int::<UInt8Type>(data_type, strict),
        DataType::UInt16 => int::<UInt16Type>(data_type, strict),
        DataType::UInt32 => int::<UInt32Type>(data_type, strict),
        DataType::UInt64 => Some(primitive::<UInt64Type, _>(data_type, move |text| scalar::parse_u64(text, strict))),
        DataType::Float32 => Some(primitive::<Float32Type, _>(data_type, parse_f32)),
        DataType::Float64 => Some(primitive::<Float64Type, _>(data_type, move |text| scalar::parse_f64(text, strict))),
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = (*precision, *scale);
            Some(primitive::<Decimal128Type, _>(data_type, move |text| scalar::parse_decimal(text, precision, scale)))
        }
        DataType::Decimal256(precision, scale) => {
            let (precision, scale) = (*precision, *scale);
            Some(primitive::<Decimal256Type, _>(data_type, move |text| scalar::parse_decimal256(text, precision, scale)))
        }
        DataType::Date32 => Some(primitive::<Date32Type, _>(data_type, scalar::parse_date)),
        DataType::Date64 => {
            Some(primitive::<Date64Type, _>(data_type, |text| Some(i64::from(scalar::parse_date(text)?) * 86_400_000)))
        }
        DataType::Time32(TimeUnit::Second) => time::<Time32SecondType>(data_type, 1_000_000_000),
        DataType::Time32(TimeUnit::Millisecond) => time::<Time32MillisecondType>(data_type, 1_000_000),
        DataType::Time64(TimeUnit::Microsecond) => time::<Time64MicrosecondType>(data_type, 1_000),
        DataType::Time64(TimeUnit::Nanosecond) => time::<Time64NanosecondType>(data_type, 1),
        DataType::Timestamp(unit, zone) => {
            let zoned = zone.is_some();
            match unit {
                TimeUnit::Second => timestamp::<TimestampSecondType>(data_type, *unit, zoned),
                TimeUnit::Millisecond => timestamp::<TimestampMillisecondType>(data_type, *unit, zoned),
                TimeUnit::Microsecond => timestamp::<TimestampMicrosecondType>(data_type, *unit, zoned),
                TimeUnit::Nanosecond => timestamp::<TimestampNanosecondType>(data_type, *unit, zoned),
            }
        }
        DataType::Utf8 => Some(Box::new(Bytes32::new(false))),
        DataType::Binary => Some(Box::new(Bytes32::new(true))),
        DataType::LargeUtf8 => Some(Box::new(Bytes64::new(false))),
        DataType::LargeBinary => Some(Box::new(Bytes64::new(true))),
        DataType::FixedSizeBinary(width) => {
            Some(Box::new(Fixed { width: *width, values: Vec::new(), nulls: NullBufferBuilder::new(0) }))
        }
        DataType::Null => Some(Box::new(Nulls { count: 0 })),
        _ => None,
    }
}

fn parse_f32(text: &[u8]) -> Option<f32> {
    let wide = scalar::parse_f64(text, false)?;
    if !wide.is_finite() {
        return Some(wide as f32);
    }
    // From the text, not from the double: rounding twice can be off by one.
    let value: f32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (value.is_finite() && (value != 0.0 || wide == 0.0)).then_some(value)
}

pub(crate) fn broken(error: ArrowError) -> Error {
    Error::internal("a column could not be built").because(error)
}

struct Primitive<T: ArrowPrimitiveType, P> {
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
    data_type: DataType,
    parse: P,
}

fn primitive<T, P>(data_type: &DataType, parse: P) -> Box<dyn TextColumn>
where
    T: ArrowPrimitiveType,
    P: Fn(&[u8]) -> Option<T::Native> + Send + 'static,
{
    Box::new(Primitive::<T, P> { values: Vec::new(), nulls: NullBufferBuilder::new(0), data_type: data_type.clone(), parse })
}

impl<T, P> TextColumn for Primitive<T, P>
where
    T: ArrowPrimitiveType,
    P: Fn(&[u8]) -> Option<T::Native> + Send + 'static,
{
    #[inline(always)]
    fn push(&mut self, text: &[u8]) -> bool {
        match (self.parse)(text) {
            Some(value) => {
                self.values.push(value);
                self.nulls.append_non_null();
                true
            }
            None => {
                self.push_null();
                false
            }
        }
    }

    #[inline(always)]
    fn push_null(&mut self) {
        self.values.push(T::Native::default());
        self.nulls.append_null();
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let count = self.values.len();
        let values = std::mem::replace(&mut self.values, Vec::with_capacity(count));
        let array = PrimitiveArray::<T>::try_new(ScalarBuffer::from(values), self.nulls.finish()).map_err(broken)?;
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }

    fn extend(&mut self, cells: &CsvCells<'_>, bad: &mut Vec<u32>) {
        extend_from(self, cells, bad);
    }
}

struct Bools {
    values: Vec<bool>,
    nulls: NullBufferBuilder,
    strict: bool,
}

impl TextColumn for Bools {
    fn push(&mut self, text: &[u8]) -> bool {
        match scalar::parse_bool(text, self.strict) {
            Some(value) => {
                self.values.push(value);
                self.nulls.append_non_null();
                true
            }
            None => {
                self.push_null();
                false
            }
        }
    }

    fn push_null(&mut self) {
        self.values.push(false);
        self.nulls.append_null();
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let values = BooleanBuffer::from(std::mem::take(&mut self.values));
        Ok(Arc::new(BooleanArray::new(values, self.nulls.finish())))
    }

    fn extend(&mut self, cells: &CsvCells<'_>, bad: &mut Vec<u32>) {
        extend_from(self, cells, bad);
    }
}

/// Text, or binary written as base64, with 32-bit offsets.
struct Bytes32 {
    values: Vec<u8>,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
    base64: bool,
}

impl Bytes32 {
    fn new(base64: bool) -> Self {
        Self { values: Vec::new(), offsets: vec![0], nulls: NullBufferBuilder::new(0), base64 }
    }
}

impl TextColumn for Bytes32 {
    #[inline(always)]
    fn push(&mut self, text: &[u8]) -> bool {
        let before = self.values.len();
        let fits = if self.base64 {
            base64::engine::general_purpose::STANDARD.decode_vec(text, &mut self.values).is_ok()
        } else {
            self.values.extend_from_slice(text);
            true
        };
        match i32::try_from(self.values.len()) {
            Ok(end) if fits => {
                self.offsets.push(end);
                self.nulls.append_non_null();
                true
            }
            _ => {
                self.values.truncate(before);
                self.push_null();
                false
            }
        }
    }

    #[inline(always)]
    fn push_null(&mut self) {
        self.offsets.push(self.values.len() as i32);
        self.nulls.append_null();
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        // A little more than this time: a batch that is larger by a row would be copied to twice the room.
        let (size, count) = (self.values.len() + self.values.len() / 16, self.offsets.len() + self.offsets.len() / 16);
        let values = Buffer::from(std::mem::replace(&mut self.values, Vec::with_capacity(size)));
        let mut next = Vec::with_capacity(count);
        next.push(0);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(&mut self.offsets, next)));
        let nulls = self.nulls.finish();
        Ok(if self.base64 {
            Arc::new(BinaryArray::try_new(offsets, values, nulls).map_err(broken)?)
        } else {
            Arc::new(StringArray::try_new(offsets, values, nulls).map_err(broken)?)
        })
    }

    fn extend(&mut self, cells: &CsvCells<'_>, bad: &mut Vec<u32>) {
        extend_from(self, cells, bad);
    }
}

/// The same with 64-bit offsets.
struct Bytes64 {
    values: Vec<u8>,
    offsets: Vec<i64>,
    nulls: NullBufferBuilder,
    base64: bool,
}

impl Bytes64 {
    fn new(base64: bool) -> Self {
        Self { values: Vec::new(), offsets: vec![0], nulls: NullBufferBuilder::new(0), base64 }
    }
}

impl TextColumn for Bytes64 {
    fn push(&mut self, text: &[u8]) -> bool {
        let before = self.values.len();
        let fits = if self.base64 {
            base64::engine::general_purpose::STANDARD.decode_vec(text, &mut self.values).is_ok()
        } else {
            self.values.extend_from_slice(text);
            true
        };
        if !fits {
            self.values.truncate(before);
            self.push_null();
            return false;
        }
        self.offsets.push(self.values.len() as i64);
        self.nulls.append_non_null();
        true
    }

    fn push_null(&mut self) {
        self.offsets.push(self.values.len() as i64);
        self.nulls.append_null();
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let values = Buffer::from(std::mem::take(&mut self.values));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(&mut self.offsets, vec![0])));
        let nulls = self.nulls.finish();
        Ok(if self.base64 {
            Arc::new(LargeBinaryArray::try_new(offsets, values, nulls).map_err(broken)?)
        } else {
            Arc::new(LargeStringArray::try_new(offsets, values, nulls).map_err(broken)?)
        })
    }

    fn extend(&mut self, cells: &CsvCells<'_>, bad: &mut Vec<u32>) {
        extend_from(self, cells, bad);
    }
}

/// Binary of one width, written as base64.
struct Fixed {
    width: i32,
    values: Vec<u8>,
    nulls: NullBufferBuilder,
}

impl TextColumn for Fixed {
    fn push(&mut self, text: &[u8]) -> bool {
        let before = self.values.len();
        let fits = base64::engine::general_purpose::STANDARD.decode_vec(text, &mut self.values).is_ok();
        if fits && self.values.len() - before == self.width as usize {
            self.nulls.append_non_null();
            return true;
        }
        self.values.truncate(before);
        self.push_null();
        false
    }

    fn push_null(&mut self) {
        self.values.resize(self.values.len() + self.width as usize, 0);
        self.nulls.append_null();
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let values = Buffer::from(std::mem::take(&mut self.values));
        Ok(Arc::new(FixedSizeBinaryArray::try_new(self.width, values, self.nulls.finish()).map_err(broken)?))
    }

    fn extend(&mut self, cells: &CsvCells<'_>, bad: &mut Vec<u32>) {
        extend_from(self, cells, bad);
    }
}

/// A column that holds nothing.
struct Nulls {
    count: usize,
}

impl TextColumn for Nulls {
    fn push(&mut self, _text: &[u8]) -> bool {
        self.push_null();
        false
    }

    fn push_null(&mut self) {
        self.count += 1;
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(new_null_array(&DataType::Null, std::mem::take(&mut self.count)))
    }

    fn extend(&mut self, cells: &CsvCells<'_>, bad: &mut Vec<u32>) {
        extend_from(self, cells, bad);
    }
}

/// Leaves out the rows that are marked bad.
pub(crate) fn without_rows(columns: Vec<ArrayRef>, bad: &[u32], rows: usize) -> Result<Vec<ArrayRef>> {
    if bad.is_empty() {
        return Ok(columns);
    }
    let mut keep = vec![true; rows];
    for &row in bad {
        keep[row as usize] = false;
    }
    let keep = BooleanArray::from(keep);
    columns.iter().map(|column| arrow::compute::filter(column, &keep).map_err(broken)).collect()
}
