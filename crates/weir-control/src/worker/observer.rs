//! Others of this process who want to know of runs as they go on: metrics, schema drift.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use weir_store::model::{Claimed, Run, StreamCounts};

use super::Resources;

/// A column as planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its Arrow type, `Int64`, `Timestamp(Microsecond, None)`.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Whether it may hold nothing.
    pub nullable: bool,
}

/// A stream's schema as its source gave it in this attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSchema {
    /// The stream.
    pub stream: String,
    /// Its columns, in order.
    pub columns: Vec<Column>,
}

/// The schemas of all streams of an attempt.
pub type Schemas = Vec<StreamSchema>;

/// Steps of an attempt, in order; a step that fails is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The run was claimed.
    Claimed,
    /// Its secrets are opened, and the child has its order.
    Ordered,
    /// The child has planned.
    Planned,
    /// The engine has reported.
    Reported,
}

/// Told of every attempt in this process. What takes long is handed to a task: the worker waits for `planned` and `ended`.
#[async_trait]
pub trait Observer: Send + Sync {
    /// A step is reached, now.
    fn marked(&self, _: &Claimed, _: Mark) {}

    /// The attempt is planned and begins to read.
    async fn planned(&self, _: &Claimed, _: &Schemas) {}

    /// About twice a second: the counts so far, and what this attempt has used.
    fn progressed(&self, _: &Claimed, _: &[StreamCounts], _: &Resources) {}

    /// The attempt is over and stored. `run.status` is final, or `queued` for another attempt.
    async fn ended(&self, _: &Claimed, _: &Run) {}
}
