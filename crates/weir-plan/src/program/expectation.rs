//! A rule about all rows together: aggregates that are fed batch by batch, and what they must come to.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{filter, prep_null_mask_filter};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{Accumulator, LogicalPlan};
use datafusion::physical_expr::aggregate::{LoweredAggregate, LoweredAggregateBuilder};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use crate::model::RuleCount;
use crate::program::check::Action;
use crate::sql::{Session, Table};

/// The rule, compiled.
#[derive(Debug)]
pub(crate) struct Expectation {
    pub(crate) name: String,
    /// As written: `count(*)`.
    pub(crate) shown: String,
    /// What should have been: `at least 10`.
    pub(crate) expected: String,
    /// `Warn` or `Fail`.
    pub(crate) action: Action,
    aggregates: Vec<LoweredAggregate>,
    /// What the aggregates give, for the two expressions.
    totals: SchemaRef,
    value: Arc<dyn PhysicalExpr>,
    holds: Arc<dyn PhysicalExpr>,
}

/// What a rule says in words, beside its SQL.
pub(crate) struct Wording {
    pub(crate) name: String,
    pub(crate) expected: String,
    pub(crate) action: Action,
}

impl Expectation {
    /// Compiles `value` (over aggregates of columns) and the condition `holds` over the same.
    pub(crate) fn new(session: &Session, schema: &SchemaRef, value: &str, holds: &str, wording: Wording) -> Result<Self> {
        let table = Table { names: vec!["input".into()], schema: schema.clone(), time: None };
        let planned = session.query(&format!("SELECT {value} AS value, {holds} AS holds FROM input"), &[table])?;
        let plan = session.analyze(planned.plan)?;
        let LogicalPlan::Projection(projection) = &plan else { return plan_err!("`{value}` is no aggregate of the rows") };
        let LogicalPlan::Aggregate(aggregate) = projection.input.as_ref() else {
            return plan_err!("`{value}` is no aggregate of the rows: count(*), sum(x), max(x), …");
        };
        if !aggregate.group_expr.is_empty() || !matches!(aggregate.input.as_ref(), LogicalPlan::TableScan(_)) {
            return plan_err!("`{value}` must be one aggregate over all rows, without sub-queries");
        }
        let properties = session.state().execution_props();
        let (logical, physical) = (aggregate.input.schema(), Schema::clone(aggregate.input.schema().as_arrow()));
        let aggregates = aggregate
            .aggr_expr
            .iter()
            .map(|expr| LoweredAggregateBuilder::new(expr, logical, &physical, properties).build())
            .collect::<Result<Vec<_>>>()?;
        if aggregates.iter().any(|aggregate| !aggregate.order_bys.is_empty()) {
            return plan_err!("`{value}`: an aggregate of a rule has no ORDER BY");
        }
        let compiled = |at: usize| create_physical_expr(&projection.expr[at], projection.input.schema(), properties);
        Ok(Self {
            name: wording.name,
            shown: value.into(),
            expected: wording.expected,
            action: wording.action,
            aggregates,
            totals: Arc::new(projection.input.schema().as_arrow().clone()),
            value: compiled(0)?,
            holds: compiled(1)?,
        })
    }

    /// Begins to count.
    pub(crate) fn begin(&self) -> Result<Vec<Box<dyn Accumulator>>> {
        self.aggregates.iter().map(|lowered| lowered.aggregate.create_accumulator()).collect()
    }

    /// Feeds a batch.
    pub(crate) fn feed(&self, totals: &mut [Box<dyn Accumulator>], batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        for (lowered, total) in self.aggregates.iter().zip(totals) {
            let mut values: Vec<ArrayRef> = lowered
                .aggregate
                .expressions()
                .iter()
                .map(|expr| expr.evaluate(batch)?.into_array(rows))
                .collect::<Result<_>>()?;
            if let Some(only) = &lowered.filter {
                let mask = only.evaluate(batch)?.into_array(rows)?;
                let mask = mask.as_boolean();
                let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
                values = values.iter().map(|value| Ok(filter(value, &mask)?)).collect::<Result<_>>()?;
            }
            total.update_batch(&values)?;
        }
        Ok(())
    }

    /// Whether it holds, and what it came to. An aggregate that is NULL (of no rows) tells nothing, and does not hold.
    pub(crate) fn end(&self, totals: &mut [Box<dyn Accumulator>]) -> Result<(bool, String)> {
        let columns = totals.iter_mut().map(|total| total.evaluate()?.to_array()).collect::<Result<Vec<_>>>()?;
        let fields: Vec<_> = self.totals.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        let value = self.value.evaluate(&batch)?.into_array(1)?;
        let holds = self.holds.evaluate(&batch)?.into_array(1)?;
        let shown = if value.is_null(0) { "NULL".into() } else { array_value_to_string(&value, 0)? };
        let holds = holds.as_boolean();
        Ok((holds.is_valid(0) && holds.value(0), shown))
    }

    /// How the rule is counted: all rows are one thing that is checked.
    pub(crate) fn count(&self, node: &str, holds: bool, value: &str) -> RuleCount {
        RuleCount {
            node: node.into(),
            rule: self.name.clone(),
            action: self.action.word().into(),
            checked: 1,
            failed: u64::from(!holds),
            samples: if holds { Vec::new() } else { vec![format!("{}={value}", self.shown)] },
        }
    }

    /// Why it does not hold.
    pub(crate) fn told(&self, value: &str) -> String {
        format!("rule `{}`: {} is {value}; expected: {}", self.name, self.shown, self.expected)
    }
}
