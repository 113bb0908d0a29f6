//! Windows of a topic into a real PostgreSQL and into Parquet files, by a program that is killed in the middle again and again: what the batch
//! run over the same records gives, less the windows that are still open.

use std::path::Path;
use std::time::{Duration, Instant};

use weir_testkit::{Database, Kafka, PostgresServer};

use crate::harness::Folder;

const ROUNDS: i64 = 5;
/// Records of one round.
const PART: i64 = 4_000;
/// Milliseconds between two of them.
const STEP: i64 = 7;

struct Scene {
    folder: Folder,
    database: Database,
}

impl Scene {
    fn new(sink: &str) -> Self {
        let (broker, database) = (Kafka::shared().unwrap(), PostgresServer::shared().unwrap().create_database().unwrap());
        let folder = Folder::new();
        let topic = format!("windows-{}", uuid::Uuid::new_v4().simple());
        let bootstrap = broker.bootstrap();
        let url = database.url();
        // The tests share a broker, and their pipelines a name: each writes under ids of its own. By key, so that the time goes on in both partitions.
        folder.write(
            "fill.yaml",
            format!(
                "pipeline: fill\nmode: incremental\nsource: {{file: {{path: 'in/*.ndjson', format: ndjson, new_files_only: true}}}}\n\
                 sink: {{kafka: {{bootstrap_servers: '{bootstrap}', topic: {topic}, key: [kind], partitions: 2, transactional_id_prefix: {topic}}}}}\n"
            ),
        );
        let pipeline = |name: &str, top: &str, sink: &str, event_time: &str| {
            format!(
                "pipeline: {name}\n{top}\nsource: {{kafka: {{bootstrap_servers: '{bootstrap}', topic: {topic}, only_columns: true, \
                 columns: {{id: bigint, kind: text, at: timestamp}}{event_time}}}}}\n\
                 transforms:\n  - window: {{tumble: 3s, on: at, group_by: [kind], select: {{n: 'count(*)', total: 'sum(id)'}}}}\n\
                 sink: {sink}\n"
            )
        };
        let top = "mode: streaming\ncheckpoint_interval_ms: 20\nroll: {interval_ms: 40}";
        let sink = sink.replace("{url}", url);
        folder.write("live.yaml", pipeline("live", top, &sink, ", event_time: {column: at}"));
        let all = format!("{{postgres: {{url: '{url}', table: at_once}}}}");
        folder.write("once.yaml", pipeline("once", "mode: batch", &all, ""));
        Self { folder, database }
    }

    /// Adds the records of a round to the topic.
    fn fill(&self, round: i64) {
        let start = chrono::DateTime::from_timestamp_millis(1_767_225_600_000).unwrap();
        let line = |id: i64| {
            let at = start + chrono::TimeDelta::milliseconds(id * STEP);
            format!("{{\"id\":{id},\"kind\":\"k{}\",\"at\":\"{}\"}}\n", id % 7, at.format("%Y-%m-%dT%H:%M:%S%.3f"))
        };
        let text: String = (round * PART..(round + 1) * PART).map(line).collect();
        self.folder.write(&format!("in/{round:03}.ndjson"), text);
        self.folder.weir(&["run", "--progress", "none", "fill.yaml"]).ok();
    }

    /// Kills the program in the middle of each round, and lets it come to the end once.
    fn play(&self, shown: impl Fn(&Self) -> usize) {
        self.fill(0);
        for round in 1..ROUNDS {
            let before = shown(self);
            let running = self.folder.start(&["run", "--progress", "none", "live.yaml"]);
            self.fill(round);
            let begin = Instant::now();
            // What appears shows that a turn has ended; the next one has begun.
            while shown(self) == before {
                assert!(begin.elapsed() < Duration::from_secs(60), "nothing appears");
                std::thread::sleep(Duration::from_millis(5));
            }
            running.signal(libc::SIGKILL);
            assert_eq!(running.end().code, -1);
        }
        let said = self.folder.weir(&["run", "--json", "--until-caught-up", "live.yaml"]).ok();
        let report = said.json();
        assert_eq!(report["streams"][0]["rows_read"].as_i64(), Some(ROUNDS * PART), "{report}");
        assert_eq!(report["streams"][0]["rows_late"].as_u64().unwrap_or(0), 0, "{report}");
        self.folder.weir(&["run", "--progress", "none", "once.yaml"]).ok();
    }

    /// What a batch run over the topic gave, less what is open.
    fn expected(&self) -> Vec<Vec<Option<String>>> {
        let last = format!("to_timestamp((1767225600000 + {}) / 1000.0) AT TIME ZONE 'UTC'", (ROUNDS * PART - 1) * STEP);
        let rows = self.database.rows(format!(
            "SELECT kind, (extract(epoch FROM window_start) * 1000)::bigint, n, total FROM at_once WHERE window_end <= {last} ORDER BY 2, 1"
        ));
        let rows = rows.unwrap();
        assert!(rows.len() > 250, "{}", rows.len());
        rows
    }
}

#[test]
fn windows_in_postgres_are_those_of_the_batch_run() {
    let scene = Scene::new("{postgres: {url: '{url}', table: live, write_mode: upsert, key: [kind, window_start]}}");
    let shown = |scene: &Scene| {
        let count = scene.database.value("SELECT CASE WHEN to_regclass('live') IS NULL THEN 0 ELSE 1 END").unwrap();
        match count.as_str() {
            "0" => 0,
            _ => scene.database.value("SELECT count(*) FROM live").unwrap().parse().unwrap(),
        }
    };
    scene.play(shown);
    let live = "SELECT kind, (extract(epoch FROM window_start) * 1000)::bigint, n, total FROM live ORDER BY 2, 1";
    assert_eq!(scene.database.rows(live).unwrap(), scene.expected());
}

fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| if path.is_dir() { 0 } else { usize::from(path.extension().is_some_and(|kind| kind == "parquet")) }).sum()
}

#[test]
fn windows_in_files_are_those_of_the_batch_run() {
    let scene = Scene::new("{file: {path: 'lake/live', format: parquet}}");
    scene.play(|scene| files(&scene.folder.path().join("lake/live")));
    let sql =
        "SELECT kind, cast(arrow_cast(window_start, 'Timestamp(Millisecond, None)') AS bigint), n, total FROM live ORDER BY 2, 1";
    let said = scene.folder.weir(&["query", "--lake", "lake", "--output", "csv", sql]).ok();
    let found: Vec<Vec<Option<String>>> =
        said.out.lines().skip(1).map(|line| line.split(',').map(|text| Some(text.to_owned())).collect()).collect();
    assert_eq!(found, scene.expected());
}

#[test]
fn a_savepoint_goes_to_another_machine() {
    let scene = Scene::new("{postgres: {url: '{url}', table: live, write_mode: upsert, key: [kind, window_start]}}");
    scene.fill(0);
    scene.folder.weir(&["run", "--progress", "none", "--until-caught-up", "live.yaml"]).ok();
    let view = scene.folder.weir(&["state", "show", "live"]).ok();
    assert!(view.out.contains("keeps state as of epoch"), "{}", view.shown());
    let said = scene.folder.weir(&["savepoint", "live", "--output", "point"]).ok();
    assert!(said.err.contains("savepoint of live: 1 stream"), "{}", said.shown());
    assert_eq!(scene.folder.weir(&["savepoint", "live", "--output", "point"]).code, 1);
    (1..ROUNDS).for_each(|round| scene.fill(round));
    let begin = ["run", "--progress", "none", "--until-caught-up", "--state-dir", "elsewhere", "--parallelism", "3", "live.yaml"];
    let from = [&begin[..], &["--from-savepoint", "point"]].concat();
    scene.folder.weir(&from).ok();
    // It has a state of its own now.
    assert_eq!(scene.folder.weir(&from).code, 1);
    scene.folder.weir(&begin).ok();
    scene.folder.weir(&["run", "--progress", "none", "once.yaml"]).ok();
    let live = "SELECT kind, (extract(epoch FROM window_start) * 1000)::bigint, n, total FROM live ORDER BY 2, 1";
    assert_eq!(scene.database.rows(live).unwrap(), scene.expected());
}
