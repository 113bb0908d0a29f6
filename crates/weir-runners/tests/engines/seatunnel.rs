//! SeaTunnel: one node of Zeta 2.3.4.

use serde_json::json;
use weir_runners::client::{EngineClient, Outcome, Submission};
use weir_runners::seatunnel::client::{Api, SeaTunnelClient};
use weir_testkit::SeaTunnel;

use super::{end, failed, job, large, lost, moving, orders, rows, run, suspending, until, vanished, watch};

fn copy(dir: &std::path::Path, input: &str, output: &str) -> String {
    let at = |name: &str| dir.join(name).display().to_string();
    json!({
        "env": {"job.mode": "BATCH", "parallelism": 1},
        "source": [{
            "plugin_name": "LocalFile", "path": at(input), "file_format_type": "csv", "delimiter": ",", "skip_header_row_number": 1,
            "schema": {"fields": {"id": "bigint", "customer": "string", "amount": "double"}}, "result_table_name": "orders"
        }],
        "transform": [{
            "plugin_name": "Sql", "source_table_name": "orders", "result_table_name": "large",
            "query": "select id, customer, amount from orders where amount >= 50"
        }],
        "sink": [{
            "plugin_name": "LocalFile", "source_table_name": "large", "path": at(output), "tmp_path": at("tmp"), "file_format_type": "json",
            "custom_filename": false
        }]
    })
    .to_string()
}

fn endless() -> String {
    json!({
        "env": {"job.mode": "STREAMING", "parallelism": 1, "checkpoint.interval": 1000},
        "source": [{
            "plugin_name": "FakeSource", "result_table_name": "fake", "row.num": 50, "split.num": 500, "split.read-interval": 500,
            "schema": {"fields": {"name": "string", "age": "int"}}
        }],
        "transform": [],
        "sink": [{"plugin_name": "Console", "source_table_name": "fake", "log.print.data": "false"}]
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a download of 125 MB and a JVM: see the command above"]
async fn seatunnel_from_the_first_job_to_its_loss() {
    let mut seatunnel = SeaTunnel::start().unwrap();
    let client = SeaTunnelClient::new(&seatunnel.url(), Api::V1, None).unwrap();
    assert_eq!(client.version().await.unwrap(), weir_testkit::seatunnel::install::VERSION);
    let dir = tempfile::tempdir().unwrap();

    // A batch: the rows, and Zeta's own counts of them.
    orders(&dir.path().join("in/orders.csv"), true, None);
    let ended = run(&client, &job("large_orders", "job.json", copy(dir.path(), "in", "out"))).await;
    assert!(matches!(ended.outcome, Outcome::Finished) && ended.settled, "{ended:?}");
    assert_eq!(rows(&dir.path().join("out")), large());
    let last = ended.last.unwrap();
    eprintln!("seatunnel batch: {last:?}");
    assert_eq!((last.rows_read, last.rows_written), (Some(1000), Some(500)), "{last:?}");

    // A job that is wrong.
    let wrong = json!({"env": {"job.mode": "BATCH"}, "source": [{"plugin_name": "Nowhere"}], "transform": [], "sink": [{"plugin_name": "Console"}]});
    let error = client.submit(&job("wrong", "job.json", wrong.to_string())).await.unwrap_err();
    eprintln!("seatunnel refuses: {error:?}");
    assert_eq!((error.code(), error.exit_code()), ("WEIR-LAUNCH-016", 2));
    assert!(error.why().unwrap().contains("Nowhere"), "{error:?}");

    // A row that is wrong fails the job, with the reason and not with the trace.
    orders(&dir.path().join("broken/orders.csv"), true, Some("many,customer 1,1.50"));
    let ended = run(&client, &job("broken_orders", "job.json", copy(dir.path(), "broken", "none"))).await;
    let error = failed(&ended);
    eprintln!("seatunnel fails: {error:?}");
    assert_eq!((error.code(), error.exit_code()), ("WEIR-LAUNCH-013", 1));
    assert!(error.why().unwrap().contains("many"), "{error:?}");

    // Without end: it moves, stops with a savepoint, goes on from there, and is cancelled.
    let mut stream = Submission { streaming: true, ..job("endless", "job.json", endless()) };
    let submitted = client.submit(&stream).await.unwrap();
    let ended = end(&client, &submitted, suspending(), Some(moving)).await;
    let Outcome::Suspended(savepoint) = ended.outcome else { panic!("{ended:?}") };
    assert_eq!(savepoint.0, submitted.id());
    stream.resume = Some(savepoint);
    let submitted = client.submit(&stream).await.unwrap();
    let ended = end(&client, &submitted, watch(), Some(moving)).await;
    assert!(matches!(ended.outcome, Outcome::Cancelled), "{ended:?}");

    // The node dies and forgets.
    stream.resume = None;
    let submitted = client.submit(&stream).await.unwrap();
    until(&client, &submitted, "it moves", moving).await;
    seatunnel.kill_9().unwrap();
    lost(&client, &submitted, "seatunnel").await;
    seatunnel.restart().unwrap();
    vanished(&client, &submitted, "seatunnel").await;
}
