//! Keys compared as the server compares them, and transactions seen as a snapshot sees them: what decides whether a change of the log is already
//! in a chunk.

use serde::{Deserialize, Serialize};

use super::super::columns::Bad;
use super::super::numeric;
use super::super::types::Travel;
use super::decode::{Cell, Form, Lsn};
use super::table::Shape;
use super::text;

/// One value. Values of one column are all of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyValue {
    /// Numbers, days, times; a NaN is above them all.
    Number(i128),
    /// By bytes: text in the C collation, bytea, uuid.
    Bytes(Vec<u8>),
}

/// The values of the key's columns, compared from the first.
pub type Key = Vec<KeyValue>;

fn value(bytes: &[u8], travel: &Travel) -> Result<KeyValue, Bad> {
    fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Bad> {
        bytes.try_into().map_err(|_| Bad::corrupt("a key of another length"))
    }
    Ok(KeyValue::Number(match travel {
        Travel::Bool => i128::from(fixed::<1>(bytes)?[0]),
        Travel::Int2 => i16::from_be_bytes(fixed(bytes)?).into(),
        Travel::Int4 | Travel::Date => i32::from_be_bytes(fixed(bytes)?).into(),
        Travel::Oid => u32::from_be_bytes(fixed(bytes)?).into(),
        Travel::Int8 | Travel::Money { .. } | Travel::Time | Travel::Timestamp | Travel::TimestampTz => {
            i64::from_be_bytes(fixed(bytes)?).into()
        }
        Travel::Decimal128 { scale, .. } => match numeric::decode_i128(bytes, *scale, false) {
            // NaN; infinity cannot stand in a column with a precision.
            Err(Bad::Value(_)) => i128::MAX,
            found => found?,
        },
        Travel::Text | Travel::Bytes | Travel::Uuid => return Ok(KeyValue::Bytes(bytes.to_vec())),
        _ => return Err(Bad::corrupt("a key that only the server can compare")),
    }))
}

/// The key of a row, if its columns are ordered here. `None`: a value of it is not in the log.
pub fn of_cells(shape: &Shape, message: &[u8], cells: &[Cell]) -> Result<Option<Key>, Bad> {
    let Some(order) = &shape.order else { return Ok(None) };
    let mut key = Vec::with_capacity(order.len());
    let mut scratch = Vec::new();
    for (wire, travel) in shape.key_wire.iter().zip(order) {
        let Some(cell) = cells.get(*wire) else { return Ok(None) };
        key.push(match cell.form {
            Form::Binary => value(cell.bytes(message), travel)?,
            Form::Text => {
                scratch.clear();
                text::to_binary(cell.bytes(message), travel, b',', &mut scratch)?;
                value(&scratch, travel)?
            }
            Form::Null | Form::Unchanged => return Ok(None),
        });
    }
    Ok(Some(key))
}

/// The key that the server printed.
pub fn of_text(shape: &Shape, texts: &[String]) -> Result<Option<Key>, Bad> {
    let Some(order) = &shape.order else { return Ok(None) };
    if texts.len() != order.len() {
        return Err(Bad::corrupt("a key of another number of columns"));
    }
    let mut key = Vec::with_capacity(order.len());
    for (text, travel) in texts.iter().zip(order) {
        let mut scratch = Vec::new();
        text::to_binary(text.as_bytes(), travel, b',', &mut scratch)?;
        key.push(value(&scratch, travel)?);
    }
    Ok(Some(key))
}

/// A snapshot: which transactions it sees. Its text is `xmin:xmax:xip,…`, with numbers of 64 bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Snapshot {
    /// All below have ended.
    pub xmin: u64,
    /// None from here on has ended.
    pub xmax: u64,
    running: Vec<u64>,
}

impl TryFrom<String> for Snapshot {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no snapshot");
        let mut parts = text.split(':');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or_else(wrong);
        let (xmin, xmax) = (number()?, number()?);
        let list = parts.next().unwrap_or_default();
        let running = list.split(',').filter(|part| !part.is_empty()).map(|part| part.parse().map_err(|_| wrong()));
        let mut running = running.collect::<Result<Vec<u64>, _>>()?;
        running.sort_unstable();
        Ok(Self { xmin, xmax, running })
    }
}

impl From<Snapshot> for String {
    fn from(snapshot: Snapshot) -> String {
        let running: Vec<String> = snapshot.running.iter().map(u64::to_string).collect();
        format!("{}:{}:{}", snapshot.xmin, snapshot.xmax, running.join(","))
    }
}

impl Snapshot {
    /// Whether it sees a committed top-level transaction, of which the log has the lower 32 bits.
    pub fn sees(&self, xid: u32) -> bool {
        let xid = self.full(xid);
        xid < self.xmin || (xid < self.xmax && self.running.binary_search(&xid).is_err())
    }

    /// Of all numbers with these lower bits the one nearest to the snapshot: transactions of the log are never two thousand million away.
    fn full(&self, xid: u32) -> u64 {
        let distance = xid.wrapping_sub(self.xmax as u32) as i32;
        self.xmax.saturating_add_signed(i64::from(distance))
    }
}

/// A range of keys that was read under a snapshot. Until the log is past `until`, changes that the snapshot sees may still come.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Keys above this.
    pub after: Option<Bound>,
    /// Up to and with this.
    pub to: Option<Bound>,
    /// What it was read under.
    pub snapshot: Snapshot,
    /// The end of the log when it was read, or later.
    pub until: Lsn,
    /// A delete that it sees was given out, because the targets had rows before it.
    pub gone: bool,
}

/// A key as text, for the position and for statements, and as values.
#[derive(Debug, Clone)]
pub struct Bound {
    /// As the server prints it.
    pub text: Vec<String>,
    /// To compare.
    pub key: Key,
}

impl Chunk {
    /// Whether a key lies in it.
    pub fn holds(&self, key: &Key) -> bool {
        self.after.as_ref().is_none_or(|after| *key > after.key) && self.to.as_ref().is_none_or(|to| *key <= to.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        text.to_string().try_into().unwrap()
    }

    #[test]
    fn a_snapshot_sees_what_had_ended() {
        let found = snapshot("100:110:100,105");
        for (xid, seen) in [(99, true), (100, false), (101, true), (105, false), (109, true), (110, false), (3_000_000_000, true)]
        {
            assert_eq!(found.sees(xid), seen, "{xid}");
        }
        assert_eq!(String::from(found), "100:110:100,105");
        for text in ["", "1", "a:b:", "1:2:x"] {
            assert!(Snapshot::try_from(text.to_string()).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_that_wrapped_are_of_the_right_epoch() {
        // 2^32 + 5 is the next number; the log knows it as 5.
        let found = snapshot("4294967294:4294967301:4294967295");
        for (xid, seen) in
            [(4_294_967_293, true), (4_294_967_294, true), (4_294_967_295, false), (3, true), (4, true), (5, false), (9, false)]
        {
            assert_eq!(found.sees(xid), seen, "{xid}");
        }
    }
}
