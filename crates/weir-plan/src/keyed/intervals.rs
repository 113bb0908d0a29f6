//! Joins of two streams whose times are not further apart than the condition allows.
//!
//! A row meets the rows of the other side that are there, and is kept for those that come: until the watermark is so late that whoever it
//! could meet would be late itself. Then, if its side is one that stays without a partner, it comes out alone. A row behind the watermark
//! is late: it may have missed partners that are gone, so it meets nobody. What comes out in all is what a batch gives for the rows that
//! were not late.
//!
//! Rows stand on shelves of time (`shelves`), which are taken away as a whole: a row without a partner comes out at most a shelf later than
//! it could, at the 32nd part of what the bounds span or a tenth of a second.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use weir_connect::Result;
use weir_error::Error;
use weir_spec::units::duration_text;

use super::run::{Given, Keeper, Rule};
use super::shelves::{Asking, Shelves, Side, chosen};
use super::state::{self, Clock, failed};
use super::{StateChange, Stored};

/// Pairs that are looked at together.
const PAIRS: usize = 8_192;
/// Shelves have at least this span. Microseconds.
const SHORTEST: i64 = 100_000;

/// Which rows come out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Joined {
    Inner,
    Left,
    Right,
    Full,
    /// Left rows that have a partner, each once.
    Semi,
    /// Left rows that have none.
    Anti,
}

impl Joined {
    /// Whether rows of a side come out alone if they meet nobody.
    fn alone(self, port: usize) -> bool {
        match port {
            0 => matches!(self, Self::Left | Self::Full | Self::Anti),
            _ => matches!(self, Self::Right | Self::Full),
        }
    }

    /// Whether it must be known of a row that it has met somebody.
    fn marks(self, port: usize) -> bool {
        self.alone(port) || port == 0 && self == Self::Semi
    }
}

/// A join, as the plan has it.
#[derive(Debug)]
pub(super) struct IntervalRule {
    pub(super) node: String,
    pub(super) kind: Joined,
    pub(super) sides: [Arc<Side>; 2],
    /// How much later the right time is than the left: at least and at most so many microseconds.
    pub(super) bounds: (i64, i64),
    pub(super) condition: Condition,
    pub(super) output: SchemaRef,
}

/// What makes of two rows a pair.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) node: String,
    /// Over the columns of both sides.
    pub(super) expr: Arc<dyn PhysicalExpr>,
    pub(super) both: SchemaRef,
}

impl Condition {
    /// Rows of both sides next to each other, and which of these pairs belong together.
    pub(super) fn pairs(&self, left: &[ArrayRef], right: &[ArrayRef]) -> Result<(RecordBatch, BooleanArray)> {
        let both = RecordBatch::try_new(self.both.clone(), left.iter().chain(right).cloned().collect());
        let both = both.map_err(|error| Error::internal("two sides do not fit together").caused_by(error))?;
        let kept = self.expr.evaluate(&both).and_then(|kept| kept.into_array(both.num_rows())).map_err(failed(&self.node))?;
        let Some(kept) = kept.as_boolean_opt() else { return Err(Error::internal("a condition that is no truth value")) };
        let kept = if kept.null_count() > 0 { prep_null_mask_filter(kept) } else { kept.clone() };
        Ok((both, kept))
    }
}

impl IntervalRule {
    /// The span of a shelf.
    fn shelf(&self) -> i64 {
        (self.bounds.1.saturating_sub(self.bounds.0) / 32).max(SHORTEST)
    }

    /// How far behind the watermark the times of what comes out may be.
    pub(super) fn delay(&self) -> i64 {
        self.bounds.1.max(self.bounds.0.saturating_neg()).max(0).saturating_add(self.shelf())
    }

    /// The watermark at which a row of a side can be let go.
    fn until(&self, port: usize, time: i64) -> i64 {
        time.saturating_add(if port == 0 { self.bounds.1 } else { self.bounds.0.saturating_neg() })
    }

    /// The times of the other side that a row of a side can meet.
    fn span(&self, port: usize, time: i64) -> (i64, i64) {
        match port {
            0 => (time.saturating_add(self.bounds.0), time.saturating_add(self.bounds.1)),
            _ => (time.saturating_sub(self.bounds.1), time.saturating_sub(self.bounds.0)),
        }
    }

    fn out(&self, columns: Vec<ArrayRef>, rows: usize, given: &mut Given) -> Result<()> {
        if rows > 0 {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let batch = RecordBatch::try_new_with_options(self.output.clone(), columns, &options);
            given.batches.push(batch.map_err(|error| Error::internal("what a join gives is not as planned").caused_by(error))?);
        }
        Ok(())
    }

    /// Rows of a side by themselves.
    fn alone(&self, port: usize, rows: &RecordBatch, given: &mut Given) -> Result<()> {
        let nulls = |fields: &[arrow::datatypes::FieldRef]| -> Vec<ArrayRef> {
            fields.iter().map(|field| new_null_array(field.data_type(), rows.num_rows())).collect()
        };
        let (fields, width) = (self.output.fields(), self.sides[0].schema.fields().len());
        let columns = match (self.kind, port) {
            (Joined::Semi | Joined::Anti, _) => rows.columns().to_vec(),
            (_, 0) => rows.columns().iter().cloned().chain(nulls(&fields[width..])).collect(),
            _ => nulls(&fields[..width]).into_iter().chain(rows.columns().iter().cloned()).collect(),
        };
        self.out(columns, rows.num_rows(), given)
    }
}

impl Rule for IntervalRule {
    fn make(self: Arc<Self>, number: u8) -> Result<Box<dyn Keeper>> {
        let side = |port: usize| Shelves::new(&self.sides[port], (number, port as u8), self.shelf(), self.kind.marks(port));
        let mut sides = [side(0)?, side(1)?];
        let [left, right] = &mut sides;
        right.hash_as(left);
        Ok(Box::new(Intervals { number, rule: self, sides, clock: Clock::default() }))
    }

    fn told(&self) -> String {
        let text = |port: usize| {
            let micros = self.until(port, 0);
            match u64::try_from(micros / 1_000) {
                Ok(0) => "the watermark reaches them".to_string(),
                Ok(ms) => format!("the watermark is {} after them", duration_text(ms)),
                Err(_) => format!("the watermark is {} before them", duration_text(micros.unsigned_abs() / 1_000)),
            }
        };
        match text(0) == text(1) {
            true => format!("`{}` keeps the rows of both sides until {}", self.node, text(0)),
            false => format!("`{}` keeps left rows until {}, right rows until {}", self.node, text(0), text(1)),
        }
    }

    fn fingerprint(&self) -> String {
        let sides = self.sides.iter().map(|side| side.fingerprint()).collect::<Vec<_>>().join(" / ");
        format!("join {:?} {:?} {sides} / {}", self.kind, self.bounds, self.condition.expr)
    }
}

/// The operator.
struct Intervals {
    number: u8,
    rule: Arc<IntervalRule>,
    /// Left and right.
    sides: [Shelves; 2],
    clock: Clock,
}

impl Intervals {
    /// Rows of a side meet those of one shelf of the other. `met`: which of them have met somebody.
    fn meet(
        &mut self,
        port: usize,
        batch: &RecordBatch,
        (start, asking): (i64, &[Asking]),
        met: &mut [bool],
        stored: &dyn Stored,
        given: &mut Given,
    ) -> Result<()> {
        let rule = self.rule.clone();
        let other = &mut self.sides[1 - port];
        let (ours, theirs) = other.candidates(start, asking, stored)?;
        for (ours, theirs) in ours.chunks(PAIRS).zip(theirs.chunks(PAIRS)) {
            let here = chosen(batch, ours.to_vec())?;
            let there = other.take(start, theirs, stored)?;
            let (left, right) = if port == 0 { (&here, &there) } else { (&there, &here) };
            let (both, kept) = rule.condition.pairs(left.columns(), right.columns())?;
            let mut first: Vec<u32> = Vec::new();
            for pair in kept.values().set_indices() {
                let new = !std::mem::replace(&mut met[ours[pair] as usize], true);
                let new_there = other.mark(start, theirs[pair]);
                let of_left = if port == 0 { new } else { new_there };
                if rule.kind == Joined::Semi && of_left {
                    first.push(pair as u32);
                }
            }
            match rule.kind {
                Joined::Anti => {}
                Joined::Semi => {
                    let rows = chosen(left, first)?;
                    rule.out(rows.columns().to_vec(), rows.num_rows(), given)?;
                }
                Joined::Inner | Joined::Left | Joined::Right | Joined::Full => {
                    let rows = filter_record_batch(&both, &kept);
                    let rows = rows.map_err(|error| Error::internal("pairs of a join").caused_by(error))?;
                    rule.out(rows.columns().to_vec(), rows.num_rows(), given)?;
                }
            }
        }
        other.asked(start);
        Ok(())
    }
}

impl Keeper for Intervals {
    fn rows(&mut self, port: usize, batch: &RecordBatch, stored: &dyn Stored, given: &mut Given) -> Result<()> {
        given.absorbed += batch.num_rows() as u64;
        let rule = self.rule.clone();
        let side = &rule.sides[port];
        let times = side.times(batch)?;
        let rows = side.on_time(port, batch, &times, |time| self.clock.past(time), given)?;
        let batch = chosen(batch, rows.clone())?;
        let times: Vec<i64> = rows.iter().map(|row| times[*row as usize]).collect();
        let hashes = self.sides[port].hashes(&batch)?;
        let asking: Vec<Asking> = times
            .iter()
            .zip(&hashes)
            .map(|(time, hash)| {
                let (from, to) = rule.span(port, *time);
                (*hash, from, to)
            })
            .collect();
        let spans = asking.iter().filter(|(hash, ..)| hash.is_some());
        let from = spans.clone().map(|(_, from, _)| *from).min();
        let to = spans.map(|(_, _, to)| *to).max();
        let mut met = vec![false; batch.num_rows()];
        if let (Some(from), Some(to)) = (from, to) {
            for start in self.sides[1 - port].between(from, to) {
                self.meet(port, &batch, (start, &asking), &mut met, stored, given)?;
            }
        }
        // A key that is NULL will never meet anybody.
        let stays = hashes.iter().zip(&met).zip(0u32..);
        let stays = stays.filter(|((hash, _), _)| hash.is_some()).map(|((_, met), row)| (row, *met));
        self.sides[port].add(&batch, (&times, &hashes), stays, stored)?;
        if rule.kind.alone(port) {
            let never: Vec<u32> = hashes.iter().zip(0u32..).filter(|(hash, _)| hash.is_none()).map(|(_, row)| row).collect();
            rule.alone(port, &chosen(&batch, never)?, given)?;
        }
        Ok(())
    }

    fn watermark(&mut self, time: i64, stored: &dyn Stored, given: &mut Given) -> Result<()> {
        if !self.clock.advance(time) {
            return Ok(());
        }
        let rule = self.rule.clone();
        for (port, side) in self.sides.iter_mut().enumerate() {
            while let Some(start) = side.first()
                && self.clock.past(rule.until(port, side.last(start)))
            {
                if rule.kind.alone(port) {
                    for rows in side.open(start, i64::MAX, stored)?.chunks(PAIRS) {
                        rule.alone(port, &side.take(start, rows, stored)?, given)?;
                    }
                }
                side.remove(start);
            }
        }
        Ok(())
    }

    fn changes(&mut self, into: &mut Vec<StateChange>) -> Result<()> {
        self.clock.changes(self.number, into);
        self.sides.iter_mut().try_for_each(|side| side.changes(into))
    }

    fn restore(&mut self, stored: &dyn Stored) -> Result<()> {
        self.clock.restore(self.number, stored)?;
        for piece in stored.scan(&state::all(self.number)) {
            let (key, value) = piece?;
            self.sides.iter_mut().try_for_each(|side| side.restore(&key, &value))?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.sides.iter().map(Shelves::bytes).sum()
    }

    fn spill(&mut self, target: usize) -> Result<()> {
        // Each gives as much of what it has as is asked of both.
        let all = self.bytes().max(1) as u128;
        for side in &mut self.sides {
            let share = side.bytes() as u128 * target as u128 / all;
            side.spill(share as usize);
        }
        Ok(())
    }
}
