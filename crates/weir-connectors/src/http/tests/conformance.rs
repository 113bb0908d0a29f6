//! The kit over the connector: an API that serves what was seeded, and one that keeps what was posted or put.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, LargeStringArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use async_trait::async_trait;
use base64::Engine;
use serde_json::{Value, json};
use weir_connect::conformance::{Declared, Subject, TypeFamily};
use weir_connect::{Connector, Error, Result, WriteMode};

use super::super::HttpConnector;
use super::super::json::{JsonValue, parse};
use super::server::{Api, Asked, Reply};

#[derive(Default)]
struct Store {
    /// Records to serve, as JSON texts, by name.
    seeded: BTreeMap<String, Vec<String>>,
    /// Records that came, as JSON texts, by name and by address.
    posted: BTreeMap<String, Vec<String>>,
    put: BTreeMap<String, BTreeMap<String, String>>,
}

struct Http {
    api: Api,
    store: Arc<Mutex<Store>>,
    mode: WriteMode,
}

impl Http {
    async fn start(mode: WriteMode) -> Self {
        let store: Arc<Mutex<Store>> = Arc::default();
        let behind = store.clone();
        let api = Api::start(move |asked| answer(&mut behind.lock().unwrap(), asked)).await;
        Self { api, store, mode }
    }
}

fn answer(store: &mut Store, asked: &Asked) -> Reply {
    if asked.header("authorization") != Some("Bearer sesame") {
        return Reply::status(401);
    }
    let text = || String::from_utf8(asked.body.to_vec()).unwrap();
    let parts: Vec<_> = asked.path.trim_matches('/').split('/').collect();
    match (asked.method.as_str(), parts.as_slice()) {
        ("GET", ["seeded", name]) => {
            let records = &store.seeded[*name];
            let from = asked.number_param("offset").unwrap_or(0).min(records.len());
            let to = (from + 17).min(records.len());
            Reply::bytes(format!("{{\"items\": [{}]}}", records[from..to].join(", "))).header("content-type", "application/json")
        }
        ("POST", ["into", name]) => {
            let text = text();
            let JsonValue::List(items) = parse(&text).unwrap().value else { return Reply::status(400) };
            store.posted.entry(name.to_string()).or_default().extend(items.iter().map(|item| item.raw.to_owned()));
            Reply::status(201)
        }
        ("PUT", ["into", name, key]) => {
            store.put.entry(name.to_string()).or_default().insert(key.to_string(), text());
            Reply::status(200)
        }
        _ => Reply::status(404),
    }
}

/// The `columns` type for an Arrow type.
fn declared(data_type: &DataType) -> String {
    match data_type {
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
        DataType::List(item) => format!("list<{}>", declared(item.data_type())),
        DataType::Struct(fields) => {
            let members: Vec<_> =
                fields.iter().map(|field| format!("{}: {}", field.name(), declared(field.data_type()))).collect();
            format!("struct<{}>", members.join(", "))
        }
        other => panic!("{other}"),
    }
}

/// Rows as JSON texts by arrow-json, except bytes, which it writes as hex and this API as base64.
fn texts(batch: &RecordBatch) -> Vec<String> {
    let columns: Vec<ArrayRef> = batch
        .columns()
        .iter()
        .map(|column| match column.as_binary_opt::<i32>() {
            Some(bytes) => {
                let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
                Arc::new(bytes.iter().map(|bytes| bytes.map(encode)).collect::<StringArray>()) as ArrayRef
            }
            None => column.clone(),
        })
        .collect();
    let names = batch.schema();
    let plain = RecordBatch::try_from_iter(names.fields().iter().map(|field| field.name()).zip(columns)).unwrap();
    let mut writer =
        arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, arrow::json::writer::LineDelimited>(Vec::new());
    writer.write(&plain).unwrap();
    writer.finish().unwrap();
    String::from_utf8(writer.into_inner()).unwrap().lines().map(str::to_owned).collect()
}

#[async_trait]
impl Subject for Http {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(HttpConnector::default())
    }

    fn declared(&self) -> Declared {
        Declared::both().modes(&[self.mode]).types(TypeFamily::PLAIN).incremental().max_buffered_bytes(128 * 1024)
    }

    fn connection(&self) -> Value {
        super::connection(&self.api.base, json!({"auth": {"bearer": {"token": "sesame"}}}))
    }

    fn bad_connection(&self) -> Option<Value> {
        Some(super::connection(&self.api.base, json!({"auth": {"bearer": {"token": "wrong"}}})))
    }

    fn unreachable_connection(&self) -> Option<Value> {
        // Port 1 of this machine: nobody listens there. With the retries that a user has.
        Some(json!({"base_url": "http://127.0.0.1:1", "auth": {"bearer": {"token": "sesame"}}}))
    }

    async fn seed(&self, name: &str, batches: &[RecordBatch]) -> Result<Value> {
        let records = batches.iter().flat_map(texts).collect();
        self.store.lock().unwrap().seeded.insert(name.to_owned(), records);
        let mut columns = serde_json::Map::new();
        for field in batches[0].schema().fields() {
            columns.insert(field.name().clone(), json!(declared(field.data_type())));
        }
        Ok(json!({"path": format!("seeded/{name}"), "records": "items", "columns": columns, "pagination": {"offset": {}}}))
    }

    fn sink_options(&self, name: &str, mode: WriteMode) -> Value {
        if mode == WriteMode::Upsert {
            return json!({"path": format!("into/{name}/{{id}}"), "method": "PUT"});
        }
        json!({"path": format!("into/{name}"), "batch_bytes": 64 * 1024, "batch_rows": 10_000})
    }

    /// Every column as its JSON text, in the one type that no source column has; what it means is for `map_back`.
    async fn read_back(&self, name: &str) -> Result<Vec<RecordBatch>> {
        let store = self.store.lock().unwrap();
        let put = store.put.get(name).into_iter().flat_map(|records| records.values());
        let records: Vec<&String> = store.posted.get(name).into_iter().flatten().chain(put).collect();
        let Some(first) = records.first() else { return Ok(Vec::new()) };
        let members = |text: &str| match parse(text).unwrap().value {
            JsonValue::Object(members) => {
                members.iter().map(|(key, value)| (key.to_string(), value.raw.to_owned())).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        };
        let names: Vec<String> = members(first).into_iter().map(|(key, _)| key).collect();
        let mut columns = vec![Vec::new(); names.len()];
        for record in records {
            let members = members(record);
            assert_eq!(members.len(), names.len());
            for ((column, name), (key, raw)) in columns.iter_mut().zip(&names).zip(members) {
                assert_eq!(*name, key);
                column.push(Some(raw).filter(|raw| raw != "null"));
            }
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
            let taken = decoder
                .decode(line.as_bytes())
                .map_err(|error| Error::internal("arrow-json refuses the value").because(error))?;
            assert_eq!(taken, line.len());
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

mod posting {
    weir_connect::conformance!(super::Http::start(weir_connect::WriteMode::Append).await);
}
mod putting {
    weir_connect::conformance!(super::Http::start(weir_connect::WriteMode::Upsert).await);
}
