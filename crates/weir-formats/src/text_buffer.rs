//! A window over a text stream: whole records are taken from its front, more is read at its back.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_error::Result;

use crate::compress::uncarry;

/// Bytes read at once: with the index over it, it fits a core's cache.
pub(crate) const CHUNK: usize = 256 << 10;

pub(crate) struct TextBuffer {
    reader: Box<dyn Read + Send>,
    counter: Arc<AtomicU64>,
    bytes: Vec<u8>,
    from: usize,
    to: usize,
    at_end: bool,
    /// Text bytes taken so far.
    taken: u64,
}

impl TextBuffer {
    pub(crate) fn new(reader: Box<dyn Read + Send>, counter: Arc<AtomicU64>) -> Self {
        Self { reader, counter, bytes: vec![0; CHUNK], from: 0, to: 0, at_end: false, taken: 0 }
    }

    /// What is there.
    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }

    /// Whether nothing comes behind [`TextBuffer::data`].
    pub(crate) fn at_end(&self) -> bool {
        self.at_end
    }

    /// Drops bytes from the front.
    pub(crate) fn take(&mut self, count: usize) {
        self.from += count;
        self.taken += count as u64;
    }

    /// Text bytes taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes of the file read so far (compressed, if it is).
    pub(crate) fn file_bytes(&self) -> u64 {
        self.counter.load(Ordering::Relaxed)
    }

    /// Reads until `want` bytes are there or the stream ends.
    pub(crate) fn fill(&mut self, want: usize) -> Result<()> {
        if self.at_end || self.to - self.from >= want {
            return Ok(());
        }
        if self.from > 0 {
            self.bytes.copy_within(self.from..self.to, 0);
            self.to -= self.from;
            self.from = 0;
        }
        if self.bytes.len() < want {
            self.bytes.resize(want, 0);
        } else if self.bytes.len() > 2 * CHUNK && want <= CHUNK && self.to <= CHUNK {
            // A long record is behind us: give its memory back.
            self.bytes.truncate(CHUNK);
            self.bytes.shrink_to_fit();
        }
        while self.to < want {
            match self.reader.read(&mut self.bytes[self.to..]) {
                Ok(0) => {
                    self.at_end = true;
                    break;
                }
                Ok(count) => self.to += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(uncarry(error)),
            }
        }
        Ok(())
    }
}
