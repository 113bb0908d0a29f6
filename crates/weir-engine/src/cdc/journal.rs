//! The journal: what the source gave, durable on disk, before any sink has it.
//!
//! * The source is told that it may forget once the journal is durable, so a sink that is down costs disk here and not at the source.
//! * Every sink reads it at its own pace. What a sink reads again after a crash is, byte for byte, what it read before: that is what makes
//!   several sinks exact, and a snapshot whose chunks cannot be read twice.
//!
//! Segments `segment-NNN.wj`: `WEIRJRN1`, then records of `length u32, xxh3 u64, body`. A segment begins with the boundary that stood before it, its number
//! is in the name. What follows the last boundary of the last segment was never promised to anybody; it is cut off when the journal is opened.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use twox_hash::XxHash3_64;
use weir_error::{Error, Kind, Result};
use weir_spec::Keep;

use super::codec::{self, Mark, Record};

const MAGIC: &[u8; 8] = b"WEIRJRN1";
const HEADER: usize = 12;
/// A segment that has grown so large is followed by a new one at its next boundary.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// How much a reader takes from the file at once, at least.
const READ_BYTES: usize = 1 << 20;

/// An open journal; one process has it at a time (the pipeline's lock).
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    /// Where durable records end.
    tail: watch::Sender<Tail>,
    segments: Mutex<Vec<Segment>>,
}

/// What stays of the journal that no sink needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long, or how much.
    pub keep: Option<Keep>,
    /// Beyond so many bytes in all, nothing.
    pub max_bytes: u64,
}

/// How far the journal is durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Tail {
    /// The last boundary.
    pub mark: Mark,
    /// The segment that holds it, by the number in its name.
    segment: u64,
    /// Where that segment ends.
    offset: u64,
    /// Nothing more will come.
    pub closed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    /// The boundary before it.
    seq: u64,
    bytes: u64,
}

fn io(error: std::io::Error, path: &Path) -> Error {
    Error::from(error).at(path.display().to_string())
}

fn path_of(folder: &Path, seq: u64) -> PathBuf {
    folder.join(format!("segment-{seq:020}.wj"))
}

fn frame(record: &Record, out: &mut Vec<u8>) -> Result<()> {
    let at = out.len();
    out.extend_from_slice(&[0; HEADER]);
    codec::encode(record, out)?;
    let length = u32::try_from(out.len() - at - HEADER).map_err(|_| {
        Error::new("WEIR-JOURNAL-002", Kind::Limit, "a batch of changes is larger than 4 GiB").hint("one row cannot be so large")
    })?;
    let hash = XxHash3_64::oneshot(&out[at + HEADER..]);
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    out[at + 4..at + HEADER].copy_from_slice(&hash.to_le_bytes());
    Ok(())
}

/// The length of the next whole record's body in `bytes`; `None`: it is not all there.
fn body_length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    (bytes.len() >= HEADER + length).then_some(length)
}

fn intact(bytes: &[u8], length: usize) -> bool {
    let hash: [u8; 8] = bytes[4..HEADER].try_into().unwrap_or_default();
    XxHash3_64::oneshot(&bytes[HEADER..HEADER + length]) == u64::from_le_bytes(hash)
}

impl Journal {
    /// Opens, or begins, the journal in `folder`. `start` is the boundary that a new one begins after.
    pub fn open(folder: &Path, start: &Mark, segment_bytes: u64) -> Result<(Arc<Self>, JournalWriter)> {
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
                let (file, offset) = create(folder, start)?;
                segments.push(Segment { seq: start.seq, bytes: offset });
                (Tail { mark: start.clone(), segment: start.seq, offset, closed: false }, file)
            }
        };
        let written = tail.offset;
        let journal =
            Arc::new(Self { folder: folder.to_owned(), tail: watch::Sender::new(tail), segments: Mutex::new(segments) });
        let writer = JournalWriter {
            journal: journal.clone(),
            file,
            written,
            whole: written,
            segment_bytes,
            buffer: Vec::new(),
            last: None,
        };
        Ok((journal, writer))
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The durable end.
    pub fn tail(&self) -> Tail {
        self.tail.borrow().clone()
    }

    /// Hears of every new durable end.
    pub fn watch(&self) -> watch::Receiver<Tail> {
        self.tail.subscribe()
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|segment| segment.bytes).sum()
    }

    /// Whether it is larger than this, and trimming could help: a single segment always stays.
    pub fn exceeds(&self, max_bytes: u64) -> bool {
        let segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        segments.len() > 1 && segments.iter().map(|segment| segment.bytes).sum::<u64>() > max_bytes
    }

    /// Deletes the segments that hold nothing after this boundary and are not to be kept. The last one stays: it knows the source's
    /// position.
    pub fn trim(&self, seq: u64, retention: &Retention) -> Result<()> {
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        while segments.len() > 1 && segments[1].seq <= seq {
            let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
            if total <= retention.max_bytes && self.kept(&segments[0], total, retention.keep)? {
                break;
            }
            let path = path_of(&self.folder, segments[0].seq);
            fs::remove_file(&path).map_err(|error| io(error, &path))?;
            segments.remove(0);
        }
        Ok(())
    }

    /// Whether a segment that nobody needs is still to be kept.
    fn kept(&self, segment: &Segment, total: u64, keep: Option<Keep>) -> Result<bool> {
        Ok(match keep {
            None => false,
            Some(Keep::Bytes(bytes)) => total.saturating_sub(segment.bytes) < bytes,
            Some(Keep::Ms(ms)) => {
                let path = path_of(&self.folder, segment.seq);
                let written = fs::metadata(&path).and_then(|data| data.modified()).map_err(|error| io(error, &path))?;
                // A clock that was set back: it was written just now.
                written.elapsed().unwrap_or_default() < Duration::from_millis(ms)
            }
        })
    }

    /// An error if what comes after this boundary is not here, or never was.
    pub fn holds(&self, seq: u64) -> Result<()> {
        let (first, last) = (self.first(), self.tail().mark.seq);
        if (first..=last).contains(&seq) {
            return Ok(());
        }
        Err(Error::new("WEIR-JOURNAL-003", Kind::Data, "the journal does not hold what a sink still needs")
            .at(self.folder.display().to_string())
            .because(format!("it goes from boundary {first} to {last}; the sink has boundary {seq}"))
            .hint("was the state folder replaced by an older or newer copy? `weir state reset` begins with a new snapshot"))
    }

    fn first(&self) -> u64 {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner).first().map_or(0, |segment| segment.seq)
    }

    /// A reader of everything after this boundary; see [`Self::holds`].
    pub fn read_after(self: &Arc<Self>, seq: u64) -> Result<JournalReader> {
        self.holds(seq)?;
        let segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        let found = segments.iter().rev().find(|segment| segment.seq <= seq).copied();
        let segment = found.ok_or_else(|| Error::internal("the journal has no segment"))?;
        drop(segments);
        Ok(JournalReader {
            tail: self.watch(),
            journal: self.clone(),
            file: None,
            segment: segment.seq,
            offset: MAGIC.len() as u64,
            buffer: Vec::new(),
            at: 0,
            after: seq,
            begun: segment.seq > seq,
        })
    }

    fn next_segment(&self, segment: u64) -> Option<u64> {
        let segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        segments.iter().map(|known| known.seq).find(|&seq| seq > segment)
    }
}

fn listed(folder: &Path) -> Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| io(error, folder))? {
        let entry = entry.map_err(|error| io(error, folder))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("segment-")?.strip_suffix(".wj")?.parse().ok());
        if let Some(seq) = number {
            found.push(Segment { seq, bytes: entry.metadata().map_err(|error| io(error, &entry.path()))?.len() });
        }
    }
    found.sort_by_key(|segment| segment.seq);
    Ok(found)
}

/// The segments of a journal that somebody else may be writing: first boundary, bytes, path; in order.
pub fn segments_in(folder: &Path) -> Result<Vec<(u64, u64, PathBuf)>> {
    let segments = listed(folder)?.into_iter();
    Ok(segments.map(|segment| (segment.seq, segment.bytes, path_of(folder, segment.seq))).collect())
}

/// Reads the whole records of one segment from its beginning, as far as they are there by now. Not all of them are durable: what follows the
/// last boundary is not.
pub struct SegmentRecords {
    path: PathBuf,
    file: std::io::BufReader<File>,
    bytes: Vec<u8>,
    /// Where the next record begins.
    offset: u64,
}

impl SegmentRecords {
    /// `None`: the segment is being made.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let file = File::open(path).map_err(|error| io(error, path))?;
        let mut file = std::io::BufReader::with_capacity(READ_BYTES, file);
        let mut magic = [0; 8];
        if file.read_exact(&mut magic).is_err() || &magic != MAGIC {
            return Ok(None);
        }
        Ok(Some(Self { path: path.to_owned(), file, bytes: Vec::new(), offset: MAGIC.len() as u64 }))
    }

    /// The body of the next record; `None` where no whole one follows.
    pub fn read(&mut self) -> Result<Option<&[u8]>> {
        self.bytes.clear();
        self.bytes.resize(HEADER, 0);
        if self.file.read_exact(&mut self.bytes).is_err() {
            return Ok(None);
        }
        let length = u32::from_le_bytes([self.bytes[0], self.bytes[1], self.bytes[2], self.bytes[3]]) as usize;
        let read = (&mut self.file).take(length as u64).read_to_end(&mut self.bytes).map_err(|error| io(error, &self.path))?;
        if read < length || !intact(&self.bytes, length) {
            return Ok(None);
        }
        self.offset += (HEADER + length) as u64;
        Ok(Some(&self.bytes[HEADER..]))
    }

    /// Where the last record that was given ends.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// A new segment after a boundary, durable with its name.
fn create(folder: &Path, start: &Mark) -> Result<(File, u64)> {
    let path = path_of(folder, start.seq);
    let mut bytes = MAGIC.to_vec();
    frame(&Record::Boundary(start.clone()), &mut bytes)?;
    let mut file = File::create(&path).map_err(|error| io(error, &path))?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|error| io(error, &path))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io(error, folder))?;
    Ok((file, bytes.len() as u64))
}

/// The last whole boundary of a segment and where it ends. `None`: the segment was never finished being made.
fn last_boundary(path: &Path) -> Result<Option<(Mark, u64)>> {
    let Some(mut records) = SegmentRecords::open(path)? else { return Ok(None) };
    let mut found = None;
    loop {
        // Only boundaries are looked into.
        let Some(mark) = records.read()?.map(codec::boundary) else { return Ok(found) };
        if let Some(mark) = mark? {
            found = Some((mark, records.offset()));
        }
    }
}

/// The one writer.
#[derive(Debug)]
pub struct JournalWriter {
    journal: Arc<Journal>,
    file: File,
    /// Bytes in the current segment, those in the buffer included.
    written: u64,
    /// Where the last boundary ends.
    whole: u64,
    segment_bytes: u64,
    buffer: Vec<u8>,
    /// The last boundary that is written and not yet durable.
    last: Option<Mark>,
}

impl JournalWriter {
    /// Takes a record; nothing is promised yet.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let before = self.buffer.len();
        frame(record, &mut self.buffer)?;
        self.written += (self.buffer.len() - before) as u64;
        if self.buffer.len() >= READ_BYTES { self.pass_on() } else { Ok(()) }
    }

    /// Ends what belongs together; [`Self::sync`] makes it durable.
    pub fn boundary(&mut self, position: Value, committed_at_us: Option<i64>) -> Result<()> {
        let before = self.last.as_ref().map_or_else(|| self.journal.tail().mark.seq, |mark| mark.seq);
        let mark = Mark { seq: before + 1, position, committed_at_us };
        self.write(&Record::Boundary(mark.clone()))?;
        self.whole = self.written;
        self.last = Some(mark);
        Ok(())
    }

    fn pass_on(&mut self) -> Result<()> {
        let result = self.file.write_all(&self.buffer).map_err(|error| io(error, &self.journal.folder));
        self.buffer.clear();
        result
    }

    /// Makes everything up to the last boundary durable and shows it to the readers. Blocks; call it where that is allowed. After an error
    /// the writer must not be used again: what is on disk is not known.
    pub fn sync(&mut self) -> Result<()> {
        let Some(mark) = self.last.take() else { return Ok(()) };
        self.pass_on()?;
        self.file.sync_data().map_err(|error| io(error, &self.journal.folder))?;
        let segment = self.journal.tail().segment;
        self.set_bytes(segment);
        let mut tail = Tail { mark, segment, offset: self.whole, closed: false };
        // A transaction that has begun stays in its segment: what is behind the last boundary may be cut off.
        if self.written >= self.segment_bytes && self.written == self.whole {
            let (file, offset) = create(&self.journal.folder, &tail.mark)?;
            (self.file, self.written, self.whole) = (file, offset, offset);
            tail = Tail { segment: tail.mark.seq, offset, ..tail };
            self.journal
                .segments
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Segment { seq: tail.segment, bytes: offset });
        }
        self.journal.tail.send_replace(tail);
        Ok(())
    }

    fn set_bytes(&self, segment: u64) {
        let mut segments = self.journal.segments.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = segments.iter_mut().rev().find(|known| known.seq == segment) {
            last.bytes = self.written;
        }
    }

    /// Nothing more will come: readers end when they have read everything.
    pub fn close(self) {
        self.journal.tail.send_modify(|tail| tail.closed = true);
    }
}

/// Reads records in order, waiting for more at the end.
#[derive(Debug)]
pub struct JournalReader {
    journal: Arc<Journal>,
    tail: watch::Receiver<Tail>,
    file: Option<Arc<File>>,
    segment: u64,
    /// Where in the segment the buffer ends.
    offset: u64,
    buffer: Vec<u8>,
    at: usize,
    /// Records up to this boundary are passed over.
    after: u64,
    begun: bool,
}

impl JournalReader {
    /// The next record and whether it is the last durable boundary; `None` at the end of a closed journal. Nothing is lost if the wait for
    /// it is given up.
    pub async fn next(&mut self) -> Result<Option<(Record, bool)>> {
        loop {
            if let Some(length) = body_length(&self.buffer[self.at..]) {
                let bytes = &self.buffer[self.at..];
                if !intact(bytes, length) {
                    return Err(Error::new("WEIR-JOURNAL-001", Kind::Data, "the journal holds a damaged record")
                        .at(path_of(&self.journal.folder, self.segment).display().to_string())
                        .hint("it was damaged outside of Weir; `weir state reset` begins with a new snapshot"));
                }
                let body = &bytes[HEADER..HEADER + length];
                if !self.begun {
                    if codec::boundary(body)?.is_some_and(|mark| mark.seq >= self.after) {
                        self.begun = true;
                    }
                    self.at += HEADER + length;
                    continue;
                }
                let record = codec::decode(body)?;
                self.at += HEADER + length;
                if let Record::Boundary(mark) = &record {
                    // The one at the head of a segment was seen at the end of the segment before.
                    if mark.seq <= self.after {
                        continue;
                    }
                    self.after = mark.seq;
                }
                let last = matches!(&record, Record::Boundary(mark) if mark.seq == self.tail.borrow().mark.seq);
                return Ok(Some((record, last)));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// Reads on; `false` at the end of a closed journal.
    async fn more(&mut self) -> Result<bool> {
        self.buffer.drain(..self.at);
        self.at = 0;
        loop {
            let path = path_of(&self.journal.folder, self.segment);
            let (known, closed) = {
                let tail = self.tail.borrow_and_update();
                ((tail.segment == self.segment).then_some(tail.offset), tail.closed)
            };
            let file = match &self.file {
                Some(file) => file.clone(),
                None => {
                    let file = Arc::new(File::open(&path).map_err(|error| io(error, &path))?);
                    self.file = Some(file.clone());
                    file
                }
            };
            let end = match known {
                Some(end) => end,
                None => file.metadata().map_err(|error| io(error, &path))?.len(),
            };
            if self.offset < end {
                let wanted =
                    body_wanted(&self.buffer).max(READ_BYTES).min(usize::try_from(end - self.offset).unwrap_or(usize::MAX));
                let at = self.offset;
                let read = move || {
                    let mut bytes = vec![0; wanted];
                    file.read_exact_at(&mut bytes, at).map(|()| bytes)
                };
                // From the page cache, most often. What is in the buffer stays there: whoever waits here may turn to something else.
                let mut bytes = tokio::task::spawn_blocking(read)
                    .await
                    .map_err(|error| Error::internal("reading the journal died").caused_by(error))?
                    .map_err(|error| io(error, &path))?;
                self.buffer.append(&mut bytes);
                self.offset += wanted as u64;
                return Ok(true);
            }
            if !self.buffer.is_empty() {
                // What is durable ends with a boundary.
                return Err(Error::new("WEIR-JOURNAL-001", Kind::Data, "the journal holds a damaged record")
                    .at(path.display().to_string())
                    .hint("it was damaged outside of Weir; `weir state reset` begins with a new snapshot"));
            }
            match (known, self.journal.next_segment(self.segment)) {
                (_, Some(next)) => {
                    (self.segment, self.offset, self.file) = (next, MAGIC.len() as u64, None);
                }
                _ if closed => return Ok(false),
                _ => {
                    if self.tail.changed().await.is_err() {
                        return Ok(false);
                    }
                }
            }
        }
    }
}

/// Bytes that a record needs beyond those that are there.
fn body_wanted(buffer: &[u8]) -> usize {
    match buffer.get(..4) {
        Some(&[a, b, c, d]) => (HEADER + u32::from_le_bytes([a, b, c, d]) as usize).saturating_sub(buffer.len()),
        _ => 0,
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
