//! Servers that go away, and servers that do not let everybody in.

use std::time::Duration;

use arrow::array::{Int64Array, StringArray};
use weir_connect::Kind;
use weir_connect::Retry;
use weir_connect::guard::{Files, Policy};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_is_a_transient_error_and_reading_goes_on_behind_what_was_given() {
    let mut lab = Lab::at(Server::start().unwrap(), "killed");
    let key = lab.key("t");
    lab.fill(&key, 0..50);
    let options = json!({"key": key, "field": "payload"});
    let reader = lab.open(options.clone(), &key, forever()).await.unwrap();
    let split = reader.splits().remove(0);
    let mut events = reader.read(&split, None).await.unwrap();
    let mut position = None;
    loop {
        match events.next().await.unwrap().unwrap() {
            Event::Batch(batch) => position = batch.position,
            Event::Idle => break,
            other => panic!("{other:?}"),
        }
    }
    lab.server.kill_9().unwrap();
    let error = events.next().await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("WEIR-REDIS-002", Retry::Transient), "{error}");
    let refused = lab.open(options.clone(), &key, forever()).await.err().unwrap();
    assert_eq!((refused.kind(), refused.retryable()), (Kind::Connect, Retry::Transient));
    lab.server.restart().unwrap();
    lab.fill(&key, 50..53);
    let again = lab.open(options, &key, forever()).await.unwrap();
    assert_eq!(drain(again.as_ref(), position).await.unwrap().ids(), [50, 51, 52]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_a_flush_has_answered_for_outlive_the_kill_of_the_server() {
    let mut lab = Lab::at(Server::start().unwrap(), "written");
    let key = lab.key("t");
    let ids: Vec<i64> = (0..2000).collect();
    let names: Vec<String> = ids.iter().map(|id| format!("row {id}")).collect();
    let batch =
        RecordBatch::try_new(Arc::new(plain_schema()), vec![Arc::new(Int64Array::from(ids)), Arc::new(StringArray::from(names))]);
    let sink = lab.sink(json!({"max_buffer_bytes": 4096}), &key, &plain_schema()).await.unwrap();
    let mut writer = sink.writer(0).await.unwrap();
    writer.write(batch.unwrap()).await.unwrap();
    assert_eq!(writer.flush(&barrier()).await.unwrap().rows, 2000);
    lab.server.kill_9().unwrap();
    lab.server.restart().unwrap();
    assert_eq!(lab.entries(&key).len(), 2000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_checked_with_the_name() {
    let lab = Lab::new("tls");
    let key = lab.key("t");
    lab.fill(&key, 0..3);
    let options = json!({"key": key, "field": "payload"});
    let ca = lab.server.ca_certificate().to_str().unwrap().to_owned();
    let at = |host: &str, more: Value| {
        let mut connection = json!({"host": host, "port": lab.server.tls_port(), "tls": true});
        connection.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        connection
    };
    for good in [at("localhost", json!({"ssl_root_cert": ca})), at("127.0.0.1", json!({"verify_tls": false}))] {
        let streams = lab.source_at(good, options.clone()).await.unwrap().streams().await.unwrap();
        assert_eq!(streams[0].estimated_rows, Some(3));
    }
    let unknown = lab.source_at(at("localhost", json!({})), options.clone()).await.unwrap().streams().await.unwrap_err();
    assert_eq!((unknown.code(), unknown.retryable()), ("WEIR-REDIS-008", Retry::Never), "{unknown}");
    // The certificate does not name this spelling of the same place.
    let other = at("127.0.0.2", json!({"ssl_root_cert": ca}));
    assert!(lab.source_at(other, options).await.unwrap().streams().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_rights_is_told_which() {
    let lab = Lab::new("acl");
    let key = lab.key("t");
    lab.fill(&key, 0..3);
    let user = lab.name.replace('-', "");
    let rules = ["on", ">sesame", "~none:*", "+@all"];
    redis::cmd("ACL").arg("SETUSER").arg(&user).arg(&rules).query::<()>(&mut lab.plain()).unwrap();
    let connection = json!({"host": "127.0.0.1", "port": lab.server.port(), "user": user, "password": "sesame"});
    let error = lab.source_at(connection, json!({"key": key})).await.unwrap().streams().await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-REDIS-004", Kind::Privilege), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_does_not_reach_a_private_address() {
    let lab = Lab::new("guard");
    let place = tempfile::tempdir().unwrap();
    weir_connect::guard::install(Files::Below(place.path().to_owned()), Policy::public_and(&[]).unwrap()).unwrap();
    for host in ["127.0.0.1", "localhost", "2130706433", "::1"] {
        let connection = json!({"host": host, "port": lab.server.port()});
        let error = lab.source_at(connection, json!({"key": "t"})).await.unwrap().streams().await.unwrap_err();
        assert!(error.code().starts_with("WEIR-EGRESS"), "{host}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_is_given_up() {
    let lab = Lab::new("silent");
    let key = lab.key("t");
    lab.fill(&key, 0..3);
    let proxy = weir_testkit::FaultProxy::to(("127.0.0.1", lab.server.port())).unwrap();
    let connection = json!({"host": "127.0.0.1", "port": proxy.port(), "connect_timeout_secs": 2});
    let source = lab.source_at(connection, json!({"key": key, "field": "payload"})).await.unwrap();
    let reader = source.open(ReadRequest { stream: key, ..forever() }).await.unwrap();
    let mut events = reader.read(&reader.splits()[0], None).await.unwrap();
    while !matches!(events.next().await.unwrap().unwrap(), Event::Idle) {}
    proxy.stall(true);
    let error = tokio::time::timeout(Duration::from_secs(20), events.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("WEIR-REDIS-002", Retry::Transient), "{error}");
}
