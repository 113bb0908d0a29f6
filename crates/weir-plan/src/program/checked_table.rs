//! A `data_quality` node in a query: a table over the plan before it, whose scan judges the rows that pass.
//!
//! DataFusion plans and optimises what is below and above by itself. The rows pass one after another, so that limits and
//! aggregates are exact; the first scan of an attempt counts and sets rows aside, a second one (of another sink) only takes
//! the same rows out again.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::internal_err;
use datafusion::datasource::{TableType, provider_as_source};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Accumulator, Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
};
use futures::StreamExt;
use weir_connect::DeadLetter;

use crate::gates::{self, Passed};
use crate::model::{RuleCount, add_rules};
use crate::program::check::{Action, Check, QUARANTINED, Tally, whole_refused};
use crate::program::record::encode;

/// What the checks of a relational program found while its frames ran. An engine gives one to the session
/// (`SessionConfig::with_extension`) and asks it when the frames have ended; without one it is forgotten.
#[derive(Debug, Default)]
pub struct Aside {
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    dead: Vec<DeadLetter>,
    rules: Vec<RuleCount>,
    passed: Vec<Passed>,
}

impl Aside {
    /// Of a flow that has so many gates.
    pub fn counting(gates: usize) -> Self {
        let found = Found { passed: vec![Passed::default(); gates], ..Found::default() };
        Self { found: Mutex::new(found) }
    }

    /// Everything since it was asked last: rows set aside, and what every rule counted.
    pub fn take(&self) -> (Vec<DeadLetter>, Vec<RuleCount>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut found.dead), std::mem::take(&mut found.rules))
    }

    /// What has passed the gates before and after checks, and was set aside there, so far.
    pub fn passed(&self) -> Vec<Passed> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).passed.clone()
    }

    fn add(&self, dead: Vec<DeadLetter>, rules: &[RuleCount], gates: &CheckGates, before: &RecordBatch) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        gates::count(&mut found.passed, &gates.before, before);
        gates::count_dead(&mut found.passed, gates.aside, dead.len());
        found.dead.extend(dead);
        add_rules(&mut found.rules, rules);
    }

    fn add_rule(&self, rule: &RuleCount) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        add_rules(&mut found.rules, std::slice::from_ref(rule));
    }

    fn passes(&self, gates: &CheckGates, after: &RecordBatch) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        gates::count(&mut found.passed, &gates.after, after);
    }
}

/// Where a check counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct CheckGates {
    pub(crate) before: Vec<usize>,
    pub(crate) after: Vec<usize>,
    /// Rows that it sets aside.
    pub(crate) aside: Option<usize>,
}

/// The plan with the rules over it. `flow` is the stream of the dead letters.
pub(crate) fn checked(input: LogicalPlan, check: &Arc<Check>, flow: &str, gates: CheckGates) -> Result<LogicalPlan> {
    let table = CheckedTable { input, check: check.clone(), flow: flow.into(), gates, scanned: AtomicBool::new(false) };
    LogicalPlanBuilder::scan("checked", provider_as_source(Arc::new(table)), None)?.build()
}

struct CheckedTable {
    input: LogicalPlan,
    check: Arc<Check>,
    flow: String,
    gates: CheckGates,
    scanned: AtomicBool,
}

impl fmt::Debug for CheckedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckedTable({})", self.check.node())
    }
}

#[async_trait]
impl TableProvider for CheckedTable {
    fn schema(&self) -> SchemaRef {
        self.check.schema().clone()
    }
    fn table_type(&self) -> TableType {
        TableType::View
    }
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut input = state.create_physical_plan(&self.input).await?;
        if input.output_partitioning().partition_count() > 1 {
            input = Arc::new(CoalescePartitionsExec::new(input));
        }
        let judge = Judge {
            check: self.check.clone(),
            flow: self.flow.clone(),
            gates: self.gates.clone(),
            projection: projection.cloned(),
            counts: !self.scanned.swap(true, Ordering::SeqCst),
        };
        Ok(Arc::new(CheckExec::new(input, judge)?))
    }
}

/// What a scan does to its batches.
#[derive(Debug, Clone)]
struct Judge {
    check: Arc<Check>,
    flow: String,
    gates: CheckGates,
    projection: Option<Vec<usize>>,
    counts: bool,
}

#[derive(Debug)]
struct CheckExec {
    input: Arc<dyn ExecutionPlan>,
    judge: Judge,
    properties: Arc<PlanProperties>,
}

impl CheckExec {
    fn new(input: Arc<dyn ExecutionPlan>, judge: Judge) -> Result<Self> {
        let schema = match &judge.projection {
            Some(projection) => Arc::new(judge.check.schema().project(projection)?),
            None => judge.check.schema().clone(),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { input, judge, properties: Arc::new(properties) })
    }
}

impl DisplayAs for CheckExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckExec: {}", self.judge.check.node())
    }
}

impl ExecutionPlan for CheckExec {
    fn name(&self) -> &str {
        "CheckExec"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }
    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }
    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) if children.is_empty() => Ok(Arc::new(Self::new(input, self.judge.clone())?)),
            _ => internal_err!("a check has one input"),
        }
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 || self.input.output_partitioning().partition_count() != 1 {
            return internal_err!("the rows of a check pass one after another");
        }
        let aside = context.session_config().get_extension::<Aside>().filter(|_| self.judge.counts);
        let pass = Pass::new(self.judge.clone(), aside)?;
        let input = self.input.execute(0, context)?;
        let stream = futures::stream::try_unfold((input, pass), |(mut input, mut pass)| async move {
            while let Some(batch) = input.next().await {
                let passed = pass.take(&batch?)?;
                if passed.num_rows() > 0 {
                    return Ok(Some((passed, (input, pass))));
                }
            }
            pass.finish()?;
            Ok(None)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}

/// One pass over all rows.
struct Pass {
    judge: Judge,
    tally: Tally,
    totals: Vec<Vec<Box<dyn Accumulator>>>,
    aside: Option<Arc<Aside>>,
}

fn ours(error: weir_error::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl Pass {
    fn new(judge: Judge, aside: Option<Arc<Aside>>) -> Result<Self> {
        let totals = judge.check.whole.iter().map(|rule| rule.begin()).collect::<Result<Vec<_>>>()?;
        Ok(Self { tally: Tally::new(judge.check.clone()), judge, totals, aside })
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let check = &self.judge.check;
        for (rule, totals) in check.whole.iter().zip(&mut self.totals) {
            rule.feed(totals, batch)?;
        }
        let judged = check.judge(batch).map_err(ours)?;
        self.tally.add(&judged).map_err(ours)?;
        if let Some(aside) = &self.aside {
            let shown: Vec<usize> = (0..check.schema().fields().len()).collect();
            let rows = if judged.dead.is_empty() { None } else { Some(batch.project(&shown)?) };
            let letters = judged.dead.iter().zip(rows.iter().cycle()).map(|((row, reason), rows)| {
                let (payload, media_type) = encode(rows, *row);
                DeadLetter {
                    stream: self.judge.flow.clone(),
                    code: QUARANTINED.into(),
                    reason: reason.clone(),
                    place: format!("node `{}`", check.node()),
                    payload,
                    media_type: media_type.into(),
                }
            });
            aside.add(letters.collect(), &judged.counts, &self.judge.gates, batch);
        }
        let passed = check.passed(batch, &judged)?;
        if let Some(aside) = &self.aside {
            aside.passes(&self.judge.gates, &passed);
        }
        match &self.judge.projection {
            Some(projection) => Ok(passed.project(projection)?),
            None => Ok(passed),
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.tally.finish().map_err(ours)?;
        let check = &self.judge.check;
        for (rule, totals) in check.whole.iter().zip(&mut self.totals) {
            let (holds, value) = rule.end(totals)?;
            if !holds && rule.action == Action::Fail {
                return Err(ours(whole_refused(check.node(), &rule.told(&value))));
            }
            if let Some(aside) = &self.aside {
                aside.add_rule(&rule.count(check.node(), holds, &value));
            }
        }
        Ok(())
    }
}
