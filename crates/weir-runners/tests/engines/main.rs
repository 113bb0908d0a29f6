//! The clients against the real engines, with artefacts written by hand: one story for each engine, as an engine takes longer to start than to be asked.
//!
//! One engine runs at a time, on the whole machine (`weir_testkit` sees to it). None of the stories is in the short form: engines are hundreds of
//! megabytes to download and take minutes. `cargo nextest run -p weir-runners --test engines --run-ignored all` tells them all.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod connect;
mod flink;
mod seatunnel;
mod spark;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use weir_error::{Error, Secret};
use weir_runners::client::{Ended, EngineClient, Event, File, Job, Look, OnStop, Outcome, State, Submission, Watch, follow};

/// A job of one file.
fn job(name: &str, file: &str, text: String) -> Submission {
    Submission { name: name.into(), run_id: uuid(), files: vec![File { name: file.into(), text }], ..Submission::default() }
}

fn uuid() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("run-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn secret(name: &str, value: &str) -> BTreeMap<String, Secret> {
    BTreeMap::from([(name.to_owned(), Secret::new(value))])
}

fn watch() -> Watch {
    Watch { every: Duration::from_millis(200), lost_after: Duration::from_secs(3), ..Watch::default() }
}

/// Submits a job and follows it to its end.
async fn run(client: &dyn EngineClient, job: &Submission) -> Ended {
    let submitted = client.submit(job).await.unwrap();
    end(client, &submitted, watch(), None).await
}

/// Follows a job to its end; once it looks like that it is stopped.
async fn end(client: &dyn EngineClient, job: &Job, watch: Watch, stop_when: Option<fn(&Look) -> bool>) -> Ended {
    let token = CancellationToken::new();
    let mut tell = |event: Event<'_>| {
        if let (Event::Look(look), Some(when)) = (&event, stop_when)
            && when(look)
        {
            token.cancel();
        }
    };
    follow(client, job, &watch, &token, &mut tell).await
}

/// Looks until the job is like that.
async fn until(client: &dyn EngineClient, job: &Job, what: &str, so: impl Fn(&Look) -> bool) -> Look {
    let begin = Instant::now();
    loop {
        let look = client.look(job).await.unwrap();
        if let Some(look) = look.as_ref().filter(|look| so(look)) {
            return look.clone();
        }
        let ended = look.as_ref().is_some_and(|look| look.state.ended());
        assert!(!ended && begin.elapsed() < Duration::from_secs(120), "waited in vain until {what}; it is {look:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn moving(look: &Look) -> bool {
    look.state == State::Running && look.rows_written.is_some_and(|rows| rows > 0)
}

fn failed(ended: &Ended) -> &Error {
    match &ended.outcome {
        Outcome::Failed(error) => error,
        other => panic!("it did not fail: {other:?}"),
    }
}

/// All lines of all files in the folder and below, sorted; hidden files and checksums are no data.
fn lines(folder: &Path) -> Vec<String> {
    fn collect(folder: &Path, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if name.starts_with(['.', '_']) {
                continue;
            }
            if path.is_dir() {
                collect(&path, out);
            } else {
                out.extend(std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned));
            }
        }
    }
    let mut out = Vec::new();
    collect(folder, &mut out);
    out.sort();
    out
}

/// 1,000 orders: `id,customer,amount`, and one line more if that is wanted.
fn orders(file: &Path, header: bool, broken: Option<&str>) {
    let mut text = String::from(if header { "id,customer,amount\n" } else { "" });
    (1..=1000).for_each(|id| text.push_str(&format!("{id},customer {},{}.50\n", id % 7, id % 100)));
    text.push_str(&broken.map(|line| format!("{line}\n")).unwrap_or_default());
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

/// What is left of them where the amount is 50 or more.
fn large() -> Vec<serde_json::Value> {
    let rows = (1..=1000).filter(|id| id % 100 >= 50);
    rows.map(|id| serde_json::json!({"id": id, "customer": format!("customer {}", id % 7), "amount": f64::from(id % 100) + 0.5}))
        .collect()
}

/// Rows of JSON lines, by their `id`.
fn rows(folder: &Path) -> Vec<serde_json::Value> {
    let mut rows: Vec<serde_json::Value> = lines(folder).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    rows.sort_by_key(|row| row["id"].as_i64());
    rows
}

/// The same engine, killed while a job runs: lost first, and when it is back the job may be known no more.
async fn lost(client: &dyn EngineClient, job: &Job, engine: &str) {
    let ended = end(client, job, watch(), None).await;
    let error = failed(&ended);
    assert_eq!((error.code(), error.exit_code(), ended.settled), ("WEIR-LAUNCH-011", 3, false), "{error:?}");
    assert!(error.what().starts_with(&format!("{engine} is lost: it has not answered for ")), "{error}");
}

async fn vanished(client: &dyn EngineClient, job: &Job, engine: &str) {
    let ended = end(client, job, watch(), None).await;
    let error = failed(&ended);
    assert_eq!((error.code(), error.exit_code(), ended.settled), ("WEIR-LAUNCH-012", 1, true), "{error:?}");
    assert_eq!(error.what(), format!("{engine} does not know the job any more"));
}

fn suspending() -> Watch {
    Watch { on_stop: OnStop::Suspend, ..watch() }
}
