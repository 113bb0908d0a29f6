//! `data_quality`: what every rule and action does, held against plain Rust where values are random.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray};
use proptest::prelude::*;
use weir_plan::{Plan, Program, RuleCount};

use crate::bench::{Bench, line, over};

fn ints(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}
fn texts(values: Vec<Option<&str>>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn row_local(plan: &Plan) -> bool {
    matches!(plan.flows[0].program, Program::RowLocal(_))
}

fn orders() -> Bench {
    Bench::default()
        .table(
            "t",
            vec![
                ("id", ints(vec![Some(1), Some(2), Some(2), None, Some(5)])),
                ("amount", ints(vec![Some(10), Some(-5), None, Some(7), Some(2000)])),
                ("status", texts(vec![Some("open"), Some("paid"), Some("lost"), None, Some("paid")])),
            ],
        )
        .table("c", vec![("id", ints(vec![Some(1), Some(2), Some(2), None])), ("name", texts(vec![Some("a"); 4]))])
}

fn counted(rules: &[RuleCount]) -> Vec<String> {
    rules.iter().map(|count| format!("{} {}/{} {}", count.rule, count.failed, count.checked, count.action)).collect()
}

#[tokio::test]
async fn each_action_does_what_it_says_row_by_row() {
    let rules = "{rules: [{not_null: id, on_fail: quarantine}, {range: {column: amount, min: 0, max: 1000}, on_fail: drop}, {in_set: {column: status, values: [open, paid]}, on_fail: warn}]}";
    let plan = orders().line(&format!("- data_quality: {rules}")).await;
    assert!(row_local(&plan));
    let got = orders().run_line(&format!("- data_quality: {rules}")).await;
    assert_eq!(got.columns, ["id", "amount", "status"]);
    assert_eq!(got.rows, ["1|10|open", "2|∅|lost"]);
    assert_eq!((got.filtered, got.dead.len()), (2, 1));
    assert_eq!(counted(&got.rules), ["not_null_id 1/5 quarantine", "range_amount 2/5 drop", "in_set_status 1/5 warn"]);
    let letter = &got.dead[0];
    assert_eq!(
        (letter.code.as_str(), letter.reason.as_str()),
        ("WEIR-QUALITY-001", "rule `not_null_id`: id is NULL; expected: not NULL")
    );
    assert_eq!(String::from_utf8_lossy(&letter.payload), r#"{"id":null,"amount":7,"status":null}"#);
}

#[tokio::test]
async fn a_row_that_breaks_two_rules_is_one_dead_letter_with_both_reasons() {
    let bench = Bench::default().table("t", vec![("a", ints(vec![Some(-1)])), ("b", texts(vec![Some("x")]))]);
    let got = bench
        .run_line("- data_quality: {on_fail: quarantine, rules: [{range: {column: a, min: 0}}, {regex: {column: b, pattern: '^y'}}, {sql: a > 5, on_fail: drop}]}")
        .await;
    assert_eq!((got.rows.len(), got.filtered, got.dead.len()), (0, 0, 1));
    assert_eq!(
        got.dead[0].reason,
        "rule `range_a`: a is `-1`; expected: at least 0; rule `regex_b`: b is `x`; expected: like /^y/"
    );
}

#[tokio::test]
async fn null_passes_what_compares() {
    let bench = Bench::default().table(
        "t",
        vec![
            ("a", ints(vec![None])),
            ("b", texts(vec![None])),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![None])) as ArrayRef),
        ],
    );
    let got = bench
        .run_line("- data_quality: {on_fail: drop, rules: [{range: {column: a, min: 0}}, {regex: {column: b, pattern: x}}, {in_set: {column: b, values: [y]}}, {sql: a > 1}, {freshness: {column: at, max_age: 1s}}]}")
        .await;
    assert_eq!(got.rows, ["∅|∅|∅"]);
}

#[tokio::test]
async fn what_is_old_is_not_fresh() {
    let now = chrono::Utc::now().timestamp_micros();
    let times = TimestampMicrosecondArray::from(vec![now - 3_600_000_000, now - 90_000_000_000, now]).with_timezone("UTC");
    let bench =
        Bench::default().table("t", vec![("n", ints(vec![Some(1), Some(2), Some(3)])), ("at", Arc::new(times) as ArrayRef)]);
    let got = bench.run_line("- data_quality: {rules: [{freshness: {column: at, max_age: 1d}, on_fail: quarantine}]}").await;
    assert_eq!((got.rows.len(), got.dead.len()), (2, 1));
    assert!(got.dead[0].reason.ends_with("expected: not older than 1d"), "{}", got.dead[0].reason);
}

#[tokio::test]
async fn every_row_of_a_value_that_is_there_twice_is_not_unique() {
    let rules = "- data_quality: {rules: [{unique: id, on_fail: quarantine}]}";
    let plan = orders().line(rules).await;
    assert!(!row_local(&plan));
    let got = orders().run_line(rules).await;
    assert_eq!(got.rows, ["1|10|open", "5|2000|paid", "∅|7|∅"]);
    assert_eq!(got.dead.len(), 2);
    assert!(got.dead.iter().all(|letter| letter.reason == "rule `unique_id`: id is `2`; expected: in one row only"));
    assert_eq!(counted(&got.rules), ["unique_id 2/5 quarantine"]);
}

#[tokio::test]
async fn a_foreign_key_is_looked_for_in_the_other_input() {
    let rules = "data_quality: {rules: [{foreign_key: {column: id, references: c.id}, on_fail: quarantine}, {not_null: id, on_fail: drop}]}";
    let got = orders().run_over(&["t", "c"], rules).await;
    assert_eq!(got.rows, ["1|10|open", "2|-5|paid", "2|∅|lost"], "a key that is there twice multiplies nothing");
    assert_eq!(got.dead.len(), 1);
    assert_eq!(got.dead[0].reason, "rule `foreign_key_id`: id is `5`; expected: a value of c.id");
    assert_eq!(counted(&got.rules), ["foreign_key_id 1/5 quarantine", "not_null_id 1/5 drop"]);
}

#[tokio::test]
async fn a_rule_that_fails_the_run_commits_nothing_and_names_the_row() {
    for rules in [
        "[{range: {column: amount, max: 100}}]",
        "[{range: {column: amount, min: 0, max: 100}, on_fail: drop, max_failures: 1}]",
        "[{range: {column: amount, min: 0, max: 100}, on_fail: warn, max_fraction: 0.3}]",
        "[{row_count: {min: 6}}]",
        "[{aggregate: {value: sum(amount), max: 100}}]",
        "[{aggregate: {value: max(status), min: q}}]",
    ] {
        let plan = orders().line(&format!("- data_quality: {{rules: {rules}}}")).await;
        assert!(!row_local(&plan), "{rules}: one epoch");
        let told = orders().failure(&plan).await;
        assert!(told.contains("data quality rule fails the run"), "{rules}: {told}");
    }
}

#[tokio::test]
async fn within_its_limit_a_rule_fails_nothing() {
    for rules in [
        "[{range: {column: amount, min: 0, max: 100}, on_fail: warn, max_failures: 2}]",
        "[{range: {column: amount, min: 0, max: 100}, on_fail: warn, max_fraction: 0.4}]",
        "[{range: {column: amount, min: 0, max: 100}, max_failures: 2}]",
        "[{row_count: {min: 5, max: 5}}, {aggregate: {value: sum(amount), min: 2012, max: 2012}}]",
        "[{aggregate: {value: \"count(*) FILTER (WHERE status = 'paid')\", min: 2}}]",
        "[{row_count: {min: 6}, on_fail: warn}]",
    ] {
        let got = orders().run_line(&format!("- data_quality: {{rules: {rules}}}")).await;
        assert_eq!((got.rows.len(), got.dead.len()), (5, 0), "{rules}");
    }
    let got = orders().run_line("- data_quality: {rules: [{row_count: {min: 6}, on_fail: warn}]}").await;
    assert_eq!(counted(&got.rules), ["row_count 1/1 warn"]);
}

#[tokio::test]
async fn no_rows_break_no_rule_about_rows() {
    let bench = Bench::default().table("t", vec![("id", ints(vec![]))]);
    let got = bench.run_line("- data_quality: {rules: [{unique: id}, {not_null: id}, {sql: id > 0, max_fraction: 0.0}]}").await;
    assert_eq!((got.rows.len(), got.dead.len()), (0, 0));
    let plan = bench.line("- data_quality: {rules: [{row_count: {min: 1}}]}").await;
    assert!(bench.failure(&plan).await.contains("data quality rule fails the run"));
    let plan = bench.line("- data_quality: {rules: [{aggregate: {value: max(id), min: 1}}]}").await;
    assert!(bench.failure(&plan).await.contains("data quality rule fails the run"), "the largest of nothing is not at least 1");
}

#[tokio::test]
async fn what_comes_after_a_check_sees_only_what_passed() {
    let got = orders()
        .run_line("- data_quality: {rules: [{unique: id, on_fail: drop}, {not_null: id, on_fail: quarantine}]}\n- sql: SELECT count(*) AS n, sum(amount) AS s FROM input")
        .await;
    assert_eq!(got.rows, ["2|2010"]);
    assert_eq!(got.dead.len(), 1);
    let got = orders().run_line("- data_quality: {rules: [{row_count: {max: 9}}, {sql: amount > 0, on_fail: drop}]}\n- filter: id > 1\n- field_mapper: {select: [status]}").await;
    assert_eq!((got.rows, got.columns), (vec!["lost".into(), "paid".into()], vec!["status".to_string()]));
}

#[tokio::test]
async fn two_sinks_of_one_check_count_once_and_get_the_same_rows() {
    let text = "pipeline: p\nsources: {t: {memory: {table: t}}}\ntransforms:\n  q: {input: t, data_quality: {rules: [{unique: id, on_fail: quarantine}]}}\n  f: {input: q, filter: amount > 100}\nsinks:\n  one: {input: q, memory: {table: one}}\n  two: {input: f, memory: {table: two}}\n";
    let bench = orders();
    let plan = bench.plan(text).await;
    let got = bench.run(&plan).await;
    assert_eq!((got["one"].rows.len(), got["two"].rows.as_slice()), (3, &["5|2000|paid".to_string()][..]));
    assert_eq!((got["one"].dead.len(), counted(&got["one"].rules)), (2, vec!["unique_id 2/5 quarantine".to_string()]));
}

#[tokio::test]
async fn a_log_takes_rules_about_rows_and_refuses_what_needs_an_end() {
    let cdc = |rules: &str| {
        format!(
            "pipeline: p\nmode: cdc\nsource: {{memory: {{table: t, log: true}}}}\ntransforms:\n  - data_quality: {{rules: {rules}}}\nsink: {{memory: {{table: out, changes: true, key: [id]}}}}\n"
        )
    };
    let plan = orders().plan(&cdc("[{range: {column: amount, min: 0}}, {not_null: status, on_fail: drop}]")).await;
    assert!(row_local(&plan));
    for rules in ["[{row_count: {min: 1}}]", "[{not_null: id, on_fail: drop, max_failures: 3}]", "[{unique: id, on_fail: drop}]"]
    {
        let found = orders().problems(&cdc(rules)).await;
        assert_eq!(found[0].code, "WEIR-PLAN-005", "{rules}: {found:?}");
    }
}

#[tokio::test]
async fn columns_come_from_where_they_came_from() {
    let plan = orders().line("- data_quality: {rules: [{unique: id, on_fail: drop}]}").await;
    let from: Vec<&str> = plan.columns.iter().map(|column| column.from[0].rsplit('.').next().unwrap()).collect();
    assert_eq!(from, ["id", "amount", "status"]);
    assert!(plan.columns.iter().all(|column| column.source != "(data_quality)"), "unchanged");
}

#[tokio::test]
async fn mistakes_are_told_at_their_place() {
    for (rules, what, path) in [
        ("[{not_null: idd}]", "no column `idd`", "rules[0].not_null"),
        ("[{range: {column: amount, min: many}}]", "`many` is no number", "rules[0].range.min"),
        ("[{sql: amount + 1}]", "this is int64", "rules[0].sql"),
        ("[{sql: amont > 1}]", "no column `amont`", "rules[0].sql"),
        ("[{regex: {column: amount, pattern: x}}]", "a pattern is about text", "rules[0].regex.column"),
        ("[{freshness: {column: amount, max_age: 1d}}]", "freshness is about", "rules[0].freshness.column"),
        ("[{aggregate: {value: amount, min: 1}}]", "aggregate", "rules[0].aggregate"),
        ("[{foreign_key: {column: id, references: c.id}}]", "`c` is no other input", "rules[0].foreign_key.references"),
    ] {
        let found = orders().problems(&line(&format!("- data_quality: {{rules: {rules}}}"))).await;
        assert!(found[0].message.contains(what), "{rules}: {:?}", found[0].message);
        assert!(found[0].path.ends_with(path), "{rules}: {}", found[0].path);
        assert!(found[0].span.is_some(), "{rules}");
    }
    let found =
        orders().problems(&over(&["t", "c"], "data_quality: {rules: [{foreign_key: {column: status, references: c.id}}]}")).await;
    assert!(found[0].message.contains("keys of two types"), "{}", found[0].message);
    let found = orders().problems(&over(&["t", "c"], "data_quality: {rules: [{not_null: id}]}")).await;
    assert!(found[0].message.contains("no rule looks into `c`"), "{}", found[0].message);
}

#[tokio::test]
async fn a_decimal_is_held_against_the_digits_that_are_written() {
    let amounts = Decimal128Array::from(vec![Some(10), Some(11), Some(9)]).with_precision_and_scale(38, 2).unwrap();
    let bench = Bench::default().table("t", vec![("d", Arc::new(amounts) as ArrayRef)]);
    let got = bench.run_line("- data_quality: {rules: [{range: {column: d, min: 0.10, max: '0.10'}, on_fail: drop}]}").await;
    assert_eq!(got.rows, ["0.10"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The rules against a loop over the rows.
    #[test]
    fn rules_agree_with_a_loop_over_the_rows(
        rows in prop::collection::vec((prop::option::of(0i64..6), prop::option::of(-3i64..4)), 0..40),
        known in prop::collection::vec(prop::option::of(0i64..6), 0..5),
    ) {
        let keys: Vec<Option<i64>> = rows.iter().map(|row| row.0).collect();
        let bench = Bench::default()
            .table("t", vec![("k", ints(keys.clone())), ("v", ints(rows.iter().map(|row| row.1).collect()))])
            .table("c", vec![("k", ints(known.clone()))]);
        let transform = "data_quality: {rules: [{unique: k, on_fail: quarantine}, {foreign_key: {column: k, references: c.k}, on_fail: drop}, {range: {column: v, min: 0}, on_fail: warn}]}";
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let got = runtime.block_on(bench.run_over(&["t", "c"], transform));
        let mut times: HashMap<i64, usize> = HashMap::new();
        keys.iter().flatten().for_each(|key| *times.entry(*key).or_default() += 1);
        let (mut passed, mut dead, mut failed) = (Vec::new(), 0, [0u64; 3]);
        for (key, value) in &rows {
            let twice = key.is_some_and(|key| times[&key] > 1);
            let lost = key.is_some_and(|key| !known.contains(&Some(key)));
            failed[0] += u64::from(twice);
            failed[1] += u64::from(lost);
            failed[2] += u64::from(value.is_some_and(|value| value < 0));
            let shown = |value: &Option<i64>| value.map_or("∅".to_string(), |value| value.to_string());
            if twice {
                dead += 1;
            } else if !lost {
                passed.push(format!("{}|{}", shown(key), shown(value)));
            }
        }
        passed.sort();
        prop_assert_eq!(got.rows, passed);
        prop_assert_eq!(got.dead.len(), dead);
        let counts: Vec<u64> = got.rules.iter().map(|count| count.failed).collect();
        if !rows.is_empty() {
            prop_assert_eq!(counts, failed.to_vec());
        }
    }
}
