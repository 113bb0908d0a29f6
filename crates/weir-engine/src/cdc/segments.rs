//! The segments of a journal from outside, also while somebody writes them. Nothing is changed.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_connect::Objects;
use weir_error::Result;

use super::bucket;
use super::folder::{self, MAGIC, io};
use super::journal::{HEADER, JournalPlace, damaged, intact};

/// How much is taken from a file at once.
const READ_BYTES: usize = 1 << 20;

/// A segment that somebody may be writing.
#[derive(Debug, Clone)]
pub struct SegmentFile {
    /// The boundary before it.
    pub after: u64,
    /// Its size.
    pub bytes: u64,
    /// Its name, without the journal's.
    pub name: String,
    at: At,
}

#[derive(Debug, Clone)]
enum At {
    File(PathBuf),
    Object(Arc<dyn Objects>, String),
}

/// The segments of a journal, in order.
pub async fn segments_in(place: &JournalPlace) -> Result<Vec<SegmentFile>> {
    match place {
        JournalPlace::Folder(path) => {
            let of = |segment: folder::Named| SegmentFile {
                after: segment.seq,
                bytes: segment.bytes,
                name: segment.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
                at: At::File(segment.path),
            };
            Ok(folder::named(path)?.map(of).collect())
        }
        JournalPlace::Objects(objects, path) => {
            let of = |(name, after, bytes): (String, u64, u64)| SegmentFile {
                after,
                bytes,
                at: At::Object(objects.clone(), name.clone()),
                name: name.rsplit('/').next().unwrap_or_default().to_owned(),
            };
            Ok(bucket::named(objects, path).await?.into_iter().map(of).collect())
        }
    }
}

/// Where, among segments, what comes after a boundary begins.
pub(super) fn begin(segments: &[SegmentFile], from: u64) -> Option<usize> {
    let with = segments.iter().position(|segment| segment.after == from);
    with.or_else(|| segments.iter().rposition(|segment| segment.after < from))
}

/// Reads the whole records of one segment from its beginning, as far as they are there by now. Not all of them are durable: what follows the
/// last boundary is not.
pub struct SegmentRecords {
    from: From,
    bytes: Vec<u8>,
    /// Where the next record begins.
    offset: u64,
    continues: bool,
}

enum From {
    File(PathBuf, BufReader<File>),
    /// An object is all there: what cannot be read is damaged.
    Object(String, Cursor<Vec<u8>>),
}

impl SegmentRecords {
    /// `None`: the segment is being made, or was deleted meanwhile.
    pub async fn open(segment: &SegmentFile) -> Result<Option<Self>> {
        match &segment.at {
            At::File(path) if path.is_file() => Self::of_file(path),
            At::File(_) => Ok(None),
            At::Object(objects, name) => {
                let Some(bytes) = objects.get(name).await? else { return Ok(None) };
                let shown = objects.show(name);
                let head = bucket::head(&bytes, &shown)?;
                Ok(Some(Self::of_object(shown, bytes.into(), head.length, head.continues)))
            }
        }
    }

    pub(super) fn of_file(path: &Path) -> Result<Option<Self>> {
        let file = File::open(path).map_err(|error| io(error, path))?;
        let mut file = BufReader::with_capacity(READ_BYTES, file);
        let mut magic = [0; 8];
        if file.read_exact(&mut magic).is_err() || &magic != MAGIC {
            return Ok(None);
        }
        let from = From::File(path.to_owned(), file);
        Ok(Some(Self { from, bytes: Vec::new(), offset: MAGIC.len() as u64, continues: false }))
    }

    pub(super) fn of_object(shown: String, bytes: Vec<u8>, head: usize, continues: bool) -> Self {
        let mut bytes = Cursor::new(bytes);
        bytes.set_position(head as u64);
        Self { from: From::Object(shown, bytes), bytes: Vec::new(), offset: head as u64, continues }
    }

    /// Its first records, after the boundary at its head, go on with a transaction that the segment before has begun. Otherwise such a
    /// transaction was never finished.
    pub fn continues(&self) -> bool {
        self.continues
    }

    /// The body of the next record; `None` where no whole one follows.
    pub fn read(&mut self) -> Result<Option<&[u8]>> {
        self.bytes.clear();
        self.bytes.resize(HEADER, 0);
        let (whole, strict) = match &mut self.from {
            From::File(path, file) => (record(file, &mut self.bytes).map_err(|error| io(error, path))?, None),
            From::Object(shown, bytes) => {
                let more = bytes.position() < bytes.get_ref().len() as u64;
                (record(bytes, &mut self.bytes)?, more.then_some(shown))
            }
        };
        if whole {
            self.offset += self.bytes.len() as u64;
            return Ok(Some(&self.bytes[HEADER..]));
        }
        match strict {
            Some(shown) => Err(damaged(shown.clone())),
            None => Ok(None),
        }
    }

    /// Where the last record that was given ends.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// Reads a record behind its header; `false`: it is not all there, or not as it was written.
fn record(from: &mut impl Read, bytes: &mut Vec<u8>) -> std::io::Result<bool> {
    if from.read_exact(bytes).is_err() {
        return Ok(false);
    }
    let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    let read = from.take(length as u64).read_to_end(bytes)?;
    Ok(read == length && intact(bytes, length))
}
