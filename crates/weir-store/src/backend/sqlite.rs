//! SQLite: one connection that writes, several that read, each with a thread of its own in the driver.
//!
//! The journal is a write-ahead log with `synchronous = NORMAL`: a `kill -9` at any moment loses nothing that was committed; a power cut
//! may lose the last commits, never the database. `WEIR_SQLITE_SYNCHRONOUS=FULL` waits for the disk at each commit.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use weir_error::{Error, Kind, Result};

use super::Sql;
use super::value::{self, Row, Value};
use crate::fault;

/// Connections that read.
const READERS: usize = 4;
/// How long another process may hold the database.
const BUSY: Duration = Duration::from_secs(15);

/// An open SQLite file.
pub(crate) struct Sqlite {
    path: PathBuf,
    options: SqliteConnectOptions,
    writer: Arc<AsyncMutex<Slot>>,
    readers: Arc<Readers>,
}

/// A connection and whether a transaction may still be open on it.
struct Slot {
    connection: SqliteConnection,
    open: bool,
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

enum Held {
    Writer(OwnedMutexGuard<Slot>),
    Reader(Reader),
}

impl Held {
    fn slot(&mut self) -> Result<&mut Slot> {
        match self {
            Self::Writer(guard) => Ok(guard),
            Self::Reader(reader) => reader.slot.as_mut().ok_or_else(|| Error::internal("a reader without a connection")),
        }
    }
}

/// A transaction. Dropped without commit it is rolled back at once, so that other processes do not wait for it.
pub(crate) struct SqliteTx {
    held: Option<Held>,
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
            .statement_cache_capacity(256)
            .pragma("temp_store", "memory")
            // Moving the log into the file waits for the disk: seldom, then; the log grows to 32 MB.
            .pragma("wal_autocheckpoint", "8000")
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
            idle.push(Slot { connection: reader.connect().await.map_err(failed)?, open: false });
        }
        Ok(Self {
            path: path.to_owned(),
            options,
            writer: Arc::new(AsyncMutex::new(Slot { connection: writer, open: false })),
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
        slot.close().await?;
        slot.fetch_all(sql, values).await
    }

    pub(super) async fn fetch_optional(&self, sql: Sql, values: Vec<Value>) -> Result<Option<Row>> {
        let mut held = Held::Reader(self.reader().await?);
        let slot = held.slot()?;
        slot.close().await?;
        slot.fetch_optional(sql, values).await
    }

    pub(super) async fn begin(&self) -> Result<SqliteTx> {
        let guard = Arc::clone(&self.writer).lock_owned().await;
        SqliteTx::open(Held::Writer(guard), "BEGIN IMMEDIATE").await
    }

    pub(super) async fn snapshot(&self) -> Result<SqliteTx> {
        SqliteTx::open(Held::Reader(self.reader().await?), "BEGIN").await
    }

    /// Writes a copy of one state of the database to a new file, while others go on reading and writing.
    pub(super) async fn copy_to(&self, to: &Path) -> Result<()> {
        let mut slot = Slot { connection: self.options.connect().await.map_err(fault::database)?, open: false };
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

// The driver's futures are boxed here, so that no lifetime of its traits gets into the types of all that is built upon them.
impl Slot {
    fn execute(&mut self, sql: Sql, values: Vec<Value>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let query = sqlx::query_with(AssertSqlSafe(sql), value::sqlite(values)?);
            let done = Executor::execute(&mut self.connection, query).await;
            Ok(done.map_err(fault::database)?.rows_affected())
        })
    }
    fn fetch_all(&mut self, sql: Sql, values: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>>> {
        Box::pin(async move {
            let query = sqlx::query_with(AssertSqlSafe(sql), value::sqlite(values)?);
            let rows = Executor::fetch_all(&mut self.connection, query).await;
            Ok(rows.map_err(fault::database)?.into_iter().map(Row::Sqlite).collect())
        })
    }
    fn fetch_optional(&mut self, sql: Sql, values: Vec<Value>) -> BoxFuture<'_, Result<Option<Row>>> {
        Box::pin(async move {
            let query = sqlx::query_with(AssertSqlSafe(sql), value::sqlite(values)?);
            let row = Executor::fetch_optional(&mut self.connection, query).await;
            Ok(row.map_err(fault::database)?.map(Row::Sqlite))
        })
    }
    fn script(&mut self, sql: &'static str) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let done = Executor::execute(&mut self.connection, sqlx::raw_sql(sql)).await;
            done.map(drop).map_err(fault::database)
        })
    }
    /// Ends a transaction that somebody left open.
    async fn close(&mut self) -> Result<()> {
        if self.open {
            // It fails if the transaction has ended already; the next statement says so if it has not.
            let _ = self.execute(Cow::Borrowed("ROLLBACK"), Vec::new()).await;
            self.open = false;
        }
        Ok(())
    }
}

impl SqliteTx {
    async fn open(held: Held, begin: &'static str) -> Result<Self> {
        let mut tx = Self { held: Some(held) };
        let slot = tx.slot()?;
        slot.close().await?;
        slot.open = true;
        slot.execute(Cow::Borrowed(begin), Vec::new()).await?;
        Ok(tx)
    }
    fn slot(&mut self) -> Result<&mut Slot> {
        self.held.as_mut().ok_or_else(|| Error::internal("a transaction that has ended"))?.slot()
    }
    pub(super) async fn execute(&mut self, sql: Sql, values: Vec<Value>) -> Result<u64> {
        self.slot()?.execute(sql, values).await
    }
    pub(super) async fn fetch_all(&mut self, sql: Sql, values: Vec<Value>) -> Result<Vec<Row>> {
        self.slot()?.fetch_all(sql, values).await
    }
    pub(super) async fn fetch_optional(&mut self, sql: Sql, values: Vec<Value>) -> Result<Option<Row>> {
        self.slot()?.fetch_optional(sql, values).await
    }
    pub(super) async fn script(&mut self, sql: &'static str) -> Result<()> {
        self.slot()?.script(sql).await
    }
    pub(super) async fn commit(mut self) -> Result<()> {
        let slot = self.slot()?;
        slot.execute(Cow::Borrowed("COMMIT"), Vec::new()).await?;
        slot.open = false;
        Ok(())
    }
}

impl Drop for SqliteTx {
    fn drop(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        let left_open = held.slot().is_ok_and(|slot| slot.open);
        // Outside of the runtime the next user of the connection ends it.
        if left_open && let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Ok(slot) = held.slot() {
                    let _ = slot.close().await;
                }
            });
        }
    }
}
