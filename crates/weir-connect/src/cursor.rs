//! The incremental cursor, the same for every source: the engine owns it from run to run, and a source that is asked without end by itself.
//!
//! A run reads rows with `cursor >= last maximum - lag`. The bound is inclusive, because rows with the same value, or an
//! older one, may have been committed at the source after we looked. Rows that the last run already delivered are told
//! apart by a 128-bit hash of the whole row, so that nothing at the boundary is lost or doubled, with or without a key.
//! What is remembered is the maximum and the hashes of the rows within the lag of it.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, SchemaRef, TimeUnit};
use arrow::row::{RowConverter, SortField};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;
use weir_error::{Error, Kind, Result};

/// A cursor value with an order. Times are microseconds since the epoch, dates are days.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CursorValue {
    /// Integers, times, decimals (unscaled); as text in JSON, whose numbers end at 64 bits.
    Int(#[serde(with = "number_text")] i128),
    /// Text.
    Text(String),
}

/// A 128-bit hash of a whole row, high and low half.
pub type RowHash = (u64, u64);

mod number_text {
    //! An `i128` as a JSON string.
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &i128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i128, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What is known after some rows: merged over lanes and epochs, kept with the checkpoint, committed with the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CursorState {
    /// The largest value seen.
    pub max: Option<CursorValue>,
    /// `max` as Arrow prints it, for binding at the source.
    pub max_text: Option<String>,
    /// Hashes of the rows with `value >= max - lag`.
    pub boundary: Vec<(CursorValue, RowHash)>,
    /// Rows whose cursor is NULL.
    pub null_rows: u64,
}

impl CursorState {
    /// A cursor of a column of this type that has got to `text`, of which no row at that value is known: they are read again.
    ///
    /// # Errors
    /// The text is no value of the type, or the type cannot be a cursor.
    pub fn at(text: &str, kind: &DataType) -> Result<Self> {
        let wrong = || {
            Error::new("WEIR-RUN-022", Kind::Spec, format!("`{text}` is no value of a cursor of type {kind}"))
                .hint("times are written as RFC 3339, numbers as digits")
        };
        if !supported(kind) {
            return Err(wrong());
        }
        let written: ArrayRef = std::sync::Arc::new(arrow::array::StringArray::from(vec![text]));
        let column = cast(&written, kind).map_err(|_| wrong())?;
        let values = values(&column)?;
        let max = values.first().cloned().flatten().ok_or_else(wrong)?;
        let max_text = text_of_max(&column, &values, Some(&max))?;
        Ok(Self { max: Some(max), max_text, ..Self::default() })
    }

    /// Takes another part in and forgets what lies behind the lag.
    pub fn merge(&mut self, other: CursorState, lag: i64) {
        if other.max > self.max {
            self.max = other.max;
            self.max_text = other.max_text;
        }
        self.boundary.extend(other.boundary);
        self.null_rows += other.null_rows;
        self.prune(lag);
    }

    fn prune(&mut self, lag: i64) {
        let Some(max) = &self.max else { return };
        let floor = lowered(max, lag);
        self.boundary.retain(|(value, _)| *value >= floor);
        self.boundary.sort();
        self.boundary.dedup();
    }
}

fn lowered(value: &CursorValue, lag: i64) -> CursorValue {
    match value {
        CursorValue::Int(number) => CursorValue::Int(number - i128::from(lag)),
        CursorValue::Text(_) => value.clone(),
    }
}

/// Follows the cursor through the batches of one lane.
pub struct CursorTracker {
    column: usize,
    lag: i64,
    rows: RowConverter,
    before: Option<CursorValue>,
    delivered: HashSet<RowHash>,
    state: CursorState,
}

impl CursorTracker {
    /// A tracker for `column`. `previous` is the committed state of the last run.
    pub fn new(schema: &SchemaRef, column: &str, lag: i64, previous: Option<&CursorState>) -> Result<Self> {
        let index = schema.index_of(column).map_err(|_| {
            Error::new("WEIR-RUN-020", Kind::Schema, format!("the cursor column `{column}` is not in the stream"))
                .hint("choose a column of the source stream as `cursor`")
        })?;
        let kind = schema.field(index).data_type();
        if !supported(kind) {
            return Err(Error::new(
                "WEIR-RUN-021",
                Kind::Unsupported,
                format!("column `{column}` of type {kind} cannot be a cursor"),
            )
            .hint("a cursor is an integer, decimal, date, timestamp or text column that only grows"));
        }
        let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let rows =
            RowConverter::new(fields).map_err(|error| Error::internal("cannot hash the rows of this stream").caused_by(error))?;
        Ok(Self {
            column: index,
            lag,
            rows,
            before: previous.and_then(|state| state.max.clone()),
            delivered: previous.map(|state| state.boundary.iter().map(|(_, hash)| *hash).collect()).unwrap_or_default(),
            state: CursorState::default(),
        })
    }

    /// Drops rows that the last run delivered and remembers the rest. The second value is the number dropped.
    pub fn pass(&mut self, batch: RecordBatch) -> Result<(RecordBatch, u64)> {
        let values = values(batch.column(self.column))?;
        let lane_max = values.iter().flatten().max().cloned();
        let floor = match (&self.state.max, &lane_max) {
            (Some(a), Some(b)) => Some(lowered(a.max(b), self.lag)),
            (a, b) => a.as_ref().or(b.as_ref()).map(|value| lowered(value, self.lag)),
        };
        // Only rows near a boundary are hashed: those the last run may have delivered, and those the next may see again.
        let suspicious = |value: &CursorValue| self.before.as_ref().is_some_and(|before| value <= before);
        let remembered = |value: &CursorValue| floor.as_ref().is_some_and(|floor| value >= floor);
        let wanted: Vec<usize> = values
            .iter()
            .enumerate()
            .filter_map(|(row, value)| value.as_ref().filter(|v| suspicious(v) || remembered(v)).map(|_| row))
            .collect();
        let mut keep = vec![true; batch.num_rows()];
        let mut dropped = 0;
        if !wanted.is_empty() {
            let indices = arrow::array::UInt64Array::from_iter_values(wanted.iter().map(|&row| row as u64));
            let columns = batch
                .columns()
                .iter()
                .map(|column| arrow::compute::take(column, &indices, None))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| Error::internal("cannot take boundary rows").caused_by(error))?;
            let encoded = self
                .rows
                .convert_columns(&columns)
                .map_err(|error| Error::internal("cannot hash boundary rows").caused_by(error))?;
            for (row, bytes) in wanted.iter().zip(encoded.iter()) {
                let hash = halves(XxHash3_128::oneshot(bytes.as_ref()));
                let Some(value) = values[*row].clone() else { continue };
                if suspicious(&value) && self.delivered.contains(&hash) {
                    keep[*row] = false;
                    dropped += 1;
                }
                // A row delivered before still counts as delivered for the run after this one.
                if remembered(&value) {
                    self.state.boundary.push((value, hash));
                }
            }
        }
        self.state.null_rows += values.iter().filter(|value| value.is_none()).count() as u64;
        if lane_max > self.state.max {
            self.state.max_text = text_of_max(batch.column(self.column), &values, lane_max.as_ref())?;
            self.state.max = lane_max;
        }
        if self.state.boundary.len() > 4096 {
            self.state.prune(self.lag);
        }
        if dropped == 0 {
            return Ok((batch, 0));
        }
        let kept = filter_record_batch(&batch, &BooleanArray::from(keep))
            .map_err(|error| Error::internal("cannot drop delivered rows").caused_by(error))?;
        Ok((kept, dropped))
    }

    /// What was seen since the last call; goes into the checkpoint.
    pub fn take(&mut self) -> CursorState {
        self.state.prune(self.lag);
        let part = self.state.clone();
        self.state.null_rows = 0;
        part
    }
}

/// The inclusive lower bound for the next read, as the column's text: `max - lag`.
pub fn lower_bound(state: &CursorState, lag: i64, kind: &DataType) -> Option<String> {
    let max = state.max.as_ref()?;
    if lag == 0 {
        return state.max_text.clone();
    }
    let CursorValue::Int(number) = lowered(max, lag) else { return state.max_text.clone() };
    let array: ArrayRef = match kind {
        DataType::Timestamp(_, zone) => {
            let micros = arrow::array::Int64Array::from(vec![i64::try_from(number).ok()?]);
            cast(&cast(&micros, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone())).ok()?, &DataType::Utf8).ok()?
        }
        DataType::Date32 | DataType::Date64 => {
            let days = arrow::array::Int32Array::from(vec![i32::try_from(number).ok()?]);
            cast(&cast(&days, &DataType::Date32).ok()?, &DataType::Utf8).ok()?
        }
        DataType::Decimal128(precision, scale) => {
            let unscaled = arrow::array::Decimal128Array::from(vec![number]).with_precision_and_scale(*precision, *scale).ok()?;
            cast(&unscaled, &DataType::Utf8).ok()?
        }
        _ => return Some(number.to_string()),
    };
    Some(array.as_string::<i32>().value(0).to_owned())
}

fn halves(hash: u128) -> RowHash {
    ((hash >> 64) as u64, hash as u64)
}

fn supported(kind: &DataType) -> bool {
    kind.is_integer()
        || matches!(
            kind,
            DataType::Timestamp(..)
                | DataType::Date32
                | DataType::Date64
                | DataType::Decimal128(..)
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
        )
}

fn values(column: &ArrayRef) -> Result<Vec<Option<CursorValue>>> {
    let failed = |error| Error::internal("cannot read the cursor column").caused_by(error);
    let ints = |array: &ArrayRef| -> Vec<Option<CursorValue>> {
        array.as_primitive::<Int64Type>().iter().map(|value| value.map(|v| CursorValue::Int(i128::from(v)))).collect()
    };
    Ok(match column.data_type() {
        DataType::Timestamp(_, zone) => {
            let micros = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone())).map_err(failed)?;
            ints(&cast(&micros, &DataType::Int64).map_err(failed)?)
        }
        DataType::Date32 | DataType::Date64 => {
            let days = cast(column, &DataType::Date32).map_err(failed)?;
            let days = cast(&days, &DataType::Int32).map_err(failed)?;
            ints(&cast(&days, &DataType::Int64).map_err(failed)?)
        }
        DataType::Decimal128(..) => {
            column.as_primitive::<Decimal128Type>().iter().map(|value| value.map(CursorValue::Int)).collect()
        }
        DataType::UInt64 => column
            .as_primitive::<arrow::datatypes::UInt64Type>()
            .iter()
            .map(|value| value.map(|v| CursorValue::Int(i128::from(v))))
            .collect(),
        kind if kind.is_integer() => ints(&cast(column, &DataType::Int64).map_err(failed)?),
        _ => {
            let text = cast(column, &DataType::Utf8).map_err(failed)?;
            text.as_string::<i32>().iter().map(|value| value.map(|v| CursorValue::Text(v.to_owned()))).collect()
        }
    })
}

fn text_of_max(column: &ArrayRef, values: &[Option<CursorValue>], max: Option<&CursorValue>) -> Result<Option<String>> {
    let Some(row) = values.iter().position(|value| value.as_ref() == max) else { return Ok(None) };
    let one = column.slice(row, 1);
    let text = cast(&one, &DataType::Utf8).map_err(|error| Error::internal("cannot print the cursor value").caused_by(error))?;
    let text = text.as_string::<i32>();
    Ok((!text.is_null(0)).then(|| text.value(0).to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn rows(pairs: &[(i64, &str)]) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("c", DataType::Int64, true), Field::new("t", DataType::Utf8, true)]));
        RecordBatch::try_new(
            schema,
            vec![
                Arc::new(Int64Array::from_iter_values(pairs.iter().map(|p| p.0))),
                Arc::new(StringArray::from_iter_values(pairs.iter().map(|p| p.1))),
            ],
        )
        .unwrap()
    }

    fn run(previous: Option<&CursorState>, lag: i64, batches: &[RecordBatch]) -> (usize, CursorState) {
        let mut tracker = CursorTracker::new(&batches[0].schema(), "c", lag, previous).unwrap();
        let mut out = 0;
        for batch in batches {
            out += tracker.pass(batch.clone()).unwrap().0.num_rows();
        }
        let mut state = CursorState::default();
        state.merge(tracker.take(), lag);
        (out, state)
    }

    #[test]
    fn rows_at_the_boundary_are_neither_lost_nor_doubled() {
        let (out, state) = run(None, 0, &[rows(&[(1, "a"), (2, "b"), (2, "c")])]);
        assert_eq!((out, state.max.clone()), (3, Some(CursorValue::Int(2))));
        // The next read is `>= 2`: both old rows come again, with a third that was committed late under the same value.
        let (out, state) = run(Some(&state), 0, &[rows(&[(2, "b"), (2, "c"), (2, "late"), (3, "d")])]);
        assert_eq!((out, state.max), (2, Some(CursorValue::Int(3))));
    }

    #[test]
    fn late_rows_within_the_lag_are_delivered_once() {
        let (_, first) = run(None, 10, &[rows(&[(95, "x"), (100, "y")])]);
        assert_eq!(lower_bound(&first, 10, &DataType::Int64).as_deref(), Some("90"));
        let (out, second) = run(Some(&first), 10, &[rows(&[(95, "x"), (97, "late"), (100, "y")])]);
        assert_eq!(out, 1);
        let (out, _) = run(Some(&second), 10, &[rows(&[(95, "x"), (97, "late"), (100, "y")])]);
        assert_eq!(out, 0, "nothing new, nothing delivered");
    }

    #[test]
    fn a_cursor_begins_at_a_written_value_and_rows_at_it_come_again() {
        let kind = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let state = CursorState::at("2023-11-14T22:13:20.123456Z", &kind).unwrap();
        assert_eq!(state.max, Some(CursorValue::Int(1_700_000_000_123_456)));
        assert_eq!(lower_bound(&state, 0, &kind).as_deref(), Some("2023-11-14T22:13:20.123456Z"));
        let state = CursorState::at("2", &DataType::Int64).unwrap();
        let (out, _) = run(Some(&state), 0, &[rows(&[(2, "b"), (3, "d")])]);
        assert_eq!(out, 2);
        assert!(CursorState::at("two", &DataType::Int64).is_err() && CursorState::at("1", &DataType::Float64).is_err());
    }

    #[test]
    fn the_state_survives_json() {
        let (_, state) = run(None, 5, &[rows(&[(1, "a"), (i64::MAX, "b")])]);
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<CursorState>(&text).unwrap(), state);
    }

    #[test]
    fn a_run_without_rows_keeps_the_old_state_when_merged() {
        let (_, first) = run(None, 0, &[rows(&[(5, "x")])]);
        let mut kept = first.clone();
        kept.merge(CursorState::default(), 0);
        assert_eq!(kept, first);
    }

    #[test]
    fn timestamps_are_bound_with_their_microseconds() {
        let kind = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let state = CursorState { max: Some(CursorValue::Int(1_700_000_000_123_456)), ..Default::default() };
        assert_eq!(lower_bound(&state, 1, &kind).as_deref(), Some("2023-11-14T22:13:20.123455Z"));
    }
}
