//! The OpenAPI 3.1 document, made from the route table. docs/openapi.json is its committed copy.
//!
//! What every operation of a sort may answer is said once here: who must show a token may be told 401 and 403, who names an id 404, and so on.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use crate::params::Place;
use crate::problem::{PROBLEM_JSON, ProblemBody};
use crate::route::{Component, Gives, Needs, Route};

/// The document of the routes.
pub fn document(routes: &[Route]) -> Value {
    let mut components = Components::default();
    components.add(Component::of::<ProblemBody>());
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let operation = operation(route, &mut components);
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    let tags: BTreeSet<&str> = routes.iter().map(|route| route.tag).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Weir",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Moves data between systems. Refusals are application/problem+json with stable codes; lists have pages; every POST takes an Idempotency-Key.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tags.iter().map(|tag| json!({"name": tag})).collect::<Vec<_>>(),
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components.sorted(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "An API token (`weir_…`) or a JWT of the configured OIDC issuer."}},
            "headers": headers(),
            "parameters": parameters(),
            "responses": responses(),
        },
    })
}

#[derive(Default)]
struct Components(Vec<(String, RefOr<Schema>)>);

impl Components {
    fn add(&mut self, component: Component) -> Value {
        let name = (component.name)().into_owned();
        let mut parts = vec![(name.clone(), (component.schema)())];
        (component.parts)(&mut parts);
        for (name, schema) in parts {
            match self.0.iter().find(|(known, _)| *known == name) {
                None => self.0.push((name, schema)),
                Some((_, known)) => debug_assert!(*known == schema, "two schemas are called {name}"),
            }
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    fn sorted(mut self) -> Map<String, Value> {
        self.0.sort_by(|a, b| a.0.cmp(&b.0));
        self.0.into_iter().map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default())).collect()
    }
}

fn operation(route: &Route, components: &mut Components) -> Value {
    let mut out = Map::new();
    out.insert("operationId".into(), json!(route.id));
    out.insert("tags".into(), json!([route.tag]));
    out.insert("summary".into(), json!(route.about));
    match route.needs {
        Needs::Nobody => out.insert("security".into(), json!([])),
        Needs::Role(role) => out.insert("x-weir-role".into(), json!(role.as_str())),
    };
    let mut params: Vec<Value> = route.params.iter().map(crate::params::Param::describe).collect();
    let named = |name: &str| json!({"$ref": format!("#/components/parameters/{name}")});
    params.push(named("RequestId"));
    if route.needs != Needs::Nobody {
        params.push(named("Tenant"));
        if route.method == Method::POST {
            params.push(named("IdempotencyKey"));
        }
    }
    if route.tagged && route.method == Method::GET {
        params.push(named("IfNoneMatch"));
    }
    if route.conditional {
        params.push(named("IfMatch"));
    }
    if route.gives.iter().any(|gives| gives.media == Some("text/event-stream")) {
        params.push(named("LastEventId"));
    }
    out.insert("parameters".into(), json!(params));
    if let Some(takes) = route.takes {
        let mut schema = components.add(takes.component);
        if takes.anything {
            // The first says what is useful, the second that nothing is refused for its shape.
            schema = json!({"anyOf": [schema, {}], "description": "Anything may be sent: what is wrong with it is the answer."});
        }
        let mut content = Map::new();
        content.insert("application/json".into(), json!({"schema": schema}));
        if takes.yaml {
            content.insert("application/yaml".into(), json!({"schema": schema}));
        }
        if let Some(example) = takes.example
            && let Ok(example) = serde_json::from_str::<Value>(example)
        {
            for media in content.values_mut() {
                media["example"] = example.clone();
            }
        }
        out.insert("requestBody".into(), json!({"required": true, "content": content}));
    }
    out.insert("responses".into(), Value::Object(answers(route, components)));
    Value::Object(out)
}

fn answers(route: &Route, components: &mut Components) -> Map<String, Value> {
    let mut out: Map<String, Value> = Map::new();
    for gives in &route.gives {
        let entry = out.entry(gives.status.as_str()).or_insert_with(|| success(route, gives));
        if let Some(media) = gives.media {
            entry["content"][media] = match gives.component {
                Some(component) => json!({"schema": components.add(component)}),
                None => json!({"schema": {"type": "string"}}),
            };
        }
    }
    for status in refusals(route) {
        let name = format!("Problem{}", status.as_u16());
        out.insert(status.as_str().to_owned(), json!({"$ref": format!("#/components/responses/{name}")}));
    }
    if route.tagged && route.method == Method::GET {
        out.insert("304".into(), json!({"$ref": "#/components/responses/NotModified"}));
    }
    out.insert("default".into(), json!({"$ref": "#/components/responses/Problem"}));
    out
}

fn success(route: &Route, gives: &Gives) -> Value {
    let mut headers = json!({"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}});
    if route.tagged {
        headers["ETag"] = json!({"$ref": "#/components/headers/ETag"});
    }
    if gives.status == StatusCode::CREATED {
        headers["Location"] = json!({"$ref": "#/components/headers/Location"});
    }
    if route.method == Method::POST && route.needs != Needs::Nobody {
        headers["Idempotent-Replayed"] = json!({"$ref": "#/components/headers/Idempotent-Replayed"});
    }
    json!({"description": gives.status.canonical_reason().unwrap_or("Done"), "headers": headers})
}

/// The statuses with which an operation may refuse.
fn refusals(route: &Route) -> BTreeSet<StatusCode> {
    let mut out: BTreeSet<StatusCode> = route.also.iter().copied().collect();
    // A query that is not declared is refused by every operation.
    out.insert(StatusCode::BAD_REQUEST);
    if route.params.iter().any(|param| param.place == Place::Path) {
        out.insert(StatusCode::NOT_FOUND);
    }
    if route.needs != Needs::Nobody {
        // 404: a platform-admin names a tenant that does not exist.
        out.extend([StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::SERVICE_UNAVAILABLE]);
        if route.method == Method::POST {
            out.extend([StatusCode::CONFLICT, StatusCode::UNPROCESSABLE_ENTITY]);
        }
    }
    if matches!(route.method, Method::POST | Method::PUT) {
        out.extend([StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT]);
    }
    if route.takes.is_some() {
        out.extend([StatusCode::UNSUPPORTED_MEDIA_TYPE, StatusCode::UNPROCESSABLE_ENTITY]);
    }
    if route.params.iter().any(|param| param.name == "cursor") {
        out.insert(StatusCode::UNPROCESSABLE_ENTITY);
    }
    if route.conditional {
        out.extend([StatusCode::PRECONDITION_FAILED, StatusCode::CONFLICT]);
    }
    out
}

fn headers() -> Value {
    json!({
        "X-Request-Id": {"required": true, "description": "The request's id, as sent or new.", "schema": {"type": "string", "minLength": 1, "maxLength": 128}},
        "ETag": {"description": "The resource's version.", "schema": {"type": "string", "pattern": "^\"[0-9]+\"$"}},
        "Location": {"required": true, "description": "Where the new resource is.", "schema": {"type": "string", "format": "uri-reference"}},
        "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}},
        "WWW-Authenticate": {"required": true, "description": "How to authenticate.", "schema": {"type": "string"}},
        "Idempotent-Replayed": {"description": "This answer was given before for the same Idempotency-Key.", "schema": {"type": "string", "enum": ["true"]}},
    })
}

fn parameters() -> Value {
    let header = |name: &str, about: &str, schema: Value| json!({"name": name, "in": "header", "required": false, "description": about, "schema": schema});
    json!({
        "RequestId": header("X-Request-Id", "The request's id; logs and the audit log keep it. One that is not 1 to 128 of `A-Za-z0-9_.:-` is replaced.",
            json!({"type": "string"})),
        "Tenant": header("X-Tenant-Id", "Act for another tenant; for platform-admins only.",
            json!({"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"})),
        "IdempotencyKey": header("Idempotency-Key", "The same key and request give the first answer again for 24 hours.",
            json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"})),
        "IfMatch": header("If-Match", "Only if the resource still has this ETag (one), or `*`.", json!({"type": "string"})),
        "IfNoneMatch": header("If-None-Match", "304 if the resource still has this ETag.", json!({"type": "string"})),
        "LastEventId": header("Last-Event-ID", "Go on after this event; a value that is no number is not looked at.", json!({"type": "string"})),
    })
}

fn responses() -> Value {
    let mut out = Map::new();
    let content = || json!({PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}});
    let about = [
        (400, "The request does not have the documented shape."),
        (401, "No valid token."),
        (403, "The token's role or scopes do not allow this, or it is another tenant's."),
        (404, "There is no such thing for this tenant."),
        (408, "The body did not arrive in time."),
        (409, "It conflicts with what is there."),
        (412, "The resource has another version than `If-Match` says."),
        (413, "The body is too long."),
        (415, "Not a media type that this operation takes."),
        (422, "The request has the right shape but cannot be done as it is."),
        (429, "A limit or quota is reached."),
        (503, "Not at the moment."),
    ];
    for (status, words) in about {
        let mut headers = json!({"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}});
        match status {
            401 => headers["WWW-Authenticate"] = json!({"$ref": "#/components/headers/WWW-Authenticate"}),
            409 | 429 | 503 => headers["Retry-After"] = json!({"$ref": "#/components/headers/Retry-After"}),
            _ => {}
        }
        out.insert(format!("Problem{status}"), json!({"description": words, "headers": headers, "content": content()}));
    }
    out.insert(
        "NotModified".into(),
        json!({"description": "The caller has it already.", "headers": {"ETag": {"$ref": "#/components/headers/ETag"}}}),
    );
    out.insert("Problem".into(), json!({"description": "Anything else that went wrong.", "content": content()}));
    Value::Object(out)
}
