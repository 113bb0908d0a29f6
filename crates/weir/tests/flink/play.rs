//! Runs a case.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use regex::Regex;

use crate::case::Case;
use crate::rows;

/// How the query runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// Over files.
    Batch,
    /// Over topics of one partition, up to their ends.
    Streaming,
}

impl Mode {
    /// Whether this build has a broker's connector.
    pub const STREAMING: bool = cfg!(feature = "kafka");
}

/// Fails if our rows are not Flink's.
pub fn play(case: &Case, mode: Mode) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let text = std::fs::read_to_string(case.folder.join("pipeline.yaml"))?;
    let text = match mode {
        Mode::Batch => {
            for table in case.tables() {
                std::fs::copy(&table, folder.path().join(table.file_name().context("a file has a name")?))?;
            }
            text
        }
        Mode::Streaming => streamed(case, &text, folder.path())?,
    };
    std::fs::write(folder.path().join("pipeline.yaml"), text)?;
    let until: &[&str] = if mode == Mode::Streaming { &["--until-caught-up"] } else { &[] };
    weir(folder.path(), "pipeline.yaml", until)?;
    let expected = rows::read(&case.expected(mode == Mode::Streaming))?;
    rows::same(&expected, &rows::read_all(&folder.path().join("out"))?)
}

/// The pipeline over topics in place of files; writes the rows into them, and after them what closes the windows.
fn streamed(case: &Case, text: &str, folder: &Path) -> Result<String> {
    let kafka = weir_testkit::Kafka::shared()?;
    let bus = format!("connections:\n  bus: {{kafka: {{bootstrap_servers: '{}'}}}}\n", kafka.bootstrap());
    let file = Regex::new(r"\{file: \{path: (\w+)\.ndjson, columns: (\{.*?\})(?:, event_time: \{column: \w+\})?\}\}")?;
    let mut sources = 0;
    for table in file.captures_iter(text) {
        let (name, columns) = (&table[1], &table[2]);
        let stream = case.described.streaming.get(name).with_context(|| format!("case.json says no time for `{name}`"))?;
        let rows = std::fs::read_to_string(case.folder.join(format!("{name}.ndjson")))?;
        std::fs::write(folder.join(format!("{name}.ndjson")), format!("{rows}{}\n", stream.closing))?;
        let topic = topic(case, name);
        let fill = format!(
            "pipeline: fill_{topic}\nparallelism: 1\n{bus}source: {{file: {{path: {name}.ndjson, columns: {columns}}}}}\n\
             sink: {{kafka: {{connection: bus, topic: {topic}, partitions: 1, replication: 1}}}}\n"
        );
        let fill_file = format!("fill_{name}.yaml");
        std::fs::write(folder.join(&fill_file), fill)?;
        weir(folder, &fill_file, &[])?;
        sources += 1;
    }
    ensure!(sources > 0, "no source of pipeline.yaml is written as the harness knows it");
    let streams = file.replace_all(text, |table: &regex::Captures<'_>| {
        let stream = &case.described.streaming[&table[1]];
        format!(
            "{{kafka: {{connection: bus, topic: {}, columns: {}, only_columns: true, event_time: {{column: {}, max_lateness_ms: {}}}}}}}",
            topic(case, &table[1]),
            &table[2],
            stream.column,
            stream.max_lateness_ms
        )
    });
    Ok(format!("mode: streaming\n{bus}{}", streams.replace("write_mode: overwrite", "write_mode: append")))
}

fn topic(case: &Case, table: &str) -> String {
    format!("flink_{}_{table}", case.name)
}

fn weir(folder: &Path, pipeline: &str, more: &[&str]) -> Result<()> {
    let said = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["run", pipeline, "--progress", "plain", "--state-dir", "state"])
        .args(more)
        .current_dir(folder)
        .output()
        .context("cannot start the program")?;
    ensure!(said.status.success(), "{pipeline}: {}\n{}", said.status, String::from_utf8_lossy(&said.stderr));
    Ok(())
}
