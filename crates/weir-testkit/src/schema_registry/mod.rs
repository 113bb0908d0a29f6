//! A real schema registry: Apicurio, which speaks Confluent's API too. In memory; it takes about 5 s to start and 250 MB of memory.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub mod install;

use crate::java::{answers, java};
use crate::process::{ServerProcess, Spawn, free_port};
use crate::shared::{Started, open_tempdir, shared};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Facts {
    port: u16,
}

/// A running registry. One that this value started stops when it is dropped; the shared one stops with the run.
#[derive(Debug)]
pub struct SchemaRegistry {
    facts: Facts,
    owned: Option<(Option<ServerProcess>, tempfile::TempDir)>,
}

impl SchemaRegistry {
    /// The registry of this test run; started by whoever asks first. Take subjects of your own in it.
    pub fn shared() -> Result<Self> {
        let facts = shared("schema-registry", |home| {
            let (process, facts) = launch(home, true)?;
            Ok(Started { pid: process.leave_running(), stop_signal: libc::SIGTERM, facts })
        })?;
        Ok(Self { facts, owned: None })
    }

    /// A registry of one's own, to stop.
    pub fn start() -> Result<Self> {
        let dir = open_tempdir("weir-registry-")?;
        let (process, facts) = launch(dir.path(), false)?;
        Ok(Self { facts, owned: Some((Some(process), dir)) })
    }

    /// The address of Confluent's API.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.facts.port)
    }

    /// Kills it at once; what it knew is gone.
    pub fn kill_9(&mut self) -> Result<()> {
        let (process, _) = self.owned.as_mut().context("the shared registry is not this test's to stop")?;
        process.take().map_or(Ok(()), |mut process| process.kill_9())
    }
}

fn launch(home: &Path, detached: bool) -> Result<(ServerProcess, Facts)> {
    let jar = install::jar()?;
    let mut last = None;
    for _ in 0..3 {
        let port = free_port()?;
        let log = home.join("log");
        let mut server = Command::new(java());
        server.args(["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
        server.args(["-Dquarkus.http.host=127.0.0.1", &format!("-Dquarkus.http.port={port}")]);
        server.arg("-jar").arg(&jar).current_dir(home);
        let started = ServerProcess::spawn("Apicurio Registry", &mut server, &log, Spawn { user: None, detached });
        let ready = started.and_then(|mut process| {
            process.wait_ready(&log, Duration::from_secs(180), || {
                std::thread::sleep(Duration::from_millis(100));
                answers(port, "/apis/ccompat/v7/subjects", "[")
            })?;
            Ok(process)
        });
        match ready {
            Ok(process) => return Ok((process, Facts { port })),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no attempt was made")?)
}

/// A registry in `home` that survives this process; its process and what a client needs.
pub(crate) fn start_detached(home: &Path) -> Result<(u32, String)> {
    let (process, facts) = launch(home, true)?;
    Ok((process.leave_running(), format!("http://127.0.0.1:{}/apis/ccompat/v7", facts.port)))
}
