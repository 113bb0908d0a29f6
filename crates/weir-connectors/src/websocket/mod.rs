//! `websocket`: messages of a WebSocket server (RFC 6455), as a source without end.
//!
//! * [`config`]: options. [`client`]: one connection, made under the guard. [`sequence`]: gaps and repetitions. [`session`]: one connection, read.
//! * [`feed`]: connection after connection, into the inbox.
//!
//! Not here: the queue on disk and the reading of it (`inbox`), what payloads mean (`messages`).

pub mod client;
pub mod config;
mod feed;
pub mod sequence;
mod session;
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

use crate::inbox::{InboxSource, Offered, OneStream, Work};
use client::Target;
use config::{ConnectionOptions, SourceOptions, parse};
use feed::Feed;

/// The connector.
pub struct Websocket {
    descriptor: Descriptor,
}

impl Default for Websocket {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "websocket",
                aliases: &["ws"],
                summary: "messages of a WebSocket server, kept on disk until they are delivered",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: Some(schema_for!(SourceOptions).to_value()),
                sink: None,
                address_option: "stream",
            },
        }
    }
}

#[async_trait]
impl Connector for Websocket {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn validate(&self, role: &str, connection: &Value, options: &Value) -> Result<()> {
        if !crate::options::has_reference(connection) {
            Target::new(parse("connection", connection)?, std::path::Path::new("."))?;
        }
        match role {
            "source" => parse::<SourceOptions>(role, options)?.validate(connection),
            _ => Ok(()),
        }
    }

    async fn check(&self, connection: &Value) -> Result<CheckReport> {
        let target = Target::new(parse("connection", connection)?, std::path::Path::new("."))?;
        let mut report = CheckReport::default();
        match target.connect(None, 1 << 20).await {
            Ok(mut socket) => {
                report.push("reach", true, format!("{} speaks WebSocket", target.place()));
                report.push("auth", true, "the credentials are taken, or none are needed");
                let _ = socket.close(None).await;
            }
            Err(error) => {
                let refused = matches!(error.kind(), Kind::Auth | Kind::Privilege);
                if refused {
                    report.push("reach", true, target.place());
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
        let options: SourceOptions = parse("source", &context.options)?;
        options.validate(&context.connection)?;
        let target = Target::new(parse("connection", &context.connection)?, &context.base_dir)?;
        let folder = options.inbox.folder(&context.base_dir, &format!("websocket {}", target.place()))?;
        let max_bytes = options.inbox.max_bytes();
        let offered = Offered {
            name: options.stream_name(target.address()),
            payload: options.payload()?,
            columns: options.columns_of_message(),
            sample_records: options.sample_records,
        };
        let target = Arc::new(target);
        let begin = move |queue| -> BoxFuture<'static, Result<Work>> {
            let (target, options) = (target.clone(), options.clone());
            Box::pin(async move { Ok(Box::pin(Feed::new(target, options, queue).await?.run()) as Work) })
        };
        let peer = OneStream { connector: "websocket", reading: "as messages come, through an inbox on disk", offered, begin };
        Ok(Arc::new(InboxSource::new(peer, folder, max_bytes)))
    }

    async fn sink(&self, _: SinkContext) -> Result<Arc<dyn Sink>> {
        Err(Error::new("WEIR-WS-001", Kind::Unsupported, "`websocket` only reads"))
    }
}
