//! Column lineage over the shapes that SQL takes.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};

use crate::bench::Bench;

fn bench() -> Bench {
    let ints = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let texts = || Arc::new(StringArray::from(vec!["x"])) as ArrayRef;
    Bench::default()
        .table("orders", vec![("id", ints()), ("customer", ints()), ("amount", ints()), ("status", texts())])
        .table("people", vec![("id", ints()), ("name", texts()), ("country", texts())])
}

/// `column ← sources` of every output column of a query over orders `o` and people `p`.
async fn of(sql: &str) -> Vec<String> {
    let text = format!(
        "pipeline: p\nsources: {{o: {{memory: {{table: orders}}}}, p: {{memory: {{table: people}}}}}}\n\
         transforms: {{j: {{input: [o, p], sql: \"{sql}\"}}}}\nsinks: {{out: {{input: j, memory: {{table: out}}}}}}\n"
    );
    let plan = bench().plan(&text).await;
    plan.columns.iter().map(|column| format!("{} ← {}", column.column, column.from.join(" "))).collect()
}

#[tokio::test]
async fn a_join_keeps_sides_apart() {
    assert_eq!(of("SELECT o.id, p.name FROM o JOIN p ON o.customer = p.id").await, ["id ← o.orders.id", "name ← p.people.name"]);
}

#[tokio::test]
async fn an_expression_depends_on_all_its_columns_and_not_on_the_filter() {
    assert_eq!(
        of("SELECT o.amount * 2 + o.id AS x, 1 AS one FROM o JOIN p ON o.customer = p.id WHERE p.country = 'x'").await,
        ["x ← o.orders.amount o.orders.id", "one ← "]
    );
}

#[tokio::test]
async fn an_aggregate_depends_on_its_argument_and_its_filter() {
    assert_eq!(
        of("SELECT p.country AS c, sum(o.amount) FILTER (WHERE o.status = 'x') AS s, count(*) AS n FROM o JOIN p ON o.customer = p.id GROUP BY p.country").await,
        ["c ← p.people.country", "s ← o.orders.amount o.orders.status", "n ← "]
    );
}

#[tokio::test]
async fn a_window_depends_on_its_partition_and_order() {
    assert_eq!(
        of("SELECT o.id, row_number() OVER (PARTITION BY o.customer ORDER BY o.amount) AS n FROM o").await,
        ["id ← o.orders.id", "n ← o.orders.amount o.orders.customer"]
    );
}

#[tokio::test]
async fn a_union_depends_on_every_branch() {
    assert_eq!(of("SELECT id FROM o UNION ALL SELECT id FROM p").await, ["id ← o.orders.id p.people.id"]);
}

#[tokio::test]
async fn a_common_table_expression_is_looked_through() {
    assert_eq!(
        of("WITH a AS (SELECT id AS i, amount + 1 AS m FROM o), b AS (SELECT i, m * 2 AS mm FROM a) SELECT mm, i FROM b").await,
        ["mm ← o.orders.amount", "i ← o.orders.id"]
    );
}

#[tokio::test]
async fn a_star_names_every_column() {
    assert_eq!(of("SELECT p.* FROM p").await, ["id ← p.people.id", "name ← p.people.name", "country ← p.people.country"]);
}

#[tokio::test]
async fn a_scalar_sub_query_counts_with_what_it_is_correlated_with() {
    assert_eq!(
        of("SELECT o.id, (SELECT max(p.name) FROM p WHERE p.id = o.customer) AS name FROM o").await,
        ["id ← o.orders.id", "name ← o.orders.customer p.people.name"]
    );
}

#[tokio::test]
async fn a_case_depends_on_its_condition() {
    assert_eq!(
        of("SELECT CASE WHEN o.status = 'x' THEN o.amount ELSE 0 END AS v FROM o").await,
        ["v ← o.orders.amount o.orders.status"]
    );
}

#[tokio::test]
async fn a_using_join_is_the_left_column() {
    let found = of("SELECT id, name FROM o LEFT JOIN p USING (id)").await;
    assert_eq!(found, ["id ← o.orders.id", "name ← p.people.name"]);
}

#[tokio::test]
async fn distinct_sort_and_limit_change_nothing() {
    assert_eq!(of("SELECT DISTINCT status FROM o ORDER BY status LIMIT 3").await, ["status ← o.orders.status"]);
}

#[tokio::test]
async fn a_chain_of_transforms_leads_back_to_the_source() {
    let text = "pipeline: p\nsource: {memory: {table: orders}}\ntransforms:\n  - field_mapper: {rename: {amount: total}}\n  \
                - sql: SELECT id AS order_id, total * 2 AS twice, status FROM input\n  - mask: {columns: {status: redact}}\n  \
                - cast: {columns: {twice: text}}\nsink: {memory: {table: out}}\n";
    let plan = bench().plan(text).await;
    let node = plan.flows[0].inputs[0].node.clone();
    let from: Vec<(String, String)> = plan
        .columns
        .iter()
        .map(|column| (column.from.join(" ").replace(&format!("{node}."), ""), column.source.clone()))
        .collect();
    assert_eq!(from[0], ("orders.id".into(), "int64".into()));
    assert_eq!(from[1], ("orders.amount".into(), "total * 2 (sql) → utf8 (cast)".into()));
    assert_eq!(from[2].0, "orders.status");
}
