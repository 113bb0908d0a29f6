//! Who asks, in the words that a page needs to know what it may offer.

use serde::Serialize;
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_control::config::Environment;

use super::words::Role;
use crate::answer::{Answer, Reply};
use crate::ask::Ask;

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// The tenant that is asked for.
    pub tenant_id: String,
    /// The principal.
    pub principal_id: String,
    /// Its name, for people.
    pub name: String,
    /// What it may do with this token.
    pub role: Role,
    /// `METHOD /path-prefix` patterns of the token; empty = all that the role may.
    pub scopes: Vec<String>,
    /// `--dev`: whoever reaches this server needs no token.
    pub development: bool,
}

/// `GET /me`.
pub async fn get(ask: Ask, me: Caller) -> Reply {
    Answer::json(&Me {
        tenant_id: me.scope.tenant().to_string(),
        principal_id: me.principal.to_string(),
        name: me.scope.actor().name.clone(),
        role: me.role.into(),
        scopes: me.scopes,
        development: ask.app.platform.settings.environment == Environment::Development,
    })
}
