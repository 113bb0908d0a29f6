//! A session, made for moving rows: statements with bound parameters whose binary rows are handed out where they lie in the read buffer, and
//! `LOAD DATA LOCAL INFILE` fed by us.
//!
//! Why not `mysql_async` for this: it makes a `Value`, usually an allocation, of every cell of every row. Password scrambles come
//! from `mysql_common`; TLS is in `tls`, the login in `login`.
//!
//! Not here: what the statements say. A session whose future was dropped in the middle of an exchange refuses further use;
//! dropping it asks the server to stop what it still does.

use std::time::Duration;

use weir_connect::{Error, Kind, Result};

use super::config::Address;
use super::errors::{ServerError, protocol};
use super::login::{self, DEPRECATE_EOF};
use super::tls;
use super::wire::{Frame, HEAD, Packets, Reader, put_text};

const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;
const COM_PREPARE: u8 = 0x16;
const COM_EXECUTE: u8 = 0x17;
const COM_CLOSE: u8 = 0x19;
const MORE_RESULTS: u16 = 8;

/// Types in column definitions and parameters.
pub mod kind {
    #![allow(missing_docs)]
    pub const DECIMAL: u8 = 0;
    pub const TINY: u8 = 1;
    pub const SHORT: u8 = 2;
    pub const LONG: u8 = 3;
    pub const FLOAT: u8 = 4;
    pub const DOUBLE: u8 = 5;
    pub const NULL: u8 = 6;
    pub const TIMESTAMP: u8 = 7;
    pub const LONGLONG: u8 = 8;
    pub const INT24: u8 = 9;
    pub const DATE: u8 = 10;
    pub const TIME: u8 = 11;
    pub const DATETIME: u8 = 12;
    pub const YEAR: u8 = 13;
    pub const BIT: u8 = 16;
    pub const JSON: u8 = 245;
    pub const NEWDECIMAL: u8 = 246;
    pub const VAR_STRING: u8 = 253;
    pub const GEOMETRY: u8 = 255;
}

/// Family and number of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// MariaDB, not MySQL.
    pub maria: bool,
    /// `80033`, `101119`.
    pub number: u32,
    /// As the server says it.
    pub text: String,
}

impl Version {
    fn parse(text: &str) -> Self {
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0).min(99));
        let mut part = || parts.next().unwrap_or(0);
        let number = part() * 10_000 + part() * 100 + part();
        Self { maria: text.contains("MariaDB"), number, text: text.to_string() }
    }

    /// The collation for tables of ours: every character and blank counts.
    pub fn exact_collation(&self) -> &'static str {
        if self.maria { "utf8mb4_nopad_bin" } else { "utf8mb4_0900_bin" }
    }
}

/// A bound parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    /// NULL.
    Null,
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    UInt(u64),
    /// A double.
    Double(f64),
    /// Text.
    Text(String),
    /// Digits that must not become a double.
    Decimal(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Self::Text(text.to_string())
    }
}

impl From<String> for Param {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Param {
    fn from(number: u64) -> Self {
        Self::UInt(number)
    }
}

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
    /// A number; NULL and what is no number read as 0.
    pub fn int(&self, index: usize) -> i64 {
        self.text(index).parse().unwrap_or(0)
    }
    /// An unsigned number; NULL and what is none read as 0.
    pub fn uint(&self, index: usize) -> u64 {
        self.text(index).parse().unwrap_or(0)
    }
}

/// A column of a result, as the server defines it.
#[derive(Debug, Clone, Default)]
pub struct ResultColumn {
    /// Name.
    pub name: String,
    /// See [`kind`].
    pub kind: u8,
    /// 63 = bytes.
    pub charset: u16,
    /// Largest length in bytes.
    pub length: u32,
    /// Bits: 1 not null, 32 unsigned, 256 enum, 2048 set.
    pub flags: u16,
    /// Digits after the point.
    pub decimals: u8,
}

/// How a statement without rows ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Done {
    /// Rows changed.
    pub affected: u64,
    /// Warnings; `SHOW WARNINGS` has them until the next statement.
    pub warnings: u16,
}

enum Answer {
    Done(Done, bool),
    Columns(u64),
    File,
}

/// A session.
pub struct Client {
    packets: Packets,
    address: Address,
    /// The server.
    pub version: Version,
    thread: u32,
    capabilities: u32,
    statement: Option<u32>,
    /// What errors name as their place.
    place: String,
    /// An exchange has begun and its end has not been seen.
    busy: bool,
    /// The statement of the exchange reads the catalogue.
    catalogue: bool,
    dead: bool,
}

impl Drop for Client {
    fn drop(&mut self) {
        // The server notices a closed socket only when it writes. A long sort would go on, so ask it to stop.
        // Not in the middle of a question to the catalogue: MariaDB (10.11.19 among others) may crash when a session is killed while it makes
        // the temporary table for one (`ha_maria::drop_table`). They are short.
        if self.busy
            && !self.dead
            && !self.catalogue
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (address, thread) = (self.address.clone(), self.thread);
            runtime.spawn(async move {
                let asked = async {
                    let mut other = Client::connect(&address).await?;
                    other.batch(&format!("KILL {thread}")).await?;
                    other.close().await;
                    Ok::<_, Error>(())
                };
                let _ = tokio::time::timeout(Duration::from_secs(5), asked).await;
            });
        }
    }
}

impl Client {
    /// Connects, authenticates and sets the session up: UTC, UTF-8, no limits on long reads, strict writes.
    pub async fn connect(address: &Address) -> Result<Self> {
        let limit = Duration::from_secs(address.connect_timeout_secs);
        let connecting = async {
            let mut packets = Packets::new(tls::open(address).await?, address.place());
            let greeting = login::login(&mut packets, address).await?;
            let mut client = Self {
                packets,
                address: address.clone(),
                version: Version::parse(&greeting.version),
                thread: greeting.thread,
                capabilities: greeting.capabilities,
                statement: None,
                place: address.place(),
                busy: false,
                catalogue: false,
                dead: false,
            };
            let limits = if client.version.maria { "max_statement_time = 0" } else { "max_execution_time = 0" };
            client
                .batch(
                    "SET NAMES utf8mb4, time_zone = '+00:00', autocommit = 1, sql_safe_updates = 0, \
                     sql_select_limit = 18446744073709551615, net_write_timeout = 86400, net_read_timeout = 86400, wait_timeout = 86400, \
                     lock_wait_timeout = 60, \
                     sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO'",
                )
                .await?;
            if client.version.maria || client.version.number >= 50_708 {
                client.batch(&format!("SET SESSION {limits}")).await?;
            }
            if !client.version.maria && client.version.number >= 80_000 {
                // Sizes of tables as they are, not as they were yesterday.
                client.batch("SET SESSION information_schema_stats_expiry = 0").await?;
            }
            Ok(client)
        };
        match tokio::time::timeout(limit, connecting).await {
            Ok(done) => done,
            Err(_) => Err(Error::new("WEIR-MY-002", Kind::Connect, "the MySQL server does not answer")
                .at(address.place())
                .because(format!("no login within {} s", limit.as_secs()))
                .hint("check host, port and firewalls, or raise `connect_timeout_secs`")
                .transient()),
        }
    }

    /// Where errors happen from now on.
    pub fn about(&mut self, place: &str) {
        self.place = place.to_string();
    }

    /// The server's place, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    fn begin(&mut self) -> Result<()> {
        if self.dead || self.busy {
            return Err(Error::new("WEIR-MY-004", Kind::Connect, "the connection cannot be used any more")
                .at(self.place.clone())
                .because("an earlier exchange was not finished")
                .transient());
        }
        self.busy = true;
        self.packets.begin();
        Ok(())
    }

    async fn command(&mut self, code: u8, body: &[u8]) -> Result<()> {
        self.begin()?;
        if matches!(code, COM_QUERY | COM_PREPARE) {
            self.catalogue = asks_the_catalogue(body);
        }
        let mut message = Vec::with_capacity(HEAD + 1 + body.len());
        message.extend_from_slice(&[0; HEAD]);
        message.push(code);
        message.extend_from_slice(body);
        let sent = self.packets.send(&mut message).await;
        self.dead = sent.is_err();
        sent
    }

    async fn next(&mut self) -> Result<Frame> {
        match self.packets.next().await {
            Ok(frame) => Ok(frame),
            Err(error) => {
                self.dead = true;
                let place = self.place.clone();
                Err(error.at(place))
            }
        }
    }

    fn broken(&mut self, what: &str) -> Error {
        self.dead = true;
        protocol(&self.place, what)
    }

    /// An ERR packet ends the exchange; the session goes on.
    fn refused(&mut self, frame: Frame) -> Error {
        self.busy = false;
        ServerError::parse(self.packets.body(frame)).into_error(&self.place)
    }

    async fn answer(&mut self) -> Result<Answer> {
        let frame = self.next().await?;
        let body = self.packets.body(frame);
        match body.first() {
            Some(0xff) => Err(self.refused(frame)),
            Some(0xfb) => Ok(Answer::File),
            Some(0) => {
                let Some((done, more)) = ok_packet(body) else { return Err(self.broken("a cut OK packet")) };
                self.busy = more;
                Ok(Answer::Done(done, more))
            }
            _ => match Reader(body).length() {
                Some(columns) => Ok(Answer::Columns(columns)),
                None => Err(self.broken("no answer to a statement")),
            },
        }
    }

    async fn columns(&mut self, count: u64) -> Result<Vec<ResultColumn>> {
        let mut columns = Vec::new();
        for _ in 0..count {
            let frame = self.next().await?;
            match column(self.packets.body(frame)) {
                Some(column) => columns.push(column),
                None => return Err(self.broken("a column without definition")),
            }
        }
        if count > 0 && self.capabilities & DEPRECATE_EOF == 0 {
            self.next().await?;
        }
        Ok(columns)
    }

    /// Whether a frame ends the rows; then also whether another result follows.
    fn end_of_rows(&self, frame: Frame) -> Option<bool> {
        let body = self.packets.body(frame);
        if body.first() != Some(&0xfe) || body.len() >= 0xff_ffff {
            return None;
        }
        let more = if self.capabilities & DEPRECATE_EOF == 0 {
            body.get(3..5).map(|status| u16::from_le_bytes([status[0], status[1]]) & MORE_RESULTS != 0)
        } else {
            ok_packet(body).map(|(_, more)| more)
        };
        Some(more.unwrap_or(false))
    }

    async fn skip_rows(&mut self) -> Result<bool> {
        loop {
            let frame = self.next().await?;
            if self.packets.body(frame).first() == Some(&0xff) {
                return Err(self.refused(frame));
            }
            if let Some(more) = self.end_of_rows(frame) {
                self.busy = more;
                return Ok(more);
            }
        }
    }

    /// Runs one statement without parameters and throws its rows away.
    pub async fn batch(&mut self, sql: &str) -> Result<Done> {
        self.command(COM_QUERY, sql.as_bytes()).await?;
        loop {
            match self.answer().await? {
                Answer::Done(done, false) => return Ok(done),
                Answer::Done(_, true) => {}
                Answer::Columns(count) => {
                    self.columns(count).await?;
                    if !self.skip_rows().await? {
                        return Ok(Done::default());
                    }
                }
                // A server may ask for any file whenever it likes. It gets none.
                Answer::File => return Err(self.broken("the server asks for a local file")),
            }
        }
    }

    /// A statement without parameters whose few rows come in the server's text form. Unlike [`Self::query`] it does not clear the warnings.
    pub async fn simple(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.command(COM_QUERY, sql.as_bytes()).await?;
        let Answer::Columns(count) = self.answer().await? else { return Err(self.broken("no rows where there should be some")) };
        self.columns(count).await?;
        let mut rows = Vec::new();
        loop {
            let frame = self.next().await?;
            if self.packets.body(frame).first() == Some(&0xff) {
                return Err(self.refused(frame));
            }
            if self.end_of_rows(frame).is_some() {
                self.busy = false;
                return Ok(rows);
            }
            let mut reader = Reader(self.packets.body(frame));
            let mut row = Vec::new();
            while let Some(first) = reader.0.first() {
                if *first == 0xfb {
                    reader.byte();
                    row.push(None);
                } else {
                    row.push(reader.text().map(|text| String::from_utf8_lossy(text).into_owned()));
                }
            }
            rows.push(Row(row));
        }
    }

    async fn prepare(&mut self, sql: &str) -> Result<Vec<ResultColumn>> {
        self.command(COM_PREPARE, sql.as_bytes()).await?;
        let frame = self.next().await?;
        let body = self.packets.body(frame);
        if body.first() == Some(&0xff) {
            return Err(self.refused(frame));
        }
        let read = || {
            let mut reader = Reader(body.get(1..)?);
            let id = u32::from_le_bytes(reader.array()?);
            Some((id, u16::from_le_bytes(reader.array()?), u16::from_le_bytes(reader.array()?)))
        };
        let Some((id, columns, parameters)) = read() else { return Err(self.broken("a cut answer to a statement")) };
        self.columns(parameters.into()).await?;
        let columns = self.columns(columns.into()).await?;
        self.statement = Some(id);
        self.busy = false;
        Ok(columns)
    }

    async fn forget_statement(&mut self) -> Result<()> {
        let Some(id) = self.statement.take() else { return Ok(()) };
        self.command(COM_CLOSE, &id.to_le_bytes()).await?;
        // There is no answer to this one.
        self.busy = false;
        Ok(())
    }

    async fn run(&mut self, parameters: &[Param]) -> Result<Answer> {
        let id = self.statement.ok_or_else(|| Error::internal("no statement is prepared"))?;
        let mut body = Vec::new();
        body.extend_from_slice(&id.to_le_bytes());
        body.push(0);
        body.extend_from_slice(&1_u32.to_le_bytes());
        if !parameters.is_empty() {
            let nulls = body.len();
            body.resize(nulls + parameters.len().div_ceil(8), 0);
            body.push(1);
            let mut values = Vec::new();
            for (at, parameter) in parameters.iter().enumerate() {
                let (code, unsigned) = match parameter {
                    Param::Null => {
                        body[nulls + at / 8] |= 1 << (at % 8);
                        (kind::NULL, 0)
                    }
                    Param::Int(number) => {
                        values.extend_from_slice(&number.to_le_bytes());
                        (kind::LONGLONG, 0)
                    }
                    Param::UInt(number) => {
                        values.extend_from_slice(&number.to_le_bytes());
                        (kind::LONGLONG, 0x80)
                    }
                    Param::Double(number) => {
                        values.extend_from_slice(&number.to_le_bytes());
                        (kind::DOUBLE, 0)
                    }
                    Param::Text(text) => {
                        put_text(&mut values, text.as_bytes());
                        (kind::VAR_STRING, 0)
                    }
                    Param::Decimal(text) => {
                        put_text(&mut values, text.as_bytes());
                        (kind::NEWDECIMAL, 0)
                    }
                    Param::Bytes(bytes) => {
                        put_text(&mut values, bytes);
                        (252, 0)
                    }
                };
                body.extend_from_slice(&[code, unsigned]);
            }
            body.extend_from_slice(&values);
        }
        self.command(COM_EXECUTE, &body).await?;
        self.answer().await
    }

    /// The columns that a query would give.
    pub async fn describe(&mut self, sql: &str) -> Result<Vec<ResultColumn>> {
        let columns = self.prepare(sql).await?;
        self.forget_statement().await?;
        Ok(columns)
    }

    /// A statement without rows.
    pub async fn execute(&mut self, sql: &str, parameters: &[Param]) -> Result<Done> {
        self.prepare(sql).await?;
        let answer = self.run(parameters).await;
        let done = match answer {
            Ok(Answer::Done(done, false)) => Ok(done),
            Ok(_) => Err(self.broken("rows where there should be none")),
            Err(error) => Err(error),
        };
        if !self.dead {
            self.forget_statement().await?;
        }
        done
    }

    /// A query with few rows, as text.
    pub async fn query(&mut self, sql: &str, parameters: &[Param]) -> Result<Vec<Row>> {
        let columns = self.portal(sql, parameters).await?;
        let mut rows = Vec::new();
        let mut cut = false;
        self.fetch(|row| {
            match text_row(row, &columns) {
                Some(row) => rows.push(Row(row)),
                None => cut = true,
            }
            Ok(false)
        })
        .await?;
        if cut { Err(self.broken("a cut row")) } else { Ok(rows) }
    }

    /// Starts a query whose rows are then fetched.
    pub async fn portal(&mut self, sql: &str, parameters: &[Param]) -> Result<Vec<ResultColumn>> {
        self.prepare(sql).await?;
        match self.run(parameters).await {
            Ok(Answer::Columns(count)) => self.columns(count).await,
            Ok(_) => Err(self.broken("no rows where there should be some")),
            Err(error) => {
                if !self.dead {
                    self.forget_statement().await?;
                }
                Err(error)
            }
        }
    }

    /// Hands out rows until `take` says that it has enough for now (then true) or there are no more (then false).
    pub async fn fetch(&mut self, mut take: impl FnMut(&[u8]) -> Result<bool>) -> Result<bool> {
        loop {
            let frame = match self.packets.buffered() {
                Some(frame) => frame,
                None => self.next().await?,
            };
            let body = self.packets.body(frame);
            match body.first() {
                Some(0) => {
                    if take(body)? {
                        return Ok(true);
                    }
                }
                Some(0xff) => {
                    let error = self.refused(frame);
                    self.forget_statement().await?;
                    return Err(error);
                }
                _ => match self.end_of_rows(frame) {
                    Some(false) => {
                        self.busy = false;
                        self.forget_statement().await?;
                        return Ok(false);
                    }
                    _ => return Err(self.broken("neither a row nor the end of them")),
                },
            }
        }
    }

    /// Starts `LOAD DATA LOCAL INFILE`: the server now waits for data.
    pub async fn load_begin(&mut self, sql: &str) -> Result<()> {
        self.command(COM_QUERY, sql.as_bytes()).await?;
        match self.answer().await? {
            Answer::File => Ok(()),
            _ => Err(self.broken("the server does not ask for the data")),
        }
    }

    /// A piece of the data, after [`HEAD`] bytes of room. Not empty: that would be the end.
    pub async fn load_data(&mut self, message: &mut [u8]) -> Result<()> {
        if let Err(error) = self.packets.send(message).await {
            self.dead = true;
            return Err(error);
        }
        Ok(())
    }

    /// The end of the data.
    pub async fn load_end(&mut self) -> Result<Done> {
        self.load_data(&mut [0; HEAD]).await?;
        match self.answer().await? {
            Answer::Done(done, false) => Ok(done),
            _ => Err(self.broken("no end of the data")),
        }
    }

    /// A command that is answered with OK.
    pub(super) async fn short_command(&mut self, code: u8, body: &[u8]) -> Result<()> {
        self.command(code, body).await?;
        match self.answer().await? {
            Answer::Done(_, false) => Ok(()),
            _ => Err(self.broken("rows where there should be none")),
        }
    }

    /// A command that is answered with packets without end; see [`Self::packet`].
    pub(super) async fn endless_command(&mut self, code: u8, body: &[u8]) -> Result<()> {
        self.command(code, body).await
    }

    /// The next of the packets without end. May be dropped while it waits and be called again.
    pub(super) async fn packet(&mut self) -> Result<&[u8]> {
        let frame = match self.packets.buffered() {
            Some(frame) => frame,
            None => self.next().await?,
        };
        if self.packets.body(frame).first() == Some(&0xff) {
            let error = self.refused(frame);
            // The server hangs up after it.
            self.dead = true;
            return Err(error);
        }
        Ok(self.packets.body(frame))
    }

    /// Where the server is, and who we are there.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        if !self.busy && !self.dead {
            let _ = self.command(COM_QUIT, &[]).await;
            self.busy = false;
        }
        self.packets.shutdown().await;
    }
}

/// Whether a statement names `information_schema`, near its beginning: what is longer is data.
fn asks_the_catalogue(statement: &[u8]) -> bool {
    const NAME: &[u8] = b"information_schema.";
    statement[..statement.len().min(8 << 10)].windows(NAME.len()).any(|part| part.eq_ignore_ascii_case(NAME))
}

fn ok_packet(body: &[u8]) -> Option<(Done, bool)> {
    let mut reader = Reader(body.get(1..)?);
    let affected = reader.length()?;
    reader.length()?;
    let status = u16::from_le_bytes(reader.array()?);
    let warnings = u16::from_le_bytes(reader.array()?);
    Some((Done { affected, warnings }, status & MORE_RESULTS != 0))
}

fn column(body: &[u8]) -> Option<ResultColumn> {
    let mut reader = Reader(body);
    for _ in 0..4 {
        reader.text()?;
    }
    let name = String::from_utf8_lossy(reader.text()?).into_owned();
    reader.text()?;
    reader.length()?;
    Some(ResultColumn {
        name,
        charset: u16::from_le_bytes(reader.array()?),
        length: u32::from_le_bytes(reader.array()?),
        kind: reader.byte()?,
        flags: u16::from_le_bytes(reader.array()?),
        decimals: reader.byte()?,
    })
}

/// A binary row in the server's text form.
fn text_row(body: &[u8], columns: &[ResultColumn]) -> Option<Vec<Option<String>>> {
    let mut cells = Cells::new(body, columns.len())?;
    columns.iter().map(|column| Some(cells.next(column.kind)?.map(|raw| super::values::render(column, raw)))).collect()
}

/// The cells of a binary row, in order.
pub struct Cells<'a> {
    nulls: &'a [u8],
    reader: Reader<'a>,
    at: usize,
}

impl<'a> Cells<'a> {
    /// Of a row with so many columns.
    #[inline]
    pub fn new(body: &'a [u8], columns: usize) -> Option<Self> {
        let mut reader = Reader(body.get(1..)?);
        let nulls = reader.bytes((columns + 9) / 8)?;
        Some(Self { nulls, reader, at: 2 })
    }

    /// The bytes of the next cell, whose type is this; `Some(None)` is NULL, `None` a row that is cut.
    #[inline]
    pub fn next(&mut self, kind: u8) -> Option<Option<&'a [u8]>> {
        let at = self.at;
        self.at += 1;
        if self.nulls[at / 8] & (1 << (at % 8)) != 0 || kind == kind::NULL {
            return Some(None);
        }
        let length = match kind {
            kind::TINY => 1,
            kind::SHORT | kind::YEAR => 2,
            kind::LONG | kind::INT24 | kind::FLOAT => 4,
            kind::LONGLONG | kind::DOUBLE => 8,
            kind::DATE | kind::DATETIME | kind::TIMESTAMP | kind::TIME => self.reader.byte()?.into(),
            _ => return self.reader.text().map(Some),
        };
        self.reader.bytes(length).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_both_families_are_told_apart() {
        let maria = Version::parse("10.11.19-MariaDB-0+deb12u1-log");
        assert_eq!((maria.maria, maria.number), (true, 101_119));
        let mysql = Version::parse("8.0.33");
        assert_eq!((mysql.maria, mysql.number), (false, 80_033));
    }
}
