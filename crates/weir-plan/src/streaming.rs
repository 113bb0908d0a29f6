//! `mode: streaming`: what may run without end, and when rows appear. The engine keeps the pace that is told here (see `docs/adr/0008`).

use std::time::Duration;

use weir_connect::{CommitKind, WriteMode};
use weir_spec::model::{Mode, Pipeline};
use weir_spec::units::{duration_text, size_text};

use crate::model::{Flow, FlowOutput};
use crate::problem::{Problem, code};

/// Time between checkpoints, unless it is written.
const CHECKPOINT: Duration = Duration::from_secs(1);
/// How long files are filled, unless it is written.
const ROLL: Duration = Duration::from_secs(60);
/// Or with how much.
const ROLL_BYTES: u64 = 128 << 20;
/// How long a row waits for others on its way to a sink that shows rows at once, unless it is written.
const LATENCY: Duration = Duration::from_millis(20);

/// When the rows of an output appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// As soon as they are written.
    AtOnce,
    /// With the epoch that has them.
    WithCheckpoint,
    /// With the turn that has them.
    WithTurn,
}

impl Shows {
    /// Of an output.
    pub fn of(output: &FlowOutput) -> Self {
        match output.sink.capabilities(output.write_mode).commit {
            CommitKind::Append | CommitKind::Idempotent => Self::AtOnce,
            CommitKind::CoCommitted if output.write_mode == WriteMode::Append => Self::WithCheckpoint,
            CommitKind::CoCommitted | CommitKind::Staged => Self::WithTurn,
        }
    }
}

/// The pace of a flow without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// A lane makes durable what it has when its oldest row is so old; `None`: only when the turn ends.
    pub checkpoint: Option<Duration>,
    /// A turn ends when its oldest row is so old.
    pub roll: Duration,
    /// Or when so many bytes were read in it; `u64::MAX`: never, because no row waits for the turn.
    pub roll_bytes: u64,
    /// Sinks that show rows at once get them within this.
    pub latency: Duration,
}

impl Pace {
    /// Of a flow, with this time between checkpoints.
    pub fn of(pipeline: &Pipeline, flow: &Flow, checkpoint: Duration) -> Self {
        let staged = |output: &FlowOutput| output.sink.capabilities(output.write_mode).commit == CommitKind::Staged;
        let staged = flow.outputs.iter().any(staged);
        let with_turn = flow.outputs.iter().any(|output| Shows::of(output) == Shows::WithTurn);
        let written = pipeline.roll.unwrap_or_default();
        let default = if with_turn && !staged { checkpoint } else { ROLL };
        let roll = written.interval_ms.map_or(default, Duration::from_millis);
        Self {
            // Each flush of a staged sink is a file of its own.
            checkpoint: (!staged && checkpoint < roll).then_some(checkpoint),
            roll,
            roll_bytes: written.bytes.unwrap_or(if with_turn { ROLL_BYTES } else { u64::MAX }),
            latency: pipeline.max_latency_ms.map_or(LATENCY, Duration::from_millis),
        }
    }
}

/// The time between checkpoints that a pipeline asks for, or that its mode does; `None`: the engine's own.
pub fn checkpoint_interval(pipeline: &Pipeline) -> Option<Duration> {
    let written = pipeline.checkpoint_interval_ms.map(Duration::from_millis);
    written.or_else(|| (pipeline.mode == Mode::Streaming).then_some(CHECKPOINT))
}

/// What a flow cannot do without end, with the node to blame.
pub(crate) fn problem(flow: &Flow) -> Option<(String, Problem)> {
    let keeps = |output: &&FlowOutput| output.sink.capabilities(output.write_mode).commit == CommitKind::CoCommitted;
    let keepers: Vec<&FlowOutput> = flow.outputs.iter().filter(keeps).collect();
    let [first, second, ..] = keepers.as_slice() else { return None };
    let message = format!(
        "sinks `{}` and `{}` both keep positions with their rows, and in `mode: streaming` one of them would be ahead after a crash",
        first.node, second.node
    );
    Some((second.node.clone(), Problem::new(code::MODE, message).help("write them with two pipelines")))
}

/// When rows appear, for people: one clause per kind of output.
pub(crate) fn told(pipeline: &Pipeline, flows: &[Flow]) -> Vec<String> {
    let checkpoint = checkpoint_interval(pipeline).unwrap_or(CHECKPOINT);
    let text = |time: Duration| duration_text(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let mut clauses: Vec<String> = Vec::new();
    for flow in flows {
        let pace = Pace::of(pipeline, flow, checkpoint);
        let turn = format!("every {} or {} (roll)", text(pace.roll), size_text(pace.roll_bytes));
        for output in &flow.outputs {
            let when = match (Shows::of(output), pace.checkpoint) {
                (Shows::AtOnce, _) => format!("within {} (max_latency_ms)", text(pace.latency)),
                (Shows::WithCheckpoint, Some(checkpoint)) => format!("every {} (checkpoint_interval_ms)", text(checkpoint)),
                (Shows::WithCheckpoint | Shows::WithTurn, _) => turn.clone(),
            };
            let clause = format!("rows appear in `{}` {when}", output.node);
            if !clauses.contains(&clause) {
                clauses.push(clause);
            }
        }
    }
    clauses
}
