//! Metric points, alert rules, alerts, schema drift.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AlertId, JobId, RuleId, RunId, SilenceId, TenantId};

/// One measured value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricPoint {
    /// Whose.
    pub tenant_id: TenantId,
    /// Of which job, if of one.
    pub job_id: Option<JobId>,
    /// Of which run, if of one.
    pub run_id: Option<RunId>,
    /// `rows_written`, `error_rate`, `processing_lag`, ….
    pub metric: String,
    /// Stream, sink type, ….
    pub labels: BTreeMap<String, String>,
    /// When.
    pub at: DateTime<Utc>,
    /// How much.
    pub value: f64,
}

/// Which points, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricQuery {
    /// Of one job, or all of the tenant.
    pub job_id: Option<JobId>,
    /// One metric, or all.
    pub metric: Option<String>,
    /// From, inclusive.
    pub from: DateTime<Utc>,
    /// To, exclusive.
    pub to: DateTime<Utc>,
    /// At most so many, the newest ones.
    pub limit: u32,
}

/// A rule to be stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewRule {
    /// What is watched.
    pub metric: String,
    /// It fires above this.
    pub threshold: f64,
    /// Over this long, seconds.
    pub window_secs: u32,
    /// `info`, `warning`, `critical`.
    pub severity: String,
    /// `webhook`, `slack`, `none`.
    pub action: String,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertRule {
    /// Its id.
    pub id: RuleId,
    /// Whose.
    pub tenant_id: TenantId,
    /// Of which job.
    pub job_id: JobId,
    /// What its maker said.
    pub body: NewRule,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Whether an alert still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It holds.
    Firing,
    /// It held.
    Resolved,
}

/// A rule that was broken, from when to when. At most one is firing per rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Its id.
    pub id: AlertId,
    /// The rule.
    pub rule_id: RuleId,
    /// Whose.
    pub tenant_id: TenantId,
    /// Of which job.
    pub job_id: JobId,
    /// Whether it still holds.
    pub state: AlertState,
    /// The value that broke the rule.
    pub value: f64,
    /// When it began.
    pub fired_at: DateTime<Utc>,
    /// When it ended.
    pub resolved_at: Option<DateTime<Utc>>,
}

/// No notifications of a job, or of all of the tenant, for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Of one job, or all.
    pub job_id: Option<JobId>,
    /// Until when.
    pub until: DateTime<Utc>,
    /// Why.
    pub reason: String,
}

/// A silence that holds.
#[derive(Debug, Clone, PartialEq)]
pub struct SilenceHeld {
    /// Its id.
    pub id: SilenceId,
    /// What was asked for.
    pub body: Silence,
}

/// A stream's schema changed between two runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Of which job.
    pub job_id: JobId,
    /// Seen by which run.
    pub run_id: RunId,
    /// Which stream.
    pub stream: String,
    /// `[{column, change: added|removed|type, from, to}]`.
    pub changes: Value,
    /// When.
    pub at: DateTime<Utc>,
}

/// A total over all runs that ever ended, or what one run adds to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunTotal {
    /// Whose.
    pub tenant_id: TenantId,
    /// The counter's name.
    pub metric: String,
    /// Its labels, without the tenant.
    pub labels: BTreeMap<String, String>,
    /// How much.
    pub value: f64,
}
