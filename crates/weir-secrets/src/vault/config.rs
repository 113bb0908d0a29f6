//! Where Vault is and who asks: the environment variables that Vault's own tools use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_error::Secret;

/// How to reach Vault (or OpenBao, which speaks the same protocol).
#[derive(Debug, Clone)]
pub struct VaultConfig {
    /// Address of the server, `https://vault.example.org:8200`. A path in it is kept, for servers behind a proxy.
    pub address: String,
    /// How to log in.
    pub login: VaultLogin,
    /// The namespace, for servers that have several.
    pub namespace: Option<String>,
    /// A file with PEM certificates. Only these are trusted then, as Vault's own tools do it; default: the system's.
    pub ca_cert: Option<PathBuf>,
    /// How long one request may take.
    pub timeout: Duration,
    /// How long is waited before the second try; twice that before the third, which is the last.
    pub pause: Duration,
}

/// How to log in to Vault.
#[derive(Debug, Clone)]
pub enum VaultLogin {
    /// A token that somebody made.
    Token(Secret),
    /// An AppRole, mounted at `approle`: it gets a token of its own, which is renewed and replaced as it ages.
    AppRole {
        /// The role.
        role_id: String,
        /// Its secret.
        secret_id: Secret,
    },
}

impl VaultConfig {
    /// A server with the usual times: 10 s for a request, 250 ms before it is tried again.
    pub fn new(address: impl Into<String>, login: VaultLogin) -> Self {
        Self {
            address: address.into(),
            login,
            namespace: None,
            ca_cert: None,
            timeout: Duration::from_secs(10),
            pause: Duration::from_millis(250),
        }
    }

    /// `VAULT_ADDR` (or `VAULT_ADDRESS`), `VAULT_TOKEN`, else `VAULT_ROLE_ID` with `VAULT_SECRET_ID`, else the file `~/.vault-token`, which
    /// `vault login` writes; `VAULT_NAMESPACE`, `VAULT_CACERT`. The error says what to set.
    pub fn from_environment() -> Result<Self, String> {
        let text = |name: &str| std::env::var(name).ok();
        Self::from_variables(text, std::env::var_os("HOME").map(PathBuf::from).as_deref())
    }

    pub(super) fn from_variables(variable: impl Fn(&str) -> Option<String>, home: Option<&Path>) -> Result<Self, String> {
        let set = |name: &str| variable(name).map(|text| text.trim().to_string()).filter(|text| !text.is_empty());
        let address = set("VAULT_ADDR")
            .or_else(|| set("VAULT_ADDRESS"))
            .ok_or("set VAULT_ADDR to Vault's address, for example https://vault.example.org:8200")?;
        let login = match (set("VAULT_TOKEN"), set("VAULT_ROLE_ID"), set("VAULT_SECRET_ID")) {
            (Some(token), _, _) => VaultLogin::Token(Secret::new(token)),
            (None, Some(role_id), Some(secret_id)) => VaultLogin::AppRole { role_id, secret_id: Secret::new(secret_id) },
            (None, Some(_), None) => return Err("VAULT_ROLE_ID is set and VAULT_SECRET_ID is not: an AppRole needs both".into()),
            (None, None, _) => VaultLogin::Token(Secret::new(token_file(home)?)),
        };
        let (namespace, ca_cert) = (set("VAULT_NAMESPACE"), set("VAULT_CACERT").map(PathBuf::from));
        Ok(Self { namespace, ca_cert, ..Self::new(address, login) })
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
        assert_eq!((token(&config), config.namespace.as_deref()), (Some("hvs.login"), Some("team/a")));
        assert!(!format!("{config:?}").contains("hvs."));
        let config = from(&[("VAULT_ADDR", "http://v:8200"), ("VAULT_TOKEN", "hvs.set")], Some(home.path())).unwrap();
        assert_eq!(token(&config), Some("hvs.set"));
    }

    #[test]
    fn an_app_role_needs_its_secret_and_comes_before_the_file() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(".vault-token"), "hvs.login\n").unwrap();
        let role = [("VAULT_ADDRESS", "http://v:8200"), ("VAULT_ROLE_ID", "r"), ("VAULT_SECRET_ID", "s3cr3t")];
        let config = from(&role, Some(home.path())).unwrap();
        assert!(
            matches!(&config.login, VaultLogin::AppRole { role_id, secret_id } if role_id == "r" && secret_id.expose() == "s3cr3t")
        );
        assert!(!format!("{config:?}").contains("s3cr3t"));
        assert!(from(&role[..2], None).unwrap_err().contains("VAULT_SECRET_ID"));
    }

    fn token(config: &VaultConfig) -> Option<&str> {
        match &config.login {
            VaultLogin::Token(token) => Some(token.expose()),
            VaultLogin::AppRole { .. } => None,
        }
    }
}
