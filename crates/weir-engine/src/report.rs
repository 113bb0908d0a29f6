//! The result of a run: `weir run --json` prints it as one object.

use serde::Serialize;
use weir_error::ErrorBody;
use weir_plan::RuleCount;

use crate::cdc::hold::{self, HeldStream};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Everything committed, rows reconcile.
    Succeeded,
    /// Stopped by an error; what is durable is kept for the next attempt.
    Failed,
    /// Everything committed, but more dead letters than allowed: exit code 4.
    DeadLettersExceeded,
    /// Stopped on request with a checkpoint kept: exit code 130, or 0 after a clean stop of a stream without end.
    Interrupted,
}

/// One stream's numbers. `rows_read + rows_derived = rows_written + rows_filtered + rows_dead`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StreamReport {
    /// Stream name.
    pub name: String,
    /// Rows that came out of the source(s), dead letters included.
    pub rows_read: u64,
    /// Rows visible in the sink(s), by the sinks' own count.
    pub rows_written: u64,
    /// Rows taken out by filters, or absorbed by joins, aggregates and windows.
    pub rows_filtered: u64,
    /// Rows in the dead letters.
    pub rows_dead: u64,
    /// Rows that the program made beyond those it read (a join that multiplies, several sinks); 0 in a plain stream.
    #[serde(skip_serializing_if = "is_zero")]
    pub rows_derived: u64,
    /// Rows that came behind the watermark, whatever became of them.
    #[serde(skip_serializing_if = "is_zero")]
    pub rows_late: u64,
    /// Bytes at the target.
    pub bytes_written: u64,
    /// Where the rows are.
    pub places: Vec<String>,
    /// Files or tables written.
    pub objects: u64,
    /// Of a stream without end: about how many rows the source had that were not read when the run ended, if it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_rows: Option<u64>,
    /// What every rule of the stream's `data_quality` nodes counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleCount>,
    /// The nodes of the pipeline that the stream went through: sources, transforms, sinks. Of a stream without end or a log whose file was changed:
    /// since then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeCounts>,
    /// What went from node to node; each row once per attempt that made it durable, as in the sums.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<EdgeCounts>,
}

/// What a node has taken in and given out. Rows out of a node are the rows into those that read it. A filter has taken out
/// `rows_in - rows_out - rows_dead`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NodeCounts {
    /// The node.
    pub node: String,
    /// Rows over all its inputs. `null`: it is a source, or the engine that runs it has no place to count.
    pub rows_in: Option<u64>,
    /// Bytes of their values as Arrow lays them out; of changes without those of deletes.
    pub bytes_in: Option<u64>,
    /// Rows that it gave out, over all outputs that somebody reads; of a sink those handed to it. `null`: not known.
    pub rows_out: Option<u64>,
    /// Their bytes; of a sink the bytes at the target, once it has told them.
    pub bytes_out: Option<u64>,
    /// Rows that it set aside, each once, however many sinks lack it.
    pub rows_dead: u64,
}

/// What went from one node to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EdgeCounts {
    /// The node before.
    pub from: String,
    /// Which of its outputs, if it has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The node after.
    pub to: String,
    /// Rows; `null`: a query ran over this place as a whole, so nobody counted.
    pub rows: Option<u64>,
    /// Bytes of their values; `null`: not known.
    pub bytes: Option<u64>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// The whole run.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// Run id.
    pub run_id: String,
    /// Pipeline.
    pub pipeline: String,
    /// How it ended.
    pub status: RunStatus,
    /// Per stream.
    pub streams: Vec<StreamReport>,
    /// Wall time of this attempt.
    pub duration_ms: u64,
    /// `exactly_once`, ….
    pub guarantee: String,
    /// Number of the last checkpoint, if any.
    pub checkpoint: Option<u64>,
    /// A stream without end was stopped, and the sinks show everything that was read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub clean_stop: bool,
    /// Things worth saying.
    pub warnings: Vec<String>,
    /// Streams that wait for an approval (`on_schema_change: hold`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldStream>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

impl RunReport {
    /// The process exit code: 0, 1, 2, 3, 4, 5 or 130.
    pub fn exit_code(&self) -> u8 {
        match self.status {
            RunStatus::Succeeded => 0,
            RunStatus::DeadLettersExceeded => 4,
            RunStatus::Interrupted if self.clean_stop => 0,
            RunStatus::Interrupted => 130,
            RunStatus::Failed if self.error.as_ref().is_some_and(|error| error.code == hold::HELD) => 5,
            RunStatus::Failed => match self.error.as_ref().map(|e| e.kind) {
                Some(weir_error::Kind::Connect | weir_error::Kind::Auth) => 3,
                Some(weir_error::Kind::Spec | weir_error::Kind::TypeLoss) => 2,
                _ => 1,
            },
        }
    }
}
