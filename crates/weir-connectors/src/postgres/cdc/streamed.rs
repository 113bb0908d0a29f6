//! Transactions that the server sends before they are committed: kept aside, in memory up to a bound and then in a file without name, until
//! they are committed or rolled back. Nothing of them is given out before.
//!
//! As in PostgreSQL's own subscriber, a subtransaction that is rolled back takes everything after its first change with it, except the tables'
//! shapes, which the server sends only once per transaction.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use weir_connect::{Error, Result};

#[derive(Default)]
struct Part {
    /// What is not in the file.
    bytes: Vec<u8>,
    file: Option<File>,
    /// Bytes in the file.
    filed: u64,
    /// The first change of each subtransaction: its number, and where it begins.
    begins: Vec<(u32, u64)>,
}

/// Those that are open.
pub struct Streamed {
    parts: HashMap<u32, Part>,
    in_memory: usize,
    limit: usize,
    folder: PathBuf,
}

fn disk(error: std::io::Error) -> Error {
    Error::from(error)
        .hint("a transaction larger than memory allows is kept in the temporary folder until it is committed; set TMPDIR")
}

/// A file that is gone when it is closed.
fn unnamed(folder: &std::path::Path) -> std::io::Result<File> {
    let path = folder.join(format!("weir-transaction-{}", uuid::Uuid::new_v4().simple()));
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

impl Streamed {
    /// None open. At most about `limit` bytes stay in memory.
    pub fn new(limit: usize) -> Self {
        Self { parts: HashMap::new(), in_memory: 0, limit, folder: std::env::temp_dir() }
    }

    /// Keeps a message of the transaction `xid` that was sent for `subxid` (itself or a subtransaction).
    pub fn keep(&mut self, xid: u32, subxid: u32, tag: u8, rest: &[u8]) -> Result<()> {
        let part = self.parts.entry(xid).or_default();
        if subxid != xid
            && part.begins.last().is_none_or(|(last, _)| *last != subxid)
            && !part.begins.iter().any(|(id, _)| *id == subxid)
        {
            part.begins.push((subxid, part.filed + part.bytes.len() as u64));
        }
        let length = u32::try_from(rest.len() + 1).map_err(|_| Error::internal("a message over 4 GiB"))?;
        part.bytes.extend_from_slice(&length.to_le_bytes());
        part.bytes.push(tag);
        part.bytes.extend_from_slice(rest);
        self.in_memory += rest.len() + 5;
        if self.in_memory > self.limit {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        let Some(part) = self.parts.values_mut().max_by_key(|part| part.bytes.len()) else { return Ok(()) };
        if part.file.is_none() {
            part.file = Some(unnamed(&self.folder).map_err(disk)?);
        }
        if let Some(file) = &mut part.file {
            file.write_all(&part.bytes).map_err(disk)?;
        }
        part.filed += part.bytes.len() as u64;
        self.in_memory -= part.bytes.len();
        part.bytes.clear();
        Ok(())
    }

    /// It was rolled back, or its subtransaction was.
    pub fn abort(&mut self, xid: u32, subxid: u32) -> Result<()> {
        if xid == subxid {
            if let Some(part) = self.parts.remove(&xid) {
                self.in_memory -= part.bytes.len();
            }
            return Ok(());
        }
        let Some(part) = self.parts.get_mut(&xid) else { return Ok(()) };
        // Without changes that were sent there is nothing to take back.
        let Some(at) = part.begins.iter().position(|(id, _)| *id == subxid) else { return Ok(()) };
        let offset = part.begins[at].1;
        part.begins.truncate(at);
        let mut shapes = Vec::new();
        let mut walk = |bytes: &[u8]| {
            let mut rest = bytes;
            while let Some((length, after)) = rest.split_first_chunk::<4>() {
                let length = (u32::from_le_bytes(*length) as usize).min(after.len());
                if after.first() == Some(&b'R') {
                    shapes.extend_from_slice(&rest[..4 + length]);
                }
                rest = &after[length..];
            }
        };
        let before = part.bytes.len();
        if offset >= part.filed {
            let cut = (offset - part.filed) as usize;
            walk(&part.bytes[cut..]);
            part.bytes.truncate(cut);
        } else {
            if let Some(file) = &mut part.file {
                let mut reader = Replay { file: None, left: part.filed - offset, bytes: Vec::new(), at: 0, ahead: Vec::new() };
                file.seek(SeekFrom::Start(offset)).map_err(disk)?;
                let mut record = Vec::new();
                while reader.read_from(file, &mut record)? {
                    if record.first() == Some(&b'R') {
                        shapes_push(&mut record, &mut walk);
                    }
                }
                file.set_len(offset).map_err(disk)?;
                file.seek(SeekFrom::Start(offset)).map_err(disk)?;
            }
            walk(&part.bytes);
            part.bytes.clear();
            part.filed = offset;
        }
        part.bytes.extend_from_slice(&shapes);
        self.in_memory = self.in_memory - before + part.bytes.len();
        Ok(())
    }

    /// It was committed: its messages, in order.
    pub fn take(&mut self, xid: u32) -> Result<Replay> {
        let Some(mut part) = self.parts.remove(&xid) else { return Ok(Replay::default()) };
        self.in_memory -= part.bytes.len();
        if let Some(file) = &mut part.file {
            file.rewind().map_err(disk)?;
        }
        Ok(Replay { file: part.file, left: part.filed, bytes: part.bytes, at: 0, ahead: Vec::new() })
    }

    /// Forgets all of them: the server will send them again.
    pub fn clear(&mut self) {
        self.parts.clear();
        self.in_memory = 0;
    }
}

/// Walks over one record as if it stood in a buffer.
fn shapes_push(record: &mut Vec<u8>, walk: &mut impl FnMut(&[u8])) {
    let mut framed = (record.len() as u32).to_le_bytes().to_vec();
    framed.append(record);
    walk(&framed);
}

/// The messages of a committed transaction.
#[derive(Default)]
pub struct Replay {
    file: Option<File>,
    left: u64,
    bytes: Vec<u8>,
    at: usize,
    ahead: Vec<u8>,
}

impl Replay {
    /// Puts the next message into `record`; `false` after the last.
    pub fn next(&mut self, record: &mut Vec<u8>) -> Result<bool> {
        if let Some(mut file) = self.file.take() {
            let found = self.read_from(&mut file, record)?;
            if found {
                self.file = Some(file);
                return Ok(true);
            }
        }
        let Some((length, after)) = self.bytes.get(self.at..).and_then(|rest| rest.split_first_chunk::<4>()) else {
            return Ok(false);
        };
        let length = u32::from_le_bytes(*length) as usize;
        record.clear();
        record.extend_from_slice(after.get(..length).ok_or_else(|| Error::internal("a kept message was cut"))?);
        self.at += 4 + length;
        Ok(true)
    }

    fn read_from(&mut self, file: &mut File, record: &mut Vec<u8>) -> Result<bool> {
        const PIECE: u64 = 1 << 20;
        let mut need = 4;
        loop {
            if self.ahead.len() - self.at >= need {
                let bytes = &self.ahead[self.at..];
                let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
                if bytes.len() >= 4 + length {
                    record.clear();
                    record.extend_from_slice(&bytes[4..4 + length]);
                    self.at += 4 + length;
                    return Ok(true);
                }
                need = 4 + length;
            }
            if self.left == 0 {
                if self.ahead.len() > self.at {
                    return Err(Error::internal("a kept message was cut"));
                }
                (self.at, self.ahead) = (0, Vec::new());
                return Ok(false);
            }
            self.ahead.drain(..self.at);
            self.at = 0;
            let piece = self.left.min(PIECE.max(need as u64));
            let had = self.ahead.len();
            self.ahead.resize(had + piece as usize, 0);
            file.read_exact(&mut self.ahead[had..]).map_err(disk)?;
            self.left -= piece;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(replay: &mut Replay) -> Vec<Vec<u8>> {
        let (mut out, mut record) = (Vec::new(), Vec::new());
        while replay.next(&mut record).unwrap() {
            out.push(record.clone());
        }
        out
    }

    #[test]
    fn a_rolled_back_savepoint_takes_what_came_after_it_but_not_the_shapes() {
        for limit in [usize::MAX, 0, 20] {
            let mut kept = Streamed::new(limit);
            kept.keep(1, 1, b'I', b"first").unwrap();
            kept.keep(1, 2, b'I', b"inside").unwrap();
            kept.keep(1, 2, b'R', b"shape").unwrap();
            kept.keep(1, 3, b'I', b"nested").unwrap();
            kept.abort(1, 3).unwrap();
            kept.abort(1, 9).unwrap();
            kept.abort(1, 2).unwrap();
            kept.keep(1, 4, b'I', b"last").unwrap();
            kept.keep(7, 7, b'I', b"other").unwrap();
            kept.abort(7, 7).unwrap();
            let found = all(&mut kept.take(1).unwrap());
            assert_eq!(found, [b"Ifirst".to_vec(), b"Rshape".to_vec(), b"Ilast".to_vec()], "limit {limit}");
            assert!(all(&mut kept.take(7).unwrap()).is_empty());
            assert_eq!(kept.in_memory, 0);
        }
    }

    proptest! {
        #[test]
        fn in_memory_and_on_disk_are_the_same(
            steps in proptest::collection::vec((0_u32..2, 0_u32..5, proptest::collection::vec(any::<u8>(), 0..50), 0_u8..10), 0..80),
            limit in 0_usize..300,
        ) {
            let (mut small, mut large) = (Streamed::new(limit), Streamed::new(usize::MAX));
            for (xid, sub, bytes, what) in &steps {
                let xid = xid * 100;
                for kept in [&mut small, &mut large] {
                    match what {
                        0 => kept.abort(xid, xid + sub).unwrap(),
                        1 => kept.keep(xid, xid + sub, b'R', bytes).unwrap(),
                        _ => kept.keep(xid, xid + sub, b'I', bytes).unwrap(),
                    }
                }
            }
            for xid in [0, 100] {
                prop_assert_eq!(all(&mut small.take(xid).unwrap()), all(&mut large.take(xid).unwrap()));
            }
            prop_assert_eq!(small.in_memory, 0);
        }
    }
}
