//! `cargo xtask crash`: the full count of the crash suites, their result kept in `bench/results/`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;
use weir_testkit::crash::cdc::{self, CdcOptions, Pair, large};
use weir_testkit::crash::stream::{self, Course, StreamOptions};
use weir_testkit::crash::{CrashOptions, Suite, run as run_suite};

use crate::results;

/// The suites that are neither a batch nor a pair of changes.
const OTHERS: [&str; 2] = ["platform", "large-transaction"];

/// A suite's name, as it was written.
fn suite(name: &str) -> std::result::Result<String, String> {
    let batch = Suite::ALL.iter().map(|suite| suite.name().to_owned());
    let names: Vec<String> = batch
        .chain(Pair::all().map(Pair::name))
        .chain(Course::all().map(Course::name))
        .chain(OTHERS.map(str::to_owned))
        .collect();
    if names.iter().any(|known| known == name) { Ok(name.to_owned()) } else { Err(format!("there are {}", names.join(", "))) }
}

#[derive(clap::Args)]
pub struct Args {
    /// How many times each suite's run is killed
    #[arg(long, default_value_t = 200)]
    kills: usize,
    /// Of changes: how often a server is restarted, source and target in turn, half of the times by `kill -9` [default: a fifth of the kills]. Of streams: how
    /// often the broker is killed and started again [default: a sixth of the kills]
    #[arg(long)]
    restarts: Option<usize>,
    /// `pg-parquet`, `pg-pg`, `csv-s3` when not given. `platform`: runs of workers, killed with or without their worker. `cdc-SOURCE-TARGET`: changes.
    /// `stream-BROKER-TARGET`: streams, by a program with the feature of that broker; `stream-kafka-window-pg`, `stream-kafka-join-pg`: over event time.
    /// `large-transaction`: one transaction of `--rows` rows, without kills
    #[arg(long = "suite", value_name = "NAME", value_parser = suite)]
    suites: Vec<String>,
    /// Rows of the source [default: 300,000; of changes 20,000; of the large transaction 10,000,000]
    #[arg(long)]
    rows: Option<u64>,
    /// Of streams: records a second
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Decides the moments; drawn by chance when not given
    #[arg(long)]
    seed: Option<u64>,
    /// The `weir` program; by default the one beside this program
    #[arg(long, env = "WEIR_BIN")]
    weir: Option<PathBuf>,
    /// Where results are kept
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
}

pub fn run(args: Args) -> Result<()> {
    let weir = results::program(args.weir.as_deref())?;
    let suites = if args.suites.is_empty() { Suite::ALL.map(|s| s.name().to_owned()).to_vec() } else { args.suites.clone() };
    let seed = args.seed.unwrap_or_else(rand::random);
    let mut failed = Vec::new();
    for name in &suites {
        if name == "platform" {
            if let Err(error) = platform(args.kills, seed, &weir, &args.results) {
                println!("{name}: FAILED (seed {seed}): {error:#}");
                failed.push(name.clone());
            }
            continue;
        }
        if let Some(pair) = Pair::named(name) {
            if let Err(error) = changes(pair, &args, seed, &weir) {
                println!("{name}: FAILED (seed {seed}): {error:#}");
                failed.push(name.clone());
            }
            continue;
        }
        if let Some(course) = Course::named(name) {
            if let Err(error) = streams(course, &args, seed, &weir) {
                println!("{name}: FAILED (seed {seed}): {error:#}");
                failed.push(name.clone());
            }
            continue;
        }
        if name == "large-transaction" {
            if let Err(error) = large_transaction(&args, &weir) {
                println!("{name}: FAILED: {error:#}");
                failed.push(name.clone());
            }
            continue;
        }
        let suite = Suite::named(name).with_context(|| format!("no suite `{name}`"))?;
        let options =
            CrashOptions { weir: weir.clone(), kills: args.kills, rows: args.rows.unwrap_or(300_000), seed, chatty: true };
        let outcome = run_suite(suite, &options);
        let body = match &outcome {
            Ok(report) => json!({"verdict": "every target equals its source", "report": report}),
            Err(error) => json!({"verdict": "failed", "suite": name, "seed": seed, "error": format!("{error:#}")}),
        };
        let file = keep(&args.results, name, &weir, &body)?;
        match outcome {
            Ok(r) => println!(
                "{name}: {} kills, {} targets, every one equal to its source ({} rows); {}",
                r.kills,
                r.sequences,
                r.rows,
                file.display()
            ),
            Err(error) => {
                println!("{name}: FAILED (seed {seed}): {error:#}");
                failed.push(name.clone());
            }
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn changes(pair: Pair, args: &Args, seed: u64, weir: &Path) -> Result<()> {
    let options = CdcOptions {
        weir: weir.to_owned(),
        kills: args.kills,
        restarts: args.restarts.unwrap_or(args.kills / 5),
        rows: args.rows.unwrap_or(20_000),
        seed,
        chatty: true,
    };
    let outcome = cdc::run(pair, &options);
    let body = match &outcome {
        Ok(report) => json!({"verdict": "every key's history is the source's, in order", "report": report}),
        Err(error) => json!({"verdict": "failed", "suite": pair.name(), "seed": seed, "error": format!("{error:#}")}),
    };
    let file = keep(&args.results, &pair.name(), weir, &body)?;
    let r = outcome?;
    println!(
        "{}: {} kills, {} restarts, {} changes of {} keys, every history in order; recovery p50 {} ms, p99 {} ms; {}",
        r.suite,
        r.kills,
        r.restarts,
        r.changes,
        r.keys,
        r.recovery_ms.p50,
        r.recovery_ms.p99,
        file.display()
    );
    Ok(())
}

fn streams(course: Course, args: &Args, seed: u64, weir: &Path) -> Result<()> {
    let options = StreamOptions {
        weir: weir.to_owned(),
        kills: args.kills,
        restarts: args.restarts.unwrap_or(args.kills / 6),
        rate: args.rate,
        seed,
        chatty: true,
    };
    let outcome = stream::run(course, &options);
    let told = if course.is_once() { "the target has every record once" } else { "the target has every record at least once" };
    let body = match &outcome {
        Ok(report) => json!({"verdict": told, "report": report}),
        Err(error) => json!({"verdict": "failed", "suite": course.name(), "seed": seed, "error": format!("{error:#}")}),
    };
    let file = keep(&args.results, &course.name(), weir, &body)?;
    let r = outcome?;
    println!(
        "{}: {} kills, {} of the broker, {} records, {}, {} doubled; recovery p50 {} ms, p99 {} ms; {}",
        r.suite,
        r.kills,
        r.broker_kills,
        r.records,
        if r.once { "each there once" } else { "each there" },
        r.doubled,
        r.recovery_ms.p50,
        r.recovery_ms.p99,
        file.display()
    );
    Ok(())
}

fn large_transaction(args: &Args, weir: &Path) -> Result<()> {
    let options = large::LargeOptions { weir: weir.to_owned(), rows: args.rows.unwrap_or(10_000_000), chatty: true };
    let outcome = large::run(&options);
    let body = match &outcome {
        Ok(report) => json!({"verdict": "the target equals the source", "report": report}),
        Err(error) => json!({"verdict": "failed", "suite": "large-transaction", "error": format!("{error:#}")}),
    };
    let file = keep(&args.results, "large-transaction", weir, &body)?;
    let r = outcome?;
    println!(
        "large-transaction: {} rows, visible {:.1} s after the commit, {} MiB resident at most; {}",
        r.rows,
        r.commit_to_visible_secs,
        r.peak_rss_bytes >> 20,
        file.display()
    );
    Ok(())
}

/// The platform's suite lives with the platform's tests, which know the store; it is one of them that is not run otherwise.
fn platform(kills: usize, seed: u64, weir: &Path, results: &Path) -> Result<()> {
    let report = tempfile::NamedTempFile::new()?;
    let status = std::process::Command::new(env!("CARGO"))
        .args(["test", "--workspace", "--test", "platform", "--", "--ignored", "--exact", "--nocapture", "crash::long"])
        .env("WEIR_PLATFORM_KILLS", kills.to_string())
        .env("WEIR_PLATFORM_SEED", seed.to_string())
        .env("WEIR_PLATFORM_REPORT", report.path())
        .status()?;
    let told = std::fs::read_to_string(report.path())?;
    let body = match serde_json::from_str::<serde_json::Value>(&told) {
        Ok(report) if status.success() => {
            json!({"verdict": "every run ended and every target equals its source", "report": report})
        }
        _ => json!({"verdict": "failed", "suite": "platform", "seed": seed}),
    };
    let file = keep(results, "platform", weir, &body)?;
    if !status.success() {
        bail!("the suite ended with {status}; {}", file.display());
    }
    println!("platform: {kills} kills, every run ended, every target equal to its source; {}", file.display());
    Ok(())
}

fn keep(folder: &Path, suite: &str, weir: &Path, body: &serde_json::Value) -> Result<PathBuf> {
    results::keep(folder, &format!("crash-{suite}"), weir, body)
}
