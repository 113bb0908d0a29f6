//! What the web pages ask for besides the resources: who they are for, a pipeline as a graph, the pages themselves.

use reqwest::{Method, StatusCode};
use serde_json::json;
use weir_store::model::Role;

use crate::harness::{OURS, Server, THEIRS, expect};

#[tokio::test]
async fn who_asks_is_told_who_they_are() {
    let server = Server::start().await;
    let me = expect(server.ask(Method::GET, "/api/v1/me", OURS, Role::Operator).send().await.unwrap(), StatusCode::OK).await;
    assert_eq!((&me["tenant_id"], &me["name"], &me["role"]), (&json!("ours"), &json!("operator"), &json!("operator")));
    assert_eq!((&me["scopes"], &me["development"]), (&json!([]), &json!(false)));
    let visiting = server.ask(Method::GET, "/api/v1/me", OURS, Role::PlatformAdmin).header("x-tenant-id", THEIRS);
    assert_eq!(expect(visiting.send().await.unwrap(), StatusCode::OK).await["tenant_id"], "theirs");
    let nobody = server.http.get(format!("{}/api/v1/me", server.base)).send().await.unwrap();
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    server.stop().await;
}

#[tokio::test]
async fn a_job_is_drawn_for_its_tenant_alone() {
    let server = Server::start().await;
    let id = server.job(OURS, "drawn").await;
    let path = format!("/api/v1/jobs/{id}/graph");
    let graph = expect(server.get(&path).send().await.unwrap(), StatusCode::OK).await;
    let roles: Vec<_> = graph["nodes"].as_array().unwrap().iter().map(|node| (&node["role"], &node["kind"])).collect();
    assert_eq!(roles, [(&json!("source"), &json!("file")), (&json!("sink"), &json!("file"))]);
    assert_eq!(graph["edges"].as_array().unwrap().len(), 1);
    assert_eq!((&graph["edges"][0]["from"], &graph["edges"][0]["to"]), (&graph["nodes"][0]["name"], &graph["nodes"][1]["name"]));
    assert_eq!(graph["nodes"][0]["options"]["path"], "in.csv");
    let foreign = server.ask(Method::GET, &path, THEIRS, Role::Admin).send().await.unwrap();
    assert_eq!(foreign.status(), StatusCode::NOT_FOUND);
    server.stop().await;
}

#[tokio::test]
async fn pages_are_for_people_and_the_rest_stays_the_apis() {
    let server = Server::start().await;
    let ask = |method: Method, path: &str, accept: &str| {
        server.http.request(method, format!("{}{path}", server.base)).header("accept", accept).send()
    };
    for path in ["/", "/pipelines", "/runs/7/log"] {
        let page = ask(Method::GET, path, "text/html").await.unwrap();
        assert_eq!(
            (page.status(), page.headers()["content-type"].to_str().unwrap()),
            (StatusCode::OK, "text/html; charset=utf-8"),
            "{path}"
        );
        assert!(page.headers().contains_key("content-security-policy") && page.headers().contains_key("x-request-id"), "{path}");
        assert!(page.text().await.unwrap().contains("<title>Weir</title>"), "{path}");
    }
    assert_eq!(ask(Method::HEAD, "/", "text/html").await.unwrap().text().await.unwrap(), "");
    for (method, path) in [
        (Method::GET, "/api/v1/nothing"),
        (Method::GET, "/docs/nothing"),
        (Method::GET, "/assets/gone.js"),
        (Method::POST, "/pipelines"),
    ] {
        let answer = ask(method, path, "text/html").await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        assert_eq!(expect(answer, StatusCode::NOT_FOUND).await["code"], "WEIR-API-001", "{path}");
    }
    server.stop().await;
}
