//! A foreign id answers exactly as one that never was: every operation with an id in it × every kind of foreign id × every role.

use std::collections::BTreeMap;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use weir_server::params::{Place, Shape};
use weir_server::route::{Needs, Route};
use weir_server::routes::TABLE;
use weir_store::model::Role;

use crate::harness::{OURS, Server, THEIRS, expect, job};

/// As long as a real id, and of the same form.
const GHOST: &str = "00000000-0000-7000-8000-00000000dead";

/// As long as an id, so that answers that quote it have one length.
const SECRET: &str = "foreign-secret-aaaaaaaaaaaaaaaaaaaaa";

/// What never was, of the same form as an id or name.
fn ghost_of(kind: &str) -> &'static str {
    if kind == "secret" { "missing-secret-aaaaaaaaaaaaaaaaaaaaa" } else { GHOST }
}

/// A thing of each kind in the other tenant, by what it is.
async fn things_of(server: &Server, tenant: &str) -> BTreeMap<&'static str, String> {
    let make = async |path: &str, body: Value| {
        let answer = server.ask(Method::POST, path, tenant, Role::Admin).json(&body).send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json::<Value>().await.unwrap()
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let job_id = server.job(tenant, "secret job").await;
    let mut things = BTreeMap::new();
    things.insert("run", text(&make(&format!("/api/v1/jobs/{job_id}/run"), json!({})).await["id"]));
    let rules = make(&format!("/api/v1/jobs/{job_id}/alerts"), json!([{"metric": "error_rate", "threshold": 0.5}])).await;
    things.insert("rule", text(&rules["items"][0]["id"]));
    things.insert("job", job_id);
    let connection = json!({"name": "secret-db", "kind": "postgres", "options": {"host": "db", "password": "canary-secret-1"}});
    things.insert("connection", text(&make("/api/v1/connections", connection).await["id"]));
    let principal = make("/api/v1/principals", json!({"kind": "user", "name": "secret person", "role": "viewer"})).await;
    things.insert("principal", text(&principal["id"]));
    let token = make("/api/v1/tokens", json!({"principal_id": principal["id"], "name": "secret token"})).await;
    things.insert("token", text(&token["info"]["id"]));
    let subscription = make("/api/v1/subscriptions", json!({"url": "https://hooks.example/secret"})).await;
    things.insert("subscription", text(&subscription["info"]["id"]));
    let silence = make("/api/v1/silences", json!({"until": "2099-01-01T00:00:00Z", "reason": "secret work"})).await;
    things.insert("silence", text(&silence["id"]));
    let answer = server
        .ask(Method::PUT, &format!("/api/v1/secrets/{SECRET}"), tenant, Role::Admin)
        .json(&json!({"value": "canary-secret-2"}))
        .send()
        .await
        .unwrap();
    expect(answer, StatusCode::NO_CONTENT).await;
    things.insert("secret", SECRET.to_owned());
    things
}

/// A body that the operation takes.
fn body_of(route: &Route, id: &str) -> Option<Value> {
    Some(match route.id {
        "updateJob" => job("changed"),
        "rollbackJob" => json!({"version": 1}),
        "cloneJob" => json!({"name": format!("copy of {id}")}),
        "previewAlertRule" => json!({"metric": "error_rate", "threshold": 0.5}),
        "setAlertRules" => json!([{"metric": "error_rate", "threshold": 0.5}]),
        "updateConnection" => json!({"name": "secret-db", "kind": "postgres", "options": {"host": "db"}}),
        "putSecret" => json!({"value": "x"}),
        "approveStream" => json!({"stream": "public.orders"}),
        "correctDeadLetter" => json!({"record": "{}"}),
        "replayDeadLetters" => json!({"ids": [1]}),
        "discardDeadLetters" => json!({"reason": "test data", "letters": {"ids": [1]}}),
        "snapshotStream" => json!({"stream": "public.orders", "where": "id > 1"}),
        "updatePrincipal" => json!({"role": "viewer", "disabled": true}),
        "updateTenant" => return None,
        _ => return None,
    })
}

/// Everything of an answer that a caller can see, the id taken out.
async fn seen(answer: Response, id: &str) -> (StatusCode, BTreeMap<String, String>, String) {
    let status = answer.status();
    let headers = answer
        .headers()
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().replace(id, "ID")))
        .collect();
    (status, headers, answer.text().await.unwrap().replace(id, "ID"))
}

async fn ask(
    server: &Server,
    route: &Route,
    id: &str,
    role: Role,
    accept: &str,
    if_match: Option<&str>,
) -> (StatusCode, BTreeMap<String, String>, String) {
    let path: Vec<&str> = route
        .path
        .split('/')
        .map(|part| match part {
            "{version}" | "{letter}" => "1",
            part if part.starts_with('{') => id,
            part => part,
        })
        .collect();
    let mut request =
        server.ask(route.method.clone(), &path.join("/"), OURS, role).header("x-request-id", "same").header("accept", accept);
    if let Some(tag) = if_match {
        request = request.header("if-match", tag);
    }
    if let Some(body) = body_of(route, id) {
        request = request.json(&body);
    }
    seen(request.send().await.unwrap(), id).await
}

/// All that the other tenant can see of itself.
async fn everything(server: &Server, tenant: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for path in lists() {
        let answer = server.ask(Method::GET, path, tenant, Role::Admin).send().await.unwrap();
        let mut shown = expect(answer, StatusCode::OK).await;
        // A history ends now, so it begins later each time.
        if path == "/api/v1/monitoring/history" {
            shown["from"].take();
        }
        all.push(shown);
    }
    all
}

fn lists() -> Vec<&'static str> {
    let tenants_own = |route: &&Route| {
        route.method == Method::GET
            && !route.path.contains('{')
            && matches!(route.needs, Needs::Role(role) if role <= Role::Admin)
            && !route.params.iter().any(|param| param.required)
            && !matches!(route.id, "listAudit" | "verifyAudit" | "listTokens" | "getMonitoringDashboard" | "exportMetrics")
    };
    TABLE.iter().filter(tenants_own).map(|route| route.path).collect()
}

#[tokio::test]
async fn a_foreign_id_answers_as_one_that_never_was() {
    let server = Server::start().await;
    let foreign = things_of(&server, THEIRS).await;
    let before = everything(&server, THEIRS).await;
    let mut cases = 0;
    let with_ids = TABLE
        .iter()
        .filter(|route| route.path.contains('{') && matches!(route.needs, Needs::Role(_)) && !route.path.contains("{tenant_id}"));
    for route in with_ids {
        for (kind, id) in &foreign {
            for role in Role::ALL {
                for if_match in [None, Some("\"1\"")].into_iter().take(1 + usize::from(route.conditional)) {
                    let theirs = ask(&server, route, id, role, "application/json", if_match).await;
                    let ghost = ask(&server, route, ghost_of(kind), role, "application/json", if_match).await;
                    assert_eq!(theirs, ghost, "{} with a foreign {kind} as {role:?}", route.id);
                    let own_name = matches!(route.id, "putSecret" | "deleteSecret" | "getTemplate" | "instantiateTemplate");
                    assert!(own_name || !theirs.0.is_success(), "{} with a foreign {kind} as {role:?} did something", route.id);
                    cases += 1;
                }
                if route.gives.iter().any(|gives| gives.media == Some("text/event-stream")) {
                    let theirs = ask(&server, route, id, role, "text/event-stream", None).await;
                    assert_eq!(theirs, ask(&server, route, ghost_of(kind), role, "text/event-stream", None).await);
                    cases += 1;
                }
            }
        }
    }
    // Filters.
    for route in TABLE.iter().filter(|route| route.method == Method::GET && matches!(route.needs, Needs::Role(_))) {
        for param in route.params.iter().filter(|param| param.place == Place::Query && matches!(param.shape, Shape::Id)) {
            for (kind, id) in &foreign {
                for role in Role::ALL {
                    let path = |id: &str| format!("{}?{}={id}", route.path, param.name);
                    let one = async |id: &str| {
                        let answer =
                            server.ask(Method::GET, &path(id), OURS, role).header("x-request-id", "same").send().await.unwrap();
                        seen(answer, id).await
                    };
                    assert_eq!(one(id).await, one(ghost_of(kind)).await, "{} filtered by a foreign {kind} as {role:?}", route.id);
                    cases += 1;
                }
            }
        }
    }
    println!("{cases} foreign ids answered as ones that never were");
    assert!(cases >= 500, "only {cases} cases");
    assert_eq!(everything(&server, THEIRS).await, before, "the other tenant's things have changed");
    server.stop().await;
}

#[tokio::test]
async fn no_listing_shows_anything_of_another_tenant() {
    let server = Server::start().await;
    let foreign = things_of(&server, THEIRS).await;
    things_of(&server, OURS).await;
    for path in lists().into_iter().chain(["/api/v1/audit", "/api/v1/tokens"]) {
        for role in Role::ALL {
            let answer = server.ask(Method::GET, path, OURS, role).send().await.unwrap();
            let text = answer.text().await.unwrap();
            for (kind, id) in foreign.iter().filter(|(kind, _)| **kind != "secret") {
                assert!(!text.contains(id.as_str()), "{path} shows a foreign {kind} to {role:?}");
            }
            assert!(
                !text.contains("\"theirs\"") && !text.contains("/theirs/"),
                "{path} shows the other tenant to {role:?}: {text}"
            );
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_cursor_and_an_idempotency_key_of_another_tenant_give_nothing_away() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        server.job(THEIRS, name).await;
    }
    let own = server.job(OURS, "own").await;
    let page = server.ask(Method::GET, "/api/v1/jobs?limit=1", THEIRS, Role::Viewer).send().await.unwrap();
    let page = expect(page, StatusCode::OK).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let answer = server.get("/api/v1/jobs").query(&[("cursor", cursor)]).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let theirs = page["items"][0]["id"].as_str().unwrap();
    assert!(!text.contains(theirs), "{text}");

    let run = |tenant: &'static str, id: String| {
        server
            .ask(Method::POST, &format!("/api/v1/jobs/{id}/run"), tenant, Role::Operator)
            .header("idempotency-key", "shared")
            .send()
    };
    let first = run(THEIRS, theirs.to_owned()).await.unwrap();
    assert_eq!(first.status(), StatusCode::ACCEPTED);
    let second = run(OURS, own).await.unwrap();
    assert!(second.headers().get("idempotent-replayed").is_none());
    assert_eq!(second.status(), StatusCode::ACCEPTED);
    server.stop().await;
}

#[tokio::test]
async fn only_a_platform_admin_acts_for_another_tenant() {
    let server = Server::start().await;
    let theirs = server.job(THEIRS, "their job").await;
    let path = format!("/api/v1/jobs/{theirs}");
    for role in Role::ALL {
        for tenant in [THEIRS, "nobody", OURS, "../theirs", "THEIRS"] {
            let answer = server.ask(Method::GET, &path, OURS, role).header("x-tenant-id", tenant).send().await.unwrap();
            let expected = match (role, tenant) {
                (Role::PlatformAdmin, THEIRS) => StatusCode::OK,
                (_, OURS) | (Role::PlatformAdmin, _) => StatusCode::NOT_FOUND,
                _ => StatusCode::FORBIDDEN,
            };
            assert_eq!(answer.status(), expected, "{role:?} for {tenant}");
        }
    }
    server.stop().await;
}
