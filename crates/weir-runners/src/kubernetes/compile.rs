//! A pipeline as manifests: a native run as a Job, or another engine's artefact as what its operator takes.
//!
//! Pure, and without any secret: values come from a Secret that people make, whose keys the result names.

use serde_json::{Value, json};
use weir_spec::Diagnostic;

use super::engines;
use super::manifests::{self, Bounds, Pod, Volume, to_yaml};
use super::names::{label, labels};
use crate::artefact::{Expected, Origin};
use crate::compile::{Job, compile, native};
use crate::registry::{Release, Target};

/// What `--target` may say, and which engine that means.
pub const TARGETS: [(&str, Option<Target>); 4] = [
    ("kubernetes", None),
    ("kubernetes:flink", Some(Target::FlinkSql)),
    ("kubernetes:spark", Some(Target::Spark)),
    ("kubernetes:seatunnel", Some(Target::SeaTunnel(Release::V2_3_4))),
];

/// Where the pipeline file is in the container.
const FOLDER: &str = "/etc/weir";
/// Where its checkpoints are.
const STATE: &str = "/var/lib/weir";

/// What the manifests say beside the pipeline.
#[derive(Debug, Clone)]
pub struct Placing {
    /// The namespace.
    pub namespace: String,
    /// The image of weir.
    pub image: String,
    /// The user that it runs as.
    pub user: u32,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// CPU as Kubernetes writes it.
    pub cpu: String,
    /// Seconds that a run may take.
    pub time_secs: u64,
    /// Seconds that it stays after its end.
    pub ttl_secs: u64,
}

impl Default for Placing {
    fn default() -> Self {
        Self {
            namespace: "default".into(),
            image: concat!("weir:", env!("CARGO_PKG_VERSION")).into(),
            user: 65532,
            memory_bytes: 1 << 30,
            cpu: "1".into(),
            time_secs: 3600,
            ttl_secs: 3600,
        }
    }
}

impl Placing {
    pub(super) fn bounds(&self) -> Bounds {
        let (cpu, memory_bytes) = (self.cpu.clone(), self.memory_bytes);
        Bounds { memory_bytes, cpu, deadline_secs: self.time_secs, grace_secs: 30, ttl_secs: self.ttl_secs }
    }

    /// The Secret with the values of variables.
    pub(super) fn secret(&self, name: &str) -> String {
        format!("{name}-variables")
    }
}

/// Objects, and what to know of them.
#[derive(Debug, Clone)]
pub struct Manifests {
    /// As YAML documents, in the order in which they are applied.
    pub yaml: String,
    /// What the Secret must hold.
    pub expects: Vec<Expected>,
    /// What people should know.
    pub notes: Vec<String>,
}

/// The manifests of a pipeline. Deterministic.
///
/// # Errors
/// What stands against it, in file order, as for every other target.
pub fn manifests(job: &Job<'_>, engine: Option<Target>, placing: &Placing) -> Result<Manifests, Vec<Diagnostic>> {
    let name = label(&job.pipeline.name.replace('_', "-"));
    let mut told = match engine {
        None => of_weir(job, placing, &name)?,
        Some(target) => {
            let made = compile(job, target)?;
            let refused =
                |why| vec![Diagnostic::error(crate::compile::code::TARGET, format!("{} on Kubernetes: {why}", target.title()))];
            let (objects, mut notes) = engines::objects(&made, placing, &name).map_err(refused)?;
            notes.splice(0..0, made.notes);
            Manifests { yaml: to_yaml(&objects), expects: made.expects, notes }
        }
    };
    if !told.expects.is_empty() {
        let keys = told.expects.iter().map(|expected| format!(" --from-literal={}=…", expected.name)).collect::<String>();
        let (secret, namespace) = (placing.secret(&name), &placing.namespace);
        told.notes.push(format!("make the Secret first: kubectl -n {namespace} create secret generic {secret}{keys}"));
    }
    Ok(told)
}

/// A run of our own: `weir run` as a Job; its checkpoints are on a claim, so that the next one goes on where it stopped.
fn of_weir(job: &Job<'_>, placing: &Placing, name: &str) -> Result<Manifests, Vec<Diagnostic>> {
    let (pipeline, mut expects) = native(job)?;
    let mut notes = Vec::new();
    for expected in &expects {
        match &expected.from {
            Origin::Vault { .. } => {
                notes.push(
                    "references to Vault stay in the file: VAULT_ADDR and VAULT_TOKEN belong into the Secret too".to_owned(),
                );
            }
            Origin::File { path } => notes.push(format!("the file {path} must be in the image, or on a volume of your own")),
            Origin::Credential { name } => notes.push(format!("`{name}` of credentials_ref is looked up by the run itself")),
            Origin::Environment { .. } | Origin::Literal { .. } => {}
        }
    }
    notes.dedup();
    expects.retain(|expected| matches!(expected.from, Origin::Environment { .. } | Origin::Literal { .. }));
    let bounds = placing.bounds();
    let volume = Volume { claim: format!("{name}-state"), path: STATE.into(), sub_path: String::new() };
    let metadata = |own: &str| json!({"name": own, "namespace": placing.namespace, "labels": labels("", name, "")});
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(manifests::ACCOUNT), "automountServiceAccountToken": false,
    });
    let file = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name),
        "data": {"pipeline.yaml": weir_spec::to_native_yaml(&pipeline)},
    });
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata(&volume.claim),
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    });
    let args = ["run", &format!("{FOLDER}/pipeline.yaml"), "--state-dir", STATE, "--progress", "json"];
    let mount = Volume { claim: String::new(), path: FOLDER.into(), sub_path: String::new() };
    let pod = manifests::pod(&Pod {
        image: &placing.image,
        user: placing.user,
        bounds: &bounds,
        command: vec!["weir".into()],
        args: args.map(str::to_owned).to_vec(),
        env: Vec::new(),
        env_from: (!expects.is_empty()).then(|| placing.secret(name)),
        mounts: vec![manifests::mount("pipeline", &mount), manifests::mount("state", &volume)],
        volumes: vec![json!({"name": "pipeline", "configMap": {"name": name}}), manifests::claim("state", &volume)],
    });
    let objects: Vec<Value> =
        vec![account, file, claim, manifests::job(&placing.namespace, name, labels("", name, ""), &bounds, pod)];
    notes.push(
        "a Job runs once: delete it (`kubectl delete job`) before it is applied again; the claim with its checkpoints stays"
            .into(),
    );
    Ok(Manifests { yaml: to_yaml(&objects), expects, notes })
}
