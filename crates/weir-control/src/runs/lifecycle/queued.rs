//! `queued` again: when the next attempt may begin, and whether the last one counts against the job's policy.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use weir_store::model::RetryPolicy;

/// Waits for another attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    /// Not before.
    pub(super) at: DateTime<Utc>,
    /// The attempt failed by itself. One that lost its worker, or gave way to a shutdown, is not counted.
    pub(super) counted: bool,
    /// Why the last attempt ended, unless it just gave way.
    pub(super) error: Option<Value>,
    pub(super) report: Option<Value>,
}

/// The wait before the attempt that follows `failed` failed ones: the policy's backoff, doubled for each after the first, at most its longest.
pub(super) fn backoff(policy: &RetryPolicy, failed: u32) -> TimeDelta {
    let doublings = failed.saturating_sub(1).min(31);
    let secs = u64::from(policy.backoff_secs).saturating_mul(1 << doublings).min(u64::from(policy.max_backoff_secs));
    TimeDelta::seconds(i64::try_from(secs).unwrap_or(i64::MAX / 1_000_000))
}

/// The wait after an attempt that was lost: short, as the next one usually goes through; growing, in case it does not.
pub(super) fn after_loss(attempt: u32) -> TimeDelta {
    TimeDelta::seconds(i64::from(attempt.clamp(1, 10)))
}
