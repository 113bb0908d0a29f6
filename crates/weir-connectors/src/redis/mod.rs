//! `redis`: streams of Redis (and what speaks its protocol) as source and sink.
//!
//! * [`config`]: options. [`client`]: the connection. [`errors`]: codes. [`entries`]: what an entry is, and its columns.
//! * [`loss`]: how entries are missed that were trimmed before they were read. [`read`]: one stream. [`source`]: which streams.
//! * [`sink`]: rows into entries.
//!
//! Not here: keys of other types, sentinel, cluster. What a payload's bytes mean is `crate::messages`. Privileges and limits: `README.md`.

pub mod client;
pub mod config;
pub mod entries;
pub mod errors;
pub mod loss;
pub mod read;
pub mod sink;
pub mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use schemars::schema_for;
use serde_json::Value;
use weir_connect::{CheckReport, Connector, Descriptor, Kind, Result, Sink, SinkContext, Source, SourceContext, StreamInfo};

use client::Address;
use config::{ConnectionOptions, SinkOptions, SourceOptions, parse};

/// The connector.
pub struct Redis {
    descriptor: Descriptor,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "redis",
                aliases: &["valkey"],
                summary: "Redis streams: entry ids as positions",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: Some(schema_for!(SourceOptions).to_value()),
                sink: Some(schema_for!(SinkOptions).to_value()),
                address_option: "key",
            },
        }
    }
}

#[async_trait]
impl Connector for Redis {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn validate(&self, role: &str, connection: &Value, options: &Value) -> Result<()> {
        if !crate::options::has_reference(connection) {
            parse::<ConnectionOptions>("connection", connection)?.validate()?;
        }
        match role {
            "source" => parse::<SourceOptions>(role, options)?.validate(),
            "sink" => parse::<SinkOptions>(role, options)?.validate(),
            _ => Ok(()),
        }
    }

    async fn check(&self, connection: &Value) -> Result<CheckReport> {
        let address = Address::new(parse("connection", connection)?, ".".into())?;
        let mut report = CheckReport::default();
        let seen = async {
            let mut link = address.connect().await?;
            let version = link.version().await?;
            Ok::<_, weir_connect::Error>((version, link.streams("*").await?.len()))
        };
        match seen.await {
            Ok((version, streams)) => {
                report.push("reach", true, address.place());
                report.push("auth", true, "the credentials are taken, or none are needed");
                report.push("version", true, version);
                report.push("streams", true, format!("{streams} streams can be seen"));
            }
            Err(error) => {
                let refused = matches!(error.kind(), Kind::Auth | Kind::Privilege);
                if refused {
                    report.push("reach", true, address.place());
                }
                let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
                report.push(if refused { "auth" } else { "reach" }, false, format!("{error}{advice}"));
            }
        }
        Ok(report)
    }

    async fn discover(&self, context: SourceContext) -> Result<Vec<StreamInfo>> {
        self.source(context).await?.streams().await
    }

    async fn source(&self, context: SourceContext) -> Result<Arc<dyn Source>> {
        let address = Address::new(parse("connection", &context.connection)?, context.base_dir)?;
        let options: SourceOptions = parse("source", &context.options)?;
        options.validate()?;
        Ok(Arc::new(source::RedisSource::new(address, options)))
    }

    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>> {
        let address = Address::new(parse("connection", &context.connection)?, context.base_dir)?;
        let options: SinkOptions = parse("sink", &context.options)?;
        options.validate()?;
        Ok(Arc::new(sink::RedisSink::new(address, options)))
    }
}
