//! What a tenant's process cannot reach. A guard is for the whole process and for good: each test runs in a process of its own (nextest does that).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use weir_connect::guard::Policy;
use weir_connect::{OnLoss, Result, RunIdentity, SchemaChangePolicy, SinkContext, SourceContext, StreamTarget, WriteMode, guard};
use weir_testkit::{HttpFixture, Reply};

use crate::registry::registry;

/// A tenant's folder inside a place that holds somebody else's file.
fn guarded(allow: &[String]) -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("tenant");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("mine.csv"), "id\n1\n").unwrap();
    std::fs::write(place.path().join("theirs.csv"), "id\n2\n").unwrap();
    std::fs::create_dir(place.path().join("tenant-b")).unwrap();
    std::fs::write(place.path().join("tenant-b").join("theirs.csv"), "id\n3\n").unwrap();
    std::os::unix::fs::symlink(place.path().join("theirs.csv"), root.join("link.csv")).unwrap();
    std::os::unix::fs::symlink(place.path(), root.join("up")).unwrap();
    guard::install(&root, Policy::public_and(allow).unwrap()).unwrap();
    (place, root)
}

async fn streams(kind: &str, connection: Value, options: Value, base: &Path) -> Result<usize> {
    let connector = registry().get(kind).unwrap();
    let context = SourceContext { connection, options, on_loss: OnLoss::default(), parallelism: 1, base_dir: base.to_owned() };
    Ok(connector.source(context).await?.streams().await?.len())
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_out_of_the_tenants_folder() {
    let (place, root) = guarded(&[]);
    assert_eq!(streams("file", json!({}), json!({"path": "mine.csv"}), &root).await.unwrap(), 1);
    let outside = place.path().display();
    let spellings = [
        "../theirs.csv".to_owned(),
        "./../theirs.csv".into(),
        "x/../../theirs.csv".into(),
        "mine.csv/../../theirs.csv".into(),
        "..//theirs.csv".into(),
        "../tenant-b/theirs.csv".into(),
        "../../../../../../etc/passwd".into(),
        "/etc/passwd".into(),
        "file:///etc/passwd".into(),
        "file://../theirs.csv".into(),
        "//etc/passwd".into(),
        "/proc/self/environ".into(),
        "/proc/self/root/etc/passwd".into(),
        "/dev/stdin".into(),
        format!("{outside}/theirs.csv"),
        format!("file://{outside}/theirs.csv"),
        format!("{outside}/tenant-b/theirs.csv"),
        format!("{outside}/tenant/../theirs.csv"),
        format!("{outside}/*.csv"),
        "../*.csv".into(),
        "../**/*.csv".into(),
        "{..,.}/theirs.csv".into(),
        "*/../theirs.csv".into(),
        "link.csv".into(),
        "up/theirs.csv".into(),
        "up/*.csv".into(),
        "up/tenant-b/theirs.csv".into(),
        "link*.csv".into(),
    ];
    for path in spellings {
        for connection in [json!({}), json!({"root": "/"}), json!({"root": ".."}), json!({"root": "up"})] {
            let found = streams("file", connection.clone(), json!({"path": path, "format": "csv"}), &root).await;
            // A pattern that matches nothing inside is no leak.
            assert_eq!(found.unwrap_or_default(), 0, "{path} {connection}");
        }
    }
}

#[tokio::test]
async fn a_sink_writes_nowhere_else() {
    let (place, root) = guarded(&[]);
    for path in ["../out.csv", "/tmp/weir-out", "up/out", "up/tenant-b/out", "file:///tmp/out", "x/../../out"] {
        let connector = registry().get("file").unwrap();
        let context = SinkContext {
            connection: json!({}),
            options: json!({"path": path, "format": "csv"}),
            on_loss: OnLoss::default(),
            node: "out".into(),
            parallelism: 1,
            base_dir: root.clone(),
        };
        let made = connector.sink(context).await;
        if let Ok(sink) = made {
            let id = arrow::datatypes::Field::new("id", arrow::datatypes::DataType::Int64, true);
            let target = StreamTarget {
                run: RunIdentity { pipeline: "p".into(), run_id: "r".into() },
                stream: "orders".into(),
                schema: Arc::new(arrow::datatypes::Schema::new(vec![id])),
                key: Vec::new(),
                cursor: None,
                write_mode: WriteMode::Append,
                on_schema_change: SchemaChangePolicy::Evolve,
            };
            assert!(sink.prepare(target).await.is_err(), "{path}");
        }
    }
    let mut left: Vec<String> =
        std::fs::read_dir(place.path()).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    left.sort();
    assert_eq!(left, ["tenant", "tenant-b", "theirs.csv"]);
}

#[tokio::test]
async fn private_addresses_are_refused_in_every_spelling() {
    let inner = HttpFixture::start().unwrap();
    inner.on("/rows", Reply::json(json!([{"id": 1}])));
    let (_place, root) = guarded(&[]);
    let port = inner.address().port();
    for host in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0x7f.1",
        "0",
        "0.0.0.0",
        "127.255.255.254",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:0:0:1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "10.0.0.1",
        "192.168.0.1",
        "172.16.0.1",
        "100.64.0.1",
        "[fd00::1]",
        "[fe80::1]",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "user:pw@127.0.0.1",
        "127.0.0.1%00.example.org",
        "metadata.google.internal",
    ] {
        let connection =
            json!({"base_url": format!("http://{host}:{port}"), "retry_base_ms": 1, "max_retries": 0, "timeout_secs": 5});
        let found = streams("http", connection, json!({"path": "/rows"}), &root).await;
        // What is no address at all is refused before anything is asked.
        let code = found.unwrap_err().code();
        assert!(["WEIR-EGRESS-002", "WEIR-EGRESS-003", "WEIR-HTTP-001", "WEIR-HTTP-002"].contains(&code), "{host}: {code}");
    }
    assert!(inner.requests().is_empty(), "{:?}", inner.requests());
}

#[tokio::test]
async fn a_redirect_or_a_next_page_to_a_private_address_is_refused() {
    let [outer, inner] = [HttpFixture::start().unwrap(), HttpFixture::start().unwrap()];
    inner.on("/rows", Reply::json(json!([{"id": 2}])));
    let there = format!("{}/rows", inner.url());
    outer.on("/rows", Reply::status(302).header("location", there.clone()));
    outer.on("/token", Reply::status(307).header("location", there));
    let (_place, root) = guarded(&[outer.address().to_string()]);
    let connection = json!({"base_url": outer.url(), "retry_base_ms": 1, "max_retries": 0});
    let error = streams("http", connection, json!({"path": "/rows"}), &root).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-EGRESS-002", "{error}");
    assert_eq!(outer.requests().len(), 1);
    assert!(inner.requests().is_empty());
}

#[tokio::test]
async fn databases_and_object_stores_are_behind_the_same_guard() {
    let (_place, root) = guarded(&[]);
    for host in ["127.0.0.1", "localhost", "::1", "/var/run/postgresql", "169.254.169.254"] {
        let connection = json!({"host": host, "port": 5432, "user": "u", "password": "p", "database": "d"});
        let error = streams("postgres", connection, json!({"tables": ["t"]}), &root).await.unwrap_err();
        assert!(["WEIR-EGRESS-002", "WEIR-GUARD-002"].contains(&error.code()), "{host}: {error}");
    }
    for endpoint in ["http://127.0.0.1:9000", "http://169.254.169.254", "http://[::1]:9000"] {
        let connection = json!({"endpoint": endpoint, "bucket": "b", "access_key": "a", "secret_key": "s"});
        let error = streams("s3", connection, json!({"path": "x.csv"}), &root).await.unwrap_err();
        assert_eq!(error.code(), "WEIR-EGRESS-002", "{endpoint}: {error}");
    }
    // The machine's own identity is not the tenant's.
    let error = streams("s3", json!({"bucket": "b"}), json!({"path": "x.csv"}), &root).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-S3-019");
    let connection = json!({"base_url": "https://example.org", "ca_cert": "/etc/hostname"});
    let error = streams("http", connection, json!({"path": "/rows"}), &root).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-GUARD-001");
}

#[tokio::test]
async fn what_is_allowed_works() {
    let inner = HttpFixture::start().unwrap();
    inner.on("/rows", Reply::json(json!([{"id": 1}])));
    let (_place, root) = guarded(&["127.0.0.0/8".into()]);
    let connection = json!({"base_url": inner.url()});
    assert_eq!(streams("http", connection, json!({"path": "/rows"}), &root).await.unwrap(), 1);
}
