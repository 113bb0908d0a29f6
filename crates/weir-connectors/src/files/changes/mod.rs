//! `mode: cdc` into files.
//!
//! | `write_mode`, path | what is written |
//! | --- | --- |
//! | `append`, a folder | data files, each with many changes as rows ([`rows`]) or as Debezium's messages ([`shape`]); [`append`] writes them |
//! | `append`, with `{message-id}` | one file per message, under a name that a second delivery has again; [`landing`] writes them |
//! | `upsert`, a folder | the table as it is now ([`state`]), with [`copies`] for readers that do not know the manifest |
//!
//! [`ledger`] keeps in the manifest how far the log got, in the same replacement that names the new files: exactly once. [`place`] is the path. [`correct`]
//! appends what a comparison found to be missing.

mod append;
mod copies;
pub(super) mod correct;
mod landing;
pub(super) mod ledger;
pub(super) mod place;
mod rows;
pub(super) mod shape;
pub(super) mod state;

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use weir_connect::{
    ChangeWriter, CommitReport, CommitToken, DeleteMode, Recovery, SchemaChangePolicy, StreamSink, StreamTarget, StreamWriter,
    WriteMode,
};
use weir_error::{Error, Kind, Result};

use self::shape::{Layout, Shape};
use super::commit;
use super::config::FileSink;
use super::schema::{Contract, reconcile};
use super::sink::Shared;

pub(super) use rows::SOURCE_TS;

/// When the changes that have come together become a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Roll {
    pub after: Duration,
    pub rows: u64,
    /// How long content that was replaced is kept for those who are reading it.
    pub keep: Duration,
}

impl Roll {
    pub(super) fn of(options: &FileSink) -> Self {
        Self {
            after: Duration::from_secs(options.roll_secs.unwrap_or(60)),
            rows: options.roll_rows.unwrap_or(1_000_000).max(1),
            keep: Duration::from_secs(options.keep_replaced_secs.unwrap_or(300)),
        }
    }
}

/// A stream that is written by its changes.
pub(super) struct ChangesStream {
    pub shared: Arc<Shared>,
    pub target: StreamTarget,
    pub layout: Layout,
    /// The part of the path that each message has its own of.
    pub message: Option<place::MessagePath>,
    pub roll: Roll,
}

#[async_trait]
impl StreamSink for ChangesStream {
    async fn recover(&self) -> Result<Recovery> {
        ledger::recover(&self.shared).await
    }

    async fn discard(&self, _keep: &[CommitToken]) -> Result<()> {
        commit::discard(&self.shared, &[]).await
    }

    async fn writer(&self, _lane: usize) -> Result<Box<dyn StreamWriter>> {
        Err(Error::internal("a stream of changes was opened for rows").at(self.shared.dataset.place.clone()))
    }

    async fn change_writer(&self, deletes: DeleteMode) -> Result<Box<dyn ChangeWriter>> {
        if self.target.write_mode == WriteMode::Upsert {
            return Ok(Box::new(state::State::open(self, deletes).await?));
        }
        let deletes = match deletes {
            DeleteMode::Hard => true,
            DeleteMode::Ignore => false,
            DeleteMode::Soft => {
                return Err(Error::new(
                    "WEIR-FILE-090",
                    Kind::Spec,
                    "`delete_mode: soft` has no meaning where changes are appended",
                )
                .at(self.shared.dataset.place.clone())
                .hint("a delete is a row with `_op: d`; with `delete_mode: ignore` there is none"));
            }
        };
        let shape = Shape::new(&self.layout, &self.target.stream, self.target.schema.clone(), self.target.key.clone())?;
        let record = ledger::open(&self.shared).await?;
        Ok(match &self.message {
            Some(message) => Box::new(landing::Landing::new(self, shape, message.clone(), record, deletes)?),
            None => Box::new(append::Append::new(self, shape, record, deletes)),
        })
    }

    async fn commit(&self, _tokens: &[CommitToken]) -> Result<CommitReport> {
        ledger::finish(&self.shared).await
    }
}

/// What the changes of a stream make of a dataset: that is there already, and was written before by the same stream or not.
pub(super) fn contract_of(
    existing: Option<SchemaRef>,
    target: &StreamTarget,
    layout: &Layout,
    deletes: DeleteMode,
    written_before: bool,
) -> Result<Contract> {
    if target.write_mode == WriteMode::Upsert {
        return state::contract(existing, &target.schema, deletes, target.on_schema_change, written_before);
    }
    let shape = Shape::new(layout, &target.stream, target.schema.clone(), target.key.clone())?;
    contract(existing, shape.stored(), target.on_schema_change, written_before)
}

/// As for rows; a dataset that this writer has written to before may have columns that its stream has lost by now.
fn contract(
    existing: Option<SchemaRef>,
    incoming: &SchemaRef,
    policy: SchemaChangePolicy,
    written_before: bool,
) -> Result<Contract> {
    let lost: Vec<_> = match &existing {
        Some(existing) if written_before => {
            existing.fields().iter().filter(|field| incoming.field_with_name(field.name()).is_err()).cloned().collect()
        }
        _ => Vec::new(),
    };
    if lost.is_empty() {
        return reconcile(existing, incoming, policy);
    }
    let all: Vec<_> = incoming.fields().iter().cloned().chain(lost).collect();
    let mut contract = reconcile(existing, &Arc::new(arrow::datatypes::Schema::new(all)), policy)?;
    let own = contract.write.fields().iter().filter(|field| incoming.field_with_name(field.name()).is_ok()).cloned();
    contract.write = Arc::new(arrow::datatypes::Schema::new(own.collect::<Vec<_>>()));
    Ok(contract)
}
