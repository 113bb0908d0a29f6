//! `failed`: no further attempt; the checkpoint is kept for a later run.

use serde_json::Value;

/// Final.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// `weir_error::ErrorBody` as JSON.
    pub(super) error: Value,
    pub(super) report: Option<Value>,
}
