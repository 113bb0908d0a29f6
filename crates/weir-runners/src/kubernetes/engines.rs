//! Another engine's artefact as the resources of its operator: `FlinkDeployment` (flink.apache.org/v1beta1), `SparkApplication`
//! (sparkoperator.k8s.io/v1beta2), and for SeaTunnel a Job of its own.
//!
//! The artefact's text is in a ConfigMap, which holds no secret. Values come from a Secret that people make: as variables of the
//! environment, and for Flink, whose SQL reads none, put into the script by a first container, in memory.

use serde_json::{Value, json};

use super::compile::Placing;
use super::manifests::{self, Pod, Volume};
use super::names::labels;
use crate::artefact::{Artefacts, Role};
use crate::registry::Target;

/// Where the artefact is in a container.
const FOLDER: &str = "/opt/weir/job";
/// Where a script is whose values were put in.
const FILLED: &str = "/opt/weir/filled";
/// The release that Flink's SQL is tested on, as the operator writes it.
const FLINK: (&str, &str) = ("flink:2.3", "v2_3");
const SPARK: (&str, &str) = ("apache/spark:4.0.0-python3", "4.0.0");
const SEATUNNEL: &str = "apache/seatunnel:2.3.4";

/// What is made of an artefact: objects, in the order in which they are applied, and what to know.
pub fn objects(made: &Artefacts, placing: &Placing, name: &str) -> Result<(Vec<Value>, Vec<String>), String> {
    let mut jobs = made.files.iter().filter(|file| file.role == Role::Job);
    let (Some(job), None) = (jobs.next(), jobs.next()) else {
        return Err("its artefact is not one job".into());
    };
    let secret = (!made.expects.is_empty()).then(|| placing.secret(name));
    let names: Vec<&str> = made.expects.iter().map(|expected| expected.name.as_str()).collect();
    let script = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": placing.namespace, "labels": labels("", name, "")},
        "data": {job.name.clone(): job.text},
    });
    let mut notes = Vec::new();
    if made.files.iter().any(|file| file.role == Role::Companion) {
        notes.push("the job has a companion: `weir compile` for the engine itself writes it, and it must run beside".into());
    }
    let resource = match made.target {
        Target::FlinkSql => {
            notes.push(format!(
                "the operator must know flinkVersion {}; older ones take the newest release that they know, with an image to match",
                FLINK.1
            ));
            notes.push("connectors of Flink are not in its image: put their jars into an image of your own".into());
            let arguments = made.files.iter().find(|file| file.role == Role::Arguments).map_or("", |file| file.text.as_str());
            let (settings, secret_settings) = settings(arguments);
            if !secret_settings.is_empty() {
                notes.push(format!(
                    "settings of Flink itself that hold secrets are left out: {}; give them to its file system, as a role or a mounted file",
                    secret_settings.join(", ")
                ));
            }
            if settings["execution.runtime-mode"] == "streaming" {
                notes.push("state.checkpoints.dir and state.savepoints.dir must name storage that outlives the Pods".into());
            }
            flink(placing, name, &job.name, secret.as_deref(), &names, settings)
        }
        Target::Spark => {
            notes.push("the operator needs its webhook for the volume of the program".into());
            let packages = made.files.iter().find(|file| file.role == Role::Arguments).and_then(|file| file.text.lines().nth(1));
            spark(placing, name, &job.name, secret.as_deref(), packages)
        }
        Target::SeaTunnel(_) => {
            notes.push("connectors of SeaTunnel are not in its image: put their jars into an image of your own".into());
            seatunnel(placing, name, &job.name, secret.as_deref())
        }
        Target::FlinkJson | Target::KafkaConnect => return Err("Kubernetes has no resource for it here".into()),
    };
    notes.push("no operator has run this: it is checked against the operator's documentation only".into());
    Ok((vec![script, resource], notes))
}

fn metadata(placing: &Placing, name: &str) -> Value {
    json!({"name": name, "namespace": placing.namespace, "labels": labels("", name, "")})
}

/// What Flink's command line would be given (`-Dkey=value`): what the deployment may say, and the keys of what it must not.
fn settings(arguments: &str) -> (Value, Vec<&str>) {
    let (mut open, mut secret) = (json!({"taskmanager.numberOfTaskSlots": "2"}), Vec::new());
    for (key, value) in arguments.lines().filter_map(|line| line.strip_prefix("-D")?.split_once('=')) {
        match value.contains("${") {
            true => secret.push(key),
            false => open[key] = json!(value),
        }
    }
    (open, secret)
}

fn flink(placing: &Placing, name: &str, script: &str, secret: Option<&str>, variables: &[&str], settings: Value) -> Value {
    // An upgrade without state would read everything again.
    let upgrade = if settings["execution.runtime-mode"] == "streaming" { "savepoint" } else { "stateless" };
    let parallelism = settings["parallelism.default"].as_str().and_then(|text| text.parse::<u32>().ok()).unwrap_or(1);
    let memory = format!("{}m", (placing.memory_bytes >> 20).max(1024));
    let mount = |at: &str, volume: &str| json!({"name": volume, "mountPath": at});
    let mut pod = json!({
        "containers": [{"name": "flink-main-container", "volumeMounts": [mount(FOLDER, "job")]}],
        "volumes": [{"name": "job", "configMap": {"name": name}}],
    });
    let folder = match secret {
        None => FOLDER,
        Some(secret) => {
            // A quote in a value must not end the text in which it stands.
            let quote = |name: &&str| format!("export {name}=\"$(printf %s \"${name}\" | sed \"s/'/''/g\")\"");
            let shell = variables.iter().map(quote).chain([format!(
                "envsubst '{}' < {FOLDER}/{script} > {FILLED}/{script}",
                variables.iter().map(|name| format!("${{{name}}}")).collect::<Vec<_>>().join(" ")
            )]);
            let shell = std::iter::once("set -eu".to_owned()).chain(shell).collect::<Vec<_>>().join("\n");
            pod["initContainers"] = json!([{
                "name": "fill", "image": FLINK.0, "command": ["sh", "-c", shell], "envFrom": [{"secretRef": {"name": secret}}],
                "volumeMounts": [mount(FOLDER, "job"), mount(FILLED, "filled")],
            }]);
            pod["containers"][0]["volumeMounts"] = json!([mount(FILLED, "filled")]);
            pod["volumes"] = json!([
                {"name": "job", "configMap": {"name": name}},
                {"name": "filled", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}},
            ]);
            FILLED
        }
    };
    json!({
        "apiVersion": "flink.apache.org/v1beta1", "kind": "FlinkDeployment", "metadata": metadata(placing, name),
        "spec": {
            "image": FLINK.0, "flinkVersion": FLINK.1, "mode": "standalone", "serviceAccount": "flink",
            "flinkConfiguration": settings,
            "jobManager": {"resource": {"memory": memory.clone(), "cpu": 1}, "podTemplate": {"spec": pod}},
            "taskManager": {"resource": {"memory": memory, "cpu": cores(&placing.cpu)}},
            "job": {
                "entryClass": "org.apache.flink.table.runtime.application.SqlDriver",
                "args": ["--scriptUri", format!("file://{folder}/{script}")], "parallelism": parallelism, "upgradeMode": upgrade,
            },
        },
    })
}

fn spark(placing: &Placing, name: &str, program: &str, secret: Option<&str>, packages: Option<&str>) -> Value {
    let memory = format!("{}m", (placing.memory_bytes >> 20).max(512));
    let whole = cores(&placing.cpu).ceil().max(1.0) as u64;
    let from = |part: &mut Value| {
        if let Some(secret) = secret {
            part["envFrom"] = json!([{"secretRef": {"name": secret}}]);
        }
    };
    let mut driver = json!({
        "cores": 1, "memory": memory.clone(), "serviceAccount": "spark", "configMaps": [{"name": name, "path": FOLDER}],
    });
    let mut executor = json!({"cores": whole, "instances": 1, "memory": memory});
    from(&mut driver);
    from(&mut executor);
    let mut spec = json!({
        "type": "Python", "pythonVersion": "3", "mode": "cluster", "image": SPARK.0, "sparkVersion": SPARK.1,
        "mainApplicationFile": format!("local://{FOLDER}/{program}"),
        // What may be tried again is decided by people: a batch that appends would append twice.
        "restartPolicy": {"type": "Never"}, "timeToLiveSeconds": placing.ttl_secs, "driver": driver, "executor": executor,
    });
    if let Some(packages) = packages {
        spec["deps"] = json!({"packages": packages.split(',').collect::<Vec<_>>()});
    }
    json!({"apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "SparkApplication", "metadata": metadata(placing, name), "spec": spec})
}

fn seatunnel(placing: &Placing, name: &str, file: &str, secret: Option<&str>) -> Value {
    let bounds = placing.bounds();
    let mut pod = manifests::pod(&Pod {
        image: SEATUNNEL,
        user: placing.user,
        bounds: &bounds,
        command: vec!["/opt/seatunnel/bin/seatunnel.sh".into()],
        args: ["--config", &format!("{FOLDER}/{file}"), "--deploy-mode", "local"].map(str::to_owned).to_vec(),
        env: Vec::new(),
        env_from: secret.map(Into::into),
        mounts: vec![manifests::mount("job", &Volume { claim: String::new(), path: FOLDER.into(), sub_path: String::new() })],
        volumes: vec![json!({"name": "job", "configMap": {"name": name}})],
    });
    // Zeta writes logs and state below its home.
    pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = json!(false);
    pod["serviceAccountName"] = json!("default");
    manifests::job(&placing.namespace, name, labels("", name, ""), &bounds, pod)
}

/// CPU as a number of cores.
fn cores(cpu: &str) -> f64 {
    manifests::millicores(cpu).unwrap_or(1000) as f64 / 1000.0
}
