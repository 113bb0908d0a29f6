//! Streams under `kill -9`: somebody writes into a broker without pause, `weir run` of a `mode: streaming` pipeline is killed and started
//! again, the broker is killed and started again, and in the end the target must hold every record of the broker: exactly once where the
//! broker gives again what it gave or the target has a key, elsewhere at least once, and then it is told how many are there more than
//! once.
//!
//! It goes in rounds, each with a fresh topic, pipeline and target. What the broker has confirmed, or still holds in the end, is what
//! counts: a record that the writer could not bring in is not missing. Both sides are read without Weir.
//!
//! * `broker`: what is needed of a broker, and somebody who writes; `kafka`, `nats`, `redis`, `rabbitmq`, `mqtt`, `pulsar`: each of them.
//! * `target`: where records go; `timed`: windows and joins over event time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

mod broker;
mod kafka;
mod mqtt;
mod nats;
mod pulsar;
mod rabbitmq;
mod redis;
mod target;
mod timed;

pub use broker::From;
pub use target::To;
pub use timed::Over;

use super::cdc::Spread;
use super::program::Weir;
use broker::{Bus, Writing};
use target::Target;
use timed::Timed;

/// So many kills, then everything is compared and begins anew.
const ROUND: usize = 50;
/// A target that gets nothing for so long is not recovering.
const PATIENCE: Duration = Duration::from_secs(90);
/// A recovery that takes longer is told with what the program said.
const SLOW: Duration = Duration::from_secs(10);

/// What a suite is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// Records as they are.
    Rows(From, To),
    /// What is made of the records of Kafka over event time, into a table.
    Timed(Over),
}

impl Course {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        // A topic as a target must be at the broker that is killed.
        let fits = |from: From, to: To| to != To::Kafka || from == From::Kafka;
        let rows = From::ALL
            .into_iter()
            .flat_map(move |from| To::ALL.into_iter().filter(move |to| fits(from, *to)).map(move |to| Self::Rows(from, to)));
        rows.chain([Over::Window, Over::Join].map(Self::Timed))
    }

    /// `stream-kafka-parquet`, ….
    pub fn name(self) -> String {
        match self {
            Self::Rows(from, to) => format!("stream-{}-{}", from.name(), to.name()),
            Self::Timed(Over::Window) => "stream-kafka-window-pg".into(),
            Self::Timed(Over::Join) => "stream-kafka-join-pg".into(),
        }
    }

    /// The course of the suite of that name.
    pub fn named(text: &str) -> Option<Self> {
        Self::all().find(|course| course.name() == text)
    }

    /// Whether every record is there once, and not only at least once.
    pub fn is_once(self) -> bool {
        match self {
            Self::Rows(from, to) => from.has_places() || to == To::PgUpsert,
            Self::Timed(_) => true,
        }
    }

    fn from(self) -> From {
        match self {
            Self::Rows(from, _) => from,
            Self::Timed(_) => From::Kafka,
        }
    }
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
    /// Whether each must be there once; otherwise at least once.
    pub once: bool,
    /// Records that are there more than once, counted for each time too many.
    pub doubled: usize,
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
pub fn run(course: Course, options: &StreamOptions) -> Result<StreamReport> {
    ensure!(options.weir.is_file(), "{} is no program: build `weir` first", options.weir.display());
    let begin = Instant::now();
    let mut suite = Suite {
        options,
        rng: StdRng::seed_from_u64(options.seed),
        report: StreamReport { suite: course.name(), seed: options.seed, once: course.is_once(), ..StreamReport::default() },
        recoveries: Vec::new(),
        reconnections: Vec::new(),
    };
    let mut bus = Bus::start(course.from(), options.restarts > 0)?;
    while suite.report.rounds == 0 || suite.report.kills < options.kills {
        suite.round(&mut bus, course)?;
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
    fn round(&mut self, bus: &mut Bus, course: Course) -> Result<()> {
        let folder = tempfile::Builder::new().prefix("weir-crash-stream-").tempdir()?;
        let number = self.report.rounds;
        let mut scene = Scene::set(course, bus, number, folder.path())?;
        let head =
            format!("pipeline: crash_{number}\nmode: streaming\ncheckpoint_interval_ms: 200\nroll: {{interval_ms: 400}}\n");
        fs::write(folder.path().join("pipeline.yaml"), head + &scene.nodes(bus)?)?;
        if bus.forgets_unless_subscribed() {
            self.to_the_end(folder.path())?;
        }
        let writing = scene.write(bus, self.options.rate)?;
        let last = self.options.kills.min(self.report.kills + ROUND);
        while self.report.kills < last {
            self.attempt(bus, &mut scene, folder.path())?;
        }
        let records = scene.end(bus, writing)?;
        self.to_the_end(folder.path())?;
        let compared = scene.compare(bus, records, course.is_once(), folder.path());
        let (records, doubled) = compared.with_context(|| format!("round {number}"))?;
        ensure!(records > 0, "nothing was written");
        self.report.rounds += 1;
        self.report.records += records;
        self.report.doubled += doubled;
        if self.options.chatty {
            eprintln!(
                "{}: {} of {} kills, {} of the broker; {} records, all there, {} doubled",
                self.report.suite,
                self.report.kills,
                self.options.kills,
                self.report.broker_kills,
                self.report.records,
                self.report.doubled
            );
        }
        Ok(())
    }

    /// Runs until everything that is there has arrived.
    fn to_the_end(&self, folder: &Path) -> Result<()> {
        Weir::start(&self.options.weir, folder, &["--until-caught-up"])?.must_succeed(Duration::from_secs(300))
    }

    /// One run of `weir` and its kill.
    fn attempt(&mut self, bus: &mut Bus, target: &mut Scene, folder: &Path) -> Result<()> {
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

    fn life(&mut self, weir: &mut Weir, bus: &mut Bus, target: &mut Scene, disturbed: &mut bool) -> Result<()> {
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

/// A topic, what reads it, and where that goes.
enum Scene {
    Rows { topic: String, target: Target },
    Timed(Timed),
}

/// What was written.
enum Truth {
    Rows(broker::Written),
    Timed,
}

impl Scene {
    fn set(course: Course, bus: &Bus, number: usize, folder: &Path) -> Result<Self> {
        Ok(match course {
            Course::Rows(_, to) => {
                Self::Rows { topic: bus.topic(&format!("source_{number}"))?, target: Target::make(to, bus, number, folder)? }
            }
            Course::Timed(over) => Self::Timed(Timed::set(over, bus.kafka()?, number)?),
        })
    }

    fn nodes(&self, bus: &Bus) -> Result<String> {
        match self {
            Self::Rows { topic, target } => Ok(format!("source: {}\nsink: {}\n", bus.source(topic), target.yaml(bus)?)),
            Self::Timed(timed) => Ok(timed.nodes(bus.kafka()?)),
        }
    }

    fn write(&self, bus: &Bus, rate: u64) -> Result<Vec<Writing>> {
        match self {
            Self::Rows { topic, .. } => Ok(vec![bus.write(topic, rate)?]),
            Self::Timed(timed) => Ok(timed.write(bus.kafka()?, rate)?.into_iter().map(Writing::Tool).collect()),
        }
    }

    /// Everything that was written is at the broker.
    fn end(&self, bus: &Bus, writing: Vec<Writing>) -> Result<Truth> {
        let mut truth = Truth::Timed;
        for writing in writing {
            match (self, writing) {
                (Self::Rows { topic, .. }, writing) => truth = Truth::Rows(bus.written(topic, writing)?),
                (Self::Timed(_), Writing::Tool(writer)) => writer.stop()?,
                (Self::Timed(_), Writing::Pen(_)) => bail!("event time is Kafka's here"),
            }
        }
        Ok(truth)
    }

    /// Grows with what is visible.
    fn seen(&mut self) -> Result<u64> {
        match self {
            Self::Rows { target, .. } => target.seen(),
            Self::Timed(timed) => timed.seen(),
        }
    }

    /// How many records there are, and how many of them more than once.
    fn compare(&self, bus: &Bus, truth: Truth, once: bool, folder: &Path) -> Result<(usize, usize)> {
        match (self, truth) {
            (Self::Rows { target, .. }, Truth::Rows(written)) => Ok((written.sure.len(), target.compare(bus, &written, once)?)),
            (Self::Timed(timed), _) => Ok((timed.compare(bus.kafka()?, folder)?, 0)),
            (Self::Rows { .. }, Truth::Timed) => bail!("nobody wrote"),
        }
    }
}

/// Waits until something new is visible in the target.
fn arrives(weir: &mut Weir, target: &mut Scene) -> Result<Duration> {
    let before = target.seen()?;
    weir.until("something arrives", PATIENCE, || Ok(target.seen()? > before))
}
