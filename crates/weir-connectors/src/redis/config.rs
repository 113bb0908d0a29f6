//! Options as people write them. No I/O.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_connect::{Error, Kind, Result, Secret, WriteMode};
use weir_formats::JsonOptions;

use crate::messages::{Format, SinkFormat, declared};

/// Server and credentials.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionOptions {
    /// Host name or address. Default `localhost`.
    #[schemars(extend("x-weir-aliases" = ["hostname", "server"]))]
    pub host: Option<String>,
    /// Port. Default 6379.
    pub port: Option<u16>,
    /// User of the access list (Redis 6 and later). Default: the user `default`.
    #[schemars(extend("x-weir-aliases" = ["username"]))]
    pub user: Option<String>,
    /// Password.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true, "x-weir-aliases" = ["auth"]))]
    pub password: Option<Secret>,
    /// Number of the database. Default 0.
    #[schemars(extend("x-weir-aliases" = ["db", "db_num", "database_number"]))]
    pub database: Option<u32>,
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
    /// Whether the server's certificate is checked, its name included. Default true.
    pub verify_tls: Option<bool>,
    /// Seconds to wait for the server, to connect and for each answer. Default 20.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub connect_timeout_secs: Option<u64>,
}

impl ConnectionOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.user.is_some() && self.password.is_none() {
            return Err(wrong("`user` needs `password`", "give both, or the password alone"));
        }
        if self.ssl_cert.is_some() != self.ssl_key.is_some() {
            return Err(wrong("`ssl_cert` and `ssl_key` belong together", "give both or none"));
        }
        if self.tls == Some(false) && (self.ssl_root_cert.is_some() || self.ssl_cert.is_some()) {
            return Err(wrong("`tls: false` and certificates exclude each other", "drop one of them"));
        }
        Ok(())
    }

    /// Whether the connection is encrypted.
    pub fn encrypted(&self) -> bool {
        self.tls.unwrap_or(self.ssl_root_cert.is_some() || self.ssl_cert.is_some())
    }
}

/// Where a stream is read from when nothing is known of it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartMode {
    /// The oldest entry that is kept.
    #[default]
    Earliest,
    /// Only what comes from now on: the first batch run reads nothing and remembers where the stream ends.
    Latest,
    /// The first entry whose id is of `start_timestamp_ms` or later.
    Timestamp,
    /// Behind what the consumer group `group` was given last; without such a group the oldest entry that is kept.
    #[serde(alias = "group_offsets")]
    Group,
}

/// What is done about entries that are gone before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDataLoss {
    /// The run fails and says what is missing.
    #[default]
    Fail,
    /// Reading goes on at the oldest entry that is left; the log says how much is missing.
    Earliest,
}

/// What is told of an entry besides its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metadata {
    /// `_id`: the entry's id, `1526919030474-55`.
    Id,
    /// `_stream`: the key.
    Stream,
    /// `_timestamp`: the time in the id, in milliseconds, UTC.
    Timestamp,
}

/// What to read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceOptions {
    /// The key of one stream, or a pattern (`*`, `?`, `[a-z]`) for several: a stream each.
    #[schemars(extend("x-weir-aliases" = ["stream", "stream_key"]))]
    pub key: Option<String>,
    /// Keys or patterns of several streams, a stream each.
    pub keys: Vec<String>,
    /// The field that holds the payload, which `format` describes. Default: none, every field is a column.
    #[schemars(extend("x-weir-aliases" = ["payload_field"]))]
    pub field: Option<String>,
    /// What the payload in `field` is: `json` (default), `text`, `raw`.
    pub format: Format,
    /// Columns that are declared and not inferred: `{price: "decimal(20,4)"}`. Without `field`: the types of fields, which are text otherwise.
    pub columns: BTreeMap<String, String>,
    /// Only the declared columns; nothing is inferred from the entries that are there.
    pub only_columns: bool,
    /// `format: json`: how JSON is read. `extra_keys` holds for fields too.
    pub json: JsonOptions,
    /// Columns of the entry itself: `id`, `stream`, `timestamp`, each with `_` before its name.
    pub metadata: Vec<Metadata>,
    /// Where the first run begins: `earliest` (default), `latest`, `timestamp`, `group`. Later runs go on where the last one ended.
    pub start_mode: StartMode,
    /// A consumer group: where `start_mode: group` begins; and what a run has made durable becomes its place (`XGROUP SETID`), for tools that show the lag. It is
    /// made if it is missing. What its consumers were given and have not acknowledged stays theirs.
    #[schemars(extend("x-weir-aliases" = ["group_id", "consumer_group"]))]
    pub group: Option<String>,
    /// `start_mode: timestamp`: milliseconds since 1970.
    #[schemars(extend("x-weir-unit" = "ms"))]
    pub start_timestamp_ms: Option<u64>,
    /// Entries that are gone before they were read (trimmed, a stream that was deleted): `fail` (default) or `earliest`.
    pub on_data_loss: OnDataLoss,
    /// Entries to look at for names and types, the latest ones. Default 1000.
    pub sample_records: Option<u64>,
    /// Bytes that one answer of the server should have at most; one entry may have more. Default 8 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub fetch_bytes: Option<u64>,
}

impl SourceOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.key.is_some() && !self.keys.is_empty() {
            return Err(wrong("`key` and `keys` exclude each other", "keep one of them"));
        }
        if self.start_mode == StartMode::Timestamp && self.start_timestamp_ms.is_none() {
            return Err(wrong("`start_mode: timestamp` needs `start_timestamp_ms`", "milliseconds since 1970"));
        }
        if self.start_mode == StartMode::Group && self.group.is_none() {
            return Err(wrong("`start_mode: group` needs `group`", "name the consumer group"));
        }
        if self.format != Format::Json && self.field.is_none() {
            return Err(wrong("`format` needs `field`", "name the field that holds the payload"));
        }
        if self.format != Format::Json && (!self.columns.is_empty() || self.only_columns) {
            return Err(wrong(
                "`columns` is for fields and `format: json`",
                "other formats say themselves what their columns are",
            ));
        }
        declared(&self.columns).map(drop)
    }

    /// Keys and patterns; empty: every stream.
    pub fn wanted(&self) -> Vec<String> {
        self.key.iter().chain(&self.keys).cloned().collect()
    }
}

/// Whether a key is a pattern.
pub fn is_pattern(key: &str) -> bool {
    key.contains(['*', '?', '['])
}

/// How to write.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkOptions {
    /// The key, with `{stream}`. Default `{stream}`.
    #[schemars(extend("x-weir-aliases" = ["stream", "stream_key"]))]
    pub key: Option<String>,
    /// The field that gets the whole row as `format` says. Default: none, every column is a field; a NULL is no field.
    #[schemars(extend("x-weir-aliases" = ["payload_field"]))]
    pub field: Option<String>,
    /// What is written into `field`: `json` (default), `csv`, `text`, `raw`; the last two take exactly one column.
    pub format: SinkFormat,
    /// A column whose text becomes the entry's id (`1526919030474-55`): then an entry that is written twice is there once. Ids must rise.
    pub id_column: Option<String>,
    /// How many entries the stream keeps; older ones are trimmed. Default: all.
    #[schemars(extend("x-weir-aliases" = ["maxlen", "max_len"]))]
    pub max_length: Option<u64>,
    /// `max_length` may be exceeded a little, which costs the server much less. Default true.
    pub approximate: Option<bool>,
    /// `append`: a stream knows nothing else.
    pub write_mode: WriteMode,
    /// Bytes that one lane may collect before it sends them. Default 1 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub max_buffer_bytes: Option<u64>,
}

impl SinkOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.write_mode != WriteMode::Append {
            return Err(wrong(
                format!("a stream cannot be written with `write_mode: {}`", self.write_mode.as_str()),
                "`append` works: entries are only ever added",
            ));
        }
        if self.format != SinkFormat::Json && self.field.is_none() {
            return Err(wrong("`format` needs `field`", "name the field that gets the row"));
        }
        if self.max_length == Some(0) {
            return Err(wrong("`max_length: 0` would keep nothing", "leave it out to keep all entries"));
        }
        Ok(())
    }

    /// The key of a stream.
    pub fn key_of(&self, stream: &str) -> String {
        self.key.as_deref().unwrap_or("{stream}").replace("{stream}", stream)
    }
}

/// Options out of their JSON.
pub fn parse<T: DeserializeOwned>(role: &str, value: &Value) -> Result<T> {
    crate::options::parse("redis", "WEIR-REDIS-001", role, value)
}

/// An option that cannot be.
pub fn wrong(what: impl Into<String>, hint: &'static str) -> Error {
    Error::new("WEIR-REDIS-001", Kind::Spec, what).hint(hint)
}
