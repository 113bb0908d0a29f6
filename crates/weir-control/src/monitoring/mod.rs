//! What is measured, kept, shown and watched.
//!
//! * [`Registry`]: what this process counts of itself; [`totals`]: what all runs add up to, from the database; [`export()`]: both as Prometheus text;
//! * [`measures`] and [`points`]: a run as metric points; [`SeriesStore`]: where they are kept (embedded, or Apache Ignite);
//! * [`collector`]: the loop that turns runs into points and totals; [`drift`]: what changed in the schemas;
//! * [`alerts`]: the loop that measures alert rules; [`rehearse`]: what a rule would have done; [`dashboard()`], [`history()`] and [`job_metrics`]: what people look at.
//!
//! Not here: who is told of an alert ([`crate::events`]), and HTTP.

pub mod alerts;
pub mod collector;
mod dashboard;
pub mod drift;
mod export;
mod history;
mod ignite;
pub mod measures;
pub mod points;
mod process;
#[cfg(test)]
mod reference;
mod registry;
mod rehearsal;
mod series;
mod spending;
mod streams;
mod text;
pub mod totals;

pub use dashboard::{
    Cost, Dashboard, FailingJob, FiringAlert, JobMetrics, Queue, Sample, Throughput, Worst, dashboard, job_metrics,
};
pub use export::{export, export_tenant};
pub use history::{History, Step, history};
pub use ignite::Ignite;
pub use registry::{InFlight, Registry};
pub use rehearsal::{Measured, Rehearsal, Rehearsed, rehearse};
pub use series::{Embedded, SeriesStore};
pub use spending::JobCost;
pub use text::CONTENT_TYPE;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use weir_error::Result;
use weir_store::Store;

use crate::Platform;
use crate::config::Settings;

/// All loops of this part, until told to stop.
pub async fn run(platform: Platform, stop: CancellationToken) {
    tokio::join!(collector::run(platform.clone(), stop.clone()), alerts::run(platform, stop));
}

/// The series store that the settings name.
pub fn series_store(settings: &Settings, store: &Store) -> Result<Arc<dyn SeriesStore>> {
    if settings.ignite_hosts.is_empty() {
        return Ok(Arc::new(Embedded::new(store.clone())));
    }
    Ok(Arc::new(Ignite::new(&settings.ignite_hosts)?))
}
