//! Who asks: API tokens, tokens of an OpenID Connect issuer, and nobody at all on a developer's machine.
//!
//! [`Access::authenticate`] turns what a request brings into a [`Caller`], whose [`TenantScope`] opens the tenant's repositories. Whether the
//! caller may do what it asks is a matter of the route table (weir-server); here only the role and the scopes are found out.
//!
//! * `token`: making and hashing API tokens; `oidc`: verifying JWTs; [`bootstrap`]: the first token.
//!
//! Every refusal is the same error: unknown, malformed, expired and revoked tokens, disabled principals and suspended tenants cannot be
//! told apart by who tries them. Answers are kept for [`KEPT`], so a revocation takes effect everywhere within that time.

mod bootstrap;
mod kept;
mod oidc;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use weir_error::{Error, Kind, Result};
use weir_store::model::{PrincipalId, Role, TenantId, TenantStatus};
use weir_store::{Actor, Store, TenantScope};

use crate::config::{Environment, Settings};

pub use bootstrap::bootstrap;
use kept::Kept;
use oidc::Issuer;
pub use oidc::check_issuer;
pub use token::{NewSecret, hash, new_token};

/// How long an answer is believed without asking again.
pub const KEPT: Duration = Duration::from_secs(2);
/// A token's last use is written down at most this often.
const TOUCHED_EVERY_SECS: i64 = 60;

/// What a request brings.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'r> {
    /// The text after `Bearer `.
    pub bearer: Option<&'r str>,
    /// The tenant that the request names: only a platform-admin may name another than the token's.
    pub tenant: Option<&'r str>,
    /// The request's id, for the audit log.
    pub request_id: &'r str,
    /// The request's W3C trace id.
    pub trace_id: Option<&'r str>,
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The right to ask for one tenant.
    pub scope: TenantScope,
    /// What it may do: the lesser of the token's and the principal's role.
    pub role: Role,
    /// Who it is.
    pub principal: PrincipalId,
    /// `METHOD /path-prefix` patterns of the token; empty = all that the role may.
    pub scopes: Vec<String>,
}

/// A verified identity, before the request's own parts.
#[derive(Debug, Clone)]
struct Identity {
    tenant: TenantId,
    principal: PrincipalId,
    name: String,
    role: Role,
    scopes: Vec<String>,
    expires_at: Option<DateTime<Utc>>,
}

/// Authentication for one process. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    issuer: Option<Issuer>,
    /// Without a token: whom the caller is taken for.
    developer: Option<TenantId>,
    identities: Kept<Identity>,
    tenants: Kept<()>,
}

impl Access {
    /// Connects nowhere; the issuer's keys are read when the first of its tokens comes.
    pub fn new(store: Store, settings: &Settings) -> Result<Self> {
        let issuer = settings.oidc.clone().map(Issuer::new).transpose()?;
        let developer = (settings.environment == Environment::Development).then(|| TenantId::from(settings.tenant_id.as_str()));
        let inner = Inner { store, issuer, developer, identities: Kept::new(KEPT), tenants: Kept::new(KEPT) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Who asks. Refused: `WEIR-AUTH-001` (no token) or `WEIR-AUTH-002` (all else), kind `Auth`; another tenant than one's own:
    /// `WEIR-AUTH-003`, kind `Privilege`. Other kinds mean that it could not be found out.
    pub async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Caller> {
        let identity = match (credentials.bearer, &self.inner.developer) {
            (Some(bearer), _) => self.identity(bearer).await?,
            (None, Some(tenant)) => developer(tenant.clone()),
            (None, None) => {
                return Err(Error::new("WEIR-AUTH-001", Kind::Auth, "this needs a token").hint(
                    "send `Authorization: Bearer TOKEN`; `weir serve` prints the first one, POST /api/v1/tokens makes others",
                ));
            }
        };
        let tenant = match credentials.tenant {
            None => identity.tenant,
            Some(named) if named == identity.tenant.as_str() => identity.tenant,
            Some(named) if identity.role == Role::PlatformAdmin => self.other_tenant(named).await?,
            Some(_) => {
                return Err(Error::new("WEIR-AUTH-003", Kind::Privilege, "the token is not for that tenant")
                    .hint("leave the tenant out, or use a token of that tenant"));
            }
        };
        let actor = Actor {
            id: identity.principal.to_string(),
            name: identity.name,
            request_id: Some(credentials.request_id.to_owned()),
            trace_id: credentials.trace_id.map(Into::into),
        };
        Ok(Caller {
            scope: TenantScope::granted(tenant, actor),
            role: identity.role,
            principal: identity.principal,
            scopes: identity.scopes,
        })
    }

    /// Forgets every answer: what was changed in this process takes effect at once.
    pub fn forget(&self) {
        self.inner.identities.clear();
        self.inner.tenants.clear();
    }

    async fn identity(&self, bearer: &str) -> Result<Identity> {
        let key = hash(bearer);
        let now = Utc::now();
        if let Some(known) = self.inner.identities.get(&key) {
            return if known.expires_at.is_none_or(|at| at > now) { Ok(known) } else { Err(refused()) };
        }
        let identity = if token::looks_like_one(bearer) {
            self.by_token(&key, now).await?
        } else {
            match &self.inner.issuer {
                Some(issuer) if oidc::looks_like_one(bearer) => self.by_issuer(issuer, bearer).await?,
                _ => return Err(refused()),
            }
        };
        self.inner.identities.put(key, identity.clone());
        Ok(identity)
    }

    async fn by_token(&self, hash: &str, now: DateTime<Utc>) -> Result<Identity> {
        let system = self.inner.store.system();
        let Some((token, principal, tenant)) = system.token_by_hash(hash).await? else { return Err(refused()) };
        let role = token.role.min(principal.role);
        let spent = token.revoked_at.is_some() || token.expires_at.is_some_and(|at| at <= now) || principal.disabled;
        let closed = match tenant.status {
            TenantStatus::Active => false,
            // A platform-admin who suspends its own tenant must be able to undo it.
            TenantStatus::Suspended => role != Role::PlatformAdmin,
            TenantStatus::Removed => true,
        };
        if spent || closed {
            return Err(refused());
        }
        if token.last_used_at.is_none_or(|at| (now - at).num_seconds() >= TOUCHED_EVERY_SECS) {
            // Not waited for: the request does not depend on it.
            tokio::spawn(async move {
                if let Err(error) = system.touch_token(&token.id).await {
                    tracing::debug!(%error, "the use of a token was not written down");
                }
            });
        }
        Ok(Identity {
            tenant: tenant.id,
            principal: principal.id,
            name: principal.name,
            role,
            scopes: token.scopes,
            expires_at: token.expires_at,
        })
    }

    async fn by_issuer(&self, issuer: &Issuer, bearer: &str) -> Result<Identity> {
        let Some(claims) = issuer.verify(bearer).await? else { return Err(refused()) };
        let tenant = TenantId::from(claims.tenant.as_str());
        let system = self.inner.store.system();
        match system.tenant(&tenant).await {
            Ok(tenant) if tenant.status == TenantStatus::Active => {}
            Ok(_) => return Err(refused()),
            Err(error) if error.kind() == Kind::NotFound => return Err(refused()),
            Err(error) => return Err(error),
        }
        let subject = claims.subject();
        let known = system.principal_by_oidc(&tenant, &subject).await?;
        // Who is known here may do no more than it says here; who is not has the role that the issuer gives.
        let (id, name, role) = match known {
            Some(principal) if principal.disabled => return Err(refused()),
            Some(principal) => {
                let role = principal.role.min(claims.role.unwrap_or(principal.role)).min(Role::Admin);
                (principal.id, principal.name, role)
            }
            None => match claims.role {
                Some(role) => (PrincipalId::from(format!("oidc-{}", &hash(&subject)[..32])), claims.name, role.min(Role::Admin)),
                None => return Err(refused()),
            },
        };
        Ok(Identity { tenant, principal: id, name, role, scopes: Vec::new(), expires_at: Some(claims.expires_at) })
    }

    async fn other_tenant(&self, named: &str) -> Result<TenantId> {
        let tenant = TenantId::from(named);
        if self.inner.tenants.get(named).is_none() {
            self.inner.store.system().present_tenant(&tenant).await?;
            self.inner.tenants.put(named.to_owned(), ());
        }
        Ok(tenant)
    }
}

/// `--dev`: whoever asks from this machine.
fn developer(tenant: TenantId) -> Identity {
    Identity {
        tenant,
        principal: PrincipalId::from("dev"),
        name: "developer".into(),
        role: Role::PlatformAdmin,
        scopes: Vec::new(),
        expires_at: None,
    }
}

/// The one refusal.
fn refused() -> Error {
    Error::new("WEIR-AUTH-002", Kind::Auth, "the token is not valid").hint("ask an admin of your tenant for a new one")
}
