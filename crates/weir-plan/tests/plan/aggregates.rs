//! `aggregate` against a fold over the rows, and its diagnostics.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, StringArray};
use proptest::prelude::*;

use crate::bench::{Bench, line};

fn ints(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn sales() -> Bench {
    let amounts = Decimal128Array::from(vec![Some(110), Some(5), None, Some(10)]).with_precision_and_scale(12, 2).unwrap();
    Bench::default().table(
        "t",
        vec![
            ("country", Arc::new(StringArray::from(vec![Some("de"), Some("de"), None, None])) as ArrayRef),
            ("amount", Arc::new(amounts) as ArrayRef),
            ("n", ints(vec![Some(1), Some(2), Some(3), None])),
            ("at", ints(vec![Some(2), Some(1), Some(7), Some(7)])),
        ],
    )
}

#[tokio::test]
async fn measures_come_after_the_key_in_the_order_written() {
    let got = sales()
        .run_line("- aggregate: {group_by: [country], select: {rows: count(*), revenue: sum(amount), known: {function: count, column: n}, newest: {function: last, column: n, order_by: at}}}")
        .await;
    assert_eq!(got.columns, ["country", "rows", "revenue", "known", "newest"]);
    assert_eq!(got.rows, ["de|2|1.15|2|1", "∅|2|0.10|1|3"]);
}

#[tokio::test]
async fn every_function_is_exact() {
    let got = sales()
        .run_line("- aggregate: {select: {a: {function: avg, column: amount}, b: {function: avg, column: n}, c: {function: min, column: at}, d: {function: max, column: amount}, e: {function: count_distinct, column: at}, f: {function: sum, column: n, where: at > 1}, g: {function: first, column: n, order_by: at desc}}}")
        .await;
    assert_eq!(got.rows, ["0.416666|2.0|1|1.10|3|4|3"]);
    let large = 1_i64 << 60;
    let bench = Bench::default()
        .table("t", vec![("n", ints(vec![Some(large), Some(large + 1), Some(-large), Some(-large - 1), Some(4)]))]);
    let got = bench.run_line("- aggregate: {select: {mean: {function: avg, column: n}}}").await;
    assert_eq!(got.rows, ["0.8"], "a sum of binary fractions would have lost the 4");
}

#[tokio::test]
async fn a_sum_that_does_not_fit_fails() {
    let bench = Bench::default().table("t", vec![("n", ints(vec![Some(i64::MAX), Some(1)]))]);
    let plan = bench.line("- aggregate: {select: {s: {function: sum, column: n}}}").await;
    assert!(bench.failure(&plan).await.to_lowercase().contains("overflow"));
}

#[tokio::test]
async fn of_no_rows_there_is_one_total_and_no_group() {
    let bench = Bench::default().table("t", vec![("k", ints(vec![])), ("n", ints(vec![]))]);
    assert_eq!(
        bench.run_line("- aggregate: {select: {rows: count(*), s: sum(n), m: {function: avg, column: n}}}").await.rows,
        ["0|∅|∅"]
    );
    assert_eq!(bench.run_line("- aggregate: {group_by: k, select: {rows: count(*)}}").await.rows, Vec::<String>::new());
}

#[tokio::test]
async fn a_key_alone_gives_its_values() {
    assert_eq!(sales().run_line("- aggregate: {group_by: [country], select: {}}").await.rows, ["de", "∅"]);
}

#[tokio::test]
async fn mistakes_are_told_at_their_place() {
    for (options, what, path) in [
        ("{group_by: [contry], select: {n: count(*)}}", "no column `contry`", "group_by"),
        ("{select: {s: sum(amont)}}", "no column `amont`", "select.s"),
        ("{select: {s: amount + 1}}", "", "select.s"),
        ("{select: {s: {function: sum, column: country}}}", "`sum` of `country`, which is utf8", "select.s.column"),
        ("{select: {s: {function: sum, column: amont}}}", "no column `amont`", "select.s.column"),
        ("{select: {s: {function: first, column: n}}}", "no order", "select.s.function"),
    ] {
        let found = sales().problems(&line(&format!("- aggregate: {options}"))).await;
        assert!(found[0].message.contains(what), "{options}: {}", found[0].message);
        assert!(found[0].path.ends_with(path) && found[0].span.is_some(), "{options}: {}", found[0].path);
    }
}

#[tokio::test]
async fn a_measure_comes_from_its_column() {
    let plan = sales().line("- aggregate: {group_by: [country], select: {revenue: sum(amount), rows: count(*)}}").await;
    let from: Vec<usize> = plan.columns.iter().map(|column| column.from.len()).collect();
    assert_eq!(from, [1, 1, 0]);
    assert!(plan.columns[1].from[0].ends_with(".amount"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn groups_agree_with_a_fold(rows in prop::collection::vec((prop::option::of(0i64..4), prop::option::of(-9i64..9), 0i64..5), 0..40)) {
        let bench = Bench::default().table("t", vec![
            ("k", ints(rows.iter().map(|row| row.0).collect())),
            ("v", ints(rows.iter().map(|row| row.1).collect())),
            ("at", ints(rows.iter().map(|row| Some(row.2)).collect())),
        ]);
        let transform = "- aggregate: {group_by: k, select: {rows: count(*), s: {function: sum, column: v}, d: {function: count_distinct, column: v}, lo: {function: min, column: v}, f: {function: first, column: v, order_by: at}}}";
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let got = runtime.block_on(bench.run_line(transform));
        let mut groups: BTreeMap<Option<i64>, Vec<(Option<i64>, i64)>> = BTreeMap::new();
        rows.iter().for_each(|(key, value, at)| groups.entry(*key).or_default().push((*value, *at)));
        let shown = |value: Option<i64>| value.map_or("∅".to_string(), |value| value.to_string());
        let mut expected: Vec<String> = groups.iter().map(|(key, group)| {
            let mut known: Vec<i64> = group.iter().filter_map(|(value, _)| *value).collect();
            known.sort_unstable();
            let sum = (!known.is_empty()).then(|| known.iter().sum());
            let least = known.first().copied();
            let mut distinct = known.clone();
            distinct.dedup();
            // NULL is the largest among equals.
            let first = group.iter().min_by_key(|(value, at)| (*at, value.is_none(), *value)).and_then(|(value, _)| *value);
            format!("{}|{}|{}|{}|{}|{}", shown(*key), group.len(), shown(sum), distinct.len(), shown(least), shown(first))
        }).collect();
        expected.sort();
        prop_assert_eq!(got.rows, expected);
    }
}
