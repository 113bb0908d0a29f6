//! Reading without end: the same questions again and again, at a pace.
//!
//! With a cursor each round asks for what is at or above the greatest value so far. What the rounds before have given at that value is known by the rows'
//! hashes, so each row comes once, also over restarts: the position after each page has all of it. Rows below the bound (rows that came late, without a
//! value) are left out, as by a run of `mode: incremental`. Without a cursor, one page is taken whole whenever it is another one.
//!
//! An API of one page is asked with `If-None-Match` and `If-Modified-Since` as long as the question is the same.

use std::collections::HashSet;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use twox_hash::XxHash3_128;
use weir_connect::cursor::{CursorState, CursorTracker, RowHash, lower_bound};
use weir_connect::{Batch, DeadLetter, Error, Event, EventStream, Kind, Position, Result, ResumeVerdict, Split, StreamReader};

use super::config::{Pagination, Stop, spec};
use super::endpoint::Endpoint;
use super::page::{Bindings, Next, PageState, Validators, formatted};
use super::source::{Asking, Reading};

/// Rows of one cursor value, or broken records of one round, that may be remembered: they are part of each position.
const MOST_REMEMBERED: usize = 20_000;

/// Where reading goes on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct At {
    version: u8,
    /// The cursor column.
    column: Option<String>,
    /// What the rounds before this one have seen.
    before: CursorState,
    /// What this round has seen.
    now: CursorState,
    /// The page behind; `None` between two rounds.
    page: Option<PageState>,
    /// Hash of the last page, where it is taken whole.
    whole: Option<u64>,
    /// The bound that was asked with, and what the server said of its answer.
    asked: Option<String>,
    validators: Validators,
    /// Broken records that were told already.
    dead: Vec<RowHash>,
}

impl At {
    /// The round is over: what it has seen is what the next one begins with.
    fn settle(&mut self) {
        self.before.merge(std::mem::take(&mut self.now), 0);
        self.page = None;
    }

    /// Whatever was given at the greatest values: by the rounds before, and by one that was interrupted.
    fn given(&self) -> CursorState {
        CursorState {
            max: self.before.max.clone().max(self.now.max.clone()),
            boundary: self.before.boundary.iter().chain(&self.now.boundary).cloned().collect(),
            ..CursorState::default()
        }
    }
}

/// Whether a stream can be asked for again and again.
///
/// # Errors
/// `WEIR-HTTP-001` for options that go with single runs only.
pub(super) fn check(endpoint: &Endpoint) -> Result<()> {
    let (name, shared) = (&endpoint.name, &endpoint.shared);
    if endpoint.cursor.is_none() && !shared.poll.whole {
        return Err(spec(format!("`{name}`: without a `cursor` every answer would be taken anew, with all its rows"))
            .hint("name the column that only grows as `cursor`; or `poll: {whole: true}`, which takes all rows again when the answer has changed"));
    }
    if endpoint.cursor.is_some() && shared.poll.whole {
        return Err(spec(format!("`{name}`: `cursor` and `poll: {{whole: true}}` exclude each other")).hint("keep one of them"));
    }
    if shared.poll.whole && !matches!(endpoint.pagination, Pagination::None) {
        return Err(spec(format!("`{name}`: `poll: {{whole: true}}` is for an answer of one page")).hint("name a `cursor`"));
    }
    if matches!(&endpoint.pagination, Pagination::Page(page) if page.stop == Stop::Empty) {
        return Err(spec(format!("`{name}`: records that come between two questions would be left out by pages without a size"))
            .hint("`stop: short` with `size` (and `size_param`): a page that is not full is the last of its round; or page by `offset`"));
    }
    if shared.poll.every_ms == 0 {
        return Err(spec(format!("`{name}`: `poll: {{every_ms: 0}}` would never pause")).hint("1000 is a question per second"));
    }
    if shared.lag.is_some() {
        return Err(spec(format!("`{name}`: `lag` is for `mode: incremental`")).hint("drop it"));
    }
    let uses = |value: &Value| value.to_string().contains("${last_run_time}");
    if endpoint.query_params.values().any(uses) || endpoint.body.as_ref().is_some_and(uses) {
        return Err(
            spec(format!("`{name}`: a stream without end has no last run")).hint("use `${cursor}` for `${last_run_time}`")
        );
    }
    Ok(())
}

/// A stream that is asked for again and again.
pub(super) struct Poller {
    pub asking: Asking,
    pub verdict: ResumeVerdict,
}

#[async_trait]
impl StreamReader for Poller {
    fn schema(&self) -> SchemaRef {
        self.asking.shape.schema.clone()
    }

    fn splits(&self) -> Vec<Split> {
        let descriptor = json!({"stream": self.asking.stream.endpoint.name});
        vec![Split { id: "rounds".into(), descriptor, estimated_rows: None, estimated_bytes: None }]
    }

    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }

    async fn read(&self, _split: &Split, from: Option<Position>) -> Result<EventStream> {
        let endpoint = self.asking.stream.endpoint.clone();
        let strange = |why: &dyn std::fmt::Display| {
            Error::new("WEIR-HTTP-024", Kind::Conflict, "the saved position is not one of this stream")
                .because(why)
                .hint("`weir state reset` begins anew")
        };
        let mut at = match from {
            None => At { version: 1, column: endpoint.cursor.clone(), ..At::default() },
            Some(position) => serde_json::from_value::<At>(position).map_err(|error| strange(&error))?,
        };
        if at.version != 1 || at.column != endpoint.cursor {
            let was = at.column.as_deref().unwrap_or("none");
            return Err(strange(&format!("its cursor is `{was}`, of version {}", at.version)));
        }
        if at.page.as_ref().is_some_and(|page| page.next == Next::End) {
            at.settle();
        }
        let rounds = Rounds {
            asking: self.asking.clone(),
            every: Duration::from_millis(endpoint.shared.poll.every_ms),
            at,
            due: Instant::now(),
            round: None,
            told: true,
        };
        let events = stream::try_unfold(rounds, |mut rounds| async move { Ok::<_, Error>(Some((rounds.step().await?, rounds))) });
        Ok(events.boxed())
    }
}

/// Round after round.
struct Rounds {
    asking: Asking,
    every: Duration,
    at: At,
    /// When the next round begins.
    due: Instant,
    round: Option<Round>,
    /// Something was given, or nothing was told yet: that nothing is left has to be said.
    told: bool,
}

/// One round of questions.
struct Round {
    reading: Reading,
    tracker: Option<CursorTracker>,
    /// What it had seen before it was interrupted.
    carried: CursorState,
    bound: Option<String>,
    /// Broken records of the rounds before.
    known: HashSet<RowHash>,
    dead: Vec<RowHash>,
    /// Something was given, and no position behind it.
    open: bool,
    /// Its first pages were read by an earlier attempt.
    resumed: bool,
}

impl Rounds {
    async fn step(&mut self) -> Result<Event> {
        loop {
            let Some(round) = &mut self.round else {
                tokio::time::sleep_until(self.due).await;
                self.due = Instant::now() + self.every;
                self.round = Some(self.begin()?);
                continue;
            };
            let event = match round.reading.next().await? {
                Some(Event::Dead(letter)) => round.dead(letter)?.map(Event::Dead),
                Some(Event::Batch(batch)) => round.batch(batch, &self.at)?.map(Event::Batch),
                Some(other) => Some(other),
                None => {
                    self.end()?;
                    std::mem::take(&mut self.told).then_some(Event::Idle)
                }
            };
            if let Some(event) = event {
                self.told |= !matches!(event, Event::Idle);
                return Ok(event);
            }
        }
    }

    fn begin(&self) -> Result<Round> {
        let (endpoint, schema) = (&self.asking.stream.endpoint, &self.asking.shape.schema);
        let (mut lower, mut tracker) = (None, None);
        if let Some(column) = &endpoint.cursor {
            tracker = Some(CursorTracker::new(schema, column, 0, Some(&self.at.given()))?);
            let kind = schema.field_with_name(column).map(|field| field.data_type().clone());
            lower = kind.ok().and_then(|kind| lower_bound(&self.at.before, 0, &kind));
        }
        let shared = &endpoint.shared;
        let asked = lower.as_ref().map(|lower| formatted(lower, shared.cursor_format)).transpose()?;
        let bound = asked.or_else(|| shared.cursor_initial.clone());
        let filter = endpoint.cursor.clone().zip(lower);
        let bindings = Bindings { cursor: bound.clone(), last_run_time: None };
        let state = self.at.page.clone().unwrap_or_else(PageState::first);
        let mut reading = self.asking.reading(bindings, filter, state, u64::MAX);
        if matches!(endpoint.pagination, Pagination::None) && self.at.page.is_none() {
            let known = if self.at.asked == bound { self.at.validators.clone() } else { Validators::default() };
            reading.unless(self.at.whole, known);
        }
        Ok(Round {
            reading,
            tracker,
            carried: self.at.now.clone(),
            bound,
            known: self.at.dead.iter().copied().collect(),
            dead: Vec::new(),
            open: false,
            resumed: self.at.page.is_some(),
        })
    }

    fn end(&mut self) -> Result<()> {
        let Some(mut round) = self.round.take() else { return Ok(()) };
        if round.reading.unchanged() {
            return Ok(());
        }
        let page = round.reading.state().clone();
        let mut at = round.at(&self.at, Some(page))?;
        at.settle();
        // What is broken and not there any more need not be remembered; but of a round that was interrupted not all is known here.
        if !round.resumed {
            at.dead = round.dead;
        }
        self.at = at;
        Ok(())
    }
}

impl Round {
    /// A letter that was not told before.
    fn dead(&mut self, letter: DeadLetter) -> Result<Option<DeadLetter>> {
        let hash = XxHash3_128::oneshot(&letter.payload);
        let hash = ((hash >> 64) as u64, hash as u64);
        self.dead.push(hash);
        if self.dead.len() > MOST_REMEMBERED {
            let what = format!("more than {MOST_REMEMBERED} records of one round cannot be read");
            return Err(Error::new("WEIR-HTTP-026", Kind::Limit, what).at(letter.place).because(letter.reason));
        }
        let new = !self.known.contains(&hash);
        self.open |= new;
        Ok(new.then_some(letter))
    }

    /// The rows that were not given before.
    fn batch(&mut self, batch: Batch, before: &At) -> Result<Option<Batch>> {
        let records = match &mut self.tracker {
            Some(tracker) => tracker.pass(batch.records)?.0,
            None => batch.records,
        };
        let position = match batch.position {
            Some(page) => {
                let page = serde_json::from_value(page).map_err(|error| Error::internal("a position").because(error))?;
                let at = self.at(before, Some(page))?;
                Some(serde_json::to_value(at).map_err(|error| Error::internal("a position").because(error))?)
            }
            None => None,
        };
        if records.num_rows() == 0 && !(self.open && position.is_some()) {
            return Ok(None);
        }
        // Between its letter or its rows and the position behind them nothing else may be told.
        self.open = position.is_none();
        Ok(Some(Batch { records, position, source_bytes: batch.source_bytes }))
    }

    /// Where it stands.
    fn at(&mut self, before: &At, page: Option<PageState>) -> Result<At> {
        let mut now = self.carried.clone();
        if let Some(tracker) = &mut self.tracker {
            now.merge(tracker.take(), 0);
        }
        if now.boundary.len() > MOST_REMEMBERED {
            let column = before.column.as_deref().unwrap_or_default();
            let what = format!("more than {MOST_REMEMBERED} rows have the same value in the cursor column `{column}`");
            return Err(Error::new("WEIR-HTTP-026", Kind::Limit, what)
                .hint("choose a `cursor` that differs from row to row, such as a time with microseconds or a number"));
        }
        let mut dead: Vec<RowHash> = before.dead.iter().chain(&self.dead).copied().collect();
        dead.sort_unstable();
        dead.dedup();
        let whole = page.as_ref().and_then(|page| page.last).filter(|_| before.column.is_none());
        Ok(At {
            version: 1,
            column: before.column.clone(),
            before: before.before.clone(),
            now,
            page,
            whole: whole.or(before.whole),
            asked: self.bound.clone(),
            validators: self.reading.validators().clone(),
            dead,
        })
    }
}
