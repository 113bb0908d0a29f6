//! What the file connectors need of a place that holds files: listing, ranged reads, staged writes, one atomic small
//! file. Two implementations: [`super::local`] (folders) and [`super::s3`] (any S3). Knows nothing of formats, streams or manifests.
//!
//! Paths are plain strings with `/`: absolute on a local disk, the object key (without the bucket) on S3.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weir_error::Result;
use weir_formats::Input;

/// A file as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileMeta {
    /// Where it is.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Last change, nanoseconds since the epoch (S3 gives whole seconds).
    pub modified_ns: i64,
    /// The store's own fingerprint of the content; none on a local disk.
    pub etag: Option<String>,
}

impl FileMeta {
    /// Whether nothing speaks against both listings showing the same content. Where there is an entity tag it decides: it is made
    /// from the content, while copying an object onto itself only moves its time.
    pub(crate) fn same_content(&self, other: &FileMeta) -> bool {
        self.size == other.size
            && match (&self.etag, &other.etag) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => self.modified_ns == other.modified_ns,
            }
    }

    /// The name after the last `/`.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// What `put_small` expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Whatever is there is replaced.
    Anything,
    /// Nothing must be there.
    Absent,
    /// Exactly the version that `read_small` returned.
    Version(String),
}

/// Receipt for a file that is durable but not yet visible. Part of the commit token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Staged {
    /// Where it becomes visible.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
    /// The hidden file or object that holds the bytes until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<String>,
}

/// A file being written into staging. Dropping it gives up what was written; the leftovers are removed by
/// [`Storage::sweep`].
#[async_trait]
pub(crate) trait StagedWriter: Send {
    /// Takes bytes. Backpressure is the returned future.
    async fn write(&mut self, data: Bytes) -> Result<()>;
    /// Bytes held in memory.
    fn buffered(&self) -> usize;
    /// Makes everything durable. Only after the area's [`StagingArea::seal`] the name is durable too.
    async fn finish(self: Box<Self>) -> Result<Staged>;
}

/// One lane's hidden place for files of one run.
#[async_trait]
pub(crate) trait StagingArea: Send + Sync {
    /// A new file that will become visible as `path`. `name` is unique in the area.
    async fn create(&self, name: &str, path: &str) -> Result<Box<dyn StagedWriter>>;
    /// Makes the names of all finished files durable. Called once per flush, after the files' `finish`.
    async fn seal(&self) -> Result<()>;
}

/// A place that holds files.
#[async_trait]
pub(crate) trait Storage: Send + Sync + fmt::Debug {
    /// A path for people: `lake/orders`, `s3://bucket/orders`.
    fn show(&self, path: &str) -> String;

    /// Every file below the folder, in path order, hidden ones included. A folder that does not exist is empty.
    /// `depth` limits how many folders deep to look (0 = only this folder); S3 lists everything anyway.
    async fn list(&self, folder: &str, depth: Option<usize>) -> Result<Vec<FileMeta>>;

    /// One file; `None` if there is no such file (a folder is none).
    async fn head(&self, path: &str) -> Result<Option<FileMeta>>;

    /// Opens the file for reading; an error if its content is not the listed one any more. A file that is replaced while it
    /// is read is an error or keeps showing the old content, never a mixture.
    async fn open(&self, file: &FileMeta) -> Result<Arc<dyn Input>>;

    /// A whole small file with its version, for `put_small`.
    async fn read_small(&self, path: &str) -> Result<Option<(Bytes, String)>>;

    /// Replaces a small file atomically and durably. A broken expectation is a `Kind::Conflict` error.
    async fn put_small(&self, path: &str, data: Bytes, expect: Expect) -> Result<()>;

    /// Deletes a file; one that is gone already is fine.
    async fn delete(&self, path: &str) -> Result<()>;

    /// Removes empty folders from `folder` upwards, not beyond `root`. Nothing on S3.
    async fn prune(&self, root: &str, folders: &[String]) -> Result<()>;

    /// A hidden place for one lane below `staging`, which is a folder owned by one attempt.
    async fn staging(&self, staging: &str, lane: &str) -> Result<Arc<dyn StagingArea>>;

    /// Fails if a staged file is gone and not visible either. Asked for every file before the first one is published: a commit
    /// that cannot be finished must not begin.
    async fn still_staged(&self, staged: &Staged) -> Result<()>;

    /// Makes a staged file visible. Idempotent: a file that is visible already with the right size is fine.
    async fn publish(&self, staged: &Staged) -> Result<()>;

    /// Lets `to` hold what `from` holds, in place of what it held: a reader finds the old content or the new one. `from` stays, and is never changed
    /// through `to`. Repeatable; durable after [`Storage::seal`].
    async fn copy(&self, from: &str, to: &str, bytes: u64) -> Result<()>;

    /// Makes the names of published files durable. Called once after all `publish` calls.
    async fn seal(&self, published: &[Staged]) -> Result<()>;

    /// Removes everything below the folder `staging` (hidden files, incomplete uploads, notes), except what `keep` names.
    async fn sweep(&self, staging: &str, keep: &[Staged]) -> Result<()>;

    /// Held while a commit reads and rewrites the manifest of `folder`; dropping it lets go. S3 has no lock and relies on
    /// the conditional `put_small`.
    async fn lock(&self, folder: &str) -> Result<Option<Box<dyn Send + Sync>>>;
}

/// `folder/name` with exactly one slash between, and none before an empty folder.
pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        return name.trim_start_matches('/').to_owned();
    }
    format!("{}/{}", folder.trim_end_matches('/'), name.trim_start_matches('/'))
}

/// The folder of a path; empty for a bare name.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
