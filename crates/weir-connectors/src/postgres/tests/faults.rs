//! What breaks in the middle: sessions that end, servers that stop, statements and locks that take too long. Each gives an error of the
//! right kind in bounded time, and what is in the target afterwards is what was flushed.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use weir_connect::{Error, Event, EventStream, Kind, OnLoss, ReadRequest, Retry, StreamReader, StreamWriter, WriteMode};
use weir_testkit::{Database, FaultProxy, PostgresServer, wait_until};

use super::{
    barrier, connection, database, done, open, rows, sink, sink_at, source, source_at, stranger, take_all, target, values,
};

/// Fails instead of waiting for ever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it hangs")
}

fn transient(error: &Error, code: &str, kind: Kind) {
    assert_eq!((error.code(), error.kind(), error.retryable()), (code, kind, Retry::Transient), "{error}");
}

/// A table that does not fit into the buffers between the server and a reader that stops after the first batch.
fn large(database: &Database) {
    database
        .execute("CREATE TABLE big AS SELECT i AS id, repeat(md5(i::text), 30) AS v FROM generate_series(1, 60000) i")
        .unwrap();
}

fn small_batches() -> ReadRequest {
    ReadRequest { batch_bytes: 4096, ..ReadRequest::default() }
}

/// Opens `big` as one split and reads its first batch.
async fn begun(connection: Value) -> (Box<dyn StreamReader>, EventStream) {
    let source = source_at(connection, json!({ "table": "big" , "split_bytes": 1_u64 << 40 }), OnLoss::default()).await;
    let reader = open(&source, small_batches()).await.unwrap();
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

/// Process ids of the sessions whose last statement looks like this.
fn sessions(database: &Database, statement: &str) -> Vec<String> {
    values(
        database,
        &format!(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '{statement}'"
        ),
    )
}

/// Ends the only session with such a statement and waits until it is gone.
fn terminate(database: &Database, statement: &str) {
    let found = sessions(database, statement);
    assert_eq!(found.len(), 1, "{found:?}");
    database.execute(format!("SELECT pg_terminate_backend({}, 30000)", found[0])).unwrap();
}

#[tokio::test]
async fn a_backend_that_is_ended_in_the_middle_of_a_read_is_an_error_that_may_be_tried_again() {
    let database = database();
    large(&database);
    let (_reader, events) = begun(connection(database.url())).await;
    terminate(&database, "COPY (SELECT%");
    let error = end_of(events).await;
    transient(&error, "WEIR-PG-004", Kind::Connect);
    assert!(error.to_string().contains("public.big blocks 0 to the end"), "{error}");
}

#[tokio::test]
async fn when_the_session_that_holds_the_snapshot_ends_a_new_lane_cannot_begin_under_another_view() {
    let database = database();
    database.execute("CREATE TABLE t AS SELECT generate_series(1, 10) AS id").unwrap();
    let source = source(database.url(), json!({ "table": "t" })).await;
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    let found = values(
        &database,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'",
    );
    assert_eq!(found.len(), 1);
    database.execute(format!("SELECT pg_terminate_backend({}, 30000)", found[0])).unwrap();
    let error = soon(take_all(reader.as_ref())).await.map(drop).unwrap_err();
    transient(&error, "WEIR-PG-023", Kind::Connect);
}

#[tokio::test]
async fn a_cut_network_is_an_error_in_a_read_and_in_a_write() {
    let server = PostgresServer::shared().unwrap();
    let database = database();
    large(&database);
    let proxy = FaultProxy::to(("127.0.0.1", server.port())).unwrap();
    let through = json!({ "url": database.url(), "port": proxy.port() });
    let (_reader, events) = begun(through.clone()).await;
    proxy.cut();
    transient(&end_of(events).await, "WEIR-PG-004", Kind::Connect);

    let mut writer = writing(through).await;
    proxy.cut();
    transient(&flush(writer.as_mut()).await.unwrap_err(), "WEIR-PG-004", Kind::Connect);
    assert_eq!(values(&database, "SELECT count(*) FROM t"), ["0"]);
}

#[tokio::test]
async fn a_stream_that_is_dropped_leaves_no_statement_running() {
    let database = database();
    large(&database);
    let (reader, events) = begun(connection(database.url())).await;
    drop(events);
    drop(reader);
    // The cancelling runs on this runtime, so it must not be blocked here.
    let gone = tokio::task::spawn_blocking(move || {
        wait_until("the sessions are gone", Duration::from_secs(30), || sessions(&database, "%").is_empty())
    });
    gone.await.unwrap().unwrap();
}

/// A writer of `t` in the middle of a COPY: the rows are sent and nothing is flushed.
async fn writing(connection: Value) -> Box<dyn StreamWriter> {
    let sink = sink_at(connection, json!({ "table": "t" })).await;
    let stream = sink.prepare(target("r", "s", rows(0, 1).schema(), WriteMode::Append, &[])).await.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(rows(0, 20_000)).await.unwrap();
    writer
}

async fn flush(writer: &mut dyn StreamWriter) -> Result<u64, Error> {
    soon(writer.flush(&barrier(1, vec![done("a", 20_000)]))).await.map(|flushed| flushed.rows)
}

#[tokio::test]
async fn a_backend_that_is_ended_in_the_middle_of_a_write_leaves_no_row_and_the_next_attempt_writes_all() {
    let database = database();
    let mut writer = writing(connection(database.url())).await;
    terminate(&database, "COPY%");
    transient(&flush(writer.as_mut()).await.unwrap_err(), "WEIR-PG-004", Kind::Connect);
    assert_eq!(values(&database, "SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM _weir.progress)"), ["0"]);
    let mut again = writing(connection(database.url())).await;
    assert_eq!(flush(again.as_mut()).await.unwrap(), 20_000);
    assert_eq!(values(&database, "SELECT count(DISTINCT id) FROM t"), ["20000"]);
}

#[tokio::test]
async fn writing_on_after_the_session_was_ended_fails_within_the_stream() {
    let database = database();
    let mut writer = writing(connection(database.url())).await;
    terminate(&database, "COPY%");
    // The error is noticed between two pieces, long before the source has nothing more to give.
    let error = soon(async {
        loop {
            if let Err(error) = writer.write(rows(0, 20_000)).await {
                return error;
            }
        }
    })
    .await;
    transient(&error, "WEIR-PG-004", Kind::Connect);
}

#[tokio::test]
async fn a_server_that_stops_ends_reads_and_writes_and_serves_again_after_its_start() {
    let mut server = PostgresServer::start().unwrap();
    let database = server.create_database().unwrap();
    large(&database);
    let (reader, events) = begun(connection(database.url())).await;
    let mut writer = writing(connection(database.url())).await;
    server.stop().unwrap();
    transient(&end_of(events).await, "WEIR-PG-004", Kind::Connect);
    transient(&flush(writer.as_mut()).await.unwrap_err(), "WEIR-PG-004", Kind::Connect);
    // Nobody listens any more: neither for a new lane of the old reader nor for a new one.
    transient(&soon(take_all(reader.as_ref())).await.map(drop).unwrap_err(), "WEIR-PG-002", Kind::Connect);
    let gone = source(database.url(), json!({ "table": "big" })).await.streams().await.unwrap_err();
    transient(&gone, "WEIR-PG-002", Kind::Connect);
    assert!(gone.advice().unwrap().contains("host and port"), "{gone}");
    server.restart().unwrap();
    let again = source(database.url(), json!({ "table": "big" })).await;
    let reader = open(&again, ReadRequest::default()).await.unwrap();
    assert_eq!(take_all(reader.as_ref()).await.unwrap().rows(), 60_000);
    assert_eq!(values(&database, "SELECT count(*) FROM t"), ["0"]);
}

#[tokio::test]
async fn a_server_that_is_killed_keeps_what_was_flushed() {
    let mut server = PostgresServer::options().set("fsync", "on").start().unwrap();
    let database = server.create_database().unwrap();
    let mut writer = writing(connection(database.url())).await;
    assert_eq!(flush(writer.as_mut()).await.unwrap(), 20_000);
    writer.write(rows(20_000, 40_000)).await.unwrap();
    server.kill_9().unwrap();
    transient(&flush(writer.as_mut()).await.unwrap_err(), "WEIR-PG-004", Kind::Connect);
    server.restart().unwrap();
    assert_eq!(values(&database, "SELECT count(DISTINCT id) FROM t"), ["20000"]);
    assert_eq!(values(&database, "SELECT progress ->> 'rows' FROM _weir.progress"), ["20000"]);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_after_the_connect_timeout() {
    let server = PostgresServer::shared().unwrap();
    let proxy = FaultProxy::to(("127.0.0.1", server.port())).unwrap();
    proxy.stall(true);
    let silent = json!({ "url": server.url(), "port": proxy.port(), "connect_timeout_secs": 1 });
    let error = soon(source_at(silent, json!({ "tables": ["*"] }), OnLoss::default()).await.streams()).await.unwrap_err();
    transient(&error, "WEIR-PG-002", Kind::Connect);
    assert!(error.why().unwrap().contains("1 s") && error.advice().unwrap().contains("connect_timeout_secs"), "{error}");
}

#[tokio::test]
async fn a_statement_timeout_of_the_user_does_not_cut_a_long_read_and_a_cancel_is_told_as_one() {
    let database = database();
    let (role, limited) = stranger(&database);
    large(&database);
    database.execute(format!("GRANT SELECT ON big TO {role}; ALTER ROLE {role} SET statement_timeout = '300ms'")).unwrap();
    let source = source_at(limited.clone(), json!({ "query": "SELECT pg_sleep(0.4)::text AS slept" }), OnLoss::default()).await;
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    assert_eq!(take_all(reader.as_ref()).await.unwrap().rows(), 1);

    let (_reader, events) = begun(limited).await;
    let found = sessions(&database, "COPY (SELECT \"id\"%");
    assert_eq!(found.len(), 1);
    database.execute(format!("SELECT pg_cancel_backend({})", found[0])).unwrap();
    let error = end_of(events).await;
    assert_eq!((error.code(), error.kind(), error.retryable()), ("WEIR-PG-013", Kind::Limit, Retry::Never), "{error}");
    assert!(error.why().unwrap().contains("canceling statement"), "{error}");
}

#[tokio::test]
async fn a_lock_of_others_is_waited_for_and_then_told() {
    let database = database();
    database.execute("CREATE TABLE t (id bigint, name text, n bigint)").unwrap();
    let name = database.name();
    database.execute(format!("ALTER DATABASE {name} SET lock_timeout = '200ms'")).unwrap();
    let sink = sink(database.url(), json!({ "table": "t" })).await;
    let stream = sink.prepare(target("r", "s", rows(0, 1).schema(), WriteMode::Append, &[])).await.unwrap();
    let holder = database.client().await.unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();

    let source = source(database.url(), json!({ "table": "t" })).await;
    let error = soon(open(&source, ReadRequest::default())).await.map(drop).unwrap_err();
    transient(&error, "WEIR-PG-011", Kind::Conflict);
    assert!(error.to_string().contains("lock timeout") && error.advice().unwrap().contains("pg_locks"), "{error}");

    let blocked =
        soon(sink.prepare(target("other", "s", rows(0, 1).schema(), WriteMode::Append, &[]))).await.map(drop).unwrap_err();
    transient(&blocked, "WEIR-PG-011", Kind::Conflict);
    let mut writer = stream.writer(0).await.unwrap();
    transient(&soon(writer.write(rows(0, 3))).await.unwrap_err(), "WEIR-PG-011", Kind::Conflict);

    holder.batch_execute("COMMIT").await.unwrap();
    let mut writer = stream.writer(0).await.unwrap();
    writer.write(rows(0, 3)).await.unwrap();
    assert_eq!(soon(writer.flush(&barrier(1, vec![done("a", 3)]))).await.unwrap().rows, 3);
    let reader = open(&source, ReadRequest::default()).await.unwrap();
    assert_eq!(take_all(reader.as_ref()).await.unwrap().rows(), 3);
}

#[tokio::test]
async fn a_table_that_is_dropped_between_discovery_and_reading_is_told_by_name() {
    let database = database();
    database.execute("CREATE TABLE t (id int)").unwrap();
    let source = source(database.url(), json!({ "tables": ["t"] })).await;
    assert_eq!(source.streams().await.unwrap().len(), 1);
    database.execute("DROP TABLE t").unwrap();
    let request = ReadRequest { stream: "public.t".into(), ..ReadRequest::default() };
    let error = open(&source, request).await.map(drop).unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-PG-007", Kind::NotFound));
    assert!(error.to_string().contains("public.t"), "{error}");
}

#[tokio::test]
async fn a_value_that_breaks_a_constraint_names_it_and_is_not_tried_again() {
    let database = database();
    database.execute("CREATE TABLE t (id bigint, name text, n bigint CONSTRAINT n_is_small CHECK (n < 9))").unwrap();
    let mut writer = writing(connection(database.url())).await;
    let error = match writer.write(rows(0, 1)).await {
        Ok(()) => flush(writer.as_mut()).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!((error.code(), error.kind(), error.retryable()), ("WEIR-PG-016", Kind::Data, Retry::Never), "{error}");
    assert!(error.to_string().contains("n_is_small") && error.to_string().contains("public.t"), "{error}");
    assert_eq!(values(&database, "SELECT count(*) FROM t"), ["0"]);
}

#[tokio::test]
async fn a_server_without_a_connection_left_says_so() {
    let server = PostgresServer::options()
        .set("max_connections", "4")
        .set("superuser_reserved_connections", "0")
        .set("max_wal_senders", "0")
        .start()
        .unwrap();
    let database = server.create_database().unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(database.client().await.unwrap());
    }
    let full = source(database.url(), json!({ "tables": ["*"] })).await.streams().await.unwrap_err();
    transient(&full, "WEIR-PG-009", Kind::Connect);
    assert!(full.advice().unwrap().contains("max_connections"), "{full}");
}
