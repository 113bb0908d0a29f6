//! Options as people write them. No I/O.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_connect::{Error, Kind, Result, Secret};
use weir_formats::JsonOptions;

use super::packet::{Qos, Version};
use crate::messages::{Format, Payload, SinkFormat, declared};

/// A broker and credentials.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionOptions {
    /// Name or address of the broker.
    #[schemars(extend("x-weir-aliases" = ["broker", "server", "hostname"]))]
    pub host: String,
    /// Its port. Default 1883, with TLS 8883.
    pub port: Option<u16>,
    /// User.
    #[schemars(extend("x-weir-aliases" = ["username"]))]
    pub user: Option<String>,
    /// The user's password.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true))]
    pub password: Option<Secret>,
    /// Encrypt the connection. Default: only if one of the `ssl_` options is there.
    #[schemars(extend("x-weir-aliases" = ["ssl"]))]
    pub tls: Option<bool>,
    /// PEM file of the authorities to trust, or the PEM text; default: those of the system.
    #[schemars(extend("x-weir-aliases" = ["sslrootcert", "tls_ca_file"]))]
    pub ssl_root_cert: Option<PathBuf>,
    /// PEM file with the client's certificate, or the PEM text.
    #[schemars(extend("x-weir-aliases" = ["sslcert"]))]
    pub ssl_cert: Option<PathBuf>,
    /// PEM file with the client's private key, or the PEM text.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true, "x-weir-aliases" = ["sslkey"]))]
    pub ssl_key: Option<Secret>,
    /// Whether the broker's certificate is checked, its name included. Default true.
    pub verify_tls: Option<bool>,
    /// The protocol: `v5` (default), or `v3_1_1` for brokers that speak only that.
    pub protocol_version: ProtocolVersion,
    /// Seconds to wait for a broker that answers. Default 20.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub connect_timeout_secs: Option<u64>,
}

/// Versions of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolVersion {
    /// MQTT 5.0.
    #[default]
    #[serde(alias = "5", alias = "5.0")]
    V5,
    /// MQTT 3.1.1.
    #[serde(rename = "v3_1_1", alias = "3.1.1", alias = "v4")]
    V311,
}

impl ConnectionOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.host.trim().is_empty() {
            return Err(wrong("`host` is missing", "name the broker"));
        }
        if self.host.contains("://") || self.host.contains('@') {
            return Err(wrong(
                "`host` is a name or an address alone",
                "give the port as `port`, credentials as `user` and `password`",
            ));
        }
        if self.password.is_some() && self.user.is_none() {
            return Err(wrong("`password` needs `user`", "give both or none"));
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

    /// The protocol's version.
    pub fn version(&self) -> Version {
        match self.protocol_version {
            ProtocolVersion::V5 => Version::V5,
            ProtocolVersion::V311 => Version::V311,
        }
    }
}

/// What is done when the broker has forgotten the session, and with it messages that were not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDataLoss {
    /// The run fails and says so.
    #[default]
    Fail,
    /// Reading goes on with what comes from now on; the log says so.
    Earliest,
}

/// What is told of a message besides its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metadata {
    /// `_topic`.
    Topic,
    /// `_headers`: the user properties of MQTT 5, as JSON text: `[["name", "value"], …]`; NULL without any.
    Headers,
    /// `_qos`: the quality that it came with.
    Qos,
    /// `_retained`: the broker had kept it from before the subscription.
    Retained,
    /// `_duplicate`: the broker has sent it before.
    Duplicate,
}

/// What to read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceOptions {
    /// A topic, with wildcards: `sensors/+/temperature`, `sensors/#`.
    pub topic: Option<String>,
    /// Several, in one stream.
    pub topics: Vec<String>,
    /// Name of the session at the broker, which keeps messages while nobody reads: no two readers may have the same. Required.
    #[schemars(extend("x-weir-aliases" = ["clientid", "client.id"]))]
    pub client_id: String,
    /// Name of the stream. Default: the first topic in letters, digits and `_`.
    #[schemars(extend("x-weir-aliases" = ["name"]))]
    pub stream_name: Option<String>,
    /// How messages are asked for: 0 (what comes while nobody reads is lost), 1 (default), 2.
    pub qos: Option<u8>,
    /// What payloads are: `json` (default), `text`, `raw`.
    #[schemars(extend("x-weir-aliases" = ["value.format", "value_format"]))]
    pub format: Format,
    /// `format: json`: columns with their types: `{id: int64, at: timestamptz}`. Without them the messages that the broker retains are looked at.
    #[schemars(extend("x-weir-aliases" = ["schema.fields"]))]
    pub columns: BTreeMap<String, String>,
    /// Only the declared `columns` exist: nothing is inferred.
    pub only_columns: bool,
    /// How JSON is read.
    pub json: JsonOptions,
    /// Columns about the message itself: `topic`, `headers`, `qos`, `retained`, `duplicate`.
    pub metadata: Vec<Metadata>,
    /// Whether messages that the broker retains are read when the session begins. Default true.
    pub retained: Option<bool>,
    /// Messages that the broker may give before the first of them is acknowledged, which it is when its rows are durable. Default 65535, and with
    /// `v3_1_1`, where the broker decides alone, what it is thought to allow: 20.
    pub receive_maximum: Option<u16>,
    /// Seconds that the broker keeps the session while nobody is connected (MQTT 5). Default: for ever.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub session_expiry_secs: Option<u32>,
    /// A session that the broker has forgotten, with what was not read: `fail` (default) or `earliest`.
    pub on_data_loss: OnDataLoss,
    /// The largest message. Default 32 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub max_message_bytes: Option<u64>,
}

impl SourceOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.topic.is_some() && !self.topics.is_empty() {
            return Err(wrong("`topic` and `topics` exclude each other", "keep one of them"));
        }
        if self.filters().is_empty() {
            return Err(wrong("`topic` is missing", "for example `sensors/+/temperature`, or `#` for everything"));
        }
        for filter in self.filters() {
            if !is_filter(&filter) {
                return Err(wrong(format!("`{filter}` is no topic"), "`+` and `#` stand alone between slashes, `#` at the end"));
            }
        }
        if self.client_id.is_empty() || self.client_id.len() > 60_000 || self.client_id.contains('\0') {
            return Err(wrong(
                "`client_id` is missing",
                "a name of its own for this reader, which stays the same: the broker keeps the session under it",
            ));
        }
        if self.qos.is_some_and(|qos| qos > 2) {
            return Err(wrong("`qos` is 0, 1 or 2", "1 is the default"));
        }
        if self.receive_maximum == Some(0) {
            return Err(wrong("`receive_maximum` is 1 at least", "the default is the largest"));
        }
        if self.format != Format::Json && (!self.columns.is_empty() || self.only_columns) {
            return Err(wrong("`columns` is for `format: json`", "other formats say themselves what their columns are"));
        }
        declared(&self.columns).map(drop)
    }

    /// The topics.
    pub fn filters(&self) -> Vec<String> {
        self.topic.iter().chain(&self.topics).cloned().collect()
    }

    /// The quality.
    pub fn quality(&self) -> Qos {
        match self.qos {
            Some(0) => Qos::AtMostOnce,
            Some(2) => Qos::ExactlyOnce,
            _ => Qos::AtLeastOnce,
        }
    }

    /// The stream's name.
    pub fn name(&self) -> String {
        if let Some(name) = &self.stream_name {
            return name.clone();
        }
        let first = self.filters().into_iter().next().unwrap_or_default();
        let words = first.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        let name = words.collect::<Vec<_>>().join("_");
        if name.is_empty() { "messages".into() } else { name }
    }

    /// How payloads become columns.
    pub fn payload(&self) -> Result<Payload> {
        Ok(Payload {
            format: self.format,
            declared: declared(&self.columns)?,
            only_columns: self.only_columns,
            json: self.json.clone(),
        })
    }
}

/// How to write.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkOptions {
    /// The topic of messages, with `{stream}`. Default `{stream}`.
    #[schemars(extend("x-weir-aliases" = ["table"]))]
    pub topic: Option<String>,
    /// A column whose text is the message's topic, in place of `topic`.
    pub topic_column: Option<String>,
    /// What payloads are: `json` (default), `csv`, `text`, `raw` (the last two with one column).
    #[schemars(extend("x-weir-aliases" = ["value.format", "value_format"]))]
    pub format: SinkFormat,
    /// User properties of every message (MQTT 5).
    pub headers: BTreeMap<String, String>,
    /// Whether the broker keeps each message as its topic's latest, for those who subscribe later. Default false.
    pub retain: bool,
    /// Bytes that one lane may hold on their way to the broker. Default 8 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub max_buffer_bytes: Option<u64>,
    /// Seconds that the broker may take to confirm a message. Default 30.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub ack_timeout_secs: Option<u64>,
}

impl SinkOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.topic.is_some() && self.topic_column.is_some() {
            return Err(wrong("`topic` and `topic_column` exclude each other", "keep one of them"));
        }
        if let Some(topic) = &self.topic
            && !is_topic(topic)
        {
            return Err(wrong(format!("`{topic}` is no topic to write to"), "a topic has no wildcards: `sensors/kitchen`"));
        }
        let long = |text: &String| text.len() > 60_000 || text.contains('\0');
        if self.headers.iter().any(|(name, value)| long(name) || long(value)) {
            return Err(wrong("`headers` holds a text that is too long", "60,000 bytes at most, without NUL"));
        }
        Ok(())
    }

    /// The topic of a stream's messages; `None`: it is in a column.
    pub fn topic_of(&self, stream: &str) -> Option<String> {
        match self.topic_column {
            Some(_) => None,
            None => Some(self.topic.as_deref().unwrap_or("{stream}").replace("{stream}", stream)),
        }
    }
}

/// Whether messages can have a topic (4.7.3).
pub fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= 65_535 && !topic.contains(['+', '#', '\0'])
}

/// Whether it can be subscribed to (4.7.1).
pub fn is_filter(filter: &str) -> bool {
    let parts: Vec<&str> = filter.split('/').collect();
    let plain = |at: usize, part: &str| match part {
        "+" => true,
        "#" => at + 1 == parts.len(),
        other => !other.contains(['+', '#', '\0']),
    };
    !filter.is_empty() && filter.len() <= 65_535 && parts.iter().enumerate().all(|(at, part)| plain(at, part))
}

/// Options out of their JSON.
pub fn parse<T: DeserializeOwned>(role: &str, value: &Value) -> Result<T> {
    crate::options::parse("mqtt", "WEIR-MQTT-001", role, value)
}

/// An option that cannot be.
pub fn wrong(what: impl Into<String>, hint: &'static str) -> Error {
    Error::new("WEIR-MQTT-001", Kind::Spec, what).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_filters_are_told_from_what_is_none() {
        for good in ["#", "+", "a/#", "+/b/+", "a//b", "$share/g/a/+"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", "a#", "a/#/b", "a+/b", "a\0"] {
            assert!(!is_filter(bad), "{bad:?}");
        }
        assert!(is_topic("a/b") && !is_topic("a/+") && !is_topic("") && !is_topic("#"));
    }

    #[test]
    fn a_stream_has_a_name_that_files_and_tables_can_have() {
        let of = |topic: &str| SourceOptions { topic: Some(topic.into()), ..SourceOptions::default() }.name();
        assert_eq!(of("sensors/+/room-1/#"), "sensors_room_1");
        assert_eq!(of("#"), "messages");
    }
}
