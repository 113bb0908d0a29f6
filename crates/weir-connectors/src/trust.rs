//! The TLS of brokers: the options of a connection as a configuration of rustls.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use weir_connect::{Error, Kind, Result, Secret};

use crate::certificates::{Lenient, placed, read_pem};

/// What a connection says of TLS.
pub(crate) struct Trust<'a> {
    /// Where relative paths start.
    pub base: &'a Path,
    /// Authorities to trust; `None`: those of the system.
    pub root_cert: Option<&'a Path>,
    /// The client's certificate.
    pub cert: Option<&'a Path>,
    /// Its key: a path, or the PEM text itself.
    pub key: Option<&'a Secret>,
    /// Whether the server's certificate is checked.
    pub verify: bool,
    /// The name that the certificate must have, where the client is given an address in its place.
    pub name: Option<&'a str>,
}

fn refused(what: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-TLS-001", Kind::Spec, what.to_owned()).because(why)
}

impl Trust<'_> {
    /// The configuration.
    ///
    /// # Errors
    /// `WEIR-TLS-001`: a file that cannot be read or is no PEM of the right kind.
    pub(crate) fn config(&self) -> Result<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| refused("this build of Weir has no TLS", error))?;
        let verifier: Arc<dyn ServerCertVerifier> = if self.verify {
            let strict = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), provider)
                .build()
                .map_err(|error| refused("there is no authority to trust; give one as `ssl_root_cert`", error))?;
            match self.name {
                None => strict,
                Some(name) => {
                    let name = ServerName::try_from(name.to_owned())
                        .map_err(|error| refused("the host is no name that a certificate can have", error))?;
                    Arc::new(Named { name, strict })
                }
            }
        } else {
            Arc::new(Lenient { provider, chain: None })
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let (Some(cert), Some(key)) = (self.cert, self.key) else { return Ok(builder.with_no_client_auth()) };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read_pem(&placed(self.base, cert))?)
            .collect::<Result<_, _>>()
            .map_err(|error| refused("`ssl_cert` is no PEM", error))?;
        let key = PrivateKeyDer::from_pem_slice(&read_pem(&placed(self.base, Path::new(key.expose())))?)
            .map_err(|error| refused("`ssl_key` is no PEM", error))?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| refused("`ssl_cert` and `ssl_key` do not belong together", error))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let Some(path) = self.root_cert else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        };
        for cert in CertificateDer::pem_slice_iter(&read_pem(&placed(self.base, path))?) {
            let cert = cert.map_err(|error| refused("`ssl_root_cert` is no PEM", error))?;
            roots.add(cert).map_err(|error| refused("`ssl_root_cert` has no certificates of authorities", error))?;
        }
        Ok(roots)
    }
}

/// Checks against a name of its own, whatever name the client has connected to.
#[derive(Debug)]
struct Named {
    name: ServerName<'static>,
    strict: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.strict.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}
