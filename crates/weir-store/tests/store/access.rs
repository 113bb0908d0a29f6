//! Tenants, principals, tokens.

use chrono::{TimeDelta, Utc};
use weir_error::Kind;
use weir_store::model::*;

use crate::world::*;

fn token(principal: &PrincipalId, hash: &str) -> NewToken {
    NewToken {
        principal_id: principal.clone(),
        name: "ci".into(),
        prefix: "weir_abc".into(),
        hash: hash.into(),
        role: Role::Editor,
        scopes: vec!["GET /api/v1/jobs".into()],
        expires_at: Some(moment(0)),
    }
}

both! {
    async fn the_first_start_makes_one_administrator(world) {
        let (left, right) = (world.store.system(), world.other.system());
        let (left, right) = tokio::join!(left.bootstrap("Default", "hash-1", "weir_1"), right.bootstrap("Default", "hash-2", "weir_2"));
        let (left, right) = (left.unwrap(), right.unwrap());
        assert!(left != right, "one of them makes it");
        assert!(!world.system().bootstrap("Default", "hash-3", "weir_3").await.unwrap());
        let (token, admin, tenant) = world.system().token_by_hash(if left { "hash-1" } else { "hash-2" }).await.unwrap().unwrap();
        assert_eq!((admin.name.as_str(), admin.role, tenant.id.as_str(), tenant.name.as_str()), ("admin", Role::PlatformAdmin, "default", "Default"));
        assert_eq!((token.role, token.expires_at), (Role::PlatformAdmin, None));
        assert_eq!(world.system().token_by_hash("hash-3").await.unwrap(), None);
        assert_eq!(world.system().audit_verify(None).await.unwrap(), AuditCheck { rows: 1, broken: None });
    }

    async fn a_tenants_id_is_a_label_of_its_own(world) {
        world.tenant("acme").await;
        let make = async |id: &str| world.system().create_tenant(&actor(), &id.into(), "n", Quotas::default()).await;
        is(make("acme").await.unwrap_err(), "WEIR-STORE-028", Kind::Conflict);
        let long = "a".repeat(64);
        for hostile in ["", "-a", "a-", "A", "a.b", "a/b", "../x", "a b", "ä", "a\0", long.as_str()] {
            is(make(hostile).await.unwrap_err(), "WEIR-STORE-012", Kind::Spec);
        }
        make(&"a".repeat(63)).await.unwrap();
        make("0").await.unwrap();
    }

    async fn a_tenant_is_changed_by_version(world) {
        let tenant = world.tenant("acme").await;
        let system = world.system();
        let quotas = Quotas { max_pipelines: Some(3), ..Quotas::default() };
        let id: TenantId = "acme".into();
        let changed = system.update_tenant(&actor(), &id, Some(1), "Acme", TenantStatus::Suspended, quotas).await.unwrap();
        assert_eq!(tenant.tenant().await.unwrap(), changed);
        assert_eq!(system.tenant(&id).await.unwrap(), changed);
        let stale = system.update_tenant(&actor(), &id, Some(1), "x", TenantStatus::Active, Quotas::default()).await;
        is(stale.unwrap_err(), "WEIR-STORE-022", Kind::Conflict);
        let none = system.update_tenant(&actor(), &"none".into(), None, "x", TenantStatus::Active, Quotas::default()).await;
        is(none.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
        world.tenant("second").await;
        let first = system.tenants(&page(1)).await.unwrap();
        let rest = system.tenants(&PageRequest { limit: 1, cursor: first.next_cursor }).await.unwrap();
        assert_eq!((first.items[0].id.as_str(), rest.items[0].id.as_str(), rest.next_cursor), ("acme", "second", None));
    }

    async fn a_removed_tenant_is_gone_for_good_but_for_its_history(world) {
        let system = world.system();
        let (tenant, other) = (world.tenant("acme").await, world.tenant("other").await);
        let (id, remove) = (TenantId::from("acme"), async |version| world.system().remove_tenant(&actor(), &"acme".into(), version).await);
        for store in [&tenant, &other] {
            let bob = store.create_principal(PrincipalKind::User, "bob", Role::Admin, None).await.unwrap();
            store.create_token(token(&bob.id, store.scope().tenant().as_str())).await.unwrap();
            store.set_secret("key", SealedSecret(vec![1])).await.unwrap();
            let crm = NewConnection {
                name: "crm".into(),
                kind: "postgres".into(),
                options: serde_json::json!({}),
                sealed: None,
                secret_names: Vec::new(),
            };
            store.put_connection(crm, None).await.unwrap();
            let hook = NewSubscription {
                url: "https://hooks.example/x".into(),
                kinds: Vec::new(),
                format: "cloudevents".into(),
                sealed: None,
            };
            store.create_subscription(hook).await.unwrap();
        }
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        tenant.create_run(manual(&made.id)).await.unwrap();
        let claimed = system.claim_run("w", LEASE).await.unwrap().unwrap();
        let waiting = tenant.create_run(manual(&made.id)).await.unwrap();
        system.claim_deliveries(&["subscription"], "d", LEASE, 5).await.unwrap();

        is(remove(None).await.unwrap_err(), "WEIR-STORE-032", Kind::Conflict);
        system.update_tenant(&actor(), &id, None, "acme", TenantStatus::Suspended, Quotas::default()).await.unwrap();
        is(remove(Some(1)).await.unwrap_err(), "WEIR-STORE-022", Kind::Conflict);
        is(remove(Some(2)).await.unwrap_err(), "WEIR-STORE-033", Kind::Conflict);
        system.finish(&claimed.lease, ended(RunStatus::Succeeded)).await.unwrap();
        is(remove(Some(2)).await.unwrap_err(), "WEIR-STORE-035", Kind::Conflict);
        other.create_principal(PrincipalKind::User, "root", Role::PlatformAdmin, None).await.unwrap();
        assert_eq!(system.removed_tenants().await.unwrap(), []);
        let removed = remove(Some(2)).await.unwrap();
        assert_eq!((removed.status, removed.version), (TenantStatus::Removed, 3));
        assert_eq!(remove(None).await.unwrap(), removed, "again");

        assert_eq!(system.removed_tenants().await.unwrap(), vec![id.clone()]);
        assert!(system.token_by_hash("acme").await.unwrap().unwrap().0.revoked_at.is_some());
        assert_eq!(tenant.run(&waiting.id).await.unwrap().status, RunStatus::Cancelled);
        assert_eq!(tenant.secret("key").await.unwrap(), None);
        assert_eq!((tenant.connection_by_name("crm").await.unwrap(), tenant.list_subscriptions().await.unwrap()), (None, vec![]));
        // The history is there, and closed.
        assert_eq!(tenant.job(&made.id).await.unwrap(), made);
        let audit = tenant.audit_log(&AuditFilter { action: Some("tenant.remove".into()), ..AuditFilter::default() }, &page(9)).await.unwrap();
        assert_eq!((audit.items.len(), &audit.items[0].detail["cancelled_runs"]), (1, &serde_json::json!(1)));
        assert_eq!(system.audit_verify(None).await.unwrap().broken, None);
        is(system.present_tenant(&id).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
        let update = system.update_tenant(&actor(), &id, None, "acme", TenantStatus::Active, Quotas::default()).await;
        is(update.unwrap_err(), "WEIR-STORE-034", Kind::Conflict);
        is(system.create_tenant(&actor(), &id, "acme", Quotas::default()).await.unwrap_err(), "WEIR-STORE-028", Kind::Conflict);
        // The other tenant has all that it had.
        assert!(system.token_by_hash("other").await.unwrap().unwrap().0.revoked_at.is_none());
        assert_eq!(other.list_subscriptions().await.unwrap().len(), 1);
        assert!(other.secret("key").await.unwrap().is_some() && other.connection_by_name("crm").await.unwrap().is_some());
        let update = system.update_tenant(&actor(), &"other".into(), None, "x", TenantStatus::Removed, Quotas::default()).await;
        is(update.unwrap_err(), "WEIR-STORE-034", Kind::Conflict);
    }

    async fn principals_are_unique_by_name_and_subject(world) {
        let tenant = world.tenant("acme").await;
        let bob = tenant.create_principal(PrincipalKind::User, "bob", Role::Viewer, Some("iss|1")).await.unwrap();
        let create = async |name: &str, subject| tenant.create_principal(PrincipalKind::ServiceAccount, name, Role::Admin, subject).await;
        is(create("bob", None).await.unwrap_err(), "WEIR-STORE-026", Kind::Conflict);
        is(create("eve", Some("iss|1")).await.unwrap_err(), "WEIR-STORE-029", Kind::Conflict);
        let robot = create("robot", None).await.unwrap();
        create("robot2", None).await.unwrap();
        assert_eq!(tenant.principal(&robot.id).await.unwrap(), robot);
        assert_eq!(world.system().principal_by_oidc(&"acme".into(), "iss|1").await.unwrap(), Some(bob.clone()));
        assert_eq!(world.system().principal_by_oidc(&"acme".into(), "iss|2").await.unwrap(), None);
        let changed = tenant.update_principal(&bob.id, Some(1), Role::Operator, true).await.unwrap();
        assert_eq!((changed.role, changed.disabled, changed.version), (Role::Operator, true, 2));
        assert_eq!(tenant.principal(&bob.id).await.unwrap(), changed);
        is(tenant.update_principal(&bob.id, Some(1), Role::Admin, false).await.unwrap_err(), "WEIR-STORE-022", Kind::Conflict);
        assert_eq!(tenant.list_principals(&page(9)).await.unwrap().items.len(), 3);
    }

    async fn a_token_lives_until_it_is_revoked_or_its_principal_goes(world) {
        let tenant = world.tenant("acme").await;
        let bob = tenant.create_principal(PrincipalKind::User, "bob", Role::Admin, None).await.unwrap();
        let made = tenant.create_token(token(&bob.id, "h1")).await.unwrap();
        let other = tenant.create_token(token(&bob.id, "h2")).await.unwrap();
        let (found, principal, owner) = world.system().token_by_hash("h1").await.unwrap().unwrap();
        assert_eq!((&found, &principal, owner.id.as_str()), (&made, &bob, "acme"));
        assert_eq!(found.expires_at, Some(moment(0)));
        is(tenant.create_token(token(&"none".into(), "h3")).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);

        world.system().touch_token(&made.id).await.unwrap();
        let used = world.system().token_by_hash("h1").await.unwrap().unwrap().0.last_used_at.unwrap();
        assert!(used > Utc::now() - TimeDelta::minutes(1));
        world.system().touch_token(&made.id).await.unwrap();
        assert_eq!(world.system().token_by_hash("h1").await.unwrap().unwrap().0.last_used_at, Some(used));

        tenant.revoke_token(&made.id).await.unwrap();
        let revoked = world.system().token_by_hash("h1").await.unwrap().unwrap().0.revoked_at;
        assert!(revoked.is_some());
        tenant.revoke_token(&made.id).await.unwrap();
        assert_eq!(world.system().token_by_hash("h1").await.unwrap().unwrap().0.revoked_at, revoked);
        is(tenant.revoke_token(&"none".into()).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
        let listed = tenant.list_tokens(Some(&bob.id), &page(9)).await.unwrap().items;
        assert_eq!(listed.iter().map(|token| &token.id).collect::<Vec<_>>(), [&made.id, &other.id]);
        tenant.delete_principal(&bob.id).await.unwrap();
        assert_eq!(world.system().token_by_hash("h2").await.unwrap(), None);
        is(tenant.principal(&bob.id).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
        let log = tenant.audit_log(&AuditFilter::default(), &page(50)).await.unwrap();
        assert!(!format!("{log:?}").contains("h1\""), "no hash in the log");
    }
}
