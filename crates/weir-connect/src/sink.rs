//! Writing: the two-step commit.
//!
//! A run writes through several *lanes*. Each lane has its own [`StreamWriter`]. Data goes through three states, and the
//! types keep them apart:
//!
//! 1. **accepted**: [`StreamWriter::write`] returned. Nothing is promised.
//! 2. **durable**: [`StreamWriter::flush`] returned a [`Flushed`]. The rows survive `kill -9` and power loss. The engine
//!    then writes the token and the positions of these rows to its checkpoint, in one transaction. Only now a source
//!    position has moved.
//! 3. **committed**: [`StreamSink::commit`] returned. Readers of the target see the run's result.
//!
//! After a crash the engine asks [`StreamSink::recover`] first. A *staged* sink (files) answers with nothing: its tokens are in
//! the checkpoint, and everything staged that no checkpointed token names is thrown away by [`StreamSink::discard`]. A *co-committed*
//! sink (SQL) keeps the positions in the same transaction as the rows and answers with them: they win over
//! the checkpoint, because the two can disagree by one epoch in either direction.

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_error::{Error, Result};

use crate::change::{ChangeWriter, DeleteMode};
use crate::connector::RunIdentity;
use crate::fidelity::SinkType;
use crate::source::SplitProgress;
use crate::stream::{SchemaChangePolicy, WriteMode};
use crate::verify::VerifiableTarget;

/// How a sink keeps data and checkpoint together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitKind {
    /// Durable rows stay invisible until `commit`, which is idempotent by its tokens: exactly once.
    Staged,
    /// Rows and positions enter the target in one transaction at `flush`: exactly once.
    CoCommitted,
    /// A repeated row replaces itself (upsert by key): effectively once.
    Idempotent,
    /// A repeated row is a second row: at least once.
    Append,
}

/// What the plan needs to know about a configured sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkCapabilities {
    /// See [`CommitKind`].
    pub commit: CommitKind,
    /// One clause for `weir plan`: `file keeps the run in its manifest`.
    pub commit_note: String,
    /// Write modes that work with these options.
    pub write_modes: Vec<WriteMode>,
}

/// Which stream goes where and how.
#[derive(Debug, Clone)]
pub struct StreamTarget {
    /// Pipeline and run.
    pub run: RunIdentity,
    /// Name of the stream: fills `{stream}` in paths and table names.
    pub stream: String,
    /// Schema of the batches that will come.
    pub schema: SchemaRef,
    /// Columns of the key, from the sink's options or the source's primary key; empty = none.
    pub key: Vec<String>,
    /// Column of the cursor, for `partition_by: [year, month, day]` without a column.
    pub cursor: Option<String>,
    /// How rows enter.
    pub write_mode: WriteMode,
    /// What to do when the target's schema differs.
    pub on_schema_change: SchemaChangePolicy,
    /// The stream is written by [`StreamSink::change_writer`], not by [`StreamSink::writer`]: nothing is staged for the run.
    pub changes: bool,
}

/// What a flush belongs to.
#[derive(Debug, Clone)]
pub struct Barrier {
    /// Number of the epoch that this flush ends; unique and increasing within a run, over all lanes.
    pub epoch: u64,
    /// The lane that flushes.
    pub lane: usize,
    /// How far the splits behind the flushed rows got. Co-committed sinks store it in the same transaction.
    pub progress: Vec<SplitProgress>,
}

/// A sink's own receipt for durable rows; only the sink reads it. Kept in the checkpoint.
pub type CommitToken = Value;

/// Rows that are durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flushed {
    /// The receipt, `Null` if the sink needs none.
    pub token: CommitToken,
    /// Rows made durable by this flush.
    pub rows: u64,
    /// Bytes they take at the target, as far as known.
    pub bytes: u64,
}

/// What the sink itself remembers of this run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recovery {
    /// Co-committed sinks: how far every split got, durable with its rows. `None`: ask the checkpoint.
    pub progress: Option<Vec<SplitProgress>>,
    /// This run's `commit` has been carried out already.
    pub committed: Option<CommitReport>,
    /// Rows that `progress` accounts for.
    pub rows: u64,
}

/// What `commit` made visible.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CommitReport {
    /// Rows of this run that readers now see, counted by the sink itself, not by the engine: the other half of the
    /// reconciliation. `upsert` counts the rows it was given, not the rows that remain.
    pub rows: u64,
    /// Bytes at the target.
    pub bytes: u64,
    /// Files or tables, for the summary.
    pub objects: u64,
    /// Where it is, for the summary: `lake/bronze/orders`, `public.orders`.
    pub place: String,
}

/// A configured target.
#[async_trait]
pub trait Sink: Send + Sync {
    /// What the guarantee rests on, for one write mode.
    fn capabilities(&self, mode: WriteMode) -> SinkCapabilities;

    /// How this sink would store a field. Pure: no connection is needed.
    fn sink_type(&self, field: &Field) -> SinkType;

    /// The place that a stream will be written to, with placeholders filled, for `weir plan` and to find two
    /// writers to one place. Pure.
    fn place(&self, stream: &str) -> String;

    /// What [`Sink::prepare`] would do to the target (`create table public.orders`, `add column x`), without doing it.
    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>>;

    /// Names of the columns that the target has already, for `on_schema_change: discard_row`; `None` if it is not there yet, or takes
    /// whatever comes. Changes nothing.
    async fn columns(&self, _target: &StreamTarget) -> Result<Option<Vec<String>>> {
        Ok(None)
    }

    /// How its tables are compared with what a source has (`weir verify`), if they can be.
    fn verifiable(&self) -> Option<&dyn VerifiableTarget> {
        None
    }

    /// The write modes in which [`StreamSink::change_writer`] works, the best first: in `upsert` and `merge` it updates and deletes by key, in
    /// `append` it keeps every change as a row. Each flush is visible at once. Empty: the sink takes whole rows only.
    fn change_modes(&self) -> Vec<WriteMode> {
        Vec::new()
    }

    /// Whether [`StreamSink::change_writer`] works at all.
    fn applies_changes(&self) -> bool {
        !self.change_modes().is_empty()
    }

    /// Whether its change writers make use of [`crate::change::ChangeBatch::before`].
    fn wants_before(&self) -> bool {
        false
    }

    /// Makes the target ready: creates or evolves tables, checks the contract, makes the staging area. Idempotent; called
    /// again on resume.
    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>>;
}

/// One stream's way into the target, for one run.
#[async_trait]
pub trait StreamSink: Send + Sync {
    /// What the sink itself remembers; asked before anything is read.
    async fn recover(&self) -> Result<Recovery>;

    /// Throws away what was staged for this pipeline and stream by earlier attempts, except what `keep` names. With an
    /// empty `keep` the run starts over. Idempotent.
    async fn discard(&self, keep: &[CommitToken]) -> Result<()>;

    /// A writer for one lane. Lanes write concurrently.
    async fn writer(&self, lane: usize) -> Result<Box<dyn StreamWriter>>;

    /// The writer of changes; see [`Sink::change_modes`].
    async fn change_writer(&self, _deletes: DeleteMode) -> Result<Box<dyn ChangeWriter>> {
        Err(Error::internal("this sink applies no changes"))
    }

    /// Makes everything that `tokens` names visible, atomically as far as the target allows. Idempotent: called again
    /// with the same tokens after a crash in the middle, it finishes the rest and returns the same report.
    async fn commit(&self, tokens: &[CommitToken]) -> Result<CommitReport>;
}

/// One lane's writer. Dropping it without `flush` throws away what was not flushed.
#[async_trait]
pub trait StreamWriter: Send {
    /// Takes rows. Backpressure is the returned future. Memory held is bounded by the sink's buffer options.
    async fn write(&mut self, batch: RecordBatch) -> Result<()>;

    /// Makes everything written so far durable. An empty flush is cheap and returns zero rows.
    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed>;

    /// Bytes held in memory now, for the budget.
    fn buffered_bytes(&self) -> usize {
        0
    }
}
