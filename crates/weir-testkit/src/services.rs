//! Servers that stay: for `cargo xtask service start`, to try things by hand. Tests use [`crate::PostgresServer`] and
//! [`crate::Minio`]. Their data go when they are stopped.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cache::FileLock;
use crate::mysql::{self, Flavor};
use crate::postgres::{self, Version};
use crate::{
    connect, flink, ignite, kafka, kubernetes, minio, mqtt, nats, otel_collector, process, pulsar, rabbitmq, redis,
    schema_registry, seatunnel, spark, vault,
};

/// What can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The system's PostgreSQL.
    Postgres,
    /// PostgreSQL 18.
    Postgres18,
    /// The system's MariaDB.
    Mariadb,
    /// MySQL 8.0.
    Mysql,
    /// MinIO.
    Minio,
    /// Apache Kafka.
    Kafka,
    /// A schema registry.
    SchemaRegistry,
    /// Apache Pulsar.
    Pulsar,
    /// RabbitMQ.
    Rabbitmq,
    /// Redis.
    Redis,
    /// NATS with JetStream.
    Nats,
    /// Mosquitto, a broker of MQTT.
    Mosquitto,
    /// Apache Ignite.
    Ignite,
    /// HashiCorp Vault.
    Vault,
    /// The OpenTelemetry collector.
    OtelCollector,
    /// Apache Flink's SQL gateway, for `crates/weir/tests/flink/goldens.py`.
    Flink,
    /// Apache Flink's session cluster: JobManager, TaskManager, SQL gateway.
    FlinkCluster,
    /// Apache SeaTunnel, one node of Zeta.
    Seatunnel,
    /// Apache Spark, a program and no server.
    Spark,
    /// Kafka Connect with a broker of its own.
    KafkaConnect,
    /// Kubernetes without nodes: etcd, API server, controller manager.
    Kubernetes,
}

/// One that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// What a client needs, in words.
    pub address: String,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Postgres,
        Self::Postgres18,
        Self::Mariadb,
        Self::Mysql,
        Self::Minio,
        Self::Kafka,
        Self::SchemaRegistry,
        Self::Pulsar,
        Self::Rabbitmq,
        Self::Redis,
        Self::Nats,
        Self::Mosquitto,
        Self::Ignite,
        Self::Vault,
        Self::OtelCollector,
        Self::Flink,
        Self::FlinkCluster,
        Self::Seatunnel,
        Self::Spark,
        Self::KafkaConnect,
        Self::Kubernetes,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Postgres18 => "postgres18",
            Self::Mariadb => "mariadb",
            Self::Mysql => "mysql",
            Self::Minio => "minio",
            Self::Kafka => "kafka",
            Self::SchemaRegistry => "schema-registry",
            Self::Pulsar => "pulsar",
            Self::Rabbitmq => "rabbitmq",
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::Mosquitto => "mosquitto",
            Self::Ignite => "ignite",
            Self::Vault => "vault",
            Self::OtelCollector => "otel-collector",
            Self::Flink => "flink",
            Self::FlinkCluster => "flink-cluster",
            Self::Seatunnel => "seatunnel",
            Self::Spark => "spark",
            Self::KafkaConnect => "kafka-connect",
            Self::Kubernetes => "kubernetes",
        }
    }

    /// Gets its program ready, downloading or building it when missing; says where it is.
    pub fn install(self) -> Result<PathBuf> {
        match self {
            Self::Postgres => postgres::install::bin_dir(Version::System),
            Self::Postgres18 => postgres::install::bin_dir(Version::V18),
            Self::Mariadb => mysql::install::programs(Flavor::MariaDb).map(|programs| programs.server),
            Self::Mysql => mysql::install::programs(Flavor::MySql).map(|programs| programs.server),
            Self::Minio => minio::install::binary(),
            Self::Kafka => kafka::install::jars(),
            Self::SchemaRegistry => schema_registry::install::jar(),
            Self::Pulsar => pulsar::install::home(),
            Self::Rabbitmq => rabbitmq::binary(),
            Self::Redis => redis::binary(),
            Self::Nats => nats::binary(),
            Self::Mosquitto => mqtt::binary(),
            Self::Ignite => ignite::install::home(),
            Self::Vault => vault::install::binary(),
            Self::OtelCollector => otel_collector::install::binary(),
            Self::Flink => flink::install::jars(),
            Self::FlinkCluster => flink::install::jars().and_then(|_| flink::install::connectors()),
            Self::Seatunnel => seatunnel::install::home(),
            Self::Spark => spark::install::home(),
            Self::KafkaConnect => kafka::install::jars().and_then(|_| connect::install::plugins()),
            Self::Kubernetes => kubernetes::install::etcd().and_then(|_| kubernetes::install::programs()),
        }
    }

    /// Starts it, or gives the one that runs.
    pub fn start(self) -> Result<Running> {
        let _lock = self.lock()?;
        if let Some(running) = self.running()? {
            return Ok(running);
        }
        let home = self.home();
        if home.is_dir() {
            fs::remove_dir_all(&home)?;
        }
        fs::create_dir_all(&home)?;
        fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let (pid, address) = match self {
            Self::Postgres => postgres::start_detached(Version::System, &home)?,
            Self::Postgres18 => postgres::start_detached(Version::V18, &home)?,
            Self::Mariadb => mysql::start_detached(Flavor::MariaDb, &home)?,
            Self::Mysql => mysql::start_detached(Flavor::MySql, &home)?,
            Self::Minio => minio::start_detached(&home)?,
            Self::Kafka => kafka::start_detached(&home)?,
            Self::SchemaRegistry => schema_registry::start_detached(&home)?,
            Self::Pulsar => pulsar::start_detached(&home)?,
            Self::Rabbitmq => rabbitmq::start_detached(&home)?,
            Self::Redis => redis::start_detached(&home)?,
            Self::Nats => nats::start_detached(&home)?,
            Self::Mosquitto => mqtt::start_detached(&home)?,
            Self::Ignite => ignite::start_detached(&home)?,
            Self::Vault => vault::start_detached(&home)?,
            Self::OtelCollector => otel_collector::start_detached(&home)?,
            Self::Flink => flink::start_detached(&home)?,
            Self::FlinkCluster => flink::start_cluster_detached(&home)?,
            Self::Seatunnel => seatunnel::start_detached(&home)?,
            Self::Spark => bail!(
                "Spark is no server: each job is a process of `spark-submit` (SPARK_HOME={})",
                spark::install::home()?.display()
            ),
            Self::KafkaConnect => connect::start_detached(&home)?,
            Self::Kubernetes => kubernetes::start_detached(&home)?,
        };
        let running = Running { pid, address };
        fs::write(home.join("service.json"), serde_json::to_string(&running)?)?;
        Ok(running)
    }

    /// Stops it and throws its data away; false when it did not run.
    pub fn stop(self) -> Result<bool> {
        let _lock = self.lock()?;
        let Some(running) = self.running()? else { return Ok(false) };
        process::signal(
            running.pid,
            if matches!(self, Self::Postgres | Self::Postgres18) { libc::SIGINT } else { libc::SIGTERM },
        )?;
        if crate::wait_until("it has stopped", Duration::from_secs(20), || !process::is_alive(running.pid)).is_err() {
            bail!("{} (process {}) does not stop", self.name(), running.pid);
        }
        fs::remove_dir_all(self.home()).context("cannot remove its data")?;
        Ok(true)
    }

    /// The one that runs, if any.
    pub fn running(self) -> Result<Option<Running>> {
        let Ok(text) = fs::read_to_string(self.home().join("service.json")) else { return Ok(None) };
        let running: Running = serde_json::from_str(&text)?;
        Ok(process::is_alive(running.pid).then_some(running))
    }

    fn home(self) -> PathBuf {
        std::env::temp_dir().join(format!("weir-service-{}", self.name()))
    }

    fn lock(self) -> Result<FileLock> {
        FileLock::acquire(&self.home().with_extension("lock"))
    }
}
