//! The whole path of a run, and what it is given.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::json;
use weir_control::seal::Place;
use weir_control::worker::{Observer, Resources, Schemas};
use weir_store::model::{Claimed, NewConnection, Run, RunStatus, StreamCounts};
use weir_testkit::http::{HttpFixture, Reply};

use crate::stage::{Stage, children, copy, csv};

#[tokio::test(flavor = "multi_thread")]
async fn a_csv_job_runs_and_its_counts_are_in_the_run() {
    let stage = Stage::new().await;
    stage.write("in.csv", csv(0..1_000));
    let run = stage.run(Stage::new_job("copy", &copy("in.csv", "out", "overwrite"))).await;
    let working = stage.work();
    let run = stage.ended(&run.id).await;
    working.stop().await;

    assert_eq!((run.status, &run.error, run.attempt), (RunStatus::Succeeded, &None, 1), "{run:#?}");
    let [stream] = run.streams.as_slice() else { panic!("{run:#?}") };
    assert_eq!((stream.rows_read, stream.rows_written, stream.rows_filtered, stream.rows_dead), (1_000, 1_000, 0, 0));
    assert!(stream.bytes_written > 10_000 && stream.name == "in", "{stream:?}");
    // All but the heading.
    let size = csv(0..1_000).len() as u64;
    assert!((size - 10..=size).contains(&stream.bytes_read), "{stream:?} of {size}");
    assert_eq!(stage.ids("out"), (0..1_000).collect::<Vec<_>>());
    let report = run.report.unwrap();
    assert_eq!((&report["status"], &report["pipeline"]), (&json!("succeeded"), &json!("copy")));
    assert_eq!(report["run_id"].as_str().map(str::len), Some(32), "the engine's own id is kept");
    let used = Resources::of_run(run.resources.as_ref());
    assert!(used.cpu_seconds > 0.0 && used.memory_peak_bytes > 8 << 20 && used.io_written_bytes > 0, "{used:?}");
    assert!(used.wall_seconds > 0.0 && used.failed_attempts == 0, "{used:?}");
    let log = stage.log(&run.id).await;
    let messages: Vec<_> = log.iter().map(|line| line.message.as_str()).collect();
    assert!(messages.iter().any(|line| line.starts_with("copy begins: batch")), "{messages:#?}");
    assert!(messages.iter().any(|line| line.contains("1000 rows committed")), "{messages:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_run_happens_once_although_two_pools_want_all_of_them() {
    let stage = Stage::with(|settings| settings.max_concurrent_jobs = 2).await;
    let other = stage.another(|settings| settings.runner_id = "other".into()).await;
    stage.write("in.csv", csv(0..50));
    let mut runs = Vec::new();
    for number in 0..12 {
        runs.push(stage.run(Stage::new_job(&format!("job{number}"), &copy("in.csv", &format!("out{number}"), "append"))).await);
    }
    let pools = [stage.work(), crate::stage::Working::of(weir_control::worker::Pool::new(other))];
    for (number, run) in runs.iter().enumerate() {
        let run = stage.ended(&run.id).await;
        assert_eq!((run.status, run.attempt), (RunStatus::Succeeded, 1), "{run:#?}");
        assert_eq!(stage.ids(&format!("out{number}")), (0..50).collect::<Vec<_>>());
        let begun = stage.log(&run.id).await.iter().filter(|line| line.message.contains("begins")).count();
        assert_eq!(begun, 1);
    }
    for pool in pools {
        pool.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_error_is_told_with_its_place_and_not_tried_again() {
    let stage = Stage::new().await;
    let spec = "pipeline: p\nsource:\n  file: {path: in.csv}\nsink:\n  fiel: {path: out}\n";
    let run = stage.run(Stage::new_job("broken", spec)).await;
    let working = stage.work();
    let run = stage.ended(&run.id).await;
    working.stop().await;
    assert_eq!((run.status, run.attempt), (RunStatus::Failed, 1));
    let error = run.error.unwrap();
    assert_eq!((&error["code"], &error["kind"]), (&json!("WEIR-WORKER-015"), &json!("spec")));
    assert!(
        error["cause"].as_str().unwrap().contains("fiel") && error["cause"].as_str().unwrap().contains("line 5"),
        "{error:#}"
    );
    let log = stage.log(&run.id).await;
    assert!(log.iter().any(|line| line.level == "error" && line.event.as_ref().is_some_and(|e| e["line"] == 5)), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_away_is_tried_again_as_often_as_the_policy_says() {
    let stage = Stage::new().await;
    let port = weir_testkit::process::free_port().unwrap();
    let spec = format!(
        "pipeline: p\nsource:\n  postgres: {{url: \"postgres://u:p@127.0.0.1:{port}/db\", table: t}}\nsink:\n  file: {{path: out}}\n"
    );
    let run = stage.run(Stage::new_job("away", &spec)).await;
    let working = stage.work();
    let run = stage.ended(&run.id).await;
    working.stop().await;
    assert_eq!((run.status, run.attempt), (RunStatus::Failed, 2), "{run:#?}");
    assert_eq!(run.error.unwrap()["kind"], "connect");
    assert_eq!(Resources::of_run(run.resources.as_ref()).failed_attempts, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_the_connector_and_nothing_else() {
    const PASSWORD: &str = "hunter2-${HOME}-{{x}}";
    const TOKEN: &str = "hunter2-token";
    let stage = Stage::new().await;
    let server = HttpFixture::start().unwrap();
    // The answer waits until the process was looked at.
    let (seen, look) = std::sync::mpsc::channel::<()>();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(Some(wait));
    server.handle("/items", move |_| {
        if let Some(wait) = wait.lock().unwrap().take() {
            let _ = seen.send(());
            let _ = wait.recv();
        }
        Reply::json(json!({"data": [{"id": 1, "name": "a"}]}))
    });
    let place = |table, row| Place { tenant: stage.scope.tenant(), table, row };
    let secrets = json!({"auth": {"basic": {"user": "u", "password": PASSWORD}}});
    let sealed = stage.platform.keys.seal(&place("connection", "shop"), secrets.to_string().as_bytes()).unwrap();
    let connection = NewConnection {
        name: "shop".into(),
        kind: "http".into(),
        options: json!({"base_url": server.url(), "headers": {"X-Key": "{{shop_token}}"}}),
        sealed: Some(sealed),
        secret_names: vec!["auth".into()],
    };
    stage.store().put_connection(connection, None).await.unwrap();
    let sealed = stage.platform.keys.seal(&place("secret", "shop_token"), TOKEN.as_bytes()).unwrap();
    stage.store().set_secret("shop_token", sealed).await.unwrap();
    let spec = "pipeline: p\nsource:\n  http: {connection: shop, path: /items, records: data}\nsink:\n  file: {path: out, format: ndjson}\n";
    let mut job = Stage::new_job("shop", spec);
    job.connections = vec!["shop".into()];
    let run = stage.run(job).await;
    let working = stage.work();
    tokio::task::spawn_blocking(move || look.recv().unwrap()).await.unwrap();
    let [child] = children()[..] else { panic!("{:?}", children()) };
    let of_child = |name: &str| String::from_utf8_lossy(&std::fs::read(format!("/proc/{child}/{name}")).unwrap()).into_owned();
    let (arguments, environment) = (of_child("cmdline"), of_child("environ"));
    assert!(!arguments.contains("hunter2") && !environment.contains("hunter2"));
    let names: Vec<_> = environment.split('\0').filter_map(|entry| entry.split_once('=')).map(|(name, _)| name).collect();
    assert!(names.iter().all(|name| ["PATH", "HOME", "TZ", "LANG"].contains(name)), "{names:?}");
    go.send(()).unwrap();
    let run = stage.ended(&run.id).await;
    working.stop().await;
    assert_eq!(run.status, RunStatus::Succeeded, "{run:#?}");
    let request = &server.requests_to("/items")[0];
    assert_eq!(request.header("x-key"), Some(TOKEN));
    assert!(request.header("authorization").unwrap().starts_with("Basic "));
    assert!(!format!("{run:?} {:?}", stage.log(&run.id).await).contains("hunter2"));
    for file in files(stage.folder.path()) {
        let content = std::fs::read(&file).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&content).contains("hunter2"), "{}", file.display());
    }
}

pub fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_machine_is_in_reach_of_a_spec() {
    let stage = Stage::with(|settings| settings.egress_allow.clear()).await;
    let server = HttpFixture::start().unwrap();
    server.on("/items", Reply::json(json!([{"id": 1}])));
    let outside = tempfile::NamedTempFile::with_suffix(".csv").unwrap();
    std::fs::write(outside.path(), csv(0..3)).unwrap();
    let specs = [
        ("environment", "pipeline: p\nsource:\n  file: {path: \"${HOME}.csv\"}\nsink:\n  file: {path: out}\n".to_string()),
        ("file", copy(&outside.path().display().to_string(), "out", "overwrite")),
        ("parent", copy("../../../../etc/passwd", "out", "overwrite")),
        ("address", format!("pipeline: p\nsource:\n  http: {{url: \"{}/items\"}}\nsink:\n  file: {{path: out}}\n", server.url())),
    ];
    let working = stage.work();
    for (name, spec) in specs {
        let run = stage.run(Stage::new_job(name, &spec)).await;
        let run = stage.ended(&run.id).await;
        assert_eq!((run.status, run.attempt), (RunStatus::Failed, 1), "{name}: {run:#?}");
    }
    working.stop().await;
    assert!(server.requests().is_empty());
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

#[async_trait]
impl Observer for Notes {
    async fn planned(&self, _: &Claimed, schemas: &Schemas) {
        let columns: Vec<_> = schemas[0].columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect();
        self.0.lock().unwrap().push(format!("planned {}: {}", schemas[0].stream, columns.join(", ")));
    }
    fn progressed(&self, _: &Claimed, _: &[StreamCounts], used: &Resources) {
        assert_eq!(used.failed_attempts, 0);
    }
    async fn ended(&self, _: &Claimed, run: &Run) {
        self.0.lock().unwrap().push(format!("ended {}", run.status.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn observers_hear_of_schemas_and_ends() {
    let stage = Stage::new().await;
    stage.write("in.csv", csv(0..10));
    let notes = Arc::new(Notes::default());
    let run = stage.run(Stage::new_job("copy", &copy("in.csv", "out", "overwrite"))).await;
    let working = stage.work_with(notes.clone());
    stage.ended(&run.id).await;
    working.stop().await;
    assert_eq!(*notes.0.lock().unwrap(), ["planned in: id Int64, name Utf8", "ended succeeded"]);
}
