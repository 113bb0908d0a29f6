//! Many changes per file. Files become visible when enough has come together: many tiny files are a burden to every reader, and the journal keeps
//! what is not flushed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use weir_connect::{Barrier, ChangeBatch, ChangeWriter, Flushed, SchemaChange, StreamTarget, StreamWriter, TransactionMark};
use weir_error::{Error, Result};

use super::super::schema::reconcile;
use super::super::sink::Shared;
use super::super::writer::{LaneWriter, TokenFile};
use super::ledger::{self, Flush, LogRecord};
use super::shape::{Layout, Shape};
use super::{ChangesStream, Roll, rows};

/// See [`ChangeWriter`].
pub(super) struct Append {
    shared: Arc<Shared>,
    target: StreamTarget,
    layout: Layout,
    roll: Roll,
    deletes: bool,
    shape: Shape,
    /// As it is in the manifest, but for the number of the next file and of the last change.
    record: LogRecord,
    lane: Option<LaneWriter>,
    /// Files of shapes that the stream had since the last flush.
    done: Vec<TokenFile>,
    /// Changes since then.
    rows: u64,
    /// Something failed halfway: only a new writer knows where to go on.
    failed: bool,
}

impl Append {
    pub(super) fn new(stream: &ChangesStream, shape: Shape, record: LogRecord, deletes: bool) -> Self {
        Self {
            shared: stream.shared.clone(),
            target: stream.target.clone(),
            layout: stream.layout.clone(),
            roll: stream.roll,
            deletes,
            shape,
            record,
            lane: None,
            done: Vec::new(),
            rows: 0,
            failed: false,
        }
    }

    /// From here to [`Self::done`] nothing may fail unseen.
    fn begin(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.failed, true) {
            return Err(Error::internal("a writer of changes was used after it failed").at(self.shared.dataset.place.clone()));
        }
        Ok(())
    }

    async fn lane(&mut self) -> Result<&mut LaneWriter> {
        if self.lane.is_none() {
            // Names are in the order of the log: the number goes first. A name of its own for each keeps what is staged apart.
            let shared = Shared {
                stem: format!("{:012}", self.record.next_file),
                nonce: format!("{:08x}", rand::random::<u32>()),
                ..self.shared.as_ref().clone()
            };
            self.record.next_file += 1;
            self.lane = Some(LaneWriter::collecting(Arc::new(shared)).await?);
        }
        self.lane.as_mut().ok_or_else(|| Error::internal("a writer that was just made is gone"))
    }

    async fn close(&mut self) -> Result<()> {
        if let Some(lane) = self.lane.take() {
            self.done.extend(lane.finish().await?);
        }
        Ok(())
    }
}

#[async_trait]
impl ChangeWriter for Append {
    async fn apply(&mut self, batch: ChangeBatch) -> Result<()> {
        self.begin()?;
        self.shape.check(&batch)?;
        let batch = if self.deletes { batch } else { rows::without_deletes(batch)? };
        let count = batch.ops.len() as u64;
        if count > 0 {
            let stored = self.shape.batch(&batch, self.record.changes)?;
            self.lane().await?.write(stored).await?;
        }
        self.record.changes += count;
        self.rows += count;
        self.failed = false;
        Ok(())
    }

    async fn truncate(&mut self, transaction: &TransactionMark) -> Result<()> {
        if !self.deletes {
            return Ok(());
        }
        self.begin()?;
        let stored = self.shape.emptied(transaction, self.record.changes)?;
        self.lane().await?.write(stored).await?;
        self.record.changes += 1;
        self.rows += 1;
        self.failed = false;
        Ok(())
    }

    async fn reshape(&mut self, change: &SchemaChange) -> Result<()> {
        let shape = Shape::new(&self.layout, &self.target.stream, change.schema.clone(), change.key.clone())?;
        let contract = reconcile(Some(self.shared.contract.dataset.clone()), shape.stored(), self.target.on_schema_change)
            .map_err(|error| error.at(self.shared.dataset.place.clone()))?;
        weir_formats::check_writable(self.shared.write.format, &contract.write)?;
        let mut shared = self.shared.as_ref().clone();
        shared.partitioner = shared.partitioner_of(&contract.write)?;
        shared.contract = contract;
        self.begin()?;
        self.close().await?;
        self.shared = Arc::new(shared);
        self.shape = shape;
        self.failed = false;
        Ok(())
    }

    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        self.begin()?;
        self.close().await?;
        let files = std::mem::take(&mut self.done);
        let bytes = files.iter().map(|file| file.staged.bytes).sum();
        let rows = std::mem::take(&mut self.rows);
        self.record.progress = barrier.progress.clone();
        self.record.rows += rows;
        self.record.bytes += bytes;
        self.record.objects += files.len() as u64;
        ledger::flush(&self.shared, &Flush { record: self.record.clone(), files, rows, swap: None }).await?;
        self.failed = false;
        Ok(Flushed { token: Value::Null, rows, bytes })
    }

    fn patience(&self) -> Duration {
        self.roll.after
    }

    fn full(&self) -> bool {
        self.roll.after.is_zero() || self.rows >= self.roll.rows || self.lane.as_ref().is_some_and(LaneWriter::has_closed)
    }

    fn buffered_bytes(&self) -> usize {
        self.lane.as_ref().map_or(0, StreamWriter::buffered_bytes)
    }
}
