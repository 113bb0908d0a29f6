//! One connection to a broker: made under the guard of this process, packets in and out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_connect::{Error, Result, guard};

use super::config::ConnectionOptions;
use super::errors::{lost, refused, tls, unreachable};
use super::packet::{self, Connect, Incoming, Limits, Version};
use crate::trust::Trust;

/// What packets go through.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A broker, not yet connected to.
#[derive(Debug, Clone)]
pub struct Address {
    options: ConnectionOptions,
    base_dir: PathBuf,
}

/// What a client asks for when it connects.
#[derive(Debug, Clone)]
pub struct Hello {
    /// The session's name.
    pub client_id: String,
    /// Forget the session that there was.
    pub clean: bool,
    /// Seconds within which the broker hears from us; 0: never mind.
    pub keep_alive_secs: u16,
    /// How long the session outlives the connection.
    pub session_expiry_secs: u32,
    /// Messages that may be unacknowledged.
    pub receive_maximum: u16,
}

impl Hello {
    /// A guest for a moment, without a session.
    pub fn guest() -> Self {
        // Brokers of 3.1.1 need not take names of more than 23 letters.
        let name = uuid::Uuid::new_v4().simple().to_string();
        Self {
            client_id: format!("weir{}", &name[..19]),
            clean: true,
            keep_alive_secs: 0,
            session_expiry_secs: 0,
            receive_maximum: u16::MAX,
        }
    }
}

/// A connection that is open.
pub struct Connection {
    wire: Box<dyn Wire>,
    input: BytesMut,
    version: Version,
    largest: usize,
    place: String,
    /// The broker knew us.
    pub session: bool,
    /// What it allows.
    pub limits: Limits,
}

impl Address {
    /// By its options.
    pub fn new(options: ConnectionOptions, base_dir: PathBuf) -> Result<Self> {
        options.validate()?;
        Ok(Self { options, base_dir })
    }

    /// The broker, for messages.
    pub fn place(&self) -> String {
        format!("{}:{}", self.options.host, self.port())
    }

    fn port(&self) -> u16 {
        self.options.port.unwrap_or(if self.options.encrypted() { 8883 } else { 1883 })
    }

    /// How long a broker may take to answer.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.options.connect_timeout_secs.unwrap_or(20).max(1))
    }

    /// The protocol's version.
    pub fn version(&self) -> Version {
        self.options.version()
    }

    /// Connects and waits for the broker's welcome. `largest`: packets may have so many bytes.
    pub async fn connect(&self, hello: &Hello, largest: usize) -> Result<Connection> {
        let place = self.place();
        let opened = tokio::time::timeout(self.patience(), async {
            let wire = self.open().await?;
            self.welcome(wire, hello, largest).await
        });
        opened.await.map_err(|_| unreachable(&place, format!("nothing was heard for {} s", self.patience().as_secs())))?
    }

    /// A name is resolved once, and only addresses that the guard allows are connected to.
    async fn open(&self) -> Result<Box<dyn Wire>> {
        let (place, host) = (self.place(), self.options.host.trim());
        let found = guard::current().resolve(host, self.port()).await.map_err(|error| unreachable(&place, error))?;
        let found = found.map_err(|error| error.at(place.clone()))?;
        let stream = TcpStream::connect(found.as_slice()).await.map_err(|error| unreachable(&place, error))?;
        stream.set_nodelay(true).map_err(|error| unreachable(&place, error))?;
        if !self.options.encrypted() {
            return Ok(Box::new(stream));
        }
        let trust = Trust {
            base: &self.base_dir,
            root_cert: self.options.ssl_root_cert.as_deref(),
            cert: self.options.ssl_cert.as_deref().map(Path::new),
            key: self.options.ssl_key.as_ref(),
            verify: self.options.verify_tls != Some(false),
            name: None,
        };
        let bare = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(bare).map_err(|error| tls(&place, error))?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(trust.config()?));
        let encrypted = connector.connect(name, stream).await.map_err(|error| {
            // It went away in the middle: that says nothing about certificates.
            let gone = [std::io::ErrorKind::UnexpectedEof, std::io::ErrorKind::ConnectionReset, std::io::ErrorKind::BrokenPipe];
            if gone.contains(&error.kind()) { unreachable(&place, error) } else { tls(&place, weir_error::chain(&error)) }
        })?;
        Ok(Box::new(encrypted))
    }

    async fn welcome(&self, wire: Box<dyn Wire>, hello: &Hello, largest: usize) -> Result<Connection> {
        let none = Limits { receive_maximum: u16::MAX, packet_bytes: u32::MAX, qos: 2, retain: true, keep_alive_secs: None };
        let mut connection = Connection {
            wire,
            input: BytesMut::new(),
            version: self.version(),
            largest,
            place: self.place(),
            session: false,
            limits: none,
        };
        let mut out = BytesMut::new();
        let given = Connect {
            client_id: &hello.client_id,
            clean: hello.clean,
            keep_alive_secs: hello.keep_alive_secs,
            session_expiry_secs: hello.session_expiry_secs,
            receive_maximum: hello.receive_maximum,
            user: self.options.user.as_deref(),
            password: self.options.password.as_ref().map(|password| password.expose()),
        };
        packet::connect(&mut out, self.version(), &given);
        connection.send(&mut out).await?;
        match connection.next().await? {
            Incoming::Connected { code: 0, session, limits } => {
                connection.session = session;
                connection.limits = limits;
                Ok(connection)
            }
            Incoming::Connected { code, .. } => Err(refused(&connection.place, code)),
            Incoming::Disconnect(code) => Err(refused(&connection.place, code)),
            other => Err(connection.nonsense(&format!("{other:?} in place of a welcome"))),
        }
    }
}

impl Connection {
    /// The protocol's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The broker, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The next packet. May be given up and asked for again at any point: nothing is lost.
    pub async fn next(&mut self) -> Result<Incoming> {
        loop {
            if let Some(packet) =
                packet::read(&mut self.input, self.version, self.largest).map_err(|error| self.nonsense(&error.0))?
            {
                return Ok(packet);
            }
            self.input.reserve(16 << 10);
            match self.wire.read_buf(&mut self.input).await {
                Ok(0) => return Err(lost(&self.place, "the broker closed it")),
                Ok(_) => {}
                Err(error) => return Err(lost(&self.place, error)),
            }
        }
    }

    /// Sends what was written, and empties it. Must be waited for to its end.
    pub async fn send(&mut self, out: &mut BytesMut) -> Result<()> {
        let sent = async {
            self.wire.write_all(out).await?;
            self.wire.flush().await
        };
        sent.await.map_err(|error| lost(&self.place, error))?;
        out.clear();
        Ok(())
    }

    /// Says goodbye. `forget`: the session ends with it.
    pub async fn close(mut self, forget: bool) {
        let mut out = BytesMut::new();
        packet::disconnect(&mut out, self.version, forget);
        let goodbye = async {
            self.send(&mut out).await?;
            self.wire.shutdown().await.map_err(Error::from)
        };
        // Nobody is left to be told.
        let _gone = tokio::time::timeout(Duration::from_secs(2), goodbye).await;
    }

    fn nonsense(&self, what: &str) -> Error {
        Error::new("WEIR-MQTT-013", weir_connect::Kind::Data, "the broker sends what is not understood")
            .at(self.place.clone())
            .because(what)
            .hint("check that the port speaks MQTT, `protocol_version`, and `max_message_bytes`")
    }
}
