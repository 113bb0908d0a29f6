//! Events to and from Apache Pulsar.
//!
//! Out: `persistent://platformq/<tenant>/<topic>`, keyed by the job, one event at a time per job. A send that was acknowledged but not written
//! down is sent again: the message's `event_id` and `sequence` properties tell. (The client numbers messages per connection, so the broker's
//! own deduplication cannot know an event again after a restart; producers therefore have no fixed names, which it would take for repeats.)
//!
//! In: `digital-asset-created-events` of every tenant, into the inbox, acknowledged after the commit: each event id is kept exactly once.
//! Pulsar resolves patterns within one namespace only, so `persistent://platformq/.*/…` is one consumer per tenant.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use pulsar::consumer::{ConsumerOptions, InitialPosition};
use pulsar::{Consumer, Producer, Pulsar, SubType, TokioExecutor, producer};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_error::{Error, Kind, Result};
use weir_store::model::{OutboxRow, PageRequest, TenantId, TenantStatus};

use super::cloudevent::{self, envelope};
use crate::Platform;

/// The Pulsar tenant of the seed.
const PREFIX: &str = "persistent://platformq";
/// What is read.
const ASSETS: &str = "digital-asset-created-events";
/// Kinds with a topic of their own; all others share one.
const OWN_TOPICS: [&str; 2] = ["seatunnel-job-completed", "seatunnel-pipeline-created-events"];
/// The topic of the others.
const OTHERS: &str = "weir-events";
/// Larger messages are no asset events.
const MOST_BYTES: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// The topic of an event.
pub fn topic(tenant: &TenantId, kind: &str) -> String {
    let name = OWN_TOPICS.into_iter().find(|own| *own == kind).unwrap_or(OTHERS);
    format!("{PREFIX}/{tenant}/{name}")
}

/// The connection and a producer per topic, made when first needed and thrown away when they fail.
pub struct Producers {
    url: String,
    client: Mutex<Option<Pulsar<TokioExecutor>>>,
    topics: Mutex<HashMap<String, Arc<Mutex<Producer<TokioExecutor>>>>>,
}

impl Producers {
    /// To this broker; nothing is connected yet.
    pub fn new(url: String) -> Self {
        Self { url, client: Mutex::default(), topics: Mutex::default() }
    }

    /// Sends an event and waits until the broker has it.
    pub async fn send(&self, row: &OutboxRow) -> Result<()> {
        let topic = topic(&row.tenant_id, &row.event.kind);
        let sent = tokio::time::timeout(PATIENCE, self.try_send(&topic, row)).await;
        let outcome = match sent {
            Ok(outcome) => outcome,
            Err(_) => Err(failed(&topic, "no answer within thirty seconds")),
        };
        if outcome.is_err() {
            self.topics.lock().await.remove(&topic);
            *self.client.lock().await = None;
        }
        outcome
    }

    async fn try_send(&self, topic: &str, row: &OutboxRow) -> Result<()> {
        let payload =
            serde_json::to_vec(&envelope(row)).map_err(|error| Error::internal("an event is no JSON").caused_by(error))?;
        let key = row.event.job_id.as_ref().map(ToString::to_string);
        let properties = [
            ("event_id", row.event_id.clone()),
            ("event_type", row.event.kind.clone()),
            ("sequence", row.seq.to_string()),
            ("content-type", cloudevent::CONTENT_TYPE.to_owned()),
        ];
        let message = producer::Message {
            payload,
            ordering_key: key.as_ref().map(|key| key.clone().into_bytes()),
            partition_key: key,
            properties: properties.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            event_time: u64::try_from(row.at.timestamp_millis()).ok(),
            ..producer::Message::default()
        };
        let producer = self.producer(topic).await?;
        let mut producer = producer.lock().await;
        let receipt = producer.send_non_blocking(message).await.map_err(|error| failed(topic, error))?;
        // Others may send while this one waits for its receipt; events of one job never meet here.
        drop(producer);
        receipt.await.map_err(|error| failed(topic, error))?;
        Ok(())
    }

    async fn producer(&self, topic: &str) -> Result<Arc<Mutex<Producer<TokioExecutor>>>> {
        if let Some(producer) = self.topics.lock().await.get(topic) {
            return Ok(producer.clone());
        }
        let client = {
            let mut client = self.client.lock().await;
            match client.as_ref() {
                Some(client) => client.clone(),
                None => client.insert(connect(&self.url).await?).clone(),
            }
        };
        let producer = client.producer().with_topic(topic).build().await.map_err(|error| failed(topic, error))?;
        let producer = Arc::new(Mutex::new(producer));
        self.topics.lock().await.insert(topic.to_owned(), producer.clone());
        Ok(producer)
    }
}

async fn connect(url: &str) -> Result<Pulsar<TokioExecutor>> {
    Pulsar::builder(url, TokioExecutor).build().await.map_err(|error| {
        Error::new("WEIR-EVENT-010", Kind::Connect, "Pulsar cannot be reached")
            .because(error)
            .hint("PULSAR_URL names the broker: pulsar://host:6650")
            .transient()
    })
}

fn failed(topic: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-EVENT-011", Kind::Connect, "Pulsar did not take an event, or gave none")
        .at(topic.to_owned())
        .because(why)
        .hint("the namespace must exist: `pulsar-admin namespaces create platformq/<tenant>`")
        .transient()
}

/// Reads the asset events of all active tenants until told to stop.
pub async fn receive(platform: Platform, stop: CancellationToken) {
    let mut readers: JoinSet<TenantId> = JoinSet::new();
    let mut known: HashMap<TenantId, CancellationToken> = HashMap::new();
    loop {
        match active_tenants(&platform).await {
            Ok(tenants) => {
                known.retain(|tenant, stop| {
                    let stays = tenants.contains(tenant);
                    if !stays {
                        stop.cancel();
                    }
                    stays
                });
                for tenant in tenants {
                    if !known.contains_key(&tenant) {
                        let own = stop.child_token();
                        known.insert(tenant.clone(), own.clone());
                        readers.spawn(read(platform.clone(), tenant, own));
                    }
                }
            }
            Err(error) => {
                platform.metrics.loop_error("inbox");
                tracing::warn!(%error, "tenants could not be asked for");
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(Duration::from_secs(10)) => {}
            Some(ended) = readers.join_next(), if !readers.is_empty() => match ended {
                Ok(tenant) => { known.remove(&tenant); }
                // Nobody knows whose it was: all are looked for again.
                Err(error) => {
                    platform.metrics.loop_error("inbox");
                    tracing::error!(%error, "a reader of Pulsar broke off");
                    known.values().for_each(CancellationToken::cancel);
                    known.clear();
                }
            },
        }
    }
    while readers.join_next().await.is_some() {}
}

async fn active_tenants(platform: &Platform) -> Result<Vec<TenantId>> {
    let (mut tenants, mut cursor) = (Vec::new(), None);
    loop {
        let page = platform.store.system().tenants(&PageRequest { limit: 500, cursor }).await?;
        tenants.extend(page.items.into_iter().filter(|tenant| tenant.status == TenantStatus::Active).map(|tenant| tenant.id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(tenants);
        }
    }
}

/// One tenant's reader; connects again with growing pauses.
async fn read(platform: Platform, tenant: TenantId, stop: CancellationToken) -> TenantId {
    let mut pause = Duration::from_secs(1);
    loop {
        tokio::select! {
            () = stop.cancelled() => return tenant,
            outcome = read_until_it_breaks(&platform, &tenant, &mut pause) => if let Err(error) = outcome {
                platform.metrics.loop_error("inbox");
                tracing::warn!(%tenant, %error, "asset events could not be read");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return tenant,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(Duration::from_secs(60));
    }
}

async fn read_until_it_breaks(platform: &Platform, tenant: &TenantId, pause: &mut Duration) -> Result<()> {
    let topic = format!("{PREFIX}/{tenant}/{ASSETS}");
    let client = connect(platform.settings.pulsar_url.as_deref().unwrap_or_default()).await?;
    let mut consumer: Consumer<Vec<u8>, _> = client
        .consumer()
        .with_topic(&topic)
        .with_subscription("weir")
        .with_subscription_type(SubType::Shared)
        .with_options(ConsumerOptions::default().with_initial_position(InitialPosition::Earliest))
        .build()
        .await
        .map_err(|error| failed(&topic, error))?;
    *pause = Duration::from_secs(1);
    while let Some(message) = consumer.next().await {
        let message = message.map_err(|error| failed(&topic, error))?;
        let body = message.deserialize();
        let place = message.message_id();
        let place = format!(
            "{}:{}:{}:{}",
            place.ledger_id,
            place.entry_id,
            place.partition.unwrap_or(-1),
            place.batch_index.unwrap_or(-1)
        );
        let outcome = if body.len() > MOST_BYTES {
            tracing::warn!(%tenant, message = %place, bytes = body.len(), "an asset event is too large; it is left out");
            "refused"
        } else if platform.store.system().receive(&topic, &event_id(&body, &place), tenant, &body).await? {
            "new"
        } else {
            "known"
        };
        // Only what is committed is acknowledged; what is not comes again, and is known by its id then.
        consumer.ack(&message).await.map_err(|error| failed(&topic, error))?;
        platform.metrics.count("weir_inbox_events_total", outcome, 1.0);
    }
    Err(failed(&topic, "the broker closed the connection"))
}

/// What the event calls itself (CloudEvents `id`, or `event_id`), else its place in the topic.
fn event_id(body: &[u8], place: &str) -> String {
    let said = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let id = ["id", "event_id"].into_iter().find_map(|name| said.get(name).and_then(Value::as_str).filter(|id| !id.is_empty()));
    id.map_or_else(|| format!("message:{place}"), |id| id.chars().take(256).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_the_tenants_own() {
        let tenant = TenantId::from("acme");
        assert_eq!(topic(&tenant, "seatunnel-job-completed"), "persistent://platformq/acme/seatunnel-job-completed");
        assert_eq!(
            topic(&tenant, "seatunnel-pipeline-created-events"),
            "persistent://platformq/acme/seatunnel-pipeline-created-events"
        );
        assert_eq!(topic(&tenant, "alert.firing"), "persistent://platformq/acme/weir-events");
    }

    #[test]
    fn an_event_without_an_id_is_known_by_its_place() {
        assert_eq!(event_id(br#"{"id": "e1"}"#, "1:2"), "e1");
        assert_eq!(event_id(br#"{"event_id": "e2", "id": 5}"#, "1:2"), "e2");
        assert_eq!(event_id(b"\xff", "1:2"), "message:1:2");
    }
}
