//! `weir execute` by itself: what it does with its order, and with a worker that is silent.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_control::worker::order::{Guard, Limits, ParentLine, SecretOptions, StoredConnection, VERSION, Verb, WorkOrder};
use weir_testkit::http::{HttpFixture, Reply};

use crate::stage::{copy, csv, ids, weir};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("files")).unwrap();
        std::fs::write(folder.path().join("files/in.csv"), csv(0..500)).unwrap();
        Self(folder)
    }

    fn order(&self, verb: Verb, run_id: &str, spec: &str) -> WorkOrder {
        let files = self.0.path().join("files");
        WorkOrder {
            version: VERSION,
            verb,
            run_id: run_id.into(),
            attempt: 1,
            tenant: "default".into(),
            job: "j".into(),
            spec: spec.into(),
            connections: BTreeMap::new(),
            secrets: BTreeMap::new(),
            vault: None,
            object_store: None,
            state_dir: self.0.path().join("state"),
            journals: None,
            checkpoints_at_worker: false,
            limits: Limits { memory_bytes: 1 << 30, cpu_secs: None, time_secs: 60 },
            guard: Guard { file_root: files.clone(), bucket: None, deny_private: true, egress_allow: vec!["127.0.0.1".into()] },
            base_dir: files,
            trace_parent: None,
            parent_pid: std::process::id(),
            lease_until_ms: i64::MAX,
        }
    }

    fn ids(&self) -> Vec<u64> {
        ids(&self.0.path().join("files/out"))
    }
}

/// A child with its order given; its input stays open.
fn start(order: &WorkOrder) -> (Child, ChildStdin) {
    let mut child = Command::new(weir())
        .arg("execute")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&order.to_line().unwrap()).unwrap();
    (child, input)
}

/// Runs to the end; exit code and last line.
fn run(order: &WorkOrder) -> (i32, Value, Vec<Value>) {
    let (child, input) = start(order);
    let output = child.wait_with_output().unwrap();
    drop(input);
    let lines: Vec<Value> = output.stdout.split(|&b| b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let last = lines.last().cloned().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap_or(-1), last, lines)
}

#[test]
fn an_attempt_whose_predecessor_ended_unheard_does_not_begin_anew() {
    let folder = Folder::new();
    let spec = copy("in.csv", "out", "append");
    let (code, first, _) = run(&folder.order(Verb::Run, "run-1", &spec));
    assert_eq!((code, &first["event"], &first["report"]["status"]), (0, &json!("report"), &json!("succeeded")), "{first:#}");
    // The worker died before it heard: the same run again. Its source is not looked at again, so what its columns were is not told.
    let (code, again, lines) = run(&folder.order(Verb::Run, "run-1", &spec));
    let mut expected = first["report"].clone();
    let columns = expected["streams"][0].as_object_mut().unwrap().remove("schema").unwrap();
    assert_eq!(columns[1], json!({"name": "name", "type": "Utf8", "nullable": true}));
    assert_eq!((code, &again["report"]), (0, &expected));
    assert!(!lines.iter().any(|line| line["event"] == "started"), "{lines:#?}");
    assert_eq!(folder.ids(), (0..500).collect::<Vec<_>>());
    // Another run is another run.
    let (code, other, _) = run(&folder.order(Verb::Run, "run-2", &spec));
    assert_eq!(code, 0);
    assert_ne!(other["report"]["run_id"], first["report"]["run_id"]);
    assert_eq!(folder.ids().len(), 1_000);
}

#[test]
fn a_child_ends_when_its_worker_is_gone() {
    let folder = Folder::new();
    let server = HttpFixture::start().unwrap();
    server.on("/items", Reply::silence());
    let spec = format!("pipeline: p\nsource:\n  http: {{url: \"{}/items\"}}\nsink:\n  file: {{path: out}}\n", server.url());
    let order = folder.order(Verb::Run, "run-1", &spec);
    let (mut child, input) = start(&order);
    server.wait_for(1, Duration::from_secs(30)).unwrap();
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(97), "its input was closed");

    let (mut child, mut input) = start(&WorkOrder { run_id: "run-2".into(), ..order.clone() });
    server.wait_for(2, Duration::from_secs(30)).unwrap();
    let past = chrono::Utc::now().timestamp_millis() - 1;
    input.write_all(&ParentLine::LeaseUntilMs(past).to_line().unwrap()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(97), "its lease is over");

    let begin = Instant::now();
    let (mut child, _input) = start(&WorkOrder { run_id: "run-3".into(), ..order.clone() });
    assert_eq!(child.wait().unwrap().code(), Some(97), "nobody speaks");
    assert!((Duration::from_secs(10)..Duration::from_secs(13)).contains(&begin.elapsed()), "{:?}", begin.elapsed());

    let (child, _input) = start(&WorkOrder { parent_pid: 1, ..order });
    assert_ne!(child.wait_with_output().unwrap().status.code(), Some(0), "the order is another worker's");
}

#[test]
fn a_child_that_is_spoken_to_goes_on_and_stops_when_asked() {
    let folder = Folder::new();
    let server = HttpFixture::start().unwrap();
    server.handle("/items", |request| {
        let page: u64 = request.param("page").and_then(|page| page.parse().ok()).unwrap_or(1);
        Reply::json(json!({"data": [{"id": page}]})).delay(Duration::from_millis(200))
    });
    let spec = format!(
        "pipeline: p\nsource:\n  http: {{url: \"{}/items\", records: data, pagination: {{page: {{}}}}}}\nsink:\n  file: {{path: out, format: ndjson}}\n",
        server.url()
    );
    let (mut child, mut input) = start(&folder.order(Verb::Run, "run-1", &spec));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().contains("\"started\"")).unwrap().unwrap();
    input.write_all(b"no line of ours\n").unwrap();
    input.write_all(&ParentLine::Cancel(true).to_line().unwrap()).unwrap();
    let last: Value = serde_json::from_str(&lines.last().unwrap().unwrap()).unwrap();
    assert_eq!((&last["report"]["status"], child.wait().unwrap().code()), (&json!("interrupted"), Some(130)));
}

#[test]
fn what_is_no_order_is_refused() {
    let mut child = Command::new(weir()).arg("execute").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"secret\": \"hunter2\"}\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("WEIR-WORKER-001") && !said.contains("hunter2"), "{said}");
}

#[test]
fn a_connection_is_tested_with_its_secrets_in_place() {
    let folder = Folder::new();
    let server = HttpFixture::start().unwrap();
    server.handle("*", |request| match request.header("authorization") {
        Some("Bearer hunter2-right") => Reply::json(json!({})),
        _ => Reply::status(401),
    });
    let mut order = folder.order(Verb::TestConnection { connection: "shop".into() }, "", "");
    let mut with = |token: &str| {
        let secrets = json!({"auth": {"bearer": {"token": token}}});
        let shop = StoredConnection {
            kind: "http".into(),
            options: json!({"base_url": server.url()}),
            secrets: SecretOptions(secrets.as_object().unwrap().clone()),
        };
        order.connections.insert("shop".into(), shop);
        run(&order).1
    };
    let good = with("hunter2-right");
    assert_eq!((&good["event"], &good["answer"]["ok"]["ok"]), (&json!("answer"), &json!(true)), "{good:#}");
    assert!(good["answer"]["ok"]["latency_ms"].as_f64().unwrap() > 0.0);
    let bad = with("hunter2-wrong");
    assert_eq!(bad["answer"]["ok"]["ok"], false, "{bad:#}");
    assert!(!bad.to_string().contains("hunter2"));
}

#[test]
fn streams_and_rows_are_shown_without_writing() {
    let folder = Folder::new();
    let spec = copy("in.csv", "out", "append");
    let (code, found, _) = run(&folder.order(Verb::Discover { connection: None }, "", &spec));
    assert_eq!((code, &found["answer"]["ok"]["streams"][0]["name"]), (0, &json!("in")), "{found:#}");
    let (code, shown, _) = run(&folder.order(Verb::Preview { limit: 3 }, "", &spec));
    let output = &shown["answer"]["ok"]["outputs"][0];
    assert_eq!((code, output["rows"].as_array().map(Vec::len), &output["rows"][2]["id"]), (0, Some(3), &json!(2)), "{shown:#}");
    assert!(folder.ids().is_empty());
}

/// The answer of an errand.
fn answer(order: &WorkOrder) -> Value {
    let (code, last, _) = run(order);
    assert_eq!((code, &last["event"]), (0, &json!("answer")), "{last:#}");
    last["answer"]["ok"].clone()
}

#[test]
fn a_plan_is_told_with_types_promise_and_what_it_would_do() {
    let folder = Folder::new();
    let told = answer(&folder.order(Verb::Plan, "", &copy("in.csv", "out", "append")));
    assert_eq!((&told["plan"]["mode"], &told["diagnostics"]), (&json!("batch"), &json!([])), "{told:#}");
    assert!(!told["plan"]["guarantee"]["reasons"].as_array().unwrap().is_empty());
    let columns = told["plan"]["columns"].as_array().unwrap();
    assert!(columns.iter().any(|column| column["column"] == "id" && column["edge"] == "exact"), "{columns:#?}");
    assert!(told["text"].as_str().unwrap().contains("why "), "{told:#}");
    // Which engine it is for and what a run would take, with the lanes and half the memory of a run.
    let (advice, expected) = (&told["plan"]["recommendation"], &told["expected"]);
    assert_eq!((&advice["engine"], advice["why"].as_array().map(Vec::is_empty)), (&json!("native"), Some(false)), "{told:#}");
    assert!(told["text"].as_str().unwrap().contains("engine: native; "), "{told:#}");
    assert!(expected["bytes"].as_u64() > Some(0) && expected["seconds"].is_number(), "{told:#}");
    let limits = folder.order(Verb::Plan, "", "").limits;
    assert_eq!((&expected["memory_bytes"], expected["cores"].as_u64() > Some(0)), (&json!(limits.memory_bytes / 2), true));
    // What planning finds has its place in the text.
    let spec = "pipeline: a\nsource: {file: {path: in.csv}}\ntransforms:\n  - filter: nosuch > 1\nsink: {file: {path: out}}\n";
    let told = answer(&folder.order(Verb::Plan, "", spec));
    assert_eq!((&told["plan"], &told["diagnostics"][0]["line"]), (&Value::Null, &json!(4)), "{told:#}");
    assert!(folder.ids().is_empty(), "nothing was written");
}

#[test]
fn the_rows_after_every_step_are_told_and_one_that_fails_does_not_hide_the_others() {
    let folder = Folder::new();
    std::fs::write(
        folder.0.path().join("files/people.csv"),
        "id,email,big,note\n1,a@b.c,9007199254740993,\n2,d@e.f,2,x\n3,g@h.i,3,y\n",
    )
    .unwrap();
    let spec = "pipeline: a\nsource: {file: {path: people.csv}}\ntransforms:\n  - filter: id > 1\n  - sql: SELECT id, big * 2 AS twice FROM input\n\
                sink: {file: {path: out}}\n";
    let told = answer(&folder.order(Verb::Steps { limit: 2 }, "", spec));
    let steps = told["steps"].as_array().unwrap();
    let roles: Vec<_> = steps.iter().map(|step| step["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["source", "transform", "transform"], "{told:#}");
    let stream = |step: usize| &steps[step]["streams"][0];
    assert_eq!(stream(0)["rows"], json!([["1", "•••", "9007199254740993", null], ["2", "•••", "2", "x"]]), "{told:#}");
    assert_eq!((&stream(0)["masked_columns"], &stream(0)["columns"][2]["name"]), (&json!(["email"]), &json!("big")));
    assert_eq!((&stream(1)["rows"][0][0], &stream(1)["filtered"]), (&json!("2"), &json!(1)));
    assert_eq!(stream(2)["rows"], json!([["2", "4"], ["3", "6"]]));
    assert!(!folder.0.path().join("files/out").exists(), "nothing was written");
    // A transform that cannot be planned has its error; the steps before it have their rows.
    let broken = spec.replace("big * 2", "nosuch * 2");
    let told = answer(&folder.order(Verb::Steps { limit: 2 }, "", &broken));
    assert_eq!(told["steps"][1]["streams"][0]["rows"][0][0], "2", "{told:#}");
    assert!(told["steps"][2]["error"]["message"].is_string(), "{told:#}");
}
