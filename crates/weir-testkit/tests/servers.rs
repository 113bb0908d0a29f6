//! The test kit against itself: real servers start, are shared, die and come back.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3Builder;
use weir_testkit::postgres::{SCRAM_PASSWORD, Version};
use weir_testkit::{FaultProxy, Minio, PostgresServer, process};

#[test]
fn databases_on_the_shared_server_do_not_see_each_other() {
    let server = PostgresServer::shared().unwrap();
    let (one, other) = (server.create_database().unwrap(), server.create_database().unwrap());
    one.execute("CREATE TABLE t AS SELECT 42 AS answer").unwrap();
    assert_eq!(one.value("SELECT answer FROM t").unwrap(), "42");
    assert!(other.value("SELECT answer FROM t").is_err());
}

#[test]
fn a_second_caller_gets_the_same_shared_server() {
    let (one, other) = (PostgresServer::shared().unwrap(), PostgresServer::shared().unwrap());
    assert_eq!(one.url(), other.url());
}

#[test]
fn committed_rows_outlive_kill_9_and_open_transactions_do_not() {
    let mut server = PostgresServer::start().unwrap();
    let database = server.create_database().unwrap();
    database.execute("CREATE TABLE t (id int)").unwrap();
    database.execute("INSERT INTO t VALUES (1)").unwrap();
    database.execute("BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'half'").unwrap();
    server.kill_9().unwrap();
    assert!(database.value("SELECT 1").is_err(), "the server is dead");
    server.restart().unwrap();
    assert_eq!(database.value("SELECT count(*) FROM t").unwrap(), "1");
}

#[tokio::test]
async fn a_role_with_a_password_needs_the_right_one() {
    let server = PostgresServer::shared().unwrap();
    let try_it = async |password: &str| {
        tokio_postgres::connect(&server.password_url("postgres", password), tokio_postgres::NoTls).await.is_ok()
    };
    assert!(try_it(SCRAM_PASSWORD).await);
    assert!(!try_it("wrong").await);
}

#[tokio::test]
async fn a_tls_server_refuses_plain_connections() {
    let server = PostgresServer::options().tls().start().unwrap();
    assert!(server.ca_certificate().is_file());
    let plain = format!("postgresql://postgres@127.0.0.1:{}/postgres?sslmode=disable", server.port());
    let error = tokio_postgres::connect(&plain, tokio_postgres::NoTls).await.err().unwrap();
    let text = format!("{error:?}");
    assert!(text.contains("28000"), "{text}");
    let psql = std::process::Command::new(server.bin_dir().join("psql"))
        .args([
            &format!("{}&sslrootcert={}", server.url().replace("require", "verify-full"), server.ca_certificate().display()),
            "-Atc",
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&psql.stdout).trim(), "t", "{}", String::from_utf8_lossy(&psql.stderr));
}

#[test]
fn postgres_18_starts_from_its_package() {
    let server = PostgresServer::options().version(Version::V18).set("io_method", "sync").start().unwrap();
    let database = server.create_database().unwrap();
    assert!(database.value("SHOW server_version").unwrap().starts_with("18."));
}

#[test]
fn a_stopped_server_leaves_no_process() {
    let mut server = PostgresServer::start().unwrap();
    let database = server.create_database().unwrap();
    let pid: u32 = database.value("SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)").unwrap().parse().unwrap();
    assert!(process::is_alive(pid));
    server.stop().unwrap();
    assert!(!process::is_alive(pid));
}

#[tokio::test]
async fn a_bucket_takes_and_gives_objects_and_refuses_a_wrong_secret() {
    let minio = Minio::shared().unwrap();
    let bucket = minio.create_bucket().unwrap();
    bucket.put("a/b.txt", "hello").unwrap();
    assert_eq!(bucket.keys("a").unwrap(), ["a/b.txt"]);
    assert_eq!(bucket.get("a/b.txt").unwrap(), b"hello");
    minio.create_bucket_named(bucket.name()).unwrap();
    let wrong = AmazonS3Builder::new().with_endpoint(minio.endpoint()).with_allow_http(true).with_region(minio.region());
    let wrong = wrong
        .with_bucket_name(bucket.name())
        .with_access_key_id(minio.access_key())
        .with_secret_access_key("wrong")
        .build()
        .unwrap();
    let error = wrong.get(&"a/b.txt".into()).await.unwrap_err();
    assert!(matches!(error, object_store::Error::PermissionDenied { .. }), "{error:?}");
    assert!(minio.create_bucket().unwrap().keys("").unwrap().is_empty());
}

#[test]
fn minio_keeps_its_objects_over_a_kill() {
    let mut minio = Minio::start().unwrap();
    let bucket = minio.create_bucket().unwrap();
    bucket.put("k", "v").unwrap();
    minio.kill_9().unwrap();
    minio.restart().unwrap();
    assert_eq!(bucket.get("k").unwrap(), b"v");
}

#[tokio::test]
async fn a_query_through_the_proxy_breaks_when_it_is_cut() {
    let server = PostgresServer::shared().unwrap();
    let proxy = FaultProxy::to(("127.0.0.1", server.port())).unwrap();
    let url = format!("postgresql://postgres@127.0.0.1:{}/postgres", proxy.port());
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    assert_eq!(client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    proxy.cut();
    assert!(connection.await.unwrap().is_err());
    assert!(client.query_one("SELECT 1", &[]).await.is_err());
}

#[test]
fn ignite_answers_sql_over_its_rest_api() {
    let ignite = weir_testkit::Ignite::shared().unwrap();
    let said = ignite.sql("SELECT 6 * 7").unwrap();
    assert_eq!(said["items"], serde_json::json!([[42]]), "{said}");
}

#[test]
fn pulsar_keeps_its_namespaces_over_a_kill() {
    let mut pulsar = weir_testkit::Pulsar::start().unwrap();
    pulsar.create_namespace("platformq/acme").unwrap();
    pulsar.kill_9().unwrap();
    pulsar.restart().unwrap();
    assert_eq!(pulsar.namespaces("platformq").unwrap(), ["platformq/acme"]);
}
