//! Aggregates over numbered groups, computed by DataFusion's accumulators.
//!
//! An accumulator gives its state only by giving it up. So totals are either live, and take rows, or at rest as the arrays of their
//! states, which can be written, merged into others, and brought to life again.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::FieldRef;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

/// One aggregate of an operator.
#[derive(Debug, Clone)]
pub(super) struct Total {
    pub(super) aggregate: Arc<AggregateFunctionExpr>,
    /// Columns of the operator's input that it takes: its arguments, then what it is ordered by.
    pub(super) arguments: Vec<usize>,
    /// The column that says which rows it takes.
    pub(super) filter: Option<usize>,
    /// What its state is made of.
    pub(super) state: Vec<FieldRef>,
}

impl Total {
    fn begin(&self) -> Result<Box<dyn GroupsAccumulator>> {
        if self.aggregate.groups_accumulator_supported() {
            return self.aggregate.create_groups_accumulator();
        }
        let aggregate = self.aggregate.clone();
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator())))
    }
}

/// The totals of numbered groups.
pub(super) struct Totals {
    specs: Arc<[Total]>,
    held: Held,
}

enum Held {
    Live(Vec<Box<dyn GroupsAccumulator>>),
    /// The states of all aggregates one after another, and of how many groups.
    Resting(Vec<ArrayRef>, usize),
}

impl Totals {
    pub(super) fn new(specs: &Arc<[Total]>) -> Result<Self> {
        let live = specs.iter().map(Total::begin).collect::<Result<_>>()?;
        Ok(Self { specs: specs.clone(), held: Held::Live(live) })
    }

    /// At rest.
    pub(super) fn resting(specs: &Arc<[Total]>, states: Vec<ArrayRef>, groups: usize) -> Self {
        Self { specs: specs.clone(), held: Held::Resting(states, groups) }
    }

    fn live(&mut self) -> Result<&mut Vec<Box<dyn GroupsAccumulator>>> {
        if let Held::Resting(states, groups) = &self.held {
            let (states, groups) = (states.clone(), *groups);
            let mut awake = Self::new(&self.specs)?;
            if groups > 0 {
                let all: Vec<usize> = (0..groups).collect();
                awake.merge(&states, &all, groups)?;
            }
            *self = awake;
        }
        match &mut self.held {
            Held::Live(live) => Ok(live),
            Held::Resting(..) => exec_err!("totals do not wake up"),
        }
    }

    /// Adds rows, each to its group.
    pub(super) fn update(&mut self, batch: &RecordBatch, ids: &[usize], groups: usize) -> Result<()> {
        let specs = self.specs.clone();
        for (spec, total) in specs.iter().zip(self.live()?) {
            let values: Vec<ArrayRef> = spec.arguments.iter().map(|&column| batch.column(column).clone()).collect();
            let mask = spec.filter.map(|column| mask(batch.column(column)));
            total.update_batch(&values, ids, mask.as_ref(), groups)?;
        }
        Ok(())
    }

    /// Adds states, each to its group.
    pub(super) fn merge(&mut self, states: &[ArrayRef], ids: &[usize], groups: usize) -> Result<()> {
        let specs = self.specs.clone();
        let mut from = 0;
        for (spec, total) in specs.iter().zip(self.live()?) {
            let to = from + spec.state.len();
            let Some(states) = states.get(from..to) else { return exec_err!("a state has too few columns") };
            total.merge_batch(states, ids, None, groups)?;
            from = to;
        }
        Ok(())
    }

    /// The states of all groups, one aggregate after another.
    pub(super) fn states(&mut self, groups: usize) -> Result<&[ArrayRef]> {
        if let Held::Live(live) = &mut self.held {
            let mut all = Vec::new();
            for total in live {
                all.extend(total.state(EmitTo::All)?);
            }
            self.held = Held::Resting(all, groups);
        }
        match &self.held {
            Held::Resting(states, _) => Ok(states),
            Held::Live(_) => exec_err!("totals do not come to rest"),
        }
    }

    /// What they come to.
    pub(super) fn finish(mut self) -> Result<Vec<ArrayRef>> {
        self.live()?.iter_mut().map(|total| total.evaluate(EmitTo::All)).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.held {
            Held::Live(live) => live.iter().map(|total| total.size()).sum(),
            Held::Resting(states, _) => states.iter().map(|state| state.get_array_memory_size()).sum(),
        }
    }
}

/// NULL is no yes.
fn mask(column: &ArrayRef) -> BooleanArray {
    match column.as_boolean_opt() {
        Some(mask) if mask.null_count() > 0 => prep_null_mask_filter(mask),
        Some(mask) => mask.clone(),
        None => BooleanArray::from(vec![false; column.len()]),
    }
}
