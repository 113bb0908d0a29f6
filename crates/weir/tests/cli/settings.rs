//! Settings: where they come from, what is wrong with them, and that secrets stay hidden.

use serde_json::{Value, json};

use crate::assert_said;
use crate::harness::Folder;

const SEED: &str = r#"{
  "runner_id": "production-runner", "tenant_id": "trading-platform", "max_concurrent_jobs": 20, "job_timeout_seconds": 3600,
  "vault_enabled": true, "vault_address": "http://vault:8200", "vault_token": "your-vault-token",
  "metrics_enabled": true, "metrics_port": 9090,
  "tracing_enabled": true, "tracing_endpoint": "http://jaeger:14268/api/traces", "log_level": "info",
  "supported_engines": ["seatunnel", "spark", "flink"],
  "engine_configs": {"spark": {"executor_memory": "8g", "executor_cores": "4"}, "flink": {"taskmanager_memory": "4g", "task_slots": "4"}}
}"#;

fn setting(shown: &Value, key: &str) -> (Value, String) {
    (shown[key]["value"].clone(), shown[key]["origin"].as_str().unwrap().to_owned())
}

#[test]
fn each_setting_is_shown_with_its_origin_and_without_secrets() {
    let mut folder = Folder::new();
    folder.write("runner.json", SEED);
    folder.set("MAX_CONCURRENT_JOBS", "7");
    folder.set("MINIO_ENDPOINT", "http://minio:9000");
    folder.set("MINIO_ACCESS_KEY", "weir");
    folder.set("MINIO_SECRET_KEY", "minio-s3cr3t");
    let said = folder.weir(&["config", "show", "--config", "runner.json", "--data", "elsewhere", "--json"]).ok();
    let shown = said.json();
    assert_eq!(setting(&shown, "runner_id"), (json!("production-runner"), "file runner.json".into()));
    assert_eq!(setting(&shown, "max_concurrent_jobs"), (json!(7), "environment MAX_CONCURRENT_JOBS".into()));
    assert_eq!(setting(&shown, "data_dir"), (json!("elsewhere"), "flag --data".into()));
    assert_eq!(setting(&shown, "database_url"), (json!("sqlite:elsewhere/weir.db"), "default".into()));
    assert_eq!(setting(&shown, "vault_token").0, json!("***"));
    assert!(said.err.contains("Jaeger") && said.err.contains("http://jaeger:4318/v1/traces"), "{}", said.err);
    let table = folder.weir(&["config", "show", "--config", "runner.json"]).ok();
    for text in [&said.out, &said.err, &table.out, &table.err] {
        assert!(!text.contains("your-vault-token") && !text.contains("minio-s3cr3t"), "{text}");
    }
    assert!(table.out.contains("tracing_endpoint") && table.out.contains("environment MINIO_ENDPOINT"), "{}", table.out);
}

#[test]
fn all_wrong_settings_are_told_at_once() {
    let mut folder = Folder::new();
    folder.write("runner.json", r#"{"max_concurent_jobs": 5, "log_level": "loud", "vault_token": ["s3cr3t"]}"#);
    folder.set("JOB_TIMEOUT_SECONDS", "soon");
    folder.set("TRACING_ENDPOINT", "http://zipkin:9411/api/v2/spans");
    folder.set("METRIC_PORT", "1");
    folder.set("METRICS_PROT", "1");
    let said = folder.weir(&["serve", "--config", "runner.json", "--listen", "everywhere"]);
    assert!(!said.err.contains("s3cr3t"));
    assert_said!("wrong_settings", said);
}

#[test]
fn development_without_a_token_is_for_this_machine_only() {
    let folder = Folder::new();
    let said = folder.weir(&["serve", "--dev", "--listen", "0.0.0.0:8080"]);
    assert_said!("dev_on_an_open_address", said);
    assert!(!folder.path().join("weir-data").exists(), "nothing was made");
}

#[test]
fn the_runner_says_what_it_is_and_can_do() {
    let folder = Folder::new();
    folder.write("runner.json", SEED);
    let info = folder.weir(&["runner", "info", "--config", "runner.json"]).ok().json();
    assert_eq!(info["supported_engines"], json!(["seatunnel", "spark", "flink"]));
    assert_eq!(info["engine_configs"]["flink"]["task_slots"], "4");
    assert!(info["sources"].as_array().unwrap().contains(&json!("postgres")), "{info}");
    assert_eq!((&info["vault_enabled"], &info["tenant_id"]), (&json!(true), &json!("trading-platform")));
}
