//! What a row becomes, and when it is there.

use arrow::array::{ArrayRef, Int64Array, StringArray};
use weir_connect::{Barrier, RunIdentity, SchemaChangePolicy, StreamSink, StreamTarget, WriteMode};

use super::*;

fn batch_of(range: std::ops::Range<i64>, name: impl Fn(i64) -> String) -> RecordBatch {
    let names = StringArray::from_iter(range.clone().map(|id| Some(name(id))));
    let columns: [(&str, ArrayRef, bool); 2] =
        [("id", Arc::new(Int64Array::from_iter_values(range)), false), ("name", Arc::new(names), true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

pub fn batch(range: std::ops::Range<i64>) -> RecordBatch {
    batch_of(range, |id| format!("row {id}"))
}

pub async fn prepare(lab: &Lab, options: Value) -> Result<Box<dyn StreamSink>> {
    let target = StreamTarget {
        run: RunIdentity { pipeline: "p".into(), run_id: "1".into() },
        stream: "s".into(),
        schema: batch(0..0).schema(),
        key: Vec::new(),
        cursor: None,
        write_mode: WriteMode::Append,
        on_schema_change: SchemaChangePolicy::Evolve,
        changes: false,
    };
    lab.sink(options).await.prepare(target).await
}

pub fn barrier() -> Barrier {
    Barrier { epoch: 1, lane: 0, progress: Vec::new() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_returns_when_every_message_is_there_in_every_compression() {
    for compression in ["none", "lz4", "zlib", "zstd", "snappy"] {
        let lab = Lab::new("flush");
        let stream = prepare(&lab, json!({"topic": "t", "compression": compression, "batch_messages": 7})).await.unwrap();
        let mut writer = stream.writer(0).await.unwrap();
        let mut tokens = Vec::new();
        for part in 0..3 {
            writer.write(batch(part * 20..part * 20 + 20)).await.unwrap();
            let flushed = writer.flush(&barrier()).await.unwrap();
            assert_eq!((flushed.rows, writer.buffered_bytes()), (20, 0));
            tokens.push(flushed.token);
        }
        assert_eq!(writer.flush(&barrier()).await.unwrap().rows, 0);
        assert_eq!(stream.commit(&tokens).await.unwrap().rows, 60);
        // The other client knows two of them.
        if ["none", "lz4", "zstd"].contains(&compression) {
            assert_eq!(lab.written("t").await, (0..60).collect::<Vec<_>>(), "{compression}");
        }
        let read = lab.read(json!({"topic": "t"}), "t", ReadRequest::default()).await;
        assert_eq!((read.ids(), read.dead.len()), ((0..60).collect::<Vec<_>>(), 0), "{compression}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_has_its_key_its_partition_its_time_and_its_properties() {
    let lab = Lab::new("shape");
    let options = json!({
        "topic": "t", "partitions": 3, "key": ["name"], "properties": {"origin": "weir"}, "property_columns": ["id"],
    });
    let preview = lab.sink(options.clone()).await;
    let stream = prepare(&lab, options).await.unwrap();
    assert!(preview.place("s").contains(&lab.full("t")));
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(batch(0..12)).await.unwrap();
    writer.flush(&barrier()).await.unwrap();
    let mut seen = 0;
    for partition in 0..3 {
        for message in lab.messages(&format!("t-partition-{partition}")).await {
            let value: Value = serde_json::from_slice(&message.payload.data).unwrap();
            let key = message.key().unwrap();
            assert_eq!(key, value["name"].as_str().unwrap());
            assert_eq!(crate::pulsar::encode::partition_of(&key, 3), partition);
            let properties: Vec<(&str, String)> =
                message.metadata().properties.iter().map(|one| (one.key.as_str(), one.value.clone())).collect();
            assert_eq!(properties, [("origin", "weir".to_owned()), ("id", value["id"].to_string())]);
            seen += 1;
        }
    }
    assert_eq!(seen, 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_is_told_with_its_key_or_sent_in_chunks_and_read_whole() {
    let lab = Lab::new("large");
    // Seven megabytes that do not compress away; the broker takes five.
    let large = |id: i64| if id == 3 { "x".repeat(7 << 20) } else { format!("row {id}") };
    let options = json!({"topic": "t", "key": ["id"], "compression": "none"});
    let stream = prepare(&lab, options.clone()).await.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    let error = writer.write(batch_of(3..4, large)).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-PULSAR-030", "{error}");
    assert!(error.to_string().contains("key `3`"), "{error}");
    drop(writer);
    let mut chunking = options;
    chunking["chunking"] = json!(true);
    let stream = prepare(&lab, chunking).await.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(batch_of(0..6, large)).await.unwrap();
    assert_eq!(writer.flush(&barrier()).await.unwrap().rows, 6);
    let read = lab.read(json!({"topic": "t"}), "t", ReadRequest::default()).await;
    let mut rows: Vec<(i64, usize)> = read
        .rows()
        .flat_map(|batch| {
            let names = batch.column_by_name("name").unwrap().as_string::<i32>();
            ids_of(batch).into_iter().zip(names.iter().map(|name| name.unwrap().len()).collect::<Vec<_>>())
        })
        .collect();
    rows.sort_unstable();
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert_eq!((rows[3].1, rows[4].1, read.dead.len()), (7 << 20, 5, 0));
    // What is larger than the source may hold is told, with its place.
    let small = lab.read(json!({"topic": "t", "max_message_bytes": 1 << 20}), "t", ReadRequest::default()).await;
    assert_eq!((small.ids(), small.dead.len()), (vec![0, 1, 2, 4, 5], 1));
    assert!(small.dead[0].reason.contains("max_message_bytes"), "{}", small.dead[0].reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_missing_is_made_or_refused() {
    let lab = Lab::new("missing");
    let refused = prepare(&lab, json!({"topic": "t", "create_topic": false})).await.err().unwrap();
    assert_eq!(refused.code(), "WEIR-PULSAR-005", "{refused}");
    let elsewhere = prepare(&lab, json!({"topic": "persistent://no/such/t"})).await;
    let elsewhere = match elsewhere {
        Ok(stream) => stream.writer(0).await.err().unwrap(),
        Err(error) => error,
    };
    assert_eq!(elsewhere.code(), "WEIR-PULSAR-005", "{elsewhere}");
    let stream = prepare(&lab, json!({"topic": "made-{stream}"})).await.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(batch(0..2)).await.unwrap();
    writer.flush(&barrier()).await.unwrap();
    assert_eq!(lab.written("made-s").await, [0, 1]);
}
