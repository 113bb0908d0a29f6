//! How Vault is, for `/health`: asked in the background at most every ten seconds, so that a probe never waits for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::ToSchema;

/// HashiCorp Vault, as seed 001 prints it.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct VaultHealth {
    /// `healthy`, `unhealthy`, `disabled`, or `unknown` before the first answer.
    pub status: &'static str,
    /// It has been set up.
    pub initialized: bool,
    /// It is locked.
    pub sealed: bool,
}

const DISABLED: VaultHealth = VaultHealth { status: "disabled", initialized: false, sealed: false };
const UNKNOWN: VaultHealth = VaultHealth { status: "unknown", initialized: false, sealed: false };
const UNHEALTHY: VaultHealth = VaultHealth { status: "unhealthy", initialized: false, sealed: false };

const FRESH: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(3);

/// What is known of Vault.
#[derive(Debug, Default)]
pub struct VaultWatch(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    asked: Option<Instant>,
    health: Option<VaultHealth>,
}

impl VaultWatch {
    /// The last answer. `ask` (initialized, sealed; `None` = no answer) is run if that is old; `None` = there is no Vault.
    pub fn look(&self, ask: Option<impl Future<Output = Option<(bool, bool)>> + Send + 'static>) -> VaultHealth {
        let Some(ask) = ask else { return DISABLED };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.asked.is_none_or(|at| at.elapsed() >= FRESH) {
            seen.asked = Some(Instant::now());
            let seen = self.0.clone();
            tokio::spawn(async move {
                let answer = tokio::time::timeout(PATIENCE, ask).await.ok().flatten();
                let health = answer.map_or(UNHEALTHY, |(initialized, sealed)| {
                    let status = if initialized && !sealed { "healthy" } else { "unhealthy" };
                    VaultHealth { status, initialized, sealed }
                });
                seen.lock().unwrap_or_else(PoisonError::into_inner).health = Some(health);
            });
        }
        seen.health.unwrap_or(UNKNOWN)
    }
}
