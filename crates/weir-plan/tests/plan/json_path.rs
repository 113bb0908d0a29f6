//! Values out of JSON: each with its own type and digits, and no row that is bent.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use weir_plan::Program;

use crate::bench::Bench;

const DOCUMENTS: [Option<&str>; 5] = [
    Some(
        r#"{"id": 12345678901234567890123, "who": {"name": "Ada", "tags": ["a", "b"]}, "at": "2024-01-02T03:04:05Z", "price": 1.10}"#,
    ),
    Some(r#"{"id": 2, "who": {"name": null}, "price": "x"}"#),
    Some("{broken"),
    None,
    Some("[]"),
];

fn bench() -> Bench {
    let ids = Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5])) as ArrayRef;
    Bench::default().table("t", vec![("n", ids), ("doc", Arc::new(StringArray::from(DOCUMENTS.to_vec())) as ArrayRef)])
}

const PATHS: &str = "columns: [{path: $.id, as: id, type: \"decimal(38,0)\"}, {path: $.who.name, as: who}, {path: \"$.who.tags[-1]\", as: tag}, \
                     {path: \"$..tags[*]\", as: tags}, {path: $.who, as: raw, type: json}, {path: $.price, as: price, type: \"decimal(9,2)\"}, \
                     {path: $.at, as: at, type: timestamptz}]";

#[tokio::test]
async fn values_come_out_with_their_types_and_digits_and_bad_rows_are_set_aside() {
    let bench = bench();
    let plan = bench.line(&format!("- json_path: {{column: doc, keep: false, {PATHS}}}")).await;
    assert!(matches!(plan.flows[0].program, Program::RowLocal(_)), "row by row");
    let got = bench.run(&plan).await.remove("sink").unwrap();
    assert_eq!(got.columns, ["n", "id", "who", "tag", "tags", "raw", "price", "at"]);
    assert_eq!(
        got.rows,
        [
            r#"1|12345678901234567890123|Ada|b|["a","b"]|{"name": "Ada", "tags": ["a", "b"]}|1.10|2024-01-02T03:04:05Z"#,
            "4|∅|∅|∅|∅|∅|∅|∅",
            "5|∅|∅|∅|[]|∅|∅|∅"
        ]
    );
    let dead: Vec<(&str, &str)> = got.dead.iter().map(|letter| (letter.code.as_str(), letter.reason.as_str())).collect();
    assert!(dead.contains(&("WEIR-ROW-001", "price: `x` is no decimal128(9,2)")), "{dead:?}");
    assert!(
        dead.iter()
            .any(|(code, reason)| *code == "WEIR-ROW-002" && reason.starts_with("doc: no JSON: a name is expected at byte 1")),
        "{dead:?}"
    );
    assert!(plan.columns[1..].iter().all(|column| column.from == ["source.t.doc"]), "{:?}", plan.columns);
    assert_eq!(plan.flows[0].outputs[0].schema.field(4).metadata()["weir.logical_type"], "json");
}

#[tokio::test]
async fn null_takes_the_place_of_what_does_not_fit_where_that_is_asked_for() {
    let got = bench().run_line(&format!("- json_path: {{column: doc, on_error: null, keep: false, {PATHS}}}")).await;
    assert_eq!((got.rows.len(), got.dead.len()), (5, 0));
    assert_eq!(got.rows[1], "2|2|∅|∅|[]|{\"name\": null}|∅|∅");
    assert_eq!(got.rows[2], "3|∅|∅|∅|∅|∅|∅|∅");
}

#[tokio::test]
async fn an_error_ends_the_run_where_that_is_asked_for() {
    for (options, told) in [("on_error: error", "no JSON"), ("on_error: null, on_missing: error", "leads nowhere")] {
        let bench = bench();
        let plan = bench.line(&format!("- json_path: {{column: doc, {options}, columns: [{{path: $.zz, as: z}}]}}")).await;
        let Program::RowLocal(program) = &plan.flows[0].program else { panic!() };
        let rows = arrow::array::RecordBatch::try_from_iter_with_nullable([
            ("n", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef, true),
            ("doc", Arc::new(StringArray::from(vec![Some("{"), Some("{}")])) as ArrayRef, true),
        ])
        .unwrap();
        let error = program.apply(&rows).unwrap_err();
        assert!(error.code() == "WEIR-ROW-004" && error.to_string().contains(told), "{error}");
    }
}

#[tokio::test]
async fn a_path_that_leads_nowhere_may_set_its_row_aside() {
    let got = bench().run_line("- json_path: {column: doc, on_missing: dead_letter, columns: [{path: $.price, as: p}]}").await;
    assert_eq!((got.rows.len(), got.dead.len()), (3, 2), "the broken one and the list");
}

#[tokio::test]
async fn the_names_that_others_use_are_understood() {
    let got = bench()
        .run_line("- json_path: {src_field: doc, columns: [{path: $.who.name, dest_field: who, dest_type: string}]}")
        .await;
    assert_eq!(got.columns, ["n", "doc", "who"]);
}

#[tokio::test]
async fn mistakes_are_told_with_their_places() {
    for (options, told) in [
        ("column: dok, columns: [{path: $.a, as: a}]", "no column `dok`"),
        ("column: n, columns: [{path: $.a, as: a}]", "no text"),
        ("column: doc, columns: [{path: a, as: a}]", "begins with `$`"),
        ("column: doc, columns: [{path: $.a, as: n}]", "two columns would be called `n`"),
        ("column: doc, columns: [{path: $.a, as: a}, {path: $.b, as: a}]", "two columns would be called `a`"),
        ("column: doc, columns: [{path: $.a, as: a, type: int}]", "`int` is no type"),
        ("column: doc, columns: [{path: $.*, as: a, type: int64}]", "may find several values"),
        ("column: doc, columns: []", "nothing to take out"),
    ] {
        let text = crate::bench::line(&format!("- json_path: {{{options}}}"));
        let mut found = bench().misspelt(&text);
        if found.is_empty() {
            found = bench().problems(&text).await;
        }
        assert!(found.iter().any(|problem| problem.message.contains(told)) || told.contains("nothing"), "{options}: {found:#?}");
        assert!(!found.is_empty() && found.iter().all(|problem| problem.span.is_some()), "{options}: {found:#?}");
    }
}
