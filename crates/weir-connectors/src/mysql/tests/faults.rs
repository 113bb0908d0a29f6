//! What breaks: logins, TLS, sessions that end, networks that are cut, servers that stop. Each gives an error of the right kind in bounded
//! time, and what is in the target afterwards is what was flushed.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use weir_connect::{
    Connector, Error, Event, EventStream, Kind, OnLoss, ReadRequest, Retry, StreamReader, StreamWriter, WriteMode,
};
use weir_testkit::mysql::{Flavor, PASSWORD};
use weir_testkit::{FaultProxy, MysqlDatabase, MysqlServer, wait_until};

use super::super::Mysql;
use super::super::client::Client;
use super::super::config::{ConnectionOptions, parse};
use super::{barrier, connection, database, done, open, rows, sink_at, source_at, take_all, target};

/// Fails instead of waiting for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it hangs")
}

fn transient(error: &Error) {
    assert_eq!((error.code(), error.kind(), error.retryable()), ("WEIR-MY-004", Kind::Connect, Retry::Transient), "{error}");
}

/// A table that does not fit into the buffers between the server and a reader that stops after the first batch.
fn large(database: &MysqlDatabase) {
    database
        .execute(
            "CREATE TABLE big (id INT PRIMARY KEY, v TEXT); INSERT INTO big SELECT a.n * 1000 + b.n, REPEAT(MD5(b.n), 30) FROM \
            (WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < 49) SELECT n FROM s) a, \
            (WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < 999) SELECT n FROM s) b",
        )
        .unwrap();
}

async fn begun(connection: Value) -> (Box<dyn StreamReader>, EventStream) {
    let source = source_at(connection, json!({ "table": "big", "split_rows": 10_000_000 }), OnLoss::default()).await;
    let reader = open(&source, ReadRequest { batch_bytes: 4096, ..ReadRequest::default() }).await.unwrap();
    let mut events = reader.read(&reader.splits()[0], None).await.unwrap();
    assert!(matches!(events.next().await, Some(Ok(Event::Batch(_)))));
    (reader, events)
}

/// What ends the stream; it must be an error, not fewer rows.
async fn end_of(mut events: EventStream) -> Error {
    soon(async {
        loop {
            match events.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error,
                None => panic!("the stream ended as if it were whole"),
            }
        }
    })
    .await
}

/// Ids of the sessions in this database, but for the one that asks.
fn sessions(database: &MysqlDatabase) -> Vec<String> {
    let sql = format!("SELECT ID FROM information_schema.PROCESSLIST WHERE DB = '{}' AND ID <> CONNECTION_ID()", database.name());
    database.rows(sql).unwrap().into_iter().filter_map(|row| row[0].clone()).collect()
}

#[tokio::test]
async fn a_session_that_is_killed_in_the_middle_of_a_read_is_an_error_that_may_be_tried_again() {
    let database = database();
    large(&database);
    let (_reader, events) = begun(connection(database.url())).await;
    let found = sessions(&database);
    assert_eq!(found.len(), 1, "{found:?}");
    database.execute(format!("KILL {}", found[0])).unwrap();
    transient(&end_of(events).await);
}

#[tokio::test]
async fn a_stream_that_is_dropped_leaves_no_statement_running() {
    let database = database();
    large(&database);
    let (reader, events) = begun(connection(database.url())).await;
    drop(events);
    drop(reader);
    let gone = tokio::task::spawn_blocking(move || {
        wait_until("the sessions are gone", Duration::from_secs(30), || sessions(&database).is_empty())
    });
    gone.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_question_to_the_catalogue_is_given_up_without_killing_its_session() {
    let server = MysqlServer::start(Flavor::MariaDb).unwrap();
    let url = json!({ "url": server.url_of("mysql") });
    let address = parse::<ConnectionOptions>(&url, "connection").unwrap().address(Path::new(".")).unwrap();
    for sql in ["SELECT SLEEP(2) FROM information_schema.SCHEMATA LIMIT 1", "SELECT SLEEP(30)"] {
        let mut client = Client::connect(&address).await.unwrap();
        let asked = tokio::time::timeout(Duration::from_millis(300), client.query(sql, &[])).await;
        assert!(asked.is_err(), "`{sql}` was over at once");
    }
    let gone = tokio::task::spawn_blocking(move || {
        let database = MysqlDatabase::at(server.url_of("mysql"));
        let asleep = || database.value("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP%'");
        wait_until("nothing runs any more", Duration::from_secs(20), || asleep().unwrap() == "0").unwrap();
        database.rows("SHOW GLOBAL STATUS LIKE 'Com_kill'").unwrap()
    });
    assert_eq!(gone.await.unwrap(), [[Some("Com_kill".to_string()), Some("1".to_string())]]);
}

async fn writing(connection: Value, database: &MysqlDatabase, load: &str) -> Box<dyn StreamWriter> {
    let sink =
        sink_at(connection, json!({ "table": "t", "load": load, "state_schema": database.name() }), OnLoss::default()).await;
    let stream = sink.prepare(target("r", "s", rows(0, 1).schema(), WriteMode::Append, &[])).await.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(rows(0, 20_000)).await.unwrap();
    writer
}

async fn flush(writer: &mut dyn StreamWriter) -> Result<u64, Error> {
    soon(writer.flush(&barrier(1, vec![done("a", 20_000)]))).await.map(|flushed| flushed.rows)
}

#[tokio::test]
async fn a_cut_network_is_an_error_in_a_read_and_in_a_write_and_leaves_no_row() {
    let server = MysqlServer::shared(Flavor::MariaDb).unwrap();
    let database = database();
    large(&database);
    let proxy = FaultProxy::to(("127.0.0.1", server.port())).unwrap();
    let through = json!({ "url": database.url(), "port": proxy.port() });
    let (_reader, events) = begun(through.clone()).await;
    proxy.cut();
    transient(&end_of(events).await);
    for load in ["auto", "insert"] {
        let mut writer = writing(through.clone(), &database, load).await;
        proxy.cut();
        transient(&flush(writer.as_mut()).await.unwrap_err());
        drop(writer);
        // The next attempt waits until the server has given the old session up.
        let mut writer = writing(connection(database.url()), &database, load).await;
        assert_eq!(flush(writer.as_mut()).await.unwrap(), 20_000, "{load}");
        let sink = sink_at(connection(database.url()), json!({ "table": "t", "load": load }), OnLoss::default()).await;
        let stream = sink.prepare(target("r", "s", rows(0, 1).schema(), WriteMode::Append, &[])).await.unwrap();
        assert_eq!(stream.recover().await.unwrap().rows, 20_000);
        stream.discard(&[]).await.unwrap();
        assert_eq!(stream.recover().await.unwrap().rows, 0);
    }
}

#[tokio::test]
async fn what_was_flushed_survives_the_servers_death_and_what_was_not_is_gone() {
    let mut server = MysqlServer::start(Flavor::MariaDb).unwrap();
    let database = server.create_database().unwrap();
    let mut writer = writing(connection(database.url()), &database, "auto").await;
    assert_eq!(flush(writer.as_mut()).await.unwrap(), 20_000);
    writer.write(rows(20_000, 30_000)).await.unwrap();
    server.kill_9().unwrap();
    transient(&flush(writer.as_mut()).await.unwrap_err());
    server.restart().unwrap();
    let sink = sink_at(connection(database.url()), json!({ "table": "t" }), OnLoss::default()).await;
    let stream = sink.prepare(target("r", "s", rows(0, 1).schema(), WriteMode::Append, &[])).await.unwrap();
    assert_eq!(stream.recover().await.unwrap().rows, 20_000);
    assert_eq!(stream.commit(&[]).await.unwrap().rows, 20_000);
    assert_eq!(database.value("SELECT COUNT(*) FROM t").unwrap(), "20000");
}

async fn check(connection: Value) -> (bool, String) {
    let report = Mysql::default().check(&connection).await.unwrap();
    let last = report.items.last().unwrap();
    (report.ok(), format!("{}: {}", last.name, last.detail))
}

#[tokio::test]
async fn a_check_says_what_is_wrong() {
    for flavor in [Flavor::MariaDb, Flavor::MySql] {
        let server = MysqlServer::shared(flavor).unwrap();
        let (ok, said) = check(connection(&server.password_url("mysql", PASSWORD))).await;
        assert!(ok && said.contains("LOAD DATA"), "{said}");
        let (ok, said) = check(connection(&server.password_url("mysql", "wrong"))).await;
        assert!(!ok && said.starts_with("auth") && !said.contains("wrong"), "{said}");
        let (ok, said) = check(connection(&server.url_of("nowhere"))).await;
        assert!(!ok && said.contains("does not exist"), "{said}");
    }
    let (ok, said) = check(json!({ "host": "127.0.0.1", "port": 1 })).await;
    assert!(!ok && said.starts_with("reach"), "{said}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_told_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let (ok, said) = soon(check(json!({ "host": "127.0.0.1", "port": port, "connect_timeout_secs": 1 }))).await;
    assert!(!ok && said.contains("does not answer"), "{said}");
}

#[tokio::test]
async fn a_certificate_is_checked_as_far_as_the_mode_says() {
    let server = MysqlServer::options(Flavor::MariaDb).tls().start().unwrap();
    let base = server.password_url("mysql", PASSWORD);
    let ca = server.ca_certificate();
    let with = |mode: &str, ca: Option<&std::path::Path>, host: &str| {
        let mut connection = json!({ "url": base, "ssl_mode": mode, "host": host });
        if let Some(ca) = ca {
            connection["ssl_root_cert"] = ca.to_str().unwrap().into();
        }
        connection
    };
    for (mode, authority, host, good) in [
        ("prefer", None, "127.0.0.1", true),
        ("require", None, "127.0.0.1", true),
        ("disable", None, "127.0.0.1", true),
        ("verify_ca", Some(ca.as_path()), "127.0.0.1", true),
        ("verify_full", Some(ca.as_path()), "localhost", true),
        ("verify_full", None, "127.0.0.1", false),
        ("verify_ca", None, "127.0.0.1", false),
    ] {
        let (ok, said) = check(with(mode, authority, host)).await;
        assert_eq!(ok, good, "{mode}: {said}");
    }
    // Every session of a lane is encrypted, too.
    let source = source_at(with("verify_full", Some(ca.as_path()), "localhost"), json!({ "query": "SELECT VARIABLE_VALUE AS v FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher'" }), OnLoss::default()).await;
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    let cipher = super::lines(&take_all(reader.as_ref()).await.unwrap().batches);
    assert!(cipher[0].starts_with("TLS"), "{cipher:?}");
}

#[tokio::test]
async fn every_login_method_works_over_tls_and_plain() {
    for flavor in [Flavor::MariaDb, Flavor::MySql] {
        let server = MysqlServer::shared(flavor).unwrap();
        let database = server.create_database().unwrap();
        let methods: &[&str] = match flavor {
            Flavor::MariaDb => &["mysql_native_password", "ed25519"],
            Flavor::MySql => &["mysql_native_password", "caching_sha2_password", "sha256_password"],
        };
        if flavor == Flavor::MariaDb {
            database.execute("INSTALL PLUGIN IF NOT EXISTS ed25519 SONAME 'auth_ed25519'").unwrap();
        }
        for (number, method) in methods.iter().enumerate() {
            let user = format!("l{number}_{}", &database.name()[2..20]);
            let identified = match flavor {
                Flavor::MariaDb => format!("IDENTIFIED VIA {method} USING PASSWORD('p w')"),
                Flavor::MySql => format!("IDENTIFIED WITH {method} BY 'p w'"),
            };
            database.execute(format!("CREATE USER {user}@'%' {identified}")).unwrap();
            // The first time in full, later by the server's cache; the plain one first, so that the password goes encrypted by the server's key.
            for mode in ["disable", "disable", "prefer"] {
                let mut connection = json!({ "url": server.url_of(""), "user": user, "password": "p w", "ssl_mode": mode });
                let (ok, said) = check(connection.clone()).await;
                assert!(ok, "{flavor:?} {method} {mode}: {said}");
                connection["password"] = "other".into();
                let (ok, said) = check(connection).await;
                assert!(!ok && said.starts_with("auth"), "{flavor:?} {method} {mode}: {said}");
            }
        }
    }
}
