//! Results of measurements, kept in `bench/results/` with what a reader needs to judge them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

/// The `weir` to test: the one that is named, else the one beside this program.
pub fn program(named: Option<&Path>) -> Result<PathBuf> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("weir"),
    };
    path.canonicalize().with_context(|| format!("no program at {}: `cargo build` makes it", path.display()))
}

/// Writes `NAME-TIME.json`.
pub fn keep(folder: &Path, name: &str, weir: &Path, body: &serde_json::Value) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join(format!("{name}-{}.json", now()?));
    let version = std::process::Command::new(weir).arg("--version").output()?;
    let kept = json!({"result": body, "weir": String::from_utf8_lossy(&version.stdout).trim(), "machine": machine()});
    std::fs::write(&file, serde_json::to_string_pretty(&kept)? + "\n")?;
    Ok(file)
}

fn now() -> Result<String> {
    let output = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H%MZ"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What a reader needs to judge a figure: processor, cores, memory, kernel, load. No names of machines or people.
fn machine() -> serde_json::Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines().find(|l| l.starts_with(name)).and_then(|l| l.split(':').nth(1)).map(|v| v.trim().to_owned())
    };
    json!({
        "processor": field(&read("/proc/cpuinfo"), "model name"),
        "cores": std::thread::available_parallelism().map(usize::from).unwrap_or(0),
        "memory": field(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load": read("/proc/loadavg").split(' ').next(),
    })
}
