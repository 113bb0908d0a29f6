//! PostgreSQL as source and sink (`postgres`, `postgresql`; `jdbc` with a PostgreSQL URL).
//!
//! * Source: `COPY … (FORMAT binary)` decoded straight into Arrow columns, tables in parallel block ranges under one snapshot.
//! * Sink: `COPY` in, with the positions in the rows' own transaction.
//!
//! `types` is the one mapping of types, both ways. Privileges and limits are in the README.

pub mod catalog;
mod cdc;
mod changes;
pub mod client;
pub mod columns;
pub mod config;
pub mod copy_decode;
pub mod copy_encode;
pub mod errors;
mod ledger;
pub mod numeric;
mod query;
pub mod quote;
mod sink;
mod snapshot;
mod source;
mod swap;
mod target;
#[cfg(test)]
mod tests;
mod text_encode;
mod tls;
pub mod types;
mod verify;
mod writer;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::schema_for;
use serde_json::Value;
use weir_connect::{CheckReport, Connector, Descriptor, Kind, Result, Sink, SinkContext, Source, SourceContext, StreamInfo};

pub use cdc::PostgresCdc;
use client::Client;
use config::{ConnectionOptions, SinkOptions, SourceOptions, parse};
use sink::PostgresSink;
use source::PostgresSource;

/// The connector.
pub struct Postgres {
    descriptor: Descriptor,
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "postgres",
                aliases: &["postgresql"],
                summary: "PostgreSQL 12 and newer: tables, views and queries; append, overwrite, upsert, merge",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: Some(schema_for!(SourceOptions).to_value()),
                sink: Some(schema_for!(SinkOptions).to_value()),
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
        // A reference may stand where a number or a mode will be: then only the resolved value can be judged.
        if !crate::options::has_reference(connection) {
            parse::<ConnectionOptions>(connection, "connection")?.address(Path::new("."))?;
        }
        match role {
            "source" => parse::<SourceOptions>(options, "source")?.validate(),
            "sink" => parse::<SinkOptions>(options, "sink").map(drop),
            _ => Ok(()),
        }
    }

    async fn check(&self, connection: &Value) -> Result<CheckReport> {
        let address = parse::<ConnectionOptions>(connection, "connection")?.address(Path::new("."))?;
        let mut report = CheckReport::default();
        let mut client = match Client::connect(&address).await {
            Ok(client) => client,
            Err(error) => {
                let refused = error.kind() == Kind::Auth || error.kind() == Kind::NotFound;
                if refused {
                    report.push("reach", true, address.place());
                }
                let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
                report.push(if refused { "auth" } else { "reach" }, false, format!("{error}{advice}"));
                return Ok(report);
            }
        };
        report.push("reach", true, address.place());
        report.push("auth", true, format!("user {}", address.user));
        let version = client.version;
        let note = if version < 140_000 { " (tables are read in one split each; from 14 on in parallel)" } else { "" };
        report.push("version", version >= 120_000, format!("{}.{}{note}", version / 10_000, version % 10_000));
        let readable = catalog::readable(&mut client).await?.len();
        report.push("read", true, format!("{readable} tables and views"));
        let rows = client
            .query(
                "SELECT has_database_privilege(current_database(), 'CREATE'), to_regnamespace('_weir') IS NOT NULL, pg_is_in_recovery()",
                &[],
            )
            .await?;
        let write = match rows.first().map(|row| (row.flag(0) || row.flag(1), row.flag(2))) {
            Some((_, true)) => "no: the server is a standby".to_string(),
            Some((true, _)) => "yes".to_string(),
            _ => format!(
                "as a sink it needs: GRANT CREATE ON DATABASE {} TO {}",
                quote::ident(&address.database),
                quote::ident(&address.user)
            ),
        };
        report.push("write", true, write);
        client.close().await;
        Ok(report)
    }

    async fn discover(&self, context: SourceContext) -> Result<Vec<StreamInfo>> {
        let source = source_of(&context)?;
        if source.options.query.is_some() || !source.options.patterns().is_empty() {
            return source.streams().await;
        }
        source.discover().await
    }

    async fn source(&self, context: SourceContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(source_of(&context)?))
    }

    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>> {
        let address = parse::<ConnectionOptions>(&context.connection, "connection")?.address(&context.base_dir)?;
        let options = parse::<SinkOptions>(&context.options, "sink")?;
        Ok(Arc::new(PostgresSink { address, options, on_loss: context.on_loss, node: context.node }))
    }
}

fn source_of(context: &SourceContext) -> Result<PostgresSource> {
    let address = parse::<ConnectionOptions>(&context.connection, "connection")?.address(&context.base_dir)?;
    let options = parse::<SourceOptions>(&context.options, "source")?;
    options.validate()?;
    Ok(PostgresSource { address, options, on_loss: context.on_loss.clone() })
}
