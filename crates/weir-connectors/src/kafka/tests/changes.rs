//! `mode: cdc` into topics: Debezium's records, in transactions with the log's position.

use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use weir_connect::{
    Barrier, ChangeBatch, DeleteMode, Op, RunIdentity, SchemaChange, SchemaChangePolicy, Split, SplitProgress, StreamSink,
    StreamTarget, TransactionMark, WriteMode,
};
use weir_testkit::PostgresServer;

use super::*;
use crate::files::tests::debezium::{GOLDEN, Told, assert_messages, assert_schemas, normalised, played, without_words_of_enums};

/// A message of a topic: its key and its value.
fn message((_, key, value): Found) -> Value {
    let json = |part: Option<Vec<u8>>| part.map_or(Value::Null, |text| serde_json::from_slice(&text).unwrap());
    json!({"key": json(key), "value": json(value)})
}

/// Everything that a real PostgreSQL's changes become in topics, by topic.
async fn told(schemas: bool) -> Told {
    let lab = Lab::new("golden");
    let database = PostgresServer::shared().unwrap().create_database().unwrap();
    let options = json!({
        "topic": lab.topic("{stream}"), "partitions": 1, "format": "debezium_json",
        "debezium": {"schemas": schemas, "topic_prefix": "golden", "database": "bench"},
    });
    let sink = lab.sink(options).await;
    let mut names = Vec::new();
    played(&database, async |source| {
        let mut writers = Vec::new();
        for info in source.changes().unwrap().streams().await.unwrap() {
            names.push(info.name.clone());
            let target = StreamTarget {
                stream: info.name.clone(),
                schema: info.schema.clone(),
                key: info.primary_key.clone(),
                ..target("1")
            };
            let stream = sink.prepare(target).await.unwrap();
            writers.push((info, stream.change_writer(DeleteMode::Hard).await.unwrap()));
        }
        writers
    })
    .await;
    let of = |name: &String| lab.records(&lab.topic(name)).into_iter().map(|found| normalised(message(found))).collect();
    names.iter().map(|name| (format!("golden.{name}"), of(name))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_records_of_a_topic_are_those_of_a_real_debezium() {
    assert_messages(GOLDEN, 42, &told(false).await, normalised);
    let compared = assert_schemas(GOLDEN, &told(true).await, without_words_of_enums);
    assert!(compared > 70, "{compared}");
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("name", DataType::Utf8, true)]))
}

fn target(run: &str) -> StreamTarget {
    StreamTarget {
        run: RunIdentity { pipeline: "p".into(), run_id: run.into() },
        stream: "public.s".into(),
        schema: schema(),
        key: vec!["id".into()],
        cursor: None,
        write_mode: WriteMode::Append,
        on_schema_change: SchemaChangePolicy::Evolve,
        changes: true,
    }
}

/// One transaction: what happens to rows, and their names.
fn changes(at: u32, rows: &[(Op, i64, Option<&str>)]) -> ChangeBatch {
    let ids = arrow::array::Int64Array::from_iter_values(rows.iter().map(|(_, id, _)| *id));
    let names: StringArray = rows.iter().map(|(_, _, name)| *name).collect();
    let mark =
        TransactionMark { end: rows.len(), position: format!("0/{at:X}").into(), id: Some("7".into()), committed_at_us: 1_000 };
    ChangeBatch {
        stream: "public.s".into(),
        ops: rows.iter().map(|(op, ..)| *op).collect(),
        rows: RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(names)]).unwrap(),
        absent: vec![None, None],
        before: None,
        transactions: vec![mark],
        source_bytes: 0,
    }
}

fn barrier(seq: u64) -> Barrier {
    let split = Split { id: "journal".into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
    Barrier {
        epoch: seq,
        lane: 0,
        progress: vec![SplitProgress { split, position: Some(json!({"seq": seq})), done: false, rows: seq }],
    }
}

async fn prepare(lab: &Lab, options: Value, run: &str) -> Box<dyn StreamSink> {
    let mut all = json!({"topic": lab.topic("t"), "partitions": 3, "format": "debezium_json"});
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    lab.sink(all).await.prepare(target(run)).await.unwrap()
}

/// Per key, what happened to it in order: `op`, or `-` for a tombstone.
fn happened(lab: &Lab) -> BTreeMap<i64, String> {
    let mut all: BTreeMap<i64, String> = BTreeMap::new();
    for found in lab.records(&lab.topic("t")) {
        let message = message(found);
        let op = message["value"]["op"].as_str().unwrap_or("-");
        all.entry(message["key"]["id"].as_i64().unwrap_or(-1)).or_default().push_str(op);
    }
    all
}

fn all(expected: &[(i64, &str)]) -> BTreeMap<i64, String> {
    expected.iter().map(|(id, ops)| (*id, (*ops).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_and_their_place_appear_together_in_order_per_key_and_once() {
    let lab = Lab::new("changes");
    let stream = prepare(&lab, json!({}), "1").await;
    assert_eq!(stream.recover().await.unwrap().progress, Some(Vec::new()));
    let mut writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
    writer.apply(changes(1, &[(Op::Read, 1, Some("a")), (Op::Read, 2, None)])).await.unwrap();
    assert_eq!(happened(&lab), all(&[]));
    writer.flush(&barrier(1)).await.unwrap();
    // Applied and not flushed, by an attempt that dies.
    writer.apply(changes(2, &[(Op::Update, 1, Some("b"))])).await.unwrap();
    drop((writer, stream));
    let zombie = prepare(&lab, json!({}), "1").await;
    let mut late = zombie.change_writer(DeleteMode::Hard).await.unwrap();
    late.apply(changes(2, &[(Op::Update, 1, Some("b"))])).await.unwrap();
    let stream = prepare(&lab, json!({}), "1").await;
    let known = stream.recover().await.unwrap();
    assert_eq!((known.progress, known.rows), (Some(barrier(1).progress), 2));
    let mut writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
    // A key that changes is a delete and a create.
    writer.apply(changes(2, &[(Op::Update, 1, Some("b")), (Op::Delete, 1, None), (Op::Create, 3, Some("b"))])).await.unwrap();
    writer.truncate(&TransactionMark { end: 0, position: "0/3".into(), id: None, committed_at_us: 2_000 }).await.unwrap();
    writer.apply(changes(4, &[(Op::Create, 1, Some("c"))])).await.unwrap();
    assert_eq!(late.flush(&barrier(2)).await.unwrap_err().code(), "WEIR-KAFKA-031");
    writer.flush(&barrier(2)).await.unwrap();
    let expected = all(&[(-1, "t"), (1, "rud-c"), (2, "r"), (3, "c")]);
    assert_eq!(happened(&lab), expected);
    let report = stream.commit(&[]).await.unwrap();
    assert_eq!((report.rows, report.objects), (7, 1));
    drop((writer, stream));
    assert_eq!(prepare(&lab, json!({}), "1").await.recover().await.unwrap().committed, Some(report));
    assert_eq!(happened(&lab), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_tombstones_and_new_shapes_are_as_the_options_say() {
    let lab = Lab::new("options");
    let stream = prepare(&lab, json!({"debezium": {"tombstones": false}}), "1").await;
    assert_eq!(stream.change_writer(DeleteMode::Soft).await.err().unwrap().code(), "WEIR-KAFKA-050");
    let mut writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
    writer.apply(changes(1, &[(Op::Create, 1, Some("a")), (Op::Delete, 1, None)])).await.unwrap();
    writer.flush(&barrier(1)).await.unwrap();
    assert_eq!(happened(&lab), all(&[(1, "cd")]));
    let stream = prepare(&lab, json!({"guarantee": "at_least_once"}), "1").await;
    let mut writer = stream.change_writer(DeleteMode::Ignore).await.unwrap();
    writer.apply(changes(2, &[(Op::Create, 2, Some("a")), (Op::Delete, 2, None)])).await.unwrap();
    let wider = Schema::new([schema().fields().to_vec(), vec![Arc::new(Field::new("more", DataType::Boolean, true))]].concat());
    let change = SchemaChange {
        stream: "public.s".into(),
        schema: Arc::new(wider),
        key: vec!["id".into()],
        renamed: Vec::new(),
        statement: None,
    };
    writer.reshape(&change).await.unwrap();
    let mut wide = changes(3, &[(Op::Update, 2, Some("b"))]);
    let more = arrow::array::BooleanArray::from(vec![true]);
    wide.rows = RecordBatch::try_new(change.schema.clone(), [wide.rows.columns(), &[Arc::new(more) as _]].concat()).unwrap();
    wide.absent.push(None);
    writer.apply(wide).await.unwrap();
    let flushed = writer.flush(&barrier(2)).await.unwrap();
    assert_eq!((flushed.rows, happened(&lab)), (2, all(&[(1, "cd"), (2, "cu")])));
    assert_eq!(stream.commit(&[]).await.unwrap().rows, 2);
    let last = lab.records(&lab.topic("t")).into_iter().map(message).find(|message| message["value"]["op"] == "u").unwrap();
    assert_eq!(last["value"]["after"], json!({"id": 2, "name": "b", "more": true}));
    let frozen = StreamTarget { on_schema_change: SchemaChangePolicy::Freeze, ..target("2") };
    let options = json!({"topic": lab.topic("t"), "format": "debezium_json"});
    let mut writer = lab.sink(options).await.prepare(frozen).await.unwrap().change_writer(DeleteMode::Hard).await.unwrap();
    assert_eq!(writer.reshape(&change).await.unwrap_err().code(), "WEIR-KAFKA-051");
}
