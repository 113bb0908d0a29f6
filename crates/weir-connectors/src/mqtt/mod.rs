//! `mqtt`: topics of an MQTT broker as source and sink; MQTT 5 and 3.1.1.
//!
//! * [`config`]: options. [`packet`]: the protocol. [`connection`]: the way to the broker. [`errors`]: codes.
//! * [`session`]: the reader, and when it acknowledges. [`source`]: the stream. [`sink`]: rows into messages, and their confirmations.
//!
//! Not here: what payloads mean ([`crate::messages`]). What brokers must allow, and limits: `README.md`.

pub mod config;
pub mod connection;
pub mod errors;
pub mod packet;
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

use config::{ConnectionOptions, SinkOptions, SourceOptions, parse};
use connection::{Address, Hello};
use sink::MqttSink;
use source::MqttSource;

/// The connector.
pub struct Mqtt {
    descriptor: Descriptor,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "mqtt",
                aliases: &["mosquitto"],
                summary: "MQTT 5 and 3.1.1: messages acknowledged when they are durable",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: Some(schema_for!(SourceOptions).to_value()),
                sink: Some(schema_for!(SinkOptions).to_value()),
                address_option: "topic",
            },
        }
    }
}

#[async_trait]
impl Connector for Mqtt {
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
        match address.connect(&Hello::guest(), 1 << 20).await {
            Ok(connection) => {
                let limits = connection.limits;
                report.push("reach", true, address.place());
                report.push("auth", true, "the credentials are taken, or none are needed");
                let retain = if limits.retain { "retains messages" } else { "retains none" };
                report.push("limits", limits.qos > 0, format!("quality {} at most, {retain}", limits.qos));
                connection.close(true).await;
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
        Ok(Arc::new(MqttSource::new(address, options)))
    }

    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>> {
        let address = Address::new(parse("connection", &context.connection)?, context.base_dir)?;
        let options: SinkOptions = parse("sink", &context.options)?;
        options.validate()?;
        Ok(Arc::new(MqttSink::new(address, options)))
    }
}
