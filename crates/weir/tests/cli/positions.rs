//! Positions and edges through the API, of real runs: with files on one machine, and over two machines with a database between them.

use serde_json::{Value, json};
use weir_testkit::{Database, PostgresServer};

use crate::handover::{Platform, Worker};
use crate::harness::Folder;

fn scene() -> Database {
    let data = PostgresServer::shared().unwrap().create_database().unwrap();
    data.execute(
        "CREATE TABLE orders (id bigint PRIMARY KEY, status text);
         INSERT INTO orders SELECT n, CASE WHEN n % 4 = 0 THEN 'draft' ELSE 'paid' END FROM generate_series(1, 100) n;
         CREATE SCHEMA copied;",
    )
    .unwrap();
    data
}

fn spec(data: &Database) -> String {
    format!(
        "pipeline: orders\nmode: incremental\nconnections:\n  db: {{postgres: {{url: '{}'}}}}\n\
         source:\n  postgres: {{connection: db, tables: [public.orders], cursor: id}}\ntransforms:\n  - filter: status <> 'draft'\n\
         sink:\n  postgres: {{connection: db, schema: copied, write_mode: append}}\n",
        data.url()
    )
}

fn walk(platform: &Platform, data: &Database) {
    let job = platform.ask("POST", "/api/v1/jobs", &json!({"spec": spec(data)}));
    let path = |below: &str| format!("/api/v1/jobs/{}{below}", job["id"].as_str().unwrap());
    let before = platform.ask("GET", &path("/positions"), &Value::Null);
    assert_eq!((&before["running"], &before["cursors"], &before["splits"]), (&json!(false), &json!([]), &json!([])));
    for (cursor, rows, paid) in [("100", 100, 75), ("140", 40, 30)] {
        let run = platform.ask("POST", &path("/run"), &Value::Null);
        let id = run["id"].as_str().unwrap();
        let ended = platform.until(id, "at its end", |run| !["queued", "running"].contains(&run["status"].as_str().unwrap()));
        assert_eq!(ended["status"], "succeeded", "{ended}");
        let graph = platform.ask("GET", &format!("/api/v1/runs/{id}/graph"), &Value::Null);
        let edges = graph["counts"]["edges"].as_array().unwrap();
        let counted: Vec<_> = edges.iter().map(|edge| edge["rows"].as_u64().unwrap()).collect();
        assert_eq!(counted, [rows, paid], "{graph}");
        let written = ended["streams"][0]["rows_written"].as_u64().unwrap();
        assert_eq!((written, &graph["counts"]["nodes"][2]["rows_in"]), (paid, &json!(paid)));
        let positions = platform.ask("GET", &path("/positions"), &Value::Null);
        let at = &positions["cursors"][0];
        assert_eq!((&at["stream"], &at["cursor"]), (&json!("public.orders"), &json!(cursor)), "{positions}");
        data.execute("INSERT INTO orders SELECT n, CASE WHEN n % 4 = 0 THEN 'draft' ELSE 'paid' END FROM generate_series(101, 140) n ON CONFLICT DO NOTHING").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_on_one_machine() {
    let data = scene();
    let mut folder = Folder::new();
    folder.set("WEIR_EGRESS_ALLOW", "127.0.0.1");
    let platform = Platform::start_with(&folder, 1);
    walk(&platform, &data);
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_over_two_machines() {
    let data = scene();
    let shared = PostgresServer::shared().unwrap().create_database().unwrap();
    let environment: Vec<(&str, String)> = vec![
        ("DATABASE_URL", shared.url().to_owned()),
        ("WEIR_SEAL_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned()),
        ("WEIR_EGRESS_ALLOW", "127.0.0.1".to_owned()),
    ];
    let mut folder = Folder::new();
    environment.iter().for_each(|(name, value)| folder.set(name, value));
    let platform = Platform::start(&folder);
    let _worker = Worker::start(&environment);
    walk(&platform, &data);
}
