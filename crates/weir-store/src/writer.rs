//! A change of a tenant's data: the change, its audit row and its events are one transaction, because there is no other way to commit.
//!
//! Whoever writes for a tenant holds the tenant's row in `heads` until the end. So audit rows and events are numbered without gaps and in
//! the order of their commits, and what a method has checked (a quota, a name, a circle of dependencies) still holds when it commits.

use chrono::{DateTime, Utc};
use serde_json::Value as Json;
use weir_error::Result;

use crate::backend::{Backend, Tx, args, json, now};
use crate::chain::Link;
use crate::fault;
use crate::model::{AuditEntry, Event, JobId, Quotas, TenantId};
use crate::{Actor, TenantScope};

/// A change under way. Dropped without commit it did not happen.
pub(crate) struct Writer {
    /// The transaction.
    pub(crate) tx: Tx,
    /// The time of the change.
    pub(crate) now: DateTime<Utc>,
    /// The tenant's quotas.
    pub(crate) quotas: Quotas,
    /// Whose data is changed.
    pub(crate) tenant: TenantId,
    /// Who does it.
    pub(crate) actor: Actor,
    audit_seq: i64,
    audit_hash: String,
    outbox_seq: i64,
}

impl Writer {
    /// Begins a change for the scope's tenant.
    pub(crate) async fn begin(backend: &Backend, scope: &TenantScope) -> Result<Self> {
        Self::within(backend.begin().await?, scope.tenant(), scope.actor()).await
    }

    /// The same in a transaction that is open already. It must not hold another tenant's head, nor rows of this tenant that a writer
    /// might want: the head comes first.
    pub(crate) async fn within(mut tx: Tx, tenant: &TenantId, actor: &Actor) -> Result<Self> {
        let lock = tx.for_update("h");
        let row = tx
            .fetch_optional(
                format!(
                    "SELECT h.audit_seq, h.audit_hash, h.outbox_seq, t.quotas FROM heads h JOIN tenants t ON t.id = h.tenant_id \
                     WHERE h.tenant_id = $1{lock}"
                ),
                args![tenant],
            )
            .await?
            .ok_or_else(|| fault::missing("tenant"))?;
        let mut columns = row.columns();
        Ok(Self {
            tx,
            now: now(),
            audit_seq: columns.int()?,
            audit_hash: columns.text()?,
            outbox_seq: columns.int()?,
            quotas: columns.json()?,
            tenant: tenant.clone(),
            actor: actor.clone(),
        })
    }

    /// Keeps the change, says in the audit log what it was, and tells the world.
    pub(crate) async fn commit(mut self, entry: AuditEntry, events: Vec<Event>) -> Result<()> {
        let mut link = Link {
            seq: self.audit_seq + 1,
            at: self.now,
            actor_id: self.actor.id.clone(),
            actor_name: self.actor.name.clone(),
            request_id: self.actor.request_id.clone(),
            trace_id: self.actor.trace_id.clone(),
            action: entry.action,
            target: entry.target,
            outcome: entry.outcome,
            detail: json(&entry.detail)?,
            previous_hash: std::mem::take(&mut self.audit_hash),
            hash: String::new(),
        };
        link.hash = link.digest(&self.tenant)?;
        self.audit_seq = link.seq;
        self.audit_hash.clone_from(&link.hash);
        self.tx
            .later(
                "INSERT INTO audit (tenant_id, seq, at, actor_id, actor_name, request_id, trace_id, action, target, outcome, detail, \
                 previous_hash, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
                args![
                    &self.tenant,
                    link.seq,
                    link.at,
                    link.actor_id,
                    link.actor_name,
                    link.request_id,
                    link.trace_id,
                    link.action,
                    link.target,
                    link.outcome,
                    link.detail,
                    link.previous_hash,
                    link.hash
                ],
            )
            .await?;
        self.finish(events).await
    }

    /// Keeps a change that the audit log does not carry: a worker's claim, a skipped fire.
    pub(crate) async fn commit_events(self, events: Vec<Event>) -> Result<()> {
        self.finish(events).await
    }

    /// The number of the tenant's newest event, before those of this change.
    pub(crate) fn events_so_far(&self) -> i64 {
        self.outbox_seq
    }

    async fn finish(mut self, events: Vec<Event>) -> Result<()> {
        let mut rows = Vec::with_capacity(events.len());
        for event in events {
            self.outbox_seq += 1;
            let id = uuid::Uuid::now_v7().to_string();
            rows.push(args![&self.tenant, self.outbox_seq, id, event.kind, event.job_id.as_ref(), json(&event.data)?, self.now]);
        }
        self.tx.insert_many("INSERT INTO outbox (tenant_id, seq, event_id, kind, job_id, data, at) VALUES ", rows).await?;
        self.tx
            .later(
                "UPDATE heads SET audit_seq = $2, audit_hash = $3, outbox_seq = $4 WHERE tenant_id = $1",
                args![&self.tenant, self.audit_seq, self.audit_hash, self.outbox_seq],
            )
            .await?;
        self.tx.commit().await
    }
}

/// An audit entry of something that was done.
pub(crate) fn done(action: &str, target: String, detail: Json) -> AuditEntry {
    AuditEntry { action: action.into(), target, outcome: "allowed".into(), detail }
}

/// An event about a job.
pub(crate) fn event(kind: &str, job: &JobId, data: Json) -> Event {
    Event { kind: kind.into(), job_id: Some(job.clone()), data }
}
