//! Relational programs: the operations as DataFusion plans over the registered inputs.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::TableReference;
use datafusion::common::tree_node::Transformed;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, SubqueryAlias};
use datafusion::prelude::SessionContext;
use weir_error::{Error, Kind, Result};

use crate::chain::{Body, Graph, Upstream};
use crate::gates::QueryGates;
use crate::model::{RelationalProgram, RowProgram};
use crate::program::checked_table::{CheckGates, checked};

/// The program of a flow that must see rows together.
pub(crate) struct QueryProgram {
    /// The flow.
    pub(crate) name: String,
    /// Table name of each input.
    pub(crate) tables: Vec<String>,
    pub(crate) graph: Arc<Graph>,
    pub(crate) outputs: Vec<Upstream>,
    pub(crate) reason: String,
    /// Per input: what is done to its batches before they are registered, and where the plans go on from there.
    pub(crate) prepared: Vec<Option<Prepared>>,
    /// The inputs are known to be small: joins may keep one side in memory. Otherwise they sort, and spill.
    pub(crate) hash_joins: bool,
    /// Where it counts what passes.
    pub(crate) gates: QueryGates,
}

/// A row-local beginning of an input's way, run where rows can be set aside.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) program: Arc<dyn RowProgram>,
    pub(crate) schema: SchemaRef,
    /// The last operation that it contains.
    pub(crate) end: usize,
}

impl QueryProgram {
    fn plan(&self, upstream: Upstream, inputs: &[LogicalPlan], ops: &[Option<LogicalPlan>]) -> Result<LogicalPlan> {
        match upstream {
            Upstream::Input(index) => Ok(inputs[index].clone()),
            Upstream::Op(index) => match self.prepared.iter().position(|p| p.as_ref().is_some_and(|p| p.end == index)) {
                Some(input) => Ok(inputs[input].clone()),
                None => ops[index].clone().ok_or_else(|| Error::internal("an operation is used before it is built")),
            },
        }
    }
}

#[async_trait::async_trait]
impl RelationalProgram for QueryProgram {
    async fn frames(&self, context: &SessionContext) -> Result<Vec<DataFrame>> {
        let mut inputs = Vec::with_capacity(self.tables.len());
        for (table, prepared) in self.tables.iter().zip(&self.prepared) {
            let frame = context.table(TableReference::bare(table.as_str())).await.map_err(|error| broken(table, error))?;
            let plan = frame.into_unoptimized_plan();
            if let Some(prepared) = prepared
                && !same_shape(plan.schema().as_arrow(), &prepared.schema)
            {
                return Err(Error::internal(format!("table `{table}` was registered without its preparation")));
            }
            inputs.push(plan);
        }
        let skipped: Vec<usize> = self.prepared.iter().flatten().map(|prepared| prepared.end).collect();
        let mut ops: Vec<Option<LogicalPlan>> = Vec::with_capacity(self.graph.ops.len());
        for (index, op) in self.graph.ops.iter().enumerate() {
            // Inside a prepared beginning nothing is left to do, and its inputs are not there any more.
            if skipped.iter().any(|end| self.leads_to(index, *end)) {
                ops.push(None);
                continue;
            }
            let below = op.inputs.iter().map(|input| self.plan(*input, &inputs, &ops)).collect::<Result<Vec<_>>>()?;
            let built = match &op.body {
                Body::Cast(cast) => match below.into_iter().next() {
                    Some(input) => cast.over(input),
                    None => return Err(Error::internal("a cast without an input")),
                },
                Body::Check(check) => match below.into_iter().next() {
                    Some(input) => checked(input, check, &self.name, self.check_gates(index)),
                    None => return Err(Error::internal("a check without an input")),
                },
                Body::Query { plan, scans } => plan
                    .clone()
                    .transform_up_with_subqueries(|node| match &node {
                        LogicalPlan::TableScan(scan) => match scans.get(&scan.table_name.to_string()) {
                            Some(&input) => {
                                let alias = SubqueryAlias::try_new(Arc::new(below[input].clone()), scan.table_name.clone())?;
                                Ok(Transformed::yes(LogicalPlan::SubqueryAlias(alias)))
                            }
                            None => Ok(Transformed::no(node)),
                        },
                        _ => Ok(Transformed::no(node)),
                    })
                    .map(|done| done.data),
            };
            ops.push(Some(built.map_err(|error| broken(&op.node, error))?));
        }
        let mut frames = Vec::with_capacity(self.outputs.len());
        for output in &self.outputs {
            let plan = self.plan(*output, &inputs, &ops)?;
            let plan = LogicalPlanBuilder::from(plan).build().map_err(|error| broken("output", error))?;
            let mut state = context.state();
            state.config_mut().options_mut().optimizer.prefer_hash_join = self.hash_joins;
            frames.push(DataFrame::new(state, plan));
        }
        Ok(frames)
    }

    fn reason(&self) -> String {
        self.reason.clone()
    }

    fn prepare(&self, input: usize) -> Option<(Arc<dyn RowProgram>, SchemaRef)> {
        self.prepared.get(input)?.as_ref().map(|prepared| (prepared.program.clone(), prepared.schema.clone()))
    }

    fn gates_of_input(&self, input: usize) -> &[usize] {
        self.gates.inputs.get(input).map_or(&[], Vec::as_slice)
    }

    fn gates_of_output(&self, output: usize) -> &[usize] {
        self.gates.outputs.get(output).map_or(&[], Vec::as_slice)
    }
}

impl QueryProgram {
    fn check_gates(&self, op: usize) -> CheckGates {
        let (before, after) = self.gates.checks.get(&op).cloned().unwrap_or_default();
        CheckGates { before, after, aside: self.graph.gate_of(&self.graph.ops[op].node) }
    }

    /// Whether `end` is `op` or reads from it through single inputs.
    fn leads_to(&self, op: usize, end: usize) -> bool {
        let mut at = end;
        loop {
            if at == op {
                return true;
            }
            match self.graph.ops[at].inputs.as_slice() {
                [Upstream::Op(before)] => at = *before,
                _ => return false,
            }
        }
    }
}

fn same_shape(left: &arrow::datatypes::Schema, right: &arrow::datatypes::Schema) -> bool {
    left.fields().len() == right.fields().len()
        && left.fields().iter().zip(right.fields()).all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type())
}

fn broken(place: &str, error: DataFusionError) -> Error {
    Error::new("WEIR-RUN-051", Kind::Internal, "the planned query does not fit the tables of this run")
        .at(place.to_string())
        .caused_by(error)
        .hint("did the schema of a source change since the plan was made? run it again")
}
