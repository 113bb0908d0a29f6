//! Damage at the sink of a pipeline that stands still: each kind is found, exactly, and mended, exactly.

use super::scene::{Scene, TABLE, owned};

/// What is done to the target, and what must be found: `(id, kind, columns)`.
pub type Damage<'a> = (&'a str, Vec<(i64, &'a str, Vec<&'a str>)>);

pub fn damages() -> Vec<Damage<'static>> {
    let differs = |id: i64, column: &'static str| vec![(id, "differs", vec![column])];
    vec![
        ("DELETE FROM t WHERE id = 7", vec![(7, "missing", vec![])]),
        ("INSERT INTO t (id, name) VALUES (-5, 'nobody')", vec![(-5, "extra", vec![])]),
        ("UPDATE t SET name = 'other' WHERE id = 11", differs(11, "name")),
        ("UPDATE t SET note = NULL WHERE id = 12", differs(12, "note")),
        ("UPDATE t SET note = '' WHERE id = 13", differs(13, "note")),
        ("UPDATE t SET name = name || ' ' WHERE id = 14", differs(14, "name")),
        ("UPDATE t SET f = f + 3.552713678800501e-15 WHERE id = 15", differs(15, "f")),
        ("UPDATE t SET amount = amount + 0.01 WHERE id = 16", differs(16, "amount")),
        ("UPDATE t SET ts = ts + interval '1 microsecond' WHERE id = 17", differs(17, "ts")),
        ("UPDATE t SET at = at + interval '1 hour' WHERE id = 18", differs(18, "at")),
        (
            "UPDATE t SET name = CASE id WHEN 20 THEN 'name 21' ELSE 'name 20' END WHERE id IN (20, 21)",
            vec![(20, "differs", vec!["name"]), (21, "differs", vec!["name"])],
        ),
        ("UPDATE t SET name = upper(name) WHERE id = 22", differs(22, "name")),
        ("UPDATE t SET raw = '{\"b\": 1, \"a\": 23}' WHERE id = 23", differs(23, "raw")),
        ("UPDATE t SET doc = doc || '{\"b\": \"y\"}' WHERE id = 24", differs(24, "doc")),
        ("UPDATE t SET b = set_byte(b, 0, 1) WHERE id = 25", differs(25, "b")),
        ("UPDATE t SET iv = interval '24 hours' WHERE id = 26", differs(26, "iv")),
        ("UPDATE t SET tags[2] = 'NULL' WHERE id = 27", differs(27, "tags")),
        ("UPDATE t SET d = d + 1, flag = NOT flag, r = r + 1 WHERE id = 28", vec![(28, "differs", vec!["r", "d", "flag"])]),
        ("UPDATE t SET e = 'happy', u = md5('x')::uuid WHERE id = 29", vec![(29, "differs", vec!["e", "u"])]),
        ("UPDATE t SET tm = NULL, net = '10.0.0.1/8' WHERE id = 30", vec![(30, "differs", vec!["tm", "net"])]),
        ("INSERT INTO t SELECT * FROM t WHERE id = 31", vec![(31, "repeated", vec![])]),
        ("UPDATE t SET id = 100000 WHERE id = 32", vec![(32, "missing", vec![]), (100_000, "extra", vec![])]),
    ]
}

#[test]
fn every_kind_of_damage_is_found_exactly_and_mended_exactly() {
    let scene = Scene::batch(", write_mode: overwrite");
    scene.source().execute(TABLE).unwrap();
    scene.run();
    // So that a row can be there twice.
    scene.target().execute("ALTER TABLE t DROP CONSTRAINT IF EXISTS t_pkey").unwrap();
    let said = scene.verify(&[]);
    assert_eq!((said.code, said.differing(), said.count("rows_source"), said.count("rows_sink")), (0, vec![], 3000, 3000));
    assert_eq!(said.stream["left_out"].as_array().unwrap().len(), 0, "{}", said.stream);
    let good = scene.rows(scene.target());
    // All of it at once: each is at rows of its own, and starting the program takes longer than comparing.
    let mut expected = Vec::new();
    for (sql, of) in damages() {
        scene.target().execute(sql).unwrap();
        expected.extend(of);
    }
    let said = scene.verify(&[]);
    assert_eq!((said.code, said.differing()), (1, owned(&expected)), "{}", said.stream);
    let before = scene.target().rows("SELECT id, xmin FROM t ORDER BY id").unwrap();
    let said = scene.verify(&["--repair"]);
    assert_eq!((said.code, said.count("repaired"), said.differing()), (0, expected.len() as u64, vec![]), "{}", said.stream);
    assert_eq!(scene.rows(scene.target()), good);
    // Nothing else was touched.
    let after = scene.target().rows("SELECT id, xmin FROM t ORDER BY id").unwrap();
    let touched = after.iter().filter(|row| !before.contains(row)).count();
    assert!(touched <= expected.len(), "{touched} rows were written for {} keys", expected.len());
}

#[test]
fn what_means_the_same_is_equal_whatever_it_looks_like() {
    let scene = Scene::batch(", write_mode: overwrite");
    scene.source().execute(TABLE).unwrap();
    scene.run();
    scene.target()
        .execute(
            "ALTER TABLE t ALTER amount TYPE numeric(16,6), ALTER r TYPE float8, ALTER raw TYPE jsonb, ADD COLUMN remark text DEFAULT 'mine'; \
             UPDATE t SET doc = '{\"b\":\"x\",   \"a\":1,\"a\":1}' WHERE id = 1",
        )
        .unwrap();
    let said = scene.verify(&[]);
    assert_eq!((said.code, said.differing()), (0, vec![]), "{}", said.stream);
    assert_eq!(said.stream["left_out"], serde_json::json!([{"column": "remark", "why": "only the sink has it"}]));
    // A repair leaves the column alone that only the sink has.
    scene.target().execute("UPDATE t SET name = 'x', remark = 'kept' WHERE id = 5").unwrap();
    assert_eq!(scene.verify(&["--repair"]).code, 0);
    assert_eq!(scene.target().value("SELECT name || ', ' || remark FROM t WHERE id = 5").unwrap(), "name 5, kept");
}

#[test]
fn extra_rows_are_told_and_no_error_where_the_sink_keeps_them() {
    let scene = Scene::batch(", write_mode: upsert");
    scene.source().execute(TABLE).unwrap();
    scene.run();
    scene.source().execute("DELETE FROM t WHERE id <= 3; UPDATE t SET name = 'new' WHERE id = 4").unwrap();
    let said = scene.verify(&["--repair"]);
    assert_eq!((said.code, said.count("kept"), said.count("repaired")), (0, 3, 1), "{}", said.stream);
    assert_eq!(scene.target().value("SELECT count(*) FROM t WHERE id <= 4").unwrap(), "4");
}

#[test]
fn many_differences_are_all_counted_and_only_some_listed() {
    let scene = Scene::batch(", write_mode: overwrite");
    scene.source().execute(TABLE).unwrap();
    scene.run();
    scene.target().execute("UPDATE t SET name = name || '!' WHERE id > 10").unwrap();
    let said = scene.verify(&["--list", "5"]);
    assert_eq!((said.code, said.count("differing_keys"), said.differing().len()), (1, 2990, 5));
    let (code, out, err) = scene.shown(&["--list", "1"]);
    assert_eq!(code, 1, "{err}");
    assert!(out.contains("not equal") && out.contains("2,990 keys differ") && out.contains("2,989 more"), "{out}");
    assert!(!out.contains("name 11"), "values are nobody's business: {out}");
    let said = scene.verify(&["--repair"]);
    assert_eq!((said.code, said.count("repaired")), (0, 2990));
    assert_eq!(scene.rows(scene.source()), scene.rows(scene.target()));
}

#[test]
fn keys_of_any_kind_are_compared_and_mended() {
    let scene = Scene::batch(", write_mode: overwrite");
    scene.source()
        .execute(
            "CREATE TYPE mood AS ENUM ('z', 'a'); CREATE TABLE t (a text, b timestamptz, c numeric(8,3), d mood, e char(4), id int, v text, \
             PRIMARY KEY (a, b, c, d, e, id)); \
             INSERT INTO t SELECT x, timestamptz '2024-01-01 00:00:00.000001+02', 1.5, 'z', 'p', row_number() OVER (), 'v' FROM \
             unnest(ARRAY['', ' ', 'NULL', '\"', '\\', '{}', ',', 'ä', 'Ä', e'tab\\t', e'line\\n', '😀']) x",
        )
        .unwrap();
    scene.run();
    assert_eq!(scene.verify(&[]).code, 0);
    // The enum's order is another one as text.
    scene
        .target()
        .execute(
            "ALTER TABLE t ALTER d TYPE text; UPDATE t SET v = id::text; DELETE FROM t WHERE id = 4; INSERT INTO t VALUES \
        ('new', now(), 3, 'no mood', 'x', 99, '')",
        )
        .unwrap();
    let said = scene.verify(&[]);
    assert_eq!((said.code, said.count("differing_keys")), (1, 13), "{}", said.stream);
    let said = scene.verify(&["--repair"]);
    assert_eq!((said.code, said.count("repaired")), (0, 13), "{}", said.stream);
    assert_eq!(scene.rows(scene.source()), scene.rows(scene.target()));
}

#[test]
fn rows_that_are_changed_on_the_way_are_compared_as_the_sink_gets_them() {
    let source = "source:\n  postgres: {url: 'SOURCE', tables: [public.t]}\ntransforms:\n  - filter: id % 2 = 0\n";
    let scene = Scene::custom(source, ", write_mode: overwrite, key: [id]", &[]);
    scene.source().execute(TABLE).unwrap();
    scene.run();
    let said = scene.verify(&[]);
    assert_eq!((said.code, said.count("rows_source"), said.count("rows_sink")), (0, 1500, 1500), "{}", said.stream);
    // Of a server's own text.
    let left: Vec<&str> =
        said.stream["left_out"].as_array().unwrap().iter().map(|left| left["column"].as_str().unwrap()).collect();
    assert_eq!(left, ["tags"], "{}", said.stream);
    scene
        .target()
        .execute("DELETE FROM t WHERE id = 8; UPDATE t SET f = -f, name = NULL WHERE id = 10; INSERT INTO t (id) VALUES (11)")
        .unwrap();
    let said = scene.verify(&[]);
    let expected = [(8, "missing", vec![]), (10, "differs", vec!["name", "f"]), (11, "extra", vec![])];
    assert_eq!(said.differing(), owned(&expected), "{}", said.stream);
    assert_eq!(scene.verify(&["--repair"]).code, 0);
    let sql = "SELECT id, name, f FROM t WHERE id % 2 = 0 ORDER BY id";
    assert_eq!(scene.source().rows(sql).unwrap(), scene.target().rows(sql).unwrap());
}

#[test]
fn a_file_is_compared_with_the_table_that_it_was_loaded_into() {
    let rows: String = (1..=2000).map(|id| format!("{id},name {id},{id}.50,2024-01-02T03:04:05Z\n")).collect();
    let csv = format!("id,name,amount,at\n{rows}");
    let source = "source:\n  file: {path: data.csv}\n";
    let scene = Scene::custom(source, ", table: public.t, write_mode: upsert, key: [id]", &[("data.csv", &csv)]);
    scene.run();
    let said = scene.verify(&[]);
    assert_eq!((said.code, said.count("rows_source"), said.count("rows_sink")), (0, 2000, 2000), "{}", said.stream);
    scene.target().execute("UPDATE t SET amount = amount + 0.01 WHERE id = 77; DELETE FROM t WHERE id = 78").unwrap();
    let said = scene.verify(&[]);
    assert_eq!(said.differing(), owned(&[(77, "differs", vec!["amount"]), (78, "missing", vec![])]), "{}", said.stream);
    let said = scene.verify(&["--repair"]);
    assert_eq!((said.code, said.count("repaired")), (0, 2), "{}", said.stream);
    assert_eq!(scene.target().value("SELECT name || amount FROM t WHERE id = 78").unwrap(), "name 7878.5");
}
