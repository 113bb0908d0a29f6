//! What happened: audit rows, events in the outbox, and who is told.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{JobId, SubscriptionId, TenantId};

/// What a change says of itself; actor, time and chain are added by the store.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// `job.create`, `token.revoke`, `run.cancel`, `access.denied`.
    pub action: String,
    /// `job/0192…`.
    pub target: String,
    /// `allowed`, `denied` or `failed`.
    pub outcome: String,
    /// What changed, without secrets.
    pub detail: Value,
}

/// A row of the audit log. `hash = SHA-256(previous_hash ‖ canonical JSON of the other fields)`, chained per tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    /// Number in the tenant's chain, from 1, without gaps.
    pub seq: i64,
    /// Whose.
    pub tenant_id: TenantId,
    /// When.
    pub at: DateTime<Utc>,
    /// Principal id or `system:…`.
    pub actor_id: String,
    /// For people.
    pub actor_name: String,
    /// The request.
    pub request_id: Option<String>,
    /// The trace.
    pub trace_id: Option<String>,
    /// What was done.
    pub action: String,
    /// To what.
    pub target: String,
    /// `allowed`, `denied` or `failed`.
    pub outcome: String,
    /// What changed.
    pub detail: Value,
    /// Of the row before; 64 zeros for the first.
    pub previous_hash: String,
    /// Of this row.
    pub hash: String,
}

/// An event to be told to the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `seatunnel-job-completed`, `seatunnel-pipeline-created-events`, `alert.firing`, `run.started`, ….
    pub kind: String,
    /// The job it is about; events of one job are delivered in order.
    pub job_id: Option<JobId>,
    /// The CloudEvents `data`.
    pub data: Value,
}

/// An event in the outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxRow {
    /// Grows; the order of the changes (per job at least).
    pub seq: i64,
    /// Unique: the CloudEvents `id`.
    pub event_id: String,
    /// Whose.
    pub tenant_id: TenantId,
    /// What.
    pub event: Event,
    /// When the change was made.
    pub at: DateTime<Utc>,
}

/// How the delivery of an event to one destination stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The event.
    pub row: OutboxRow,
    /// `pulsar`, or a subscription's id.
    pub destination: String,
    /// Tries so far.
    pub attempts: u32,
}

/// Who wants to be told by HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// Whose.
    pub tenant_id: TenantId,
    /// Where to, as it may be shown: an address may be a secret.
    pub url: String,
    /// Which kinds; empty = all.
    pub kinds: Vec<String>,
    /// `cloudevents` or `slack`.
    pub format: String,
    /// The sealed rest: the whole address and the HMAC key.
    pub sealed: Option<super::SealedSecret>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// A subscription to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSubscription {
    /// Where to, as it may be shown: an address may be a secret.
    pub url: String,
    /// Which kinds; empty = all.
    pub kinds: Vec<String>,
    /// `cloudevents` or `slack`.
    pub format: String,
    /// The sealed rest: the whole address and the HMAC key.
    pub sealed: Option<super::SealedSecret>,
}

/// Which audit rows; all conditions hold. Newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Exactly this action.
    pub action: Option<String>,
    /// This principal's id.
    pub actor: Option<String>,
    /// At or after.
    pub since: Option<DateTime<Utc>>,
}

/// What a check of the audit log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditCheck {
    /// Rows looked at.
    pub rows: u64,
    /// The first fault, if any.
    pub broken: Option<Broken>,
}

/// Where an audit log is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Whose log.
    pub tenant_id: TenantId,
    /// The first row that does not fit.
    pub seq: i64,
    /// What is wrong with it.
    pub why: String,
}

/// An event that a subscription was not sent yet, or never will be.
#[derive(Debug, Clone, PartialEq)]
pub struct Undelivered {
    /// The event.
    pub row: OutboxRow,
    /// Tries so far.
    pub attempts: u32,
    /// The next try, or the end of the one that is under way; `None` = given up.
    pub next_at: Option<DateTime<Utc>>,
    /// Why the last try failed.
    pub error: Option<String>,
}
