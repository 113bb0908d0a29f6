//! Brokers that are read without end, and killed: the program and the broker alike. The messages are written by the program too.

use std::ops::Range;
use std::time::Duration;

use weir_testkit::mqtt::Door;
use weir_testkit::{Database, Mosquitto, Nats, PostgresServer, wait_until};

use crate::harness::Folder;

pub const EACH: i64 = 3000;

pub struct Scene {
    pub folder: Folder,
    database: Database,
    /// `{nats: {…}}` without a role's own options.
    broker: String,
}

impl Scene {
    pub fn new(broker: String, top: &str, source: &str, sink: &str) -> Self {
        let database = PostgresServer::shared().unwrap().create_database().unwrap();
        let scene = Self { folder: Folder::new(), database, broker };
        let sink = sink.replace("{url}", scene.database.url());
        scene.folder.write(
            "follow.yaml",
            format!(
                "pipeline: follow\nmode: streaming\ncheckpoint_interval_ms: 20ms\n{top}source: {{{}, {source}, columns: {{id: int64}}, only_columns: true}}}}\nsink: {sink}\n",
                scene.broker
            ),
        );
        scene
    }

    /// Writes ids into the broker.
    pub fn load(&self, ids: Range<i64>, sink: &str) {
        let lines: String = ids.map(|id| format!("{{\"id\": {id}}}\n")).collect();
        self.folder.write("in.ndjson", lines);
        let text = format!("pipeline: load\nsource: {{file: {{path: in.ndjson}}}}\nsink: {{{}, {sink}}}}}\n", self.broker);
        self.folder.write("load.yaml", text);
        self.folder.weir(&["run", "--progress", "none", "load.yaml"]).ok();
    }

    pub fn number(&self, what: &str) -> i64 {
        // Before the first run there is no table.
        let rows = self.database.rows(format!("SELECT {what} FROM events")).unwrap_or_default();
        rows.first().and_then(|row| row[0].as_deref()?.parse().ok()).unwrap_or(0)
    }

    pub fn rows(&self) -> i64 {
        self.number("count(*)")
    }

    pub fn different(&self) -> i64 {
        self.number("count(DISTINCT id)")
    }

    pub fn catch_up(&self) {
        self.folder.weir(&["run", "--progress", "none", "--until-caught-up", "follow.yaml"]).ok();
    }
}

pub fn until(what: &str, is_so: impl FnMut() -> bool) {
    wait_until(what, Duration::from_secs(90), is_so).unwrap();
}

const INTO_NATS: &str = "subject: events.new, stream: EVENTS, create_stream: true";

#[test]
fn messages_of_nats_are_in_postgres_once_whatever_is_killed() {
    let mut server = Nats::start().unwrap();
    let broker = format!("nats: {{servers: '{}', connect_timeout_secs: 3", server.url());
    let scene = Scene::new(broker, "", "stream: EVENTS", "{postgres: {url: '{url}', table: events}}");
    scene.load(0..10, INTO_NATS);
    let mut loaded = 10;
    for round in 0..4 {
        let before = scene.rows();
        let running = scene.folder.start(&["run", "--progress", "none", "follow.yaml"]);
        scene.load(loaded..loaded + EACH, INTO_NATS);
        loaded += EACH;
        until("some rows are there", || scene.rows() > before);
        if round % 2 == 1 {
            server.kill_9().unwrap();
        }
        running.signal(libc::SIGKILL);
        assert_eq!(running.end().code, -1);
        if round % 2 == 1 {
            server.restart().unwrap();
        }
    }
    // The server goes away under a run that stays.
    let running = scene.folder.start(&["run", "--progress", "none", "follow.yaml"]);
    until("everything is there", || scene.rows() == loaded);
    server.kill_9().unwrap();
    server.restart().unwrap();
    scene.load(loaded..loaded + EACH, INTO_NATS);
    loaded += EACH;
    until("the run has found the server again", || scene.rows() == loaded);
    running.signal(libc::SIGINT);
    running.end().ok();
    scene.catch_up();
    assert_eq!((scene.rows(), scene.different(), scene.number("max(id)")), (loaded, loaded, loaded - 1));
}

#[test]
fn messages_of_nats_are_in_files_once_whatever_is_killed() {
    let server = Nats::start().unwrap();
    let broker = format!("nats: {{servers: '{}'", server.url());
    let files = "{file: {path: 'lake/events', format: parquet}}";
    let scene = Scene::new(broker, "roll: {interval_ms: 30}\n", "subject: events.*", files);
    scene.load(0..10, INTO_NATS);
    let mut loaded = 10;
    let parts = || std::fs::read_dir(scene.folder.path().join("lake/events")).map(Iterator::count).unwrap_or(0);
    for _ in 0..4 {
        let before = parts();
        let running = scene.folder.start(&["run", "--progress", "none", "follow.yaml"]);
        scene.load(loaded..loaded + EACH, INTO_NATS);
        loaded += EACH;
        until("a file more is there", || parts() > before);
        running.signal(libc::SIGKILL);
        assert_eq!(running.end().code, -1);
    }
    scene.catch_up();
    let sql = "SELECT count(*) AS n, count(DISTINCT id) AS d, max(id) AS m FROM events";
    let said = scene.folder.weir(&["query", "--lake", "lake", "--output", "csv", sql]).ok();
    assert_eq!(said.out, format!("n,d,m\n{loaded},{loaded},{}\n", loaded - 1));
}

#[test]
fn messages_of_mqtt_are_all_in_postgres_whatever_is_killed() {
    let mut broker = Mosquitto::start(Door::Open).unwrap();
    let connection = format!("mqtt: {{host: 127.0.0.1, port: {}, connect_timeout_secs: 3", broker.port());
    let source = "topic: 'events/#', client_id: follow, receive_maximum: 200";
    let scene = Scene::new(connection, "", source, "{postgres: {url: '{url}', table: events}}");
    // The session begins; from now on the broker keeps what comes.
    scene.catch_up();
    scene.load(0..EACH, "topic: events/new");
    broker.save().unwrap();
    let running = scene.folder.start(&["run", "--progress", "none", "follow.yaml"]);
    until("some rows are there", || scene.rows() > 500);
    broker.kill_9().unwrap();
    broker.restart().unwrap();
    until("every row is there", || scene.different() == EACH);
    scene.load(EACH..2 * EACH, "topic: events/new");
    until("some more rows are there", || scene.different() > EACH);
    running.signal(libc::SIGKILL);
    assert_eq!(running.end().code, -1);
    scene.catch_up();
    assert_eq!((scene.different(), scene.number("max(id)")), (2 * EACH, 2 * EACH - 1));
    // Acknowledged by now: a run more finds nothing.
    let rows = scene.rows();
    scene.catch_up();
    assert_eq!(scene.rows(), rows);
}
