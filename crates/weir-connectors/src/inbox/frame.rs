//! Records as bytes. One frame holds what one append gave, so that a crash leaves all of it or nothing.
//!
//! ```text
//! frame   length u32 · CRC-32 u32 · count u32 · body       the CRC is over the number of the first record, the count and the body
//! body    records
//! record  length u32 · when i64 · refusal · number of fields u8 · fields · payload (the rest)
//! text    length u32, or 2^32 - 1 for none · bytes
//! ```
//! Whole numbers are little endian. Frames follow each other without gaps; the number of the first record of a file is in its name.

use bytes::{Buf, BufMut, Bytes};

/// Bytes before the body of a frame.
pub(crate) const HEAD: usize = 12;
/// The largest body.
pub(crate) const MAX_BODY: usize = 64 << 20;
const NONE: u32 = u32::MAX;

/// One message, or what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Record {
    /// When it came, microseconds since 1970.
    pub at_us: i64,
    /// Why it can be no row, as `CODE reason`: the peer's word broke a rule before it could be decoded.
    pub refused: Option<Bytes>,
    /// What came beside the payload; the connector knows the order.
    pub fields: Vec<Option<Bytes>>,
    /// The message itself.
    pub payload: Bytes,
}

impl Record {
    /// A message that comes now.
    pub fn now(payload: impl Into<Bytes>, fields: Vec<Option<Bytes>>) -> Self {
        Self { at_us: chrono::Utc::now().timestamp_micros(), refused: None, fields, payload: payload.into() }
    }

    /// The same, as a dead letter.
    pub fn refused(mut self, code: &str, reason: &str) -> Self {
        self.refused = Some(format!("{code} {reason}").into());
        self
    }

    /// A record that is no message, and gives no row: it only keeps fields.
    pub fn marker(fields: Vec<Option<Bytes>>) -> Self {
        Self { refused: Some(Bytes::new()), ..Self::now(Bytes::new(), fields) }
    }

    /// Whether it is no message.
    pub fn is_marker(&self) -> bool {
        self.refused.as_ref().is_some_and(Bytes::is_empty)
    }

    /// Bytes that it takes in a frame.
    pub fn size(&self) -> usize {
        let text = |text: &Option<Bytes>| 4 + text.as_ref().map_or(0, Bytes::len);
        4 + 8 + text(&self.refused) + 1 + self.fields.iter().map(text).sum::<usize>() + self.payload.len()
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.put_u32_le((self.size() - 4) as u32);
        out.put_i64_le(self.at_us);
        put_text(self.refused.as_ref(), out);
        out.put_u8(self.fields.len().min(255) as u8);
        self.fields.iter().take(255).for_each(|field| put_text(field.as_ref(), out));
        out.put_slice(&self.payload);
    }

    fn take(body: &mut Bytes) -> Option<Self> {
        let length = body.try_get_u32_le().ok()? as usize;
        if body.remaining() < length {
            return None;
        }
        let mut rest = body.split_to(length);
        let at_us = rest.try_get_i64_le().ok()?;
        let refused = take_text(&mut rest)?;
        let count = rest.try_get_u8().ok()?;
        let fields = (0..count).map(|_| take_text(&mut rest)).collect::<Option<Vec<_>>>()?;
        Some(Self { at_us, refused, fields, payload: rest })
    }
}

fn put_text(text: Option<&Bytes>, out: &mut Vec<u8>) {
    match text {
        Some(text) => {
            out.put_u32_le(text.len() as u32);
            out.put_slice(text);
        }
        None => out.put_u32_le(NONE),
    }
}

fn take_text(from: &mut Bytes) -> Option<Option<Bytes>> {
    match from.try_get_u32_le().ok()? {
        NONE => Some(None),
        length if from.remaining() < length as usize => None,
        length => Some(Some(from.split_to(length as usize))),
    }
}

/// The body of a frame.
pub(crate) fn body_of(records: &[Record]) -> Vec<u8> {
    let mut body = Vec::with_capacity(records.iter().map(Record::size).sum());
    records.iter().for_each(|record| record.put(&mut body));
    body
}

/// The records of a body; `None` if it is no body.
pub(crate) fn records_of(mut body: Bytes, count: u32) -> Option<Vec<Record>> {
    // A wrong count cannot reserve more than there is.
    let mut records = Vec::with_capacity((count as usize).min(body.len()));
    for _ in 0..count {
        records.push(Record::take(&mut body)?);
    }
    body.is_empty().then_some(records)
}

/// The head of a frame whose first record has this number.
pub(crate) fn head_of(first: u64, count: u32, body: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    head[4..8].copy_from_slice(&check(first, count, body).to_le_bytes());
    head[8..].copy_from_slice(&count.to_le_bytes());
    head
}

/// What a head says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Bytes of the body.
    pub length: usize,
    /// Its checksum.
    pub crc: u32,
    /// Records in it.
    pub count: u32,
}

impl Head {
    /// Reads a head; `None` if no frame has such a one.
    pub fn read(mut bytes: &[u8]) -> Option<Self> {
        let length = bytes.try_get_u32_le().ok()? as usize;
        let crc = bytes.try_get_u32_le().ok()?;
        let count = bytes.try_get_u32_le().ok()?;
        (count > 0 && length > 0 && length <= MAX_BODY).then_some(Self { length, crc, count })
    }

    /// Whether the body is the one that was written.
    pub fn fits(&self, first: u64, body: &[u8]) -> bool {
        body.len() == self.length && self.crc == check(first, self.count, body)
    }
}

fn check(first: u64, count: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&first.to_le_bytes());
    hasher.update(&count.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}
