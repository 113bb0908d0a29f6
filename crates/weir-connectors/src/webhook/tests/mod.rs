//! The receiver against clients of all kinds.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::StreamExt;
use hmac::Mac;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use weir_connect::{
    Connector, DeadLetter, Event, EventStream, OnLoss, Position, ReadRequest, Result, Source, SourceContext, SplitProgress,
    StreamReader,
};

use super::Webhook;

/// A receiver at work.
struct Lab {
    source: Arc<dyn Source>,
    url: String,
    http: reqwest::Client,
}

/// A port that was free a moment ago.
fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn source(folder: &Path, connection: Value, options: Value) -> Result<Arc<dyn Source>> {
    let connector = Webhook::default();
    connector.validate("source", &connection, &options)?;
    let context = SourceContext { connection, options, on_loss: OnLoss::default(), parallelism: 2, base_dir: folder.to_owned() };
    connector.source(context).await
}

impl Lab {
    async fn new(folder: &Path, mut connection: Value, options: Value) -> Self {
        let port = port();
        connection["listen"] = json!(format!("127.0.0.1:{port}"));
        let source = source(folder, connection, options).await.unwrap();
        Self { source, url: format!("http://127.0.0.1:{port}"), http: reqwest::Client::new() }
    }

    fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url)).body(body)
    }

    async fn open(&self, stream: &str) -> Open {
        let reader = self.source.open(request(stream)).await.unwrap();
        let split = reader.splits().remove(0);
        let events = reader.read(&split, None).await.unwrap();
        Open { reader, events }
    }
}

fn request(stream: &str) -> ReadRequest {
    ReadRequest { stream: stream.into(), unbounded: true, parallelism: 1, ..ReadRequest::default() }
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

struct Open {
    reader: Box<dyn StreamReader>,
    events: EventStream,
}

#[derive(Default)]
struct Got {
    rows: Vec<RecordBatch>,
    dead: Vec<DeadLetter>,
    position: Option<Position>,
}

impl Got {
    fn ids(&self) -> Vec<i64> {
        let of = |batch: &RecordBatch| {
            batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().iter().flatten().collect::<Vec<_>>()
        };
        self.rows.iter().flat_map(of).collect()
    }
}

impl Open {
    /// What is there up to the next moment of quiet, but so many at least.
    async fn take(&mut self, count: usize) -> Got {
        let mut got = Got::default();
        let read = async {
            loop {
                match self.events.next().await.unwrap().unwrap() {
                    Event::Batch(batch) => {
                        got.rows.push(batch.records);
                        got.position = batch.position;
                    }
                    Event::Dead(letter) => got.dead.push(letter),
                    Event::Idle if got.rows.iter().map(RecordBatch::num_rows).sum::<usize>() + got.dead.len() >= count => return,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), read).await.expect("rows were awaited");
        got
    }

    fn progress(&self, position: Option<Position>) -> Vec<SplitProgress> {
        vec![SplitProgress { split: self.reader.splits().remove(0), position, done: false, rows: 0 }]
    }
}

fn ids() -> Value {
    json!({"columns": {"id": "int64"}})
}

fn with(mut options: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        options[name] = value.clone();
    }
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_become_rows_by_what_they_hold_and_by_their_path() {
    let folder = tempfile::tempdir().unwrap();
    let options = json!({
        "paths": {"/orders": "orders", "/hooks/forms": "forms"}, "columns": {"id": "int64"}, "metadata": ["path", "query", "headers", "received_at"],
        "columns_by_path": {"/hooks/forms": {"id": "text"}},
    });
    let lab = Lab::new(folder.path(), json!({}), options).await;
    let mut orders = lab.open("orders").await;
    let mut forms = lab.open("forms").await;
    assert_eq!(
        status(lab.post("/orders", r#"{"id": 1}"#).header("x-own", "ä".as_bytes()).header("authorization", "Bearer x")).await,
        200
    );
    assert_eq!(
        status(lab.post("/orders?a=1&b", r#"[{"id": 2}, {"id": 3}]"#).header("content-type", "application/json")).await,
        200
    );
    assert_eq!(
        status(lab.post("/orders", "{\"id\": 4}\n{\"id\": 5}\n").header("content-type", "application/x-ndjson")).await,
        200
    );
    assert_eq!(status(lab.post("/orders", "{\"id\": ")).await, 200);
    let answer = lab.post("/orders", "[]").send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "{\"stored\":0}\n");
    let form = lab.post("/hooks/forms", "id=a%20b").header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(status(form).await, 200);
    let got = orders.take(6).await;
    assert_eq!(got.ids(), [1, 2, 3, 4, 5]);
    assert_eq!((got.dead[0].code.as_str(), got.dead[0].payload.as_slice()), ("WEIR-FMT-111", b"{\"id\": ".as_slice()));
    let column = |name: &str| {
        let of = |batch: &RecordBatch| {
            batch.column_by_name(name).unwrap().as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        };
        got.rows.iter().flat_map(of).collect::<Vec<_>>()
    };
    assert_eq!(column("_path")[0].as_deref(), Some("/orders"));
    assert_eq!(column("_query"), [None, Some("a=1&b".into()), Some("a=1&b".into()), None, None]);
    let headers: Value = serde_json::from_str(column("_headers")[0].as_deref().unwrap()).unwrap();
    assert_eq!((headers["x-own"].as_str(), headers.get("authorization")), (Some("ä"), None));
    let got = forms.take(1).await;
    assert_eq!(got.rows[0].column_by_name("id").unwrap().as_string::<i32>().value(0), "a b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_wanted_is_refused_with_its_own_status() {
    let folder = tempfile::tempdir().unwrap();
    let connection = json!({"bearer_token": "let me in", "max_body_bytes": 100, "request_timeout_secs": 1});
    let lab = Lab::new(folder.path(), connection, with(ids(), json!({"path": "/in", "methods": ["POST", "PUT"]}))).await;
    let mut open = lab.open("in").await;
    let good = |body: String| lab.post("/in", body).bearer_auth("let me in");
    assert_eq!(status(lab.http.get(format!("{}/healthz", lab.url))).await, 200);
    assert_eq!(status(good("{\"id\": 1}".into())).await, 200);
    assert_eq!(status(lab.http.put(format!("{}/in", lab.url)).bearer_auth("let me in").body("{\"id\": 2}")).await, 200);
    assert_eq!(status(lab.post("/other", "{}").bearer_auth("let me in")).await, 404);
    let get = lab.http.get(format!("{}/in", lab.url)).bearer_auth("let me in").send().await.unwrap();
    assert_eq!((get.status(), get.headers()["allow"].to_str().unwrap()), (StatusCode::METHOD_NOT_ALLOWED, "POST, PUT"));
    for token in ["let me", "let me in!", ""] {
        assert_eq!(status(lab.post("/in", "{\"id\": 9}").bearer_auth(token)).await, 401, "{token}");
    }
    assert_eq!(status(lab.post("/in", "{\"id\": 9}")).await, 401);
    assert_eq!(status(good(format!("{{\"id\": 9, \"x\": \"{}\"}}", "x".repeat(100)))).await, 413);
    // Larger than it says, or of no said length.
    let pieces = futures::stream::iter((0..50).map(|_| Ok::<_, std::io::Error>("0123456789")));
    assert_eq!(status(lab.post("/in", reqwest::Body::wrap_stream(pieces)).bearer_auth("let me in")).await, 413);
    // A body that never comes whole.
    let pieces = futures::stream::iter([Ok::<_, std::io::Error>("{")]).chain(futures::stream::pending());
    assert_eq!(status(lab.post("/in", reqwest::Body::wrap_stream(pieces)).bearer_auth("let me in")).await, 408);
    assert_eq!(open.take(2).await.ids(), [1, 2]);
}

fn signed(secret: &str, body: &str) -> String {
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_signed_requests_are_taken_and_the_header_does_not_reach_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let connection = json!({"signature": {"scheme": "github", "secret": "s3cret"}});
    let lab = Lab::new(folder.path(), connection, with(ids(), json!({"metadata": ["headers"]}))).await;
    let mut open = lab.open("requests").await;
    let body = "{\"id\": 1}";
    for (signature, wanted) in
        [(signed("s3cret", body), 200), (signed("other", body), 401), ("sha256=00".into(), 401), (String::new(), 401)]
    {
        assert_eq!(status(lab.post("/", body).header("x-hub-signature-256", &signature)).await, wanted, "{signature}");
    }
    let got = open.take(1).await;
    assert_eq!(got.ids(), [1]);
    assert!(!format!("{:?}", got.rows).contains("sha256="));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_means_that_it_is_on_the_disk_and_a_delivery_is_taken_once_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let options = with(ids(), json!({"deduplicate": {"header": "Idempotency-Key"}, "inbox": {"path": "in"}}));
    let send = |lab: &Lab, id: i64, key: &str| {
        status(lab.post("/", format!("[{{\"id\": {id}}}, {{\"id\": {}}}]", id + 1)).header("idempotency-key", key))
    };
    let lab = Lab::new(folder.path(), json!({}), options.clone()).await;
    let open = lab.open("requests").await;
    let all = (0..50).flat_map(|n| [(n, n), (n, n)]).map(|(n, key)| send(&lab, n * 2, &format!("k{key}")));
    for answer in futures::future::join_all(all).await {
        // The same delivery at the same moment: it is to come again.
        assert!(answer == 200 || answer == 429, "{answer}");
    }
    drop((open, lab));
    let lab = Lab::new(folder.path(), json!({}), options).await;
    let mut open = lab.open("requests").await;
    for n in 0..51 {
        assert_eq!(send(&lab, n * 2, &format!("k{n}")).await, 200);
    }
    let mut ids = open.take(102).await.ids();
    ids.sort_unstable();
    assert_eq!(ids, (0..102).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_inbox_is_a_429_and_becomes_a_200_when_rows_are_durable() {
    let folder = tempfile::tempdir().unwrap();
    let options = json!({"columns": {"id": "int64", "x": "text"}, "inbox": {"max_bytes": 1 << 20}});
    let lab = Lab::new(folder.path(), json!({"retry_after_secs": 7}), options).await;
    let mut open = lab.open("requests").await;
    let body = |id: i64| format!("{{\"id\": {id}, \"x\": \"{}\"}}", "x".repeat(20_000));
    let mut taken = 0;
    let refused = loop {
        let answer = lab.post("/", body(taken)).send().await.unwrap();
        if answer.status() != StatusCode::OK {
            break answer;
        }
        taken += 1;
    };
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "7"));
    assert!((40..60).contains(&taken), "{taken}");
    let got = open.take(taken as usize).await;
    lab.source.committed("requests", &open.progress(got.position.clone())).await.unwrap();
    assert_eq!(status(lab.post("/", body(taken))).await, 200);
    assert_eq!([got.ids(), open.take(1).await.ids()].concat(), (0..=taken).collect::<Vec<_>>());
    // More rows than an inbox of this size could ever hold.
    let answer = lab.post("/", format!("[{}]", vec!["{}"; 50_000].join(","))).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_is_a_503_and_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::new(folder.path(), json!({}), with(ids(), json!({"deduplicate": {"header": "Key"}}))).await;
    let mut open = lab.open("requests").await;
    weir_connect::__fail::cfg("inbox.write", "1*return").unwrap();
    assert_eq!(status(lab.post("/", "{\"id\": 1}").header("key", "a")).await, 503);
    weir_connect::__fail::remove("inbox.write");
    assert_eq!(status(lab.post("/", "{\"id\": 1}").header("key", "a")).await, 200);
    assert_eq!(status(lab.post("/", "{\"id\": 1}").header("key", "a")).await, 200);
    assert_eq!(open.take(1).await.ids(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_idle_connections_are_cut_off_and_make_room_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::new(folder.path(), json!({"max_connections": 2, "idle_timeout_secs": 1}), ids()).await;
    let mut open = lab.open("requests").await;
    let address = lab.url.strip_prefix("http://").unwrap().to_owned();
    let begun = Instant::now();
    // One says nothing, one sends a byte of its header now and then: both places are taken.
    let silent = TcpStream::connect(&address).unwrap();
    let mut slow = TcpStream::connect(&address).unwrap();
    let dripping = std::thread::spawn(move || {
        slow.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let header = b"POST / HTTP/1.1\r\nhost: x\r\nx-slow: ".iter().chain(std::iter::repeat(&b'x'));
        for (sent, byte) in header.enumerate() {
            // Reading is the clock: it waits a little, or says that the connection is gone.
            let mut answer = [0; 100];
            match slow.read(&mut answer) {
                Ok(0) => return sent,
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Ok(_) | Err(_) => return sent,
            }
            if slow.write_all(&[*byte]).is_err() {
                return sent;
            }
        }
        unreachable!("the header has no end")
    });
    assert_eq!(status(lab.post("/", "{\"id\": 1}")).await, 200);
    assert!(begun.elapsed() >= Duration::from_millis(900) && begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(dripping.join().unwrap() < 200);
    drop(silent);
    assert_eq!(open.take(1).await.ids(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_hangs_up_leaves_all_of_a_request_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::new(folder.path(), json!({}), with(ids(), json!({"deduplicate": {"header": "Key"}}))).await;
    let mut open = lab.open("requests").await;
    let address = lab.url.strip_prefix("http://").unwrap().to_owned();
    for id in 0..100 {
        let body = format!("[{{\"id\": {}}}, {{\"id\": {}}}]", id * 2, id * 2 + 1);
        let mut stream = TcpStream::connect(&address).unwrap();
        let cut = if id % 3 == 0 { body.len() / 2 } else { body.len() };
        write!(stream, "POST / HTTP/1.1\r\nhost: x\r\nkey: {id}\r\ncontent-length: {}\r\n\r\n{}", body.len(), &body[..cut])
            .unwrap();
        drop(stream);
    }
    // Every one of them again, properly; some wait until the first try is through.
    for id in 0..100 {
        let body = format!("[{{\"id\": {}}}, {{\"id\": {}}}]", id * 2, id * 2 + 1);
        while status(lab.post("/", body.clone()).header("key", id.to_string())).await == 429 {}
    }
    let mut ids = open.take(200).await.ids();
    ids.sort_unstable();
    assert_eq!(ids, (0..200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_told_and_a_tenant_opens_none() {
    let folder = tempfile::tempdir().unwrap();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = json!({"listen": held.local_addr().unwrap().to_string()});
    let busy = source(folder.path(), taken.clone(), ids()).await.unwrap();
    let error = busy.open(request("requests")).await.err().unwrap();
    assert_eq!((error.code(), error.retryable()), ("WEIR-WEBHOOK-002", weir_connect::Retry::Transient));
    assert!(!Webhook::default().check(&taken).await.unwrap().ok());
    // Once it is free the same source goes on.
    drop(held);
    let reader = busy.open(request("requests")).await.unwrap();
    assert_eq!(reader.splits().len(), 1);
    drop((reader, busy));
    weir_connect::guard::install(weir_connect::guard::Files::Anywhere, weir_connect::guard::Policy::public_and(&[]).unwrap())
        .unwrap();
    let tenant = source(folder.path(), json!({"listen": "127.0.0.1:18080"}), ids()).await.unwrap();
    assert_eq!(tenant.open(request("requests")).await.err().unwrap().code(), "WEIR-GUARD-004");
}

#[tokio::test]
async fn options_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = json!({"listen": "127.0.0.1:8080"});
    for (connection, options) in [
        (json!({}), json!({})),
        (json!({"listen": "8080"}), json!({})),
        (json!({"listen": "127.0.0.1:8080", "bearer_token": ""}), json!({})),
        (json!({"listen": "127.0.0.1:8080", "max_body_bytes": 2000, "max_buffer_bytes": 1000}), json!({})),
        (json!({"listen": "127.0.0.1:8080", "signature": {"secret": ""}}), json!({})),
        (good.clone(), json!({"path": "orders"})),
        (good.clone(), json!({"path": "/a", "paths": {"/b": "b"}})),
        (good.clone(), json!({"paths": {"/a": "x", "/b": "x"}})),
        (good.clone(), json!({"paths": {"/a": "a"}, "columns_by_path": {"/b": {"id": "int64"}}})),
        (good.clone(), json!({"metadata": ["delivery"]})),
        (good.clone(), json!({"format": "raw", "body": "ndjson"})),
        (good.clone(), json!({"columns": {"id": "no type"}})),
    ] {
        assert!(source(folder.path(), connection.clone(), options.clone()).await.is_err(), "{connection} {options}");
    }
}
