//! Webhooks, over a real database and a real receiver.

use std::time::Duration;

use chrono::Utc;
use tokio_util::sync::CancellationToken;
use weir_control::events::{self, signature, target};
use weir_control::monitoring::alerts::evaluate;
use weir_error::Secret;
use weir_store::model::{NewRule, NewSubscription, RunStatus, Silence};
use weir_testkit::{HttpFixture, Reply};

use crate::stage::{Stage, rule};

const LIMIT: Duration = Duration::from_secs(30);

struct Loop {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Loop {
    fn start(stage: &Stage) -> Self {
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(events::run(stage.platform.clone(), stop.clone())), stop }
    }
    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.task).await.unwrap().unwrap();
    }
}

async fn subscribe(stage: &Stage, tenant: &str, url: &str, kinds: &[&str], format: &str, key: Option<&str>) {
    let scope = stage.scope(tenant);
    let (url, sealed) = target::seal(&stage.platform.keys, &scope, url, key.map(Secret::new).as_ref()).unwrap();
    let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    let new = NewSubscription { url, kinds, format: format.into(), sealed: Some(sealed) };
    stage.store(tenant).create_subscription(new).await.unwrap();
}

/// Waits without holding up the loop, which may run on the same thread.
async fn requests(server: &HttpFixture, count: usize) -> Vec<weir_testkit::Recorded> {
    let begin = std::time::Instant::now();
    loop {
        let seen = server.requests();
        if seen.len() >= count {
            return seen;
        }
        assert!(begin.elapsed() < LIMIT, "{} of {count} requests came", seen.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until so many deliveries ended so.
async fn outcome(stage: &Stage, word: &str, count: u32) {
    let line = format!("weir_deliveries_total{{outcome=\"{word}\"}} {count}");
    let begin = std::time::Instant::now();
    loop {
        let text = weir_control::monitoring::export(&stage.platform).await;
        if text.lines().any(|l| l == line) {
            return;
        }
        assert!(begin.elapsed() < LIMIT, "{line} did not come\n{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_subscriber_gets_signed_cloud_events_of_its_tenant_and_kinds() {
    let stage = Stage::new().await;
    let server = HttpFixture::start().unwrap();
    server.on("/hook", Reply::status(202));
    let url = format!("{}/hook", server.url());
    subscribe(&stage, "acme", &url, &["seatunnel-job-completed"], "cloudevents", Some("topsecret")).await;
    let (ours, foreign) = (stage.job("acme", "quotes", vec![]).await, stage.job("other", "quotes", vec![]).await);
    stage.ran(&foreign, RunStatus::Succeeded, 1, 0).await;
    let run = stage.ran(&ours, RunStatus::Succeeded, 10, 0).await;
    let running = Loop::start(&stage);
    let seen = requests(&server, 1).await;
    running.end().await;
    assert_eq!(server.requests().len(), 1);
    let (request, event) = (&seen[0], seen[0].json().unwrap());
    assert_eq!((&event["type"], &event["data"]["run_id"]), (&"seatunnel-job-completed".into(), &run.id.as_str().into()));
    assert_eq!(event["source"], format!("/weir/tenants/acme/jobs/{}", ours.id));
    assert_eq!(request.header("x-weir-event-id"), event["id"].as_str());
    assert!(request.header("content-type").unwrap().starts_with("application/cloudevents+json"));
    let header = request.header(signature::HEADER).unwrap();
    assert!(signature::verify(&Secret::new("topsecret"), header, &request.body, Utc::now().timestamp(), 60), "{header}");
}

#[tokio::test]
async fn events_of_a_job_come_in_order_although_the_receiver_fails_in_between() {
    let stage = Stage::new().await;
    let server = HttpFixture::start().unwrap();
    server.sequence("/hook", [Reply::status(200), Reply::status(500), Reply::status(200)]);
    subscribe(&stage, "acme", &format!("{}/hook", server.url()), &["seatunnel-job-completed"], "cloudevents", None).await;
    let job = stage.job("acme", "quotes", vec![]).await;
    let mut wanted = Vec::new();
    for _ in 0..4 {
        wanted.push(stage.ran(&job, RunStatus::Succeeded, 1, 0).await.id.to_string());
    }
    let running = Loop::start(&stage);
    let seen = requests(&server, 5).await;
    running.end().await;
    let mut runs: Vec<String> = seen.iter().map(|r| r.json().unwrap()["data"]["run_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        (&runs[1], seen[1].header("x-weir-event-id")),
        (&runs[2], seen[2].header("x-weir-event-id")),
        "the failed one again"
    );
    runs.dedup();
    assert_eq!(runs, wanted);
}

#[tokio::test]
async fn alerts_go_to_the_operators_webhook_unless_somebody_asked_for_silence() {
    let server = HttpFixture::start().unwrap();
    server.on("/alerts", Reply::status(200));
    let stage = Stage::with(|settings| {
        settings.egress_allow = Vec::new();
        settings.alert_webhook_url = Some(format!("{}/alerts", server.url()));
        settings.alert_webhook_key = Some(Secret::new("k"));
    })
    .await;
    let with = |action: &str| NewRule { action: action.into(), severity: "critical".into(), ..rule("run_failed", 0.0, 300) };
    let loud = stage.job("acme", "loud", vec![with("webhook"), with("slack"), with("none")]).await;
    let hushed = stage.job("acme", "hushed", vec![with("webhook")]).await;
    let silence =
        Silence { job_id: Some(hushed.id.clone()), until: Utc::now() + chrono::Duration::hours(1), reason: "night".into() };
    stage.store("acme").silence(silence).await.unwrap();
    for job in [&loud, &hushed] {
        stage.ran(job, RunStatus::Failed, 0, 0).await;
    }
    stage.collect().await;
    assert_eq!(evaluate(&stage.platform, Utc::now()).await.unwrap().fired, 4);
    let running = Loop::start(&stage);
    let seen = requests(&server, 2).await;
    // The other two came to their ends as well.
    outcome(&stage, "silenced", 1).await;
    outcome(&stage, "gone", 1).await;
    running.end().await;
    assert_eq!(server.requests().len(), 2);
    let bodies: Vec<serde_json::Value> = seen.iter().map(|request| request.json().unwrap()).collect();
    let event = bodies.iter().find(|body| body["type"] == "alert.firing").unwrap();
    assert_eq!(event["source"], format!("/weir/tenants/acme/jobs/{}", loud.id));
    let slack = bodies.iter().find(|body| body.get("attachments").is_some()).unwrap();
    assert_eq!((&slack["text"], &slack["attachments"][0]["color"]), (&"CRITICAL: run_failed of loud".into(), &"danger".into()));
    assert!(seen.iter().all(|r| signature::verify(
        &Secret::new("k"),
        r.header(signature::HEADER).unwrap(),
        &r.body,
        Utc::now().timestamp(),
        60
    )));
}

#[tokio::test]
async fn a_private_address_is_refused_when_it_is_stored_and_when_it_is_sent_to() {
    let server = HttpFixture::start().unwrap();
    let stage = Stage::with(|settings| settings.egress_allow = Vec::new()).await;
    let url = format!("{}/hook", server.url());
    assert_eq!(events::check_url(&stage.platform, &url).unwrap_err().code(), "WEIR-EGRESS-002");
    events::check_url(&stage.platform, "https://example.org/hook").unwrap();
    // Stored by other means, or before the policy changed.
    subscribe(&stage, "acme", &url, &[], "cloudevents", None).await;
    stage.job("acme", "quotes", vec![]).await;
    let running = Loop::start(&stage);
    outcome(&stage, "failed", 1).await;
    running.end().await;
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn a_receiver_that_never_answers_does_not_hold_up_the_others() {
    let stage = Stage::new().await;
    let (dead, alive) = (HttpFixture::start().unwrap(), HttpFixture::start().unwrap());
    dead.on("/hook", Reply::silence());
    alive.on("/hook", Reply::status(200));
    for server in [&dead, &alive] {
        subscribe(&stage, "acme", &format!("{}/hook", server.url()), &["seatunnel-pipeline-created-events"], "cloudevents", None)
            .await;
    }
    for n in 0..20 {
        stage.job("acme", &format!("job-{n}"), vec![]).await;
    }
    let begin = std::time::Instant::now();
    let running = Loop::start(&stage);
    requests(&alive, 20).await;
    assert!(begin.elapsed() < Duration::from_secs(9), "the dead receiver's ten seconds were waited for: {:?}", begin.elapsed());
    running.end().await;
}

#[tokio::test]
async fn two_replicas_deliver_each_event_once() {
    for stage in Stage::both().await {
        let server = HttpFixture::start().unwrap();
        server.on("/hook", Reply::status(200));
        subscribe(&stage, "acme", &format!("{}/hook", server.url()), &["seatunnel-pipeline-created-events"], "cloudevents", None)
            .await;
        for n in 0..60 {
            stage.job("acme", &format!("job-{n}"), vec![]).await;
        }
        let (one, other) = (Loop::start(&stage), Loop::start(&stage));
        requests(&server, 60).await;
        one.end().await;
        other.end().await;
        let seen = server.requests();
        let ids: std::collections::BTreeSet<&str> = seen.iter().filter_map(|request| request.header("x-weir-event-id")).collect();
        assert_eq!((seen.len(), ids.len()), (60, 60));
    }
}
