//! Schedules: whose fire is due, and taking it exactly once.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use weir_error::Result;

use super::System;
use crate::Actor;
use crate::backend::{args, chunked, kept, rows_of};
use crate::model::{JobId, NewRun, Run, RunStatus, ScheduleRow, TenantId, Trigger};
use crate::tenant::runs::{fresh, insert_all, told};
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
                "SELECT j.tenant_id, j.id, j.schedule, j.next_fire_at, CAST(CASE WHEN EXISTS (SELECT 1 FROM runs r WHERE r.job_id = j.id \
                 AND r.status IN ('queued', 'running')) THEN 1 ELSE 0 END AS BIGINT) FROM jobs j JOIN tenants t ON t.id = j.tenant_id \
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
                    unfinished: columns.flag()?,
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

    /// The same for many jobs, those of one tenant in one transaction (at most 500 at a time, so that others get in between), with a few
    /// statements for all of them. The answers are in the order of the rows; of several rows of one job the first counts.
    pub async fn fire_all(&self, due: &[Due]) -> Result<Vec<bool>> {
        let mut of_tenant: BTreeMap<&TenantId, Vec<usize>> = BTreeMap::new();
        for (index, (row, ..)) in due.iter().enumerate() {
            of_tenant.entry(&row.tenant_id).or_default().push(index);
        }
        let mut taken = vec![false; due.len()];
        for (tenant, all) in of_tenant {
            for some in all.chunks(TOGETHER) {
                let mut writer = Writer::within(self.backend.begin().await?, tenant, &Actor::system("scheduler")).await?;
                let mut seen = HashSet::new();
                let asked: Vec<usize> = some.iter().copied().filter(|index| seen.insert(&due[*index].0.job_id)).collect();
                let versions = take(&mut writer, &asked, due).await?;
                let mine: Vec<usize> = asked.into_iter().filter(|index| versions.contains_key(&due[*index].0.job_id)).collect();
                if mine.is_empty() {
                    continue;
                }
                let mut runs = Vec::with_capacity(mine.len());
                for index in &mine {
                    let (row, fires, _) = &due[*index];
                    let version = versions.get(&row.job_id).copied().unwrap_or_default();
                    runs.extend(fires.iter().map(|fire| run_of(&writer, &row.job_id, version, fire)));
                }
                let runs = insert_all(&mut writer, runs).await?;
                let kind = |run: &Run| if run.status == RunStatus::Skipped { "run.skipped" } else { "run.queued" };
                let events = runs.iter().map(|run| told(kind(run), run)).collect();
                writer.commit_events(events).await?;
                mine.into_iter().for_each(|index| taken[index] = true);
            }
        }
        Ok(taken)
    }
}

/// Moves the next fires of those jobs whose row still holds; the versions of these.
async fn take(writer: &mut Writer, asked: &[usize], due: &[Due]) -> Result<HashMap<JobId, i64>> {
    let rows = asked.iter().map(|index| {
        let (row, _, next) = &due[*index];
        args![&row.job_id, row.next_fire_at, next.map(kept)]
    });
    let mut taken = HashMap::with_capacity(asked.len());
    for rows in chunked(rows.collect()) {
        // Both databases call the columns so. The inner query has no place for names of its own in SQLite.
        let sql = format!(
            "UPDATE jobs SET next_fire_at = d.column3 FROM (VALUES {}) AS d WHERE jobs.tenant_id = $1 AND jobs.id = d.column1 \
             AND jobs.next_fire_at = d.column2 AND jobs.status = 'active' AND jobs.deleted_at IS NULL RETURNING id, version",
            rows_of(&rows, 1)
        );
        let values = args![&writer.tenant].into_iter().chain(rows.into_iter().flatten()).collect();
        for row in writer.tx.fetch_all(sql, values).await? {
            let mut columns = row.columns();
            taken.insert(columns.id()?, columns.int()?);
        }
    }
    Ok(taken)
}

fn run_of(writer: &Writer, job: &JobId, version: i64, (fire_at, not_before, status): &Fire) -> (Run, DateTime<Utc>) {
    let new = NewRun { job_id: job.clone(), trigger: Trigger::Schedule { fire_at: *fire_at }, not_before: *not_before };
    let status = if *status == RunStatus::Skipped { RunStatus::Skipped } else { RunStatus::Queued };
    fresh(writer, &new, version, status)
}
