//! Systems that other engines reach and our own does not: their options, so that a pipeline file may speak of them.
//!
//! They are connectors in name only. A registry that has them checks pipelines that are compiled; one that runs pipelines has none of
//! them.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_connect::{
    CheckReport, Connector, Descriptor, Error, Kind, Registry, Result, Sink, SinkContext, Source, SourceContext, StreamInfo,
    WriteMode,
};

/// An Iceberg catalogue.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // Read by the compilers under the names of the schema.
struct IcebergConnection {
    /// `rest` (default), `hive` or `hadoop`.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["catalog-type", "type"]))]
    catalog_type: Option<String>,
    /// Name of the catalogue in queries. Default `lake`.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["catalog_name", "catalog-name"]))]
    catalog: Option<String>,
    /// Address of the REST catalogue, or of Hive's metastore.
    #[serde(default)]
    uri: Option<String>,
    /// Where tables are kept: `s3://lake/warehouse`.
    #[serde(default)]
    warehouse: Option<String>,
    /// Credential of the REST catalogue, `id:secret`.
    #[serde(default)]
    #[schemars(extend("x-weir-secret" = true))]
    credential: Option<String>,
    /// Token of the REST catalogue.
    #[serde(default)]
    #[schemars(extend("x-weir-secret" = true))]
    token: Option<String>,
}

/// A table that is read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct TableSource {
    /// The table, with its namespace or database: `sales.orders`.
    #[serde(default)]
    table: Option<String>,
    /// A query instead.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["sql", "cql"]))]
    query: Option<String>,
    /// Columns and their types, where nobody can ask.
    #[serde(default)]
    columns: Option<Value>,
}

/// A table that is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct TableSink {
    /// The table, with its namespace or database: `sales.orders`. `{stream}` is understood.
    table: String,
    /// `append`, `upsert`, `overwrite`.
    #[serde(default)]
    write_mode: WriteMode,
    /// Columns of the key, for `upsert`.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["primary_key", "primary_keys"]))]
    key: Vec<String>,
}

/// ClickHouse.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct ClickhouseConnection {
    /// Address of its HTTP interface: `http://olap:8123`.
    url: String,
    /// Database. Default `default`.
    #[serde(default)]
    database: Option<String>,
    /// User. Default `default`.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["username"]))]
    user: Option<String>,
    /// Password.
    #[serde(default)]
    #[schemars(extend("x-weir-secret" = true))]
    password: Option<String>,
}

/// Elasticsearch or OpenSearch.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct ElasticsearchConnection {
    /// Addresses: `[http://search:9200]`.
    hosts: Vec<String>,
    /// User.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["username"]))]
    user: Option<String>,
    /// Password.
    #[serde(default)]
    #[schemars(extend("x-weir-secret" = true))]
    password: Option<String>,
}

/// An index that is read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct IndexSource {
    /// The index.
    index: String,
    /// Columns and their types, where nobody can ask.
    #[serde(default)]
    columns: Option<Value>,
}

/// An index that is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct IndexSink {
    /// The index.
    index: String,
    /// The type of documents, which servers since version 7 do not have: understood and left out.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["index.type"]))]
    index_type: Option<String>,
    /// `append`, `upsert`.
    #[serde(default)]
    write_mode: WriteMode,
    /// Columns of the document's id, for `upsert`.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["primary_key", "primary_keys"]))]
    key: Vec<String>,
}

/// Cassandra.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct CassandraConnection {
    /// Servers with ports: `cassandra:9042`.
    #[schemars(extend("x-weir-aliases" = ["hosts", "contact_points"]))]
    host: String,
    /// Keyspace.
    keyspace: String,
    /// Data centre.
    #[serde(default)]
    datacenter: Option<String>,
    /// User.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["username"]))]
    user: Option<String>,
    /// Password.
    #[serde(default)]
    #[schemars(extend("x-weir-secret" = true))]
    password: Option<String>,
}

type Validate = fn(&str, &Value, &Value) -> std::result::Result<(), serde_json::Error>;

struct Foreign {
    descriptor: Descriptor,
    validate: Validate,
}

fn read<T: DeserializeOwned>(value: &Value) -> std::result::Result<(), serde_json::Error> {
    let value = if value.is_null() { Value::Object(Default::default()) } else { value.clone() };
    serde_json::from_value::<T>(value).map(drop)
}

fn validate<C: DeserializeOwned, S: DeserializeOwned, K: DeserializeOwned>(
    role: &str,
    connection: &Value,
    own: &Value,
) -> std::result::Result<(), serde_json::Error> {
    read::<C>(connection)?;
    match role {
        "source" => read::<S>(own),
        "sink" => read::<K>(own),
        _ => Ok(()),
    }
}

fn foreign<C, S, K>(
    name: &'static str,
    aliases: &'static [&'static str],
    summary: &'static str,
    address_option: &'static str,
) -> Foreign
where
    C: DeserializeOwned + JsonSchema,
    S: DeserializeOwned + JsonSchema,
    K: DeserializeOwned + JsonSchema,
{
    let descriptor = Descriptor {
        name,
        aliases,
        summary,
        connection: schema_for!(C).to_value(),
        source: Some(schema_for!(S).to_value()),
        sink: Some(schema_for!(K).to_value()),
        address_option,
    };
    Foreign { descriptor, validate: validate::<C, S, K> }
}

fn all() -> Vec<Foreign> {
    vec![
        foreign::<IcebergConnection, TableSource, TableSink>("iceberg", &[], "Iceberg tables, through other engines", "table"),
        foreign::<ClickhouseConnection, TableSource, TableSink>(
            "clickhouse",
            &[],
            "ClickHouse tables, through other engines",
            "table",
        ),
        foreign::<ElasticsearchConnection, IndexSource, IndexSink>(
            "elasticsearch",
            &["opensearch"],
            "Elasticsearch indices, through other engines",
            "index",
        ),
        foreign::<CassandraConnection, TableSource, TableSink>(
            "cassandra",
            &[],
            "Cassandra tables, through other engines",
            "table",
        ),
    ]
}

/// Their names.
const NAMES: [&str; 4] = ["iceberg", "clickhouse", "elasticsearch", "cassandra"];

pub(super) fn is_foreign(kind: &str) -> bool {
    NAMES.contains(&kind)
}

/// Every option of such a system.
pub(super) fn options_of(kind: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for known in all().iter().filter(|known| known.descriptor.name == kind) {
        let schemas = [Some(&known.descriptor.connection), known.descriptor.source.as_ref(), known.descriptor.sink.as_ref()];
        for schema in schemas.into_iter().flatten() {
            let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
            names.extend(properties.map(|(name, _)| name.clone()));
        }
    }
    names.retain(|name| !matches!(name.as_str(), "write_mode" | "key"));
    names.sort();
    names.dedup();
    names
}

/// The connectors of a build, and these.
pub fn with_foreign(registry: &Registry) -> Registry {
    let mut registry = registry.clone();
    for known in all() {
        if registry.get(known.descriptor.name).is_none() {
            registry.add(Arc::new(known));
        }
    }
    registry
}

impl Foreign {
    fn absent(&self) -> Error {
        let name = self.descriptor.name;
        Error::new("WEIR-ENGINE-006", Kind::Unsupported, format!("this build does not reach `{name}` by itself"))
            .hint("`weir engines FILE` says which engine does")
    }
}

#[async_trait]
impl Connector for Foreign {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }
    fn validate(&self, role: &str, connection: &Value, options: &Value) -> Result<()> {
        (self.validate)(role, connection, options).map_err(|error| {
            Error::new("WEIR-ENGINE-007", Kind::Spec, format!("the options of `{}` are not valid", self.descriptor.name))
                .because(error)
        })
    }
    async fn check(&self, _connection: &Value) -> Result<CheckReport> {
        Err(self.absent())
    }
    async fn discover(&self, _context: SourceContext) -> Result<Vec<StreamInfo>> {
        Err(self.absent())
    }
    async fn source(&self, _context: SourceContext) -> Result<Arc<dyn Source>> {
        Err(self.absent())
    }
    async fn sink(&self, _context: SinkContext) -> Result<Arc<dyn Sink>> {
        Err(self.absent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_names_is_the_list() {
        let names: Vec<&str> = all().iter().map(|known| known.descriptor.name).collect();
        assert_eq!(names, NAMES);
        assert!(options_of("iceberg").contains(&"warehouse".to_string()));
    }
}
