//! Claims, leases, fences.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use tokio::task::JoinSet;
use weir_error::Kind;
use weir_store::model::*;

use crate::world::*;

both! {
    async fn eight_workers_on_two_replicas_claim_each_run_once(world) {
        let mut expected = BTreeSet::new();
        for tenant in ["a", "b"] {
            let tenant = world.tenant(tenant).await;
            for number in 0..100 {
                let made = tenant.create_job(job(&format!("j{number}")), vec![]).await.unwrap();
                expected.insert(tenant.create_run(manual(&made.id)).await.unwrap().id);
            }
        }
        let mut workers = JoinSet::new();
        for number in 0..8 {
            let system = if number % 2 == 0 { world.store.system() } else { world.other.system() };
            workers.spawn(async move {
                let mut mine = Vec::new();
                while let Some(claimed) = system.claim_run(&format!("w{number}"), LEASE).await.unwrap() {
                    assert_eq!((claimed.lease.fence, claimed.run.attempt, claimed.run.status), (1, 1, RunStatus::Running));
                    assert_eq!(claimed.run.worker.as_deref(), Some(format!("w{number}").as_str()));
                    mine.push(claimed.run.id);
                }
                mine
            });
        }
        let claimed: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
        assert_eq!(claimed.len(), 200);
        assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), expected);
    }

    async fn a_job_never_runs_twice_at_the_same_time(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        for _ in 0..20 {
            tenant.create_run(manual(&made.id)).await.unwrap();
        }
        let mut workers = JoinSet::new();
        for number in 0..6 {
            let system = if number % 2 == 0 { world.store.system() } else { world.other.system() };
            workers.spawn(async move {
                let mut done = 0;
                for _ in 0..200 {
                    let Some(claimed) = system.claim_run("w", LEASE).await.unwrap() else {
                        if system.queue_depth().await.unwrap().is_empty() { break }
                        tokio::task::yield_now().await;
                        continue;
                    };
                    assert_eq!(system.active_runs().await.unwrap().len(), 1);
                    system.finish(&claimed.lease, ended(RunStatus::Succeeded)).await.unwrap();
                    done += 1;
                }
                done
            });
        }
        assert_eq!(workers.join_all().await.into_iter().sum::<i32>(), 20);
    }

    async fn a_claim_brings_all_that_the_execution_needs(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let run = tenant.create_run(manual(&made.id)).await.unwrap();
        let mut changed = job("a");
        changed.spec = "pipeline: newer\n".into();
        let changed = tenant.update_job(&made.id, None, changed, "", None).await.unwrap();
        let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
        assert_eq!(claimed.run, tenant.run(&run.id).await.unwrap());
        assert_eq!(claimed.job.body.spec, made.body.spec);
        assert_eq!(claimed.job.revision, changed.revision);
        assert!(claimed.lease.until > Utc::now() + TimeDelta::seconds(10));
        assert_eq!(world.kinds(&tenant).await.last().unwrap(), "run.started");
        assert_eq!(world.system().active_runs().await.unwrap(), [claimed.run]);
    }

    async fn a_run_is_not_claimed_before_its_time(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let mut later = manual(&made.id);
        later.not_before = Utc::now() + TimeDelta::hours(1);
        tenant.create_run(later).await.unwrap();
        assert_eq!(world.system().claim_run("w", LEASE).await.unwrap(), None);
        let soon = tenant.create_run(manual(&made.id)).await.unwrap();
        assert_eq!(world.system().claim_run("w", LEASE).await.unwrap().unwrap().run.id, soon.id);
    }

    async fn an_old_fence_changes_nothing_any_more(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let run = tenant.create_run(manual(&made.id)).await.unwrap();
        let system = world.system();
        let old = system.claim_run("first", Duration::ZERO).await.unwrap().unwrap().lease;
        let new = world.other.system().claim_run("second", LEASE).await.unwrap().unwrap();
        assert_eq!((new.run.id.clone(), new.lease.fence, new.run.attempt), (run.id.clone(), 2, 2));
        let line = NewLogLine { at: moment(0), level: "info".into(), message: "from the grave".into(), event: None };
        is(system.heartbeat(&old, LEASE).await.unwrap_err(), "WEIR-STORE-020", Kind::Conflict);
        is(system.progress(&old, counts(99), vec![line]).await.unwrap_err(), "WEIR-STORE-020", Kind::Conflict);
        is(system.finish(&old, ended(RunStatus::Failed)).await.unwrap_err(), "WEIR-STORE-020", Kind::Conflict);
        assert_eq!(tenant.run(&run.id).await.unwrap(), new.run);
        assert_eq!(tenant.logs(&run.id, 0, 9).await.unwrap(), []);
        assert_eq!(tenant.usage().await.unwrap().rows_today, 0);
        system.finish(&new.lease, ended(RunStatus::Succeeded)).await.unwrap();
        is(system.finish(&new.lease, ended(RunStatus::Failed)).await.unwrap_err(), "WEIR-STORE-020", Kind::Conflict);
    }

    async fn a_heartbeat_keeps_the_lease(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        tenant.create_run(manual(&made.id)).await.unwrap();
        let claimed = world.system().claim_run("w", Duration::from_secs(5)).await.unwrap().unwrap();
        let renewed = world.system().heartbeat(&claimed.lease, Duration::from_secs(60)).await.unwrap().lease;
        assert!(renewed.until > claimed.lease.until);
        assert_eq!(world.system().expire_leases(claimed.lease.until + TimeDelta::seconds(1)).await.unwrap(), []);
        let lost = world.system().expire_leases(renewed.until + TimeDelta::seconds(1)).await.unwrap();
        assert_eq!((lost.len(), lost[0].status), (1, RunStatus::Queued));
        assert_eq!(world.kinds(&tenant).await.last().unwrap(), "run.lost");
    }

    async fn a_run_that_loses_its_worker_too_often_fails(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let run = tenant.create_run(manual(&made.id)).await.unwrap();
        for loss in 1..=20 {
            let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
            let lost = world.system().expire_leases(claimed.lease.until + TimeDelta::seconds(1)).await.unwrap();
            assert_eq!(lost[0].status, if loss < 20 { RunStatus::Queued } else { RunStatus::Failed }, "{loss}");
            // Later losses make the run wait a little.
            world.raw("UPDATE runs SET not_before = 0").await.unwrap();
        }
        let failed = tenant.run(&run.id).await.unwrap();
        assert_eq!((failed.attempt, failed.status), (20, RunStatus::Failed));
        assert_eq!(failed.error.unwrap()["code"], "WEIR-STORE-031");
        assert!(failed.ended_at.is_some());
        assert_eq!(world.kinds(&tenant).await.last().unwrap(), "seatunnel-job-completed");
    }

    async fn a_lost_run_that_was_to_stop_is_cancelled(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let run = tenant.create_run(manual(&made.id)).await.unwrap();
        let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
        tenant.request_cancel(&run.id).await.unwrap();
        let lost = world.system().expire_leases(claimed.lease.until + TimeDelta::seconds(1)).await.unwrap();
        assert_eq!(lost[0].status, RunStatus::Cancelled);
        assert_eq!(tenant.run(&run.id).await.unwrap(), lost[0]);
    }

    async fn one_of_two_replicas_takes_a_lost_run_back(world) {
        let tenant = world.tenant("acme").await;
        for number in 0..10 {
            let made = tenant.create_job(job(&format!("j{number}")), vec![]).await.unwrap();
            tenant.create_run(manual(&made.id)).await.unwrap();
            world.system().claim_run("w", LEASE).await.unwrap().unwrap();
        }
        let at = Utc::now() + TimeDelta::hours(1);
        let (left, right) = (world.store.system(), world.other.system());
        let (left, right) = tokio::join!(left.expire_leases(at), right.expire_leases(at));
        assert_eq!(left.unwrap().len() + right.unwrap().len(), 10);
        let lost = world.kinds(&tenant).await.iter().filter(|kind| *kind == "run.lost").count();
        assert_eq!(lost, 10);
    }

    async fn an_attempt_that_failed_waits_for_its_retry(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let run = tenant.create_run(manual(&made.id)).await.unwrap();
        let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
        let mut outcome = ended(RunStatus::Queued);
        outcome.retry_at = Some(Utc::now() + TimeDelta::hours(1));
        outcome.error = Some(serde_json::json!({"code": "WEIR-X-001"}));
        outcome.resources = Some(serde_json::json!({"failed_attempts": 1}));
        let back = world.system().finish(&claimed.lease, outcome).await.unwrap();
        assert_eq!((back.status, back.attempt, back.ended_at), (RunStatus::Queued, 1, None));
        assert_eq!(tenant.run(&run.id).await.unwrap(), back);
        assert_eq!(world.kinds(&tenant).await.last().unwrap(), "run.finished");
        assert_eq!(world.system().claim_run("w", LEASE).await.unwrap(), None);
    }

    async fn an_attempt_without_counts_keeps_those_of_the_last_progress(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        tenant.create_run(manual(&made.id)).await.unwrap();
        let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
        world.system().progress(&claimed.lease, counts(7), vec![]).await.unwrap();
        let mut killed = ended(RunStatus::Failed);
        killed.streams = Vec::new();
        assert_eq!(world.system().finish(&claimed.lease, killed).await.unwrap().streams, counts(7));
        let log = tenant.audit_log(&AuditFilter { action: Some("run.finish".into()), ..AuditFilter::default() }, &page(9)).await.unwrap();
        assert_eq!((log.items.len(), log.items[0].outcome.as_str()), (1, "failed"));
    }

    async fn quotas_and_suspension_hold_runs_back(world) {
        let quotas = Quotas { max_concurrent_runs: Some(1), max_rows_per_day: Some(5), ..Quotas::default() };
        let tenant = world.tenant_with("acme", quotas.clone()).await;
        for name in ["a", "b", "c"] {
            let made = tenant.create_job(job(name), vec![]).await.unwrap();
            tenant.create_run(manual(&made.id)).await.unwrap();
        }
        let system = world.system();
        let set = async |status, quotas| system.update_tenant(&actor(), &"acme".into(), None, "acme", status, quotas).await.unwrap();
        set(TenantStatus::Suspended, quotas.clone()).await;
        assert_eq!(system.claim_run("w", LEASE).await.unwrap(), None);
        set(TenantStatus::Active, quotas).await;
        let claimed = system.claim_run("w", LEASE).await.unwrap().unwrap();
        assert_eq!(system.claim_run("w", LEASE).await.unwrap(), None);
        system.finish(&claimed.lease, ended(RunStatus::Succeeded)).await.unwrap();
        // The five rows of the day are used.
        assert_eq!(system.claim_run("w", LEASE).await.unwrap(), None);
        set(TenantStatus::Active, Quotas { max_bytes_per_day: Some(50), ..Quotas::default() }).await;
        assert_eq!(system.claim_run("w", LEASE).await.unwrap(), None);
        set(TenantStatus::Active, Quotas::default()).await;
        system.claim_run("w", LEASE).await.unwrap().unwrap();
        system.claim_run("w", LEASE).await.unwrap().unwrap();
    }

    async fn the_concurrency_quota_holds_when_many_claim_at_once(world) {
        let tenant = world.tenant_with("acme", Quotas { max_concurrent_runs: Some(3), ..Quotas::default() }).await;
        for number in 0..12 {
            let made = tenant.create_job(job(&format!("j{number}")), vec![]).await.unwrap();
            tenant.create_run(manual(&made.id)).await.unwrap();
        }
        let mut workers = JoinSet::new();
        for number in 0..8 {
            let system = if number % 2 == 0 { world.store.system() } else { world.other.system() };
            workers.spawn(async move { system.claim_run("w", LEASE).await.unwrap().is_some() });
        }
        assert_eq!(workers.join_all().await.into_iter().filter(|claimed| *claimed).count(), 3);
    }

    async fn a_tenant_does_not_wait_for_anothers_backlog(world) {
        let busy = world.tenant("busy").await;
        for number in 0..20 {
            let made = busy.create_job(job(&format!("j{number}")), vec![]).await.unwrap();
            busy.create_run(manual(&made.id)).await.unwrap();
        }
        let small = world.tenant("small").await;
        let made = small.create_job(job("one"), vec![]).await.unwrap();
        small.create_run(manual(&made.id)).await.unwrap();
        assert_eq!(world.system().claim_run("w", LEASE).await.unwrap().unwrap().run.tenant_id.as_str(), "busy");
        assert_eq!(world.system().claim_run("w", LEASE).await.unwrap().unwrap().run.tenant_id.as_str(), "small");
        assert_eq!(world.system().queue_depth().await.unwrap(), [("busy".into(), 19)]);
    }
}
