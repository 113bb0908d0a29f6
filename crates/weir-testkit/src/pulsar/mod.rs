//! A real Apache Pulsar: broker, bookie and metadata in one process. It takes about 15 s to start and 450 MB of memory.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

pub mod install;

use crate::blocking::block_on;
use crate::java::answers;
use crate::process::{ServerProcess, Spawn, free_port};
use crate::shared::{Started, open_tempdir, shared};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Facts {
    broker: u16,
    admin: u16,
    bookie: u16,
}

/// A running Pulsar. One that this value started stops when it is dropped; the shared one stops with the run.
#[derive(Debug)]
pub struct Pulsar {
    facts: Facts,
    owned: Option<(Option<ServerProcess>, tempfile::TempDir)>,
}

impl Pulsar {
    /// The server of this test run; started by whoever asks first. Take namespaces of your own in it.
    pub fn shared() -> Result<Self> {
        let facts = shared("pulsar", |home| {
            let (process, facts) = launch(home, true)?;
            Ok(Started { pid: process.leave_running(), stop_signal: libc::SIGTERM, facts })
        })?;
        Ok(Self { facts, owned: None })
    }

    /// A server of one's own.
    pub fn start() -> Result<Self> {
        let dir = open_tempdir("weir-pulsar-")?;
        let (process, facts) = launch(dir.path(), false)?;
        Ok(Self { facts, owned: Some((Some(process), dir)) })
    }

    /// `pulsar://127.0.0.1:PORT`, what `PULSAR_URL` takes.
    pub fn url(&self) -> String {
        format!("pulsar://127.0.0.1:{}", self.facts.broker)
    }

    /// `http://127.0.0.1:PORT`: the admin interface.
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.facts.admin)
    }

    /// Makes the tenant and the namespace of `tenant/namespace`; what exists already is not an error.
    pub fn create_namespace(&self, name: &str) -> Result<()> {
        let (tenant, _) = name.split_once('/').context("a namespace is tenant/name")?;
        let base = format!("http://127.0.0.1:{}/admin/v2", self.facts.admin);
        let calls = [
            (format!("{base}/tenants/{tenant}"), serde_json::json!({"allowedClusters": ["standalone"]})),
            (format!("{base}/namespaces/{name}"), serde_json::json!({})),
        ];
        block_on(move || async move {
            for (url, body) in calls {
                let answer = reqwest::Client::new().put(&url).json(&body).send().await?;
                let status = answer.status();
                if !status.is_success() && status.as_u16() != 409 {
                    let said = answer.text().await.unwrap_or_default();
                    // Two that make it in the same moment: the second one is told so as a fault of the server.
                    if said.contains("AlreadyExistsException") {
                        continue;
                    }
                    bail!("Pulsar does not make {url}: {status} {said}");
                }
            }
            Ok(())
        })
    }

    /// The namespaces of a tenant.
    pub fn namespaces(&self, tenant: &str) -> Result<Vec<String>> {
        let url = format!("http://127.0.0.1:{}/admin/v2/namespaces/{tenant}", self.facts.admin);
        block_on(move || async move { Ok(reqwest::Client::new().get(&url).send().await?.error_for_status()?.json().await?) })
    }

    /// Sets a flag of a namespace, such as `deduplication`.
    pub fn set_namespace_flag(&self, name: &str, flag: &str, on: bool) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/admin/v2/namespaces/{name}/{flag}", self.facts.admin);
        block_on(move || async move {
            let answer = reqwest::Client::new().post(&url).json(&on).send().await?;
            anyhow::ensure!(answer.status().is_success(), "Pulsar does not set {url}: {}", answer.status());
            Ok(())
        })
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
            running.stop(libc::SIGTERM, Duration::from_secs(20))?;
        }
        *process = Some(run_server(dir.path(), &self.facts, false)?);
        Ok(())
    }
}

fn launch(home: &Path, detached: bool) -> Result<(ServerProcess, Facts)> {
    let mut last = None;
    for _ in 0..3 {
        let facts = Facts { broker: free_port()?, admin: free_port()?, bookie: free_port()? };
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
    Ok((
        process.leave_running(),
        format!("PULSAR_URL=pulsar://127.0.0.1:{} admin=http://127.0.0.1:{}", facts.broker, facts.admin),
    ))
}

fn run_server(home: &Path, facts: &Facts, detached: bool) -> Result<ServerProcess> {
    let installed = install::home()?;
    let log = home.join("log");
    let standard =
        std::fs::read_to_string(installed.join("conf/standalone.conf")).context("Pulsar's distribution is not whole")?;
    let ours = [
        ("brokerServicePort", facts.broker.to_string()),
        ("webServicePort", facts.admin.to_string()),
        ("bindAddress", "127.0.0.1".to_owned()),
        ("advertisedAddress", "127.0.0.1".to_owned()),
        // The bookie refuses to write on a disk that is nearly full by its own, generous measure.
        ("diskUsageThreshold", "0.9999".to_owned()),
        ("diskUsageWarnThreshold", "0.9998".to_owned()),
        ("diskUsageLwmThreshold", "0.9998".to_owned()),
        ("minUsableSizeForIndexFileCreation", "1048576".to_owned()),
        ("minUsableSizeForEntryLogCreation", "1048576".to_owned()),
        ("logSizeLimit", "16777216".to_owned()),
        ("journalMaxSizeMB", "32".to_owned()),
        ("journalPreAllocSizeMB", "4".to_owned()),
    ];
    let mut config: String = standard
        .lines()
        .filter(|line| !ours.iter().any(|(key, _)| line.split('=').next().is_some_and(|name| name.trim() == *key)))
        .fold(String::new(), |text, line| text + line + "\n");
    for (key, value) in ours {
        config.push_str(&format!("{key}={value}\n"));
    }
    let config_file = home.join("standalone.conf");
    std::fs::write(&config_file, config)?;
    let mut command = Command::new(installed.join("bin/pulsar"));
    command.args(["standalone", "-nfw", "-nss", "-a", "127.0.0.1"]);
    command.args(["--bookkeeper-port", &facts.bookie.to_string()]);
    command.arg("--metadata-dir").arg(home.join("metadata")).arg("--bookkeeper-dir").arg(home.join("bookkeeper"));
    command
        .env("PULSAR_STANDALONE_CONF", &config_file)
        .env("PULSAR_STANDALONE_USE_ZOOKEEPER", "0")
        .env("PULSAR_LOG_DIR", home.join("logs"))
        .env("PULSAR_LOG_APPENDER", "Console")
        .env("PULSAR_LOG_LEVEL", "warn")
        .env("PULSAR_MEM", "-Xms192m -Xmx512m -XX:MaxDirectMemorySize=384m")
        .env("PULSAR_GC", "-XX:+UseSerialGC")
        .env("PULSAR_GC_LOG", "-Xlog:disable")
        .env("PULSAR_EXTRA_OPTS", "-Dpulsar.allocator.pooled=true");
    command.current_dir(home);
    // The script becomes the Java process (exec), so its process id is the server's.
    let mut process = ServerProcess::spawn("Pulsar", &mut command, &log, Spawn { user: None, detached })?;
    process.wait_ready(&log, Duration::from_secs(240), || {
        std::thread::sleep(Duration::from_millis(250));
        answers(facts.admin, "/admin/v2/brokers/health", "ok")
    })?;
    Ok(process)
}
