//! Where reading begins, where it ends, and what a message becomes.

use pulsar::compression::{Compression, CompressionLz4, CompressionZstd};
use weir_connect::{Resume, SplitProgress};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_reads_up_to_the_ends_it_found_and_the_next_one_goes_on_there() {
    let lab = Lab::new("runs");
    lab.create("t", 2).await;
    lab.put("t-partition-0", None, ids(0..10)).await;
    lab.put("t-partition-1", Some(3), ids(10..15)).await;
    let options = json!({"topic": "t"});
    let first = lab.open(options.clone(), "t", ReadRequest::default()).await.unwrap();
    // What comes after the opening belongs to the next run.
    lab.put("t-partition-0", Some(5), ids(15..20)).await;
    assert_eq!(drain(first.as_ref()).await.unwrap().ids(), (0..15).collect::<Vec<_>>());
    // So does a partition that was not there.
    lab.admin(reqwest::Method::POST, "persistent/{ns}/t/partitions", Some(json!(3))).await;
    lab.put("t-partition-2", None, ids(20..23)).await;
    let next = ReadRequest { previous: first.next_state(), ..ReadRequest::default() };
    let second = lab.open(options.clone(), "t", next).await.unwrap();
    assert_eq!(drain(second.as_ref()).await.unwrap().ids(), (15..23).collect::<Vec<_>>());
    let third = ReadRequest { previous: second.next_state(), ..ReadRequest::default() };
    assert_eq!(lab.read(options, "t", third).await.ids(), Vec::<i64>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_inside_a_batch_divides_it_without_loss_or_doubling() {
    let lab = Lab::new("batches");
    lab.put("t", Some(4), ids(0..10)).await;
    lab.put("t", None, ids(10..12)).await;
    lab.put("t", Some(5), ids(12..17)).await;
    // Every row is a batch of its own, so each has a position behind it.
    let request = || ReadRequest { batch_bytes: 1, ..ReadRequest::default() };
    let options = json!({"topic": "t"});
    let reader = lab.open(options.clone(), "t", request()).await.unwrap();
    let read = drain(reader.as_ref()).await.unwrap();
    let split = reader.splits().remove(0);
    let mut given = Vec::new();
    for (batch, position) in &read.batches["whole"] {
        if batch.num_rows() > 0 {
            given.extend(ids_of(batch));
        }
        let progress = vec![SplitProgress { split: split.clone(), position: position.clone(), done: false, rows: 0 }];
        let resume = Some(Resume { reader_state: reader.state(), progress });
        let again = lab.open(options.clone(), "t", ReadRequest { resume, ..request() }).await.unwrap();
        let mut rest = Read::default();
        read_split(again.as_ref(), &again.splits()[0], position.clone(), &mut rest).await.unwrap();
        let all: Vec<i64> = given.iter().copied().chain(rest.ids()).collect();
        assert_eq!(all, (0..17).collect::<Vec<_>>(), "behind {position:?}");
    }
    assert_eq!(given.len(), 17);
    assert!(read.batches["whole"].iter().any(|(_, position)| position.as_ref().unwrap()["index"].is_i64()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_begins_where_the_options_say() {
    let lab = Lab::new("starts");
    lab.put("t", Some(3), ids(0..6)).await;
    let between = chrono::Utc::now().timestamp_millis() + 1;
    // The clock moves on by itself.
    weir_testkit::wait_until("the next millisecond", LIMIT, || chrono::Utc::now().timestamp_millis() > between).unwrap();
    lab.put("t", None, ids(6..9)).await;
    let of = async |more: Value| {
        let mut options = json!({"topic": "t"});
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        lab.read(options, "t", ReadRequest::default()).await.ids()
    };
    assert_eq!(of(json!({})).await, (0..9).collect::<Vec<_>>());
    assert_eq!(of(json!({"start_mode": "latest"})).await, Vec::<i64>::new());
    assert_eq!(of(json!({"start_mode": "timestamp", "start_timestamp_ms": between})).await, [6, 7, 8]);
    assert_eq!(of(json!({"start_mode": "timestamp", "start_timestamp_ms": 1000})).await, (0..9).collect::<Vec<_>>());
    let messages = lab.messages("t").await;
    let id = |at: usize| {
        let id = messages[at].message_id();
        let index = id.batch_index.filter(|index| *index >= 0).map(|index| format!(":{index}")).unwrap_or_default();
        format!("{}:{}:-1{index}", id.ledger_id, id.entry_id)
    };
    for at in [0, 1, 3, 5, 6, 8] {
        let found = of(json!({"start_mode": "message_id", "start_message_ids": [id(at)]})).await;
        assert_eq!(found, (at as i64..9).collect::<Vec<_>>(), "{}", id(at));
    }
    // A subscription that has acknowledged the first four entries (two batches, two messages).
    let client = lab.client().await;
    let options = ConsumerOptions::default().with_initial_position(InitialPosition::Earliest);
    let mut consumer: Consumer<Vec<u8>, _> =
        client.consumer().with_topic(lab.full("t")).with_subscription("s").with_options(options).build().await.unwrap();
    lab.admin(reqwest::Method::POST, "persistent/{ns}/t/subscription/s/skip/4", None).await;
    consumer.close().await.unwrap();
    assert_eq!(of(json!({"start_mode": "subscription", "subscription_name": "s"})).await, [8]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_idle_at_its_end_goes_on_when_more_comes_and_finds_partitions() {
    let lab = Lab::new("endless");
    lab.create("t", 1).await;
    lab.put("t-partition-0", Some(2), ids(0..3)).await;
    let options = json!({"topic": "t"});
    let request = ReadRequest { unbounded: true, ..ReadRequest::default() };
    let reader = lab.open(options.clone(), "t", request.clone()).await.unwrap();
    let split = reader.splits().remove(0);
    let mut events = reader.read(&split, None).await.unwrap();
    assert_eq!(until_idle(&mut events).await.0, [0, 1, 2]);
    lab.put("t-partition-0", None, ids(3..5)).await;
    let (mut more, mut position) = until_idle(&mut events).await;
    while more.len() < 2 {
        let next = until_idle(&mut events).await;
        more.extend(next.0);
        position = next.1.or(position);
    }
    assert_eq!(more, [3, 4]);
    drop(events);
    // Another attempt goes on behind what is durable, and finds the partition that is new.
    lab.admin(reqwest::Method::POST, "persistent/{ns}/t/partitions", Some(json!(2))).await;
    lab.put("t-partition-1", None, ids(5..7)).await;
    lab.put("t-partition-0", None, ids(7..8)).await;
    assert_eq!(reader.look().await.unwrap().iter().map(|split| split.id.clone()).collect::<Vec<_>>(), ["0", "1"]);
    let progress = vec![SplitProgress { split: split.clone(), position: position.clone(), done: false, rows: 5 }];
    let resume = Some(Resume { reader_state: reader.state(), progress });
    let again = lab.open(options, "t", ReadRequest { resume, ..request }).await.unwrap();
    let new = again.splits().into_iter().find(|split| split.id == "1").unwrap();
    assert_eq!(until_idle(&mut again.read(&new, None).await.unwrap()).await.0, [5, 6]);
    assert_eq!(until_idle(&mut again.read(&split, position).await.unwrap()).await.0, [7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_tells_where_it_was_and_a_bad_one_is_a_dead_letter_in_its_place() {
    let lab = Lab::new("metadata");
    let full = producer::Message {
        payload: br#"{"id": 0}"#.to_vec(),
        partition_key: Some("k0".into()),
        properties: [("a".to_owned(), "b".to_owned())].into(),
        event_time: Some(1234),
        ..producer::Message::default()
    };
    lab.send("t", Some(3), vec![full, message(b"no json"), message(br#"{"id": 2}"#)]).await;
    lab.send("t", None, vec![message(br#"{"id": 3}"#)]).await;
    let all = ["key", "properties", "topic", "partition", "message_id", "publish_time", "event_time", "producer", "sequence"];
    let read = lab.read(json!({"topic": "t", "metadata": all}), "t", ReadRequest::default()).await;
    assert_eq!(read.ids(), [0, 2, 3]);
    let ids: Vec<String> =
        lab.messages("t").await.iter().map(|m| format!("{}:{}:-1", m.message_id().ledger_id, m.message_id().entry_id)).collect();
    let letter = &read.dead[0];
    assert_eq!((letter.code.as_str(), letter.payload.as_slice()), ("WEIR-FMT-111", b"no json".as_slice()));
    assert_eq!(letter.place, format!("{} message {}:1", lab.full("t"), ids[1]));
    // The dead letter has a position behind it, and none that contains it before.
    let positions: Vec<&Value> = read.batches["whole"].iter().map(|(_, position)| position.as_ref().unwrap()).collect();
    assert_eq!((&positions[0]["index"], &positions[1]["index"]), (&json!(0), &json!(1)));
    let first = read.rows().next().unwrap();
    let text = |name: &str| first.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
    assert_eq!((text("_key"), text("_properties"), text("_topic")), ("k0".into(), r#"[["a","b"]]"#.into(), lab.full("t")));
    assert_eq!(text("_message_id"), format!("{}:0", ids[0]));
    let time =
        |name: &str| first.column_by_name(name).unwrap().as_primitive::<arrow::datatypes::TimestampMillisecondType>().value(0);
    assert_eq!(time("_event_time"), 1234);
    assert!((time("_publish_time") - chrono::Utc::now().timestamp_millis()).abs() < 600_000);
    // Kept with its place, it is a row once the options take it.
    let source = lab.source(json!({"topic": "t", "format": "text", "metadata": ["message_id"]})).await.unwrap();
    let again = source.redecode("t", letter).await.unwrap();
    let [Event::Batch(batch)] = again.as_slice() else { panic!("{again:?}") };
    assert_eq!(batch.records.column_by_name("_message_id").unwrap().as_string::<i32>().value(0), format!("{}:1", ids[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_batches_of_other_clients_are_read() {
    let lab = Lab::new("compressed");
    for (at, compression) in
        [Compression::Lz4(CompressionLz4::default()), Compression::Zstd(CompressionZstd::default())].into_iter().enumerate()
    {
        let options = ProducerOptions { batch_size: Some(7), compression: Some(compression), ..ProducerOptions::default() };
        let at = at as i64 * 20;
        let messages = ids(at..at + 20).into_iter().map(|value| message(value.to_string().as_bytes())).collect();
        lab.send_as("t", options, messages).await;
    }
    let read = lab.read(json!({"topic": "t"}), "t", ReadRequest::default()).await;
    assert_eq!((read.ids(), read.dead.len()), ((0..40).collect::<Vec<_>>(), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_chosen_by_name_by_pattern_and_over_namespaces() {
    let lab = Lab::new("choice");
    for name in ["a1", "b1"] {
        lab.put(name, None, ids(0..2)).await;
    }
    lab.create("a2", 2).await;
    lab.put("a2-partition-1", None, ids(0..2)).await;
    let names = async |options: Value| -> Vec<String> {
        let streams = lab.source(options).await.unwrap().streams().await.unwrap();
        streams.into_iter().map(|stream| stream.name).collect()
    };
    assert_eq!(names(json!({"topic_pattern": "a.*"})).await, ["a1", "a2"]);
    assert_eq!(names(json!({"topic_pattern": format!("persistent://{}/a.", lab.namespace)})).await, ["a1", "a2"]);
    let space = lab.namespace.split_once('/').unwrap().1;
    assert_eq!(names(json!({"topic_pattern": format!("persistent://weir/{}.*/b1", &space[..20])})).await, ["b1"]);
    assert_eq!(names(json!({"topics": [lab.full("b1"), "a1"]})).await, ["b1", "a1"]);
    assert_eq!(names(json!({})).await, ["a1", "a2", "b1"]);
    for missing in [json!({"topic_pattern": "nothing_like_this"}), json!({"topic": "c"}), json!({"topic": "no/such/topic"})] {
        let error = lab.source(missing.clone()).await.unwrap().streams().await.unwrap_err();
        assert_eq!(error.code(), "WEIR-PULSAR-005", "{missing}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_with_a_schema_that_is_not_read_is_refused() {
    let lab = Lab::new("schema");
    lab.create("t", 0).await;
    let schema = json!({"type": "INT64", "schema": "", "properties": {}});
    lab.admin(reqwest::Method::POST, "schemas/{ns}/t/schema", Some(schema)).await;
    let error = lab.source(json!({"topic": "t"})).await.unwrap().streams().await.unwrap_err();
    assert_eq!(error.code(), "WEIR-PULSAR-007", "{error}");
    let raw = lab.source(json!({"topic": "t", "format": "raw"})).await.unwrap().streams().await.unwrap();
    assert_eq!(raw[0].schema.field(0).name(), "value");
}
