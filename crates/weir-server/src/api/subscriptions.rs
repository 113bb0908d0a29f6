//! Who is told of events by HTTP. The signing key is shown once, in the answer to the creation.

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use rand::RngCore;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_control::events;
use weir_error::Secret;
use weir_store::model::{self, NewSubscription, SubscriptionId};

use super::page::All;
use crate::answer::{Answer, Reply, ReplyExt};
use crate::ask::Ask;

/// Who is told.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Subscription)]
pub struct SubscriptionView {
    /// Its id.
    pub id: String,
    /// Where to: scheme, host and port. What follows them may be a secret and is shown as `***`.
    pub url: String,
    /// Which kinds; empty = all.
    pub kinds: Vec<String>,
    /// How it is written.
    pub format: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
}

impl From<model::Subscription> for SubscriptionView {
    fn from(subscription: model::Subscription) -> Self {
        Self {
            id: subscription.id.to_string(),
            url: subscription.url,
            kinds: subscription.kinds,
            format: subscription.format,
            created_at: subscription.created_at,
        }
    }
}

/// How an event is written.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum EventFormat {
    #[default]
    Cloudevents,
    Slack,
}

/// Somebody to be told.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSubscriptionBody {
    /// `http` or `https`, without user and password.
    #[schema(format = "uri", min_length = 8, max_length = 2000, pattern = r"^https?://[\x21-\x7e]+$")]
    pub url: String,
    /// Which kinds; empty = all.
    #[serde(default)]
    #[schema(required = false, max_items = 50)]
    pub kinds: Vec<EventKind>,
    /// How it is written.
    #[serde(default)]
    #[schema(required = false)]
    pub format: EventFormat,
    /// The key of the signatures; absent = a new one.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 16, max_length = 200, pattern = r"^[\x21-\x7e]+$")]
    pub key: Option<Secret>,
}

/// `run.finished`, `alert.firing`, ….
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(min_length = 1, max_length = 100, pattern = "^[a-z][a-z0-9._-]*$")]
pub struct EventKind(pub String);

/// A new subscription. `key` signs the deliveries (`X-Weir-Signature`); it is never shown again, not even for the same Idempotency-Key
/// (then it is null).
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedSubscription {
    /// The signing key.
    pub key: Option<String>,
    /// What is kept of it.
    pub info: SubscriptionView,
}

/// `POST /subscriptions`.
pub async fn create(ask: Ask, me: Caller) -> Reply {
    let new: NewSubscriptionBody = ask.json()?;
    // As the dispatcher will write it, so that the key is sealed for the same address.
    let url = url::Url::parse(&new.url).map_or(new.url, String::from);
    events::check_url(&ask.app.platform, &url)?;
    let key = new.key.unwrap_or_else(|| {
        let mut bytes = [0u8; 32];
        rand::rng().fill_bytes(&mut bytes);
        Secret::new(format!("whsec_{}", URL_SAFE_NO_PAD.encode(bytes)))
    });
    let (url, sealed) = events::target::seal(&ask.app.platform.keys, &me.scope, &url, Some(&key))?;
    let format = match new.format {
        EventFormat::Cloudevents => "cloudevents",
        EventFormat::Slack => "slack",
    };
    let kinds = new.kinds.into_iter().map(|kind| kind.0).collect();
    let subscription = ask
        .app
        .tenant(&me.scope)
        .create_subscription(NewSubscription { url, kinds, format: format.into(), sealed: Some(sealed) })
        .await?;
    let place = format!("/api/v1/subscriptions/{}", subscription.id);
    let info = SubscriptionView::from(subscription);
    let kept: Option<Bytes> = Answer::created(&CreatedSubscription { key: None, info: info.clone() })?.into_bytes();
    let mut answer = Answer::created(&CreatedSubscription { key: Some(key.expose().to_owned()), info }).location(&place)?;
    answer.remembered = kept;
    Ok(answer)
}

/// `GET /subscriptions`.
pub async fn list(ask: Ask, me: Caller) -> Reply {
    let all = ask.app.tenant(&me.scope).list_subscriptions().await?;
    Answer::json(&All { items: all.into_iter().map(SubscriptionView::from).collect() })
}

/// `GET /subscriptions/{subscription_id}`.
pub async fn get(ask: Ask, me: Caller) -> Reply {
    let one = ask.app.tenant(&me.scope).subscription(&SubscriptionId::from(ask.id("subscription_id"))).await?;
    Answer::json(&SubscriptionView::from(one))
}

/// `DELETE /subscriptions/{subscription_id}`.
pub async fn delete(ask: Ask, me: Caller) -> Reply {
    ask.app.tenant(&me.scope).delete_subscription(&SubscriptionId::from(ask.id("subscription_id"))).await?;
    Answer::no_content()
}
