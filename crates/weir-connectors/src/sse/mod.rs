//! `sse`: server-sent events (the `text/event-stream` of the WHATWG HTML standard, section 9.2), as a source without end.
//!
//! * [`config`]: options. [`parse`]: bytes into events. [`client`]: one request under the guard. [`feed`]: request after request, into the inbox.
//!
//! Not here: the queue on disk and the reading of it (`inbox`), what payloads mean (`messages`).

pub mod client;
pub mod config;
mod feed;
pub mod parse;
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
use config::{ConnectionOptions, SourceOptions, options_of};
use feed::Feed;

/// The connector.
pub struct Sse {
    descriptor: Descriptor,
}

impl Default for Sse {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "sse",
                aliases: &["server_sent_events", "event_stream"],
                summary: "server-sent events over HTTP, kept on disk until they are delivered",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: Some(schema_for!(SourceOptions).to_value()),
                sink: None,
                address_option: "stream",
            },
        }
    }
}

#[async_trait]
impl Connector for Sse {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn validate(&self, role: &str, connection: &Value, options: &Value) -> Result<()> {
        if !crate::options::has_reference(connection) {
            Target::new(&options_of("connection", connection)?)?;
        }
        match role {
            "source" => options_of::<SourceOptions>(role, options)?.validate(),
            _ => Ok(()),
        }
    }

    async fn check(&self, connection: &Value) -> Result<CheckReport> {
        let target = Target::new(&options_of("connection", connection)?)?;
        let mut report = CheckReport::default();
        match target.ask(None).await {
            Ok(_) => {
                report.push("reach", true, format!("{} sends events", target.place()));
                report.push("auth", true, "the credentials are taken, or none are needed");
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
        let options: SourceOptions = options_of("source", &context.options)?;
        options.validate()?;
        let target = Target::new(&options_of("connection", &context.connection)?)?;
        let folder = options.inbox.folder(&context.base_dir, &format!("sse {}", target.bare()))?;
        let max_bytes = options.inbox.max_bytes();
        let offered = Offered {
            name: options.stream_name(target.url()),
            payload: options.payload()?,
            columns: options.columns_of_message(),
            sample_records: options.sample_records,
        };
        let target = Arc::new(target);
        let begin = move |queue| -> BoxFuture<'static, Result<Work>> {
            let (target, options) = (target.clone(), options.clone());
            Box::pin(async move { Ok(Box::pin(Feed::new(target, options, queue).await?.run()) as Work) })
        };
        let peer = OneStream { connector: "sse", reading: "as events come, through an inbox on disk", offered, begin };
        Ok(Arc::new(InboxSource::new(peer, folder, max_bytes)))
    }

    async fn sink(&self, _: SinkContext) -> Result<Arc<dyn Sink>> {
        Err(Error::new("WEIR-SSE-001", Kind::Unsupported, "`sse` only reads"))
    }
}
