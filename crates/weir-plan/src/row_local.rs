//! Row-local programs: a tree of nodes over one input, each a chain of steps on one batch.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::SessionContext;
use weir_connect::{DeadLetter, Error, Result};

use crate::cast_rows::{self, CastRows};
use crate::model::{RowOutput, RowProgram};
use crate::sql;
use crate::transforms::Op;

/// One step on one batch.
#[derive(Clone)]
enum Step {
    Filter(Arc<dyn PhysicalExpr>),
    Project { expressions: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef },
    Cast(CastRows),
}

/// A node compiled to steps, with the schema that it gives.
#[derive(Clone)]
pub struct RowNode {
    steps: Vec<Step>,
    /// What comes out.
    pub schema: SchemaRef,
}

/// Compiles an operator to steps over `schema`, or `None` if it needs to see rows together. `names` are the tables that
/// a query may call its input.
pub async fn compile(
    context: &SessionContext,
    op: &Op,
    schema: &SchemaRef,
    names: &[String],
    node: &str,
) -> Result<Option<RowNode>> {
    match op {
        Op::Filter(predicate) => {
            let df_schema = DFSchema::try_from(schema.as_ref().clone()).map_err(sql::explain)?;
            let expression = sql::expression(context, predicate, &df_schema)?;
            let step = Step::Filter(physical(context, expression, &df_schema)?);
            Ok(Some(RowNode { steps: vec![step], schema: schema.clone() }))
        }
        Op::Map(options) => {
            let df_schema = DFSchema::try_from(schema.as_ref().clone()).map_err(sql::explain)?;
            project(context, options.projection(&df_schema)?, &df_schema).map(Some)
        }
        Op::Mask(options) => {
            let df_schema = DFSchema::try_from(schema.as_ref().clone()).map_err(sql::explain)?;
            project(context, options.projection(&df_schema)?, &df_schema).map(Some)
        }
        Op::Cast(options) => {
            let cast = CastRows::new(options, schema, node)?;
            Ok(Some(RowNode { schema: cast.schema.clone(), steps: vec![Step::Cast(cast)] }))
        }
        Op::Dedupe(_) => Ok(None),
        Op::Sql(query) => {
            for name in names {
                sql::register(context, name, Arc::new(EmptyTable::new(schema.clone())))?;
            }
            let planned = context.state().create_logical_plan(query).await.map_err(sql::explain);
            for name in names {
                sql::deregister(context, name)?;
            }
            let plan = context.state().optimize(&planned?).map_err(sql::explain)?;
            let mut steps = Vec::new();
            if !unfold(context, &plan, &mut steps)? {
                return Ok(None);
            }
            Ok(Some(RowNode { steps, schema: Arc::new(plan.schema().as_arrow().clone()) }))
        }
    }
}

/// Turns a plan of projections and filters over one scan into steps, innermost first; `false` if it is anything else.
fn unfold(context: &SessionContext, plan: &LogicalPlan, steps: &mut Vec<Step>) -> Result<bool> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            if scan.fetch.is_some() {
                return Ok(false);
            }
            if let Some(indices) = &scan.projection {
                let schema = scan.source.schema();
                let expressions = indices
                    .iter()
                    .map(|&index| {
                        Arc::new(datafusion::physical_expr::expressions::Column::new(schema.field(index).name(), index))
                            as Arc<dyn PhysicalExpr>
                    })
                    .collect();
                let schema = schema.project(indices).map_err(|error| Error::internal("bad projection").caused_by(error))?;
                steps.push(Step::Project { expressions, schema: Arc::new(schema) });
            }
            for predicate in &scan.filters {
                steps.push(Step::Filter(physical(context, predicate.clone(), &scan.projected_schema)?));
            }
            Ok(true)
        }
        LogicalPlan::SubqueryAlias(alias) => unfold(context, &alias.input, steps),
        LogicalPlan::Filter(filter) => {
            if !row_wise(&filter.predicate) || !unfold(context, &filter.input, steps)? {
                return Ok(false);
            }
            steps.push(Step::Filter(physical(context, filter.predicate.clone(), filter.input.schema())?));
            Ok(true)
        }
        LogicalPlan::Projection(projection) => {
            if !projection.expr.iter().all(row_wise) || !unfold(context, &projection.input, steps)? {
                return Ok(false);
            }
            let expressions = projection
                .expr
                .iter()
                .map(|expression| physical(context, expression.clone(), projection.input.schema()))
                .collect::<Result<_>>()?;
            steps.push(Step::Project { expressions, schema: Arc::new(projection.schema.as_arrow().clone()) });
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Whether an expression depends on its own row only and gives the same value every time.
fn row_wise(expression: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    let impure = expression.exists(|inner| {
        Ok(match inner {
            Expr::AggregateFunction(_)
            | Expr::WindowFunction(_)
            | Expr::ScalarSubquery(_)
            | Expr::InSubquery(_)
            | Expr::Exists(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::Unnest(_) => true,
            Expr::ScalarFunction(function) => {
                function.func.signature().volatility == datafusion::logical_expr::Volatility::Volatile
            }
            _ => false,
        })
    });
    matches!(impure, Ok(false))
}

fn physical(context: &SessionContext, expression: Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    context.create_physical_expr(expression, schema).map_err(sql::explain)
}

fn project(context: &SessionContext, columns: Vec<(Expr, String)>, input: &DFSchema) -> Result<RowNode> {
    let schema = Arc::new(Schema::new(sql::fields(&columns, input)?));
    let expressions = columns.into_iter().map(|(expression, _)| physical(context, expression, input)).collect::<Result<_>>()?;
    Ok(RowNode { steps: vec![Step::Project { expressions, schema: schema.clone() }], schema })
}

/// A tree of nodes over one input.
pub struct RowTree {
    /// Stream name, for dead letters.
    pub stream: String,
    /// Nodes in topological order with the index of their input; `None` is the source.
    pub nodes: Vec<(Option<usize>, RowNode)>,
    /// Per output the node that feeds it; `None` is the source itself.
    pub outputs: Vec<Option<usize>>,
}

struct Reached {
    batch: RecordBatch,
    filtered: u64,
    dead: Vec<DeadLetter>,
}

impl RowTree {
    fn step(&self, node: &RowNode, from: &Reached) -> Result<Reached> {
        let mut batch = from.batch.clone();
        let mut filtered = from.filtered;
        let mut dead = from.dead.clone();
        for step in &node.steps {
            match step {
                Step::Filter(predicate) => {
                    let rows = batch.num_rows();
                    let mask = predicate.evaluate(&batch).and_then(|value| value.into_array(rows)).map_err(sql::failed)?;
                    let out;
                    (batch, out) = cast_rows::filter(&batch, &mask)?;
                    filtered += out;
                }
                Step::Project { expressions, schema } => {
                    let rows = batch.num_rows();
                    let columns = expressions
                        .iter()
                        .map(|expression| expression.evaluate(&batch).and_then(|value| value.into_array(rows)))
                        .collect::<Result<Vec<_>, _>>()
                        .map_err(sql::failed)?;
                    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
                    batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)
                        .map_err(|error| Error::internal("a projection gave other types than planned").caused_by(error))?;
                }
                Step::Cast(cast) => {
                    let letters;
                    (batch, letters) = cast.apply(&batch, &self.stream)?;
                    dead.extend(letters);
                }
            }
        }
        Ok(Reached { batch, filtered, dead })
    }
}

impl RowProgram for RowTree {
    fn apply(&self, batch: &RecordBatch) -> Result<Vec<RowOutput>> {
        let source = Reached { batch: batch.clone(), filtered: 0, dead: Vec::new() };
        let mut reached: Vec<Reached> = Vec::with_capacity(self.nodes.len());
        for (input, node) in &self.nodes {
            let next = self.step(node, input.map_or(&source, |index| &reached[index]))?;
            reached.push(next);
        }
        Ok(self
            .outputs
            .iter()
            .map(|output| {
                let end = output.map_or(&source, |index| &reached[index]);
                RowOutput { batch: end.batch.clone(), filtered: end.filtered, dead: end.dead.clone() }
            })
            .collect())
    }

    fn is_identity(&self) -> bool {
        self.nodes.iter().all(|(_, node)| node.steps.is_empty())
    }
}
