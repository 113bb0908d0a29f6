//! Spark, by its own `spark-submit`: it knows every master (`local[*]`, `spark://…`, `k8s://…`, `yarn`), and a job is its process.
//!
//! Each job has a folder of its own, and everything that is known of it is a file there, so any later command can look at it:
//!
//! | file | |
//! | --- | --- |
//! | `job.py`, `job.args` | the artefact: the program, and arguments for `spark-submit`, one a line |
//! | `pid` | the shell that waits for `spark-submit`; both are in a process group of their own, so a Ctrl-C for us is none for them |
//! | `log` | what they say |
//! | `exit` | the exit code, once there is one |
//! | `stop` | that the end was asked for, and what it shall mean |
//! | `events` | Spark's own log of events, from which rows and bytes are counted |
//!
//! Variables are in the environment of the process and nowhere else. A streaming job keeps its positions in its own checkpoint folder, so that stopping it is
//! suspending it.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use weir_connect::guard;
use weir_error::{Error, Kind, Result};

use crate::client::settings::{Around, parse};
use crate::client::{EngineClient, Job, LOG_LINES, Look, Savepoint, State, Submission, cause};

mod events;
mod packages;

use events::Events;

const ENGINE: &str = "spark";
/// Of a log that is larger the end is read.
const LOG_BYTES: u64 = 256 * 1024;
/// Waits for the process whatever ends it, and writes down how. A trap, as an ignored signal would be ignored by the child too.
const SHELL: &str = r#"
trap : TERM INT
folder=$1; shift
echo $$ >"$folder/pid.new" && mv "$folder/pid.new" "$folder/pid"
"$@" >"$folder/log" 2>&1 </dev/null
echo $? >"$folder/exit.new" && mv "$folder/exit.new" "$folder/exit"
"#;
/// What the process gets of our own environment.
const INHERITED: [&str; 12] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "JAVA_HOME",
    "PYTHONPATH",
    "PYSPARK_PYTHON",
    "PYSPARK_DRIVER_PYTHON",
    "HADOOP_CONF_DIR",
    "KUBECONFIG",
];

/// Which Spark, and where its jobs run.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SparkSettings {
    /// Its folder, with `bin` and `jars`. Default: `SPARK_HOME`.
    pub home: Option<PathBuf>,
    /// `local[*]` (default), `spark://HOST:7077`, `k8s://…`, `yarn`.
    pub master: Option<String>,
    /// Memory of an executor: `8g`. On one machine, and in client mode, `driver_memory` counts.
    pub executor_memory: Option<String>,
    /// Cores of an executor.
    pub executor_cores: Option<String>,
    /// Memory of the driver: `2g`.
    pub driver_memory: Option<String>,
    /// Other settings, by their own names: `{"spark.sql.shuffle.partitions": "4"}`.
    pub conf: BTreeMap<String, String>,
}

/// The client that these settings make.
pub fn connect(settings: Value, around: Around<'_>) -> Result<Box<dyn EngineClient>> {
    let settings: SparkSettings = parse(ENGINE, settings)?;
    let home = settings.home.or_else(|| std::env::var_os("SPARK_HOME").map(PathBuf::from)).ok_or_else(|| {
        Error::new("WEIR-LAUNCH-001", Kind::Connect, "nobody says where Spark is")
            .hint("set SPARK_HOME, or `home` in the settings of the engine: docs/how-to/engines.md")
    })?;
    let mut conf = settings.conf;
    for (key, value) in [
        ("spark.executor.memory", settings.executor_memory),
        ("spark.executor.cores", settings.executor_cores),
        ("spark.driver.memory", settings.driver_memory),
    ] {
        conf.extend(value.map(|value| (key.to_owned(), value)));
    }
    Ok(Box::new(SparkClient::new(&home, settings.master.as_deref().unwrap_or("local[*]"), conf, around.jobs)?))
}

/// An installed Spark and where its jobs run.
#[derive(Debug, Clone)]
pub struct SparkClient {
    home: PathBuf,
    master: String,
    conf: BTreeMap<String, String>,
    jobs: PathBuf,
    /// How far the log of events of each job was read.
    read: Arc<Mutex<BTreeMap<String, Events>>>,
}

impl SparkClient {
    /// `home` is Spark's folder, `master` where jobs run, `conf` settings (`spark.executor.memory`); `jobs` is where the folders of jobs are made.
    pub fn new(home: &Path, master: &str, conf: BTreeMap<String, String>, jobs: &Path) -> Result<Self> {
        let jobs = std::path::absolute(jobs).map_err(|error| Error::from(error).at(jobs.display().to_string()))?;
        Ok(Self { home: home.to_owned(), master: master.to_owned(), conf, jobs, read: Arc::default() })
    }

    fn folder(&self, job: &Job) -> PathBuf {
        self.jobs.join(job.id())
    }

    fn command(&self, job: &Submission, folder: &Path, program: &Path) -> Result<Command> {
        let mut conf = BTreeMap::from([
            ("spark.eventLog.enabled".to_owned(), "true".to_owned()),
            ("spark.eventLog.dir".to_owned(), format!("file://{}", folder.join("events").display())),
            // One file of plain lines, which can be read while it grows.
            ("spark.eventLog.rolling.enabled".to_owned(), "false".to_owned()),
            ("spark.eventLog.compress".to_owned(), "false".to_owned()),
            ("spark.ui.enabled".to_owned(), "false".to_owned()),
            ("spark.ui.showConsoleProgress".to_owned(), "false".to_owned()),
        ]);
        let local = self.master.starts_with("local");
        if local {
            conf.insert("spark.driver.host".into(), "127.0.0.1".into());
            conf.insert("spark.driver.bindAddress".into(), "127.0.0.1".into());
        }
        conf.extend(self.conf.iter().map(|(key, value)| (key.clone(), value.clone())));
        let mut command = Command::new("sh");
        command.args(["-c", SHELL, "weir-spark"]).arg(folder).arg(self.home.join("bin/spark-submit"));
        command.args(["--master", &self.master, "--name", &job.name]);
        for (key, value) in &conf {
            command.arg("--conf").arg(format!("{key}={value}"));
        }
        let installed = packages::Installed::of(&self.home, self.conf.get("spark.jars").map_or("", String::as_str));
        for file in job.files.iter().filter(|file| file.name.ends_with(".args")) {
            command.args(installed.arguments(&file.text));
        }
        command.arg(program);
        command.env_clear();
        let inherited = |name: &str| INHERITED.contains(&name) || name.starts_with("SPARK_") || name.starts_with("AWS_");
        command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(inherited)));
        command.env("SPARK_HOME", &self.home);
        if local {
            command.env("SPARK_LOCAL_IP", "127.0.0.1");
        }
        for (name, value) in &job.variables {
            weir_error::veil::remember(value.expose());
            command.env(name, value.expose());
        }
        Ok(command)
    }

    /// Asks the job's processes to end.
    fn stop(&self, job: &Job, meaning: &str) -> Result<()> {
        let folder = self.folder(job);
        if folder.join("exit").exists() {
            return Ok(());
        }
        write(&folder.join("stop"), meaning)?;
        let Some(pid) = alive(&folder) else { return Ok(()) };
        // SAFETY: kill takes two integers and touches no memory of ours. The group is the one that was made for this job.
        #[allow(unsafe_code)]
        let rc = unsafe { libc::kill(-pid, libc::SIGTERM) };
        match rc {
            0 => Ok(()),
            _ => match std::io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                error => Err(Error::from(error).at(format!("process group {pid}"))),
            },
        }
    }
}

#[async_trait]
impl EngineClient for SparkClient {
    fn engine(&self) -> &'static str {
        ENGINE
    }

    fn place(&self) -> String {
        format!("{} ({})", self.master, self.home.display())
    }

    async fn version(&self) -> Result<String> {
        let absent = |why: String| {
            Error::new("WEIR-LAUNCH-001", Kind::Connect, "there is no Spark")
                .at(self.home.display().to_string())
                .because(why)
                .hint("set SPARK_HOME, or `home` in the settings of the engine: docs/how-to/engines.md")
        };
        std::fs::read_dir(self.home.join("jars")).map_err(|error| absent(error.to_string()))?;
        let core = packages::Installed::of(&self.home, "").spark;
        core.ok_or_else(|| absent("its folder `jars` has no spark-core".into()))
    }

    async fn submit(&self, job: &Submission) -> Result<Job> {
        if !guard::current().is_open() {
            return Err(Error::new("WEIR-LAUNCH-024", Kind::Privilege, "the platform does not let pipelines start programs")
                .hint("jobs of Spark are submitted by `weir run --engine spark`"));
        }
        self.version().await?;
        let program = job.only(&["py"], "Spark")?.name.clone();
        let submitted = id(job);
        let folder = self.folder(&submitted);
        // Once: a folder that is there was submitted by somebody.
        std::fs::create_dir_all(folder.join("events")).map_err(|error| Error::from(error).at(folder.display().to_string()))?;
        for file in &job.files {
            write(&folder.join(&file.name), &file.text)?;
        }
        let mut command = self.command(job, &folder, &folder.join(&program))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir(&folder).process_group(0);
        let mut child = command.spawn().map_err(|error| Error::from(error).at("sh"))?;
        // Somebody must take note of its end, or it stays in the table of processes.
        std::thread::spawn(move || child.wait());
        Ok(submitted)
    }

    async fn find(&self, job: &Submission) -> Result<Option<Job>> {
        let submitted = id(job);
        Ok(self.folder(&submitted).join("pid").exists().then_some(submitted))
    }

    async fn look(&self, job: &Job) -> Result<Option<Look>> {
        let (folder, id, read) = (self.folder(job), job.id().to_owned(), self.read.clone());
        let looked = tokio::task::spawn_blocking(move || look(&folder, &id, &read)).await;
        looked.map_err(|error| Error::internal("a look at a job broke off").caused_by(error))?
    }

    async fn cancel(&self, job: &Job) -> Result<()> {
        self.stop(job, "cancelled")
    }

    async fn suspend(&self, job: &Job) -> Result<Savepoint> {
        self.stop(job, "suspended")?;
        Ok(Savepoint("the job's own checkpoint folder".into()))
    }

    async fn logs(&self, job: &Job) -> Result<Vec<String>> {
        let text = end_of_log(&self.folder(job))?;
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| (*line).to_owned()).collect())
    }
}

fn id(job: &Submission) -> Job {
    Job::one(format!("spark-{}", job.run_id))
}

fn look(folder: &Path, id: &str, read: &Mutex<BTreeMap<String, Events>>) -> Result<Option<Look>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    // Before the events: what was written until then counts.
    let (exit, running) = (std::fs::read_to_string(folder.join("exit")).ok(), alive(folder).is_some());
    let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
    let events = read.entry(id.to_owned()).or_default();
    events.read(&folder.join("events"))?;
    let stop = std::fs::read_to_string(folder.join("stop")).ok();
    let (state, word) = match (exit.as_deref().map(str::trim), stop.as_deref()) {
        (Some("0"), None) => (State::Finished, "exit code 0".to_owned()),
        (Some(_), Some("suspended")) => (State::Suspended, "stopped".to_owned()),
        (Some(_), Some(_)) => (State::Cancelled, "stopped".to_owned()),
        (Some(code), None) => (State::Failed, format!("exit code {code}")),
        (None, Some(_)) if running => (State::Stopping, "stopping".to_owned()),
        (None, None) if running && events.begun => (State::Running, "running".to_owned()),
        // The shell has not written its number yet, or Spark is not up.
        (None, None) if running || !folder.join("pid").exists() => (State::Waiting, "starting".to_owned()),
        (None, _) => (State::Failed, "gone".to_owned()),
    };
    let mut look = events.counted(Look::new(state, word));
    if state == State::Failed {
        look.error = Some(why(folder, exit.as_deref().map(str::trim), events)?);
    }
    Ok(Some(look))
}

fn why(folder: &Path, exit: Option<&str>, events: &Events) -> Result<String> {
    match exit {
        None => Ok("its processes are gone without an exit code: they were killed, or the machine was restarted".into()),
        Some("137") => Ok("its process was killed (signal 9): by hand, or because the machine had no memory left".into()),
        Some("143") => Ok("its process was told to end (signal 15), and not by this command".into()),
        Some(code) => {
            let log = end_of_log(folder)?;
            let of_log = if log.contains("Caused by: ") { Some(cause::first(&log)) } else { last_error(&log).map(cause::first) };
            Ok(of_log
                .or_else(|| events.failure.as_deref().map(cause::first))
                .unwrap_or_else(|| format!("exit code {code}; its log says nothing")))
        }
    }
}

/// The last line that names an error of Python or Java: `pyspark.errors…AnalysisException: …`.
fn last_error(log: &str) -> Option<&str> {
    let names =
        |line: &&str| line.split_once(": ").is_some_and(|(class, _)| class.ends_with("Error") || class.ends_with("Exception"));
    log.lines().rev().map(str::trim).find(names)
}

fn end_of_log(folder: &Path) -> Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let path = folder.join("log");
    let place = |error: std::io::Error| Error::from(error).at(path.display().to_string());
    let mut file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(place(error)),
    };
    let length = file.metadata().map_err(place)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES))).map_err(place)?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut bytes).map_err(place)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The number of the shell, if it is still that shell: numbers are given out again, so its command line must name the folder.
fn alive(folder: &Path) -> Option<i32> {
    let pid: i32 = std::fs::read_to_string(folder.join("pid")).ok()?.trim().parse().ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let named = line.split(|byte| *byte == 0).any(|word| word == folder.as_os_str().as_encoded_bytes());
    (pid > 1 && named).then_some(pid)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| Error::from(error).at(path.display().to_string()))
}

#[cfg(test)]
mod tests;
