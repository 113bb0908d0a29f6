//! `rabbitmq`: queues and exchanges of RabbitMQ (AMQP 0-9-1) as source and sink.
//!
//! * [`config`]: options. [`client`]: the connection. [`errors`]: codes. [`properties`]: what a message says of itself.
//! * [`session`]: what was delivered and is not acknowledged. [`read`]: a queue, read. [`source`]: which queue. [`sink`]: rows into messages.
//!
//! Not here: streams of RabbitMQ (its log, another protocol), AMQP 1.0. What a payload's bytes mean is `crate::messages`. Privileges and
//! limits: `README.md`.

pub mod client;
pub mod config;
pub mod errors;
pub mod properties;
pub mod read;
pub mod session;
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
pub struct Rabbitmq {
    descriptor: Descriptor,
}

impl Default for Rabbitmq {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "rabbitmq",
                aliases: &["rabbit", "amqp"],
                summary: "RabbitMQ queues and exchanges: acknowledged when durable, published with confirms",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: Some(schema_for!(SourceOptions).to_value()),
                sink: Some(schema_for!(SinkOptions).to_value()),
                address_option: "queue",
            },
        }
    }
}

#[async_trait]
impl Connector for Rabbitmq {
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
        match address.connect().await {
            Ok(link) => {
                report.push("reach", true, address.place());
                report.push("auth", true, "the credentials are taken");
                report.push("virtual_host", true, format!("`{}` may be used", address.virtual_host()));
                link.close().await;
            }
            Err(error) => {
                let refused = matches!(error.kind(), Kind::Auth | Kind::Privilege | Kind::NotFound);
                if refused {
                    report.push("reach", true, address.place());
                }
                let name = match error.kind() {
                    Kind::Auth => "auth",
                    Kind::Privilege | Kind::NotFound => "virtual_host",
                    _ => "reach",
                };
                let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
                report.push(name, false, format!("{error}{advice}"));
            }
        }
        Ok(report)
    }

    /// AMQP cannot list queues: those that the options name.
    async fn discover(&self, context: SourceContext) -> Result<Vec<StreamInfo>> {
        self.source(context).await?.streams().await
    }

    async fn source(&self, context: SourceContext) -> Result<Arc<dyn Source>> {
        let address = Address::new(parse("connection", &context.connection)?, context.base_dir)?;
        let options: SourceOptions = parse("source", &context.options)?;
        options.validate()?;
        Ok(Arc::new(source::RabbitmqSource::new(address, options)))
    }

    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>> {
        let address = Address::new(parse("connection", &context.connection)?, context.base_dir)?;
        let options: SinkOptions = parse("sink", &context.options)?;
        options.validate()?;
        Ok(Arc::new(sink::RabbitmqSink::new(address, options)))
    }
}
