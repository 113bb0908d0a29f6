//! `weir snapshot`: tables of a log are read once more while it goes on.

use weir_testkit::mysql::Flavor;
use weir_testkit::{Database, MysqlServer, PostgresServer};

use crate::harness::{self, Folder, Slots};

const DIFFERENT: &str = "SELECT count(*) FROM ((TABLE a EXCEPT TABLE copied.a) UNION ALL (TABLE copied.a EXCEPT TABLE a)) rows";

fn scene() -> (Database, Folder) {
    let data = PostgresServer::shared().unwrap().create_database().unwrap();
    data.execute(
        "CREATE TABLE a (id bigint PRIMARY KEY, version bigint NOT NULL, big text);
         ALTER TABLE a ALTER big SET STORAGE EXTERNAL;
         INSERT INTO a SELECT id, 1, repeat(md5(id::text), 100) FROM generate_series(1, 3000) id;
         CREATE TABLE b (id bigint PRIMARY KEY); INSERT INTO b SELECT id FROM generate_series(1, 100) id;
         CREATE SCHEMA copied;",
    )
    .unwrap();
    let folder = Folder::new();
    let file = format!(
        "pipeline: again_{}\nmode: cdc\nconnections:\n  db: {{postgres: {{url: '{}'}}}}\n\
         source:\n  postgres-cdc: {{connection: db, tables: [public.a, public.b], chunk_bytes: 65536}}\n\
         sinks:\n  first: {{postgres: {{connection: db, schema: copied, table: '{{stream}}', write_mode: upsert}}}}\n",
        data.name(),
        data.url()
    );
    folder.write("again.yaml", file);
    (data, folder)
}

fn run(folder: &Folder) {
    folder.weir(&["run", "again.yaml", "--until-caught-up"]).ok();
}

/// Rows change, go and come; the large value is not in the log of most of them.
fn while_it_changes(data: &Database, work: impl FnOnce()) {
    let change = |round: u64| {
        let id = round * 37 % 3000;
        data.execute(format!(
            "UPDATE a SET version = version + 1 WHERE id BETWEEN {id} AND {id} + 20;
             DELETE FROM a WHERE id = {id} + 5; INSERT INTO a VALUES ({id} + 5, {round}, 'new') ON CONFLICT DO NOTHING;
             DELETE FROM a WHERE id = {id} + 6; UPDATE a SET id = id + 100000 * {round} WHERE id = {id} + 7"
        ))
        .unwrap();
    };
    assert!(harness::while_it_changes(change, work) > 10);
}

#[test]
fn a_sink_that_is_added_gets_what_it_lacks_and_the_other_stays_equal() {
    let (data, folder) = scene();
    let _slots = Slots(data.clone());
    data.execute("CREATE SCHEMA second").unwrap();
    run(&folder);
    while_it_changes(&data, || run(&folder));
    let before = std::fs::read_to_string(folder.path().join("again.yaml")).unwrap();
    let file =
        format!("{before}  more: {{postgres: {{connection: db, schema: second, table: '{{stream}}', write_mode: upsert}}}}\n");
    folder.write("again.yaml", file);
    while_it_changes(&data, || {
        let said = folder.weir(&["run", "again.yaml", "--until-caught-up"]).ok();
        assert!(said.err.contains("sink `more` is new"), "{}", said.shown());
    });
    run(&folder);
    assert_eq!(data.value(DIFFERENT).unwrap(), "0");
    assert_eq!(data.value(DIFFERENT.replace("copied", "second")).unwrap(), "0");
    assert_eq!(data.value("SELECT count(*) FROM second.b").unwrap(), "100");
}

#[test]
fn a_table_is_read_once_more_while_it_changes_and_ends_equal() {
    let (data, folder) = scene();
    let _slots = Slots(data.clone());
    let said = folder.weir(&["snapshot", "again.yaml", "--stream", "public.a"]);
    assert!(said.code != 0 && said.err.contains("WEIR-CLI-030"), "{}", said.shown());
    run(&folder);
    // Somebody was at the target.
    data.execute("UPDATE copied.a SET version = -1, big = '' WHERE id % 3 = 0; DELETE FROM copied.a WHERE id % 7 = 0").unwrap();
    data.execute("DELETE FROM copied.b WHERE id = 1").unwrap();
    run(&folder);
    assert_ne!(data.value(DIFFERENT).unwrap(), "0");
    let said = folder.weir(&["snapshot", "again.yaml", "--stream", "public.nothing"]);
    assert!(said.code != 0 && said.err.contains("WEIR-CLI-075"), "{}", said.shown());
    let said = folder.weir(&["snapshot", "again.yaml", "--stream", "public.a"]).ok();
    assert!(said.err.contains("public.a once more"), "{}", said.shown());

    while_it_changes(&data, || run(&folder));
    run(&folder);
    assert_eq!(data.value(DIFFERENT).unwrap(), "0");
    assert_eq!(data.value("SELECT count(*) FROM copied.b").unwrap(), "99", "the other table was left alone");
}

#[test]
fn some_rows_of_a_table_are_read_once_more() {
    let (data, folder) = scene();
    let _slots = Slots(data.clone());
    run(&folder);
    data.execute("UPDATE copied.a SET version = -1").unwrap();
    let said =
        folder.weir(&["snapshot", "again.yaml", "--stream", "public.a", "--where", "id <= 500 -- the old ones", "--json"]).ok();
    assert_eq!(said.json()["snapshots"][0]["streams"][0], "public.a");
    data.execute("UPDATE a SET version = 2 WHERE id BETWEEN 400 AND 600").unwrap();
    run(&folder);
    assert_eq!(data.value("SELECT count(*) FROM copied.a WHERE version > 0").unwrap(), "600");
    assert_eq!(
        data.value("SELECT count(*) FROM a JOIN copied.a c USING (id) WHERE id <= 600 AND a.version <> c.version").unwrap(),
        "0"
    );
}

#[test]
fn a_table_of_mysql_is_read_once_more() {
    let data = MysqlServer::shared(Flavor::MySql).unwrap().create_database().unwrap();
    let target = PostgresServer::shared().unwrap().create_database().unwrap();
    data.execute("CREATE TABLE a (id bigint PRIMARY KEY, version bigint NOT NULL)").unwrap();
    let values: Vec<String> = (1..=2000).map(|id| format!("({id}, 1)")).collect();
    data.execute(format!("INSERT INTO a VALUES {}", values.join(", "))).unwrap();
    let folder = Folder::new();
    folder.write(
        "again.yaml",
        format!(
            "pipeline: again\nmode: cdc\n\
             source:\n  mysql-cdc: {{url: '{}', tables: [a]}}\n\
             sink:\n  postgres: {{url: '{}', table: a, write_mode: upsert}}\n",
            data.url(),
            target.url()
        ),
    );
    run(&folder);
    let sum = |wanted: &str| assert_eq!(target.value("SELECT count(*) || ' ' || sum(version) FROM a").unwrap(), wanted);
    sum("2000 2000");
    target.execute("UPDATE a SET version = -1 WHERE id > 10; DELETE FROM a WHERE id = 11").unwrap();
    data.execute("DELETE FROM a WHERE id = 2000; UPDATE a SET version = 5 WHERE id = 1999").unwrap();
    let name = format!("{}.a", data.name());
    folder.weir(&["snapshot", "again.yaml", "--stream", &name]).ok();
    data.execute("DELETE FROM a WHERE id = 1998; UPDATE a SET version = 7 WHERE id = 1").unwrap();
    run(&folder);
    sum(&format!("1998 {}", 1998 - 1 + 5 - 1 + 7));
}
