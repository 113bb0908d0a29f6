//! A journal in a folder: segments `segment-NNN.wj`, NNN the boundary before them. Each is `WEIRJRN1` and records; the last one grows.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use weir_error::{Error, Result};

use super::codec::{self, Mark, Record};
use super::journal::{Journal, Segment, Tail, frame};
use super::segments::SegmentRecords;

pub(super) const MAGIC: &[u8; 8] = b"WEIRJRN1";
/// Written to the file at once, at least.
const WRITE_BYTES: usize = 1 << 20;

pub(super) fn io(error: std::io::Error, path: &Path) -> Error {
    Error::from(error).at(path.display().to_string())
}

pub(super) fn path_of(folder: &Path, seq: u64) -> PathBuf {
    folder.join(format!("segment-{seq:020}.wj"))
}

/// Deletes all of it.
pub(super) fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(error, folder)),
        _ => Ok(()),
    }
}

pub(super) fn remove(folder: &Path, segment: &Segment) -> Result<()> {
    let path = path_of(folder, segment.seq);
    fs::remove_file(&path).map_err(|error| io(error, &path))
}

/// The segments by name, in order.
pub(super) fn listed(folder: &Path) -> Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| io(error, folder))? {
        let entry = entry.map_err(|error| io(error, folder))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("segment-")?.strip_suffix(".wj")?.parse().ok());
        if let Some(seq) = number {
            let data = entry.metadata().map_err(|error| io(error, &entry.path()))?;
            let written = data.modified().map_err(|error| io(error, &entry.path()))?;
            found.push(Segment { first: seq, last: seq, seq, bytes: data.len(), written, whole: true });
        }
    }
    found.sort_by_key(|segment| segment.seq);
    Ok(found)
}

/// A segment with its path.
pub(super) struct Named {
    pub seq: u64,
    pub bytes: u64,
    pub path: PathBuf,
}

/// The same, for who looks from outside.
pub(super) fn named(folder: &Path) -> Result<impl Iterator<Item = Named>> {
    let listed = listed(folder)?.into_iter();
    Ok(listed.map(|segment| Named { seq: segment.seq, bytes: segment.bytes, path: path_of(folder, segment.seq) }))
}

/// Opens, or begins, the journal.
pub(super) fn open(folder: &Path, start: &Mark, segment_bytes: u64) -> Result<(Vec<Segment>, Tail, End)> {
    fs::create_dir_all(folder).map_err(|error| io(error, folder))?;
    let mut segments = listed(folder)?;
    let mut tail = None;
    while let Some(last) = segments.last_mut() {
        let path = path_of(folder, last.seq);
        if let Some((mark, end)) = last_boundary(&path)? {
            if end < last.bytes {
                let file = OpenOptions::new().write(true).open(&path).map_err(|error| io(error, &path))?;
                file.set_len(end).and_then(|()| file.sync_all()).map_err(|error| io(error, &path))?;
                last.bytes = end;
            }
            tail = Some(Tail { mark, segment: last.seq, offset: end, closed: false });
            break;
        }
        // It was being made when the process ended: nothing in it was promised.
        fs::remove_file(&path).map_err(|error| io(error, &path))?;
        segments.pop();
    }
    let (tail, file) = match tail {
        Some(tail) => {
            let path = path_of(folder, tail.segment);
            let mut file = OpenOptions::new().write(true).open(&path).map_err(|error| io(error, &path))?;
            file.seek(SeekFrom::Start(tail.offset)).map_err(|error| io(error, &path))?;
            (tail, file)
        }
        None => {
            let (file, segment) = create(folder, start)?;
            segments.push(segment);
            (Tail { mark: start.clone(), segment: start.seq, offset: segment.bytes, closed: false }, file)
        }
    };
    let written = tail.offset;
    let end = End { folder: folder.to_owned(), file, written, whole: written, segment_bytes, buffer: Vec::new() };
    Ok((segments, tail, end))
}

/// A new segment after a boundary, durable with its name.
fn create(folder: &Path, start: &Mark) -> Result<(File, Segment)> {
    let path = path_of(folder, start.seq);
    let mut bytes = MAGIC.to_vec();
    frame(&Record::Boundary(start.clone()), &mut bytes)?;
    let mut file = File::create(&path).map_err(|error| io(error, &path))?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|error| io(error, &path))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io(error, folder))?;
    let (seq, bytes) = (start.seq, bytes.len() as u64);
    Ok((file, Segment { first: seq, last: seq, seq, bytes, written: SystemTime::now(), whole: true }))
}

/// The last whole boundary of a segment and where it ends. `None`: the segment was never finished being made.
fn last_boundary(path: &Path) -> Result<Option<(Mark, u64)>> {
    let Some(mut records) = SegmentRecords::of_file(path)? else { return Ok(None) };
    let mut found = None;
    loop {
        // Only boundaries are looked into.
        let Some(mark) = records.read()?.map(codec::boundary) else { return Ok(found) };
        if let Some(mark) = mark? {
            found = Some((mark, records.offset()));
        }
    }
}

/// Where the last segment grows.
#[derive(Debug)]
pub(super) struct End {
    folder: PathBuf,
    file: File,
    /// Bytes in the current segment, those in the buffer included.
    written: u64,
    /// Where the last boundary ends.
    whole: u64,
    segment_bytes: u64,
    buffer: Vec<u8>,
}

impl End {
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let before = self.buffer.len();
        frame(record, &mut self.buffer)?;
        self.written += (self.buffer.len() - before) as u64;
        if self.buffer.len() >= WRITE_BYTES { self.pass_on() } else { Ok(()) }
    }

    pub fn boundary(&mut self, mark: &Mark) -> Result<()> {
        self.write(&Record::Boundary(mark.clone()))?;
        self.whole = self.written;
        Ok(())
    }

    fn pass_on(&mut self) -> Result<()> {
        let result = self.file.write_all(&self.buffer).map_err(|error| io(error, &self.folder));
        self.buffer.clear();
        result
    }

    pub fn sync(&mut self, journal: &Journal, mark: Mark) -> Result<Tail> {
        self.pass_on()?;
        self.file.sync_data().map_err(|error| io(error, &self.folder))?;
        if let Some(last) = journal.segments().last_mut() {
            (last.bytes, last.written) = (self.written, SystemTime::now());
        }
        let segment = journal.tail().segment;
        // A transaction that has begun stays in its segment: what is behind the last boundary may be cut off.
        if self.written < self.segment_bytes || self.written != self.whole {
            return Ok(Tail { mark, segment, offset: self.whole, closed: false });
        }
        let (file, next) = create(&self.folder, &mark)?;
        (self.file, self.written, self.whole) = (file, next.bytes, next.bytes);
        journal.segments().push(next);
        Ok(Tail { mark, segment: next.seq, offset: next.bytes, closed: false })
    }
}
