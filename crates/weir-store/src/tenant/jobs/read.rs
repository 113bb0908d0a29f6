//! Reading jobs, from rows and in lists.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use weir_error::{Error, Result};

use super::status_word;
use crate::backend::{Columns, Row, Tx, Value, args, json};
use crate::fault;
use crate::model::{
    Job, JobFilter, JobId, JobKey, JobStatus, JobSummary, JobVersion, NewJob, Page, PageRequest, Schedule, TenantId,
};
use crate::page::{Asked, SortKey};
use crate::tenant::TenantStore;

/// A job with its newest spec, as [`read_job`] takes it.
pub(crate) const JOB: &str = "SELECT j.id, j.tenant_id, j.status, j.version, j.revision, j.created_at, j.updated_at, j.created_by, j.name, \
     j.description, v.spec, j.mode, j.source_kinds, j.sink_kinds, j.connections, j.schedule, j.next_fire_at, j.depends_on, j.retry, \
     j.timeout_secs, j.labels FROM jobs j JOIN job_versions v ON v.tenant_id = j.tenant_id AND v.job_id = j.id AND v.version = j.version";

impl TenantStore {
    /// A job that is not deleted.
    pub async fn job(&self, id: &JobId) -> Result<Job> {
        let sql = format!("{JOB} WHERE j.tenant_id = $1 AND j.id = $2 AND j.deleted_at IS NULL");
        let row = self.backend.fetch_optional(sql, args![self.tenant_id(), id]).await?.ok_or_else(missing)?;
        read_job(&mut row.columns())
    }

    /// The job of that name, if there is one.
    pub async fn job_by_name(&self, name: &str) -> Result<Option<Job>> {
        let sql = format!("{JOB} WHERE j.tenant_id = $1 AND j.name = $2 AND j.deleted_at IS NULL");
        let row = self.backend.fetch_optional(sql, args![self.tenant_id(), name]).await?;
        row.map(|row| read_job(&mut row.columns())).transpose()
    }

    /// Jobs that are not deleted, in the filter's order.
    pub async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<JobSummary>> {
        let order = filter.order;
        let (listing, key) = sorted_by(order.by);
        let asked = Asked::of(listing, page)?;
        let mut values = args![self.tenant_id()];
        let mut sql = format!(
            "SELECT j.id, j.name, j.description, j.status, j.version, j.mode, j.source_kinds, j.sink_kinds, j.schedule, j.next_fire_at, \
             (SELECT r.status FROM runs r WHERE r.tenant_id = j.tenant_id AND r.job_id = j.id ORDER BY r.queued_at DESC, r.id DESC LIMIT 1), \
             j.labels, j.created_at, j.updated_at, {} FROM jobs j WHERE j.tenant_id = $1 AND j.deleted_at IS NULL",
            key.sql()
        );
        if let Some(part) = &filter.name_contains {
            values.push(Value::from(part.to_lowercase()));
            sql += &format!(" AND {}", self.backend.contains("j.name_search", values.len()));
        }
        if let Some(status) = filter.status {
            values.push(Value::from(status_word(status)));
            sql += &format!(" AND j.status = ${}", values.len());
        }
        if let Some(mode) = &filter.mode {
            values.push(Value::from(mode));
            sql += &format!(" AND j.mode = ${}", values.len());
        }
        if let Some(kind) = &filter.kind {
            values.push(Value::from(json(kind)?));
            let (sources, sinks) =
                (self.backend.contains("j.source_kinds", values.len()), self.backend.contains("j.sink_kinds", values.len()));
            sql += &format!(" AND ({sources} OR {sinks})");
        }
        if let Some((name, value)) = &filter.label {
            // A quote that is not escaped stands in the JSON text only where a name or value begins or ends.
            let pair = format!("{}:{}", json(name)?, json(value)?);
            values.push(Value::from(format!("{{{pair}")));
            let first = self.backend.contains("j.labels", values.len());
            values.push(Value::from(format!(",{pair}")));
            let later = self.backend.contains("j.labels", values.len());
            sql += &format!(" AND ({first} OR {later})");
        }
        if let Some(connection) = &filter.connection {
            values.push(Value::from(connection));
            sql += &format!(
                " AND EXISTS (SELECT 1 FROM job_uses u WHERE u.tenant_id = j.tenant_id AND u.job_id = j.id AND u.kind = 'connection' \
                 AND u.target = ${})",
                values.len()
            );
        }
        sql += &asked.sorted(&key, "j.id", order.descending, &mut values);
        let rows = self.backend.fetch_all(sql, values).await?;
        asked.page(&rows, |row| {
            let mut columns = row.columns();
            let summary = read_summary(&mut columns)?;
            let key = key.of(&mut columns, summary.id.as_str())?;
            Ok((summary, key))
        })
    }

    /// A job's versions, newest first.
    pub async fn job_versions(&self, id: &JobId, page: &PageRequest) -> Result<Page<JobVersion>> {
        let asked = Asked::of("job-versions", page)?;
        self.job_exists(id).await?;
        let mut values = args![self.tenant_id(), id];
        let tail = asked.newest_number_first("version", &mut values);
        let sql = format!(
            "SELECT version, spec, created_by, created_at, note FROM job_versions WHERE tenant_id = $1 AND job_id = $2{tail}"
        );
        let rows = self.backend.fetch_all(sql, values).await?;
        asked.page(&rows, |row| {
            let version = read_version(row)?;
            let key = (version.version, String::new());
            Ok((version, key))
        })
    }

    /// One version.
    pub async fn job_version(&self, id: &JobId, version: i64) -> Result<JobVersion> {
        self.job_exists(id).await?;
        let row = self
            .backend
            .fetch_optional(
                "SELECT version, spec, created_by, created_at, note FROM job_versions WHERE tenant_id = $1 AND job_id = $2 AND version = $3",
                args![self.tenant_id(), id, version],
            )
            .await?;
        read_version(&row.ok_or_else(|| fault::missing("version of this job"))?)
    }

    /// Names of jobs, deleted ones too: their history stays. An id that is none of the tenant's has no entry. At most a page of them at
    /// once.
    pub async fn job_names(&self, ids: impl IntoIterator<Item = &JobId>) -> Result<BTreeMap<JobId, String>> {
        let ids: BTreeSet<&JobId> = ids.into_iter().collect();
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut values = args![self.tenant_id()];
        values.extend(ids.into_iter().map(Value::from));
        let places: Vec<String> = (2..=values.len()).map(|place| format!("${place}")).collect();
        let sql = format!("SELECT id, name FROM jobs WHERE tenant_id = $1 AND id IN ({})", places.join(", "));
        let rows = self.backend.fetch_all(sql, values).await?;
        rows.iter()
            .map(|row| {
                let mut columns = row.columns();
                Ok((columns.id()?, columns.text()?))
            })
            .collect()
    }

    /// That the job is there and not deleted.
    pub(in crate::tenant) async fn job_exists(&self, id: &JobId) -> Result<()> {
        let row = self
            .backend
            .fetch_optional(
                "SELECT version FROM jobs WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL",
                args![self.tenant_id(), id],
            )
            .await?;
        row.map(drop).ok_or_else(missing)
    }
}

/// The next fire of a schedule that never fires again: the end of the year 9999; NULL in the database.
pub(crate) const NEVER: DateTime<Utc> = match DateTime::from_timestamp(253_402_300_799, 0) {
    Some(time) => time,
    None => DateTime::<Utc>::MAX_UTC,
};

pub(crate) fn missing() -> Error {
    fault::missing("job")
}

pub(in crate::tenant) async fn exists(tx: &mut Tx, tenant: &TenantId, id: &JobId) -> Result<bool> {
    let sql = "SELECT version FROM jobs WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL";
    Ok(tx.fetch_optional(sql, args![tenant, id]).await?.is_some())
}

/// The columns of [`JOB`].
pub(crate) fn read_job(columns: &mut Columns<'_>) -> Result<Job> {
    Ok(Job {
        id: columns.id()?,
        tenant_id: columns.id()?,
        status: columns.word()?,
        version: columns.int()?,
        revision: columns.int()?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
        created_by: columns.text()?,
        body: NewJob {
            name: columns.text()?,
            description: columns.opt_text()?,
            spec: columns.text()?,
            mode: columns.text()?,
            source_kinds: columns.json()?,
            sink_kinds: columns.json()?,
            connections: columns.json()?,
            schedule: {
                let schedule: Option<Schedule> = columns.opt_json()?;
                let next = columns.opt_time()?;
                schedule.map(|schedule| (schedule, next.unwrap_or(NEVER)))
            },
            depends_on: columns.json()?,
            retry: columns.json()?,
            timeout_secs: columns.opt_int()?.map(i64::unsigned_abs),
            labels: columns.json()?,
        },
    })
}

fn read_summary(columns: &mut Columns<'_>) -> Result<JobSummary> {
    let mut summary = JobSummary {
        id: columns.id()?,
        name: columns.text()?,
        description: columns.opt_text()?,
        status: columns.word()?,
        version: columns.int()?,
        mode: columns.text()?,
        source_kinds: columns.json()?,
        sink_kinds: columns.json()?,
        schedule: columns.opt_json::<Schedule>()?,
        next_fire_at: columns.opt_time()?,
        last_run_status: columns.opt_str()?.map(crate::backend::word).transpose()?,
        labels: columns.json()?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
    };
    if summary.status == JobStatus::Paused {
        summary.next_fire_at = None;
    }
    Ok(summary)
}

/// The name of the listing, so that cursors of different orders are told apart, and its key. What stands between a text and the id is less
/// than any letter.
fn sorted_by(key: JobKey) -> (&'static str, SortKey) {
    match key {
        JobKey::Created => ("jobs", SortKey::number("j.created_at")),
        JobKey::Name => ("jobs by name", SortKey::text("(j.name_search || '\u{1}' || j.id)")),
        JobKey::Status => ("jobs by status", SortKey::text("(j.status || '\u{1}' || j.id)")),
        JobKey::LastRun => (
            "jobs by last run",
            SortKey::number(
                "coalesce((SELECT max(r.queued_at) FROM runs r WHERE r.tenant_id = j.tenant_id AND r.job_id = j.id), 0)",
            ),
        ),
        JobKey::LastRunStatus => (
            "jobs by last status",
            SortKey::text(
                "(coalesce((SELECT r.status FROM runs r WHERE r.tenant_id = j.tenant_id AND r.job_id = j.id \
                 ORDER BY r.queued_at DESC, r.id DESC LIMIT 1), '') || '\u{1}' || j.id)",
            ),
        ),
    }
}

fn read_version(row: &Row) -> Result<JobVersion> {
    let mut columns = row.columns();
    Ok(JobVersion {
        version: columns.int()?,
        spec: columns.text()?,
        created_by: columns.text()?,
        created_at: columns.time()?,
        note: columns.text()?,
    })
}
