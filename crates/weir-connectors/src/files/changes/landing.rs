//! One file per message: the layout that a sink behind Kafka leaves in a bucket.
//!
//! A message has one name, made from its position and its number, and one content: a second delivery writes the same file again. So files are written
//! where they belong at once, and the progress follows; a crash between the two costs some writing, and no reader can tell.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use weir_connect::{Barrier, ChangeBatch, ChangeWriter, Flushed, SchemaChange, StreamTarget, TransactionMark, failpoint};
use weir_error::{Error, Result};
use weir_formats::{Format, WriteOptions, encoder};

use super::super::s3::REQUESTS;
use super::super::sink::Shared;
use super::super::storage::{Expect, join};
use super::ledger::{self, Flush, LogRecord};
use super::place::{MessagePath, message_id};
use super::shape::{Layout, Shape, now_ns};
use super::{ChangesStream, rows};

/// Messages that wait in memory; more are written ahead of the flush.
const PENDING_BYTES: usize = 8 << 20;

/// See [`ChangeWriter`].
pub(super) struct Landing {
    shared: Arc<Shared>,
    target: StreamTarget,
    layout: Layout,
    deletes: bool,
    shape: Shape,
    path: MessagePath,
    record: LogRecord,
    pending: Vec<(String, Bytes)>,
    pending_bytes: usize,
    /// Since the last flush.
    rows: u64,
    bytes: u64,
    objects: u64,
    /// Something failed halfway: only a new writer knows where to go on.
    failed: bool,
}

impl Landing {
    pub(super) fn new(stream: &ChangesStream, shape: Shape, path: MessagePath, record: LogRecord, deletes: bool) -> Result<Self> {
        Ok(Self {
            shared: stream.shared.clone(),
            target: stream.target.clone(),
            layout: stream.layout.clone(),
            deletes,
            shape,
            path,
            record,
            pending: Vec::new(),
            pending_bytes: 0,
            rows: 0,
            bytes: 0,
            objects: 0,
            failed: false,
        })
    }

    fn begin(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.failed, true) {
            return Err(Error::internal("a writer of changes was used after it failed").at(self.shared.dataset.place.clone()));
        }
        Ok(())
    }

    fn add(&mut self, mark: &TransactionMark, seq: u64, content: impl Into<Bytes>) {
        let content = content.into();
        let path = self.path.of(mark.committed_at_us, &message_id(&mark.position, seq));
        self.pending_bytes += content.len() + path.len() + 64;
        self.pending.push((join(&self.shared.dataset.folder, &path), content));
    }

    /// Rows as objects, one by one.
    fn objects(&self, stored: &arrow::array::RecordBatch) -> Result<Vec<Bytes>> {
        let write = WriteOptions::new(Format::Ndjson);
        let mut objects = Vec::with_capacity(stored.num_rows());
        for row in 0..stored.num_rows() {
            let mut one = encoder(stored.schema(), &write)?;
            one.write(&stored.slice(row, 1))?;
            let mut parts = one.drain();
            parts.extend(one.finish()?);
            objects.push(parts.concat().into());
        }
        Ok(objects)
    }

    async fn write(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        self.objects += pending.len() as u64;
        self.bytes += pending.iter().map(|(_, content)| content.len() as u64).sum::<u64>();
        let storage = self.shared.dataset.storage.clone();
        let writes: Vec<_> = pending
            .into_iter()
            .map(|(path, content)| {
                let storage = storage.clone();
                async move { storage.put_small(&path, content, Expect::Anything).await }
            })
            .collect();
        futures::stream::iter(writes).buffer_unordered(REQUESTS).try_collect::<Vec<()>>().await?;
        Ok(())
    }
}

#[async_trait]
impl ChangeWriter for Landing {
    async fn apply(&mut self, batch: ChangeBatch) -> Result<()> {
        self.begin()?;
        self.shape.check(&batch)?;
        let batch = if self.deletes { batch } else { rows::without_deletes(batch)? };
        let before = self.record.changes;
        let contents: Vec<(usize, Bytes)> = match &self.shape.envelope {
            // A tombstone is for logs that forget keys; a file of nothing would tell nothing.
            Some(envelope) => envelope
                .encode(&batch, now_ns())?
                .into_iter()
                .filter_map(|message| Some((message.row, message.value?.into())))
                .collect(),
            None => self.objects(&rows::of(&batch, self.shape.stored(), before)?)?.into_iter().enumerate().collect(),
        };
        let mut marks = batch.transactions.iter().peekable();
        for (row, content) in contents {
            while marks.peek().is_some_and(|mark| mark.end <= row) {
                marks.next();
            }
            let mark = marks.peek().ok_or_else(|| Error::internal("a change without its transaction"))?;
            self.add(mark, before + row as u64 + 1, content);
        }
        self.record.changes += batch.ops.len() as u64;
        self.rows += batch.ops.len() as u64;
        if self.pending_bytes >= PENDING_BYTES {
            self.write().await?;
        }
        self.failed = false;
        Ok(())
    }

    async fn truncate(&mut self, transaction: &TransactionMark) -> Result<()> {
        if !self.deletes {
            return Ok(());
        }
        self.begin()?;
        let content = match &self.shape.envelope {
            Some(envelope) => envelope.truncate(transaction, now_ns())?.value.unwrap_or_default().into(),
            None => {
                let stored = rows::emptied(transaction, self.shape.stored(), self.record.changes)?;
                self.objects(&stored)?.pop().unwrap_or_default()
            }
        };
        self.record.changes += 1;
        self.rows += 1;
        self.add(transaction, self.record.changes, content);
        self.failed = false;
        Ok(())
    }

    /// Each message says what it has; there is no dataset with a schema.
    async fn reshape(&mut self, change: &SchemaChange) -> Result<()> {
        self.shape = Shape::new(&self.layout, &self.target.stream, change.schema.clone(), change.key.clone())?;
        Ok(())
    }

    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        self.begin()?;
        self.write().await?;
        failpoint!("files.changes.landed");
        let rows = std::mem::take(&mut self.rows);
        let bytes = std::mem::take(&mut self.bytes);
        self.record.progress = barrier.progress.clone();
        self.record.rows += rows;
        self.record.bytes += bytes;
        self.record.objects += std::mem::take(&mut self.objects);
        ledger::flush(&self.shared, &Flush { record: self.record.clone(), files: Vec::new(), rows, swap: None }).await?;
        self.failed = false;
        Ok(Flushed { token: Value::Null, rows, bytes })
    }

    fn buffered_bytes(&self) -> usize {
        self.pending_bytes
    }
}
