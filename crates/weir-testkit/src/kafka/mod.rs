//! A real Apache Kafka: broker and controller (KRaft) in one process. It takes about 15 s to start and 350 MB of memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub mod install;

use crate::java::java;
use crate::process::{ServerProcess, Spawn, free_port, run_checked};
use crate::shared::{Started, open_tempdir, shared};

/// The user that the port with passwords knows.
pub const USER: &str = "weir";
/// The user's password.
pub const PASSWORD: &str = "sesame";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Facts {
    broker: u16,
    sasl: u16,
    controller: u16,
}

/// A running Kafka. One that this value started stops when it is dropped; the shared one stops with the run.
#[derive(Debug)]
pub struct Kafka {
    facts: Facts,
    owned: Option<(Option<ServerProcess>, tempfile::TempDir)>,
}

impl Kafka {
    /// The broker of this test run; started by whoever asks first. Take topics of your own in it.
    pub fn shared() -> Result<Self> {
        let facts = shared("kafka", |home| {
            let (process, facts) = launch(home, true)?;
            Ok(Started { pid: process.leave_running(), stop_signal: libc::SIGTERM, facts })
        })?;
        Ok(Self { facts, owned: None })
    }

    /// A broker of one's own.
    pub fn start() -> Result<Self> {
        let dir = open_tempdir("weir-kafka-")?;
        let (process, facts) = launch(dir.path(), false)?;
        Ok(Self { facts, owned: Some((Some(process), dir)) })
    }

    /// `127.0.0.1:PORT`, without passwords.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.facts.broker)
    }

    /// The port that wants [`USER`] and [`PASSWORD`], with PLAIN or SCRAM-SHA-256 and without TLS.
    pub fn sasl_bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.facts.sasl)
    }

    /// One of Kafka's own tools, by its class; what it needs lies in `folder`. Its log goes to standard error.
    pub fn tool(&self, folder: &Path, class: &str) -> Result<Command> {
        let mut command = command(folder, "128m")?;
        command.arg(class);
        Ok(command)
    }

    /// Kills it at once.
    pub fn kill_9(&mut self) -> Result<()> {
        let (process, _) = self.owned.as_mut().context("the shared broker is not this test's to stop")?;
        process.take().map_or(Ok(()), |mut process| process.kill_9())
    }

    /// Starts it again, on the same ports with the same data.
    pub fn restart(&mut self) -> Result<()> {
        let (process, dir) = self.owned.as_mut().context("the shared broker is not this test's to stop")?;
        if let Some(mut running) = process.take() {
            running.stop(libc::SIGTERM, Duration::from_secs(30))?;
        }
        *process = Some(run_broker(dir.path(), &self.facts, false)?);
        Ok(())
    }
}

fn launch(home: &Path, detached: bool) -> Result<(ServerProcess, Facts)> {
    let mut last = None;
    for attempt in 0..3 {
        let facts = Facts { broker: free_port()?, sasl: free_port()?, controller: free_port()? };
        let home = home.join(format!("attempt-{attempt}"));
        std::fs::create_dir_all(&home)?;
        match format(&home, &facts).and_then(|()| run_broker(&home, &facts, detached)) {
            Ok(process) => return Ok((process, facts)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no attempt was made")?)
}

/// A broker in `home` that survives this process; its process and what a client needs.
pub(crate) fn start_detached(home: &Path) -> Result<(u32, String)> {
    let (process, facts) = launch(home, true)?;
    let address = format!("127.0.0.1:{} (with passwords 127.0.0.1:{}, {USER} {PASSWORD})", facts.broker, facts.sasl);
    Ok((process.leave_running(), address))
}

fn command(home: &Path, heap: &str) -> Result<Command> {
    let jars = install::jars()?;
    let logging = home.join("log4j2.xml");
    std::fs::write(
        &logging,
        r#"<Configuration status="WARN"><Appenders><Console name="out" target="SYSTEM_ERR"><PatternLayout pattern="%d %p %c{1} %m%n"/></Console></Appenders>
<Loggers><Root level="WARN"><AppenderRef ref="out"/></Root><Logger name="kafka.server.KafkaRaftServer" level="INFO"/></Loggers></Configuration>
"#,
    )?;
    let mut command = Command::new(java());
    command.arg("-Xms96m").arg(format!("-Xmx{heap}")).args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
    command.arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
    command.arg("-cp").arg(jars.join("*")).current_dir(home);
    Ok(command)
}

fn properties(home: &Path) -> PathBuf {
    home.join("server.properties")
}

fn format(home: &Path, facts: &Facts) -> Result<()> {
    let Facts { broker, sasl, controller } = facts;
    let one = ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic", "default"];
    let replication: String = one.iter().map(|name| format!("{name}.replication.factor=1\n")).collect();
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{broker},PASSWORDS://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{broker},PASSWORDS://127.0.0.1:{sasl}\n\
         controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PASSWORDS:SASL_PLAINTEXT\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256\n\
         listener.name.passwords.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256\n\
         listener.name.passwords.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n\
         listener.name.passwords.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         log.dirs={data}\nnum.partitions=3\noffsets.topic.num.partitions=2\ntransaction.state.log.num.partitions=2\n\
         transaction.state.log.min.isr=1\nshare.coordinator.state.topic.num.partitions=1\nshare.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=false\nlog.retention.check.interval.ms=500\n\
         log.segment.delete.delay.ms=100\nlog.initial.task.delay.ms=100\nnum.network.threads=2\nnum.io.threads=4\nlog.cleaner.dedupe.buffer.size=8388608\n\
         transaction.max.timeout.ms=900000\n{replication}",
        data = home.join("data").display()
    );
    std::fs::write(properties(home), text)?;
    let mut tool = command(home, "128m")?;
    tool.args(["kafka.tools.StorageTool", "format", "-t", "wAirWeirTestsQ0x1MnpLA", "-c"]).arg(properties(home));
    tool.args(["--add-scram", &format!("SCRAM-SHA-256=[name={USER},password={PASSWORD}]")]);
    run_checked(&mut tool)?;
    Ok(())
}

fn run_broker(home: &Path, facts: &Facts, detached: bool) -> Result<ServerProcess> {
    let home = match home.join("server.properties").is_file() {
        true => home.to_owned(),
        // The folder of the attempt that succeeded.
        false => std::fs::read_dir(home)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.join("server.properties").is_file())
            .max()
            .context("no broker was ever formatted here")?,
    };
    let log = home.join("log");
    // A restart appends to the log of the run before.
    let before = std::fs::read_to_string(&log).map(|text| text.matches(STARTED).count()).unwrap_or(0);
    let mut server = command(&home, "384m")?;
    server.arg("kafka.Kafka").arg(properties(&home));
    let mut process = ServerProcess::spawn("Kafka", &mut server, &log, Spawn { user: None, detached })?;
    process.wait_ready(&log, Duration::from_secs(180), || {
        std::thread::sleep(Duration::from_millis(100));
        let started = std::fs::read_to_string(&log).map(|text| text.matches(STARTED).count()).unwrap_or(0);
        started > before && crate::process::accepts(facts.broker)
    })?;
    Ok(process)
}

const STARTED: &str = "Kafka Server started";
