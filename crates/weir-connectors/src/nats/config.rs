//! Options as people write them. No I/O.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use weir_connect::{Error, Kind, Result, Secret};
use weir_formats::JsonOptions;

use crate::messages::{Format, Payload, SinkFormat, declared};

/// Servers and credentials.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionOptions {
    /// `nats://host:port` of a server, or of several of one cluster with commas; `tls://` wants an encrypted connection.
    #[schemars(extend("x-weir-aliases" = ["server", "url", "urls", "nats_url"]))]
    pub servers: String,
    /// User.
    #[schemars(extend("x-weir-aliases" = ["username"]))]
    pub user: Option<String>,
    /// The user's password.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true))]
    pub password: Option<Secret>,
    /// A token, in place of user and password.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true))]
    pub token: Option<Secret>,
    /// The seed of an nkey (`SU…`), in place of user and password.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true, "x-weir-aliases" = ["nkey"]))]
    pub nkey_seed: Option<Secret>,
    /// A credentials file (JWT and seed): its path, or its text.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true, "x-weir-aliases" = ["creds", "credentials_file"]))]
    pub credentials: Option<Secret>,
    /// Encrypt the connection. Default: if a server is `tls://`, one of the `ssl_` options is there, or the server demands it.
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
    /// Whether the server's certificate is checked, its name included. Default true.
    pub verify_tls: Option<bool>,
    /// The JetStream domain, if the servers have several.
    pub domain: Option<String>,
    /// Seconds to wait for a server that answers. Default 20.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub connect_timeout_secs: Option<u64>,
}

impl ConnectionOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.servers.trim().is_empty() {
            return Err(wrong("`servers` is missing", "name one server at least: `nats://broker:4222`"));
        }
        self.urls()?;
        if self.user.is_some() != self.password.is_some() {
            return Err(wrong("`user` and `password` belong together", "give both or none"));
        }
        let ways = [self.user.is_some(), self.token.is_some(), self.nkey_seed.is_some(), self.credentials.is_some()].into_iter();
        if ways.filter(|given| *given).count() > 1 {
            return Err(wrong("`user`, `token`, `nkey_seed` and `credentials` exclude each other", "keep one of them"));
        }
        if self.ssl_cert.is_some() != self.ssl_key.is_some() {
            return Err(wrong("`ssl_cert` and `ssl_key` belong together", "give both or none"));
        }
        if self.tls == Some(false) && (self.ssl_root_cert.is_some() || self.ssl_cert.is_some()) {
            return Err(wrong("`tls: false` and certificates exclude each other", "drop one of them"));
        }
        Ok(())
    }

    /// The servers, one by one.
    pub fn urls(&self) -> Result<Vec<Url>> {
        self.servers
            .split(',')
            .map(str::trim)
            .filter(|server| !server.is_empty())
            .map(|server| {
                let text = if server.contains("://") { server.to_owned() } else { format!("nats://{server}") };
                let url =
                    Url::parse(&text).map_err(|error| wrong("`servers` holds what is no address", ADDRESS).because(error))?;
                if !url.username().is_empty() || url.password().is_some() {
                    return Err(wrong("`servers` holds credentials", "write them as `user` and `password`, or as `token`"));
                }
                if !["nats", "tls"].contains(&url.scheme()) || url.host_str().is_none() {
                    return Err(wrong(format!("`{server}` is no address of a NATS server"), ADDRESS));
                }
                Ok(url)
            })
            .collect()
    }

    /// Whether the connection must be encrypted, whatever the server says.
    pub fn encrypted(&self) -> bool {
        self.tls.unwrap_or(self.ssl_root_cert.is_some() || self.ssl_cert.is_some())
    }
}

const ADDRESS: &str = "for example `nats://broker:4222`, or `tls://broker:4222`";

/// Where a stream is read from when nothing is known of it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartMode {
    /// The oldest message that is kept.
    #[default]
    Earliest,
    /// Only what comes from now on: the first batch run reads nothing and remembers where the stream ends.
    Latest,
    /// The first message that was stored at `start_timestamp_ms` or later.
    Timestamp,
    /// At `start_sequence`.
    #[serde(alias = "specific_offsets")]
    Sequence,
}

/// What is done about messages that are gone before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDataLoss {
    /// The run fails and says what is missing.
    #[default]
    Fail,
    /// Reading goes on at the oldest message that is left; the log says how much is missing.
    Earliest,
}

/// What is told of a message besides its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metadata {
    /// `_subject`.
    Subject,
    /// `_headers`, as JSON text: `[["name", "value"], …]`, sorted by name; NULL without any.
    Headers,
    /// `_sequence`, the message's number in the stream.
    Sequence,
    /// `_timestamp`, when the server stored it, in microseconds, UTC.
    Timestamp,
}

/// What to read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceOptions {
    /// One JetStream stream.
    pub stream: Option<String>,
    /// Several JetStream streams. Without `stream` and `streams`: all whose subjects overlap with `subject`, or all there are.
    pub streams: Vec<String>,
    /// Only messages with such a subject: `orders.*.new`, `orders.>`. Default: all of the stream.
    #[schemars(extend("x-weir-aliases" = ["filter_subject", "subject_filter"]))]
    pub subject: Option<String>,
    /// What payloads are: `json` (default), `text`, `raw`.
    #[schemars(extend("x-weir-aliases" = ["value.format", "value_format"]))]
    pub format: Format,
    /// `format: json`: columns with their types, in place of what the sample shows: `{id: int64, at: timestamptz}`.
    #[schemars(extend("x-weir-aliases" = ["schema.fields"]))]
    pub columns: BTreeMap<String, String>,
    /// Only the declared `columns` exist: nothing is inferred.
    pub only_columns: bool,
    /// How JSON is read.
    pub json: JsonOptions,
    /// Columns about the message itself: `subject`, `headers`, `sequence`, `timestamp`.
    pub metadata: Vec<Metadata>,
    /// Where the first run begins: `earliest` (default), `latest`, `timestamp`, `sequence`. Later runs go on where the last one ended.
    #[schemars(extend("x-weir-aliases" = ["startup_mode", "deliver_policy"]))]
    pub start_mode: StartMode,
    /// `start_mode: timestamp`: milliseconds since 1970.
    #[schemars(extend("x-weir-unit" = "ms"))]
    pub start_timestamp_ms: Option<i64>,
    /// `start_mode: sequence`: the first sequence to read.
    pub start_sequence: Option<u64>,
    /// Messages that are gone before they were read (limits of the stream, a purge, a stream that was made anew): `fail` (default) or `earliest`.
    pub on_data_loss: OnDataLoss,
    /// Messages to look at for names and types, the latest ones. Default 1000.
    #[schemars(extend("x-weir-aliases" = ["sample_messages"]))]
    pub sample_records: Option<u64>,
    /// Bytes that are asked for at once, and may wait undecoded. Default 8 MiB; a larger message is read alone.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub fetch_bytes: Option<u64>,
}

impl SourceOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.stream.is_some() && !self.streams.is_empty() {
            return Err(wrong("`stream` and `streams` exclude each other", "keep one of them"));
        }
        for name in self.stream.iter().chain(&self.streams) {
            if name.is_empty() || name.contains([' ', '\t', '.', '*', '>', '/', '\\']) {
                return Err(wrong(
                    format!("`{name}` is no name of a JetStream stream"),
                    "names of streams have no dots, blanks or wildcards; those are for `subject`",
                ));
            }
        }
        if let Some(subject) = &self.subject {
            filter(subject)?;
        }
        if (self.start_mode == StartMode::Timestamp) != self.start_timestamp_ms.is_some() {
            return Err(wrong("`start_mode: timestamp` and `start_timestamp_ms` belong together", "milliseconds since 1970"));
        }
        if (self.start_mode == StartMode::Sequence) != self.start_sequence.is_some() {
            return Err(wrong("`start_mode: sequence` and `start_sequence` belong together", "sequences begin with 1"));
        }
        if self.format != Format::Json && (!self.columns.is_empty() || self.only_columns) {
            return Err(wrong("`columns` is for `format: json`", "other formats say themselves what their columns are"));
        }
        declared(&self.columns).map(drop)
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
    /// The subject of messages, with `{stream}`. Default `{stream}`.
    #[schemars(extend("x-weir-aliases" = ["table", "topic"]))]
    pub subject: Option<String>,
    /// A column whose text is the message's subject, in place of `subject`.
    pub subject_column: Option<String>,
    /// The JetStream stream that must take the messages. Default: whichever has their subjects.
    pub stream: Option<String>,
    /// Whether `stream` is made if it is missing, on disk, with `stream_subjects`. Default false.
    pub create_stream: Option<bool>,
    /// Subjects of a stream that is made. Default: `subject`.
    pub stream_subjects: Vec<String>,
    /// What payloads are: `json` (default), `csv`, `text`, `raw` (the last two with one column).
    #[schemars(extend("x-weir-aliases" = ["value.format", "value_format"]))]
    pub format: SinkFormat,
    /// Headers of every message.
    pub headers: BTreeMap<String, String>,
    /// Columns that name a row: they become its `Nats-Msg-Id`, and the server drops a second message with the same id within the stream's
    /// duplicate window (2 minutes unless the stream says otherwise). Rows of a run must differ in them.
    #[schemars(extend("x-weir-aliases" = ["msg_id"]))]
    pub message_id: Vec<String>,
    /// Bytes that one lane may hold on their way to the server. Default 8 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub max_buffer_bytes: Option<u64>,
    /// Seconds that the server may take to confirm a message. Default 30.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub ack_timeout_secs: Option<u64>,
}

impl SinkOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.subject.is_some() && self.subject_column.is_some() {
            return Err(wrong("`subject` and `subject_column` exclude each other", "keep one of them"));
        }
        if let Some(subject) = &self.subject
            && !subject.contains("{{")
        {
            plain(&subject.replace("{stream}", "stream"))?;
        }
        let create = self.create_stream == Some(true);
        if create && self.stream.is_none() {
            return Err(wrong("`create_stream` needs `stream`", "name the stream that is made"));
        }
        if create && self.subject_column.is_some() && self.stream_subjects.is_empty() {
            return Err(wrong("`create_stream` with `subject_column` needs `stream_subjects`", "for example `[orders.>]`"));
        }
        self.stream_subjects.iter().try_for_each(|subject| filter(subject))
    }

    /// The subject of a stream's messages; `None`: it is in a column.
    pub fn subject_of(&self, stream: &str) -> Option<String> {
        match self.subject_column {
            Some(_) => None,
            None => Some(self.subject.as_deref().unwrap_or("{stream}").replace("{stream}", stream)),
        }
    }
}

/// Whether a text is a subject that messages can have: tokens between dots, without blanks and wildcards.
pub fn is_subject(text: &str) -> bool {
    !text.is_empty()
        && text.split('.').all(|token| !token.is_empty() && token != "*" && token != ">")
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn plain(subject: &str) -> Result<()> {
    match is_subject(subject) {
        true => Ok(()),
        false => {
            Err(wrong(format!("`{subject}` is no subject"), "words between dots, without blanks and wildcards: `orders.new`"))
        }
    }
}

/// A subject with wildcards: `*` for a token, `>` for all that are left.
fn filter(subject: &str) -> Result<()> {
    let whole = subject.strip_suffix(".>").or((subject == ">").then_some("x")).unwrap_or(subject);
    let ok = whole.split('.').all(|token| token == "*" || is_subject(token));
    if ok {
        Ok(())
    } else {
        Err(wrong(format!("`{subject}` is no subject"), "`orders.*.new`, `orders.>`; `>` stands at the end"))
    }
}

/// Options out of their JSON.
pub fn parse<T: DeserializeOwned>(role: &str, value: &Value) -> Result<T> {
    crate::options::parse("nats", "WEIR-NATS-001", role, value)
}

/// An option that cannot be.
pub fn wrong(what: impl Into<String>, hint: &'static str) -> Error {
    Error::new("WEIR-NATS-001", Kind::Spec, what).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_told_from_what_is_none() {
        for good in ["a", "a.b", "a.b-c_d.3"] {
            assert!(is_subject(good), "{good}");
        }
        for bad in ["", ".", "a.", "a..b", "a b", "a.*", "a.>", "a\n"] {
            assert!(!is_subject(bad), "{bad:?}");
        }
        for good in [">", "a.>", "*.b", "a.*.c", "a"] {
            filter(good).unwrap();
        }
        for bad in ["", "a.>.b", ">.a", "a..b", "a .b"] {
            assert_eq!(filter(bad).unwrap_err().code(), "WEIR-NATS-001", "{bad:?}");
        }
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_repeated() {
        let options = ConnectionOptions { servers: "nats://me:sesame@b:4222".into(), ..ConnectionOptions::default() };
        let error = options.validate().unwrap_err();
        assert_eq!(error.code(), "WEIR-NATS-001");
        assert!(!format!("{error} {error:?}").contains("sesame"), "{error:?}");
    }
}
