//! What may be done with connections.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use weir_error::{Error, Result};
use weir_spec::{Diagnostic, nearest};
use weir_store::model::{Connection, ConnectionId, NewConnection, Page, PageRequest};
use weir_store::{Store, TenantScope, TenantStore};

use super::{TABLE, options};
use crate::Platform;
use crate::jobs::{Refused, kinds};
use crate::seal::{KeyRing, Place};
use crate::workbench::Workbench;

/// A connection to be stored.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionRequest {
    /// What specs write after `connection:`; unique in the tenant. A letter, then letters, digits, `_` and `-`, at most 63.
    pub name: String,
    /// The connector.
    pub kind: String,
    /// Its connection options, secret ones too. In a change, a secret option that is given as `{"set": true}` keeps its value and one that
    /// is left out is removed. Values may be references: `vault://path#key`, `{{name}}`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub options: Map<String, Value>,
}

/// A connection as answers show it: in the place of each secret option stands `{"set": true}`.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Shown {
    /// Its id.
    #[schema(value_type = String)]
    pub id: ConnectionId,
    /// Its name.
    pub name: String,
    /// The connector.
    pub kind: String,
    /// Its options.
    #[schema(value_type = Object)]
    pub options: Map<String, Value>,
    /// Grows with each change; the ETag.
    pub version: i64,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When.
    pub updated_at: DateTime<Utc>,
}

impl From<&Connection> for Shown {
    fn from(connection: &Connection) -> Self {
        let mut options = connection.body.options.as_object().cloned().unwrap_or_default();
        for name in &connection.body.secret_names {
            options.insert(name.clone(), json!({"set": true}));
        }
        Self {
            id: connection.id.clone(),
            name: connection.body.name.clone(),
            kind: connection.body.kind.clone(),
            options,
            version: connection.version,
            created_at: connection.created_at,
            updated_at: connection.updated_at,
        }
    }
}

/// A connection that is not stored. With its secrets in clear.
pub(super) struct Draft {
    pub name: String,
    pub kind: String,
    pub shown: Map<String, Value>,
    pub secrets: Map<String, Value>,
}

/// Decides about connections. Cheap to clone.
#[derive(Clone)]
pub struct ConnectionService {
    pub(super) store: Store,
    pub(super) keys: Arc<KeyRing>,
    workbench: Arc<dyn Workbench>,
}

impl ConnectionService {
    /// With what a platform has.
    pub fn of(platform: &Platform) -> Self {
        Self::new(platform.store.clone(), platform.keys.clone(), platform.workbench.clone())
    }

    /// From its parts.
    pub fn new(store: Store, keys: Arc<KeyRing>, workbench: Arc<dyn Workbench>) -> Self {
        Self { store, keys, workbench }
    }

    /// Stores a connection: a new one without an expected version, else a change of that one.
    pub async fn put(
        &self,
        scope: &TenantScope,
        request: ConnectionRequest,
        expected_version: Option<i64>,
    ) -> Result<Shown, Refused> {
        let store = self.store.tenant(scope);
        let Draft { name, kind, shown, secrets } = self.draft(scope, request).await?;
        let secret_names = secrets.keys().cloned().collect();
        let sealed = match secrets.is_empty() {
            true => None,
            false => {
                let plain = serde_json::to_vec(&secrets).map_err(|_| Error::internal("options cannot be written as JSON"))?;
                Some(self.keys.seal(&Place { tenant: scope.tenant(), table: TABLE, row: &name }, &plain)?)
            }
        };
        let new = NewConnection { name, kind, options: Value::Object(shown), sealed, secret_names };
        Ok(Shown::from(&store.put_connection(new, expected_version).await?))
    }

    /// A connection as it would be stored, opened: its name and options are right, secrets that are kept are filled in. Nothing is stored.
    pub(super) async fn draft(&self, scope: &TenantScope, request: ConnectionRequest) -> Result<Draft, Refused> {
        let store = self.store.tenant(scope);
        let name = name_rule(&request.name)?;
        let kinds = kinds(self.workbench.as_ref());
        let Some((kind, secret)) =
            kinds.get(&request.kind).and_then(|kind| Some((kind.clone(), self.workbench.secret_options(kind)?)))
        else {
            let shown: String = request.kind.chars().take(63).collect();
            return Err(Refused::Diagnostics(vec![
                Diagnostic::error("WEIR-CONN-002", format!("there is no connector `{shown}` in this build"))
                    .at("kind", None)
                    .did_you_mean(nearest(&request.kind, kinds.keys().map(String::as_str))),
            ]));
        };
        let options = self.with_kept_secrets(&store, &name, &kind, request.options).await?;
        let problems = self.workbench.check_connection(&kind, &Value::Object(options.clone()));
        if !problems.is_empty() {
            let told = problems.into_iter().map(|problem| {
                Diagnostic::error("WEIR-CONN-003", problem)
                    .at("options", None)
                    .help(format!("all options: weir connectors {kind}"))
            });
            return Err(Refused::Diagnostics(told.collect()));
        }
        let (shown, secrets) = options::divide(&options, &secret);
        Ok(Draft { name, kind, shown, secrets })
    }

    /// `{"set": true}` becomes the value that is stored.
    async fn with_kept_secrets(
        &self,
        store: &TenantStore,
        name: &str,
        kind: &str,
        mut options: Map<String, Value>,
    ) -> Result<Map<String, Value>, Refused> {
        if !options.values().any(options::kept) {
            return Ok(options);
        }
        let before = store.connection_by_name(name).await?.filter(|before| before.body.kind == kind);
        let secrets: Map<String, Value> = match before.as_ref().map(|before| &before.body) {
            Some(NewConnection { name, sealed: Some(sealed), .. }) => {
                let plain = self.keys.open(&Place { tenant: store.scope().tenant(), table: TABLE, row: name }, sealed)?;
                serde_json::from_slice(&plain).map_err(|_| Error::internal("a sealed connection is no JSON object"))?
            }
            _ => Map::new(),
        };
        for (option, value) in options.iter_mut().filter(|(_, value)| options::kept(value)) {
            let shown: String = option.chars().take(63).collect();
            *value = secrets.get(option).cloned().ok_or_else(|| {
                Refused::at(
                    "WEIR-CONN-003",
                    format!("options.{shown}"),
                    format!("`{shown}` has no stored value to keep"),
                    "give its value",
                )
            })?;
        }
        Ok(options)
    }

    /// One connection.
    pub async fn get(&self, scope: &TenantScope, id: &ConnectionId) -> Result<Shown> {
        Ok(Shown::from(&self.store.tenant(scope).connection(id).await?))
    }

    /// A page of them.
    pub async fn list(&self, scope: &TenantScope, page: &PageRequest) -> Result<Page<Shown>> {
        let found = self.store.tenant(scope).list_connections(page).await?;
        Ok(Page { items: found.items.iter().map(Shown::from).collect(), next_cursor: found.next_cursor })
    }

    /// Forgets a connection that no job names.
    pub async fn delete(&self, scope: &TenantScope, id: &ConnectionId, expected_version: Option<i64>) -> Result<()> {
        self.store.tenant(scope).delete_connection(id, expected_version).await
    }
}

fn name_rule(name: &str) -> Result<String, Refused> {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.len() <= 63 && name.chars().all(letter) {
        return Ok(name.into());
    }
    let help = "a letter, then letters, digits, `_` and `-`, at most 63";
    Err(Refused::at("WEIR-CONN-001", "name", "this is no name for a connection", help))
}
