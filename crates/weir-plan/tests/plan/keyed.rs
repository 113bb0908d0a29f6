//! Streams that keep state over event time: against loops, against the batch plan over the same rows, and over restarts at any moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampNanosecondArray};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use weir_plan::keyed::Emitted;
use weir_plan::{Plan, Program, describe};

use crate::bench::{Bench, line};
use crate::engine::{Engine, Row, batch, block, times};

fn bench(rows: &[Row]) -> Bench {
    Bench::default().batches("t", vec![batch(rows)], &[]).batches("u", vec![batch(rows)], &[])
}

/// A stream over table `t` with these transforms, whose rows may be so many milliseconds late.
fn stream(lateness: i64, transforms: &str) -> String {
    let source = format!("{{table: t, endless: true, event_time: {{column: ts, max_lateness_ms: {lateness}}}}}");
    format!("mode: streaming\n{}", line(transforms).replace("{table: t}", &source))
}

const KINDS: [&str; 5] =
    ["tumble: 15s", "hop: {size: 30s, slide: 10s}", "cumulate: {size: 30s, step: 10s}", "session: 7s", "tumble: 20s, offset: 5s"];

#[tokio::test]
async fn windows_come_out_when_the_watermark_has_passed_them_in_the_order_of_their_ends() {
    let plan = bench(&[])
        .plan(&stream(2_000, "- window: {hop: {size: 20s, slide: 10s}, on: ts, group_by: [k], select: {s: sum(v), n: count(*)}}"))
        .await;
    let mut engine = Engine::new(&plan);
    engine.rows(&[(1_000, Some(7), 1), (11_000, Some(8), 2), (3_000, Some(8), 4)]);
    assert!(engine.out[0].is_empty());
    engine.rows(&[(11_999, Some(7), 8)]);
    assert!(engine.out[0].is_empty(), "the watermark is a millisecond before");
    engine.rows(&[(12_000, None, 16)]);
    assert_eq!(
        times(&std::mem::take(&mut engine.out[0])),
        ["1969-12-31T23:59:50|00:10|7|1|1", "1969-12-31T23:59:50|00:10|8|4|1"]
    );
    // The slice before is still part of a window; its groups are first there.
    engine.rows(&[(9_000, Some(9), 32), (60_000, Some(9), 64)]);
    let expected = [
        "00:00|00:20|7|9|2",
        "00:00|00:20|8|6|2",
        "00:00|00:20|9|32|1",
        "00:00|00:20|∅|16|1",
        "00:10|00:30|8|2|1",
        "00:10|00:30|7|8|1",
        "00:10|00:30|∅|16|1",
    ];
    assert_eq!(times(&engine.out[0]), expected);
    assert_eq!((engine.late, engine.absorbed), (0, 7));
}

#[tokio::test]
async fn a_nanosecond_belongs_to_the_window_that_it_is_in() {
    let at = TimestampNanosecondArray::from(vec![999_999_999, 1_000_000_000]);
    let bench = Bench::default().table("t", vec![("ts", Arc::new(at.clone()) as ArrayRef)]);
    let stream = stream(0, "- window: {tumble: 1s, on: ts, select: {n: count(*)}}");
    let plan = bench.plan(&format!("on_loss: {{window_start: accept, window_end: accept}}\n{stream}")).await;
    let mut engine = Engine::new(&plan);
    let batch = RecordBatch::try_from_iter_with_nullable([("ts", Arc::new(at) as ArrayRef, true)]).unwrap();
    engine.feed(0, &batch);
    engine.watermark(998_999);
    assert!(engine.out[0].is_empty());
    engine.watermark(999_000);
    assert_eq!(times(&engine.out[0]), ["00:00|00:01|1"]);
    assert_eq!(times(&engine.end()[0]).len(), 2);
}

#[tokio::test]
async fn late_rows_are_counted_and_go_where_they_are_asked_for() {
    let text = "pipeline: p\nmode: streaming\nsources: {in: {memory: {table: t, endless: true, event_time: {column: ts}}}}\ntransforms:\n  \
                w: {input: in, window: {tumble: 10s, on: ts, select: {s: sum(v)}}}\n  big: {input: w, filter: s > 1}\n\
                sinks:\n  sums: {input: big, memory: {table: a}}\n  late: {input: w.late, memory: {table: b}}\n  all: {input: in, memory: {table: c}}\n";
    let plan = bench(&[]).plan(text).await;
    assert_eq!(plan.flows[0].outputs[1].schema.fields().len(), 3, "a late row is as it came");
    let mut engine = Engine::new(&plan);
    engine.rows(&[(1_000, Some(1), 1), (12_000, Some(1), 2)]);
    engine.rows(&[(9_999, Some(2), 4), (10_000, Some(2), 8)]);
    assert_eq!((engine.late, engine.absorbed), (1, 4), "three rows in windows, and a window that the filter took out");
    let out = engine.end();
    assert_eq!(times(&out[0]), ["00:10|00:20|10"]);
    assert_eq!(times(&out[1]), ["00:09.999|2|4"]);
    assert_eq!(out[2].len(), 4);
    let batch = text.replace("mode: streaming\n", "").replace(", endless: true", "");
    let bench = bench(&[(1_000, Some(1), 1), (9_999, Some(2), 4)]);
    let batch = bench.plan(&batch).await;
    assert!(
        batch.warnings.iter().any(|warning| warning.contains("`event_time` of `in` is for `mode: streaming`")),
        "{:?}",
        batch.warnings
    );
    let got = bench.run(&batch).await;
    assert_eq!(
        (times(&got["sums"].rows), got["late"].rows.len()),
        (vec!["00:00|00:10|5".to_string()], 0),
        "a batch has no late rows"
    );
}

#[tokio::test]
async fn within_the_allowed_lateness_a_window_is_corrected_at_once() {
    let window =
        "- window: {hop: {size: 20s, slide: 10s}, on: ts, group_by: [k], allowed_lateness_ms: 10000, select: {s: sum(v)}}";
    let plan = bench(&[]).plan(&stream(0, window)).await;
    let mut engine = Engine::new(&plan);
    engine.rows(&[(1_000, Some(1), 1), (2_000, Some(2), 1), (25_000, Some(1), 2)]);
    assert_eq!(std::mem::take(&mut engine.out[0]).len(), 4);
    engine.rows(&[(3_000, Some(2), 8)]);
    assert_eq!(times(&engine.out[0]), ["00:00|00:20|2|9"], "the first window is over its ten seconds, and key 1 is as it was");
    engine.epoch();
    engine.restart();
    engine.rows(&[(4_000, Some(3), 16), (30_000, Some(1), 4)]);
    assert_eq!(times(&engine.out[0])[1..], ["00:00|00:20|3|16", "00:10|00:30|1|2"]);
    engine.rows(&[(5_000, Some(3), 32)]);
    assert_eq!(engine.late, 1, "after ten seconds it is too late");
}

#[tokio::test]
async fn a_slice_that_came_and_went_between_two_epochs_writes_nothing_and_only_changed_chunks_are_written() {
    let plan = bench(&[]).plan(&stream(0, "- window: {tumble: 10s, on: ts, group_by: [k], select: {s: sum(v)}}")).await;
    let mut engine = Engine::new(&plan);
    engine.rows(&[(1_000, Some(1), 1)]);
    engine.watermark(20_000_000);
    assert_eq!(engine.epoch(), 1, "the watermark alone");
    let many: Vec<Row> = (0..10_000).map(|key| (31_000, Some(key), 1)).collect();
    engine.rows(&many);
    assert_eq!(engine.epoch(), 4, "three chunks of 4096 groups");
    engine.rows(&[(31_000, Some(5_000), 1)]);
    assert_eq!(engine.epoch(), 1, "one of them");
    assert_eq!(engine.epoch(), 0);
    engine.operators.spill(0).unwrap();
    assert_eq!(engine.operators.bytes(), 0);
    engine.rows(&[(31_000, Some(5_000), 1)]);
    let out = engine.end();
    assert_eq!(out[0].len(), 10_001);
    assert!(times(&out[0]).contains(&"00:30|00:40|5000|3".to_string()));
    engine.epoch();
    assert_eq!(engine.store.0.len(), 1, "nothing is left but the watermark");
}

#[tokio::test]
async fn a_flow_is_a_graph_several_inputs_and_several_outputs() {
    let text = "pipeline: p\nmode: streaming\nsources:\n  a: {memory: {table: t, endless: true, event_time: {column: ts}}}\n  \
                b: {memory: {table: u, endless: true, event_time: {column: ts}}}\ntransforms:\n  \
                both: {input: [a, b], sql: 'SELECT ts, k, v FROM a UNION ALL SELECT ts, k, v * 100 FROM b'}\n  \
                w: {input: both, window: {tumble: 10s, on: ts, group_by: [k], select: {s: sum(v), few: count(*) FILTER (WHERE v < 100), d: count(DISTINCT v)}}}\n  \
                s: {input: w, split: {large: s >= 100, rest: default}}\n\
                sinks:\n  large: {input: s.large, memory: {table: x}}\n  rest: {input: s.rest, memory: {table: y}}\n";
    let plan = bench(&[]).plan(text).await;
    let Program::Keyed(program) = &plan.flows[0].program else { panic!() };
    assert!(program.event_time(0).is_some() && program.event_time(1).is_some());
    let mut engine = Engine::new(&plan);
    engine.feed(0, &batch(&[(1_000, Some(1), 1), (2_000, Some(2), 2), (3_000, Some(2), 2)]));
    engine.feed(1, &batch(&[(1_000, Some(1), 1)]));
    engine.epoch();
    engine.restart();
    let out = engine.end();
    assert_eq!(times(&out[0]), ["00:00|00:10|1|101|1|2"]);
    assert_eq!(times(&out[1]), ["00:00|00:10|2|4|2|1"]);
}

#[tokio::test]
async fn the_time_may_be_said_after_a_cast_as_seed_002_does() {
    let at = StringArray::from(vec![Some("1970-01-01T00:00:01Z"), Some("no time")]);
    let batch = RecordBatch::try_from_iter_with_nullable([("at", Arc::new(at) as ArrayRef, true)]).unwrap();
    let bench = Bench::default().batches("t", vec![batch.clone()], &[]);
    let text = "mode: streaming\n".to_string()
        + &line(
            "- field_mapper: {rename: {at: event_time}}\n- cast: {columns: {event_time: timestamptz}, on_error: dead_letter}\n- watermark: {timestamp_column: event_time, max_out_of_orderness_ms: 5000}\n\
             - window: {tumble: 10s, on: event_time, select: {n: count(*)}}",
        )
        .replace("{table: t}", "{table: t, endless: true}");
    let plan = bench.plan(&text).await;
    let mut engine = Engine::new(&plan);
    let time = engine.program.event_time(0).unwrap();
    assert_eq!(time.max_lateness, 5_000_000);
    let prepared = engine.program.prepare(0).0.apply(&batch).unwrap().remove(0);
    assert_eq!(
        (prepared.dead.len(), String::from_utf8_lossy(&prepared.dead[0].payload).contains("no time")),
        (1, true),
        "the letter has the row as it came"
    );
    engine.feed(0, &batch);
    assert_eq!(engine.end()[0].len(), 1);
}

#[tokio::test]
async fn what_keeps_state_without_end_is_refused_with_its_node() {
    let refused = [
        ("- sql: SELECT k, count(*) AS n FROM input GROUP BY k", "an aggregate that no window ends"),
        ("- sql: SELECT v FROM input ORDER BY v", "a sort"),
        (
            "- sql: SELECT v FROM (SELECT v, row_number() OVER (PARTITION BY k ORDER BY ts) AS n FROM input) WHERE n = 1",
            "no window of time ends",
        ),
        ("- dedupe: {key: [k]}", "`dedupe` would remember every key for ever"),
        ("- dedupe: {key: [k], ttl_ms: 1000, order_by: v}", "the order in which they come"),
        ("- window: {session: 10s, on: ts, allowed_lateness_ms: 1, select: {n: count(*)}}", "take no corrections"),
        ("- watermark: ts\n- window: {tumble: 10s, on: ts, select: {n: count(*)}}", "both say which column is the time"),
        ("- watermark: v", "no timestamp"),
        ("- watermark: tss", "no column `tss`"),
        (
            "- sql: SELECT ts, ts + INTERVAL '1 second' AS later FROM input\n- window: {tumble: 10s, on: later, select: {n: count(*)}}",
            "counts on another column than the event time, which is `ts` of `source`",
        ),
    ];
    for (transforms, told) in refused {
        let found = bench(&[]).problems(&stream(0, transforms)).await;
        assert!(found.iter().any(|problem| problem.message.contains(told)), "{transforms}: {found:#?}");
        assert!(found.iter().all(|problem| problem.span.is_some()), "{transforms}: {found:#?}");
    }
    let window = stream(0, "- window: {tumble: 10s, on: ts, select: {n: count(*)}}");
    let without = window.replace(", event_time: {column: ts, max_lateness_ms: 0}", "");
    for (text, told) in [
        (without, "no source says it"),
        (window.replace("column: ts", "column: tz"), "no column `tz` to be the event time"),
        (window.replace("column: ts", "column: v"), "`v` of `t` is int64, no timestamp"),
    ] {
        let found = bench(&[]).problems(&text).await;
        assert!(found[0].code == "WEIR-PLAN-022" && found[0].message.contains(told), "{text}: {found:#?}");
    }
}

#[tokio::test]
async fn the_plan_says_what_is_kept_and_promises_what_it_does_for_rows() {
    let window =
        "- window: {hop: {size: 20s, slide: 10s}, on: ts, group_by: [k], allowed_lateness_ms: 5000, select: {s: sum(v)}}";
    let plan = bench(&[]).plan(&stream(2_000, window)).await;
    let text = describe::text(&plan, 400);
    let kept = "keeps state: `window` keeps partial sums per window and `k` until 5s after the watermark reaches its end";
    assert!(text.contains(kept), "{text}");
    assert!(text.contains("exactly_once") && text.contains("the state of `t` is part of each checkpoint"), "{text}");
    assert_eq!(describe::json(&plan)["flows"][0]["program"], "keyed");
    let from: Vec<String> = plan.columns.iter().map(|column| format!("{} ← {}", column.column, column.from.join(" "))).collect();
    assert_eq!(from, ["window_start ← source.t.ts", "window_end ← source.t.ts", "k ← source.t.k", "s ← source.t.v"]);
    let other = bench(&[]).plan(&stream(2_000, &window.replace("20s", "30s"))).await;
    let print = |plan: &Plan| Engine::new(plan).program.fingerprint();
    assert_eq!(print(&plan), print(&bench(&[]).plan(&stream(9, window)).await), "how late rows are is not in the state");
    assert_ne!(print(&plan), print(&other));
}

#[tokio::test]
async fn rows_that_are_filtered_out_tell_what_time_it_is() {
    let rows = [(1_000, Some(1), 1), (9_000, Some(1), -1), (2_000, Some(1), 1)];
    for (transforms, seen) in [
        ("- filter: v > 0\n- window: {tumble: 5s, on: ts, select: {n: count(*)}}", 3),
        // Where the time is said is where rows have their say.
        ("- filter: v > 0\n- watermark: ts\n- window: {tumble: 5s, on: ts, select: {n: count(*)}}", 2),
        ("- filter: v > 0\n- watermark: ts\n- filter: v > 1\n- window: {tumble: 5s, on: ts, select: {n: count(*)}}", 2),
    ] {
        let mut text = stream(0, transforms);
        if transforms.contains("watermark") {
            text = text.replace(", event_time: {column: ts, max_lateness_ms: 0}", "");
        }
        let plan = bench(&[]).plan(&text).await;
        let engine = Engine::new(&plan);
        let time = engine.program.event_time(0).unwrap();
        let outputs = engine.program.prepare(0).0.apply(&batch(&rows)).unwrap();
        let said = &outputs[1].batch;
        assert_eq!((said.num_rows(), said.schema().field(time.said).name().as_str()), (seen, "ts"), "{transforms}");
        assert!(outputs[0].batch.num_rows() < 3, "{transforms}");
    }
}

/// Rows in the order in which a stream has them: never more than five seconds behind.
pub fn arrivals() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec((0i64..4_000, 0i64..5_000, prop::option::of(0i64..4), -9i64..9), 0..60).prop_map(|steps| {
        let mut now = -20_000;
        let at = steps.into_iter().map(|(step, behind, key, value)| {
            now += step;
            (now - behind, key, value)
        });
        at.collect()
    })
}

/// Feeds rows in pieces; after some of them an epoch, a spill, or a crash: what came out after the last epoch is forgotten, and rows are read again.
fn through(engine: &mut Engine, rows: &[Row], cuts: &[(usize, u8)]) {
    let mut saved = (0, engine.out.clone(), engine.newest.clone());
    let (mut at, mut crashes) = (0, 0);
    let mut cuts = cuts.iter().cycle();
    while at < rows.len() {
        let Some(&(length, then)) = cuts.next() else { return engine.rows(rows) };
        let to = (at + length).min(rows.len());
        engine.rows(&rows[at..to]);
        at = to;
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

/// The rows in pieces give what they give in batch, and none of them is late.
fn gives_what_the_batch_gives(rows: &[Row], cuts: &[(usize, u8)], transforms: &str) -> Result<(), TestCaseError> {
    let bench = bench(rows);
    let mut expected = block(bench.run_line(transforms)).rows;
    let plan = block(bench.plan(&stream(5_000, transforms)));
    let mut engine = Engine::new(&plan);
    through(&mut engine, rows, cuts);
    prop_assert_eq!(engine.late, 0);
    let mut got = engine.end().remove(0);
    got.sort();
    expected.sort();
    prop_assert_eq!(got, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_gives_what_the_batch_gives(rows in arrivals(), cuts in prop::collection::vec((1usize..9, 0u8..5), 1..12), kind in 0usize..5, keyed in any::<bool>()) {
        let group = if keyed { "group_by: [k], " } else { "" };
        let window = format!(
            "- window: {{{}, on: ts, {group}select: {{s: sum(v), n: count(*), a: avg(v), m: min(v), d: count(DISTINCT v), f: 'first_value(v ORDER BY ts, v)'}}}}", KINDS[kind]
        );
        gives_what_the_batch_gives(&rows, &cuts, &window)?;
    }

    #[test]
    fn windows_of_windows_are_those_of_the_batch(rows in arrivals(), cuts in prop::collection::vec((1usize..9, 0u8..5), 1..12), kind in 0usize..3, outer in 0usize..4) {
        let (inner, outer) = (KINDS[kind], KINDS[outer]);
        let windows = format!(
            "- window: {{{inner}, on: ts, group_by: [k], select: {{s: sum(v)}}}}\n- window: {{{outer}, on: window_end, select: {{t: sum(s), n: count(*), m: min(k)}}}}"
        );
        gives_what_the_batch_gives(&rows, &cuts, &windows)?;
    }

    #[test]
    fn places_in_windows_are_those_of_the_batch(rows in arrivals(), cuts in prop::collection::vec((1usize..9, 0u8..5), 1..12), of_sums in any::<bool>(), dense in any::<bool>()) {
        let windows = "TABLE(TUMBLE(TABLE input, DESCRIPTOR(ts), INTERVAL '15' SECONDS))";
        let from = match of_sums {
            true => format!("SELECT window_start, window_end, k, sum(v) AS v FROM {windows} GROUP BY window_start, window_end, k"),
            false => format!("SELECT * FROM {windows}"),
        };
        let function = if dense { "dense_rank" } else { "rank" };
        let sql = format!(
            "- sql: \"SELECT window_start, k, v, place FROM (SELECT *, {function}() OVER (PARTITION BY window_start, window_end ORDER BY v DESC, k) AS place FROM ({from})) WHERE place <= 3\""
        );
        gives_what_the_batch_gives(&rows, &cuts, &sql)?;
    }

    #[test]
    fn late_rows_are_those_of_a_loop(rows in arrivals(), cuts in prop::collection::vec((1usize..9, 0u8..5), 1..12)) {
        // Two seconds are allowed, and rows are up to five behind.
        let plan = block(bench(&[]).plan(&stream(2_000, "- window: {tumble: 4s, on: ts, group_by: [k], select: {s: sum(v)}}")));
        let (mut newest, mut windows, mut late) = (i64::MIN, BTreeMap::<(i64, Option<i64>), i64>::new(), 0u64);
        for piece in rows.chunks(3) {
            for (at, key, value) in piece {
                let end = at.div_euclid(4_000) * 4_000 + 4_000;
                if newest > i64::MIN && end <= newest - 2_000 {
                    late += 1;
                } else {
                    *windows.entry((end, *key)).or_default() += value;
                }
            }
            newest = piece.iter().map(|row| row.0).fold(newest, i64::max);
        }
        let mut engine = Engine::new(&plan);
        // Pieces stay as they are: who is late depends on them.
        let cuts: Vec<(usize, u8)> = cuts.iter().map(|(_, then)| (3, if *then == 2 { 0 } else { *then })).collect();
        through(&mut engine, &rows, &cuts);
        let sums: Vec<String> = engine.end()[0].iter().map(|row| row.rsplit('|').take(2).collect::<Vec<_>>().join(" ")).collect();
        let mut expected: Vec<String> = windows.iter().map(|((_, key), sum)| format!("{sum} {}", key.map_or("∅".into(), |key| key.to_string()))).collect();
        let mut got = sums.clone();
        expected.sort();
        got.sort();
        prop_assert_eq!(got, expected);
        prop_assert_eq!(engine.late, late);
    }

    #[test]
    fn a_dedupe_is_a_loop(rows in arrivals(), cuts in prop::collection::vec((1usize..9, 0u8..5), 1..12), last in any::<bool>()) {
        let keep = if last { "last" } else { "first" };
        let plan = block(bench(&[]).plan(&stream(5_000, &format!("- dedupe: {{key: [k], keep: {keep}, ttl_ms: 6000}}"))));
        let (mut known, mut expected, mut newest) = (BTreeMap::<Option<i64>, i64>::new(), Vec::new(), i64::MIN);
        for piece in rows.chunks(3) {
            for row in piece {
                let over = |time: i64| newest > i64::MIN && newest - 5_001 >= time + 6_000;
                let before = known.get(&row.1).copied().filter(|time| !over(*time));
                if before.is_none_or(|time| last && row.0 >= time) {
                    known.insert(row.1, row.0);
                    expected.extend(crate::bench::rows(&batch(&[*row])));
                }
            }
            newest = piece.iter().map(|row| row.0).fold(newest, i64::max);
        }
        let mut engine = Engine::new(&plan);
        let cuts: Vec<(usize, u8)> = cuts.iter().map(|(_, then)| (3, if *then == 2 { 0 } else { *then })).collect();
        through(&mut engine, &rows, &cuts);
        // With `first` a key is not remembered longer because more of its rows come.
        if known.values().any(|time| newest - 5_001 < time + 6_000) {
            engine.epoch();
            engine.restart();
            prop_assert!(engine.operators.bytes() > 0);
        }
        prop_assert_eq!(engine.end().remove(0), expected);
    }
}

/// Not a test of anything: how fast a window of a second counts a million keys. `cargo nextest run --release --run-ignored only -E 'test(/per_second/)' --no-capture`
#[test]
#[ignore = "a measurement"]
fn rows_per_second() {
    const KEYS: i64 = 1_000_000;
    const ROWS: i64 = 8_192;
    let plan = block(bench(&[]).plan(&stream(0, "- window: {tumble: 1s, on: ts, group_by: [k], select: {n: count(*)}}")));
    let mut engine = Engine::new(&plan);
    let mut key = 1i64;
    let batches: Vec<RecordBatch> = (0..1_000)
        .map(|piece| {
            let rows: Vec<Row> = (0..ROWS)
                .map(|row| {
                    key = key.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    ((piece * ROWS + row) / 1_500, Some((key >> 20).rem_euclid(KEYS)), 1)
                })
                .collect();
            batch(&rows)
        })
        .collect();
    let prepare = engine.program.prepare(0).0;
    let begun = std::time::Instant::now();
    let prepared: Vec<RecordBatch> = batches.iter().map(|batch| prepare.apply(batch).unwrap().remove(0).batch).collect();
    let before = begun.elapsed();
    let (mut given, mut most, mut wrote) = (0u64, 0, 0);
    let begun = std::time::Instant::now();
    for (piece, batch) in prepared.iter().enumerate() {
        let mut out = Emitted::default();
        engine.operators.rows(0, batch, &engine.store, &mut out).unwrap();
        engine.operators.watermark((piece as i64 + 1) * ROWS / 1_500 * 1_000 - 2_000, &engine.store, &mut out).unwrap();
        given += out.batches.iter().map(|(_, batch)| batch.num_rows() as u64).sum::<u64>();
        most = most.max(engine.operators.bytes());
        // An epoch each second of the events.
        if piece % 183 == 182 {
            wrote += engine.operators.changes().unwrap().len();
        }
    }
    let rows = prepared.len() as f64 * ROWS as f64;
    let rate = |time: std::time::Duration| rows / time.as_secs_f64() / 1e6;
    println!(
        "prepared {:.2} M rows/s, counted {:.2} M rows/s on one core; {given} results, {wrote} changes of the state, at most {} MB of it",
        rate(before),
        rate(begun.elapsed()),
        most >> 20
    );
    assert!(given > 0);
}
