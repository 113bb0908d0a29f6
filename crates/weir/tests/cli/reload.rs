//! `weir reload`: a run that goes on takes up its edited file; nothing is lost, nothing comes twice.

use std::sync::atomic::Ordering;
use std::time::Duration;

use weir_engine::store::{StateStore, Wanted, Wish};
use weir_testkit::{Database, PostgresServer, wait_until};

use crate::harness::{self, Folder, Slots};
use crate::polling::{self, ROWS, STOP};

const PATIENCE: Duration = Duration::from_secs(120);

fn scene() -> (Database, Folder) {
    let data = PostgresServer::shared().unwrap().create_database().unwrap();
    for table in ["a", "b", "c"] {
        data.execute(format!(
            "CREATE TABLE {table} (id bigint PRIMARY KEY, version bigint NOT NULL);
             INSERT INTO {table} SELECT id, 0 FROM generate_series(1, 2000) id"
        ))
        .unwrap();
    }
    data.execute("CREATE SCHEMA copied").unwrap();
    let folder = Folder::new();
    write(&folder, &data, "public.a, public.b", "");
    (data, folder)
}

fn write(folder: &Folder, data: &Database, tables: &str, transforms: &str) {
    let file = format!(
        "pipeline: live_{}\nmode: cdc\nconnections:\n  db: {{postgres: {{url: '{}'}}}}\n\
         source:\n  postgres-cdc: {{connection: db, tables: [{tables}], chunk_bytes: 65536}}\n{transforms}\
         sink: {{postgres: {{connection: db, schema: copied, table: '{{stream}}', write_mode: upsert}}}}\n",
        data.name(),
        data.url()
    );
    folder.write("live.yaml", file);
}

/// Every table changes in one transaction, again and again.
fn while_it_changes(data: &Database, work: impl FnOnce()) {
    let change = |round: u64| {
        let (id, new) = (round * 37 % 2000, 10_000 + round);
        let change = |table: &str| {
            format!(
                "UPDATE {table} SET version = version + 1 WHERE id BETWEEN {id} AND {id} + 9;
                 DELETE FROM {table} WHERE id = {id} + 5; INSERT INTO {table} VALUES ({new}, {round});"
            )
        };
        data.execute(["BEGIN;".into(), change("a"), change("b"), change("c"), "COMMIT".into()].concat()).unwrap();
    };
    harness::while_it_changes(change, work);
}

fn wait_for(data: &Database, what: &str, query: &str) {
    wait_until(what, PATIENCE, || data.value(query).is_ok_and(|value| value == "t")).unwrap();
}

/// What the run says has these words so often.
fn wait_for_words(folder: &Folder, words: &str, times: usize) {
    let said = || std::fs::read_to_string(folder.path().join("said")).unwrap();
    wait_until(words, PATIENCE, || said().matches(words).count() >= times).unwrap_or_else(|error| panic!("{error}: {}", said()));
}

#[test]
fn tables_are_added_and_removed_while_the_run_goes_on() {
    let (data, folder) = scene();
    let _slots = Slots(data.clone());
    let said = folder.weir(&["reload", "live.yaml"]);
    assert!(said.code != 0 && said.err.contains("WEIR-CLI-030"), "there is no state: {}", said.shown());
    let arguments = ["run", "live.yaml", "--progress", "plain", "--checkpoint-interval", "200ms"];
    let running = folder.start_saying_into("said", &arguments);
    while_it_changes(&data, || {
        wait_for(&data, "the log of the first two goes on", "SELECT max(id) > 10000 FROM copied.b");
        // One goes, one comes.
        write(&folder, &data, "public.a, public.c", "");
        let said = folder.weir(&["reload", "live.yaml"]).ok();
        assert!(said.err.contains("takes the file up"), "{}", said.shown());
        wait_for(&data, "the new table is there", "SELECT count(*) > 1000 FROM copied.c");
        wait_for(&data, "and its log", "SELECT max(version) > 3 FROM copied.c WHERE id > 10000");
    });
    // What is removed stays as it was, and gets nothing more.
    let old = data.value("SELECT count(*) || ' ' || sum(version) FROM copied.b").unwrap();
    data.execute("UPDATE b SET version = -1; UPDATE a SET version = version + 1; INSERT INTO c VALUES (-1, 1)").unwrap();
    let equal = |table: &str| {
        format!(
            "SELECT count(*) = 0 FROM ((TABLE {table} EXCEPT TABLE copied.{table}) UNION ALL (TABLE copied.{table} EXCEPT TABLE {table})) rows"
        )
    };
    wait_for(&data, "a is equal", &equal("a"));
    wait_for(&data, "c is equal", &equal("c"));
    assert_eq!(data.value("SELECT count(*) || ' ' || sum(version) FROM copied.b").unwrap(), old);

    // A file that cannot be taken up is told to who asks; and if it was asked for all the same, by the run, which goes on.
    write(&folder, &data, "public.a, public.nothing", "");
    let said = folder.weir(&["reload", "live.yaml"]);
    assert!(said.code != 0 && said.err.contains("public.nothing"), "{}", said.shown());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = StateStore::open(&folder.path().join(".weir")).await.unwrap();
        store.wish(&format!("live_{}", data.name()), Wish::RUN, &Wanted::Reload).await.unwrap();
    });
    wait_for_words(&folder, "not reloaded:", 1);
    data.execute("INSERT INTO a VALUES (-2, 1)").unwrap();
    wait_for(&data, "the run goes on", "SELECT count(*) = 1 FROM copied.a WHERE id = -2");

    // The table that was removed comes back with a snapshot; what was deleted meanwhile stays.
    data.execute("DELETE FROM b WHERE id = 1").unwrap();
    write(&folder, &data, "public.a, public.b, public.c", "");
    folder.weir(&["reload", "live.yaml"]).ok();
    wait_for(&data, "b has what the source has", "SELECT count(*) = 0 FROM (TABLE b EXCEPT TABLE copied.b) rows");
    data.execute("INSERT INTO b VALUES (-1, 1); DELETE FROM b WHERE id = 3").unwrap();
    wait_for(&data, "and its log", "SELECT count(*) = 1 FROM copied.b WHERE id = -1");
    assert_eq!(data.value("SELECT string_agg(id::text, ' ' ORDER BY id) FROM copied.b WHERE id BETWEEN 1 AND 3").unwrap(), "1 2");

    // Transforms are taken up too, for what changes from then on.
    write(&folder, &data, "public.a, public.b, public.c", "transforms:\n  - filter: id <> -4\n");
    folder.weir(&["reload", "live.yaml"]).ok();
    wait_for_words(&folder, "until here:", 3);
    data.execute("INSERT INTO c VALUES (-5, 1)").unwrap();
    wait_for(&data, "the run goes on", "SELECT count(*) = 1 FROM copied.c WHERE id = -5");
    running.signal(STOP);
    assert_eq!(running.end().code, 130);
    // The same file goes on with the next run.
    data.execute("INSERT INTO a VALUES (-3, 1), (-4, 1)").unwrap();
    folder.weir(&["run", "live.yaml", "--until-caught-up"]).ok();
    assert_eq!(data.value("SELECT string_agg(id::text, ' ' ORDER BY id) FROM copied.a WHERE id < 0").unwrap(), "-3 -2");
    let said = folder.weir(&["reload", "live.yaml"]);
    assert!(said.code != 0 && said.err.contains("WEIR-CLI-121"), "no run is going on: {}", said.shown());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_takes_up_its_file_and_each_row_comes_once() {
    let folder = Folder::new();
    let target = PostgresServer::shared().unwrap().create_database().unwrap();
    let (port, there) = polling::api().await;
    folder.write("orders.yaml", polling::pipeline(port, "", &target));
    let running = folder.start_saying_into("said", &["run", "orders.yaml", "--progress", "plain"]);
    wait_for(&target, "rows are there", "SELECT count(*) > 300 FROM orders");
    folder.write("orders.yaml", polling::pipeline(port, "transforms:\n  - filter: id % 2 = 0\n", &target));
    folder.weir(&["reload", "orders.yaml"]).ok();
    wait_for_words(&folder, "until here:", 1);
    let wanted = ROWS - 2;
    wait_until("the last row is there", PATIENCE, || polling::ids(&target).last() == Some(&wanted)).unwrap();
    assert!(there.load(Ordering::SeqCst) >= ROWS);
    running.signal(STOP);
    running.end().ok();
    let ids = polling::ids(&target);
    // All of them up to a checkpoint, from there on every other one.
    let seam = ids.iter().rposition(|id| id % 2 == 1).unwrap();
    let (before, after) = ids.split_at(seam + 1);
    assert_eq!(before, (0..before.len() as i64).collect::<Vec<_>>());
    assert_eq!(after, (before.len() as i64..ROWS).filter(|id| id % 2 == 0).collect::<Vec<_>>());
    assert!(!after.is_empty());
}

#[test]
fn a_batch_takes_up_nothing() {
    let folder = Folder::new();
    folder.write("rows.csv", "id\n1\n");
    folder.write("rows.yaml", "pipeline: rows\nsource: {file: {path: rows.csv}}\nsink: {file: {path: out}}\n");
    let said = folder.weir(&["reload", "rows.yaml"]);
    assert!(said.code == 2 && said.err.contains("WEIR-CLI-120"), "{}", said.shown());
}
