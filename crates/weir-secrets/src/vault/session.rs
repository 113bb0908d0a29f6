//! What we are logged in with, and when it must be renewed.

use std::time::{Duration, Instant};

use weir_error::Secret;

use super::client::{Client, Failed, Grant};
use super::config::VaultLogin;

/// A login, if there is one.
#[derive(Debug, Default)]
pub(super) struct Session(Option<(Grant, Instant)>);

impl Session {
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// A token that is good for a while: the one there is, renewed when two thirds of its life are over, or a new one.
    pub async fn token(&mut self, client: &Client, login: &VaultLogin) -> Result<Secret, Failed> {
        if let Some((grant, since)) = &self.0 {
            match grant.life {
                Some(life) if since.elapsed() >= life * 2 / 3 => self.refresh(client, login).await?,
                _ => return Ok(grant.token.clone()),
            }
        }
        match (&self.0, login) {
            (Some((grant, _)), _) => Ok(grant.token.clone()),
            // Whether and when it ends is not asked: who reads a few secrets at the start of a run does not need to know.
            (None, VaultLogin::Token(token)) => {
                self.keep(Grant { token: token.clone(), life: None, renewable: false });
                Ok(token.clone())
            }
            (None, VaultLogin::AppRole { role_id, secret_id }) => {
                let grant = client.log_in(role_id, secret_id).await?;
                let token = grant.token.clone();
                self.keep(grant);
                Ok(token)
            }
        }
    }

    /// Takes over what is known of a token.
    pub fn keep(&mut self, grant: Grant) {
        self.0 = Some((grant, Instant::now()));
    }

    /// How long until two thirds of the token's life are over; `None` = it does not end, or there is none.
    pub fn renewal_due(&self) -> Option<Duration> {
        let (grant, since) = self.0.as_ref()?;
        Some((grant.life? * 2 / 3).saturating_sub(since.elapsed()))
    }

    /// Renews the token; one that cannot be renewed any more is forgotten, if we can get another.
    async fn refresh(&mut self, client: &Client, login: &VaultLogin) -> Result<(), Failed> {
        let Some((grant, since)) = self.0.clone() else { return Ok(()) };
        let ours = matches!(login, VaultLogin::AppRole { .. });
        if grant.renewable {
            match client.renew(&grant.token).await {
                // Near its longest life Vault renews for less and less: then a new login is better.
                Ok(renewed) if !ours || renewed.life.is_none_or(|life| grant.life.is_some_and(|before| life * 2 >= before)) => {
                    self.keep(renewed);
                    return Ok(());
                }
                Ok(_) => {}
                Err(Failed::Server(reason)) if grant.life.is_none_or(|life| since.elapsed() >= life) => {
                    return Err(Failed::Server(reason));
                }
                // It is still good for a moment; the next use tries again.
                Err(Failed::Server(_)) => return Ok(()),
                Err(_) => {}
            }
        }
        let over = grant.life.is_some_and(|life| since.elapsed() >= life);
        if ours || over {
            self.0 = None;
        }
        if over && !ours {
            return Err(Failed::Refused("the Vault token has ended; set VAULT_TOKEN to a new one".into()));
        }
        Ok(())
    }

    /// After a refusal: logs in again if that can give another token. False: it cannot.
    pub async fn replace(&mut self, client: &Client, login: &VaultLogin) -> Result<bool, Failed> {
        if matches!(login, VaultLogin::Token(_)) {
            return Ok(false);
        }
        self.0 = None;
        self.token(client, login).await?;
        Ok(true)
    }
}
