//! A real OpenTelemetry collector: takes spans over OTLP (HTTP and gRPC) and writes them to a file as JSON lines.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

pub mod install;

use crate::process::{ServerProcess, Spawn, free_port};
use crate::shared::open_tempdir;

/// A running collector; stops when it is dropped.
#[derive(Debug)]
pub struct OtelCollector {
    http: u16,
    grpc: u16,
    file: PathBuf,
    _process: ServerProcess,
    _dir: tempfile::TempDir,
}

impl OtelCollector {
    /// A collector of one's own.
    pub fn start() -> Result<Self> {
        let mut last = None;
        for _ in 0..5 {
            match Self::once() {
                Ok(started) => return Ok(started),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no attempt was made")?)
    }

    fn once() -> Result<Self> {
        let dir = open_tempdir("weir-otel-")?;
        let (http, grpc, file) = (free_port()?, free_port()?, dir.path().join(SPANS));
        let process = spawn(dir.path(), http, grpc, false)?;
        Ok(Self { http, grpc, file, _process: process, _dir: dir })
    }

    /// OTLP over HTTP.
    pub fn http_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/v1/traces", self.http)
    }

    /// OTLP over gRPC.
    pub fn grpc_endpoint(&self) -> String {
        format!("grpc://127.0.0.1:{}", self.grpc)
    }

    /// The spans that have come so far, with their resource's attributes under `resource`.
    pub fn spans(&self) -> Result<Vec<Value>> {
        spans_of(&self.file)
    }

    /// Waits until at least `count` spans have come.
    pub fn wait_for(&self, count: usize, limit: Duration) -> Result<Vec<Value>> {
        crate::wait_until(&format!("{count} spans"), limit, || self.spans().is_ok_and(|spans| spans.len() >= count))?;
        self.spans()
    }
}

/// The file of spans in a collector's folder.
const SPANS: &str = "spans.jsonl";

/// One that stays, for trying things by hand: its process, and how to reach it.
pub(crate) fn start_detached(home: &Path) -> Result<(u32, String)> {
    let (http, grpc) = (free_port()?, free_port()?);
    let process = spawn(home, http, grpc, true)?;
    let address =
        format!("http://127.0.0.1:{http}/v1/traces or grpc://127.0.0.1:{grpc}; spans in {}", home.join(SPANS).display());
    Ok((process.leave_running(), address))
}

fn spawn(dir: &Path, http: u16, grpc: u16, detached: bool) -> Result<ServerProcess> {
    let (file, log) = (dir.join(SPANS), dir.join("log"));
    let config = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: 127.0.0.1:{grpc}}}, http: {{endpoint: 127.0.0.1:{http}}}}}}}}}\n\
         exporters: {{file: {{path: {}, flush_interval: 100ms}}, debug: {{verbosity: basic}}}}\n\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines: {{traces: {{receivers: [otlp], exporters: [file, debug]}}}}\n",
        file.display()
    );
    let place = dir.join("config.yaml");
    std::fs::write(&place, config)?;
    let mut command = Command::new(install::binary()?);
    command.arg(format!("--config=file:{}", place.display())).current_dir(dir);
    let mut process = ServerProcess::spawn("the OpenTelemetry collector", &mut command, &log, Spawn { user: None, detached })?;
    process.wait_ready(&log, Duration::from_secs(60), || listens(http) && listens(grpc))?;
    Ok(process)
}

fn listens(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn spans_of(file: &Path) -> Result<Vec<Value>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let mut spans = Vec::new();
    // The last line may be half written.
    for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        for resource in list(&line, "resourceSpans") {
            for scope in list(&resource, "scopeSpans") {
                for mut span in list(&scope, "spans") {
                    span["resource"] = resource["resource"]["attributes"].clone();
                    spans.push(span);
                }
            }
        }
    }
    Ok(spans)
}
