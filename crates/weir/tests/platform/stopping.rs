//! Cancel, drain and limits: what is asked politely keeps a checkpoint, what is not asked is killed and says why.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::json;
use weir_control::worker::Resources;
use weir_store::Actor;
use weir_store::model::{Quotas, RunStatus};
use weir_testkit::http::{HttpFixture, Reply};

use crate::stage::{Stage, children, copy, csv};

/// Pages of ten rows; from page `HELD` on they wait until [`Pages::release`].
struct Pages {
    server: HttpFixture,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

const PAGES: u64 = 6;
const HELD: u64 = 4;

impl Pages {
    fn serve() -> Self {
        let server = HttpFixture::start().unwrap();
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let held = gate.clone();
        server.handle("/items", move |request| {
            let page: u64 = request.param("page").and_then(|page| page.parse().ok()).unwrap_or(1);
            if page >= HELD {
                let (open, changed) = &*held;
                drop(changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
            }
            let rows = if page > PAGES { 0..0 } else { (page - 1) * 10..page * 10 };
            Reply::json(json!({"data": rows.map(|id| json!({"id": id, "name": format!("n{id}")})).collect::<Vec<_>>()}))
        });
        Self { server, gate }
    }

    fn spec(&self) -> String {
        format!(
            "pipeline: pages\nsource:\n  http:\n    url: {}/items\n    records: data\n    pagination: {{page: {{}}}}\n\
             sink:\n  file: {{path: out, format: ndjson, write_mode: append}}\n",
            self.server.url()
        )
    }

    /// Waits until the page that is held was asked for.
    async fn held(&self) {
        let begin = std::time::Instant::now();
        while !self.server.requests().iter().any(|request| request.param("page").as_deref() == Some("4")) {
            assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", self.server.requests());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn release(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // A held request would hold the server's end.
        self.release();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_keeps_a_checkpoint_and_a_later_run_is_exact() {
    let stage = Stage::new().await;
    let pages = Pages::serve();
    let job = stage.job(Stage::new_job("pages", &pages.spec())).await;
    let run = stage.run_of(&job).await;
    let working = stage.work();
    pages.held().await;
    stage.runs().cancel(&run.id).await.unwrap();
    stage.logged(&run.id, "cancelling").await;
    pages.release();
    let run = stage.ended(&run.id).await;
    assert_eq!(run.status, RunStatus::Cancelled, "{run:#?}");
    assert_eq!(run.report.as_ref().unwrap()["status"], "interrupted");
    assert!(stage.ids("out").is_empty(), "a cancelled run shows nothing");
    assert!(stage.runs().cancel(&run.id).await.is_err(), "it has ended");

    let engine_run = run.report.unwrap()["run_id"].clone();
    let next = stage.runs().retry(&run.id).await.unwrap();
    let next = stage.ended(&next.id).await;
    working.stop().await;
    assert_eq!(next.status, RunStatus::Succeeded, "{next:#?}");
    assert_eq!(next.report.unwrap()["run_id"], engine_run, "it went on with the engine's run");
    assert_eq!(stage.ids("out"), (0..PAGES * 10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_gives_runs_back_and_another_worker_ends_them() {
    let stage = Stage::new().await;
    let pages = Pages::serve();
    let run = stage.run(Stage::new_job("pages", &pages.spec())).await;
    let working = stage.work();
    pages.held().await;
    let stopping = tokio::spawn(working.stop());
    stage.logged(&run.id, "the worker shuts down").await;
    pages.release();
    stopping.await.unwrap();
    let waiting = stage.state(&run.id).await;
    assert_eq!((waiting.status, waiting.attempt, &waiting.error), (RunStatus::Queued, 1, &None), "{waiting:#?}");
    assert!(children().is_empty(), "no process is left behind");

    let working = stage.work();
    let run = stage.ended(&run.id).await;
    working.stop().await;
    assert_eq!((run.status, run.attempt), (RunStatus::Succeeded, 2), "{run:#?}");
    assert_eq!(Resources::of_run(run.resources.as_ref()).failed_attempts, 0, "giving way is no failure");
    assert_eq!(stage.ids("out"), (0..PAGES * 10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_too_long_stops_with_a_checkpoint_and_says_why() {
    let stage = Stage::new().await;
    let pages = Pages::serve();
    let mut job = Stage::new_job("pages", &pages.spec());
    job.timeout_secs = Some(2);
    let run = stage.run(job).await;
    let working = stage.work();
    stage.logged(&run.id, "time limit of 2 s").await;
    pages.release();
    let run = stage.ended(&run.id).await;
    working.stop().await;
    assert_eq!((run.status, run.attempt), (RunStatus::Failed, 1), "{run:#?}");
    let error = run.error.unwrap();
    assert_eq!(error["code"], "WEIR-WORKER-022");
    assert!(error["hint"].as_str().unwrap().contains("timeout_secs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_its_memory_limit_is_killed_and_told_which_limit() {
    let stage = Stage::with(|settings| settings.run_memory_bytes = 4 << 20).await;
    let pages = Pages::serve();
    let run = stage.run(Stage::new_job("pages", &pages.spec())).await;
    let working = stage.work();
    let run = stage.ended(&run.id).await;
    assert_eq!((run.status, run.attempt), (RunStatus::Failed, 1), "{run:#?}");
    let error = run.error.unwrap();
    assert_eq!(error["message"], "the run was stopped at its memory limit of 4 MiB");
    assert!(error["hint"].as_str().unwrap().contains("max_memory_bytes_per_run"), "{error:#}");
    assert!(Resources::of_run(run.resources.as_ref()).memory_peak_bytes > 4 << 20);
    assert!(children().is_empty());
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smaller_of_platform_and_tenant_limits_counts() {
    let stage = Stage::new().await;
    let system = stage.platform.store.system();
    let tenant = system.tenant(stage.scope.tenant()).await.unwrap();
    let quotas = Quotas { max_memory_bytes_per_run: Some(8 << 20), ..Quotas::default() };
    system.update_tenant(&Actor::system("test"), &tenant.id, None, &tenant.name, tenant.status, quotas).await.unwrap();
    let pages = Pages::serve();
    let run = stage.run(Stage::new_job("pages", &pages.spec())).await;
    let working = stage.work();
    let run = stage.ended(&run.id).await;
    working.stop().await;
    assert_eq!(run.error.unwrap()["message"], "the run was stopped at its memory limit of 8 MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn cpu_seconds_and_storage_are_limited_by_the_tenants_quota() {
    let stage = Stage::new().await;
    let system = stage.platform.store.system();
    let limit = |quotas: Quotas| {
        let system = system.clone();
        async move {
            let tenant = system.tenant(&"default".into()).await.unwrap();
            system.update_tenant(&Actor::system("test"), &tenant.id, None, &tenant.name, tenant.status, quotas).await.unwrap();
        }
    };
    let pages = Pages::serve();
    let working = stage.work();
    limit(Quotas { max_cpu_secs_per_run: Some(0), ..Quotas::default() }).await;
    let run = stage.run(Stage::new_job("cpu", &pages.spec())).await;
    let run = stage.ended(&run.id).await;
    assert_eq!((run.attempt, &run.error.unwrap()["code"]), (1, &json!("WEIR-WORKER-021")));

    stage.write("in.csv", csv(0..1000));
    limit(Quotas { max_storage_bytes: Some(1000), ..Quotas::default() }).await;
    let run = stage.run(Stage::new_job("full", &copy("in.csv", "out", "overwrite"))).await;
    let run = stage.ended(&run.id).await;
    working.stop().await;
    assert_eq!((run.status, &run.error.unwrap()["code"]), (RunStatus::Failed, &json!("WEIR-WORKER-023")));
}
