//! Several machines without a folder in common: PostgreSQL and a bucket are all that they share.

use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use weir_testkit::{Minio, PostgresServer, wait_until};

use crate::harness::Folder;
use crate::serving::Server;

const SPEC: &str = "pipeline: copy\nmode: incremental\nsource:\n  file: {path: in/*.csv, new_files_only: true}\nsink:\n  file: {path: out, format: ndjson, write_mode: append}\n";

/// Ends with its value, like a machine that lost its power.
struct Worker(Child);

impl Worker {
    fn start(folder: &Folder) -> Self {
        let child = folder.command(&["worker", "--workers", "1"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn only_new_files_of_a_bucket_are_read_whichever_machine_runs_the_job() {
    let minio = Minio::shared().unwrap();
    let bucket = minio.create_bucket().unwrap();
    let database = PostgresServer::shared().unwrap().create_database().unwrap();
    let machine = || {
        let mut folder = Folder::new();
        folder.set("DATABASE_URL", database.url());
        folder.set("WEIR_FILES", format!("s3://{}/weir", bucket.name()));
        folder.set("MINIO_ENDPOINT", minio.endpoint());
        folder.set("MINIO_ACCESS_KEY", minio.access_key());
        folder.set("MINIO_SECRET_KEY", minio.secret_key());
        folder.set("WEIR_SEAL_KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=");
        folder
    };
    let here = machine();
    let doctor = here.weir(&["doctor", "--json"]).json();
    let finding = doctor.as_array().unwrap().iter().find(|finding| finding["part"] == "files").unwrap();
    assert_eq!(finding["state"], "ok", "{finding}");

    let server = Server::start(&here, &["serve", "--dev", "--workers", "0", "--listen", "127.0.0.1:0"]);
    assert_eq!(server.get("/readyz", None).0, 200);
    let put = |name: &str, ids: std::ops::Range<u32>| {
        let rows: String = ids.map(|id| format!("{id}\n")).collect();
        bucket.put(&format!("weir/tenants/default/files/in/{name}.csv"), format!("id\n{rows}")).unwrap();
    };
    let ids = || {
        let keys = bucket.keys("weir/tenants/default/files/out").unwrap();
        let shown = keys.iter().filter(|key| !key.contains("/_weir/"));
        let text: String = shown.map(|key| String::from_utf8(bucket.get(key).unwrap()).unwrap()).collect();
        let mut ids: Vec<u64> =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        ids
    };
    let (status, job) = server.ask("POST", "/api/v1/jobs", None, &json!({"name": "copy", "spec": SPEC}).to_string());
    assert_eq!(status, 201, "{job}");
    let run = |folder: &Folder| {
        let _worker = Worker::start(folder);
        let path = format!("/api/v1/jobs/{}/run", job["id"].as_str().unwrap());
        let (status, run) = server.ask("POST", &path, None, "{}");
        assert_eq!(status, 202, "{run}");
        let path = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
        let mut seen = Value::Null;
        wait_until("the run has ended", Duration::from_secs(60), || {
            seen = server.get(&path, None).1;
            ["succeeded", "failed", "cancelled"].iter().any(|end| seen["status"] == *end)
        })
        .unwrap_or_else(|error| panic!("{error}: {seen:#}"));
        assert_eq!(seen["status"], "succeeded", "{seen:#}");
        seen["streams"][0]["rows_read"].as_u64().unwrap()
    };

    put("a", 0..100);
    put("b", 100..200);
    let a = machine();
    assert_eq!(run(&a), 200);
    assert_eq!(ids(), (0..200).collect::<Vec<_>>());
    // The machine is gone with all that it had.
    drop(a);
    put("c", 200..250);
    assert_eq!(run(&machine()), 50, "only the new file");
    assert_eq!(ids(), (0..250).collect::<Vec<_>>());
    assert_eq!(server.stop().0, 0);
}
