//! A pipeline of changes that runs all the while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use weir_testkit::mysql::Flavor;
use weir_testkit::postgres::Database;
use weir_testkit::{MysqlDatabase, MysqlServer, PostgresServer};

use super::scene::{Scene, TABLE};

/// Between two transactions: a pipeline in a debug build on a busy machine keeps up with so many, and one that does not would only be waited for.
const BEAT: Duration = Duration::from_millis(8);

/// Changes the source until it is told to stop; a few keys all the time, the others now and then.
struct Writer {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// One transaction, in the words of both families.
fn transaction(n: u64) -> Vec<String> {
    let (hot, cold) = (n % 10 + 1, n.wrapping_mul(7919) % 400 + 101);
    match n % 5 {
        0 => vec![format!("DELETE FROM t WHERE id = {cold}")],
        1 => vec![format!("INSERT INTO t (id, name) VALUES ({}, 'new {n}')", n + 100_000)],
        2 => vec![format!("UPDATE t SET id = {} WHERE id = {cold}", n + 200_000)],
        3 => vec![format!("DELETE FROM t WHERE id = {hot}"), format!("INSERT INTO t (id, name) VALUES ({hot}, 'again {n}')")],
        _ => vec![format!("UPDATE t SET name = 'n{n}', amount = {} WHERE id IN ({hot}, {cold})", n % 1000)],
    }
}

impl Writer {
    /// `execute` runs one statement as a transaction.
    fn start(mut execute: impl FnMut(&str) + Send + 'static) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, counted) = (stop.clone(), done.clone());
        let thread = std::thread::spawn(move || {
            let mut n: u64 = 0;
            while !told.load(Ordering::Relaxed) {
                n += 1;
                transaction(n).iter().for_each(|sql| execute(sql));
                counted.store(n, Ordering::Relaxed);
                std::thread::sleep(BEAT);
            }
        });
        Self { stop, done, thread: Some(thread) }
    }

    fn of_postgres(source: &Database) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(source.client()).unwrap();
        Self::start(move |sql| runtime.block_on(client.batch_execute(sql)).unwrap())
    }

    fn of_mysql(source: &MysqlDatabase) -> Self {
        let source = source.clone();
        Self::start(move |sql| source.execute(sql).unwrap())
    }

    fn transactions(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_running_pipeline_under_a_writer_is_never_accused_and_its_damage_is_found_and_mended() {
    let scene = Scene::cdc("");
    scene.source().execute(TABLE).unwrap();
    let mut running = scene.start();
    scene.until("SELECT count(*) FROM t", "3000");
    let writer = Writer::of_postgres(scene.source());
    for _ in 0..3 {
        let before = writer.transactions();
        let said = scene.verify(&["--rounds", "10"]);
        assert_eq!((said.differing(), said.count("differing_keys")), (vec![], 0), "{}", said.stream);
        assert!(writer.transactions() > before, "the writer went on");
        running.must_live(&scene);
    }
    // Keys that the writer leaves alone.
    scene
        .target()
        .execute("DELETE FROM t WHERE id = 50; UPDATE t SET name = 'x' WHERE id = 51; INSERT INTO t (id) VALUES (-1)")
        .unwrap();
    let said = scene.verify(&["--rounds", "10"]);
    let expected = [(-1, "extra", vec![]), (50, "missing", vec![]), (51, "differs", vec!["name".to_string()])];
    assert_eq!(said.differing(), expected.map(|(id, kind, columns)| (id, kind.to_string(), columns)), "{}", said.stream);
    let said = scene.verify(&["--rounds", "10", "--repair"]);
    assert_eq!((said.count("repaired"), said.count("differing_keys")), (3, 0), "{}", said.stream);
    writer.stop();
    running.must_live(&scene);
    let said = scene.verify(&[]);
    assert_eq!((said.code, said.count("in_motion"), said.count("differing_keys")), (0, 0, 0), "{}", said.stream);
    assert_eq!(scene.rows(scene.source()), scene.rows(scene.target()));
}

#[test]
fn rows_that_are_mended_under_a_writer_do_not_overwrite_what_is_newer() {
    let scene = Scene::cdc("");
    scene.source().execute(TABLE).unwrap();
    let mut running = scene.start();
    scene.until("SELECT count(*) FROM t", "3000");
    let writer = Writer::of_postgres(scene.source());
    // Also keys that the writer changes, so that both write the same rows.
    for turn in 0..2 {
        scene
            .target()
            .execute(format!(
                "UPDATE t SET note = 'damage {turn}' WHERE id % 4 = 0; DELETE FROM t WHERE id % 7 = {turn} AND id > 60"
            ))
            .unwrap();
        let said = scene.verify(&["--rounds", "10", "--repair"]);
        assert_eq!(said.count("differing_keys"), 0, "{}", said.stream);
        assert!(said.count("repaired") > 100, "{}", said.stream);
        running.must_live(&scene);
    }
    writer.stop();
    let said = scene.verify(&["--repair"]);
    assert_eq!((said.code, said.count("in_motion")), (0, 0), "{}", said.stream);
    assert_eq!(scene.rows(scene.source()), scene.rows(scene.target()));
    running.must_live(&scene);
}

#[test]
fn rows_that_are_marked_as_deleted_are_absent() {
    let scene = Scene::cdc(", delete_mode: soft");
    scene.source().execute(TABLE).unwrap();
    let _running = scene.start();
    scene.until("SELECT count(*) FROM t", "3000");
    scene.source().execute("DELETE FROM t WHERE id <= 5").unwrap();
    scene.until("SELECT count(*) FROM t WHERE _deleted", "5");
    let said = scene.verify(&[]);
    assert_eq!((said.code, said.count("rows_source"), said.count("rows_sink")), (0, 2995, 2995), "{}", said.stream);
    // One that should be marked is not, and one is that should not be.
    scene.target().execute("UPDATE t SET _deleted = false WHERE id = 1; UPDATE t SET _deleted = true WHERE id = 10").unwrap();
    let said = scene.verify(&[]);
    let expected = [(1, "extra".to_string(), vec![]), (10, "missing".to_string(), vec![])];
    assert_eq!(said.differing(), expected, "{}", said.stream);
    assert_eq!(scene.verify(&["--repair"]).code, 0);
    assert_eq!(scene.target().value("SELECT string_agg(id::text, ',' ORDER BY id) FROM t WHERE _deleted").unwrap(), "1,2,3,4,5");
}

#[test]
fn a_pipeline_that_stands_still_is_not_settled_unless_it_is_taken_as_it_is() {
    let scene = Scene::cdc("");
    scene.source().execute(TABLE).unwrap();
    scene.run();
    // Equal sides need no proof of where the pipeline is.
    assert_eq!(scene.verify(&["--wait", "1s"]).code, 0);
    scene.source().execute("UPDATE t SET name = 'later' WHERE id = 9").unwrap();
    let said = scene.verify(&["--wait", "1s"]);
    assert_eq!((said.code, said.count("differing_keys"), said.count("in_motion")), (1, 0, 1), "{}", said.stream);
    assert!(said.stream["notes"][0].as_str().unwrap().contains("is the pipeline running?"), "{}", said.stream);
    let said = scene.verify(&["--as-is"]);
    assert_eq!((said.code, said.differing()), (1, vec![(9, "differs".to_string(), vec!["name".to_string()])]), "{}", said.stream);
}

#[test]
fn each_sink_of_a_log_is_compared_for_itself() {
    let scene = Scene::cdc("").with_second_sink();
    scene.source().execute(TABLE).unwrap();
    let _running = scene.start();
    scene.until("SELECT count(*) FROM u", "3000");
    scene.until("SELECT count(*) FROM t", "3000");
    scene.source().execute("DELETE FROM t WHERE id = 1").unwrap();
    scene.target().execute("UPDATE u SET name = NULL WHERE id = 5").unwrap();
    let said = scene.verify_all(&[]);
    assert_eq!((said.len(), said[0].code), (2, 1));
    assert_eq!(said[0].stream["equal"], true, "{}", said[0].stream);
    assert_eq!(said[1].differing(), vec![(5, "differs".to_string(), vec!["name".to_string()])], "{}", said[1].stream);
    assert_eq!(scene.verify_all(&["--repair"])[1].code, 0);
    assert_eq!(scene.target().value("SELECT name FROM u WHERE id = 5").unwrap(), "name 5");
}

/// Under a writer nothing is accused; damage of keys that rest is found and mended; at rest both sides are equal.
fn live(scene: &Scene, writer: Writer, damage: impl Fn(), ready: impl Fn() -> bool) {
    let mut running = scene.start();
    let begun = std::time::Instant::now();
    while !ready() {
        assert!(begun.elapsed() < Duration::from_secs(60), "not in a minute\n{}", scene.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let before = writer.transactions();
    let said = scene.verify(&["--rounds", "10"]);
    assert_eq!((said.differing(), said.count("differing_keys")), (vec![], 0), "{}", said.stream);
    assert!(writer.transactions() > before, "the writer went on");
    damage();
    let said = scene.verify(&["--rounds", "10", "--repair"]);
    assert_eq!((said.count("repaired"), said.differing()), (3, vec![]), "{}", said.stream);
    writer.stop();
    let said = scene.verify(&[]);
    assert_eq!((said.code, said.count("in_motion"), said.count("differing_keys")), (0, 0, 0), "{}", said.stream);
    assert_eq!(said.count("rows_source"), said.count("rows_sink"), "{}", said.stream);
    running.must_live(scene);
}

/// Of keys that the writer leaves alone.
const DAMAGE: [&str; 3] =
    ["DELETE FROM t WHERE id = 50", "UPDATE t SET name = 'x' WHERE id = 51", "INSERT INTO t (id, name) VALUES (-1, 'nobody')"];

const SMALL: &str = "CREATE TABLE t (id bigint PRIMARY KEY, name varchar(40), amount decimal(12,2), f double precision)";

fn small(database: impl Fn(&str)) {
    database(SMALL);
    let rows: Vec<String> = (1..=500).map(|id| format!("({id}, 'name {id}', {id}.5, 0.1)")).collect();
    database(&format!("INSERT INTO t VALUES {}", rows.join(", ")));
}

#[test]
fn a_running_pipeline_from_mysql_is_never_accused_and_its_damage_is_found_and_mended() {
    let source = MysqlServer::shared(Flavor::MySql).unwrap().create_database().unwrap();
    let target = PostgresServer::shared().unwrap().create_database().unwrap();
    small(|sql| source.execute(sql).unwrap());
    let scene =
        Scene::of("mysql-cdc", source.url(), &format!("{}.t", source.name()), "postgres", target.url(), ", table: public.t");
    let damage = || DAMAGE.iter().for_each(|sql| target.execute(*sql).unwrap());
    let ready = || target.value("SELECT count(*) > 400 FROM t").is_ok_and(|answer| answer == "t");
    live(&scene, Writer::of_mysql(&source), damage, ready);
}

#[test]
fn a_running_pipeline_from_mariadb_into_mysql_is_never_accused_and_its_damage_is_found_and_mended() {
    let source = MysqlServer::shared(Flavor::MariaDb).unwrap().create_database().unwrap();
    let target = MysqlServer::shared(Flavor::MySql).unwrap().create_database().unwrap();
    small(|sql| source.execute(sql).unwrap());
    let sink = format!(", table: t, state_schema: {}", target.name());
    let scene = Scene::of("mariadb-cdc", source.url(), &format!("{}.t", source.name()), "mysql", target.url(), &sink);
    let damage = || DAMAGE.iter().for_each(|sql| target.execute(*sql).unwrap());
    let ready = || target.value("SELECT COUNT(*) > 400 FROM t").is_ok_and(|answer| answer == "1");
    live(&scene, Writer::of_mysql(&source), damage, ready);
}

#[test]
fn a_running_pipeline_into_mariadb_is_never_accused_and_its_damage_is_found_and_mended() {
    let source = PostgresServer::shared().unwrap().create_database().unwrap();
    let target = MysqlServer::shared(Flavor::MariaDb).unwrap().create_database().unwrap();
    small(|sql| source.execute(sql).unwrap());
    let sink = format!(", table: t, delete_mode: soft, state_schema: {}", target.name());
    let scene = Scene::of("postgres-cdc", source.url(), "public.t", "mysql", target.url(), &sink).with_slot(&source);
    let damage = || {
        // Marked instead of deleted: one that should not be, and one that should.
        target.execute("UPDATE t SET _deleted = 1 WHERE id = 50; UPDATE t SET name = 'x' WHERE id = 51").unwrap();
        target.execute("INSERT INTO t (id, name) VALUES (-1, 'nobody')").unwrap();
    };
    let ready = || target.value("SELECT COUNT(*) > 400 FROM t").is_ok_and(|answer| answer == "1");
    live(&scene, Writer::of_postgres(&source), damage, ready);
    assert_eq!(target.value("SELECT _deleted FROM t WHERE id = -1").unwrap(), "1");
}

#[test]
fn changes_through_transforms_are_compared_as_the_sink_gets_them() {
    let server = PostgresServer::shared().unwrap();
    let (source, target) = (server.create_database().unwrap(), server.create_database().unwrap());
    small(|sql| source.execute(sql).unwrap());
    let scene = Scene::of(
        "postgres-cdc",
        source.url(),
        "public.t",
        "postgres",
        target.url(),
        ", table: public.t, metadata_columns: [op]",
    )
    .with_slot(&source)
    .with_transforms("  - filter: id % 2 = 1\n  - field_mapper: {rename: {id: key}}\n  - mask: {columns: {name: redact}}\n");
    let damage = || {
        target
            .execute("DELETE FROM t WHERE key = 55; UPDATE t SET name = 'seen' WHERE key = 51; INSERT INTO t (key, name) VALUES (60, '***')")
            .unwrap();
    };
    let ready = || target.value("SELECT count(*) > 150 FROM t").is_ok_and(|answer| answer == "t");
    live(&scene, Writer::of_postgres(&source), damage, ready);
    assert_eq!(
        target.value("SELECT string_agg(key || name, ',' ORDER BY key) FROM t WHERE key IN (51, 55, 60)").unwrap(),
        "51***,55***"
    );
}
