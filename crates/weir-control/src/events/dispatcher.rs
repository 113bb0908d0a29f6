//! The loop that gives events to whoever wants them: webhooks of subscriptions, the webhook of alerts, Pulsar. At least once; per job and
//! destination in order (the store gives a job's next event only when the one before it is done).

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_egress::Policy;
use weir_error::{Error, Kind, Result, Retry, Secret};
use weir_store::model::{Delivery, OutboxRow, SubscriptionId};
use weir_store::{Actor, TenantScope};

use super::backoff::next_try;
use super::breaker::Breakers;
use super::cloudevent::{self, envelope};
use super::signature;
use super::slack;
use super::target;
use super::webhook::Sender;
use crate::Platform;
use crate::config::Environment;

/// Kind of the tenants' webhooks in the outbox.
const SUBSCRIPTION: &str = weir_store::system::outbox::SUBSCRIPTION;
/// The destination of `ALERT_WEBHOOK_URL`.
const ALERT_WEBHOOK: &str = weir_store::system::outbox::ALERT_WEBHOOK;
/// The destination of Pulsar.
pub(super) const PULSAR: &str = "pulsar";

/// Longer than a webhook's ten seconds and a broker's thirty.
const LEASE: Duration = Duration::from_secs(60);
/// Deliveries at the same time.
const AT_ONCE: usize = 64;

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Delivered,
    /// Somebody asked for silence.
    Silenced,
    /// Nobody wants it any more.
    Gone,
}

/// Everything that a delivery needs. Cheap to clone.
#[derive(Clone)]
struct Post {
    platform: Platform,
    tenants: Arc<Sender>,
    operator: Arc<Sender>,
    breakers: Arc<Mutex<Breakers>>,
    #[cfg(feature = "pulsar")]
    pulsar: Arc<super::pulsar::Producers>,
}

/// The policy of addresses that tenants choose.
pub fn tenant_policy(platform: &Platform) -> Result<Policy> {
    match platform.settings.environment {
        Environment::Development => Ok(Policy::open()),
        Environment::Production => Policy::public_and(&platform.settings.egress_allow),
    }
}

/// Whether an address may be subscribed to; its name is not resolved yet.
pub fn check_url(platform: &Platform, url: &str) -> Result<()> {
    Sender::new(tenant_policy(platform)?).check(url).map(|_| ())
}

/// The loop. It does not end by an error; when told to stop it lets what is under way end.
pub async fn run(platform: Platform, stop: CancellationToken) {
    let post = match Post::new(&platform) {
        Ok(post) => post,
        Err(error) => {
            tracing::error!(%error, "events are not delivered: the egress policy is wrong");
            return stop.cancelled().await;
        }
    };
    let kinds = kinds(&platform);
    let mut under_way = JoinSet::new();
    let mut pause = Duration::ZERO;
    let mut next_claim = tokio::time::Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = under_way.join_next(), if !under_way.is_empty() => {
                if let Err(error) = ended {
                    platform.metrics.loop_error("events");
                    tracing::error!(%error, "a delivery broke off; it is tried again when its lease ends");
                }
                // The job's next event may be free now.
                next_claim = tokio::time::Instant::now();
                continue;
            }
            () = tokio::time::sleep_until(next_claim), if under_way.len() < AT_ONCE => {}
        }
        let free = (AT_ONCE - under_way.len()) as u32;
        match platform.store.system().claim_deliveries(&kinds, &platform.settings.runner_id, LEASE, free).await {
            Ok(deliveries) => {
                pause = if deliveries.is_empty() { Duration::from_millis(500) } else { Duration::ZERO };
                for delivery in deliveries {
                    let post = post.clone();
                    under_way.spawn(async move { post.one(&delivery).await });
                }
            }
            Err(error) => {
                platform.metrics.loop_error("events");
                tracing::warn!(%error, "events to be delivered could not be asked for");
                pause = (pause * 2).clamp(Duration::from_secs(1), Duration::from_secs(30));
            }
        }
        next_claim = tokio::time::Instant::now() + pause;
    }
    while under_way.join_next().await.is_some() {}
}

fn kinds(platform: &Platform) -> Vec<&'static str> {
    let mut kinds = vec![SUBSCRIPTION];
    if platform.settings.alert_webhook_url.is_some() {
        kinds.push(ALERT_WEBHOOK);
    }
    if platform.settings.pulsar_url.is_some() {
        if cfg!(feature = "pulsar") {
            kinds.push(PULSAR);
        } else {
            tracing::warn!("PULSAR_URL is set, but this program was built without Pulsar: its events wait in the database");
        }
    }
    kinds
}

impl Post {
    fn new(platform: &Platform) -> Result<Self> {
        Ok(Self {
            platform: platform.clone(),
            tenants: Arc::new(Sender::new(tenant_policy(platform)?)),
            // The operator's own address is where the operator says it is: mostly inside.
            operator: Arc::new(Sender::operator()),
            breakers: Arc::default(),
            #[cfg(feature = "pulsar")]
            pulsar: Arc::new(super::pulsar::Producers::new(platform.settings.pulsar_url.clone().unwrap_or_default())),
        })
    }

    /// Delivers one event, and writes down what became of it.
    async fn one(&self, delivery: &Delivery) {
        let resting = self.breakers.lock().await.resting(&delivery.destination, Instant::now());
        let outcome = match resting {
            Some(rest) => Err(Error::new("WEIR-EVENT-005", Kind::Connect, "the receiver rests after several failures")
                .retry(Retry::After(rest))),
            None => {
                let outcome = self.send(delivery).await;
                let worked = outcome.as_ref().map_or_else(|error| error.kind() != Kind::Connect, |_| true);
                self.breakers.lock().await.told(&delivery.destination, worked, Instant::now());
                outcome
            }
        };
        let system = self.platform.store.system();
        let (word, written) = match outcome {
            Ok(done) => {
                let word = match done {
                    Done::Delivered => "delivered",
                    Done::Silenced => "silenced",
                    Done::Gone => "gone",
                };
                (word, system.delivered(delivery).await)
            }
            Err(error) => {
                let again =
                    next_try(delivery.row.at, Utc::now(), delivery.attempts.saturating_add(1), error.retryable(), rand::random());
                tracing::info!(event_id = %delivery.row.event_id, destination = %delivery.destination, attempt = delivery.attempts,
                               given_up = again.is_none(), %error, "an event was not delivered");
                let word = if again.is_some() { "failed" } else { "dead" };
                (word, system.delivery_failed(delivery, &error.to_string(), again).await)
            }
        };
        self.platform.metrics.count("weir_deliveries_total", word, 1.0);
        if let Err(error) = written {
            // The lease ends and somebody tries again: the receiver may get the event twice, with the same id.
            self.platform.metrics.loop_error("events");
            tracing::warn!(event_id = %delivery.row.event_id, %error, "what became of a delivery could not be written down");
        }
    }

    async fn send(&self, delivery: &Delivery) -> Result<Done> {
        match delivery.destination.as_str() {
            ALERT_WEBHOOK => self.alert_webhook(delivery).await,
            PULSAR => self.to_pulsar(&delivery.row).await,
            subscription => self.subscription(&SubscriptionId::from(subscription), delivery).await,
        }
    }

    async fn subscription(&self, id: &SubscriptionId, delivery: &Delivery) -> Result<Done> {
        let scope = TenantScope::granted(delivery.row.tenant_id.clone(), Actor::system("events"));
        let subscription = match self.platform.store.tenant(&scope).subscription(id).await {
            Ok(subscription) => subscription,
            Err(error) if error.kind() == Kind::NotFound => return Ok(Done::Gone),
            Err(error) => return Err(error),
        };
        if !subscription.kinds.is_empty() && !subscription.kinds.contains(&delivery.row.event.kind) {
            return Ok(Done::Gone);
        }
        if self.silent(&delivery.row).await? {
            return Ok(Done::Silenced);
        }
        let target = target::open(&self.platform.keys, &scope, &subscription)?;
        let body = if subscription.format == "slack" { Body::Slack } else { Body::CloudEvent };
        self.post(&self.tenants, target.url.expose(), body, target.key.as_ref(), delivery).await
    }

    async fn alert_webhook(&self, delivery: &Delivery) -> Result<Done> {
        let row = &delivery.row;
        let Some(url) = &self.platform.settings.alert_webhook_url else { return Ok(Done::Gone) };
        let rule = &row.event.data["rule"];
        let action = rule["action"].as_str().unwrap_or("webhook");
        if !row.event.kind.starts_with("alert.") || action == "none" {
            return Ok(Done::Gone);
        }
        if self.silent(row).await? {
            return Ok(Done::Silenced);
        }
        let slack = action == "slack" || url::Url::parse(url).is_ok_and(|url| url.host_str() == Some("hooks.slack.com"));
        let body = if slack { Body::Slack } else { Body::CloudEvent };
        self.post(&self.operator, url, body, self.platform.settings.alert_webhook_key.as_ref(), delivery).await
    }

    async fn post(&self, sender: &Sender, url: &str, body: Body, key: Option<&Secret>, delivery: &Delivery) -> Result<Done> {
        let (value, content_type) = match body {
            Body::CloudEvent => (envelope(&delivery.row), cloudevent::CONTENT_TYPE),
            Body::Slack => (slack::body(&delivery.row, self.job_name(&delivery.row).await.as_deref()), "application/json"),
        };
        let bytes = serde_json::to_vec(&value).map_err(|error| Error::internal("an event is no JSON").caused_by(error))?;
        let mut headers = vec![
            ("content-type", content_type.to_owned()),
            ("x-weir-event-id", delivery.row.event_id.clone()),
            ("x-weir-event-type", delivery.row.event.kind.clone()),
            ("x-weir-attempt", delivery.attempts.saturating_add(1).to_string()),
        ];
        if let Some(key) = key {
            headers.push((signature::HEADER, signature::sign(key, Utc::now().timestamp(), &bytes)));
        }
        sender.post(url, &headers, bytes).await.map(|()| Done::Delivered)
    }

    /// For people; a job that is gone has none.
    async fn job_name(&self, row: &OutboxRow) -> Option<String> {
        let scope = TenantScope::granted(row.tenant_id.clone(), Actor::system("events"));
        let job = self.platform.store.tenant(&scope).job(row.event.job_id.as_ref()?).await;
        job.ok().map(|job| job.body.name)
    }

    /// Whether somebody asked for silence about this alert. Other events are never silent.
    async fn silent(&self, row: &OutboxRow) -> Result<bool> {
        if !row.event.kind.starts_with("alert.") {
            return Ok(false);
        }
        let scope = TenantScope::granted(row.tenant_id.clone(), Actor::system("events"));
        let (job, now) = (row.event.job_id.as_ref(), Utc::now());
        let silences = self.platform.store.tenant(&scope).silences().await?;
        Ok(silences
            .iter()
            .map(|held| &held.body)
            .any(|silence| silence.until > now && (silence.job_id.is_none() || silence.job_id.as_ref() == job)))
    }

    #[cfg(feature = "pulsar")]
    async fn to_pulsar(&self, row: &OutboxRow) -> Result<Done> {
        self.pulsar.send(row).await.map(|()| Done::Delivered)
    }

    #[cfg(not(feature = "pulsar"))]
    async fn to_pulsar(&self, _row: &OutboxRow) -> Result<Done> {
        Err(Error::new("WEIR-EVENT-006", Kind::Unsupported, "this program was built without Pulsar")
            .hint("build it with the feature `pulsar`"))
    }
}

#[derive(Debug, Clone, Copy)]
enum Body {
    CloudEvent,
    Slack,
}
