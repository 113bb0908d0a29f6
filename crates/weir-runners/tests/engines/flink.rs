//! Flink: a session cluster and its SQL gateway.

use weir_runners::client::{EngineClient, Outcome, State, Submission};
use weir_runners::flink::client::FlinkClient;
use weir_testkit::FlinkCluster;

use super::{end, failed, job, large, lost, moving, orders, rows, run, secret, suspending, until, vanished, watch};

fn tables(dir: &std::path::Path, input: &str, output: &str) -> String {
    format!(
        "CREATE TABLE orders (id BIGINT, customer STRING, amount DOUBLE) WITH (\n  'connector' = 'filesystem', 'path' = 'file://{dir}/{input}', 'format' = 'csv');\n\
         CREATE TABLE big (id BIGINT, customer STRING, amount DOUBLE) WITH (\n  'connector' = 'filesystem', 'path' = 'file://{dir}/{output}', 'format' = 'json');\n",
        dir = dir.display()
    )
}

const COPY: &str = "INSERT INTO big SELECT id, customer, amount FROM orders WHERE amount >= 50;\n";
const ENDLESS: &str = "CREATE TABLE numbers (id BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '100');\n\
                       CREATE TABLE nothing (id BIGINT) WITH ('connector' = 'blackhole');\nINSERT INTO nothing SELECT id FROM numbers;\n";

/// `cargo nextest run -p weir-runners --test engines --run-ignored all -E 'test(flink)'`; 330 MB are downloaded the first time, then it takes two minutes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a download of 330 MB and three JVMs: see the command above"]
async fn flink_from_the_first_job_to_its_loss() {
    let mut flink = FlinkCluster::start().unwrap();
    let client = FlinkClient::new(&flink.rest(), &flink.gateway(), None).unwrap();
    assert_eq!(client.version().await.unwrap(), weir_testkit::flink::install::VERSION);
    let dir = tempfile::tempdir().unwrap();

    // A batch: the rows, and Flink's own counts of them.
    orders(&dir.path().join("in/orders.csv"), false, None);
    let ended = run(&client, &job("large_orders", "job.sql", tables(dir.path(), "in", "out") + COPY)).await;
    assert!(matches!(ended.outcome, Outcome::Finished) && ended.settled, "{ended:?}");
    assert_eq!(rows(&dir.path().join("out")), large());
    let last = ended.last.unwrap();
    eprintln!("flink batch: {last:?}");
    // Flink chained the sink to its source, and counts there only what comes in.
    assert_eq!((last.rows_read, last.rows_written), (Some(1000), None), "{last:?}");

    // A job that is wrong is refused before it runs, without the password that stands in it.
    let wrong = Submission {
        variables: secret("PW", "hunter2-flink"),
        ..job(
            "wrong",
            "job.sql",
            "CREATE TABLE t (id INT) WITH ('connector' = 'jdbc', 'url' = 'jdbc:postgresql://h/d', 'password' = '${PW}');\nINSERT INTO t SELECT id FROM nowhere;\n"
                .into(),
        )
    };
    let error = client.submit(&wrong).await.unwrap_err();
    eprintln!("flink refuses: {error:?}");
    assert_eq!((error.code(), error.exit_code()), ("WEIR-LAUNCH-016", 2));
    assert_eq!(error.place(), Some("statement 2 of 2, INSERT INTO t SELECT id FROM"));
    assert!(error.why().unwrap().contains("Object 'nowhere' not found"), "{error:?}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");

    // A row that is wrong fails the job, with the reason and not with the trace.
    orders(&dir.path().join("broken/orders.csv"), false, Some("many,customer 1,1.50"));
    let ended = run(&client, &job("broken_orders", "job.sql", tables(dir.path(), "broken", "none") + COPY)).await;
    let error = failed(&ended);
    eprintln!("flink fails: {error:?}");
    assert_eq!((error.code(), error.exit_code()), ("WEIR-LAUNCH-013", 1));
    assert!(error.why().unwrap().contains("many"), "{error:?}");

    // Without end: it moves, stops with a savepoint, goes on from there, and is cancelled.
    let mut endless = Submission { streaming: true, ..job("endless", "job.sql", ENDLESS.into()) };
    let submitted = client.submit(&endless).await.unwrap();
    let ended =
        end(&client, &submitted, suspending(), Some(|look| moving(look) && look.checkpoints.is_some_and(|done| done > 0))).await;
    let Outcome::Suspended(savepoint) = ended.outcome else { panic!("{ended:?}") };
    assert!(savepoint.0.starts_with("file:/"), "{savepoint:?}");
    endless.resume = Some(savepoint);
    let submitted = client.submit(&endless).await.unwrap();
    let ended = end(&client, &submitted, watch(), Some(moving)).await;
    assert!(matches!(ended.outcome, Outcome::Cancelled), "{ended:?}");

    // The TaskManager dies: Flink begins the job again by itself, and that is told.
    endless.resume = None;
    let submitted = client.submit(&endless).await.unwrap();
    until(&client, &submitted, "it moves", moving).await;
    flink.kill_workers().unwrap();
    until(&client, &submitted, "Flink notices", |look| {
        look.state == State::Restarting || look.restarts.is_some_and(|times| times > 0)
    })
    .await;
    flink.restart_workers().unwrap();
    let look =
        until(&client, &submitted, "it moves again", |look| moving(look) && look.restarts.is_some_and(|times| times > 0)).await;
    eprintln!("flink restarted: {look:?}");

    // The JobManager dies and forgets.
    flink.kill_manager().unwrap();
    lost(&client, &submitted, "flink").await;
    flink.restart_manager().unwrap();
    vanished(&client, &submitted, "flink").await;
}
