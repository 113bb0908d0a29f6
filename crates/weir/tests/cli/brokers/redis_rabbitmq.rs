//! Redis and RabbitMQ through the program: rows arrive as promised although servers, connections and the program itself are killed.

use std::time::{Duration, Instant};

use serde_json::Value;
use weir_testkit::{Database, FaultProxy, PostgresServer, Rabbitmq, Redis};

use crate::harness::Folder;

/// Adds entries with these ids to a stream.
fn add(server: &Redis, key: &str, ids: std::ops::Range<u64>) {
    const SCRIPT: &str = "for id = tonumber(ARGV[1]), tonumber(ARGV[2]) do \
         redis.call('XADD', KEYS[1], '*', 'payload', '{\"id\": ' .. string.format('%d', id) .. ', \"name\": \"row ' .. string.format('%d', id) .. '\"}') end";
    let (first, last) = (ids.start.to_string(), (ids.end - 1).to_string());
    server.cli(&["EVAL", SCRIPT, "1", key, &first, &last]).unwrap();
}

/// Rows and different ids.
fn in_postgres(database: &Database) -> (u64, u64) {
    match database.rows("SELECT count(*), count(DISTINCT id) FROM t") {
        Ok(rows) => {
            let number = |at: usize| rows[0][at].as_deref().unwrap().parse().unwrap();
            (number(0), number(1))
        }
        Err(_) => (0, 0),
    }
}

fn in_lake(folder: &Folder) -> (u64, u64) {
    let sql = "SELECT count(*) AS n, count(DISTINCT id) AS different FROM t";
    let said = folder.weir(&["query", "--lake", "lake", "--output", "csv", sql]);
    if said.code != 0 {
        return (0, 0);
    }
    let (rows, different) = said.out.lines().nth(1).unwrap().split_once(',').unwrap();
    (rows.parse().unwrap(), different.parse().unwrap())
}

fn until(what: &str, is_so: impl FnMut() -> bool) {
    weir_testkit::wait_until(what, Duration::from_secs(60), is_so).unwrap();
}

/// Kills the program and cuts its connections, again and again, while entries come.
fn redis_into(sink: &str, top: &str, shown: impl Fn(&Folder, &Database) -> (u64, u64)) {
    const EACH: u64 = 3000;
    let server = Redis::shared().unwrap();
    let database = PostgresServer::shared().unwrap().create_database().unwrap();
    let folder = Folder::new();
    let proxy = FaultProxy::to(("127.0.0.1", server.port())).unwrap();
    let key = format!("orders-{}", uuid());
    let text = format!(
        "pipeline: orders\nmode: streaming\n{top}\
         source: {{redis: {{host: 127.0.0.1, port: {}, key: {key}, field: payload, columns: {{id: int64, name: text}}, only_columns: true, fetch_bytes: 4096}}}}\n\
         sink: {}\n",
        proxy.port(),
        sink.replace("{url}", database.url()),
    );
    folder.write("orders.yaml", text);
    let mut added = 0;
    for round in 0..5 {
        add(&server, &key, added..added + EACH);
        added += EACH;
        let before = shown(&folder, &database).0;
        let running = folder.start(&["run", "--progress", "none", "orders.yaml"]);
        until("some rows are there", || shown(&folder, &database).0 > before);
        if round % 2 == 0 {
            // It goes on by itself.
            proxy.cut();
            add(&server, &key, added..added + EACH);
            added += EACH;
            let now = shown(&folder, &database).0;
            until("it goes on after a cut", || shown(&folder, &database).0 > now);
        }
        running.signal(libc::SIGKILL);
        assert_eq!(running.end().code, -1);
    }
    folder.weir(&["run", "--progress", "none", "--until-caught-up", "orders.yaml"]).ok();
    assert_eq!(shown(&folder, &database), (added, added));
}

fn uuid() -> String {
    format!("{:x}-{:x}", std::process::id(), std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos())
}

#[test]
fn redis_into_postgres_is_exact_over_kills_and_cuts() {
    redis_into("{postgres: {url: '{url}', table: t}}", "checkpoint_interval_ms: 20\n", |_, database| in_postgres(database));
}

#[test]
fn redis_into_parquet_is_exact_over_kills_and_cuts() {
    redis_into("{file: {path: 'lake/t', format: parquet}}", "roll: {interval_ms: 100}\n", |folder, _| in_lake(folder));
}

/// A broker of one's own, a queue in it, and rows that the program itself publishes.
struct Queue {
    broker: Rabbitmq,
    virtual_host: String,
    folder: Folder,
    published: u64,
}

impl Queue {
    fn new(broker: Rabbitmq) -> Self {
        let virtual_host = broker.create_virtual_host().unwrap();
        broker.api("PUT", &format!("queues/{virtual_host}/orders"), serde_json::json!({"durable": true})).unwrap();
        Self { broker, virtual_host, folder: Folder::new(), published: 0 }
    }

    fn connection(&self) -> String {
        format!("host: 127.0.0.1, port: {}, virtual_host: {}", self.broker.port(), self.virtual_host)
    }

    fn publish(&mut self, count: u64) {
        let rows: String = (self.published..self.published + count).map(|id| format!("{id},row {id}\n")).collect();
        let name = format!("in-{}.csv", self.published);
        self.folder.write(&name, format!("id,name\n{rows}"));
        let text = format!(
            "pipeline: publish{}\nmode: batch\nsource: {{file: {{path: {name}, stream: orders}}}}\nsink: {{rabbitmq: {{{}, message_id_column: id}}}}\n",
            self.published,
            self.connection()
        );
        self.folder.write("publish.yaml", text);
        self.folder.weir(&["run", "--progress", "none", "publish.yaml"]).ok();
        self.published += count;
    }

    fn stream(&self, top: &str, sink: &str) {
        let text = format!(
            "pipeline: orders\nmode: streaming\n{top}\
             source: {{rabbitmq: {{{}, queue: orders, prefetch: 50, columns: {{id: int64, name: text}}, only_columns: true}}}}\nsink: {sink}\n",
            self.connection()
        );
        self.folder.write("orders.yaml", text);
    }

    fn catch_up(&self) {
        self.folder.weir(&["run", "--progress", "none", "--until-caught-up", "orders.yaml"]).ok();
    }

    /// Ready and unacknowledged messages, as the broker counts them every few seconds.
    fn is_empty(&self) -> bool {
        let told = self.broker.api("GET", &format!("queues/{}/orders", self.virtual_host), Value::Null).unwrap();
        told["messages"] == 0 && told["messages_unacknowledged"] == 0
    }
}

#[test]
fn rabbitmq_into_postgres_loses_nothing_over_kills_of_both() {
    let database = PostgresServer::shared().unwrap().create_database().unwrap();
    let mut queue = Queue::new(Rabbitmq::start().unwrap());
    let sink = format!("{{postgres: {{url: '{}', table: t}}}}", database.url());
    queue.stream("checkpoint_interval_ms: 20\n", &sink);
    for round in 0..4 {
        queue.publish(2000);
        let before = in_postgres(&database).1;
        let running = queue.folder.start(&["run", "--progress", "none", "orders.yaml"]);
        until("some rows are there", || in_postgres(&database).1 > before);
        if round % 2 == 1 {
            queue.broker.kill_9().unwrap();
            queue.broker.restart().unwrap();
        }
        running.signal(libc::SIGKILL);
        assert_eq!(running.end().code, -1);
    }
    queue.catch_up();
    let (rows, different) = in_postgres(&database);
    assert_eq!(different, queue.published);
    assert!(rows >= different);
    until("everything is acknowledged", || queue.is_empty());
}

#[test]
fn rabbitmq_goes_on_by_itself_when_the_broker_comes_back() {
    let database = PostgresServer::shared().unwrap().create_database().unwrap();
    let mut queue = Queue::new(Rabbitmq::start().unwrap());
    queue.stream("checkpoint_interval_ms: 20\n", &format!("{{postgres: {{url: '{}', table: t}}}}", database.url()));
    queue.publish(500);
    let running = queue.folder.start(&["run", "--progress", "none", "orders.yaml"]);
    until("all rows are there", || in_postgres(&database).1 == 500);
    queue.broker.kill_9().unwrap();
    queue.broker.restart().unwrap();
    queue.publish(500);
    until("the new rows are there too", || in_postgres(&database).1 == 1000);
    running.signal(libc::SIGTERM);
    running.end().ok();
}

#[test]
fn files_that_appear_once_a_minute_do_not_stop_a_queue_at_its_prefetch() {
    let mut queue = Queue::new(Rabbitmq::shared().unwrap());
    queue.publish(5000);
    // Every minute by default; nothing is acknowledged before.
    queue.stream("", "{file: {path: 'lake/t', format: parquet}}");
    let begin = Instant::now();
    queue.catch_up();
    assert!(begin.elapsed() < Duration::from_secs(50), "a hundred times the prefetch in one turn");
    assert_eq!(in_lake(&queue.folder), (5000, 5000));
    let next = queue.folder.weir(&["run", "--progress", "plain", "--until-caught-up", "orders.yaml"]).ok();
    assert_eq!(in_lake(&queue.folder), (5000, 5000), "{}", next.shown());
    until("everything is acknowledged", || queue.is_empty());
}

#[test]
fn a_plan_says_what_a_queue_and_a_stream_promise() {
    let mut queue = Queue::new(Rabbitmq::shared().unwrap());
    queue.publish(3);
    queue.stream("", "{file: {path: 'lake/t', format: parquet}}");
    let said = queue.folder.weir(&["plan", "orders.yaml"]).ok();
    assert!(said.out.contains("at_least_once") && said.out.contains("acknowledged"), "{}", said.shown());
    let server = Redis::shared().unwrap();
    let key = format!("plan-{}", uuid());
    add(&server, &key, 0..3);
    let text = format!(
        "pipeline: exact\nmode: streaming\nsource: {{redis: {{host: 127.0.0.1, port: {}, key: {key}, field: payload}}}}\nsink: {{file: {{path: 'lake/r', format: parquet}}}}\n",
        server.port()
    );
    queue.folder.write("exact.yaml", text);
    let said = queue.folder.weir(&["plan", "exact.yaml"]).ok();
    assert!(said.out.contains("exactly_once"), "{}", said.shown());
}
