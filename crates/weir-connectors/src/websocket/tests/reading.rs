//! What messages become, and what is promised about them.

use std::time::Instant;

use arrow::datatypes::{DataType, TimeUnit};
use futures::SinkExt;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use weir_connect::Retry;

use super::server::{Server, heard, say, stay, tick};
use super::*;

/// Sends numbered messages from where the client asks, up to an end, and stays.
async fn counter(end: i64) -> Server {
    Server::start(move |_, mut peer| async move {
        let Some(heard) = heard(&mut peer).await else { return };
        for number in from_of(&heard)..end {
            if !say(&mut peer, tick(number)).await {
                return;
            }
        }
        stay(&mut peer).await;
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_rows_with_positions_that_outlive_everything() {
    let folder = tempfile::tempdir().unwrap();
    let server = counter(100).await;
    let options = quick(json!({"metadata": ["received_at", "sequence", "kind", "number"]}));
    let first = source(folder.path(), json!({"url": server.url()}), options.clone()).await.unwrap();
    assert!(first.capabilities().replayable && first.unbounded());
    let mut open = Open::new(first.clone(), None).await.unwrap();
    let got = open.take(100).await.unwrap();
    assert_eq!(got.ids(), (0..100).collect::<Vec<_>>());
    let schema = got.rows[0].schema();
    let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert_eq!(schema.field_with_name("_received_at").unwrap().data_type(), &moment);
    let column = |name: &str| got.rows[0].column_by_name(name).unwrap().clone();
    assert_eq!(column("_sequence").as_primitive::<Int64Type>().value(0), 0);
    assert_eq!(column("_number").as_primitive::<Int64Type>().value(0), 0);
    assert_eq!(column("_kind").as_string::<i32>().value(0), "text");
    // Nothing was made durable: another attempt reads all of it again.
    let mut again = Open::new(first.clone(), open.resume(None)).await.unwrap();
    assert_eq!(again.take(100).await.unwrap().ids(), got.ids());
    first.committed("feed", &open.progress(got.position.clone())).await.unwrap();
    let resume = open.resume(got.position.clone());
    drop((open, again, first));
    // Another process goes on behind it, and asks the server for what comes next.
    server.connections.store(0, std::sync::atomic::Ordering::SeqCst);
    let more = counter(130).await;
    let second = source(folder.path(), json!({"url": more.url()}), {
        let mut options = options.clone();
        options["inbox"] = json!({"path": inbox_of(folder.path())});
        options
    })
    .await
    .unwrap();
    let mut open = Open::new(second, resume).await.unwrap();
    assert_eq!(open.take(30).await.unwrap().ids(), (100..130).collect::<Vec<_>>());
}

/// The only folder of an inbox.
fn inbox_of(folder: &Path) -> String {
    let mut found = std::fs::read_dir(folder.join(".weir/inbox")).unwrap();
    let only = found.next().unwrap().unwrap().path();
    assert!(found.next().is_none());
    only.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_that_is_gone_or_another_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = counter(10).await;
    let first = source(folder.path(), json!({"url": server.url()}), quick(json!({}))).await.unwrap();
    let mut open = Open::new(first.clone(), None).await.unwrap();
    let position = open.take(10).await.unwrap().position;
    let resume = open.resume(position);
    // Another process, meanwhile.
    let other = source(folder.path(), json!({"url": server.url()}), quick(json!({}))).await.unwrap();
    assert_eq!(Open::new(other, None).await.err().unwrap().code(), "WEIR-INBOX-009");
    drop((open, first));
    std::fs::remove_dir_all(inbox_of(folder.path())).unwrap();
    let anew = source(folder.path(), json!({"url": server.url()}), quick(json!({}))).await.unwrap();
    let error = Open::new(anew, resume).await.err().unwrap();
    assert_eq!((error.code(), error.retryable()), ("WEIR-INBOX-004", Retry::Never));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envelopes_are_opened_and_what_is_no_row_is_a_dead_letter() {
    let server = Server::start(|_, mut peer| async move {
        for message in [
            json!({"type": "subscribed"}),
            json!({"data": [{"id": 1, "price": "x1"}, {"id": 2}]}),
            json!({"data": {"id": 3}}),
            json!({"data": []}),
            json!({"data": {"id": "no number"}}),
        ] {
            say(&mut peer, message).await;
        }
        peer.send(Message::text("{\"data\": [")).await.unwrap();
        peer.send(Message::binary(b"{\"data\": {\"id\": 4}}".to_vec())).await.unwrap();
        stay(&mut peer).await;
    })
    .await;
    for (without_path, dead) in
        [("dead_letter", vec!["WEIR-WS-011", "WEIR-FMT-103", "WEIR-WS-012"]), ("ignore", vec!["WEIR-FMT-103", "WEIR-WS-012"])]
    {
        let folder = tempfile::tempdir().unwrap();
        let options = json!({
            "message_path": "data", "without_path": without_path, "columns": {"id": "int64", "price": "text"}, "metadata": ["kind"],
        });
        let source = source(folder.path(), json!({"url": server.url()}), options).await.unwrap();
        let mut open = Open::new(source, None).await.unwrap();
        let got = open.take(4 + dead.len()).await.unwrap();
        assert_eq!(got.ids(), [1, 2, 3, 4]);
        assert_eq!(got.dead.iter().map(|letter| letter.code.as_str()).collect::<Vec<_>>(), dead);
        assert_eq!(got.dead.last().unwrap().payload, b"{\"data\": [");
        assert!(got.position.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_are_inferred_from_what_is_in_the_inbox() {
    let folder = tempfile::tempdir().unwrap();
    let server = counter(20).await;
    let mut options = quick(json!({}));
    let columns = options.as_object_mut().unwrap().remove("columns").unwrap();
    let blind = source(folder.path(), json!({"url": server.url()}), options.clone()).await.unwrap();
    assert_eq!(blind.streams().await.unwrap_err().code(), "WEIR-MSG-001");
    let mut open =
        Open::new(source(folder.path(), json!({"url": server.url()}), quick(json!({"columns": columns}))).await.unwrap(), None)
            .await
            .unwrap();
    open.take(20).await.unwrap();
    drop(open);
    let seeing = source(folder.path(), json!({"url": server.url()}), options).await.unwrap();
    let info = seeing.streams().await.unwrap().remove(0);
    let names: Vec<&str> = info.schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!((info.name.as_str(), names), ("feed", vec!["seq", "id", "name"]));
    // A preview reads what is there, and ends.
    let request = ReadRequest { stream: "feed".into(), limit: Some(5), parallelism: 1, ..ReadRequest::default() };
    let reader = seeing.open(request).await.unwrap();
    let mut events = reader.read(&reader.splits()[0], None).await.unwrap();
    let mut rows = 0;
    while let Some(event) = events.next().await {
        let Event::Batch(batch) = event.unwrap() else { panic!("not a batch") };
        rows += batch.records.num_rows();
    }
    assert_eq!(rows, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_told_as_the_options_say_and_repetitions_are_dropped() {
    let script = |numbers: &'static [i64]| {
        Server::start(move |_, mut peer| async move {
            for number in numbers {
                say(&mut peer, tick(*number)).await;
            }
            stay(&mut peer).await;
        })
    };
    let folder = tempfile::tempdir().unwrap();
    let server = script(&[1, 2, 2, 1, 3, 7, 8, 3, 9]).await;
    let mut open = Open::new(
        source(folder.path(), json!({"url": server.url()}), quick(json!({"subscribe_message": null}))).await.unwrap(),
        None,
    )
    .await
    .unwrap();
    assert_eq!(open.take(6).await.unwrap().ids(), [1, 2, 3, 7, 8, 9]);
    let folder = tempfile::tempdir().unwrap();
    let options = quick(json!({"subscribe_message": null, "on_gap": "fail"}));
    let source = source(folder.path(), json!({"url": server.url()}), options).await.unwrap();
    let mut open = Open::new(source.clone(), None).await.unwrap();
    assert_eq!(open.take(3).await.unwrap().ids(), [1, 2, 3]);
    let error = open.error().await;
    assert_eq!((error.code(), error.retryable()), ("WEIR-WS-020", Retry::Never));
    assert!(error.what().contains("4 to 6"), "{error}");
    // Whoever runs it again meets the same gap.
    let resume = open.resume(None);
    let mut open = Open::new(source, resume).await.unwrap();
    assert_eq!(open.error().await.code(), "WEIR-WS-020");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_without_rows_leave_no_gap_behind() {
    let server = Server::start(|number, mut peer| async move {
        heard(&mut peer).await;
        let from = i64::from(number > 0) * 3;
        for seq in from..from + 3 {
            let data = if seq % 3 == 2 { json!([]) } else { json!([{"id": seq}]) };
            say(&mut peer, json!({"seq": seq, "data": data})).await;
        }
        stay(&mut peer).await;
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let options = || quick(json!({"message_path": "data", "on_gap": "fail", "columns": {"id": "int64"}}));
    let mut open = Open::new(source(folder.path(), json!({"url": server.url()}), options()).await.unwrap(), None).await.unwrap();
    let got = open.take(2).await.unwrap();
    let view = || crate::inbox::Inbox::view(Path::new(&inbox_of(folder.path())), "feed").unwrap().unwrap().end();
    weir_testkit::wait_until("the marker is on the disk", Duration::from_secs(20), || view() == 3).unwrap();
    let resume = open.resume(got.position);
    drop(open);
    let mut open =
        Open::new(source(folder.path(), json!({"url": server.url()}), options()).await.unwrap(), resume).await.unwrap();
    assert_eq!(open.take(2).await.unwrap().ids(), [3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_taken_no_faster_than_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let server = counter(40).await;
    let options = quick(json!({"rate_limit_per_second": 100.0}));
    let begun = Instant::now();
    let mut open = Open::new(source(folder.path(), json!({"url": server.url()}), options).await.unwrap(), None).await.unwrap();
    assert_eq!(open.take(40).await.unwrap().ids().len(), 40);
    assert!(begun.elapsed() >= Duration::from_millis(380), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_inbox_slows_the_server_down_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // 6 MB through an inbox of 1 MiB.
    let server = Server::start(|_, mut peer| async move {
        let Some(heard) = heard(&mut peer).await else { return };
        for number in from_of(&heard)..600 {
            let mut message = tick(number);
            message["name"] = json!("x".repeat(10_000));
            if !say(&mut peer, message).await {
                return;
            }
        }
        stay(&mut peer).await;
    })
    .await;
    let options = quick(json!({"inbox": {"max_bytes": 1 << 20}, "on_gap": "fail"}));
    let source = source(folder.path(), json!({"url": server.url()}), options).await.unwrap();
    let mut open = Open::new(source.clone(), None).await.unwrap();
    let mut ids = Vec::new();
    while ids.len() < 600 {
        let got = open.take(1).await.unwrap();
        ids.extend(got.ids());
        let held: u64 = std::fs::read_dir(Path::new(&inbox_of(folder.path())).join("feed"))
            .unwrap()
            .filter_map(|file| Some(file.ok()?.metadata().ok()?.len()))
            .sum();
        assert!(held <= (1 << 20) + 4096, "{held}");
        source.committed("feed", &open.progress(got.position)).await.unwrap();
    }
    assert_eq!(ids, (0..600).collect::<Vec<_>>());
    assert_eq!(server.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_refuse_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let answer = |status: &'static str| {
        Server::raw(move |_, mut stream| async move {
            let mut request = [0; 2048];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\nnope").as_bytes()).await;
        })
    };
    for (status, code, retry) in [
        ("401 Unauthorized", "WEIR-WS-004", Retry::Never),
        ("403 Forbidden", "WEIR-WS-004", Retry::Never),
        ("404 Not Found", "WEIR-WS-005", Retry::Never),
        ("301 Moved Permanently", "WEIR-WS-005", Retry::Never),
        ("200 OK", "WEIR-WS-005", Retry::Never),
        ("503 Service Unavailable", "WEIR-WS-002", Retry::Transient),
    ] {
        let server = answer(status).await;
        let options = quick(json!({"reconnect_config": {"max_attempts": 2, "initial_delay_ms": 1, "max_delay_ms": 1}}));
        let mut open =
            Open::new(source(folder.path(), json!({"url": server.url()}), options).await.unwrap(), None).await.unwrap();
        let error = open.error().await;
        assert_eq!((error.code(), error.retryable()), (code, retry), "{status}: {error}");
        assert_eq!(server.connections(), if retry == Retry::Never { 1 } else { 3 }, "{status}");
    }
    // A subprotocol that is not spoken there, and nobody there at all.
    let server = counter(1).await;
    let connection = json!({"url": server.url(), "subprotocols": ["graphql-ws"]});
    let mut open = Open::new(source(folder.path(), connection.clone(), quick(json!({}))).await.unwrap(), None).await.unwrap();
    assert_eq!(open.error().await.code(), "WEIR-WS-006");
    let report = Websocket::default().check(&connection).await.unwrap();
    assert!(!report.ok());
    assert!(Websocket::default().check(&json!({"url": server.url()})).await.unwrap().ok());
    let nobody = Websocket::default().check(&json!({"url": "ws://127.0.0.1:1/x"})).await.unwrap();
    assert!(nobody.items[0].detail.contains("cannot be reached"), "{:?}", nobody.items);
}

#[tokio::test]
async fn options_that_cannot_be_are_refused_before_anything_is_connected() {
    let folder = tempfile::tempdir().unwrap();
    let url = json!({"url": "ws://127.0.0.1:1/x"});
    for (connection, options) in [
        (json!({"url": "http://h/x"}), json!({})),
        (json!({"url": "nonsense"}), json!({})),
        (json!({"url": "wss://user:password@h/x"}), json!({})),
        (url.clone(), json!({"on_gap": "fail"})),
        (url.clone(), json!({"on_gap": "resubscribe", "sequence_field": "seq", "subscribe_message": "all"})),
        (url.clone(), json!({"subscribe_message": 7})),
        (url.clone(), json!({"rate_limit_per_second": 0})),
        (url.clone(), json!({"heartbeat": {"answer": "pong"}})),
        (url.clone(), json!({"reconnect_config": {"backoff_multiplier": 0.5}})),
        (url.clone(), json!({"inbox": {"max_bytes": 1000}})),
        (url.clone(), json!({"format": "raw", "columns": {"id": "int64"}})),
        (url.clone(), json!({"no_such": 1})),
    ] {
        let refused = source(folder.path(), connection.clone(), options.clone()).await.err();
        assert!(refused.is_some_and(|error| error.kind() == weir_connect::Kind::Spec), "{connection} {options}");
    }
    let seeds = json!({"url": "wss://api.example.com/ws/ticks", "headers": {"Authorization": "Bearer x"}});
    let options = json!({
        "format": "json", "reconnect_config": {"max_attempts": 10, "initial_delay_ms": 1000, "max_delay_ms": 30000, "backoff_multiplier": 2.0},
        "heartbeat": {"interval_ms": 30000, "timeout_ms": 10000}, "rate_limit_per_second": 1000,
    });
    assert!(source(folder.path(), seeds, options).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_reaches_no_private_address_and_its_inbox_stays_in_its_folder() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("tenant");
    std::fs::create_dir(&root).unwrap();
    let server = counter(3).await;
    weir_connect::guard::install(
        weir_connect::guard::Files::Below(root.clone()),
        weir_connect::guard::Policy::public_and(&[]).unwrap(),
    )
    .unwrap();
    let mut open = Open::new(source(&root, json!({"url": server.url()}), quick(json!({}))).await.unwrap(), None).await.unwrap();
    assert_eq!(open.error().await.code(), "WEIR-EGRESS-002");
    weir_connect::guard::scripted::name("inside.example.org", ["127.0.0.1".parse().unwrap()]);
    let url = format!("ws://inside.example.org:{}/other", server.port);
    let mut open = Open::new(source(&root, json!({"url": url}), quick(json!({}))).await.unwrap(), None).await.unwrap();
    assert_eq!(open.error().await.code(), "WEIR-EGRESS-002");
    assert_eq!(server.connections(), 0);
    let outside =
        source(&root, json!({"url": server.url()}), quick(json!({"inbox": {"path": "../theirs"}}))).await.err().unwrap();
    assert_eq!(outside.code(), "WEIR-INBOX-002");
}
