//! Users and service accounts of a tenant. Nobody makes or changes one that may do more than the caller.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_store::model::{self, PrincipalId};

use super::page::Page;
use super::words::{PrincipalKind, Role};
use crate::answer::{Answer, Reply, ReplyExt};
use crate::ask::Ask;
use crate::problem::Problem;

/// Who acts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Principal)]
pub struct PrincipalView {
    /// Its id.
    pub id: String,
    /// Person or program.
    pub kind: PrincipalKind,
    /// Unique in the tenant.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// `issuer|subject` of its OIDC token.
    pub oidc_subject: Option<String>,
    /// Refused, whatever token it shows.
    pub disabled: bool,
    /// Grows with each change; the ETag.
    pub version: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
}

impl From<model::Principal> for PrincipalView {
    fn from(principal: model::Principal) -> Self {
        Self {
            id: principal.id.to_string(),
            kind: principal.kind.into(),
            name: principal.name,
            role: principal.role.into(),
            oidc_subject: principal.oidc_subject,
            disabled: principal.disabled,
            version: principal.version,
            created_at: principal.created_at,
        }
    }
}

/// A principal to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPrincipal {
    /// Person or program.
    pub kind: PrincipalKind,
    /// Unique in the tenant: a login, an e-mail address.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f]*$")]
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// `issuer|subject` of its OIDC token.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 500, pattern = r"^[^\x00-\x1f\x7f]*$")]
    pub oidc_subject: Option<String>,
}

/// A principal's changeable parts, all of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PrincipalUpdate {
    /// What it may do.
    pub role: Role,
    /// Refused, whatever token it shows.
    pub disabled: bool,
}

/// Refuses a role above the caller's own.
pub fn not_above(me: &Caller, role: model::Role) -> Result<(), Problem> {
    if role <= me.role {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "WEIR-API-024", format!("you cannot give or change the role {}", role.as_str()))
        .hint("nobody gives more than they have"))
}

/// Nobody takes their own rights away: the last one who could give them back may be the one who asks.
fn not_oneself(me: &Caller, id: &PrincipalId) -> Result<(), Problem> {
    if *id != me.principal {
        return Ok(());
    }
    Err(Problem::new(StatusCode::CONFLICT, "WEIR-API-034", "nobody deletes or disables themselves or changes their own role")
        .hint("another admin can do it"))
}

/// `POST /principals`.
pub async fn create(ask: Ask, me: Caller) -> Reply {
    let new: NewPrincipal = ask.json()?;
    let role = model::Role::from(new.role);
    not_above(&me, role)?;
    let store = ask.app.tenant(&me.scope);
    let principal = store.create_principal(new.kind.into(), &new.name, role, new.oidc_subject.as_deref()).await?;
    let (version, place) = (principal.version, format!("/api/v1/principals/{}", principal.id));
    Answer::created(&PrincipalView::from(principal)).etag(version).location(&place)
}

/// `GET /principals`.
pub async fn list(ask: Ask, me: Caller) -> Reply {
    let page = ask.app.tenant(&me.scope).list_principals(&ask.page()).await?;
    Answer::json(&Page::<PrincipalView>::of(page))
}

/// `GET /principals/{principal_id}`.
pub async fn get(ask: Ask, me: Caller) -> Reply {
    let principal = ask.app.tenant(&me.scope).principal(&PrincipalId::from(ask.id("principal_id"))).await?;
    let version = principal.version;
    Answer::json(&PrincipalView::from(principal)).etag(version)
}

/// `PUT /principals/{principal_id}`.
pub async fn update(ask: Ask, me: Caller) -> Reply {
    let new: PrincipalUpdate = ask.json()?;
    let store = ask.app.tenant(&me.scope);
    let id = PrincipalId::from(ask.id("principal_id"));
    let role = model::Role::from(new.role);
    let before = store.principal(&id).await?;
    not_above(&me, role.max(before.role))?;
    if role != before.role || new.disabled {
        not_oneself(&me, &id)?;
    }
    let expected = ask.expected().unwrap_or(before.version);
    let principal = store.update_principal(&id, Some(expected), role, new.disabled).await?;
    ask.app.platform.access.forget();
    let version = principal.version;
    Answer::json(&PrincipalView::from(principal)).etag(version)
}

/// `DELETE /principals/{principal_id}`.
pub async fn delete(ask: Ask, me: Caller) -> Reply {
    let store = ask.app.tenant(&me.scope);
    let id = PrincipalId::from(ask.id("principal_id"));
    not_above(&me, store.principal(&id).await?.role)?;
    not_oneself(&me, &id)?;
    store.delete_principal(&id).await?;
    ask.app.platform.access.forget();
    Answer::no_content()
}
