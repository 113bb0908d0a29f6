//! Joins of streams, against the batch plan over the same rows, over random pieces, epochs, spills and crashes.

use std::collections::BTreeSet;

use proptest::prelude::*;
use weir_plan::{Plan, describe};

use crate::bench::Bench;
use crate::engine::{Engine, Row, batch, block, times};
use crate::keyed::arrivals;

fn bench(left: &[Row], right: &[Row]) -> Bench {
    Bench::default().batches("t", vec![batch(left)], &[]).batches("u", vec![batch(right)], &[])
}

/// A pipeline over `a` (table `t`) and `b` (table `u`) whose last node is `x`; times may be so many milliseconds late.
fn pipeline(streaming: bool, lateness: i64, transforms: &str) -> String {
    let (mode, more) = match streaming {
        true => ("mode: streaming\n", ", endless: true"),
        false => ("", ""),
    };
    let time = format!("event_time: {{column: ts, max_lateness_ms: {lateness}}}");
    format!(
        "pipeline: p\n{mode}sources:\n  a: {{memory: {{table: t, {time}{more}}}}}\n  b: {{memory: {{table: u, {time}{more}}}}}\n\
         transforms:\n{transforms}sinks: {{out: {{input: x, memory: {{table: o}}}}}}\n"
    )
}

fn joined(join: &str) -> String {
    format!("  x: {{input: [a, b], join: {{{join}, rename: {{b.ts: bts, b.k: bk, b.v: bv}}}}}}\n")
}

fn sql(query: &str) -> String {
    format!("  x:\n    input: [a, b]\n    sql: |\n      {query}\n")
}

async fn plan(transforms: &str) -> Plan {
    bench(&[], &[]).plan(&pipeline(true, 0, transforms)).await
}

async fn kept(transforms: &str) -> String {
    Engine::new(&plan(transforms).await).program.reason()
}

async fn refused(transforms: &str) -> String {
    let found = bench(&[], &[]).problems(&pipeline(true, 0, transforms)).await;
    assert!(found.iter().all(|problem| problem.span.is_some()), "{found:#?}");
    found.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("\n")
}

/// Rows of the one output since the last look.
fn look(engine: &mut Engine) -> Vec<String> {
    times(&std::mem::take(&mut engine.out[0]))
}

#[tokio::test]
async fn rows_meet_when_both_are_there_and_come_out_alone_when_nobody_can_come_any_more() {
    let mut engine = Engine::new(
        &plan(&joined("kind: full, on: a.k = b.k, within: {left: ts, right: ts, before_ms: 1000, after_ms: 10000}")).await,
    );
    engine.arrive(0, &[(20_000, Some(1), 1), (21_000, Some(2), 2), (21_000, None, 3)]);
    // What has no key waits for nobody.
    assert_eq!(look(&mut engine), ["00:21|∅|3|∅|∅|∅"]);
    engine.arrive(1, &[(19_000, Some(1), 10), (18_999, Some(1), 11), (30_000, Some(1), 12), (30_001, Some(1), 13)]);
    // Both ends belong to it. The watermark is at 20.999, and a right row waits a second.
    assert_eq!(look(&mut engine), ["00:20|1|1|00:19|1|10", "00:20|1|1|00:30|1|12", "∅|∅|∅|00:18.999|1|11"]);
    engine.arrive(0, &[(60_000, Some(3), 4)]);
    assert!(engine.out[0].is_empty());
    engine.arrive(1, &[(33_000, Some(2), 14)]);
    assert_eq!(look(&mut engine), ["00:21|2|2|∅|∅|∅", "∅|∅|∅|00:30.001|1|13"], "the watermark is at 32.999");
    assert_eq!((engine.late, engine.absorbed), (0, 9));
    assert_eq!(times(&engine.end()[0]), ["01:00|3|4|∅|∅|∅", "∅|∅|∅|00:33|2|14"]);
}

#[tokio::test]
async fn late_rows_meet_nobody_and_go_where_they_are_asked_for() {
    let text = pipeline(true, 0, &joined("on: a.k = b.k, within: {left: ts, right: ts, after_ms: 5000}")).replace(
        "sinks: {out: {input: x, memory: {table: o}}}",
        "sinks:\n  out: {input: x, memory: {table: o}}\n  left: {input: x.late_left, memory: {table: l}}\n  right: {input: x.late_right, memory: {table: r}}",
    );
    let bench = bench(&[(1_000, Some(1), 1)], &[(2_000, Some(1), 2)]);
    let plan = bench.plan(&text).await;
    let mut engine = Engine::new(&plan);
    engine.arrive(0, &[(1_000, Some(1), 1), (10_000, Some(1), 2)]);
    engine.arrive(1, &[(10_000, Some(1), 3)]);
    // The watermark is at 9.999.
    engine.arrive(0, &[(9_999, Some(1), 4), (10_000, Some(1), 5)]);
    engine.arrive(1, &[(5_000, Some(1), 6)]);
    assert_eq!((engine.late, engine.absorbed), (2, 4));
    let out = engine.end();
    assert_eq!(times(&out[0]), ["00:10|1|2|00:10|1|3", "00:10|1|5|00:10|1|3"]);
    assert_eq!((times(&out[1]), times(&out[2])), (vec!["00:09.999|1|4".to_string()], vec!["00:05|1|6".to_string()]));
    let batch = text.replace("mode: streaming\n", "").replace(", endless: true", "");
    let plan = bench.plan(&batch).await;
    let got = bench.run(&plan).await;
    assert_eq!((got["out"].rows.len(), got["left"].rows.len(), got["right"].rows.len()), (1, 0, 0), "a batch has no late rows");
}

#[tokio::test]
async fn a_condition_of_sql_bounds_the_times_however_it_is_written() {
    let all = "SELECT a.v, b.v AS bv FROM a";
    for (query, told) in [
        (
            "JOIN b ON a.k = b.k AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '10' SECOND",
            "left rows until the watermark is 10s after them, right rows until the watermark reaches them",
        ),
        (
            ", b WHERE a.k = b.k AND a.ts BETWEEN b.ts - INTERVAL '10' SECOND AND b.ts",
            "left rows until the watermark is 10s after them, right rows until the watermark reaches them",
        ),
        ("JOIN b ON a.k = b.k AND a.ts = b.ts", "the rows of both sides until the watermark reaches them"),
        (
            "JOIN b ON a.k = b.k AND a.ts - INTERVAL '1' MINUTE < b.ts AND b.ts - INTERVAL '2' MINUTE <= a.ts",
            "left rows until the watermark is 2m after them, right rows until the watermark is 1m after them",
        ),
        (
            "JOIN b ON a.k = b.k AND b.ts >= a.ts + INTERVAL '1' SECOND AND b.ts <= a.ts + INTERVAL '3' SECOND AND a.v < b.v",
            "left rows until the watermark is 3s after them, right rows until the watermark is 1s before them",
        ),
    ] {
        let told = format!("`x` keeps {told}");
        assert_eq!(kept(&sql(&format!("{all} {query}"))).await, told, "{query}");
    }
    for (query, told) in [
        ("JOIN b ON a.k = b.k", "does not bound the times of both sides"),
        ("JOIN b ON a.k = b.k AND b.ts >= a.ts", "does not bound the times of both sides"),
        ("JOIN b ON a.k = b.k AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '1' MONTH", "does not bound the times of both sides"),
        (
            "JOIN b ON a.k = b.k AND b.ts BETWEEN a.ts + INTERVAL '2' SECOND AND a.ts + INTERVAL '1' SECOND",
            "leave nothing between them",
        ),
        ("JOIN (SELECT DISTINCT k, ts, v FROM b) b ON a.k = b.k AND a.ts = b.ts", "`mode: streaming` has no place"),
    ] {
        let got = refused(&sql(&format!("{all} {query}"))).await;
        assert!(got.contains(told), "{query}: {got}");
    }
    let text = pipeline(true, 0, &joined("on: a.k = b.k, within: {left: ts, right: ts}"));
    let text = text.replacen("event_time: {column: ts, max_lateness_ms: 0}, ", "", 1);
    let found = bench(&[], &[]).problems(&text).await;
    assert!(found[0].message.contains("needs to know the time of the rows of both its inputs"), "{found:#?}");
}

#[tokio::test]
async fn what_a_join_says_of_time_is_checked() {
    for (join, told) in [
        ("on: a.k = b.k, within: {left: tss, right: ts}", "`a` has no column `tss`"),
        ("on: a.k = b.k, within: {left: ts, right: v}", "`b.v` is int64, no timestamp"),
        ("on: {k: k}, within: {left: ts, right: ts}, as_of: {left: ts, right: ts}", "nothing for `within` to say"),
        ("kind: full, on: {k: k}, as_of: {left: ts, right: ts}", "`inner` or `left`, not `full`"),
        ("on: a.k = b.k, as_of: {left: ts, right: ts}", "versions are found by columns"),
        ("on: {k: k}, as_of: {left: ts, right: ts, deleted: 'v ='}", "xpected"),
    ] {
        let found = bench(&[], &[]).problems(&pipeline(false, 0, &joined(join))).await;
        assert!(found.iter().any(|found| format!("{found:?}").contains(told)), "{join}: {found:#?}");
    }
}

#[tokio::test]
async fn a_row_gets_the_version_that_was_valid_at_its_time() {
    let mut engine = Engine::new(&plan(&joined("kind: left, on: {k: k}, as_of: {left: ts, right: ts, deleted: b.v = 0}")).await);
    engine.arrive(1, &[(1_000, Some(1), 10), (5_000, Some(1), 11), (5_000, Some(2), 20), (7_000, Some(2), 0)]);
    engine.arrive(
        0,
        &[
            (999, Some(1), 1),
            (4_999, Some(1), 2),
            (5_000, Some(1), 3),
            (6_999, Some(2), 4),
            (7_000, Some(2), 5),
            (6_000, None, 6),
        ],
    );
    // The watermark is at 6.999.
    let expected =
        ["00:00.999|1|1|∅|∅", "00:04.999|1|2|00:01|10", "00:05|1|3|00:05|11", "00:06.999|2|4|00:05|20", "00:06|∅|6|∅|∅"];
    let mut got = look(&mut engine);
    got.sort();
    assert_eq!(got, expected);
    engine.epoch();
    let versions = |engine: &Engine| engine.store.0.keys().filter(|key| key[1] == 2).count();
    assert_eq!(versions(&engine), 3, "what was valid before the last version is forgotten");
    engine.restart();
    engine.arrive(1, &[(20_000, Some(1), 12), (8_000, Some(1), 13)]);
    engine.arrive(0, &[(20_000, Some(1), 7), (9_000, Some(1), 8), (9_000, Some(2), 9)]);
    let mut got = look(&mut engine);
    got.sort();
    assert_eq!(got, ["00:07|2|5|∅|∅", "00:09|1|8|00:08|13", "00:09|2|9|∅|∅"]);
    assert_eq!(times(&engine.end()[0]), ["00:20|1|7|00:20|12"]);
    engine.epoch();
    assert_eq!(versions(&engine), 1, "a key that is gone leaves nothing");
}

#[tokio::test]
async fn a_version_that_comes_late_is_valid_for_what_comes_after_it() {
    let mut engine = Engine::new(&plan(&joined("on: {k: k}, as_of: {left: ts, right: ts}")).await);
    engine.arrive(1, &[(1_000, Some(1), 10), (10_000, Some(2), 20)]);
    engine.arrive(0, &[(10_000, Some(2), 1)]);
    engine.arrive(1, &[(5_000, Some(1), 11), (11_000, Some(2), 21), (11_000, Some(2), 22)]);
    engine.arrive(0, &[(10_500, Some(1), 2), (3_000, Some(1), 3), (11_000, Some(2), 4)]);
    assert_eq!(engine.late, 2, "a version and a row");
    let mut out = times(&engine.end()[0]);
    out.sort();
    assert_eq!(out, ["00:10.500|1|2|00:05|11", "00:10|2|1|00:10|20", "00:11|2|4|00:11|22"], "of two at one time the last one");
}

#[tokio::test]
async fn a_batch_does_not_guess_which_of_two_versions_is_valid() {
    let bench = bench(&[(5_000, Some(1), 1)], &[(1_000, Some(1), 10), (1_000, Some(1), 11)]);
    let plan = bench.plan(&pipeline(false, 0, &joined("on: {k: k}, as_of: {left: ts, right: ts}"))).await;
    let told = bench.failure(&plan).await;
    assert!(told.contains("two versions of one key have the same time"), "{told}");
}

#[tokio::test]
async fn sql_asks_for_versions_as_flink_does() {
    let (left, right) =
        ([(5_000, Some(1), 1), (500, Some(1), 2)], [(1_000, Some(1), 10), (2_000, Some(1), 11), (6_000, Some(1), 12)]);
    let bench = bench(&left, &right);
    let transforms =
        sql("SELECT a.v, r.v AS bv, r.ts AS since FROM a LEFT JOIN b FOR SYSTEM_TIME AS OF a.ts AS r ON a.k = r.k AND r.v > 0");
    let plan = bench.plan(&pipeline(false, 0, &transforms)).await;
    assert!(plan.warnings.iter().all(|warning| !warning.contains("event_time")), "it is asked for: {:?}", plan.warnings);
    let from: Vec<String> = plan.columns.iter().map(|column| format!("{} ← {}", column.column, column.from.join(" "))).collect();
    assert_eq!(from, ["v ← a.t.v", "bv ← b.u.v", "since ← b.u.ts"]);
    assert_eq!(times(&bench.run(&plan).await["out"].rows), ["1|11|00:02", "2|∅|∅"]);
    let plan = bench.plan(&pipeline(true, 0, &transforms)).await;
    let text = describe::text(&plan, 400);
    assert!(text.contains("keeps state: `x` keeps left rows until the watermark reaches them, and of each key"), "{text}");
    let mut engine = Engine::new(&plan);
    engine.arrive(1, &right);
    engine.arrive(0, &left);
    let mut out = times(&engine.end()[0]);
    out.sort();
    assert_eq!(out, ["1|11|00:02", "2|∅|∅"]);
    // What was added is not given.
    let star = sql("SELECT b.* FROM a JOIN b FOR SYSTEM_TIME AS OF a.ts ON a.k = b.k");
    let plan = bench.plan(&pipeline(false, 0, &star)).await;
    assert_eq!(plan.columns.iter().map(|column| column.column.as_str()).collect::<Vec<_>>(), ["ts", "k", "v"]);
    for (query, told) in [
        ("SELECT 1 AS one FROM b FOR SYSTEM_TIME AS OF b.ts", "behind the table of a JOIN"),
        ("SELECT 1 AS one FROM a FULL JOIN b FOR SYSTEM_TIME AS OF a.ts ON a.k = b.k", "JOIN … ON or LEFT JOIN … ON"),
        ("SELECT 1 AS one FROM a JOIN b FOR SYSTEM_TIME AS OF a.ts ON a.k > b.k", "found by a key"),
        ("SELECT 1 AS one FROM a JOIN b FOR SYSTEM_TIME AS OF a.ts - INTERVAL '1' DAY ON a.k = b.k", "names a column"),
        ("WITH c AS (SELECT * FROM b) SELECT 1 AS one FROM a JOIN c FOR SYSTEM_TIME AS OF a.ts ON a.k = c.k", "`c` is no input"),
    ] {
        let found = bench.problems(&pipeline(false, 0, &sql(query))).await;
        assert!(found[0].message.contains(told), "{query}: {found:#?}");
    }
    let untimed = pipeline(false, 0, &transforms).replace("event_time: {column: ts, max_lateness_ms: 0}", "log: false");
    let found = bench.problems(&untimed).await;
    assert!(found[0].message.contains("not said which column is the time of the versions of `b`"), "{found:#?}");
}

#[tokio::test]
async fn spilled_rows_are_found_and_state_of_another_join_is_not_read() {
    let join = "kind: left, on: a.k = b.k, within: {left: ts, right: ts, after_ms: 10000}";
    let mut engine = Engine::new(&plan(&joined(join)).await);
    let many: Vec<Row> = (0..10_000).map(|key| (1_000 + key % 3_000, Some(key), key)).collect();
    engine.arrive(0, &many);
    engine.epoch();
    let before = engine.operators.bytes();
    engine.operators.spill(0).unwrap();
    assert!(engine.operators.bytes() < before / 10, "marks stay: {} of {before}", engine.operators.bytes());
    engine.arrive(1, &[(9_000, Some(7_000), 1)]);
    assert_eq!(look(&mut engine), ["00:02|7000|7000|00:09|7000|1"]);
    assert!(engine.operators.bytes() < before / 5, "what was only asked leaves again");
    // One mark, and one row.
    assert_eq!(engine.epoch(), 3);
    engine.restart();
    assert_eq!(engine.end()[0].len(), 9_999);
    engine.epoch();
    assert_eq!(engine.store.0.len(), 1, "nothing is left but the watermark");
    let print = |plan: &Plan| Engine::new(plan).program.fingerprint();
    let one = plan(&joined(join)).await;
    for other in [join.replace("10000", "10001"), join.replace("left,", "inner,"), join.replace("a.k = b.k", "a.v = b.v")] {
        assert_ne!(print(&one), print(&plan(&joined(&other)).await), "{other}");
    }
}

/// Rows of two streams, in pieces that come in any order of the two; after some of them an epoch, a spill, or a crash.
fn through(engine: &mut Engine, rows: [&[Row]; 2], cuts: &[(bool, usize, u8)]) {
    let mut at = [0usize; 2];
    let mut saved = (at, engine.out.clone(), engine.newest.clone());
    let mut crashes = 0;
    let mut cuts = cuts.iter().cycle();
    while at[0] < rows[0].len() || at[1] < rows[1].len() {
        let Some(&(right, length, then)) = cuts.next() else { return };
        let wanted = usize::from(right);
        let input = if at[wanted] < rows[wanted].len() { wanted } else { 1 - wanted };
        let to = (at[input] + length).min(rows[input].len());
        engine.arrive(input, &rows[input][at[input]..to]);
        at[input] = to;
        match then {
            0 | 1 => {
                engine.epoch();
                saved = (at, engine.out.clone(), engine.newest.clone());
                if then == 1 {
                    engine.operators.spill(0).unwrap();
                }
            }
            2 if crashes < 5 => {
                crashes += 1;
                engine.restart();
                at = saved.0;
                engine.out.clone_from(&saved.1);
                engine.newest.clone_from(&saved.2);
            }
            _ => {}
        }
    }
}

/// What a batch and a stream give, sorted.
fn both(left: &[Row], right: &[Row], transforms: &str, cuts: &[(bool, usize, u8)]) -> (Vec<String>, Vec<String>) {
    let bench = bench(left, right);
    let plan = block(bench.plan(&pipeline(false, 0, transforms)));
    let mut expected = block(bench.run(&plan)).remove("out").unwrap().rows;
    let mut engine = Engine::new(&block(bench.plan(&pipeline(true, 5_000, transforms))));
    through(&mut engine, [left, right], cuts);
    assert_eq!(engine.late, 0);
    let mut got = engine.end().remove(0);
    got.sort();
    expected.sort();
    (got, expected)
}

fn cuts() -> impl Strategy<Value = Vec<(bool, usize, u8)>> {
    prop::collection::vec((any::<bool>(), 1usize..9, 0u8..5), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_join_within_a_time_gives_what_the_batch_gives(left in arrivals(), right in arrivals(), cuts in cuts(), kind in 0usize..6, bounds in 0usize..6, more in any::<bool>()) {
        let kind = ["inner", "left", "right", "full", "semi", "anti"][kind];
        let (before, after) = [(0, 0), (0, 3_000), (3_000, 0), (2_000, 2_000), (0, 20_000), (60_000, 1)][bounds];
        let on = if more { "a.k = b.k AND a.v <= b.v" } else { "a.k = b.k" };
        let transforms = joined(&format!("kind: {kind}, on: {on}, within: {{left: ts, right: ts, before_ms: {before}, after_ms: {after}}}"));
        let (got, expected) = both(&left, &right, &transforms, &cuts);
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn a_join_with_versions_gives_what_the_batch_gives(left in arrivals(), right in arrivals(), cuts in cuts(), outer in any::<bool>(), deleted in any::<bool>()) {
        let mut seen = BTreeSet::new();
        let right: Vec<Row> = right.into_iter().filter(|row| seen.insert((row.0, row.1))).collect();
        let kind = if outer { "left" } else { "inner" };
        let deleted = if deleted { ", deleted: b.v < -4" } else { "" };
        let transforms = joined(&format!("kind: {kind}, on: {{k: k}}, as_of: {{left: ts, right: ts{deleted}}}"));
        let (got, expected) = both(&left, &right, &transforms, &cuts);
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn windows_and_joins_over_joins_give_what_the_batch_gives(left in arrivals(), right in arrivals(), cuts in cuts(), windows in any::<bool>(), of_right in any::<bool>()) {
        let pair = "  y: {input: [a, b], join: {on: {k: k}, within: {left: ts, right: ts, before_ms: 4000, after_ms: 9000}, rename: {b.ts: bts, b.v: bv}}}\n";
        let on = if of_right { "bts" } else { "ts" };
        let after = match windows {
            true => format!("  x: {{input: y, window: {{hop: {{size: 20s, slide: 10s}}, on: {on}, group_by: [k], select: {{s: sum(v), n: count(*)}}}}}}\n"),
            false => format!(
                "  x: {{input: [y, b], join: {{kind: left, on: {{k: k}}, within: {{left: {on}, right: ts, after_ms: 2000}}, rename: {{b.ts: cts, b.v: cv}}}}}}\n"
            ),
        };
        let (got, expected) = both(&left, &right, &format!("{pair}{after}"), &cuts);
        prop_assert_eq!(got, expected);
    }
}
