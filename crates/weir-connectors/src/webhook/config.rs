//! Options as people write them. No I/O.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use arrow::datatypes::{DataType, TimeUnit};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_connect::{Error, Kind, Result, Secret};
use weir_formats::JsonOptions;

use super::signature::SignatureOptions;
use crate::inbox::{Column, InboxOptions, Taken};
use crate::messages::{Format, Own, Payload, declared};

/// The port, who may send, and limits.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionOptions {
    /// Address and port to listen on: `127.0.0.1:8080`, `0.0.0.0:8080`. Plain HTTP/1.1: put a proxy with TLS in front of it.
    pub listen: String,
    /// Every request must carry `Authorization: Bearer` and this.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true))]
    pub bearer_token: Option<Secret>,
    /// Every request must be signed.
    pub signature: Option<SignatureOptions>,
    /// The largest body; a larger one is refused with 413. Default 1 MiB.
    #[schemars(extend("x-weir-unit" = "bytes", "x-weir-aliases" = ["max_body_size"]))]
    pub max_body_bytes: Option<usize>,
    /// Bytes of bodies that may be in memory at once; beyond them requests are refused with 429. Default 64 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub max_buffer_bytes: Option<usize>,
    /// Connections that may be open at once; others wait. Default 256.
    pub max_connections: Option<usize>,
    /// Seconds in which a request must have come whole. Default 30.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub request_timeout_secs: Option<u64>,
    /// Seconds that a connection may be open without a request. Default 30.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub idle_timeout_secs: Option<u64>,
    /// `Retry-After` of answers with 429 and 503. Default 5.
    #[schemars(extend("x-weir-unit" = "s"))]
    pub retry_after_secs: Option<u64>,
    /// Where `GET` answers 200 while requests are taken. Default `/healthz`.
    pub health_path: Option<String>,
}

/// Which requests become which rows.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceOptions {
    /// The path that is received. Default `/`, unless there are `paths`.
    pub path: Option<String>,
    /// Several paths, each with the name of its stream: `{/orders: orders, /github: pushes}`.
    pub paths: BTreeMap<String, String>,
    /// Name of the stream of `path`. Default: the last part of the path.
    pub stream: Option<String>,
    /// Methods that are taken: `POST` (default), `PUT`, `PATCH`.
    pub methods: Vec<Method>,
    /// What a body is: `auto` (default: by `Content-Type`), `json` (an object, or an array with a row per item), `ndjson` (a row per line), `form`, `whole`.
    pub body: Body,
    /// What rows are: `json` (default), `text`, `raw`; with `text` and `raw` a body is one row.
    pub format: Format,
    /// `format: json`: all columns with their types: `{amount: "decimal(20,4)"}`. Default: inferred from the requests that are in the inbox.
    pub columns: BTreeMap<String, String>,
    /// `format: json`: columns per path, where they differ.
    pub columns_by_path: BTreeMap<String, BTreeMap<String, String>>,
    /// `format: json`: how JSON is read.
    pub json: JsonOptions,
    /// Columns of the request: `received_at`, `path`, `query`, `headers` (JSON, without credentials), `delivery` (see `deduplicate`), `number` (in the inbox), each with `_` before its name.
    pub metadata: Vec<Metadata>,
    /// Requests that are sent again are taken once.
    pub deduplicate: Option<DeduplicateOptions>,
    /// Rows to look at for names and types. Default 1000.
    pub sample_records: Option<u64>,
    /// Where requests wait until they are delivered.
    pub inbox: InboxOptions,
}

/// Methods of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Method {
    /// POST.
    #[serde(rename = "POST", alias = "post")]
    Post,
    /// PUT.
    #[serde(rename = "PUT", alias = "put")]
    Put,
    /// PATCH.
    #[serde(rename = "PATCH", alias = "patch")]
    Patch,
}

impl Method {
    /// As it stands in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
        }
    }
}

/// What a body is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// By `Content-Type`; what is none of the others is whole.
    #[default]
    Auto,
    /// An object, or an array of them.
    Json,
    /// An object per line.
    Ndjson,
    /// `application/x-www-form-urlencoded`: an object of texts; a name that occurs several times has a list.
    Form,
    /// One row, as it is.
    Whole,
}

/// A header that names a delivery.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeduplicateOptions {
    /// The header: `Idempotency-Key`, `X-GitHub-Delivery`. A request without it is taken.
    pub header: String,
    /// Seconds that a delivery is remembered. Default 86400.
    #[serde(default = "window_secs")]
    #[schemars(extend("x-weir-unit" = "s"))]
    pub window_secs: u64,
    /// Deliveries that are remembered at most, the oldest are forgotten first. Default 100000.
    #[serde(default = "max_deliveries")]
    pub max_deliveries: usize,
}

fn window_secs() -> u64 {
    86_400
}
fn max_deliveries() -> usize {
    100_000
}

/// A column of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metadata {
    /// When it came.
    ReceivedAt,
    /// Its path.
    Path,
    /// Its query, without the `?`.
    Query,
    /// Its headers, a JSON object of texts.
    Headers,
    /// Its name, by the header of `deduplicate`.
    Delivery,
    /// The number of the row in the inbox.
    Number,
}

/// Fields of a record in the inbox.
pub(super) const DELIVERY: usize = 0;
/// The path.
pub(super) const PATH: usize = 1;
/// The query.
pub(super) const QUERY: usize = 2;
/// The headers as JSON.
pub(super) const HEADERS: usize = 3;

impl ConnectionOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        self.address()?;
        if let Some(signature) = &self.signature {
            signature.validate()?;
        }
        if self.bearer_token.as_ref().is_some_and(Secret::is_empty) {
            return Err(wrong("`bearer_token` is empty", "leave it out, or give it a value"));
        }
        if self.body_bytes() > self.buffer_bytes() {
            return Err(wrong("`max_buffer_bytes` is below `max_body_bytes`", "no body of that size could ever be taken"));
        }
        if !self.health_path().starts_with('/') {
            return Err(wrong("`health_path` must begin with `/`", "the default is /healthz"));
        }
        Ok(())
    }

    /// Where to listen.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listen.trim().parse().map_err(|error| {
            wrong(
                format!("`listen: {}` is no address with a port", self.listen),
                "write 127.0.0.1:8080, or 0.0.0.0:8080 for all networks",
            )
            .because(error)
        })
    }

    /// The largest body.
    pub fn body_bytes(&self) -> usize {
        self.max_body_bytes.unwrap_or(1 << 20).max(1)
    }

    /// Bytes of bodies in memory.
    pub fn buffer_bytes(&self) -> usize {
        self.max_buffer_bytes.unwrap_or_else(|| self.body_bytes().max(64 << 20))
    }

    /// Where the health is told.
    pub fn health_path(&self) -> &str {
        self.health_path.as_deref().unwrap_or("/healthz")
    }
}

impl SourceOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        self.inbox.validate()?;
        if self.path.is_some() && !self.paths.is_empty() {
            return Err(wrong("`path` and `paths` exclude each other", "keep one of them"));
        }
        if self.stream.is_some() && !self.paths.is_empty() {
            return Err(wrong("`stream` names the stream of `path`", "with `paths` each has its own name"));
        }
        let streams = self.streams();
        for (at, (name, path)) in streams.iter().enumerate() {
            if !path.starts_with('/') || path.contains(['?', '#']) {
                return Err(wrong(format!("`{path}` is no path"), "paths begin with `/` and have no `?`"));
            }
            if streams[..at].iter().any(|(other, _)| other == name) {
                return Err(wrong(format!("two paths have the stream `{name}`"), "give each its own"));
            }
            self.payload_of(path)?;
        }
        if let Some(path) = self.columns_by_path.keys().find(|path| !streams.iter().any(|(_, known)| known == *path)) {
            return Err(wrong(format!("`columns_by_path` has `{path}`, which is not received"), "name it under `paths`"));
        }
        if self.format != Format::Json {
            if !self.columns.is_empty() || !self.columns_by_path.is_empty() {
                return Err(wrong("`columns` is for `format: json`", "other formats have one column, `value`"));
            }
            if !matches!(self.body, Body::Auto | Body::Whole) {
                return Err(wrong("`body` is for `format: json`", "with `text` and `raw` a body is one row"));
            }
        }
        if let Some(deduplicate) = &self.deduplicate
            && (deduplicate.header.is_empty() || deduplicate.max_deliveries == 0)
        {
            return Err(wrong("`deduplicate` needs `header`, and `max_deliveries` above 0", "`header: Idempotency-Key`"));
        }
        if self.metadata.contains(&Metadata::Delivery) && self.deduplicate.is_none() {
            return Err(wrong("the column `delivery` needs `deduplicate`", "its `header` says where the name of a delivery is"));
        }
        Ok(())
    }

    /// Streams as name and path.
    pub fn streams(&self) -> Vec<(String, String)> {
        if !self.paths.is_empty() {
            return self.paths.iter().map(|(path, name)| (name.clone(), path.clone())).collect();
        }
        let path = self.path.clone().unwrap_or_else(|| "/".into());
        let last = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("requests").to_owned();
        vec![(self.stream.clone().unwrap_or(last), path)]
    }

    /// How the rows of a path become columns.
    pub fn payload_of(&self, path: &str) -> Result<Payload> {
        let columns = self.columns_by_path.get(path).unwrap_or(&self.columns);
        Ok(Payload { format: self.format, declared: declared(columns)?, only_columns: false, json: self.json.clone() })
    }

    /// Methods that are taken.
    pub fn methods(&self) -> Vec<Method> {
        if self.methods.is_empty() { vec![Method::Post] } else { self.methods.clone() }
    }

    /// The columns of the request.
    pub(crate) fn columns_of_message(&self) -> Vec<Column> {
        let mut kinds = self.metadata.clone();
        kinds.sort_unstable();
        kinds.dedup();
        kinds.into_iter().map(column_of).collect()
    }
}

fn column_of(kind: Metadata) -> Column {
    let own = |name, data_type, nullable, source| Own { name, data_type, nullable, source, json: false };
    let text = |name, nullable, source, at| Column { own: own(name, DataType::Utf8, nullable, source), taken: Taken::Text(at) };
    let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    match kind {
        Metadata::ReceivedAt => Column { own: own("_received_at", moment, false, "received_at"), taken: Taken::At },
        Metadata::Path => text("_path", false, "path", PATH),
        Metadata::Query => text("_query", true, "query", QUERY),
        Metadata::Headers => {
            let column = text("_headers", true, "headers", HEADERS);
            Column { own: Own { json: true, ..column.own }, taken: column.taken }
        }
        Metadata::Delivery => text("_delivery", true, "delivery", DELIVERY),
        Metadata::Number => Column { own: own("_number", DataType::Int64, false, "number"), taken: Taken::Number },
    }
}

/// Options out of their JSON.
pub fn parse<T: DeserializeOwned>(role: &str, value: &Value) -> Result<T> {
    crate::options::parse("webhook", "WEIR-WEBHOOK-001", role, value)
}

/// An option that cannot be.
pub fn wrong(what: impl Into<String>, hint: &'static str) -> Error {
    Error::new("WEIR-WEBHOOK-001", Kind::Spec, what).hint(hint)
}
