//! The kit over the connector.

use std::sync::Mutex;

use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use async_trait::async_trait;
use weir_connect::WriteMode;
use weir_connect::conformance::{Declared, Subject, TypeFamily};

use super::*;
use crate::json_rows;

struct Kit {
    lab: Lab,
    seeded: tokio::sync::Mutex<std::collections::BTreeSet<String>>,
    /// What each target is written as.
    modes: Mutex<BTreeMap<String, WriteMode>>,
}

impl Kit {
    fn new() -> Self {
        Self { lab: Lab::new("kit"), seeded: Default::default(), modes: Mutex::default() }
    }
}

#[async_trait]
impl Subject for Kit {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(Pulsar::default())
    }

    fn declared(&self) -> Declared {
        let families: Vec<TypeFamily> =
            TypeFamily::PLAIN.iter().copied().filter(|family| *family != TypeFamily::Structs).collect();
        Declared::both().modes(&[WriteMode::Append, WriteMode::Upsert]).types(&families)
    }

    fn connection(&self) -> Value {
        self.lab.connection()
    }

    fn unreachable_connection(&self) -> Option<Value> {
        Some(json!({"service_url": "pulsar://127.0.0.1:1"}))
    }

    async fn seed(&self, name: &str, batches: &[RecordBatch]) -> Result<Value> {
        if self.seeded.lock().await.insert(name.to_owned()) {
            self.lab.create(name, 2).await;
            for partition in 0..2 {
                let texts = batches.iter().flat_map(json_rows::texts).enumerate().filter(|(at, _)| at % 2 == partition);
                let messages: Vec<producer::Message> = texts.map(|(_, text)| message(text.as_bytes())).collect();
                // Some in batches, some alone.
                let batch = (partition == 0).then_some(50);
                self.lab.send(&format!("{name}-partition-{partition}"), batch, messages).await;
            }
        }
        Ok(json!({"topic": name, "columns": json_rows::columns(&batches[0].schema())}))
    }

    fn sink_options(&self, name: &str, mode: WriteMode) -> Value {
        self.modes.lock().unwrap().insert(name.to_owned(), mode);
        json!({"topic": format!("into-{name}"), "partitions": 2})
    }

    /// Every column as its JSON text, in a type that no source column has; what it means is for `map_back`.
    async fn read_back(&self, name: &str) -> Result<Vec<RecordBatch>> {
        let there = self.lab.admin(reqwest::Method::GET, "persistent/{ns}/partitioned", None).await;
        if !there.to_string().contains(&self.lab.full(&format!("into-{name}"))) {
            return Ok(Vec::new());
        }
        let mut records: Vec<(Option<String>, Vec<u8>)> = Vec::new();
        for partition in 0..2 {
            for message in self.lab.messages(&format!("into-{name}-partition-{partition}")).await {
                records.push((message.key(), message.payload.data));
            }
        }
        if self.modes.lock().unwrap().get(name) == Some(&WriteMode::Upsert) {
            // What a compacted topic has in the end.
            let last: BTreeMap<_, _> = records.drain(..).map(|record| (record.0.clone().unwrap(), record)).collect();
            records = last.into_values().collect();
        }
        let payloads: Vec<Vec<u8>> = records.into_iter().map(|(_, payload)| payload).collect();
        Ok(json_rows::read_back(&payloads))
    }

    fn map_back(&self, field: &Field, read: &ArrayRef) -> Result<ArrayRef> {
        json_rows::map_back(field, read)
    }
}

weir_connect::conformance!(Kit::new());
