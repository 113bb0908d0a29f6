//! The settings that this server runs with.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use weir_control::access::Caller;

use super::page::All;
use crate::answer::{Answer, Reply};
use crate::ask::Ask;

/// A setting in effect. Secrets are `***`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Setting)]
pub struct SettingView {
    /// Its key in the configuration file.
    pub key: String,
    /// Its value; null: it has none.
    pub value: Value,
    /// `default`, the file, the variable or the flag that it came from.
    pub origin: String,
    /// Variables of the environment that set it.
    pub variables: Vec<String>,
    /// The flag that sets it.
    pub flag: Option<String>,
}

/// `GET /config`.
pub async fn effective(ask: Ask, _me: Caller) -> Reply {
    let settings = ask.app.platform.effective.as_object().cloned().unwrap_or_default();
    let items = settings.into_iter().map(|(key, entry)| {
        let text = |name: &str| entry[name].as_str().map(str::to_owned);
        let variables = entry["variables"].as_array().into_iter().flatten().filter_map(Value::as_str);
        SettingView {
            key,
            value: entry["value"].clone(),
            origin: text("origin").unwrap_or_default(),
            variables: variables.map(Into::into).collect(),
            flag: text("flag"),
        }
    });
    Answer::json(&All { items: items.collect() })
}
