//! The kit over the sink. A session has one reader and forgets what was acknowledged, so the source's own tests stand in for the kit's, which read
//! the same rows many times.

use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use async_trait::async_trait;
use weir_connect::WriteMode;
use weir_connect::conformance::{Declared, Subject, TypeFamily, assert_check};
use weir_testkit::Mosquitto;
use weir_testkit::mqtt::Door;

use super::*;
use crate::json_rows;

struct Kit {
    lab: Lab,
    locked: Mosquitto,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Kit {
    async fn new() -> Self {
        let lab = Lab::new("kit");
        let heard = lab.listen(&lab.topic("#")).await;
        Self { lab, locked: Mosquitto::start(Door::Password).unwrap(), heard }
    }
}

#[async_trait]
impl Subject for Kit {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(Mqtt::default())
    }

    fn declared(&self) -> Declared {
        let families: Vec<TypeFamily> =
            TypeFamily::PLAIN.iter().copied().filter(|family| *family != TypeFamily::Structs).collect();
        Declared::sink().types(&families).max_buffered_bytes(1 << 20)
    }

    fn connection(&self) -> Value {
        self.lab.connection()
    }

    fn bad_connection(&self) -> Option<Value> {
        Some(json!({"host": "127.0.0.1", "port": self.locked.port(), "user": "weir", "password": "wrong"}))
    }

    fn unreachable_connection(&self) -> Option<Value> {
        Some(json!({"host": "127.0.0.1", "port": 1}))
    }

    fn sink_options(&self, name: &str, _mode: WriteMode) -> Value {
        json!({"topic": self.lab.topic(name), "max_buffer_bytes": 1 << 20})
    }

    async fn read_back(&self, name: &str) -> Result<Vec<RecordBatch>> {
        // What the broker has confirmed before a mark, the listener hears before it.
        let (topic, mark) = (self.lab.topic(name), uuid::Uuid::new_v4().to_string());
        self.lab.put(&self.lab.topic("mark"), &[&mark], QoS::AtLeastOnce, false).await;
        wait("the mark was heard", || self.heard.lock().unwrap().iter().any(|(_, payload, _)| payload == mark.as_bytes()));
        let payloads: Vec<Vec<u8>> = (self.heard.lock().unwrap().iter())
            .filter(|(of, _, _)| *of == topic)
            .map(|(_, payload, _)| payload.clone())
            .collect();
        Ok(json_rows::read_back(&payloads))
    }

    fn map_back(&self, field: &Field, read: &ArrayRef) -> Result<ArrayRef> {
        json_rows::map_back(field, read)
    }
}

macro_rules! checks {
    ($($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                assert_check(&Kit::new().await, stringify!($name)).await;
            }
        )*
    };
}

checks! {
    a_good_connection_checks_out bad_credentials_are_an_auth_error an_unreachable_host_is_a_connect_error
    sink_holds_the_type_matrix_exactly sink_never_bends_special_values sink_takes_an_empty_stream sink_takes_a_wide_table
    sink_takes_a_large_cell sink_appends_over_runs sink_shows_nothing_before_commit sink_survives_a_crash_before_flush
    sink_survives_a_crash_after_flush sink_survives_a_crash_after_checkpoint sink_survives_a_crash_before_commit
    sink_survives_a_crash_after_commit sink_survives_a_crash_in_every_attempt sink_commit_is_idempotent
    sink_discards_what_is_not_kept sink_bounds_its_memory
}
