//! A job's logs: how they stand, approvals, snapshots once more.

use serde::Deserialize;
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_control::journal;
use weir_store::model::JobId;

use crate::answer::{Answer, Reply};
use crate::ask::Ask;

/// Which stream may go on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveBody {
    /// The stream, as `logs[].sinks[].held[]` names it.
    #[schema(min_length = 1, max_length = 1000, pattern = r"^[^\x00-\x1f\x7f]*$")]
    pub stream: String,
}

/// What is read once more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotBody {
    /// The stream, as discovery names it.
    #[schema(min_length = 1, max_length = 1000, pattern = r"^[^\x00-\x1f\x7f]*$")]
    pub stream: String,
    /// Only the rows for which this holds, in the source's SQL; all if absent.
    #[serde(rename = "where")]
    #[schema(min_length = 1, max_length = 10000, pattern = r"^[^\x00]*$")]
    pub only: Option<String>,
}

fn id(ask: &Ask) -> JobId {
    JobId::from(ask.id("job_id"))
}

/// `GET /jobs/{job_id}/journal`.
pub async fn look(ask: Ask, me: Caller) -> Reply {
    Answer::json(&journal::look(&ask.app.platform, &me.scope, &id(&ask)).await?)
}

/// `POST /jobs/{job_id}/journal/approve`.
pub async fn approve(ask: Ask, me: Caller) -> Reply {
    let body: ApproveBody = ask.json()?;
    Answer::json(&journal::approve(&ask.app.platform, &me.scope, &id(&ask), &body.stream).await?)
}

/// `POST /jobs/{job_id}/snapshot`.
pub async fn snapshot(ask: Ask, me: Caller) -> Reply {
    let body: SnapshotBody = ask.json()?;
    Answer::accepted(&journal::snapshot(&ask.app.platform, &me.scope, &id(&ask), &body.stream, body.only.as_deref()).await?)
}
