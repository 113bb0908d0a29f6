//! Options as people write them. No I/O.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lapin::types::ShortString;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_connect::{Error, Kind, Result, Secret, WriteMode};
use weir_formats::JsonOptions;

use crate::messages::{Format, SinkFormat, declared};

/// Broker and credentials.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionOptions {
    /// Host name or address. Default `localhost`.
    #[schemars(extend("x-weir-aliases" = ["hostname", "server"]))]
    pub host: Option<String>,
    /// Port. Default 5672, with TLS 5671.
    pub port: Option<u16>,
    /// Virtual host. Default `/`.
    #[schemars(extend("x-weir-aliases" = ["vhost"]))]
    pub virtual_host: Option<String>,
    /// User. Default `guest`, which brokers let in from their own machine only.
    #[schemars(extend("x-weir-aliases" = ["username"]))]
    pub user: Option<String>,
    /// Password. Default `guest`.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true))]
    pub password: Option<Secret>,
    /// Encrypt the connection. Default: only if one of the `ssl_` options is there.
    #[schemars(extend("x-weir-aliases" = ["ssl"]))]
    pub tls: Option<bool>,
    /// PEM file of the authorities to trust, or its text; default: those of the system.
    #[schemars(extend("x-weir-aliases" = ["sslrootcert", "tls_ca_file"]))]
    pub ssl_root_cert: Option<PathBuf>,
    /// PEM file of the client's certificate, or its text.
    #[schemars(extend("x-weir-aliases" = ["sslcert"]))]
    pub ssl_cert: Option<PathBuf>,
    /// PEM file of the client's private key, or its text (as a reference: `{{name}}`).
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true, "x-weir-aliases" = ["sslkey"]))]
    pub ssl_key: Option<Secret>,
    /// Whether the broker's certificate is checked, its name included. Default true.
    pub verify_tls: Option<bool>,
    /// Seconds to wait for the broker, to connect and for each answer. Default 20.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub connect_timeout_secs: Option<u64>,
    /// Seconds between signs of life; a broker that is silent for twice as long is gone. Default 30; the broker may want less.
    #[schemars(extend("x-weir-unit" = "s", "x-weir-aliases" = ["requested_heartbeat", "heartbeat"]))]
    pub heartbeat_secs: Option<u16>,
}

impl ConnectionOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.user.is_some() != self.password.is_some() {
            return Err(wrong("`user` and `password` belong together", "give both or none"));
        }
        if self.ssl_cert.is_some() != self.ssl_key.is_some() {
            return Err(wrong("`ssl_cert` and `ssl_key` belong together", "give both or none"));
        }
        if self.tls == Some(false) && (self.ssl_root_cert.is_some() || self.ssl_cert.is_some()) {
            return Err(wrong("`tls: false` and certificates exclude each other", "drop one of them"));
        }
        if self.heartbeat_secs == Some(0) {
            return Err(wrong("`heartbeat_secs: 0` would not notice a broker that is gone", "30 is the default"));
        }
        short("virtual_host", self.virtual_host.as_deref().unwrap_or("/")).map(drop)
    }

    /// Whether the connection is encrypted.
    pub fn encrypted(&self) -> bool {
        self.tls.unwrap_or(self.ssl_root_cert.is_some() || self.ssl_cert.is_some())
    }
}

/// What is told of a message besides its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metadata {
    /// `_exchange` that it was published to; empty: the default one.
    Exchange,
    /// `_routing_key`.
    RoutingKey,
    /// `_redelivered`: it may have been delivered before.
    Redelivered,
    /// `_message_id`, if the publisher gave one.
    MessageId,
    /// `_timestamp`, if the publisher gave one: whole seconds, UTC.
    Timestamp,
    /// `_headers`, as a JSON object; a value that is no UTF-8 as `{"base64": "…"}`.
    Headers,
    /// `_properties`: the other properties that were given, as a JSON object: `content_type`, `correlation_id`, `reply_to`, `type`, ….
    Properties,
}

/// Kinds of exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExchangeType {
    /// By the routing key as it is.
    Direct,
    /// To every queue.
    Fanout,
    /// By patterns of the routing key.
    Topic,
    /// By headers.
    Headers,
}

/// What to read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceOptions {
    /// The queue.
    #[schemars(extend("x-weir-aliases" = ["queue_name", "topic"]))]
    pub queue: String,
    /// Make the queue (durable, not exclusive) if it is not there. One that is there otherwise is an error, and never changed. Default false.
    pub declare_queue: Option<bool>,
    /// `declare_queue`: the queue's arguments: `{x-queue-type: quorum}`.
    pub queue_arguments: BTreeMap<String, Value>,
    /// An exchange to bind the queue to.
    pub exchange: Option<String>,
    /// Make the exchange, durable and of this type, if it is not there: `direct`, `fanout`, `topic`, `headers`. Default: it must be there.
    pub exchange_type: Option<ExchangeType>,
    /// `exchange`: the keys to bind with. Default: one empty key.
    #[schemars(extend("x-weir-aliases" = ["binding_keys"]))]
    pub routing_keys: Vec<String>,
    /// What payloads are: `json` (default), `text`, `raw`.
    pub format: Format,
    /// `format: json`: columns that are declared and not inferred: `{price: "decimal(20,4)"}`.
    pub columns: BTreeMap<String, String>,
    /// `format: json`: only the declared columns; nothing is inferred from the messages that are there.
    pub only_columns: bool,
    /// `format: json`: how JSON is read.
    pub json: JsonOptions,
    /// Columns of the message itself: `exchange`, `routing_key`, `redelivered`, `message_id`, `timestamp`, `headers`, `properties`, each with `_` before its name.
    pub metadata: Vec<Metadata>,
    /// Messages to look at for names and types. They go back to the queue and count as redelivered. Default 100.
    pub sample_records: Option<u64>,
    /// Messages that may be on their way to one consumer at most. When so many are not durable yet, another consumer takes over on the same connection, so a
    /// long checkpoint interval does not stop the queue. Default 1000.
    #[schemars(extend("x-weir-aliases" = ["prefetch_count"]))]
    pub prefetch: Option<u16>,
    /// Bytes that may be on their way at most: `prefetch` is lowered for large messages, by the largest one that came. Default 32 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub fetch_bytes: Option<u64>,
}

impl SourceOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.queue.trim().is_empty() {
            return Err(wrong("`queue` is missing", "name the queue to read"));
        }
        short("queue", &self.queue)?;
        if self.declare_queue != Some(true) && !self.queue_arguments.is_empty() {
            return Err(wrong(
                "`queue_arguments` need `declare_queue: true`",
                "arguments of a queue that is there cannot be changed",
            ));
        }
        if self.exchange.is_none() && (self.exchange_type.is_some() || !self.routing_keys.is_empty()) {
            return Err(wrong("`exchange_type` and `routing_keys` need `exchange`", "name the exchange to bind the queue to"));
        }
        if let Some(exchange) = &self.exchange {
            short("exchange", exchange)?;
        }
        for key in &self.routing_keys {
            short("routing_keys", key)?;
        }
        for key in self.queue_arguments.keys() {
            short("queue_arguments", key)?;
        }
        if self.prefetch == Some(0) {
            return Err(wrong("`prefetch: 0` would let the broker send everything at once", "1000 is the default"));
        }
        if self.format != Format::Json && (!self.columns.is_empty() || self.only_columns) {
            return Err(wrong("`columns` is for `format: json`", "other formats say themselves what their columns are"));
        }
        declared(&self.columns).map(drop)
    }

    /// The columns of the message itself, each once.
    pub fn kinds(&self) -> Vec<Metadata> {
        let mut kinds = self.metadata.clone();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}

/// How to write.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkOptions {
    /// The exchange; it must be there. Default: the default exchange, which gives a message to the queue that its routing key names.
    pub exchange: Option<String>,
    /// The routing key, with `{stream}`. Default `{stream}`.
    #[schemars(extend("x-weir-aliases" = ["queue", "queue_name", "topic"]))]
    pub routing_key: Option<String>,
    /// A column whose text is the routing key of its row; it is written into the payload too.
    pub routing_key_column: Option<String>,
    /// What payloads are: `json` (default), `csv`, `text`, `raw`; the last two take exactly one column.
    pub format: SinkFormat,
    /// A column whose text becomes the message's id, by which readers can tell a message that comes twice. Default: messages have none.
    pub message_id_column: Option<String>,
    /// Headers of every message.
    pub headers: BTreeMap<String, String>,
    /// A message that no queue takes ends the run. Default true; `false` lets the broker throw it away.
    pub mandatory: Option<bool>,
    /// Messages outlive the broker, if their queue is durable. Default true.
    pub persistent: Option<bool>,
    /// `append`: a queue knows nothing else.
    pub write_mode: WriteMode,
    /// Bytes that one lane may have on their way without the broker's confirmation. Default 8 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub max_buffer_bytes: Option<u64>,
    /// Seconds to wait for a confirmation. Default 60.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub confirm_timeout_secs: Option<u64>,
}

impl SinkOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.write_mode != WriteMode::Append {
            return Err(wrong(
                format!("a queue cannot be written with `write_mode: {}`", self.write_mode.as_str()),
                "`append` works: messages are only ever added",
            ));
        }
        if self.routing_key.is_some() && self.routing_key_column.is_some() {
            return Err(wrong("`routing_key` and `routing_key_column` exclude each other", "keep one of them"));
        }
        short("exchange", self.exchange.as_deref().unwrap_or_default())?;
        self.headers.keys().try_for_each(|name| short("headers", name).map(drop))
    }

    /// The routing key of a stream.
    pub fn key_of(&self, stream: &str) -> String {
        self.routing_key.as_deref().unwrap_or("{stream}").replace("{stream}", stream)
    }
}

/// A name as AMQP has it: 255 bytes at most.
pub fn short(option: &str, name: &str) -> Result<ShortString> {
    ShortString::try_new(name)
        .map_err(|_| wrong(format!("`{option}` holds a name of {} bytes", name.len()), "AMQP allows 255 bytes"))
}

/// Options out of their JSON.
pub fn parse<T: DeserializeOwned>(role: &str, value: &Value) -> Result<T> {
    crate::options::parse("rabbitmq", "WEIR-RABBITMQ-001", role, value)
}

/// An option that cannot be.
pub fn wrong(what: impl Into<String>, hint: &'static str) -> Error {
    Error::new("WEIR-RABBITMQ-001", Kind::Spec, what).hint(hint)
}
