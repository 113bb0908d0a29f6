//! `mode: cdc` through transforms, from one PostgreSQL into another.

use weir_testkit::PostgresServer;
use weir_testkit::postgres::Database;

use crate::harness::Folder;

fn pipeline(source: &Database, target: &Database, filter: &str) -> String {
    format!(
        "pipeline: people\nmode: cdc\nconnections:\n  from: {{postgres-cdc: {{url: '{}'}}}}\n  to: {{postgres: {{url: '{}'}}}}\n\
         source:\n  postgres-cdc: {{connection: from, tables: [public.people]}}\n\
         transforms:\n  - filter: {filter} <> 'hidden'\n  - field_mapper: {{rename: {{id: key}}}}\n  - mask: {{columns: {{email: redact}}}}\n\
         sink:\n  postgres: {{connection: to, metadata_columns: [op, source_ts, position]}}\n",
        source.url(),
        target.url()
    )
}

fn rows(target: &Database, columns: &str) -> Vec<String> {
    let rows = target.rows(format!("SELECT {columns} FROM public.people ORDER BY key")).unwrap();
    let shown = |row: Vec<Option<String>>| row.into_iter().map(|cell| cell.unwrap_or_else(|| "∅".into())).collect::<Vec<_>>();
    rows.into_iter().map(|row| shown(row).join(" ")).collect()
}

#[test]
fn changes_are_filtered_renamed_and_masked_on_their_way() {
    let server = PostgresServer::options().set("wal_level", "logical").start().unwrap();
    let (source, target) = (server.create_database().unwrap(), server.create_database().unwrap());
    source
        .execute(
            "CREATE TABLE people (id bigint PRIMARY KEY, email text NOT NULL, city text, body text NOT NULL);
             ALTER TABLE people ALTER body SET STORAGE EXTERNAL, ALTER email SET STORAGE EXTERNAL;
             INSERT INTO people SELECT g, repeat('mail', 1000) || g, CASE WHEN g % 2 = 0 THEN 'hidden' ELSE 'Oslo' END,
               repeat('large', 800) || g FROM generate_series(1, 6) g",
        )
        .unwrap();
    let folder = Folder::new();
    folder.write("people.yaml", pipeline(&source, &target, "city"));
    let run = || folder.weir(&["run", "people.yaml", "--until-caught-up", "--json", "--progress", "none"]);

    let report = run().ok().json();
    let stream = &report["streams"][0];
    assert_eq!((&stream["rows_read"], &stream["rows_written"], &stream["rows_filtered"]), (&6.into(), &3.into(), &3.into()));
    let columns = "key, email, city, right(body, 2), _op, _source_ts IS NOT NULL AND _position IS NOT NULL";
    assert_eq!(rows(&target, columns), ["1 *** Oslo e1 r t", "3 *** Oslo e3 r t", "5 *** Oslo e5 r t"]);

    // Out of what passes, into it, and about in it; the large values are not in the log where nothing touches them.
    source
        .execute(
            "UPDATE people SET city = 'hidden' WHERE id = 1; UPDATE people SET city = 'hidden' WHERE id = 2;
             UPDATE people SET city = 'Rome' WHERE id = 3;
             UPDATE people SET city = 'Bonn', body = 'small4', email = 'e' WHERE id = 4;
             DELETE FROM people WHERE id = 5; DELETE FROM people WHERE id = 6;
             INSERT INTO people VALUES (7, 'e', 'hidden', 'seven'), (8, 'e', NULL, 'eight'), (9, 'e', 'Kyiv', 'nine9')",
        )
        .unwrap();
    let report = run().ok().json();
    let stream = &report["streams"][0];
    // A condition that is NULL does not pass.
    assert_eq!((&stream["rows_read"], &stream["rows_written"], &stream["rows_filtered"]), (&9.into(), &5.into(), &4.into()));
    assert_eq!(rows(&target, columns), ["3 *** Rome e3 u t", "4 *** Bonn l4 u t", "9 *** Kyiv e9 c t"]);

    // A new column passes; one that the filter needs goes away, and that is said before its rows are.
    source.execute("ALTER TABLE people ADD COLUMN zip text; UPDATE people SET zip = '1' WHERE id = 9").unwrap();
    run().ok();
    assert_eq!(rows(&target, "key, zip"), ["3 ∅", "4 ∅", "9 1"]);
    source.execute("ALTER TABLE people RENAME COLUMN city TO town; UPDATE people SET town = 'hidden' WHERE id = 9").unwrap();
    let said = run();
    assert_eq!(said.code, 2, "{}", said.shown());
    assert!(said.out.contains("there is no column `city`"), "{}", said.shown());
    folder.write("people.yaml", pipeline(&source, &target, "town"));
    run().ok();
    assert_eq!(rows(&target, "key, town, right(body, 2)"), ["3 Rome e3", "4 Bonn l4"]);

    // The journal still has it all; once more changes nothing.
    let listed = folder.weir(&["journal", "ls", "people.yaml", "--json"]).ok().json();
    let last = listed["journals"][0]["last"].as_u64().unwrap();
    assert_eq!(listed["journals"][0]["sinks"][0]["seq"].as_u64(), Some(last), "{listed}");
    target.execute("DELETE FROM people WHERE key = 3").unwrap();
    source.execute("UPDATE people SET town = 'Lima', body = 'new3', email = 'e' WHERE id = 3; INSERT INTO people VALUES (10, 'e', 'Cork', 'ten')").unwrap();
    run().ok();
    target.execute("DELETE FROM people WHERE key = 10").unwrap();
    folder.weir(&["journal", "replay", "people.yaml", "--from", &last.to_string()]).ok();
    run().ok();
    assert_eq!(rows(&target, "key, town"), ["3 Lima", "4 Bonn", "10 Cork"]);
}

#[test]
fn a_filter_over_a_value_that_the_log_leaves_out_is_an_error_and_not_a_guess() {
    let server = PostgresServer::options().set("wal_level", "logical").start().unwrap();
    let (source, target) = (server.create_database().unwrap(), server.create_database().unwrap());
    source
        .execute(
            "CREATE TABLE people (id bigint PRIMARY KEY, email text, n int);
             ALTER TABLE people ALTER email SET STORAGE EXTERNAL;
             INSERT INTO people VALUES (1, repeat('mail', 1000), 1)",
        )
        .unwrap();
    let folder = Folder::new();
    folder.write("people.yaml", pipeline(&source, &target, "email"));
    let run = || folder.weir(&["run", "people.yaml", "--until-caught-up", "--json", "--progress", "none"]);
    run().ok();
    source.execute("UPDATE people SET n = 2").unwrap();
    let said = run();
    assert_eq!(said.code, 1, "{}", said.shown());
    let error = &said.json()["error"];
    assert_eq!(error["code"], "WEIR-CHANGE-004");
    assert!(error.to_string().contains("REPLICA IDENTITY FULL"), "{error}");

    // With the whole row before it in the log the value is known.
    source.execute("ALTER TABLE people REPLICA IDENTITY FULL").unwrap();
    folder.weir(&["state", "reset", "people"]).ok();
    run().ok();
    source.execute("UPDATE people SET n = 3").unwrap();
    run().ok();
    assert_eq!(rows(&target, "key, n"), ["1 3"]);
}
