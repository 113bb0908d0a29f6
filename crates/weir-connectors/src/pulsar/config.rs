//! Options as people write them. No I/O.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_connect::{Result, Secret, WriteMode};
use weir_formats::{CsvWriteOptions, JsonOptions};

use super::errors::wrong;
pub use super::formats::{SinkFormat, SourceFormat};
use super::names::{Topic, whole};
use super::position::Id;

/// Brokers and credentials.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionOptions {
    /// `pulsar://host:6650`, or `pulsar+ssl://host:6651` with TLS; several hosts with commas.
    #[schemars(extend("x-weir-aliases" = ["service-url", "client.service-url", "url", "PULSAR_URL"]))]
    pub service_url: String,
    /// `http://host:8080` or `https://…`: the admin interface. Needed for patterns over namespaces, for topics with partitions that are to be made,
    /// and to see whether messages are gone.
    #[schemars(extend("x-weir-aliases" = ["admin-url", "admin.service-url"]))]
    pub admin_url: Option<String>,
    /// `tenant/namespace` of topics that are named by their last part alone. Default `public/default`.
    pub namespace: Option<String>,
    /// A token (JWT).
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true, "x-weir-aliases" = ["auth.params"]))]
    pub token: Option<Secret>,
    /// User, for basic authentication.
    #[schemars(extend("x-weir-aliases" = ["username"]))]
    pub user: Option<String>,
    /// Password, for basic authentication.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true))]
    pub password: Option<Secret>,
    /// Of SeaTunnel: `AuthenticationToken` or `AuthenticationOAuth2`. `token` alone, or `issuer_url` with `credentials_url`, says the same.
    #[schemars(extend("x-weir-aliases" = ["auth.plugin-class"]))]
    pub auth_plugin_class: Option<String>,
    /// OAuth 2 with client credentials: the address of who issues tokens; its `/.well-known/openid-configuration` says where.
    #[schemars(extend("x-weir-aliases" = ["issuerUrl", "issuer-url"]))]
    pub issuer_url: Option<String>,
    /// OAuth 2: the client's key file, JSON with `client_id` and `client_secret`: `file:///path`, `data:application/json;base64,…`, or the JSON itself.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true, "x-weir-aliases" = ["private_key", "privateKey", "credentials-url"]))]
    pub credentials_url: Option<Secret>,
    /// OAuth 2: for whom the token is, if the issuer wants to know that.
    pub audience: Option<String>,
    /// OAuth 2: what the token shall allow, if the issuer wants to know that.
    pub scope: Option<String>,
    /// PEM of the authorities to trust, a file or the text itself; default: those of the system.
    #[schemars(extend("x-weir-aliases" = ["sslrootcert", "tls_ca_file"]))]
    pub ssl_root_cert: Option<PathBuf>,
    /// PEM of the client's certificate, a file or the text itself. Without other credentials it is what the client proves itself with.
    #[schemars(extend("x-weir-aliases" = ["sslcert"]))]
    pub ssl_cert: Option<PathBuf>,
    /// PEM of the client's private key, a file or the text itself.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true, "x-weir-aliases" = ["sslkey"]))]
    pub ssl_key: Option<Secret>,
    /// Whether the brokers' certificates are checked, names included. Default true.
    pub verify_tls: Option<bool>,
    /// Seconds to wait for a broker that answers. Default 20.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub connect_timeout_secs: Option<u64>,
}

impl ConnectionOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        self.hosts()?;
        if self.user.is_some() != self.password.is_some() {
            return Err(wrong("`user` and `password` belong together", "give both or none"));
        }
        if self.token.is_some() && self.user.is_some() {
            return Err(wrong("`token` and `user` exclude each other", "keep one of them"));
        }
        if self.ssl_cert.is_some() != self.ssl_key.is_some() {
            return Err(wrong("`ssl_cert` and `ssl_key` belong together", "give both or none"));
        }
        let any = self.ssl_root_cert.is_some() || self.ssl_cert.is_some();
        if !self.encrypted() && any {
            return Err(wrong("certificates need an encrypted connection", "write `service_url: pulsar+ssl://host:6651`"));
        }
        if self.oauth().is_ok_and(|oauth| oauth.is_none())
            && let Some(class) = &self.auth_plugin_class
            && (!class.ends_with("AuthenticationToken") || self.token.is_none())
        {
            return Err(wrong(
                format!("`auth.plugin-class: {class}` is not known here"),
                "a token goes into `token`, a user into `user` and `password`, a certificate into `ssl_cert` and `ssl_key`",
            ));
        }
        self.oauth()?;
        if let Some(url) = &self.admin_url {
            let parsed = url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if parsed.is_none() {
                return Err(wrong("`admin_url` is no address of the admin interface", "`http://host:8080`"));
            }
        }
        let namespace = self.namespace();
        if namespace.split('/').count() != 2 || namespace.split('/').any(str::is_empty) {
            return Err(wrong(format!("`namespace: {namespace}` is no namespace"), "write `tenant/namespace`"));
        }
        Ok(())
    }

    /// Whether connections are encrypted.
    pub fn encrypted(&self) -> bool {
        self.service_url.trim().starts_with("pulsar+ssl://")
    }

    /// The namespace of short names.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("public/default")
    }

    /// The brokers of `service_url`.
    pub fn hosts(&self) -> Result<Vec<(String, u16)>> {
        let hint = "`pulsar://host:6650`, or `pulsar+ssl://host:6651` with TLS";
        let (scheme, rest) =
            self.service_url.trim().split_once("://").ok_or_else(|| wrong("`service_url` is missing or no address", hint))?;
        let port = match scheme {
            "pulsar" => 6650,
            "pulsar+ssl" => 6651,
            _ => return Err(wrong(format!("`service_url` begins with `{scheme}://`, which no broker speaks"), hint)),
        };
        let hosts: Option<Vec<(String, u16)>> = rest.trim_end_matches('/').split(',').map(|one| host(one.trim(), port)).collect();
        hosts.ok_or_else(|| wrong("`service_url` is no address", hint))
    }
}

/// `host:port`; IPv6 addresses in brackets, which stay.
pub fn host(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (text, default),
    };
    let odd = host.is_empty() || host.contains(['/', '@', ' ']) || (host.contains(':') && !host.starts_with('['));
    (!odd).then(|| (host.to_owned(), port))
}

/// Where a stream is read from when nothing is known of it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartMode {
    /// The oldest message that is kept.
    #[default]
    #[serde(alias = "EARLIEST")]
    Earliest,
    /// Only what comes from now on: the first batch run reads nothing and remembers where the partitions end.
    #[serde(alias = "LATEST")]
    Latest,
    /// Messages that were published at `start_timestamp_ms` or later, by the brokers' and producers' clocks.
    #[serde(alias = "TIMESTAMP")]
    Timestamp,
    /// At `start_message_ids`.
    MessageId,
    /// Behind what the subscription `subscription_name` has acknowledged without a gap; one that is new begins at the oldest message.
    #[serde(alias = "SUBSCRIPTION")]
    Subscription,
}

/// Who remembers how far was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadBy {
    /// The checkpoint: each message has its place and is read again from there.
    #[default]
    Position,
    /// The broker: what is durable is acknowledged, the rest comes again.
    Subscription,
}

/// How several consumers share a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionType {
    /// One consumer only.
    #[default]
    #[serde(alias = "Exclusive")]
    Exclusive,
    /// Each message to one of them.
    #[serde(alias = "Shared")]
    Shared,
    /// One at a time, the others wait to take over.
    #[serde(alias = "Failover")]
    Failover,
    /// Each key to one of them.
    #[serde(alias = "Key_Shared")]
    KeyShared,
}

/// What is done about messages that may be gone before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDataLoss {
    /// The run fails and says why.
    #[default]
    Fail,
    /// Reading goes on at the oldest message that is left; the log says so.
    Earliest,
}

/// What a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyFormat {
    /// Text in UTF-8.
    #[default]
    Text,
    /// Bytes as they are.
    Raw,
}

/// What is told of a message besides its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metadata {
    /// `_key`, by `key_format`.
    Key,
    /// `_properties`, as JSON text: `[["name", "value"], …]` in their order.
    Properties,
    /// `_topic`, with tenant and namespace, without the partition.
    Topic,
    /// `_partition`; NULL in a topic without partitions.
    Partition,
    /// `_message_id`: `ledger:entry:partition`, and `:index` inside a batch; partition is -1 in a topic without.
    MessageId,
    /// `_publish_time`, in milliseconds, UTC.
    PublishTime,
    /// `_event_time`, in milliseconds, UTC; NULL if the producer gave none.
    EventTime,
    /// `_producer`: the producer's name.
    Producer,
    /// `_sequence`: the producer's number of the message.
    Sequence,
}

/// What to read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceOptions {
    /// One topic: `persistent://tenant/namespace/topic`, or its last part alone.
    pub topic: Option<String>,
    /// Several topics, a stream each.
    pub topics: Vec<String>,
    /// Every topic whose whole name matches, a stream each: `persistent://tenant/namespace/REGEX`, or the regular expression alone. The namespace may
    /// be a regular expression too if the connection has an `admin_url`.
    #[schemars(extend("x-weir-aliases" = ["topic-pattern", "pattern"]))]
    pub topic_pattern: Option<String>,
    /// What payloads are: `json`, `text`, `raw`, or by the topic's schema `avro`, `protobuf`, `key_value`. Default: what its schema says, and `json`
    /// for JSON, for STRING and without one.
    #[schemars(extend("x-weir-aliases" = ["value.format", "value_format"]))]
    pub format: Option<SourceFormat>,
    /// `format: json`: columns that are declared and not inferred: `{price: "decimal(20,4)"}`.
    pub columns: BTreeMap<String, String>,
    /// `format: json`: only the declared columns; nothing is inferred from the messages that are there.
    pub only_columns: bool,
    /// `format: json`: how JSON is read.
    pub json: JsonOptions,
    /// Columns of the message itself: `key`, `properties`, `topic`, `partition`, `message_id`, `publish_time`, `event_time`, `producer`, `sequence`,
    /// each with `_` before its name.
    pub metadata: Vec<Metadata>,
    /// What keys are: `text` (default) or `raw`.
    #[schemars(extend("x-weir-aliases" = ["key.format"]))]
    pub key_format: KeyFormat,
    /// Where the first run begins: `earliest` (default), `latest`, `timestamp`, `message_id`, `subscription`. Later runs go on where the last one ended.
    #[schemars(extend("x-weir-aliases" = ["cursor.startup.mode", "scan.startup.mode", "startup_mode"]))]
    pub start_mode: StartMode,
    /// `start_mode: timestamp`: milliseconds since 1970.
    #[schemars(extend("x-weir-unit" = "ms", "x-weir-aliases" = ["cursor.startup.timestamp"]))]
    pub start_timestamp_ms: Option<i64>,
    /// `start_mode: message_id`: the first message of each partition, `ledger:entry:partition` or `ledger:entry:partition:index` as `_message_id` has it;
    /// partitions that are not named begin at their oldest message.
    #[schemars(extend("x-weir-aliases" = ["start_message_id"]))]
    pub start_message_ids: Vec<String>,
    /// Who remembers how far was read: `position` (default: the checkpoint) or `subscription` (the broker; at least once).
    pub read_by: ReadBy,
    /// A durable subscription. With `read_by: position` the broker keeps what is not durable here yet (without one it keeps what the namespace's
    /// retention says); with `read_by: subscription` it is what is read.
    #[schemars(extend("x-weir-aliases" = ["subscription-name", "subscription.name", "subscription"]))]
    pub subscription_name: Option<String>,
    /// `read_by: subscription`: `exclusive` (default), `shared`, `failover`, `key_shared`.
    #[schemars(extend("x-weir-aliases" = ["subscription-type", "subscription.type"]))]
    pub subscription_type: Option<SubscriptionType>,
    /// Messages that may be gone before they were read: `fail` (default) or `earliest`. It can only be seen with the connection's `admin_url`.
    pub on_data_loss: OnDataLoss,
    /// Messages to look at for names and types, the oldest that are kept. Default 1000.
    pub sample_records: Option<u64>,
    /// Bytes that one partition's reader may hold that have come and are not yet rows. Default 16 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub fetch_bytes: Option<u64>,
    /// The largest message, uncompressed and put together from its chunks. Larger ones are dead letters. Default 64 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub max_message_bytes: Option<u64>,
    /// Seconds without a connection after which the read fails (and may be tried again). Default 60.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub broker_timeout_secs: Option<u64>,
}

impl SourceOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        let ways =
            usize::from(self.topic.is_some()) + usize::from(!self.topics.is_empty()) + usize::from(self.topic_pattern.is_some());
        if ways > 1 {
            return Err(wrong("`topic`, `topics` and `topic_pattern` exclude each other", "keep one of them"));
        }
        if let Some(pattern) = &self.topic_pattern {
            whole(pattern)?;
        }
        for topic in self.named() {
            Topic::parse(&topic, "public/default")?;
        }
        if self.start_mode == StartMode::Timestamp && self.start_timestamp_ms.is_none() {
            return Err(wrong("`start_mode: timestamp` needs `start_timestamp_ms`", "milliseconds since 1970"));
        }
        if (self.start_mode == StartMode::MessageId) == self.start_message_ids.is_empty() {
            return Err(wrong("`start_mode: message_id` and `start_message_ids` belong together", "`[\"12:0:0\", \"14:7:1\"]`"));
        }
        for id in &self.start_message_ids {
            Id::parse(id)?;
        }
        if self.subscription_name.is_none()
            && (self.read_by == ReadBy::Subscription || self.start_mode == StartMode::Subscription)
        {
            return Err(wrong("a subscription is read, but `subscription_name` is missing", "name the subscription"));
        }
        if self.subscription_type.is_some() && self.read_by == ReadBy::Position {
            return Err(wrong(
                "`subscription_type` is for `read_by: subscription`",
                "leave it out: positions are in the checkpoint; or read by the subscription",
            ));
        }
        let begins = matches!(self.start_mode, StartMode::Timestamp | StartMode::MessageId);
        if begins && self.read_by == ReadBy::Subscription {
            return Err(wrong(
                "`read_by: subscription` begins where the subscription is",
                "a new one begins at `start_mode: earliest` or `latest`; `pulsar-admin topics reset-cursor` moves it",
            ));
        }
        if let Some(format) = self.format {
            self.columns_fit(format)?;
        }
        crate::messages::declared(&self.columns).map(drop)
    }

    /// Whether columns may be declared.
    pub fn columns_fit(&self, format: SourceFormat) -> Result<()> {
        if format != SourceFormat::Json && (!self.columns.is_empty() || self.only_columns) {
            return Err(wrong("`columns` is for `format: json`", "other formats say themselves what their columns are"));
        }
        Ok(())
    }

    /// Topics named one by one; empty with a pattern, or for all.
    pub fn named(&self) -> Vec<String> {
        self.topic.iter().chain(&self.topics).cloned().collect()
    }

    /// The largest message.
    pub fn max_message_bytes(&self) -> usize {
        usize::try_from(self.max_message_bytes.unwrap_or(64 << 20)).unwrap_or(usize::MAX)
    }
}

/// What a sink writes as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkKeyFormat {
    /// The value of the one key column as text (bytes as they are).
    Text,
    /// A JSON object with the key columns.
    Json,
}

/// Compressions of what a sink sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// None.
    None,
    /// LZ4.
    #[default]
    Lz4,
    /// zlib.
    Zlib,
    /// Zstandard.
    Zstd,
    /// Snappy.
    Snappy,
}

/// How to write.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkOptions {
    /// The topic, with `{stream}`. Default `{stream}`.
    #[schemars(extend("x-weir-aliases" = ["table"]))]
    pub topic: Option<String>,
    /// What payloads are: `json` (default), `csv`, `text`, `raw`, `avro`.
    #[schemars(extend("x-weir-aliases" = ["value.format", "value_format"]))]
    pub format: SinkFormat,
    /// `format: json` and `text`: whether the broker is told a schema (JSON, made of the columns; STRING). `avro` always tells its own. Default false.
    pub announce_schema: bool,
    /// The full name of the record in a schema that is told. Default: the one that it has in the topic already, else `Row`.
    pub record_name: Option<String>,
    /// `format: csv`: how it is written.
    pub csv: CsvWriteOptions,
    /// Columns of the key; default: none, and with `write_mode: upsert` the stream's key.
    #[schemars(extend("x-weir-aliases" = ["key_fields", "key.fields", "partition_key_fields", "primary_key"]))]
    pub key: Vec<String>,
    /// What keys are: `text` (default with one key column) or `json` (default with several).
    #[schemars(extend("x-weir-aliases" = ["key.format"]))]
    pub key_format: Option<SinkKeyFormat>,
    /// Properties of every message.
    pub properties: BTreeMap<String, String>,
    /// Columns whose values, as text, become properties of their names besides; a NULL becomes none.
    pub property_columns: Vec<String>,
    /// A column whose time becomes the message's event time. Default: none.
    #[schemars(extend("x-weir-aliases" = ["timestamp_column"]))]
    pub event_time_column: Option<String>,
    /// `append`, or `upsert`: the key is required, and the topic is meant to be compacted.
    pub write_mode: WriteMode,
    /// Partitions of a topic that is made; needs the connection's `admin_url`. Default: as the broker makes topics by itself.
    pub partitions: Option<u32>,
    /// Whether a topic that is missing is made. Default true.
    pub create_topic: Option<bool>,
    /// How messages are compressed: `none`, `lz4` (default), `zlib`, `zstd`, `snappy`.
    pub compression: Compression,
    /// Messages that are stored as one entry, at most. 1: each for itself. Default 1000.
    pub batch_messages: Option<u32>,
    /// Whether a message that is larger than the broker takes is sent in chunks. Default false: it ends the run.
    pub chunking: bool,
    /// Bytes that one lane may hold that the broker has not confirmed. Default 32 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub max_buffer_bytes: Option<u64>,
    /// Seconds without a connection after which the write fails (and may be tried again). Default 60.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub broker_timeout_secs: Option<u64>,
}

impl SinkOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.key_format == Some(SinkKeyFormat::Text) && self.key.len() > 1 {
            return Err(wrong("`key_format: text` takes one key column", "write several as `key_format: json`"));
        }
        if !matches!(self.write_mode, WriteMode::Append | WriteMode::Upsert) {
            return Err(wrong(
                format!("a topic cannot be written with `write_mode: {}`", self.write_mode.as_str()),
                "`append` and `upsert` work: messages are only ever added",
            ));
        }
        if self.announce_schema && matches!(self.format, SinkFormat::Csv | SinkFormat::Raw) {
            return Err(wrong(
                "`announce_schema` is for `format: json` and `text`",
                "CSV and bytes have no schema that a broker knows",
            ));
        }
        if self.partitions == Some(0) {
            return Err(wrong("`partitions: 0` is none", "leave it out for a topic without partitions"));
        }
        Topic::parse(&self.topic_of("stream"), "public/default").map(drop)
    }

    /// The topic of a stream.
    pub fn topic_of(&self, stream: &str) -> String {
        self.topic.as_deref().unwrap_or("{stream}").replace("{stream}", stream)
    }
}

/// Options out of their JSON.
pub fn parse<T: DeserializeOwned>(role: &str, value: &Value) -> Result<T> {
    crate::options::parse("pulsar", "WEIR-PULSAR-001", role, value)
}
