//! Events to and from a real Apache Pulsar.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use pulsar::consumer::{ConsumerOptions, InitialPosition};
use pulsar::{Consumer, TokioExecutor};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use weir_store::model::RunStatus;
use weir_testkit::Pulsar;

use crate::stage::Stage;

const LIMIT: Duration = Duration::from_secs(60);

async fn client(server: &Pulsar) -> pulsar::Pulsar<TokioExecutor> {
    pulsar::Pulsar::builder(server.url(), TokioExecutor).build().await.unwrap()
}

async fn read(server: &Pulsar, topic: &str, count: usize) -> Vec<(Option<String>, Value)> {
    let options = ConsumerOptions::default().with_initial_position(InitialPosition::Earliest);
    let client = client(server).await;
    let consumer: Consumer<Vec<u8>, _> =
        client.consumer().with_topic(topic).with_subscription("test").with_options(options).build().await.unwrap();
    let take = consumer.take(count).map_ok(|m| (m.key(), serde_json::from_slice(&m.deserialize()).unwrap())).try_collect();
    tokio::time::timeout(LIMIT, take).await.expect("the events did not come").unwrap()
}

/// A platform whose tenants have namespaces of their own in the shared server.
async fn staged(server: &Pulsar) -> (Stage, String) {
    let tenant = format!("t{}", uuid::Uuid::new_v4().simple());
    let stage = Stage::with(|settings| settings.pulsar_url = Some(server.url())).await;
    stage.create_tenant(&tenant).await;
    server.create_namespace(&format!("platformq/{tenant}")).unwrap();
    // The other tenants have no namespace: what they lack must hold up nobody.
    (stage, tenant)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completed_runs_and_new_pipelines_come_on_the_seeds_topics_in_order_with_the_job_as_key() {
    let server = Pulsar::shared().unwrap();
    let (stage, tenant) = staged(&server).await;
    let job = stage.job(&tenant, "quotes", vec![]).await;
    stage.job("acme", "without a namespace", vec![]).await;
    let mut wanted = Vec::new();
    for _ in 0..5 {
        wanted.push(stage.ran(&job, RunStatus::Succeeded, 7, 0).await.id.to_string());
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn(weir_control::events::run(stage.platform.clone(), stop.clone()));
    let completed = read(&server, &format!("persistent://platformq/{tenant}/seatunnel-job-completed"), 5).await;
    let runs: Vec<&str> = completed.iter().map(|(_, event)| event["data"]["run_id"].as_str().unwrap()).collect();
    assert_eq!(runs, wanted);
    assert!(
        completed
            .iter()
            .all(|(key, event)| key.as_deref() == Some(job.id.as_str()) && event["type"] == "seatunnel-job-completed")
    );
    let created = read(&server, &format!("persistent://platformq/{tenant}/seatunnel-pipeline-created-events"), 1).await;
    assert_eq!(created[0].1["tenantid"], tenant.as_str());
    let others = read(&server, &format!("persistent://platformq/{tenant}/weir-events"), 1).await;
    assert!(others[0].1["type"].as_str().unwrap().starts_with("run."), "{}", others[0].1);
    stop.cancel();
    tokio::time::timeout(LIMIT, running).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asset_events_come_into_the_inbox_once_per_id_over_restarts() {
    let server = Pulsar::shared().unwrap();
    let (stage, tenant) = staged(&server).await;
    let topic = format!("persistent://platformq/{tenant}/digital-asset-created-events");
    let client = client(&server).await;
    let mut producer = client.producer().with_topic(&topic).build().await.unwrap();
    let counted = |outcome: &str| format!("weir_inbox_events_total{{outcome=\"{outcome}\"}}");
    let count = async |outcome: &str| -> u64 {
        let text = weir_control::monitoring::export(&stage.platform).await;
        let line = text.lines().find_map(|line| line.strip_prefix(&counted(outcome)));
        line.map_or(0, |value| value.trim().parse().unwrap())
    };
    for round in 1..=3_u64 {
        let stop = CancellationToken::new();
        let running = tokio::spawn(weir_control::events::run(stage.platform.clone(), stop.clone()));
        for id in ["a", "b", "a"] {
            let event = json!({"id": id, "data": {"asset_id": id}}).to_string();
            producer.send_non_blocking(event).await.unwrap().await.unwrap();
        }
        let begin = std::time::Instant::now();
        while count("new").await + count("known").await < 3 * round {
            assert!(begin.elapsed() < LIMIT, "round {round}: {} new, {} known", count("new").await, count("known").await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stop.cancel();
        tokio::time::timeout(LIMIT, running).await.unwrap().unwrap();
        assert_eq!((count("new").await, count("known").await), (2, 3 * round - 2));
    }
}
