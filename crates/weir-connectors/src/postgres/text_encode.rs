//! Record batches → `COPY … FROM STDIN (FORMAT text)`, for targets with a column whose type has no binary form here (`inet`, ranges,
//! geometry …): the server reads its own text form. Slower than binary, and used only for such tables.

use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use weir_connect::{Error, Result};
use weir_formats::civil;

const DAY: i64 = 86_400_000_000;

/// Appends the field of a row, escaped, without separator. Text of more characters than `limit` is an error: the server would cut blanks.
pub fn field(array: &ArrayRef, row: usize, limit: Option<usize>, out: &mut Vec<u8>) -> Result<()> {
    if array.is_null(row) {
        out.extend_from_slice(b"\\N");
        return Ok(());
    }
    let mut text = Vec::new();
    value(array, row, &mut text)?;
    if limit.is_some_and(|limit| text.len() > limit && String::from_utf8_lossy(&text).chars().count() > limit) {
        return Err(Error::new("WEIR-PG-050", weir_connect::Kind::TypeLoss, "the text is longer than the column")
            .hint("widen the column, or shorten the text in the pipeline"));
    }
    for byte in text {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => out.push(other),
        }
    }
    Ok(())
}

fn float(value: f64, shortest: &str, out: &mut Vec<u8>) {
    let text = match value {
        value if value.is_nan() => "NaN",
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => shortest,
    };
    out.extend_from_slice(text.as_bytes());
}

fn clock(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    format!("{:02}:{:02}:{:02}.{:06}", seconds / 3600, seconds / 60 % 60, seconds % 60, micros % 1_000_000)
}

fn date(days: i64, clock: &str) -> String {
    let (year, month, day) = civil(days);
    // There is no year 0: the year before 1 is 1 BC.
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    format!("{year:04}-{month:02}-{day:02}{clock}{era}")
}

fn value(array: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<()> {
    let done = match array.data_type() {
        DataType::Boolean => write!(out, "{}", if array.as_boolean().value(row) { "t" } else { "f" }),
        DataType::Int16 => write!(out, "{}", array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => write!(out, "{}", array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => write!(out, "{}", array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => {
            let number = array.as_primitive::<Float32Type>().value(row);
            float(number.into(), &number.to_string(), out);
            Ok(())
        }
        DataType::Float64 => {
            let number = array.as_primitive::<Float64Type>().value(row);
            float(number, &number.to_string(), out);
            Ok(())
        }
        DataType::Decimal128(_, _) => write!(out, "{}", array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Decimal256(_, _) => write!(out, "{}", array.as_primitive::<Decimal256Type>().value_as_string(row)),
        DataType::Utf8 => out.write_all(array.as_string::<i32>().value(row).as_bytes()),
        DataType::Binary => {
            out.extend_from_slice(b"\\x");
            array.as_binary::<i32>().value(row).iter().try_for_each(|byte| write!(out, "{byte:02x}"))
        }
        DataType::Date32 => write!(out, "{}", date(array.as_primitive::<Date32Type>().value(row).into(), "")),
        DataType::Time64(TimeUnit::Microsecond) => {
            write!(out, "{}", clock(array.as_primitive::<Time64MicrosecondType>().value(row)))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let zone = if zone.is_some() { "+00" } else { "" };
            write!(out, "{}", date(micros.div_euclid(DAY), &format!(" {}{zone}", clock(micros.rem_euclid(DAY)))))
        }
        DataType::Interval(_) => {
            let span = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            if span.nanoseconds % 1000 != 0 {
                return Err(Error::new(
                    "WEIR-PG-050",
                    weir_connect::Kind::TypeLoss,
                    "the interval has nanoseconds, which PostgreSQL does not keep",
                ));
            }
            // Not as a count of microseconds: before version 15 the server reads such counts with 32 bits.
            let sign = if span.nanoseconds < 0 { "-" } else { "" };
            let micros = (span.nanoseconds / 1000).abs();
            write!(out, "{} mons {} days {sign}{}", span.months, span.days, clock(micros))
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let items = list.values();
            out.push(b'{');
            for item in list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize {
                if item > list.value_offsets()[row] as usize {
                    out.push(b',');
                }
                if items.is_null(item) {
                    out.extend_from_slice(b"NULL");
                    continue;
                }
                let mut text = Vec::new();
                value(items, item, &mut text)?;
                out.push(b'"');
                for byte in text {
                    if matches!(byte, b'"' | b'\\') {
                        out.push(b'\\');
                    }
                    out.push(byte);
                }
                out.push(b'"');
            }
            out.push(b'}');
            Ok(())
        }
        other => return Err(Error::internal(format!("no text form of {other}"))),
    };
    done.map_err(|error| Error::internal("cannot write to memory").caused_by(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, StringArray, TimestampMicrosecondArray};
    use std::sync::Arc;

    fn text(array: ArrayRef) -> String {
        let mut out = Vec::new();
        field(&array, 0, None, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dates_of_all_eras_as_the_server_writes_them() {
        assert_eq!(text(Arc::new(Date32Array::from(vec![0]))), "1970-01-01");
        assert_eq!(text(Arc::new(Date32Array::from(vec![-719_163]))), "0001-12-31 BC");
        assert_eq!(text(Arc::new(Date32Array::from(vec![-719_162]))), "0001-01-01");
        assert_eq!(text(Arc::new(Date32Array::from(vec![11_016]))), "2000-02-29");
        assert_eq!(text(Arc::new(TimestampMicrosecondArray::from(vec![-1]))), "1969-12-31 23:59:59.999999");
    }

    #[test]
    fn separators_in_text_are_escaped() {
        assert_eq!(text(Arc::new(StringArray::from(vec!["a\tb\\N\nc\r"]))), "a\\tb\\\\N\\nc\\r");
        assert_eq!(text(Arc::new(StringArray::from(vec![None::<&str>]))), "\\N");
    }
}
