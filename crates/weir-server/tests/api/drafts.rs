//! What the pages ask about things that are not stored yet, and the small questions of monitoring and administration.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use weir_store::model::Role;

use crate::harness::{OURS, Server, THEIRS, expect, job};

const RIGHT: &str =
    "pipeline: p\nsource: {postgres: {host: db, password: canary-7-secret, table: t}}\nsink: {file: {path: out}}\n";
const WRONG: &str = "pipeline: p\nsource: {file: {path: a}}\nsink: {fiel: {path: out}}\n";

async fn asked(server: &Server, path: &str, text: &str) -> Value {
    let request = server.ask(Method::POST, path, OURS, Role::Editor).header("content-type", "application/yaml");
    expect(request.body(text.to_owned()).send().await.unwrap(), StatusCode::OK).await
}

/// The errand's program of these tests answers that nothing is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_and_a_preview_say_what_is_wrong_before_anything_is_asked() {
    let server = Server::start().await;
    for path in ["/api/v1/pipelines/plan", "/api/v1/pipelines/preview?limit=3"] {
        let told = asked(&server, path, WRONG).await;
        let first = &told["diagnostics"][0];
        assert_eq!((&first["severity"], &first["line"], &first["column"]), (&json!("error"), &json!(3), &json!(8)), "{told}");
        assert_eq!(told["error"], Value::Null, "nothing was asked: {told}");
        let told = asked(&server, path, RIGHT).await;
        assert_eq!(told["error"]["code"], "WEIR-TEST-001", "{told}");
        assert!(!told.to_string().contains("canary-7"), "{told}");
    }
    let plan = asked(&server, "/api/v1/pipelines/plan", RIGHT).await;
    assert_eq!((&plan["plan"], &plan["text"]), (&Value::Null, &Value::Null));
    let streaming = RIGHT.replace("pipeline: p", "pipeline: p\nmode: streaming");
    let preview = asked(&server, "/api/v1/pipelines/preview", &streaming).await;
    assert_eq!((&preview["error"]["code"], &preview["steps"]), (&json!("WEIR-JOB-020"), &json!([])), "{preview}");
    assert_eq!(expect(server.get("/api/v1/jobs").send().await.unwrap(), StatusCode::OK).await["items"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn the_schema_of_pipeline_files_is_there_for_editors() {
    let server = Server::start().await;
    let answer = server.ask(Method::GET, "/api/v1/pipelines/schema", OURS, Role::Viewer).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/schema+json");
    assert_eq!(expect(answer, StatusCode::OK).await, json!({}), "this workbench knows none");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_tried_out_before_it_is_stored_and_that_is_audited() {
    let server = Server::start().await;
    let try_out = async |body: Value| server.post("/api/v1/connections/test", &body).send().await.unwrap();
    let options = json!({"host": "db", "password": "canary-8-secret"});
    let told = expect(try_out(json!({"name": "db", "kind": "postgres", "options": options})).await, StatusCode::OK).await;
    assert_eq!(told["error"]["code"], "WEIR-TEST-001", "{told}");
    assert_eq!(expect(server.get("/api/v1/connections").send().await.unwrap(), StatusCode::OK).await["items"], json!([]));
    // A secret that is to be kept must be there.
    let kept = json!({"name": "db", "kind": "postgres", "options": {"host": "elsewhere", "password": {"set": true}}});
    let refused = expect(try_out(kept.clone()).await, StatusCode::UNPROCESSABLE_ENTITY).await;
    assert!(refused.to_string().contains("no stored value"), "{refused}");
    let stored = json!({"name": "db", "kind": "postgres", "options": options});
    expect(server.post("/api/v1/connections", &stored).send().await.unwrap(), StatusCode::CREATED).await;
    expect(try_out(kept).await, StatusCode::OK).await;
    expect(try_out(json!({"name": "x", "kind": "nothing"})).await, StatusCode::UNPROCESSABLE_ENTITY).await;
    let rows = expect(server.get("/api/v1/audit?action=connection.try").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(rows["items"].as_array().unwrap().len(), 2, "{rows}");
    let newest = &rows["items"][0]["detail"];
    assert_eq!((&newest["options"]["host"], &newest["secrets"]), (&json!("elsewhere"), &json!(["password"])));
    assert!(!rows.to_string().contains("canary-8"), "{rows}");
    server.stop().await;
}

#[tokio::test]
async fn a_connection_knows_the_jobs_that_name_it() {
    let server = Server::start().await;
    let stored = json!({"name": "crm", "kind": "postgres", "options": {"host": "db"}});
    expect(server.post("/api/v1/connections", &stored).send().await.unwrap(), StatusCode::CREATED).await;
    let mut uses = job("uses it");
    uses["source"] = json!({"connector_type": "postgres", "connection_params": {"connection": "crm", "table": "t"}});
    expect(server.post("/api/v1/jobs", &uses).send().await.unwrap(), StatusCode::CREATED).await;
    server.job(OURS, "does not").await;
    let found = expect(server.get("/api/v1/jobs?connection=crm").send().await.unwrap(), StatusCode::OK).await;
    let names: Vec<_> = found["items"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["uses it"]);
    let foreign = server.ask(Method::GET, "/api/v1/jobs?connection=crm", THEIRS, Role::Admin).send().await.unwrap();
    assert_eq!(expect(foreign, StatusCode::OK).await["items"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn a_silence_can_be_ended() {
    let server = Server::start().await;
    let made = server.post("/api/v1/silences", &json!({"until": "2099-01-01T00:00:00Z", "reason": "work"}));
    let made = expect(made.send().await.unwrap(), StatusCode::ACCEPTED).await;
    let listed = expect(server.get("/api/v1/silences").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(listed["items"], json!([made]));
    let path = format!("/api/v1/silences/{}", made["id"].as_str().unwrap());
    let foreign = server.ask(Method::DELETE, &path, THEIRS, Role::Admin).send().await.unwrap();
    expect(foreign, StatusCode::NOT_FOUND).await;
    expect(server.delete(&path).send().await.unwrap(), StatusCode::NO_CONTENT).await;
    expect(server.delete(&path).send().await.unwrap(), StatusCode::NOT_FOUND).await;
    assert_eq!(expect(server.get("/api/v1/silences").send().await.unwrap(), StatusCode::OK).await["items"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn a_rule_is_rehearsed_on_what_was_measured() {
    let server = Server::start().await;
    let id = server.job(OURS, "watched").await;
    let path = format!("/api/v1/jobs/{id}/alerts/preview?time_range_hours=2");
    let ask = async |rule: Value| server.post(&path, &rule).send().await.unwrap();
    let none = expect(ask(json!({"metric": "rejected_rows", "threshold": 5, "window": "5m"})).await, StatusCode::OK).await;
    assert_eq!((&none["alerts"], &none["unit"]), (&json!([]), &json!("rows")));
    let now = chrono::Utc::now();
    let point = |minutes: i64, value: f64| weir_store::model::MetricPoint {
        tenant_id: OURS.into(),
        job_id: Some(id.as_str().into()),
        run_id: Some(format!("r{minutes}").as_str().into()),
        metric: "rejected_rows".into(),
        labels: Default::default(),
        at: now - chrono::Duration::minutes(minutes),
        value,
    };
    server.platform.store.system().write_points(vec![point(60, 3.0), point(58, 4.0), point(20, 1.0)]).await.unwrap();
    let told = expect(ask(json!({"metric": "rejected_rows", "threshold": 5, "window": "5m"})).await, StatusCode::OK).await;
    let alerts = told["alerts"].as_array().unwrap();
    assert_eq!((alerts.len(), &alerts[0]["highest"], &told["truncated"]), (1, &json!(7.0), &json!(false)), "{told}");
    assert!(alerts[0]["resolved_at"].is_string(), "{told}");
    expect(ask(json!({"metric": "rejected_rows", "threshold": 5, "window": "999d"})).await, StatusCode::UNPROCESSABLE_ENTITY)
        .await;
    let rules = expect(server.get(&format!("/api/v1/jobs/{id}/alerts")).send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(rules["items"], json!([]), "nothing is stored");
    server.stop().await;
}

#[tokio::test]
async fn the_audit_log_is_checked_on_request() {
    let server = Server::start().await;
    server.job(OURS, "a").await;
    let check = expect(server.get("/api/v1/audit/verify").send().await.unwrap(), StatusCode::OK).await;
    let rows = expect(server.get("/api/v1/audit?limit=500").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!((&check["whole"], &check["broken_seq"], &check["why"]), (&json!(true), &Value::Null, &Value::Null), "{check}");
    assert_eq!(check["rows"], json!(rows["items"].as_array().unwrap().len()));
    server.stop().await;
}

#[tokio::test]
async fn settings_are_shown_as_the_program_loaded_them_and_without_secrets() {
    let server = Server::start().await;
    let boss = |path: &str| server.ask(Method::GET, path, OURS, Role::PlatformAdmin).send();
    assert_eq!(expect(boss("/api/v1/config").await.unwrap(), StatusCode::OK).await, json!({"items": []}));
    server.stop().await;
}
