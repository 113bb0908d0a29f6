//! Tokens against a real SQLite database.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use chrono::TimeDelta;
use weir_error::Kind;
use weir_store::model::{NewToken, Principal, PrincipalKind, Quotas, TokenId};

use super::oidc::tests::Little;
use super::*;

struct Place {
    _dir: tempfile::TempDir,
    store: Store,
    access: Access,
    admin: String,
}

async fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::defaults(dir.path()).unwrap();
    let store = Store::open(&settings.database_url, &settings.data_dir).await.unwrap();
    let admin = bootstrap(&store, &settings).await.unwrap().unwrap().expose().to_owned();
    let access = Access::new(store.clone(), &settings).unwrap();
    Place { _dir: dir, store, access, admin }
}

fn scope(tenant: &str) -> TenantScope {
    TenantScope::granted(tenant.into(), Actor::system("test"))
}

impl Place {
    async fn tenant(&self, id: &str) {
        self.store.system().create_tenant(&Actor::system("test"), &id.into(), id, Quotas::default()).await.unwrap();
    }

    async fn principal(&self, tenant: &str, name: &str, role: Role) -> Principal {
        self.store.tenant(&scope(tenant)).create_principal(PrincipalKind::User, name, role, None).await.unwrap()
    }

    async fn token(&self, principal: &Principal, role: Role, expires_at: Option<DateTime<Utc>>) -> (TokenId, String) {
        let made = new_token();
        let (principal_id, prefix, hash) = (principal.id.clone(), made.prefix, made.hash);
        let new =
            NewToken { principal_id, name: "t".into(), prefix, hash, role, scopes: vec!["GET /api/v1/jobs".into()], expires_at };
        let token = self.store.tenant(&scope(principal.tenant_id.as_str())).create_token(new).await.unwrap();
        (token.id, made.secret.expose().to_owned())
    }

    async fn ask(&self, bearer: Option<&str>, tenant: Option<&str>) -> Result<Caller> {
        self.access.authenticate(&Credentials { bearer, tenant, request_id: "r-1", trace_id: None }).await
    }
}

#[tokio::test]
async fn the_first_start_gives_one_token_and_the_next_none() {
    let place = place().await;
    let settings = Settings::defaults(place._dir.path()).unwrap();
    assert!(bootstrap(&place.store, &settings).await.unwrap().is_none());
    let caller = place.ask(Some(&place.admin), None).await.unwrap();
    assert_eq!((caller.role, caller.scope.tenant().as_str()), (Role::PlatformAdmin, "default"));
    assert_eq!(caller.scope.actor().request_id.as_deref(), Some("r-1"));
}

#[tokio::test]
async fn a_token_never_gives_more_than_its_principal_has() {
    let place = place().await;
    place.tenant("acme").await;
    let editor = place.principal("acme", "ada", Role::Editor).await;
    let (_, strong) = place.token(&editor, Role::Admin, None).await;
    let (_, weak) = place.token(&editor, Role::Viewer, None).await;
    let caller = place.ask(Some(&strong), None).await.unwrap();
    assert_eq!(
        (caller.role, caller.principal.clone(), caller.scopes.as_slice()),
        (Role::Editor, editor.id.clone(), &["GET /api/v1/jobs".to_owned()][..])
    );
    assert_eq!(place.ask(Some(&weak), None).await.unwrap().role, Role::Viewer);
}

#[tokio::test]
async fn every_refusal_is_the_same() {
    let place = place().await;
    place.tenant("acme").await;
    place.tenant("gone").await;
    let ada = place.principal("acme", "ada", Role::Editor).await;
    let bob = place.principal("acme", "bob", Role::Editor).await;
    let eve = place.principal("gone", "eve", Role::Admin).await;
    let (_, expired) = place.token(&ada, Role::Editor, Some(Utc::now() - TimeDelta::seconds(1))).await;
    let (revoked_id, revoked) = place.token(&ada, Role::Editor, None).await;
    let (_, of_disabled) = place.token(&bob, Role::Editor, None).await;
    let (_, of_suspended) = place.token(&eve, Role::Admin, None).await;
    let store = place.store.tenant(&scope("acme"));
    store.revoke_token(&revoked_id).await.unwrap();
    store.update_principal(&bob.id, None, Role::Editor, true).await.unwrap();
    place
        .store
        .system()
        .update_tenant(&Actor::system("test"), &"gone".into(), None, "gone", TenantStatus::Suspended, Quotas::default())
        .await
        .unwrap();
    let unknown = new_token().secret.expose().to_owned();
    let mut answers = BTreeSet::new();
    for token in [&expired, &revoked, &of_disabled, &of_suspended, &unknown, "weir_short", "eyJh.eyJi.c2ln", "", "x y"] {
        let error = place.ask(Some(token), None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Auth, "{token}: {error}");
        assert!(token.is_empty() || !format!("{error:?}").contains(token));
        answers.insert(format!("{error:?}"));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(place.ask(None, None).await.unwrap_err().code(), "WEIR-AUTH-001");
}

#[tokio::test]
async fn what_was_changed_takes_effect_at_once_here_and_soon_elsewhere() {
    let place = place().await;
    place.tenant("acme").await;
    let ada = place.principal("acme", "ada", Role::Editor).await;
    let (id, token) = place.token(&ada, Role::Editor, None).await;
    place.ask(Some(&token), None).await.unwrap();
    place.store.tenant(&scope("acme")).revoke_token(&id).await.unwrap();
    place.access.forget();
    assert!(place.ask(Some(&token), None).await.is_err());
    assert!(KEPT <= Duration::from_secs(2), "without `forget` within this time");
}

#[tokio::test]
async fn a_token_expires_although_its_answer_is_kept() {
    let place = place().await;
    place.tenant("acme").await;
    let ada = place.principal("acme", "ada", Role::Editor).await;
    let until = Utc::now() + TimeDelta::milliseconds(600);
    let (_, token) = place.token(&ada, Role::Editor, Some(until)).await;
    place.ask(Some(&token), None).await.unwrap();
    weir_testkit::wait_until("the time is over", Duration::from_secs(5), || Utc::now() >= until).unwrap();
    assert!(place.ask(Some(&token), None).await.is_err());
}

#[tokio::test]
async fn only_a_platform_admin_names_another_tenant() {
    let place = place().await;
    place.tenant("acme").await;
    let ada = place.principal("acme", "ada", Role::Admin).await;
    let (_, token) = place.token(&ada, Role::Admin, None).await;
    assert_eq!(place.ask(Some(&token), Some("acme")).await.unwrap().scope.tenant().as_str(), "acme");
    let existing = place.ask(Some(&token), Some("default")).await.unwrap_err();
    let missing = place.ask(Some(&token), Some("nobody")).await.unwrap_err();
    assert_eq!(existing.code(), "WEIR-AUTH-003");
    assert_eq!(format!("{existing:?}"), format!("{missing:?}"), "whether a tenant exists is not told");
    let caller = place.ask(Some(&place.admin), Some("acme")).await.unwrap();
    assert_eq!(caller.scope.tenant().as_str(), "acme");
    assert_eq!(place.ask(Some(&place.admin), Some("nobody")).await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_developer_needs_no_token_but_a_wrong_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::defaults(dir.path()).unwrap();
    settings.environment = Environment::Development;
    settings.tenant_id = "trading-platform".into();
    let store = Store::open(&settings.database_url, &settings.data_dir).await.unwrap();
    bootstrap(&store, &settings).await.unwrap();
    let access = Access::new(store, &settings).unwrap();
    let ask = async |bearer| access.authenticate(&Credentials { bearer, tenant: None, request_id: "r", trace_id: None }).await;
    let caller = ask(None).await.unwrap();
    assert_eq!((caller.role, caller.scope.tenant().as_str()), (Role::PlatformAdmin, "trading-platform"));
    assert_eq!(ask(Some("weir_wrong")).await.unwrap_err().kind(), Kind::Auth);
}

#[tokio::test]
async fn a_token_of_the_issuer_gives_what_issuer_and_platform_both_allow() {
    let (mut place, little) = (place().await, Little::signing());
    let mut settings = Settings::defaults(place._dir.path()).unwrap();
    settings.oidc = Some(little.settings());
    place.access = Access::new(place.store.clone(), &settings).unwrap();
    place.tenant("acme").await;
    let roles = |role: &str| ("realm_access", json!({"roles": [role]}));
    let sub = |sub: &str| ("sub", json!(sub));

    let caller = place.ask(Some(&little.token(&[roles("editor")])), None).await.unwrap();
    assert_eq!((caller.scope.tenant().as_str(), caller.role), ("acme", Role::Editor));
    assert_eq!(caller.scope.actor().name, "ada@example.org");
    let again = place.ask(Some(&little.token(&[roles("admin")])), None).await.unwrap();
    assert_eq!((again.principal, again.role), (caller.principal, Role::Admin), "who is not known here keeps one id");

    let store = place.store.tenant(&scope("acme"));
    let subject = |sub: &str| format!("{}|{sub}", little.settings().issuer);
    store.create_principal(PrincipalKind::User, "bob", Role::Viewer, Some(&subject("u-bob"))).await.unwrap();
    let known = place.ask(Some(&little.token(&[sub("u-bob"), roles("admin")])), None).await.unwrap();
    assert_eq!((known.role, known.scope.actor().name.as_str()), (Role::Viewer, "bob"));
    let no_role = ("realm_access", Value::Null);
    assert_eq!(place.ask(Some(&little.token(&[sub("u-bob"), no_role.clone()])), None).await.unwrap().role, Role::Viewer);

    let eve = store.create_principal(PrincipalKind::User, "eve", Role::Admin, Some(&subject("u-eve"))).await.unwrap();
    store.update_principal(&eve.id, None, Role::Admin, true).await.unwrap();
    let root = store.create_principal(PrincipalKind::User, "root", Role::PlatformAdmin, Some(&subject("u-root"))).await;
    if root.is_ok() {
        let token = little.token(&[sub("u-root"), no_role.clone()]);
        assert_eq!(place.ask(Some(&token), None).await.unwrap().role, Role::Admin, "never above admin");
    }
    place.tenant("gone").await;
    let (actor, gone) = (Actor::system("test"), "gone".into());
    let system = place.store.system();
    system.update_tenant(&actor, &gone, None, "gone", TenantStatus::Suspended, Quotas::default()).await.unwrap();
    for (what, changes) in [
        ("disabled here", vec![sub("u-eve"), roles("admin")]),
        ("no role anywhere", vec![no_role]),
        ("a role that there is not", vec![roles("king")]),
        ("a tenant that there is not", vec![("tenant", json!("nobody"))]),
        ("a suspended tenant", vec![("tenant", json!("gone"))]),
        ("for somebody else", vec![("aud", json!("other"))]),
    ] {
        let error = place.ask(Some(&little.token(&changes)), None).await.unwrap_err();
        assert_eq!(error.code(), "WEIR-AUTH-002", "{what}: {error}");
    }
    let error = place.ask(Some(&little.token(&[roles("admin")])), Some("default")).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-AUTH-003", "another tenant");
}
