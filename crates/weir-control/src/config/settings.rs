//! The settings in effect, plain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;
use weir_error::Secret;

use crate::files::FileBucket;

/// Whom the process trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// `--dev`: loopback only, no token needed (the caller is the platform-admin), egress to loopback and private addresses allowed.
    Development,
    /// Everything else.
    Production,
}

/// `LOG_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// How Vault is asked.
#[derive(Debug, Clone)]
pub enum VaultAuth {
    /// `VAULT_TOKEN`.
    Token(Secret),
    /// `VAULT_ROLE_ID` and `VAULT_SECRET_ID`.
    AppRole {
        /// The role.
        role_id: String,
        /// Its secret.
        secret_id: Secret,
    },
}

/// The settings in effect. Which variable, key and flag sets each: `fields.rs`, `weir config show`, docs/reference/config.md.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Development or production.
    pub environment: Environment,
    /// The API's address. Default 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// `METRICS_ENABLED`, `METRICS_PORT`: a second listener for `/metrics` alone.
    pub metrics_listen: Option<SocketAddr>,
    /// `METRICS_PATH`. Default `/metrics`.
    pub metrics_path: String,
    /// `DATABASE_URL`: `sqlite:PATH` (default: `weir.db` in the data folder) or `postgres://…`.
    pub database_url: Secret,
    /// Everything local: `weir.db`, `tenants/<tenant>/{files,state}`, `seal.key`, `backups`. Default `./weir-data`.
    pub data_dir: PathBuf,
    /// `RUNNER_ID`. Default: the host's name and the process id.
    pub runner_id: String,
    /// `TENANT_ID`: the tenant of requests to the API of seed 001 and of `--dev`. Default `default`.
    pub tenant_id: String,
    /// `--no-scheduler`: whether this process starts jobs by their schedules. Default true.
    pub scheduler: bool,
    /// `WEIR_SEAL_KEY`: keys that seal stored secrets, separated by commas. Default: `seal.key` in the data folder.
    pub seal_key: Option<Secret>,
    /// `MAX_CONCURRENT_JOBS`: runs at the same time in this process; 0 = none (`weir serve` with separate workers). Default: the cores.
    pub max_concurrent_jobs: usize,
    /// `JOB_TIMEOUT_SECONDS`. Default 3600.
    pub job_timeout_secs: u64,
    /// Memory of a run's process unless the tenant's quota is smaller. Default 1 GiB.
    pub run_memory_bytes: u64,
    /// Seconds that runs have for a last checkpoint when the process is told to stop. Default 30.
    pub drain_secs: u64,
    /// Folder that `spec_path` of `/jobs/execute` is confined to. Default `specs` in the data folder.
    pub spec_root: PathBuf,
    /// `VAULT_ENABLED`, `VAULT_ADDRESS`, and one of the ways to log in.
    pub vault: Option<(String, VaultAuth)>,
    /// `VAULT_NAMESPACE`.
    pub vault_namespace: Option<String>,
    /// `VAULT_CACERT`: a PEM file; only its authorities are trusted for Vault then.
    pub vault_ca_cert: Option<PathBuf>,
    /// `KUBERNETES_ENABLED` and the other `KUBERNETES_…`: the cluster that runs may go to.
    pub kubernetes: Option<KubernetesSettings>,
    /// `TRACING_ENABLED`, `TRACING_ENDPOINT`: an OTLP collector, as [`super::OtlpEndpoint::parse`] reads it.
    pub tracing_endpoint: Option<String>,
    /// `TRACING_SERVICE_NAME`. Default `weir`.
    pub tracing_service_name: String,
    /// `LOG_LEVEL`. Default `info`.
    pub log_level: String,
    /// `LOG_FORMAT`. Default: JSON, on a terminal text.
    pub log_format: LogFormat,
    /// `PULSAR_URL`.
    pub pulsar_url: Option<String>,
    /// `IGNITE_HOSTS`: REST endpoints of the metrics store.
    pub ignite_hosts: Vec<String>,
    /// `ALERT_WEBHOOK_URL`.
    pub alert_webhook_url: Option<String>,
    /// `ALERT_WEBHOOK_KEY`: signs what is posted there.
    pub alert_webhook_key: Option<Secret>,
    /// `MINIO_ENDPOINT`, `MINIO_ACCESS_KEY`, `MINIO_SECRET_KEY`: see [`Settings::object_store_of`].
    pub minio: Option<(String, String, Secret)>,
    /// `WEIR_FILES`, `--files`, and the other `WEIR_FILES_…`: the bucket that holds tenants' files. Default: they are in the data folder.
    pub files: Option<FileBucket>,
    /// `AIRFLOW_ENABLED`.
    pub airflow_enabled: bool,
    /// The OIDC issuer whose tokens are taken.
    pub oidc: Option<OidcSettings>,
    /// Hosts, `host:port` or CIDR blocks that tenants' runs, webhooks and tests may reach although they are private.
    pub egress_allow: Vec<String>,
    /// `supported_engines` of seed 001's file. Default `["native"]`.
    pub supported_engines: Vec<String>,
    /// `engine_configs` of seed 001's file, by engine.
    pub engine_configs: BTreeMap<String, Value>,
    /// USD per hour of a core, per GiB-hour of memory, per GiB read or written; for the estimated cost of a run.
    pub cost: CostSettings,
}

/// The cluster that runs may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesSettings {
    /// `KUBERNETES_NAMESPACE`: of the runs of the tenant TENANT_ID; those of another one are in `NAMESPACE-TENANT`. Default `default`.
    pub namespace: String,
    /// `WEIR_PLACEMENT`: whether runs go there whose pipeline does not say. Default false (`process`).
    pub by_default: bool,
    /// `KUBERNETES_KUBECONFIG`: where the cluster is. Default: the one that this process runs in.
    pub kubeconfig: Option<PathBuf>,
    /// `KUBERNETES_CONTEXT`: of that file. Default: its current one.
    pub context: Option<String>,
    /// `KUBERNETES_IMAGE`: the container image of runs. Without it no run can go there.
    pub image: Option<String>,
    /// `KUBERNETES_VOLUME_CLAIM`: the claim, in the namespace of each tenant, of the volume that the data folder is on. Without it no run can go
    /// there.
    pub volume_claim: Option<String>,
    /// `KUBERNETES_CPU`: of a run, as Kubernetes writes it. Default `1`.
    pub cpu: String,
    /// `KUBERNETES_PENDING_SECONDS`: how long a Pod may wait for a place and its image. Default 300.
    pub pending_secs: u64,
    /// `KUBERNETES_TTL_SECONDS`: how long a Job stays after its end. Default 3600.
    pub ttl_secs: u64,
}

impl Settings {
    /// What a process has when nothing but its data folder is set.
    pub fn defaults(data_dir: &std::path::Path) -> weir_error::Result<Self> {
        let inputs = super::Inputs::default().flag("data_dir", "--data", Some(data_dir.display().to_string()));
        Ok(super::load(&inputs)?.settings)
    }

    /// Address and keys for `minio` and `s3` nodes of a tenant's pipelines that name neither. They are the platform's, so they are for the
    /// tenant of the platform itself (`tenant_id`) and for no other; and for nobody where the bucket of all tenants' files is reached with
    /// the same key, because a pipeline could name that bucket.
    pub fn object_store_of(&self, tenant: &str) -> Option<&(String, String, Secret)> {
        let (_, key, _) = self.minio.as_ref()?;
        let reaches_files = self.files.as_ref().is_some_and(|files| files.access_key == *key);
        self.minio.as_ref().filter(|_| tenant == self.tenant_id && !reaches_files)
    }
}

/// `OIDC_*`.
#[derive(Debug, Clone)]
pub struct OidcSettings {
    /// `OIDC_ISSUER`; its `/.well-known/openid-configuration` names the keys.
    pub issuer: String,
    /// `OIDC_AUDIENCE`.
    pub audience: String,
    /// `OIDC_ALGORITHMS`; asymmetric ones only. Default RS256, ES256.
    pub algorithms: Vec<String>,
    /// `OIDC_TENANT_CLAIM`. Default `tenant`.
    pub tenant_claim: String,
    /// `OIDC_ROLE_CLAIM`. Default `role`; a role above `admin` is never taken from a token.
    pub role_claim: String,
}

/// What things cost, in USD.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostSettings {
    /// Per core and hour. Default 0.04.
    pub core_hour: f64,
    /// Per GiB of memory and hour. Default 0.005.
    pub gib_hour: f64,
    /// Per GiB moved. Default 0.01.
    pub gib_moved: f64,
}
