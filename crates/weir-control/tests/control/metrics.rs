//! `/metrics`, job metrics, the dashboard.

use std::time::Duration;

use serde_json::json;
use weir_control::Platform;
use weir_control::monitoring::collector::Collector;
use weir_control::monitoring::{self, export, export_tenant, job_metrics};
use weir_store::model::{RunStatus, StreamCounts};

use crate::exposition::read;
use crate::stage::Stage;

#[tokio::test]
async fn the_names_and_labels_of_the_seed_are_there_and_the_page_is_strict_prometheus() {
    let stage = Stage::new().await;
    let job = stage.job("acme", "quotes", vec![]).await;
    stage.ran(&job, RunStatus::Succeeded, 1_000, 0).await;
    stage.ran(&job, RunStatus::Succeeded, 500, 5).await;
    stage.ran(&job, RunStatus::Failed, 0, 0).await;
    stage.platform.metrics.http("GET", "/health", 200, Duration::from_millis(1));
    stage.collect().await;
    let text = export(&stage.platform).await;
    let page = read(&text);
    let rest = [("provider_type", "rest_api"), ("tenant_id", "acme")];
    let with = |more: &[(&'static str, &'static str)]| [more, &rest].concat();
    assert_eq!(page.value("uis_runner_jobs_total", &with(&[("status", "completed")])), Some(2.0), "{text}");
    assert_eq!(page.value("uis_runner_jobs_total", &with(&[("status", "failed")])), Some(1.0));
    assert_eq!(page.value("uis_runner_records_ingested_total", &with(&[("sink_type", "iceberg")])), Some(1_500.0));
    assert_eq!(page.value("uis_runner_bytes_ingested_total", &with(&[("sink_type", "iceberg")])), Some(15_000.0));
    assert_eq!(page.value("uis_runner_errors_total", &with(&[("error_type", "timeout")])), Some(1.0));
    assert_eq!(page.value("weir_engine_rows_rejected_total", &rest), Some(5.0));
    let mean = page.value("uis_runner_job_duration_seconds", &rest).unwrap();
    assert!((mean - 45.2).abs() < 1e-9, "{mean}");
    assert_eq!(page.value("uis_runner_job_duration_seconds_bucket", &with(&[("le", "60")])), Some(3.0));
    assert_eq!(page.value("uis_runner_job_duration_seconds_bucket", &with(&[("le", "30")])), Some(0.0));
    assert_eq!(page.types["uis_runner_job_duration_seconds"], "histogram");
    for line in [
        "uis_runner_jobs_total{status=\"completed\",provider_type=\"rest_api\",tenant_id=\"acme\"} 2",
        "uis_runner_records_ingested_total{provider_type=\"rest_api\",tenant_id=\"acme\",sink_type=\"iceberg\"} 1500",
    ] {
        assert!(text.lines().any(|l| l == line), "the seed prints it so: {line}\n{text}");
    }
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "weir_http_requests_total",
        "weir_store_up",
    ] {
        assert!(page.types.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn totals_outlive_a_restart_and_a_run_counts_once_however_often_its_end_is_seen() {
    for stage in Stage::both().await {
        let job = stage.job("acme", "quotes", vec![]).await;
        stage.ran(&job, RunStatus::Succeeded, 10, 0).await;
        stage.collect().await;
        stage.collect().await;
        // Two replicas at the same time.
        for _ in 0..20 {
            stage.ran(&job, RunStatus::Succeeded, 1, 0).await;
        }
        let (one, other) = (stage.platform.clone(), stage.platform.clone());
        let drain = async |platform: Platform| {
            let mut collector = Collector::new(platform);
            while collector.take_ended().await.unwrap() > 0 {}
        };
        tokio::join!(drain(one), drain(other));
        let again = Platform::open(stage.platform.settings.as_ref().clone(), stage.platform.workbench.clone()).await.unwrap();
        let page = read(&export(&again).await);
        let labels = [("status", "completed"), ("provider_type", "rest_api"), ("tenant_id", "acme")];
        assert_eq!(page.value("uis_runner_jobs_total", &labels), Some(21.0));
    }
}

#[tokio::test]
async fn a_tenants_own_page_has_nothing_of_others_and_nothing_of_the_process() {
    let stage = Stage::new().await;
    for tenant in ["acme", "other"] {
        let job = stage.job(tenant, "quotes", vec![]).await;
        stage.ran(&job, RunStatus::Succeeded, 10, 0).await;
        stage.request(tenant, &job.id).await;
        stage
            .store(tenant)
            .request_cancel(&stage.store(tenant).list_runs(&Default::default(), &page_of(1)).await.unwrap().items[0].id)
            .await
            .unwrap();
    }
    stage.collect().await;
    let text = export_tenant(&stage.platform, &stage.scope("acme")).await.unwrap();
    read(&text);
    assert!(text.contains("tenant_id=\"acme\"") && !text.contains("other") && !text.contains("process_"), "{text}");
}

fn page_of(limit: u32) -> weir_store::model::PageRequest {
    weir_store::model::PageRequest { limit, cursor: None }
}

#[tokio::test]
async fn job_metrics_fold_the_runs_and_a_foreign_job_is_not_found() {
    let stage = Stage::new().await;
    let job = stage.job("acme", "quotes", vec![]).await;
    stage.ran(&job, RunStatus::Succeeded, 90, 10).await;
    stage.ran(&job, RunStatus::Failed, 0, 0).await;
    stage.collect().await;
    let metrics = job_metrics(&stage.platform, &stage.scope("acme"), &job.id, 1).await.unwrap();
    assert_eq!((metrics.runs["succeeded"], metrics.runs["failed"], metrics.time_range_hours), (1, 1, 1));
    assert_eq!(metrics.metrics["rows_written"], 90.0);
    assert_eq!(metrics.metrics["rejected_rows"], 10.0);
    assert!((metrics.metrics["error_rate"] - 0.55).abs() < 1e-9);
    assert!(metrics.metrics["cost_usd"] > 0.07 && metrics.metrics["freshness"] < 60.0, "{:?}", metrics.metrics);
    assert_eq!(metrics.series["rows_written"].len(), 2);
    let foreign = job_metrics(&stage.platform, &stage.scope("other"), &job.id, 1).await.unwrap_err();
    assert_eq!(foreign.kind(), weir_error::Kind::NotFound);
}

#[tokio::test]
async fn the_dashboard_shows_what_fails_what_waits_and_what_it_costs() {
    let stage = Stage::new().await;
    let (good, bad) = (stage.job("acme", "good", vec![]).await, stage.job("acme", "bad", vec![]).await);
    stage.ran(&bad, RunStatus::Failed, 0, 0).await;
    stage.ran(&good, RunStatus::Failed, 0, 0).await;
    stage.ran(&good, RunStatus::Succeeded, 900, 0).await;
    stage.collect().await;
    stage.request("acme", &good.id).await;
    let shown = monitoring::dashboard(&stage.platform, &stage.scope("acme")).await.unwrap();
    assert_eq!((shown.runs_today["failed"], shown.runs_today["succeeded"], shown.runs_today["queued"]), (2, 1, 1));
    assert_eq!(shown.failing_jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["bad"]);
    assert_eq!(shown.failing_jobs[0].code.as_deref(), Some("WEIR-WORKER-022"));
    assert_eq!((shown.throughput.rows_today, shown.throughput.rows_per_second, shown.queue.queued), (900.0, 1.0, 1));
    assert!((shown.cost.today_usd - 0.12).abs() < 0.001, "{:?}", shown.cost);
    assert!(shown.late_jobs.is_empty() && shown.lag.name.as_deref() == Some("good"), "{:?} {:?}", shown.late_jobs, shown.lag);
    let other = monitoring::dashboard(&stage.platform, &stage.scope("other")).await.unwrap();
    assert_eq!((other.throughput.rows_today, other.failing_jobs.len(), other.queue.queued), (0.0, 0, 0));
}

#[tokio::test]
async fn the_history_names_the_jobs_that_cost_the_most() {
    let stage = Stage::new().await;
    let (cheap, dear) = (stage.job("acme", "cheap", vec![]).await, stage.job("acme", "dear", vec![]).await);
    stage.ran(&cheap, RunStatus::Succeeded, 1, 0).await;
    stage.ran(&dear, RunStatus::Succeeded, 1, 0).await;
    stage.ran(&dear, RunStatus::Failed, 0, 0).await;
    stage.collect().await;
    let shown = monitoring::history(&stage.platform, &stage.scope("acme"), 24).await.unwrap().costliest_jobs;
    let told: Vec<_> = shown.iter().map(|job| (job.name.as_str(), job.job_id.as_str(), job.runs)).collect();
    assert_eq!(told, [("dear", dear.id.as_str(), 2), ("cheap", cheap.id.as_str(), 1)]);
    assert!(shown[0].cost_usd > shown[1].cost_usd && shown[1].cpu_seconds > 0.0 && shown[1].cost_usd > 0.0, "{shown:?}");
    let other = monitoring::history(&stage.platform, &stage.scope("other"), 24).await.unwrap();
    assert_eq!(other.costliest_jobs, []);
}

#[tokio::test]
async fn a_run_that_goes_on_is_measured_by_the_process_that_executes_it() {
    let stage = Stage::new().await;
    let job = stage.job("acme", "quotes", vec![]).await;
    stage.request("acme", &job.id).await;
    let system = stage.platform.store.system();
    let claimed = system.claim_run(&stage.platform.settings.runner_id, Duration::from_secs(60)).await.unwrap().unwrap();
    let counts = StreamCounts { name: "s".into(), rows_read: 70, rows_written: 60, ..StreamCounts::default() };
    system.progress(&claimed.lease, vec![counts], vec![]).await.unwrap();
    let mut elsewhere = stage.platform.settings.as_ref().clone();
    elsewhere.runner_id = "another".into();
    let elsewhere = Platform::open(elsewhere, stage.platform.workbench.clone()).await.unwrap();
    Collector::new(elsewhere).look(chrono::Utc::now()).await.unwrap();
    let before = job_metrics(&stage.platform, &stage.scope("acme"), &job.id, 1).await.unwrap();
    assert!(before.series.is_empty(), "{:?}", before.series);
    Collector::new(stage.platform.clone()).look(chrono::Utc::now()).await.unwrap();
    let metrics = job_metrics(&stage.platform, &stage.scope("acme"), &job.id, 1).await.unwrap();
    assert_eq!(metrics.metrics["rows_written"], 60.0);
    assert!(metrics.metrics["processing_lag"] >= 0.0 && metrics.metrics["rows_per_second"] > 0.0);
}

#[tokio::test]
async fn a_schema_that_drifts_is_recorded_and_counted_once() {
    let stage = Stage::new().await;
    let job = stage.job("acme", "quotes", vec![]).await;
    let report = |columns: serde_json::Value| Some(json!({"streams": [{"name": "s", "schema": columns}]}));
    let first = report(json!([{"name": "id", "type": "int64"}, {"name": "a", "type": "utf8"}]));
    stage.ran_with(&job, RunStatus::Succeeded, 1, 0, first.clone()).await;
    stage.ran_with(&job, RunStatus::Succeeded, 1, 0, first).await;
    stage.collect().await;
    assert!(stage.store("acme").drifts(&job.id).await.unwrap().is_empty());
    let run = stage
        .ran_with(
            &job,
            RunStatus::Succeeded,
            1,
            0,
            report(json!([{"name": "id", "type": "utf8"}, {"name": "b", "type": "utf8"}])),
        )
        .await;
    // The first process died after it had recorded the drift and before it had counted the run.
    assert_eq!(monitoring::drift::observe(&stage.platform, &run).await.unwrap(), 3);
    stage.collect().await;
    let drifts = stage.store("acme").drifts(&job.id).await.unwrap();
    assert_eq!((drifts.len(), drifts[0].run_id.clone(), drifts[0].changes.as_array().unwrap().len()), (1, run.id, 3));
    let page = read(&export(&stage.platform).await);
    assert_eq!(
        page.value("weir_engine_schema_changes_total", &[("provider_type", "rest_api"), ("tenant_id", "acme")]),
        Some(3.0)
    );
    assert_eq!(job_metrics(&stage.platform, &stage.scope("acme"), &job.id, 1).await.unwrap().metrics["schema_drift"], 3.0);
}
