//! Totals over all runs that ever ended: what the counters of seed 001 show. Each run adds its share once, in the transaction that takes its
//! event out of the outbox, so the totals survive restarts and are the same in every replica (of several replicas, scrape one or take `max`).

use std::collections::BTreeMap;

use weir_store::model::{Run, RunStatus, RunTotal, TenantId};

use super::points::{Route, Sums, cost_usd, error_type, seconds_of};
use super::text::{Kind, Text};
use crate::config::CostSettings;
use crate::worker::Resources;

/// Upper bounds of the histogram of run times, seconds: from a small file to a night.
pub const DURATION_BOUNDS: [f64; 14] =
    [0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0, 43_200.0];

/// Name of the family of run times.
pub const DURATION: &str = "uis_runner_job_duration_seconds";

/// Error codes with a name of their own in the label `error_type`; others go by their kind.
pub(super) const ERROR_TYPES: [(&str, &str); 8] = [
    ("WEIR-WORKER-022", "timeout"),
    ("WEIR-WORKER-020", "out_of_memory"),
    ("WEIR-WORKER-021", "cpu_limit"),
    ("WEIR-WORKER-012", "killed"),
    ("WEIR-WORKER-014", "lost_worker"),
    ("WEIR-STORE-031", "lost_worker"),
    ("WEIR-WORKER-040", "dead_letters_exceeded"),
    (RATE_LIMITED, "rate_limit"),
];

/// What the HTTP connectors give up with after 429s.
const RATE_LIMITED: &str = "WEIR-HTTP-012";

/// The counter families: name and help. The names and labels of the first five are seed 001's.
const FAMILIES: [(&str, &str); 12] = [
    ("uis_runner_jobs_total", "Runs that ended, by how: completed, failed, cancelled."),
    ("uis_runner_records_ingested_total", "Rows visible in the sinks."),
    ("uis_runner_bytes_ingested_total", "Bytes at the targets."),
    ("uis_runner_errors_total", "Runs that failed, by what went wrong."),
    ("uis_runner_rate_limit_hits_total", "Answers of sources or sinks that asked to come slower."),
    ("weir_engine_rows_read_total", "Rows out of the sources."),
    ("weir_engine_rows_filtered_total", "Rows taken out by filters."),
    ("weir_engine_rows_rejected_total", "Dead letters."),
    ("weir_engine_bytes_read_total", "Bytes out of the sources."),
    ("weir_engine_cpu_seconds_total", "CPU time of the runs' processes."),
    ("weir_engine_cost_usd_total", "Estimated cost: CPU, memory, bytes moved."),
    ("weir_engine_schema_changes_total", "Columns added, removed or changed between two runs."),
];

/// What one ended run adds; nothing for one that is not final or was skipped. `schema_changes`: columns that drifted in it.
pub fn of_run(run: &Run, route: &Route, prices: CostSettings, schema_changes: u64) -> Vec<RunTotal> {
    let status = match run.status {
        // The seed's word.
        RunStatus::Succeeded => "completed",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "cancelled",
        RunStatus::Skipped | RunStatus::Queued | RunStatus::Running => return Vec::new(),
    };
    let sums = Sums::of(run);
    let used = Resources::of_run(run.resources.as_ref());
    let provider = || ("provider_type", route.provider_type.clone());
    let sink = || ("sink_type", route.sink_type.clone());
    let mut totals = Vec::new();
    let mut add = |metric: &str, value: f64, labels: Vec<(&str, String)>| {
        if value.is_finite() && value >= 0.0 {
            let labels: BTreeMap<String, String> = labels.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            totals.push(RunTotal { tenant_id: run.tenant_id.clone(), metric: metric.to_owned(), labels, value });
        }
    };
    add("uis_runner_jobs_total", 1.0, vec![("status", status.into()), provider()]);
    // Started runs only: one that was cancelled in the queue took no time at all.
    if run.started_at.is_some() {
        let took = seconds_of(run);
        let bucket = DURATION_BOUNDS.iter().find(|bound| took <= **bound).map_or("+Inf".into(), f64::to_string);
        add(&format!("{DURATION}_bucket"), 1.0, vec![("le", bucket), provider()]);
        add(&format!("{DURATION}_sum"), took, vec![provider()]);
    }
    add("uis_runner_records_ingested_total", sums.rows_written as f64, vec![provider(), sink()]);
    add("uis_runner_bytes_ingested_total", sums.bytes_written as f64, vec![provider(), sink()]);
    if run.status == RunStatus::Failed {
        add("uis_runner_errors_total", 1.0, vec![("error_type", error_type(run.error.as_ref())), provider()]);
    }
    let hits = rate_limit_hits(run);
    if hits > 0.0 {
        add("uis_runner_rate_limit_hits_total", hits, vec![provider()]);
    }
    add("weir_engine_rows_read_total", sums.rows_read as f64, vec![provider()]);
    add("weir_engine_rows_filtered_total", sums.rows_filtered as f64, vec![provider()]);
    add("weir_engine_rows_rejected_total", sums.rows_dead as f64, vec![provider()]);
    add("weir_engine_bytes_read_total", sums.bytes_read.max(used.source_bytes) as f64, vec![provider()]);
    add("weir_engine_cpu_seconds_total", used.cpu_seconds, vec![provider()]);
    add("weir_engine_cost_usd_total", cost_usd(run, prices), vec![provider()]);
    if schema_changes > 0 {
        add("weir_engine_schema_changes_total", schema_changes as f64, vec![provider()]);
    }
    totals
}

/// What the run's process counted, or one if it gave up for that reason.
fn rate_limit_hits(run: &Run) -> f64 {
    let counted = run.report.iter().chain(&run.resources).filter_map(|v| v.get("rate_limit_hits")?.as_u64()).max().unwrap_or(0);
    let gave_up = run.error.as_ref().is_some_and(|e| e.get("code").is_some_and(|code| code == RATE_LIMITED));
    counted.max(u64::from(gave_up)) as f64
}

/// Writes the families; of one tenant, or of all.
pub fn write(text: &mut Text, totals: &[RunTotal], only: Option<&TenantId>) {
    let ours: Vec<&RunTotal> = totals.iter().filter(|total| only.is_none_or(|tenant| *tenant == total.tenant_id)).collect();
    for (name, help) in FAMILIES {
        text.family(name, Kind::Counter, help);
        for total in ours.iter().filter(|total| total.metric == name) {
            text.sample(name, &labels(total), total.value);
        }
    }
    durations(text, &ours);
}

/// In the order in which the seed prints them: `status` or `error_type`, then `provider_type`, `tenant_id`, `sink_type`.
fn labels(total: &RunTotal) -> Vec<(&str, &str)> {
    let given = |name: &'static str| total.labels.get(name).map(|value| (name, value.as_str()));
    let head = given("status").or_else(|| given("error_type"));
    let tenant = Some(("tenant_id", total.tenant_id.as_str()));
    [head, given("provider_type"), tenant, given("sink_type")].into_iter().flatten().collect()
}

/// A histogram, and under the bare name the mean, as seed 001 prints it. Prometheus takes both: the bare name is none of the histogram's own
/// series (`_bucket`, `_sum`, `_count`), and its parsers accept the sample in that family.
fn durations(text: &mut Text, totals: &[&RunTotal]) {
    #[derive(Default)]
    struct Line {
        counts: [f64; DURATION_BOUNDS.len() + 1],
        sum: f64,
    }
    let mut lines: BTreeMap<(&str, &str), Line> = BTreeMap::new();
    let (bucket, sum) = (format!("{DURATION}_bucket"), format!("{DURATION}_sum"));
    for total in totals.iter().filter(|total| total.metric == bucket || total.metric == sum) {
        let label = |name: &str| total.labels.get(name).map_or("", String::as_str);
        let line = lines.entry((label("provider_type"), total.tenant_id.as_str())).or_default();
        if total.metric == sum {
            line.sum += total.value;
        } else {
            // A bound of another version falls into the next larger one of ours.
            let bound = label("le").parse::<f64>().unwrap_or(f64::INFINITY);
            let at = DURATION_BOUNDS.iter().position(|ours| bound <= *ours).unwrap_or(DURATION_BOUNDS.len());
            line.counts[at] += total.value;
        }
    }
    text.family(DURATION, Kind::Histogram, "Wall time of runs, all attempts; under the bare name the mean.");
    for ((provider, tenant), line) in &lines {
        text.histogram(DURATION, &[("provider_type", provider), ("tenant_id", tenant)], &DURATION_BOUNDS, &line.counts, line.sum);
    }
    for ((provider, tenant), line) in &lines {
        let count: f64 = line.counts.iter().sum();
        if count > 0.0 {
            text.sample(DURATION, &[("provider_type", provider), ("tenant_id", tenant)], line.sum / count);
        }
    }
}
