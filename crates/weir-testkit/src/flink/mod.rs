//! A real Apache Flink. Alone, its SQL gateway runs each query in a small cluster of its own in the same process; it takes about 15 s to start and
//! 600 MB of memory. [`FlinkCluster`] is the large form: JobManager, TaskManager and gateway, each a process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

mod cluster;
pub mod install;

pub use cluster::FlinkCluster;
pub(crate) use cluster::start_detached as start_cluster_detached;

use crate::java::{answers, java};
use crate::process::{ServerProcess, Spawn, free_port};

/// What Flink reaches into.
const OPENS: [&str; 15] = [
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.net=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
    "--add-opens=java.base/java.text=ALL-UNNAMED",
    "--add-opens=java.base/java.time=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.locks=ALL-UNNAMED",
];

/// A gateway in `home` that survives this process; its process and its address.
pub(crate) fn start_detached(home: &Path) -> Result<(u32, String)> {
    let mut last = None;
    for _ in 0..3 {
        let port = free_port()?;
        match run_gateway(home, port) {
            Ok(process) => return Ok((process.leave_running(), format!("http://127.0.0.1:{port}"))),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no attempt was made")?)
}

/// Warnings go to standard output.
fn write_logging(conf: &Path) -> Result<PathBuf> {
    let logging = conf.join("log4j2.properties");
    std::fs::write(
        &logging,
        "rootLogger.level = WARN\nrootLogger.appenderRef.c.ref = C\nappender.c.type = Console\nappender.c.name = C\n\
         appender.c.layout.type = PatternLayout\nappender.c.layout.pattern = %d %p %c{1} %m%n\n",
    )?;
    Ok(logging)
}

fn run_gateway(home: &Path, port: u16) -> Result<ServerProcess> {
    let jars = install::jars()?;
    let (conf, temporary) = (home.join("conf"), home.join("tmp"));
    std::fs::create_dir_all(&conf)?;
    std::fs::create_dir_all(&temporary)?;
    // The gateway would take `rest.bind-port` for its own if it had none.
    let config = format!(
        "execution:\n  target: local\nparallelism:\n  default: 1\ntaskmanager:\n  numberOfTaskSlots: 8\n\
         rest:\n  address: 127.0.0.1\n  bind-address: 127.0.0.1\n  bind-port: \"0\"\nio:\n  tmp:\n    dirs: {tmp}\n\
         sql-gateway:\n  endpoint:\n    rest:\n      address: 127.0.0.1\n      bind-address: 127.0.0.1\n      port: {port}\n      bind-port: {port}\n",
        tmp = temporary.display()
    );
    std::fs::write(conf.join("config.yaml"), config)?;
    let logging = write_logging(&conf)?;
    let mut server = Command::new(java());
    server.args(["-Xmx1g", "-XX:+UseSerialGC"]).args(OPENS);
    server.arg(format!("-Dlog4j.configurationFile={}", logging.display())).arg("-cp").arg(jars.join("*"));
    server.arg("org.apache.flink.table.gateway.SqlGateway").env("FLINK_CONF_DIR", &conf).current_dir(home);
    let log = home.join("log");
    let mut process = ServerProcess::spawn("Flink", &mut server, &log, Spawn { user: None, detached: true })?;
    process.wait_ready(&log, Duration::from_secs(180), || {
        std::thread::sleep(Duration::from_millis(100));
        answers(port, "/v1/info", "Apache Flink")
    })?;
    Ok(process)
}
