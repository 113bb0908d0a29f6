//! What belongs to another tenant is answered as what is not there: by every method that takes an id, in the same words.

use weir_error::Error;
use weir_store::TenantStore;
use weir_store::model::*;

use crate::world::*;

/// Every id that a tenant has.
struct Ids {
    job: JobId,
    run: RunId,
    connection: ConnectionId,
    principal: PrincipalId,
    token: TokenId,
    subscription: SubscriptionId,
}

async fn furnish(world: &World, tenant: &TenantStore) -> Ids {
    let job = tenant.create_job(job("furnished"), vec![rule("x")]).await.unwrap().id;
    let run = tenant.create_run(manual(&job)).await.unwrap().id;
    let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
    assert_eq!(claimed.run.id, run);
    let line = NewLogLine { at: moment(0), level: "info".into(), message: "private".into(), event: None };
    world.system().progress(&claimed.lease, counts(1), vec![line]).await.unwrap();
    world.system().finish(&claimed.lease, ended(RunStatus::Succeeded)).await.unwrap();
    for rule in world.system().all_rules().await.unwrap() {
        world.system().fire_alert(&rule, 1.0).await.unwrap();
    }
    tenant.set_stream_schema(&job, "s", &serde_json::json!({"private": true})).await.unwrap();
    let new = NewConnection {
        name: "crm".into(),
        kind: "postgres".into(),
        options: serde_json::json!({}),
        sealed: None,
        secret_names: vec![],
    };
    let connection = tenant.put_connection(new, None).await.unwrap().id;
    tenant.set_secret("key", SealedSecret(vec![1])).await.unwrap();
    let principal = tenant.create_principal(PrincipalKind::User, "bob", Role::Viewer, Some("iss|bob")).await.unwrap().id;
    let token = NewToken {
        principal_id: principal.clone(),
        name: "t".into(),
        prefix: "p".into(),
        hash: format!("hash-{principal}"),
        role: Role::Viewer,
        scopes: vec![],
        expires_at: None,
    };
    let token = tenant.create_token(token).await.unwrap().id;
    let hook = NewSubscription { url: "https://a.example".into(), kinds: vec![], format: "cloudevents".into(), sealed: None };
    let subscription = tenant.create_subscription(hook).await.unwrap().id;
    Ids { job, run, connection, principal, token, subscription }
}

/// The answers of every method that takes an id, by name.
async fn ask(tenant: &TenantStore, ids: &Ids) -> Vec<(&'static str, Result<(), Error>)> {
    let silence = Silence { job_id: Some(ids.job.clone()), until: moment(0), reason: "r".into() };
    let drift = Drift {
        job_id: ids.job.clone(),
        run_id: ids.run.clone(),
        stream: "s".into(),
        changes: serde_json::json!([]),
        at: moment(0),
    };
    let token = NewToken {
        principal_id: ids.principal.clone(),
        name: "t".into(),
        prefix: "p".into(),
        hash: "stolen".into(),
        role: Role::Admin,
        scopes: vec![],
        expires_at: None,
    };
    vec![
        ("job", tenant.job(&ids.job).await.map(drop)),
        ("update_job", tenant.update_job(&ids.job, None, job("taken"), "", None).await.map(drop)),
        ("set_job_status", tenant.set_job_status(&ids.job, JobStatus::Paused).await.map(drop)),
        ("resume_job", tenant.resume_job(&ids.job, None).await.map(drop)),
        ("job_versions", tenant.job_versions(&ids.job, &page(9)).await.map(drop)),
        ("job_version", tenant.job_version(&ids.job, 1).await.map(drop)),
        ("create_run", tenant.create_run(manual(&ids.job)).await.map(drop)),
        ("run", tenant.run(&ids.run).await.map(drop)),
        ("request_cancel", tenant.request_cancel(&ids.run).await.map(drop)),
        ("retry_run", tenant.retry_run(&ids.run).await.map(drop)),
        ("logs", tenant.logs(&ids.run, 0, 9).await.map(drop)),
        ("connection", tenant.connection(&ids.connection).await.map(drop)),
        ("delete_connection", tenant.delete_connection(&ids.connection, None).await),
        ("principal", tenant.principal(&ids.principal).await.map(drop)),
        ("update_principal", tenant.update_principal(&ids.principal, None, Role::Admin, false).await.map(drop)),
        ("create_token", tenant.create_token(token).await.map(drop)),
        ("token", tenant.token(&ids.token).await.map(drop)),
        ("revoke_token", tenant.revoke_token(&ids.token).await),
        ("delete_principal", tenant.delete_principal(&ids.principal).await),
        ("rules", tenant.rules(&ids.job).await.map(drop)),
        ("replace_rules", tenant.replace_rules(&ids.job, vec![]).await.map(drop)),
        ("silence", tenant.silence(silence).await.map(drop)),
        ("record_drift", tenant.record_drift(drift).await),
        ("drifts", tenant.drifts(&ids.job).await.map(drop)),
        ("set_stream_schema", tenant.set_stream_schema(&ids.job, "s", &serde_json::json!(1)).await),
        ("subscription", tenant.subscription(&ids.subscription).await.map(drop)),
        ("undelivered", tenant.undelivered(&ids.subscription, &page(9)).await.map(drop)),
        ("delete_subscription", tenant.delete_subscription(&ids.subscription).await),
        ("delete_job", tenant.delete_job(&ids.job, None).await),
    ]
}

both! {
    async fn a_foreign_id_is_answered_as_a_missing_one(world) {
        let theirs = world.tenant("theirs").await;
        let ids = furnish(&world, &theirs).await;
        let mine = world.tenant("mine").await;
        furnish(&world, &mine).await;
        let missing = Ids {
            job: JobId::generate(),
            run: RunId::generate(),
            connection: ConnectionId::generate(),
            principal: PrincipalId::generate(),
            token: TokenId::generate(),
            subscription: SubscriptionId::generate(),
        };
        let before = world.store.tenant(&scope("theirs")).audit_log(&AuditFilter::default(), &page(500)).await.unwrap();
        let foreign = ask(&mine, &ids).await;
        let absent = ask(&mine, &missing).await;
        for ((method, foreign), (_, absent)) in foreign.into_iter().zip(absent) {
            let foreign = foreign.expect_err(method);
            let absent = absent.expect_err(method);
            assert_eq!(foreign.code(), "WEIR-STORE-404", "{method}");
            assert_eq!(format!("{foreign:?}"), format!("{absent:?}"), "{method}");
        }
        // And nothing of theirs has changed.
        assert_eq!(theirs.audit_log(&AuditFilter::default(), &page(500)).await.unwrap(), before);
        assert_eq!(theirs.job(&ids.job).await.unwrap().status, JobStatus::Active);
        assert_eq!(theirs.stream_schema(&ids.job, "s").await.unwrap(), Some(serde_json::json!({"private": true})));
        // The owner may do all of it.
        for (method, owned) in ask(&theirs, &ids).await {
            if let Err(error) = owned {
                assert!(matches!(error.code(), "WEIR-STORE-023"), "{method}: {error:?}");
            }
        }
    }

    async fn a_listing_shows_nothing_of_another_tenant(world) {
        let theirs = world.tenant("theirs").await;
        let ids = furnish(&world, &theirs).await;
        let mine = world.tenant("mine").await;
        assert_eq!(mine.list_jobs(&JobFilter::default(), &page(9)).await.unwrap().items, []);
        assert_eq!(mine.job_by_name("furnished").await.unwrap(), None);
        assert_eq!(mine.list_runs(&RunFilter { job_id: Some(ids.job.clone()), ..RunFilter::default() }, &page(9)).await.unwrap().items, []);
        assert_eq!(mine.list_connections(&page(9)).await.unwrap().items, []);
        assert_eq!(mine.connection_by_name("crm").await.unwrap(), None);
        assert_eq!((mine.secret("key").await.unwrap(), mine.secret_names().await.unwrap()), (None, vec![]));
        assert_eq!(mine.list_principals(&page(9)).await.unwrap().items, []);
        assert_eq!(mine.list_tokens(Some(&ids.principal), &page(9)).await.unwrap().items, []);
        assert_eq!(mine.list_tokens(None, &page(9)).await.unwrap().items, []);
        assert_eq!(mine.alerts(Some(&ids.job), None, &page(9)).await.unwrap().items, []);
        assert_eq!(mine.stream_schema(&ids.job, "s").await.unwrap(), None);
        assert_eq!(mine.list_subscriptions().await.unwrap(), []);
        assert_eq!(mine.outbox_after(0, 99).await.unwrap(), []);
        assert_eq!(mine.usage().await.unwrap(), Usage::default());
        assert_eq!(mine.audit_log(&AuditFilter::default(), &page(9)).await.unwrap().items.len(), 1);
        // A cursor of theirs opens nothing.
        theirs.create_job(job("second"), vec![]).await.unwrap();
        let cursor = theirs.list_jobs(&JobFilter::default(), &page(1)).await.unwrap().next_cursor;
        assert_eq!(mine.list_jobs(&JobFilter::default(), &PageRequest { limit: 9, cursor }).await.unwrap().items, []);
    }

    async fn a_tenant_that_is_not_there_has_nothing_and_may_write_nothing(world) {
        let nobody = world.store.tenant(&scope("nobody"));
        assert_eq!(nobody.list_jobs(&JobFilter::default(), &page(9)).await.unwrap().items, []);
        assert_eq!(nobody.create_job(job("a"), vec![]).await.unwrap_err().code(), "WEIR-STORE-404");
        assert_eq!(nobody.tenant().await.unwrap_err().code(), "WEIR-STORE-404");
        assert_eq!(nobody.audit(AuditEntry { action: "a".into(), target: "t".into(), outcome: "o".into(), detail: serde_json::json!({}) }).await.unwrap_err().code(), "WEIR-STORE-404");
    }
}
