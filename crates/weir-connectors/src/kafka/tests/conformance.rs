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
    sasl: String,
    /// What each target is written as.
    modes: Mutex<BTreeMap<String, WriteMode>>,
}

impl Kit {
    fn new() -> Self {
        let broker = weir_testkit::Kafka::shared().unwrap();
        Self { lab: Lab::new("kit"), sasl: broker.sasl_bootstrap(), modes: Mutex::default() }
    }
}

#[async_trait]
impl Subject for Kit {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(Kafka::default())
    }

    fn declared(&self) -> Declared {
        let families: Vec<TypeFamily> =
            TypeFamily::PLAIN.iter().copied().filter(|family| *family != TypeFamily::Structs).collect();
        Declared::both().modes(&[WriteMode::Append, WriteMode::Upsert]).types(&families)
    }

    fn connection(&self) -> Value {
        self.lab.connection()
    }

    fn bad_connection(&self) -> Option<Value> {
        Some(
            json!({"bootstrap_servers": self.sasl, "user": weir_testkit::kafka::USER, "password": "wrong", "sasl_mechanism": "scram_sha_256"}),
        )
    }

    fn unreachable_connection(&self) -> Option<Value> {
        Some(json!({"bootstrap_servers": "127.0.0.1:1"}))
    }

    async fn seed(&self, name: &str, batches: &[RecordBatch]) -> Result<Value> {
        let topic = self.lab.topic(name);
        if self.lab.plain("read_committed").fetch_metadata(Some(&topic), Duration::from_secs(20)).unwrap().topics()[0]
            .error()
            .is_some()
        {
            self.lab.create(&topic, 2, &[("max.message.bytes", "8000000")]).await;
            let producer: BaseProducer = self.lab.client().set("message.max.bytes", "8000000").create().unwrap();
            for (at, text) in batches.iter().flat_map(json_rows::texts).enumerate() {
                send(&producer, &topic, &[((at % 2) as i32, None, Some(text.as_bytes()))]);
            }
            producer.flush(Duration::from_secs(30)).unwrap();
        }
        Ok(json!({"topic": topic, "columns": json_rows::columns(&batches[0].schema())}))
    }

    fn sink_options(&self, name: &str, mode: WriteMode) -> Value {
        self.modes.lock().unwrap().insert(name.to_owned(), mode);
        json!({
            "topic": self.lab.topic(&format!("into.{name}")), "progress_topic": self.lab.topic("progress"), "partitions": 2,
            "max_message_bytes": 8_000_000, "topic_config": {"max.message.bytes": "8000000"},
        })
    }

    async fn read_back(&self, name: &str) -> Result<Vec<RecordBatch>> {
        let mut records = self.lab.records(&self.lab.topic(&format!("into.{name}")));
        if self.modes.lock().unwrap().get(name) == Some(&WriteMode::Upsert) {
            // What a compacted topic has in the end.
            let last: BTreeMap<_, _> = records.drain(..).map(|record| ((record.0, record.1.clone().unwrap()), record)).collect();
            records = last.into_values().collect();
        }
        let payloads: Vec<Vec<u8>> = records.into_iter().map(|(_, _, value)| value.unwrap()).collect();
        Ok(json_rows::read_back(&payloads))
    }

    fn map_back(&self, field: &Field, read: &ArrayRef) -> Result<ArrayRef> {
        json_rows::map_back(field, read)
    }
}

weir_connect::conformance!(Kit::new());
