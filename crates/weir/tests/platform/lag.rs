//! A stream that cannot keep up: what waits at a real broker reaches the platform's measures, alerts fire and are resolved, and the API tells both.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;

use chrono::{DateTime, Duration, Utc};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use weir_control::config::Environment;
use weir_control::monitoring::alerts::{Turn, evaluate};
use weir_control::monitoring::collector::Collector;
use weir_store::model::{NewJob, NewRule};
use weir_testkit::{Kafka, PostgresServer};

use crate::stage::Stage;

/// More bytes than what lies between reader and sink.
const RECORDS: usize = 40_000;

fn fill(kafka: &Kafka, stage: &Stage, topic: &str) {
    let tool = |class: &str| {
        let mut tool = kafka.tool(stage.folder.path(), class).unwrap();
        tool.args(["--bootstrap-server", &kafka.bootstrap()]);
        tool
    };
    let made =
        tool("org.apache.kafka.tools.TopicCommand").args(["--create", "--partitions", "1", "--topic", topic]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut producer = tool("org.apache.kafka.tools.ConsoleProducer");
    let mut child = producer.args(["--topic", topic]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut pipe = std::io::BufWriter::new(child.stdin.take().unwrap());
    let filler = "x".repeat(1_000);
    for id in 0..RECORDS {
        writeln!(pipe, "{{\"id\":{id},\"filler\":\"{filler}\"}}").unwrap();
    }
    drop(pipe);
    assert!(child.wait().unwrap().success());
}

/// A look of the collector and a turn of the alerts at one moment.
async fn look(stage: &Stage, now: DateTime<Utc>) -> Turn {
    Collector::new(stage.platform.clone()).look(now).await.unwrap();
    evaluate(&stage.platform, now).await.unwrap()
}

fn get(address: SocketAddr, path: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// Measure and state of each alert.
async fn told(address: SocketAddr, job: &str) -> Vec<(String, String)> {
    let rules = format!("/api/v1/jobs/{job}/alerts");
    let ask = move || (get(address, "/api/v1/alerts"), get(address, &rules));
    let (alerts, rules) = tokio::task::spawn_blocking(ask).await.unwrap();
    let metric = |alert: &Value| {
        let rule = rules["items"].as_array().unwrap().iter().find(|rule| rule["id"] == alert["rule_id"]).unwrap();
        rule["metric"].as_str().unwrap().to_owned()
    };
    let told = |alert: &Value| (metric(alert), alert["state"].as_str().unwrap().to_owned());
    let mut all: Vec<_> = alerts["items"].as_array().unwrap().iter().map(told).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_falls_behind_is_an_alert_until_it_has_caught_up() {
    let (kafka, database) = (Kafka::shared().unwrap(), PostgresServer::shared().unwrap().create_database().unwrap());
    let stage = Stage::with(|settings| settings.environment = Environment::Development).await;
    let topic = format!("orders-{}", uuid::Uuid::new_v4().simple());
    fill(&kafka, &stage, &topic);
    // The sink is held for as long as there is a row in `held`.
    let held = "CREATE TABLE held (id int); INSERT INTO held VALUES (1); CREATE TABLE orders (id bigint, filler text);
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN WHILE EXISTS (SELECT FROM held) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN NULL; END $$;
        CREATE TRIGGER wait BEFORE INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION wait();";
    database.execute(held).unwrap();
    let spec = format!(
        "pipeline: orders\nmode: streaming\nsource: {{kafka: {{bootstrap_servers: '{}', topic: {topic}, columns: {{id: bigint, filler: text}}, \
         only_columns: true, fetch_bytes: 1048576}}}}\nsink: {{postgres: {{url: '{}', table: orders}}}}\n",
        kafka.bootstrap(),
        database.url()
    );
    let job = NewJob {
        mode: "streaming".into(),
        source_kinds: vec!["kafka".into()],
        sink_kinds: vec!["postgres".into()],
        ..Stage::new_job("orders", &spec)
    };
    let rule = |metric: &str, threshold: f64| NewRule {
        metric: metric.into(),
        threshold,
        window_secs: 60,
        severity: "warning".into(),
        action: "none".into(),
    };
    let job = stage.store().create_job(job, vec![rule("lag_rows", 5_000.0), rule("lag_seconds", 0.5)]).await.unwrap();
    let run = stage.run_of(&job).await;
    let working = stage.work();

    let stop = CancellationToken::new();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = weir_server::router(stage.platform.clone(), stop.clone());
    let serving = tokio::spawn(weir_server::serve(listener, router, stop.clone()));

    stage
        .until(&run.id, "behind", |run| {
            run.streams.iter().any(|stream| stream.lag_rows > Some(5_000) && stream.lag_ms > Some(500))
        })
        .await;
    let begin = Utc::now();
    assert_eq!(look(&stage, begin).await, Turn { fired: 2, resolved: 0 });
    let firing = |state: &str| vec![("lag_rows".to_owned(), state.to_owned()), ("lag_seconds".to_owned(), state.to_owned())];
    assert_eq!(told(address, job.id.as_str()).await, firing("firing"));
    assert_eq!(look(&stage, begin + Duration::seconds(1)).await, Turn::default(), "once");

    database.execute("DELETE FROM held").unwrap();
    stage
        .until(&run.id, "at the end of the topic", |run| {
            run.streams.iter().any(|stream| (stream.lag_rows, stream.lag_ms) == (Some(0), Some(0)))
        })
        .await;
    assert_eq!(look(&stage, begin + Duration::seconds(30)).await, Turn { fired: 0, resolved: 2 });
    assert_eq!(told(address, job.id.as_str()).await, firing("resolved"));

    let rows = || database.rows("SELECT count(*), count(DISTINCT id) FROM orders").unwrap()[0].clone();
    let all = vec![Some(RECORDS.to_string()), Some(RECORDS.to_string())];
    stage.until(&run.id, "written", |_| rows() == all).await;
    stop.cancel();
    serving.await.unwrap().unwrap();
    working.stop().await;
    assert_eq!(rows(), all);
}
