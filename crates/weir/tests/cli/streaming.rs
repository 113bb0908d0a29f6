//! A stream without end into a real PostgreSQL and into Parquet files: every row once, whatever step of the protocol fails.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use weir_connect::connector::{CheckReport, Connector, Descriptor, SourceContext};
use weir_connect::*;
use weir_engine::{Reporter, RunEvent, RunOptions, RunReport, RunStatus, Silent, run};
use weir_plan::{Planner, Unresolved, describe, vocabulary};
use weir_testkit::{Database, PostgresServer};

use crate::harness::Folder;

const PARTITIONS: i64 = 3;
const ROWS: i64 = 400;

/// A broker that has numbers, and every so often one that cannot be read.
struct Ticks {
    descriptor: Descriptor,
}

impl Ticks {
    fn new() -> Self {
        let nothing = json!({"type": "object", "properties": {}, "additionalProperties": false});
        Self {
            descriptor: Descriptor {
                name: "ticks",
                aliases: &[],
                summary: "numbers",
                connection: nothing.clone(),
                source: Some(nothing),
                sink: None,
                address_option: "topic",
            },
        }
    }
}

#[async_trait]
impl Connector for Ticks {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }
    fn validate(&self, _: &str, _: &Value, _: &Value) -> Result<()> {
        Ok(())
    }
    async fn check(&self, _: &Value) -> Result<CheckReport> {
        Ok(CheckReport::default())
    }
    async fn discover(&self, _: SourceContext) -> Result<Vec<StreamInfo>> {
        Ok(vec![])
    }
    async fn source(&self, _: SourceContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(TickSource))
    }
    async fn sink(&self, _: weir_connect::connector::SinkContext) -> Result<Arc<dyn Sink>> {
        Err(Error::internal("no sink"))
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("name", DataType::Utf8, true)]))
}

fn broken(id: i64) -> bool {
    id % 100 == 42
}

struct TickSource;

#[async_trait]
impl Source for TickSource {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { replayable: true, replay_note: "ticks are read again from an offset".into() }
    }
    fn unbounded(&self) -> bool {
        true
    }
    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        Ok(vec![StreamInfo {
            name: "ticks".into(),
            schema: schema(),
            primary_key: vec!["id".into()],
            estimated_rows: None,
            estimated_bytes: None,
            reading: "3 partitions".into(),
        }])
    }
    async fn open(&self, _: ReadRequest) -> Result<Box<dyn StreamReader>> {
        Ok(Box::new(TickReader))
    }
}

struct TickReader;

#[async_trait]
impl StreamReader for TickReader {
    fn schema(&self) -> SchemaRef {
        schema()
    }
    fn splits(&self) -> Vec<Split> {
        let split = |partition: i64| Split {
            id: format!("ticks-{partition}"),
            descriptor: json!(partition),
            estimated_rows: None,
            estimated_bytes: None,
        };
        (0..PARTITIONS).map(split).collect()
    }
    fn lag(&self) -> Option<u64> {
        Some(0)
    }
    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        let (partition, from) = (split.descriptor.as_i64().unwrap(), from.and_then(|from| from.as_i64()).unwrap_or(0));
        let mut events = Vec::new();
        for begin in (from..ROWS).step_by(25) {
            let end = (begin + 25).min(ROWS);
            let ids = (begin..end).map(|n| partition * ROWS + n);
            let (dead, good): (Vec<i64>, Vec<i64>) = ids.partition(|id| broken(*id));
            events.extend(dead.into_iter().map(|id| {
                Event::Dead(DeadLetter {
                    stream: "ticks".into(),
                    code: "WEIR-TEST-005".into(),
                    reason: "no number".into(),
                    place: format!("tick {id}"),
                    payload: b"?".to_vec(),
                    media_type: "text/plain".into(),
                })
            }));
            let names = StringArray::from_iter_values(good.iter().map(|id| format!("n{id}")));
            let records = RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(good)), Arc::new(names)]).unwrap();
            events.push(Event::Batch(Batch { records, position: Some(json!(end)), source_bytes: 500 }));
        }
        events.push(Event::Idle);
        Ok(futures::stream::iter(events).map(Ok).chain(futures::stream::pending()).boxed())
    }
}

fn all() -> BTreeSet<i64> {
    (0..PARTITIONS * ROWS).filter(|id| !broken(*id)).collect()
}

struct Scene {
    folder: Folder,
    database: Database,
    text: String,
}

impl Scene {
    fn new(top: &str, sink: &str) -> Self {
        let database = PostgresServer::shared().unwrap().create_database().unwrap();
        let sink = sink.replace("{url}", database.url());
        let text = format!(
            "pipeline: ticks_out\nmode: streaming\n{top}dead_letters: {{allow: 1000}}\nsource: {{ticks: {{}}}}\nsink: {sink}\n"
        );
        Self { folder: Folder::new(), database, text }
    }

    async fn plan(&self) -> weir_plan::Plan {
        let mut registry = weir_connectors::registry::registry();
        registry.add(Arc::new(Ticks::new()));
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

    async fn dead(&self) -> usize {
        let store = weir_engine::store::StateStore::open(&self.folder.path().join("state")).await.unwrap();
        store.dead_list("ticks_out", 1000).await.unwrap().len()
    }
}

/// Each named step fails once, in the middle of the stream; the run goes on by itself.
async fn survives(top: &str, sink: &str, steps: &[&str], skip: &[u32], shown: impl Fn(&Scene) -> Vec<i64>) {
    for step in steps {
        for skipped in skip {
            let scene = Scene::new(top, sink);
            weir_connect::__fail::cfg(*step, &format!("{skipped}*off->1*return->off")).unwrap();
            let report = scene.run().await;
            weir_connect::__fail::remove(*step);
            let told = format!("{step} after {skipped}: {:?}", report.error);
            assert_eq!(report.status, RunStatus::Succeeded, "{told}");
            assert_eq!(shown(&scene), all().into_iter().collect::<Vec<_>>(), "{told}");
            assert_eq!(scene.dead().await, 12, "{told}");
            // The next run finds nothing new, and the sums are those of the stream.
            let again = scene.run().await;
            assert_eq!((again.run_id, again.streams[0].rows_read), (report.run_id, (PARTITIONS * ROWS) as u64), "{told}");
            assert_eq!(again.streams[0].rows_written, all().len() as u64, "{told}");
            assert_eq!(shown(&scene).len(), all().len(), "{told}");
        }
    }
}

const TURN: [&str; 4] = ["engine.turn.before", "engine.turn.closing", "engine.turn.sink", "engine.turn.after"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appended_rows_are_in_postgres_once() {
    let steps = [
        &TURN[..],
        &["engine.checkpoint.prepared", "engine.checkpoint.flushed", "postgres.flush.before", "postgres.flush.after"],
    ]
    .concat();
    survives("roll: {interval_ms: 40}\n", "{postgres: {url: '{url}', table: ticks}}", &steps, &[0, 2], Scene::in_postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_with_a_key_are_merged_turn_by_turn() {
    let steps = [&TURN[..], &["postgres.flush.before", "postgres.flush.after"]].concat();
    let sink = "{postgres: {url: '{url}', table: ticks, write_mode: upsert, key: [id]}}";
    survives("", sink, &steps, &[0, 2], Scene::in_postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_appear_turn_by_turn() {
    let steps = [&TURN[..], &["files.commit.intent", "files.commit.renamed", "files.commit.manifest"]].concat();
    survives("roll: {interval_ms: 20}\n", "{file: {path: 'lake/{stream}', format: parquet}}", &steps, &[0], Scene::in_lake).await;
}

/// Both sinks keep positions: the results have a stream of their own, so that does not hinder them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rules_counted_is_in_a_table_once_whatever_fails() {
    let steps = [
        "engine.checkpoint.prepared",
        "engine.checkpoint.flushed",
        "postgres.flush.before",
        "postgres.flush.after",
        "engine.turn.after",
    ];
    for (step, skipped) in steps.into_iter().flat_map(|step| [0, 3].map(|skipped| (step, skipped))) {
        let mut scene = Scene::new("", "{}");
        let url = scene.database.url();
        scene.text = format!(
            "pipeline: ticks_out\nmode: streaming\ndead_letters: {{allow: 1000}}\nsources: {{ticks: {{ticks: {{}}}}}}\ntransforms:\n  checked:\n    \
             input: ticks\n    data_quality: {{rules: [{{range: {{column: id, max: 999}}, on_fail: drop}}, {{not_null: name, on_fail: warn}}]}}\n\
             sinks:\n  out: {{input: checked, postgres: {{url: '{url}', table: ticks}}}}\n  \
             results: {{input: checked.results, postgres: {{url: '{url}', table: results}}}}\n"
        );
        let text = describe::text(&scene.plan().await, 400);
        assert!(text.contains("results of rules go to") && text.contains("one row per rule and epoch"), "{text}");
        weir_connect::__fail::cfg(step, &format!("{skipped}*off->1*return->off")).unwrap();
        let report = scene.run().await;
        weir_connect::__fail::remove(step);
        let told = format!("{step} after {skipped}: {:?}", report.error);
        assert_eq!(report.status, RunStatus::Succeeded, "{told}");
        let passed: Vec<i64> = all().into_iter().filter(|id| *id <= 999).collect();
        assert_eq!(scene.in_postgres(), passed, "{told}");
        let sums = "SELECT rule, kind, columns, action, node, sum(rows_checked), sum(rows_failed), count(*) = count(DISTINCT id)
                    FROM results GROUP BY 1, 2, 3, 4, 5 ORDER BY 1";
        let (checked, failed) = (all().len().to_string(), (all().len() - passed.len()).to_string());
        let row = |cells: [&str; 8]| cells.map(|cell| Some(cell.to_owned())).to_vec();
        assert_eq!(
            scene.database.rows(sums).unwrap(),
            [
                row(["not_null_name", "not_null", "name", "warn", "checked", &checked, "0", "t"]),
                row(["range_id", "range", "id", "drop", "checked", &checked, &failed, "t"]),
            ],
            "{told}"
        );
        let sample = scene.database.rows("SELECT samples FROM results WHERE rows_failed > 0 ORDER BY id LIMIT 1").unwrap();
        assert!(sample[0][0].as_deref().unwrap().starts_with("[\"id=1"), "{sample:?}");
        // Nothing is left to carry.
        let store = weir_engine::store::StateStore::open(&scene.folder.path().join("state")).await.unwrap();
        assert!(store.rule_results("ticks_out", &report.run_id, "results", 0).await.unwrap().is_empty(), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_clean_and_does_not_wait() {
    struct Stop(CancellationToken, Option<Instant>);
    impl Reporter for Stop {
        fn event(&mut self, event: &RunEvent) {
            if matches!(event, RunEvent::Checkpoint { rows, .. } if *rows == (PARTITIONS * ROWS) as u64) {
                self.0.cancel();
                self.1 = Some(Instant::now());
            }
        }
    }
    let scene = Scene::new("checkpoint_interval_ms: 5\n", "{postgres: {url: '{url}', table: ticks}}");
    let plan = scene.plan().await;
    let text = describe::text(&plan, 120);
    assert!(text.contains("exactly_once") && text.contains("every 5ms"), "{text}");
    let mut stop = Stop(CancellationToken::new(), None);
    let options = RunOptions { until_caught_up: false, stop: stop.0.clone(), ..scene.options() };
    let report = run(plan, options, &mut stop).await;
    assert_eq!((report.status, report.clean_stop, report.exit_code()), (RunStatus::Interrupted, true, 0), "{:?}", report.error);
    assert!(stop.1.unwrap().elapsed() < Duration::from_secs(3), "a clean stop does not wait");
    assert_eq!(scene.in_postgres().len(), all().len());
}
