//! Reading: a source opens a stream, the stream divides into splits, a split is read as events.
//!
//! ## Contract
//! * [`Source::open`] fixes what "the stream" means for this run: a database takes its snapshot, a file source lists
//!   its files. Everything read through one [`StreamReader`] is one consistent view.
//! * Splits are read concurrently by several lanes, each split by one lane, in any order. The union of all splits is
//!   the stream, each row in exactly one split.
//! * A batch with a `position` may be resumed after; a batch without one may not, and the engine then makes
//!   the split durable only as a whole. A split that has ended is always a resume point.
//! * Dropping the event stream cancels the read and frees what it holds.
//!
//! ## Without end
//! With [`ReadRequest::unbounded`] (`mode: streaming`; only sources that say [`Source::unbounded`]) a split is read for ever:
//! * A split's descriptor says where its reading begins (`latest` is turned into an offset when the split is listed): the engine keeps the split,
//!   whole, before a row of it is read, and gives it back in [`Resume::progress`], with `position: None` as long as nothing of it is durable.
//! * Every batch has a position, or the next one has one soon: nothing becomes durable in between. After [`Event::Dead`] comes a batch with the
//!   position behind it, if need be one without rows.
//! * [`Event::Idle`] says: everything that was in the split when this was asked has been given. It comes after the last batch, before the
//!   reader waits, and again after each wait that brought rows.
//! * An event stream that ends says that the split is closed for good at the source. A failure is an error, never an end.
//! * Splits that appear later are told by [`StreamReader::look`].

use std::pin::Pin;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::Stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_error::Result;

use crate::change::ChangeSource;
use crate::stream::{DeadLetter, StreamInfo};
use crate::verify::Verifiable;

/// The ordered, opaque resume point inside a split. Only the connector that made it reads it.
pub type Position = Value;

/// An independently readable, serialisable part of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Unique in the stream and stable over a resume.
    pub id: String,
    /// What the connector needs to read it.
    pub descriptor: Value,
    /// About how many rows, for progress.
    pub estimated_rows: Option<u64>,
    /// About how many source bytes, for progress.
    pub estimated_bytes: Option<u64>,
}

/// How far a split got, as the checkpoint (or a co-committed sink) remembers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitProgress {
    /// The split, whole, so that a resume does not depend on planning the same splits again.
    pub split: Split,
    /// Where to go on; `None` with `done` = finished without positions inside.
    pub position: Option<Position>,
    /// Nothing more to read in this split.
    pub done: bool,
    /// Rows read from the split up to here, dead letters included.
    pub rows: u64,
}

/// What an earlier, interrupted attempt of the same run knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// What [`StreamReader::state`] of the first attempt returned.
    pub reader_state: Value,
    /// Splits that are durable in the sinks, whole or up to a position.
    pub progress: Vec<SplitProgress>,
}

/// What a reader makes of a [`Resume`].
#[derive(Debug, Clone, PartialEq)]
pub enum ResumeVerdict {
    /// There was nothing to resume.
    Fresh,
    /// The finished parts still hold: [`StreamReader::splits`] lists only what is left, and the result equals one
    /// consistent read.
    Continued,
    /// The source changed underneath: everything must be read again and what was staged thrown away.
    StartOver {
        /// Why, for the log and the report.
        reason: String,
    },
}

/// The lower bound of an incremental read. The engine owns the cursor: it widens the bound by the lag, drops rows that the
/// last run already delivered, and remembers the new maximum with the checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CursorWindow {
    /// The cursor column.
    pub column: String,
    /// Rows with `column >= lower` are wanted (and NULLs never); `None` = everything that is not NULL… on the first
    /// run rows with a NULL cursor are read too, so that nothing is left behind silently. Text form of the
    /// column's type as Arrow prints it: RFC 3339 for timestamps, digits for numbers.
    pub lower: Option<String>,
}

/// What to read.
#[derive(Debug, Clone, Default)]
pub struct ReadRequest {
    /// Name of the stream, as [`Source::streams`] gave it.
    pub stream: String,
    /// Set in `mode: incremental` with a cursor.
    pub cursor: Option<CursorWindow>,
    /// `${last_run_time}`: RFC 3339 in UTC, the `as_of` of the last committed run; `1970-01-01T00:00:00Z` at first. Bound as a
    /// parameter, never spliced.
    pub last_run_time: Option<String>,
    /// What an interrupted attempt left; `None` = a fresh run.
    pub resume: Option<Resume>,
    /// State of the last *committed* run (see [`StreamReader::next_state`]), e.g. the files already taken.
    pub previous: Option<Value>,
    /// Lanes that will read at the same time, at least 1.
    pub parallelism: usize,
    /// Batches should stay near this many bytes; 0 = the source's own choice.
    pub batch_bytes: usize,
    /// Stop after about this many rows (preview); splits may be fewer.
    pub limit: Option<u64>,
    /// Only these columns are needed (queries). A hint: a reader that cannot leave columns out gives all of them, and its
    /// [`StreamReader::schema`] says so.
    pub columns: Option<Vec<String>>,
    /// Read for ever (`mode: streaming`); see the module. `false`: up to the end as it was when the stream was opened.
    pub unbounded: bool,
}

/// Rows with where they came from.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The rows, in the stream's schema.
    pub records: RecordBatch,
    /// The resume point after these rows, if there is one here.
    pub position: Option<Position>,
    /// Bytes taken from the source for them (wire or file bytes), for progress and rates.
    pub source_bytes: u64,
}

/// What comes out of a split.
#[derive(Debug, Clone)]
pub enum Event {
    /// Rows.
    Batch(Batch),
    /// A record that could not be decoded; counted as read.
    Dead(DeadLetter),
    /// The schema of all later batches; bounded sources send it only when it really changes.
    SchemaChange(SchemaRef),
    /// Event-time progress, microseconds since the epoch.
    Watermark(i64),
    /// Nothing to read right now (unbounded sources).
    Idle,
}

/// Events of one split, in order.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Event>> + Send>>;

/// What the plan needs to know about a source to compute the guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceCapabilities {
    /// Whether a second read of the same split gives the same rows while the system does not change.
    pub replayable: bool,
    /// One clause for `weir plan`: `postgres re-reads unchanged ctid splits under a new snapshot`.
    pub replay_note: String,
}

/// A connection with its options, ready to be read.
#[async_trait]
pub trait Source: Send + Sync {
    /// What the guarantee rests on.
    fn capabilities(&self) -> SourceCapabilities;

    /// Whether it can be read without end (`mode: streaming`): a broker, a socket, a receiver.
    fn unbounded(&self) -> bool {
        false
    }

    /// The streams that the options choose, with schemas. An option that matches nothing is an error.
    async fn streams(&self) -> Result<Vec<StreamInfo>>;

    /// Fixes the view for this run and plans the splits that are left to read.
    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>>;

    /// Decodes one dead letter of this source again, with the options as they are now: rows if it is well-formed by
    /// now, [`Event::Dead`] if it still is not. The payload is the record as the source met it.
    async fn redecode(&self, stream: &str, letter: &DeadLetter) -> Result<Vec<Event>> {
        Ok(vec![Event::Dead(DeadLetter {
            reason: format!("this source cannot read single records of `{stream}` again; correct them at the source"),
            ..letter.clone()
        })])
    }

    /// The log of changes, if this source has one (`mode: cdc`).
    fn changes(&self) -> Option<&dyn ChangeSource> {
        None
    }

    /// How its streams are compared with what a sink has (`weir verify`), if they can be.
    fn verifiable(&self) -> Option<&dyn Verifiable> {
        None
    }

    /// The engine has made everything of this stream durable and committed. Sources that hold something for us
    /// (a replication slot, a queue's acknowledgement) let go of it here. Idempotent.
    ///
    /// Without end it is called again and again, after epochs have become durable, with the latest progress of the splits that moved. It may be
    /// called while splits are being read. An error ends the attempt.
    async fn committed(&self, _stream: &str, _progress: &[SplitProgress]) -> Result<()> {
        Ok(())
    }
}

/// One stream, opened: a consistent view divided into splits.
#[async_trait]
pub trait StreamReader: Send + Sync {
    /// Schema of the batches.
    fn schema(&self) -> SchemaRef;

    /// What is left to read, largest first where that helps.
    fn splits(&self) -> Vec<Split>;

    /// Whether an earlier attempt could be continued.
    fn verdict(&self) -> ResumeVerdict {
        ResumeVerdict::Fresh
    }

    /// What [`ReadRequest::resume`] of a later attempt must know (snapshot, file list). Written with every checkpoint.
    fn state(&self) -> Value {
        Value::Null
    }

    /// What [`ReadRequest::previous`] of the *next run* must know; committed together with this run.
    fn next_state(&self) -> Option<Value> {
        None
    }

    /// The moment of the view by the clock of the source (RFC 3339, UTC); the next run's `${last_run_time}`.
    fn as_of(&self) -> Option<String> {
        None
    }

    /// Asked every few seconds while the stream is read without end: the splits there are by now. The engine takes those whose id it does not know,
    /// and reads them from where their descriptor says: for a new partition its first record.
    async fn look(&self) -> Result<Vec<Split>> {
        Ok(Vec::new())
    }

    /// About how many rows each split has that were not given yet, by the split's id; only of those of which it is known without asking the source.
    fn lags(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    /// About how many rows the source has that were not given yet, if that is known without asking it.
    fn lag(&self) -> Option<u64> {
        let lags = self.lags();
        (!lags.is_empty()).then(|| lags.iter().map(|(_, rows)| *rows).fold(0, u64::saturating_add))
    }

    /// For how long, at least, the oldest row that was not given yet has been there, in milliseconds, if that is known without asking the source; 0: there is none.
    fn lag_ms(&self) -> Option<u64> {
        None
    }

    /// Reads a split, from its beginning or after a position.
    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream>;
}
