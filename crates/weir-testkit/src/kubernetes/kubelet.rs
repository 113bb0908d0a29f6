//! A stand-in for a node: it takes the Pods of some namespaces, runs the command of their first container as a process of this machine, tells
//! the API server how that is, and serves its log as a kubelet does.
//!
//! What it does not do is what a container runtime does: no image (a program stands for one), no limits, no user, no file system of its own.
//! Files of Secrets are written to a folder, and arguments that name a file there are changed; a claim must be mounted where its folder is.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::serving::{self, Logs};
use super::{KubernetesCluster, TOKEN};

/// Between two looks at the API server.
const LOOK: Duration = Duration::from_millis(60);

/// What a kubelet knows of its node.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Its Pods are those of namespaces that begin so.
    pub namespaces: String,
    /// Images, and the program that stands for each.
    pub images: BTreeMap<String, PathBuf>,
    /// Claims, and the folder that each is.
    pub claims: BTreeMap<String, PathBuf>,
}

/// What a test does to a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Its process is killed.
    Kill,
    /// The same for want of memory.
    OutOfMemory,
    /// The node puts it out.
    Evict,
}

/// A node and its kubelet. Dropping it ends its processes.
#[derive(Debug)]
pub struct Kubelet {
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
    harms: Arc<Mutex<HashMap<String, Harm>>>,
    paused: Arc<std::sync::atomic::AtomicBool>,
}

impl Kubelet {
    /// Registers a node and begins its work.
    pub fn start(cluster: &KubernetesCluster, node: Node) -> Result<Self> {
        let name = format!("node-{}", uuid::Uuid::new_v4().simple());
        let home = tempfile::Builder::new().prefix("weir-kubelet-").tempdir()?;
        let (stop, stopped) = watch::channel(false);
        let (harms, paused) = (Arc::default(), Arc::default());
        let mut work = Work {
            api: Api { client: cluster.client()?, base: cluster.address() },
            name,
            node,
            home,
            pods: HashMap::new(),
            logs: Logs::default(),
            harms: Arc::clone(&harms),
            paused: Arc::clone(&paused),
        };
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async move {
                let begun = work.register().await;
                let good = begun.is_ok();
                let _ = tell.send(begun);
                if good {
                    work.until(stopped).await;
                }
            });
        });
        told.recv().context("the kubelet did not begin")??;
        Ok(Self { stop, thread: Some(thread), harms, paused })
    }

    /// Harms a Pod at the next look.
    pub fn harm(&self, pod: &str, harm: Harm) {
        self.harms.lock().unwrap_or_else(PoisonError::into_inner).insert(pod.to_owned(), harm);
    }

    /// Whether new Pods find no place.
    pub fn full(&self, full: bool) {
        self.paused.store(full, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Api {
    client: reqwest::Client,
    base: String,
}

impl Api {
    async fn call(&self, method: Method, path: &str, body: &Value) -> Result<(u16, Value)> {
        send(&self.client, TOKEN, method, &format!("{}{path}", self.base), body).await
    }
}

/// One request. A `PATCH` is a strategic merge, which knows lists by the names of their items.
pub(super) async fn send(client: &reqwest::Client, token: &str, method: Method, url: &str, body: &Value) -> Result<(u16, Value)> {
    let kind = if method == Method::PATCH { "application/strategic-merge-patch+json" } else { "application/json" };
    let mut request = client.request(method, url).bearer_auth(token).timeout(Duration::from_secs(30));
    if !body.is_null() {
        request = request.header("content-type", kind).body(body.to_string());
    }
    let answer = request.send().await?;
    let (status, text) = (answer.status().as_u16(), answer.text().await?);
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}

struct Work {
    api: Api,
    name: String,
    node: Node,
    home: tempfile::TempDir,
    /// By uid.
    pods: HashMap<String, Running>,
    logs: Logs,
    harms: Arc<Mutex<HashMap<String, Harm>>>,
    paused: Arc<std::sync::atomic::AtomicBool>,
}

struct Running {
    child: Option<Child>,
    /// When its polite end is over.
    kill_at: Option<Instant>,
    harmed: Option<Harm>,
    /// What the API server shall know; told again until it does.
    status: Option<Value>,
}

impl Work {
    async fn register(&mut self) -> Result<()> {
        let port = serving::serve(self.home.path(), self.logs.clone()).await?;
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}});
        self.expect(Method::POST, "/api/v1/nodes", &node).await?;
        let status = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "capacity": {"cpu": "64", "memory": "256Gi", "pods": "110"}, "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}],
        }});
        self.expect(Method::PATCH, &format!("/api/v1/nodes/{}/status", self.name), &status).await
    }

    async fn expect(&self, method: Method, path: &str, body: &Value) -> Result<()> {
        match self.api.call(method, path, body).await? {
            (200..=299, _) => Ok(()),
            (status, body) => bail!("HTTP {status} for {path}: {body}"),
        }
    }

    async fn until(&mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            // An API server that is away is looked at again, as a kubelet does.
            if let Err(error) = self.look().await {
                eprintln!("the test kubelet: {error:#}");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stopped.changed() => break,
            }
        }
        for running in self.pods.values_mut() {
            if let Some(child) = &mut running.child {
                let _ = child.kill().await;
            }
        }
        let _ = self.api.call(Method::DELETE, &format!("/api/v1/nodes/{}", self.name), &Value::Null).await;
    }

    async fn look(&mut self) -> Result<()> {
        self.reap();
        let (status, list) = self.api.call(Method::GET, "/api/v1/pods", &Value::Null).await?;
        anyhow::ensure!(status == 200, "HTTP {status}");
        for pod in list["items"].as_array().into_iter().flatten() {
            let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (namespace, name, uid) = (text("/metadata/namespace"), text("/metadata/name"), text("/metadata/uid"));
            if !namespace.starts_with(&self.node.namespaces) {
                continue;
            }
            let at = format!("/api/v1/namespaces/{namespace}/pods/{name}");
            let (node, leaving) = (text("/spec/nodeName"), pod["metadata"]["deletionTimestamp"].is_string());
            if node.is_empty() {
                if !leaving && !self.paused.load(std::sync::atomic::Ordering::Relaxed) {
                    let target = json!({"kind": "Node", "name": self.name});
                    let body = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target});
                    self.api.call(Method::POST, &format!("{at}/binding"), &body).await?;
                }
                continue;
            }
            if node != self.name {
                continue;
            }
            if leaving {
                self.leave(&uid, &at, pod).await?;
                continue;
            }
            match self.pods.contains_key(&uid) {
                false => self.begin(&uid, &namespace, &at, pod).await?,
                true => self.go_on(&uid, &name, &at).await?,
            }
        }
        Ok(())
    }

    /// Processes that have ended.
    fn reap(&mut self) {
        for running in self.pods.values_mut() {
            let Some(child) = &mut running.child else { continue };
            let Ok(Some(status)) = child.try_wait() else { continue };
            running.child = None;
            use std::os::unix::process::ExitStatusExt;
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            let reason = match (running.harmed, code) {
                (Some(Harm::OutOfMemory), _) => "OOMKilled",
                (_, 0) => "Completed",
                _ => "Error",
            };
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            let mut status = container(phase, &json!({"terminated": {"exitCode": code, "reason": reason}}));
            if running.harmed == Some(Harm::Evict) {
                status = json!({"status": {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}});
            }
            running.status = Some(status);
        }
    }

    async fn begin(&mut self, uid: &str, namespace: &str, at: &str, pod: &Value) -> Result<()> {
        if !pod["status"]["containerStatuses"][0]["state"]["terminated"].is_null() {
            return Ok(());
        }
        let container_of = &pod["spec"]["containers"][0];
        let image = container_of["image"].as_str().unwrap_or_default();
        let Some(program) = self.node.images.get(image).cloned() else {
            let message = format!("Back-off pulling image \"{image}\": not found");
            let waiting = container("Pending", &json!({"waiting": {"reason": "ImagePullBackOff", "message": message}}));
            return self.expect(Method::PATCH, &format!("{at}/status"), &waiting).await;
        };
        let Some(moved) = self.mounted(uid, namespace, pod).await? else { return Ok(()) };
        let words = |key: &str| {
            container_of[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut command = Command::new(program);
        for word in words("command").into_iter().skip(1).chain(words("args")) {
            let place =
                moved.iter().find_map(|(from, to)| Some(to.join(word.strip_prefix(from.as_str())?.trim_start_matches('/'))));
            command.arg(place.map_or_else(|| word.clone().into(), PathBuf::into_os_string));
        }
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/tmp");
        for variable in container_of["env"].as_array().into_iter().flatten() {
            command.env(variable["name"].as_str().unwrap_or_default(), variable["value"].as_str().unwrap_or_default());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("a container's program cannot be started")?;
        self.logs.begin(at);
        let pipes: [Option<Box<dyn AsyncRead + Send + Unpin>>; 2] =
            [child.stdout.take().map(|pipe| Box::new(pipe) as _), child.stderr.take().map(|pipe| Box::new(pipe) as _)];
        for pipe in pipes.into_iter().flatten() {
            let log = self.logs.writer(at);
            tokio::spawn(async move {
                let mut lines = BufReader::new(pipe).split(b'\n');
                while let Ok(Some(line)) = lines.next_segment().await {
                    log.line(&line);
                }
                drop(log);
            });
        }
        let status = Some(container("Running", &json!({"running": {}})));
        self.pods.insert(uid.to_owned(), Running { child: Some(child), kill_at: None, harmed: None, status });
        Ok(())
    }

    /// Writes what is mounted; where each mount is really. `None`: a Secret is not there yet, as a kubelet waits for it.
    async fn mounted(&self, uid: &str, namespace: &str, pod: &Value) -> Result<Option<Vec<(String, PathBuf)>>> {
        let mut moved = Vec::new();
        for mount in pod["spec"]["containers"][0]["volumeMounts"].as_array().into_iter().flatten() {
            let path = mount["mountPath"].as_str().unwrap_or_default();
            let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
            let Some(volume) = volumes.into_iter().find(|volume| volume["name"] == mount["name"]) else { continue };
            if let Some(secret) = volume["secret"]["secretName"].as_str() {
                let (status, secret) =
                    self.api.call(Method::GET, &format!("/api/v1/namespaces/{namespace}/secrets/{secret}"), &Value::Null).await?;
                if status != 200 {
                    return Ok(None);
                }
                let folder = self.home.path().join(uid).join(mount["name"].as_str().unwrap_or_default());
                std::fs::create_dir_all(&folder)?;
                for (key, value) in secret["data"].as_object().into_iter().flatten() {
                    std::fs::write(folder.join(key), plain(value.as_str().unwrap_or_default())?)?;
                }
                moved.push((path.to_owned(), folder));
            } else if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
                let folder = self.node.claims.get(claim).with_context(|| format!("there is no claim {claim}"))?;
                let folder = folder.join(mount["subPath"].as_str().unwrap_or_default());
                anyhow::ensure!(
                    folder == Path::new(path),
                    "{} is mounted at {path}, which a process cannot see",
                    folder.display()
                );
            }
        }
        Ok(Some(moved))
    }

    async fn go_on(&mut self, uid: &str, name: &str, at: &str) -> Result<()> {
        let Some(running) = self.pods.get_mut(uid) else { return Ok(()) };
        let harm = self.harms.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let (Some(harm), Some(child)) = (harm, &mut running.child) {
            running.harmed = Some(harm);
            child.start_kill()?;
        }
        if running.child.is_none() && !self.logs.whole(at) {
            // The log's end comes first: who reads of the end may read the log at once.
            return Ok(());
        }
        if let Some(status) = running.status.clone() {
            self.expect(Method::PATCH, &format!("{at}/status"), &status).await?;
            if let Some(running) = self.pods.get_mut(uid).filter(|running| running.status.as_ref() == Some(&status)) {
                running.status = None;
            }
        }
        Ok(())
    }

    /// A Pod that is deleted: SIGTERM, its grace, SIGKILL; then it may go.
    async fn leave(&mut self, uid: &str, at: &str, pod: &Value) -> Result<()> {
        if let Some(running) = self.pods.get_mut(uid)
            && let Some(child) = &mut running.child
        {
            match (running.kill_at, child.id()) {
                (None, Some(pid)) => {
                    crate::process::signal(pid, libc::SIGTERM)?;
                    let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(30);
                    running.kill_at = Some(Instant::now() + Duration::from_secs(grace));
                }
                (Some(at), _) if Instant::now() > at => child.start_kill()?,
                _ => {}
            }
            return Ok(());
        }
        if let Some(status) = self.pods.get_mut(uid).and_then(|running| running.status.take()) {
            self.expect(Method::PATCH, &format!("{at}/status"), &status).await?;
        }
        let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
        self.api.call(Method::DELETE, at, &body).await?;
        Ok(())
    }
}

/// A status with the state of the only container.
fn container(phase: &str, state: &Value) -> Value {
    let ready = phase == "Running";
    json!({"status": {"phase": phase, "containerStatuses": [{
        "name": "weir", "image": "i", "imageID": "i", "ready": ready, "restartCount": 0, "state": state,
    }]}})
}

/// The bytes of base64.
fn plain(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let (mut word, mut bits) = (0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => bail!("not base64"),
        };
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits & 0xff) as u8);
        }
    }
    Ok(out)
}
