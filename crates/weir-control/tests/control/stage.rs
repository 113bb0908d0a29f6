//! A platform over a fresh SQLite file, and runs that nobody had to execute.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use serde_json::{Value, json};
use weir_control::Platform;
use weir_control::config::Settings;
use weir_control::monitoring::collector::Collector;
use weir_control::workbench::{Checked, Workbench};
use weir_store::model::{Job, JobId, NewJob, NewRule, NewRun, Outcome, Quotas, Run, RunStatus, StreamCounts, TenantId, Trigger};
use weir_store::{Actor, TenantScope};

pub struct Stage {
    pub platform: Platform,
    /// Kept for its life: the database is in it.
    _dir: tempfile::TempDir,
    _database: Option<weir_testkit::Database>,
}

struct NoBench;

impl Workbench for NoBench {
    fn check(&self, _: &str, _: &str, _: &[(String, String)]) -> Checked {
        Checked::default()
    }
    fn connectors(&self) -> Value {
        json!([])
    }
    fn secret_options(&self, _: &str) -> Option<BTreeSet<String>> {
        None
    }
    fn check_connection(&self, _: &str, _: &Value) -> Vec<String> {
        Vec::new()
    }
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// The same on SQLite and on PostgreSQL, for what depends on locking.
    pub async fn both() -> [Self; 2] {
        let database = weir_testkit::PostgresServer::shared().unwrap().create_database().unwrap();
        let url = weir_error::Secret::new(database.url());
        let mut stage = Self::with(|settings| settings.database_url = url).await;
        stage._database = Some(database);
        [Self::new().await, stage]
    }

    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::defaults(dir.path()).unwrap();
        settings.egress_allow = vec!["127.0.0.1".into()];
        change(&mut settings);
        let platform = Platform::open(settings, Arc::new(NoBench)).await.unwrap();
        let stage = Self { platform, _dir: dir, _database: None };
        for tenant in ["acme", "other"] {
            stage.create_tenant(tenant).await;
        }
        stage
    }

    pub async fn create_tenant(&self, id: &str) {
        let system = self.platform.store.system();
        system.create_tenant(&Actor::system("test"), &TenantId::from(id), id, Quotas::default()).await.unwrap();
    }

    pub fn scope(&self, tenant: &str) -> TenantScope {
        TenantScope::granted(tenant.into(), Actor::system("test"))
    }

    pub fn store(&self, tenant: &str) -> weir_store::TenantStore {
        self.platform.store.tenant(&self.scope(tenant))
    }

    /// A job from an HTTP source to Iceberg.
    pub async fn job(&self, tenant: &str, name: &str, rules: Vec<NewRule>) -> Job {
        let job = NewJob {
            name: name.into(),
            description: None,
            spec: "name: x".into(),
            mode: "batch".into(),
            source_kinds: vec!["http".into()],
            sink_kinds: vec!["iceberg".into()],
            connections: Vec::new(),
            schedule: None,
            depends_on: Vec::new(),
            retry: Default::default(),
            timeout_secs: None,
            labels: BTreeMap::new(),
        };
        self.store(tenant).create_job(job, rules).await.unwrap()
    }

    /// A run of the job that ended so, with these rows written and set aside.
    pub async fn ran(&self, job: &Job, status: RunStatus, written: u64, dead: u64) -> Run {
        self.ran_with(job, status, written, dead, None).await
    }

    pub async fn ran_with(&self, job: &Job, status: RunStatus, written: u64, dead: u64, report: Option<Value>) -> Run {
        let tenant = job.tenant_id.as_str();
        self.request(tenant, &job.id).await;
        let system = self.platform.store.system();
        let claimed = system.claim_run(&self.platform.settings.runner_id, Duration::from_secs(60)).await.unwrap().unwrap();
        assert_eq!(claimed.run.job_id, job.id, "another run was waiting");
        let outcome = Outcome {
            status,
            retry_at: None,
            streams: vec![StreamCounts {
                name: "s".into(),
                rows_read: written + dead,
                rows_written: written,
                rows_dead: dead,
                bytes_written: written * 10,
                ..StreamCounts::default()
            }],
            report,
            error: (status == RunStatus::Failed)
                .then(|| json!({"code": "WEIR-WORKER-022", "kind": "limit", "message": "too slow"})),
            resources: Some(json!({"cpu_seconds": 3600.0, "memory_peak_bytes": 1000, "wall_seconds": 45.2})),
        };
        system.finish(&claimed.lease, outcome).await.unwrap()
    }

    pub async fn request(&self, tenant: &str, job: &JobId) -> Run {
        let new = NewRun { job_id: job.clone(), trigger: Trigger::Manual, not_before: Utc::now() };
        self.store(tenant).create_run(new).await.unwrap()
    }

    /// Lets the ends of all runs become points and totals.
    pub async fn collect(&self) {
        let mut collector = Collector::new(self.platform.clone());
        while collector.take_ended().await.unwrap() > 0 {}
    }
}

pub fn rule(metric: &str, threshold: f64, window_secs: u32) -> NewRule {
    NewRule { metric: metric.into(), threshold, window_secs, severity: "warning".into(), action: "webhook".into() }
}
