//! `nats`: streams of NATS JetStream as source and sink.
//!
//! * [`config`]: options. [`client`]: connections. [`errors`]: codes.
//! * [`view`]: from where to where a stream is read. [`read`]: the reader. [`source`]: the streams.
//! * [`sink`]: rows into messages, and the server's confirmations.
//!
//! Not here: what payloads mean ([`crate::messages`]); core NATS without JetStream, which keeps nothing to read again. What servers must allow, and
//! limits: `README.md`.

pub mod client;
pub mod config;
pub mod errors;
pub mod read;
pub mod sink;
pub mod source;
#[cfg(test)]
mod tests;
pub mod view;

use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt;
use schemars::schema_for;
use serde_json::Value;
use weir_connect::{CheckReport, Connector, Descriptor, Kind, Result, Sink, SinkContext, Source, SourceContext, StreamInfo};

use client::Address;
use config::{ConnectionOptions, SinkOptions, SourceOptions, parse};
use sink::NatsSink;
use source::NatsSource;

/// The connector.
pub struct Nats {
    descriptor: Descriptor,
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "nats",
                aliases: &["jetstream"],
                summary: "NATS JetStream: sequences as positions, confirmed messages",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: Some(schema_for!(SourceOptions).to_value()),
                sink: Some(schema_for!(SinkOptions).to_value()),
                address_option: "subject",
            },
        }
    }
}

#[async_trait]
impl Connector for Nats {
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
        let fine = |error: &weir_connect::Error| {
            let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
            format!("{error}{advice}")
        };
        let link = match address.connect().await {
            Ok(link) => link,
            Err(error) => {
                let refused = matches!(error.kind(), Kind::Auth | Kind::Privilege);
                if refused {
                    report.push("reach", true, address.place());
                }
                report.push(if refused { "auth" } else { "reach" }, false, fine(&error));
                return Ok(report);
            }
        };
        report.push("reach", true, address.place());
        report.push("auth", true, "the credentials are taken, or none are needed");
        report.push("version", true, format!("NATS {}", link.client.server_info().version));
        match link.jetstream().stream_names().try_collect::<Vec<String>>().await {
            Ok(names) => report.push("jetstream", true, format!("{} streams can be seen", names.len())),
            Err(error) => report.push("jetstream", false, fine(&link.shown(&error))),
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
        Ok(Arc::new(NatsSource::new(address, options)))
    }

    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>> {
        let address = Address::new(parse("connection", &context.connection)?, context.base_dir)?;
        let options: SinkOptions = parse("sink", &context.options)?;
        options.validate()?;
        Ok(Arc::new(NatsSink::new(address, options, context.node)))
    }
}
