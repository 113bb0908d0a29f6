//! Settings for people: values without secrets, where they came from, and the reference page.

use std::fmt::Write;

use serde_json::{Value, json};
use weir_error::veil;

use super::fields::{Default, Hidden, SECTIONS};
use super::layers::Effective;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// A setting's value as it may be shown; `None` = it has none.
pub fn value(effective: &Effective) -> Option<Value> {
    let value = effective.value.as_ref()?;
    Some(match effective.field.hidden {
        Hidden::All => Value::from(HIDDEN),
        Hidden::Login => Value::from(without_login(value.as_str().unwrap_or_default())),
        Hidden::Nothing => without_named_secrets(value),
    })
}

/// The same as one line of text.
pub fn text(effective: &Effective) -> String {
    match value(effective) {
        None => "-".into(),
        Some(Value::String(text)) => text,
        Some(Value::Array(items)) if items.is_empty() => "-".into(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        Some(other) => other.to_string(),
    }
}

/// Makes the secrets of the settings known, so that no error and no log line shows one.
pub fn remember_secrets(effective: &[Effective]) {
    for one in effective {
        let Some(text) = one.value.as_ref().and_then(Value::as_str) else { continue };
        match one.field.hidden {
            Hidden::All => std::iter::once(text).chain(text.split(',')).for_each(veil::remember),
            Hidden::Login | Hidden::Nothing => {}
        }
        let Ok(url) = url::Url::parse(text) else { continue };
        url.password().into_iter().for_each(veil::remember);
        let named = url.query_pairs().filter(|(name, _)| is_secret_name(name));
        named.for_each(|(_, value)| veil::remember(&value));
    }
}

/// All settings as JSON: key → value and origin.
pub fn to_json(effective: &[Effective]) -> Value {
    let entries = effective.iter().map(|one| {
        let entry = json!({"value": value(one), "origin": one.origin.to_string(), "variables": one.field.variables, "flag": one.field.flag});
        (one.field.key.to_owned(), entry)
    });
    Value::Object(entries.collect())
}

/// An address without user, password and query, in which drivers take passwords too.
pub fn without_login(address: &str) -> String {
    let Ok(mut url) = url::Url::parse(address) else { return HIDDEN.into() };
    if url.cannot_be_a_base() {
        return if url.scheme() == "sqlite" { address.into() } else { HIDDEN.into() };
    }
    if url.password().is_some() && url.set_password(Some(HIDDEN)).is_err() {
        return HIDDEN.into();
    }
    if url.query().is_some() {
        let kept: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| {
                let value = if is_secret_name(&name) { HIDDEN.into() } else { value.into_owned() };
                (name.into_owned(), value)
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(kept);
    }
    url.into()
}

/// Free-form settings may hold anything; what is named like a secret is hidden.
fn without_named_secrets(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, inner)| {
                    let inner = if is_secret_name(key) { Value::from(HIDDEN) } else { without_named_secrets(inner) };
                    (key.clone(), inner)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_named_secrets).collect()),
        other => other.clone(),
    }
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passwd", "secret", "token", "credential", "key"].iter().any(|part| name.contains(part))
}

/// The reference page, from the table.
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         Settings of `weir serve`, `weir worker` and `weir runner`. Made from the table that parses them by `WEIR_REWRITE=1 cargo nextest run -p weir-control config`.\n\n\
         A setting comes from, the later winning: its default, the JSON file (`--config FILE` or `WEIR_CONFIG`), the environment, flags. An empty variable\n\
         counts as unset, and so does `null` in the file. Unknown keys of the file are refused. `weir config show` prints every setting, its value and where it came from; secrets are hidden.\n",
    );
    for section in SECTIONS {
        let _ = write!(
            page,
            "\n## {}\n\n| key | environment | flag | default | what |\n| --- | --- | --- | --- | --- |\n",
            section.title
        );
        for field in section.fields {
            let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
            let variables: Vec<String> = field.variables.iter().map(|name| code(name)).collect();
            let default = match field.default {
                Default::None | Default::Text("") => String::new(),
                Default::Text(text) => code(text),
                Default::Derived(words, _) => words.to_owned(),
            };
            let secret = if field.hidden == Hidden::All { " (secret)" } else { "" };
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {default} | {}{secret}. Allowed: {} |",
                field.key,
                variables.join(", "),
                code(field.flag.unwrap_or_default()),
                field.doc,
                field.shape.allowed(),
            );
        }
    }
    page
}
