//! The log of a PostgreSQL into MySQL and MariaDB, equal row by row, over several runs and a change of shape.

use weir_testkit::mysql::Flavor;
use weir_testkit::postgres::Database;
use weir_testkit::{MysqlDatabase, MysqlServer, PostgresServer};

use crate::harness::{Folder, Slots};

fn lines(rows: Vec<Vec<Option<String>>>) -> Vec<String> {
    let mut lines: Vec<String> = rows
        .into_iter()
        .map(|row| row.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".into())).collect::<Vec<_>>().join("|"))
        .collect();
    lines.sort();
    lines
}

/// Both sides in one text form.
#[track_caller]
fn equal(source: &Database, target: &MysqlDatabase, more: &str, rows: usize) {
    let at = "YYYY-MM-DD HH24:MI:SS.US";
    let left = source
        .rows(format!(
            "SELECT id, upper(encode(convert_to(name, 'UTF8'), 'hex')), price::text, flag::int, to_char(at AT TIME ZONE 'UTC', '{at}'), \
             upper(encode(raw, 'hex')), length(big), md5(big){more} FROM t"
        ))
        .unwrap();
    let right = target
        .rows(format!(
            "SELECT id, HEX(name), CAST(price AS CHAR), flag, CAST(at AS CHAR), HEX(raw), CHAR_LENGTH(big), MD5(big){more} FROM t"
        ))
        .unwrap();
    let (left, right) = (lines(left), lines(right));
    assert_eq!((left.len(), right.len()), (rows, rows));
    let differing: Vec<_> = left.iter().zip(&right).filter(|(left, right)| left != right).take(3).collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

fn follow(flavor: Flavor) {
    let source = PostgresServer::shared().unwrap().create_database().unwrap();
    let target = MysqlServer::shared(flavor).unwrap().create_database().unwrap();
    let _slot = Slots(source.clone());
    let folder = Folder::new();
    folder.write(
        "pipeline.yaml",
        format!(
            "pipeline: into_{}\nmode: cdc\non_schema_change: evolve\nconnections:\n  from: {{postgres-cdc: {{url: '{}'}}}}\n  to: {{mysql: {{url: '{}'}}}}\n\
             source:\n  postgres-cdc: {{connection: from, tables: [public.t]}}\nsink:\n  mysql: {{connection: to, state_schema: {}, delete_mode: hard}}\n",
            source.name(),
            source.url(),
            target.url(),
            target.name(),
        ),
    );
    let run = || folder.weir(&["run", "pipeline.yaml", "--progress", "plain", "--state-dir", "state", "--until-caught-up"]).ok();
    source
        .execute(
            "CREATE TABLE t (id bigint PRIMARY KEY, name text, price numeric(12,3), flag boolean, at timestamptz(6), raw bytea, big text); \
             INSERT INTO t SELECT n, 'näme '' \\ ' || n, n / 8.0, n % 2 = 0, '2024-02-29 12:00:00.000001+02'::timestamptz + n * interval '1 s', \
             decode(md5(n::text), 'hex'), (SELECT string_agg(md5((n * 1000 + i)::text), '') FROM generate_series(1, 200) i) \
             FROM generate_series(1, 3000) n; INSERT INTO t VALUES (0, NULL, NULL, NULL, NULL, NULL, NULL)",
        )
        .unwrap();
    run();
    equal(&source, &target, "", 3001);
    // Large values that do not change are not in the log.
    source
        .execute(
            "UPDATE t SET name = 'changed' WHERE id % 7 = 0; UPDATE t SET id = id + 10000 WHERE id % 100 = 1; DELETE FROM t WHERE id % 10 = 3; \
             BEGIN; INSERT INTO t (id, name) VALUES (20000, 'a'); UPDATE t SET big = 'b' WHERE id = 20000; DELETE FROM t WHERE id = 2; COMMIT",
        )
        .unwrap();
    run();
    equal(&source, &target, "", 2701);
    // A change of shape in the middle of a transaction, between rows.
    source
        .execute(
            "BEGIN; UPDATE t SET name = 'before' WHERE id < 100; ALTER TABLE t ADD COLUMN n integer DEFAULT 7; UPDATE t SET n = NULL WHERE id < 50; \
             INSERT INTO t (id, n) VALUES (30000, 1), (30001, NULL); COMMIT",
        )
        .unwrap();
    run();
    equal(&source, &target, ", n", 2703);
    source
        .execute(
            "BEGIN; UPDATE t SET n = 8 WHERE id = 60; ALTER TABLE t RENAME COLUMN n TO m; UPDATE t SET m = 9 WHERE id IN (61, 62); \
             ALTER TABLE t ALTER price TYPE numeric(20,3); INSERT INTO t (id, price) VALUES (30002, 12345678901234567.125); COMMIT",
        )
        .unwrap();
    run();
    equal(&source, &target, ", m", 2704);
    source.execute("TRUNCATE t; INSERT INTO t (id, name) VALUES (1, 'last')").unwrap();
    run();
    equal(&source, &target, ", m", 1);
}

#[test]
fn the_log_of_postgres_into_mariadb_is_equal_row_by_row() {
    follow(Flavor::MariaDb);
}

#[test]
fn the_log_of_postgres_into_mysql_is_equal_row_by_row() {
    follow(Flavor::MySql);
}
