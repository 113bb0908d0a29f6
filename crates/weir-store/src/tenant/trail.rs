//! The audit log, webhook subscriptions, and the tenant's events.

use serde_json::json as object;
use weir_error::{Error, Result};

use super::TenantStore;
use crate::backend::{Columns, Row, Value, args, json};
use crate::chain::{self, Link};
use crate::fault;
use crate::model::{
    AuditEntry, AuditFilter, AuditRow, Event, NewSubscription, OutboxRow, Page, PageRequest, SealedSecret, Subscription,
    SubscriptionId, Undelivered,
};
use crate::page::Asked;
use crate::writer::done;

/// The columns of an outbox row called `o`, as [`read_outbox`] takes them.
pub(crate) const OUTBOX_COLUMNS: &str = "o.seq, o.event_id, o.tenant_id, o.kind, o.job_id, o.data, o.at";
const SUBSCRIPTION: &str = "SELECT id, tenant_id, url, kinds, format, sealed_key, created_at FROM subscriptions";

/// Events that one answer holds at most.
const MOST_EVENTS: u32 = 1000;

impl TenantStore {
    /// The audit log, newest first.
    pub async fn audit_log(&self, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditRow>> {
        let asked = Asked::of("audit", page)?;
        let mut values = args![self.tenant_id()];
        let mut sql = format!("SELECT {} FROM audit WHERE tenant_id = $1", chain::COLUMNS);
        if let Some(action) = &filter.action {
            values.push(Value::from(action));
            sql += &format!(" AND action = ${}", values.len());
        }
        if let Some(actor) = &filter.actor {
            values.push(Value::from(actor));
            sql += &format!(" AND actor_id = ${}", values.len());
        }
        if let Some(since) = filter.since {
            values.push(Value::from(since));
            sql += &format!(" AND at >= ${}", values.len());
        }
        sql += &asked.newest_number_first("seq", &mut values);
        let rows = self.backend.fetch_all(sql, values).await?;
        asked.page(&rows, |row| {
            let row = Link::read(&mut row.columns())?.row(self.tenant_id())?;
            let key = (row.seq, String::new());
            Ok((row, key))
        })
    }

    /// Writes a row that belongs to no change: a denial, a read of note.
    pub async fn audit(&self, entry: AuditEntry) -> Result<()> {
        self.write().await?.commit(entry, Vec::new()).await
    }

    /// Subscribes a URL to the tenant's events from now on. Audit `subscription.create`.
    pub async fn create_subscription(&self, subscription: NewSubscription) -> Result<Subscription> {
        let mut writer = self.write().await?;
        let made = Subscription {
            id: SubscriptionId::generate(),
            tenant_id: writer.tenant.clone(),
            url: subscription.url,
            kinds: subscription.kinds,
            format: subscription.format,
            sealed: subscription.sealed,
            created_at: writer.now,
        };
        writer
            .tx
            .execute(
                "INSERT INTO subscriptions (tenant_id, id, url, kinds, format, sealed_key, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
                args![
                    &made.tenant_id,
                    &made.id,
                    &made.url,
                    json(&made.kinds)?,
                    &made.format,
                    made.sealed.as_ref(),
                    made.created_at
                ],
            )
            .await?;
        let from = writer.events_so_far();
        let sql = "INSERT INTO outbox_cursors (destination, tenant_id, seq) VALUES ($1, $2, $3)";
        writer.tx.execute(sql, args![made.id.as_str(), &made.tenant_id, from]).await?;
        // The URL may carry a token: its host is enough for the log.
        let host = made.url.split("://").nth(1).unwrap_or_default().split(['/', '?', '#']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        let detail = object!({"host": host, "kinds": made.kinds, "format": made.format});
        writer.commit(done("subscription.create", format!("subscription/{}", made.id), detail), Vec::new()).await?;
        Ok(made)
    }

    /// All subscriptions, oldest first.
    pub async fn list_subscriptions(&self) -> Result<Vec<Subscription>> {
        let sql = format!("{SUBSCRIPTION} WHERE tenant_id = $1 ORDER BY created_at, id");
        self.backend.fetch_all(sql, args![self.tenant_id()]).await?.iter().map(read_subscription).collect()
    }

    /// A subscription.
    pub async fn subscription(&self, id: &SubscriptionId) -> Result<Subscription> {
        let sql = format!("{SUBSCRIPTION} WHERE tenant_id = $1 AND id = $2");
        let row = self.backend.fetch_optional(sql, args![self.tenant_id(), id]).await?;
        read_subscription(&row.ok_or_else(missing)?)
    }

    /// Deletes a subscription with what was not delivered to it. Audit `subscription.delete`.
    pub async fn delete_subscription(&self, id: &SubscriptionId) -> Result<()> {
        let mut writer = self.write().await?;
        let sql = "DELETE FROM subscriptions WHERE tenant_id = $1 AND id = $2";
        if writer.tx.execute(sql, args![&writer.tenant, id]).await? == 0 {
            return Err(missing());
        }
        for table in ["outbox_cursors", "deliveries"] {
            let sql = format!("DELETE FROM {table} WHERE tenant_id = $1 AND destination = $2");
            writer.tx.execute(sql, args![&writer.tenant, id]).await?;
        }
        writer.commit(done("subscription.delete", format!("subscription/{id}"), object!({})), Vec::new()).await
    }

    /// What a subscription was not sent, given up or to be tried again, newest first. What was delivered is not kept.
    pub async fn undelivered(&self, id: &SubscriptionId, page: &PageRequest) -> Result<Page<Undelivered>> {
        let asked = Asked::of("undelivered", page)?;
        self.subscription(id).await?;
        let mut values = args![self.tenant_id(), id];
        let tail = asked.newest_number_first("d.seq", &mut values);
        let sql = format!(
            "SELECT d.attempts, d.due_at, d.error, {OUTBOX_COLUMNS} FROM deliveries d \
             JOIN outbox o ON o.tenant_id = d.tenant_id AND o.seq = d.seq WHERE d.tenant_id = $1 AND d.destination = $2{tail}"
        );
        let rows = self.backend.fetch_all(sql, values).await?;
        asked.page(&rows, |row| {
            let mut columns = row.columns();
            let attempts = u32::try_from(columns.int()?).unwrap_or(u32::MAX);
            let (next_at, error) = (columns.opt_time()?, columns.opt_text()?);
            let undelivered = Undelivered { row: read_outbox(&mut columns)?, attempts, next_at, error };
            let key = (undelivered.row.seq, String::new());
            Ok((undelivered, key))
        })
    }

    /// The tenant's events after `seq`, oldest first. Numbers have no gaps and follow the order of the commits, so a reader that goes on
    /// from the last one misses none.
    pub async fn outbox_after(&self, seq: i64, limit: u32) -> Result<Vec<OutboxRow>> {
        let sql = format!("SELECT {OUTBOX_COLUMNS} FROM outbox o WHERE o.tenant_id = $1 AND o.seq > $2 ORDER BY o.seq LIMIT $3");
        let rows = self.backend.fetch_all(sql, args![self.tenant_id(), seq, limit.min(MOST_EVENTS)]).await?;
        rows.iter().map(|row| read_outbox(&mut row.columns())).collect()
    }

    /// The number of the newest event; 0 = none yet.
    pub async fn outbox_head(&self) -> Result<i64> {
        let row =
            self.backend.fetch_optional("SELECT outbox_seq FROM heads WHERE tenant_id = $1", args![self.tenant_id()]).await?;
        row.ok_or_else(|| fault::missing("tenant"))?.columns().int()
    }
}

fn missing() -> Error {
    fault::missing("subscription")
}

/// The columns of [`OUTBOX_COLUMNS`].
pub(crate) fn read_outbox(columns: &mut Columns<'_>) -> Result<OutboxRow> {
    let seq = columns.int()?;
    let event_id = columns.text()?;
    let tenant_id = columns.id()?;
    let event = Event { kind: columns.text()?, job_id: columns.opt_id()?, data: columns.json()? };
    Ok(OutboxRow { seq, event_id, tenant_id, event, at: columns.time()? })
}

fn read_subscription(row: &Row) -> Result<Subscription> {
    let mut columns = row.columns();
    Ok(Subscription {
        id: columns.id()?,
        tenant_id: columns.id()?,
        url: columns.text()?,
        kinds: columns.json()?,
        format: columns.text()?,
        sealed: columns.opt_blob()?.map(SealedSecret),
        created_at: columns.time()?,
    })
}
