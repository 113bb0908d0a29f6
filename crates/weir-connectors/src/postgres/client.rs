//! A small connection to the server, made for moving rows: a large read buffer, `COPY` in both directions without a
//! channel or a task per message, and statements with bound parameters.
//!
//! Why not `tokio-postgres` for this: it hands every row's CopyData through a channel as an allocation of its own, which costs more than
//! decoding the row. Message bodies are built by `postgres-protocol`, TLS is in `tls`.
//!
//! Not here: what the statements say. A connection whose future was dropped in the middle of an exchange refuses further use;
//! dropping the connection asks the server to cancel what it still does.

mod pipeline;
mod replication;

pub use replication::Arrived;

use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::IsNull;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_connect::{Error, Kind, Result};

use super::config::Address;
use super::errors::{ServerError, lost, protocol};
use super::tls::{self, Wire};
use crate::quiet::Switch;

const READ_BUFFER: usize = 256 * 1024;

/// Settings that make text forms independent of the server's configuration, keep long transactions alive, and end a wait for somebody's
/// lock after a minute, unless the administrator chose another limit: even the size of a table cannot be asked for while it is locked.
const SETTINGS: &str = "SET client_encoding='UTF8'; SET DateStyle='ISO, MDY'; SET IntervalStyle='postgres'; SET TimeZone='UTC'; \
     SET extra_float_digits=1; SET bytea_output='hex'; SET standard_conforming_strings=on; SET xmloption='content'; \
     SET idle_in_transaction_session_timeout=0; \
     SELECT set_config('lock_timeout', '60s', false) WHERE current_setting('lock_timeout') = '0'";

/// A row of a metadata query, as text.
#[derive(Debug, Clone)]
pub struct Row(Vec<Option<String>>);

impl Row {
    /// A column that may be NULL.
    pub fn opt(&self, index: usize) -> Option<&str> {
        self.0.get(index).and_then(Option::as_deref)
    }
    /// A column; NULL reads as the empty string.
    pub fn text(&self, index: usize) -> &str {
        self.opt(index).unwrap_or_default()
    }
    /// A boolean column.
    pub fn flag(&self, index: usize) -> bool {
        self.text(index) == "t"
    }
    /// A number; NULL and what is no number read as 0.
    pub fn int(&self, index: usize) -> i64 {
        self.text(index).parse().unwrap_or(0)
    }
}

/// A column of a described statement.
#[derive(Debug, Clone)]
pub struct ResultColumn {
    /// Name.
    pub name: String,
    /// Type.
    pub type_oid: u32,
    /// Type modifier, -1 if none.
    pub typmod: i32,
}

/// What [`Client::fetch`] found.
pub enum Payload<'a> {
    /// Bytes of a `COPY … (FORMAT binary)` stream, cut anywhere.
    Copy(&'a [u8]),
    /// One whole row of a portal, in binary format: the same layout as a `COPY` tuple.
    Row(&'a [u8]),
}

struct Frame {
    tag: u8,
    start: usize,
    end: usize,
}

/// A session.
pub struct Client {
    stream: Box<dyn Wire>,
    switch: Switch,
    address: Address,
    /// Bytes read and not yet consumed: `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    out: BytesMut,
    /// What is left of a CopyData message that is larger than the buffer.
    copy_left: usize,
    process: i32,
    secret: i32,
    /// `server_version_num`, e.g. 150018.
    pub version: u32,
    place: String,
    /// An exchange has begun and its ReadyForQuery has not been seen.
    busy: bool,
    /// The connection cannot be used any more.
    dead: bool,
}

impl Drop for Client {
    fn drop(&mut self) {
        // The server notices a closed socket only when it writes. A long sort would go on, so ask it to stop.
        if self.busy
            && !self.dead
            && self.process != 0
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (address, process, secret) = (self.address.clone(), self.process, self.secret);
            runtime.spawn(async move {
                let asked = async {
                    let mut stream = tls::open(&address, &Switch::default()).await?;
                    let mut out = BytesMut::new();
                    frontend::cancel_request(process, secret, &mut out);
                    let sent = stream.write_all(&out).await;
                    let _ = stream.shutdown().await;
                    sent.map_err(Error::from)
                };
                let _ = tokio::time::timeout(Duration::from_secs(5), asked).await;
            });
        }
    }
}

impl Client {
    /// Connects, authenticates and sets the session up.
    pub async fn connect(address: &Address) -> Result<Self> {
        let connecting = async {
            let mut client = Self::login_as_asked(address, false).await?;
            client.batch(SETTINGS).await?;
            let row = client.query("SELECT current_setting('server_version_num')", &[]).await?;
            client.version = row.first().map(|row| row.int(0)).unwrap_or(0) as u32;
            Ok(client)
        };
        Self::in_time(address, connecting).await
    }

    async fn login_as_asked(address: &Address, replication: bool) -> Result<Self> {
        match Self::login(address, replication).await {
            // `prefer`: a server that refuses TLS sessions in pg_hba.conf may accept plain ones.
            Err(error) if address.ssl_mode == super::config::SslMode::Prefer && tls::may_retry_plain(&error) => {
                let plain = Address { ssl_mode: super::config::SslMode::Disable, ..address.clone() };
                Self::login(&plain, replication).await.map_err(|_| error)
            }
            other => other,
        }
    }

    async fn in_time(address: &Address, connecting: impl Future<Output = Result<Self>>) -> Result<Self> {
        let limit = Duration::from_secs(address.connect_timeout_secs);
        tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| {
            Err(Error::new("WEIR-PG-002", Kind::Connect, "cannot reach the PostgreSQL server")
                .at(address.place())
                .because(format!("no answer within {} s", limit.as_secs()))
                .hint("check host, port and firewall, or raise `connect_timeout_secs`")
                .transient())
        })
    }

    async fn login(address: &Address, replication: bool) -> Result<Self> {
        let switch = Switch::default();
        let stream = tls::open(address, &switch).await?;
        let mut client = Self {
            stream,
            switch,
            address: address.clone(),
            buffer: vec![0; READ_BUFFER],
            start: 0,
            end: 0,
            out: BytesMut::new(),
            copy_left: 0,
            process: 0,
            secret: 0,
            version: 0,
            place: address.place(),
            busy: false,
            dead: false,
        };
        let parameters = [
            ("user", address.user.as_str()),
            ("database", address.database.as_str()),
            ("application_name", address.application_name.as_str()),
            ("client_encoding", "UTF8"),
        ];
        let parameters = parameters.into_iter().chain(replication.then_some(("replication", "database")));
        frontend::startup_message(parameters, &mut client.out).map_err(|e| client.malformed(e))?;
        client.send().await?;
        client.authenticate().await?;
        loop {
            let frame = client.frame().await?;
            match frame.tag {
                b'K' => {
                    let body = client.body(&frame);
                    let number = |at: usize| body.get(at..at + 4).and_then(|b| b.try_into().ok()).map(i32::from_be_bytes);
                    let keys = (number(0).unwrap_or(0), number(4).unwrap_or(0));
                    (client.process, client.secret) = keys;
                }
                b'Z' => return Ok(client),
                b'E' => return Err(client.server_error(&frame)),
                _ => {}
            }
        }
    }

    fn malformed(&self, error: std::io::Error) -> Error {
        protocol(&self.place, error.to_string())
    }

    async fn authenticate(&mut self) -> Result<()> {
        let password = self.address.password.clone();
        let place = self.place.clone();
        let need = || {
            password.as_ref().ok_or_else(|| {
                Error::new("WEIR-PG-003", Kind::Auth, "the server asks for a password and none is given")
                    .at(place.clone())
                    .hint("set `password`, for example to ${PGPASSWORD}")
            })
        };
        let mut scram: Option<ScramSha256> = None;
        loop {
            let frame = self.frame().await?;
            let body = self.body(&frame).to_vec();
            match frame.tag {
                b'E' => return Err(self.server_error(&frame)),
                b'R' => {}
                other => return Err(protocol(&self.place, format!("message {:?} during login", other as char))),
            }
            let kind = body.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes).unwrap_or(u32::MAX);
            let rest = body.get(4..).unwrap_or_default();
            match kind {
                0 => return Ok(()),
                3 => {
                    let secret = need()?.expose().as_bytes().to_vec();
                    frontend::password_message(&secret, &mut self.out).map_err(|e| self.malformed(e))?;
                }
                5 => {
                    let salt: [u8; 4] =
                        rest.get(..4).and_then(|b| b.try_into().ok()).ok_or_else(|| protocol(&self.place, "short salt"))?;
                    let hash = md5_hash(self.address.user.as_bytes(), need()?.expose().as_bytes(), salt);
                    frontend::password_message(hash.as_bytes(), &mut self.out).map_err(|e| self.malformed(e))?;
                }
                10 => {
                    let offered: Vec<&[u8]> = rest.split(|b| *b == 0).collect();
                    if !offered.contains(&SCRAM_SHA_256.as_bytes()) {
                        return Err(self.unsupported_login("a SASL mechanism other than SCRAM-SHA-256"));
                    }
                    let state = ScramSha256::new(need()?.expose().as_bytes(), ChannelBinding::unsupported());
                    frontend::sasl_initial_response(SCRAM_SHA_256, state.message(), &mut self.out)
                        .map_err(|e| self.malformed(e))?;
                    scram = Some(state);
                }
                11 => {
                    let state = scram.as_mut().ok_or_else(|| protocol(&self.place, "SASL out of order"))?;
                    state.update(rest).map_err(|e| protocol(&self.place, e.to_string()))?;
                    let message = state.message().to_vec();
                    frontend::sasl_response(&message, &mut self.out).map_err(|e| self.malformed(e))?;
                }
                12 => {
                    let state = scram.as_mut().ok_or_else(|| protocol(&self.place, "SASL out of order"))?;
                    // A server that does not know the password cannot sign: this is where an impostor is found out.
                    state.finish(rest).map_err(|e| {
                        Error::new("WEIR-PG-003", Kind::Auth, "the server could not prove that it knows the password")
                            .at(&self.place)
                            .because(e)
                    })?;
                    continue;
                }
                2 | 6..=9 => return Err(self.unsupported_login("GSSAPI, SSPI, Kerberos or SCM credentials")),
                other => return Err(self.unsupported_login(&format!("authentication method {other}"))),
            }
            self.send().await?;
        }
    }

    fn unsupported_login(&self, what: &str) -> Error {
        Error::new("WEIR-PG-003", Kind::Auth, format!("the server asks for {what}, which Weir does not speak"))
            .at(&self.place)
            .hint("allow scram-sha-256, md5 or password for this user in pg_hba.conf")
    }

    /// Where the server is, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Names what the session works on from now on. Errors are made here, and the place that is given to an error first stays.
    pub fn about(&mut self, subject: &str) {
        self.place = format!("{subject} in {}", self.address.place());
    }

    /// Whether the connection may serve another statement.
    pub fn usable(&self) -> bool {
        !self.dead && !self.busy
    }

    fn body(&self, frame: &Frame) -> &[u8] {
        &self.buffer[frame.start..frame.end]
    }

    fn server_error(&mut self, frame: &Frame) -> Error {
        let error = ServerError::parse(self.body(frame));
        if error.severity == "FATAL" || error.severity == "PANIC" {
            self.dead = true;
        }
        error.into_error(&self.place)
    }

    fn begin(&mut self) -> Result<()> {
        if self.dead {
            return Err(lost(&self.place, std::io::ErrorKind::NotConnected.into()));
        }
        if self.busy {
            return Err(Error::internal("a connection was used in the middle of another exchange").at(&self.place));
        }
        self.busy = true;
        self.out.clear();
        Ok(())
    }

    async fn send(&mut self) -> Result<()> {
        let sent = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        }
        .await;
        self.out.clear();
        match sent {
            Ok(()) => Ok(()),
            Err(error) => Err(self.why_lost(error).await),
        }
    }

    /// The network failed. Perhaps the server said why before it hung up.
    async fn why_lost(&mut self, error: std::io::Error) -> Error {
        let mut found = None;
        if !self.dead {
            let listen = async {
                while let Ok(frame) = self.next_frame().await {
                    if frame.tag == b'E' {
                        return Some(ServerError::parse(self.body(&frame)).into_error(&self.place));
                    }
                }
                None
            };
            found = tokio::time::timeout(Duration::from_secs(1), listen).await.ok().flatten();
        }
        self.dead = true;
        found.unwrap_or_else(|| lost(&self.place, error))
    }

    /// Reads once more into the buffer. An error of kind `UnexpectedEof` at the end of the stream.
    async fn fill(&mut self) -> std::io::Result<()> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.start > 0 && self.buffer.len() - self.end < READ_BUFFER / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            let larger = self.buffer.len() * 2;
            self.buffer.resize(larger, 0);
        }
        let count = self.stream.read(&mut self.buffer[self.end..]).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.end += count;
        Ok(())
    }

    /// Tag and body length of the next message, if its head is in the buffer.
    fn head(&self) -> Option<(u8, usize)> {
        let bytes = self.buffer[self.start..self.end].get(..5)?;
        let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
        Some((bytes[0], length.saturating_sub(4)))
    }

    async fn next_frame(&mut self) -> std::io::Result<Frame> {
        loop {
            if let Some((tag, length)) = self.head() {
                // The protocol's own limit; a larger number is garbage (for example an HTTP server's answer).
                if length > 0x4000_0000 + 0x1_0000 || !tag.is_ascii_alphanumeric() {
                    return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "not a PostgreSQL message"));
                }
                if self.end - self.start >= 5 + length {
                    let frame = Frame { tag, start: self.start + 5, end: self.start + 5 + length };
                    self.start = frame.end;
                    return Ok(frame);
                }
            }
            self.fill().await?;
        }
    }

    /// The next message that is not asynchronous chatter. The buffer holds its body until the next read.
    async fn frame(&mut self) -> Result<Frame> {
        loop {
            match self.next_frame().await {
                Ok(frame) if matches!(frame.tag, b'N' | b'S' | b'A') => {}
                Ok(frame) => return Ok(frame),
                Err(error) => {
                    self.dead = true;
                    return Err(lost(&self.place, error));
                }
            }
        }
    }

    /// Reads to ReadyForQuery; `each` sees every other message. A server error wins over one of `each`.
    async fn finish(&mut self, mut each: impl FnMut(u8, &[u8]) -> Result<()>) -> Result<()> {
        let mut failed: Option<Error> = None;
        loop {
            let frame = match self.frame().await {
                Ok(frame) => frame,
                Err(error) => return Err(failed.unwrap_or(error)),
            };
            match frame.tag {
                b'Z' => {
                    self.busy = false;
                    return failed.map_or(Ok(()), Err);
                }
                b'E' => {
                    let error = self.server_error(&frame);
                    failed.get_or_insert(error);
                }
                tag if failed.is_none() => {
                    if let Err(error) = each(tag, &self.buffer[frame.start..frame.end]) {
                        failed = Some(error);
                    }
                }
                _ => {}
            }
        }
    }

    /// Statements without parameters and results.
    pub async fn batch(&mut self, sql: &str) -> Result<()> {
        self.begin()?;
        frontend::query(sql, &mut self.out).map_err(|e| self.malformed(e))?;
        self.send().await?;
        self.finish(|_, _| Ok(())).await
    }

    fn statement(&mut self, sql: &str, parameters: &[Option<&str>], binary: bool) -> Result<()> {
        self.unsynced(sql, parameters, binary)?;
        frontend::sync(&mut self.out);
        Ok(())
    }

    fn unsynced(&mut self, sql: &str, parameters: &[Option<&str>], binary: bool) -> Result<()> {
        let place = self.place.clone();
        let bad = |why: String| protocol(&place, why);
        frontend::parse("", sql, std::iter::empty(), &mut self.out).map_err(|e| bad(e.to_string()))?;
        let bound = frontend::bind(
            "",
            "",
            std::iter::empty(),
            parameters,
            |value, out| {
                Ok(match value {
                    Some(text) => {
                        out.extend_from_slice(text.as_bytes());
                        IsNull::No
                    }
                    None => IsNull::Yes,
                })
            },
            Some(i16::from(binary)),
            &mut self.out,
        );
        bound.map_err(|_| bad("too many or too large parameters".into()))?;
        frontend::execute("", 0, &mut self.out).map_err(|e| bad(e.to_string()))
    }

    /// One statement with bound text parameters; all rows, as text.
    pub async fn query(&mut self, sql: &str, parameters: &[Option<&str>]) -> Result<Vec<Row>> {
        self.begin()?;
        self.statement(sql, parameters, false)?;
        self.send().await?;
        let place = self.place.clone();
        let mut rows = Vec::new();
        self.finish(|tag, body| {
            if tag == b'D' {
                rows.push(text_row(body).ok_or_else(|| protocol(&place, "malformed row"))?);
            }
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// One statement with bound text parameters; the number in its command tag (`INSERT 0 5` → 5) and the tag's first word.
    pub async fn execute(&mut self, sql: &str, parameters: &[Option<&str>]) -> Result<(String, u64)> {
        self.begin()?;
        self.statement(sql, parameters, false)?;
        self.send().await?;
        let mut tag = (String::new(), 0);
        self.finish(|kind, body| {
            if kind == b'C' {
                tag = command_tag(body);
            }
            Ok(())
        })
        .await?;
        Ok(tag)
    }

    /// `COMMIT`, which a server answers with `ROLLBACK` and no error when the transaction has failed before.
    pub async fn commit(&mut self) -> Result<()> {
        let (word, _) = self.execute("COMMIT", &[]).await?;
        if word == "COMMIT" {
            return Ok(());
        }
        Err(Error::new("WEIR-PG-019", Kind::Conflict, "the server rolled the transaction back").at(&self.place))
    }

    /// Parameter types and result columns of a statement, without running it.
    pub async fn describe(&mut self, sql: &str) -> Result<(Vec<u32>, Vec<ResultColumn>)> {
        self.begin()?;
        frontend::parse("", sql, std::iter::empty(), &mut self.out).map_err(|e| self.malformed(e))?;
        frontend::describe(b'S', "", &mut self.out).map_err(|e| self.malformed(e))?;
        frontend::sync(&mut self.out);
        self.send().await?;
        let place = self.place.clone();
        let (mut parameters, mut columns) = (Vec::new(), Vec::new());
        self.finish(|tag, body| {
            match tag {
                b't' => {
                    let body = body.get(2..).unwrap_or_default();
                    parameters = body.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]])).collect();
                }
                b'T' => columns = result_columns(body).ok_or_else(|| protocol(&place, "malformed row description"))?,
                _ => {}
            }
            Ok(())
        })
        .await?;
        Ok((parameters, columns))
    }

    /// Begins `COPY … TO STDOUT`; then [`Self::fetch`].
    pub async fn copy_out(&mut self, sql: &str) -> Result<()> {
        self.begin()?;
        frontend::query(sql, &mut self.out).map_err(|e| self.malformed(e))?;
        self.send().await?;
        self.expect(b'H').await
    }

    /// Begins a statement with parameters whose rows come in binary format; then [`Self::fetch`].
    pub async fn portal(&mut self, sql: &str, parameters: &[Option<&str>]) -> Result<()> {
        self.begin()?;
        self.statement(sql, parameters, true)?;
        self.send().await?;
        self.expect(b'1').await?;
        self.expect(b'2').await
    }

    async fn expect(&mut self, tag: u8) -> Result<()> {
        let frame = self.frame().await?;
        if frame.tag == tag {
            return Ok(());
        }
        if frame.tag == b'E' {
            let error = self.server_error(&frame);
            let _ = self.finish(|_, _| Ok(())).await;
            return Err(error);
        }
        self.dead = true;
        Err(protocol(&self.place, format!("message {:?} instead of {:?}", frame.tag as char, tag as char)))
    }

    /// Hands payload to `take` until it says it has enough (`true`) or the server has no more. Returns whether there may be more.
    /// After an error of `take` the connection is not usable.
    pub async fn fetch(&mut self, mut take: impl FnMut(Payload<'_>) -> Result<bool>) -> Result<bool> {
        loop {
            // Everything that is in the buffer, without looking at the network.
            loop {
                if self.copy_left > 0 {
                    let count = self.copy_left.min(self.end - self.start);
                    if count == 0 {
                        break;
                    }
                    let part = &self.buffer[self.start..self.start + count];
                    self.start += count;
                    self.copy_left -= count;
                    if take(Payload::Copy(part))? {
                        return Ok(true);
                    }
                    continue;
                }
                let Some((tag, length)) = self.head() else { break };
                let whole = self.end - self.start >= 5 + length;
                if tag == b'd' && !whole && length > self.buffer.len() / 4 {
                    // Larger than fits well: pass it on in parts instead of growing the buffer.
                    self.start += 5;
                    self.copy_left = length;
                    continue;
                }
                if !whole || !matches!(tag, b'd' | b'D') {
                    break;
                }
                let body = &self.buffer[self.start + 5..self.start + 5 + length];
                self.start += 5 + length;
                let enough = if tag == b'd' { take(Payload::Copy(body))? } else { take(Payload::Row(body))? };
                if enough {
                    return Ok(true);
                }
            }
            match self.head() {
                Some((tag, length))
                    if self.copy_left == 0 && !matches!(tag, b'd' | b'D') && self.end - self.start >= 5 + length =>
                {
                    let frame = self.frame().await?;
                    match frame.tag {
                        b'E' => {
                            let error = self.server_error(&frame);
                            let _ = self.finish(|_, _| Ok(())).await;
                            return Err(error);
                        }
                        b'Z' => {
                            self.busy = false;
                            return Ok(false);
                        }
                        b'd' | b'D' => self.start = frame.start - 5,
                        _ => {}
                    }
                }
                _ => {
                    if let Err(error) = self.fill().await {
                        self.dead = true;
                        return Err(lost(&self.place, error));
                    }
                }
            }
        }
    }

    /// Begins `COPY … FROM STDIN`; then [`Self::copy_data`] and [`Self::copy_done`].
    pub async fn copy_in(&mut self, sql: &str) -> Result<()> {
        self.begin()?;
        frontend::query(sql, &mut self.out).map_err(|e| self.malformed(e))?;
        self.send().await?;
        self.expect(b'G').await
    }

    /// Sends a piece of the copy stream. `message` begins with five bytes of room for the head. Notices an error of the server
    /// between two pieces, so that a refused copy does not go on for gigabytes.
    pub async fn copy_data(&mut self, message: &mut [u8]) -> Result<()> {
        let length = u32::try_from(message.len() - 1).map_err(|_| Error::internal("a copy message over 4 GiB"))?;
        message[0] = b'd';
        message[1..5].copy_from_slice(&length.to_be_bytes());
        if let Err(error) = self.stream.write_all(message).await {
            return Err(self.why_lost(error).await);
        }
        // The future is dropped when nothing is there: reads of these streams lose no bytes then.
        let arrived = {
            let mut reading = std::pin::pin!(self.fill());
            futures::poll!(reading.as_mut())
        };
        match arrived {
            std::task::Poll::Pending => Ok(()),
            std::task::Poll::Ready(Err(error)) => {
                self.dead = true;
                Err(lost(&self.place, error))
            }
            std::task::Poll::Ready(Ok(())) => {
                while let Some((tag, length)) = self.head() {
                    if tag == b'E' || self.end - self.start < 5 + length {
                        break;
                    }
                    self.start += 5 + length;
                }
                if self.head().is_some_and(|(tag, _)| tag == b'E') {
                    let frame = self.frame().await?;
                    let error = self.server_error(&frame);
                    let _ = self.finish(|_, _| Ok(())).await;
                    return Err(error);
                }
                Ok(())
            }
        }
    }

    /// Ends a copy; the rows that the server took.
    pub async fn copy_done(&mut self) -> Result<u64> {
        self.out.clear();
        frontend::copy_done(&mut self.out);
        self.send().await?;
        let mut rows = 0;
        self.finish(|tag, body| {
            if tag == b'C' {
                rows = command_tag(body).1;
            }
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// Says goodbye; errors do not matter any more.
    pub async fn close(mut self) {
        if self.usable() {
            self.out.clear();
            frontend::terminate(&mut self.out);
            let _ = self.send().await;
        }
        self.dead = true;
    }
}

fn command_tag(body: &[u8]) -> (String, u64) {
    let text = String::from_utf8_lossy(body.strip_suffix(&[0]).unwrap_or(body)).into_owned();
    let number = text.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
    (text.split(' ').next().unwrap_or_default().to_string(), number)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn text_row(mut body: &[u8]) -> Option<Row> {
    let count = u16::from_be_bytes(take(&mut body)?);
    let mut cells = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let length = i32::from_be_bytes(take(&mut body)?);
        match usize::try_from(length) {
            Err(_) => cells.push(None),
            Ok(length) => {
                let (cell, rest) = body.split_at_checked(length)?;
                cells.push(Some(String::from_utf8_lossy(cell).into_owned()));
                body = rest;
            }
        }
    }
    Some(Row(cells))
}

fn result_columns(mut body: &[u8]) -> Option<Vec<ResultColumn>> {
    let count = u16::from_be_bytes(take(&mut body)?);
    let mut columns = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let end = body.iter().position(|byte| *byte == 0)?;
        let name = String::from_utf8_lossy(&body[..end]).into_owned();
        body = &body[end + 1..];
        take::<6>(&mut body)?;
        let type_oid = u32::from_be_bytes(take(&mut body)?);
        take::<2>(&mut body)?;
        let typmod = i32::from_be_bytes(take(&mut body)?);
        take::<2>(&mut body)?;
        columns.push(ResultColumn { name, type_oid, typmod });
    }
    Some(columns)
}
