//! Events of the caller's tenant, from the outbox: JSON, or live with `Accept: text/event-stream`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_control::events::cloudevent::envelope;
use weir_store::TenantStore;

use crate::answer::{Answer, Reply};
use crate::ask::{Ask, MAX_LIMIT};
use crate::stream::{self, Step};

/// An event, as CloudEvents 1.0 has it.
#[derive(Debug, ToSchema)]
#[schema(as = CloudEvent)]
#[allow(dead_code)]
pub struct EventView {
    /// `1.0`.
    specversion: String,
    /// Unique.
    id: String,
    /// `/weir/tenants/<tenant>/jobs/<job>`.
    #[schema(format = "uri-reference")]
    source: String,
    /// What happened.
    r#type: String,
    /// The run or job.
    subject: Option<String>,
    /// When.
    time: DateTime<Utc>,
    /// `application/json`.
    datacontenttype: String,
    /// Whose.
    tenantid: String,
    /// Place in the tenant's order; give it as `after` or `Last-Event-ID` to go on.
    sequence: String,
    /// More of it.
    data: Value,
}

/// Events, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Events {
    /// At most `limit`.
    #[schema(max_items = 500, value_type = Vec<EventView>)]
    pub items: Vec<Value>,
    /// Give it as `after` to go on.
    pub next_after: i64,
}

/// `GET /events`. Without a place to start from a stream begins with what happens next, JSON with the oldest event kept.
pub async fn list(ask: Ask, me: Caller) -> Reply {
    let store = ask.app.tenant(&me.scope);
    let after = stream::last_event_id(&ask.headers).or(ask.values.integer("after"));
    if stream::wanted(&ask.headers) {
        let after = match after {
            Some(after) => after,
            None => store.outbox_head().await?,
        };
        let state = Arc::new((store, AtomicI64::new(after)));
        return stream::follow(&ask, &me.scope, move || {
            let state = state.clone();
            async move { more(&state.0, &state.1).await }
        });
    }
    let after = after.unwrap_or(0);
    let rows = store.outbox_after(after, ask.page().limit).await?;
    let next_after = rows.last().map_or(after, |row| row.seq);
    Answer::json(&Events { items: rows.iter().map(envelope).collect(), next_after })
}

async fn more(store: &TenantStore, after: &AtomicI64) -> weir_error::Result<Step> {
    let rows = store.outbox_after(after.load(Relaxed), MAX_LIMIT).await?;
    if let Some(last) = rows.last() {
        after.store(last.seq, Relaxed);
    }
    let more = rows.len() == MAX_LIMIT as usize;
    let frames = rows.iter().map(|row| stream::frame(Some(row.seq), &line_of(&row.event.kind), &envelope(row))).collect();
    Ok(Step { frames, over: false, more })
}

/// An event's kind is ours, but it stands on a line of its own, so it must be one line.
fn line_of(kind: &str) -> String {
    kind.chars().filter(|c| !c.is_control()).collect()
}
