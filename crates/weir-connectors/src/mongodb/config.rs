//! The options of both connectors: what a person writes. No I/O.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_connect::{Error, Kind as ErrorKind, Result, Secret};

use super::bson::Writer;
use super::extjson::{self, Form};
use super::kinds::Kind;
use super::rows::UnknownKeys;

/// Address and credentials of a MongoDB deployment.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionOptions {
    /// `mongodb://user:password@host:27017/database?replicaSet=rs0` or `mongodb+srv://…`. The other options win over its parts.
    #[schemars(with = "Option<String>", extend("x-weir-aliases" = ["uri", "connection_string", "mongodb.connection.string"]))]
    pub url: Option<Secret>,
    /// `host:port`, several with commas. Default `localhost:27017`.
    #[schemars(extend("x-weir-aliases" = ["host", "hostname", "mongodb.hosts"]))]
    pub hosts: Option<String>,
    /// Parameters of the address: `replicaSet=rs0&readPreference=secondaryPreferred`.
    #[schemars(extend("x-weir-aliases" = ["connection.options"]))]
    pub connection_options: Option<String>,
    /// Database.
    #[schemars(extend("x-weir-aliases" = ["dbname", "db", "database_name"]))]
    pub database: Option<String>,
    /// User.
    #[schemars(extend("x-weir-aliases" = ["username", "mongodb.user"]))]
    pub user: Option<String>,
    /// Password.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true, "x-weir-aliases" = ["mongodb.password"]))]
    pub password: Option<Secret>,
    /// Database that the user belongs to. Default `admin`.
    #[schemars(extend("x-weir-aliases" = ["authSource", "mongodb.authsource"]))]
    pub auth_source: Option<String>,
    /// Use TLS. Default: what the address says.
    #[schemars(extend("x-weir-aliases" = ["ssl", "mongodb.ssl.enabled"]))]
    pub tls: Option<bool>,
    /// PEM file of the authorities to trust; default: those that browsers trust.
    #[schemars(extend("x-weir-aliases" = ["tls_ca_file", "sslrootcert"]))]
    pub ssl_root_cert: Option<PathBuf>,
    /// PEM file with the client's certificate and private key.
    #[schemars(extend("x-weir-aliases" = ["tls_certificate_key_file", "sslcert"]))]
    pub ssl_cert: Option<PathBuf>,
    /// Seconds to wait for a server that can be used. Default 10.
    #[schemars(extend("x-weir-unit" = "s", "x-weir-aliases" = ["connect_timeout"]))]
    pub connect_timeout_secs: Option<u64>,
}

/// What documents become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchemaMode {
    /// A column per top-level field, by a sample of the documents.
    Infer,
    /// Two columns, `_id` and `document` (canonical extended JSON): always exact.
    #[default]
    Document,
}

/// What to read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceOptions {
    /// Collections by name or pattern: `orders`, `order_*`, `!order_tmp`.
    #[schemars(extend("x-weir-aliases" = ["tables", "table_names", "collection.include.list"]))]
    pub collections: Vec<String>,
    /// One collection.
    #[schemars(extend("x-weir-aliases" = ["table"]))]
    pub collection: Option<String>,
    /// Only documents that match, in the server's query language, as extended JSON.
    #[schemars(extend("x-weir-aliases" = ["match.query", "matchQuery"]))]
    pub filter: Option<String>,
    /// Only these fields, as extended JSON: `{"name": 1}`. `_id` cannot be left out.
    #[schemars(extend("x-weir-aliases" = ["match.projection"]))]
    pub projection: Option<String>,
    /// `infer` (default): a column per top-level field; `document`: the whole document as one column.
    pub schema: Option<SchemaMode>,
    /// Documents to look at for `schema: infer`. Default 1000.
    pub sample_documents: Option<u64>,
    /// Columns that are declared and not inferred: `{price: "decimal(20,4)"}`. Types: `int`, `long`, `double`, `bool`, `date`, `string`, `object_id`, `decimal`, `decimal(p,s)`, `binary`, `uuid`, `json`.
    pub columns: BTreeMap<String, String>,
    /// How nested and mixed values are written: `relaxed` (default) or `canonical` extended JSON.
    pub json: Form,
    /// A field that has no column: `extra` (default, into the column `_extra`), `dead_letter` or `ignore`.
    pub unknown_keys: UnknownKeys,
    /// Field that only grows, for `mode: incremental`.
    pub cursor: Option<String>,
    /// How far behind the highest cursor value late documents may appear: `5m`, or a number for numeric cursors.
    pub lag: Option<String>,
    /// About how many documents one split has; a split is read by one lane. Default 100,000.
    pub split_documents: Option<u64>,
    /// Documents per answer of the server. Default: the server's.
    #[schemars(extend("x-weir-aliases" = ["fetch.size", "batch.size"]))]
    pub fetch_documents: Option<u32>,
}

/// What updates bring with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FullDocument {
    /// The document as it is when the change is read: perhaps newer than the change.
    #[default]
    UpdateLookup,
    /// The document right after the change, where the collection records it (`changeStreamPreAndPostImages`); else the changed fields.
    WhenAvailable,
    /// The same, and an error where it is not recorded.
    Required,
    /// The changed fields only; the others are absent.
    None,
}

/// What is read besides the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotMode {
    /// What is there at first, then changes.
    #[default]
    Initial,
    /// Changes only.
    #[serde(alias = "no_data")]
    Never,
    /// What is there, and the changes that happen meanwhile; then the run ends.
    #[serde(alias = "initial_only")]
    Only,
}

/// What becomes of a stream whose collection is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDrop {
    /// The run stops and says so.
    #[default]
    Error,
    /// The target is emptied, and what comes later is written.
    Truncate,
}

/// What changes to follow.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CdcOptions {
    /// Collections by name or pattern: `orders`, `order_*`, `!order_tmp`.
    #[schemars(extend("x-weir-aliases" = ["tables", "table_names", "collection.include.list"]))]
    pub collections: Vec<String>,
    /// One collection.
    #[schemars(extend("x-weir-aliases" = ["table"]))]
    pub collection: Option<String>,
    /// `document` (default): the whole document as one column; `infer`: a column per top-level field.
    pub schema: Option<SchemaMode>,
    /// Documents to look at for `schema: infer`. Default 1000.
    pub sample_documents: Option<u64>,
    /// Columns that are declared and not inferred, as in `mongodb`.
    pub columns: BTreeMap<String, String>,
    /// How nested and mixed values are written: `relaxed` (default) or `canonical` extended JSON.
    pub json: Form,
    /// A field that has no column: `extra` (default, into the column `_extra`), `column` (a new column from then on, which the contract of the sink decides about), `dead_letter` or `ignore`.
    pub unknown_keys: UnknownKeys,
    /// What updates bring: `update_lookup` (default), `when_available`, `required` or `none`.
    #[schemars(extend("x-weir-aliases" = ["capture.mode.full.update.type"]))]
    pub full_document: FullDocument,
    /// `initial` (default), `never` or `only`.
    #[schemars(extend("x-weir-aliases" = ["snapshot.mode", "snapshot_mode"]))]
    pub snapshot: SnapshotMode,
    /// Begin with the changes since this moment (RFC 3339 or seconds since 1970); for `snapshot: never`, on the first run.
    #[schemars(extend("x-weir-aliases" = ["startup.timestamp", "capture.start.op.time"]))]
    pub start_at: Option<String>,
    /// A collection is dropped: `error` (default) or `truncate`.
    pub on_drop: OnDrop,
    /// Documents of the snapshot that are read at once, between two looks at the changes. Default 10,000.
    pub chunk_documents: Option<u64>,
    /// How long the server waits for a change before it answers that there is none. Default 500.
    #[schemars(extend("x-weir-unit" = "ms", "x-weir-aliases" = ["poll.await.time.ms", "cursor.max.await.time.ms"]))]
    pub await_ms: Option<u64>,
}

/// Options → struct, with the serde message as the cause.
pub fn parse<T: serde::de::DeserializeOwned>(value: &serde_json::Value, what: &str) -> Result<T> {
    crate::options::parse("mongodb", "WEIR-MONGO-001", what, value)
}

/// An option that cannot be.
pub fn wrong(what: impl Into<String>, hint: &'static str) -> Error {
    Error::new("WEIR-MONGO-001", ErrorKind::Spec, what).hint(hint)
}

/// A choice of collections.
#[derive(Debug, Clone, Default)]
pub struct Choice(pub Vec<String>);

impl Choice {
    fn new(list: &[String], one: Option<&String>) -> Result<Self> {
        if !list.is_empty() && one.is_some() {
            return Err(wrong("`collections` and `collection` exclude each other", "keep one of them"));
        }
        // A whitelist may be one comma-separated string.
        let patterns: Vec<String> =
            list.iter().chain(one).flat_map(|entry| entry.split(',')).map(|entry| entry.trim().to_owned()).collect();
        if !patterns.is_empty() && patterns.iter().all(|pattern| pattern.starts_with('!')) {
            return Err(wrong("`collections` only excludes", "add a pattern that chooses, for example `*`"));
        }
        for pattern in &patterns {
            glob(pattern.trim_start_matches('!'))?;
        }
        Ok(Self(patterns))
    }

    /// Whether a collection is meant; no pattern means every one.
    pub fn takes(&self, name: &str) -> bool {
        let hit = |pattern: &str| pattern == name || glob(pattern).is_ok_and(|glob| glob.is_match(name));
        let (mut chosen, mut excluded) = (self.0.is_empty(), false);
        for pattern in &self.0 {
            match pattern.strip_prefix('!') {
                Some(pattern) => excluded |= hit(pattern),
                None => chosen |= hit(pattern),
            }
        }
        chosen && !excluded
    }

    /// Names that are meant literally, and must be there.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter().filter(|pattern| !pattern.starts_with('!') && !pattern.contains(['*', '?', '[', '{']))
    }
}

fn glob(pattern: &str) -> Result<globset::GlobMatcher> {
    globset::Glob::new(pattern).map(|glob| glob.compile_matcher()).map_err(|error| {
        wrong(format!("`{pattern}` is no pattern"), "`*`, `?`, `[ab]` and `{a,b}` stand for names").because(error)
    })
}

/// How a stream's columns are found.
#[derive(Debug, Clone)]
pub struct Shaping {
    /// Columns or the whole.
    pub mode: SchemaMode,
    /// Documents to look at.
    pub sample: u64,
    /// Columns by declaration.
    pub declared: BTreeMap<String, Kind>,
    /// Nested values.
    pub form: Form,
    /// Fields without column.
    pub unknown: UnknownKeys,
}

fn shaping(
    mode: SchemaMode,
    sample: Option<u64>,
    columns: &BTreeMap<String, String>,
    form: Form,
    unknown: UnknownKeys,
) -> Result<Shaping> {
    let mut declared = BTreeMap::new();
    for (name, text) in columns {
        let kind = Kind::parse(text).ok_or_else(|| {
            wrong(format!("`{text}` of column `{name}` is no type"), "`weir connectors mongodb` lists the types")
        })?;
        declared.insert(name.clone(), kind);
    }
    if mode == SchemaMode::Document && !declared.is_empty() {
        return Err(wrong("`columns` needs `schema: infer`", "with `schema: document` the document is one column"));
    }
    if sample == Some(0) {
        return Err(wrong("a sample cannot be empty", "leave `sample_documents` out for 1000"));
    }
    Ok(Shaping { mode, sample: sample.unwrap_or(1000), declared, form, unknown })
}

fn json_document(text: Option<&String>, option: &str) -> Result<Option<Vec<u8>>> {
    let document = |text: &String| {
        extjson::document(text).map_err(|error| {
            wrong(format!("`{option}` is no document"), "write extended JSON, for example {\"status\": \"open\"}").because(error)
        })
    };
    text.map(document).transpose()
}

impl SourceOptions {
    /// Rules between options.
    pub fn validate(&self) -> Result<()> {
        self.choice()?;
        self.shaping()?;
        self.filter()?;
        self.projection()?;
        if self.unknown_keys == UnknownKeys::Column {
            return Err(wrong("`unknown_keys: column` is for `mongodb-cdc`", "take `extra`, or a larger `sample_documents`"));
        }
        if self.split_documents == Some(0) || self.fetch_documents == Some(0) {
            return Err(wrong("a split cannot be empty", "leave `split_documents` and `fetch_documents` out for the default"));
        }
        Ok(())
    }

    /// Which collections.
    pub fn choice(&self) -> Result<Choice> {
        Choice::new(&self.collections, self.collection.as_ref())
    }

    /// How columns are found.
    pub fn shaping(&self) -> Result<Shaping> {
        let mode = self.schema.unwrap_or(SchemaMode::Infer);
        shaping(mode, self.sample_documents, &self.columns, self.json, self.unknown_keys)
    }

    /// The filter as BSON.
    pub fn filter(&self) -> Result<Vec<u8>> {
        Ok(json_document(self.filter.as_ref(), "filter")?.unwrap_or_else(|| Writer::default().finish()))
    }

    /// The projection as BSON.
    pub fn projection(&self) -> Result<Option<Vec<u8>>> {
        let projection = json_document(self.projection.as_ref(), "projection")?;
        use super::bson::{Value, get};
        let id = projection.as_deref().and_then(|document| get(document, "_id").ok().flatten());
        if matches!(id, Some(Value::Int32(0) | Value::Int64(0) | Value::Bool(false))) || id == Some(Value::Double(0.0)) {
            return Err(wrong(
                "`projection` leaves out `_id`",
                "the key is needed to divide and resume; leave it out later with a transform",
            ));
        }
        Ok(projection)
    }
}

impl CdcOptions {
    /// Rules between options.
    pub fn validate(&self) -> Result<()> {
        let choice = self.choice()?;
        if choice.0.is_empty() {
            return Err(wrong(
                "the source does not say which collections to follow",
                "give `collections: [orders]`, or `[\"*\"]`",
            ));
        }
        self.shaping()?;
        self.start()?;
        if self.start_at.is_some() && self.snapshot != SnapshotMode::Never {
            return Err(wrong("`start_at` needs `snapshot: never`", "a snapshot begins now"));
        }
        if self.full_document == FullDocument::None && self.mode() == SchemaMode::Document {
            return Err(wrong("`full_document: none` needs `schema: infer`", "changed fields alone make no document"));
        }
        if self.chunk_documents == Some(0) {
            return Err(wrong("a chunk cannot be empty", "leave `chunk_documents` out for the default"));
        }
        Ok(())
    }

    fn mode(&self) -> SchemaMode {
        self.schema.unwrap_or(SchemaMode::Document)
    }

    /// Which collections.
    pub fn choice(&self) -> Result<Choice> {
        Choice::new(&self.collections, self.collection.as_ref())
    }

    /// How columns are found.
    pub fn shaping(&self) -> Result<Shaping> {
        shaping(self.mode(), self.sample_documents, &self.columns, self.json, self.unknown_keys)
    }

    /// `start_at` in seconds since 1970.
    pub fn start(&self) -> Result<Option<u32>> {
        let Some(text) = &self.start_at else { return Ok(None) };
        let seconds = match text.parse::<u64>() {
            // Milliseconds, as others write it.
            Ok(number) if number > u64::from(u32::MAX) => Some(number / 1000),
            Ok(number) => Some(number),
            Err(_) => chrono::DateTime::parse_from_rfc3339(text).ok().and_then(|time| u64::try_from(time.timestamp()).ok()),
        };
        match seconds.and_then(|seconds| u32::try_from(seconds).ok()) {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(wrong(format!("`start_at: {text}` is no moment"), "write 2026-01-31T12:00:00Z or seconds since 1970")),
        }
    }

    /// The same collections, read at once.
    pub fn batch(&self) -> SourceOptions {
        SourceOptions {
            collections: self.collections.clone(),
            collection: self.collection.clone(),
            schema: Some(self.mode()),
            sample_documents: self.sample_documents,
            columns: self.columns.clone(),
            json: self.json,
            // What is read at once keeps its columns.
            unknown_keys: if self.unknown_keys == UnknownKeys::Column { UnknownKeys::Extra } else { self.unknown_keys },
            ..SourceOptions::default()
        }
    }
}
