//! What comes, what comes again, and when it does not any more.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_acknowledged_comes_again_and_what_was_does_not() {
    let lab = Lab::new("acks");
    let mut first = Following::of(lab.source(json!({})).await).await;
    assert_eq!(first.until_idle().await.unwrap().0, whole(0..0));
    lab.put_ids("a", 0..5).await;
    let (ids, position) = first.until_idle().await.unwrap();
    assert_eq!(ids, whole(0..5));
    drop(first);
    let mut second = Following::of(lab.source(json!({})).await).await;
    // A position of the first session says nothing about the deliveries of the second.
    second.commit(&position).await;
    let (ids, position) = second.until_idle().await.unwrap();
    assert_eq!(ids, whole(0..5));
    // The reader is gone before its rows are durable, as at the end of a run.
    let Following { source, reader, events } = second;
    drop(events);
    let second = Following { source, reader, events: futures::stream::empty().boxed() };
    second.commit(&position).await;
    second.commit(&position).await;
    drop(second);
    // While nobody reads, the session waits for what comes.
    lab.put_ids("b/c", 5..8).await;
    let mut third = Following::of(lab.source(json!({})).await).await;
    assert_eq!(third.until_idle().await.unwrap().0, whole(5..8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_messages_than_are_given_unacknowledged_come_as_acknowledgements_go() {
    // Mosquitto 2.0.11 keeps to the number until the first acknowledgement, and then gives the rest at once.
    for (version, window) in [("v5", 50), ("v3_1_1", 20)] {
        let lab = Lab::new("window");
        let options = json!({"receive_maximum": window, "protocol_version": version});
        let mut reading = Following::of(lab.source(options).await).await;
        assert_eq!(reading.until_idle().await.unwrap().0, whole(0..0));
        lab.put_ids("a", 0..500).await;
        let (mut ids, mut unacknowledged) = (Vec::new(), 0);
        loop {
            match reading.next().await.unwrap() {
                Event::Batch(batch) => {
                    ids.extend(ids_of(&batch.records));
                    unacknowledged += batch.records.num_rows();
                    assert!(ids.len() > window || unacknowledged <= window, "{version}: {unacknowledged} at once");
                    if unacknowledged >= window {
                        reading.commit(&batch.position).await;
                        unacknowledged = 0;
                    }
                }
                // Never while the broker waits for us.
                Event::Idle if ids.len() == 500 => break,
                Event::Idle => assert!(unacknowledged < window, "{version}: idle with {} of 500", ids.len()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(ids, whole(0..500), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_limit_of_ours_the_broker_gives_thousands_before_the_first_acknowledgement() {
    let lab = Lab::new("many");
    let mut reading = Following::of(lab.source(json!({})).await).await;
    assert_eq!(reading.until_idle().await.unwrap().0, whole(0..0));
    drop(reading);
    lab.put_ids("a", 0..5000).await;
    let mut reading = Following::of(lab.source(json!({})).await).await;
    let (ids, position) = reading.until_idle().await.unwrap();
    assert_eq!(ids, whole(0..5000));
    reading.commit(&position).await;
    drop(reading);
    // A session that is taken over at once may be given again what the broker has not got to yet.
    for _ in 0..10 {
        let mut reading = Following::of(lab.source(json!({})).await).await;
        let (again, position) = reading.until_idle().await.unwrap();
        if again.is_empty() {
            return;
        }
        assert_eq!(again, whole(again[0]..5000));
        reading.commit(&position).await;
    }
    panic!("what was acknowledged comes again and again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_ends_takes_what_is_there_and_the_next_one_the_rest() {
    let lab = Lab::new("runs");
    let source = lab.source(json!({"receive_maximum": 10})).await;
    let (read, state) = run(&source, None).await.unwrap();
    assert_eq!(read.ids(), whole(0..0));
    lab.put_ids("a", 0..25).await;
    let (mut ids, mut runs) = (Vec::new(), 0);
    loop {
        let (read, _) = run(&source, state.clone()).await.unwrap();
        runs += 1;
        match read.ids() {
            none if none.is_empty() => break,
            some => ids.extend(some),
        }
    }
    assert_eq!(ids, whole(0..25));
    assert!(runs > 2, "ten are given, and the rest after them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_quality_gives_every_message_while_somebody_reads() {
    for (quality, peer) in [(0, QoS::AtMostOnce), (1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce)] {
        let lab = Lab::new("quality");
        let source = lab.source(json!({"qos": quality, "metadata": ["qos"]})).await;
        let mut reading = Following::of(source).await;
        assert_eq!(reading.until_idle().await.unwrap().0, whole(0..0));
        let texts: Vec<String> = (0..40).map(|id| json!({"id": id}).to_string()).collect();
        // The sender's quality does not matter upwards; with 0 it would not know when the broker has it.
        let sent = if peer == QoS::AtMostOnce { QoS::AtLeastOnce } else { peer };
        lab.put(&lab.topic("a"), &texts, sent, false).await;
        let mut ids = Vec::new();
        while ids.len() < 40 {
            match reading.next().await.unwrap() {
                Event::Batch(batch) => {
                    let qualities = batch.records.column_by_name("_qos").unwrap();
                    let qualities = qualities.as_primitive::<arrow::datatypes::Int32Type>();
                    assert!(qualities.iter().flatten().all(|given| given == quality), "{qualities:?}");
                    ids.extend(ids_of(&batch.records));
                    reading.commit(&batch.position).await;
                }
                Event::Idle => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(ids, whole(0..40));
        drop(reading);
        let again = lab.source(json!({"qos": quality})).await;
        assert_eq!(Following::of(again).await.until_idle().await.unwrap().0, whole(0..0), "quality {quality}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_message_is_a_dead_letter_with_its_topic_and_is_acknowledged_with_the_rows_around_it() {
    let lab = Lab::new("dead");
    let source = lab.source(json!({"metadata": ["topic"]})).await;
    let (_, state) = run(&source, None).await.unwrap();
    lab.put(&lab.topic("x/y"), &["{\"id\": 1}", "{", "{\"id\": 3}", "[]"], QoS::AtLeastOnce, false).await;
    let (read, state) = run(&source, state).await.unwrap();
    assert_eq!(read.ids(), [1, 3]);
    let topics = read.batches[0].0.column_by_name("_topic").unwrap();
    assert_eq!(topics.as_string::<i32>().value(0), lab.topic("x/y"));
    let places: Vec<&str> = read.dead.iter().map(|letter| letter.place.as_str()).collect();
    assert_eq!(places, [2, 4].map(|at| format!("{} delivery {at}", lab.topic("x/y"))));
    let letter = DeadLetter { payload: b"{\"id\": 2}".to_vec(), ..read.dead[0].clone() };
    let [Event::Batch(batch)] = &source.redecode("s", &letter).await.unwrap()[..] else { panic!("no row") };
    assert_eq!(ids_of(&batch.records), [2]);
    let (read, _) = run(&source, state).await.unwrap();
    assert_eq!((read.ids(), read.dead.len()), (whole(0..0), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_retains_shows_the_columns_and_is_read_when_the_session_begins() {
    let lab = Lab::new("retained");
    lab.put(&lab.topic("kitchen"), &["{\"id\": 1, \"at\": \"2026-01-01T00:00:00Z\"}"], QoS::AtLeastOnce, true).await;
    let inferred = json!({"columns": {}, "only_columns": false, "metadata": ["retained"]});
    let source = lab.source(inferred.clone()).await;
    let schema = source.streams().await.unwrap().remove(0).schema;
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "at", "_retained"]);
    let (read, state) = run(&source, None).await.unwrap();
    assert!(read.batches[0].0.column_by_name("_retained").unwrap().as_boolean().value(0));
    assert_eq!(read.ids(), [1]);
    assert_eq!(run(&source, state).await.unwrap().0.ids(), whole(0..0));
    let empty = Lab::new("nothing").source(inferred).await;
    assert_eq!(empty.streams().await.unwrap_err().code(), "WEIR-MSG-001");
    let not = Lab { port: lab.port, name: format!("{}-not", lab.name) };
    let source = not.source(json!({"topic": lab.topic("#"), "retained": false})).await;
    assert_eq!(run(&source, None).await.unwrap().0.ids(), whole(0..0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_come_whole() {
    let lab = Lab::new("large");
    let options = json!({"format": "text", "columns": {}, "only_columns": false});
    let source = lab.source(options).await;
    let (_, state) = run(&source, None).await.unwrap();
    let texts = ["x".repeat(5 << 20), "y".into(), "z".repeat(3 << 20)];
    lab.put(&lab.topic("a"), &texts, QoS::AtLeastOnce, false).await;
    let (read, _) = run(&source, state).await.unwrap();
    let lengths: Vec<usize> = (read.batches.iter())
        .flat_map(|(batch, _)| batch.column(0).as_string::<i32>().iter().flatten().map(str::len).collect::<Vec<_>>())
        .collect();
    assert_eq!(lengths, [5 << 20, 1, 3 << 20]);
}
