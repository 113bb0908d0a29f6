//! Kafka Connect.

pub mod client;
