//! ETag, If-Match, If-None-Match.

use reqwest::{Method, StatusCode};
use serde_json::json;
use weir_store::model::Role;

use crate::harness::{OURS, Server, expect, job};

#[tokio::test]
async fn an_update_needs_the_version_that_was_read_if_one_is_named() {
    let server = Server::start().await;
    let id = server.job(OURS, "tagged").await;
    let path = format!("/api/v1/jobs/{id}");
    let first = server.get(&path).send().await.unwrap();
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(expect(first, StatusCode::OK).await["revision"].to_string(), tag.trim_matches('"'));

    let unchanged = server.get(&path).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!(unchanged.headers()["etag"].to_str().unwrap(), tag);
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(unchanged.text().await.unwrap(), "");

    let mut body = job("tagged");
    body["description"] = json!("new");
    let updated = server.put(&path, &body).header("if-match", &tag).send().await.unwrap();
    let next = updated.headers()["etag"].to_str().unwrap().to_owned();
    assert_ne!(next, tag);
    expect(updated, StatusCode::OK).await;
    for stale in [tag.as_str(), "\"999\"", "\"never\"", &format!("W/{next}"), &next[1..next.len() - 1]] {
        let answer = server.put(&path, &body).header("if-match", stale).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::PRECONDITION_FAILED, "{stale}");
        let answer = server.delete(&path).header("if-match", stale).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::PRECONDITION_FAILED, "{stale}");
    }
    let gone = server.put("/api/v1/jobs/nobody", &body).header("if-match", &tag).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    let several = server.put(&path, &body).header("if-match", format!("{tag}, {next}")).send().await.unwrap();
    assert_eq!(several.status(), StatusCode::PRECONDITION_FAILED);
    expect(server.get(&path).header("if-none-match", &tag).send().await.unwrap(), StatusCode::OK).await;
    expect(server.put(&path, &body).header("if-match", "*").send().await.unwrap(), StatusCode::OK).await;
    expect(server.put(&path, &body).send().await.unwrap(), StatusCode::OK).await;
    expect(server.delete(&path).header("if-match", "*").send().await.unwrap(), StatusCode::NO_CONTENT).await;
    server.stop().await;
}

#[tokio::test]
async fn tenants_principals_and_connections_have_tags_too() {
    let server = Server::start().await;
    let principal =
        server.post("/api/v1/principals", &json!({"kind": "user", "name": "ann", "role": "viewer"})).send().await.unwrap();
    let place = principal.headers()["location"].to_str().unwrap().to_owned();
    let tag = principal.headers()["etag"].to_str().unwrap().to_owned();
    expect(principal, StatusCode::CREATED).await;
    let change = json!({"role": "operator", "disabled": false});
    expect(server.put(&place, &change).header("if-match", &tag).send().await.unwrap(), StatusCode::OK).await;
    expect(server.put(&place, &change).header("if-match", &tag).send().await.unwrap(), StatusCode::PRECONDITION_FAILED).await;

    let connection = json!({"name": "crm", "kind": "postgres", "options": {"host": "db"}});
    let made = server.post("/api/v1/connections", &connection).send().await.unwrap();
    let place = made.headers()["location"].to_str().unwrap().to_owned();
    let tag = made.headers()["etag"].to_str().unwrap().to_owned();
    expect(made, StatusCode::CREATED).await;
    expect(server.put(&place, &connection).header("if-match", "\"77\"").send().await.unwrap(), StatusCode::PRECONDITION_FAILED)
        .await;
    expect(server.put(&place, &connection).header("if-match", &tag).send().await.unwrap(), StatusCode::OK).await;
    expect(server.post("/api/v1/connections", &connection).send().await.unwrap(), StatusCode::CONFLICT).await;
    expect(server.delete(&place).header("if-match", &tag).send().await.unwrap(), StatusCode::PRECONDITION_FAILED).await;
    expect(server.delete(&place).send().await.unwrap(), StatusCode::NO_CONTENT).await;

    let boss = |method: Method, path: &str| server.ask(method, path, OURS, Role::PlatformAdmin);
    let tenant = boss(Method::POST, "/api/v1/tenants").json(&json!({"id": "third", "name": "Third"})).send().await.unwrap();
    let tag = tenant.headers()["etag"].to_str().unwrap().to_owned();
    expect(tenant, StatusCode::CREATED).await;
    let change = json!({"name": "Third", "status": "suspended", "quotas": {"max_pipelines": 3}});
    expect(
        boss(Method::PUT, "/api/v1/tenants/third").header("if-match", &tag).json(&change).send().await.unwrap(),
        StatusCode::OK,
    )
    .await;
    let again = boss(Method::PUT, "/api/v1/tenants/third").header("if-match", &tag).json(&change).send().await.unwrap();
    expect(again, StatusCode::PRECONDITION_FAILED).await;
    server.stop().await;
}
