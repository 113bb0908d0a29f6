//! Arrow rows as JSON text, digit by digit. What has no form in JSON is an error, never `null`.

use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Int64Type,
    UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base64::Engine;
use weir_connect::{Error, Kind, Result};

const FORMAT: FormatOptions<'static> = FormatOptions::new().with_display_error(false);

/// Appends one row as an object.
pub fn record(out: &mut Vec<u8>, batch: &RecordBatch, row: usize) -> Result<()> {
    out.push(b'{');
    for (index, (field, column)) in batch.schema_ref().fields().iter().zip(batch.columns()).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        text(out, field.name());
        out.push(b':');
        value(out, column, row).map_err(|error| error.at(format!("column `{}`", field.name())))?;
    }
    out.push(b'}');
    Ok(())
}

/// A value without quotes, for addresses: text as it is, everything else as in JSON.
pub fn plain(array: &ArrayRef, row: usize) -> Result<String> {
    let mut json = Vec::new();
    value(&mut json, array, row)?;
    let text = String::from_utf8(json).map_err(|error| Error::internal("JSON that is not UTF-8").because(error))?;
    if text.starts_with('"') {
        return serde_json::from_str(&text).map_err(|error| Error::internal("a text that is not JSON").because(error));
    }
    Ok(text)
}

fn value(out: &mut Vec<u8>, array: &ArrayRef, row: usize) -> Result<()> {
    if array.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match array.data_type() {
        DataType::Boolean => out.extend_from_slice(if array.as_boolean().value(row) { b"true" } else { b"false" }),
        DataType::Int64 => number(out, array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => number(out, array.as_primitive::<UInt64Type>().value(row)),
        DataType::Float16 => float(out, array.as_primitive::<Float16Type>().value(row).to_f32())?,
        DataType::Float32 => float(out, array.as_primitive::<Float32Type>().value(row))?,
        DataType::Float64 => float(out, array.as_primitive::<Float64Type>().value(row))?,
        DataType::Decimal32(..) => number(out, array.as_primitive::<Decimal32Type>().value_as_string(row)),
        DataType::Decimal64(..) => number(out, array.as_primitive::<Decimal64Type>().value_as_string(row)),
        DataType::Decimal128(..) => number(out, array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Decimal256(..) => number(out, array.as_primitive::<Decimal256Type>().value_as_string(row)),
        DataType::Utf8 => text(out, array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => text(out, array.as_string::<i64>().value(row)),
        DataType::Utf8View => text(out, array.as_string_view().value(row)),
        DataType::Binary => bytes(out, array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => bytes(out, array.as_binary::<i64>().value(row)),
        DataType::BinaryView => bytes(out, array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => bytes(out, array.as_fixed_size_binary().value(row)),
        DataType::List(_) => list(out, &array.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => list(out, &array.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(..) => list(out, &array.as_fixed_size_list().value(row))?,
        DataType::Struct(fields) => {
            out.push(b'{');
            for (index, (field, column)) in fields.iter().zip(array.as_struct().columns()).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                text(out, field.name());
                out.push(b':');
                value(out, column, row)?;
            }
            out.push(b'}');
        }
        DataType::Timestamp(unit, Some(_)) => {
            // An instant is written in UTC whatever zone it is shown in.
            let utc = DataType::Timestamp(*unit, Some("UTC".into()));
            let slice = arrow::compute::cast(&array.slice(row, 1), &utc).map_err(cannot)?;
            displayed(out, &slice, 0, true)?;
        }
        integer if integer.is_integer() => displayed(out, array, row, false)?,
        DataType::Date32 | DataType::Date64 | DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..) => {
            displayed(out, array, row, true)?;
        }
        DataType::Dictionary(_, inner) => {
            let slice = arrow::compute::cast(&array.slice(row, 1), inner).map_err(cannot)?;
            value(out, &slice, 0)?;
        }
        other => return Err(Error::new("WEIR-HTTP-040", Kind::Unsupported, format!("{other} has no form in JSON"))),
    }
    Ok(())
}

fn cannot(error: arrow::error::ArrowError) -> Error {
    Error::new("WEIR-HTTP-040", Kind::Data, "a value has no form in JSON").because(error)
}

/// As Arrow prints it: ISO 8601 for times, digits for integers.
fn displayed(out: &mut Vec<u8>, array: &ArrayRef, row: usize, quoted: bool) -> Result<()> {
    let formatter = ArrayFormatter::try_new(array, &FORMAT).map_err(cannot)?;
    let shown = formatter.value(row).try_to_string().map_err(cannot)?;
    if quoted {
        text(out, &shown)
    } else {
        out.extend_from_slice(shown.as_bytes())
    }
    Ok(())
}

fn number(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing into a Vec does not fail.
    let _ = write!(out, "{value}");
}

fn float<F: Copy + std::fmt::LowerExp + std::fmt::Debug + Into<f64>>(out: &mut Vec<u8>, value: F) -> Result<()> {
    let wide: f64 = value.into();
    if !wide.is_finite() {
        let what = format!("{value:?} has no number in JSON");
        return Err(Error::new("WEIR-HTTP-041", Kind::TypeLoss, what).hint("cast the column to text, or filter such rows out"));
    }
    // Rust's debug form is the shortest that reads back as the same float, with a point or an exponent.
    let _ = write!(out, "{value:?}");
    Ok(())
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(base64::engine::general_purpose::STANDARD.encode(value).as_bytes());
    out.push(b'"');
}

fn list(out: &mut Vec<u8>, items: &ArrayRef) -> Result<()> {
    out.push(b'[');
    for index in 0..items.len() {
        if index > 0 {
            out.push(b',');
        }
        value(out, items, index)?;
    }
    out.push(b']');
    Ok(())
}

fn text(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    let mut start = 0;
    for (at, byte) in value.bytes().enumerate() {
        let escape: Option<&[u8]> = match byte {
            b'"' => Some(b"\\\""),
            b'\\' => Some(b"\\\\"),
            b'\n' => Some(b"\\n"),
            b'\r' => Some(b"\\r"),
            b'\t' => Some(b"\\t"),
            0..=0x1f => None,
            _ => continue,
        };
        out.extend_from_slice(&value.as_bytes()[start..at]);
        match escape {
            Some(escape) => out.extend_from_slice(escape),
            None => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
        start = at + 1;
    }
    out.extend_from_slice(&value.as_bytes()[start..]);
    out.push(b'"');
}
