//! Changes of a real PostgreSQL in a real topic, by a program that is killed in the middle again and again: each change once, per key in order.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use weir_testkit::{Kafka, PostgresServer};

use crate::harness::Folder;

const ROUNDS: usize = 4;
/// Transactions of half a round.
const PART: usize = 60;
const ROWS: usize = 10;

#[test]
fn every_change_is_a_record_once_and_in_order_per_key_over_kills() {
    let server = PostgresServer::options().set("wal_level", "logical").start().unwrap();
    let database = server.create_database().unwrap();
    database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, n bigint); INSERT INTO orders SELECT id, 0 FROM generate_series(0, 9) AS id").unwrap();
    let (folder, topic) = (Folder::new(), format!("orders-{}", uuid::Uuid::new_v4().simple()));
    let bootstrap = Kafka::shared().unwrap().bootstrap();
    folder.write(
        "shop.yaml",
        format!(
            "pipeline: shop\nmode: cdc\nsource: {{postgres-cdc: {{url: '{}', tables: [public.orders]}}}}\n\
             sink: {{kafka: {{bootstrap_servers: '{bootstrap}', topic: {topic}, partitions: 3, format: debezium_json, transactional_id_prefix: {topic}}}}}\n",
            database.url()
        ),
    );
    folder.write(
        "back.yaml",
        format!(
            "pipeline: back\nmode: batch\nsource: {{kafka: {{bootstrap_servers: '{bootstrap}', topic: {topic}, format: text, tombstones: keep, \
             metadata: [key, partition, offset]}}}}\nsink: {{file: {{path: out/all.ndjson}}}}\n"
        ),
    );
    let plan = folder.weir(&["plan", "shop.yaml"]).ok();
    assert!(plan.out.contains("exactly_once"), "{}", plan.shown());
    let confirmed =
        || database.rows("SELECT max(confirmed_flush_lsn)::text FROM pg_replication_slots").unwrap().remove(0).remove(0);
    let mut expected = [0; ROWS];
    let mut play = || {
        for at in 0..PART {
            database.execute(format!("UPDATE orders SET n = n + 1 WHERE id = {}", at % ROWS)).unwrap();
            expected[at % ROWS] += 1;
        }
    };
    for _ in 0..ROUNDS {
        let before = confirmed();
        let running = folder.start(&["run", "--progress", "none", "shop.yaml"]);
        play();
        // What is durable in the journal moves the slot: the sinks are at work.
        weir_testkit::wait_until("the slot moves", Duration::from_secs(60), || confirmed() != before).unwrap();
        play();
        running.signal(libc::SIGKILL);
        assert_eq!(running.end().code, -1);
    }
    // A delete, and a key that changes.
    database.execute("DELETE FROM orders WHERE id = 0; UPDATE orders SET id = 100 WHERE id = 1").unwrap();
    folder.weir(&["run", "--until-caught-up", "--progress", "none", "shop.yaml"]).ok();
    folder.weir(&["run", "--progress", "none", "back.yaml"]).ok();
    let mut told: BTreeMap<i64, Vec<(i64, Value)>> = BTreeMap::new();
    for line in std::fs::read_to_string(folder.path().join("out/all.ndjson")).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let key: Value = serde_json::from_str(record["_key"].as_str().unwrap()).unwrap();
        let value = record["value"].as_str().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        let said = match value["op"].as_str() {
            None => json!("tombstone"),
            Some("d") => json!("d"),
            Some(op) => json!([op, value["after"]["n"]]),
        };
        told.entry(key["id"].as_i64().unwrap()).or_default().push((record["_offset"].as_i64().unwrap(), said));
    }
    // A key is in one partition: its records are in the order of their offsets.
    told.values_mut().for_each(|records| records.sort_by_key(|(offset, _)| *offset));
    for (id, last) in expected.into_iter().enumerate() {
        let got: Vec<Value> = told[&(id as i64)].iter().map(|(_, said)| said.clone()).collect();
        // The snapshot is of some moment while the first changes were made.
        let begun = got[0][1].as_i64().unwrap();
        let mut all = vec![json!(["r", begun])];
        all.extend((begun + 1..=last).map(|n| json!(["u", n])));
        if id < 2 {
            all.extend([json!("d"), json!("tombstone")]);
        }
        assert_eq!(got, all, "key {id}");
    }
    assert_eq!(told[&100].iter().map(|(_, said)| said.clone()).collect::<Vec<_>>(), [json!(["c", expected[1]])]);
    assert_eq!(told.len(), ROWS + 1);
}
