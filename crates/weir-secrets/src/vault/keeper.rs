//! A login that is kept alive, for processes that stay.

use std::time::Duration;

use tokio::sync::Mutex;
use weir_error::Secret;

use super::client::{Client, Failed, VaultHealth};
use super::config::{VaultConfig, VaultLogin};
use super::session::Session;

/// Between two renewals there is at least this long.
const LEAST: Duration = Duration::from_secs(1);
/// Between two tries when there is no token to be had.
const PAUSE: Duration = Duration::from_secs(5);
/// How often a token that does not end is looked at.
const IDLE: Duration = Duration::from_secs(3600);

/// Logged in to Vault: [`Keeper::token`] is good at the moment it is given, and [`Keeper::keep`] renews it before it ends.
///
/// With an AppRole one login serves the whole process, so that a secret id with few uses is not used up by many runs.
pub struct Keeper {
    client: Client,
    login: VaultLogin,
    session: Mutex<Session>,
}

impl Keeper {
    /// Does not connect.
    pub fn new(config: &VaultConfig) -> Result<Self, String> {
        Ok(Self { client: Client::new(config)?, login: config.login.clone(), session: Mutex::default() })
    }

    /// A token that Vault takes now, as far as is known.
    pub async fn token(&self) -> Result<Secret, String> {
        let mut session = self.session.lock().await;
        self.prepared(&mut session).await.map_err(reason)
    }

    /// How Vault is.
    pub async fn health(&self) -> Result<VaultHealth, String> {
        self.client.health().await
    }

    /// Keeps the token alive until `stop` ends. What goes wrong is told to `report` and tried again.
    pub async fn keep(&self, stop: impl Future<Output = ()>, report: impl Fn(&str)) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let due = {
                let mut session = self.session.lock().await;
                match self.prepared(&mut session).await {
                    Ok(_) => session.renewal_due().unwrap_or(IDLE).max(LEAST),
                    Err(failed) => {
                        report(&reason(failed));
                        PAUSE
                    }
                }
            };
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(due) => {}
            }
        }
    }

    /// A token that somebody made is looked up first, so that it is known when it ends.
    async fn prepared(&self, session: &mut Session) -> Result<Secret, Failed> {
        if let (true, VaultLogin::Token(token)) = (session.is_empty(), &self.login) {
            session.keep(self.client.look_up(token).await?);
        }
        session.token(&self.client, &self.login).await
    }
}

fn reason(failed: Failed) -> String {
    match failed {
        Failed::Server(reason) | Failed::Path(reason) | Failed::Refused(reason) => reason,
    }
}
