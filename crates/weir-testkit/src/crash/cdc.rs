//! Change data capture under `kill -9`: a writer changes the source without pause, `weir run` is killed and started again, servers are
//! restarted, and in the end not only the tables are compared: every key's history at the target must be a part, in order, of its history at the
//! source. Both histories are written by triggers, so what is compared is what the databases saw.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use crate::postgres::{Database, PostgresServer};

/// What to do.
#[derive(Debug, Clone)]
pub struct CdcOptions {
    /// The `weir` program.
    pub weir: PathBuf,
    /// How often it is killed.
    pub kills: usize,
    /// How often the source's server is killed or restarted, and the target's as often.
    pub restarts: usize,
    /// Rows that are there before the first run: the first kills fall into the snapshot.
    pub rows: u64,
    /// Decides the moments.
    pub seed: u64,
    /// Print a line now and then to standard error.
    pub chatty: bool,
}

/// What happened; everything was verified.
#[derive(Debug, Serialize)]
pub struct CdcReport {
    /// `cdc-pg-pg`, ….
    pub suite: &'static str,
    /// Kills of a running `weir`.
    pub kills: usize,
    /// Restarts of servers, half of them kills.
    pub restarts: usize,
    /// Changes that were committed at the source, the rows that were there included.
    pub changes: u64,
    /// Changes that the target saw (several of one key may arrive as one).
    pub applied: u64,
    /// Keys whose histories were compared.
    pub keys: usize,
    /// From the start of a killed `weir` to its first change in the target, where it lived so long.
    pub recovery_ms: Spread,
    /// The seed.
    pub seed: u64,
}

/// Figures of many measurements.
#[derive(Debug, Default, Serialize)]
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
    pub(super) fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let at = |part: usize| values.get((values.len().max(1) - 1) * part / 100).copied().unwrap_or(0);
        Self { count: values.len(), p50: at(50), p99: at(99), max: at(100) }
    }
}

/// The table, with a history of its own that a trigger writes. `v` is a number that is never used twice.
pub(super) const TABLE: &str = "
CREATE TABLE public.t (id bigint PRIMARY KEY, v bigint NOT NULL, small text, large text);
CREATE TABLE public.history (at bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id bigint NOT NULL, v bigint);
CREATE FUNCTION public.remember() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'DELETE' THEN INSERT INTO public.history (id, v) VALUES (OLD.id, NULL); RETURN OLD; END IF;
  IF TG_OP = 'UPDATE' AND OLD.id <> NEW.id THEN INSERT INTO public.history (id, v) VALUES (OLD.id, NULL); END IF;
  INSERT INTO public.history (id, v) VALUES (NEW.id, NEW.v); RETURN NEW;
END $$;
CREATE TRIGGER remember AFTER INSERT OR UPDATE OR DELETE ON public.t FOR EACH ROW EXECUTE FUNCTION public.remember();
";

/// Runs the suite; the first difference is an error.
pub fn run(options: &CdcOptions) -> Result<CdcReport> {
    ensure!(options.weir.is_file(), "{} is no program: build `weir` first", options.weir.display());
    let server = || PostgresServer::options().set("wal_level", "logical").start();
    let (mut from, mut to) = (server()?, server()?);
    let (source, target) = (from.create_database()?, to.create_database()?);
    source.execute(TABLE)?;
    target.execute(TABLE)?;
    // A large value that no update touches is not in the log.
    source.execute(format!(
        "ALTER TABLE t ALTER large SET STORAGE EXTERNAL;
         INSERT INTO t SELECT g, -g, 'first', repeat('large', 800) FROM generate_series(1, {}) g",
        options.rows
    ))?;
    let folder = tempfile::Builder::new().prefix("weir-crash-cdc-").tempdir()?;
    fs::write(folder.path().join("pipeline.yaml"), pipeline(&source, &target))?;
    let writer = Writer::start(source.url().to_owned(), options.rows, options.seed);
    let mut rng = StdRng::seed_from_u64(options.seed);
    let (mut kills, mut restarts, mut recoveries) = (0, 0, Vec::new());
    let every = options.kills / (2 * options.restarts).max(1);
    while kills < options.kills {
        let mut weir = Weir::start(options, folder.path(), &["--checkpoint-interval", "1s"])?;
        let begin = Instant::now();
        if rng.random_bool(0.5) {
            // Somewhere between start and first change.
            std::thread::sleep(Duration::from_millis(rng.random_range(0..600)));
        } else {
            let before = seen(&target)?;
            while seen(&target)? == before {
                weir.must_live()?;
                ensure!(begin.elapsed() < Duration::from_secs(60), "nothing arrives in a minute\n{}", weir.log());
                std::thread::sleep(Duration::from_millis(5));
            }
            recoveries.push(millis(begin.elapsed()));
            std::thread::sleep(Duration::from_millis(rng.random_range(0..400)));
        }
        if every > 0 && kills % every == every - 1 && restarts < 2 * options.restarts {
            let server = if restarts % 2 == 0 { &mut from } else { &mut to };
            if restarts % 4 < 2 {
                server.kill_9()?;
            }
            server.restart()?;
            restarts += 1;
            std::thread::sleep(Duration::from_millis(rng.random_range(0..1000)));
        }
        weir.must_live()?;
        weir.kill_9()?;
        kills += 1;
        if options.chatty && kills % 25 == 0 {
            eprintln!("cdc-pg-pg: {kills} of {} kills, {restarts} restarts", options.kills);
        }
    }
    writer.stop()?;
    let mut last = Weir::start(options, folder.path(), &["--until-caught-up"])?;
    last.must_succeed()?;
    let (changes, applied, keys) = compare(&source, &target)?;
    Ok(CdcReport {
        suite: "cdc-pg-pg",
        kills,
        restarts,
        changes,
        applied,
        keys,
        recovery_ms: Spread::of(recoveries),
        seed: options.seed,
    })
}

fn pipeline(source: &Database, target: &Database) -> String {
    format!(
        "pipeline: crash\nmode: cdc\nconnections:\n  from: {{postgres-cdc: {{url: '{}'}}}}\n  to: {{postgres: {{url: '{}'}}}}\n\
         source:\n  postgres-cdc: {{connection: from, tables: [public.t]}}\nsink:\n  postgres: {{connection: to}}\n",
        source.url(),
        target.url()
    )
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn seen(target: &Database) -> Result<String> {
    target.value("SELECT coalesce(max(at), 0) FROM history")
}

/// Tables equal, and every history of the target a part of the source's, in order. Changes, applied changes, keys.
fn compare(source: &Database, target: &Database) -> Result<(u64, u64, usize)> {
    let rows = "SELECT id, v, small, md5(large) FROM t ORDER BY id";
    let (expected, found) = (source.rows(rows)?, target.rows(rows)?);
    for (expected, found) in expected.iter().zip(&found) {
        ensure!(expected == found, "the source has {expected:?}, the target {found:?}");
    }
    ensure!(expected.len() == found.len(), "the source has {} rows, the target {}", expected.len(), found.len());
    let (expected, found) = (histories(source)?, histories(target)?);
    for (key, found) in &found {
        let expected = expected.get(key).with_context(|| format!("key {key} was never at the source"))?;
        let mut rest = expected.iter();
        for value in found {
            ensure!(
                rest.any(|known| known == value),
                "key {key}: {value:?} is out of order or doubled\nsource: {expected:?}\ntarget: {found:?}"
            );
        }
        ensure!(
            found.last() == expected.last(),
            "key {key} ends with {:?}, at the source with {:?}",
            found.last(),
            expected.last()
        );
    }
    for (key, expected) in &expected {
        // A row that was gone before anybody looked need not have been there.
        let gone = expected.last() == Some(&None);
        ensure!(gone || found.contains_key(key), "key {key} never arrived");
    }
    let sum = |histories: &HashMap<i64, Vec<Option<i64>>>| histories.values().map(|history| history.len() as u64).sum();
    Ok((sum(&expected), sum(&found), expected.len()))
}

pub(super) fn histories(database: &Database) -> Result<HashMap<i64, Vec<Option<i64>>>> {
    let mut histories: HashMap<i64, Vec<Option<i64>>> = HashMap::new();
    for row in database.rows("SELECT id, v FROM history ORDER BY at")? {
        let number = |at: usize| row[at].as_deref().map(str::parse::<i64>).transpose();
        histories.entry(number(0)?.context("an id")?).or_default().push(number(1)?);
    }
    Ok(histories)
}

/// A process under test.
pub(super) struct Weir {
    child: Child,
    log: PathBuf,
}

impl Weir {
    pub(super) fn start(options: &CdcOptions, folder: &Path, more: &[&str]) -> Result<Self> {
        let log = folder.join("log");
        let child = Command::new(&options.weir)
            .args(["run", "pipeline.yaml", "--progress", "plain", "--state-dir", "state"])
            .args(more)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .env("RUST_BACKTRACE", "0")
            .spawn()
            .with_context(|| format!("cannot start {}", options.weir.display()))?;
        Ok(Self { child, log })
    }

    pub(super) fn log(&self) -> String {
        crate::process::tail(&fs::read_to_string(&self.log).unwrap_or_default(), 30).to_string()
    }

    /// One that ended by itself has met something that it must not end for.
    pub(super) fn must_live(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("`weir run` ended with {status}\n{}", self.log()),
        }
    }

    pub(super) fn must_succeed(&mut self) -> Result<()> {
        let begin = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the last run ended with {status}\n{}", self.log()),
                None if begin.elapsed() > Duration::from_secs(300) => bail!("the last run does not end\n{}", self.log()),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    pub(super) fn kill_9(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Changes the source until told to stop. It connects again when the server was restarted.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Writer {
    pub(super) fn start(url: String, rows: u64, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let versions = AtomicU64::new(1);
            let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
            runtime.block_on(async {
                while !told.load(Ordering::Relaxed) {
                    // A server that restarts ends the connection; the next transaction is a new one.
                    let _ = changes(&url, rows, &versions, &mut rng, &told).await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
            Ok(())
        });
        Self { stop, thread }
    }

    pub(super) fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the writer died"))?
    }
}

async fn changes(url: &str, rows: u64, versions: &AtomicU64, rng: &mut StdRng, stop: &AtomicBool) -> Result<()> {
    let database = Database::at(url);
    let client = database.client().await?;
    let keys = i64::try_from(rows)?.max(1);
    while !stop.load(Ordering::Relaxed) {
        let mut sql = String::from("BEGIN;");
        for _ in 0..rng.random_range(1..12) {
            let v = versions.fetch_add(1, Ordering::Relaxed);
            // A few keys are changed all the time, the others now and then.
            let hot = rng.random_bool(0.7);
            let key = |rng: &mut StdRng| if hot { rng.random_range(1..=40) } else { rng.random_range(1..=2 * keys) };
            let (id, other) = (key(rng), key(rng));
            sql.push_str(&match rng.random_range(0..10) {
                0..4 => format!(
                    "INSERT INTO t VALUES ({id}, {v}, 's{v}', repeat('{v}', 900)) \
                     ON CONFLICT (id) DO UPDATE SET v = excluded.v, small = excluded.small;"
                ),
                4..7 => format!("UPDATE t SET v = {v}, small = 'u{v}' WHERE id = {id};"),
                7 => format!("UPDATE t SET v = {v}, large = repeat('{v}', 900) WHERE id = {id};"),
                8 => format!("DELETE FROM t WHERE id = {id};"),
                _ => format!(
                    "UPDATE t SET id = {other}, v = {v} WHERE id = {id} AND NOT EXISTS (SELECT FROM t WHERE id = {other});"
                ),
            });
            if rng.random_bool(0.05) {
                sql.push_str(&format!("SAVEPOINT s; DELETE FROM t WHERE id = {id}; ROLLBACK TO s;"));
            }
        }
        sql.push_str(if rng.random_bool(0.1) { "ROLLBACK" } else { "COMMIT" });
        client.batch_execute(&sql).await?;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..4))).await;
    }
    Ok(())
}
