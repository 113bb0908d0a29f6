//! What a schedule says in words, and when it fires next.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_control::schedule;
use weir_store::model;

use crate::answer::{Answer, Reply};
use crate::ask::Ask;

/// A schedule, looked at.
#[derive(Debug, Serialize, ToSchema)]
pub struct SchedulePreview {
    /// The cron fields.
    pub cron: String,
    /// The zone.
    pub timezone: String,
    /// `every 6 hours`.
    pub words: String,
    /// The next fires, oldest first.
    #[schema(value_type = Vec<String>)]
    pub next: Vec<DateTime<Utc>>,
}

/// `GET /schedules/preview`.
pub async fn preview(ask: Ask, _me: Caller) -> Reply {
    let cron = ask.id("cron").to_owned();
    let timezone = ask.values.text("timezone").unwrap_or("UTC").to_owned();
    let count = ask.values.integer("count").and_then(|count| usize::try_from(count).ok()).unwrap_or(5);
    let after = ask.values.time("after").unwrap_or_else(Utc::now);
    let schedule = model::Schedule {
        cron: cron.clone(),
        timezone: timezone.clone(),
        overlap: Default::default(),
        catch_up: Default::default(),
        jitter_secs: 0,
    };
    let next = schedule::next_fires(&schedule, after, count)?;
    Answer::json(&SchedulePreview { words: schedule::words(&cron, &timezone)?, cron, timezone, next })
}
