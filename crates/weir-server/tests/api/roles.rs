//! Every route of the table with every role, and with no token.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use weir_server::route::{Needs, Route};
use weir_server::routes::TABLE;
use weir_store::model::Role;

use crate::harness::{OURS, Server, expect, numbered};

/// The path with ids that do not exist.
fn path(route: &Route) -> String {
    numbered(route.path).split('/').map(|part| if part.starts_with('{') { "nobody" } else { part }).collect::<Vec<_>>().join("/")
}

fn guarded() -> impl Iterator<Item = (&'static Route, Role)> {
    TABLE.iter().filter_map(|route| match route.needs {
        Needs::Role(role) => Some((route, role)),
        Needs::Nobody => None,
    })
}

#[tokio::test]
async fn each_role_may_exactly_what_the_table_says_and_denials_are_audited() {
    let server = Server::start().await;
    let mut denied = 0;
    for (route, needed) in guarded() {
        for role in Role::ALL {
            let answer = server.ask(route.method.clone(), &path(route), OURS, role).send().await.unwrap();
            let (status, body) = (answer.status(), answer.text().await.unwrap());
            if role < needed {
                denied += 1;
                assert_eq!(status, StatusCode::FORBIDDEN, "{} {} as {role:?}: {body}", route.method, route.path);
                assert!(body.contains("WEIR-API-021"), "{body}");
            } else {
                let refused = matches!(status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED) || status.is_server_error();
                assert!(!refused, "{} {} as {role:?}: {status} {body}", route.method, route.path);
            }
        }
    }
    let mut audited = 0;
    let mut cursor = String::new();
    loop {
        let page = expect(
            server.get(&format!("/api/v1/audit?action=access.denied&limit=500{cursor}")).send().await.unwrap(),
            StatusCode::OK,
        )
        .await;
        audited += page["items"].as_array().unwrap().len();
        assert!(page["items"].as_array().unwrap().iter().all(|row| row["outcome"] == "denied" && row["request_id"].is_string()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(denied > 80, "{denied}");
    assert_eq!(audited, denied);
    server.stop().await;
}

#[tokio::test]
async fn without_a_valid_token_every_guarded_route_answers_the_same_401() {
    let server = Server::start().await;
    let wrong = format!("weir_{}", "a".repeat(43));
    for (route, _) in guarded() {
        let mut bodies: Vec<Value> = Vec::new();
        let url = format!("{}{}", server.base, path(route));
        for header in ["", "Basic dXNlcjpwYXNz", "Bearer ", "Bearer nonsense", &format!("Bearer {wrong}"), "bearer a.b.c"] {
            let mut request = server.http.request(route.method.clone(), &url).header("x-request-id", "same");
            if !header.is_empty() {
                request = request.header("authorization", header);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            bodies.push(expect(answer, StatusCode::UNAUTHORIZED).await);
        }
        assert_eq!(bodies[3], bodies[4], "a malformed and an unknown token cannot be told apart");
    }
    server.stop().await;
}

#[tokio::test]
async fn open_routes_answer_without_a_token() {
    let server = Server::start().await;
    for route in TABLE.iter().filter(|route| route.needs == Needs::Nobody) {
        let answer = server.http.get(format!("{}{}", server.base, route.path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{}", route.path);
    }
    server.stop().await;
}

#[test]
fn operations_are_unique_and_every_row_is_described() {
    let mut ids = std::collections::BTreeSet::new();
    for route in TABLE.iter() {
        assert!(ids.insert(route.id), "{} is there twice", route.id);
        assert!(!route.about.is_empty() && !route.tag.is_empty() && !route.gives.is_empty(), "{} is not described", route.id);
        for name in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            assert!(route.params.iter().any(|param| param.name == name), "{}: `{name}` is not declared", route.id);
        }
    }
}

#[tokio::test]
async fn nobody_takes_their_own_rights_away() {
    let server = Server::start().await;
    let all = expect(server.get("/api/v1/principals").send().await.unwrap(), StatusCode::OK).await;
    let own = all["items"].as_array().unwrap().iter().find(|one| one["role"] == "admin").unwrap();
    let path = format!("/api/v1/principals/{}", own["id"].as_str().unwrap());
    for change in [json!({"role": "viewer", "disabled": false}), json!({"role": "admin", "disabled": true})] {
        let body = expect(server.put(&path, &change).send().await.unwrap(), StatusCode::CONFLICT).await;
        assert_eq!(body["code"], "WEIR-API-034");
    }
    expect(server.delete(&path).send().await.unwrap(), StatusCode::CONFLICT).await;
    // What changes nothing is no change, and another one may.
    expect(server.put(&path, &json!({"role": "admin", "disabled": false})).send().await.unwrap(), StatusCode::OK).await;
    let other = server.ask(Method::DELETE, &path, OURS, Role::PlatformAdmin).send().await.unwrap();
    expect(other, StatusCode::NO_CONTENT).await;
    expect(server.get("/api/v1/jobs").send().await.unwrap(), StatusCode::UNAUTHORIZED).await;
    server.stop().await;
}
