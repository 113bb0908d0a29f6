//! Which options of a connection are secret.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::jobs::spelling;

/// An option whose value stays as it is: what answers show in the place of a secret.
pub(super) fn kept(value: &Value) -> bool {
    *value == json!({"set": true})
}

/// The options that may be shown, and those that may not. `secret` are the names that the connector marks.
pub(super) fn divide(options: &Map<String, Value>, secret: &BTreeSet<String>) -> (Map<String, Value>, Map<String, Value>) {
    let (mut shown, mut sealed) = (Map::new(), Map::new());
    for (name, value) in options.iter().filter(|(_, value)| !value.is_null()) {
        let marked = secret.contains(name);
        let to = if tells(name, value, marked, secret) { &mut sealed } else { &mut shown };
        to.insert(name.clone(), value.clone());
    }
    (shown, sealed)
}

/// Whether a value holds a secret in clear. A value of references only (`vault://…`, `{{name}}`) does not.
fn tells(key: &str, value: &Value, marked: bool, secret: &BTreeSet<String>) -> bool {
    let marked = marked || secret.contains(key) || spelling::sounds_secret(key);
    match value {
        Value::String(text) if marked => spelling::has_literal(text),
        Value::String(text) => spelling::embedded(text).iter().any(|(start, end)| spelling::has_literal(&text[*start..*end])),
        Value::Number(_) => marked,
        Value::Array(items) => items.iter().any(|item| tells(key, item, marked, secret)),
        Value::Object(map) => map.iter().any(|(key, item)| tells(key, item, marked, secret)),
        Value::Bool(_) | Value::Null => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_by_mark_by_name_and_inside_of_urls_and_maps() {
        let secret = BTreeSet::from(["value".to_string()]);
        let options = json!({
            "host": "db", "port": 5432, "password": "hunter2", "url": "postgresql://u:hunter2@db/x", "other_url": "postgresql://u@db/x",
            "headers": {"Accept": "json", "Authorization": "Bearer hunter2"}, "plain_headers": {"Accept": "json"},
            "auth": {"api_key": {"name": "X-Key", "value": "hunter2"}}, "access_key": "AKIA", "gone": null,
            "secret_key": "vault://lake#secret", "session_token": "{{token}}", "bearer": "Bearer {{token}}", "anonymous": true,
            "safe_url": "postgresql://u:${PW}@db/x",
        });
        let (shown, sealed) = divide(options.as_object().unwrap(), &secret);
        assert_eq!(sealed.keys().collect::<Vec<_>>(), ["password", "url", "headers", "auth", "access_key"]);
        assert_eq!(
            shown.keys().collect::<Vec<_>>(),
            ["host", "port", "other_url", "plain_headers", "secret_key", "session_token", "bearer", "anonymous", "safe_url"]
        );
    }
}
