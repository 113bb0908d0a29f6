//! The audit log of the caller's tenant.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_store::model::{self, AuditFilter};

use super::page::Page;
use crate::answer::{Answer, Reply};
use crate::ask::Ask;

/// A row of the audit log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditRow)]
pub struct AuditView {
    /// Number in the tenant's chain, from 1, without gaps.
    pub seq: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: DateTime<Utc>,
    /// Principal id or `system:…`.
    pub actor_id: String,
    /// For people.
    pub actor_name: String,
    /// The request.
    pub request_id: Option<String>,
    /// The trace.
    pub trace_id: Option<String>,
    /// `job.create`, `access.denied`, ….
    pub action: String,
    /// To what.
    pub target: String,
    /// `allowed`, `denied`, `failed`.
    pub outcome: String,
    /// What changed.
    pub detail: Value,
    /// Of the row before.
    pub previous_hash: String,
    /// Of this row.
    pub hash: String,
}

impl From<model::AuditRow> for AuditView {
    fn from(row: model::AuditRow) -> Self {
        Self {
            seq: row.seq,
            at: row.at,
            actor_id: row.actor_id,
            actor_name: row.actor_name,
            request_id: row.request_id,
            trace_id: row.trace_id,
            action: row.action,
            target: row.target,
            outcome: row.outcome,
            detail: row.detail,
            previous_hash: row.previous_hash,
            hash: row.hash,
        }
    }
}

/// `GET /audit`.
pub async fn list(ask: Ask, me: Caller) -> Reply {
    let text = |name: &str| ask.values.text(name).map(str::to_owned);
    let filter = AuditFilter { action: text("action"), actor: text("actor"), since: ask.values.time("since") };
    let page = ask.app.tenant(&me.scope).audit_log(&filter, &ask.page()).await?;
    Answer::json(&Page::<AuditView>::of(page))
}

/// Whether an audit log is as it was written.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditCheck)]
pub struct CheckView {
    /// Rows that were looked at: all, or those up to the first fault.
    pub rows: u64,
    /// Whether every row has its hash, follows the row before, and none is missing.
    pub whole: bool,
    /// The first row that is not as it was written.
    pub broken_seq: Option<i64>,
    /// What is wrong with it.
    pub why: Option<String>,
}

/// `GET /audit/verify`.
pub async fn verify(ask: Ask, me: Caller) -> Reply {
    let check = ask.app.platform.store.system().audit_verify(Some(me.scope.tenant())).await?;
    let (broken_seq, why) = check.broken.map(|broken| (broken.seq, broken.why)).unzip();
    Answer::json(&CheckView { rows: check.rows, whole: broken_seq.is_none(), broken_seq, why })
}
