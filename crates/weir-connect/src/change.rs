//! Changes: the log of a database, read in order, and what a sink does with it.
//!
//! ## Contract
//! * One log covers all streams of a source. [`ChangeSource::open`] fixes where it begins; [`ChangeLog::read`] gives the snapshot of what is
//!   not yet there and then every change, as one stream of [`ChangeEvent`]s. How snapshot and log are merged is the connector's business;
//!   what comes out is, **per stream, in an order in which applying it gives the source's table**, and per key the order in which the
//!   source committed.
//! * A [`ChangeEvent::Boundary`] stands where no transaction is cut: everything before it, over all streams, may be made durable together, and
//!   its position may be resumed from. Between two boundaries the streams' batches may be interleaved otherwise than in the log.
//! * The source must keep everything after the position last given to [`ChangeLog::acknowledge`], and may throw away what is before. It is called
//!   only with positions of boundaries that are durable. Not called for a position = not durable.
//! * A gap (slot lost, log purged, another timeline) is an error of [`ChangeSource::open`] or of the stream, before any row behind the gap.
//! * Dropping the event stream cancels the read.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{RecordBatch, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::Stream;
use serde::{Deserialize, Serialize};
use weir_error::{Error, Kind, Result};

use crate::fidelity::type_of;
use crate::sink::{Barrier, Flushed};
use crate::source::Position;
use crate::stream::{DeadLetter, StreamInfo};

/// What happened to a row. The letters are Debezium's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Op {
    /// Inserted.
    #[serde(rename = "c")]
    Create = b'c',
    /// Changed; the key is the same. A change of the key is a delete and a create.
    #[serde(rename = "u")]
    Update = b'u',
    /// Deleted.
    #[serde(rename = "d")]
    Delete = b'd',
    /// Read by the snapshot.
    #[serde(rename = "r")]
    Read = b'r',
}

impl Op {
    /// The letter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "c",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Read => "r",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A transaction, or a part of one, inside a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionMark {
    /// The rows of the batch up to here (exclusive), from where the mark before ends, belong to it.
    pub end: usize,
    /// Position of its commit as the system writes it (`0/16B3748`, `binlog.000003:4711`, a GTID); for the snapshot the position that it was
    /// taken at.
    pub position: Arc<str>,
    /// What else the system says of the transaction, in its own terms: its number (PostgreSQL), where it begins in the log, its server and its
    /// session (MySQL: `binlog.000003:4711 1 42`).
    pub id: Option<Arc<str>>,
    /// When it was committed by the source's clock, microseconds since 1970; for the snapshot, when the rows were read.
    pub committed_at_us: i64,
}

/// Changes of one stream, in order.
#[derive(Debug, Clone)]
pub struct ChangeBatch {
    /// The stream, as [`ChangeSource::streams`] names it.
    pub stream: Arc<str>,
    /// One per row.
    pub ops: Vec<Op>,
    /// In the stream's current schema: the row after the change; of a delete the row before it, as far as the log has it. All columns are
    /// nullable here, because a delete may have its key only.
    pub rows: RecordBatch,
    /// Per column, the rows whose value is not in the log: it did not change (TOAST) or, for a delete, is not known. The value
    /// in `rows` is NULL then and means nothing. `None` = every value of the column is there.
    pub absent: Vec<Option<BooleanBuffer>>,
    /// The rows before updates and deletes, if asked for and known; same schema and length, NULL for the other operations. `None`
    /// = not asked for.
    pub before: Option<RecordBatch>,
    /// The transactions, ascending by `end`; the last one's `end` is the number of rows.
    pub transactions: Vec<TransactionMark>,
    /// Bytes taken from the source.
    pub source_bytes: u64,
}

impl ChangeBatch {
    /// Rows that a snapshot has read, all of the transaction `mark`. `before`: rows before changes were asked for, and these have none.
    ///
    /// # Errors
    /// Only if Arrow refuses a batch of NULLs.
    pub fn read(stream: Arc<str>, rows: RecordBatch, mark: TransactionMark, before: bool, source_bytes: u64) -> Result<Self> {
        let count = rows.num_rows();
        let nothing = || {
            let columns = rows.schema().fields().iter().map(|field| new_null_array(field.data_type(), count)).collect();
            RecordBatch::try_new(rows.schema(), columns)
                .map_err(|error| Error::internal("no room for rows before").caused_by(error))
        };
        Ok(Self {
            stream,
            ops: vec![Op::Read; count],
            absent: vec![None; rows.num_columns()],
            before: before.then(nothing).transpose()?,
            transactions: vec![mark],
            rows,
            source_bytes,
        })
    }
}

/// Where a run may be resumed from.
#[derive(Debug, Clone, PartialEq)]
pub struct Boundary {
    /// All that [`ChangeRequest::from`] needs, the state of a running snapshot included.
    pub position: Position,
    /// The commit time of the last transaction before it; `None` if only the position moved (heartbeat).
    pub committed_at_us: Option<i64>,
    /// Nothing more was waiting at the source at that moment.
    pub caught_up: bool,
}

/// What comes out of a log.
#[derive(Debug, Clone)]
pub enum ChangeEvent {
    /// Changes of one stream.
    Changes(ChangeBatch),
    /// All later batches of the stream have this schema. Comes after every batch of the old one.
    Schema(SchemaChange),
    /// The table was emptied, in order with its changes.
    Truncate {
        /// The stream.
        stream: Arc<str>,
        /// The transaction that did it.
        transaction: TransactionMark,
    },
    /// A record that cannot be decoded; counted as a change.
    Dead(DeadLetter),
    /// See [`Boundary`].
    Boundary(Boundary),
}

/// A new shape of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaChange {
    /// The stream.
    pub stream: Arc<str>,
    /// Its schema from now on; `weir.source_type` in the fields' metadata, as in [`StreamInfo`].
    pub schema: SchemaRef,
    /// Its key from now on.
    pub key: Vec<String>,
    /// Columns that are the same under a new name, as far as the log tells: old and new.
    pub renamed: Vec<(String, String)>,
    /// The statement, if the log has it.
    pub statement: Option<String>,
}

impl SchemaChange {
    /// What differs from the shape before, in words that a contract is about: `add column note text`. Nothing: no target has to be altered for it.
    pub fn differences(&self, schema: &SchemaRef, key: &[String]) -> Vec<String> {
        let named = |schema: &SchemaRef, name: &str| schema.fields().find(name).map(|(_, field)| field.clone());
        let mut all = Vec::new();
        for before in schema.fields() {
            let renamed = self.renamed.iter().find(|(from, _)| from == before.name()).map(|(_, to)| to);
            if let Some(to) = renamed {
                all.push(format!("rename column {} to {to}", before.name()));
            }
            let name = renamed.unwrap_or(before.name());
            let Some(after) = named(&self.schema, name) else {
                all.push(format!("drop column {name}"));
                continue;
            };
            if before.data_type() != after.data_type() || type_of(before) != type_of(&after) {
                all.push(format!("change column {name} from {} to {}", type_of(before), type_of(&after)));
            }
            // That NULL is forbidden from now on asks nothing of the target.
            if !before.is_nullable() && after.is_nullable() {
                all.push(format!("allow NULL in column {name}"));
            }
        }
        for after in self.schema.fields() {
            if named(schema, after.name()).is_none() && !self.renamed.iter().any(|(_, to)| to == after.name()) {
                all.push(format!("add column {} {}", after.name(), type_of(after)));
            }
        }
        if key != self.key {
            all.push(format!("change the key from ({}) to ({})", key.join(", "), self.key.join(", ")));
        }
        all
    }
}

/// Events, in order.
pub type ChangeStream = Pin<Box<dyn Stream<Item = Result<ChangeEvent>> + Send>>;

/// What to read.
#[derive(Debug, Clone)]
pub struct ChangeRequest {
    /// The pipeline: what the source keeps for us (a slot) is named after it unless the options say otherwise.
    pub pipeline: String,
    /// The streams, a part of [`ChangeSource::streams`]. One that `from` does not know is new: its snapshot is taken while the
    /// log goes on. One that is missing here but known there is left out from now on.
    pub streams: Vec<String>,
    /// The last durable boundary; `None` = the first run.
    pub from: Option<Position>,
    /// End after what was committed when the log was opened, instead of waiting for more.
    pub until_caught_up: bool,
    /// [`ChangeBatch::before`] is wanted.
    pub before_images: bool,
    /// Rows of the snapshot may be read over this many connections at once.
    pub parallelism: usize,
    /// Batches should stay near this many bytes.
    pub batch_bytes: usize,
    /// While changes keep coming, a boundary comes at least this often; when none are waiting, at once. Changes that are late already may wait
    /// longer, see [`linger_by_delay`].
    pub linger: Duration,
}

/// The longest that changes wait for others to be made durable with.
const LONGEST_LINGER: Duration = Duration::from_millis(250);

/// How long changes may wait for others, by how late they are: `linger` for those of now, a twentieth of the delay for older ones, 250 ms at most.
/// Each boundary costs the journal and every sink a write that waits for the disk; who reads a log hours behind gains nothing from many of them.
pub fn linger_by_delay(linger: Duration, committed_at_us: i64) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let late = now.saturating_sub(Duration::from_micros(u64::try_from(committed_at_us).unwrap_or_default()));
    linger.max((late / 20).min(LONGEST_LINGER))
}

/// A stream whose snapshot is taken once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotAgain {
    /// The stream.
    pub stream: String,
    /// Only the rows for which this holds, in the source's own language; `None` = all.
    pub only: Option<String>,
}

/// A source that has a log of changes.
#[async_trait]
pub trait ChangeSource: Send + Sync {
    /// The streams that the options choose, with schemas and keys.
    async fn streams(&self) -> Result<Vec<StreamInfo>>;

    /// Checks everything that can be checked beforehand (log level, privileges, slot, publication, purged positions), makes what the source must
    /// keep for us, and opens the log.
    async fn open(&self, request: ChangeRequest) -> Result<Arc<dyn ChangeLog>>;

    /// The position from which the snapshot of these streams is taken once more while the log goes on, and everything else as from `from`. The rows come
    /// as [`Op::Read`]. The targets have rows of these streams already, or are new: deletes are given out, and a row may show for a moment what it was
    /// shortly before, and ends as it is. Rows that a target has and the source has not any more stay.
    ///
    /// An error if `from` does not know one of the streams, or the source cannot do it.
    fn snapshot_again(&self, _from: &Position, _streams: &[SnapshotAgain]) -> Result<Position> {
        Err(Error::new("WEIR-CHANGE-010", Kind::Unsupported, "this source cannot take the snapshot of a table once more")
            .hint("`weir state reset` begins with a new snapshot of all tables"))
    }

    /// Removes what the source keeps for a pipeline (slot, publication): `weir state reset`. What is gone already is fine.
    async fn forget(&self, pipeline: &str, from: Option<&Position>) -> Result<()>;
}

/// An open log. Dropping it ends the connection; what the source keeps stays.
#[async_trait]
pub trait ChangeLog: Send + Sync {
    /// The events from [`ChangeRequest::from`] on. Called once.
    async fn read(&self) -> Result<ChangeStream>;

    /// Everything up to this boundary is durable. Cheap, called often; the source hears of it with its next status message.
    async fn acknowledge(&self, position: &Position) -> Result<()>;
}

/// What a sink does with deletes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeleteMode {
    /// The row is deleted.
    #[default]
    Hard,
    /// The row stays and its column `_deleted` is set to true (its key and `_deleted` only, if it was never there).
    Soft,
    /// Nothing happens.
    Ignore,
}

/// Applies the changes of one stream to its target. Dropping it without `flush` throws away what was not flushed.
///
/// Changes since the last flush may be collapsed to the last one per key. A repeated delivery of changes that are durable already cannot happen:
/// the engine begins after the progress that [`crate::sink::StreamSink::recover`] gave.
#[async_trait]
pub trait ChangeWriter: Send {
    /// Takes changes. Backpressure is the returned future; memory held is bounded (what does not fit goes ahead into the open
    /// transaction or to disk).
    async fn apply(&mut self, batch: ChangeBatch) -> Result<()>;

    /// Empties the target, after what was applied before. The transaction that did it is for sinks that keep changes as rows.
    async fn truncate(&mut self, transaction: &TransactionMark) -> Result<()>;

    /// Adapts the target to a new shape, as the stream's contract allows; what it does not allow is an error of `Kind::Schema`. What was applied
    /// before is of the old shape.
    async fn reshape(&mut self, change: &SchemaChange) -> Result<()>;

    /// Makes everything applied so far durable and visible, with the barrier's progress, atomically.
    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed>;

    /// How long applied changes may wait for their flush, where each flush has a price of its own (a file). The engine flushes after that time at the
    /// latest, and at the end of the run; the journal keeps what is not flushed.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// So much has come together that nothing is gained by waiting.
    fn full(&self) -> bool {
        self.patience().is_zero()
    }

    /// Bytes held in memory now, for the budget.
    fn buffered_bytes(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_now_wait_for_the_linger_and_old_ones_longer() {
        let linger = Duration::from_millis(5);
        let ago = |seconds: u64| {
            let then = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() - Duration::from_secs(seconds);
            i64::try_from(then.as_micros()).unwrap()
        };
        assert_eq!(linger_by_delay(linger, ago(0)), linger);
        assert!((Duration::from_millis(100)..Duration::from_millis(150)).contains(&linger_by_delay(linger, ago(2))));
        assert_eq!(linger_by_delay(linger, ago(3600)), LONGEST_LINGER);
        // The source's clock is ahead.
        assert_eq!(linger_by_delay(linger, i64::MAX), linger);
        assert_eq!(linger_by_delay(Duration::from_secs(1), ago(3600)), Duration::from_secs(1));
    }
}
