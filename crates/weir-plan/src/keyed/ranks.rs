//! The place of each row among those of its window: `row_number`, `rank` and `dense_rank` over partitions that a window closes.
//!
//! Rows stand on shelves by the end of their window. When the watermark has reached it all of them are there: they are sorted once, get their places, and come out in
//! that order. Rows that the order does not tell apart stand in the order in which they came. A row whose window is closed is late.
//!
//! The state: rows as `shelves` writes them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::physical_expr::PhysicalExpr;
use weir_connect::Result;
use weir_error::Error;

use super::run::{Given, Keeper, Rule};
use super::shelves::{Shelves, Side};
use super::state::{self, Clock, failed};
use super::{StateChange, Stored};

/// The span of a shelf. Microseconds.
const SHELF: i64 = 1_000_000;

/// How places are counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Place {
    /// One after another.
    Number,
    /// Equal rows have one place; those after them are counted as if they had not.
    Rank,
    /// Equal rows have one place, and the next one follows it.
    Dense,
}

/// An expression that sorts, with its type and order.
pub(super) type Sorting = (Arc<dyn PhysicalExpr>, DataType, SortOptions);

/// Places in a window, as the plan has them.
#[derive(Debug)]
pub(super) struct RankRule {
    pub(super) node: String,
    /// Its time is the column with the edge of the window.
    pub(super) side: Arc<Side>,
    /// How far before that edge the watermark is that closes the window. Microseconds.
    pub(super) before: i64,
    pub(super) partition: Vec<Sorting>,
    pub(super) order: Vec<Sorting>,
    pub(super) places: Vec<Place>,
    /// The columns of the rows, and their places.
    pub(super) output: SchemaRef,
}

impl RankRule {
    /// What sorts as these expressions do; `None` if there are none.
    fn sorted_by(&self, by: &[Sorting], batch: &RecordBatch) -> Result<Option<Rows>> {
        if by.is_empty() {
            return Ok(None);
        }
        let wrong = failed(&self.node);
        let fields = by.iter().map(|(_, kind, options)| SortField::new_with_options(kind.clone(), *options)).collect();
        let converter = RowConverter::new(fields).map_err(|error| wrong(error.into()))?;
        let columns: Vec<ArrayRef> = by
            .iter()
            .map(|(expr, ..)| expr.evaluate(batch).and_then(|value| value.into_array(batch.num_rows())))
            .collect::<std::result::Result<_, _>>()
            .map_err(&wrong)?;
        converter.convert_columns(&columns).map(Some).map_err(|error| wrong(error.into()))
    }

    /// The rows of windows that are closed, in their order, with their places.
    fn ranked(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let (partitions, orders) = (self.sorted_by(&self.partition, batch)?, self.sorted_by(&self.order, batch)?);
        let partition = |row: u32| partitions.as_ref().map(|rows| rows.row(row as usize));
        let order = |row: u32| orders.as_ref().map(|rows| rows.row(row as usize));
        let mut rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
        rows.sort_by(|one, other| partition(*one).cmp(&partition(*other)).then_with(|| order(*one).cmp(&order(*other))));
        let mut counted: Vec<Vec<u64>> = vec![Vec::with_capacity(rows.len()); self.places.len()];
        let (mut number, mut rank, mut dense) = (0, 0, 0);
        let mut before: Option<u32> = None;
        for row in rows.iter().copied() {
            if before.is_none_or(|before| partition(before) != partition(row)) {
                (number, rank, dense) = (0, 0, 0);
            }
            number += 1;
            if number == 1 || before.is_none_or(|before| order(before) != order(row)) {
                (rank, dense) = (number, dense + 1);
            }
            before = Some(row);
            for (place, counted) in self.places.iter().zip(&mut counted) {
                counted.push(match place {
                    Place::Number => number,
                    Place::Rank => rank,
                    Place::Dense => dense,
                });
            }
        }
        let wrong = |error| Error::internal("rows and their places").caused_by(error);
        let rows = UInt32Array::from(rows);
        let columns = batch.columns().iter().map(|column| take(column, &rows, None));
        let mut columns: Vec<ArrayRef> = columns.collect::<std::result::Result<_, _>>().map_err(wrong)?;
        columns.extend(counted.into_iter().map(|counted| Arc::new(UInt64Array::from(counted)) as ArrayRef));
        RecordBatch::try_new(self.output.clone(), columns).map_err(wrong)
    }
}

impl Rule for RankRule {
    fn make(self: Arc<Self>, number: u8) -> Result<Box<dyn Keeper>> {
        let waiting = Shelves::new(&self.side, (number, 0), SHELF, true)?;
        Ok(Box::new(Ranks { number, rule: self, waiting, clock: Clock::default() }))
    }

    fn told(&self) -> String {
        format!("`{}` keeps the rows of each window until the watermark reaches its end", self.node)
    }

    fn fingerprint(&self) -> String {
        let sorting =
            |by: &[Sorting]| by.iter().map(|(expr, kind, options)| format!("{expr} {kind} {options:?}")).collect::<Vec<_>>();
        let (partition, order) = (sorting(&self.partition), sorting(&self.order));
        format!("places {} {} {partition:?} {order:?} {:?}", self.side.fingerprint(), self.before, self.places)
    }
}

/// The operator.
struct Ranks {
    number: u8,
    rule: Arc<RankRule>,
    waiting: Shelves,
    clock: Clock,
}

impl Keeper for Ranks {
    fn rows(&mut self, port: usize, batch: &RecordBatch, stored: &dyn Stored, given: &mut Given) -> Result<()> {
        given.absorbed += batch.num_rows() as u64;
        let rule = self.rule.clone();
        let times = rule.side.times(batch)?;
        let late = |time: i64| self.clock.past(time.saturating_sub(rule.before));
        let on_time = rule.side.on_time(port, batch, &times, late, given)?;
        let nothing = vec![None; times.len()];
        self.waiting.add(batch, (&times, &nothing), on_time.into_iter().map(|row| (row, false)), stored)
    }

    fn watermark(&mut self, time: i64, stored: &dyn Stored, given: &mut Given) -> Result<()> {
        if !self.clock.advance(time) {
            return Ok(());
        }
        let until = time.saturating_add(self.rule.before);
        for start in self.waiting.between(i64::MIN, until) {
            let rows = self.waiting.open(start, until, stored)?;
            if !rows.is_empty() {
                given.batches.push(self.rule.ranked(&self.waiting.take(start, &rows, stored)?)?);
                rows.iter().for_each(|row| _ = self.waiting.mark(start, *row));
            }
            match self.waiting.last(start) <= until {
                true => self.waiting.remove(start),
                false => self.waiting.asked(start),
            }
        }
        Ok(())
    }

    fn changes(&mut self, into: &mut Vec<StateChange>) -> Result<()> {
        self.clock.changes(self.number, into);
        self.waiting.changes(into)
    }

    fn restore(&mut self, stored: &dyn Stored) -> Result<()> {
        self.clock.restore(self.number, stored)?;
        for piece in stored.scan(&state::all(self.number)) {
            let (key, value) = piece?;
            self.waiting.restore(&key, &value)?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.waiting.bytes()
    }

    fn spill(&mut self, target: usize) -> Result<()> {
        self.waiting.spill(target);
        Ok(())
    }
}
