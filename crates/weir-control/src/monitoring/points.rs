//! A run as metric points: at its end, and while it goes on. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use weir_store::model::{MetricPoint, Run, RunStatus, Trigger};

use crate::config::CostSettings;
use crate::worker::Resources;

const GIB: f64 = (1_u64 << 30) as f64;

/// What a run's points and totals say of where its data come from and go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `rest_api`, `postgres`, …; several kinds are joined by `,`.
    pub provider_type: String,
    /// `iceberg`, `s3`, ….
    pub sink_type: String,
}

impl Route {
    /// Of a job's connector kinds; a job that is gone has none.
    pub fn of(sources: &[String], sinks: &[String]) -> Self {
        // Seed 001 calls an HTTP source `rest_api`; everything else keeps its own name.
        Self {
            provider_type: joined(sources, |kind| if kind == "http" { "rest_api" } else { kind }),
            sink_type: joined(sinks, |kind| kind),
        }
    }

    /// As labels of a point.
    pub fn labels(&self) -> BTreeMap<String, String> {
        [("provider_type".into(), self.provider_type.clone()), ("sink_type".into(), self.sink_type.clone())].into()
    }
}

fn joined<'a>(kinds: &'a [String], name: impl Fn(&'a str) -> &'a str) -> String {
    let mut names: Vec<&str> = kinds.iter().map(|kind| name(kind)).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { "unknown".into() } else { names.join(",") }
}

/// The sums of a run's streams.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// Rows.
    pub rows_read: u64,
    /// Rows.
    pub rows_written: u64,
    /// Rows.
    pub rows_filtered: u64,
    /// Rows.
    pub rows_dead: u64,
    /// Bytes.
    pub bytes_read: u64,
    /// Bytes.
    pub bytes_written: u64,
    /// Rows that wait at the sources, as far as they tell.
    pub lag_rows: Option<u64>,
    /// Milliseconds that the oldest of these has been there; the longest.
    pub lag_ms: Option<u64>,
    /// Milliseconds that the watermark is behind the clock; the furthest.
    pub watermark_lag_ms: Option<i64>,
    /// Rows that came behind the watermark, and bytes of state in memory, of streams with event time.
    pub event_time: Option<(u64, u64)>,
}

impl Sums {
    /// Of all streams; counts that a hostile report made absurd do not overflow.
    pub fn of(run: &Run) -> Self {
        run.streams.iter().fold(Self::default(), |sum, stream| Self {
            rows_read: sum.rows_read.saturating_add(stream.rows_read),
            rows_written: sum.rows_written.saturating_add(stream.rows_written),
            rows_filtered: sum.rows_filtered.saturating_add(stream.rows_filtered),
            rows_dead: sum.rows_dead.saturating_add(stream.rows_dead),
            bytes_read: sum.bytes_read.saturating_add(stream.bytes_read),
            bytes_written: sum.bytes_written.saturating_add(stream.bytes_written),
            lag_rows: sum.lag_rows.into_iter().chain(stream.lag_rows).reduce(u64::saturating_add),
            lag_ms: sum.lag_ms.max(stream.lag_ms),
            watermark_lag_ms: sum.watermark_lag_ms.max(stream.event_time.and_then(|time| time.lag_ms)),
            event_time: sum
                .event_time
                .into_iter()
                .chain(stream.event_time.map(|time| (time.rows_late, time.state_bytes)))
                .reduce(|a, b| (a.0.saturating_add(b.0), a.1.saturating_add(b.1))),
        })
    }

    /// Dead letters by rows read: 0 to 1.
    pub fn error_rate(&self) -> f64 {
        if self.rows_dead == 0 { 0.0 } else { (self.rows_dead as f64 / self.rows_read.max(self.rows_dead) as f64).min(1.0) }
    }
}

/// Bytes that went over the network, or would have: what the sources gave and what the sinks hold.
pub fn moved_bytes(run: &Run) -> f64 {
    let (used, sums) = (Resources::of_run(run.resources.as_ref()), Sums::of(run));
    used.source_bytes.max(sums.bytes_read) as f64 + used.target_bytes.max(sums.bytes_written) as f64
}

/// Estimated cost of a run in USD: CPU time, peak memory for as long as it ran, bytes moved.
pub fn cost_usd(run: &Run, prices: CostSettings) -> f64 {
    let used = Resources::of_run(run.resources.as_ref());
    let hours = seconds_of(run) / 3600.0;
    let cost = used.cpu_seconds / 3600.0 * prices.core_hour
        + used.memory_peak_bytes as f64 / GIB * hours * prices.gib_hour
        + moved_bytes(run) / GIB * prices.gib_moved;
    if cost.is_finite() { cost.max(0.0) } else { 0.0 }
}

/// How long a run's processes ran: all attempts if they were measured, else the newest.
pub fn seconds_of(run: &Run) -> f64 {
    let measured = Resources::of_run(run.resources.as_ref()).wall_seconds;
    if measured > 0.0 { measured } else { newest_attempt_seconds(run, run.ended_at) }
}

fn newest_attempt_seconds(run: &Run, until: Option<DateTime<Utc>>) -> f64 {
    run.started_at.zip(until).map_or(0.0, |(from, to)| seconds(from, to))
}

/// When the run should have begun: the schedule's fire, else when it was queued.
pub fn due_at(run: &Run) -> DateTime<Utc> {
    match &run.trigger {
        Trigger::Schedule { fire_at } => *fire_at,
        Trigger::Manual | Trigger::Dependency { .. } | Trigger::Replay { .. } => run.queued_at,
    }
}

/// Never below zero: clocks of several machines differ.
pub fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    ((to - from).num_microseconds().unwrap_or(i64::MAX) as f64 / 1e6).max(0.0)
}

/// The points of a run that has ended. `last_success` is the end of the newest run of the job that succeeded before this one.
/// A skipped run measured nothing.
pub fn of_finished(run: &Run, route: &Route, prices: CostSettings, last_success: Option<DateTime<Utc>>) -> Vec<MetricPoint> {
    let (true, Some(at)) = (run.status.is_final() && run.status != RunStatus::Skipped, run.ended_at) else { return Vec::new() };
    let sums = Sums::of(run);
    let used = Resources::of_run(run.resources.as_ref());
    let failed = run.status == RunStatus::Failed;
    let took = newest_attempt_seconds(run, Some(at));
    let mut values = counts(&sums);
    if took > 0.0 {
        values.push(("rows_per_second", sums.rows_written as f64 / took));
        values.push(("bytes_per_second", sums.bytes_written as f64 / took));
    }
    values.extend([
        ("duration_seconds", took),
        ("cpu_seconds", used.cpu_seconds),
        ("memory_peak_bytes", used.memory_peak_bytes as f64),
        ("network_bytes", moved_bytes(run)),
        ("cost_usd", cost_usd(run, prices)),
    ]);
    // Who stops a run knows why it is late or has not ended well.
    if run.status != RunStatus::Cancelled {
        values.extend([
            ("processing_lag", seconds(due_at(run), at)),
            ("error_rate", if failed { 1.0 } else { sums.error_rate() }),
            ("run_failed", if failed { 1.0 } else { 0.0 }),
        ]);
        if let Some(before) = last_success {
            values.push(("freshness", seconds(before, at)));
        }
    }
    points(run, route, at, values)
}

/// A former look at a run that goes on.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// When.
    pub at: DateTime<Utc>,
    /// Rows written by then.
    pub rows: u64,
    /// Bytes written by then.
    pub bytes: u64,
}

/// The points of a run that goes on, and this look for the next one.
pub fn of_running(run: &Run, route: &Route, before: Option<Look>, now: DateTime<Utc>) -> (Vec<MetricPoint>, Look) {
    let sums = Sums::of(run);
    let look = Look { at: now, rows: sums.rows_written, bytes: sums.bytes_written };
    // Another attempt begins with smaller counts: its rate counts from its own start.
    let before = before.filter(|before| before.rows <= look.rows && before.bytes <= look.bytes);
    let before = before.unwrap_or(Look { at: run.started_at.unwrap_or(run.queued_at), rows: 0, bytes: 0 });
    let mut values = counts(&sums);
    let took = seconds(before.at, now);
    if took >= 0.001 {
        values.push(("rows_per_second", (look.rows - before.rows) as f64 / took));
        values.push(("bytes_per_second", (look.bytes - before.bytes) as f64 / took));
    }
    values.push(("processing_lag", seconds(due_at(run), now)));
    values.push(("error_rate", sums.error_rate()));
    (points(run, route, now, values), look)
}

fn counts(sums: &Sums) -> Vec<(&'static str, f64)> {
    let mut values = vec![
        ("rows_read", sums.rows_read as f64),
        ("rows_written", sums.rows_written as f64),
        ("rows_filtered", sums.rows_filtered as f64),
        ("rejected_rows", sums.rows_dead as f64),
        ("bytes_read", sums.bytes_read as f64),
        ("bytes_written", sums.bytes_written as f64),
    ];
    values.extend(sums.lag_rows.map(|rows| ("lag_rows", rows as f64)));
    values.extend(sums.lag_ms.map(|ms| ("lag_seconds", ms as f64 / 1e3)));
    // Times of tomorrow make no lag.
    values.extend(sums.watermark_lag_ms.map(|ms| ("watermark_lag", ms.max(0) as f64 / 1e3)));
    values.extend(sums.event_time.map(|(late, _)| ("late_rows", late as f64)));
    values.extend(sums.event_time.map(|(_, bytes)| ("state_bytes", bytes as f64)));
    values
}

fn points(run: &Run, route: &Route, at: DateTime<Utc>, values: Vec<(&'static str, f64)>) -> Vec<MetricPoint> {
    let labels = route.labels();
    let point = |(metric, value): (&str, f64)| MetricPoint {
        tenant_id: run.tenant_id.clone(),
        job_id: Some(run.job_id.clone()),
        run_id: Some(run.id.clone()),
        metric: metric.to_owned(),
        labels: labels.clone(),
        at,
        value,
    };
    values.into_iter().filter(|(_, value)| value.is_finite()).map(point).collect()
}

/// What went wrong, as a label: `timeout`, `out_of_memory`, `lost_worker`, or the error's kind.
pub fn error_type(error: Option<&Value>) -> String {
    let text = |key: &str| error.and_then(|e| e.get(key)).and_then(Value::as_str).unwrap_or_default();
    if let Some((_, known)) = super::totals::ERROR_TYPES.iter().find(|(code, _)| *code == text("code")) {
        return (*known).to_owned();
    }
    let said = [text("message"), text("cause")].map(str::to_ascii_lowercase);
    if text("kind") == "connect" && said.iter().any(|said| said.contains("timed out") || said.contains("timeout")) {
        return "timeout".into();
    }
    let kind: String = text("kind").chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect();
    if kind.is_empty() { "unknown".into() } else { kind }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use weir_store::model::{EventTime, StreamCounts};

    pub(crate) fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    fn run(status: RunStatus) -> Run {
        Run {
            id: "r".into(),
            tenant_id: "acme".into(),
            job_id: "j".into(),
            job_version: 1,
            status,
            trigger: Trigger::Schedule { fire_at: at(0) },
            attempt: 1,
            cancel_requested: false,
            queued_at: at(5),
            started_at: Some(at(10)),
            ended_at: status.is_final().then(|| at(30)),
            worker: None,
            streams: vec![
                StreamCounts {
                    name: "a".into(),
                    rows_read: 100,
                    rows_written: 90,
                    rows_filtered: 5,
                    rows_dead: 5,
                    bytes_read: 1000,
                    bytes_written: 900,
                    lag_rows: Some(30),
                    lag_ms: Some(1_500),
                    event_time: Some(EventTime { watermark_ms: Some(0), lag_ms: Some(2_500), state_bytes: 70, rows_late: 3 }),
                    ..StreamCounts::default()
                },
                StreamCounts {
                    name: "b".into(),
                    rows_read: 100,
                    rows_written: 100,
                    bytes_written: 100,
                    lag_rows: Some(12),
                    ..StreamCounts::default()
                },
            ],
            report: None,
            error: None,
            trace_id: None,
            resources: Some(json!({"cpu_seconds": 36.0, "memory_peak_bytes": 1_u64 << 30, "wall_seconds": 36.0})),
        }
    }
    fn route() -> Route {
        Route::of(&["http".into(), "http".into()], &["s3".into(), "file".into()])
    }
    fn prices() -> CostSettings {
        CostSettings { core_hour: 1.0, gib_hour: 0.5, gib_moved: 0.0 }
    }
    fn value(points: &[MetricPoint], metric: &str) -> Option<f64> {
        points.iter().find(|point| point.metric == metric).map(|point| point.value)
    }

    #[test]
    fn an_ended_run_says_how_much_how_fast_how_late_and_how_dear() {
        let points = of_finished(&run(RunStatus::Succeeded), &route(), prices(), Some(at(-70)));
        for (metric, wanted) in [
            ("rows_written", 190.0),
            ("rejected_rows", 5.0),
            ("rows_per_second", 9.5),
            ("bytes_per_second", 50.0),
            ("processing_lag", 30.0),
            ("freshness", 100.0),
            ("error_rate", 0.025),
            ("run_failed", 0.0),
            ("network_bytes", 2000.0),
            ("cost_usd", 0.015),
        ] {
            let got = value(&points, metric).unwrap();
            assert!((got - wanted).abs() < 1e-9, "{metric}: {got}, not {wanted}");
        }
        assert!(
            points
                .iter()
                .all(|p| p.at == at(30) && p.labels["provider_type"] == "rest_api" && p.labels["sink_type"] == "file,s3")
        );
        assert!(points.iter().all(|p| super::super::measures::measure_of(&p.metric).is_some()), "a point that no table explains");
    }

    #[test]
    fn a_failed_run_is_an_error_rate_of_one_and_a_cancelled_or_skipped_one_says_nothing_of_errors() {
        let failed = of_finished(&run(RunStatus::Failed), &route(), prices(), None);
        assert_eq!((value(&failed, "error_rate"), value(&failed, "run_failed")), (Some(1.0), Some(1.0)));
        let cancelled = of_finished(&run(RunStatus::Cancelled), &route(), prices(), None);
        assert_eq!((value(&cancelled, "error_rate"), value(&cancelled, "rows_written")), (None, Some(190.0)));
        assert!(of_finished(&run(RunStatus::Skipped), &route(), prices(), None).is_empty());
        assert!(of_finished(&run(RunStatus::Running), &route(), prices(), None).is_empty());
    }

    #[test]
    fn the_rate_of_a_running_run_counts_from_the_last_look_or_from_its_start() {
        let (first, look) = of_running(&run(RunStatus::Running), &route(), None, at(20));
        assert_eq!(value(&first, "rows_per_second"), Some(19.0));
        assert_eq!((value(&first, "processing_lag"), value(&first, "lag_rows")), (Some(20.0), Some(42.0)));
        assert_eq!(value(&first, "lag_seconds"), Some(1.5));
        let time = ["watermark_lag", "late_rows", "state_bytes"].map(|metric| value(&first, metric));
        assert_eq!(time, [Some(2.5), Some(3.0), Some(70.0)]);
        let mut silent = run(RunStatus::Running);
        silent.streams.iter_mut().for_each(|stream| stream.lag_rows = None);
        assert_eq!(value(&of_running(&silent, &route(), None, at(20)).0, "lag_rows"), None);
        let (second, _) = of_running(&run(RunStatus::Running), &route(), Some(look), at(25));
        assert_eq!(value(&second, "rows_per_second"), Some(0.0));
        let ahead = Look { rows: 1_000, ..look };
        let (restarted, _) = of_running(&run(RunStatus::Running), &route(), Some(ahead), at(20));
        assert_eq!(value(&restarted, "rows_per_second"), Some(19.0));
    }

    #[test]
    fn clocks_that_differ_and_absurd_counts_make_no_nonsense() {
        let mut odd = run(RunStatus::Succeeded);
        odd.ended_at = Some(at(-100));
        odd.streams =
            vec![StreamCounts { rows_read: 3, rows_dead: u64::MAX, rows_written: u64::MAX, ..StreamCounts::default() }; 3];
        odd.resources = Some(json!({"cpu_seconds": "many"}));
        let points = of_finished(&odd, &route(), prices(), Some(at(0)));
        assert_eq!(value(&points, "error_rate"), Some(1.0));
        assert!(points.iter().all(|p| p.value.is_finite() && p.value >= 0.0), "{points:?}");
    }

    #[test]
    fn errors_have_a_type_of_few_possible_values() {
        assert_eq!(
            error_type(Some(&json!({"kind": "connect", "message": "cannot reach", "cause": "connection timed out"}))),
            "timeout"
        );
        assert_eq!(error_type(Some(&json!({"kind": "data"}))), "data");
        assert_eq!(error_type(Some(&json!({"kind": "x\"}\n evil"}))), "xevil");
        assert_eq!(error_type(None), "unknown");
    }
}
