//! How a connection that was lost is made again: pauses that grow, and an end to the attempts.

use std::time::Duration;

use rand::Rng;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_connect::{Error, Kind, Result};

/// What happens when the connection is lost.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReconnectOptions {
    /// Fruitless attempts in a row after which the read fails, and the engine tries again with pauses of its own. 0: never. Default 10. An attempt
    /// that brings a message begins the count anew.
    pub max_attempts: u32,
    /// Milliseconds before the first attempt. Default 1000.
    #[schemars(extend("x-weir-unit" = "ms"))]
    pub initial_delay_ms: u64,
    /// Milliseconds that a pause may grow to. Default 30000.
    #[schemars(extend("x-weir-unit" = "ms"))]
    pub max_delay_ms: u64,
    /// What each pause is multiplied by. Default 2.
    pub backoff_multiplier: f64,
    /// The part of a pause that is left to chance, 0 to 1, so that not all clients come back at once. Default 0.2.
    pub jitter: f64,
}

impl Default for ReconnectOptions {
    fn default() -> Self {
        Self { max_attempts: 10, initial_delay_ms: 1000, max_delay_ms: 30_000, backoff_multiplier: 2.0, jitter: 0.2 }
    }
}

impl ReconnectOptions {
    /// What the JSON Schema cannot say. `code` is the connector's for wrong options.
    pub fn validate(&self, code: &'static str) -> Result<()> {
        let wrong = |what: &str| Err(Error::new(code, Kind::Spec, what.to_owned()));
        if !self.backoff_multiplier.is_finite() || self.backoff_multiplier < 1.0 {
            return wrong("`reconnect_config.backoff_multiplier` must be at least 1");
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return wrong("`reconnect_config.jitter` must be from 0 to 1");
        }
        if self.max_delay_ms < self.initial_delay_ms {
            return wrong("`reconnect_config.max_delay_ms` must not be below `initial_delay_ms`");
        }
        Ok(())
    }

    /// The pause before the attempt with this number, from 0, without what chance takes away.
    fn full(&self, attempt: u32) -> Duration {
        let grown = self.initial_delay_ms as f64 * self.backoff_multiplier.powf(f64::from(attempt));
        Duration::from_millis((grown.min(self.max_delay_ms as f64)) as u64)
    }
}

/// The attempts of one connection.
#[derive(Debug)]
pub struct Attempts {
    options: ReconnectOptions,
    /// Fruitless ones in a row.
    count: u32,
    /// What the peer asked for.
    asked: Option<Duration>,
}

impl Attempts {
    /// None yet.
    pub fn new(options: ReconnectOptions) -> Self {
        Self { options, count: 0, asked: None }
    }

    /// The connection works.
    pub fn fruitful(&mut self) {
        self.count = 0;
    }

    /// The peer names the pause before the next attempts, in place of `initial_delay_ms`.
    pub fn ask(&mut self, pause: Duration) {
        self.asked = Some(pause.min(Duration::from_millis(self.options.max_delay_ms)));
    }

    /// Waits before another attempt; gives the error back if there were enough.
    pub async fn pause(&mut self, error: Error) -> Result<()> {
        if self.options.max_attempts > 0 && self.count >= self.options.max_attempts {
            let tries = self.count;
            return Err(error.transient().hint(format!("tried {tries} times; `reconnect_config.max_attempts` says how often")));
        }
        let full = match self.asked {
            Some(asked) if self.count == 0 => asked,
            _ => self.options.full(self.count),
        };
        let jitter = self.options.jitter;
        let wait = if jitter > 0.0 { full.mul_f64(1.0 - rand::rng().random_range(0.0..=jitter)) } else { full };
        tracing::debug!(target: "weir::reconnect", error = %error, attempt = self.count, wait_ms = wait.as_millis() as u64, "the connection is made again");
        self.count = self.count.saturating_add(1);
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_not_beyond() {
        let options = ReconnectOptions::default();
        let pauses: Vec<u128> = [0, 1, 4, 5, 50, u32::MAX].map(|attempt| options.full(attempt).as_millis()).to_vec();
        assert_eq!(pauses, [1000, 2000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[tokio::test]
    async fn attempts_end_and_a_message_begins_them_anew() {
        let options = ReconnectOptions { max_attempts: 2, initial_delay_ms: 0, max_delay_ms: 0, ..ReconnectOptions::default() };
        let gone = || Error::new("WEIR-TEST-001", Kind::Connect, "gone");
        let mut attempts = Attempts::new(options);
        attempts.pause(gone()).await.unwrap();
        attempts.pause(gone()).await.unwrap();
        attempts.fruitful();
        attempts.pause(gone()).await.unwrap();
        attempts.pause(gone()).await.unwrap();
        let error = attempts.pause(gone()).await.unwrap_err();
        assert_eq!((error.code(), error.retryable()), ("WEIR-TEST-001", weir_connect::Retry::Transient));
    }
}
