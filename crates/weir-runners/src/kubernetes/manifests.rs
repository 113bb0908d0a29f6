//! The objects of one native run, and of its tenant's namespace. Pure: the same input gives the same bytes.

use serde_json::{Value, json};

use super::names::{FENCE, MANAGED_BY, MANAGER, labels};

/// The service account that runs have. It has no right, and its token is not mounted.
pub const ACCOUNT: &str = "weir-run";
/// The only container of a run's Pod.
pub const CONTAINER: &str = "weir";
/// Where the run finds its order.
pub const ORDER_FOLDER: &str = "/run/weir";
/// The key of the order in its Secret, and the file's name.
pub const ORDER_KEY: &str = "order";
/// Room for what a run puts aside (spilling goes there).
const SCRATCH_BYTES: u64 = 10 << 30;
/// Networks that are nobody's business outside: RFC 1918, RFC 6598, link-local (metadata services), and their counterparts of IPv6.
const PRIVATE_V4: [&str; 5] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"];
const PRIVATE_V6: [&str; 2] = ["fc00::/7", "fe80::/10"];

/// A claim that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The PersistentVolumeClaim, in the namespace of the run.
    pub claim: String,
    /// Where the run sees it.
    pub path: String,
    /// Only this folder of it; empty = all.
    pub sub_path: String,
}

/// What a Pod may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// CPU as Kubernetes writes it: `1`, `500m`.
    pub cpu: String,
    /// Seconds until the Job is ended, waiting for a place included.
    pub deadline_secs: u64,
    /// Seconds between a polite stop and the kill.
    pub grace_secs: u64,
    /// Seconds that the Job stays after its end, for people to look at.
    pub ttl_secs: u64,
}

/// A run's Job.
#[derive(Debug, Clone)]
pub struct RunJob {
    /// Its namespace.
    pub namespace: String,
    /// Its name, and that of its Secret.
    pub name: String,
    /// For labels.
    pub tenant: String,
    /// For labels.
    pub job: String,
    /// For labels.
    pub run: String,
    /// A number that grows with each attempt of any run of the job.
    pub fence: i64,
    /// The container image that holds `weir`.
    pub image: String,
    /// The user and group that it runs as; not 0.
    pub user: u32,
    /// What it may use.
    pub bounds: Bounds,
    /// Where the tenant's files and checkpoints are.
    pub volume: Volume,
}

impl RunJob {
    /// The Job. It is made suspended: nothing starts before its Secret is there.
    pub fn job(&self) -> Value {
        let secret = json!({"name": "order", "secret": {"secretName": self.name, "defaultMode": 0o440}});
        let pod = pod(&Pod {
            image: &self.image,
            user: self.user,
            bounds: &self.bounds,
            command: vec!["weir".into()],
            args: vec!["execute".into(), "--order".into(), format!("{ORDER_FOLDER}/{ORDER_KEY}")],
            env: Vec::new(),
            env_from: None,
            mounts: vec![json!({"name": "order", "mountPath": ORDER_FOLDER, "readOnly": true}), mount("data", &self.volume)],
            volumes: vec![secret, claim("data", &self.volume)],
        });
        let mut job = job(&self.namespace, &self.name, labels(&self.tenant, &self.job, &self.run), &self.bounds, pod);
        job["metadata"]["annotations"] = json!({FENCE: self.fence.to_string()});
        job["spec"]["suspend"] = json!(true);
        job
    }

    /// The Secret that holds the order. It belongs to the Job with this `uid` and goes with it.
    pub fn secret(&self, uid: &str, order: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": true,
            "metadata": {
                "name": self.name, "namespace": self.namespace, "labels": labels(&self.tenant, &self.job, &self.run),
                "ownerReferences": [{
                    "apiVersion": "batch/v1", "kind": "Job", "name": self.name, "uid": uid, "blockOwnerDeletion": true, "controller": true,
                }],
            },
            "stringData": {ORDER_KEY: order},
        })
    }
}

/// What goes into a Pod that runs `weir`.
pub(super) struct Pod<'a> {
    pub image: &'a str,
    pub user: u32,
    pub bounds: &'a Bounds,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub env: Vec<Value>,
    /// A Secret whose keys are variables.
    pub env_from: Option<String>,
    pub mounts: Vec<Value>,
    pub volumes: Vec<Value>,
}

/// The specification of a Pod with one container that may do nothing beside its work (the Pod Security Standard `restricted`).
pub(super) fn pod(pod: &Pod<'_>) -> Value {
    let amount = json!({"cpu": pod.bounds.cpu, "memory": pod.bounds.memory_bytes.to_string()});
    let mut mounts = vec![json!({"name": "scratch", "mountPath": "/tmp"})];
    mounts.extend(pod.mounts.iter().cloned());
    let mut volumes = vec![json!({"name": "scratch", "emptyDir": {"sizeLimit": SCRATCH_BYTES.to_string()}})];
    volumes.extend(pod.volumes.iter().cloned());
    let mut container = json!({
        "name": CONTAINER, "image": pod.image, "command": pod.command, "args": pod.args,
        "resources": {"requests": amount.clone(), "limits": amount},
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    });
    if !pod.env.is_empty() {
        container["env"] = json!(pod.env);
    }
    if let Some(secret) = &pod.env_from {
        container["envFrom"] = json!([{"secretRef": {"name": secret}}]);
    }
    json!({
        "restartPolicy": "Never", "serviceAccountName": ACCOUNT, "automountServiceAccountToken": false, "enableServiceLinks": false,
        "terminationGracePeriodSeconds": pod.bounds.grace_secs,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": pod.user, "runAsGroup": pod.user, "fsGroup": pod.user,
            "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container], "volumes": volumes,
    })
}

/// A Job that tries once: what may be tried again is decided by whoever reads the outcome.
pub(super) fn job(namespace: &str, name: &str, labels: Value, bounds: &Bounds, pod: Value) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "labels": labels.clone()},
        "spec": {
            "backoffLimit": 0, "activeDeadlineSeconds": bounds.deadline_secs, "ttlSecondsAfterFinished": bounds.ttl_secs,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    })
}

pub(super) fn mount(name: &str, volume: &Volume) -> Value {
    let mut mount = json!({"name": name, "mountPath": volume.path});
    if !volume.sub_path.is_empty() {
        mount["subPath"] = json!(volume.sub_path);
    }
    mount
}

pub(super) fn claim(name: &str, volume: &Volume) -> Value {
    json!({"name": name, "persistentVolumeClaim": {"claimName": volume.claim}})
}

/// What a tenant's runs may use together and reach.
#[derive(Debug, Clone)]
pub struct Tenancy {
    /// The namespace.
    pub namespace: String,
    /// Whose.
    pub tenant: String,
    /// Runs at the same time; `None` = as many as the workers have slots.
    pub max_runs: Option<u64>,
    /// What one run may use.
    pub memory_bytes: u64,
    /// The same of CPU.
    pub cpu: String,
    /// Whether private networks are closed to its runs.
    pub deny_private: bool,
    /// Addresses and networks in CIDR notation that are open all the same.
    pub open: Vec<String>,
}

impl Tenancy {
    /// The namespace. Whatever runs there must keep to the Pod Security Standard `restricted`.
    pub fn namespace(&self) -> Value {
        let mut labels = labels(&self.tenant, "", "");
        labels["pod-security.kubernetes.io/enforce"] = json!("restricted");
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}})
    }

    /// The account of its runs.
    pub fn account(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": self.metadata(ACCOUNT), "automountServiceAccountToken": false,
        })
    }

    /// What all of its runs use together; `None` without a quota.
    pub fn quota(&self) -> Option<Value> {
        let runs = self.max_runs?;
        let memory = u128::from(self.memory_bytes) * u128::from(runs);
        let cpu = u128::from(millicores(&self.cpu)?) * u128::from(runs);
        let (memory, cpu) = (memory.to_string(), format!("{cpu}m"));
        Some(json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": self.metadata("weir"),
            "spec": {"hard": {
                "pods": runs.to_string(), "requests.cpu": cpu.clone(), "limits.cpu": cpu, "requests.memory": memory.clone(), "limits.memory": memory,
            }},
        }))
    }

    /// What one container may use, and what one gets that says nothing.
    pub fn limit_range(&self) -> Value {
        let amount = json!({"cpu": self.cpu, "memory": self.memory_bytes.to_string()});
        json!({
            "apiVersion": "v1", "kind": "LimitRange", "metadata": self.metadata("weir"),
            "spec": {"limits": [{"type": "Container", "max": amount.clone(), "default": amount.clone(), "defaultRequest": amount}]},
        })
    }

    /// Runs are reached by nobody; they reach name servers and what the platform's guard lets them reach. The guard in the run's own
    /// process is finer (it knows hosts by name); this one holds whatever that process does.
    pub fn network_policy(&self) -> Value {
        let mut to: Vec<Value> = if self.deny_private {
            vec![
                json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": PRIVATE_V4}}),
                json!({"ipBlock": {"cidr": "::/0", "except": PRIVATE_V6}}),
            ]
        } else {
            vec![json!({"ipBlock": {"cidr": "0.0.0.0/0"}}), json!({"ipBlock": {"cidr": "::/0"}})]
        };
        to.extend(self.open.iter().map(|cidr| json!({"ipBlock": {"cidr": cidr}})));
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": self.metadata("weir-run"),
            "spec": {
                "podSelector": {"matchLabels": {MANAGED_BY: MANAGER}}, "policyTypes": ["Ingress", "Egress"], "ingress": [],
                "egress": [
                    {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
                    {"to": to},
                ],
            },
        })
    }

    fn metadata(&self, name: &str) -> Value {
        json!({"name": name, "namespace": self.namespace, "labels": labels(&self.tenant, "", "")})
    }
}

/// CPU as thousandths of a core: `2`, `1.5`, `500m`.
pub fn millicores(cpu: &str) -> Option<u64> {
    if let Some(thousandths) = cpu.strip_suffix('m') {
        return thousandths.parse().ok().filter(|&amount| amount > 0);
    }
    let (whole, part) = cpu.split_once('.').unwrap_or((cpu, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    if whole.is_empty() || part.len() > 3 || !digits(whole) || !digits(part) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let part: u64 = format!("{part:0<3}").parse().ok()?;
    whole.checked_mul(1000)?.checked_add(part).filter(|&amount| amount > 0)
}

/// Objects as the documents of one YAML file.
pub fn to_yaml(objects: &[Value]) -> String {
    let documents = objects.iter().filter_map(Value::as_object).map(weir_spec::to_yaml);
    documents.collect::<Vec<_>>().join("---\n")
}

/// Labels by which a run's Pods are found.
pub(super) fn selector(name: &str) -> String {
    format!("batch.kubernetes.io/job-name={name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_understood_as_kubernetes_writes_it() {
        for (text, amount) in [("2", Some(2000)), ("1.5", Some(1500)), ("500m", Some(500)), ("0.25", Some(250))] {
            assert_eq!(millicores(text), amount, "{text}");
        }
        for text in ["", "0", "m", "-1", "1.2345", "two", "0m", ".5", "1e3"] {
            assert_eq!(millicores(text), None, "{text}");
        }
    }
}
