//! Changes of a database kept in files, through the program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_testkit::{Database, PostgresServer};

use crate::harness::Folder;

/// A database on a server of its own: slots are the server's, and it has few.
struct Source {
    database: Database,
    _server: PostgresServer,
}

impl Source {
    fn new() -> Self {
        let server = PostgresServer::options().set("wal_level", "logical").start().unwrap();
        let database = server.create_database().unwrap();
        database
            .execute(
                "CREATE TABLE orders (id bigint PRIMARY KEY, item text, price numeric(8,2));
                 INSERT INTO orders VALUES (1, 'tea', 2.50), (2, NULL, 3)",
            )
            .unwrap();
        Self { database, _server: server }
    }

    fn pipeline(&self, sink: &str) -> String {
        format!(
            "pipeline: shop\nmode: cdc\nsource: {{postgres-cdc: {{url: '{}', tables: [public.orders]}}}}\nsink: {sink}\n",
            self.database.url()
        )
    }
}

/// The files below a folder that are no Weir's own, by their path.
fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if !path.ends_with("_weir") => found.extend(files(&path)),
            true => {}
            false => drop(found.insert(path.clone(), std::fs::read_to_string(&path).unwrap())),
        }
    }
    found
}

const CHANGES: &str = "INSERT INTO orders VALUES (3, 'jam', 4); UPDATE orders SET item = 'milk' WHERE id = 2; DELETE FROM orders WHERE id = 1; \
    UPDATE orders SET id = 30 WHERE id = 3; TRUNCATE orders; INSERT INTO orders VALUES (4, 'end', 0.01)";

#[test]
fn every_change_is_a_line_and_the_next_run_goes_on() {
    let (folder, source) = (Folder::new(), Source::new());
    folder.write("shop.yaml", source.pipeline("{file: {path: 'lake/{table}', format: ndjson}}"));
    let plan = folder.weir(&["plan", "shop.yaml"]).ok();
    assert!(plan.out.contains("create lake/orders (ndjson)") && plan.out.contains("exactly_once"), "{}", plan.shown());
    let first = folder.weir(&["run", "shop.yaml", "--until-caught-up", "--json"]).ok().json();
    assert_eq!((&first["streams"][0]["rows_written"], &first["streams"][0]["objects"]), (&json!(2), &json!(1)));
    source.database.execute(CHANGES).unwrap();
    let second = folder.weir(&["run", "shop.yaml", "--until-caught-up", "--json"]).ok().json();
    // An emptied table is no row of the source.
    assert_eq!(second["streams"][0]["rows_written"], 6);
    let lines: Vec<Value> = files(&folder.path().join("lake"))
        .values()
        .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>())
        .collect();
    let short: Vec<Value> =
        lines.iter().map(|row| json!([row["_seq"], row["_op"], row["id"], row["item"], row["price"], row["_absent"]])).collect();
    assert_eq!(
        short,
        [
            json!([1, "r", 1, "tea", 2.50, null]),
            json!([2, "r", 2, null, 3.00, null]),
            json!([3, "c", 3, "jam", 4.00, null]),
            json!([4, "u", 2, "milk", 3.00, null]),
            json!([5, "d", 1, null, null, ["item", "price"]]),
            json!([6, "d", 3, null, null, ["item", "price"]]),
            json!([7, "c", 30, "jam", 4.00, null]),
            json!([8, "t", null, null, null, null]),
            json!([9, "c", 4, "end", 0.01, null]),
        ]
    );
    // What the how-to page says the table is now.
    let now = "SELECT id, item, price FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY _seq DESC) AS n FROM orders \
        WHERE _seq > (SELECT coalesce(max(_seq), 0) FROM orders WHERE _op = 't')) WHERE n = 1 AND _op <> 'd'";
    let asked = folder.weir(&["query", "--lake", "lake", "--output", "csv", now]).ok();
    assert_eq!(asked.out.lines().collect::<Vec<_>>(), ["id,item,price", "4,end,0.01"], "{}", asked.shown());
}

#[test]
fn every_message_is_a_file_of_its_own() {
    let (folder, source) = (Folder::new(), Source::new());
    let path = "tenant-{tenant}/raw/cdc.{connector}.{table}/{year}/{month}/{day}/{hour}/{message-id}.json";
    folder.write("shop.yaml", source.pipeline(&format!("{{file: {{path: '{path}', debezium: {{database: shop}}}}}}")));
    folder.weir(&["run", "shop.yaml", "--until-caught-up"]).ok();
    source.database.execute(CHANGES).unwrap();
    folder.weir(&["run", "shop.yaml", "--until-caught-up"]).ok();
    let found = files(&folder.path().join("tenant-default/raw/cdc.shop.orders"));
    // By the number that ends their names.
    let mut messages: Vec<(String, Value)> = found
        .into_iter()
        .map(|(path, text)| {
            let name = path.file_stem().unwrap().to_str().unwrap().rsplit('-').next().unwrap().to_owned();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect();
    messages.sort_by(|a, b| a.0.cmp(&b.0));
    let ops: Vec<&str> = messages.iter().map(|(_, message)| message["op"].as_str().unwrap()).collect();
    assert_eq!(ops, ["r", "r", "c", "u", "d", "d", "c", "t", "c"]);
    let source = &messages[2].1["source"];
    assert_eq!((&source["db"], &source["name"], &source["table"]), (&json!("shop"), &json!("shop"), &json!("orders")));
    assert_eq!(messages[4].1["before"], json!({"id": 1, "item": null, "price": null}));
}

#[test]
fn a_sink_says_how_it_takes_changes() {
    let (folder, source) = (Folder::new(), Source::new());
    folder.write("shop.yaml", source.pipeline("{file: {path: 'lake/{stream}', write_mode: upsert, format: ndjson}}"));
    let said = folder.weir(&["plan", "shop.yaml"]);
    assert!(said.code != 0 && said.err.contains("ndjson files are not rewritten"), "{}", said.shown());
    assert!(said.err.contains("append"), "{}", said.shown());
}
