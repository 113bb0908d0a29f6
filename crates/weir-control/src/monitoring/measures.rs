//! What is measured, and how the points of a window become one value. Alert rules, job metrics and the dashboard all fold through here.

use std::collections::BTreeMap;

use weir_store::model::{MetricPoint, RunId};

/// How several runs' values become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// Together.
    Sum,
    /// On average.
    Mean,
    /// The worst.
    Max,
}

/// A measured quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Its name, as alert rules and metric points write it.
    pub name: &'static str,
    /// `rows`, `seconds`, `bytes`, `ratio`, `usd`, `rows/s`, `bytes/s`, `count`.
    pub unit: &'static str,
    /// Over the runs of a window.
    pub fold: Fold,
    /// For people.
    pub help: &'static str,
}

const fn measure(name: &'static str, unit: &'static str, fold: Fold, help: &'static str) -> Measure {
    Measure { name, unit, fold, help }
}

/// All of them. A rule on another name is legal: it folds with [`Fold::Mean`] over whatever points have it.
pub const MEASURES: [Measure; 23] = [
    measure("rows_read", "rows", Fold::Sum, "rows out of the sources"),
    measure("rows_written", "rows", Fold::Sum, "rows visible in the sinks"),
    measure("rows_filtered", "rows", Fold::Sum, "rows taken out by filters"),
    measure("rejected_rows", "rows", Fold::Sum, "dead letters"),
    measure("bytes_read", "bytes", Fold::Sum, "bytes out of the sources"),
    measure("bytes_written", "bytes", Fold::Sum, "bytes at the targets"),
    measure("rows_per_second", "rows/s", Fold::Mean, "rows written in a second; of a run that goes on, since the last look"),
    measure("bytes_per_second", "bytes/s", Fold::Mean, "bytes written in a second; of a run that goes on, since the last look"),
    measure("duration_seconds", "seconds", Fold::Max, "from the start of the newest attempt to the end"),
    measure(
        "processing_lag",
        "seconds",
        Fold::Max,
        "from when the run was due to when its data were there; of a run that waits or goes on, until now",
    ),
    measure("lag_rows", "rows", Fold::Max, "rows that wait at the source of a stream without end, as far as it tells"),
    measure(
        "lag_seconds",
        "seconds",
        Fold::Max,
        "for how long, at least, the oldest of these rows has waited, as far as the source tells",
    ),
    measure(
        "watermark_lag",
        "seconds",
        Fold::Max,
        "how far the event time of a stream is behind the clock, the furthest of its flows",
    ),
    measure("late_rows", "rows", Fold::Sum, "rows that came behind the watermark"),
    measure("state_bytes", "bytes", Fold::Max, "memory that a stream's open windows, joins and memories take"),
    measure("freshness", "seconds", Fold::Max, "age of the newest data: since the last run that succeeded"),
    measure("error_rate", "ratio", Fold::Mean, "dead letters by rows read; 1 for a run that failed"),
    measure("run_failed", "count", Fold::Sum, "1 for a run that failed, 0 for one that succeeded"),
    measure("cpu_seconds", "seconds", Fold::Sum, "CPU time of the run's processes"),
    measure("memory_peak_bytes", "bytes", Fold::Max, "largest resident memory of a run"),
    measure("network_bytes", "bytes", Fold::Sum, "bytes read from sources and written to sinks"),
    measure("cost_usd", "usd", Fold::Sum, "estimated cost: CPU, memory, bytes moved"),
    measure("schema_drift", "count", Fold::Sum, "columns added, removed or changed since the run before"),
];

/// The measure of that name.
pub fn measure_of(name: &str) -> Option<&'static Measure> {
    MEASURES.iter().find(|measure| measure.name == name)
}

/// The one value of a metric over these points (of one metric, oldest first); `None` without points.
///
/// Of a run that was looked at several times only the newest look counts, so that a long run does not count more than once.
pub fn fold<'a>(metric: &str, points: impl IntoIterator<Item = &'a MetricPoint>) -> Option<f64> {
    let mut newest: BTreeMap<(&RunId, &BTreeMap<String, String>), &MetricPoint> = BTreeMap::new();
    let mut loose = Vec::new();
    for point in points.into_iter().filter(|point| point.value.is_finite()) {
        match &point.run_id {
            Some(run) => {
                let held = newest.entry((run, &point.labels)).or_insert(point);
                if point.at >= held.at {
                    *held = point;
                }
            }
            None => loose.push(point.value),
        }
    }
    let values = newest.values().map(|point| point.value).chain(loose);
    let (mut count, mut sum, mut max) = (0_u32, 0.0, f64::NEG_INFINITY);
    for value in values {
        count += 1;
        sum += value;
        max = f64::max(max, value);
    }
    let how = measure_of(metric).map_or(Fold::Mean, |measure| measure.fold);
    (count > 0).then(|| match how {
        Fold::Sum => sum,
        Fold::Mean => sum / f64::from(count),
        Fold::Max => max,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn point(metric: &str, run: Option<&str>, at: i64, value: f64) -> MetricPoint {
        MetricPoint {
            tenant_id: "acme".into(),
            job_id: Some("j".into()),
            run_id: run.map(RunId::from),
            metric: metric.into(),
            labels: BTreeMap::new(),
            at: DateTime::from_timestamp(at, 0).unwrap(),
            value,
        }
    }

    #[test]
    fn only_the_newest_look_at_a_run_counts() {
        let points = [
            point("rows_written", Some("a"), 1, 10.0),
            point("rows_written", Some("a"), 3, 30.0),
            point("rows_written", Some("a"), 2, 20.0),
            point("rows_written", Some("b"), 2, 5.0),
            point("rows_written", None, 9, 1.0),
        ];
        assert_eq!(fold("rows_written", &points), Some(36.0));
        assert_eq!(fold("processing_lag", &points), Some(30.0));
        assert_eq!(fold("error_rate", &points), Some(12.0));
        assert_eq!(fold("rows_written", &[]), None);
        assert_eq!(fold("rows_written", &[point("rows_written", None, 1, f64::NAN)]), None);
    }
}
