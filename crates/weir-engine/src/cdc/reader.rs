//! Reading a journal while it grows.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weir_error::{Error, Result};

use super::bucket::{self, Bucket};
use super::codec::{self, Record};
use super::folder::{MAGIC, io, path_of};
use super::journal::{HEADER, Journal, Keeper, Segment, Tail, body_length, damaged, intact};

/// How much a reader takes from a file at once, at least.
const READ_BYTES: usize = 1 << 20;

/// Reads records in order, waiting for more at the end.
#[derive(Debug)]
pub struct JournalReader {
    journal: Arc<Journal>,
    tail: watch::Receiver<Tail>,
    from: From,
    buffer: Vec<u8>,
    at: usize,
    /// The last boundary that was given; records up to it are passed over.
    after: u64,
    /// It was met.
    begun: bool,
    /// Records after it that were given.
    since: usize,
    /// Of those, the ones that are still to be passed over.
    skip: usize,
    /// The next record is the boundary at the head of a segment.
    head: bool,
}

/// What is read just now.
#[derive(Debug)]
enum From {
    Folder {
        segment: u64,
        file: Option<Arc<File>>,
        /// Where in the segment the buffer ends.
        offset: u64,
    },
    Bucket {
        bucket: Arc<Bucket>,
        /// The last object that is in the buffer, or was.
        read: u64,
        /// The one that comes next.
        ahead: Option<Fetch>,
    },
}

/// An object on its way.
#[derive(Debug)]
struct Fetch {
    segment: Segment,
    task: JoinHandle<Result<Option<Bytes>>>,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fetch {
    fn of(bucket: &Arc<Bucket>, segment: Segment) -> Self {
        Self { segment, task: tokio::spawn(bucket.clone().get(segment)) }
    }
}

impl JournalReader {
    pub(super) fn new(journal: &Arc<Journal>, after: u64) -> Result<Self> {
        let segment = journal.segment_after(after)?;
        let from = match &journal.keeper {
            Keeper::Folder(_) => From::Folder { segment: segment.first, file: None, offset: MAGIC.len() as u64 },
            Keeper::Bucket(bucket) => From::Bucket { bucket: bucket.clone(), read: segment.first - 1, ahead: None },
        };
        Ok(Self {
            tail: journal.watch(),
            journal: journal.clone(),
            from,
            buffer: Vec::new(),
            at: 0,
            after,
            begun: false,
            since: 0,
            skip: 0,
            head: true,
        })
    }

    /// The next record and whether it is the last durable boundary; `None` at the end of a closed journal. Nothing is lost if the wait for
    /// it is given up.
    pub async fn next(&mut self) -> Result<Option<(Record, bool)>> {
        loop {
            let Some(length) = body_length(&self.buffer[self.at..]) else {
                if !self.more().await? {
                    return Ok(None);
                }
                continue;
            };
            let bytes = &self.buffer[self.at..];
            if !intact(bytes, length) {
                return Err(self.damaged());
            }
            let body = &bytes[HEADER..HEADER + length];
            let head = std::mem::take(&mut self.head);
            if !self.begun || head {
                let mark = codec::boundary(body)?;
                self.at += HEADER + length;
                // A segment follows what was read, or what is passed over.
                if head
                    && mark.as_ref().is_none_or(|mark| if self.begun { mark.seq != self.after } else { mark.seq > self.after })
                {
                    return Err(self.damaged());
                }
                self.begun |= mark.is_some_and(|mark| mark.seq >= self.after);
                continue;
            }
            let record = codec::decode(body)?;
            self.at += HEADER + length;
            let Record::Boundary(mark) = &record else {
                if self.skip > 0 {
                    self.skip -= 1;
                    continue;
                }
                self.since += 1;
                return Ok(Some((record, false)));
            };
            // At the head of what is part of a larger object by now.
            if mark.seq <= self.after {
                continue;
            }
            if mark.seq != self.after + 1 {
                return Err(self.damaged());
            }
            (self.after, self.since, self.skip) = (mark.seq, 0, 0);
            let last = mark.seq == self.tail.borrow().mark.seq;
            return Ok(Some((record, last)));
        }
    }

    fn damaged(&self) -> Error {
        let place = match &self.from {
            From::Folder { segment, .. } => match &self.journal.keeper {
                Keeper::Folder(folder) => path_of(folder, *segment).display().to_string(),
                Keeper::Bucket(_) => self.journal.show(),
            },
            From::Bucket { bucket, read, .. } => match self.journal.following(read.saturating_sub(1)) {
                Some(segment) => bucket.show_part(&segment),
                None => self.journal.show(),
            },
        };
        damaged(place)
    }

    /// Reads on; `false` at the end of a closed journal.
    async fn more(&mut self) -> Result<bool> {
        self.buffer.drain(..self.at);
        self.at = 0;
        match &self.from {
            From::Folder { .. } => self.more_of_a_file().await,
            From::Bucket { bucket, .. } => {
                if !self.buffer.is_empty() {
                    return Err(self.damaged());
                }
                let bucket = bucket.clone();
                self.next_object(&bucket).await
            }
        }
    }

    async fn more_of_a_file(&mut self) -> Result<bool> {
        let (Keeper::Folder(folder), From::Folder { segment, file, offset }) = (&self.journal.keeper, &mut self.from) else {
            return Err(Error::internal("a journal in a bucket has no files"));
        };
        loop {
            let path = path_of(folder, *segment);
            let (known, closed) = {
                let tail = self.tail.borrow_and_update();
                ((tail.segment == *segment).then_some(tail.offset), tail.closed)
            };
            let open = match file {
                Some(file) => file.clone(),
                None => {
                    let opened = Arc::new(File::open(&path).map_err(|error| io(error, &path))?);
                    *file = Some(opened.clone());
                    opened
                }
            };
            let end = match known {
                Some(end) => end,
                None => open.metadata().map_err(|error| io(error, &path))?.len(),
            };
            if *offset < end {
                let left = usize::try_from(end - *offset).unwrap_or(usize::MAX);
                let wanted = body_wanted(&self.buffer).max(READ_BYTES).min(left);
                let at = *offset;
                let read = move || {
                    let mut bytes = vec![0; wanted];
                    open.read_exact_at(&mut bytes, at).map(|()| bytes)
                };
                // From the page cache, most often. What is in the buffer stays there: whoever waits here may turn to something else.
                let mut bytes = tokio::task::spawn_blocking(read)
                    .await
                    .map_err(|error| Error::internal("reading the journal died").caused_by(error))?
                    .map_err(|error| io(error, &path))?;
                self.buffer.append(&mut bytes);
                *offset += wanted as u64;
                return Ok(true);
            }
            if !self.buffer.is_empty() {
                // What is durable ends with a boundary.
                return Err(damaged(path.display().to_string()));
            }
            match (known, self.journal.following(*segment)) {
                (_, Some(next)) => {
                    (*segment, *offset, *file) = (next.first, MAGIC.len() as u64, None);
                    self.head = true;
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

    async fn next_object(&mut self, bucket: &Arc<Bucket>) -> Result<bool> {
        loop {
            let (end, closed) = {
                let tail = self.tail.borrow_and_update();
                (tail.segment, tail.closed)
            };
            let From::Bucket { read, ahead, .. } = &mut self.from else {
                return Err(Error::internal("a journal in a folder has no objects"));
            };
            if ahead.is_none() {
                match self.journal.following(*read).filter(|next| next.first <= end) {
                    Some(next) => *ahead = Some(Fetch::of(bucket, next)),
                    None if closed => return Ok(false),
                    None => {
                        if self.tail.changed().await.is_err() {
                            return Ok(false);
                        }
                        continue;
                    }
                }
            }
            let Some(fetch) = ahead else { continue };
            let fetched =
                (&mut fetch.task).await.map_err(|error| Error::internal("reading the journal died").caused_by(error))?;
            let segment = fetch.segment;
            *ahead = None;
            let Some(bytes) = fetched? else {
                // Put together with others meanwhile, unless the journal still knows it.
                if self.journal.following(segment.first - 1) == Some(segment) {
                    return Err(bucket.missing(&segment));
                }
                self.seek()?;
                continue;
            };
            if segment.first <= *read {
                // A part of it was read already: from the last boundary on, once more.
                let begin = self.journal.segment_after(self.after)?;
                if begin != segment {
                    self.seek()?;
                    continue;
                }
                (self.begun, self.skip) = (false, self.since);
            }
            let head = bucket::head(&bytes, &bucket.show_part(&segment))?;
            if self.begun && head.continues != (self.since > 0) {
                return Err(damaged(bucket.show_part(&segment)));
            }
            if !self.begun && head.continues && segment.seq >= self.after {
                // What it goes on with is not there any more.
                return Err(bucket.missing(&Segment { first: segment.first - 1, last: segment.first - 1, ..segment }));
            }
            *read = segment.last;
            self.buffer = bytes.into();
            self.at = head.length;
            self.head = true;
            *ahead = self.journal.following(*read).filter(|next| next.first <= end).map(|next| Fetch::of(bucket, next));
            return Ok(true);
        }
    }

    /// Goes back to the last boundary; what was given after it is passed over.
    fn seek(&mut self) -> Result<()> {
        self.journal.holds(self.after)?;
        let segment = self.journal.segment_after(self.after)?;
        if let From::Bucket { read, ahead, .. } = &mut self.from {
            (*read, *ahead) = (segment.first - 1, None);
        }
        (self.begun, self.skip) = (false, self.since);
        Ok(())
    }
}

/// Bytes that a record needs beyond those that are there.
fn body_wanted(buffer: &[u8]) -> usize {
    match buffer.get(..4) {
        Some(&[a, b, c, d]) => (HEADER + u32::from_le_bytes([a, b, c, d]) as usize).saturating_sub(buffer.len()),
        _ => 0,
    }
}
