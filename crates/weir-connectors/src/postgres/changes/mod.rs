//! Applying changes: updates and deletes by key, every flush one transaction, visible when it returns.
//!
//! | step | where |
//! | --- | --- |
//! | changes are collapsed to the last one per key | `crate::changes::pending` |
//! | rows go by COPY into a temporary table of the session, with the number of their group | `stage` |
//! | one statement per group brings them into the target | `statements` |
//! | a new shape of the stream | `evolve`, `bound` |
//! | what the target refuses, in words | `refusals` |
//!
//! A flush is two round trips: one pipeline of {begin, fence, COPY with its data, the statements, the ledger}, whose counts are checked, and
//! COMMIT. The progress of the barrier is in the same transaction as the rows (see `super::ledger`): exactly once.
//!
//! What does not fit into memory is applied to the target ahead of the flush, in its transaction, which stays open: nobody sees it before.
//!
//! Not here: what the rows look like on the wire (`super::copy_encode`), which table it is (`super::target`).

mod bound;
mod evolve;
mod refusals;
mod stage;
mod statements;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use weir_connect::{
    Barrier, ChangeBatch, ChangeWriter, DeleteMode, Error, Flushed, Kind, Result, SchemaChange, StreamTarget, TransactionMark,
    WriteMode, failpoint,
};

use self::bound::Bound;
pub use self::bound::Setup;
use self::stage::Stager;
pub use self::statements::DELETED;
use self::statements::{Expect, STAGE, Step};
use super::client::Client;
use super::copy_encode::{HEADER, TRAILER};
use super::errors::sqlstate;
use super::ledger::{Ledger, Statement};
use super::sink::{Shared, name_target};
use super::target;
use crate::changes::groups::Group;
use crate::changes::pending::Pending;
use crate::changes::shapes::permit;

/// Bytes of changes that wait in memory; more goes ahead into the open transaction.
const PENDING_BYTES: usize = 16 * 1024 * 1024;

#[cfg(test)]
thread_local! {
    /// A smaller bound, so that few rows are too many.
    pub static PENDING_LIMIT: std::cell::Cell<usize> = const { std::cell::Cell::new(PENDING_BYTES) };
}

fn pending_limit() -> usize {
    #[cfg(test)]
    return PENDING_LIMIT.get();
    #[cfg(not(test))]
    PENDING_BYTES
}

/// Encoded bytes that are collected before they are sent.
const MESSAGE_BYTES: usize = 256 * 1024;
/// Room for the head of a CopyData message.
const HEAD: usize = 5;

/// Durable means on disk, whatever the server's default is; and a trigger that talks must not fill the line while nobody listens.
const SETTINGS: &str = "SET synchronous_commit = on; SET statement_timeout = 0; SET client_min_messages = error";

/// A statement of a pipeline, to judge its count by.
enum Sent {
    Other,
    Fence,
    Copy(u64),
    Merge(Step),
}

/// See the module.
pub struct Changes {
    shared: Arc<Shared>,
    setup: Setup,
    target: StreamTarget,
    client: Client,
    bound: Bound,
    pending: Pending,
    /// The target is to be emptied before what is pending.
    truncating: bool,
    /// A transaction is open.
    open: bool,
    /// It has rows in the table of staged changes.
    staged: bool,
    /// Something failed halfway: only a new writer knows where to go on.
    failed: bool,
    message: Vec<u8>,
    /// Changes since the last flush.
    rows: u64,
    bytes: u64,
}

impl Changes {
    /// A session of its own, bound to the target.
    pub async fn open(shared: Arc<Shared>, setup: Setup, target: StreamTarget) -> Result<Self> {
        if !matches!(target.write_mode, WriteMode::Upsert | WriteMode::Merge) {
            return Err(Error::new(
                "WEIR-PG-043",
                Kind::Spec,
                format!("changes cannot be applied in write_mode {}", target.write_mode.as_str()),
            )
            .at(shared.place.clone())
            .hint("set `write_mode: upsert` or `merge`"));
        }
        let mut client = Client::connect(&shared.address).await?;
        client.about(&shared.place);
        client.batch(SETTINGS).await?;
        let bound = Bound::new(&mut client, &target, &setup).await?;
        let pending = Pending::new(&target.schema, &target.key, setup.deletes)?;
        Ok(Self {
            shared,
            setup,
            target,
            client,
            bound,
            pending,
            truncating: false,
            open: false,
            staged: false,
            failed: false,
            message: Vec::new(),
            rows: 0,
            bytes: 0,
        })
    }

    fn usable(&self) -> Result<()> {
        if self.failed {
            return Err(Error::internal("a writer of changes was used after it failed").at(self.shared.place.clone()));
        }
        Ok(())
    }

    fn push(&mut self, statement: &Statement) -> Result<()> {
        let parameters: Vec<Option<&str>> = statement.parameters.iter().map(|text| Some(text.as_str())).collect();
        self.client.push(&statement.sql, &parameters)
    }

    /// Pushes the beginning of a transaction, if none is open.
    fn begin(&mut self, sent: &mut Vec<Sent>) -> Result<()> {
        if self.open {
            return Ok(());
        }
        self.client.push("BEGIN", &[])?;
        let fence = self.shared.ledger.fence_statement(self.shared.attempt);
        self.push(&fence)?;
        sent.extend([Sent::Other, Sent::Fence]);
        Ok(())
    }

    /// Pushes the steps, so that they can be taken back where another way is known.
    fn push_steps(&mut self, steps: Vec<Step>, again: bool, sent: &mut Vec<Sent>) -> Result<()> {
        let unique = self.bound.unique;
        if again {
            self.client.push("ROLLBACK TO SAVEPOINT weir_merge", &[])?;
            sent.push(Sent::Other);
        } else if unique {
            self.client.push("SAVEPOINT weir_merge", &[])?;
            sent.push(Sent::Other);
        }
        for step in steps {
            self.client.push(&step.sql, &[])?;
            sent.push(Sent::Merge(step));
        }
        if unique {
            self.client.push("RELEASE SAVEPOINT weir_merge", &[])?;
            sent.push(Sent::Other);
        }
        Ok(())
    }

    fn push_ledger(&mut self, barrier: Option<&Barrier>, sent: &mut Vec<Sent>) -> Result<()> {
        let Some(barrier) = barrier else { return Ok(()) };
        for statement in self.shared.ledger.flush_statements(self.shared.attempt, barrier, self.rows, self.bytes)? {
            self.push(&statement)?;
            sent.push(Sent::Other);
        }
        Ok(())
    }

    /// Sends the pending rows. `None` if the server refused something before their end.
    async fn copy(&mut self) -> Result<Option<(Vec<Group>, u64)>> {
        let mut stager = Stager::new(&self.pending, &self.bound.plans, &self.bound.statements.keys, self.bound.text)?;
        let message = &mut self.message;
        message.clear();
        message.resize(HEAD, 0);
        if !self.bound.text {
            message.extend_from_slice(HEADER);
        }
        for slot in self.pending.slots() {
            stager.write(slot, message)?;
            if message.len() >= MESSAGE_BYTES {
                self.bytes += (message.len() - HEAD) as u64;
                if !self.client.push_data(message).await? {
                    return Ok(None);
                }
                // A large value must not keep its memory for the rest of the run.
                message.truncate(HEAD);
                message.shrink_to(MESSAGE_BYTES * 2);
            }
        }
        if !self.bound.text {
            message.extend_from_slice(&TRAILER);
        }
        self.bytes += (message.len() - HEAD) as u64;
        if message.len() > HEAD && !self.client.push_data(message).await? {
            return Ok(None);
        }
        self.client.push_data_end();
        Ok(Some((stager.groups.all, self.pending.slots().len() as u64)))
    }

    /// Brings what is pending into the target, in the open transaction; with a barrier also its progress.
    async fn send(&mut self, barrier: Option<&Barrier>) -> Result<()> {
        let sent = self.attempt(barrier).await;
        if sent.is_err() {
            self.client.abandon().await;
        }
        sent
    }

    async fn attempt(&mut self, barrier: Option<&Barrier>) -> Result<()> {
        let mut sent = Vec::new();
        let mut groups = Vec::new();
        self.client.pipeline()?;
        self.begin(&mut sent)?;
        if self.truncating {
            let table = &self.bound.statements.table;
            let sql = if self.bound.may_truncate { format!("TRUNCATE {table}") } else { format!("DELETE FROM {table}") };
            self.client.push(&sql, &[])?;
            sent.push(Sent::Other);
        }
        let mut complete = true;
        if !self.pending.is_empty() {
            if self.staged {
                self.client.push(&format!("TRUNCATE {STAGE}"), &[])?;
                sent.push(Sent::Other);
            }
            self.client.push(&self.bound.statements.copy(self.bound.text), &[])?;
            self.staged = true;
            match self.copy().await? {
                Some((found, rows)) => {
                    sent.push(Sent::Copy(rows));
                    groups = found;
                    let steps = self.bound.statements.merge(&groups);
                    self.push_steps(steps, false, &mut sent)?;
                }
                None => complete = false,
            }
        }
        // Behind a refusal nothing is carried out anyway.
        if complete {
            self.push_ledger(barrier, &mut sent)?;
        }
        let answer = self.client.run().await?;
        self.judge(&sent, &answer.counts).await?;
        if let Some(error) = answer.error {
            let failed = sent.get(answer.counts.len());
            if matches!(failed, Some(Sent::Fence)) && sqlstate(&error) == Some("22012") {
                return Err(Ledger::fenced_off(&self.client));
            }
            let merging = matches!(failed, Some(Sent::Merge(_)));
            if !(merging && self.bound.unique && matches!(sqlstate(&error), Some("23505" | "23P01"))) {
                return Err(refusals::statement(error, &self.bound.name));
            }
            self.rewrite(error, &groups, barrier).await?;
        }
        self.open = true;
        self.truncating = false;
        self.pending.clear();
        Ok(())
    }

    /// The second way, after values that must be unique were in each other's way.
    async fn rewrite(&mut self, error: Error, groups: &[Group], barrier: Option<&Barrier>) -> Result<()> {
        if let Some(constraints) = &self.bound.cascades {
            return Err(refusals::cascades(error, &self.bound.name, constraints));
        }
        let mut sent = Vec::new();
        self.client.pipeline()?;
        let steps = self.bound.statements.rewrite(groups);
        self.push_steps(steps, true, &mut sent)?;
        self.push_ledger(barrier, &mut sent)?;
        let answer = self.client.run().await?;
        self.judge(&sent, &answer.counts).await?;
        answer.error.map_or(Ok(()), |error| Err(refusals::statement(error, &self.bound.name)))
    }

    /// Whether the statements did what they were to do.
    async fn judge(&mut self, sent: &[Sent], counts: &[u64]) -> Result<()> {
        for (sent, count) in sent.iter().zip(counts.iter().copied()) {
            match sent {
                Sent::Copy(rows) if count != *rows => {
                    return Err(Error::internal(format!("{count} of {rows} changes were staged")));
                }
                Sent::Merge(Step { expect: Expect::All(rows), .. }) if count != *rows => {
                    return Err(refusals::left_out(&self.bound.name, count, *rows));
                }
                Sent::Merge(Step { expect: Expect::None, .. }) if count > 0 => {
                    return Err(refusals::not_deleted(&self.bound.name));
                }
                Sent::Merge(Step { expect: Expect::Present(rows), group, .. }) if count != *rows => {
                    let missing = self.client.query(&self.bound.statements.missing(*group), &[]).await.unwrap_or_default();
                    let keys: Vec<String> = missing.iter().map(|row| row.text(0).to_string()).collect();
                    return Err(match missing.first() {
                        Some(row) => refusals::missing(&self.bound.name, row.text(1), &keys),
                        None => refusals::left_out(&self.bound.name, count, *rows),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// An open transaction that holds the fence, with nothing pending.
    async fn opened(&mut self) -> Result<()> {
        if !self.open || self.truncating || !self.pending.is_empty() {
            self.send(None).await?;
        }
        Ok(())
    }

    /// The target in the new shape. Inside the open transaction; the caller has set a savepoint.
    async fn bind(&mut self, target: &StreamTarget, change: &SchemaChange) -> Result<Bound> {
        let name = self.bound.name.clone();
        let before = evolve::prepare(&mut self.client, &self.target, change, &name, &self.setup.on_loss).await?;
        if !before.is_empty() {
            self.client.batch(&before.join("; ")).await.map_err(|error| name_target(error, &name))?;
        }
        evolve::kinds(&mut self.client, &self.target, change, &name).await?;
        Bound::new(&mut self.client, target, &self.setup).await
    }
}

#[async_trait]
impl ChangeWriter for Changes {
    async fn apply(&mut self, batch: ChangeBatch) -> Result<()> {
        self.usable()?;
        let count = batch.ops.len() as u64;
        self.failed = true;
        if let Err(error) = self.pending.add(batch) {
            self.client.abandon().await;
            return Err(error.at(self.bound.name.display()));
        }
        self.rows += count;
        if self.pending.bytes() >= pending_limit() {
            self.send(None).await?;
        }
        self.failed = false;
        Ok(())
    }

    async fn truncate(&mut self, _transaction: &TransactionMark) -> Result<()> {
        self.usable()?;
        match self.setup.deletes {
            // What was applied before is gone with the table's rows.
            DeleteMode::Hard => {
                self.pending.clear();
                self.truncating = true;
            }
            DeleteMode::Soft => {
                self.failed = true;
                self.opened().await?;
                if let Err(error) = self.client.batch(&self.bound.statements.mark_all()).await {
                    self.client.abandon().await;
                    return Err(refusals::statement(error, &self.bound.name));
                }
                self.failed = false;
            }
            DeleteMode::Ignore => {}
        }
        Ok(())
    }

    async fn reshape(&mut self, change: &SchemaChange) -> Result<()> {
        self.usable()?;
        permit(&self.target, change, |policy, what| target::refused(&self.bound.name, policy, what))?;
        let target = StreamTarget { schema: change.schema.clone(), key: change.key.clone(), ..self.target.clone() };
        self.failed = true;
        // In the old shape.
        self.opened().await?;
        self.client.batch("SAVEPOINT weir_shape").await?;
        match self.bind(&target, change).await {
            Ok(bound) => {
                self.client.batch("RELEASE SAVEPOINT weir_shape").await?;
                self.pending = Pending::new(&target.schema, &target.key, self.setup.deletes)?;
                (self.bound, self.target) = (bound, target);
                // The table of staged changes is a new one.
                self.staged = false;
                self.failed = false;
                Ok(())
            }
            Err(error) => {
                // Nothing has changed: what was applied before can still be flushed.
                if self.client.usable() && self.client.batch("ROLLBACK TO SAVEPOINT weir_shape").await.is_ok() {
                    self.failed = false;
                } else {
                    self.client.abandon().await;
                }
                Err(error)
            }
        }
    }

    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        self.usable()?;
        if self.rows == 0 && !self.open && !self.truncating && barrier.progress.is_empty() {
            return Ok(Flushed { token: Value::Null, rows: 0, bytes: 0 });
        }
        self.failed = true;
        self.send(Some(barrier)).await?;
        failpoint!("postgres.flush.before");
        self.client.commit().await.map_err(|error| refusals::statement(error, &self.bound.name))?;
        failpoint!("postgres.flush.after");
        self.failed = false;
        (self.open, self.staged) = (false, false);
        let flushed = Flushed { token: Value::Null, rows: self.rows, bytes: self.bytes };
        (self.rows, self.bytes) = (0, 0);
        Ok(flushed)
    }

    fn buffered_bytes(&self) -> usize {
        self.pending.bytes() + self.message.capacity()
    }
}
