//! One suite for every series store; Apache Ignite is the real one.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use weir_control::monitoring::{Embedded, Ignite, SeriesStore};
use weir_store::model::{MetricPoint, MetricQuery, TenantId};

use crate::stage::Stage;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros((1_700_000_000 + second) * 1_000_000 + 123_456).unwrap()
}

fn point(tenant: &TenantId, job: &str, metric: &str, second: i64, value: f64) -> MetricPoint {
    MetricPoint {
        tenant_id: tenant.clone(),
        job_id: Some(job.into()),
        run_id: Some(format!("run-{job}").as_str().into()),
        metric: metric.into(),
        labels: BTreeMap::from([("provider_type".into(), "rest_api".into())]),
        at: at(second),
        value,
    }
}

fn all(limit: u32) -> MetricQuery {
    MetricQuery { job_id: None, metric: None, from: at(-1_000), to: at(100_000), limit }
}

fn values(points: &[MetricPoint]) -> Vec<f64> {
    points.iter().map(|point| point.value).collect()
}

/// `a` and `b` are tenants that nobody else uses in this store.
async fn suite(store: Arc<dyn SeriesStore>, a: TenantId, b: TenantId) {
    store.ready().await.unwrap();
    assert!(store.query(&a, &all(10)).await.unwrap().is_empty());
    store.write(&[]).await.unwrap();

    // What is written comes back as it was, odd texts and numbers among it.
    let odd = MetricPoint {
        labels: BTreeMap::from([("q'\"); DROP TABLE WEIR_POINTS; --".into(), "ü\n\\ 漢字 & = + % \u{1f600}".into())]),
        value: -1.5e-9,
        ..point(&a, "j'; --", "m&arg1=x' OR '1'='1", 1, 0.0)
    };
    let bare = MetricPoint {
        job_id: None,
        run_id: None,
        labels: BTreeMap::new(),
        value: 1e300,
        ..point(&a, "", "of_the_tenant", 2, 0.0)
    };
    store.write(&[odd.clone(), bare.clone()]).await.unwrap();
    assert_eq!(store.query(&a, &all(10)).await.unwrap(), [odd.clone(), bare.clone()]);

    // The newest `limit`, oldest first; more than one batch; filters; a half-open range.
    let many: Vec<MetricPoint> = (0..300).map(|n| point(&a, "j", "rows_written", 10 + n, n as f64)).collect();
    store.write(&many).await.unwrap();
    store.write(&[point(&a, "k", "rows_written", 5_000, 7.0), point(&a, "j", "cpu_seconds", 5_001, 8.0)]).await.unwrap();
    assert_eq!(values(&store.query(&a, &all(3)).await.unwrap()), [299.0, 7.0, 8.0]);
    let of_job = MetricQuery { job_id: Some("j".into()), metric: Some("rows_written".into()), ..all(1_000) };
    assert_eq!(values(&store.query(&a, &of_job).await.unwrap()), (0..300).map(f64::from).collect::<Vec<_>>());
    let range = MetricQuery { from: at(12), to: at(14), ..of_job.clone() };
    assert_eq!(values(&store.query(&a, &range).await.unwrap()), [2.0, 3.0]);
    let hostile = MetricQuery { metric: Some(odd.metric.clone()), ..all(10) };
    assert_eq!(store.query(&a, &hostile).await.unwrap(), [odd]);

    // Tenants do not see each other.
    store.write(&[point(&b, "j", "rows_written", 50, 1_000.0)]).await.unwrap();
    assert_eq!(values(&store.query(&b, &all(1_000)).await.unwrap()), [1_000.0]);
    assert!(!values(&store.query(&a, &all(1_000)).await.unwrap()).contains(&1_000.0));
    assert!(store.query(&TenantId::from("nobody' OR TENANT <> '"), &all(10)).await.unwrap().is_empty());

    // Old ones go, all tenants'.
    store.prune(at(5_001)).await.unwrap();
    assert_eq!(values(&store.query(&a, &all(1_000)).await.unwrap()), [8.0]);
    assert!(store.query(&b, &all(1_000)).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_database_keeps_points() {
    let stage = Stage::new().await;
    suite(Arc::new(Embedded::new(stage.platform.store.clone())), "acme".into(), "other".into()).await;
}

#[tokio::test]
async fn apache_ignite_keeps_points() {
    let server = weir_testkit::Ignite::shared().unwrap();
    // The first host is not there; the second stands in.
    let gone = format!("127.0.0.1:{}", weir_testkit::process::free_port().unwrap());
    let ignite = Ignite::new(&[gone, server.endpoint()]).unwrap();
    suite(Arc::new(ignite), "ignite-a".into(), "ignite-b".into()).await;
    // Written again, a point is still one.
    let again = Ignite::new(&[server.endpoint()]).unwrap();
    let (tenant, mut twice) = (TenantId::from("ignite-c"), point(&"ignite-c".into(), "j", "m", 9_000_000, 1.0));
    again.write(std::slice::from_ref(&twice)).await.unwrap();
    twice.value = 2.0;
    again.write(&[twice.clone()]).await.unwrap();
    let query = MetricQuery { to: at(10_000_000), ..all(10) };
    assert_eq!(again.query(&tenant, &query).await.unwrap(), [twice.clone()]);
    // A cluster that lost its memory gets the table again; what waits is written by the next try.
    server.sql("DROP TABLE PUBLIC.WEIR_POINTS").unwrap();
    assert_eq!(again.write(std::slice::from_ref(&twice)).await.unwrap_err().retryable(), weir_error::Retry::Transient);
    again.write(std::slice::from_ref(&twice)).await.unwrap();
    assert_eq!(again.query(&tenant, &query).await.unwrap(), [twice]);
}

#[tokio::test]
async fn an_ignite_that_is_not_there_is_said_so_and_can_be_tried_again() {
    let port = weir_testkit::process::free_port().unwrap();
    let error =
        Ignite::new(&[format!("127.0.0.1:{port}")]).unwrap().write(&[point(&"a".into(), "j", "m", 1, 1.0)]).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("WEIR-IGNITE-002", weir_error::Retry::Transient));
    let other = weir_testkit::HttpFixture::start().unwrap();
    other.on("/ignite", weir_testkit::Reply::text("<html>"));
    let error = Ignite::new(&[other.url()]).unwrap().ready().await.unwrap_err();
    assert_eq!(error.code(), "WEIR-IGNITE-003");
}
