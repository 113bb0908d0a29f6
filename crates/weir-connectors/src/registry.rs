//! The list of connectors: one line each. Nothing else in the workspace knows their names.

#[allow(unused_imports)]
use std::sync::Arc;

use weir_connect::Registry;

/// Every connector that was compiled in.
pub fn registry() -> Registry {
    #[allow(unused_mut)]
    let mut registry = Registry::new();
    #[cfg(feature = "http")]
    registry.add(Arc::new(crate::http::HttpConnector::default()));
    registry
}
