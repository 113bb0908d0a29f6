//! Changes kept as rows and as messages: each once, in order, with the progress, through crashes at every step.

use super::*;
use arrow::array::{Int32Array, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use proptest::prelude::*;
use weir_connect::{ChangeBatch, ChangeWriter, DeleteMode, Op, SchemaChange, Split, SplitProgress, TransactionMark};

pub(super) fn changes_target(run: &str) -> StreamTarget {
    StreamTarget { changes: true, ..target(run, WriteMode::Append) }
}

fn mark(end: usize, at: i64) -> TransactionMark {
    TransactionMark { end, position: format!("0/{at:X}").into(), id: Some("7".into()), committed_at_us: at * 1_000_000 }
}

/// A change of each of these rows, all in one transaction. Names that are NULL are not in the log where `id % 10 == 0`.
pub(super) fn changes(op: Op, ids: std::ops::Range<i64>) -> ChangeBatch {
    let rows = batch(ids.clone());
    let missing: BooleanBuffer = ids.clone().map(|id| id % 10 == 0).collect();
    ChangeBatch {
        stream: "orders".into(),
        ops: vec![op; rows.num_rows()],
        absent: vec![None, Some(missing), None, None],
        transactions: vec![mark(rows.num_rows(), ids.start)],
        rows,
        before: None,
        source_bytes: 1,
    }
}

pub(super) fn barrier(seq: i64, rows: u64) -> Barrier {
    let split = Split { id: "journal".into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
    Barrier { epoch: 1, lane: 0, progress: vec![SplitProgress { split, position: Some(json!({"seq": seq})), done: false, rows }] }
}

/// The boundary that the sink knows to be durable.
async fn durable(stream: &dyn StreamSink) -> i64 {
    let progress = stream.recover().await.unwrap().progress;
    progress.map_or(0, |parts| parts[0].position.as_ref().unwrap()["seq"].as_i64().unwrap())
}

/// The rows of the place, in the order of `_seq`.
async fn kept(place: &Place, options: Value) -> Vec<Vec<String>> {
    let rows = match place.rows(options).await {
        Ok(rows) => rows,
        Err(error) if error.code() == "WEIR-FILE-080" => vec![],
        Err(error) => panic!("{error:?}"),
    };
    let mut rows: Vec<Vec<String>> = rows.iter().map(|row| row.split('|').map(str::to_owned).collect()).collect();
    rows.sort_by_key(|row| row.last().unwrap().parse::<i64>().unwrap());
    rows
}

async fn open(place: &Place, options: &Value, run: &str) -> (Box<dyn StreamSink>, Box<dyn ChangeWriter>) {
    let stream = place.prepare(options.clone(), changes_target(run)).await.unwrap();
    let writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
    (stream, writer)
}

async fn rows_and_progress(place: Place, options: Value) {
    let (stream, mut writer) = open(&place, &options, "run-1").await;
    writer.apply(changes(Op::Read, 1..4)).await.unwrap();
    writer.apply(changes(Op::Update, 9..12)).await.unwrap();
    writer.apply(changes(Op::Delete, 2..3)).await.unwrap();
    writer.truncate(&mark(1, 20)).await.unwrap();
    assert!(place.visible().is_empty(), "nothing is visible before the flush");
    assert_eq!(durable(stream.as_ref()).await, 0);
    assert_eq!(writer.flush(&barrier(5, 8)).await.unwrap().rows, 8);
    assert_eq!((durable(stream.as_ref()).await, place.visible().len()), (5, 1));
    let rows = kept(&place, json!({"path": "lake"})).await;
    let column = |at: usize| rows.iter().map(|row| row[at].as_str()).collect::<Vec<_>>();
    assert_eq!(column(0), ["1", "2", "3", "9", "10", "11", "2", "NULL"]);
    assert_eq!(column(4), ["r", "r", "r", "u", "u", "u", "d", "t"]);
    assert_eq!(column(6), ["0/1", "0/1", "0/1", "0/9", "0/9", "0/9", "0/2", "0/14"]);
    assert!(column(7)[4].contains("name"), "{:?}", column(7));
    assert!(column(7).iter().enumerate().all(|(at, absent)| at == 4 || matches!(*absent, "NULL" | "")), "{:?}", column(7));
    assert_eq!(column(8), ["1", "2", "3", "4", "5", "6", "7", "8"]);
    let report = stream.commit(&[]).await.unwrap();
    assert_eq!((report.rows, report.objects), (8, 1));
    assert_eq!(stream.commit(&[]).await.unwrap(), report, "a second commit says the same");
    // The next run begins anew with its progress, and goes on counting.
    let (stream, mut writer) = open(&place, &options, "run-2").await;
    assert_eq!(durable(stream.as_ref()).await, 0);
    writer.apply(changes(Op::Create, 30..31)).await.unwrap();
    writer.flush(&barrier(6, 1)).await.unwrap();
    assert_eq!(kept(&place, json!({"path": "lake"})).await.last().unwrap()[8], "9");
}

#[tokio::test]
async fn every_change_is_a_row_and_the_progress_comes_with_it_in_parquet() {
    rows_and_progress(Place::local(), json!({"path": "lake"})).await;
}

#[tokio::test]
async fn every_change_is_a_row_and_the_progress_comes_with_it_in_ndjson() {
    rows_and_progress(Place::local(), json!({"path": "lake", "format": "ndjson"})).await;
}

#[tokio::test]
async fn every_change_is_a_row_and_the_progress_comes_with_it_in_avro() {
    rows_and_progress(Place::local(), json!({"path": "lake", "format": "avro"})).await;
}

#[tokio::test]
async fn every_change_is_a_row_and_the_progress_comes_with_it_on_s3() {
    rows_and_progress(Place::s3(), json!({"path": "lake"})).await;
}

#[tokio::test]
async fn files_are_named_in_the_order_of_the_log_over_attempts_and_divided_by_the_time_of_the_commit() {
    let place = Place::local();
    let options = json!({"path": "lake", "format": "ndjson", "partition_by": ["year"], "target_file_size": "1kB"});
    for attempt in 0..4 {
        let (_, mut writer) = open(&place, &options, "run-1").await;
        for part in 0..3 {
            let from = attempt * 300 + part * 100;
            writer.apply(changes(Op::Create, from..from + 100)).await.unwrap();
        }
        writer.flush(&barrier(attempt + 1, 300)).await.unwrap();
        // What is given and not flushed is not there for the next one.
        writer.apply(changes(Op::Create, 5000..5100)).await.unwrap();
    }
    let mut seen = Vec::new();
    for path in place.visible().into_keys() {
        assert!(path.starts_with("lake/year=1970/part-0"), "{path}");
        for line in String::from_utf8(place.read_file(&path)).unwrap().lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            seen.push((row["_seq"].as_i64().unwrap(), row["id"].as_i64().unwrap()));
        }
    }
    assert_eq!(seen, (0..1200).map(|id| (id + 1, id)).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_attempt_that_another_one_replaced_adds_nothing() {
    for place in [Place::local(), Place::s3()] {
        let options = json!({"path": "lake"});
        let (_, mut old) = open(&place, &options, "run-1").await;
        let (stream, mut new) = open(&place, &options, "run-1").await;
        old.apply(changes(Op::Create, 1..5)).await.unwrap();
        new.apply(changes(Op::Create, 1..3)).await.unwrap();
        let error = old.flush(&barrier(9, 4)).await.unwrap_err();
        assert_eq!(error.code(), "WEIR-FILE-093", "{error:?}");
        new.flush(&barrier(1, 2)).await.unwrap();
        assert_eq!((durable(stream.as_ref()).await, place.visible().len()), (1, 1));
        assert_eq!(kept(&place, json!({"path": "lake"})).await.len(), 2);
    }
}

#[tokio::test]
async fn few_changes_wait_for_more_and_a_full_file_does_not() {
    let place = Place::local();
    let (_, mut writer) = open(&place, &json!({"path": "lake", "roll_secs": 7, "roll_rows": 10}), "run-1").await;
    assert_eq!(writer.patience(), std::time::Duration::from_secs(7));
    writer.apply(changes(Op::Create, 0..9)).await.unwrap();
    assert!(!writer.full());
    writer.apply(changes(Op::Create, 9..10)).await.unwrap();
    assert!(writer.full());
    writer.flush(&barrier(1, 10)).await.unwrap();
    assert!(!writer.full());
}

#[tokio::test]
async fn deletes_may_be_left_out() {
    let place = Place::local();
    let stream = place.prepare(json!({"path": "lake"}), changes_target("run-1")).await.unwrap();
    let mut writer = stream.change_writer(DeleteMode::Ignore).await.unwrap();
    let mut mixed = changes(Op::Update, 8..13);
    (mixed.ops[0], mixed.ops[2]) = (Op::Delete, Op::Delete);
    mixed.transactions = vec![mark(1, 1), mark(4, 2), mark(5, 3)];
    writer.apply(mixed).await.unwrap();
    writer.truncate(&mark(1, 20)).await.unwrap();
    writer.flush(&barrier(1, 5)).await.unwrap();
    let rows = kept(&place, json!({"path": "lake"})).await;
    let rows: Vec<_> = rows.iter().map(|row| (row[0].as_str(), row[6].as_str(), row[8].as_str())).collect();
    assert_eq!(rows, [("9", "0/2", "1"), ("11", "0/2", "2"), ("12", "0/3", "3")]);
    assert_eq!(stream.change_writer(DeleteMode::Soft).await.err().unwrap().code(), "WEIR-FILE-090");
}

#[tokio::test]
async fn a_new_column_is_there_from_its_change_on_and_a_lost_one_stays() {
    let place = Place::local();
    let options = json!({"path": "lake"});
    let (_, mut writer) = open(&place, &options, "run-1").await;
    writer.apply(changes(Op::Create, 1..3)).await.unwrap();
    let fields = [schema().field(0).clone(), Field::new("extra", DataType::Int32, true)];
    let later = Arc::new(Schema::new(fields.to_vec()));
    let change =
        SchemaChange { stream: "orders".into(), schema: later.clone(), key: vec!["id".into()], renamed: vec![], statement: None };
    writer.reshape(&change).await.unwrap();
    let columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(Int64Array::from(vec![3])), Arc::new(Int32Array::from(vec![33]))];
    let rows = RecordBatch::try_new_with_options(later.clone(), columns, &RecordBatchOptions::new()).unwrap();
    let next = ChangeBatch {
        rows,
        absent: vec![None, None],
        ops: vec![Op::Create],
        transactions: vec![mark(1, 3)],
        ..changes(Op::Create, 3..4)
    };
    writer.apply(next.clone()).await.unwrap();
    writer.flush(&barrier(1, 3)).await.unwrap();
    // Taken up again in the later shape, under the contract that nothing may change.
    let target = StreamTarget { schema: later, on_schema_change: SchemaChangePolicy::Freeze, ..changes_target("run-1") };
    let stream = place.prepare(options, target).await.unwrap();
    let mut writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
    writer.apply(next).await.unwrap();
    writer.flush(&barrier(2, 1)).await.unwrap();
    let rows = place.rows(json!({"path": "lake"})).await.unwrap();
    let ends: Vec<&str> = rows.iter().map(|row| row.rsplit('|').next().unwrap()).collect();
    assert_eq!((rows.len(), ends), (4, vec!["NULL", "NULL", "33", "33"]), "{rows:#?}");
    let refused = StreamTarget { on_schema_change: SchemaChangePolicy::Freeze, ..changes_target("run-2") };
    let back = place.sink(json!({"path": "other"})).await.unwrap().prepare(refused).await.unwrap();
    let mut writer = back.change_writer(DeleteMode::Hard).await.unwrap();
    assert_eq!(writer.reshape(&change).await.unwrap_err().code(), "WEIR-FILE-041");
}

#[tokio::test]
async fn what_changes_cannot_be_is_refused_before_the_first() {
    let place = Place::local();
    let code = |result: Result<Box<dyn StreamSink>>| result.err().unwrap().code();
    let taken = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("_op", DataType::Utf8, true)]));
    let target = StreamTarget { schema: taken, ..changes_target("run-1") };
    assert_eq!(code(place.prepare(json!({"path": "lake"}), target).await), "WEIR-FILE-091");
    assert_eq!(code(place.prepare(json!({"path": "all.parquet"}), changes_target("run-1")).await), "WEIR-FILE-095");
    let upsert = StreamTarget { write_mode: WriteMode::Upsert, ..changes_target("run-1") };
    assert_eq!(code(place.prepare(json!({"path": "lake", "format": "csv"}), upsert).await), "WEIR-FILE-052");
    for rows in [json!({"path": "lake", "format": "debezium"}), json!({"path": "lake/{year}/{message-id}.json"})] {
        assert_eq!(code(place.prepare(rows, super::target("run-1", WriteMode::Append)).await), "WEIR-FILE-094");
    }
    for odd in [json!({"format": "parquet"}), json!({"compression": "gzip"}), json!({"partition_by": ["year"]})] {
        let mut options = json!({"path": "lake/{message-id}.json"});
        options.as_object_mut().unwrap().extend(odd.as_object().unwrap().clone());
        assert_eq!(place.sink(options).await.err().unwrap().code(), "WEIR-FILE-096");
    }
}

/// Every file below the place that is no Weir's own: its path and content.
fn landed(place: &Place) -> BTreeMap<String, Value> {
    let read = |path: &String| match &place.bucket {
        Some(bucket) => bucket.get(path).unwrap().to_vec(),
        None => place.read_file(path),
    };
    place.visible().into_keys().map(|path| (path.clone(), serde_json::from_slice(&read(&path)).unwrap())).collect()
}

async fn landing(place: Place) {
    let path = "tenant-{tenant}/raw/cdc.{connector}.{table}/{year}/{month}/{day}/{hour}/{message-id}.json";
    let options = json!({"path": path});
    let (_, mut writer) = open(&place, &options, "run-1").await;
    writer.apply(changes(Op::Create, 3600..3603)).await.unwrap();
    fail::cfg("files.changes.landed", "return").unwrap();
    writer.flush(&barrier(1, 3)).await.unwrap_err();
    fail::remove("files.changes.landed");
    let first: Vec<String> = landed(&place).into_keys().collect();
    // It comes again, and more with it.
    let (stream, mut writer) = open(&place, &options, "run-1").await;
    assert_eq!(durable(stream.as_ref()).await, 0);
    writer.apply(changes(Op::Create, 3600..3603)).await.unwrap();
    writer.apply(changes(Op::Delete, 7200..7201)).await.unwrap();
    writer.truncate(&mark(1, 7201)).await.unwrap();
    writer.flush(&barrier(2, 5)).await.unwrap();
    assert_eq!(durable(stream.as_ref()).await, 2);
    let found = landed(&place);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let folder = "tenant-default/raw/cdc.test.orders/1970/01/01";
    assert_eq!(
        names,
        [
            &format!("{folder}/01/0-E10-000000000001.json"),
            &format!("{folder}/01/0-E10-000000000002.json"),
            &format!("{folder}/01/0-E10-000000000003.json"),
            &format!("{folder}/02/0-1C20-000000000004.json"),
            &format!("{folder}/02/0-1C21-000000000005.json"),
        ]
    );
    assert_eq!(first, names[..3], "the same names as at the first time");
    let values: Vec<&Value> = found.values().collect();
    assert_eq!((&values[0]["op"], &values[0]["after"]["id"]), (&json!("c"), &json!(3600)));
    assert_eq!((&values[3]["op"], &values[3]["before"]["id"]), (&json!("d"), &json!(7200)));
    assert_eq!(values[4]["op"], "t");
    assert_eq!(stream.commit(&[]).await.unwrap().rows, 5);
}

#[tokio::test]
async fn a_message_has_one_file_however_often_it_comes() {
    landing(Place::local()).await;
}

#[tokio::test]
async fn a_message_has_one_object_however_often_it_comes() {
    landing(Place::s3()).await;
}

#[tokio::test]
async fn a_message_may_be_a_row() {
    let place = Place::local();
    let (_, mut writer) = open(&place, &json!({"path": "raw/{message-id}.json", "format": "json"}), "run-1").await;
    writer.apply(changes(Op::Create, 9..11)).await.unwrap();
    writer.flush(&barrier(1, 2)).await.unwrap();
    let rows: Vec<Value> = landed(&place).into_values().collect();
    assert_eq!((&rows[0]["id"], &rows[0]["_seq"], &rows[0]["_op"]), (&json!(9), &json!(1), &json!("c")));
    assert_eq!(rows[1]["_absent"], json!(["name"]));
}

/// What happens to a log.
#[derive(Debug, Clone)]
enum Step {
    Apply(u8),
    Flush,
    CrashInFlush(&'static str),
    Crash,
    EndOfRun,
}

fn step() -> impl Strategy<Value = Step> {
    let place = prop_oneof![Just("files.changes.intent"), Just("files.changes.published"), Just("files.changes.manifest")];
    prop_oneof![
        4 => (1u8..60).prop_map(Step::Apply),
        3 => Just(Step::Flush),
        3 => place.prop_map(Step::CrashInFlush),
        1 => Just(Step::Crash),
        1 => Just(Step::EndOfRun),
    ]
}

/// A journal that has every number from 1 on, each at its own boundary.
async fn live(place: Place, steps: Vec<Step>) {
    let options = json!({"path": "lake", "partition_by": ["hour"], "target_file_size": "1kB"});
    let (mut run, mut start) = (1, 0i64);
    let (mut stream, mut writer) = open(&place, &options, "run-1").await;
    let (mut applied, mut certain) = (0i64, 0i64);
    for step in steps.iter().chain([&Step::Flush]) {
        let crashed = match step {
            Step::Apply(count) => {
                let next = applied + i64::from(*count);
                writer.apply(changes(Op::Create, applied + 1..next + 1)).await.unwrap();
                applied = next;
                false
            }
            Step::Flush => {
                writer.flush(&barrier(applied, 0)).await.unwrap();
                certain = applied;
                false
            }
            Step::CrashInFlush(place) => {
                fail::cfg(*place, "return").unwrap();
                let failed = writer.flush(&barrier(applied, 0)).await.is_err();
                fail::remove(*place);
                assert!(failed || applied == certain, "{place}");
                true
            }
            Step::Crash => true,
            Step::EndOfRun => {
                writer.flush(&barrier(applied, 0)).await.unwrap();
                stream.commit(&[]).await.unwrap();
                (certain, start, run) = (applied, applied, run + 1);
                true
            }
        };
        if crashed {
            (stream, writer) = open(&place, &options, &format!("run-{run}")).await;
            applied = durable(stream.as_ref()).await.max(start);
            assert!(applied >= certain, "what was durable is not: {applied} after {certain}");
            certain = applied;
        }
        let rows = kept(&place, json!({"path": "lake"})).await;
        let found: Vec<i64> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
        assert_eq!(found, (1..=certain).collect::<Vec<_>>(), "after {step:?}");
        assert!(rows.iter().enumerate().all(|(at, row)| row[8] == (at + 1).to_string()));
    }
    // Whoever reads by glob sees the files that the manifest lists.
    let manifest: Value = match &place.bucket {
        Some(bucket) => serde_json::from_slice(&bucket.get("lake/_weir/manifest.json").unwrap()).unwrap(),
        None => serde_json::from_slice(&place.read_file("lake/_weir/manifest.json")).unwrap(),
    };
    let mut listed: Vec<String> =
        manifest["files"].as_array().unwrap().iter().map(|file| format!("lake/{}", file["path"].as_str().unwrap())).collect();
    listed.sort();
    assert_eq!(place.visible().into_keys().collect::<Vec<_>>(), listed);
}

fn run(place: Place, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(live(place, steps));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_change_is_there_once_and_in_order_after_any_crashes_locally(steps in prop::collection::vec(step(), 1..14)) {
        run(Place::local(), steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_change_is_there_once_and_in_order_after_any_crashes_on_s3(steps in prop::collection::vec(step(), 1..10)) {
        run(Place::s3(), steps);
    }
}
