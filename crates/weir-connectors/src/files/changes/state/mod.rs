//! `write_mode: upsert`: the files hold the table as it is now. Copy-on-write: a flush writes the files anew that hold a row that it changes.
//!
//! | step | where |
//! | --- | --- |
//! | changes are collapsed to the last one per key | `crate::changes::pending` |
//! | which rows they mean, and what those become; what a log left out comes from the row that is there | [`work`] |
//! | files that hold such rows are written anew, hidden; new rows go to a small one, or to new ones | [`merge`], [`output`] |
//! | which of them need not be read for it | [`bounds`] |
//! | the same where `partition_by` divides them, and rows move between folders | [`divided`] |
//! | rows that are corrected from outside the log | [`mend`] |
//! | a new shape of the stream | [`shape`] |
//! | the manifest names the new content and the progress, in one replacement | `super::ledger` |
//! | readers that glob get to see it | `super::copies` |
//!
//! What does not fit into memory is brought into the files ahead of the flush; they stay hidden until then ([`parts`] knows which they are).
//!
//! Not here: changes kept as rows (`super::append`).

pub(in super::super) mod bounds;
pub(in super::super) mod divided;
pub(in super::super) mod mend;
mod merge;
mod output;
mod parts;
mod shape;
mod work;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use async_trait::async_trait;
use serde_json::Value;
use weir_connect::{Barrier, ChangeBatch, ChangeWriter, DeleteMode, Flushed, SchemaChange, StreamTarget, TransactionMark};
use weir_error::{Error, Kind, Result};
use weir_formats::check_writable;

use self::output::{Output, broken};
use self::parts::{Fate, Part};
use self::shape::{DELETED, Pass};
use self::work::Work;
use super::super::partition::Values;
use super::super::sink::Shared;
use super::ledger::{self, Flush, LogRecord, Swap};
use super::{ChangesStream, Roll, copies};
use crate::changes::look_like;
use crate::changes::pending::Pending;

pub(super) use self::shape::contract;

/// Bytes of changes that are enough for a flush. A transaction that has twice as many goes ahead into hidden files.
const PENDING_BYTES: usize = 48 << 20;

#[cfg(test)]
thread_local! {
    /// A smaller bound, so that few rows are too many.
    pub(in super::super) static PENDING_LIMIT: std::cell::Cell<usize> = const { std::cell::Cell::new(PENDING_BYTES) };
}

fn pending_limit() -> usize {
    #[cfg(test)]
    return PENDING_LIMIT.get();
    #[cfg(not(test))]
    PENDING_BYTES
}

/// See the module.
pub(super) struct State {
    shared: Arc<Shared>,
    target: StreamTarget,
    deletes: DeleteMode,
    roll: Roll,
    /// As it is in the manifest, but for the number of the next file.
    record: LogRecord,
    parts: Vec<Part>,
    pending: Pending,
    /// Changes since the last flush.
    rows: u64,
    /// Some of them are in hidden files.
    ahead: bool,
    /// Retired content that is deleted by now, and is still on the manifest's list.
    deleted: HashSet<String>,
    /// Copies that are made by now, and are still on its list of those to make.
    shown: HashSet<String>,
    /// Something failed halfway: only a new writer knows where to go on.
    failed: bool,
}

impl State {
    pub(super) async fn open(stream: &ChangesStream, deletes: DeleteMode) -> Result<Self> {
        let mut shared = stream.shared.as_ref().clone();
        let place = shared.dataset.place.clone();
        let record = ledger::open(&stream.shared).await?;
        let manifest = ledger::current(&stream.shared).await?;
        let target = StreamTarget { key: shared.key.clone(), ..stream.target.clone() };
        let written = record.next_file > 0;
        shared.contract = contract(manifest.arrow_schema()?, &target.schema, deletes, target.on_schema_change, written)
            .map_err(|error| error.at(place.clone()))?;
        check_writable(shared.write.format, &shared.contract.dataset)?;
        shared.partitioner = shared.partitioner_of(&shared.contract.dataset)?;
        let pending = Pending::new(&shared.contract.dataset, &target.key, deletes).map_err(|error| error.at(place))?;
        let shared = Arc::new(shared);
        let deleted = copies::expire(&shared, &manifest, stream.roll.keep).await?;
        Ok(Self {
            shared,
            target,
            deletes,
            roll: stream.roll,
            record,
            parts: Part::all(&manifest),
            pending,
            rows: 0,
            ahead: false,
            deleted: deleted.into_iter().collect(),
            // Opening it made them.
            shown: manifest.unshown.into_iter().collect(),
            failed: false,
        })
    }

    fn place(&self) -> String {
        self.shared.dataset.place.clone()
    }

    fn begin(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.failed, true) {
            return Err(Error::internal("a writer of changes was used after it failed").at(self.place()));
        }
        Ok(())
    }

    fn nothing(&self) -> Result<Pending> {
        Pending::new(&self.shared.contract.dataset, &self.target.key, self.deletes).map_err(|error| error.at(self.place()))
    }

    fn first_key(&self) -> usize {
        self.pending.key().first().copied().unwrap_or(0)
    }

    /// The changes in the schema of the files.
    fn fitted(&self, batch: ChangeBatch) -> Result<ChangeBatch> {
        let found = batch.rows.schema();
        look_like(&self.target.schema, &found).map_err(|error| error.at(format!("`{}`", batch.stream)))?;
        let schema = &self.shared.contract.dataset;
        let (mut columns, mut absent) = (Vec::with_capacity(schema.fields().len()), Vec::new());
        for field in schema.fields() {
            let Ok(at) = found.index_of(field.name()) else {
                columns.push(new_null_array(field.data_type(), batch.rows.num_rows()));
                absent.push(None);
                continue;
            };
            let column: &ArrayRef = batch.rows.column(at);
            let options = CastOptions { safe: false, ..CastOptions::default() };
            columns.push(if column.data_type() == field.data_type() {
                column.clone()
            } else {
                cast_with_options(column, field.data_type(), &options).map_err(|error| {
                    let what = format!("column `{}` does not fit its type", field.name());
                    Error::new("WEIR-FILE-043", Kind::Data, what).at(self.place()).caused_by(error)
                })?
            });
            absent.push(batch.absent.get(at).cloned().flatten());
        }
        let rows = RecordBatch::try_new(schema.clone(), columns).map_err(broken)?;
        Ok(ChangeBatch { rows, absent, before: None, ..batch })
    }

    /// Brings what is pending into hidden files.
    async fn merge(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let nothing = self.nothing()?;
        let pending = std::mem::replace(&mut self.pending, nothing);
        let work = Arc::new(Work::new(self.shared.clone(), pending, mark(&self.shared, self.deletes)?));
        let parts = std::mem::take(&mut self.parts);
        self.parts = merge::merge(work, parts, &mut self.record.next_file).await?;
        Ok(())
    }
}

/// Position of the mark of soft deletes.
fn mark(shared: &Shared, deletes: DeleteMode) -> Result<Option<usize>> {
    match deletes {
        DeleteMode::Soft => shared.contract.dataset.index_of(DELETED).map(Some).map_err(broken),
        _ => Ok(None),
    }
}

/// Readers that glob would take a folder without files for a mistake; and it would not have a schema.
async fn not_without_a_file(shared: &Arc<Shared>, first_key: usize, parts: &mut Vec<Part>, next: &mut u64) -> Result<()> {
    if !parts.iter().all(Part::is_gone) {
        return Ok(());
    }
    // With folders it is in that of NULL, as deep as all others.
    let nowhere: Values = shared.partitioner.names().iter().map(|_| None).collect();
    let path = format!("{}{}", shared.partitioner.folder(&nowhere), output::name(shared, *next));
    *next += 1;
    let area = merge::area(shared).await?;
    let output = Output::create(shared, &area, first_key, (&path, &shared.partitioner.named(&nowhere))).await?;
    parts.push(Part::new(path, output.finish().await?));
    area.seal().await
}

#[async_trait]
impl ChangeWriter for State {
    async fn apply(&mut self, batch: ChangeBatch) -> Result<()> {
        self.begin()?;
        let count = batch.ops.len() as u64;
        let batch = self.fitted(batch)?;
        self.pending.add(batch).map_err(|error| error.at(self.place()))?;
        self.rows += count;
        if self.pending.bytes() >= 2 * pending_limit() {
            self.merge().await?;
            self.ahead = true;
        }
        self.failed = false;
        Ok(())
    }

    async fn truncate(&mut self, _transaction: &TransactionMark) -> Result<()> {
        self.begin()?;
        match self.deletes {
            DeleteMode::Hard => {
                self.pending.clear();
                self.parts.retain(|part| part.before.is_some());
                self.parts.iter_mut().for_each(|part| part.fate = Fate::Gone);
            }
            DeleteMode::Soft => {
                self.merge().await?;
                let first = self.first_key();
                Pass::marking(&self.shared)?.run(&self.shared, first, &mut self.parts).await?;
            }
            DeleteMode::Ignore => {}
        }
        self.failed = false;
        Ok(())
    }

    async fn reshape(&mut self, change: &SchemaChange) -> Result<()> {
        // A change that is refused leaves everything as it was.
        let (contract, pass) = shape::evolved(&self.shared.contract.dataset, &self.target, change, self.deletes)
            .map_err(|error| error.at(self.place()))?;
        check_writable(self.shared.write.format, &contract.dataset)?;
        divided::check_reshape(&self.shared, &contract.dataset, change).map_err(|error| error.at(self.place()))?;
        let partitioner = self.shared.partitioner_of(&contract.dataset)?;
        let pending = Pending::new(&contract.dataset, &change.key, self.deletes).map_err(|error| error.at(self.place()))?;
        self.begin()?;
        // In the old shape.
        self.merge().await?;
        let mut shared = self.shared.as_ref().clone();
        (shared.contract, shared.partitioner, shared.key) = (contract, partitioner, change.key.clone());
        self.shared = Arc::new(shared);
        self.target = StreamTarget { schema: change.schema.clone(), key: change.key.clone(), ..self.target.clone() };
        self.pending = pending;
        if let Some(pass) = pass {
            let first = self.first_key();
            pass.run(&self.shared, first, &mut self.parts).await?;
        }
        self.failed = false;
        Ok(())
    }

    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        self.begin()?;
        self.merge().await?;
        let first_key = self.first_key();
        not_without_a_file(&self.shared, first_key, &mut self.parts, &mut self.record.next_file).await?;
        let (files, changed) = parts::outcome(&self.shared, &self.parts);
        let swap = Swap { deleted: self.deleted.clone(), shown: self.shown.clone(), ..changed };
        let bytes = files.iter().map(|file| file.staged.bytes).sum();
        let rows = std::mem::take(&mut self.rows);
        // Counts on even if no file is new: a record never looks like the one before it.
        self.record.next_file += 1;
        self.record.progress = barrier.progress.clone();
        self.record.changes += rows;
        self.record.rows += rows;
        self.record.bytes += bytes;
        self.record.objects += files.len() as u64;
        let shown = swap.paths().into_iter().collect();
        let flush = Flush { record: self.record.clone(), files, rows, swap: Some(swap) };
        let manifest = ledger::flush(&self.shared, &flush).await?;
        self.parts.retain(|part| !part.is_gone());
        for part in &mut self.parts {
            part.before = part.after(&self.shared);
            (part.fate, part.left) = (Fate::Same, false);
        }
        self.shown = shown;
        self.ahead = false;
        self.deleted = copies::expire(&self.shared, &manifest, self.roll.keep).await?.into_iter().collect();
        self.failed = false;
        Ok(Flushed { token: Value::Null, rows, bytes })
    }

    fn patience(&self) -> Duration {
        self.roll.after
    }

    fn full(&self) -> bool {
        self.ahead || self.roll.after.is_zero() || self.rows >= self.roll.rows || self.pending.bytes() >= pending_limit()
    }

    fn buffered_bytes(&self) -> usize {
        self.pending.bytes()
    }
}
