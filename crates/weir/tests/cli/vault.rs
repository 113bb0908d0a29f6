//! Secrets of a real Vault, from the file to the request that carries them.

use std::time::Duration;

use serde_json::json;
use weir_testkit::{HttpFixture, Reply, VaultServer, wait_until};

use crate::harness::{Folder, Said};
use crate::secrets::holding;
use crate::serving::Server;

const KEY: &str = "k-f00dcafe5eed-polygon";

/// The specification of the runner's manual, with an API that is there.
fn scene(mount: &str, api: &HttpFixture) -> Folder {
    let folder = Folder::new();
    folder.write(
        "polygon.yaml",
        format!(
            "pipeline: polygon\ncredentials_ref: vault://{mount}/credentials\n\
             source:\n  http: {{url: \"{}/trades\", headers: {{Authorization: \"Bearer {{{{api_key}}}}\"}}, records: data}}\n\
             sink:\n  file: {{path: trades.csv, write_mode: overwrite}}\n",
            api.url()
        ),
    );
    folder
}

fn api() -> HttpFixture {
    let api = HttpFixture::start().unwrap();
    api.handle("/trades", |request| {
        if request.header("authorization") == Some(&format!("Bearer {KEY}")) {
            Reply::json(json!({"data": [{"id": 1, "price": 3}, {"id": 2, "price": 4}]}))
        } else {
            Reply::status(401)
        }
    });
    api
}

fn mount(server: &VaultServer, name: &str) -> String {
    let mount = format!("{name}-{}", std::process::id());
    server.mount_kv(&mount, 2).unwrap();
    server.call("POST", &format!("{mount}/data/credentials"), json!({"data": {"api_key": KEY}})).unwrap();
    server.policy(&mount, &[&format!("{mount}/data/*")]).unwrap();
    mount
}

fn silent(said: Said) -> Said {
    assert!(!said.out.contains(KEY) && !said.err.contains(KEY), "{}", said.shown());
    said
}

#[test]
fn a_run_gets_its_secrets_with_a_token() {
    let (server, api) = (VaultServer::shared().unwrap(), api());
    let mount = mount(&server, "run-token");
    let mut folder = scene(&mount, &api);
    folder.set("VAULT_ADDR", server.address());
    folder.set("VAULT_TOKEN", server.token(&[&mount], 60, 60).unwrap());
    silent(folder.weir(&["run", "polygon.yaml", "--progress", "none"])).ok();
    let written = std::fs::read_to_string(folder.path().join("trades.csv")).unwrap();
    assert_eq!(written.lines().count(), 3, "{written}");
}

#[test]
fn the_runner_gets_its_secrets_with_an_app_role() {
    let (server, api) = (VaultServer::shared().unwrap(), api());
    let mount = mount(&server, "run-role");
    let (role_id, secret_id) = server.app_role(&mount, &[&mount], 60, 60).unwrap();
    let mut folder = scene(&mount, &api);
    folder.set("VAULT_ENABLED", "true");
    folder.set("VAULT_ADDRESS", server.address());
    folder.set("VAULT_ROLE_ID", role_id);
    folder.set("VAULT_SECRET_ID", secret_id.clone());
    let said = silent(folder.weir(&["runner", "sample", "polygon.yaml"])).ok();
    let result = said.json();
    assert_eq!(
        (&result["success"], &result["status"], &result["records_ingested"]),
        (&json!(true), &json!("completed"), &json!(2)),
        "{result}"
    );
    assert!(!said.out.contains(&secret_id) && !said.err.contains(&secret_id));
}

#[test]
fn a_token_may_be_typed_for_one_sample() {
    let (server, api) = (VaultServer::shared().unwrap(), api());
    let mount = mount(&server, "run-typed");
    let mut folder = scene(&mount, &api);
    folder.set("VAULT_ADDRESS", server.address());
    let token = server.token(&[&mount], 60, 60).unwrap();
    let said = silent(folder.weir(&["runner", "sample", "polygon.yaml", "--vault-token", &token])).ok();
    assert_eq!(said.json()["success"], true);
    let said = silent(folder.weir(&["runner", "sample", "polygon.yaml", "--vault-token", "hvs.wrong"]));
    assert_eq!(said.code, 2, "{}", said.shown());
    assert!(said.out.contains("403") && !said.shown().contains("hvs.wrong"), "{}", said.shown());
}

#[test]
fn a_job_of_the_server_gets_its_secrets_and_leaves_none_behind() {
    let (server, api) = (VaultServer::shared().unwrap(), api());
    let mount = mount(&server, "run-served");
    let (role_id, secret_id) = server.app_role(&mount, &[&mount], 60, 60).unwrap();
    let mut folder = scene(&mount, &api);
    folder.set("VAULT_ADDRESS", server.address());
    folder.set("VAULT_ROLE_ID", role_id);
    folder.set("VAULT_SECRET_ID", secret_id.clone());
    folder.set("WEIR_EGRESS_ALLOW", format!("127.0.0.1:{}", api.address().port()));
    folder.set("LOG_LEVEL", "debug");
    let mut weir = Server::start(&folder, &["serve", "--listen", "127.0.0.1:0"]);
    let token = weir.line().rsplit(' ').next().unwrap().to_owned();
    let spec = std::fs::read_to_string(folder.path().join("polygon.yaml")).unwrap();
    let mut said = String::new();
    let mut ask = |method: &str, path: &str, body: &str| {
        let (status, answer) = weir.ask(method, path, Some(&token), body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        said.push_str(&answer.to_string());
        answer
    };
    let job = ask("POST", "/api/v1/jobs", &json!({ "spec": spec }).to_string());
    let run = ask("POST", &format!("/api/v1/jobs/{}/run", job["id"].as_str().unwrap()), "{}");
    let path = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    let mut status = String::new();
    wait_until("the run has ended", Duration::from_secs(60), || {
        status = ask("GET", &path, "")["status"].as_str().unwrap().to_owned();
        !["queued", "running"].contains(&status.as_str())
    })
    .unwrap();
    let logs = ask("GET", &format!("{path}/logs"), "");
    assert_eq!(status, "succeeded", "{logs}");
    ask("GET", "/api/v1/audit", "");
    ask("GET", "/health", "");
    let (code, logged) = weir.stop();
    assert_eq!(code, 0, "{logged}");
    for secret in [KEY, &secret_id] {
        assert!(!said.contains(secret) && !logged.contains(secret), "{said}\n{logged}");
        assert_eq!(holding(folder.path(), secret), Vec::<String>::new());
    }
}
