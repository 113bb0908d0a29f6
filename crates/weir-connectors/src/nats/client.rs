//! Connections: where to, as whom, and what a server says while they are open.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{Client, ConnectOptions, Event, ServerError};
use url::Url;
use weir_connect::{Error, Kind, Result, Secret, guard};

use super::config::ConnectionOptions;
use super::errors::{shown, unreachable};
use crate::certificates::read_pem;
use crate::trust::Trust;

/// Messages that may wait in a subscription: more than one request asks for, so that none is ever thrown away.
const WAITING: usize = 65_536;

/// A connection, not yet made.
#[derive(Debug, Clone)]
pub struct Address {
    options: ConnectionOptions,
    base_dir: PathBuf,
}

/// A connection that is open.
#[derive(Debug, Clone)]
pub struct Link {
    /// The client; it connects again by itself.
    pub client: Client,
    /// Its servers, for messages.
    place: String,
    patience: Duration,
    domain: Option<String>,
    /// What a server last complained about. Refusals of single subjects come this way only.
    said: Arc<Mutex<Option<String>>>,
}

impl Address {
    /// By its options.
    pub fn new(options: ConnectionOptions, base_dir: PathBuf) -> Result<Self> {
        options.validate()?;
        Ok(Self { options, base_dir })
    }

    /// The servers, for messages.
    pub fn place(&self) -> &str {
        self.options.servers.trim()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.options.connect_timeout_secs.unwrap_or(20).max(1))
    }

    /// Connects. Where the process has limits, names are resolved once, here, and the client is given addresses that it may connect to; it is not
    /// told of other servers of the cluster then.
    pub async fn connect(&self) -> Result<Link> {
        let (servers, name) = self.servers().await?;
        let said = Arc::new(Mutex::new(None));
        let heard = said.clone();
        let mut options = ConnectOptions::new()
            .name("weir")
            .connection_timeout(self.patience())
            .request_timeout(Some(self.patience()))
            .subscription_capacity(WAITING)
            .require_tls(self.options.encrypted())
            .tls_client_config(self.trust(name.as_deref()).config()?)
            .event_callback(move |event| {
                let heard = heard.clone();
                async move {
                    tracing::debug!(target: "weir::nats", "{event}");
                    let complaint = match &event {
                        Event::ServerError(ServerError::Other(text)) => Some(text.clone()),
                        Event::ServerError(other) => Some(other.to_string()),
                        _ => None,
                    };
                    if complaint.is_some() {
                        *heard.lock().unwrap_or_else(PoisonError::into_inner) = complaint;
                    }
                }
            });
        if name.is_some() || !guard::current().is_open() {
            options = options.ignore_discovered_servers();
        }
        options = self.identify(options)?;
        let client = options.connect(servers).await.map_err(|error| self.refused(&error))?;
        Ok(Link { client, place: self.place().to_owned(), patience: self.patience(), domain: self.options.domain.clone(), said })
    }

    /// The addresses to connect to, and the name that a certificate must have if they do not show it.
    async fn servers(&self) -> Result<(Vec<String>, Option<String>)> {
        let urls = self.options.urls()?;
        let guard = guard::current();
        if guard.is_open() {
            return Ok((urls.iter().map(Url::to_string).collect(), None));
        }
        let (mut servers, mut names) = (Vec::new(), Vec::new());
        for url in &urls {
            let (host, port) = (url.host_str().unwrap_or_default(), url.port().unwrap_or(4222));
            let found = guard.resolve(host, port).await.map_err(|error| unreachable(self.place(), error))?;
            let found = found.map_err(|error| error.at(self.place().to_owned()))?;
            servers.extend(found.iter().map(|address| format!("{}://{address}", url.scheme())));
            names.push(host.trim_matches(['[', ']']).to_owned());
        }
        names.dedup();
        match names.len() {
            1 => Ok((servers, names.pop())),
            _ => Err(Error::new("WEIR-NATS-008", Kind::Unsupported, "the platform lets pipelines name one server only")
                .because(
                    "its network policy checks the address of each connection, and certificates are checked against one name",
                )
                .at(self.place().to_owned())
                .hint("name one server, or a name that stands for all of them")),
        }
    }

    fn trust<'a>(&'a self, name: Option<&'a str>) -> Trust<'a> {
        Trust {
            base: &self.base_dir,
            root_cert: self.options.ssl_root_cert.as_deref(),
            cert: self.options.ssl_cert.as_deref(),
            key: self.options.ssl_key.as_ref(),
            verify: self.options.verify_tls != Some(false),
            name,
        }
    }

    fn identify(&self, options: ConnectOptions) -> Result<ConnectOptions> {
        let given = &self.options;
        if let (Some(user), Some(password)) = (&given.user, &given.password) {
            return Ok(options.user_and_password(user.clone(), password.expose().to_owned()));
        }
        if let Some(token) = &given.token {
            return Ok(options.token(token.expose().to_owned()));
        }
        if let Some(seed) = &given.nkey_seed {
            return Ok(options.nkey(seed.expose().trim().to_owned()));
        }
        match &given.credentials {
            Some(credentials) => {
                let text = self.text_of(credentials)?;
                // The cause would show the text.
                options.credentials(&text).map_err(|_| {
                    Error::new("WEIR-NATS-001", Kind::Spec, "`credentials` is no credentials file")
                        .hint("it has the user's JWT and seed between lines of dashes, as `nsc generate creds` writes it")
                })
            }
            None => Ok(options),
        }
    }

    fn text_of(&self, credentials: &Secret) -> Result<String> {
        let given = credentials.expose();
        let bytes = match given.contains("-----BEGIN ") {
            true => given.as_bytes().to_vec(),
            false => read_pem(&self.base_dir.join(Path::new(given)))?,
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn refused(&self, error: &async_nats::ConnectError) -> Error {
        use async_nats::ConnectErrorKind as Failed;
        let place = self.place();
        match error.kind() {
            Failed::Tls => Error::new("WEIR-NATS-002", Kind::Connect, "the encrypted connection cannot be made")
                .at(place)
                .because(weir_error::chain(error))
                .hint("give the authority of the server's certificate as `ssl_root_cert`; the certificate must name the host"),
            Failed::Authentication | Failed::AuthorizationViolation => {
                Error::new("WEIR-NATS-003", Kind::Auth, "the server refuses the credentials")
                    .at(place)
                    .because(weir_error::chain(error))
                    .hint("check `user` and `password`, `token`, `nkey_seed` or `credentials`")
            }
            _ if weir_error::chain(error).contains("certificate") => {
                Error::new("WEIR-NATS-002", Kind::Connect, "the encrypted connection cannot be made")
                    .at(place)
                    .because(weir_error::chain(error))
                    .hint("give the authority of the server's certificate as `ssl_root_cert`; the certificate must name the host")
            }
            _ => unreachable(place, weir_error::chain(error)),
        }
    }
}

impl Link {
    /// JetStream over this connection.
    pub fn jetstream(&self) -> Context {
        self.jetstream_with(self.patience)
    }

    /// JetStream whose server may take so long to confirm a message.
    pub fn jetstream_with(&self, patience: Duration) -> Context {
        let builder = ContextBuilder::new();
        match &self.domain {
            Some(domain) => builder.domain(domain.clone()).timeout(patience).build(self.client.clone()),
            None => builder.timeout(patience).build(self.client.clone()),
        }
    }

    /// An error of the client, with what the server has said about it.
    pub fn shown(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).take();
        match said {
            Some(said) if said.to_ascii_lowercase().contains("violation") => shown(&std::io::Error::other(said), &self.place),
            _ => shown(error, &self.place),
        }
    }

    /// How often it was connected so far; `None`: it is not now.
    pub fn connects(&self) -> Option<u64> {
        let up = self.client.connection_state() == async_nats::connection::State::Connected;
        up.then(|| self.client.statistics().connects.load(std::sync::atomic::Ordering::Relaxed))
    }

    /// The servers, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }
}
