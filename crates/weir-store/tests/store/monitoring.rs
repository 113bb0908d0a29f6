//! Rules, alerts, silences, points, drift.

use std::collections::BTreeMap;

use chrono::{TimeDelta, Utc};
use serde_json::json;
use weir_error::Kind;
use weir_store::model::*;

use crate::world::*;

fn point(tenant: &str, metric: &str, at: i64, value: f64) -> MetricPoint {
    MetricPoint {
        tenant_id: tenant.into(),
        job_id: Some("j".into()),
        run_id: None,
        metric: metric.into(),
        labels: BTreeMap::from([("stream".to_owned(), "s".to_owned())]),
        at: moment(at),
        value,
    }
}

both! {
    async fn an_alert_begins_and_ends_once(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![rule("error_rate")]).await.unwrap();
        let rule = world.system().all_rules().await.unwrap().remove(0);
        assert_eq!(rule, tenant.rules(&made.id).await.unwrap()[0]);
        let (left, right) = (world.store.system(), world.other.system());
        assert_eq!(left.resolve_alert(&rule, 0.0).await.unwrap(), None);
        let (one, two) = tokio::join!(left.fire_alert(&rule, 0.5), right.fire_alert(&rule, 0.5));
        let alert = one.unwrap().xor(two.unwrap()).expect("one of them");
        assert_eq!((alert.state, alert.value), (AlertState::Firing, 0.5));
        assert_eq!(tenant.alerts(Some(&made.id), Some(AlertState::Firing), &page(9)).await.unwrap().items, std::slice::from_ref(&alert));
        let (one, two) = tokio::join!(left.resolve_alert(&rule, 0.01), right.resolve_alert(&rule, 0.01));
        let resolved = one.unwrap().xor(two.unwrap()).expect("one of them");
        assert_eq!((resolved.state, resolved.value, resolved.id.clone()), (AlertState::Resolved, 0.5, alert.id));
        assert_eq!(tenant.alerts(None, None, &page(9)).await.unwrap().items, [resolved]);
        assert_eq!(&world.kinds(&tenant).await[1..], ["alert.firing", "alert.resolved"]);
        assert!(left.fire_alert(&rule, 0.5).await.unwrap().is_some());
        assert_eq!(world.system().counts().await.unwrap().firing_alerts, 1);
    }

    async fn a_rule_that_stays_keeps_its_alert(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![rule("error_rate"), rule("lag")]).await.unwrap();
        let before = tenant.rules(&made.id).await.unwrap();
        for rule in &before {
            world.system().fire_alert(rule, 1.0).await.unwrap().unwrap();
        }
        let after = tenant.replace_rules(&made.id, vec![rule("fresh"), rule("lag")]).await.unwrap();
        let kept = after.iter().find(|rule| rule.body.metric == "lag").unwrap();
        assert_eq!(Some(kept), before.iter().find(|rule| rule.body.metric == "lag"));
        let firing = tenant.alerts(None, Some(AlertState::Firing), &page(9)).await.unwrap().items;
        assert_eq!(firing.iter().map(|alert| &alert.rule_id).collect::<Vec<_>>(), [&kept.id]);
        assert_eq!(world.kinds(&tenant).await.last().unwrap(), "alert.resolved");
        let gone = before.iter().find(|rule| rule.body.metric == "error_rate").unwrap();
        assert_eq!(world.system().fire_alert(gone, 1.0).await.unwrap(), None);
        is(tenant.replace_rules(&"none".into(), vec![]).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
    }

    async fn points_come_oldest_first_and_the_newest_of_too_many(world) {
        world.tenant("acme").await;
        world.tenant("other").await;
        let tenant = world.store.tenant(&scope("acme"));
        let mut all: Vec<_> = (0..100).map(|n| point("acme", if n % 2 == 0 { "rows" } else { "lag" }, n, 0.1 * n as f64)).collect();
        all.push(point("other", "rows", 5, 1e300));
        world.system().write_points(all.clone()).await.unwrap();
        let query = |metric: Option<&str>, from, to, limit| MetricQuery {
            job_id: Some("j".into()), metric: metric.map(str::to_owned), from: moment(from), to: moment(to), limit,
        };
        assert_eq!(tenant.points(&query(None, 0, 200, 1000)).await.unwrap(), all[..100]);
        let rows = tenant.points(&query(Some("rows"), 10, 20, 1000)).await.unwrap();
        assert_eq!(rows.iter().map(|point| point.at).collect::<Vec<_>>(), [10, 12, 14, 16, 18].map(moment));
        assert_eq!(tenant.points(&query(None, 0, 200, 2)).await.unwrap(), all[98..100]);
        let foreign = MetricQuery { job_id: None, ..query(None, 0, 200, 9999) };
        assert_eq!(tenant.points(&foreign).await.unwrap().len(), 100);
        let mut infinite = point("acme", "rows", 0, f64::INFINITY);
        is(world.system().write_points(vec![infinite.clone()]).await.unwrap_err(), "WEIR-STORE-012", Kind::Spec);
        infinite.value = f64::MIN_POSITIVE;
        world.system().write_points(vec![infinite]).await.unwrap();
        assert_eq!(world.system().prune(moment(50)).await.unwrap(), 52);
        assert_eq!(tenant.points(&query(None, 0, 200, 1000)).await.unwrap(), all[50..100]);
        world.system().write_points(vec![]).await.unwrap();
    }

    async fn silences_end_by_themselves(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let now = Utc::now();
        let silence = |job: Option<&JobId>, minutes| Silence { job_id: job.cloned(), until: now + TimeDelta::minutes(minutes), reason: "work".into() };
        tenant.silence(silence(None, -1)).await.unwrap();
        tenant.silence(silence(Some(&made.id), 5)).await.unwrap();
        let held = tenant.silences().await.unwrap();
        assert_eq!((held.len(), held[0].body.job_id.as_ref()), (1, Some(&made.id)));
        is(tenant.silence(silence(Some(&"none".into()), 5)).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
    }

    async fn a_silence_can_be_ended_once_and_only_by_its_tenant(world) {
        let (tenant, other) = (world.tenant("acme").await, world.tenant("beta").await);
        let until = Utc::now() + TimeDelta::hours(1);
        let made = tenant.silence(Silence { job_id: None, until, reason: "work".into() }).await.unwrap();
        assert_eq!(tenant.silences().await.unwrap()[0].id, made.id);
        is(other.end_silence(&made.id).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
        tenant.end_silence(&made.id).await.unwrap();
        assert_eq!(tenant.silences().await.unwrap(), []);
        is(tenant.end_silence(&made.id).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
    }

    async fn drift_is_noted_with_its_run(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let run = tenant.create_run(manual(&made.id)).await.unwrap();
        let drift = |at| Drift {
            job_id: made.id.clone(), run_id: run.id.clone(), stream: "s".into(), changes: json!([{"column": "c", "change": "added"}]), at: moment(at),
        };
        tenant.record_drift(drift(1)).await.unwrap();
        tenant.record_drift(drift(2)).await.unwrap();
        assert_eq!(tenant.drifts(&made.id).await.unwrap(), [drift(2), drift(1)]);
        assert_eq!(world.kinds(&tenant).await.last().unwrap(), "schema.drift");
        let stray = Drift { run_id: "none".into(), ..drift(3) };
        is(tenant.record_drift(stray).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
        assert_eq!(tenant.stream_schema(&made.id, "s").await.unwrap(), None);
        tenant.set_stream_schema(&made.id, "s", &json!({"b": 1, "a": 2})).await.unwrap();
        tenant.set_stream_schema(&made.id, "s", &json!({"z": 1, "a": 2})).await.unwrap();
        let kept = tenant.stream_schema(&made.id, "s").await.unwrap().unwrap();
        assert_eq!(kept.to_string(), r#"{"z":1,"a":2}"#);
    }
}
