//! The resources, the usual way through.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use weir_store::model::Role;

use crate::harness::{OURS, Server, expect, job};

#[tokio::test]
async fn a_job_lives_through_versions_rollback_pause_clone_and_delete() {
    let server = Server::start().await;
    let id = server.job(OURS, "orders").await;
    let path = format!("/api/v1/jobs/{id}");
    let mut changed = job("orders");
    changed["source"]["connection_params"]["path"] = json!("other.csv");
    assert_eq!(expect(server.put(&path, &changed).send().await.unwrap(), StatusCode::OK).await["version"], 2);
    let versions = expect(server.get(&format!("{path}/versions")).send().await.unwrap(), StatusCode::OK).await;
    let numbers: Vec<&Value> = versions["items"].as_array().unwrap().iter().map(|version| &version["version"]).collect();
    assert_eq!(numbers, [&json!(2), &json!(1)]);
    let back =
        expect(server.post(&format!("{path}/rollback"), &json!({"version": 1})).send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(back["version"], 3);
    assert!(back["spec"].as_str().unwrap().contains("in.csv"));
    let third = expect(server.get(&format!("{path}/versions/3")).send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(third["note"], "rolled back to 1");
    expect(server.post(&format!("{path}/rollback"), &json!({"version": 9})).send().await.unwrap(), StatusCode::NOT_FOUND).await;

    assert_eq!(
        expect(server.post(&format!("{path}/pause"), &json!({})).send().await.unwrap(), StatusCode::OK).await["status"],
        "paused"
    );
    let paused = expect(server.get("/api/v1/jobs?status=paused").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(paused["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        expect(server.post(&format!("{path}/resume"), &json!({})).send().await.unwrap(), StatusCode::OK).await["status"],
        "active"
    );
    let copy =
        expect(server.post(&format!("{path}/clone"), &json!({"name": "copy"})).send().await.unwrap(), StatusCode::CREATED).await;
    assert_eq!((&copy["name"], &copy["status"]), (&json!("copy"), &json!("paused")));
    expect(server.post(&format!("{path}/clone"), &json!({"name": "copy"})).send().await.unwrap(), StatusCode::CONFLICT).await;
    expect(server.post("/api/v1/jobs", &job("orders")).send().await.unwrap(), StatusCode::CONFLICT).await;

    let run = server.post(&format!("{path}/run"), &json!({})).send().await.unwrap();
    let place = run.headers()["location"].to_str().unwrap().to_owned();
    let run = expect(run, StatusCode::ACCEPTED).await;
    assert_eq!(expect(server.get(&place).send().await.unwrap(), StatusCode::OK).await["status"], "queued");
    let of_job = expect(server.get(&format!("{path}/runs")).send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(of_job["items"][0]["id"], run["id"]);
    let cancelled = expect(server.post(&format!("{place}/cancel"), &json!({})).send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(cancelled["status"], "cancelled");
    expect(server.post(&format!("{place}/cancel"), &json!({})).send().await.unwrap(), StatusCode::CONFLICT).await;
    let again = expect(server.post(&format!("{place}/retry"), &json!({})).send().await.unwrap(), StatusCode::ACCEPTED).await;
    assert_ne!(again["id"], run["id"]);
    expect(server.delete(&path).send().await.unwrap(), StatusCode::NO_CONTENT).await;
    expect(server.get(&path).send().await.unwrap(), StatusCode::NOT_FOUND).await;
    server.stop().await;
}

#[tokio::test]
async fn a_job_may_be_sent_as_yaml_or_in_an_envelope() {
    let server = Server::start().await;
    let yaml = "# a comment stays\npipeline: plain\nsource:\n  file: {path: in.csv}\nsink:\n  file: {path: out}\n";
    let answer = server
        .ask(Method::POST, "/api/v1/jobs", OURS, Role::Editor)
        .header("content-type", "application/yaml")
        .body(yaml)
        .send()
        .await
        .unwrap();
    let plain = expect(answer, StatusCode::CREATED).await;
    assert_eq!((&plain["name"], &plain["spec"]), (&json!("plain"), &json!(yaml)));
    let envelope = json!({
        "spec": yaml.replace("plain", "wrapped"), "name": "Wrapped", "labels": {"team": "data"}, "depends_on": ["plain"],
        "retry": {"max_attempts": 5}, "timeout_secs": 60, "schedule": {"cron": "0 3 * * *", "timezone": "Europe/Berlin"},
    });
    let wrapped = expect(server.post("/api/v1/jobs", &envelope).send().await.unwrap(), StatusCode::CREATED).await;
    assert_eq!(wrapped["depends_on"], json!([plain["id"]]));
    assert_eq!((&wrapped["schedule"]["timezone"], &wrapped["retry"]["max_attempts"]), (&json!("Europe/Berlin"), &json!(5)));
    let found = expect(server.get("/api/v1/jobs?label=team:data").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn pages_lead_through_a_whole_listing_without_gaps() {
    let server = Server::start().await;
    for index in 0..25 {
        server.job(OURS, &format!("job {index:02}")).await;
    }
    let (mut names, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut request = server.get("/api/v1/jobs?limit=10");
        if let Some(cursor) = &cursor {
            request = request.query(&[("cursor", cursor)]);
        }
        let page = expect(request.send().await.unwrap(), StatusCode::OK).await;
        assert!(page["items"].as_array().unwrap().len() <= 10);
        names.extend(page["items"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    let expected: Vec<String> = (0..25).rev().map(|index| format!("job {index:02}")).collect();
    assert_eq!(names, expected, "newest first");
    server.stop().await;
}

#[tokio::test]
async fn secrets_and_connections_go_in_and_do_not_come_out() {
    let server = Server::start().await;
    expect(server.put("/api/v1/secrets/api_key", &json!({"value": "canary-1"})).send().await.unwrap(), StatusCode::NO_CONTENT)
        .await;
    let names = server.get("/api/v1/secrets").send().await.unwrap().text().await.unwrap();
    assert!(names.contains("api_key") && !names.contains("canary"), "{names}");
    let body = json!({"name": "crm", "kind": "postgres", "options": {"host": "db", "password": "canary-2"}});
    let made = server.post("/api/v1/connections", &body).send().await.unwrap();
    let place = made.headers()["location"].to_str().unwrap().to_owned();
    let text = made.text().await.unwrap()
        + &server.get(&place).send().await.unwrap().text().await.unwrap()
        + &server.get("/api/v1/connections").send().await.unwrap().text().await.unwrap()
        + &server.get("/api/v1/audit").send().await.unwrap().text().await.unwrap()
        + &server.get("/api/v1/events").send().await.unwrap().text().await.unwrap();
    assert!(text.contains("\"password\":{\"set\":true}") && !text.contains("canary"), "{text}");
    let wrong = json!({"name": "bad", "kind": "postgres", "options": {"password": "canary-3", "colour": "red"}});
    let refused = server.post("/api/v1/connections", &wrong).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!refused.text().await.unwrap().contains("canary"));
    expect(server.delete("/api/v1/secrets/api_key").send().await.unwrap(), StatusCode::NO_CONTENT).await;
    expect(server.delete("/api/v1/secrets/api_key").send().await.unwrap(), StatusCode::NOT_FOUND).await;
    server.stop().await;
}

#[tokio::test]
async fn a_token_is_shown_once_lives_within_its_role_and_dies_when_revoked() {
    let server = Server::start().await;
    let bot = expect(
        server
            .post("/api/v1/principals", &json!({"kind": "service_account", "name": "bot", "role": "editor"}))
            .send()
            .await
            .unwrap(),
        StatusCode::CREATED,
    )
    .await;
    let body = json!({"principal_id": bot["id"], "name": "ci", "role": "viewer"});
    let made = expect(server.post("/api/v1/tokens", &body).send().await.unwrap(), StatusCode::CREATED).await;
    let secret = made["token"].as_str().unwrap().to_owned();
    let ask = |method: Method| server.http.request(method, format!("{}/api/v1/jobs", server.base)).bearer_auth(&secret);
    expect(ask(Method::GET).send().await.unwrap(), StatusCode::OK).await;
    expect(ask(Method::POST).json(&job("x")).send().await.unwrap(), StatusCode::FORBIDDEN).await;
    let list = server.get("/api/v1/tokens").send().await.unwrap().text().await.unwrap();
    assert!(!list.contains(&secret) && list.contains(&secret[..12]));
    let path = format!("/api/v1/tokens/{}", made["info"]["id"].as_str().unwrap());
    expect(server.delete(&path).send().await.unwrap(), StatusCode::NO_CONTENT).await;
    expect(ask(Method::GET).send().await.unwrap(), StatusCode::UNAUTHORIZED).await;
    let past = json!({"principal_id": bot["id"], "name": "old", "expires_at": "2001-01-01T00:00:00Z"});
    expect(server.post("/api/v1/tokens", &past).send().await.unwrap(), StatusCode::UNPROCESSABLE_ENTITY).await;
    server.stop().await;
}

#[tokio::test]
async fn a_quota_of_pipelines_holds() {
    let server = Server::start().await;
    let boss = |method: Method, path: &str| server.ask(method, path, OURS, Role::PlatformAdmin);
    let limits = json!({"name": "Ours", "status": "active", "quotas": {"max_pipelines": 1}});
    expect(boss(Method::PUT, "/api/v1/tenants/ours").json(&limits).send().await.unwrap(), StatusCode::OK).await;
    server.job(OURS, "only").await;
    let answer = server.post("/api/v1/jobs", &job("one too many")).send().await.unwrap();
    assert!(answer.headers().contains_key("retry-after"));
    expect(answer, StatusCode::TOO_MANY_REQUESTS).await;
    let used = expect(server.get("/api/v1/quotas").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!((&used["quotas"]["max_pipelines"], &used["usage"]["pipelines"]), (&json!(1), &json!(1)));
    server.stop().await;
}

#[tokio::test]
async fn a_schedule_is_explained() {
    let server = Server::start().await;
    let path = "/api/v1/schedules/preview?cron=0%20*/6%20*%20*%20*&count=3&after=2026-01-01T00:30:00Z";
    let preview = expect(server.get(path).send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(preview["words"], "every 6 hours");
    assert_eq!(preview["next"][0], "2026-01-01T06:00:00Z");
    assert_eq!(preview["next"].as_array().unwrap().len(), 3);
    for bad in ["cron=nonsense", "cron=0%200%2031%202%20*", "cron=0%200%20*%20*%20*&timezone=Mars"] {
        let answer = server.get(&format!("/api/v1/schedules/preview?{bad}")).send().await.unwrap();
        expect(answer, StatusCode::UNPROCESSABLE_ENTITY).await;
    }
    server.stop().await;
}

/// The process of an errand answers and ends, often before the server has looked at it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_test_is_answered_however_quickly_its_process_ends() {
    let server = Server::start().await;
    let made = server.post("/api/v1/connections", &json!({"name": "db", "kind": "postgres", "options": {"host": "db"}}));
    let made = expect(made.send().await.unwrap(), StatusCode::CREATED).await;
    let path = format!("/api/v1/connections/{}/test", made["id"].as_str().unwrap());
    for _ in 0..10 {
        let answers = futures::future::join_all((0..8).map(|_| server.post(&path, &json!({})).send())).await;
        for answer in answers {
            let body = expect(answer.unwrap(), StatusCode::OK).await;
            assert_eq!(body["error"]["code"], "WEIR-TEST-001");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_a_log_is_an_errand_that_says_why_it_failed_and_is_audited() {
    let server = Server::start().await;
    let mut log = job("log");
    log["sync_mode"] = json!("cdc");
    let log = expect(server.post("/api/v1/jobs", &log).send().await.unwrap(), StatusCode::CREATED).await;
    let batch = server.job(OURS, "batch").await;
    let ask = async |id: &str, below: &str, body: &Value| {
        let path = format!("/api/v1/jobs/{id}/{below}");
        let request = if body.is_null() { server.get(&path) } else { server.post(&path, body) };
        let answer = request.send().await.unwrap();
        let status = answer.status();
        (status, answer.json::<Value>().await.unwrap())
    };
    let stream = json!({"stream": "public.t"});
    for (below, body) in [("journal", &Value::Null), ("journal/approve", &stream), ("snapshot", &stream)] {
        let (status, problem) = ask(log["id"].as_str().unwrap(), below, body).await;
        assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("WEIR-JOURNAL-031")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("[WEIR-TEST-001] nothing is there"), "{problem}");
        let (status, problem) = ask(&batch, below, body).await;
        if body.is_null() {
            assert_eq!((status, problem), (StatusCode::OK, json!({"running": false, "logs": []})));
            continue;
        }
        assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("WEIR-JOURNAL-030")), "{problem}");
    }
    for action in ["job.journal.approve", "job.snapshot"] {
        let rows = expect(server.get(&format!("/api/v1/audit?action={action}")).send().await.unwrap(), StatusCode::OK).await;
        let rows = rows["items"].as_array().unwrap();
        let told: Vec<_> =
            rows.iter().map(|row| (row["outcome"].as_str().unwrap(), row["detail"]["stream"].as_str().unwrap())).collect();
        assert_eq!(told, [("failed", "public.t"), ("allowed", "public.t")], "{action}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_dead_letters_is_an_errand_that_says_why_it_failed_and_is_audited() {
    let server = Server::start().await;
    let id = server.job(OURS, "letters").await;
    let path = |below: &str| format!("/api/v1/jobs/{id}/dead-letters{below}");
    let failed = async |request: reqwest::RequestBuilder, code: &str| {
        let problem = expect(request.send().await.unwrap(), StatusCode::UNPROCESSABLE_ENTITY).await;
        assert_eq!(problem["code"], code, "{problem}");
        problem["detail"].as_str().unwrap().to_owned()
    };
    let letters = json!({"ids": [7, 8]});
    for request in [
        server.get(&path("")),
        server.get(&path("/7")),
        server.put(&path("/7"), &json!({"record": "{}"})),
        server.post(&path("/replay"), &letters),
        server.post(&path("/discard"), &json!({"reason": "test data", "letters": letters})),
    ] {
        let why = failed(request, "WEIR-DEAD-031").await;
        assert!(why.contains("[WEIR-TEST-001] nothing is there"), "{why}");
    }
    failed(server.post(&path("/replay"), &json!({})), "WEIR-DEAD-012").await;
    failed(server.get(&path("?cursor=x")), "WEIR-STORE-010").await;
    let runs = expect(server.get("/api/v1/runs").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(runs["items"], json!([]), "a replay was queued whose letters nobody has chosen");
    for (action, letter) in [
        ("job.dead_letter.correct", json!(7)),
        ("job.dead_letters.replay", Value::Null),
        ("job.dead_letters.discard", Value::Null),
    ] {
        let rows = expect(server.get(&format!("/api/v1/audit?action={action}")).send().await.unwrap(), StatusCode::OK).await;
        let rows = rows["items"].as_array().unwrap();
        let outcomes: Vec<_> = rows.iter().map(|row| row["outcome"].as_str().unwrap()).collect();
        assert_eq!((outcomes, &rows[0]["detail"]["letter"]), (vec!["failed", "allowed"], &letter), "{action}");
    }
    server.stop().await;
}
