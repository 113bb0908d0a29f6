//! Shapes, keys, modes, losses, promises: what a plan allows and what it refuses.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use weir_connect::{Edge, WriteMode};
use weir_plan::{PlanFailure, Program, describe};
use weir_spec::Delivery;

use crate::bench::{Bench, line};

fn ints(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}
fn texts(values: Vec<&str>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn bench() -> Bench {
    let keyed = RecordBatch::try_from_iter([("id", ints(vec![1, 2, 3])), ("v", texts(vec!["a", "b", "c"]))]).unwrap();
    Bench::default()
        .batches("t", vec![keyed.clone()], &["id"])
        .batches("u", vec![keyed], &[])
        .table("w", vec![("id", ints(vec![2, 3, 4])), ("w", texts(vec!["x", "y", "z"]))])
}

fn codes(found: &[weir_spec::Diagnostic]) -> Vec<&str> {
    found.iter().map(|diagnostic| diagnostic.code.as_str()).collect()
}

#[tokio::test]
async fn several_tables_in_a_line_are_a_flow_each() {
    let text = "pipeline: p\nsource: {memory: {tables: [t, u]}}\ntransforms: [{filter: id > 1}]\nsink: {memory: {table: \"out_{stream}\"}}\n";
    let plan = bench().plan(text).await;
    assert_eq!(plan.flows.iter().map(|flow| flow.name.as_str()).collect::<Vec<_>>(), ["t", "u"]);
    assert_eq!(plan.actions, ["write out_t", "write out_u"]);
}

#[tokio::test]
async fn several_tables_to_one_place_are_refused() {
    let text = "pipeline: p\nsource: {memory: {tables: [t, u]}}\nsink: {memory: {table: out}}\n";
    let found = bench().problems(text).await;
    assert_eq!(codes(&found), ["WEIR-PLAN-009"]);
    assert!(found[0].help.as_ref().unwrap().contains("{stream}"));
    assert!(found[0].span.is_some());
}

#[tokio::test]
async fn a_tree_gives_each_sink_its_own_rows() {
    let text = "pipeline: p\nsources: {s: {memory: {table: t}}}\ntransforms:\n  big: {input: s, filter: id > 1}\n  \
                named: {input: big, sql: \"SELECT v FROM input\"}\nsinks:\n  all: {input: s, memory: {table: a}}\n  \
                some: {input: big, memory: {table: b}}\n  names: {input: named, memory: {table: c}}\n";
    let bench = bench();
    let plan = bench.plan(text).await;
    assert!(matches!(plan.flows[0].program, Program::RowLocal(_)));
    let got = bench.run(&plan).await;
    assert_eq!(got["all"].rows, ["1|a", "2|b", "3|c"]);
    assert_eq!((got["some"].rows.clone(), got["some"].filtered), (vec!["2|b".to_string(), "3|c".into()], 1));
    assert_eq!((got["names"].rows.clone(), got["names"].filtered), (vec!["b".to_string(), "c".into()], 1));
}

#[tokio::test]
async fn a_sink_with_several_inputs_writes_each_as_a_stream_of_its_own() {
    let text = |table: &str| {
        format!(
            "pipeline: p\nsources: {{a: {{memory: {{table: t}}}}, b: {{memory: {{table: w}}}}}}\ntransforms:\n  \
             big: {{input: a, filter: id > 1}}\nsinks: {{out: {{input: [big, b], memory: {{table: \"{table}\"}}}}}}\n"
        )
    };
    let bench = bench();
    let plan = bench.plan(&text("out_{stream}")).await;
    assert_eq!(plan.flows.iter().map(|flow| flow.name.as_str()).collect::<Vec<_>>(), ["t", "w"]);
    assert_eq!(plan.actions, ["write out_t", "write out_w"]);
    let reports: Vec<(&str, &str)> = plan.columns.iter().map(|c| (c.flow.as_str(), c.column.as_str())).collect();
    assert_eq!(reports, [("t", "id"), ("t", "v"), ("w", "id"), ("w", "w")]);
    assert_eq!(bench.run_flow(&plan.flows[0]).await[0].rows, ["2|b", "3|c"]);
    assert_eq!(bench.run_flow(&plan.flows[1]).await[0].rows, ["2|x", "3|y", "4|z"]);
    assert_eq!(codes(&bench.problems(&text("out")).await), ["WEIR-PLAN-009"]);
}

#[tokio::test]
async fn two_sources_meet_in_a_join() {
    let text = "pipeline: p\nsources: {Left: {memory: {table: t}}, right: {memory: {table: w}}}\n\
                transforms: {j: {input: [Left, right], sql: 'SELECT l.id, l.v, r.w FROM left l LEFT JOIN right r ON l.id = r.id'}}\n\
                sinks: {out: {input: j, memory: {table: out}}}\n"
        .replace("Left", "lefty")
        .replace("FROM left l LEFT JOIN right r", "FROM lefty l LEFT JOIN right r")
        .replace("right", "righty");
    let bench = bench();
    let plan = bench.plan(&text).await;
    assert_eq!((plan.flows.len(), plan.flows[0].name.as_str()), (1, "out"));
    assert_eq!(bench.run(&plan).await["out"].rows, ["1|a|∅", "2|b|x", "3|c|y"]);
}

#[tokio::test]
async fn a_cast_before_a_join_sets_rows_aside_and_one_behind_it_cannot() {
    let bench = bench().table("raw", vec![("id", texts(vec!["2", "two"]))]);
    let text = |second: &str| {
        format!(
            "pipeline: p\nsources: {{a: {{memory: {{table: raw}}}}, b: {{memory: {{table: w}}}}}}\ntransforms:\n  \
             f: {{input: a, filter: id <> 'x'}}\n  c: {{input: f, cast: {{columns: {{id: int64}}}}}}\n  \
             j: {{input: [c, b], sql: 'SELECT c.id, b.w FROM c JOIN b ON c.id = b.id'}}\n  \
             d: {{input: j, cast: {{columns: {{w: int64}}{second}}}}}\nsinks: {{out: {{input: d, memory: {{table: out}}}}}}\n"
        )
    };
    let plan = bench.plan(&text(", on_error: null")).await;
    let got = bench.run(&plan).await;
    assert_eq!((got["out"].rows.clone(), got["out"].dead.len()), (vec!["2|∅".to_string()], 1));
    assert_eq!(got["out"].dead[0].reason, "id: `two` is no int64");
    let plan = bench.plan(&text("")).await;
    assert!(plan.warnings.iter().any(|warning| warning.contains("`d` fails the run")), "{:?}", plan.warnings);
    assert_eq!(codes(&bench.problems(&text(", on_error: dead_letter")).await), ["WEIR-PLAN-018"]);
}

#[tokio::test]
async fn a_source_that_meets_another_gives_one_stream() {
    let text = "pipeline: p\nsources: {a: {memory: {tables: [t, u]}}, b: {memory: {table: w}}}\n\
                transforms: {j: {input: [a, b], sql: 'SELECT a.id FROM a JOIN b ON a.id = b.id'}}\nsinks: {out: {input: j, memory: {table: out}}}\n";
    let found = bench().problems(text).await;
    assert_eq!(codes(&found), ["WEIR-PLAN-016"]);
    assert!(found[0].expected.as_ref().unwrap().contains("`t`, `u`"));
}

#[tokio::test]
async fn parts_that_do_not_hang_together_are_flows_of_their_own() {
    let text = "pipeline: p\nsources: {a: {memory: {table: t}}, b: {memory: {table: t}}}\n\
                sinks: {x: {input: a, memory: {table: x}}, y: {input: b, memory: {table: y}}}\n";
    let plan = bench().plan(text).await;
    assert_eq!(plan.flows.iter().map(|flow| flow.name.as_str()).collect::<Vec<_>>(), ["a.t", "b.t"]);
    assert_eq!(plan.columns[0].flow, "a.t");
    assert_eq!(plan.columns[2].flow, "b.t");
}

#[tokio::test]
async fn sql_errors_stand_at_their_node_with_the_nearest_column() {
    let found = bench().problems(&line("- sql: SELECT idd FROM input")).await;
    assert_eq!((codes(&found), found[0].suggestion.as_deref()), (vec!["WEIR-PLAN-013"], Some("id")));
    assert_eq!(found[0].span.unwrap().line, 4);
    let found = bench().problems(&line("- sql: SELECT id FROM inputs")).await;
    assert!(found[0].message.contains("no table `inputs`") && found[0].message.contains("`input`"), "{}", found[0].message);
    assert_eq!(codes(&bench().check(&line("- sql: SELEC id FROM input"))), ["WEIR-PLAN-012"]);
    assert_eq!(codes(&bench().check(&line("- filter: id >"))), ["WEIR-PLAN-012"]);
    assert_eq!(codes(&bench().check(&line("- sql: DROP TABLE input"))), ["WEIR-PLAN-013"]);
    assert_eq!(codes(&bench().check(&line("- sql: SELECT 1; SELECT 2"))), ["WEIR-PLAN-013"]);
}

#[tokio::test]
async fn a_name_in_capitals_gets_the_hint_to_quote_it() {
    let bench = bench().table("c", vec![("TailNum", ints(vec![1]))]);
    let text = line("- sql: SELECT TailNum FROM input").replace("table: t", "table: c");
    let found = bench.problems(&text).await;
    assert_eq!(found[0].help.as_deref(), Some("names without quotes mean lower case: write \"TailNum\""));
}

#[tokio::test]
async fn two_result_columns_of_one_name_are_refused() {
    let found = bench().problems(&line("- sql: SELECT a.id, b.id FROM input a JOIN input b ON a.id = b.id")).await;
    assert!(found[0].message.contains("two columns are called `id`"), "{}", found[0].message);
}

#[tokio::test]
async fn every_problem_is_told_at_once() {
    let text = line("- cast: {columns: {nope: int64, v: date}}\n- mask: {columns: {gone: hash}}")
        .replace("{table: out}", "{table: out, write_mode: merge}");
    let found = bench().problems(&text).await;
    assert_eq!(codes(&found), ["WEIR-PLAN-007"], "the sink first: without it there are no flows");
    let found = bench().problems(&line("- cast: {columns: {nope: int64, v: 'interval'}}")).await;
    assert_eq!(codes(&found), ["WEIR-PLAN-014"]);
    let found = bench().problems(&line("- field_mapper: {rename: {nope: x}, drop: [gone]}")).await;
    assert_eq!(codes(&found), ["WEIR-PLAN-015", "WEIR-PLAN-015"]);
}

#[tokio::test]
async fn upsert_takes_the_primary_key_if_it_arrives_unchanged() {
    let text = |transforms: &str| line(transforms).replace("{table: out}", "{table: out, write_mode: upsert}");
    let plan = bench().plan(&text("- field_mapper: {rename: {id: key}}")).await;
    assert_eq!(
        (plan.flows[0].outputs[0].write_mode, plan.flows[0].outputs[0].key.clone()),
        (WriteMode::Upsert, vec!["key".to_string()])
    );
    for transforms in
        ["- sql: SELECT id + 1 AS id, v FROM input", "- field_mapper: {drop: [id]}", "- cast: {columns: {id: text}}"]
    {
        assert_eq!(codes(&bench().problems(&text(transforms)).await), ["WEIR-PLAN-008"], "{transforms}");
    }
    let found = bench().problems(&line("").replace("{table: out}", "{table: out, write_mode: upsert, key: [idd]}")).await;
    assert_eq!((codes(&found), found[0].suggestion.as_deref()), (vec!["WEIR-PLAN-008"], Some("id")));
}

#[tokio::test]
async fn incremental_needs_something_that_moves_and_a_cursor_that_exists() {
    let incremental = |source: &str| format!("mode: incremental\n{}", line("").replace("{table: t}", source));
    assert_eq!(codes(&bench().check(&incremental("{table: t}"))), ["WEIR-PLAN-006"]);
    assert!(bench().check(&incremental("{table: t, query: \"SELECT * FROM t WHERE at > '${last_run_time}'\"}")).is_empty());
    let found = bench().problems(&incremental("{table: t, cursor: idd}")).await;
    assert_eq!((codes(&found), found[0].suggestion.as_deref()), (vec!["WEIR-PLAN-006"], Some("id")));
    let plan = bench().plan(&incremental("{table: t, cursor: id, lag: \"5\"}")).await;
    assert_eq!((plan.flows[0].inputs[0].cursor.as_deref(), plan.flows[0].inputs[0].cursor_lag), (Some("id"), Some(5)));
    assert_eq!(codes(&bench().problems(&incremental("{table: t, cursor: id, lag: 5m}")).await), ["WEIR-PLAN-006"]);
    let overwrite = incremental("{table: t, cursor: id}").replace("{table: out}", "{table: out, write_mode: overwrite}");
    assert_eq!(codes(&bench().check(&overwrite)), ["WEIR-PLAN-007"]);
}

#[tokio::test]
async fn changes_need_a_log_and_a_sink_that_applies_them() {
    let cdc = |sink: &str, more: &str| format!("mode: cdc\n{}", line(more).replace("{table: out}", sink));
    let found = bench().check(&cdc("{table: out, write_mode: overwrite}", ""));
    let expected = "upsert, merge; append where changes are kept as rows";
    assert_eq!((codes(&found), found[0].expected.as_deref()), (vec!["WEIR-PLAN-007"], Some(expected)));
    // Whether changes may be appended is for the sink to say.
    assert!(bench().check(&cdc("{table: out, write_mode: append}", "")).is_empty());
    // The source of this bench has rows, and no log of them.
    let found = bench().problems(&cdc("{table: out}", "")).await;
    assert!(codes(&found).contains(&"WEIR-PLAN-005"), "{found:?}");
    assert!(found.iter().any(|problem| problem.message.contains("has no log of changes")), "{found:?}");
    assert!(found.iter().any(|problem| problem.message.contains("applies no changes")), "{found:?}");
}

fn lossy() -> Bench {
    let edge = Edge::Lossy { reason: "more than 38 digits".into() };
    let fields = vec![
        edge.record(Field::new("total", DataType::Utf8, true), "numeric"),
        Edge::Exact.record(Field::new("id", DataType::Int64, false), "bigint"),
        Field::new("at", DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, None), true),
        Field::new("f", DataType::Float32, true),
    ];
    let columns: Vec<ArrayRef> = vec![
        texts(vec!["1"]),
        ints(vec![1]),
        Arc::new(TimestampNanosecondArray::from(vec![1])),
        Arc::new(Float32Array::from(vec![0.5])),
    ];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    Bench::default().batches("t", vec![batch], &[])
}

#[tokio::test]
async fn a_loss_that_nobody_allowed_is_refused_and_still_shown() {
    let Err(PlanFailure::Refused(plan, found)) = lossy().try_plan(&line("")).await else { panic!() };
    assert_eq!(codes(&found), ["WEIR-PLAN-010", "WEIR-PLAN-010"]);
    assert!(
        found[0].message.contains("column `total`")
            && found[0].message.contains("numeric")
            && found[0].message.contains("38 digits")
    );
    let help = found[1].help.as_ref().unwrap();
    assert!(help.contains("on_loss: {at: string}") && help.contains("cast") && help.contains("drop: [at]"), "{help}");
    assert_eq!(plan.columns.iter().map(|column| column.allowed).collect::<Vec<_>>(), [false, true, false, true]);
    assert!(matches!(plan.columns[3].edge, Edge::Widening { .. }));
    let text = describe::text(&plan, 120);
    assert!(
        text.contains("LOSSY")
            && text.trim_end().ends_with("2 columns would lose data: the run will refuse until `on_loss` is set"),
        "{text}"
    );
    assert_eq!(describe::json(&plan)["refused"], true);
}

#[tokio::test]
async fn on_loss_lets_through_writes_as_text_or_leaves_out() {
    let bench = lossy();
    let with = |choices: &str| format!("on_loss: {{{choices}}}\n{}", line(""));
    let plan = bench.plan(&with("total: accept, at: string")).await;
    assert_eq!(bench.run(&plan).await["sink"].rows, ["1|1|1970-01-01T00:00:00.000000001|0.5"]);
    assert_eq!(plan.columns[2].arrow, "timestamp[ns] → utf8");
    let plan = bench.plan(&with("'*': drop")).await;
    let got = bench.run(&plan).await;
    assert_eq!(
        (got["sink"].columns.clone(), got["sink"].rows.clone()),
        (vec!["id".to_string(), "f".into()], vec!["1|0.5".to_string()])
    );
    assert_eq!(plan.warnings.len(), 2);
    let plan = bench.plan(&with("total: accept, at: accept")).await;
    assert!(plan.columns.iter().all(|column| column.allowed));
}

#[tokio::test]
async fn a_loss_travels_with_the_value_and_ends_where_the_column_ends() {
    let bench = lossy();
    let found = bench.problems(&line("- sql: SELECT id, total || '!' AS shown FROM input")).await;
    assert!(
        found.len() == 1 && found[0].message.contains("column `shown`") && found[0].message.contains("source column `total`"),
        "{found:?}"
    );
    let plan = bench.plan(&line("- field_mapper: {drop: [total]}\n- cast: {columns: {at: timestamp}}")).await;
    assert!(plan.columns.iter().all(|column| column.allowed));
}

#[tokio::test]
async fn the_source_type_stays_with_a_column_that_passes_unchanged() {
    let bench = lossy();
    let text = format!(
        "on_loss: {{total: accept}}\n{}",
        line("- field_mapper: {drop: [at, f]}\n- sql: SELECT total AS sum, id FROM input WHERE id > 0 ORDER BY id")
    );
    let plan = bench.plan(&text).await;
    assert_eq!((plan.columns[0].source.as_str(), plan.columns[1].source.as_str()), ("numeric", "bigint"));
    let schema = &plan.flows[0].outputs[0].schema;
    let expected: HashMap<String, String> = [("weir.source_type".to_string(), "bigint".to_string())].into();
    assert_eq!(schema.field(1).metadata(), &expected);
}

#[tokio::test]
async fn the_promise_follows_from_source_program_and_sink() {
    let all = |source: &str, transform: &str, sink: &str| {
        line(transform)
            .replace("{table: t}", &format!("{{table: t{source}}}"))
            .replace("{table: out}", &format!("{{table: out{sink}}}"))
    };
    let (exactly, effectively, at_least) = (Delivery::ExactlyOnce, Delivery::EffectivelyOnce, Delivery::AtLeastOnce);
    for (source, transform, sink, promise) in [
        ("", "", "", exactly),
        ("", "", ", commit: co_committed", exactly),
        ("", "", ", commit: append", at_least),
        ("", "", ", commit: append, write_mode: upsert", effectively),
        (", unrepeatable: true", "", "", at_least),
        (", unrepeatable: true", "- sql: SELECT DISTINCT id FROM input", "", exactly),
        (", unrepeatable: true", "", ", commit: append, write_mode: upsert", at_least),
    ] {
        let plan = bench().plan(&all(source, transform, sink)).await;
        assert_eq!(plan.guarantee.delivery, promise, "{source} {transform} {sink}");
        assert!(!plan.guarantee.reasons.is_empty());
    }
    let demand = format!("delivery: exactly_once\n{}", all("", "", ", commit: append"));
    let found = bench().problems(&demand).await;
    assert_eq!((codes(&found), found[0].span.unwrap().line), (vec!["WEIR-SPEC-021"], 1));
    assert!(found[0].label.as_ref().unwrap().contains("write_mode `append` gives at_least_once"), "{:?}", found[0].label);
    assert!(found[0].help.as_ref().unwrap().ends_with("or ask for at_least_once"), "{:?}", found[0].help);
    let demand = format!("delivery: effectively_once\n{}", all("", "", ", commit: append"));
    assert!(bench().problems(&demand).await[0].help.as_ref().unwrap().contains("write_mode: upsert` with a key"));
}

#[tokio::test]
async fn the_plan_reads_as_the_sketch_and_fits_the_terminal() {
    let text = "pipeline: orders_to_lake\nmode: incremental\nsource: {memory: {table: t, cursor: id, lag: \"5\"}}\n\
                transforms:\n  - filter: id > 1\n  - sql: SELECT *, id * 2 AS twice FROM input\nsink: {memory: {table: out, write_mode: upsert}}\n";
    let plan = bench().plan(text).await;
    let shown = describe::text(&plan, 100);
    for expected in [
        "orders_to_lake   incremental · native engine · exactly_once",
        "why exactly_once: memory gives the same rows again; memory stages rows until the commit",
        "source memory t · about 3 rows, 24 B, 1 split",
        "first run: everything; then id > last committed (lag 5)",
        "transforms filter → sql · streaming, bounded memory",
        "sink memory out   upsert on (id)",
        "twice   id * 2 (sql)  int64  int64  from id",
        "will: write out",
    ] {
        assert!(shown.contains(expected), "{expected}\n{shown}");
    }
    for width in [40, 60, 80] {
        let narrow = describe::text(&plan, width);
        assert!(narrow.lines().all(|line| line.chars().count() <= width), "{narrow}");
    }
}

#[tokio::test]
async fn a_source_that_cannot_be_reached_is_an_error_and_no_diagnostic() {
    let failure = bench().try_plan(&line("").replace("table: t", "table: missing")).await;
    let Err(PlanFailure::Error(error)) = failure else { panic!() };
    assert_eq!((error.code(), error.place()), ("WEIR-MEM-002", Some("source `source`")));
}
