//! Idempotency-Key.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{OURS, Server, expect, job};

#[tokio::test]
async fn the_same_key_gives_the_first_answer_again() {
    let server = Server::start().await;
    let ask = |key: &str, name: &str| server.post("/api/v1/jobs", &job(name)).header("idempotency-key", key).send();
    let first = ask("k1", "one").await.unwrap();
    let place = first.headers()["location"].clone();
    let first = expect(first, StatusCode::CREATED).await;
    let again = ask("k1", "one").await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.headers()["location"], place);
    assert_eq!(again.headers()["content-type"], "application/json");
    assert_eq!(expect(again, StatusCode::CREATED).await, first);
    let other = expect(ask("k1", "two").await.unwrap(), StatusCode::UNPROCESSABLE_ENTITY).await;
    assert_eq!(other["code"], "WEIR-API-031");
    // A refusal is an answer too: its outcome does not change when it is asked for again.
    let refused = expect(ask("k2", "one").await.unwrap(), StatusCode::CONFLICT).await;
    let again = ask("k2", "one").await.unwrap();
    assert_eq!(again.headers()["content-type"], "application/problem+json");
    assert_eq!(expect(again, StatusCode::CONFLICT).await, refused);
    for bad in ["", "two words", &"x".repeat(256)] {
        expect(ask(bad, "three").await.unwrap(), StatusCode::BAD_REQUEST).await;
    }
    let list = expect(server.get("/api/v1/jobs").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn of_many_at_once_with_one_key_one_makes_the_change() {
    let server = Server::start().await;
    let id = server.job(OURS, "busy").await;
    let path = format!("/api/v1/jobs/{id}/run");
    let many = (0..32).map(|_| server.post(&path, &json!({})).header("idempotency-key", "once").send());
    let mut runs = std::collections::BTreeSet::new();
    for answer in futures::future::join_all(many).await {
        let answer = answer.unwrap();
        match answer.status() {
            StatusCode::ACCEPTED => {
                runs.insert(answer.json::<Value>().await.unwrap()["id"].to_string());
            }
            StatusCode::CONFLICT => assert_eq!(answer.json::<Value>().await.unwrap()["code"], "WEIR-API-032"),
            other => panic!("{other}"),
        }
    }
    assert_eq!(runs.len(), 1);
    let list = expect(server.get("/api/v1/runs").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_secret_that_is_shown_once_is_not_kept_for_replays() {
    let server = Server::start().await;
    let principal = server.post("/api/v1/principals", &json!({"kind": "service_account", "name": "bot", "role": "viewer"}));
    let principal = expect(principal.send().await.unwrap(), StatusCode::CREATED).await;
    let body = json!({"principal_id": principal["id"], "name": "bot's"});
    let ask = || server.post("/api/v1/tokens", &body).header("idempotency-key", "token-1").send();
    let first = expect(ask().await.unwrap(), StatusCode::CREATED).await;
    let secret = first["token"].as_str().unwrap();
    let again = expect(ask().await.unwrap(), StatusCode::CREATED).await;
    assert_eq!((&again["token"], &again["info"]), (&Value::Null, &first["info"]));
    let works = server.http.get(format!("{}/api/v1/jobs", server.base)).bearer_auth(secret).send().await.unwrap();
    assert_eq!(works.status(), StatusCode::OK);

    let hook = json!({"url": "https://hooks.example/x"});
    let ask = || server.post("/api/v1/subscriptions", &hook).header("idempotency-key", "hook-1").send();
    let first = expect(ask().await.unwrap(), StatusCode::CREATED).await;
    let key = first["key"].as_str().unwrap();
    assert_eq!(expect(ask().await.unwrap(), StatusCode::CREATED).await["key"], Value::Null);

    let files = std::fs::read_dir(server.folder.path()).unwrap();
    for file in files.filter_map(|file| file.ok()).filter(|file| file.path().is_file()) {
        let bytes = std::fs::read(file.path()).unwrap();
        for canary in [secret, key] {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{} has a secret in clear", file.path().display());
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_caller_who_hangs_up_leaves_a_finished_key() {
    let server = Server::start().await;
    let id = server.job(OURS, "left").await;
    let path = format!("/api/v1/jobs/{id}/run");
    let ask = || server.post(&path, &json!({})).header("idempotency-key", "gone");
    // The request is dropped at some moment of its way; whatever happened, the key gives one run.
    for micros in [100u64, 500, 1000, 3000] {
        let _ = tokio::time::timeout(std::time::Duration::from_micros(micros), ask().send()).await;
    }
    let answer = loop {
        let answer = ask().send().await.unwrap();
        if answer.status() != StatusCode::CONFLICT {
            break answer;
        }
    };
    expect(answer, StatusCode::ACCEPTED).await;
    let list = expect(server.get("/api/v1/runs").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    server.stop().await;
}
