//! How the server says no.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use weir_store::model::Role;

use crate::harness::{OURS, PANIC, Server, expect, job};

/// Checks the shape that every refusal has, and gives its body.
async fn problem(answer: reqwest::Response, status: u16, code: &str) -> Value {
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body = expect(answer, StatusCode::from_u16(status).unwrap()).await;
    assert_eq!(body["status"], status);
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["type"], format!("https://weir.dev/problems/{}", code.to_lowercase()));
    assert_eq!(body["instance"], format!("urn:weir:request:{id}"));
    assert!(body["detail"].is_string() && body["title"].is_string());
    body
}

#[tokio::test]
async fn every_kind_of_wrong_request_is_a_problem_with_its_code() {
    let server = Server::start().await;
    problem(server.get("/api/v1/nothing").send().await.unwrap(), 404, "WEIR-API-001").await;
    problem(server.get("/api/v1/jobs/").send().await.unwrap(), 404, "WEIR-API-001").await;
    problem(server.get("/api/v1/jobs/nobody").send().await.unwrap(), 404, "WEIR-STORE-404").await;
    problem(server.get("/api/v1/jobs/no%20body").send().await.unwrap(), 404, "WEIR-API-404").await;
    problem(server.get("/api/v1/jobs/%ff").send().await.unwrap(), 404, "WEIR-API-404").await;
    problem(server.get("/api/v1/jobs?limit=501").send().await.unwrap(), 400, "WEIR-API-012").await;
    problem(server.get("/api/v1/jobs?colour=red").send().await.unwrap(), 400, "WEIR-API-012").await;
    problem(server.get("/api/v1/jobs?cursor=made-up").send().await.unwrap(), 422, "WEIR-STORE-010").await;

    let answer = server.ask(Method::PATCH, "/api/v1/jobs", OURS, Role::Admin).send().await.unwrap();
    let allow = answer.headers()["allow"].to_str().unwrap().to_owned();
    assert!(allow.contains("GET") && allow.contains("POST") && !allow.contains("DELETE"), "{allow}");
    problem(answer, 405, "WEIR-API-002").await;

    let typed = |media: &str, body: &str| {
        server.ask(Method::POST, "/api/v1/silences", OURS, Role::Admin).header("content-type", media).body(body.to_owned()).send()
    };
    problem(typed("text/plain", "{}").await.unwrap(), 415, "WEIR-API-003").await;
    problem(typed("application/x-www-form-urlencoded", "{}").await.unwrap(), 415, "WEIR-API-003").await;
    let body = problem(typed("application/json", "{\n  \"until\": oops}").await.unwrap(), 400, "WEIR-API-010").await;
    assert_eq!((&body["errors"][0]["line"], &body["errors"][0]["column"]), (&json!(2), &json!(12)));
    problem(typed("application/json; charset=utf-8", "").await.unwrap(), 400, "WEIR-API-010").await;
    let body =
        problem(typed("application/json", r#"{"until": "soon", "reason": "", "who": 1}"#).await.unwrap(), 400, "WEIR-API-011")
            .await;
    let places: Vec<&str> = body["errors"].as_array().unwrap().iter().filter_map(|part| part["path"].as_str()).collect();
    assert!(places.contains(&"/until") && places.contains(&"/reason"), "{body}");
    problem(server.post("/api/v1/jobs/nobody/run", &json!({"extra": 1})).send().await.unwrap(), 400, "WEIR-API-015").await;
    server.stop().await;
}

#[tokio::test]
async fn a_pipeline_with_mistakes_is_refused_with_all_of_them_and_their_places() {
    let server = Server::start().await;
    let spec = "pipeline: broken\nsource:\n  file:\n    pth: in.csv\nsink:\n  fil:\n    path: out\n";
    let answer = server.post("/api/v1/jobs", &json!({"spec": spec})).send().await.unwrap();
    let body = expect(answer, StatusCode::UNPROCESSABLE_ENTITY).await;
    let errors = body["errors"].as_array().unwrap();
    assert!(errors.len() >= 2, "{body}");
    assert!(errors.iter().any(|error| error["line"] == 4) && errors.iter().any(|error| error["line"] == 6), "{body}");
    server.stop().await;
}

#[tokio::test]
async fn a_panic_is_a_500_problem_and_the_server_goes_on() {
    let server = Server::start().await;
    let body = json!({"spec": format!("pipeline: {PANIC}\n")});
    problem(server.post("/api/v1/jobs", &body).send().await.unwrap(), 500, "WEIR-INTERNAL-001").await;
    for _ in 0..2 {
        // Not kept: the next try with the key is a new one.
        let answer = server.post("/api/v1/jobs", &body).header("idempotency-key", "p1").send().await.unwrap();
        assert!(answer.headers().get("idempotent-replayed").is_none());
        problem(answer, 500, "WEIR-INTERNAL-001").await;
    }
    expect(server.get("/api/v1/jobs").send().await.unwrap(), StatusCode::OK).await;
    server.stop().await;
}

#[tokio::test]
async fn request_ids_and_traces_go_through_to_the_audit_log() {
    let server = Server::start().await;
    let answer = server
        .post("/api/v1/jobs", &job("traced"))
        .header("x-request-id", "my-request-1")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-request-id"], "my-request-1");
    expect(answer, StatusCode::CREATED).await;
    let rows = expect(server.get("/api/v1/audit?action=job.create").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(rows["items"][0]["request_id"], "my-request-1");
    assert_eq!(rows["items"][0]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    let answer = server.get("/api/v1/jobs").header("x-request-id", "no spaces allowed").send().await.unwrap();
    assert_ne!(answer.headers()["x-request-id"], "no spaces allowed");
    server.stop().await;
}
