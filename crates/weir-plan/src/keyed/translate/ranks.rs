//! Window functions of SQL that say which place a row has: kept as state if their partitions are those of a window of event time.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::logical_expr::{Expr, Window};

use super::{Draft, EDGES, Kind, Refused, Translation, query_failed, refused};
use crate::keyed::ranks::{Place, RankRule, Sorting};
use crate::keyed::shelves::Side;
use crate::keyed::spans::{Means, spoils};
use crate::keyed::windows::TICK;
use crate::program::row::{physical, row_wise};

/// Why other window functions have no place.
const WINDOW: &str = "a window over rows that no window of time ends";

impl Translation<'_> {
    /// The stage that a window function gives.
    pub(super) fn places(
        &mut self,
        node: &str,
        window: &Window,
        tables: &std::collections::BTreeMap<String, usize>,
    ) -> Result<usize, Refused> {
        let mut functions = Vec::new();
        for expr in &window.window_expr {
            let mut inner = expr;
            while let Expr::Alias(alias) = inner {
                inner = &alias.expr;
            }
            let Expr::WindowFunction(function) = inner else { return Err(refused(node, WINDOW)) };
            let place = match function.fun.name() {
                "row_number" => Place::Number,
                "rank" => Place::Rank,
                "dense_rank" => Place::Dense,
                _ => return Err(refused(node, WINDOW)),
            };
            functions.push((place, &function.params));
        }
        let Some((_, params)) = functions.first() else { return Err(refused(node, WINDOW)) };
        let same = |other: &datafusion::logical_expr::expr::WindowFunctionParams| {
            other.partition_by == params.partition_by && other.order_by == params.order_by && other.filter.is_none()
        };
        if !functions.iter().all(|(_, other)| same(other)) {
            return Err(refused(node, WINDOW));
        }
        let from = self.query(node, &window.input, tables)?;
        let (schema, before) = (window.input.schema(), &self.drafts[from]);
        let parts = params.partition_by.iter().chain(params.order_by.iter().map(|sort| &sort.expr));
        if before.means.iter().flatten().any(Means::unfinished) || parts.clone().any(|part| spoils(part, schema, &before.means)) {
            return Err(refused(node, EDGES));
        }
        // The edge that says when all rows of a partition are there.
        let edges = params.partition_by.iter().filter_map(|part| match part {
            Expr::Column(column) => schema.maybe_index_of_column(column),
            _ => None,
        });
        let closes = |at: usize| match before.means.get(at)?.as_ref()? {
            Means::End(_, true) => Some((at, TICK)),
            Means::Last(_, true) | Means::Time => Some((at, 0)),
            _ => None,
        };
        let mut closing: Vec<(usize, i64)> = edges.filter_map(closes).collect();
        // The end of a window is known a moment before it; what only has its time is sure when that has come.
        closing.sort_by_key(|(at, _)| before.means[*at] == Some(Means::Time));
        let Some(&(time, ahead)) = closing.first() else { return Err(refused(node, WINDOW)) };
        let sorting = |expr: &Expr, options: SortOptions| -> Result<Sorting, Refused> {
            if !row_wise(expr).map_err(query_failed(node))? {
                return Err(refused(node, "a sub-query in a window"));
            }
            let expr = physical(self.session, expr, schema).map_err(query_failed(node))?;
            let kind = expr.data_type(schema.as_arrow()).map_err(query_failed(node))?;
            match RowConverter::supports_fields(&[SortField::new(kind.clone())]) {
                true => Ok((expr, kind, options)),
                false => Err(refused(node, "rows sorted by something that has no order")),
            }
        };
        let output = Arc::new(window.schema.as_arrow().clone());
        let counted = output.fields().iter().skip(before.schema.fields().len());
        if counted.clone().count() != functions.len() || counted.clone().any(|field| *field.data_type() != DataType::UInt64) {
            return Err(refused(node, WINDOW));
        }
        let order = |sort: &datafusion::logical_expr::SortExpr| {
            sorting(&sort.expr, SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first })
        };
        let side = Side { node: node.into(), schema: before.schema.clone(), time, keys: Vec::new(), late: false };
        let rule = RankRule {
            node: node.into(),
            side: Arc::new(side),
            before: ahead,
            partition: params.partition_by.iter().map(|expr| sorting(expr, SortOptions::default())).collect::<Result<_, _>>()?,
            order: params.order_by.iter().map(order).collect::<Result<_, _>>()?,
            places: functions.iter().map(|(place, _)| *place).collect(),
            output: output.clone(),
        };
        // Rows come out when their window is over: their own times are behind the watermark by then, the edges are not.
        let after = |(at, means): (usize, &Option<Means>)| match means {
            Some(Means::Time) if at == time => Some(Means::Time),
            Some(Means::End(_, true) | Means::Last(_, true)) => Some(Means::Time),
            Some(Means::Given | Means::Start(..)) => Some(Means::Given),
            _ => None,
        };
        let mut means: Vec<Option<Means>> = before.means.iter().enumerate().map(after).collect();
        means.resize(output.fields().len(), None);
        let delay = before.delay;
        self.rules.push(Arc::new(rule));
        let kind = Kind::Operator { from, rule: self.rules.len() - 1 };
        Ok(self.draft(Draft { node: node.into(), kind, schema: output, means, delay }))
    }
}
