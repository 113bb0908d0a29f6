//! A client that is asked from time to time: it is made once, for a connection takes much longer than an answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use weir_connect::Result;

use super::client::{Reading, blocking};

/// What the client had to say since it was asked last is of no interest; it says no more than so much at once.
const SAID: usize = 16;

/// Keeps the client between two questions. Two at the same time have one each, and one of them is kept.
#[derive(Clone, Default)]
pub struct Asking(Arc<Mutex<Option<Reading>>>);

impl Asking {
    /// Asks the client that is kept, or a new one. After an error it is kept no longer.
    pub async fn ask<T: Send + 'static>(
        &self,
        new: impl FnOnce() -> Result<Reading>,
        question: impl FnOnce(&Reading) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let kept = self.0.clone();
        let known = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let client = match known {
            Some(client) => {
                forget(&client);
                client
            }
            None => new()?,
        };
        blocking(move || {
            let answer = question(&client)?;
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
            Ok(answer)
        })
        .await
    }
}

/// An old trouble must not look like the reason of a new one.
fn forget(client: &Reading) {
    for _ in 0..SAID {
        if client.poll(Duration::ZERO).is_none() {
            break;
        }
    }
    let _old = client.context().said();
}
