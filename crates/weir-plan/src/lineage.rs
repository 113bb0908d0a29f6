//! Column lineage: for each output column of a plan the table columns that its values depend on.
//!
//! Only columns whose *values* flow in are counted: a filter or a join condition decides which rows come, not what is in them.

use std::collections::BTreeSet;

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan};

/// A column of a registered table.
pub type Origin = (String, String);

/// Per output column of `plan` the origins, sorted.
pub fn of(plan: &LogicalPlan) -> Vec<BTreeSet<Origin>> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            if let Some(view) = scan.source.get_logical_plan() {
                let inner = of(&view);
                return match &scan.projection {
                    Some(indices) => indices.iter().map(|&index| inner.get(index).cloned().unwrap_or_default()).collect(),
                    None => inner,
                };
            }
            let table = scan.table_name.to_string();
            scan.projected_schema.fields().iter().map(|field| BTreeSet::from([(table.clone(), field.name().clone())])).collect()
        }
        LogicalPlan::Projection(node) => node.expr.iter().map(|expression| through(expression, &node.input)).collect(),
        LogicalPlan::Aggregate(node) => {
            let mut columns: Vec<_> = node.group_expr.iter().flat_map(|expression| grouped(expression, &node.input)).collect();
            columns.extend(node.aggr_expr.iter().map(|expression| through(expression, &node.input)));
            fit(columns, plan)
        }
        LogicalPlan::Window(node) => {
            let mut columns = of(&node.input);
            columns.extend(node.window_expr.iter().map(|expression| through(expression, &node.input)));
            columns
        }
        LogicalPlan::Join(node) => match node.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => of(&node.left),
            JoinType::RightSemi | JoinType::RightAnti => of(&node.right),
            _ => {
                let mut columns = of(&node.left);
                columns.extend(of(&node.right));
                fit(columns, plan)
            }
        },
        LogicalPlan::Union(node) => {
            let mut inputs = node.inputs.iter().map(|input| of(input));
            let mut columns = inputs.next().unwrap_or_default();
            for other in inputs {
                for (mine, theirs) in columns.iter_mut().zip(other) {
                    mine.extend(theirs);
                }
            }
            columns
        }
        LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Distinct(_) => plan.inputs().first().map(|input| of(input)).unwrap_or_default(),
        // Anything else (unnest, recursion): every column may depend on everything below. Too much rather than too little.
        other => {
            let all: BTreeSet<Origin> = other.inputs().iter().flat_map(|input| of(input)).flatten().collect();
            vec![all; other.schema().fields().len()]
        }
    }
}

/// Grouping sets add a column of their own; whatever the count, the answer has one entry per output column.
fn fit(mut columns: Vec<BTreeSet<Origin>>, plan: &LogicalPlan) -> Vec<BTreeSet<Origin>> {
    columns.resize(plan.schema().fields().len(), BTreeSet::new());
    columns
}

fn grouped(expression: &Expr, input: &LogicalPlan) -> Vec<BTreeSet<Origin>> {
    match expression {
        Expr::GroupingSet(sets) => sets.distinct_expr().iter().map(|inner| through(inner, input)).collect(),
        one => vec![through(one, input)],
    }
}

fn through(expression: &Expr, input: &LogicalPlan) -> BTreeSet<Origin> {
    let below = of(input);
    let schema = input.schema();
    let mut references: Vec<Column> = expression.column_refs().into_iter().cloned().collect();
    // A scalar subquery brings values of its own.
    let mut origins = BTreeSet::new();
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    let _ = expression.apply(|inner| {
        if let Expr::ScalarSubquery(subquery) = inner {
            origins.extend(of(&subquery.subquery).into_iter().flatten());
        }
        if let Expr::OuterReferenceColumn(_, column) = inner {
            references.push(column.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    for column in references {
        if let Ok(index) = schema.index_of_column(&column)
            && let Some(found) = below.get(index)
        {
            origins.extend(found.iter().cloned());
        }
    }
    origins
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    async fn lineage(query: &str) -> Vec<String> {
        let context = crate::sql::session();
        for (table, columns) in [("orders", ["id", "customer", "amount"]), ("customers", ["id", "name", "country"])] {
            let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
            let empty = datafusion::datasource::empty::EmptyTable::new(Arc::new(Schema::new(fields)));
            crate::sql::register(&context, table, Arc::new(empty)).unwrap();
        }
        let plan = context.sql(query).await.unwrap().into_unoptimized_plan();
        of(&plan)
            .into_iter()
            .map(|set| set.into_iter().map(|(table, column)| format!("{table}.{column}")).collect::<Vec<_>>().join("+"))
            .collect()
    }

    #[tokio::test]
    async fn values_are_followed_through_every_kind_of_query() {
        let cases: &[(&str, &[&str])] = &[
            ("SELECT id, amount * 2 + customer AS x FROM orders", &["orders.id", "orders.amount+orders.customer"]),
            ("SELECT 1 AS one, id FROM orders WHERE amount > 3", &["", "orders.id"]),
            (
                "SELECT c.name, sum(o.amount) AS total FROM orders o JOIN customers c ON o.customer = c.id GROUP BY c.name",
                &["customers.name", "orders.amount"],
            ),
            ("SELECT x.a FROM (SELECT amount AS a, id FROM orders) x ORDER BY x.id LIMIT 3", &["orders.amount"]),
            ("SELECT id FROM orders UNION ALL SELECT country FROM customers", &["customers.country+orders.id"]),
            (
                "WITH w AS (SELECT customer AS k, amount FROM orders) SELECT k, max(amount) FROM w GROUP BY k",
                &["orders.customer", "orders.amount"],
            ),
            (
                "SELECT id, rank() OVER (PARTITION BY customer ORDER BY amount) AS r FROM orders",
                &["orders.id", "orders.amount+orders.customer"],
            ),
            (
                "SELECT * FROM customers WHERE id IN (SELECT customer FROM orders)",
                &["customers.id", "customers.name", "customers.country"],
            ),
            ("SELECT (SELECT max(amount) FROM orders) AS m, name FROM customers", &["orders.amount", "customers.name"]),
            ("SELECT count(*) AS n FROM orders", &[""]),
            (
                "SELECT CASE WHEN amount > 0 THEN id ELSE customer END AS v FROM orders",
                &["orders.amount+orders.customer+orders.id"],
            ),
            ("SELECT DISTINCT coalesce(name, country) AS label FROM customers", &["customers.country+customers.name"]),
        ];
        for (query, expected) in cases {
            assert_eq!(&lineage(query).await, expected, "{query}");
        }
    }
}
