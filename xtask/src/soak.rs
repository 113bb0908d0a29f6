//! `cargo xtask soak`: mixed load at a steady rate, what must not grow is sampled; the result is kept in `bench/results/`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use weir_testkit::crash::cdc::System;
use weir_testkit::crash::cdc::soak::{SoakOptions, run as run_soak};

use crate::results;

#[derive(clap::Args)]
pub struct Args {
    /// How long
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Transactions per second, of four changes on average
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// Whose log is read
    #[arg(long, default_value = "pg", value_parser = ["pg", "mysql", "mariadb"])]
    from: String,
    /// Where the changes go
    #[arg(long, default_value = "pg", value_parser = ["pg", "mysql", "mariadb"])]
    to: String,
    /// Rows that are there before
    #[arg(long, default_value_t = 20_000)]
    rows: u64,
    /// Decides the changes; drawn by chance when not given
    #[arg(long)]
    seed: Option<u64>,
    /// The `weir` program; by default the one beside this program
    #[arg(long, env = "WEIR_BIN")]
    weir: Option<PathBuf>,
    /// Where results are kept
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let weir = results::program(args.weir.as_deref())?;
    let system = |name: &str| System::ALL.into_iter().find(|system| system.name() == name).context("no such system");
    let options = SoakOptions {
        weir: weir.clone(),
        from: system(&args.from)?,
        to: system(&args.to)?,
        duration: Duration::from_secs(args.minutes * 60),
        rate: args.rate,
        rows: args.rows,
        every: Duration::from_secs(5),
        seed: args.seed.unwrap_or_else(rand::random),
        chatty: true,
    };
    let outcome = run_soak(&options);
    let body = match &outcome {
        Ok(report) => json!({"verdict": "the tables are equal", "report": report}),
        Err(error) => json!({"verdict": "failed", "seed": options.seed, "error": format!("{error:#}")}),
    };
    let file = results::keep(&args.results, "soak", &weir, &body)?;
    let r = outcome?;
    println!(
        "soak: {} s, {} transactions, {} rows equal; resident {} to {} KiB ({:+} KiB per hour), log kept at most {} KiB, journal at most {} KiB, lag p50 {} ms, p99 {} ms; {}",
        r.seconds,
        r.transactions,
        r.rows,
        r.rss_bytes.begin >> 10,
        r.rss_bytes.end >> 10,
        r.rss_bytes.slope_per_hour / 1024,
        r.wal_retained_bytes.map_or(0, |course| course.max) >> 10,
        r.journal_bytes.max >> 10,
        r.lag_ms.p50,
        r.lag_ms.p99,
        file.display()
    );
    Ok(())
}
