//! The table of settings. Parsing, `weir config show` and docs/reference/config.md are all made from it.

use serde_json::Value;

use super::fields::{Default, Field, Hidden, Section, Values};
use super::shape::Shape;

const fn plain(
    key: &'static str,
    variables: &'static [&'static str],
    shape: Shape,
    default: Default,
    doc: &'static str,
) -> Field {
    Field { key, variables, flag: None, shape, default, hidden: Hidden::Nothing, doc }
}

const fn secret(key: &'static str, variables: &'static [&'static str], doc: &'static str) -> Field {
    Field { key, variables, flag: None, shape: Shape::Text(4096), default: Default::None, hidden: Hidden::All, doc }
}

const fn flagged(flag: &'static str, field: Field) -> Field {
    Field { flag: Some(flag), ..field }
}

const fn hidden(hidden: Hidden, field: Field) -> Field {
    Field { hidden, ..field }
}

fn is_set(values: &Values, key: &str) -> bool {
    values.get(key).is_some_and(|value| !value.is_null())
}

fn text<'v>(values: &'v Values, key: &str) -> Option<&'v str> {
    values.get(key).and_then(Value::as_str)
}

const WEB: Shape = Shape::Url(&["http", "https"]);

/// The table, in the order of the reference. A derived default may look at what stands above it.
pub static SECTIONS: &[Section] = &[
    Section {
        title: "Server",
        fields: &[
            flagged(
                "--dev",
                plain(
                    "environment",
                    &["WEIR_ENVIRONMENT"],
                    Shape::Word(&["production", "development"]),
                    Default::Text("production"),
                    "`development` (`--dev`): only a loopback address, no token needed, runs and webhooks may reach loopback and private addresses",
                ),
            ),
            flagged(
                "--listen",
                plain(
                    "listen",
                    &["WEIR_LISTEN"],
                    Shape::Address,
                    Default::Text("127.0.0.1:8080"),
                    "address of the API; port 0 takes a free one",
                ),
            ),
            flagged(
                "--data",
                plain(
                    "data_dir",
                    &["WEIR_DATA"],
                    Shape::Path,
                    Default::Text("weir-data"),
                    "folder of everything local: database, tenants' files and checkpoints, seal key, backups",
                ),
            ),
            hidden(
                Hidden::Login,
                plain(
                    "database_url",
                    &["DATABASE_URL"],
                    Shape::Url(&["sqlite", "postgres", "postgresql"]),
                    Default::Derived("`weir.db` in the data folder", |values| {
                        Some(Value::from(format!(
                            "sqlite:{}",
                            std::path::Path::new(text(values, "data_dir")?).join("weir.db").display()
                        )))
                    }),
                    "where jobs, runs and their history are kept: `sqlite:PATH` or `postgres://…`",
                ),
            ),
            flagged(
                "--files",
                hidden(
                    Hidden::Login,
                    plain(
                        "files",
                        &["WEIR_FILES"],
                        Shape::Url(&["s3"]),
                        Default::Derived("`tenants/TENANT/files` in the data folder", |_| None),
                        "bucket for tenants' files, `s3://BUCKET/PREFIX`: they are below `PREFIX/tenants/TENANT/files`",
                    ),
                ),
            ),
            hidden(
                Hidden::Login,
                plain(
                    "files_endpoint",
                    &["WEIR_FILES_ENDPOINT"],
                    WEB,
                    Default::None,
                    "its service; without it and without keys of its own that of MINIO_ENDPOINT, else AWS",
                ),
            ),
            plain("files_region", &["WEIR_FILES_REGION"], Shape::Text(64), Default::Text("us-east-1"), "its region"),
            plain(
                "files_access_key",
                &["WEIR_FILES_ACCESS_KEY"],
                Shape::Text(256),
                Default::None,
                "access key for it; without one MINIO_ACCESS_KEY and MINIO_SECRET_KEY",
            ),
            secret("files_secret_key", &["WEIR_FILES_SECRET_KEY"], "secret of that access key"),
            plain(
                "runner_id",
                &["RUNNER_ID"],
                Shape::Text(128),
                Default::Derived("host name and process id", |_| {
                    Some(Value::from(format!("{}-{}", host_name(), std::process::id())))
                }),
                "name of this process in leases, logs and `/health`",
            ),
            plain(
                "tenant_id",
                &["TENANT_ID"],
                Shape::Text(63),
                Default::Text("default"),
                "tenant of `--dev` and of requests to the runner's own API (`/jobs/execute`)",
            ),
            flagged(
                "--no-scheduler",
                plain(
                    "scheduler",
                    &["WEIR_SCHEDULER"],
                    Shape::Truth,
                    Default::Text("true"),
                    "whether this process starts jobs by their schedules",
                ),
            ),
            secret(
                "seal_key",
                &["WEIR_SEAL_KEY"],
                "key that seals stored secrets, 32 bytes in base64; several separated by commas: the first seals, all open. Without it: `seal.key` in the data folder",
            ),
        ],
    },
    Section {
        title: "Runs",
        fields: &[
            flagged(
                "--workers",
                plain(
                    "max_concurrent_jobs",
                    &["MAX_CONCURRENT_JOBS"],
                    Shape::Whole(0, 1024),
                    Default::Derived("the number of cores", |_| {
                        Some(Value::from(std::thread::available_parallelism().map_or(2, usize::from)))
                    }),
                    "runs at the same time in this process; 0 = none, for servers with separate workers",
                ),
            ),
            plain(
                "job_timeout_seconds",
                &["JOB_TIMEOUT_SECONDS"],
                Shape::Whole(1, 30 * 86_400),
                Default::Text("3600"),
                "time of a run unless its job says otherwise",
            ),
            plain(
                "run_memory",
                &["WEIR_RUN_MEMORY"],
                Shape::Size,
                Default::Text("1GiB"),
                "memory of a run's process unless the tenant's quota is smaller",
            ),
            plain(
                "drain_seconds",
                &["WEIR_DRAIN_SECONDS"],
                Shape::Whole(0, 3600),
                Default::Text("30"),
                "time that runs have for a last checkpoint when the process is told to stop",
            ),
            plain(
                "spec_root",
                &["WEIR_SPEC_ROOT"],
                Shape::Path,
                Default::Derived("`specs` in the data folder", |values| {
                    Some(Value::from(std::path::Path::new(text(values, "data_dir")?).join("specs").display().to_string()))
                }),
                "folder to which `spec_path` of `/jobs/execute` is confined",
            ),
            plain(
                "egress_allow",
                &["WEIR_EGRESS_ALLOW"],
                Shape::List,
                Default::Text(""),
                "hosts, `host:port` or CIDR blocks that runs, connection tests and webhooks may reach although they are private",
            ),
            plain(
                "supported_engines",
                &["WEIR_SUPPORTED_ENGINES"],
                Shape::List,
                Default::Text("native"),
                "engines that `weir runner info` names",
            ),
            plain("engine_configs", &[], Shape::Map, Default::Text("{}"), "settings of other engines, by engine"),
        ],
    },
    Section {
        title: "Vault",
        fields: &[
            hidden(
                Hidden::Login,
                plain("vault_address", &["VAULT_ADDRESS", "VAULT_ADDR"], WEB, Default::None, "address of Vault"),
            ),
            plain(
                "vault_enabled",
                &["VAULT_ENABLED"],
                Shape::Truth,
                Default::Derived("true when an address is set", |values| Some(Value::Bool(is_set(values, "vault_address")))),
                "whether `vault://…` references are read",
            ),
            flagged("--vault-token", secret("vault_token", &["VAULT_TOKEN"], "token for Vault")),
            plain(
                "vault_role_id",
                &["VAULT_ROLE_ID"],
                Shape::Text(256),
                Default::None,
                "AppRole to log in with, instead of a token",
            ),
            secret("vault_secret_id", &["VAULT_SECRET_ID"], "the AppRole's secret"),
            plain(
                "vault_namespace",
                &["VAULT_NAMESPACE"],
                Shape::Text(256),
                Default::None,
                "namespace, for servers that have several",
            ),
            plain(
                "vault_ca_cert",
                &["VAULT_CACERT"],
                Shape::Path,
                Default::None,
                "PEM file with the only authorities that are trusted for Vault",
            ),
        ],
    },
    Section {
        title: "Metrics, tracing, logs",
        fields: &[
            plain(
                "metrics_port",
                &["METRICS_PORT"],
                Shape::Whole(0, 65_535),
                Default::None,
                "port of a second listener for metrics alone; the API serves them as well",
            ),
            plain(
                "metrics_enabled",
                &["METRICS_ENABLED"],
                Shape::Truth,
                Default::Derived("true when a port is set", |values| Some(Value::Bool(is_set(values, "metrics_port")))),
                "whether there is the second listener; without a port: 9090",
            ),
            plain("metrics_path", &["METRICS_PATH"], Shape::Text(256), Default::Text("/metrics"), "path of the metrics"),
            hidden(
                Hidden::Login,
                plain(
                    "tracing_endpoint",
                    &["TRACING_ENDPOINT"],
                    Shape::Url(&["http", "https", "grpc", "grpcs"]),
                    Default::None,
                    "OTLP collector: `http://HOST:4318/v1/traces` or, over gRPC, `http://HOST:4317`. Jaeger's `http://HOST:14268/api/traces` is changed to OTLP on the same host",
                ),
            ),
            plain(
                "tracing_enabled",
                &["TRACING_ENABLED"],
                Shape::Truth,
                Default::Derived("true when an endpoint is set", |values| Some(Value::Bool(is_set(values, "tracing_endpoint")))),
                "whether spans are sent; without an endpoint: `http://localhost:4318/v1/traces`",
            ),
            plain(
                "tracing_service_name",
                &["TRACING_SERVICE_NAME"],
                Shape::Text(128),
                Default::Text("weir"),
                "`service.name` of the spans",
            ),
            plain(
                "log_level",
                &["LOG_LEVEL"],
                Shape::Word(&["error", "warn", "warning", "info", "debug", "trace"]),
                Default::Text("info"),
                "how much is logged (RUST_LOG, when set, says more exactly)",
            ),
            plain(
                "log_format",
                &["LOG_FORMAT"],
                Shape::Word(&["json", "text"]),
                Default::Derived("text on a terminal, else JSON", |_| {
                    Some(Value::from(if std::io::IsTerminal::is_terminal(&std::io::stderr()) { "text" } else { "json" }))
                }),
                "how log lines look",
            ),
        ],
    },
    Section {
        title: "Other systems",
        fields: &[
            hidden(
                Hidden::Login,
                plain(
                    "pulsar_url",
                    &["PULSAR_URL"],
                    Shape::Url(&["pulsar", "pulsar+ssl"]),
                    Default::None,
                    "broker that events go to and come from",
                ),
            ),
            plain(
                "ignite_hosts",
                &["IGNITE_HOSTS"],
                Shape::List,
                Default::Text(""),
                "`host:port` of Apache Ignite's REST endpoints: the store of metrics instead of the database",
            ),
            hidden(
                Hidden::All,
                plain("alert_webhook_url", &["ALERT_WEBHOOK_URL"], WEB, Default::None, "where alerts are posted"),
            ),
            secret(
                "alert_webhook_key",
                &["ALERT_WEBHOOK_KEY"],
                "key that signs what is posted there (header `X-Weir-Signature`)",
            ),
            hidden(
                Hidden::Login,
                plain(
                    "minio_endpoint",
                    &["MINIO_ENDPOINT"],
                    WEB,
                    Default::None,
                    "endpoint of `minio` and `s3` nodes that name neither endpoint nor keys, in pipelines of the tenant TENANT_ID only; \
                     unused where WEIR_FILES is reached with the same access key",
                ),
            ),
            plain("minio_access_key", &["MINIO_ACCESS_KEY"], Shape::Text(256), Default::None, "their access key"),
            secret("minio_secret_key", &["MINIO_SECRET_KEY"], "their secret key"),
            plain(
                "kubernetes_namespace",
                &["KUBERNETES_NAMESPACE"],
                Shape::Text(63),
                Default::None,
                "namespace for runs as Kubernetes jobs of the tenant TENANT_ID; those of another tenant are in `NAMESPACE-TENANT`",
            ),
            plain(
                "kubernetes_enabled",
                &["KUBERNETES_ENABLED"],
                Shape::Truth,
                Default::Derived("true when a namespace is set", |values| {
                    Some(Value::Bool(is_set(values, "kubernetes_namespace")))
                }),
                "whether runs may be Kubernetes jobs; without a namespace: `default`",
            ),
            plain(
                "placement",
                &["WEIR_PLACEMENT"],
                Shape::Word(&["process", "kubernetes"]),
                Default::Text("process"),
                "where runs go whose pipeline has no `placement`",
            ),
            plain(
                "kubernetes_kubeconfig",
                &["KUBERNETES_KUBECONFIG"],
                Shape::Path,
                Default::None,
                "kubeconfig of the cluster; without it the one that this process runs in",
            ),
            plain(
                "kubernetes_context",
                &["KUBERNETES_CONTEXT"],
                Shape::Text(256),
                Default::None,
                "context of that file; without it its current one",
            ),
            plain(
                "kubernetes_image",
                &["KUBERNETES_IMAGE"],
                Shape::Text(512),
                Default::None,
                "container image with `weir` in its path",
            ),
            plain(
                "kubernetes_volume_claim",
                &["KUBERNETES_VOLUME_CLAIM"],
                Shape::Text(253),
                Default::None,
                "claim, in the namespace of each tenant, of the volume that the data folder is on",
            ),
            plain("kubernetes_cpu", &["KUBERNETES_CPU"], Shape::Text(16), Default::Text("1"), "CPU of a run: `2`, `500m`"),
            plain(
                "kubernetes_pending_seconds",
                &["KUBERNETES_PENDING_SECONDS"],
                Shape::Whole(1, 86_400),
                Default::Text("300"),
                "how long a run may wait for a place and its image",
            ),
            plain(
                "kubernetes_ttl_seconds",
                &["KUBERNETES_TTL_SECONDS"],
                Shape::Whole(0, 30 * 86_400),
                Default::Text("3600"),
                "how long a Kubernetes job stays after its end",
            ),
            plain(
                "airflow_enabled",
                &["AIRFLOW_ENABLED"],
                Shape::Truth,
                Default::Text("false"),
                "whether the Airflow endpoints answer",
            ),
        ],
    },
    Section {
        title: "Sign-in with OpenID Connect",
        fields: &[
            plain(
                "oidc_issuer",
                &["OIDC_ISSUER"],
                WEB,
                Default::None,
                "issuer whose tokens are taken; https, except on this machine",
            ),
            plain("oidc_audience", &["OIDC_AUDIENCE"], Shape::Text(256), Default::None, "audience that its tokens must name"),
            plain(
                "oidc_algorithms",
                &["OIDC_ALGORITHMS"],
                Shape::List,
                Default::Text("RS256,ES256"),
                "signature algorithms that are taken; asymmetric ones only",
            ),
            plain(
                "oidc_tenant_claim",
                &["OIDC_TENANT_CLAIM"],
                Shape::Text(128),
                Default::Text("tenant"),
                "claim with the tenant's id; dots go into objects",
            ),
            plain(
                "oidc_role_claim",
                &["OIDC_ROLE_CLAIM"],
                Shape::Text(128),
                Default::Text("role"),
                "claim with the role, a text or a list; never above `admin`",
            ),
        ],
    },
    Section {
        title: "Estimated cost",
        fields: &[
            plain("cost_core_hour", &["WEIR_COST_CORE_HOUR"], Shape::Amount, Default::Text("0.04"), "USD per core and hour"),
            plain(
                "cost_gib_hour",
                &["WEIR_COST_GIB_HOUR"],
                Shape::Amount,
                Default::Text("0.005"),
                "USD per GiB of memory and hour",
            ),
            plain(
                "cost_gib_moved",
                &["WEIR_COST_GIB_MOVED"],
                Shape::Amount,
                Default::Text("0.01"),
                "USD per GiB read or written",
            ),
        ],
    },
];

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let name = name.unwrap_or_default();
    let clean: String = name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).take(63).collect();
    if clean.is_empty() { "weir".into() } else { clean }
}
