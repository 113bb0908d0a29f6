//! `/metrics`: all that is counted, as Prometheus text. The platform's page has every tenant; a tenant's own has its rows and nothing of the
//! process.

use weir_error::Result;
use weir_store::TenantScope;
use weir_store::model::{Counts, Run, RunStatus, RunTotal, TenantId};

use super::text::{Kind, Text};
use super::{streams, totals};
use crate::Platform;

/// The whole platform. A database that does not answer is a metric too (`weir_store_up 0`), not an error: what the process knows of itself is
/// told all the same.
pub async fn export(platform: &Platform) -> String {
    let mut text = Text::default();
    let asked = from_store(platform).await;
    store_up(&mut text, asked.is_ok());
    match asked {
        Ok((run_totals, depths, active, counts)) => {
            totals::write(&mut text, &run_totals, None);
            queue(&mut text, &depths, &running(&active));
            streams::write(&mut text, &active, None);
            gauges(&mut text, &counts);
        }
        Err(error) => {
            platform.metrics.loop_error("export");
            tracing::warn!(%error, "metrics without those of the database");
        }
    }
    platform.metrics.write(&mut text);
    text.finish()
}

/// One tenant's part of it, for `GET /api/v1/monitoring/metrics/export`.
pub async fn export_tenant(platform: &Platform, asker: &TenantScope) -> Result<String> {
    let (run_totals, depths, active, _) = from_store(platform).await?;
    let ours = |rows: Vec<(TenantId, u64)>| rows.into_iter().filter(|(t, _)| t == asker.tenant()).collect::<Vec<_>>();
    let mut text = Text::default();
    totals::write(&mut text, &run_totals, Some(asker.tenant()));
    queue(&mut text, &ours(depths), &ours(running(&active)));
    streams::write(&mut text, &active, Some(asker.tenant()));
    Ok(text.finish())
}

/// Every family of the platform's page.
#[cfg(test)]
pub(super) fn families() -> Vec<(String, Kind, String)> {
    let mut text = Text::default();
    store_up(&mut text, true);
    totals::write(&mut text, &[], None);
    queue(&mut text, &[], &[]);
    streams::write(&mut text, &[], None);
    gauges(&mut text, &Counts::default());
    super::Registry::default().write(&mut text);
    text.families().to_vec()
}

fn store_up(text: &mut Text, up: bool) {
    text.family("weir_store_up", Kind::Gauge, "Whether the database answered.");
    text.sample("weir_store_up", &[], f64::from(u8::from(up)));
}

type FromStore = (Vec<RunTotal>, Vec<(TenantId, u64)>, Vec<Run>, Counts);

async fn from_store(platform: &Platform) -> Result<FromStore> {
    let system = platform.store.system();
    Ok((system.run_totals().await?, system.queue_depth().await?, system.active_runs().await?, system.counts().await?))
}

fn running(active: &[Run]) -> Vec<(TenantId, u64)> {
    let mut running = std::collections::BTreeMap::<TenantId, u64>::new();
    for run in active.iter().filter(|run| run.status == RunStatus::Running) {
        *running.entry(run.tenant_id.clone()).or_default() += 1;
    }
    running.into_iter().collect()
}

fn queue(text: &mut Text, depths: &[(TenantId, u64)], running: &[(TenantId, u64)]) {
    let mut per_tenant = |name: &str, help: &str, rows: &[(TenantId, u64)]| {
        text.family(name, Kind::Gauge, help);
        for (tenant, count) in rows {
            text.sample(name, &[("tenant_id", tenant.as_str())], *count as f64);
        }
    };
    per_tenant("weir_queue_depth", "Runs that wait for a worker.", depths);
    per_tenant("weir_queue_running", "Runs that go on.", running);
}

fn gauges(text: &mut Text, counts: &Counts) {
    for (name, help, value) in [
        ("weir_tenants", "Tenants.", counts.tenants),
        ("weir_jobs", "Jobs that are not deleted.", counts.jobs),
        ("weir_queue_runs_queued", "Runs that wait, of all tenants.", counts.queued_runs),
        ("weir_queue_runs_running", "Runs that go on, of all tenants.", counts.running_runs),
        ("weir_alerts_firing", "Alerts that hold.", counts.firing_alerts),
        ("weir_deliveries_pending", "Deliveries of events that wait.", counts.pending_deliveries),
        ("weir_deliveries_dead", "Deliveries of events that were given up.", counts.dead_deliveries),
    ] {
        text.family(name, Kind::Gauge, help);
        text.sample(name, &[], value as f64);
    }
}
