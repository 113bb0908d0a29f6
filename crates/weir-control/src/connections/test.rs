//! Trying a connection out, in a process of its own.

use serde::Serialize;
use serde_json::{Value, json};
use weir_error::Result;
use weir_store::TenantScope;
use weir_store::model::{AuditEntry, ConnectionId};

use super::service::{ConnectionRequest, ConnectionService, Draft};
use crate::Platform;
use crate::jobs::Refused;
use crate::worker::order::{SecretOptions, StoredConnection, Verb, WorkOrder};
use crate::worker::outfit;

/// What a connection says of itself. Free of secrets.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ConnectionTest {
    /// Whether everything works that was tried.
    pub ok: bool,
    /// Milliseconds until the answer; `null` when there was none.
    pub latency_ms: Option<f64>,
    /// The other side's version, if it says one.
    pub server_version: Option<String>,
    /// What the credentials may not do, in the words of the connector.
    pub missing_privileges: Vec<String>,
    /// Each thing that was tried: name, whether it worked, what was seen.
    #[schema(value_type = Vec<Object>)]
    pub checks: Vec<Value>,
    /// Why there was no answer: code, kind, message, cause, hint.
    #[schema(value_type = Option<Object>)]
    pub error: Option<Value>,
}

/// Connects with a stored connection. That the other side refuses or is away is an answer, not an error.
pub async fn test(platform: &Platform, scope: &TenantScope, id: &ConnectionId) -> Result<ConnectionTest> {
    let name = platform.store.tenant(scope).connection(id).await?.body.name;
    let verb = Verb::TestConnection { connection: name.clone() };
    ask(platform, outfit::for_errand(platform, scope.tenant(), verb, "", &[name]).await?).await
}

/// Connects with a connection as it would be stored. Nothing is stored but an audit row (`connection.try`): the request may send a secret that
/// is kept to a server that it names.
pub async fn test_draft(
    platform: &Platform,
    scope: &TenantScope,
    request: ConnectionRequest,
) -> std::result::Result<ConnectionTest, Refused> {
    let Draft { name, kind, shown, secrets } = ConnectionService::of(platform).draft(scope, request).await?;
    let detail = json!({"name": name, "kind": kind, "options": shown, "secrets": secrets.keys().collect::<Vec<_>>()});
    let target = format!("connection/{name}");
    let entry = AuditEntry { action: "connection.try".into(), target, outcome: "allowed".into(), detail };
    platform.store.tenant(scope).audit(entry).await?;
    let stored = StoredConnection { kind, options: Value::Object(shown), secrets: SecretOptions(secrets) };
    let order = outfit::for_draft(platform, scope.tenant(), &name, stored).await?;
    Ok(ask(platform, order).await?)
}

async fn ask(platform: &Platform, order: WorkOrder) -> Result<ConnectionTest> {
    let answer = match platform.errands.ask(order).await {
        Ok(answer) => answer,
        Err(error) if error.kind() == weir_error::Kind::Internal => return Err(error),
        Err(error) => json!({"error": error.to_json()}),
    };
    Ok(read(&answer))
}

fn read(answer: &Value) -> ConnectionTest {
    let ok = &answer["ok"];
    let list = |key: &str| ok[key].as_array().cloned().unwrap_or_default();
    ConnectionTest {
        ok: ok["ok"].as_bool().unwrap_or(false),
        latency_ms: ok["latency_ms"].as_f64(),
        server_version: ok["server_version"].as_str().map(Into::into),
        missing_privileges: list("missing_privileges").iter().filter_map(Value::as_str).map(Into::into).collect(),
        checks: list("checks"),
        error: answer.get("error").filter(|error| !error.is_null()).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_and_an_error_are_read() {
        let works = read(
            &json!({"ok": {"ok": true, "latency_ms": 3.5, "server_version": "16.4", "missing_privileges": [], "checks": [{"name": "reach", "ok": true}]}}),
        );
        assert!(
            works.ok
                && works.latency_ms == Some(3.5)
                && works.server_version.as_deref() == Some("16.4")
                && works.checks.len() == 1
        );
        let fails = read(&json!({"error": {"code": "WEIR-PG-003", "message": "no", "hint": "start it"}}));
        assert!(!fails.ok && fails.latency_ms.is_none() && fails.error.unwrap()["hint"] == "start it");
        assert!(!read(&json!(null)).ok);
    }
}
