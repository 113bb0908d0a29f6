//! Streams under `kill -9`: somebody writes into a broker without pause, `weir run` of a `mode: streaming` pipeline is killed and started again, the broker is killed
//! and started again, and in the end the target must hold every record of the broker exactly once.
//!
//! It goes in rounds, each with a fresh topic, pipeline and target. What the broker holds in the end is what counts: a record that the writer could not
//! bring in is not missing. Both sides are read without Weir.
//!
//! * `bus`: the broker to kill, its writer and its readers; `target`: where records go.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

mod bus;
mod target;

pub use target::To;

use super::cdc::Spread;
use super::program::Weir;
use bus::{Bus, Writer};
use target::Target;

/// So many kills, then everything is compared and begins anew.
const ROUND: usize = 50;
/// A target that gets nothing for so long is not recovering.
const PATIENCE: Duration = Duration::from_secs(90);
/// A recovery that takes longer is told with what the program said.
const SLOW: Duration = Duration::from_secs(10);

/// The name of the suite into a target: `stream-kafka-parquet`, ….
pub fn name(to: To) -> String {
    format!("stream-kafka-{}", to.name())
}

/// The target of the suite of that name.
pub fn named(text: &str) -> Option<To> {
    To::ALL.into_iter().find(|to| name(*to) == text)
}

/// What to do.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// The `weir` program, built with the feature `kafka`.
    pub weir: PathBuf,
    /// How often it is killed.
    pub kills: usize,
    /// How often the broker is killed and started again, at most once after each start of `weir`.
    pub restarts: usize,
    /// Records a second.
    pub rate: u64,
    /// Decides the moments.
    pub seed: u64,
    /// Print a line now and then to standard error.
    pub chatty: bool,
}

/// What happened; everything was verified.
#[derive(Debug, Default, Serialize)]
pub struct StreamReport {
    /// `stream-kafka-parquet`, ….
    pub suite: String,
    /// Kills of a running `weir`.
    pub kills: usize,
    /// Kills of the broker.
    pub broker_kills: usize,
    /// Starts of `weir` while the broker was away: it says so and ends, and is started again. No kills.
    pub refused_starts: usize,
    /// Pipelines that were begun, brought to their end and compared.
    pub rounds: usize,
    /// Records of the source.
    pub records: usize,
    /// From the start of a killed `weir` to the next record in the target, where it lived so long.
    pub recovery_ms: Spread,
    /// From the broker's being there again to the next record in the target, where it was waited for; `weir` was running all the time.
    pub after_restart_ms: Spread,
    /// How long it all took.
    pub seconds: u64,
    /// The seed.
    pub seed: u64,
}

/// Runs the suite; the first difference is an error.
pub fn run(to: To, options: &StreamOptions) -> Result<StreamReport> {
    ensure!(options.weir.is_file(), "{} is no program: build `weir` first", options.weir.display());
    let begin = Instant::now();
    let mut suite = Suite {
        options,
        rng: StdRng::seed_from_u64(options.seed),
        report: StreamReport { suite: name(to), seed: options.seed, ..StreamReport::default() },
        recoveries: Vec::new(),
        reconnections: Vec::new(),
    };
    let mut bus = Bus::start()?;
    while suite.report.rounds == 0 || suite.report.kills < options.kills {
        suite.round(&mut bus, to)?;
    }
    let Suite { mut report, recoveries, reconnections, .. } = suite;
    report.recovery_ms = Spread::of(recoveries);
    report.after_restart_ms = Spread::of(reconnections);
    report.seconds = begin.elapsed().as_secs();
    Ok(report)
}

struct Suite<'a> {
    options: &'a StreamOptions,
    rng: StdRng,
    report: StreamReport,
    recoveries: Vec<u64>,
    reconnections: Vec<u64>,
}

impl Suite<'_> {
    /// One pipeline from its first run to the comparison.
    fn round(&mut self, bus: &mut Bus, to: To) -> Result<()> {
        let folder = tempfile::Builder::new().prefix("weir-crash-stream-").tempdir()?;
        let number = self.report.rounds;
        let topic = bus.topic(&format!("source_{number}"))?;
        let mut target = Target::make(to, bus, number, folder.path())?;
        let text = format!(
            "pipeline: crash_{number}\nmode: streaming\ncheckpoint_interval_ms: 200\nroll: {{interval_ms: 400}}\nsource: {}\nsink: {}\n",
            bus.source(&topic),
            target.yaml(bus)
        );
        fs::write(folder.path().join("pipeline.yaml"), text)?;
        let writer = Writer::start(bus, &topic, self.options.rate)?;
        let last = self.options.kills.min(self.report.kills + ROUND);
        while self.report.kills < last {
            self.attempt(bus, &mut target, folder.path())?;
        }
        writer.stop()?;
        let mut weir = Weir::start(&self.options.weir, folder.path(), &["--until-caught-up"])?;
        weir.must_succeed(Duration::from_secs(300))?;
        let source = bus.read(&topic)?;
        ensure!(!source.is_empty(), "nothing was written");
        target.compare(bus, &source).with_context(|| format!("round {number}"))?;
        self.report.rounds += 1;
        self.report.records += source.len();
        if self.options.chatty {
            eprintln!(
                "{}: {} of {} kills, {} of the broker; {} records, all there",
                self.report.suite, self.report.kills, self.options.kills, self.report.broker_kills, self.report.records
            );
        }
        Ok(())
    }

    /// One run of `weir` and its kill.
    fn attempt(&mut self, bus: &mut Bus, target: &mut Target, folder: &Path) -> Result<()> {
        let mut weir = Weir::start(&self.options.weir, folder, &[])?;
        let mut disturbed = false;
        let lived = self.life(&mut weir, bus, target, &mut disturbed).and_then(|()| weir.must_live());
        if lived.is_err() && disturbed && weir.refused_to_begin()? {
            self.report.refused_starts += 1;
            return Ok(());
        }
        lived?;
        weir.kill_9()?;
        self.report.kills += 1;
        Ok(())
    }

    fn life(&mut self, weir: &mut Weir, bus: &mut Bus, target: &mut Target, disturbed: &mut bool) -> Result<()> {
        if self.rng.random_bool(0.5) {
            // Somewhere between start and first record.
            self.pause(900);
        } else {
            arrives(weir, target)?;
            let took = weir.age();
            self.recoveries.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            if took > SLOW {
                eprintln!("{}: {took:.1?} until the first record; it said\n{}", self.report.suite, weir.log());
            }
            self.pause(1_200);
        }
        let StreamReport { kills, broker_kills, .. } = self.report;
        if broker_kills * self.options.kills >= self.options.restarts * (kills + 1) {
            return Ok(());
        }
        weir.must_live()?;
        *disturbed = true;
        bus.kill_and_start()?;
        self.report.broker_kills += 1;
        if self.rng.random_bool(0.5) {
            let took = arrives(weir, target)?;
            self.reconnections.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        }
        self.pause(1_000);
        Ok(())
    }

    fn pause(&mut self, most_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.rng.random_range(0..most_ms)));
    }
}

/// Waits until something new is visible in the target.
fn arrives(weir: &mut Weir, target: &mut Target) -> Result<Duration> {
    let before = target.seen()?;
    weir.until("something arrives", PATIENCE, || Ok(target.seen()? > before))
}
