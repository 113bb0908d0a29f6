//! The words of the tests: connectors and transforms with options like the real ones.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{JsonSchema, schema_for};
use serde_json::Value;
use weir_spec::{ConnectorWords, TransformWords, Vocabulary};

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileConnection {}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Compression {
    None,
    Gzip,
    Zstd,
    Snappy,
}

/// How bytes become rows.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// Comma, tab or otherwise separated.
    Csv,
    /// One JSON value per line.
    Ndjson,
    Parquet,
    /// Avro with a schema.
    Avro(Avro),
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Avro {
    /// The registry with the schemas.
    registry: String,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileSource {
    /// A path or glob. Folders are read whole.
    path: String,
    /// The format; by default what the name says.
    format: Option<Format>,
    compression: Option<Compression>,
    /// CSV dialect.
    csv: Option<Csv>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Csv {
    delimiter: Option<String>,
    header: Option<bool>,
    /// Rows to look at.
    sample_rows: Option<u32>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileSink {
    /// Folder to write to.
    path: String,
    format: Option<Format>,
    compression: Option<Compression>,
    partition_by: Option<Vec<String>>,
    #[schemars(extend("x-weir-format" = "size"))]
    target_file_size: Option<String>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct S3Connection {
    /// URL of the service; AWS if absent.
    endpoint: Option<String>,
    bucket: Option<String>,
    region: Option<String>,
    #[schemars(extend("x-weir-secret" = true, "x-weir-aliases" = ["access_key_id"]))]
    access_key: Option<String>,
    #[schemars(extend("x-weir-secret" = true, "x-weir-aliases" = ["secret_access_key"]))]
    secret_key: Option<String>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct PostgresConnection {
    #[schemars(extend("x-weir-aliases" = ["hostname"]))]
    host: String,
    port: Option<u16>,
    #[schemars(extend("x-weir-aliases" = ["dbname"]))]
    database: String,
    #[schemars(extend("x-weir-aliases" = ["username"]))]
    user: Option<String>,
    #[schemars(extend("x-weir-secret" = true))]
    password: Option<String>,
    ssl: Option<bool>,
    #[schemars(extend("x-weir-format" = "duration"))]
    connect_timeout: Option<String>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct PostgresSource {
    table: Option<String>,
    #[schemars(extend("x-weir-aliases" = ["table.whitelist"]))]
    tables: Option<Vec<String>>,
    query: Option<String>,
    /// Rows per fetch.
    #[schemars(range(min = 1, max = 1_000_000))]
    fetch_rows: Option<u64>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct PostgresSink {
    table: String,
    create: Option<bool>,
    /// Schema of the table.
    schema: Option<String>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct HttpConnection {
    /// Start of every URL.
    base_url: String,
    headers: Option<BTreeMap<String, String>>,
    auth: Option<Auth>,
}

#[derive(JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Auth {
    Bearer {
        #[schemars(extend("x-weir-secret" = true))]
        token: String,
    },
    Basic {
        user: String,
        #[schemars(extend("x-weir-secret" = true))]
        password: String,
    },
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct HttpSource {
    endpoints: Option<Vec<Endpoint>>,
    path: Option<String>,
    pagination: Option<Pagination>,
    #[schemars(range(min = 0))]
    rate_limit_per_second: Option<f64>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Endpoint {
    name: String,
    path: String,
    method: Option<String>,
    query_params: Option<BTreeMap<String, Value>>,
    headers: Option<BTreeMap<String, String>>,
    rate_limit_per_second: Option<f64>,
    records: Option<String>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pagination {
    /// Where the next page is.
    kind: PaginationKind,
    page_size: Option<u32>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum PaginationKind {
    Link,
    Page,
    Offset,
    Cursor,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct HttpSink {
    path: String,
    batch_rows: Option<u32>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Clock {
    /// One row each time.
    #[schemars(extend("x-weir-format" = "duration"))]
    every: Option<String>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Filter {
    /// Rows for which this holds are kept.
    #[schemars(extend("x-weir-aliases" = ["condition"]))]
    r#where: String,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sql {
    query: String,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct FieldMapper {
    rename: Option<BTreeMap<String, String>>,
    drop: Option<Vec<String>>,
    constants: Option<BTreeMap<String, Value>>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Cast {
    columns: BTreeMap<String, String>,
    on_error: Option<OnError>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnError {
    DeadLetter,
    Null,
    Fail,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Dedupe {
    key: Vec<String>,
    keep: Option<Keep>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Keep {
    First,
    Last,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Mask {
    columns: Vec<String>,
    how: How,
    #[schemars(extend("x-weir-secret" = true))]
    salt: Option<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum How {
    Hash,
    Redact,
    Partial,
}

pub struct Words;

fn of<T: JsonSchema>() -> Value {
    schema_for!(T).to_value()
}

const CONNECTORS: &[(&str, &[&str])] =
    &[("file", &[]), ("s3", &["minio"]), ("postgres", &["postgresql"]), ("http", &["rest", "rest_api"]), ("clock", &[])];
const TRANSFORMS: &[&str] = &["sql", "filter", "field_mapper", "cast", "dedupe", "mask"];

impl Vocabulary for Words {
    fn connector(&self, name: &str) -> Option<Arc<ConnectorWords>> {
        let (canonical, _) = CONNECTORS.iter().find(|(own, aliases)| *own == name || aliases.contains(&name))?;
        let (connection, source, sink, address) = match *canonical {
            "file" => (of::<FileConnection>(), of::<FileSource>(), of::<FileSink>(), "path"),
            "s3" => (of::<S3Connection>(), of::<FileSource>(), of::<FileSink>(), "path"),
            "postgres" => (of::<PostgresConnection>(), of::<PostgresSource>(), of::<PostgresSink>(), "table"),
            "clock" => (of::<FileConnection>(), of::<Clock>(), Value::Null, "name"),
            _ => (of::<HttpConnection>(), of::<HttpSource>(), of::<HttpSink>(), "path"),
        };
        Some(Arc::new(ConnectorWords {
            connections_of: Vec::new(),
            canonical: (*canonical).into(),
            connection,
            source: Some(source),
            sink: Some(sink).filter(|sink| !sink.is_null()),
            address_option: address.into(),
        }))
    }

    fn connectors(&self) -> Vec<String> {
        CONNECTORS
            .iter()
            .flat_map(|(name, aliases)| std::iter::once(name).chain(aliases.iter()))
            .map(|name| (*name).to_string())
            .collect()
    }

    fn transform(&self, name: &str) -> Option<Arc<TransformWords>> {
        let (schema, bare) = match name {
            "sql" => (of::<Sql>(), Some("query")),
            "filter" => (of::<Filter>(), Some("where")),
            "field_mapper" => (of::<FieldMapper>(), None),
            "cast" => (of::<Cast>(), None),
            "dedupe" => (of::<Dedupe>(), None),
            "mask" => (of::<Mask>(), None),
            _ => return None,
        };
        Some(Arc::new(TransformWords { canonical: name.into(), schema, bare: bare.map(Into::into) }))
    }

    fn transforms(&self) -> Vec<String> {
        TRANSFORMS.iter().map(|name| (*name).to_string()).collect()
    }
}
