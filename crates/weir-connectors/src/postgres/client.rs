//! Connections: parameters, TLS, and the server's errors in our words.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_postgres::config::SslMode as WireSsl;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use weir_connect::{Error, Kind, Result};

use super::config::{PostgresConnection, SslMode};

/// Everything needed to open connections. Cheap to clone.
#[derive(Clone)]
pub struct Connect {
    config: Config,
    ssl: SslMode,
    root_cert: Option<String>,
    /// `host:port/database`, for messages.
    pub place: String,
}

impl Connect {
    /// Reads the options; connects to nothing.
    pub fn new(options: &PostgresConnection) -> Result<Self> {
        let mut ssl = options.ssl_mode;
        let mut config = match &options.url {
            Some(url) => {
                let text = url.expose().strip_prefix("jdbc:").unwrap_or(url.expose());
                let (text, mode) = take_ssl_mode(text);
                if ssl.is_none() {
                    ssl = mode.as_deref().map(parse_ssl).transpose()?;
                }
                text.parse::<Config>().map_err(|error| {
                    // The parser's message may repeat parts of the URL, and with them the password.
                    let why = weir_connect::Error::internal("").caused_by(error).why().unwrap_or_default().to_owned();
                    let why = if url.expose().contains('@') {
                        "it has not the form postgresql://user:password@host:port/database".to_owned()
                    } else {
                        why
                    };
                    Error::new("WEIR-PG-004", Kind::Spec, "`url` is not a PostgreSQL URL").because(why)
                })?
            }
            None => Config::new(),
        };
        if let Some(host) = &options.host {
            config.host(host);
        }
        if let Some(port) = options.port {
            config.port(port);
        }
        if let Some(database) = &options.database {
            config.dbname(database);
        }
        if let Some(user) = &options.user {
            config.user(user);
        }
        if let Some(password) = &options.password {
            config.password(password.expose());
        }
        if config.get_hosts().is_empty() {
            return Err(Error::new("WEIR-PG-005", Kind::Spec, "the connection names no host")
                .hint("give `url`, or `host`, `database`, `user` and `password`"));
        }
        if config.get_user().is_none() {
            config.user("postgres");
        }
        config.application_name("weir");
        config.connect_timeout(Duration::from_secs(options.connect_timeout_secs.unwrap_or(10)));
        config.keepalives_idle(Duration::from_secs(30));
        let ssl = ssl.unwrap_or(SslMode::Prefer);
        config.ssl_mode(match ssl {
            SslMode::Disable => WireSsl::Disable,
            SslMode::Prefer => WireSsl::Prefer,
            _ => WireSsl::Require,
        });
        let host = match config.get_hosts().first() {
            Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
            _ => "socket".into(),
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let place = format!("{host}:{port}/{}", config.get_dbname().unwrap_or_default());
        Ok(Self { config, ssl, root_cert: options.ssl_root_cert.clone(), place })
    }

    /// A new connection with the session settings that exact reading and writing rest on.
    pub async fn open(&self) -> Result<Client> {
        let client = match self.ssl {
            SslMode::Disable => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(|error| self.explain(error))?;
                tokio::spawn(drive(connection, self.place.clone()));
                client
            }
            _ => {
                let connector = MakeRustlsConnect::new(self.tls()?);
                let (client, connection) = self.config.connect(connector).await.map_err(|error| self.explain(error))?;
                tokio::spawn(drive(connection, self.place.clone()));
                client
            }
        };
        // One text form for every value, whatever the server's defaults; and no limit cuts a long read.
        client
            .batch_execute(
                "SET client_encoding = 'UTF8'; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres';
                 SET extra_float_digits = 3; SET bytea_output = 'hex'; SET statement_timeout = 0;
                 SET idle_in_transaction_session_timeout = 0; SET lock_timeout = 0",
            )
            .await
            .map_err(|error| self.explain(error))?;
        Ok(client)
    }

    fn tls(&self) -> Result<rustls::ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal("TLS cannot be set up").caused_by(error))?;
        if matches!(self.ssl, SslMode::Prefer | SslMode::Require) {
            let verifier = Arc::new(AnyCertificate(provider));
            return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
        }
        let mut roots = rustls::RootCertStore::empty();
        match &self.root_cert {
            Some(path) => {
                use rustls_pki_types::pem::PemObject;
                let unreadable = |why: String| {
                    Error::new("WEIR-PG-006", Kind::Spec, "`ssl_root_cert` cannot be read").at(path.clone()).because(why)
                };
                for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))? {
                    let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
                    roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if self.ssl == SslMode::VerifyCa {
            let inner = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(
                |error| Error::new("WEIR-PG-006", Kind::Spec, "no certificate authority to verify with").because(error),
            )?;
            return Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(inner))).with_no_client_auth());
        }
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// A driver error as ours: kind and retry by SQLSTATE, the server's message, detail and hint kept.
    pub fn explain(&self, error: tokio_postgres::Error) -> Error {
        explain(error).at(self.place.clone())
    }
}

async fn drive<S, T>(connection: tokio_postgres::Connection<S, T>, place: String)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    // The client sees the same error on its next call; here it is only for the log.
    if let Err(error) = connection.await {
        tracing::debug!("connection to {place} ended: {error}");
    }
}

/// Takes `sslmode` out of a URL: the driver knows fewer words than we do.
fn take_ssl_mode(url: &str) -> (String, Option<String>) {
    let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let mut mode = None;
    let rest: Vec<&str> = query
        .split('&')
        .filter(|pair| match pair.split_once('=') {
            Some(("sslmode", value)) => {
                mode = Some(value.to_owned());
                false
            }
            _ => true,
        })
        .collect();
    (if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) }, mode)
}

fn parse_ssl(word: &str) -> Result<SslMode> {
    Ok(match word.replace('-', "_").as_str() {
        "disable" => SslMode::Disable,
        "allow" | "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify_ca" => SslMode::VerifyCa,
        "verify_full" => SslMode::VerifyFull,
        _ => {
            return Err(Error::new("WEIR-PG-007", Kind::Spec, format!("sslmode `{word}` is unknown"))
                .hint("disable, prefer, require, verify-ca or verify-full"));
        }
    })
}

/// A driver error as ours, without a place.
pub fn explain(error: tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        let text = weir_error_chain(&error);
        let closed = error.is_closed()
            || text.contains("connection closed")
            || text.contains("reset by peer")
            || text.contains("unexpected EOF")
            || text.contains("Broken pipe");
        let built = if text.contains("TLS") || text.contains("certificate") || text.contains("tls") {
            Error::new("WEIR-PG-012", Kind::Connect, "the encrypted connection could not be made")
                .hint("check ssl_mode and ssl_root_cert")
        } else if closed {
            Error::new("WEIR-PG-011", Kind::Connect, "the connection to PostgreSQL was lost").transient()
        } else if text.contains("connect") || text.contains("timed out") || text.contains("lookup") {
            Error::new("WEIR-PG-010", Kind::Connect, "PostgreSQL cannot be reached")
                .hint("check host, port and that the server runs")
        } else {
            Error::new("WEIR-PG-020", Kind::Data, "talking to PostgreSQL failed")
        };
        return built.because(text);
    };
    let code = db.code().code().to_owned();
    let mut why = format!("{} (SQLSTATE {code})", db.message());
    if let Some(detail) = db.detail() {
        why.push_str(": ");
        why.push_str(detail);
    }
    let hint = db.hint().map(str::to_owned);
    let (id, kind, what, transient): (_, _, _, bool) = match code.as_str() {
        "28P01" | "28000" => ("WEIR-PG-013", Kind::Auth, "PostgreSQL refused the credentials", false),
        "3D000" => ("WEIR-PG-014", Kind::NotFound, "the database does not exist", false),
        "42501" => ("WEIR-PG-015", Kind::Privilege, "a privilege is missing", false),
        "42P01" | "42703" | "3F000" => ("WEIR-PG-016", Kind::NotFound, "a table, column or schema does not exist", false),
        "53300" | "57P03" | "57P01" | "57P02" | "57P05" => ("WEIR-PG-017", Kind::Connect, "the server is not available", true),
        "40001" | "40P01" | "55P03" => ("WEIR-PG-018", Kind::Conflict, "another transaction was in the way", true),
        "53100" => ("WEIR-PG-019", Kind::Io, "the server's disk is full", false),
        "42601" => ("WEIR-PG-021", Kind::Spec, "this is not SQL that PostgreSQL understands", false),
        state if state.starts_with("08") => ("WEIR-PG-011", Kind::Connect, "the connection to PostgreSQL was lost", true),
        state if state.starts_with("22") => ("WEIR-PG-022", Kind::Data, "PostgreSQL refused a value", false),
        state if state.starts_with("23") => ("WEIR-PG-023", Kind::Data, "a constraint refused a row", false),
        _ => ("WEIR-PG-020", Kind::Data, "PostgreSQL refused the statement", false),
    };
    let mut built = Error::new(id, kind, what).because(why);
    if let Some(hint) = hint {
        built = built.hint(hint);
    } else if kind == Kind::Auth {
        built = built.hint("check user and password, and pg_hba.conf on the server");
    }
    if transient { built.transient() } else { built }
}

fn weir_error_chain(error: &tokio_postgres::Error) -> String {
    weir_error::chain(error)
}

/// Accepts any certificate: `require` asks for encryption only, as libpq does.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Verifies the chain, not the name.
#[derive(Debug)]
struct AnyName(Arc<rustls::client::WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                rustls::CertificateError::NotValidForName | rustls::CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
