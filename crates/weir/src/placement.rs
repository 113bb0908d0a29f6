//! The platform's cluster: which runs go to Kubernetes, and how an order becomes a Job there.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use chrono::Utc;
use tokio::sync::mpsc;
use weir_control::config::{KubernetesSettings, Settings};
use weir_control::runs::lifecycle::Exit;
use weir_control::worker::lines::Line;
use weir_control::worker::order::WorkOrder;
use weir_control::worker::{Away, Cluster, Going, News};
use weir_error::{Error, Kind, Result, Secret};
use weir_plan::Words;
use weir_runners::kubernetes::{
    Access, Api, Bounds, Launch, RunJob, Tenancy, Terminated, Told, Volume, Wishes, follow, label, millicores,
};
use weir_spec::Placement;
use weir_store::model::NewLogLine;

/// Whom a Pod runs as where the platform itself is the superuser, which no Pod may be.
const NOBODY: u32 = 65532;
/// Seconds between a polite stop and the kill: a checkpoint fits in.
const GRACE_SECS: u64 = 30;
/// What a Job may take beside its run.
const DEADLINE_MARGIN_SECS: u64 = 60;
/// What is told of a run and waits to be heard.
const WAITING: usize = 256;

/// The cluster of the settings; nothing is asked of it yet.
pub fn open(settings: &Settings) -> Result<Option<Arc<dyn Cluster>>> {
    let Some(own) = &settings.kubernetes else { return Ok(None) };
    let access = Access::find(own.kubeconfig.as_deref(), own.context.as_deref());
    // A platform that only names a namespace goes on without a cluster, until a run wants one.
    let api = match access.and_then(|access| Api::new(&access)) {
        Err(error) if own.kubeconfig.is_some() || own.by_default => return Err(error),
        found => found.map_err(Arc::new),
    };
    if millicores(&own.cpu).is_none() {
        return Err(Error::new("WEIR-KUBE-021", Kind::Spec, "KUBERNETES_CPU is no amount of CPU")
            .because(own.cpu.clone())
            .hint("`2`, `0.5`, `500m`"));
    }
    let words = weir_plan::vocabulary(&weir_connectors::registry::registry());
    Ok(Some(Arc::new(Kubernetes { api, own: own.clone(), tenant: settings.tenant_id.clone(), words })))
}

struct Kubernetes {
    api: Result<Api, Arc<Error>>,
    own: KubernetesSettings,
    /// The platform's own tenant.
    tenant: String,
    words: Words,
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.api.as_ref().map_or_else(|_| "an unknown place".into(), Api::place);
        f.debug_struct("Kubernetes").field("server", &place).finish_non_exhaustive()
    }
}

impl Cluster for Kubernetes {
    fn takes(&self, spec: &str) -> bool {
        // A file with mistakes is told as ever, by a process of this machine.
        let parsed = weir_spec::parse(spec, "pipeline.yaml", &self.words);
        let [pipeline] = parsed.pipelines.as_slice() else { return false };
        match pipeline.placement {
            _ if parsed.has_errors() => false,
            Some(placement) => placement == Placement::Kubernetes,
            None => self.own.by_default,
        }
    }

    fn start(&self, away: Away) -> Result<Going> {
        let api = self.api.clone().map_err(|error| Error::new("WEIR-KUBE-020", Kind::Spec, error.to_string()))?;
        let launch = self.launch(&away)?;
        let wishes = Wishes::default();
        let (stop, kill, abandon) = (wishes.stop.clone(), wishes.kill.clone(), wishes.abandon.clone());
        let (tell, told) = mpsc::channel(WAITING);
        let (pass, news) = mpsc::channel(WAITING);
        tokio::spawn(follow(api, launch, wishes, tell));
        tokio::spawn(translate(told, pass));
        Ok(Going { news, stop, kill, abandon })
    }
}

impl Kubernetes {
    fn launch(&self, away: &Away) -> Result<Launch> {
        let order = &away.order;
        let missing = |what: &str, variable: &'static str| {
            Error::new("WEIR-KUBE-021", Kind::Spec, format!("a run cannot go to Kubernetes without {what}")).hint(variable)
        };
        let image = self
            .own
            .image
            .clone()
            .ok_or_else(|| missing("an image", "KUBERNETES_IMAGE names the container image with `weir`"))?;
        let claim = self.own.volume_claim.clone();
        let claim = claim.ok_or_else(|| {
            missing("a volume", "KUBERNETES_VOLUME_CLAIM names the claim of the volume that the data folder is on")
        })?;
        if order.checkpoints_at_worker {
            return Err(Error::new(
                "WEIR-KUBE-022",
                Kind::Unsupported,
                "a run in Kubernetes keeps its checkpoints in the data folder",
            )
            .because("this platform keeps them in its database, which a Pod does not reach")
            .hint("a platform with SQLite and its data folder on a volume, or `placement: process`"));
        }
        let own = order.tenant == self.tenant;
        let namespace = if own { self.own.namespace.clone() } else { label(&format!("{}-{}", self.own.namespace, order.tenant)) };
        let (open, hosts) = networks(order);
        let tenancy = Tenancy {
            namespace: namespace.clone(),
            tenant: order.tenant.clone(),
            max_runs: away.quotas.max_concurrent_runs,
            memory_bytes: order.limits.memory_bytes,
            cpu: self.own.cpu.clone(),
            // Hosts that are allowed by name may be private, and no policy knows names: the guard in the run decides then.
            deny_private: order.guard.deny_private && !hosts,
            open,
        };
        let job = RunJob {
            namespace,
            name: label(&format!("weir-{}", order.job)),
            tenant: order.tenant.clone(),
            job: order.job.clone(),
            run: order.run_id.clone(),
            fence: away.fence,
            image,
            user: user(),
            bounds: Bounds {
                memory_bytes: order.limits.memory_bytes,
                cpu: self.own.cpu.clone(),
                deadline_secs: order.limits.time_secs + self.own.pending_secs + DEADLINE_MARGIN_SECS,
                grace_secs: GRACE_SECS,
                ttl_secs: self.own.ttl_secs,
            },
            volume: Volume { claim, path: text(&away.tenant_dir)?, sub_path: text(below(away)?)? },
        };
        let line = order.to_line()?;
        let line = String::from_utf8(line).map_err(|_| Error::internal("a work order is no text"))?;
        Ok(Launch { job, tenancy, order: Secret::new(line), pending_secs: self.own.pending_secs })
    }
}

/// The tenant's folder as the volume has it.
fn below(away: &Away) -> Result<&Path> {
    away.tenant_dir.strip_prefix(&away.data_dir).map_err(|_| Error::internal("a tenant's folder is not in the data folder"))
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::new("WEIR-KUBE-021", Kind::Spec, "the data folder's path is no text").at(path.display().to_string())
    })
}

/// This process's user: what runs write must be readable to it.
fn user() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    #[allow(unsafe_code)]
    match unsafe { libc::geteuid() } {
        0 => NOBODY,
        user => user,
    }
}

/// The networks among what the run may reach though it is private, and whether there are hosts among it.
fn networks(order: &WorkOrder) -> (Vec<String>, bool) {
    let (mut open, mut hosts) = (Vec::new(), false);
    for allowed in &order.guard.egress_allow {
        let (address, prefix) =
            allowed.split_once('/').map_or((allowed.as_str(), None), |(address, prefix)| (address, Some(prefix)));
        match (address.parse::<IpAddr>(), prefix) {
            (Ok(_), Some(_)) => open.push(allowed.clone()),
            (Ok(IpAddr::V4(ip)), None) => open.push(format!("{ip}/32")),
            (Ok(IpAddr::V6(ip)), None) => open.push(format!("{ip}/128")),
            (Err(_), _) => match address.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']).parse::<IpAddr>()) {
                Some(Ok(IpAddr::V4(ip))) => open.push(format!("{ip}/32")),
                Some(Ok(IpAddr::V6(ip))) => open.push(format!("{ip}/128")),
                _ => hosts = true,
            },
        }
    }
    open.sort();
    open.dedup();
    (open, hosts)
}

/// From the words of the cluster's client to those of the worker.
async fn translate(mut told: mpsc::Receiver<Told>, pass: mpsc::Sender<News>) {
    while let Some(told) = told.recv().await {
        let news = match told {
            Told::Line(line) => News::Line(Line { bytes: line.bytes, cut: line.cut }),
            Told::Note(level, message) => News::Note(NewLogLine { at: Utc::now(), level: level.into(), message, event: None }),
            Told::Begun => News::Begun,
            Told::Ended(ended) => News::Ended { exit: ended.terminated.map(exit), error: ended.error },
        };
        if pass.send(news).await.is_err() {
            return;
        }
    }
}

/// 128 and the number of a signal is how a container tells that a signal ended it. 130 is `weir`'s own: it was interrupted and has a checkpoint.
fn exit(terminated: Terminated) -> Exit {
    match terminated.code {
        130 => Exit::Code(130),
        code @ 129..=192 => Exit::Signal(code - 128),
        code => Exit::Code(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_what_a_process_of_this_machine_would_have_told() {
        let exits = [0, 1, 130, 137, 143, 255].map(|code| exit(Terminated { code }));
        let expected = [Exit::Code(0), Exit::Code(1), Exit::Code(130), Exit::Signal(9), Exit::Signal(15), Exit::Code(255)];
        assert_eq!(exits, expected);
    }
}
