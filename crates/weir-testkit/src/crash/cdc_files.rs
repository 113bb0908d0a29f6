//! Changes into Parquet files under `kill -9`. Every change is a row of the target, so its histories must be the source's from the snapshot on, change by
//! change, and not only a part of them. The files are read without Weir, by what a glob finds.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::cdc::{CdcOptions, CdcReport, Spread, TABLE, Weir, Writer, histories, millis};
use crate::postgres::{Database, PostgresServer};

/// Runs the suite; the first difference is an error. Of the servers only the source's is restarted.
pub fn run(options: &CdcOptions) -> Result<CdcReport> {
    ensure!(options.weir.is_file(), "{} is no program: build `weir` first", options.weir.display());
    let mut server = PostgresServer::options().set("wal_level", "logical").start()?;
    let source = server.create_database()?;
    source.execute(TABLE)?;
    source.execute(format!(
        "ALTER TABLE t ALTER large SET STORAGE EXTERNAL;
         INSERT INTO t SELECT g, -g, 'first', repeat('large', 800) FROM generate_series(1, {}) g",
        options.rows
    ))?;
    let folder = tempfile::Builder::new().prefix("weir-crash-cdc-files-").tempdir()?;
    fs::write(
        folder.path().join("pipeline.yaml"),
        format!(
            "pipeline: crash\nmode: cdc\nsource: {{postgres-cdc: {{url: '{}', tables: [public.t]}}}}\n\
             sink: {{file: {{path: 'out/{{stream}}', write_mode: append, roll_secs: 1, roll_rows: 2000, target_file_size: 1MiB}}}}\n",
            source.url()
        ),
    )?;
    let target = folder.path().join("out/public.t");
    let writer = Writer::start(source.url().to_owned(), options.rows, options.seed);
    let mut rng = StdRng::seed_from_u64(options.seed);
    let (mut kills, mut restarts, mut recoveries) = (0, 0, Vec::new());
    let every = options.kills / options.restarts.max(1);
    while kills < options.kills {
        let mut weir = Weir::start(options, folder.path(), &["--checkpoint-interval", "1s"])?;
        let begin = Instant::now();
        if rng.random_bool(0.4) {
            std::thread::sleep(Duration::from_millis(rng.random_range(0..800)));
        } else {
            let before = flushed(&target)?;
            while flushed(&target)? == before {
                weir.must_live()?;
                ensure!(begin.elapsed() < Duration::from_secs(60), "nothing arrives in a minute\n{}", weir.log());
                std::thread::sleep(Duration::from_millis(5));
            }
            recoveries.push(millis(begin.elapsed()));
            std::thread::sleep(Duration::from_millis(rng.random_range(0..1200)));
        }
        if every > 0 && kills % every == every - 1 && restarts < options.restarts {
            if restarts % 2 == 0 {
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
            eprintln!("cdc-pg-parquet: {kills} of {} kills, {restarts} restarts", options.kills);
        }
    }
    writer.stop()?;
    let mut last = Weir::start(options, folder.path(), &["--until-caught-up"])?;
    last.must_succeed()?;
    let (changes, applied, keys) = compare(&source, &target)?;
    Ok(CdcReport {
        suite: "cdc-pg-parquet",
        kills,
        restarts,
        changes,
        applied,
        keys,
        recovery_ms: Spread::of(recoveries),
        seed: options.seed,
    })
}

/// How many changes the manifest says are there.
fn flushed(target: &Path) -> Result<u64> {
    let Ok(text) = fs::read(target.join("_weir/manifest.json")) else { return Ok(0) };
    let manifest: serde_json::Value = serde_json::from_slice(&text)?;
    Ok(manifest["logs"][0]["changes"].as_u64().unwrap_or(0))
}

/// A change as a row of a file has it.
struct Change {
    seq: i64,
    id: i64,
    /// `None` for a delete.
    v: Option<i64>,
    op: String,
    large: bool,
    absent: bool,
}

fn rows(batch: &RecordBatch, changes: &mut Vec<Change>) -> Result<()> {
    let column = |name: &str| batch.column_by_name(name).with_context(|| format!("no column `{name}`"));
    let (id, v, seq) = (column("id")?, column("v")?, column("_seq")?);
    let number = |column: &arrow::array::ArrayRef, row| {
        let column = column.as_primitive::<Int64Type>();
        arrow::array::Array::is_valid(column, row).then(|| column.value(row))
    };
    for row in 0..batch.num_rows() {
        let op = column("_op")?.as_string::<i32>().value(row).to_owned();
        changes.push(Change {
            seq: number(seq, row).context("a row without its number")?,
            id: number(id, row).context("a row without its key")?,
            v: if op == "d" { None } else { number(v, row) },
            op,
            large: column("large")?.is_valid(row),
            absent: column("_absent")?.is_valid(row),
        });
    }
    Ok(())
}

/// Changes at the source, rows in the files, keys.
fn compare(source: &Database, target: &Path) -> Result<(u64, u64, usize)> {
    let mut files: Vec<_> = fs::read_dir(target)?.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "parquet"));
    files.sort();
    let mut changes = Vec::new();
    for file in &files {
        for batch in ParquetRecordBatchReaderBuilder::try_new(fs::File::open(file)?)?.build()? {
            rows(&batch?, &mut changes)?;
        }
    }
    for (at, change) in changes.iter().enumerate() {
        ensure!(change.seq == at as i64 + 1, "change {} stands where {} should", change.seq, at + 1);
        // What is missing is told, and what is told to be there is.
        ensure!(change.large || change.absent || change.op != "r", "key {}: a large value is NULL", change.id);
    }
    let mut found: HashMap<i64, Vec<(&str, Option<i64>)>> = HashMap::new();
    for change in &changes {
        found.entry(change.id).or_default().push((&change.op, change.v));
    }
    let expected = histories(source)?;
    for (key, found) in &found {
        let expected = expected.get(key).with_context(|| format!("key {key} was never at the source"))?;
        ensure!(
            found.iter().skip(1).all(|(op, _)| *op != "r"),
            "key {key} was read by the snapshot after it had changed: {found:?}"
        );
        let values: Vec<Option<i64>> = found.iter().map(|(_, v)| *v).collect();
        if !expected.ends_with(&values) {
            bail!("key {key} has another history\nsource: {expected:?}\nfiles: {values:?}");
        }
    }
    for (key, expected) in &expected {
        let gone = expected.last() == Some(&None);
        ensure!(gone || found.contains_key(key), "key {key} never arrived");
    }
    let sum = expected.values().map(|history| history.len() as u64).sum();
    Ok((sum, changes.len() as u64, expected.len()))
}
