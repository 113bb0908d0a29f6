//! Notes when what happened in each attempt, and sends its spans when it is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weir_error::Result;
use weir_store::model::{Claimed, Run, RunId, StreamCounts};

use super::exporter::Exporter;
use super::spans::{self, Marks};
use crate::config::{OtlpEndpoint, Settings};
use crate::worker::{Mark, Observer, Resources, Schemas};

/// Attempts whose spans wait for a slow collector; more are dropped, and said so.
const WAITING: usize = 1024;

/// The observer of the attempts of this process.
pub struct Tracing {
    open: Mutex<HashMap<RunId, Marks>>,
    finished: mpsc::Sender<Vec<SpanData>>,
}

impl Tracing {
    /// The observer, and the loop that sends what it notes; `None` without TRACING_ENDPOINT. Does not connect.
    pub fn new(settings: &Settings) -> Result<Option<(Arc<Self>, Sender)>> {
        let Some(endpoint) = &settings.tracing_endpoint else { return Ok(None) };
        let endpoint = OtlpEndpoint::parse(endpoint).map_err(|why| {
            weir_error::Error::new("WEIR-TRACE-001", weir_error::Kind::Spec, "TRACING_ENDPOINT cannot be used").because(why)
        })?;
        if let Some(warning) = &endpoint.warning {
            tracing::warn!("{warning}");
        }
        let exporter = Exporter::new(&endpoint, &settings.tracing_service_name, &settings.runner_id)?;
        let (finished, waiting) = mpsc::channel(WAITING);
        Ok(Some((Arc::new(Self { open: Mutex::default(), finished }), Sender { exporter, waiting })))
    }

    fn note(&self, run: &RunId, write: impl FnOnce(&mut Marks)) {
        // A poisoned lock only means that a note was cut short.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Utc::now();
        let marks = open.entry(run.clone()).or_insert_with(|| Marks {
            claimed: now,
            ordered: None,
            planned: None,
            reported: None,
            ended: now,
            streams: Vec::new(),
        });
        write(marks);
    }
}

#[async_trait]
impl Observer for Tracing {
    fn marked(&self, claimed: &Claimed, mark: Mark) {
        let now = Some(Utc::now());
        self.note(&claimed.run.id, |marks| match mark {
            Mark::Claimed => {}
            Mark::Ordered => marks.ordered = now,
            Mark::Planned => marks.planned = now,
            Mark::Reported => marks.reported = now,
        });
    }

    async fn planned(&self, claimed: &Claimed, _: &Schemas) {
        self.marked(claimed, Mark::Planned);
    }

    fn progressed(&self, claimed: &Claimed, streams: &[StreamCounts], _: &Resources) {
        let now = Utc::now();
        self.note(&claimed.run.id, |marks| {
            let from = marks.planned.unwrap_or(now);
            for stream in streams {
                seen(marks, &stream.name, from, now);
            }
        });
    }

    async fn ended(&self, claimed: &Claimed, run: &Run) {
        let taken = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&claimed.run.id);
        let Some(mut marks) = taken else { return };
        marks.ended = Utc::now();
        // A stream that was over before the first progress is in the report alone.
        let (from, to) = (marks.planned.unwrap_or(marks.ended), marks.reported.unwrap_or(marks.ended));
        for stream in &run.streams {
            if !marks.streams.iter().any(|(name, ..)| *name == stream.name) {
                marks.streams.push((stream.name.clone(), from, to));
            }
        }
        let spans = spans::tree(run, claimed.run.attempt, &claimed.job.body.name, &marks);
        if self.finished.try_send(spans).is_err() {
            tracing::warn!(run = %run.id, "the spans of a run are dropped: the collector is too slow");
        }
    }
}

fn seen(marks: &mut Marks, name: &str, from: DateTime<Utc>, now: DateTime<Utc>) {
    match marks.streams.iter_mut().find(|(known, ..)| known == name) {
        Some((_, _, last)) => *last = now,
        None => marks.streams.push((name.to_owned(), from, now)),
    }
}

/// Sends what the observer noted.
pub struct Sender {
    exporter: Exporter,
    waiting: mpsc::Receiver<Vec<SpanData>>,
}

impl Sender {
    /// Sends until the token is cancelled; then what is waiting, once.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                spans = self.waiting.recv() => match spans {
                    Some(spans) => self.send(spans).await,
                    None => return,
                },
                () = stop.cancelled() => break,
            }
        }
        while let Ok(spans) = self.waiting.try_recv() {
            self.send(spans).await;
        }
    }

    /// A collector that is restarted is given half a minute.
    async fn send(&self, spans: Vec<SpanData>) {
        let mut wait = std::time::Duration::from_secs(1);
        loop {
            match self.exporter.send(spans.clone()).await {
                Ok(()) => return,
                Err(error) if wait.as_secs() > 16 => {
                    tracing::warn!(%error, "spans are dropped");
                    return;
                }
                Err(_) => tokio::time::sleep(wait).await,
            }
            wait *= 2;
        }
    }
}
