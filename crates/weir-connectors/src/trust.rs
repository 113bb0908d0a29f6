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

/// A TLS session that could not be set up; `code` is the connector's own.
#[cfg(any(feature = "rabbitmq", feature = "redis"))]
pub(crate) fn unsettled(code: &'static str, place: &str, why: impl std::fmt::Display) -> Error {
    Error::new(code, Kind::Connect, "the TLS session could not be set up")
        .at(place)
        .because(why)
        .hint("give the authority of the server's certificate as `ssl_root_cert`; the certificate must name `host`")
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

#[cfg(test)]
#[cfg(all(feature = "mqtt", feature = "nats"))]
mod tests {
    //! Brokers under a guard, which is for the whole process and for good: each test runs in a process of its own (nextest does that).

    use std::net::IpAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::{Value, json};
    use weir_connect::guard::{self, Files, Policy, scripted};
    use weir_connect::{OnLoss, SourceContext};
    use weir_testkit::mqtt::Door;

    use super::*;
    use crate::registry::registry;

    fn guarded(allow: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        guard::install(Files::Below(root.path().to_owned()), Policy::public_and(&[allow.to_owned()]).unwrap()).unwrap();
        root
    }

    async fn streams(kind: &str, connection: Value, options: Value) -> Result<usize> {
        let context = SourceContext { connection, options, on_loss: OnLoss::default(), parallelism: 1, base_dir: ".".into() };
        Ok(registry().get(kind).unwrap().source(context).await?.streams().await?.len())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_name_that_changes_its_address_leads_to_no_inner_broker() {
        let _root = guarded("127.0.0.2");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, met) = (listener.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
        let count = met.clone();
        std::thread::spawn(move || {
            for _ in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let (allowed, private): (IpAddr, IpAddr) = ("127.0.0.2".parse().unwrap(), "127.0.0.1".parse().unwrap());
        for turns in 0..4 {
            let connections = [
                (
                    "nats",
                    json!({"servers": format!("nats://rebind.test:{port}"), "connect_timeout_secs": 2}),
                    json!({"stream": "S"}),
                ),
                (
                    "mqtt",
                    json!({"host": "rebind.test", "port": port, "connect_timeout_secs": 2}),
                    json!({"topic": "a", "client_id": "c"}),
                ),
            ];
            for (kind, connection, options) in connections {
                // Good for a while, then inside.
                scripted::name("rebind.test", (0..turns).map(|_| allowed).chain([private]));
                let checked = registry().get(kind).unwrap().check(&connection).await;
                assert!(!checked.is_ok_and(|report| report.ok()), "{kind} has reached something");
                assert!(streams(kind, connection, options).await.is_err(), "{kind}");
                assert!(scripted::asked("rebind.test") > 0, "{kind} resolves names past the guard");
            }
        }
        assert_eq!(met.load(Ordering::SeqCst), 0, "an inner server was met");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn under_a_guard_the_certificate_is_checked_against_the_name_and_not_the_address() {
        let tls = "tls { cert_file: \"{tls}/server.crt\", key_file: \"{tls}/server.key\", timeout: 5 }\n";
        let (nats, mosquitto) =
            (weir_testkit::Nats::start_with(tls).unwrap(), weir_testkit::Mosquitto::start(Door::Tls).unwrap());
        let pem = |path: Option<std::path::PathBuf>| std::fs::read_to_string(path.unwrap()).unwrap();
        let (of_nats, of_mqtt) = (pem(nats.authority()), pem(mosquitto.authority()));
        let _root = guarded("127.0.0.1");
        // `127.0.0.1` is in the certificates, so an address in the name's place would be let in.
        for (host, good) in [("localhost", true), ("other.test", false)] {
            scripted::name(host, ["127.0.0.1".parse().unwrap()]);
            let connections = [
                ("nats", json!({"servers": format!("tls://{host}:{}", nats.port()), "ssl_root_cert": of_nats})),
                ("mqtt", json!({"host": host, "port": mosquitto.port(), "ssl_root_cert": of_mqtt})),
            ];
            for (kind, connection) in connections {
                let report = registry().get(kind).unwrap().check(&connection).await.unwrap();
                assert_eq!(report.ok(), good, "{kind} at {host}: {report:?}");
            }
        }
    }
}
