//! Whose runs cost the most: what was measured of runs that ended, by job.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_error::Result;
use weir_store::TenantStore;
use weir_store::model::{JobId, MetricPoint};

/// Jobs that one answer names.
const MOST_JOBS: usize = 8;

/// What a job's runs that ended in a time used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct JobCost {
    /// The job.
    pub job_id: String,
    /// Its name, also when it is deleted.
    pub name: String,
    /// Runs that ended.
    #[schema(minimum = 0)]
    pub runs: u64,
    /// CPU time of their processes.
    pub cpu_seconds: f64,
    /// Bytes out of the sources and to the targets.
    pub bytes_moved: f64,
    /// Estimated cost.
    pub cost_usd: f64,
}

/// The points of one time, each series of one measure. A run has one of each, when it has ended.
pub(super) struct Used {
    pub cpu_seconds: Vec<MetricPoint>,
    pub bytes_moved: Vec<MetricPoint>,
    pub cost_usd: Vec<MetricPoint>,
}

/// The jobs that cost the most, the most first; of equal cost those that took more of the processor.
pub(super) async fn costliest(store: &TenantStore, used: &Used) -> Result<Vec<JobCost>> {
    let mut jobs = by_job(used);
    let names = store.job_names(jobs.iter().map(|(job, _)| job)).await?;
    for (job, cost) in &mut jobs {
        cost.name = names.get(job).cloned().unwrap_or_default();
    }
    Ok(jobs.into_iter().map(|(_, cost)| cost).collect())
}

/// What a point of a measure adds.
type Add = fn(&mut JobCost, f64);

fn by_job(used: &Used) -> Vec<(JobId, JobCost)> {
    let mut jobs: BTreeMap<&JobId, JobCost> = BTreeMap::new();
    let measures: [(&[MetricPoint], Add); 3] = [
        (&used.cpu_seconds, |cost, value| {
            cost.cpu_seconds += value;
            cost.runs += 1;
        }),
        (&used.bytes_moved, |cost, value| cost.bytes_moved += value),
        (&used.cost_usd, |cost, value| cost.cost_usd += value),
    ];
    for (points, add) in measures {
        for point in points {
            if let Some(job) = &point.job_id {
                add(jobs.entry(job).or_default(), point.value);
            }
        }
    }
    let mut jobs: Vec<(JobId, JobCost)> =
        jobs.into_iter().map(|(job, cost)| (job.clone(), JobCost { job_id: job.to_string(), ..cost })).collect();
    jobs.sort_by(|(_, a), (_, b)| b.cost_usd.total_cmp(&a.cost_usd).then(b.cpu_seconds.total_cmp(&a.cpu_seconds)));
    jobs.truncate(MOST_JOBS);
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_costliest_jobs_come_first_and_no_more_than_a_few() {
        let point = |job: &str, value: f64| MetricPoint {
            tenant_id: "t".into(),
            job_id: Some(job.into()),
            run_id: None,
            metric: String::new(),
            labels: BTreeMap::new(),
            at: chrono::DateTime::UNIX_EPOCH,
            value,
        };
        let many: Vec<MetricPoint> = (0..20).map(|number| point(&format!("small {number}"), 0.001)).collect();
        let used = Used {
            cpu_seconds: vec![point("a", 1.0), point("b", 5.0), point("a", 2.0), point("c", 9.0)],
            bytes_moved: vec![point("a", 100.0), point("b", 7.0)],
            cost_usd: [vec![point("a", 0.5), point("b", 0.2), point("a", 0.25), point("c", 0.2)], many].concat(),
        };
        let jobs = by_job(&used);
        let first: Vec<_> = jobs.iter().take(3).map(|(_, cost)| cost.job_id.as_str()).collect();
        assert_eq!((first, jobs.len()), (vec!["a", "c", "b"], MOST_JOBS));
        let (_, a) = &jobs[0];
        assert_eq!((a.runs, a.cpu_seconds, a.bytes_moved, a.cost_usd), (2, 3.0, 100.0, 0.75));
    }
}
