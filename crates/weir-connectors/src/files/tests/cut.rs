//! A storage that dies at its n-th writing operation: before it or right after it. From then on nothing works, as in a process that is gone.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use weir_error::{Error, Kind, Result};
use weir_formats::Input;

use super::super::storage::{Expect, FileMeta, Staged, StagedWriter, StagingArea, Storage};

/// Counts operations down.
#[derive(Debug)]
pub(in super::super) struct Knife {
    left: AtomicI64,
    after: bool,
    dead: AtomicBool,
}

thread_local! {
    static KNIFE: RefCell<Option<Arc<Knife>>> = const { RefCell::new(None) };
}

/// Sinks that are prepared on this thread die at this operation, until [`let_live`]. Gives whether it came to that.
pub(super) fn die_at(operation: i64, after: bool) -> Arc<Knife> {
    let knife = Arc::new(Knife { left: AtomicI64::new(operation), after, dead: AtomicBool::new(false) });
    KNIFE.set(Some(knife.clone()));
    knife
}

pub(super) fn let_live() {
    KNIFE.set(None);
}

/// The storage of a sink.
pub(in super::super) fn wrap(storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
    match KNIFE.with_borrow(Clone::clone) {
        Some(knife) => Arc::new(Cut { storage, knife }),
        None => storage,
    }
}

impl Knife {
    pub(super) fn has_cut(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn alive(&self) -> Result<()> {
        if self.has_cut() { Err(Error::new("WEIR-TEST-002", Kind::Internal, "the process is gone")) } else { Ok(()) }
    }

    async fn pass<T>(&self, operation: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.alive()?;
        if self.left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return operation.await;
        }
        if self.after {
            operation.await?;
        }
        self.dead.store(true, Ordering::SeqCst);
        self.alive().map(|()| unreachable!())
    }
}

#[derive(Debug)]
struct Cut {
    storage: Arc<dyn Storage>,
    knife: Arc<Knife>,
}

struct CutArea(Arc<dyn StagingArea>, Arc<Knife>);

struct CutWriter(Box<dyn StagedWriter>, Arc<Knife>);

#[async_trait]
impl StagedWriter for CutWriter {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.1.alive()?;
        self.0.write(data).await
    }
    fn buffered(&self) -> usize {
        self.0.buffered()
    }
    async fn finish(self: Box<Self>) -> Result<Staged> {
        let Self(writer, knife) = *self;
        knife.pass(writer.finish()).await
    }
}

#[async_trait]
impl StagingArea for CutArea {
    async fn create(&self, name: &str, path: &str) -> Result<Box<dyn StagedWriter>> {
        let writer = self.1.pass(self.0.create(name, path)).await?;
        Ok(Box::new(CutWriter(writer, self.1.clone())))
    }
    async fn seal(&self) -> Result<()> {
        self.1.pass(self.0.seal()).await
    }
}

#[async_trait]
impl Storage for Cut {
    fn show(&self, path: &str) -> String {
        self.storage.show(path)
    }
    async fn list(&self, folder: &str, depth: Option<usize>) -> Result<Vec<FileMeta>> {
        self.knife.alive()?;
        self.storage.list(folder, depth).await
    }
    async fn head(&self, path: &str) -> Result<Option<FileMeta>> {
        self.knife.alive()?;
        self.storage.head(path).await
    }
    async fn open(&self, file: &FileMeta) -> Result<Arc<dyn Input>> {
        self.knife.alive()?;
        self.storage.open(file).await
    }
    async fn read_small(&self, path: &str) -> Result<Option<(Bytes, String)>> {
        self.knife.alive()?;
        self.storage.read_small(path).await
    }
    async fn put_small(&self, path: &str, data: Bytes, expect: Expect) -> Result<()> {
        self.knife.pass(self.storage.put_small(path, data, expect)).await
    }
    async fn delete(&self, path: &str) -> Result<()> {
        self.knife.pass(self.storage.delete(path)).await
    }
    async fn prune(&self, root: &str, folders: &[String]) -> Result<()> {
        self.knife.pass(self.storage.prune(root, folders)).await
    }
    async fn staging(&self, staging: &str, lane: &str) -> Result<Arc<dyn StagingArea>> {
        let area = self.knife.pass(self.storage.staging(staging, lane)).await?;
        Ok(Arc::new(CutArea(area, self.knife.clone())))
    }
    async fn still_staged(&self, staged: &Staged) -> Result<()> {
        self.knife.alive()?;
        self.storage.still_staged(staged).await
    }
    async fn publish(&self, staged: &Staged) -> Result<()> {
        self.knife.pass(self.storage.publish(staged)).await
    }
    async fn copy(&self, from: &str, to: &str, bytes: u64) -> Result<()> {
        self.knife.pass(self.storage.copy(from, to, bytes)).await
    }
    async fn seal(&self, published: &[Staged]) -> Result<()> {
        self.knife.pass(self.storage.seal(published)).await
    }
    async fn sweep(&self, staging: &str, keep: &[Staged]) -> Result<()> {
        self.knife.pass(self.storage.sweep(staging, keep)).await
    }
    async fn lock(&self, folder: &str) -> Result<Option<Box<dyn Send + Sync>>> {
        self.knife.alive()?;
        self.storage.lock(folder).await
    }
}
