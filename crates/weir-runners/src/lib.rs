//! Other engines: the same pipeline on Apache SeaTunnel, Flink, Spark and Kafka Connect.
//!
//! Two halves that know nothing of each other:
//!
//! * [`compile`]: pure functions from a checked pipeline to an engine's own artefact, or to diagnostics that name each node that the
//!   engine cannot express. A folder per engine ([`seatunnel`], [`flink`], [`spark`], [`kafka_connect`]), one line each in [`registry`].
//! * [`client`]: what submits an artefact to a real engine, follows it and stops it; each engine's own is in its folder.
//!
//! Beside them [`kubernetes`]: native runs as Jobs of a cluster, and pipelines as manifests.
//!
//! * [`seam`]: changing the engine without reading everything again; [`cost`]: which engine a pipeline is for, and why.
//!
//! An artefact never holds the value of a secret: it names the variables that it expects ([`artefact::Expected`]).
#![deny(missing_docs)]

pub mod artefact;
pub mod capability;
pub mod client;
pub mod compile;
pub mod cost;
pub mod flink;
pub mod kafka_connect;
pub mod kubernetes;
pub mod orchestrators;
pub mod registry;
pub mod seam;
pub mod seatunnel;
pub mod spark;
