//! What a connector hands in: random access to one object of known size.

use std::ops::Range;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use weir_error::{Error, Kind, Result};

/// One file or object, as it was when the run's view was fixed.
#[async_trait]
pub trait Input: Send + Sync + 'static {
    /// How messages and dead letters call it: a path or URL without secrets.
    fn name(&self) -> &str;

    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Exactly the bytes of `range`, which lies within `0..size()`. A transient failure should be marked so and may be retried
    /// inside. An object that changed since it was listed is an error, not other bytes.
    async fn range(&self, range: Range<u64>) -> Result<Bytes>;

    /// A path on this machine with the same bytes. With it, files are read with plain blocking reads (faster, less
    /// memory); `range` is then only used for small pieces.
    fn local_path(&self) -> Option<&Path> {
        None
    }
}

/// Bytes in memory: tests, and responses that are small by nature.
#[derive(Debug, Clone)]
pub struct MemoryInput {
    name: String,
    bytes: Bytes,
}

impl MemoryInput {
    /// An input of these bytes.
    pub fn new(name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

#[async_trait]
impl Input for MemoryInput {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn range(&self, range: Range<u64>) -> Result<Bytes> {
        if range.start > range.end || range.end > self.size() {
            return Err(Error::new("WEIR-FMT-002", Kind::Data, "the file ends too early").at(self.name.clone()));
        }
        Ok(self.bytes.slice(range.start as usize..range.end as usize))
    }
}
