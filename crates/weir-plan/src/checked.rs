//! Exact arithmetic: decimal literals beside decimals, and integer `+ - *` that fail instead of wrapping around.
//!
//! `amount * 1.2` over a decimal column is a decimal: [`DecimalLiterals`] gives the literal the digits that were written before
//! types are coerced. Beside floating point a literal stays what SQL says. `round` of a decimal is exact, half away from zero, with as many
//! digits behind the point as it is told, at most those that there are.
//!
//! DataFusion computes with wrapping integers: `9223372036854775807 + 1` is silently negative. This analyser rule replaces the
//! operators by checked functions wherever both sides are the same integer type after coercion. Decimals are checked already,
//! floating point has infinity. `sum` is in `checked_sum`.

use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::analyzer::AnalyzerRule;
use datafusion::physical_expr_common::datum::apply;

/// The rule.
#[derive(Debug)]
pub(crate) struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        everywhere(plan, rewrite)
    }
}

/// Rewrites every expression of a plan and its sub-queries, keeping the names of columns.
fn everywhere(plan: LogicalPlan, rewrite: impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| {
        let mut schema = merge_schema(&plan.inputs());
        if let LogicalPlan::TableScan(scan) = &plan {
            schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
        }
        let preserver = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = preserver.save(&expr);
            Ok(expr.transform_up(|expr| rewrite(expr, &schema))?.update_data(|expr| name.restore(expr)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    })
    .map(|done| done.data)
}

/// The rule that makes a literal with a point a decimal where it meets one.
#[derive(Debug)]
pub(crate) struct DecimalLiterals;

impl AnalyzerRule for DecimalLiterals {
    fn name(&self) -> &str {
        "decimal_literals"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        everywhere(plan, |expr, schema| beside_decimals(expr, schema)?.transform_data(|expr| digits_of_round(expr, schema)))
    }
}

/// Functions that give one of their arguments back: these must agree in type.
const CHOOSING: [&str; 7] = ["coalesce", "nullif", "nvl", "nvl2", "greatest", "least", "ifnull"];

fn beside_decimals(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let meets = match &expr {
        Expr::BinaryExpr(_) | Expr::Between(_) | Expr::InList(_) | Expr::Case(_) => true,
        Expr::ScalarFunction(function) => CHOOSING.contains(&function.name()),
        _ => false,
    };
    if !meets {
        return Ok(Transformed::no(expr));
    }
    let (mut decimal, mut float) = (false, false);
    expr.apply_children(|child| {
        if !is_float_literal(child)
            && let Ok(data_type) = child.get_type(schema)
        {
            decimal |= data_type.is_decimal();
            float |= data_type.is_floating();
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !decimal || float {
        return Ok(Transformed::no(expr));
    }
    expr.map_children(|child| {
        Ok(match &child {
            Expr::Literal(ScalarValue::Float64(Some(value)), metadata) => match written(*value) {
                Some(decimal) => Transformed::yes(Expr::Literal(decimal, metadata.clone())),
                None => Transformed::no(child),
            },
            _ => Transformed::no(child),
        })
    })
}

/// The type of a rounded decimal depends on the number of digits, so that must be the same number in every plan that is made of this one: a literal
/// that no coercion puts a cast around.
fn digits_of_round(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(mut function) = expr else { return Ok(Transformed::no(expr)) };
    let of_decimal = function.name() == "round" && function.args[0].get_type(schema).is_ok_and(|of| of.is_decimal());
    let Some(digits) = function.args.get_mut(1).filter(|_| of_decimal) else {
        return Ok(Transformed::no(Expr::ScalarFunction(function)));
    };
    let number = match digits {
        Expr::Literal(value, _) if value.data_type().is_integer() => value.cast_to(&DataType::Int32).ok(),
        _ => None,
    };
    match number {
        Some(number) if !number.is_null() => {
            *digits = Expr::Literal(number, None);
            Ok(Transformed::yes(Expr::ScalarFunction(function)))
        }
        _ => plan_err!(
            "round of a decimal takes the digits behind the point as a whole number, as in round(amount, 2), not {digits}"
        ),
    }
}

fn is_float_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Float64(_), _))
}

/// The decimal that was written, if the shortest text of the double has so few digits that it must be it.
fn written(value: f64) -> Option<ScalarValue> {
    const CERTAIN_DIGITS: usize = 15;
    let text = format!("{value}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = whole.trim_start_matches('-').trim_start_matches('0').len() + fraction.len();
    if !value.is_finite() || digits > CERTAIN_DIGITS {
        return None;
    }
    let unscaled: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = i8::try_from(fraction.len()).ok()?;
    Some(ScalarValue::Decimal128(Some(unscaled), u8::try_from(digits.max(fraction.len()).max(1)).ok()?, scale))
}

fn rewrite(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if let Expr::Negative(inner) = &expr
        && let Ok(of) = inner.get_type(schema)
        && of.is_integer()
    {
        // The smallest integer has no opposite.
        let zero = Expr::Literal(ScalarValue::new_zero(&of)?, None);
        return Ok(Transformed::yes(call(Op::Subtract, zero, Expr::clone(inner))));
    }
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return Ok(Transformed::no(expr)) };
    let checked = match op {
        Operator::Plus => Some(Op::Add),
        Operator::Minus => Some(Op::Subtract),
        Operator::Multiply => Some(Op::Multiply),
        _ => None,
    };
    if let Some(checked) = checked
        // An expression whose type cannot be told here (an outer reference) keeps the plain operator.
        && let (Ok(left_type), Ok(right_type)) = (left.get_type(schema), right.get_type(schema))
        && left_type.is_integer()
        && left_type == right_type
    {
        return Ok(Transformed::yes(call(checked, *left, *right)));
    }
    Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })))
}

fn call(op: Op, left: Expr, right: Expr) -> Expr {
    let function = std::sync::Arc::new(ScalarUDF::from(Checked::new(op)));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![left, right]))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Op {
    Add,
    Subtract,
    Multiply,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Op,
    signature: Signature,
}

impl Checked {
    fn new(op: Op) -> Self {
        Self { op, signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.op {
            Op::Add => "checked_add",
            Op::Subtract => "checked_subtract",
            Op::Multiply => "checked_multiply",
        }
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Field::new(self.name(), args.arg_fields[0].data_type().clone(), nullable).into())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else { return exec_err!("{} takes two arguments", self.name()) };
        apply(left, right, |left, right| match self.op {
            Op::Add => numeric::add(left, right),
            Op::Subtract => numeric::sub(left, right),
            Op::Multiply => numeric::mul(left, right),
        })
    }
}
