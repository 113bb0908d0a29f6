//! The crash suites: `weir run` is killed with SIGKILL at random moments until it has died often enough; each time it
//! has come to its end the target must hold exactly the source's rows.
//!
//! A *sequence* is one target: attempts that are killed, then one that finishes, then the comparison. The comparison
//! does not use Weir: the target is read with other code, and both sides are compared as sorted lists of canonical rows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

pub mod cdc;
mod program;
mod rows;
pub mod stream;
mod suites;

pub use rows::{Difference, compare};
pub use suites::Suite;

/// What to do.
#[derive(Debug, Clone)]
pub struct CrashOptions {
    /// The `weir` program.
    pub weir: PathBuf,
    /// How many kills in all.
    pub kills: usize,
    /// Rows of the source.
    pub rows: u64,
    /// Decides the moments; the same seed draws the same fractions of the duration.
    pub seed: u64,
    /// Print a line per sequence to standard error.
    pub chatty: bool,
}

/// What happened; every sequence was verified.
#[derive(Debug, Serialize)]
pub struct CrashReport {
    /// `pg-parquet`, ….
    pub suite: String,
    /// Kills that hit a running process.
    pub kills: usize,
    /// Targets filled and compared with the source, the uninterrupted one included.
    pub sequences: usize,
    /// Rows of the source, and of each target.
    pub rows: u64,
    /// An uninterrupted run.
    pub full_run_ms: u64,
    /// The most attempts that one target took.
    pub most_attempts: usize,
    /// When the kills came, in milliseconds after the start of the attempt.
    pub kill_moments_ms: Vec<u64>,
    /// The seed.
    pub seed: u64,
}

/// Runs a suite; the first target that differs from the source, or run that fails without being killed, is an error.
pub fn run(suite: Suite, options: &CrashOptions) -> Result<CrashReport> {
    ensure!(options.weir.is_file(), "{} is no program: build `weir` first", options.weir.display());
    let scene = suites::Scene::set(suite, options.rows)?;
    let mut rng = StdRng::seed_from_u64(options.seed);
    let mut report = CrashReport {
        suite: suite.name().to_owned(),
        kills: 0,
        sequences: 0,
        rows: options.rows,
        full_run_ms: 0,
        most_attempts: 0,
        kill_moments_ms: Vec::new(),
        seed: options.seed,
    };
    // The first run is not disturbed: it proves the set-up and gives the duration from which moments are drawn.
    let calm = Sequence::new(&scene, options, 0)?;
    let begin = Instant::now();
    calm.attempt(None)?;
    let full = begin.elapsed();
    calm.verify(0)?;
    report.full_run_ms = millis(full);
    report.sequences = 1;
    while report.kills < options.kills {
        let sequence = Sequence::new(&scene, options, report.sequences)?;
        let mut attempts = 0;
        loop {
            // A little beyond the end, so that attempts which keep nothing come to an end too.
            let moment = (report.kills < options.kills).then(|| full.mul_f64(rng.random_range(0.0..1.15)));
            attempts += 1;
            match sequence.attempt(moment)? {
                Attempt::Finished => break,
                Attempt::Killed(after) => {
                    report.kills += 1;
                    report.kill_moments_ms.push(millis(after));
                    // Killed between its last act and its exit: the run is complete, another would be a new run.
                    if sequence.is_recorded_as_done()? {
                        break;
                    }
                }
            }
        }
        sequence.verify(attempts)?;
        report.sequences += 1;
        report.most_attempts = report.most_attempts.max(attempts);
        if options.chatty {
            eprintln!(
                "{}: target {} equals the source after {attempts} attempts; {} of {} kills",
                suite.name(),
                report.sequences,
                report.kills,
                options.kills
            );
        }
    }
    Ok(report)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

enum Attempt {
    Finished,
    Killed(Duration),
}

/// One target and the folder of its runs.
struct Sequence<'a> {
    scene: &'a suites::Scene,
    options: &'a CrashOptions,
    dir: tempfile::TempDir,
    target: String,
}

impl<'a> Sequence<'a> {
    fn new(scene: &'a suites::Scene, options: &'a CrashOptions, number: usize) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("weir-crash-").tempdir()?;
        let target = format!("target_{number}");
        fs::write(dir.path().join("pipeline.yaml"), scene.pipeline(&target, dir.path()))?;
        Ok(Self { scene, options, dir, target })
    }

    fn weir(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(&self.options.weir);
        command
            .args(arguments)
            .arg("--state-dir")
            .arg(self.dir.path().join("state"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command.env("RUST_BACKTRACE", "0").envs(self.scene.environment());
        Ok(command)
    }

    /// One run, killed at `moment` if it is still there.
    fn attempt(&self, moment: Option<Duration>) -> Result<Attempt> {
        let mut command = self.weir(&["run", "pipeline.yaml", "--json", "--progress", "none"])?;
        let log = self.dir.path().join("log");
        command.stdout(fs::File::create(self.dir.path().join("report.json"))?).stderr(fs::File::create(&log)?);
        let begin = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.options.weir.display()))?;
        let limit = moment.unwrap_or(Duration::from_secs(600));
        if !ended_within(&mut child, begin, limit)? {
            let after = begin.elapsed();
            child.kill()?;
            child.wait()?;
            if moment.is_none() {
                bail!("the run does not end\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            return Ok(Attempt::Killed(after));
        }
        let status = child.wait()?;
        if !status.success() {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let report = fs::read_to_string(self.dir.path().join("report.json")).unwrap_or_default();
            bail!(
                "`weir run` into {} ended with {status}\n{}\n{}",
                self.target,
                crate::process::tail(&said, 30),
                crate::process::tail(&report, 30)
            );
        }
        Ok(Attempt::Finished)
    }

    fn is_recorded_as_done(&self) -> Result<bool> {
        if !self.dir.path().join("state/state.db").is_file() {
            return Ok(false);
        }
        let output = self.weir(&["state", "show", suites::PIPELINE, "--json"])?.output()?;
        let Ok(shown) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else { return Ok(false) };
        Ok(shown[0]["state"]["runs"][0]["status"] == "succeeded")
    }

    fn verify(&self, attempts: usize) -> Result<()> {
        let found = self.scene.read_target(&self.target, self.dir.path())?;
        let expected = self.scene.source_rows();
        compare(expected, &found).with_context(|| format!("{} after {attempts} attempts is not what the source has", self.target))
    }
}

fn ended_within(child: &mut Child, begin: Instant, limit: Duration) -> Result<bool> {
    loop {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        let passed = begin.elapsed();
        if passed >= limit {
            return Ok(false);
        }
        std::thread::sleep((limit - passed).min(Duration::from_millis(2)));
    }
}

/// Files below `dir` that a reader by glob would see: nothing hidden, nothing that begins with `_`.
fn visible_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !dir.is_dir() {
        return Ok(found);
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(['.', '_']) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            found.extend(visible_files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}
