//! Databases that refuse, lose tables and die in the middle. A slow line between the program and the server makes sure
//! that the middle is really the middle.

use std::time::Duration;

use weir_testkit::{Database, FaultProxy, PostgresServer};

use crate::harness::{Folder, closed_port};
use crate::scene::{Ran, Watched, csv_rows, nothing_visible, run, words};

/// Into the lake from table `source` of the database behind `url`.
fn from_table(folder: &Folder, url: &str, options: &str) {
    folder.write(
        "orders.yaml",
        format!(
            "pipeline: orders\nsource:\n  postgres: {{url: \"{url}\", table: public.source{options}}}\n\
             sink:\n  file: {{path: lake/orders, format: csv, write_mode: append}}\n"
        ),
    );
}

fn source(database: &Database, rows: u64) {
    database
        .execute(format!(
            "CREATE TABLE source (id bigint PRIMARY KEY, word text); \
             INSERT INTO source SELECT i, md5(i::text) FROM generate_series(1, {rows}) i"
        ))
        .unwrap();
    // Statistics and hint bits: splits are even, and nothing is written behind our back later.
    database.execute("VACUUM (ANALYZE) source").unwrap();
}

fn rows_of(database: &Database, table: &str) -> Vec<String> {
    let answer = database.rows(format!("SELECT id || ',' || word FROM {table}")).unwrap();
    let mut rows: Vec<String> = answer.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
    rows.sort();
    rows
}

/// Rows enough for many splits.
const MANY: u64 = 40_000;
const SMALL_SPLITS: &str = ", split_bytes: 65536";
/// One lane, and a checkpoint after every split.
const SLOWLY: [&str; 5] = ["orders.yaml", "--parallelism", "1", "--checkpoint-interval", "1ms"];

/// The database's URL through a proxy that holds each piece back for a moment.
fn slow(server: &PostgresServer, database: &Database) -> (FaultProxy, String) {
    let proxy = FaultProxy::to(("127.0.0.1", server.port())).unwrap();
    proxy.delay(Duration::from_millis(10));
    let url = format!("postgresql://postgres@127.0.0.1:{}/{}", proxy.port(), database.name());
    (proxy, url)
}

/// A run over table `source` that has made a checkpoint and has rows left to read.
fn underway(server: &PostgresServer, database: &Database) -> (FaultProxy, Folder, Watched) {
    let (proxy, url) = slow(server, database);
    let folder = Folder::new();
    from_table(&folder, &url, SMALL_SPLITS);
    let running = Watched::start(&folder, &SLOWLY);
    running.wait_for_checkpoint_before(MANY);
    (proxy, folder, running)
}

#[test]
fn a_wrong_password_is_exit_code_3_and_is_not_repeated_to_anybody() {
    let server = PostgresServer::shared().unwrap();
    let database = server.create_database().unwrap();
    source(&database, 3);
    let mut folder = Folder::new();
    folder.set("PG", server.password_url(database.name(), "hunter2-wrong"));
    from_table(&folder, "${PG}", "");
    let ran = run(&folder, &["orders.yaml"]);
    ran.failed(3, "WEIR-PG-003", "auth").says(&["password", database.name()]).hides("hunter2");
    nothing_visible(&folder);

    folder.set("PG", server.password_url(database.name(), "correct horse"));
    let ran = run(&folder, &["orders.yaml"]);
    ran.wrote(3);
    ran.hides("correct%20horse").hides("correct horse");
}

#[test]
fn nobody_at_the_address_is_exit_code_3() {
    let folder = Folder::new();
    let closed = format!("postgresql://me:hunter2@127.0.0.1:{}/crm", closed_port());
    from_table(&folder, &closed, "");
    run(&folder, &["orders.yaml"]).failed(3, "WEIR-PG-002", "connect").says(&["127.0.0.1", "refused"]).hides("hunter2");
    from_table(&folder, "postgresql://me:hunter2@no-such-host.invalid/crm", "");
    run(&folder, &["orders.yaml"]).failed(3, "WEIR-PG-002", "connect").says(&["no-such-host.invalid"]).hides("hunter2");
    nothing_visible(&folder);
}

#[test]
fn a_server_without_tls_or_with_an_unknown_authority_is_refused() {
    let server = PostgresServer::shared().unwrap();
    let database = server.create_database().unwrap();
    source(&database, 3);
    let folder = Folder::new();
    from_table(&folder, database.url(), "");
    run(&folder, &["orders.yaml"]).wrote(3);
    let without = format!("{}?sslmode=require", database.url());
    from_table(&folder, &without, "");
    run(&folder, &["orders.yaml"]).failed(3, "WEIR-PG-020", "connect").says(&["does not offer TLS"]);

    let strict = PostgresServer::options().tls().start().unwrap();
    let url = strict.url().replace("sslmode=require", "sslmode=verify-full");
    assert!(url.contains("verify-full"), "{url}");
    from_table(&folder, &url, "");
    run(&folder, &["orders.yaml"]).failed(3, "WEIR-PG-020", "connect").says(&["ssl_root_cert"]);
    let known = format!("{url}&sslrootcert={}", strict.ca_certificate().display());
    from_table(&folder, &known, "");
    // Let in, it finds that the table is not there.
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-PG-007", "not_found");
}

#[test]
fn a_table_that_is_dropped_in_the_middle_is_still_read_whole_because_the_drop_has_to_wait() {
    let server = PostgresServer::shared().unwrap();
    let database = server.create_database().unwrap();
    source(&database, MANY);
    let expected = rows_of(&database, "source");
    let (proxy, folder, running) = underway(&server, &database);
    let dropped = {
        let database = database.clone();
        std::thread::spawn(move || database.execute("DROP TABLE source").unwrap())
    };
    // The drop stands in the queue before the line gets fast again.
    weir_testkit::wait_until("the drop waits for the run", Duration::from_secs(60), || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'source'::regclass";
        database.value(waiting).unwrap() == "1"
    })
    .unwrap();
    proxy.delay(Duration::ZERO);
    running.end().wrote(MANY);
    dropped.join().unwrap();
    assert_eq!(csv_rows(&folder, "orders"), expected);

    run(&folder, &["orders.yaml"]).failed(1, "WEIR-PG-007", "not_found").says(&["public.source"]);
    assert_eq!(csv_rows(&folder, "orders"), expected, "what the good run wrote stays");
}

#[test]
fn a_table_that_is_gone_between_two_attempts_fails_and_shows_nothing() {
    let server = PostgresServer::shared().unwrap();
    let database = server.create_database().unwrap();
    source(&database, MANY);
    let (proxy, folder, running) = underway(&server, &database);
    running.signal(libc::SIGKILL);
    assert_eq!(running.end().code, -1);
    proxy.delay(Duration::ZERO);
    database.execute("ALTER TABLE source RENAME TO elsewhere").unwrap();
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-PG-007", "not_found");
    nothing_visible(&folder);

    // Other rows under the old name: what was staged before must not be mixed in.
    source_with(&database, "SELECT i, 'new' || i FROM generate_series(1, 500) i");
    run(&folder, &["orders.yaml"]).wrote(500);
    assert_eq!(csv_rows(&folder, "orders"), rows_of(&database, "source"));
}

fn source_with(database: &Database, select: &str) {
    database.execute(format!("CREATE TABLE source (id bigint PRIMARY KEY, word text); INSERT INTO source {select}")).unwrap();
}

#[test]
fn a_server_that_dies_in_the_middle_is_exit_code_3_and_the_next_run_is_exact() {
    let mut server = PostgresServer::start().unwrap();
    let database = server.create_database().unwrap();
    source(&database, MANY);
    let expected = rows_of(&database, "source");
    let (proxy, folder, running) = underway(&server, &database);
    server.kill_9().unwrap();
    // Nobody listens behind the proxy either.
    let ran = running.end();
    assert_eq!((ran.code, ran.report["error"]["kind"].as_str()), (3, Some("connect")), "{}", ran.err);
    assert!(ran.err.contains("\"event\":\"retry\""), "{}", ran.err);
    nothing_visible(&folder);

    server.restart().unwrap();
    proxy.delay(Duration::ZERO);
    run(&folder, &["orders.yaml"]).wrote(MANY);
    assert_eq!(csv_rows(&folder, "orders"), expected);
}

#[test]
fn a_line_that_breaks_is_mended_inside_the_run() {
    let server = PostgresServer::shared().unwrap();
    let database = server.create_database().unwrap();
    source(&database, MANY);
    let (proxy, folder, running) = underway(&server, &database);
    proxy.cut();
    running.wait_for("a retry", |event| event["event"] == "retry");
    proxy.delay(Duration::ZERO);
    running.end().wrote(MANY);
    assert_eq!(csv_rows(&folder, "orders"), rows_of(&database, "source"));
}

/// From files into table `target`.
fn into_table(folder: &Folder, url: &str, mode: &str) {
    folder.write("in.csv", words(MANY));
    folder.write(
        "orders.yaml",
        format!(
            "pipeline: orders\nsource:\n  file: {{path: in.csv, split_size: 30kB}}\n\
             sink:\n  postgres: {{url: \"{url}\", table: public.target, write_mode: {mode}}}\n"
        ),
    );
}

#[track_caller]
fn target_is_exact(database: &Database) {
    assert_eq!(rows_of(database, "target"), crate::scene::lines_of(&words(MANY)));
}

/// A run into the target through a slow line, stopped in the middle by `fault`; gives its end.
fn broken_off(folder: &Folder, server: &PostgresServer, database: &Database, mode: &str, fault: impl FnOnce()) -> Ran {
    let (proxy, url) = slow(server, database);
    into_table(folder, &url, mode);
    let running = Watched::start(folder, &SLOWLY);
    running.wait_for_checkpoint_before(MANY);
    fault();
    proxy.delay(Duration::ZERO);
    let ran = running.end();
    // The next run goes straight to the server: another URL of the same database is the same place.
    into_table(folder, database.url(), mode);
    ran
}

#[test]
fn a_target_table_that_is_dropped_in_the_middle_fails_the_run_and_is_filled_whole_by_the_next() {
    let server = PostgresServer::shared().unwrap();
    let database = server.create_database().unwrap();
    let folder = Folder::new();
    let (proxy, url) = slow(&server, &database);
    into_table(&folder, &url, "append");
    let running = Watched::start(&folder, &SLOWLY);
    running.wait_for_checkpoint_before(MANY);
    database.execute("DROP TABLE target").unwrap();
    proxy.delay(Duration::ZERO);
    running.end().failed(1, "WEIR-PG-007", "not_found");
    assert_eq!(database.value("SELECT count(*) FROM pg_class WHERE relname = 'target'").unwrap(), "0");

    run(&folder, &["orders.yaml"]).wrote(MANY);
    target_is_exact(&database);
}

#[test]
fn a_target_server_that_dies_in_the_middle_has_every_row_once_after_the_next_run() {
    let mut server = PostgresServer::start().unwrap();
    let database = server.create_database().unwrap();
    let folder = Folder::new();
    let (proxy, url) = slow(&server, &database);
    into_table(&folder, &url, "append");
    let running = Watched::start(&folder, &SLOWLY);
    running.wait_for_checkpoint_before(MANY);
    server.kill_9().unwrap();
    let ran = running.end();
    assert_eq!((ran.code, ran.report["error"]["kind"].as_str()), (3, Some("connect")), "{}", ran.err);

    server.restart().unwrap();
    proxy.delay(Duration::ZERO);
    run(&folder, &["orders.yaml"]).wrote(MANY);
    target_is_exact(&database);
}

#[test]
fn an_overwrite_that_breaks_off_leaves_the_old_rows() {
    let server = PostgresServer::shared().unwrap();
    let database = server.create_database().unwrap();
    database.execute("CREATE TABLE target (id bigint, word text); INSERT INTO target VALUES (7, 'old')").unwrap();
    let folder = Folder::new();
    let ran = broken_off(&folder, &server, &database, "overwrite", || {
        // The staging table is what the run fills; the target itself must be untouched by all this.
        let staging =
            database.value("SELECT relname FROM pg_class WHERE relname LIKE '\\_weir\\_stage%' AND relkind = 'r'").unwrap();
        database.execute(format!("DROP TABLE {staging}")).unwrap();
    });
    assert_eq!((ran.code, ran.report["error"]["code"].as_str()), (1, Some("WEIR-PG-007")), "{}", ran.err);
    assert_eq!(rows_of(&database, "target"), ["7,old"]);
    run(&folder, &["orders.yaml"]).wrote(MANY);
    target_is_exact(&database);
}

#[test]
fn a_row_that_the_target_refuses_fails_the_run_and_after_the_repair_all_are_there_once() {
    let server = PostgresServer::shared().unwrap();
    let database = server.create_database().unwrap();
    database.execute("CREATE TABLE target (id bigint, word text, CHECK (id <> 30000))").unwrap();
    let folder = Folder::new();
    into_table(&folder, database.url(), "append");
    run(&folder, &["orders.yaml", "--checkpoint-interval", "1ms"]).failed(1, "WEIR-PG-016", "data").says(&["target_id_check"]);
    database.execute("ALTER TABLE target DROP CONSTRAINT target_id_check").unwrap();
    run(&folder, &["orders.yaml"]).wrote(MANY);
    target_is_exact(&database);
}

#[test]
fn text_with_a_nul_cannot_enter_and_takes_no_other_row_with_it() {
    let server = PostgresServer::shared().unwrap();
    let database = server.create_database().unwrap();
    let folder = Folder::new();
    into_table(&folder, database.url(), "append");
    folder.write("in.csv", "id,word\n1,fine\n2,be\0fore\n3,fine\n");
    run(&folder, &["orders.yaml"]).failed(1, "WEIR-PG-051", "data").says(&["NUL"]);
    assert_eq!(rows_of(&database, "target"), Vec::<String>::new());
    folder.write("in.csv", "id,word\n1,fine\n2,before\n3,fine\n");
    run(&folder, &["orders.yaml"]).wrote(3);
    assert_eq!(rows_of(&database, "target"), ["1,fine", "2,before", "3,fine"]);
}

#[test]
fn discard_row_keeps_rows_out_of_a_table_that_has_no_column_for_them() {
    let server = PostgresServer::shared().unwrap();
    let database = server.create_database().unwrap();
    database.execute("CREATE TABLE target (id bigint, word text)").unwrap();
    let folder = Folder::new();
    folder.write("in.csv", "id,word,new\n1,a,\n2,b,7\n3,c,\n");
    folder.write(
        "orders.yaml",
        format!(
            "pipeline: orders\nsource: {{file: {{path: in.csv}}}}\n\
             sink: {{postgres: {{url: \"{}\", table: public.target}}}}\n\
             on_schema_change: discard_row\ndead_letters: {{allow: 1}}\n",
            database.url()
        ),
    );
    let ran = run(&folder, &["orders.yaml"]);
    assert_eq!((ran.code, ran.counts()), (0, [3, 2, 0, 1]), "{}", ran.report);
    assert_eq!(rows_of(&database, "target"), ["1,a", "3,c"]);
    let shown = folder.weir(&["dead", "show", "orders"]).ok();
    assert!(shown.out.contains("WEIR-ROW-003") && shown.out.contains("no column `new`"), "{}", shown.shown());
}
