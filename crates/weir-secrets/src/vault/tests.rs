//! Against a server that answers as Vault's API documentation has it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_testkit::{HttpFixture, Reply};

use super::*;

const TOKEN: &str = "hvs.unseen";

fn config(server: &HttpFixture) -> VaultConfig {
    let (timeout, pause) = (Duration::from_secs(5), Duration::from_millis(1));
    VaultConfig { timeout, pause, ..VaultConfig::new(server.url(), VaultLogin::Token(Secret::new(TOKEN))) }
}

fn refused(status: u16, errors: &[&str]) -> Reply {
    Reply::json(json!({ "errors": errors })).with_status(status)
}

/// A server with an engine of that version mounted at `mount`.
fn engine(mount: &str, version: &str, path: &str) -> HttpFixture {
    let server = HttpFixture::start().unwrap();
    let data = json!({"path": format!("{mount}/"), "type": "kv", "options": {"version": version}});
    server.on(&format!("/v1/sys/internal/ui/mounts/{path}"), Reply::json(json!({ "data": data })));
    server
}

/// What reading a secret of a versioned engine gives.
fn versioned(entries: Value) -> Reply {
    let metadata = json!({"created_time": "2026-01-02T03:04:05.6Z", "deletion_time": "", "destroyed": false, "version": 3});
    Reply::json(json!({"request_id": "1", "lease_id": "", "data": {"data": entries, "metadata": metadata}}))
}

fn value(vault: &Vault, locator: &str) -> String {
    vault.get(locator).unwrap().unwrap().expose().to_string()
}

fn reason(vault: &Vault, locator: &str) -> String {
    let reason = vault.get(locator).unwrap_err();
    assert!(!reason.contains(TOKEN) && !reason.contains("hunter2"), "{reason}");
    reason
}

#[test]
fn a_versioned_secret_is_read_once_for_all_its_entries() {
    let server = engine("secret", "2", "secret/team/lake");
    server.on("/v1/secret/data/team/lake", versioned(json!({"access": "AK", "secret": "hunter2", "port": 5432, "tls": true})));
    let vault = Vault::new(VaultConfig { namespace: Some("data/eu".into()), ..config(&server) });
    assert_eq!(value(&vault, "secret/team/lake#access"), "AK");
    assert_eq!(value(&vault, "secret/team/lake#secret"), "hunter2");
    assert_eq!((value(&vault, "secret/team/lake#port"), value(&vault, "secret/team/lake#tls")), ("5432".into(), "true".into()));
    let asked = server.requests();
    assert_eq!(asked.len(), 2, "once where it is, once for all entries");
    for request in asked {
        assert_eq!(request.method, "GET");
        assert_eq!(request.header("x-vault-token"), Some(TOKEN));
        assert_eq!(request.header("x-vault-namespace"), Some("data/eu"));
    }
}

#[test]
fn an_engine_without_versions_and_a_mount_of_several_parts() {
    let server = engine("team/kv", "1", "team/kv/lake");
    server.on("/v1/team/kv/lake", Reply::json(json!({"data": {"access": "AK"}, "lease_duration": 2764800})));
    assert_eq!(value(&Vault::new(config(&server)), "team/kv/lake#access"), "AK");
}

#[test]
fn the_data_of_the_api_may_be_written_and_paths_are_escaped() {
    let server = engine("secret", "2", "secret/data/la%20ke%3F");
    server.on("/v1/secret/data/la%20ke%3F", versioned(json!({"a": {"nested": [1]}})));
    assert_eq!(value(&Vault::new(config(&server)), "secret/data/la ke?#a"), r#"{"nested":[1]}"#);
}

#[test]
fn a_token_that_may_not_ask_for_mounts_still_reads() {
    for (path, reply) in [
        ("/v1/secret/data/lake", versioned(json!({"access": "AK"}))),
        ("/v1/secret/lake", Reply::json(json!({"data": {"access": "AK"}}))),
    ] {
        let server = HttpFixture::start().unwrap();
        server.on("*", refused(403, &["permission denied"])).on(path, reply);
        assert_eq!(value(&Vault::new(config(&server)), "secret/lake#access"), "AK");
    }
}

#[test]
fn a_refusal_says_which_path_the_policy_lacks() {
    let server = engine("secret", "2", "secret/lake");
    server.on("/v1/secret/data/lake", refused(403, &["1 error occurred:\n\t* permission denied\n\n"]));
    let vault = Vault::new(config(&server));
    let reason = reason(&vault, "secret/lake#access");
    assert!(reason.contains("403") && reason.contains("`read` on `secret/data/lake`"), "{reason}");
    assert_eq!(super::tests::reason(&vault, "secret/lake#other"), reason, "the same is told again");
    assert_eq!(server.requests().len(), 2, "and is not asked again");
}

#[test]
fn what_is_missing_is_named_with_the_keys_there_are_and_no_values() {
    let server = engine("secret", "2", "secret/lake");
    server.on("/v1/secret/data/lake", versioned(json!({"access": "hunter2", "secret": "hunter2", "old": null})));
    server.on(
        "/v1/sys/internal/ui/mounts/secret/none",
        Reply::json(json!({"data": {"path": "secret/", "options": {"version": "2"}}})),
    );
    server.on("/v1/secret/data/none", refused(404, &[]));
    let vault = Vault::new(config(&server));
    let key = reason(&vault, "secret/lake#acess");
    assert!(key.contains("no entry `acess`; it has `access`, `old`, `secret`"), "{key}");
    assert!(reason(&vault, "secret/lake#old").contains("null"));
    let path = reason(&vault, "secret/none#x");
    assert!(path.contains("404") && path.contains("`secret/data/none`") && path.contains("VAULT_NAMESPACE"), "{path}");
}

#[test]
fn an_unknown_mount_is_told_with_both_places() {
    let server = HttpFixture::start().unwrap();
    server.on("*", refused(404, &["no handler for route \"x/y\". route entry not found."]));
    let reason = reason(&Vault::new(config(&server)), "x/y#k");
    assert!(reason.contains("`x/data/y` or `x/y`"), "{reason}");
}

#[test]
fn a_deleted_version_is_not_the_same_as_a_wrong_path() {
    let server = engine("secret", "2", "secret/lake");
    let metadata = json!({"deletion_time": "2026-03-01T00:00:00Z", "destroyed": false, "version": 2});
    server.on("/v1/secret/data/lake", Reply::json(json!({"data": {"data": null, "metadata": metadata}})).with_status(404));
    let reason = reason(&Vault::new(config(&server)), "secret/lake#k");
    assert!(reason.contains("deleted at 2026-03-01") && reason.contains("undelete"), "{reason}");
}

#[test]
fn a_sealed_vault_is_told_at_once_and_for_every_path() {
    let server = HttpFixture::start().unwrap();
    server.on("*", refused(503, &["Vault is sealed"]));
    let vault = Vault::new(config(&server));
    for locator in ["secret/a#k", "secret/b#k"] {
        assert!(reason(&vault, locator).contains("sealed: unseal it"));
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn passing_failures_are_tried_again_but_not_for_ever() {
    let server = engine("secret", "2", "secret/lake");
    let good = versioned(json!({"k": "v"}));
    server.sequence("/v1/secret/data/lake", [refused(500, &["internal error"]), refused(429, &["rate limit"]), good]);
    assert_eq!(value(&Vault::new(config(&server)), "secret/lake#k"), "v");
    let server = HttpFixture::start().unwrap();
    server.on("*", refused(502, &[&format!("bad token {TOKEN}")]));
    let vault = Vault::new(config(&server));
    let told = reason(&vault, "secret/lake#k");
    assert!(told.contains("502") && told.contains("3 tries") && told.contains("***"), "{told}");
    assert_eq!(reason(&vault, "other/path#k"), told);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn silence_ends_in_a_timeout() {
    let server = HttpFixture::start().unwrap();
    server.on("*", Reply::silence());
    let begin = Instant::now();
    let vault = Vault::new(VaultConfig { timeout: Duration::from_millis(100), ..config(&server) });
    let told = reason(&vault, "secret/lake#k");
    assert!(told.contains("does not answer within 0.1 s") && told.contains("3 tries"), "{told}");
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn nobody_listening_is_told_with_the_address() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut config = config(&HttpFixture::start().unwrap());
    config.address = format!("http://user:hunter2@127.0.0.1:{port}");
    let told = reason(&Vault::new(config), "secret/lake#k");
    assert!(told.contains(&format!("http://127.0.0.1:{port} cannot be reached")) && told.contains("VAULT_ADDR"), "{told}");
}

#[test]
fn a_standby_server_may_send_to_the_active_one() {
    let active = engine("secret", "2", "secret/lake");
    active.on("/v1/secret/data/lake", versioned(json!({"k": "v"})));
    let (standby, url) = (HttpFixture::start().unwrap(), active.url());
    standby.handle("*", move |request| Reply::status(307).header("location", format!("{url}{}", request.path)));
    assert_eq!(value(&Vault::new(config(&standby)), "secret/lake#k"), "v");
    assert_eq!(active.requests()[0].header("x-vault-token"), Some(TOKEN));
}

#[test]
fn settings_that_cannot_work_are_told_without_asking() {
    let server = HttpFixture::start().unwrap();
    let told = |change: fn(&mut VaultConfig)| {
        let mut config = config(&server);
        change(&mut config);
        reason(&Vault::new(config), "secret/lake#k")
    };
    assert!(told(|config| config.address = "vault.example.org".into()).contains("VAULT_ADDR"));
    assert!(told(|config| config.ca_cert = Some("/none.pem".into())).contains("VAULT_CACERT /none.pem"));
    assert!(told(|config| config.ca_cert = Some("Cargo.toml".into())).contains("no PEM certificate"));
    assert!(told(|config| config.login = VaultLogin::Token(Secret::new("hunter2\n"))).contains("cannot be sent"));
    let vault = Vault::new(config(&server));
    for locator in ["secret//lake#k", "../sys/seal-status#k", "secret/./lake#k"] {
        assert!(reason(&vault, locator).contains("the path has"), "{locator}");
    }
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn it_may_be_asked_inside_an_async_runtime() {
    let server = engine("secret", "2", "secret/lake");
    server.on("/v1/secret/data/lake", versioned(json!({"k": "v"})));
    let vault = Vault::new(config(&server));
    assert_eq!(value(&vault, "secret/lake#k"), "v");
}
