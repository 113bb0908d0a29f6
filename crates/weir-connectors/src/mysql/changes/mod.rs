//! Applying changes: updates and deletes by key, every flush one transaction, visible when it returns.
//!
//! | step | where |
//! | --- | --- |
//! | changes are collapsed to the last one per key | `crate::changes::pending` |
//! | rows go into a temporary table of the session, with the number of their group | `stage` |
//! | a few statements per group bring them into the target | `statements` |
//! | the target and the session's tables | `bound` |
//! | a new shape of the stream | `evolve`; what is left of it after a crash: `shaping` |
//! | what the target refuses, in words | `refusals` |
//!
//! The target is touched by nothing but a flush: what does not fit into memory waits in the temporary table, which is the session's own and in no
//! transaction. So an ALTER between two rows, which ends every transaction, makes nothing durable. A flush is {fence, the statements, the ledger,
//! COMMIT}; the progress of the barrier is in the same transaction as the rows (see `super::ledger`): exactly once.
//!
//! Not here: what the rows look like on the wire (`super::encode`), which table it is (`super::target`).

mod bound;
mod evolve;
mod refusals;
mod shaping;
mod stage;
mod statements;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use serde_json::Value;
use weir_connect::{
    Barrier, ChangeBatch, ChangeWriter, DeleteMode, Error, Flushed, Kind, Result, SchemaChange, StreamTarget, TransactionMark,
    WriteMode, failpoint,
};

use self::bound::Bound;
pub use self::bound::Setup;
use self::shaping::Shaping;
use self::stage::Stager;
use self::statements::{Expect, Statements, Step};
use super::catalog::{self, RawColumn};
use super::client::{Client, Done};
use super::encode::Form;
use super::errors;
use super::ledger::Ledger;
use super::quote::{TableName, ident};
use super::sink::{Shared, name_target};
use super::target;
use super::wire::HEAD;
use super::writer::taken;
use crate::changes::groups::Group;
use crate::changes::pending::Pending;
use crate::changes::shapes::permit;

/// Bytes of changes that wait in memory; more goes into the session's table.
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
/// Up to so many rows go by INSERT: LOAD DATA costs one more exchange.
const FEW: usize = 100;
/// So much may be left in the session's table from earlier flushes.
const LEFT_ROWS: u64 = 5_000;
const LEFT_BYTES: u64 = 4 * 1024 * 1024;

/// Staged rows whose statements are to be run.
struct Load {
    statements: Statements,
    groups: Vec<Group>,
    /// Number of the first group.
    first: usize,
}

/// What a flush does, in order.
enum Work {
    Load(Box<Load>),
    /// Soft: the source emptied its table.
    MarkAll,
}

/// See the module.
pub struct Changes {
    shared: Arc<Shared>,
    setup: Setup,
    target: StreamTarget,
    client: Client,
    bound: Bound,
    pending: Pending,
    /// The target is to be emptied before anything else.
    truncating: bool,
    work: Vec<Work>,
    /// What the table calls the columns of the stream, where that is something else: somebody died between an ALTER and its flush.
    names: Vec<(String, String)>,
    /// The schema of the stream at the last flush.
    flushed: SchemaRef,
    /// The ledger has a change of shape that is not durable with its rows.
    shaping: Option<Shaping>,
    /// Number of the next group.
    next_group: usize,
    /// Rows and bytes in the session's table.
    staged: (u64, u64),
    /// The session's tables so far.
    tables: usize,
    /// Tables of shapes that are past.
    old_tables: Vec<TableName>,
    /// Something failed halfway: only a new writer knows where to go on.
    failed: bool,
    message: Vec<u8>,
    /// Changes since the last flush.
    rows: u64,
    bytes: u64,
}

/// The note of the ledger about the shape of a target, if it is not settled yet.
async fn noted(client: &mut Client, ledger: &Ledger) -> Result<Option<Shaping>> {
    let Some(text) = ledger.shaping(client).await? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Error::new("WEIR-MY-042", Kind::Data, "the note about the target's shape cannot be read")
            .because(error)
            .hint("was it written by a newer version of Weir?")
    })
}

/// What the table calls the columns of the stream, where that is something else.
async fn names(
    client: &mut Client,
    ledger: &Ledger,
    target: &StreamTarget,
    name: &TableName,
) -> Result<(Vec<(String, String)>, Option<Shaping>)> {
    let Some(shaping) = noted(client, ledger).await? else { return Ok((Vec::new(), None)) };
    let columns = column_names(client, name).await?;
    let names = shaping.resolve(&target.schema, &columns, name)?;
    Ok((names, Some(shaping)))
}

async fn column_names(client: &mut Client, name: &TableName) -> Result<Vec<String>> {
    Ok(catalog::shape(client, name).await?.columns.into_iter().map(|column| column.name).collect())
}

/// The target with the names that its table has for the columns now.
pub async fn as_it_is(client: &mut Client, ledger: &Ledger, target: &StreamTarget, name: &TableName) -> Result<StreamTarget> {
    let (names, _) = names(client, ledger, target, name).await?;
    Ok(shaping::renamed(target, &names))
}

impl Changes {
    /// A session of its own, bound to the target.
    pub async fn open(shared: Arc<Shared>, setup: Setup, target: StreamTarget, name: &TableName) -> Result<Self> {
        if !matches!(target.write_mode, WriteMode::Upsert | WriteMode::Merge) {
            return Err(Error::new(
                "WEIR-MY-043",
                Kind::Spec,
                format!("changes cannot be applied in write_mode {}", target.write_mode.as_str()),
            )
            .at(shared.place.clone())
            .hint("set `write_mode: upsert` or `merge`"));
        }
        let mut client = Client::connect(&shared.address).await?;
        client.about(&shared.place);
        // Fewer locks; nothing is read that somebody else may write.
        client.batch("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        let (names, noted) = names(&mut client, &shared.ledger, &target, name).await?;
        let bound = Bound::new(&mut client, &shaping::renamed(&target, &names), &setup, 0).await?;
        let pending = Pending::new(&target.schema, &target.key, setup.deletes)?;
        let flushed = target.schema.clone();
        let mut changes = Self {
            shared,
            flushed,
            setup,
            target,
            client,
            bound,
            pending,
            truncating: false,
            work: Vec::new(),
            names,
            shaping: None,
            next_group: 0,
            staged: (0, 0),
            tables: 1,
            old_tables: Vec::new(),
            failed: false,
            message: Vec::new(),
            rows: 0,
            bytes: 0,
        };
        if let Some(noted) = noted {
            changes.take_over(noted).await?;
        }
        Ok(changes)
    }

    /// Goes on where somebody left a change of shape.
    async fn take_over(&mut self, noted: Shaping) -> Result<()> {
        if noted.settled {
            return self.settle(&noted.fills).await;
        }
        let found = column_names(&mut self.client, &self.bound.name).await?;
        let begun = Shaping::new(&self.target.schema, self.names.clone());
        let fills: Vec<String> = noted.fills.into_iter().filter(|name| found.contains(name)).collect();
        self.shaping = Some(begun.step(&[], &found, &found, &fills));
        Ok(())
    }

    fn usable(&self) -> Result<()> {
        if self.failed {
            return Err(Error::internal("a writer of changes was used after it failed").at(self.shared.place.clone()));
        }
        Ok(())
    }

    /// Ends the transaction, so that its locks do not wait for the end of the session.
    async fn abandon(&mut self) {
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), self.client.batch("ROLLBACK")).await;
    }

    /// One statement on the target, all of whose values were taken as they are.
    async fn run(&mut self, sql: &str) -> Result<Done> {
        let done = self.client.batch(sql).await?;
        if done.warnings > 0 {
            let warnings = self.client.simple("SHOW WARNINGS LIMIT 10").await?;
            let said: Vec<String> = warnings
                .iter()
                .filter(|row| row.text(0) != "Note")
                .map(|row| format!("{} (error {})", row.text(2), row.text(1)))
                .collect();
            if !said.is_empty() {
                return Err(Error::new("WEIR-MY-056", Kind::Data, "the server would not take every row as it is")
                    .at(self.bound.name.display())
                    .because(said.join("; "))
                    .hint("look at the triggers and types of the table; nothing of this flush was written"));
            }
        }
        Ok(done)
    }

    /// Brings what is pending into the session's table.
    async fn stage(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            self.pending.clear();
            return Ok(());
        }
        let few = self.pending.slots().len() <= FEW;
        let form = if few { Form::Insert } else { self.shared.form };
        let statements = self.bound.statements.clone();
        let first = self.next_group;
        let mut stager = Stager::new(&self.pending, &self.bound.plans, &statements.keys, form, first)?;
        let head = |message: &mut Vec<u8>| {
            message.clear();
            match form {
                Form::Load => message.resize(HEAD, 0),
                Form::Insert => message.extend_from_slice(self.bound.insert.as_bytes()),
            }
            message.len()
        };
        let message = &mut self.message;
        let mut empty = head(message);
        let place = self.bound.name.display();
        if form == Form::Load {
            self.client.load_begin(&self.bound.load).await?;
        }
        let (mut waiting, mut bytes) = (0, 0);
        let rows = self.pending.slots().len() as u64;
        let mut slots = self.pending.slots().iter().peekable();
        while let Some(slot) = slots.next() {
            stager.write(slot, message).map_err(|error| error.at(place.clone()))?;
            waiting += 1;
            if message.len() < MESSAGE_BYTES && slots.peek().is_some() {
                continue;
            }
            bytes += (message.len() - empty) as u64;
            match form {
                Form::Load => self.client.load_data(message).await?,
                Form::Insert => {
                    let sql = std::str::from_utf8(message).map_err(|_| Error::internal("a statement that is not UTF-8"))?;
                    let done = self.client.batch(sql).await?;
                    taken(&mut self.client, done, waiting, &place).await?;
                }
            }
            waiting = 0;
            empty = head(message);
            // A large value must not keep its memory for the rest of the run.
            message.shrink_to(MESSAGE_BYTES * 2);
        }
        if form == Form::Load {
            let done = self.client.load_end().await?;
            taken(&mut self.client, done, rows, &place).await?;
        }
        let groups = stager.groups.all;
        self.next_group += groups.len();
        self.staged = (self.staged.0 + rows, self.staged.1 + bytes);
        self.bytes += bytes;
        self.work.push(Work::Load(Box::new(Load { statements, groups, first })));
        self.pending.clear();
        Ok(())
    }

    /// Runs the statements of staged rows.
    async fn merge(&mut self, load: &Load) -> Result<()> {
        let loose = !load.statements.loose.is_empty();
        let whole = self.bound.whole.clone();
        if whole.is_some() {
            self.client.batch("SAVEPOINT weir_merge").await?;
        }
        let steps = load.statements.merge(&load.groups, load.first);
        let Err(error) = self.carry_out(load, steps).await else { return Ok(()) };
        let again = whole.filter(|_| matches!(errors::number(&error), Some(1062 | 1169 | 1586)));
        let Some(whole) = again else { return Err(refusals::statement(error, &self.bound.name, loose)) };
        // Values that must be unique are in each other's way.
        let referring = catalog::referring(&mut self.client, &self.bound.name).await?;
        if !referring.is_empty() {
            return Err(refusals::referred_to(&error, &self.bound.name, &referring.join(", ")));
        }
        self.client.batch("ROLLBACK TO SAVEPOINT weir_merge").await?;
        let steps = load.statements.rewrite(&load.groups, load.first, &whole);
        self.carry_out(load, steps).await.map_err(|error| refusals::statement(error, &self.bound.name, loose))
    }

    async fn carry_out(&mut self, load: &Load, steps: Vec<Step>) -> Result<()> {
        let mut found = vec![0; load.groups.len()];
        for Step { sql, expect, group } in steps {
            let count = self.run(&sql).await?.affected;
            match expect {
                Expect::Any => {}
                Expect::Found => found[group] = count,
                Expect::Rest(rows) if found[group] + count == rows => {}
                Expect::Rest(rows) => return Err(refusals::left_out(&self.bound.name, found[group] + count, rows)),
                Expect::Present(rows) if count == rows => {}
                Expect::Present(rows) => {
                    let missing = self.client.query(&load.statements.missing(load.first + group), &[]).await.unwrap_or_default();
                    let keys: Vec<String> = missing.iter().map(|row| row.text(0).to_string()).collect();
                    return Err(match keys.is_empty() {
                        true => refusals::left_out(&self.bound.name, count, rows),
                        false => refusals::missing(&self.bound.name, rows.saturating_sub(count), &keys),
                    });
                }
            }
        }
        Ok(())
    }

    /// The transaction of a flush.
    async fn transact(&mut self, barrier: &Barrier) -> Result<()> {
        let shared = self.shared.clone();
        self.client.batch("START TRANSACTION").await?;
        shared.ledger.fence(&mut self.client, shared.attempt).await?;
        if self.truncating {
            // TRUNCATE would end the transaction.
            let sql = format!("DELETE FROM {}", self.bound.name.sql());
            self.run(&sql).await.map_err(|error| refusals::statement(error, &self.bound.name, false))?;
        }
        let works = std::mem::take(&mut self.work);
        let merged = works.iter().any(|work| matches!(work, Work::Load(load) if load.statements.at_once()));
        for work in works {
            match work {
                Work::Load(load) => self.merge(&load).await?,
                Work::MarkAll => {
                    let sql = self.bound.statements.mark_all();
                    self.run(&sql).await.map_err(|error| refusals::statement(error, &self.bound.name, false))?;
                }
            }
        }
        if merged {
            self.same_indexes().await?;
        }
        shared.ledger.record_changes(&mut self.client, shared.attempt, barrier, self.rows, self.bytes).await?;
        if let Some(shaping) = &self.shaping {
            let note = match self.caught_up(shaping) {
                true if shaping.fills.is_empty() => None,
                true => Some(text(&shaping.settled())?),
                false => Some(text(&shaping.rebased(&self.target.schema, self.names.clone()))?),
            };
            shared.ledger.set_shaping(&mut self.client, note.as_deref()).await?;
        }
        failpoint!("mysql.flush.before");
        self.client.batch("COMMIT").await?;
        failpoint!("mysql.flush.after");
        Ok(())
    }

    /// Whether the rows have the shape that the table has.
    fn caught_up(&self, shaping: &Shaping) -> bool {
        let written = |name: &String| self.bound.plans.iter().any(|plan| plan.name == *name);
        self.names.is_empty() && shaping.fills.iter().all(written)
    }

    /// A unique index that somebody made since would have been taken for the key. The table cannot be altered between its first row of this
    /// transaction and the end.
    async fn same_indexes(&mut self) -> Result<()> {
        if catalog::count_unique(&mut self.client, &self.bound.name).await? == self.bound.unique {
            return Ok(());
        }
        Err(Error::new("WEIR-MY-117", Kind::Conflict, "somebody made or dropped a unique index of the table")
            .at(self.bound.name.display())
            .because("rows are written in another way where more than the key must be unique")
            .hint("nothing of this flush was written; the next attempt sees the index")
            .transient())
    }

    /// After a flush: defaults that were for rows of the old shape go.
    async fn settle(&mut self, fills: &[String]) -> Result<()> {
        let shape = catalog::shape(&mut self.client, &self.bound.name).await?;
        let mut sets = Vec::new();
        for column in fills.iter().filter_map(|name| target::find_column(&shape, name)) {
            let plain = RawColumn { default: None, extra: String::new(), ..column.clone() };
            let whole = target::definition(&self.bound.name, &plain, &column.of.sql())?;
            sets.push(format!("MODIFY COLUMN {} {whole}", ident(&column.name)));
        }
        if !sets.is_empty() {
            let sql = format!("ALTER TABLE {} {}", self.bound.name.sql(), sets.join(", "));
            self.client.batch(&sql).await.map_err(|error| name_target(error, &self.bound.name))?;
        }
        let ledger = self.shared.ledger.clone();
        ledger.set_shaping(&mut self.client, None).await
    }

    /// Makes the session's table small again, now and then.
    async fn sweep(&mut self) -> Result<()> {
        if !self.old_tables.is_empty() {
            let list: Vec<String> = std::mem::take(&mut self.old_tables).iter().map(TableName::sql).collect();
            self.client.batch(&format!("DROP TEMPORARY TABLE IF EXISTS {}", list.join(", "))).await?;
        }
        if self.staged.0 > LEFT_ROWS || self.staged.1 > LEFT_BYTES {
            self.client.batch(&format!("TRUNCATE TABLE {}", self.bound.statements.stage.sql())).await?;
            (self.staged, self.next_group) = ((0, 0), 0);
        }
        Ok(())
    }

    /// What a change of shape asks for. Changes nothing.
    async fn plan(&mut self, new: &StreamTarget, change: &SchemaChange) -> Result<evolve::Plan> {
        let name = self.bound.name.clone();
        permit(&self.target, change, |policy, what| target::refused(&name, policy, what))?;
        if catalog::find(&mut self.client, &name).await?.is_none() {
            return Err(Error::new("WEIR-MY-007", Kind::NotFound, "the target table is gone").at(name.display()));
        }
        let shape = catalog::shape(&mut self.client, &name).await?;
        let names: Vec<(String, String)> = self
            .bound
            .plans
            .iter()
            .map(|plan| (self.target.schema.field(plan.index).name().clone(), plan.name.clone()))
            .collect();
        let scene =
            evolve::Scene { name: &name, shape: &shape, old: &self.target, names: &names, change, on_loss: &self.setup.on_loss };
        let plan = scene.plan(new)?;
        // The index is still on the columns as they are called now.
        let before = |key: &String| plan.renames.iter().find(|(_, to)| to == key).map_or(key, |(from, _)| from).clone();
        let keyed = StreamTarget { key: new.key.iter().map(before).collect(), ..new.clone() };
        target::unique_index(&mut self.client, &keyed, &name).await?;
        Ok(plan)
    }

    /// Alters the target. The ledger knows before what it will look like.
    async fn alter(&mut self, plan: &evolve::Plan, sql: &str) -> Result<()> {
        let shared = self.shared.clone();
        shared.ledger.hold(&mut self.client).await?;
        self.client.batch("START TRANSACTION").await?;
        shared.ledger.fence(&mut self.client, shared.attempt).await?;
        if !plan.renames.is_empty() || !plan.fills.is_empty() || self.shaping.is_some() {
            let begun = self.shaping.take().unwrap_or_else(|| Shaping::new(&self.flushed, Vec::new()));
            let next = begun.step(&plan.renames, &plan.before, &plan.after, &plan.fills);
            shared.ledger.set_shaping(&mut self.client, Some(&text(&next)?)).await?;
            self.shaping = Some(next);
        }
        self.client.batch("COMMIT").await?;
        failpoint!("mysql.shape.before");
        self.client.batch(sql).await.map_err(|error| name_target(error, &self.bound.name))?;
        failpoint!("mysql.shape.after");
        shared.ledger.release(&mut self.client).await
    }
}

fn text(shaping: &Shaping) -> Result<String> {
    serde_json::to_string(shaping).map_err(|error| Error::internal("a shape cannot be written").caused_by(error))
}

#[async_trait]
impl ChangeWriter for Changes {
    async fn apply(&mut self, batch: ChangeBatch) -> Result<()> {
        self.usable()?;
        let count = batch.ops.len() as u64;
        self.failed = true;
        self.pending.add(batch).map_err(|error| error.at(self.bound.name.display()))?;
        self.rows += count;
        if self.pending.bytes() >= pending_limit() {
            self.stage().await?;
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
                self.work.clear();
                self.truncating = true;
            }
            DeleteMode::Soft => {
                self.failed = true;
                self.stage().await?;
                self.work.push(Work::MarkAll);
                self.failed = false;
            }
            DeleteMode::Ignore => {}
        }
        Ok(())
    }

    async fn reshape(&mut self, change: &SchemaChange) -> Result<()> {
        self.usable()?;
        let target = StreamTarget { schema: change.schema.clone(), key: change.key.clone(), ..self.target.clone() };
        let plan = self.plan(&target, change).await?;
        self.failed = true;
        // In the old shape.
        self.stage().await?;
        if let Some(sql) = &plan.sql {
            self.alter(&plan, sql).await?;
        }
        for work in &mut self.work {
            if let Work::Load(load) = work {
                load.statements.rename(&plan.renames);
            }
        }
        let bound = Bound::new(&mut self.client, &target, &self.setup, self.tables).await?;
        self.tables += 1;
        self.old_tables.push(self.bound.statements.stage.clone());
        self.old_tables.extend(self.bound.whole.take().map(|whole| whole.table));
        self.pending = Pending::new(&target.schema, &target.key, self.setup.deletes)?;
        (self.bound, self.target) = (bound, target);
        self.names.clear();
        self.failed = false;
        Ok(())
    }

    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        self.usable()?;
        let idle = self.rows == 0 && self.work.is_empty() && !self.truncating;
        if idle && barrier.progress.is_empty() {
            return Ok(Flushed { token: Value::Null, rows: 0, bytes: 0 });
        }
        self.failed = true;
        self.stage().await?;
        if let Err(error) = self.transact(barrier).await {
            self.abandon().await;
            return Err(error);
        }
        self.flushed = self.target.schema.clone();
        if let Some(shaping) = self.shaping.take() {
            if !self.caught_up(&shaping) {
                self.shaping = Some(shaping.rebased(&self.flushed, self.names.clone()));
            } else if !shaping.fills.is_empty() {
                self.settle(&shaping.fills).await?;
            }
        }
        self.sweep().await?;
        (self.failed, self.truncating) = (false, false);
        let flushed = Flushed { token: Value::Null, rows: self.rows, bytes: self.bytes };
        (self.rows, self.bytes) = (0, 0);
        Ok(flushed)
    }

    fn buffered_bytes(&self) -> usize {
        self.pending.bytes() + self.message.capacity()
    }
}
