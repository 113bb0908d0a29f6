//! `cancelled`: stopped because somebody asked for it; the checkpoint is kept for a later run.

use serde_json::Value;

/// Final.
#[derive(Debug, Clone, PartialEq)]
pub struct Cancelled {
    pub(super) report: Option<Value>,
}
