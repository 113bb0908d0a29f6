//! Windows of event time, against a loop over the rows that follows Flink's definitions of TUMBLE, HOP, SESSION and CUMULATE.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray, TimestampSecondArray};
use proptest::prelude::*;
use weir_plan::Program;

use crate::bench::Bench;

pub type Row = (i64, Option<i64>, i64);

/// Seconds, key, value.
pub fn bench(rows: &[Row]) -> Bench {
    let at: TimestampSecondArray = rows.iter().map(|row| Some(row.0)).collect();
    let keys: Int64Array = rows.iter().map(|row| row.1).collect();
    let values: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
    Bench::default().table(
        "t",
        vec![("ts", Arc::new(at) as ArrayRef), ("k", Arc::new(keys) as ArrayRef), ("v", Arc::new(values) as ArrayRef)],
    )
}

/// The bids of Flink's documentation of window table functions, on 2020-04-15.
pub fn bids() -> Bench {
    let times = ["08:05", "08:07", "08:09", "08:11", "08:13", "08:17"];
    let at: Vec<i64> = times
        .iter()
        .map(|time| chrono::DateTime::parse_from_rfc3339(&format!("2020-04-15T{time}:00Z")).unwrap().timestamp_micros())
        .collect();
    let prices: Int64Array = vec![4, 2, 5, 3, 1, 6].into();
    let items = StringArray::from(vec!["C", "A", "D", "B", "E", "F"]);
    Bench::default().table(
        "t",
        vec![
            ("bidtime", Arc::new(TimestampMicrosecondArray::from(at)) as ArrayRef),
            ("price", Arc::new(prices) as ArrayRef),
            ("item", Arc::new(items) as ArrayRef),
        ],
    )
}

async fn of(bench: &Bench, options: &str) -> Vec<String> {
    let got = bench.run_line(&format!("- window: {{on: bidtime, select: {{total: sum(price)}}, {options}}}")).await;
    assert_eq!(got.columns, ["window_start", "window_end", "total"]);
    got.rows.iter().map(|row| row.replace("2020-04-15T", "").replace(":00|", "|")).collect()
}

#[tokio::test]
async fn the_examples_of_flinks_documentation_give_the_same() {
    let bids = bids();
    assert_eq!(of(&bids, "tumble: 10m").await, ["08:00|08:10|11", "08:10|08:20|10"]);
    assert_eq!(
        of(&bids, "hop: {size: 10m, slide: 5m}").await,
        ["08:00|08:10|11", "08:05|08:15|15", "08:10|08:20|10", "08:15|08:25|6"]
    );
    assert_eq!(
        of(&bids, "cumulate: {size: 10m, step: 2m}").await,
        [
            "08:00|08:06|4",
            "08:00|08:08|6",
            "08:00|08:10|11",
            "08:10|08:12|3",
            "08:10|08:14|4",
            "08:10|08:16|4",
            "08:10|08:18|10",
            "08:10|08:20|10"
        ]
    );
}

#[tokio::test]
async fn sessions_end_when_nothing_came_for_longer_than_the_gap() {
    assert_eq!(of(&bids(), "session: 2m").await, ["08:05|08:15|15", "08:17|08:19|6"]);
    let rows = [(0, Some(1), 1), (10, Some(1), 2), (10, Some(1), 4), (21, Some(1), 8), (5, None, 16)];
    let got = bench(&rows).run_line("- window: {session: 10s, on: ts, group_by: [k], select: {s: sum(v), n: count(*)}}").await;
    assert_eq!(got.columns, ["window_start", "window_end", "k", "s", "n"]);
    let shown: Vec<String> = got.rows.iter().map(|row| row.replace("1970-01-01T00:00:", "")).collect();
    assert_eq!(shown, ["00|20|1|7|3", "05|15|∅|16|1", "21|31|1|8|1"]);
}

#[tokio::test]
async fn an_offset_moves_windows_and_times_before_1970_have_windows_too() {
    let got = bench(&[(-1, None, 1), (0, None, 2), (59, None, 4), (70, None, 8)])
        .run_line("- window: {tumble: 1m, offset: 10s, on: ts, select: {s: sum(v)}}")
        .await;
    assert_eq!(
        got.rows,
        [
            "1969-12-31T23:59:10|1970-01-01T00:00:10|3",
            "1970-01-01T00:00:10|1970-01-01T00:01:10|4",
            "1970-01-01T00:01:10|1970-01-01T00:02:10|8"
        ]
    );
}

#[tokio::test]
async fn a_row_without_a_time_ends_the_run_unless_it_is_dropped() {
    let at = TimestampSecondArray::from(vec![Some(1), None]);
    let bench = Bench::default().table("t", vec![("ts", Arc::new(at) as ArrayRef)]);
    for kind in ["tumble: 1m", "session: 1m", "hop: {size: 2m, slide: 1m}"] {
        let plan = bench.line(&format!("- window: {{{kind}, on: ts, select: {{n: count(*)}}}}")).await;
        let told = bench.failure(&plan).await;
        assert!(told.contains("a row has no time"), "{kind}: {told}");
        let got = bench.run_line(&format!("- window: {{{kind}, on: ts, nulls: drop, select: {{n: count(*)}}}}")).await;
        assert!(!got.rows.is_empty() && got.rows.iter().all(|row| row.ends_with("|1")), "{kind}: {:?}", got.rows);
    }
}

#[tokio::test]
async fn a_time_whose_window_does_not_fit_its_type_ends_the_run() {
    let at = TimestampMicrosecondArray::from(vec![i64::MAX - 5]);
    let bench = Bench::default().table("t", vec![("ts", Arc::new(at) as ArrayRef)]);
    let plan = bench.line("- window: {tumble: 1d, on: ts, select: {n: count(*)}}").await;
    assert!(bench.failure(&plan).await.contains("beyond the range"));
}

#[tokio::test]
async fn a_window_tells_where_its_columns_come_from_and_that_it_sees_rows_together() {
    let plan = bench(&[(0, None, 1)]).line("- window: {tumble: 1m, on: ts, group_by: [k], select: {s: sum(v)}}").await;
    let from: Vec<String> =
        plan.columns.iter().map(|column| format!("{} ← {} {}", column.column, column.from.join(" "), column.source)).collect();
    assert_eq!(
        from,
        [
            "window_start ← source.t.ts (window)",
            "window_end ← source.t.ts (window)",
            "k ← source.t.k int64",
            "s ← source.t.v sum(v) (window)"
        ]
    );
    let Program::Relational(program) = &plan.flows[0].program else { panic!() };
    assert!(program.reason().contains("`window` has an aggregate"), "{}", program.reason());
}

#[tokio::test]
async fn mistakes_are_told_with_their_places() {
    for (options, told) in [
        ("on: ts, select: {n: count(*)}", "there is no window"),
        ("tumble: 1m, session: 1m, on: ts, select: {n: count(*)}", "of one kind"),
        ("hop: {size: 3m, slide: 2m}, on: ts, select: {n: count(*)}", "no multiple"),
        ("cumulate: {size: 1d, step: 1ms}, on: ts, select: {n: count(*)}", "windows"),
        ("tumble: 1m, on: t, select: {n: count(*)}", "no column `t`"),
        ("tumble: 1m, on: v, select: {n: count(*)}", "no timestamp"),
        ("tumble: 500ms, on: ts, select: {n: count(*)}", "no such fractions"),
        ("tumble: 1m, on: ts, group_by: [kk], select: {n: count(*)}", "no column `kk`"),
        ("tumble: 1m, on: ts, select: {n: \"count(\"}", "cannot be parsed"),
        ("tumble: 1m, on: ts, select: {n: sum(vv)}", "no column `vv`"),
        ("tumble: 1m, on: ts, select: {window_end: sum(v)}", "two columns would be called"),
        ("session: 1m, offset: 1s, on: ts, select: {n: count(*)}", "nothing to move"),
    ] {
        let found = bench(&[]).problems(&crate::bench::line(&format!("- window: {{{options}}}"))).await;
        assert!(found.iter().any(|problem| problem.message.contains(told)), "{options}: {found:#?}");
        assert!(found.iter().all(|problem| problem.span.is_some()), "{options}: {found:#?}");
    }
}

/// Start, end, key → sum and count, by a loop.
pub type Windows = BTreeMap<(i64, i64, Option<i64>), (i64, i64)>;

pub fn fixed(rows: &[Row], windows: impl Fn(i64) -> Vec<(i64, i64)>) -> Windows {
    let mut found = Windows::new();
    for (at, key, value) in rows {
        for (start, end) in windows(*at) {
            let cell = found.entry((start, end, *key)).or_default();
            *cell = (cell.0 + value, cell.1 + 1);
        }
    }
    found
}

/// Each row has a window of the gap's length; windows that meet are one.
pub fn sessions(rows: &[Row], gap: i64) -> Windows {
    let mut keys: BTreeMap<Option<i64>, Vec<(i64, i64)>> = BTreeMap::new();
    rows.iter().for_each(|(at, key, value)| keys.entry(*key).or_default().push((*at, *value)));
    let mut found = Windows::new();
    for (key, mut rows) in keys {
        rows.sort_unstable();
        let mut open: Option<(i64, i64, i64, i64)> = None;
        for (at, value) in rows {
            open = Some(match open {
                Some((start, end, sum, count)) if at <= end => (start, at + gap, sum + value, count + 1),
                Some((start, end, sum, count)) => {
                    found.insert((start, end, key), (sum, count));
                    (at, at + gap, value, 1)
                }
                None => (at, at + gap, value, 1),
            });
        }
        if let Some((start, end, sum, count)) = open {
            found.insert((start, end, key), (sum, count));
        }
    }
    found
}

pub fn shown(windows: &Windows) -> Vec<String> {
    let time = |at: i64| chrono::DateTime::from_timestamp(at, 0).unwrap().format("%Y-%m-%dT%H:%M:%S").to_string();
    let mut rows: Vec<String> = windows
        .iter()
        .map(|((start, end, key), (sum, count))| {
            format!("{}|{}|{}|{sum}|{count}", time(*start), time(*end), key.map_or("∅".into(), |key| key.to_string()))
        })
        .collect();
    rows.sort();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_those_of_a_loop(rows in prop::collection::vec((-60i64..200, prop::option::of(0i64..3), -9i64..9), 0..40), kind in 0..4) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (options, expected) = match kind {
            0 => ("tumble: 15s", fixed(&rows, |at| vec![(at.div_euclid(15) * 15, at.div_euclid(15) * 15 + 15)])),
            1 => ("hop: {size: 30s, slide: 10s}", fixed(&rows, |at| {
                (-200..300).step_by(10).filter(|start| *start <= at && at < start + 30).map(|start| (start, start + 30)).collect()
            })),
            2 => ("cumulate: {size: 30s, step: 10s}", fixed(&rows, |at| {
                let start = at.div_euclid(30) * 30;
                [10, 20, 30].into_iter().map(|length| (start, start + length)).filter(|(_, end)| at < *end).collect()
            })),
            _ => ("session: 7s", sessions(&rows, 7)),
        };
        let got = runtime.block_on(bench(&rows).run_line(&format!("- window: {{{options}, on: ts, group_by: [k], select: {{s: sum(v), n: count(*)}}}}")));
        prop_assert_eq!(got.rows, shown(&expected));
    }
}
