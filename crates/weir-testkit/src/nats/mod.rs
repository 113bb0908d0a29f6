//! A real NATS server with JetStream on disk; Debian's package. It starts in a quarter of a second.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::process::{ServerProcess, Spawn, free_port};
use crate::shared::{Started, first_file, open_tempdir, shared};

/// What the shared server, and one without settings of its own, runs with.
const PLAIN: &str = "max_payload: 8388608\n";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Facts {
    port: u16,
}

/// A running NATS. One that this value started stops when it is dropped; the shared one stops with the run.
#[derive(Debug)]
pub struct Nats {
    facts: Facts,
    owned: Option<(Option<ServerProcess>, tempfile::TempDir)>,
}

impl Nats {
    /// The server of this test run, without passwords; started by whoever asks first. Take streams of your own in it.
    pub fn shared() -> Result<Self> {
        let facts = shared("nats", |home| {
            let (process, facts) = launch(home, PLAIN, true)?;
            Ok(Started { pid: process.leave_running(), stop_signal: libc::SIGTERM, facts })
        })?;
        Ok(Self { facts, owned: None })
    }

    /// A server of one's own, which can be killed.
    pub fn start() -> Result<Self> {
        Self::start_with(PLAIN)
    }

    /// A server of one's own with more settings, in the words of its configuration file. `{tls}` is a folder with `ca.crt`, `server.crt` and
    /// `server.key`.
    pub fn start_with(settings: &str) -> Result<Self> {
        let dir = open_tempdir("weir-nats-")?;
        let tls = dir.path().join("tls");
        if settings.contains("{tls}") {
            crate::postgres::tls::make_certificates(&tls, None)?;
        }
        let settings = settings.replace("{tls}", &tls.display().to_string());
        let (process, facts) = launch(dir.path(), &settings, false)?;
        Ok(Self { facts, owned: Some((Some(process), dir)) })
    }

    /// `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.facts.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.facts.port
    }

    /// The authority of the certificate of a server that was started with `{tls}`.
    pub fn authority(&self) -> Option<PathBuf> {
        self.owned.as_ref().map(|(_, dir)| dir.path().join("tls/ca.crt"))
    }

    /// Kills it at once.
    pub fn kill_9(&mut self) -> Result<()> {
        let (process, _) = self.owned.as_mut().context("the shared server is not this test's to stop")?;
        process.take().map_or(Ok(()), |mut process| process.kill_9())
    }

    /// Starts it again, on the same port with the same data.
    pub fn restart(&mut self) -> Result<()> {
        let (process, dir) = self.owned.as_mut().context("the shared server is not this test's to stop")?;
        if let Some(mut running) = process.take() {
            running.stop(libc::SIGTERM, Duration::from_secs(20))?;
        }
        *process = Some(run(dir.path(), self.facts.port, false)?);
        Ok(())
    }
}

/// The program.
pub fn binary() -> Result<PathBuf> {
    first_file([PathBuf::from("/usr/sbin/nats-server"), PathBuf::from("/usr/bin/nats-server")])
        .context("there is no nats-server: `scripts/setup.sh test` installs it")
}

/// A server in `home` that survives this process; its process and what a client needs.
pub(crate) fn start_detached(home: &Path) -> Result<(u32, String)> {
    let (process, facts) = launch(home, PLAIN, true)?;
    Ok((process.leave_running(), format!("nats://127.0.0.1:{}", facts.port)))
}

fn launch(home: &Path, settings: &str, detached: bool) -> Result<(ServerProcess, Facts)> {
    let mut last = None;
    for _ in 0..3 {
        let port = free_port()?;
        let text =
            format!("listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\" }}\n{settings}", home.join("data").display());
        std::fs::write(home.join("nats.conf"), text)?;
        match run(home, port, detached) {
            Ok(process) => return Ok((process, Facts { port })),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no attempt was made")?)
}

fn run(home: &Path, port: u16, detached: bool) -> Result<ServerProcess> {
    let log = home.join("log");
    let mut command = Command::new(binary()?);
    command.arg("-c").arg(home.join("nats.conf")).current_dir(home);
    let mut process = ServerProcess::spawn("NATS", &mut command, &log, Spawn { user: None, detached })?;
    process.wait_ready(&log, Duration::from_secs(30), || crate::process::accepts(port))?;
    Ok(process)
}
