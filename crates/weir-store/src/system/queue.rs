//! The queue of runs: claims with leases and fences, progress, ends, and what follows from them.
//!
//! A run belongs to who holds its newest fence while it is `running`. Times are those of the process that asks: the clocks of replicas must
//! agree to well within a lease.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json as object;
use weir_error::{Error, Kind, Result};

use super::System;
use crate::Actor;
use crate::backend::{Tx, args, json, kept, now};
use crate::fault;
use crate::model::{
    Claimed, Dependency, Event, Heartbeat, Job, JobId, Lease, NewLogLine, NewRun, Outcome, Quotas, Run, RunId, RunStatus,
    StreamCounts, TenantId, Trigger,
};
use crate::tenant::access::day;
use crate::tenant::jobs::{self, JOB, read_job};
use crate::tenant::runs::{RUN_COLUMNS, completed, in_writer, queue, read_run, target, told, totals};
use crate::writer::{Writer, done};

/// How often a run may lose its worker.
const MOST_LOST: i64 = 20;
/// Losses after which the next attempt is made at once; each further one waits a second longer, at most 30.
const LOST_AT_ONCE: i64 = 3;

impl System {
    /// Claims the oldest ready run whose job has no running run and whose tenant is active and within `max_concurrent_runs` and its daily
    /// quotas; of several tenants the one with the fewest running runs goes first, so that none waits for another's backlog. The run is
    /// `running` with the next fence and attempt. Event `run.started`. Runs whose lease is over are given back first.
    pub async fn claim_run(&self, worker: &str, lease: Duration) -> Result<Option<Claimed>> {
        let asked = now();
        let over = "SELECT fence FROM runs WHERE status = 'running' AND lease_until < $1 LIMIT 1";
        if self.backend.fetch_optional(over, args![asked]).await?.is_some() {
            self.expire_leases(asked).await?;
        }
        // A run that was just given back is ready from then on, which is later than `asked`.
        for tenant in self.tenants_with_work(now()).await? {
            let writer = Writer::within(self.backend.begin().await?, &tenant, &Actor::system("worker")).await?;
            if let Some(claimed) = claim_in(writer, worker, lease).await? {
                return Ok(Some(claimed));
            }
        }
        Ok(None)
    }

    /// Active tenants that have a ready run, those with the fewest running runs first.
    async fn tenants_with_work(&self, at: DateTime<Utc>) -> Result<Vec<TenantId>> {
        let ready = "SELECT fence FROM runs WHERE status = 'queued' AND not_before <= $1 LIMIT 1";
        if self.backend.fetch_optional(ready, args![at]).await?.is_none() {
            return Ok(Vec::new());
        }
        let rows = self
            .backend
            .fetch_all(
                "SELECT id, oldest, running FROM (SELECT t.id, \
                 (SELECT min(q.not_before) FROM runs q WHERE q.tenant_id = t.id AND q.status = 'queued') AS oldest, \
                 (SELECT count(*) FROM runs r WHERE r.tenant_id = t.id AND r.status = 'running') AS running \
                 FROM tenants t WHERE t.status = 'active') AS work WHERE oldest <= $1 ORDER BY running, oldest, id",
                args![at],
            )
            .await?;
        rows.iter().map(|row| row.columns().id()).collect()
    }

    /// Renews a lease until `extend` from now, and tells whether the run shall stop. `WEIR-STORE-020`: the lease is another's, or the run
    /// has ended.
    pub async fn heartbeat(&self, lease: &Lease, extend: Duration) -> Result<Heartbeat> {
        let until = later(now(), extend);
        let mut tx = self.backend.begin().await?;
        let row = tx
            .fetch_optional(
                "UPDATE runs SET lease_until = $4 WHERE tenant_id = $1 AND id = $2 AND fence = $3 AND status = 'running' \
                 RETURNING cancel_requested",
                args![&lease.tenant_id, &lease.run_id, lease.fence, until],
            )
            .await?;
        let cancel_requested = row.ok_or_else(fenced)?.columns().flag()?;
        tx.commit().await?;
        Ok(Heartbeat { lease: Lease { until, ..lease.clone() }, cancel_requested })
    }

    /// Sets the counts so far (unless `streams` is empty) and appends to the log; fence as [`System::heartbeat`]. Counts are of the whole
    /// run: what they grow by is added to the tenant's use of the day.
    pub async fn progress(&self, lease: &Lease, streams: Vec<StreamCounts>, lines: Vec<NewLogLine>) -> Result<()> {
        let at = now();
        let mut tx = self.backend.begin().await?;
        let held = held(&mut tx, lease).await?;
        let appended = held.log_seq + lines.len() as i64;
        if streams.is_empty() {
            let sql = "UPDATE runs SET log_seq = $3 WHERE tenant_id = $1 AND id = $2";
            tx.later(sql, args![&lease.tenant_id, &lease.run_id, appended]).await?;
        } else {
            let counted = count(&mut tx, lease, &held, &streams, at).await?;
            let sql = "UPDATE runs SET log_seq = $3, streams = $4, rows_counted = $5, bytes_counted = $6 WHERE tenant_id = $1 AND id = $2";
            let values = args![&lease.tenant_id, &lease.run_id, appended, json(&streams)?, counted.0, counted.1];
            tx.later(sql, values).await?;
        }
        let mut rows = Vec::with_capacity(lines.len());
        for (seq, line) in (held.log_seq + 1..).zip(lines) {
            rows.push(args![
                &lease.tenant_id,
                &lease.run_id,
                seq,
                line.at,
                line.level,
                line.message.replace('\0', "\u{fffd}"),
                line.event.as_ref().map(json).transpose()?
            ]);
        }
        tx.insert_many("INSERT INTO run_logs (tenant_id, run_id, seq, at, level, message, event) VALUES ", rows).await?;
        tx.commit().await
    }

    /// Ends an attempt; fence as [`System::heartbeat`]. With status `queued` the run waits until `retry_at` for another attempt, unless
    /// somebody has asked to stop it: then it is cancelled. Audit `run.finish`; events `run.finished` and, when nothing more will happen,
    /// `seatunnel-job-completed`. Without counts those of the last progress stay. After a success a run of each active job that waits for this one is queued: at once if it waits for this
    /// job alone, else when all that it waits for have succeeded since its newest run was queued.
    pub async fn finish(&self, lease: &Lease, outcome: Outcome) -> Result<Run> {
        if matches!(outcome.status, RunStatus::Running | RunStatus::Skipped) {
            return Err(Error::internal(format!("an attempt cannot end as {}", outcome.status.as_str())));
        }
        let actor = Actor::system("worker");
        let mut writer = Writer::within(self.backend.begin().await?, &lease.tenant_id, &actor).await?;
        let held = held(&mut writer.tx, lease).await?;
        let at = writer.now;
        let counted = count(&mut writer.tx, lease, &held, &outcome.streams, at).await?;
        let mut run = in_writer(&mut writer, &lease.run_id).await?;
        run.status = match outcome.status {
            RunStatus::Queued if run.cancel_requested => RunStatus::Cancelled,
            status => status,
        };
        run.ended_at = run.status.is_final().then_some(at);
        if !outcome.streams.is_empty() {
            run.streams = outcome.streams;
        }
        run.report = outcome.report;
        run.error = outcome.error;
        run.resources = outcome.resources;
        writer
            .tx
            .later(
                "UPDATE runs SET status = $3, ended_at = $4, lease_until = NULL, not_before = $5, streams = $6, report = $7, error = $8, \
                 resources = $9, rows_counted = $10, bytes_counted = $11 WHERE tenant_id = $1 AND id = $2",
                args![
                    &run.tenant_id,
                    &run.id,
                    run.status.as_str(),
                    run.ended_at,
                    outcome.retry_at.unwrap_or(at),
                    json(&run.streams)?,
                    run.report.as_ref().map(json).transpose()?,
                    run.error.as_ref().map(json).transpose()?,
                    run.resources.as_ref().map(json).transpose()?,
                    counted.0,
                    counted.1
                ],
            )
            .await?;
        let mut events = vec![told("run.finished", &run)];
        if run.status.is_final() {
            events.push(completed(&run));
        }
        if run.status == RunStatus::Succeeded {
            events.extend(start_dependents(&mut writer, &run).await?);
        }
        let sum = totals(&run.streams);
        let mut entry = done(
            "run.finish",
            target(&run.id),
            object!({"job_id": run.job_id, "status": run.status, "attempt": run.attempt, "rows_written": sum.rows_written, "rows_dead": sum.rows_dead}),
        );
        if run.status == RunStatus::Failed {
            entry.outcome = "failed".into();
        }
        writer.commit(entry, events).await?;
        Ok(run)
    }

    /// All runs that a worker has now.
    pub async fn active_runs(&self) -> Result<Vec<Run>> {
        let sql = format!("SELECT {RUN_COLUMNS} FROM runs r WHERE r.status = 'running' ORDER BY r.started_at, r.id");
        self.backend.fetch_all(sql, args![]).await?.iter().map(|row| read_run(&mut row.columns())).collect()
    }

    /// Takes runs from workers whose lease was over at `now`: back to the queue, to the end if somebody has asked to stop them, or to
    /// `failed` if they have lost their worker 20 times. Events `run.lost`, or those of an ended run with audit `run.finish`.
    pub async fn expire_leases(&self, now: DateTime<Utc>) -> Result<Vec<Run>> {
        let rows = self
            .backend
            .fetch_all(
                "SELECT tenant_id, id, fence FROM runs WHERE status = 'running' AND lease_until < $1 ORDER BY lease_until",
                args![now],
            )
            .await?;
        let mut taken = Vec::new();
        for row in rows {
            let mut columns = row.columns();
            let (tenant, run, fence): (TenantId, RunId, i64) = (columns.id()?, columns.id()?, columns.int()?);
            taken.extend(self.take_back(&tenant, &run, fence, now).await?);
        }
        Ok(taken)
    }

    async fn take_back(&self, tenant: &TenantId, id: &RunId, fence: i64, now: DateTime<Utc>) -> Result<Option<Run>> {
        let mut writer = Writer::within(self.backend.begin().await?, tenant, &Actor::system("worker")).await?;
        let row = writer
            .tx
            .fetch_optional(
                "UPDATE runs SET lost = lost + 1, lease_until = NULL, status = CASE WHEN cancel_requested = 1 THEN 'cancelled' \
                 WHEN lost + 1 >= $5 THEN 'failed' ELSE 'queued' END \
                 WHERE tenant_id = $1 AND id = $2 AND fence = $3 AND status = 'running' AND lease_until < $4 RETURNING lost",
                args![tenant, id, fence, now, MOST_LOST],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let lost = row.columns().int()?;
        let mut run = in_writer(&mut writer, id).await?;
        if run.status == RunStatus::Failed {
            let error = Error::new("WEIR-STORE-031", Kind::Internal, format!("the run lost its worker {lost} times"))
                .hint("look for what kills the workers: memory, the machine, the database out of reach for longer than a lease");
            run.error = Some(serde_json::to_value(error.to_json()).map_err(|error| Error::internal(error.to_string()))?);
        }
        run.ended_at = run.status.is_final().then_some(writer.now);
        let wait = TimeDelta::seconds((lost - LOST_AT_ONCE).clamp(0, 30));
        let sql = "UPDATE runs SET ended_at = $3, not_before = $4, error = $5 WHERE tenant_id = $1 AND id = $2";
        let error = run.error.as_ref().map(json).transpose()?;
        let values = args![tenant, id, run.ended_at, writer.now + wait, error];
        writer.tx.later(sql, values).await?;
        if run.status.is_final() {
            let mut entry = done(
                "run.finish",
                target(id),
                object!({"job_id": run.job_id, "status": run.status, "attempt": run.attempt, "lost": lost}),
            );
            entry.outcome = "failed".into();
            writer.commit(entry, vec![told("run.finished", &run), completed(&run)]).await?;
        } else {
            writer.commit_events(vec![told("run.lost", &run)]).await?;
        }
        Ok(Some(run))
    }
}

fn later(from: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    kept(TimeDelta::from_std(by).ok().and_then(|by| from.checked_add_signed(by)).unwrap_or(DateTime::<Utc>::MAX_UTC))
}

fn fenced() -> Error {
    Error::new("WEIR-STORE-020", Kind::Conflict, "the run is no longer this worker's")
        .because("its lease was over and was given to another, or the run has ended")
        .hint("stop the run's process; nothing that it reports is taken any more")
}

/// The tenant's oldest ready run, claimed. The writer holds the tenant, so what is checked here holds.
async fn claim_in(mut writer: Writer, worker: &str, lease: Duration) -> Result<Option<Claimed>> {
    let at = writer.now;
    if !has_room(&mut writer, at).await? {
        return Ok(None);
    }
    let next = writer
        .tx
        .fetch_optional(
            "SELECT q.id FROM runs q WHERE q.tenant_id = $1 AND q.status = 'queued' AND q.not_before <= $2 \
             AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.tenant_id = q.tenant_id AND r.job_id = q.job_id AND r.status = 'running') \
             ORDER BY q.not_before, q.id LIMIT 1",
            args![&writer.tenant, at],
        )
        .await?;
    let Some(next) = next else { return Ok(None) };
    let id: RunId = next.columns().id()?;
    let until = later(at, lease);
    let row = writer
        .tx
        .fetch_optional(
            "UPDATE runs SET status = 'running', fence = fence + 1, attempt = attempt + 1, started_at = $3, worker = $4, lease_until = $5 \
             WHERE tenant_id = $1 AND id = $2 AND status = 'queued' RETURNING fence",
            args![&writer.tenant, &id, at, worker, until],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let fence = row.columns().int()?;
    let run = in_writer(&mut writer, &id).await?;
    let job = job_of(&mut writer, &run).await?;
    let lease = Lease { tenant_id: writer.tenant.clone(), run_id: id, fence, until };
    writer.commit_events(vec![told("run.started", &run)]).await?;
    Ok(Some(Claimed { lease, run, job }))
}

/// Whether the tenant is active and may have another run.
async fn has_room(writer: &mut Writer, at: DateTime<Utc>) -> Result<bool> {
    let row = writer
        .tx
        .fetch_optional(
            "SELECT t.status, (SELECT count(*) FROM runs r WHERE r.tenant_id = t.id AND r.status = 'running'), \
             coalesce((SELECT rows_written FROM usage_days u WHERE u.tenant_id = t.id AND u.day = $2), 0), \
             coalesce((SELECT bytes_written FROM usage_days u WHERE u.tenant_id = t.id AND u.day = $2), 0) \
             FROM tenants t WHERE t.id = $1",
            args![&writer.tenant, day(at)],
        )
        .await?
        .ok_or_else(|| fault::missing("tenant"))?;
    let mut columns = row.columns();
    let active = columns.str()? == "active";
    let (running, rows, bytes) = (columns.count()?, columns.count()?, columns.count()?);
    let Quotas { max_concurrent_runs, max_rows_per_day, max_bytes_per_day, .. } = &writer.quotas;
    let below = |used: u64, most: &Option<u64>| most.is_none_or(|most| used < most);
    Ok(active && below(running, max_concurrent_runs) && below(rows, max_rows_per_day) && below(bytes, max_bytes_per_day))
}

/// The run's job with the spec of the run's version.
async fn job_of(writer: &mut Writer, run: &Run) -> Result<Job> {
    let sql = format!("{JOB} WHERE j.tenant_id = $1 AND j.id = $2");
    let row = writer.tx.fetch_optional(sql, args![&writer.tenant, &run.job_id]).await?.ok_or_else(jobs::missing)?;
    let mut job = read_job(&mut row.columns())?;
    if job.version != run.job_version {
        let sql = "SELECT spec FROM job_versions WHERE tenant_id = $1 AND job_id = $2 AND version = $3";
        let row = writer.tx.fetch_optional(sql, args![&writer.tenant, &run.job_id, run.job_version]).await?;
        job.body.spec = row.ok_or_else(|| fault::missing("version of this job"))?.columns().text()?;
    }
    Ok(job)
}

/// What a lease's holder goes on from.
struct Held {
    log_seq: i64,
    rows: u64,
    bytes: u64,
}

/// The lease's run, locked; `WEIR-STORE-020` if it is another's.
async fn held(tx: &mut Tx, lease: &Lease) -> Result<Held> {
    let lock = tx.for_update("r");
    let sql = format!(
        "SELECT r.log_seq, r.rows_counted, r.bytes_counted FROM runs r \
         WHERE r.tenant_id = $1 AND r.id = $2 AND r.fence = $3 AND r.status = 'running'{lock}"
    );
    let row = tx.fetch_optional(sql, args![&lease.tenant_id, &lease.run_id, lease.fence]).await?.ok_or_else(fenced)?;
    let mut columns = row.columns();
    Ok(Held { log_seq: columns.int()?, rows: columns.count()?, bytes: columns.count()? })
}

/// Adds what the counts have grown by to the tenant's day; the rows and bytes of the run that are counted now.
async fn count(tx: &mut Tx, lease: &Lease, held: &Held, streams: &[StreamCounts], at: DateTime<Utc>) -> Result<(u64, u64)> {
    let sum = totals(streams);
    let (rows, bytes) = (sum.rows_written.saturating_sub(held.rows), sum.bytes_written.saturating_sub(held.bytes));
    if rows > 0 || bytes > 0 {
        let sql = "INSERT INTO usage_days (tenant_id, day, rows_written, bytes_written) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (tenant_id, day) DO UPDATE SET rows_written = usage_days.rows_written + excluded.rows_written, \
                   bytes_written = usage_days.bytes_written + excluded.bytes_written";
        tx.later(sql, args![&lease.tenant_id, day(at), rows, bytes]).await?;
    }
    Ok((held.rows.saturating_add(rows), held.bytes.saturating_add(bytes)))
}

/// Queues runs of the jobs that waited for this one; their events.
async fn start_dependents(writer: &mut Writer, run: &Run) -> Result<Vec<Event>> {
    let rows = writer
        .tx
        .fetch_all(
            // The cross join tells SQLite where to begin: at the few that wait, not at all jobs.
            "SELECT j.id, j.version, j.depends_on FROM job_uses u CROSS JOIN jobs j WHERE j.tenant_id = u.tenant_id AND j.id = u.job_id \
             AND u.tenant_id = $1 AND u.kind = 'job' AND u.target = $2 AND j.status = 'active' AND j.deleted_at IS NULL ORDER BY u.job_id",
            args![&writer.tenant, &run.job_id],
        )
        .await?;
    let mut events = Vec::new();
    for row in rows {
        let mut columns = row.columns();
        let (job, version, depends_on): (JobId, i64, Vec<Dependency>) = (columns.id()?, columns.int()?, columns.json()?);
        if !all_succeeded(writer, &job, &depends_on, &run.job_id).await? {
            continue;
        }
        let new = NewRun { job_id: job, trigger: Trigger::Dependency { run_id: run.id.clone() }, not_before: writer.now };
        if let Some(queued) = queue(writer, &new, version).await? {
            events.push(told("run.queued", &queued));
        }
    }
    Ok(events)
}

/// Whether every dependency but `just` has succeeded since the job's newest run was queued.
async fn all_succeeded(writer: &mut Writer, job: &JobId, depends_on: &[Dependency], just: &JobId) -> Result<bool> {
    // Collected: a closure that is kept over an await makes a future that cannot be spawned.
    let others: Vec<&JobId> = depends_on.iter().map(|dependency| &dependency.job_id).filter(|id| *id != just).collect();
    if others.is_empty() {
        return Ok(true);
    }
    let sql = "SELECT queued_at FROM runs WHERE tenant_id = $1 AND job_id = $2 AND status <> 'skipped' ORDER BY queued_at DESC, id DESC LIMIT 1";
    let newest = writer.tx.fetch_optional(sql, args![&writer.tenant, job]).await?;
    let since = newest.map(|row| row.columns().int()).transpose()?.unwrap_or(i64::MIN);
    for other in others {
        let sql =
            "SELECT fence FROM runs WHERE tenant_id = $1 AND job_id = $2 AND status = 'succeeded' AND ended_at > $3 LIMIT 1";
        if writer.tx.fetch_optional(sql, args![&writer.tenant, other, since]).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}
