//! Kafka through the program: dead letters in a topic of their own.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use weir_testkit::{Database, Kafka, PostgresServer};

use crate::harness::Folder;

const BATCH: u64 = 120;

/// The broker of the run, and a topic with three partitions in it.
struct Bus {
    kafka: Kafka,
    folder: Folder,
    topic: String,
}

impl Bus {
    fn new() -> Self {
        let bus = Self {
            kafka: Kafka::shared().unwrap(),
            folder: Folder::new(),
            topic: format!("orders-{}", uuid::Uuid::new_v4().simple()),
        };
        let mut tool = bus.tool("org.apache.kafka.tools.TopicCommand");
        let made = tool.args(["--create", "--partitions", "3", "--topic", &bus.topic]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        bus
    }

    fn tool(&self, class: &str) -> std::process::Command {
        let mut tool = self.kafka.tool(self.folder.path(), class).unwrap();
        tool.args(["--bootstrap-server", &self.kafka.bootstrap()]);
        tool
    }

    /// Records with these numbers; every seventh has none where one should be.
    fn produce(&self, ids: std::ops::Range<u64>) {
        let mut child = self
            .tool("org.apache.kafka.tools.ConsoleProducer")
            .args(["--topic", &self.topic, "--reader-property", "parse.key=true"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        for id in ids {
            writeln!(pipe, "k{}\t{}", id % 11, value(id)).unwrap();
        }
        drop(pipe);
        assert!(child.wait().unwrap().success());
    }

    /// Options of source and sink.
    fn at(&self, topic: &str, more: &str) -> String {
        format!("{{kafka: {{bootstrap_servers: '{}', topic: {topic}, {more}}}}}", self.kafka.bootstrap())
    }

    fn dead(&self) -> String {
        format!("{}.dead", self.topic)
    }
}

fn is_broken(id: u64) -> bool {
    id.is_multiple_of(7)
}

fn value(id: u64) -> String {
    if is_broken(id) { format!("{{\"id\": \"no. {id}\"}}") } else { format!("{{\"id\": {id}}}") }
}

fn lines(database: &Database, sql: &str) -> Vec<String> {
    let rows = database.rows(sql).unwrap_or_default();
    rows.into_iter()
        .map(|row| row.into_iter().map(|cell| cell.unwrap_or_else(|| "~".into())).collect::<Vec<_>>().join("|"))
        .collect()
}

#[test]
fn dead_letters_are_each_once_and_in_order_in_a_topic_over_kills_and_are_read_back() {
    let bus = Bus::new();
    let database = PostgresServer::shared().unwrap().create_database().unwrap();
    let columns = "columns: {id: bigint}, only_columns: true";
    bus.folder.write(
        "orders.yaml",
        format!(
            "pipeline: orders\nmode: streaming\ncheckpoint_interval_ms: 50\nsource: {}\nsink: {{postgres: {{url: '{}', table: orders}}}}\n\
             dead_letters: {{allow: 1000, to: {}}}\n",
            bus.at(&bus.topic, columns),
            database.url(),
            bus.at(&bus.dead(), "format: dead_letter, headers: {team: shop}")
        ),
    );
    bus.produce(0..BATCH);
    let plan = bus.folder.weir(&["plan", "orders.yaml"]).ok();
    let told = plan.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains(&format!("dead letters go to topic {} at", bus.dead())), "{}", plan.shown());
    let count = || lines(&database, "SELECT count(*) FROM orders").first().map_or(0, |count| count.parse::<u64>().unwrap());
    for round in 1..4 {
        let running = bus.folder.start(&["run", "--progress", "none", "orders.yaml"]);
        let before = count();
        weir_testkit::wait_until("rows arrive", Duration::from_secs(60), || count() > before).unwrap();
        running.signal(libc::SIGKILL);
        assert_eq!(running.end().code, -1);
        bus.produce(round * BATCH..(round + 1) * BATCH);
    }
    let run = bus.folder.weir(&["run", "--json", "--progress", "none", "--until-caught-up", "orders.yaml"]).ok();
    let all = 4 * BATCH;
    let broken: Vec<u64> = (0..all).filter(|id| is_broken(*id)).collect();
    assert_eq!(run.json()["streams"][0]["rows_dead"], broken.len() as u64, "{}", run.shown());
    assert_eq!(
        lines(&database, "SELECT count(*), count(DISTINCT id) FROM orders"),
        [format!("{0}|{0}", all - broken.len() as u64)]
    );

    // The records as they came, with where they were: a pipeline reads them back.
    bus.folder.write(
        "again.yaml",
        format!(
            "pipeline: again\nsource: {}\nsink: {{postgres: {{url: '{}', table: again}}}}\n",
            bus.at(&bus.dead(), "columns: {id: text}, only_columns: true, metadata: [key, headers, partition, offset]"),
            database.url()
        ),
    );
    bus.folder.weir(&["run", "--progress", "none", "again.yaml"]).ok();
    let mut found = lines(&database, "SELECT id FROM again");
    let mut expected: Vec<String> = broken.iter().map(|id| format!("no. {id}")).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let header = |name: &str| format!("(SELECT h->>1 FROM jsonb_array_elements(_headers::jsonb) h WHERE h->>0 = '{name}')");
    let told = format!(
        "SELECT DISTINCT _key, {}, {}, {}, {} FROM again",
        header("team"),
        header("weir.stream"),
        header("weir.topic"),
        header("weir.pipeline")
    );
    assert_eq!(lines(&database, &told), [format!("{0}|shop|{0}|{0}|orders", bus.topic)]);
    // In the order in which they were set aside, and every one at another place of the source.
    let order = format!(
        "SELECT count(DISTINCT _partition), bool_and(after > before), count(DISTINCT place) FROM (
           SELECT _partition, {place} AS place, {id}::bigint AS after, lag({id}::bigint, 1, -1) OVER (ORDER BY _offset) AS before FROM again) t",
        place = header("weir.place"),
        id = header("weir.id")
    );
    assert_eq!(lines(&database, &order), [format!("1|t|{}", broken.len())]);
    // They wait in the checkpoint too.
    let kept = bus.folder.weir(&["dead", "list", "orders", "--json"]).ok();
    let kept: u64 = kept.json().as_array().unwrap().iter().map(|group| group["count"].as_u64().unwrap()).sum();
    assert_eq!(kept, broken.len() as u64);
}
