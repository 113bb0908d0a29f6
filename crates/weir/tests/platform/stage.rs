//! A platform in a folder of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use weir_control::Platform;
use weir_control::config::Settings;
use weir_control::runs::RunService;
use weir_control::workbench::{Checked, Workbench};
use weir_control::worker::{Observer, Pool};
use weir_store::model::{Job, LogLine, NewJob, NewRun, RetryPolicy, Run, RunId, Trigger};
use weir_store::{Actor, TenantScope, TenantStore};

/// The built program; `WEIR_BIN` names another.
pub fn weir() -> PathBuf {
    std::env::var_os("WEIR_BIN").map_or_else(|| env!("CARGO_BIN_EXE_weir").into(), PathBuf::from)
}

/// Nothing here takes so long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(90);

/// Jobs are put into the database as they are: nobody asks it.
pub struct Unasked;

impl Workbench for Unasked {
    fn check(&self, _: &str, _: &str, _: &[(String, String)]) -> Checked {
        Checked::default()
    }
    fn connectors(&self) -> Value {
        Value::Null
    }
    fn secret_options(&self, _: &str) -> Option<BTreeSet<String>> {
        None
    }
    fn check_connection(&self, _: &str, _: &Value) -> Vec<String> {
        Vec::new()
    }
}

/// A platform with the tenant `default`.
pub struct Stage {
    pub folder: tempfile::TempDir,
    pub platform: Platform,
    pub scope: TenantScope,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With other settings.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let platform = open(folder.path(), change).await;
        platform.store.system().bootstrap("Default", &"0".repeat(64), "weir_test").await.unwrap();
        let scope = TenantScope::granted("default".into(), Actor::system("test"));
        Self { folder, platform, scope }
    }

    /// The same database through another process's eyes.
    pub async fn another(&self, change: impl FnOnce(&mut Settings)) -> Platform {
        open(self.folder.path(), change).await
    }

    pub fn store(&self) -> TenantStore {
        self.platform.store.tenant(&self.scope)
    }

    pub fn runs(&self) -> RunService<'_> {
        RunService::new(&self.platform, &self.scope)
    }

    /// The tenant's files.
    pub fn files(&self) -> PathBuf {
        let files = self.folder.path().join("tenants/default/files");
        std::fs::create_dir_all(&files).unwrap();
        files
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.files().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// A job as it would be stored.
    pub fn new_job(name: &str, spec: &str) -> NewJob {
        NewJob {
            name: name.into(),
            description: None,
            spec: spec.into(),
            mode: "batch".into(),
            source_kinds: vec!["file".into()],
            sink_kinds: vec!["file".into()],
            connections: Vec::new(),
            schedule: None,
            depends_on: Vec::new(),
            retry: RetryPolicy { max_attempts: 2, backoff_secs: 0, max_backoff_secs: 0 },
            timeout_secs: None,
            labels: BTreeMap::new(),
        }
    }

    pub async fn job(&self, job: NewJob) -> Job {
        self.store().create_job(job, Vec::new()).await.unwrap()
    }

    /// A run of a new job.
    pub async fn run(&self, job: NewJob) -> Run {
        let job = self.job(job).await;
        self.run_of(&job).await
    }

    pub async fn run_of(&self, job: &Job) -> Run {
        let run = NewRun { job_id: job.id.clone(), trigger: Trigger::Manual, not_before: Utc::now() };
        self.store().create_run(run).await.unwrap()
    }

    /// A worker pool of this process.
    pub fn work(&self) -> Working {
        Working::of(Pool::new(self.platform.clone()))
    }

    pub fn work_with(&self, observer: Arc<dyn Observer>) -> Working {
        Working::of(Pool::new(self.platform.clone()).with_observer(observer))
    }

    pub async fn state(&self, run: &RunId) -> Run {
        self.store().run(run).await.unwrap()
    }

    pub async fn log(&self, run: &RunId) -> Vec<LogLine> {
        self.store().logs(run, 0, 1000).await.unwrap()
    }

    /// Waits until the run is as wanted.
    pub async fn until(&self, run: &RunId, what: &str, wanted: impl Fn(&Run) -> bool) -> Run {
        let begin = Instant::now();
        loop {
            let state = self.state(run).await;
            if wanted(&state) {
                return state;
            }
            if begin.elapsed() > PATIENCE {
                let log: Vec<_> = self.log(run).await.into_iter().map(|line| line.message).collect();
                panic!("the run is not {what}: {state:#?}\nlog: {log:#?}");
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    pub async fn ended(&self, run: &RunId) -> Run {
        self.until(run, "at its end", |run| run.status.is_final()).await
    }

    /// Waits for a line of the run's log.
    pub async fn logged(&self, run: &RunId, text: &str) -> LogLine {
        let begin = Instant::now();
        loop {
            let lines = self.log(run).await;
            if let Some(line) = lines.iter().find(|line| line.message.contains(text)) {
                return line.clone();
            }
            assert!(begin.elapsed() < PATIENCE, "nothing says {text:?}: {lines:#?} {:#?}", self.state(run).await);
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// The ids in the NDJSON files below a folder of the tenant, sorted.
    pub fn ids(&self, folder: &str) -> Vec<u64> {
        ids(&self.files().join(folder))
    }
}

async fn open(folder: &Path, change: impl FnOnce(&mut Settings)) -> Platform {
    let mut settings = Settings::defaults(folder).unwrap();
    settings.max_concurrent_jobs = 2;
    settings.egress_allow = vec!["127.0.0.1".into()];
    change(&mut settings);
    Platform::open(settings, Arc::new(Unasked)).await.unwrap().with_program(weir()).unwrap()
}

/// A pool at work.
pub struct Working {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Working {
    pub fn of(pool: Pool) -> Self {
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(pool.run(stop.clone())), stop }
    }

    /// Drains.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// `id,name` lines.
pub fn csv(rows: std::ops::Range<u64>) -> String {
    let lines = rows.map(|id| format!("{id},name {id}\n"));
    std::iter::once("id,name\n".to_string()).chain(lines).collect()
}

/// CSV → NDJSON.
pub fn copy(from: &str, to: &str, mode: &str) -> String {
    format!(
        "pipeline: copy\ncheckpoint_interval_ms: 100\nsource:\n  file: {{path: {from}}}\n\
         sink:\n  file: {{path: {to}, format: ndjson, write_mode: {mode}}}\n"
    )
}

/// Ids in what a reader by glob would see.
pub fn ids(folder: &Path) -> Vec<u64> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(['.', '_']) {
                continue;
            }
            if entry.path().is_dir() {
                open.push(entry.path());
                continue;
            }
            found.extend(ids_in(&std::fs::read_to_string(entry.path()).unwrap()));
        }
    }
    found.sort_unstable();
    found
}

/// Ids in NDJSON lines.
pub fn ids_in(text: &str) -> Vec<u64> {
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap()).collect()
}

/// The process of the run, as `/proc` lists it: a child of this one with the argument `execute`.
pub fn children() -> Vec<u32> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1).map(str::to_owned));
        if line.ends_with(b"execute\0") && parent.as_deref() == Some(own.as_str()) {
            found.push(pid);
        }
    }
    found
}
