//! The spans of real runs, as a real OpenTelemetry collector takes them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use weir_control::telemetry::Tracing;
use weir_store::model::RunStatus;
use weir_testkit::OtelCollector;

use crate::stage::Stage;

const SPEC: &str = "pipeline: traced\nsource: {file: {path: in.csv}}\nsink: {file: {path: out, format: ndjson}}\n";

async fn spans_of_a_run(endpoint: String, collector: OtelCollector, spec: &str, count: usize) -> (RunStatus, Vec<Value>) {
    let stage = Stage::with(|settings| {
        settings.tracing_endpoint = Some(endpoint);
        settings.tracing_service_name = "ingestion-runner".into();
    })
    .await;
    stage.write("in.csv", "id\n1\n2\n3\n");
    let (tracing, sender) = Tracing::new(&stage.platform.settings).unwrap().unwrap();
    let stop = CancellationToken::new();
    let sending = tokio::spawn(sender.run(stop.clone()));
    let mut job = Stage::new_job("traced", spec);
    job.retry.max_attempts = 1;
    let run = stage.run(job).await;
    let working = stage.work_with(tracing);
    let run = stage.until(&run.id, "ended", |run| run.status.is_final()).await;
    working.stop().await;
    stop.cancel();
    sending.await.unwrap();
    let spans = tokio::task::spawn_blocking(move || collector.wait_for(count, Duration::from_secs(20)).unwrap()).await.unwrap();
    (run.status, spans)
}

fn by_name(spans: &[Value]) -> BTreeMap<&str, &Value> {
    spans.iter().map(|span| (span["name"].as_str().unwrap(), span)).collect()
}

fn attribute<'a>(span: &'a Value, list: &str, key: &str) -> Option<&'a Value> {
    span[list].as_array()?.iter().find(|a| a["key"] == key).map(|a| &a["value"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_one_tree_over_http_and_over_grpc() {
    for grpc in [false, true] {
        let collector = OtelCollector::start().unwrap();
        let endpoint = if grpc { collector.grpc_endpoint() } else { collector.http_endpoint() };
        let (status, spans) = spans_of_a_run(endpoint, collector, SPEC, 6).await;
        assert_eq!(status, RunStatus::Succeeded);
        let named = by_name(&spans);
        let root = named["Job Execution"];
        for step in ["Secret Resolution", "Compilation", "Job Submission", "Completion"] {
            assert_eq!(named[step]["parentSpanId"], root["spanId"], "{step}");
            assert_eq!(named[step]["traceId"], root["traceId"], "{step}");
        }
        let stream = named["stream in"];
        assert_eq!(stream["parentSpanId"], named["Job Submission"]["spanId"]);
        assert_eq!(attribute(stream, "attributes", "weir.rows_written").unwrap()["intValue"], "3");
        assert_eq!(attribute(root, "resource", "service.name").unwrap()["stringValue"], "ingestion-runner");
        assert_eq!(spans.len(), 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_shows_where_it_failed() {
    let collector = OtelCollector::start().unwrap();
    let endpoint = collector.http_endpoint();
    let spec = SPEC.replace("in.csv", "absent.csv");
    let (status, spans) = spans_of_a_run(endpoint, collector, &spec, 3).await;
    assert_eq!(status, RunStatus::Failed);
    let named = by_name(&spans);
    // OTLP's status code 2 is an error.
    assert_eq!(named["Job Execution"]["status"]["code"], 2);
    let failed: Vec<&str> = spans.iter().filter(|s| s["status"]["code"] == 2).map(|s| s["name"].as_str().unwrap()).collect();
    assert!(failed.iter().any(|name| ["Compilation", "Job Submission"].contains(name)), "{failed:?}");
    assert!(attribute(named["Job Execution"], "attributes", "error.type").is_some());
}
