//! A buffer with two ends: a foreign writer writes into it, we take out what is there.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

#[derive(Clone, Default)]
pub(crate) struct OutBuffer(Arc<Mutex<Filled>>);

#[derive(Default)]
struct Filled {
    bytes: Vec<u8>,
    taken: u64,
}

impl OutBuffer {
    fn locked(&self) -> MutexGuard<'_, Filled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is there.
    pub(crate) fn take(&self) -> Vec<Bytes> {
        let mut filled = self.locked();
        let bytes = std::mem::take(&mut filled.bytes);
        filled.taken += bytes.len() as u64;
        if bytes.is_empty() { Vec::new() } else { vec![Bytes::from(bytes)] }
    }

    /// Bytes that are there.
    pub(crate) fn ready(&self) -> usize {
        self.locked().bytes.len()
    }

    /// Bytes written so far.
    pub(crate) fn total(&self) -> u64 {
        let filled = self.locked();
        filled.taken + filled.bytes.len() as u64
    }
}

impl Write for OutBuffer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.locked().bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
