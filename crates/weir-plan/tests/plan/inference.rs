//! `schema_inference`: types from samples, and what becomes of values that the sample did not show.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field};

use crate::bench::{Bench, line, over};

fn texts(values: Vec<Option<&str>>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn people() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("id", texts(vec![Some("1"), Some("2"), Some("3")])),
        ("zip", texts(vec![Some("00501"), Some("10001"), None])),
        ("paid", texts(vec![Some("12.50"), Some("3"), Some("")])),
        ("born", texts(vec![Some("1815-12-10"), Some("NA"), Some("1912-06-23")])),
        ("mail", texts(vec![Some("a@b.org"), Some("c@d.org"), None])),
        ("n", Arc::new(Int64Array::from(vec![7, 8, 9])) as ArrayRef),
    ]
}

#[tokio::test]
async fn text_becomes_what_it_says_and_the_plan_tells_from_what() {
    let bench = Bench::default().table("t", people());
    let transform = "- schema_inference: {null_values: ['', NA]}";
    let plan = bench.line(transform).await;
    let types: Vec<String> = plan.columns.iter().map(|column| format!("{} {}", column.column, column.arrow)).collect();
    assert_eq!(types, ["id int64", "zip utf8", "paid decimal128(38,2)", "born date32", "mail utf8", "n int64"]);
    assert!(
        plan.warnings.iter().any(|note| note
            == "`schema_inference` inferred from 3 sampled rows: id int64 (3 of 3), paid decimal128(38,2) (2 of 2), born date32 (2 of 2), mail text, e-mail (2 of 2)"),
        "{:?}",
        plan.warnings
    );
    let got = bench.run_line(transform).await;
    assert_eq!(got.rows, ["1|00501|12.50|1815-12-10|a@b.org|7", "2|10001|3.00|∅|c@d.org|8", "3|∅|∅|1912-06-23|∅|9"]);
}

#[tokio::test]
async fn later_values_that_do_not_fit_are_dead_letters_and_never_null() {
    let batch = |values: Vec<Option<&str>>| RecordBatch::try_from_iter_with_nullable([("v", texts(values), true)]).unwrap();
    let rows = vec![batch(vec![Some("1"), Some("2"), None]), batch(vec![Some("x"), Some("9"), Some("07")])];
    let bench = Bench::default().batches("t", rows, &[]);
    let got = bench.run_line("- schema_inference: {sample_rows: 4, min_confidence: 0.5}").await;
    assert_eq!(got.rows, ["1", "2", "∅", "9"]);
    let reasons: Vec<&str> = got.dead.iter().map(|letter| letter.reason.as_str()).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("`x` is no int64")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("without leading zeros")), "{reasons:?}");
}

#[tokio::test]
async fn what_is_known_better_is_written() {
    let bench = Bench::default().table("t", people());
    let plan = bench
        .line("- schema_inference: {columns: [id, paid], null_values: [''], types: {id: text, paid: 'decimal(10,2)'}}")
        .await;
    let types: Vec<&str> = plan.columns.iter().map(|column| column.arrow.as_str()).collect();
    assert_eq!(types, ["utf8", "utf8", "decimal128(10,2)", "utf8", "utf8", "int64"]);
}

#[tokio::test]
async fn a_struct_becomes_columns_of_its_parts() {
    let city: ArrayRef = texts(vec![Some("Rome"), None]);
    let zip: ArrayRef = texts(vec![Some("5"), Some("6")]);
    let address = StructArray::from(vec![
        (Arc::new(Field::new("city", DataType::Utf8, true)), city),
        (Arc::new(Field::new("no", DataType::Utf8, true)), zip),
    ]);
    let bench = Bench::default().table("t", vec![("address", Arc::new(address) as ArrayRef)]);
    let got = bench.run_line("- schema_inference: {flatten: true}").await;
    assert_eq!((got.columns, got.rows), (vec!["address_city".into(), "address_no".into()], vec!["Rome|5".into(), "∅|6".into()]));
}

#[tokio::test]
async fn a_sample_of_nothing_changes_nothing() {
    let bench = Bench::default().table("t", vec![("a", texts(vec![])), ("b", texts(vec![]))]);
    let plan = bench.line("- schema_inference: {}").await;
    assert!(plan.columns.iter().all(|column| column.arrow == "utf8"));
    assert!(plan.warnings.iter().any(|note| note.contains("every text column stays text")), "{:?}", plan.warnings);
}

#[tokio::test]
async fn columns_with_different_values_are_named_as_keys() {
    let ids: Vec<String> = (0..30).map(|id| id.to_string()).collect();
    let bench = Bench::default()
        .table("t", vec![("id", texts(ids.iter().map(|id| Some(id.as_str())).collect())), ("k", texts(vec![Some("a"); 30]))]);
    let plan = bench.line("- schema_inference: {}").await;
    assert!(plan.warnings.iter().any(|note| note.ends_with("so perhaps a key: id")), "{:?}", plan.warnings);
}

#[tokio::test]
async fn it_reads_behind_what_runs_row_by_row_and_says_where_it_cannot() {
    let bench = Bench::default().table("t", people()).table("u", people());
    let got = bench.run_line("- sql: SELECT id || '0' AS tens FROM input WHERE n > 7\n- schema_inference: {}\n- sql: SELECT sum(tens) AS s FROM input").await;
    assert_eq!(got.rows, ["50"]);
    for transforms in ["- sql: SELECT id FROM input ORDER BY id\n- schema_inference: {}", "- schema_inference: {columns: [idd]}"]
    {
        let found = bench.problems(&line(transforms)).await;
        assert!(found[0].message.contains("sees rows together") || found[0].message.contains("no column `idd`"), "{found:?}");
    }
    let found = bench.problems(&over(&["t"], "schema_inference: {min_confidence: 2}")).await;
    assert!(found[0].path.ends_with("min_confidence"), "{found:?}");
}
