//! MySQL and MariaDB as source and sink (`mysql`, `mariadb`).
//!
//! * Source: prepared statements whose binary rows are decoded straight into Arrow columns, tables in ranges of the primary key under one view.
//! * Sink: `LOAD DATA LOCAL INFILE` (or `INSERT`) into a staging table, with the positions in the rows' own transaction; changes by key in
//!   `changes`.
//!
//! `types` is the one mapping of types, both ways. Privileges and limits are in the README. Change data: `cdc`, over the log that `binlog` reads.
//! Comparing tables: `verify`.

pub mod binlog;
pub mod catalog;
mod cdc;
mod changes;
pub mod client;
pub mod config;
pub mod encode;
pub mod errors;
mod key;
mod ledger;
mod login;
mod publish;
mod query;
pub mod quote;
mod sink;
mod source;
mod target;
#[cfg(test)]
mod tests;
mod tls;
pub mod types;
pub mod values;
mod verify;
mod view;
mod wire;
mod writer;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::schema_for;
use serde_json::Value;
use weir_connect::{CheckReport, Connector, Descriptor, Kind, Result, Sink, SinkContext, Source, SourceContext, StreamInfo};

pub use cdc::MysqlCdc;
use client::Client;
use config::{ConnectionOptions, SinkOptions, SourceOptions, parse};
use sink::MysqlSink;
use source::MysqlSource;

/// The connector.
pub struct Mysql {
    descriptor: Descriptor,
}

impl Default for Mysql {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "mysql",
                aliases: &["mariadb"],
                summary: "MySQL 8.0 and MariaDB 10.5 and newer: tables, views and queries; append, overwrite, upsert, merge",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: Some(schema_for!(SourceOptions).to_value()),
                sink: Some(schema_for!(SinkOptions).to_value()),
                address_option: "table",
            },
        }
    }
}

#[async_trait]
impl Connector for Mysql {
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
        let version = client.version.clone();
        let (family, enough) =
            if version.maria { ("MariaDB", version.number >= 100_500) } else { ("MySQL", version.number >= 80_000) };
        let note = if enough { "" } else { " (too old: MySQL 8.0 and MariaDB 10.5 are needed)" };
        report.push("version", enough, format!("{family} {}{note}", version.text));
        let readable = catalog::visible(&mut client).await?.len();
        report.push("read", true, format!("{readable} tables and views are visible"));
        let rows = client.query("SELECT @@global.read_only + 0, @@local_infile + 0", &[]).await?;
        let flag = |at: usize| rows.first().is_some_and(|row| row.text(at) == "1");
        let write = match (flag(0), flag(1)) {
            (true, _) => "no: the server is read-only",
            (false, true) => "by LOAD DATA LOCAL INFILE, with the privileges of the README",
            (false, false) => "by INSERT, with the privileges of the README (faster with local_infile = ON at the server)",
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
        Ok(Arc::new(MysqlSink { address, options, on_loss: context.on_loss, node: context.node }))
    }
}

fn source_of(context: &SourceContext) -> Result<MysqlSource> {
    let address = parse::<ConnectionOptions>(&context.connection, "connection")?.address(&context.base_dir)?;
    let options = parse::<SourceOptions>(&context.options, "source")?;
    options.validate()?;
    Ok(MysqlSource { address, options, on_loss: context.on_loss.clone() })
}
