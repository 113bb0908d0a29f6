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
        loop {
            let wanted = self.open.as_ref().map_or(self.next, |open| open.at);
            let Some((path, first, _)) = self.queue.file_of(wanted) else { return Err(self.gone()) };
            let open = match self.open.take() {
                Some(open) if open.first == first => open,
                _ => {
                    let fail = |error| io(error, &path);
                    let mut file = File::open(&path).map_err(fail)?;
                    file.seek(SeekFrom::Start(MAGIC.len() as u64)).map_err(fail)?;
                    Opened { file: BufReader::with_capacity(1 << 18, file), at: first, first, path }
                }
            };
            let open = self.open.insert(open);
            let fail = |error: std::io::Error| corrupt(&open.path, &error.to_string());
            let mut bytes = [0; HEAD];
            open.file.read_exact(&mut bytes).map_err(fail)?;
            let head = Head::read(&bytes).ok_or_else(|| corrupt(&open.path, &format!("no record {} is there", open.at)))?;
            let here = open.at;
            if here + u64::from(head.count) <= self.next {
                open.file.seek_relative(head.length as i64).map_err(fail)?;
                open.at += u64::from(head.count);
                continue;
            }
            let mut body = vec![0; head.length];
            open.file.read_exact(&mut body).map_err(fail)?;
            if !head.fits(here, &body) {
                return Err(corrupt(&open.path, &format!("the checksum of record {here} is wrong")));
            }
            open.at += u64::from(head.count);
            let records = records_of(Bytes::from(body), head.count)
                .ok_or_else(|| corrupt(&open.path, &format!("record {here} is none")))?;
            self.rest = records.into_iter();
            for _ in here..self.next {
                self.rest.next();
            }
            return Ok(());
        }
    }

    fn gone(&self) -> Error {
        lost(&self.queue, self.next)
    }
}

/// Records are wanted that the inbox does not have.
pub(crate) fn lost(queue: &Queue, next: u64) -> Error {
    Error::new("WEIR-INBOX-004", Kind::Conflict, format!("the inbox does not have message {next}"))
        .at(queue.place())
        .because(format!("it holds those from {} up to {}", queue.oldest(), queue.end()))
        .hint("the folder is another one, or was emptied; bring it back, or begin anew with `weir state reset`")
}
