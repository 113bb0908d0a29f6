//! The way to a broker: TCP under the guard of this process, and TLS on top of it.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use weir_connect::{Error, Kind, Result, guard};

use super::config::ConnectionOptions;
use super::errors::unreachable;
use crate::trust::Trust;

/// What a connection talks through.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Wire for T {}

fn failed(place: &str, why: impl std::fmt::Display, hint: &'static str) -> Error {
    Error::new("WEIR-PULSAR-009", Kind::Connect, "the TLS session could not be set up").at(place).because(why).hint(hint)
}

/// Connects. The name is resolved once, and only addresses that the guard allows are connected to; the certificate is checked against the name.
pub async fn open(host: &str, port: u16, tls: Option<&Arc<ClientConfig>>) -> Result<Box<dyn Wire>> {
    let place = format!("{host}:{port}");
    let found = guard::current().resolve(host, port).await.map_err(|error| unreachable(&place, error))?;
    let found = found.map_err(|error| error.at(place.clone()))?;
    let stream = TcpStream::connect(found.as_slice()).await.map_err(|error| unreachable(&place, error))?;
    stream.set_nodelay(true).map_err(|error| unreachable(&place, error))?;
    let Some(config) = tls else { return Ok(Box::new(stream)) };
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let name = ServerName::try_from(bare.to_owned()).map_err(|error| failed(&place, error, "check `service_url`"))?;
    let encrypted = tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream).await.map_err(|error| {
        // It went away in the middle: that says nothing about certificates.
        let gone = [std::io::ErrorKind::UnexpectedEof, std::io::ErrorKind::ConnectionReset, std::io::ErrorKind::BrokenPipe];
        if gone.contains(&error.kind()) {
            return unreachable(&place, error);
        }
        failed(
            &place,
            weir_error::chain(&error),
            "give the authority of the brokers' certificates as `ssl_root_cert`; they must name the host that is connected to",
        )
    })?;
    Ok(Box::new(encrypted))
}

/// What TLS sessions of a connection have in common.
pub fn config(options: &ConnectionOptions, base_dir: &Path) -> Result<ClientConfig> {
    let trust = Trust {
        base: base_dir,
        root_cert: options.ssl_root_cert.as_deref(),
        cert: options.ssl_cert.as_deref(),
        key: options.ssl_key.as_ref(),
        verify: options.verify_tls != Some(false),
        name: None,
    };
    trust.config().map_err(|error| error.at(options.service_url.clone()))
}
