//! What is confirmed, what is refused, and what comes twice.

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use weir_connect::{Barrier, Kind, RunIdentity, SchemaChangePolicy, StreamSink, StreamTarget, WriteMode};

use super::*;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("name", DataType::Utf8, true)]))
}

fn batch(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    let ids: Vec<i64> = ids.into_iter().collect();
    let names = StringArray::from_iter(ids.iter().map(|id| Some(format!("row {id}"))));
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(ids)), Arc::new(names)]).unwrap()
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

fn barrier(epoch: u64) -> Barrier {
    Barrier { epoch, lane: 0, progress: Vec::new() }
}

impl Lab {
    async fn prepare(&self, more: Value, run: &str) -> Result<Box<dyn StreamSink>> {
        let mut options = json!({"subject": self.subject("a"), "stream": self.name, "create_stream": true});
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.sink(options).await.prepare(target(run)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_returns_when_every_message_is_confirmed() {
    let lab = Lab::new("flush").await;
    let stream = lab.prepare(json!({"headers": {"origin": "weir"}, "max_buffer_bytes": 5000}), "1").await.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(batch(0..5000)).await.unwrap();
    assert!(writer.buffered_bytes() <= 5000);
    let flushed = writer.flush(&barrier(1)).await.unwrap();
    assert_eq!((flushed.rows, writer.buffered_bytes()), (5000, 0));
    let messages = lab.messages(&lab.name).await;
    assert_eq!(messages.len(), 5000);
    assert_eq!(messages[7].payload.as_ref(), br#"{"id":7,"name":"row 7"}"#);
    assert_eq!(messages[7].headers.as_ref().unwrap().get("origin").unwrap().as_str(), "weir");
    assert_eq!(writer.flush(&barrier(2)).await.unwrap().rows, 0);
    let report = stream.commit(&[flushed.token]).await.unwrap();
    assert_eq!((report.rows, report.objects), (5000, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_is_the_subject_and_one_that_cannot_be_is_refused() {
    let lab = Lab::new("subjects").await;
    lab.create().await;
    let sink = lab.sink(json!({"subject_column": "name", "stream": lab.name})).await;
    let stream = sink.prepare(target("1")).await.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    let named = |name: Option<String>| {
        let names = StringArray::from(vec![name]);
        RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(vec![1])), Arc::new(names)]).unwrap()
    };
    writer.write(named(Some(lab.subject("x.y")))).await.unwrap();
    writer.flush(&barrier(1)).await.unwrap();
    assert_eq!(lab.messages(&lab.name).await[0].subject.as_str(), lab.subject("x.y"));
    for bad in [Some("a b".to_owned()), Some("a.*".to_owned()), Some(String::new()), None] {
        assert_eq!(writer.write(named(bad.clone())).await.unwrap_err().code(), "WEIR-NATS-021", "{bad:?}");
    }
    // No stream has it, so nobody would keep it.
    let mut writer =
        lab.sink(json!({"subject_column": "name"})).await.prepare(target("1")).await.unwrap().writer(0).await.unwrap();
    writer.write(named(Some("nobody.has.this".into()))).await.unwrap();
    let error = writer.flush(&barrier(2)).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-NATS-005", Kind::NotFound));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_id_an_attempt_that_is_repeated_leaves_each_row_once_and_the_next_run_adds() {
    let lab = Lab::new("ids").await;
    let options = || json!({"message_id": ["id"]});
    let mut writer = lab.prepare(options(), "1").await.unwrap().writer(0).await.unwrap();
    writer.write(batch(0..100)).await.unwrap();
    writer.flush(&barrier(1)).await.unwrap();
    writer.write(batch(100..150)).await.unwrap();
    drop(writer);
    // The checkpoint knows nothing of either: another lane, other batches.
    let mut writer = lab.prepare(options(), "1").await.unwrap().writer(1).await.unwrap();
    for from in (0..200).step_by(40) {
        writer.write(batch(from..from + 40)).await.unwrap();
    }
    assert_eq!(writer.flush(&barrier(1)).await.unwrap().rows, 200);
    assert_eq!(lab.written(&lab.name).await, whole(0..200));
    let mut writer = lab.prepare(options(), "2").await.unwrap().writer(0).await.unwrap();
    writer.write(batch(0..5)).await.unwrap();
    writer.flush(&barrier(1)).await.unwrap();
    assert_eq!(lab.written(&lab.name).await.len(), 205);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_rows_with_one_id_are_an_error_and_not_one_row() {
    let lab = Lab::new("twice").await;
    let mut writer = lab.prepare(json!({"message_id": ["id"]}), "1").await.unwrap().writer(0).await.unwrap();
    writer.write(batch([1, 2, 1])).await.unwrap();
    assert_eq!(writer.flush(&barrier(1)).await.unwrap_err().code(), "WEIR-NATS-022");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_the_server_does_not_take_ends_the_run() {
    let lab = Lab::new("large").await;
    lab.create_with(|config| config.max_message_size = 1000).await;
    let text = |size: usize| {
        let names = StringArray::from(vec!["x".repeat(size)]);
        RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(vec![1])), Arc::new(names)]).unwrap()
    };
    for size in [2000, 9 << 20] {
        let mut writer = lab.prepare(json!({}), "1").await.unwrap().writer(0).await.unwrap();
        let error = match writer.write(text(size)).await {
            Ok(()) => writer.flush(&barrier(1)).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!((error.code(), error.kind()), ("WEIR-NATS-030", Kind::Limit), "{error}");
    }
    let full = Lab::new("full").await;
    full.create_with(|config| {
        config.max_messages = 2;
        config.discard = jetstream::stream::DiscardPolicy::New;
    })
    .await;
    let mut writer = full.prepare(json!({}), "1").await.unwrap().writer(0).await.unwrap();
    writer.write(batch(0..5)).await.unwrap();
    assert_eq!(writer.flush(&barrier(1)).await.unwrap_err().code(), "WEIR-NATS-030");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_missing_or_confirms_nothing_is_found_before_a_row_is_sent() {
    let lab = Lab::new("missing").await;
    let sink = lab.sink(json!({"subject": lab.subject("a")})).await;
    assert_eq!(sink.prepare(target("1")).await.err().unwrap().code(), "WEIR-NATS-005");
    let sink = lab.sink(json!({"subject": lab.subject("a"), "stream": lab.name})).await;
    assert_eq!(sink.prepare(target("1")).await.err().unwrap().code(), "WEIR-NATS-005");
    lab.create_with(|config| config.no_ack = true).await;
    assert_eq!(sink.prepare(target("1")).await.err().unwrap().code(), "WEIR-NATS-025");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_between_two_epochs_loses_nothing_that_was_confirmed() {
    let mut server = weir_testkit::Nats::start().unwrap();
    let lab = Lab::at(server.url(), "killed").await;
    let options = json!({"message_id": ["id"], "ack_timeout_secs": 3});
    let mut writer = lab.prepare(options.clone(), "1").await.unwrap().writer(0).await.unwrap();
    writer.write(batch(0..1000)).await.unwrap();
    writer.flush(&barrier(1)).await.unwrap();
    writer.write(batch(1000..1500)).await.unwrap();
    server.kill_9().unwrap();
    let flushed = writer.flush(&barrier(2)).await;
    drop(writer);
    server.restart().unwrap();
    let lab = Lab { jetstream: jetstream::new(async_nats::connect(&lab.url).await.unwrap()), ..lab };
    let known = if flushed.is_ok() { 1500 } else { 1000 };
    let mut writer = lab.prepare(options, "1").await.unwrap().writer(0).await.unwrap();
    writer.write(batch(known..2000)).await.unwrap();
    writer.flush(&barrier(3)).await.unwrap();
    assert_eq!(lab.written(&lab.name).await, whole(0..2000));
}
