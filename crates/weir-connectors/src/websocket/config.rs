//! Options as people write them. No I/O.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::datatypes::{DataType, TimeUnit};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;
use weir_connect::{Error, Kind, Result};
use weir_formats::JsonOptions;

use crate::http::config::HeaderText;
use crate::http::path::Path;
use crate::inbox::{Column, InboxOptions, Taken};
use crate::messages::{Format, Own, Payload, declared};
use crate::reconnect::ReconnectOptions;

/// The server.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionOptions {
    /// `wss://host/path` or `ws://host/path`. `{next_sequence}` and `{last_sequence}` in it are filled in when a connection is made, see `sequence_field`.
    pub url: String,
    /// Headers of the request that opens the connection: `Authorization` among them.
    pub headers: BTreeMap<String, HeaderText>,
    /// Subprotocols to offer; the server must choose one of them.
    #[schemars(extend("x-weir-aliases" = ["subprotocol", "protocols"]))]
    pub subprotocols: Vec<String>,
    /// Whether the server's certificate is checked. Default true.
    pub verify_tls: Option<bool>,
    /// Certificates (PEM text, or the path of a PEM file) to trust in addition to those of the system.
    pub ca_cert: Option<PathBuf>,
    /// Seconds until the connection must be open. Default 10.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub connect_timeout_secs: Option<u64>,
}

/// What is read, and how the connection is kept.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceOptions {
    /// Name of the stream. Default: the last part of the address.
    pub stream: Option<String>,
    /// Sent after each connect: a text, an object (sent as JSON), or a list of those. `{next_sequence}` and `{last_sequence}` are filled in, see `sequence_field`.
    #[schemars(with = "Option<Value>", extend("x-weir-aliases" = ["subscribe_messages", "subscribe"]))]
    pub subscribe_message: Option<Value>,
    /// How a connection that is dead without saying so is found. Default: a ping every 30 s that must be answered in 10 s.
    pub heartbeat: HeartbeatOptions,
    /// What happens when the connection is lost.
    #[schemars(extend("x-weir-aliases" = ["reconnect"]))]
    pub reconnect_config: ReconnectOptions,
    /// Messages to take in a second; the rest waits at the server, or in the network.
    pub rate_limit_per_second: Option<f64>,
    /// Where a message has its number: `seq`, `meta.sequence`. Numbers go up by one; what is missing is a gap, and what came before is dropped as a repetition.
    #[schemars(with = "Option<String>")]
    pub sequence_field: Option<Path>,
    /// A gap: `warn` (default: it is told, counted, and reading goes on), `fail`, or `resubscribe` (connect again and ask from `{next_sequence}` on; what is still missing after three times is told as with `warn`).
    pub on_gap: OnGap,
    /// The server counts anew on each connection: the first number after a connect is never a repetition nor behind a gap.
    pub sequence_restarts: bool,
    /// Where in a message the rows are: `data`, `events[*]`. A list there gives a row per item. Default: the message itself.
    #[schemars(with = "Option<String>", extend("x-weir-aliases" = ["records", "json_path"]))]
    pub message_path: Option<Path>,
    /// A message that has nothing at `message_path`: `dead_letter` (default), or `ignore` (it says something of the connection, as `{"type": "subscribed"}`).
    pub without_path: WithoutPath,
    /// A larger message becomes a dead letter without its content, and the connection is made again. Default 16 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub max_message_bytes: Option<usize>,
    /// What messages are: `json` (default), `text`, `raw`.
    pub format: Format,
    /// `format: json`: all columns with their types: `{price: "decimal(20,4)"}`. Default: inferred from the messages that are in the inbox.
    pub columns: BTreeMap<String, String>,
    /// `format: json`: how JSON is read.
    pub json: JsonOptions,
    /// Columns of the message itself: `received_at`, `sequence`, `kind` (`text` or `binary`), `number` (in the inbox), each with `_` before its name.
    pub metadata: Vec<Metadata>,
    /// Messages to look at for names and types. Default 1000.
    pub sample_records: Option<u64>,
    /// Where messages wait until they are delivered.
    pub inbox: InboxOptions,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeartbeatOptions {
    /// Milliseconds between two heartbeats. Default 30000; 0: none.
    #[schemars(extend("x-weir-unit" = "ms"))]
    pub interval_ms: u64,
    /// Milliseconds in which something must come after a heartbeat, or the connection is taken for dead. Default 10000.
    #[schemars(extend("x-weir-unit" = "ms"))]
    pub timeout_ms: u64,
    /// What is sent: a text, or an object as JSON. Default: a ping of the protocol.
    #[schemars(with = "Option<Value>")]
    pub message: Option<Value>,
    /// A part of the server's answers to `message`: such messages are no rows.
    pub answer: Option<String>,
}

impl Default for HeartbeatOptions {
    fn default() -> Self {
        Self { interval_ms: 30_000, timeout_ms: 10_000, message: None, answer: None }
    }
}

/// What is done about a gap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnGap {
    /// Told and counted.
    #[default]
    Warn,
    /// The run ends.
    Fail,
    /// Asked for again.
    Resubscribe,
}

/// A message without rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WithoutPath {
    /// Kept with the dead letters.
    #[default]
    DeadLetter,
    /// Left out.
    Ignore,
}

/// A column of the message itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metadata {
    /// When it came.
    ReceivedAt,
    /// Its number, as the server counts.
    Sequence,
    /// `text` or `binary`.
    Kind,
    /// Its number in the inbox.
    Number,
}

/// Fields of a record in the inbox.
pub(super) const SEQUENCE: usize = 0;
/// `text` or `binary`.
pub(super) const KIND: usize = 1;
/// The highest number of the server up to here.
pub(super) const LAST: usize = 2;

/// What stands for the number behind the last message.
const NEXT: &str = "{next_sequence}";
/// What stands for the last message's number.
const LAST_NUMBER: &str = "{last_sequence}";

/// Fills in the numbers; without a message 0 and -1.
pub(super) fn filled(text: &str, last: Option<i64>) -> String {
    let next = last.map_or(0, |last| last.saturating_add(1));
    text.replace(NEXT, &next.to_string()).replace(LAST_NUMBER, &last.unwrap_or(-1).to_string())
}

impl SourceOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self, connection: &Value) -> Result<()> {
        self.inbox.validate()?;
        self.reconnect_config.validate("WEIR-WS-001")?;
        self.payload()?;
        if self.rate_limit_per_second.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return Err(wrong("`rate_limit_per_second` must be above 0", "leave it out for no limit"));
        }
        if self.heartbeat.interval_ms > 0 && self.heartbeat.timeout_ms == 0 {
            return Err(wrong("`heartbeat.timeout_ms` must be above 0", "`interval_ms: 0` switches heartbeats off"));
        }
        if self.heartbeat.answer.is_some() && self.heartbeat.message.is_none() {
            return Err(wrong(
                "`heartbeat.answer` needs `heartbeat.message`",
                "pings of the protocol are answered by the protocol",
            ));
        }
        if self.format != Format::Json && !self.columns.is_empty() {
            return Err(wrong("`columns` is for `format: json`", "other formats have one column, `value`"));
        }
        if self.sequence_field.is_none() && self.on_gap != OnGap::Warn {
            return Err(wrong("`on_gap` needs `sequence_field`", "say where a message has its number"));
        }
        let asks = |text: &str| text.contains(NEXT) || text.contains(LAST_NUMBER);
        let url = connection.get("url").and_then(Value::as_str).unwrap_or_default();
        let subscription = self.subscribe_texts()?;
        if self.on_gap == OnGap::Resubscribe && !asks(url) && !subscription.iter().any(|text| asks(text)) {
            return Err(wrong(
                "`on_gap: resubscribe` cannot say where to go on",
                "put `{next_sequence}` or `{last_sequence}` into `subscribe_message` or `url`",
            ));
        }
        Ok(())
    }

    /// Every text that is sent after a connect.
    pub fn subscribe_texts(&self) -> Result<Vec<String>> {
        match &self.subscribe_message {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(text_of).collect(),
            Some(one) => Ok(vec![text_of(one)?]),
        }
    }

    /// The heartbeat's text; `None`: a ping.
    pub fn heartbeat_text(&self) -> Result<Option<String>> {
        self.heartbeat.message.as_ref().filter(|message| !message.is_null()).map(text_of).transpose()
    }

    /// How messages become columns.
    pub fn payload(&self) -> Result<Payload> {
        Ok(Payload { format: self.format, declared: declared(&self.columns)?, only_columns: false, json: self.json.clone() })
    }

    /// The columns of the message itself.
    pub(crate) fn columns_of_message(&self) -> Vec<Column> {
        let mut kinds = self.metadata.clone();
        kinds.sort_unstable();
        kinds.dedup();
        kinds.into_iter().map(column_of).collect()
    }

    /// The stream's name.
    pub fn stream_name(&self, url: &Url) -> String {
        let last = || url.path_segments().and_then(|mut parts| parts.rfind(|part| !part.is_empty()));
        self.stream.clone().or_else(|| last().map(str::to_owned)).unwrap_or_else(|| "messages".into())
    }

    /// The largest message.
    pub fn message_bytes(&self) -> usize {
        self.max_message_bytes.unwrap_or(16 << 20).max(1)
    }
}

fn column_of(kind: Metadata) -> Column {
    let own = |name, data_type, nullable, source| Own { name, data_type, nullable, source, json: false };
    let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    match kind {
        Metadata::ReceivedAt => Column { own: own("_received_at", moment, false, "received_at"), taken: Taken::At },
        Metadata::Sequence => Column { own: own("_sequence", DataType::Int64, true, "sequence"), taken: Taken::Int(SEQUENCE) },
        Metadata::Kind => Column { own: own("_kind", DataType::Utf8, true, "kind"), taken: Taken::Text(KIND) },
        Metadata::Number => Column { own: own("_number", DataType::Int64, false, "number"), taken: Taken::Number },
    }
}

fn text_of(value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Object(_) => Ok(value.to_string()),
        _ => Err(wrong("a message to send is a text or an object", "write several as a list of those")),
    }
}

/// Options out of their JSON.
pub fn parse<T: DeserializeOwned>(role: &str, value: &Value) -> Result<T> {
    crate::options::parse("websocket", "WEIR-WS-001", role, value)
}

/// An option that cannot be.
pub fn wrong(what: impl Into<String>, hint: &'static str) -> Error {
    Error::new("WEIR-WS-001", Kind::Spec, what).hint(hint)
}
