//! A real Kubernetes without nodes: etcd, API server (RBAC, all usual admission) and controller manager. It takes about 8 s to start and
//! 400 MB of memory. What runs Pods is [`Kubelet`], a small stand-in: there is no container runtime here, so containers are processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub mod install;
mod kubelet;
mod serving;

pub use kubelet::{Harm, Kubelet, Node};

use crate::blocking::block_on;
use crate::process::{ServerProcess, Spawn, free_port, run_checked};
use crate::shared::{Started, open_tempdir, shared, stop_after};

/// The token of the administrator.
const TOKEN: &str = "weir-admin-token";
/// Controllers that a Job needs: a whole set would only use time.
const CONTROLLERS: &str = "job-controller,resourcequota-controller,namespace-controller,serviceaccount-controller,serviceaccount-token-controller,\
     root-ca-certificate-publisher-controller,garbage-collector-controller,ttl-after-finished-controller";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Facts {
    home: PathBuf,
    port: u16,
    etcd: u16,
    peer: u16,
    manager: u16,
}

/// A cluster. One that this value started stops when it is dropped; the shared one stops with the run.
#[derive(Debug)]
pub struct KubernetesCluster {
    facts: Facts,
    owned: Option<(Processes, tempfile::TempDir)>,
}

#[derive(Debug)]
struct Processes {
    manager: ServerProcess,
    server: ServerProcess,
    etcd: ServerProcess,
}

impl KubernetesCluster {
    /// The cluster of this test run; started by whoever asks first. Tests share it: take namespaces of your own.
    pub fn shared() -> Result<Self> {
        let facts = shared("kubernetes", |home| {
            let (processes, facts) = launch(home, true)?;
            let Processes { manager, server, etcd } = processes;
            let (manager, server, etcd) = (manager.leave_running(), server.leave_running(), etcd.leave_running());
            stop_after(server, manager)?;
            stop_after(server, etcd)?;
            Ok(Started { pid: server, stop_signal: libc::SIGTERM, facts })
        })?;
        Ok(Self { facts, owned: None })
    }

    /// A cluster of one's own, to stop its API server.
    pub fn start() -> Result<Self> {
        let dir = open_tempdir("weir-kubernetes-")?;
        let (processes, facts) = launch(dir.path(), false)?;
        Ok(Self { facts, owned: Some((processes, dir)) })
    }

    /// `https://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.facts.port)
    }

    /// A kubeconfig of the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.facts.home.join("kubeconfig")
    }

    /// Kills the API server of a cluster of one's own: its state is in etcd.
    pub fn kill_server(&mut self) -> Result<()> {
        match &mut self.owned {
            Some((processes, _)) => processes.server.kill_9(),
            None => bail!("the shared cluster is not for killing"),
        }
    }

    /// Starts it again, at the same address.
    pub fn restart_server(&mut self) -> Result<()> {
        let Some((processes, _)) = &mut self.owned else { bail!("the shared cluster is not for killing") };
        processes.server = api_server(&self.facts, false)?;
        Ok(())
    }

    /// One request as the administrator; `path` begins with `/`. The answer's status and body, `Null` if it is not JSON.
    pub fn call(&self, method: &str, path: &str, body: Value) -> Result<(u16, Value)> {
        self.call_as(TOKEN, method, path, body)
    }

    /// The same with another token.
    pub fn call_as(&self, token: &str, method: &str, path: &str, body: Value) -> Result<(u16, Value)> {
        let (client, token) = (self.client()?, token.to_owned());
        let (method, url) = (method.parse::<reqwest::Method>()?, format!("{}{path}", self.address()));
        block_on(move || async move { kubelet::send(&client, &token, method, &url, &body).await })
    }

    /// An object or a list that must be there.
    pub fn get(&self, path: &str) -> Result<Value> {
        match self.call("GET", path, Value::Null)? {
            (200, body) => Ok(body),
            (status, body) => bail!("HTTP {status} for {path}: {body}"),
        }
    }

    /// Makes an object.
    pub fn create(&self, path: &str, body: Value) -> Result<Value> {
        match self.call("POST", path, body)? {
            (200..=299, body) => Ok(body),
            (status, body) => bail!("HTTP {status} for {path}: {body}"),
        }
    }

    /// A token of a service account.
    pub fn token_of(&self, namespace: &str, account: &str) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let made = self.create(&path, json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}))?;
        Ok(made["status"]["token"].as_str().context("no token came")?.to_owned())
    }

    fn client(&self) -> Result<reqwest::Client> {
        client(&self.facts.home)
    }
}

impl Drop for KubernetesCluster {
    fn drop(&mut self) {
        if let Some((processes, _)) = &mut self.owned {
            for process in [&mut processes.manager, &mut processes.server, &mut processes.etcd] {
                let _ = process.kill_9();
            }
        }
    }
}

/// Trusts what the API server of this home says it is.
fn client(home: &Path) -> Result<reqwest::Client> {
    let pem = std::fs::read(home.join("certs/apiserver.crt"))?;
    let mut builder = reqwest::Client::builder().no_proxy().tls_built_in_root_certs(false);
    for certificate in reqwest::Certificate::from_pem_bundle(&pem)? {
        builder = builder.add_root_certificate(certificate);
    }
    Ok(builder.build()?)
}

/// A cluster in `home` that survives this process; its server's process and what a client needs.
pub(crate) fn start_detached(home: &Path) -> Result<(u32, String)> {
    let (processes, facts) = launch(home, true)?;
    let Processes { manager, server, etcd } = processes;
    let (manager, server, etcd) = (manager.leave_running(), server.leave_running(), etcd.leave_running());
    stop_after(server, manager)?;
    stop_after(server, etcd)?;
    Ok((server, format!("KUBECONFIG={}", facts.home.join("kubeconfig").display())))
}

fn launch(home: &Path, detached: bool) -> Result<(Processes, Facts)> {
    let facts = Facts { home: home.into(), port: free_port()?, etcd: free_port()?, peer: free_port()?, manager: free_port()? };
    let file = |name: &str| home.join(name);
    run_checked(Command::new("openssl").args(["genrsa", "-out"]).arg(file("sa.key")).arg("2048"))?;
    run_checked(Command::new("openssl").args(["rsa", "-pubout", "-in"]).arg(file("sa.key")).arg("-out").arg(file("sa.pub")))?;
    std::fs::write(file("tokens.csv"), format!("{TOKEN},weir,1,\"system:masters\"\n"))?;

    let (client, peer) = (format!("http://127.0.0.1:{}", facts.etcd), format!("http://127.0.0.1:{}", facts.peer));
    let mut command = Command::new(install::etcd()?);
    command.arg("--data-dir").arg(file("etcd")).arg("--unsafe-no-fsync");
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client, "--listen-peer-urls", &peer]);
    command.args(["--initial-advertise-peer-urls", &peer, "--initial-cluster", &format!("default={peer}")]);
    let mut etcd = ServerProcess::spawn("etcd", &mut command, &file("etcd.log"), Spawn { user: None, detached })?;
    let port = facts.etcd;
    etcd.wait_ready(&file("etcd.log"), Duration::from_secs(60), || crate::process::accepts(port))?;

    let server = api_server(&facts, detached)?;
    let authority = base64(&std::fs::read(file("certs/apiserver.crt"))?);
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "weir",
        "contexts": [{"name": "weir", "context": {"cluster": "weir", "user": "weir"}}],
        "clusters": [{"name": "weir", "cluster": {
            "server": format!("https://127.0.0.1:{}", facts.port), "certificate-authority-data": authority}}],
        "users": [{"name": "weir", "user": {"token": TOKEN}}],
    });
    std::fs::write(file("kubeconfig"), config.to_string())?;

    let mut command = Command::new(install::programs()?.join("kube-controller-manager"));
    for option in ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"] {
        command.arg(option).arg(file("kubeconfig"));
    }
    command.args(["--bind-address=127.0.0.1", &format!("--secure-port={}", facts.manager), "--leader-elect=false"]);
    command.arg("--service-account-private-key-file").arg(file("sa.key")).arg("--root-ca-file").arg(file("certs/apiserver.crt"));
    command.arg("--cert-dir").arg(file("manager-certs")).arg(format!("--controllers={CONTROLLERS}"));
    let log = file("manager.log");
    let mut manager = ServerProcess::spawn("kube-controller-manager", &mut command, &log, Spawn { user: None, detached })?;
    // The account of a namespace is what Pods wait for: where it comes, controllers work.
    let (client, url) =
        (client_of(&facts)?, format!("https://127.0.0.1:{}/api/v1/namespaces/default/serviceaccounts/default", facts.port));
    manager.wait_ready(&log, Duration::from_secs(120), || ask(&client, &url) == Some(200))?;
    Ok((Processes { manager, server, etcd }, facts))
}

fn client_of(facts: &Facts) -> Result<reqwest::Client> {
    client(&facts.home)
}

fn api_server(facts: &Facts, detached: bool) -> Result<ServerProcess> {
    let file = |name: &str| facts.home.join(name);
    let mut command = Command::new(install::programs()?.join("kube-apiserver"));
    command.args([
        format!("--etcd-servers=http://127.0.0.1:{}", facts.etcd),
        format!("--secure-port={}", facts.port),
        format!("--service-account-issuer=https://127.0.0.1:{}", facts.port),
    ]);
    command.args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--service-cluster-ip-range=10.96.0.0/24"]);
    command.args(["--authorization-mode=RBAC", "--endpoint-reconciler-type=none"]);
    command.arg("--cert-dir").arg(file("certs")).arg("--token-auth-file").arg(file("tokens.csv"));
    command.arg("--service-account-key-file").arg(file("sa.pub")).arg("--service-account-signing-key-file").arg(file("sa.key"));
    let log = file("server.log");
    let mut server = ServerProcess::spawn("kube-apiserver", &mut command, &log, Spawn { user: None, detached })?;
    let (home, url) = (facts.home.clone(), format!("https://127.0.0.1:{}/readyz", facts.port));
    server.wait_ready(&log, Duration::from_secs(120), || client(&home).is_ok_and(|client| ask(&client, &url) == Some(200)))?;
    Ok(server)
}

/// The status of a `GET` as the administrator.
fn ask(client: &reqwest::Client, url: &str) -> Option<u16> {
    let (client, url) = (client.clone(), url.to_owned());
    let asked = block_on(move || async move { kubelet::send(&client, TOKEN, reqwest::Method::GET, &url, &Value::Null).await });
    asked.ok().map(|(status, _)| status)
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for piece in bytes.chunks(3) {
        let word = piece.iter().enumerate().fold(0_u32, |word, (at, byte)| word | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= piece.len() { char::from(letter) } else { '=' });
        }
    }
    out
}
