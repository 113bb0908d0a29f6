//! Apache Flink.

pub mod client;
