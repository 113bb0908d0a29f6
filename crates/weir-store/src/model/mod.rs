//! What is stored, as plain types. Times are UTC; ids are opaque texts (UUIDv7, but nobody may rely on it).

mod access;
mod connection;
mod idempotency;
mod ids;
mod job;
mod monitoring;
mod run;
mod trail;

pub use access::{ApiToken, Counts, NewToken, Principal, PrincipalKind, Quotas, Role, Tenant, TenantStatus, Usage};
pub use connection::{Connection, NewConnection, SealedSecret, SecretName};
pub use idempotency::{Idempotent, StoredResponse};
pub use ids::{AlertId, ConnectionId, JobId, PrincipalId, RuleId, RunId, SilenceId, SubscriptionId, TenantId, TokenId};
pub use job::{
    CatchUp, Dependency, Job, JobFilter, JobKey, JobOrder, JobStatus, JobSummary, JobVersion, NewJob, Overlap, RetryPolicy,
    Schedule, ScheduleRow,
};
pub use monitoring::{Alert, AlertRule, AlertState, Drift, MetricPoint, MetricQuery, NewRule, RunTotal, Silence, SilenceHeld};
pub use run::{
    Claimed, EdgeCounts, EventTime, Heartbeat, Lease, LogLine, NewLogLine, NewRun, NodeCounts, Outcome, Run, RunFilter, RunKey,
    RunOrder, RunStatus, StreamCounts, Trigger,
};
pub use trail::{
    AuditCheck, AuditEntry, AuditFilter, AuditRow, Broken, Delivery, Event, NewSubscription, OutboxRow, Subscription, Undelivered,
};

/// One page of a listing, oldest or newest first as the method says.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Opaque; give it back to get the next page. `None` = this was the last.
    pub next_cursor: Option<String>,
}

/// Which page: at most `limit` rows (1 to 500) after `cursor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Rows at most.
    pub limit: u32,
    /// As a former page gave it; a cursor of another listing or a damaged one is `WEIR-STORE-010`, kind `Spec`.
    pub cursor: Option<String>,
}
