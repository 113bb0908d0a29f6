//! A real Pulsar into a real PostgreSQL and into Parquet files: every row once, whatever step fails, and over a broker that is killed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch, StringArray};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use weir_connect::{Barrier, OnLoss, RunIdentity, SchemaChangePolicy, SinkContext, StreamTarget, WriteMode};
use weir_engine::{RunOptions, RunReport, RunStatus, Silent, run};
use weir_plan::{Planner, Unresolved, vocabulary};
use weir_testkit::{Database, PostgresServer, Pulsar};

use crate::harness::Folder;

struct Scene {
    folder: Folder,
    database: Database,
    connection: serde_json::Value,
    text: String,
}

impl Scene {
    fn new(server: &Pulsar, top: &str, sink: &str) -> Self {
        let namespace = format!("weir/end-{}", uuid::Uuid::new_v4().simple());
        server.create_namespace(&namespace).unwrap();
        let database = PostgresServer::shared().unwrap().create_database().unwrap();
        let sink = sink.replace("{url}", database.url());
        let connection = json!({"service_url": server.url(), "admin_url": server.admin_url(), "namespace": namespace});
        let text = format!(
            "pipeline: from_pulsar\nmode: streaming\n{top}source: {{pulsar: {{service_url: '{}', namespace: {namespace}, topic: ticks, \
             columns: {{id: int64, name: text}}, subscription_name: weir, broker_timeout_secs: 180}}}}\nsink: {sink}\n",
            server.url()
        );
        Self { folder: Folder::new(), database, connection, text }
    }

    /// Writes numbers to the topic, in entries of seven.
    async fn put(&self, range: std::ops::Range<i64>) {
        let names = StringArray::from_iter_values(range.clone().map(|id| format!("n{id}")));
        let columns: [(&str, arrow::array::ArrayRef); 2] =
            [("id", Arc::new(Int64Array::from_iter_values(range))), ("name", Arc::new(names))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let registry = weir_connectors::registry::registry();
        let context = SinkContext {
            connection: self.connection.clone(),
            options: json!({"topic": "ticks", "partitions": 3, "key": ["id"], "batch_messages": 7, "broker_timeout_secs": 180}),
            on_loss: OnLoss::default(),
            node: "seed".into(),
            parallelism: 1,
            base_dir: ".".into(),
        };
        let target = StreamTarget {
            run: RunIdentity { pipeline: "seed".into(), run_id: "1".into() },
            stream: "ticks".into(),
            schema: batch.schema(),
            key: Vec::new(),
            cursor: None,
            write_mode: WriteMode::Append,
            on_schema_change: SchemaChangePolicy::Evolve,
            changes: false,
        };
        let stream = registry.get("pulsar").unwrap().sink(context).await.unwrap().prepare(target).await.unwrap();
        let mut writer = stream.writer(0).await.unwrap();
        writer.write(batch).await.unwrap();
        writer.flush(&Barrier { epoch: 1, lane: 0, progress: Vec::new() }).await.unwrap();
    }

    async fn plan(&self) -> weir_plan::Plan {
        let registry = weir_connectors::registry::registry();
        let parsed = weir_spec::parse(&self.text, "pipeline.yaml", &vocabulary(&registry));
        let pipeline = Arc::new(parsed.pipelines.into_iter().next().unwrap());
        let base_dir = self.folder.path().to_path_buf();
        Planner { registry, resolve: Arc::new(Unresolved), base_dir, parallelism: 2 }.plan(pipeline).await.unwrap()
    }

    fn options(&self) -> RunOptions {
        RunOptions {
            parallelism: 2,
            until_caught_up: true,
            checkpoint_interval: Duration::from_millis(5),
            ..RunOptions::new(self.folder.path().join("state"))
        }
    }

    async fn run(&self) -> RunReport {
        run(self.plan().await, self.options(), &mut Silent).await
    }

    fn in_postgres(&self) -> Vec<i64> {
        let rows = self.database.rows("SELECT id FROM ticks ORDER BY id").unwrap();
        rows.into_iter().map(|row| row[0].as_deref().unwrap().parse().unwrap()).collect()
    }

    fn in_lake(&self) -> Vec<i64> {
        let said = self.folder.weir(&["query", "--lake", "lake", "--output", "csv", "SELECT id FROM ticks ORDER BY id"]).ok();
        said.out.lines().skip(1).map(|line| line.parse().unwrap()).collect()
    }
}

/// Each named step fails once; the run goes on by itself, and the next one finds what has come since.
async fn survives(top: &str, sink: &str, steps: &[&str], shown: impl Fn(&Scene) -> Vec<i64>) {
    let server = Pulsar::shared().unwrap();
    for step in steps {
        let scene = Scene::new(&server, top, sink);
        scene.put(0..500).await;
        weir_connect::__fail::cfg(*step, "1*return->off").unwrap();
        let report = scene.run().await;
        weir_connect::__fail::remove(*step);
        assert_eq!(report.status, RunStatus::Succeeded, "{step}: {:?}", report.error);
        assert_eq!(shown(&scene), (0..500).collect::<Vec<_>>(), "{step}");
        scene.put(500..600).await;
        let again = scene.run().await;
        assert_eq!(again.status, RunStatus::Succeeded, "{step}: {:?}", again.error);
        assert_eq!(shown(&scene), (0..600).collect::<Vec<_>>(), "{step}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_in_postgres_once() {
    let steps = ["engine.checkpoint.flushed", "postgres.flush.before", "postgres.flush.after", "engine.turn.closing"];
    survives("roll: {interval_ms: 40}\n", "{postgres: {url: '{url}', table: ticks}}", &steps, Scene::in_postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_in_parquet_files_once() {
    let steps = ["files.commit.intent", "files.commit.manifest", "engine.turn.after"];
    survives("roll: {interval_ms: 20}\n", "{file: {path: 'lake/{stream}', format: parquet}}", &steps, Scene::in_lake).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_while_a_stream_runs_loses_and_doubles_nothing() {
    let mut server = Pulsar::start().unwrap();
    let scene = Arc::new(Scene::new(&server, "roll: {interval_ms: 40}\n", "{postgres: {url: '{url}', table: ticks}}"));
    scene.put(0..500).await;
    let stop = CancellationToken::new();
    let (options, plan) = (RunOptions { until_caught_up: false, stop: stop.clone(), ..scene.options() }, scene.plan().await);
    let running = tokio::spawn(async move { run(plan, options, &mut Silent).await });
    let reaches = async |count: usize| {
        let end = Instant::now() + Duration::from_secs(180);
        loop {
            let scene = scene.clone();
            let there = tokio::task::spawn_blocking(move || {
                scene
                    .database
                    .rows("SELECT count(*) FROM ticks")
                    .map(|rows| rows[0][0].as_deref().unwrap().parse::<usize>().unwrap())
            });
            let there = there.await.unwrap().unwrap_or_default();
            if there >= count {
                return;
            }
            assert!(Instant::now() < end, "{there} of {count} rows have come");
            tokio::task::yield_now().await;
        }
    };
    reaches(500).await;
    for round in 1..3 {
        server.kill_9().unwrap();
        server = tokio::task::spawn_blocking(move || {
            server.restart().unwrap();
            server
        })
        .await
        .unwrap();
        scene.put(round * 500..round * 500 + 500).await;
        reaches(round as usize * 500 + 500).await;
    }
    stop.cancel();
    let report = running.await.unwrap();
    assert_eq!((report.status, report.clean_stop), (RunStatus::Interrupted, true), "{:?}", report.error);
    assert_eq!(scene.in_postgres(), (0..1500).collect::<Vec<_>>());
}
