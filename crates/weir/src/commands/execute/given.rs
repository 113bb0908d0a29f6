//! Connections and secrets of the order, for the planner and the connectors.
//!
//! A stored connection enters the pipeline under its name, unless the file declares one of that name. Its secrets do not: in their place
//! stand references of names that nobody can guess, so that a secret which looks like a reference (`pa${s}word`) stays what it is, and that
//! no plan, diagnostic or fingerprint holds one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};
use weir_control::worker::order::{VaultAccess, VaultLogin, WorkOrder};
use weir_error::Secret;
use weir_secrets::provider::{Credentials, SecretFiles};
use weir_secrets::{Part, Provider, Reference, Template, Vault};
use weir_spec::Connection;

use crate::planning::Given;

/// What the order gives.
pub struct FromOrder {
    secrets: BTreeMap<String, Secret>,
    vault: Option<(VaultAccess, Vault)>,
    /// `None`: the tenant's files are in a bucket.
    base_dir: Option<PathBuf>,
}

const NO_FILES: &str = "this platform keeps files in a bucket, where secrets do not belong; store the secret with `PUT /api/v1/secrets/NAME` and write {{NAME}}";

/// The order's connections as the pipeline declares them, and what their references mean.
pub fn take(order: &WorkOrder) -> (BTreeMap<String, Connection>, Arc<dyn Given>) {
    let mut secrets = order.secrets.clone();
    let mut connections = BTreeMap::new();
    for (name, stored) in &order.connections {
        let mut options = match &stored.options {
            Value::Object(map) => map.clone(),
            _ => Map::new(),
        };
        for (option, value) in &stored.secrets.0 {
            options.insert(option.clone(), hidden(value, &mut secrets));
        }
        connections.insert(name.clone(), Connection { kind: stored.kind.clone(), options: Value::Object(options) });
    }
    let vault = order.vault.as_ref().map(|access| (access.clone(), client(access)));
    let base_dir = order.guard.bucket.is_none().then(|| order.base_dir.clone());
    (connections, Arc::new(FromOrder { secrets, vault, base_dir }))
}

/// The same value with a reference in place of each text that is not one already.
fn hidden(value: &Value, secrets: &mut BTreeMap<String, Secret>) -> Value {
    match value {
        Value::String(text) if is_reference(text) => Value::String(text.clone()),
        Value::String(text) => {
            let name = format!("connection-secret.{}", uuid::Uuid::new_v4().simple());
            let reference = format!("{{{{{name}}}}}");
            secrets.insert(name, Secret::new(text.clone()));
            Value::String(reference)
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| hidden(item, secrets)).collect()),
        Value::Object(map) => Value::Object(map.iter().map(|(key, item)| (key.clone(), hidden(item, secrets))).collect()),
        other => other.clone(),
    }
}

/// Whether the whole text is one reference to a secret that is kept elsewhere.
fn is_reference(text: &str) -> bool {
    let parsed = Template::parse(text, false);
    parsed.is_ok_and(|template| {
        matches!(template.parts.as_slice(), [Part::Reference(Reference::Vault { .. } | Reference::Credential { .. })])
    })
}

fn client(access: &VaultAccess) -> Vault {
    use weir_secrets::vault::{VaultConfig, VaultLogin as Login};
    let login = match access.login.clone() {
        VaultLogin::Token(token) => Login::Token(token),
        VaultLogin::AppRole { role_id, secret_id } => Login::AppRole { role_id, secret_id },
    };
    let (namespace, ca_cert) = (access.namespace.clone(), access.ca_cert.clone());
    Vault::new(VaultConfig { namespace, ca_cert, ..VaultConfig::new(access.address.clone(), login) })
}

impl Given for FromOrder {
    fn credential(&self, credentials_ref: Option<&str>, name: &str) -> Result<Option<Secret>, String> {
        if let Some(secret) = self.secrets.get(name) {
            return Ok(Some(secret.clone()));
        }
        match credentials_ref {
            Some(place) if place.starts_with("file://") => match &self.base_dir {
                Some(base) => Credentials::load(Some(place), &SecretFiles::confined(base)).get(name),
                None => Err(NO_FILES.into()),
            },
            Some(place) => match place.strip_prefix("vault://") {
                Some(path) => self.vault(&format!("{path}#{name}")),
                None => Err(format!(
                    "`credentials_ref: {place}` is neither vault:// nor file://, and no secret of that name is stored"
                )),
            },
            None => Err("no secret of that name is stored; store it with `PUT /api/v1/secrets/NAME`".into()),
        }
    }

    fn no_files(&self) -> Option<&'static str> {
        self.base_dir.is_none().then_some(NO_FILES)
    }

    fn vault(&self, locator: &str) -> Result<Option<Secret>, String> {
        let Some((access, vault)) = &self.vault else {
            return Err("this platform has no Vault; store the secret, or set VAULT_ADDRESS where the platform runs".into());
        };
        let path = locator.split_once('#').map_or(locator, |(path, _)| path);
        if !access.allows(path) {
            let tenant = access.only_tenant.as_deref().unwrap_or_default();
            return Err(format!("a pipeline of this tenant may read vault://MOUNT/{tenant}/… only"));
        }
        vault.get(locator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_of_connections_stay_what_they_are_and_out_of_the_pipeline() {
        let mut secrets = BTreeMap::new();
        let value = json!({"password": "pa${HOME}{{x}}word", "headers": {"A": "hunter2"}, "token": "vault://kv/t/a#b", "n": 5, "r": "{{api_key}}"});
        let shown = hidden(&value, &mut secrets);
        assert!(!shown.to_string().contains("hunter2") && !shown.to_string().contains("HOME"), "{shown}");
        assert_eq!((&shown["token"], &shown["n"], &shown["r"]), (&json!("vault://kv/t/a#b"), &json!(5), &json!("{{api_key}}")));
        let values: Vec<_> = secrets.values().map(|secret| secret.expose().to_string()).collect();
        assert!(values.contains(&"pa${HOME}{{x}}word".to_string()) && values.contains(&"hunter2".to_string()));
        let name = shown["password"].as_str().unwrap().trim_matches(['{', '}']).to_string();
        assert_eq!(secrets[&name].expose(), "pa${HOME}{{x}}word");
    }
}
