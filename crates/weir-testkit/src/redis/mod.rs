//! A real Redis with an append-only file. It takes a moment to start and 12 MB of memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::process::{ServerProcess, Spawn, free_port, run_checked};
use crate::shared::{Started, open_tempdir, shared};

/// The user that has a password and may do everything.
pub const USER: &str = "weir";
/// The user's password.
pub const PASSWORD: &str = "sesame";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Facts {
    port: u16,
    tls_port: u16,
    ca_certificate: PathBuf,
}

/// A running Redis. One that this value started stops when it is dropped; the shared one stops with the run.
#[derive(Debug)]
pub struct Redis {
    facts: Facts,
    owned: Option<(Option<ServerProcess>, tempfile::TempDir)>,
}

impl Redis {
    /// The server of this test run; started by whoever asks first. Take keys of your own in it.
    pub fn shared() -> Result<Self> {
        let facts = shared("redis", |home| {
            let (process, facts) = launch(home, true)?;
            Ok(Started { pid: process.leave_running(), stop_signal: libc::SIGTERM, facts })
        })?;
        Ok(Self { facts, owned: None })
    }

    /// A server of one's own.
    pub fn start() -> Result<Self> {
        let dir = open_tempdir("weir-redis-")?;
        let (process, facts) = launch(dir.path(), false)?;
        Ok(Self { facts, owned: Some((Some(process), dir)) })
    }

    /// The port on 127.0.0.1 without TLS; the user `default` needs no password.
    pub fn port(&self) -> u16 {
        self.facts.port
    }

    /// The port on 127.0.0.1 with TLS.
    pub fn tls_port(&self) -> u16 {
        self.facts.tls_port
    }

    /// The authority of the certificate, PEM.
    pub fn ca_certificate(&self) -> &Path {
        &self.facts.ca_certificate
    }

    /// A command by `redis-cli`, and its answer as that prints it when nobody looks: values without quotes, a line each.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.facts.port.to_string(), "-e"]).args(arguments);
        run_checked(&mut command)
    }

    /// Kills it at once.
    pub fn kill_9(&mut self) -> Result<()> {
        let (process, _) = self.owned.as_mut().context("the shared server is not this test's to stop")?;
        process.take().map_or(Ok(()), |mut process| process.kill_9())
    }

    /// Starts it again, on the same ports with the same data.
    pub fn restart(&mut self) -> Result<()> {
        let (process, dir) = self.owned.as_mut().context("the shared server is not this test's to stop")?;
        if let Some(mut running) = process.take() {
            running.stop(libc::SIGTERM, Duration::from_secs(10))?;
        }
        *process = Some(run_server(dir.path(), &self.facts, false)?);
        Ok(())
    }
}

/// Where the server's program is.
pub fn binary() -> Result<PathBuf> {
    let place = PathBuf::from("/usr/bin/redis-server");
    if !place.is_file() {
        bail!("there is no redis-server: `scripts/setup.sh test` installs it");
    }
    Ok(place)
}

fn launch(home: &Path, detached: bool) -> Result<(ServerProcess, Facts)> {
    crate::postgres::tls::make_certificates(&home.join("tls"), None)?;
    let mut last = None;
    for _ in 0..5 {
        let facts = Facts { port: free_port()?, tls_port: free_port()?, ca_certificate: home.join("tls/ca.crt") };
        match run_server(home, &facts, detached) {
            Ok(process) => return Ok((process, facts)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no attempt was made")?)
}

/// A server in `home` that survives this process; its process and what a client needs.
pub(crate) fn start_detached(home: &Path) -> Result<(u32, String)> {
    let (process, facts) = launch(home, true)?;
    let address = format!("127.0.0.1:{} (TLS {}; also with {USER} {PASSWORD})", facts.port, facts.tls_port);
    Ok((process.leave_running(), address))
}

fn run_server(home: &Path, facts: &Facts, detached: bool) -> Result<ServerProcess> {
    let log = home.join("log");
    let tls = home.join("tls");
    let mut command = Command::new(binary()?);
    command.args(["--bind", "127.0.0.1", "--port", &facts.port.to_string(), "--tls-port", &facts.tls_port.to_string()]);
    command.arg("--tls-cert-file").arg(tls.join("server.crt")).arg("--tls-key-file").arg(tls.join("server.key"));
    command.arg("--tls-ca-cert-file").arg(tls.join("ca.crt")).args(["--tls-auth-clients", "no"]);
    // What was answered is in the file before the answer: it outlives `kill -9`.
    command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]).arg("--dir").arg(home);
    command.args(["--user", USER, "on", &format!(">{PASSWORD}"), "~*", "&*", "+@all"]).current_dir(home);
    let mut process = ServerProcess::spawn("Redis", &mut command, &log, Spawn { user: None, detached })?;
    let port = facts.port.to_string();
    process.wait_ready(&log, Duration::from_secs(30), || {
        let mut ping = Command::new("redis-cli");
        ping.args(["-h", "127.0.0.1", "-p", &port, "PING"]);
        run_checked(&mut ping).is_ok_and(|said| said.trim() == "PONG")
    })?;
    Ok(process)
}
