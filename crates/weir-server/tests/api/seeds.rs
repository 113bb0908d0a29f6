//! The bodies of seed 000, as printed there.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use weir_store::model::Role;

use crate::harness::{OURS, Server, expect};

/// With its comment, as printed.
const BASIC: &str = r#"{
  "name": "MySQL to Data Lake Sync",
  "description": "Sync customer data to data lake",
  "source": {
    "connector_type": "jdbc",
    "connection_params": {
      "url": "jdbc:mysql://mysql:3306/mydb",
      "driver": "com.mysql.cj.jdbc.Driver",
      "user": "reader",
      "password": "password"
    },
    "query": "SELECT * FROM customers WHERE updated_at > '${last_run_time}'"
  },
  "sink": {
    "connector_type": "minio",
    "connection_params": {
      "endpoint": "http://minio:9000",
      "access_key": "minioadmin",
      "secret_key": "minioadmin"
    },
    "table_or_topic": "bronze/mysql/customers",
    "options": {
      "format": "parquet",
      "partition_by": ["year", "month", "day"]
    }
  },
  "transforms": [
    {
      "type": "sql",
      "config": {
        "query": "SELECT *, current_timestamp() as ingestion_time FROM customers"
      }
    }
  ],
  "sync_mode": "batch",
  "schedule": "0 */6 * * *",  // Every 6 hours
  "parallelism": 4,
  "monitoring": {
    "alert_rules": [
      {
        "metric": "error_rate",
        "threshold": 0.05,
        "window": "5m"
      }
    ]
  }
}"#;

#[tokio::test]
async fn the_seeds_job_is_taken_as_it_stands_and_its_secrets_never_come_back() {
    let server = Server::start().await;
    let send = |method: Method, path: &str| {
        server.ask(method, path, OURS, Role::Editor).header("content-type", "application/json").body(BASIC).send()
    };
    let checked = expect(send(Method::POST, "/api/v1/pipelines/validate").await.unwrap(), StatusCode::OK).await;
    assert!(checked["valid"].is_boolean(), "{checked}");
    let job = expect(send(Method::POST, "/api/v1/jobs").await.unwrap(), StatusCode::CREATED).await;
    assert_eq!(job["name"], "MySQL to Data Lake Sync");
    assert_eq!(job["schedule"]["cron"], "0 */6 * * *");
    let id = job["id"].as_str().unwrap();
    for path in
        [format!("/api/v1/jobs/{id}"), format!("/api/v1/jobs/{id}/versions"), "/api/v1/audit".into(), "/api/v1/events".into()]
    {
        let text = server.get(&path).send().await.unwrap().text().await.unwrap();
        assert!(!text.contains("minioadmin"), "{path}: {text}");
    }
    let rules = expect(server.get(&format!("/api/v1/jobs/{id}/alerts")).send().await.unwrap(), StatusCode::OK).await;
    assert_eq!((&rules["items"][0]["metric"], &rules["items"][0]["window"]), (&json!("error_rate"), &json!("5m")));
    let list =
        expect(server.get("/api/v1/jobs?name=data%20lake&mode=batch&connector=s3").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(list["items"][0]["id"], id);
    expect(send(Method::PUT, &format!("/api/v1/jobs/{id}")).await.unwrap(), StatusCode::OK).await;
    expect(server.delete(&format!("/api/v1/jobs/{id}")).send().await.unwrap(), StatusCode::NO_CONTENT).await;
    server.stop().await;
}

#[tokio::test]
async fn alert_rules_are_set_as_the_seed_prints_them() {
    let server = Server::start().await;
    let id = server.job(OURS, "watched").await;
    let path = format!("/api/v1/jobs/{id}/alerts");
    let list: Value =
        serde_json::from_str(r#"[{"metric": "error_rate", "threshold": 0.05, "window": "5m", "severity": "warning"}]"#).unwrap();
    let rules = expect(server.post(&path, &list).send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(rules["items"].as_array().unwrap().len(), 1);
    let one = json!({"metric": "rows_written", "threshold": 0});
    assert_eq!(
        expect(server.post(&path, &one).send().await.unwrap(), StatusCode::OK).await["items"].as_array().unwrap().len(),
        2
    );
    let wrapped: Value = serde_json::from_str(
        r#"{"alert_rules": [{"metric": "processing_lag", "threshold": 300, "window": "10m", "severity": "critical", "action": "webhook"}]}"#,
    )
    .unwrap();
    let rules = expect(server.post(&path, &wrapped).send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(rules["items"].as_array().unwrap().len(), 1);
    assert_eq!((&rules["items"][0]["window"], &rules["items"][0]["severity"]), (&json!("10m"), &json!("critical")));
    for bad in [
        json!([{"metric": "m"}]),
        json!([{"metric": "m", "threshold": 1, "window": "5 minutes"}]),
        json!({"rules": []}),
        json!("x"),
    ] {
        let body = expect(server.post(&path, &bad).send().await.unwrap(), StatusCode::BAD_REQUEST).await;
        assert_eq!(body["code"], "WEIR-API-011", "{bad}");
    }
    server.stop().await;
}
