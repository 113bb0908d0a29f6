//! The options of a node. Each must be read by the compiler or is told: an option that is left out silently would change what the
//! pipeline does.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};
use weir_spec::Role;
use weir_spec::model::Node;

use super::Compiling;
use super::text::{NoText, Text};

/// How our own engine paces and probes: no row depends on it, so other engines have their own and lose nothing.
const PACE: &[&str] = &[
    "ack_timeout_secs",
    "allow_repeated_pages",
    "await_ms",
    "batch_bytes",
    "batch_messages",
    "batch_rows",
    "broker_timeout_secs",
    "chunk_bytes",
    "chunk_documents",
    "confirm_timeout_secs",
    "connect_timeout_secs",
    "fetch_bytes",
    "fetch_documents",
    "heartbeat_secs",
    "inbox",
    "infer_rows",
    "linger_ms",
    "load",
    "max_buffer",
    "max_buffer_bytes",
    "max_open_files",
    "max_response_bytes",
    "max_retries",
    "max_retry_wait_secs",
    "prefetch",
    "progress_topic",
    "receive_maximum",
    "retry_base_ms",
    "sample_documents",
    "sample_pages",
    "sample_records",
    "schema_sample_files",
    "split_bytes",
    "split_documents",
    "split_rows",
    "split_size",
    "staging_schema",
    "state_collection",
    "state_schema",
    "target_file_size",
    "timeout_secs",
    "transaction_timeout_secs",
    "transactional_id_prefix",
    "user_agent",
];

/// The options of one node, its connection's among them.
pub struct Options<'c> {
    compiling: &'c Compiling<'c>,
    node: &'c Node,
    values: Map<String, Value>,
    secrets: BTreeSet<String>,
    used: RefCell<BTreeSet<String>>,
}

impl<'c> Options<'c> {
    pub(super) fn of(compiling: &'c Compiling<'_>, node: &'c Node) -> Self {
        // Shortens the lifetime of what the compilation borrows to that of this borrow.
        let compiling: &'c Compiling<'c> = compiling;
        let mut values = node.options.as_object().cloned().unwrap_or_default();
        let named = match values.remove("connection") {
            Some(Value::String(name)) => {
                compiling.pipeline().connections.get(&name).and_then(|known| known.options.as_object().cloned())
            }
            Some(Value::Object(inline)) => Some(inline),
            _ => None,
        };
        for (name, value) in named.unwrap_or_default() {
            values.entry(name).or_insert(value);
        }
        values.retain(|_, value| !value.is_null());
        let mut secrets = BTreeSet::new();
        if let Some(connector) = compiling.job.registry.get(&node.kind) {
            let descriptor = connector.descriptor();
            let own = if node.role == Role::Sink { &descriptor.sink } else { &descriptor.source };
            [Some(&descriptor.connection), own.as_ref()]
                .into_iter()
                .flatten()
                .for_each(|schema| secret_names(schema, &mut secrets));
        }
        Self { compiling, node, values, secrets, used: RefCell::default() }
    }

    /// The compilation that this belongs to.
    pub fn compiling(&self) -> &'c Compiling<'c> {
        self.compiling
    }

    /// The node.
    pub fn node(&self) -> &'c Node {
        self.node
    }

    /// Whether an option is given. Does not count as reading it.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// An option as it is written.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.used.borrow_mut().insert(name.into());
        self.values.get(name)
    }

    /// A text; numbers and truth values are text too.
    pub fn text(&self, name: &str) -> Option<Text> {
        let written = scalar(self.value(name)?)?;
        Some(self.as_text(&written, self.secrets.contains(name), name))
    }

    /// A text without references, for what decides about the artefact's form.
    pub fn word(&self, name: &str) -> Option<String> {
        self.plain(name, self.text(name)?)
    }

    /// What text must be known now.
    pub fn plain(&self, name: &str, text: Text) -> Option<String> {
        match text.as_plain() {
            Some(plain) => Some(plain.to_string()),
            None => {
                self.refuse(
                    Some(name),
                    format!("must know `{name}` when the pipeline is compiled"),
                    "write it without a reference",
                );
                None
            }
        }
    }

    /// A list of words; one word is a list of one.
    pub fn words(&self, name: &str) -> Vec<String> {
        let all: Vec<String> = match self.value(name) {
            Some(Value::Array(items)) => items.iter().filter_map(scalar).collect(),
            Some(one) => scalar(one).into_iter().collect(),
            None => Vec::new(),
        };
        all.into_iter().filter_map(|item| self.plain(name, self.as_text(&item, false, name))).collect()
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.value(name)? {
            Value::Number(number) => number.as_u64(),
            _ => self.word(name).and_then(|text| text.parse().ok()),
        }
    }

    /// A truth value.
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.value(name)? {
            Value::Bool(truth) => Some(*truth),
            _ => self.word(name).and_then(|text| text.parse().ok()),
        }
    }

    /// A map of texts, in the order written. Values of keys that sound like a secret are taken for one.
    pub fn map(&self, name: &str) -> Vec<(String, Text)> {
        let Some(Value::Object(map)) = self.value(name) else { return Vec::new() };
        let entries = map.iter().map(|(key, value)| {
            let written = scalar(value).unwrap_or_else(|| value.to_string());
            let secret = self.secrets.contains(name) || self.secrets.contains(key) || sounds_secret(key);
            (key.clone(), self.as_text(&written, secret, &format!("{name}.{key}")))
        });
        entries.collect()
    }

    /// One entry of a map that stands inside of another option: a secret if its key sounds like one.
    pub fn entry(&self, name: &str, key: &str, written: &str) -> Text {
        self.as_text(written, sounds_secret(key), &format!("{name}.{key}"))
    }

    /// An address: a password in it becomes a variable.
    pub fn address(&self, name: &str) -> Option<Text> {
        let written = scalar(self.value(name)?)?;
        Some(self.address_text(&written, name))
    }

    /// The same of a text.
    pub fn address_text(&self, written: &str, name: &str) -> Text {
        let parts = written.split_once("://").and_then(|(scheme, rest)| {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (login, host) = rest[..end].rsplit_once('@')?;
            let (user, password) = login.split_once(':')?;
            Some((format!("{scheme}://"), user.to_string(), password.to_string(), format!("@{host}{}", &rest[end..])))
        });
        match parts {
            None => self.as_text(written, false, name),
            Some((scheme, user, password, rest)) => {
                let start = Text::plain(scheme).then(self.as_text(&user, false, name)).then(":");
                start.then(self.as_text(&password, true, &format!("{name}_password"))).then(self.as_text(&rest, false, name))
            }
        }
    }

    /// A text of this node with its references as variables.
    pub fn as_text(&self, written: &str, secret: bool, option: &str) -> Text {
        let read = self.compiling.variables.borrow_mut().text(written, secret, &self.node.name, option);
        read.unwrap_or_else(|why| {
            let option = option.split('.').next();
            match why {
                NoText::Bound => {
                    self.refuse(option, "binds no `${last_run_time}` and no `${cursor}`", "`mode: cdc`, or the native engine")
                }
                NoText::Broken(why) => self.refuse(option, format!("cannot be given this reference: {why}"), ""),
            }
            Text::default()
        })
    }

    /// Takes note of every variable that the options refer to; what our own engine binds is none.
    pub fn expect_references(&self) {
        let mut open: Vec<(&str, &Value)> = self.values.iter().map(|(name, value)| (name.as_str(), value)).collect();
        while let Some((key, value)) = open.pop() {
            match value {
                Value::Object(map) => open.extend(map.iter().map(|(name, value)| (name.as_str(), value))),
                Value::Array(items) => open.extend(items.iter().map(|item| (key, item))),
                Value::String(text) if weir_spec::reference::has_reference(text) => {
                    let secret = self.secrets.contains(key) || sounds_secret(key);
                    // A text that is no reference after all is what it is.
                    let _ = self.compiling.variables.borrow_mut().text(text, secret, &self.node.name, key);
                }
                _ => {}
            }
        }
    }

    /// Everything that is written, the connection's options among it, with variables in place of secrets in plain text. For a pipeline
    /// of our
    /// own: references stay as they are.
    pub fn masked(&self) -> Value {
        let mut all = self.values.clone();
        for (name, value) in &mut all {
            self.mask(name, name, value);
        }
        Value::Object(all)
    }

    fn mask(&self, key: &str, path: &str, value: &mut Value) {
        match value {
            Value::Object(map) => map.iter_mut().for_each(|(name, value)| self.mask(name, &format!("{path}.{name}"), value)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask(key, path, item)),
            Value::String(text) => {
                let refers =
                    text.contains("${") || text.contains("{{") || text.starts_with("vault://") || text.starts_with("file://");
                if (self.secrets.contains(key) || sounds_secret(key)) && !refers {
                    *text = self.as_text(text, true, path).braces();
                } else if text.contains("://") && text.contains('@') {
                    *text = self.address_text(text, path).braces();
                }
            }
            _ => {}
        }
    }

    /// Something that this node cannot have on the engine.
    pub fn refuse(&self, option: Option<&str>, why: impl Into<String>, alternatives: impl Into<String>) {
        self.compiling.refuse(self.node, option, why, alternatives);
    }

    /// An option that is given though the engine cannot have it. `Some` value that equals `harmless` is taken for not given.
    pub fn refuse_unless(&self, name: &str, harmless: &Value, why: &str, alternatives: &str) {
        if self.value(name).is_some_and(|given| given != harmless) {
            self.refuse(Some(name), why, alternatives);
        }
    }

    /// Marks options as read that are of no consequence here.
    pub fn pass(&self, names: &[&str]) {
        self.used.borrow_mut().extend(names.iter().map(|name| (*name).to_string()));
    }

    /// Tells each option that nobody has read.
    pub fn finish(&self) {
        let used = self.used.borrow();
        for name in self.values.keys().filter(|name| !used.contains(*name)) {
            if PACE.contains(&name.as_str()) {
                self.compiling.note(format!("`{}.{name}` is for the native engine and was left out", self.node.name));
            } else {
                self.refuse(Some(name), format!("has nothing for `{name}`"), "remove the option, or use the native engine");
            }
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// Headers and settings that carry credentials.
fn sounds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let words = [
        "authorization",
        "password",
        "passwd",
        "secret",
        "token",
        "api-key",
        "api_key",
        "apikey",
        "cookie",
        "credential",
        "jaas",
    ];
    words.iter().any(|word| key.contains(word))
}

/// Names of secret options anywhere in a schema.
fn secret_names(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                let secret = properties.iter().filter(|(_, property)| property.get("x-weir-secret") == Some(&Value::Bool(true)));
                found.extend(secret.map(|(name, _)| name.clone()));
            }
            map.values().for_each(|inner| secret_names(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| secret_names(inner, found)),
        _ => {}
    }
}
