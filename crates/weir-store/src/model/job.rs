//! Jobs: a pipeline's spec with versions, a schedule and what it waits for.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{JobId, TenantId};

/// Whether a job may run by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Schedules and dependencies start it.
    Active,
    /// Only a person starts it.
    Paused,
}

/// What happens when a schedule fires while a run is still going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The new one is recorded as skipped.
    #[default]
    Skip,
    /// The new one waits.
    Queue,
}

/// What happens with fires missed while nobody was there to see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are gone.
    None,
    /// One run for all of them.
    #[default]
    Last,
    /// One run each, oldest first, at most 100.
    All,
}

/// When a job runs by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Five cron fields.
    pub cron: String,
    /// IANA zone.
    pub timezone: String,
    /// While a run is still going.
    #[serde(default)]
    pub overlap: Overlap,
    /// After a time without a scheduler.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// Each fire is delayed by a fixed amount below this, derived from the job's id.
    #[serde(default)]
    pub jitter_secs: u32,
}

/// A job's row in the scheduler's view.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleRow {
    /// Whose.
    pub tenant_id: TenantId,
    /// Which job.
    pub job_id: JobId,
    /// When it runs.
    pub schedule: Schedule,
    /// The next fire that nobody has taken yet, without jitter.
    pub next_fire_at: DateTime<Utc>,
    /// Whether a run of it waits or runs.
    pub unfinished: bool,
}

/// How often and how patiently a failed run is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts altogether; 1 = none after the first. A run that lost its worker is tried again beyond this, up to 20 times.
    pub max_attempts: u32,
    /// Wait before the second attempt, in seconds; doubles each time.
    pub backoff_secs: u32,
    /// The longest wait, in seconds.
    pub max_backoff_secs: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 3, backoff_secs: 10, max_backoff_secs: 600 }
    }
}

/// This job runs after another has succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The other job (of the same tenant).
    pub job_id: JobId,
}

/// A job to be stored. What is derived from the spec (mode, schedule, connectors) is derived by weir-control.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Unique among the tenant's jobs.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// The pipeline file as it was sent (YAML or JSON, any surface).
    pub spec: String,
    /// `batch`, `incremental`, `cdc`, `streaming`.
    pub mode: String,
    /// Kinds of the sources' connectors, for filters and metric labels.
    pub source_kinds: Vec<String>,
    /// Kinds of the sinks' connectors.
    pub sink_kinds: Vec<String>,
    /// Names of stored connections that the spec uses.
    pub connections: Vec<String>,
    /// When it runs by itself, with the first fire.
    pub schedule: Option<(Schedule, DateTime<Utc>)>,
    /// What it waits for.
    pub depends_on: Vec<Dependency>,
    /// How failed runs are tried again.
    pub retry: RetryPolicy,
    /// Seconds that a run may take; `None` = the platform's JOB_TIMEOUT_SECONDS.
    pub timeout_secs: Option<u64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whose.
    pub tenant_id: TenantId,
    /// Active or paused.
    pub status: JobStatus,
    /// Grows with each change of the spec, from 1; rollback makes a new one too.
    pub version: i64,
    /// Grows with each change of any kind; the ETag.
    pub revision: i64,
    /// Everything that its maker said. `schedule.1` is the next fire.
    pub body: NewJob,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When.
    pub updated_at: DateTime<Utc>,
    /// Who made it.
    pub created_by: String,
}

/// A job in a listing, without its spec.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSummary {
    /// Its id.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Active or paused.
    pub status: JobStatus,
    /// The version of its spec.
    pub version: i64,
    /// `batch`, ….
    pub mode: String,
    /// Kinds.
    pub source_kinds: Vec<String>,
    /// Kinds.
    pub sink_kinds: Vec<String>,
    /// When it runs by itself.
    pub schedule: Option<Schedule>,
    /// When it fires next.
    pub next_fire_at: Option<DateTime<Utc>>,
    /// Status of the newest run, if any.
    pub last_run_status: Option<super::RunStatus>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When.
    pub updated_at: DateTime<Utc>,
}

/// Which jobs; all conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Part of the name, case-insensitive.
    pub name_contains: Option<String>,
    /// Active or paused.
    pub status: Option<JobStatus>,
    /// `batch`, ….
    pub mode: Option<String>,
    /// A source or sink of this kind.
    pub kind: Option<String>,
    /// Label and value.
    pub label: Option<(String, String)>,
    /// The spec names this stored connection.
    pub connection: Option<String>,
    /// In which order.
    pub order: JobOrder,
}

/// In which order jobs are listed; those that are alike in it by their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobOrder {
    /// By what.
    pub by: JobKey,
    /// The largest first.
    pub descending: bool,
}

/// Newest first.
impl Default for JobOrder {
    fn default() -> Self {
        Self { by: JobKey::Created, descending: true }
    }
}

/// What jobs are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKey {
    /// When they were made.
    Created,
    /// Their names, in any case.
    Name,
    /// Whether they run by themselves.
    Status,
    /// When their newest run was queued; those that have none are the smallest.
    LastRun,
    /// How their newest run stands; those that have none are the smallest.
    LastRunStatus,
}

/// A kept version of a job's spec.
#[derive(Debug, Clone, PartialEq)]
pub struct JobVersion {
    /// From 1.
    pub version: i64,
    /// The spec.
    pub spec: String,
    /// Who.
    pub created_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Why: `created`, `updated`, `rolled back to 3`.
    pub note: String,
}
