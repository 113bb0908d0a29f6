//! The audit log: who did what, and that nobody can change it unseen.

use tokio::task::JoinSet;
use weir_store::model::*;

use crate::world::*;

async fn six_rows(world: &World) -> weir_store::TenantStore {
    let tenant = world.tenant("acme").await;
    for name in ["a", "b", "c", "d", "e"] {
        tenant.create_job(job(name), vec![]).await.unwrap();
    }
    assert_eq!(world.system().audit_verify(None).await.unwrap(), AuditCheck { rows: 6, broken: None });
    tenant
}

/// What somebody does who has the database: first the guards are taken away.
async fn tampered(world: &World, sql: &str) -> (i64, String) {
    let guards = if world.database.is_some() {
        "ALTER TABLE audit DISABLE TRIGGER ALL;"
    } else {
        "DROP TRIGGER IF EXISTS audit_is_not_changed; DROP TRIGGER IF EXISTS audit_is_not_deleted;"
    };
    world.raw(&format!("{guards} {sql}")).await.unwrap();
    let check = world.system().audit_verify(Some(&"acme".into())).await.unwrap();
    let broken = check.broken.unwrap_or_else(|| panic!("nobody saw: {sql}"));
    assert_eq!(broken.tenant_id.as_str(), "acme");
    (broken.seq, broken.why)
}

both! {
    async fn rows_say_who_did_what_to_what(world) {
        let tenant = six_rows(&world).await;
        let denied = AuditEntry {
            action: "access.denied".into(),
            target: "job/1".into(),
            outcome: "denied".into(),
            detail: serde_json::json!({"need": "editor", "role": "viewer"}),
        };
        tenant.audit(denied.clone()).await.unwrap();
        let row = tenant.audit_log(&AuditFilter::default(), &page(1)).await.unwrap().items.remove(0);
        assert_eq!((row.seq, row.actor_id.as_str(), row.actor_name.as_str(), row.request_id.as_deref()), (7, "p-ann", "ann", Some("r-1")));
        assert_eq!((row.action, row.target, row.outcome, row.detail), (denied.action, denied.target, denied.outcome, denied.detail));
        assert_eq!((row.hash.len(), row.previous_hash.len()), (64, 64));
        assert_eq!(world.kinds(&tenant).await.len(), 5);
    }

    async fn the_log_is_filtered_and_paged(world) {
        let tenant = six_rows(&world).await;
        tenant.set_secret("s", SealedSecret(vec![1])).await.unwrap();
        let list = async |filter: AuditFilter| {
            let mut request = page(2);
            let mut seen = Vec::new();
            loop {
                let got = tenant.audit_log(&filter, &request).await.unwrap();
                seen.extend(got.items.into_iter().map(|row| row.seq));
                match got.next_cursor {
                    Some(cursor) => request.cursor = Some(cursor),
                    None => return seen,
                }
            }
        };
        assert_eq!(list(AuditFilter::default()).await, [7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(list(AuditFilter { action: Some("job.create".into()), ..AuditFilter::default() }).await, [6, 5, 4, 3, 2]);
        assert_eq!(list(AuditFilter { actor: Some("nobody".into()), ..AuditFilter::default() }).await, [0; 0]);
        let sixth = tenant.audit_log(&AuditFilter::default(), &page(2)).await.unwrap().items[1].at;
        assert_eq!(list(AuditFilter { since: Some(sixth), ..AuditFilter::default() }).await, [7, 6]);
    }

    async fn the_database_refuses_to_change_the_log(world) {
        six_rows(&world).await;
        let mut attacks = vec!["UPDATE audit SET actor_name = 'eve'", "UPDATE audit SET seq = seq", "DELETE FROM audit WHERE seq = 1"];
        if world.database.is_some() {
            attacks.push("TRUNCATE audit");
        }
        for attack in attacks {
            let refused = world.raw(attack).await.unwrap_err();
            assert!(refused.contains("append-only"), "{attack}: {refused}");
        }
        assert_eq!(world.system().audit_verify(None).await.unwrap(), AuditCheck { rows: 6, broken: None });
    }

    async fn a_changed_row_is_found(world) {
        six_rows(&world).await;
        for column in ["actor_id", "actor_name", "action", "target", "outcome", "request_id"] {
            let found = tampered(&world, &format!("UPDATE audit SET {column} = '{{\"x\":1}}' WHERE seq = 3")).await;
            assert_eq!(found, (3, "it was changed".into()), "{column}");
        }
    }

    async fn a_changed_detail_or_time_is_found(world) {
        six_rows(&world).await;
        let found = tampered(&world, "UPDATE audit SET detail = detail || ' ' WHERE seq = 6").await;
        assert_eq!(found, (6, "it was changed".into()));
        let found = tampered(&world, "UPDATE audit SET at = at + 1 WHERE seq = 2").await;
        assert_eq!(found, (2, "it was changed".into()));
    }

    async fn a_missing_row_is_found(world) {
        six_rows(&world).await;
        assert_eq!(tampered(&world, "DELETE FROM audit WHERE seq = 4").await, (5, "rows before it are missing".into()));
        assert_eq!(tampered(&world, "DELETE FROM audit WHERE seq = 1").await.0, 2);
    }

    async fn a_cut_end_is_found(world) {
        six_rows(&world).await;
        assert_eq!(tampered(&world, "DELETE FROM audit WHERE seq >= 5").await, (5, "rows 5 to 6 are missing at the end".into()));
        assert_eq!(tampered(&world, "DELETE FROM audit").await.0, 1);
    }

    async fn rows_in_another_order_are_found(world) {
        six_rows(&world).await;
        let swap = "UPDATE audit SET seq = -2 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = -2;";
        assert_eq!(tampered(&world, swap).await.0, 2);
    }

    async fn an_appended_row_is_found(world) {
        six_rows(&world).await;
        let copy = "INSERT INTO audit SELECT tenant_id, 7, at, actor_id, actor_name, request_id, trace_id, action, target, outcome, detail, hash, hash \
                    FROM audit WHERE seq = 6";
        assert_eq!(tampered(&world, copy).await, (7, "it was appended behind the end of the log".into()));
        let before = "DELETE FROM audit WHERE seq = 7; INSERT INTO audit SELECT tenant_id, 0, at, actor_id, actor_name, request_id, trace_id, \
                      action, target, outcome, detail, previous_hash, hash FROM audit WHERE seq = 1";
        assert_eq!(tampered(&world, before).await, (0, "it stands before the first row".into()));
    }

    async fn another_tenants_rows_do_not_fit(world) {
        six_rows(&world).await;
        world.tenant("other").await;
        let found = tampered(&world, "DELETE FROM audit WHERE tenant_id = 'other'; UPDATE audit SET tenant_id = 'other' WHERE seq = 1").await;
        assert_eq!(found.0, 2);
        let all = world.system().audit_verify(None).await.unwrap();
        assert!(all.broken.is_some());
        let stray = world.system().audit_verify(Some(&"other".into())).await.unwrap().broken.unwrap();
        assert_eq!((stray.seq, stray.why.as_str()), (1, "it was changed"));
    }

    async fn a_long_log_is_checked_whole_while_others_write(world) {
        let tenant = world.tenant("acme").await;
        let mut writers = JoinSet::new();
        for number in 0..6 {
            let store = if number % 2 == 0 { tenant.clone() } else { world.twin(&tenant) };
            writers.spawn(async move {
                for turn in 0..40 {
                    store.set_secret(&format!("{number}-{turn}"), SealedSecret(vec![1])).await.unwrap();
                }
            });
        }
        while !writers.is_empty() {
            assert_eq!(world.system().audit_verify(None).await.unwrap().broken, None);
            tokio::select! {
                Some(done) = writers.join_next() => done.unwrap(),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(world.system().audit_verify(None).await.unwrap(), AuditCheck { rows: 241, broken: None });
    }
}
