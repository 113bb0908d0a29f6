//! One row as the payload of a dead letter, and back.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::json::ReaderBuilder;
use arrow::json::writer::{LineDelimited, WriterBuilder};

pub(super) const JSON: &str = "application/json";

/// One row as a JSON object, with the columns that are NULL; if that would not give back the row (NaN, a type without a JSON form),
/// as `column=value` text.
pub fn encode(batch: &RecordBatch, row: usize) -> (Vec<u8>, &'static str) {
    let one = batch.slice(row, 1);
    let mut bytes = Vec::new();
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut bytes);
    let written = writer.write(&one).and_then(|()| writer.finish());
    drop(writer);
    while bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if written.is_ok() && parse(&bytes, &one.schema()).as_ref() == Some(&one) {
        return (bytes, JSON);
    }
    let shown: Vec<String> = one
        .schema()
        .fields()
        .iter()
        .zip(one.columns())
        .map(|(field, column)| {
            let value = arrow::util::display::array_value_to_string(column, 0).unwrap_or_default();
            format!("{}={value}", field.name())
        })
        .collect();
    (shown.join("\n").into_bytes(), "text/plain")
}

fn parse(payload: &[u8], schema: &SchemaRef) -> Option<RecordBatch> {
    let mut reader = ReaderBuilder::new(schema.clone()).with_strict_mode(true).build(payload).ok()?;
    let batch = reader.next()?.ok()?;
    (batch.num_rows() == 1 && reader.next().is_none()).then_some(batch)
}

/// The row that a program set aside, as its input had it. `None` if what was kept is not exactly a row of this schema, or was
/// kept for people only.
pub fn decode_record(payload: &[u8], media_type: &str, schema: &SchemaRef) -> Option<RecordBatch> {
    let batch = parse(payload, schema).filter(|_| media_type == JSON)?;
    // A missing column would be NULL, a text perhaps a number: then it is a row of another schema.
    (encode(&batch, 0).0 == payload).then_some(batch)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
    }

    #[test]
    fn a_row_comes_back_as_it_was() {
        let all = batch(vec![
            ("i", Arc::new(Int64Array::from(vec![Some(i64::MIN), None])) as ArrayRef),
            ("f", Arc::new(Float64Array::from(vec![Some(0.1 + 0.2), None]))),
            ("b", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("s", Arc::new(StringArray::from(vec![Some("a \"b\"\n\u{1F600}"), None]))),
            ("x", Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None]))),
            ("d", Arc::new(Date32Array::from(vec![Some(-1), None]))),
            ("t", Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None]).with_timezone("UTC"))),
            ("n", Arc::new(Decimal128Array::from(vec![Some(-12345), None]).with_precision_and_scale(38, 2).unwrap())),
        ]);
        for row in 0..all.num_rows() {
            let (payload, media_type) = encode(&all, row);
            let back = decode_record(&payload, media_type, &all.schema());
            assert_eq!(back.as_ref(), Some(&all.slice(row, 1)), "{}", String::from_utf8_lossy(&payload));
        }
    }

    #[test]
    fn what_would_come_back_otherwise_does_not_come_back() {
        let nan = batch(vec![("f", Arc::new(Float64Array::from(vec![f64::NAN])) as ArrayRef)]);
        let (payload, media_type) = encode(&nan, 0);
        assert_eq!((&payload[..], media_type), (&b"f=NaN"[..], "text/plain"));
        assert_eq!(decode_record(&payload, media_type, &nan.schema()), None);
        let ints = batch(vec![("a", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
        for payload in [&br#"{"a":1,"b":2}"#[..], br#"{}"#, br#"{"a":"1"}"#, br#"{"a":1}{"a":2}"#, b"a=1", b""] {
            assert_eq!(decode_record(payload, JSON, &ints.schema()), None, "{}", String::from_utf8_lossy(payload));
        }
        assert_eq!(decode_record(br#"{"a":1}"#, "text/plain", &ints.schema()), None);
    }
}
