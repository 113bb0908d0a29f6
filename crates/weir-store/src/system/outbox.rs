//! Events on their way out: at least once to every destination, in order per job; and events that came in: once each.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use weir_error::Result;

use super::System;
use crate::backend::{Turn, Tx, Value, args, now};
use crate::model::{Delivery, SubscriptionId, TenantId};
use crate::tenant::trail::{OUTBOX_COLUMNS, read_outbox};

/// The kind of all webhook subscriptions; a delivery's destination is then the subscription's id.
pub const SUBSCRIPTION: &str = "subscription";
/// A destination of the whole platform that gets `alert.*` events only.
pub const ALERT_WEBHOOK: &str = "alert-webhook";
/// A destination of the platform itself, which turns ended runs into metrics: it gets `seatunnel-job-completed` events only.
pub const MONITOR: &str = "monitor";

/// Events of one tenant that are given to one destination in one go.
const GIVEN: u32 = 500;
/// Characters of an error that are kept.
const ERROR_CHARS: usize = 2000;

/// A destination with events of a tenant that it was not given yet.
struct Behind {
    destination: String,
    kind: String,
    tenant: TenantId,
    /// Given so far.
    seq: i64,
    /// Kinds of events that it wants; empty = all.
    wants: Vec<String>,
}

impl System {
    /// Deliveries that are due, claimed until `lease` is over: then somebody else may have them. `kinds`: [`SUBSCRIPTION`] for every
    /// tenant's webhooks, [`ALERT_WEBHOOK`], or any other name of a destination of the whole platform, which gets every event that is still
    /// kept. Of one job and destination only the oldest is claimed, so that the others wait for it; an event of no job waits for none.
    pub async fn claim_deliveries(&self, kinds: &[&str], worker: &str, lease: Duration, limit: u32) -> Result<Vec<Delivery>> {
        let mut behind = false;
        for kind in kinds {
            let (sql, values) = behind_sql(kind, "");
            behind = behind || self.backend.fetch_optional(sql, values).await?.is_some();
        }
        let at = now();
        let mut values = args![at];
        let places: Vec<_> = kinds
            .iter()
            .map(|kind| {
                values.push(Value::from(*kind));
                format!("${}", values.len())
            })
            .collect();
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let places = places.join(", ");
        let due = format!("SELECT d.seq FROM deliveries d WHERE d.kind IN ({places}) AND d.due_at <= $1 LIMIT 1");
        if !behind && self.backend.fetch_optional(due, values.clone()).await?.is_none() {
            return Ok(Vec::new());
        }

        let mut tx = self.backend.begin().await?;
        tx.turn(Turn::ClaimDeliveries).await?;
        for kind in kinds {
            let lock = if *kind == SUBSCRIPTION { tx.for_update("s") } else { String::new() };
            let (sql, of_kind) = behind_sql(kind, &lock);
            for row in tx.fetch_all(sql, of_kind).await? {
                let mut columns = row.columns();
                let behind = Behind {
                    destination: columns.text()?,
                    kind: (*kind).to_owned(),
                    tenant: columns.id()?,
                    seq: columns.int()?,
                    wants: columns.json()?,
                };
                give(&mut tx, &behind, at).await?;
            }
        }
        values.push(Value::from(limit));
        let sql = format!(
            "SELECT d.destination, d.attempts, {OUTBOX_COLUMNS} FROM deliveries d JOIN outbox o ON o.tenant_id = d.tenant_id AND o.seq = d.seq \
             WHERE d.kind IN ({places}) AND d.due_at <= $1 AND NOT EXISTS (SELECT 1 FROM deliveries e WHERE e.destination = d.destination \
             AND e.tenant_id = d.tenant_id AND e.order_key = d.order_key AND e.seq < d.seq AND e.due_at IS NOT NULL) \
             ORDER BY d.due_at, d.seq LIMIT ${}",
            values.len()
        );
        let until = TimeDelta::from_std(lease).ok().and_then(|lease| at.checked_add_signed(lease)).unwrap_or(at);
        let mut claimed = Vec::new();
        for row in tx.fetch_all(sql, values).await? {
            let mut columns = row.columns();
            let destination = columns.text()?;
            let attempts = columns.int()?;
            let row = read_outbox(&mut columns)?;
            let sql = "UPDATE deliveries SET due_at = $4, worker = $5, attempts = attempts + 1 WHERE destination = $1 AND tenant_id = $2 AND seq = $3";
            tx.later(sql, args![&destination, &row.tenant_id, row.seq, until, worker]).await?;
            claimed.push(Delivery { row, destination, attempts: u32::try_from(attempts).unwrap_or(u32::MAX) });
        }
        tx.commit().await?;
        Ok(claimed)
    }

    /// The destination has it; the job's next event is free to go.
    pub async fn delivered(&self, delivery: &Delivery) -> Result<()> {
        let sql = "DELETE FROM deliveries WHERE destination = $1 AND tenant_id = $2 AND seq = $3";
        self.backend.execute(sql, args![&delivery.destination, &delivery.row.tenant_id, delivery.row.seq]).await.map(drop)
    }

    /// It did not work: again at `retry_at`, or never (`None`; it is kept with its error, and later events go on). Nothing happens if the
    /// lease was over and somebody else has claimed it.
    pub async fn delivery_failed(&self, delivery: &Delivery, error: &str, retry_at: Option<DateTime<Utc>>) -> Result<()> {
        let error: String = error.replace('\0', "\u{fffd}").chars().take(ERROR_CHARS).collect();
        let sql = "UPDATE deliveries SET due_at = $5, error = $6, worker = NULL \
                   WHERE destination = $1 AND tenant_id = $2 AND seq = $3 AND attempts = $4";
        let claim = i64::from(delivery.attempts) + 1;
        let values = args![&delivery.destination, &delivery.row.tenant_id, delivery.row.seq, claim, retry_at, error];
        self.backend.execute(sql, values).await.map(drop)
    }

    /// Keeps an event that came in; `false`: it was there already.
    pub async fn receive(&self, topic: &str, event_id: &str, tenant: &TenantId, body: &[u8]) -> Result<bool> {
        let sql = "INSERT INTO inbox (topic, event_id, tenant_id, body, received_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
        Ok(self.backend.execute(sql, args![topic, event_id, tenant, body, now()]).await? == 1)
    }

    /// A subscription of whatever tenant, for a delivery; `None`: it was deleted.
    pub async fn subscription(&self, tenant: &TenantId, id: &SubscriptionId) -> Result<Option<crate::model::Subscription>> {
        let scope = crate::TenantScope::granted(tenant.clone(), crate::Actor::system("events"));
        let store = crate::TenantStore { backend: self.backend.clone(), scope };
        match store.subscription(id).await {
            Ok(subscription) => Ok(Some(subscription)),
            Err(error) if error.kind() == weir_error::Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Destinations of a kind that are behind a tenant's events: destination, tenant, number given so far, wanted kinds.
fn behind_sql(kind: &str, lock: &str) -> (String, Vec<Value>) {
    if kind == SUBSCRIPTION {
        let sql = format!(
            "SELECT s.id, s.tenant_id, c.seq, s.kinds FROM subscriptions s JOIN heads h ON h.tenant_id = s.tenant_id \
             JOIN outbox_cursors c ON c.destination = s.id AND c.tenant_id = s.tenant_id WHERE h.outbox_seq > c.seq{lock}"
        );
        return (sql, args![]);
    }
    let sql = "SELECT CAST($1 AS TEXT), h.tenant_id, coalesce(c.seq, 0), '[]' FROM heads h \
               LEFT JOIN outbox_cursors c ON c.destination = $1 AND c.tenant_id = h.tenant_id WHERE h.outbox_seq > coalesce(c.seq, 0)";
    (sql.into(), args![kind])
}

/// Gives a destination the next events of a tenant.
async fn give(tx: &mut Tx, behind: &Behind, at: DateTime<Utc>) -> Result<()> {
    let sql = "SELECT seq, event_id, kind, job_id FROM outbox WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3";
    let rows = tx.fetch_all(sql, args![&behind.tenant, behind.seq, GIVEN]).await?;
    let mut last = None;
    for row in &rows {
        let mut columns = row.columns();
        let (seq, event_id, event_kind, job) = (columns.int()?, columns.str()?, columns.str()?, columns.opt_str()?);
        last = Some(seq);
        let wanted = match behind.kind.as_str() {
            ALERT_WEBHOOK => event_kind.starts_with("alert."),
            MONITOR => event_kind == "seatunnel-job-completed",
            _ => behind.wants.is_empty() || behind.wants.iter().any(|kind| kind == event_kind),
        };
        if !wanted {
            continue;
        }
        let sql = "INSERT INTO deliveries (destination, kind, tenant_id, seq, order_key, attempts, due_at) VALUES ($1, $2, $3, $4, $5, 0, $6) \
                   ON CONFLICT DO NOTHING";
        let values = args![&behind.destination, &behind.kind, &behind.tenant, seq, job.unwrap_or(event_id), at];
        tx.execute(sql, values).await?;
    }
    let Some(last) = last else { return Ok(()) };
    let sql = "INSERT INTO outbox_cursors (destination, tenant_id, seq) VALUES ($1, $2, $3) \
               ON CONFLICT (destination, tenant_id) DO UPDATE SET seq = excluded.seq";
    tx.execute(sql, args![&behind.destination, &behind.tenant, last]).await.map(drop)
}
