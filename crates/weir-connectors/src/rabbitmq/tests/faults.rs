//! Brokers that go away, and brokers that do not let everybody in.

use weir_connect::guard::{Files, Policy};
use weir_connect::{Kind, Retry};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_gives_what_was_not_acknowledged_again_and_keeps_what_it_confirmed() {
    let mut lab = Lab::at(Server::start().unwrap());
    lab.fill("in", 0..200).await;
    lab.queue("out", FieldTable::default()).await;
    let source = lab.source(with(options("in"), json!({"prefetch": 10}))).await.unwrap();
    let reader = open(source.as_ref(), "in", true).await;
    let split = reader.splits().remove(0);
    let mut events = reader.read(&split, None).await.unwrap();
    let read = drain(&mut events).await.unwrap();
    assert_eq!(read.ids().len(), 200);
    let (batch, position) = &read.batches[0];
    let known = batch.num_rows() as i64;
    source.committed("in", &durable(&split, position.clone())).await.unwrap();
    let sink = lab.sink(json!({}), "out", &plain_schema()).await.unwrap();
    let mut writer = sink.writer(0).await.unwrap();
    writer.write(rows(0..500)).await.unwrap();
    assert_eq!(writer.flush(&barrier()).await.unwrap().rows, 500);
    lab.server.kill_9().unwrap();
    let error = tokio::time::timeout(Duration::from_secs(60), events.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.retryable(), Retry::Transient, "{error:?}");
    let error = source.committed("in", &durable(&split, Some(read.last()))).await.unwrap_err();
    assert_eq!(error.retryable(), Retry::Transient, "{error:?}");
    let written = async {
        writer.write(rows(500..501)).await?;
        writer.flush(&barrier()).await
    };
    assert_eq!(written.await.unwrap_err().retryable(), Retry::Transient);
    let request = ReadRequest { stream: "in".into(), unbounded: true, ..ReadRequest::default() };
    let error = source.open(request).await.err().unwrap();
    assert_eq!((error.kind(), error.retryable()), (Kind::Connect, Retry::Transient), "{error:?}");
    lab.server.restart().unwrap();
    let reader = open(source.as_ref(), "in", true).await;
    let mut events = reader.read(&split, Some(read.last())).await.unwrap();
    let mut again = drain(&mut events).await.unwrap().ids();
    again.sort_unstable();
    // An acknowledgement that the broker had heard may die with it.
    assert!(again.len() as i64 >= 200 - known, "{} of {}", again.len(), 200 - known);
    assert!((known..200).all(|id| again.binary_search(&id).is_ok()), "{again:?}");
    let mut kept: Vec<i64> = lab
        .messages("out")
        .await
        .iter()
        .map(|message| serde_json::from_slice::<Value>(&message.data).unwrap()["id"].as_i64().unwrap())
        .collect();
    kept.sort_unstable();
    assert_eq!(kept, (0..500).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_checked_with_the_name() {
    let lab = Lab::new();
    lab.fill("t", 0..3).await;
    let ca = lab.server.ca_certificate().to_str().unwrap().to_owned();
    let at = |host: &str, more: Value| {
        let connection = json!({"host": host, "port": lab.server.tls_port(), "tls": true, "virtual_host": lab.virtual_host});
        with(connection, more)
    };
    for good in [at("localhost", json!({"ssl_root_cert": ca})), at("127.0.0.1", json!({"verify_tls": false}))] {
        let streams = lab.source_at(good, options("t")).await.unwrap().streams().await.unwrap();
        assert_eq!(streams[0].estimated_rows, Some(3));
    }
    let unknown = lab.source_at(at("localhost", json!({})), options("t")).await.unwrap().streams().await.unwrap_err();
    assert_eq!((unknown.code(), unknown.retryable()), ("WEIR-RABBITMQ-008", Retry::Never), "{unknown:?}");
    let other = at("127.0.0.2", json!({"ssl_root_cert": ca}));
    assert!(lab.source_at(other, options("t")).await.unwrap().streams().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_is_told_what_is_missing() {
    let lab = Lab::new();
    lab.fill("t", 0..3).await;
    let nowhere = with(lab.connection(), json!({"virtual_host": "no such place"}));
    let error = lab.source_at(nowhere, options("t")).await.unwrap().streams().await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-RABBITMQ-005", Kind::NotFound), "{error:?}");
    let user = lab.virtual_host.clone();
    lab.server.api("PUT", &format!("users/{user}"), json!({"password": "sesame", "tags": ""})).unwrap();
    let connection = with(lab.connection(), json!({"user": user, "password": "sesame"}));
    let error = lab.source_at(connection.clone(), options("t")).await.unwrap().streams().await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-RABBITMQ-004", Kind::Privilege), "{error:?}");
    let nothing = json!({"configure": "^$", "write": "^$", "read": "^$"});
    lab.server.api("PUT", &format!("permissions/{}/{user}", lab.virtual_host), nothing).unwrap();
    let error = lab.source_at(connection, json!({"queue": "t"})).await.unwrap().streams().await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-RABBITMQ-004", Kind::Privilege), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_does_not_reach_a_private_address() {
    let lab = Lab::new();
    let place = tempfile::tempdir().unwrap();
    weir_connect::guard::install(Files::Below(place.path().to_owned()), Policy::public_and(&[]).unwrap()).unwrap();
    for host in ["127.0.0.1", "localhost", "2130706433", "::1"] {
        let connection = with(lab.connection(), json!({"host": host}));
        let error = lab.source_at(connection, options("t")).await.unwrap().streams().await.unwrap_err();
        assert!(error.code().starts_with("WEIR-EGRESS"), "{host}: {error}");
    }
}
