//! Runs: one execution of a job, maybe in several attempts.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Job, JobId, RunId, TenantId};

/// Where a run stands. Legal moves: `queued → running → succeeded | failed | cancelled`, `running → queued` (another attempt),
/// `queued → cancelled`; `skipped` from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Waits for a worker, or for its next attempt.
    Queued,
    /// A worker holds the lease.
    Running,
    /// Committed and reconciled.
    Succeeded,
    /// No further attempt.
    Failed,
    /// Stopped on request; a checkpoint is kept.
    Cancelled,
    /// A fire that found the former run still going (overlap `skip`).
    Skipped,
}

impl RunStatus {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
    /// As written in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

/// Why a run exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Trigger {
    /// Somebody asked.
    Manual,
    /// The schedule's fire at that time; unique per job and time.
    Schedule {
        /// The fire, without jitter.
        fire_at: DateTime<Utc>,
    },
    /// Another job's run succeeded; unique per job and that run.
    Dependency {
        /// That run.
        run_id: RunId,
    },
    /// Somebody asked for dead letters to be taken once more through the pipeline; such a run reads nothing else.
    Replay {
        /// The name under which the letters were chosen.
        letters: String,
    },
}

/// A run to be queued.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// Of which job.
    pub job_id: JobId,
    /// Why.
    pub trigger: Trigger,
    /// Not before.
    pub not_before: DateTime<Utc>,
}

/// Rows of one stream, as the engine reports them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamCounts {
    /// Stream.
    pub name: String,
    /// Rows out of the source.
    pub rows_read: u64,
    /// Rows visible in the sink.
    pub rows_written: u64,
    /// Rows taken out.
    pub rows_filtered: u64,
    /// Dead letters.
    pub rows_dead: u64,
    /// Bytes read.
    #[serde(default)]
    pub bytes_read: u64,
    /// Bytes at the target.
    pub bytes_written: u64,
    /// Of a stream without end: about how many rows wait at the source, if it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_rows: Option<u64>,
    /// For how long, at least, the oldest of these has been there: milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// The same by split, of those that are furthest behind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lag_splits: BTreeMap<String, u64>,
    /// Of a stream that keeps state over event time: how far time is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<EventTime>,
    /// What the nodes of the pipeline took in and gave out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeCounts>,
    /// What went from node to node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<EdgeCounts>,
}

/// Event time of a stream, as the engine told it last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTime {
    /// No row older than this is expected: milliseconds since 1970. `None`: not every split has given a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark_ms: Option<i64>,
    /// How far it was behind the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<i64>,
    /// Bytes of state in memory.
    #[serde(default)]
    pub state_bytes: u64,
    /// Rows that came behind the watermark.
    #[serde(default)]
    pub rows_late: u64,
}

/// What a node of the pipeline took in and gave out; `None`: nobody counts there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCounts {
    /// The node.
    pub node: String,
    /// Rows in, over all its inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_in: Option<u64>,
    /// Bytes of their values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// Rows out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_out: Option<u64>,
    /// Bytes of their values; of a sink those at the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// Rows set aside.
    #[serde(default)]
    pub rows_dead: u64,
}

/// What went from one node to another; `None`: nobody counts there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeCounts {
    /// The node before.
    pub from: String,
    /// Which of its outputs, if it has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The node after.
    pub to: String,
    /// Rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Bytes of their values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Whose.
    pub tenant_id: TenantId,
    /// Of which job.
    pub job_id: JobId,
    /// The job's version that it executes.
    pub job_version: i64,
    /// Where it stands.
    pub status: RunStatus,
    /// Why it exists.
    pub trigger: Trigger,
    /// Attempts so far; 0 = none began yet.
    pub attempt: u32,
    /// Somebody asked to stop it.
    pub cancel_requested: bool,
    /// When.
    pub queued_at: DateTime<Utc>,
    /// Of the newest attempt.
    pub started_at: Option<DateTime<Utc>>,
    /// When nothing more will happen.
    pub ended_at: Option<DateTime<Utc>>,
    /// The worker that has or had it.
    pub worker: Option<String>,
    /// Per stream, as of the newest progress or the end.
    pub streams: Vec<StreamCounts>,
    /// The engine's report as JSON, at the end.
    pub report: Option<Value>,
    /// `weir_error::ErrorBody` as JSON.
    pub error: Option<Value>,
    /// W3C trace id.
    pub trace_id: Option<String>,
    /// CPU seconds, peak memory, network bytes and cost, as JSON.
    pub resources: Option<Value>,
}

/// In which order runs are listed; those that are alike in it by their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunOrder {
    /// By what.
    pub by: RunKey,
    /// The largest first.
    pub descending: bool,
}

/// Newest first.
impl Default for RunOrder {
    fn default() -> Self {
        Self { by: RunKey::Queued, descending: true }
    }
}

/// What runs are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunKey {
    /// When they were queued.
    Queued,
    /// When their newest attempt began; those that have not begun are the smallest.
    Started,
    /// How long their newest attempt took; those that have not begun or not ended are the smallest, so that time alone moves none.
    Duration,
    /// The rows that they wrote, all streams together, as they stand now.
    RowsWritten,
    /// How they stand.
    Status,
    /// The name of their job, in any case; deleted ones too.
    Job,
}

/// Which runs; all conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of one job.
    pub job_id: Option<JobId>,
    /// In one of these states; empty = any.
    pub statuses: Vec<RunStatus>,
    /// Queued at or after.
    pub since: Option<DateTime<Utc>>,
}

/// The right to execute a run until the lease ends. The fence grows with each claim; a write with an old fence is refused with
/// `WEIR-STORE-020`, kind `Conflict`, so that a worker which was thought dead cannot touch the run any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Whose.
    pub tenant_id: TenantId,
    /// Which run.
    pub run_id: RunId,
    /// The claim's number.
    pub fence: i64,
    /// Until when, unless renewed.
    pub until: DateTime<Utc>,
}

/// A claimed run with all that its execution needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The right.
    pub lease: Lease,
    /// The run, already `running`.
    pub run: Run,
    /// Its job; `body.spec` is the spec of `run.job_version`.
    pub job: Job,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// A final status, or `Queued` for another attempt.
    pub status: RunStatus,
    /// When the next attempt may begin, with status `Queued`.
    pub retry_at: Option<DateTime<Utc>>,
    /// Counts.
    pub streams: Vec<StreamCounts>,
    /// The engine's report.
    pub report: Option<Value>,
    /// Why it failed.
    pub error: Option<Value>,
    /// CPU seconds, peak memory, …
    pub resources: Option<Value>,
}

/// A line of a run's log. `seq` grows by one per run, from 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Number in the run.
    pub seq: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// `debug`, `info`, `warning`, `error`.
    pub level: String,
    /// For people; without secrets.
    pub message: String,
    /// The engine's event as JSON, if it is one.
    pub event: Option<Value>,
}

/// A line to be appended to a run's log; its number is given by the store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLogLine {
    /// When.
    pub at: DateTime<Utc>,
    /// `debug`, `info`, `warning`, `error`.
    pub level: String,
    /// For people; without secrets.
    pub message: String,
    /// The engine's event as JSON, if it is one.
    pub event: Option<Value>,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The lease, renewed.
    pub lease: Lease,
    /// Somebody asked to stop the run.
    pub cancel_requested: bool,
}
