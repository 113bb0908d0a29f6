//! Requests that want the server to reach for them: inner addresses, redirects to them, files outside of the tenant's folder. Zero hits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use weir_control::config::Environment;
use weir_store::model::Role;
use weir_testkit::{HttpFixture, Reply};

use crate::abuse::counted;
use crate::harness::{OURS, Server, expect, job};

/// Each of these means this machine, a private network or a metadata service to some parser or resolver.
const INNER: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "127.000.000.001",
    "127.127.127.127",
    "0",
    "0.0.0.0",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "%6c%6f%63alhost",
    "%31%32%37.0.0.1",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "[::ffff:169.254.169.254]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "10.0.0.1",
    "0xa.1",
    "172.16.0.1",
    "192.168.0.1",
    "192.168.257",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[fc00::1]",
    "[ff02::1]",
    "user@127.0.0.1",
    "example.org@127.0.0.1",
    "127.0.0.1\\@example.org",
    "127.0.0.1#@example.org",
    "127.0.0.1?@example.org",
    "127.0.0.1%00.example.org",
];

/// A port of this machine that counts who connects, whatever they would say next.
struct Inner {
    port: u16,
    hits: Arc<AtomicUsize>,
}

impl Inner {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (port, hits) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let counter = hits.clone();
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { port, hits }
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn webhooks_reach_nothing_inside_directly_or_by_a_redirect() {
    let (outer, inner) = (HttpFixture::start().unwrap(), Inner::start().await);
    let port = inner.port;
    let server = Server::start_with(Environment::Production, &[outer.address().to_string()]).await;
    let subscribe = async |url: &str| server.post("/api/v1/subscriptions", &json!({"url": url})).send().await.unwrap().status();
    let mut cases = 0;
    for host in INNER {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}:{port}/");
            let status = subscribe(&url).await;
            // Addresses are refused at once, names when they are resolved.
            let parsed = url::Url::parse(&url).ok();
            let named = parsed.is_some_and(|url| url.domain().is_some() && url.username().is_empty());
            assert!(status.is_client_error() || (named && status == StatusCode::CREATED), "{url}: {status}");
            cases += 1;
        }
    }
    for url in
        ["file:///etc/passwd", "gopher://127.0.0.1:6379/_x", "ftp://127.0.0.1/", "unix:///var/run/docker.sock", "//127.0.0.1/"]
    {
        assert_eq!(subscribe(url).await, StatusCode::BAD_REQUEST, "{url}");
        cases += 1;
    }
    let mut redirects = 0;
    for status in [301, 302, 303, 307, 308] {
        for host in ["127.0.0.1", "localhost", "[::1]", "169.254.169.254"] {
            let path = format!("/to-{redirects}");
            outer.on(&path, Reply::status(status).header("location", format!("http://{host}:{port}/inside")));
            assert_eq!(subscribe(&format!("{}{path}", outer.url())).await, StatusCode::CREATED);
            redirects += 1;
        }
    }
    // An event that all of them are to be told of.
    server.job(OURS, "told").await;
    let stop = CancellationToken::new();
    let events = tokio::spawn(weir_control::events::run(server.platform.clone(), stop.clone()));
    let begin = Instant::now();
    let asked = |outer: &HttpFixture| outer.requests().iter().map(|r| r.path.clone()).collect::<std::collections::BTreeSet<_>>();
    while asked(&outer).len() < redirects {
        assert!(begin.elapsed() < Duration::from_secs(60), "only {} of {redirects} redirects were asked", asked(&outer).len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Whoever would follow does so within this.
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.cancel();
    events.await.unwrap();
    assert_eq!(inner.hits(), 0);
    counted("webhooks to inner addresses", cases + redirects);
    server.stop().await;
}

/// Connectors dial in the guarded process of a run or errand and nowhere else; what that one refuses is tested with the connectors.
#[tokio::test]
async fn the_server_itself_never_dials_what_a_connection_names() {
    let inner = Inner::start().await;
    let port = inner.port;
    let server = Server::start().await;
    let mut cases = 0;
    for (index, host) in INNER.iter().enumerate() {
        let bodies = [
            json!({"name": format!("http{index}"), "kind": "http", "options": {"base_url": format!("http://{host}:{port}/")}}),
            json!({"name": format!("s3-{index}"), "kind": "s3", "options": {"endpoint": format!("http://{host}:{port}"), "bucket": "b"}}),
            json!({"name": format!("pg{index}"), "kind": "postgres", "options": {"host": host, "database": "d", "password": "p"}}),
        ];
        for body in bodies {
            let answer = server.post("/api/v1/connections", &body).send().await.unwrap();
            let status = answer.status();
            let text = answer.text().await.unwrap();
            assert!(status == StatusCode::CREATED || status.is_client_error(), "{body}: {status} {text}");
            cases += 1;
        }
    }
    let page = expect(server.get("/api/v1/connections?limit=3").send().await.unwrap(), StatusCode::OK).await;
    for item in page["items"].as_array().unwrap() {
        let path = format!("/api/v1/connections/{}/test", item["id"].as_str().unwrap());
        let answer = expect(server.post(&path, &json!({})).send().await.unwrap(), StatusCode::OK).await;
        assert_eq!(answer["ok"], false);
        cases += 1;
    }
    assert_eq!(inner.hits(), 0);
    counted("connections to inner addresses", cases);
    server.stop().await;
}

#[tokio::test]
async fn no_path_of_a_pipeline_makes_the_server_read_or_write_a_file() {
    const CANARY: &str = "canary-of-the-file-outside";
    let server = Server::start().await;
    let outside = server.folder.path().join("outside.csv");
    std::fs::write(&outside, CANARY).unwrap();
    let before = names_below(server.folder.path());
    let there = outside.display();
    let paths = [
        "../outside.csv".to_owned(),
        "../../../outside.csv".into(),
        "x/../../../../outside.csv".into(),
        "..\\outside.csv".into(),
        "..%2f..%2foutside.csv".into(),
        "../../../../../../../../etc/passwd".into(),
        "/etc/passwd".into(),
        "//etc/passwd".into(),
        "file:///etc/passwd".into(),
        "/proc/self/environ".into(),
        "/proc/self/fd/0".into(),
        "/dev/zero".into(),
        "~/outside.csv".into(),
        "$HOME/outside.csv".into(),
        "{..,.}/outside.csv".into(),
        "../**/*.csv".into(),
        format!("{there}"),
        format!("file://{there}"),
        format!("{there}.new"),
    ];
    let mut cases = 0;
    for path in &paths {
        for side in ["source", "sink"] {
            let mut body = job("hostile");
            body[side]["connection_params"]["path"] = json!(path);
            for (method, place) in [(Method::POST, "/api/v1/pipelines/validate"), (Method::POST, "/api/v1/jobs")] {
                let answer = server.ask(method, place, OURS, Role::Editor).json(&body).send().await.unwrap();
                let status = answer.status();
                let text = answer.text().await.unwrap();
                assert!(
                    !status.is_server_error() && !text.contains(CANARY) && !text.contains("root:"),
                    "{path}: {status} {text}"
                );
                if status == StatusCode::CREATED {
                    let made: Value = serde_json::from_str(&text).unwrap();
                    let made = format!("/api/v1/jobs/{}", made["id"].as_str().unwrap());
                    expect(server.delete(&made).send().await.unwrap(), StatusCode::NO_CONTENT).await;
                }
                cases += 1;
            }
        }
    }
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), CANARY);
    assert_eq!(names_below(server.folder.path()), before);
    counted("paths of file connectors", cases);
    server.stop().await;
}

/// Names in the folder, without those of the database, which come and go.
fn names_below(folder: &std::path::Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !name.contains(".db") && !name.contains("sqlite")).collect();
    names.sort();
    names
}
