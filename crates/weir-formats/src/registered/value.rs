//! One record between the wire and the columns: decoded whole before any of it is appended, so that a record that does not fit leaves no trace.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBufferBuilder, BooleanBuilder, Decimal128Array, Decimal256Array, FixedSizeBinaryBuilder,
    Float32Array, Float64Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, MapArray, NullArray,
    NullBufferBuilder, StringBuilder, StructArray, make_array,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalMonthDayNano, IntervalUnit, i256};
use arrow::error::ArrowError;
use weir_error::{Error, Kind, Result};

/// A value, already in the form of its column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    /// Everything of 32 bits: numbers, days, times.
    Word(i32),
    /// Everything of 64 bits: numbers (unsigned ones by their bits), times, timestamps.
    Long(i64),
    Float(f32),
    Double(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Decimal(i256),
    Interval(IntervalMonthDayNano),
    List(Vec<Value<'a>>),
    Map(Vec<(Value<'a>, Value<'a>)>),
    Record(Vec<Value<'a>>),
}

/// Grows by one value per call.
pub(super) enum Column {
    Null(usize),
    Bool(BooleanBuilder),
    Word { values: Vec<i32>, nulls: NullBufferBuilder, data_type: DataType },
    Long { values: Vec<i64>, nulls: NullBufferBuilder, data_type: DataType },
    Float(Vec<f32>, NullBufferBuilder),
    Double(Vec<f64>, NullBufferBuilder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Fixed(FixedSizeBinaryBuilder),
    Decimal { values: Vec<i256>, nulls: NullBufferBuilder, data_type: DataType },
    Interval(Vec<IntervalMonthDayNano>, NullBufferBuilder),
    List { item: FieldRef, child: Box<Column>, offsets: Vec<i32>, nulls: NullBufferBuilder },
    Map { entries: FieldRef, pair: Fields, key: Box<Column>, value: Box<Column>, offsets: Vec<i32>, nulls: NullBufferBuilder },
    Record { fields: Fields, children: Vec<Column>, valid: BooleanBufferBuilder },
}

fn nulls() -> NullBufferBuilder {
    NullBufferBuilder::new(0)
}

fn unfit(error: ArrowError) -> Error {
    Error::new("WEIR-FMT-057", Kind::Limit, "the values of a column do not fit into one batch").because(error)
}

/// A value that is none of its column's: our decoder's fault, never the record's.
fn foreign() -> Error {
    Error::internal("a value was decoded for another column")
}

impl Column {
    /// A builder for a type.
    ///
    /// # Errors
    /// A type that no registered schema leads to.
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        use DataType as D;
        Ok(match data_type {
            D::Null => Self::Null(0),
            D::Boolean => Self::Bool(BooleanBuilder::new()),
            D::Int32 | D::UInt32 | D::Date32 | D::Time32(_) => {
                Self::Word { values: Vec::new(), nulls: nulls(), data_type: data_type.clone() }
            }
            D::Int64 | D::UInt64 | D::Time64(_) | D::Timestamp(..) | D::Duration(_) => {
                Self::Long { values: Vec::new(), nulls: nulls(), data_type: data_type.clone() }
            }
            D::Float32 => Self::Float(Vec::new(), nulls()),
            D::Float64 => Self::Double(Vec::new(), nulls()),
            D::Utf8 => Self::Text(StringBuilder::new()),
            D::Binary => Self::Bytes(BinaryBuilder::new()),
            D::FixedSizeBinary(width) => Self::Fixed(FixedSizeBinaryBuilder::new(*width)),
            D::Decimal128(..) | D::Decimal256(..) => {
                Self::Decimal { values: Vec::new(), nulls: nulls(), data_type: data_type.clone() }
            }
            D::Interval(IntervalUnit::MonthDayNano) => Self::Interval(Vec::new(), nulls()),
            D::List(item) => {
                Self::List { item: item.clone(), child: Box::new(Self::new(item.data_type())?), offsets: vec![0], nulls: nulls() }
            }
            D::Map(entries, _) => {
                let D::Struct(pair) = entries.data_type() else { return Err(foreign()) };
                let [key, value] = pair.as_ref() else { return Err(foreign()) };
                Self::Map {
                    entries: entries.clone(),
                    pair: pair.clone(),
                    key: Box::new(Self::new(key.data_type())?),
                    value: Box::new(Self::new(value.data_type())?),
                    offsets: vec![0],
                    nulls: nulls(),
                }
            }
            D::Struct(fields) => Self::Record {
                children: fields.iter().map(|field| Self::new(field.data_type())).collect::<Result<_>>()?,
                fields: fields.clone(),
                valid: BooleanBufferBuilder::new(0),
            },
            other => return Err(Error::internal(format!("no registered schema has {other}"))),
        })
    }

    /// Appends a value.
    ///
    /// # Errors
    /// Only what is wrong with this program, or more than 2^31 elements.
    pub(super) fn push(&mut self, value: Value<'_>) -> Result<()> {
        match (self, value) {
            (Self::Null(count), Value::Null) => *count += 1,
            (Self::Bool(column), Value::Bool(value)) => column.append_value(value),
            (Self::Bool(column), Value::Null) => column.append_null(),
            (Self::Word { values, nulls, .. }, Value::Word(value)) => {
                values.push(value);
                nulls.append_non_null();
            }
            (Self::Word { values, nulls, .. }, Value::Null) => {
                values.push(0);
                nulls.append_null();
            }
            (Self::Long { values, nulls, .. }, Value::Long(value)) => {
                values.push(value);
                nulls.append_non_null();
            }
            (Self::Long { values, nulls, .. }, Value::Null) => {
                values.push(0);
                nulls.append_null();
            }
            (Self::Float(values, nulls), Value::Float(value)) => {
                values.push(value);
                nulls.append_non_null();
            }
            (Self::Float(values, nulls), Value::Null) => {
                values.push(0.0);
                nulls.append_null();
            }
            (Self::Double(values, nulls), Value::Double(value)) => {
                values.push(value);
                nulls.append_non_null();
            }
            (Self::Double(values, nulls), Value::Null) => {
                values.push(0.0);
                nulls.append_null();
            }
            (Self::Text(column), Value::Text(text)) => column.append_value(text),
            (Self::Text(column), Value::Null) => column.append_null(),
            (Self::Bytes(column), Value::Bytes(bytes)) => column.append_value(bytes),
            (Self::Bytes(column), Value::Null) => column.append_null(),
            (Self::Fixed(column), Value::Bytes(bytes)) => column.append_value(bytes).map_err(unfit)?,
            (Self::Fixed(column), Value::Null) => column.append_null(),
            (Self::Decimal { values, nulls, .. }, Value::Decimal(value)) => {
                values.push(value);
                nulls.append_non_null();
            }
            (Self::Decimal { values, nulls, .. }, Value::Null) => {
                values.push(i256::ZERO);
                nulls.append_null();
            }
            (Self::Interval(values, nulls), Value::Interval(value)) => {
                values.push(value);
                nulls.append_non_null();
            }
            (Self::Interval(values, nulls), Value::Null) => {
                values.push(IntervalMonthDayNano::default());
                nulls.append_null();
            }
            (Self::List { child, offsets, nulls, .. }, Value::List(items)) => {
                offsets.push(advanced(offsets, items.len())?);
                nulls.append_non_null();
                for item in items {
                    child.push(item)?;
                }
            }
            (Self::List { offsets, nulls, .. }, Value::Null) => {
                offsets.push(advanced(offsets, 0)?);
                nulls.append_null();
            }
            (Self::Map { key, value, offsets, nulls, .. }, Value::Map(items)) => {
                offsets.push(advanced(offsets, items.len())?);
                nulls.append_non_null();
                for (name, item) in items {
                    key.push(name)?;
                    value.push(item)?;
                }
            }
            (Self::Map { offsets, nulls, .. }, Value::Null) => {
                offsets.push(advanced(offsets, 0)?);
                nulls.append_null();
            }
            (Self::Record { children, valid, .. }, Value::Record(values)) => {
                if values.len() != children.len() {
                    return Err(foreign());
                }
                valid.append(true);
                for (child, value) in children.iter_mut().zip(values) {
                    child.push(value)?;
                }
            }
            (Self::Record { children, valid, .. }, Value::Null) => {
                valid.append(false);
                // Behind a record that is NULL its members may be so too, whatever they say of themselves.
                for child in children {
                    child.push(Value::Null)?;
                }
            }
            _ => return Err(foreign()),
        }
        Ok(())
    }

    /// The column; the builder is empty afterwards.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Null(count) => Arc::new(NullArray::new(std::mem::take(count))),
            Self::Bool(column) => Arc::new(column.finish()),
            Self::Word { values, nulls, data_type } => {
                let plain = Int32Array::try_new(ScalarBuffer::from(std::mem::take(values)), nulls.finish()).map_err(unfit)?;
                retyped(Arc::new(plain), data_type)?
            }
            Self::Long { values, nulls, data_type } => {
                let plain = Int64Array::try_new(ScalarBuffer::from(std::mem::take(values)), nulls.finish()).map_err(unfit)?;
                retyped(Arc::new(plain), data_type)?
            }
            Self::Float(values, nulls) => {
                Arc::new(Float32Array::try_new(ScalarBuffer::from(std::mem::take(values)), nulls.finish()).map_err(unfit)?)
            }
            Self::Double(values, nulls) => {
                Arc::new(Float64Array::try_new(ScalarBuffer::from(std::mem::take(values)), nulls.finish()).map_err(unfit)?)
            }
            Self::Text(column) => Arc::new(column.finish()),
            Self::Bytes(column) => Arc::new(column.finish()),
            Self::Fixed(column) => Arc::new(column.finish()),
            Self::Decimal { values, nulls, data_type } => {
                let values = std::mem::take(values);
                if matches!(data_type, DataType::Decimal128(..)) {
                    let narrow =
                        values.into_iter().map(|value| value.to_i128().ok_or_else(foreign)).collect::<Result<Vec<_>>>()?;
                    let plain = Decimal128Array::try_new(ScalarBuffer::from(narrow), nulls.finish()).map_err(unfit)?;
                    retyped(Arc::new(plain), data_type)?
                } else {
                    let plain = Decimal256Array::try_new(ScalarBuffer::from(values), nulls.finish()).map_err(unfit)?;
                    retyped(Arc::new(plain), data_type)?
                }
            }
            Self::Interval(values, nulls) => Arc::new(
                IntervalMonthDayNanoArray::try_new(ScalarBuffer::from(std::mem::take(values)), nulls.finish()).map_err(unfit)?,
            ),
            Self::List { item, child, offsets, nulls } => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(offsets, vec![0])));
                Arc::new(ListArray::try_new(item.clone(), offsets, child.finish()?, nulls.finish()).map_err(unfit)?)
            }
            Self::Map { entries, pair, key, value, offsets, nulls } => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(offsets, vec![0])));
                let columns = vec![key.finish()?, value.finish()?];
                let inside = StructArray::try_new(pair.clone(), columns, None).map_err(unfit)?;
                Arc::new(MapArray::try_new(entries.clone(), offsets, inside, nulls.finish(), false).map_err(unfit)?)
            }
            Self::Record { fields, children, valid } => {
                let rows = valid.len();
                let valid = valid.finish();
                let nulls = Some(arrow::buffer::NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
                let columns = children.iter_mut().map(Column::finish).collect::<Result<Vec<_>>>()?;
                if columns.is_empty() {
                    Arc::new(StructArray::new_empty_fields(rows, nulls))
                } else {
                    Arc::new(StructArray::try_new(fields.clone(), columns, nulls).map_err(unfit)?)
                }
            }
        })
    }
}

/// The same bits under another type of the same width.
fn retyped(plain: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if plain.data_type() == data_type {
        return Ok(plain);
    }
    let data = plain.to_data().into_builder().data_type(data_type.clone()).build().map_err(unfit)?;
    Ok(make_array(data))
}

fn advanced(offsets: &[i32], more: usize) -> Result<i32> {
    let last = offsets.last().copied().unwrap_or_default();
    i32::try_from(more).ok().and_then(|more| last.checked_add(more)).ok_or_else(|| {
        Error::new("WEIR-FMT-057", Kind::Limit, "a list column has more than 2^31 elements in one batch")
            .hint("lower the size of batches")
    })
}

/// The field of a map's entries, as Arrow's own builders name them.
pub(super) fn map_type(key: DataType, value: Field) -> DataType {
    let pair = Fields::from(vec![Field::new("key", key, false), value.with_name("value")]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(pair), false)), false)
}

/// The field of a list's items.
pub(super) fn list_type(item: Field) -> DataType {
    DataType::List(Arc::new(item.with_name("item")))
}
