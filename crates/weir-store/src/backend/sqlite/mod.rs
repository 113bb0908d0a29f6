//! SQLite: one connection that writes, several that read, each with a thread of its own in the driver.
//!
//! * `slot`: a connection and its statements; `tx`: transactions, and the commit that several of them share.
//!
//! The journal is a write-ahead log with `synchronous = NORMAL`: a `kill -9` at any moment loses nothing that was committed; a power cut
//! may lose the last commits, never the database. `WEIR_SQLITE_SYNCHRONOUS=FULL` waits for the disk at each commit.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore};
use weir_error::{Error, Kind, Result};

use super::Sql;
use super::value::{Row, Value};
use crate::fault;

mod slot;
#[cfg(test)]
mod tests;
mod tx;

use slot::Slot;
use tx::Held;
pub(crate) use tx::SqliteTx;

/// Connections that read.
const READERS: usize = 4;
/// How long another process may hold the database.
const BUSY: Duration = Duration::from_secs(15);

/// An open SQLite file.
pub(crate) struct Sqlite {
    path: PathBuf,
    options: SqliteConnectOptions,
    writer: Arc<AsyncMutex<Slot>>,
    /// How many wait for the writer.
    queue: Arc<AtomicUsize>,
    readers: Arc<Readers>,
}

struct Readers {
    idle: Mutex<Vec<Slot>>,
    permits: Arc<Semaphore>,
}

/// A reading connection; goes back when it is dropped.
struct Reader {
    slot: Option<Slot>,
    home: Arc<Readers>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.home.idle.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        }
    }
}

/// Stands in the queue for the writer until it is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(queue: &'a AtomicUsize) -> Self {
        queue.fetch_add(1, Ordering::Relaxed);
        Self(queue)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sqlite {
    /// Opens or creates the file.
    pub(super) async fn open(path: &Path) -> Result<Self> {
        let text = path.to_string_lossy();
        if text.is_empty() || text.contains(":memory:") {
            return Err(Error::new("WEIR-STORE-004", Kind::Spec, "a SQLite database in memory cannot be shared by connections")
                .hint("name a file: sqlite:/path/to/weir.db"));
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            tokio::fs::create_dir_all(folder).await.map_err(|error| Error::from(error).at(folder.display().to_string()))?;
        }
        let synchronous = match std::env::var("WEIR_SQLITE_SYNCHRONOUS").ok().as_deref() {
            None | Some("" | "NORMAL" | "normal") => SqliteSynchronous::Normal,
            Some("FULL" | "full") => SqliteSynchronous::Full,
            Some(other) => {
                return Err(Error::new("WEIR-STORE-004", Kind::Spec, format!("WEIR_SQLITE_SYNCHRONOUS is `{other}`"))
                    .hint("NORMAL (default) or FULL"));
            }
        };
        private(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY)
            .foreign_keys(true)
            .synchronous(synchronous)
            .statement_cache_capacity(512)
            .pragma("temp_store", "memory")
            // Who commits next waits while the log is moved into the file. Small pieces (4 MB) cost no throughput and cut the tail: of
            // 4,700 new jobs a second, p99 is 28 ms with 1,000 pages and 51 ms with 8,000.
            .pragma("wal_autocheckpoint", "1000")
            .disable_statement_logging();
        let failed = |error: sqlx::Error| match &error {
            sqlx::Error::Database(inner) if inner.message().contains("not a database") => {
                Error::new("WEIR-STORE-004", Kind::Data, "the file is not a SQLite database").at(text.to_string())
            }
            sqlx::Error::Database(inner) if inner.message().contains("unable to open") => {
                Error::new("WEIR-STORE-004", Kind::Io, "the database file cannot be opened")
                    .at(text.to_string())
                    .because(inner.message())
                    .hint("may this user write to the file and its folder?")
            }
            _ => fault::database(error).at(text.to_string()),
        };
        let writer = options
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .thread_name(|_| "weir-db-write".into())
            .connect()
            .await
            .map_err(failed)?;
        let mut idle = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let reader = options.clone().pragma("query_only", "on").thread_name(|_| "weir-db-read".into());
            idle.push(Slot::new(reader.connect().await.map_err(failed)?));
        }
        Ok(Self {
            path: path.to_owned(),
            options,
            writer: Arc::new(AsyncMutex::new(Slot::new(writer))),
            queue: Arc::default(),
            readers: Arc::new(Readers { idle: Mutex::new(idle), permits: Arc::new(Semaphore::new(READERS)) }),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    async fn reader(&self) -> Result<Reader> {
        let permit = Arc::clone(&self.readers.permits).acquire_owned().await;
        let permit = permit.map_err(|_| Error::internal("the readers are closed"))?;
        let slot = self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if slot.is_none() {
            return Err(Error::internal("a permit without a reader"));
        }
        Ok(Reader { slot, home: Arc::clone(&self.readers), _permit: permit })
    }

    pub(super) async fn fetch_all(&self, sql: Sql, values: Vec<Value>) -> Result<Vec<Row>> {
        let mut held = Held::Reader(self.reader().await?);
        let slot = held.slot()?;
        slot.close().await;
        slot.fetch_all(sql, values).await
    }

    pub(super) async fn fetch_optional(&self, sql: Sql, values: Vec<Value>) -> Result<Option<Row>> {
        let mut held = Held::Reader(self.reader().await?);
        let slot = held.slot()?;
        slot.close().await;
        slot.fetch_optional(sql, values).await
    }

    pub(super) async fn begin(&self) -> Result<SqliteTx> {
        let waits = Waits::new(&self.queue);
        let slot = Arc::clone(&self.writer).lock_owned().await;
        drop(waits);
        SqliteTx::open(Held::Writer(slot, Arc::clone(&self.queue))).await
    }

    pub(super) async fn snapshot(&self) -> Result<SqliteTx> {
        SqliteTx::open(Held::Reader(self.reader().await?)).await
    }

    /// Writes a copy of one state of the database to a new file, while others go on reading and writing.
    pub(super) async fn copy_to(&self, to: &Path) -> Result<()> {
        let mut slot = Slot::new(self.options.connect().await.map_err(fault::database)?);
        slot.execute(Cow::Borrowed("VACUUM INTO $1"), vec![Value::from(to.to_string_lossy().into_owned())]).await.map(drop)
    }
}

/// Makes the file, readable for its owner only: it holds the hashes of tokens and sealed secrets. The journal's files take its mode.
fn private(path: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    if path.exists() {
        return Ok(());
    }
    let made = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    made.map(drop).map_err(|error| Error::from(error).at(path.display().to_string()))
}
