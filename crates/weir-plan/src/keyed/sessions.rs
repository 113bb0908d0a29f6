//! Aggregates over sessions: windows that grow with their rows, and meet.
//!
//! A row of a time has a window of the gap's length; windows of a key that overlap or touch are one. Because they meet when they touch, a session is closed only when no
//! row of its very end can come any more: at the watermark of its end, not a millisecond before. Then what comes out does not
//! depend on when the watermark moved, and is what a batch gives.
//!
//! A batch is first brought together to its own sessions, which are then merged into those that are kept. A kept session is a key, a span
//! and the states of its aggregates in Arrow's row format; this is also what is written, each under the number that it got when it began.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::row::{RowConverter, Rows, SortField};
use bytes::Bytes;
use weir_connect::Result;
use weir_error::Error;

use super::groups::typed;
use super::run::{Given, Keeper};
use super::state::{self, Clock, failed, foreign};
use super::totals::Totals;
use super::windows::WindowRule;
use super::{StateChange, Stored};

struct Session {
    key: Arc<[u8]>,
    start: i64,
    end: i64,
    state: Box<[u8]>,
}

/// The operator.
pub(super) struct Sessions {
    number: u8,
    rule: Arc<WindowRule>,
    gap: i64,
    keys: RowConverter,
    states: RowConverter,
    /// By number; a number is older than those after it.
    sessions: BTreeMap<i64, Session>,
    of_key: HashMap<Arc<[u8]>, Vec<i64>>,
    /// End and number.
    ends: BTreeSet<(i64, i64)>,
    next: i64,
    clock: Clock,
    changed: BTreeSet<i64>,
    written: BTreeSet<i64>,
    gone: BTreeSet<i64>,
    held: usize,
}

/// What becomes one session: some that are kept, some of the batch.
struct Merged {
    key: Arc<[u8]>,
    start: i64,
    end: i64,
    /// Numbers of those that are kept.
    kept: Vec<i64>,
    /// Sessions of the batch.
    new: Vec<usize>,
}

/// A run of rows of one key without a gap.
struct Run {
    key: Arc<[u8]>,
    start: i64,
    end: i64,
    rows: Vec<u32>,
}

impl Sessions {
    pub(super) fn new(number: u8, rule: Arc<WindowRule>, gap: i64) -> Result<Self> {
        let wrong = failed(&rule.node);
        let converter = |fields: Vec<&arrow::datatypes::FieldRef>| {
            RowConverter::new(fields.into_iter().map(|field| SortField::new(field.data_type().clone())).collect())
        };
        let keys = converter(rule.keys.iter().map(|(_, field)| field).collect()).map_err(|error| wrong(error.into()))?;
        let states =
            converter(rule.totals.iter().flat_map(|total| &total.state).collect()).map_err(|error| wrong(error.into()))?;
        drop(wrong);
        Ok(Self {
            number,
            rule,
            gap,
            keys,
            states,
            sessions: BTreeMap::new(),
            of_key: HashMap::new(),
            ends: BTreeSet::new(),
            next: 0,
            clock: Clock::default(),
            changed: BTreeSet::new(),
            written: BTreeSet::new(),
            gone: BTreeSet::new(),
            held: 0,
        })
    }

    /// Whether a session with this end is closed.
    fn closed(&self, end: i64) -> bool {
        self.clock.past(self.rule.micros(end))
    }

    /// The sessions that a batch has on its own, in the order of their first rows.
    fn runs(&self, batch: &RecordBatch) -> Result<Vec<Run>> {
        let times = self.rule.numbers(batch)?;
        let times = times.values();
        let rows = self.key_rows(batch)?;
        let mut keys: HashMap<&[u8], Vec<u32>> = HashMap::new();
        for row in 0..batch.num_rows() {
            let key = rows.as_ref().map_or(&[][..], |rows| rows.row(row).data());
            keys.entry(key).or_default().push(row as u32);
        }
        let mut runs: Vec<Run> = Vec::new();
        for (key, mut rows) in keys {
            let key: Arc<[u8]> = key.into();
            rows.sort_by_key(|row| times[*row as usize]);
            let mut open: Option<Run> = None;
            for row in rows {
                let at = times[row as usize] - self.rule.back();
                let end = at.checked_add(self.gap).ok_or_else(|| {
                    failed(&self.rule.node)(crate::program::require::unkept(
                        "the window of a time is beyond the range of its type",
                    ))
                })?;
                match &mut open {
                    Some(run) if at <= run.end => {
                        run.end = end;
                        run.rows.push(row);
                    }
                    _ => runs.extend(open.replace(Run { key: key.clone(), start: at, end, rows: vec![row] })),
                }
            }
            runs.extend(open);
        }
        runs.iter_mut().for_each(|run| run.rows.sort_unstable());
        runs.sort_by_key(|run| run.rows.first().copied());
        Ok(runs)
    }

    fn key_rows(&self, batch: &RecordBatch) -> Result<Option<Rows>> {
        if self.rule.keys.is_empty() {
            return Ok(None);
        }
        let rows = self.keys.convert_columns(&self.rule.key_columns(batch));
        rows.map(Some).map_err(|error| failed(&self.rule.node)(error.into()))
    }

    /// Which runs meet which sessions, and each other through them. Runs that are late are left over.
    fn meet(&self, runs: &[Run]) -> (Vec<Merged>, Vec<usize>) {
        let (mut merged, mut late): (Vec<Merged>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut of_key: HashMap<Arc<[u8]>, Vec<usize>> = HashMap::new();
        for (at, run) in runs.iter().enumerate() {
            let places = of_key.entry(run.key.clone()).or_insert_with(|| {
                let kept = self.of_key.get(&run.key).into_iter().flatten();
                let kept = kept.filter_map(|number| Some((*number, self.sessions.get(number)?)));
                let kept = kept.map(|(number, session)| Merged {
                    key: run.key.clone(),
                    start: session.start,
                    end: session.end,
                    kept: vec![number],
                    new: Vec::new(),
                });
                let from = merged.len();
                merged.extend(kept);
                (from..merged.len()).collect()
            });
            let (near, far): (Vec<usize>, Vec<usize>) =
                places.iter().copied().partition(|place| merged[*place].start <= run.end && merged[*place].end >= run.start);
            let Some((&first, others)) = near.split_first() else {
                if self.closed(run.end) {
                    late.push(at);
                    continue;
                }
                merged.push(Merged { key: run.key.clone(), start: run.start, end: run.end, kept: Vec::new(), new: vec![at] });
                places.push(merged.len() - 1);
                continue;
            };
            let mut one = Merged {
                key: run.key.clone(),
                start: merged[first].start.min(run.start),
                end: merged[first].end.max(run.end),
                kept: std::mem::take(&mut merged[first].kept),
                new: std::mem::take(&mut merged[first].new),
            };
            for &other in others {
                one.start = one.start.min(merged[other].start);
                one.end = one.end.max(merged[other].end);
                one.kept.append(&mut merged[other].kept);
                one.new.append(&mut merged[other].new);
            }
            one.new.push(at);
            merged[first] = one;
            *places = far;
            places.push(first);
        }
        merged.retain(|one| !one.new.is_empty());
        (merged, late)
    }

    fn remove(&mut self, number: i64) -> Option<Session> {
        let session = self.sessions.remove(&number)?;
        self.ends.remove(&(session.end, number));
        self.changed.remove(&number);
        if self.written.remove(&number) {
            self.gone.insert(number);
        }
        if let Some(numbers) = self.of_key.get_mut(&session.key) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.of_key.remove(&session.key);
            }
        }
        self.held = self.held.saturating_sub(size(&session));
        Some(session)
    }

    fn insert(&mut self, number: i64, session: Session) {
        self.held += size(&session);
        self.ends.insert((session.end, number));
        self.of_key.entry(session.key.clone()).or_default().push(number);
        self.sessions.insert(number, session);
    }

    /// The states of sessions as columns.
    fn columns<'a>(&self, states: impl Iterator<Item = &'a [u8]>) -> datafusion::error::Result<Vec<ArrayRef>> {
        let fields: Vec<_> = self.rule.totals.iter().flat_map(|total| total.state.clone()).collect();
        if fields.is_empty() {
            return Ok(Vec::new());
        }
        let parser = self.states.parser();
        typed(self.states.convert_rows(states.map(|state| parser.parse(state)))?, &fields)
    }

    fn merge(&mut self, batch: &RecordBatch, runs: &[Run], merged: Vec<Merged>) -> datafusion::error::Result<()> {
        let mut ids = vec![usize::MAX; batch.num_rows()];
        let mut kept_ids = Vec::new();
        for (id, one) in merged.iter().enumerate() {
            one.new.iter().flat_map(|run| &runs[*run].rows).for_each(|row| ids[*row as usize] = id);
            kept_ids.extend(one.kept.iter().map(|_| id));
        }
        let mut totals = Totals::new(&self.rule.totals)?;
        // What is kept came before the batch.
        let kept: Vec<&[u8]> = merged
            .iter()
            .flat_map(|one| &one.kept)
            .filter_map(|number| self.sessions.get(number))
            .map(|session| session.state.as_ref())
            .collect();
        if !kept.is_empty() {
            let columns = self.columns(kept.into_iter())?;
            totals.merge(&columns, &kept_ids, merged.len())?;
        }
        totals.update(batch, &ids, merged.len())?;
        let states = totals.states(merged.len())?.to_vec();
        let states = if states.is_empty() { None } else { Some(self.states.convert_columns(&states)?) };
        for (id, one) in merged.into_iter().enumerate() {
            // The oldest goes on in it.
            let number = one.kept.iter().copied().min().unwrap_or(self.next);
            for number in one.kept {
                self.remove(number);
            }
            // It is written over, not taken out.
            if self.gone.remove(&number) {
                self.written.insert(number);
            }
            self.next = self.next.max(number + 1);
            let state = states.as_ref().map_or(&[][..], |states| states.row(id).data());
            self.insert(number, Session { key: one.key, start: one.start, end: one.end, state: state.into() });
            self.changed.insert(number);
        }
        Ok(())
    }

    /// Gives closed sessions out.
    fn give(&self, closed: &[Session]) -> datafusion::error::Result<RecordBatch> {
        let ids: Vec<usize> = (0..closed.len()).collect();
        let columns = self.columns(closed.iter().map(|session| session.state.as_ref()))?;
        let mut totals = Totals::new(&self.rule.totals)?;
        totals.merge(&columns, &ids, closed.len())?;
        let starts: Int64Array = closed.iter().map(|session| Some(session.start)).collect();
        let ends: Int64Array = closed.iter().map(|session| Some(session.end)).collect();
        let keys = match self.rule.keys.is_empty() {
            true => Vec::new(),
            false => {
                let parser = self.keys.parser();
                typed(self.keys.convert_rows(closed.iter().map(|session| parser.parse(&session.key)))?, &self.rule.fields())?
            }
        };
        self.rule.result(starts, ends, &keys, totals.finish()?)
    }
}

/// About what a session takes in memory, with its places in the indexes.
fn size(session: &Session) -> usize {
    session.key.len() * 2 + session.state.len() + 200
}

impl Keeper for Sessions {
    fn rows(&mut self, _: usize, batch: &RecordBatch, _: &dyn Stored, given: &mut Given) -> Result<()> {
        given.absorbed += batch.num_rows() as u64;
        let runs = self.runs(batch)?;
        let (merged, late) = self.meet(&runs);
        let rule = self.rule.clone();
        let chosen = |rows: Vec<u32>| {
            take_record_batch(batch, &UInt32Array::from(rows))
                .map_err(|error| Error::internal("rows of a session").caused_by(error))
        };
        if late.is_empty() {
            return self.merge(batch, &runs, merged).map_err(failed(&rule.node));
        }
        let mut rows: Vec<u32> = late.iter().flat_map(|run| runs[*run].rows.iter().copied()).collect();
        rows.sort_unstable();
        rule.late(&chosen(rows)?, given)?;
        if merged.is_empty() {
            return Ok(());
        }
        // Without them, from the beginning.
        let mut rows: Vec<u32> = merged.iter().flat_map(|one| &one.new).flat_map(|run| runs[*run].rows.iter().copied()).collect();
        rows.sort_unstable();
        let batch = chosen(rows)?;
        let runs = self.runs(&batch)?;
        let (merged, _) = self.meet(&runs);
        self.merge(&batch, &runs, merged).map_err(failed(&rule.node))
    }

    fn watermark(&mut self, time: i64, _: &dyn Stored, given: &mut Given) -> Result<()> {
        if !self.clock.advance(time) {
            return Ok(());
        }
        let mut closed = Vec::new();
        while let Some(&(end, number)) = self.ends.first()
            && self.closed(end)
        {
            match self.remove(number) {
                Some(session) => closed.push(session),
                None => drop(self.ends.pop_first()),
            }
        }
        if !closed.is_empty() {
            given.batches.push(self.give(&closed).map_err(failed(&self.rule.node))?);
        }
        Ok(())
    }

    fn changes(&mut self, into: &mut Vec<StateChange>) -> Result<()> {
        self.clock.changes(self.number, into);
        let gone = std::mem::take(&mut self.gone);
        into.extend(gone.into_iter().map(|number| StateChange::Remove(state::under(self.number, number))));
        for number in std::mem::take(&mut self.changed) {
            let Some(session) = self.sessions.get(&number) else { continue };
            let mut value = Vec::with_capacity(20 + session.key.len() + session.state.len());
            value.extend(session.start.to_be_bytes());
            value.extend(session.end.to_be_bytes());
            value.extend((session.key.len() as u32).to_be_bytes());
            value.extend_from_slice(&session.key);
            value.extend_from_slice(&session.state);
            into.push(StateChange::Put(state::under(self.number, number), Bytes::from(value)));
            self.written.insert(number);
        }
        Ok(())
    }

    fn restore(&mut self, stored: &dyn Stored) -> Result<()> {
        self.clock.restore(self.number, stored)?;
        for piece in stored.scan(&state::all(self.number)) {
            let (key, value) = piece?;
            let (number, _) = state::number(&key)?;
            let session = read(&value).ok_or_else(foreign)?;
            self.next = self.next.max(number + 1);
            self.written.insert(number);
            self.insert(number, session);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.held
    }

    /// Sessions stay in memory: any row may belong to any of them.
    fn spill(&mut self, _: usize) -> Result<()> {
        Ok(())
    }
}

fn read(value: &[u8]) -> Option<Session> {
    let (start, rest) = value.split_first_chunk::<8>()?;
    let (end, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (key, state) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some(Session { key: key.into(), start: i64::from_be_bytes(*start), end: i64::from_be_bytes(*end), state: state.into() })
}
