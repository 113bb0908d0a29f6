//! The TLS settings of brokers whose client is given a connection: what is trusted, who we are, and whether anything is checked.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use weir_connect::{Error, Kind, Result, Secret};

use crate::certificates::{Lenient, read_pem};

/// What the connection's options say of TLS, paths placed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tls {
    /// Authorities to trust; `None`: those of the system.
    pub root_cert: Option<PathBuf>,
    /// The client's certificate.
    pub cert: Option<PathBuf>,
    /// Its private key: a path or PEM text.
    pub key: Option<Secret>,
    /// Whether the server's certificate is checked, name included.
    pub verify: bool,
}

/// The TLS session could not be set up; `code` is the connector's own.
pub(crate) fn tls_error(code: &'static str, place: &str, why: impl std::fmt::Display) -> Error {
    Error::new(code, Kind::Connect, "the TLS session could not be set up")
        .at(place)
        .because(why)
        .hint("give the authority of the server's certificate as `ssl_root_cert`; the certificate must name `host`")
}

impl Tls {
    /// The settings for rustls.
    ///
    /// # Errors
    /// Under `code`: a file that is not there or no PEM, a key that does not belong to its certificate.
    pub(crate) fn config(&self, code: &'static str, place: &str) -> Result<Arc<ClientConfig>> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| tls_error(code, place, error).hint("this build of Weir has no TLS"))?;
        let verifier: Arc<dyn ServerCertVerifier> = if self.verify {
            WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots(code, place)?), provider)
                .build()
                .map_err(|error| tls_error(code, place, error))?
        } else {
            Arc::new(Lenient { provider, chain: None })
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else { return Ok(Arc::new(builder.with_no_client_auth())) };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read_pem(cert)?)
            .collect::<Result<_, _>>()
            .map_err(|error| tls_error(code, place, error).hint("`ssl_cert` must be PEM"))?;
        let key = PrivateKeyDer::from_pem_slice(&read_pem(std::path::Path::new(key.expose()))?)
            .map_err(|error| tls_error(code, place, error).hint("`ssl_key` must be PEM"))?;
        let config = builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| tls_error(code, place, error).hint("`ssl_cert` and `ssl_key` must belong together"))?;
        Ok(Arc::new(config))
    }

    fn roots(&self, code: &'static str, place: &str) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.root_cert else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        };
        for cert in CertificateDer::pem_slice_iter(&read_pem(path)?) {
            let added = cert.map_err(|error| error.to_string()).and_then(|cert| roots.add(cert).map_err(|e| e.to_string()));
            added.map_err(|error| {
                tls_error(code, place, error).hint("`ssl_root_cert` must hold certificates of authorities, as PEM")
            })?;
        }
        Ok(roots)
    }
}
