//! Says whether two data sets hold exactly the same rows, in any order: nothing lost, nothing twice, nothing bent.
//!
//! Values are compared by their bits (−0.0 is not 0.0), as a multiset. Batch borders, row order, nullability flags and
//! metadata do not count; column names, their order and their types do.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::array::{Array, ArrayRef, ListArray, MapArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use arrow::util::pretty::pretty_format_batches;

/// How the rows differ. `Display` shows a few of them.
#[derive(Debug)]
pub struct Difference {
    /// Rows of the expected set.
    pub expected_rows: usize,
    /// Rows of the actual set.
    pub actual_rows: usize,
    /// Rows (with their multiplicity) that are missing.
    pub missing: usize,
    /// Rows (with their multiplicity) that should not be there.
    pub extra: usize,
    sample: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected {} rows, found {}: {} missing, {} extra\n{}",
            self.expected_rows, self.actual_rows, self.missing, self.extra, self.sample
        )
    }
}

impl std::error::Error for Difference {}

/// The rows of `expected` and `actual` are the same multiset, or an error that says how they differ.
pub fn same_rows(expected: &[RecordBatch], actual: &[RecordBatch]) -> Result<()> {
    let (Some(first), second) = (expected.first(), actual.first()) else {
        let rows: usize = actual.iter().map(RecordBatch::num_rows).sum();
        if rows > 0 {
            bail!("expected nothing, found {rows} rows");
        }
        return Ok(());
    };
    let Some(second) = second else {
        let rows: usize = expected.iter().map(RecordBatch::num_rows).sum();
        if rows > 0 {
            bail!("expected {rows} rows, found no batch at all");
        }
        return Ok(());
    };
    same_columns(&first.schema(), &second.schema())?;
    let mut counter = Counter::new(&first.schema())?;
    counter.add(expected, 1)?;
    counter.add(actual, -1)?;
    counter.verdict(expected, actual)
}

/// Panics with the difference; for tests.
///
/// # Panics
/// When the rows differ.
#[track_caller]
pub fn assert_same_rows(expected: &[RecordBatch], actual: &[RecordBatch]) {
    if let Err(difference) = same_rows(expected, actual) {
        panic!("{difference:#}");
    }
}

fn same_columns(expected: &SchemaRef, actual: &SchemaRef) -> Result<()> {
    let columns =
        |schema: &SchemaRef| schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect::<Vec<_>>();
    let (expected, actual) = (columns(expected), columns(actual));
    if expected != actual {
        bail!("the columns differ\n  expected: {}\n  found:    {}", expected.join(", "), actual.join(", "));
    }
    Ok(())
}

struct Counter {
    converter: RowConverter,
    counts: HashMap<OwnedRow, i64>,
}

impl Counter {
    fn new(schema: &Schema) -> Result<Self> {
        let fields = schema.fields().iter().map(|f| SortField::new(without_maps(f.data_type()))).collect();
        let converter = RowConverter::new(fields).context("a column's type cannot be compared")?;
        Ok(Self { converter, counts: HashMap::new() })
    }

    fn add(&mut self, batches: &[RecordBatch], weight: i64) -> Result<()> {
        for batch in batches {
            let rows = self.converter.convert_columns(&plain_columns(batch)?)?;
            for row in &rows {
                *self.counts.entry(row.owned()).or_default() += weight;
            }
        }
        self.counts.retain(|_, count| *count != 0);
        Ok(())
    }

    fn verdict(mut self, expected: &[RecordBatch], actual: &[RecordBatch]) -> Result<()> {
        if self.counts.is_empty() {
            return Ok(());
        }
        let sum = |sign: i64| self.counts.values().map(|c| (c * sign).max(0)).sum::<i64>().unsigned_abs();
        let (missing, extra) = (sum(1), sum(-1));
        let sample = format!("missing\n{}\nextra\n{}", self.sample(expected, 1)?, self.sample(actual, -1)?);
        let count = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum();
        Err(Difference {
            expected_rows: count(expected),
            actual_rows: count(actual),
            missing: usize::try_from(missing)?,
            extra: usize::try_from(extra)?,
            sample,
        }
        .into())
    }

    /// A few rows of `batches` whose count has this sign.
    fn sample(&mut self, batches: &[RecordBatch], sign: i64) -> Result<String> {
        let mut found = Vec::new();
        for batch in batches {
            let rows = self.converter.convert_columns(&plain_columns(batch)?)?;
            for (index, row) in rows.iter().enumerate() {
                if self.counts.get(&row.owned()).is_some_and(|count| count * sign > 0) {
                    found.push(batch.slice(index, 1));
                    if found.len() == 5 {
                        return Ok(pretty_format_batches(&found)?.to_string());
                    }
                }
            }
        }
        Ok(pretty_format_batches(&found)?.to_string())
    }
}

/// Maps become lists of their entries: the row format has no maps, and the entries' order counts.
fn without_maps(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Map(entries, _) => DataType::List(entries.clone()),
        other => other.clone(),
    }
}

fn plain_columns(batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let plain = |array: &ArrayRef| -> Result<ArrayRef> {
        let DataType::Map(entries, _) = array.data_type() else { return Ok(array.clone()) };
        let map = array.as_any().downcast_ref::<MapArray>().context("a map column that is no map array")?;
        let entries: Arc<Field> = entries.clone();
        Ok(Arc::new(ListArray::try_new(entries, map.offsets().clone(), Arc::new(map.entries().clone()), map.nulls().cloned())?))
    };
    batch.columns().iter().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array};

    fn batch(ids: &[i64], values: &[Option<f64>]) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
        let values: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("v", values, true)]).unwrap()
    }

    #[test]
    fn order_and_batch_borders_do_not_count() {
        let one = [batch(&[1, 2, 2], &[Some(1.0), None, None])];
        let other = [batch(&[2], &[None]), batch(&[1, 2], &[Some(1.0), None])];
        same_rows(&one, &other).unwrap();
    }

    #[test]
    fn a_duplicate_that_hides_a_loss_is_found() {
        let expected = [batch(&[1, 2], &[None, None])];
        let actual = [batch(&[1, 1], &[None, None])];
        let error = same_rows(&expected, &actual).unwrap_err();
        let difference = error.downcast_ref::<Difference>().unwrap();
        assert_eq!((difference.missing, difference.extra), (1, 1));
        assert!(difference.to_string().contains("| 2 "), "{difference}");
    }

    #[test]
    fn a_sign_of_zero_and_a_null_count() {
        let zero = [batch(&[1], &[Some(0.0)])];
        assert!(same_rows(&zero, &[batch(&[1], &[Some(-0.0)])]).is_err());
        assert!(same_rows(&zero, &[batch(&[1], &[None])]).is_err());
        assert!(same_rows(&zero, &[]).is_err());
    }

    #[test]
    fn another_type_is_another_table() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let narrow: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![1]));
        let one = [RecordBatch::try_from_iter([("id", ids)]).unwrap()];
        let other = [RecordBatch::try_from_iter([("id", narrow)]).unwrap()];
        assert!(same_rows(&one, &other).unwrap_err().to_string().contains("columns differ"));
    }
}
