//! The connectors that this build has, with the schemas of their options.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use weir_control::access::Caller;

use crate::answer::{Answer, Reply};
use crate::ask::Ask;

/// Everything that `weir connectors --json` prints.
#[derive(Debug, Serialize, ToSchema)]
pub struct Connectors {
    /// One object per connector: name, options, capabilities.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Value>,
}

/// `GET /connectors`.
pub async fn list(ask: Ask, _me: Caller) -> Reply {
    let bytes = ask.app.connectors.get_or_init(|| {
        let items = match ask.app.platform.workbench.connectors() {
            Value::Array(items) => items,
            Value::Object(mut fields) => match fields.remove("connectors") {
                Some(Value::Array(items)) => items,
                _ => vec![Value::Object(fields)],
            },
            other => vec![other],
        };
        serde_json::to_vec(&Connectors { items }).unwrap_or_default().into()
    });
    Ok(Answer::bytes(StatusCode::OK, "application/json", bytes.clone()))
}
