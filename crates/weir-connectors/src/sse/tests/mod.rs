//! The connector against servers that are kind, and servers that are not.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use weir_connect::{
    Connector, DeadLetter, Error, Event, EventStream, OnLoss, Position, ReadRequest, Result, Resume, Retry, Source,
    SourceContext, Split, SplitProgress, StreamReader,
};

use super::Sse;

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\r\n";

/// Answers each request as the test says: with its number, and the id that the client knows last.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<Option<String>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start<F, W>(script: F) -> Self
    where
        F: Fn(usize, Option<String>, TcpStream) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
        let (script, noted, count) = (Arc::new(script), asked.clone(), AtomicUsize::new(0));
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, noted, number) = (script.clone(), noted.clone(), count.fetch_add(1, Ordering::SeqCst));
                open.spawn(async move {
                    let mut reader = BufReader::new(stream);
                    let mut id = None;
                    loop {
                        let mut line = String::new();
                        if reader.read_line(&mut line).await.unwrap_or(0) <= 2 {
                            break;
                        }
                        if let Some(value) = line.to_lowercase().strip_prefix("last-event-id:") {
                            id = Some(value.trim().to_owned());
                        }
                    }
                    noted.lock().unwrap().push(id.clone());
                    script(number, id, reader.into_inner()).await;
                });
            }
        });
        Self { port, asked, task }
    }

    fn connection(&self) -> Value {
        json!({"url": format!("http://127.0.0.1:{}/feed?token=x", self.port)})
    }

    fn asked(&self) -> Vec<Option<String>> {
        self.asked.lock().unwrap().clone()
    }
}

async fn hold(stream: TcpStream) {
    let _open = stream;
    std::future::pending::<()>().await;
}

async fn source(folder: &Path, connection: Value, options: Value) -> Result<Arc<dyn Source>> {
    let connector = Sse::default();
    connector.validate("source", &connection, &options)?;
    let context = SourceContext { connection, options, on_loss: OnLoss::default(), parallelism: 2, base_dir: folder.to_owned() };
    connector.source(context).await
}

struct Open {
    source: Arc<dyn Source>,
    reader: Box<dyn StreamReader>,
    split: Split,
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

    fn count(&self) -> usize {
        self.rows.iter().map(RecordBatch::num_rows).sum::<usize>() + self.dead.len()
    }
}

impl Open {
    async fn new(source: Arc<dyn Source>, resume: Option<Resume>) -> Result<Self> {
        let from = resume.as_ref().and_then(|resume| resume.progress.first()?.position.clone());
        let request = ReadRequest { stream: "feed".into(), unbounded: true, resume, parallelism: 1, ..ReadRequest::default() };
        let reader = source.open(request).await?;
        let split = reader.splits().remove(0);
        let events = reader.read(&split, from).await?;
        Ok(Self { source, reader, split, events })
    }

    async fn take(&mut self, count: usize) -> Result<Got> {
        let mut got = Got::default();
        let read = async {
            while got.count() < count || got.position.is_none() {
                match self.events.next().await.expect("a stream without end does not end")? {
                    Event::Batch(batch) => {
                        got.rows.push(batch.records);
                        got.position = batch.position;
                    }
                    Event::Dead(letter) => {
                        got.dead.push(letter);
                        got.position = None;
                    }
                    Event::Idle => {}
                    other => panic!("{other:?}"),
                }
            }
            Ok(())
        };
        let read = tokio::time::timeout(Duration::from_secs(60), read).await;
        read.unwrap_or_else(|_| panic!("{count} were awaited")).map(|()| got)
    }

    async fn error(&mut self) -> Error {
        let read = async {
            loop {
                if let Err(error) = self.events.next().await.expect("a stream without end does not end") {
                    return error;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), read).await.expect("an error was awaited")
    }

    fn resume(&self, position: Option<Position>) -> Option<Resume> {
        let progress = vec![SplitProgress { split: self.split.clone(), position, done: false, rows: 0 }];
        Some(Resume { reader_state: self.reader.state(), progress })
    }
}

fn quick(more: Value) -> Value {
    let mut options = json!({
        "columns": {"id": "int64"}, "inbox": {"path": "in"},
        "reconnect_config": {"max_attempts": 3, "initial_delay_ms": 1, "max_delay_ms": 2, "jitter": 0},
    });
    for (name, value) in more.as_object().unwrap() {
        options[name] = value.clone();
    }
    options
}

fn tick(id: usize) -> String {
    format!("id: {id}\ndata: {{\"id\": {id}}}\n\n")
}

/// Gives what comes behind the id that the client knows, a few events per connection, and breaks off in the middle of one.
async fn few(number: usize, id: Option<String>, mut stream: TcpStream, last: usize) {
    let from = id.map_or(0, |id| id.parse::<usize>().unwrap() + 1);
    let _ = stream.write_all(HEAD.as_bytes()).await;
    for id in from..(from + number % 4).min(last) {
        let _ = stream.write_all(tick(id).as_bytes()).await;
    }
    if from >= last {
        return hold(stream).await;
    }
    let half = tick(from + number % 4);
    let _ = stream.write_all(&half.as_bytes()[..half.len() - 1 - number % 7]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_once_over_connections_that_break_and_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|number, id, stream| few(number, id, stream, 300)).await;
    let mut open = Open::new(source(folder.path(), server.connection(), quick(json!({}))).await.unwrap(), None).await.unwrap();
    let got = open.take(150).await.unwrap();
    let taken = got.ids().len();
    open.source.committed("feed", &open.resume(got.position.clone()).unwrap().progress).await.unwrap();
    let resume = open.resume(got.position.clone());
    drop(open);
    let mut open = Open::new(source(folder.path(), server.connection(), quick(json!({}))).await.unwrap(), resume).await.unwrap();
    let rest = open.take(300 - taken).await.unwrap();
    assert_eq!([got.ids(), rest.ids()].concat(), (0..300).collect::<Vec<_>>());
    let asked = server.asked();
    assert!(asked[0].is_none() && asked.len() > 100, "{} connections", asked.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_and_ids_are_columns_and_filters_and_broken_events_are_dead_letters() {
    let stream = "\u{feff}event: price\rid: a\rdata: {\"id\": 1}\r\rdata: {\"id\":\r\ndata: 2}\r\n\r\nevent: other\ndata: {\"id\": 3}\n\n: comment\n\nevent: price\ndata: garbage\n\nid: z\n\n";
    let script = move |number: usize, _, mut peer: TcpStream| async move {
        let _ = peer.write_all(HEAD.as_bytes()).await;
        if number == 0 {
            let _ = peer.write_all(stream.as_bytes()).await;
            let _ = peer.write_all(format!("event: price\ndata: {}\n\n", "x".repeat(2000)).as_bytes()).await;
            return;
        }
        hold(peer).await;
    };
    let server = Server::start(script).await;
    let folder = tempfile::tempdir().unwrap();
    let options = quick(json!({"metadata": ["event", "id"], "max_message_bytes": 1000}));
    let mut open = Open::new(source(folder.path(), server.connection(), options).await.unwrap(), None).await.unwrap();
    let got = open.take(5).await.unwrap();
    assert_eq!(got.ids(), [1, 2, 3]);
    let column = |name: &str| {
        let of = |batch: &RecordBatch| {
            batch.column_by_name(name).unwrap().as_string::<i32>().iter().map(|text| text.unwrap().to_owned()).collect::<Vec<_>>()
        };
        got.rows.iter().flat_map(of).collect::<Vec<_>>()
    };
    assert_eq!(
        (column("_event"), column("_id")),
        (vec!["price".into(), "message".into(), "other".into()], vec!["a".to_owned(); 3])
    );
    assert_eq!(got.dead.iter().map(|letter| letter.code.as_str()).collect::<Vec<_>>(), ["WEIR-FMT-111", "WEIR-SSE-010"]);
    drop(open);
    let server = Server::start(script).await;
    let folder = tempfile::tempdir().unwrap();
    let options = quick(json!({"events": ["other"]}));
    let mut open = Open::new(source(folder.path(), server.connection(), options).await.unwrap(), None).await.unwrap();
    assert_eq!(open.take(1).await.unwrap().ids(), [3]);
    // The id of events that are no rows is remembered as well.
    weir_testkit::wait_until("the second request", Duration::from_secs(20), || server.asked().len() == 2).unwrap();
    assert_eq!(server.asked()[1].as_deref(), Some("z"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_is_made_again_and_the_server_sets_the_pause() {
    let server = Server::start(|number, _, mut stream| async move {
        let _ = stream.write_all(HEAD.as_bytes()).await;
        let _ = stream.write_all(format!("retry: 2\n{}", tick(number)).as_bytes()).await;
        hold(stream).await;
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let slow = json!({"max_attempts": 1, "initial_delay_ms": 3_600_000, "max_delay_ms": 3_600_000});
    let options = quick(json!({"idle_timeout_ms": 50, "reconnect_config": slow}));
    let mut open = Open::new(source(folder.path(), server.connection(), options).await.unwrap(), None).await.unwrap();
    assert_eq!(open.take(3).await.unwrap().ids(), [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_refuse_are_told_apart() {
    for (head, code, retry) in [
        ("401 Unauthorized", "WEIR-SSE-003", Retry::Never),
        ("403 Forbidden", "WEIR-SSE-003", Retry::Never),
        ("404 Not Found", "WEIR-SSE-004", Retry::Never),
        ("307 Temporary Redirect\r\nlocation: /elsewhere", "WEIR-SSE-004", Retry::Never),
        ("204 No Content", "WEIR-SSE-005", Retry::Never),
        ("200 OK\r\ncontent-type: application/json", "WEIR-SSE-004", Retry::Never),
        ("503 Service Unavailable", "WEIR-SSE-004", Retry::Transient),
        ("503 Service Unavailable\r\nretry-after: 0", "WEIR-SSE-004", Retry::Transient),
    ] {
        let server = Server::start(move |_, _, mut stream| async move {
            let _ =
                stream.write_all(format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let mut open =
            Open::new(source(folder.path(), server.connection(), quick(json!({}))).await.unwrap(), None).await.unwrap();
        let error = open.error().await;
        assert_eq!((error.code(), error.retryable()), (code, retry), "{head}: {error}");
        assert!(!error.to_string().contains("token=x"), "{error}");
        assert_eq!(server.asked().len(), if retry == Retry::Never { 1 } else { 4 }, "{head}");
    }
    let nobody = Sse::default().check(&json!({"url": "http://127.0.0.1:1/x"})).await.unwrap();
    assert!(!nobody.ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_reaches_no_private_address() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _, stream| hold(stream)).await;
    let policy = weir_connect::guard::Policy::public_and(&[]).unwrap();
    weir_connect::guard::install(weir_connect::guard::Files::Below(folder.path().to_owned()), policy).unwrap();
    weir_connect::guard::scripted::name("inside.example.org", ["127.0.0.1".parse().unwrap()]);
    for host in ["127.0.0.1", "inside.example.org"] {
        let connection = json!({"url": format!("http://{host}:{}/feed", server.port)});
        let mut open = Open::new(source(folder.path(), connection, quick(json!({"inbox": {"path": host}}))).await.unwrap(), None)
            .await
            .unwrap();
        assert_eq!(open.error().await.code(), "WEIR-EGRESS-002", "{host}");
    }
    assert!(server.asked().is_empty());
}
