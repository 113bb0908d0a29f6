//! The log as it comes: a session that the server sends events to, without end.
//!
//! Rows are copied once, out of the read buffer into a shared block that events slice; all other events are read where they lie. A checksum is verified
//! before anything is believed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use weir_connect::{Error, Kind, Result};

use super::super::client::Client;
use super::super::config::Address;
use super::super::errors::{self, protocol};
use super::super::wire::{Reader, put_text};
use super::errors::{POSITION_GONE, malformed};
use super::event::{self, ARTIFICIAL, Body, Event, code};
use super::gtid::{GtidSet, MariaGtidList};
use super::payload::{HEADER, Transaction};
use super::rows::RowsEvent;
use super::table_map::{TableMap, table_id};

const COM_REGISTER_REPLICA: u8 = 0x15;
const COM_BINLOG_DUMP: u8 = 0x12;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;
/// Events are copied into blocks of this size.
const BLOCK: usize = 256 * 1024;
/// Descriptions of tables that are kept.
const TABLES: usize = 4096;
const CHECKSUM: usize = 4;
/// The first event of a file is here.
const FILE_START: u64 = 4;

/// Where to begin.
#[derive(Debug, Clone, PartialEq)]
pub enum StartAt {
    /// At an event of a file, by the position where it begins.
    File {
        /// Name of the file.
        file: String,
        /// Position; 4 is the start of the file.
        position: u64,
    },
    /// With the transactions that are not in this set (MySQL).
    Gtid(GtidSet),
    /// With the transactions after these, in every domain (MariaDB).
    Maria(MariaGtidList),
}

impl std::fmt::Display for StartAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { file, position } => write!(f, "{file}:{position}"),
            Self::Gtid(set) if set.is_empty() => f.write_str("the very first transaction"),
            Self::Maria(list) if list.is_empty() => f.write_str("the very first transaction"),
            Self::Gtid(set) => write!(f, "GTIDs {set}"),
            Self::Maria(list) => write!(f, "GTIDs {list}"),
        }
    }
}

/// What follows from the events so far for the reading of the next one. No I/O.
pub(super) struct Log {
    /// `None` until the file has said it.
    checksum: Option<bool>,
    maria: bool,
    file: String,
    position: u64,
    tables: HashMap<u64, (Box<[u8]>, Arc<TableMap>)>,
    room: BytesMut,
    inside: Option<Transaction>,
}

/// A stream of events. Dropping it ends the session.
pub struct BinlogStream {
    client: Client,
    start: StartAt,
    log: Log,
}

impl BinlogStream {
    /// Asks for the log. `server_id` must be unlike that of the server and of all its replicas: a second one with the same ends the first. Without
    /// events the server sends a heartbeat after `heartbeat`.
    pub async fn open(mut client: Client, start: StartAt, server_id: u32, heartbeat: Duration) -> Result<Self> {
        let maria = client.version.maria;
        // The names of the last twenty years, and those of MySQL 8.0.26.
        let period = heartbeat.as_nanos().clamp(1_000_000, 4_000_000_000_000_000);
        client
            .batch(&format!(
                "SET @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32', @master_heartbeat_period = {period}, \
                 @source_heartbeat_period = {period}"
            ))
            .await?;
        if maria {
            // It knows GTIDs and holes in the log; otherwise events are rewritten for an old replica.
            client
                .batch("SET @mariadb_slave_capability = 4, @slave_gtid_strict_mode = 1, @slave_gtid_ignore_duplicates = 0")
                .await?;
        }
        let mut body = Vec::new();
        let command = match &start {
            StartAt::File { file, position } => {
                let position = u32::try_from(*position).map_err(|_| {
                    Error::new(
                        "WEIR-MY-066",
                        Kind::Unsupported,
                        "a position beyond 4 GiB in a file of the binlog cannot be asked for",
                    )
                    .at(client.place().to_string())
                    .hint("begin by GTID, or at the start of the file")
                })?;
                dump(&mut body, position.max(FILE_START as u32), server_id, file);
                COM_BINLOG_DUMP
            }
            StartAt::Maria(list) => {
                if !maria {
                    return Err(wrong_family(&client, "MariaDB"));
                }
                // Digits, hyphens and commas only.
                client.batch(&format!("SET @slave_connect_state = '{list}'")).await?;
                dump(&mut body, FILE_START as u32, server_id, "");
                COM_BINLOG_DUMP
            }
            StartAt::Gtid(set) => {
                if maria {
                    return Err(wrong_family(&client, "MySQL"));
                }
                const BY_GTID: u16 = 4;
                let set = set.encode();
                body.extend_from_slice(&BY_GTID.to_le_bytes());
                body.extend_from_slice(&server_id.to_le_bytes());
                body.extend_from_slice(&0_u32.to_le_bytes());
                body.extend_from_slice(&FILE_START.to_le_bytes());
                body.extend_from_slice(&(set.len() as u32).to_le_bytes());
                body.extend_from_slice(&set);
                COM_BINLOG_DUMP_GTID
            }
        };
        let mut replica = server_id.to_le_bytes().to_vec();
        put_text(&mut replica, b"weir");
        put_text(&mut replica, b"");
        put_text(&mut replica, b"");
        replica.extend_from_slice(&[0; 10]);
        client.short_command(COM_REGISTER_REPLICA, &replica).await.map_err(privilege)?;
        client.endless_command(command, &body).await?;
        let (file, position) = match &start {
            StartAt::File { file, position } => (file.clone(), *position),
            _ => (String::new(), 0),
        };
        Ok(Self { client, start, log: Log::new(file, position) })
    }

    /// The next event. Waits for it as long as it takes; heartbeats are events. May be dropped while it waits and be called again.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.log.inner_event().map_err(|error| self.log.located(error))? {
                return Ok(event);
            }
            let packet = match self.client.packet().await {
                Ok(packet) => packet,
                Err(error) => return Err(self.refused(error).await),
            };
            match packet.split_first() {
                Some((0, event)) => {
                    if let Some(event) = self.log.event(event).map_err(|error| self.log.located(error))? {
                        return Ok(event);
                    }
                }
                Some((0xfe, rest)) if rest.len() < 8 => {
                    return Err(Error::new("WEIR-MY-004", Kind::Connect, "the server ended the binlog stream")
                        .at(self.client.place().to_string())
                        .transient());
                }
                _ => return Err(protocol(self.client.place(), "neither an event of the binlog nor an error")),
            }
        }
    }

    /// The next event if it is here already. Costs no look at the network: [`Self::next`] does that.
    pub fn ready(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.log.inner_event().map_err(|error| self.log.located(error))? {
                return Ok(Some(event));
            }
            let Some(event) = self.client.packet_here(0) else { return Ok(None) };
            if let Some(event) = self.log.event(event).map_err(|error| self.log.located(error))? {
                return Ok(Some(event));
            }
        }
    }

    /// The file of the last event.
    pub fn file(&self) -> &str {
        &self.log.file
    }

    /// Where the last event ended, or the next begins.
    pub fn position(&self) -> u64 {
        self.log.position
    }

    /// What an ERR packet in the stream means.
    async fn refused(&mut self, error: Error) -> Error {
        let why = error.why().unwrap_or_default().to_string();
        let place = self.client.place().to_string();
        match errors::number(&error) {
            Some(1236 | 1373 | 1789 | 1955 | 1956 | 4052) => {}
            Some(_) => return privilege(error),
            None => return error,
        }
        let has = |word: &str| why.contains(word);
        if has("same server_uuid") || has("same server_id") {
            return Error::new(
                "WEIR-MY-065",
                Kind::Conflict,
                "another replica has taken over the binlog under the same server id",
            )
            .at(place)
            .because(why)
            .hint("give every pipeline and every replica of this server a `server_id` of its own")
            .caused_by(error);
        }
        if has("max_allowed_packet") {
            return Error::new("WEIR-MY-067", Kind::Limit, "an event of the binlog is larger than the server sends")
                .at(place)
                .because(why)
                .hint("raise max_allowed_packet at the server (SET GLOBAL max_allowed_packet = 1073741824)")
                .caused_by(error);
        }
        let there = what_is_there(self.client.address(), self.client.version.maria).await;
        Error::new(POSITION_GONE, Kind::NotFound, format!("the binlog does not go on from {}", self.start))
            .at(place)
            .because(match there {
                Some(there) => format!("{why}; {there}"),
                None => why,
            })
            .hint(
                "the log was purged or belongs to another server: take a new snapshot, and keep the log longer than the pipeline may \
                 stand still (binlog_expire_logs_seconds)",
            )
            .caused_by(error)
    }
}

fn dump(body: &mut Vec<u8>, position: u32, server_id: u32, file: &str) {
    body.extend_from_slice(&position.to_le_bytes());
    body.extend_from_slice(&0_u16.to_le_bytes());
    body.extend_from_slice(&server_id.to_le_bytes());
    body.extend_from_slice(file.as_bytes());
}

fn wrong_family(client: &Client, of: &str) -> Error {
    Error::new("WEIR-MY-068", Kind::Spec, format!("the position is of {of}, and the server is not"))
        .at(client.place().to_string())
        .hint("GTIDs of MySQL and of MariaDB are different things: take a new snapshot")
}

/// The privileges for the log are others than those for tables. MySQL says that they are missing as if the login were refused.
fn privilege(error: Error) -> Error {
    if !matches!(error.kind(), Kind::Privilege | Kind::Auth) {
        return error;
    }
    Error::new("WEIR-MY-006", Kind::Privilege, "the user may not read the binlog")
        .at(error.place().unwrap_or_default().to_string())
        .hint("grant it as an administrator: GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO user; MariaDB: also BINLOG MONITOR")
        .caused_by(error)
}

/// What the server still has, for the message.
async fn what_is_there(address: &Address, maria: bool) -> Option<String> {
    let mut client = Client::connect(address).await.ok()?;
    let files = client.simple("SHOW BINARY LOGS").await.ok();
    let first = files.as_ref().and_then(|rows| rows.first()).map(|row| row.text(0).to_string()).unwrap_or_default();
    let sql = if maria {
        let name = first.replace(['\'', '\\'], "");
        format!("SELECT BINLOG_GTID_POS('{name}', 4)")
    } else {
        "SELECT @@global.gtid_purged".to_string()
    };
    let gtids = client.simple(&sql).await.ok().and_then(|rows| rows.first().map(|row| row.text(0).replace('\n', "")));
    client.close().await;
    let gtids = gtids.unwrap_or_default();
    let before = match gtids.as_str() {
        "" => "nothing before it was purged".to_string(),
        gtids => format!("it begins after GTIDs {gtids}"),
    };
    Some(format!("the server's oldest file is {first}, and {before}"))
}

impl Log {
    pub(super) fn new(file: String, position: u64) -> Self {
        Self {
            checksum: None,
            maria: false,
            file,
            position,
            tables: HashMap::new(),
            room: BytesMut::with_capacity(BLOCK),
            inside: None,
        }
    }

    fn located(&self, error: Error) -> Error {
        error.at(format!("{}:{}", self.file, self.position))
    }

    /// An event of a compressed transaction.
    pub(super) fn inner_event(&mut self) -> Result<Option<Event>> {
        while let Some(inside) = &mut self.inside {
            match inside.next(&mut self.room)? {
                Some(bytes) => {
                    if let Some(event) = self.read(&bytes, true, |_| bytes.clone())? {
                        return Ok(Some(event));
                    }
                }
                None => self.inside = None,
            }
        }
        Ok(None)
    }

    /// An event as it came, with header and checksum. `None` if it only opens a compressed transaction.
    pub(super) fn event(&mut self, packet: &[u8]) -> Result<Option<Event>> {
        let kind = *packet.get(4).filter(|_| packet.len() >= HEADER).ok_or_else(|| malformed("an event without header"))?;
        let size = u32::from_le_bytes([packet[9], packet[10], packet[11], packet[12]]);
        if size as usize != packet.len() {
            return Err(malformed(format!("an event of {} bytes that says {size}", packet.len())));
        }
        let mut end = packet.len();
        let sum = packet[HEADER..].len().checked_sub(CHECKSUM).map(|at| packet.split_at(HEADER + at));
        let good = sum.is_some_and(|(data, sum)| sum == checksum(kind, data).to_le_bytes());
        match (self.checksum, kind) {
            // It says of itself whether there are any.
            (_, code::FORMAT_DESCRIPTION) => {
                let algorithm = packet.len().checked_sub(CHECKSUM + 1).and_then(|at| packet.get(at));
                match algorithm.filter(|_| packet.len() > HEADER + 57 + CHECKSUM) {
                    Some(0) => self.checksum = Some(false),
                    Some(1) if good => self.checksum = Some(true),
                    Some(1) => return Err(bad_checksum()),
                    _ => return Err(malformed("a format of the binlog that is not known")),
                }
                end -= CHECKSUM + 1;
            }
            (Some(false), _) => {}
            (Some(true), _) if good => end -= CHECKSUM,
            (Some(true), _) => return Err(bad_checksum()),
            (None, _) => end -= if good { CHECKSUM } else { 0 },
        }
        let whole = &packet[..end];
        self.read(whole, false, |room| {
            if room.capacity() < end {
                room.reserve(BLOCK.max(end));
            }
            room.extend_from_slice(whole);
            room.split().freeze()
        })
    }

    /// An event without checksum. `kept` gives it as what may be kept.
    fn read(&mut self, whole: &[u8], inside: bool, kept: impl FnOnce(&mut BytesMut) -> Bytes) -> Result<Option<Event>> {
        let mut reader = Reader(whole);
        let mut header = || {
            let timestamp = u32::from_le_bytes(reader.array()?);
            let kind = reader.byte()?;
            let server = u32::from_le_bytes(reader.array()?);
            let _size = reader.array::<4>()?;
            let end = u32::from_le_bytes(reader.array()?);
            Some((timestamp, kind, server, end, u16::from_le_bytes(reader.array()?)))
        };
        let (timestamp_s, kind, server_id, end, flags) = header().ok_or_else(|| malformed("an event without header"))?;
        let body = &whole[HEADER..];
        if !inside && end != 0 && flags & ARTIFICIAL == 0 && kind != code::HEARTBEAT {
            self.position = widened(self.position, end);
        }
        let log_pos = if kind == code::HEARTBEAT { widened(self.position, end) } else { self.position };
        let body = match kind {
            code::TABLE_MAP => Body::TableMap(self.table(body)?),
            code::WRITE_ROWS_V1..=code::DELETE_ROWS_V1
            | code::WRITE_ROWS..=code::DELETE_ROWS
            | code::PARTIAL_UPDATE_ROWS
            | code::MARIA_WRITE_ROWS_COMPRESSED_V1..=code::MARIA_DELETE_ROWS_COMPRESSED => {
                let mut body = kept(&mut self.room);
                body.advance(HEADER);
                match self.rows(kind, body)? {
                    Some(rows) => Body::Rows(rows),
                    None => Body::Other(kind),
                }
            }
            code::TRANSACTION_PAYLOAD if inside => return Err(malformed("a compressed transaction in another one")),
            code::TRANSACTION_PAYLOAD => {
                let mut body = kept(&mut self.room);
                body.advance(HEADER);
                self.inside = Some(Transaction::open(&body)?);
                return self.inner_event();
            }
            code::FORMAT_DESCRIPTION => {
                self.tables.clear();
                format_description(body)?
            }
            _ => event::plain(kind, server_id, log_pos, body)?,
        };
        match &body {
            Body::FormatDescription { server_version } => self.maria = server_version.contains("MariaDB"),
            Body::Rotate { file, position } => {
                self.file.clone_from(file);
                self.position = *position;
            }
            Body::Gtid { .. } | Body::AnonymousGtid(_) | Body::MariaGtid(_) if self.tables.len() > TABLES => self.tables.clear(),
            _ => {}
        }
        let log_pos = if matches!(body, Body::Rotate { .. }) { self.position } else { log_pos };
        Ok(Some(Event { timestamp_s, server_id, log_pos, flags, body }))
    }

    /// A description of a table, made anew only if it is a new one.
    fn table(&mut self, body: &[u8]) -> Result<Arc<TableMap>> {
        let id = table_id(&mut Reader(body)).ok_or_else(|| malformed("a table map event that is cut"))?;
        if let Some((known, map)) = self.tables.get(&id)
            && **known == *body
        {
            return Ok(map.clone());
        }
        let map = Arc::new(TableMap::parse(body, self.maria)?);
        self.tables.insert(id, (body.into(), map.clone()));
        Ok(map)
    }

    fn rows(&self, kind: u8, body: Bytes) -> Result<Option<RowsEvent>> {
        event::rows(kind, body, |id| self.tables.get(&id).map(|(_, map)| map.clone()))
    }
}

/// The position that a header can say only the low half of.
fn widened(before: u64, low: u32) -> u64 {
    let same = before & !u64::from(u32::MAX) | u64::from(low);
    // A little back is a log that repeats itself; far back is the next 4 GiB.
    if same < before && before - same > 1 << 31 { same + (1 << 32) } else { same }
}

/// CRC-32 of an event. While a file is open for writing its first event has a flag that the sum does not have.
fn checksum(kind: u8, data: &[u8]) -> u32 {
    const IN_USE: u8 = 1;
    if kind != code::FORMAT_DESCRIPTION || data.get(17).is_none_or(|flags| flags & IN_USE == 0) {
        return crc32fast::hash(data);
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&data[..17]);
    hasher.update(&[data[17] & !IN_USE]);
    hasher.update(&data[18..]);
    hasher.finalize()
}

#[cold]
fn bad_checksum() -> Error {
    Error::new("WEIR-MY-062", Kind::Data, "an event of the binlog does not have its checksum")
        .because("it was damaged on the server's disk or on the way")
        .hint("check the log at the server with mysqlbinlog --verify-binlog-checksum; a damaged log needs a new snapshot")
}

fn format_description(body: &[u8]) -> Result<Body> {
    let cut = || malformed("a format description event that is cut");
    let mut reader = Reader(body);
    let version = u16::from_le_bytes(reader.array().ok_or_else(cut)?);
    if version != 4 {
        return Err(malformed(format!("version {version} of the binlog's format")));
    }
    let mut name = Reader(reader.bytes(50).ok_or_else(cut)?);
    let server_version = String::from_utf8_lossy(name.terminated()).into_owned();
    reader.array::<4>().ok_or_else(cut)?;
    if reader.byte() != Some(HEADER as u8) {
        return Err(malformed("events with a header of another length"));
    }
    // Numbers of tables have had six bytes since MySQL 5.1.
    if reader.0.get(usize::from(code::TABLE_MAP) - 1).is_none_or(|length| *length != 8) {
        return Err(malformed("table map events of an old form"));
    }
    Ok(Body::FormatDescription { server_version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_on_beyond_4_gib() {
        assert_eq!(widened(4, 120), 120);
        assert_eq!(widened(0xffff_fff0, 0x10), 0x1_0000_0010);
        assert_eq!(widened(0x1_0000_0010, 0x200), 0x1_0000_0200);
        assert_eq!(widened(500, 400), 400);
    }

    fn event(kind: u8, body: &[u8], sum: bool) -> Vec<u8> {
        let length = HEADER + body.len() + if sum { CHECKSUM } else { 0 };
        let mut event = vec![0, 0, 0, 0, kind, 1, 0, 0, 0];
        event.extend_from_slice(&(length as u32).to_le_bytes());
        event.extend_from_slice(&[100, 0, 0, 0, 0, 0]);
        event.extend_from_slice(body);
        if sum {
            event.extend_from_slice(&crc32fast::hash(&event).to_le_bytes());
        }
        event
    }

    fn described(sums: bool) -> Log {
        let mut body = vec![4, 0];
        body.extend_from_slice(&[b'8'; 50]);
        body.extend_from_slice(&[0; 4]);
        body.push(19);
        body.extend_from_slice(&[8; 41]);
        body.push(u8::from(sums));
        let mut log = Log::new("f".into(), 4);
        assert!(log.event(&event(code::FORMAT_DESCRIPTION, &body, true)).unwrap().is_some());
        log
    }

    #[test]
    fn one_flipped_bit_is_seen_where_there_are_checksums() {
        let good = event(code::XID, &7_u64.to_le_bytes(), true);
        assert!(matches!(described(true).event(&good).unwrap().unwrap().body, Body::Xid(7)));
        for at in (0..good.len()).filter(|at| !(9..13).contains(at)) {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert_eq!(described(true).event(&bad).unwrap_err().code(), "WEIR-MY-062", "{at}");
        }
        assert!(matches!(
            described(false).event(&event(code::XID, &7_u64.to_le_bytes(), false)).unwrap().unwrap().body,
            Body::Xid(7)
        ));
    }

    #[test]
    fn a_description_that_did_not_change_is_the_same_one() {
        let mut log = described(false);
        let body = |name: u8| [&[9, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, name, 0, 1, 3, 0, 0][..]].concat();
        let mut map = |name| match log.event(&event(code::TABLE_MAP, &body(name), false)).unwrap().unwrap().body {
            Body::TableMap(map) => map,
            other => panic!("{other:?}"),
        };
        let (first, second, third) = (map(b't'), map(b't'), map(b'u'));
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &third));
        assert_eq!(third.display(), "d.u");
    }
}
