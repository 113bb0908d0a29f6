//! A job's dead letters: listed, looked at, corrected, replayed, given up.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_control::dead_letters::{self, Corrected, LetterState, Wanted};
use weir_error::{Error, Kind};
use weir_store::model::{JobId, RunId};

use super::{runs, words};
use crate::answer::{Answer, Reply};
use crate::ask::Ask;
use crate::problem::{Problem, ProblemPart};

/// Words of a filter.
pub const LETTER_STATES: &[&str] = &["waiting", "replayed", "discarded"];

/// What the filter `sink` calls letters that no sink has.
const NO_SINK: &str = "-";

/// Letters, by their numbers or by what they have in common: at least one condition, and all hold. Only those that wait are meant.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeadLetterChoice)]
pub struct ChoiceBody {
    /// These.
    #[schema(max_items = 10000)]
    #[serde(default)]
    pub ids: Vec<i64>,
    /// All that wait, up to this number: those that somebody has seen.
    #[schema(minimum = 1)]
    pub up_to: Option<i64>,
    /// Only those that this run has met.
    #[schema(min_length = 1, max_length = 64, pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    pub run_id: Option<String>,
    /// Only of this stream.
    #[schema(min_length = 1, max_length = 1000, pattern = r"^[^\x00-\x1f\x7f]*$")]
    pub stream: Option<String>,
    /// Only with this code.
    #[schema(min_length = 1, max_length = 100, pattern = r"^[^\x00-\x1f\x7f]*$")]
    pub code: Option<String>,
    /// Only those that this sink lacks; `-`: those that none has.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f]*$")]
    pub sink: Option<String>,
    /// Met at this time or later.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<DateTime<Utc>>,
    /// Met before.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<DateTime<Utc>>,
}

/// Which letters are given up, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeadLetterDiscard)]
pub struct DiscardBody {
    /// Why; it is kept with the letters and in the audit log.
    #[schema(min_length = 1, max_length = 1000, pattern = r"^[^\x00]*$")]
    pub reason: String,
    /// Which.
    pub letters: ChoiceBody,
}

/// A corrected record.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeadLetterCorrection)]
pub struct CorrectionBody {
    /// Of a row that a transform set aside: a JSON object with all columns. Else the record as the source has it.
    #[schema(min_length = 1, max_length = 1048575, pattern = r"^[^\x00]*$")]
    pub record: String,
}

fn job(ask: &Ask) -> JobId {
    JobId::from(ask.id("job_id"))
}

fn letter(ask: &Ask) -> i64 {
    ask.values.integer("letter").unwrap_or_default()
}

fn sink(word: &str) -> String {
    if word == NO_SINK { String::new() } else { word.to_owned() }
}

impl ChoiceBody {
    fn wanted(self) -> Result<Wanted, Problem> {
        let any = !self.ids.is_empty() || self.up_to.is_some() || self.run_id.is_some() || self.stream.is_some();
        if !any && self.code.is_none() && self.sink.is_none() && self.since.is_none() && self.until.is_none() {
            return Err(Error::new("WEIR-DEAD-012", Kind::Spec, "it is not said which dead letters are meant")
                .hint("give `ids`, or a condition; `up_to` means all up to a number")
                .into());
        }
        Ok(Wanted {
            ids: self.ids,
            state: None,
            run: self.run_id.map(RunId::from),
            stream: self.stream,
            code: self.code,
            sink: self.sink.as_deref().map(sink),
            since: self.since,
            until: self.until,
            up_to: self.up_to,
        })
    }
}

/// `GET /jobs/{job_id}/dead-letters`.
pub async fn list(ask: Ask, me: Caller) -> Reply {
    let text = |name: &str| ask.values.text(name).map(str::to_owned);
    let wanted = Wanted {
        ids: Vec::new(),
        state: words::read::<LetterState>(ask.values.text("state")),
        run: ask.values.text("run_id").map(RunId::from),
        stream: text("stream"),
        code: text("code"),
        sink: ask.values.text("sink").map(sink),
        since: ask.values.time("since"),
        until: ask.values.time("until"),
        up_to: None,
    };
    Answer::json(&dead_letters::find(&ask.app.platform, &me.scope, &job(&ask), &wanted, &ask.page()).await?)
}

/// `GET /jobs/{job_id}/dead-letters/{letter}`.
pub async fn get(ask: Ask, me: Caller) -> Reply {
    Answer::json(&dead_letters::show(&ask.app.platform, &me.scope, &job(&ask), letter(&ask)).await?)
}

/// `PUT /jobs/{job_id}/dead-letters/{letter}`.
pub async fn correct(ask: Ask, me: Caller) -> Reply {
    let body: CorrectionBody = ask.json()?;
    match dead_letters::correct(&ask.app.platform, &me.scope, &job(&ask), letter(&ask), &body.record).await? {
        Corrected::Kept(letter) => Answer::json(&letter),
        Corrected::Wrong(wrong) => {
            let part = |wrong: dead_letters::WrongPart| ProblemPart {
                path: wrong.column,
                message: wrong.message,
                help: wrong.help,
                ..ProblemPart::default()
            };
            let what = "no replay would write this record";
            Err(Problem::unprocessable("WEIR-DEAD-010", what).errors(wrong.into_iter().map(part).collect()))
        }
    }
}

/// `POST /jobs/{job_id}/dead-letters/replay`.
pub async fn replay(ask: Ask, me: Caller) -> Reply {
    let body: ChoiceBody = ask.json()?;
    let run = dead_letters::replay(&ask.app.platform, &me.scope, &job(&ask), &body.wanted()?).await?;
    runs::queued(&ask.app.tenant(&me.scope), run).await
}

/// `POST /jobs/{job_id}/dead-letters/discard`.
pub async fn discard(ask: Ask, me: Caller) -> Reply {
    let body: DiscardBody = ask.json()?;
    let wanted = body.letters.wanted()?;
    Answer::json(&dead_letters::discard(&ask.app.platform, &me.scope, &job(&ask), &wanted, &body.reason).await?)
}
