//! The connection: an address that the guard allows, TLS on top, and the commands that are asked of the server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, RedisConnectionInfo, RedisResult, Value};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use weir_connect::{Result, guard};

use super::config::ConnectionOptions;
use super::entries::Id;
use super::errors::{is_missing, shown, unexpected, unreachable};
use crate::trust::{Trust, unsettled};

const TLS: &str = "WEIR-REDIS-008";
/// How long a reader lets the server wait for an entry before it says that there is none.
pub const BLOCK: Duration = Duration::from_secs(1);

/// A connection, not yet made.
#[derive(Debug, Clone)]
pub struct Address {
    options: ConnectionOptions,
    base_dir: PathBuf,
}

/// What a session talks through.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

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
        self.options.port.unwrap_or(6379)
    }

    /// `host:port`, for messages.
    pub fn place(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }

    /// How long the server may take to answer.
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
        let place = self.place();
        let found = guard::current().resolve(self.host(), self.port()).await.map_err(|error| unreachable(&place, error))?;
        let found = found.map_err(|error| error.at(place.clone()))?;
        let stream = TcpStream::connect(found.as_slice()).await.map_err(|error| unreachable(&place, error))?;
        stream.set_nodelay(true).map_err(|error| unreachable(&place, error))?;
        let stream: Box<dyn Wire> =
            if self.options.encrypted() { Box::new(self.encrypt(stream).await?) } else { Box::new(stream) };
        let mut info =
            RedisConnectionInfo::default().set_db(i64::from(self.options.database.unwrap_or(0))).set_skip_set_lib_name();
        if let Some(user) = &self.options.user {
            info = info.set_username(user);
        }
        if let Some(password) = &self.options.password {
            info = info.set_password(password.expose());
        }
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.patience() + BLOCK));
        let (inner, driver) =
            MultiplexedConnection::new_with_config(&info, stream, config).await.map_err(|error| shown(&error, &place))?;
        // It ends with the last handle of the connection.
        tokio::spawn(driver);
        Ok(Link { inner, place })
    }

    async fn encrypt(&self, stream: TcpStream) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let place = self.place();
        let trust = Trust {
            base: &self.base_dir,
            root_cert: self.options.ssl_root_cert.as_deref(),
            cert: self.options.ssl_cert.as_deref(),
            key: self.options.ssl_key.as_ref(),
            verify: self.options.verify_tls.unwrap_or(true),
            name: None,
        };
        let name =
            ServerName::try_from(self.host().to_owned()).map_err(|error| unsettled(TLS, &place, error).hint("check `host`"))?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(trust.config().map_err(|error| error.at(place.clone()))?));
        connector.connect(name, stream).await.map_err(|error| match error.kind() {
            // It went away in the middle: that says nothing about certificates.
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => {
                unreachable(&place, error)
            }
            _ => unsettled(TLS, &place, weir_error::chain(&error)),
        })
    }
}

/// What the server says of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// Entries that are there.
    pub length: u64,
    /// The highest id that was ever given.
    pub last: Id,
    /// The oldest entry that is there.
    pub first: Option<Id>,
    /// Entries that were ever added; Redis before 7 does not count them.
    pub added: Option<u64>,
}

impl Facts {
    /// Out of the answer to `XINFO STREAM`.
    pub fn parse(value: &Value) -> Option<Self> {
        let mut facts = Self::default();
        let pairs: Vec<(&Value, &Value)> = match value {
            Value::Array(items) => items.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect(),
            Value::Map(pairs) => pairs.iter().map(|(name, value)| (name, value)).collect(),
            _ => return None,
        };
        for (name, value) in pairs {
            match (text(name)?.as_str(), value) {
                ("length", Value::Int(length)) => facts.length = u64::try_from(*length).ok()?,
                ("entries-added", Value::Int(added)) => facts.added = Some(u64::try_from(*added).ok()?),
                ("last-generated-id", id) => facts.last = Id::parse(&text(id)?)?,
                ("first-entry", Value::Array(entry)) => facts.first = Some(Id::parse(&text(entry.first()?)?)?),
                _ => {}
            }
        }
        Some(facts)
    }
}

/// A text in an answer.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

/// A connection, made. After an error of the network it is of no use any more.
#[derive(Clone)]
pub struct Link {
    inner: MultiplexedConnection,
    place: String,
}

impl Link {
    /// One command.
    pub async fn ask<T: FromRedisValue>(&mut self, command: &Cmd, place: &str) -> Result<T> {
        command.query_async(&mut self.inner).await.map_err(|error| shown(&error, place))
    }

    /// Several commands, with their answers as they are.
    pub async fn send(&mut self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        commands.query_async(&mut self.inner).await
    }

    /// The server's version.
    pub async fn version(&mut self) -> Result<String> {
        let place = self.place.clone();
        let said: String = self.ask(redis::cmd("INFO").arg("server"), &place).await?;
        let version = said.lines().find_map(|line| line.trim().strip_prefix("redis_version:")).unwrap_or("unknown");
        Ok(format!("Redis {version}"))
    }

    /// The keys of streams that a pattern matches, sorted.
    pub async fn streams(&mut self, pattern: &str) -> Result<Vec<String>> {
        let (mut cursor, mut found) = (0u64, Vec::new());
        let place = self.place.clone();
        loop {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1000).arg("TYPE").arg("stream");
            let (next, keys): (u64, Vec<Vec<u8>>) = self.ask(&command, &place).await?;
            for key in keys {
                // A name that is no text cannot be written in a pipeline either.
                found.extend(String::from_utf8(key).ok());
            }
            if next == 0 {
                found.sort_unstable();
                found.dedup();
                return Ok(found);
            }
            cursor = next;
        }
    }

    /// What a consumer group of a stream was given last; `None`: there is no such group.
    pub async fn group(&mut self, key: &str, group: &str) -> Result<Option<Id>> {
        let answer: Value = self.ask(redis::cmd("XINFO").arg("GROUPS").arg(key), key).await?;
        let Value::Array(groups) = answer else { return Err(unexpected(key, "XINFO GROUPS")) };
        for told in &groups {
            let member = |wanted: &str| -> Option<String> {
                match told {
                    Value::Array(items) => {
                        let found = items.chunks_exact(2).find(|pair| text(&pair[0]).as_deref() == Some(wanted));
                        found.and_then(|pair| text(&pair[1]))
                    }
                    Value::Map(pairs) => {
                        let found = pairs.iter().find(|(name, _)| text(name).as_deref() == Some(wanted));
                        found.and_then(|(_, value)| text(value))
                    }
                    _ => None,
                }
            };
            if member("name").as_deref() == Some(group) {
                let id = member("last-delivered-id").and_then(|id| Id::parse(&id));
                return id.map(Some).ok_or_else(|| unexpected(key, "XINFO GROUPS"));
            }
        }
        Ok(None)
    }

    /// Sets the place of a consumer group, which is made if it is missing. `counted`: entries up to there, of all that were ever added.
    pub async fn set_group(&mut self, key: &str, group: &str, id: Id, counted: Option<u64>) -> Result<()> {
        let command = |verb: &str| {
            let mut command = redis::cmd("XGROUP");
            command.arg(verb).arg(key).arg(group).arg(id.to_string());
            if let Some(counted) = counted {
                command.arg("ENTRIESREAD").arg(counted);
            }
            command
        };
        let set: RedisResult<Value> = command("SETID").query_async(&mut self.inner).await;
        match set {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("NOGROUP") => self.ask::<Value>(&command("CREATE"), key).await.map(drop),
            Err(error) => Err(shown(&error, key)),
        }
    }

    /// What the server says of a stream; `None`: there is no such key.
    pub async fn facts(&mut self, key: &str) -> Result<Option<Facts>> {
        let asked: RedisResult<Value> = redis::cmd("XINFO").arg("STREAM").arg(key).query_async(&mut self.inner).await;
        match asked {
            Ok(value) => Facts::parse(&value).map(Some).ok_or_else(|| unexpected(key, "XINFO STREAM")),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(shown(&error, key)),
        }
    }
}
