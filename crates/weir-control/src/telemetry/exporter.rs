//! Spans to a collector: OTLP over HTTP with protobuf bodies, or gRPC.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use weir_error::{Error, Kind, Result};

use crate::config::{OtlpEndpoint, OtlpProtocol};

/// How long a collector may take for one batch.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a collector. Made without connecting.
#[derive(Debug)]
pub struct Exporter(SpanExporter);

impl Exporter {
    /// For a collector, with `service.name` and `service.instance.id` as given.
    pub fn new(endpoint: &OtlpEndpoint, service: &str, instance: &str) -> Result<Self> {
        let made = match endpoint.protocol {
            OtlpProtocol::Http => SpanExporter::builder()
                .with_http()
                .with_http_client(Client(client()?))
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(&endpoint.url)
                .with_timeout(TIMEOUT)
                .build(),
            OtlpProtocol::Grpc => SpanExporter::builder().with_tonic().with_endpoint(&endpoint.url).with_timeout(TIMEOUT).build(),
        };
        let mut exporter = made.map_err(|error| {
            Error::new("WEIR-TRACE-001", Kind::Spec, "spans cannot be sent to TRACING_ENDPOINT")
                .because(error)
                .hint("write http://HOST:4318/v1/traces (OTLP over HTTP) or http://HOST:4317 (gRPC)")
        })?;
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", service.to_owned()),
                KeyValue::new("service.instance.id", instance.to_owned()),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();
        exporter.set_resource(&resource);
        Ok(Self(exporter))
    }

    /// Sends spans; an error says what the collector said.
    pub async fn send(&self, spans: Vec<SpanData>) -> Result<()> {
        self.0.export(spans).await.map_err(|error| {
            Error::new("WEIR-TRACE-002", Kind::Connect, "the collector did not take the spans").because(error).transient()
        })
    }
}

fn client() -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .timeout(TIMEOUT)
        .connect_timeout(Duration::from_secs(3))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| Error::internal("the client of the collector cannot be made").caused_by(error))
}

/// The exporter's HTTP client, on the client that the rest of the program uses.
#[derive(Debug)]
struct Client(reqwest::Client);

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> std::result::Result<Response<Bytes>, HttpError> {
        let answer = self.0.execute(reqwest::Request::try_from(request)?).await?;
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            response = response.header(name, value);
        }
        Ok(response.body(answer.bytes().await?)?)
    }
}
