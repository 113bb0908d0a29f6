//! One native run as a Job: handed over, followed to its end, stopped.
//!
//! Never two at once: a Weir job has one Job name, so the API server itself refuses a second one. Whoever begins an attempt first asks for
//! the end of what an earlier attempt left there, and waits until its Pod is gone. An annotation orders attempts: an older one never ends a
//! newer one.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_error::{Error, Kind, Result, Secret};

use super::api::{Api, Path};
use super::log::{self, Line};
use super::manifests::{RunJob, Tenancy, selector};
use super::names::{FENCE, MANAGED_BY, MANAGER};
use super::trouble::{self, Seen, Terminated};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(400);
/// A Job has a Pod by then, or there is a reason why not.
const POD_WITHIN: Duration = Duration::from_secs(2);
/// So long the API server may be silent; the Pod works on meanwhile.
const SILENCE: Duration = Duration::from_secs(300);
/// The grace of who shall end now. Not 0: that takes the Pod out of the API at once, whether its process has ended or not.
const NOW: u32 = 1;
/// What the API takes as one object, less what surrounds it. Larger orders cannot be handed over.
const LARGEST_ORDER_BYTES: usize = 1_000_000;

/// What is handed over.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The Job.
    pub job: RunJob,
    /// Its tenant's namespace.
    pub tenancy: Tenancy,
    /// The order: one line, with secrets.
    pub order: Secret,
    /// How long its Pod may wait for a place and an image.
    pub pending_secs: u64,
}

/// What is told of it.
#[derive(Debug)]
pub enum Told {
    /// A line of its log.
    Line(Line),
    /// Something that people should know: a level (`info`, `warning`) and a sentence.
    Note(&'static str, String),
    /// Its container runs.
    Begun,
    /// The last thing that is told.
    Ended(Ended),
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// How its container ended, if one began.
    pub terminated: Option<Terminated>,
    /// Why, unless it ended by itself.
    pub error: Option<Error>,
}

/// What may be asked of a run that goes on.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Make a checkpoint and end: the Job is deleted, its Pod gets its grace.
    pub stop: CancellationToken,
    /// End now.
    pub kill: CancellationToken,
    /// The right to this run is lost: end now, tell nothing more.
    pub abandon: CancellationToken,
}

/// Hands a run over and follows it. Everything is told through `tell`, the end too; returns when nothing more will be told.
pub async fn follow(api: Api, launch: Launch, wishes: Wishes, tell: mpsc::Sender<Told>) {
    let abandon = wishes.abandon.clone();
    let mut run = Run { api, launch, wishes, tell, uid: None, stopping: false, killed: false, heard: (false, false) };
    let ended = tokio::select! {
        ended = run.whole() => ended,
        () = abandon.cancelled() => {
            run.remove("Background", Some(NOW)).await;
            return;
        }
    };
    // The order's Secret goes at once, whoever wants to look at the Job.
    run.forget().await;
    let ended = ended.unwrap_or_else(|error| Ended { terminated: None, error: Some(error) });
    let _ = run.tell.send(Told::Ended(ended)).await;
}

struct Run {
    api: Api,
    launch: Launch,
    wishes: Wishes,
    tell: mpsc::Sender<Told>,
    /// Of the Job, once it is there.
    uid: Option<String>,
    stopping: bool,
    killed: bool,
    /// Whether the wishes to stop and to end now were heard, though perhaps not by the API server.
    heard: (bool, bool),
}

impl Run {
    async fn whole(&mut self) -> Result<Ended> {
        let order_bytes = self.launch.order.expose().len();
        if order_bytes > LARGEST_ORDER_BYTES {
            return Err(Error::new("WEIR-KUBE-018", Kind::Limit, "the run's order is too large for a Secret of Kubernetes")
                .because(format!("it has {order_bytes} bytes, with the pipeline and its connections; {LARGEST_ORDER_BYTES} fit"))
                .hint("`placement: process`, or a shorter pipeline file"));
        }
        prepare(&self.api, &self.launch.tenancy).await?;
        self.make_room().await?;
        if self.wishes.stop.is_cancelled() {
            return Err(Error::cancelled());
        }
        self.create().await?;
        let ended = self.watch().await;
        if !ended.as_ref().is_ok_and(|ended| ended.terminated.is_some()) {
            // What never ran, or whose end was not seen, must not begin behind our back.
            self.remove("Foreground", None).await;
        }
        ended
    }

    fn path(&self) -> Path<'_> {
        Path::jobs(&self.launch.job.namespace).named(&self.launch.job.name)
    }

    /// Ends what an earlier attempt has left, and waits until it is gone with its Pod.
    async fn make_room(&mut self) -> Result<()> {
        let limit = Duration::from_secs(self.launch.job.bounds.grace_secs + 60);
        let begin = Instant::now();
        let mut asked: Option<String> = None;
        loop {
            let Some(found) = self.api.get(self.path(), &[]).await? else { return Ok(()) };
            let uid = found["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let fence = found["metadata"]["annotations"][FENCE].as_str().and_then(|text| text.parse::<i64>().ok());
            if found["metadata"]["labels"][MANAGED_BY] != MANAGER || fence.is_none_or(|fence| fence > self.launch.job.fence) {
                return Err(trouble::vanished()
                    .because(format!("Job {} is not of this attempt, nor of an earlier one", self.launch.job.name)));
            }
            if asked.as_ref() != Some(&uid) {
                let left = found["status"]["active"].as_i64().unwrap_or(0) > 0;
                if left {
                    self.note(
                        "warning",
                        "an earlier attempt still runs in the cluster: it makes a checkpoint and ends first".into(),
                    )
                    .await;
                }
                self.api.delete(self.path(), &uid, "Foreground", None).await?;
                asked = Some(uid);
            }
            if begin.elapsed() > limit {
                return Err(Error::new(
                    "WEIR-KUBE-019",
                    Kind::Conflict,
                    "an earlier attempt of this job does not end in the cluster",
                )
                .because(format!(
                    "Job {}/{} is still there after {} s",
                    self.launch.job.namespace,
                    self.launch.job.name,
                    limit.as_secs()
                ))
                .hint(
                    "its node may be lost: `kubectl get pods -o wide`; a Pod whose node is gone for good may be deleted by force",
                )
                .transient());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The Job, suspended; its Secret; then it may go.
    async fn create(&mut self) -> Result<()> {
        let job = &self.launch.job;
        let made = self.api.create(Path::jobs(&job.namespace), &job.job()).await?;
        let uid = made["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        self.uid = Some(uid.clone());
        let secret = self.launch.job.secret(&uid, self.launch.order.expose());
        let begun = async {
            self.api.create(Path::core(Some(&self.launch.job.namespace), "secrets"), &secret).await?;
            self.api.merge(self.path(), &json!({"metadata": {"uid": uid}, "spec": {"suspend": false}})).await
        };
        if let Err(error) = begun.await {
            self.remove("Background", Some(NOW)).await;
            return Err(error);
        }
        self.note("info", format!("Kubernetes has it: Job {} in namespace {}", self.launch.job.name, self.launch.job.namespace))
            .await;
        Ok(())
    }

    /// Looks until it has ended.
    async fn watch(&mut self) -> Result<Ended> {
        let begin = Instant::now();
        let (mut waits_for, mut begun, mut silent_since) = (None::<String>, false, None::<Instant>);
        let mut log: Option<Log> = None;
        let mut wait = LOOK / 4;
        loop {
            self.heed().await;
            let look = match self.look().await {
                Ok(look) => {
                    if silent_since.take().is_some() {
                        self.note("info", "the API server of Kubernetes answers again".into()).await;
                    }
                    look
                }
                Err(error) if error.kind() == Kind::Connect => {
                    if silent_since.is_none() {
                        self.note("warning", format!("{error}; the run goes on in its Pod")).await;
                    }
                    if silent_since.get_or_insert_with(Instant::now).elapsed() > SILENCE {
                        return Err(error);
                    }
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match look {
                Look::Vanished if self.stopping => return Ok(finished(log, None, None).await),
                Look::Vanished => return Ok(finished(log, None, Some(trouble::vanished())).await),
                Look::Failed(error) => return Ok(finished(log, None, Some(error)).await),
                // It was there: the Job's end, or what its controller says of it, is on its way.
                Look::NoPod if begun || self.stopping => {}
                Look::NoPod => {
                    if begin.elapsed() > POD_WITHIN
                        && let Some(error) = self.why_no_pod().await?
                    {
                        return Err(error);
                    }
                    if begin.elapsed() > Duration::from_secs(self.launch.pending_secs) {
                        return Err(trouble::pending(self.launch.pending_secs, Some("no Pod was made for its Job")));
                    }
                }
                Look::Pod(name, seen) => match seen {
                    Seen::Waiting { reason, lasting } => {
                        if reason.is_some() && reason != waits_for {
                            self.note("info", format!("the Pod waits: {}", reason.as_deref().unwrap_or_default())).await;
                        }
                        if lasting {
                            return Err(trouble::stuck(reason.as_deref().unwrap_or_default()));
                        }
                        if begin.elapsed() > Duration::from_secs(self.launch.pending_secs) {
                            return Err(trouble::pending(self.launch.pending_secs, reason.as_deref()));
                        }
                        waits_for = reason.or(waits_for);
                    }
                    Seen::Running(node) => {
                        if !begun {
                            begun = true;
                            self.note("info", format!("Pod {name} runs on node {node}")).await;
                            let _ = self.tell.send(Told::Begun).await;
                        }
                        log.get_or_insert_with(|| self.read_log(&name));
                    }
                    Seen::Ended(terminated, error) => {
                        if terminated.is_some() {
                            log.get_or_insert_with(|| self.read_log(&name));
                        }
                        return Ok(finished(log, terminated, error).await);
                    }
                },
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wishes.stop.cancelled(), if !self.heard.0 => {}
                () = self.wishes.kill.cancelled(), if !self.heard.1 => {}
            }
            wait = (wait * 2).min(LOOK);
        }
    }

    /// Does what is wished. A wish that the API server did not hear is told again.
    async fn heed(&mut self) {
        self.heard = (self.wishes.stop.is_cancelled(), self.wishes.kill.is_cancelled());
        if self.wishes.kill.is_cancelled() && !self.killed {
            self.killed = self.end("Foreground", Some(NOW)).await.is_ok();
            self.stopping |= self.killed;
        } else if self.wishes.stop.is_cancelled() && !self.stopping {
            self.stopping = self.end("Foreground", None).await.is_ok();
        }
    }

    /// Deletes the Job; with a grace of its own its Pods too.
    async fn end(&self, propagation: &str, grace_secs: Option<u32>) -> Result<()> {
        let Some(uid) = &self.uid else { return Ok(()) };
        self.api.delete(self.path(), uid, propagation, None).await?;
        if grace_secs.is_none() {
            return Ok(());
        }
        let namespace = &self.launch.job.namespace;
        for pod in self.pods().await? {
            if let (Some(name), Some(uid)) = (pod["metadata"]["name"].as_str(), pod["metadata"]["uid"].as_str()) {
                self.api.delete(Path::core(Some(namespace), "pods").named(name), uid, "Background", grace_secs).await?;
            }
        }
        Ok(())
    }

    /// The same when nobody waits for it.
    async fn remove(&self, propagation: &str, grace_secs: Option<u32>) {
        if let Err(error) = self.end(propagation, grace_secs).await {
            tracing::warn!(job = self.launch.job.name, "a Job of Kubernetes could not be deleted, its deadline ends it: {error}");
        }
    }

    /// The Secret is of no use any more.
    async fn forget(&self) {
        if self.uid.is_none() {
            return;
        }
        let path = Path::core(Some(&self.launch.job.namespace), "secrets").named(&self.launch.job.name);
        let gone = async {
            let Some(secret) = self.api.get(path, &[]).await? else { return Ok(()) };
            let owned = secret["metadata"]["ownerReferences"][0]["uid"].as_str() == self.uid.as_deref();
            match secret["metadata"]["uid"].as_str().filter(|_| owned) {
                Some(uid) => self.api.delete(path, uid, "Background", None).await,
                None => Ok(()),
            }
        };
        if let Err(error) = gone.await {
            tracing::warn!(job = self.launch.job.name, "the Secret of a run could not be deleted, it goes with its Job: {error}");
        }
    }

    async fn look(&self) -> Result<Look> {
        let job = self.api.get(self.path(), &[]).await?;
        let ours = |job: &Value| job["metadata"]["uid"].as_str() == self.uid.as_deref();
        let Some(job) = job.filter(ours) else { return Ok(Look::Vanished) };
        // Of several Pods (one that vanished may be replaced) the last one that began.
        let mut pods = self.pods().await?;
        pods.sort_by_key(|pod| pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned());
        Ok(match (pods.pop(), trouble::job(&job)) {
            (Some(pod), failed) => {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                match (trouble::pod(&pod), failed) {
                    // The Job's own reason is the better one: `DeadlineExceeded`.
                    (Seen::Ended(terminated, _), Some(error)) if error.code() == "WEIR-KUBE-013" => {
                        Look::Pod(name, Seen::Ended(terminated, Some(error)))
                    }
                    (seen, _) => Look::Pod(name, seen),
                }
            }
            (None, Some(error)) => Look::Failed(error),
            (None, None) => Look::NoPod,
        })
    }

    async fn pods(&self) -> Result<Vec<Value>> {
        let path = Path::core(Some(&self.launch.job.namespace), "pods");
        let found = self.api.get(path, &[("labelSelector", &selector(&self.launch.job.name))]).await?;
        let items = found.and_then(|mut list| list.get_mut("items").map(Value::take));
        let owned = |pod: &Value| pod["metadata"]["ownerReferences"][0]["uid"].as_str() == self.uid.as_deref();
        Ok(items.and_then(|items| items.as_array().cloned()).unwrap_or_default().into_iter().filter(owned).collect())
    }

    async fn why_no_pod(&self) -> Result<Option<Error>> {
        let uid = self.uid.clone().unwrap_or_default();
        let selector = format!("involvedObject.uid={uid}");
        let path = Path::core(Some(&self.launch.job.namespace), "events");
        Ok(self.api.get(path, &[("fieldSelector", &selector)]).await?.as_ref().and_then(trouble::no_pod))
    }

    fn read_log(&self, pod: &str) -> Log {
        let (lines, mut given) = mpsc::channel::<Line>(64);
        let (ended, over) = watch::channel(false);
        let reading = tokio::spawn(log::follow(self.api.clone(), self.launch.job.namespace.clone(), pod.to_owned(), over, lines));
        let tell = self.tell.clone();
        let telling = tokio::spawn(async move {
            while let Some(line) = given.recv().await {
                if tell.send(Told::Line(line)).await.is_err() {
                    return;
                }
            }
        });
        Log { ended, reading, telling, tell: self.tell.clone() }
    }

    async fn note(&self, level: &'static str, text: String) {
        let _ = self.tell.send(Told::Note(level, text)).await;
    }
}

/// One look at Job and Pod.
enum Look {
    /// The Job is not there any more, or another one has its name.
    Vanished,
    /// The Job has failed and has no Pod.
    Failed(Error),
    /// There is no Pod yet.
    NoPod,
    /// A Pod.
    Pod(String, Seen),
}

struct Log {
    ended: watch::Sender<bool>,
    reading: tokio::task::JoinHandle<bool>,
    telling: tokio::task::JoinHandle<()>,
    tell: mpsc::Sender<Told>,
}

impl Drop for Log {
    fn drop(&mut self) {
        self.reading.abort();
        self.telling.abort();
    }
}

/// The end, after all of the log was told.
async fn finished(log: Option<Log>, terminated: Option<Terminated>, error: Option<Error>) -> Ended {
    if let Some(mut log) = log {
        let _ = log.ended.send(true);
        let whole = (&mut log.reading).await.unwrap_or(false);
        let _ = (&mut log.telling).await;
        if !whole && terminated.is_some() {
            let _ = log.tell.send(Told::Note("warning", "the end of the Pod's log could not be read".into())).await;
        }
    }
    Ended { terminated, error }
}

/// Makes the tenant's namespace what it shall be. A namespace that somebody else made is left as it is, but for what runs need to be safe: the
/// account without rights and the network policy of their Pods.
async fn prepare(api: &Api, tenancy: &Tenancy) -> Result<()> {
    let name = tenancy.namespace.as_str();
    let path = Path::core(None, "namespaces").named(name);
    let ours = match api.get(path, &[]).await? {
        Some(found) => found["metadata"]["labels"][MANAGED_BY] == MANAGER,
        None => {
            api.apply(path, &tenancy.namespace()).await?;
            true
        }
    };
    api.apply(Path::core(Some(name), "serviceaccounts").named(super::manifests::ACCOUNT), &tenancy.account()).await?;
    api.apply(Path::policies(name).named("weir-run"), &tenancy.network_policy()).await?;
    if !ours {
        return Ok(());
    }
    api.apply(Path::core(Some(name), "limitranges").named("weir"), &tenancy.limit_range()).await?;
    let quota = Path::core(Some(name), "resourcequotas").named("weir");
    match tenancy.quota() {
        Some(body) => {
            let mut found = api.apply(quota, &body).await?;
            // Pods are refused until the controller has counted what there is.
            for _ in 0..25 {
                if found["status"]["hard"].is_object() {
                    break;
                }
                tokio::time::sleep(LOOK / 2).await;
                found = api.get(quota, &[]).await?.unwrap_or_default();
            }
        }
        None => {
            if let Some(old) = api.get(quota, &[]).await?
                && let Some(uid) = old["metadata"]["uid"].as_str()
            {
                api.delete(quota, uid, "Background", None).await?;
            }
        }
    }
    Ok(())
}
