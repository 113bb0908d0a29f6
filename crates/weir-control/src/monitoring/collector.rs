//! Runs become metric points and totals.
//!
//! The end of a run comes through the outbox (destination `monitor`): its share of the totals is added in the transaction that takes the event
//! out, so each run counts once however often a process dies. Its points are written before; a second try writes the same ones again.
//! A run that goes on is looked at every ten seconds by the process that executes it.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use weir_error::{Kind, Result};
use weir_store::model::{Delivery, JobId, MetricPoint, PageRequest, Run, RunFilter, RunId, RunStatus, TenantId};
use weir_store::{Actor, TenantScope};

use super::points::{Look, Route, of_finished, of_running};
use super::{drift, totals};
use crate::Platform;

/// The outbox's destination that this module reads.
pub const DESTINATION: &str = weir_store::system::outbox::MONITOR;
/// The one event of a run that is made exactly once, when nothing more will happen to it.
const RUN_ENDED: &str = "seatunnel-job-completed";

const LEASE: Duration = Duration::from_secs(60);
const BATCH: u32 = 100;
/// Points that wait while the series store does not answer; beyond it the oldest are dropped.
const MOST_WAITING: usize = 50_000;

/// The state of the loop.
pub struct Collector {
    platform: Platform,
    looks: HashMap<RunId, Look>,
    waiting: Vec<MetricPoint>,
}

impl Collector {
    /// Of this platform.
    pub fn new(platform: Platform) -> Self {
        Self { platform, looks: HashMap::new(), waiting: Vec::new() }
    }

    /// Takes the ends of runs out of the outbox; how many events it took.
    pub async fn take_ended(&mut self) -> Result<usize> {
        let system = self.platform.store.system();
        let deliveries = system.claim_deliveries(&[DESTINATION], &self.platform.settings.runner_id, LEASE, BATCH).await?;
        for delivery in &deliveries {
            if let Err(error) = self.take(delivery).await {
                self.platform.metrics.loop_error("monitoring");
                tracing::warn!(event_id = %delivery.row.event_id, %error, "a run's end could not be counted; it is tried again");
                let again = Utc::now() + chrono::Duration::seconds(i64::from(delivery.attempts.clamp(1, 60)));
                system.delivery_failed(delivery, error.what(), Some(again)).await?;
            }
        }
        self.write_waiting().await;
        Ok(deliveries.len())
    }

    async fn take(&mut self, delivery: &Delivery) -> Result<()> {
        let system = self.platform.store.system();
        let run_id = delivery.row.event.data.get("run_id").and_then(Value::as_str);
        let (RUN_ENDED, Some(run_id)) = (delivery.row.event.kind.as_str(), run_id) else {
            return system.delivered(delivery).await;
        };
        let store = self.platform.store.tenant(&scope(&delivery.row.tenant_id));
        let run = match store.run(&RunId::from(run_id)).await {
            Ok(run) => run,
            // Deleted since: it has no numbers any more.
            Err(error) if error.kind() == Kind::NotFound => return system.delivered(delivery).await,
            Err(error) => return Err(error),
        };
        let route = self.route(&run.tenant_id, &run.job_id).await?;
        let prices = self.platform.settings.cost;
        let last_success = last_success(&self.platform, &run.tenant_id, &run.job_id, Some(&run)).await?;
        let mut points = of_finished(&run, &route, prices, last_success);
        let mut drifted = 0;
        if run.status == RunStatus::Succeeded {
            drifted = drift::observe(&self.platform, &run).await?;
            if let Some(template) = points.first().filter(|_| !drift::schemas_of(&run).is_empty()) {
                points.push(MetricPoint { metric: "schema_drift".into(), value: drifted as f64, ..template.clone() });
            }
        }
        self.looks.remove(&run.id);
        self.keep(points);
        let counted = system.delivered_with_totals(delivery, &totals::of_run(&run, &route, prices, drifted)).await?;
        if !counted {
            tracing::debug!(run_id = %run.id, "another process counted this run");
        }
        Ok(())
    }

    /// Looks at the runs that this process executes.
    pub async fn look(&mut self, now: DateTime<Utc>) -> Result<()> {
        let worker = &self.platform.settings.runner_id;
        let mut runs = self.platform.store.system().active_runs().await?;
        runs.retain(|run| run.status == RunStatus::Running && run.worker.as_deref().is_some_and(|name| is_ours(name, worker)));
        self.looks.retain(|id, _| runs.iter().any(|run| run.id == *id));
        for run in runs {
            let route = self.route(&run.tenant_id, &run.job_id).await?;
            let (points, look) = of_running(&run, &route, self.looks.get(&run.id).copied(), now);
            self.looks.insert(run.id.clone(), look);
            self.keep(points);
        }
        self.write_waiting().await;
        Ok(())
    }

    async fn route(&self, tenant: &TenantId, job: &JobId) -> Result<Route> {
        match self.platform.store.tenant(&scope(tenant)).job(job).await {
            Ok(job) => Ok(Route::of(&job.body.source_kinds, &job.body.sink_kinds)),
            Err(error) if error.kind() == Kind::NotFound => Ok(Route::of(&[], &[])),
            Err(error) => Err(error),
        }
    }

    fn keep(&mut self, points: Vec<MetricPoint>) {
        self.waiting.extend(points);
        let too_many = self.waiting.len().saturating_sub(MOST_WAITING);
        if too_many > 0 {
            self.waiting.drain(..too_many);
            self.platform.metrics.count("weir_series_points_total", "dropped", too_many as f64);
        }
    }

    /// A series store that does not answer holds nothing up: the points wait here, the totals are counted all the same.
    async fn write_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        match self.platform.series.write(&self.waiting).await {
            Ok(()) => {
                self.platform.metrics.count("weir_series_points_total", "written", self.waiting.len() as f64);
                self.waiting.clear();
            }
            Err(error) => {
                self.platform.metrics.loop_error("series");
                tracing::warn!(store = self.platform.series.name(), waiting = self.waiting.len(), %error, "metric points could not be written");
            }
        }
    }
}

/// Worker names begin with the process's `RUNNER_ID`.
fn is_ours(worker: &str, runner: &str) -> bool {
    worker.strip_prefix(runner).is_some_and(|rest| rest.chars().next().is_none_or(|c| !c.is_ascii_alphanumeric()))
}

pub(super) fn scope(tenant: &TenantId) -> TenantScope {
    TenantScope::granted(tenant.clone(), Actor::system("monitoring"))
}

/// The end of the newest run of a job that succeeded; with `before`, of one that ended before that run.
pub(super) async fn last_success(
    platform: &Platform,
    tenant: &TenantId,
    job: &JobId,
    before: Option<&Run>,
) -> Result<Option<DateTime<Utc>>> {
    let filter = RunFilter { job_id: Some(job.clone()), statuses: vec![RunStatus::Succeeded], since: None };
    let page = PageRequest { limit: 20, cursor: None };
    let runs = platform.store.tenant(&scope(tenant)).list_runs(&filter, &page).await?.items;
    let earlier = |run: &&Run| before.is_none_or(|this| run.id != this.id && run.ended_at < this.ended_at);
    Ok(runs.iter().filter(earlier).filter_map(|run| run.ended_at).max())
}

/// The loop: ends of runs at once, looks every ten seconds, old points and whatever else has served away every hour. It does not end by an error.
pub async fn run(platform: Platform, stop: CancellationToken) {
    /// How long points are kept.
    const KEPT: chrono::Duration = chrono::Duration::days(30);
    let mut collector = Collector::new(platform.clone());
    let mut looks = tokio::time::interval(Duration::from_secs(10));
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut pause = Duration::from_millis(500);
    let mut next_prune = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {
                if let Err(error) = collector.look(Utc::now()).await {
                    platform.metrics.loop_error("monitoring");
                    tracing::warn!(%error, "running jobs could not be looked at");
                }
                if tokio::time::Instant::now() >= next_prune {
                    next_prune = tokio::time::Instant::now() + Duration::from_secs(3600);
                    if let Err(error) = platform.series.prune(Utc::now() - KEPT).await {
                        tracing::warn!(%error, "old metric points could not be deleted");
                    }
                    if let Err(error) = platform.store.system().sweep(Utc::now()).await {
                        tracing::warn!(%error, "what has served could not be deleted from the database");
                    }
                }
            }
            () = tokio::time::sleep(pause) => {
                pause = match collector.take_ended().await {
                    // Of each job one at a time: there may be more at once.
                    Ok(taken) if taken > 0 => Duration::ZERO,
                    Ok(_) => Duration::from_millis(500),
                    Err(error) => {
                        platform.metrics.loop_error("monitoring");
                        tracing::warn!(%error, "ended runs could not be asked for");
                        (pause * 2).clamp(Duration::from_secs(1), Duration::from_secs(30))
                    }
                };
            }
        }
    }
}
