//! `kafka`: topics as source and sink, over librdkafka.
//!
//! * [`config`]: options. [`client`]: connections and what they say; `asking`: one for questions; `guarded`: where they may lead. [`errors`]: codes. [`topics`]: which topics there are.
//! * [`offsets`]: where partitions are read from and up to. [`rows`]: records into columns. [`read`]: one partition; `waiting`: what its client has fetched. [`lag`]: how far behind.
//!   [`source`]: the streams.
//! * [`registry`]: values whose schema is in a schema registry.
//! * [`encode`]: rows into records; [`letters`]: dead letters. [`producer`]: one lane's client. [`ledger`]: what an exactly-once sink remembers. `lanes`: who may write, and how an
//!   epoch ends. [`sink`]: the two-step commit of rows. `changes`: `mode: cdc`.
//!
//! Not here: what a value's bytes mean (`weir-formats`). What brokers must allow, and limits: `README.md`.

mod asking;
mod changes;
pub mod client;
pub mod config;
pub mod encode;
pub mod errors;
mod guarded;
pub mod lag;
mod lanes;
pub mod ledger;
pub mod letters;
pub mod offsets;
pub mod producer;
pub mod read;
pub mod registry;
pub mod rows;
pub mod sink;
pub mod source;
#[cfg(test)]
mod tests;
pub mod topics;
mod waiting;

use std::sync::Arc;

use async_trait::async_trait;
use schemars::schema_for;
use serde_json::Value;
use weir_connect::{CheckReport, Connector, Descriptor, Kind, Result, Sink, SinkContext, Source, SourceContext, StreamInfo};

use client::{Address, blocking};
use config::{ConnectionOptions, Isolation, SinkOptions, SourceOptions, parse};
use sink::KafkaSink;
use source::KafkaSource;

/// The connector.
pub struct Kafka {
    descriptor: Descriptor,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "kafka",
                aliases: &["redpanda"],
                summary: "Apache Kafka topics: offsets as positions, transactions as commits",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: Some(schema_for!(SourceOptions).to_value()),
                sink: Some(schema_for!(SinkOptions).to_value()),
                address_option: "topic",
            },
        }
    }
}

#[async_trait]
impl Connector for Kafka {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn validate(&self, role: &str, connection: &Value, options: &Value) -> Result<()> {
        if !crate::options::has_reference(connection) {
            parse::<ConnectionOptions>("connection", connection)?.validate()?;
        }
        let registered = match role {
            "source" => {
                let options = parse::<SourceOptions>(role, options)?;
                options.validate()?;
                options.format.registered()
            }
            "sink" => {
                let options = parse::<SinkOptions>(role, options)?;
                options.validate()?;
                options.format.registered()
            }
            _ => None,
        };
        let nowhere = connection.get("registry").is_none_or(Value::is_null) && connection.is_object();
        if registered.is_some() && nowhere { Err(registry::missing()) } else { Ok(()) }
    }

    async fn check(&self, connection: &Value) -> Result<CheckReport> {
        let address = Address::new(parse("connection", connection)?, ".".into())?;
        let mut report = CheckReport::default();
        let consumer = address.consumer(None, Isolation::ReadCommitted, 1 << 20)?;
        let place = address.place().to_owned();
        let seen = blocking(move || {
            let metadata = address.metadata(&consumer, None)?;
            Ok((metadata.brokers().len(), metadata.topics().iter().filter(|topic| !topic.name().starts_with("__")).count()))
        })
        .await;
        match seen {
            Ok((brokers, topics)) => {
                report.push("reach", true, format!("{place}, {brokers} brokers"));
                report.push("auth", true, "the credentials are taken, or none are needed");
                report.push("topics", true, format!("{topics} topics can be seen"));
            }
            Err(error) => {
                // One that must not be connected to was not reached.
                let refused = matches!(error.kind(), Kind::Auth | Kind::Privilege) && error.code() != "WEIR-KAFKA-008";
                if refused {
                    report.push("reach", true, place);
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
        Ok(Arc::new(KafkaSource::new(address, options)))
    }

    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>> {
        let address = Address::new(parse("connection", &context.connection)?, context.base_dir)?;
        let options: SinkOptions = parse("sink", &context.options)?;
        options.validate()?;
        Ok(Arc::new(KafkaSink::new(address, letters::roomy(options), context.node, context.parallelism)))
    }
}
