//! A pipeline of changes that runs all the while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::scene::{Scene, TABLE};

/// Changes the source until it is told to stop; a few keys all the time, the others now and then.
struct Writer {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    fn start(scene: &Scene) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, counted, database) = (stop.clone(), done.clone(), scene.source.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = database.client().await.unwrap();
                let mut n: u64 = 0;
                while !told.load(Ordering::Relaxed) {
                    n += 1;
                    let (hot, cold) = (n % 10 + 1, n.wrapping_mul(7919) % 2800 + 101);
                    let sql = match n % 5 {
                        0 => format!("DELETE FROM t WHERE id = {cold}"),
                        1 => format!("INSERT INTO t (id, name) VALUES ({}, 'new {n}') ON CONFLICT DO NOTHING", cold + 2000),
                        2 => format!(
                            "UPDATE t SET id = {} WHERE id = {cold} AND NOT EXISTS (SELECT FROM t WHERE id = {0})",
                            cold + 5000
                        ),
                        3 => format!(
                            "BEGIN; DELETE FROM t WHERE id = {hot}; COMMIT; INSERT INTO t (id, name) VALUES ({hot}, 'again {n}')"
                        ),
                        _ => format!("UPDATE t SET name = 'n{n}', amount = {n} WHERE id IN ({hot}, {cold})"),
                    };
                    client.batch_execute(&sql).await.unwrap();
                    counted.store(n, Ordering::Relaxed);
                }
            });
        });
        Self { stop, done, thread: Some(thread) }
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
    scene.source.execute(TABLE).unwrap();
    let mut running = scene.start();
    scene.until("SELECT count(*) FROM t", "3000");
    let writer = Writer::start(&scene);
    for _ in 0..5 {
        let before = writer.transactions();
        let said = scene.verify(&["--rounds", "10"]);
        assert_eq!((said.differing(), said.count("differing_keys")), (vec![], 0), "{}", said.stream);
        assert!(writer.transactions() > before, "the writer went on");
        running.must_live(&scene);
    }
    // Keys that the writer leaves alone.
    scene
        .target
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
    assert_eq!(scene.rows(&scene.source), scene.rows(&scene.target));
}

#[test]
fn rows_that_are_mended_under_a_writer_do_not_overwrite_what_is_newer() {
    let scene = Scene::cdc("");
    scene.source.execute(TABLE).unwrap();
    let mut running = scene.start();
    scene.until("SELECT count(*) FROM t", "3000");
    let writer = Writer::start(&scene);
    // Also keys that the writer changes, so that both write the same rows.
    for turn in 0..4 {
        scene
            .target
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
    assert_eq!(scene.rows(&scene.source), scene.rows(&scene.target));
    running.must_live(&scene);
}

#[test]
fn rows_that_are_marked_as_deleted_are_absent() {
    let scene = Scene::cdc(", delete_mode: soft");
    scene.source.execute(TABLE).unwrap();
    let _running = scene.start();
    scene.until("SELECT count(*) FROM t", "3000");
    scene.source.execute("DELETE FROM t WHERE id <= 5").unwrap();
    scene.until("SELECT count(*) FROM t WHERE _deleted", "5");
    let said = scene.verify(&[]);
    assert_eq!((said.code, said.count("rows_source"), said.count("rows_sink")), (0, 2995, 2995), "{}", said.stream);
    // One that should be marked is not, and one is that should not be.
    scene.target.execute("UPDATE t SET _deleted = false WHERE id = 1; UPDATE t SET _deleted = true WHERE id = 10").unwrap();
    let said = scene.verify(&[]);
    let expected = [(1, "extra".to_string(), vec![]), (10, "missing".to_string(), vec![])];
    assert_eq!(said.differing(), expected, "{}", said.stream);
    assert_eq!(scene.verify(&["--repair"]).code, 0);
    assert_eq!(scene.target.value("SELECT string_agg(id::text, ',' ORDER BY id) FROM t WHERE _deleted").unwrap(), "1,2,3,4,5");
}

#[test]
fn a_pipeline_that_stands_still_is_not_settled_unless_it_is_taken_as_it_is() {
    let scene = Scene::cdc("");
    scene.source.execute(TABLE).unwrap();
    scene.run();
    // Equal sides need no proof of where the pipeline is.
    assert_eq!(scene.verify(&["--wait", "1s"]).code, 0);
    scene.source.execute("UPDATE t SET name = 'later' WHERE id = 9").unwrap();
    let said = scene.verify(&["--wait", "1s"]);
    assert_eq!((said.code, said.count("differing_keys"), said.count("in_motion")), (1, 0, 1), "{}", said.stream);
    assert!(said.stream["notes"][0].as_str().unwrap().contains("is the pipeline running?"), "{}", said.stream);
    let said = scene.verify(&["--as-is"]);
    assert_eq!((said.code, said.differing()), (1, vec![(9, "differs".to_string(), vec!["name".to_string()])]), "{}", said.stream);
}

#[test]
fn each_sink_of_a_log_is_compared_for_itself() {
    let scene = Scene::cdc("").with_second_sink();
    scene.source.execute(TABLE).unwrap();
    let _running = scene.start();
    scene.until("SELECT count(*) FROM u", "3000");
    scene.until("SELECT count(*) FROM t", "3000");
    scene.source.execute("DELETE FROM t WHERE id = 1").unwrap();
    scene.target.execute("UPDATE u SET name = NULL WHERE id = 5").unwrap();
    let said = scene.verify_all(&[]);
    assert_eq!((said.len(), said[0].code), (2, 1));
    assert_eq!(said[0].stream["equal"], true, "{}", said[0].stream);
    assert_eq!(said[1].differing(), vec![(5, "differs".to_string(), vec!["name".to_string()])], "{}", said[1].stream);
    assert_eq!(scene.verify_all(&["--repair"])[1].code, 0);
    assert_eq!(scene.target.value("SELECT name FROM u WHERE id = 5").unwrap(), "name 5");
}
