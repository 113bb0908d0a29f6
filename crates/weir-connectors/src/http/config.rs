//! Options as people write them, and the [`Endpoint`] that the rest of the connector works with.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use weir_connect::{Error, Kind, Result, Secret, WriteMode};

use super::path::Path;
use super::types::ColumnType;

/// How to reach and authenticate at an HTTP API.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpConnection {
    /// Address that paths are appended to: `https://api.example.com/v1`. Not needed where every stream gives a whole `url`.
    #[schemars(extend("x-weir-aliases" = ["baseUrl", "base-url", "endpoint"]))]
    pub base_url: Option<String>,
    /// Headers of every request. They are not sent to another host.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderText>,
    /// Credentials, exactly one kind. They are not sent to another host.
    pub auth: Option<Auth>,
    /// How long one request may take from its start to the end of the response.
    #[serde(default = "timeout_secs")]
    pub timeout_secs: f64,
    /// How long a connection may take to be made.
    #[serde(default = "connect_timeout_secs")]
    pub connect_timeout_secs: f64,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// Whether the server's certificate is checked.
    #[serde(default = "yes")]
    pub verify_tls: bool,
    /// Certificates (PEM text, or the path of a PEM file) to trust in addition to those of the system.
    pub ca_cert: Option<String>,
    /// How often a request is repeated after 408, 429, 5xx or a broken connection.
    #[serde(default = "max_retries")]
    pub max_retries: u32,
    /// Wait before the first repetition; doubled each time, with jitter.
    #[serde(default = "retry_base_ms")]
    pub retry_base_ms: u64,
    /// The longest single wait. A server that asks (`Retry-After`) for more ends the run with an error that says so.
    #[serde(default = "max_retry_wait_secs")]
    pub max_retry_wait_secs: u64,
    /// The largest response, after decompression, that is taken.
    #[serde(default = "max_response_bytes")]
    pub max_response_bytes: usize,
}

/// Text of a header; does not print.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct HeaderText(pub String);

impl fmt::Debug for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Credentials.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// `Authorization: Bearer …`.
    Bearer(Bearer),
    /// `Authorization: Basic …`.
    Basic(Basic),
    /// A key in a header or a query parameter.
    ApiKey(ApiKey),
    /// OAuth 2 client credentials; tokens are fetched, kept and renewed.
    Oauth2ClientCredentials(ClientCredentials),
}

/// A fixed token.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    /// The token.
    #[schemars(with = "String", extend("x-weir-secret" = true))]
    pub token: Secret,
}

/// User and password.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user.
    #[schemars(extend("x-weir-aliases" = ["username"]))]
    pub user: String,
    /// The password.
    #[serde(default)]
    #[schemars(with = "String", extend("x-weir-secret" = true))]
    pub password: Secret,
}

/// A key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Name of the header or parameter.
    pub name: String,
    /// The key.
    #[schemars(with = "String", extend("x-weir-secret" = true))]
    pub value: Secret,
    /// Where it goes.
    #[serde(default, rename = "in")]
    pub place: KeyPlace,
}

/// Where an API key goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyPlace {
    /// A header.
    #[default]
    Header,
    /// A query parameter.
    Query,
}

/// OAuth 2 client credentials.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCredentials {
    /// Where tokens come from.
    pub token_url: String,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    #[schemars(with = "String", extend("x-weir-secret" = true))]
    pub client_secret: Secret,
    /// Scopes, separated by blanks.
    pub scope: Option<String>,
    /// How the client identifies itself to the token URL.
    #[serde(default)]
    pub client_auth: ClientAuth,
}

/// How an OAuth client identifies itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// By `Authorization: Basic`.
    #[default]
    Basic,
    /// By form fields.
    Body,
}

/// Request method of a read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ReadMethod {
    /// GET.
    #[default]
    #[serde(rename = "GET", alias = "get")]
    Get,
    /// POST with a JSON body.
    #[serde(rename = "POST", alias = "post")]
    Post,
}

/// What a response is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON document.
    #[default]
    Json,
    /// One JSON document per line.
    Ndjson,
}

/// How the next page is found.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Pagination {
    /// There is one page.
    #[default]
    None,
    /// `Link: <…>; rel="next"`.
    LinkHeader,
    /// A page number.
    Page(PageNumber),
    /// Number of records to skip.
    Offset(Offset),
    /// A token from the last response.
    Cursor(TokenCursor),
    /// An address from the last response.
    NextUrl(NextUrl),
}

/// When numbered pages end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// At the first page without records.
    #[default]
    Empty,
    /// At the first page with fewer records than asked for. Wrong where the API silently gives less than asked.
    Short,
}

/// Where paging parameters go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParamPlace {
    /// The query.
    #[default]
    Query,
    /// A top-level key of the JSON body.
    Body,
}

/// Paging by number.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageNumber {
    /// Parameter with the page's number.
    #[serde(default = "page_param")]
    pub param: String,
    /// Number of the first page.
    #[serde(default = "one")]
    pub start: u64,
    /// Parameter with the page's size.
    pub size_param: Option<String>,
    /// Records per page.
    pub size: Option<u64>,
    /// When the pages end.
    #[serde(default)]
    pub stop: Stop,
    /// Where the parameters go.
    #[serde(default, rename = "in")]
    pub place: ParamPlace,
}

/// Paging by offset. The next offset grows by the number of records that really came.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Offset {
    /// Parameter with the offset.
    #[serde(default = "offset_param")]
    pub param: String,
    /// The first offset.
    #[serde(default)]
    pub start: u64,
    /// Parameter with the page's size.
    pub limit_param: Option<String>,
    /// Records per page.
    pub limit: Option<u64>,
    /// When the pages end.
    #[serde(default)]
    pub stop: Stop,
    /// Where the parameters go.
    #[serde(default, rename = "in")]
    pub place: ParamPlace,
}

/// Paging by token: ends when the token is missing, null, empty or false.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenCursor {
    /// Parameter that takes the token.
    #[serde(default = "cursor_param")]
    pub param: String,
    /// Where the response has the token: `meta.next_cursor`.
    #[schemars(with = "String")]
    pub path: Path,
    /// Where the response says whether there is more; `false` ends.
    #[schemars(with = "Option<String>")]
    pub has_more: Option<Path>,
    /// Where the parameter goes.
    #[serde(default, rename = "in")]
    pub place: ParamPlace,
}

/// Paging by address: ends when it is missing, null or empty.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NextUrl {
    /// Where the response has the address: `links.next`.
    #[schemars(with = "String")]
    pub path: Path,
}

/// What happens to a record with a key that the schema does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownKeys {
    /// The record becomes a dead letter, with its bytes.
    #[default]
    DeadLetter,
    /// The key is left out.
    Ignore,
}

/// How the lower bound of an incremental read is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CursorFormat {
    /// As the value is: RFC 3339 for times, digits for numbers.
    #[default]
    Text,
    /// Only the date.
    Date,
    /// Seconds since 1970, rounded down.
    EpochSecs,
    /// Milliseconds since 1970, rounded down.
    EpochMs,
}

/// Columns with their types, in the order written: `{id: int64, at: timestamptz}`.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(with = "BTreeMap<String, String>")]
pub struct Columns(pub Vec<(String, ColumnType)>);

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Columns;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of column names to types")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Columns, A::Error> {
                let mut columns = Vec::new();
                while let Some((name, text)) = map.next_entry::<String, String>()? {
                    let column = text
                        .parse::<ColumnType>()
                        .map_err(|why| serde::de::Error::custom(format!("type `{text}` of column `{name}`: {why}")))?;
                    columns.push((name, column));
                }
                Ok(Columns(columns))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// How an API is asked again and again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PollOptions {
    /// Milliseconds from the beginning of one round of questions to that of the next. Default 10000.
    #[schemars(extend("x-weir-unit" = "ms", "x-weir-aliases" = ["interval_ms"]))]
    pub every_ms: u64,
    /// Without a `cursor`: all rows are taken again whenever the answer has changed, by its ETag or its bytes. For APIs of one page. Default false.
    pub whole: bool,
}

impl Default for PollOptions {
    fn default() -> Self {
        Self { every_ms: 10_000, whole: false }
    }
}

/// What to read. Without `endpoints` it is one stream.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSourceOptions {
    /// Whole address, instead of `base_url` and `path`.
    pub url: Option<String>,
    /// Path below the connection's `base_url`.
    pub path: Option<String>,
    /// Name of the stream; by default the last part of the path.
    #[schemars(extend("x-weir-aliases" = ["stream"]))]
    pub stream_name: Option<String>,
    /// Request method.
    #[serde(default)]
    pub method: ReadMethod,
    /// JSON body of a POST. `${cursor}` and `${last_run_time}` in strings are replaced.
    pub body: Option<Value>,
    /// Headers. They are not sent to another host.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderText>,
    /// Query parameters. `${cursor}` and `${last_run_time}` are replaced by the encoded value.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["params"]))]
    pub query_params: Map<String, Value>,
    /// Where the records are: `$.data.items`, `data.items[*]`, `$` for the whole response.
    #[schemars(with = "Option<String>", extend("x-weir-aliases" = ["json_path", "records_path"]))]
    pub records: Option<Path>,
    /// How the next page is found.
    pub pagination: Option<Pagination>,
    /// Many streams, one for each endpoint; what an endpoint does not say it takes from here.
    #[serde(default)]
    pub endpoints: Vec<HttpEndpoint>,
    /// At most so many requests per second and stream.
    pub rate_limit_per_second: Option<f64>,
    /// Column whose greatest value the next run starts from (`mode: incremental`).
    pub cursor: Option<String>,
    /// How far back from the last greatest value the next run reads again; handled by the engine.
    pub lag: Option<String>,
    /// Query parameter that takes the lower bound of the cursor (inclusive), if the API can filter.
    pub cursor_param: Option<String>,
    /// How the lower bound is written.
    #[serde(default)]
    pub cursor_format: CursorFormat,
    /// Lower bound of the first run. Without it, parameters with `${cursor}` are left out of the first run.
    pub cursor_initial: Option<String>,
    /// How the API is asked again and again (`mode: streaming`).
    pub poll: Option<PollOptions>,
    /// Columns of the primary key.
    #[serde(default)]
    pub primary_key: Vec<String>,
    /// Types of columns that are not to be inferred: bool, int8 … uint64, float32, float64, decimal(p,s), text, json, date,
    /// time, timestamp, timestamptz, epoch_secs, epoch_ms, binary (base64), list<…>, struct<name: …>.
    #[serde(default)]
    pub columns: Columns,
    /// How many pages are read to infer the schema; 0 = only the declared columns.
    #[serde(default = "sample_pages")]
    pub sample_pages: usize,
    /// Turns nested objects into columns `outer_inner`.
    #[serde(default)]
    pub flatten: bool,
    /// What stands between the names of flattened columns.
    #[serde(default = "flatten_separator")]
    pub flatten_separator: String,
    /// What happens to records with keys that are not in the schema.
    #[serde(default)]
    pub unknown_keys: UnknownKeys,
    /// Where a response with status 200 may say that it failed: `error.message`. Anything but null, false and "" there is an error.
    #[schemars(with = "Option<String>")]
    pub error_path: Option<Path>,
    /// What a response is made of.
    #[serde(default)]
    pub format: Format,
    /// More pages than this in one read are an error.
    #[serde(default = "max_pages")]
    pub max_pages: u64,
    /// Whether two equal pages in a row are fine. Otherwise they are taken for an API that never ends.
    #[serde(default)]
    pub allow_repeated_pages: bool,
}

/// One endpoint of many.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpEndpoint {
    /// Name of the stream; by default the last part of the path.
    pub name: Option<String>,
    /// Path below the connection's `base_url`, or a whole address.
    pub path: String,
    /// Request method.
    pub method: Option<ReadMethod>,
    /// JSON body of a POST.
    pub body: Option<Value>,
    /// Query parameters, in addition to those of the source.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["params"]))]
    pub query_params: Map<String, Value>,
    /// Headers, in addition to those of the source.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderText>,
    /// Where the records are.
    #[schemars(with = "Option<String>", extend("x-weir-aliases" = ["json_path", "records_path"]))]
    pub records: Option<Path>,
    /// How the next page is found.
    pub pagination: Option<Pagination>,
    /// At most so many requests per second.
    pub rate_limit_per_second: Option<f64>,
    /// Cursor column.
    pub cursor: Option<String>,
    /// Query parameter that takes the lower bound of the cursor.
    pub cursor_param: Option<String>,
    /// Columns of the primary key.
    #[serde(default)]
    pub primary_key: Vec<String>,
    /// Types of columns that are not to be inferred.
    #[serde(default)]
    pub columns: Columns,
    /// Where a response with status 200 may say that it failed.
    #[schemars(with = "Option<String>")]
    pub error_path: Option<Path>,
    /// What a response is made of.
    pub format: Option<Format>,
}

/// How records are sent.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSinkOptions {
    /// Whole address, instead of `base_url` and `path`. `{column}` is replaced by the record's value (then each record is one
    /// request), `{stream}` by the stream's name.
    pub url: Option<String>,
    /// Path below the connection's `base_url`, with the same placeholders.
    pub path: Option<String>,
    /// Request method.
    #[serde(default)]
    pub method: WriteMethod,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderText>,
    /// Form of the request's body.
    #[serde(default)]
    pub body: BodyForm,
    /// Records per request at most.
    #[serde(default = "batch_rows")]
    pub batch_rows: usize,
    /// Bytes per request at most, unless one record alone is larger.
    #[serde(default = "batch_bytes")]
    pub batch_bytes: usize,
    /// Header with a key that is the same when the same request is sent again; `null` for none.
    #[serde(default = "idempotency_header")]
    pub idempotency_header: Option<String>,
    /// Whether the server honours the idempotency header: then a request whose outcome is unknown is sent again.
    #[serde(default)]
    pub server_is_idempotent: bool,
    /// Where a response with status 200 may say that it failed.
    #[schemars(with = "Option<String>")]
    pub error_path: Option<Path>,
    /// At most so many requests per second.
    pub rate_limit_per_second: Option<f64>,
    /// How rows enter: `append`, or `upsert` with PUT and the key in the address.
    #[serde(default)]
    pub write_mode: WriteMode,
    /// Columns of the key, for `upsert`.
    #[serde(default)]
    pub key: Vec<String>,
}

/// Request method of a write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum WriteMethod {
    /// POST.
    #[default]
    #[serde(rename = "POST", alias = "post")]
    Post,
    /// PUT.
    #[serde(rename = "PUT", alias = "put")]
    Put,
    /// PATCH.
    #[serde(rename = "PATCH", alias = "patch")]
    Patch,
}

/// Form of a request's body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BodyForm {
    /// `[record, record]`.
    #[default]
    JsonArray,
    /// One record per line.
    Ndjson,
    /// One record per request, the object itself.
    Record,
    /// `{"items": [record, record]}` with this key.
    Wrap(String),
}

fn timeout_secs() -> f64 {
    60.0
}
fn connect_timeout_secs() -> f64 {
    10.0
}
fn yes() -> bool {
    true
}
fn max_retries() -> u32 {
    4
}
fn retry_base_ms() -> u64 {
    300
}
fn max_retry_wait_secs() -> u64 {
    120
}
fn max_response_bytes() -> usize {
    256 << 20
}
fn page_param() -> String {
    "page".into()
}
fn offset_param() -> String {
    "offset".into()
}
fn cursor_param() -> String {
    "cursor".into()
}
fn one() -> u64 {
    1
}
fn sample_pages() -> usize {
    2
}
fn flatten_separator() -> String {
    "_".into()
}
fn max_pages() -> u64 {
    1_000_000
}
fn batch_rows() -> usize {
    500
}
fn batch_bytes() -> usize {
    1 << 20
}
fn idempotency_header() -> Option<String> {
    Some("Idempotency-Key".into())
}

/// Deserialises options of a role.
pub fn parse<T: DeserializeOwned>(role: &str, options: &Value) -> Result<T> {
    crate::options::parse("http", "WEIR-HTTP-001", role, options)
}

pub(super) fn spec(what: impl Into<String>) -> Error {
    Error::new("WEIR-HTTP-001", Kind::Spec, what)
}
