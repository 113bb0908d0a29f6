//! What goes wrong around runs: no room, no image, no Job, no API server, no worker.

use std::time::Duration;

use serde_json::{Value, json};
use weir_store::Actor;
use weir_store::model::{Quotas, RetryPolicy, RunStatus};
use weir_testkit::KubernetesCluster;

use crate::scene::{Pages, ROWS, Scene};
use crate::stage::{Stage, copy, csv};

/// A job that is not tried again.
fn once(mut job: weir_store::model::NewJob) -> weir_store::model::NewJob {
    job.retry = RetryPolicy { max_attempts: 1, backoff_secs: 0, max_backoff_secs: 0 };
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_quota_is_told_as_what_it_is_and_the_next_run_finds_room() {
    let scene = Scene::new().await;
    let system = scene.stage.platform.store.system();
    let tenant = system.tenant(scene.stage.scope.tenant()).await.unwrap();
    let quotas = Quotas { max_concurrent_runs: Some(1), ..Quotas::default() };
    system.update_tenant(&Actor::system("test"), &tenant.id, None, &tenant.name, tenant.status, quotas).await.unwrap();
    scene.stage.write("in.csv", csv(0..100));
    let job = scene.stage.job(once(Stage::new_job("copy", &copy("in.csv", "out", "append")))).await;
    let first = scene.stage.run_of(&job).await;
    let _worker = scene.worker();
    assert_eq!(scene.stage.ended(&first.id).await.status, RunStatus::Succeeded);

    // Somebody else's Pod takes all that the tenant has.
    let amount = json!({"cpu": "1", "memory": "1Gi"});
    let other = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other"}, "spec": {
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "image": "registry.invalid/other", "resources": {"requests": amount, "limits": amount},
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}});
    let pods = format!("/api/v1/namespaces/{}/pods", scene.namespace);
    scene.cluster.create(&pods, other).unwrap();
    let second = scene.stage.run_of(&job).await;
    let second = scene.stage.ended(&second.id).await;
    assert_eq!(second.status, RunStatus::Failed, "{second:#?}");
    let error = second.error.unwrap();
    assert!(error["code"] == "WEIR-KUBE-006" && error.to_string().contains("exceeded quota: weir"), "{error}");
    scene.until("nothing of it is left", || scene.jobs().is_empty()).await;

    scene.cluster.call("DELETE", &format!("{pods}/other"), Value::Null).unwrap();
    scene.until("there is room", || scene.pods().is_empty()).await;
    let third = scene.stage.run_of(&job).await;
    assert_eq!(scene.stage.ended(&third.id).await.status, RunStatus::Succeeded);
    assert_eq!(scene.stage.ids("out").len(), 200, "the run that found no room wrote nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_stays_pending_says_why_and_is_taken_away() {
    let scene = Scene::new().await;
    scene.stage.write("in.csv", csv(0..10));
    let run = scene.stage.run(once(Stage::new_job("image", &copy("in.csv", "out", "append")))).await;
    let worker = scene.worker_with(&[("KUBERNETES_IMAGE", "registry.invalid/nothing"), ("KUBERNETES_PENDING_SECONDS", "2")]);
    let run = scene.stage.ended(&run.id).await;
    let error = run.error.unwrap().to_string();
    assert!(error.contains("WEIR-KUBE-015") && error.contains("ImagePullBackOff") && error.contains("not found"), "{error}");
    drop(worker);
    scene.kubelet.full(true);
    let run = scene.stage.run(once(Stage::new_job("place", &copy("in.csv", "out", "append")))).await;
    let _worker = scene.worker_with(&[("KUBERNETES_PENDING_SECONDS", "2")]);
    let run = scene.stage.ended(&run.id).await;
    let error = run.error.unwrap().to_string();
    assert!(error.contains("WEIR-KUBE-015") && error.contains("did not start within 2 s"), "{error}");
    scene.until("nothing waits any more", || scene.jobs().is_empty() && scene.pods().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_somebody_deletes_is_noticed_and_tried_again() {
    let scene = Scene::new().await;
    let pages = Pages::serve();
    let run = scene.stage.run(Stage::new_job("pages", &pages.spec())).await;
    let _worker = scene.worker();
    pages.held(1).await;
    let name = scene.jobs()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let path = format!("/apis/batch/v1/namespaces/{}/jobs/{name}?propagationPolicy=Background", scene.namespace);
    scene.cluster.call("DELETE", &path, Value::Null).unwrap();
    scene.stage.until(&run.id, "at its second attempt", |run| run.attempt == 2).await;
    pages.release();
    let run = scene.stage.ended(&run.id).await;
    assert_eq!(run.status, RunStatus::Succeeded, "{run:#?}");
    assert_eq!(scene.stage.ids("out"), (0..ROWS).collect::<Vec<_>>());
    let log: Vec<_> = scene.stage.log(&run.id).await.into_iter().map(|line| line.message).collect();
    assert!(log.iter().any(|line| line.contains("vanished") || line.contains("interrupted")), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_while_the_api_server_is_away() {
    let mut scene = Scene::of(KubernetesCluster::start().unwrap()).await;
    let pages = Pages::serve();
    let run = scene.stage.run(Stage::new_job("pages", &pages.spec())).await;
    let _worker = scene.worker();
    pages.held(1).await;
    scene.cluster.kill_server().unwrap();
    scene.stage.logged(&run.id, "the API server of Kubernetes does not answer").await;
    // The Pod works on: nobody is asked for that.
    pages.release();
    let begin = std::time::Instant::now();
    while scene.stage.ids("out").len() < ROWS as usize {
        assert!(begin.elapsed() < Duration::from_secs(60), "the run stands still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    scene.cluster.restart_server().unwrap();
    let run = scene.stage.ended(&run.id).await;
    assert_eq!((run.status, run.attempt), (RunStatus::Succeeded, 1), "{run:#?}");
    assert_eq!(run.streams.iter().map(|stream| stream.rows_written).sum::<u64>(), ROWS);
    assert_eq!(scene.stage.ids("out"), (0..ROWS).collect::<Vec<_>>());
    let log: Vec<_> = scene.stage.log(&run.id).await.into_iter().map(|line| line.message).collect();
    assert!(log.iter().any(|line| line.contains("answers again")), "{log:#?}");
    assert_eq!(log.iter().filter(|line| line.contains("rows committed")).count(), 1, "each line came once: {log:#?}");
}

/// Half a minute of waiting for a lease:
/// `cargo nextest run -p weir --test kubernetes --run-ignored only -E 'test(worker_that_dies)'`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "half a minute of waiting for a lease"]
async fn after_a_worker_that_dies_the_next_ends_its_pod_before_it_begins() {
    let scene = Scene::new().await;
    let pages = Pages::serve();
    let run = scene.stage.run(Stage::new_job("pages", &pages.spec())).await;
    let worker = scene.worker();
    pages.held(1).await;
    let first = scene.running();
    drop(worker);
    let _worker = scene.worker();
    scene.stage.until(&run.id, "at its second attempt", |run| run.attempt == 2).await;
    scene.stage.logged(&run.id, "an earlier attempt still runs in the cluster").await;
    scene
        .until("the second Pod runs", || {
            let pods = scene.pods();
            let live = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
            assert!(live <= 1, "two at once: {pods:#?}");
            pods.iter().any(|pod| pod["status"]["phase"] == "Running" && pod["metadata"]["name"] != first.as_str())
        })
        .await;
    pages.release();
    let run = scene.stage.ended(&run.id).await;
    assert_eq!(run.status, RunStatus::Succeeded, "{run:#?}");
    assert_eq!(scene.stage.ids("out"), (0..ROWS).collect::<Vec<_>>());
}
