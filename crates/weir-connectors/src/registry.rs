//! The list of built-in connectors. The only place that names them all.

use weir_connect::Registry;

/// Every connector that this build has.
pub fn registry() -> Registry {
    #[allow(unused_mut)]
    let mut registry = Registry::new();
    #[cfg(feature = "files")]
    {
        registry.add(std::sync::Arc::new(crate::files::Files::file()));
        registry.add(std::sync::Arc::new(crate::files::Files::s3()));
    }
    registry
}
