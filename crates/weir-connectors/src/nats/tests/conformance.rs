//! The kit over the connector.

use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use async_trait::async_trait;
use weir_connect::WriteMode;
use weir_connect::conformance::{Declared, Subject, TypeFamily};

use super::*;
use crate::json_rows;

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
            for text in batches.iter().flat_map(json_rows::texts) {
                self.lab.jetstream.publish(stream.clone(), text.into()).await.unwrap().await.unwrap();
            }
        }
        Ok(json!({"stream": stream, "columns": json_rows::columns(&batches[0].schema())}))
    }

    fn sink_options(&self, name: &str, _mode: WriteMode) -> Value {
        let stream = self.stream(&format!("into-{name}"));
        json!({"stream": stream, "subject": stream, "create_stream": true, "max_buffer_bytes": 1 << 20})
    }

    async fn read_back(&self, name: &str) -> Result<Vec<RecordBatch>> {
        let stream = self.stream(&format!("into-{name}"));
        if self.lab.jetstream.get_stream(&stream).await.is_err() {
            return Ok(Vec::new());
        }
        let payloads: Vec<Vec<u8>> = self.lab.messages(&stream).await.iter().map(|message| message.payload.to_vec()).collect();
        Ok(json_rows::read_back(&payloads))
    }

    fn map_back(&self, field: &Field, read: &ArrayRef) -> Result<ArrayRef> {
        json_rows::map_back(field, read)
    }
}

weir_connect::conformance!(Kit::new().await);
