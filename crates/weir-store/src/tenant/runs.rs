//! Runs: asking for one, stopping one, what became of them.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde_json::json as object;
use weir_error::{Error, Kind, Result};

use super::TenantStore;
use super::jobs;
use crate::backend::{Columns, Value, args, chunked, from_micros, kept, rows_of};
use crate::fault;
use crate::model::{Event, LogLine, NewRun, Run, RunId, RunStatus, StreamCounts, Trigger};
use crate::writer::{Writer, done, event};

/// The columns of a run, as [`read_run`] takes them, of a table called `r`.
pub(crate) const RUN_COLUMNS: &str = "r.id, r.tenant_id, r.job_id, r.job_version, r.status, r.trigger_kind, r.trigger_key, r.attempt, \
     r.cancel_requested, r.queued_at, r.started_at, r.ended_at, r.worker, r.streams, r.report, r.error, r.trace_id, r.resources";

/// Lines of a log that one answer holds at most.
const MOST_LINES: u32 = 10_000;

impl TenantStore {
    /// Queues a run of the job's newest version; a paused job's too. Audit `run.request`, event `run.queued`. A fire or a dependency's run
    /// that has started a run of this job before is `WEIR-STORE-027`.
    pub async fn create_run(&self, run: NewRun) -> Result<Run> {
        let mut writer = self.write().await?;
        let row = writer
            .tx
            .fetch_optional(
                "SELECT version FROM jobs WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL",
                args![&writer.tenant, &run.job_id],
            )
            .await?
            .ok_or_else(jobs::missing)?;
        let version = row.columns().int()?;
        let queued = queue(&mut writer, &run, version)
            .await?
            .ok_or_else(|| Error::new("WEIR-STORE-027", Kind::Conflict, "this fire has started a run of the job already"))?;
        let (entry, told) = requested(&queued, "run.request");
        writer.commit(entry, vec![told]).await?;
        Ok(queued)
    }

    /// A run, also of a deleted job.
    pub async fn run(&self, id: &RunId) -> Result<Run> {
        let sql = format!("SELECT {RUN_COLUMNS} FROM runs r WHERE r.tenant_id = $1 AND r.id = $2");
        let row = self.backend.fetch_optional(sql, args![self.tenant_id(), id]).await?;
        read_run(&mut row.ok_or_else(missing)?.columns())
    }

    /// Asks a run to stop: one that waits is cancelled at once, one that runs is told at its worker's next heartbeat (asking again is
    /// fine), one that has ended is `WEIR-STORE-023`. Audit `run.cancel`; a run cancelled at once has the events of an ended one.
    pub async fn request_cancel(&self, id: &RunId) -> Result<Run> {
        let mut writer = self.write().await?;
        let mut run = in_writer(&mut writer, id).await?;
        let events = match run.status {
            RunStatus::Queued => {
                let (cancelled, events) = cancel_queued(&mut writer, run).await?;
                run = cancelled;
                events
            }
            RunStatus::Running => {
                writer
                    .tx
                    .execute("UPDATE runs SET cancel_requested = 1 WHERE tenant_id = $1 AND id = $2", args![&writer.tenant, id])
                    .await?;
                run.cancel_requested = true;
                Vec::new()
            }
            ended => return Err(over(ended)),
        };
        let entry = done("run.cancel", target(id), object!({"job_id": run.job_id, "status": run.status}));
        writer.commit(entry, events).await?;
        Ok(run)
    }

    /// Queues a new run of the version that an ended run had. A run that has not ended is `WEIR-STORE-023`. Audit `run.retry`, event
    /// `run.queued`.
    pub async fn retry_run(&self, id: &RunId) -> Result<Run> {
        let mut writer = self.write().await?;
        let old = in_writer(&mut writer, id).await?;
        if !old.status.is_final() {
            return Err(Error::new("WEIR-STORE-023", Kind::Conflict, format!("the run is {}", old.status.as_str()))
                .hint("cancel it first, or wait until it has ended"));
        }
        if !jobs::exists(&mut writer.tx, &writer.tenant, &old.job_id).await? {
            return Err(jobs::missing());
        }
        let trigger = match old.trigger {
            // The pipeline itself is not what was to be tried again.
            Trigger::Replay { .. } => old.trigger,
            _ => Trigger::Manual,
        };
        let new = NewRun { job_id: old.job_id.clone(), trigger, not_before: writer.now };
        let queued =
            queue(&mut writer, &new, old.job_version).await?.ok_or_else(|| Error::internal("a manual run with a key"))?;
        let (mut entry, told) = requested(&queued, "run.retry");
        entry.detail["of"] = object!(old.id);
        writer.commit(entry, vec![told]).await?;
        Ok(queued)
    }

    /// The lines after `after_seq`, oldest first.
    pub async fn logs(&self, id: &RunId, after_seq: i64, limit: u32) -> Result<Vec<LogLine>> {
        let rows = self
            .backend
            .fetch_all(
                "SELECT seq, at, level, message, event FROM run_logs WHERE tenant_id = $1 AND run_id = $2 AND seq > $3 ORDER BY seq LIMIT $4",
                args![self.tenant_id(), id, after_seq, limit.min(MOST_LINES)],
            )
            .await?;
        if rows.is_empty() {
            // Nothing new in a log, or no such run?
            self.run_exists(id).await?;
        }
        rows.iter()
            .map(|row| {
                let mut columns = row.columns();
                Ok(LogLine {
                    seq: columns.int()?,
                    at: columns.time()?,
                    level: columns.text()?,
                    message: columns.text()?,
                    event: columns.opt_json()?,
                })
            })
            .collect()
    }

    async fn run_exists(&self, id: &RunId) -> Result<()> {
        let row = self
            .backend
            .fetch_optional("SELECT fence FROM runs WHERE tenant_id = $1 AND id = $2", args![self.tenant_id(), id])
            .await?;
        row.map(drop).ok_or_else(missing)
    }
}

pub(crate) fn missing() -> Error {
    fault::missing("run")
}

pub(crate) fn target(id: &RunId) -> String {
    format!("run/{id}")
}

fn over(status: RunStatus) -> Error {
    Error::new("WEIR-STORE-023", Kind::Conflict, format!("the run has ended already: {}", status.as_str()))
}

fn requested(run: &Run, action: &str) -> (crate::model::AuditEntry, Event) {
    let entry = done(action, target(&run.id), object!({"job_id": run.job_id, "job_version": run.job_version}));
    (entry, told("run.queued", run))
}

/// An event about a run as it stands.
pub(crate) fn told(kind: &str, run: &Run) -> Event {
    event(
        kind,
        &run.job_id,
        object!({
            "run_id": run.id, "job_id": run.job_id, "tenant_id": run.tenant_id, "job_version": run.job_version, "status": run.status,
            "attempt": run.attempt, "trigger": run.trigger, "trace_id": run.trace_id, "error": run.error,
        }),
    )
}

/// The event of a run after which nothing more will happen.
pub(crate) fn completed(run: &Run) -> Event {
    event(
        "seatunnel-job-completed",
        &run.job_id,
        object!({
            "job_id": run.job_id, "run_id": run.id, "tenant_id": run.tenant_id, "status": run.status, "completed_at": run.ended_at,
            "metrics": {"totals": totals(&run.streams), "streams": plain(&run.streams), "resources": run.resources}, "attempts": run.attempt,
            "error": run.error,
        }),
    )
}

/// The streams without what only a page shows.
fn plain(streams: &[StreamCounts]) -> Vec<StreamCounts> {
    let plain = |stream: &StreamCounts| StreamCounts {
        name: stream.name.clone(),
        rows_read: stream.rows_read,
        rows_written: stream.rows_written,
        rows_filtered: stream.rows_filtered,
        rows_dead: stream.rows_dead,
        bytes_read: stream.bytes_read,
        bytes_written: stream.bytes_written,
        lag_rows: stream.lag_rows,
        ..StreamCounts::default()
    };
    streams.iter().map(plain).collect()
}

/// Sums over the streams, saturating.
pub(crate) fn totals(streams: &[StreamCounts]) -> StreamCounts {
    let mut sum = StreamCounts { name: "total".into(), ..StreamCounts::default() };
    for stream in streams {
        sum.rows_read = sum.rows_read.saturating_add(stream.rows_read);
        sum.rows_written = sum.rows_written.saturating_add(stream.rows_written);
        sum.rows_filtered = sum.rows_filtered.saturating_add(stream.rows_filtered);
        sum.rows_dead = sum.rows_dead.saturating_add(stream.rows_dead);
        sum.bytes_read = sum.bytes_read.saturating_add(stream.bytes_read);
        sum.bytes_written = sum.bytes_written.saturating_add(stream.bytes_written);
        sum.lag_rows = sum.lag_rows.into_iter().chain(stream.lag_rows).reduce(u64::saturating_add);
    }
    sum
}

/// Inserts a run that waits. `None`: its fire or dependency has started a run of the job before.
pub(crate) async fn queue(writer: &mut Writer, new: &NewRun, job_version: i64) -> Result<Option<Run>> {
    insert(writer, new, job_version, RunStatus::Queued).await
}

/// Inserts a run in a first state, `queued` or `skipped`.
pub(crate) async fn insert(writer: &mut Writer, new: &NewRun, job_version: i64, status: RunStatus) -> Result<Option<Run>> {
    Ok(insert_all(writer, vec![fresh(writer, new, job_version, status)]).await?.pop())
}

/// A run in a first state, as it will be stored, and when it may begin.
pub(crate) fn fresh(writer: &Writer, new: &NewRun, job_version: i64, status: RunStatus) -> (Run, DateTime<Utc>) {
    let run = Run {
        id: RunId::generate(),
        tenant_id: writer.tenant.clone(),
        job_id: new.job_id.clone(),
        job_version,
        status,
        trigger: match &new.trigger {
            Trigger::Schedule { fire_at } => Trigger::Schedule { fire_at: kept(*fire_at) },
            other => other.clone(),
        },
        attempt: 0,
        cancel_requested: false,
        queued_at: writer.now,
        started_at: None,
        ended_at: status.is_final().then_some(writer.now),
        worker: None,
        streams: Vec::new(),
        report: None,
        error: None,
        trace_id: writer.actor.trace_id.clone(),
        resources: None,
    };
    (run, new.not_before)
}

/// Inserts runs, many at a time; those that are left out have a fire or dependency that has started a run of the job before.
pub(crate) async fn insert_all(writer: &mut Writer, runs: Vec<(Run, DateTime<Utc>)>) -> Result<Vec<Run>> {
    let mut inserted = Vec::with_capacity(runs.len());
    for some in chunked(runs) {
        let rows: Vec<_> = some.iter().map(|(run, not_before)| row_of(run, *not_before)).collect();
        let sql = format!(
            "INSERT INTO runs (tenant_id, id, job_id, job_version, status, trigger_kind, trigger_key, attempt, lost, fence, \
             cancel_requested, queued_at, not_before, ended_at, streams, trace_id, log_seq, rows_counted, bytes_counted) \
             VALUES {} ON CONFLICT DO NOTHING RETURNING id",
            rows_of(&rows, 0)
        );
        let kept = writer.tx.fetch_all(sql, rows.into_iter().flatten().collect()).await?;
        let kept = kept.iter().map(|row| row.columns().id::<RunId>()).collect::<Result<HashSet<_>>>()?;
        inserted.extend(some.into_iter().map(|(run, _)| run).filter(|run| kept.contains(&run.id)));
    }
    Ok(inserted)
}

/// The values of a run that has not begun.
fn row_of(run: &Run, not_before: DateTime<Utc>) -> Vec<Value> {
    let (kind, key) = match &run.trigger {
        Trigger::Manual => ("manual", None),
        Trigger::Schedule { fire_at } => ("schedule", Some(fire_at.timestamp_micros().to_string())),
        Trigger::Dependency { run_id } => ("dependency", Some(run_id.as_str().to_owned())),
        // Keys are unique, and letters may be tried again.
        Trigger::Replay { letters } => ("replay", Some(format!("{letters}/{}", run.id))),
    };
    args![
        &run.tenant_id,
        &run.id,
        &run.job_id,
        run.job_version,
        run.status.as_str(),
        kind,
        key,
        0_i64,
        0_i64,
        0_i64,
        false,
        run.queued_at,
        not_before,
        run.ended_at,
        "[]",
        run.trace_id.clone(),
        0_i64,
        0_i64,
        0_i64
    ]
}

/// Ends a run that waits; the run and its events.
pub(crate) async fn cancel_queued(writer: &mut Writer, mut run: Run) -> Result<(Run, Vec<Event>)> {
    run.status = RunStatus::Cancelled;
    run.cancel_requested = true;
    run.ended_at = Some(writer.now);
    writer
        .tx
        .execute(
            "UPDATE runs SET status = 'cancelled', cancel_requested = 1, ended_at = $3 WHERE tenant_id = $1 AND id = $2 AND status = 'queued'",
            args![&writer.tenant, &run.id, writer.now],
        )
        .await?;
    let events = vec![told("run.finished", &run), completed(&run)];
    Ok((run, events))
}

/// A run of the writer's tenant.
pub(crate) async fn in_writer(writer: &mut Writer, id: &RunId) -> Result<Run> {
    let sql = format!("SELECT {RUN_COLUMNS} FROM runs r WHERE r.tenant_id = $1 AND r.id = $2");
    let row = writer.tx.fetch_optional(sql, args![&writer.tenant, id]).await?;
    read_run(&mut row.ok_or_else(missing)?.columns())
}

/// The columns of [`RUN_COLUMNS`].
pub(crate) fn read_run(columns: &mut Columns<'_>) -> Result<Run> {
    Ok(Run {
        id: columns.id()?,
        tenant_id: columns.id()?,
        job_id: columns.id()?,
        job_version: columns.int()?,
        status: columns.word()?,
        trigger: {
            let kind = columns.str()?;
            let key = columns.opt_str()?;
            read_trigger(kind, key)?
        },
        attempt: u32::try_from(columns.int()?).unwrap_or(u32::MAX),
        cancel_requested: columns.flag()?,
        queued_at: columns.time()?,
        started_at: columns.opt_time()?,
        ended_at: columns.opt_time()?,
        worker: columns.opt_text()?,
        streams: columns.json()?,
        report: columns.opt_json()?,
        error: columns.opt_json()?,
        trace_id: columns.opt_text()?,
        resources: columns.opt_json()?,
    })
}

fn read_trigger(kind: &str, key: Option<&str>) -> Result<Trigger> {
    let fire = |key: &str| -> Option<DateTime<Utc>> { from_micros(key.parse().ok()?).ok() };
    match (kind, key) {
        ("manual", None) => Some(Trigger::Manual),
        ("schedule", Some(key)) => fire(key).map(|fire_at| Trigger::Schedule { fire_at }),
        ("dependency", Some(key)) => Some(Trigger::Dependency { run_id: key.into() }),
        ("replay", Some(key)) => key.split_once('/').map(|(letters, _)| Trigger::Replay { letters: letters.to_owned() }),
        _ => None,
    }
    .ok_or_else(|| fault::stored(format!("trigger `{kind}` with key {key:?}")))
}
