//! Secrets by name, write-only.

use std::sync::Arc;

use weir_error::{Error, Kind, Result, Secret};
use weir_store::model::SecretName;
use weir_store::{Store, TenantScope};

use crate::Platform;
use crate::jobs::is_job_secret;
use crate::seal::{KeyRing, Place};

/// The table of secrets, as their seals know it; the row is the secret's name.
pub const TABLE: &str = "secret";

/// Longer values are refused: a secret is a key or a certificate.
const MAX_BYTES: usize = 64 << 10;

/// Decides about secrets. Cheap to clone.
#[derive(Clone)]
pub struct SecretService {
    store: Store,
    keys: Arc<KeyRing>,
}

impl SecretService {
    /// With what a platform has.
    pub fn of(platform: &Platform) -> Self {
        Self::new(platform.store.clone(), platform.keys.clone())
    }

    /// From its parts.
    pub fn new(store: Store, keys: Arc<KeyRing>) -> Self {
        Self { store, keys }
    }

    /// Stores a value under a name that specs write as `{{name}}`, or replaces it.
    pub async fn put(&self, scope: &TenantScope, name: &str, value: &Secret) -> Result<()> {
        rule(name)?;
        if value.is_empty() || value.expose().len() > MAX_BYTES {
            return Err(Error::new("WEIR-CONN-006", Kind::Spec, "a secret's value has 1 to 65536 bytes").at(name.to_string()));
        }
        let sealed = self.keys.seal_text(&Place { tenant: scope.tenant(), table: TABLE, row: name }, value)?;
        self.store.tenant(scope).set_secret(name, sealed).await
    }

    /// Names, without those that belong to jobs.
    pub async fn list(&self, scope: &TenantScope) -> Result<Vec<SecretName>> {
        let names = self.store.tenant(scope).secret_names().await?;
        Ok(names.into_iter().filter(|secret| !is_job_secret(&secret.name)).collect())
    }

    /// Forgets a secret. Specs that name it fail from now on.
    pub async fn delete(&self, scope: &TenantScope, name: &str) -> Result<()> {
        rule(name)?;
        self.store.tenant(scope).delete_secret(name).await
    }
}

fn rule(name: &str) -> Result<()> {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let fine = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.len() <= 128 && name.chars().all(letter);
    if fine && !is_job_secret(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(40).filter(|c| !c.is_control()).collect();
    Err(Error::new("WEIR-CONN-005", Kind::Spec, format!("`{shown}` is no name for a secret"))
        .hint("a letter, then letters, digits, `_`, `-` and `.`, at most 128; `job.` is the platform's own"))
}
