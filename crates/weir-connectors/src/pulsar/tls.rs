//! The way to a broker: TCP under the guard of this process, and TLS on top of it.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use weir_connect::{Error, Kind, Result, guard};

use super::config::ConnectionOptions;
use super::errors::unreachable;
use crate::certificates::{Lenient, placed, read_pem};

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
    let place = &options.service_url;
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(place, error, "this build of Weir has no TLS"))?;
    let verifier: Arc<dyn ServerCertVerifier> = if options.verify_tls == Some(false) {
        Arc::new(Lenient { provider, chain: None })
    } else {
        verifier(options, base_dir, &provider)?
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let (Some(cert), Some(key)) = (&options.ssl_cert, &options.ssl_key) else { return Ok(builder.with_no_client_auth()) };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read_pem(&placed(base_dir, cert))?)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| failed(place, error, "`ssl_cert` must be a PEM file"))?;
    let key = PrivateKeyDer::from_pem_slice(&read_pem(&placed(base_dir, Path::new(key.expose())))?)
        .map_err(|error| failed(place, error, "`ssl_key` must be a PEM file"))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| failed(place, error, "`ssl_cert` and `ssl_key` must belong together"))
}

fn verifier(options: &ConnectionOptions, base_dir: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>> {
    let place = &options.service_url;
    let mut roots = RootCertStore::empty();
    if let Some(path) = &options.ssl_root_cert {
        for cert in CertificateDer::pem_slice_iter(&read_pem(&placed(base_dir, path))?) {
            let cert = cert.map_err(|error| failed(place, error, "`ssl_root_cert` must be a PEM file"))?;
            roots.add(cert).map_err(|error| failed(place, error, "`ssl_root_cert` must hold certificates of authorities"))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| failed(place, error, "give the authority of the brokers' certificates as `ssl_root_cert`"))
}
