//! The way to the server: TCP or a local socket under the guard of this process, and TLS on top of it.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use weir_connect::{Error, Kind, Result};

use super::config::{Address, SslMode};
use crate::certificates::{Lenient, read_pem};

/// What a session talks through.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Wire for T {}

fn unreachable_server(address: &Address, error: std::io::Error) -> Error {
    let refused = matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::TimedOut
    );
    let built = Error::new("WEIR-MY-002", Kind::Connect, "cannot reach the MySQL server")
        .at(address.place())
        .because(&error)
        .hint("check host and port, and that the server runs and listens there");
    if refused { built.transient() } else { built }
}

/// The TLS session failed.
pub fn tls_error(address: &Address, why: impl std::fmt::Display, hint: &'static str) -> Error {
    Error::new("WEIR-MY-020", Kind::Connect, "the TLS session could not be set up").at(address.place()).because(why).hint(hint)
}

/// Connects. A name is resolved once, and only addresses that the guard allows are connected to.
pub async fn open(address: &Address) -> Result<Box<dyn Wire>> {
    let guard = weir_connect::guard::current();
    if address.is_socket() {
        guard.permit_local_socket(&address.host)?;
        let stream = UnixStream::connect(&address.host).await.map_err(|e| unreachable_server(address, e))?;
        return Ok(Box::new(stream));
    }
    let found = guard.resolve(&address.host, address.port).await.map_err(|e| unreachable_server(address, e))?;
    let found = found.map_err(|error| error.at(address.place()))?;
    let stream = TcpStream::connect(found.as_slice()).await.map_err(|e| unreachable_server(address, e))?;
    stream.set_nodelay(true).map_err(|e| unreachable_server(address, e))?;
    Ok(Box::new(stream))
}

/// Encrypts a connection whose server has been asked to.
pub async fn encrypt(address: &Address, stream: Box<dyn Wire>) -> Result<Box<dyn Wire>> {
    let config = client_config(address)?;
    let name = ServerName::try_from(address.host.clone()).map_err(|e| tls_error(address, e, "check `host`"))?;
    let encrypted = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| {
        // It went away in the middle: that says nothing about certificates.
        let gone = [std::io::ErrorKind::UnexpectedEof, std::io::ErrorKind::ConnectionReset, std::io::ErrorKind::BrokenPipe];
        if gone.contains(&error.kind()) {
            return super::errors::lost(&address.place(), error);
        }
        tls_error(
            address,
            weir_error::chain(&error),
            "give the authority of the server's certificate as `ssl_root_cert`; `verify_full` also needs the certificate to name `host`",
        )
    })?;
    Ok(Box::new(encrypted))
}

fn client_config(address: &Address) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| tls_error(address, e, "this build of Weir has no TLS"))?;
    let chain = match address.ssl_mode {
        SslMode::VerifyFull | SslMode::VerifyCa => Some(webpki(address, &provider)?),
        // With a root certificate at hand, `require` checks the chain.
        SslMode::Require if address.ssl_root_cert.is_some() => Some(webpki(address, &provider)?),
        _ => None,
    };
    let verifier: Arc<dyn ServerCertVerifier> = match (address.ssl_mode, chain) {
        (SslMode::VerifyFull, Some(strict)) => strict,
        (_, chain) => Arc::new(Lenient { provider: provider.clone(), chain }),
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let (Some(cert), Some(key)) = (&address.ssl_cert, &address.ssl_key) else { return Ok(builder.with_no_client_auth()) };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read_pem(cert)?)
        .collect::<Result<_, _>>()
        .map_err(|e| tls_error(address, e, "`ssl_cert` must be a PEM file"))?;
    let key = PrivateKeyDer::from_pem_slice(&read_pem(std::path::Path::new(key.expose()))?)
        .map_err(|e| tls_error(address, e, "`ssl_key` must be a PEM file"))?;
    builder.with_client_auth_cert(chain, key).map_err(|e| tls_error(address, e, "`ssl_cert` and `ssl_key` must belong together"))
}

fn webpki(address: &Address, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &address.ssl_root_cert {
        for cert in CertificateDer::pem_slice_iter(&read_pem(path)?) {
            let cert = cert.map_err(|e| tls_error(address, e, "`ssl_root_cert` must be a PEM file"))?;
            roots.add(cert).map_err(|e| tls_error(address, e, "`ssl_root_cert` must hold certificates of authorities"))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| tls_error(address, e, "give the authority of the server's certificate as `ssl_root_cert`"))
}
