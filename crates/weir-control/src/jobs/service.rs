//! What may be done with jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use chrono::Utc;
use weir_error::{Kind, Secret};
use weir_spec::Diagnostic;
use weir_store::model::{Dependency, Job, JobId, JobStatus, NewJob, NewRule, PageRequest, Schedule, SealedSecret};
use weir_store::{Store, TenantScope, TenantStore};

use crate::Platform;
use crate::seal::{KeyRing, Place};
use crate::workbench::{Checked, Workbench};

use super::body::{self, Body};
use super::covered;
use super::derive::{self, Derived};
use super::refused::{Refused, Validation};
use super::secrets::{self, Taken};

/// The table of tenant secrets, as their seals know it.
pub(crate) const SECRETS: &str = "secret";

/// A stored job and what its author should know.
#[derive(Debug)]
pub struct Saved {
    /// As stored.
    pub job: Job,
    /// Warnings, and, for a job that this build cannot run yet, why it is paused.
    pub warnings: Vec<Diagnostic>,
    /// Names of the secrets that were taken out of the spec by this request.
    pub sealed: Vec<String>,
}

/// Decides about jobs. Cheap to clone.
#[derive(Clone)]
pub struct JobService {
    store: Store,
    keys: Arc<KeyRing>,
    workbench: Arc<dyn Workbench>,
    kinds: Arc<OnceLock<BTreeMap<String, String>>>,
}

/// A request that may be stored.
struct Ready {
    job: NewJob,
    rules: Vec<NewRule>,
    secrets: Vec<(String, SealedSecret)>,
    warnings: Vec<Diagnostic>,
    /// Whether this build can run it.
    available: bool,
}

impl JobService {
    /// With what a platform has.
    pub fn of(platform: &Platform) -> Self {
        Self::new(platform.store.clone(), platform.keys.clone(), platform.workbench.clone())
    }

    /// From its parts.
    pub fn new(store: Store, keys: Arc<KeyRing>, workbench: Arc<dyn Workbench>) -> Self {
        Self { store, keys, workbench, kinds: Arc::default() }
    }

    fn kinds(&self) -> &BTreeMap<String, String> {
        self.kinds.get_or_init(|| derive::kinds(self.workbench.as_ref()))
    }

    /// Makes a job of a request body: a pipeline in any form, or `{"spec": …}` with settings beside it. Secrets in it are sealed.
    /// A job that this build cannot run yet (a connector is missing) is stored paused.
    pub async fn create(&self, scope: &TenantScope, request: &str) -> Result<Saved, Refused> {
        let id = JobId::generate();
        self.create_as(scope, id, body::read(request)?, JobStatus::Active).await
    }

    async fn create_as(&self, scope: &TenantScope, id: JobId, body: Body, status: JobStatus) -> Result<Saved, Refused> {
        let store = self.store.tenant(scope);
        let ready = self.ready(scope, &store, &id, body).await?;
        let sealed = ready.secrets.iter().map(|(name, _)| name.clone()).collect();
        // From the start: a fire between two steps would be a run that nobody wants.
        let status = if ready.available { status } else { JobStatus::Paused };
        let job = store.create_job_with(id, ready.job, ready.rules, ready.secrets, status).await?;
        Ok(Saved { job, warnings: ready.warnings, sealed })
    }

    /// Replaces a job by a request body; what the body does not say is the default again. A new version only if the spec changed.
    /// Refused with `WEIR-STORE-022` when the revision is another one than expected.
    pub async fn update(
        &self,
        scope: &TenantScope,
        id: &JobId,
        expected_revision: Option<i64>,
        request: &str,
    ) -> Result<Saved, Refused> {
        let store = self.store.tenant(scope);
        let before = store.job(id).await?;
        let ready = self.ready(scope, &store, id, body::read(request)?).await?;
        self.put(&store, &before, expected_revision, ready, "updated").await
    }

    /// Brings back a former version's spec, as a new version. What was derived from the spec is derived again; what was set
    /// beside it (name, retries, dependencies, a schedule of its own) stays.
    pub async fn rollback(
        &self,
        scope: &TenantScope,
        id: &JobId,
        expected_revision: Option<i64>,
        version: i64,
    ) -> Result<Saved, Refused> {
        let store = self.store.tenant(scope);
        let before = store.job(id).await?;
        let wanted = store.job_version(id, version).await?;
        let stored = stored_connections(&store, &before.body.spec).await?;
        let present = covered::check(self.workbench.as_ref(), &before.body.spec, FILE, &stored);
        let present = derive::derive(&present, scope.tenant(), self.kinds()).ok();
        let follows = |value: &dyn Fn(&Derived) -> bool| present.as_ref().is_some_and(value);
        let old = &before.body;
        let schedule = old.schedule.as_ref().map(|(schedule, _)| schedule.clone());
        let body = Body {
            spec: wanted.spec,
            bare: false,
            name: Some(old.name.clone()),
            description: old.description.clone().filter(|_| !follows(&|derived| derived.description == old.description)),
            labels: if follows(&|derived| derived.labels == old.labels) { BTreeMap::new() } else { old.labels.clone() },
            schedule: if follows(&|derived| derived.schedule == schedule) { None } else { Some(schedule) },
            retry: old.retry.clone(),
            timeout_secs: old.timeout_secs,
            depends_on: old.depends_on.iter().map(|dependency| dependency.job_id.to_string()).collect(),
        };
        let ready = self.ready(scope, &store, id, body).await?;
        self.put(&store, &before, expected_revision, ready, &format!("rolled back to {version}")).await
    }

    async fn put(
        &self,
        store: &TenantStore,
        before: &Job,
        expected_revision: Option<i64>,
        mut ready: Ready,
        note: &str,
    ) -> Result<Saved, Refused> {
        // A schedule that stays the same keeps its next fire: an update neither skips nor repeats one.
        if let (Some((new, _)), Some((old, next))) = (&ready.job.schedule, &before.body.schedule)
            && new == old
        {
            ready.job.schedule = Some((old.clone(), *next));
        }
        // Rules that somebody set by themselves stay unless the spec has some.
        let rules = (!ready.rules.is_empty()).then_some(ready.rules);
        let sealed: Vec<String> = ready.secrets.iter().map(|(name, _)| name.clone()).collect();
        let mut job = store.update_job_with(&before.id, expected_revision, ready.job, note, rules, ready.secrets).await?;
        if !ready.available && job.status == JobStatus::Active {
            job = store.set_job_status(&job.id, JobStatus::Paused).await?;
        }
        Ok(Saved { job, warnings: ready.warnings, sealed })
    }

    /// A copy under another name, paused, with its own copies of the secrets in its spec.
    pub async fn clone_job(&self, scope: &TenantScope, id: &JobId, name: &str) -> Result<Saved, Refused> {
        let store = self.store.tenant(scope);
        let of = store.job(id).await?.body;
        let body = Body {
            spec: of.spec,
            bare: false,
            name: Some(name.into()),
            description: of.description,
            labels: of.labels,
            schedule: Some(of.schedule.map(|(schedule, _)| schedule)),
            retry: of.retry,
            timeout_secs: of.timeout_secs,
            depends_on: of.depends_on.iter().map(|dependency| dependency.job_id.to_string()).collect(),
        };
        self.create_as(scope, JobId::generate(), body, JobStatus::Paused).await
    }

    /// Takes a job out of service: queued runs are cancelled, running ones asked to stop. Its secrets go with it.
    pub async fn delete(&self, scope: &TenantScope, id: &JobId, expected_revision: Option<i64>) -> Result<(), Refused> {
        Ok(self.store.tenant(scope).delete_job(id, expected_revision).await?)
    }

    /// Only a person starts it from now on.
    pub async fn pause(&self, scope: &TenantScope, id: &JobId) -> Result<Job, Refused> {
        Ok(self.store.tenant(scope).set_job_status(id, JobStatus::Paused).await?)
    }

    /// Schedule and dependencies start it again. Fires while it was paused are not missed ones: the next one counts. Refused while the
    /// spec has errors.
    pub async fn resume(&self, scope: &TenantScope, id: &JobId) -> Result<Job, Refused> {
        let store = self.store.tenant(scope);
        let job = store.job(id).await?;
        let stored = stored_connections(&store, &job.body.spec).await?;
        let checked = covered::check(self.workbench.as_ref(), &job.body.spec, FILE, &stored);
        if checked.has_errors() {
            return Err(Refused::Diagnostics(checked.diagnostics));
        }
        let next = match job.body.schedule {
            Some((schedule, _)) if job.status == JobStatus::Paused => Some(derive::first_fire(schedule, Utc::now())?.1),
            Some((_, next)) => Some(next),
            None => None,
        };
        Ok(store.resume_job(id, next).await?)
    }

    /// A stored job's pipeline, as this build reads it now.
    pub async fn look(&self, scope: &TenantScope, id: &JobId) -> Result<Checked, Refused> {
        let store = self.store.tenant(scope);
        let job = store.job(id).await?;
        let stored = stored_connections(&store, &job.body.spec).await?;
        Ok(covered::check(self.workbench.as_ref(), &job.body.spec, FILE, &stored))
    }

    /// The same of a version that is kept.
    pub async fn look_at_version(&self, scope: &TenantScope, id: &JobId, version: i64) -> Result<Checked, Refused> {
        let store = self.store.tenant(scope);
        let spec = store.job_version(id, version).await?.spec;
        let stored = stored_connections(&store, &spec).await?;
        Ok(covered::check(self.workbench.as_ref(), &spec, FILE, &stored))
    }

    /// What creating a job of this body would say. Nothing is stored.
    pub async fn validate(&self, scope: &TenantScope, request: &str) -> Result<Validation, Refused> {
        let store = self.store.tenant(scope);
        let body = match body::read(request) {
            Ok(body) => body,
            Err(Refused::Diagnostics(diagnostics)) => return Ok(Validation { valid: false, diagnostics, pipeline: None }),
            Err(refused) => return Err(refused),
        };
        let stored = stored_connections(&store, &body.spec).await?;
        let checked = covered::check(self.workbench.as_ref(), &body.spec, FILE, &stored);
        let (mut diagnostics, mut valid) = (checked.diagnostics.clone(), !checked.has_errors());
        let pipeline = match derive::derive(&checked, scope.tenant(), self.kinds()) {
            Ok(mut derived) => {
                let name = job_name(body.name.unwrap_or_else(|| derived.name.clone())).map(|name| derived.name = name);
                derived.labels.extend(body.labels);
                for refused in [name, labels_rule(&derived.labels)].into_iter().filter_map(Result::err) {
                    valid = false;
                    diagnostics.extend_from_slice(refused.diagnostics());
                }
                derived.name = derived.name.chars().take(200).collect();
                if let Some(schedule) = body.schedule {
                    derived.schedule = schedule;
                }
                if let Some(schedule) = derived.schedule.clone()
                    && let Err(refused) = derive::first_fire(schedule, Utc::now())
                {
                    valid = false;
                    diagnostics.extend_from_slice(refused.diagnostics());
                }
                Some(derived.understood())
            }
            // Where there is no pipeline, the checker has said why.
            Err(refused) if valid || !checked.pipelines.is_empty() => {
                valid = false;
                diagnostics.extend_from_slice(refused.diagnostics());
                None
            }
            Err(_) => None,
        };
        if let Err(refused) = self.missing_connections(&store, pipeline.as_ref().map_or(&[], |known| &known.connections)).await {
            valid = false;
            diagnostics.extend_from_slice(refused.diagnostics());
        }
        Ok(Validation { valid, diagnostics, pipeline })
    }

    async fn ready(&self, scope: &TenantScope, store: &TenantStore, id: &JobId, body: Body) -> Result<Ready, Refused> {
        let stored = stored_connections(store, &body.spec).await?;
        let check = |text: &str| covered::check(self.workbench.as_ref(), text, FILE, &stored);
        let (spec, copied) = self.copied_secrets(scope, store, id, body.spec).await?;
        let checked = check(&spec);
        let available = !checked.has_errors();
        if !available && !derive::only_unavailable(&checked, self.kinds()) {
            return Err(Refused::Diagnostics(checked.diagnostics));
        }
        let Taken { text, secrets, checked } = secrets::take_out(&spec, checked, &|| secrets::fresh_name(id), &check)?;
        let derived = derive::derive(&checked, scope.tenant(), self.kinds())?;
        self.missing_connections(store, &derived.connections).await?;
        self.missing_secrets(store, &text, &secrets, &copied).await?;

        let name = job_name(body.name.unwrap_or_else(|| derived.name.clone()))?;
        let mut labels = derived.labels;
        labels.extend(body.labels);
        labels_rule(&labels)?;
        let schedule = body.schedule.unwrap_or(derived.schedule);
        let schedule = schedule.map(|schedule: Schedule| derive::first_fire(schedule, Utc::now())).transpose()?;
        // The job JSON's own description, not the one that carries the name too; with its secrets gone.
        let described =
            if body.bare { described(&text).or(derived.description) } else { body.description.or(derived.description) };
        let depends_on = dependencies(store, body.depends_on).await?;
        let mut sealed = Vec::with_capacity(secrets.len() + copied.len());
        for (name, value) in secrets.into_iter().chain(copied) {
            let place = Place { tenant: scope.tenant(), table: SECRETS, row: &name };
            sealed.push((name.clone(), self.keys.seal_text(&place, &value)?));
        }
        let warnings =
            checked.diagnostics.into_iter().map(|problem| Diagnostic { severity: weir_spec::Severity::Warning, ..problem });
        Ok(Ready {
            job: NewJob {
                name,
                description: described,
                spec: text,
                mode: derived.mode,
                source_kinds: derived.source_kinds,
                sink_kinds: derived.sink_kinds,
                connections: derived.connections,
                schedule,
                depends_on,
                retry: body.retry,
                timeout_secs: body.timeout_secs,
                labels,
            },
            rules: derived.rules,
            secrets: sealed,
            warnings: warnings.collect(),
            available,
        })
    }

    /// References to secrets of other jobs become references to copies of its own: the other job may be deleted.
    async fn copied_secrets(
        &self,
        scope: &TenantScope,
        store: &TenantStore,
        id: &JobId,
        mut spec: String,
    ) -> Result<(String, BTreeMap<String, Secret>), Refused> {
        let mut copies = BTreeMap::new();
        for name in secrets::references(&spec) {
            let Some(job) = secrets::owner(&name).filter(|job| *job != id.as_str()) else { continue };
            let Some(sealed) = store.secret(&name).await? else {
                return Err(Refused::at(
                    "WEIR-JOB-006",
                    "",
                    format!("the spec uses a secret of job {job} that does not exist"),
                    "write the secret itself; it is sealed and not shown again",
                ));
            };
            let value = self.keys.open_text(&Place { tenant: scope.tenant(), table: SECRETS, row: &name }, &sealed)?;
            let copy = secrets::fresh_name(id);
            spec = secrets::renamed(&spec, &name, &copy)?;
            copies.insert(copy, value);
        }
        Ok((spec, copies))
    }

    async fn missing_connections(&self, store: &TenantStore, names: &[String]) -> Result<(), Refused> {
        let mut problems = Vec::new();
        for name in names {
            if store.connection_by_name(name).await?.is_none() {
                let shown: String = name.chars().take(63).collect();
                problems.push(
                    Diagnostic::error("WEIR-JOB-007", format!("there is no stored connection `{shown}`"))
                        .at("connection", None)
                        .help("store it first (POST /api/v1/connections), or declare it under `connections`"),
                );
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Refused::Diagnostics(problems)) }
    }

    /// Secrets of this job that the text names and that are not there: a reference typed by hand. Others may still be stored later.
    async fn missing_secrets(
        &self,
        store: &TenantStore,
        text: &str,
        new: &BTreeMap<String, Secret>,
        copied: &BTreeMap<String, Secret>,
    ) -> Result<(), Refused> {
        for name in secrets::references(text) {
            if secrets::owner(&name).is_some()
                && !new.contains_key(&name)
                && !copied.contains_key(&name)
                && store.secret(&name).await?.is_none()
            {
                return Err(Refused::at(
                    "WEIR-JOB-006",
                    "",
                    format!("the spec uses the secret `{name}`, which does not exist"),
                    "write the secret itself; it is sealed and not shown again",
                ));
            }
        }
        Ok(())
    }
}

/// What diagnostics call the spec.
const FILE: &str = "spec";

/// Names and kinds of the stored connections, if the text can use any.
async fn stored_connections(store: &TenantStore, spec: &str) -> Result<Vec<(String, String)>, Refused> {
    let mut out = Vec::new();
    if !spec.contains("connection") {
        return Ok(out);
    }
    let mut page = PageRequest { limit: 500, cursor: None };
    loop {
        let found = store.list_connections(&page).await?;
        out.extend(found.items.into_iter().map(|connection| (connection.body.name, connection.body.kind)));
        match found.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => return Ok(out),
        }
    }
}

async fn dependencies(store: &TenantStore, jobs: Vec<String>) -> Result<Vec<Dependency>, Refused> {
    let (mut out, mut problems) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for (index, job) in jobs.iter().enumerate() {
        let by_id = match store.job(&JobId::from(job.as_str())).await {
            Ok(found) => Some(found.id),
            Err(error) if error.kind() == Kind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let found = match by_id {
            Some(id) => Some(id),
            None => store.job_by_name(job).await?.map(|job| job.id),
        };
        match found {
            Some(job_id) if seen.insert(job_id.clone()) => out.push(Dependency { job_id }),
            Some(_) => {}
            None => {
                let shown: String = job.chars().take(63).collect();
                problems.push(
                    Diagnostic::error("WEIR-JOB-008", format!("there is no job `{shown}`"))
                        .at(format!("depends_on[{index}]"), None)
                        .help("name a job of this tenant, or give its id"),
                );
            }
        }
    }
    if problems.is_empty() { Ok(out) } else { Err(Refused::Diagnostics(problems)) }
}

fn job_name(name: String) -> Result<String, Refused> {
    let name = name.trim();
    let length = name.chars().count();
    if (1..=200).contains(&length) && !name.chars().any(char::is_control) {
        return Ok(name.into());
    }
    Err(Refused::at("WEIR-JOB-009", "name", "a job's name has 1 to 200 characters on one line", "choose a shorter one"))
}

fn labels_rule(labels: &BTreeMap<String, String>) -> Result<(), Refused> {
    let fine = |(key, value): (&String, &String)| {
        (1..=63).contains(&key.chars().count())
            && value.chars().count() <= 255
            && !(key.clone() + value).chars().any(char::is_control)
    };
    if labels.len() <= 50 && labels.iter().all(fine) {
        return Ok(());
    }
    let help = "at most 50 labels, keys of 1 to 63 characters, values of at most 255, on one line";
    Err(Refused::at("WEIR-JOB-009", "labels", "these labels cannot be kept", help))
}

/// `description` of a job JSON, as written.
fn described(text: &str) -> Option<String> {
    let documents = weir_spec::texts(text)?.documents;
    let object = documents.first()?.as_object().filter(|object| !object.contains_key("pipeline"))?;
    object.get("name")?;
    Some(object.get("description").and_then(serde_json::Value::as_str).unwrap_or_default().into())
        .filter(|text: &String| !text.is_empty())
}
