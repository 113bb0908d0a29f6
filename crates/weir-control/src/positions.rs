//! How far a job's streams are: what their checkpoints say, and, while a run goes on, how far it is behind.
//!
//! Checkpoints are in the job's folder or in the shared database: only the engine knows what is in them, so the question is an errand. What a run that goes
//! on says of itself is in the store.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use weir_error::{Error, Result};
use weir_store::TenantScope;
use weir_store::model::{JobId, PageRequest, Run, RunFilter, RunStatus};

use crate::Platform;
use crate::worker::order::Verb;
use crate::worker::outfit;

/// How far the streams of a job are. Logs of changes have their own page: `GET /jobs/{job_id}/journal`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct JobPositions {
    /// A run is going on: this is already the past.
    pub running: bool,
    /// Incremental streams: where the next run begins.
    pub cursors: Vec<CursorPosition>,
    /// Streams without end, split by split: what is durable, at most a thousand.
    pub splits: Vec<SplitPosition>,
    /// There are more splits than that.
    pub truncated: bool,
    /// Streams over event time, as the run that goes on told last.
    pub event_time: Vec<StreamTime>,
}

/// Where the next run of an incremental stream begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CursorPosition {
    /// The stream.
    pub stream: String,
    /// The source node.
    pub source: String,
    /// The largest value of the cursor column that was seen, as text.
    pub cursor: Option<String>,
    /// `${last_run_time}` of the next run.
    pub last_run_time: Option<String>,
}

/// How far a split is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SplitPosition {
    /// The stream.
    pub stream: String,
    /// As the connector names it: a partition, a topic.
    pub split: String,
    /// The connector's own position (an offset, an id); null: nothing is durable yet.
    pub position: Option<Value>,
    /// Rows read from it since the run began, dead letters included.
    pub rows: u64,
    /// It is closed for good at the source.
    pub done: bool,
    /// About how many rows of it wait at the source, while a run goes on and the source tells; of those that are furthest behind.
    #[serde(default)]
    pub lag_rows: Option<u64>,
}

/// How far event time is in a stream.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StreamTime {
    /// The stream.
    pub stream: String,
    /// No row older than this is expected; null: not every split has given a row.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub watermark: Option<DateTime<Utc>>,
    /// How far it was behind the clock, milliseconds.
    pub lag_ms: Option<i64>,
    /// Memory that open windows, joins and memories take.
    pub state_bytes: u64,
    /// Rows that came behind the watermark since the run began.
    pub rows_late: u64,
}

/// What the errand says.
#[derive(Debug, Default, Deserialize)]
struct Durable {
    cursors: Vec<CursorPosition>,
    splits: Vec<SplitPosition>,
    truncated: bool,
}

/// How far the streams of a job are.
pub async fn look(platform: &Platform, scope: &TenantScope, job: &JobId) -> Result<JobPositions> {
    let store = platform.store.tenant(scope);
    let job = store.job(job).await?;
    let filter = RunFilter { job_id: Some(job.id.clone()), statuses: vec![RunStatus::Running], since: None };
    let run = store.list_runs(&filter, &PageRequest { limit: 1, cursor: None }).await?.items.pop();
    let order = outfit::for_errand_of(platform, Verb::Positions, &job).await?;
    let desk = platform.checkpoints.as_ref().map(|checkpoints| checkpoints.of(&job.tenant_id, &job.id)).transpose()?;
    let mut answer = platform.errands.ask_with(order, desk).await?;
    if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
        let text = |name: &str| error[name].as_str().unwrap_or_default();
        return Err(Error::new("WEIR-JOB-040", weir_error::Kind::Unsupported, "the job's checkpoints could not be asked")
            .because(format!("[{}] {}: {}", text("code"), text("message"), text("cause"))));
    }
    let durable =
        Durable::deserialize(answer["ok"].take()).map_err(|error| Error::internal("the answer of an errand").caused_by(error))?;
    Ok(joined(durable, run.as_ref()))
}

fn joined(mut durable: Durable, run: Option<&Run>) -> JobPositions {
    let streams = run.map(|run| run.streams.as_slice()).unwrap_or_default();
    let lags: BTreeMap<(&str, &str), u64> = streams
        .iter()
        .flat_map(|stream| stream.lag_splits.iter().map(|(split, rows)| ((stream.name.as_str(), split.as_str()), *rows)))
        .collect();
    for split in &mut durable.splits {
        split.lag_rows = lags.get(&(split.stream.as_str(), split.split.as_str())).copied();
    }
    let time = |stream: &weir_store::model::StreamCounts| {
        let time = stream.event_time?;
        Some(StreamTime {
            stream: stream.name.clone(),
            watermark: time.watermark_ms.and_then(DateTime::from_timestamp_millis),
            lag_ms: time.lag_ms,
            state_bytes: time.state_bytes,
            rows_late: time.rows_late,
        })
    };
    JobPositions {
        running: run.is_some(),
        cursors: durable.cursors,
        splits: durable.splits,
        truncated: durable.truncated,
        event_time: streams.iter().filter_map(time).collect(),
    }
}
