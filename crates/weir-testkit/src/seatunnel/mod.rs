//! A real Apache SeaTunnel: one node of its own engine, Zeta, with the REST API of 2.3.4. It takes about 15 s to start and 300 MB of memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

pub mod install;

use crate::cache::FileLock;
use crate::java::{answers, java, turn};
use crate::process::{ServerProcess, Spawn, free_port};
use crate::shared::open_tempdir;

/// What Zeta reaches into.
const OPENS: [&str; 8] = [
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.net=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.management/sun.management=ALL-UNNAMED",
    "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
];

/// A running node; it stops when this value is dropped. Only one large engine runs at a time.
#[derive(Debug)]
pub struct SeaTunnel {
    process: ServerProcess,
    port: u16,
    home: tempfile::TempDir,
    _turn: FileLock,
}

impl SeaTunnel {
    /// A node of one's own.
    pub fn start() -> Result<Self> {
        install::home()?;
        let turn = turn()?;
        let home = open_tempdir("weir-seatunnel-")?;
        let (process, port) = launch(home.path(), false)?;
        Ok(Self { process, port, home, _turn: turn })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has logged.
    pub fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    /// Kills it at once.
    pub fn kill_9(&mut self) -> Result<()> {
        self.process.kill_9()
    }

    /// Starts it again on the same port. What it knew of its jobs was in its memory.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill_9()?;
        self.process = run(self.home.path(), self.port, false)?;
        Ok(())
    }
}

/// A node in `home` that survives this process; its process and its address.
pub(crate) fn start_detached(home: &Path) -> Result<(u32, String)> {
    let (process, port) = launch(home, true)?;
    Ok((process.leave_running(), format!("http://127.0.0.1:{port}")))
}

fn launch(home: &Path, detached: bool) -> Result<(ServerProcess, u16)> {
    let mut last = None;
    for _ in 0..3 {
        let port = free_port()?;
        match run(home, port, detached) {
            Ok(process) => return Ok((process, port)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no attempt was made")?)
}

fn run(home: &Path, port: u16, detached: bool) -> Result<ServerProcess> {
    let installed = install::home()?;
    let config = home.join("config");
    std::fs::create_dir_all(&config)?;
    // Zeta looks for all of these below one folder.
    for name in ["connectors", "lib", "starter"] {
        let link = home.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(installed.join(name), link)?;
        }
    }
    write(&config, home, port)?;
    let mut server = Command::new(java());
    server.args(["-Xms96m", "-Xmx768m", "-XX:+UseSerialGC"]).args(OPENS);
    let property = |name: &str, path: &Path| format!("-D{name}={}", path.display());
    server.args([
        property("SEATUNNEL_HOME", home),
        property("seatunnel.config", &config.join("seatunnel.yaml")),
        property("hazelcast.config", &config.join("hazelcast.yaml")),
        property("log4j2.configurationFile", &config.join("log4j2.properties")),
    ]);
    let path = ["lib/*", "starter/seatunnel-starter.jar", "starter/logging/*"].map(|of| home.join(of).display().to_string());
    server.arg("-cp").arg(path.join(":")).arg("org.apache.seatunnel.core.starter.seatunnel.SeaTunnelServer");
    server.env("SEATUNNEL_HOME", home).current_dir(home);
    let log = home.join("log");
    let mut process = ServerProcess::spawn("SeaTunnel", &mut server, &log, Spawn { user: None, detached })?;
    process.wait_ready(&log, Duration::from_secs(180), || {
        std::thread::sleep(Duration::from_millis(100));
        // The node is there before the part of it that takes jobs.
        answers(port, "/hazelcast/health", "ACTIVE") && answers(port, "/hazelcast/rest/maps/running-jobs", "[")
    })?;
    Ok(process)
}

fn write(config: &Path, home: &Path, port: u16) -> Result<()> {
    let checkpoints = home.join("checkpoints");
    let seatunnel = format!(
        "seatunnel:\n  engine:\n    history-job-expire-minutes: 1440\n    backup-count: 1\n    queue-type: blockingqueue\n\
         \x20   slot-service:\n      dynamic-slot: true\n    checkpoint:\n      interval: 10000\n      timeout: 60000\n\
         \x20     storage:\n        type: localfile\n        max-retained: 3\n        plugin-config:\n          namespace: {}/\n",
        checkpoints.display()
    );
    let hazelcast = format!(
        "hazelcast:\n  cluster-name: weir\n  network:\n    public-address: 127.0.0.1\n    interfaces:\n      enabled: true\n\
         \x20     interfaces: [127.0.0.1]\n    rest-api:\n      enabled: true\n      endpoint-groups:\n        CLUSTER_WRITE:\n\
         \x20         enabled: true\n        DATA:\n          enabled: true\n    join:\n      tcp-ip:\n        enabled: true\n\
         \x20       member-list: [\"127.0.0.1:{port}\"]\n    port:\n      auto-increment: false\n      port: {port}\n  properties:\n\
         \x20   hazelcast.logging.type: log4j2\n    hazelcast.operation.generic.thread.count: 4\n\
         \x20   hazelcast.socket.bind.any: false\n    hazelcast.phone.home.enabled: false\n"
    );
    let client = format!("hazelcast-client:\n  cluster-name: weir\n  network:\n    cluster-members:\n      - 127.0.0.1:{port}\n");
    let logging = "rootLogger.level = info\nrootLogger.appenderRef.c.ref = C\nappender.c.type = Console\nappender.c.name = C\n\
                   appender.c.layout.type = PatternLayout\nappender.c.layout.pattern = %d %-5p [%c{1}] %m%n\n";
    for (name, text) in [
        ("seatunnel.yaml", seatunnel.as_str()),
        ("hazelcast.yaml", &hazelcast),
        ("hazelcast-client.yaml", &client),
        ("log4j2.properties", logging),
    ] {
        std::fs::write(config.join(name), text)?;
    }
    Ok(())
}
