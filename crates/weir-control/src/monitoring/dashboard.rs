//! The numbers that people look at: of one job, and of a tenant.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use weir_error::Result;
use weir_store::model::{
    Alert, AlertState, JobId, JobStatus, MetricPoint, MetricQuery, NewRule, PageRequest, RuleId, Run, RunFilter, RunStatus,
    TenantId,
};
use weir_store::{Actor, TenantScope};

use super::alerts::freshness;
use super::measures::{MEASURES, fold};
use super::points::{due_at, seconds};
use crate::Platform;
use crate::schedule::next_fires;

/// Runs that are looked through for one answer, newest first.
const MOST_RUNS: usize = 5_000;
/// Points of one job in one answer.
const MOST_POINTS: u32 = 20_000;

/// `GET /api/v1/jobs/{job_id}/metrics`.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct JobMetrics {
    /// The job.
    pub job_id: String,
    /// How far back, hours.
    pub time_range_hours: u32,
    /// From, inclusive.
    pub from: DateTime<Utc>,
    /// To, exclusive.
    pub to: DateTime<Utc>,
    /// Runs queued in that time, by status.
    pub runs: BTreeMap<String, u64>,
    /// One value per measure over the whole time, as alert rules fold it. `freshness` is the age of the newest data now.
    pub metrics: BTreeMap<String, f64>,
    /// Unit of each measure.
    pub units: BTreeMap<String, String>,
    /// Every measured value, oldest first.
    pub series: BTreeMap<String, Vec<Sample>>,
    /// There were more points than fit; the newest are here.
    pub truncated: bool,
}

/// One measured value.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Sample {
    /// When.
    pub at: DateTime<Utc>,
    /// How much.
    pub value: f64,
    /// Of which run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
}

/// A job's metrics of the last `hours` (1 to 720). A job of another tenant is not found.
pub async fn job_metrics(platform: &Platform, asker: &TenantScope, job: &JobId, hours: u32) -> Result<JobMetrics> {
    let now = Utc::now();
    let store = platform.store.tenant(asker);
    store.job(job).await?;
    let hours = hours.clamp(1, 720);
    let from = now - chrono::Duration::hours(i64::from(hours));
    let to = now + chrono::Duration::microseconds(1);
    let query = MetricQuery { job_id: Some(job.clone()), metric: None, from, to, limit: MOST_POINTS };
    let points = platform.series.query(asker.tenant(), &query).await?;
    let mut by_metric: BTreeMap<&str, Vec<&MetricPoint>> = BTreeMap::new();
    for point in &points {
        by_metric.entry(&point.metric).or_default().push(point);
    }
    let mut metrics: BTreeMap<String, f64> = by_metric
        .iter()
        .filter_map(|(metric, points)| Some(((*metric).to_owned(), fold(metric, points.iter().copied())?)))
        .collect();
    if let Some(age) = freshness(platform, asker.tenant(), job, now).await? {
        metrics.insert("freshness".into(), age);
    }
    let runs = runs_since(platform, asker.tenant(), Some(job), &[], from).await?;
    let sample = |p: &&MetricPoint| Sample { at: p.at, value: p.value, run_id: p.run_id.as_ref().map(ToString::to_string) };
    Ok(JobMetrics {
        job_id: job.to_string(),
        time_range_hours: hours,
        from,
        to: now,
        runs: by_status(&runs),
        units: MEASURES.iter().filter(|m| metrics.contains_key(m.name)).map(|m| (m.name.into(), m.unit.into())).collect(),
        metrics,
        series: by_metric.iter().map(|(metric, points)| ((*metric).to_owned(), points.iter().map(sample).collect())).collect(),
        truncated: points.len() as u32 >= MOST_POINTS,
    })
}

/// `GET /api/v1/monitoring/dashboard`. "Today" is the UTC day.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Dashboard {
    /// When it was made.
    pub generated_at: DateTime<Utc>,
    /// Runs queued today, by status.
    pub runs_today: BTreeMap<String, u64>,
    /// Jobs whose newest ended run failed, the newest failure first; at most 50.
    pub failing_jobs: Vec<FailingJob>,
    /// Active jobs that their schedule has called twice or more since they last succeeded, the longest first; at most 50.
    pub late_jobs: Vec<LateJob>,
    /// How much moves.
    pub throughput: Throughput,
    /// How far behind the runs are that wait or go on.
    pub lag: Worst,
    /// How old the newest data of active jobs with a schedule are.
    pub freshness: Worst,
    /// Alerts that hold, the newest first; at most 100.
    pub alerts: Vec<FiringAlert>,
    /// What waits.
    pub queue: Queue,
    /// Estimated cost.
    pub cost: Cost,
}

/// A job whose newest run failed.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FailingJob {
    /// The job.
    pub job_id: String,
    /// Its name.
    pub name: String,
    /// The run.
    pub run_id: String,
    /// When it ended.
    pub failed_at: Option<DateTime<Utc>>,
    /// The error's stable code.
    pub code: Option<String>,
    /// What happened.
    pub message: Option<String>,
}

/// A job that is behind its schedule.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct LateJob {
    /// The job.
    pub job_id: String,
    /// Its name.
    pub name: String,
    /// The first fire that no run has answered with success.
    pub due_at: DateTime<Utc>,
}

/// Rows and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Throughput {
    /// Rows written today by runs that ended.
    pub rows_today: f64,
    /// Bytes written today by runs that ended.
    pub bytes_today: f64,
    /// Rows a second over the last quarter of an hour, all runs together.
    pub rows_per_second: f64,
    /// Bytes a second over the last quarter of an hour, all runs together.
    pub bytes_per_second: f64,
}

/// The worst value and whose it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Worst {
    /// Seconds; 0 if there is none.
    pub max_seconds: f64,
    /// The job.
    pub job_id: Option<String>,
    /// Its name.
    pub name: Option<String>,
}

/// An alert that holds.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FiringAlert {
    /// The alert.
    pub alert_id: String,
    /// Its rule.
    pub rule_id: String,
    /// The job.
    pub job_id: String,
    /// Its name.
    pub name: String,
    /// What is watched; null when the rule is gone.
    pub metric: Option<String>,
    /// Above this it fires.
    pub threshold: Option<f64>,
    /// `info`, `warning`, `critical`.
    pub severity: Option<String>,
    /// The value that broke the rule.
    pub value: f64,
    /// Since when.
    pub fired_at: DateTime<Utc>,
}

/// What waits and what goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Queue {
    /// Runs that wait.
    pub queued: u64,
    /// Runs that go on.
    pub running: u64,
    /// How long the oldest has been waiting, seconds.
    pub oldest_queued_seconds: f64,
}

/// USD.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Cost {
    /// Of runs that ended today.
    pub today_usd: f64,
    /// Of runs that ended in the last thirty days.
    pub last_30_days_usd: f64,
}

/// A tenant's dashboard.
pub async fn dashboard(platform: &Platform, asker: &TenantScope) -> Result<Dashboard> {
    let now = Utc::now();
    let tenant = asker.tenant();
    let today = now.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
    let todays = runs_since(platform, tenant, None, &[], today).await?;
    let active = runs_since(platform, tenant, None, &[RunStatus::Queued, RunStatus::Running], DateTime::UNIX_EPOCH).await?;
    let rows = series(platform, tenant, "rows_written", today.min(now - chrono::Duration::minutes(15)), now).await?;
    let bytes = series(platform, tenant, "bytes_written", today.min(now - chrono::Duration::minutes(15)), now).await?;
    let costs = series(platform, tenant, "cost_usd", now - chrono::Duration::days(30), now).await?;
    let since = |points: &[MetricPoint], metric: &str, from: DateTime<Utc>| {
        fold(metric, points.iter().filter(|point| point.at >= from)).unwrap_or(0.0)
    };
    let quarter = now - chrono::Duration::minutes(15);
    let (freshness, late_jobs) = schedules(platform, asker, now).await?;
    let store = platform.store.tenant(asker);
    let lag = worst(active.iter().map(|run| (&run.job_id, seconds(due_at(run), now))));
    let lagging: Option<JobId> = lag.job_id.as_deref().map(JobId::from);
    let name = store.job_names(&lagging).await?.into_values().next();
    let waiting = active.iter().filter(|run| run.status == RunStatus::Queued);
    Ok(Dashboard {
        generated_at: now,
        runs_today: by_status(&todays),
        failing_jobs: failing_jobs(platform, asker, now).await?,
        throughput: Throughput {
            rows_today: since(&rows, "rows_written", today),
            bytes_today: since(&bytes, "bytes_written", today),
            rows_per_second: gained(&rows, quarter) / 900.0,
            bytes_per_second: gained(&bytes, quarter) / 900.0,
        },
        late_jobs,
        lag: Worst { name, ..lag },
        freshness,
        alerts: firing_alerts(platform, asker).await?,
        queue: Queue {
            queued: waiting.clone().count() as u64,
            running: active.iter().filter(|run| run.status == RunStatus::Running).count() as u64,
            oldest_queued_seconds: waiting.map(|run| seconds(run.queued_at, now)).fold(0.0, f64::max),
        },
        cost: Cost {
            today_usd: since(&costs, "cost_usd", today),
            last_30_days_usd: since(&costs, "cost_usd", DateTime::UNIX_EPOCH),
        },
    })
}

/// What came in addition since `from`: of a run that was looked at before, only the difference.
fn gained(points: &[MetricPoint], from: DateTime<Utc>) -> f64 {
    let mut before: BTreeMap<Option<&str>, f64> = BTreeMap::new();
    let mut newest: BTreeMap<Option<&str>, f64> = BTreeMap::new();
    for point in points {
        let run = point.run_id.as_ref().map(|run| run.as_str());
        if point.at < from {
            before.insert(run, point.value)
        } else {
            newest.insert(run, point.value)
        };
    }
    newest.iter().map(|(run, value)| (value - before.get(run).copied().unwrap_or(0.0)).max(0.0)).sum()
}

async fn series(
    platform: &Platform,
    tenant: &TenantId,
    metric: &str,
    from: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<MetricPoint>> {
    let to = now + chrono::Duration::microseconds(1);
    platform.series.query(tenant, &MetricQuery { job_id: None, metric: Some(metric.into()), from, to, limit: 50_000 }).await
}

async fn runs_since(
    platform: &Platform,
    tenant: &TenantId,
    job: Option<&JobId>,
    statuses: &[RunStatus],
    from: DateTime<Utc>,
) -> Result<Vec<Run>> {
    let store = platform.store.tenant(&TenantScope::granted(tenant.clone(), Actor::system("monitoring")));
    let filter = RunFilter { job_id: job.cloned(), statuses: statuses.to_vec(), since: Some(from) };
    let (mut runs, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.list_runs(&filter, &PageRequest { limit: 500, cursor }).await?;
        runs.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() || runs.len() >= MOST_RUNS {
            return Ok(runs);
        }
    }
}

fn by_status(runs: &[Run]) -> BTreeMap<String, u64> {
    let all = [
        RunStatus::Queued,
        RunStatus::Running,
        RunStatus::Succeeded,
        RunStatus::Failed,
        RunStatus::Cancelled,
        RunStatus::Skipped,
    ];
    all.into_iter().map(|s| (s.as_str().to_owned(), runs.iter().filter(|run| run.status == s).count() as u64)).collect()
}

fn worst<'a>(values: impl Iterator<Item = (&'a JobId, f64)>) -> Worst {
    let worst = values.max_by(|(_, a), (_, b)| a.total_cmp(b));
    worst.map_or_else(Worst::default, |(job, value)| Worst { max_seconds: value, job_id: Some(job.to_string()), name: None })
}

async fn failing_jobs(platform: &Platform, asker: &TenantScope, now: DateTime<Utc>) -> Result<Vec<FailingJob>> {
    let store = platform.store.tenant(asker);
    let failed = runs_since(platform, asker.tenant(), None, &[RunStatus::Failed], now - chrono::Duration::days(7)).await?;
    let (mut seen, mut failing) = (BTreeSet::new(), Vec::new());
    for run in failed {
        if failing.len() >= 50 || !seen.insert(run.job_id.clone()) {
            continue;
        }
        let ended = vec![RunStatus::Succeeded, RunStatus::Failed];
        let filter = RunFilter { job_id: Some(run.job_id.clone()), statuses: ended, since: None };
        let newest = store.list_runs(&filter, &PageRequest { limit: 1, cursor: None }).await?.items;
        if newest.first().is_none_or(|newest| newest.id != run.id) {
            continue;
        }
        // A deleted job fails no more.
        let Ok(job) = store.job(&run.job_id).await else { continue };
        let text = |key: &str| run.error.as_ref().and_then(|e| e.get(key)).and_then(Value::as_str).map(str::to_owned);
        failing.push(FailingJob {
            job_id: run.job_id.to_string(),
            name: job.body.name,
            run_id: run.id.to_string(),
            failed_at: run.ended_at,
            code: text("code"),
            message: text("message"),
        });
    }
    Ok(failing)
}

/// Of jobs that should run by themselves; those that a person starts are as old as the person lets them be.
async fn schedules(platform: &Platform, asker: &TenantScope, now: DateTime<Utc>) -> Result<(Worst, Vec<LateJob>)> {
    let store = platform.store.tenant(asker);
    let filter = weir_store::model::JobFilter { status: Some(JobStatus::Active), ..Default::default() };
    let (mut worst_age, mut late) = (Worst::default(), Vec::new());
    let mut cursor = None;
    let mut newest: BTreeMap<JobId, DateTime<Utc>> = BTreeMap::new();
    for run in runs_since(platform, asker.tenant(), None, &[RunStatus::Succeeded], now - chrono::Duration::days(30)).await? {
        let ended = run.ended_at.unwrap_or(run.queued_at);
        let held = newest.entry(run.job_id).or_insert(ended);
        *held = (*held).max(ended);
    }
    loop {
        let page = store.list_jobs(&filter, &PageRequest { limit: 500, cursor }).await?;
        for job in page.items {
            let Some(schedule) = &job.schedule else { continue };
            let since = newest.get(&job.id).copied().unwrap_or(job.created_at);
            let age = seconds(since, now);
            // A schedule that was stored can be read; if it cannot, the scheduler says so.
            if let Ok([first, second]) = next_fires(schedule, since, 2).as_deref()
                && *second <= now
            {
                late.push(LateJob { job_id: job.id.to_string(), name: job.name.clone(), due_at: *first });
            }
            if age > worst_age.max_seconds {
                worst_age = Worst { max_seconds: age, job_id: Some(job.id.to_string()), name: Some(job.name) };
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            late.sort_by_key(|job: &LateJob| job.due_at);
            late.truncate(50);
            return Ok((worst_age, late));
        }
    }
}

async fn firing_alerts(platform: &Platform, asker: &TenantScope) -> Result<Vec<FiringAlert>> {
    let page = PageRequest { limit: 100, cursor: None };
    let store = platform.store.tenant(asker);
    let alerts = store.alerts(None, Some(AlertState::Firing), &page).await?.items;
    let names = store.job_names(alerts.iter().map(|alert| &alert.job_id)).await?;
    let mut rules: BTreeMap<RuleId, NewRule> = BTreeMap::new();
    for job in names.keys() {
        // Of a deleted job there are no rules.
        let of_job = store.rules(job).await.unwrap_or_default();
        rules.extend(of_job.into_iter().map(|rule| (rule.id, rule.body)));
    }
    let shown = |alert: Alert| {
        let rule = rules.get(&alert.rule_id);
        FiringAlert {
            alert_id: alert.id.to_string(),
            rule_id: alert.rule_id.to_string(),
            name: names.get(&alert.job_id).cloned().unwrap_or_default(),
            job_id: alert.job_id.to_string(),
            metric: rule.map(|rule| rule.metric.clone()),
            threshold: rule.map(|rule| rule.threshold),
            severity: rule.map(|rule| rule.severity.clone()),
            value: alert.value,
            fired_at: alert.fired_at,
        }
    };
    Ok(alerts.into_iter().map(shown).collect())
}
