//! Schedules: whose fire is due, and taking it exactly once.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use weir_error::Result;

use super::System;
use crate::Actor;
use crate::backend::{args, kept};
use crate::model::{Event, JobId, NewRun, RunStatus, ScheduleRow, TenantId, Trigger};
use crate::tenant::runs::{insert, told};
use crate::writer::Writer;

/// A fire: its time, not before when its run may begin, `queued` or `skipped`.
pub type Fire = (DateTime<Utc>, DateTime<Utc>, RunStatus);

/// A due job, the fires to be taken, and its next fire.
pub type Due = (ScheduleRow, Vec<Fire>, Option<DateTime<Utc>>);

/// Jobs that fire in one transaction.
const TOGETHER: usize = 500;

impl System {
    /// Active jobs of active tenants whose next fire is at or before `now`, the longest due first.
    pub async fn due_schedules(&self, now: DateTime<Utc>, limit: u32) -> Result<Vec<ScheduleRow>> {
        let rows = self
            .backend
            .fetch_all(
                "SELECT j.tenant_id, j.id, j.schedule, j.next_fire_at FROM jobs j JOIN tenants t ON t.id = j.tenant_id \
                 WHERE j.next_fire_at <= $1 AND j.next_fire_at IS NOT NULL AND j.status = 'active' AND j.deleted_at IS NULL \
                 AND t.status = 'active' ORDER BY j.next_fire_at, j.id LIMIT $2",
                args![now, limit],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let mut columns = row.columns();
                Ok(ScheduleRow {
                    tenant_id: columns.id()?,
                    job_id: columns.id()?,
                    schedule: columns.json()?,
                    next_fire_at: columns.time()?,
                })
            })
            .collect()
    }

    /// The time of the earliest next fire, to sleep until.
    pub async fn next_due(&self) -> Result<Option<DateTime<Utc>>> {
        let row = self
            .backend
            .fetch_optional(
                "SELECT j.next_fire_at FROM jobs j WHERE j.next_fire_at IS NOT NULL AND j.status = 'active' AND j.deleted_at IS NULL \
                 ORDER BY j.next_fire_at LIMIT 1",
                args![],
            )
            .await?;
        row.map(|row| row.columns().time()).transpose()
    }

    /// Takes a job's due fires: moves its next fire from the row's value to `next` and inserts a run for each fire
    /// (`(fire_at, not_before, queued or skipped)`), in one transaction. `false`: somebody else did, or the job was changed, paused or
    /// deleted meanwhile; nothing happened. Events `run.queued`, `run.skipped`.
    pub async fn fire(&self, row: &ScheduleRow, fires: &[Fire], next: Option<DateTime<Utc>>) -> Result<bool> {
        let taken = self.fire_all(&[(row.clone(), fires.to_vec(), next)]).await?;
        Ok(taken.first().copied().unwrap_or_default())
    }

    /// The same for many jobs, those of one tenant in one transaction (at most 500 at a time, so that others get in between); the answers
    /// are in the order of the rows.
    pub async fn fire_all(&self, due: &[Due]) -> Result<Vec<bool>> {
        let mut of_tenant: BTreeMap<&TenantId, Vec<usize>> = BTreeMap::new();
        for (index, (row, ..)) in due.iter().enumerate() {
            of_tenant.entry(&row.tenant_id).or_default().push(index);
        }
        let mut taken = vec![false; due.len()];
        for (tenant, all) in of_tenant {
            for some in all.chunks(TOGETHER) {
                let mut writer = Writer::within(self.backend.begin().await?, tenant, &Actor::system("scheduler")).await?;
                let mut events = Vec::with_capacity(some.len());
                let mut mine = Vec::with_capacity(some.len());
                for &index in some {
                    let (row, fires, next) = &due[index];
                    if let Some(told) = take(&mut writer, row, fires, *next).await? {
                        mine.push(index);
                        events.extend(told);
                    }
                }
                if !mine.is_empty() {
                    writer.commit_events(events).await?;
                    mine.into_iter().for_each(|index| taken[index] = true);
                }
            }
        }
        Ok(taken)
    }

    /// Whether a run of the job waits or runs.
    pub async fn has_unfinished_run(&self, job: &JobId) -> Result<bool> {
        let row = self
            .backend
            .fetch_optional("SELECT fence FROM runs WHERE job_id = $1 AND status IN ('queued', 'running') LIMIT 1", args![job])
            .await?;
        Ok(row.is_some())
    }
}

/// One job's fires; `None`: they are not to be taken (any more).
async fn take(writer: &mut Writer, row: &ScheduleRow, fires: &[Fire], next: Option<DateTime<Utc>>) -> Result<Option<Vec<Event>>> {
    let sql = "UPDATE jobs SET next_fire_at = $4 WHERE tenant_id = $1 AND id = $2 AND next_fire_at = $3 AND status = 'active' \
               AND deleted_at IS NULL RETURNING version";
    let values = args![&row.tenant_id, &row.job_id, row.next_fire_at, next.map(kept)];
    let Some(job) = writer.tx.fetch_optional(sql, values).await? else { return Ok(None) };
    let version = job.columns().int()?;
    let mut events = Vec::with_capacity(fires.len());
    for (fire_at, not_before, status) in fires {
        let new =
            NewRun { job_id: row.job_id.clone(), trigger: Trigger::Schedule { fire_at: *fire_at }, not_before: *not_before };
        let (status, kind) = match status {
            RunStatus::Skipped => (RunStatus::Skipped, "run.skipped"),
            _ => (RunStatus::Queued, "run.queued"),
        };
        if let Some(run) = insert(writer, &new, version, status).await? {
            events.push(told(kind, &run));
        }
    }
    Ok(Some(events))
}
