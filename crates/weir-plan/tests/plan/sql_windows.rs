//! The window functions of SQL give what the `window` transform gives, and what Flink's documentation shows.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMicrosecondArray, TimestampSecondArray};
use proptest::prelude::*;
use weir_plan::Program;

use crate::bench::{Bench, line};
use crate::window::{Row, bench, bids, fixed, sessions, shown};

fn sql(query: &str) -> String {
    format!("- sql: {}", serde_json::to_string(query).unwrap())
}

/// Sums of Flink's bids by window.
async fn of(window: &str) -> Vec<String> {
    let query = format!(
        "SELECT window_start, window_end, sum(price) AS total FROM TABLE({window}) GROUP BY window_start, window_end ORDER BY 1, 2"
    );
    let got = bids().run_line(&sql(&query)).await;
    assert_eq!(got.columns, ["window_start", "window_end", "total"]);
    got.rows.iter().map(|row| row.replace("2020-04-15T", "").replace(":00|", "|")).collect()
}

#[tokio::test]
async fn the_examples_of_flinks_documentation_give_the_same() {
    let tumbling = ["08:00|08:10|11", "08:10|08:20|10"];
    assert_eq!(of("TUMBLE(TABLE t, DESCRIPTOR(bidtime), INTERVAL '10' MINUTES)").await, tumbling);
    let named = "TUMBLE(\n  DATA => TABLE t,\n  TIMECOL => DESCRIPTOR(bidtime),\n  SIZE => INTERVAL '10' MINUTES)";
    assert_eq!(of(named).await, tumbling);
    let sliding = ["08:00|08:10|11", "08:05|08:15|15", "08:10|08:20|10", "08:15|08:25|6"];
    assert_eq!(of("HOP(TABLE t, DESCRIPTOR(bidtime), INTERVAL '5' MINUTES, INTERVAL '10' MINUTES)").await, sliding);
    let named =
        "HOP(DATA => TABLE t, TIMECOL => DESCRIPTOR(bidtime), SIZE => INTERVAL '10' MINUTES, SLIDE => INTERVAL '5' MINUTES)";
    assert_eq!(of(named).await, sliding);
    assert_eq!(
        of("CUMULATE(TABLE t, DESCRIPTOR(bidtime), INTERVAL '5' MINUTES, INTERVAL '10' MINUTES, INTERVAL '1' MINUTE)").await,
        ["08:01|08:06|4", "08:01|08:11|11", "08:11|08:16|4", "08:11|08:21|10"]
    );
    assert_eq!(of("SESSION(TABLE t, DESCRIPTOR(bidtime), INTERVAL '2' MINUTES)").await, ["08:05|08:15|15", "08:17|08:19|6"]);
}

#[tokio::test]
async fn every_row_stays_once_for_each_of_its_windows() {
    let clean = |rows: Vec<String>| -> Vec<String> { rows.iter().map(|row| row.replace("2020-04-15T", "")).collect() };
    let got = bids()
        .run_line(&sql("SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(bidtime), INTERVAL '10' MINUTES)) WHERE price > 4"))
        .await;
    assert_eq!(got.columns, ["bidtime", "price", "item", "window_start", "window_end", "window_time"]);
    assert_eq!(clean(got.rows), ["08:09:00|5|D|08:00:00|08:10:00|08:09:59.999", "08:17:00|6|F|08:10:00|08:20:00|08:19:59.999"]);
    let hop = "SELECT item, w.window_time FROM HOP(TABLE t, DESCRIPTOR(bidtime), INTERVAL '5' MINUTES, INTERVAL '10' MINUTES) AS w WHERE w.item = 'C'";
    assert_eq!(clean(bids().run_line(&sql(hop)).await.rows), ["C|08:09:59.999", "C|08:14:59.999"]);
    let session = "SELECT item, window_start, window_end FROM TABLE(SESSION(TABLE t, DESCRIPTOR(bidtime), INTERVAL '2' MINUTES)) WHERE price IN (1, 4, 6)";
    assert_eq!(
        clean(bids().run_line(&sql(session)).await.rows),
        ["C|08:05:00|08:15:00", "E|08:05:00|08:15:00", "F|08:17:00|08:19:00"]
    );
}

#[tokio::test]
async fn they_stand_wherever_a_table_stands() {
    let rows: [Row; 4] = [(1, Some(1), 1), (2, Some(1), 2), (11, Some(1), 4), (12, Some(2), 8)];
    let window = "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)";
    for (query, expected) in [
        // Over a common table expression, and inside one.
        (
            "WITH big AS (SELECT * FROM t WHERE v > 1) SELECT window_start AS s, sum(v) AS v FROM TABLE(TUMBLE(TABLE big, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end".to_string(),
            vec!["00|2", "10|12"],
        ),
        (
            format!("WITH w AS (SELECT window_start, window_end, window_time AS rowtime, sum(v) AS v FROM TABLE({window}) GROUP BY window_start, window_end, window_time), o AS (SELECT rowtime, v FROM w) SELECT window_end, sum(v) AS v FROM TABLE(TUMBLE(TABLE o, DESCRIPTOR(rowtime), INTERVAL '20' SECOND)) GROUP BY window_start, window_end"),
            vec!["20|15"],
        ),
        // Over a sub-query, as Flink has no other way to filter before.
        (
            "SELECT window_start, count(*) AS n FROM TABLE(TUMBLE((SELECT ts FROM t WHERE k = 2), DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end".to_string(),
            vec!["10|1"],
        ),
        // Two windows joined.
        (
            format!("SELECT a.window_start, a.v, b.v AS other FROM (SELECT * FROM TABLE({window}) WHERE k = 1) a JOIN TABLE({window}) b ON a.window_start = b.window_start AND a.window_end = b.window_end AND b.k = 2"),
            vec!["10|4|8"],
        ),
        // The best of each window.
        (
            format!("SELECT window_start, v FROM (SELECT *, row_number() OVER (PARTITION BY window_start, window_end ORDER BY v DESC) AS place FROM TABLE({window})) WHERE place = 1"),
            vec!["00|2", "10|8"],
        ),
        ("SELECT count(*) AS n FROM TABLE(SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY k, window_start, window_end".to_string(), vec!["1", "1", "2"]),
    ] {
        let got = bench(&rows).run_line(&sql(&query)).await;
        let told: Vec<String> = got.rows.iter().map(|row| row.replace("1970-01-01T00:00:", "")).collect();
        assert_eq!(told, expected, "{query}");
    }
}

#[tokio::test]
async fn a_row_without_a_time_ends_the_run_and_where_leaves_it_out() {
    let at = TimestampSecondArray::from(vec![Some(1), None]);
    let bench = Bench::default().table("t", vec![("ts", Arc::new(at) as ArrayRef)]);
    for window in [
        "TUMBLE(TABLE data, DESCRIPTOR(ts), INTERVAL '1' MINUTE)",
        "HOP(TABLE data, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '2' MINUTE)",
        "CUMULATE(TABLE data, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '2' MINUTE)",
        "SESSION(TABLE data, DESCRIPTOR(ts), INTERVAL '1' MINUTE)",
    ] {
        let count = "GROUP BY window_start, window_end";
        let query = format!("WITH data AS (SELECT * FROM t) SELECT window_start, count(*) AS n FROM TABLE({window}) {count}");
        let told = bench.failure(&bench.line(&sql(&query)).await).await;
        assert!(told.contains("a row has no time"), "{window}: {told}");
        let got = bench.run_line(&sql(&query.replace("FROM t)", "FROM t WHERE ts IS NOT NULL)"))).await;
        assert!(!got.rows.is_empty() && got.rows.iter().all(|row| row.ends_with("|1")), "{window}: {:?}", got.rows);
    }
}

#[tokio::test]
async fn window_time_is_a_millisecond_before_the_end_in_the_type_of_the_time() {
    let query = "SELECT window_time FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE))";
    let micros = TimestampMicrosecondArray::from(vec![-1]).with_timezone("UTC");
    let got = Bench::default().table("t", vec![("ts", Arc::new(micros) as ArrayRef)]).run_line(&sql(query)).await;
    assert_eq!(got.rows, ["1969-12-31T23:59:59.999Z"]);
    assert_eq!(bench(&[(0, None, 1)]).run_line(&sql(query)).await.rows, ["1970-01-01T00:00:59"]);
}

#[tokio::test]
async fn windows_of_single_rows_run_row_by_row() {
    let plan = bids().line(&sql("SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(bidtime), INTERVAL '10' MINUTES))")).await;
    assert!(matches!(plan.flows[0].program, Program::RowLocal(_)));
    let from: Vec<String> = plan.columns.iter().map(|column| format!("{} ← {}", column.column, column.from.join(" "))).collect();
    assert_eq!(from[2..5], ["item ← source.t.item", "window_start ← source.t.bidtime", "window_end ← source.t.bidtime"]);
}

#[tokio::test]
async fn mistakes_are_told_with_their_places() {
    let mut wrong = Vec::new();
    for (window, told) in [
        ("TUMBLE(TABLE t, DESCRIPTOR(tz), INTERVAL '1' MINUTE)", "no column `tz`"),
        ("TUMBLE(TABLE t, DESCRIPTOR(v), INTERVAL '1' MINUTE)", "`v` is int64, no timestamp"),
        ("TUMBLE(TABLE t, ts, INTERVAL '1' MINUTE)", "the time is written DESCRIPTOR(ts)"),
        ("TUMBLE(TABLE t, INTERVAL '1' MINUTE)", "the time is written DESCRIPTOR"),
        ("TUMBLE(TABLE t, DESCRIPTOR(ts, v), INTERVAL '1' MINUTE)", "the time is one column"),
        ("TUMBLE(TABLE t)", "TUMBLE has no DESCRIPTOR(time)"),
        ("TUMBLE()", "TUMBLE has no table"),
        ("TUMBLE(t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)", "write `TABLE t`"),
        ("TUMBLE(TABLE u, DESCRIPTOR(ts), INTERVAL '1' MINUTE)", "there is no table `u` here"),
        ("TUMBLE(TABLE t, DESCRIPTOR(ts))", "TUMBLE lacks an interval"),
        ("TUMBLE(TABLE t, DESCRIPTOR(ts), 10)", "`10` is no interval"),
        ("TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1-2' YEAR TO MONTH)", "minutes and seconds; at Line: 1, Column: 74"),
        ("TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '0' MINUTE)", "longer than nothing"),
        ("TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '0.5' SECOND)", "no such fractions"),
        ("TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' DAY, INTERVAL '1' HOUR, INTERVAL '1' HOUR)", "too many arguments"),
        ("TUMBLE(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '1' DAY)", "PARTITION BY is for SESSION"),
        (
            "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '3' MINUTE, INTERVAL '10' MINUTE)",
            "the size of HOP is no multiple of its slide",
        ),
        ("CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '3' MINUTE, INTERVAL '10' MINUTE)", "no multiple of its step"),
        ("HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '100' DAY)", "every row would be in 8640000 windows"),
        ("SESSION(TABLE t PARTITION BY kk, DESCRIPTOR(ts), INTERVAL '1' DAY)", "no column `kk`"),
        ("SESSION(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' DAY)", "SESSION has no argument `SIZE`"),
        ("TUMBLE(DATA => TABLE t, DESCRIPTOR(ts), INTERVAL '1' DAY)", "all are named"),
    ] {
        let query = format!("SELECT count(*) AS n FROM TABLE({window}) GROUP BY window_start, window_end");
        let found = bench(&[]).problems(&line(&sql(&query))).await;
        if !found.iter().any(|problem| problem.message.contains(told)) || found.iter().any(|problem| problem.span.is_none()) {
            wrong.push(format!("{window}: {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let twice = "SELECT * FROM TABLE(TUMBLE((SELECT ts, v AS window_end FROM t), DESCRIPTOR(ts), INTERVAL '1' DAY))";
    let found = bench(&[]).problems(&line(&sql(twice))).await;
    assert!(found.iter().any(|problem| problem.message.contains("a column `window_end` already")), "{found:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_those_of_a_loop(rows in prop::collection::vec((-60i64..200, prop::option::of(0i64..3), -9i64..9), 0..40), kind in 0..4) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (window, expected) = match kind {
            0 => ("TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '15' SECOND, INTERVAL '-4' SECOND)", fixed(&rows, |at| {
                let start = (at + 4).div_euclid(15) * 15 - 4;
                vec![(start, start + 15)]
            })),
            1 => ("HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '30' SECOND)", fixed(&rows, |at| {
                (-200..300).step_by(10).filter(|start| *start <= at && at < start + 30).map(|start| (start, start + 30)).collect()
            })),
            2 => ("CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '30' SECOND)", fixed(&rows, |at| {
                let start = at.div_euclid(30) * 30;
                [10, 20, 30].into_iter().map(|length| (start, start + length)).filter(|(_, end)| at < *end).collect()
            })),
            _ => ("SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '7' SECOND)", sessions(&rows, 7)),
        };
        let query = format!(
            "SELECT window_start, window_end, k, sum(v) AS s, count(*) AS n FROM TABLE({window}) GROUP BY window_start, window_end, k"
        );
        let got = runtime.block_on(bench(&rows).run_line(&sql(&query)));
        prop_assert_eq!(got.rows, shown(&expected));
    }
}
