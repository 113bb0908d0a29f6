//! One very large transaction: it must come through whole, in one piece, and without growing the program.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::fresh_folder;
use super::soak::size_of;
use crate::PostgresServer;
use crate::crash::program::Weir;

/// What to do.
#[derive(Debug, Clone)]
pub struct LargeOptions {
    /// The `weir` program.
    pub weir: PathBuf,
    /// Rows of the transaction, of six narrow columns.
    pub rows: u64,
    /// Print a line now and then to standard error.
    pub chatty: bool,
}

/// What happened; both tables were equal.
#[derive(Debug, Serialize)]
pub struct LargeReport {
    /// Rows of the transaction.
    pub rows: u64,
    /// How long the statement took at the source.
    pub transaction_secs: f64,
    /// From its commit to its visibility in the target.
    pub commit_to_visible_secs: f64,
    /// The log that it made.
    pub wal_bytes: u64,
    /// Resident memory before it.
    pub rss_before_bytes: u64,
    /// The most that was resident, by the kernel's count.
    pub peak_rss_bytes: u64,
    /// The most that the state folder (the journal) took.
    pub peak_state_bytes: u64,
    /// The most that was aside in files without name.
    pub peak_aside_bytes: u64,
    /// Processor time.
    pub processor_secs: f64,
}

/// Runs it.
pub fn run(options: &LargeOptions) -> Result<LargeReport> {
    ensure!(options.weir.is_file(), "{} is no program: build `weir` first", options.weir.display());
    let start = || PostgresServer::options().set("max_wal_size", "4GB").start();
    let (from, to) = (start()?, start()?);
    let (source, target) = (from.create_database()?, to.create_database()?);
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, tid int, bid int, aid int, delta int, mtime timestamptz)")?;
    source.execute("INSERT INTO t (id) VALUES (0)")?;
    let folder = fresh_folder()?;
    std::fs::write(
        folder.path().join("pipeline.yaml"),
        format!(
            "pipeline: large\nmode: cdc\nsource: {{postgres-cdc: {{url: '{}', tables: [public.t]}}}}\nsink: {{postgres: {{url: '{}', table: public.t}}}}\n",
            source.url(),
            target.url()
        ),
    )?;
    let mut weir = Weir::start(&options.weir, folder.path(), &[])?;
    let there = |id: u64| {
        let rows = target.rows(format!("SELECT 1 FROM t WHERE id = {id}"));
        // Before the first flush there is no table.
        rows.is_ok_and(|rows| !rows.is_empty())
    };
    weir.until("the snapshot is there", Duration::from_secs(60), || Ok(there(0)))?;
    let rss_before_bytes = weir.memory("VmRSS");
    let lsn = source.value("SELECT pg_current_wal_lsn()")?;
    let begin = Instant::now();
    source.execute(format!(
        "INSERT INTO t SELECT g, g % 10, g % 100, g % 100000, g % 5000, now() FROM generate_series(1, {}) g",
        options.rows
    ))?;
    let transaction = begin.elapsed();
    let wal = source.value(format!("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '{lsn}')"))?;
    let committed = Instant::now();
    let (state, mut peak_state, mut told) = (folder.path().join("state"), 0, Instant::now());
    let limit = Duration::from_secs(120 + options.rows / 2_000);
    // The server sends before the commit what does not fit into its memory, so it is all aside by now.
    let mut peak_aside = unnamed_bytes(weir.pid());
    let (pid, mut looked) = (weir.pid(), Instant::now());
    weir.until("the transaction is there", limit, || {
        if looked.elapsed() < Duration::from_millis(250) {
            return Ok(false);
        }
        looked = Instant::now();
        peak_state = peak_state.max(size_of(&state));
        peak_aside = peak_aside.max(unnamed_bytes(pid));
        if options.chatty && told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!("large-transaction: {} s after the commit, state {} MiB", committed.elapsed().as_secs(), peak_state >> 20);
        }
        Ok(there(options.rows))
    })?;
    let visible = committed.elapsed();
    // As soon as one row is there all are.
    let count = target.value("SELECT count(*) FROM t")?;
    ensure!(count == (options.rows + 1).to_string(), "{count} rows are visible instead of {}", options.rows + 1);
    let sum = "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM t";
    ensure!(source.rows(sum)? == target.rows(sum)?, "the tables differ");
    weir.must_live()?;
    Ok(LargeReport {
        rows: options.rows,
        transaction_secs: transaction.as_secs_f64(),
        commit_to_visible_secs: visible.as_secs_f64(),
        wal_bytes: wal.parse()?,
        rss_before_bytes,
        peak_rss_bytes: weir.memory("VmHWM"),
        peak_state_bytes: peak_state,
        peak_aside_bytes: peak_aside,
        processor_secs: weir.processor_secs(),
    })
}

/// Bytes of the files that a process has open and that are in no folder any more.
fn unnamed_bytes(pid: u32) -> u64 {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let gone = |path: &std::path::Path| std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().ends_with(" (deleted)"));
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| gone(path));
    paths.filter_map(|path| std::fs::metadata(path).ok()).map(|found| found.len()).sum()
}
