//! The current rows of a database's table in files, through the program.

use std::path::Path;

use serde_json::Value;
use weir_testkit::{Database, PostgresServer};

use crate::harness::Folder;

/// A log of changes with large values that it leaves out when they do not change.
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
                "CREATE TABLE t (id bigint PRIMARY KEY, v bigint, large text);
                 ALTER TABLE t ALTER large SET STORAGE EXTERNAL;
                 INSERT INTO t SELECT g, -g, repeat(g::text, 3000) FROM generate_series(1, 600) g",
            )
            .unwrap();
        Self { database, _server: server }
    }

    fn pipeline(&self, sink: &str) -> String {
        format!(
            "pipeline: shop\nmode: cdc\nsource: {{postgres-cdc: {{url: '{}', tables: [public.t]}}}}\nsink: {sink}\n",
            self.database.url()
        )
    }

    fn rows(&self) -> String {
        let rows = self.database.rows("SELECT id, v, length(large), left(large, 5) FROM t ORDER BY id").unwrap();
        let lines =
            rows.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join(",") + "\n");
        lines.collect()
    }
}

/// As the source gives them.
fn lake(folder: &Folder) -> String {
    let sql = "SELECT id, v, length(large) AS n, substr(large, 1, 5) AS l FROM t ORDER BY id";
    let said = folder.weir(&["query", "--lake", "lake", "--output", "csv", sql]).ok();
    said.out.split_once('\n').unwrap().1.to_owned()
}

fn manifest(folder: &Folder) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(folder.path().join("lake/t/_weir/manifest.json")).ok()?).ok()
}

fn changes(folder: &Folder) -> u64 {
    manifest(folder).and_then(|manifest| manifest["logs"][0]["changes"].as_u64()).unwrap_or(0)
}

/// Files that a reader finds who knows nothing of Weir.
fn visible(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| name.ends_with(".parquet")).collect();
    names.sort();
    names
}

/// A key that changes, a value that does not, deletes, and rows that come back.
fn change(database: &Database, round: usize) {
    database
        .execute(format!(
            "UPDATE t SET v = v + 1 WHERE id % 7 = {round} % 7;
             DELETE FROM t WHERE id % 31 = {round};
             UPDATE t SET id = id + 100000 WHERE id % 29 = {round} AND id < 100000;
             INSERT INTO t SELECT g, {round}, repeat('x', g) FROM generate_series(2000 + {round} * 50, 2049 + {round} * 50) g;
             INSERT INTO t VALUES (31 * 100 + {round}, 5, NULL) ON CONFLICT (id) DO UPDATE SET large = 'again'"
        ))
        .unwrap();
}

#[test]
fn the_files_are_the_table_over_kills() {
    let (folder, source) = (Folder::new(), Source::new());
    let sink = "{file: {path: 'lake/{table}', write_mode: upsert, roll_secs: 0, roll_rows: 100, target_file_size: 64kB, keep_replaced_secs: 0}}";
    folder.write("shop.yaml", source.pipeline(sink));
    let plan = folder.weir(&["plan", "shop.yaml"]).ok();
    assert!(plan.out.contains("exactly_once") && plan.out.contains("manifest"), "{}", plan.shown());
    for round in 0..6 {
        let running = folder.start(&["run", "--progress", "none", "shop.yaml"]);
        let before = changes(&folder);
        if round > 0 {
            change(&source.database, round);
        }
        // In the middle of what comes: after one flush, or after none.
        while round % 2 == 0 && changes(&folder) == before {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        running.signal(libc::SIGKILL);
        assert_eq!(running.end().code, -1);
    }
    folder.weir(&["run", "--progress", "none", "shop.yaml", "--until-caught-up"]).ok();
    assert_eq!(lake(&folder), source.rows());
    source.database.execute("TRUNCATE t; INSERT INTO t VALUES (1, 2, 'three')").unwrap();
    folder.weir(&["run", "--progress", "none", "shop.yaml", "--until-caught-up"]).ok();
    assert_eq!(lake(&folder), "1,2,5,three\n");
    let manifest = manifest(&folder).unwrap();
    let listed: Vec<&str> = manifest["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(visible(&folder.path().join("lake/t")), listed);
}
