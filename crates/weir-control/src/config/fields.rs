//! What a setting is. The settings themselves are in `table`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::shape::Shape;

pub use super::table::SECTIONS;

/// Values by key, in normal form.
pub(super) type Values = BTreeMap<&'static str, Value>;

/// One setting.
#[derive(Debug)]
pub struct Field {
    /// Its key in the file.
    pub key: &'static str,
    /// Environment variables that set it; the first wins.
    pub variables: &'static [&'static str],
    /// The flag of `weir serve` that sets it.
    pub flag: Option<&'static str>,
    /// What its value may be.
    pub shape: Shape,
    /// What it is when nobody sets it.
    pub default: Default,
    /// What of it must not be shown.
    pub hidden: Hidden,
    /// What it means.
    pub doc: &'static str,
}

/// What a setting is when nobody sets it.
#[derive(Debug, Clone, Copy)]
pub enum Default {
    /// Nothing.
    None,
    /// This text, read as if somebody had written it.
    Text(&'static str),
    /// Made from the settings above it in the table; the words are for the reference.
    Derived(&'static str, fn(&Values) -> Option<Value>),
}

/// What of a setting must not be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// It is no secret.
    Nothing,
    /// The user and password inside an address.
    Login,
    /// All of it.
    All,
}

/// A part of the table, for the reference.
#[derive(Debug)]
pub struct Section {
    /// Its title.
    pub title: &'static str,
    /// Its settings.
    pub fields: &'static [Field],
}

/// All settings.
pub fn fields() -> impl Iterator<Item = &'static Field> {
    SECTIONS.iter().flat_map(|section| section.fields)
}

/// The setting of that key.
pub fn field(key: &str) -> Option<&'static Field> {
    fields().find(|field| field.key == key)
}

/// Variables of this program that are no settings of the server; a name near to one of ours is told, these are not.
pub(super) const OTHER_VARIABLES: &[&str] = &[
    "WEIR_CONFIG",
    "WEIR_STATE_DIR",
    "WEIR_LAKE",
    "WEIR_CREDENTIALS_FILE",
    "WEIR_SECRETS_PATH",
    "WEIR_SQLITE_SYNCHRONOUS",
    "WEIR_TOKEN",
    "WEIR_SERVER",
    "WEIR_CACHE",
];

/// The default in normal form.
pub(super) fn default_of(field: &Field, values: &Values) -> Option<Value> {
    match field.default {
        Default::None => None,
        Default::Text(text) => field.shape.read(&json!(text)).ok(),
        Default::Derived(_, derive) => derive(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_variables_and_flags_are_unique_and_every_default_can_be_read() {
        let (mut keys, mut variables, mut flags) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for field in fields() {
            assert!(keys.insert(field.key), "{} twice", field.key);
            assert!(field.variables.iter().all(|name| variables.insert(*name)), "{}", field.key);
            assert!(field.flag.is_none_or(|flag| flags.insert(flag)), "{}", field.key);
            if let Default::Text(text) = field.default {
                assert!(field.shape.read(&json!(text)).is_ok(), "{} = {text}", field.key);
            }
        }
    }

    #[test]
    fn every_variable_of_the_seeds_is_there() {
        for name in [
            "DATABASE_URL",
            "PULSAR_URL",
            "KUBERNETES_NAMESPACE",
            "MINIO_ENDPOINT",
            "MINIO_ACCESS_KEY",
            "MINIO_SECRET_KEY",
            "IGNITE_HOSTS",
            "ALERT_WEBHOOK_URL",
            "AIRFLOW_ENABLED",
            "RUNNER_ID",
            "TENANT_ID",
            "MAX_CONCURRENT_JOBS",
            "JOB_TIMEOUT_SECONDS",
            "VAULT_ENABLED",
            "VAULT_ADDRESS",
            "VAULT_TOKEN",
            "VAULT_ROLE_ID",
            "VAULT_SECRET_ID",
            "KUBERNETES_ENABLED",
            "METRICS_ENABLED",
            "METRICS_PORT",
            "METRICS_PATH",
            "TRACING_ENABLED",
            "TRACING_ENDPOINT",
            "TRACING_SERVICE_NAME",
            "LOG_LEVEL",
            "LOG_FORMAT",
        ] {
            assert!(fields().any(|field| field.variables.contains(&name)), "{name}");
        }
    }
}
