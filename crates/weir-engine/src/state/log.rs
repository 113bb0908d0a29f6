//! The log: what became of the state, one record per epoch.
//!
//! A head (`WEIRSTA1`, the fingerprint of the operators) and records `length u32, xxh3 u64, body`, little-endian. A record names the [`Point`] that it
//! comes after, and its own point carries the hash of its body: two records with one point have the same history. What stands behind
//! the last whole record was never promised to anybody.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;
use weir_error::{Error, Kind, Result};
use weir_plan::keyed::StateChange;

const MAGIC: &[u8; 8] = b"WEIRSTA1";
/// What stands before the body of a record.
const HEADER: usize = 12;

/// One moment of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The epoch that it is of; 0: before the first.
    pub epoch: u64,
    /// Tells it from any other state, and so from one with another history.
    pub hash: u64,
}

impl Point {
    /// Where the state of these operators begins.
    pub(super) fn origin(fingerprint: &str) -> Self {
        Self { epoch: 0, hash: XxHash3_64::oneshot(fingerprint.as_bytes()) }
    }

    pub(super) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[8..].copy_from_slice(&self.hash.to_le_bytes());
        bytes
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (epoch, hash) = bytes.split_at_checked(8)?;
        Some(Self { epoch: u64::from_le_bytes(epoch.try_into().ok()?), hash: u64::from_le_bytes(hash.try_into().ok()?) })
    }
}

/// What one epoch did to the state.
#[derive(Debug, PartialEq)]
pub(super) struct Record {
    /// The state before.
    pub(super) after: Point,
    /// The state then.
    pub(super) at: Point,
    /// What the engine keeps itself.
    pub(super) own: Vec<u8>,
    /// In the order in which they were made.
    pub(super) changes: Vec<StateChange>,
}

impl Record {
    /// The record with its bytes as they stand in the log.
    pub(super) fn new(after: Point, epoch: u64, own: Vec<u8>, changes: Vec<StateChange>) -> Result<(Self, Vec<u8>)> {
        let mut out = vec![0; HEADER];
        out.extend(after.to_bytes());
        out.extend(epoch.to_le_bytes());
        part(&mut out, &own)?;
        for change in &changes {
            let (kind, key) = match change {
                StateChange::Put(key, _) => (0u8, key),
                StateChange::Remove(key) => (1, key),
                StateChange::RemovePrefix(key) => (2, key),
            };
            out.push(kind);
            part(&mut out, key)?;
            if let StateChange::Put(_, value) = change {
                part(&mut out, value)?;
            }
        }
        let length = u32::try_from(out.len() - HEADER).map_err(|_| too_large())?;
        let hash = XxHash3_64::oneshot(&out[HEADER..]);
        out[..4].copy_from_slice(&length.to_le_bytes());
        out[4..HEADER].copy_from_slice(&hash.to_le_bytes());
        Ok((Self { after, at: Point { epoch, hash }, own, changes }, out))
    }

    fn parse(body: &[u8], hash: u64) -> Option<Self> {
        let mut rest = body;
        let after = Point::of_bytes(take(&mut rest, 16)?)?;
        let epoch = u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
        let own = take_part(&mut rest)?.to_vec();
        let mut changes = Vec::new();
        while !rest.is_empty() {
            let kind = take(&mut rest, 1)?[0];
            let key = take_part(&mut rest)?.to_vec();
            changes.push(match kind {
                0 => StateChange::Put(key, Bytes::copy_from_slice(take_part(&mut rest)?)),
                1 => StateChange::Remove(key),
                2 => StateChange::RemovePrefix(key),
                _ => return None,
            });
        }
        Some(Self { after, at: Point { epoch, hash }, own, changes })
    }
}

fn too_large() -> Error {
    Error::new("WEIR-STATE-015", Kind::Limit, "the state changed by more than 4 GiB in one epoch")
        .hint("make epochs shorter: `checkpoint_interval_ms`")
}

fn part(out: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| too_large())?;
    out.extend(length.to_le_bytes());
    out.extend(bytes);
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn take_part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take(rest, 4)?.try_into().ok()?);
    take(rest, length as usize)
}

/// The file, open to be written.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    path: PathBuf,
    head: u64,
    length: u64,
}

impl Log {
    /// A new log without records; whatever was there is gone.
    pub(super) fn create(path: &Path, fingerprint: &str) -> Result<Self> {
        let failed = |error| Error::from(error).at(path.display().to_string());
        let mut file = File::create(path).map_err(failed)?;
        let mut head = MAGIC.to_vec();
        part(&mut head, fingerprint.as_bytes())?;
        file.write_all(&head).and_then(|()| file.sync_all()).map_err(failed)?;
        let length = head.len() as u64;
        Ok(Self { file, path: path.to_owned(), head: length, length })
    }

    /// The log as it was left, and a reader of its records. `None`: there is none, or not one of these operators.
    pub(super) fn open(path: &Path, fingerprint: &str) -> Result<Option<(Self, Records)>> {
        let failed = |error| Error::from(error).at(path.display().to_string());
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let Some(records) = Records::open(path, fingerprint)? else { return Ok(None) };
        let length = file.metadata().map_err(failed)?.len();
        Ok(Some((Self { file, path: path.to_owned(), head: records.at, length }, records)))
    }

    /// Adds a record, durably.
    pub(super) fn append(&mut self, record: &[u8]) -> Result<()> {
        let failed = |error| Error::from(error).at(self.path.display().to_string());
        self.file.seek(SeekFrom::Start(self.length)).map_err(failed)?;
        self.file.write_all(record).and_then(|()| self.file.sync_data()).map_err(failed)?;
        self.length += record.len() as u64;
        Ok(())
    }

    /// Takes away all records: a store has them.
    pub(super) fn empty(&mut self) -> Result<()> {
        if self.head < self.length {
            let cut = self.file.set_len(self.head).and_then(|()| self.file.sync_all());
            cut.map_err(|error| Error::from(error).at(self.path.display().to_string()))?;
            self.length = self.head;
        }
        Ok(())
    }

    /// Goes on in another file, as if it were this one.
    #[cfg(test)]
    pub(super) fn goes_to(&mut self, path: &Path) -> std::io::Result<()> {
        self.file = OpenOptions::new().write(true).open(path)?;
        Ok(())
    }

    /// Bytes of records.
    pub(super) fn bytes(&self) -> u64 {
        self.length - self.head
    }
}

/// The records of a log, in order.
pub(super) struct Records {
    file: BufReader<File>,
    path: PathBuf,
    length: u64,
    /// Where the next record begins.
    at: u64,
}

impl Records {
    /// `None`: this is not a log of these operators.
    pub(super) fn open(path: &Path, fingerprint: &str) -> Result<Option<Self>> {
        let failed = |error| Error::from(error).at(path.display().to_string());
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut wanted = MAGIC.to_vec();
        part(&mut wanted, fingerprint.as_bytes())?;
        let mut records = Self { file: BufReader::with_capacity(1 << 20, file), path: path.to_owned(), length, at: 0 };
        let head = records.exactly(wanted.len() as u64)?;
        Ok((head.as_ref() == Some(&wanted)).then_some(records))
    }

    /// So many bytes, if they are there.
    fn exactly(&mut self, count: u64) -> Result<Option<Vec<u8>>> {
        if self.length - self.at < count {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
        self.file.read_exact(&mut bytes).map_err(|error| Error::from(error).at(self.path.display().to_string()))?;
        self.at += count;
        Ok(Some(bytes))
    }

    /// The next record; `None` at the end, or where the log is torn.
    pub(super) fn next(&mut self) -> Result<Option<Record>> {
        let begin = self.at;
        let record = self.whole()?;
        if record.is_none() {
            self.at = begin;
        }
        Ok(record)
    }

    fn whole(&mut self) -> Result<Option<Record>> {
        let Some(header) = self.exactly(HEADER as u64)? else { return Ok(None) };
        let mut rest = header.as_slice();
        let length = take(&mut rest, 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        let hash = take(&mut rest, 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        let (Some(length), Some(hash)) = (length, hash) else { return Ok(None) };
        let Some(body) = self.exactly(u64::from(length))? else { return Ok(None) };
        Ok((XxHash3_64::oneshot(&body) == hash).then(|| Record::parse(&body, hash)).flatten())
    }
}
