//! A checked cast of some columns, as a step of a row-local program and as a function of a relational one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use weir_error::{Error, Kind, Result};

use crate::chain::CastColumn;
use crate::convert::{convert, explain};
use crate::transforms::{OnError, Policy};
use crate::types::TypeWord;

/// Casts columns of batches of one schema.
#[derive(Debug)]
pub(crate) struct CheckedCast {
    node: String,
    columns: Vec<CastColumn>,
    pub(crate) policy: Policy,
    schema: SchemaRef,
}

/// A batch after the cast. Rows in `dead` hold NULL where a value failed; whoever gets this takes them out.
pub(crate) struct Cast {
    pub(crate) columns: Vec<ArrayRef>,
    /// Rows that failed with what was wrong, ascending.
    pub(crate) dead: Vec<(usize, String)>,
}

impl CheckedCast {
    pub(crate) fn new(node: &str, columns: Vec<CastColumn>, policy: Policy, schema: SchemaRef) -> Self {
        Self { node: node.into(), columns, policy, schema }
    }

    /// The schema after the cast.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns that it casts.
    pub(crate) fn casts(&self) -> impl Iterator<Item = usize> {
        self.columns.iter().map(|cast| cast.index)
    }

    /// The node, for messages.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// Whether a failure sets its row aside.
    pub(crate) fn sets_aside(&self) -> bool {
        matches!(self.policy.on_error, None | Some(OnError::DeadLetter))
    }

    pub(crate) fn apply(&self, batch: &RecordBatch) -> Result<Cast> {
        let mut columns = batch.columns().to_vec();
        let mut dead: Vec<(usize, String)> = Vec::new();
        for CastColumn { index, to } in &self.columns {
            let name = self.schema.field(*index).name();
            let before = columns[*index].clone();
            let done = convert(&before, to, self.policy.accept_loss).map_err(|error| {
                Error::internal(format!("`{name}` cannot be cast")).at(format!("node `{}`", self.node)).caused_by(error)
            })?;
            columns[*index] = done.values;
            let told = |(row, failure)| (row, format!("{name}: {}", explain(&before, row, failure, to)));
            match self.policy.on_error {
                Some(OnError::Null) => {}
                Some(OnError::Error) => {
                    if let Some((_, reason)) = done.failures.into_iter().map(told).next() {
                        return Err(refused(&self.node, reason));
                    }
                }
                None | Some(OnError::DeadLetter) => dead.extend(done.failures.into_iter().map(told)),
            }
        }
        dead.sort_by_key(|(row, _)| *row);
        dead.dedup_by(|later, first| {
            let same = later.0 == first.0;
            if same {
                first.1.push_str("; ");
                first.1.push_str(&later.1);
            }
            same
        });
        Ok(Cast { columns, dead })
    }

    /// The same cast over a plan. Rows cannot be set aside there: a failure is NULL or ends the run.
    pub(crate) fn over(&self, input: LogicalPlan) -> datafusion::error::Result<LogicalPlan> {
        let columns: Vec<Expr> = input
            .schema()
            .columns()
            .into_iter()
            .enumerate()
            .map(|(index, column)| match self.columns.iter().find(|cast| cast.index == index) {
                Some(cast) => {
                    let name = column.name.clone();
                    let function = CastFunction {
                        node: self.node.clone(),
                        column: name.clone(),
                        to: cast.to.clone(),
                        accept_loss: self.policy.accept_loss,
                        nulls: self.policy.on_error == Some(OnError::Null),
                        signature: Signature::any(1, Volatility::Immutable),
                    };
                    let function = Arc::new(ScalarUDF::from(function));
                    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![Expr::Column(column)])).alias(name)
                }
                None => Expr::Column(column),
            })
            .collect();
        LogicalPlanBuilder::from(input).project(columns)?.build()
    }
}

fn refused(node: &str, reason: String) -> Error {
    Error::new("WEIR-ROW-001", Kind::Data, "a value does not convert")
        .at(format!("node `{node}`"))
        .because(reason)
        .hint("use `on_error: dead_letter` or `null`, or correct the value at the source")
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CastFunction {
    node: String,
    column: String,
    to: TypeWord,
    accept_loss: bool,
    nulls: bool,
    signature: Signature,
}

impl ScalarUDFImpl for CastFunction {
    fn name(&self) -> &str {
        "checked_cast"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> datafusion::error::Result<DataType> {
        Ok(self.to.data_type.clone())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::error::Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let done = convert(&arrays[0], &self.to, self.accept_loss)?;
        match done.failures.first() {
            Some((row, failure)) if !self.nulls => {
                let reason = format!("{}: {}", self.column, explain(&arrays[0] as &dyn Array, *row, *failure, &self.to));
                Err(DataFusionError::External(Box::new(refused(&self.node, reason))))
            }
            _ => Ok(ColumnarValue::Array(done.values)),
        }
    }
}
