//! `http`: any API that speaks JSON over HTTP, as source and sink.
//!
//! * [`config`]: options; [`endpoint`]: one stream with all of them. [`client`], [`auth`], [`retry`]: one exchange made reliable.
//! * [`page`]: from page to page. [`path`], [`json`], [`number`]: JSON without loss.
//! * [`infer`], [`decode`], [`types`]: records into Arrow. [`source`]: the stream.
//! * [`encode`], [`sink`]: Arrow rows into requests.

pub mod auth;
pub mod client;
pub mod config;
pub mod decode;
pub mod encode;
pub mod endpoint;
pub mod infer;
pub mod json;
pub mod number;
pub mod page;
pub mod path;
mod poll;
pub mod retry;
pub mod sink;
pub mod source;
#[cfg(test)]
mod tests;
pub mod types;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use weir_connect::{CheckReport, Connector, Descriptor, Kind, Result, Sink, SinkContext, Source, SourceContext, StreamInfo};

use config::{HttpConnection, HttpSinkOptions, HttpSourceOptions, parse};
use endpoint::address;

/// The connector.
pub struct HttpConnector {
    descriptor: Descriptor,
}

impl Default for HttpConnector {
    fn default() -> Self {
        let schema = |schema: schemars::Schema| schema.to_value();
        Self {
            descriptor: Descriptor {
                name: "http",
                aliases: &["rest", "rest_api"],
                summary: "any API that speaks JSON over HTTP: pages, tokens, OAuth 2, rate limits",
                connection: schema(schemars::schema_for!(HttpConnection)),
                source: Some(schema(schemars::schema_for!(HttpSourceOptions))),
                sink: Some(schema(schemars::schema_for!(HttpSinkOptions))),
                address_option: "path",
            },
        }
    }
}

/// Whether the text is still a reference, whose value is not known yet.
fn unresolved(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            let foreign = text.contains("://") && !text.starts_with("http://") && !text.starts_with("https://");
            text.contains("${") || text.contains("{{") || foreign
        }
        Value::Array(items) => items.iter().any(unresolved),
        Value::Object(members) => members.values().any(unresolved),
        _ => false,
    }
}

#[async_trait]
impl Connector for HttpConnector {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn validate(&self, role: &str, connection: &Value, options: &Value) -> Result<()> {
        let open = unresolved(connection);
        let connection: HttpConnection = parse("connection", connection)?;
        if !open {
            client::Client::new(&connection)?;
            connection.base_url.as_deref().map(address).transpose()?;
        }
        match role {
            "source" => {
                let parsed: HttpSourceOptions = parse(role, options)?;
                if !open { parsed.resolve(&connection).map(drop) } else { Ok(()) }
            }
            "sink" => {
                let parsed: HttpSinkOptions = parse(role, options)?;
                if !open { sink::HttpSink::new(&connection, parsed).map(drop) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    async fn check(&self, connection: &Value) -> Result<CheckReport> {
        let mut connection: HttpConnection = parse("connection", connection)?;
        connection.max_retries = 0;
        let client = client::Client::new(&connection)?;
        let mut report = CheckReport::default();
        let Some(base) = &connection.base_url else {
            report.push("reach", true, "no `base_url` to try; each stream has its own address");
            return Ok(report);
        };
        let url = address(base)?;
        let request = client::Request {
            method: reqwest::Method::GET,
            home: url.clone(),
            url,
            headers: reqwest::header::HeaderMap::new(),
            body: None,
            repeatable: true,
        };
        let answer = client.send(&request, &client::Pace::new(None)).await;
        let credentials = client.has_credentials();
        match answer {
            Ok(response) => {
                report.push("reach", true, format!("the server answers {}", response.status));
                if credentials {
                    report.push("auth", true, "the credentials are not refused");
                }
            }
            Err(error) if error.kind() == Kind::Connect => report.push("reach", false, error.to_string()),
            Err(error) if matches!(error.kind(), Kind::Auth | Kind::Privilege) => {
                report.push("reach", true, "the server answers");
                report.push("auth", false, error.to_string());
            }
            // Many APIs have nothing at their base address; that they say so is an answer.
            Err(error) => {
                report.push("reach", true, format!("the server answers: {}", error.what()));
                if credentials {
                    report.push("auth", true, "the credentials are not refused at the base address");
                }
            }
        }
        Ok(report)
    }

    async fn discover(&self, context: SourceContext) -> Result<Vec<StreamInfo>> {
        self.source(context).await?.streams().await
    }

    async fn source(&self, context: SourceContext) -> Result<Arc<dyn Source>> {
        let connection: HttpConnection = parse("connection", &context.connection)?;
        let options: HttpSourceOptions = parse("source", &context.options)?;
        Ok(Arc::new(source::HttpSource::new(&connection, &options, context.on_loss)?))
    }

    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>> {
        let connection: HttpConnection = parse("connection", &context.connection)?;
        let options: HttpSinkOptions = parse("sink", &context.options)?;
        Ok(Arc::new(sink::HttpSink::new(&connection, options)?))
    }
}
