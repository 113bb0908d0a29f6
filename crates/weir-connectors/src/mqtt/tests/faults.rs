//! Brokers that go away or forget, credentials that are wrong.

use std::collections::BTreeSet;

use weir_connect::{Kind, Retry};
use weir_testkit::Mosquitto;
use weir_testkit::mqtt::{Door, PASSWORD, USER};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_in_the_middle_loses_nothing_that_it_had_saved() {
    let mut broker = Mosquitto::start(Door::Open).unwrap();
    let lab = Lab::at(broker.port(), "killed");
    let source = lab.source(json!({"receive_maximum": 100})).await;
    let mut reading = Following::of(source.clone()).await;
    assert_eq!(reading.until_idle().await.unwrap().0, whole(0..0));
    drop(reading);
    lab.put_ids("a", 0..1000).await;
    broker.save().unwrap();
    let mut seen: BTreeSet<i64> = BTreeSet::new();
    let mut reading = Following::of(source.clone()).await;
    while seen.len() < 300 {
        if let Event::Batch(batch) = reading.next().await.unwrap() {
            seen.extend(ids_of(&batch.records));
            reading.commit(&batch.position).await;
        }
    }
    broker.kill_9().unwrap();
    let error = loop {
        match reading.next().await {
            Ok(Event::Batch(batch)) => reading.commit(&batch.position).await,
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_ne!(error.retryable(), Retry::Never, "{error}");
    // Nobody is there: another try may help, and so it says.
    let down = Following::with(source.clone(), ReadRequest::default()).await.err().unwrap();
    assert_eq!(down.code(), "WEIR-MQTT-002");
    assert_ne!(down.retryable(), Retry::Never, "{down}");
    broker.restart().unwrap();
    let mut reading = Following::of(source).await;
    let mut again = 0;
    while again < 1000 && !(seen.len() == 1000 && again >= 700) {
        if let Event::Batch(batch) = reading.next().await.unwrap() {
            again += batch.records.num_rows();
            seen.extend(ids_of(&batch.records));
            reading.commit(&batch.position).await;
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), whole(0..1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_broker_has_forgotten_is_an_error_until_it_is_accepted() {
    for version in ["v5", "v3_1_1"] {
        let lab = Lab::new("forgotten");
        let options = json!({"protocol_version": version});
        let (_, state) = run(&lab.source(options.clone()).await, None).await.unwrap();
        // Somebody takes the session away.
        let mut thief = rumqttc::MqttOptions::new(lab.name.clone(), "127.0.0.1", lab.port);
        thief.set_clean_session(true);
        let (client, mut events) = rumqttc::AsyncClient::new(thief, 10);
        while !matches!(events.poll().await.unwrap(), rumqttc::Event::Incoming(rumqttc::Packet::ConnAck(_))) {}
        client.disconnect().await.unwrap();
        while events.poll().await.is_ok() {}
        lab.put_ids("a", 0..3).await;
        for _ in 0..2 {
            let error = run(&lab.source(options.clone()).await, state.clone()).await.err().unwrap();
            assert_eq!((error.code(), error.kind()), ("WEIR-MQTT-010", Kind::Conflict), "{version}");
        }
        let accepted = lab.source(json!({"protocol_version": version, "on_data_loss": "earliest"})).await;
        assert_eq!(run(&accepted, state.clone()).await.unwrap().0.ids(), whole(0..0));
        lab.put_ids("a", 3..5).await;
        assert_eq!(run(&lab.source(options).await, state).await.unwrap().0.ids(), whole(3..5), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_larger_than_allowed_ends_the_read_and_stays_at_the_broker() {
    let lab = Lab::new("too-large");
    let text = json!({"format": "text", "columns": {}, "only_columns": false});
    let small = json!({"format": "text", "columns": {}, "only_columns": false, "max_message_bytes": 1000});
    let (_, state) = run(&lab.source(text.clone()).await, None).await.unwrap();
    lab.put(&lab.topic("a"), &["x".repeat(2000)], QoS::AtLeastOnce, false).await;
    let error = run(&lab.source(small).await, state.clone()).await.err().unwrap();
    assert!(error.to_string().contains("max_message_bytes") || format!("{error:?}").contains("max_message_bytes"), "{error:?}");
    assert_eq!(error.retryable(), Retry::Never);
    assert_eq!(run(&lab.source(text).await, state).await.unwrap().0.batches[0].0.num_rows(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_proved_and_a_wrong_one_is_told_as_such() {
    let broker = Mosquitto::start(Door::Password).unwrap();
    for version in ["v5", "v3_1_1"] {
        let check = async |password: &str| {
            let connection = json!({
                "host": "127.0.0.1", "port": broker.port(), "user": USER, "password": password, "protocol_version": version,
            });
            Mqtt::default().check(&connection).await.unwrap()
        };
        let good = check(PASSWORD).await;
        assert!(good.ok(), "{good:?}");
        let bad = check("wrongpass").await;
        let failed: Vec<&str> = bad.items.iter().filter(|item| !item.ok).map(|item| item.name.as_str()).collect();
        assert_eq!(failed, ["auth"], "{bad:?}");
        assert!(!format!("{bad:?}").contains("wrongpass"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_checked_with_its_name() {
    let broker = Mosquitto::start(Door::Tls).unwrap();
    let authority = broker.authority().unwrap();
    let check = async |host: &str, more: Value| {
        let mut connection = json!({"host": host, "port": broker.port(), "tls": true});
        connection.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Mqtt::default().check(&connection).await.unwrap()
    };
    let trusted = check("localhost", json!({"ssl_root_cert": authority})).await;
    assert!(trusted.ok(), "{trusted:?}");
    let unknown = check("localhost", json!({})).await;
    assert!(!unknown.ok() && format!("{unknown:?}").contains("encrypted"), "{unknown:?}");
    let unchecked = check("localhost", json!({"verify_tls": false})).await;
    assert!(unchecked.ok(), "{unchecked:?}");
    // 127.0.0.1 is in the certificate, and another name for it is not.
    let named = check("127.0.0.1", json!({"ssl_root_cert": authority})).await;
    assert!(named.ok(), "{named:?}");
}

#[test]
fn a_reader_without_a_name_of_its_own_is_refused() {
    let connection = json!({"host": "b"});
    let of = |options: Value| Mqtt::default().validate("source", &connection, &options).map_err(|error| error.code());
    assert_eq!(of(json!({"topic": "a"})), Err("WEIR-MQTT-001"));
    assert_eq!(of(json!({"client_id": "c"})), Err("WEIR-MQTT-001"));
    assert_eq!(of(json!({"topic": "a/#/b", "client_id": "c"})), Err("WEIR-MQTT-001"));
    assert_eq!(of(json!({"topic": "a/#", "client_id": "c", "qos": 3})), Err("WEIR-MQTT-001"));
    assert_eq!(of(json!({"topic": "a/#", "client_id": "c"})), Ok(()));
}
