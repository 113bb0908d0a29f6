//! Rows of two systems, compared.
//!
//! Equal are: numbers of one value (`8.10` and `8.1`), and times of one value whether or not they are written with a zone, because Flink gives the
//! bounds of a window without. Order does not count, how often a row is there does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use chrono::NaiveDateTime;
use serde_json::{Map, Value};

/// Rows as text, sorted.
pub fn read(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut rows = Vec::new();
    for line in text.lines() {
        let row: Map<String, Value> = serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display()))?;
        let cells: BTreeMap<&String, String> = row.iter().map(|(name, value)| (name, shown(value))).collect();
        rows.push(cells.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "));
    }
    rows.sort();
    Ok(rows)
}

/// The rows of all files of a folder that a sink wrote.
pub fn read_all(folder: &Path) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("nothing was written to {}", folder.display()))?;
    let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "ndjson")) {
        rows.extend(read(path)?);
    }
    rows.sort();
    Ok(rows)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.to_string(),
            // Without the `.0` of a whole number.
            None => number.as_f64().map_or_else(|| number.to_string(), |fraction| fraction.to_string()),
        },
        Value::String(text) => match NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), "%Y-%m-%dT%H:%M:%S%.f") {
            Ok(time) => time.format("%Y-%m-%dT%H:%M:%S%.6f").to_string(),
            Err(_) => format!("{text:?}"),
        },
        other => other.to_string(),
    }
}

/// Fails with the rows that are missing and those that are too many.
pub fn same(expected: &[String], got: &[String]) -> Result<()> {
    let mut counts: BTreeMap<&String, i64> = BTreeMap::new();
    expected.iter().for_each(|row| *counts.entry(row).or_default() += 1);
    got.iter().for_each(|row| *counts.entry(row).or_default() -= 1);
    let list = |of: &dyn Fn(i64) -> i64| -> String {
        counts.iter().filter(|(_, n)| of(**n) > 0).map(|(row, n)| format!("\n  {row} (×{})", of(*n))).collect()
    };
    let (missing, extra) = (list(&|n| n), list(&|n| -n));
    ensure!(missing.is_empty() && extra.is_empty(), "Flink gives and we do not:{missing}\nwe give and Flink does not:{extra}");
    ensure!(!expected.is_empty(), "the answer has no rows: a case that gives nothing proves nothing");
    Ok(())
}
