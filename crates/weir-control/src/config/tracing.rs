//! `TRACING_ENDPOINT`: where spans go, over which protocol.

use url::Url;

/// How an OTLP collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// HTTP with protobuf bodies, path `/v1/traces`.
    Http,
    /// gRPC.
    Grpc,
}

/// An OTLP collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpEndpoint {
    /// How it is spoken to.
    pub protocol: OtlpProtocol,
    /// The whole address for HTTP (`http://host:4318/v1/traces`), scheme, host and port for gRPC.
    pub url: String,
    /// What the reader of the configuration should know: the address was written for another protocol and has been changed.
    pub warning: Option<String>,
}

impl OtlpEndpoint {
    /// Reads an endpoint.
    ///
    /// * `http(s)://HOST:4318`, with or without `/v1/traces` or another path that ends so: OTLP over HTTP;
    /// * `http(s)://HOST:4317`, `grpc://HOST`, `grpcs://HOST`: OTLP over gRPC;
    /// * `http://HOST:14268/api/traces` (Jaeger's own protocol, which Jaeger itself has left for OTLP): mapped to port 4318 of the same host.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|error| format!("it is no address: {error}"))?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err("it names no host".into());
        }
        let path = url.path().trim_end_matches('/').to_owned();
        match url.scheme() {
            "grpc" | "grpcs" => {
                let scheme = if url.scheme() == "grpc" { "http" } else { "https" };
                let host = url.host_str().unwrap_or_default();
                let address = format!("{scheme}://{host}:{}", url.port().unwrap_or(4317));
                return Ok(Self { protocol: OtlpProtocol::Grpc, url: address, warning: None });
            }
            "http" | "https" => {}
            other => return Err(format!("the scheme `{other}` is not known")),
        }
        if path == "/api/traces" {
            let asked = without_secrets(&url);
            url.set_path("/v1/traces");
            url.set_port(Some(4318)).map_err(|()| "it cannot have a port")?;
            url.set_query(None);
            let warning = format!(
                "{asked} is Jaeger's own protocol, which is not spoken here; spans go to the same host over OTLP: {}. \
                 Set TRACING_ENDPOINT to that address to be rid of this warning",
                without_secrets(&url)
            );
            return Ok(Self { protocol: OtlpProtocol::Http, url: url.into(), warning: Some(warning) });
        }
        match (path.as_str(), url.port()) {
            ("", Some(4317)) => {
                let address = url.as_str().trim_end_matches('/').to_owned();
                Ok(Self { protocol: OtlpProtocol::Grpc, url: address, warning: None })
            }
            ("", port) => {
                url.set_path("/v1/traces");
                if port.is_none() {
                    url.set_port(Some(4318)).map_err(|()| "it cannot have a port")?;
                }
                Ok(Self { protocol: OtlpProtocol::Http, url: url.into(), warning: None })
            }
            (path, _) if path.ends_with("/v1/traces") => {
                url.set_path(path);
                Ok(Self { protocol: OtlpProtocol::Http, url: url.into(), warning: None })
            }
            (path, _) => Err(format!("`{path}` is no path of an OTLP collector")),
        }
    }

    /// As it can be written in the configuration: reading it again gives the same endpoint, without a warning.
    pub fn written(&self) -> String {
        match self.protocol {
            OtlpProtocol::Http => self.url.clone(),
            OtlpProtocol::Grpc => self.url.replacen("http", "grpc", 1),
        }
    }

    /// What may be written.
    pub fn allowed() -> &'static str {
        "http://HOST:4318/v1/traces (OTLP over HTTP), http://HOST:4317 or grpc://HOST:4317 (OTLP over gRPC)"
    }
}

fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn otlp_is_taken_over_both_protocols() {
        for (text, protocol, url) in [
            ("http://otel-collector:4318/v1/traces", OtlpProtocol::Http, "http://otel-collector:4318/v1/traces"),
            ("http://otel-collector:4318", OtlpProtocol::Http, "http://otel-collector:4318/v1/traces"),
            ("https://otel.example.org/", OtlpProtocol::Http, "https://otel.example.org:4318/v1/traces"),
            ("https://gateway.example.org/otlp/v1/traces/", OtlpProtocol::Http, "https://gateway.example.org/otlp/v1/traces"),
            ("http://127.0.0.1:4317", OtlpProtocol::Grpc, "http://127.0.0.1:4317"),
            ("grpc://collector", OtlpProtocol::Grpc, "http://collector:4317"),
            ("grpcs://collector:9", OtlpProtocol::Grpc, "https://collector:9"),
        ] {
            let read = OtlpEndpoint::parse(text).unwrap();
            assert_eq!((read.protocol, read.url.as_str()), (protocol, url), "{text}");
            assert_eq!(OtlpEndpoint::parse(&read.written()).unwrap(), read, "{text}");
        }
    }

    #[test]
    fn jaegers_address_is_mapped_to_otlp_and_says_so() {
        let read = OtlpEndpoint::parse("http://jaeger:14268/api/traces").unwrap();
        assert_eq!((read.protocol, read.url.as_str()), (OtlpProtocol::Http, "http://jaeger:4318/v1/traces"));
        let warning = read.warning.unwrap();
        assert!(warning.contains("Jaeger") && warning.contains("http://jaeger:4318/v1/traces"), "{warning}");
    }

    #[test]
    fn other_protocols_are_refused() {
        for text in ["zipkin:9411", "udp://jaeger:6831", "http://zipkin:9411/api/v2/spans", "http://", "nonsense"] {
            assert!(OtlpEndpoint::parse(text).is_err(), "{text}");
        }
    }
}
