//! What one tenant may ask: every query here carries the tenant of the [`TenantScope`] that opened the store, so a foreign id is
//! answered exactly as a missing one. Nothing here looks across tenants (see [`crate::system`]).

pub(crate) mod access;
pub(crate) mod connections;
pub(crate) mod idempotency;
pub(crate) mod jobs;
pub(crate) mod monitoring;
mod run_list;
pub(crate) mod runs;
pub(crate) mod trail;

use weir_error::Result;

use crate::TenantScope;
use crate::backend::Backend;
use crate::model::TenantId;
use crate::writer::Writer;

/// The repositories of one tenant. Cheap to make and to clone.
#[derive(Clone)]
pub struct TenantStore {
    pub(crate) backend: Backend,
    pub(crate) scope: TenantScope,
}

impl TenantStore {
    /// Who asks.
    pub fn scope(&self) -> &TenantScope {
        &self.scope
    }
    fn tenant_id(&self) -> &TenantId {
        self.scope.tenant()
    }
    async fn write(&self) -> Result<Writer> {
        Writer::begin(&self.backend, &self.scope).await
    }
}
