//! Topics of Kafka.

use serde_json::Value;

use super::super::{Options, Text};

/// What values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueFormat {
    /// An object a record.
    Json,
    /// A line of CSV a record.
    Csv,
    /// One text.
    Text,
    /// Bytes.
    Raw,
    /// Avro, in Confluent's wire format.
    Avro,
    /// Protobuf, likewise.
    Protobuf,
    /// JSON with a schema in the registry.
    JsonSchema,
    /// Debezium's envelopes.
    Debezium,
}

impl ValueFormat {
    pub(super) fn of(word: Option<&str>) -> Self {
        match word {
            Some("csv") => Self::Csv,
            Some("text") => Self::Text,
            Some("raw") => Self::Raw,
            Some("avro") => Self::Avro,
            Some("protobuf") => Self::Protobuf,
            Some("json_schema") => Self::JsonSchema,
            Some("debezium_json") => Self::Debezium,
            _ => Self::Json,
        }
    }

    /// The word in pipeline files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Text => "text",
            Self::Raw => "raw",
            Self::Avro => "avro",
            Self::Protobuf => "protobuf",
            Self::JsonSchema => "json_schema",
            Self::Debezium => "debezium_json",
        }
    }
}

/// Where the first run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest record.
    Earliest,
    /// Behind the newest.
    Latest,
    /// At a time, in milliseconds since 1970.
    Timestamp(u64),
    /// Topic, partition, offset.
    Offsets(Vec<(String, u32, u64)>),
    /// Where a group is.
    Group,
}

/// Topics and how to reach them.
#[derive(Debug, Clone)]
pub struct Kafka {
    /// Addresses with commas.
    pub servers: Text,
    /// Settings of the client beyond that, by the names of Java's client.
    pub client: Vec<(String, Text)>,
    /// Topics by name; of a sink one, perhaps with `{stream}`.
    pub topics: Vec<String>,
    /// A regular expression for topics.
    pub pattern: Option<String>,
    /// What values are.
    pub format: ValueFormat,
    /// The schema registry: address, then user and password or token.
    pub registry: Option<Registry>,
    /// Where the first run begins (sources).
    pub start: StartAt,
    /// A consumer group (sources).
    pub group: Option<String>,
    /// Whether a key is written as JSON (sinks), or what keys are (sources).
    pub key_format: Option<String>,
    /// Settings of CSV, as written.
    pub csv: Option<Value>,
    /// Sinks: written in transactions.
    pub exactly_once: bool,
    /// Sinks: how batches are compressed.
    pub compression: Option<String>,
}

/// A schema registry.
#[derive(Debug, Clone)]
pub struct Registry {
    /// Address.
    pub url: Text,
    /// User and password.
    pub login: Option<(Text, Text)>,
}

impl Kafka {
    pub(super) fn read(options: &Options<'_>) -> Self {
        let source = options.node().role == weir_spec::Role::Source;
        let mut topics = options.words("topics");
        topics.extend(options.words("topic"));
        if !source && topics.is_empty() {
            topics.push("{stream}".into());
        }
        let columns = ["columns", "only_columns", "json", "sample_records", "isolation", "on_data_loss"];
        options.pass(&columns);
        if options.value("on_data_loss").and_then(Value::as_str) == Some("earliest") {
            options.refuse(
                Some("on_data_loss"),
                "is compiled to stop where records are gone",
                "remove it, or use the native engine",
            );
        }
        if options.value("isolation").and_then(Value::as_str) == Some("read_uncommitted") {
            options.refuse(Some("isolation"), "is compiled to read committed records", "remove it, or use the native engine");
        }
        if options.value("metadata").is_some_and(|metadata| metadata.as_array().is_none_or(|list| !list.is_empty())) {
            options.refuse(
                Some("metadata"),
                "is compiled without columns about records",
                "remove them, or use the native engine",
            );
        }
        for option in [
            "subject",
            "subject_name_strategy",
            "record_name",
            "auto_register",
            "key_columns",
            "headers",
            "partition_column",
            "timestamp_column",
        ] {
            if options.value(option).is_some() {
                options.refuse(Some(option), format!("has nothing for `{option}`"), "remove it, or use the native engine");
            }
        }
        for (option, harmless) in [("tombstones", "dead_letter"), ("partitioner", "key")] {
            options.refuse_unless(
                option,
                &Value::String(harmless.into()),
                &format!("has nothing for `{option}`"),
                "remove it, or use the native engine",
            );
        }
        for option in ["partitions", "replication", "topic_config", "create_topic"] {
            if options.value(option).is_some() {
                options.compiling().note(format!(
                    "`{}.{option}`: topics are made by the brokers or before the job, not by it",
                    options.node().name
                ));
            }
        }
        Self {
            servers: options.text("bootstrap_servers").unwrap_or_default(),
            client: client(options),
            topics,
            pattern: options.word("topic_pattern"),
            format: ValueFormat::of(options.word("format").as_deref()),
            registry: registry(options),
            start: start(options),
            group: options.word("group"),
            key_format: options.word("key_format"),
            csv: options.value("csv").cloned(),
            exactly_once: options.word("guarantee").as_deref() != Some("at_least_once"),
            compression: options.word("compression").filter(|word| word != "none"),
        }
    }
}

fn registry(options: &Options<'_>) -> Option<Registry> {
    let map = options.map("registry");
    let find = |name: &str| map.iter().find(|(key, _)| key == name).map(|(_, text)| text.clone());
    let url = find("url")?;
    for option in ["token", "ssl_cert", "ssl_key", "ssl_root_cert"] {
        if find(option).is_some() {
            options.refuse(
                Some("registry"),
                format!("is compiled without `registry.{option}`"),
                "a user with a password, or the native engine",
            );
        }
    }
    Some(Registry { url, login: find("user").zip(find("password")) })
}

/// Settings for TLS and logins as Java's client calls them.
fn client(options: &Options<'_>) -> Vec<(String, Text)> {
    let mut client = Vec::new();
    let mut put = |name: &str, value: Text| client.push((name.to_string(), value));
    let tls = options.flag("tls").unwrap_or(false) || options.has("ssl_root_cert");
    let login = options.text("user").zip(options.text("password"));
    match (tls, login.is_some()) {
        (false, false) => {}
        (true, false) => put("security.protocol", "SSL".into()),
        (false, true) => put("security.protocol", "SASL_PLAINTEXT".into()),
        (true, true) => put("security.protocol", "SASL_SSL".into()),
    }
    let mechanism = options.word("sasl_mechanism").unwrap_or_else(|| "plain".into());
    if let Some((user, password)) = login {
        let (name, class) = match mechanism.as_str() {
            "scram_sha_256" => ("SCRAM-SHA-256", "scram.ScramLoginModule"),
            "scram_sha_512" => ("SCRAM-SHA-512", "scram.ScramLoginModule"),
            _ => ("PLAIN", "plain.PlainLoginModule"),
        };
        put("sasl.mechanism", name.into());
        let module = format!("org.apache.kafka.common.security.{class} required username=\"");
        put("sasl.jaas.config", Text::plain(module).then(user).then("\" password=\"").then(password).then("\";"));
    }
    if let Some(file) = options.text("ssl_root_cert") {
        put("ssl.truststore.type", "PEM".into());
        put("ssl.truststore.location", file);
    }
    if options.flag("verify_tls") == Some(false) {
        options.refuse(Some("verify_tls"), "is compiled to check certificates", "give `ssl_root_cert`");
    }
    for option in ["ssl_cert", "ssl_key", "ssl_key_password"] {
        if options.value(option).is_some() {
            options.refuse(
                Some(option),
                "is given no client certificate by this compiler",
                "a user with a password, or the native engine",
            );
        }
    }
    for (name, _) in options.map("properties") {
        options.refuse(Some("properties"), format!("has another client than librdkafka, whose setting `{name}` is"), "remove it");
    }
    client
}

fn start(options: &Options<'_>) -> StartAt {
    match options.word("start_mode").as_deref() {
        Some("latest") => StartAt::Latest,
        Some("timestamp") => StartAt::Timestamp(options.number("start_timestamp_ms").unwrap_or_default()),
        Some("group_offsets") => StartAt::Group,
        Some("specific_offsets") => {
            let Some(Value::Object(map)) = options.value("start_offsets") else { return StartAt::Earliest };
            let offsets = map.iter().filter_map(|(place, offset)| {
                let (topic, partition) = place.rsplit_once('-').unwrap_or(("", place));
                Some((topic.to_string(), partition.parse().ok()?, offset.as_u64()?))
            });
            StartAt::Offsets(offsets.collect())
        }
        _ => StartAt::Earliest,
    }
}
