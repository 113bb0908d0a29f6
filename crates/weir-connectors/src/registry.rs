//! The list of connectors that this build carries. To add one: its folder, its feature, one line here.

use std::sync::Arc;

use weir_connect::Registry;

/// Every connector of this build.
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    #[cfg(feature = "postgres")]
    registry.add(Arc::new(crate::postgres::Postgres::default()));
    registry
}
