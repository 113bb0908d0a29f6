//! A real Kafka Connect: one worker beside a broker of the kit, with Debezium's connector of PostgreSQL. It takes about 20 s to start and 300 MB of
//! memory.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

pub mod install;

use crate::cache::FileLock;
use crate::java::{answers, java, turn};
use crate::kafka::{self, Kafka};
use crate::process::{ServerProcess, Spawn, free_port};
use crate::shared::open_tempdir;

/// A running worker; it stops when this value is dropped. Only one large engine runs at a time.
#[derive(Debug)]
pub struct KafkaConnect {
    // In this order: a worker whose broker has gone does not end.
    process: ServerProcess,
    port: u16,
    bootstrap: String,
    variables: Vec<(String, String)>,
    home: tempfile::TempDir,
    _turn: FileLock,
}

impl KafkaConnect {
    /// A worker of one's own at this broker. Its connectors may name these variables as `${env:NAME}`.
    pub fn start(broker: &Kafka, variables: &[(&str, &str)]) -> Result<Self> {
        install::plugins()?;
        let turn = turn()?;
        let home = open_tempdir("weir-connect-")?;
        let bootstrap = broker.bootstrap();
        let variables: Vec<(String, String)> = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let (process, port) = launch(home.path(), &bootstrap, &variables, false)?;
        Ok(Self { process, port, bootstrap, variables, home, _turn: turn })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills it at once.
    pub fn kill_9(&mut self) -> Result<()> {
        self.process.kill_9()
    }

    /// Starts it again on the same port; its connectors are in the broker's topics.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill_9()?;
        self.process = run(self.home.path(), self.port, &self.bootstrap, &self.variables, false)?;
        Ok(())
    }
}

/// A broker and a worker in `home` that survive this process. The process that is given is the worker's; the broker ends after it.
pub(crate) fn start_detached(home: &Path) -> Result<(u32, String)> {
    let broker = home.join("broker");
    std::fs::create_dir_all(&broker)?;
    let (broker_pid, address) = kafka::start_detached(&broker)?;
    let bootstrap = address.split(' ').next().unwrap_or_default().to_owned();
    let (process, port) = launch(home, &bootstrap, &[], true)?;
    let pid = process.leave_running();
    crate::shared::stop_after(pid, broker_pid)?;
    Ok((pid, format!("http://127.0.0.1:{port} (broker {bootstrap})")))
}

fn launch(home: &Path, bootstrap: &str, variables: &[(String, String)], detached: bool) -> Result<(ServerProcess, u16)> {
    let mut last = None;
    for _ in 0..3 {
        let port = free_port()?;
        match run(home, port, bootstrap, variables, detached) {
            Ok(process) => return Ok((process, port)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no attempt was made")?)
}

fn run(home: &Path, port: u16, bootstrap: &str, variables: &[(String, String)], detached: bool) -> Result<ServerProcess> {
    let plugins = install::plugins()?;
    let group = home.file_name().context("a folder has a name")?.to_string_lossy().into_owned();
    let mut text = format!(
        "bootstrap.servers={bootstrap}\ngroup.id={group}\nlisteners=http://127.0.0.1:{port}\nrest.advertised.host.name=127.0.0.1\n\
         rest.advertised.port={port}\nkey.converter=org.apache.kafka.connect.json.JsonConverter\n\
         value.converter=org.apache.kafka.connect.json.JsonConverter\nkey.converter.schemas.enable=false\n\
         value.converter.schemas.enable=false\noffset.storage.partitions=1\nstatus.storage.partitions=1\n\
         offset.flush.interval.ms=1000\nplugin.path={}\nplugin.discovery=service_load\nscheduled.rebalance.max.delay.ms=0\n\
         config.providers=env\nconfig.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider\n",
        plugins.display()
    );
    for of in ["offset", "config", "status"] {
        text.push_str(&format!("{of}.storage.topic={group}-{of}\n{of}.storage.replication.factor=1\n"));
    }
    let properties = home.join("worker.properties");
    std::fs::write(&properties, text)?;
    let mut server = Command::new(java());
    server.args(["-Xms96m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    let logging = home.join("log4j2.xml");
    std::fs::write(
        &logging,
        r#"<Configuration status="WARN"><Appenders><Console name="out" target="SYSTEM_ERR"><PatternLayout pattern="%d %p %c{1} %m%n"/></Console></Appenders>
<Loggers><Root level="WARN"><AppenderRef ref="out"/></Root></Loggers></Configuration>
"#,
    )?;
    server.arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
    server
        .arg("-cp")
        .arg(kafka::install::jars()?.join("*"))
        .arg("org.apache.kafka.connect.cli.ConnectDistributed")
        .arg(&properties);
    server.envs(variables.iter().map(|(name, value)| (name, value))).current_dir(home);
    let log = home.join("log");
    let mut process = ServerProcess::spawn("Kafka Connect", &mut server, &log, Spawn { user: None, detached })?;
    process.wait_ready(&log, Duration::from_secs(180), || {
        std::thread::sleep(Duration::from_millis(100));
        // The first answer comes before the worker is in its group; this one does not.
        answers(port, "/connectors", "[")
    })?;
    Ok(process)
}
