//! The kit over the connector. A queue is read once, so of the checks of sources those hold that do not read again with another source.

use arrow::array::ArrayRef;
use async_trait::async_trait;
use weir_connect::conformance::{Declared, Subject, TypeFamily, assert_check};

use super::*;
use crate::json_rows;

struct Kit {
    lab: Lab,
    declared: Declared,
}

fn families() -> Vec<TypeFamily> {
    TypeFamily::PLAIN.iter().copied().filter(|family| *family != TypeFamily::Structs).collect()
}

impl Kit {
    fn sink() -> Self {
        Self { lab: Lab::new(), declared: Declared::sink().modes(&[WriteMode::Append]).types(&families()) }
    }

    fn source() -> Self {
        let mut declared = Declared::source().types(&families());
        declared.resumable = false;
        Self { lab: Lab::new(), declared }
    }
}

#[async_trait]
impl Subject for Kit {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(Rabbitmq::default())
    }

    fn declared(&self) -> Declared {
        self.declared.clone()
    }

    fn connection(&self) -> Value {
        self.lab.connection()
    }

    fn bad_connection(&self) -> Option<Value> {
        Some(with(self.lab.connection(), json!({"user": "guest", "password": "wrong"})))
    }

    fn unreachable_connection(&self) -> Option<Value> {
        Some(json!({"host": "127.0.0.1", "port": 1}))
    }

    async fn seed(&self, name: &str, batches: &[RecordBatch]) -> Result<Value> {
        self.lab.queue(name, FieldTable::default()).await;
        let payloads: Vec<Vec<u8>> = batches.iter().flat_map(json_rows::texts).map(String::into_bytes).collect();
        self.lab.put(name, &payloads, BasicProperties::default()).await;
        Ok(json!({"queue": name, "columns": json_rows::columns(&batches[0].schema())}))
    }

    fn sink_options(&self, name: &str, _mode: WriteMode) -> Value {
        let path = format!("queues/{}/into.{name}", self.lab.virtual_host);
        self.lab.server.api("PUT", &path, json!({"durable": true})).unwrap();
        json!({"routing_key": format!("into.{name}")})
    }

    async fn read_back(&self, name: &str) -> Result<Vec<RecordBatch>> {
        let payloads: Vec<Vec<u8>> =
            self.lab.messages(&format!("into.{name}")).await.into_iter().map(|message| message.data).collect();
        Ok(json_rows::read_back(&payloads))
    }

    fn map_back(&self, field: &Field, read: &ArrayRef) -> Result<ArrayRef> {
        json_rows::map_back(field, read)
    }
}

mod sink {
    use super::Kit;
    weir_connect::conformance!(Kit::sink());
}

macro_rules! source_checks {
    ($($name:ident)*) => {
        mod source {
            use super::{Kit, assert_check};
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    assert_check(&Kit::source(), stringify!($name)).await;
                }
            )*
        }
    };
}

source_checks! {
    source_gives_the_type_matrix_exactly source_reads_an_empty_stream source_reads_a_wide_table source_reads_a_large_cell
    source_reads_the_same_twice source_can_be_cancelled_and_read_again source_names_a_missing_stream
}
