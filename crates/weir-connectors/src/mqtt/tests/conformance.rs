//! The kit over the sink. A session has one reader and forgets what was acknowledged, so the source's own tests stand in for the kit's, which read
//! the same rows many times.

use arrow::array::{Array, ArrayRef, BinaryArray, LargeStringArray};
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use base64::Engine;
use weir_connect::WriteMode;
use weir_connect::conformance::{Declared, Subject, TypeFamily, assert_check};
use weir_testkit::Mosquitto;
use weir_testkit::mqtt::Door;

use super::*;
use crate::http::json::{JsonValue, parse};

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

    /// Every column as its JSON text, in a type that no source column has; what it means is for `map_back`.
    async fn read_back(&self, name: &str) -> Result<Vec<RecordBatch>> {
        // What the broker has confirmed before a mark, the listener hears before it.
        let (topic, mark) = (self.lab.topic(name), uuid::Uuid::new_v4().to_string());
        self.lab.put(&self.lab.topic("mark"), &[&mark], QoS::AtLeastOnce, false).await;
        wait("the mark was heard", || self.heard.lock().unwrap().iter().any(|(_, payload, _)| payload == mark.as_bytes()));
        let payloads: Vec<Vec<u8>> = (self.heard.lock().unwrap().iter())
            .filter(|(of, _, _)| *of == topic)
            .map(|(_, payload, _)| payload.clone())
            .collect();
        let mut names: Vec<String> = Vec::new();
        let mut columns: Vec<Vec<Option<String>>> = Vec::new();
        for payload in payloads {
            let members = raw_members(&payload);
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
