//! Brokers that go away, topics that are not the same any more, credentials that are refused, addresses that must be asked for.

use std::net::{IpAddr, Ipv4Addr};

use pulsar::message::proto::base_command::Type;
use pulsar::message::proto::{BaseCommand, CommandError, ServerError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::codec::Encoder;
use weir_connect::{Kind, guard};

use super::writing::{barrier, batch, prepare};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_anew_is_not_taken_for_the_old_one() {
    let lab = Lab::new("anew");
    lab.put("t", None, ids(0..4)).await;
    let options = json!({"topic": "t"});
    let first = lab.open(options.clone(), "t", ReadRequest::default()).await.unwrap();
    assert_eq!(drain(first.as_ref()).await.unwrap().ids(), [0, 1, 2, 3]);
    lab.admin(reqwest::Method::DELETE, "persistent/{ns}/t?force=true", None).await;
    lab.put("t", None, ids(100..106)).await;
    let next = || ReadRequest { previous: first.next_state(), ..ReadRequest::default() };
    let error = lab.read_error(options, "t", next()).await;
    assert_eq!((error.code(), error.kind()), ("WEIR-PULSAR-010", Kind::Conflict), "{error}");
    let read = lab.read(json!({"topic": "t", "on_data_loss": "earliest"}), "t", next()).await;
    assert_eq!(read.ids(), (100..106).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_unloaded_is_read_and_written_on() {
    let lab = Lab::new("unload");
    lab.put("t", Some(3), ids(0..5)).await;
    let request = ReadRequest { unbounded: true, ..ReadRequest::default() };
    let reader = lab.open(json!({"topic": "t"}), "t", request).await.unwrap();
    let mut events = reader.read(&reader.splits()[0], None).await.unwrap();
    assert_eq!(until_idle(&mut events).await.0, [0, 1, 2, 3, 4]);
    let stream = prepare(&lab, json!({"topic": "t"})).await.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    for round in 1..4 {
        lab.admin(reqwest::Method::PUT, "persistent/{ns}/t/unload", None).await;
        writer.write(batch(round * 5..round * 5 + 5)).await.unwrap();
        writer.flush(&barrier()).await.unwrap();
        let mut more = Vec::new();
        while more.len() < 5 {
            more.extend(until_idle(&mut events).await.0);
        }
        assert_eq!(more, (round * 5..round * 5 + 5).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_in_the_middle_loses_and_doubles_nothing() {
    let mut server = weir_testkit::Pulsar::start().unwrap();
    let lab = Lab::at(&server, "killed");
    // By its number the broker knows a message that is sent again.
    server.set_namespace_flag(&lab.namespace, "deduplication", true).unwrap();
    let stream = prepare(&lab, json!({"topic": "t", "batch_messages": 10, "broker_timeout_secs": 180})).await.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(batch(0..1000)).await.unwrap();
    writer.flush(&barrier()).await.unwrap();
    let options = json!({"topic": "t", "columns": {"id": "int64", "name": "text"}, "broker_timeout_secs": 180});
    let request = ReadRequest { unbounded: true, ..ReadRequest::default() };
    let reader = lab.open(options, "t", request).await.unwrap();
    let mut events = reader.read(&reader.splits()[0], None).await.unwrap();
    let (mut got, _) = until_idle(&mut events).await;
    assert_eq!(got, (0..1000).collect::<Vec<_>>());
    // Handed over, and confirmed or not.
    writer.write(batch(1000..2000)).await.unwrap();
    server.kill_9().unwrap();
    let restarted = tokio::task::spawn_blocking(move || {
        server.restart().unwrap();
        server
    });
    writer.write(batch(2000..3000)).await.unwrap();
    assert_eq!(writer.flush(&barrier()).await.unwrap().rows, 2000);
    while got.len() < 3000 {
        let next = tokio::time::timeout(Duration::from_secs(120), events.next()).await.expect("nothing comes").unwrap().unwrap();
        if let Event::Batch(batch) = next
            && batch.records.num_rows() > 0
        {
            got.extend(ids_of(&batch.records));
        }
    }
    assert_eq!(got, (0..3000).collect::<Vec<_>>());
    let _stops_at_the_end = restarted.await.unwrap();
    assert_eq!(lab.written("t").await, (0..3000).collect::<Vec<_>>());
}

/// A broker that answers every greeting in one way.
pub async fn answering(answer: BaseCommand) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("pulsar://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut size = [0; 4];
            if stream.read_exact(&mut size).await.is_err() {
                // It went away without a word.
                continue;
            }
            let mut frame = vec![0; u32::from_be_bytes(size) as usize];
            stream.read_exact(&mut frame).await.unwrap();
            let mut out = bytes::BytesMut::new();
            pulsar::message::Codec.encode(pulsar::message::Message { command: answer.clone(), payload: None }, &mut out).unwrap();
            stream.write_all(&out).await.unwrap();
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_credentials_are_told_as_such_and_not_shown() {
    let error = CommandError {
        request_id: u64::MAX,
        error: ServerError::AuthenticationError as i32,
        message: "Failed to authenticate".into(),
    };
    let url = answering(BaseCommand { r#type: Type::Error as i32, error: Some(error), ..BaseCommand::default() }).await;
    let report = Pulsar::default().check(&json!({"service_url": url, "token": "s3cr3t"})).await.unwrap();
    let failed: Vec<&str> = report.items.iter().filter(|item| !item.ok).map(|item| item.name.as_str()).collect();
    assert_eq!(failed, ["auth"], "{report:?}");
    assert!(!format!("{report:?}").contains("s3cr3t"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_without_bounds_and_a_server_that_is_none_are_errors() {
    for answer in [&b"\xff\xff\xff\xff"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\x05\0\0\0\x01\xff"] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("pulsar://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(answer).await.unwrap();
                // What it says is not cut off: it waits until the other side has gone.
                let _gone = stream.read_to_end(&mut Vec::new()).await;
            }
        });
        let report = Pulsar::default().check(&json!({"service_url": url, "connect_timeout_secs": 5})).await.unwrap();
        assert!(!report.ok(), "{answer:?}: {report:?}");
        assert!(report.items[0].detail.contains("cannot be understood"), "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_resolved_by_the_guard_and_checks_say_what_works() {
    let lab = Lab::new("guarded");
    lab.put("t", None, ids(0..1)).await;
    let port = lab.url.rsplit_once(':').unwrap().1;
    guard::scripted::name("pulsar.weir.test", [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    let connection = json!({
        "service_url": format!("pulsar://pulsar.weir.test:{port}"), "admin_url": lab.admin, "namespace": lab.namespace,
    });
    let report = Pulsar::default().check(&connection).await.unwrap();
    assert!(report.ok(), "{report:?}");
    assert_eq!(report.items.iter().map(|item| item.name.as_str()).collect::<Vec<_>>(), ["reach", "auth", "topics", "admin"]);
    assert!(guard::scripted::asked("pulsar.weir.test") > 0);
}

#[test]
fn options_of_the_seeds_and_of_seatunnel_are_known_and_contradictions_are_told() {
    let schema = Pulsar::default().descriptor().connection.to_string()
        + &Pulsar::default().descriptor().source.clone().unwrap().to_string();
    for alias in [
        "service-url",
        "admin-url",
        "subscription-name",
        "client.service-url",
        "admin.service-url",
        "subscription.name",
        "topic-pattern",
        "cursor.startup.mode",
        "cursor.startup.timestamp",
        "auth.plugin-class",
        "auth.params",
    ] {
        assert!(schema.contains(&format!("\"{alias}\"")), "{alias}");
    }
    let connection = json!({"service_url": "pulsar://a:6650,b"});
    let wrong = |role: &str, options: Value| Pulsar::default().validate(role, &connection, &options).unwrap_err().code();
    for options in [
        json!({"topic": "a", "topics": ["b"]}),
        json!({"topic": "non-persistent://a/b/c"}),
        json!({"topic": "a", "start_mode": "timestamp"}),
        json!({"topic": "a", "start_mode": "message_id"}),
        json!({"topic": "a", "start_message_ids": ["1:2:3"]}),
        json!({"topic": "a", "read_by": "subscription"}),
        json!({"topic": "a", "subscription_name": "s", "subscription_type": "shared"}),
        json!({"topic": "a", "nonsense": 1}),
    ] {
        assert_eq!(wrong("source", options.clone()), "WEIR-PULSAR-001", "{options}");
    }
    assert_eq!(wrong("sink", json!({"topic": "a", "write_mode": "overwrite"})), "WEIR-PULSAR-001");
    Pulsar::default()
        .validate("source", &connection, &json!({"topic": "a", "start_mode": "TIMESTAMP", "start_timestamp_ms": 5}))
        .unwrap();
    for bad in ["", "http://a:8080", "pulsar://", "pulsar://a:x", "pulsar://a@b:1"] {
        let error = Pulsar::default().validate("connection", &json!({"service_url": bad}), &Value::Null).unwrap_err();
        assert_eq!(error.code(), "WEIR-PULSAR-001", "{bad}");
    }
}
