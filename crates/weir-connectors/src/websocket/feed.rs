//! Connection after connection, into the inbox.

use std::sync::Arc;
use std::time::Duration;

use weir_connect::{Error, Kind, Result, Retry};

use super::client::Target;
use super::config::{LAST, SourceOptions, filled};
use super::sequence::Sequence;
use super::session::{Ended, Session};
use crate::inbox::Queue;
use crate::inbox::cursor::last_field;
use crate::reconnect::Attempts;

/// How often a gap is asked for again before it is given up.
const ASK: u32 = 3;

/// What reads a server for ever.
pub(super) struct Feed {
    target: Arc<Target>,
    subscription: Vec<String>,
    session: Session,
    attempts: Attempts,
}

impl Feed {
    /// Goes on behind the last message of the queue.
    pub(super) async fn new(target: Arc<Target>, options: SourceOptions, queue: Arc<Queue>) -> Result<Self> {
        let last = last_field(&queue, LAST).await?.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
        let attempts = Attempts::new(options.reconnect_config.clone());
        let subscription = options.subscribe_texts()?;
        let session = Session::new(options, queue, Sequence::after(last))?;
        Ok(Self { target, subscription, session, attempts })
    }

    /// Until it cannot go on.
    pub(super) async fn run(mut self) -> Error {
        loop {
            let error = match self.once().await {
                Ok(error) | Err(error) if error.retryable() != Retry::Never => error,
                Ok(error) | Err(error) => return error,
            };
            if let Retry::After(asked) = error.retryable() {
                self.attempts.ask(asked);
            }
            if let Err(error) = self.attempts.pause(error).await {
                return error;
            }
        }
    }

    /// One connection from its beginning to its end, and why it ended.
    async fn once(&mut self) -> Result<Error> {
        let last = self.session.sequence.last();
        let mut socket = self.target.connect(last, self.session.message_bytes()).await?;
        self.session.begin();
        let texts: Vec<String> = self.subscription.iter().map(|text| filled(text, last)).collect();
        let taken = self.session.taken;
        let ended = self.session.run(&mut socket, &texts).await;
        // What was taken is kept, however the connection ended.
        self.session.flush().await?;
        if self.session.taken > taken {
            self.attempts.fruitful();
        }
        self.session.tell(&self.target.place());
        match ended? {
            Ended::Lost(error) => Ok(error.at(self.target.place())),
            Ended::Gap { from, to } => {
                self.session.asked += 1;
                let asked = self.session.asked;
                tracing::info!(target: "weir::websocket", "{}: messages {from} to {to} did not come and are asked for again", self.target.place());
                if asked >= ASK {
                    self.session.accept_gap = true;
                }
                let what = format!("messages {from} to {to} did not come");
                Ok(Error::new("WEIR-WS-020", Kind::Data, what).at(self.target.place()).transient())
            }
        }
    }
}

/// A pause that a heartbeat needs.
pub(super) fn millis(number: u64) -> Duration {
    Duration::from_millis(number.max(1))
}
