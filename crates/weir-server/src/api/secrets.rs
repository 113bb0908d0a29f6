//! Secrets that specs use as `{{name}}`. They go in and never come out: listings have names only.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_error::Secret;
use weir_store::model;

use super::page::All;
use crate::answer::{Answer, Reply};
use crate::ask::Ask;

/// A secret's name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SecretName)]
pub struct SecretView {
    /// The name.
    pub name: String,
    /// When it was last set.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: DateTime<Utc>,
}

impl From<model::SecretName> for SecretView {
    fn from(secret: model::SecretName) -> Self {
        Self { name: secret.name, updated_at: secret.updated_at }
    }
}

/// A value to keep.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretValue {
    /// The value.
    #[schema(value_type = String, min_length = 1, max_length = 65536)]
    pub value: Secret,
}

/// `GET /secrets`.
pub async fn list(ask: Ask, me: Caller) -> Reply {
    let names = ask.app.secrets.list(&me.scope).await?;
    Answer::json(&All { items: names.into_iter().map(SecretView::from).collect() })
}

/// `PUT /secrets/{name}`.
pub async fn put(ask: Ask, me: Caller) -> Reply {
    let body: SecretValue = ask.json()?;
    ask.app.secrets.put(&me.scope, ask.id("name"), &body.value).await?;
    Answer::no_content()
}

/// `DELETE /secrets/{name}`.
pub async fn delete(ask: Ask, me: Caller) -> Reply {
    ask.app.secrets.delete(&me.scope, ask.id("name")).await?;
    Answer::no_content()
}
