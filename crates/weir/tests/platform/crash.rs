//! kill -9 at random moments, of runs' processes and of workers: every run ends, and the data is exact.
//!
//! Two workers in processes of their own share four jobs at a time; whoever is hit, a run must be taken over by exactly one worker, once.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use weir_store::model::{Run, RunStatus};

use crate::stage::{Stage, copy, csv, weir};

/// Rows of a run; a second or two of work in a debug build.
const ROWS: u64 = 40_000;
/// Runs at the same time.
const AT_ONCE: usize = 4;

/// A worker in a process of its own.
struct Worker {
    process: Child,
}

impl Worker {
    fn start(data: &Path, name: &str) -> Self {
        let process = Command::new(weir())
            .args(["worker", "--workers", "2", "--data"])
            .arg(data)
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
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Default)]
struct Tally {
    runs: usize,
    failed: usize,
    of_children: usize,
    of_workers: usize,
    most_attempts: u32,
}

impl Tally {
    fn kills(&self) -> usize {
        self.of_children + self.of_workers
    }

    /// An ended run: its data is there once, or not at all.
    fn check(&mut self, stage: &Stage, run: &Run, out: &str) {
        self.runs += 1;
        self.most_attempts = self.most_attempts.max(run.attempt);
        match run.status {
            RunStatus::Succeeded => {
                let expected: Vec<u64> = (0..ROWS).collect();
                assert!(stage.ids(out) == expected, "the rows of {out} are not those of the source: {run:#?}");
                assert_eq!(run.streams.iter().map(|stream| stream.rows_written).sum::<u64>(), ROWS, "{run:#?}");
            }
            RunStatus::Failed => {
                self.failed += 1;
                assert!(run.error.is_some(), "{run:#?}");
                assert!(stage.ids(out).is_empty(), "a failed run shows nothing of an append: {run:#?}");
            }
            other => panic!("{other:?}: {run:#?}"),
        }
        eprintln!(
            "{out}: {} after {} attempts; {} processes of runs and {} workers killed",
            run.status.as_str(),
            run.attempt,
            self.of_children,
            self.of_workers
        );
    }
}

/// Kills `kills` times; what happened.
async fn survive(kills: usize, seed: u64) -> Value {
    let stage = Stage::new().await;
    let data = stage.folder.path();
    stage.write("in.csv", csv(0..ROWS));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut workers = [Worker::start(data, "w0"), Worker::start(data, "w1")];
    let begin = Instant::now();
    let calm = stage.run(Stage::new_job("calm", &copy("in.csv", "calm", "append"))).await;
    let calm = stage.ended(&calm.id).await;
    assert_eq!(calm.status, RunStatus::Succeeded, "{calm:#?}");
    let full = begin.elapsed();

    let mut tally = Tally::default();
    let mut moments = Vec::new();
    let mut going: Vec<(Run, String)> = Vec::new();
    let mut made = 0;
    while tally.kills() < kills {
        while going.len() < AT_ONCE {
            made += 1;
            let out = format!("out{made}");
            going.push((stage.run(Stage::new_job(&out, &copy("in.csv", &out, "append"))).await, out));
        }
        // Moments are the point: this is no waiting for something.
        let moment = full.mul_f64(rng.random_range(0.05..0.9));
        tokio::time::sleep(moment).await;
        let busy: Vec<(usize, u32)> =
            (0..workers.len()).flat_map(|index| workers[index].children().into_iter().map(move |child| (index, child))).collect();
        if let Some(&(index, child)) = busy.choose(&mut rng) {
            moments.push(u64::try_from(moment.as_millis()).unwrap());
            // Fewer of the workers: each costs its runs a lease.
            if rng.random_bool(0.3) {
                tally.of_workers += 1;
                workers[index] = Worker::start(data, &format!("w{}", tally.of_workers + 1));
            } else {
                weir_testkit::process::signal(child, libc::SIGKILL).unwrap();
                tally.of_children += 1;
            }
        }
        let mut left = Vec::new();
        for (run, out) in going {
            let run = stage.state(&run.id).await;
            if run.status.is_final() { tally.check(&stage, &run, &out) } else { left.push((run, out)) }
        }
        going = left;
    }
    for (run, out) in going {
        let run = stage.ended(&run.id).await;
        tally.check(&stage, &run, &out);
    }
    json!({
        "kills": tally.kills(), "of_runs": tally.of_children, "of_workers": tally.of_workers, "runs": tally.runs + 1, "failed": tally.failed,
        "rows": ROWS, "full_run_ms": u64::try_from(full.as_millis()).unwrap(), "most_attempts": tally.most_attempts,
        "between_kills_ms": moments, "seed": seed,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_run_ends_and_the_data_is_exact_over_twenty_kills() {
    let report = survive(20, 20_261_121).await;
    assert_eq!(report["kills"], 20);
    assert_eq!(report["failed"], 0, "attempts that were taken away are made again: {report:#}");
    assert!(report["most_attempts"].as_u64().unwrap() > 1, "{report:#}");
}

/// The long form, for `cargo xtask crash --suite platform`: `WEIR_PLATFORM_KILLS` kills, the report to the file `WEIR_PLATFORM_REPORT`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of an hour; cargo xtask crash --suite platform"]
async fn long() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let kills = usize::try_from(number("WEIR_PLATFORM_KILLS", 300)).unwrap();
    let report = survive(kills, number("WEIR_PLATFORM_SEED", 1)).await;
    if let Ok(path) = std::env::var("WEIR_PLATFORM_REPORT") {
        std::fs::write(path, report.to_string()).unwrap();
    }
    assert_eq!(report["failed"], 0, "attempts that were taken away are made again: {report:#}");
    assert!(Duration::from_millis(report["full_run_ms"].as_u64().unwrap()) < Duration::from_secs(60));
}
