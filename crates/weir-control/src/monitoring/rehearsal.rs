//! What an alert rule would have done: the rule held against what was measured, moment by moment, with the fold of the real loop.
//!
//! A folded value changes only when a measured value enters or leaves the window, so looking at these moments is exact; of more than [`MOST_MOMENTS`] so many
//! are looked at, evenly spread. `freshness` grows with time: its peaks are just before a success. What the loop sees of runs that wait or go on
//! (`processing_lag`) was measured only where a run ended.

use chrono::{DateTime, Duration, Utc};
use serde::Serialize;
use weir_error::Result;
use weir_store::model::{JobId, MetricPoint, MetricQuery, NewRule, PageRequest, RunFilter, RunStatus, TenantId};
use weir_store::{Actor, TenantScope};

use super::measures::{fold, measure_of};
use crate::Platform;

/// Moments that are looked at.
const MOST_MOMENTS: usize = 400;
/// Points of the rule's metric that are looked at, the newest.
const MOST_POINTS: u32 = 5_000;

/// What a rule would have done.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Rehearsal {
    /// From, inclusive.
    pub from: DateTime<Utc>,
    /// To.
    pub to: DateTime<Utc>,
    /// `rows`, `seconds`, …; null for a metric of one's own.
    pub unit: Option<String>,
    /// The folded value at each moment, oldest first; null where the window was empty: it says nothing then.
    pub values: Vec<Measured>,
    /// When it would have fired, oldest first.
    pub alerts: Vec<Rehearsed>,
    /// There was more than fits: what is told is about the newest values, or about some moments only.
    pub truncated: bool,
}

/// A value at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Measured {
    /// When.
    pub at: DateTime<Utc>,
    /// How much.
    pub value: Option<f64>,
}

/// An alert that would have been.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Rehearsed {
    /// When it would have fired.
    pub fired_at: DateTime<Utc>,
    /// When it would have been resolved; null: it would still hold.
    pub resolved_at: Option<DateTime<Utc>>,
    /// The highest value meanwhile.
    pub highest: f64,
}

/// Holds a rule against the last `hours` (1 to 720) of a job.
pub async fn rehearse(platform: &Platform, asker: &TenantScope, job: &JobId, rule: &NewRule, hours: u32) -> Result<Rehearsal> {
    let to = Utc::now();
    let from = to - Duration::hours(i64::from(hours.clamp(1, 720)));
    let made = platform.store.tenant(asker).job(job).await?.created_at;
    let unit = measure_of(&rule.metric).map(|measure| measure.unit.to_owned());
    let (values, truncated) = match rule.metric.as_str() {
        "freshness" => {
            let (successes, more) = successes(platform, asker.tenant(), job, from).await?;
            (ages(&successes, made, from.max(made), to), more)
        }
        metric => {
            let window = Duration::seconds(i64::from(rule.window_secs));
            let query = MetricQuery {
                job_id: Some(job.clone()),
                metric: Some(metric.to_owned()),
                from: from - window,
                to: to + Duration::microseconds(1),
                limit: MOST_POINTS,
            };
            let points = platform.series.query(asker.tenant(), &query).await?;
            let (values, thinned) = folded(metric, &points, window, from, to);
            (values, thinned || points.len() as u32 >= MOST_POINTS)
        }
    };
    Ok(Rehearsal { from, to, unit, alerts: alerts(&values, rule.threshold), values, truncated })
}

/// When runs succeeded, oldest first: the last one before `from`, and those since.
async fn successes(
    platform: &Platform,
    tenant: &TenantId,
    job: &JobId,
    from: DateTime<Utc>,
) -> Result<(Vec<DateTime<Utc>>, bool)> {
    let store = platform.store.tenant(&TenantScope::granted(tenant.clone(), Actor::system("monitoring")));
    let filter = RunFilter { job_id: Some(job.clone()), statuses: vec![RunStatus::Succeeded], since: None };
    let (mut found, mut page) = (Vec::new(), PageRequest { limit: 500, cursor: None });
    loop {
        let runs = store.list_runs(&filter, &page).await?;
        found.extend(runs.items.iter().filter_map(|run| run.ended_at));
        let enough = found.len() >= MOST_MOMENTS;
        let before = found.iter().any(|at| *at <= from);
        match runs.next_cursor {
            Some(cursor) if !enough && !before => page.cursor = Some(cursor),
            rest => {
                found.sort_unstable();
                return Ok((found, enough && !before && rest.is_some()));
            }
        }
    }
}

/// The age of the newest data before and after each success.
fn ages(successes: &[DateTime<Utc>], made: DateTime<Utc>, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Measured> {
    let age = |at: DateTime<Utc>, since: DateTime<Utc>| Measured { at, value: Some(seconds(at - since)) };
    let mut newest = successes.iter().rev().find(|at| **at <= from).copied().unwrap_or(made);
    let mut values = vec![age(from, newest)];
    for success in successes.iter().filter(|at| **at > from && **at <= to) {
        values.push(age(*success, newest));
        newest = *success;
        values.push(age(*success, newest));
    }
    values.push(age(to, newest));
    values
}

fn seconds(time: Duration) -> f64 {
    time.num_milliseconds() as f64 / 1000.0
}

/// The folded value at each moment at which it can change, and whether some of them were left out. Points are in the order of their times.
fn folded(
    metric: &str,
    points: &[MetricPoint],
    window: Duration,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> (Vec<Measured>, bool) {
    // A point counts while it is not older than the window: a microsecond later it has left.
    let left = window + Duration::microseconds(1);
    let mut moments: Vec<DateTime<Utc>> = points.iter().flat_map(|point| [point.at, point.at + left]).collect();
    moments.extend([from, to]);
    moments.retain(|at| (from..=to).contains(at));
    moments.sort_unstable();
    moments.dedup();
    let every = moments.len().div_ceil(MOST_MOMENTS).max(1);
    let values = moments
        .iter()
        .step_by(every)
        .map(|at| {
            let begin = points.partition_point(|point| point.at < *at - window);
            let end = points.partition_point(|point| point.at <= *at);
            Measured { at: *at, value: fold(metric, points.get(begin..end).unwrap_or_default()) }
        })
        .collect();
    (values, every > 1)
}

/// Fires above the threshold, is resolved when it is not; without a value everything stays as it is.
fn alerts(values: &[Measured], threshold: f64) -> Vec<Rehearsed> {
    let mut alerts: Vec<Rehearsed> = Vec::new();
    for Measured { at, value } in values {
        let Some(value) = *value else { continue };
        match alerts.last_mut().filter(|alert| alert.resolved_at.is_none()) {
            Some(firing) if value > threshold => firing.highest = firing.highest.max(value),
            Some(firing) => firing.resolved_at = Some(*at),
            None if value > threshold => alerts.push(Rehearsed { fired_at: *at, resolved_at: None, highest: value }),
            None => {}
        }
    }
    alerts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(secs, 0).unwrap()
    }

    fn points(metric: &str, values: &[(i64, f64)]) -> Vec<MetricPoint> {
        let point = |(secs, value): &(i64, f64)| MetricPoint {
            tenant_id: "acme".into(),
            job_id: Some("j".into()),
            run_id: Some(secs.to_string().as_str().into()),
            metric: metric.into(),
            labels: BTreeMap::new(),
            at: at(*secs),
            value: *value,
        };
        values.iter().map(point).collect()
    }

    #[test]
    fn a_value_enters_and_leaves_the_window() {
        let points = points("rejected_rows", &[(100, 5.0), (130, 7.0), (400, 1.0)]);
        let (values, thinned) = folded("rejected_rows", &points, Duration::seconds(60), at(0), at(500));
        let told: Vec<(i64, Option<f64>)> = values.iter().map(|one| (one.at.timestamp(), one.value)).collect();
        let expected = [
            (0, None),
            (100, Some(5.0)),
            (130, Some(12.0)),
            (160, Some(7.0)),
            (190, None),
            (400, Some(1.0)),
            (460, None),
            (500, None),
        ];
        assert_eq!((told, thinned), (expected.to_vec(), false));
        // A window that is empty again leaves the alert as it is, as the loop does; the next value below ends it.
        let fired = alerts(&values, 6.0);
        assert_eq!(fired.len(), 1);
        assert_eq!((fired[0].fired_at, fired[0].resolved_at, fired[0].highest), (at(130), Some(at(400)), 12.0));
        assert_eq!(alerts(&values, 12.0), []);
    }

    #[test]
    fn many_moments_are_thinned_and_told_so() {
        let many: Vec<(i64, f64)> = (0..1000).map(|second| (second, 1.0)).collect();
        let (values, thinned) = folded("error_rate", &points("error_rate", &many), Duration::seconds(5), at(0), at(2000));
        assert!(thinned && values.len() <= MOST_MOMENTS, "{}", values.len());
    }

    #[test]
    fn data_get_older_until_a_run_succeeds() {
        let values = ages(&[at(50), at(300), at(900)], at(0), at(100), at(1000));
        let told: Vec<f64> = values.iter().filter_map(|one| one.value).collect();
        assert_eq!(told, [50.0, 250.0, 0.0, 600.0, 0.0, 100.0]);
        let fired = alerts(&values, 500.0);
        assert_eq!((fired.len(), fired[0].highest, fired[0].resolved_at), (1, 600.0, Some(at(900))));
        assert_eq!(ages(&[], at(100), at(100), at(160)).last().and_then(|last| last.value), Some(60.0));
    }
}
