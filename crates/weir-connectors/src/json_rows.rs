//! For the conformance kits of connectors that carry JSON payloads: rows as JSON texts and back, by code that the connectors do not use.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, LargeStringArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use base64::Engine;
use weir_connect::{Error, Result};

use crate::http::json::{JsonValue, parse};

/// The word for a type in `columns`; a struct has none and is inferred.
fn word(data_type: &DataType) -> Option<String> {
    Some(match data_type {
        DataType::Boolean => "bool".into(),
        DataType::Int8 => "int8".into(),
        DataType::Int16 => "int16".into(),
        DataType::Int32 => "int32".into(),
        DataType::Int64 => "int64".into(),
        DataType::UInt8 => "uint8".into(),
        DataType::UInt16 => "uint16".into(),
        DataType::UInt32 => "uint32".into(),
        DataType::UInt64 => "uint64".into(),
        DataType::Float32 => "float32".into(),
        DataType::Float64 => "float64".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Utf8 => "text".into(),
        DataType::Binary => "binary".into(),
        DataType::Date32 => "date".into(),
        DataType::Time64(_) => "time".into(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp".into(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "timestamptz".into(),
        DataType::List(item) => format!("list({})", word(item.data_type())?),
        _ => return None,
    })
}

/// The option `columns` for a schema.
pub fn columns(schema: &Schema) -> BTreeMap<String, String> {
    schema.fields().iter().filter_map(|field| Some((field.name().clone(), word(field.data_type())?))).collect()
}

/// Rows as JSON texts by arrow-json, except bytes, which it writes as hex and Weir has as base64.
pub fn texts(batch: &RecordBatch) -> Vec<String> {
    let columns = batch.columns().iter().map(|column| match column.as_binary_opt::<i32>() {
        Some(bytes) => {
            let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
            Arc::new(bytes.iter().map(|bytes| bytes.map(encode)).collect::<StringArray>()) as ArrayRef
        }
        None => column.clone(),
    });
    let names = batch.schema();
    let plain = RecordBatch::try_from_iter(names.fields().iter().map(|field| field.name()).zip(columns)).unwrap();
    let mut writer =
        arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, arrow::json::writer::LineDelimited>(Vec::new());
    writer.write(&plain).unwrap();
    writer.finish().unwrap();
    String::from_utf8(writer.into_inner()).unwrap().lines().map(str::to_owned).collect()
}

/// Every column as its JSON text, in a type that no source column has; what it means is for [`map_back`].
pub fn read_back(payloads: &[Vec<u8>]) -> Vec<RecordBatch> {
    let mut names: Vec<String> = Vec::new();
    let mut columns: Vec<Vec<Option<String>>> = Vec::new();
    for payload in payloads {
        let members = raw_members(payload);
        if names.is_empty() {
            names = members.iter().map(|(name, _)| name.clone()).collect();
            columns.resize(names.len(), Vec::new());
        }
        for (at, (name, raw)) in members.into_iter().enumerate() {
            assert_eq!(names[at], name);
            columns[at].push(Some(raw).filter(|raw| raw != "null"));
        }
    }
    if names.is_empty() {
        return Vec::new();
    }
    let arrays = columns.into_iter().map(|column| Arc::new(LargeStringArray::from(column)) as ArrayRef);
    vec![RecordBatch::try_from_iter_with_nullable(names.iter().zip(arrays).map(|(name, array)| (name, array, true))).unwrap()]
}

/// The JSON text as arrow-json understands it.
pub fn map_back(field: &Field, read: &ArrayRef) -> Result<ArrayRef> {
    if read.data_type() != &DataType::LargeUtf8 {
        return Ok(read.clone());
    }
    let bytes = field.data_type() == &DataType::Binary;
    let wire = if bytes { DataType::Utf8 } else { field.data_type().clone() };
    let schema = Arc::new(Schema::new(vec![Field::new("v", wire, true)]));
    let mut decoder = arrow::json::ReaderBuilder::new(schema).with_batch_size(1 << 20).build_decoder().unwrap();
    for text in read.as_string::<i64>() {
        let line = format!("{{\"v\": {}}}\n", text.unwrap_or("null"));
        decoder.decode(line.as_bytes()).map_err(|error| Error::internal("arrow-json refuses the value").because(error))?;
    }
    let batch = decoder.flush().map_err(|error| Error::internal("arrow-json refuses the values").because(error))?;
    let column = batch.map_or_else(|| arrow::array::new_empty_array(field.data_type()), |batch| batch.column(0).clone());
    if !bytes || column.is_empty() {
        return Ok(column);
    }
    let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    Ok(Arc::new(column.as_string::<i32>().iter().map(|text| text.map(decode)).collect::<BinaryArray>()))
}

/// The members of an object with their texts as they stand there: numbers are not rounded.
fn raw_members(text: &[u8]) -> Vec<(String, String)> {
    match parse(std::str::from_utf8(text).unwrap()).unwrap().value {
        JsonValue::Object(members) => members.iter().map(|(key, value)| (key.to_string(), value.raw.to_owned())).collect(),
        other => panic!("{other:?}"),
    }
}
