//! Values to texts, for the text formats: the shortest form that reads back as the same value.

use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float16Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use base64::Engine;
use weir_error::{Error, Result};

/// Appends the text of one row's value. Only called for rows that are not NULL.
pub(crate) type WriteText<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// How a value's text stands in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A number or a truth value, as it is.
    Bare,
    /// A floating point number: as it is if finite, else as text.
    Float,
    /// Text that needs escaping.
    Text,
    /// Text without anything to escape.
    PlainText,
}

/// Dictionary arrays become plain ones; everything else stays.
pub(crate) fn flat(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Dictionary(_, value) => arrow::compute::cast(array, value).map_err(crate::columns::broken),
        _ => Ok(array.clone()),
    }
}

fn ints<'a, T>(array: &'a dyn Array) -> (Form, WriteText<'a>)
where
    T: arrow::array::ArrowPrimitiveType,
    T::Native: std::fmt::Display,
{
    let values = array.as_primitive::<T>().values();
    (Form::Bare, Box::new(move |row, out| print(out, format_args!("{}", values[row]))))
}

fn print(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing into memory does not fail.
    let _infallible = out.write_fmt(text);
}

/// The form and writer of a scalar column; `None` for nested types and types without a text.
pub(crate) fn scalar_text(array: &dyn Array) -> Option<(Form, WriteText<'_>)> {
    fn clock<T: arrow::array::ArrowPrimitiveType>(array: &dyn Array, unit: TimeUnit) -> (Form, WriteText<'_>)
    where
        T::Native: Into<i64>,
    {
        let values = array.as_primitive::<T>().values();
        (
            Form::PlainText,
            Box::new(move |row, out| {
                let (seconds, fraction) = split_seconds(values[row].into(), unit);
                write_clock(out, seconds, fraction, unit);
            }),
        )
    }
    fn stamp<T>(array: &dyn Array, unit: TimeUnit, zoned: bool) -> (Form, WriteText<'_>)
    where
        T: arrow::array::ArrowPrimitiveType<Native = i64>,
    {
        let values = array.as_primitive::<T>().values();
        (
            Form::PlainText,
            Box::new(move |row, out| {
                let (seconds, fraction) = split_seconds(values[row], unit);
                write_date(out, seconds.div_euclid(86_400));
                out.push(b'T');
                write_clock(out, seconds.rem_euclid(86_400), fraction, unit);
                if zoned {
                    out.push(b'Z');
                }
            }),
        )
    }
    fn duration<T>(array: &dyn Array, unit: TimeUnit) -> (Form, WriteText<'_>)
    where
        T: arrow::array::ArrowPrimitiveType<Native = i64>,
    {
        let values = array.as_primitive::<T>().values();
        (
            Form::PlainText,
            Box::new(move |row, out| {
                out.extend_from_slice(b"PT");
                write_signed_seconds(out, i128::from(values[row]), unit);
                out.push(b'S');
            }),
        )
    }
    Some(match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean();
            (Form::Bare, Box::new(move |row, out| out.extend_from_slice(if values.value(row) { b"true" } else { b"false" })))
        }
        DataType::Int8 => ints::<Int8Type>(array),
        DataType::Int16 => ints::<Int16Type>(array),
        DataType::Int32 => ints::<Int32Type>(array),
        DataType::Int64 => ints::<Int64Type>(array),
        DataType::UInt8 => ints::<UInt8Type>(array),
        DataType::UInt16 => ints::<UInt16Type>(array),
        DataType::UInt32 => ints::<UInt32Type>(array),
        DataType::UInt64 => ints::<UInt64Type>(array),
        DataType::Float16 => {
            let values = array.as_primitive::<Float16Type>().values();
            (Form::Float, Box::new(move |row, out| print(out, format_args!("{:?}", values[row].to_f32()))))
        }
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            (Form::Float, Box::new(move |row, out| print(out, format_args!("{:?}", values[row]))))
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            (Form::Float, Box::new(move |row, out| print(out, format_args!("{:?}", values[row]))))
        }
        DataType::Decimal32(..) => {
            let values = array.as_primitive::<Decimal32Type>();
            (Form::Bare, Box::new(move |row, out| out.extend_from_slice(values.value_as_string(row).as_bytes())))
        }
        DataType::Decimal64(..) => {
            let values = array.as_primitive::<Decimal64Type>();
            (Form::Bare, Box::new(move |row, out| out.extend_from_slice(values.value_as_string(row).as_bytes())))
        }
        DataType::Decimal128(..) => {
            let values = array.as_primitive::<Decimal128Type>();
            (Form::Bare, Box::new(move |row, out| out.extend_from_slice(values.value_as_string(row).as_bytes())))
        }
        DataType::Decimal256(..) => {
            let values = array.as_primitive::<Decimal256Type>();
            (Form::Bare, Box::new(move |row, out| out.extend_from_slice(values.value_as_string(row).as_bytes())))
        }
        DataType::Date32 => {
            let values = array.as_primitive::<Date32Type>().values();
            (Form::PlainText, Box::new(move |row, out| write_date(out, i64::from(values[row]))))
        }
        DataType::Date64 => {
            let values = array.as_primitive::<Date64Type>().values();
            (Form::PlainText, Box::new(move |row, out| write_date(out, values[row].div_euclid(86_400_000))))
        }
        DataType::Time32(TimeUnit::Second) => clock::<Time32SecondType>(array, TimeUnit::Second),
        DataType::Time32(_) => clock::<Time32MillisecondType>(array, TimeUnit::Millisecond),
        DataType::Time64(TimeUnit::Nanosecond) => clock::<Time64NanosecondType>(array, TimeUnit::Nanosecond),
        DataType::Time64(_) => clock::<Time64MicrosecondType>(array, TimeUnit::Microsecond),
        DataType::Timestamp(unit, zone) => match unit {
            TimeUnit::Second => stamp::<TimestampSecondType>(array, *unit, zone.is_some()),
            TimeUnit::Millisecond => stamp::<TimestampMillisecondType>(array, *unit, zone.is_some()),
            TimeUnit::Microsecond => stamp::<TimestampMicrosecondType>(array, *unit, zone.is_some()),
            TimeUnit::Nanosecond => stamp::<TimestampNanosecondType>(array, *unit, zone.is_some()),
        },
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => duration::<DurationSecondType>(array, *unit),
            TimeUnit::Millisecond => duration::<DurationMillisecondType>(array, *unit),
            TimeUnit::Microsecond => duration::<DurationMicrosecondType>(array, *unit),
            TimeUnit::Nanosecond => duration::<DurationNanosecondType>(array, *unit),
        },
        DataType::Interval(IntervalUnit::YearMonth) => {
            let values = array.as_primitive::<IntervalYearMonthType>().values();
            (Form::PlainText, Box::new(move |row, out| print(out, format_args!("P{}M", values[row]))))
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let values = array.as_primitive::<IntervalDayTimeType>().values();
            (
                Form::PlainText,
                Box::new(move |row, out| {
                    print(out, format_args!("P{}DT", values[row].days));
                    write_signed_seconds(out, i128::from(values[row].milliseconds), TimeUnit::Millisecond);
                    out.push(b'S');
                }),
            )
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>().values();
            (
                Form::PlainText,
                Box::new(move |row, out| {
                    print(out, format_args!("P{}M{}DT", values[row].months, values[row].days));
                    write_signed_seconds(out, i128::from(values[row].nanoseconds), TimeUnit::Nanosecond);
                    out.push(b'S');
                }),
            )
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            (Form::Text, Box::new(move |row, out| out.extend_from_slice(values.value(row).as_bytes())))
        }
        DataType::LargeUtf8 => {
            let values = array.as_string::<i64>();
            (Form::Text, Box::new(move |row, out| out.extend_from_slice(values.value(row).as_bytes())))
        }
        DataType::Utf8View => {
            let values = array.as_string_view();
            (Form::Text, Box::new(move |row, out| out.extend_from_slice(values.value(row).as_bytes())))
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            (Form::PlainText, Box::new(move |row, out| write_base64(out, values.value(row))))
        }
        DataType::LargeBinary => {
            let values = array.as_binary::<i64>();
            (Form::PlainText, Box::new(move |row, out| write_base64(out, values.value(row))))
        }
        DataType::BinaryView => {
            let values = array.as_binary_view();
            (Form::PlainText, Box::new(move |row, out| write_base64(out, values.value(row))))
        }
        DataType::FixedSizeBinary(_) => {
            let values = array.as_fixed_size_binary();
            (Form::PlainText, Box::new(move |row, out| write_base64(out, values.value(row))))
        }
        DataType::Null => (Form::Bare, Box::new(|_, _| {})),
        _ => return None,
    })
}

/// For a type that [`crate::check_writable`] should have refused.
pub(crate) fn no_text(data_type: &DataType) -> Error {
    Error::internal(format!("{data_type} has no text form"))
}

fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = base64::engine::general_purpose::STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or_default();
    out.truncate(start + written);
}

/// (whole seconds, rest in units), rounded down.
fn split_seconds(value: i64, unit: TimeUnit) -> (i64, i64) {
    let per_second = per_second(unit);
    (value.div_euclid(per_second), value.rem_euclid(per_second))
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

fn fraction_digits(unit: TimeUnit) -> usize {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

fn write_clock(out: &mut Vec<u8>, seconds: i64, fraction: i64, unit: TimeUnit) {
    let two = |value: i64| [b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8];
    out.extend_from_slice(&two(seconds / 3600));
    out.push(b':');
    out.extend_from_slice(&two(seconds / 60 % 60));
    out.push(b':');
    out.extend_from_slice(&two(seconds % 60));
    if fraction != 0 {
        print(out, format_args!(".{fraction:0width$}", width = fraction_digits(unit)));
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

fn write_signed_seconds(out: &mut Vec<u8>, value: i128, unit: TimeUnit) {
    let per = i128::from(per_second(unit));
    if value < 0 {
        out.push(b'-');
    }
    let value = value.abs();
    print(out, format_args!("{}", value / per));
    if value % per != 0 {
        print(out, format_args!(".{:0width$}", value % per, width = fraction_digits(unit)));
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// Year, month, day of a day since 1970-01-01 in the proleptic Gregorian calendar, years before 1 as 0 and below. Exact for
/// every day that 64-bit microseconds can name (after Hinnant, "chrono-compatible low-level date algorithms").
#[inline]
pub fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970-01-01 as `YYYY-MM-DD`; years beyond four digits with a sign, as ISO 8601 extends it.
fn write_date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = civil(days);
    if (0..=9999).contains(&year) {
        print(out, format_args!("{year:04}-{month:02}-{day:02}"));
    } else {
        print(out, format_args!("{year:+05}-{month:02}-{day:02}"));
    }
}

/// A column, flattened, ready to be written.
pub(crate) fn flat_columns(batch: &arrow::array::RecordBatch) -> Result<Vec<ArrayRef>> {
    batch.columns().iter().map(flat).collect()
}

/// Whether rows of a column can be NULL where the array has no validity of its own (`Null` arrays).
pub(crate) fn is_null(array: &dyn Array, row: usize) -> bool {
    array.is_null(row) || array.data_type() == &DataType::Null
}
