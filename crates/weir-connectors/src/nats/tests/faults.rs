//! Messages that are gone, servers that go away, credentials that are wrong.

use weir_connect::{Kind, Resume, Retry, SplitProgress};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_were_purged_before_they_were_read_are_an_error_and_never_a_jump() {
    let lab = Lab::new("loss").await;
    lab.create().await;
    lab.put_ids("a", 0..10).await;
    let first = lab.open(json!({}), ReadRequest { batch_bytes: 40, ..ReadRequest::default() }).await.unwrap();
    let read = drain(first.as_ref()).await.unwrap();
    let position = read.batches[1].1.clone();
    let progress = vec![SplitProgress { split: first.splits().remove(0), position, done: false, rows: 2 }];
    let resume = Some(Resume { reader_state: first.state(), progress });
    let early = ReadRequest { resume, ..ReadRequest::default() };
    lab.put_ids("a", 10..20).await;
    lab.jetstream.get_stream(&lab.name).await.unwrap().purge().sequence(13).await.unwrap();
    let next = || ReadRequest { previous: first.next_state(), ..ReadRequest::default() };
    for request in [next(), early.clone()] {
        let error = lab.read_error(json!({}), request).await;
        assert_eq!((error.code(), error.kind()), ("WEIR-NATS-010", Kind::Conflict));
        assert!(error.to_string().contains("13"), "{error}");
    }
    let earliest = json!({"on_data_loss": "earliest"});
    assert_eq!(lab.read(earliest, next()).await.ids(), whole(12..20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_purged_while_they_are_read_are_found_too() {
    let lab = Lab::new("loss-live").await;
    lab.create().await;
    lab.put_ids("a", 0..30_000).await;
    let declared = json!({"columns": {"id": "int64"}, "only_columns": true, "json": {"extra_keys": "ignore"}, "fetch_bytes": 1});
    let reader = lab.open(declared, ReadRequest { batch_bytes: 1000, ..ReadRequest::default() }).await.unwrap();
    let mut events = reader.read(&reader.splits().remove(0), None).await.unwrap();
    // The reader is full and stands still when the stream is emptied under it.
    let Event::Batch(first) = events.next().await.unwrap().unwrap() else { panic!("no batch") };
    lab.jetstream.get_stream(&lab.name).await.unwrap().purge().await.unwrap();
    let mut ids = ids_of(&first.records);
    let error = loop {
        match events.next().await {
            Some(Ok(Event::Batch(batch))) => ids.extend(ids_of(&batch.records)),
            Some(Err(error)) => break error,
            other => panic!("{other:?} after {} rows", ids.len()),
        }
    };
    assert_eq!(error.code(), "WEIR-NATS-010", "{error}");
    assert_eq!(ids, whole(0..ids.len() as i64));
    assert!(ids.len() < 30_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_were_deleted_one_by_one_are_no_loss() {
    let lab = Lab::new("holes").await;
    lab.create().await;
    lab.put_ids("a", 0..6).await;
    let stream = lab.jetstream.get_stream(&lab.name).await.unwrap();
    for sequence in [3, 6] {
        assert!(stream.delete_message(sequence).await.unwrap());
    }
    assert_eq!(lab.read(json!({}), ReadRequest::default()).await.ids(), [0, 1, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_made_anew_is_not_taken_for_the_old_one() {
    let lab = Lab::new("anew").await;
    lab.create().await;
    lab.put_ids("a", 0..4).await;
    let first = lab.open(json!({}), ReadRequest::default()).await.unwrap();
    assert_eq!(drain(first.as_ref()).await.unwrap().ids(), whole(0..4));
    lab.jetstream.delete_stream(&lab.name).await.unwrap();
    lab.create().await;
    // As many messages as before and more: by the sequences alone nothing would be missing.
    lab.put_ids("a", 100..106).await;
    let next = || ReadRequest { previous: first.next_state(), ..ReadRequest::default() };
    let error = lab.read_error(json!({}), next()).await;
    assert_eq!(error.code(), "WEIR-NATS-010");
    assert!(error.to_string().contains("made again"), "{error}");
    assert_eq!(lab.read(json!({"on_data_loss": "earliest"}), next()).await.ids(), whole(100..106));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_ends_the_read_and_another_one_goes_on_exactly() {
    let mut server = weir_testkit::Nats::start().unwrap();
    let lab = Lab::at(server.url(), "killed").await;
    lab.create().await;
    lab.put_ids("a", 0..5000).await;
    let options = json!({"columns": {"id": "int64"}, "only_columns": true, "json": {"extra_keys": "ignore"}});
    let source = lab.source(options).await.unwrap();
    let request = ReadRequest { stream: lab.name.clone(), unbounded: true, ..ReadRequest::default() };
    let reader = source.open(request.clone()).await.unwrap();
    let split = reader.splits().remove(0);
    let mut events = reader.read(&split, None).await.unwrap();
    let (mut ids, mut position) = until_idle(&mut events).await.unwrap();
    assert_eq!(ids, whole(0..5000));
    server.kill_9().unwrap();
    let error = loop {
        match tokio::time::timeout(Duration::from_secs(60), events.next()).await.unwrap().unwrap() {
            Ok(Event::Batch(batch)) => position = batch.position,
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_ne!(error.retryable(), Retry::Never, "{error}");
    server.restart().unwrap();
    let more = Lab { jetstream: jetstream::new(async_nats::connect(&lab.url).await.unwrap()), ..lab };
    more.put_ids("a", 5000..6000).await;
    // The same source, as the engine does it; its client finds the server again by itself.
    let resume = Resume {
        reader_state: reader.state(),
        progress: vec![SplitProgress { split: split.clone(), position: position.clone(), done: false, rows: 5000 }],
    };
    let again = source.open(ReadRequest { resume: Some(resume), ..request }).await.unwrap();
    let mut events = again.read(&split, position).await.unwrap();
    while ids.len() < 6000 {
        ids.extend(until_idle(&mut events).await.unwrap().0);
    }
    assert_eq!(ids, whole(0..6000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_credentials_opens_and_a_wrong_one_is_told_as_such() {
    let check = async |settings: &str, good: Value, bad: Value| {
        let server = weir_testkit::Nats::start_with(settings).unwrap();
        let with = |mut more: Value| {
            more["servers"] = json!(server.url());
            more
        };
        let report = Nats::default().check(&with(good)).await.unwrap();
        assert!(report.ok(), "{report:?}");
        let report = Nats::default().check(&with(bad.clone())).await.unwrap();
        let failed: Vec<&str> = report.items.iter().filter(|item| !item.ok).map(|item| item.name.as_str()).collect();
        assert_eq!(failed, ["auth"], "{report:?}");
        let secret = bad.as_object().unwrap().values().next_back().unwrap().as_str().unwrap();
        assert!(!format!("{report:?}").contains(secret), "{report:?}");
    };
    let by_password = "authorization { user: weir, password: sesame }\n";
    check(by_password, json!({"user": "weir", "password": "sesame"}), json!({"user": "weir", "password": "wrongpass"})).await;
    check("authorization { token: sesame }\n", json!({"token": "sesame"}), json!({"token": "wrongtoken"})).await;
    let by_key = format!("authorization {{ users: [ {{ nkey: {PUBLIC} }} ] }}\n");
    check(&by_key, json!({"nkey_seed": SEED}), json!({"nkey_seed": OTHER_SEED})).await;
}

/// The nkey of a user whose 32 bytes are all 7, as `nk` would print it.
const SEED: &str = "SUAAOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBZ5FE";
/// Its public key.
const PUBLIC: &str = "UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF";
/// That of 32 times 9.
const OTHER_SEED: &str = "SUAASCIJBEEQSCIJBEEQSCIJBEEQSCIJBEEQSCIJBEEQSCIJBEEQSCKHGM";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_checked_with_its_name() {
    let tls = "tls { cert_file: \"{tls}/server.crt\", key_file: \"{tls}/server.key\", timeout: 5 }\n";
    let server = weir_testkit::Nats::start_with(tls).unwrap();
    let authority = server.authority().unwrap();
    let check = async |host: &str, more: Value| {
        let mut connection = json!({"servers": format!("tls://{host}:{}", server.port())});
        connection.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Nats::default().check(&connection).await.unwrap()
    };
    let trusted = check("localhost", json!({"ssl_root_cert": authority})).await;
    assert!(trusted.ok(), "{trusted:?}");
    let unknown = check("localhost", json!({})).await;
    assert!(!unknown.ok() && format!("{unknown:?}").contains("encrypted"), "{unknown:?}");
    let unchecked = check("localhost", json!({"verify_tls": false})).await;
    assert!(unchecked.ok(), "{unchecked:?}");
    // The certificate names localhost and 127.0.0.1 only.
    let other = check("127.0.0.2", json!({"ssl_root_cert": authority})).await;
    assert!(!other.ok(), "{other:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_may_not_do_is_told_as_that() {
    let settings = "authorization { users: [ { user: weir, password: sesame, permissions: { publish: [\"none\"], subscribe: [\"_INBOX.>\"] } } ] }\n";
    let server = weir_testkit::Nats::start_with(settings).unwrap();
    let connection = json!({"servers": server.url(), "user": "weir", "password": "sesame", "connect_timeout_secs": 2});
    let report = Nats::default().check(&connection).await.unwrap();
    let failed = report.items.iter().find(|item| !item.ok).unwrap();
    assert_eq!(failed.name, "jetstream");
    assert!(failed.detail.contains("may not"), "{failed:?}");
}
