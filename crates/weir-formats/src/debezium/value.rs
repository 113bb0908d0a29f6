//! One value as JSON.

use std::io::Write;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use weir_error::{Error, Kind as ErrorKind, Result};

use super::kind::Kind;
use super::text;
use crate::cells::civil;

/// Months are counted as Debezium counts them: 30.4375 days.
const MONTH_US: i64 = 2_629_800_000_000;
const DAY_US: i64 = 86_400_000_000;

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A text with quotes.
pub(super) fn quote(text: &str, out: &mut Vec<u8>) {
    // A `Vec` takes everything.
    let _ = serde_json::to_writer(out, text);
}

fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    print(out, format_args!("\"{}\"", base64(bytes)));
}

pub(super) fn print(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    // A `Vec` takes everything.
    let _ = out.write_fmt(what);
}

fn float(value: f64, shortest: std::fmt::Arguments<'_>, out: &mut Vec<u8>) {
    match (value.is_nan(), value.is_infinite(), value > 0.0) {
        (true, ..) => out.extend_from_slice(b"\"NaN\""),
        (_, true, true) => out.extend_from_slice(b"\"Infinity\""),
        (_, true, false) => out.extend_from_slice(b"\"-Infinity\""),
        _ => print(out, shortest),
    }
}

fn integer(array: &dyn Array, row: usize) -> Result<i64> {
    Ok(match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row),
        other => return Err(Error::internal(format!("{other} is no whole number"))),
    })
}

fn instant(micros: i64, digits: usize, out: &mut Vec<u8>) {
    let (year, month, day) = civil(micros.div_euclid(DAY_US));
    let of_day = micros.rem_euclid(DAY_US);
    let seconds = of_day / 1_000_000;
    // ISO 8601 as Java writes it: years beyond four digits with a sign.
    if year > 9999 {
        out.push(b'+');
    }
    if year < 0 {
        print(out, format_args!("-{:04}", -year));
    } else {
        print(out, format_args!("{year:04}"));
    }
    print(out, format_args!("-{month:02}-{day:02}T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
    if digits > 0 {
        let fraction = format!("{:06}", of_day % 1_000_000);
        print(out, format_args!(".{}", &fraction[..digits.min(6)]));
    }
    out.push(b'Z');
}

/// Writes the value of a row; the row is not NULL.
///
/// # Errors
/// `WEIR-FMT-041` for values that the envelope has no form for (`NaN` as a number without scale).
pub(super) fn write(kind: &Kind, array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()> {
    let words = || array.as_string::<i32>().value(row);
    match kind {
        Kind::Boolean => out.extend_from_slice(if array.as_boolean().value(row) { b"true" } else { b"false" }),
        Kind::Int16 | Kind::Int32 | Kind::Int64 => print(out, format_args!("{}", integer(array, row)?)),
        Kind::Float => {
            let value = array.as_primitive::<Float32Type>().value(row);
            float(value.into(), format_args!("{value:?}"), out);
        }
        Kind::Double => {
            let value = array.as_primitive::<Float64Type>().value(row);
            float(value, format_args!("{value:?}"), out);
        }
        Kind::Text | Kind::Uuid | Kind::Json | Kind::Xml | Kind::Enum(_) => quote(words(), out),
        Kind::Bytes => bytes(array.as_binary::<i32>().value(row), out),
        Kind::Decimal { .. } => match array.data_type() {
            DataType::Decimal128(..) => {
                bytes(text::shortest(&array.as_primitive::<Decimal128Type>().value(row).to_be_bytes()), out);
            }
            _ => bytes(text::shortest(&array.as_primitive::<Decimal256Type>().value(row).to_be_bytes()), out),
        },
        Kind::VariableDecimal => {
            let (scale, unscaled) = text::decimal(words())?;
            print(out, format_args!("{{\"scale\":{scale},\"value\":\"{}\"}}", base64(&unscaled)));
        }
        Kind::Date => print(out, format_args!("{}", array.as_primitive::<Date32Type>().value(row))),
        Kind::Time => print(out, format_args!("{}", array.as_primitive::<Time64MicrosecondType>().value(row) / 1000)),
        Kind::MicroTime => print(out, format_args!("{}", array.as_primitive::<Time64MicrosecondType>().value(row))),
        Kind::Timestamp => {
            print(out, format_args!("{}", array.as_primitive::<TimestampMicrosecondType>().value(row).div_euclid(1000)));
        }
        Kind::MicroTimestamp => print(out, format_args!("{}", array.as_primitive::<TimestampMicrosecondType>().value(row))),
        Kind::ZonedTimestamp(digits) => {
            out.push(b'"');
            instant(array.as_primitive::<TimestampMicrosecondType>().value(row), *digits, out);
            out.push(b'"');
        }
        Kind::ZonedTime => quote(&text::zoned_time(words())?, out),
        Kind::MicroDuration => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            let micros = i64::from(value.months)
                .checked_mul(MONTH_US)
                .zip(i64::from(value.days).checked_mul(DAY_US))
                .and_then(|(months, days)| months.checked_add(days)?.checked_add(value.nanoseconds / 1000))
                .ok_or_else(|| Error::new("WEIR-FMT-041", ErrorKind::Data, "an interval is too long for microseconds"))?;
            print(out, format_args!("{micros}"));
        }
        Kind::Bit => out.extend_from_slice(if words() == "1" { b"true" } else { b"false" }),
        Kind::Bits(_) => bytes(&text::bits(words())?, out),
        Kind::Point => {
            let (x, y) = text::point(words())?;
            let mut wkb = vec![1, 1, 0, 0, 0];
            wkb.extend_from_slice(&x.to_le_bytes());
            wkb.extend_from_slice(&y.to_le_bytes());
            out.extend_from_slice(b"{\"x\":");
            float(x, format_args!("{x:?}"), out);
            out.extend_from_slice(b",\"y\":");
            float(y, format_args!("{y:?}"), out);
            print(out, format_args!(",\"wkb\":\"{}\",\"srid\":null}}", base64(&wkb)));
        }
        Kind::Hstore => {
            let mut object = vec![b'{'];
            for (at, (key, value)) in text::hstore(words())?.into_iter().enumerate() {
                if at > 0 {
                    object.push(b',');
                }
                quote(&key, &mut object);
                object.push(b':');
                match value {
                    Some(value) => quote(&value, &mut object),
                    None => object.extend_from_slice(b"null"),
                }
            }
            object.push(b'}');
            quote(&String::from_utf8_lossy(&object), out);
        }
        Kind::Mysql(kind) => kind.write(array, row, out)?,
        Kind::List(item) => {
            let items = array.as_list::<i32>().value(row);
            out.push(b'[');
            for at in 0..items.len() {
                if at > 0 {
                    out.push(b',');
                }
                if items.is_null(at) {
                    out.extend_from_slice(b"null");
                } else {
                    write(item, items.as_ref(), at, out)?;
                }
            }
            out.push(b']');
        }
    }
    Ok(())
}
