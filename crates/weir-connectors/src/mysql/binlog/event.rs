//! Events of the log, and how their bodies are read. The framing (header, checksum, compression) is in `stream` and `payload`.
//!
//! Formats: the replication chapters of MySQL's internals documentation and of MariaDB's knowledge base.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use uuid::Uuid;
use weir_connect::Result;

use super::super::wire::Reader;
use super::charset::{Charset, name_of_collation};
use super::errors::malformed;
use super::gtid::{GtidSet, MariaGtid, MariaGtidList, tagged};
use super::rows::{RowKind, RowsEvent};
use super::table_map::{TableMap, table_id};

/// Numbers of events.
pub(super) mod code {
    #![allow(missing_docs)]
    pub const QUERY: u8 = 2;
    pub const STOP: u8 = 3;
    pub const ROTATE: u8 = 4;
    pub const FORMAT_DESCRIPTION: u8 = 15;
    pub const XID: u8 = 16;
    pub const TABLE_MAP: u8 = 19;
    pub const WRITE_ROWS_V1: u8 = 23;
    pub const UPDATE_ROWS_V1: u8 = 24;
    pub const DELETE_ROWS_V1: u8 = 25;
    pub const INCIDENT: u8 = 26;
    pub const HEARTBEAT: u8 = 27;
    pub const ROWS_QUERY: u8 = 29;
    pub const WRITE_ROWS: u8 = 30;
    pub const UPDATE_ROWS: u8 = 31;
    pub const DELETE_ROWS: u8 = 32;
    pub const GTID: u8 = 33;
    pub const ANONYMOUS_GTID: u8 = 34;
    pub const PREVIOUS_GTIDS: u8 = 35;
    pub const XA_PREPARE: u8 = 38;
    pub const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub const TRANSACTION_PAYLOAD: u8 = 40;
    pub const GTID_TAGGED: u8 = 42;
    pub const MARIA_ANNOTATE_ROWS: u8 = 160;
    pub const MARIA_GTID: u8 = 162;
    pub const MARIA_GTID_LIST: u8 = 163;
    pub const MARIA_QUERY_COMPRESSED: u8 = 165;
    pub const MARIA_WRITE_ROWS_COMPRESSED_V1: u8 = 166;
    pub const MARIA_UPDATE_ROWS_COMPRESSED_V1: u8 = 167;
    pub const MARIA_DELETE_ROWS_COMPRESSED_V1: u8 = 168;
    pub const MARIA_WRITE_ROWS_COMPRESSED: u8 = 169;
    pub const MARIA_UPDATE_ROWS_COMPRESSED: u8 = 170;
    pub const MARIA_DELETE_ROWS_COMPRESSED: u8 = 171;
}

/// Flag of an event that the server made up for this reader: it has no place in the log.
pub const ARTIFICIAL: u16 = 0x20;

/// An event.
#[derive(Debug, Clone)]
pub struct Event {
    /// When the statement began, seconds since 1970 by the server's clock. 0 for artificial events.
    pub timestamp_s: u32,
    /// Where it was written first.
    pub server_id: u32,
    /// Where in its file it ends, also beyond 4 GiB. All events of a compressed transaction have the same. For artificial events: where the one before ended.
    pub log_pos: u64,
    /// Flags of the header, see [`ARTIFICIAL`].
    pub flags: u16,
    /// What it says.
    pub body: Body,
}

/// When and how a transaction of MySQL was committed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Commit {
    /// Transactions with the same number here do not depend on each other.
    pub last_committed: i64,
    /// Its number in this file.
    pub sequence_number: i64,
    /// When it was committed at this server, microseconds since 1970.
    pub committed_at_us: Option<i64>,
    /// When it was committed where it was first, microseconds since 1970.
    pub first_committed_at_us: Option<i64>,
    /// Bytes of the whole transaction with this event.
    pub length: Option<u64>,
}

/// A transaction of MariaDB begins.
#[derive(Debug, Clone, PartialEq)]
pub struct MariaTransaction {
    /// Its id.
    pub gtid: MariaGtid,
    /// One event follows and no end: DDL, or a change to a table without transactions.
    pub standalone: bool,
    /// DDL.
    pub ddl: bool,
    /// Can be rolled back.
    pub transactional: bool,
    /// The first half of a two-phase commit: it is not committed yet.
    pub prepared: bool,
    /// The second half, a commit or rollback, without rows of its own.
    pub completes: bool,
    /// One of the halves of an `ALTER` that was logged when it began (`binlog_alter_two_phase`).
    pub alter_in_two: bool,
    /// The group that it was committed in.
    pub commit_id: Option<u64>,
}

/// What an event says.
#[derive(Debug, Clone)]
pub enum Body {
    /// The next event is in this file at this position.
    Rotate {
        /// Name of the file.
        file: String,
        /// Position in it.
        position: u64,
    },
    /// A file begins, or the reading of one.
    FormatDescription {
        /// The server that wrote the file.
        server_version: String,
    },
    /// A transaction of MySQL begins.
    Gtid {
        /// Where it was committed first.
        uuid: Uuid,
        /// Its number there.
        gno: u64,
        /// When, how large.
        commit: Commit,
    },
    /// The same without an id.
    AnonymousGtid(Commit),
    /// A transaction of MariaDB begins. No `BEGIN` follows.
    MariaGtid(MariaTransaction),
    /// A statement: `BEGIN`, `COMMIT`, `XA …`, DDL; with `binlog_format` other than `ROW` also a change of rows.
    Query(QueryEvent),
    /// Rows that follow are of this table.
    TableMap(Arc<TableMap>),
    /// Rows.
    Rows(RowsEvent),
    /// The transaction is committed.
    Xid(u64),
    /// The first half of a two-phase commit ends.
    XaPrepare {
        /// It is committed at once.
        one_phase: bool,
        /// The transaction's id: format, global part, branch.
        format: u32,
        /// Global part.
        global: Bytes,
        /// Branch.
        branch: Bytes,
    },
    /// Nothing happened; the log ends here.
    Heartbeat {
        /// Name of the file.
        file: String,
        /// Position in it.
        position: u64,
    },
    /// The statement that made the rows that follow.
    RowsQuery(String),
    /// The server says that the log may lack changes.
    Incident(String),
    /// All that was executed before this file.
    PreviousGtids(GtidSet),
    /// The same of MariaDB.
    MariaGtidList(MariaGtidList),
    /// The server was shut down here.
    Stop,
    /// Anything else, by its number: variables of statements, checkpoints of the log, group replication.
    Other(u8),
}

/// A statement. Its texts are decoded when asked for.
#[derive(Debug, Clone)]
pub struct QueryEvent {
    /// Session.
    pub thread: u32,
    /// Error that the statement ended with at the server; 0 is none.
    pub error: u16,
    /// Number of the transaction that commits this DDL.
    pub xid: Option<u64>,
    schema: Bytes,
    sql: Bytes,
    charset: Option<u16>,
}

impl QueryEvent {
    /// The default database; empty for `BEGIN` and `COMMIT`.
    pub fn schema(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.schema)
    }

    /// The statement. What is not valid in the session's character set becomes U+FFFD.
    pub fn sql(&self) -> Cow<'_, str> {
        let charset = self.charset.and_then(|id| name_of_collation(id.into())).and_then(Charset::named);
        match charset.as_ref().and_then(|charset| charset.decode(&self.sql)) {
            Some(Cow::Owned(text)) => String::from_utf8_lossy(&text).into_owned().into(),
            _ => String::from_utf8_lossy(&self.sql),
        }
    }

    /// Whether it is this word and nothing else, as the server writes `BEGIN` and `COMMIT`.
    pub fn is(&self, word: &str) -> bool {
        self.sql.eq_ignore_ascii_case(word.as_bytes())
    }
}

/// A statement. `compressed`: as MariaDB may write it.
pub(super) fn query(body: &[u8], compressed: bool) -> Result<QueryEvent> {
    let read = || {
        let mut reader = Reader(body);
        let thread = u32::from_le_bytes(reader.array()?);
        let _seconds = reader.array::<4>()?;
        let schema = usize::from(reader.byte()?);
        let error = u16::from_le_bytes(reader.array()?);
        let status = usize::from(u16::from_le_bytes(reader.array()?));
        let (charset, xid) = status_of(reader.bytes(status)?);
        let schema = reader.bytes(schema)?;
        reader.byte()?;
        // These two stand in nearly every transaction, and say nothing of a database.
        let (schema, sql) = match reader.0 {
            b"BEGIN" => (Bytes::new(), Bytes::from_static(b"BEGIN")),
            b"COMMIT" => (Bytes::new(), Bytes::from_static(b"COMMIT")),
            sql => (Bytes::copy_from_slice(schema), Bytes::copy_from_slice(sql)),
        };
        Some(QueryEvent { thread, error, xid, schema, sql, charset })
    };
    let mut query = read().ok_or_else(|| malformed("a query event that is cut"))?;
    if compressed {
        query.sql = super::payload::unpack(&query.sql)?;
    }
    Ok(query)
}

/// Character set of the statement and number of its transaction.
fn status_of(status: &[u8]) -> (Option<u16>, Option<u64>) {
    let mut found = (None, None);
    let mut reader = Reader(status);
    // Ends at the first thing that is not known: its length is not known either.
    let _ = (|| {
        while let Some(code) = reader.byte() {
            let length = match code {
                0 | 3 | 10 => 4,
                1 | 9 => 8,
                2 => usize::from(reader.byte()?) + 1,
                5 | 6 => usize::from(reader.byte()?),
                7 | 8 | 18 => 2,
                4 => {
                    found.0 = Some(u16::from_le_bytes(reader.array()?));
                    4
                }
                11 => {
                    let user = usize::from(reader.byte()?);
                    reader.bytes(user)?;
                    usize::from(reader.byte()?)
                }
                12 => {
                    let databases = reader.byte()?;
                    for _ in 0..if databases == 254 { 0 } else { databases } {
                        reader.terminated();
                    }
                    0
                }
                13 | 128 => 3,
                16 | 19 | 20 => 1,
                17 | 129 => {
                    found.1 = Some(u64::from_le_bytes(reader.array()?));
                    0
                }
                _ => return None,
            };
            reader.bytes(length)?;
        }
        Some(())
    })();
    found
}

/// The start of a transaction of MySQL: its id and commit.
pub(super) fn gtid(body: &[u8]) -> Result<(Uuid, u64, Commit)> {
    const HAS_ORIGINAL: u64 = 1 << 55;
    let read = || {
        let mut reader = Reader(body);
        reader.byte()?;
        let uuid = Uuid::from_bytes(reader.array()?);
        let gno = u64::from_le_bytes(reader.array()?);
        let mut commit = Commit::default();
        // Servers before 5.7 say no more.
        if reader.byte() == Some(2) {
            commit.last_committed = i64::from_le_bytes(reader.array()?);
            commit.sequence_number = i64::from_le_bytes(reader.array()?);
            if !reader.0.is_empty() {
                let moment = |reader: &mut Reader<'_>| {
                    let [a, b, c, d, e, f, g] = reader.array()?;
                    Some(u64::from_le_bytes([a, b, c, d, e, f, g, 0]))
                };
                let here = moment(&mut reader)?;
                let first = if here & HAS_ORIGINAL == 0 { here } else { moment(&mut reader)? };
                commit.committed_at_us = Some((here & !HAS_ORIGINAL) as i64);
                commit.first_committed_at_us = Some(first as i64);
                if !reader.0.is_empty() {
                    commit.length = Some(reader.length()?);
                }
            }
        }
        Some((uuid, gno, commit))
    };
    read().ok_or_else(|| malformed("a GTID event that is cut"))
}

fn maria_gtid(body: &[u8], server: u32) -> Option<MariaTransaction> {
    let mut reader = Reader(body);
    let sequence = u64::from_le_bytes(reader.array()?);
    let domain = u32::from_le_bytes(reader.array()?);
    let flags = reader.byte()?;
    let has = |flag: u8| flags & flag != 0;
    let commit_id = if has(2) { Some(u64::from_le_bytes(reader.array()?)) } else { None };
    if has(64 | 128) {
        reader.array::<4>()?;
        let (global, branch) = (reader.byte()?, reader.byte()?);
        reader.bytes(usize::from(global) + usize::from(branch))?;
    } else if commit_id.is_none() {
        // Room that has no meaning; old servers leave it out.
        reader.bytes(reader.0.len().min(6))?;
    }
    let more = reader.byte().unwrap_or(0);
    Some(MariaTransaction {
        gtid: MariaGtid { domain, server, sequence },
        standalone: has(1),
        ddl: has(32),
        transactional: has(4),
        prepared: has(64),
        completes: has(128),
        alter_in_two: more & (2 | 4 | 8) != 0,
        commit_id,
    })
}

fn maria_list(body: &[u8]) -> Option<MariaGtidList> {
    let mut reader = Reader(body);
    let count = u32::from_le_bytes(reader.array()?) & 0x0fff_ffff;
    let mut list = MariaGtidList::default();
    for _ in 0..count {
        let domain = u32::from_le_bytes(reader.array()?);
        let server = u32::from_le_bytes(reader.array()?);
        // Several of one domain stand in the order of the log.
        list.add(MariaGtid { domain, server, sequence: u64::from_le_bytes(reader.array()?) });
    }
    Some(list)
}

/// Rows of a table that `known` has. `None` for the rows event without table that only ends a statement.
pub(super) fn rows(event: u8, mut body: Bytes, known: impl Fn(u64) -> Option<Arc<TableMap>>) -> Result<Option<RowsEvent>> {
    use code::*;
    let (kind, second, compressed) = match event {
        WRITE_ROWS_V1 => (RowKind::Insert, false, false),
        UPDATE_ROWS_V1 => (RowKind::Update, false, false),
        DELETE_ROWS_V1 => (RowKind::Delete, false, false),
        WRITE_ROWS => (RowKind::Insert, true, false),
        UPDATE_ROWS | PARTIAL_UPDATE_ROWS => (RowKind::Update, true, false),
        DELETE_ROWS => (RowKind::Delete, true, false),
        MARIA_WRITE_ROWS_COMPRESSED_V1 => (RowKind::Insert, false, true),
        MARIA_UPDATE_ROWS_COMPRESSED_V1 => (RowKind::Update, false, true),
        MARIA_DELETE_ROWS_COMPRESSED_V1 => (RowKind::Delete, false, true),
        MARIA_WRITE_ROWS_COMPRESSED => (RowKind::Insert, true, true),
        MARIA_UPDATE_ROWS_COMPRESSED => (RowKind::Update, true, true),
        _ => (RowKind::Delete, true, true),
    };
    let cut = || malformed("a rows event that is cut");
    let mut reader = Reader(&body);
    let id = table_id(&mut reader).ok_or_else(cut)?;
    let flags = u16::from_le_bytes(reader.array().ok_or_else(cut)?);
    if second {
        let extra = usize::from(u16::from_le_bytes(reader.array().ok_or_else(cut)?));
        reader.bytes(extra.checked_sub(2).ok_or_else(cut)?).ok_or_else(cut)?;
    }
    let columns = usize::try_from(reader.length().ok_or_else(cut)?).map_err(|_| cut())?;
    let from = body.len() - reader.0.len();
    let images = if kind == RowKind::Update { 2 } else { 1 };
    let bits = columns.div_ceil(8).checked_mul(images).filter(|bits| *bits <= reader.0.len()).ok_or_else(cut)?;
    let present = body.slice(from..from + bits);
    body.advance(from + bits);
    let data = body;
    if id == 0xff_ffff && data.is_empty() {
        return Ok(None);
    }
    let table = known(id).ok_or_else(|| malformed(format!("rows of table {id}, which was not described before them")))?;
    if table.columns.len() != columns {
        return Err(malformed(format!("rows of {columns} columns for a table of {}", table.columns.len())).at(table.display()));
    }
    let data = if compressed { super::payload::unpack(&data)? } else { data };
    Ok(Some(RowsEvent { table, kind, flags, present, partial: event == PARTIAL_UPDATE_ROWS, data }))
}

/// The bodies that need nothing but themselves.
pub(super) fn plain(event: u8, server: u32, log_pos: u64, body: &[u8]) -> Result<Body> {
    let cut = || malformed(format!("an event of type {event} that is cut"));
    let mut reader = Reader(body);
    Ok(match event {
        code::QUERY => Body::Query(query(body, false)?),
        code::MARIA_QUERY_COMPRESSED => Body::Query(query(body, true)?),
        code::XID => Body::Xid(u64::from_le_bytes(reader.array().ok_or_else(cut)?)),
        code::GTID => {
            let (uuid, gno, commit) = gtid(body)?;
            Body::Gtid { uuid, gno, commit }
        }
        code::ANONYMOUS_GTID => Body::AnonymousGtid(gtid(body)?.2),
        code::MARIA_GTID => Body::MariaGtid(maria_gtid(body, server).ok_or_else(cut)?),
        code::MARIA_GTID_LIST => Body::MariaGtidList(maria_list(body).ok_or_else(cut)?),
        code::PREVIOUS_GTIDS => Body::PreviousGtids(GtidSet::decode(body)?),
        code::GTID_TAGGED => return Err(tagged()),
        code::ROTATE => {
            let position = u64::from_le_bytes(reader.array().ok_or_else(cut)?);
            Body::Rotate { file: String::from_utf8_lossy(reader.0).into_owned(), position }
        }
        code::HEARTBEAT => Body::Heartbeat { file: String::from_utf8_lossy(body).into_owned(), position: log_pos },
        code::ROWS_QUERY => Body::RowsQuery(String::from_utf8_lossy(body.get(1..).ok_or_else(cut)?).into_owned()),
        code::MARIA_ANNOTATE_ROWS => Body::RowsQuery(String::from_utf8_lossy(body).into_owned()),
        code::INCIDENT => {
            reader.array::<2>().ok_or_else(cut)?;
            let length = reader.byte().unwrap_or(0);
            Body::Incident(String::from_utf8_lossy(reader.bytes(length.into()).ok_or_else(cut)?).into_owned())
        }
        code::XA_PREPARE => {
            let one_phase = reader.byte().ok_or_else(cut)? != 0;
            let mut number = || reader.array().map(u32::from_le_bytes);
            let (format, global, branch) =
                (number().ok_or_else(cut)?, number().ok_or_else(cut)? as usize, number().ok_or_else(cut)? as usize);
            if global > 64 || branch > 64 {
                return Err(cut());
            }
            let mut part = |length: usize| reader.bytes(length).map(Bytes::copy_from_slice).ok_or_else(cut);
            Body::XaPrepare { one_phase, format, global: part(global)?, branch: part(branch)? }
        }
        code::STOP => Body::Stop,
        other => Body::Other(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_in_another_character_set_is_read_in_it() {
        let mut body = vec![9, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0];
        // Flags, SQL mode, catalog, character set 8 (latin1).
        let status = [&[0, 0, 0, 0, 0, 1][..], &[0; 8], &[6, 3], b"std", &[4, 8, 0, 8, 0, 8, 0]].concat();
        body.extend_from_slice(&(status.len() as u16).to_le_bytes());
        body.extend_from_slice(&status);
        body.extend_from_slice(b"db\0DROP TABLE \xe4");
        let query = query(&body, false).unwrap();
        assert_eq!((query.schema().as_ref(), query.sql().as_ref(), query.thread), ("db", "DROP TABLE ä", 9));
        for end in 0..body.len() - 13 {
            assert!(super::query(&body[..end], false).is_err(), "{end}");
        }
    }

    #[test]
    fn the_kinds_of_transactions_of_mariadb_are_told_apart() {
        let body = |flags: u8, rest: &[u8]| {
            let bytes = [&7_u64.to_le_bytes()[..], &3_u32.to_le_bytes(), &[flags], rest].concat();
            maria_gtid(&bytes, 5).unwrap()
        };
        let plain = body(4, &[0; 6]);
        assert_eq!(plain.gtid, MariaGtid { domain: 3, server: 5, sequence: 7 });
        assert!(plain.transactional && !plain.standalone && !plain.prepared);
        assert!(body(1 | 32, &[0; 6]).ddl);
        assert_eq!(body(2, &9_u64.to_le_bytes()).commit_id, Some(9));
        assert!(body(64, &[1, 0, 0, 0, 1, 1, b'g', b'b']).prepared);
        assert!(body(1, &[&[0; 6][..], &[2]].concat()).alter_in_two);
        assert!(maria_gtid(&[0; 12], 1).is_none());
    }
}
