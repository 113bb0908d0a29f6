//! Transactions: what readers see, what survives, who is shut out.

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use weir_connect::{Barrier, Retry, RunIdentity, SchemaChangePolicy, Split, SplitProgress, StreamSink, StreamTarget, WriteMode};

use super::*;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("name", DataType::Utf8, true)]))
}

fn batch(range: std::ops::Range<i64>) -> RecordBatch {
    let names = StringArray::from_iter(range.clone().map(|id| Some(format!("row {id}"))));
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from_iter_values(range)), Arc::new(names)]).unwrap()
}

fn target(run: &str) -> StreamTarget {
    StreamTarget {
        run: RunIdentity { pipeline: "p".into(), run_id: run.into() },
        stream: "s".into(),
        schema: schema(),
        key: Vec::new(),
        cursor: None,
        write_mode: WriteMode::Append,
        on_schema_change: SchemaChangePolicy::Evolve,
        changes: false,
    }
}

fn progress(id: &str, rows: u64) -> SplitProgress {
    let split = Split { id: id.into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
    SplitProgress { split, position: Some(json!(rows)), done: false, rows }
}

fn barrier(epoch: u64, lane: usize, id: &str, rows: u64) -> Barrier {
    Barrier { epoch, lane, progress: vec![progress(id, rows)] }
}

fn written(lab: &Lab, topic: &str) -> Vec<i64> {
    let mut ids: Vec<i64> = lab.values(topic).iter().map(|value| value["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    ids
}

async fn prepare(lab: &Lab, topic: &str, run: &str) -> Box<dyn StreamSink> {
    lab.sink(json!({"topic": topic})).await.prepare(target(run)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_progress_appear_together_or_not_at_all() {
    let lab = Lab::new("together");
    let topic = lab.topic("t");
    let stream = prepare(&lab, &topic, "1").await;
    assert_eq!(stream.recover().await.unwrap().progress, Some(Vec::new()));
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(batch(0..5)).await.unwrap();
    assert_eq!(written(&lab, &topic), Vec::<i64>::new());
    writer.flush(&barrier(1, 0, "a", 5)).await.unwrap();
    assert_eq!(written(&lab, &topic), (0..5).collect::<Vec<_>>());
    // Handed over, and on the brokers' disks even, but not flushed.
    writer.write(batch(5..9)).await.unwrap();
    drop((writer, stream));
    let stream = prepare(&lab, &topic, "1").await;
    let known = stream.recover().await.unwrap();
    assert_eq!((known.progress, known.rows, known.committed), (Some(vec![progress("a", 5)]), 5, None));
    let mut writer = stream.writer(1).await.unwrap();
    writer.write(batch(5..7)).await.unwrap();
    writer.flush(&barrier(2, 1, "a", 7)).await.unwrap();
    let report = stream.commit(&[]).await.unwrap();
    assert_eq!(report.rows, 7);
    assert_eq!(stream.commit(&[]).await.unwrap(), report);
    drop((writer, stream));
    let after = prepare(&lab, &topic, "1").await.recover().await.unwrap();
    assert_eq!((after.committed, after.progress), (Some(report), Some(Vec::new())));
    // The next run knows nothing of this one.
    let next = prepare(&lab, &topic, "2").await.recover().await.unwrap();
    assert_eq!((next.committed, next.progress, next.rows), (None, Some(Vec::new()), 0));
    assert_eq!(written(&lab, &topic), (0..7).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_was_taken_over_cannot_commit_any_more() {
    let lab = Lab::new("zombie");
    let topic = lab.topic("t");
    let old = prepare(&lab, &topic, "1").await;
    let mut zombie = old.writer(0).await.unwrap();
    zombie.write(batch(0..4)).await.unwrap();
    let new = prepare(&lab, &topic, "1").await;
    let mut writer = new.writer(0).await.unwrap();
    writer.write(batch(0..4)).await.unwrap();
    writer.flush(&barrier(1, 0, "a", 4)).await.unwrap();
    let error = zombie.flush(&barrier(1, 0, "a", 4)).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-KAFKA-031", "{error}");
    assert_eq!(error.retryable(), Retry::Never);
    assert!(old.commit(&[]).await.is_err());
    assert_eq!(written(&lab, &topic), [0, 1, 2, 3]);
    assert_eq!(new.commit(&[]).await.unwrap().rows, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buffer_that_is_full_loses_nothing_and_keeps_the_order() {
    let lab = Lab::new("full");
    let topic = lab.topic("t");
    lab.create(&topic, 1, &[]).await;
    // Never enough for a request: what is there must go nevertheless, or there will never be room.
    let sink = lab.sink(json!({"topic": topic, "max_buffer_bytes": 16_384})).await;
    let stream = sink.prepare(target("1")).await.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(batch(0..3000)).await.unwrap();
    assert_eq!(writer.flush(&barrier(1, 0, "a", 3000)).await.unwrap().rows, 3000);
    let ids: Vec<i64> = lab.values(&topic).iter().map(|value| value["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, (0..3000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_flush_writes_nothing_at_all() {
    let lab = Lab::new("empty");
    let topic = lab.topic("t");
    let stream = prepare(&lab, &topic, "1").await;
    let before = lab.records_as(&lab.topic("progress"), "read_uncommitted").len();
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(batch(0..0)).await.unwrap();
    let flushed = writer.flush(&Barrier { epoch: 1, lane: 0, progress: Vec::new() }).await.unwrap();
    assert_eq!(flushed.rows, 0);
    assert_eq!(lab.records_as(&lab.topic("progress"), "read_uncommitted").len(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_has_its_key_its_partition_its_time_and_its_headers() {
    let lab = Lab::new("shape");
    let topic = lab.topic("t");
    let options = json!({
        "topic": topic, "partitions": 4, "key": ["name"], "partitioner": "column", "partition_column": "id",
        "headers": {"origin": "weir"}, "guarantee": "at_least_once",
    });
    let stream = lab.sink(options).await.prepare(target("1")).await.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(batch(0..4)).await.unwrap();
    let token = writer.flush(&barrier(1, 0, "a", 4)).await.unwrap().token;
    let mut records = lab.records(&topic);
    records.sort();
    for (id, (partition, key, value)) in records.iter().enumerate() {
        assert_eq!(*partition, id as i32);
        assert_eq!(key.as_deref(), Some(format!("row {id}").as_bytes()));
        assert_eq!(
            serde_json::from_slice::<Value>(value.as_ref().unwrap()).unwrap(),
            json!({"id": id, "name": format!("row {id}")})
        );
    }
    assert_eq!(stream.commit(&[token]).await.unwrap().rows, 4);
    let source = lab.source(json!({"topic": topic, "metadata": ["headers"]})).await.unwrap();
    let reader = source.open(ReadRequest { stream: topic.clone(), ..ReadRequest::default() }).await.unwrap();
    for row in drain(reader.as_ref()).await.unwrap().rows() {
        assert_eq!(row.column_by_name("_headers").unwrap().as_string::<i32>().value(0), r#"[["origin","weir"]]"#);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_too_large_is_told_with_its_key_and_nothing_of_its_epoch_is_seen() {
    let lab = Lab::new("large");
    let topic = lab.topic("t");
    let options = json!({"topic": topic, "key": ["id"], "topic_config": {"max.message.bytes": "2000"}, "compression": "none"});
    let stream = lab.sink(options).await.prepare(target("1")).await.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(batch(0..3)).await.unwrap();
    let text = StringArray::from(vec!["x".repeat(5000)]);
    let large = RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(vec![77])), Arc::new(text)]).unwrap();
    let error = match writer.write(large).await {
        Err(error) => error,
        Ok(()) => writer.flush(&barrier(1, 0, "a", 4)).await.unwrap_err(),
    };
    assert_eq!(error.code(), "WEIR-KAFKA-030", "{error}");
    assert!(error.to_string().contains("77"), "{error}");
    drop(writer);
    assert_eq!(written(&lab, &topic), Vec::<i64>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_between_two_epochs_loses_and_doubles_nothing() {
    let mut broker = weir_testkit::Kafka::start().unwrap();
    let lab = Lab::at(broker.bootstrap(), "killed");
    let topic = lab.topic("t");
    let stream = prepare(&lab, &topic, "1").await;
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(batch(0..100)).await.unwrap();
    writer.flush(&barrier(1, 0, "a", 100)).await.unwrap();
    writer.write(batch(100..200)).await.unwrap();
    broker.kill_9().unwrap();
    broker.restart().unwrap();
    // Either the transaction outlives the broker, or the attempt fails and another one goes on from what is known.
    let mut durable = 100;
    if writer.flush(&barrier(2, 0, "a", 200)).await.is_ok() {
        durable = 200;
    }
    drop((writer, stream));
    let stream = prepare(&lab, &topic, "1").await;
    let known = stream.recover().await.unwrap();
    assert!(known.rows >= durable, "{} of {durable} rows are known", known.rows);
    assert_eq!(known.progress, Some(vec![progress("a", known.rows)]));
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(batch(known.rows as i64..300)).await.unwrap();
    writer.flush(&barrier(3, 0, "a", 300)).await.unwrap();
    assert_eq!(stream.commit(&[]).await.unwrap().rows, 300);
    assert_eq!(written(&lab, &topic), (0..300).collect::<Vec<_>>());
    let source = lab.source(json!({"topic": topic})).await.unwrap();
    let reader = source.open(ReadRequest { stream: topic.clone(), ..ReadRequest::default() }).await.unwrap();
    assert_eq!(drain(reader.as_ref()).await.unwrap().ids(), (0..300).collect::<Vec<_>>());
}
