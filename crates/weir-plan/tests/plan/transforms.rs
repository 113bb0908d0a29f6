//! Each transform with the values that break others: NULL, NaN, overflow, time zones.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use weir_plan::{Plan, Program};

use crate::bench::{Bench, line};

fn ints(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}
fn texts(values: Vec<Option<&str>>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn row_local(plan: &Plan) -> bool {
    matches!(plan.flows[0].program, Program::RowLocal(_))
}

fn people() -> Bench {
    Bench::default().table(
        "t",
        vec![
            ("id", ints(vec![Some(1), Some(2), Some(3), None])),
            ("name", texts(vec![Some("ada"), None, Some("bob"), Some("eve")])),
            ("score", Arc::new(Float64Array::from(vec![Some(1.5), Some(f64::NAN), None, Some(2.0)]))),
        ],
    )
}

#[tokio::test]
async fn nothing_to_do_is_the_identity() {
    let plan = people().line("").await;
    let Program::RowLocal(program) = &plan.flows[0].program else { panic!() };
    assert!(program.is_identity());
}

#[tokio::test]
async fn a_transform_that_changes_nothing_is_the_identity_too() {
    for transform in [
        "- sql: SELECT * FROM input",
        "- sql: SELECT id, name, score FROM input",
        "- field_mapper: {select: [id, name, score]}",
        "- cast: {columns: {id: int64}}",
    ] {
        let plan = people().line(transform).await;
        let Program::RowLocal(program) = &plan.flows[0].program else { panic!() };
        assert!(program.is_identity(), "{transform}");
    }
}

#[tokio::test]
async fn a_null_predicate_filters_the_row_out() {
    let got = people().run_line("- filter: name <> 'ada'").await;
    assert_eq!((got.rows, got.filtered), (vec!["3|bob|∅".to_string(), "∅|eve|2.0".into()], 2));
}

#[tokio::test]
async fn nan_is_equal_to_itself_and_larger_than_all_numbers() {
    // DataFusion's (and PostgreSQL's) order of floating point; pinned, so that a change is seen.
    let got = people().run_line("- filter: score > 1.6").await;
    assert_eq!(got.rows, ["2|∅|NaN", "∅|eve|2.0"]);
}

#[tokio::test]
async fn fields_are_renamed_dropped_cast_and_ordered() {
    let got = people()
        .run_line("- field_mapper: {rename: {id: Key}, drop: [score], cast: {Key: text}, constants: {origin: crm, rate: 0.10, version: 2}, select: [origin, Key, name, rate, version]}")
        .await;
    assert_eq!(got.columns, ["origin", "Key", "name", "rate", "version"]);
    assert_eq!(got.rows[0], "crm|1|ada|0.1|2");
    assert_eq!(got.rows[3], "crm|∅|eve|0.1|2");
}

#[tokio::test]
async fn the_seeds_map_of_names_renames() {
    let got = people().run_line("- field_mapper: {field_mapper: {name: userId}}").await;
    assert_eq!(got.columns, ["id", "userId", "score"]);
}

#[tokio::test]
async fn two_names_can_change_places() {
    let got = people().run_line("- field_mapper: {rename: {id: name, name: id}}").await;
    assert_eq!(got.columns, ["name", "id", "score"]);
    assert_eq!(got.rows[0], "1|ada|1.5");
}

#[tokio::test]
async fn a_value_that_does_not_cast_sets_its_row_aside_with_the_record_as_it_was() {
    let bench = Bench::default().table(
        "t",
        vec![
            ("id", ints(vec![Some(1), Some(2), Some(3), Some(4)])),
            ("n", texts(vec![Some("10"), Some("ten"), None, Some("40")])),
        ],
    );
    let got = bench.run_line("- filter: id > 1\n- cast: {columns: {n: int32}}").await;
    assert_eq!(got.rows, ["3|∅", "4|40"]);
    assert_eq!((got.filtered, got.dead.len()), (1, 1));
    let letter = &got.dead[0];
    assert_eq!((letter.code.as_str(), letter.stream.as_str()), ("WEIR-ROW-001", "t"));
    assert_eq!(letter.reason, "n: `ten` is no int32");
    assert_eq!(String::from_utf8_lossy(&letter.payload), r#"{"id":2,"n":"ten"}"#);
}

#[tokio::test]
async fn a_row_that_fails_in_two_columns_is_one_dead_letter() {
    let bench = Bench::default().table("t", vec![("a", texts(vec![Some("x")])), ("b", texts(vec![Some("maybe")]))]);
    let got = bench.run_line("- cast: {columns: {a: int64, b: bool}}").await;
    assert_eq!(got.dead.len(), 1);
    assert_eq!(got.dead[0].reason, "a: `x` is no int64; b: `maybe` is no bool");
}

#[tokio::test]
async fn a_bad_value_becomes_null_only_where_that_is_asked_for() {
    let bench = Bench::default().table("t", vec![("n", texts(vec![Some("1"), Some("x")]))]);
    let got = bench.run_line("- cast: {columns: {n: int64}, on_error: null}").await;
    assert_eq!((got.rows, got.dead.len()), (vec!["1".to_string(), "∅".into()], 0));
}

#[tokio::test]
async fn a_bad_value_ends_the_run_where_that_is_asked_for() {
    let bench = Bench::default().table("t", vec![("n", texts(vec![Some("1"), Some("x")]))]);
    let plan = bench.line("- cast: {columns: {n: int64}, on_error: error}").await;
    let Program::RowLocal(program) = &plan.flows[0].program else { panic!() };
    let batch = arrow::array::RecordBatch::try_from_iter([("n", texts(vec![Some("x")]))]).unwrap();
    let error = program.apply(&batch).unwrap_err();
    assert_eq!((error.code(), error.why()), ("WEIR-ROW-001", Some("n: `x` is no int64")));
}

#[tokio::test]
async fn a_fraction_is_cut_off_only_with_accept_loss() {
    let bench = Bench::default().table("t", vec![("x", Arc::new(Float64Array::from(vec![2.0, 2.7])) as ArrayRef)]);
    let strict = bench.run_line("- cast: {columns: {x: int64}}").await;
    assert_eq!((strict.rows, strict.dead.len()), (vec!["2".to_string()], 1));
    let loose = bench.run_line("- cast: {columns: {x: int64}, accept_loss: true}").await;
    assert_eq!((loose.rows, loose.dead.len()), (vec!["2".to_string(), "2".into()], 0));
}

#[tokio::test]
async fn a_division_by_zero_sets_only_its_own_row_aside() {
    let values: Vec<Option<i64>> = (0..100).map(|n| if n == 50 { None } else { Some(n % 33) }).collect();
    let bench = Bench::default().table("t", vec![("n", ints(values))]);
    let got = bench.run_line("- sql: SELECT n, 100 / n AS q FROM input").await;
    assert_eq!(got.dead.len(), 4, "0, 33, 66, 99");
    assert_eq!(got.rows.len(), 96);
    assert!(got.dead.iter().all(|letter| letter.code == "WEIR-ROW-002" && letter.payload == br#"{"n":0}"#), "{:?}", got.dead[0]);
    assert!(got.rows.contains(&"∅|∅".to_string()));
    assert!(got.rows.contains(&"32|3".to_string()));
}

#[tokio::test]
async fn integers_do_not_wrap_around() {
    let bench = Bench::default().table(
        "t",
        vec![("n", ints(vec![Some(i64::MAX), Some(1)])), ("m", Arc::new(Int32Array::from(vec![i32::MIN, 1])) as ArrayRef)],
    );
    for sql in [
        "SELECT n + 1 AS x FROM input",
        "SELECT n * 2 AS x FROM input",
        "SELECT m - CAST(1 AS INT) AS x FROM input WHERE m IS NOT NULL",
    ] {
        let got = bench.run_line(&format!("- sql: {sql}")).await;
        assert_eq!((got.rows.len(), got.dead.len()), (1, 1), "{sql}: {:?}", got.rows);
        assert!(got.dead[0].reason.to_lowercase().contains("overflow"), "{}", got.dead[0].reason);
    }
}

#[tokio::test]
async fn a_sum_does_not_wrap_around() {
    let most = Decimal128Array::from(vec![Some(10_i128.pow(38) - 1), Some(1), Some(5)]).with_precision_and_scale(38, 0).unwrap();
    let bench = Bench::default().table(
        "t",
        vec![
            ("n", ints(vec![Some(i64::MAX), Some(1), Some(-1)])),
            ("d", Arc::new(most) as ArrayRef),
            ("g", texts(vec![Some("a"), Some("a"), Some("b")])),
        ],
    );
    for sql in [
        "SELECT sum(n) AS s FROM input WHERE n > 0",
        "SELECT g, sum(n) AS s FROM input GROUP BY g",
        "SELECT sum(DISTINCT n) AS s FROM input WHERE n > 0",
        "SELECT sum(n) OVER (ORDER BY n) AS s FROM input WHERE n > 0",
        "SELECT sum(n) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM input WHERE n > 0",
        "SELECT sum(d) AS s FROM input",
    ] {
        let plan = bench.line(&format!("- sql: {sql}")).await;
        let told = bench.failure(&plan).await.to_lowercase();
        assert!(told.contains("overflow"), "{sql}: {told}");
    }
    // What fits is the sum, also when a part of it would not.
    for (sql, expected) in [
        ("SELECT sum(n) AS s FROM input", vec!["9223372036854775807"]),
        ("SELECT sum(DISTINCT n) AS s FROM input", vec!["9223372036854775807"]),
        ("SELECT sum(CAST(n AS DECIMAL(38, 0))) AS s FROM input WHERE n > 0", vec!["9223372036854775808"]),
        ("SELECT g, sum(d) AS s FROM input WHERE d < 10 GROUP BY g", vec!["a|1", "b|5"]),
        (
            "SELECT sum(n) OVER (ORDER BY n ROWS BETWEEN CURRENT ROW AND CURRENT ROW) AS s FROM input",
            vec!["-1", "1", "9223372036854775807"],
        ),
        ("SELECT sum(n) AS s FROM input WHERE g = 'none'", vec!["∅"]),
    ] {
        assert_eq!(bench.run_line(&format!("- sql: {sql}")).await.rows, expected, "{sql}");
    }
}

#[tokio::test]
async fn a_decimal_is_rounded_half_away_from_zero() {
    let values = [Some(10050), Some(26750), Some(-23450), Some(999_950), Some(49), Some(-50), Some(5000), None];
    let amounts = Decimal128Array::from(values.to_vec()).with_precision_and_scale(12, 4).unwrap();
    let most = Decimal128Array::from(vec![Some(10_i128.pow(38) - 1); values.len()]).with_precision_and_scale(38, 0).unwrap();
    let digits = ints(vec![Some(2); values.len()]);
    let columns = vec![("d", Arc::new(amounts) as ArrayRef), ("most", Arc::new(most) as ArrayRef), ("n", digits)];
    let bench = Bench::default().table("t", columns);
    // As `numeric` is rounded in PostgreSQL.
    for (digits, data_type, expected) in [
        (", 2", "decimal128(12,2)", ["1.01", "2.68", "-2.35", "100.00", "0.00", "-0.01", "0.50", "∅"]),
        ("", "decimal128(12,0)", ["1", "3", "-2", "100", "0", "0", "1", "∅"]),
        (", -1", "decimal128(12,0)", ["0", "0", "0", "100", "0", "0", "0", "∅"]),
        (", 9", "decimal128(12,4)", ["1.0050", "2.6750", "-2.3450", "99.9950", "0.0049", "-0.0050", "0.5000", "∅"]),
    ] {
        for sql in [
            format!("SELECT round(d{digits}) AS r FROM input"),
            format!("SELECT round(d{digits}) AS r FROM (SELECT d FROM input WHERE n = 2) AS x"),
        ] {
            let plan = bench.line(&format!("- sql: {sql}")).await;
            assert_eq!(plan.columns[0].arrow, data_type, "{sql}");
            // A query that is not row by row gives its rows in no order.
            let (mut rows, mut expected) = (bench.run_line(&format!("- sql: {sql}")).await.rows, expected);
            rows.sort();
            expected.sort_unstable();
            assert_eq!(rows, expected, "{sql}");
        }
    }
    let got = bench.run_line("- sql: SELECT sum(round(d * 1.2, 2)) AS s FROM input WHERE round(d, 1) > 1.0").await;
    assert_eq!(got.rows, ["123.20"]);
    // One digit more than there is room for.
    let got = bench.run_line("- sql: SELECT round(most, -1) AS r FROM input").await;
    assert_eq!((got.rows.len(), got.dead.len()), (0, values.len()), "{:?}", got.rows);
    for (digits, why) in [
        ("n", "as a whole number, as in round(amount, 2)"),
        ("1 + 1", "as a whole number, as in round(amount, 2)"),
        ("2.0", "round"),
        ("NULL", "round"),
        ("99999999999", "round"),
    ] {
        let told = format!("{:?}", bench.problems(&line(&format!("- sql: SELECT round(d, {digits}) AS r FROM input"))).await);
        assert!(told.contains(why) && !told.contains("INTERNAL"), "{digits}: {told}");
    }
}

#[tokio::test]
async fn the_smallest_integer_has_no_opposite() {
    let bench = Bench::default().table("t", vec![("n", ints(vec![Some(i64::MIN), Some(7), None]))]);
    let got = bench.run_line("- sql: SELECT -n AS m FROM input").await;
    assert_eq!((got.rows, got.dead.len()), (vec!["-7".to_string(), "∅".into()], 1));
}

#[tokio::test]
async fn a_decimal_literal_is_exact() {
    let amounts = Decimal128Array::from(vec![Some(110), None]).with_precision_and_scale(15, 2).unwrap();
    let bench = Bench::default().table("t", vec![("amount", Arc::new(amounts) as ArrayRef)]);
    let plan = bench.line("- sql: SELECT *, amount * 1.2 AS gross FROM input").await;
    assert!(row_local(&plan));
    assert_eq!(plan.columns[1].arrow, "decimal128(18,3)");
    assert_eq!(plan.columns[1].source, "amount * 1.2 (sql)");
    assert_eq!(bench.run_line("- sql: SELECT *, amount * 1.2 AS gross FROM input").await.rows, ["1.10|1.320", "∅|∅"]);
    let plan = bench.line("- sql: SELECT coalesce(amount, 0.5) AS a, CASE WHEN amount > 1.05 THEN amount ELSE 0.25 END AS b FROM input WHERE amount BETWEEN 0.1 AND 9.9 OR amount IS NULL").await;
    assert_eq!(bench.run(&plan).await["sink"].rows, ["1.10|1.10", "0.50|0.25"]);
    assert!(plan.columns.iter().all(|column| column.arrow.starts_with("decimal128")), "{:?}", plan.columns);
}

#[tokio::test]
async fn now_is_one_moment_with_microseconds_in_utc() {
    let bench = Bench::default().table("t", vec![("n", ints(vec![Some(1), Some(2)]))]);
    let plan = bench.line("- sql: SELECT n, now() AS a, current_timestamp AS b, current_timestamp() AS c FROM t").await;
    assert!(row_local(&plan));
    assert_eq!(plan.columns[1].arrow, "timestamp[us, UTC]");
    let got = bench.run(&plan).await;
    let cells: Vec<Vec<&str>> = got["sink"].rows.iter().map(|row| row.split('|').collect()).collect();
    assert!(cells[0][1..].iter().chain(&cells[1][1..]).all(|at| *at == cells[0][1] && at.ends_with('Z')), "{cells:?}");
}

#[tokio::test]
async fn a_timestamp_in_sql_has_microseconds() {
    let bench = Bench::default().table("t", vec![("s", texts(vec![Some("2024-01-01T00:00:00.123456")]))]);
    let plan = bench.line("- sql: SELECT CAST(s AS TIMESTAMP) AS at, CAST(s AS TIMESTAMP WITH TIME ZONE) AS tz FROM input").await;
    assert_eq!((plan.columns[0].arrow.as_str(), plan.columns[1].arrow.as_str()), ("timestamp[us]", "timestamp[us, UTC]"));
    assert_eq!(bench.run(&plan).await["sink"].rows, ["2024-01-01T00:00:00.123456|2024-01-01T00:00:00.123456Z"]);
}

#[tokio::test]
async fn a_query_may_name_its_input_in_four_ways() {
    let batch = arrow::array::RecordBatch::try_from_iter([("n", ints(vec![Some(1)]))]).unwrap();
    let bench = Bench::default().batches("public.customers", vec![batch], &[]);
    for name in ["input", "customers", "public.customers", "CUSTOMERS", "crm"] {
        let text = format!(
            "pipeline: p\nsources: {{crm: {{memory: {{table: public.customers}}}}}}\ntransforms: {{x: {{input: crm, sql: \"SELECT n FROM {name}\"}}}}\nsinks: {{out: {{input: x, memory: {{table: out}}}}}}\n"
        );
        let plan = bench.plan(&text).await;
        assert_eq!(bench.run(&plan).await["out"].rows, ["1"], "{name}");
    }
}

#[tokio::test]
async fn dedupe_keeps_the_same_row_whatever_the_order_of_reading() {
    let forward = vec![
        ("k", ints(vec![Some(1), Some(1), Some(2), None, None])),
        ("at", ints(vec![Some(5), Some(9), None, Some(1), Some(1)])),
        ("v", texts(vec![Some("a"), Some("b"), Some("c"), Some("e"), Some("d")])),
    ];
    let backward = forward
        .iter()
        .map(|(name, column)| {
            let order = arrow::array::UInt32Array::from((0..5).rev().collect::<Vec<u32>>());
            (*name, arrow::compute::take(column, &order, None).unwrap())
        })
        .collect::<Vec<_>>();
    for columns in [forward, backward] {
        let bench = Bench::default().table("t", columns);
        let first = bench.run_line("- dedupe: {key: [k], order_by: at desc}").await;
        assert_eq!(first.rows, ["1|9|b", "2|∅|c", "∅|1|d"]);
        let last = bench.run_line("- dedupe: {key: [k], order_by: at desc, keep: last}").await;
        assert_eq!(last.rows, ["1|5|a", "2|∅|c", "∅|1|e"]);
        let plain = bench.run_line("- dedupe: {key: [k]}").await;
        assert_eq!(plain.rows, ["1|5|a", "2|∅|c", "∅|1|d"]);
    }
}

#[tokio::test]
async fn dedupe_without_a_key_drops_equal_rows() {
    let bench = Bench::default().table("t", vec![("n", ints(vec![Some(1), Some(1), None, None]))]);
    let plan = bench.line("- dedupe: {}").await;
    assert!(!row_local(&plan));
    assert_eq!(bench.run(&plan).await["sink"].rows, ["1", "∅"]);
}

#[tokio::test]
async fn masked_columns_are_text_and_null_stays_null() {
    let bench = Bench::default().table(
        "t",
        vec![
            ("card", ints(vec![Some(4111111111111111), None])),
            ("mail", texts(vec![Some("ada@example.org"), None])),
            ("ok", Arc::new(BooleanArray::from(vec![Some(true), None])) as ArrayRef),
        ],
    );
    let got = bench.run_line("- mask: {columns: {card: partial, mail: {hash: {salt: s}}, ok: redact}}").await;
    assert_eq!(got.rows[1], "∅|∅|∅");
    let cells: Vec<&str> = got.rows[0].split('|').collect();
    assert_eq!((cells[0], cells[1].len(), cells[2]), ("****1111", 64, "***"));
}

#[tokio::test]
async fn a_mask_without_salt_is_warned_about() {
    let plan = people().line("- mask: {columns: {name: hash}}").await;
    assert!(plan.warnings.iter().any(|warning| warning.contains("salt")), "{:?}", plan.warnings);
}

#[tokio::test]
async fn a_naive_and_a_zoned_time_are_not_mixed_up() {
    let naive = TimestampMicrosecondArray::from(vec![0]);
    let zoned = TimestampMicrosecondArray::from(vec![0]).with_timezone("+02:00");
    let bench = Bench::default().table("t", vec![("n", Arc::new(naive) as ArrayRef), ("z", Arc::new(zoned) as ArrayRef)]);
    let got = bench.run_line("- cast: {columns: {n: timestamptz, z: timestamp}}").await;
    assert_eq!(got.rows, ["1970-01-01T00:00:00Z|1970-01-01T00:00:00"]);
}

#[tokio::test]
async fn what_runs_row_by_row_is_found() {
    let bench = people();
    for sql in [
        "SELECT id, upper(name) AS n FROM input WHERE score > 1 AND name LIKE 'a%'",
        "WITH a AS (SELECT id + 1 AS i FROM input) SELECT i * 2 AS j FROM a WHERE i > 1",
        "SELECT CASE WHEN id IS NULL THEN 'none' ELSE 'some' END AS x FROM (SELECT id FROM input) q",
        "SELECT coalesce(name, 'x') AS n, now() AS at FROM input",
        "SELECT id FROM input WHERE id IN (1, 2, 3) OR id BETWEEN 5 AND 7",
    ] {
        let plan = bench.line(&format!("- sql: \"{sql}\"")).await;
        assert!(row_local(&plan), "{sql}");
        bench.run(&plan).await;
    }
}

#[tokio::test]
async fn what_needs_rows_together_is_found_and_named() {
    let bench = people();
    for (sql, why) in [
        ("SELECT count(*) AS n FROM input", "a global aggregate"),
        ("SELECT name, sum(score) AS s FROM input GROUP BY name", "an aggregate"),
        ("SELECT id FROM input ORDER BY id", "a sort"),
        ("SELECT id FROM input LIMIT 3", "a limit"),
        ("SELECT DISTINCT id FROM input", "a distinct"),
        ("SELECT id, row_number() OVER (ORDER BY id) AS n FROM input", "a window"),
        ("SELECT a.id FROM input a JOIN input b ON a.id = b.id", "a join"),
        ("SELECT id FROM input UNION ALL SELECT id + 1 AS id FROM input", "a union"),
        ("SELECT id FROM input WHERE id = (SELECT max(id) FROM input)", "a sub-query"),
        ("SELECT id, random() AS r FROM input", "`random()`"),
        ("SELECT 1 AS x", "does not read its input"),
    ] {
        let plan = bench.line(&format!("- sql: \"{sql}\"")).await;
        let Program::Relational(program) = &plan.flows[0].program else { panic!("{sql}") };
        assert!(program.reason().contains(why), "{sql}: {}", program.reason());
        bench.run(&plan).await;
    }
}
