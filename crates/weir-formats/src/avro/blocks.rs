//! The file as the decoder sees it: a header, and one checked and decompressed block after the other.

use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use weir_error::{Error, Result};

use super::header::{Header, long, put_long};
use super::unpack::Codec;
use super::walk::{FREE_VALUES, check};
use super::{MAX_BLOCK, corrupted};
use crate::compress::uncarry;
use crate::text::Raw;

/// What block walker and reader tell each other; the decoder between them passes on only texts.
#[derive(Default)]
pub(super) struct Shared {
    /// Why the walk stopped.
    pub(super) fault: Option<Error>,
    /// Records in the blocks handed on.
    pub(super) records: u64,
    /// Records in the blocks passed over.
    pub(super) passed: u64,
    /// Records still to pass over.
    pub(super) skip: u64,
}

pub(super) fn locked(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Room in front of a block's records for its count and its length, which are known only once it is decompressed.
const FRONT: usize = 20;

/// Hands the decoder the header and then one checked block after the other.
pub(super) struct Blocks {
    inner: io::BufReader<Raw>,
    header: Header,
    /// What the decoder gets, from `at` on.
    current: Vec<u8>,
    at: usize,
    /// A block as it lies in the file, if that is another one.
    packed: Vec<u8>,
    /// Where the split ends in the file, and how many of its bytes were not read yet.
    end: u64,
    left: u64,
    /// What may be spent on values without bytes.
    free: u64,
    shared: Arc<Mutex<Shared>>,
}

impl Blocks {
    pub(super) fn new(raw: Raw, header: Header, range: Range<u64>, shared: Arc<Mutex<Shared>>) -> Self {
        Self {
            inner: io::BufReader::with_capacity(256 << 10, raw),
            current: header.plain.to_vec(),
            header,
            at: 0,
            packed: Vec::new(),
            end: range.end,
            left: range.end - range.start,
            free: FREE_VALUES,
            shared,
        }
    }

    fn number(&mut self) -> Result<u64> {
        let mut bytes = [0; 10];
        for length in 1..=bytes.len() {
            self.exact(length - 1..length, &mut bytes)?;
            if let Some((value, _)) = long(&bytes[..length])? {
                return u64::try_from(value).map_err(|_| corrupted("a negative count or length"));
            }
        }
        Err(corrupted("a number of more than ten bytes"))
    }

    fn exact(&mut self, place: Range<usize>, bytes: &mut [u8]) -> Result<()> {
        if (place.len() as u64) > self.left {
            return Err(corrupted("the file ends inside a block"));
        }
        self.left -= place.len() as u64;
        self.inner.read_exact(&mut bytes[place]).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => corrupted("the file ends inside a block"),
            _ => uncarry(error),
        })
    }

    fn next_block(&mut self) -> Result<()> {
        while self.left > 0 {
            let place = self.end - self.left;
            let count = self.number()?;
            let length = self.number()?;
            if length > MAX_BLOCK || length + 16 > self.left {
                return Err(corrupted("the file ends inside a block"));
            }
            let codec = self.header.codec;
            let front = if codec == Codec::Null { FRONT } else { 0 };
            let mut block = std::mem::take(if codec == Codec::Null { &mut self.current } else { &mut self.packed });
            block.resize(front + length as usize + 16, 0);
            self.exact(front..block.len(), &mut block)?;
            if block[front + length as usize..] != self.header.sync {
                return Err(corrupted("a block does not end with the file's marker"));
            }
            let passed = {
                let mut shared = locked(&self.shared);
                // A block without records is never passed over: nobody else would see that it has bytes.
                let passed = count > 0 && count <= shared.skip;
                if passed {
                    shared.skip -= count;
                    shared.passed += count;
                }
                passed
            };
            if codec == Codec::Null {
                self.current = block;
            } else {
                if !passed {
                    self.current.clear();
                    self.current.resize(FRONT, 0);
                    codec.unpack(&block[..length as usize], MAX_BLOCK, &mut self.current).map_err(|why| at_block(place, &why))?;
                    self.current.extend_from_slice(&self.header.sync);
                }
                self.packed = block;
            }
            if passed {
                continue;
            }
            let records = &self.current[FRONT..self.current.len() - 16];
            self.free = self.free.saturating_add(records.len() as u64);
            check(&self.header.row, records, count, &mut self.free).map_err(|why| at_block(place, &why))?;
            let mut front = Vec::with_capacity(FRONT);
            put_long(&mut front, count);
            put_long(&mut front, records.len() as u64);
            self.at = FRONT - front.len();
            self.current[self.at..FRONT].copy_from_slice(&front);
            locked(&self.shared).records += count;
            return Ok(());
        }
        self.current.clear();
        self.at = 0;
        Ok(())
    }
}

fn at_block(place: u64, why: &str) -> Error {
    corrupted(format!("the block at byte {place}: {why}"))
}

impl Read for Blocks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buf.len());
        buf[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Blocks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len()
            && let Err(error) = self.next_block()
        {
            let text = io::Error::other(error.to_string());
            // Nothing comes after a fault, whoever asks.
            self.current.clear();
            (self.at, self.left) = (0, 0);
            locked(&self.shared).fault = Some(error);
            return Err(text);
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.current.len());
    }
}
