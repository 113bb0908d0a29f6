//! The kit over the connector.

use arrow::array::ArrayRef;
use async_trait::async_trait;
use weir_connect::conformance::{Declared, Subject, TypeFamily};

use super::*;
use crate::json_rows;

struct Kit {
    lab: Lab,
}

#[async_trait]
impl Subject for Kit {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(Redis::default())
    }

    fn declared(&self) -> Declared {
        let families: Vec<TypeFamily> =
            TypeFamily::PLAIN.iter().copied().filter(|family| *family != TypeFamily::Structs).collect();
        Declared::both().modes(&[WriteMode::Append]).types(&families)
    }

    fn connection(&self) -> Value {
        self.lab.connection()
    }

    fn bad_connection(&self) -> Option<Value> {
        Some(json!({"host": "127.0.0.1", "port": self.lab.server.port(), "user": weir_testkit::redis::USER, "password": "wrong"}))
    }

    fn unreachable_connection(&self) -> Option<Value> {
        Some(json!({"host": "127.0.0.1", "port": 1}))
    }

    async fn seed(&self, name: &str, batches: &[RecordBatch]) -> Result<Value> {
        let key = self.lab.key(name);
        if !self.lab.plain().exists::<_, bool>(&key).unwrap() {
            // A stream is there as soon as somebody has made a group of it.
            redis::cmd("XGROUP")
                .arg("CREATE")
                .arg(&key)
                .arg("g")
                .arg("$")
                .arg("MKSTREAM")
                .query::<()>(&mut self.lab.plain())
                .unwrap();
            for text in batches.iter().flat_map(json_rows::texts) {
                self.lab.add(&key, "*", &[("payload", text.as_bytes())]);
            }
        }
        Ok(json!({"key": key, "field": "payload", "columns": json_rows::columns(&batches[0].schema())}))
    }

    fn sink_options(&self, name: &str, _mode: WriteMode) -> Value {
        json!({"key": self.lab.key(&format!("into.{name}")), "field": "payload"})
    }

    async fn read_back(&self, name: &str) -> Result<Vec<RecordBatch>> {
        let payloads: Vec<Vec<u8>> = self
            .lab
            .entries(&self.lab.key(&format!("into.{name}")))
            .into_iter()
            .map(|(_, fields)| match fields.as_slice() {
                [(field, value)] if field == "payload" => value.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        Ok(json_rows::read_back(&payloads))
    }

    fn map_back(&self, field: &Field, read: &ArrayRef) -> Result<ArrayRef> {
        json_rows::map_back(field, read)
    }
}

weir_connect::conformance!(Kit { lab: Lab::new("kit") });
