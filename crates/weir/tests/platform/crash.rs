//! kill -9 at random moments, of the run's process and of its worker: every run ends, and the data is exact.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use weir_store::model::RunStatus;

use crate::stage::{Stage, WEIR, copy, csv};

/// Rows of a run; about a second of work.
const ROWS: u64 = 60_000;

/// A worker in a process of its own.
struct Worker {
    process: Child,
}

impl Worker {
    fn start(data: &Path, name: &str) -> Self {
        let process = Command::new(WEIR)
            .args(["worker", "--data"])
            .arg(data)
            .args(["--workers", "2"])
            .env("RUNNER_ID", name)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process }
    }

    /// The processes of its runs.
    fn children(&self) -> Vec<u32> {
        let task = format!("/proc/{}/task", self.process.id());
        let threads = std::fs::read_dir(task).into_iter().flatten().flatten();
        let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
        lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Kills `kills` times and gives how often each kind of process was hit.
async fn kills(kills: usize, seed: u64) -> serde_json::Value {
    let stage = Stage::new().await;
    stage.write("in.csv", csv(0..ROWS));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut worker = Worker::start(stage.folder.path(), "w0");
    let begin = Instant::now();
    let calm = stage.run(Stage::new_job("calm", &copy("in.csv", "calm", "append"))).await;
    let calm = stage.ended(&calm.id).await;
    assert_eq!(calm.status, RunStatus::Succeeded, "{calm:#?}");
    let full = begin.elapsed();

    let (mut runs, mut of_children, mut of_workers, mut most_attempts, mut failed) = (0, 0, 0, 0, 0);
    let mut moments = Vec::new();
    while of_children + of_workers < kills {
        runs += 1;
        let out = format!("out{runs}");
        let run = stage.run(Stage::new_job(&out, &copy("in.csv", &out, "append"))).await;
        // Few enough that a run is not given up for having lost its worker too often.
        for _ in 0..rng.random_range(1..=4) {
            if of_children + of_workers == kills {
                break;
            }
            let before = stage.state(&run.id).await;
            if before.status.is_final() {
                break;
            }
            stage.until(&run.id, "running", |run| run.status == RunStatus::Running || run.status.is_final()).await;
            let moment = full.mul_f64(rng.random_range(0.0..1.1));
            tokio::time::sleep(moment).await;
            if stage.state(&run.id).await.status.is_final() {
                break;
            }
            moments.push(moment.as_millis());
            if rng.random_bool(0.5) {
                of_workers += 1;
                worker.kill();
                worker = Worker::start(stage.folder.path(), &format!("w{of_workers}"));
            } else if let Some(&child) = worker.children().first() {
                // A child that ended meanwhile is no kill.
                of_children += usize::from(weir_testkit::process::signal(child, libc::SIGKILL).is_ok());
            }
        }
        let run = stage.ended(&run.id).await;
        most_attempts = most_attempts.max(run.attempt);
        match run.status {
            RunStatus::Succeeded => assert_eq!(stage.ids(&out), (0..ROWS).collect::<Vec<_>>(), "{run:#?}"),
            RunStatus::Failed => {
                failed += 1;
                assert!(run.error.is_some(), "{run:#?}");
                assert!(stage.ids(&out).is_empty(), "a failed run shows nothing of an append: {run:#?}");
            }
            other => panic!("{other:?}: {run:#?}"),
        }
        eprintln!(
            "run {runs}: {} after {} attempts; {of_children} children and {of_workers} workers killed",
            run.status.as_str(),
            run.attempt
        );
    }
    json!({
        "kills": of_children + of_workers, "of_children": of_children, "of_workers": of_workers, "runs": runs + 1, "failed": failed,
        "rows": ROWS, "full_run_ms": full.as_millis(), "most_attempts": most_attempts, "kill_moments_ms": moments, "seed": seed,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_run_ends_and_the_data_is_exact_over_twenty_kills() {
    let report = kills(20, 20_261_121).await;
    assert_eq!(report["kills"], 20);
    assert_eq!(report["failed"], 0, "lost attempts are tried again: {report:#}");
}

/// The long form, started by `cargo xtask crash --suite platform`: `WEIR_PLATFORM_KILLS` kills, the report to the file `WEIR_PLATFORM_REPORT`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a long time; cargo xtask crash --suite platform"]
async fn long() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let seed = number("WEIR_PLATFORM_SEED", 1);
    let report = kills(usize::try_from(number("WEIR_PLATFORM_KILLS", 300)).unwrap(), seed).await;
    if let Ok(path) = std::env::var("WEIR_PLATFORM_REPORT") {
        std::fs::write(path, report.to_string()).unwrap();
    }
    assert!(Duration::from_millis(report["full_run_ms"].as_u64().unwrap()) < Duration::from_secs(60));
}
