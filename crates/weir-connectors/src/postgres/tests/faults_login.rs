//! Who may come in and what he may do: logins, TLS and privileges. Each refusal says what is missing.

use serde_json::{Value, json};
use weir_connect::{Connector, Error, Kind, OnLoss, ReadRequest, Retry, WriteMode};
use weir_testkit::postgres::SCRAM_PASSWORD;
use weir_testkit::{Database, PostgresServer};

use super::super::Postgres;
use super::{database, lines, open, rows, run, sink_at, source_at, stranger, take_all, target, values};

async fn streams(connection: Value) -> Result<usize, Error> {
    let source = source_at(connection, json!({ "tables": ["*"] }), OnLoss::default()).await;
    source.streams().await.map(|streams| streams.len())
}

/// Asserts what went wrong, and that it will not be tried again.
fn refused(error: &Error, code: &str, kind: Kind, words: &[&str]) {
    let all = format!("{error}; {}", error.advice().unwrap_or_default());
    assert_eq!((error.code(), error.kind(), error.retryable()), (code, kind, Retry::Never), "{all}");
    for word in words {
        assert!(all.contains(word), "`{word}` is missing: {all}");
    }
}

#[tokio::test]
async fn a_login_says_what_is_wrong_and_never_the_password() {
    let server = PostgresServer::shared().unwrap();
    let database = database();
    let url = |password: &str| json!({ "url": server.password_url(database.name(), password) });
    database.execute("CREATE TABLE t (id int)").unwrap();
    assert_eq!(streams(url(SCRAM_PASSWORD)).await.unwrap(), 1);

    let error = streams(url("hunter2 is secret")).await.unwrap_err();
    refused(&error, "WEIR-PG-003", Kind::Auth, &["password authentication failed", "pg_hba.conf"]);
    assert!(!format!("{error:?} {}", weir_error::chain(&error)).contains("hunter2"), "{error:?}");
    let error = streams(json!({ "url": database.url(), "user": "weir_scram" })).await.unwrap_err();
    refused(&error, "WEIR-PG-003", Kind::Auth, &["asks for a password", "`password`"]);
    let error = streams(json!({ "url": database.url(), "user": "no such user" })).await.unwrap_err();
    refused(&error, "WEIR-PG-003", Kind::Auth, &["no such user"]);
    let error = streams(json!({ "url": server.url_of("no such database") })).await.unwrap_err();
    refused(&error, "WEIR-PG-005", Kind::NotFound, &["no such database", "`database`"]);
}

#[tokio::test]
async fn the_check_names_the_step_that_failed() {
    let server = PostgresServer::shared().unwrap();
    let database = database();
    let (role, limited) = stranger(&database);
    let items = |connection: Value| async move {
        let report = Postgres::default().check(&connection).await.unwrap();
        report.items.into_iter().map(|item| (item.name, item.ok, item.detail)).collect::<Vec<_>>()
    };
    let wrong = items(json!({ "url": server.password_url(database.name(), "wrong") })).await;
    assert_eq!(wrong.iter().map(|item| (item.0.as_str(), item.1)).collect::<Vec<_>>(), [("reach", true), ("auth", false)]);
    let nobody = items(json!({ "host": "127.0.0.1", "port": 1 })).await;
    assert_eq!(nobody.iter().map(|item| (item.0.as_str(), item.1)).collect::<Vec<_>>(), [("reach", false)]);
    let limited = items(limited).await;
    assert!(limited.iter().all(|item| item.1), "{limited:?}");
    let grant = format!("GRANT CREATE ON DATABASE \"{}\" TO \"{role}\"", database.name());
    assert!(limited.iter().any(|item| item.0 == "write" && item.2.contains(&grant)), "{limited:?}");
}

#[tokio::test]
async fn a_server_that_wants_tls_is_reached_with_it_and_says_so_without() {
    let server = PostgresServer::options().tls().set("listen_addresses", "127.0.0.1, 127.0.0.2").start().unwrap();
    let port = server.port();
    let to = |host: &str, mode: &str, ca: bool| {
        let mut connection = json!({ "host": host, "port": port, "database": "postgres", "user": "postgres", "ssl_mode": mode });
        if ca {
            connection["ssl_root_cert"] = json!(server.ca_certificate());
        }
        connection
    };
    // No table matches: the login was good.
    let reached = |error: &Error| error.code() == "WEIR-PG-007";
    for (host, mode, ca) in [
        ("127.0.0.1", "prefer", false),
        ("127.0.0.1", "require", false),
        ("127.0.0.1", "require", true),
        ("127.0.0.1", "verify_ca", true),
        ("127.0.0.1", "verify_full", true),
        ("localhost", "verify_full", true),
        // Another address of the same server is not in its certificate; only `verify_full` minds.
        ("127.0.0.2", "verify_ca", true),
    ] {
        let error = streams(to(host, mode, ca)).await.unwrap_err();
        assert!(reached(&error), "{host} {mode}: {error}");
    }
    let error = streams(to("127.0.0.1", "disable", false)).await.unwrap_err();
    refused(&error, "WEIR-PG-003", Kind::Auth, &["no encryption", "`ssl_mode: require`"]);
    let error = streams(to("127.0.0.2", "verify_full", true)).await.unwrap_err();
    refused(&error, "WEIR-PG-020", Kind::Connect, &["not valid for", "certificate to name `host`"]);
    for mode in ["verify_ca", "verify_full"] {
        // The authority of the test server is not one of the system's.
        let error = streams(to("127.0.0.1", mode, false)).await.unwrap_err();
        refused(&error, "WEIR-PG-020", Kind::Connect, &["UnknownIssuer", "`ssl_root_cert`"]);
    }
    let mut other = to("127.0.0.1", "require", false);
    other["ssl_root_cert"] = json!("/no/such/file.pem");
    let error = streams(other).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/file.pem"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_reached_only_if_that_is_allowed() {
    let database = database();
    database.execute("CREATE TABLE t (id int)").unwrap();
    for mode in ["disable", "prefer"] {
        assert_eq!(streams(json!({ "url": database.url(), "ssl_mode": mode })).await.unwrap(), 1);
    }
    for mode in ["require", "verify_ca", "verify_full"] {
        let error = streams(json!({ "url": database.url(), "ssl_mode": mode })).await.unwrap_err();
        refused(&error, "WEIR-PG-020", Kind::Connect, &["does not offer TLS", "`ssl_mode: disable`"]);
    }
}

async fn read(connection: Value, options: Value) -> Result<Vec<String>, Error> {
    let source = source_at(connection, options, OnLoss::default()).await;
    let reader = open(&source, ReadRequest::default()).await?;
    Ok(lines(&take_all(reader.as_ref()).await?.batches))
}

/// The statement in the hint, with the user filled in.
fn remedy(error: &Error, role: &str, database: &Database) {
    let advice = error.advice().unwrap();
    let statements = advice.split_once(": ").unwrap().1.replace('…', role).replace("the_user", role);
    for statement in statements.split("; ").filter(|part| part.starts_with("GRANT") || part.starts_with("CREATE")) {
        database.execute(statement).unwrap_or_else(|failed| panic!("{advice}: {failed:?}"));
    }
}

#[tokio::test]
async fn a_denied_read_names_the_grant_that_mends_it() {
    let database = database();
    let (role, connection) = stranger(&database);
    database.execute("CREATE SCHEMA \"my schema\"; CREATE TABLE \"my schema\".\"a b\" (id int); INSERT INTO \"my schema\".\"a b\" VALUES (7)").unwrap();
    let options = json!({ "table": "my schema.a b" });
    let error = read(connection.clone(), options.clone()).await.unwrap_err();
    refused(&error, "WEIR-PG-006", Kind::Privilege, &["may not read my schema.a b", "GRANT SELECT ON \"my schema\".\"a b\" TO"]);
    remedy(&error, &role, &database);
    assert_eq!(read(connection.clone(), options).await.unwrap(), ["7"]);

    database.execute("CREATE TABLE secret (id int)").unwrap();
    let error = read(connection, json!({ "query": "SELECT * FROM secret" })).await.unwrap_err();
    refused(&error, "WEIR-PG-006", Kind::Privilege, &["permission denied for table secret", "GRANT SELECT"]);
}

#[tokio::test]
async fn row_security_is_never_silent() {
    let database = database();
    let (role, connection) = stranger(&database);
    database
        .execute(format!(
            "CREATE TABLE r (id int); INSERT INTO r VALUES (1), (2), (3); ALTER TABLE r ENABLE ROW LEVEL SECURITY; \
             CREATE POLICY odd ON r USING (id % 2 = 1); GRANT SELECT ON r TO {role}; \
             CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p DEFAULT; INSERT INTO p SELECT * FROM r; \
             ALTER TABLE p ENABLE ROW LEVEL SECURITY; CREATE POLICY odd ON p USING (id % 2 = 1); GRANT SELECT ON p, p1 TO {role}"
        ))
        .unwrap();
    let error = read(connection.clone(), json!({ "table": "r" })).await.unwrap_err();
    refused(&error, "WEIR-PG-006", Kind::Privilege, &["row-level security", "`apply_row_security: true`"]);
    // A partition read by its own name would get around the policy of the whole.
    for table in ["r", "p"] {
        let options = json!({ "table": table, "apply_row_security": true });
        assert_eq!(read(connection.clone(), options).await.unwrap(), ["1", "3"], "{table}");
    }
}

async fn append(connection: Value, run_id: &str, options: Value) -> Result<u64, Error> {
    let sink = sink_at(connection, options).await;
    let to = target(run_id, "s", rows(0, 1).schema(), WriteMode::Append, &[]);
    run(&sink, to, &[rows(0, 3)]).await.map(|report| report.rows)
}

#[tokio::test]
async fn a_denied_write_names_the_grant_that_mends_it_step_by_step() {
    let database = database();
    let (role, connection) = stranger(&database);
    let options = json!({ "table": "t" });
    let error = append(connection.clone(), "r", options.clone()).await.unwrap_err();
    refused(&error, "WEIR-PG-006", Kind::Privilege, &["state schema \"_weir\"", "CREATE SCHEMA \"_weir\" AUTHORIZATION"]);
    remedy(&error, &role, &database);
    let error = append(connection.clone(), "r", options.clone()).await.unwrap_err();
    refused(&error, "WEIR-PG-006", Kind::Privilege, &["may not write public.t", "GRANT USAGE, CREATE ON SCHEMA \"public\" TO"]);
    database.execute(format!("GRANT USAGE, CREATE ON SCHEMA public TO {role}")).unwrap();
    assert_eq!(append(connection.clone(), "r", options).await.unwrap(), 3);
    assert_eq!(values(&database, "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 't'"), [role.as_str()]);

    // A table of someone else.
    database.execute("CREATE TABLE theirs (id bigint, name text, n bigint)").unwrap();
    let theirs = json!({ "table": "theirs" });
    let error = append(connection.clone(), "theirs", theirs.clone()).await.unwrap_err();
    refused(
        &error,
        "WEIR-PG-006",
        Kind::Privilege,
        &["permission denied for table theirs", "GRANT INSERT ON \"public\".\"theirs\" TO"],
    );
    database.execute(format!("GRANT INSERT ON theirs TO {role}")).unwrap();
    assert_eq!(append(connection, "theirs", theirs).await.unwrap(), 3);
}

#[tokio::test]
async fn a_state_schema_of_someone_else_names_its_own_grants() {
    let database = database();
    append(json!({ "url": database.url() }), "first", json!({ "table": "t" })).await.unwrap();
    let (role, connection) = stranger(&database);
    database.execute(format!("GRANT CREATE ON SCHEMA public TO {role}")).unwrap();
    let options = json!({ "table": "mine" });
    let error = append(connection.clone(), "r", options.clone()).await.unwrap_err();
    refused(&error, "WEIR-PG-006", Kind::Privilege, &["state schema \"_weir\"", "GRANT USAGE ON SCHEMA \"_weir\""]);
    remedy(&error, &role, &database);
    assert_eq!(append(connection, "r", options).await.unwrap(), 3);
}

#[tokio::test]
async fn the_grants_that_the_readme_names_for_an_upsert_and_a_fresh_start_are_enough() {
    let database = database();
    let (role, connection) = stranger(&database);
    database
        .execute(format!(
            "CREATE TABLE t (id bigint PRIMARY KEY, name text, n bigint); INSERT INTO t VALUES (1, 'old', 0), (9, 'old', 0); \
             CREATE SCHEMA _weir AUTHORIZATION {role}; GRANT USAGE, CREATE ON SCHEMA public TO {role}; GRANT SELECT, INSERT, UPDATE ON t TO {role}"
        ))
        .unwrap();
    let sink = sink_at(connection, json!({ "table": "t" })).await;
    for mode in [WriteMode::Upsert, WriteMode::Merge] {
        let to = target(mode.as_str(), "s", rows(0, 1).schema(), mode, &["id"]);
        run(&sink, to, &[rows(0, 3)]).await.unwrap();
        assert_eq!(values(&database, "SELECT id FROM t ORDER BY 1"), ["0", "1", "2", "9"]);
    }
    database.execute(format!("REVOKE ALL ON t FROM {role}; GRANT INSERT, SELECT, DELETE ON t TO {role}")).unwrap();
    let stream = sink.prepare(target("append", "s", rows(0, 1).schema(), WriteMode::Append, &[])).await.unwrap();
    super::write(stream.as_ref(), 1, &[rows(20, 23)]).await.unwrap();
    stream.discard(&[]).await.unwrap();
    assert_eq!(values(&database, "SELECT count(*) FROM t"), ["4"]);
}
