//! The life of a run after it was claimed: what may follow `running`, decided in one place.
//!
//! ```text
//! queued ─ claim ─▶ running ─▶ succeeded            committed and reconciled
//!    ▲  └─▶ cancelled   ├────▶ failed               no further attempt
//!    └── another attempt┴────▶ cancelled            stopped on request
//! ```
//!
//! One file per state. A state can only be made by the state before it ([`Running::ended`] makes all of them), and only a [`Next`] becomes an
//! [`Outcome`], so that an illegal move does not compile. Claims, `queued → cancelled` and `skipped` are single statements of the store; what
//! the worker saw of the process is [`Ending`].

mod cancelled;
mod ending;
mod failed;
mod queued;
mod running;
mod succeeded;
#[cfg(test)]
mod tests;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_store::model::{Outcome, RunStatus, StreamCounts};

pub use cancelled::Cancelled;
pub use ending::{Ending, Exit, Stop};
pub use failed::Failed;
pub use queued::Queued;
pub use running::Running;
pub use succeeded::Succeeded;

use crate::worker::Resources;
use crate::worker::said::{edges, nodes};

/// Attempts at most, however many of them lost their worker.
pub const MOST_ATTEMPTS: u32 = 20;

/// What follows an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Done.
    Succeeded(Succeeded),
    /// No further attempt.
    Failed(Failed),
    /// Stopped on request.
    Cancelled(Cancelled),
    /// Another attempt.
    Queued(Queued),
}

impl Next {
    /// As the store takes it, with what was counted and used over all attempts.
    pub fn into_outcome(self, streams: Vec<StreamCounts>, mut resources: Resources) -> Outcome {
        let streams = self.report().and_then(counts).map_or(streams.clone(), |told| with_bytes_read(told, &streams));
        let (status, retry_at, report, error) = match self {
            Self::Succeeded(state) => (RunStatus::Succeeded, None, Some(state.report), None),
            Self::Failed(state) => {
                resources.failed_attempts += 1;
                (RunStatus::Failed, None, state.report, Some(state.error))
            }
            Self::Cancelled(state) => (RunStatus::Cancelled, None, state.report, None),
            Self::Queued(state) => {
                resources.failed_attempts += u32::from(state.counted);
                (RunStatus::Queued, Some(state.at), state.report, state.error)
            }
        };
        Outcome { status, retry_at, streams, report, error, resources: Some(resources.to_json()) }
    }

    fn report(&self) -> Option<&Value> {
        match self {
            Self::Succeeded(state) => Some(&state.report),
            Self::Failed(state) => state.report.as_ref(),
            Self::Cancelled(state) => state.report.as_ref(),
            Self::Queued(state) => state.report.as_ref(),
        }
    }
}

/// The streams of the engine's report; `None` if it has none (the run did not begin).
fn counts(report: &Value) -> Option<Vec<StreamCounts>> {
    let streams = report.get("streams")?.as_array()?;
    /// Of a stream, in the shape that they should have; else none.
    fn parts<T: DeserializeOwned>(stream: &Value, name: &str) -> Vec<T> {
        stream.get(name).and_then(|parts| Vec::deserialize(parts).ok()).unwrap_or_default()
    }
    let number = |stream: &Value, name: &str| stream.get(name).and_then(Value::as_u64).unwrap_or(0);
    let found: Vec<_> = streams
        .iter()
        .map(|stream| StreamCounts {
            name: stream.get("name").and_then(Value::as_str).unwrap_or_default().to_string(),
            rows_read: number(stream, "rows_read"),
            rows_written: number(stream, "rows_written"),
            rows_filtered: number(stream, "rows_filtered"),
            rows_dead: number(stream, "rows_dead"),
            bytes_read: 0,
            bytes_written: number(stream, "bytes_written"),
            lag_rows: stream.get("lag_rows").and_then(Value::as_u64),
            nodes: nodes(parts(stream, "nodes")),
            edges: edges(parts(stream, "edges")),
            ..StreamCounts::default()
        })
        .collect();
    (!found.is_empty()).then_some(found)
}

/// The report counts no source bytes and says nothing of time; progress does. Streams that were under way when the run stopped are only in the progress.
fn with_bytes_read(mut told: Vec<StreamCounts>, progress: &[StreamCounts]) -> Vec<StreamCounts> {
    for seen in progress {
        match told.iter_mut().find(|stream| stream.name == seen.name) {
            Some(stream) => {
                stream.bytes_read = seen.bytes_read;
                stream.event_time = seen.event_time;
                stream.lag_splits = seen.lag_splits.clone();
            }
            None => told.push(seen.clone()),
        }
    }
    told
}
