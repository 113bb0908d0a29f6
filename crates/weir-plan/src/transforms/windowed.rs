//! What the window functions of SQL give (`crate::sql::windows` reads them): every row once for each of its windows, with `window_start`, `window_end`
//! and `window_time`. The windows are those of the `window` transform, made by the same functions.

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Column, ExprSchema, UnnestOptions, plan_err};
use datafusion::error::Result;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::functions_window::expr_fn::lag;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    WindowFrame,
};

use super::part::part;
pub(crate) use super::window::Shape;
use super::window::{Apart, Assign, END, MOST_WINDOWS, Nulls, START, call, in_unit, numbers, signature, times};
use crate::chain::OWN;
use crate::types::show;

const TIME: &str = "window_time";

/// Refuses windows, in microseconds, that cannot be.
pub(crate) fn checked(shape: Shape, function: &str) -> std::result::Result<(), String> {
    let (spans, whole) = match shape {
        Shape::Hop { size, step } | Shape::Cumulate { size, step } => ([size, step], Some((size, step))),
        Shape::Session { gap } => ([gap, gap], None),
    };
    if spans.iter().any(|span| *span <= 0) {
        return Err(format!("the intervals of {function} are longer than nothing"));
    }
    match whole {
        Some((size, step)) if size % step != 0 => {
            let step_is = if matches!(shape, Shape::Cumulate { .. }) { "step" } else { "slide" };
            Err(format!("the size of {function} is no multiple of its {step_is}"))
        }
        Some((size, step)) if size / step > MOST_WINDOWS => Err(format!("every row would be in {} windows", size / step)),
        _ => Ok(()),
    }
}

/// The windows in the unit of the column with the time.
pub(crate) fn fits(input: &LogicalPlan, shape: Shape, offset: i64, at: &Column) -> std::result::Result<(Shape, i64), String> {
    let time = input.schema().field_from_column(at).map_err(|error| error.strip_backtrace())?.data_type();
    let DataType::Timestamp(unit, _) = time else {
        return Err(format!("`{}` is {}, no timestamp: CAST it in a sub-query before", at.name, show(time)));
    };
    match (shape.in_unit(*unit), in_unit(offset, *unit)) {
        (Some(shape), Some(offset)) => Ok((shape, offset)),
        _ => Err(format!("`{}` has no such fractions: it is {}", at.name, show(time))),
    }
}

/// The rows of `input` with their windows, which are in the unit of the column `at`. `partition` is for sessions.
///
/// A row without a time ends the run: it has no window, and leaving it out is said with `WHERE`.
pub(crate) fn table(input: LogicalPlan, shape: Shape, offset: i64, at: &Column, partition: &[Column]) -> Result<LogicalPlan> {
    let names: Vec<String> = input.schema().columns().into_iter().map(|column| column.name).collect();
    if let Some(name) = [START, END, TIME].into_iter().find(|name| names.iter().any(|known| known == name)) {
        return plan_err!("the table has a column `{name}` already: give it another name with AS");
    }
    let assign = Assign { shape, offset, nulls: Nulls::Error, lateness: 0, slices: false, signature: signature(1) };
    let time = Expr::Column(at.clone());
    match shape {
        Shape::Session { gap } => session(input, assign, gap, time, partition),
        _ if assign.one() => {
            let window = call(assign, vec![time]);
            with(input, part(window.clone(), "start"), part(window, "end"))
        }
        _ => {
            let element = format!("{OWN}element");
            let columns = input.schema().columns();
            let mut listed: Vec<Expr> = columns.iter().cloned().map(Expr::Column).collect();
            listed.push(call(assign, vec![time]).alias(&element));
            let element = Column::from_name(element);
            let options = UnnestOptions { preserve_nulls: false, recursions: Vec::new() };
            let each =
                LogicalPlanBuilder::from(input).project(listed)?.unnest_column_with_options(element.clone(), options)?.build()?;
            let of = |name: &str| part(Expr::Column(element.clone()), name);
            spread(each, &columns, of("start"), of("end"))
        }
    }
}

fn with(input: LogicalPlan, start: Expr, end: Expr) -> Result<LogicalPlan> {
    let columns = input.schema().columns();
    spread(input, &columns, start, end)
}

/// The columns and the window's.
fn spread(input: LogicalPlan, columns: &[Column], start: Expr, end: Expr) -> Result<LogicalPlan> {
    let mut after: Vec<Expr> = columns.iter().cloned().map(Expr::Column).collect();
    let last = call(Last { signature: signature(1) }, vec![end.clone()]);
    after.extend([start.alias(START), end.alias(END), last.alias(TIME)]);
    LogicalPlanBuilder::from(input).project(after)?.build()
}

/// Sessions as the transform finds them, but each row stays: its session begins with the first and ends after the last of its number.
fn session(input: LogicalPlan, assign: Assign, gap: i64, time: Expr, partition: &[Column]) -> Result<LogicalPlan> {
    let columns = input.schema().columns();
    let keys: Vec<Expr> = partition.iter().cloned().map(Expr::Column).collect();
    let own = |name: &str| format!("{OWN}{name}");
    let of = |name: &str| Expr::Column(Column::from_name(own(name)));
    // Adds a column.
    let add = |plan: LogicalPlan, expr: Expr, name: &str| {
        let mut after: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        after.push(expr.alias(own(name)));
        LogicalPlanBuilder::from(plan).project(after)?.build()
    };
    // Adds a column that is computed over other rows.
    let over = |plan: LogicalPlan, expr: Expr, name: &str| {
        let before = plan.schema().columns();
        let plan = LogicalPlanBuilder::from(plan).window(vec![expr])?.build()?;
        let mut after: Vec<Expr> = before.into_iter().map(Expr::Column).collect();
        after.extend(plan.schema().columns().last().cloned().map(|column| Expr::Column(column).alias(own(name))));
        LogicalPlanBuilder::from(plan).project(after)?.build()
    };
    let order = || vec![of("time").sort(true, false)];
    let plan = add(input, part(call(assign.clone(), vec![time]), "start"), "time")?;
    let before = lag(of("time"), Some(1), None).partition_by(keys.clone()).order_by(order()).build()?;
    let plan = over(plan, before, "before")?;
    let plan = add(plan, call(Apart { gap, signature: signature(2) }, vec![of("before"), of("time")]), "first")?;
    // The frame is by value, so rows of one time get one number whichever of them is the first.
    let frame = WindowFrame::new(Some(false));
    let number = Expr::from(WindowFunction::new(sum_udaf(), vec![of("first")]));
    let number = number.partition_by(keys.clone()).order_by(order()).window_frame(frame).build()?;
    let plan = over(plan, number, "number")?;
    let same: Vec<Expr> = keys.into_iter().chain([of("number")]).collect();
    let from = Expr::from(WindowFunction::new(min_udaf(), vec![of("time")])).partition_by(same.clone()).build()?;
    let to = Expr::from(WindowFunction::new(max_udaf(), vec![of("time")])).partition_by(same).build()?;
    let plan = over(over(plan, from, "from")?, to, "to")?;
    let window = |name: &str| call(assign.clone(), vec![of(name)]);
    spread(plan, &columns, part(window("from"), "start"), part(window("to"), "end"))
}

/// The last moment of a window, from its end: a millisecond before, as Flink counts, or a second where the type has none.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Last {
    signature: Signature,
}

impl ScalarUDFImpl for Last {
    fn name(&self) -> &str {
        "__weir_window_time"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ends: ArrayRef = args.args[0].to_array(args.number_rows)?;
        let step = match ends.data_type() {
            DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, _) => 1,
            DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => 1_000_000,
            other => return plan_err!("{other} is no timestamp"),
        };
        // A window's end is after its row's time, so a step back stays in the range of the type.
        let last: Int64Array = numbers(&ends)?.unary(|end: i64| end.saturating_sub(step));
        Ok(ColumnarValue::Array(times(last, ends.data_type())?))
    }
}
