//! Checkpoints that are kept by the worker: questions go out on standard output, answers come in on standard input.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::oneshot;
use weir_control::worker::order::StateAnswer;
use weir_engine::store::link::{StateCall, StateLink};
use weir_error::{Error, Kind, Result};

use super::say;

/// Questions that wait for their answers.
#[derive(Default)]
pub struct Asking {
    last: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<StateAnswer>>>,
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").finish_non_exhaustive()
    }
}

impl Asking {
    /// An answer has come. One that nobody waits for any more is dropped.
    pub fn answered(&self, answer: StateAnswer) {
        let asked = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&answer.id);
        if let Some(asked) = asked {
            let _ = asked.send(answer);
        }
    }
}

#[async_trait]
impl StateLink for Asking {
    async fn ask(&self, call: StateCall) -> Result<Value> {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (tell, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, tell);
        if !say::state(id, &call) {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            return Err(Error::new("WEIR-STATE-006", Kind::Limit, "a checkpoint is too large to be kept")
                .because("most likely there are very many dead letters in it")
                .hint("set a shorter `checkpoint_interval_ms`, or mend what makes the records unreadable"));
        }
        // Without a worker this process ends (see `life`), so somebody answers.
        let answer = answer.await.map_err(|_| Error::internal("a question to the checkpoint store was dropped"))?;
        match answer.error {
            Some(refusal) => Err(refusal.error()),
            None => Ok(answer.ok),
        }
    }
}
