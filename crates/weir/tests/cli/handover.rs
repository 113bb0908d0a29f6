//! Several machines with one PostgreSQL and no common folder: a run begun on one goes on on another, from its checkpoint.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_testkit::PostgresServer;

use crate::harness::Folder;
use crate::serving::Server;

/// A `weir worker` with a data folder of its own.
pub(crate) struct Worker {
    child: Child,
    _folder: Folder,
}

impl Worker {
    pub(crate) fn start(environment: &[(&str, String)]) -> Self {
        let mut folder = Folder::new();
        environment.iter().for_each(|(name, value)| folder.set(name, value));
        let child = folder.command(&["worker", "--workers", "1"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, _folder: folder }
    }

    pub(crate) fn kill_9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Platform {
    server: Server,
    token: String,
}

impl Platform {
    /// A `weir serve` that runs nothing itself.
    pub(crate) fn start(folder: &Folder) -> Self {
        Self::start_with(folder, 0)
    }

    /// A `weir serve` with so many workers of its own.
    pub(crate) fn start_with(folder: &Folder, workers: u32) -> Self {
        let mut server = Server::start(folder, &["serve", "--workers", &workers.to_string(), "--listen", "127.0.0.1:0"]);
        let line = server.line();
        let token = line.rsplit(' ').next().unwrap().to_owned();
        Self { server, token }
    }

    /// Status and body.
    pub(crate) fn answer(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.server.ask(method, path, Some(&self.token), &text)
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.answer(method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Waits until the run is as wanted.
    pub(crate) fn until(&self, run: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let state = self.ask("GET", &format!("/api/v1/runs/{run}"), &Value::Null);
            if wanted(&state) {
                return state;
            }
            if begin.elapsed() > Duration::from_secs(120) {
                let logs = self.ask("GET", &format!("/api/v1/runs/{run}/logs"), &Value::Null);
                panic!("the run is not {what}: {state:#}\n{logs:#}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn run(&self, job: &str) -> String {
        let run = self.ask("POST", &format!("/api/v1/jobs/{job}/run"), &Value::Null);
        run["run_id"].as_str().or(run["id"].as_str()).unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_on_another_machine_from_the_checkpoint_of_the_first() {
    let postgres = PostgresServer::shared().unwrap();
    let (platform, data) = (postgres.create_database().unwrap(), postgres.create_database().unwrap());
    data.execute(
        "CREATE TABLE a AS SELECT id::bigint AS id FROM generate_series(1, 5000) id;
         CREATE TABLE b AS SELECT id::bigint AS id FROM generate_series(1, 5000) id;
         CREATE SCHEMA copied; CREATE TABLE copied.a (id bigint PRIMARY KEY); CREATE TABLE copied.b (id bigint PRIMARY KEY);
         -- The second stream can be held up.
         CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN IF NEW.id = 2500 THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF; RETURN NEW; END $$;
         CREATE TRIGGER hold BEFORE INSERT ON copied.b FOR EACH ROW EXECUTE FUNCTION hold();",
    )
    .unwrap();
    let environment: Vec<(&str, String)> = vec![
        ("DATABASE_URL", platform.url().to_owned()),
        ("WEIR_SEAL_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned()),
        ("WEIR_EGRESS_ALLOW", "127.0.0.1".to_owned()),
    ];
    let mut folder = Folder::new();
    environment.iter().for_each(|(name, value)| folder.set(name, value));
    let platform = Platform::start(&folder);
    let spec = format!(
        "pipeline: events\nmode: incremental\nconnections:\n  db: {{postgres: {{url: '{}'}}}}\n\
         source:\n  postgres: {{connection: db, tables: [public.a, public.b], cursor: id}}\n\
         sink:\n  postgres: {{connection: db, schema: copied, table: '{{stream}}', write_mode: append}}\n",
        data.url()
    );
    let job = platform.ask("POST", "/api/v1/jobs", &json!({"spec": spec}));
    let job = job["id"].as_str().or(job["job_id"].as_str()).unwrap().to_owned();

    // The first machine dies in the middle, with its folder.
    let holder = data.client().await.unwrap();
    holder.batch_execute("SELECT pg_advisory_lock(4711)").await.unwrap();
    let run = platform.run(&job);
    let first = Worker::start(&environment);
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = \
                 (SELECT oid FROM pg_database WHERE datname = current_database())";
    platform.until(&run, "held up", |_| data.value(waits).unwrap() != "0");
    first.kill_9();
    drop(holder);
    let second = Worker::start(&environment);
    let ended = platform.until(&run, "at its end", |run| run["status"] == "succeeded");
    assert!(ended["attempt"].as_u64().unwrap() > 1, "{ended:#}");
    for table in ["a", "b"] {
        let rows = data.value(format!("SELECT count(*) || ' ' || sum(id) FROM copied.{table}")).unwrap();
        assert_eq!(rows, "5000 12502500", "{table}");
    }
    // It went on where the first was: one run of the engine, not two.
    assert_eq!(data.value("SELECT count(DISTINCT run_id) FROM _weir.runs").unwrap(), "1");

    // A third machine knows where the cursors stand.
    drop(second);
    data.execute("INSERT INTO a SELECT id FROM generate_series(5001, 5010) id").unwrap();
    let _third = Worker::start(&environment);
    let run = platform.run(&job);
    let ended = platform.until(&run, "at its end", |run| run["status"] == "succeeded");
    let written: u64 = ended["streams"].as_array().unwrap().iter().map(|stream| stream["rows_written"].as_u64().unwrap()).sum();
    assert_eq!(written, 10, "{ended:#}");
    assert_eq!(data.value("SELECT count(*) || ' ' || count(DISTINCT id) FROM copied.a").unwrap(), "5010 5010");
}
