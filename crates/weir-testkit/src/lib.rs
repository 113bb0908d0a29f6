//! (dev) Real servers, faults, seeds and oracles for tests.
//!
//! | want | take |
//! | --- | --- |
//! | PostgreSQL | [`PostgresServer::shared`], then [`PostgresServer::create_database`]; one to kill: [`PostgresServer::start`] |
//! | MariaDB, MySQL | [`MysqlServer::shared`] ([`mysql::Flavor`]), then [`MysqlServer::create_database`] |
//! | S3 | [`Minio::shared`], then [`Minio::create_bucket`] |
//! | Apache Kafka, Apache Pulsar, Apache Ignite | [`Kafka::shared`], [`Pulsar::shared`], [`Ignite::shared`] |
//! | RabbitMQ, Redis | [`Rabbitmq::shared`], then [`Rabbitmq::create_virtual_host`]; [`Redis::shared`] |
//! | NATS with JetStream, Mosquitto (MQTT) | [`Nats::shared`], [`Mosquitto::shared`]; ones to kill: [`Nats::start`], [`Mosquitto::start`] |
//! | Flink, SeaTunnel, Kafka Connect, Spark; one of them at a time | [`FlinkCluster::start`], [`SeaTunnel::start`], [`KafkaConnect::start`], [`Spark::take`] |
//! | Kubernetes, and a node that runs Pods as processes | [`KubernetesCluster::shared`], [`kubernetes::Kubelet::start`] |
//! | HashiCorp Vault | [`VaultServer::shared`] |
//! | an OpenTelemetry collector | [`OtelCollector::start`] |
//! | an HTTP API | [`HttpFixture::start`] |
//! | a network that breaks | [`FaultProxy::to`] |
//! | rows | [`seeds`] |
//! | `kill -9` at random moments | [`crash`] |
//! | "exactly the same rows" | [`oracle`] |
//!
//! Every call blocks and may be made inside an async test. A server that cannot be had is an error, so a test that
//! needs it fails: nothing is ever skipped. Nothing outlives the test run.
#![deny(missing_docs)]

mod blocking;
pub mod cache;
pub mod connect;
pub mod crash;
pub mod fault;
pub mod flink;
pub mod http;
pub mod ignite;
mod java;
pub mod kafka;
pub mod kubernetes;
pub mod minio;
pub mod mqtt;
pub mod mysql;
pub mod nats;
pub mod oracle;
pub mod otel_collector;
pub mod postgres;
pub mod process;
pub mod pulsar;
pub mod rabbitmq;
pub mod redis;
pub mod schema_registry;
pub mod seatunnel;
pub mod seeds;
pub mod services;
mod shared;
pub mod spark;
pub mod vault;

pub use connect::KafkaConnect;
pub use fault::FaultProxy;
pub use flink::FlinkCluster;
pub use http::{HttpFixture, Recorded, Reply};
pub use ignite::Ignite;
pub use kafka::Kafka;
pub use kubernetes::KubernetesCluster;
pub use minio::{Bucket, Minio};
pub use mqtt::Mosquitto;
pub use mysql::{MysqlDatabase, MysqlServer};
pub use nats::Nats;
pub use otel_collector::OtelCollector;
pub use postgres::{Database, PostgresServer};
pub use pulsar::Pulsar;
pub use rabbitmq::Rabbitmq;
pub use redis::Redis;
pub use schema_registry::SchemaRegistry;
pub use seatunnel::SeaTunnel;
pub use shared::memory_folder;
pub use spark::Spark;
pub use vault::VaultServer;

use std::time::{Duration, Instant};

/// Asks every 10 ms until the answer is yes; fails, saying what was awaited, after `limit`.
pub fn wait_until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !is_so() {
        anyhow::ensure!(begin.elapsed() < limit, "waited {} s in vain until {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
