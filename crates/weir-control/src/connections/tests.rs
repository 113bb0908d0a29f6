//! Connections and secrets on a real database.

use std::sync::Arc;

use base64::Engine;
use serde_json::{Value, json};
use weir_error::Secret;
use weir_store::model::{PageRequest, Quotas};
use weir_store::{Actor, Store, TenantScope};

use super::{ConnectionRequest, ConnectionService, SecretService};
use crate::jobs::Refused;
use crate::seal::{KeyRing, Place, reseal};
use crate::testing::Bench;

struct Scene {
    folder: tempfile::TempDir,
    store: Store,
    keys: Arc<KeyRing>,
    connections: ConnectionService,
    secrets: SecretService,
    scope: TenantScope,
}

async fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let url = Secret::new(format!("sqlite:{}", folder.path().join("weir.db").display()));
    let store = Store::open(&url, folder.path()).await.unwrap();
    store.system().create_tenant(&Actor::system("test"), &"acme".into(), "acme", Quotas::default()).await.unwrap();
    let keys = Arc::new(KeyRing::load(folder.path(), None).unwrap());
    let connections = ConnectionService::new(store.clone(), keys.clone(), Arc::new(Bench::new()));
    let secrets = SecretService::new(store.clone(), keys.clone());
    Scene { folder, store, keys, connections, secrets, scope: TenantScope::granted("acme".into(), Actor::system("test")) }
}

fn request(options: Value) -> ConnectionRequest {
    ConnectionRequest { name: "crm-db".into(), kind: "postgres".into(), options: options.as_object().unwrap().clone() }
}

impl Scene {
    async fn secret_options(&self) -> Value {
        let stored = self.store.tenant(&self.scope).connection_by_name("crm-db").await.unwrap().unwrap();
        let Some(sealed) = stored.body.sealed else { return json!({}) };
        let place = Place { tenant: self.scope.tenant(), table: "connection", row: "crm-db" };
        serde_json::from_slice(&self.keys.open(&place, &sealed).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn a_secret_option_goes_in_and_never_comes_out() {
    let scene = scene().await;
    let options = json!({"host": "db", "password": "hunter2-pw", "url": "postgresql://u:hunter2-url@db/x", "user": "{{login}}"});
    let shown = scene.connections.put(&scene.scope, request(options), None).await.unwrap();
    assert_eq!(
        Value::Object(shown.options.clone()),
        json!({"host": "db", "user": "{{login}}", "password": {"set": true}, "url": {"set": true}})
    );
    let page = PageRequest { limit: 10, cursor: None };
    let all = serde_json::to_string(&scene.connections.list(&scene.scope, &page).await.unwrap()).unwrap();
    assert!(!all.contains("hunter2") && all.contains("crm-db"), "{all}");
    let bytes: Vec<u8> = std::fs::read_dir(scene.folder.path())
        .unwrap()
        .flat_map(|f| std::fs::read(f.unwrap().path()).unwrap_or_default())
        .collect();
    assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));
    assert_eq!(scene.secret_options().await, json!({"password": "hunter2-pw", "url": "postgresql://u:hunter2-url@db/x"}));
}

#[tokio::test]
async fn a_change_keeps_replaces_and_removes_secrets() {
    let scene = scene().await;
    let first = scene
        .connections
        .put(&scene.scope, request(json!({"host": "a", "password": "one", "url": "postgresql://u:two@db/x"})), None)
        .await
        .unwrap();
    // As it was shown, with another host.
    let mut back = first.options.clone();
    back.insert("host".into(), json!("b"));
    let second = scene.connections.put(&scene.scope, request(Value::Object(back)), Some(first.version)).await.unwrap();
    assert_eq!((second.options["host"].clone(), scene.secret_options().await["password"].clone()), (json!("b"), json!("one")));
    scene.connections.put(&scene.scope, request(json!({"password": {"set": true}})), Some(second.version)).await.unwrap();
    assert_eq!(scene.secret_options().await, json!({"password": "one"}));
    let stale = scene.connections.put(&scene.scope, request(json!({})), Some(first.version)).await.unwrap_err();
    assert!(matches!(stale, Refused::Error(error) if error.kind() == weir_error::Kind::Conflict));
    let nothing_to_keep = scene.connections.put(&scene.scope, request(json!({"url": {"set": true}})), None).await.unwrap_err();
    assert_eq!(nothing_to_keep.diagnostics()[0].path, "options.url");
}

#[tokio::test]
async fn wrong_names_kinds_and_options_are_told_without_values() {
    let scene = scene().await;
    let refused = async |request: ConnectionRequest| {
        let refused = scene.connections.put(&scene.scope, request, None).await.unwrap_err();
        let shown = format!("{:?}", refused.diagnostics());
        assert!(!shown.contains("hunter2"), "{shown}");
        (refused.diagnostics()[0].code.clone(), refused.diagnostics()[0].suggestion.clone())
    };
    let with = |name: &str, kind: &str| ConnectionRequest {
        name: name.into(),
        kind: kind.into(),
        ..request(json!({"password": "hunter2"}))
    };
    for name in ["", "a b", "../x", "1a", &"x".repeat(64)] {
        assert_eq!(refused(with(name, "postgres")).await.0, "WEIR-CONN-001", "{name}");
    }
    assert_eq!(refused(with("a", "postgrse")).await, ("WEIR-CONN-002".into(), Some("postgres".into())));
    assert_eq!(refused(request(json!({"hots": "hunter2"}))).await.0, "WEIR-CONN-003");
}

#[tokio::test]
async fn secrets_have_names_of_their_own_and_are_listed_without_values() {
    let scene = scene().await;
    scene.secrets.put(&scene.scope, "api_key", &Secret::new("hunter2")).await.unwrap();
    for name in ["job.x.1", "", "1a", "a b", "a}}", &"x".repeat(129)] {
        let error = scene.secrets.put(&scene.scope, name, &Secret::new("hunter2")).await.unwrap_err();
        assert_eq!(error.code(), "WEIR-CONN-005", "{name}");
    }
    assert_eq!(scene.secrets.put(&scene.scope, "empty", &Secret::new("")).await.unwrap_err().code(), "WEIR-CONN-006");
    let names: Vec<String> = scene.secrets.list(&scene.scope).await.unwrap().into_iter().map(|secret| secret.name).collect();
    assert_eq!(names, ["api_key"]);
    scene.secrets.delete(&scene.scope, "api_key").await.unwrap();
    assert!(scene.secrets.list(&scene.scope).await.unwrap().is_empty());
}

#[tokio::test]
async fn after_a_key_was_changed_everything_is_sealed_anew() {
    let scene = scene().await;
    scene.connections.put(&scene.scope, request(json!({"password": "hunter2"})), None).await.unwrap();
    scene.secrets.put(&scene.scope, "api_key", &Secret::new("hunter3")).await.unwrap();
    let new = Secret::new(base64::engine::general_purpose::STANDARD.encode([9; 32]));
    let both = KeyRing::load(scene.folder.path(), Some(&new)).unwrap();
    let done = reseal(&scene.store, &both).await.unwrap();
    assert_eq!((done.resealed, done.current, done.unreadable.len()), (2, 0, 0));
    assert_eq!(reseal(&scene.store, &both).await.unwrap().current, 2);
    // The old key may go.
    std::fs::remove_file(scene.folder.path().join(crate::seal::FILE)).unwrap();
    let only_new = KeyRing::load(scene.folder.path(), Some(&new)).unwrap();
    let sealed = scene.store.tenant(&scene.scope).secret("api_key").await.unwrap().unwrap();
    let place = Place { tenant: scene.scope.tenant(), table: "secret", row: "api_key" };
    assert_eq!(only_new.open_text(&place, &sealed).unwrap().expose(), "hunter3");
    let stranger = KeyRing::generate().unwrap();
    assert_eq!(reseal(&scene.store, &stranger).await.unwrap().unreadable, ["acme/connection/crm-db", "acme/secret/api_key"]);
}
