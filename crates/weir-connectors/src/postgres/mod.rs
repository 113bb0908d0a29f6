//! PostgreSQL: tables and queries as sources, tables as sinks.
//!
//! `config` options · `client` connections, TLS, errors · `catalog` what the server knows · `types` the one type mapping · `decode` COPY BINARY →
//! Arrow · `binding` parameters · `source` and `resume` reading · `encode` and `sink` writing.

mod binding;
mod catalog;
mod client;
mod config;
pub mod decode;
mod resume;
mod source;
pub mod types;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use weir_connect::{CheckReport, Connector, Descriptor, Kind, Result, Sink, SinkContext, Source, SourceContext, StreamInfo};

use self::client::Connect;
use self::config::{PostgresConnection, PostgresSinkOptions, PostgresSourceOptions, parse};
use self::source::PostgresSource;

/// The plug-in.
pub struct Postgres {
    descriptor: Descriptor,
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "postgres",
                aliases: &["postgresql"],
                summary: "PostgreSQL 12 and later: tables and queries by COPY BINARY; append, overwrite, upsert",
                connection: schemars::schema_for!(PostgresConnection).to_value(),
                source: Some(schemars::schema_for!(PostgresSourceOptions).to_value()),
                sink: Some(schemars::schema_for!(PostgresSinkOptions).to_value()),
                address_option: "table",
            },
        }
    }
}

#[async_trait]
impl Connector for Postgres {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn validate(&self, role: &str, connection: &Value, options: &Value) -> Result<()> {
        parse::<PostgresConnection>("connection", connection)?;
        match role {
            "source" => parse::<PostgresSourceOptions>("source", options)?.validate(),
            "sink" => parse::<PostgresSinkOptions>("sink", options).map(|_| ()),
            _ => Ok(()),
        }
    }

    async fn check(&self, connection: &Value) -> Result<CheckReport> {
        let options: PostgresConnection = parse("connection", connection)?;
        let connect = Connect::new(&options)?;
        let mut report = CheckReport::default();
        let client = match connect.open().await {
            Ok(client) => client,
            Err(error) if error.kind() == Kind::Auth => {
                report.push("reach", true, connect.place.clone());
                report.push("auth", false, error.to_string());
                return Ok(report);
            }
            Err(error) => {
                report.push("reach", false, error.to_string());
                return Ok(report);
            }
        };
        report.push("reach", true, connect.place.clone());
        let row = client
            .query_one(
                "SELECT current_user::text, current_setting('server_version'),
                        has_database_privilege(current_database(), 'CREATE'),
                        (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                         WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
                           AND has_table_privilege(c.oid, 'SELECT'))",
                &[],
            )
            .await
            .map_err(|error| connect.explain(error))?;
        report.push("auth", true, format!("as {}", row.get::<_, String>(0)));
        report.push("version", true, format!("PostgreSQL {}", row.get::<_, String>(1)));
        report.push("read", true, format!("{} tables may be read", row.get::<_, i64>(3)));
        let create: bool = row.get(2);
        let detail = if create {
            "may create schemas"
        } else {
            "may not create the schema `_weir`; grant CREATE on the database to write"
        };
        report.push("write", create, detail);
        Ok(report)
    }

    async fn discover(&self, context: SourceContext) -> Result<Vec<StreamInfo>> {
        PostgresSource::everything(&context)?.streams().await
    }

    async fn source(&self, context: SourceContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(PostgresSource::new(&context)?))
    }

    async fn sink(&self, _context: SinkContext) -> Result<Arc<dyn Sink>> {
        Err(weir_connect::Error::new("WEIR-PG-000", Kind::Unsupported, "writing comes next"))
    }
}
