//! What runs beside the API: workers, scheduler, alerts, metrics, events, tracing, the login at Vault. Each loop is safe in several
//! replicas and ends when the token is cancelled. One that ends by itself is a bug, and the process ends with it, to be started anew.

use std::time::Duration;

use futures::FutureExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_control::config::Settings;
use weir_control::telemetry::Tracing;
use weir_control::worker::Pool;
use weir_control::{Platform, events, files, monitoring, schedule};
use weir_error::{Error, Result};

use crate::outcome::Failure;

/// Beyond the drain time: for the last requests and the last events.
const AFTER_DRAIN: Duration = Duration::from_secs(5);

/// The loops of a process.
pub struct Loops {
    /// Cancelled first: nothing new is begun.
    stop: CancellationToken,
    /// Requests, runs, schedules.
    running: Running,
    /// Cancelled when those have ended: for what they still need, and what tells of their end.
    stop_last: CancellationToken,
    /// Events, metrics, spans, the login at Vault.
    running_last: Running,
}

type Running = JoinSet<(&'static str, Result<()>)>;

impl Loops {
    pub fn new(stop: CancellationToken) -> Self {
        Self { stop, running: Running::new(), stop_last: CancellationToken::new(), running_last: Running::new() }
    }

    /// The API, and the second listener for metrics.
    pub fn serve(&mut self, platform: &Platform, listener: TcpListener, metrics: Option<TcpListener>) {
        let router = weir_server::router(platform.clone(), self.stop.clone());
        self.start("API", weir_server::serve(listener, router, self.stop.clone()));
        self.metrics(platform, metrics);
    }

    /// The second listener for metrics.
    pub fn metrics(&mut self, platform: &Platform, listener: Option<TcpListener>) {
        if let Some(listener) = listener {
            let router = weir_server::metrics_router(platform.clone());
            self.start("metrics", weir_server::serve(listener, router, self.stop.clone()));
        }
    }

    /// Everything but the API.
    pub fn all(&mut self, platform: &Platform) -> Result<()> {
        if platform.settings.scheduler {
            self.start("scheduler", schedule::run(platform.clone(), self.stop.clone()).map(Ok));
        }
        self.start("alerts", monitoring::alerts::run(platform.clone(), self.stop.clone()).map(Ok));
        self.start_last("collector", monitoring::collector::run(platform.clone(), self.stop_last.clone()).map(Ok));
        self.start_last("events", events::run(platform.clone(), self.stop_last.clone()).map(Ok));
        self.work(platform)
    }

    /// What a worker needs.
    pub fn work(&mut self, platform: &Platform) -> Result<()> {
        self.start("removed tenants", files::removal::run(platform.clone(), self.stop.clone()).map(Ok));
        self.start("deleted journals", files::journals::run(platform.clone(), self.stop.clone()).map(Ok));
        if let Some(vault) = platform.vault.clone() {
            let stop = self.stop_last.clone();
            self.start_last("vault", async move {
                vault.keep(stop.cancelled(), |problem| tracing::warn!(problem, "the login at Vault")).await;
                Ok(())
            });
        }
        if platform.settings.max_concurrent_jobs == 0 {
            return Ok(());
        }
        let mut pool = Pool::new(platform.clone());
        if let Some((tracing, sender)) = Tracing::new(&platform.settings)? {
            pool = pool.with_observer(tracing);
            self.start_last("tracing", sender.run(self.stop_last.clone()).map(Ok));
        }
        self.start("workers", pool.run(self.stop.clone()).map(Ok));
        Ok(())
    }

    fn start(&mut self, name: &'static str, running: impl Future<Output = Result<()>> + Send + 'static) {
        self.running.spawn(running.map(move |ended| (name, ended)));
    }

    fn start_last(&mut self, name: &'static str, running: impl Future<Output = Result<()>> + Send + 'static) {
        self.running_last.spawn(running.map(move |ended| (name, ended)));
    }

    /// Waits for the stop, then for every loop to end in its time.
    pub async fn until_stopped(mut self, settings: &Settings) -> Result<u8, Failure> {
        let ended = tokio::select! {
            // First, because the loops end at the same moment as the token is cancelled.
            biased;
            () = self.stop.cancelled() => None,
            ended = self.running.join_next() => ended,
            ended = self.running_last.join_next(), if !self.running_last.is_empty() => ended,
        };
        let broken = ended.filter(|_| !self.stop.is_cancelled()).map(by_itself);
        self.stop.cancel();
        end(&mut self.running, Duration::from_secs(settings.drain_secs) + AFTER_DRAIN).await;
        self.stop_last.cancel();
        end(&mut self.running_last, AFTER_DRAIN).await;
        match broken {
            Some(error) => Err(error.into()),
            None => Ok(0),
        }
    }
}

/// Waits for all of them, at most so long.
async fn end(running: &mut Running, limit: Duration) {
    let ended = tokio::time::timeout(limit, async {
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok((_, Ok(()))) => {}
                Ok((part, Err(error))) => tracing::error!(part, %error, "a part of the server did not end well"),
                Err(error) => tracing::error!(%error, "a part of the server did not end well"),
            }
        }
    });
    if ended.await.is_err() {
        tracing::warn!(parts = running.len(), "some parts of the server did not end in time");
    }
}

/// A loop that ended without being told to.
fn by_itself(ended: std::result::Result<(&'static str, Result<()>), tokio::task::JoinError>) -> Error {
    match ended {
        Ok((_, Err(error))) => error,
        Ok((name, Ok(()))) => Error::internal(format!("a part of the server ended by itself: {name}")),
        Err(error) => Error::internal("a part of the server ended by itself").caused_by(error),
    }
}
