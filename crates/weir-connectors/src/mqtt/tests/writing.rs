//! What is confirmed, and what is refused.

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use weir_connect::{Barrier, Retry, RunIdentity, SchemaChangePolicy, StreamTarget, StreamWriter, WriteMode};
use weir_testkit::Mosquitto;
use weir_testkit::mqtt::Door;

use super::*;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("name", DataType::Utf8, true)]))
}

fn batch(range: std::ops::Range<i64>) -> RecordBatch {
    let names = StringArray::from_iter(range.clone().map(|id| Some(format!("row {id}"))));
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from_iter_values(range)), Arc::new(names)]).unwrap()
}

fn target() -> StreamTarget {
    StreamTarget {
        run: RunIdentity { pipeline: "p".into(), run_id: "1".into() },
        stream: "s".into(),
        schema: schema(),
        key: Vec::new(),
        cursor: None,
        write_mode: WriteMode::Append,
        on_schema_change: SchemaChangePolicy::Evolve,
        changes: false,
    }
}

fn barrier() -> Barrier {
    Barrier { epoch: 1, lane: 0, progress: Vec::new() }
}

async fn writer(lab: &Lab, options: Value) -> Box<dyn StreamWriter> {
    lab.sink(options).await.prepare(target()).await.unwrap().writer(0).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_returns_when_every_message_is_confirmed() {
    let lab = Lab::new("flush");
    let heard = lab.listen(&lab.topic("#")).await;
    let mut writer = writer(&lab, json!({"topic": lab.topic("a"), "max_buffer_bytes": 2000})).await;
    writer.write(batch(0..3000)).await.unwrap();
    assert!(writer.buffered_bytes() <= 2000);
    let flushed = writer.flush(&barrier()).await.unwrap();
    assert_eq!((flushed.rows, writer.buffered_bytes()), (3000, 0));
    assert_eq!(writer.flush(&barrier()).await.unwrap().rows, 0);
    wait("all were heard", || heard.lock().unwrap().len() == 3000);
    let heard = heard.lock().unwrap();
    let id = |payload: &[u8]| serde_json::from_slice::<Value>(payload).unwrap()["id"].as_i64().unwrap();
    assert_eq!(heard.iter().map(|(_, payload, _)| id(payload)).collect::<Vec<_>>(), whole(0..3000));
    assert_eq!(heard[0].0, lab.topic("a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_is_the_topic_and_the_broker_keeps_the_latest_of_each() {
    let lab = Lab::new("topics");
    let named = |names: Vec<Option<String>>| {
        let ids = Int64Array::from_iter_values(0..names.len() as i64);
        RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(StringArray::from(names))]).unwrap()
    };
    let mut writer = writer(&lab, json!({"topic_column": "name", "retain": true, "headers": {"origin": "weir"}})).await;
    let (x, y) = (lab.topic("x"), lab.topic("y"));
    writer.write(named(vec![Some(x.clone()), Some(y.clone()), Some(x.clone())])).await.unwrap();
    assert_eq!(writer.flush(&barrier()).await.unwrap().rows, 3);
    let heard = lab.listen(&lab.topic("#")).await;
    wait("both topics were heard", || heard.lock().unwrap().len() >= 2);
    let mut latest: Vec<(String, i64, bool)> = (heard.lock().unwrap().iter())
        .map(|(topic, payload, kept)| {
            (topic.clone(), serde_json::from_slice::<Value>(payload).unwrap()["id"].as_i64().unwrap(), *kept)
        })
        .collect();
    latest.sort();
    assert_eq!(latest, [(x, 2, true), (y, 1, true)]);
    for bad in [Some("a/+".to_owned()), Some("#".to_owned()), Some(String::new()), None] {
        assert_eq!(writer.write(named(vec![bad.clone()])).await.unwrap_err().code(), "WEIR-MQTT-021", "{bad:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_properties_reach_a_reader_and_text_is_the_payload_alone() {
    let lab = Lab::new("properties");
    let text = json!({"format": "text", "columns": {}, "only_columns": false, "metadata": ["headers", "topic"]});
    let source = lab.source(text).await;
    let (_, state) = run(&source, None).await.unwrap();
    let only = Arc::new(Schema::new(vec![Field::new("name", DataType::Utf8, false)]));
    let rows = RecordBatch::try_new(only.clone(), vec![Arc::new(StringArray::from(vec!["a\nb", ""]))]).unwrap();
    let sink = lab.sink(json!({"topic": lab.topic("a"), "format": "text", "headers": {"origin": "weir"}})).await;
    let stream = sink.prepare(StreamTarget { schema: only, ..target() }).await.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(rows).await.unwrap();
    let token = writer.flush(&barrier()).await.unwrap().token;
    assert_eq!(stream.commit(&[token]).await.unwrap().rows, 2);
    let (read, _) = run(&source, state).await.unwrap();
    let (batch, _) = &read.batches[0];
    let column = |name: &str| {
        let texts: Vec<String> =
            batch.column_by_name(name).unwrap().as_string::<i32>().iter().flatten().map(str::to_owned).collect();
        texts
    };
    assert_eq!(column("value"), ["a\nb", ""]);
    assert_eq!(column("_headers"), [r#"[["origin","weir"]]"#; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_goes_away_in_the_middle_confirms_nothing_more() {
    let mut broker = Mosquitto::start(Door::Open).unwrap();
    let lab = Lab::at(broker.port(), "gone");
    let options = json!({"topic": lab.topic("a"), "ack_timeout_secs": 5});
    let mut first = writer(&lab, options.clone()).await;
    first.write(batch(0..10)).await.unwrap();
    assert_eq!(first.flush(&barrier()).await.unwrap().rows, 10);
    broker.kill_9().unwrap();
    let error = match first.write(batch(10..20)).await {
        Ok(()) => first.flush(&barrier()).await.unwrap_err(),
        Err(error) => error,
    };
    assert_ne!(error.retryable(), Retry::Never, "{error}");
    broker.restart().unwrap();
    let heard = lab.listen(&lab.topic("#")).await;
    let mut second = writer(&lab, options).await;
    second.write(batch(10..20)).await.unwrap();
    assert_eq!(second.flush(&barrier()).await.unwrap().rows, 10);
    wait("they were heard", || heard.lock().unwrap().len() == 10);
}
