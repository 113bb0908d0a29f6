//! What people look at: a job's numbers, the tenant's dashboard, the tenant's metrics.

use axum::http::StatusCode;
use weir_control::access::Caller;
use weir_control::monitoring;
use weir_store::model::JobId;

use crate::answer::{Answer, Reply};
use crate::ask::Ask;

/// `GET /jobs/{job_id}/metrics`.
pub async fn of_job(ask: Ask, me: Caller) -> Reply {
    let hours = ask.values.integer("time_range_hours").and_then(|hours| u32::try_from(hours).ok()).unwrap_or(24);
    let job = JobId::from(ask.id("job_id"));
    Answer::json(&monitoring::job_metrics(&ask.app.platform, &me.scope, &job, hours).await?)
}

/// `GET /monitoring/dashboard`.
pub async fn dashboard(ask: Ask, me: Caller) -> Reply {
    Answer::json(&monitoring::dashboard(&ask.app.platform, &me.scope).await?)
}

/// `GET /monitoring/history`.
pub async fn history(ask: Ask, me: Caller) -> Reply {
    let hours = ask.values.integer("time_range_hours").and_then(|hours| u32::try_from(hours).ok()).unwrap_or(24);
    Answer::json(&monitoring::history(&ask.app.platform, &me.scope, hours).await?)
}

/// `GET /monitoring/metrics/export`.
pub async fn export(ask: Ask, me: Caller) -> Reply {
    let text = monitoring::export_tenant(&ask.app.platform, &me.scope).await?;
    Ok(Answer::bytes(StatusCode::OK, monitoring::CONTENT_TYPE, text))
}
