//! Hours of mixed load at a steady rate, without kills: what must not grow is sampled, and in the end both tables must be equal.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::history::same_rows;
use super::site::{Site, System};
use super::writer::Writers;
use super::{PATIENCE, Spread, fresh_folder, millis, pipeline};
use crate::crash::program::Weir;

/// The first tenth is not looked at when a slope is fitted: caches fill.
const WARM_UP: usize = 10;

/// What to do.
#[derive(Debug, Clone)]
pub struct SoakOptions {
    /// The `weir` program.
    pub weir: PathBuf,
    /// Whose log is read.
    pub from: System,
    /// Where the changes go.
    pub to: System,
    /// How long.
    pub duration: Duration,
    /// Transactions per second, of four changes on average.
    pub rate: u64,
    /// Rows that are there before; keys go up to twice as many.
    pub rows: u64,
    /// Time between two samples.
    pub every: Duration,
    /// Decides the changes.
    pub seed: u64,
    /// Print a line a minute to standard error.
    pub chatty: bool,
}

/// A moment.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Since the begin.
    pub at_secs: u64,
    /// Resident memory of `weir`.
    pub rss_bytes: u64,
    /// What the source's server keeps of its log for us (PostgreSQL).
    pub wal_retained_bytes: Option<u64>,
    /// The journal on disk.
    pub journal_bytes: u64,
    /// The whole state folder, the journal included.
    pub state_bytes: u64,
    /// From a commit at the source to its visibility in the target; asked every 5 ms by connections of their own, which cost some milliseconds.
    pub lag_ms: u64,
    /// Transactions committed so far.
    pub transactions: u64,
    /// Processor time of `weir` so far.
    pub processor_secs: f64,
}

/// How something went over time.
#[derive(Debug, Clone, Serialize)]
pub struct Course {
    /// After the first tenth.
    pub begin: u64,
    /// In the end.
    pub end: u64,
    /// The most, from the beginning.
    pub max: u64,
    /// Of the line that fits best after the first tenth.
    pub slope_per_hour: i64,
}

/// What happened; the tables were equal.
#[derive(Debug, Serialize)]
pub struct SoakReport {
    /// Source and target.
    pub pair: String,
    /// How long.
    pub seconds: u64,
    /// What was asked for.
    pub rate: u64,
    /// What was reached.
    pub transactions: u64,
    /// Rows that were equal.
    pub rows: usize,
    /// Resident memory.
    pub rss_bytes: Course,
    /// What the source's server kept.
    pub wal_retained_bytes: Option<Course>,
    /// The journal.
    pub journal_bytes: Course,
    /// The state folder.
    pub state_bytes: Course,
    /// Commit to visibility.
    pub lag_ms: Spread,
    /// Processor time of `weir`.
    pub processor_secs: f64,
    /// The seed.
    pub seed: u64,
    /// All of them.
    pub samples: Vec<Sample>,
}

/// Runs it.
pub fn run(options: &SoakOptions) -> Result<SoakReport> {
    ensure!(options.weir.is_file(), "{} is no program: build `weir` first", options.weir.display());
    let (source, target) = (Site::start(options.from)?, Site::start(options.to)?);
    source.without_histories()?;
    target.without_histories()?;
    source.fill(options.rows)?;
    source.execute("INSERT INTO t VALUES (0, 0, 'marker', NULL)".into())?;
    let folder = fresh_folder()?;
    let sink = format!("{{{}: {{url: '{}', table: {}}}}}", target.system.connector(), target.url(), target.table());
    std::fs::write(folder.path().join("pipeline.yaml"), pipeline("soak", &source, &sink))?;
    let mut weir = Weir::start(&options.weir, folder.path(), &[])?;
    let mut marker = Marker { last: 0 };
    // The snapshot first.
    marker.travel(&mut weir, &source, &target, Duration::from_secs(300))?;
    let writers = Writers::start(&source, options.rows, options.seed, Some(options.rate))?;
    let begin = Instant::now();
    let mut samples: Vec<Sample> = Vec::new();
    while begin.elapsed() < options.duration {
        let due = begin + options.every * u32::try_from(samples.len() + 1)?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let lag = marker.travel(&mut weir, &source, &target, PATIENCE)?;
        let state = folder.path().join("state");
        let sample = Sample {
            at_secs: begin.elapsed().as_secs(),
            rss_bytes: weir.memory("VmRSS"),
            wal_retained_bytes: source.log_kept()?,
            journal_bytes: size_of(&state.join("journal")),
            state_bytes: size_of(&state),
            lag_ms: millis(lag),
            transactions: writers.committed(),
            processor_secs: weir.processor_secs(),
        };
        if options.chatty && samples.len().is_multiple_of(12) {
            eprintln!(
                "soak: {} s, {} transactions, {} MiB resident, log kept {} KiB, journal {} KiB, {} ms behind",
                sample.at_secs,
                sample.transactions,
                sample.rss_bytes >> 20,
                sample.wal_retained_bytes.unwrap_or(0) >> 10,
                sample.journal_bytes >> 10,
                sample.lag_ms
            );
        }
        samples.push(sample);
    }
    let transactions = writers.committed();
    writers.stop()?;
    marker.travel(&mut weir, &source, &target, PATIENCE)?;
    let rows = source.table_rows()?;
    same_rows(&rows, &target.table_rows()?)?;
    let course = |of: &dyn Fn(&Sample) -> u64| course(&samples, of);
    Ok(SoakReport {
        pair: format!("{}-{}", options.from.name(), options.to.name()),
        seconds: begin.elapsed().as_secs(),
        rate: options.rate,
        transactions,
        rows: rows.len(),
        rss_bytes: course(&|sample| sample.rss_bytes),
        wal_retained_bytes: samples
            .iter()
            .any(|sample| sample.wal_retained_bytes.is_some())
            .then(|| course(&|sample| sample.wal_retained_bytes.unwrap_or(0))),
        journal_bytes: course(&|sample| sample.journal_bytes),
        state_bytes: course(&|sample| sample.state_bytes),
        lag_ms: Spread::of(samples.iter().map(|sample| sample.lag_ms).collect()),
        processor_secs: weir.processor_secs(),
        seed: options.seed,
        samples,
    })
}

/// A row that nobody else touches.
pub(super) struct Marker {
    pub last: u64,
}

impl Marker {
    /// Changes the row, and waits until the target has it: after that it has everything that was committed before.
    pub fn travel(&mut self, weir: &mut Weir, source: &Site, target: &Site, limit: Duration) -> Result<Duration> {
        self.last += 1;
        let sent = self.last.to_string();
        source.execute(format!("UPDATE t SET v = {sent} WHERE id = 0"))?;
        weir.until("the marker arrives", limit, || {
            let row = target.rows("SELECT v FROM t WHERE id = 0")?;
            Ok(row.first().and_then(|row| row.first()).is_some_and(|v| v.as_deref() == Some(&sent)))
        })
        .context("a change did not arrive")
    }
}

/// Bytes of all files below.
pub(super) fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_of(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

fn course(samples: &[Sample], of: &dyn Fn(&Sample) -> u64) -> Course {
    let warm = &samples[samples.len() / WARM_UP..];
    let points: Vec<(f64, f64)> = warm.iter().map(|sample| (sample.at_secs as f64, of(sample) as f64)).collect();
    Course {
        begin: warm.first().map_or(0, of),
        end: warm.last().map_or(0, of),
        max: samples.iter().map(of).max().unwrap_or(0),
        slope_per_hour: (slope(&points) * 3600.0) as i64,
    }
}

/// Of the line with the least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len().max(1) as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if variance == 0.0 { 0.0 } else { covariance / variance }
}

#[cfg(test)]
mod tests {
    use super::slope;

    #[test]
    fn a_slope_is_that_of_the_best_line() {
        assert_eq!(slope(&[]), 0.0);
        assert_eq!(slope(&[(1.0, 5.0)]), 0.0);
        assert!((slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) - 2.0).abs() < 1e-9);
        // Up and down again is none.
        assert!(slope(&[(0.0, 1.0), (1.0, 9.0), (2.0, 1.0)]).abs() < 1e-9);
    }
}
