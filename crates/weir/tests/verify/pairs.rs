//! Between databases of different families, and into MySQL and MariaDB: many kinds of damage at once are found exactly and mended exactly.

use weir_testkit::mysql::Flavor;
use weir_testkit::{MysqlDatabase, MysqlServer, PostgresServer};

use super::scene::{Said, Scene, TABLE, owned};

/// What must be found: `(id, kind, columns)`.
type Found<'a> = Vec<(i64, &'a str, Vec<&'a str>)>;

fn mysql(flavor: Flavor) -> MysqlDatabase {
    MysqlServer::shared(flavor).unwrap().create_database().unwrap()
}

/// One column of every kind that is compared in its own way.
const OTHER: &str = "CREATE TABLE t (id bigint PRIMARY KEY, name varchar(60), note varchar(40), amount decimal(12,2), f double, r float, ts datetime(6), \
     at timestamp(6) NULL, d date, tm time(6), flag tinyint(1), big bigint unsigned, bits bit(9), one bit(1), y year, e enum('sad','ok','happy'), \
     s set('a','b'), doc json, b varbinary(20), g point) CHARACTER SET utf8mb4; \
     INSERT INTO t WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 600) \
     SELECT i, CONCAT('näme ', i), IF(i % 2, NULL, ''), i + 0.5, 1.5 + i, 0.1 * i, TIMESTAMP'2024-02-29 23:59:59.999999' + INTERVAL i HOUR, \
     TIMESTAMP'2024-03-31 01:30:00' + INTERVAL i MINUTE, DATE'2024-01-01' + INTERVAL i DAY, SEC_TO_TIME(43200 + i), i % 3 = 0, \
     18446744073709551615 - i, i % 512, i % 2, 2000 + i % 100, 'ok', IF(i % 2, 'a', 'a,b'), JSON_OBJECT('bb', i, 'a', 'x'), \
     UNHEX(CONCAT('00ff', LPAD(HEX(i), 4, '0'))), ST_GeomFromText(CONCAT('POINT(', i, ' 1)')) FROM n";

/// What the values are, of every row.
const TOLD: &str = "SELECT id, name, note, amount, f + 0e0, ts, at, d, tm, flag, big, bits + 0, one + 0, y, e, s, doc, HEX(b), HEX(g) FROM t ORDER BY id";

fn damages_of_postgres() -> Vec<(&'static str, Found<'static>)> {
    let differs = |id: i64, column: &'static str| vec![(id, "differs", vec![column])];
    vec![
        ("DELETE FROM t WHERE id = 7", vec![(7, "missing", vec![])]),
        ("INSERT INTO t (id, name) VALUES (-5, 'nobody')", vec![(-5, "extra", vec![])]),
        ("UPDATE t SET name = upper(name) WHERE id = 11", differs(11, "name")),
        ("UPDATE t SET note = NULL WHERE id = 12", differs(12, "note")),
        ("UPDATE t SET note = '' WHERE id = 13", differs(13, "note")),
        ("UPDATE t SET name = name || ' ' WHERE id = 14", differs(14, "name")),
        ("UPDATE t SET f = f + 3.552713678800501e-15 WHERE id = 15", differs(15, "f")),
        ("UPDATE t SET amount = amount + 0.01 WHERE id = 16", differs(16, "amount")),
        ("UPDATE t SET ts = ts + interval '1 microsecond' WHERE id = 17", differs(17, "ts")),
        ("UPDATE t SET at = at + interval '1 hour' WHERE id = 18", differs(18, "at")),
        (
            "UPDATE t SET name = CASE id WHEN 20 THEN 'näme 21' ELSE 'näme 20' END WHERE id IN (20, 21)",
            vec![(20, "differs", vec!["name"]), (21, "differs", vec!["name"])],
        ),
        ("UPDATE t SET doc = '{\"a\": \"y\", \"bb\": 22}' WHERE id = 22", differs(22, "doc")),
        ("UPDATE t SET b = set_byte(b, 0, 1), g = set_byte(g, 20, 1) WHERE id = 23", vec![(23, "differs", vec!["b", "g"])]),
        ("UPDATE t SET d = d + 1, tm = tm + interval '1 microsecond' WHERE id = 24", vec![(24, "differs", vec!["d", "tm"])]),
        (
            "UPDATE t SET big = big + 1, bits = 500, one = NOT one WHERE id = 25",
            vec![(25, "differs", vec!["big", "bits", "one"])],
        ),
        ("UPDATE t SET e = 'happy', s = 'b', y = 1999 WHERE id = 26", vec![(26, "differs", vec!["y", "e", "s"])]),
        ("UPDATE t SET r = r + 0.00001, flag = 5 WHERE id = 27", vec![(27, "differs", vec!["r", "flag"])]),
        ("UPDATE t SET id = 100000 WHERE id = 32", vec![(32, "missing", vec![]), (100_000, "extra", vec![])]),
    ]
}

fn damages_of_mysql() -> Vec<(&'static str, Found<'static>)> {
    let differs = |id: i64, column: &'static str| vec![(id, "differs", vec![column])];
    vec![
        ("DELETE FROM t WHERE id = 7", vec![(7, "missing", vec![])]),
        ("INSERT INTO t (id, name) VALUES (-5, 'nobody')", vec![(-5, "extra", vec![])]),
        ("UPDATE t SET name = UPPER(name) WHERE id = 11", differs(11, "name")),
        ("UPDATE t SET note = NULL WHERE id = 12", differs(12, "note")),
        ("UPDATE t SET note = '' WHERE id = 13", differs(13, "note")),
        ("UPDATE t SET name = CONCAT(name, ' ') WHERE id = 14", differs(14, "name")),
        ("UPDATE t SET f = f + 3.552713678800501e-15 WHERE id = 15", differs(15, "f")),
        ("UPDATE t SET amount = amount + 0.01 WHERE id = 16", differs(16, "amount")),
        ("UPDATE t SET ts = ts + INTERVAL 1 MICROSECOND WHERE id = 17", differs(17, "ts")),
        ("UPDATE t SET at = at + INTERVAL 1 HOUR WHERE id = 18", differs(18, "at")),
        (
            "UPDATE t AS a JOIN t AS b ON a.id + b.id = 41 AND a.id IN (20, 21) SET a.note = 'swapped', b.note = 'swapped'",
            vec![(20, "differs", vec!["note"]), (21, "differs", vec!["note"])],
        ),
        ("UPDATE t SET b = UNHEX('01') WHERE id = 23", differs(23, "b")),
        (
            "UPDATE t SET d = d + INTERVAL 1 DAY, tm = ADDTIME(tm, '00:00:00.000001') WHERE id = 24",
            vec![(24, "differs", vec!["d", "tm"])],
        ),
        ("UPDATE t SET e = 'happy' WHERE id = 26", differs(26, "e")),
        ("UPDATE t SET r = r + 0.00001, flag = 1 - flag WHERE id = 27", vec![(27, "differs", vec!["r", "flag"])]),
        ("UPDATE t SET id = 100000 WHERE id = 32", vec![(32, "missing", vec![]), (100_000, "extra", vec![])]),
    ]
}

fn all<'a>(damages: &[(&'a str, Found<'a>)]) -> (Vec<&'a str>, Found<'a>) {
    let (mut statements, mut expected) = (Vec::new(), Vec::new());
    for (sql, found) in damages {
        statements.push(*sql);
        expected.extend(found.clone());
    }
    (statements, expected)
}

/// Equal, damaged, found exactly, mended exactly. `as_is`: the pipeline stands still.
fn play(scene: &Scene, as_is: &[&str], expected: &Found<'_>, damage: impl Fn(), columns_left_out: &[&str]) -> Said {
    let with = |more: &[&'static str]| [as_is, more].concat();
    let said = scene.verify(&with(&[]));
    assert_eq!((said.code, said.differing()), (0, vec![]), "{}", said.stream);
    let left: Vec<String> =
        said.stream["left_out"].as_array().unwrap().iter().map(|left| left["column"].as_str().unwrap().to_owned()).collect();
    assert_eq!(left, columns_left_out, "{}", said.stream);
    assert_eq!(said.count("rows_source"), said.count("rows_sink"), "{}", said.stream);
    damage();
    let found = scene.verify(&with(&[]));
    assert_eq!((found.code, found.differing()), (1, owned(expected)), "{}", found.stream);
    let said = scene.verify(&with(&["--repair"]));
    assert_eq!((said.code, said.count("repaired"), said.differing()), (0, expected.len() as u64, vec![]), "{}", said.stream);
    found
}

fn from_mysql_into_postgres(flavor: Flavor) {
    let (source, target) = (mysql(flavor), PostgresServer::shared().unwrap().create_database().unwrap());
    source.execute(OTHER).unwrap();
    let scene =
        Scene::of("mysql-cdc", source.url(), &format!("{}.t", source.name()), "postgres", target.url(), ", table: public.t");
    scene.run();
    let rows = || target.rows("SELECT * FROM public.t ORDER BY id").unwrap();
    let good = rows();
    assert_eq!(good.len(), 600);
    let (statements, expected) = all(&damages_of_postgres());
    play(&scene, &["--as-is"], &expected, || target.execute(statements.join(";")).unwrap(), &[]);
    assert_eq!(rows(), good);
    if flavor == Flavor::MySql {
        // The server keeps the meaning of a document only, so that is what is compared.
        target.execute("UPDATE t SET doc = '{\"bb\": 1,   \"a\": \"x\"}' WHERE id = 1").unwrap();
        assert_eq!(scene.verify(&["--as-is"]).code, 0);
    }
}

#[test]
fn what_came_from_mysql_into_postgres_is_compared_value_by_value() {
    from_mysql_into_postgres(Flavor::MySql);
}

#[test]
fn what_came_from_mariadb_into_postgres_is_compared_value_by_value() {
    from_mysql_into_postgres(Flavor::MariaDb);
}

fn from_postgres_into_mysql(flavor: Flavor) {
    let (source, target) = (PostgresServer::shared().unwrap().create_database().unwrap(), mysql(flavor));
    // Three thousand rows would be the same again.
    source.execute(format!("{TABLE}; DELETE FROM t WHERE id > 600; ALTER TABLE t DROP iv")).unwrap();
    let state = format!(", table: t, state_schema: {}", target.name());
    let scene = Scene::of("postgres-cdc", source.url(), "public.t", "mysql", target.url(), &state).with_slot(&source);
    scene.run();
    let rows = || target.rows("SELECT * FROM t ORDER BY id").unwrap();
    let good = rows();
    assert_eq!(good.len(), 600);
    let (statements, expected) = all(&damages_of_mysql());
    // Which the other family keeps as text of its own.
    let left = ["tags"];
    play(&scene, &["--as-is"], &expected, || statements.iter().for_each(|sql| target.execute(*sql).unwrap()), &left);
    assert_eq!(rows(), good);
}

#[test]
fn what_came_from_postgres_into_mysql_is_compared_value_by_value() {
    from_postgres_into_mysql(Flavor::MySql);
}

#[test]
fn what_came_from_postgres_into_mariadb_is_compared_value_by_value() {
    from_postgres_into_mysql(Flavor::MariaDb);
}

#[test]
fn what_went_from_mysql_into_mariadb_is_compared_value_by_value() {
    let (source, target) = (mysql(Flavor::MySql), mysql(Flavor::MariaDb));
    source.execute(OTHER).unwrap();
    let stream = format!("{}.t", source.name());
    let sink = format!(", table: t, write_mode: overwrite, key: [id], state_schema: {}", target.name());
    let scene = Scene::of("mysql", source.url(), &stream, "mysql", target.url(), &sink);
    scene.run();
    let good = target.rows(TOLD).unwrap();
    let mut damages = damages_of_mysql();
    damages.push(("UPDATE t SET doc = '{\"bb\": 22, \"a\": \"y\"}' WHERE id = 22", vec![(22, "differs", vec!["doc"])]));
    damages.push((
        "UPDATE t SET big = big + 1, bits = 500, one = 1 - one, y = 1999, s = 'b' WHERE id = 25",
        vec![(25, "differs", vec!["big", "bits", "one", "y", "s"])],
    ));
    damages.push(("UPDATE t SET g = ST_GeomFromText('POINT(2 1)') WHERE id = 28", vec![(28, "differs", vec!["g"])]));
    let (statements, mut expected) = all(&damages);
    // A row can be there twice where nothing forbids it.
    target.execute("ALTER TABLE t ADD COLUMN remark varchar(9) DEFAULT 'mine'").unwrap();
    expected.push((31, "repeated", vec![]));
    let damage = || {
        statements.iter().for_each(|sql| target.execute(*sql).unwrap());
        target.execute("INSERT INTO t SELECT * FROM t WHERE id = 31; UPDATE t SET remark = 'kept' WHERE id = 11").unwrap();
    };
    play(&scene, &[], &expected, damage, &["remark"]);
    assert_eq!(target.rows(TOLD).unwrap(), good);
    assert_eq!(target.value("SELECT remark FROM t WHERE id = 11").unwrap(), "kept");
}

#[test]
fn keys_that_only_bytes_tell_apart_are_mended_one_by_one() {
    let (source, target) = (mysql(Flavor::MySql), mysql(Flavor::MySql));
    source
        .execute(
            "CREATE TABLE t (a varchar(20) COLLATE utf8mb4_0900_bin, b datetime(6), v int, PRIMARY KEY (a, b)); \
             INSERT INTO t VALUES ('', '2024-01-01', 1), (' ', '2024-01-01', 2), ('a', '2024-01-01', 3), ('A', '2024-01-01', 4), ('ä', '2024-01-01', 5), \
             ('''; DROP', '2024-01-01', 6), ('a', '2024-01-01 00:00:00.000001', 7)",
        )
        .unwrap();
    let sink = format!(", table: t, write_mode: overwrite, state_schema: {}", target.name());
    let scene = Scene::of("mysql", source.url(), &format!("{}.t", source.name()), "mysql", target.url(), &sink);
    scene.run();
    // A collation for which some of them are one.
    target.execute("ALTER TABLE t MODIFY a varchar(20) COLLATE utf8mb4_general_ci").unwrap();
    assert_eq!(scene.verify(&[]).code, 0);
    target.execute("UPDATE t SET v = 40 WHERE v = 4; UPDATE t SET a = 'Ä' WHERE v = 5; DELETE FROM t WHERE v = 2; DELETE FROM t WHERE v = 7").unwrap();
    let said = scene.verify(&[]);
    assert_eq!((said.code, said.count("differing_keys")), (1, 5), "{}", said.stream);
    let said = scene.verify(&["--repair"]);
    assert_eq!((said.code, said.count("repaired")), (0, 5), "{}", said.stream);
    let rows = "SELECT HEX(a), b, v FROM t ORDER BY v";
    assert_eq!(source.rows(rows).unwrap(), target.rows(rows).unwrap());
}
