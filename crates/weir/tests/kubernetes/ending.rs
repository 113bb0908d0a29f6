//! How runs end: done, failed, stopped.

use serde_json::json;
use weir_control::worker::Resources;
use weir_store::model::RunStatus;
use weir_testkit::kubernetes::Harm;

use crate::scene::{Pages, ROWS, Scene};
use crate::stage::{Stage, copy, csv};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_a_job_and_its_rows_counts_and_log_come_back() {
    let scene = Scene::new().await;
    scene.stage.write("in.csv", csv(0..1_000));
    let job = scene.stage.job(Stage::new_job("copy", &copy("in.csv", "out", "append"))).await;
    let run = scene.stage.run_of(&job).await;
    let _worker = scene.worker();
    let run = scene.stage.ended(&run.id).await;
    assert_eq!((run.status, &run.error, run.attempt), (RunStatus::Succeeded, &None, 1), "{run:#?}");
    let [stream] = run.streams.as_slice() else { panic!("{run:#?}") };
    assert_eq!((stream.rows_read, stream.rows_written), (1_000, 1_000));
    assert_eq!(scene.stage.ids("out"), (0..1_000).collect::<Vec<_>>());
    assert!(Resources::of_run(run.resources.as_ref()).memory_peak_bytes > 8 << 20, "{run:#?}");
    let log: Vec<_> = scene.stage.log(&run.id).await.into_iter().map(|line| line.message).collect();
    for text in ["Kubernetes has it: Job weir-", "runs on node node-", "copy begins: batch", "1000 rows committed"] {
        assert_eq!(log.iter().filter(|line| line.contains(text)).count(), 1, "{text}: {log:#?}");
    }

    let jobs = scene.jobs();
    let [made] = jobs.as_slice() else { panic!("{jobs:#?}") };
    let (spec, pod) = (&made["spec"], &made["spec"]["template"]["spec"]);
    assert_eq!((&spec["backoffLimit"], &spec["ttlSecondsAfterFinished"]), (&json!(0), &json!(3600)));
    assert_eq!(spec["activeDeadlineSeconds"], json!(3600 + 300 + 60));
    assert_eq!((&pod["automountServiceAccountToken"], &pod["serviceAccountName"]), (&json!(false), &json!("weir-run")));
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], json!(true));
    assert_eq!(container["resources"]["limits"], container["resources"]["requests"]);
    assert_eq!(made["metadata"]["labels"]["weir.dev/run"].as_str(), Some(run.id.as_str()));
    assert!(scene.list(&scene.namespace, "api/v1", "secrets").is_empty(), "the order is gone with the run");

    // The next run of the job takes the place of the last one's Job, and goes on where it is.
    scene.stage.write("in.csv", csv(0..10));
    let run = scene.stage.run_of(&job).await;
    let run = scene.stage.ended(&run.id).await;
    assert_eq!((run.status, scene.jobs().len()), (RunStatus::Succeeded, 1), "{run:#?}");
    assert_eq!(scene.stage.ids("out").len(), 1_010);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_fails_with_the_reason_of_the_engine() {
    let scene = Scene::new().await;
    let run = scene.stage.run(Stage::new_job("copy", &copy("missing.csv", "out", "append"))).await;
    let wrong = "pipeline: p\nplacement: kubernetes\nsource:\n  file: {path: in.csv}\nsink:\n  fiel: {path: out}\n";
    let wrong = scene.stage.run(Stage::new_job("wrong", wrong)).await;
    let _worker = scene.worker();
    let run = scene.stage.ended(&run.id).await;
    assert_eq!(run.status, RunStatus::Failed, "{run:#?}");
    let error = run.error.unwrap();
    assert!(
        error["code"].as_str().unwrap().starts_with("WEIR-FILE-") || error["message"].as_str().unwrap().contains("missing.csv"),
        "{error}"
    );
    // The run has ended when its Pod has; the controller counts it a moment later.
    let failed = |job: &serde_json::Value| {
        job["metadata"]["labels"]["weir.dev/run"] == run.id.as_str() && job["status"]["failed"] == json!(1)
    };
    weir_testkit::wait_until("Kubernetes knows that it failed", std::time::Duration::from_secs(20), || {
        scene.jobs().iter().any(failed)
    })
    .unwrap();
    let wrong = scene.stage.ended(&wrong.id).await;
    assert_eq!((wrong.status, &wrong.error.unwrap()["code"]), (RunStatus::Failed, &json!("WEIR-WORKER-015")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_says_where_it_runs_and_a_platform_without_a_cluster_refuses_one_for_a_cluster() {
    let scene = Scene::new().await;
    scene.stage.write("in.csv", csv(0..10));
    let placed = |word: &str| copy("in.csv", word, "append").replace("source:", &format!("placement: {word}\nsource:"));
    let here = scene.stage.run(Stage::new_job("here", &placed("process"))).await;
    let worker = scene.worker();
    let here = scene.stage.ended(&here.id).await;
    assert_eq!((here.status, scene.jobs().len()), (RunStatus::Succeeded, 0), "{here:#?}");
    drop(worker);
    let there = scene.stage.run(Stage::new_job("there", &placed("kubernetes"))).await;
    let _worker = scene.worker_with(&[("KUBERNETES_ENABLED", "false"), ("WEIR_PLACEMENT", "process")]);
    let there = scene.stage.ended(&there.id).await;
    assert_eq!((there.status, &there.error.unwrap()["code"]), (RunStatus::Failed, &json!("WEIR-WORKER-019")));
    assert!(scene.stage.ids("kubernetes").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_makes_its_checkpoint_and_leaves_nothing_in_the_cluster() {
    let scene = Scene::new().await;
    let pages = Pages::serve();
    let run = scene.stage.run(Stage::new_job("pages", &pages.spec())).await;
    let _worker = scene.worker();
    pages.held(1).await;
    scene.stage.runs().cancel(&run.id).await.unwrap();
    scene
        .until("the Job is on its way out", || scene.jobs().iter().all(|job| job["metadata"]["deletionTimestamp"].is_string()))
        .await;
    let finalizers = scene.jobs().first().map(|job| job["metadata"]["finalizers"].clone());
    assert!(
        finalizers.is_none_or(|found| found.as_array().unwrap().contains(&json!("foregroundDeletion"))),
        "its Pod goes first"
    );
    pages.release();
    let ended = scene.stage.ended(&run.id).await;
    assert_eq!(ended.status, RunStatus::Cancelled, "{ended:#?}");
    scene.until("Job and Pod are gone", || scene.jobs().is_empty() && scene.pods().is_empty()).await;
    assert!(scene.list(&scene.namespace, "api/v1", "secrets").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_evicted_pods_are_tried_again_and_no_row_is_lost_or_doubled() {
    let scene = Scene::new().await;
    for (name, harm) in [("killed", Harm::Kill), ("evicted", Harm::Evict)] {
        let pages = Pages::serve();
        let spec = pages.spec().replace("path: out", &format!("path: {name}"));
        let run = scene.stage.run(Stage::new_job(name, &spec)).await;
        let worker = scene.worker();
        pages.held(1).await;
        scene.kubelet.harm(&scene.running(), harm);
        scene.stage.until(&run.id, "at its second attempt", |run| run.attempt == 2).await;
        pages.release();
        let run = scene.stage.ended(&run.id).await;
        drop(worker);
        assert_eq!((run.status, run.attempt), (RunStatus::Succeeded, 2), "{run:#?}");
        assert_eq!(scene.stage.ids(name), (0..ROWS).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_memory_says_so_and_is_not_tried_again() {
    let scene = Scene::new().await;
    let pages = Pages::serve();
    let run = scene.stage.run(Stage::new_job("pages", &pages.spec())).await;
    let _worker = scene.worker();
    pages.held(1).await;
    scene.kubelet.harm(&scene.running(), Harm::OutOfMemory);
    let run = scene.stage.ended(&run.id).await;
    assert_eq!((run.status, run.attempt), (RunStatus::Failed, 1), "{run:#?}");
    let error = run.error.unwrap();
    assert_eq!(error["code"], "WEIR-KUBE-010");
    assert!(error.to_string().contains("OOMKilled") && error.to_string().contains("1073741824"), "{error}");
}
