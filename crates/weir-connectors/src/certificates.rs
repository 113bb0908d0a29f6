//! What the TLS of all database connectors has in common: PEM options, and a verifier that looks at less than everything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use weir_connect::{Error, Result};

/// Whether an option holds the PEM text itself instead of a path.
fn is_pem_text(given: &Path) -> bool {
    given.to_str().is_some_and(|text| text.contains("-----BEGIN "))
}

/// A relative path starts at the base; PEM text is no path.
pub(crate) fn placed(base: &Path, pem: &Path) -> PathBuf {
    if is_pem_text(pem) { pem.to_owned() } else { base.join(pem) }
}

/// The bytes of a PEM option: the text itself, or a file that the guard lets be read.
pub(crate) fn read_pem(path: &Path) -> Result<Vec<u8>> {
    if is_pem_text(path) {
        return Ok(path.to_string_lossy().into_owned().into_bytes());
    }
    let path = weir_connect::guard::current().file(path)?;
    std::fs::read(&path).map_err(|error| Error::from(error).at(path.display().to_string()))
}

/// Checks the chain but not the name (`verify_ca`), or nothing (`require`, `prefer`). Signatures are always checked.
#[derive(Debug)]
pub(crate) struct Lenient {
    pub provider: Arc<CryptoProvider>,
    pub chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last, after the chain was found good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
