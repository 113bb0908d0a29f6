//! Who is told what happened.
//!
//! * [`run`]: the loops: [`dispatcher`] (webhooks, alerts, Pulsar) and, with Pulsar, the inbox;
//! * [`cloudevent`], [`slack`]: what is said; [`signature`]: by whom; [`webhook`]: to which addresses;
//! * [`backoff`], [`breaker`]: how patiently.
//!
//! Not here: which events there are (weir-store writes them with the change), and server-sent events (weir-server reads the outbox).

pub mod backoff;
mod breaker;
pub mod cloudevent;
pub mod dispatcher;
#[cfg(feature = "pulsar")]
pub mod pulsar;
pub mod signature;
pub mod slack;
pub mod target;
pub mod webhook;

pub use dispatcher::check_url;

use tokio_util::sync::CancellationToken;

use crate::Platform;

/// All loops of this part, until told to stop.
pub async fn run(platform: Platform, stop: CancellationToken) {
    #[cfg(feature = "pulsar")]
    if platform.settings.pulsar_url.is_some() {
        tokio::join!(dispatcher::run(platform.clone(), stop.clone()), pulsar::receive(platform, stop));
        return;
    }
    dispatcher::run(platform, stop).await;
}
