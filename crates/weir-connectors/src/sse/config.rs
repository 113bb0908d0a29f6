//! Options as people write them. No I/O.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, TimeUnit};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;
use weir_connect::{Error, Kind, Result};
use weir_formats::JsonOptions;

use crate::http::config::HeaderText;
use crate::inbox::{Column, InboxOptions, Taken};
use crate::messages::{Format, Own, Payload, declared};
use crate::reconnect::ReconnectOptions;

/// The server.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionOptions {
    /// `https://host/path` or `http://host/path`.
    pub url: String,
    /// Headers of the request: `Authorization` among them.
    pub headers: BTreeMap<String, HeaderText>,
    /// Whether the server's certificate is checked. Default true.
    pub verify_tls: Option<bool>,
    /// Certificates (PEM text, or the path of a PEM file) to trust in addition to those of the system.
    pub ca_cert: Option<String>,
    /// Seconds until the server must have answered. Default 10.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub connect_timeout_secs: Option<u64>,
}

/// What is read, and how the connection is kept.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceOptions {
    /// Name of the stream. Default: the last part of the address.
    pub stream: Option<String>,
    /// Only events of these types; `message` is the type of events that name none. Default: all.
    #[schemars(extend("x-weir-aliases" = ["event_types"]))]
    pub events: Vec<String>,
    /// The first run begins behind this event, if the server has it still. Later runs go on behind the last one that came.
    pub last_event_id: Option<String>,
    /// What happens when the connection is lost. A `retry` of the server takes the place of `initial_delay_ms`.
    #[schemars(extend("x-weir-aliases" = ["reconnect"]))]
    pub reconnect_config: ReconnectOptions,
    /// Milliseconds without a byte after which the connection is taken for dead. Default: none; TCP finds out in about two minutes.
    #[schemars(extend("x-weir-unit" = "ms"))]
    pub idle_timeout_ms: Option<u64>,
    /// A larger event becomes a dead letter without its content. Default 16 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub max_message_bytes: Option<usize>,
    /// What the data of events is: `json` (default), `text`, `raw`.
    pub format: Format,
    /// `format: json`: all columns with their types: `{price: "decimal(20,4)"}`. Default: inferred from the events that are in the inbox.
    pub columns: BTreeMap<String, String>,
    /// `format: json`: how JSON is read.
    pub json: JsonOptions,
    /// Columns of the event itself: `received_at`, `event` (its type), `id`, `number` (in the inbox), each with `_` before its name.
    pub metadata: Vec<Metadata>,
    /// Events to look at for names and types. Default 1000.
    pub sample_records: Option<u64>,
    /// Where events wait until they are delivered.
    pub inbox: InboxOptions,
}

/// A column of the event itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metadata {
    /// When it came.
    ReceivedAt,
    /// Its type.
    Event,
    /// The id of the last event that had one, itself included.
    Id,
    /// Its number in the inbox.
    Number,
}

/// Fields of a record in the inbox.
pub(super) const EVENT: usize = 0;
/// The last event id.
pub(super) const ID: usize = 1;

impl SourceOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        self.inbox.validate()?;
        self.reconnect_config.validate("WEIR-SSE-001")?;
        self.payload()?;
        if self.format != Format::Json && !self.columns.is_empty() {
            return Err(wrong("`columns` is for `format: json`", "other formats have one column, `value`"));
        }
        if self.idle_timeout_ms == Some(0) {
            return Err(wrong("`idle_timeout_ms` must be above 0", "leave it out for none"));
        }
        Ok(())
    }

    /// How events become columns.
    pub fn payload(&self) -> Result<Payload> {
        Ok(Payload { format: self.format, declared: declared(&self.columns)?, only_columns: false, json: self.json.clone() })
    }

    /// The columns of the event itself.
    pub(crate) fn columns_of_message(&self) -> Vec<Column> {
        let mut kinds = self.metadata.clone();
        kinds.sort_unstable();
        kinds.dedup();
        kinds.into_iter().map(column_of).collect()
    }

    /// The stream's name.
    pub fn stream_name(&self, url: &Url) -> String {
        let last = || url.path_segments().and_then(|mut parts| parts.rfind(|part| !part.is_empty()));
        self.stream.clone().or_else(|| last().map(str::to_owned)).unwrap_or_else(|| "events".into())
    }

    /// The largest event.
    pub fn message_bytes(&self) -> usize {
        self.max_message_bytes.unwrap_or(16 << 20).max(1)
    }
}

fn column_of(kind: Metadata) -> Column {
    let own = |name, data_type, nullable, source| Own { name, data_type, nullable, source, json: false };
    let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    match kind {
        Metadata::ReceivedAt => Column { own: own("_received_at", moment, false, "received_at"), taken: Taken::At },
        Metadata::Event => Column { own: own("_event", DataType::Utf8, true, "event"), taken: Taken::Text(EVENT) },
        Metadata::Id => Column { own: own("_id", DataType::Utf8, true, "id"), taken: Taken::Text(ID) },
        Metadata::Number => Column { own: own("_number", DataType::Int64, false, "number"), taken: Taken::Number },
    }
}

/// Options out of their JSON.
pub fn options_of<T: DeserializeOwned>(role: &str, value: &Value) -> Result<T> {
    crate::options::parse("sse", "WEIR-SSE-001", role, value)
}

/// An option that cannot be.
pub fn wrong(what: impl Into<String>, hint: &'static str) -> Error {
    Error::new("WEIR-SSE-001", Kind::Spec, what).hint(hint)
}
