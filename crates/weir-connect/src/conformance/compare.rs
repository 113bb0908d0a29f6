//! Exact comparison of row sets, without regard to order.

use std::collections::BTreeMap;
use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Schema, TimeUnit,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use weir_error::{Error, Kind, Result};

use super::subject::Subject;

/// How often each row occurs. The key is a canonical text in which different values are always different.
pub type RowSet = BTreeMap<String, u64>;

/// The rows in the shape of `schema`, counted. Columns are matched by name; one too many or too few is an error. Columns of another
/// type go through [`Subject::map_back`].
pub fn row_set(subject: &dyn Subject, schema: &Schema, batches: &[RecordBatch]) -> Result<RowSet> {
    let mut rows = RowSet::new();
    for batch in batches {
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let Some(read) = batch.column_by_name(field.name()) else {
                let names: Vec<_> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
                return Err(differs(format!("column `{}` is missing; there are {}", field.name(), names.join(", "))));
            };
            columns.push(subject.map_back(field, read)?);
        }
        if let Some(extra) = batch.schema().fields().iter().find(|field| schema.field_with_name(field.name()).is_err()) {
            return Err(differs(format!("there is a column `{}` that nobody wrote", extra.name())));
        }
        for row in 0..batch.num_rows() {
            let mut text = String::new();
            for (field, column) in schema.fields().iter().zip(&columns) {
                let _ = write!(text, "{}=", field.name());
                value(&mut text, column, row)?;
                text.push_str("; ");
            }
            *rows.entry(text).or_insert(0) += 1;
        }
    }
    Ok(rows)
}

/// An error that shows the first few rows that are missing, extra or repeated.
pub fn same_rows(expected: &RowSet, found: &RowSet) -> Result<()> {
    let mut wrong = Vec::new();
    for (row, &times) in expected {
        let seen = found.get(row).copied().unwrap_or(0);
        if seen < times {
            wrong.push(format!("missing ({seen} of {times}): {}", short(row)));
        } else if seen > times {
            wrong.push(format!("repeated ({seen} instead of {times}): {}", short(row)));
        }
    }
    wrong.extend(found.keys().filter(|row| !expected.contains_key(*row)).map(|row| format!("not expected: {}", short(row))));
    told(wrong, expected, found)
}

/// Like [`same_rows`], but rows may be repeated: what at-least-once delivery promises.
pub fn at_least_rows(expected: &RowSet, found: &RowSet) -> Result<()> {
    let mut wrong: Vec<_> = expected
        .iter()
        .filter(|(row, times)| found.get(*row).copied().unwrap_or(0) < **times)
        .map(|(row, _)| format!("missing: {}", short(row)))
        .collect();
    wrong.extend(found.keys().filter(|row| !expected.contains_key(*row)).map(|row| format!("not expected: {}", short(row))));
    told(wrong, expected, found)
}

fn told(wrong: Vec<String>, expected: &RowSet, found: &RowSet) -> Result<()> {
    if wrong.is_empty() {
        return Ok(());
    }
    let total = |rows: &RowSet| rows.values().sum::<u64>();
    let head: Vec<_> = wrong.iter().take(4).cloned().collect();
    Err(differs(format!(
        "{} rows differ (expected {} rows, found {}): {}",
        wrong.len(),
        total(expected),
        total(found),
        head.join(" | ")
    )))
}

fn differs(what: String) -> Error {
    Error::new("WEIR-TEST-003", Kind::Data, what)
}

fn short(row: &str) -> String {
    if row.chars().count() <= 300 {
        return row.to_owned();
    }
    let head: String = row.chars().take(300).collect();
    format!("{head}…")
}

/// Appends a text that is the same for two values exactly if they are the same value. All NaN are one value; 0 and -0 are two.
fn value(out: &mut String, array: &ArrayRef, row: usize) -> Result<()> {
    if array.is_null(row) {
        out.push('∅');
        return Ok(());
    }
    let float = |out: &mut String, value: f64| {
        let _ = if value.is_nan() { write!(out, "NaN") } else { write!(out, "{value:?}") };
    };
    match array.data_type() {
        DataType::Float16 => float(out, f64::from(array.as_primitive::<Float16Type>().value(row).to_f32())),
        DataType::Float32 => float(out, f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => float(out, array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            let _ = write!(out, "{}e-{scale}", array.as_primitive::<Decimal128Type>().value(row));
        }
        DataType::Decimal256(_, scale) => {
            let _ = write!(out, "{}e-{scale}", array.as_primitive::<Decimal256Type>().value(row));
        }
        DataType::Utf8 => {
            let _ = write!(out, "{:?}", array.as_string::<i32>().value(row));
        }
        DataType::LargeUtf8 => {
            let _ = write!(out, "{:?}", array.as_string::<i64>().value(row));
        }
        DataType::Utf8View => {
            let _ = write!(out, "{:?}", array.as_string_view().value(row));
        }
        DataType::Binary => hex(out, array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => hex(out, array.as_binary::<i64>().value(row)),
        DataType::BinaryView => hex(out, array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => hex(out, array.as_fixed_size_binary().value(row)),
        DataType::Date32 => {
            let _ = write!(out, "day {}", array.as_primitive::<Date32Type>().value(row));
        }
        DataType::Date64 => {
            let _ = write!(out, "ms {}", array.as_primitive::<Date64Type>().value(row));
        }
        DataType::Timestamp(unit, zone) => {
            let raw = raw_i64(array, row)?;
            let factor = match unit {
                TimeUnit::Second => 1_000_000_000,
                TimeUnit::Millisecond => 1_000_000,
                TimeUnit::Microsecond => 1_000,
                TimeUnit::Nanosecond => 1i128,
            };
            let _ = write!(out, "{}ns{}", i128::from(raw) * factor, if zone.is_some() { " utc" } else { "" });
        }
        DataType::List(_) => list(out, &array.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => list(out, &array.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(..) => list(out, &array.as_fixed_size_list().value(row))?,
        DataType::Map(..) => {
            let entries: ArrayRef = std::sync::Arc::new(array.as_map().value(row));
            list(out, &entries)?;
        }
        DataType::Struct(fields) => {
            out.push('{');
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                let _ = write!(out, "{}=", field.name());
                value(out, column, row)?;
                out.push(',');
            }
            out.push('}');
        }
        _ => {
            let formatter = ArrayFormatter::try_new(array, &FormatOptions::default()).map_err(super::matrix::broken)?;
            let _ = write!(out, "{:?}", formatter.value(row).to_string());
        }
    }
    Ok(())
}

fn raw_i64(array: &ArrayRef, row: usize) -> Result<i64> {
    let plain = arrow::compute::cast(array, &DataType::Int64).map_err(super::matrix::broken)?;
    Ok(plain.as_primitive::<arrow::datatypes::Int64Type>().value(row))
}

fn list(out: &mut String, items: &ArrayRef) -> Result<()> {
    out.push('[');
    for index in 0..items.len() {
        value(out, items, index)?;
        out.push(',');
    }
    out.push(']');
    Ok(())
}

fn hex(out: &mut String, bytes: &[u8]) {
    out.push('x');
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}
