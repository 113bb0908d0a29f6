//! One stream into several: where each row goes, and that none is lost on the way.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use proptest::prelude::*;
use weir_plan::{PlanFailure, Program};

use crate::bench::{Bench, Got};

fn bench(regions: Vec<Option<&str>>) -> Bench {
    let ids: Int64Array = (1..=regions.len() as i64).collect();
    Bench::default()
        .table("t", vec![("id", Arc::new(ids) as ArrayRef), ("region", Arc::new(StringArray::from(regions)) as ArrayRef)])
}

fn pipeline(split: &str, sinks: &[(&str, &str)]) -> String {
    let sinks: Vec<String> = sinks
        .iter()
        .map(|(name, input)| format!("  {name}: {{input: {input}, memory: {{table: \"{name}_{{stream}}\"}}}}\n"))
        .collect();
    format!(
        "pipeline: p\nsources: {{s: {{memory: {{table: t}}}}}}\ntransforms:\n  routed: {{input: s, split: {split}}}\nsinks:\n{}",
        sinks.concat()
    )
}

async fn run(bench: &Bench, text: &str) -> Vec<(String, Got)> {
    let plan = bench.plan(text).await;
    let flow = &plan.flows[0];
    assert!(matches!(flow.program, Program::RowLocal(_)), "a split runs row by row");
    let names = flow.outputs.iter().map(|output| format!("{}/{}", output.node, output.stream));
    names.zip(bench.run_flow(flow).await).collect()
}

#[tokio::test]
async fn each_row_goes_to_the_first_route_that_takes_it_and_the_rest_to_the_default() {
    let bench = bench(vec![Some("EU"), Some("US"), None, Some("EU"), Some("XX")]);
    let text = pipeline(
        "{eu: \"region = 'EU'\", known: \"region IN ('EU', 'US')\", rest: default}",
        &[("a", "routed.eu"), ("b", "routed.known"), ("c", "routed.rest")],
    );
    let got = run(&bench, &text).await;
    let rows: Vec<(&str, Vec<String>, u64)> =
        got.iter().map(|(name, got)| (name.as_str(), got.rows.clone(), got.filtered)).collect();
    assert_eq!(rows[0], ("a/t", vec!["1|EU".into(), "4|EU".into()], 3));
    assert_eq!(rows[1], ("b/t", vec!["2|US".into()], 4));
    assert_eq!(rows[2], ("c/t", vec!["3|∅".into(), "5|XX".into()], 3));
}

#[tokio::test]
async fn a_sink_that_reads_the_split_itself_gets_every_route_as_a_stream() {
    let bench = bench(vec![Some("EU"), Some("US"), Some("CA")]);
    let got = run(&bench, &pipeline("{by: region, values: {eu: EU, america: [US, CA]}}", &[("all", "routed")])).await;
    let names: Vec<&str> = got.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["all/t_eu", "all/t_america"]);
    assert_eq!(got[1].1.rows, ["2|US", "3|CA"]);
}

#[tokio::test]
async fn a_row_that_no_route_takes_ends_the_run_unless_it_is_said_what_becomes_of_it() {
    let bench = bench(vec![Some("EU"), None]);
    let plan = bench.plan(&pipeline("{eu: \"region = 'EU'\"}", &[("a", "routed.eu")])).await;
    let Program::RowLocal(program) = &plan.flows[0].program else { panic!() };
    let row = |region: Option<&str>| {
        RecordBatch::try_from_iter_with_nullable([
            ("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef, true),
            ("region", Arc::new(StringArray::from(vec![region])) as ArrayRef, true),
        ])
        .unwrap()
    };
    assert!(program.apply(&row(Some("EU"))).is_ok());
    let error = program.apply(&row(None)).unwrap_err();
    assert_eq!(error.code(), "WEIR-ROW-004");
    assert!(error.to_string().contains("no route takes the row"), "{error}");

    let dead =
        run(&bench, &pipeline("{routes: [{name: eu, where: \"region = 'EU'\"}], unmatched: dead_letter}", &[("a", "routed.eu")]))
            .await;
    assert_eq!((dead[0].1.rows.len(), dead[0].1.dead.len()), (1, 1));
    assert_eq!(dead[0].1.dead[0].reason, "no route takes the row");
    assert_eq!(dead[0].1.dead[0].payload, br#"{"id":2,"region":null}"#);

    let dropped = run(&bench, &pipeline("{eu: \"region = 'EU'\", unmatched: drop}", &[("a", "routed.eu")])).await;
    assert_eq!((dropped[0].1.rows.len(), dropped[0].1.filtered), (1, 1));
}

#[tokio::test]
async fn a_predicate_that_cannot_be_computed_sets_its_row_aside_once_for_each_way() {
    let bench =
        Bench::default().table("t", vec![("n", Arc::new(Int64Array::from(vec![Some(0), Some(1), Some(20), None])) as ArrayRef)]);
    let got =
        run(&bench, &pipeline("{small: \"10 / n > 5\", rest: default}", &[("a", "routed.small"), ("b", "routed.rest")])).await;
    assert_eq!((got[0].1.rows.clone(), got[1].1.rows.clone()), (vec!["1".to_string()], vec!["20".to_string(), "∅".into()]));
    assert_eq!((got[0].1.dead.len(), got[1].1.dead.len()), (1, 1));
}

#[tokio::test]
async fn columns_pass_a_split_as_they_are() {
    let plan = bench(vec![Some("EU")])
        .plan(&pipeline("{eu: \"region = 'EU'\", rest: default}", &[("a", "routed.eu"), ("b", "routed.rest")]))
        .await;
    assert_eq!(plan.flows[0].outputs[0].schema.fields().len(), 2);
    assert!(plan.columns.iter().all(|column| column.from == [format!("s.t.{}", column.column)]), "{:?}", plan.columns);
}

#[tokio::test]
async fn a_transform_may_go_on_from_one_route() {
    let bench = bench(vec![Some("EU"), Some("US")]);
    for name in ["input", "routed.rest", "t"] {
        let text = format!(
            "pipeline: p\nsources: {{s: {{memory: {{table: t}}}}}}\ntransforms:\n  routed: {{input: s, split: {{eu: \"region = 'EU'\", rest: default}}}}\n  \
             more: {{input: routed.rest, sql: SELECT id * 10 AS id FROM {name}}}\nsinks:\n  a: {{input: routed.eu, memory: {{table: a}}}}\n  b: {{input: more, memory: {{table: b}}}}\n"
        );
        assert_eq!(run(&bench, &text).await[1].1.rows, ["20"], "{name}");
    }
}

#[tokio::test]
async fn mistakes_are_told_with_their_places() {
    let bench = bench(vec![Some("EU")]);
    let all = [("a", "routed.eu"), ("b", "routed.rest")];
    for (split, sinks, told) in [
        ("{eu: \"regio = 'EU'\", rest: default}", &all[..], "no column `regio`"),
        ("{eu: \"region =\", rest: default}", &all[..], "cannot be parsed"),
        ("{eu: \"id + 1\", rest: default}", &all[..], "true or false"),
        ("{by: id, values: [eu], unmatched: rest}", &all[..], "`eu` is no value of the column, which is int64"),
        ("{by: regio, values: [eu], unmatched: rest}", &all[..], "no column `regio`"),
        ("{by: region, values: [eu, eu], unmatched: rest}", &all[..], "twice"),
        ("{eu: \"region = 'EU'\", rest: default}", &[("a", "routed.eu"), ("b", "routed.rst")][..], "no output `rst`"),
    ] {
        let found = bench.problems(&pipeline(split, sinks)).await;
        assert!(found.iter().any(|problem| problem.message.contains(told)), "{split}: {found:#?}");
        assert!(found.iter().all(|problem| problem.span.is_some()), "{split}: {found:#?}");
    }
    let near = bench.problems(&pipeline("{eu: \"id = 1\", rest: default}", &[("a", "routed.eu"), ("b", "routed.rst")])).await;
    assert_eq!(near[0].suggestion.as_deref(), Some("rest"));
    let whole = "pipeline: p\nsources: {s: {memory: {table: t}}}\ntransforms:\n  routed: {input: s, split: {eu: \"id = 1\", rest: default}}\n  f: {input: routed, filter: id > 0}\nsinks:\n  a: {input: f, memory: {table: a}}\n";
    let found = bench.problems(whole).await;
    assert!(found[0].message.contains("2 outputs"), "{found:#?}");
}

#[tokio::test]
async fn a_route_that_nobody_reads_is_warned_about() {
    let plan = bench(vec![Some("EU")]).plan(&pipeline("{eu: \"region = 'EU'\", rest: default}", &[("a", "routed.eu")])).await;
    assert!(plan.warnings.iter().any(|warning| warning.contains("nothing reads `routed.rest`")), "{:?}", plan.warnings);
    assert!(matches!(bench(vec![]).try_plan(&pipeline("{}", &[("a", "routed.eu")])).await, Err(PlanFailure::Diagnostics(_))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_row_goes_exactly_one_way(values in prop::collection::vec(prop::option::of(-5i64..15), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bench = Bench::default().table("t", vec![("n", Arc::new(Int64Array::from(values.clone())) as ArrayRef)]);
        let text = pipeline("{low: n < 3, even: n % 2 = 0, high: n > 9, rest: default}", &[("a", "routed.low"), ("b", "routed.even"), ("c", "routed.high"), ("d", "routed.rest")]);
        let got = runtime.block_on(run(&bench, &text));
        let way = |n: &Option<i64>| match n {
            Some(n) if *n < 3 => 0,
            Some(n) if n % 2 == 0 => 1,
            Some(n) if *n > 9 => 2,
            _ => 3,
        };
        for (index, (_, got)) in got.iter().enumerate() {
            let expected: Vec<String> = values.iter().filter(|n| way(n) == index).map(|n| n.map_or("∅".into(), |n| n.to_string())).collect();
            prop_assert_eq!(&got.rows, &expected);
        }
    }
}
