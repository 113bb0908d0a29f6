//! A job's dead letters: looked at, corrected, replayed, given up.
//!
//! They are beside the job's checkpoints, in its folder or in the shared database, and only the engine knows what is in them: each question is an
//! errand, as for its logs ([`crate::journal`]). A replay is a run of its own: the letters are chosen under a name first, in one statement, and
//! the run is queued with that name; so a letter belongs to one replay, whoever asks at the same time. Each row is written once, however
//! often the run is tried.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use weir_error::{Error, Kind, Result};
use weir_store::TenantScope;
use weir_store::model::{AuditEntry, Job, JobId, NewRun, PageRequest, Run, RunFilter, RunId, RunStatus, Trigger};

use crate::Platform;
pub use crate::worker::letters::LetterState;
use crate::worker::letters::{LetterChoice, LetterErrand};
use crate::worker::order::Verb;
use crate::worker::outfit;

/// A page of dead letters.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DeadLetters {
    /// Newest first.
    #[schema(max_items = 500)]
    pub items: Vec<DeadLetter>,
    /// Give it back as `cursor` to get the next page; null after the last.
    pub next_cursor: Option<String>,
    /// How many there are in this state of each kind, the largest first, whatever else is asked for; on the first page only.
    #[schema(max_items = 200)]
    pub kinds: Vec<DeadLetterKind>,
}

/// Dead letters of one kind, counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterKind {
    /// Their stream.
    pub stream: String,
    /// The sink that lacks them; null: none has them.
    pub sink: Option<String>,
    /// Their code.
    pub code: String,
    /// How many.
    #[schema(minimum = 0)]
    pub count: u64,
}

/// A record that could not be processed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// Its number in the job.
    pub id: i64,
    /// The run that met it, while that is known.
    pub run_id: Option<String>,
    /// The flow that it was in.
    pub flow: String,
    /// The sink that lacks it, if a transform on the way there set it aside; null: no sink has it.
    pub sink: Option<String>,
    /// The stream that it came from.
    pub stream: String,
    /// Stable code.
    pub code: String,
    /// What was wrong.
    pub reason: String,
    /// Where it was: a line, a partition and offset, a row.
    pub place: String,
    /// When it was met.
    pub at: String,
    /// Where it stands.
    pub state: LetterState,
    /// What came; in a listing its beginning.
    pub record: LetterRecord,
    /// Bytes that are kept of it.
    #[schema(minimum = 0)]
    pub record_bytes: u64,
    /// What somebody wrote instead.
    pub correction: Option<LetterCorrection>,
    /// When a replay wrote its rows.
    pub replayed_at: Option<String>,
    /// That somebody gave it up.
    pub discarded: Option<LetterDiscarded>,
    /// Why the last replay did not write it.
    pub refusal: Option<String>,
}

/// What is kept of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LetterRecord {
    /// The record, secrets of the job veiled.
    pub content: String,
    /// `text`, or `hex` of bytes that are no UTF-8.
    pub encoding: String,
    /// Its media type.
    pub media_type: String,
    /// There is more of it.
    pub cut: bool,
    /// A secret of the job stands in it: it can be replayed, but not corrected here.
    pub veiled: bool,
}

/// What somebody wrote instead of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LetterCorrection {
    /// The record; null in a listing.
    pub record: Option<LetterRecord>,
    /// Who.
    pub by: String,
    /// When.
    pub at: String,
}

/// That somebody gave a letter up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LetterDiscarded {
    /// Who.
    pub by: String,
    /// When.
    pub at: String,
    /// Why.
    pub reason: String,
}

/// How many letters were given up.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DiscardedLetters {
    /// Those that waited.
    #[schema(minimum = 0)]
    pub discarded: u64,
}

/// What is wrong with a correction.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct WrongPart {
    /// The column; `None`: the record as a whole.
    pub column: Option<String>,
    /// What.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// What became of a correction.
#[derive(Debug, Clone, PartialEq)]
pub enum Corrected {
    /// It is kept beside the original.
    Kept(Box<DeadLetter>),
    /// No replay would write it.
    Wrong(Vec<WrongPart>),
}

/// Which letters are meant; all conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// These numbers; empty: any.
    pub ids: Vec<i64>,
    /// Where they stand.
    pub state: Option<LetterState>,
    /// The run that met them.
    pub run: Option<RunId>,
    /// Their stream.
    pub stream: Option<String>,
    /// Their code.
    pub code: Option<String>,
    /// The sink that lacks them; empty: those that no sink has.
    pub sink: Option<String>,
    /// Met at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Met before.
    pub until: Option<DateTime<Utc>>,
    /// Not after this number.
    pub up_to: Option<i64>,
}

/// Letters of a job, newest first.
pub async fn find(
    platform: &Platform,
    scope: &TenantScope,
    job: &JobId,
    wanted: &Wanted,
    page: &PageRequest,
) -> Result<DeadLetters> {
    let job = platform.store.tenant(scope).job(job).await?;
    let below = page.cursor.as_deref().map(number).transpose()?;
    let choice = choice(platform, scope, &job, wanted).await?;
    // One more than asked for tells whether there is a next page.
    let mut answer = ask(platform, &job, LetterErrand::Find { choice, below, limit: page.limit.saturating_add(1) }).await?;
    let mut items: Vec<DeadLetter> = read(answer["letters"].take())?;
    let limit = page.limit as usize;
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(DeadLetters { items, next_cursor, kinds: read(answer["kinds"].take())? })
}

fn number(cursor: &str) -> Result<i64> {
    cursor.parse().map_err(|_| {
        Error::new("WEIR-STORE-010", Kind::Spec, "the cursor is not one of this listing")
            .hint("take `next_cursor` of the page before as it is, with the same filters")
    })
}

/// One letter, whole.
pub async fn show(platform: &Platform, scope: &TenantScope, job: &JobId, id: i64) -> Result<DeadLetter> {
    let job = platform.store.tenant(scope).job(job).await?;
    read(ask(platform, &job, LetterErrand::Show { id }).await?["letter"].take())
}

/// Keeps a corrected record beside the original, if a replay would write it. Audit `job.dead_letter.correct`, without the record.
pub async fn correct(platform: &Platform, scope: &TenantScope, job: &JobId, id: i64, record: &str) -> Result<Corrected> {
    let job = platform.store.tenant(scope).job(job).await?;
    let errand = LetterErrand::Correct { id, record: record.to_owned(), by: scope.actor().name.clone() };
    let detail = json!({"letter": id, "bytes": record.len()});
    let mut answer = audited(platform, scope, &job, "job.dead_letter.correct", detail, errand).await?;
    match answer["wrong"].is_null() {
        true => Ok(Corrected::Kept(Box::new(read(answer["letter"].take())?))),
        false => Ok(Corrected::Wrong(read(answer["wrong"].take())?)),
    }
}

/// Gives letters up that wait: they are kept, and no replay takes them. Audit `job.dead_letters.discard`.
pub async fn discard(
    platform: &Platform,
    scope: &TenantScope,
    job: &JobId,
    wanted: &Wanted,
    reason: &str,
) -> Result<DiscardedLetters> {
    let job = platform.store.tenant(scope).job(job).await?;
    let choice = choice(platform, scope, &job, wanted).await?;
    let detail = json!({"letters": choice, "reason": reason});
    let errand = LetterErrand::Discard { choice, reason: reason.to_owned(), by: scope.actor().name.clone() };
    let answer = audited(platform, scope, &job, "job.dead_letters.discard", detail, errand).await?;
    Ok(DiscardedLetters { discarded: answer["discarded"].as_u64().unwrap_or(0) })
}

/// Queues a run that takes letters once more through the pipeline as it is now, each once: those that wait by now. Audit
/// `job.dead_letters.replay` and that of the run.
pub async fn replay(platform: &Platform, scope: &TenantScope, job: &JobId, wanted: &Wanted) -> Result<Run> {
    let store = platform.store.tenant(scope);
    let job = store.job(job).await?;
    if matches!(job.body.mode.as_str(), "cdc" | "streaming") && going_on(platform, scope, &job).await? {
        return Err(Error::new("WEIR-DEAD-004", Kind::Conflict, "the pipeline is running, and has no end")
            .because("its letters can be replayed when it was stopped cleanly")
            .hint("cancel the run, then replay"));
    }
    let choice = choice(platform, scope, &job, wanted).await?;
    let key = uuid::Uuid::now_v7().simple().to_string();
    let detail = json!({"letters": choice});
    let errand = LetterErrand::Choose { choice, key: key.clone() };
    let answer = audited(platform, scope, &job, "job.dead_letters.replay", detail, errand).await?;
    if answer["chosen"].as_u64().unwrap_or(0) == 0 {
        return Err(Error::new("WEIR-DEAD-006", Kind::Conflict, "none of these dead letters waits")
            .hint("they were replayed or given up; look at the list again"));
    }
    let trigger = Trigger::Replay { letters: key };
    let run = store.create_run(NewRun { job_id: job.id, trigger, not_before: Utc::now() }).await?;
    platform.signals.run_queued();
    Ok(run)
}

async fn going_on(platform: &Platform, scope: &TenantScope, job: &Job) -> Result<bool> {
    let filter =
        RunFilter { job_id: Some(job.id.clone()), statuses: vec![RunStatus::Running, RunStatus::Queued], ..RunFilter::default() };
    let found = platform.store.tenant(scope).list_runs(&filter, &PageRequest { limit: 1, cursor: None }).await?;
    Ok(!found.items.is_empty())
}

/// As the engine asks for them. A run is one of this job's.
async fn choice(platform: &Platform, scope: &TenantScope, job: &Job, wanted: &Wanted) -> Result<LetterChoice> {
    let run = match &wanted.run {
        None => None,
        Some(id) => {
            let run = platform.store.tenant(scope).run(id).await?;
            if run.job_id != job.id {
                return Err(Error::new("WEIR-DEAD-009", Kind::NotFound, "this run is of another job"));
            }
            // The engine forgets the platform's names after a month.
            let engine = run.report.as_ref().and_then(|report| report["run_id"].as_str()).filter(|id| !id.is_empty());
            Some(engine.map_or_else(|| run.id.to_string(), str::to_owned))
        }
    };
    let time = |time: &Option<DateTime<Utc>>| time.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true));
    Ok(LetterChoice {
        ids: wanted.ids.clone(),
        state: wanted.state,
        run,
        stream: wanted.stream.clone(),
        code: wanted.code.clone(),
        sink: wanted.sink.clone(),
        since: time(&wanted.since),
        until: time(&wanted.until),
        up_to: wanted.up_to,
    })
}

/// Asked for is what the audit log has first; that it failed comes after it.
async fn audited(
    platform: &Platform,
    scope: &TenantScope,
    job: &Job,
    action: &str,
    detail: Value,
    errand: LetterErrand,
) -> Result<Value> {
    let store = platform.store.tenant(scope);
    let entry = |outcome: &str, detail: Value| AuditEntry {
        action: action.to_owned(),
        target: format!("job/{}", job.id),
        outcome: outcome.to_owned(),
        detail,
    };
    store.audit(entry("allowed", detail.clone())).await?;
    let answer = ask(platform, job, errand).await;
    let failed = match &answer {
        Ok(answer) => (!answer["wrong"].is_null()).then(|| "WEIR-DEAD-010".to_owned()),
        Err(error) => Some(error.code().to_owned()),
    };
    if let Some(code) = failed {
        let mut detail = detail;
        detail["code"] = code.into();
        store.audit(entry("failed", detail)).await?;
    }
    answer
}

async fn ask(platform: &Platform, job: &Job, errand: LetterErrand) -> Result<Value> {
    let order = outfit::for_errand_of(platform, Verb::DeadLetters { errand }, job).await?;
    let desk = platform.checkpoints.as_ref().map(|checkpoints| checkpoints.of(&job.tenant_id, &job.id)).transpose()?;
    let mut answer = platform.errands.ask_with(order, desk).await?;
    match answer.get("error").filter(|error| !error.is_null()) {
        Some(error) => Err(refusal(error)),
        None => Ok(answer["ok"].take()),
    }
}

/// Refusals that a caller can tell by their code.
const TOLD: [&str; 5] = ["WEIR-DEAD-001", "WEIR-DEAD-002", "WEIR-DEAD-003", "WEIR-DEAD-005", "WEIR-DEAD-007"];

/// The error of an errand. What went wrong outside is not this server's failure: it is told, with its cause.
fn refusal(error: &Value) -> Error {
    let text = |name: &str| error[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let (code, message) = (text("code").unwrap_or_default(), text("message").unwrap_or_default());
    let kind = match error["kind"].as_str() {
        Some("not_found") => Kind::NotFound,
        Some("conflict") => Kind::Conflict,
        _ => Kind::Unsupported,
    };
    let refused = match TOLD.iter().find(|told| **told == code) {
        Some(told) => {
            let refused = Error::new(told, kind, message);
            text("cause").into_iter().fold(refused, Error::because)
        }
        None => {
            let cause = text("cause").map(|cause| format!(": {cause}")).unwrap_or_default();
            Error::new("WEIR-DEAD-031", Kind::Unsupported, "the job's dead letters could not be asked for")
                .because(format!("[{code}] {message}{cause}"))
        }
    };
    text("hint").into_iter().fold(refused, Error::hint)
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::internal("the answer of an errand").caused_by(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_keep_their_code_where_a_caller_can_use_it_and_their_cause_in_any_case() {
        let known = refusal(&json!({"code": "WEIR-DEAD-001", "kind": "not_found", "message": "there is no dead letter 7"}));
        assert_eq!((known.code(), known.kind()), ("WEIR-DEAD-001", Kind::NotFound));
        let other =
            refusal(&json!({"code": "WEIR-PG-003", "kind": "connect", "message": "refused", "cause": "no route", "hint": "do"}));
        assert_eq!((other.code(), other.kind(), other.advice()), ("WEIR-DEAD-031", Kind::Unsupported, Some("do")));
        assert!(other.to_string().contains("[WEIR-PG-003] refused: no route"), "{other}");
    }

    #[test]
    fn a_cursor_is_the_number_of_a_letter() {
        assert_eq!(number("7").unwrap(), 7);
        for text in ["", "x", "7.5", "99999999999999999999"] {
            assert_eq!(number(text).unwrap_err().code(), "WEIR-STORE-010", "{text}");
        }
    }
}
