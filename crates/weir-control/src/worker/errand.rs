//! Errands: connection tests, discoveries and previews, each in a process of its own under the same guard as a run.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::Value;
use tokio::io::{AsyncBufRead, BufReader};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use weir_error::{Error, Kind, Result};
use weir_store::model::Lease;

use super::Launcher;
use super::checkpoints::{self, CheckpointsOfJob};
use super::keeper::Held;
use super::launch::kill_group;
use super::limits::Bounds;
use super::lines::{Lines, MAX_LINE_BYTES};
use super::meter::Meter;
use super::order::WorkOrder;
use super::said::{Pipe, Said, understand};
use super::scrub::Scrubber;
use super::supervisor::{gone, speak};

/// How often the process is measured.
const MEASURE: Duration = Duration::from_millis(250);

/// How long the pipe of a process that has ended is read: a process that it left behind may hold it open.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs errands, a few at a time. Cheap to clone.
#[derive(Clone)]
pub struct Errands {
    launcher: Launcher,
    slots: Arc<Semaphore>,
}

impl Errands {
    /// At most `slots` at the same time; further ones wait their turn.
    pub fn new(launcher: Launcher, slots: usize) -> Self {
        Self { launcher, slots: Arc::new(Semaphore::new(slots.max(1))) }
    }

    /// Sends a child and gives its answer: `{"ok": …}` or `{"error": ErrorBody}`, free of secrets. An error of this function is the
    /// platform's own, or a limit that was reached.
    pub async fn ask(&self, order: WorkOrder) -> Result<Value> {
        self.ask_with(order, None).await
    }

    /// The same for an order that has to do with a job's checkpoints. Those of a shared database are asked for here.
    pub async fn ask_with(&self, order: WorkOrder, desk: Option<Arc<dyn CheckpointsOfJob>>) -> Result<Value> {
        let _slot = self.slots.acquire().await.map_err(|_| Error::internal("the slots for errands are closed"))?;
        let mut child = self.launcher.start(&order.base_dir).await?;
        let scrubber = Scrubber::new(&order.secret_values());
        let bounds = Bounds::new(&order.limits);
        let until = Instant::now() + bounds.time();
        let mut meter = Meter::new(child.id().unwrap_or_default());
        let lease = Lease {
            tenant_id: order.tenant.as_str().into(),
            run_id: order.run_id.as_str().into(),
            fence: 0,
            until: Utc::now() + TimeDelta::from_std(bounds.time()).unwrap_or(TimeDelta::seconds(60)),
        };
        let output = child.stdout.take().ok_or_else(|| Error::internal("a child without an output"))?;
        // Nobody reads its talk; a full pipe would stop it.
        let mut errors = child.stderr.take();
        let drained = tokio::spawn(async move {
            if let Some(errors) = errors.as_mut() {
                let _ = tokio::io::copy(errors, &mut tokio::io::sink()).await;
            }
        });
        let (_lease, held) = watch::channel(Held { lease, cancel_requested: false, lost: false });
        let mouth = speak(&mut child, order, held);
        let mut lines = Lines::new(BufReader::new(output), MAX_LINE_BYTES);
        let mut measure = tokio::time::interval(MEASURE);
        let mut answer = None;
        let broken = loop {
            tokio::select! {
                line = lines.next() => match line {
                    Ok(Some(line)) => match understand(&line, Pipe::Output, &scrubber) {
                        Some(Said::Answer(body)) => answer = Some(body),
                        Some(Said::State { id, call }) => checkpoints::answer(desk.as_ref(), id, call, mouth.say.clone()),
                        _ => {}
                    },
                    Ok(None) | Err(_) => break None,
                },
                _ = measure.tick() => {
                    let sample = meter.look();
                    if sample.ended {
                        answer = last_answer(&mut lines, &scrubber).await.or(answer);
                        break None;
                    }
                    if let Some(error) = bounds.exceeded(&sample) {
                        break Some(error);
                    }
                }
                () = tokio::time::sleep_until(until) => {
                    let secs = bounds.time().as_secs();
                    break Some(
                        Error::new("WEIR-WORKER-050", Kind::Connect, format!("there was no answer within {secs} s"))
                            .hint("check that the system can be reached from here, and that it is not overloaded"),
                    );
                }
            }
        };
        if broken.is_some() {
            kill_group(&child);
        }
        drop(mouth);
        let exit = gone(&mut child).await;
        drained.abort();
        match (answer, broken) {
            (Some(answer), _) => Ok(answer),
            (None, Some(error)) => Err(error),
            (None, None) => {
                Err(Error::new("WEIR-WORKER-051", Kind::Internal, "the process ended without an answer")
                    .because(format!("{exit:?}")))
            }
        }
    }
}

/// What a process that has ended said last: it may have ended before anybody read its answer.
async fn last_answer<R: AsyncBufRead + Unpin>(lines: &mut Lines<R>, scrubber: &Scrubber) -> Option<Value> {
    let mut answer = None;
    let reading = async {
        while let Ok(Some(line)) = lines.next().await {
            if let Some(Said::Answer(body)) = understand(&line, Pipe::Output, scrubber) {
                answer = Some(body);
            }
        }
    };
    if tokio::time::timeout(LAST_WORDS, reading).await.is_err() {
        tracing::debug!("an errand's process left its output open");
    }
    answer
}
