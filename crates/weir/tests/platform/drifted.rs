//! A source whose columns changed between two runs: the platform has it on record, as a measure, and as an alert.

use chrono::Utc;
use serde_json::json;
use weir_control::monitoring::alerts::{Turn, evaluate};
use weir_control::monitoring::collector::Collector;
use weir_store::model::{NewRule, RunStatus};

use crate::stage::{Stage, copy};

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_changed_since_the_run_before_are_on_record_and_fire_an_alert() {
    let stage = Stage::new().await;
    let rule = NewRule {
        metric: "schema_drift".into(),
        threshold: 0.5,
        window_secs: 3600,
        severity: "warning".into(),
        action: "none".into(),
    };
    let spec = copy("in.csv", "out", "overwrite");
    let job = stage.store().create_job(Stage::new_job("people", &spec), vec![rule]).await.unwrap();
    let working = stage.work();
    let mut collector = Collector::new(stage.platform.clone());
    let mut fired = Vec::new();
    for content in ["id,name,age\n1,Ada,36\n", "id,name,age\n2,Grace,85\n", "id,name,mail\n3,Edsger,e@example.org\n"] {
        stage.write("in.csv", content);
        let run = stage.run_of(&job).await;
        let run = stage.ended(&run.id).await;
        assert_eq!(run.status, RunStatus::Succeeded, "{:?}", run.report);
        while collector.take_ended().await.unwrap() > 0 {}
        fired.push(evaluate(&stage.platform, Utc::now()).await.unwrap());
    }
    assert_eq!(fired, [Turn::default(), Turn::default(), Turn { fired: 1, resolved: 0 }]);

    let drifts = stage.store().drifts(&job.id).await.unwrap();
    let told: Vec<_> = drifts.iter().map(|drift| drift.changes.clone()).collect();
    let changes = json!([
        {"column": "mail", "change": "added", "from": null, "to": "Utf8"},
        {"column": "age", "change": "removed", "from": "Int64", "to": null},
    ]);
    assert_eq!(told, [changes]);
    working.stop().await;
}
