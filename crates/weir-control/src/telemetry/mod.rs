//! What leaves the process for those who watch it: spans over OTLP, log lines.
//!
//! * [`spans`]: from an attempt of a run to its span tree, pure;
//! * [`exporter`]: OTLP over HTTP (protobuf) and gRPC;
//! * [`Tracing`]: the observer that notes when what happened and sends the tree when the attempt is over;
//! * [`logs`]: lines for people or as JSON.
//!
//! Metrics are in `monitoring`; the audit log is in the store.

pub mod exporter;
pub mod logs;
mod observer;
pub mod spans;

pub use observer::Tracing;
