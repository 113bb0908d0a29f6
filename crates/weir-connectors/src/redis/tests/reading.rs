//! Where reading begins, where it ends, and what an entry becomes.

use weir_connect::{Resume, SplitProgress};

use super::*;

fn payload(key: &str) -> Value {
    json!({"key": key, "field": "payload"})
}

async fn read(lab: &Lab, options: Value, key: &str, request: ReadRequest) -> Read {
    let reader = lab.open(options, key, request).await.unwrap();
    drain(reader.as_ref(), None).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_reads_up_to_the_end_it_found_and_the_next_one_goes_on_there() {
    let lab = Lab::new("runs");
    let key = lab.key("t");
    lab.fill(&key, 0..1000);
    let first = lab.open(payload(&key), &key, ReadRequest::default()).await.unwrap();
    // What comes after the opening belongs to the next run.
    lab.fill(&key, 1000..1005);
    assert_eq!(drain(first.as_ref(), None).await.unwrap().ids(), (0..1000).collect::<Vec<_>>());
    let next = ReadRequest { previous: first.next_state(), ..ReadRequest::default() };
    let second = lab.open(payload(&key), &key, next).await.unwrap();
    assert_eq!(drain(second.as_ref(), None).await.unwrap().ids(), (1000..1005).collect::<Vec<_>>());
    let third = ReadRequest { previous: second.next_state(), ..ReadRequest::default() };
    assert_eq!(read(&lab, payload(&key), &key, third).await.ids(), Vec::<i64>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_begins_where_the_options_say() {
    let lab = Lab::new("starts");
    let key = lab.key("t");
    lab.fill(&key, 0..10);
    let from = |more: Value| {
        let mut options = payload(&key);
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(&lab, options, &key, ReadRequest::default())
    };
    assert_eq!(from(json!({})).await.ids(), (0..10).collect::<Vec<_>>());
    assert_eq!(from(json!({"start_mode": "latest"})).await.ids(), Vec::<i64>::new());
    // The id of row n is n + 1 ms.
    assert_eq!(from(json!({"start_mode": "timestamp", "start_timestamp_ms": 6})).await.ids(), [5, 6, 7, 8, 9]);
    assert_eq!(from(json!({"start_mode": "timestamp", "start_timestamp_ms": 9000})).await.ids(), Vec::<i64>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_where_reading_begins_and_is_told_what_is_durable() {
    let lab = Lab::new("group");
    let key = lab.key("t");
    lab.fill(&key, 0..10);
    // The id of row n is n + 1 ms.
    redis::cmd("XGROUP").arg("CREATE").arg(&key).arg("theirs").arg("5-0").query::<()>(&mut lab.plain()).unwrap();
    let options = |group: &str| json!({"key": key, "field": "payload", "start_mode": "group", "group": group});
    assert_eq!(read(&lab, options("theirs"), &key, ReadRequest::default()).await.ids(), (5..10).collect::<Vec<_>>());
    // One that is not there yet begins at the beginning.
    let source = lab.source(options("ours")).await.unwrap();
    let reader = source.open(ReadRequest { stream: key.clone(), parallelism: 1, ..ReadRequest::default() }).await.unwrap();
    assert_eq!(drain(reader.as_ref(), None).await.unwrap().ids(), (0..10).collect::<Vec<_>>());
    let split = reader.splits().remove(0);
    let place = |group: &str| -> Vec<String> {
        let groups: Vec<Vec<redis::Value>> = redis::cmd("XINFO").arg("GROUPS").arg(&key).query(&mut lab.plain()).unwrap();
        let told = |value: &redis::Value| redis::from_redis_value::<String>(value.clone()).unwrap_or_default();
        let mine = groups.into_iter().find(|told_of| told(&told_of[1]) == group).unwrap();
        let member = |name: &str| mine.chunks(2).find(|pair| told(&pair[0]) == name).map(|pair| told(&pair[1])).unwrap();
        ["last-delivered-id", "lag"].map(member).into()
    };
    let part = |position: Option<Value>, done: bool| SplitProgress { split: split.clone(), position, done, rows: 0 };
    source.committed(&key, &[part(Some(json!({"id": "4-0", "counted": 4, "delivered": true})), false)]).await.unwrap();
    assert_eq!(place("ours"), ["4-0", "6"]);
    source.committed(&key, &[part(None, true)]).await.unwrap();
    assert_eq!(place("ours"), ["10-0", "0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_gives_a_stream_for_each_key_and_no_other_keys() {
    let lab = Lab::new("pattern");
    for name in ["a1", "a2", "b1"] {
        lab.fill(&lab.key(name), 0..2);
    }
    redis::cmd("SET").arg(lab.key("a3")).arg("text").query::<()>(&mut lab.plain()).unwrap();
    let names = async |options: Value| {
        let streams = lab.source(options).await.unwrap().streams().await;
        streams.map(|streams| streams.into_iter().map(|info| info.name).collect::<Vec<_>>())
    };
    let pattern = json!({"key": lab.key("a*"), "field": "payload"});
    assert_eq!(names(pattern).await.unwrap(), [lab.key("a1"), lab.key("a2")]);
    let listed = json!({"keys": [lab.key("b1"), lab.key("a[1]")], "field": "payload"});
    assert_eq!(names(listed).await.unwrap(), [lab.key("a1"), lab.key("b1")]);
    for key in ["none", "c*"] {
        let error = names(json!({"key": lab.key(key), "field": "payload"})).await.unwrap_err();
        assert_eq!(error.code(), "WEIR-REDIS-005", "{error}");
    }
    let error = names(json!({"key": lab.key("a3"), "field": "payload"})).await.unwrap_err();
    assert!(error.to_string().contains("no stream"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_are_columns_of_texts_unless_declared() {
    let lab = Lab::new("fields");
    let key = lab.key("t");
    lab.add(&key, "5-1", &[("id", b"1"), ("price", b"12345678901234567.89"), ("note", "ü".as_bytes())]);
    lab.add(&key, "5-2", &[("id", b"2"), ("price", b"0.10")]);
    let options =
        json!({"key": key, "columns": {"id": "int64", "price": "decimal(20,2)"}, "metadata": ["id", "stream", "timestamp"]});
    let read = read(&lab, options, &key, ReadRequest::default()).await;
    assert_eq!((read.ids(), read.dead.len()), (vec![1, 2], 0), "{:?}", read.dead);
    assert_eq!(read.texts("note"), [Some("ü".to_owned()), None]);
    assert_eq!(read.texts("_id"), [Some("5-1".to_owned()), Some("5-2".to_owned())]);
    assert_eq!(read.texts("_stream"), [Some(key.clone()), Some(key)]);
    let batch = &read.batches[0].0;
    let shown = |name: &str| arrow::util::display::array_value_to_string(batch.column_by_name(name).unwrap(), 0).unwrap();
    assert_eq!((shown("price").as_str(), shown("_timestamp").as_str()), ("12345678901234567.89", "1970-01-01T00:00:00.005Z"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_entry_is_a_dead_letter_in_its_place_and_a_row_once_the_options_take_it() {
    let lab = Lab::new("dead");
    let key = lab.key("t");
    lab.add(&key, "1-0", &[("payload", br#"{"id": 0}"#)]);
    lab.add(&key, "2-0", &[("payload", b"no json")]);
    lab.add(&key, "3-0", &[("other", b"x")]);
    lab.add(&key, "4-0", &[("payload", br#"{"id": 3, "new": true}"#)]);
    lab.add(&key, "5-0", &[("payload", br#"{"id": 4}"#)]);
    let strict = json!({"key": key, "field": "payload", "columns": {"id": "int64"}, "only_columns": true, "metadata": ["id"]});
    let read = read(&lab, strict.clone(), &key, ReadRequest::default()).await;
    assert_eq!(read.ids(), [0, 4]);
    let dead: Vec<_> = read.dead.iter().map(|letter| (letter.code.as_str(), letter.place.clone())).collect();
    let place = |id: &str| format!("{key} entry {id}");
    assert_eq!(dead, [("WEIR-FMT-111", place("2-0")), ("WEIR-REDIS-023", place("3-0")), ("WEIR-FMT-113", place("4-0"))]);
    assert_eq!(read.dead[1].payload, br#"[["other","x"]]"#);
    // Each dead letter has a position behind it.
    let positions: Vec<_> = read.batches.iter().map(|(_, position)| position.clone().unwrap()["id"].clone()).collect();
    assert_eq!(positions, ["1-0", "2-0", "3-0", "4-0", "5-0"]);

    let letter = &read.dead[2];
    let again = lab.source(strict).await.unwrap().redecode(&key, letter).await.unwrap();
    assert!(matches!(again.as_slice(), [Event::Dead(_)]));
    let wide = json!({
        "key": key, "field": "payload", "columns": {"id": "int64", "new": "bool"}, "only_columns": true, "metadata": ["id"]
    });
    let again = lab.source(wide).await.unwrap().redecode(&key, letter).await.unwrap();
    let [Event::Batch(batch)] = again.as_slice() else { panic!("{again:?}") };
    assert_eq!(batch.records.column_by_name("id").unwrap().as_primitive::<Int64Type>().value(0), 3);
    assert_eq!(batch.records.column_by_name("_id").unwrap().as_string::<i32>().value(0), "4-0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_end_it_waits_for_what_comes_and_goes_on_from_a_position() {
    let lab = Lab::new("forever");
    let key = lab.key("t");
    lab.fill(&key, 0..300);
    let reader = lab.open(payload(&key), &key, forever()).await.unwrap();
    let split = reader.splits().remove(0);
    let mut events = reader.read(&split, None).await.unwrap();
    let mut read = Read::default();
    for target in [300, 303] {
        loop {
            match events.next().await.unwrap().unwrap() {
                Event::Batch(batch) => read.batches.push((batch.records, batch.position)),
                Event::Idle => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(read.ids(), (0..target).collect::<Vec<_>>());
        if target == 300 {
            lab.fill(&key, 300..303);
        }
    }
    let position = read.batches[0].1.clone().unwrap();
    let seen = read.batches[0].0.num_rows() as i64;
    let progress = vec![SplitProgress { split, position: Some(position.clone()), done: false, rows: seen as u64 }];
    let resume = Some(Resume { reader_state: reader.state(), progress });
    let again = lab.open(payload(&key), &key, ReadRequest { resume, ..forever() }).await.unwrap();
    assert_eq!(drain(again.as_ref(), Some(position)).await.unwrap().ids(), (seen..303).collect::<Vec<_>>());
}

/// Reads all of `0..20`; the position behind row 9 and the split.
async fn half_read(lab: &Lab, key: &str) -> (Value, Resume) {
    lab.fill(key, 0..10);
    let reader = lab.open(payload(key), key, forever()).await.unwrap();
    let read = drain(reader.as_ref(), None).await.unwrap();
    assert_eq!(read.ids().len(), 10);
    let position = read.batches.last().unwrap().1.clone().unwrap();
    let progress =
        vec![SplitProgress { split: reader.splits().remove(0), position: Some(position.clone()), done: false, rows: 10 }];
    lab.fill(key, 10..20);
    (position, Resume { reader_state: reader.state(), progress })
}

async fn resumed(lab: &Lab, key: &str, lossy: bool, (position, resume): &(Value, Resume)) -> Result<Vec<i64>> {
    let mut options = payload(key);
    if lossy {
        options["on_data_loss"] = json!("earliest");
    }
    let reader = lab.open(options, key, ReadRequest { resume: Some(resume.clone()), ..forever() }).await?;
    Ok(drain(reader.as_ref(), Some(position.clone())).await?.ids())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_were_read_may_be_trimmed_and_others_may_not() {
    let lab = Lab::new("trimmed");
    let key = lab.key("t");
    let half = half_read(&lab, &key).await;
    // The id of row n is n + 1.
    lab.trim_before(&key, "11-0");
    assert_eq!(resumed(&lab, &key, false, &half).await.unwrap(), (10..20).collect::<Vec<_>>());
    lab.trim_before(&key, "13-0");
    let error = resumed(&lab, &key, false, &half).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-REDIS-010");
    assert!(format!("{error:?}").contains("2 entries after 10-0"), "{error:?}");
    assert_eq!(resumed(&lab, &key, true, &half).await.unwrap(), (12..20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_made_anew_is_not_gone_on_with_silently() {
    let lab = Lab::new("anew");
    let key = lab.key("t");
    let half = half_read(&lab, &key).await;
    lab.delete(&key);
    lab.fill(&key, 0..3);
    assert_eq!(resumed(&lab, &key, false, &half).await.unwrap_err().code(), "WEIR-REDIS-010");
    assert_eq!(resumed(&lab, &key, true, &half).await.unwrap(), [0, 1, 2]);
    // Also if its ids are higher than those that were known.
    lab.delete(&key);
    lab.fill(&key, 100..103);
    assert_eq!(resumed(&lab, &key, false, &half).await.unwrap_err().code(), "WEIR-REDIS-010");
    assert_eq!(resumed(&lab, &key, true, &half).await.unwrap(), [100, 101, 102]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_trimmed_under_a_reader_that_waits_is_seen() {
    let lab = Lab::new("slow");
    let key = lab.key("t");
    lab.fill(&key, 0..200);
    // One entry per answer.
    let mut options = payload(&key);
    options["fetch_bytes"] = json!(1);
    let reader = lab.open(options, &key, forever()).await.unwrap();
    let mut events = reader.read(&reader.splits()[0], None).await.unwrap();
    assert!(matches!(events.next().await.unwrap().unwrap(), Event::Batch(_)));
    lab.trim_before(&key, "150-0");
    let error = loop {
        match events.next().await.unwrap() {
            Ok(Event::Batch(_)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), "WEIR-REDIS-010");
}
