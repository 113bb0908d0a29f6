//! How to reach the registry, and which of its subjects a topic has.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;
use weir_connect::{Result, Secret};

use super::super::config::wrong;

/// A schema registry with Confluent's API.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryOptions {
    /// Its address, `https://registry:8081`; several with commas: the next one is asked when one does not answer.
    #[schemars(extend("x-weir-aliases" = ["urls", "schema.registry.url", "endpoint"]))]
    pub url: String,
    /// User, for HTTP's basic authentication.
    #[schemars(extend("x-weir-aliases" = ["username"]))]
    pub user: Option<String>,
    /// Password of the user.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true))]
    pub password: Option<Secret>,
    /// A bearer token, instead of user and password.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true))]
    pub token: Option<Secret>,
    /// PEM file of the authorities to trust besides those of the system.
    #[schemars(extend("x-weir-aliases" = ["sslrootcert", "tls_ca_file"]))]
    pub ssl_root_cert: Option<PathBuf>,
    /// PEM file with the client's certificate.
    #[schemars(extend("x-weir-aliases" = ["sslcert"]))]
    pub ssl_cert: Option<PathBuf>,
    /// PEM file with the client's private key.
    #[schemars(extend("x-weir-aliases" = ["sslkey"]))]
    pub ssl_key: Option<PathBuf>,
    /// Whether the registry's certificate is checked. Default true.
    pub verify_tls: Option<bool>,
    /// Seconds that an answer may take, repetitions included. Default 20.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub timeout_secs: Option<u64>,
}

impl RegistryOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        if self.addresses()?.is_empty() {
            return Err(wrong("`registry` has no `url`", "`registry: {url: 'https://registry:8081'}`"));
        }
        if self.user.is_some() != self.password.is_some() || (self.user.is_some() && self.token.is_some()) {
            return Err(wrong("`registry` takes `user` and `password`, or a `token`, or none of them", "give one way only"));
        }
        if self.ssl_cert.is_some() != self.ssl_key.is_some() {
            return Err(wrong("`ssl_cert` and `ssl_key` of `registry` belong together", "give both or none"));
        }
        Ok(())
    }

    /// The addresses, each with a slash at its end.
    pub fn addresses(&self) -> Result<Vec<Url>> {
        let given = self.url.split(',').map(str::trim).filter(|url| !url.is_empty());
        given
            .map(|text| {
                let parsed = Url::parse(&format!("{}/", text.trim_end_matches('/')));
                parsed.ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()).ok_or_else(|| {
                    wrong("`url` of `registry` is no address of HTTP", "`https://registry:8081`, several with commas")
                })
            })
            .collect()
    }
}

/// Which subject of the registry has the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectNameStrategy {
    /// `<topic>-value`.
    #[default]
    #[serde(alias = "TopicNameStrategy")]
    TopicName,
    /// The full name of the record.
    #[serde(alias = "RecordNameStrategy")]
    RecordName,
    /// `<topic>-<full name of the record>`.
    #[serde(alias = "TopicRecordNameStrategy")]
    TopicRecordName,
}

impl SubjectNameStrategy {
    /// The subject of a topic's values.
    pub fn subject(self, topic: &str, record: &str) -> String {
        match self {
            Self::TopicName => format!("{topic}-value"),
            Self::RecordName => record.to_owned(),
            Self::TopicRecordName => format!("{topic}-{record}"),
        }
    }
}

/// A strategy that names the record needs its name.
pub fn needs_record(strategy: SubjectNameStrategy, record: Option<&str>) -> Result<()> {
    if strategy != SubjectNameStrategy::TopicName && record.is_none() {
        return Err(wrong("this `subject_name_strategy` needs `record_name`", "name the record in full: `shop.Order`"));
    }
    Ok(())
}
