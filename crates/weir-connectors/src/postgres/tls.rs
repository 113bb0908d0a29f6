//! Opening the byte stream: TCP or Unix socket, then TLS as far as `ssl_mode` asks for it.

use std::sync::Arc;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;
use weir_connect::{Error, Kind, Result};

use super::config::{Address, SslMode};
use crate::certificates::{Lenient, read_pem};
use crate::quiet::{Quiet, Switch};

/// What a session talks through.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Wire for T {}

fn unreachable_server(address: &Address, error: std::io::Error) -> Error {
    let refused = matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::TimedOut
    );
    let built = Error::new("WEIR-PG-002", Kind::Connect, "cannot reach the PostgreSQL server")
        .at(address.place())
        .because(&error)
        .hint("check host and port, and that the server runs and listens there");
    if refused { built.transient() } else { built }
}

fn tls_error(address: &Address, why: impl std::fmt::Display, hint: &'static str) -> Error {
    Error::new("WEIR-PG-020", Kind::Connect, "the TLS session could not be set up").at(address.place()).because(why).hint(hint)
}

/// Whether `ssl_mode: prefer` should try again without TLS: the TLS session failed, or the server has no rule for it.
pub fn may_retry_plain(error: &Error) -> bool {
    error.code() == "WEIR-PG-020" || super::errors::sqlstate(error) == Some("28000")
}

/// Connects and, if asked for, encrypts. `switch` says whether the socket under it all is watched.
pub async fn open(address: &Address, switch: &Switch) -> Result<Box<dyn Wire>> {
    let guard = weir_connect::guard::current();
    if address.host.starts_with('/') {
        guard.permit_local_socket(&address.host)?;
        let path = format!("{}/.s.PGSQL.{}", address.host, address.port);
        let stream = UnixStream::connect(path).await.map_err(|e| unreachable_server(address, e))?;
        return Ok(Box::new(Quiet::new(stream, switch.clone())));
    }
    let found = guard.resolve(&address.host, address.port).await.map_err(|e| unreachable_server(address, e))?;
    let found = found.map_err(|error| error.at(address.place()))?;
    let stream = TcpStream::connect(found.as_slice()).await.map_err(|e| unreachable_server(address, e))?;
    // Without it the last, small message of an exchange waits for the acknowledgement of the one before.
    stream.set_nodelay(true).map_err(|e| unreachable_server(address, e))?;
    let stream = Quiet::new(stream, switch.clone());
    if address.ssl_mode == SslMode::Disable {
        return Ok(Box::new(stream));
    }
    negotiate(address, stream).await
}

async fn negotiate(address: &Address, mut stream: Quiet<TcpStream>) -> Result<Box<dyn Wire>> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    let mut answer = [0];
    let exchanged = async {
        stream.write_all(&request).await?;
        stream.read_exact(&mut answer).await
    };
    exchanged.await.map_err(|e| unreachable_server(address, e))?;
    match (answer[0], address.ssl_mode) {
        (b'S', _) => {}
        (b'N', SslMode::Prefer) => return Ok(Box::new(stream)),
        (b'N', _) => {
            return Err(tls_error(
                address,
                "the server does not offer TLS",
                "turn `ssl` on at the server, or set `ssl_mode: disable` if the network is trusted",
            ));
        }
        _ => return Err(super::errors::protocol(&address.place(), "no answer to the TLS request")),
    }
    let config = client_config(address)?;
    let mut maker = MakeRustlsConnect::new(config);
    let connector = <MakeRustlsConnect as MakeTlsConnect<Quiet<TcpStream>>>::make_tls_connect(&mut maker, &address.host)
        .map_err(|e| tls_error(address, e, "check `host`"))?;
    let encrypted = connector.connect(stream).await.map_err(|error| {
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
    let verifier: Arc<dyn ServerCertVerifier> = match address.ssl_mode {
        SslMode::VerifyFull => webpki(address, &provider)?,
        SslMode::VerifyCa => Arc::new(Lenient { provider: provider.clone(), chain: Some(webpki(address, &provider)?) }),
        // As in libpq: with a root certificate at hand, `require` checks the chain.
        SslMode::Require if address.ssl_root_cert.is_some() => {
            Arc::new(Lenient { provider: provider.clone(), chain: Some(webpki(address, &provider)?) })
        }
        _ => Arc::new(Lenient { provider: provider.clone(), chain: None }),
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
