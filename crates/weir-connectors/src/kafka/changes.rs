//! `mode: cdc` into a topic: each change as Debezium tells it, a delete with its tombstone behind it.
//!
//! One producer writes the changes of a stream in the order of the log, and records of one key go to one partition: per key the order is the source's. A
//! flush is a transaction that has the log's position in it ([`super::lanes`]): exactly once. A table without a key, and the message of a table that was
//! emptied, have no key to be ordered by.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use weir_connect::{
    Barrier, ChangeBatch, ChangeWriter, DeleteMode, Error, Flushed, Kind, Op, Result, SchemaChange, SchemaChangePolicy,
    StreamTarget, TransactionMark,
};
use weir_formats::debezium::{Context, Envelope, Message};

use super::encode::now_ns;
use super::lanes::{Hand, Shared, Work};
use super::producer::Record;
use crate::changes::look_like;

/// See [`ChangeWriter`].
pub(super) struct Changes {
    shared: Arc<Shared>,
    context: Context,
    /// In the stream's shape as it is now.
    target: StreamTarget,
    envelope: Arc<Envelope>,
    deletes: bool,
    hand: Hand,
}

impl Changes {
    /// # Errors
    /// A column that has no place in the envelope; `WEIR-KAFKA-050` for deletes that cannot be written so.
    pub(super) async fn new(shared: Arc<Shared>, context: Context, target: StreamTarget, deletes: DeleteMode) -> Result<Self> {
        let deletes = match deletes {
            DeleteMode::Hard => true,
            DeleteMode::Ignore => false,
            DeleteMode::Soft => {
                let what = "`delete_mode: soft` has no meaning where each change is a record";
                return Err(Error::new("WEIR-KAFKA-050", Kind::Spec, what)
                    .hint("a delete is a record with `op` d; with `delete_mode: ignore` there is none"));
            }
        };
        let envelope = Arc::new(Envelope::new(&target.stream, &target.schema, &target.key, &context)?);
        Ok(Self { hand: shared.hand(0).await?, shared, context, target, envelope, deletes })
    }

    /// Sends what is made, which tells of so many changes.
    async fn tell(&mut self, make: impl FnOnce(&Envelope) -> Result<(Vec<Message>, u64)> + Send + 'static) -> Result<()> {
        let (shared, envelope) = (self.shared.clone(), self.envelope.clone());
        let tell = move |work: &mut Work| -> Result<()> {
            let (messages, changes) = make(&envelope)?;
            for message in &messages {
                let record = Record {
                    topic: &shared.topic,
                    key: message.key.as_deref(),
                    value: message.value.as_deref(),
                    partition: None,
                    timestamp: None,
                    headers: &shared.headers,
                };
                shared.send(work, &record)?;
            }
            work.rows += changes;
            Ok(())
        };
        self.hand.with(tell).await
    }
}

#[async_trait]
impl ChangeWriter for Changes {
    async fn apply(&mut self, batch: ChangeBatch) -> Result<()> {
        look_like(&self.target.schema, &batch.rows.schema()).map_err(|error| error.at(format!("`{}`", batch.stream)))?;
        let deletes = self.deletes;
        self.tell(move |envelope| {
            let mut messages = envelope.encode(&batch, now_ns())?;
            if !deletes {
                messages.retain(|message| batch.ops.get(message.row) != Some(&Op::Delete));
            }
            let changes = batch.ops.iter().filter(|op| deletes || **op != Op::Delete).count() as u64;
            Ok((messages, changes))
        })
        .await
    }

    async fn truncate(&mut self, transaction: &TransactionMark) -> Result<()> {
        if !self.deletes {
            return Ok(());
        }
        let transaction = transaction.clone();
        self.tell(move |envelope| Ok((vec![envelope.truncate(&transaction, now_ns())?], 1))).await
    }

    async fn reshape(&mut self, change: &SchemaChange) -> Result<()> {
        let differences = change.differences(&self.target.schema, &self.target.key);
        if self.target.on_schema_change != SchemaChangePolicy::Evolve && !differences.is_empty() {
            let what = format!("the contract of `{}` does not allow its new shape: {}", change.stream, differences.join("; "));
            return Err(Error::new("WEIR-KAFKA-051", Kind::Schema, what)
                .at(format!("topic `{}`", self.shared.topic))
                .hint("`on_schema_change: evolve` writes the columns as they are from now on"));
        }
        self.envelope = Arc::new(Envelope::new(&self.target.stream, &change.schema, &change.key, &self.context)?);
        (self.target.schema, self.target.key) = (change.schema.clone(), change.key.clone());
        Ok(())
    }

    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        let (rows, bytes) = self.shared.flush(&mut self.hand, 0, barrier).await?;
        Ok(Flushed { token: Value::Null, rows, bytes })
    }
}
