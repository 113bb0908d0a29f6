//! `vault://path#key`: secrets of a HashiCorp Vault or OpenBao server, key-value engines of both versions.
//!
//! `vault://secret/lake#access` is the entry `access` of what `vault kv get secret/lake` shows. The mount may have several parts, and the
//! engine's version is found out. Engines that answer a plain read with entries (database credentials, for example) work too.
//!
//! [`VaultLogin`]: with a token, or with an AppRole that gets one. A [`Keeper`] does it for a process that stays: it renews what ages.
//!
//! Each path is asked for once; everything that refers to it gets entries of the same reading.

mod client;
mod config;
mod keeper;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};
use weir_error::Secret;

use crate::provider::Provider;
use client::{Client, Failed};
use session::Session;

pub use client::VaultHealth;
pub use config::{VaultConfig, VaultLogin};
pub use keeper::Keeper;

/// A Vault server. Nothing is asked, and nothing about it needs to be set, until the first reference needs it.
pub struct Vault {
    config: Result<VaultConfig, String>,
    known: Mutex<Known>,
}

/// A secret's entries; those without a value are `None`.
type Entries = BTreeMap<String, Option<Secret>>;

#[derive(Default)]
struct Known {
    /// By path. Refusals are kept too: a second reference to the path is told the same.
    paths: BTreeMap<String, Result<Entries, String>>,
    /// What we are logged in with.
    session: Session,
    /// Why nothing more is asked: waiting for a server that is away would be repeated for each path.
    down: Option<String>,
}

impl Vault {
    /// The server that `VAULT_ADDR` names; see [`VaultConfig::from_environment`].
    pub fn from_environment() -> Self {
        Self { config: VaultConfig::from_environment(), known: Mutex::default() }
    }

    /// A server.
    pub fn new(config: VaultConfig) -> Self {
        Self { config: Ok(config), known: Mutex::default() }
    }

    fn entries<'k>(&self, known: &'k mut Known, path: &str) -> Result<&'k Entries, String> {
        if !known.paths.contains_key(path) {
            if let Some(reason) = &known.down {
                return Err(reason.clone());
            }
            let found = match self.fetch(path, &mut known.session) {
                Ok(entries) => Ok(entries),
                Err(Failed::Path(reason) | Failed::Refused(reason)) => Err(reason),
                Err(Failed::Server(reason)) => {
                    known.down = Some(reason.clone());
                    return Err(reason);
                }
            };
            known.paths.insert(path.into(), found);
        }
        match known.paths.get(path) {
            Some(Ok(entries)) => Ok(entries),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err("Vault was not asked".into()),
        }
    }

    /// Asks on a thread of its own: callers may be inside an async runtime, where one may not wait for another.
    fn fetch(&self, path: &str, session: &mut Session) -> Result<Entries, Failed> {
        let config = self.config.as_ref().map_err(|reason| Failed::Server(reason.clone()))?;
        let ask = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Failed::Server(format!("Vault cannot be asked: {error}")))?;
            let client = Client::new(config).map_err(Failed::Server)?;
            runtime.block_on(read(&client, config, session, path))
        };
        let asked = std::thread::scope(|scope| scope.spawn(ask).join());
        let entries = asked.unwrap_or_else(|_| Err(Failed::Server("the Vault client ended unexpectedly".into())))?;
        Ok(entries.into_iter().map(|(key, value)| (key, text(value).map(Secret::new))).collect())
    }
}

/// Reads a secret. A token that we got ourselves may have been revoked meanwhile: then we log in once more.
async fn read(client: &Client, config: &VaultConfig, session: &mut Session, path: &str) -> Result<Map<String, Value>, Failed> {
    let fresh = session.is_empty();
    let token = session.token(client, &config.login).await?;
    match client.secret(path, &token).await {
        Err(Failed::Refused(reason)) if !fresh => {
            if !session.replace(client, &config.login).await? {
                return Err(Failed::Refused(reason));
            }
            client.secret(path, &session.token(client, &config.login).await?).await
        }
        read => read,
    }
}

impl Provider for Vault {
    fn get(&self, locator: &str) -> Result<Option<Secret>, String> {
        let (path, key) = locator.split_once('#').ok_or("a Vault reference is written vault://path#key")?;
        // Held while asking, so that two who want the same path do not both ask.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = self.entries(&mut known, path)?;
        match entries.get(key) {
            Some(Some(value)) => Ok(Some(value.clone())),
            Some(None) => Err(format!("the secret's entry `{key}` is null")),
            None if entries.is_empty() => Err(format!("the secret has no entry `{key}`; it is empty")),
            None => {
                let keys: Vec<String> = entries.keys().map(|key| format!("`{key}`")).collect();
                Err(format!("the secret has no entry `{key}`; it has {}", keys.join(", ")))
            }
        }
    }
}

/// Entries are mostly text; numbers and truth values are taken as written, and what is nested as JSON.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}
