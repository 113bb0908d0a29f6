//! Against a real HashiCorp Vault.
#![cfg(feature = "vault")]
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_error::Secret;
use weir_secrets::vault::{Keeper, VaultConfig, VaultLogin};
use weir_secrets::{OptionFacts, Provider, Resolver, Vault, unresolved_error};
use weir_testkit::{VaultServer, wait_until};

/// Names that no other test of the run has.
fn own(name: &str) -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

fn with_token(server: &VaultServer, token: &str) -> VaultConfig {
    VaultConfig::new(server.address(), VaultLogin::Token(Secret::new(token)))
}

fn with_role(server: &VaultServer, role_id: &str, secret_id: &str) -> VaultConfig {
    let secret_id = Secret::new(secret_id);
    VaultConfig::new(server.address(), VaultLogin::AppRole { role_id: role_id.into(), secret_id })
}

fn value(vault: &Vault, locator: &str) -> String {
    vault.get(locator).unwrap().unwrap().expose().to_owned()
}

fn pass(time: Duration) {
    let begin = Instant::now();
    wait_until("the time has passed", time * 4, || begin.elapsed() >= time).unwrap();
}

#[test]
fn engines_of_both_versions_are_read_wherever_they_are_mounted() {
    let server = VaultServer::shared().unwrap();
    let (path, one, two) = (own("team/lake"), own("kv-one"), own("data/kv-two"));
    server.put(&path, json!({"access": "AK", "port": 5432, "tls": true})).unwrap();
    server.mount_kv(&one, 1).unwrap();
    server.call("POST", &format!("{one}/crm/db"), json!({"password": "p@ss w/rd"})).unwrap();
    server.mount_kv(&two, 2).unwrap();
    server.call("POST", &format!("{two}/data/x"), json!({"data": {"k": "v2"}})).unwrap();
    let policy = own("reader");
    server.policy(&policy, &[&format!("secret/data/{path}"), &format!("{one}/*"), &format!("{two}/data/*")]).unwrap();
    for token in [server.root_token().to_owned(), server.token(&[&policy], 60, 60).unwrap()] {
        let vault = Vault::new(with_token(&server, &token));
        assert_eq!(value(&vault, &format!("secret/{path}#access")), "AK");
        assert_eq!(value(&vault, &format!("secret/{path}#port")), "5432");
        assert_eq!(value(&vault, &format!("secret/{path}#tls")), "true");
        assert_eq!(value(&vault, &format!("{one}/crm/db#password")), "p@ss w/rd");
        assert_eq!(value(&vault, &format!("{two}/x#k")), "v2");
    }
}

#[test]
fn what_the_policy_does_not_allow_is_named() {
    let server = VaultServer::shared().unwrap();
    let (path, policy) = (own("closed"), own("nothing"));
    server.put(&path, json!({"k": "s3cr3t"})).unwrap();
    server.policy(&policy, &["secret/data/other"]).unwrap();
    let token = server.token(&[&policy], 60, 60).unwrap();
    let vault = Vault::new(with_token(&server, &token));
    let reason = vault.get(&format!("secret/{path}#k")).unwrap_err();
    assert!(reason.contains("403") && reason.contains(&format!("`read` on `secret/data/{path}`")), "{reason}");
    assert!(!reason.contains(&token) && !reason.contains("s3cr3t"), "{reason}");
}

#[test]
fn missing_and_deleted_secrets_are_told_apart() {
    let server = VaultServer::shared().unwrap();
    let path = own("versions");
    server.put(&path, json!({"k": "1"})).unwrap();
    server.put(&path, json!({"k": "2"})).unwrap();
    let read = |what: &str| Vault::new(with_token(&server, server.root_token())).get(what);
    assert_eq!(read(&format!("secret/{path}#k")).unwrap().unwrap().expose(), "2");
    let wrong_key = read(&format!("secret/{path}#K")).unwrap_err();
    assert!(wrong_key.contains("it has `k`"), "{wrong_key}");
    server.call("DELETE", &format!("secret/data/{path}"), json!(null)).unwrap();
    let deleted = read(&format!("secret/{path}#k")).unwrap_err();
    assert!(deleted.contains("deleted at") && deleted.contains("undelete"), "{deleted}");
    let missing = read("secret/nowhere#k").unwrap_err();
    assert!(missing.contains("404"), "{missing}");
}

#[test]
fn an_app_role_logs_in_and_a_wrong_secret_is_not_repeated() {
    let server = VaultServer::shared().unwrap();
    let (path, name) = (own("role"), own("role"));
    server.put(&path, json!({"k": "v"})).unwrap();
    server.policy(&name, &[&format!("secret/data/{path}")]).unwrap();
    let (role_id, secret_id) = server.app_role(&name, &[&name], 60, 600).unwrap();
    assert_eq!(value(&Vault::new(with_role(&server, &role_id, &secret_id)), &format!("secret/{path}#k")), "v");
    let reason = Vault::new(with_role(&server, &role_id, "made-up-secret-id")).get(&format!("secret/{path}#k")).unwrap_err();
    assert!(reason.contains("AppRole") && reason.contains("VAULT_SECRET_ID"), "{reason}");
    assert!(!reason.contains("made-up-secret-id"), "{reason}");
}

#[test]
fn an_app_role_outlives_its_tokens() {
    let server = VaultServer::shared().unwrap();
    let name = own("aging");
    server.policy(&name, &[&format!("secret/data/{name}/*")]).unwrap();
    for path in ["a", "b", "c"] {
        server.put(&format!("{name}/{path}"), json!({"k": path})).unwrap();
    }
    // Tokens of 2 s that can be renewed up to 4 s: one renewal, then a new login.
    let (role_id, secret_id) = server.app_role(&name, &[&name], 2, 4).unwrap();
    let vault = Vault::new(with_role(&server, &role_id, &secret_id));
    for path in ["a", "b", "c"] {
        assert_eq!(value(&vault, &format!("secret/{name}/{path}#k")), path);
        pass(Duration::from_millis(2500));
    }
}

#[test]
fn a_revoked_login_is_made_again() {
    let server = VaultServer::start().unwrap();
    server.policy("reader", &["secret/data/*"]).unwrap();
    server.put("a", json!({"k": "1"})).unwrap();
    server.put("b", json!({"k": "2"})).unwrap();
    let (role_id, secret_id) = server.app_role("reader", &["reader"], 600, 600).unwrap();
    let vault = Vault::new(with_role(&server, &role_id, &secret_id));
    assert_eq!(value(&vault, "secret/a#k"), "1");
    server.call("PUT", "sys/leases/revoke-prefix/auth/approle/login", json!({})).unwrap();
    assert_eq!(value(&vault, "secret/b#k"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_renews_a_token_that_would_have_ended() {
    let server = VaultServer::shared().unwrap();
    let (kept, left) = (server.token(&["default"], 3, 60).unwrap(), server.token(&["default"], 3, 60).unwrap());
    let keeper = Arc::new(Keeper::new(&with_token(&server, &kept)).unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn({
        let keeper = keeper.clone();
        async move {
            let done = async {
                let _ = stopped.await;
            };
            keeper.keep(done, |problem| panic!("{problem}")).await;
        }
    });
    let look = |token: String| Keeper::new(&with_token(&server, &token)).unwrap();
    pass(Duration::from_secs(7));
    assert_eq!(look(kept.clone()).token().await.unwrap().expose(), kept);
    assert!(look(left).token().await.unwrap_err().contains("does not know the token"));
    stop.send(()).unwrap();
    task.await.unwrap();
}

#[tokio::test]
async fn a_keeper_logs_in_once_for_many() {
    let server = VaultServer::start().unwrap();
    let (role_id, secret_id) = server.app_role("worker", &["default"], 600, 600).unwrap();
    let keeper = Keeper::new(&with_role(&server, &role_id, &secret_id)).unwrap();
    let first = keeper.token().await.unwrap();
    for _ in 0..5 {
        assert_eq!(keeper.token().await.unwrap().expose(), first.expose());
    }
    let health = keeper.health().await.unwrap();
    assert!(health.initialized && !health.sealed && !health.standby);
    server.seal().unwrap();
    assert!(keeper.health().await.unwrap().sealed);
}

#[test]
fn a_sealed_vault_says_so() {
    let server = VaultServer::start().unwrap();
    server.put("a", json!({"k": "1"})).unwrap();
    let vault = Vault::new(with_token(&server, server.root_token()));
    server.seal().unwrap();
    let reason = vault.get("secret/a#k").unwrap_err();
    assert!(reason.contains("sealed") && reason.contains("unseal"), "{reason}");
}

#[test]
fn tls_needs_the_right_authority() {
    let server = VaultServer::start_tls().unwrap();
    server.put("a", json!({"k": "1"})).unwrap();
    let mut config = with_token(&server, server.root_token());
    let reason = Vault::new(config.clone()).get("secret/a#k").unwrap_err();
    assert!(reason.contains("VAULT_CACERT"), "{reason}");
    config.ca_cert = server.ca_cert().map(Into::into);
    assert_eq!(value(&Vault::new(config), "secret/a#k"), "1");
}

#[test]
fn placeholders_are_the_entries_that_credentials_ref_names() {
    let server = VaultServer::shared().unwrap();
    let mount = own("polygon-api");
    server.mount_kv(&mount, 2).unwrap();
    server.call("POST", &format!("{mount}/data/credentials"), json!({"data": {"api_key": "k-1"}})).unwrap();
    let vault = Arc::new(Vault::new(with_token(&server, server.root_token())));
    let reference = format!("vault://{mount}/credentials");
    let resolver = Resolver::new(Path::new("."), Some(&reference), OptionFacts::default()).with_vault(vault);
    let headers = json!({"Authorization": "Bearer {{api_key}}", "X-Ref": format!("vault://{mount}/credentials#api_key")});
    assert_eq!(resolver.resolve(&headers, "").unwrap(), json!({"Authorization": "Bearer k-1", "X-Ref": "k-1"}));
    let problems = resolver.resolve(&json!("{{secret}}"), "").unwrap_err();
    let told = unresolved_error(&problems).to_string();
    assert!(told.contains("it has `api_key`") && !told.contains("k-1"), "{told}");
}
