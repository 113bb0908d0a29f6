//! Dead letters through the API: looked at, corrected, replayed, given up; on one machine with files and over two with a database between them.

use serde_json::{Value, json};
use weir_testkit::{Database, PostgresServer};

use crate::handover::{Platform, Worker};
use crate::harness::Folder;

/// Prices as somebody typed them: three of six are no numbers.
fn scene() -> Database {
    let data = PostgresServer::shared().unwrap().create_database().unwrap();
    data.execute(
        "CREATE TABLE raw (id bigint PRIMARY KEY, price text);
         INSERT INTO raw VALUES (1, '1.50'), (2, 'two'), (3, '3.25'), (4, '4,00'), (5, '5.00'), (6, 'hunter2-secret');
         CREATE SCHEMA copied; CREATE TABLE copied.prices (id bigint, price numeric(10,2));",
    )
    .unwrap();
    data
}

fn spec(data: &Database) -> String {
    format!(
        "pipeline: prices\nconnections:\n  db: {{postgres: {{url: '{}'}}}}\nsource:\n  postgres: {{connection: db, tables: [public.raw]}}\n\
         transforms:\n  - cast: {{columns: {{price: 'decimal(10,2)'}}}}\n\
         sink:\n  postgres: {{connection: db, schema: copied, table: prices, write_mode: append}}\ndead_letters: {{allow: 10}}\n",
        data.url()
    )
}

fn rows(data: &Database) -> String {
    data.value("SELECT string_agg(id || ':' || price, ' ' ORDER BY id, price) FROM copied.prices").unwrap()
}

struct Job<'p> {
    platform: &'p Platform,
    id: String,
}

impl Job<'_> {
    fn path(&self, below: &str) -> String {
        format!("/api/v1/jobs/{}/dead-letters{below}", self.id)
    }

    fn list(&self, query: &str) -> Vec<Value> {
        let page = self.platform.ask("GET", &self.path(query), &Value::Null);
        page["items"].as_array().unwrap().clone()
    }

    /// The letter of a row.
    fn letter(&self, row: &str) -> i64 {
        let found =
            self.list("?limit=500").into_iter().find(|letter| letter["record"]["content"].as_str().unwrap().contains(row));
        found.unwrap_or_else(|| panic!("no letter has {row}"))["id"].as_i64().unwrap()
    }

    fn ended(&self, run: &Value) -> Value {
        let id = run["id"].as_str().unwrap();
        self.platform.until(id, "at its end", |run| !["queued", "running"].contains(&run["status"].as_str().unwrap()))
    }

    fn refused(&self, method: &str, below: &str, body: &Value, status: u16, code: &str) -> Value {
        let (got, answer) = self.platform.answer(method, &self.path(below), body);
        assert_eq!((got, answer["code"].as_str()), (status, Some(code)), "{method} {below}: {answer}");
        answer
    }
}

/// From the run that makes the letters to the rows in the target, each once.
fn walk(platform: &Platform, data: &Database) {
    let job = platform.ask("POST", "/api/v1/jobs", &json!({"spec": spec(data)}));
    let job = Job { platform, id: job["id"].as_str().unwrap().to_owned() };
    assert_eq!(job.list(""), Vec::<Value>::new());
    let run = platform.run(&job.id);
    let ended = platform.until(&run, "at its end", |run| run["status"] == "succeeded");
    assert_eq!((&ended["streams"][0]["rows_dead"], rows(data).as_str()), (&json!(3), "1:1.50 3:3.25 5:5.00"), "{ended:#}");

    // Looked at: by pages, by what they have in common, each whole.
    let first = platform.ask("GET", &job.path("?limit=2"), &Value::Null);
    let cursor = first["next_cursor"].as_str().unwrap().to_owned();
    let rest = job.list(&format!("?limit=2&cursor={cursor}"));
    assert_eq!((first["items"].as_array().unwrap().len(), rest.len()), (2, 1));
    let kind = &first["kinds"][0];
    assert_eq!(
        (kind["count"].as_u64(), kind["sink"].is_string(), kind["stream"].as_str()),
        (Some(3), true, Some("public.raw")),
        "{first}"
    );
    let sink = kind["sink"].as_str().unwrap().to_owned();
    for (query, count) in [
        (format!("?run_id={run}"), 3),
        (format!("?sink={sink}"), 3),
        ("?sink=-".into(), 0),
        (format!("?code={}", kind["code"].as_str().unwrap()), 3),
        ("?code=WEIR-X-001".into(), 0),
        ("?stream=public.raw&state=waiting".into(), 3),
        ("?state=replayed".into(), 0),
        ("?until=2020-01-01T00:00:00Z".into(), 0),
        ("?since=2020-01-01T00:00:00Z".into(), 3),
    ] {
        assert_eq!(job.list(&query).len(), count, "{query}");
    }
    let two = job.letter("\"two\"");
    let whole = platform.ask("GET", &job.path(&format!("/{two}")), &Value::Null);
    assert_eq!(whole["record"]["content"], r#"{"id":2,"price":"two"}"#);
    assert_eq!((&whole["state"], &whole["run_id"], &whole["correction"]), (&json!("waiting"), &json!(run), &Value::Null));
    job.refused("GET", "/4711", &Value::Null, 404, "WEIR-DEAD-001");
    job.refused("GET", "?cursor=x", &Value::Null, 422, "WEIR-STORE-010");

    // Corrected: what no replay would write is refused, column by column.
    let wrong = |record: &str| job.refused("PUT", &format!("/{two}"), &json!({"record": record}), 422, "WEIR-DEAD-010");
    let columns = wrong(r#"{"id":"2","price":2}"#)["errors"].clone();
    let told: Vec<_> = columns.as_array().unwrap().iter().map(|part| part["path"].as_str().unwrap()).collect();
    assert_eq!(told, ["id", "price"], "{columns}");
    let still = wrong(r#"{"id":2,"price":"too"}"#);
    assert!(still["errors"][0]["path"].is_null() && still["errors"][0]["message"].as_str().unwrap().contains("too"), "{still}");
    let kept = platform.ask("PUT", &job.path(&format!("/{two}")), &json!({"record": "{ \"price\": \"2.00\",\n \"id\": 2 }"}));
    assert_eq!(kept["correction"]["record"]["content"], r#"{"id":2,"price":"2.00"}"#);
    assert_eq!((&kept["record"]["content"], kept["correction"]["by"].is_string()), (&whole["record"]["content"], true));

    // Replayed: the corrected one goes through once, the other says why not, and the pipeline itself does not run.
    let four = job.letter("4,00");
    let replay = platform.ask("POST", &job.path("/replay"), &json!({"ids": [two, four]}));
    assert_eq!(replay["trigger"]["kind"], "replay");
    let ended = job.ended(&replay);
    let report = &ended["report"]["replay"];
    assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("failed"), &json!("WEIR-DEAD-011")), "{ended:#}");
    assert_eq!((&report["through"], &report["waiting"], &report["reasons"][0]["letter"]), (&json!(1), &json!(1), &json!(four)));
    assert_eq!(rows(data), "1:1.50 2:2.00 3:3.25 5:5.00");
    let left = platform.ask("GET", &job.path(&format!("/{four}")), &Value::Null);
    assert!(left["refusal"].as_str().unwrap().contains("4,00") && left["state"] == "waiting", "{left}");
    assert_eq!(job.list("?state=replayed").len(), 1);
    job.refused("PUT", &format!("/{two}"), &json!({"record": "{}"}), 409, "WEIR-DEAD-002");
    job.refused("POST", "/replay", &json!({"ids": [two]}), 409, "WEIR-DEAD-006");
    job.refused("POST", "/replay", &json!({}), 422, "WEIR-DEAD-012");

    // The same replay again is a replay, not the pipeline.
    platform.ask("PUT", &job.path(&format!("/{four}")), &json!({"record": r#"{"id":4,"price":"4.00"}"#}));
    let again = platform.ask("POST", &format!("/api/v1/runs/{}/retry", replay["id"].as_str().unwrap()), &Value::Null);
    let ended = job.ended(&again);
    assert_eq!((&ended["status"], &ended["streams"][0]["rows_written"]), (&json!("succeeded"), &json!(1)), "{ended:#}");
    assert_eq!(rows(data), "1:1.50 2:2.00 3:3.25 4:4.00 5:5.00");

    // Given up: kept, with who and why, and no replay takes it.
    let discard = json!({"reason": "a password, not a price", "letters": {"stream": "public.raw"}});
    assert_eq!(platform.ask("POST", &job.path("/discard"), &discard), json!({"discarded": 1}));
    assert_eq!(job.list("?state=waiting").len(), 0);
    assert_eq!(job.list("?state=discarded")[0]["discarded"]["reason"], "a password, not a price");
    job.refused("POST", "/replay", &json!({"stream": "public.raw"}), 409, "WEIR-DEAD-006");

    for (action, expected) in [
        ("job.dead_letter.correct", vec!["allowed", "allowed", "failed", "allowed", "failed", "allowed", "failed", "allowed"]),
        ("job.dead_letters.discard", vec!["allowed"]),
    ] {
        let audit = platform.ask("GET", &format!("/api/v1/audit?action={action}"), &Value::Null);
        let found: Vec<_> = audit["items"].as_array().unwrap().iter().map(|row| row["outcome"].as_str().unwrap()).collect();
        assert_eq!(found.len(), expected.len(), "{action}: {found:?}");
        assert!(!audit.to_string().contains("2.00"), "a record stands in the audit log: {audit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_on_one_machine() {
    let data = scene();
    let mut folder = Folder::new();
    folder.set("WEIR_EGRESS_ALLOW", "127.0.0.1");
    let platform = Platform::start_with(&folder, 1);
    walk(&platform, &data);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_over_two_machines() {
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
