//! A buffer with two ends: a foreign writer writes into it, we take out what is there.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

#[derive(Clone, Default)]
pub(crate) struct OutBuffer(Arc<Mutex<Filled>>);

/// Bytes are kept in blocks of this size: a buffer that doubles would copy a row group several times and hold it twice.
const BLOCK: usize = 1 << 20;

#[derive(Default)]
struct Filled {
    full: Vec<Bytes>,
    last: Vec<u8>,
    taken: u64,
}

impl Filled {
    fn ready(&self) -> usize {
        self.full.iter().map(Bytes::len).sum::<usize>() + self.last.len()
    }
}

impl OutBuffer {
    fn locked(&self) -> MutexGuard<'_, Filled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is there, in order.
    pub(crate) fn take(&self) -> Vec<Bytes> {
        let mut filled = self.locked();
        filled.taken += filled.ready() as u64;
        let mut blocks = std::mem::take(&mut filled.full);
        if !filled.last.is_empty() {
            blocks.push(Bytes::from(std::mem::take(&mut filled.last)));
        }
        blocks
    }

    /// Bytes that are there.
    pub(crate) fn ready(&self) -> usize {
        self.locked().ready()
    }

    /// Bytes written so far.
    pub(crate) fn total(&self) -> u64 {
        let filled = self.locked();
        filled.taken + filled.ready() as u64
    }
}

impl Write for OutBuffer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut filled = self.locked();
        let fits = buf.len().min(BLOCK - filled.last.len());
        filled.last.extend_from_slice(&buf[..fits]);
        if filled.last.len() == BLOCK {
            // There is more to come: the next block need not grow to its size.
            let block = std::mem::replace(&mut filled.last, Vec::with_capacity(BLOCK));
            filled.full.push(Bytes::from(block));
        }
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
