//! How a tenant's runs did over a while, in equal steps: what the overview draws.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use weir_error::Result;
use weir_store::TenantScope;
use weir_store::model::{MetricPoint, MetricQuery};

use super::spending::{JobCost, Used, costliest};
use crate::platform::Platform;

/// Steps of a history.
const STEPS: i32 = 48;
/// Points of one measure that are looked at, the newest.
const MOST_POINTS: u32 = 50_000;

/// `GET /api/v1/monitoring/history`.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct History {
    /// Where the first step begins.
    pub from: DateTime<Utc>,
    /// Length of a step.
    #[schema(minimum = 1)]
    pub step_secs: u64,
    /// Oldest first; the last one ends now.
    #[schema(min_items = 48, max_items = 48)]
    pub steps: Vec<Step>,
    /// Jobs whose runs that ended in this time cost the most, the most first.
    #[schema(max_items = 8)]
    pub costliest_jobs: Vec<JobCost>,
}

/// What was measured in one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Step {
    /// Rows that came to sinks.
    pub rows: f64,
    /// Bytes that came to sinks.
    pub bytes: f64,
    /// Runs that ended well.
    pub succeeded: f64,
    /// Runs that failed.
    pub failed: f64,
    /// The longest that a run ended behind the time when it was due, seconds; null if none ended.
    pub lag_seconds: Option<f64>,
}

/// The last `hours` of a tenant.
pub async fn history(platform: &Platform, asker: &TenantScope, hours: u32) -> Result<History> {
    let to = Utc::now();
    let from = to - TimeDelta::hours(i64::from(hours));
    let step = TimeDelta::hours(i64::from(hours)) / STEPS;
    let series = async |metric: &str, from: DateTime<Utc>| {
        let query = MetricQuery {
            job_id: None,
            metric: Some(metric.into()),
            from,
            to: to + TimeDelta::microseconds(1),
            limit: MOST_POINTS,
        };
        platform.series.query(asker.tenant(), &query).await
    };
    let grid = Grid { from, step };
    let mut steps = vec![Step::default(); STEPS as usize];
    // Of a run that goes on, what it had before is not of this time.
    let before = from - step;
    grid.gain(&series("rows_written", before).await?, |at, gained| steps[at].rows += gained);
    grid.gain(&series("bytes_written", before).await?, |at, gained| steps[at].bytes += gained);
    for point in series("run_failed", from).await? {
        if let Some(at) = grid.step_of(point.at) {
            let ended = if point.value > 0.0 { &mut steps[at].failed } else { &mut steps[at].succeeded };
            *ended += 1.0;
        }
    }
    for point in series("processing_lag", from).await? {
        if let Some(at) = grid.step_of(point.at) {
            steps[at].lag_seconds = Some(steps[at].lag_seconds.unwrap_or(0.0).max(point.value));
        }
    }
    let used = Used {
        cpu_seconds: series("cpu_seconds", from).await?,
        bytes_moved: series("network_bytes", from).await?,
        cost_usd: series("cost_usd", from).await?,
    };
    let costliest_jobs = costliest(&platform.store.tenant(asker), &used).await?;
    Ok(History { from, step_secs: step.num_seconds().unsigned_abs().max(1), steps, costliest_jobs })
}

/// Equal steps of time.
struct Grid {
    from: DateTime<Utc>,
    step: TimeDelta,
}

impl Grid {
    /// The step that a moment is in; none before the first. What is a moment too late is of the last.
    fn step_of(&self, at: DateTime<Utc>) -> Option<usize> {
        let since = (at - self.from).num_milliseconds();
        let step = self.step.num_milliseconds().max(1);
        let number = usize::try_from(since.div_euclid(step)).ok()?;
        Some(number.min(STEPS as usize - 1))
    }

    /// What each run had more than at its point before, in the step of the point. Points of a run hold its count so far.
    fn gain(&self, points: &[MetricPoint], mut tell: impl FnMut(usize, f64)) {
        let mut sorted: Vec<&MetricPoint> = points.iter().collect();
        sorted.sort_by_key(|point| point.at);
        let mut last: BTreeMap<Option<&str>, f64> = BTreeMap::new();
        for point in sorted {
            let run = point.run_id.as_ref().map(|run| run.as_str());
            let before = if run.is_some() { last.insert(run, point.value).unwrap_or(0.0) } else { 0.0 };
            if let Some(at) = self.step_of(point.at) {
                tell(at, (point.value - before).max(0.0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(run: &str, secs: i64, value: f64) -> MetricPoint {
        MetricPoint {
            tenant_id: "t".into(),
            job_id: None,
            run_id: Some(run.into()),
            metric: "rows_written".into(),
            labels: BTreeMap::new(),
            at: DateTime::UNIX_EPOCH + TimeDelta::seconds(secs),
            value,
        }
    }

    #[test]
    fn a_run_counts_in_each_step_what_it_has_gained_there() {
        let grid = Grid { from: DateTime::UNIX_EPOCH + TimeDelta::seconds(100), step: TimeDelta::seconds(10) };
        // Out of order, with a run that had begun before, and one behind the end.
        let points =
            [point("b", 125, 7.0), point("a", 105, 30.0), point("a", 95, 10.0), point("a", 118, 30.0), point("c", 9_999, 1.0)];
        let mut gained = [0.0; STEPS as usize];
        grid.gain(&points, |at, more| gained[at] += more);
        assert_eq!((gained[0], gained[1], gained[2], gained[47]), (20.0, 0.0, 7.0, 1.0));
        assert_eq!(gained.iter().sum::<f64>(), 28.0);
        assert_eq!(grid.step_of(DateTime::UNIX_EPOCH), None);
    }
}
