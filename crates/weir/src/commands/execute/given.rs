//! Connections and secrets of the order, for the planner and the connectors.
//!
//! The platform's own object store, where the order has it, is one more connection: of nodes and connections of that kind which name no server.
//! A server that a pipeline names never gets the platform's keys.
//!
//! A stored connection enters the pipeline under its name, unless the file declares one of that name. Its secrets do not: in their place
//! stand references of names that nobody can guess, so that a secret which looks like a reference (`pa${s}word`) stays what it is, and that
//! no plan, diagnostic or fingerprint holds one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};
use weir_connect::Registry;
use weir_control::worker::order::{VaultAccess, VaultLogin, WorkOrder};
use weir_error::Secret;
use weir_secrets::provider::{Credentials, SecretFiles};
use weir_secrets::{Part, Provider, Reference, Template, Vault};
use weir_spec::{Connection, Pipeline, Role};

use crate::planning::Given;

/// What the order gives.
pub struct FromOrder {
    secrets: BTreeMap<String, Secret>,
    vault: Option<(VaultAccess, Vault)>,
    /// `None`: the tenant's files are in a bucket.
    base_dir: Option<PathBuf>,
}

const NO_FILES: &str = "this platform keeps files in a bucket, where secrets do not belong; store the secret with `PUT /api/v1/secrets/NAME` and write {{NAME}}";

/// What the order gives, as the planner takes it.
pub struct Taken {
    /// The stored connections, as the pipeline would declare them.
    pub connections: BTreeMap<String, Connection>,
    /// The platform's object store.
    object_store: Option<Map<String, Value>>,
    /// What references mean.
    pub given: Arc<dyn Given>,
}

/// The name under which a pipeline has the platform's object store. No pipeline can declare it: it has a space.
const OBJECT_STORE: &str = "object store";
/// The connector, and the options that name a server, or say that it is none of ours.
const OBJECT_STORE_KIND: &str = "s3";
const NAME_A_SERVER: [&str; 7] = ["endpoint", "access_key", "secret_key", "session_token", "anonymous", "region", "path_style"];

impl Taken {
    /// Takes out a connection, complete.
    pub fn remove(&mut self, name: &str, registry: &Registry) -> Option<Connection> {
        let mut connection = self.connections.remove(name)?;
        if let Some(options) = self.object_store.as_ref().filter(|_| is_object_store(&connection.kind, registry)) {
            complete(&mut connection.options, options);
        }
        Some(connection)
    }

    /// Gives a pipeline what it does not declare itself.
    pub fn complete(&self, pipeline: &mut Pipeline, registry: &Registry) {
        for (name, connection) in &self.connections {
            pipeline.connections.entry(name.clone()).or_insert_with(|| connection.clone());
        }
        let Some(options) = &self.object_store else { return };
        let is_one = |kind: &str| is_object_store(kind, registry);
        for connection in pipeline.connections.values_mut().filter(|connection| is_one(&connection.kind)) {
            complete(&mut connection.options, options);
        }
        let mut used = false;
        let letters = pipeline.dead_letters.to.as_deref_mut();
        let systems = pipeline.nodes.iter_mut().filter(|node| node.role != Role::Transform).chain(letters);
        for node in systems.filter(|node| is_one(&node.kind)) {
            let Value::Object(written) = &mut node.options else { continue };
            if !written.contains_key("connection") && names_no_server(written) {
                written.insert("connection".into(), OBJECT_STORE.into());
                used = true;
            }
        }
        if used {
            let connection = Connection { kind: OBJECT_STORE_KIND.into(), options: Value::Object(options.clone()) };
            pipeline.connections.insert(OBJECT_STORE.into(), connection);
        }
    }
}

fn is_object_store(kind: &str, registry: &Registry) -> bool {
    registry.get(kind).is_some_and(|connector| connector.descriptor().name == OBJECT_STORE_KIND)
}

fn names_no_server(options: &Map<String, Value>) -> bool {
    NAME_A_SERVER.iter().all(|name| options.get(*name).is_none_or(Value::is_null))
}

fn complete(options: &mut Value, store: &Map<String, Value>) {
    if options.is_null() {
        *options = Value::Object(Map::new());
    }
    if let Value::Object(options) = options
        && names_no_server(options)
    {
        options.extend(store.clone());
    }
}

/// The order's connections as the pipeline declares them, and what their references mean.
pub fn take(order: &WorkOrder) -> Taken {
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
    let object_store = order.object_store.as_ref().map(|store| {
        let mut options = Map::new();
        options.insert("endpoint".into(), store.endpoint.clone().into());
        for (option, value) in [("access_key", store.access_key.as_str()), ("secret_key", store.secret_key.expose())] {
            options.insert(option.into(), hidden(&value.into(), &mut secrets));
        }
        options
    });
    let vault = order.vault.as_ref().map(|access| (access.clone(), client(access)));
    let base_dir = order.guard.bucket.is_none().then(|| order.base_dir.clone());
    Taken { connections, object_store, given: Arc::new(FromOrder { secrets, vault, base_dir }) }
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

    fn pipeline(text: &str) -> Pipeline {
        let registry = weir_connectors::registry::registry();
        let parsed = weir_spec::parse(text, "p.yaml", &weir_plan::vocabulary(&registry));
        assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
        parsed.pipelines.into_iter().next().unwrap()
    }

    #[test]
    fn the_platforms_object_store_is_for_nodes_that_name_no_server_and_for_no_other_server() {
        let mut options = Map::new();
        options.insert("endpoint".into(), "http://minio:9000".into());
        options.insert("secret_key".into(), "{{connection-secret.1}}".into());
        let taken = Taken {
            connections: BTreeMap::from([
                ("lake".into(), Connection { kind: "minio".into(), options: json!({"bucket": "lake"}) }),
                ("theirs".into(), Connection { kind: "s3".into(), options: json!({"endpoint": "http://evil:9000"}) }),
            ]),
            object_store: Some(options),
            given: Arc::new(FromOrder { secrets: BTreeMap::new(), vault: None, base_dir: None }),
        };
        let registry = weir_connectors::registry::registry();
        let of = |node: &str| {
            let mut made = pipeline(&format!("pipeline: p\nsource: {{{node}}}\nsink: {{file: {{path: out.csv}}}}\n"));
            taken.complete(&mut made, &registry);
            let node = made.of(Role::Source).next().unwrap().options.clone();
            let name = node["connection"].as_str().map(str::to_owned);
            (node, name.and_then(|name| made.connections.get(&name).cloned()).map(|connection| connection.options))
        };
        for node in ["s3: {path: b/in.csv}", "minio: {path: in.csv, bucket: b}", "s3: {connection: lake, path: in.csv}"] {
            let (_, server) = of(node);
            assert_eq!(server.unwrap()["endpoint"], "http://minio:9000", "{node}");
        }
        for node in [
            "s3: {path: b/in.csv, endpoint: 'http://evil:9000'}",
            "s3: {path: b/in.csv, access_key: a, secret_key: '{{b}}'}",
            "s3: {path: b/in.csv, anonymous: true}",
            "s3: {path: b/in.csv, region: eu-west-1}",
            "s3: {connection: theirs, path: b/in.csv}",
            "file: {path: in.csv}",
        ] {
            let (node_options, server) = of(node);
            let all = format!("{node_options} {}", server.unwrap_or_default());
            assert!(!all.contains("minio:9000") && !all.contains("connection-secret"), "{node}: {all}");
        }
    }
}
