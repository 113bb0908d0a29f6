//! A dictionary beside the rows: every row once, with what belongs to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use proptest::prelude::*;
use weir_plan::Program;

use crate::bench::Bench;

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
                ("country", texts(vec![Some("DE"), Some("XX"), None, Some("DE")])),
            ],
        )
        .table(
            "countries",
            vec![
                ("code", texts(vec![Some("DE"), Some("FR"), None])),
                ("name", texts(vec![Some("Germany"), Some("France"), Some("nowhere")])),
                ("id", ints(vec![Some(49), Some(33), None])),
            ],
        )
        .table(
            "history",
            vec![
                ("code", texts(vec![Some("DE"), Some("DE"), Some("FR")])),
                ("name", texts(vec![Some("old"), Some("new"), Some("France")])),
                ("since", ints(vec![Some(1), Some(2), Some(1)])),
            ],
        )
}

fn pipeline(table: &str, options: &str) -> String {
    format!(
        "pipeline: p\nsources: {{o: {{memory: {{table: orders}}}}, d: {{memory: {{table: {table}}}}}}}\n\
         transforms: {{l: {{input: [o, d], lookup: {{{options}}}}}}}\nsinks: {{out: {{input: l, memory: {{table: out}}}}}}\n"
    )
}

async fn rows(table: &str, options: &str) -> Vec<String> {
    let bench = bench();
    let plan = bench.plan(&pipeline(table, options)).await;
    assert!(matches!(plan.flows[0].program, Program::Relational(_)));
    bench.run(&plan).await.remove("out").unwrap().rows
}

async fn failure(table: &str, options: &str) -> String {
    let bench = bench();
    let plan = bench.plan(&pipeline(table, options)).await;
    bench.failure(&plan).await
}

#[tokio::test]
async fn every_row_comes_out_once_with_its_entry_or_with_null() {
    assert_eq!(
        rows("countries", "on: {country: code}, take: {country_name: name}").await,
        ["1|DE|Germany", "2|XX|∅", "3|∅|∅", "4|DE|Germany"]
    );
    assert_eq!(
        rows("countries", "from: d, on: {country: code}, take: [name], on_missing: drop").await,
        ["1|DE|Germany", "4|DE|Germany"]
    );
    assert_eq!(
        rows("history", "on: {country: code}, on_duplicate: first, order_by: since desc").await,
        ["1|DE|new|2", "2|XX|∅|∅", "3|∅|∅|∅", "4|DE|new|2"]
    );
}

#[tokio::test]
async fn columns_come_from_their_own_side() {
    let plan = bench().plan(&pipeline("countries", "on: {country: code}, take: {country_name: name}")).await;
    let from: Vec<String> = plan.columns.iter().map(|column| format!("{} ← {}", column.column, column.from.join(" "))).collect();
    assert_eq!(from, ["id ← o.orders.id", "country ← o.orders.country", "country_name ← d.countries.name"]);
}

#[tokio::test]
async fn two_entries_of_one_key_end_the_run() {
    let told = failure("history", "on: {country: code}, take: [name]").await;
    assert!(told.contains("several entries of the dictionary have the key DE"), "{told}");
}

#[tokio::test]
async fn a_dictionary_that_is_none_ends_the_run() {
    let told = failure("countries", "on: {country: code}, take: [name], max_rows: 1").await;
    assert!(told.contains("more than 1 entries"), "{told}");
    assert_eq!(rows("countries", "on: {country: code}, take: [name], max_rows: 2").await.len(), 4);
}

#[tokio::test]
async fn a_row_without_an_entry_ends_the_run_where_that_is_asked_for() {
    let told = failure("countries", "on: {country: code}, take: [name], on_missing: error").await;
    assert!(told.contains("the dictionary has no entry for"), "{told}");
}

#[tokio::test]
async fn mistakes_are_told_with_their_places() {
    for (options, told) in [
        ("on: {land: code}, take: [name]", "no column `land`"),
        ("on: {country: cod}, take: [name]", "no column `cod`"),
        ("on: {id: code}, take: [name]", "`id` is int64 and `code` is utf8"),
        ("on: {country: code}", "two columns would be called `id`"),
        ("on: {country: code}, take: [nam]", "no column `nam`"),
        ("from: x, on: {country: code}, take: [name]", "`x` is no input"),
        ("on: {country: code}, take: [name], on_duplicate: first", "needs `order_by`"),
        ("on: {country: code}, take: [name], order_by: name", "several are an error"),
        ("on: {country: code}, take: [name], on_duplicate: first, order_by: nam", "no column `nam`"),
    ] {
        let found = bench().problems(&pipeline("countries", options)).await;
        assert!(found.iter().any(|problem| problem.message.contains(told)), "{options}: {found:#?}");
        assert!(found.iter().all(|problem| problem.span.is_some()), "{options}: {found:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn it_finds_what_a_map_finds(keys in prop::collection::vec(prop::option::of(0i64..12), 0..40), entries in prop::collection::btree_map(0i64..12, prop::option::of(0i64..100), 0..10)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ids = ints((0..keys.len() as i64).map(Some).collect());
        let bench = Bench::default()
            .table("orders", vec![("id", ids), ("k", ints(keys.clone()))])
            .table("countries", vec![("key", ints(entries.keys().copied().map(Some).collect())), ("v", ints(entries.values().copied().collect()))]);
        let got = runtime.block_on(async {
            let plan = bench.plan(&pipeline("countries", "on: {k: key}")).await;
            bench.run(&plan).await.remove("out").unwrap().rows
        });
        let entries: BTreeMap<i64, Option<i64>> = entries;
        let shown = |n: Option<i64>| n.map_or("∅".to_string(), |n| n.to_string());
        let mut expected: Vec<String> = keys.iter().enumerate().map(|(id, key)| {
            let value = key.and_then(|key| entries.get(&key).copied().flatten());
            format!("{id}|{}|{}", shown(*key), shown(value))
        }).collect();
        expected.sort();
        prop_assert_eq!(got, expected);
    }
}
