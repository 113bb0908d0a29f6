//! The lower bound of an incremental read. Files cannot be asked for a part of their rows: the others are left out here.

use arrow::array::{Datum, RecordBatch, Scalar, StringArray};
use arrow::compute::kernels::cmp::gt_eq;
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use weir_connect::CursorWindow;
use weir_error::{Error, Kind, Result};

/// The rows at or above the bound; rows without a value are below every bound.
pub(crate) fn at_or_above(records: RecordBatch, window: Option<&CursorWindow>) -> Result<RecordBatch> {
    let Some(CursorWindow { column, lower: Some(lower) }) = window else { return Ok(records) };
    let wrong = |error: arrow::error::ArrowError| {
        let what = format!("the saved cursor value `{lower}` cannot be compared with column `{column}`");
        Error::new("WEIR-FILE-088", Kind::Conflict, what).because(error).hint("reset the state of this stream: weir state reset")
    };
    let Some(values) = records.column_by_name(column) else { return Ok(records) };
    // A bound that cannot be read must not turn into NULL, which would leave out every row.
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let bound = cast_with_options(&StringArray::from(vec![lower.as_str()]), values.data_type(), &strict).map_err(wrong)?;
    let keep = gt_eq(&values as &dyn Datum, &Scalar::new(bound)).map_err(wrong)?;
    filter_record_batch(&records, &keep).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array, TimestampMicrosecondArray};
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

    use super::*;

    fn window(lower: &str) -> CursorWindow {
        CursorWindow { column: "at".into(), lower: Some(lower.into()) }
    }

    fn batch(values: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([("at", values, true)]).unwrap()
    }

    #[test]
    fn the_bound_itself_stays_and_rows_without_a_value_go() {
        let rows = batch(Arc::new(Int64Array::from(vec![Some(1), None, Some(2), Some(3)])));
        let kept = at_or_above(rows.clone(), Some(&window("2"))).unwrap();
        assert_eq!(kept.column(0).as_primitive::<Int64Type>().values(), &[2, 3]);
        assert_eq!(at_or_above(rows.clone(), None).unwrap(), rows);
        let first = CursorWindow { column: "at".into(), lower: None };
        assert_eq!(at_or_above(rows.clone(), Some(&first)).unwrap(), rows, "the first run takes everything");
    }

    #[test]
    fn times_are_compared_as_times() {
        let values = TimestampMicrosecondArray::from(vec![1_000_000, 2_000_000]).with_timezone("UTC");
        let kept = at_or_above(batch(Arc::new(values)), Some(&window("1970-01-01T00:00:02Z"))).unwrap();
        assert_eq!(kept.column(0).as_primitive::<TimestampMicrosecondType>().values(), &[2_000_000]);
    }

    #[test]
    fn a_bound_of_another_type_is_an_error_and_leaves_nothing_out() {
        let error = at_or_above(batch(Arc::new(Int64Array::from(vec![1]))), Some(&window("yesterday"))).unwrap_err();
        assert_eq!((error.code(), error.kind()), ("WEIR-FILE-088", Kind::Conflict));
    }
}
