//! Checking the audit logs, and numbers for gauges.

use weir_error::{Error, Result};

use super::System;
use crate::backend::{Tx, args};
use crate::chain::{self, Link};
use crate::model::{AuditCheck, Broken, Counts, TenantId};

/// Rows that are checked at a time.
const CHUNK: i64 = 1000;

impl System {
    /// Recomputes the audit log of a tenant, or of all: every row's hash, its place after the row before, no gap, and the end that the
    /// tenant's head names. Tells the first fault of the first broken log. It reads one state of the database, whatever is written
    /// meanwhile. It cannot see that somebody with access to the database has made the whole chain anew, head included: compare the
    /// newest hash with one that was noted elsewhere.
    pub async fn audit_verify(&self, tenant: Option<&TenantId>) -> Result<AuditCheck> {
        let mut tx = self.backend.snapshot().await?;
        let mut check = AuditCheck { rows: 0, broken: None };
        let owners =
            tx.fetch_all("SELECT tenant_id FROM heads UNION SELECT tenant_id FROM audit ORDER BY tenant_id", args![]).await?;
        for owner in owners {
            let owner: TenantId = owner.columns().id()?;
            if tenant.is_some_and(|only| *only != owner) {
                continue;
            }
            if let Some((seq, why)) = verify_one(&mut tx, &owner, &mut check.rows).await? {
                check.broken = Some(Broken { tenant_id: owner, seq, why });
                break;
            }
        }
        Ok(check)
    }

    /// Runs that are ready and wait, per tenant that has some.
    pub async fn queue_depth(&self) -> Result<Vec<(TenantId, u64)>> {
        let sql = "SELECT tenant_id, count(*) FROM runs WHERE status = 'queued' GROUP BY tenant_id ORDER BY tenant_id";
        let rows = self.backend.fetch_all(sql, args![]).await?;
        rows.iter()
            .map(|row| {
                let mut columns = row.columns();
                Ok((columns.id()?, columns.count()?))
            })
            .collect()
    }

    /// How much there is of everything.
    pub async fn counts(&self) -> Result<Counts> {
        let row = self
            .backend
            .fetch_optional(
                "SELECT (SELECT count(*) FROM tenants), (SELECT count(*) FROM jobs WHERE deleted_at IS NULL), \
                 (SELECT count(*) FROM runs WHERE status = 'queued'), (SELECT count(*) FROM runs WHERE status = 'running'), \
                 (SELECT count(*) FROM alerts WHERE state = 'firing'), (SELECT count(*) FROM deliveries WHERE due_at IS NOT NULL), \
                 (SELECT count(*) FROM deliveries WHERE due_at IS NULL)",
                args![],
            )
            .await?
            .ok_or_else(|| Error::internal("an aggregate without a row"))?;
        let mut columns = row.columns();
        Ok(Counts {
            tenants: columns.count()?,
            jobs: columns.count()?,
            queued_runs: columns.count()?,
            running_runs: columns.count()?,
            firing_alerts: columns.count()?,
            pending_deliveries: columns.count()?,
            dead_deliveries: columns.count()?,
        })
    }
}

/// The first fault of a tenant's log.
async fn verify_one(tx: &mut Tx, tenant: &TenantId, rows: &mut u64) -> Result<Option<(i64, String)>> {
    let head = tx.fetch_optional("SELECT audit_seq, audit_hash FROM heads WHERE tenant_id = $1", args![tenant]).await?;
    let Some(head) = head else { return Ok(Some((1, "the log belongs to no tenant".into()))) };
    let mut columns = head.columns();
    let (head_seq, head_hash) = (columns.int()?, columns.text()?);
    let sql = format!("SELECT {} FROM audit WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3", chain::COLUMNS);
    let (mut last, mut hash) = (0, chain::START.to_owned());
    // From the smallest number there is: a row may have been put before the first one.
    let mut from = i64::MIN;
    loop {
        let chunk = tx.fetch_all(sql.clone(), args![tenant, from, CHUNK]).await?;
        for row in &chunk {
            let link = Link::read(&mut row.columns())?;
            *rows += 1;
            from = link.seq;
            let fault = if link.seq != last + 1 {
                Some(if link.seq > last { "rows before it are missing" } else { "it stands before the first row" })
            } else if link.seq > head_seq {
                Some("it was appended behind the end of the log")
            } else if link.hash != link.digest(tenant)? {
                Some("it was changed")
            } else if link.previous_hash != hash {
                Some("it does not follow the row before")
            } else {
                None
            };
            if let Some(why) = fault {
                return Ok(Some((link.seq, why.into())));
            }
            last = link.seq;
            hash = link.hash;
        }
        if chunk.len() < CHUNK as usize {
            break;
        }
    }
    if last != head_seq {
        return Ok(Some((last + 1, format!("rows {} to {head_seq} are missing at the end", last + 1))));
    }
    if hash != head_hash {
        return Ok(Some((last, "it is not the last row that was written".into())));
    }
    Ok(None)
}
