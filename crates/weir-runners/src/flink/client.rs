//! The client of Apache Flink.
