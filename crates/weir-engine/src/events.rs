//! The one event stream of a run. Terminal bar, JSON lines, API and metrics are reporters over it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::{EdgeCounts, NodeCounts};

/// What happens in a run, in order. Serialises as one JSON line: `{"event": "...", ...}`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// The run begins, or goes on.
    Started {
        /// Run id; a resumed run keeps its id.
        run_id: String,
        /// Pipeline name.
        pipeline: String,
        /// `batch`, `incremental`, ….
        mode: String,
        /// Number of this attempt, from 1.
        attempt: u32,
        /// For people: `first run: everything`, `going on at checkpoint 12`.
        note: String,
    },
    /// A stream is about to be read.
    StreamStarted {
        /// Flow name.
        stream: String,
        /// About how many rows.
        estimated_rows: Option<u64>,
        /// About how many source bytes.
        estimated_bytes: Option<u64>,
    },
    /// Where a stream stands; sent a few times a second.
    Progress(Progress),
    /// A checkpoint is durable.
    Checkpoint {
        /// Number within the run.
        epoch: u64,
        /// Stream.
        stream: String,
        /// Rows durable in this stream so far.
        rows: u64,
        /// Milliseconds since the run began.
        at_ms: u64,
    },
    /// A transient error; the engine tries again.
    Retry {
        /// Stream.
        stream: String,
        /// What failed.
        message: String,
        /// Which try comes next.
        attempt: u32,
        /// After how long.
        delay_ms: u64,
    },
    /// Something worth saying.
    Warning {
        /// The text.
        message: String,
    },
    /// A stream is committed.
    StreamFinished {
        /// Flow name.
        stream: String,
        /// Rows visible in the target.
        rows_written: u64,
        /// Bytes at the target.
        bytes_written: u64,
        /// Where.
        places: Vec<String>,
    },
    /// The run has ended; the report follows as the command's result.
    Finished {
        /// `succeeded`, `failed`, `interrupted`, ….
        status: String,
    },
}

/// Counters of one stream at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Progress {
    /// Flow name.
    pub stream: String,
    /// Rows read.
    pub rows_read: u64,
    /// Rows given to the sinks.
    pub rows_written: u64,
    /// Source bytes read.
    pub bytes_read: u64,
    /// Dead letters.
    pub rows_dead: u64,
    /// About how many rows there are.
    pub estimated_rows: Option<u64>,
    /// About how many source bytes there are.
    pub estimated_bytes: Option<u64>,
    /// Resident memory of the process.
    pub memory_bytes: u64,
    /// The budget.
    pub memory_limit_bytes: u64,
    /// Milliseconds since the stream began.
    pub elapsed_ms: u64,
    /// Of a stream without end: about how many rows the source has that were not read yet, if it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_rows: Option<u64>,
    /// For how long, at least, the oldest of these has been there, if the source tells: milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// The same as `lag_rows` by split, of the sixteen that are furthest behind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lag_splits: BTreeMap<String, u64>,
    /// Of a log: its journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalProgress>,
    /// Of a stream that keeps state over event time: how far time is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time: Option<EventTimeProgress>,
    /// The nodes that the stream goes through, two hundred at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeCounts>,
    /// What went from node to node, two hundred at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<EdgeCounts>,
}

/// Event time of a stream at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct EventTimeProgress {
    /// No row older than this is expected: milliseconds since 1970. `None`: not every split has given a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark_ms: Option<i64>,
    /// How far it is behind the clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<i64>,
    /// Bytes of state in memory.
    pub state_bytes: u64,
    /// Rows that came behind the watermark.
    pub rows_late: u64,
}

/// The journal of a log at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct JournalProgress {
    /// Bytes on disk.
    pub bytes: u64,
    /// `journal.max_bytes`.
    pub max_bytes: u64,
    /// Nothing is read from the source: the journal is full.
    pub waiting: bool,
}

/// Consumes the events. Called from one task; must not block for long.
pub trait Reporter: Send {
    /// One event.
    fn event(&mut self, event: &RunEvent);
}

/// A reporter that ignores everything.
pub struct Silent;
impl Reporter for Silent {
    fn event(&mut self, _: &RunEvent) {}
}
