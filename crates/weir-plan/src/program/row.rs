//! Row-local programs: filters, projections and casts over one batch at a time, compiled once.
//!
//! A row whose expression cannot be computed is a dead letter: when a step fails on a batch, the batch is halved until the
//! rows that fail are alone. That costs nothing while nothing fails.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat, concat_batches, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Distinct, Expr, JoinType, LogicalPlan};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use weir_connect::DeadLetter;
use weir_error::{Error, Kind, Result};

use crate::chain::{Graph, Upstream};
use crate::changes::{ColumnWay, OutputWay};
use crate::gates::{self, Passed};
use crate::model::{RowOutput, RowProgram, RuleCount, add_rules, origin};
use crate::program::cast::CheckedCast;
use crate::program::check::{Action, Check, QUARANTINED};
use crate::program::record::encode;
use crate::program::require::REQUIRE;
use crate::sql::Session;

/// What happens to a batch.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Keeps the rows for which the predicate is true.
    Filter { predicate: Arc<dyn PhysicalExpr> },
    /// Computes new columns.
    Project { columns: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef },
    /// Chooses, orders and renames columns.
    Pick { columns: Vec<usize>, schema: SchemaRef },
    /// Casts columns, value by value.
    Cast(Arc<CheckedCast>),
    /// Holds rules against rows.
    Check(Arc<Check>),
}

/// Steps for a query over one table, or why it must see rows together.
pub(crate) fn compile(
    session: &Session,
    plan: &LogicalPlan,
    analyzed: &LogicalPlan,
    schema: &SchemaRef,
) -> datafusion::error::Result<Result<Vec<Step>, String>> {
    let optimized = session.optimize(plan)?;
    let mut steps = Vec::new();
    if !matches!(lower(session, &optimized, &mut steps)?, Some(LogicalPlan::TableScan(_))) {
        let why = why_relational(analyzed).or_else(|| why_relational(&optimized));
        return Ok(Err(why.unwrap_or_else(|| "it does not read its input row by row".into())));
    }
    // The last step carries the names and metadata that the node promises; without one, only these change.
    match steps.last_mut() {
        Some(Step::Project { schema: last, .. } | Step::Pick { schema: last, .. }) => *last = schema.clone(),
        _ => steps.push(Step::Pick { columns: (0..schema.fields().len()).collect(), schema: schema.clone() }),
    }
    Ok(Ok(steps))
}

/// Appends the steps of a plan down to what it reads: a table, or something that sees rows together, which is given back. `None` if
/// what lies above that is not row-local.
pub(crate) fn lower<'p>(
    session: &Session,
    plan: &'p LogicalPlan,
    steps: &mut Vec<Step>,
) -> datafusion::error::Result<Option<&'p LogicalPlan>> {
    Ok(match plan {
        LogicalPlan::TableScan(scan) => {
            if scan.fetch.is_some() {
                return Ok(None);
            }
            // Predicates that the optimiser left to the scan see all of its columns.
            let all = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?;
            for predicate in &scan.filters {
                if !row_wise(predicate)? {
                    return Ok(None);
                }
                steps.push(Step::Filter { predicate: physical(session, predicate, &all)? });
            }
            if let Some(projection) = &scan.projection {
                let schema = Arc::new(scan.projected_schema.as_arrow().clone());
                steps.push(Step::Pick { columns: projection.clone(), schema });
            }
            Some(plan)
        }
        LogicalPlan::SubqueryAlias(alias) => lower(session, &alias.input, steps)?,
        LogicalPlan::Filter(filter) => {
            if !row_wise(&filter.predicate)? {
                return Ok(None);
            }
            let Some(leaf) = lower(session, &filter.input, steps)? else { return Ok(None) };
            steps.push(Step::Filter { predicate: physical(session, &filter.predicate, filter.input.schema())? });
            Some(leaf)
        }
        LogicalPlan::Projection(projection) => {
            for expr in &projection.expr {
                if !row_wise(expr)? {
                    return Ok(None);
                }
            }
            let Some(leaf) = lower(session, &projection.input, steps)? else { return Ok(None) };
            let below = projection.input.schema();
            let schema = Arc::new(projection.schema.as_arrow().clone());
            let plain: Option<Vec<usize>> = projection.expr.iter().map(|expr| column_index(expr, below)).collect();
            steps.push(match plain {
                Some(columns) => Step::Pick { columns, schema },
                None => {
                    let columns = projection.expr.iter().map(|expr| physical(session, expr, below)).collect::<Result<_, _>>()?;
                    Step::Project { columns, schema }
                }
            });
            Some(leaf)
        }
        other => Some(other),
    })
}

fn column_index(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Column(column) => schema.maybe_index_of_column(column),
        Expr::Alias(alias) => column_index(&alias.expr, schema),
        _ => None,
    }
}

pub(crate) fn physical(session: &Session, expr: &Expr, schema: &DFSchema) -> datafusion::error::Result<Arc<dyn PhysicalExpr>> {
    create_physical_expr(&session.simplified(expr, schema)?, schema, session.state().execution_props())
}

pub(crate) fn row_wise(expr: &Expr) -> datafusion::error::Result<bool> {
    let mut fine = true;
    expr.apply(|part| {
        fine &= why_expression(part).is_none();
        Ok(if fine { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(fine)
}

fn why_expression(part: &Expr) -> Option<String> {
    match part {
        Expr::AggregateFunction(_) | Expr::GroupingSet(_) => Some("an aggregate".into()),
        Expr::WindowFunction(_) => Some("a window".into()),
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_) => Some("a sub-query".into()),
        Expr::OuterReferenceColumn(_, _) => Some("a correlated sub-query".into()),
        Expr::Unnest(_) => Some("several rows for one".into()),
        Expr::Placeholder(_) => Some("a placeholder".into()),
        Expr::ScalarFunction(function)
            if function.func.signature().volatility == datafusion::logical_expr::Volatility::Volatile
                && function.name() != REQUIRE =>
        {
            Some(format!("`{}()` (it gives another value at each call)", function.name()))
        }
        _ => None,
    }
}

/// What in a plan needs to see rows together, in words; the first found from the top.
pub(crate) fn why_relational(plan: &LogicalPlan) -> Option<String> {
    let mut why = None;
    let walked = plan.apply_with_subqueries(|node| {
        let mut here = match node {
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner && join.on.is_empty() && join.filter.is_none() => {
                Some("a cross join".into())
            }
            LogicalPlan::Join(_) => Some("a join".into()),
            LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => Some("a global aggregate".into()),
            LogicalPlan::Aggregate(_) => Some("an aggregate".into()),
            LogicalPlan::Window(_) => Some("a window".into()),
            LogicalPlan::Sort(_) => Some("a sort".into()),
            LogicalPlan::Limit(_) => Some("a limit".into()),
            LogicalPlan::Distinct(Distinct::All(_) | Distinct::On(_)) => Some("a distinct".into()),
            LogicalPlan::Union(_) => Some("a union".into()),
            LogicalPlan::Unnest(_) => Some("several rows for one".into()),
            LogicalPlan::RecursiveQuery(_) => Some("a recursive query".into()),
            LogicalPlan::Values(_) => Some("a table of values".into()),
            LogicalPlan::EmptyRelation(_) => Some("a query that does not read its input".into()),
            _ => None,
        };
        if here.is_none() {
            node.apply_expressions(|expr| {
                expr.apply(|part| {
                    here = here.take().or_else(|| why_expression(part));
                    Ok(TreeNodeRecursion::Continue)
                })
            })?;
        }
        why = here;
        Ok(if why.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walked.ok().and(why)
}

/// One node of the tree: what it reads and its steps.
struct Branch {
    input: Option<usize>,
    node: String,
    steps: Vec<Step>,
    /// The gates that its rows pass.
    gates: Vec<usize>,
    /// The gate at which its dead letters count; `None`: no output has them.
    aside: Option<usize>,
}

/// The program of a flow with one input: a tree, because several sinks may share a prefix.
pub(crate) struct RowTree {
    stream: String,
    branches: Vec<Branch>,
    outputs: Vec<Option<usize>>,
    identity: bool,
    /// The gates that the batch passes as it comes.
    gates: Vec<usize>,
}

/// One of several parts that run one after another.
pub(crate) struct LinePart {
    pub(crate) node: String,
    pub(crate) steps: Vec<Step>,
    /// The gates that rows pass after it.
    pub(crate) gates: Vec<usize>,
    /// The gate at which its dead letters count.
    pub(crate) aside: Option<usize>,
}

impl RowTree {
    /// The tree over a graph with one input; `None` if an operation that an output needs is not row-local.
    pub(crate) fn new(stream: &str, graph: &Graph, outputs: &[Upstream]) -> Option<Self> {
        let mut places: Vec<Option<usize>> = Vec::with_capacity(graph.ops.len());
        let mut branches: Vec<Branch> = Vec::new();
        for op in &graph.ops {
            let (Ok(steps), [upstream]) = (&op.steps, op.inputs.as_slice()) else {
                return None;
            };
            let input = match upstream {
                Upstream::Input(_) => None,
                Upstream::Op(index) => places[*index],
            };
            let before = graph.schema(*upstream);
            let steps: Vec<Step> = simplified(steps, before);
            if steps.is_empty() {
                places.push(input);
            } else {
                branches.push(Branch { input, node: op.node.clone(), steps, gates: Vec::new(), aside: None });
                places.push(Some(branches.len() - 1));
            }
        }
        let place = |upstream: &Upstream| match upstream {
            Upstream::Input(_) => None,
            Upstream::Op(index) => places[*index],
        };
        let outputs: Vec<Option<usize>> = outputs.iter().map(place).collect();
        let mut gates = Vec::new();
        for (gate, (_, upstream)) in graph.gates.iter().enumerate() {
            place(upstream).map_or(&mut gates, |branch| &mut branches[branch].gates).push(gate);
        }
        // What no output needs sets nothing aside that anybody lacks.
        for output in &outputs {
            let mut at = *output;
            while let Some(branch) = at {
                branches[branch].aside = graph.gate_of(&branches[branch].node);
                at = branches[branch].input;
            }
        }
        let identity = matches!(outputs.as_slice(), [None]);
        Some(Self { stream: stream.into(), branches, outputs, identity, gates })
    }

    /// The program of parts one after another; the batch passes the first `gates` as it comes.
    pub(crate) fn line(stream: &str, before: &SchemaRef, gates: Vec<usize>, parts: Vec<LinePart>) -> Self {
        let mut line = Self::line_and(stream, before, gates, parts, 0);
        line.outputs.truncate(1);
        line
    }

    /// The same, with what the first `some` parts leave as a second output.
    pub(crate) fn line_and(stream: &str, before: &SchemaRef, gates: Vec<usize>, parts: Vec<LinePart>, some: usize) -> Self {
        let (mut branches, mut gates): (Vec<Branch>, _) = (Vec::new(), gates);
        let mut schema = before.clone();
        let mut after_some = None;
        for (index, part) in parts.into_iter().enumerate() {
            let kept = simplified(&part.steps, &schema);
            schema = after(&part.steps, &schema);
            if !kept.is_empty() {
                let LinePart { node, gates, aside, .. } = part;
                branches.push(Branch { input: branches.len().checked_sub(1), node, steps: kept, gates, aside });
            } else {
                branches.last_mut().map_or(&mut gates, |last| &mut last.gates).extend(part.gates);
            }
            if index < some {
                after_some = branches.len().checked_sub(1);
            }
        }
        let last = branches.len().checked_sub(1);
        Self { stream: stream.into(), branches, outputs: vec![last, after_some], identity: last.is_none(), gates }
    }

    /// The program of one way through a graph: `ops`, each reading from the one before, the first from `input`.
    pub(crate) fn along(stream: &str, graph: &Graph, input: usize, ops: &[usize]) -> Option<Self> {
        let part = |&index: &usize| {
            let op = &graph.ops[index];
            Some(LinePart {
                node: op.node.clone(),
                steps: op.steps.as_ref().ok()?.clone(),
                gates: graph.gates_at(Upstream::Op(index)),
                aside: graph.gate_of(&op.node),
            })
        };
        let parts = ops.iter().map(part).collect::<Option<Vec<_>>>()?;
        let input = Upstream::Input(input);
        Some(Self::line(stream, graph.schema(input), graph.gates_at(input), parts))
    }
}

/// The schema that steps leave.
pub(crate) fn after(steps: &[Step], before: &SchemaRef) -> SchemaRef {
    let mut schema = before;
    for step in steps {
        schema = match step {
            Step::Pick { schema, .. } | Step::Project { schema, .. } => schema,
            Step::Cast(cast) => cast.schema(),
            Step::Check(check) => check.schema(),
            Step::Filter { .. } => schema,
        };
    }
    schema.clone()
}

/// Without steps that change nothing.
fn simplified(steps: &[Step], before: &SchemaRef) -> Vec<Step> {
    let mut schema = before.clone();
    let mut kept = Vec::with_capacity(steps.len());
    for step in steps {
        match step {
            Step::Pick { columns, schema: after } => {
                let same = columns.iter().copied().eq(0..schema.fields().len());
                if same && *after == schema {
                    continue;
                }
                schema = after.clone();
                // Two choices in a row are one.
                if let Some(Step::Pick { columns: earlier, .. }) = kept.last() {
                    let columns = columns.iter().map(|&column| earlier[column]).collect();
                    kept.pop();
                    kept.push(Step::Pick { columns, schema: after.clone() });
                    continue;
                }
            }
            Step::Project { schema: after, .. } => schema = after.clone(),
            Step::Cast(cast) => schema = cast.schema().clone(),
            Step::Check(check) => schema = check.schema().clone(),
            Step::Filter { .. } => {}
        }
        kept.push(step.clone());
    }
    kept
}

/// A batch on its way, with what became of the rows that are no longer in it.
#[derive(Clone)]
struct Partial {
    batch: RecordBatch,
    /// Which rows each thinning kept, in order: leads from a row back to its place in the batch that came in.
    kept: Vec<Arc<BooleanArray>>,
    filtered: u64,
    dead: Vec<DeadLetter>,
    rules: Vec<RuleCount>,
}

impl Partial {
    fn apply(&mut self, step: &Step, node: &str, stream: &str, original: &RecordBatch) -> Result<()> {
        let done = attempt(step, node, &self.batch)?;
        for (row, reason) in &done.dead {
            self.dead.push(letter(stream, node, step, original, origin(&self.kept, *row), reason));
        }
        if let Some(kept) = done.kept {
            self.kept.push(Arc::new(kept));
        }
        self.filtered += done.filtered;
        add_rules(&mut self.rules, &done.rules);
        self.batch = done.batch;
        Ok(())
    }
}

/// What a step made of a batch.
struct Done {
    batch: RecordBatch,
    /// Rows that are still in `batch`; `None` = all. Has no NULLs.
    kept: Option<BooleanArray>,
    filtered: u64,
    dead: Vec<(usize, String)>,
    rules: Vec<RuleCount>,
}

/// A step over a batch; if it fails because of single rows, over its halves.
fn attempt(step: &Step, node: &str, batch: &RecordBatch) -> Result<Done> {
    let rows = batch.num_rows();
    match carry_out(step, batch) {
        Ok(done) => Ok(done),
        Err(Failed::Run(error)) => Err(error),
        Err(Failed::Evaluation(error)) => {
            // An error of our own is the run's: whoever wants a row set aside says so in another way.
            let error = match own(error) {
                Ok(ours) => return Err(ours.at(format!("node `{node}`"))),
                Err(error) => error,
            };
            let Some(reason) = row_fault(&error) else {
                return Err(Error::new("WEIR-ROW-003", Kind::Data, "an expression failed")
                    .at(format!("node `{node}`"))
                    .caused_by(error));
            };
            if rows == 0 {
                return Err(Error::internal("an expression fails without rows").at(format!("node `{node}`")).because(reason));
            }
            if rows == 1 {
                let none = batch.slice(0, 0);
                let done = carry_out(step, &none).map_err(|failed| match failed {
                    Failed::Run(error) => error,
                    Failed::Evaluation(error) => Error::new("WEIR-ROW-003", Kind::Data, "an expression fails on every row")
                        .at(format!("node `{node}`"))
                        .caused_by(error),
                })?;
                return Ok(Done {
                    batch: done.batch,
                    kept: Some(BooleanArray::from(vec![false])),
                    filtered: 0,
                    dead: vec![(0, reason)],
                    rules: Vec::new(),
                });
            }
            let middle = rows / 2;
            let first = attempt(step, node, &batch.slice(0, middle))?;
            let second = attempt(step, node, &batch.slice(middle, rows - middle))?;
            join(first, middle, second, rows - middle)
        }
    }
}

fn join(first: Done, first_rows: usize, second: Done, second_rows: usize) -> Result<Done> {
    let broken = |error: ArrowError| Error::internal("two halves of a batch do not fit together").caused_by(error);
    let batch = concat_batches(&first.batch.schema(), [&first.batch, &second.batch]).map_err(broken)?;
    let all = |rows| BooleanArray::from(vec![true; rows]);
    let left = first.kept.unwrap_or_else(|| all(first_rows));
    let right = second.kept.unwrap_or_else(|| all(second_rows));
    let kept = concat(&[&left, &right]).map_err(broken)?.as_boolean().clone();
    let mut dead = first.dead;
    dead.extend(second.dead.into_iter().map(|(row, reason)| (row + first_rows, reason)));
    let mut rules = first.rules;
    add_rules(&mut rules, &second.rules);
    Ok(Done { batch, kept: Some(kept), filtered: first.filtered + second.filtered, dead, rules })
}

enum Failed {
    /// The run cannot go on.
    Run(Error),
    /// Some row could not be computed.
    Evaluation(DataFusionError),
}

impl From<DataFusionError> for Failed {
    fn from(error: DataFusionError) -> Self {
        Self::Evaluation(error)
    }
}

impl From<ArrowError> for Failed {
    fn from(error: ArrowError) -> Self {
        Self::Evaluation(error.into())
    }
}

fn carry_out(step: &Step, batch: &RecordBatch) -> Result<Done, Failed> {
    let rows = batch.num_rows();
    let whole = |batch| Done { batch, kept: None, filtered: 0, dead: Vec::new(), rules: Vec::new() };
    match step {
        Step::Filter { predicate } => {
            let mask = predicate.evaluate(batch)?.into_array(rows)?;
            let Some(mask) = mask.as_boolean_opt() else {
                return Err(Failed::Run(Error::internal("a filter gave something other than truth values")));
            };
            let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
            let kept = mask.true_count();
            if kept == rows {
                return Ok(whole(batch.clone()));
            }
            let thinned = filter_record_batch(batch, &mask)?;
            Ok(Done { batch: thinned, kept: Some(mask), filtered: (rows - kept) as u64, dead: Vec::new(), rules: Vec::new() })
        }
        Step::Project { columns, schema } => {
            let arrays = columns
                .iter()
                .map(|column| column.evaluate(batch)?.into_array(rows))
                .collect::<Result<Vec<ArrayRef>, DataFusionError>>()?;
            rebuilt(arrays, schema, rows).map(whole)
        }
        Step::Pick { columns, schema } => {
            let arrays = columns.iter().map(|&column| batch.column(column).clone()).collect();
            rebuilt(arrays, schema, rows).map(whole)
        }
        Step::Cast(cast) => {
            let done = cast.apply(batch).map_err(Failed::Run)?;
            if done.dead.is_empty() {
                return rebuilt(done.columns, cast.schema(), rows).map(whole);
            }
            let mut keep = vec![true; rows];
            done.dead.iter().for_each(|(row, _)| keep[*row] = false);
            let keep = BooleanArray::from(keep);
            let columns = done
                .columns
                .iter()
                .map(|column| arrow::compute::filter(column, &keep))
                .collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
            let batch = rebuilt(columns, cast.schema(), rows - done.dead.len())?;
            Ok(Done { batch, kept: Some(keep), filtered: 0, dead: done.dead, rules: Vec::new() })
        }
        Step::Check(check) => {
            let judged = check.judge(batch).map_err(Failed::Run)?;
            check.refuse_at_once(&judged).map_err(Failed::Run)?;
            let batch = check.passed(batch, &judged)?;
            Ok(Done { batch, kept: judged.kept, filtered: judged.filtered, dead: judged.dead, rules: judged.counts })
        }
    }
}

/// What a step makes of what is known about columns.
fn follow(way: &mut OutputWay, step: &Step) {
    let from = |columns: &[ColumnWay], expr: &Arc<dyn PhysicalExpr>| -> BTreeSet<usize> {
        let read = collect_columns(expr);
        read.iter().filter_map(|column| columns.get(column.index())).flat_map(|column| column.from.iter().copied()).collect()
    };
    match step {
        Step::Filter { predicate } => {
            let read = from(&way.columns, predicate);
            way.filters.extend(read);
            way.filtered = true;
        }
        Step::Pick { columns, .. } => way.columns = columns.iter().map(|&column| way.columns[column].clone()).collect(),
        Step::Project { columns, .. } => {
            let after = columns.iter().map(|expr| match expr.downcast_ref::<Column>() {
                Some(column) => way.columns[column.index()].clone(),
                None => ColumnWay { same: None, from: from(&way.columns, expr) },
            });
            way.columns = after.collect();
        }
        Step::Cast(cast) => cast.casts().for_each(|index| way.columns[index].same = None),
        Step::Check(check) => {
            let read: Vec<usize> = check.rules.iter().flat_map(|rule| way.columns[rule.flag].from.clone()).collect();
            way.filters.extend(read);
            way.filtered |= check.rules.iter().any(|rule| rule.action == Action::Drop);
            way.columns.truncate(check.schema().fields().len());
        }
    }
}

fn rebuilt(columns: Vec<ArrayRef>, schema: &SchemaRef, rows: usize) -> Result<RecordBatch, Failed> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|error| Failed::Run(Error::internal("a program gave other columns than it was planned with").caused_by(error)))
}

/// Our own error, if that is what an evaluation failed with.
pub(crate) fn own(error: DataFusionError) -> Result<Error, DataFusionError> {
    match error {
        DataFusionError::External(inner) => inner.downcast::<Error>().map(|ours| *ours).map_err(DataFusionError::External),
        DataFusionError::Context(context, inner) => {
            own(*inner).map_err(|inner| DataFusionError::Context(context, Box::new(inner)))
        }
        other => Err(other),
    }
}

/// The reason if an evaluation failed because of a value, so that other rows may be fine.
fn row_fault(error: &DataFusionError) -> Option<String> {
    let fault = match error.find_root() {
        DataFusionError::ArrowError(error, _) => matches!(
            error.as_ref(),
            ArrowError::DivideByZero
                | ArrowError::ArithmeticOverflow(_)
                | ArrowError::CastError(_)
                | ArrowError::ParseError(_)
                | ArrowError::ComputeError(_)
                | ArrowError::InvalidArgumentError(_)
        ),
        DataFusionError::Execution(_) | DataFusionError::External(_) => true,
        _ => false,
    };
    fault.then(|| crate::problem::plain(&error.find_root().strip_backtrace()))
}

fn letter(stream: &str, node: &str, step: &Step, original: &RecordBatch, row: usize, reason: &str) -> DeadLetter {
    let (payload, media_type) = encode(original, row);
    DeadLetter {
        stream: stream.into(),
        code: match step {
            Step::Cast(_) => "WEIR-ROW-001",
            Step::Check(_) => QUARANTINED,
            Step::Filter { .. } | Step::Project { .. } | Step::Pick { .. } => "WEIR-ROW-002",
        }
        .into(),
        reason: reason.into(),
        place: format!("node `{node}`"),
        payload,
        media_type: media_type.into(),
    }
}

impl RowProgram for RowTree {
    fn apply(&self, batch: &RecordBatch) -> Result<Vec<RowOutput>> {
        self.apply_counting(batch, &mut [])
    }

    fn count_unchanged(&self, batch: &RecordBatch, passed: &mut [Passed]) {
        gates::count(passed, &self.gates, batch);
    }

    fn apply_counting(&self, batch: &RecordBatch, passed: &mut [Passed]) -> Result<Vec<RowOutput>> {
        let whole = gates::count_step(passed, &self.gates, (batch, None), batch);
        let mut measured: Vec<Option<u64>> = Vec::with_capacity(self.branches.len());
        let start = Partial { batch: batch.clone(), kept: Vec::new(), filtered: 0, dead: Vec::new(), rules: Vec::new() };
        let mut done: Vec<Partial> = Vec::with_capacity(self.branches.len());
        for branch in &self.branches {
            let mut partial = match branch.input {
                Some(index) => done[index].clone(),
                None => start.clone(),
            };
            let dead = partial.dead.len();
            for step in &branch.steps {
                partial.apply(step, &branch.node, &self.stream, batch)?;
            }
            let before = branch.input.map_or((batch, whole), |index| (&done[index].batch, measured[index]));
            measured.push(gates::count_step(passed, &branch.gates, before, &partial.batch));
            gates::count_dead(passed, branch.aside, partial.dead.len() - dead);
            done.push(partial);
        }
        let outputs = self.outputs.iter().map(|output| {
            let Partial { batch, kept, filtered, dead, rules } = match output {
                Some(index) => done[*index].clone(),
                None => start.clone(),
            };
            RowOutput { batch, filtered, dead, kept, rules }
        });
        Ok(outputs.collect())
    }

    fn is_identity(&self) -> bool {
        self.identity
    }

    fn passes_on(&self, output: usize) -> bool {
        matches!(self.outputs.get(output), Some(None))
    }

    fn ways(&self, columns: usize) -> Option<Vec<OutputWay>> {
        let start = OutputWay::whole(columns);
        let mut done: Vec<OutputWay> = Vec::with_capacity(self.branches.len());
        for branch in &self.branches {
            let mut way = branch.input.map_or_else(|| start.clone(), |index| done[index].clone());
            branch.steps.iter().for_each(|step| follow(&mut way, step));
            done.push(way);
        }
        Some(self.outputs.iter().map(|output| output.map_or_else(|| start.clone(), |index| done[index].clone())).collect())
    }
}
