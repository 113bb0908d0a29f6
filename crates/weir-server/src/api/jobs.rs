//! Jobs: create, list, get, update, delete, versions, rollback, run, pause, resume, clone.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::schema::{AnyOfBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};
use weir_control::access::Caller;
use weir_control::jobs::Saved;
use weir_control::runs::RunService;
use weir_store::model::{self, JobFilter, JobId};

use super::page::Page;
use super::words::{self, CatchUp, JobStatus, Overlap, RunStatus};
use crate::answer::{Answer, Reply, ReplyExt};
use crate::ask::Ask;
use crate::problem::{Problem, ProblemPart};

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    /// Its id.
    pub id: String,
    /// Whose.
    pub tenant_id: String,
    /// Unique in the tenant.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Whether it runs by itself.
    pub status: JobStatus,
    /// `batch`, `incremental`, `cdc`, `streaming`.
    pub mode: String,
    /// Grows with each change of the spec, from 1.
    pub version: i64,
    /// Grows with each change of any kind; the ETag.
    pub revision: i64,
    /// The pipeline file, its secrets replaced by references.
    pub spec: String,
    /// Kinds of the sources' connectors.
    pub source_kinds: Vec<String>,
    /// Kinds of the sinks' connectors.
    pub sink_kinds: Vec<String>,
    /// Stored connections that it uses.
    pub connections: Vec<String>,
    /// When it runs by itself.
    pub schedule: Option<ScheduleView>,
    /// Ids of the jobs that it waits for.
    pub depends_on: Vec<String>,
    /// How failed runs are tried again.
    pub retry: RetryView,
    /// Seconds that a run may take; null = the platform's limit.
    pub timeout_secs: Option<u64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: DateTime<Utc>,
    /// Who made it.
    pub created_by: String,
    /// What its author should know; only in the answer to a change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub warnings: Vec<ProblemPart>,
}

/// When a job runs by itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Schedule)]
pub struct ScheduleView {
    /// Five cron fields.
    pub cron: String,
    /// IANA zone.
    pub timezone: String,
    /// While a run is going.
    pub overlap: Overlap,
    /// After a time without a scheduler.
    pub catch_up: CatchUp,
    /// Each fire is delayed by a fixed amount below this.
    #[schema(minimum = 0)]
    pub jitter_secs: u32,
    /// The next fire, without jitter.
    #[schema(value_type = String, format = DateTime)]
    pub next_fire_at: DateTime<Utc>,
}

/// How failed runs are tried again.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Retry)]
pub struct RetryView {
    /// Attempts altogether.
    #[schema(minimum = 1, maximum = 20)]
    pub max_attempts: u32,
    /// Before the second attempt; doubles each time.
    #[schema(minimum = 0, maximum = 86400)]
    pub backoff_secs: u32,
    /// At most.
    #[schema(minimum = 0, maximum = 86400)]
    pub max_backoff_secs: u32,
}

impl From<model::Job> for JobView {
    fn from(job: model::Job) -> Self {
        let body = job.body;
        Self {
            id: job.id.to_string(),
            tenant_id: job.tenant_id.to_string(),
            name: body.name,
            description: body.description,
            status: job.status.into(),
            mode: body.mode,
            version: job.version,
            revision: job.revision,
            spec: body.spec,
            source_kinds: body.source_kinds,
            sink_kinds: body.sink_kinds,
            connections: body.connections,
            schedule: body.schedule.map(|(schedule, next_fire_at)| ScheduleView {
                cron: schedule.cron,
                timezone: schedule.timezone,
                overlap: schedule.overlap.into(),
                catch_up: schedule.catch_up.into(),
                jitter_secs: schedule.jitter_secs,
                next_fire_at,
            }),
            depends_on: body.depends_on.into_iter().map(|dependency| dependency.job_id.to_string()).collect(),
            retry: RetryView {
                max_attempts: body.retry.max_attempts,
                backoff_secs: body.retry.backoff_secs,
                max_backoff_secs: body.retry.max_backoff_secs,
            },
            timeout_secs: body.timeout_secs,
            labels: body.labels,
            created_at: job.created_at,
            updated_at: job.updated_at,
            created_by: job.created_by,
            warnings: Vec::new(),
        }
    }
}

/// A job in a listing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobSummary)]
pub struct JobSummaryView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Whether it runs by itself.
    pub status: JobStatus,
    /// `batch`, `incremental`, `cdc`, `streaming`.
    pub mode: String,
    /// The version of its spec.
    pub version: i64,
    /// Kinds.
    pub source_kinds: Vec<String>,
    /// Kinds.
    pub sink_kinds: Vec<String>,
    /// The cron expression.
    pub cron: Option<String>,
    /// Its IANA zone.
    pub timezone: Option<String>,
    /// When it fires next.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_fire_at: Option<DateTime<Utc>>,
    /// Of the newest run.
    pub last_run_status: Option<RunStatus>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: DateTime<Utc>,
}

impl From<model::JobSummary> for JobSummaryView {
    fn from(job: model::JobSummary) -> Self {
        let (cron, timezone) = job.schedule.map(|schedule| (schedule.cron, schedule.timezone)).unzip();
        Self {
            id: job.id.to_string(),
            name: job.name,
            description: job.description,
            status: job.status.into(),
            mode: job.mode,
            version: job.version,
            source_kinds: job.source_kinds,
            sink_kinds: job.sink_kinds,
            cron,
            timezone,
            next_fire_at: job.next_fire_at,
            last_run_status: job.last_run_status.map(Into::into),
            labels: job.labels,
            created_at: job.created_at,
            updated_at: job.updated_at,
        }
    }
}

/// A kept version of a job's spec.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobVersion)]
pub struct VersionView {
    /// From 1.
    pub version: i64,
    /// The pipeline file.
    pub spec: String,
    /// Who.
    pub created_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
    /// Why: `created`, `updated`, `rolled back to 3`.
    pub note: String,
}

impl From<model::JobVersion> for VersionView {
    fn from(version: model::JobVersion) -> Self {
        Self {
            version: version.version,
            spec: version.spec,
            created_by: version.created_by,
            created_at: version.created_at,
            note: version.note,
        }
    }
}

/// A job as it is sent: a pipeline file in any of its forms, or an envelope with one as text.
#[derive(Debug)]
pub struct JobBody;

impl PartialSchema for JobBody {
    fn schema() -> RefOr<Schema> {
        let any = AnyOfBuilder::new()
            .item(Ref::from_schema_name("JobEnvelope"))
            .item(Ref::from_schema_name("JobJson"))
            .item(Ref::from_schema_name("PipelineFile"))
            .item(Ref::from_schema_name("IngestionSpec"))
            .description(Some(
                "A pipeline file in one of its forms, or an envelope with one as text; as YAML just as well as JSON.",
            ))
            .build();
        RefOr::T(Schema::AnyOf(any))
    }
}

impl ToSchema for JobBody {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("JobEnvelope".into(), JobEnvelope::schema()));
        schemas.push(("JobJson".into(), JobJson::schema()));
        schemas.push(("PipelineFile".into(), PipelineFile::schema()));
        schemas.push(("IngestionSpec".into(), IngestionSpec::schema()));
        JobEnvelope::schemas(schemas);
        JobJson::schemas(schemas);
    }
}

/// A pipeline file as text, with what the platform adds to it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct JobEnvelope {
    /// The pipeline file: YAML or JSON, any form; exactly one pipeline.
    #[schema(min_length = 1, max_length = 1000000)]
    pub spec: String,
    /// Else the pipeline's.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f]*$")]
    pub name: Option<String>,
    /// Else the pipeline's.
    #[schema(max_length = 2000)]
    pub description: Option<String>,
    /// Added to the pipeline's.
    #[schema(required = false)]
    pub labels: BTreeMap<String, String>,
    /// How failed runs are tried again.
    pub retry: Option<RetryView>,
    /// Seconds that a run may take.
    #[schema(minimum = 1, maximum = 604800)]
    pub timeout_secs: Option<u64>,
    /// Names or ids of jobs that it waits for.
    #[schema(required = false, max_items = 50)]
    pub depends_on: Vec<String>,
    /// When it runs by itself.
    pub schedule: Option<ScheduleBody>,
}

/// When a job runs by itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct ScheduleBody {
    /// Five cron fields.
    #[schema(min_length = 9, max_length = 200)]
    pub cron: String,
    /// IANA zone.
    #[schema(required = false, default = "UTC", max_length = 64)]
    pub timezone: String,
    /// While a run is going.
    #[schema(required = false)]
    pub overlap: Overlap,
    /// After a time without a scheduler.
    #[schema(required = false)]
    pub catch_up: CatchUp,
    /// Each fire is delayed by a fixed amount below this.
    #[schema(required = false, maximum = 86400)]
    pub jitter_secs: u32,
}

/// The job JSON of seed 000. `weir spec schema` has the whole schema of pipeline files.
#[derive(Debug, ToSchema)]
#[allow(dead_code)]
pub struct JobJson {
    /// Its name.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f]*$")]
    pub name: String,
    /// Free text.
    #[schema(max_length = 2000)]
    pub description: Option<String>,
    /// `connector_type`, `connection_params`, ….
    #[schema(value_type = Object)]
    pub source: Value,
    /// `connector_type`, `connection_params`, ….
    #[schema(value_type = Option<Object>)]
    pub sink: Option<Value>,
    /// Several of them.
    #[schema(value_type = Option<Vec<Object>>)]
    pub sinks: Option<Value>,
    /// In order.
    #[schema(value_type = Option<Vec<Object>>)]
    pub transforms: Option<Value>,
    /// `batch`, `incremental`, `cdc`, `streaming`.
    pub sync_mode: Option<String>,
    /// Five cron fields.
    pub schedule: Option<String>,
}

/// A pipeline file in the native form. `weir spec schema` has the whole schema of pipeline files.
#[derive(Debug, ToSchema)]
#[allow(dead_code)]
pub struct PipelineFile {
    /// The pipeline's name.
    #[schema(min_length = 1)]
    pub pipeline: String,
}

/// A unified ingestion spec, v1.1. `weir spec schema` has the whole schema of pipeline files.
#[derive(Debug, ToSchema)]
#[allow(dead_code)]
pub struct IngestionSpec {
    /// `1.1`.
    pub version: String,
    /// What is read: `connector_type` or `type`, and its parameters.
    #[schema(value_type = Object)]
    pub provider: Value,
}

/// `GET /jobs`.
pub async fn list(ask: Ask, me: Caller) -> Reply {
    let text = |name: &str| ask.values.text(name).map(str::to_owned);
    let label = ask.values.text("label").and_then(|label| label.split_once([':', '=']));
    let filter = JobFilter {
        name_contains: text("name"),
        status: words::read::<JobStatus>(ask.values.text("status")).map(Into::into),
        mode: text("mode"),
        kind: text("connector"),
        label: label.map(|(name, value)| (name.to_owned(), value.to_owned())),
        connection: text("connection"),
        order: words::job_order(ask.values.text("sort")),
    };
    let page = ask.app.tenant(&me.scope).list_jobs(&filter, &ask.page()).await?;
    Answer::json(&Page::<JobSummaryView>::of(page))
}

fn shown(job: model::Job) -> Reply {
    let revision = job.revision;
    Answer::json(&JobView::from(job)).etag(revision)
}

fn view(saved: Saved) -> JobView {
    let warnings = saved.warnings.iter().map(ProblemPart::of).collect();
    JobView { warnings, ..JobView::from(saved.job) }
}

fn changed(saved: Saved) -> Reply {
    let revision = saved.job.revision;
    Answer::json(&view(saved)).etag(revision)
}

fn made(saved: Saved) -> Reply {
    let (revision, place) = (saved.job.revision, format!("/api/v1/jobs/{}", saved.job.id));
    Answer::created(&view(saved)).etag(revision).location(&place)
}

/// `GET /jobs/{job_id}`.
pub async fn get(ask: Ask, me: Caller) -> Reply {
    shown(ask.app.tenant(&me.scope).job(&JobId::from(ask.id("job_id"))).await?)
}

/// `DELETE /jobs/{job_id}`. Its journal goes in the background.
pub async fn delete(ask: Ask, me: Caller) -> Reply {
    ask.app.jobs.delete(&me.scope, &JobId::from(ask.id("job_id")), ask.expected()).await?;
    ask.app.platform.signals.job_deleted();
    Answer::no_content()
}

/// `GET /jobs/{job_id}/versions`.
pub async fn versions(ask: Ask, me: Caller) -> Reply {
    let page = ask.app.tenant(&me.scope).job_versions(&JobId::from(ask.id("job_id")), &ask.page()).await?;
    Answer::json(&Page::<VersionView>::of(page))
}

/// `GET /jobs/{job_id}/versions/{version}`.
pub async fn version(ask: Ask, me: Caller) -> Reply {
    let version = ask.values.integer("version").unwrap_or_default();
    let version = ask.app.tenant(&me.scope).job_version(&JobId::from(ask.id("job_id")), version).await?;
    Answer::json(&VersionView::from(version))
}

/// `POST /jobs/{job_id}/run`.
pub async fn run(ask: Ask, me: Caller) -> Reply {
    let run = run_now(&ask, &me, JobId::from(ask.id("job_id"))).await?;
    super::runs::queued(&ask.app.tenant(&me.scope), run).await
}

async fn run_now(ask: &Ask, me: &Caller, job_id: JobId) -> Result<model::Run, Problem> {
    Ok(RunService::new(&ask.app.platform, &me.scope).request_run(&job_id).await?)
}

/// Which version to go back to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// A kept version.
    #[schema(minimum = 1, maximum = 9007199254740991i64)]
    pub version: i64,
}

/// What to call a copy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloneBody {
    /// Unique in the tenant.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f]*$")]
    pub name: String,
}

/// The body as text.
pub fn text_of(ask: &Ask) -> Result<&str, Problem> {
    let text = std::str::from_utf8(&ask.body).map_err(|_| Problem::bad_request("WEIR-API-016", "the body is not UTF-8 text"))?;
    match text.contains('\0') {
        true => Err(Problem::bad_request("WEIR-API-016", "the body has a NUL character")),
        false => Ok(text),
    }
}

/// `POST /jobs`.
pub async fn create(ask: Ask, me: Caller) -> Reply {
    made(ask.app.jobs.create(&me.scope, text_of(&ask)?).await?)
}

/// `PUT /jobs/{job_id}`.
pub async fn update(ask: Ask, me: Caller) -> Reply {
    let id = JobId::from(ask.id("job_id"));
    changed(ask.app.jobs.update(&me.scope, &id, ask.expected(), text_of(&ask)?).await?)
}

/// `POST /jobs/{job_id}/rollback`.
pub async fn rollback(ask: Ask, me: Caller) -> Reply {
    let body: Rollback = ask.json()?;
    let id = JobId::from(ask.id("job_id"));
    changed(ask.app.jobs.rollback(&me.scope, &id, ask.expected(), body.version).await?)
}

/// `POST /jobs/{job_id}/clone`.
pub async fn copy(ask: Ask, me: Caller) -> Reply {
    let body: CloneBody = ask.json()?;
    made(ask.app.jobs.clone_job(&me.scope, &JobId::from(ask.id("job_id")), &body.name).await?)
}

/// `POST /jobs/{job_id}/pause`.
pub async fn pause(ask: Ask, me: Caller) -> Reply {
    shown(ask.app.jobs.pause(&me.scope, &JobId::from(ask.id("job_id"))).await?)
}

/// `POST /jobs/{job_id}/resume`.
pub async fn resume(ask: Ask, me: Caller) -> Reply {
    shown(ask.app.jobs.resume(&me.scope, &JobId::from(ask.id("job_id"))).await?)
}

/// Stores the text as the job of its name, if it is not that already, and runs it.
pub async fn execute_text(ask: &Ask, me: &Caller, text: &str) -> Result<(model::Run, String), Problem> {
    let known = match name_of(text) {
        Some(name) => ask.app.tenant(&me.scope).job_by_name(&name).await?,
        None => None,
    };
    let saved = match known {
        Some(job) if job.body.spec == text => return Ok((run_now(ask, me, job.id).await?, job.body.name)),
        Some(job) => ask.app.jobs.update(&me.scope, &job.id, None, text).await?,
        None => ask.app.jobs.create(&me.scope, text).await?,
    };
    Ok((run_now(ask, me, saved.job.id).await?, saved.job.body.name))
}

/// The name under which a spec is stored: `pipeline` of the native form, `name` of the others.
fn name_of(text: &str) -> Option<String> {
    let documents = weir_spec::texts(text)?.documents;
    let object = documents.first()?.as_object()?;
    let name = object.get("pipeline").or_else(|| object.get("name"))?;
    name.as_str().map(|name| name.trim().to_owned())
}
