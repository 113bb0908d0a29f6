//! Changes as Debezium tells them: a key and an envelope per change, JSON as Kafka Connect's `JsonConverter` writes it, for whoever reads topics of
//! Debezium already. Pure: rows in, bytes out; where a message goes is the sink's business.
//!
//! The shape is that of Debezium 3.7 for PostgreSQL (`decimal.handling.mode: precise`, `time.precision.mode: adaptive`, `interval.handling.mode: numeric`),
//! compared event by event with a real one. What differs:
//! * `source.lsn` and both numbers of `source.sequence` are those of the transaction's commit, which is what the log's position is here.
//! * `source.snapshot` is `true` for every row of a snapshot: which one is the first or the last is not known.
//! * A row that gets a new key brings a large value that is not in the log where Debezium says that it is not available: the source looks it up.
//! * Defaults of columns are not in the schemas, and of PostgreSQL's enums the words are not.
//!
//! Of MySQL and MariaDB it is that of Debezium 3.6 and 3.5 (see [`mysql`]). There:
//! * `source.pos` is where the transaction begins, and `source.row` counts the stream's changes in it: together they order the changes, as Debezium's do.
//! * JSON of a snapshot has no blanks between its parts, as in the log: the same value is the same text.
//! * A zero date that the pipeline accepts is NULL, also where Debezium tells 1970. A `bigint unsigned` beyond 63 bits is an error, and not a negative number.
//! * A comma in a word of an enum is a comma; Debezium puts a backslash before it in the stream, and not in the snapshot.
//!
//! * [`kind`] which of Debezium's types a column is; [`value`] its values; [`text`] values that come as PostgreSQL prints them;
//! * [`mysql`] what is MySQL's own; [`envelope`] the messages.

mod envelope;
mod incoming;
mod kind;
mod mysql;
mod text;
mod value;

pub use envelope::{Context, Envelope, Message};
pub use incoming::{Change, Opener};

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

/// The connector of Debezium's whose messages these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DebeziumConnector {
    /// PostgreSQL's.
    Postgresql,
    /// MySQL's.
    Mysql,
    /// MariaDB's.
    Mariadb,
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
    /// `source.db`: the name of the source's database. Of MySQL and MariaDB the stream says it.
    pub database: String,
    /// Which of Debezium's connectors it is told as. Default: `postgresql` or `mysql`, as the columns' types are; say `mariadb` for that.
    pub connector: Option<DebeziumConnector>,
}

impl Default for DebeziumOptions {
    fn default() -> Self {
        Self { schemas: false, tombstones: true, topic_prefix: None, database: String::new(), connector: None }
    }
}
