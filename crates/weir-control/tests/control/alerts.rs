//! Alert rules over real runs.

use chrono::{Duration, Utc};
use weir_control::monitoring::alerts::{Turn, evaluate};
use weir_store::model::{AlertState, JobStatus, PageRequest, RunStatus};

use crate::stage::{Stage, rule};

const FIRED: Turn = Turn { fired: 1, resolved: 0 };
const RESOLVED: Turn = Turn { fired: 0, resolved: 1 };
const QUIET: Turn = Turn { fired: 0, resolved: 0 };

#[tokio::test]
async fn an_alert_fires_once_stays_and_is_resolved_once() {
    let stage = Stage::new().await;
    let job = stage.job("acme", "quotes", vec![rule("error_rate", 0.05, 300)]).await;
    stage.ran(&job, RunStatus::Succeeded, 90, 10).await;
    stage.collect().await;
    assert_eq!(evaluate(&stage.platform, Utc::now()).await.unwrap(), FIRED);
    assert_eq!(evaluate(&stage.platform, Utc::now()).await.unwrap(), QUIET);
    // An empty window says nothing: the alert neither ends nor begins again.
    assert_eq!(evaluate(&stage.platform, Utc::now() + Duration::hours(2)).await.unwrap(), QUIET);
    for _ in 0..3 {
        stage.ran(&job, RunStatus::Succeeded, 100, 0).await;
    }
    stage.collect().await;
    assert_eq!(evaluate(&stage.platform, Utc::now()).await.unwrap(), RESOLVED);
    assert_eq!(evaluate(&stage.platform, Utc::now()).await.unwrap(), QUIET);
    let alerts = stage.store("acme").alerts(Some(&job.id), None, &PageRequest { limit: 10, cursor: None }).await.unwrap().items;
    assert_eq!((alerts.len(), alerts[0].state, alerts[0].value), (1, AlertState::Resolved, 0.1));
    let events = stage.store("acme").outbox_after(0, 100).await.unwrap();
    let kinds: Vec<&str> = events.iter().map(|e| e.event.kind.as_str()).filter(|kind| kind.starts_with("alert.")).collect();
    assert_eq!(kinds, ["alert.firing", "alert.resolved"]);
}

#[tokio::test]
async fn replicas_that_measure_at_the_same_time_fire_one_alert() {
    for stage in Stage::both().await {
        let job = stage.job("acme", "quotes", vec![rule("run_failed", 0.0, 300), rule("rows_written", 1e9, 300)]).await;
        stage.ran(&job, RunStatus::Failed, 0, 0).await;
        stage.collect().await;
        let turns = futures::future::join_all((0..8).map(|_| evaluate(&stage.platform, Utc::now()))).await;
        assert_eq!(turns.into_iter().map(|turn| turn.unwrap().fired).sum::<u32>(), 1);
    }
}

#[tokio::test]
async fn a_run_that_waits_is_late_before_it_has_any_point() {
    let stage = Stage::new().await;
    let job = stage.job("acme", "quotes", vec![rule("processing_lag", 300.0, 600)]).await;
    assert_eq!(evaluate(&stage.platform, Utc::now()).await.unwrap(), QUIET);
    let run = stage.request("acme", &job.id).await;
    assert_eq!(evaluate(&stage.platform, Utc::now() + Duration::seconds(200)).await.unwrap(), QUIET);
    assert_eq!(evaluate(&stage.platform, Utc::now() + Duration::seconds(400)).await.unwrap(), FIRED);
    stage.store("acme").request_cancel(&run.id).await.unwrap();
    stage.ran(&job, RunStatus::Succeeded, 1, 0).await;
    stage.collect().await;
    assert_eq!(evaluate(&stage.platform, Utc::now()).await.unwrap(), RESOLVED);
}

#[tokio::test]
async fn data_grow_old_without_a_run_unless_the_job_is_paused() {
    let stage = Stage::new().await;
    let job = stage.job("acme", "quotes", vec![rule("freshness", 3_600.0, 60)]).await;
    let later = |hours: i64| Utc::now() + Duration::hours(hours);
    assert_eq!(evaluate(&stage.platform, later(0)).await.unwrap(), QUIET);
    stage.store("acme").set_job_status(&job.id, JobStatus::Paused).await.unwrap();
    assert_eq!(evaluate(&stage.platform, later(2)).await.unwrap(), QUIET);
    stage.store("acme").set_job_status(&job.id, JobStatus::Active).await.unwrap();
    assert_eq!(evaluate(&stage.platform, later(2)).await.unwrap(), FIRED);
    stage.ran(&job, RunStatus::Succeeded, 1, 0).await;
    assert_eq!(evaluate(&stage.platform, later(0)).await.unwrap(), RESOLVED);
}

#[tokio::test]
async fn points_of_another_job_or_tenant_do_not_count() {
    let stage = Stage::new().await;
    stage.job("acme", "quiet", vec![rule("run_failed", 0.0, 300)]).await;
    let loud = stage.job("acme", "loud", vec![]).await;
    let foreign = stage.job("other", "quiet", vec![]).await;
    stage.ran(&loud, RunStatus::Failed, 0, 0).await;
    stage.ran(&foreign, RunStatus::Failed, 0, 0).await;
    stage.collect().await;
    assert_eq!(evaluate(&stage.platform, Utc::now()).await.unwrap(), QUIET);
}
