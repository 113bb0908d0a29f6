//! Records into Arrow builders. A record that does not fit is taken out again as a whole and told as a dead letter.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanArray, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder,
    Int64Builder, ListArray, NullBufferBuilder, RecordBatch, RecordBatchOptions, StringBuilder, StructArray,
    Time64MicrosecondBuilder, TimestampMicrosecondBuilder, UInt64Builder,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use base64::Engine;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use weir_connect::stream::LossChoice;
use weir_connect::{Error, OnLoss, Result};

use super::config::{Columns, UnknownKeys};
use super::json::{Json, JsonValue, parse};
use super::number::{Digits, exact_f32, exact_f64};
use super::types::ColumnType;

/// The fixed shape of an endpoint's records.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Columns in order.
    pub columns: Vec<(String, ColumnType)>,
    /// The same as Arrow knows it.
    pub schema: SchemaRef,
    /// Separator of flattened names, if records are flattened.
    pub flatten: Option<String>,
    /// What to do with other keys.
    pub unknown_keys: UnknownKeys,
    /// Which columns may be rounded.
    pub on_loss: OnLoss,
    /// Which columns have a type that a person chose.
    declared: Vec<bool>,
}

impl Shape {
    /// A shape of these columns; a type in `declared` was chosen by a person, the others were inferred.
    pub fn new(
        columns: Vec<(String, ColumnType)>,
        declared: &Columns,
        flatten: Option<String>,
        unknown_keys: UnknownKeys,
        on_loss: OnLoss,
    ) -> Self {
        let fields: Vec<Field> = columns.iter().map(|(name, column)| column.field(name)).collect();
        let declared = columns.iter().map(|(name, _)| declared.0.iter().any(|(chosen, _)| chosen == name)).collect();
        Self { schema: Arc::new(Schema::new(fields)), columns, flatten, unknown_keys, on_loss, declared }
    }
}

/// The members of a record: an object's own, flattened if asked for; any other value is the only column `value`.
pub fn members<'a>(record: Json<'a>, flatten: Option<&str>) -> Vec<(Cow<'a, str>, Json<'a>)> {
    let JsonValue::Object(object) = record.value else { return vec![(Cow::Borrowed("value"), record)] };
    let Some(separator) = flatten else { return object };
    let mut flat = Vec::with_capacity(object.len());
    for (key, value) in object {
        spread(key, value, separator, &mut flat);
    }
    flat
}

fn spread<'a>(name: Cow<'a, str>, value: Json<'a>, separator: &str, flat: &mut Vec<(Cow<'a, str>, Json<'a>)>) {
    match value.value {
        JsonValue::Object(inner) if !inner.is_empty() => {
            for (key, member) in inner {
                spread(Cow::Owned(format!("{name}{separator}{key}")), member, separator, flat);
            }
        }
        // An empty object has no columns of its own; as a column it would come and go.
        JsonValue::Object(_) => {}
        other => flat.push((name, Json { value: other, raw: value.raw })),
    }
}

/// Builds batches of one shape.
pub struct Decoder {
    shape: Arc<Shape>,
    columns: Vec<Column>,
    accept: Vec<bool>,
    set: Vec<bool>,
    keep: Vec<bool>,
    bytes: usize,
}

impl Decoder {
    /// An empty one.
    pub fn new(shape: Arc<Shape>) -> Self {
        let columns = shape.columns.iter().map(|(_, column)| Column::new(column)).collect();
        let accept = shape.columns.iter().map(|(name, _)| shape.on_loss.for_column(name) == LossChoice::Accept).collect();
        let set = vec![false; shape.columns.len()];
        Self { shape, columns, accept, set, keep: Vec::new(), bytes: 0 }
    }

    /// Bytes of the records taken since the last batch.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a record; the text says why it does not fit.
    pub fn push(&mut self, bytes: &[u8]) -> std::result::Result<(), String> {
        self.bytes += bytes.len();
        let text = std::str::from_utf8(bytes).map_err(|error| format!("the record is not UTF-8: {error}"))?;
        let record = parse(text).map_err(|error| format!("the record is not JSON: {error}"))?;
        let fits = self.take(members(record, self.shape.flatten.as_deref()));
        self.keep.push(fits.is_ok());
        fits
    }

    fn take(&mut self, members: Vec<(Cow<'_, str>, Json<'_>)>) -> std::result::Result<(), String> {
        let mut wrong: Option<String> = None;
        self.set.fill(false);
        for (guess, (key, value)) in members.iter().enumerate() {
            let names = &self.shape.columns;
            let place = match names.get(guess) {
                Some((name, _)) if name == key => Some(guess),
                _ => names.iter().position(|(name, _)| name == key),
            };
            let misfit = match place {
                None if value.value == JsonValue::Null || self.shape.unknown_keys == UnknownKeys::Ignore => None,
                None => Some(format!("the key `{key}` is not in the schema")),
                Some(index) if self.set[index] => Some(format!("the key `{key}` occurs twice")),
                Some(index) => {
                    self.set[index] = true;
                    let context = Context {
                        accept_loss: self.accept[index],
                        ignore_unknown: self.shape.unknown_keys == UnknownKeys::Ignore,
                        declared: self.shape.declared[index],
                    };
                    self.columns[index].push(value, context).err().map(|why| format!("`{key}`: {why}"))
                }
            };
            wrong = wrong.or(misfit);
        }
        for (column, set) in self.columns.iter_mut().zip(&self.set) {
            if !set {
                column.push_null();
            }
        }
        wrong.map_or(Ok(()), Err)
    }

    /// The records taken since the last batch, without those that did not fit.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let rows = self.keep.len();
        let arrays = self
            .columns
            .iter_mut()
            .zip(self.shape.schema.fields())
            .map(|(column, field)| column.finish(field.data_type()))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.shape.schema.clone(), arrays, &options).map_err(bug)?;
        self.bytes = 0;
        let keep = std::mem::take(&mut self.keep);
        if keep.iter().all(|keep| *keep) {
            return Ok(batch);
        }
        filter_record_batch(&batch, &BooleanArray::from(keep)).map_err(bug)
    }
}

fn bug(error: arrow::error::ArrowError) -> Error {
    Error::internal("records could not be put into a batch").because(error)
}

#[derive(Clone, Copy)]
struct Context {
    accept_loss: bool,
    ignore_unknown: bool,
    declared: bool,
}

enum Column {
    Bool(BooleanBuilder),
    Int(u8, Int64Builder),
    UInt(u8, UInt64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(u8, i8, Decimal128Builder),
    Text(StringBuilder),
    Json(StringBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    TimestampTz(TimestampMicrosecondBuilder),
    Epoch(i8, TimestampMicrosecondBuilder),
    Binary(BinaryBuilder),
    List(Box<Column>, Vec<i32>, NullBufferBuilder),
    Struct(Vec<(String, Column)>, usize, NullBufferBuilder),
}

impl Column {
    fn new(column: &ColumnType) -> Self {
        match column {
            ColumnType::Bool => Self::Bool(BooleanBuilder::new()),
            ColumnType::Int(bits) => Self::Int(*bits, Int64Builder::new()),
            ColumnType::UInt(bits) => Self::UInt(*bits, UInt64Builder::new()),
            ColumnType::Float32 => Self::Float32(Float32Builder::new()),
            ColumnType::Float64 => Self::Float64(Float64Builder::new()),
            ColumnType::Decimal(precision, scale) => Self::Decimal(*precision, *scale, Decimal128Builder::new()),
            ColumnType::Text => Self::Text(StringBuilder::new()),
            ColumnType::Json => Self::Json(StringBuilder::new()),
            ColumnType::Date => Self::Date(Date32Builder::new()),
            ColumnType::Time => Self::Time(Time64MicrosecondBuilder::new()),
            ColumnType::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::new()),
            ColumnType::TimestampTz => Self::TimestampTz(TimestampMicrosecondBuilder::new()),
            ColumnType::EpochSecs => Self::Epoch(6, TimestampMicrosecondBuilder::new()),
            ColumnType::EpochMs => Self::Epoch(3, TimestampMicrosecondBuilder::new()),
            ColumnType::Binary => Self::Binary(BinaryBuilder::new()),
            ColumnType::List(item) => Self::List(Box::new(Self::new(item)), vec![0], NullBufferBuilder::new(0)),
            ColumnType::Struct(members) => {
                let members = members.iter().map(|(name, member)| (name.clone(), Self::new(member))).collect();
                Self::Struct(members, 0, NullBufferBuilder::new(0))
            }
        }
    }

    fn push_null(&mut self) {
        match self {
            Self::Bool(builder) => builder.append_null(),
            Self::Int(_, builder) => builder.append_null(),
            Self::UInt(_, builder) => builder.append_null(),
            Self::Float32(builder) => builder.append_null(),
            Self::Float64(builder) => builder.append_null(),
            Self::Decimal(_, _, builder) => builder.append_null(),
            Self::Text(builder) | Self::Json(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Time(builder) => builder.append_null(),
            Self::Timestamp(builder) | Self::TimestampTz(builder) | Self::Epoch(_, builder) => builder.append_null(),
            Self::Binary(builder) => builder.append_null(),
            Self::List(_, offsets, valid) => {
                offsets.push(offsets.last().copied().unwrap_or(0));
                valid.append_null();
            }
            Self::Struct(members, rows, valid) => {
                members.iter_mut().for_each(|(_, member)| member.push_null());
                *rows += 1;
                valid.append_null();
            }
        }
    }

    /// Appends one value in any case: the value itself, or NULL with the reason why it does not fit.
    fn push(&mut self, json: &Json<'_>, context: Context) -> std::result::Result<(), String> {
        if json.value == JsonValue::Null {
            self.push_null();
            return Ok(());
        }
        match self {
            Self::List(item, offsets, valid) => return push_list(item, offsets, valid, json, context),
            Self::Struct(members, rows, valid) => return push_struct(members, rows, valid, json, context),
            _ => {}
        }
        if self.push_scalar(json, context).is_none() {
            self.push_null();
            return Err(format!("{} is not {}", shown(json.raw), self.wants()));
        }
        Ok(())
    }

    /// `None` if the value does not fit; then nothing was appended.
    fn push_scalar(&mut self, json: &Json<'_>, context: Context) -> Option<()> {
        use JsonValue as V;
        match (self, &json.value) {
            (Self::Json(builder), _) => builder.append_value(json.raw),
            (Self::Text(builder), V::Text(text)) => builder.append_value(text),
            // A column declared as text keeps numbers and truth values as they were written; in an inferred one 5 and "5" stay apart.
            (Self::Text(builder), V::Number(_) | V::Bool(_)) if context.declared => builder.append_value(json.raw),
            (Self::Bool(builder), V::Bool(value)) => builder.append_value(*value),
            (Self::Int(bits, builder), V::Number(text)) => {
                let value = match text.parse::<i64>() {
                    Ok(value) => value,
                    Err(_) => i64::try_from(Digits::of(text).integer()?).ok()?,
                };
                let unused = 64 - u32::from(*bits);
                ((value << unused) >> unused == value).then(|| builder.append_value(value))?;
            }
            (Self::UInt(bits, builder), V::Number(text)) => {
                let value = match text.parse::<u64>() {
                    Ok(value) => value,
                    Err(_) => u64::try_from(Digits::of(text).integer()?).ok()?,
                };
                (*bits >= 64 || value >> *bits == 0).then(|| builder.append_value(value))?;
            }
            (Self::Float64(builder), V::Number(text)) => {
                let nearest = || text.parse::<f64>().ok().filter(|value| context.accept_loss && value.is_finite());
                builder.append_value(exact_f64(text).or_else(nearest)?);
            }
            (Self::Float32(builder), V::Number(text)) => {
                let nearest = || text.parse::<f32>().ok().filter(|value| context.accept_loss && value.is_finite());
                builder.append_value(exact_f32(text).or_else(nearest)?);
            }
            // Money often comes in quotes, so that no double spoils it on the way.
            (Self::Decimal(precision, scale, builder), V::Number(_) | V::Text(_)) => {
                let text = match &json.value {
                    V::Text(text) if context.declared && is_number(text) => text.as_ref(),
                    V::Text(_) => return None,
                    _ => json.raw,
                };
                let value = Digits::of(text).scaled(*scale)?;
                (value.unsigned_abs() < 10u128.pow(u32::from(*precision))).then(|| builder.append_value(value))?;
            }
            (Self::Date(builder), V::Text(text)) => {
                let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
                builder.append_value(i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()?);
            }
            (Self::Time(builder), V::Text(text)) => {
                let time: NaiveTime = text.parse().ok()?;
                let nanos = i64::from(time.num_seconds_from_midnight()) * 1_000_000_000 + i64::from(time.nanosecond());
                (nanos % 1000 == 0 && time.nanosecond() < 1_000_000_000).then(|| builder.append_value(nanos / 1000))?;
            }
            (Self::Timestamp(builder), V::Text(text)) => {
                let moment = text.replacen(' ', "T", 1).parse::<NaiveDateTime>().ok()?;
                builder.append_value(whole_micros(moment)?);
            }
            (Self::TimestampTz(builder), V::Text(text)) => {
                let moment =
                    DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"));
                builder.append_value(whole_micros(moment.ok()?.naive_utc())?);
            }
            (Self::Epoch(scale, builder), V::Number(text)) => {
                builder.append_value(i64::try_from(Digits::of(text).scaled(*scale)?).ok()?);
            }
            (Self::Binary(builder), V::Text(text)) => {
                builder.append_value(base64::engine::general_purpose::STANDARD.decode(text.as_bytes()).ok()?);
            }
            _ => return None,
        }
        Some(())
    }

    fn wants(&self) -> String {
        match self {
            Self::Bool(_) => "true or false".into(),
            Self::Int(bits, _) => format!("an integer of {bits} bits"),
            Self::UInt(bits, _) => format!("an unsigned integer of {bits} bits"),
            Self::Float32(_) => "a number that a 32-bit float holds exactly".into(),
            Self::Float64(_) => "a number that a 64-bit float holds exactly".into(),
            Self::Decimal(precision, scale, _) => format!("a decimal({precision},{scale})"),
            Self::Text(_) => "text".into(),
            Self::Json(_) => "JSON".into(),
            Self::Date(_) => "a date (2024-02-29)".into(),
            Self::Time(_) => "a time of day with at most microseconds".into(),
            Self::Timestamp(_) => "a time without offset and with at most microseconds".into(),
            Self::TimestampTz(_) => "an RFC 3339 time with offset and at most microseconds".into(),
            Self::Epoch(6, _) => "a number of seconds since 1970".into(),
            Self::Epoch(..) => "a number of milliseconds since 1970".into(),
            Self::Binary(_) => "base64".into(),
            Self::List(..) => "a list".into(),
            Self::Struct(..) => "an object".into(),
        }
    }

    fn finish(&mut self, data_type: &DataType) -> Result<ArrayRef> {
        let array: ArrayRef = match self {
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int(_, builder) => Arc::new(builder.finish()),
            Self::UInt(_, builder) => Arc::new(builder.finish()),
            Self::Float32(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Decimal(_, _, builder) => Arc::new(builder.finish().with_data_type(data_type.clone())),
            Self::Text(builder) | Self::Json(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::TimestampTz(builder) | Self::Epoch(_, builder) => Arc::new(builder.finish().with_timezone("UTC")),
            Self::Binary(builder) => Arc::new(builder.finish()),
            Self::List(item, offsets, valid) => {
                let DataType::List(field) = data_type else { return Err(Error::internal("a list column is not a list")) };
                let offsets = OffsetBuffer::new(std::mem::replace(offsets, vec![0]).into());
                let values = item.finish(field.data_type())?;
                Arc::new(ListArray::try_new(field.clone(), offsets, values, valid.finish()).map_err(bug)?)
            }
            Self::Struct(members, rows, valid) => {
                let DataType::Struct(fields) = data_type else { return Err(Error::internal("a struct column is not a struct")) };
                let arrays = members
                    .iter_mut()
                    .zip(fields)
                    .map(|((_, member), field)| member.finish(field.data_type()))
                    .collect::<Result<Vec<_>>>()?;
                let rows = std::mem::take(rows);
                Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, valid.finish(), rows).map_err(bug)?)
            }
        };
        // Narrow integers were checked when they were taken, so this cast is exact.
        if array.data_type() == data_type { Ok(array) } else { cast(&array, data_type).map_err(bug) }
    }
}

fn push_list(
    item: &mut Column,
    offsets: &mut Vec<i32>,
    valid: &mut NullBufferBuilder,
    json: &Json<'_>,
    context: Context,
) -> std::result::Result<(), String> {
    let mut wrong = None;
    let mut length = offsets.last().copied().unwrap_or(0);
    if let JsonValue::List(items) = &json.value {
        for value in items {
            wrong = wrong.or(item.push(value, context).err());
            length = length.checked_add(1).ok_or("a list column grows beyond 2^31 items in one batch")?;
        }
        valid.append_non_null();
    } else {
        wrong = Some(format!("{} is not a list", shown(json.raw)));
        valid.append_null();
    }
    offsets.push(length);
    wrong.map_or(Ok(()), Err)
}

fn push_struct(
    members: &mut [(String, Column)],
    rows: &mut usize,
    valid: &mut NullBufferBuilder,
    json: &Json<'_>,
    context: Context,
) -> std::result::Result<(), String> {
    let mut wrong = None;
    let mut set = vec![false; members.len()];
    if let JsonValue::Object(object) = &json.value {
        for (key, value) in object {
            let misfit = match members.iter().position(|(name, _)| name == key) {
                None if value.value == JsonValue::Null || context.ignore_unknown => None,
                None => Some(format!("the key `{key}` is not in the schema")),
                Some(index) if set[index] => Some(format!("the key `{key}` occurs twice")),
                Some(index) => {
                    set[index] = true;
                    members[index].1.push(value, context).err().map(|why| format!("`{key}`: {why}"))
                }
            };
            wrong = wrong.or(misfit);
        }
        valid.append_non_null();
    } else {
        wrong = Some(format!("{} is not an object", shown(json.raw)));
        valid.append_null();
    }
    for ((_, member), set) in members.iter_mut().zip(set) {
        if !set {
            member.push_null();
        }
    }
    *rows += 1;
    wrong.map_or(Ok(()), Err)
}

fn is_number(text: &str) -> bool {
    parse(text).is_ok_and(|json| matches!(json.value, JsonValue::Number(_)) && json.raw.len() == text.len())
}

/// Microseconds since 1970; `None` for finer times and leap seconds, which Arrow's microseconds cannot tell apart.
fn whole_micros(moment: NaiveDateTime) -> Option<i64> {
    let nanos = moment.nanosecond();
    (nanos.is_multiple_of(1000) && nanos < 1_000_000_000).then(|| moment.and_utc().timestamp_micros())
}

fn shown(raw: &str) -> String {
    if raw.chars().count() <= 60 {
        return raw.to_owned();
    }
    let head: String = raw.chars().take(60).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder(columns: &[(&str, &str)]) -> Decoder {
        let columns: Vec<_> = columns.iter().map(|(name, column)| (name.to_string(), column.parse().unwrap())).collect();
        let declared = Columns(columns.clone());
        Decoder::new(Arc::new(Shape::new(columns, &declared, None, UnknownKeys::DeadLetter, OnLoss::default())))
    }

    fn rows(decoder: &mut Decoder) -> Vec<String> {
        let batch = decoder.finish().unwrap();
        let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        String::from_utf8(writer.into_inner()).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_record_that_does_not_fit_leaves_no_trace() {
        let mut decoder = decoder(&[("id", "int64"), ("tags", "list<struct<n: int8>>"), ("s", "text")]);
        decoder.push(br#"{"id": 1, "tags": [{"n": 1}, {"n": null}], "s": "a"}"#).unwrap();
        let wrong: [(&[u8], &str); 9] = [
            (br#"{"id": 1.5}"#, "`id`: 1.5 is not an integer"),
            (br#"{"id": 9223372036854775808}"#, "`id`: 9223372036854775808 is not"),
            (br#"{"id": 2, "tags": [{"n": 3}, {"n": 128}]}"#, "`tags`: `n`: 128 is not an integer of 8 bits"),
            (br#"{"id": 2, "tags": {}}"#, "`tags`: {} is not a list"),
            (br#"{"id": 2, "tags": [{"m": 1}]}"#, "the key `m` is not in the schema"),
            (br#"{"id": 2, "id": 3}"#, "the key `id` occurs twice"),
            (br#"{"id": 2, "new": 1}"#, "the key `new` is not in the schema"),
            (br#"{"id": 2, "s": "\ud800"}"#, "not JSON"),
            (b"{\"id\": 2, \"s\": \"\xff\"}", "not UTF-8"),
        ];
        for (record, why) in wrong {
            let said = decoder.push(record).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        decoder.push(br#"{"id": 4.0e0, "new": null, "s": 1.50}"#).unwrap();
        assert_eq!(rows(&mut decoder), [r#"{"id":1,"tags":[{"n":1},{}],"s":"a"}"#, r#"{"id":4,"s":"1.50"}"#]);
        assert!(rows(&mut decoder).is_empty());
    }

    #[test]
    fn no_digit_and_no_microsecond_is_lost() {
        let mut decoder =
            decoder(&[("d", "decimal(20,2)"), ("t", "timestamptz"), ("n", "timestamp"), ("e", "epoch_ms"), ("f", "float64")]);
        decoder
            .push(br#"{"d": "123456789012345678.90", "t": "2024-01-01T00:00:00.123456+02:00", "n": "2024-01-01 00:00:00", "e": 1.5, "f": 0.1}"#)
            .unwrap();
        for record in [
            r#"{"d": 0.001}"#,
            r#"{"d": 1234567890123456789}"#,
            r#"{"t": "2024-01-01T00:00:00.1234567Z"}"#,
            r#"{"t": "2024-01-01T00:00:00"}"#,
            r#"{"n": "2024-01-01T00:00:00Z"}"#,
            r#"{"e": 0.0001}"#,
            r#"{"f": 0.12345678901234567890}"#,
            r#"{"t": "2016-12-31T23:59:60Z"}"#,
        ] {
            assert!(decoder.push(record.as_bytes()).is_err(), "{record}");
        }
        let seen = rows(&mut decoder);
        assert_eq!(seen.len(), 1);
        for part in ["123456789012345678.90", "2023-12-31T22:00:00.123456Z", "2024-01-01T00:00:00", "1970-01-01T00:00:00.001500Z"]
        {
            assert!(seen[0].contains(part), "{part} in {}", seen[0]);
        }
    }

    #[test]
    fn in_an_inferred_column_a_number_is_not_taken_for_text_nor_text_for_a_number() {
        let columns = vec![("t".to_owned(), ColumnType::Text), ("d".to_owned(), ColumnType::Decimal(38, 0))];
        let shape = Shape::new(columns, &Columns::default(), None, UnknownKeys::DeadLetter, OnLoss::default());
        let mut decoder = Decoder::new(Arc::new(shape));
        for record in [r#"{"t": 5}"#, r#"{"t": true}"#, r#"{"d": "5"}"#] {
            assert!(decoder.push(record.as_bytes()).is_err(), "{record}");
        }
        decoder.push(br#"{"t": "5", "d": 5}"#).unwrap();
        assert_eq!(rows(&mut decoder), [r#"{"t":"5","d":5}"#]);
    }

    #[test]
    fn flattening_tells_colliding_names() {
        let columns = vec![("a_b".to_owned(), ColumnType::Int(64))];
        let shape = Shape::new(columns, &Columns::default(), Some("_".into()), UnknownKeys::DeadLetter, OnLoss::default());
        let mut decoder = Decoder::new(Arc::new(shape));
        decoder.push(br#"{"a": {"b": 1}}"#).unwrap();
        assert!(decoder.push(br#"{"a": {"b": 1}, "a_b": 2}"#).unwrap_err().contains("twice"));
        assert_eq!(rows(&mut decoder), [r#"{"a_b":1}"#]);
    }
}
