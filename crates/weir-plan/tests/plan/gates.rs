//! What programs count at the gates of a flow: as many rows as there are, wherever there is a place to count, and at next to no cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, ListArray, RecordBatch, StringArray, StringViewArray, StructArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::Int64Type;
use weir_connect::Result;
use weir_plan::keyed::{Emitted, Stored};
use weir_plan::{Flow, Known, Passed, Program, value_bytes};

use crate::bench::Bench;

/// State that nobody has written.
struct Nothing;

impl Stored for Nothing {
    fn get(&self, _: &[u8]) -> Result<Option<bytes::Bytes>> {
        Ok(None)
    }
    fn scan(&self, _: &[u8]) -> Box<dyn Iterator<Item = Result<(Vec<u8>, bytes::Bytes)>> + '_> {
        Box::new(std::iter::empty())
    }
}

fn zeros(flow: &Flow) -> Vec<Passed> {
    vec![Passed::default(); flow.gates.len()]
}

/// `(node.port, rows, dead)` of every gate.
fn told(flow: &Flow, passed: &[Passed]) -> Vec<(String, u64, u64)> {
    let name = |port: &Option<String>| port.as_ref().map(|port| format!(".{port}")).unwrap_or_default();
    let one =
        |(gate, passed): (&weir_plan::Gate, &Passed)| (format!("{}{}", gate.node, name(&gate.port)), passed.rows, passed.dead);
    flow.gates.iter().zip(passed).map(one).collect()
}

fn numbers(rows: i64) -> RecordBatch {
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let word: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..rows).map(|n| if n % 4 == 0 { "x".into() } else { n.to_string() })));
    RecordBatch::try_from_iter_with_nullable([("n", n, true), ("word", word, true)]).unwrap()
}

#[tokio::test]
async fn a_tree_counts_each_branch_once_and_a_dead_row_once_however_many_sinks_lack_it() {
    let batch = numbers(100);
    let plan = Bench::default()
        .batches("t", vec![batch.clone()], &[])
        .plan(
            "pipeline: p\nsources: {in: {memory: {table: t}}}\ntransforms:\n  typed: {input: in, cast: {columns: {word: int64}, on_error: dead_letter}}\n\
             \x20 low: {input: typed, filter: n < 40}\n\
             sinks:\n  all: {input: typed, memory: {table: a}}\n  some: {input: low, memory: {table: b}}\n",
        )
        .await;
    let flow = &plan.flows[0];
    let Program::RowLocal(program) = &flow.program else { panic!("it is row by row") };
    let mut passed = zeros(flow);
    let outputs = program.apply_counting(&batch, &mut passed).unwrap();
    let mut told = told(flow, &passed);
    told.sort();
    let expected = [("all", 75, 0), ("in", 100, 0), ("low", 30, 0), ("some", 30, 0), ("typed", 75, 25)];
    assert_eq!(told, expected.map(|(node, rows, dead)| (node.to_owned(), rows, dead)));
    assert_eq!(outputs.iter().map(|output| output.dead.len()).sum::<usize>(), 50, "each output lacks them");
    let uncounted = program.apply(&batch).unwrap();
    assert_eq!(uncounted[1].batch, outputs[1].batch);
}

#[tokio::test]
async fn a_stream_with_windows_counts_before_between_and_behind_its_operators() {
    let time: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![Some(1_000), Some(2_000), Some(12_000), Some(13_000)]));
    let n: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 4, 0]));
    let batch = RecordBatch::try_from_iter_with_nullable([("ts", time, true), ("n", n, true)]).unwrap();
    let plan = Bench::default()
        .batches("t", vec![batch.clone()], &[])
        .plan(
            "pipeline: p\nmode: streaming\nsources: {in: {memory: {table: t, endless: true, event_time: {column: ts, max_lateness_ms: 0}}}}\n\
             transforms:\n  some: {input: in, filter: n > 0}\n\
             \x20 per: {input: some, window: {tumble: 10s, on: ts, select: {s: sum(n)}}}\n\
             \x20 large: {input: per, filter: s > 3}\n\
             sinks:\n  out: {input: large, memory: {table: a}}\n",
        )
        .await;
    let flow = &plan.flows[0];
    let Program::Keyed(program) = &flow.program else { panic!("it keeps state") };
    let (prepare, _) = program.prepare(0);
    let mut passed = zeros(flow);
    let prepared = prepare.apply_counting(&batch, &mut passed).unwrap().remove(0).batch;
    // What the engine finds without a time is counted there.
    assert_eq!(flow.gates[program.gate_of_untimed(0).unwrap()].node, "per");
    let mut out = Emitted { passed, ..Emitted::default() };
    let mut operators = program.operators().unwrap();
    operators.rows(0, &prepared, &Nothing, &mut out).unwrap();
    operators.watermark(i64::MAX, &Nothing, &mut out).unwrap();
    let mut told = told(flow, &out.passed);
    told.sort();
    // 1 + 2 in the first window, 4 in the second.
    let expected = [("in", 4, 0), ("large", 1, 0), ("out", 1, 0), ("per", 2, 0), ("some", 3, 0)];
    assert_eq!(told, expected.map(|(node, rows, dead)| (node.to_owned(), rows, dead)));
}

#[tokio::test]
async fn a_query_says_what_it_cannot_count() {
    let batch = numbers(10);
    let plan = Bench::default()
        .batches("t", vec![batch.clone()], &[])
        .batches("u", vec![batch], &[])
        .plan(
            "pipeline: p\nsources: {a: {memory: {table: t}}, b: {memory: {table: u}}}\n\
             transforms:\n  few: {input: a, filter: n < 5}\n\
             \x20 named: {input: b, field_mapper: {rename: {word: other}}}\n\
             \x20 both: {input: [few, named], join: {on: [n]}}\n\
             \x20 judged: {input: both, data_quality: {rules: [{unique: n, on_fail: drop}]}}\n\
             sinks:\n  out: {input: judged, memory: {table: c}}\n",
        )
        .await;
    let known = |node: &str| plan.flows[0].gates.iter().find(|gate| gate.node == node).unwrap().known;
    assert_eq!((known("a"), known("b"), known("out")), (Known::All, Known::All, Known::All));
    // A filter moves freely; renamed columns, and those that a rule adds, are on the same rows; a check sees what goes in and out.
    assert_eq!(
        (known("few"), known("named"), known("both"), known("judged")),
        (Known::Nothing, Known::Rows, Known::Rows, Known::All)
    );
}

#[test]
fn bytes_are_those_of_the_rows_that_are_there() {
    let whole = |columns: Vec<(&str, ArrayRef)>| RecordBatch::try_from_iter(columns).unwrap();
    let batch = whole(vec![
        ("n", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("b", Arc::new(BooleanArray::from(vec![true, false, true]))),
        ("s", Arc::new(StringArray::from(vec!["a", "bcd", ""]))),
    ]);
    assert_eq!(value_bytes(&batch), 3 * 8 + 1 + (4 + 3 * 4));
    assert_eq!(value_bytes(&batch.slice(1, 1)), 8 + 1 + (3 + 4), "a slice is not what stands behind it");
    let nulls = whole(vec![("n", Arc::new(Int64Array::from(vec![Some(1), None])))]);
    assert_eq!(value_bytes(&nulls), 2 * 8 + 1);
    let list =
        ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), Some(2)]), Some(vec![]), Some(vec![Some(3)])]);
    let inner = value_bytes(&whole(vec![("l", Arc::new(list.clone()))]));
    assert_eq!(inner, 3 * 8 + 3 * 4 + u64::from(list.values().nulls().is_some()) + u64::from(list.nulls().is_some()));
    let rest = value_bytes(&whole(vec![("l", Arc::new(list.slice(2, 1)))]));
    assert!(rest < inner && rest >= 8 + 4, "{rest}");
    let view = whole(vec![("v", Arc::new(StringViewArray::from(vec!["short", "longer than twelve"])))]);
    assert_eq!(value_bytes(&view), 2 * 16 + 18);
    let fields = StructArray::from(vec![(
        Arc::new(arrow::datatypes::Field::new("x", arrow::datatypes::DataType::Int64, false)),
        Arc::new(Int64Array::from(vec![7, 8])) as ArrayRef,
    )]);
    assert_eq!(value_bytes(&whole(vec![("r", Arc::new(fields))])), 16);
}

/// The bar is one percent of a chain of ten steps. Prints what it is here:
/// `cargo nextest run --release -p weir-plan --run-ignored all -E 'test(counting_costs)' --no-capture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn counting_costs_next_to_nothing() {
    let batch = numbers(8_192);
    let steps: String = (0..10)
        .map(|step| {
            format!(
                "  s{step}: {{input: {}, filter: n >= {step} AND word <> 'y{step}'}}\n",
                match step {
                    0 => "in".into(),
                    _ => format!("s{}", step - 1),
                }
            )
        })
        .collect();
    let plan = Bench::default()
        .batches("t", vec![batch.clone()], &[])
        .plan(&format!(
            "pipeline: p\nsources: {{in: {{memory: {{table: t}}}}}}\ntransforms:\n{steps}sinks:\n  out: {{input: s9, memory: {{table: a}}}}\n"
        ))
        .await;
    let flow = &plan.flows[0];
    let Program::RowLocal(program) = &flow.program else { panic!("it is row by row") };
    let mut passed = zeros(flow);
    assert_eq!(flow.gates.len(), 12);
    let round = |passed: &mut [Passed]| -> Duration {
        let begin = Instant::now();
        for _ in 0..200 {
            assert_eq!(program.apply_counting(&batch, passed).unwrap().len(), 1);
        }
        begin.elapsed()
    };
    let mut pairs: Vec<(Duration, Duration)> = (0..40).map(|_| (round(&mut []), round(&mut passed))).collect();
    assert_eq!(passed[0].rows, 40 * 200 * 8_192);
    let mut median = |part: fn(&(Duration, Duration)) -> Duration| {
        pairs.sort_by_key(part);
        part(&pairs[pairs.len() / 2])
    };
    let (without, with) = (median(|pair| pair.0), median(|pair| pair.1));
    let cost = with.as_secs_f64() / without.as_secs_f64() - 1.0;
    println!("ten steps over 8,192 rows: {:?} without, {:?} with counts, {:+.2} %", without / 200, with / 200, cost * 100.0);
    assert!(cost <= 0.01 || cfg!(debug_assertions), "{:.2} %", cost * 100.0);
}
