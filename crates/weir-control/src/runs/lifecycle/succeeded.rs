//! `succeeded`: everything is committed and the rows reconcile.

use serde_json::Value;

/// Final.
#[derive(Debug, Clone, PartialEq)]
pub struct Succeeded {
    pub(super) report: Value,
}
