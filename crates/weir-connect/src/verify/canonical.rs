//! The canonical forms of [`super`] for Arrow rows: what a server computes in SQL, computed here.
//!
//! Times are compared to the microsecond. What is no JSON is compared as text where JSON is meant. Not here: nested types.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Field, Float32Type, Float64Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType,
    TimeUnit, TimestampMicrosecondType,
};
use arrow::util::display::array_value_to_string;
use sha2::{Digest, Sha256};
use weir_error::{Error, Result};

use super::{Comparison, Form, json};
use crate::fidelity::LOGICAL_TYPE;

/// Days from 1970-01-01 to 2000-01-01.
const DAYS: i32 = 10_957;
/// The same in microseconds.
const MICROS: i64 = DAYS as i64 * 86_400_000_000;

/// The form of a field's values; `None` if there is none for its type.
pub fn form(field: &Field) -> Option<Form> {
    let logical = field.metadata().get(LOGICAL_TYPE).map(String::as_str);
    Some(match field.data_type() {
        DataType::Boolean => Form::Bool,
        DataType::Float32 => Form::Float32,
        DataType::Float64 => Form::Float64,
        data if data.is_integer() || matches!(data, DataType::Decimal128(..) | DataType::Decimal256(..)) => Form::Number,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => match logical {
            Some("json") => Form::JsonText,
            Some("jsonb") => Form::Json,
            _ => Form::Text,
        },
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Form::Bytes,
        DataType::Date32 | DataType::Date64 => Form::Date,
        DataType::Time32(_) | DataType::Time64(_) => Form::Time,
        DataType::Timestamp(_, None) => Form::Timestamp,
        DataType::Timestamp(_, Some(_)) => Form::TimestampTz,
        DataType::Interval(IntervalUnit::MonthDayNano) => Form::Interval,
        _ => return None,
    })
}

/// Whether values of this type can be brought into this form here.
pub fn computable(data: &DataType, wanted: Form) -> bool {
    let text = matches!(data, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    match wanted {
        Form::Json => text,
        Form::Text | Form::JsonText => {
            let decimal = matches!(data, DataType::Decimal128(..) | DataType::Decimal256(..));
            text || *data == DataType::Boolean || decimal || data.is_integer()
        }
        Form::Number if *data == DataType::Boolean => true,
        Form::Float64 => matches!(data, DataType::Float32 | DataType::Float64),
        // A column without zone may hold moments in UTC.
        Form::TimestampTz => matches!(data, DataType::Timestamp(..)),
        _ => form(&Field::new("", data.clone(), true)) == Some(wanted),
    }
}

/// The first 128 bits of the SHA-256.
pub fn hash(bytes: &[u8]) -> u128 {
    let digest = Sha256::digest(bytes);
    digest.iter().take(16).fold(0, |number, byte| (number << 8) | u128::from(*byte))
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::internal("a column cannot be brought into its canonical form").because(error)
}

/// One column of a batch.
struct Cells {
    array: ArrayRef,
    form: Form,
}

impl Cells {
    fn new(array: &ArrayRef, form: Form) -> Result<Self> {
        let data = match form {
            Form::Bool => DataType::Boolean,
            Form::Number if *array.data_type() == DataType::Boolean => {
                let bits = cast(array, &DataType::UInt8).map_err(broken)?;
                return Ok(Self { array: cast(&bits, &DataType::Utf8).map_err(broken)?, form });
            }
            Form::Number | Form::Text | Form::JsonText | Form::Json => DataType::Utf8,
            Form::Float32 => DataType::Float32,
            Form::Float64 => DataType::Float64,
            Form::Bytes => DataType::Binary,
            Form::Date => DataType::Date32,
            Form::Time => DataType::Time64(TimeUnit::Microsecond),
            // A time zone is only how a moment is shown.
            Form::Timestamp | Form::TimestampTz => match array.data_type() {
                DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
                _ => DataType::Timestamp(TimeUnit::Microsecond, None),
            },
            Form::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
        };
        Ok(Self { array: cast(array, &data).map_err(broken)?, form })
    }

    /// The form of a value; `None` for NULL.
    fn push(&self, row: usize, out: &mut String) -> Option<()> {
        let array = &self.array;
        if array.is_null(row) {
            return None;
        }
        // Writing to a string cannot fail.
        let _ = match self.form {
            Form::Bool => write!(out, "{}", array.as_boolean().value(row)),
            Form::Number => {
                let text = array.as_string::<i32>().value(row);
                let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
                write!(out, "{text}")
            }
            Form::Float32 => match array.as_primitive::<Float32Type>().value(row) {
                value if value.is_nan() => write!(out, "NaN"),
                value => write!(out, "{:08x}", value.to_bits()),
            },
            Form::Float64 => match array.as_primitive::<Float64Type>().value(row) {
                value if value.is_nan() => write!(out, "NaN"),
                value => write!(out, "{:016x}", value.to_bits()),
            },
            Form::Text | Form::JsonText => write!(out, "{:032x}", hash(array.as_string::<i32>().value(row).as_bytes())),
            Form::Json => {
                let text = array.as_string::<i32>().value(row);
                write!(out, "{:032x}", hash(json::canonical(text).as_deref().unwrap_or(text).as_bytes()))
            }
            Form::Bytes => write!(out, "{:032x}", hash(array.as_binary::<i32>().value(row))),
            Form::Date => write!(out, "{:08x}", array.as_primitive::<Date32Type>().value(row).wrapping_sub(DAYS)),
            Form::Time => write!(out, "{:016x}", array.as_primitive::<Time64MicrosecondType>().value(row)),
            Form::Timestamp | Form::TimestampTz => {
                write!(out, "{:016x}", array.as_primitive::<TimestampMicrosecondType>().value(row).wrapping_sub(MICROS))
            }
            Form::Interval => {
                let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
                write!(out, "{:016x}{:08x}{:08x}", value.nanoseconds / 1000, value.days, value.months)
            }
        };
        Some(())
    }
}

/// The compared columns of a batch.
pub struct Canonical {
    cells: Vec<Cells>,
    key: Vec<usize>,
    printed: Vec<ArrayRef>,
    text: String,
}

impl Canonical {
    /// Finds the columns by their names.
    pub fn new(batch: &RecordBatch, comparison: &Comparison) -> Result<Self> {
        let find = |name: &str| batch.column_by_name(name).ok_or_else(|| broken(format!("`{name}` is not there")));
        let cells = comparison.columns.iter().map(|(name, form)| Cells::new(find(name)?, *form)).collect::<Result<_>>()?;
        let printed = match comparison.keyed {
            true => comparison.key_names().map(|name| find(name).cloned()).collect::<Result<_>>()?,
            false => Vec::new(),
        };
        Ok(Self { cells, key: comparison.key.clone(), printed, text: String::new() })
    }

    fn hash_of(&mut self, row: usize, columns: impl Iterator<Item = usize>) -> u128 {
        self.text.clear();
        for (at, column) in columns.enumerate() {
            if at > 0 {
                self.text.push(',');
            }
            if self.cells[column].push(row, &mut self.text).is_none() {
                self.text.push('N');
            }
        }
        hash(self.text.as_bytes())
    }

    /// Hash of a row's key.
    pub fn key(&mut self, row: usize) -> u128 {
        let key = std::mem::take(&mut self.key);
        let hash = self.hash_of(row, key.iter().copied());
        self.key = key;
        hash
    }

    /// Hash of a row.
    pub fn row(&mut self, row: usize) -> u128 {
        self.hash_of(row, 0..self.cells.len())
    }

    /// The forms of a row's columns.
    pub fn forms(&self, row: usize) -> Vec<Option<String>> {
        let form = |cells: &Cells| {
            let mut text = String::new();
            cells.push(row, &mut text).map(|()| text)
        };
        self.cells.iter().map(form).collect()
    }

    /// The columns of a row's key as text that any system reads.
    pub fn values(&self, row: usize) -> Result<Vec<Option<String>>> {
        let print = |array: &ArrayRef| {
            if array.is_null(row) {
                return Ok(None);
            }
            let text = array_value_to_string(array, row).map_err(broken)?;
            let binary = matches!(array.data_type(), DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
            Ok(Some(if binary { format!("\\x{text}") } else { text }))
        };
        self.printed.iter().map(print).collect()
    }
}
