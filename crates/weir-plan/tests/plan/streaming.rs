//! `mode: streaming`: what may run without end, when rows appear, and what is promised.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array};
use weir_plan::describe;
use weir_plan::streaming::{Pace, checkpoint_interval};
use weir_spec::{Delivery, to_native_yaml};

use crate::bench::{Bench, line};

fn bench() -> Bench {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    Bench::default().table("t", vec![("id", ids.clone())]).table("u", vec![("id", ids)])
}

/// A line from an endless source; `top` are keys of the pipeline, `sink` options.
fn endless(top: &str, transforms: &str, sink: &str) -> String {
    let line = line(transforms).replace("{table: t}", "{table: t, endless: true}");
    format!("mode: streaming\n{top}{}", line.replace("{table: out}", &format!("{{table: out{sink}}}")))
}

async fn pace(text: &str) -> Pace {
    let plan = bench().plan(text).await;
    Pace::of(&plan.pipeline, &plan.flows[0], checkpoint_interval(&plan.pipeline).unwrap())
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[tokio::test]
async fn a_source_that_ends_is_no_stream() {
    let found = bench().problems(&format!("mode: streaming\n{}", line(""))).await;
    assert_eq!((found.len(), found[0].code.as_str()), (1, "WEIR-PLAN-005"));
    assert!(found[0].message.contains("(memory) has an end"), "{}", found[0].message);
}

#[tokio::test]
async fn overwrite_has_no_moment_to_happen() {
    let found = bench().check(&endless("", "", ", write_mode: overwrite"));
    assert_eq!((found[0].code.as_str(), found[0].expected.as_deref()), ("WEIR-PLAN-007", Some("append, upsert, merge")));
}

#[tokio::test]
async fn what_sees_rows_together_is_named() {
    let found = bench().problems(&endless("", "- sql: SELECT id, count(*) AS n FROM input GROUP BY id", "")).await;
    assert_eq!(found[0].code, "WEIR-PLAN-005");
    assert!(found[0].message.contains("`mode: streaming` has no place for `"), "{}", found[0].message);
    assert!(found[0].help.as_ref().unwrap().contains("windows"));
}

#[tokio::test]
async fn two_sinks_that_keep_positions_are_named() {
    let two = |first: &str, second: &str| {
        format!(
            "pipeline: p\nmode: streaming\nsource: {{memory: {{table: t, endless: true}}}}\nsinks:\n  a: {{memory: {{table: a, commit: {first}}}}}\n  \
             b: {{memory: {{table: b, commit: {second}}}}}\n"
        )
    };
    let found = bench().problems(&two("co_committed", "co_committed")).await;
    assert!(found[0].message.contains("sinks `a` and `b`"), "{}", found[0].message);
    bench().plan(&two("co_committed", "staged")).await;
}

#[tokio::test]
async fn each_kind_of_sink_has_its_pace() {
    let files = pace(&endless("", "", "")).await;
    assert_eq!((files.checkpoint, files.roll, files.roll_bytes), (None, secs(60), 128 << 20));
    let rolled = pace(&endless("roll: {interval_ms: 5s, bytes: 1MiB}\n", "", "")).await;
    assert_eq!((rolled.checkpoint, rolled.roll, rolled.roll_bytes), (None, secs(5), 1 << 20));
    let table = pace(&endless("", "", ", commit: co_committed")).await;
    assert_eq!((table.checkpoint, table.roll), (Some(secs(1)), secs(60)));
    assert_eq!(table.roll_bytes, u64::MAX, "no row waits for the turn");
    let merged =
        pace(&endless("checkpoint_interval_ms: 2s\n", "", ", commit: co_committed, write_mode: upsert, key: [id]")).await;
    assert_eq!((merged.checkpoint, merged.roll), (None, secs(2)), "rows are merged when the turn ends");
    let posted = pace(&endless("max_latency_ms: 5\n", "", ", commit: append")).await;
    assert_eq!((posted.checkpoint, posted.latency), (Some(secs(1)), Duration::from_millis(5)));
}

#[tokio::test]
async fn the_plan_says_when_rows_appear_and_what_is_promised() {
    let cases = [
        ("", Delivery::ExactlyOnce, " every 1m or 128MiB (roll)"),
        (", commit: co_committed", Delivery::ExactlyOnce, " every 1s (checkpoint_interval_ms)"),
        (", commit: append", Delivery::AtLeastOnce, "rows appear in `sink` within 20ms (max_latency_ms)"),
        (", commit: append, write_mode: upsert, key: [id]", Delivery::EffectivelyOnce, "within 20ms (max_latency_ms)"),
    ];
    for (sink, promised, when) in cases {
        let plan = bench().plan(&endless("", "", sink)).await;
        let text = describe::text(&plan, 200);
        assert_eq!(plan.guarantee.delivery, promised, "{sink}");
        assert!(text.contains(when) && text.contains("then without end"), "{text}");
    }
}

#[tokio::test]
async fn what_is_written_is_kept_by_a_conversion() {
    let text = endless("max_latency_ms: 5\nroll: {interval_ms: 5s, bytes: 1MiB}\n", "", "");
    let pipeline = bench().pipeline(&text);
    let again = bench().pipeline(&to_native_yaml(&pipeline));
    assert_eq!((again.max_latency_ms, again.roll), (Some(5), pipeline.roll));
    let found = bench().misspelt(&endless("roll: {intervall: 5s}\n", "", ""));
    assert!(found.iter().any(|problem| problem.message.contains("`intervall` in `roll`")), "{found:?}");
}
