//! What a tenant's process cannot reach. A guard is for the whole process and for good: each test runs in a process of its own (nextest does that).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use weir_connect::guard::Policy;
use weir_connect::{OnLoss, Result, RunIdentity, SchemaChangePolicy, SinkContext, SourceContext, StreamTarget, WriteMode, guard};
use weir_testkit::{Bucket, HttpFixture, Minio, Reply};

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
    guard::install(guard::Files::Below(root.clone()), Policy::public_and(allow).unwrap()).unwrap();
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

fn target() -> StreamTarget {
    let id = arrow::datatypes::Field::new("id", arrow::datatypes::DataType::Int64, true);
    StreamTarget {
        run: RunIdentity { pipeline: "p".into(), run_id: "r".into() },
        stream: "orders".into(),
        schema: Arc::new(arrow::datatypes::Schema::new(vec![id])),
        key: Vec::new(),
        cursor: None,
        write_mode: WriteMode::Append,
        on_schema_change: SchemaChangePolicy::Evolve,
        changes: false,
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
            assert!(sink.prepare(target()).await.is_err(), "{path}");
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

/// What all keys of the tenant begin with.
const OWN: &str = "weir/tenants/acme/files";

/// A tenant's part of a bucket that holds others' files, and a local folder that it must not see. No private address may be reached.
fn in_bucket() -> (Minio, Bucket, tempfile::TempDir) {
    let minio = Minio::shared().unwrap();
    let bucket = minio.create_bucket().unwrap();
    bucket.put(&format!("{OWN}/mine.csv"), "id\n1\n").unwrap();
    bucket.put(&format!("{OWN}/in/more.csv"), "id\n2\n").unwrap();
    for theirs in ["theirs.csv", "weir/theirs.csv", "weir/tenants/acme/theirs.csv", "weir/tenants/acme/files2/theirs.csv"] {
        bucket.put(theirs, "id\n3\n").unwrap();
    }
    bucket.put("weir/tenants/acme2/files/theirs.csv", "id\n4\n").unwrap();
    bucket.put("weir/tenants/beta/files/theirs.csv", "id\n5\n").unwrap();
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join("theirs.csv"), "id\n6\n").unwrap();
    let part = guard::Bucket {
        endpoint: Some(minio.endpoint().into()),
        region: minio.region().into(),
        bucket: bucket.name().into(),
        prefix: OWN.into(),
        access_key: minio.access_key().into(),
        secret_key: weir_error::Secret::new(minio.secret_key()),
    };
    guard::install(guard::Files::Bucket(part), Policy::public_and(&[]).unwrap()).unwrap();
    (minio, bucket, here)
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_out_of_the_tenants_part_of_a_bucket() {
    let (_minio, bucket, here) = in_bucket();
    let (name, folder) = (bucket.name(), here.path().display());
    for (path, root) in [
        ("mine.csv", None),
        ("./mine.csv", None),
        ("file://mine.csv", None),
        ("in/../mine.csv", None),
        ("in//more.csv", None),
        ("more.csv", Some("in")),
        ("in/*.csv", None),
        ("in", None),
        ("{mine,theirs}.csv", None),
    ] {
        let found = streams("file", json!({"root": root}), json!({"path": path, "format": "csv"}), here.path()).await;
        assert_eq!(found.unwrap(), 1, "{path} {root:?}");
    }
    let spellings = [
        "../theirs.csv".to_owned(),
        "../../theirs.csv".into(),
        "../../../theirs.csv".into(),
        "../../../../theirs.csv".into(),
        "../files2/theirs.csv".into(),
        "../../acme2/files/theirs.csv".into(),
        "../../beta/files/theirs.csv".into(),
        "in/../../../beta/files/theirs.csv".into(),
        "./../../beta/files/theirs.csv".into(),
        "..//..//beta/files/theirs.csv".into(),
        "mine.csv/../../../beta/files/theirs.csv".into(),
        "%2e%2e/%2e%2e/beta/files/theirs.csv".into(),
        "..%2f..%2fbeta%2ffiles%2ftheirs.csv".into(),
        "..\\..\\beta\\files\\theirs.csv".into(),
        "2/theirs.csv".into(),
        "/theirs.csv".into(),
        "/weir/tenants/beta/files/theirs.csv".into(),
        "/mine.csv/../../../theirs.csv".into(),
        "//theirs.csv".into(),
        "weir/tenants/beta/files/theirs.csv".into(),
        format!("s3://{name}/theirs.csv"),
        format!("s3://{name}/weir/tenants/beta/files/theirs.csv"),
        format!("{name}/theirs.csv"),
        "file://../../beta/files/theirs.csv".into(),
        "file:///weir/tenants/beta/files/theirs.csv".into(),
        "file://file://../theirs.csv".into(),
        "../*.csv".into(),
        "../**/theirs.csv".into(),
        "../../**/*.csv".into(),
        "**/theirs.csv".into(),
        "*/../../beta/files/theirs.csv".into(),
        "{..,.}/theirs.csv".into(),
        "[.][.]/theirs.csv".into(),
        "?./theirs.csv".into(),
        format!("{folder}/theirs.csv"),
        format!("file://{folder}/theirs.csv"),
        "theirs.csv".into(),
        "/etc/passwd".into(),
        "etc/passwd".into(),
    ];
    for path in &spellings {
        for connection in
            [json!({}), json!({"root": "/"}), json!({"root": ".."}), json!({"root": "in"}), json!({"root": "in/../.."})]
        {
            let found = streams("file", connection.clone(), json!({"path": path, "format": "csv"}), here.path()).await;
            assert_eq!(found.unwrap_or_default(), 0, "{path} {connection}");
        }
    }
}

#[tokio::test]
async fn a_sink_writes_into_the_tenants_part_of_a_bucket_only() {
    let (_minio, bucket, here) = in_bucket();
    let before: Vec<String> = others(&bucket);
    for path in [
        "../out",
        "../../beta/files",
        "../../beta/files/theirs.csv",
        "/out",
        "file:///out",
        "x/../../out",
        "lake/out",
        "s3://b/out",
    ] {
        let connector = registry().get("file").unwrap();
        let context = SinkContext {
            connection: json!({}),
            options: json!({"path": path, "format": "csv"}),
            on_loss: OnLoss::default(),
            node: "out".into(),
            parallelism: 1,
            base_dir: here.path().to_owned(),
        };
        let Ok(sink) = connector.sink(context).await else { continue };
        let inside = path.starts_with("lake") || path.starts_with("s3");
        let Ok(stream) = sink.prepare(target()).await else {
            assert!(!inside, "{path}");
            continue;
        };
        assert!(inside, "{path}");
        stream.discard(&[]).await.unwrap();
        let mut writer = stream.writer(0).await.unwrap();
        let ids: Arc<dyn arrow::array::Array> = Arc::new(arrow::array::Int64Array::from(vec![7, 8]));
        writer.write(arrow::array::RecordBatch::try_new(target().schema, vec![ids]).unwrap()).await.unwrap();
        let token = writer.flush(&weir_connect::Barrier { epoch: 1, lane: 0, progress: vec![] }).await.unwrap().token;
        let report = stream.commit(&[token]).await.unwrap();
        assert!(report.rows == 2 && !report.place.contains("tenants"), "{report:?}");
        assert_eq!(streams("file", json!({}), json!({"path": path}), here.path()).await.unwrap(), 1, "{path}");
    }
    assert_eq!(others(&bucket), before);
    assert!(bucket.keys(&format!("{OWN}/lake/out")).unwrap().iter().any(|key| key.ends_with(".csv")));
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 1, "nothing is left here");
}

/// Keys of everybody else.
fn others(bucket: &Bucket) -> Vec<String> {
    bucket.keys("").unwrap().into_iter().filter(|key| !key.starts_with(&format!("{OWN}/"))).collect()
}

/// A tenant may write anything into its part, also what Weir keeps there.
#[tokio::test]
async fn forged_notes_of_a_dataset_reach_nobody_else() {
    let (_minio, bucket, here) = in_bucket();
    let out = "../../../beta/files/theirs.csv";
    let file = json!({"path": out, "rows": 1, "bytes": 5, "schema": "", "run": "x"});
    let manifest = json!({
        "weir_manifest": 1, "version": 3, "updated_at": "", "format": "csv", "columns": [], "schema": "", "partition_by": [],
        "files": [file], "removed": [out], "runs": [],
    });
    bucket.put(&format!("{OWN}/lake/_weir/manifest.json"), manifest.to_string()).unwrap();
    let staged = json!({"path": "../../beta/files/theirs.csv", "bytes": 5, "hidden": "../../beta/files/theirs.csv"});
    let token = json!({"staged": staged, "rows": 1, "partition": {}, "schema": ""});
    let intent = json!({"run": "other", "base": 3, "outputs": [token], "replaced": [out], "rows": 1});
    bucket.put(&format!("{OWN}/lake/_weir/staging/p.out.orders/y/commit.json"), intent.to_string()).unwrap();
    let before = others(&bucket);
    let context = SinkContext {
        connection: json!({}),
        options: json!({"path": "lake", "format": "csv"}),
        on_loss: OnLoss::default(),
        node: "out".into(),
        parallelism: 1,
        base_dir: here.path().to_owned(),
    };
    let sink = registry().get("file").unwrap().sink(context).await.unwrap();
    let stream = sink.prepare(target()).await.unwrap();
    // The file that an unfinished commit is said to have shown would be deleted, and those that are said to have left the dataset.
    assert_eq!(stream.discard(&[]).await.unwrap_err().code(), "WEIR-S3-010");
    assert_eq!(stream.commit(&[]).await.unwrap_err().code(), "WEIR-S3-010");
    let read = streams("file", json!({}), json!({"path": "lake", "format": "csv"}), here.path()).await;
    assert_eq!(read.unwrap_or_default(), 0);
    assert_eq!(others(&bucket), before);
    assert_eq!(bucket.get("weir/tenants/beta/files/theirs.csv").unwrap(), b"id\n5\n");
}

#[tokio::test]
async fn with_files_in_a_bucket_the_rest_of_the_guard_holds() {
    let (minio, bucket, here) = in_bucket();
    std::fs::write(here.path().join("ca.pem"), "").unwrap();
    let pem = here.path().join("ca.pem").display().to_string();
    for (kind, connection, options) in [
        ("http", json!({"base_url": "https://example.org", "ca_cert": pem}), json!({"path": "/rows"})),
        ("http", json!({"base_url": "https://example.org", "ca_cert": "ca.pem"}), json!({"path": "/rows"})),
    ] {
        let error = streams(kind, connection, options, here.path()).await.unwrap_err();
        assert!(error.code() == "WEIR-GUARD-003" && error.advice().unwrap().contains("PEM text"), "{error:?}");
    }
    assert_eq!(guard::current().file(Path::new("/etc/hostname")).unwrap_err().code(), "WEIR-GUARD-003");
    assert_eq!(guard::current().permit_local_socket("/var/run/postgresql").unwrap_err().code(), "WEIR-GUARD-002");
    // The bucket is on a private address: the platform goes there, a spec does not, also not with keys of its own.
    let connection = json!({
        "endpoint": minio.endpoint(), "bucket": bucket.name(), "access_key": minio.access_key(), "secret_key": minio.secret_key(),
    });
    let error = streams("s3", connection, json!({"path": "theirs.csv"}), here.path()).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-EGRESS-002");
    let error = streams("s3", json!({"bucket": bucket.name()}), json!({"path": "theirs.csv"}), here.path()).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-S3-019");
}

#[tokio::test]
async fn a_bucket_that_is_away_is_told_without_its_name() {
    let port = weir_testkit::process::free_port().unwrap();
    let part = guard::Bucket {
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        region: "us-east-1".into(),
        bucket: "hidden-bucket".into(),
        prefix: OWN.into(),
        access_key: "hidden-user".into(),
        secret_key: weir_error::Secret::new("hidden-secret"),
    };
    guard::install(guard::Files::Bucket(part), Policy::public_and(&[]).unwrap()).unwrap();
    let here = tempfile::tempdir().unwrap();
    let error = streams("file", json!({}), json!({"path": "in/a.csv"}), here.path()).await.unwrap_err();
    let said = format!("{error} {error:?} {}", error.advice().unwrap_or_default());
    assert_eq!((error.code(), error.kind()), ("WEIR-S3-011", weir_error::Kind::Connect), "{said}");
    assert_eq!(error.retryable(), weir_error::Retry::Transient);
    assert!(said.contains("in/a.csv") && !said.contains("hidden") && !said.contains("tenants"), "{said}");
}

/// Takes connections on an inner address and only counts them.
struct Inner {
    port: u16,
    met: Arc<std::sync::atomic::AtomicUsize>,
}

impl Inner {
    fn new() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, met) = (listener.local_addr().unwrap().port(), Arc::<std::sync::atomic::AtomicUsize>::default());
        let count = met.clone();
        std::thread::spawn(move || {
            for _ in listener.incoming() {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        Self { port, met }
    }
}

#[tokio::test]
async fn a_name_that_changes_its_address_leads_no_connector_inside() {
    // An address that may be connected to, where nobody listens: the second try asks for the name again.
    let (_place, root) = guarded(&["127.0.0.2".to_owned()]);
    let inner = Inner::new();
    let port = inner.port;
    let (allowed, private): (std::net::IpAddr, std::net::IpAddr) = ("127.0.0.2".parse().unwrap(), "127.0.0.1".parse().unwrap());
    let mut cases = 0;
    for turns in 0..4 {
        let connections = [
            ("http", json!({"base_url": format!("http://rebind.test:{port}/")}), json!({"path": "rows"})),
            (
                "postgres",
                json!({"host": "rebind.test", "port": port, "user": "u", "password": "p", "database": "d"}),
                json!({"table": "t"}),
            ),
            (
                "postgres-cdc",
                json!({"host": "rebind.test", "port": port, "user": "u", "password": "p", "database": "d"}),
                json!({"table": "t"}),
            ),
            (
                "mysql",
                json!({"host": "rebind.test", "port": port, "user": "u", "password": "p", "database": "d"}),
                json!({"table": "t"}),
            ),
            (
                "mysql-cdc",
                json!({"host": "rebind.test", "port": port, "user": "u", "password": "p", "database": "d"}),
                json!({"table": "t"}),
            ),
            (
                "s3",
                json!({"endpoint": format!("http://rebind.test:{port}"), "bucket": "b", "access_key": "a", "secret_key": "s"}),
                json!({"path": "x/*.csv"}),
            ),
        ];
        for (kind, connection, options) in connections {
            // Good for a while, then inside.
            guard::scripted::name("rebind.test", (0..turns).map(|_| allowed).chain([private]));
            let connector = registry().get(kind).unwrap();
            let checked = connector.check(&connection).await;
            assert!(!checked.is_ok_and(|report| report.ok()), "{kind} has reached something");
            let read = tokio::time::timeout(std::time::Duration::from_secs(60), streams(kind, connection, options, &root)).await;
            assert!(read.unwrap().is_err(), "{kind}");
            assert!(guard::scripted::asked("rebind.test") > 0, "{kind} resolves names past the guard");
            cases += 2;
        }
    }
    assert_eq!((cases, inner.met.load(std::sync::atomic::Ordering::SeqCst)), (48, 0), "an inner server was met");
}
