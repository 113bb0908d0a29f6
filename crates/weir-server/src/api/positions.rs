//! How far a job's streams are.

use weir_control::access::Caller;
use weir_control::positions;
use weir_store::model::JobId;

use crate::answer::{Answer, Reply};
use crate::ask::Ask;

/// `GET /jobs/{job_id}/positions`.
pub async fn look(ask: Ask, me: Caller) -> Reply {
    Answer::json(&positions::look(&ask.app.platform, &me.scope, &JobId::from(ask.id("job_id"))).await?)
}
