//! Runs: list, get, cancel, retry, logs (JSON or live).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use axum::body::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_control::runs::RunService;
use weir_store::TenantStore;
use weir_store::model::{self, JobId, RunFilter, RunId};

use super::page::Page;
use super::words::{self, RunStatus};
use crate::answer::{Answer, Reply, ReplyExt};
use crate::ask::{Ask, MAX_LIMIT};
use crate::stream::{self, Step};

/// A run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Run)]
pub struct RunView {
    /// Its id.
    pub id: String,
    /// Of which job.
    pub job_id: String,
    /// The job's name, also when it is deleted.
    pub job_name: String,
    /// The job's version that it executes.
    pub job_version: i64,
    /// Where it stands.
    pub status: RunStatus,
    /// Why it exists.
    pub trigger: TriggerView,
    /// Attempts so far.
    pub attempt: u32,
    /// Somebody asked to stop it.
    pub cancel_requested: bool,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub queued_at: DateTime<Utc>,
    /// Of the newest attempt.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<DateTime<Utc>>,
    /// When nothing more will happen.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<DateTime<Utc>>,
    /// The worker that has or had it.
    pub worker: Option<String>,
    /// Rows and bytes per stream.
    pub streams: Vec<StreamView>,
    /// The engine's report, at the end.
    pub report: Option<Value>,
    /// Why it failed: code, kind, message, place, cause, hint.
    pub error: Option<Value>,
    /// W3C trace id.
    pub trace_id: Option<String>,
    /// CPU seconds, peak memory, bytes moved, estimated cost.
    pub resources: Option<Value>,
}

/// Why a run exists.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Trigger)]
pub struct TriggerView {
    /// `manual`, `schedule`, `dependency`, `replay` (of dead letters).
    pub kind: &'static str,
    /// The schedule's fire.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub fire_at: Option<DateTime<Utc>>,
    /// The run that succeeded.
    pub run_id: Option<String>,
}

/// Rows of one stream.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StreamCounts)]
pub struct StreamView {
    /// Stream.
    pub name: String,
    /// Out of the source.
    #[schema(minimum = 0)]
    pub rows_read: u64,
    /// Visible in the sink.
    #[schema(minimum = 0)]
    pub rows_written: u64,
    /// Taken out.
    #[schema(minimum = 0)]
    pub rows_filtered: u64,
    /// Dead letters.
    #[schema(minimum = 0)]
    pub rows_dead: u64,
    /// Read.
    #[schema(minimum = 0)]
    pub bytes_read: u64,
    /// At the target.
    #[schema(minimum = 0)]
    pub bytes_written: u64,
    /// Of a stream without end: about how many rows wait at the source, if it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub lag_rows: Option<u64>,
}

/// Runs with the names of their jobs, which are another table.
async fn shown(store: &TenantStore, runs: Vec<model::Run>) -> weir_error::Result<Vec<RunView>> {
    let names = store.job_names(runs.iter().map(|run| &run.job_id)).await?;
    let named = |run: model::Run| {
        let name = names.get(&run.job_id).cloned().unwrap_or_default();
        RunView::of(run, name)
    };
    Ok(runs.into_iter().map(named).collect())
}

async fn shown_page(store: &TenantStore, page: model::Page<model::Run>) -> Reply {
    Answer::json(&Page { items: shown(store, page.items).await?, next_cursor: page.next_cursor })
}

async fn shown_one(store: &TenantStore, run: model::Run) -> weir_error::Result<RunView> {
    let names = store.job_names([&run.job_id]).await?;
    let name = names.into_values().next().unwrap_or_default();
    Ok(RunView::of(run, name))
}

impl RunView {
    fn of(run: model::Run, job_name: String) -> Self {
        let (kind, fire_at, run_id) = match run.trigger {
            model::Trigger::Manual => ("manual", None, None),
            model::Trigger::Schedule { fire_at } => ("schedule", Some(fire_at), None),
            model::Trigger::Dependency { run_id } => ("dependency", None, Some(run_id.to_string())),
            model::Trigger::Replay { .. } => ("replay", None, None),
        };
        Self {
            id: run.id.to_string(),
            job_id: run.job_id.to_string(),
            job_name,
            job_version: run.job_version,
            status: run.status.into(),
            trigger: TriggerView { kind, fire_at, run_id },
            attempt: run.attempt,
            cancel_requested: run.cancel_requested,
            queued_at: run.queued_at,
            started_at: run.started_at,
            ended_at: run.ended_at,
            worker: run.worker,
            streams: run.streams.into_iter().map(StreamView::from).collect(),
            report: run.report,
            error: run.error,
            trace_id: run.trace_id,
            resources: run.resources,
        }
    }
}

impl From<model::StreamCounts> for StreamView {
    fn from(counts: model::StreamCounts) -> Self {
        Self {
            name: counts.name,
            rows_read: counts.rows_read,
            rows_written: counts.rows_written,
            rows_filtered: counts.rows_filtered,
            rows_dead: counts.rows_dead,
            bytes_read: counts.bytes_read,
            bytes_written: counts.bytes_written,
            lag_rows: counts.lag_rows,
        }
    }
}

fn filter(ask: &Ask, job_id: Option<JobId>) -> RunFilter {
    let status = words::read::<RunStatus>(ask.values.text("status"));
    RunFilter { job_id, statuses: status.map(Into::into).into_iter().collect(), since: ask.values.time("since") }
}

/// `GET /runs`.
pub async fn list(ask: Ask, me: Caller) -> Reply {
    let job_id = ask.values.text("job_id").map(JobId::from);
    let store = ask.app.tenant(&me.scope);
    let page = store.list_runs_by(&filter(&ask, job_id), words::run_order(ask.values.text("sort")), &ask.page()).await?;
    shown_page(&store, page).await
}

/// `GET /jobs/{job_id}/runs`.
pub async fn list_of_job(ask: Ask, me: Caller) -> Reply {
    let store = ask.app.tenant(&me.scope);
    let job_id = JobId::from(ask.id("job_id"));
    store.job(&job_id).await?;
    let page = store.list_runs_by(&filter(&ask, Some(job_id)), words::run_order(ask.values.text("sort")), &ask.page()).await?;
    shown_page(&store, page).await
}

/// `GET /runs/{run_id}`.
pub async fn get(ask: Ask, me: Caller) -> Reply {
    let store = ask.app.tenant(&me.scope);
    let run = store.run(&RunId::from(ask.id("run_id"))).await?;
    Answer::json(&shown_one(&store, run).await?)
}

/// `POST /runs/{run_id}/cancel`.
pub async fn cancel(ask: Ask, me: Caller) -> Reply {
    let run = RunService::new(&ask.app.platform, &me.scope).cancel(&RunId::from(ask.id("run_id"))).await?;
    Answer::json(&shown_one(&ask.app.tenant(&me.scope), run).await?)
}

/// `POST /runs/{run_id}/retry`.
pub async fn retry(ask: Ask, me: Caller) -> Reply {
    let run = RunService::new(&ask.app.platform, &me.scope).retry(&RunId::from(ask.id("run_id"))).await?;
    queued(&ask.app.tenant(&me.scope), run).await
}

/// 202 with the run and where it is.
pub async fn queued(store: &TenantStore, run: model::Run) -> Reply {
    let place = format!("/api/v1/runs/{}", run.id);
    Answer::accepted(&shown_one(store, run).await?).location(&place)
}

/// A line of a run's log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogLine)]
pub struct LineView {
    /// Number in the run, from 1.
    pub seq: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: DateTime<Utc>,
    /// `debug`, `info`, `warning`, `error`.
    pub level: String,
    /// For people.
    pub message: String,
    /// The engine's event, if it is one.
    pub event: Option<Value>,
}

impl From<model::LogLine> for LineView {
    fn from(line: model::LogLine) -> Self {
        Self { seq: line.seq, at: line.at, level: line.level, message: line.message, event: line.event }
    }
}

/// Lines of a run's log.
#[derive(Debug, Serialize, ToSchema)]
pub struct Logs {
    /// Where the run stood when the lines were read.
    pub run_status: RunStatus,
    /// Oldest first.
    #[schema(max_items = 500)]
    pub items: Vec<LineView>,
    /// Give it as `after` to go on.
    pub next_after: i64,
}

/// `GET /runs/{run_id}/logs`: JSON, or events with `Accept: text/event-stream`.
pub async fn logs(ask: Ask, me: Caller) -> Reply {
    let store = ask.app.tenant(&me.scope);
    let id = RunId::from(ask.id("run_id"));
    // The status first: lines that come after it are those of a run that may still go on.
    let run = store.run(&id).await?;
    let after = stream::last_event_id(&ask.headers).or(ask.values.integer("after")).unwrap_or(0);
    if stream::wanted(&ask.headers) {
        let followed = Arc::new(Followed { store, id, after: AtomicI64::new(after), told: AtomicU64::new(0) });
        return stream::follow(&ask, &me.scope, move || {
            let followed = followed.clone();
            async move { followed.more().await }
        });
    }
    let lines = store.logs(&id, after, ask.page().limit).await?;
    let next_after = lines.last().map_or(after, |line| line.seq);
    Answer::json(&Logs { run_status: run.status.into(), items: lines.into_iter().map(LineView::from).collect(), next_after })
}

/// A run whose log somebody follows.
struct Followed {
    store: TenantStore,
    id: RunId,
    /// The last line that was sent.
    after: AtomicI64,
    /// What the run looked like when it was sent last, as a hash; 0 = it was not.
    told: AtomicU64,
}

impl Followed {
    /// The status is read before the lines: lines written between the two are seen in the next look, and a final status read before an
    /// empty look means that there is nothing more.
    async fn more(&self) -> weir_error::Result<Step> {
        let run = self.store.run(&self.id).await?;
        let over = run.status.is_final();
        let mut frames: Vec<_> = self.changed(run).await?.into_iter().collect();
        let lines = self.store.logs(&self.id, self.after.load(Relaxed), MAX_LIMIT).await?;
        if let Some(last) = lines.last() {
            self.after.store(last.seq, Relaxed);
        }
        let more = !lines.is_empty();
        frames.extend(lines.into_iter().map(|line| stream::frame(Some(line.seq), "log", &LineView::from(line))));
        Ok(Step { frames, over: over && !more, more: more && over })
    }

    /// The run as an event, if it is not as it was. It has no id: who comes again is told it again.
    async fn changed(&self, run: model::Run) -> weir_error::Result<Option<Bytes>> {
        let frame = stream::frame(None, "run", &shown_one(&self.store, run).await?);
        let mut hasher = DefaultHasher::new();
        frame.hash(&mut hasher);
        let now = hasher.finish().max(1);
        Ok((self.told.swap(now, Relaxed) != now).then_some(frame))
    }
}
