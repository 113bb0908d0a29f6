//! Changes as Debezium tells them: a key and an envelope per change, JSON as Kafka Connect's `JsonConverter` writes it, for whoever reads topics of
//! Debezium already. Pure: rows in, bytes out; where a message goes is the sink's business.
//!
//! The shape is that of Debezium 3.7 for PostgreSQL (`decimal.handling.mode: precise`, `time.precision.mode: adaptive`, `interval.handling.mode: numeric`),
//! compared event by event with a real one. What differs:
//! * `source.lsn` and both numbers of `source.sequence` are those of the transaction's commit, which is what the log's position is here.
//! * `source.snapshot` is `true` for every row of a snapshot: which one is the first or the last is not known.
//! * A row that gets a new key brings a large value that is not in the log where Debezium says that it is not available: the source looks it up.
//! * Defaults of columns and the words of an enum are not in the schemas.
//!
//! * [`kind`] which of Debezium's types a column is; [`value`] its values; [`text`] values that come as PostgreSQL prints them;
//! * [`envelope`] the messages.

mod envelope;
mod kind;
mod text;
mod value;

pub use envelope::{Context, Envelope, Message};

use arrow::datatypes::Field;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_connect::{Edge, SinkType};

/// What a column becomes, for the plan.
pub fn sink_type(field: &Field) -> SinkType {
    let (name, edge) = match kind::Kind::of(field) {
        Ok(kind::Kind::MicroDuration) => {
            ("io.debezium.time.MicroDuration".to_owned(), Edge::Lossy { reason: "months become 30.4375 days each".into() })
        }
        Ok(kind) => {
            let schema = kind.schema(true);
            let name = schema.get("name").or_else(|| schema.get("type")).and_then(serde_json::Value::as_str);
            (name.unwrap_or_default().to_owned(), Edge::Exact)
        }
        Err(error) => ("none".to_owned(), Edge::Unsupported { reason: error.to_string() }),
    };
    SinkType { name, edge }
}

/// How Debezium's envelope is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DebeziumOptions {
    /// Each key and value carries its schema: `{"schema": …, "payload": …}`.
    pub schemas: bool,
    /// A delete is followed by a message with the same key and no value, by which a compacted topic forgets the key.
    pub tombstones: bool,
    /// What Debezium calls `topic.prefix`: `source.name`, and the beginning of the schemas' names. Default: the pipeline's name.
    #[schemars(extend("x-weir-aliases" = ["name"]))]
    pub topic_prefix: Option<String>,
    /// `source.db`: the name of the source's database.
    pub database: String,
}

impl Default for DebeziumOptions {
    fn default() -> Self {
        Self { schemas: false, tombstones: true, topic_prefix: None, database: String::new() }
    }
}
