//! The connectors, one folder and one Cargo feature each; [`registry`] is the list.
#![deny(missing_docs)]

#[cfg(feature = "tls")]
mod certificates;
#[cfg(any(feature = "mongodb", feature = "mysql", feature = "postgres"))]
mod changes;
pub mod discard;
#[cfg(feature = "files")]
pub mod files;
#[cfg(any(feature = "files", feature = "http", feature = "kafka", feature = "pulsar"))]
mod guarded;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "inbox")]
mod inbox;
#[cfg(test)]
#[cfg(all(feature = "http", feature = "messages"))]
mod json_rows;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "messages")]
pub mod messages;
#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "nats")]
pub mod nats;
mod options;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "pulsar")]
pub mod pulsar;
#[cfg(feature = "postgres")]
mod quiet;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(any(feature = "sse", feature = "websocket"))]
mod reconnect;
#[cfg(feature = "redis")]
pub mod redis;
pub mod registry;
#[cfg(feature = "sse")]
pub mod sse;
#[cfg(any(feature = "mqtt", feature = "nats", feature = "pulsar", feature = "rabbitmq", feature = "redis"))]
mod trust;
#[cfg(feature = "webhook")]
pub mod webhook;
#[cfg(feature = "websocket")]
pub mod websocket;
