//! Jobs and their versions: making, changing and deleting them. Reading them is in `read`.

mod read;

use chrono::{DateTime, Utc};
use serde_json::json as object;
use weir_error::{Error, Kind, Result};

use super::TenantStore;
use super::monitoring::{put_rules, remove_rules};
use super::runs::{self, RUN_COLUMNS, read_run};
use crate::backend::{args, json, kept};
use crate::fault;
use crate::model::{Dependency, Event, Job, JobId, JobStatus, NewJob, NewRule, SealedSecret};
use crate::writer::{Writer, done, event};
use read::NEVER;
pub(super) use read::exists;
pub(crate) use read::{JOB, missing, read_job};

impl TenantStore {
    /// Stores a job, its first version and its rules. Audit `job.create`, event `seatunnel-pipeline-created-events`.
    ///
    /// Errors: quota `max_pipelines` `WEIR-STORE-030`; a name that is taken `WEIR-STORE-021`; a dependency on itself, in a circle or on a
    /// job that is not there `WEIR-STORE-025`.
    pub async fn create_job(&self, job: NewJob, rules: Vec<NewRule>) -> Result<Job> {
        self.create_job_with(JobId::generate(), job, rules, Vec::new(), JobStatus::Active).await
    }

    /// The same under an id that the caller made with [`JobId::generate`], active or paused from the start, with tenant secrets that are
    /// stored in the same transaction. Secrets whose names begin with `job.<id>.` are deleted with the job.
    pub async fn create_job_with(
        &self,
        id: JobId,
        job: NewJob,
        rules: Vec<NewRule>,
        secrets: Vec<(String, SealedSecret)>,
        status: JobStatus,
    ) -> Result<Job> {
        let mut writer = self.write().await?;
        if let Some(most) = writer.quotas.max_pipelines {
            quota(&mut writer, most).await?;
        }
        check_dependencies(&mut writer, &id, &job.depends_on).await?;
        let now = writer.now;
        let made = Job {
            id,
            tenant_id: writer.tenant.clone(),
            status,
            version: 1,
            revision: 1,
            body: normal(job),
            created_at: now,
            updated_at: now,
            created_by: writer.actor.name.clone(),
        };
        let body = &made.body;
        writer
            .tx
            .execute(
                "INSERT INTO jobs (tenant_id, id, name, name_search, description, status, version, revision, mode, source_kinds, sink_kinds, \
                 connections, depends_on, schedule, next_fire_at, retry, timeout_secs, labels, created_by, created_at, updated_at) \
                 VALUES ($1, $2, $3, $4, $5, $18, 1, 1, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17)",
                args![
                    &made.tenant_id,
                    &made.id,
                    &body.name,
                    body.name.to_lowercase(),
                    body.description.clone(),
                    &body.mode,
                    json(&body.source_kinds)?,
                    json(&body.sink_kinds)?,
                    json(&body.connections)?,
                    json(&body.depends_on)?,
                    body.schedule.as_ref().map(|(schedule, _)| json(schedule)).transpose()?,
                    next_fire(body),
                    json(&body.retry)?,
                    timeout(body),
                    json(&body.labels)?,
                    &made.created_by,
                    now,
                    status_word(status)
                ],
            )
            .await
            .map_err(|error| fault::on_taken(error, || name_taken(&body.name)))?;
        put_version(&mut writer, &made, "created").await?;
        put_uses(&mut writer, &made).await?;
        put_rules(&mut writer, &made.id, &rules).await?;
        for (name, sealed) in &secrets {
            super::connections::put_secret(&mut writer, name, sealed).await?;
        }
        let entry = done("job.create", target(&made.id), object!({"name": body.name, "mode": body.mode, "version": 1}));
        let created = event(
            "seatunnel-pipeline-created-events",
            &made.id,
            object!({
                "pipeline_id": made.id, "tenant_id": made.tenant_id, "name": body.name, "pattern": body.mode,
                "configuration": configuration(&made), "created_by": made.created_by, "created_at": made.created_at,
            }),
        );
        writer.commit(entry, vec![created]).await?;
        Ok(made)
    }

    /// Changes a job; a new version only if the spec differs. `rules`: `None` leaves them. A schedule that stays the same keeps its next
    /// fire. Audit `job.update`, event `job.updated`. Errors as [`TenantStore::create_job`]; another revision `WEIR-STORE-022`.
    pub async fn update_job(
        &self,
        id: &JobId,
        expected_revision: Option<i64>,
        job: NewJob,
        note: &str,
        rules: Option<Vec<NewRule>>,
    ) -> Result<Job> {
        self.update_job_with(id, expected_revision, job, note, rules, Vec::new()).await
    }

    /// The same, with tenant secrets that are stored in the same transaction.
    pub async fn update_job_with(
        &self,
        id: &JobId,
        expected_revision: Option<i64>,
        job: NewJob,
        note: &str,
        rules: Option<Vec<NewRule>>,
        secrets: Vec<(String, SealedSecret)>,
    ) -> Result<Job> {
        let mut writer = self.write().await?;
        let before = locked(&mut writer, id, expected_revision).await?;
        check_dependencies(&mut writer, id, &job.depends_on).await?;
        let mut body = normal(job);
        if let (Some((new, next)), Some((old, stays))) = (&mut body.schedule, &before.body.schedule)
            && new == old
        {
            *next = *stays;
        }
        let new_version = body.spec != before.body.spec;
        let after = Job {
            version: before.version + i64::from(new_version),
            revision: before.revision + 1,
            body,
            updated_at: writer.now,
            ..before.clone()
        };
        let body = &after.body;
        writer
            .tx
            .execute(
                "UPDATE jobs SET name = $3, name_search = $4, description = $5, version = $6, revision = $7, mode = $8, source_kinds = $9, \
                 sink_kinds = $10, connections = $11, depends_on = $12, schedule = $13, next_fire_at = $14, retry = $15, \
                 timeout_secs = $16, labels = $17, updated_at = $18 WHERE tenant_id = $1 AND id = $2",
                args![
                    &after.tenant_id,
                    id,
                    &body.name,
                    body.name.to_lowercase(),
                    body.description.clone(),
                    after.version,
                    after.revision,
                    &body.mode,
                    json(&body.source_kinds)?,
                    json(&body.sink_kinds)?,
                    json(&body.connections)?,
                    json(&body.depends_on)?,
                    body.schedule.as_ref().map(|(schedule, _)| json(schedule)).transpose()?,
                    next_fire(body),
                    json(&body.retry)?,
                    timeout(body),
                    json(&body.labels)?,
                    after.updated_at
                ],
            )
            .await
            .map_err(|error| fault::on_taken(error, || name_taken(&body.name)))?;
        if new_version {
            put_version(&mut writer, &after, note).await?;
        }
        if (&body.connections, &body.depends_on) != (&before.body.connections, &before.body.depends_on) {
            writer.tx.execute("DELETE FROM job_uses WHERE tenant_id = $1 AND job_id = $2", args![&after.tenant_id, id]).await?;
            put_uses(&mut writer, &after).await?;
        }
        for (name, sealed) in &secrets {
            super::connections::put_secret(&mut writer, name, sealed).await?;
        }
        let mut events = Vec::new();
        if let Some(rules) = &rules {
            events = super::monitoring::set_rules(&mut writer, id, rules).await?;
        }
        let entry = done(
            "job.update",
            target(id),
            object!({"name": body.name, "version": after.version, "revision": after.revision, "note": note}),
        );
        events.push(changed("job.updated", &after));
        writer.commit(entry, events).await?;
        Ok(after)
    }

    /// Pauses or resumes. A fire that was due while the job was paused is due at once; [`TenantStore::resume_job`] forgets such fires.
    /// Audit and event `job.pause`/`job.paused`, `job.resume`/`job.resumed`.
    pub async fn set_job_status(&self, id: &JobId, status: JobStatus) -> Result<Job> {
        self.change_status(id, status, None).await
    }

    /// Resumes a job whose next fire is `next_fire_at`, whatever it missed.
    pub async fn resume_job(&self, id: &JobId, next_fire_at: Option<DateTime<Utc>>) -> Result<Job> {
        self.change_status(id, JobStatus::Active, next_fire_at.map(kept)).await
    }

    async fn change_status(&self, id: &JobId, status: JobStatus, next: Option<DateTime<Utc>>) -> Result<Job> {
        let mut writer = self.write().await?;
        let mut job = locked(&mut writer, id, None).await?;
        job.status = status;
        job.revision += 1;
        job.updated_at = writer.now;
        if let (Some((_, at)), Some(next)) = (&mut job.body.schedule, next) {
            *at = next;
        }
        let next = next_fire(&job.body);
        writer
            .tx
            .execute(
                "UPDATE jobs SET status = $3, revision = $4, updated_at = $5, next_fire_at = $6 WHERE tenant_id = $1 AND id = $2",
                args![&job.tenant_id, id, status_word(status), job.revision, job.updated_at, next],
            )
            .await?;
        let (action, kind) = match status {
            JobStatus::Active => ("job.resume", "job.resumed"),
            JobStatus::Paused => ("job.pause", "job.paused"),
        };
        let entry = done(action, target(id), object!({"name": job.body.name, "revision": job.revision}));
        let told = changed(kind, &job);
        writer.commit(entry, vec![told]).await?;
        Ok(job)
    }

    /// Deletes a job: its queued runs are cancelled, running ones asked to stop, its rules and own secrets go; versions and runs stay for
    /// history, the name is free. Audit `job.delete`, events `job.deleted` and those of the runs. Refused while another job waits for it
    /// (`WEIR-STORE-025`).
    pub async fn delete_job(&self, id: &JobId, expected_revision: Option<i64>) -> Result<()> {
        let mut writer = self.write().await?;
        let job = locked(&mut writer, id, expected_revision).await?;
        let waiting = writer
            .tx
            .fetch_all(
                "SELECT j.name FROM job_uses u CROSS JOIN jobs j WHERE j.tenant_id = u.tenant_id AND j.id = u.job_id \
                 AND u.tenant_id = $1 AND u.kind = 'job' AND u.target = $2 ORDER BY j.name LIMIT 5",
                args![&job.tenant_id, id],
            )
            .await?;
        if !waiting.is_empty() {
            let names = waiting.iter().map(|row| row.columns().text()).collect::<Result<Vec<_>>>()?;
            return Err(Error::new("WEIR-STORE-025", Kind::Conflict, "other jobs wait for this job")
                .because(format!("`depends_on` of {}", names.join(", ")))
                .hint("change or delete those first"));
        }
        writer
            .tx
            .execute(
                "UPDATE jobs SET deleted_at = $3, updated_at = $3, revision = revision + 1 WHERE tenant_id = $1 AND id = $2",
                args![&job.tenant_id, id, writer.now],
            )
            .await?;
        writer.tx.execute("DELETE FROM job_uses WHERE tenant_id = $1 AND job_id = $2", args![&job.tenant_id, id]).await?;
        let own = format!("job.{id}.");
        writer
            .tx
            .execute(
                "DELETE FROM secrets WHERE tenant_id = $1 AND substr(name, 1, CAST($3 AS INTEGER)) = $2",
                args![&job.tenant_id, &own, own.chars().count() as i64],
            )
            .await?;
        let mut events = remove_rules(&mut writer, id, None).await?;
        writer
            .tx
            .execute(
                "UPDATE runs SET cancel_requested = 1 WHERE tenant_id = $1 AND job_id = $2 AND status = 'running'",
                args![&job.tenant_id, id],
            )
            .await?;
        let queued = writer
            .tx
            .fetch_all(
                format!("SELECT {RUN_COLUMNS} FROM runs r WHERE r.tenant_id = $1 AND r.job_id = $2 AND r.status = 'queued' ORDER BY r.queued_at, r.id"),
                args![&job.tenant_id, id],
            )
            .await?;
        let cancelled = queued.len();
        for row in queued {
            let run = read_run(&mut row.columns())?;
            events.extend(runs::cancel_queued(&mut writer, run).await?.1);
        }
        events.push(changed("job.deleted", &job));
        let entry = done("job.delete", target(id), object!({"name": job.body.name, "cancelled_runs": cancelled}));
        writer.commit(entry, events).await
    }
}

fn target(id: &JobId) -> String {
    format!("job/{id}")
}

fn name_taken(name: &str) -> Error {
    Error::new("WEIR-STORE-021", Kind::Conflict, format!("there is a job named `{name}` already"))
        .hint("choose another name, or update that job")
}

fn timeout(body: &NewJob) -> Option<i64> {
    body.timeout_secs.map(|secs| i64::try_from(secs).unwrap_or(i64::MAX))
}

fn next_fire(body: &NewJob) -> Option<DateTime<Utc>> {
    body.schedule.as_ref().map(|(_, next)| *next).filter(|next| *next != NEVER)
}

fn normal(mut job: NewJob) -> NewJob {
    if let Some((_, next)) = &mut job.schedule {
        *next = kept(*next);
    }
    job
}

pub(crate) fn status_word(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Active => "active",
        JobStatus::Paused => "paused",
    }
}

fn configuration(job: &Job) -> serde_json::Value {
    let body = &job.body;
    object!({
        "mode": body.mode, "sources": body.source_kinds, "sinks": body.sink_kinds, "connections": body.connections,
        "schedule": body.schedule.as_ref().map(|(schedule, _)| schedule), "version": job.version,
    })
}

fn changed(kind: &str, job: &Job) -> Event {
    event(
        kind,
        &job.id,
        object!({"job_id": job.id, "tenant_id": job.tenant_id, "name": job.body.name, "version": job.version, "revision": job.revision}),
    )
}

async fn quota(writer: &mut Writer, most: u64) -> Result<()> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let row = writer
        .tx
        .fetch_optional(
            "SELECT count(*) FROM (SELECT id FROM jobs WHERE tenant_id = $1 AND deleted_at IS NULL LIMIT $2) AS few",
            args![&writer.tenant, most],
        )
        .await?;
    let there = row.ok_or_else(|| Error::internal("an aggregate without a row"))?.columns().int()?;
    if there >= most {
        return Err(Error::new("WEIR-STORE-030", Kind::Limit, format!("the tenant may have {most} pipelines and has them"))
            .hint("delete one, or ask for a larger quota (`max_pipelines`)"));
    }
    Ok(())
}

/// The job, unchanged until the writer ends; `WEIR-STORE-022` if it is not the revision that the caller saw.
async fn locked(writer: &mut Writer, id: &JobId, expected_revision: Option<i64>) -> Result<Job> {
    let sql = format!("{JOB} WHERE j.tenant_id = $1 AND j.id = $2 AND j.deleted_at IS NULL");
    let row = writer.tx.fetch_optional(sql, args![&writer.tenant, id]).await?.ok_or_else(missing)?;
    let job = read_job(&mut row.columns())?;
    match expected_revision {
        Some(expected) if expected != job.revision => Err(fault::stale("job")),
        _ => Ok(job),
    }
}

async fn put_version(writer: &mut Writer, job: &Job, note: &str) -> Result<()> {
    let (by, at) = (writer.actor.name.clone(), writer.now);
    let sql = "INSERT INTO job_versions (tenant_id, job_id, version, spec, created_by, created_at, note) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    writer.tx.later(sql, args![&job.tenant_id, &job.id, job.version, &job.body.spec, by, at, note]).await
}

async fn put_uses(writer: &mut Writer, job: &Job) -> Result<()> {
    let connections = job.body.connections.iter().map(|name| ("connection", name.as_str()));
    let jobs = job.body.depends_on.iter().map(|dependency| ("job", dependency.job_id.as_str()));
    for (kind, used) in connections.chain(jobs) {
        let sql = "INSERT INTO job_uses (tenant_id, kind, target, job_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        writer.tx.later(sql, args![&job.tenant_id, kind, used, &job.id]).await?;
    }
    Ok(())
}

/// Every dependency is a job of the tenant, and none leads back.
async fn check_dependencies(writer: &mut Writer, id: &JobId, depends_on: &[Dependency]) -> Result<()> {
    let refused = |why: String| {
        Err(Error::new("WEIR-STORE-025", Kind::Conflict, "the job cannot wait for that job")
            .because(why)
            .hint("see `depends_on`"))
    };
    for Dependency { job_id } in depends_on {
        if job_id == id {
            return refused("it would wait for itself".into());
        }
        if !exists(&mut writer.tx, &writer.tenant, job_id).await? {
            return refused(format!("there is no job `{job_id}`"));
        }
        let circle = writer
            .tx
            .fetch_optional(
                "WITH RECURSIVE behind (id) AS (\
                   SELECT u.target FROM job_uses u WHERE u.tenant_id = $1 AND u.kind = 'job' AND u.job_id = $2 \
                   UNION SELECT u.target FROM behind b JOIN job_uses u ON u.tenant_id = $1 AND u.kind = 'job' AND u.job_id = b.id\
                 ) SELECT id FROM behind WHERE id = $3 LIMIT 1",
                args![&writer.tenant, job_id, id],
            )
            .await?;
        if circle.is_some() {
            return refused(format!("`{job_id}` waits for this job itself, directly or through others"));
        }
    }
    Ok(())
}
