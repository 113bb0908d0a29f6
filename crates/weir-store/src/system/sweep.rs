//! Throwing away what has served. The audit log, jobs and runs stay.

use chrono::{DateTime, TimeDelta, Utc};
use weir_error::Result;

use super::System;
use crate::backend::{Value, args};
use crate::tenant::idempotency::KEPT;

/// Events that every destination has are kept so long, for readers of `outbox_after`.
const EVENTS: TimeDelta = TimeDelta::days(7);
/// Undelivered events are given up after that, with their deliveries; the ids of events that came in are forgotten; so are silences.
const AT_MOST: TimeDelta = TimeDelta::days(30);
/// Logs of ended runs.
const LOGS: TimeDelta = TimeDelta::days(90);

/// How many rows a sweep has thrown away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Idempotency keys older than a day.
    pub idempotency_keys: u64,
    /// Events: delivered and older than 7 days, or older than 30 days.
    pub events: u64,
    /// Deliveries whose event went.
    pub deliveries: u64,
    /// Events that came in, older than 30 days.
    pub inbox: u64,
    /// Silences that ended 30 days ago.
    pub silences: u64,
    /// Log lines of runs that ended 90 days ago.
    pub log_lines: u64,
}

impl System {
    /// Throws away what has served; to be called about once an hour.
    pub async fn sweep(&self, now: DateTime<Utc>) -> Result<Swept> {
        let rows = |table: &'static str, condition: &'static str, values: Vec<Value>| {
            self.backend.delete_in_turns(table, condition, values)
        };
        Ok(Swept {
            idempotency_keys: rows("idempotency", "created_at < $1", args![now - KEPT]).await?,
            events: rows(
                "outbox",
                "at < $1 AND (at < $2 OR (\
                 NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.tenant_id = outbox.tenant_id AND d.seq = outbox.seq) \
                 AND NOT EXISTS (SELECT 1 FROM outbox_cursors c WHERE c.tenant_id = outbox.tenant_id AND c.seq < outbox.seq)))",
                args![now - EVENTS, now - AT_MOST],
            )
            .await?,
            deliveries: rows(
                "deliveries",
                "NOT EXISTS (SELECT 1 FROM outbox o WHERE o.tenant_id = deliveries.tenant_id AND o.seq = deliveries.seq)",
                args![],
            )
            .await?,
            inbox: rows("inbox", "received_at < $1", args![now - AT_MOST]).await?,
            silences: rows("silences", "until_at < $1", args![now - AT_MOST]).await?,
            log_lines: rows(
                "run_logs",
                "EXISTS (SELECT 1 FROM runs r WHERE r.tenant_id = run_logs.tenant_id AND r.id = run_logs.run_id AND r.ended_at < $1)",
                args![now - LOGS],
            )
            .await?,
        })
    }
}
