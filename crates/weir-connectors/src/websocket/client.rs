//! One connection: TCP under the guard of this process, TLS, and the upgrade.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{Error as Failure, ProtocolError};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::http::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::Url;
use weir_connect::{Error, Kind, Result, Retry, guard};

use super::config::{ConnectionOptions, filled, wrong};
use crate::certificates::{Lenient, placed, read_pem};
use crate::http::client::header_map;

/// What a connection talks through.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// An open connection.
pub type Socket = WebSocketStream<Box<dyn Wire>>;

/// A server, and how to reach it.
pub struct Target {
    options: ConnectionOptions,
    /// The address with its placeholders filled in once, for everything but the request.
    address: Url,
    headers: HeaderMap,
    tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// Checks the options; does not connect.
    pub fn new(options: ConnectionOptions, base_dir: &Path) -> Result<Self> {
        let address = address_of(&options.url, None)?;
        let mut headers = header_map(&options.headers)?;
        if !options.subprotocols.is_empty() {
            let offered = HeaderValue::from_str(&options.subprotocols.join(", "))
                .map_err(|_| wrong("`subprotocols` has a character that no header can carry", "name them as the server does"))?;
            headers.insert("Sec-WebSocket-Protocol", offered);
        }
        let tls = match address.scheme() {
            "wss" => Some(Arc::new(tls_of(&options, base_dir)?)),
            _ => None,
        };
        Ok(Self { options, address, headers, tls })
    }

    /// The address, with numbers that mean nothing.
    pub fn address(&self) -> &Url {
        &self.address
    }

    /// Where it is, without what may be secret.
    pub fn place(&self) -> String {
        let mut shown = self.address.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        shown.to_string()
    }

    /// Opens a connection. `last` is the number of the last message.
    pub async fn connect(&self, last: Option<i64>, message_bytes: usize) -> Result<Socket> {
        let patience = Duration::from_secs(self.options.connect_timeout_secs.unwrap_or(10).max(1));
        match tokio::time::timeout(patience, self.open(last, message_bytes)).await {
            Ok(opened) => opened.map_err(|error| error.at(self.place())),
            Err(_) => Err(self.unreachable(format!("the connection was not open after {} s", patience.as_secs()))),
        }
    }

    fn unreachable(&self, why: impl std::fmt::Display) -> Error {
        Error::new("WEIR-WS-002", Kind::Connect, "the server cannot be reached")
            .at(self.place())
            .because(why)
            .hint("check `url`, and that the server runs and listens there")
            .transient()
    }

    async fn open(&self, last: Option<i64>, message_bytes: usize) -> Result<Socket> {
        let address = address_of(&self.options.url, last)?;
        let (Some(host), Some(port)) = (address.host_str(), address.port_or_known_default()) else {
            return Err(wrong("`url` names no host", "write wss://host/path"));
        };
        let guard = guard::current();
        let mut web = address.clone();
        // The guard knows web addresses; a WebSocket begins as one.
        let _ = web.set_scheme(if self.tls.is_some() { "https" } else { "http" });
        guard.permit_url(&web)?;
        let found = guard.resolve(host, port).await.map_err(|error| self.unreachable(error))??;
        let stream = TcpStream::connect(found.as_slice()).await.map_err(|error| self.unreachable(error))?;
        stream.set_nodelay(true).map_err(|error| self.unreachable(error))?;
        let wire: Box<dyn Wire> = match &self.tls {
            None => Box::new(stream),
            Some(config) => {
                let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
                let name = ServerName::try_from(bare.to_owned()).map_err(|error| self.unreachable(error))?;
                let encrypted = tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream).await;
                Box::new(encrypted.map_err(|error| self.not_encrypted(error))?)
            }
        };
        let mut request = address
            .as_str()
            .into_client_request()
            .map_err(|error| wrong("`url` is no address of a WebSocket", "write wss://host/path").because(error))?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(32 << 10)
            .write_buffer_size(0)
            .max_message_size(Some(message_bytes))
            .max_frame_size(Some(message_bytes));
        let (socket, _) =
            client_async_with_config(request, wire, Some(config)).await.map_err(|error| self.not_upgraded(error))?;
        Ok(socket)
    }

    fn not_encrypted(&self, error: std::io::Error) -> Error {
        // What rustls has against the peer comes as invalid data; the rest is the network.
        if error.kind() != std::io::ErrorKind::InvalidData {
            return self.unreachable(error);
        }
        Error::new("WEIR-WS-003", Kind::Connect, "the secure connection cannot be made")
            .because(weir_error::chain(&error))
            .hint("set `ca_cert` to the certificate of your authority; a server without TLS has a ws:// address")
    }

    fn not_upgraded(&self, error: Failure) -> Error {
        let refused = |code: &'static str, kind: Kind, what: String| Error::new(code, kind, what);
        match error {
            Failure::Http(response) => {
                let status = response.status();
                let said =
                    response.body().as_deref().map(|body| String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned());
                let what = format!("the server answers {status}, not with a WebSocket");
                let built = match status {
                    StatusCode::UNAUTHORIZED => {
                        refused("WEIR-WS-004", Kind::Auth, what).hint("check the credentials in `headers`")
                    }
                    StatusCode::FORBIDDEN => {
                        refused("WEIR-WS-004", Kind::Privilege, what).hint("check the credentials in `headers`")
                    }
                    StatusCode::NOT_FOUND | StatusCode::GONE => {
                        refused("WEIR-WS-005", Kind::NotFound, what).hint("check the path of `url`")
                    }
                    _ if status.is_redirection() => refused("WEIR-WS-005", Kind::Connect, what)
                        .hint("redirects are not followed, since headers would go to another host: write the final address"),
                    StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                        refused("WEIR-WS-002", Kind::Connect, what).transient()
                    }
                    _ if status.is_server_error() => refused("WEIR-WS-002", Kind::Connect, what).transient(),
                    _ => refused("WEIR-WS-005", Kind::Connect, what),
                };
                let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
                let built = match after {
                    Some(seconds) if built.retryable() != Retry::Never => built.retry(Retry::After(Duration::from_secs(seconds))),
                    _ => built,
                };
                match said.filter(|said| !said.trim().is_empty()) {
                    Some(said) => built.because(said),
                    None => built,
                }
            }
            Failure::Protocol(ProtocolError::SecWebSocketSubProtocolError(why)) => {
                refused("WEIR-WS-006", Kind::Spec, "the server does not take the subprotocol".into())
                    .because(why)
                    .hint("`subprotocols` lists what to offer; some servers need one, others none")
            }
            Failure::Io(error) => self.unreachable(error),
            other => refused("WEIR-WS-002", Kind::Connect, "the server does not answer as a WebSocket".into())
                .because(other)
                .transient(),
        }
    }
}

fn address_of(text: &str, last: Option<i64>) -> Result<Url> {
    let hint = "write wss://host/path";
    let address =
        Url::parse(filled(text.trim(), last).as_str()).map_err(|error| wrong("`url` is no address", hint).because(error))?;
    if !matches!(address.scheme(), "ws" | "wss") || address.host_str().is_none_or(str::is_empty) {
        return Err(wrong("`url` is no address of a WebSocket", hint));
    }
    if !address.username().is_empty() || address.password().is_some() {
        return Err(wrong("`url` has a user or password", "put them into `headers`: `Authorization: Basic …`"));
    }
    Ok(address)
}

fn tls_of(options: &ConnectionOptions, base_dir: &Path) -> Result<ClientConfig> {
    let failed = |error: &dyn std::fmt::Display| Error::new("WEIR-WS-003", Kind::Connect, "TLS cannot be set up").because(error);
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    let verifier: Arc<dyn ServerCertVerifier> = if options.verify_tls == Some(false) {
        Arc::new(Lenient { provider, chain: None })
    } else {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(pem) = &options.ca_cert {
            for certificate in CertificateDer::pem_slice_iter(&read_pem(&placed(base_dir, pem))?) {
                let certificate =
                    certificate.map_err(|error| wrong("`ca_cert` is not PEM", "give PEM text or a PEM file").because(error))?;
                roots.add(certificate).map_err(|error| {
                    wrong("`ca_cert` is no certificate of an authority", "give PEM text or a PEM file").because(error)
                })?;
            }
        }
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| failed(&error).hint("this machine has no certificates of authorities; give one as `ca_cert`"))?
    };
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}
