//! A batch in the making: messages one by one into columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Int32Builder, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder,
    TimestampMicrosecondBuilder, TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use weir_connect::{Error, Result};
use weir_formats::{JsonMessages, Refusal};

use super::shape::{Format, Own, Shape};

/// What a message has in a column of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OwnValue<'a> {
    /// Nothing.
    Null,
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A whole number; it must fit the column.
    Int(i64),
    /// A time in the unit of the column, since 1970, UTC.
    Time(i64),
    /// Yes or no.
    Bool(bool),
}

enum Values {
    Json(Box<JsonMessages>),
    Text(StringBuilder),
    Raw(BinaryBuilder),
}

enum Column {
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Bool(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Millis(TimestampMillisecondBuilder),
    Micros(TimestampMicrosecondBuilder),
}

/// A batch in the making.
pub struct Rows {
    schema: SchemaRef,
    values: Values,
    own: Vec<Column>,
    rows: usize,
    bytes: usize,
}

impl Rows {
    /// Builders for a shape.
    ///
    /// # Errors
    /// A column type that JSON has no form for.
    pub fn new(shape: &Shape) -> Result<Self> {
        let payload = &shape.payload;
        let values = match payload.format {
            Format::Json => Values::Json(Box::new(JsonMessages::new(&shape.value, payload.declared.as_ref(), &payload.json)?)),
            Format::Text => Values::Text(StringBuilder::new()),
            Format::Raw => Values::Raw(BinaryBuilder::new()),
        };
        let own = shape.own.iter().map(Column::new).collect::<Result<_>>()?;
        Ok(Self { schema: shape.schema.clone(), values, own, rows: 0, bytes: 0 })
    }

    /// Rows so far.
    pub fn count(&self) -> usize {
        self.rows
    }

    /// Bytes of the payloads so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes one message with a value for each of its own columns: a row more, or an error and no row.
    ///
    /// # Errors
    /// What is wrong with the payload.
    pub fn push(&mut self, payload: &[u8], own: &[OwnValue<'_>]) -> Result<(), Refusal> {
        debug_assert_eq!(own.len(), self.own.len());
        match &mut self.values {
            Values::Json(json) => json.push(payload)?,
            Values::Text(text) => match std::str::from_utf8(payload) {
                Ok(payload) => text.append_value(payload),
                Err(_) => {
                    let reason = "the payload is not valid UTF-8; `format: raw` takes it as it is".to_owned();
                    return Err(Refusal { code: "WEIR-MSG-003", reason });
                }
            },
            Values::Raw(raw) => raw.append_value(payload),
        }
        for (column, value) in self.own.iter_mut().zip(own) {
            column.push(*value);
        }
        self.rows += 1;
        self.bytes += payload.len();
        Ok(())
    }

    /// The batch so far; the builders are empty afterwards.
    ///
    /// # Errors
    /// A list column of over 2^31 elements; a message without a value that its column demands.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        let mut columns: Vec<ArrayRef> = match &mut self.values {
            Values::Json(json) => json.finish()?,
            Values::Text(text) => vec![Arc::new(text.finish())],
            Values::Raw(raw) => vec![Arc::new(raw.finish())],
        };
        columns.extend(self.own.iter_mut().map(Column::finish));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| Error::internal("the columns of a batch do not fit together").because(error))
    }
}

impl Column {
    fn new(own: &Own) -> Result<Self> {
        Ok(match &own.data_type {
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            DataType::Int32 => Self::Int32(Int32Builder::new()),
            DataType::Int64 => Self::Int64(Int64Builder::new()),
            DataType::Timestamp(TimeUnit::Millisecond, Some(zone)) => {
                Self::Millis(TimestampMillisecondBuilder::new().with_timezone(zone.clone()))
            }
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) => {
                Self::Micros(TimestampMicrosecondBuilder::new().with_timezone(zone.clone()))
            }
            other => return Err(Error::internal(format!("a message has no column of type {other}"))),
        })
    }

    /// A value of another kind is NULL: the batch is refused then where the column demands one.
    fn push(&mut self, value: OwnValue<'_>) {
        match (self, value) {
            (Self::Text(column), OwnValue::Text(value)) => column.append_value(value),
            (Self::Text(column), _) => column.append_null(),
            (Self::Bytes(column), OwnValue::Bytes(value)) => column.append_value(value),
            (Self::Bytes(column), _) => column.append_null(),
            (Self::Bool(column), OwnValue::Bool(value)) => column.append_value(value),
            (Self::Bool(column), _) => column.append_null(),
            (Self::Int32(column), OwnValue::Int(value)) => column.append_option(i32::try_from(value).ok()),
            (Self::Int32(column), _) => column.append_null(),
            (Self::Int64(column), OwnValue::Int(value)) => column.append_value(value),
            (Self::Int64(column), _) => column.append_null(),
            (Self::Millis(column), OwnValue::Time(value)) => column.append_value(value),
            (Self::Millis(column), _) => column.append_null(),
            (Self::Micros(column), OwnValue::Time(value)) => column.append_value(value),
            (Self::Micros(column), _) => column.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(column) => Arc::new(column.finish()),
            Self::Bytes(column) => Arc::new(column.finish()),
            Self::Bool(column) => Arc::new(column.finish()),
            Self::Int32(column) => Arc::new(column.finish()),
            Self::Int64(column) => Arc::new(column.finish()),
            Self::Millis(column) => Arc::new(column.finish()),
            Self::Micros(column) => Arc::new(column.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use bytes::Bytes;

    use super::super::shape::Payload;
    use super::*;

    fn sequence() -> Own {
        Own { name: "_sequence", data_type: DataType::Int64, nullable: false, source: "sequence", json: false }
    }

    async fn shape(format: Format, sample: &[&'static str]) -> Result<Shape> {
        let sample: Vec<Bytes> = sample.iter().map(|text| Bytes::from_static(text.as_bytes())).collect();
        Shape::of(Payload { format, ..Payload::default() }, vec![sequence()], &sample, "here").await
    }

    #[tokio::test]
    async fn a_refused_payload_leaves_nothing_behind_in_any_column() {
        let shape = shape(Format::Json, &["{\"id\":\n1}"]).await.unwrap();
        let mut rows = Rows::new(&shape).unwrap();
        rows.push(br#"{"id": 7}"#, &[OwnValue::Int(1)]).unwrap();
        assert_eq!(rows.push(b"{", &[OwnValue::Int(2)]).unwrap_err().code, "WEIR-FMT-111");
        rows.push(br#"{"id": 8}"#, &[OwnValue::Int(3)]).unwrap();
        let batch = rows.finish().unwrap();
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[7, 8]);
        assert_eq!(batch.column(1).as_primitive::<Int64Type>().values(), &[1, 3]);
        assert_eq!((rows.count(), rows.bytes()), (0, 0));
    }

    #[tokio::test]
    async fn text_must_be_text_and_bytes_need_not() {
        let mut text = Rows::new(&shape(Format::Text, &[]).await.unwrap()).unwrap();
        assert_eq!(text.push(b"\xff", &[OwnValue::Int(1)]).unwrap_err().code, "WEIR-MSG-003");
        let mut raw = Rows::new(&shape(Format::Raw, &[]).await.unwrap()).unwrap();
        raw.push(b"\xff", &[OwnValue::Int(1)]).unwrap();
        assert_eq!(raw.finish().unwrap().column(0).as_binary::<i32>().value(0), b"\xff");
    }

    #[tokio::test]
    async fn a_demanded_value_of_another_kind_is_an_error_and_not_a_null() {
        let mut rows = Rows::new(&shape(Format::Text, &[]).await.unwrap()).unwrap();
        rows.push(b"x", &[OwnValue::Null]).unwrap();
        assert!(rows.finish().is_err());
    }

    #[tokio::test]
    async fn columns_must_be_known_and_have_one_name_each() {
        assert_eq!(shape(Format::Json, &[]).await.unwrap_err().code(), "WEIR-MSG-001");
        assert_eq!(shape(Format::Json, &[r#"{"_sequence": 1}"#]).await.unwrap_err().code(), "WEIR-MSG-002");
    }
}
