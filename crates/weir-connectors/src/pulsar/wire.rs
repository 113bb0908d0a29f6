//! One connection to one broker: commands out, commands and messages in. It has one owner, who drives it by asking; nothing runs beside it.
//!
//! The crate `pulsar` gives the commands and the frame (checksums included). Its own client is not used: it numbers messages by itself, opens its own
//! sockets, puts no bound on what it holds, and knows no chunks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pulsar::message::proto::base_command::Type;
use pulsar::message::proto::{
    AuthData, BaseCommand, CommandAuthResponse, CommandConnect, CommandPing, CommandPong, FeatureFlags,
};
use pulsar::message::{Codec, Message, Payload};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::Instant;
use tokio_util::codec::{Decoder, Encoder};
use weir_connect::{Kind, Result, Secret};

use super::errors::{garbled, told, unreachable};
use super::oauth::Oauth;
use super::tls::Wire;

/// Silence after which the other side is asked whether it is there; as much again, and it is not.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// What a broker takes as a message unless it says otherwise (`maxMessageSize`).
const MESSAGE_BYTES: usize = 5 << 20;
/// What a frame has besides its message.
const FRAME_MORE: usize = 1 << 20;
/// What is asked of the socket at once.
const READ_BYTES: usize = 64 << 10;
/// The protocol's version that is spoken: acknowledgements are confirmed since 17.
const PROTOCOL: i32 = 19;

/// Who we say we are.
#[derive(Clone)]
pub struct Login {
    /// Name of the method: `token`, `basic`, `tls`; empty: none.
    pub method: &'static str,
    /// What proves it.
    pub proof: Proof,
}

/// What proves who we are.
#[derive(Clone)]
pub enum Proof {
    /// It stays the same.
    Fixed(Secret),
    /// A token that is fetched, and anew before it expires.
    Fetched(Arc<Oauth>),
}

impl Login {
    /// The proof as it is now. Safe to give up on.
    pub async fn data(&self) -> Result<Secret> {
        match &self.proof {
            Proof::Fixed(data) => Ok(data.clone()),
            Proof::Fetched(oauth) => oauth.token().await,
        }
    }
}

/// What a message takes in memory, roughly.
fn size_of_message(message: &Message) -> usize {
    512 + message.payload.as_ref().map_or(0, |payload| payload.data.len())
}

/// A connection on which the broker has answered the greeting.
pub struct Connection {
    reader: ReadHalf<Box<dyn Wire>>,
    writer: WriteHalf<Box<dyn Wire>>,
    /// Not yet understood.
    inbox: BytesMut,
    /// Not yet sent.
    outbox: BytesMut,
    /// Sent, but perhaps not on its way.
    unflushed: bool,
    /// Came while something else was waited for.
    ahead: VecDeque<Message>,
    /// Bytes of the messages in it.
    ahead_bytes: usize,
    heard: Instant,
    /// Since when an answer to our asking is waited for.
    asked: Option<Instant>,
    next_request: u64,
    login: Login,
    /// The broker wants to see the credentials again, and has not been shown them yet.
    owed: bool,
    place: String,
    /// The largest message that the broker takes, in bytes, with its metadata.
    pub max_message_bytes: usize,
}

impl Connection {
    /// Greets. `proxy_to` is the broker that a proxy shall put us through to.
    pub async fn greet(wire: Box<dyn Wire>, login: &Login, proxy_to: Option<String>, place: String) -> Result<Self> {
        let (reader, writer) = tokio::io::split(wire);
        let mut connection = Self {
            reader,
            writer,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            unflushed: false,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            heard: Instant::now(),
            asked: None,
            next_request: 0,
            login: login.clone(),
            owed: false,
            place,
            max_message_bytes: MESSAGE_BYTES,
        };
        let none = login.method.is_empty();
        let data = login.data().await?;
        connection.send(BaseCommand {
            r#type: Type::Connect as i32,
            connect: Some(CommandConnect {
                client_version: concat!("weir-", env!("CARGO_PKG_VERSION")).to_owned(),
                auth_method_name: Some(if none { "none" } else { login.method }.to_owned()),
                auth_data: (!none).then(|| data.expose().as_bytes().to_vec()),
                protocol_version: Some(PROTOCOL),
                proxy_to_broker_url: proxy_to,
                feature_flags: Some(FeatureFlags { supports_auth_refresh: Some(true), ..FeatureFlags::default() }),
                ..CommandConnect::default()
            }),
            ..BaseCommand::default()
        })?;
        let answer = connection.receive().await?.command;
        match (answer.connected, answer.error) {
            (Some(connected), _) => {
                if let Some(bytes) =
                    connected.max_message_size.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes > 0)
                {
                    connection.max_message_bytes = bytes;
                }
                Ok(connection)
            }
            (None, Some(error)) => {
                let error = told(error.error, &error.message, &connection.place);
                if let (Proof::Fetched(oauth), Kind::Auth) = (&login.proof, error.kind()) {
                    oauth.refused(&data);
                }
                Err(error)
            }
            _ => Err(garbled(&connection.place, "the answer to the greeting is none")),
        }
    }

    /// Where this goes, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// A number for a request.
    pub fn number(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }

    /// Bytes that wait to be sent.
    pub fn unsent(&self) -> usize {
        self.outbox.len()
    }

    /// Puts a command into the outbox; it leaves with the next thing that waits.
    pub fn send(&mut self, command: BaseCommand) -> Result<()> {
        self.put(Message { command, payload: None })
    }

    /// Puts a command with a message into the outbox.
    pub fn send_payload(&mut self, command: BaseCommand, payload: Payload) -> Result<()> {
        self.put(Message { command, payload: Some(payload) })
    }

    fn put(&mut self, message: Message) -> Result<()> {
        Codec.encode(message, &mut self.outbox).map_err(|error| garbled(&self.place, error))
    }

    /// Sends until not more than `most` bytes wait. Safe to give up on.
    pub async fn drain(&mut self, most: usize) -> Result<()> {
        while self.outbox.len() > most || (most == 0 && self.unflushed) {
            self.turn().await?;
        }
        Ok(())
    }

    /// The next thing that the broker says; waits as long as the connection lives. Safe to give up on.
    pub async fn receive(&mut self) -> Result<Message> {
        match self.kept() {
            Some(message) => Ok(message),
            None => self.fresh().await,
        }
    }

    /// What has come already.
    pub fn at_hand(&mut self) -> Result<Option<Message>> {
        match self.kept() {
            Some(message) => Ok(Some(message)),
            None => self.understood(),
        }
    }

    /// Keeps the connection alive while its owner does something else: answers, and takes what comes up to `most` bytes. Never ends but by an
    /// error. Safe to give up on.
    pub async fn tend(&mut self, most: usize) -> Result<()> {
        while self.ahead_bytes < most {
            let message = self.fresh().await?;
            self.keep(message);
        }
        std::future::pending().await
    }

    fn keep(&mut self, message: Message) {
        self.ahead_bytes += size_of_message(&message);
        self.ahead.push_back(message);
    }

    fn kept(&mut self) -> Option<Message> {
        let message = self.ahead.pop_front()?;
        self.ahead_bytes -= size_of_message(&message);
        Some(message)
    }

    /// Sends a request and waits for the answer that `is_it` picks; what comes before that is kept for [`Self::receive`].
    pub async fn ask<T>(
        &mut self,
        request: BaseCommand,
        number: u64,
        is_it: impl Fn(&mut BaseCommand) -> Option<T>,
    ) -> Result<T> {
        self.send(request)?;
        loop {
            let mut message = self.fresh().await?;
            if let Some(answer) = is_it(&mut message.command) {
                return Ok(answer);
            }
            if let Some(error) = message.command.error.as_ref().filter(|error| error.request_id == number) {
                return Err(told(error.error, &error.message, &self.place));
            }
            self.keep(message);
        }
    }

    async fn fresh(&mut self) -> Result<Message> {
        loop {
            if let Some(message) = self.understood()? {
                return Ok(message);
            }
            self.turn().await?;
        }
    }

    /// Sends something, reads something, or finds the other side silent.
    async fn turn(&mut self) -> Result<()> {
        if self.owed {
            self.prove().await?;
        }
        let Self { reader, writer, inbox, outbox, unflushed, .. } = self;
        if inbox.capacity() - inbox.len() < READ_BYTES / 4 {
            inbox.reserve(READ_BYTES);
        }
        let waits = !outbox.is_empty() || *unflushed;
        let write = async {
            if outbox.is_empty() { writer.flush().await.map(|()| None) } else { writer.write_buf(outbox).await.map(Some) }
        };
        // Counted from the asking: while the owner did something else nobody listened.
        let due = self.asked.unwrap_or(self.heard) + KEEP_ALIVE;
        tokio::select! {
            read = reader.read_buf(inbox) => match read {
                Ok(0) => return Err(unreachable(&self.place, "the broker closed the connection")),
                Ok(_) => (self.heard, self.asked) = (Instant::now(), None),
                Err(error) => return Err(unreachable(&self.place, error)),
            },
            written = write, if waits => match written {
                Ok(Some(0)) => return Err(unreachable(&self.place, "the broker closed the connection")),
                Ok(more) => self.unflushed = more.is_some(),
                Err(error) => return Err(unreachable(&self.place, error)),
            },
            () = tokio::time::sleep_until(due) => {
                if self.asked.is_some() {
                    return Err(unreachable(&self.place, format!("no answer within {} s", KEEP_ALIVE.as_secs())));
                }
                self.asked = Some(Instant::now());
                self.send(BaseCommand {
                    r#type: Type::Ping as i32,
                    ping: Some(CommandPing::default()),
                    ..BaseCommand::default()
                })?;
            }
        }
        Ok(())
    }

    /// A whole frame out of the inbox, if there is one; what concerns the connection alone is answered here.
    fn understood(&mut self) -> Result<Option<Message>> {
        loop {
            let Some(size) = self.inbox.first_chunk::<4>().map(|size| u32::from_be_bytes(*size) as usize) else {
                return Ok(None);
            };
            let most = self.max_message_bytes + FRAME_MORE;
            if size > most {
                return Err(garbled(&self.place, format!("a frame of {size} bytes; at most {most} are possible")));
            }
            if self.inbox.len() < size + 4 {
                self.inbox.reserve(size + 4 - self.inbox.len());
                return Ok(None);
            }
            let mut frame = self.inbox.split_to(size + 4);
            let message = Codec
                .decode(&mut frame)
                .map_err(|error| garbled(&self.place, error))?
                .ok_or_else(|| garbled(&self.place, "a frame that is not whole"))?;
            if message.command.ping.is_some() {
                self.send(BaseCommand {
                    r#type: Type::Pong as i32,
                    pong: Some(CommandPong::default()),
                    ..BaseCommand::default()
                })?;
            } else if message.command.pong.is_some() {
            } else if message.command.auth_challenge.is_some() {
                self.owed = true;
            } else {
                return Ok(Some(message));
            }
        }
    }

    /// The broker wants to see the credentials again.
    async fn prove(&mut self) -> Result<()> {
        let proof = self.login.data().await?;
        let data = AuthData {
            auth_method_name: Some(self.login.method.to_owned()),
            auth_data: Some(proof.expose().as_bytes().to_vec()),
        };
        self.owed = false;
        self.send(BaseCommand {
            r#type: Type::AuthResponse as i32,
            auth_response: Some(CommandAuthResponse {
                client_version: Some(concat!("weir-", env!("CARGO_PKG_VERSION")).to_owned()),
                response: Some(data),
                protocol_version: Some(PROTOCOL),
            }),
            ..BaseCommand::default()
        })
    }
}
