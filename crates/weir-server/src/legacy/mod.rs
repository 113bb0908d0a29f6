//! The API of seed 001 on the same port, in the seed's shapes, and what probes and people ask: `/livez`, `/readyz`, `/docs`.
//!
//! A job of that API is a run of this one: its `job_id` is a run's id. `/health` is open to probes; who shows a token sees which runs are
//! active, others see how many.

mod spec_file;
mod vault;

use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::http::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_control::monitoring;
use weir_control::runs::RunService;
use weir_store::model::{PageRequest, RunFilter, RunId, RunStatus, TenantId};
use weir_store::{Actor, TenantScope};

use crate::answer::{Answer, Reply};
use crate::app::{App, DOCUMENT};
use crate::ask::{Ask, MAX_LIMIT};
use crate::{auth, gate};

pub use vault::{VaultHealth, VaultWatch};

/// The health of the runner, as seed 001 prints it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `healthy`; `unhealthy` when the database does not answer.
    pub status: &'static str,
    /// This process.
    pub runner_id: String,
    /// The tenant of this API.
    pub tenant_id: String,
    /// Seconds since 1970.
    pub timestamp: f64,
    /// The parts.
    pub components: Components,
}

/// The parts of the runner.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HealthComponents)]
pub struct Components {
    /// HashiCorp Vault.
    pub vault: VaultHealth,
    /// Metrics.
    pub metrics: MetricsHealth,
    /// Runs that wait or go on.
    pub jobs: JobsHealth,
}

/// Metrics.
#[derive(Debug, Serialize, ToSchema)]
pub struct MetricsHealth {
    /// `enabled` or `disabled`: whether there is a second listener for them.
    pub status: &'static str,
    /// `prometheus`.
    pub registry_type: &'static str,
}

/// Runs that wait or go on.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct JobsHealth {
    /// How many.
    pub active_count: usize,
    /// Which; empty for callers without a token.
    pub active_jobs: Vec<String>,
}

/// `GET /health`.
pub async fn health(ask: Ask) -> Reply {
    let settings = &ask.app.platform.settings;
    let caller = auth::caller(&ask.app, &ask.headers, &ask.request_id, &ask.trace_id).await.ok();
    let known = caller.is_some();
    let scope = match caller {
        Some(caller) => caller.scope,
        None => TenantScope::granted(TenantId::from(settings.tenant_id.as_str()), Actor::system("health")),
    };
    let active = active_runs(&ask.app, &scope).await;
    let healthy = active.is_ok();
    let active = active.unwrap_or_default();
    let vault = ask.app.platform.vault.clone().map(|keeper| async move {
        let health = keeper.health().await.ok()?;
        Some((health.initialized, health.sealed))
    });
    let body = Health {
        status: if healthy { "healthy" } else { "unhealthy" },
        runner_id: settings.runner_id.clone(),
        tenant_id: scope.tenant().to_string(),
        timestamp: chrono::Utc::now().timestamp_micros() as f64 / 1e6,
        components: Components {
            vault: ask.app.vault.look(vault),
            metrics: MetricsHealth {
                status: if settings.metrics_listen.is_some() { "enabled" } else { "disabled" },
                registry_type: "prometheus",
            },
            jobs: JobsHealth { active_count: active.len(), active_jobs: if known { active } else { Vec::new() } },
        },
    };
    let mut answer = Answer::json(&body)?;
    if !healthy {
        answer.status = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(answer)
}

/// Ids of runs that wait or go on, newest first, at most 500.
async fn active_runs(app: &App, scope: &TenantScope) -> weir_error::Result<Vec<String>> {
    let filter = RunFilter { statuses: vec![RunStatus::Queued, RunStatus::Running], ..RunFilter::default() };
    let page = app.tenant(scope).list_runs(&filter, &PageRequest { limit: MAX_LIMIT, cursor: None }).await?;
    Ok(page.items.into_iter().map(|run| run.id.to_string()).collect())
}

/// Runs that wait or go on.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActiveJobs {
    /// Ids of runs.
    pub active_jobs: Vec<String>,
}

/// `GET /jobs/active`.
pub async fn active(ask: Ask, me: Caller) -> Reply {
    Answer::json(&ActiveJobs { active_jobs: active_runs(&ask.app, &me.scope).await? })
}

/// A run that was queued.
#[derive(Debug, Serialize, ToSchema)]
pub struct Executed {
    /// `queued`.
    pub status: &'static str,
    /// The run's id.
    pub job_id: String,
    /// The pipeline's name.
    pub spec_name: String,
}

/// `POST /jobs/execute?spec_path=`.
pub async fn execute(ask: Ask, me: Caller) -> Reply {
    let settings = &ask.app.platform.settings;
    // The folder belongs to one tenant; for the others it is empty.
    if me.scope.tenant().as_str() != settings.tenant_id {
        return Err(spec_file::missing());
    }
    let text = spec_file::read(&settings.spec_root, ask.id("spec_path")).await?;
    let (run, spec_name) = crate::api::jobs::execute_text(&ask, &me, &text).await?;
    Answer::json(&Executed { status: "queued", job_id: run.id.to_string(), spec_name })
}

/// A run that was stopped.
#[derive(Debug, Serialize, ToSchema)]
pub struct CancelledJob {
    /// `cancelled`; a run that is going stops within seconds.
    pub status: &'static str,
    /// The run's id.
    pub job_id: String,
}

/// `DELETE /jobs/{job_id}`.
pub async fn cancel(ask: Ask, me: Caller) -> Reply {
    let run = RunService::new(&ask.app.platform, &me.scope).cancel(&RunId::from(ask.id("job_id"))).await?;
    Answer::json(&CancelledJob { status: "cancelled", job_id: run.id.to_string() })
}

/// `GET /metrics`.
pub async fn metrics(ask: Ask, _me: Caller) -> Reply {
    Ok(metrics_text(&ask.app).await)
}

async fn metrics_text(app: &App) -> Answer {
    Answer::bytes(StatusCode::OK, monitoring::CONTENT_TYPE, monitoring::export(&app.platform).await)
}

/// `/metrics` on its own listener.
pub(crate) async fn metrics_listener(app: &App, id: &str) -> Response<axum::body::Body> {
    let mut response = metrics_text(app).await.into_response();
    gate::finish(&mut response, id);
    response
}

/// Whether a probe is content.
#[derive(Debug, Serialize, ToSchema)]
pub struct Probe {
    /// `ok`.
    pub status: &'static str,
}

/// `GET /livez`: the process answers.
pub async fn live(_ask: Ask) -> Reply {
    Answer::json(&Probe { status: "ok" })
}

/// `GET /readyz`: the database answers too, and so does the bucket of tenants' files, if there is one.
pub async fn ready(ask: Ask) -> Reply {
    let away = |what: &'static str| {
        crate::problem::Problem::new(StatusCode::SERVICE_UNAVAILABLE, "WEIR-API-041", what)
            .header(axum::http::header::RETRY_AFTER, axum::http::HeaderValue::from_static("5"))
    };
    ask.app.platform.store.ready().await.map_err(|error| {
        tracing::warn!(%error, "not ready");
        away("the database does not answer")
    })?;
    ask.app.platform.files.ready().await.map_err(|error| {
        tracing::warn!(%error, "not ready");
        away("the bucket of tenants' files cannot be used")
    })?;
    Answer::json(&Probe { status: "ok" })
}

/// `GET /openapi.json`.
pub async fn openapi(_ask: Ask) -> Reply {
    Ok(Answer::bytes(StatusCode::OK, "application/json", DOCUMENT.json.clone()))
}

/// Nothing from elsewhere, nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

fn page(media: &'static str, text: &'static str) -> Reply {
    Ok(Answer::bytes(StatusCode::OK, media, text.as_bytes())
        .header(HeaderName::from_static("content-security-policy"), POLICY)
        .header(HeaderName::from_static("referrer-policy"), "no-referrer")
        .header(CACHE_CONTROL, "no-cache"))
}

/// `GET /docs`.
pub async fn docs(_ask: Ask) -> Reply {
    page("text/html; charset=utf-8", include_str!("docs/index.html"))
}

/// `GET /docs/app.js`.
pub async fn docs_script(_ask: Ask) -> Reply {
    page("text/javascript; charset=utf-8", include_str!("docs/app.js"))
}

/// `GET /docs/app.css`.
pub async fn docs_style(_ask: Ask) -> Reply {
    page("text/css; charset=utf-8", include_str!("docs/app.css"))
}
