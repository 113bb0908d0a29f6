//! `vault://path#key` in a build without the feature `vault`.

use weir_error::Secret;

use crate::provider::Provider;

/// A Vault that this build cannot ask: every reference says so.
pub struct Vault;

impl Vault {
    /// Looks at nothing.
    pub fn from_environment() -> Self {
        Self
    }
}

impl Provider for Vault {
    fn get(&self, _: &str) -> Result<Option<Secret>, String> {
        Err("this build has no Vault client (feature `vault`); use ${ENV}, file:// or {{name}} with WEIR_CREDENTIALS_FILE".into())
    }
}
