//! Tenants (for platform-admins), and a tenant's own limits and use.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_control::files::removal;
use weir_store::model::{self, TenantId};

use super::page::Page;
use super::words::TenantStatus;
use crate::answer::{Answer, Reply, ReplyExt};
use crate::ask::Ask;
use crate::problem::Problem;

/// Limits; null or absent = none of its own.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = Quotas)]
pub struct QuotasView {
    /// Jobs.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub max_pipelines: Option<u64>,
    /// Runs at the same time.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub max_concurrent_runs: Option<u64>,
    /// Rows written in a UTC day.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub max_rows_per_day: Option<u64>,
    /// Bytes written in a UTC day.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub max_bytes_per_day: Option<u64>,
    /// Memory of a run, bytes.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub max_memory_bytes_per_run: Option<u64>,
    /// CPU seconds of a run.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub max_cpu_secs_per_run: Option<u64>,
    /// Bytes in the tenant's folder.
    #[schema(minimum = 0, maximum = 9007199254740991i64)]
    pub max_storage_bytes: Option<u64>,
}

impl From<model::Quotas> for QuotasView {
    fn from(q: model::Quotas) -> Self {
        Self {
            max_pipelines: q.max_pipelines,
            max_concurrent_runs: q.max_concurrent_runs,
            max_rows_per_day: q.max_rows_per_day,
            max_bytes_per_day: q.max_bytes_per_day,
            max_memory_bytes_per_run: q.max_memory_bytes_per_run,
            max_cpu_secs_per_run: q.max_cpu_secs_per_run,
            max_storage_bytes: q.max_storage_bytes,
        }
    }
}

impl From<QuotasView> for model::Quotas {
    fn from(q: QuotasView) -> Self {
        Self {
            max_pipelines: q.max_pipelines,
            max_concurrent_runs: q.max_concurrent_runs,
            max_rows_per_day: q.max_rows_per_day,
            max_bytes_per_day: q.max_bytes_per_day,
            max_memory_bytes_per_run: q.max_memory_bytes_per_run,
            max_cpu_secs_per_run: q.max_cpu_secs_per_run,
            max_storage_bytes: q.max_storage_bytes,
        }
    }
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tenant)]
pub struct TenantView {
    /// Its id, a DNS label.
    pub id: String,
    /// For people.
    pub name: String,
    /// Whether it may do anything.
    pub status: TenantStatus,
    /// Its limits.
    pub quotas: QuotasView,
    /// Grows with each change; the ETag.
    pub version: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
}

impl From<model::Tenant> for TenantView {
    fn from(tenant: model::Tenant) -> Self {
        Self {
            id: tenant.id.to_string(),
            name: tenant.name,
            status: tenant.status.into(),
            quotas: tenant.quotas.into(),
            version: tenant.version,
            created_at: tenant.created_at,
        }
    }
}

/// A tenant to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// A DNS label; it cannot be changed.
    #[schema(min_length = 1, max_length = 63, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    pub id: String,
    /// For people.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f]*$")]
    pub name: String,
    /// Its limits.
    #[serde(default)]
    #[schema(required = false)]
    pub quotas: QuotasView,
}

/// Whether a tenant shall do anything. Removing is an operation of its own.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum TenantSwitch {
    Active,
    Suspended,
}

/// A tenant's changeable parts, all of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantUpdate {
    /// For people.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f]*$")]
    pub name: String,
    /// Whether it may do anything.
    pub status: TenantSwitch,
    /// Its limits.
    pub quotas: QuotasView,
}

/// `POST /tenants`.
pub async fn create(ask: Ask, me: Caller) -> Reply {
    let new: NewTenant = ask.json()?;
    let system = ask.app.platform.store.system();
    let tenant = system.create_tenant(me.scope.actor(), &TenantId::from(new.id), &new.name, new.quotas.into()).await?;
    let (version, place) = (tenant.version, format!("/api/v1/tenants/{}", tenant.id));
    Answer::created(&TenantView::from(tenant)).etag(version).location(&place)
}

/// `GET /tenants`.
pub async fn list(ask: Ask, _me: Caller) -> Reply {
    let page = ask.app.platform.store.system().tenants(&ask.page()).await?;
    Answer::json(&Page::<TenantView>::of(page))
}

/// `GET /tenants/{tenant_id}`.
pub async fn get(ask: Ask, _me: Caller) -> Reply {
    let tenant = ask.app.platform.store.system().tenant(&TenantId::from(ask.id("tenant_id"))).await?;
    let version = tenant.version;
    Answer::json(&TenantView::from(tenant)).etag(version)
}

/// `PUT /tenants/{tenant_id}`.
pub async fn update(ask: Ask, me: Caller) -> Reply {
    let new: TenantUpdate = ask.json()?;
    let system = ask.app.platform.store.system();
    let id = TenantId::from(ask.id("tenant_id"));
    let status = match new.status {
        TenantSwitch::Active => model::TenantStatus::Active,
        TenantSwitch::Suspended => model::TenantStatus::Suspended,
    };
    let tenant = system.update_tenant(me.scope.actor(), &id, ask.expected(), &new.name, status, new.quotas.into()).await?;
    ask.app.platform.access.forget();
    let version = tenant.version;
    Answer::json(&TenantView::from(tenant)).etag(version)
}

/// `DELETE /tenants/{tenant_id}`. Its files go in the background; whatever happens to this process, the removal is taken up again.
pub async fn remove(ask: Ask, me: Caller) -> Reply {
    let platform = &ask.app.platform;
    let id = TenantId::from(ask.id("tenant_id"));
    if id.as_str() == platform.settings.tenant_id {
        return Err(Problem::new(StatusCode::CONFLICT, "WEIR-API-034", "this is the tenant of the platform itself")
            .hint("TENANT_ID names it where the platform runs"));
    }
    platform.store.system().remove_tenant(me.scope.actor(), &id, ask.expected()).await?;
    platform.access.forget();
    removal::begin(platform, id);
    Answer::no_content()
}

/// A tenant's limits and what it has used of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct QuotaUse {
    /// The tenant.
    pub tenant_id: String,
    /// Its limits.
    pub quotas: QuotasView,
    /// What it has used.
    pub usage: UsageView,
}

/// What a tenant has used.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage)]
pub struct UsageView {
    /// Jobs.
    #[schema(minimum = 0)]
    pub pipelines: u64,
    /// Runs now.
    #[schema(minimum = 0)]
    pub concurrent_runs: u64,
    /// Rows written today (UTC).
    #[schema(minimum = 0)]
    pub rows_today: u64,
    /// Bytes written today (UTC).
    #[schema(minimum = 0)]
    pub bytes_today: u64,
}

/// `GET /quotas`.
pub async fn quotas(ask: Ask, me: Caller) -> Reply {
    let store = ask.app.tenant(&me.scope);
    let (tenant, usage) = (store.tenant().await?, store.usage().await?);
    Answer::json(&QuotaUse {
        tenant_id: tenant.id.to_string(),
        quotas: tenant.quotas.into(),
        usage: UsageView {
            pipelines: usage.pipelines,
            concurrent_runs: usage.concurrent_runs,
            rows_today: usage.rows_today,
            bytes_today: usage.bytes_today,
        },
    })
}
