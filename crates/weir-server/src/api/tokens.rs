//! API tokens. The secret is shown once, in the answer to its creation.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_control::access::{self, Caller};
use weir_store::model::{self, PrincipalId, TokenId};

use super::page::Page;
use super::principals::not_above;
use super::words::Role;
use crate::answer::{Answer, Reply, ReplyExt};
use crate::ask::Ask;
use crate::auth;
use crate::problem::{Problem, ProblemPart};

/// A token, without its secret.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub principal_id: String,
    /// For people.
    pub name: String,
    /// The first characters, to recognise it by.
    pub prefix: String,
    /// At most this role.
    pub role: Role,
    /// `METHOD /path-prefix` patterns; empty = all that the role may.
    pub scopes: Vec<String>,
    /// From then on it is refused.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<DateTime<Utc>>,
    /// Since then it is refused.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<DateTime<Utc>>,
    /// About when it was last used.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<DateTime<Utc>>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
}

impl From<model::ApiToken> for TokenView {
    fn from(token: model::ApiToken) -> Self {
        Self {
            id: token.id.to_string(),
            principal_id: token.principal_id.to_string(),
            name: token.name,
            prefix: token.prefix,
            role: token.role.into(),
            scopes: token.scopes,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            last_used_at: token.last_used_at,
            created_at: token.created_at,
        }
    }
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTokenBody {
    /// Whose it is.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    pub principal_id: String,
    /// For people.
    #[schema(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f]*$")]
    pub name: String,
    /// At most this role; else the principal's, but never above the caller's.
    #[serde(default)]
    pub role: Option<Role>,
    /// `METHOD /path-prefix` patterns, `*` for any method; empty = all that the role may.
    #[serde(default)]
    #[schema(required = false, max_items = 50)]
    pub scopes: Vec<Scope>,
    /// From then on it is refused.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<DateTime<Utc>>,
}

/// `METHOD /path-prefix`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(min_length = 3, max_length = 200, pattern = r"^(\*|GET|POST|PUT|DELETE) /[A-Za-z0-9/_.-]*$")]
pub struct Scope(pub String);

/// A new token. `token` is the secret: it is never shown again, not even for the same Idempotency-Key (then it is null).
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedToken {
    /// The secret.
    pub token: Option<String>,
    /// What is kept of it.
    pub info: TokenView,
}

/// Whether one of the caller's scopes includes all that a new one would.
fn scope_within(own: &[String], scope: &str) -> bool {
    let Some((verb, path)) = scope.split_once(' ') else { return false };
    auth::in_scope(own, verb, path)
}

/// `POST /tokens`.
pub async fn create(ask: Ask, me: Caller) -> Reply {
    let new: NewTokenBody = ask.json()?;
    if new.expires_at.is_some_and(|at| at <= Utc::now()) {
        return Err(Problem::unprocessable("WEIR-API-025", "`expires_at` is in the past")
            .errors(vec![ProblemPart::at("/expires_at", "must be in the future")]));
    }
    let store = ask.app.tenant(&me.scope);
    let principal = store.principal(&PrincipalId::from(new.principal_id)).await?;
    let role = match new.role {
        Some(role) => role.into(),
        None => principal.role.min(me.role),
    };
    not_above(&me, role)?;
    let covered = new.scopes.iter().all(|scope| scope_within(&me.scopes, &scope.0));
    if !me.scopes.is_empty() && (new.scopes.is_empty() || !covered) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "WEIR-API-022",
            "this token's scopes do not include those of the new token",
        )
        .hint("give the new token scopes within your own"));
    }
    let secret = access::new_token();
    let scopes = new.scopes.into_iter().map(|scope| scope.0).collect();
    let token = store
        .create_token(model::NewToken {
            principal_id: principal.id,
            name: new.name,
            prefix: secret.prefix,
            hash: secret.hash,
            role,
            scopes,
            expires_at: new.expires_at,
        })
        .await?;
    let place = format!("/api/v1/tokens/{}", token.id);
    let info = TokenView::from(token);
    let kept = Answer::created(&CreatedToken { token: None, info: info.clone() })?;
    let mut answer = Answer::created(&CreatedToken { token: Some(secret.secret.expose().to_owned()), info }).location(&place)?;
    answer.remembered = kept.into_bytes();
    Ok(answer)
}

/// `GET /tokens`.
pub async fn list(ask: Ask, me: Caller) -> Reply {
    let principal = ask.values.text("principal_id").map(PrincipalId::from);
    let page = ask.app.tenant(&me.scope).list_tokens(principal.as_ref(), &ask.page()).await?;
    Answer::json(&Page::<TokenView>::of(page))
}

/// `DELETE /tokens/{token_id}`.
pub async fn revoke(ask: Ask, me: Caller) -> Reply {
    let (store, id) = (ask.app.tenant(&me.scope), TokenId::from(ask.id("token_id")));
    // Or an admin could lock those out who stand above tenants.
    not_above(&me, store.token(&id).await?.role)?;
    store.revoke_token(&id).await?;
    ask.app.platform.access.forget();
    Answer::no_content()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_scope_must_lie_within_the_callers_own() {
        let own = vec!["* /api/v1/tokens".to_string(), "GET /api/v1/jobs".to_string()];
        for (scope, yes) in [
            ("GET /api/v1/jobs/7", true),
            ("POST /api/v1/tokens", true),
            ("* /api/v1/tokens", true),
            ("* /api/v1/jobs", false),
            ("GET /api/v1", false),
            ("GET /", false),
        ] {
            assert_eq!(scope_within(&own, scope), yes, "{scope}");
        }
    }
}
