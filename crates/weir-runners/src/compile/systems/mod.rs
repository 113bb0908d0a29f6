//! What a source or sink is, told once for all engines: addresses, credentials, tables, formats. Each engine writes it in its own words.
//!
//! Not here: what an engine calls things. A new system is a file and a line in [`System::of`].

mod brokers;
mod database;
mod documents;
mod files;
mod kafka;
mod other;
mod web;

pub use brokers::{Pulsar, RabbitMq};
pub use database::{Captured, Database, Family, Log, Start};
pub use documents::{DocumentLog, Documents};
pub use files::{Bucket, FileFormat, Files};
pub use kafka::{Kafka, StartAt, ValueFormat};
pub use other::Other;
pub use web::{Http, Socket};

use serde_json::Value;
use weir_connect::{DeleteMode, WriteMode};
use weir_spec::Role;
use weir_spec::model::{Mode, Node};

use super::{Compiling, Options};

/// What a node reads or writes.
#[derive(Debug, Clone)]
pub enum System {
    /// Tables of PostgreSQL, MySQL or MariaDB.
    Database(Database),
    /// The log of changes of one of them.
    Log(Log),
    /// Topics of Kafka.
    Kafka(Kafka),
    /// Files on disk or in a bucket.
    Files(Files),
    /// Collections of MongoDB.
    Documents(Documents),
    /// Its change streams.
    DocumentLog(DocumentLog),
    /// Topics of Pulsar.
    Pulsar(Pulsar),
    /// Queues of RabbitMQ.
    RabbitMq(RabbitMq),
    /// An HTTP API.
    Http(Http),
    /// WebSocket, server-sent events, webhook: what only our own engine reads.
    Socket(Socket),
    /// A system that our own engine does not have, with its options by name.
    Other(Other),
    /// Rows are counted and thrown away.
    Discard,
    /// A system that has no words here.
    Unknown,
}

impl System {
    /// What the options of a source or sink say. What no engine could have is told.
    pub fn of(options: &Options<'_>) -> Self {
        let kind = options.compiling().kind(options.node());
        match kind.as_str() {
            "postgres" => Self::Database(Database::read(options, Family::Postgres)),
            "mysql" => Self::Database(Database::read(options, Family::Mysql)),
            "postgres-cdc" => Self::Log(Log::read(options, Family::Postgres)),
            "mysql-cdc" => Self::Log(Log::read(options, Family::Mysql)),
            "kafka" => Self::Kafka(Kafka::read(options)),
            "file" | "s3" => Self::Files(Files::read(options, kind == "s3")),
            "mongodb" => Self::Documents(Documents::read(options)),
            "mongodb-cdc" => Self::DocumentLog(DocumentLog::read(options)),
            "pulsar" => Self::Pulsar(Pulsar::read(options)),
            "rabbitmq" => Self::RabbitMq(RabbitMq::read(options)),
            "http" => Self::Http(Http::read(options)),
            "websocket" | "sse" | "webhook" => Self::Socket(Socket::read(options, &kind)),
            "discard" => {
                options.pass(&["table", "key", "write_mode", "delete_mode"]);
                Self::Discard
            }
            _ if super::foreign::is_foreign(&kind) => Self::Other(Other::read(options, &kind)),
            _ => Self::Unknown,
        }
    }
}

/// A source or sink with all that its options say.
#[derive(Debug, Clone)]
pub struct Endpoint<'a> {
    /// The node.
    pub node: &'a Node,
    /// The connector's name.
    pub kind: String,
    /// What it reads or writes.
    pub system: System,
    /// How rows enter (sinks).
    pub write_mode: WriteMode,
    /// The columns of the key (sinks).
    pub key: Vec<String>,
    /// What deletes do (sinks of changes).
    pub deletes: DeleteMode,
    /// The event time (sources): column and how late rows may be, in milliseconds.
    pub event_time: Option<EventTime>,
}

/// What `event_time` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTime {
    /// The column.
    pub column: String,
    /// Rows may be so many milliseconds late.
    pub max_lateness_ms: u64,
    /// A split that gives nothing for so many milliseconds holds nothing back.
    pub idle_after_ms: Option<u64>,
}

impl EventTime {
    /// Of the options of `event_time`, or of a `watermark`.
    pub fn of(value: &Value) -> Option<Self> {
        Some(Self {
            column: value.get("column")?.as_str()?.to_string(),
            max_lateness_ms: value.get("max_lateness_ms").and_then(Value::as_u64).unwrap_or(0),
            idle_after_ms: value.get("idle_after_ms").and_then(Value::as_u64),
        })
    }
}

impl<'a> Endpoint<'a> {
    /// Reads a source or sink. Options that nobody read are told by [`Options::finish`], which the engine calls when it has looked too.
    pub fn read<'c>(compiling: &'c Compiling<'a>, node: &'a Node) -> (Self, Options<'c>)
    where
        'a: 'c,
    {
        let options = compiling.options(node);
        let written: Option<WriteMode> = options.value("write_mode").and_then(|mode| serde_json::from_value(mode.clone()).ok());
        let by_mode = if compiling.pipeline().mode == Mode::Cdc { WriteMode::Upsert } else { WriteMode::Append };
        let deletes = options.value("delete_mode").and_then(|mode| serde_json::from_value(mode.clone()).ok()).unwrap_or_default();
        let event_time = options.value("event_time").and_then(EventTime::of);
        let key = options.words("key");
        if options.value("metadata_columns").is_some_and(|columns| columns != &Value::Array(Vec::new())) {
            options.refuse(Some("metadata_columns"), "adds no columns about changes", "remove them, or use the native engine");
        }
        options.refuse_unless("lag", &Value::Null, "reads nothing again", "the native engine with `mode: incremental`");
        options.refuse_unless("cursor", &Value::Null, "keeps no cursor", "`mode: cdc`, or the native engine");
        let endpoint = Self {
            node,
            kind: compiling.kind(node),
            system: System::of(&options),
            write_mode: written.unwrap_or(by_mode),
            key,
            deletes,
            event_time,
        };
        (endpoint, options)
    }

    /// Whether it is a source.
    pub fn is_source(&self) -> bool {
        self.node.role == Role::Source
    }

    /// The streams that a source gives, as far as its options name them.
    pub fn streams(&self) -> Vec<String> {
        match &self.system {
            System::Database(database) => database.tables.clone(),
            System::Log(log) => log.database.tables.clone(),
            System::Kafka(kafka) => kafka.topics.clone(),
            System::Documents(documents) => documents.collections.clone(),
            System::DocumentLog(log) => log.documents.collections.clone(),
            System::Pulsar(pulsar) => pulsar.topics.clone(),
            System::Files(files) => vec![files.stream()],
            System::RabbitMq(rabbit) => vec![rabbit.queue.clone()],
            System::Http(http) => vec![http.stream.clone()],
            System::Socket(socket) => vec![socket.stream.clone()],
            System::Other(other) => vec![other.stream()],
            System::Discard | System::Unknown => Vec::new(),
        }
    }
}

/// Whether a name chooses several things.
pub fn is_glob(name: &str) -> bool {
    name.contains(['*', '?', '[', '{']) || name.starts_with('!')
}
