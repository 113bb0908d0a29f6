//! Records that are gone, brokers that go away, credentials that are wrong.

use weir_connect::{Kind, Resume, SplitProgress};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_were_deleted_before_they_were_read_are_an_error_and_never_a_jump() {
    let lab = Lab::new("loss");
    let topic = lab.topic("t");
    lab.create(&topic, 1, &[]).await;
    lab.put_json(&topic, 0, ids(0..10));
    let options = json!({"topic": topic});
    let first = lab.open(options.clone(), &topic, ReadRequest { batch_bytes: 40, ..ReadRequest::default() }).await.unwrap();
    let read = drain(first.as_ref()).await.unwrap();
    let (_, position) = &read.batches["0"][1];
    let early = ReadRequest {
        resume: Some(Resume {
            reader_state: first.state(),
            progress: vec![SplitProgress { split: first.splits().remove(0), position: position.clone(), done: false, rows: 2 }],
        }),
        ..ReadRequest::default()
    };
    lab.put_json(&topic, 0, ids(10..20));
    lab.delete_before(&topic, 0, 12).await;
    let next = || ReadRequest { previous: first.next_state(), ..ReadRequest::default() };
    for request in [next(), early.clone()] {
        let error = lab.read_error(options.clone(), &topic, request).await;
        assert_eq!((error.code(), error.kind()), ("WEIR-KAFKA-010", Kind::Conflict));
        assert!(error.to_string().contains("12"), "{error}");
    }
    let earliest = json!({"topic": topic, "on_data_loss": "earliest"});
    let reader = lab.open(earliest, &topic, next()).await.unwrap();
    assert_eq!(drain(reader.as_ref()).await.unwrap().ids(), (12..20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_anew_is_not_taken_for_the_old_one() {
    let lab = Lab::new("anew");
    let topic = lab.topic("t");
    lab.create(&topic, 1, &[]).await;
    lab.put_json(&topic, 0, ids(0..4));
    let options = json!({"topic": topic});
    let first = lab.open(options.clone(), &topic, ReadRequest::default()).await.unwrap();
    assert_eq!(drain(first.as_ref()).await.unwrap().ids(), [0, 1, 2, 3]);
    lab.delete(&topic).await;
    lab.create(&topic, 1, &[]).await;
    // As many records as before and more: by the offsets alone nothing would be missing.
    lab.put_json(&topic, 0, ids(100..106));
    let next = || ReadRequest { previous: first.next_state(), ..ReadRequest::default() };
    let error = lab.read_error(options, &topic, next()).await;
    assert_eq!(error.code(), "WEIR-KAFKA-010");
    assert!(error.to_string().contains("made again"), "{error}");
    let reader = lab.open(json!({"topic": topic, "on_data_loss": "earliest"}), &topic, next()).await.unwrap();
    assert_eq!(drain(reader.as_ref()).await.unwrap().ids(), (100..106).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_are_proved_and_a_wrong_one_is_told_as_such() {
    let broker = weir_testkit::Kafka::shared().unwrap();
    let check = async |mechanism: &str, password: &str| {
        let connection = json!({
            "bootstrap_servers": broker.sasl_bootstrap(), "user": weir_testkit::kafka::USER, "password": password,
            "sasl_mechanism": mechanism,
        });
        Kafka::default().check(&connection).await.unwrap()
    };
    for mechanism in ["plain", "scram_sha_256"] {
        let good = check(mechanism, weir_testkit::kafka::PASSWORD).await;
        assert!(good.ok(), "{good:?}");
        let bad = check(mechanism, "wrong").await;
        let failed: Vec<&str> = bad.items.iter().filter(|item| !item.ok).map(|item| item.name.as_str()).collect();
        assert_eq!(failed, ["auth"], "{bad:?}");
        assert!(!format!("{bad:?}").contains("\"wrong\""));
    }
}

#[test]
fn settings_that_exactness_rests_on_are_refused() {
    for name in ["enable.auto.commit", "isolation.level", "acks", "transactional.id", "sasl.password", "group.id"] {
        let connection = json!({"bootstrap_servers": "b:1", "properties": {name: "x"}});
        let error = Kafka::default().validate("connection", &connection, &Value::Null).unwrap_err();
        assert_eq!(error.code(), "WEIR-KAFKA-001", "{name}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let fine = json!({"bootstrap_servers": "b:1", "properties": {"socket.keepalive.enable": "true"}});
    Kafka::default().validate("connection", &fine, &Value::Null).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_that_join_and_leave_the_group_disturb_neither_the_reading_nor_an_open_transaction() {
    let lab = Lab::new("rebalance");
    let (topic, copy, group) = (lab.topic("t"), lab.topic("copy"), lab.topic("g"));
    lab.create(&topic, 2, &[]).await;
    lab.put_json(&topic, 0, (0..50).map(|id| json!({"id": id})));
    lab.put_json(&topic, 1, (50..100).map(|id| json!({"id": id})));
    let source = lab.source(json!({"topic": topic, "group": group})).await.unwrap();
    let reader = source.open(ReadRequest { stream: topic.clone(), batch_bytes: 60, ..ReadRequest::default() }).await.unwrap();
    let sink = lab.sink(json!({"topic": copy})).await.prepare(guarded::target(&copy)).await.unwrap();
    let mut writer = sink.writer(0).await.unwrap();
    let (mut progress, mut written) = (Vec::new(), 0);
    let mut others: Vec<BaseConsumer> = Vec::new();
    for split in reader.splits() {
        let mut events = reader.read(&split, None).await.unwrap();
        let (mut rows, mut last) = (0, None);
        while let Some(event) = events.next().await {
            let Event::Batch(batch) = event.unwrap() else { continue };
            rows += batch.records.num_rows() as u64;
            (last, written) = (batch.position, written + batch.records.num_rows());
            writer.write(batch.records).await.unwrap();
            // In the middle of the epoch somebody joins, and has partitions of this topic assigned.
            if written > 10 && others.len() < 2 {
                let other: BaseConsumer = lab.client().remove("message.timeout.ms").set("group.id", &group).create().unwrap();
                other.subscribe(&[&topic]).unwrap();
                wait("it has a partition", || {
                    others.iter().for_each(|other| drop(other.poll(Duration::ZERO)));
                    drop(other.poll(Duration::from_millis(50)));
                    other.assignment().is_ok_and(|assigned| assigned.count() > 0)
                });
                others.push(other);
            }
        }
        progress.push(SplitProgress { split, position: last, done: true, rows });
    }
    assert_eq!(others.len(), 2);
    let barrier = weir_connect::Barrier { epoch: 1, lane: 0, progress: progress.clone() };
    writer.flush(&barrier).await.unwrap();
    // The group belongs to its members now: that its offsets cannot be committed is told, and stops nothing.
    source.committed(&topic, &progress).await.unwrap();
    let mut found: Vec<i64> = lab.values(&copy).iter().map(|value| value["id"].as_i64().unwrap()).collect();
    found.sort_unstable();
    assert_eq!((written, found), (100, (0..100).collect::<Vec<_>>()));
}
