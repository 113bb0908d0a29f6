//! The platform's API and the logs of its jobs: what is asked of a run that goes on, in the same process, or on a machine that has nothing in common with
//! the one that was asked but the database.

use std::time::Duration;

use serde_json::{Value, json};
use weir_testkit::{Database, PostgresServer, wait_until};

use crate::handover::{Platform, Worker};
use crate::harness::{Folder, Slots};
use crate::serving::Server;

const DIFFERENT: &str = "SELECT count(*) FROM ((TABLE a EXCEPT TABLE copied.a) UNION ALL (TABLE copied.a EXCEPT TABLE a)) rows";

fn scene() -> (Database, String) {
    let data = PostgresServer::shared().unwrap().create_database().unwrap();
    data.execute(
        "CREATE TABLE a (id bigint PRIMARY KEY, version bigint NOT NULL);
         INSERT INTO a SELECT id, 1 FROM generate_series(1, 1000) id;
         CREATE TABLE b (id bigint PRIMARY KEY); CREATE SCHEMA copied;",
    )
    .unwrap();
    // Its name is that of other pipelines too: their slots are those of other databases.
    let spec = format!(
        "pipeline: asked\nmode: cdc\non_schema_change: hold\ncheckpoint_interval_ms: 200\n\
         connections:\n  db: {{postgres: {{url: '{}'}}}}\n\
         source:\n  postgres-cdc: {{connection: db, tables: [public.a, public.b]}}\n\
         sink:\n  postgres: {{connection: db, schema: copied, table: '{{stream}}', write_mode: upsert}}\n",
        data.url()
    );
    (data, spec)
}

/// A job whose log goes on; asked through `api`, which gives status and body.
fn is_asked(data: &Database, spec: &str, here: bool, api: &dyn Fn(&str, &str, Value) -> (u16, Value)) {
    let ask = |method: &str, path: &str, body: Value| {
        let (status, answer) = api(method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer:#}");
        answer
    };
    let job = ask("POST", "/api/v1/jobs", json!({"spec": spec}))["id"].as_str().unwrap().to_owned();
    let path = |below: &str| format!("/api/v1/jobs/{job}/{below}");
    assert_eq!(ask("GET", &path("journal"), Value::Null), json!({"running": false, "logs": []}));
    let (status, refused) = api("POST", &path("snapshot"), json!({"stream": "public.a"}));
    assert_eq!((status, &refused["code"]), (404, &json!("WEIR-JOURNAL-024")), "{refused:#}");
    let run = ask("POST", &path("run"), Value::Null)["id"].as_str().unwrap().to_owned();
    let told = || {
        let shown = |path: &str| format!("{:#}", api("GET", path, Value::Null).1);
        let (run, journal) = (format!("/api/v1/runs/{run}/logs"), path("journal"));
        format!("{} {}", shown(&run), shown(&journal))
    };
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        wait_until(what, Duration::from_secs(45), holds).unwrap_or_else(|error| panic!("{error}: {}", told()));
    };
    let same =
        || data.value("SELECT to_regclass('copied.a') IS NOT NULL").unwrap() == "t" && data.value(DIFFERENT).unwrap() == "0";
    until("the copy is equal", &same);

    // The shape changes: the table waits, the other one goes on.
    data.execute("ALTER TABLE a ADD note text; INSERT INTO a VALUES (5000, 2, 'new'); INSERT INTO b VALUES (7)").unwrap();
    until("the other table goes on", &|| data.value("SELECT count(*) FROM copied.b").unwrap() == "1");
    let held = || ask("GET", &path("journal"), Value::Null)["logs"][0]["sinks"][0]["held"].clone();
    until("the table waits", &|| held()[0]["rows"] == 1);
    let journal = ask("GET", &path("journal"), Value::Null);
    assert_eq!((&journal["running"], &held()[0]["changes"]), (&json!(true), &json!(["add column note text"])), "{journal:#}");
    assert_eq!(journal["logs"][0]["journal"].is_object(), here, "{journal:#}");
    let (status, refused) = api("POST", &path("journal/approve"), json!({"stream": "public.b"}));
    assert_eq!((status, &refused["code"]), (404, &json!("WEIR-JOURNAL-015")), "{refused:#}");
    let approved = ask("POST", &path("journal/approve"), json!({"stream": "public.a"}));
    assert_eq!((&approved["running"], &approved["approved"][0]["sink"]), (&json!(true), &json!("sink")), "{approved:#}");
    until("what waits comes", &|| {
        data.value("SELECT coalesce((SELECT to_jsonb(a)->>'note' FROM copied.a WHERE id = 5000), '')").unwrap() == "new"
    });
    until("nothing waits", &|| held().as_array().is_some_and(Vec::is_empty));

    // Somebody was at the target.
    data.execute("UPDATE copied.a SET version = -1; DELETE FROM copied.a WHERE id % 7 = 0").unwrap();
    let (status, refused) = api("POST", &path("snapshot"), json!({"stream": "public.nothing"}));
    assert_eq!((status, &refused["code"]), (404, &json!("WEIR-CLI-075")), "{refused:#}");
    for _ in 0..2 {
        let asked = ask("POST", &path("snapshot"), json!({"stream": "public.a", "where": "id <= 500"}));
        assert_eq!(asked, json!({"running": true, "source": "source", "stream": "public.a"}));
    }
    let wrong = "SELECT count(*) FROM a LEFT JOIN copied.a c USING (id) WHERE a.version IS DISTINCT FROM c.version AND";
    until("the rows are read once more", &|| data.value(format!("{wrong} id <= 500")).unwrap() == "0");
    assert_eq!(data.value(format!("{wrong} id > 500")).unwrap(), "501", "the others were not asked for");
    ask("POST", &path("snapshot"), json!({"stream": "public.a"}));
    until("all rows are read once more", &same);
    until("nothing is asked for any more", &|| {
        ask("GET", &path("journal"), Value::Null)["logs"][0]["asked"].as_array().is_some_and(Vec::is_empty)
    });

    let seen = ask("GET", &format!("/api/v1/runs/{run}"), Value::Null);
    assert_eq!((&seen["status"], &seen["attempt"]), (&json!("running"), &json!(1)), "one run, one attempt: {seen:#}");
    let audited = |action: &str| {
        let rows = ask("GET", &format!("/api/v1/audit?action={action}"), Value::Null);
        let row = |row: &Value| format!("{} {}", row["outcome"].as_str().unwrap(), row["detail"]["stream"].as_str().unwrap());
        let mut rows: Vec<String> = rows["items"].as_array().unwrap().iter().map(row).collect();
        rows.reverse();
        rows.join(", ")
    };
    assert_eq!(audited("job.journal.approve"), "allowed public.b, failed public.b, allowed public.a");
    assert_eq!(
        audited("job.snapshot"),
        "allowed public.a, failed public.a, allowed public.nothing, failed public.nothing, allowed public.a, allowed public.a, allowed public.a"
    );
    ask("POST", &format!("/api/v1/runs/{run}/cancel"), Value::Null);
    let over = || api("GET", &format!("/api/v1/runs/{run}"), Value::Null).1["ended_at"].is_string();
    until("the run has ended", &over);
}

#[test]
fn a_run_of_this_machine_is_asked_through_the_api() {
    let (data, spec) = scene();
    let _slots = Slots(data.clone());
    let folder = Folder::new();
    let server = Server::start(&folder, &["serve", "--dev", "--workers", "1", "--listen", "127.0.0.1:0"]);
    let text = |body: Value| if body.is_null() { String::new() } else { body.to_string() };
    is_asked(&data, &spec, true, &|method, path, body| server.ask(method, path, None, &text(body)));
    assert_eq!(server.stop().0, 0);
}

#[test]
fn a_run_of_another_machine_is_asked_through_the_database() {
    let (data, spec) = scene();
    let _slots = Slots(data.clone());
    let platform = PostgresServer::shared().unwrap().create_database().unwrap();
    let environment: Vec<(&str, String)> = vec![
        ("DATABASE_URL", platform.url().to_owned()),
        ("WEIR_SEAL_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned()),
        ("WEIR_EGRESS_ALLOW", "127.0.0.1".to_owned()),
    ];
    let mut folder = Folder::new();
    environment.iter().for_each(|(name, value)| folder.set(name, value));
    let platform = Platform::start(&folder);
    let _worker = Worker::start(&environment);
    is_asked(&data, &spec, false, &|method, path, body| platform.answer(method, path, &body));
}
