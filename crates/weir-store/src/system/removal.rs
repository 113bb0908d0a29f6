//! Taking a tenant away. What it has outside of the database follows from its state: whoever finds a removed tenant removes its files.

use serde_json::json as object;
use weir_error::{Error, Kind, Result};

use super::System;
use super::tenants::{missing, status_word};
use crate::Actor;
use crate::backend::args;
use crate::fault;
use crate::model::{JobId, Tenant, TenantId, TenantStatus};
use crate::tenant::access::{TENANT_COLUMNS, tenant_of};
use crate::tenant::runs::{RUN_COLUMNS, cancel_queued, read_run};
use crate::writer::{Writer, done};

/// See [`System::deleted_logs`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedLog {
    /// Whose.
    pub tenant: TenantId,
    /// The job.
    pub job: JobId,
    /// A run of it has not ended yet.
    pub running: bool,
}

impl System {
    /// Takes a suspended tenant away for good: its queued runs are cancelled, its tokens revoked, its connections, secrets and subscriptions
    /// deleted. Jobs, runs and the audit log stay for history, and its id is never given again. Doing it again changes nothing. Audit
    /// `tenant.remove`, in its log; events of the cancelled runs.
    ///
    /// Refused: another version `WEIR-STORE-022`; not suspended `WEIR-STORE-032`; a run of it is running `WEIR-STORE-033`; no
    /// platform-admin would be left elsewhere `WEIR-STORE-035`.
    pub async fn remove_tenant(&self, actor: &Actor, id: &TenantId, expected_version: Option<i64>) -> Result<Tenant> {
        let mut writer = Writer::within(self.backend.begin().await?, id, actor).await?;
        let sql = format!("SELECT {TENANT_COLUMNS} FROM tenants t WHERE t.id = $1");
        let before = tenant_of(&writer.tx.fetch_optional(sql, args![id]).await?.ok_or_else(missing)?)?;
        if expected_version.is_some_and(|expected| expected != before.version) {
            return Err(fault::stale("tenant"));
        }
        match before.status {
            TenantStatus::Removed => return Ok(before),
            TenantStatus::Suspended => {}
            TenantStatus::Active => {
                return Err(Error::new("WEIR-STORE-032", Kind::Conflict, "only a suspended tenant can be removed")
                    .hint("set its status to `suspended`, wait for its runs to end or cancel them, and remove it then"));
            }
        }
        let running = "SELECT fence FROM runs WHERE tenant_id = $1 AND status = 'running' LIMIT 1";
        if writer.tx.fetch_optional(running, args![id]).await?.is_some() {
            return Err(Error::new("WEIR-STORE-033", Kind::Conflict, "a run of the tenant has not ended yet")
                .hint("cancel its runs or wait until they have ended"));
        }
        let keeper = "SELECT p.version FROM principals p JOIN tenants t ON t.id = p.tenant_id WHERE p.role = 'platform-admin' \
                      AND p.disabled = 0 AND t.status <> 'removed' AND t.id <> $1 LIMIT 1";
        if writer.tx.fetch_optional(keeper, args![id]).await?.is_none() {
            return Err(Error::new("WEIR-STORE-035", Kind::Conflict, "the platform's only administrators are in this tenant")
                .hint("make a platform-admin in another tenant first"));
        }
        let queued = writer
            .tx
            .fetch_all(
                format!(
                    "SELECT {RUN_COLUMNS} FROM runs r WHERE r.tenant_id = $1 AND r.status = 'queued' ORDER BY r.queued_at, r.id"
                ),
                args![id],
            )
            .await?;
        let cancelled = queued.len();
        let mut events = Vec::with_capacity(2 * cancelled);
        for row in queued {
            let run = read_run(&mut row.columns())?;
            events.extend(cancel_queued(&mut writer, run).await?.1);
        }
        let at = writer.now;
        writer.tx.later("UPDATE tokens SET revoked_at = coalesce(revoked_at, $2) WHERE tenant_id = $1", args![id, at]).await?;
        let deliveries = "DELETE FROM deliveries WHERE tenant_id = $1 AND kind = 'subscription'";
        writer.tx.later(deliveries, args![id]).await?;
        let cursors = "DELETE FROM outbox_cursors WHERE tenant_id = $1 AND destination IN (SELECT id FROM subscriptions WHERE tenant_id = $1)";
        writer.tx.later(cursors, args![id]).await?;
        for table in ["connections", "secrets", "subscriptions"] {
            writer.tx.later(format!("DELETE FROM {table} WHERE tenant_id = $1"), args![id]).await?;
        }
        let after = Tenant { status: TenantStatus::Removed, version: before.version + 1, ..before };
        writer
            .tx
            .later(
                "UPDATE tenants SET status = $2, version = $3 WHERE id = $1",
                args![id, status_word(after.status), after.version],
            )
            .await?;
        let detail = object!({"cancelled_runs": cancelled, "version": after.version});
        writer.commit(done("tenant.remove", format!("tenant/{id}"), detail), events).await?;
        Ok(after)
    }

    /// Tenants that were removed.
    pub async fn removed_tenants(&self) -> Result<Vec<TenantId>> {
        let rows = self.backend.fetch_all("SELECT id FROM tenants WHERE status = 'removed' ORDER BY id", args![]).await?;
        rows.iter().map(|row| row.columns().id()).collect()
    }

    /// Deleted jobs of tenants that are there whose last version followed a log (`mode: cdc`), and whether a run of it has not ended yet.
    pub async fn deleted_logs(&self) -> Result<Vec<DeletedLog>> {
        let sql = "SELECT j.tenant_id, j.id, (SELECT count(*) FROM runs r WHERE r.tenant_id = j.tenant_id AND r.job_id = j.id \
                   AND r.status = 'running') FROM jobs j JOIN tenants t ON t.id = j.tenant_id \
                   WHERE j.deleted_at IS NOT NULL AND j.mode = 'cdc' AND t.status <> 'removed' ORDER BY j.tenant_id, j.id";
        let rows = self.backend.fetch_all(sql, args![]).await?;
        rows.iter()
            .map(|row| {
                let mut columns = row.columns();
                Ok(DeletedLog { tenant: columns.id()?, job: columns.id()?, running: columns.int()? > 0 })
            })
            .collect()
    }

    /// A tenant; one that was removed is answered as one that never was.
    pub async fn present_tenant(&self, id: &TenantId) -> Result<Tenant> {
        let tenant = self.tenant(id).await?;
        if tenant.status == TenantStatus::Removed { Err(missing()) } else { Ok(tenant) }
    }
}
