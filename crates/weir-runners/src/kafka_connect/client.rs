//! The client of Kafka Connect.
