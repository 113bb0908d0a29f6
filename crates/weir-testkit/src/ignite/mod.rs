//! A real Apache Ignite node with its REST API. It takes about 10 s to start and 300 MB of memory.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub mod install;

use crate::blocking::block_on;
use crate::java::{answers, java};
use crate::process::{ServerProcess, Spawn, free_port};
use crate::shared::{Started, open_tempdir, shared};

const CONFIG: &str = include_str!("config.xml");

/// What Ignite reaches into: the list of its own start script.
const OPENS: [&str; 21] = [
    "java.base/jdk.internal.access",
    "java.base/jdk.internal.misc",
    "java.base/sun.nio.ch",
    "java.base/sun.util.calendar",
    "java.management/com.sun.jmx.mbeanserver",
    "jdk.internal.jvmstat/sun.jvmstat.monitor",
    "java.base/sun.reflect.generics.reflectiveObjects",
    "jdk.management/com.sun.management.internal",
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/java.net",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.locks",
    "java.base/java.util.concurrent.atomic",
    "java.base/java.lang",
    "java.base/java.lang.invoke",
    "java.base/java.math",
    "java.sql/java.sql",
    "java.base/java.time",
    "java.base/java.text",
];

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Facts {
    port: u16,
}

/// A running node. One that this value started stops when it is dropped; the shared one stops with the run.
#[derive(Debug)]
pub struct Ignite {
    facts: Facts,
    owned: Option<(ServerProcess, tempfile::TempDir)>,
}

impl Ignite {
    /// The node of this test run; started by whoever asks first. Take names of your own in it.
    pub fn shared() -> Result<Self> {
        let facts = shared("ignite", |home| {
            let (process, facts) = launch(home, true)?;
            Ok(Started { pid: process.leave_running(), stop_signal: libc::SIGTERM, facts })
        })?;
        Ok(Self { facts, owned: None })
    }

    /// A node of one's own.
    pub fn start() -> Result<Self> {
        let dir = open_tempdir("weir-ignite-")?;
        let (process, facts) = launch(dir.path(), false)?;
        Ok(Self { facts, owned: Some((process, dir)) })
    }

    /// `http://127.0.0.1:PORT`, what `IGNITE_HOSTS` takes.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.facts.port)
    }

    /// One statement over the REST API, as an administrator would try it; gives the `response`.
    pub fn sql(&self, statement: &str) -> Result<serde_json::Value> {
        let url = format!("{}/ignite", self.endpoint());
        let statement = statement.to_owned();
        block_on(move || async move {
            let client = reqwest::Client::new();
            let ask = async |form: &[(&str, &str)]| -> Result<serde_json::Value> {
                let text = client.post(&url).form(form).send().await?.text().await?;
                let said: serde_json::Value = serde_json::from_str(&text).with_context(|| format!("Ignite said: {text}"))?;
                anyhow::ensure!(said["successStatus"] == 0, "Ignite refuses `{}`: {}", form[0].1, said["error"]);
                Ok(said["response"].clone())
            };
            ask(&[("cmd", "getorcreate"), ("cacheName", "testkit")]).await?;
            ask(&[("cmd", "qryfldexe"), ("cacheName", "testkit"), ("pageSize", "10000"), ("qry", &statement)]).await
        })
    }

    /// Kills it at once; its data are gone.
    pub fn kill_9(&mut self) -> Result<()> {
        let (process, _) = self.owned.as_mut().context("the shared node is not this test's to stop")?;
        process.kill_9()
    }
}

fn launch(home: &Path, detached: bool) -> Result<(ServerProcess, Facts)> {
    let mut last = None;
    for _ in 0..3 {
        match run_server(home, detached) {
            Ok(started) => return Ok(started),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no attempt was made")?)
}

/// A node in `home` that survives this process; its process and what a client needs.
pub(crate) fn start_detached(home: &Path) -> Result<(u32, String)> {
    let (process, facts) = launch(home, true)?;
    Ok((process.leave_running(), format!("IGNITE_HOSTS=http://127.0.0.1:{}", facts.port)))
}

fn run_server(home: &Path, detached: bool) -> Result<(ServerProcess, Facts)> {
    let installed = install::home()?;
    let (log, config, work) = (home.join("log"), home.join("config.xml"), home.join("work"));
    std::fs::create_dir_all(&work)?;
    let mut text = CONFIG.replace("@WORK@", &work.to_string_lossy());
    for name in ["@TCP@", "@CLIENT@", "@COMMUNICATION@", "@DISCOVERY@"] {
        text = text.replace(name, &free_port()?.to_string());
    }
    std::fs::write(&config, text)?;
    let port = free_port()?;
    let mut command = Command::new(java());
    command.args(["-Xms96m", "-Xmx320m", "-XX:+UseSerialGC"]);
    command.args(OPENS.iter().map(|module| format!("--add-opens={module}=ALL-UNNAMED")));
    command.args([
        "-DIGNITE_QUIET=true",
        "-DIGNITE_UPDATE_NOTIFIER=false",
        "-DIGNITE_NO_ASCII=true",
        "-DIGNITE_JETTY_HOST=127.0.0.1",
    ]);
    command.arg(format!("-DIGNITE_JETTY_PORT={port}")).arg(format!("-DIGNITE_HOME={}", home.display()));
    command
        .arg("-cp")
        .arg(installed.join("lib").join("*"))
        .arg("org.apache.ignite.startup.cmdline.CommandLineStartup")
        .arg(&config);
    command.current_dir(home);
    let mut process = ServerProcess::spawn("Ignite", &mut command, &log, Spawn { user: None, detached })?;
    // The port opens before the node has joined its cluster of one; this command needs both.
    process.wait_ready(&log, Duration::from_secs(180), || {
        std::thread::sleep(Duration::from_millis(200));
        answers(port, "/ignite?cmd=version", "\"successStatus\":0")
    })?;
    Ok((process, Facts { port }))
}
