//! Puts values in place of references, in a whole JSON value at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde_json::Value;
use weir_error::{Error, Kind, Secret, veil};

use crate::provider::{Credentials, Environment, Provider, SecretFiles};
use crate::reference::{Part, Reference, Template, splice};
use crate::vault::Vault;

/// A reference that has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// Where in the options: `url`, `headers.Authorization`.
    pub path: String,
    /// The reference as written, without its default; for a malformed one the empty text.
    pub reference: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reference.is_empty() {
            write!(f, "{} ({})", self.reason, self.path)
        } else {
            write!(f, "{} ({}): {}", self.reference, self.path, self.reason)
        }
    }
}

/// What a value must be, for options that are no text: `port: ${PORT}` has to become a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// A whole number.
    Whole,
    /// Any number.
    Number,
    /// `true` or `false`.
    Truth,
}

/// What a resolver must know about options, by name.
#[derive(Debug, Clone, Default)]
pub struct OptionFacts {
    /// Options that hold secrets: only there (and below) a text that begins with `file://` is a reference.
    pub secret: BTreeSet<String>,
    /// Options that are numbers or truth values: there a value that is one single reference is parsed.
    pub plain: BTreeMap<String, Plain>,
}

/// Resolves references. Made once per pipeline.
pub struct Resolver {
    environment: Box<dyn Provider>,
    files: Box<dyn Provider>,
    credentials: Box<dyn Provider>,
    vault: Box<dyn Provider>,
    /// The path of a secret in Vault whose entries are the credentials.
    credentials_in_vault: Option<String>,
    facts: OptionFacts,
}

impl Resolver {
    /// The environment of this process, secret files confined to `base_dir` and the usual mounts, the credentials that
    /// `credentials_ref` names. `credentials_ref: vault://path` means the entries of that secret in Vault, unless
    /// `WEIR_CREDENTIALS_FILE` is set: then they are looked up there.
    pub fn new(base_dir: &Path, credentials_ref: Option<&str>, facts: OptionFacts) -> Self {
        let files = SecretFiles::new(base_dir);
        let credentials = Credentials::load(credentials_ref, &files);
        let in_vault = credentials_ref.and_then(|name| name.strip_prefix("vault://"));
        let in_vault = in_vault.filter(|_| std::env::var_os("WEIR_CREDENTIALS_FILE").is_none());
        Self {
            environment: Box::new(Environment),
            files: Box::new(files),
            credentials: Box::new(credentials),
            vault: Box::new(Vault::from_environment()),
            credentials_in_vault: in_vault.map(Into::into),
            facts,
        }
    }

    /// For a process that works for somebody who does not own the machine: no environment, secret files below `base_dir` only, `{{name}}` from
    /// `credentials`, `vault://` from `vault` (and `credentials_ref: vault://path` through it). Nothing of the machine is reachable.
    pub fn confined(
        base_dir: &Path,
        credentials_ref: Option<&str>,
        credentials: BTreeMap<String, String>,
        vault: impl Provider + 'static,
        facts: OptionFacts,
    ) -> Self {
        Self {
            environment: Box::new(BTreeMap::new()),
            files: Box::new(SecretFiles::confined(base_dir)),
            credentials: Box::new(credentials),
            vault: Box::new(vault),
            credentials_in_vault: credentials_ref.and_then(|name| name.strip_prefix("vault://")).map(Into::into),
            facts,
        }
    }

    /// Replaces the environment.
    #[must_use]
    pub fn with_environment(mut self, provider: impl Provider + 'static) -> Self {
        self.environment = Box::new(provider);
        self
    }

    /// Replaces the place behind `{{name}}`.
    #[must_use]
    pub fn with_credentials(mut self, provider: impl Provider + 'static) -> Self {
        self.credentials = Box::new(provider);
        self.credentials_in_vault = None;
        self
    }

    /// Replaces the place behind `file://path`; its locator is the path.
    #[must_use]
    pub fn with_files(mut self, provider: impl Provider + 'static) -> Self {
        self.files = Box::new(provider);
        self
    }

    /// Replaces the place behind `vault://`; its locator is `path#key`.
    #[must_use]
    pub fn with_vault(mut self, provider: impl Provider + 'static) -> Self {
        self.vault = Box::new(provider);
        self
    }

    /// The value with every reference replaced, or every reference that could not be. `at` is put before each path.
    pub fn resolve(&self, value: &Value, at: &str) -> Result<Value, Vec<Unresolved>> {
        let mut problems = Vec::new();
        let resolved = self.walk(value, at, false, &mut problems);
        if problems.is_empty() { Ok(resolved) } else { Err(problems) }
    }

    fn walk(&self, value: &Value, path: &str, secret: bool, problems: &mut Vec<Unresolved>) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text, path, secret, problems)),
            Value::Array(items) => Value::Array(
                items.iter().enumerate().map(|(i, item)| self.walk(item, &format!("{path}[{i}]"), secret, problems)).collect(),
            ),
            Value::Object(map) => Value::Object(
                map.iter()
                    .map(|(key, item)| {
                        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                        let secret = secret || self.facts.secret.contains(key);
                        let resolved = self.walk(item, &below, secret, problems);
                        (key.clone(), self.typed(key, item, resolved, &below, problems))
                    })
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    /// A single reference in the place of a number or truth value becomes one.
    fn typed(&self, key: &str, written: &Value, resolved: Value, path: &str, problems: &mut Vec<Unresolved>) -> Value {
        let (Some(plain), Value::String(written), Value::String(text)) = (self.facts.plain.get(key), written, &resolved) else {
            return resolved;
        };
        let single = match Template::parse(written, false) {
            Ok(template) => match template.parts.as_slice() {
                [Part::Reference(reference)] => reference.to_string(),
                _ => return resolved,
            },
            Err(_) => return resolved,
        };
        if problems.iter().any(|problem| problem.path == path) {
            return resolved;
        }
        let (value, expected) = match plain {
            Plain::Whole => (text.parse::<i64>().ok().map(Value::from), "a whole number"),
            Plain::Number => (text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from), "a number"),
            Plain::Truth => (text.parse::<bool>().ok().map(Value::from), "true or false"),
        };
        value.unwrap_or_else(|| {
            problems.push(Unresolved { path: path.into(), reference: single, reason: format!("its value is not {expected}") });
            Value::Null
        })
    }

    fn text(&self, text: &str, path: &str, secret: bool, problems: &mut Vec<Unresolved>) -> String {
        match Template::parse(text, secret) {
            Ok(template) => self.fill(&template, path, secret, problems),
            Err(reason) => {
                problems.push(Unresolved { path: path.into(), reference: String::new(), reason });
                String::new()
            }
        }
    }

    fn fill(&self, template: &Template, path: &str, secret: bool, problems: &mut Vec<Unresolved>) -> String {
        let mut built = String::new();
        for (index, part) in template.parts.iter().enumerate() {
            match part {
                Part::Text(text) => built.push_str(text),
                Part::Reference(reference) => {
                    let following: String = template.parts[index + 1..]
                        .iter()
                        .map(|part| match part {
                            Part::Text(text) => text.as_str(),
                            Part::Reference(_) => "",
                        })
                        .collect();
                    // What is spliced in before an `@` is the password of a URL.
                    let value = self.value(reference, path, secret || following.starts_with('@'), problems);
                    splice(&mut built, value.expose(), &following);
                }
            }
        }
        if secret {
            veil::remember(&built);
        }
        built
    }

    /// The value behind a reference. That it is a secret is made known before anybody can say it again; what stands in the environment is
    /// one only where one is expected.
    fn value(&self, reference: &Reference, path: &str, secret: bool, problems: &mut Vec<Unresolved>) -> Secret {
        let found = match reference {
            Reference::Environment { name, .. } => self.environment.get(name),
            Reference::Credential { name } => match &self.credentials_in_vault {
                // What was given by name comes first; only what is missing there is asked of Vault.
                Some(path) => match self.credentials.get(name) {
                    Ok(Some(value)) => Ok(Some(value)),
                    _ => self.vault.get(&format!("{path}#{name}")),
                },
                None => self.credentials.get(name),
            },
            Reference::Vault { path, key } => self.vault.get(&format!("{path}#{key}")),
            Reference::File { path } => self.files.get(path),
        };
        let reason = match (found, reference) {
            (Ok(Some(value)), Reference::Environment { default: Some(default), .. }) if value.is_empty() => {
                return Secret::new(self.fill(default, path, secret, problems));
            }
            (Ok(Some(value)), reference) => {
                if secret || !matches!(reference, Reference::Environment { .. }) {
                    veil::remember(value.expose());
                }
                return value;
            }
            (Ok(None), Reference::Environment { default: Some(default), .. }) => {
                return Secret::new(self.fill(default, path, secret, problems));
            }
            (Ok(None), Reference::Environment { .. }) => "the environment variable is not set".to_string(),
            (Ok(None), Reference::Credential { .. }) => "the credentials have no such entry".to_string(),
            (Ok(None), _) => "there is no such entry".to_string(),
            (Err(reason), _) => reason,
        };
        problems.push(Unresolved { path: path.into(), reference: reference.to_string(), reason });
        Secret::default()
    }
}

/// All unresolved references as one error of kind `Spec` (exit code 2).
pub fn unresolved_error(problems: &[Unresolved]) -> Error {
    let what = match problems.len() {
        1 => "a reference cannot be resolved".to_string(),
        n => format!("{n} references cannot be resolved"),
    };
    let why: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Error::new("WEIR-SECRET-001", Kind::Spec, what)
        .because(why.join("\n"))
        .hint("set what is missing, or give an environment reference a default: ${NAME:-text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn resolver(values: &[(&str, &str)]) -> Resolver {
        let map: BTreeMap<String, String> = values.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let folder = std::env::temp_dir();
        let facts = OptionFacts {
            secret: ["password".to_string(), "headers".to_string()].into(),
            plain: [("port".to_string(), Plain::Whole), ("tls".to_string(), Plain::Truth)].into(),
        };
        Resolver::new(&folder, None, facts).with_environment(map.clone()).with_credentials(map.clone()).with_vault(map)
    }

    #[test]
    fn replaces_in_every_text_and_leaves_the_rest() {
        let value = json!({
            "url": "postgresql://reader:${PW}@db:5432/${DB:-crm}", "port": 5432,
            "headers": {"Authorization": "Bearer {{token}}"},
            "query": "select * from t where at > '${last_run_time}'",
            "empty": "${EMPTY:-fallback}",
        });
        let resolved = resolver(&[("PW", "p@ss"), ("token", "abc"), ("EMPTY", "")]).resolve(&value, "").unwrap();
        assert_eq!(
            resolved,
            json!({
                "url": "postgresql://reader:p%40ss@db:5432/crm", "port": 5432,
                "headers": {"Authorization": "Bearer abc"},
                "query": "select * from t where at > '${last_run_time}'",
                "empty": "fallback",
            })
        );
    }

    #[test]
    fn all_missing_references_are_told_at_once_without_values() {
        let value = json!({"url": "http://${HOST}/", "password": "hunter2${MISSING}", "list": ["vault://a#b"]});
        let problems = resolver(&[]).resolve(&value, "source.postgres").unwrap_err();
        let error = unresolved_error(&problems);
        assert_eq!(error.what(), "3 references cannot be resolved");
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        for part in
            ["${HOST} (source.postgres.url)", "${MISSING} (source.postgres.password)", "vault://a#b (source.postgres.list[0])"]
        {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn file_references_count_only_where_a_secret_is_expected() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pw"), "s3cret\n").unwrap();
        let resolver =
            Resolver::new(folder.path(), None, OptionFacts { secret: ["password".to_string()].into(), ..OptionFacts::default() });
        let value = json!({"password": "file://pw", "path": "file:///data/x.csv"});
        assert_eq!(resolver.resolve(&value, "").unwrap(), json!({"password": "s3cret", "path": "file:///data/x.csv"}));
    }

    #[test]
    fn credentials_may_be_a_secret_in_vault() {
        let vault: BTreeMap<String, String> = [("polygon/credentials#api_key".to_string(), "k".to_string())].into();
        let credentials = Some("vault://polygon/credentials");
        let resolver = Resolver::new(Path::new("."), credentials, OptionFacts::default()).with_vault(std::sync::Arc::new(vault));
        assert_eq!(resolver.resolve(&json!("Bearer {{api_key}}"), "").unwrap(), json!("Bearer k"));
        assert!(resolver.resolve(&json!("{{other}}"), "").is_err());
    }

    #[test]
    fn a_number_in_the_environment_is_a_number_where_one_is_expected() {
        let resolver = resolver(&[("PORT", "5432"), ("TLS", "true"), ("BAD", "hunter2")]);
        let value = json!({"port": "${PORT}", "tls": "${TLS}", "host": "${PORT}"});
        assert_eq!(resolver.resolve(&value, "").unwrap(), json!({"port": 5432, "tls": true, "host": "5432"}));
        let problems = resolver.resolve(&json!({"port": "${BAD}", "tls": "${GONE}"}), "").unwrap_err();
        let text = unresolved_error(&problems).to_string();
        assert!(text.contains("${BAD} (port): its value is not a whole number") && !text.contains("hunter2"), "{text}");
        assert_eq!(problems.len(), 2, "{text}");
    }
}
