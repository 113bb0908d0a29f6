//! Canonical rows: one line of text per row, the same for a PostgreSQL table, a Parquet file and the generator.

use std::fmt;

use anyhow::{Context, Result, bail};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// How two sorted lists of rows differ.
#[derive(Debug)]
pub struct Difference {
    missing: Vec<String>,
    extra: Vec<String>,
    expected: usize,
    found: usize,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (missing, extra) = (self.missing.len(), self.extra.len());
        write!(f, "{} rows expected, {} found, {missing} missing, {extra} too many", self.expected, self.found)?;
        for (word, rows) in [("missing", &self.missing), ("extra", &self.extra)] {
            for row in rows.iter().take(3) {
                write!(f, "\n  {word}: {}", row.chars().take(300).collect::<String>())?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Difference {}

/// Whether two sorted lists hold the same rows, each as often.
pub fn compare(expected: &[String], found: &[String]) -> Result<()> {
    let (mut missing, mut extra) = (Vec::new(), Vec::new());
    let (mut left, mut right) = (expected.iter().peekable(), found.iter().peekable());
    loop {
        match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(a), Some(b)) if a == b => {
                left.next();
                right.next();
            }
            (Some(a), other) if other.is_none_or(|b| a < b) => missing.extend(left.next().cloned()),
            _ => extra.extend(right.next().cloned()),
        }
    }
    if missing.is_empty() && extra.is_empty() {
        return Ok(());
    }
    Err(Difference { missing, extra, expected: expected.len(), found: found.len() }.into())
}

/// Adds the rows of one Parquet file, columns in the order of `columns`; a file without one of them is an error.
pub(super) fn parquet_rows(file: Bytes, columns: &[&str], rows: &mut Vec<String>) -> Result<()> {
    for batch in ParquetRecordBatchReaderBuilder::try_new(file)?.build()? {
        batch_rows(&batch?, columns, rows)?;
    }
    Ok(())
}

fn batch_rows(batch: &RecordBatch, columns: &[&str], rows: &mut Vec<String>) -> Result<()> {
    let cells = columns
        .iter()
        .map(|name| {
            column_cells(batch.column_by_name(name).with_context(|| format!("no column `{name}`"))?)
                .with_context(|| format!("column `{name}`"))
        })
        .collect::<Result<Vec<_>>>()?;
    for row in 0..batch.num_rows() {
        rows.push(cells.iter().map(|column| column[row].as_str()).collect::<Vec<_>>().join("|"));
    }
    Ok(())
}

/// NULL is `~`; text and bytes are hexadecimal, doubles their bits, dates and times their distance from 1970 (days,
/// microseconds), decimals plain digits without zeros at the end.
fn column_cells(array: &dyn Array) -> Result<Vec<String>> {
    let as_type = |wanted: &DataType| cast(array, wanted);
    let nulls = array.nulls().cloned();
    let cell = |row: usize, text: String| if nulls.as_ref().is_some_and(|n| n.is_null(row)) { "~".to_owned() } else { text };
    let each = |text: &dyn Fn(usize) -> String| (0..array.len()).map(|row| cell(row, text(row))).collect();
    Ok(match array.data_type() {
        DataType::Boolean => each(&|row| array.as_boolean().value(row).to_string()),
        kind if kind.is_integer() => {
            let array = as_type(&DataType::Int64)?;
            each(&|row| array.as_primitive::<Int64Type>().value(row).to_string())
        }
        DataType::Float32 | DataType::Float64 => {
            let array = as_type(&DataType::Float64)?;
            each(&|row| format!("{:016x}", array.as_primitive::<Float64Type>().value(row).to_bits()))
        }
        DataType::Decimal128(..) => each(&|row| plain_decimal(&array.as_primitive::<Decimal128Type>().value_as_string(row))),
        DataType::Date32 => each(&|row| array.as_primitive::<Date32Type>().value(row).to_string()),
        DataType::Timestamp(unit, _) if !matches!(unit, TimeUnit::Nanosecond) => {
            let array = as_type(&DataType::Timestamp(TimeUnit::Microsecond, None))?;
            each(&|row| array.as_primitive::<TimestampMicrosecondType>().value(row).to_string())
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
            let array = as_type(&DataType::Utf8)?;
            each(&|row| hex(array.as_string::<i32>().value(row).as_bytes()))
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let array = as_type(&DataType::Binary)?;
            each(&|row| hex(array.as_binary::<i32>().value(row)))
        }
        DataType::FixedSizeBinary(_) => each(&|row| hex(array.as_fixed_size_binary().value(row))),
        other => bail!("no canonical form for {other}"),
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn plain_decimal(text: &str) -> String {
    match text.split_once('.') {
        Some((whole, fraction)) => match fraction.trim_end_matches('0') {
            "" => whole.to_owned(),
            fraction => format!("{whole}.{fraction}"),
        },
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(rows: &[&str]) -> Vec<String> {
        rows.iter().map(|r| (*r).to_owned()).collect()
    }

    #[test]
    fn a_lost_row_and_a_doubled_one_are_both_seen() {
        compare(&sorted(&["a", "b", "b"]), &sorted(&["a", "b", "b"])).unwrap();
        let error = compare(&sorted(&["a", "b", "c"]), &sorted(&["a", "a", "c", "d"])).unwrap_err();
        let difference = error.downcast_ref::<Difference>().unwrap();
        assert_eq!((difference.missing.as_slice(), difference.extra.as_slice()), (&sorted(&["b"])[..], &sorted(&["a", "d"])[..]));
    }

    #[test]
    fn zeros_at_the_end_of_a_decimal_do_not_count() {
        assert_eq!(["1.50", "1.00", "-0.05", "100"].map(plain_decimal), ["1.5", "1", "-0.05", "100"]);
    }
}
