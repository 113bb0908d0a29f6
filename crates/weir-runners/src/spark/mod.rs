//! Apache Spark.

pub mod client;
