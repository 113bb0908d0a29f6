//! Options as people write them. No I/O.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::datatypes::SchemaRef;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_connect::{DeleteMode, Error, Kind, Result, Secret, WriteMode};
use weir_formats::debezium::{Context, DebeziumOptions};
use weir_formats::registered::SchemaKind;
use weir_formats::{CsvMessageOptions, CsvWriteOptions, JsonOptions};

use crate::messages::declared;

use super::registry::options::{RegistryOptions, SubjectNameStrategy, needs_record};

/// Brokers and credentials.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionOptions {
    /// `host:port` of some brokers, several with commas; the others are found through them.
    #[schemars(extend("x-weir-aliases" = ["bootstrap.servers", "properties.bootstrap.servers", "kafka.bootstrap.servers", "kafka_bootstrap_servers", "brokers"]))]
    pub bootstrap_servers: String,
    /// User, for SASL.
    #[schemars(extend("x-weir-aliases" = ["username", "sasl_username"]))]
    pub user: Option<String>,
    /// Password, for SASL.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true, "x-weir-aliases" = ["sasl_password"]))]
    pub password: Option<Secret>,
    /// How the user is proved: `plain`, `scram_sha_256`, `scram_sha_512`. Default with a user: `plain`.
    pub sasl_mechanism: Option<SaslMechanism>,
    /// Encrypt the connections. Default: only if one of the `ssl_` options is there.
    #[schemars(extend("x-weir-aliases" = ["ssl"]))]
    pub tls: Option<bool>,
    /// PEM file of the authorities to trust; default: those of the system.
    #[schemars(extend("x-weir-aliases" = ["sslrootcert", "tls_ca_file"]))]
    pub ssl_root_cert: Option<PathBuf>,
    /// PEM file with the client's certificate.
    #[schemars(extend("x-weir-aliases" = ["sslcert"]))]
    pub ssl_cert: Option<PathBuf>,
    /// PEM file with the client's private key.
    #[schemars(extend("x-weir-aliases" = ["sslkey"]))]
    pub ssl_key: Option<PathBuf>,
    /// Password of the private key.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true))]
    pub ssl_key_password: Option<Secret>,
    /// Whether the brokers' certificates are checked, names included. Default true.
    pub verify_tls: Option<bool>,
    /// Seconds to wait for a broker that answers. Default 20.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub connect_timeout_secs: Option<u64>,
    /// The schema registry, for `format: avro`, `protobuf` and `json_schema`.
    #[schemars(extend("x-weir-aliases" = ["schema_registry"]))]
    pub registry: Option<RegistryOptions>,
    /// Other settings of librdkafka, by its names: `{"socket.keepalive.enable": "true"}`. What exactness rests on is refused.
    #[schemars(extend("x-weir-aliases" = ["kafka.config", "config"]))]
    pub properties: BTreeMap<String, String>,
}

/// SASL mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SaslMechanism {
    /// The password itself; only over TLS.
    Plain,
    /// SCRAM with SHA-256.
    #[serde(rename = "scram_sha_256", alias = "scram_sha256", alias = "SCRAM-SHA-256")]
    ScramSha256,
    /// SCRAM with SHA-512.
    #[serde(rename = "scram_sha_512", alias = "scram_sha512", alias = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// As librdkafka writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Settings that are ours: another value would lose, double or hide records.
const REFUSED: [&str; 17] = [
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "isolation.level",
    "enable.partition.eof",
    "enable.idempotence",
    "transactional.id",
    "transaction.timeout.ms",
    "acks",
    "request.required.acks",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "group.id",
    "bootstrap.servers",
    "metadata.broker.list",
    "plugin.library.paths",
    "enable.gapless.guarantee",
];

/// Settings that have an option of their own here, where a secret is typed as one.
const OWN_OPTION: [&str; 7] = [
    "sasl.password",
    "sasl.username",
    "sasl.mechanism",
    "sasl.mechanisms",
    "security.protocol",
    "ssl.key.password",
    "ssl.key.pem",
];

impl ConnectionOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.bootstrap_servers.trim().is_empty() {
            return Err(wrong("`bootstrap_servers` is missing", "name one broker at least: `broker:9092`"));
        }
        if self.user.is_some() != self.password.is_some() {
            return Err(wrong("`user` and `password` belong together", "give both or none"));
        }
        if self.sasl_mechanism.is_some() && self.user.is_none() {
            return Err(wrong("`sasl_mechanism` needs `user` and `password`", "give them, or leave the mechanism out"));
        }
        if self.ssl_cert.is_some() != self.ssl_key.is_some() {
            return Err(wrong("`ssl_cert` and `ssl_key` belong together", "give both or none"));
        }
        if let Some(registry) = &self.registry {
            registry.validate()?;
        }
        let any = self.ssl_root_cert.is_some() || self.ssl_cert.is_some();
        if self.tls == Some(false) && any {
            return Err(wrong("`tls: false` and certificates exclude each other", "drop one of them"));
        }
        for name in self.properties.keys() {
            if REFUSED.contains(&name.as_str()) {
                return Err(wrong(
                    format!("`properties` may not set `{name}`"),
                    "Weir sets it itself: with another value records could be lost, doubled or hidden",
                ));
            }
            if OWN_OPTION.contains(&name.as_str()) {
                return Err(wrong(
                    format!("`properties` may not set `{name}`"),
                    "use `user`, `password`, `sasl_mechanism`, `tls` and the `ssl_` options of the connection",
                ));
            }
        }
        Ok(())
    }

    /// Whether connections are encrypted.
    pub fn encrypted(&self) -> bool {
        self.tls.unwrap_or(self.ssl_root_cert.is_some() || self.ssl_cert.is_some())
    }
}

/// Where a stream is read from when nothing is known of it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartMode {
    /// The oldest record that is kept.
    #[default]
    #[serde(alias = "earliest-offset", alias = "earliest_offset")]
    Earliest,
    /// Only what comes from now on: the first batch run reads nothing and remembers where the partitions end.
    #[serde(alias = "latest-offset", alias = "latest_offset")]
    Latest,
    /// The first record with `start_timestamp_ms` or later.
    Timestamp,
    /// At `start_offsets`.
    #[serde(alias = "specific-offsets")]
    SpecificOffsets,
    /// At the offsets that the consumer group `group` has committed; a partition without one from its beginning.
    #[serde(alias = "group-offsets")]
    GroupOffsets,
}

/// What is done about records that are gone before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDataLoss {
    /// The run fails and says what is missing.
    #[default]
    Fail,
    /// Reading goes on at the oldest record that is left; the log says how much is missing.
    Earliest,
}

/// A record without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tombstones {
    /// It goes to the dead letters.
    #[default]
    DeadLetter,
    /// A row of NULLs with `_tombstone` true.
    Keep,
}

/// Which records of transactions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Only those of transactions that were committed.
    #[default]
    ReadCommitted,
    /// All, aborted ones too.
    ReadUncommitted,
}

impl Isolation {
    /// As librdkafka writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadCommitted => "read_committed",
            Self::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceFormat {
    /// A JSON object: a column per key.
    #[default]
    Json,
    /// Text in UTF-8: one column `value`.
    Text,
    /// Bytes as they are: one column `value`.
    Raw,
    /// Avro, with the number of its schema in front; a column per field.
    Avro,
    /// Protobuf, with the number of its schema in front; a column per field.
    Protobuf,
    /// JSON with the number of its JSON Schema in front; a column per property.
    JsonSchema,
    /// A record of CSV: the columns that `csv` names.
    Csv,
    /// Debezium's envelope, with or without a schema around it: a row per change, as it is after it (of a delete: before it), and `_op`: `c`, `u`, `d`, `r`.
    DebeziumJson,
}

impl SourceFormat {
    /// The language of the schema, if it is in a registry.
    pub fn registered(self) -> Option<SchemaKind> {
        match self {
            Self::Avro => Some(SchemaKind::Avro),
            Self::Protobuf => Some(SchemaKind::Protobuf),
            Self::JsonSchema => Some(SchemaKind::Json),
            Self::Json | Self::Text | Self::Raw | Self::Csv | Self::DebeziumJson => None,
        }
    }
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
    /// A JSON object: the columns that `key_columns` declares, each with `_key_` before its name. A record without key has NULLs there.
    Json,
}

/// What is told of a record besides its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metadata {
    /// `_key`, by `key_format`.
    Key,
    /// `_headers`, as JSON text: `[["name", "value"], …]` in their order; a value that is no UTF-8 as `{"base64": "…"}`.
    Headers,
    /// `_topic`.
    Topic,
    /// `_partition`.
    Partition,
    /// `_offset`.
    Offset,
    /// `_timestamp`, in milliseconds, UTC; NULL in topics of very old brokers.
    Timestamp,
}

/// What to read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceOptions {
    /// One topic.
    pub topic: Option<String>,
    /// Several topics, a stream each.
    pub topics: Vec<String>,
    /// Every topic whose whole name matches this regular expression, a stream each.
    #[schemars(extend("x-weir-aliases" = ["topic-pattern", "pattern"]))]
    pub topic_pattern: Option<String>,
    /// What values are: `json` (default), `csv`, `text`, `raw`, `debezium_json`; with the connection's `registry` also `avro`, `protobuf`, `json_schema`.
    #[schemars(extend("x-weir-aliases" = ["value.format", "value_format"]))]
    pub format: SourceFormat,
    /// `json`, `debezium_json`, `csv`: columns whose types are declared and not inferred: `{price: "decimal(20,4)"}`.
    pub columns: BTreeMap<String, String>,
    /// `json`, `debezium_json`: only the declared columns; nothing is inferred from the records that are there.
    pub only_columns: bool,
    /// `json`, `debezium_json`, `json_schema`, and keys of JSON: how JSON is read.
    pub json: JsonOptions,
    /// `format: csv`: the names of the columns in their order, and how it is written.
    pub csv: CsvMessageOptions,
    /// The subject of the registry whose latest schema says what the columns are. Default: by `subject_name_strategy`.
    pub subject: Option<String>,
    /// How subjects are named: `topic_name` (default), `record_name`, `topic_record_name`.
    pub subject_name_strategy: SubjectNameStrategy,
    /// Full name of the record, for the strategies that use it; `format: protobuf`: the message that rows are made of. Default: the first of its file.
    #[schemars(extend("x-weir-aliases" = ["message"]))]
    pub record_name: Option<String>,
    /// Columns of the record itself: `key`, `headers`, `topic`, `partition`, `offset`, `timestamp`, each with `_` before its name.
    pub metadata: Vec<Metadata>,
    /// What keys are: `text` (default), `raw` or `json`.
    #[schemars(extend("x-weir-aliases" = ["key.format"]))]
    pub key_format: KeyFormat,
    /// `key_format: json`: the members of the key and their types: `{id: int64}`.
    pub key_columns: BTreeMap<String, String>,
    /// A record without a value: `dead_letter` (default) or `keep`.
    pub tombstones: Tombstones,
    /// Where the first run begins: `earliest` (default), `latest`, `timestamp`, `specific_offsets`, `group_offsets`. Later runs go on where the last one ended.
    #[schemars(extend("x-weir-aliases" = ["scan.startup.mode", "startup_mode"]))]
    pub start_mode: StartMode,
    /// `start_mode: timestamp`: milliseconds since 1970.
    #[schemars(extend("x-weir-unit" = "ms", "x-weir-aliases" = ["start_mode.timestamp", "scan.startup.timestamp-millis"]))]
    pub start_timestamp_ms: Option<i64>,
    /// `start_mode: specific_offsets`: by `topic-partition` (or the number of the partition alone, with one topic); what is not named begins at its beginning.
    #[schemars(extend("x-weir-aliases" = ["start_mode.offsets"]))]
    pub start_offsets: BTreeMap<String, i64>,
    /// A consumer group: its offsets are where `start_mode: group_offsets` begins, and what a run has made durable is committed to it, for tools that show the lag.
    #[schemars(extend("x-weir-aliases" = ["group_id", "consumer_group", "properties.group.id"]))]
    pub group: Option<String>,
    /// Records that are gone before they were read (retention, a topic that was made anew): `fail` (default) or `earliest`.
    pub on_data_loss: OnDataLoss,
    /// Records of transactions: `read_committed` (default) or `read_uncommitted`.
    pub isolation: Isolation,
    /// Records to look at for names and types, the latest ones. Default 1000.
    pub sample_records: Option<u64>,
    /// Bytes that one partition's reader may hold that were fetched and not yet decoded. Default 32 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub fetch_bytes: Option<u64>,
    /// Seconds without an answer from the brokers after which the read fails (and may be tried again). Default 60.
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
        if self.start_mode == StartMode::Timestamp && self.start_timestamp_ms.is_none() {
            return Err(wrong("`start_mode: timestamp` needs `start_timestamp_ms`", "milliseconds since 1970"));
        }
        if self.start_mode == StartMode::SpecificOffsets && self.start_offsets.is_empty() {
            return Err(wrong("`start_mode: specific_offsets` needs `start_offsets`", "`{orders-0: 1200, orders-1: 800}`"));
        }
        if self.start_mode == StartMode::GroupOffsets && self.group.is_none() {
            return Err(wrong("`start_mode: group_offsets` needs `group`", "name the consumer group"));
        }
        let inferred = matches!(self.format, SourceFormat::Json | SourceFormat::DebeziumJson);
        if self.only_columns && !inferred || !self.columns.is_empty() && !inferred && self.format != SourceFormat::Csv {
            let hint = "other formats say themselves what their columns are";
            return Err(wrong("`columns` is for JSON and CSV, `only_columns` for JSON", hint));
        }
        if self.format == SourceFormat::Csv {
            self.csv.schema(self.declared()?.as_ref())?;
        } else if self.csv != CsvMessageOptions::default() {
            return Err(wrong("`csv` is for `format: csv`", "drop it"));
        }
        if (self.key_format == KeyFormat::Json) == self.key_columns.is_empty() {
            return Err(wrong("`key_format: json` and `key_columns` belong together", "`key_columns: {id: int64}`"));
        }
        if self.key_format == KeyFormat::Json && self.metadata.contains(&Metadata::Key) {
            return Err(wrong(
                "with `key_format: json` the key's columns are there without `metadata: [key]`",
                "take `key` out of `metadata`",
            ));
        }
        declared(&self.key_columns)?;
        let registered = self.format.registered().is_some();
        let named =
            self.subject.is_some() || self.record_name.is_some() || self.subject_name_strategy != SubjectNameStrategy::TopicName;
        if named && !registered {
            return Err(wrong(
                "`subject`, `subject_name_strategy` and `record_name` are for formats of the registry",
                "drop them",
            ));
        }
        if registered && self.subject.is_none() {
            needs_record(self.subject_name_strategy, self.record_name.as_deref())?;
        }
        self.declared().map(drop)
    }

    /// The declared columns.
    pub fn declared(&self) -> Result<Option<SchemaRef>> {
        declared(&self.columns)
    }

    /// Topics named one by one; empty with a pattern, or for all.
    pub fn named(&self) -> Vec<String> {
        self.topic.iter().chain(&self.topics).cloned().collect()
    }
}

/// A pattern for the whole of a name.
pub fn whole(pattern: &str) -> Result<regex::Regex> {
    regex::Regex::new(&format!("^(?:{pattern})$"))
        .map_err(|error| wrong("`topic_pattern` is no regular expression", "for example `orders_.*`").because(error))
}

/// What a sink writes as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkFormat {
    /// A JSON object per row.
    #[default]
    Json,
    /// A line of CSV per row, without a header and without the line's end.
    Csv,
    /// Avro, with the number of its schema in front.
    Avro,
    /// Protobuf, with the number of its schema in front.
    Protobuf,
    /// JSON with the number of its JSON Schema in front.
    JsonSchema,
    /// Debezium's envelope: with `mode: cdc` each change, otherwise each row.
    DebeziumJson,
    /// Under `dead_letters: {to: …}`: the record as it came, and in headers why it was set aside.
    DeadLetter,
}

/// What a row is told as where there are no changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowOp {
    /// A row of a snapshot: `op` r.
    #[default]
    #[serde(alias = "r")]
    Read,
    /// A new row: `op` c.
    #[serde(alias = "c")]
    Create,
}

impl SinkFormat {
    /// The language of the schema, if it is in a registry.
    pub fn registered(self) -> Option<SchemaKind> {
        match self {
            Self::Avro => Some(SchemaKind::Avro),
            Self::Protobuf => Some(SchemaKind::Protobuf),
            Self::JsonSchema => Some(SchemaKind::Json),
            Self::Json | Self::Csv | Self::DebeziumJson | Self::DeadLetter => None,
        }
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

/// What a sink promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// Rows and progress enter in one transaction.
    #[default]
    #[serde(alias = "exactly-once", alias = "EXACTLY_ONCE")]
    ExactlyOnce,
    /// No transaction: after a crash some rows come twice.
    #[serde(alias = "at-least-once", alias = "AT_LEAST_ONCE")]
    AtLeastOnce,
}

/// Which partition a row goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Partitioner {
    /// By the hash of the key, as Java's clients do (murmur2); rows without a key anywhere.
    #[default]
    Key,
    /// By the hash of the key, as librdkafka's clients do (CRC32).
    KeyCrc32,
    /// By the number in the column `partition_column`.
    Column,
}

/// How to write.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkOptions {
    /// The topic, with `{stream}`. Default `{stream}`.
    #[schemars(extend("x-weir-aliases" = ["kafka_topic", "table"]))]
    pub topic: Option<String>,
    /// What values are: `json` (default), `csv`, `debezium_json`; with the connection's `registry` also `avro`, `protobuf`, `json_schema`. `mode: cdc` takes
    /// `debezium_json`, the sink of dead letters also `dead_letter`.
    #[schemars(extend("x-weir-aliases" = ["value.format", "value_format"]))]
    pub format: SinkFormat,
    /// `format: debezium_json`: how the envelope is written.
    pub debezium: DebeziumOptions,
    /// `format: debezium_json` without `mode: cdc`: what a row is told as, `read` (default) or `create`.
    pub row_op: RowOp,
    /// With `mode: cdc`: `hard` (default) writes a record and a tombstone for a delete, `ignore` nothing.
    pub delete_mode: DeleteMode,
    /// `format: csv`: how it is written.
    pub csv: CsvWriteOptions,
    /// The subject of the registry, with `{topic}`. Default: by `subject_name_strategy`.
    pub subject: Option<String>,
    /// How subjects are named: `topic_name` (default), `record_name`, `topic_record_name`.
    pub subject_name_strategy: SubjectNameStrategy,
    /// Full name of the record or message. Default `Row`.
    #[schemars(extend("x-weir-aliases" = ["message"]))]
    pub record_name: Option<String>,
    /// Register a schema of the columns when the subject's latest is not theirs (default true), or refuse the run.
    #[schemars(extend("x-weir-aliases" = ["auto.register.schemas"]))]
    pub auto_register: Option<bool>,
    /// Columns of the key; default: none, and with `write_mode: upsert` the stream's key.
    #[schemars(extend("x-weir-aliases" = ["key_fields", "key.fields", "partition_key_fields", "kafka_key_field", "primary_key"]))]
    pub key: Vec<String>,
    /// What keys are: `text` (default with one key column) or `json` (default with several).
    #[schemars(extend("x-weir-aliases" = ["key.format"]))]
    pub key_format: Option<SinkKeyFormat>,
    /// Headers of every record.
    pub headers: BTreeMap<String, String>,
    /// Which partition: `key` (default), `key_crc32`, `column`.
    #[schemars(extend("x-weir-aliases" = ["sink.partitioner"]))]
    pub partitioner: Partitioner,
    /// `partitioner: column`: a whole number, the partition.
    pub partition_column: Option<String>,
    /// A column whose time becomes the record's. Default: the time of writing.
    pub timestamp_column: Option<String>,
    /// `exactly_once` (default) or `at_least_once`.
    #[schemars(extend("x-weir-aliases" = ["semantics", "sink.delivery-guarantee", "delivery_guarantee"]))]
    pub guarantee: Guarantee,
    /// `append`, or `upsert`: the key is required, and the topic is meant to be compacted.
    pub write_mode: WriteMode,
    /// Partitions of a topic that is made. Default: the brokers' own.
    pub partitions: Option<i32>,
    /// Copies of a topic that is made. Default: the brokers' own.
    pub replication: Option<i32>,
    /// Settings of a topic that is made: `{"retention.ms": "604800000"}`.
    pub topic_config: BTreeMap<String, String>,
    /// Whether a topic that is missing is made. Default true.
    pub create_topic: Option<bool>,
    /// The compacted topic that keeps the progress of exactly-once sinks. Default `weir.progress`.
    pub progress_topic: Option<String>,
    /// What transactional ids begin with, for brokers with access lists. Default `weir`.
    #[schemars(extend("x-weir-aliases" = ["transaction_prefix", "sink.transactional-id-prefix"]))]
    pub transactional_id_prefix: Option<String>,
    /// Seconds that a transaction may be open; brokers allow 900 unless told otherwise. After a crash that is not resumed readers wait as long. Default 600.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub transaction_timeout_secs: Option<u64>,
    /// How batches are compressed: `none`, `gzip`, `snappy`, `lz4`, `zstd`. Default `lz4`.
    pub compression: Option<CompressionCodec>,
    /// Milliseconds that records may wait for others on their way; the end of an epoch ends it. Default 20, with `exactly_once` 1000: there nobody sees a record
    /// before its commit.
    #[schemars(extend("x-weir-unit" = "ms"))]
    pub linger_ms: Option<u64>,
    /// Bytes that one lane may hold on their way to the brokers. Default 16 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub max_buffer_bytes: Option<u64>,
    /// The largest record, key included; the topic's `max.message.bytes` must allow it. Default 1 MiB, as brokers have it.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub max_message_bytes: Option<u64>,
}

/// Compressions of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CompressionCodec {
    /// None.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl CompressionCodec {
    /// As librdkafka writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl SinkOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if (self.partitioner == Partitioner::Column) != self.partition_column.is_some() {
            return Err(wrong("`partitioner: column` and `partition_column` belong together", "give both or none"));
        }
        if self.key_format == Some(SinkKeyFormat::Text) && self.key.len() > 1 {
            return Err(wrong("`key_format: text` takes one key column", "write several as `key_format: json`"));
        }
        let by_column = self.partition_column.is_some() || self.timestamp_column.is_some();
        if self.format == SinkFormat::DebeziumJson && (self.key_format.is_some() || by_column) {
            let hint = "the envelope is keyed as Debezium's, and its records go to partitions by their keys";
            return Err(wrong(
                "`key_format`, `partition_column` and `timestamp_column` are not for `format: debezium_json`",
                hint,
            ));
        }
        if self.format != SinkFormat::DebeziumJson && (self.debezium != DebeziumOptions::default() || self.row_op != RowOp::Read)
        {
            return Err(wrong("`debezium` and `row_op` are for `format: debezium_json`", "drop them"));
        }
        let named = self.subject.is_some() || self.record_name.is_some() || self.auto_register.is_some();
        if self.format.registered().is_none() && named {
            return Err(wrong("`subject`, `record_name` and `auto_register` are for formats of the registry", "drop them"));
        }
        if self.format.registered().is_some() && self.subject.is_none() {
            needs_record(self.subject_name_strategy, self.record_name.as_deref())?;
        }
        if !matches!(self.write_mode, WriteMode::Append | WriteMode::Upsert) {
            return Err(wrong(
                format!("a topic cannot be written with `write_mode: {}`", self.write_mode.as_str()),
                "`append` and `upsert` work: records are only ever added",
            ));
        }
        Ok(())
    }

    /// What Debezium's envelopes say of where they come from.
    pub fn debezium_context(&self, pipeline: &str) -> Context {
        Context { options: self.debezium.clone(), pipeline: pipeline.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// The topic of a stream.
    pub fn topic_of(&self, stream: &str) -> String {
        self.topic.as_deref().unwrap_or("{stream}").replace("{stream}", stream)
    }
}

/// Options out of their JSON.
pub fn parse<T: DeserializeOwned>(role: &str, value: &Value) -> Result<T> {
    crate::options::parse("kafka", "WEIR-KAFKA-001", role, value)
}

/// An option that cannot be.
pub fn wrong(what: impl Into<String>, hint: &'static str) -> Error {
    Error::new("WEIR-KAFKA-001", Kind::Spec, what).hint(hint)
}
