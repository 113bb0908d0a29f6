//! Pulsar, read without end by its message ids, and killed: the program and the broker alike.

use weir_testkit::Pulsar;

use super::nats_mqtt::{EACH, Scene, until};

/// Entries of seven, so that positions lie inside them.
const INTO: &str = "topic: events, partitions: 3, batch_messages: 7, broker_timeout_secs: 180";
const FROM: &str = "topic: events, subscription_name: follow, broker_timeout_secs: 180";

fn broker(server: &Pulsar, namespace: &str) -> String {
    server.create_namespace(namespace).unwrap();
    format!("pulsar: {{service_url: '{}', admin_url: '{}', namespace: {namespace}", server.url(), server.admin_url())
}

#[test]
fn messages_are_in_postgres_once_whatever_is_killed() {
    let mut server = Pulsar::start().unwrap();
    let scene = Scene::new(broker(&server, "weir/killed"), "", FROM, "{postgres: {url: '{url}', table: events}}");
    scene.load(0..10, INTO);
    let mut loaded = 10;
    for round in 0..3 {
        let before = scene.rows();
        let running = scene.folder.start(&["run", "--progress", "none", "follow.yaml"]);
        scene.load(loaded..loaded + EACH, INTO);
        loaded += EACH;
        until("some rows are there", || scene.rows() > before);
        if round == 1 {
            server.kill_9().unwrap();
        }
        running.signal(libc::SIGKILL);
        assert_eq!(running.end().code, -1);
        if round == 1 {
            server.restart().unwrap();
        }
    }
    // The server goes away under a run that stays.
    let running = scene.folder.start(&["run", "--progress", "none", "follow.yaml"]);
    until("everything is there", || scene.rows() == loaded);
    server.kill_9().unwrap();
    server.restart().unwrap();
    scene.load(loaded..loaded + EACH, INTO);
    loaded += EACH;
    until("the run has found the server again", || scene.rows() == loaded);
    running.signal(libc::SIGINT);
    running.end().ok();
    scene.catch_up();
    assert_eq!((scene.rows(), scene.different(), scene.number("max(id)")), (loaded, loaded, loaded - 1));
}

#[test]
fn messages_are_in_parquet_files_once_whatever_is_killed() {
    let server = Pulsar::shared().unwrap();
    let files = "{file: {path: 'lake/events', format: parquet}}";
    let namespace = format!("weir/files-{}", std::process::id());
    let scene = Scene::new(broker(&server, &namespace), "roll: {interval_ms: 30}\n", FROM, files);
    scene.load(0..10, INTO);
    let mut loaded = 10;
    let parts = || std::fs::read_dir(scene.folder.path().join("lake/events")).map(Iterator::count).unwrap_or(0);
    for _ in 0..3 {
        let before = parts();
        let running = scene.folder.start(&["run", "--progress", "none", "follow.yaml"]);
        scene.load(loaded..loaded + EACH, INTO);
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
