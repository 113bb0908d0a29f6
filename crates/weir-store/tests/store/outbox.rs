//! Events out and in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::json;
use tokio::task::JoinSet;
use weir_error::Kind;
use weir_store::model::*;
use weir_store::system::outbox::{ALERT_WEBHOOK, SUBSCRIPTION};

use crate::world::*;

fn hook(url: &str, kinds: &[&str]) -> NewSubscription {
    NewSubscription {
        url: url.into(),
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        format: "cloudevents".into(),
        sealed: Some(SealedSecret(vec![7])),
    }
}

both! {
    async fn events_are_numbered_without_gaps_under_concurrency(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let mut writers = JoinSet::new();
        for number in 0..6 {
            let store = if number % 2 == 0 { tenant.clone() } else { world.twin(&tenant) };
            let id = made.id.clone();
            writers.spawn(async move {
                for _ in 0..15 {
                    store.create_run(manual(&id)).await.unwrap();
                }
            });
        }
        // A reader that goes on from the last number misses none.
        let mut seen = Vec::new();
        while seen.len() < 91 {
            let rows = world.twin(&tenant).outbox_after(seen.last().copied().unwrap_or(0), 7).await.unwrap();
            seen.extend(rows.iter().map(|row| row.seq));
            tokio::task::yield_now().await;
        }
        writers.join_all().await;
        assert_eq!(seen, (1..=91).collect::<Vec<_>>());
        assert_eq!(tenant.outbox_head().await.unwrap(), 91);
        let rows = tenant.outbox_after(0, 1000).await.unwrap();
        assert_eq!(rows.iter().map(|row| &row.event_id).collect::<BTreeSet<_>>().len(), 91);
        assert_eq!((&rows[1].tenant_id, rows[1].event.job_id.as_ref()), (&"acme".into(), Some(&made.id)));
    }

    async fn a_subscription_gets_what_it_asked_for_from_then_on(world) {
        let tenant = world.tenant("acme").await;
        tenant.create_job(job("before"), vec![]).await.unwrap();
        let all = tenant.create_subscription(hook("https://u:p@a.example/x?token=1", &[])).await.unwrap();
        let some = tenant.create_subscription(hook("https://b.example", &["run.queued"])).await.unwrap();
        let made = tenant.create_job(job("after"), vec![]).await.unwrap();
        tenant.create_run(manual(&made.id)).await.unwrap();
        assert_eq!(tenant.list_subscriptions().await.unwrap(), [all.clone(), some.clone()]);
        assert_eq!(tenant.subscription(&some.id).await.unwrap(), some);
        let log = tenant.audit_log(&AuditFilter::default(), &page(99)).await.unwrap();
        assert!(!format!("{log:?}").contains("token=1") && !format!("{log:?}").contains("u:p"));
        let mut got = Vec::new();
        loop {
            let claimed = world.system().claim_deliveries(&[SUBSCRIPTION], "d", LEASE, 10).await.unwrap();
            if claimed.is_empty() { break }
            for delivery in claimed {
                got.push((delivery.destination.clone(), delivery.row.event.kind.clone()));
                world.system().delivered(&delivery).await.unwrap();
            }
        }
        got.sort();
        let mut expected = vec![
            (all.id.to_string(), "run.queued".to_owned()),
            (all.id.to_string(), "seatunnel-pipeline-created-events".to_owned()),
            (some.id.to_string(), "run.queued".to_owned()),
        ];
        expected.sort();
        assert_eq!(got, expected);
    }

    async fn a_platform_destination_gets_every_event_and_the_alert_webhook_alerts_only(world) {
        for name in ["a", "b"] {
            let tenant = world.tenant(name).await;
            tenant.create_job(job("j"), vec![rule("x")]).await.unwrap();
        }
        for rule in world.system().all_rules().await.unwrap() {
            world.system().fire_alert(&rule, 1.0).await.unwrap();
        }
        let alerts = world.system().claim_deliveries(&[ALERT_WEBHOOK], "d", LEASE, 10).await.unwrap();
        assert_eq!(alerts.iter().map(|d| (d.row.tenant_id.as_str(), d.row.event.kind.as_str())).collect::<BTreeSet<_>>(),
            BTreeSet::from([("a", "alert.firing"), ("b", "alert.firing")]));
        let mut kinds = BTreeMap::<String, Vec<String>>::new();
        loop {
            let claimed = world.system().claim_deliveries(&["pulsar"], "d", LEASE, 10).await.unwrap();
            if claimed.is_empty() { break }
            for delivery in claimed {
                assert_eq!(delivery.destination, "pulsar");
                kinds.entry(delivery.row.tenant_id.to_string()).or_default().push(delivery.row.event.kind.clone());
                world.system().delivered(&delivery).await.unwrap();
            }
        }
        let each = vec!["seatunnel-pipeline-created-events".to_owned(), "alert.firing".to_owned()];
        assert_eq!(kinds, BTreeMap::from([("a".to_owned(), each.clone()), ("b".to_owned(), each)]));
    }

    async fn a_jobs_events_go_one_after_another(world) {
        let tenant = world.tenant("acme").await;
        let a = tenant.create_job(job("a"), vec![]).await.unwrap();
        tenant.create_run(manual(&a.id)).await.unwrap();
        tenant.create_job(job("b"), vec![]).await.unwrap();
        let system = world.system();
        let first = system.claim_deliveries(&["pulsar"], "d", LEASE, 10).await.unwrap();
        let told = |claimed: &[Delivery]| claimed.iter().map(|d| (d.row.seq, d.attempts)).collect::<Vec<_>>();
        assert_eq!(told(&first), [(1, 0), (3, 0)]);
        assert_eq!(world.other.system().claim_deliveries(&["pulsar"], "e", LEASE, 10).await.unwrap(), []);
        // It failed: its successor waits with it.
        system.delivery_failed(&first[0], "refused", Some(Utc::now() + TimeDelta::hours(1))).await.unwrap();
        assert_eq!(system.claim_deliveries(&["pulsar"], "d", LEASE, 10).await.unwrap(), []);
        assert_eq!(system.counts().await.unwrap().pending_deliveries, 3);
        system.delivery_failed(&first[0], "refused", Some(Utc::now() - TimeDelta::seconds(1))).await.unwrap();
        let again = system.claim_deliveries(&["pulsar"], "d", LEASE, 10).await.unwrap();
        assert_eq!(told(&again), [(1, 1)]);
        // Given up: it is kept, and its successor goes.
        system.delivery_failed(&again[0], "gone", None).await.unwrap();
        let next = system.claim_deliveries(&["pulsar"], "d", LEASE, 10).await.unwrap();
        assert_eq!(told(&next), [(2, 0)]);
        system.delivered(&next[0]).await.unwrap();
        system.delivered(&first[1]).await.unwrap();
        let counts = system.counts().await.unwrap();
        assert_eq!((counts.pending_deliveries, counts.dead_deliveries), (0, 1));
    }

    async fn a_lease_that_is_over_goes_to_the_next(world) {
        let tenant = world.tenant("acme").await;
        tenant.create_job(job("a"), vec![]).await.unwrap();
        let system = world.system();
        let stuck = system.claim_deliveries(&["pulsar"], "d", Duration::ZERO, 10).await.unwrap();
        let taken = world.other.system().claim_deliveries(&["pulsar"], "e", LEASE, 10).await.unwrap();
        assert_eq!((stuck.len(), taken[0].attempts), (1, 1));
        // The first one comes back late and says that it failed: the second one's try stands.
        system.delivery_failed(&stuck[0], "timeout", None).await.unwrap();
        let counts = system.counts().await.unwrap();
        assert_eq!((counts.pending_deliveries, counts.dead_deliveries), (1, 0));
        world.other.system().delivered(&taken[0]).await.unwrap();
        assert_eq!(system.counts().await.unwrap().pending_deliveries, 0);
    }

    async fn two_dispatchers_deliver_each_event_once_and_in_order(world) {
        let tenant = world.tenant("acme").await;
        let hook = tenant.create_subscription(hook("https://a.example", &[])).await.unwrap();
        for number in 0..10 {
            let made = tenant.create_job(job(&format!("j{number}")), vec![]).await.unwrap();
            for _ in 0..4 {
                tenant.create_run(manual(&made.id)).await.unwrap();
            }
        }
        let mut dispatchers = JoinSet::new();
        // Of all dispatchers together: one of them may get nothing.
        let ended = Arc::new(AtomicUsize::new(0));
        for number in 0..4 {
            let system = if number % 2 == 0 { world.store.system() } else { world.other.system() };
            let ended = ended.clone();
            dispatchers.spawn(async move {
                let mut mine = Vec::new();
                while ended.load(Ordering::SeqCst) < 50 {
                    for delivery in system.claim_deliveries(&[SUBSCRIPTION], "d", LEASE, 3).await.unwrap() {
                        mine.push((delivery.row.event.job_id.clone().unwrap(), delivery.row.seq, std::time::Instant::now()));
                        system.delivered(&delivery).await.unwrap();
                        ended.fetch_add(1, Ordering::SeqCst);
                    }
                    tokio::task::yield_now().await;
                }
                mine
            });
        }
        let mut all: Vec<_> = dispatchers.join_all().await.into_iter().flatten().collect();
        all.sort_by_key(|(.., at)| *at);
        assert_eq!(all.len(), 50);
        assert_eq!(all.iter().map(|(_, seq, _)| *seq).collect::<BTreeSet<_>>(), (1..=50).collect());
        let mut of_job = BTreeMap::<_, Vec<_>>::new();
        all.into_iter().for_each(|(job, seq, _)| of_job.entry(job).or_default().push(seq));
        assert!(of_job.values().all(|seqs| seqs.is_sorted()), "{of_job:?}");
        tenant.delete_subscription(&hook.id).await.unwrap();
        is(tenant.delete_subscription(&hook.id).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
    }

    async fn a_deleted_subscription_leaves_nothing_to_deliver(world) {
        let tenant = world.tenant("acme").await;
        let hook = tenant.create_subscription(hook("https://a.example", &[])).await.unwrap();
        tenant.create_job(job("a"), vec![]).await.unwrap();
        assert_eq!(world.system().claim_deliveries(&[SUBSCRIPTION], "d", Duration::ZERO, 9).await.unwrap().len(), 1);
        let waiting = tenant.undelivered(&hook.id, &page(9)).await.unwrap().items;
        assert_eq!((waiting.len(), waiting[0].attempts, waiting[0].row.seq, waiting[0].error.as_deref()), (1, 1, 1, None));
        assert_eq!(world.system().subscription(&"acme".into(), &hook.id).await.unwrap().as_ref(), Some(&hook));
        tenant.delete_subscription(&hook.id).await.unwrap();
        assert_eq!(world.system().claim_deliveries(&[SUBSCRIPTION], "d", LEASE, 9).await.unwrap(), []);
        assert_eq!(world.system().subscription(&"acme".into(), &hook.id).await.unwrap(), None);
    }

    async fn an_incoming_event_counts_once(world) {
        let mut receivers = JoinSet::new();
        for number in 0..6 {
            let system = if number % 2 == 0 { world.store.system() } else { world.other.system() };
            receivers.spawn(async move {
                let mut new = 0;
                for event in 0..20 {
                    new += u32::from(system.receive("topic", &format!("e{event}"), &"acme".into(), b"{}").await.unwrap());
                }
                new
            });
        }
        assert_eq!(receivers.join_all().await.into_iter().sum::<u32>(), 20);
        assert!(world.system().receive("other-topic", "e1", &"acme".into(), b"").await.unwrap());
    }

    async fn a_sweep_takes_only_what_has_served(world) {
        let tenant = world.tenant("acme").await;
        tenant.create_subscription(hook("https://a.example", &[])).await.unwrap();
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let run = tenant.create_run(manual(&made.id)).await.unwrap();
        let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
        let line = NewLogLine { at: moment(0), level: "info".into(), message: "x".into(), event: None };
        world.system().progress(&claimed.lease, vec![], vec![line]).await.unwrap();
        world.system().finish(&claimed.lease, ended(RunStatus::Succeeded)).await.unwrap();
        tenant.idempotent_begin("k", "f").await.unwrap();
        world.system().receive("t", "e", &"acme".into(), b"{}").await.unwrap();
        let now = Utc::now();
        let sweep = async |days| world.system().sweep(now + TimeDelta::days(days)).await.unwrap();
        assert_eq!(sweep(0).await, Default::default());
        // Eight days later the events still wait for the webhook.
        let week = sweep(8).await;
        assert_eq!((week.idempotency_keys, week.events), (1, 0));
        let mut delivered = 0;
        while let Some(delivery) = world.system().claim_deliveries(&[SUBSCRIPTION], "d", LEASE, 1).await.unwrap().pop() {
            world.system().delivered(&delivery).await.unwrap();
            delivered += 1;
        }
        assert_eq!(delivered, 5);
        assert_eq!(sweep(8).await.events, 5);
        assert_eq!(tenant.outbox_after(0, 9).await.unwrap(), []);
        tenant.create_run(manual(&made.id)).await.unwrap();
        assert_eq!(tenant.outbox_after(0, 9).await.unwrap()[0].seq, 6);
        let month = sweep(31).await;
        assert_eq!((month.events, month.inbox, month.log_lines), (1, 1, 0));
        assert_eq!(sweep(91).await.log_lines, 1);
        assert_eq!(tenant.logs(&run.id, 0, 9).await.unwrap(), []);
        assert_eq!(world.system().audit_verify(None).await.unwrap().broken, None);
    }

    async fn an_events_data_comes_back_as_it_was(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        tenant.create_run(manual(&made.id)).await.unwrap();
        let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
        world.system().finish(&claimed.lease, ended(RunStatus::Succeeded)).await.unwrap();
        let last = tenant.outbox_after(4, 9).await.unwrap().remove(0).event;
        assert_eq!((last.kind.as_str(), last.job_id.as_ref()), ("seatunnel-job-completed", Some(&made.id)));
        assert_eq!(last.data["job_id"], json!(made.id));
        assert_eq!(last.data["status"], json!("succeeded"));
        assert_eq!(last.data["metrics"]["totals"]["rows_written"], json!(5));
        assert!(last.data["completed_at"].is_string());
    }
}
