//! Where reading begins, where it ends, and what a message becomes.

use weir_connect::{Resume, SplitProgress};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_reads_up_to_the_end_it_found_and_the_next_one_goes_on_there() {
    let lab = Lab::new("runs").await;
    lab.create().await;
    lab.put_ids("a", 0..15).await;
    let first = lab.open(json!({}), ReadRequest::default()).await.unwrap();
    // What comes after the opening belongs to the next run.
    lab.put_ids("a", 15..20).await;
    assert_eq!(drain(first.as_ref()).await.unwrap().ids(), whole(0..15));
    let next = ReadRequest { previous: first.next_state(), ..ReadRequest::default() };
    let second = lab.open(json!({}), next).await.unwrap();
    assert_eq!(drain(second.as_ref()).await.unwrap().ids(), whole(15..20));
    let third = ReadRequest { previous: second.next_state(), ..ReadRequest::default() };
    assert_eq!(lab.read(json!({}), third).await.ids(), whole(0..0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_begins_where_the_options_say() {
    let lab = Lab::new("starts").await;
    lab.create().await;
    lab.put_ids("a", 0..5).await;
    let fifth = lab.messages(&lab.name).await[4].info().unwrap().published.unix_timestamp_nanos();
    // The next millisecond, so that both have a time of their own.
    weir_testkit::wait_until("the clock has moved on", Duration::from_secs(5), || {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i128 > fifth / 1_000_000 + 1
    })
    .unwrap();
    lab.put_ids("a", 5..10).await;
    let from = |options: Value| lab.read(options, ReadRequest::default());
    assert_eq!(from(json!({})).await.ids(), whole(0..10));
    assert_eq!(from(json!({"start_mode": "latest"})).await.ids(), whole(0..0));
    assert_eq!(from(json!({"start_mode": "sequence", "start_sequence": 8})).await.ids(), whole(7..10));
    let millis = |at: i128| i64::try_from(at).unwrap();
    let since = |at: i64| json!({"start_mode": "timestamp", "start_timestamp_ms": at});
    assert_eq!(from(since(millis(fifth / 1_000_000 + 1))).await.ids(), whole(5..10));
    assert_eq!(from(since(0)).await.ids(), whole(0..10));
    assert_eq!(from(since(millis(fifth / 1_000_000) + 3_600_000)).await.ids(), whole(0..0));
    let late = lab.read_error(json!({"start_mode": "sequence", "start_sequence": 80}), ReadRequest::default()).await;
    assert_eq!(late.code(), "WEIR-NATS-010");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_chooses_messages_and_the_position_moves_behind_the_others_too() {
    let lab = Lab::new("filter").await;
    lab.create().await;
    for id in 0..6 {
        let rest = ["eu.new", "us.new", "eu.old"][id % 3];
        lab.put_ids(rest, id as i64..id as i64 + 1).await;
    }
    let options = json!({"subject": lab.subject("eu.*"), "metadata": ["subject", "sequence", "headers", "timestamp"]});
    let reader = lab.open(options, ReadRequest::default()).await.unwrap();
    let read = drain(reader.as_ref()).await.unwrap();
    assert_eq!(read.ids(), [0, 2, 3, 5]);
    let (batch, _) = &read.batches[0];
    let subjects: Vec<&str> = batch.column_by_name("_subject").unwrap().as_string::<i32>().iter().flatten().collect();
    assert_eq!(subjects, ["eu.new", "eu.old", "eu.new", "eu.old"].map(|rest| lab.subject(rest)));
    assert_eq!(batch.column_by_name("_sequence").unwrap().as_primitive::<Int64Type>().values(), &[1, 3, 4, 6]);
    assert_eq!(batch.column_by_name("_headers").unwrap().null_count(), 4);
    assert_eq!(batch.column_by_name("_timestamp").unwrap().null_count(), 0);
    let none = lab.read(json!({"subject": lab.subject("asia.>"), "columns": {"id": "int64"}}), ReadRequest::default()).await;
    assert_eq!(none.batches.iter().map(|(batch, _)| batch.num_rows()).sum::<usize>(), 0);
    assert_eq!(none.batches.last().unwrap().1, Some(json!({"sequence": 7})));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_chosen_by_name_or_by_subject() {
    let lab = Lab::new("choice").await;
    lab.create().await;
    lab.put_ids("a", 0..1).await;
    let context = |options: Value| SourceContext {
        connection: lab.connection(),
        options,
        on_loss: OnLoss::default(),
        parallelism: 2,
        base_dir: ".".into(),
    };
    let by = async |options: Value| Nats::default().source(context(options)).await.unwrap().streams().await;
    let found = by(json!({"subject": lab.subject("*")})).await.unwrap();
    assert_eq!(found.iter().map(|info| info.name.clone()).collect::<Vec<_>>(), std::slice::from_ref(&lab.name));
    assert_eq!(by(json!({"subject": "nobody.has.this"})).await.unwrap_err().code(), "WEIR-NATS-005");
    assert_eq!(by(json!({"stream": "nowhere"})).await.unwrap_err().code(), "WEIR-NATS-005");
    let queue = Lab::new("queue").await;
    queue.create_with(|config| config.retention = jetstream::stream::RetentionPolicy::WorkQueue).await;
    assert_eq!(by(json!({"stream": queue.name})).await.unwrap_err().code(), "WEIR-NATS-009");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_message_is_a_dead_letter_with_its_sequence_between_the_rows_around_it() {
    let lab = Lab::new("dead").await;
    lab.create().await;
    lab.put("a", &[b"{\"id\": 1}", b"{", b"{\"id\": 3}", b"[]"]).await;
    let options = json!({"columns": {"id": "int64"}, "only_columns": true});
    let source = lab.source(options.clone()).await.unwrap();
    let reader = source.open(ReadRequest { stream: lab.name.clone(), ..ReadRequest::default() }).await.unwrap();
    let read = drain(reader.as_ref()).await.unwrap();
    assert_eq!(read.ids(), [1, 3]);
    let places: Vec<&str> = read.dead.iter().map(|letter| letter.place.as_str()).collect();
    assert_eq!(places, [format!("{} sequence 2", lab.name), format!("{} sequence 4", lab.name)]);
    assert_eq!(read.batches.last().unwrap().1, Some(json!({"sequence": 5})));
    let letter = DeadLetter { payload: b"{\"id\": 2}".to_vec(), ..read.dead[0].clone() };
    let [Event::Batch(batch)] = &source.redecode(&lab.name, &letter).await.unwrap()[..] else { panic!("no row") };
    assert_eq!(ids_of(&batch.records), [2]);
    let [Event::Dead(_)] = &source.redecode(&lab.name, &read.dead[0]).await.unwrap()[..] else { panic!("a row") };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_larger_than_a_portion_and_many_small_ones_all_come_in_order() {
    let lab = Lab::new("sizes").await;
    lab.create().await;
    lab.put_ids("a", 0..20_000).await;
    let large = json!({"id": 20_000, "name": "x".repeat(6 << 20)}).to_string();
    lab.put("a", &[large.as_bytes()]).await;
    lab.put_ids("a", 20_001..20_003).await;
    let options = json!({"columns": {"id": "int64", "name": "text"}, "only_columns": true, "fetch_bytes": 1000});
    let read = lab.read(options, ReadRequest { batch_bytes: 64 << 10, ..ReadRequest::default() }).await;
    assert_eq!(read.ids(), whole(0..20_003));
    assert!(read.batches.len() > 10, "{} batches", read.batches.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_end_the_reader_says_when_it_has_given_everything_and_goes_on() {
    let lab = Lab::new("endless").await;
    lab.create().await;
    lab.put_ids("a", 0..3).await;
    let endless = || ReadRequest { unbounded: true, ..ReadRequest::default() };
    let reader = lab.open(json!({}), endless()).await.unwrap();
    let split = reader.splits().remove(0);
    let mut events = reader.read(&split, None).await.unwrap();
    assert_eq!(until_idle(&mut events).await.unwrap(), (whole(0..3), Some(json!({"sequence": 4}))));
    lab.put_ids("a", 3..5).await;
    let (mut ids, mut position) = until_idle(&mut events).await.unwrap();
    while ids.len() < 2 {
        let more = until_idle(&mut events).await.unwrap();
        ids.extend(more.0);
        position = more.1;
    }
    assert_eq!((ids, &position), (whole(3..5), &Some(json!({"sequence": 6}))));
    assert_eq!(reader.lag(), Some(0));
    drop(events);
    // Another attempt goes on behind what is durable.
    lab.put_ids("a", 5..7).await;
    let progress = vec![SplitProgress { split, position, done: false, rows: 5 }];
    let resume = Some(Resume { reader_state: reader.state(), progress: progress.clone() });
    let again = lab.open(json!({}), ReadRequest { resume, ..endless() }).await.unwrap();
    let mut events = again.read(&again.splits().remove(0), progress[0].position.clone()).await.unwrap();
    assert_eq!(until_idle(&mut events).await.unwrap().0, whole(5..7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_means_one_moment_also_when_the_first_attempt_read_nothing() {
    let lab = Lab::new("moment").await;
    lab.create().await;
    lab.put_ids("a", 0..3).await;
    let options = json!({"start_mode": "latest"});
    let endless = ReadRequest { unbounded: true, ..ReadRequest::default() };
    let reader = lab.open(options.clone(), endless.clone()).await.unwrap();
    let split = reader.splits().remove(0);
    lab.put_ids("a", 3..5).await;
    let resume = Resume {
        reader_state: reader.state(),
        progress: vec![SplitProgress { split: split.clone(), position: None, done: false, rows: 0 }],
    };
    let again = lab.open(options, ReadRequest { resume: Some(resume), ..endless }).await.unwrap();
    let mut events = again.read(&split, None).await.unwrap();
    assert_eq!(until_idle(&mut events).await.unwrap().0, whole(3..5));
}
