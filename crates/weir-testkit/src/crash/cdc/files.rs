//! Parquet files of changes, read without Weir by what a glob finds.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::history::Histories;

/// How many changes the manifest says are there.
pub(super) fn flushed(target: &Path) -> Result<u64> {
    let Ok(text) = fs::read(target.join("_weir/manifest.json")) else { return Ok(0) };
    let manifest: serde_json::Value = serde_json::from_slice(&text)?;
    Ok(manifest["logs"][0]["changes"].as_u64().unwrap_or(0))
}

/// What the files say of each key. Their numbers must be without gap, and a row of the snapshot must be the first of its key.
pub(super) fn histories(target: &Path) -> Result<Histories> {
    let mut files: Vec<_> = fs::read_dir(target)?.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "parquet"));
    files.sort();
    let (mut histories, mut last) = (Histories::new(), 0);
    for file in &files {
        for batch in ParquetRecordBatchReaderBuilder::try_new(fs::File::open(file)?)?.build()? {
            take(&batch?, &mut histories, &mut last).with_context(|| file.display().to_string())?;
        }
    }
    Ok(histories)
}

fn take(batch: &RecordBatch, histories: &mut Histories, last: &mut i64) -> Result<()> {
    let column = |name: &str| batch.column_by_name(name).with_context(|| format!("no column `{name}`"));
    let number = |column: &ArrayRef, row| {
        let column = column.as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let (id, v, seq, ops) = (column("id")?, column("v")?, column("_seq")?, column("_op")?);
    let (large, absent) = (column("large")?, column("_absent")?);
    for row in 0..batch.num_rows() {
        let seq = number(seq, row).context("a row without its number")?;
        ensure!(seq == *last + 1, "change {seq} stands where {} should", *last + 1);
        *last = seq;
        let key = number(id, row).context("a row without its key")?;
        let op = ops.as_string::<i32>().value(row);
        // What is missing is told.
        ensure!(large.is_valid(row) || absent.is_valid(row) || op == "d", "key {key}: a large value is NULL");
        let history = histories.entry(key).or_default();
        ensure!(op != "r" || history.is_empty(), "key {key} was read by the snapshot after it had changed: {history:?}");
        history.push(if op == "d" { None } else { Some(number(v, row).with_context(|| format!("key {key} has no `v`"))?) });
    }
    Ok(())
}
