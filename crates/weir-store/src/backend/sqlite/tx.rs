//! Transactions, and the commit that several of them share.
//!
//! There is one writer, and under load many wait for it. Who has done its part while others wait does not commit: it leaves the transaction
//! open to the next one, which works behind a savepoint of its own, and waits for its answer. When those have had their turn who waited
//! when the group began, or the group is large enough, one commit keeps the work of all, and all are answered. So
//!
//! * nobody is answered before its change is kept, and no reader sees it earlier;
//! * who fails undoes its own part and nothing else;
//! * if the commit fails, all are told so and nothing was kept;
//! * the order of the changes is the order of the turns.
//!
//! A savepoint is not released before the commit: who hangs up while its last statements are on their way is then undone like any other. The
//! innermost one is always that of the member whose turn it is.
//!
//! A transaction begins with its first statement, and statements whose outcome nobody needs go with the next one: each trip to the
//! connection's thread costs more than most statements.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::OwnedMutexGuard;
use weir_error::{Error, Kind, Result};

use super::super::Sql;
use super::super::value::{self, Row, Value};
use super::Reader;
use super::slot::{Batch, Slot};

/// Members of a group at most: the first one waits for the work of all.
const MEMBERS: usize = 32;
/// Statements that wait for another one at most: the text of all is one statement in the driver's cache.
const WAITING: usize = 8;

pub(super) enum Held {
    /// The writer, and how many wait for it.
    Writer(OwnedMutexGuard<Slot>, Arc<AtomicUsize>),
    Reader(Reader),
}

impl Held {
    pub(super) fn slot(&mut self) -> Result<&mut Slot> {
        match self {
            Self::Writer(slot, _) => Ok(slot),
            Self::Reader(reader) => reader.slot.as_mut().ok_or_else(|| Error::internal("a reader without a connection")),
        }
    }
}

/// A transaction. Dropped without commit it is rolled back at once, so that other processes do not wait for it.
pub(crate) struct SqliteTx {
    held: Option<Held>,
    batch: Batch,
    /// Whether a statement has failed: as in PostgreSQL, nothing but its end may follow.
    failed: bool,
}

impl SqliteTx {
    pub(super) async fn open(mut held: Held) -> Result<Self> {
        let slot = held.slot()?;
        slot.close().await;
        let begin = match (slot.has_group(), &held) {
            (true, _) => "SAVEPOINT member",
            (false, Held::Writer(..)) => "BEGIN IMMEDIATE",
            (false, Held::Reader(_)) => "BEGIN",
        };
        let mut batch = Batch::default();
        batch.push(begin, Vec::new());
        Ok(Self { held: Some(held), batch, failed: false })
    }

    fn slot(&mut self) -> Result<&mut Slot> {
        self.held.as_mut().ok_or_else(|| Error::internal("a transaction that has ended"))?.slot()
    }

    /// What is sent for this statement.
    fn next(&mut self, sql: Sql, values: Vec<Value>) -> Result<(Sql, Vec<Value>)> {
        if self.failed {
            return Err(Error::internal("a statement in a transaction that has failed"));
        }
        // Looked at before anything is counted as sent.
        value::storable(&values)?;
        self.slot()?.open = true;
        Ok(self.batch.with(sql, values))
    }

    fn seen<T>(&mut self, outcome: Result<T>) -> Result<T> {
        self.failed |= outcome.is_err();
        outcome
    }

    pub(crate) async fn execute(&mut self, sql: Sql, values: Vec<Value>) -> Result<u64> {
        let (sql, values) = self.next(sql, values)?;
        let done = self.slot()?.execute(sql, values).await;
        self.seen(done)
    }
    pub(crate) async fn fetch_all(&mut self, sql: Sql, values: Vec<Value>) -> Result<Vec<Row>> {
        let (sql, values) = self.next(sql, values)?;
        let rows = self.slot()?.fetch_all(sql, values).await;
        self.seen(rows)
    }
    pub(crate) async fn fetch_optional(&mut self, sql: Sql, values: Vec<Value>) -> Result<Option<Row>> {
        let (sql, values) = self.next(sql, values)?;
        let row = self.slot()?.fetch_optional(sql, values).await;
        self.seen(row)
    }
    pub(crate) async fn script(&mut self, sql: &'static str) -> Result<()> {
        self.send().await?;
        let done = self.slot()?.script(sql).await;
        self.seen(done)
    }

    /// Runs a statement with the next one, at the latest with the commit.
    pub(crate) async fn later(&mut self, sql: Sql, values: Vec<Value>) -> Result<()> {
        if self.batch.len() >= WAITING {
            return self.execute(sql, values).await.map(drop);
        }
        if self.failed {
            return Err(Error::internal("a statement in a transaction that has failed"));
        }
        value::storable(&values)?;
        self.batch.push(&sql, values);
        Ok(())
    }

    /// Sends what waits.
    async fn send(&mut self) -> Result<()> {
        if self.batch.len() == 0 {
            return Ok(());
        }
        let all = std::mem::take(&mut self.batch);
        let (sql, values) = all.into_parts();
        self.execute(sql, values).await.map(drop)
    }

    pub(crate) async fn commit(mut self) -> Result<()> {
        if !self.slot()?.open && self.batch.len() <= 1 {
            // Nothing has begun.
            return Ok(());
        }
        let (grouped, waiting) = match &self.held {
            Some(Held::Writer(slot, queue)) => (slot.has_group(), queue.load(Ordering::Relaxed)),
            _ => (false, 0),
        };
        if !grouped && waiting == 0 {
            self.execute(Cow::Borrowed("COMMIT"), Vec::new()).await?;
            self.slot()?.open = false;
            return Ok(());
        }
        self.send().await?;
        if self.failed {
            return Err(Error::internal("the commit of a transaction that has failed"));
        }
        let Some(Held::Writer(mut slot, queue)) = self.held.take() else {
            return Err(Error::internal("a group without its writer"));
        };
        slot.open = false;
        let (told, generation, size) = slot.join();
        if size == 1 {
            // Its turn comes after those of all who wait now. It is a task of its own, so that nobody who hangs up takes it along.
            let writer = Arc::clone(OwnedMutexGuard::mutex(&slot));
            tokio::spawn(async move { writer.lock_owned().await.settle(Some(generation)).await });
        }
        if size >= MEMBERS {
            tokio::spawn(async move { slot.settle(None).await });
        } else {
            drop(slot);
        }
        drop(queue);
        told.await.unwrap_or_else(|_| {
            Err(Error::new("WEIR-STORE-014", Kind::Io, "the database could not keep the change")
                .because("the process is ending")
                .transient())
        })
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
                    slot.close().await;
                }
            });
        }
    }
}
