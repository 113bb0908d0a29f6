//! Whatever the rows and the transforms: rows in = rows out + filtered + dead, and what stays is right.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use proptest::prelude::*;
use weir_plan::Program;

use crate::bench::Bench;

fn transform() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("- filter: n > 0"),
        Just("- filter: s LIKE '%1%' OR x IS NULL"),
        Just("- filter: 10 / n > 1"),
        Just("- cast: {columns: {s: int64}}"),
        Just("- cast: {columns: {s: \"decimal(6,2)\", x: int32}}"),
        Just("- cast: {columns: {n: int8}, on_error: null}"),
        Just("- mask: {columns: {s: {hash: {salt: k}}}}"),
        Just("- field_mapper: {rename: {n: m, s: t, x: y}}\n- field_mapper: {rename: {m: n, t: s, y: x}}"),
        Just("- sql: SELECT n * 1000000007 AS n, s, x FROM input"),
        Just("- sql: SELECT n, s, x, 100 % n AS r FROM input WHERE x < 5 OR x IS NULL\n- field_mapper: {drop: [r]}"),
        Just("- sql: SELECT n, s, x FROM input WHERE false"),
    ]
}

fn batch() -> impl Strategy<Value = RecordBatch> {
    let text = prop_oneof![
        any::<i32>().prop_map(|n| n.to_string()),
        Just("1.25".to_string()),
        Just("1.255".to_string()),
        Just("NaN".to_string()),
        Just(String::new()),
        ".{0,3}"
    ];
    let number = prop_oneof![-3i64..4, any::<i64>()];
    let float = prop_oneof![any::<f64>(), Just(f64::NAN), Just(2.0), Just(-0.0)];
    let row = (prop::option::of(number), prop::option::of(text), prop::option::of(float));
    prop::collection::vec(row, 0..40).prop_map(|rows| {
        let n: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
        let s: ArrayRef = Arc::new(rows.iter().map(|row| row.1.clone()).collect::<StringArray>());
        let x: ArrayRef = Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>());
        RecordBatch::try_from_iter_with_nullable([("n", n, true), ("s", s, true), ("x", x, true)]).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn rows_reconcile(batch in batch(), transforms in prop::collection::vec(transform(), 0..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::default().batches("t", vec![batch.clone()], &[]);
            // A cast changes a type, and then another transform may not fit: such a pipeline has no plan.
            let Ok(plan) = bench.try_plan(&crate::bench::line(&transforms.join("\n"))).await else { return Ok(()) };
            let Program::RowLocal(program) = &plan.flows[0].program else { return Ok(()) };
            let whole = program.apply(&batch).unwrap().remove(0);
            prop_assert_eq!(whole.batch.num_rows() as u64 + whole.filtered + whole.dead.len() as u64, batch.num_rows() as u64);
            // Cutting the batch changes nothing.
            let (mut rows, mut filtered, mut dead) = (Vec::new(), 0, Vec::new());
            for row in 0..batch.num_rows() {
                let one = program.apply(&batch.slice(row, 1)).unwrap().remove(0);
                rows.extend(crate::bench::rows(&one.batch));
                filtered += one.filtered;
                dead.extend(one.dead.into_iter().map(|letter| letter.payload));
            }
            prop_assert_eq!(rows, crate::bench::rows(&whole.batch));
            prop_assert_eq!(filtered, whole.filtered);
            dead.sort();
            let mut all: Vec<Vec<u8>> = whole.dead.into_iter().map(|letter| letter.payload).collect();
            all.sort();
            prop_assert_eq!(dead, all);
            Ok(())
        })?;
    }
}
