//! A real MQTT broker, Mosquitto, with persistence; Debian's package. It starts in a moment.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::process::{ServerProcess, Spawn, free_port, run_checked, signal};
use crate::shared::{Started, first_file, open_tempdir, shared};

/// The user that a broker with passwords knows.
pub const USER: &str = "weir";
/// The user's password.
pub const PASSWORD: &str = "sesame";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Facts {
    port: u16,
}

/// Who may connect, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Anybody.
    Open,
    /// [`USER`] with [`PASSWORD`].
    Password,
    /// Anybody, over TLS; see [`Mosquitto::authority`].
    Tls,
}

/// A running Mosquitto. One that this value started stops when it is dropped; the shared one stops with the run.
#[derive(Debug)]
pub struct Mosquitto {
    facts: Facts,
    owned: Option<(Option<ServerProcess>, tempfile::TempDir)>,
}

impl Mosquitto {
    /// The broker of this test run; started by whoever asks first. Take topics of your own in it.
    pub fn shared() -> Result<Self> {
        let facts = shared("mosquitto", |home| {
            let (process, facts) = launch(home, Door::Open, true)?;
            Ok(Started { pid: process.leave_running(), stop_signal: libc::SIGTERM, facts })
        })?;
        Ok(Self { facts, owned: None })
    }

    /// A broker of one's own, which can be killed.
    pub fn start(door: Door) -> Result<Self> {
        let dir = open_tempdir("weir-mqtt-")?;
        let (process, facts) = launch(dir.path(), door, false)?;
        Ok(Self { facts, owned: Some((Some(process), dir)) })
    }

    /// The port, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.facts.port
    }

    /// The authority of the certificate of a broker behind [`Door::Tls`].
    pub fn authority(&self) -> Option<PathBuf> {
        self.owned.as_ref().map(|(_, dir)| dir.path().join("tls/ca.crt"))
    }

    /// Makes the broker write sessions and messages to its disk, and waits until they are there: what is not, is lost by a kill.
    pub fn save(&self) -> Result<()> {
        let (process, dir) = self.owned.as_ref().context("the shared broker is not this test's to save")?;
        let file = dir.path().join("data/mosquitto.db");
        let written = || std::fs::metadata(&file).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let before = written();
        signal(process.as_ref().context("the broker does not run")?.pid(), libc::SIGUSR1)?;
        crate::wait_until("the broker has saved its state", Duration::from_secs(20), || written() > before)
    }

    /// Kills it at once.
    pub fn kill_9(&mut self) -> Result<()> {
        let (process, _) = self.owned.as_mut().context("the shared broker is not this test's to stop")?;
        process.take().map_or(Ok(()), |mut process| process.kill_9())
    }

    /// Starts it again, on the same port with the same data.
    pub fn restart(&mut self) -> Result<()> {
        let (process, dir) = self.owned.as_mut().context("the shared broker is not this test's to stop")?;
        if let Some(mut running) = process.take() {
            running.stop(libc::SIGTERM, Duration::from_secs(20))?;
        }
        *process = Some(run(dir.path(), self.facts.port, false)?);
        Ok(())
    }
}

/// The program.
pub fn binary() -> Result<PathBuf> {
    first_file([PathBuf::from("/usr/sbin/mosquitto"), PathBuf::from("/usr/bin/mosquitto")])
        .context("there is no mosquitto: `scripts/setup.sh test` installs it")
}

/// A broker in `home` that survives this process; its process and what a client needs.
pub(crate) fn start_detached(home: &Path) -> Result<(u32, String)> {
    let (process, facts) = launch(home, Door::Open, true)?;
    Ok((process.leave_running(), format!("127.0.0.1:{}", facts.port)))
}

fn launch(home: &Path, door: Door, detached: bool) -> Result<(ServerProcess, Facts)> {
    std::fs::create_dir_all(home.join("data"))?;
    let door = match door {
        Door::Open => "allow_anonymous true\n".to_owned(),
        Door::Password => {
            let file = home.join("passwords");
            run_checked(Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&file).args([USER, PASSWORD]))?;
            format!("allow_anonymous false\npassword_file {}\n", file.display())
        }
        Door::Tls => {
            let tls = home.join("tls");
            crate::postgres::tls::make_certificates(&tls, None)?;
            let tls = tls.display();
            format!("allow_anonymous true\ncafile {tls}/ca.crt\ncertfile {tls}/server.crt\nkeyfile {tls}/server.key\n")
        }
    };
    let mut last = None;
    for _ in 0..3 {
        let port = free_port()?;
        // The queue of a client that is away is limited to 1000 messages otherwise, and what is more is thrown away.
        let text = format!(
            "listener {port} 127.0.0.1\n{door}user root\npersistence true\npersistence_location {}/\nautosave_interval 0\n\
             max_queued_messages 0\nlog_type error\nlog_type warning\n",
            home.join("data").display()
        );
        std::fs::write(home.join("mosquitto.conf"), text)?;
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
    command.arg("-c").arg(home.join("mosquitto.conf")).current_dir(home);
    let mut process = ServerProcess::spawn("Mosquitto", &mut command, &log, Spawn { user: None, detached })?;
    process.wait_ready(&log, Duration::from_secs(30), || crate::process::accepts(port))?;
    Ok(process)
}
