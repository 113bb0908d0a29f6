//! Conversion of values to another type, checked value by value: a value arrives as itself or is reported.
//!
//! Arrow's own cast truncates (`1.5` → `1`), rounds (`'1.239'` → `1.24`), drops a text's time zone and a date's time. Here each of these
//! is a failure of that value. What counts as unchanged: converted back, the value equals the original; texts are compared
//! by what they say (digits, fractional seconds, zone), since `'01'` and `'1'` mean one number.
//!
//! A text without a zone, and a zone-less timestamp, become a `timestamptz` as UTC; a `timestamptz` becomes a `timestamp` as its UTC wall time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type, TimeUnit};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use serde::de::IgnoredAny;

use crate::types::{TypeWord, show};

/// Why a value has no counterpart in the new type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It is no value of that type at all.
    NoValue,
    /// The nearest value of that type is another one.
    Changes,
    /// It has a time zone, and the type has none.
    Zone,
}

/// Converted values; NULL where one failed.
pub(crate) struct Converted {
    pub(crate) values: ArrayRef,
    pub(crate) failures: Vec<(usize, Failure)>,
}

/// Whether [`convert`] can take this way at all.
pub(crate) fn convertible(from: &DataType, to: &DataType) -> Result<(), String> {
    let from = match from {
        DataType::Dictionary(_, value) => value,
        other => other,
    };
    if from == to {
        return Ok(());
    }
    let told = || format!("{} does not convert to {}", show(from), show(to));
    if from.is_nested() || to.is_nested() {
        return Err(format!("{}: nested values have no single text or number", told()));
    }
    if matches!((from, to), (DataType::Timestamp(_, _), DataType::Time64(_) | DataType::Time32(_))) {
        return Err(format!("{}: the date would be lost; write it in `sql`", told()));
    }
    if !can_cast_types(from, to) || !(always_exact(from, to) || is_text(from) || can_cast_types(to, from)) {
        return Err(told());
    }
    Ok(())
}

/// Converts `array`. Values that are NULL stay NULL. With `accept_loss` a value that changes is no failure.
pub(crate) fn convert(array: &ArrayRef, to: &TypeWord, accept_loss: bool) -> Result<Converted, ArrowError> {
    let array = prepared(array, &to.data_type)?;
    let options = CastOptions { safe: true, ..CastOptions::default() };
    // Arrow multiplies a far date into fractions of a second without looking; between timestamps it looks. Seconds hold every date.
    let array = &match (array.data_type(), &to.data_type) {
        (DataType::Date32, DataType::Timestamp(_, _)) => {
            cast_with_options(&array, &DataType::Timestamp(TimeUnit::Second, None), &options)?
        }
        _ => array.clone(),
    };
    let values =
        if array.data_type() == &to.data_type { array.clone() } else { cast_with_options(array, &to.data_type, &options)? };
    let mut failures = Vec::new();
    if values.null_count() > array.null_count() {
        failures.extend(
            (0..array.len()).filter(|&row| array.is_valid(row) && values.is_null(row)).map(|row| (row, Failure::NoValue)),
        );
    }
    if to.json {
        let texts = values.as_string::<i32>();
        failures.extend(texts.iter().enumerate().filter_map(|(row, text)| {
            text.is_some_and(|text| serde_json::from_str::<IgnoredAny>(text).is_err()).then_some((row, Failure::NoValue))
        }));
    } else if is_text(array.data_type()) {
        if judges_text(&to.data_type) {
            let texts = cast_with_options(array, &DataType::Utf8, &options)?;
            text_changes(texts.as_string::<i32>(), &values, &mut failures);
        }
    } else if !always_exact(array.data_type(), &to.data_type) {
        let back = cast_with_options(&values, array.data_type(), &options)?;
        let changed = differences(array, &back)?;
        failures.extend(
            (0..array.len()).filter(|&row| values.is_valid(row) && changed.value(row)).map(|row| (row, Failure::Changes)),
        );
    }
    if accept_loss {
        failures.retain(|(_, failure)| *failure != Failure::Changes);
    }
    if failures.is_empty() {
        return Ok(Converted { values, failures });
    }
    failures.sort_unstable_by_key(|(row, _)| *row);
    let mut failed = vec![false; values.len()];
    failures.iter().for_each(|(row, _)| failed[*row] = true);
    let values = arrow::compute::nullif(&values, &BooleanArray::from(failed))?;
    Ok(Converted { values, failures })
}

/// What to say about a failure.
pub(crate) fn explain(array: &dyn Array, row: usize, failure: Failure, to: &TypeWord) -> String {
    const LONGEST: usize = 80;
    let mut value = array_value_to_string(array, row).unwrap_or_else(|_| "the value".into());
    if value.chars().count() > LONGEST {
        value = value.chars().take(LONGEST).chain(['…']).collect();
    }
    let name = if to.json { "json".into() } else { show(&to.data_type) };
    match failure {
        Failure::NoValue => format!("`{value}` is no {name}"),
        Failure::Changes => format!("`{value}` would change as {name}"),
        Failure::Zone => format!("`{value}` has a time zone and {name} has none: cast it to timestamptz"),
    }
}

/// Dictionaries unpacked, zones relabelled as UTC where the target's own conversion would use the local wall time.
fn prepared(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Dictionary(_, value) => prepared(&arrow::compute::cast(array, value)?, to),
        DataType::Timestamp(unit, Some(zone))
            if zone.as_ref() != "UTC" && !matches!(to, DataType::Utf8 | DataType::Timestamp(_, Some(_))) =>
        {
            arrow::compute::cast(array, &DataType::Timestamp(*unit, Some("UTC".into())))
        }
        _ => Ok(Arc::clone(array)),
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Every value converts to itself or to nothing: no need to convert back.
fn always_exact(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    if from == to || is_text(to) || (is_text(from) && matches!(to, Binary)) || matches!(from, Null) {
        return true;
    }
    match (from, to) {
        (Boolean, to) => to.is_integer(),
        // An integer that does not fit is NULL after Arrow's cast, so integer to integer never changes a value.
        (from, to) if from.is_integer() && to.is_integer() => true,
        (Int8 | Int16 | UInt8 | UInt16, Float32 | Float64) | (Int32 | UInt32, Float64) | (Float32, Float64) => true,
        (from, Decimal128(_, scale) | Decimal256(_, scale)) if from.is_integer() => *scale >= 0,
        (Decimal128(_, a) | Decimal256(_, a), Decimal128(_, b) | Decimal256(_, b)) => b >= a,
        (Timestamp(a, _), Timestamp(b, _)) => a == b,
        (Binary | LargeBinary | BinaryView | FixedSizeBinary(_), Binary) => true,
        _ => false,
    }
}

/// Where two arrays of one type differ; equal numbers are equal whatever the sign of a zero, and NaN equals NaN.
fn differences(left: &ArrayRef, right: &ArrayRef) -> Result<BooleanArray, ArrowError> {
    match left.data_type() {
        DataType::Float64 => {
            let (left, right) = (left.as_primitive::<Float64Type>(), right.as_primitive::<Float64Type>());
            Ok((0..left.len())
                .map(|row| {
                    let (a, b) = (left.value(row), right.value(row));
                    Some(right.is_null(row) || !(a == b || (a.is_nan() && b.is_nan())))
                })
                .collect())
        }
        DataType::Float32 => {
            let (left, right) = (left.as_primitive::<Float32Type>(), right.as_primitive::<Float32Type>());
            Ok((0..left.len())
                .map(|row| {
                    let (a, b) = (left.value(row), right.value(row));
                    Some(right.is_null(row) || !(a == b || (a.is_nan() && b.is_nan())))
                })
                .collect())
        }
        _ => distinct(left, right),
    }
}

fn judges_text(to: &DataType) -> bool {
    matches!(
        to,
        DataType::Decimal128(_, _)
            | DataType::Decimal256(_, _)
            | DataType::Float32
            | DataType::Float64
            | DataType::Date32
            | DataType::Timestamp(_, _)
            | DataType::Time64(_)
    )
}

fn text_changes(texts: &StringArray, values: &ArrayRef, failures: &mut Vec<(usize, Failure)>) {
    let to = values.data_type();
    let infinite: Option<Box<dyn Fn(usize) -> bool>> = match to {
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>().clone();
            Some(Box::new(move |row| values.value(row).is_infinite()))
        }
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>().clone();
            Some(Box::new(move |row| values.value(row).is_infinite()))
        }
        _ => None,
    };
    for row in 0..texts.len() {
        if texts.is_null(row) || values.is_null(row) {
            continue;
        }
        let text = texts.value(row);
        let failure = match to {
            DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => {
                (decimals(text) > i64::from(*scale)).then_some(Failure::Changes)
            }
            DataType::Float32 | DataType::Float64 => (infinite.as_ref().is_some_and(|infinite| infinite(row))
                && !text.to_ascii_lowercase().contains("inf"))
            .then_some(Failure::NoValue),
            DataType::Date32 => text
                .get(10..)
                .is_some_and(|rest| rest.bytes().any(|b| b.is_ascii_digit() && b != b'0'))
                .then_some(Failure::Changes),
            DataType::Timestamp(unit, zone) => {
                if zone.is_none() && has_zone(text) {
                    Some(Failure::Zone)
                } else {
                    finer_than(text, unit).then_some(Failure::Changes)
                }
            }
            DataType::Time64(unit) => finer_than(text, unit).then_some(Failure::Changes),
            _ => None,
        };
        failures.extend(failure.map(|failure| (row, failure)));
    }
}

/// Digits after the decimal point that a decimal text needs.
fn decimals(text: &str) -> i64 {
    let text = text.trim();
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(cut) => (&text[..cut], text[cut + 1..].parse::<i64>().unwrap_or(0)),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches(['+', '-']));
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return 0;
    }
    let zeros = i64::try_from(digits.len() - significant.len()).unwrap_or(0);
    i64::try_from(fraction.len()).unwrap_or(i64::MAX) - zeros - exponent
}

/// Whether a timestamp's text names a zone after its date: `Z`, an offset, a name.
fn has_zone(text: &str) -> bool {
    let Some(rest) = text.trim().get(10..) else { return false };
    let rest = rest.strip_prefix(['T', 't']).unwrap_or(rest);
    rest.bytes().any(|byte| byte == b'+' || byte == b'-' || byte.is_ascii_alphabetic())
}

/// Whether the text's fraction of a second has a digit that the unit cannot hold.
fn finer_than(text: &str, unit: &TimeUnit) -> bool {
    let held = match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    let Some((_, fraction)) = text.split_once('.') else { return false };
    fraction.bytes().take_while(u8::is_ascii_digit).skip(held).any(|digit| digit != b'0')
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, Float64Array, Int64Array, TimestampMicrosecondArray, TimestampNanosecondArray};

    use super::*;

    fn run(array: impl Array + 'static, word: &str) -> (Vec<Option<String>>, Vec<(usize, Failure)>) {
        let array: ArrayRef = Arc::new(array);
        let done = convert(&array, &TypeWord::parse(word).unwrap(), false).unwrap();
        let shown = (0..array.len())
            .map(|row| done.values.is_valid(row).then(|| array_value_to_string(&done.values, row).unwrap()))
            .collect();
        (shown, done.failures)
    }

    fn some(values: &[Option<&str>]) -> Vec<Option<String>> {
        values.iter().map(|value| value.map(String::from)).collect()
    }

    #[test]
    fn a_float_becomes_an_integer_only_if_it_is_one() {
        let (values, failures) =
            run(Float64Array::from(vec![Some(2.0), Some(2.5), Some(f64::NAN), Some(1e300), None, Some(-0.0)]), "int64");
        assert_eq!(values, some(&[Some("2"), None, None, None, None, Some("0")]));
        assert_eq!(failures, [(1, Failure::Changes), (2, Failure::NoValue), (3, Failure::NoValue)]);
    }

    #[test]
    fn a_large_integer_does_not_round_into_a_float() {
        let (_, failures) = run(Int64Array::from(vec![1 << 53, (1 << 53) + 1, i64::MAX]), "float64");
        assert_eq!(failures, [(1, Failure::Changes), (2, Failure::Changes)]);
    }

    #[test]
    fn a_double_keeps_nan_and_fits_float32_only_exactly() {
        let (values, failures) = run(Float64Array::from(vec![0.5, 0.1, f64::NAN]), "float32");
        assert_eq!(failures, [(1, Failure::Changes)]);
        assert_eq!(values[2].as_deref(), Some("NaN"));
    }

    #[test]
    fn a_decimal_text_is_not_rounded() {
        let texts = StringArray::from(vec!["1.20", "1.239", "1.2300", "12e-1", "1234.5", "x", "0.000"]);
        let (values, failures) = run(texts, "decimal(5,2)");
        assert_eq!(values, some(&[Some("1.20"), None, Some("1.23"), None, None, None, Some("0.00")]));
        assert_eq!(failures, [(1, Failure::Changes), (3, Failure::NoValue), (4, Failure::NoValue), (5, Failure::NoValue)]);
    }

    #[test]
    fn a_narrower_decimal_takes_only_values_that_fit() {
        let wide = arrow::array::Decimal128Array::from(vec![12300, 12345]).with_precision_and_scale(10, 4).unwrap();
        let (values, failures) = run(wide, "decimal(5,2)");
        assert_eq!(values, some(&[Some("1.23"), None]));
        assert_eq!(failures, [(1, Failure::Changes)]);
    }

    #[test]
    fn a_date_does_not_swallow_a_time() {
        let (values, failures) =
            run(StringArray::from(vec!["2024-02-29", "2024-02-29T00:00:00", "2024-02-29 10:00:00", "2023-02-29"]), "date");
        assert_eq!(values, some(&[Some("2024-02-29"), Some("2024-02-29"), None, None]));
        assert_eq!(failures, [(2, Failure::Changes), (3, Failure::NoValue)]);
        let noon = TimestampMicrosecondArray::from(vec![0, 43_200_000_000]);
        assert_eq!(run(noon, "date").1, [(1, Failure::Changes)]);
    }

    #[test]
    fn a_zone_is_not_dropped_and_utc_is_meant_where_none_is_given() {
        let texts = vec!["2024-01-01T00:00:00+02:00", "2024-01-01T00:00:00Z", "2024-01-01 00:00:00"];
        let (values, failures) = run(StringArray::from(texts.clone()), "timestamp");
        assert_eq!(failures, [(0, Failure::Zone), (1, Failure::Zone)]);
        assert_eq!(values[2].as_deref(), Some("2024-01-01T00:00:00"));
        let (values, failures) = run(StringArray::from(texts), "timestamptz");
        assert_eq!(values, some(&[Some("2023-12-31T22:00:00Z"), Some("2024-01-01T00:00:00Z"), Some("2024-01-01T00:00:00Z")]));
        assert!(failures.is_empty());
    }

    #[test]
    fn a_zoned_timestamp_gives_its_utc_wall_time() {
        let zoned = TimestampMicrosecondArray::from(vec![0]).with_timezone("America/New_York");
        assert_eq!(run(zoned, "timestamp").0, some(&[Some("1970-01-01T00:00:00")]));
    }

    #[test]
    fn nanoseconds_do_not_vanish() {
        assert_eq!(run(TimestampNanosecondArray::from(vec![1000, 1001]), "timestamp").1, [(1, Failure::Changes)]);
        let texts = StringArray::from(vec!["2024-01-01T00:00:00.123456000", "2024-01-01T00:00:00.123456789"]);
        assert_eq!(run(texts, "timestamp").1, [(1, Failure::Changes)]);
    }

    #[test]
    fn a_date_far_away_does_not_wrap_in_nanoseconds() {
        assert_eq!(run(Date32Array::from(vec![0, i32::MAX]), "timestamp(ns)").1.len(), 1);
    }

    #[test]
    fn a_text_beyond_every_float_is_no_float() {
        let (_, failures) = run(StringArray::from(vec!["1e400", "inf", "1e-400", "0.1"]), "float64");
        assert_eq!(failures, [(0, Failure::NoValue)]);
    }

    #[test]
    fn json_must_be_json() {
        let (_, failures) = run(StringArray::from(vec![r#"{"a":[1,null]}"#, "{a:1}", "", "12345678901234567890123"]), "json");
        assert_eq!(failures, [(1, Failure::NoValue), (2, Failure::NoValue)]);
    }

    #[test]
    fn an_integer_becomes_a_bool_only_if_it_is_zero_or_one() {
        let (values, failures) = run(Int64Array::from(vec![Some(0), Some(1), Some(2), None]), "bool");
        assert_eq!(values, some(&[Some("false"), Some("true"), None, None]));
        assert_eq!(failures, [(2, Failure::Changes)]);
    }

    #[test]
    fn what_cannot_be_checked_is_refused() {
        assert!(convertible(&DataType::Timestamp(TimeUnit::Second, None), &DataType::Time64(TimeUnit::Microsecond)).is_err());
        assert!(convertible(&DataType::Boolean, &DataType::Date32).is_err());
        let list = DataType::new_list(DataType::Utf8, true);
        assert!(convertible(&list, &DataType::Utf8).unwrap_err().contains("nested"));
    }
}
