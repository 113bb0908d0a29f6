//! The OpenAPI document: committed, whole, and true of the answers.

use std::path::PathBuf;

use reqwest::StatusCode;
use serde_json::{Value, json};
use weir_server::app::DOCUMENT;
use weir_server::body::Schemas;

use crate::harness::{OURS, Server, expect, numbered};

fn document() -> Value {
    serde_json::from_slice(&DOCUMENT.json).unwrap()
}

#[test]
fn the_committed_document_is_the_generated_one() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let generated = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("WEIR_REWRITE").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "docs/openapi.json is not what the code says; run this test with WEIR_REWRITE=1");
}

fn walk(value: &Value, visit: &mut dyn FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            visit(fields);
            fields.values().for_each(|value| walk(value, visit));
        }
        Value::Array(items) => items.iter().for_each(|value| walk(value, visit)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut count = 0;
    walk(&document, &mut |fields| {
        if let Some(Value::String(reference)) = fields.get("$ref") {
            count += 1;
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    });
    assert!(count > 100);
}

#[test]
fn bodies_use_only_keywords_that_the_checker_knows() {
    const KNOWN: &[&str] = &[
        "$ref",
        "oneOf",
        "anyOf",
        "allOf",
        "type",
        "enum",
        "properties",
        "required",
        "additionalProperties",
        "propertyNames",
        "items",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "minItems",
        "maxItems",
        "maxProperties",
        // Words for people.
        "description",
        "default",
        "example",
        "title",
    ];
    fn check(name: &str, schema: &Value) {
        let Some(fields) = schema.as_object() else { return };
        for (key, value) in fields {
            assert!(KNOWN.contains(&key.as_str()), "{name} uses `{key}`");
            match key.as_str() {
                "properties" => value.as_object().unwrap().values().for_each(|schema| check(name, schema)),
                "items" | "additionalProperties" | "propertyNames" => check(name, value),
                "oneOf" | "anyOf" | "allOf" => value.as_array().unwrap().iter().for_each(|schema| check(name, schema)),
                "pattern" => {
                    regex::Regex::new(value.as_str().unwrap()).unwrap();
                }
                _ => {}
            }
        }
    }
    for (name, schema) in document()["components"]["schemas"].as_object().unwrap() {
        check(name, schema);
    }
}

#[test]
fn every_example_has_the_shape_that_it_shows() {
    let document = document();
    let schemas = Schemas::new(document["components"]["schemas"].as_object().unwrap().clone());
    let mut count = 0;
    for route in weir_server::routes::TABLE.iter() {
        let Some((takes, example)) = route.takes.and_then(|takes| Some((takes, takes.example?))) else { continue };
        let example = serde_json::from_str(example).unwrap_or_else(|error| panic!("{}: {error}", route.id));
        let problems = schemas.check(&(takes.component.name)(), &example);
        assert!(problems.is_empty(), "{}: {problems:?}", route.id);
        count += 1;
    }
    let bodies = weir_server::routes::TABLE.iter().filter(|route| route.takes.is_some()).count();
    assert!(count + 1 >= bodies, "{count} examples of {bodies} bodies");
    for route in weir_server::routes::TABLE.iter() {
        for (param, example) in route.params.iter().filter_map(|param| Some((param, param.example?))) {
            assert_eq!(param.refuse(example), None, "{}: {}", route.id, param.name);
        }
    }
}

/// What errands say of a job whose streams got somewhere, and that has a dead letter.
fn of_errands() -> [(&'static str, Value); 2] {
    let letter = json!({
        "id": 1, "run_id": null, "flow": "orders", "sink": null, "stream": "orders", "code": "WEIR-FILE-010",
        "reason": "`x` is no number", "place": "in.csv:2", "at": "2026-01-01T00:00:00.000Z", "state": "waiting",
        "record": {"content": "x,1", "encoding": "text", "media_type": "text/csv", "cut": false, "veiled": false},
        "record_bytes": 3, "correction": null, "replayed_at": null, "discarded": null, "refusal": null,
    });
    let kind = json!({"stream": "orders", "sink": null, "code": "WEIR-FILE-010", "count": 1});
    let cursor = json!({"stream": "orders", "source": "file", "cursor": "7", "last_run_time": null});
    let split = json!({"stream": "events", "split": "events-0", "position": {"offset": 7}, "rows": 7, "done": false});
    [
        ("positions", json!({"cursors": [cursor], "splits": [split], "truncated": false})),
        ("dead_letters", json!({"letters": [letter], "kinds": [kind], "letter": letter})),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_as_the_document_says() {
    let server = Server::start().await;
    server.errands_say(&of_errands());
    let id = server.job(OURS, "described").await;
    expect(server.post(&format!("/api/v1/jobs/{id}/run"), &json!({})).send().await.unwrap(), StatusCode::ACCEPTED).await;
    expect(
        server.post("/api/v1/principals", &json!({"kind": "user", "name": "p", "role": "viewer"})).send().await.unwrap(),
        StatusCode::CREATED,
    )
    .await;
    expect(server.post("/api/v1/connections", &json!({"name": "c", "kind": "file"})).send().await.unwrap(), StatusCode::CREATED)
        .await;
    expect(
        server.post("/api/v1/subscriptions", &json!({"url": "https://h.example/"})).send().await.unwrap(),
        StatusCode::CREATED,
    )
    .await;
    expect(
        server.post(&format!("/api/v1/jobs/{id}/alerts"), &json!([{"metric": "m", "threshold": 1}])).send().await.unwrap(),
        StatusCode::OK,
    )
    .await;
    let runs = expect(server.get("/api/v1/runs").send().await.unwrap(), StatusCode::OK).await;
    let run = runs["items"][0]["id"].as_str().unwrap().to_owned();

    let document = document();
    let schemas = Schemas::new(document["components"]["schemas"].as_object().unwrap().clone());
    let mut checked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(operation) = item.get("get") else { continue };
        let real = numbered(path).replace("{job_id}", &id).replace("{run_id}", &run);
        if real.contains('{')
            || operation["parameters"].as_array().unwrap().iter().any(|p| p["in"] == "query" && p["required"] == true)
        {
            continue;
        }
        let answer = server.ask(reqwest::Method::GET, &real, OURS, weir_store::model::Role::PlatformAdmin).send().await.unwrap();
        let (status, headers, text) = (answer.status(), answer.headers().clone(), answer.text().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{real}: {text}");
        let media = headers["content-type"].to_str().unwrap().split(';').next().unwrap();
        let described = &operation["responses"]["200"]["content"][media]["schema"];
        assert!(described.is_object(), "{real}: {media} is not described");
        if let Some(component) = described["$ref"].as_str() {
            let problems = schemas.check(component.rsplit('/').next().unwrap(), &serde_json::from_str(&text).unwrap());
            assert!(problems.is_empty(), "{real}: {problems:?}\n{text}");
            checked += 1;
        }
        for (name, header) in operation["responses"]["200"]["headers"].as_object().unwrap() {
            let header = document.pointer(header["$ref"].as_str().unwrap().trim_start_matches('#')).unwrap();
            assert!(header["required"] != true || headers.contains_key(name.as_str()), "{real}: {name} is missing");
        }
    }
    assert!(checked >= 20, "only {checked} answers checked");
    server.stop().await;
}
