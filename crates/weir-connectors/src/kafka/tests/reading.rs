//! Where reading begins, where it ends, and what a record becomes.

use weir_connect::{Resume, Split, SplitProgress};

use super::*;

async fn read(lab: &Lab, options: Value, topic: &str, request: ReadRequest) -> Read {
    let reader = lab.open(options, topic, request).await.unwrap();
    drain(reader.as_ref()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_reads_up_to_the_ends_it_found_and_the_next_one_goes_on_there() {
    let lab = Lab::new("runs");
    let topic = lab.topic("t");
    lab.create(&topic, 2, &[]).await;
    lab.put_json(&topic, 0, ids(0..10));
    lab.put_json(&topic, 1, ids(10..15));
    let options = json!({"topic": topic});
    let first = lab.open(options.clone(), &topic, ReadRequest::default()).await.unwrap();
    // What comes after the opening belongs to the next run.
    lab.put_json(&topic, 0, ids(15..20));
    assert_eq!(drain(first.as_ref()).await.unwrap().ids(), (0..15).collect::<Vec<_>>());
    // So does a partition that was not there.
    lab.widen(&topic, 3).await;
    lab.put_json(&topic, 2, ids(20..23));
    let next = ReadRequest { previous: first.next_state(), ..ReadRequest::default() };
    let second = lab.open(options.clone(), &topic, next).await.unwrap();
    assert_eq!(drain(second.as_ref()).await.unwrap().ids(), (15..23).collect::<Vec<_>>());
    let third = ReadRequest { previous: second.next_state(), ..ReadRequest::default() };
    assert_eq!(read(&lab, options, &topic, third).await.ids(), Vec::<i64>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_begins_where_the_options_say() {
    let lab = Lab::new("starts");
    let topic = lab.topic("t");
    // The times are of 1970.
    lab.create(&topic, 2, &[("retention.ms", "-1")]).await;
    let producer: BaseProducer = lab.client().create().unwrap();
    for id in 0..10i64 {
        let text = json!({"id": id}).to_string();
        let record = BaseRecord::<str, str, ()>::to(&topic).partition((id % 2) as i32).payload(&text).timestamp(1000 + id);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let from = |more: Value| {
        let mut options = json!({"topic": topic});
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(&lab, options, &topic, ReadRequest::default())
    };
    assert_eq!(from(json!({})).await.ids(), (0..10).collect::<Vec<_>>());
    assert_eq!(from(json!({"start_mode": "latest"})).await.ids(), Vec::<i64>::new());
    assert_eq!(from(json!({"start_mode": "timestamp", "start_timestamp_ms": 1005})).await.ids(), [5, 6, 7, 8, 9]);
    assert_eq!(from(json!({"start_mode": "timestamp", "start_timestamp_ms": 9000})).await.ids(), Vec::<i64>::new());
    let name = format!("{topic}-1");
    assert_eq!(from(json!({"start_mode": "specific_offsets", "start_offsets": {name: 3}})).await.ids(), [0, 2, 4, 6, 7, 8, 9]);
    let group = lab.topic("group");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(4)).unwrap();
    let consumer: BaseConsumer = lab.client().remove("message.timeout.ms").set("group.id", &group).create().unwrap();
    consumer.commit(&list, rdkafka::consumer::CommitMode::Sync).unwrap();
    assert_eq!(from(json!({"start_mode": "group_offsets", "group": group})).await.ids(), [1, 3, 5, 7, 8, 9]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_durable_is_committed_to_the_group() {
    let lab = Lab::new("group");
    let (topic, group) = (lab.topic("t"), lab.topic("g"));
    lab.create(&topic, 2, &[]).await;
    lab.put_json(&topic, 0, ids(0..6));
    lab.put_json(&topic, 1, ids(6..8));
    let source = lab.source(json!({"topic": topic, "group": group})).await.unwrap();
    let reader = source.open(ReadRequest { stream: topic.clone(), ..ReadRequest::default() }).await.unwrap();
    let at = |split: Split, position: Option<Value>| SplitProgress { done: position.is_none(), split, position, rows: 0 };
    let progress: Vec<SplitProgress> = reader
        .splits()
        .into_iter()
        .map(|split| if split.id == "0" { at(split, Some(json!({"offset": 4}))) } else { at(split, None) })
        .collect();
    source.committed(&topic, &progress).await.unwrap();
    let consumer: BaseConsumer = lab.client().remove("message.timeout.ms").set("group.id", &group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range(&topic, 0, 1);
    let committed = consumer.committed_offsets(list, Duration::from_secs(20)).unwrap();
    let offsets: Vec<Offset> = committed.elements().iter().map(|element| element.offset()).collect();
    assert_eq!(offsets, [Offset::Offset(4), Offset::Offset(2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_tells_where_it_was_and_a_bad_one_is_a_dead_letter_in_its_place() {
    let lab = Lab::new("metadata");
    let topic = lab.topic("t");
    lab.create(&topic, 1, &[]).await;
    lab.put(
        &topic,
        &[
            (0, Some("k0"), Some(br#"{"id": 0}"#)),
            (0, None, Some(b"no json")),
            (0, Some("k2"), None),
            (0, Some("k3"), Some(br#"{"id": 3}"#)),
        ],
    );
    let all = ["key", "headers", "topic", "partition", "offset", "timestamp"];
    let read_it = |tombstones: &str| {
        read(&lab, json!({"topic": topic, "metadata": all, "tombstones": tombstones}), &topic, ReadRequest::default())
    };
    let read = read_it("dead_letter").await;
    assert_eq!(read.ids(), [0, 3]);
    let dead: Vec<_> =
        read.dead.iter().map(|letter| (letter.code.as_str(), letter.place.clone(), letter.payload.as_slice())).collect();
    let place = |offset: i64| format!("{topic}[0] offset {offset}");
    assert_eq!(dead, [("WEIR-FMT-111", place(1), b"no json".as_slice()), ("WEIR-KAFKA-022", place(2), b"")]);
    // Each dead letter has a position behind it.
    let positions: Vec<_> =
        read.batches["0"].iter().map(|(_, position)| position.clone().unwrap()["offset"].as_i64().unwrap()).collect();
    assert_eq!(positions, [1, 2, 3, 4]);
    let last = &read.batches["0"].last().unwrap().0;
    let text = |name: &str| last.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
    assert_eq!((text("_key"), text("_topic")), ("k3".to_owned(), topic.clone()));
    assert_eq!(last.column_by_name("_offset").unwrap().as_primitive::<Int64Type>().value(0), 3);
    assert!(last.column_by_name("_timestamp").unwrap().is_valid(0));

    let kept = read_it("keep").await;
    assert_eq!((kept.ids(), kept.dead.len()), (vec![0, 3], 1));
    let tombstones: Vec<bool> = kept
        .rows()
        .flat_map(|batch| batch.column_by_name("_tombstone").unwrap().as_boolean().iter().flatten().collect::<Vec<_>>())
        .collect();
    assert_eq!(tombstones, [false, true, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_becomes_a_row_once_the_options_take_it() {
    let lab = Lab::new("again");
    let topic = lab.topic("t");
    lab.create(&topic, 1, &[]).await;
    lab.put(&topic, &[(0, None, Some(br#"{"id": 1}"#)), (0, None, Some(br#"{"id": 2, "new": true}"#))]);
    let strict = json!({"topic": topic, "columns": {"id": "int64"}, "only_columns": true, "metadata": ["offset"]});
    let letter = read(&lab, strict.clone(), &topic, ReadRequest::default()).await.dead.remove(0);
    assert_eq!(letter.code, "WEIR-FMT-113");
    let again = lab.source(strict).await.unwrap().redecode(&topic, &letter).await.unwrap();
    assert!(matches!(again.as_slice(), [Event::Dead(_)]));
    let wide = json!({"topic": topic, "columns": {"id": "int64", "new": "bool"}, "only_columns": true, "metadata": ["offset"]});
    let again = lab.source(wide).await.unwrap().redecode(&topic, &letter).await.unwrap();
    let [Event::Batch(batch)] = again.as_slice() else { panic!("{again:?}") };
    assert_eq!(batch.records.column_by_name("id").unwrap().as_primitive::<Int64Type>().value(0), 2);
    assert_eq!(batch.records.column_by_name("_offset").unwrap().as_primitive::<Int64Type>().value(0), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_and_bytes_come_as_they_are() {
    let lab = Lab::new("plain");
    let topic = lab.topic("t");
    lab.create(&topic, 1, &[]).await;
    lab.put(&topic, &[(0, None, Some("zwölf\n".as_bytes())), (0, None, Some(b"\xff\x00"))]);
    let text = read(&lab, json!({"topic": topic, "format": "text"}), &topic, ReadRequest::default()).await;
    let values: Vec<String> = text
        .rows()
        .flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!((values, text.dead.len()), (vec!["zwölf\n".to_owned()], 1));
    let raw = read(&lab, json!({"topic": topic, "format": "raw"}), &topic, ReadRequest::default()).await;
    let values: Vec<Vec<u8>> = raw
        .rows()
        .flat_map(|batch| batch.column(0).as_binary::<i32>().iter().flatten().map(<[u8]>::to_vec).collect::<Vec<_>>())
        .collect();
    assert_eq!((values, raw.dead.len()), (vec!["zwölf\n".as_bytes().to_vec(), vec![255, 0]], 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_committed_records_are_read_and_marks_of_transactions_do_not_hold_a_run_up() {
    let lab = Lab::new("isolation");
    let topic = lab.topic("t");
    lab.create(&topic, 1, &[]).await;
    let transactional = |id: &str| -> BaseProducer {
        let producer: BaseProducer = lab.client().set("transactional.id", lab.topic(id)).create().unwrap();
        producer.init_transactions(Duration::from_secs(30)).unwrap();
        producer
    };
    let (good, bad, open) = (transactional("good"), transactional("bad"), transactional("open"));
    let write = |producer: &BaseProducer, range: std::ops::Range<i64>| {
        producer.begin_transaction().unwrap();
        for value in ids(range) {
            send(producer, &topic, &[(0, None, Some(value.to_string().as_bytes()))]);
        }
        producer.flush(Duration::from_secs(30)).unwrap();
    };
    write(&good, 0..3);
    good.commit_transaction(Duration::from_secs(30)).unwrap();
    write(&bad, 3..6);
    bad.abort_transaction(Duration::from_secs(30)).unwrap();
    let options = json!({"topic": topic, "columns": {"id": "int64"}});
    let first = lab.open(options.clone(), &topic, ReadRequest::default()).await.unwrap();
    assert_eq!(drain(first.as_ref()).await.unwrap().ids(), [0, 1, 2]);
    // A transaction that is open, and what comes after it: not yet.
    write(&open, 6..8);
    lab.put_json(&topic, 0, ids(8..9));
    let second = ReadRequest { previous: first.next_state(), ..ReadRequest::default() };
    let second = lab.open(options.clone(), &topic, second).await.unwrap();
    assert_eq!(drain(second.as_ref()).await.unwrap().ids(), Vec::<i64>::new());
    open.commit_transaction(Duration::from_secs(30)).unwrap();
    let third = ReadRequest { previous: second.next_state(), ..ReadRequest::default() };
    assert_eq!(read(&lab, options, &topic, third).await.ids(), [6, 7, 8]);
    let all = json!({"topic": topic, "isolation": "read_uncommitted"});
    assert_eq!(read(&lab, all, &topic, ReadRequest::default()).await.ids(), (0..9).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_end_the_reader_says_when_it_has_given_everything_and_goes_on() {
    let lab = Lab::new("endless");
    let topic = lab.topic("t");
    lab.create(&topic, 1, &[]).await;
    lab.put_json(&topic, 0, ids(0..3));
    let options = json!({"topic": topic});
    let reader = lab.open(options.clone(), &topic, ReadRequest { unbounded: true, ..ReadRequest::default() }).await.unwrap();
    let split = reader.splits().remove(0);
    let mut events = reader.read(&split, None).await.unwrap();
    let mut next = async || events.next().await.unwrap().unwrap();
    let mut position = None;
    for (range, more) in [(0..3, Some(3..5)), (3..5, None)] {
        let mut got = Vec::new();
        loop {
            match next().await {
                Event::Batch(batch) => {
                    got.extend(batch.records.column_by_name("id").unwrap().as_primitive::<Int64Type>().iter().flatten());
                    position = batch.position;
                }
                Event::Idle => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(got, range.collect::<Vec<i64>>());
        if let Some(more) = more {
            lab.put_json(&topic, 0, ids(more));
        }
    }
    drop(events);
    // Another attempt goes on behind what is durable, and finds the partition that is new.
    lab.widen(&topic, 2).await;
    lab.put_json(&topic, 1, ids(5..7));
    assert_eq!(reader.look().await.unwrap().iter().map(|split| split.id.clone()).collect::<Vec<_>>(), ["0", "1"]);
    let progress = vec![SplitProgress { split, position, done: false, rows: 5 }];
    let resume = Some(Resume { reader_state: reader.state(), progress });
    let again = lab.open(options, &topic, ReadRequest { unbounded: true, resume, ..ReadRequest::default() }).await.unwrap();
    let new = again.splits().into_iter().find(|split| split.id == "1").unwrap();
    let mut events = again.read(&new, None).await.unwrap();
    let Event::Batch(batch) = events.next().await.unwrap().unwrap() else { panic!("no batch") };
    assert_eq!(batch.records.num_rows(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lag_is_what_a_partition_has_beyond_its_reader() {
    let lab = Lab::new("lag");
    let topic = lab.topic("t");
    lab.create(&topic, 1, &[]).await;
    lab.put_json(&topic, 0, ids(0..20));
    // A batch per record: two wait for the engine, and the reader holds a third.
    let request = ReadRequest { unbounded: true, batch_bytes: 1, ..ReadRequest::default() };
    let reader = lab.open(json!({"topic": topic, "columns": {"id": "int64", "name": "text"}}), &topic, request).await.unwrap();
    assert_eq!(reader.lag(), None);
    let mut events = reader.read(&reader.splits()[0], None).await.unwrap();
    let behind = async {
        while reader.lag() != Some(17) {
            reader.look().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), behind).await.unwrap();
    assert_eq!(reader.lags(), [("0".to_owned(), 17)]);
    while !matches!(events.next().await.unwrap().unwrap(), Event::Idle) {}
    assert_eq!(reader.lag(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_chosen_by_name_and_by_pattern() {
    let lab = Lab::new("choice");
    for name in ["a1", "a2", "b1"] {
        lab.create(&lab.topic(name), 1, &[]).await;
        lab.put_json(&lab.topic(name), 0, ids(0..2));
    }
    let names = async |options: Value| -> Vec<String> {
        lab.source(options).await.unwrap().streams().await.unwrap().into_iter().map(|stream| stream.name).collect()
    };
    let pattern = format!("{}\\.a.*", lab.name);
    assert_eq!(names(json!({"topic_pattern": pattern})).await, [lab.topic("a1"), lab.topic("a2")]);
    assert_eq!(names(json!({"topics": [lab.topic("b1"), lab.topic("a1")]})).await, [lab.topic("b1"), lab.topic("a1")]);
    let none = lab.source(json!({"topic_pattern": "nothing_like_this"})).await.unwrap().streams().await.unwrap_err();
    assert_eq!(none.code(), "WEIR-KAFKA-005");
    let missing = lab.source(json!({"topic": lab.topic("c")})).await.unwrap().streams().await.unwrap_err();
    assert_eq!(missing.code(), "WEIR-KAFKA-005");
}

fn strings(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    batch.column_by_name(name).unwrap().as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

async fn whole(lab: &Lab, options: Value, topic: &str) -> (RecordBatch, Vec<DeadLetter>) {
    let reader = lab.open(options, topic, ReadRequest::default()).await.unwrap();
    let read = drain(reader.as_ref()).await.unwrap();
    (arrow::compute::concat_batches(&reader.schema(), read.rows()).unwrap(), read.dead)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_may_be_csv_and_keys_json() {
    let lab = Lab::new("csv");
    let topic = lab.topic("t");
    lab.create(&topic, 1, &[]).await;
    lab.put(
        &topic,
        &[
            (0, Some(r#"{"shop": 7}"#), Some(b"1,\"a\nb\"")),
            (0, None, Some(b"2,")),
            (0, Some(r#"{"shop": "x"}"#), Some(b"3,c")),
            (0, Some(r#"{"shop": 8}"#), Some(b"4")),
            (0, Some(r#"{"shop": 9}"#), Some(b"5,e")),
        ],
    );
    let options = json!({
        "topic": topic, "format": "csv", "csv": {"columns": ["id", "name"]}, "columns": {"id": "int64"},
        "key_format": "json", "key_columns": {"shop": "int64"}, "metadata": ["offset"],
    });
    let (rows, dead) = whole(&lab, options, &topic).await;
    assert_eq!(rows.column_by_name("id").unwrap().as_primitive::<Int64Type>().values(), &[1, 2, 5]);
    assert_eq!(strings(&rows, "name"), [Some("a\nb".into()), None, Some("e".into())]);
    let shops: Vec<_> = rows.column_by_name("_key_shop").unwrap().as_primitive::<Int64Type>().iter().collect();
    assert_eq!(shops, [Some(7), None, Some(9)]);
    assert_eq!(rows.column_by_name("_offset").unwrap().as_primitive::<Int64Type>().values(), &[0, 1, 4]);
    let dead: Vec<_> = dead.iter().map(|letter| (letter.code.as_str(), letter.reason.starts_with("the key"))).collect();
    assert_eq!(dead, [("WEIR-FMT-103", true), ("WEIR-FMT-105", false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_of_debezium_is_a_row_with_what_happened_to_it() {
    let lab = Lab::new("debezium");
    let topic = lab.topic("t");
    lab.create(&topic, 1, &[]).await;
    lab.put(
        &topic,
        &[
            (0, Some("k"), Some(br#"{"before": null, "after": {"id": 1, "name": "a"}, "source": {}, "op": "r", "ts_ms": 5}"#)),
            (0, Some("k"), Some(br#"{"schema": {"type": "struct"}, "payload": {"before": {"id": 1, "name": "a"}, "after": {"id": 1, "name": "b"}, "op": "u"}}"#)),
            (0, Some("k"), Some(br#"{"before": {"id": 1, "name": "b"}, "after": null, "op": "d"}"#)),
            (0, Some("k"), None),
            (0, None, Some(br#"{"before": null, "after": null, "op": "t"}"#)),
            (0, None, Some(br#"{"id": 9}"#)),
            (0, Some("k"), Some(br#"{"after": {"id": 2, "name": null}, "op": "c"}"#)),
        ],
    );
    let (rows, dead) = whole(&lab, json!({"topic": topic, "format": "debezium_json"}), &topic).await;
    assert_eq!(rows.column_by_name("id").unwrap().as_primitive::<Int64Type>().values(), &[1, 1, 1, 2]);
    assert_eq!(strings(&rows, "_op"), ["r", "u", "d", "c"].map(|op| Some(op.to_owned())));
    assert_eq!(strings(&rows, "name"), [Some("a".into()), Some("b".into()), Some("b".into()), None]);
    // A tombstone behind a delete is none.
    assert_eq!(dead.iter().map(|letter| letter.code.as_str()).collect::<Vec<_>>(), ["WEIR-FMT-044", "WEIR-FMT-044"]);
}
