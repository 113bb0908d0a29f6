//! `webhook`: a receiver of HTTP requests, as a source without end. A request is answered with 2xx when it is on the disk.
//!
//! * [`config`]: options. [`signature`]: who may send. [`connection`]: sockets and their deadlines. [`server`]: one request. [`body`]: its body as rows.
//! * [`seen`]: deliveries that came before.
//!
//! Not here: the queue on disk and the reading of it (`inbox`), what payloads mean (`messages`), TLS (a proxy in front does that).

mod body;
pub mod config;
mod connection;
mod seen;
mod server;
pub mod signature;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use schemars::schema_for;
use serde_json::Value;
use weir_connect::{
    CheckReport, Connector, Descriptor, Error, Kind, Result, Sink, SinkContext, Source, SourceContext, StreamInfo,
};

use crate::inbox::{Inbox, InboxSource, Offered, Peer};
use config::{ConnectionOptions, SourceOptions, parse};

/// The connector.
pub struct Webhook {
    descriptor: Descriptor,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "webhook",
                aliases: &["http_receiver"],
                summary: "a receiver of HTTP requests: signatures checked, answered when they are on disk",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: Some(schema_for!(SourceOptions).to_value()),
                sink: None,
                address_option: "path",
            },
        }
    }
}

struct Receiver {
    connection: ConnectionOptions,
    options: SourceOptions,
}

#[async_trait]
impl Peer for Receiver {
    fn connector(&self) -> &'static str {
        "webhook"
    }

    fn streams(&self) -> Vec<Offered> {
        let offered = |(name, path): (String, String)| Offered {
            payload: self.options.payload_of(&path).unwrap_or_default(),
            columns: self.options.columns_of_message(),
            sample_records: self.options.sample_records,
            name,
        };
        self.options.streams().into_iter().map(offered).collect()
    }

    fn reading(&self) -> String {
        format!("requests to {}, through an inbox on disk", self.connection.listen)
    }

    async fn begin(&self, inbox: Arc<Inbox>) -> Result<BoxFuture<'static, Error>> {
        server::listen(&self.connection, &self.options, &inbox).await
    }
}

#[async_trait]
impl Connector for Webhook {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn validate(&self, role: &str, connection: &Value, options: &Value) -> Result<()> {
        if !crate::options::has_reference(connection) {
            parse::<ConnectionOptions>("connection", connection)?.validate()?;
        }
        match role {
            "source" => parse::<SourceOptions>(role, options)?.validate(),
            _ => Ok(()),
        }
    }

    async fn check(&self, connection: &Value) -> Result<CheckReport> {
        let options: ConnectionOptions = parse("connection", connection)?;
        options.validate()?;
        let mut report = CheckReport::default();
        match server::bind(&options).await {
            Ok(listener) => {
                drop(listener);
                report.push("reach", true, format!("{} can be listened on", options.listen));
                let auth = options.signature.is_some() || options.bearer_token.is_some();
                report.push("auth", true, if auth { "requests are checked" } else { "anybody who reaches the port can send" });
            }
            Err(error) => report.push("reach", false, error.to_string()),
        }
        Ok(report)
    }

    async fn discover(&self, context: SourceContext) -> Result<Vec<StreamInfo>> {
        self.source(context).await?.streams().await
    }

    async fn source(&self, context: SourceContext) -> Result<Arc<dyn Source>> {
        let connection: ConnectionOptions = parse("connection", &context.connection)?;
        connection.validate()?;
        let options: SourceOptions = parse("source", &context.options)?;
        options.validate()?;
        let folder = options.inbox.folder(&context.base_dir, &format!("webhook {}", connection.listen))?;
        let max_bytes = options.inbox.max_bytes();
        Ok(Arc::new(InboxSource::new(Receiver { connection, options }, folder, max_bytes)))
    }

    async fn sink(&self, _: SinkContext) -> Result<Arc<dyn Sink>> {
        Err(Error::new("WEIR-WEBHOOK-001", Kind::Unsupported, "`webhook` only receives").hint("`http` sends requests"))
    }
}
