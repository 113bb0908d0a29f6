//! Hostile requests: refused, cheap, without a trace.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_server::route::Needs;
use weir_server::routes::TABLE;
use weir_store::model::Role;

use crate::harness::{OURS, Server, expect, job, numbered};

/// The kinds of hostile requests and how many of each there are at least: together well above 200.
const KINDS: &[(&str, usize)] = &[
    ("bodies of 10 MB", 10),
    ("bombs of YAML and JSON", 60),
    ("fields that are not the caller's", 110),
    ("spec_path out of its folder", 50),
    ("webhooks to inner addresses", 120),
    ("connections to inner addresses", 150),
    ("paths of file connectors", 70),
    ("hostile names", 40),
    ("malformed requests", 20),
];

/// Says how many cases of a kind were tried without a hit; fewer than planned is a failure.
pub fn counted(kind: &str, cases: usize) {
    let (_, least) = KINDS.iter().find(|(name, _)| *name == kind).expect("a kind of the table");
    println!("abuse: {kind}: {cases} cases, 0 hits");
    assert!(cases >= *least, "{kind}: only {cases} cases");
}

#[test]
fn there_are_at_least_200_cases_of_abuse() {
    let all: usize = KINDS.iter().map(|(_, least)| least).sum();
    assert!(all >= 200, "{all}");
}

/// Sends bytes as they are and gives the status line.
async fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = tokio::net::TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut answer)).await.unwrap().unwrap_or(0);
    String::from_utf8_lossy(&answer[..length]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn bodies_that_are_too_long_are_refused_before_they_are_read() {
    let server = Server::start().await;
    let mut cases = 0;
    let ten_megabytes = format!("{{\"spec\": \"{}\"}}", "x".repeat(10 << 20));
    for path in ["/api/v1/jobs", "/api/v1/pipelines/validate", "/api/v1/connections", "/api/v1/jobs/nobody/run", "/api/v1/tokens"]
    {
        let answer = server
            .ask(Method::POST, path, OURS, Role::Admin)
            .header("content-type", "application/json")
            .body(ten_megabytes.clone())
            .send()
            .await;
        match answer {
            Ok(answer) => assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}"),
            // The server has answered and closed while the client was still sending.
            Err(error) => assert!(error.is_request() || error.is_body(), "{path}: {error}"),
        }
        let chunks = futures::stream::iter((0..40).map(|_| Ok::<_, std::io::Error>(vec![b' '; 256 << 10])));
        let answer = server
            .ask(Method::POST, path, OURS, Role::Admin)
            .header("content-type", "application/json")
            .body(reqwest::Body::wrap_stream(chunks))
            .send()
            .await;
        if let Ok(answer) = answer {
            assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path} without a length");
        }
        cases += 2;
    }
    counted("bodies of 10 MB", cases);
    server.stop().await;
}

#[tokio::test]
async fn bombs_of_yaml_and_json_are_refused_quickly() {
    let server = Server::start().await;
    let aliases = {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            text += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(","));
        }
        text + "pipeline: bomb\n"
    };
    let merges = "base: &b {x: 1}\n".to_owned() + &"m: {<<: *b}\n".repeat(20_000);
    let bodies = [
        ("application/yaml", aliases.clone()),
        ("application/yaml", merges),
        ("application/yaml", "a: ".repeat(50_000)),
        ("application/yaml", "[".repeat(100_000)),
        ("application/yaml", "- ".repeat(100_000)),
        ("application/yaml", format!("pipeline: {}", "x".repeat(1 << 20))),
        ("application/yaml", "&a [*a]".into()),
        ("application/yaml", "---\n".repeat(100_000)),
        ("application/yaml", "? ".repeat(50_000)),
        ("application/yaml", "!!python/object/apply:os.system ['true']".into()),
        ("application/json", "[".repeat(200_000)),
        ("application/json", "{\"a\":".repeat(100_000)),
        ("application/json", format!("{{\"name\": {}1{}}}", "[".repeat(500), "]".repeat(500))),
        ("application/json", json!({"spec": aliases}).to_string()),
        ("application/json", "{\"a\":1,".to_owned() + &"\"a\":1,".repeat(100_000) + "\"a\":1}"),
        ("application/json", "1e999999999".into()),
        ("application/json", "\"\\ud800\"".into()),
        ("application/json", "\u{feff}{}".into()),
        ("application/json", "null".into()),
        ("application/json", "[]".into()),
        ("application/json", "\"text\"".into()),
        ("application/yaml", "".into()),
        ("application/yaml", "\0".into()),
        ("application/yaml", "pipeline: \"\\0\"".into()),
    ];
    let mut cases = 0;
    for path in ["/api/v1/jobs", "/api/v1/pipelines/validate"] {
        for (media, body) in &bodies {
            cases += 1;
            let begin = Instant::now();
            let shown: String = body.chars().take(40).collect();
            let answer = server
                .ask(Method::POST, path, OURS, Role::Editor)
                .header("content-type", *media)
                .body(body.clone())
                .send()
                .await
                .unwrap();
            let status = answer.status();
            let text = answer.text().await.unwrap();
            let told = path.ends_with("validate") && status == StatusCode::OK && text.contains("\"valid\":false");
            assert!(told || status.is_client_error(), "{path} {shown}: {status} {text}");
            // What grows faster than its body would take minutes; a busy machine, seconds.
            assert!(begin.elapsed() < Duration::from_secs(40), "{path} {shown} took {:?}", begin.elapsed());
            assert!(text.len() < 200_000, "{path} {shown}: an answer of {} bytes", text.len());
        }
    }
    let json = "{\"a\":".repeat(100_000);
    for route in TABLE.iter().filter(|route| route.takes.is_some_and(|takes| !takes.yaml)) {
        let path = numbered(route.path).replace("{", "").replace("}", "");
        let answer = server
            .ask(route.method.clone(), &path, OURS, Role::PlatformAdmin)
            .header("content-type", "application/json")
            .body(json.clone())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{}", route.id);
        cases += 1;
    }
    counted("bombs of YAML and JSON", cases);
    server.stop().await;
}

#[tokio::test]
async fn fields_that_are_not_the_callers_to_set_are_refused() {
    let server = Server::start().await;
    let victim = expect(
        server.post("/api/v1/principals", &json!({"kind": "user", "name": "victim", "role": "viewer"})).send().await.unwrap(),
        StatusCode::CREATED,
    )
    .await;
    let person = format!("/api/v1/principals/{}", victim["id"].as_str().unwrap());
    let job_id = server.job(OURS, "plain").await;
    let job_path = format!("/api/v1/jobs/{job_id}");
    let extras = [
        ("id", json!("chosen")),
        ("tenant_id", json!("theirs")),
        ("tenant", json!("theirs")),
        ("version", json!(99)),
        ("revision", json!(99)),
        ("created_by", json!("root")),
        ("created_at", json!("2001-01-01T00:00:00Z")),
        ("is_admin", json!(true)),
        ("__proto__", json!({"role": "admin"})),
        ("hash", json!("0")),
        ("sealed", json!("x")),
        ("status", json!("active")),
    ];
    let bodies: Vec<(Method, String, Value)> = vec![
        (Method::POST, "/api/v1/principals".into(), json!({"kind": "user", "name": "x", "role": "viewer"})),
        (Method::PUT, person, json!({"role": "viewer", "disabled": false})),
        (Method::POST, "/api/v1/tokens".into(), json!({"principal_id": victim["id"], "name": "x"})),
        (Method::POST, "/api/v1/connections".into(), json!({"name": "x", "kind": "file"})),
        (Method::POST, "/api/v1/subscriptions".into(), json!({"url": "https://x.example/"})),
        (Method::POST, "/api/v1/silences".into(), json!({"until": "2030-01-01T00:00:00Z", "reason": "x"})),
        (Method::PUT, "/api/v1/secrets/x".into(), json!({"value": "x"})),
        (Method::POST, format!("{job_path}/rollback"), json!({"version": 1})),
        (Method::POST, format!("{job_path}/clone"), json!({"name": "x"})),
        (
            Method::POST,
            "/api/v1/jobs".into(),
            json!({"spec": "pipeline: x\nsource: {file: {path: a}}\nsink: {file: {path: b}}\n"}),
        ),
        (Method::POST, "/api/v1/jobs".into(), job("x")),
        (Method::PUT, job_path, job("plain")),
    ];
    let mut cases = 0;
    for (method, path, body) in &bodies {
        for (name, value) in &extras {
            if body.get(*name).is_some() || (path.ends_with("rollback") && *name == "version") {
                continue;
            }
            let mut body = body.clone();
            body[*name] = value.clone();
            let answer = server.ask(method.clone(), path, OURS, Role::Admin).json(&body).send().await.unwrap();
            let status = answer.status();
            let refused = status == StatusCode::BAD_REQUEST || status == StatusCode::UNPROCESSABLE_ENTITY;
            assert!(refused, "{method} {path} with `{name}`: {status} {}", answer.text().await.unwrap());
            cases += 1;
        }
    }
    counted("fields that are not the caller's", cases);
    server.stop().await;
}

#[tokio::test]
async fn nobody_gives_more_than_they_have() {
    let server = Server::start().await;
    let boss = server.ask(Method::POST, "/api/v1/principals", OURS, Role::PlatformAdmin);
    let boss = boss.json(&json!({"kind": "user", "name": "boss", "role": "platform-admin"})).send().await.unwrap();
    let boss = expect(boss, StatusCode::CREATED).await;
    let boss_path = format!("/api/v1/principals/{}", boss["id"].as_str().unwrap());
    let theirs = server.ask(Method::POST, "/api/v1/tokens", OURS, Role::PlatformAdmin);
    let theirs =
        theirs.json(&json!({"principal_id": boss["id"], "name": "boss", "role": "platform-admin"})).send().await.unwrap();
    let theirs = expect(theirs, StatusCode::CREATED).await;
    let forbidden = [
        server.delete(&format!("/api/v1/tokens/{}", theirs["info"]["id"].as_str().unwrap())),
        server.post("/api/v1/principals", &json!({"kind": "user", "name": "x", "role": "platform-admin"})),
        server.post("/api/v1/tokens", &json!({"principal_id": boss["id"], "name": "x", "role": "platform-admin"})),
        server.put(&boss_path, &json!({"role": "viewer", "disabled": true})),
        server.delete(&boss_path),
    ];
    for request in forbidden {
        let body = expect(request.send().await.unwrap(), StatusCode::FORBIDDEN).await;
        assert_eq!(body["code"], "WEIR-API-024");
    }
    let token = expect(
        server.post("/api/v1/tokens", &json!({"principal_id": boss["id"], "name": "x"})).send().await.unwrap(),
        StatusCode::CREATED,
    )
    .await;
    assert_eq!(token["info"]["role"], "admin", "a token is never above its maker");

    // A token with scopes makes no token without them.
    let scoped = json!({"principal_id": boss["id"], "name": "scoped", "scopes": ["* /api/v1/tokens", "GET /api/v1/jobs"]});
    let scoped = expect(server.post("/api/v1/tokens", &scoped).send().await.unwrap(), StatusCode::CREATED).await;
    let scoped = scoped["token"].as_str().unwrap();
    let ask = |method: Method, path: &str| server.http.request(method, format!("{}{path}", server.base)).bearer_auth(scoped);
    for (scopes, status) in [
        (json!([]), StatusCode::FORBIDDEN),
        (json!(["* /api/v1"]), StatusCode::FORBIDDEN),
        (json!(["* /api/v1/jobs"]), StatusCode::FORBIDDEN),
        (json!(["GET /api/v1/jobs"]), StatusCode::CREATED),
    ] {
        let body = json!({"principal_id": boss["id"], "name": "narrow", "scopes": scopes});
        expect(ask(Method::POST, "/api/v1/tokens").json(&body).send().await.unwrap(), status).await;
    }
    expect(ask(Method::GET, "/api/v1/jobs").send().await.unwrap(), StatusCode::OK).await;
    let outside = expect(ask(Method::GET, "/api/v1/audit").send().await.unwrap(), StatusCode::FORBIDDEN).await;
    assert_eq!(outside["code"], "WEIR-API-022");
    server.stop().await;
}

#[tokio::test]
async fn hostile_names_are_refused_or_given_back_as_they_are() {
    let server = Server::start().await;
    let names = [
        "x".repeat(10_000),
        "a\r\nSet-Cookie: x=1".into(),
        "a\nb".into(),
        "a\0b".into(),
        "\u{1b}[31mred".into(),
        String::new(),
        "<script>alert(1)</script>".into(),
        "'; DROP TABLE jobs; --".into(),
        "%s%s%n{{7*7}}${jndi:ldap://x}".into(),
        "../../etc/passwd".into(),
        "\u{202e}txt.exe".into(),
        "ｎａｍｅ".into(),
        "e\u{301}\u{301}\u{301}".into(),
        "🦀".repeat(100),
    ];
    let mut cases = 0;
    for (index, name) in names.iter().enumerate() {
        cases += 3;
        let refused = name.len() > 800 || name.is_empty() || name.chars().any(char::is_control);
        for (path, body) in
            [("/api/v1/jobs", job(name)), ("/api/v1/principals", json!({"kind": "user", "name": name, "role": "viewer"}))]
        {
            let answer = server.post(path, &body).send().await.unwrap();
            let status = answer.status();
            assert!(answer.headers().get("set-cookie").is_none());
            let text = answer.text().await.unwrap();
            assert!(!status.is_server_error(), "{path} name {index}: {text}");
            assert_eq!(status.is_client_error(), refused, "{path} name {index}: {status} {text}");
            if !refused {
                assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["name"], name.as_str());
            }
        }
        let status = server.get("/api/v1/jobs").query(&[("name", name)]).send().await.unwrap().status();
        assert!(status == StatusCode::OK || status == StatusCode::BAD_REQUEST, "filter by name {index}: {status}");
    }
    counted("hostile names", cases);
    // Wildcards of the database are letters to us.
    for wildcard in ["%", "_", "\\"] {
        let found = expect(server.get("/api/v1/jobs").query(&[("name", wildcard)]).send().await.unwrap(), StatusCode::OK).await;
        for item in found["items"].as_array().unwrap() {
            assert!(item["name"].as_str().unwrap().contains(wildcard), "{wildcard} found {}", item["name"]);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn malformed_requests_never_break_the_server() {
    let server = Server::start().await;
    let token = server.token(OURS, Role::Viewer);
    let auth = format!("Host: x\r\nAuthorization: Bearer {token}\r\n");
    let mut cases = 0;
    for bytes in [
        format!("GET /api/v1/jobs/%00 HTTP/1.1\r\n{auth}\r\n"),
        format!("GET /api/v1/jobs/..%2f..%2fetc HTTP/1.1\r\n{auth}\r\n"),
        format!("GET /api/v1/../../etc/passwd HTTP/1.1\r\n{auth}\r\n"),
        format!("GET //api//v1//jobs HTTP/1.1\r\n{auth}\r\n"),
        format!("GET http://other.example/api/v1/jobs/x HTTP/1.1\r\n{auth}\r\n"),
        format!("GET /api/v1/jobs?%ff=%fe HTTP/1.1\r\n{auth}\r\n"),
        format!("GET /api/v1/jobs?{} HTTP/1.1\r\n{auth}\r\n", "a=1&".repeat(2000)),
        format!("BREW /api/v1/jobs HTTP/1.1\r\n{auth}\r\n"),
        format!("TRACE /api/v1/jobs HTTP/1.1\r\n{auth}\r\n"),
        format!("CONNECT /api/v1/jobs HTTP/1.1\r\n{auth}\r\n"),
        format!("OPTIONS * HTTP/1.1\r\n{auth}\r\n"),
        format!("GET /{} HTTP/1.1\r\n{auth}\r\n", "x".repeat(10_000)),
        format!("GET /api/v1/jobs/x HTTP/1.1\r\n{auth}X-Request-Id: \u{e9}\r\n\r\n"),
        format!("GET /api/v1/jobs/x HTTP/1.1\r\n{auth}X-Tenant-Id: \u{e9}\r\n\r\n"),
        format!("GET /api/v1/jobs/x HTTP/1.1\r\n{auth}Authorization: Bearer other\r\n\r\n"),
        format!("GET /api/v1/jobs/x HTTP/1.1\r\n{auth}If-None-Match: {}\r\n\r\n", "\"1\",".repeat(500)),
        format!("POST /api/v1/jobs HTTP/1.1\r\n{auth}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("POST /api/v1/jobs HTTP/1.1\r\n{auth}Content-Length: -5\r\n\r\n"),
        format!("POST /api/v1/jobs HTTP/1.1\r\n{auth}Content-Length: 99999999999999999999\r\n\r\n"),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\r\n\r\n".to_owned(),
    ] {
        let shown: String = bytes.chars().take(60).collect();
        let status = raw(&server, bytes.as_bytes()).await;
        assert!(!status.contains(" 200 ") && !status.contains(" 5"), "{shown}: {status}");
        cases += 1;
    }
    counted("malformed requests", cases);
    expect(server.get("/api/v1/jobs").send().await.unwrap(), StatusCode::OK).await;
    server.stop().await;
}

#[tokio::test]
async fn a_query_that_is_not_declared_is_refused_everywhere() {
    let server = Server::start().await;
    for route in TABLE.iter() {
        let role = match route.needs {
            Needs::Nobody => Role::Viewer,
            Needs::Role(role) => role,
        };
        let path = numbered(route.path).replace("{", "").replace("}", "");
        let answer = server.ask(route.method.clone(), &format!("{path}?debug=true"), OURS, role).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{}", route.id);
    }
    server.stop().await;
}
