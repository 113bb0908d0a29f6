//! Which source columns a query's output columns depend on, read off the logical plan.
//!
//! Only what the *value* depends on counts: the columns of a filter or of a join condition decide which rows there are, not
//! what is in them. Where a plan node is not understood, every column below it counts: too much rather than too little.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::error::Result;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Subquery};
use datafusion::sql::unparser::expr_to_sql;

/// A column of one of the query's tables: (table, column).
pub(crate) type Cell = (usize, usize);

/// Where one output column comes from.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Origin {
    /// Every column that the value depends on.
    pub(crate) from: BTreeSet<Cell>,
    /// Set if the value is that column, unchanged (or NULL, after an outer join).
    pub(crate) same: Option<Cell>,
    /// How it is computed, over unqualified columns; `None` if it is a column.
    expr: Option<Expr>,
}

impl Origin {
    fn column(cell: Cell) -> Self {
        Self { from: BTreeSet::from([cell]), same: Some(cell), expr: None }
    }

    fn computed(from: BTreeSet<Cell>) -> Self {
        Self { from, same: None, expr: None }
    }

    /// The expression as SQL, if the column is computed.
    pub(crate) fn text(&self) -> Option<String> {
        let expr = self.expr.as_ref()?;
        let text = expr_to_sql(expr).map_or_else(|_| expr.to_string(), |sql| sql.to_string());
        Some(bare(&text))
    }
}

/// Drops the quotes around words that need none, which the unparser always writes.
fn bare(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(start) = rest.find('"') {
        text.push_str(&rest[..start]);
        let inner = &rest[start + 1..];
        let Some(end) = inner.find('"') else {
            rest = &rest[start..];
            break;
        };
        let word = &inner[..end];
        let plain = word.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if plain {
            text.push_str(word);
        } else {
            text.push('"');
            text.push_str(word);
            text.push('"');
        }
        rest = &inner[end + 1..];
    }
    text.push_str(rest);
    text
}

/// The origins of a plan's columns, in the order of its schema. `scans` says which table a scanned name means.
pub(crate) fn origins(plan: &LogicalPlan, scans: &BTreeMap<String, usize>) -> Result<Vec<Origin>> {
    let found = match plan {
        LogicalPlan::TableScan(scan) => match scans.get(&scan.table_name.to_string()) {
            Some(&table) => match &scan.projection {
                Some(projection) => projection.iter().map(|&column| Origin::column((table, column))).collect(),
                None => (0..scan.source.schema().fields().len()).map(|column| Origin::column((table, column))).collect(),
            },
            // The work table of a recursive query: its columns are counted at the query itself.
            None => vec![Origin::default(); plan.schema().fields().len()],
        },
        LogicalPlan::Projection(projection) => {
            let below = origins(&projection.input, scans)?;
            of_all(&projection.expr, projection.input.schema(), &below, scans)?
        }
        LogicalPlan::Filter(filter) => origins(&filter.input, scans)?,
        LogicalPlan::Sort(sort) => origins(&sort.input, scans)?,
        LogicalPlan::Limit(limit) => origins(&limit.input, scans)?,
        LogicalPlan::Repartition(repartition) => origins(&repartition.input, scans)?,
        LogicalPlan::SubqueryAlias(alias) => origins(&alias.input, scans)?,
        LogicalPlan::Subquery(subquery) => origins(&subquery.subquery, scans)?,
        LogicalPlan::Distinct(Distinct::All(input)) => origins(input, scans)?,
        LogicalPlan::Distinct(Distinct::On(on)) => {
            let below = origins(&on.input, scans)?;
            of_all(&on.select_expr, on.input.schema(), &below, scans)?
        }
        LogicalPlan::Aggregate(aggregate) => {
            let below = origins(&aggregate.input, scans)?;
            let schema = aggregate.input.schema();
            let grouped = grouping_set_to_exprlist(&aggregate.group_expr)?;
            let mut all = Vec::new();
            for expr in grouped {
                all.push(of(expr, schema, &below, scans)?);
            }
            if matches!(aggregate.group_expr.first(), Some(Expr::GroupingSet(_))) {
                all.push(Origin::default());
            }
            all.extend(of_all(&aggregate.aggr_expr, schema, &below, scans)?);
            all
        }
        LogicalPlan::Window(window) => {
            let below = origins(&window.input, scans)?;
            let mut all = below.clone();
            all.extend(of_all(&window.window_expr, window.input.schema(), &below, scans)?);
            all
        }
        LogicalPlan::Join(join) => {
            let (left, right) = (origins(&join.left, scans)?, origins(&join.right, scans)?);
            match join.join_type {
                JoinType::LeftSemi | JoinType::LeftAnti => left,
                JoinType::RightSemi | JoinType::RightAnti => right,
                JoinType::LeftMark | JoinType::RightMark => {
                    let mark = Origin::computed(left.iter().chain(&right).flat_map(|origin| origin.from.clone()).collect());
                    let mut kept = if join.join_type == JoinType::LeftMark { left } else { right };
                    kept.push(mark);
                    kept
                }
                _ => left.into_iter().chain(right).collect(),
            }
        }
        LogicalPlan::Union(union) => {
            let mut inputs = union.inputs.iter();
            let mut all = match inputs.next() {
                Some(first) => origins(first, scans)?,
                None => Vec::new(),
            };
            for input in inputs {
                for (origin, other) in all.iter_mut().zip(origins(input, scans)?) {
                    if origin.same != other.same || origin.same.is_none() {
                        origin.same = None;
                        if origin.expr != other.expr {
                            origin.expr = None;
                        }
                    }
                    origin.from.extend(other.from);
                }
            }
            all
        }
        LogicalPlan::Unnest(unnest) => {
            let below = origins(&unnest.input, scans)?;
            let lists: BTreeSet<usize> = unnest.list_type_columns.iter().map(|(index, _)| *index).collect();
            let structs: BTreeSet<usize> = unnest.struct_type_columns.iter().copied().collect();
            unnest
                .dependency_indices
                .iter()
                .map(|index| match below.get(*index) {
                    Some(origin) if lists.contains(index) || structs.contains(index) => Origin::computed(origin.from.clone()),
                    Some(origin) => origin.clone(),
                    None => Origin::default(),
                })
                .collect()
        }
        LogicalPlan::RecursiveQuery(query) => {
            let below = everything(&query.recursive_term, scans)?;
            origins(&query.static_term, scans)?
                .into_iter()
                .map(|origin| Origin::computed(origin.from.into_iter().chain(below.iter().copied()).collect()))
                .collect()
        }
        LogicalPlan::EmptyRelation(_) => vec![Origin::default(); plan.schema().fields().len()],
        LogicalPlan::Values(values) => vec![Origin::default(); values.schema.fields().len()],
        other => vec![Origin::computed(everything(other, scans)?); other.schema().fields().len()],
    };
    Ok(found)
}

/// Every column of every table under a plan.
fn everything(plan: &LogicalPlan, scans: &BTreeMap<String, usize>) -> Result<BTreeSet<Cell>> {
    let mut all = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(_) = node {
            all.extend(origins(node, scans)?.into_iter().flat_map(|origin| origin.from));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(all)
}

fn of_all(exprs: &[Expr], schema: &DFSchema, below: &[Origin], scans: &BTreeMap<String, usize>) -> Result<Vec<Origin>> {
    exprs.iter().map(|expr| of(expr, schema, below, scans)).collect()
}

fn of(expr: &Expr, schema: &DFSchema, below: &[Origin], scans: &BTreeMap<String, usize>) -> Result<Origin> {
    let at = |column: &Column| schema.maybe_index_of_column(column).and_then(|index| below.get(index));
    let mut inner = expr;
    while let Expr::Alias(alias) = inner {
        inner = &alias.expr;
    }
    if let Expr::Column(column) = inner {
        return Ok(at(column).cloned().unwrap_or_default());
    }
    let mut from = BTreeSet::new();
    inner.apply(|part| {
        match part {
            Expr::Column(column) => from.extend(at(column).into_iter().flat_map(|origin| origin.from.iter().copied())),
            Expr::ScalarSubquery(subquery) => from.extend(of_subquery(subquery, &at, scans)?),
            Expr::InSubquery(inside) => from.extend(of_subquery(&inside.subquery, &at, scans)?),
            Expr::SetComparison(inside) => from.extend(of_subquery(&inside.subquery, &at, scans)?),
            Expr::Exists(inside) => from.extend(of_subquery(&inside.subquery, &at, scans)?),
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(Origin { from, same: None, expr: Some(readable(inner, schema, below)?) })
}

fn of_subquery<'a>(
    subquery: &Subquery,
    at: &impl Fn(&Column) -> Option<&'a Origin>,
    scans: &BTreeMap<String, usize>,
) -> Result<BTreeSet<Cell>> {
    let mut from: BTreeSet<Cell> = origins(&subquery.subquery, scans)?.into_iter().flat_map(|origin| origin.from).collect();
    for outer in &subquery.outer_ref_columns {
        if let Expr::OuterReferenceColumn(_, column) = outer {
            from.extend(at(column).into_iter().flat_map(|origin| origin.from.iter().copied()));
        }
    }
    Ok(from)
}

/// The expression with what lies below written in, and without table names.
fn readable(expr: &Expr, schema: &DFSchema, below: &[Origin]) -> Result<Expr> {
    // Writing a long expression into another could grow without end.
    const LARGE: usize = 24;
    let done = expr.clone().transform_up(|part| {
        let Expr::Column(column) = &part else { return Ok(Transformed::no(part)) };
        let inner = schema.maybe_index_of_column(column).and_then(|index| below.get(index)).and_then(|o| o.expr.clone());
        Ok(Transformed::yes(match inner {
            Some(inner) if size(&inner)? <= LARGE => inner,
            _ => Expr::Column(Column::new_unqualified(column.name.clone())),
        }))
    })?;
    Ok(done.data)
}

fn size(expr: &Expr) -> Result<usize> {
    let mut count = 0;
    expr.apply(|_| {
        count += 1;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(count)
}
