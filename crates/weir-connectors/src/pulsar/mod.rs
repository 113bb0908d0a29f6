//! `pulsar`: topics as source and sink, over Pulsar's binary protocol.
//!
//! * [`config`]: options. [`formats`]: what payloads are. [`names`]: topics and patterns. [`errors`]: codes. [`position`]: where messages are, and what a stream means.
//! * [`tls`], [`wire`]: one connection. [`client`]: the way to a topic's broker, and what it says. [`admin`]: what only HTTP tells.
//!   [`oauth`]: tokens from who issues them. [`schema`]: what the broker knows of payloads.
//! * [`unpack`]: entries into messages. [`rows`]: messages into columns. [`read`]: one partition by its places. [`bookmark`]: what the broker keeps for it.
//!   [`queue`]: one partition by a subscription. [`source`]: the streams.
//! * [`encode`]: rows into messages. [`producer`]: one lane's client of one partition. [`sink`]: a stream's way into a topic.
//!
//! Not here: what a payload's bytes mean (`crate::messages`), events of the platform to and from Pulsar (`weir-control`). What brokers must allow, and
//! limits: `README.md`.

pub mod admin;
pub mod bookmark;
pub mod client;
pub mod config;
pub mod encode;
pub mod errors;
pub mod formats;
pub mod names;
pub mod oauth;
pub mod position;
pub mod producer;
pub mod queue;
pub mod read;
pub mod rows;
pub mod schema;
pub mod sink;
pub mod source;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod unpack;
pub mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use schemars::schema_for;
use serde_json::Value;
use weir_connect::{CheckReport, Connector, Descriptor, Kind, Result, Sink, SinkContext, Source, SourceContext, StreamInfo};

use admin::Admin;
use client::Address;
use config::{ConnectionOptions, SinkOptions, SourceOptions, parse};
use sink::PulsarSink;
use source::PulsarSource;

/// The connector.
pub struct Pulsar {
    descriptor: Descriptor,
}

impl Default for Pulsar {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "pulsar",
                aliases: &["apache_pulsar"],
                summary: "Apache Pulsar topics: message ids as positions, or subscriptions",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: Some(schema_for!(SourceOptions).to_value()),
                sink: Some(schema_for!(SinkOptions).to_value()),
                address_option: "topic",
            },
        }
    }
}

#[async_trait]
impl Connector for Pulsar {
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
        let namespace = address.options().namespace().to_owned();
        match source::reachable(&address).await {
            Ok(found) => {
                report.push("reach", true, address.place());
                report.push("auth", true, "the credentials are taken, or none are needed");
                match found {
                    Some(topics) => report.push("topics", true, format!("{topics} topics can be seen in `{namespace}`")),
                    None => report.push(
                        "topics",
                        false,
                        format!("there is no namespace `{namespace}`; `pulsar-admin namespaces create {namespace}` makes it"),
                    ),
                }
            }
            Err(error) => {
                let refused = matches!(error.kind(), Kind::Auth | Kind::Privilege);
                if refused {
                    report.push("reach", true, address.place());
                }
                let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
                let name = match error.kind() {
                    Kind::Auth => "auth",
                    Kind::Privilege => "privileges",
                    _ => "reach",
                };
                report.push(name, false, format!("{error}{advice}"));
                return Ok(report);
            }
        }
        if let Some(admin) = Admin::of(&address)? {
            let tenant = namespace.split('/').next().unwrap_or_default();
            match admin.namespaces(tenant).await {
                Ok(all) => report.push("admin", true, format!("{} namespaces can be seen in `{tenant}`", all.len())),
                Err(error) => report.push("admin", false, error.to_string()),
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
        Ok(Arc::new(PulsarSource::new(address, options)))
    }

    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>> {
        let address = Address::new(parse("connection", &context.connection)?, context.base_dir)?;
        let options: SinkOptions = parse("sink", &context.options)?;
        options.validate()?;
        Ok(Arc::new(PulsarSink::new(address, options, context.node)))
    }
}
