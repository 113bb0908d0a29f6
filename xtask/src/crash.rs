//! `cargo xtask crash`: the full count of the crash suites, their result kept in `bench/results/`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;
use weir_testkit::crash::{CrashOptions, Suite, cdc, cdc_files, run as run_suite};

#[derive(clap::Args)]
pub struct Args {
    /// How many times each suite's run is killed
    #[arg(long, default_value_t = 200)]
    kills: usize,
    /// `pg-parquet`, `pg-pg`, `csv-s3`; all three when not given. `platform`: runs of workers, killed with or without their worker. `cdc-pg-pg`
    /// and `cdc-pg-parquet`: changes, with a restart of one of the servers at every fifth kill
    #[arg(long = "suite", value_parser = ["pg-parquet", "pg-pg", "csv-s3", "platform", "cdc-pg-pg", "cdc-pg-parquet"])]
    suites: Vec<String>,
    /// Rows of the source
    #[arg(long, default_value_t = 300_000)]
    rows: u64,
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
    let weir = match args.weir {
        Some(path) => path.canonicalize().with_context(|| format!("no program at {}", path.display()))?,
        None => std::env::current_exe()?.with_file_name("weir"),
    };
    let suites = if args.suites.is_empty() { Suite::ALL.map(|s| s.name().to_owned()).to_vec() } else { args.suites };
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
        if name == "cdc-pg-pg" || name == "cdc-pg-parquet" {
            let options = cdc::CdcOptions {
                weir: weir.clone(),
                kills: args.kills,
                restarts: args.kills / 10,
                rows: args.rows.min(50_000),
                seed,
                chatty: true,
            };
            let outcome = if name == "cdc-pg-pg" { cdc::run(&options) } else { cdc_files::run(&options) };
            let body = match &outcome {
                Ok(report) => json!({"verdict": "every key's history is the source's, in order", "report": report}),
                Err(error) => json!({"verdict": "failed", "suite": name, "seed": seed, "error": format!("{error:#}")}),
            };
            let file = keep(&args.results, name, &weir, &body)?;
            match outcome {
                Ok(r) => println!(
                    "{name}: {} kills, {} restarts, {} changes of {} keys, every history in order; recovery p50 {} ms, p99 {} ms; {}",
                    r.kills,
                    r.restarts,
                    r.changes,
                    r.keys,
                    r.recovery_ms.p50,
                    r.recovery_ms.p99,
                    file.display()
                ),
                Err(error) => {
                    println!("{name}: FAILED (seed {seed}): {error:#}");
                    failed.push(name.clone());
                }
            }
            continue;
        }
        let suite = Suite::named(name).with_context(|| format!("no suite `{name}`"))?;
        let options = CrashOptions { weir: weir.clone(), kills: args.kills, rows: args.rows, seed, chatty: true };
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

/// Writes a result with what a reader needs to judge it.
fn keep(results: &Path, suite: &str, weir: &Path, body: &serde_json::Value) -> Result<PathBuf> {
    std::fs::create_dir_all(results)?;
    let file = results.join(format!("crash-{suite}-{}.json", now()?));
    let version = std::process::Command::new(weir).arg("--version").output()?;
    let kept = json!({"result": body, "weir": String::from_utf8_lossy(&version.stdout).trim(), "machine": machine()});
    std::fs::write(&file, serde_json::to_string_pretty(&kept)? + "\n")?;
    Ok(file)
}

fn now() -> Result<String> {
    let output = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H%MZ"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What a reader needs to judge a figure: processor, cores, memory, kernel, load. No names of machines or people.
fn machine() -> serde_json::Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines().find(|l| l.starts_with(name)).and_then(|l| l.split(':').nth(1)).map(|v| v.trim().to_owned())
    };
    json!({
        "processor": field(&read("/proc/cpuinfo"), "model name"),
        "cores": std::thread::available_parallelism().map(usize::from).unwrap_or(0),
        "memory": field(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load": read("/proc/loadavg").split(' ').next(),
    })
}
