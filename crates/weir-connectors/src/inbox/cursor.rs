//! Reading a queue in order, from any record on.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use weir_connect::{Error, Kind, Result};

use super::frame::{HEAD, Head, Record, records_of};
use super::io;
use super::queue::Queue;
use super::segments::{MAGIC, corrupt};

/// A place in a queue.
pub(crate) struct Cursor {
    queue: Arc<Queue>,
    /// The next record to give.
    next: u64,
    open: Option<Opened>,
    /// Records of a frame that was only wanted in part.
    rest: std::vec::IntoIter<Record>,
}

struct Opened {
    path: PathBuf,
    first: u64,
    file: BufReader<File>,
    /// The number of the first record of the next frame.
    at: u64,
}

impl Cursor {
    /// Before the record with this number.
    pub fn new(queue: Arc<Queue>, next: u64) -> Self {
        Self { queue, next, open: None, rest: Vec::new().into_iter() }
    }

    /// The number of the next record.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Records that are on the disk, about so many bytes of them (one at least); none if there are none yet. Blocks.
    ///
    /// # Errors
    /// `WEIR-INBOX-004` if the records are not there any more, `WEIR-INBOX-006` if a file is broken.
    pub fn read(&mut self, bytes: usize) -> Result<Vec<Record>> {
        let (mut records, mut size) = (Vec::new(), 0);
        while size < bytes.max(1) {
            match self.rest.next() {
                Some(record) => {
                    size += record.size();
                    self.next += 1;
                    records.push(record);
                }
                None if self.next < self.queue.end() => self.frame()?,
                None => break,
            }
        }
        Ok(records)
    }

    /// Takes the next frame that has a record from `next` on.
    fn frame(&mut self) -> Result<()> {
        // What was read ahead may have been taken back since, by an append that failed: then it is read once more.
        let mut ahead = self.open.is_some();
        loop {
            let wanted = self.open.as_ref().map_or(self.next, |open| open.at);
            let Some((path, first)) = self.queue.file_of(wanted) else { return Err(lost(&self.queue, self.next)) };
            let mut open = match self.open.take() {
                Some(open) if open.first == first => open,
                _ => Opened::new(path, first)?,
            };
            match open.frame(self.next) {
                Ok(Some(records)) => {
                    self.rest = records.into_iter();
                    self.open = Some(open);
                    return Ok(());
                }
                Ok(None) => self.open = Some(open),
                Err(_) if ahead => ahead = false,
                Err(error) => return Err(error),
            }
        }
    }
}

impl Opened {
    fn new(path: PathBuf, first: u64) -> Result<Self> {
        let fail = |error| io(error, &path);
        let mut file = File::open(&path).map_err(fail)?;
        file.seek(SeekFrom::Start(MAGIC.len() as u64)).map_err(fail)?;
        Ok(Self { file: BufReader::with_capacity(1 << 18, file), at: first, first, path })
    }

    /// The records of the next frame from `next` on; `None` if it ends before.
    fn frame(&mut self, next: u64) -> Result<Option<Vec<Record>>> {
        let here = self.at;
        let broken = |why: &str| corrupt(&self.path, &format!("record {here}: {why}"));
        let mut bytes = [0; HEAD];
        self.file.read_exact(&mut bytes).map_err(|error| broken(&error.to_string()))?;
        let head = Head::read(&bytes).ok_or_else(|| broken("none is there"))?;
        self.at += u64::from(head.count);
        if self.at <= next {
            self.file.seek_relative(head.length as i64).map_err(|error| broken(&error.to_string()))?;
            return Ok(None);
        }
        let mut body = vec![0; head.length];
        self.file.read_exact(&mut body).map_err(|error| broken(&error.to_string()))?;
        if !head.fits(here, &body) {
            return Err(broken("the checksum is wrong"));
        }
        let mut records = records_of(Bytes::from(body), head.count).ok_or_else(|| broken("it cannot be read"))?;
        records.drain(..usize::try_from(next.saturating_sub(here)).unwrap_or(0).min(records.len()));
        Ok(Some(records))
    }
}

/// Records are wanted that the inbox does not have.
pub(crate) fn lost(queue: &Queue, next: u64) -> Error {
    Error::new("WEIR-INBOX-004", Kind::Conflict, format!("the inbox does not have message {next}"))
        .at(queue.place())
        .because(format!("it holds those from {} up to {}", queue.oldest(), queue.end()))
        .hint("the folder is another one, or was emptied; bring it back, or begin anew with `weir state reset`")
}

/// A field of the last record, if there is one.
pub(crate) async fn last_field(queue: &Arc<Queue>, field: usize) -> Result<Option<Bytes>> {
    let queue = queue.clone();
    let read = move || {
        if queue.end() == queue.oldest() {
            return Ok(None);
        }
        let record = Cursor::new(queue.clone(), queue.end() - 1).read(1)?.pop();
        Ok(record.and_then(|record| record.fields.get(field).cloned().flatten()))
    };
    tokio::task::spawn_blocking(read).await.map_err(|error| Error::internal("work on the inbox died").caused_by(error))?
}
