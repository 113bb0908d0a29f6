//! A platform whose runs go to a cluster.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_testkit::KubernetesCluster;
use weir_testkit::http::{HttpFixture, Reply};
use weir_testkit::kubernetes::{Kubelet, Node};

use crate::stage::{Stage, weir};

/// What stands for the image of weir.
pub const IMAGE: &str = "registry.invalid/weir:test";
/// The claim that is the data folder.
pub const CLAIM: &str = "weir-data";

/// A platform, its namespace and a node that serves it.
pub struct Scene {
    pub stage: Stage,
    pub namespace: String,
    pub kubelet: Kubelet,
    pub cluster: KubernetesCluster,
}

impl Scene {
    pub async fn new() -> Self {
        Self::of(KubernetesCluster::shared().unwrap()).await
    }

    pub async fn of(cluster: KubernetesCluster) -> Self {
        let stage = Stage::new().await;
        let namespace = format!("kt-{}", &uuid()[..12]);
        let data = std::path::absolute(stage.folder.path()).unwrap();
        let node = Node {
            namespaces: namespace.clone(),
            images: [(IMAGE.to_string(), weir())].into(),
            claims: [(CLAIM.to_string(), data)].into(),
        };
        let kubelet = Kubelet::start(&cluster, node).unwrap();
        Self { stage, namespace, kubelet, cluster }
    }

    /// A worker in a process of its own.
    pub fn worker(&self) -> Worker {
        self.worker_with(&[])
    }

    pub fn worker_with(&self, more: &[(&str, &str)]) -> Worker {
        let log = std::fs::File::create(self.stage.folder.path().join(format!("worker-{}.log", uuid()))).unwrap();
        let process = Command::new(weir())
            .args(["worker", "--workers", "2", "--data"])
            .arg(self.stage.folder.path())
            .envs([("KUBERNETES_ENABLED", "true"), ("KUBERNETES_IMAGE", IMAGE), ("KUBERNETES_VOLUME_CLAIM", CLAIM)])
            .envs([
                ("WEIR_PLACEMENT", "kubernetes"),
                ("WEIR_EGRESS_ALLOW", "127.0.0.1"),
                ("KUBERNETES_NAMESPACE", &self.namespace),
            ])
            .env("KUBERNETES_KUBECONFIG", self.cluster.kubeconfig())
            .env("RUNNER_ID", uuid())
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Worker { process }
    }

    /// The items of a list in a namespace.
    pub fn list(&self, namespace: &str, group: &str, plural: &str) -> Vec<Value> {
        let found = self.cluster.get(&format!("/{group}/namespaces/{namespace}/{plural}")).unwrap();
        found["items"].as_array().unwrap().clone()
    }

    pub fn pods(&self) -> Vec<Value> {
        self.list(&self.namespace, "api/v1", "pods")
    }

    pub fn jobs(&self) -> Vec<Value> {
        self.list(&self.namespace, "apis/batch/v1", "jobs")
    }

    /// The name of the only Pod whose container runs.
    pub fn running(&self) -> String {
        let running = |pod: &Value| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null();
        let pods: Vec<Value> = self.pods().into_iter().filter(running).collect();
        let [pod] = pods.as_slice() else { panic!("{} run: {pods:#?}", pods.len()) };
        pod["metadata"]["name"].as_str().unwrap().to_owned()
    }

    /// Waits for what the cluster shall show.
    pub async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !is_so() {
            assert!(begin.elapsed() < Duration::from_secs(60), "waited in vain until {what}: {:#?}", self.pods());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.cluster.call("DELETE", &format!("/api/v1/namespaces/{}", self.namespace), Value::Null);
    }
}

/// A worker; killed when dropped.
pub struct Worker {
    process: Child,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Pages of ten rows; the fourth and those after it wait until [`Pages::release`].
pub struct Pages {
    pub server: HttpFixture,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

/// Rows of all pages.
pub const ROWS: u64 = 60;

impl Pages {
    pub fn serve() -> Self {
        let server = HttpFixture::start().unwrap();
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let held = gate.clone();
        server.handle("/items", move |request| {
            let page: u64 = request.param("page").and_then(|page| page.parse().ok()).unwrap_or(1);
            if page >= 4 {
                let (open, changed) = &*held;
                drop(changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
            }
            let rows = (page - 1) * 10..(page * 10).min(ROWS);
            Reply::json(json!({"data": rows.map(|id| json!({"id": id, "name": format!("n{id}")})).collect::<Vec<_>>()}))
        });
        Self { server, gate }
    }

    pub fn spec(&self) -> String {
        format!(
            "pipeline: pages\nsource:\n  http:\n    url: {}/items\n    records: data\n    pagination: {{page: {{}}}}\n\
             sink:\n  file: {{path: out, format: ndjson, write_mode: append}}\n",
            self.server.url()
        )
    }

    /// Waits until the page that is held was asked for so often.
    pub async fn held(&self, times: usize) {
        let begin = Instant::now();
        let asked = || self.server.requests().iter().filter(|request| request.param("page").as_deref() == Some("4")).count();
        while asked() < times {
            assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", self.server.requests());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn release(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.release();
    }
}

pub fn uuid() -> String {
    format!("{:032x}", rand::random::<u128>())
}
