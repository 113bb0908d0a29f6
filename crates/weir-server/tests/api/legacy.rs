//! The API of seed 001.

use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use weir_control::config::Environment;
use weir_store::model::Role;

use crate::harness::{OURS, Server, THEIRS, expect};

const SPEC: &str = "pipeline: from_file\nsource:\n  file:\n    path: in.csv\nsink:\n  file:\n    path: out\n";

fn spec_file(server: &Server, name: &str) -> String {
    let path = server.platform.settings.spec_root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, SPEC).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_spec_file_is_executed_listed_and_cancelled_in_the_seeds_shapes() {
    let server = Server::start().await;
    let absolute = spec_file(&server, "team/polygon-api.yaml");
    let execute = |path: &str| server.ask(Method::POST, "/jobs/execute", OURS, Role::Editor).query(&[("spec_path", path)]).send();
    let first = expect(execute(&absolute).await.unwrap(), StatusCode::OK).await;
    assert_eq!((&first["status"], &first["spec_name"]), (&json!("queued"), &json!("from_file")));
    assert_eq!(first.as_object().unwrap().len(), 3);
    let second = expect(execute("team/polygon-api.yaml").await.unwrap(), StatusCode::OK).await;
    assert_ne!(first["job_id"], second["job_id"]);
    let jobs = expect(server.get("/api/v1/jobs").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(jobs["items"].as_array().unwrap().len(), 1, "the same file is the same job");

    let active = expect(server.get("/jobs/active").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(active, json!({"active_jobs": [second["job_id"], first["job_id"]]}));
    let id = first["job_id"].as_str().unwrap();
    let cancelled = expect(server.delete(&format!("/jobs/{id}")).send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(cancelled, json!({"status": "cancelled", "job_id": id}));
    expect(server.delete(&format!("/jobs/{id}")).send().await.unwrap(), StatusCode::CONFLICT).await;
    expect(server.delete("/jobs/nobody").send().await.unwrap(), StatusCode::NOT_FOUND).await;
    server.stop().await;
}

#[tokio::test]
async fn health_has_the_seeds_shape_and_names_runs_only_to_callers() {
    let server = Server::start().await;
    let id = server.job(OURS, "active").await;
    let run =
        expect(server.post(&format!("/api/v1/jobs/{id}/run"), &json!({})).send().await.unwrap(), StatusCode::ACCEPTED).await;
    let open = expect(server.http.get(format!("{}/health", server.base)).send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(open["status"], "healthy");
    assert!(open["timestamp"].is_f64() && open["timestamp"].as_f64().unwrap() > 1_640_995_200.0);
    assert_eq!(open["tenant_id"], OURS);
    assert!(open["runner_id"].is_string());
    let components = &open["components"];
    assert_eq!(components["vault"], json!({"status": "disabled", "initialized": false, "sealed": false}));
    assert_eq!(components["metrics"]["registry_type"], "prometheus");
    assert_eq!(components["jobs"], json!({"active_count": 1, "active_jobs": []}));
    let ours = expect(server.get("/health").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(ours["components"]["jobs"], json!({"active_count": 1, "active_jobs": [run["id"]]}));
    let theirs = server.ask(Method::GET, "/health", THEIRS, Role::Viewer).send().await.unwrap();
    assert_eq!(expect(theirs, StatusCode::OK).await["components"]["jobs"]["active_jobs"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn spec_path_leads_nowhere_but_to_the_folder() {
    let server = Server::start().await;
    spec_file(&server, "good.yaml");
    let root = server.platform.settings.spec_root.clone();
    let outside = root.parent().unwrap().join("outside.yaml");
    std::fs::write(&outside, SPEC).unwrap();
    std::fs::create_dir_all(root.parent().unwrap().join("specs-evil")).unwrap();
    std::fs::write(root.parent().unwrap().join("specs-evil/a.yaml"), SPEC).unwrap();
    std::os::unix::fs::symlink(&outside, root.join("link.yaml")).unwrap();
    std::os::unix::fs::symlink("/", root.join("slash")).unwrap();
    std::os::unix::fs::symlink("../outside.yaml", root.join("relative.yaml")).unwrap();
    std::fs::create_dir(root.join("folder.yaml")).unwrap();
    let shown = |path: &Path| path.to_str().unwrap().to_owned();
    let fifo = root.join("pipe.yaml");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let paths = [
        "../outside.yaml",
        "./../outside.yaml",
        "good.yaml/../../outside.yaml",
        "x/../../outside.yaml",
        "..",
        ".",
        "/",
        "//",
        "../",
        "....//outside.yaml",
        "..\\outside.yaml",
        "..%2foutside.yaml",
        "%2e%2e/outside.yaml",
        "%252e%252e%252foutside.yaml",
        "..%c0%afoutside.yaml",
        "..;/outside.yaml",
        "/etc/passwd",
        "//etc/passwd",
        "/proc/self/environ",
        "/proc/self/cwd/Cargo.toml",
        "/dev/zero",
        "/dev/stdin",
        "file:///etc/passwd",
        "http://127.0.0.1/x.yaml",
        "~/x.yaml",
        "~root/.profile",
        "$HOME/x.yaml",
        "link.yaml",
        "slash/etc/passwd",
        "relative.yaml",
        "folder.yaml",
        "pipe.yaml",
        "nothing.yaml",
        "good.yaml ",
        " good.yaml",
        "good.yaml/",
        "GOOD.YAML",
        "../specs-evil/a.yaml",
        "\u{202e}good.yaml",
        "．．/outside.yaml",
        "good.yaml::$DATA",
        "../../../../../../../../etc/passwd",
    ];
    let absolute =
        [shown(&outside), shown(&root.join("../outside.yaml")), shown(&root.parent().unwrap().join("specs-evil/a.yaml"))];
    let mut bodies = std::collections::BTreeSet::new();
    let mut cases = 0;
    for path in paths.iter().map(|path| (*path).to_owned()).chain(absolute) {
        let answer = server
            .ask(Method::POST, "/jobs/execute", OURS, Role::Editor)
            .header("x-request-id", "same")
            .query(&[("spec_path", &path)])
            .send()
            .await
            .unwrap();
        cases += 1;
        // `good.yaml/` names the file to the file system of some machines and nothing to others.
        if path == "good.yaml/" && answer.status() == StatusCode::OK {
            continue;
        }
        bodies.insert(expect(answer, StatusCode::NOT_FOUND).await.to_string());
    }
    assert_eq!(bodies.len(), 1, "what is outside and what is missing answer alike: {bodies:?}");
    for raw in ["spec_path=good.yaml%00", "spec_path=a%0d%0ab", "spec_path=", "", "spec_path=good.yaml&spec_path=link.yaml"] {
        let answer = server.ask(Method::POST, &format!("/jobs/execute?{raw}"), OURS, Role::Editor).send().await.unwrap();
        expect(answer, StatusCode::BAD_REQUEST).await;
        cases += 1;
    }
    // The folder belongs to one tenant.
    let theirs = server.ask(Method::POST, "/jobs/execute?spec_path=good.yaml", THEIRS, Role::Admin).send().await.unwrap();
    expect(theirs, StatusCode::NOT_FOUND).await;
    crate::abuse::counted("spec_path out of its folder", cases + 1);
    server.stop().await;
}

#[tokio::test]
async fn the_docs_page_needs_nothing_from_elsewhere() {
    let server = Server::start().await;
    for (path, media) in [("/docs", "text/html"), ("/docs/app.js", "text/javascript"), ("/docs/app.css", "text/css")] {
        let answer = server.http.get(format!("{}{path}", server.base)).send().await.unwrap();
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with(media));
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let text = answer.text().await.unwrap();
        for foreign in ["http://", "https://", "innerHTML", "eval(", "style=", "onclick="] {
            assert!(!text.contains(foreign), "{path} has {foreign}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn without_tokens_only_programs_and_pages_of_this_machine_get_in() {
    let server = Server::start_in(Environment::Development).await;
    let url = format!("{}/api/v1/jobs", server.base);
    let send = |headers: &[(&'static str, &str)]| {
        let mut request = server.http.get(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send()
    };
    assert_eq!(send(&[]).await.unwrap().status(), StatusCode::OK);
    assert_eq!(send(&[("origin", server.base.as_str())]).await.unwrap().status(), StatusCode::OK);
    for headers in [
        [("host", "rebound.example"), ("x-a", "b")],
        [("origin", "https://evil.example"), ("x-a", "b")],
        [("origin", "null"), ("x-a", "b")],
        [("origin", "http://127.0.0.1:1"), ("x-a", "b")],
        [("sec-fetch-site", "cross-site"), ("x-a", "b")],
    ] {
        let answer = send(&headers).await.unwrap();
        let body: Value = expect(answer, StatusCode::FORBIDDEN).await;
        assert_eq!(body["code"], "WEIR-API-023", "{headers:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn probes_answer() {
    let server = Server::start().await;
    for path in ["/livez", "/readyz"] {
        let answer = server.http.get(format!("{}{path}", server.base)).send().await.unwrap();
        assert_eq!(expect(answer, StatusCode::OK).await, json!({"status": "ok"}));
    }
    server.stop().await;
}
