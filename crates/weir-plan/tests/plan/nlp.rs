//! `nlp`: the columns that it adds.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use weir_plan::Program;

use crate::bench::{Bench, line};

fn reviews() -> Bench {
    let texts = StringArray::from(vec![
        Some("I love this phone, it is excellent! Ask Ada Lovelace in London."),
        Some("Das Telefon ist nach einer Woche kaputt gegangen und der Händler antwortet nicht."),
        None,
        Some(""),
    ]);
    Bench::default()
        .table("t", vec![("id", Arc::new(Int64Array::from(vec![1, 2, 3, 4])) as ArrayRef), ("body", Arc::new(texts) as ArrayRef)])
}

#[tokio::test]
async fn columns_are_added_row_by_row() {
    let plan = reviews().line("- nlp: {column: body}").await;
    assert!(matches!(plan.flows[0].program, Program::RowLocal(_)));
    let got = reviews().run_line("- nlp: {column: body}").await;
    assert_eq!(
        got.columns,
        ["id", "body", "body_language", "body_language_confidence", "body_sentiment", "body_sentiment_label", "body_entities"]
    );
    let cells: Vec<Vec<&str>> = got.rows.iter().map(|row| row.split('|').collect()).collect();
    assert_eq!((cells[0][2], cells[0][5]), ("eng", "positive"));
    assert_eq!(
        cells[0][6],
        r#"[{"kind":"person","text":"Ada Lovelace","start":40,"end":52},{"kind":"place","text":"London","start":56,"end":62}]"#
    );
    assert_eq!(cells[1][2], "deu");
    assert_eq!(cells[2][2..], ["∅"; 5]);
    assert_eq!(cells[3][2..], ["∅", "∅", "∅", "∅", "[]"]);
}

#[tokio::test]
async fn only_what_is_asked_for_is_added_and_comes_from_the_text() {
    let plan = reviews().line("- nlp: {column: body, enrich: [sentiment], prefix: r_}").await;
    let from: Vec<String> =
        plan.columns.iter().skip(2).map(|column| format!("{} ← {}", column.column, column.from.len())).collect();
    assert_eq!(from, ["r_sentiment ← 1", "r_sentiment_label ← 1"]);
    assert!(plan.columns[2].from[0].ends_with(".body"));
    let got = reviews().run_line("- nlp: {column: body, enrich: [entities], entities: [place], prefix: ''}").await;
    assert!(got.rows[0].ends_with(r#"|[{"kind":"place","text":"London","start":56,"end":62}]"#), "{}", got.rows[0]);
}

#[tokio::test]
async fn mistakes_are_told_at_their_place() {
    for (options, what, path) in [
        ("{column: bdy}", "no column `bdy`", "column"),
        ("{column: id}", "`id` is int64, not text", "column"),
        ("{column: body, enrich: [language], entities: [place]}", "asks for no entities", "entities"),
    ] {
        let found = reviews().problems(&line(&format!("- nlp: {options}"))).await;
        assert!(found[0].message.contains(what) && found[0].path.ends_with(path), "{options}: {found:?}");
    }
    let found = reviews().problems(&line("- field_mapper: {constants: {body_language: x}}\n- nlp: {column: body}")).await;
    assert!(found[0].message.contains("a column `body_language` already"), "{found:?}");
}
