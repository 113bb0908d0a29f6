//! Alert rules: measured every ten seconds, by every replica; the database lets each alert begin once and end once.
//!
//! A rule fires when the folded value of its window is **above** the threshold, and is resolved when it is not. A window without points says
//! nothing: what fires goes on firing, what does not stays quiet, so a job that runs once a day does not flap with a window of five minutes.
//! `processing_lag` also counts runs that wait or go on now; `freshness` is the age of the newest data now (of a paused job nothing is expected).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use weir_error::{Kind, Result};
use weir_store::model::{
    AlertRule, AlertState, JobId, JobStatus, MetricPoint, MetricQuery, PageRequest, RuleId, RunFilter, RunStatus, TenantId,
};

use super::collector::{last_success, scope};
use super::measures::fold;
use super::points::{due_at, seconds};
use crate::Platform;

/// As many points of a tenant are read at once; if there are more, each rule reads its own.
const MOST_POINTS: u32 = 50_000;

/// What one turn changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    /// Alerts that this process began.
    pub fired: u32,
    /// Alerts that this process ended.
    pub resolved: u32,
}

/// Measures all rules once. A rule that cannot be measured does not keep the others from it; the first error is returned at the end.
pub async fn evaluate(platform: &Platform, now: DateTime<Utc>) -> Result<Turn> {
    let mut by_tenant: BTreeMap<TenantId, Vec<AlertRule>> = BTreeMap::new();
    for rule in platform.store.system().all_rules().await? {
        by_tenant.entry(rule.tenant_id.clone()).or_default().push(rule);
    }
    let (mut turn, mut first_error) = (Turn::default(), None);
    for (tenant, rules) in by_tenant {
        match of_tenant(platform, &tenant, &rules, now).await {
            Ok(one) => {
                turn.fired += one.fired;
                turn.resolved += one.resolved;
            }
            Err(error) => {
                tracing::warn!(%tenant, %error, "alert rules could not be measured");
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(turn), Err)
}

async fn of_tenant(platform: &Platform, tenant: &TenantId, rules: &[AlertRule], now: DateTime<Utc>) -> Result<Turn> {
    let firing = firing(platform, tenant).await?;
    let longest = rules.iter().map(|rule| rule.body.window_secs).max().unwrap_or(0);
    let all = points(platform, tenant, None, None, longest, now).await?;
    let whole = (all.len() as u32) < MOST_POINTS;
    let system = platform.store.system();
    let mut turn = Turn::default();
    for rule in rules {
        let value = if whole { measure(platform, rule, &all, now).await? } else { measure_alone(platform, rule, now).await? };
        let Some(value) = value else { continue };
        let is_firing = firing.contains(&rule.id);
        // The set may be a moment old; the store decides, and answers `None` to who comes second.
        if value > rule.body.threshold && !is_firing {
            if system.fire_alert(rule, value).await?.is_some() {
                turn.fired += 1;
                platform.metrics.count("weir_alert_changes_total", "fired", 1.0);
            }
        } else if value <= rule.body.threshold && is_firing && system.resolve_alert(rule, value).await?.is_some() {
            turn.resolved += 1;
            platform.metrics.count("weir_alert_changes_total", "resolved", 1.0);
        }
    }
    Ok(turn)
}

async fn firing(platform: &Platform, tenant: &TenantId) -> Result<BTreeSet<RuleId>> {
    let store = platform.store.tenant(&scope(tenant));
    let (mut firing, mut cursor) = (BTreeSet::new(), None);
    loop {
        let page = store.alerts(None, Some(AlertState::Firing), &PageRequest { limit: 500, cursor }).await?;
        firing.extend(page.items.into_iter().map(|alert| alert.rule_id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(firing);
        }
    }
}

async fn points(
    platform: &Platform,
    tenant: &TenantId,
    job: Option<&JobId>,
    metric: Option<&str>,
    window_secs: u32,
    now: DateTime<Utc>,
) -> Result<Vec<MetricPoint>> {
    let query = MetricQuery {
        job_id: job.cloned(),
        metric: metric.map(str::to_owned),
        from: now - chrono::Duration::seconds(i64::from(window_secs)),
        // What was measured in this very moment counts.
        to: now + chrono::Duration::microseconds(1),
        limit: MOST_POINTS,
    };
    platform.series.query(tenant, &query).await
}

async fn measure_alone(platform: &Platform, rule: &AlertRule, now: DateTime<Utc>) -> Result<Option<f64>> {
    let own = points(platform, &rule.tenant_id, Some(&rule.job_id), Some(&rule.body.metric), rule.body.window_secs, now).await?;
    measure(platform, rule, &own, now).await
}

/// The rule's value now; `None` = nothing is known.
async fn measure(platform: &Platform, rule: &AlertRule, points: &[MetricPoint], now: DateTime<Utc>) -> Result<Option<f64>> {
    let from = now - chrono::Duration::seconds(i64::from(rule.body.window_secs));
    let of_rule = |point: &&MetricPoint| {
        point.job_id.as_ref() == Some(&rule.job_id) && point.metric == rule.body.metric && point.at >= from && point.at <= now
    };
    let measured = fold(&rule.body.metric, points.iter().filter(of_rule));
    match rule.body.metric.as_str() {
        "freshness" => freshness(platform, &rule.tenant_id, &rule.job_id, now).await,
        "processing_lag" => {
            let live = waiting(platform, rule, now).await?;
            Ok(measured.into_iter().chain(live).reduce(f64::max))
        }
        _ => Ok(measured),
    }
}

/// Seconds since the newest success, or since the job was made; `None` for a paused or deleted job.
pub(super) async fn freshness(platform: &Platform, tenant: &TenantId, job: &JobId, now: DateTime<Utc>) -> Result<Option<f64>> {
    let job = match platform.store.tenant(&scope(tenant)).job(job).await {
        Ok(job) if job.status == JobStatus::Active => job,
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == Kind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let newest = last_success(platform, tenant, &job.id, None).await?;
    Ok(Some(seconds(newest.unwrap_or(job.created_at), now)))
}

/// How long the job's oldest run that waits or goes on has been due.
async fn waiting(platform: &Platform, rule: &AlertRule, now: DateTime<Utc>) -> Result<Option<f64>> {
    let filter =
        RunFilter { job_id: Some(rule.job_id.clone()), statuses: vec![RunStatus::Queued, RunStatus::Running], since: None };
    let page = PageRequest { limit: 100, cursor: None };
    let runs = platform.store.tenant(&scope(&rule.tenant_id)).list_runs(&filter, &page).await?.items;
    Ok(runs.iter().map(|run| seconds(due_at(run), now)).reduce(f64::max))
}

/// The loop. It does not end by an error.
pub async fn run(platform: Platform, stop: CancellationToken) {
    const PAUSE: Duration = Duration::from_secs(10);
    let mut pause = PAUSE;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = match evaluate(&platform, Utc::now()).await {
            Ok(_) => PAUSE,
            Err(error) => {
                platform.metrics.loop_error("alerts");
                tracing::warn!(%error, "alert rules could not be measured");
                (pause * 2).min(Duration::from_secs(120))
            }
        };
    }
}
