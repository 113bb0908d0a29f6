//! The connection: an address that the guard allows, TLS on top, and somebody who listens to what the broker says of it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use lapin::tcp::{AsyncTcpStream, RustlsConnector};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Channel, Connection, ConnectionProperties, Event};
use weir_connect::{Result, guard};

use super::config::ConnectionOptions;
use super::errors::{not_connected, shown, unreachable};
use crate::trust::Trust;

/// A connection, not yet made.
#[derive(Debug, Clone)]
pub struct Address {
    options: ConnectionOptions,
    base_dir: PathBuf,
}

impl Address {
    /// By its options.
    pub fn new(options: ConnectionOptions, base_dir: PathBuf) -> Result<Self> {
        options.validate()?;
        Ok(Self { options, base_dir })
    }

    fn host(&self) -> &str {
        self.options.host.as_deref().unwrap_or("localhost")
    }

    fn port(&self) -> u16 {
        self.options.port.unwrap_or(if self.options.encrypted() { 5671 } else { 5672 })
    }

    /// The virtual host.
    pub fn virtual_host(&self) -> &str {
        self.options.virtual_host.as_deref().unwrap_or("/")
    }

    /// `host:port`, for messages.
    pub fn place(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }

    /// How long the broker may take to answer.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.options.connect_timeout_secs.unwrap_or(20).max(1))
    }

    /// Connects and signs in. The name is resolved once, and only addresses that the guard allows are connected to.
    pub async fn connect(&self) -> Result<Link> {
        let place = self.place();
        let connecting = tokio::time::timeout(self.patience(), self.open());
        connecting.await.map_err(|_| unreachable(&place, format!("no connection within {} s", self.patience().as_secs())))?
    }

    async fn open(&self) -> Result<Link> {
        let (place, options) = (self.place(), &self.options);
        let found = guard::current().resolve(self.host(), self.port()).await.map_err(|error| unreachable(&place, error))?;
        let found = found.map_err(|error| error.at(place.clone()))?;
        let tls = match options.encrypted() {
            false => None,
            true => {
                let trust = Trust {
                    base: &self.base_dir,
                    root_cert: options.ssl_root_cert.as_deref(),
                    cert: options.ssl_cert.as_deref(),
                    key: options.ssl_key.as_ref(),
                    verify: options.verify_tls.unwrap_or(true),
                    name: None,
                };
                Some(RustlsConnector::from(Arc::new(trust.config().map_err(|error| error.at(place.clone()))?)))
            }
        };
        let uri = AMQPUri {
            scheme: if tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: options.user.clone().unwrap_or_else(|| "guest".into()),
                    password: options.password.as_ref().map_or_else(|| "guest".into(), |password| password.expose().to_owned()),
                },
                host: self.host().to_owned(),
                port: self.port(),
            },
            vhost: self.virtual_host().to_owned(),
            query: AMQPQueryString { heartbeat: Some(options.heartbeat_secs.unwrap_or(30)), ..AMQPQueryString::default() },
        };
        let host = self.host().trim_matches(['[', ']']).to_owned();
        let properties = ConnectionProperties::default().with_connection_name("weir".into());
        let runtime = lapin::runtime::default_runtime().map_err(|error| not_connected(&error, &place))?;
        let connection = Connection::connector(
            uri,
            runtime,
            async move |_uri, runtime| {
                // Resolved and checked above; nobody resolves again.
                let plain = AsyncTcpStream::connect(&runtime, found.clone()).await?;
                if let AsyncTcpStream::Plain(socket) = &plain {
                    socket.get_ref().set_nodelay(true)?;
                }
                Ok(match &tls {
                    Some(tls) => plain.into_rustls(tls, &host).await?,
                    None => plain,
                })
            },
            properties,
        )
        .await
        .map_err(|error| not_connected(&error, &place))?;
        let blocked = Arc::default();
        tokio::spawn(listen(connection.events_listener(), place.clone(), Arc::clone(&blocked)));
        Ok(Link { connection, blocked, place, patience: self.patience() })
    }
}

/// Tells when the broker stops taking messages, and when it goes on. Ends with the connection.
async fn listen(events: impl futures::Stream<Item = Event>, place: String, blocked: Arc<Mutex<Option<String>>>) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let mut reason = blocked.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::ConnectionBlocked(why) => {
                tracing::warn!(target: "weir::rabbitmq", "the broker at {place} takes no messages for now: {why}");
                *reason = Some(why);
            }
            Event::ConnectionUnblocked => {
                tracing::info!(target: "weir::rabbitmq", "the broker at {place} takes messages again");
                *reason = None;
            }
            Event::Error(error) => tracing::debug!(target: "weir::rabbitmq", "{place}: {error}"),
            _ => {}
        }
    }
}

/// A connection, made. Dropping it closes it; what was not acknowledged goes back to its queue.
pub struct Link {
    connection: Connection,
    blocked: Arc<Mutex<Option<String>>>,
    place: String,
    patience: Duration,
}

impl Link {
    /// A new channel.
    pub async fn channel(&self) -> Result<Channel> {
        let place = &self.place;
        let made = tokio::time::timeout(self.patience, self.connection.create_channel()).await;
        made.map_err(|_| unreachable(place, "no answer to the opening of a channel"))?.map_err(|error| shown(&error, place))
    }

    /// How many channels the connection may have.
    pub fn most_channels(&self) -> usize {
        match self.connection.configuration().channel_max() {
            0 => usize::from(u16::MAX),
            most => usize::from(most),
        }
    }

    /// Whether it is still there, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// Why the broker takes no messages, if it does not.
    pub fn blocked(&self) -> Option<String> {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long the broker may take to answer.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Closes it and waits until it is. One that is gone already is closed.
    pub async fn close(&self) {
        let closing = tokio::time::timeout(self.patience, self.connection.close(200, "OK".into())).await;
        if let Ok(Err(error)) = closing {
            tracing::debug!(target: "weir::rabbitmq", "{}: {error}", self.place);
        }
    }
}
