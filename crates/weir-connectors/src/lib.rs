//! The connectors, one folder and one Cargo feature each; [`registry`] is the list.
#![deny(missing_docs)]

#[cfg(any(feature = "mysql", feature = "postgres", feature = "rabbitmq", feature = "redis"))]
mod certificates;
#[cfg(any(feature = "mongodb", feature = "mysql", feature = "postgres"))]
mod changes;
pub mod discard;
#[cfg(feature = "files")]
pub mod files;
#[cfg(any(feature = "files", feature = "http", feature = "kafka"))]
mod guarded;
#[cfg(feature = "http")]
pub mod http;
#[cfg(test)]
#[cfg(all(feature = "http", any(feature = "rabbitmq", feature = "redis")))]
mod json_rows;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(any(
    feature = "kafka",
    feature = "mqtt",
    feature = "nats",
    feature = "pulsar",
    feature = "rabbitmq",
    feature = "redis",
    feature = "sse",
    feature = "webhook",
    feature = "websocket"
))]
pub mod messages;
#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "postgres")]
mod quiet;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
pub mod registry;
#[cfg(any(feature = "rabbitmq", feature = "redis"))]
mod wire;
