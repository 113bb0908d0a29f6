//! A session cluster: JobManager, TaskManager and SQL gateway, each a process of its own, so that each can be killed alone.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{OPENS, install, write_logging};
use crate::cache::FileLock;
use crate::java::{answers, java, turn};
use crate::process::{ServerProcess, Spawn, free_port};
use crate::shared::open_tempdir;

/// A running cluster with two slots; it stops when this value is dropped. It takes about 20 s to start and 700 MB of memory. Only one large engine
/// runs at a time.
#[derive(Debug)]
pub struct FlinkCluster {
    _gateway: ServerProcess,
    workers: ServerProcess,
    manager: ServerProcess,
    ports: Ports,
    home: tempfile::TempDir,
    _turn: FileLock,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    rest: u16,
    gateway: u16,
    rpc: u16,
}

impl FlinkCluster {
    /// A cluster of one's own.
    pub fn start() -> Result<Self> {
        install::jars()?;
        install::connectors()?;
        let turn = turn()?;
        let home = open_tempdir("weir-flink-")?;
        let mut last = None;
        for _ in 0..3 {
            match launch(home.path(), false) {
                Ok((ports, [manager, workers, gateway])) => {
                    return Ok(Self { _gateway: gateway, workers, manager, ports, home, _turn: turn });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no attempt was made")?)
    }

    /// The REST API of the JobManager, `http://127.0.0.1:PORT`.
    pub fn rest(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.rest)
    }

    /// The SQL gateway, `http://127.0.0.1:PORT`.
    pub fn gateway(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.gateway)
    }

    /// Kills the JobManager at once. It kept its jobs in memory.
    pub fn kill_manager(&mut self) -> Result<()> {
        self.manager.kill_9()
    }

    /// Starts a JobManager again in the same place.
    pub fn restart_manager(&mut self) -> Result<()> {
        self.manager.kill_9()?;
        self.manager = start_manager(self.home.path(), self.ports, false)?;
        Ok(())
    }

    /// Kills the TaskManager at once; jobs that ran there restart when there is one again.
    pub fn kill_workers(&mut self) -> Result<()> {
        self.workers.kill_9()
    }

    /// Starts a TaskManager again.
    pub fn restart_workers(&mut self) -> Result<()> {
        self.workers.kill_9()?;
        self.workers = start_workers(self.home.path(), self.ports, false)?;
        Ok(())
    }
}

/// A cluster in `home` that survives this process. The process that is given is the gateway's; the others end after it.
pub(crate) fn start_detached(home: &Path) -> Result<(u32, String)> {
    let (ports, [manager, workers, gateway]) = launch(home, true)?;
    let pid = gateway.leave_running();
    for process in [workers, manager] {
        crate::shared::stop_after(pid, process.leave_running())?;
    }
    Ok((pid, format!("http://127.0.0.1:{} and its SQL gateway http://127.0.0.1:{}", ports.rest, ports.gateway)))
}

fn launch(home: &Path, detached: bool) -> Result<(Ports, [ServerProcess; 3])> {
    let ports = Ports { rest: free_port()?, gateway: free_port()?, rpc: free_port()? };
    configure(home, ports)?;
    let manager = start_manager(home, ports, detached)?;
    let workers = start_workers(home, ports, detached)?;
    let mut server = command(home, "384m", "org.apache.flink.table.gateway.SqlGateway")?;
    let log = home.join("gateway.log");
    let mut gateway = ServerProcess::spawn("Flink's SQL gateway", &mut server, &log, Spawn { user: None, detached })?;
    gateway.wait_ready(&log, Duration::from_secs(180), || {
        std::thread::sleep(Duration::from_millis(100));
        answers(ports.gateway, "/v1/info", "Apache Flink")
    })?;
    Ok((ports, [manager, workers, gateway]))
}

fn start_manager(home: &Path, ports: Ports, detached: bool) -> Result<ServerProcess> {
    let mut server = command(home, "448m", "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint")?;
    server.arg("--configDir").arg(home.join("conf"));
    let log = home.join("manager.log");
    let mut process = ServerProcess::spawn("Flink's JobManager", &mut server, &log, Spawn { user: None, detached })?;
    process.wait_ready(&log, Duration::from_secs(180), || {
        std::thread::sleep(Duration::from_millis(100));
        answers(ports.rest, "/overview", "flink-version")
    })?;
    Ok(process)
}

fn start_workers(home: &Path, ports: Ports, detached: bool) -> Result<ServerProcess> {
    let mut server = command(home, "512m", "org.apache.flink.runtime.taskexecutor.TaskManagerRunner")?;
    server.arg("--configDir").arg(home.join("conf"));
    let log = home.join("workers.log");
    let mut process = ServerProcess::spawn("Flink's TaskManager", &mut server, &log, Spawn { user: None, detached })?;
    process.wait_ready(&log, Duration::from_secs(180), || {
        std::thread::sleep(Duration::from_millis(100));
        answers(ports.rest, "/overview", "\"slots-total\":2")
    })?;
    Ok(process)
}

fn command(home: &Path, heap: &str, class: &str) -> Result<Command> {
    let path = format!("{}:{}", install::jars()?.join("*").display(), install::connectors()?.join("*").display());
    let conf = home.join("conf");
    let mut command = Command::new(java());
    command.arg(format!("-Xmx{heap}")).arg("-XX:+UseSerialGC").args(OPENS);
    command.arg(format!("-Dlog4j.configurationFile={}", conf.join("log4j2.properties").display()));
    command.arg("-cp").arg(path).arg(class).env("FLINK_CONF_DIR", &conf).current_dir(home);
    Ok(command)
}

fn configure(home: &Path, ports: Ports) -> Result<()> {
    let conf = home.join("conf");
    for folder in ["conf", "tmp", "checkpoints", "savepoints"] {
        std::fs::create_dir_all(home.join(folder))?;
    }
    let Ports { rest, gateway, rpc } = ports;
    // Flink's own scripts compute the sizes of a TaskManager's memory; one that is started without them wants all of these. The gateway would take
    // `rest.bind-port` for its own if it had none.
    let text = format!(
        "jobmanager:\n  rpc:\n    address: 127.0.0.1\n    port: {rpc}\n  bind-host: 127.0.0.1\n  memory:\n    process:\n      size: 1024m\n\
         taskmanager:\n  bind-host: 127.0.0.1\n  host: 127.0.0.1\n  numberOfTaskSlots: 2\n  cpu:\n    cores: 2.0\n  memory:\n\
         \x20   task:\n      heap:\n        size: 256m\n      off-heap:\n        size: 0m\n\
         \x20   network:\n      min: 32m\n      max: 32m\n    managed:\n      size: 128m\n    framework:\n      heap:\n        size: 64m\n\
         \x20     off-heap:\n        size: 64m\n    jvm-metaspace:\n      size: 192m\n    jvm-overhead:\n      min: 64m\n      max: 64m\n\
         heartbeat:\n  interval: 1000\n  timeout: 10000\nparallelism:\n  default: 1\n\
         rest:\n  address: 127.0.0.1\n  bind-address: 127.0.0.1\n  port: {rest}\n  bind-port: \"{rest}\"\n\
         metrics:\n  fetcher:\n    update-interval: 500\n\
         io:\n  tmp:\n    dirs: {home}/tmp\nexecution:\n  checkpointing:\n    interval: 1s\n    dir: file://{home}/checkpoints\n\
         \x20   savepoint-dir: file://{home}/savepoints\n\
         sql-gateway:\n  endpoint:\n    rest:\n      address: 127.0.0.1\n      bind-address: 127.0.0.1\n      port: {gateway}\n      bind-port: {gateway}\n",
        home = home.display()
    );
    std::fs::write(conf.join("config.yaml"), text).context("cannot write Flink's configuration")?;
    write_logging(&conf)?;
    Ok(())
}
