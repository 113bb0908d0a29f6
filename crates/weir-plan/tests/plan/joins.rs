//! `join` against nested loops, and its diagnostics.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
use proptest::prelude::*;

use crate::bench::{Bench, over};

fn ints(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}
fn texts(values: Vec<Option<&str>>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn bench() -> Bench {
    Bench::default()
        .table(
            "orders",
            vec![
                ("id", ints(vec![Some(1), Some(2), Some(3), Some(4)])),
                ("customer_id", ints(vec![Some(10), None, Some(30), Some(10)])),
            ],
        )
        .table(
            "customers",
            vec![("id", ints(vec![Some(10), Some(20), None])), ("name", texts(vec![Some("ada"), Some("bob"), Some("eve")]))],
        )
}

async fn rows(options: &str) -> Vec<String> {
    bench().run_over(&["orders", "customers"], &format!("join: {options}")).await.rows
}

#[tokio::test]
async fn every_kind_gives_its_rows_and_null_matches_nothing() {
    let on = "on: {customer_id: id}, rename: {customers.id: cid}";
    assert_eq!(rows(&format!("{{{on}}}")).await, ["1|10|10|ada", "4|10|10|ada"]);
    assert_eq!(rows(&format!("{{kind: left, {on}}}")).await, ["1|10|10|ada", "2|∅|∅|∅", "3|30|∅|∅", "4|10|10|ada"]);
    assert_eq!(rows(&format!("{{kind: right, {on}}}")).await, ["1|10|10|ada", "4|10|10|ada", "∅|∅|20|bob", "∅|∅|∅|eve"]);
    assert_eq!(
        rows(&format!("{{kind: full, {on}}}")).await,
        ["1|10|10|ada", "2|∅|∅|∅", "3|30|∅|∅", "4|10|10|ada", "∅|∅|20|bob", "∅|∅|∅|eve"]
    );
    assert_eq!(rows("{kind: semi, on: {customer_id: id}}").await, ["1|10", "4|10"]);
    assert_eq!(rows("{kind: anti, on: {customer_id: id}}").await, ["2|∅", "3|30"]);
}

#[tokio::test]
async fn a_condition_in_sql_names_the_inputs() {
    let got = rows("{on: 'orders.customer_id = customers.id AND orders.id > 1', drop: [customers.id]}").await;
    assert_eq!(got, ["4|10|ada"]);
    let got = rows("{kind: anti, on: orders.customer_id < customers.id}").await;
    assert_eq!(got, ["2|∅", "3|30"]);
}

#[tokio::test]
async fn a_key_of_one_name_is_one_column_with_the_value_of_either_side() {
    let bench = Bench::default()
        .table("a", vec![("k", ints(vec![Some(1), Some(2)])), ("x", ints(vec![Some(5), Some(6)]))])
        .table("b", vec![("k", ints(vec![Some(2), Some(3)])), ("y", ints(vec![Some(7), Some(8)]))]);
    let got = bench.run_over(&["a", "b"], "join: {kind: full, on: [k]}").await;
    assert_eq!(
        (got.columns, got.rows),
        (vec!["k".into(), "x".into(), "y".into()], vec!["1|5|∅".into(), "2|6|7".into(), "3|∅|8".into()])
    );
}

#[tokio::test]
async fn a_clash_of_names_says_how_to_tell_them_apart() {
    let found = bench().problems(&over(&["orders", "customers"], "join: {on: {customer_id: id}}")).await;
    assert_eq!(found[0].message, "two columns would be called `id`: `orders.id` and `customers.id`");
    assert_eq!(found[0].help.as_deref(), Some("`rename: {customers.id: customers_id}` or `drop: [customers.id]`"));
    assert!(found[0].span.is_some());
}

#[tokio::test]
async fn keys_of_two_types_do_not_meet() {
    let bench = Bench::default()
        .table("a", vec![("k", ints(vec![Some(1)])), ("n", Arc::new(Int32Array::from(vec![1])) as ArrayRef)])
        .table("b", vec![("j", texts(vec![Some("1")])), ("m", ints(vec![Some(1)]))]);
    for on in ["{k: j}", "a.k = b.j", "'a.k > 0 AND b.j = a.k'"] {
        let found = bench.problems(&over(&["a", "b"], &format!("join: {{on: {on}}}"))).await;
        assert!(found[0].message.starts_with("keys of two types do not meet"), "{on}: {}", found[0].message);
    }
    assert_eq!(bench.run_over(&["a", "b"], "join: {on: {n: m}}").await.rows, ["1|1|1|1"], "int32 and int64 meet");
}

#[tokio::test]
async fn mistakes_are_told_at_their_place() {
    for (options, what) in [
        ("{on: {customer: id}}", "`orders` has no column `customer`"),
        ("{on: 'orders.customer_id ='}", "cannot be parsed"),
        ("{on: {customer_id: id}, drop: [customers.nme]}", "no column `customers.nme`"),
    ] {
        let found = bench().problems(&over(&["orders", "customers"], &format!("join: {options}"))).await;
        assert!(found.iter().any(|problem| problem.message.contains(what)), "{options}: {found:?}");
    }
    let found = bench().problems(&over(&["orders"], "join: {on: [id]}")).await;
    assert!(found[0].message.contains("brings two inputs together"), "{}", found[0].message);
}

#[tokio::test]
async fn columns_come_from_their_sides() {
    let plan =
        bench().plan(&over(&["orders", "customers"], "join: {kind: left, on: {customer_id: id}, drop: [customers.id]}")).await;
    let from: Vec<String> = plan.columns.iter().map(|column| format!("{} ← {}", column.column, column.from.join(" "))).collect();
    assert_eq!(from, ["id ← orders.orders.id", "customer_id ← orders.orders.customer_id", "name ← customers.customers.name"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn kinds_agree_with_nested_loops(
        left in prop::collection::vec(prop::option::of(0i64..5), 0..12),
        right in prop::collection::vec(prop::option::of(0i64..5), 0..12),
        kind in prop::sample::select(vec!["inner", "left", "right", "full", "semi", "anti"]),
    ) {
        let number = |values: &[Option<i64>]| ints((0..values.len() as i64).map(Some).collect());
        let bench = Bench::default()
            .table("a", vec![("x", number(&left)), ("k", ints(left.clone()))])
            .table("b", vec![("y", number(&right)), ("j", ints(right.clone()))]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let got = runtime.block_on(bench.run_over(&["a", "b"], &format!("join: {{kind: {kind}, on: {{k: j}}}}")));
        let shown = |at: Option<usize>, values: &[Option<i64>]| match at {
            None => "∅|∅".to_string(),
            Some(at) => format!("{at}|{}", values[at].map_or("∅".into(), |value| value.to_string())),
        };
        let both = |l, r| format!("{}|{}", shown(l, &left), shown(r, &right));
        let meet = |l: usize, r: usize| left[l].is_some() && left[l] == right[r];
        let mut expected = Vec::new();
        for l in 0..left.len() {
            let found: Vec<usize> = (0..right.len()).filter(|&r| meet(l, r)).collect();
            match kind {
                "semi" if !found.is_empty() => expected.push(shown(Some(l), &left)),
                "anti" if found.is_empty() => expected.push(shown(Some(l), &left)),
                "semi" | "anti" => {}
                _ => {
                    expected.extend(found.iter().map(|&r| both(Some(l), Some(r))));
                    if found.is_empty() && matches!(kind, "left" | "full") {
                        expected.push(both(Some(l), None));
                    }
                }
            }
        }
        if matches!(kind, "right" | "full") {
            expected.extend((0..right.len()).filter(|&r| (0..left.len()).all(|l| !meet(l, r))).map(|r| both(None, Some(r))));
        }
        expected.sort();
        prop_assert_eq!(got.rows, expected, "{}", kind);
    }
}
