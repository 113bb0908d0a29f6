//! Dead letters as the store keeps them: found, looked at, corrected, given up, chosen for a replay.
//!
//! A letter is never changed: what somebody corrects stands beside what came. One waits until its rows were written by a replay or somebody
//! gave it up; only a letter that waits can be corrected, chosen or given up. As everything in the store it can be asked over a link, too.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Row};
use weir_error::{Error, Result};

use super::inspect::DeadView;
use super::link::{StateCall, told};
use super::tables::{Tables, failed, now, parse};
use super::{Phase, ReaderRecord, StateStore, Way, link};

/// No more of a record is kept; of a longer one this much.
pub const MAX_KEPT_BYTES: usize = 1 << 20;

/// Bytes of a record that a listing shows.
const GLIMPSE: i64 = 400;

/// Numbers in one statement.
const CHUNK: usize = 500;

/// Kinds of letters that are counted at most.
const KINDS: i64 = 200;

/// Where a letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterState {
    /// Nobody has its rows.
    Waiting,
    /// A replay has written its rows.
    Replayed,
    /// Somebody gave it up.
    Discarded,
}

/// Which letters of a pipeline; all conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// These numbers; empty: any.
    pub ids: Vec<i64>,
    /// Where they stand.
    pub state: Option<LetterState>,
    /// The run that met them: the engine's id, or the name under which it was begun.
    pub run: Option<String>,
    /// Their stream.
    pub stream: Option<String>,
    /// Their code.
    pub code: Option<String>,
    /// The sink on the way to which they were set aside; empty: those that no sink has.
    pub sink: Option<String>,
    /// Met at this time or later: RFC 3339 with milliseconds, UTC.
    pub since: Option<String>,
    /// Met before.
    pub until: Option<String>,
    /// Not after this number.
    pub up_to: Option<i64>,
}

/// What somebody wrote instead of what came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// The record.
    #[serde(with = "hex")]
    pub payload: Vec<u8>,
    /// Its media type.
    pub media_type: String,
    /// Who.
    pub by: String,
    /// When.
    pub at: String,
}

/// That somebody gave a letter up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discarded {
    /// Who.
    pub by: String,
    /// When.
    pub at: String,
    /// Why.
    pub reason: String,
}

/// A letter with all that became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its number.
    pub id: i64,
    /// Pipeline.
    pub pipeline: String,
    /// The engine's run that met it.
    pub run_id: String,
    /// The newest name under which that run was begun, while it is known.
    pub run: Option<String>,
    /// Flow that it was in.
    pub flow: String,
    /// The sink that lacks it; `None`: none has it.
    pub sink: Option<String>,
    /// Stream it came from.
    pub stream: String,
    /// Stable code.
    pub code: String,
    /// What was wrong.
    pub reason: String,
    /// Where it was.
    pub place: String,
    /// Media type of the payload.
    pub media_type: String,
    /// The record as it came; in a listing its beginning.
    #[serde(with = "hex")]
    pub payload: Vec<u8>,
    /// Bytes that are kept of it.
    pub payload_bytes: i64,
    /// When.
    pub at: String,
    /// What somebody wrote instead; in a listing without the record.
    pub correction: Option<Correction>,
    /// When its rows were written.
    pub replayed_at: Option<String>,
    /// That somebody gave it up.
    pub discarded: Option<Discarded>,
    /// Why the last replay did not write it.
    pub refusal: Option<String>,
    /// The replay that it was chosen for last.
    pub chosen: Option<String>,
}

impl Letter {
    /// As a replay takes it: the corrected record, if there is one.
    pub fn into_view(self) -> DeadView {
        let (payload, media_type) = match self.correction {
            Some(correction) => (correction.payload, correction.media_type),
            None => (self.payload, self.media_type),
        };
        DeadView {
            id: self.id,
            pipeline: self.pipeline,
            run_id: self.run_id,
            flow: self.flow,
            sink: self.sink,
            stream: self.stream,
            code: self.code,
            reason: self.reason,
            place: self.place,
            media_type,
            payload,
            at: self.at,
            replayed_at: self.replayed_at,
        }
    }
}

/// Letters of one kind, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterKind {
    /// Their stream.
    pub stream: String,
    /// The sink that lacks them.
    pub sink: Option<String>,
    /// Their code.
    pub code: String,
    /// How many.
    pub count: i64,
}

/// One question about letters; each is one method of [`StateStore`], which says what it means.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum LetterCall {
    Page { pipeline: String, choice: Choice, below: Option<i64>, limit: u32 },
    Kinds { pipeline: String, state: Option<LetterState> },
    One { pipeline: String, id: i64 },
    Correct { pipeline: String, id: i64, correction: Correction },
    Discard { pipeline: String, choice: Choice, discarded: Discarded },
    Choose { pipeline: String, choice: Choice, key: String },
    Chosen { pipeline: String, key: String, after: i64, max_bytes: i64 },
    Refused { pipeline: String, refusals: Vec<(i64, String)> },
    Replayed { ids: Vec<i64> },
    Waiting { pipeline: String, ids: Vec<i64> },
    Past { pipeline: String, replays: String },
}

/// What became of one flow of one run, as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PastFlow {
    run_id: String,
    flow: String,
    committed: bool,
    abandoned: bool,
    started: String,
    /// A run of the pipeline itself, not a replay.
    own: bool,
    /// Letters that a replay has committed.
    letters: Vec<i64>,
}

const COLUMNS: &str = "dead_letter.id, dead_letter.pipeline, dead_letter.run_id,
    (SELECT max(run_name.name) FROM run_name WHERE run_name.run_id = dead_letter.run_id), flow, sink, stream, code, reason, place,
    media_type, CAST(length(payload) AS BIGINT), at, replayed_at, edited_type, edited_by, edited_at, discarded_by, discarded_at,
    discard_reason, refusal, chosen";

/// A statement that grows, with its values.
struct Sql {
    text: String,
    values: Vec<Bound>,
}

enum Bound {
    Text(String),
    Number(i64),
    Bytes(Vec<u8>),
}

impl From<&str> for Bound {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<String> for Bound {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<i64> for Bound {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl Sql {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), values: Vec::new() }
    }

    /// The placeholder of a value.
    fn bind(&mut self, value: impl Into<Bound>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    /// Goes on with `before $n after`.
    fn with(mut self, before: &str, value: impl Into<Bound>, after: &str) -> Self {
        let place = self.bind(value);
        self.text.push_str(before);
        self.text.push_str(&place);
        self.text.push_str(after);
        self
    }

    /// The letters of a pipeline that are chosen.
    fn of(self, tables: &Tables, pipeline: &str, choice: &Choice) -> Self {
        let mut sql = self.with(" WHERE dead_letter.pipeline = ", tables.key(pipeline), "");
        if !choice.ids.is_empty() {
            sql.text.push_str(&format!(" AND dead_letter.id IN ({})", numbers(&choice.ids)));
        }
        sql.text.push_str(match choice.state {
            None => "",
            Some(LetterState::Waiting) => " AND replayed_at IS NULL AND discarded_at IS NULL",
            Some(LetterState::Replayed) => " AND replayed_at IS NOT NULL",
            Some(LetterState::Discarded) => " AND discarded_at IS NOT NULL AND replayed_at IS NULL",
        });
        if let Some(run) = &choice.run {
            let key = sql.bind(tables.key(run));
            sql.text.push_str(&format!(
                " AND (dead_letter.run_id = {key} OR dead_letter.run_id IN (SELECT run_name.run_id FROM run_name WHERE run_name.name = {key}))"
            ));
        }
        let texts = [("stream =", &choice.stream), ("code =", &choice.code), ("at >=", &choice.since), ("at <", &choice.until)];
        for (column, value) in texts {
            if let Some(value) = value {
                sql = sql.with(&format!(" AND {column} "), value.as_str(), "");
            }
        }
        match choice.sink.as_deref() {
            None => {}
            Some("") => sql.text.push_str(" AND sink IS NULL"),
            Some(sink) => sql = sql.with(" AND sink = ", sink, ""),
        }
        match choice.up_to {
            Some(up_to) => sql.with(" AND dead_letter.id <= ", up_to, ""),
            None => sql,
        }
    }
}

/// A statement with its values. They are moved, so the text outlives it.
fn bound(text: &str, values: Vec<Bound>) -> Query<'_, Any, AnyArguments> {
    values.into_iter().fold(sqlx::query(AssertSqlSafe(text.to_owned())), |query, value| match value {
        Bound::Text(text) => query.bind(text),
        Bound::Number(number) => query.bind(number),
        Bound::Bytes(bytes) => query.bind(bytes),
    })
}

/// Numbers of ours as a list in a statement.
fn numbers(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}

impl Tables {
    /// Does what is asked about letters.
    pub(super) async fn answer_letters(&self, call: LetterCall) -> Result<Value> {
        use LetterCall as C;
        match call {
            C::Page { pipeline, choice, below, limit } => told(self.letter_page(&pipeline, &choice, below, limit).await?),
            C::Kinds { pipeline, state } => told(self.letter_kinds(&pipeline, state).await?),
            C::One { pipeline, id } => told(self.letter(&pipeline, id).await?),
            C::Correct { pipeline, id, correction } => told(self.letter_corrected(&pipeline, id, &correction).await?),
            C::Discard { pipeline, choice, discarded } => told(self.letters_discarded(&pipeline, &choice, &discarded).await?),
            C::Choose { pipeline, choice, key } => told(self.letters_choose(&pipeline, &choice, &key).await?),
            C::Chosen { pipeline, key, after, max_bytes } => told(self.letters_chosen(&pipeline, &key, after, max_bytes).await?),
            C::Refused { pipeline, refusals } => told(self.letters_refused(&pipeline, &refusals).await?),
            C::Replayed { ids } => told(self.letters_replayed(&ids).await?),
            C::Waiting { pipeline, ids } => told(self.letters_waiting(&pipeline, &ids).await?),
            C::Past { pipeline, replays } => told(self.past(&pipeline, &replays).await?),
        }
    }

    async fn rows(&self, sql: Sql) -> Result<Vec<AnyRow>> {
        bound(&sql.text, sql.values).fetch_all(&self.pool).await.map_err(failed)
    }

    async fn changed(&self, sql: Sql) -> Result<u64> {
        let mut tx = self.begin_writing().await?;
        let changed = bound(&sql.text, sql.values).execute(&mut *tx).await.map_err(failed)?.rows_affected();
        tx.commit().await.map_err(failed)?;
        Ok(changed)
    }

    async fn letter_page(&self, pipeline: &str, choice: &Choice, below: Option<i64>, limit: u32) -> Result<Vec<Letter>> {
        let head = format!("SELECT {COLUMNS}, substr(payload, 1, {GLIMPSE}), NULL FROM dead_letter");
        let mut sql = Sql::new(head).of(self, pipeline, choice);
        if let Some(below) = below {
            sql = sql.with(" AND dead_letter.id < ", below, "");
        }
        sql = sql.with(" ORDER BY dead_letter.id DESC LIMIT ", i64::from(limit), "");
        Ok(self.rows(sql).await?.iter().map(|row| self.read_letter(row)).collect())
    }

    async fn letter_kinds(&self, pipeline: &str, state: Option<LetterState>) -> Result<Vec<LetterKind>> {
        let choice = Choice { state, ..Choice::default() };
        let mut sql = Sql::new("SELECT stream, sink, code, count(*) FROM dead_letter").of(self, pipeline, &choice);
        sql.text.push_str(&format!(" GROUP BY stream, sink, code ORDER BY 4 DESC, 1, 3 LIMIT {KINDS}"));
        let kind = |row: &AnyRow| LetterKind { stream: row.get(0), sink: row.get(1), code: row.get(2), count: row.get(3) };
        Ok(self.rows(sql).await?.iter().map(kind).collect())
    }

    async fn letter(&self, pipeline: &str, id: i64) -> Result<Option<Letter>> {
        let choice = Choice { ids: vec![id], ..Choice::default() };
        let sql = Sql::new(format!("SELECT {COLUMNS}, payload, edited FROM dead_letter")).of(self, pipeline, &choice);
        Ok(self.rows(sql).await?.first().map(|row| self.read_letter(row)))
    }

    fn read_letter(&self, row: &AnyRow) -> Letter {
        let (edited_type, edited_by, edited_at): (Option<String>, Option<String>, Option<String>) =
            (row.get(14), row.get(15), row.get(16));
        let correction = edited_at.map(|at| Correction {
            payload: row.get::<Option<Vec<u8>>, _>(23).unwrap_or_default(),
            media_type: edited_type.unwrap_or_default(),
            by: edited_by.unwrap_or_default(),
            at,
        });
        let (by, at, reason): (Option<String>, Option<String>, Option<String>) = (row.get(17), row.get(18), row.get(19));
        let discarded = at.map(|at| Discarded { by: by.unwrap_or_default(), at, reason: reason.unwrap_or_default() });
        Letter {
            id: row.get(0),
            pipeline: self.name(row.get(1)),
            run_id: self.name(row.get(2)),
            run: row.get::<Option<String>, _>(3).map(|name| self.name(name)),
            flow: row.get(4),
            sink: row.get(5),
            stream: row.get(6),
            code: row.get(7),
            reason: row.get(8),
            place: row.get(9),
            media_type: row.get(10),
            payload_bytes: row.get(11),
            at: row.get(12),
            replayed_at: row.get(13),
            correction,
            discarded,
            refusal: row.get(20),
            chosen: row.get(21),
            payload: row.get(22),
        }
    }

    async fn letter_corrected(&self, pipeline: &str, id: i64, correction: &Correction) -> Result<bool> {
        let choice = Choice { ids: vec![id], state: Some(LetterState::Waiting), ..Choice::default() };
        let sql = Sql::new("UPDATE dead_letter SET")
            .with(" edited = ", Bound::Bytes(correction.payload.clone()), ",")
            .with(" edited_type = ", correction.media_type.as_str(), ",")
            .with(" edited_by = ", correction.by.as_str(), ",")
            .with(" edited_at = ", correction.at.as_str(), ", refusal = NULL")
            .of(self, pipeline, &choice);
        Ok(self.changed(sql).await? == 1)
    }

    async fn letters_discarded(&self, pipeline: &str, choice: &Choice, discarded: &Discarded) -> Result<u64> {
        let choice = Choice { state: Some(LetterState::Waiting), ..choice.clone() };
        let sql = Sql::new("UPDATE dead_letter SET")
            .with(" discarded_by = ", discarded.by.as_str(), ",")
            .with(" discarded_at = ", discarded.at.as_str(), ",")
            .with(" discard_reason = ", discarded.reason.as_str(), "")
            .of(self, pipeline, &choice);
        self.changed(sql).await
    }

    async fn letters_choose(&self, pipeline: &str, choice: &Choice, key: &str) -> Result<u64> {
        let choice = Choice { state: Some(LetterState::Waiting), ..choice.clone() };
        let sql = Sql::new("UPDATE dead_letter SET").with(" chosen = ", key, "").of(self, pipeline, &choice);
        self.changed(sql).await
    }

    async fn letters_chosen(&self, pipeline: &str, key: &str, after: i64, max_bytes: i64) -> Result<Vec<Letter>> {
        let waiting = Choice { state: Some(LetterState::Waiting), ..Choice::default() };
        let sizes = Sql::new("SELECT dead_letter.id, CAST(length(coalesce(edited, payload)) AS BIGINT) FROM dead_letter")
            .of(self, pipeline, &waiting)
            .with(" AND chosen = ", key, "")
            .with(" AND dead_letter.id > ", after, &format!(" ORDER BY dead_letter.id LIMIT {}", CHUNK * 4));
        let (mut ids, mut bytes) = (Vec::new(), 0);
        for row in self.rows(sizes).await? {
            bytes += row.get::<i64, _>(1);
            if bytes > max_bytes && !ids.is_empty() {
                break;
            }
            ids.push(row.get(0));
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let these = Choice { ids, ..waiting };
        let mut sql = Sql::new(format!("SELECT {COLUMNS}, payload, edited FROM dead_letter")).of(self, pipeline, &these);
        sql.text.push_str(" ORDER BY dead_letter.id");
        Ok(self.rows(sql).await?.iter().map(|row| self.read_letter(row)).collect())
    }

    async fn letters_refused(&self, pipeline: &str, refusals: &[(i64, String)]) -> Result<()> {
        let mut tx = self.begin_writing().await?;
        for (id, reason) in refusals {
            let reason: String = reason.replace('\0', "\u{2400}").chars().take(4000).collect();
            sqlx::query("UPDATE dead_letter SET refusal = $1 WHERE pipeline = $2 AND id = $3 AND replayed_at IS NULL")
                .bind(reason)
                .bind(self.key(pipeline))
                .bind(id)
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }

    async fn letters_replayed(&self, ids: &[i64]) -> Result<()> {
        let mut tx = self.begin_writing().await?;
        for some in ids.chunks(CHUNK) {
            let scope = self.key("");
            let sql = format!(
                "UPDATE dead_letter SET replayed_at = $1, refusal = NULL WHERE id IN ({}) AND replayed_at IS NULL
                 AND substr(pipeline, 1, length($2)) = $2",
                numbers(some)
            );
            sqlx::query(AssertSqlSafe(sql)).bind(now()).bind(scope).execute(&mut *tx).await.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }

    async fn letters_waiting(&self, pipeline: &str, ids: &[i64]) -> Result<HashSet<i64>> {
        let mut found = HashSet::new();
        for some in ids.chunks(CHUNK) {
            let choice = Choice { ids: some.to_vec(), state: Some(LetterState::Waiting), ..Choice::default() };
            let sql = Sql::new("SELECT dead_letter.id FROM dead_letter").of(self, pipeline, &choice);
            found.extend(self.rows(sql).await?.iter().map(|row| row.get::<i64, _>(0)));
        }
        Ok(found)
    }

    async fn past(&self, pipeline: &str, replays: &str) -> Result<Vec<PastFlow>> {
        let rows = sqlx::query(
            "SELECT run.run_id, flow.flow, flow.phase, run.status, run.started_at, CASE WHEN run.pipeline = $1 THEN 1 ELSE 0 END,
                    CASE WHEN run.pipeline = $1 THEN NULL ELSE flow.readers END
             FROM run JOIN flow ON flow.run_id = run.run_id
             WHERE run.pipeline = $1 OR substr(run.pipeline, 1, length($2)) = $2",
        )
        .bind(self.key(pipeline))
        .bind(self.key(replays))
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let flow = |row: &AnyRow| {
            let status: String = row.get(3);
            // A stream that was stopped cleanly has committed what it has read.
            let committed = Phase::parse(&row.get::<String, _>(2))? == Phase::Committed || status == "stopped";
            let letters = match (committed, row.get::<Option<String>, _>(6)) {
                (true, Some(readers)) => crate::replay::letters_of(&parse::<Vec<ReaderRecord>>(&readers)?),
                _ => Vec::new(),
            };
            Ok(PastFlow {
                run_id: self.name(row.get(0)),
                flow: row.get(1),
                committed,
                abandoned: status == "abandoned",
                started: row.get(4),
                own: row.get::<i64, _>(5) == 1,
                letters,
            })
        };
        rows.iter().map(flow).collect()
    }
}

/// Asks the tables, or the same over the link.
macro_rules! ask {
    ($store:ident, $tables:ident => $here:expr, $there:expr) => {
        match &$store.way {
            Way::Tables($tables) => $here.await,
            Way::Link(link) => link::typed(link.ask(StateCall::Dead($there)).await?),
        }
    };
}

impl StateStore {
    /// Letters of a pipeline, newest first, those below a number if one is given. Of each record only the beginning.
    pub async fn letter_page(&self, pipeline: &str, choice: &Choice, below: Option<i64>, limit: u32) -> Result<Vec<Letter>> {
        ask!(self, tables => tables.letter_page(pipeline, choice, below, limit), LetterCall::Page {
            pipeline: pipeline.into(),
            choice: choice.clone(),
            below,
            limit,
        })
    }

    /// How many letters there are of each kind, the largest first; not more than 200 kinds.
    pub async fn letter_kinds(&self, pipeline: &str, state: Option<LetterState>) -> Result<Vec<LetterKind>> {
        ask!(self, tables => tables.letter_kinds(pipeline, state), LetterCall::Kinds { pipeline: pipeline.into(), state })
    }

    /// A letter with its whole record.
    pub async fn letter(&self, pipeline: &str, id: i64) -> Result<Option<Letter>> {
        ask!(self, tables => tables.letter(pipeline, id), LetterCall::One { pipeline: pipeline.into(), id })
    }

    /// Keeps a corrected record beside the original; a former correction is replaced. `false`: the letter does not wait any more.
    /// Whether it can be processed is not asked here: see [`crate::replay::correct`].
    pub(crate) async fn letter_corrected(&self, pipeline: &str, id: i64, correction: &Correction) -> Result<bool> {
        ask!(self, tables => tables.letter_corrected(pipeline, id, correction), LetterCall::Correct {
            pipeline: pipeline.into(),
            id,
            correction: correction.clone(),
        })
    }

    /// Gives letters up that wait; how many there were. They are kept, and no replay takes them.
    pub async fn letters_discarded(&self, pipeline: &str, choice: &Choice, discarded: &Discarded) -> Result<u64> {
        ask!(self, tables => tables.letters_discarded(pipeline, choice, discarded), LetterCall::Discard {
            pipeline: pipeline.into(),
            choice: choice.clone(),
            discarded: discarded.clone(),
        })
    }

    /// Chooses letters that wait for the replay of this name; how many there were. Those of another replay that has not begun with them are
    /// taken from it.
    pub async fn letters_choose(&self, pipeline: &str, choice: &Choice, key: &str) -> Result<u64> {
        ask!(self, tables => tables.letters_choose(pipeline, choice, key), LetterCall::Choose {
            pipeline: pipeline.into(),
            choice: choice.clone(),
            key: key.into(),
        })
    }

    /// The next letters that a replay shall take, after a number, oldest first: whole records, together not more than so many bytes, but one
    /// in any case.
    pub(crate) async fn letters_chosen(&self, pipeline: &str, key: &str, after: i64, max_bytes: i64) -> Result<Vec<Letter>> {
        ask!(self, tables => tables.letters_chosen(pipeline, key, after, max_bytes), LetterCall::Chosen {
            pipeline: pipeline.into(),
            key: key.into(),
            after,
            max_bytes,
        })
    }

    /// Notes why letters did not go through.
    pub(crate) async fn letters_refused(&self, pipeline: &str, refusals: &[(i64, String)]) -> Result<()> {
        ask!(self, tables => tables.letters_refused(pipeline, refusals), LetterCall::Refused {
            pipeline: pipeline.into(),
            refusals: refusals.to_vec(),
        })
    }

    /// Marks dead letters as replayed, those that are not yet.
    pub async fn dead_replayed(&self, ids: &[i64]) -> Result<()> {
        ask!(self, tables => tables.letters_replayed(ids), LetterCall::Replayed { ids: ids.to_vec() })
    }

    /// Those of the letters of a pipeline that wait.
    pub(crate) async fn dead_waiting(&self, pipeline: &str, ids: &[i64]) -> Result<HashSet<i64>> {
        ask!(self, tables => tables.letters_waiting(pipeline, ids), LetterCall::Waiting { pipeline: pipeline.into(), ids: ids.to_vec() })
    }

    /// What became of the flows of a pipeline, in its own runs and in its replays: runs of a pipeline whose name begins with `replays`.
    pub(crate) async fn history(&self, pipeline: &str, replays: &str) -> Result<History> {
        let past: Result<Vec<PastFlow>> = ask!(self, tables => tables.past(pipeline, replays), LetterCall::Past {
            pipeline: pipeline.into(),
            replays: replays.into(),
        });
        let mut history = History::default();
        for flow in past? {
            if flow.committed && flow.own {
                let last = history.last.entry(flow.flow.clone()).or_default();
                *last = std::mem::take(last).max((flow.started.clone(), flow.run_id.clone()));
            }
            history.replayed.extend(flow.letters);
            let known = FlowPast { committed: flow.committed, abandoned: flow.abandoned, started: flow.started };
            history.flows.insert((flow.run_id, flow.flow), known);
        }
        Ok(history)
    }
}

/// What became of one flow in one run.
#[derive(Debug)]
pub(crate) struct FlowPast {
    pub(crate) committed: bool,
    /// The run was given up.
    pub(crate) abandoned: bool,
    pub(crate) started: String,
}

/// See [`StateStore::history`].
#[derive(Debug, Default)]
pub(crate) struct History {
    /// By run and flow.
    pub(crate) flows: HashMap<(String, String), FlowPast>,
    /// Start and id of the last run of the pipeline itself that committed the flow.
    pub(crate) last: BTreeMap<String, (String, String)>,
    /// Letters whose rows a replay has committed.
    pub(crate) replayed: Vec<i64>,
}

/// Bytes over a link: as a list of numbers they would take a hundred times their size in memory.
mod hex {
    use super::{Deserialize, Deserializer, Serializer};

    const DIGITS: &[u8; 16] = b"0123456789abcdef";

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
        serializer.collect_str(&bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let half = |digit: u8| DIGITS.iter().position(|known| *known == digit).and_then(|at| u8::try_from(at).ok());
        let pair = |pair: &[u8]| match pair {
            [high, low] => Some(half(*high)? << 4 | half(*low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
        bytes.ok_or_else(|| serde::de::Error::custom("these are no bytes in hexadecimal"))
    }
}

/// A letter that is not there.
pub fn no_letter(id: i64) -> Error {
    Error::new("WEIR-DEAD-001", weir_error::Kind::NotFound, format!("there is no dead letter {id}"))
}
