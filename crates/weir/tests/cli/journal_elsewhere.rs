//! A journal in a bucket: the suite of journals on a real service, the program with it, and a log whose machine is gone.

use std::cell::Cell;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_engine::journal::JournalPlace;
use weir_testkit::{Bucket, Database, Minio, PostgresServer, wait_until};

use crate::handover::{Platform, Worker};
use crate::harness::{Folder, Slots};
use crate::journal_suite;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_in_a_real_bucket_passes_the_suite() {
    let minio = Minio::shared().unwrap();
    let bucket = minio.create_bucket().unwrap();
    let connection = json!({"endpoint": minio.endpoint(), "access_key": minio.access_key(), "secret_key": minio.secret_key()});
    let count = Cell::new(0);
    let place = || {
        count.set(count.get() + 1);
        let path = format!("s3://{}/journals/{}", bucket.name(), count.get());
        JournalPlace::Objects(weir_connectors::files::objects::bucket(&connection, &path).unwrap(), "p/s".into())
    };
    journal_suite::passes(place).await;
}

/// A table, and a copy of it which remembers what it was told, row by row, and can be held up.
fn scene() -> Database {
    let data = PostgresServer::shared().unwrap().create_database().unwrap();
    data.execute(
        "CREATE TABLE a (id bigint PRIMARY KEY, version bigint NOT NULL);
         INSERT INTO a SELECT id, 1 FROM generate_series(1, 1000) id;
         CREATE SCHEMA copied; CREATE TABLE copied.a (id bigint PRIMARY KEY, version bigint NOT NULL);
         CREATE TABLE copied.seen (n bigserial, id bigint, version bigint);
         CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN
             PERFORM pg_advisory_xact_lock_shared(4711);
             INSERT INTO copied.seen (id, version) VALUES (NEW.id, NEW.version);
             RETURN NEW;
           END $$;
         CREATE TRIGGER seen AFTER INSERT OR UPDATE ON copied.a FOR EACH ROW EXECUTE FUNCTION seen();",
    )
    .unwrap();
    data
}

/// Its name is its own: slots are the server's, not the database's.
fn spec(data: &Database, journal: &str) -> String {
    format!(
        "pipeline: moving_{}\nmode: cdc\nconnections:\n  db: {{postgres: {{url: '{}'}}}}\n\
         source:\n  postgres-cdc: {{connection: db, tables: [public.a]}}\n\
         sink:\n  postgres: {{connection: db, schema: copied, table: a, write_mode: upsert}}\n{journal}",
        data.name(),
        data.url()
    )
}

const DIFFERENT: &str = "SELECT count(*) FROM ((TABLE a EXCEPT TABLE copied.a) UNION ALL (TABLE copied.a EXCEPT TABLE a)) rows";

fn until_equal(data: &Database, told: &dyn Fn() -> String) {
    wait_until("the copy is equal", Duration::from_secs(90), || data.value(DIFFERENT).unwrap() == "0")
        .unwrap_or_else(|error| panic!("{error}: {} rows differ; {}", data.value(DIFFERENT).unwrap(), told()));
}

/// Changes of which each has a larger version than what it replaces.
fn change(data: &Database, version: u32) {
    data.execute(format!(
        "UPDATE a SET version = {version} WHERE id <= 300; UPDATE a SET version = {version} WHERE id > 600;
         INSERT INTO a SELECT {version} * 1000 + id, {version} FROM generate_series(1, 100) id;
         DELETE FROM a WHERE id BETWEEN 400 + {version} * 10 AND 404 + {version} * 10;"
    ))
    .unwrap();
}

/// No version came twice, and none after a later one.
fn in_order(data: &Database) {
    let wrong = "SELECT count(*) FROM (SELECT version <= lag(version) OVER (PARTITION BY id ORDER BY n) AS wrong FROM copied.seen) rows WHERE wrong";
    assert_eq!(
        data.value(wrong).unwrap(),
        "0",
        "{}",
        data.value("SELECT string_agg(format('%s:%s', id, version), ' ' ORDER BY n) FROM copied.seen WHERE id = 1").unwrap()
    );
}

/// Waits until the source may forget everything that it was told so far.
fn until_acknowledged(data: &Database) {
    let end = data.value("SELECT pg_current_wal_lsn()").unwrap();
    let acknowledged = format!(
        "SELECT coalesce(bool_and(confirmed_flush_lsn >= '{end}'::pg_lsn), false) FROM pg_replication_slots WHERE database = current_database()"
    );
    wait_until("the journal has it", Duration::from_secs(60), || data.value(&acknowledged).unwrap() == "t").unwrap();
}

fn keys(bucket: &Bucket, prefix: &str) -> Vec<String> {
    bucket.keys(prefix).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_machine_is_gone_goes_on_with_what_only_the_bucket_has() {
    let minio = Minio::shared().unwrap();
    let bucket = minio.create_bucket().unwrap();
    let platform = PostgresServer::shared().unwrap().create_database().unwrap();
    let data = scene();
    let _slots = Slots(data.clone());
    let environment: Vec<(&str, String)> = vec![
        ("DATABASE_URL", platform.url().to_owned()),
        ("WEIR_FILES", format!("s3://{}/weir", bucket.name())),
        ("MINIO_ENDPOINT", minio.endpoint().to_owned()),
        ("MINIO_ACCESS_KEY", minio.access_key().to_owned()),
        ("MINIO_SECRET_KEY", minio.secret_key().to_owned()),
        ("WEIR_SEAL_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned()),
        ("WEIR_EGRESS_ALLOW", "127.0.0.1".to_owned()),
    ];
    let mut folder = Folder::new();
    environment.iter().for_each(|(name, value)| folder.set(name, value));
    let platform = Platform::start(&folder);
    let job = platform.ask("POST", "/api/v1/jobs", &json!({"spec": spec(&data, "")}));
    let job = job["id"].as_str().or(job["job_id"].as_str()).unwrap().to_owned();
    let run = platform.run(&job);
    let told = || format!("{:#}", platform.ask("GET", &format!("/api/v1/runs/{run}/logs"), &Value::Null));
    let first = Worker::start(&environment);
    until_equal(&data, &told);
    change(&data, 2);
    until_equal(&data, &told);

    // The sink is held up; the journal takes what comes, and the source forgets it.
    let holder = data.client().await.unwrap();
    holder.batch_execute("SELECT pg_advisory_lock(4711)").await.unwrap();
    change(&data, 3);
    change(&data, 4);
    until_acknowledged(&data);
    assert_ne!(data.value(DIFFERENT).unwrap(), "0");
    first.kill_9();
    drop(holder);
    change(&data, 5);

    let second = Worker::start(&environment);
    until_equal(&data, &told);
    in_order(&data);
    let journals = keys(&bucket, "weir/tenants/default/journals");
    assert!(journals.iter().any(|key| key.contains(&format!("/{job}/moving_")) && key.contains("/log/")), "{journals:?}");
    change(&data, 6);
    until_equal(&data, &told);
    in_order(&data);
    drop(second);
}

#[test]
fn the_program_keeps_looks_into_and_takes_away_a_journal_in_a_bucket() {
    let minio = Minio::shared().unwrap();
    let bucket = minio.create_bucket().unwrap();
    let data = scene();
    let _slots = Slots(data.clone());
    let mut folder = Folder::new();
    folder.set("STORE_SECRET", minio.secret_key());
    let journal = format!("journal: {{path: 's3://{}/j', connection: store, keep: 1h}}\n", bucket.name());
    let file = spec(&data, &journal).replace(
        "connections:\n",
        &format!(
            "connections:\n  store: {{s3: {{endpoint: '{}', access_key: {}, secret_key: '${{STORE_SECRET}}'}}}}\n",
            minio.endpoint(),
            minio.access_key()
        ),
    );
    folder.write("moving.yaml", &file);
    let run = |folder: &Folder| folder.weir(&["run", "moving.yaml", "--until-caught-up"]).ok();
    run(&folder);
    let begin = Instant::now();
    change(&data, 2);
    run(&folder);
    println!("a run over a log whose journal is in a bucket: {:?}", begin.elapsed());
    assert_eq!(data.value(DIFFERENT).unwrap(), "0");
    in_order(&data);
    assert!(!folder.path().join(".weir/journal").exists());
    assert!(keys(&bucket, "j").iter().any(|key| key.contains("/log/")));

    let listed = folder.weir(&["journal", "ls", "moving.yaml", "--json"]).ok().json();
    let last = listed["journals"][0]["last"].as_u64().unwrap();
    assert_eq!(
        (&listed["journals"][0]["sinks"][0]["behind"], &listed["journals"][0]["first"]),
        (&json!(0), &json!(0)),
        "{listed:#}"
    );
    let updates: u64 = listed["journals"][0]["streams"][0]["updates"].as_u64().unwrap();
    assert_eq!(updates, 700);
    let shown = folder.weir(&["journal", "inspect", "moving.yaml", "--json", "--limit", "100000"]).ok();
    assert_eq!(shown.out.lines().filter(|line| line.contains("\"op\":\"u\"")).count(), 700);
    let set = folder.weir(&["journal", "replay", "moving.yaml", "--from", &(last - 1).to_string()]).ok();
    assert!(set.err.contains("once more"), "{}", set.shown());
    run(&folder);
    assert_eq!(data.value(DIFFERENT).unwrap(), "0");

    // Another state folder does not know what the sinks have, and says so.
    let said = folder.weir(&["state", "reset", "moving.yaml"]).ok();
    assert!(said.err.contains("forgotten"), "{}", said.shown());
    assert!(folder.weir(&["journal", "ls", "moving.yaml"]).err.contains("WEIR-CLI-071"));
    run(&folder);
    assert_eq!(data.value(DIFFERENT).unwrap(), "0");
}
