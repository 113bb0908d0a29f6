//! `mongodb`: collections as source and sink; `mongodb-cdc`: change streams merged with a snapshot.
//!
//! * [`bson`]: the bytes. [`extjson`]: the bytes as text and back. [`kinds`]: which BSON type is which Arrow type. [`rows`]: documents into columns.
//! * [`config`]: options. [`client`]: a connection, under the limits of the process ([`tunnel`]). [`errors`]: server codes.
//! * [`scan`]: a collection in the order of `_id`. [`source`]: the batch source. [`cdc`]: the change source. [`sink`]: writing.
//!
//! No real server has seen this code: its tests run the official driver against a peer of our own that speaks the wire protocol.

pub mod bson;
pub mod cdc;
pub mod client;
pub mod config;
pub mod errors;
pub mod extjson;
pub mod kinds;
pub mod rows;
pub mod scan;
pub mod sink;
pub mod source;
#[cfg(test)]
mod tests;
pub mod tunnel;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::schema_for;
use serde_json::Value;
use weir_connect::{CheckReport, Connector, Descriptor, Kind, Result, Sink, SinkContext, Source, SourceContext, StreamInfo};

use client::Client;
use config::{ConnectionOptions, SourceOptions, parse};
use sink::MongoSink;
use sink::options::SinkOptions;
use source::MongoSource;

/// The connector of documents at rest.
pub struct Mongodb {
    descriptor: Descriptor,
}

impl Default for Mongodb {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "mongodb",
                aliases: &["mongo"],
                summary: "MongoDB collections and views; append, overwrite, upsert, merge (alpha: no real server has seen it)",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: Some(schema_for!(SourceOptions).to_value()),
                sink: Some(schema_for!(SinkOptions).to_value()),
                address_option: "collection",
            },
        }
    }
}

/// Reach, login, version and the kind of deployment, one line each.
async fn checked(connection: &Value) -> Result<(CheckReport, Option<Client>)> {
    let options = parse::<ConnectionOptions>(connection, "connection")?;
    let client = Client::open(&options, Path::new(".")).await?;
    let mut report = CheckReport::default();
    let hello = match client.hello().await {
        Ok(hello) => hello,
        Err(error) => {
            let refused = matches!(error.kind(), Kind::Auth | Kind::Privilege);
            if refused {
                report.push("reach", true, client.place.clone());
            }
            let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
            report.push(if refused { "auth" } else { "reach" }, false, format!("{error}{advice}"));
            return Ok((report, None));
        }
    };
    report.push("reach", true, client.place.clone());
    report.push("auth", true, options.user.as_deref().map_or("as the address says".to_owned(), |user| format!("user {user}")));
    let deployment = match (hello.get_str("setName"), hello.get_str("msg")) {
        (Ok(name), _) => format!("replica set {name}"),
        (_, Ok("isdbgrid")) => "a sharded cluster".into(),
        _ => "a single server without change streams and transactions".into(),
    };
    report.push("version", true, format!("wire version {}, {deployment}", hello.get_i32("maxWireVersion").unwrap_or_default()));
    match client.choose(&config::Choice::default(), true).await {
        Ok(found) => report.push("read", true, format!("{} collections and views", found.len())),
        Err(error) => report.push("read", false, error.to_string()),
    }
    Ok((report, Some(client)))
}

#[async_trait]
impl Connector for Mongodb {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn validate(&self, role: &str, connection: &Value, options: &Value) -> Result<()> {
        if !crate::options::has_reference(connection) {
            parse::<ConnectionOptions>(connection, "connection")?.validate()?;
        }
        match role {
            "source" => parse::<SourceOptions>(options, "source")?.validate(),
            "sink" => parse::<SinkOptions>(options, "sink")?.validate(),
            _ => Ok(()),
        }
    }

    async fn check(&self, connection: &Value) -> Result<CheckReport> {
        checked(connection).await.map(|(report, _)| report)
    }

    async fn discover(&self, context: SourceContext) -> Result<Vec<StreamInfo>> {
        self.source(context).await?.streams().await
    }

    async fn source(&self, context: SourceContext) -> Result<Arc<dyn Source>> {
        let connection: ConnectionOptions = parse(&context.connection, "connection")?;
        let options: SourceOptions = parse(&context.options, "source")?;
        options.validate()?;
        Ok(Arc::new(MongoSource::new(connection, options, context.base_dir)))
    }

    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>> {
        let connection: ConnectionOptions = parse(&context.connection, "connection")?;
        let options: SinkOptions = parse(&context.options, "sink")?;
        options.validate()?;
        Ok(Arc::new(MongoSink::new(connection, options, context.on_loss, context.node, context.base_dir)))
    }
}
