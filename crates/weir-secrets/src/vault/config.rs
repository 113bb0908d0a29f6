//! Where Vault is and who asks: the environment variables that Vault's own tools use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_error::Secret;

/// How to reach Vault (or OpenBao, which speaks the same protocol).
#[derive(Debug, Clone)]
pub struct VaultConfig {
    /// Address of the server, `https://vault.example.org:8200`. A path in it is kept, for servers behind a proxy.
    pub address: String,
    /// The token that is sent with every request.
    pub token: Secret,
    /// The namespace, for servers that have several.
    pub namespace: Option<String>,
    /// A file with PEM certificates. Only these are trusted then, as Vault's own tools do it; default: the system's.
    pub ca_cert: Option<PathBuf>,
    /// How long one request may take.
    pub timeout: Duration,
    /// How long is waited before the second try; twice that before the third, which is the last.
    pub pause: Duration,
}

impl VaultConfig {
    /// `VAULT_ADDR`, `VAULT_TOKEN` (else the file `~/.vault-token`, which `vault login` writes), `VAULT_NAMESPACE`, `VAULT_CACERT`.
    /// The error says what to set.
    pub fn from_environment() -> Result<Self, String> {
        let text = |name: &str| std::env::var(name).ok();
        Self::from_variables(text, std::env::var_os("HOME").map(PathBuf::from).as_deref())
    }

    pub(super) fn from_variables(variable: impl Fn(&str) -> Option<String>, home: Option<&Path>) -> Result<Self, String> {
        let set = |name: &str| variable(name).map(|text| text.trim().to_string()).filter(|text| !text.is_empty());
        let address = set("VAULT_ADDR").ok_or("set VAULT_ADDR to Vault's address, for example https://vault.example.org:8200")?;
        let token = match set("VAULT_TOKEN") {
            Some(token) => token,
            None => token_file(home)?,
        };
        Ok(Self {
            address,
            token: Secret::new(token),
            namespace: set("VAULT_NAMESPACE"),
            ca_cert: set("VAULT_CACERT").map(PathBuf::from),
            timeout: Duration::from_secs(10),
            pause: Duration::from_millis(250),
        })
    }
}

fn token_file(home: Option<&Path>) -> Result<String, String> {
    let missing = "there is no Vault token: set VAULT_TOKEN, or run `vault login`, which writes ~/.vault-token";
    let path = home.ok_or(missing)?.join(".vault-token");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing.into()),
        Err(error) => return Err(format!("the Vault token in {} cannot be read: {error}", path.display())),
    };
    match text.trim() {
        "" => Err(missing.into()),
        token => Ok(token.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)], home: Option<&Path>) -> Result<VaultConfig, String> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        VaultConfig::from_variables(find, home)
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(from(&[], None).unwrap_err().contains("VAULT_ADDR"));
        let home = tempfile::tempdir().unwrap();
        for home in [None, Some(home.path())] {
            let reason = from(&[("VAULT_ADDR", "http://v:8200"), ("VAULT_TOKEN", " ")], home).unwrap_err();
            assert!(reason.contains("VAULT_TOKEN") && reason.contains("vault login"), "{reason}");
        }
    }

    #[test]
    fn the_token_of_a_login_is_used_when_none_is_set() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(".vault-token"), "hvs.login\n").unwrap();
        let config = from(&[("VAULT_ADDR", "http://v:8200"), ("VAULT_NAMESPACE", "team/a")], Some(home.path())).unwrap();
        assert_eq!((config.token.expose(), config.namespace.as_deref()), ("hvs.login", Some("team/a")));
        assert!(!format!("{config:?}").contains("hvs."));
        let config = from(&[("VAULT_ADDR", "http://v:8200"), ("VAULT_TOKEN", "hvs.set")], Some(home.path())).unwrap();
        assert_eq!(config.token.expose(), "hvs.set");
    }
}
