//! What is given, what is acknowledged and when, and what a message becomes.

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueDeleteOptions};
use weir_connect::Retry;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn far_more_messages_come_than_the_prefetch_and_only_what_is_durable_is_acknowledged() {
    let lab = Lab::new();
    lab.fill("t", 0..1000).await;
    let source = lab.source(with(options("t"), json!({"prefetch": 20}))).await.unwrap();
    let reader = open(source.as_ref(), "t", true).await;
    let split = reader.splits().remove(0);
    let mut events = reader.read(&split, None).await.unwrap();
    // Nothing is acknowledged meanwhile.
    let read = drain(&mut events).await.unwrap();
    assert_eq!(read.ids(), (0..1000).collect::<Vec<_>>(), "in the order of the queue, over all consumers");
    // Half of it is durable.
    let (at, half) = read.batches.iter().enumerate().nth(read.batches.len() / 2).unwrap();
    let known: usize = read.batches[..=at].iter().map(|(batch, _)| batch.num_rows()).sum();
    source.committed("t", &durable(&split, half.1.clone())).await.unwrap();
    source.committed("t", &durable(&split, half.1.clone())).await.unwrap();
    drop((events, reader, source));
    lab.until_waiting("t", u32::try_from(1000 - known).unwrap()).await;
    // The rest comes again, and says that it may be known.
    let source = lab.source(with(options("t"), json!({"metadata": ["redelivered"]}))).await.unwrap();
    let reader = open(source.as_ref(), "t", false).await;
    let mut events = reader.read(&split, None).await.unwrap();
    let again = drain(&mut events).await.unwrap();
    let mut ids = again.ids();
    ids.sort_unstable();
    assert_eq!(ids, (known as i64..1000).collect::<Vec<_>>());
    let flags = again.batches[0].0.column_by_name("_redelivered").unwrap().as_boolean();
    assert!(flags.iter().all(|flag| flag == Some(true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_run_takes_what_was_there_and_acknowledges_it_at_the_end() {
    let lab = Lab::new();
    lab.fill("t", 0..300).await;
    let source = lab.source(with(options("t"), json!({"prefetch": 7}))).await.unwrap();
    let reader = open(source.as_ref(), "t", false).await;
    let split = reader.splits().remove(0);
    assert_eq!(split.estimated_rows, Some(300));
    lab.fill("t", 300..305).await;
    let mut events = reader.read(&split, None).await.unwrap();
    let read = drain(&mut events).await.unwrap();
    assert_eq!(read.ids(), (0..300).collect::<Vec<_>>());
    assert!(read.batches.iter().all(|(_, position)| position.is_none()), "only the whole may become durable");
    drop((events, reader));
    source.committed("t", &durable(&split, None)).await.unwrap();
    drop(source);
    lab.until_waiting("t", 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_of_an_earlier_attempt_acknowledge_nothing_of_this_one() {
    let lab = Lab::new();
    lab.fill("t", 0..10).await;
    let source = lab.source(options("t")).await.unwrap();
    let reader = open(source.as_ref(), "t", true).await;
    let split = reader.splits().remove(0);
    let mut events = reader.read(&split, None).await.unwrap();
    let first = drain(&mut events).await.unwrap().last();
    drop((events, reader));
    let reader = open(source.as_ref(), "t", true).await;
    let mut events = reader.read(&split, Some(first.clone())).await.unwrap();
    let again = drain(&mut events).await.unwrap();
    assert_eq!(again.ids(), (0..10).collect::<Vec<_>>(), "whatever the position says, what is not acknowledged comes again");
    assert!(again.last()["message"].as_u64() > first["message"].as_u64(), "numbers go on");
    source.committed("t", &durable(&split, Some(first))).await.unwrap();
    drop((events, reader, source));
    lab.until_waiting("t", 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_tells_what_it_is_and_a_bad_one_is_a_dead_letter_in_its_place() {
    let lab = Lab::new();
    lab.queue("t", FieldTable::default()).await;
    let mut headers = FieldTable::default();
    headers.insert("tenant".into(), AMQPValue::LongString("ü".into()));
    let properties = BasicProperties::default()
        .with_headers(headers)
        .with_message_id("m-1".into())
        .with_timestamp(1_700_000_000)
        .with_content_type("application/json".into())
        .with_correlation_id("c".into());
    lab.put("t", &[br#"{"id": 1, "name": "a"}"#.to_vec(), b"no json".to_vec()], properties).await;
    lab.put("t", &[br#"{"id": 2}"#.to_vec()], BasicProperties::default()).await;
    let all = ["exchange", "routing_key", "redelivered", "message_id", "timestamp", "headers", "properties"];
    let source = lab.source(with(options("t"), json!({"metadata": all}))).await.unwrap();
    let reader = open(source.as_ref(), "t", true).await;
    let mut events = reader.read(&reader.splits()[0], None).await.unwrap();
    let read = drain(&mut events).await.unwrap();
    assert_eq!(read.ids(), [1, 2]);
    let letter = &read.dead[0];
    assert_eq!((letter.code.as_str(), letter.payload.as_slice()), ("WEIR-FMT-111", b"no json".as_slice()));
    assert_eq!(letter.place, "queue t message 2, message id m-1");
    let marks: Vec<_> = read.batches.iter().map(|(_, position)| position.clone().unwrap()["message"].as_u64()).collect();
    assert_eq!(marks, [Some(1), Some(2), Some(3)], "a position behind the dead letter too");
    assert_eq!(read.texts("_routing_key"), [Some("t".to_owned()), Some("t".to_owned())]);
    assert_eq!(read.texts("_exchange"), [Some(String::new()), Some(String::new())]);
    assert_eq!(read.texts("_message_id"), [Some("m-1".to_owned()), None]);
    assert_eq!(read.texts("_headers"), [Some(r#"{"tenant":"ü"}"#.to_owned()), None]);
    let properties = read.texts("_properties")[0].clone().unwrap();
    let properties: Value = serde_json::from_str(&properties).unwrap();
    assert_eq!(properties, json!({"content_type": "application/json", "correlation_id": "c", "delivery_mode": 2}));
    let time = read.batches[0].0.column_by_name("_timestamp").unwrap();
    assert_eq!(arrow::util::display::array_value_to_string(time, 0).unwrap(), "2023-11-14T22:13:20Z");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_are_inferred_from_messages_that_stay_in_the_queue() {
    let lab = Lab::new();
    lab.fill("t", 0..250).await;
    let source = lab.source(json!({"queue": "t"})).await.unwrap();
    let info = source.streams().await.unwrap().remove(0);
    assert_eq!(info.estimated_rows, Some(250));
    let names: Vec<&str> = info.schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "name"]);
    let reader = open(source.as_ref(), "t", false).await;
    let mut events = reader.read(&reader.splits()[0], None).await.unwrap();
    assert_eq!(drain(&mut events).await.unwrap().ids(), (0..250).collect::<Vec<_>>());
    lab.queue("empty", FieldTable::default()).await;
    let error = lab.source(json!({"queue": "empty"})).await.unwrap().streams().await.unwrap_err();
    assert_eq!(error.code(), "WEIR-MSG-001");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_made_and_bound_if_that_is_asked_for_and_never_changed() {
    let lab = Lab::new();
    let declared = json!({
        "declare_queue": true, "queue_arguments": {"x-max-length": 5}, "exchange": "events", "exchange_type": "topic",
        "routing_keys": ["order.*", "payment.#"],
    });
    let asked = with(options("made"), declared);
    for _ in 0..2 {
        lab.source(asked.clone()).await.unwrap().streams().await.unwrap();
    }
    let (_connection, channel) = lab.plain().await;
    for (key, id) in [("order.new", 1), ("refund.new", 2), ("payment.card.ok", 3)] {
        let payload = json!({"id": id}).to_string();
        let options = BasicPublishOptions::default();
        let publishing =
            channel.basic_publish("events".into(), key.into(), options, payload.as_bytes(), BasicProperties::default());
        publishing.await.unwrap().await.unwrap();
    }
    let source = lab.source(with(options("made"), json!({"metadata": ["routing_key"]}))).await.unwrap();
    let reader = open(source.as_ref(), "made", false).await;
    let mut events = reader.read(&reader.splits()[0], None).await.unwrap();
    let read = drain(&mut events).await.unwrap();
    assert_eq!(read.ids(), [1, 3]);
    assert_eq!(read.texts("_routing_key"), [Some("order.new".to_owned()), Some("payment.card.ok".to_owned())]);
    let other = with(options("made"), json!({"declare_queue": true, "queue_arguments": {"x-max-length": 6}}));
    let error = lab.source(other).await.unwrap().streams().await.unwrap_err();
    assert_eq!(error.code(), "WEIR-RABBITMQ-007", "{error}");
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare("fan".into(), ExchangeKind::Fanout, durable, FieldTable::default()).await.unwrap();
    let other = with(options("made"), json!({"exchange": "fan", "exchange_type": "direct"}));
    assert_eq!(lab.source(other).await.unwrap().streams().await.unwrap_err().code(), "WEIR-RABBITMQ-007");
    let missing = lab.source(with(options("made"), json!({"exchange": "none"}))).await.unwrap().streams().await.unwrap_err();
    assert_eq!(missing.code(), "WEIR-RABBITMQ-005", "{missing}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_deleted_under_its_reader_is_told() {
    let lab = Lab::new();
    lab.fill("t", 0..3).await;
    let source = lab.source(options("t")).await.unwrap();
    let reader = open(source.as_ref(), "t", true).await;
    let mut events = reader.read(&reader.splits()[0], None).await.unwrap();
    assert_eq!(drain(&mut events).await.unwrap().ids(), [0, 1, 2]);
    let (_connection, channel) = lab.plain().await;
    channel.queue_delete("t".into(), QueueDeleteOptions::default()).await.unwrap();
    let error = tokio::time::timeout(Duration::from_secs(30), events.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("WEIR-RABBITMQ-009", Retry::Transient), "{error}");
    let again = lab.source(options("t")).await.unwrap().streams().await.unwrap_err();
    assert_eq!((again.code(), again.retryable()), ("WEIR-RABBITMQ-005", Retry::Never), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_lower_the_prefetch() {
    let lab = Lab::new();
    lab.queue("t", FieldTable::default()).await;
    let payloads: Vec<Vec<u8>> =
        (0..200).map(|id| json!({"id": id, "name": "x".repeat(10_000)}).to_string().into_bytes()).collect();
    lab.put("t", &payloads, BasicProperties::default()).await;
    let source = lab.source(with(options("t"), json!({"fetch_bytes": 50_000}))).await.unwrap();
    let reader = open(source.as_ref(), "t", true).await;
    let mut events = reader.read(&reader.splits()[0], None).await.unwrap();
    let mut read = 0;
    while read < 150 {
        if let Event::Batch(batch) = events.next().await.unwrap().unwrap() {
            read += batch.records.num_rows();
        }
    }
    // Behind the first window of 64 there are four or five messages under way at a time.
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while lab.waiting("t").await + 10 < 200 - u32::try_from(read).unwrap() {
        assert!(std::time::Instant::now() < end, "{} wait with {read} read", lab.waiting("t").await);
    }
    assert_eq!(drain(&mut events).await.unwrap().ids().len(), 200 - read);
}
