//! Messages of `pgoutput`, protocol versions 1 to 4. Pure: bytes in, borrowed parts out, so that it can be fuzzed. Tuples are taken apart into
//! [`Cell`]s, which only say where a value lies; nothing is copied.
//!
//! Not here: what the values mean (`rows`), and transactions that come before they are committed (`streamed`).

use weir_connect::{Error, Kind, Result};

use super::super::quote::TableName;

/// A position in the server's log.
pub type Lsn = u64;

/// Microseconds from 1970 to 2000, where the server's clock begins.
pub const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// What a cell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// NULL.
    Null,
    /// Not in the log because it did not change.
    Unchanged,
    /// As the type's output function prints it.
    Text,
    /// As the type's send function writes it.
    Binary,
}

/// A value: its form, and where its bytes lie in the message.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// What it holds.
    pub form: Form,
    start: usize,
    end: usize,
}

impl Cell {
    /// Its bytes. `message` must be what it was decoded from.
    #[inline]
    pub fn bytes<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        &message[self.start..self.end]
    }
}

/// The tuples of the message at hand. Kept between messages, so that nothing is allocated per row.
#[derive(Debug, Default)]
pub struct Tuples {
    /// The row before.
    pub old: Vec<Cell>,
    /// The row after.
    pub new: Vec<Cell>,
}

/// How much of the row before an update or delete is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// Nothing: the key did not change.
    None,
    /// The columns of the replica identity.
    Key,
    /// All columns.
    Full,
}

/// A column as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogColumn {
    /// Belongs to the replica identity.
    pub identity: bool,
    /// Name.
    pub name: String,
    /// Type.
    pub type_oid: u32,
    /// Type modifier.
    pub typmod: i32,
}

/// A table as the log knows it from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRelation {
    /// Its number.
    pub oid: u32,
    /// Schema; `pg_catalog` is written as the empty string.
    pub schema: String,
    /// Name.
    pub table: String,
    /// `d` default, `n` nothing, `f` full, `i` index.
    pub identity: u8,
    /// Published columns in order.
    pub columns: Vec<LogColumn>,
}

impl LogRelation {
    /// As a stream of it would be named.
    pub fn display(&self) -> String {
        TableName { schema: self.schema.clone(), table: self.table.clone() }.display()
    }
}

/// A message. Tuples are in [`Tuples`].
#[derive(Debug)]
pub enum Message {
    /// A committed transaction follows.
    Begin { commit: Lsn, at: i64, xid: u32 },
    /// It ends.
    Commit { end: Lsn },
    /// A table's shape.
    Relation(Box<LogRelation>),
    /// A row was inserted.
    Insert { relation: u32 },
    /// A row was changed.
    Update { relation: u32, old: Old },
    /// A row was deleted.
    Delete { relation: u32, old: Old },
    /// Tables were emptied.
    Truncate { relations: Vec<u32> },
    /// Part of a transaction that is not committed yet.
    StreamStart { xid: u32 },
    /// The part ends.
    StreamStop,
    /// Such a transaction was committed.
    StreamCommit { xid: u32, commit: Lsn, end: Lsn, at: i64 },
    /// Such a transaction, or a subtransaction of it, was rolled back.
    StreamAbort { xid: u32, subxid: u32 },
    /// A logical message, which says nothing about rows.
    Logical {
        /// Part of the transaction; else it stands for itself.
        transactional: bool,
        /// Where it ends in the log.
        lsn: Lsn,
        /// Whose it is.
        prefix: Cell,
        /// What it says.
        content: Cell,
    },
    /// Nothing for us: origin, type name.
    Other,
}

#[cold]
fn malformed(what: &str) -> Error {
    Error::new("WEIR-PG-070", Kind::Data, "a message of the replication stream cannot be understood")
        .because(what)
        .hint("is the slot's plugin pgoutput, and the server PostgreSQL 12 or newer?")
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let found =
            self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).ok_or_else(|| malformed("it ends early"))?;
        self.at += N;
        Ok(*found)
    }
    #[inline]
    fn u8(&mut self) -> Result<u8> {
        Ok(self.take::<1>()?[0])
    }
    #[inline]
    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.take()?))
    }
    #[inline]
    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.take()?))
    }
    #[inline]
    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.take()?))
    }
    fn micros(&mut self) -> Result<i64> {
        Ok((self.u64()? as i64).saturating_add(EPOCH_MICROS))
    }
    fn ended(&mut self) -> Result<Cell> {
        let start = self.at.min(self.bytes.len());
        let length = self.bytes[start..].iter().position(|byte| *byte == 0).ok_or_else(|| malformed("a name without end"))?;
        self.at = start + length + 1;
        Ok(Cell { form: Form::Text, start, end: start + length })
    }
    fn text(&mut self) -> Result<String> {
        let cell = self.ended()?;
        Ok(String::from_utf8_lossy(cell.bytes(self.bytes)).into_owned())
    }

    /// As many bytes as the number before them says.
    #[inline]
    fn counted(&mut self, form: Form) -> Result<Cell> {
        let length = self.u32()? as usize;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| malformed("a value that ends early"))?;
        let cell = Cell { form, start: self.at, end };
        self.at = end;
        Ok(cell)
    }

    #[inline]
    fn tuple(&mut self, cells: &mut Vec<Cell>) -> Result<()> {
        cells.clear();
        let count = self.u16()?;
        for _ in 0..count {
            let form = match self.u8()? {
                b'b' => Form::Binary,
                b't' => Form::Text,
                b'n' => Form::Null,
                b'u' => Form::Unchanged,
                _ => return Err(malformed("a value of unknown form")),
            };
            cells.push(match form {
                Form::Binary | Form::Text => self.counted(form)?,
                Form::Null | Form::Unchanged => Cell { form, start: self.at, end: self.at },
            });
        }
        Ok(())
    }

    fn relation(&mut self) -> Result<LogRelation> {
        let (oid, schema, table, identity) = (self.u32()?, self.text()?, self.text()?, self.u8()?);
        let count = self.u16()?;
        let mut columns = Vec::new();
        for _ in 0..count {
            let (flags, name) = (self.u8()?, self.text()?);
            columns.push(LogColumn { identity: flags & 1 != 0, name, type_oid: self.u32()?, typmod: self.u32()? as i32 });
        }
        let schema = if schema.is_empty() { "pg_catalog".into() } else { schema };
        Ok(LogRelation { oid, schema, table, identity, columns })
    }
}

/// Whether a message of this kind carries the number of its (sub)transaction inside a streamed part.
pub fn carries_xid(tag: u8) -> bool {
    matches!(tag, b'R' | b'Y' | b'I' | b'U' | b'D' | b'T' | b'M')
}

/// Decodes a message that stands outside a streamed part, or has lost its transaction number there.
#[inline]
pub fn message(bytes: &[u8], tuples: &mut Tuples) -> Result<Message> {
    let mut cursor = Cursor { bytes, at: 0 };
    let tag = cursor.u8()?;
    let found = match tag {
        b'I' => {
            let relation = cursor.u32()?;
            if cursor.u8()? != b'N' {
                return Err(malformed("an insert without its row"));
            }
            cursor.tuple(&mut tuples.new)?;
            Message::Insert { relation }
        }
        b'U' => {
            let relation = cursor.u32()?;
            let mut mark = cursor.u8()?;
            let old = match mark {
                b'K' => Old::Key,
                b'O' => Old::Full,
                _ => Old::None,
            };
            tuples.old.clear();
            if old != Old::None {
                cursor.tuple(&mut tuples.old)?;
                mark = cursor.u8()?;
            }
            if mark != b'N' {
                return Err(malformed("an update without its row"));
            }
            cursor.tuple(&mut tuples.new)?;
            Message::Update { relation, old }
        }
        b'D' => {
            let relation = cursor.u32()?;
            let old = match cursor.u8()? {
                b'K' => Old::Key,
                b'O' => Old::Full,
                _ => return Err(malformed("a delete without its key")),
            };
            cursor.tuple(&mut tuples.old)?;
            Message::Delete { relation, old }
        }
        b'B' => Message::Begin { commit: cursor.u64()?, at: cursor.micros()?, xid: cursor.u32()? },
        b'C' => {
            let _flags = cursor.u8()?;
            let _commit = cursor.u64()?;
            let end = cursor.u64()?;
            cursor.micros()?;
            Message::Commit { end }
        }
        b'R' => Message::Relation(Box::new(cursor.relation()?)),
        b'T' => {
            let count = cursor.u32()?;
            let _options = cursor.u8()?;
            let mut relations = Vec::new();
            for _ in 0..count {
                relations.push(cursor.u32()?);
            }
            Message::Truncate { relations }
        }
        b'S' => {
            let xid = cursor.u32()?;
            let _first = cursor.u8()?;
            Message::StreamStart { xid }
        }
        b'E' => Message::StreamStop,
        b'c' => {
            let xid = cursor.u32()?;
            let _flags = cursor.u8()?;
            Message::StreamCommit { xid, commit: cursor.u64()?, end: cursor.u64()?, at: cursor.micros()? }
        }
        b'A' => Message::StreamAbort { xid: cursor.u32()?, subxid: cursor.u32()? },
        b'M' => {
            let transactional = cursor.u8()? & 1 != 0;
            let lsn = cursor.u64()?;
            Message::Logical { transactional, lsn, prefix: cursor.ended()?, content: cursor.counted(Form::Binary)? }
        }
        // Their rest is of no interest: names of origins and types.
        b'O' | b'Y' => return Ok(Message::Other),
        b'b' | b'P' | b'K' | b'r' | b'p' => return Err(malformed("a prepared transaction, which was not asked for")),
        _ => return Err(malformed("its kind is unknown")),
    };
    // Version 4 adds two numbers to an abort.
    if cursor.at != bytes.len() && tag != b'A' {
        return Err(malformed("bytes after its end"));
    }
    Ok(found)
}

/// What the server wraps around messages.
#[derive(Debug)]
pub enum Envelope<'a> {
    /// A message of the plugin.
    Data(&'a [u8]),
    /// Everything up to here was sent.
    Keepalive { end: Lsn, reply: bool },
}

/// Unwraps a copy data message.
#[inline]
pub fn envelope(bytes: &[u8]) -> Result<Envelope<'_>> {
    match bytes.first() {
        Some(b'w') => bytes.get(25..).map(Envelope::Data).ok_or_else(|| malformed("an envelope that ends early")),
        Some(b'k') => {
            let mut cursor = Cursor { bytes, at: 1 };
            let end = cursor.u64()?;
            cursor.u64()?;
            Ok(Envelope::Keepalive { end, reply: cursor.u8()? != 0 })
        }
        _ => Err(malformed("an unknown envelope")),
    }
}

/// `16/B374D848`.
pub fn lsn_text(lsn: Lsn) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

/// The position behind its text.
pub fn parse_lsn(text: &str) -> Option<Lsn> {
    let (high, low) = text.split_once('/')?;
    let part = |text: &str| u32::from_str_radix(text, 16).ok().map(u64::from);
    Some(part(high)? << 32 | part(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tuple(cells: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = (cells.len() as u16).to_be_bytes().to_vec();
        for (form, bytes) in cells {
            out.push(*form);
            if matches!(form, b'b' | b't') {
                out.extend((bytes.len() as u32).to_be_bytes());
                out.extend(*bytes);
            }
        }
        out
    }

    #[test]
    fn an_update_gives_its_rows_where_they_lie() {
        let mut bytes = b"U".to_vec();
        bytes.extend(7_u32.to_be_bytes());
        bytes.push(b'O');
        bytes.extend(tuple(&[(b't', b"1"), (b't', b"before")]));
        bytes.push(b'N');
        bytes.extend(tuple(&[(b'b', &[0, 0, 0, 1]), (b'u', b""), (b'n', b"")]));
        let mut tuples = Tuples::default();
        let found = message(&bytes, &mut tuples).unwrap();
        assert!(matches!(found, Message::Update { relation: 7, old: Old::Full }));
        assert_eq!(tuples.old[1].bytes(&bytes), b"before");
        assert_eq!(tuples.new[0].bytes(&bytes), [0, 0, 0, 1]);
        assert_eq!(tuples.new.iter().map(|cell| cell.form).collect::<Vec<_>>(), [Form::Binary, Form::Unchanged, Form::Null]);
        bytes.push(0);
        assert!(message(&bytes, &mut tuples).is_err(), "bytes after the end");
        for length in 0..bytes.len() - 1 {
            assert!(message(&bytes[..length], &mut tuples).is_err(), "cut after {length}");
        }
    }

    #[test]
    fn positions_are_written_as_the_server_does() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(lsn_text(parse_lsn(text).unwrap()), text);
        }
        for text in ["", "1", "x/1", "1/100000000", "/"] {
            assert_eq!(parse_lsn(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(tag in proptest::sample::select(b"IUDBCRTSEcAOYMbP?".to_vec()), rest in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut tuples = Tuples::default();
            let bytes = [&[tag], rest.as_slice()].concat();
            if message(&bytes, &mut tuples).is_ok() {
                tuples.old.iter().chain(&tuples.new).for_each(|cell| {
                    let _ = cell.form;
                });
            }
            let _ = envelope(&bytes);
        }
    }
}
