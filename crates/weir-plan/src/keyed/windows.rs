//! Aggregates over windows that do not depend on their rows: tumble, hop, cumulate.
//!
//! A row is added up once, in its **slice**: the time between two neighbouring edges of windows. A window that closes merges its slices; a slice
//! goes when the last window that has it is closed, and what is allowed to be late has passed. Windows come out in the order of their ends,
//! their groups in the order in which they were first seen.
//!
//! The state: under the beginning of a slice its groups in chunks of [`CHUNK`] in the order of their numbers, each the keys and the states of the
//! aggregates. Only chunks that changed are written; a slice that came and went between two epochs writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat, take, take_record_batch};
use arrow::datatypes::{DataType, FieldRef, Int64Type, SchemaRef, TimeUnit};
use weir_connect::Result;
use weir_error::Error;

use super::groups::Groups;
use super::run::{Given, Keeper, Rule};
use super::sessions::Sessions;
use super::state::{self, CHUNK, Clock, failed};
use super::totals::{Total, Totals};
use super::{StateChange, Stored};
use crate::transforms::{Shape, times};

/// Rows of a batch that a window gives.
const GIVEN: usize = 32_768;
/// Flink counts windows in milliseconds: `[s, e)` closes when the watermark reaches `e` less one of them.
pub(super) const TICK: i64 = 1_000;

/// What one column of a window's result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Start,
    End,
    /// The last moment before the end, of those that Flink counts.
    Last,
    Key(usize),
}

/// A windowed aggregate, as the plan has it.
#[derive(Debug)]
pub(super) struct WindowRule {
    pub(super) node: String,
    pub(super) shape: Shape,
    pub(super) offset: i64,
    /// The type of the times, in whose unit the shape is.
    pub(super) time: DataType,
    /// Microseconds for which a closed window takes corrections.
    pub(super) lateness: i64,
    /// The column with the beginning of each row's slice (of a session: its time), or with its end.
    pub(super) place: (usize, Part),
    pub(super) keys: Vec<(usize, FieldRef)>,
    pub(super) totals: Arc<[Total]>,
    /// The first columns of the result; those of the totals follow.
    pub(super) parts: Vec<Part>,
    pub(super) output: SchemaRef,
    /// How many columns, the first ones, a late row has for whoever asks; `None`: nobody does.
    pub(super) late: Option<SchemaRef>,
}

impl WindowRule {
    /// A time in microseconds; of a nanosecond the next one.
    pub(super) fn micros(&self, time: i64) -> i64 {
        match &self.time {
            DataType::Timestamp(TimeUnit::Second, _) => time.saturating_mul(1_000_000),
            DataType::Timestamp(TimeUnit::Millisecond, _) => time.saturating_mul(1_000),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => time.div_euclid(1_000) + i64::from(time.rem_euclid(1_000) > 0),
            _ => time,
        }
    }

    /// A millisecond in the unit of the times; a second where there are none.
    fn moment(&self) -> i64 {
        match &self.time {
            DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => 1_000_000,
            _ => 1,
        }
    }

    /// The watermark at which a window closes.
    fn closes(&self, end: i64) -> i64 {
        self.micros(end).saturating_sub(TICK)
    }

    /// How far behind the edge that a row has its slice (a session: its time) begins.
    pub(super) fn back(&self) -> i64 {
        let (Shape::Hop { step: length, .. } | Shape::Cumulate { step: length, .. } | Shape::Session { gap: length }) =
            self.shape;
        match self.place.1 {
            Part::End => length,
            Part::Last => length.saturating_sub(self.moment()),
            Part::Start | Part::Key(_) => 0,
        }
    }

    pub(super) fn fields(&self) -> Vec<FieldRef> {
        self.keys.iter().map(|(_, field)| field.clone()).collect()
    }

    pub(super) fn key_columns(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|(column, _)| batch.column(*column).clone()).collect()
    }

    /// What is written of a group.
    pub(super) fn written(&self) -> SchemaRef {
        let fields = self.fields();
        state::schema(fields.iter().chain(self.totals.iter().flat_map(|total| &total.state)))
    }

    /// The times of a column as plain numbers.
    pub(super) fn numbers(&self, batch: &RecordBatch) -> Result<Int64Array> {
        let plain = arrow::compute::cast(batch.column(self.place.0), &DataType::Int64);
        let plain = plain.map_err(|error| Error::internal("a window without a time").caused_by(error))?;
        Ok(plain.as_primitive::<Int64Type>().clone())
    }

    /// The result: for each group a window, its key, and what its totals come to.
    pub(super) fn result(
        &self,
        starts: Int64Array,
        ends: Int64Array,
        keys: &[ArrayRef],
        totals: Vec<ArrayRef>,
    ) -> datafusion::error::Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.parts.len() + totals.len());
        for part in &self.parts {
            columns.push(match part {
                Part::Start => times(starts.clone(), &self.time)?,
                Part::End => times(ends.clone(), &self.time)?,
                Part::Last => times(ends.unary(|end: i64| end.saturating_sub(self.moment())), &self.time)?,
                Part::Key(at) => keys[*at].clone(),
            });
        }
        columns.extend(totals);
        Ok(RecordBatch::try_new(self.output.clone(), columns)?)
    }

    /// Takes note of late rows.
    pub(super) fn late(&self, batch: &RecordBatch, given: &mut Given) -> Result<()> {
        given.late += batch.num_rows() as u64;
        let Some(schema) = &self.late else { return Ok(()) };
        let columns = batch.columns()[..schema.fields().len()].to_vec();
        let batch = RecordBatch::try_new(schema.clone(), columns);
        let batch = batch.map_err(|error| Error::internal("a late row is not as it came").caused_by(error))?;
        given.absorbed = given.absorbed.saturating_sub(batch.num_rows() as u64);
        given.late_rows.push((0, batch));
        Ok(())
    }

    /// The end of the last window that has a slice.
    fn last_end(&self, start: i64) -> i64 {
        let mut windows = Vec::new();
        // A slice that is there was computed before, so its windows are in range.
        let _ = self.shape.windows(start, self.offset, &mut windows);
        windows.iter().map(|(_, end)| *end).max().unwrap_or(start)
    }
}

impl Rule for WindowRule {
    fn make(self: Arc<Self>, number: u8) -> Result<Box<dyn Keeper>> {
        Ok(match self.shape {
            Shape::Session { gap } => Box::new(Sessions::new(number, self, gap)?),
            Shape::Hop { .. } | Shape::Cumulate { .. } => Box::new(Windows::new(number, self)),
        })
    }

    fn told(&self) -> String {
        let keys = self.keys.iter().map(|(_, field)| format!(" and `{}`", field.name())).collect::<String>();
        let after = match self.lateness {
            0 => String::new(),
            late => format!("{} after ", weir_spec::units::duration_text(u64::try_from(late / 1_000).unwrap_or(u64::MAX))),
        };
        let (what, window) = match self.shape {
            Shape::Session { .. } => ("sums", "session"),
            Shape::Hop { size, step } if size == step => ("sums", "window"),
            Shape::Hop { .. } | Shape::Cumulate { .. } => ("partial sums", "window"),
        };
        format!("`{}` keeps {what} per {window}{keys} until {after}the watermark reaches its end", self.node)
    }

    fn fingerprint(&self) -> String {
        let kinds = |fields: &[FieldRef]| fields.iter().map(|field| field.data_type().to_string()).collect::<Vec<_>>().join(" ");
        let totals = self.totals.iter().map(|total| format!("{} {}", total.aggregate.name(), kinds(&total.state)));
        let totals = totals.collect::<Vec<_>>().join(", ");
        format!("{:?} {} {} {} / {} / {totals}", self.shape, self.offset, self.time, self.lateness, kinds(&self.fields()))
    }
}

/// Rows of one slice, added up.
struct Sums {
    groups: Groups,
    totals: Totals,
    /// Which chunks are not as they are written.
    changed: Vec<bool>,
}

struct Slice {
    /// When the last window that has it closes, corrections included: a watermark.
    until: i64,
    /// Whether something of it is in the state.
    written: bool,
    /// `None`: it is only there.
    sums: Option<Sums>,
}

/// The operator.
pub(super) struct Windows {
    number: u8,
    rule: Arc<WindowRule>,
    schema: SchemaRef,
    slices: BTreeMap<i64, Slice>,
    /// Windows that have rows and are not closed: end and start.
    open: BTreeSet<(i64, i64)>,
    clock: Clock,
    /// Written slices that are no longer needed.
    gone: Vec<i64>,
    ids: Vec<usize>,
}

impl Windows {
    pub(super) fn new(number: u8, rule: Arc<WindowRule>) -> Self {
        Self {
            number,
            schema: rule.written(),
            rule,
            slices: BTreeMap::new(),
            open: BTreeSet::new(),
            clock: Clock::default(),
            gone: Vec::new(),
            ids: Vec::new(),
        }
    }

    fn windows(&self, slice: i64) -> Result<Vec<(i64, i64)>> {
        let mut windows = Vec::new();
        match self.rule.shape.windows(slice, self.rule.offset, &mut windows) {
            Some(()) => Ok(windows),
            None => Err(failed(&self.rule.node)(crate::program::require::unkept(
                "the window of a time is beyond the range of its type",
            ))),
        }
    }

    /// The rows of a slice, read back if they were put away.
    fn sums<'a>(
        number: u8,
        rule: &WindowRule,
        schema: &SchemaRef,
        start: i64,
        slice: &'a mut Slice,
        stored: &dyn Stored,
    ) -> Result<&'a mut Sums> {
        if slice.sums.is_none() {
            slice.sums = Some(match slice.written {
                true => Self::read(number, rule, schema, start, stored)?,
                false => {
                    let wrong = failed(&rule.node);
                    let groups = Groups::new(&rule.fields()).map_err(&wrong)?;
                    Sums { groups, totals: Totals::new(&rule.totals).map_err(&wrong)?, changed: Vec::new() }
                }
            });
        }
        slice.sums.as_mut().ok_or_else(|| Error::internal("a slice without rows"))
    }

    fn read(number: u8, rule: &WindowRule, schema: &SchemaRef, start: i64, stored: &dyn Stored) -> Result<Sums> {
        let wrong = failed(&rule.node);
        let (mut groups, mut ids) = (Groups::new(&rule.fields()).map_err(&wrong)?, Vec::new());
        let (mut chunks, keys): (Vec<RecordBatch>, usize) = (Vec::new(), rule.keys.len());
        for chunk in stored.scan(&state::under(number, start)) {
            let chunk = state::decode(schema, &chunk?.1)?;
            let before = groups.len();
            groups.number(&chunk.columns()[..keys], chunk.num_rows(), &mut ids).map_err(&wrong)?;
            if !ids.iter().copied().eq(before..before + chunk.num_rows()) {
                return Err(state::foreign());
            }
            chunks.push(chunk);
        }
        let mut states = Vec::new();
        for column in keys..schema.fields().len() {
            let parts: Vec<&dyn Array> = chunks.iter().map(|chunk| chunk.column(column).as_ref()).collect();
            states.push(concat(&parts).map_err(|error| state::foreign().because(error))?);
        }
        let count = groups.len();
        Ok(Sums { groups, totals: Totals::resting(&rule.totals, states, count), changed: vec![false; count.div_ceil(CHUNK)] })
    }

    /// Adds rows to their slice; corrects what was given out of it.
    fn add(&mut self, start: i64, batch: &RecordBatch, stored: &dyn Stored, given: &mut Given) -> Result<()> {
        if !self.slices.contains_key(&start) {
            let windows = self.windows(start)?;
            let last = windows.iter().map(|(_, end)| *end).max().unwrap_or(start);
            let until = self.rule.closes(last).saturating_add(self.rule.lateness);
            if self.clock.past(until) {
                return self.rule.late(batch, given);
            }
            let open = windows.into_iter().filter(|(_, end)| !self.clock.past(self.rule.closes(*end)));
            self.open.extend(open.map(|(start, end)| (end, start)));
            self.slices.insert(start, Slice { until, written: false, sums: None });
        }
        let rule = self.rule.clone();
        let Some(slice) = self.slices.get_mut(&start) else { return Ok(()) };
        if self.clock.past(slice.until) {
            return rule.late(batch, given);
        }
        let wrong = failed(&rule.node);
        let sums = Self::sums(self.number, &rule, &self.schema, start, slice, stored)?;
        let keys = rule.key_columns(batch);
        sums.groups.number(&keys, batch.num_rows(), &mut self.ids).map_err(&wrong)?;
        let groups = sums.groups.len();
        sums.totals.update(batch, &self.ids, groups).map_err(&wrong)?;
        sums.changed.resize(groups.div_ceil(CHUNK), true);
        self.ids.iter().for_each(|id| sums.changed[id / CHUNK] = true);
        if self.rule.lateness == 0 {
            return Ok(());
        }
        let mut closed = self.windows(start)?;
        closed.retain(|(_, end)| self.clock.past(self.rule.closes(*end)));
        closed.retain(|(_, end)| !self.clock.past(self.rule.closes(*end).saturating_add(self.rule.lateness)));
        closed.sort_by_key(|(start, end)| (*end, *start));
        for (start, end) in closed {
            self.give(start, end, Some(&keys), stored, given)?;
        }
        Ok(())
    }

    /// Gives a window out, or of it only these keys.
    fn give(&mut self, start: i64, end: i64, only: Option<&[ArrayRef]>, stored: &dyn Stored, given: &mut Given) -> Result<()> {
        let rule = self.rule.clone();
        let wrong = failed(&rule.node);
        let inside: Vec<i64> = self.slices.range(start..end).map(|(start, _)| *start).collect();
        if let [one] = inside.as_slice()
            && let Some(slice) = self.slices.get_mut(one)
            && only.is_none()
            && self.clock.past(slice.until)
            && rule.last_end(*one) == end
        {
            // Its last window: nobody needs the slice after.
            Self::sums(self.number, &rule, &self.schema, *one, slice, stored)?;
            if let Some(sums) = slice.sums.take() {
                if slice.written {
                    self.gone.push(*one);
                }
                self.slices.remove(one);
                let keys = sums.groups.columns(0, sums.groups.len()).map_err(&wrong)?;
                return self.out(start, end, sums.groups.len(), &keys, sums.totals.finish().map_err(&wrong)?, given);
            }
        }
        let mut groups = Groups::new(&rule.fields()).map_err(&wrong)?;
        let mut totals = Totals::new(&rule.totals).map_err(&wrong)?;
        let mut ids = Vec::new();
        for at in inside {
            let Some(slice) = self.slices.get_mut(&at) else { continue };
            let sums = Self::sums(self.number, &rule, &self.schema, at, slice, stored)?;
            let count = sums.groups.len();
            groups.number(&sums.groups.columns(0, count).map_err(&wrong)?, count, &mut ids).map_err(&wrong)?;
            totals.merge(sums.totals.states(count).map_err(&wrong)?, &ids, groups.len()).map_err(&wrong)?;
        }
        let count = groups.len();
        let (mut keys, mut totals) = (groups.columns(0, count).map_err(&wrong)?, totals.finish().map_err(&wrong)?);
        let mut rows = count;
        if let Some(only) = only {
            groups.number(only, only.first().map_or(1, |column| column.len()), &mut ids).map_err(&wrong)?;
            let mut asked = BTreeSet::new();
            ids.retain(|id| asked.insert(*id));
            let chosen: UInt32Array = ids.iter().map(|id| *id as u32).collect();
            let choose = |column: &ArrayRef| take(column, &chosen, None).map_err(|error| wrong(error.into()));
            keys = keys.iter().map(choose).collect::<Result<_>>()?;
            totals = totals.iter().map(choose).collect::<Result<_>>()?;
            rows = ids.len();
        }
        self.out(start, end, rows, &keys, totals, given)
    }

    fn out(&self, start: i64, end: i64, rows: usize, keys: &[ArrayRef], totals: Vec<ArrayRef>, given: &mut Given) -> Result<()> {
        let (starts, ends) = (Int64Array::from_value(start, rows), Int64Array::from_value(end, rows));
        let batch = self.rule.result(starts, ends, keys, totals).map_err(failed(&self.rule.node))?;
        for from in (0..rows).step_by(GIVEN) {
            given.batches.push(batch.slice(from, GIVEN.min(rows - from)));
        }
        Ok(())
    }
}

impl Keeper for Windows {
    fn rows(&mut self, _: usize, batch: &RecordBatch, stored: &dyn Stored, given: &mut Given) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        given.absorbed += batch.num_rows() as u64;
        let places = self.rule.numbers(batch)?;
        let step = self.rule.back();
        let places = places.values();
        let first = places[0];
        if places.iter().all(|place| *place == first) {
            return self.add(first - step, batch, stored, given);
        }
        let mut parts: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (row, place) in places.iter().enumerate() {
            parts.entry(*place).or_default().push(row as u32);
        }
        for (place, rows) in parts {
            let part = take_record_batch(batch, &UInt32Array::from(rows));
            let part = part.map_err(|error| Error::internal("rows of a slice").caused_by(error))?;
            self.add(place - step, &part, stored, given)?;
        }
        Ok(())
    }

    fn watermark(&mut self, time: i64, stored: &dyn Stored, given: &mut Given) -> Result<()> {
        if !self.clock.advance(time) {
            return Ok(());
        }
        while let Some(&(end, start)) = self.open.first()
            && self.clock.past(self.rule.closes(end))
        {
            self.open.pop_first();
            self.give(start, end, None, stored, given)?;
        }
        while let Some(first) = self.slices.first_entry()
            && self.clock.past(first.get().until)
        {
            let (start, slice) = first.remove_entry();
            if slice.written {
                self.gone.push(start);
            }
        }
        Ok(())
    }

    fn changes(&mut self, into: &mut Vec<StateChange>) -> Result<()> {
        self.clock.changes(self.number, into);
        into.extend(self.gone.drain(..).map(|start| StateChange::RemovePrefix(state::under(self.number, start))));
        let wrong = failed(&self.rule.node);
        for (start, slice) in &mut self.slices {
            let Some(sums) = slice.sums.as_mut().filter(|sums| sums.changed.contains(&true)) else { continue };
            let groups = sums.groups.len();
            let states = sums.totals.states(groups).map_err(&wrong)?.to_vec();
            for (chunk, changed) in sums.changed.iter_mut().enumerate().filter(|(_, changed)| **changed) {
                let (from, to) = (chunk * CHUNK, groups.min((chunk + 1) * CHUNK));
                let mut columns = sums.groups.columns(from, to).map_err(&wrong)?;
                columns.extend(states.iter().map(|state| state.slice(from, to - from)));
                let mut key = state::under(self.number, *start);
                key.extend((chunk as u32).to_be_bytes());
                into.push(StateChange::Put(key, state::encode(&self.schema, columns, to - from)?));
                *changed = false;
            }
            slice.written = true;
        }
        Ok(())
    }

    fn restore(&mut self, stored: &dyn Stored) -> Result<()> {
        self.clock.restore(self.number, stored)?;
        let mut starts = BTreeSet::new();
        for piece in stored.scan(&state::all(self.number)) {
            starts.insert(state::number(&piece?.0)?.0);
        }
        for start in starts {
            let until = self.rule.closes(self.rule.last_end(start)).saturating_add(self.rule.lateness);
            let open: Vec<(i64, i64)> = self.windows(start)?;
            let open = open.into_iter().filter(|(_, end)| !self.clock.past(self.rule.closes(*end)));
            self.open.extend(open.map(|(start, end)| (end, start)));
            self.slices.insert(start, Slice { until, written: true, sums: None });
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let held = self.slices.values().filter_map(|slice| slice.sums.as_ref());
        held.map(|sums| sums.groups.bytes() + sums.totals.bytes()).sum()
    }

    /// The slices that are needed last go first.
    fn spill(&mut self, target: usize) -> Result<()> {
        let mut bytes = self.bytes();
        for slice in self.slices.values_mut().rev() {
            if bytes <= target {
                break;
            }
            let Some(sums) = slice.sums.take_if(|sums| slice.written && !sums.changed.contains(&true)) else { continue };
            bytes = bytes.saturating_sub(sums.groups.bytes() + sums.totals.bytes());
        }
        Ok(())
    }
}
