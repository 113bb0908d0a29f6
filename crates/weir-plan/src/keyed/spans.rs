//! What the columns of a plan have to do with event time, and the windows of a batch as those of a stream.
//!
//! In a batch every row comes once for each of its windows, and a session is found by looking at the rows around. A stream does neither:
//! its rows have the **slice** of windows that they are in, or their own time, and the operator knows the windows. So below the operator an
//! edge of a window is not yet what it will be, and nothing may be computed from it: it is only there to be grouped by.

use std::collections::BTreeSet;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, ScalarUDF, Unnest, Window};

use crate::chain::OWN;
use crate::program::row::row_wise;
use crate::transforms::{Assign, Part, Shape};

/// The function for the last moment of a window, from its end.
const LAST: &str = "__weir_window_time";

/// What is known about a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Means {
    /// The event time itself.
    Time,
    /// A window of a time, as a struct.
    Window(Assign, OfTime),
    Start(Assign, OfTime),
    End(Assign, OfTime),
    Last(Assign, OfTime),
    /// Computed from an edge that is not yet what it will be.
    Spoilt,
    /// The result of an operator: what is computed from it is what the plan means.
    Given,
}

/// Whether a window is one of the event time.
pub(super) type OfTime = bool;

impl Means {
    /// Whether the value is not what the plan means by it.
    pub(super) fn unfinished(&self) -> bool {
        match self {
            Self::Time | Self::Given => false,
            Self::Window(assign, _) | Self::Start(assign, _) | Self::End(assign, _) | Self::Last(assign, _) => match assign.shape
            {
                Shape::Hop { size, step } => size != step,
                Shape::Cumulate { .. } | Shape::Session { .. } => true,
            },
            Self::Spoilt => true,
        }
    }
}

/// What an expression over columns that mean something means itself.
pub(super) fn meaning(expr: &Expr, schema: &DFSchema, below: &[Option<Means>]) -> Option<Means> {
    let found = match expr {
        Expr::Alias(alias) => return meaning(&alias.expr, schema, below),
        Expr::Column(column) => return below.get(schema.maybe_index_of_column(column)?).cloned().flatten(),
        Expr::ScalarFunction(function) => of_function(function, schema, below),
        _ => None,
    };
    found.or_else(|| spoils(expr, schema, below).then_some(Means::Spoilt))
}

fn of_function(function: &ScalarFunction, schema: &DFSchema, below: &[Option<Means>]) -> Option<Means> {
    let inner = meaning(function.args.first()?, schema, below);
    if let Some(assign) = function.func.inner().downcast_ref::<Assign>() {
        return Some(match inner {
            // The window of a session, from its own edge.
            Some(Means::Start(session, of_time)) if session.shape == assign.shape => Means::Window(assign.clone(), of_time),
            // The end of a session that is there.
            Some(Means::Given) if matches!(assign.shape, Shape::Session { .. }) => Means::Given,
            inner => Means::Window(assign.clone(), inner == Some(Means::Time)),
        });
    }
    if let (LAST, Some(Means::End(assign, of_time))) = (function.name(), &inner) {
        return Some(Means::Last(assign.clone(), *of_time));
    }
    let part = function.func.inner().downcast_ref::<Part>()?;
    match (inner?, part.name.as_str()) {
        (Means::Given, _) => Some(Means::Given),
        (Means::Window(assign, of_time), "start") => Some(Means::Start(assign, of_time)),
        (Means::Window(assign, of_time), "end") => Some(Means::End(assign, of_time)),
        _ => None,
    }
}

/// Whether an expression reads something unfinished. What we put there ourselves knows what it does.
pub(super) fn spoils(expr: &Expr, schema: &DFSchema, below: &[Option<Means>]) -> bool {
    let mut found = false;
    let walked = expr.apply(|part| {
        if let Expr::Column(column) = part
            && !column.name.starts_with(OWN)
            && let Some(at) = schema.maybe_index_of_column(column)
        {
            found |= below.get(at).and_then(Option::as_ref).is_some_and(Means::unfinished);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found || walked.is_err()
}

/// What is known about the columns of a plan; `base` of those of its tables, or of whatever sees rows together.
pub(super) fn means(plan: &LogicalPlan, base: &dyn Fn(&str) -> Option<Vec<Option<Means>>>) -> Vec<Option<Means>> {
    let width = plan.schema().fields().len();
    let found = match plan {
        LogicalPlan::Projection(projection) => {
            let below = means(&projection.input, base);
            projection.expr.iter().map(|expr| meaning(expr, projection.input.schema(), &below)).collect()
        }
        LogicalPlan::Filter(filter) => {
            let below = means(&filter.input, base);
            // Which rows there are would depend on it.
            match spoils(&filter.predicate, filter.input.schema(), &below) {
                true => vec![Some(Means::Spoilt); width],
                false => below,
            }
        }
        LogicalPlan::SubqueryAlias(alias) => means(&alias.input, base),
        LogicalPlan::TableScan(scan) => match (base(&scan.table_name.to_string()), &scan.projection) {
            (Some(all), Some(columns)) => columns.iter().map(|&column| all.get(column).cloned().flatten()).collect(),
            (Some(all), None) => all,
            (None, _) => Vec::new(),
        },
        _ => base("").unwrap_or_default(),
    };
    if found.len() == width { found } else { vec![None; width] }
}

/// A plan whose windows are those of a stream.
pub(super) struct Streamed {
    pub(super) plan: LogicalPlan,
    /// The columns whose values have sessions of their own, if the plan looks for sessions.
    pub(super) session_keys: Option<BTreeSet<String>>,
}

/// Rewrites lists of windows, one row for each, into the slice of a row; what looks for the session of a row into its time; and what is
/// asked of the rows of a join into its condition.
pub(super) fn streamed(plan: &LogicalPlan) -> Result<Streamed> {
    let mut session_keys = None;
    let done = plan.clone().transform_up(|node| {
        Ok(match &node {
            LogicalPlan::Unnest(unnest) => match slice(unnest)? {
                Some(sliced) => Transformed::yes(sliced),
                None => Transformed::no(node),
            },
            LogicalPlan::Window(window) => match itself(window, &mut session_keys)? {
                Some(plain) => Transformed::yes(plain),
                None => Transformed::no(node),
            },
            LogicalPlan::Filter(filter) => match conditioned(filter) {
                Some(join) => Transformed::yes(join),
                None => Transformed::no(node),
            },
            _ => Transformed::no(node),
        })
    })?;
    Ok(Streamed { plan: done.data, session_keys })
}

/// `FROM a, b WHERE …` is a join whose condition stands behind it: here it is the join's own.
fn conditioned(filter: &Filter) -> Option<LogicalPlan> {
    let LogicalPlan::Join(join) = filter.input.as_ref() else { return None };
    let (JoinType::Inner, true) = (join.join_type, row_wise(&filter.predicate).ok()?) else { return None };
    let predicate = filter.predicate.clone();
    let whole = join.filter.clone().map_or(predicate.clone(), |inner| inner.and(predicate));
    Some(LogicalPlan::Join(Join { filter: Some(whole), ..join.clone() }))
}

/// The input of an unnest of windows, with the slice in their place.
fn slice(unnest: &Unnest) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::Projection(projection) = unnest.input.as_ref() else { return Ok(None) };
    let mut exprs = projection.expr.clone();
    let mut found = false;
    for expr in &mut exprs {
        let Expr::Alias(alias) = expr else { continue };
        let Expr::ScalarFunction(function) = alias.expr.as_ref() else { continue };
        let Some(assign) = function.func.inner().downcast_ref::<Assign>() else { continue };
        let sliced = ScalarFunction::new_udf(ScalarUDF::from(assign.sliced()).into(), function.args.clone());
        *alias.expr = Expr::ScalarFunction(sliced);
        found = true;
    }
    match found {
        true => LogicalPlanBuilder::from(projection.input.as_ref().clone()).project(exprs)?.build().map(Some),
        false => Ok(None),
    }
}

/// Looking for sessions compares a row's time with that of others: here it is its own.
fn itself(window: &Window, keys: &mut Option<BTreeSet<String>>) -> Result<Option<LogicalPlan>> {
    let input = window.input.schema();
    let mut exprs: Vec<Expr> = input.columns().into_iter().map(Expr::Column).collect();
    for (expr, at) in window.window_expr.iter().zip(input.fields().len()..) {
        let mut inner = expr;
        while let Expr::Alias(alias) = inner {
            inner = &alias.expr;
        }
        let Expr::WindowFunction(function) = inner else { return Ok(None) };
        let Some(Expr::Column(own)) = function.params.args.first() else { return Ok(None) };
        if !own.name.starts_with(OWN) || !["lag", "sum", "min", "max"].contains(&function.fun.name()) {
            return Ok(None);
        }
        let columns = function.params.partition_by.iter().map(|expr| match expr {
            Expr::Column(column) => column.name.clone(),
            other => other.schema_name().to_string(),
        });
        keys.get_or_insert_default().extend(columns.filter(|name| !name.starts_with(OWN)));
        exprs.push(Expr::Column(own.clone()).alias(window.schema.field(at).name()));
    }
    LogicalPlanBuilder::from(window.input.as_ref().clone()).project(exprs)?.build().map(Some)
}
