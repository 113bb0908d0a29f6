//! The kit over the connector. A queue gives a message to one reader only, so of the checks of sources those are left out that
//! read again with another instance, and with them the resuming.

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
    fn both() -> Self {
        let mut declared = Declared::both().modes(&[WriteMode::Append]).types(&families());
        declared.resumable = false;
        declared.max_buffered_bytes = Some(2 << 20);
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
        json!({"routing_key": format!("into.{name}"), "max_buffer_bytes": 1 << 20})
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

macro_rules! checks {
    ($($module:ident $kit:expr => $($name:ident)*;)*) => {
        $(mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    assert_check(&$kit, stringify!($name)).await;
                }
            )*
        })*
    };
}

checks! {
    options Kit::both() =>
        descriptor_is_sound a_missing_option_is_named an_unknown_option_is_named a_good_connection_checks_out
        bad_credentials_are_an_auth_error an_unreachable_host_is_a_connect_error;
    source Kit::both() =>
        source_gives_the_type_matrix_exactly source_reads_an_empty_stream source_reads_a_wide_table source_reads_a_large_cell
        source_reads_the_same_twice source_can_be_cancelled_and_read_again source_names_a_missing_stream;
    sink Kit::both() =>
        sink_holds_the_type_matrix_exactly sink_never_bends_special_values sink_takes_an_empty_stream sink_takes_a_wide_table
        sink_takes_a_large_cell sink_appends_over_runs sink_shows_nothing_before_commit sink_survives_a_crash_before_flush
        sink_survives_a_crash_after_flush sink_survives_a_crash_after_checkpoint sink_survives_a_crash_before_commit
        sink_survives_a_crash_after_commit sink_survives_a_crash_in_every_attempt sink_commit_is_idempotent
        sink_discards_what_is_not_kept sink_bounds_its_memory;
}
