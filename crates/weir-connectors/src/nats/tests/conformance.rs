//! The kit over the connector.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, BinaryArray, LargeStringArray, StringArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use async_trait::async_trait;
use base64::Engine;
use weir_connect::WriteMode;
use weir_connect::conformance::{Declared, Subject, TypeFamily};

use super::*;
use crate::http::json::{JsonValue, parse};

struct Kit {
    lab: Lab,
    locked: weir_testkit::Nats,
}

impl Kit {
    async fn new() -> Self {
        let locked = weir_testkit::Nats::start_with("authorization { user: weir, password: sesame }\n").unwrap();
        Self { lab: Lab::new("kit").await, locked }
    }

    fn stream(&self, name: &str) -> String {
        format!("{}-{name}", self.lab.name)
    }
}

/// The word for a type in `columns`; a struct has none and is inferred.
fn declared(data_type: &DataType) -> Option<String> {
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
        DataType::List(item) => format!("list({})", declared(item.data_type())?),
        _ => return None,
    })
}

/// Rows as JSON texts by arrow-json, except bytes, which it writes as hex and files of JSON have as base64.
fn texts(batch: &RecordBatch) -> Vec<String> {
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

#[async_trait]
impl Subject for Kit {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(Nats::default())
    }

    fn declared(&self) -> Declared {
        let families: Vec<TypeFamily> =
            TypeFamily::PLAIN.iter().copied().filter(|family| *family != TypeFamily::Structs).collect();
        Declared::both().types(&families).max_buffered_bytes(1 << 20)
    }

    fn connection(&self) -> Value {
        self.lab.connection()
    }

    fn bad_connection(&self) -> Option<Value> {
        Some(json!({"servers": self.locked.url(), "user": "weir", "password": "wrong"}))
    }

    fn unreachable_connection(&self) -> Option<Value> {
        Some(json!({"servers": "nats://127.0.0.1:1"}))
    }

    async fn seed(&self, name: &str, batches: &[RecordBatch]) -> Result<Value> {
        let stream = self.stream(name);
        if self.lab.jetstream.get_stream(&stream).await.is_err() {
            let config = jetstream::stream::Config { name: stream.clone(), subjects: vec![stream.clone()], ..Default::default() };
            self.lab.jetstream.create_stream(config).await.unwrap();
            for text in batches.iter().flat_map(texts) {
                self.lab.jetstream.publish(stream.clone(), text.into()).await.unwrap().await.unwrap();
            }
        }
        let schema = batches[0].schema();
        let columns: BTreeMap<String, String> =
            schema.fields().iter().filter_map(|field| Some((field.name().clone(), declared(field.data_type())?))).collect();
        Ok(json!({"stream": stream, "columns": columns}))
    }

    fn sink_options(&self, name: &str, _mode: WriteMode) -> Value {
        let stream = self.stream(&format!("into-{name}"));
        json!({"stream": stream, "subject": stream, "create_stream": true, "max_buffer_bytes": 1 << 20})
    }

    /// Every column as its JSON text, in a type that no source column has; what it means is for `map_back`.
    async fn read_back(&self, name: &str) -> Result<Vec<RecordBatch>> {
        let stream = self.stream(&format!("into-{name}"));
        if self.lab.jetstream.get_stream(&stream).await.is_err() {
            return Ok(Vec::new());
        }
        let mut names: Vec<String> = Vec::new();
        let mut columns: Vec<Vec<Option<String>>> = Vec::new();
        for message in self.lab.messages(&stream).await {
            let members = raw_members(&message.payload);
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
            return Ok(Vec::new());
        }
        let arrays = columns.into_iter().map(|column| Arc::new(LargeStringArray::from(column)) as ArrayRef);
        Ok(vec![
            RecordBatch::try_from_iter_with_nullable(names.iter().zip(arrays).map(|(name, array)| (name, array, true))).unwrap(),
        ])
    }

    /// The JSON text as arrow-json understands it, which shares no code with the connector.
    fn map_back(&self, field: &Field, read: &ArrayRef) -> Result<ArrayRef> {
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
}

/// The members of an object with their texts as they stand there: numbers are not rounded.
fn raw_members(text: &[u8]) -> Vec<(String, String)> {
    match parse(std::str::from_utf8(text).unwrap()).unwrap().value {
        JsonValue::Object(members) => members.iter().map(|(key, value)| (key.to_string(), value.raw.to_owned())).collect(),
        other => panic!("{other:?}"),
    }
}

weir_connect::conformance!(Kit::new().await);
