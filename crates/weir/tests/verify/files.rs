//! Files as sinks: damaged by another pipeline that writes there, or the source is changed behind the pipeline's back, which is the same.

use std::sync::atomic::{AtomicBool, Ordering};

use weir_testkit::PostgresServer;
use weir_testkit::mysql::Flavor;
use weir_testkit::{Minio, MysqlServer, postgres::Database};

use super::damage::damages;
use super::scene::{Scene, TABLE, owned};

fn postgres() -> Database {
    PostgresServer::shared().unwrap().create_database().unwrap()
}

const CHANGED: &str = "INSERT INTO t SELECT * FROM t WHERE false; DELETE FROM t WHERE id = 7; INSERT INTO t (id, name) VALUES (-5, 'new'); \
    UPDATE t SET name = name || ' ' WHERE id = 14; UPDATE t SET f = f + 3.552713678800501e-15 WHERE id = 15; \
    UPDATE t SET ts = ts + interval '1 microsecond', at = at + interval '1 hour' WHERE id = 17; UPDATE t SET note = NULL WHERE id = 12; \
    UPDATE t SET b = set_byte(b, 0, 1), d = d + 1, flag = NOT flag, amount = amount + 0.01 WHERE id = 18";

fn found() -> Vec<(i64, String, Vec<String>)> {
    owned(&[
        (7, "extra", vec![]),
        (-5, "missing", vec![]),
        (14, "differs", vec!["name"]),
        (15, "differs", vec!["f"]),
        (17, "differs", vec!["ts", "at"]),
        (12, "differs", vec!["note"]),
        (18, "differs", vec!["amount", "d", "flag", "b"]),
    ])
}

#[test]
fn a_folder_of_rows_is_compared_with_the_table_that_it_came_from() {
    let source = postgres();
    // Parquet has no such interval.
    source.execute(format!("{TABLE}; ALTER TABLE t DROP iv")).unwrap();
    let scene = Scene::of_files(
        "postgres",
        source.url(),
        "public.t",
        "file: {path: 'lake/{table}/', write_mode: overwrite, key: [id], partition_by: [flag]}",
    );
    scene.run();
    let said = scene.verify(&[]);
    assert_eq!((said.code, said.count("rows_source"), said.count("rows_sink")), (0, 3000, 3000), "{}", said.stream);
    source.execute(CHANGED).unwrap();
    let said = scene.verify(&[]);
    assert_eq!((said.code, said.differing()), (1, found()), "{}", said.stream);
    let said = scene.verify(&["--repair"]);
    assert_eq!((said.code, said.count("repaired"), said.count("rows_sink")), (0, 7, 3000), "{}", said.stream);
    scene.run();
    assert_eq!(scene.verify(&[]).code, 0);
}

/// A copy of the table in another database with damage of every kind that files can show; and what must be found.
fn damaged(leaves_out: &[&str]) -> (Database, Vec<(i64, String, Vec<String>)>) {
    let copy = postgres();
    copy.execute(format!("{TABLE}; ALTER TABLE t DROP iv; ALTER TABLE t DROP CONSTRAINT t_pkey")).unwrap();
    let mut found = Vec::new();
    // Files have no intervals, and arrays are compared by servers only.
    for (sql, expected) in damages().into_iter().filter(|(sql, _)| !leaves_out.iter().any(|word| sql.contains(word))) {
        copy.execute(sql).unwrap();
        found.extend(expected);
    }
    (copy, owned(&found))
}

#[test]
fn every_kind_of_damage_in_files_is_found_exactly_and_mended_exactly() {
    let source = postgres();
    source.execute(format!("{TABLE}; ALTER TABLE t DROP iv")).unwrap();
    let sink = "file: {path: 'lake/{table}/', write_mode: upsert, roll_secs: 0}";
    let scene = Scene::of_files("postgres-cdc", source.url(), "public.t", sink).with_slot(&source);
    scene.run();
    let (copy, expected) = damaged(&["iv =", "tags"]);
    scene.replaced_from(copy.url(), "file: {path: 'lake/{table}/', write_mode: overwrite}");
    let said = scene.verify(&["--as-is"]);
    assert_eq!((said.code, said.differing()), (1, expected.clone()), "{}", said.stream);
    let said = scene.verify(&["--as-is", "--repair"]);
    assert_eq!((said.code, said.count("repaired"), said.count("rows_sink")), (0, expected.len() as u64, 3000), "{}", said.stream);
    // The log goes on where it was, over rows that were mended and others.
    source.execute(CHANGED).unwrap();
    source.execute("UPDATE t SET name = 'log' WHERE id IN (11, 31, 32, 500); DELETE FROM t WHERE id = 20").unwrap();
    scene.run();
    let said = scene.verify(&["--as-is"]);
    assert_eq!((said.code, said.count("rows_source"), said.count("rows_sink")), (0, 2999, 2999), "{}", said.stream);
}

#[test]
fn files_are_mended_while_their_pipeline_writes_them() {
    let source = postgres();
    source.execute(format!("{TABLE}; ALTER TABLE t DROP iv; DELETE FROM t WHERE id > 500")).unwrap();
    let sink = "file: {path: 'lake/{table}/', write_mode: upsert, roll_secs: 0, partition_by: [flag]}";
    let scene = Scene::of_files("postgres-cdc", source.url(), "public.t", sink).with_slot(&source);
    scene.run();
    // The log's changes need each row once: of several with one key nobody knows which is meant.
    let (copy, expected) = damaged(&["iv =", "tags", "INSERT INTO t SELECT"]);
    copy.execute("DELETE FROM t WHERE id > 500 AND id < 100000").unwrap();
    scene.replaced_from(copy.url(), "file: {path: 'lake/{table}/', write_mode: overwrite, partition_by: [flag]}");
    let mut running = scene.start();
    let done = AtomicBool::new(false);
    let said = std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 1..5_000 {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                let id = 100 + turn % 300;
                source.execute(format!("UPDATE t SET name = 'turn {turn}', flag = NOT flag WHERE id = {id}")).unwrap();
            }
        });
        let said = scene.verify(&["--repair", "--rounds", "30"]);
        done.store(true, Ordering::Relaxed);
        said
    });
    assert_eq!((said.count("repaired"), said.differing()), (expected.len() as u64, vec![]), "{}", said.stream);
    running.must_live(&scene);
    let said = scene.verify(&[]);
    assert_eq!(
        (said.code, said.count("rows_source"), said.count("rows_sink")),
        (0, 500, 500),
        "{}\n{}",
        said.stream,
        scene.log()
    );
    assert!(scene.log().contains("WEIR-FILE-104") || scene.log().contains("mended meanwhile"), "{}", scene.log());
}

#[test]
fn a_file_that_is_cut_short_or_gone_is_not_mended_but_told() {
    let source = postgres();
    source.execute(format!("{TABLE}; ALTER TABLE t DROP iv; DELETE FROM t WHERE id > 50")).unwrap();
    let sink = "file: {path: 'lake/{table}/', write_mode: upsert, roll_secs: 0}";
    let scene = Scene::of_files("postgres-cdc", source.url(), "public.t", sink).with_slot(&source);
    scene.run();
    let content = scene.files("lake/t/_weir/data").pop().unwrap();
    let whole = std::fs::read(&content).unwrap();
    std::fs::write(&content, &whole[..whole.len() - 100]).unwrap();
    let (code, _, err) = scene.shown(&["--as-is", "--repair"]);
    assert!(code != 0 && err.contains("WEIR-FILE-012") && err.contains("restore the file"), "{err}");
    std::fs::remove_file(&content).unwrap();
    let (code, _, err) = scene.shown(&["--as-is", "--repair"]);
    assert!(code != 0 && err.contains("WEIR-FILE-013") && err.contains("restore the file"), "{err}");
    std::fs::write(&content, &whole).unwrap();
    assert_eq!(scene.verify(&["--as-is"]).code, 0);
}

#[test]
fn a_folder_of_changes_is_compared_as_the_table_that_they_amount_to() {
    let source = postgres();
    source.execute(format!("{TABLE}; ALTER TABLE t DROP iv, ADD big text; ALTER TABLE t ALTER big SET STORAGE EXTERNAL; UPDATE t SET big = repeat('x', 3000) || id WHERE id < 50; DELETE FROM t WHERE id > 900")).unwrap();
    let sink = "file: {path: 'lake/{table}/', write_mode: append, roll_secs: 0}";
    let scene = Scene::of_files("postgres-cdc", source.url(), "public.t", sink).with_slot(&source);
    // Nothing is there yet.
    scene.run();
    // Large values that the log leaves out, keys that change, rows that come again.
    source
        .execute(
            "UPDATE t SET name = 'changed' WHERE id < 20; UPDATE t SET id = id + 10000 WHERE id BETWEEN 30 AND 40; DELETE FROM t WHERE id = 1; \
             INSERT INTO t (id, name) VALUES (1, 'again'); UPDATE t SET big = NULL WHERE id = 2; DELETE FROM t WHERE id > 10035",
        )
        .unwrap();
    scene.run();
    let said = scene.verify(&["--as-is"]);
    assert_eq!((said.code, said.differing()), (0, vec![]), "{}", said.stream);
    assert_eq!(said.count("rows_source"), said.count("rows_sink"), "{}", said.stream);
    source.execute(CHANGED).unwrap();
    let said = scene.verify(&["--as-is"]);
    assert_eq!((said.code, said.differing()), (1, found()), "{}", said.stream);
    let said = scene.verify(&["--as-is", "--repair"]);
    assert_eq!((said.code, said.count("repaired")), (0, 7), "{}", said.stream);
    // The log brings the same once more, after the corrections.
    scene.run();
    assert_eq!(scene.verify(&["--as-is"]).code, 0);
    // What was there before the table was emptied is gone.
    source.execute("TRUNCATE t; INSERT INTO t (id, name) VALUES (1, 'first'), (5, NULL)").unwrap();
    scene.run();
    let said = scene.verify(&["--as-is"]);
    assert_eq!((said.code, said.count("rows_source"), said.count("rows_sink")), (0, 2, 2), "{}", said.stream);
}

#[test]
fn a_folder_of_changes_of_mysql_is_compared_while_its_pipeline_runs() {
    let source = MysqlServer::shared(Flavor::MySql).unwrap().create_database().unwrap();
    source
        .execute(
            "CREATE TABLE t (id int PRIMARY KEY, name varchar(40), doc json, f double, at timestamp(6) NULL); \
             INSERT INTO t VALUES (1, 'a', '{\"b\": 1}', 0.1, '2024-01-01'), (2, 'b', NULL, NULL, NULL), (3, 'c', '[1.0]', 1e300, '2024-01-01 00:00:00.000001')",
        )
        .unwrap();
    let sink = "file: {path: 'lake/{table}/', write_mode: append, roll_secs: 0}";
    let scene = Scene::of_files("mysql-cdc", source.url(), &format!("{}.t", source.name()), sink);
    let mut running = scene.start();
    // Waits for the snapshot, and for whatever comes: nothing is accused meanwhile.
    let said = scene.verify(&[]);
    assert_eq!((said.code, said.count("rows_source"), said.differing()), (0, 3, vec![]), "{}", said.stream);
    source.execute("UPDATE t SET name = 'z' WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO t (id) VALUES (4); UPDATE t SET id = 30 WHERE id = 3").unwrap();
    let said = scene.verify(&[]);
    assert_eq!((said.code, said.count("rows_source"), said.count("in_motion")), (0, 3, 0), "{}", said.stream);
    running.must_live(&scene);
}

#[test]
fn a_bucket_is_compared_and_mended_as_a_folder_is() {
    for mode in ["append", "upsert"] {
        let (source, minio) = (postgres(), Minio::shared().unwrap());
        let bucket = minio.create_bucket().unwrap();
        source.execute(format!("{TABLE}; ALTER TABLE t DROP iv; DELETE FROM t WHERE id > 300")).unwrap();
        let sink = format!(
            "s3: {{endpoint: '{}', region: '{}', bucket: {}, access_key: {}, secret_key: {}, path: 'lake/{{table}}', write_mode: {mode}, roll_secs: 0}}",
            minio.endpoint(),
            minio.region(),
            bucket.name(),
            minio.access_key(),
            minio.secret_key()
        );
        let scene = Scene::of_files("postgres-cdc", source.url(), "public.t", &sink).with_slot(&source);
        scene.run();
        let said = scene.verify(&["--as-is"]);
        assert_eq!((said.code, said.count("rows_source"), said.count("rows_sink")), (0, 300, 300), "{}", said.stream);
        source.execute(CHANGED).unwrap();
        let said = scene.verify(&["--as-is"]);
        assert_eq!((said.code, said.differing()), (1, found()), "{}", said.stream);
        let said = scene.verify(&["--as-is", "--repair"]);
        assert_eq!((said.code, said.count("repaired")), (0, 7), "{}", said.stream);
        scene.run();
        assert_eq!(scene.verify(&["--as-is"]).code, 0, "{mode}");
    }
}

#[test]
fn files_that_do_not_keep_types_and_messages_are_refused() {
    let source = postgres();
    source.execute("CREATE TABLE t (id int PRIMARY KEY)").unwrap();
    for (kind, sink, why) in [
        ("postgres", "file: {path: 'lake/', format: csv}", "do not keep the types"),
        ("postgres-cdc", "file: {path: 'lake/', format: debezium}", "messages are not compared"),
    ] {
        let scene = Scene::of_files(kind, source.url(), "public.t", sink);
        let (code, _, err) = scene.shown(&[]);
        assert!(code != 0 && err.contains("WEIR-FILE-121") && err.contains(why), "{err}");
    }
}
