//! A place of objects: each is written whole, most of them once, and never changed in part. A bucket of an object store is one.
//!
//! Who needs such a place for something of its own (the engine's journal) is given one by the program; which system it is, and whose credentials
//! open it, is the program's business.

use std::fmt;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use weir_error::Result;

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its name, with `/` between its parts.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the clock of the place.
    pub written: SystemTime,
}

/// Objects by name. What one call has written every later call of everybody sees, listings included.
#[async_trait]
pub trait Objects: Send + Sync + fmt::Debug {
    /// A name for people: `s3://bucket/prefix/name`.
    fn show(&self, name: &str) -> String;

    /// Every object whose name begins with `folder/`, in no particular order.
    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>>;

    /// Writes an object where there is none. `false`: there is another one, which stays as it is. One with exactly these bytes counts as written:
    /// a request that was sent again because its answer was lost meets its own result. After an error it may be there or not.
    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool>;

    /// Writes an object, whatever is there.
    async fn replace(&self, name: &str, bytes: Bytes) -> Result<()>;

    /// A whole object; `None`: there is none.
    async fn get(&self, name: &str) -> Result<Option<Bytes>>;

    /// Deletes an object; one that is gone already is fine.
    async fn delete(&self, name: &str) -> Result<()>;
}
