//! `partition_by`: which folder a row goes to.
//!
//! | written | folder |
//! | --- | --- |
//! | `country` | `country=DE` |
//! | `year(c)` `month(c)` `day(c)` `hour(c)` | `c_year=2026` `c_month=2026-01` `c_day=2026-01-31` `c_hour=2026-01-31-13` |
//! | `year` `month` `day` `hour` | `year=2026` `month=01` `day=31` `hour=13` |
//!
//! Times are divided in UTC. The columns stay in the files too: a folder's name is text and would not bring back `007`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Datelike, Timelike, Utc};
use weir_error::{Error, Kind, Result};

use super::hive;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Year,
    Month,
    Day,
    Hour,
}

impl Unit {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "year" => Self::Year,
            "month" => Self::Month,
            "day" => Self::Day,
            "hour" => Self::Hour,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }

    /// The start of the span that holds a moment, in microseconds.
    fn number(self, micros: i64) -> i64 {
        match self {
            Self::Hour => micros.div_euclid(3_600_000_000),
            Self::Day => micros.div_euclid(86_400_000_000),
            Self::Month | Self::Year => {
                let (year, month, _) = weir_formats::civil(micros.div_euclid(86_400_000_000));
                if self == Self::Year { year } else { year * 12 + month - 1 }
            }
        }
    }

    /// Year, month (from 1), day, hour of a number that [`Unit::number`] made.
    fn civil(self, number: i64) -> Option<(i64, u32, u32, u32)> {
        Some(match self {
            Self::Year => (number, 1, 1, 0),
            Self::Month => (number.div_euclid(12), number.rem_euclid(12) as u32 + 1, 1, 0),
            Self::Day | Self::Hour => {
                let secs = number.checked_mul(if self == Self::Day { 86_400 } else { 3_600 })?;
                let at = DateTime::<Utc>::from_timestamp(secs, 0)?;
                (i64::from(at.year()), at.month(), at.day(), at.hour())
            }
        })
    }

    fn span(self, number: i64) -> String {
        let Some((year, month, day, hour)) = self.civil(number) else { return number.to_string() };
        match self {
            Self::Year => format!("{year:04}"),
            Self::Month => format!("{year:04}-{month:02}"),
            Self::Day => format!("{year:04}-{month:02}-{day:02}"),
            Self::Hour => format!("{year:04}-{month:02}-{day:02}-{hour:02}"),
        }
    }
}

#[derive(Debug, Clone)]
enum Part {
    /// A column's own value.
    Column { index: usize },
    /// The span of a moment, whole (`2026-01-31`).
    Span { index: usize, unit: Unit },
    /// One number of a moment (`31`).
    Number { index: usize, unit: Unit },
    /// The same for every row.
    Fixed { value: String },
}

/// Folder columns and their values, outermost first; `None` is NULL.
pub(crate) type Values = Vec<Option<String>>;

/// Divides batches by folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Partitioner {
    names: Vec<String>,
    parts: Vec<Part>,
}

impl Partitioner {
    /// # Errors
    /// When a word names no column, or a column that cannot be a folder.
    pub(crate) fn new(words: &[String], schema: &SchemaRef, cursor: Option<&str>, started: DateTime<Utc>) -> Result<Self> {
        let (mut names, mut parts) = (vec![], vec![]);
        for word in words {
            let (name, part) = Self::part(word.trim(), schema, cursor, started)?;
            if names.contains(&name) {
                return Err(bad(word, "it is there twice"));
            }
            names.push(name);
            parts.push(part);
        }
        Ok(Self { names, parts })
    }

    fn part(word: &str, schema: &SchemaRef, cursor: Option<&str>, started: DateTime<Utc>) -> Result<(String, Part)> {
        if let Ok(index) = schema.index_of(word) {
            let data_type = schema.field(index).data_type();
            return if is_label(data_type) {
                Ok((word.to_owned(), Part::Column { index }))
            } else {
                Err(bad(word, format!("a value of type {data_type} cannot name a folder")))
            };
        }
        if let Some((function, column)) = word.strip_suffix(')').and_then(|word| word.split_once('(')) {
            let unit = Unit::of(function.trim()).ok_or_else(|| bad(word, "known functions are year, month, day and hour"))?;
            let column = column.trim().trim_matches('"');
            let index = moment(schema, column, word)?;
            return Ok((format!("{column}_{}", unit.word()), Part::Span { index, unit }));
        }
        let Some(unit) = Unit::of(word) else {
            let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(bad(word, "there is no such column").hint(format!("columns are: {}", columns.join(", "))));
        };
        let part = match cursor.filter(|column| moment(schema, column, word).is_ok()) {
            Some(column) => Part::Number { index: moment(schema, column, word)?, unit },
            None => Part::Fixed { value: number(unit, unit.number(started.timestamp_micros())) },
        };
        Ok((word.to_owned(), part))
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether a folder depends on when the run began.
    pub(crate) fn by_run(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Fixed { .. }))
    }

    /// Positions of the columns that folders depend on.
    pub(crate) fn columns(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().filter_map(|part| match part {
            Part::Column { index } | Part::Span { index, .. } | Part::Number { index, .. } => Some(*index),
            Part::Fixed { .. } => None,
        })
    }

    /// The folder of these values, with a slash at the end; empty without partitions.
    pub(crate) fn folder(&self, values: &Values) -> String {
        self.names.iter().zip(values).map(|(name, value)| hive::segment(name, value.as_deref()) + "/").collect()
    }

    /// The values by name, for the manifest.
    pub(crate) fn named(&self, values: &Values) -> BTreeMap<String, Option<String>> {
        self.names.iter().cloned().zip(values.iter().cloned()).collect()
    }

    /// The batch divided by folder; the order of the rows is kept inside each part.
    pub(crate) fn divide(&self, batch: &RecordBatch) -> Result<Vec<(Values, RecordBatch)>> {
        let broken = |error: arrow::error::ArrowError| Error::internal(error.to_string());
        if batch.num_rows() == 0 {
            return Ok(vec![]);
        }
        let columns: Vec<Option<ArrayRef>> = self.parts.iter().map(|part| part.column(batch)).collect::<Result<_>>()?;
        let keys: Vec<ArrayRef> = columns.iter().flatten().cloned().collect();
        if keys.is_empty() {
            return Ok(vec![(self.values(&columns, 0)?, batch.clone())]);
        }
        let sort_fields = keys.iter().map(|key| SortField::new(key.data_type().clone())).collect();
        let rows = RowConverter::new(sort_fields).and_then(|converter| converter.convert_columns(&keys)).map_err(broken)?;
        let mut groups: Vec<Vec<u32>> = vec![];
        let mut by_key: HashMap<&[u8], usize> = HashMap::new();
        let (mut previous, mut group): (Option<&[u8]>, usize) = (None, 0);
        let keys: Vec<arrow::row::Row<'_>> = rows.iter().collect();
        for (index, row) in keys.iter().enumerate() {
            let key: &[u8] = row.as_ref();
            if previous != Some(key) {
                group = *by_key.entry(key).or_insert_with(|| {
                    groups.push(vec![]);
                    groups.len() - 1
                });
                previous = Some(key);
            }
            groups[group].push(index as u32);
        }
        let mut divided = Vec::with_capacity(groups.len());
        for indices in groups {
            let first = indices[0] as usize;
            let contiguous = indices[indices.len() - 1] as usize - first + 1 == indices.len();
            // A small slice would keep its whole batch in memory.
            let part = if contiguous && indices.len() * 2 >= batch.num_rows() {
                batch.slice(first, indices.len())
            } else {
                take_record_batch(batch, &UInt32Array::from(indices)).map_err(broken)?
            };
            divided.push((self.values(&columns, first)?, part));
        }
        Ok(divided)
    }

    fn values(&self, columns: &[Option<ArrayRef>], row: usize) -> Result<Values> {
        self.parts.iter().zip(columns).map(|(part, column)| part.value(column.as_ref(), row)).collect()
    }
}

impl Part {
    /// What rows are grouped by; `None` if every row is the same.
    fn column(&self, batch: &RecordBatch) -> Result<Option<ArrayRef>> {
        match self {
            Self::Fixed { .. } => Ok(None),
            Self::Column { index } => Ok(Some(batch.column(*index).clone())),
            Self::Span { index, unit } | Self::Number { index, unit } => {
                let micros = micros(batch.column(*index))?;
                let numbers: Int64Array = match (self, unit) {
                    (Self::Number { .. }, Unit::Hour) => micros.unary(|at| Unit::Hour.number(at).rem_euclid(24)),
                    (Self::Number { .. }, Unit::Month) => micros.unary(|at| Unit::Month.number(at).rem_euclid(12) + 1),
                    (Self::Number { .. }, Unit::Day) => {
                        micros.unary(|at| Unit::Day.civil(Unit::Day.number(at)).map_or(0, |(_, _, day, _)| i64::from(day)))
                    }
                    _ => micros.unary(|at| unit.number(at)),
                };
                Ok(Some(Arc::new(numbers)))
            }
        }
    }

    fn value(&self, column: Option<&ArrayRef>, row: usize) -> Result<Option<String>> {
        let Some(column) = column else {
            return Ok(match self {
                Self::Fixed { value } => Some(value.clone()),
                _ => None,
            });
        };
        if column.is_null(row) {
            return Ok(None);
        }
        Ok(Some(match self {
            Self::Span { unit, .. } => unit.span(column.as_primitive::<Int64Type>().value(row)),
            Self::Number { unit: Unit::Year, .. } => format!("{:04}", column.as_primitive::<Int64Type>().value(row)),
            Self::Number { .. } => format!("{:02}", column.as_primitive::<Int64Type>().value(row)),
            _ => {
                let options = FormatOptions::default();
                let formatter = ArrayFormatter::try_new(column, &options).map_err(|error| Error::internal(error.to_string()))?;
                formatter.value(row).to_string()
            }
        }))
    }
}

fn number(unit: Unit, span: i64) -> String {
    let (year, month, day, hour) = unit.civil(span).unwrap_or_default();
    match unit {
        Unit::Year => format!("{year:04}"),
        Unit::Month => format!("{month:02}"),
        Unit::Day => format!("{day:02}"),
        Unit::Hour => format!("{hour:02}"),
    }
}

/// Any date or timestamp as microseconds, floored.
fn micros(column: &ArrayRef) -> Result<Int64Array> {
    let numbers = |column: &ArrayRef| -> Result<Int64Array> {
        let raw = match column.data_type() {
            DataType::Date32 => cast(column, &DataType::Int32).and_then(|days| cast(&days, &DataType::Int64)),
            _ => cast(column, &DataType::Int64),
        };
        Ok(raw.map_err(|error| Error::internal(error.to_string()))?.as_primitive::<Int64Type>().clone())
    };
    let raw = numbers(column)?;
    let scale = |factor: i64| {
        raw.try_unary(|value| {
            value.checked_mul(factor).ok_or_else(|| {
                Error::new("WEIR-FILE-022", Kind::Data, "a time is too far away to divide by it")
                    .because(format!("{value} in column of {}", column.data_type()))
            })
        })
    };
    match column.data_type() {
        DataType::Date32 => scale(86_400_000_000),
        DataType::Date64 | DataType::Timestamp(TimeUnit::Millisecond, _) => scale(1_000),
        DataType::Timestamp(TimeUnit::Second, _) => scale(1_000_000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Ok(raw.unary(|value| value.div_euclid(1_000))),
        _ => Ok(raw),
    }
}

fn moment(schema: &SchemaRef, column: &str, word: &str) -> Result<usize> {
    let index = schema.index_of(column).map_err(|_| {
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        bad(word, format!("there is no column `{column}`")).hint(format!("columns are: {}", columns.join(", ")))
    })?;
    match schema.field(index).data_type() {
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => Ok(index),
        other => Err(bad(word, format!("column `{column}` is {other}, not a date or timestamp")).hint("cast it first")),
    }
}

fn is_label(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_label(values),
        DataType::Timestamp(..)
        | DataType::Boolean
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Date32
        | DataType::Date64
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => true,
        other => other.is_integer(),
    }
}

fn bad(word: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-FILE-021", Kind::Spec, format!("cannot partition by `{word}`")).because(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;

    fn batch() -> RecordBatch {
        let times = TimestampMicrosecondArray::from(vec![Some(0), Some(-1), None, Some(86_400_000_000)]).with_timezone("UTC");
        let names = StringArray::from(vec![Some("a/b"), None, Some("a/b"), Some("007")]);
        let schema =
            Schema::new(vec![Field::new("at", times.data_type().clone(), true), Field::new("name", DataType::Utf8, true)]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(times), Arc::new(names)]).unwrap()
    }

    fn folders(words: &[&str], cursor: Option<&str>) -> Vec<(String, usize)> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let started = "2026-01-31T23:59:59Z".parse().unwrap();
        let partitioner = Partitioner::new(&words, &batch().schema(), cursor, started).unwrap();
        let divided = partitioner.divide(&batch()).unwrap();
        divided.iter().map(|(values, rows)| (partitioner.folder(values), rows.num_rows())).collect()
    }

    #[test]
    fn rows_go_to_the_folder_of_their_value_and_null_has_its_own() {
        let found = folders(&["name"], None);
        let expected = [("name=a%2Fb/", 2), ("name=__HIVE_DEFAULT_PARTITION__/", 1), ("name=007/", 1)];
        assert_eq!(found, expected.map(|(folder, rows)| (folder.to_owned(), rows)));
    }

    #[test]
    fn times_before_1970_belong_to_the_day_before() {
        let found: Vec<String> = folders(&["day(at)"], None).into_iter().map(|(folder, _)| folder).collect();
        let expected = ["at_day=1970-01-01/", "at_day=1969-12-31/", "at_day=__HIVE_DEFAULT_PARTITION__/", "at_day=1970-01-02/"];
        assert_eq!(found, expected);
    }

    #[test]
    fn bare_words_mean_the_cursor_else_the_start_of_the_run() {
        let by_run = folders(&["year", "month", "day", "hour"], None);
        assert_eq!(by_run, [("year=2026/month=01/day=31/hour=23/".to_owned(), 4)]);
        let by_cursor = folders(&["year", "month"], Some("at"));
        assert_eq!(by_cursor[1], ("year=1969/month=12/".to_owned(), 1));
    }

    #[test]
    fn a_word_that_fits_nothing_is_refused_with_the_columns() {
        let schema = batch().schema();
        for word in ["nam", "day(name)", "week(at)"] {
            let error = Partitioner::new(&[word.to_owned()], &schema, None, Utc::now()).unwrap_err();
            assert_eq!(error.code(), "WEIR-FILE-021", "{word}");
        }
    }

    proptest! {
        #[test]
        fn months_and_years_agree_with_the_calendar(secs in -60_000_000_000i64..250_000_000_000) {
            let at = DateTime::<Utc>::from_timestamp(secs, 0).unwrap();
            prop_assert_eq!(Unit::Month.span(Unit::Month.number(secs * 1_000_000)), format!("{:04}-{:02}", at.year(), at.month()));
            prop_assert_eq!(Unit::Year.number(secs * 1_000_000), i64::from(at.year()));
            prop_assert_eq!(
                Unit::Hour.span(Unit::Hour.number(secs * 1_000_000)),
                format!("{:04}-{:02}-{:02}-{:02}", at.year(), at.month(), at.day(), at.hour())
            );
        }
    }
}
