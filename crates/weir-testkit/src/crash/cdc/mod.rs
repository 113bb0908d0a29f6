//! Change data capture under `kill -9`: writers change a source without pause, `weir run` is killed and started again, servers are killed and restarted,
//! and in the end not only the tables are compared: every key's history at the target must be a part, in order, of its history at the
//! source. Both histories are written by triggers (or are the files' rows), so what is compared is what the databases saw.
//!
//! One loop for every source and every target: [`Pair`]. It goes in rounds, each with a fresh pipeline and fresh tables, so that kills fall into the
//! snapshot again and again and the disk stays bounded; every round is verified.
//!
//! * `site`: a database server to kill; `writer`: who changes the source; `sink`, `files`: targets; `history`: the oracle;
//! * `program`: `weir run`;
//! * [`soak`]: an hour of load without kills; [`large`]: one very large transaction.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

mod files;
mod history;
pub mod large;
mod sink;
mod site;
pub mod soak;
mod writer;

pub use sink::To;
pub use site::System;

use super::program::Weir;
use sink::Sink;
use site::Site;
use writer::Writers;

/// So many kills, then everything is compared and begins anew.
const ROUND: usize = 50;
/// A run tries five times without progress, which may take this long, or somewhat longer.
const FIVE_TRIES: Duration = Duration::from_millis(3_800);
/// A target that gets nothing for so long is not recovering.
const PATIENCE: Duration = Duration::from_secs(60);
/// A recovery that takes longer is told with what the program said.
const SLOW: Duration = Duration::from_secs(5);

/// Which source and which target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Whose log is read.
    pub from: System,
    /// Where the changes go.
    pub to: To,
}

impl Pair {
    /// Every source with every target.
    pub fn all() -> impl Iterator<Item = Self> {
        System::ALL.into_iter().flat_map(|from| To::ALL.map(|to| Self { from, to }))
    }

    /// `cdc-pg-parquet`, ….
    pub fn name(self) -> String {
        format!("cdc-{}-{}", self.from.name(), self.to.name())
    }

    /// The pair of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|pair| pair.name() == name)
    }
}

/// What to do.
#[derive(Debug, Clone)]
pub struct CdcOptions {
    /// The `weir` program.
    pub weir: PathBuf,
    /// How often it is killed.
    pub kills: usize,
    /// How often a server is restarted, source and target in turn, every other pair of times by `kill -9`. At most one after each start of `weir`.
    pub restarts: usize,
    /// Rows that are there before the first run of a round: the first kills fall into the snapshot.
    pub rows: u64,
    /// Decides the moments.
    pub seed: u64,
    /// Print a line now and then to standard error.
    pub chatty: bool,
}

/// What happened; everything was verified.
#[derive(Debug, Default, Serialize)]
pub struct CdcReport {
    /// `cdc-pg-pg`, ….
    pub suite: String,
    /// Kills of a running `weir`.
    pub kills: usize,
    /// Restarts of servers, half of them kills.
    pub restarts: usize,
    /// Starts of `weir` that a server was restarted under before the run had begun: it says so and ends, and is started again. No kills.
    pub refused_starts: usize,
    /// Runs that ended because a server was away for longer than they try again; they are started again. No kills.
    pub gave_up: usize,
    /// Pipelines that were begun, brought to their end and compared.
    pub rounds: usize,
    /// Changes that were committed at the source, the rows that were there included.
    pub changes: u64,
    /// Changes that the target saw (several of one key may arrive as one).
    pub applied: u64,
    /// Keys whose histories were compared.
    pub keys: usize,
    /// From the start of a killed `weir` to its first change in the target, where it lived so long.
    pub recovery_ms: Spread,
    /// From a server's being there again to the next change in the target, where it was waited for; `weir` was running all the time.
    pub after_restart_ms: Spread,
    /// How long it all took.
    pub seconds: u64,
    /// The seed.
    pub seed: u64,
}

/// Figures of many measurements.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// Half are below.
    pub p50: u64,
    /// 99 in 100 are below.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

impl Spread {
    pub(in crate::crash) fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let at = |part: usize| values.get((values.len().max(1) - 1) * part / 100).copied().unwrap_or(0);
        Self { count: values.len(), p50: at(50), p99: at(99), max: at(100) }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The pipeline file of a table of `source`.
fn pipeline(name: &str, source: &Site, sink: &str) -> String {
    format!(
        "pipeline: {name}\nmode: cdc\nsource: {{{}-cdc: {{url: '{}', tables: [{}], chunk_bytes: 262144}}}}\nsink: {sink}\n",
        source.system.connector(),
        source.url(),
        source.table(),
    )
}

/// Runs the suite; the first difference is an error.
pub fn run(pair: Pair, options: &CdcOptions) -> Result<CdcReport> {
    ensure!(options.weir.is_file(), "{} is no program: build `weir` first", options.weir.display());
    let begin = Instant::now();
    let mut suite = Suite {
        options,
        rng: StdRng::seed_from_u64(options.seed),
        report: CdcReport { suite: pair.name(), seed: options.seed, ..CdcReport::default() },
        recoveries: Vec::new(),
        reconnections: Vec::new(),
    };
    let mut folder = fresh_folder()?;
    let (mut source, mut sink) = (Site::start(pair.from)?, Sink::start(pair.to, folder.path())?);
    loop {
        suite.round(&mut source, &mut sink, folder.path())?;
        if suite.report.kills >= options.kills {
            break;
        }
        folder = fresh_folder()?;
        (source, sink) = (source.renew()?, sink.renew(folder.path())?);
    }
    let Suite { mut report, recoveries, reconnections, .. } = suite;
    report.recovery_ms = Spread::of(recoveries);
    report.after_restart_ms = Spread::of(reconnections);
    report.seconds = begin.elapsed().as_secs();
    Ok(report)
}

fn fresh_folder() -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("weir-crash-cdc-").tempdir()?)
}

struct Suite<'a> {
    options: &'a CdcOptions,
    rng: StdRng,
    report: CdcReport,
    recoveries: Vec<u64>,
    reconnections: Vec<u64>,
}

impl Suite<'_> {
    /// One pipeline from its first run to the comparison.
    fn round(&mut self, source: &mut Site, sink: &mut Sink, folder: &Path) -> Result<()> {
        source.fill(self.options.rows)?;
        let name = format!("crash_{}", self.report.rounds);
        fs::write(folder.join("pipeline.yaml"), pipeline(&name, source, &sink.yaml()))?;
        let writers = Writers::start(source, self.options.rows, self.options.seed.wrapping_add(self.report.rounds as u64), None)?;
        let last = self.options.kills.min(self.report.kills + ROUND);
        while self.report.kills < last {
            self.attempt(source, sink, folder)?;
        }
        ensure!(writers.committed() > 0, "nothing was written");
        writers.stop()?;
        let mut weir = Weir::start(&self.options.weir, folder, &["--until-caught-up"])?;
        weir.must_succeed(Duration::from_secs(300))?;
        let compared = sink.compare(source).with_context(|| format!("round {}", self.report.rounds))?;
        self.report.rounds += 1;
        self.report.changes += compared.changes;
        self.report.applied += compared.applied;
        self.report.keys += compared.keys;
        if self.options.chatty {
            eprintln!(
                "{}: {} of {} kills, {} restarts; {} changes, every history in order",
                self.report.suite, self.report.kills, self.options.kills, self.report.restarts, self.report.changes
            );
        }
        Ok(())
    }

    /// One run of `weir` and its kill, with the restart of a server before it when one is due.
    fn attempt(&mut self, source: &mut Site, sink: &mut Sink, folder: &Path) -> Result<()> {
        let mut weir = Weir::start(&self.options.weir, folder, &["--checkpoint-interval", "1s"])?;
        let mut outage = Duration::ZERO;
        let lived = self.life(&mut weir, source, sink, &mut outage).and_then(|()| weir.must_live());
        if lived.is_err() && !outage.is_zero() && weir.has_ended()? {
            if weir.refused_to_begin()? {
                self.report.refused_starts += 1;
                return Ok(());
            }
            if outage > FIVE_TRIES {
                self.report.gave_up += 1;
                return Ok(());
            }
        }
        lived?;
        weir.kill_9()?;
        self.report.kills += 1;
        Ok(())
    }

    /// What happens while it runs, and how long a server was away.
    fn life(&mut self, weir: &mut Weir, source: &mut Site, sink: &mut Sink, outage: &mut Duration) -> Result<()> {
        if self.rng.random_bool(0.5) {
            // Somewhere between start and first change.
            self.pause(600);
        } else {
            arrives(weir, sink)?;
            let took = weir.age();
            self.recoveries.push(millis(took));
            if took > SLOW {
                eprintln!("{}: {took:.1?} until the first change; it said\n{}", self.report.suite, weir.log());
            }
            self.pause(800);
        }
        let CdcReport { kills, restarts, .. } = self.report;
        if restarts * self.options.kills >= self.options.restarts * (kills + 1) {
            return Ok(());
        }
        weir.must_live()?;
        let servers = if sink.server().is_some() { 2 } else { 1 };
        let server = if restarts % servers == 0 { Some(&mut *source) } else { sink.server() };
        let begin = Instant::now();
        if let Some(server) = server {
            server.restart((restarts / servers) % 2 == 0)?;
        }
        *outage = begin.elapsed();
        self.report.restarts += 1;
        if self.rng.random_bool(0.5) {
            self.reconnections.push(millis(arrives(weir, sink)?));
        }
        self.pause(1000);
        Ok(())
    }

    fn pause(&mut self, most_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.rng.random_range(0..most_ms)));
    }
}

/// Waits until something new is visible in the target.
fn arrives(weir: &mut Weir, sink: &Sink) -> Result<Duration> {
    let before = sink.seen()?;
    weir.until("something arrives", PATIENCE, || Ok(sink.seen()? != before))
}
