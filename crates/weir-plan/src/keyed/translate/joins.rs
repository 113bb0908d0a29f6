//! Joins of a plan as operators: of two streams within a time, and of a stream with the versions of a table.
//!
//! A join with versions is known by its right side: what `crate::transforms::as_of` makes of a table, each row with the time of the next
//! one of its key. A stream does not look that up: what follows a row is not there yet, so the operator gets the rows and what is said of
//! the next time is left out of the condition.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DFSchema, NullEquality};
use datafusion::logical_expr::expr::BinaryExpr;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan, Operator};
use datafusion::physical_expr::PhysicalExpr;

use super::{Draft, Kind, Refused, Translation, query_failed, refused};
use crate::keyed::bounds::{Bounds, Sides};
use crate::keyed::intervals::{Condition, IntervalRule, Joined};
use crate::keyed::run::Rule;
use crate::keyed::shelves::Side;
use crate::keyed::spans::Means;
use crate::keyed::versions::VersionRule;
use crate::problem::{Problem, code};
use crate::program::row::{physical, row_wise};
use crate::transforms::UNTIL;

/// What a stream needs to know of a join.
const UNBOUND: &str = "a join whose condition does not bound the times of both sides";

/// A key of both sides.
type Pair = ((Arc<dyn PhysicalExpr>, FieldRef), (Arc<dyn PhysicalExpr>, FieldRef));

/// A condition in parts.
struct Parts<'a> {
    join: &'a Join,
    /// The columns of both sides, left before right.
    both: DFSchema,
    conjuncts: Vec<Expr>,
}

/// What is below a table with versions: its rows.
fn versions(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => versions(&alias.input),
        LogicalPlan::Projection(projection) => match projection.expr.last()? {
            Expr::Alias(alias) if alias.name.starts_with(UNTIL) => match projection.input.as_ref() {
                LogicalPlan::Window(window) => Some(&window.input),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

impl Parts<'_> {
    /// Whether an expression reads columns of one side only.
    fn only(&self, expr: &Expr, right: bool) -> bool {
        let side = if right { self.join.right.schema() } else { self.join.left.schema() };
        expr.column_refs().into_iter().all(|column| side.maybe_index_of_column(column).is_some())
    }

    fn condition(&self, translation: &Translation<'_>, node: &str) -> Result<Condition, Refused> {
        let whole = conjunction(self.conjuncts.iter().cloned()).unwrap_or_else(|| datafusion::logical_expr::lit(true));
        let expr = physical(translation.session, &whole, &self.both).map_err(query_failed(node))?;
        Ok(Condition { node: node.into(), expr, both: Arc::new(self.both.as_arrow().clone()) })
    }

    /// What is equal on both sides. Numbers with a fraction are left to the condition: two that are equal may have different bytes.
    fn keys(&self, translation: &Translation<'_>, node: &str) -> Result<Vec<Pair>, Refused> {
        let wrong = query_failed(node);
        let mut pairs = Vec::new();
        for conjunct in &self.conjuncts {
            let Expr::BinaryExpr(BinaryExpr { left: one, op: Operator::Eq, right: other }) = conjunct else { continue };
            let constant = one.column_refs().is_empty() || other.column_refs().is_empty();
            let (left, right) =
                match (self.only(one, false), self.only(other, true), self.only(other, false), self.only(one, true)) {
                    _ if constant => continue,
                    (true, true, ..) => (one, other),
                    (.., true, true) => (other, one),
                    _ => continue,
                };
            let side = |expr: &Expr, schema: &DFSchema| {
                let expr = physical(translation.session, expr, schema)?;
                let field = expr.return_field(schema.as_arrow())?;
                Ok::<_, datafusion::error::DataFusionError>((expr, field))
            };
            let left = side(left, self.join.left.schema()).map_err(&wrong)?;
            let right = side(right, self.join.right.schema()).map_err(&wrong)?;
            if left.1.data_type() == right.1.data_type() && is_key(left.1.data_type()) {
                pairs.push((left, right));
            }
        }
        Ok(pairs)
    }
}

fn is_key(kind: &DataType) -> bool {
    !kind.is_floating() && !kind.is_nested() && RowConverter::supports_fields(&[SortField::new(kind.clone())])
}

impl Translation<'_> {
    /// The stage that a join gives.
    pub(super) fn join(
        &mut self,
        node: &str,
        join: &Join,
        tables: &std::collections::BTreeMap<String, usize>,
    ) -> Result<usize, Refused> {
        let wrong = query_failed(node);
        if join.null_equality != NullEquality::NullEqualsNothing || join.null_aware {
            return Err(refused(node, "a join in which NULL is equal to NULL"));
        }
        let versions = versions(&join.right);
        let stages = [self.query(node, &join.left, tables)?, self.query(node, versions.unwrap_or(&join.right), tables)?];
        let both = join.left.schema().join(join.right.schema()).map_err(&wrong)?;
        let on = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
        let whole = conjunction(on.chain(join.filter.clone())).unwrap_or_else(|| datafusion::logical_expr::lit(true));
        if !row_wise(&whole).map_err(&wrong)? {
            return Err(refused(node, "a join on something that sees rows together"));
        }
        let conjuncts = split_conjunction_owned(self.session.simplified(&whole, &both).map_err(&wrong)?);
        let mut parts = Parts { join, both, conjuncts };
        if versions.is_some() {
            // How long a version is valid is what the operator knows.
            parts.conjuncts.retain(|part| !part.column_refs().iter().any(|column| column.name.starts_with(UNTIL)));
        }
        let bounds = {
            let (left, right) = (&self.drafts[stages[0]].means, &self.drafts[stages[1]].means);
            if left.iter().chain(right).flatten().any(Means::unfinished) {
                return Err(refused(node, super::EDGES));
            }
            Sides { schema: &parts.both, left, right }.bounds(&parts.conjuncts)
        };
        match versions {
            Some(_) => self.with_versions(node, &parts, bounds, stages),
            None => self.within(node, &parts, bounds, stages),
        }
    }

    /// The sides as an operator sees them.
    fn sides(&self, node: &str, stages: [usize; 2], times: (usize, usize), keys: Vec<Pair>) -> [Arc<Side>; 2] {
        let (left, right): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
        let side = |port: usize, time: usize, keys| {
            let mut late = self.graph.late.iter().filter(|(op, of)| **of == port && self.graph.ops[**op].node == node);
            let late = self.late.contains(node) && late.next().is_some();
            Arc::new(Side { node: node.into(), schema: self.drafts[stages[port]].schema.clone(), time, keys, late })
        };
        [side(0, times.0, left), side(1, times.1, right)]
    }

    fn within(&mut self, node: &str, parts: &Parts<'_>, bounds: Bounds, stages: [usize; 2]) -> Result<usize, Refused> {
        let kind = match parts.join.join_type {
            JoinType::Inner => Joined::Inner,
            JoinType::Left => Joined::Left,
            JoinType::Right => Joined::Right,
            JoinType::Full => Joined::Full,
            JoinType::LeftSemi => Joined::Semi,
            JoinType::LeftAnti => Joined::Anti,
            other => return Err(refused(node, format!("a join of the kind {other}"))),
        };
        let (Some(least), Some(most), Some(times)) = (bounds.least, bounds.most, bounds.columns) else {
            return Err(self.unbound(node, &stages));
        };
        let micros = |time: i128| i64::try_from(time).ok();
        let span = micros(least.div_euclid(1_000)).zip(micros(-(-most).div_euclid(1_000)));
        let Some(bounds) = span.filter(|(least, most)| least <= most) else {
            return Err(refused(node, "a join whose bounds of time leave nothing between them"));
        };
        let rule = IntervalRule {
            node: node.into(),
            kind,
            sides: self.sides(node, stages, times, parts.keys(self, node)?),
            bounds,
            condition: parts.condition(self, node)?,
            output: Arc::new(parts.join.schema.as_arrow().clone()),
        };
        let left = !matches!(kind, Joined::Right | Joined::Full);
        let right = matches!(kind, Joined::Inner | Joined::Right);
        let delay = rule.delay();
        let output = rule.output.clone();
        Ok(self.joined(node, Arc::new(rule), stages, output, [left, right], delay))
    }

    fn with_versions(&mut self, node: &str, parts: &Parts<'_>, bounds: Bounds, stages: [usize; 2]) -> Result<usize, Refused> {
        let outer = match parts.join.join_type {
            JoinType::Inner => false,
            JoinType::Left => true,
            other => return Err(refused(node, format!("a join of the kind {other} with versions"))),
        };
        // The version is not later than the row; what else is asked about the times is asked of the version that was found.
        let (Some(..=0), Some(times)) = (bounds.most, bounds.columns) else { return Err(self.unbound(node, &stages)) };
        let keys = parts.keys(self, node)?;
        if keys.is_empty() {
            return Err(refused(node, "versions of a table without a key that a stream can look up"));
        }
        let right: &SchemaRef = &self.drafts[stages[1]].schema;
        if let Some(field) =
            right.fields().iter().find(|field| !RowConverter::supports_fields(&[SortField::new(field.data_type().clone())]))
        {
            let kind = crate::types::show(field.data_type());
            return Err(refused(node, format!("versions with `{}`, which is {kind}", field.name())));
        }
        let valid = parts.conjuncts.iter().filter(|part| !part.column_refs().is_empty() && parts.only(part, true)).cloned();
        let valid = conjunction(valid).map(|valid| physical(self.session, &valid, parts.join.right.schema()));
        let rule = VersionRule {
            node: node.into(),
            outer,
            sides: self.sides(node, stages, times, keys),
            valid: valid.transpose().map_err(query_failed(node))?,
            condition: parts.condition(self, node)?,
            output: Arc::new(parts.join.schema.as_arrow().clone()),
        };
        let output = rule.output.clone();
        Ok(self.joined(node, Arc::new(rule), stages, output, [true, false], 0))
    }

    /// Why a join is not bounded.
    fn unbound(&self, node: &str, stages: &[usize; 2]) -> Refused {
        let timed = |stage: &usize| self.drafts[*stage].means.contains(&Some(Means::Time));
        if !stages.iter().all(timed) {
            let problem =
                Problem::new(code::EVENT_TIME, format!("`{node}` needs to know the time of the rows of both its inputs")).help(
                    "say `event_time: {column: ts, max_lateness_ms: 5000}` on both sources, or put a `watermark` before it",
                );
            return (node.to_string(), problem);
        }
        let (node, problem) = refused(node, UNBOUND);
        let help = "bound the event times of both sides: `within` on the `join`, or in SQL `a.ts BETWEEN b.ts - INTERVAL '10' SECOND AND \
                    b.ts`; for the version of a table that was valid then: `as_of`, or FOR SYSTEM_TIME AS OF";
        (node, problem.help(help))
    }

    /// The stages of an operator with two inputs; `timed`: the sides whose times are those of what it gives.
    fn joined(
        &mut self,
        node: &str,
        rule: Arc<dyn Rule>,
        stages: [usize; 2],
        schema: SchemaRef,
        timed: [bool; 2],
        delay: i64,
    ) -> usize {
        self.rules.push(rule);
        let rule = self.rules.len() - 1;
        self.windows.insert(node.into(), rule);
        let mut means: Vec<Option<Means>> = Vec::new();
        let mut before = 0;
        for (port, from) in stages.into_iter().enumerate() {
            let side = &self.drafts[from];
            let time = |means: &Option<Means>| means.clone().filter(|means| timed[port] && *means == Means::Time);
            means.extend(side.means.iter().map(time));
            before = before.max(side.delay);
            let (schema, delay, width) = (side.schema.clone(), side.delay, side.means.len());
            let kind = Kind::Enter { from, rule, port };
            self.draft(Draft { node: node.into(), kind, schema, means: vec![None; width], delay });
        }
        means.resize(schema.fields().len(), None);
        let delay = before.saturating_add(delay);
        self.draft(Draft { node: node.into(), kind: Kind::Exit { rule }, schema, means, delay })
    }
}
