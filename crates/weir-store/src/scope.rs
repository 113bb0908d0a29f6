//! Who asks, and for which tenant.

use serde::{Deserialize, Serialize};

use crate::model::TenantId;

/// Who acts, for the audit log. The name is what a person reads; the id is stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Principal id, or `system:<part>` for the platform's own loops.
    pub id: String,
    /// Login, service account or part of the platform.
    pub name: String,
    /// The request's id (or the run's), which the audit row keeps.
    pub request_id: Option<String>,
    /// W3C trace id of the request, 32 hexadecimal digits.
    pub trace_id: Option<String>,
}

impl Actor {
    /// The platform itself: `system:scheduler`, `system:worker`.
    pub fn system(part: &str) -> Self {
        Self { id: format!("system:{part}"), name: part.into(), request_id: None, trace_id: None }
    }
}

/// The right to ask for one tenant's data. Made where a request is authorised, or by the platform for the tenant of a row it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantScope {
    tenant: TenantId,
    actor: Actor,
}

impl TenantScope {
    /// Whoever calls this has checked that the actor may act for the tenant.
    pub fn granted(tenant: TenantId, actor: Actor) -> Self {
        Self { tenant, actor }
    }
    /// The tenant.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    /// Who acts.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }
}
