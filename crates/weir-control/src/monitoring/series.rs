//! The time-series store behind one trait. By default the points lie in the platform's own database; with `IGNITE_HOSTS` in Apache Ignite.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use weir_error::Result;
use weir_store::model::{MetricPoint, MetricQuery, TenantId};
use weir_store::{Actor, Store, TenantScope};

/// Where metric points are kept.
///
/// Contract: a point is identified by tenant, metric, run, labels and time; writing it again changes its value and makes no second one. A query
/// sees only points of its tenant. Points are written in batches without a promise of atomicity: after an error the caller writes all again.
#[async_trait]
pub trait SeriesStore: Send + Sync {
    /// `embedded` or `ignite`.
    fn name(&self) -> &'static str;
    /// Keeps points.
    async fn write(&self, points: &[MetricPoint]) -> Result<()>;
    /// The newest `limit` points that fit, oldest first.
    async fn query(&self, tenant: &TenantId, query: &MetricQuery) -> Result<Vec<MetricPoint>>;
    /// Deletes what is older; says how many, if the store knows.
    async fn prune(&self, before: DateTime<Utc>) -> Result<u64>;
    /// Whether it answers.
    async fn ready(&self) -> Result<()>;
}

/// Points in the platform's database.
pub struct Embedded(Store);

impl Embedded {
    /// In this one.
    pub fn new(store: Store) -> Self {
        Self(store)
    }
}

#[async_trait]
impl SeriesStore for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }
    async fn write(&self, points: &[MetricPoint]) -> Result<()> {
        self.0.system().write_points(points.to_vec()).await
    }
    async fn query(&self, tenant: &TenantId, query: &MetricQuery) -> Result<Vec<MetricPoint>> {
        self.0.tenant(&TenantScope::granted(tenant.clone(), Actor::system("monitoring"))).points(query).await
    }
    async fn prune(&self, before: DateTime<Utc>) -> Result<u64> {
        self.0.system().prune(before).await
    }
    async fn ready(&self) -> Result<()> {
        self.0.ready().await
    }
}
