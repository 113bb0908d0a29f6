//! A job's logs: how they stand, and what is asked of them while a run may be going on.
//!
//! The journal is in the worker's folder or in a bucket, and checkpoints are in the job's folder or in the shared database: only the engine knows what is
//! in them, so each question is an errand. What is asked of a log is left beside its checkpoints, where its run looks for it, wherever that is
//! going on. Asking twice is asking once.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use weir_error::{Error, Kind, Result};
use weir_store::TenantScope;
use weir_store::model::{AuditEntry, Job, JobId, PageRequest, RunFilter, RunStatus};

use crate::Platform;
use crate::worker::order::Verb;
use crate::worker::outfit;

/// How a job's logs stand.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct JobJournal {
    /// A run is going on: this is already the past.
    pub running: bool,
    /// One per source whose log has begun.
    pub logs: Vec<LogState>,
}

/// One log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogState {
    /// The source node.
    pub source: String,
    /// The journal between source and sinks; null where it is on another machine.
    pub journal: Option<JournalState>,
    /// In the order of the pipeline.
    pub sinks: Vec<SinkState>,
    /// What was asked of the log and is still to be carried out.
    pub asked: Vec<AskedState>,
}

/// How large a journal is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JournalState {
    /// It holds what comes after this boundary.
    pub first: u64,
    /// The last boundary.
    pub last: u64,
    /// Bytes that it takes.
    pub bytes: u64,
    /// In order.
    pub segments: Vec<SegmentState>,
}

/// A part of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SegmentState {
    /// The boundary before it.
    pub after: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How far a sink is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SinkState {
    /// The sink node.
    pub sink: String,
    /// The boundary that is durable in it, by its last checkpoint; null: nothing has come to it yet.
    pub seq: Option<u64>,
    /// Boundaries that it lacks.
    pub behind: u64,
    /// Streams that wait for an approval.
    #[serde(default)]
    pub held: Vec<HeldState>,
}

/// A stream that waits at a sink (`on_schema_change: hold`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HeldState {
    /// The stream.
    pub stream: String,
    /// The sink node.
    pub sink: String,
    /// The last boundary that its target has.
    pub since_seq: u64,
    /// The boundary of the last change of its shape.
    pub change_seq: u64,
    /// What has changed, in order: `add column note text`.
    pub changes: Vec<String>,
    /// Changes that wait.
    pub rows: u64,
    /// Their bytes at the source.
    pub bytes: u64,
    /// Why what was approved could not be carried out.
    #[serde(default)]
    pub problem: Option<String>,
}

/// Something that was asked of a log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AskedState {
    /// `approve` or `snapshot`.
    #[serde(rename = "do")]
    pub action: String,
    /// The stream.
    pub stream: String,
    /// What is approved: changes of its shape up to this boundary.
    #[serde(default)]
    pub seq: Option<u64>,
    /// Of which rows the snapshot is taken; null: of all.
    #[serde(default, rename = "where", alias = "only")]
    pub only: Option<String>,
}

/// What was approved.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Approved {
    /// A run is going on: it applies what waits within seconds. Else the next one does.
    pub running: bool,
    /// Once per sink.
    pub approved: Vec<HeldState>,
}

/// The snapshot that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SnapshotAsked {
    /// A run is going on: it begins with the snapshot within seconds. Else the next one does.
    pub running: bool,
    /// The source node.
    pub source: String,
    /// The stream.
    pub stream: String,
}

/// How the logs of a job stand. A job that follows no log has none.
pub async fn look(platform: &Platform, scope: &TenantScope, job: &JobId) -> Result<JobJournal> {
    let job = platform.store.tenant(scope).job(job).await?;
    let running = running(platform, scope, &job).await?;
    if !follows_a_log(&job) {
        return Ok(JobJournal { running, logs: Vec::new() });
    }
    let answer = ask(platform, &job, Verb::Journal).await?;
    Ok(JobJournal { running, logs: read(&answer["logs"])? })
}

/// Approves what has changed in the shape of a stream so far; a later change waits again. Audit `job.journal.approve`.
pub async fn approve(platform: &Platform, scope: &TenantScope, job: &JobId, stream: &str) -> Result<Approved> {
    let job = with_log(platform, scope, job).await?;
    let verb = Verb::Approve { stream: stream.to_owned() };
    let answer = audited(platform, scope, &job, "job.journal.approve", json!({"stream": stream}), verb).await?;
    Ok(Approved { running: running(platform, scope, &job).await?, approved: read(&answer["approved"])? })
}

/// Has a table, or the rows for which a condition holds, read once more while the log goes on. Audit `job.snapshot`.
pub async fn snapshot(
    platform: &Platform,
    scope: &TenantScope,
    job: &JobId,
    stream: &str,
    only: Option<&str>,
) -> Result<SnapshotAsked> {
    let job = with_log(platform, scope, job).await?;
    let verb = Verb::Snapshot { stream: stream.to_owned(), only: only.map(str::to_owned) };
    let answer = audited(platform, scope, &job, "job.snapshot", json!({"stream": stream, "where": only}), verb).await?;
    let source = answer["snapshots"][0]["source"].as_str().unwrap_or_default().to_owned();
    Ok(SnapshotAsked { running: running(platform, scope, &job).await?, source, stream: stream.to_owned() })
}

fn follows_a_log(job: &Job) -> bool {
    job.body.mode == "cdc"
}

async fn with_log(platform: &Platform, scope: &TenantScope, id: &JobId) -> Result<Job> {
    let job = platform.store.tenant(scope).job(id).await?;
    if follows_a_log(&job) {
        return Ok(job);
    }
    Err(Error::new("WEIR-JOURNAL-030", Kind::NotFound, "this job follows no log")
        .because(format!("its mode is `{}`; only `mode: cdc` does", job.body.mode)))
}

async fn running(platform: &Platform, scope: &TenantScope, job: &Job) -> Result<bool> {
    let filter = RunFilter { job_id: Some(job.id.clone()), statuses: vec![RunStatus::Running], since: None };
    let found = platform.store.tenant(scope).list_runs(&filter, &PageRequest { limit: 1, cursor: None }).await?;
    Ok(!found.items.is_empty())
}

/// Asked for is what the audit log has first; that it failed comes after it.
async fn audited(platform: &Platform, scope: &TenantScope, job: &Job, action: &str, detail: Value, verb: Verb) -> Result<Value> {
    let store = platform.store.tenant(scope);
    let entry = |outcome: &str, detail: Value| AuditEntry {
        action: action.to_owned(),
        target: format!("job/{}", job.id),
        outcome: outcome.to_owned(),
        detail,
    };
    store.audit(entry("allowed", detail.clone())).await?;
    let answer = ask(platform, job, verb).await;
    if let Err(error) = &answer {
        let mut detail = detail;
        detail["code"] = error.code().into();
        store.audit(entry("failed", detail)).await?;
    }
    answer
}

async fn ask(platform: &Platform, job: &Job, verb: Verb) -> Result<Value> {
    let order = outfit::for_errand_of(platform, verb, job).await?;
    let desk = platform.checkpoints.as_ref().map(|checkpoints| checkpoints.of(&job.tenant_id, &job.id)).transpose()?;
    let mut answer = platform.errands.ask_with(order, desk).await?;
    match answer.get("error").filter(|error| !error.is_null()) {
        Some(error) => Err(refusal(error)),
        None => Ok(answer["ok"].take()),
    }
}

/// Refusals that a caller can tell by their code.
const TOLD: [&str; 5] = ["WEIR-JOURNAL-015", "WEIR-JOURNAL-024", "WEIR-CLI-075", "WEIR-CHANGE-010", "WEIR-CHANGE-014"];

/// The error of an errand. What went wrong outside is not this server's failure: it is told, with its cause.
fn refusal(error: &Value) -> Error {
    let text = |name: &str| error[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let code = text("code").unwrap_or_default();
    let message = text("message").unwrap_or_default();
    let kind = match error["kind"].as_str() {
        Some("not_found") => Kind::NotFound,
        Some("conflict") => Kind::Conflict,
        _ => Kind::Unsupported,
    };
    let told = TOLD.iter().find(|told| **told == code);
    let refused = match told {
        Some(told) => {
            let refused = Error::new(told, kind, message);
            text("cause").into_iter().fold(refused, |refused, cause| refused.because(cause))
        }
        None => {
            let cause = text("cause").map(|cause| format!(": {cause}")).unwrap_or_default();
            Error::new("WEIR-JOURNAL-031", kind, "the job's log could not be asked").because(format!("[{code}] {message}{cause}"))
        }
    };
    match text("hint") {
        Some(hint) => refused.hint(hint),
        None => refused,
    }
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T> {
    T::deserialize(value).map_err(|error| Error::internal("the answer of an errand").caused_by(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_errand_says_is_read_and_shown() {
        let said = json!([{
            "source": "s", "journal": {"first": 1, "last": 9, "bytes": 70, "segments": [{"after": 1, "bytes": 70}]},
            "sinks": [
                {"sink": "a", "seq": 9, "behind": 0},
                {"sink": "b", "seq": null, "behind": 9, "held": [{
                    "stream": "t", "sink": "b", "since_seq": 3, "change_seq": 4, "changes": ["add column x int"], "rows": 2, "bytes": 8,
                }]},
            ],
            "asked": [{"do": "approve", "stream": "t", "seq": 4}, {"do": "snapshot", "stream": "t", "only": "id > 1"}],
        }]);
        let logs: Vec<LogState> = read(&said).unwrap();
        assert_eq!((logs[0].sinks[1].held[0].change_seq, logs[0].asked[0].seq), (4, Some(4)));
        let shown = serde_json::to_value(&logs).unwrap();
        assert_eq!(shown[0]["asked"][1]["where"], "id > 1");
        assert!(read::<Vec<LogState>>(&Value::Null).is_err());
    }

    #[test]
    fn refusals_keep_their_code_where_a_caller_can_use_it_and_their_cause_in_any_case() {
        let known = refusal(
            &json!({"code": "WEIR-JOURNAL-015", "kind": "not_found", "message": "nothing waits", "cause": "why", "hint": "do"}),
        );
        assert_eq!(
            (known.code(), known.kind(), known.why(), known.advice()),
            ("WEIR-JOURNAL-015", Kind::NotFound, Some("why"), Some("do"))
        );
        let other = refusal(&json!({"code": "WEIR-PG-003", "kind": "connect", "message": "refused", "cause": "no route"}));
        assert_eq!((other.code(), other.kind()), ("WEIR-JOURNAL-031", Kind::Unsupported));
        assert!(other.to_string().contains("[WEIR-PG-003] refused: no route"), "{other}");
    }
}
