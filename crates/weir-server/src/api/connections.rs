//! Connections that specs name. Secret options go in and never come out.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_control::connections::{self, ConnectionRequest, Shown};
use weir_store::model::ConnectionId;

use super::page::Page;
use crate::answer::{Answer, Reply, ReplyExt};
use crate::ask::Ask;
use crate::problem::{Problem, ProblemPart};

/// A connection. In the place of each secret option stands `{"set": true}`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Connection)]
pub struct ConnectionView {
    /// Its id.
    pub id: String,
    /// What specs write after `connection:`.
    pub name: String,
    /// The connector.
    pub kind: String,
    /// Its options.
    #[schema(value_type = Object)]
    pub options: Map<String, Value>,
    /// Grows with each change; the ETag.
    pub version: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: DateTime<Utc>,
}

impl From<Shown> for ConnectionView {
    fn from(shown: Shown) -> Self {
        Self {
            id: shown.id.to_string(),
            name: shown.name,
            kind: shown.kind,
            options: shown.options,
            version: shown.version,
            created_at: shown.created_at,
            updated_at: shown.updated_at,
        }
    }
}

/// A connection to be stored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionBody {
    /// Unique in the tenant; it cannot be changed.
    #[schema(min_length = 1, max_length = 63, pattern = "^[A-Za-z][A-Za-z0-9_-]*$")]
    pub name: String,
    /// The connector.
    #[schema(min_length = 1, max_length = 63, pattern = "^[A-Za-z][A-Za-z0-9_-]*$")]
    pub kind: String,
    /// Its connection options, secret ones too. In a change, a secret option given as `{"set": true}` keeps its value, and one that is
    /// left out is removed. Values may be references: `vault://path#key`, `{{name}}`.
    #[serde(default)]
    #[schema(value_type = Object, required = false)]
    pub options: Map<String, Value>,
}

impl From<ConnectionBody> for ConnectionRequest {
    fn from(body: ConnectionBody) -> Self {
        Self { name: body.name, kind: body.kind, options: body.options }
    }
}

fn id_of(ask: &Ask) -> ConnectionId {
    ConnectionId::from(ask.id("connection_id"))
}

/// `POST /connections`.
pub async fn create(ask: Ask, me: Caller) -> Reply {
    let body: ConnectionBody = ask.json()?;
    let shown = ask.app.connections.put(&me.scope, body.into(), None).await?;
    let (version, place) = (shown.version, format!("/api/v1/connections/{}", shown.id));
    Answer::created(&ConnectionView::from(shown)).etag(version).location(&place)
}

/// `GET /connections`.
pub async fn list(ask: Ask, me: Caller) -> Reply {
    let page = ask.app.connections.list(&me.scope, &ask.page()).await?;
    Answer::json(&Page::<ConnectionView>::of(page))
}

fn tagged(shown: Shown) -> Reply {
    let version = shown.version;
    Answer::json(&ConnectionView::from(shown)).etag(version)
}

/// `GET /connections/{connection_id}`.
pub async fn get(ask: Ask, me: Caller) -> Reply {
    tagged(ask.app.connections.get(&me.scope, &id_of(&ask)).await?)
}

/// `PUT /connections/{connection_id}`.
pub async fn update(ask: Ask, me: Caller) -> Reply {
    let body: ConnectionBody = ask.json()?;
    let before = ask.app.connections.get(&me.scope, &id_of(&ask)).await?;
    if body.name != before.name {
        return Err(Problem::unprocessable("WEIR-API-033", "a connection's name cannot be changed")
            .errors(vec![ProblemPart::at("/name", "specs name it; make a new connection")]));
    }
    let expected = ask.expected().unwrap_or(before.version);
    tagged(ask.app.connections.put(&me.scope, body.into(), Some(expected)).await?)
}

/// `DELETE /connections/{connection_id}`.
pub async fn delete(ask: Ask, me: Caller) -> Reply {
    ask.app.connections.delete(&me.scope, &id_of(&ask), ask.expected()).await?;
    Answer::no_content()
}

/// `POST /connections/{connection_id}/test`.
pub async fn test(ask: Ask, me: Caller) -> Reply {
    Answer::json(&connections::test(&ask.app.platform, &me.scope, &id_of(&ask)).await?)
}

/// `POST /connections/test`.
pub async fn test_draft(ask: Ask, me: Caller) -> Reply {
    let body: ConnectionBody = ask.json()?;
    Answer::json(&connections::test_draft(&ask.app.platform, &me.scope, body.into()).await?)
}
