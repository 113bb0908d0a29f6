//! A real HashiCorp Vault in development mode: unsealed, in memory, a key-value engine of version 2 at `secret/`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub mod install;

use crate::blocking::block_on;
use crate::process::{ServerProcess, Spawn, free_port};
use crate::shared::{Started, open_tempdir, shared};

const ROOT_TOKEN: &str = "weir-root-token";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Facts {
    address: String,
    ca_cert: Option<PathBuf>,
}

/// A running Vault. One that this value started stops when it is dropped; the shared one stops with the run.
#[derive(Debug)]
pub struct VaultServer {
    facts: Facts,
    /// Dropping it stops the server.
    _owned: Option<(ServerProcess, tempfile::TempDir)>,
}

impl VaultServer {
    /// The server of this test run; started by whoever asks first. Tests share it: take paths and names of your own.
    pub fn shared() -> Result<Self> {
        let facts = shared("vault", |home| {
            let (process, facts) = launch(home, true, false)?;
            Ok(Started { pid: process.leave_running(), stop_signal: libc::SIGTERM, facts })
        })?;
        Ok(Self { facts, _owned: None })
    }

    /// A server of one's own, to seal or to stop.
    pub fn start() -> Result<Self> {
        Self::own(false)
    }

    /// A server of one's own that speaks TLS with a certificate of its own authority.
    pub fn start_tls() -> Result<Self> {
        Self::own(true)
    }

    fn own(tls: bool) -> Result<Self> {
        let dir = open_tempdir("weir-vault-")?;
        let (process, facts) = launch(dir.path(), false, tls)?;
        Ok(Self { facts, _owned: Some((process, dir)) })
    }

    /// `http://127.0.0.1:PORT`, or `https://…`.
    pub fn address(&self) -> &str {
        &self.facts.address
    }

    /// A token that may do everything.
    pub fn root_token(&self) -> &'static str {
        ROOT_TOKEN
    }

    /// The authority of a TLS server's certificate, PEM.
    pub fn ca_cert(&self) -> Option<&Path> {
        self.facts.ca_cert.as_deref()
    }

    /// One call of Vault's API as root: `POST`, `PUT`, `GET`, `DELETE` of a path below `/v1/`. The answer's body; `Null` if it has none.
    pub fn call(&self, method: &str, path: &str, body: Value) -> Result<Value> {
        let method: reqwest::Method = method.parse()?;
        let url = format!("{}/v1/{path}", self.facts.address);
        let ca = self.facts.ca_cert.clone();
        block_on(move || async move {
            let mut client = reqwest::Client::builder();
            if let Some(ca) = ca {
                client = client.add_root_certificate(reqwest::Certificate::from_pem(&std::fs::read(ca)?)?);
            }
            let mut request = client.build()?.request(method, &url).header("X-Vault-Token", ROOT_TOKEN);
            if !body.is_null() {
                request = request.json(&body);
            }
            let answer = request.send().await?;
            let (status, text) = (answer.status(), answer.text().await?);
            if !status.is_success() {
                bail!("Vault answers {status} to {url}: {text}");
            }
            Ok(serde_json::from_str(&text).unwrap_or_default())
        })
    }

    /// Writes a secret of the engine at `secret/` (version 2).
    pub fn put(&self, path: &str, entries: Value) -> Result<()> {
        self.call("POST", &format!("secret/data/{path}"), json!({"data": entries}))?;
        Ok(())
    }

    /// Mounts a key-value engine.
    pub fn mount_kv(&self, mount: &str, version: u8) -> Result<()> {
        self.call("POST", &format!("sys/mounts/{mount}"), json!({"type": "kv", "options": {"version": version.to_string()}}))?;
        Ok(())
    }

    /// A policy of that name: what may be read.
    pub fn policy(&self, name: &str, readable: &[&str]) -> Result<()> {
        let rules: String = readable.iter().map(|path| format!("path \"{path}\" {{ capabilities = [\"read\"] }}\n")).collect();
        self.call("PUT", &format!("sys/policies/acl/{name}"), json!({"policy": rules}))?;
        Ok(())
    }

    /// A token with these policies that lives `ttl_secs` unless it is renewed, at most `max_secs` altogether.
    pub fn token(&self, policies: &[&str], ttl_secs: u64, max_secs: u64) -> Result<String> {
        let body = json!({"policies": policies, "ttl": format!("{ttl_secs}s"), "explicit_max_ttl": format!("{max_secs}s"), "renewable": true});
        let made = self.call("POST", "auth/token/create", body)?;
        Ok(made.pointer("/auth/client_token").and_then(Value::as_str).context("no token came")?.to_owned())
    }

    /// An AppRole with these policies whose tokens live `ttl_secs`, at most `max_secs`: its role id and a secret id.
    pub fn app_role(&self, name: &str, policies: &[&str], ttl_secs: u64, max_secs: u64) -> Result<(String, String)> {
        let mounted = self.call("GET", "sys/auth", Value::Null)?;
        if mounted.get("approle/").is_none()
            && let Err(error) = self.call("POST", "sys/auth/approle", json!({"type": "approle"}))
            && !error.to_string().contains("already in use")
        {
            return Err(error);
        }
        let body =
            json!({"token_policies": policies, "token_ttl": format!("{ttl_secs}s"), "token_max_ttl": format!("{max_secs}s")});
        self.call("POST", &format!("auth/approle/role/{name}"), body)?;
        let role = self.call("GET", &format!("auth/approle/role/{name}/role-id"), Value::Null)?;
        let secret = self.call("POST", &format!("auth/approle/role/{name}/secret-id"), json!({}))?;
        let text =
            |answer: &Value, at: &str| answer.pointer(at).and_then(Value::as_str).map(str::to_owned).context("no AppRole came");
        Ok((text(&role, "/data/role_id")?, text(&secret, "/data/secret_id")?))
    }

    /// Seals it: it answers 503 from then on.
    pub fn seal(&self) -> Result<()> {
        self.call("PUT", "sys/seal", json!({}))?;
        Ok(())
    }
}

fn launch(home: &Path, detached: bool, tls: bool) -> Result<(ServerProcess, Facts)> {
    let mut last = None;
    for _ in 0..5 {
        match run_server(home, free_port()?, detached, tls) {
            Ok(started) => return Ok(started),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no attempt was made")?)
}

/// A server in `home` that survives this process; its process and what a client needs.
pub(crate) fn start_detached(home: &Path) -> Result<(u32, String)> {
    let (process, facts) = launch(home, true, false)?;
    Ok((process.leave_running(), format!("VAULT_ADDR={} VAULT_TOKEN={ROOT_TOKEN}", facts.address)))
}

fn run_server(home: &Path, port: u16, detached: bool, tls: bool) -> Result<(ServerProcess, Facts)> {
    let log = home.join("log");
    let mut command = Command::new(install::binary()?);
    command.args(["server", "-dev-no-store-token", &format!("-dev-root-token-id={ROOT_TOKEN}")]);
    command.arg(format!("-dev-listen-address=127.0.0.1:{port}")).current_dir(home).env("HOME", home);
    let ca_cert = tls.then(|| home.join("vault-ca.pem"));
    match tls {
        true => command.args(["-dev-tls", "-dev-tls-san=127.0.0.1"]).arg(format!("-dev-tls-cert-dir={}", home.display())),
        false => command.arg("-dev"),
    };
    // What is set for the tests' own client must not be taken by the server.
    for name in ["VAULT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE", "VAULT_CACERT", "VAULT_API_ADDR", "HTTP_PROXY", "http_proxy"] {
        command.env_remove(name);
    }
    let mut process = ServerProcess::spawn("Vault", &mut command, &log, Spawn { user: None, detached })?;
    process.wait_ready(&log, Duration::from_secs(90), || ready(&log))?;
    let scheme = if tls { "https" } else { "http" };
    Ok((process, Facts { address: format!("{scheme}://127.0.0.1:{port}"), ca_cert }))
}

/// The root token is the last thing that a development server says, after the engine at `secret/` is mounted.
fn ready(log: &Path) -> bool {
    std::fs::read_to_string(log).is_ok_and(|text| text.contains("Root Token:"))
}
