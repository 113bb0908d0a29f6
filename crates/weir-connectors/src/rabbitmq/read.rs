//! A queue, read up to a number of messages or for ever.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use lapin::Consumer;
use lapin::message::Delivery;
use serde_json::json;
use weir_connect::{Batch, Event, EventStream, Result};
use weir_formats::Refusal;

use super::config::{Metadata, SourceOptions};
use super::errors::{cancelled, shown, unreachable};
use super::properties::{Told, told};
use super::session::Session;
use crate::messages::letters::letter;
use crate::messages::{OwnValue, Rows, Shape};

/// Batch size when the engine has no wish.
const BATCH_BYTES: usize = 4 << 20;
/// Rows per batch at most, so that narrow messages do not make huge batches.
const BATCH_ROWS: usize = 64 * 1024;
/// Messages that are asked for at first, when nothing is known of their size.
const FIRST_WINDOW: u16 = 64;
/// How long nothing must come before the broker is asked whether there is anything; it grows up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How long messages may be on their way back into the queue; nobody tells when they are there.
const ON_THEIR_WAY: Duration = Duration::from_secs(5);
/// How long the end of a consumer that was cancelled may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one reader does.
pub struct Job {
    /// What batches look like.
    pub shape: Arc<Shape>,
    /// The options that say how.
    pub options: SourceOptions,
    /// The connection.
    pub session: Arc<Session>,
    /// The number of the last message before.
    pub after: u64,
    /// How many to read; `None`: for ever.
    pub count: Option<u64>,
    /// So many were in the queue, some perhaps on their way back into it: it is not empty before they have come.
    pub expected: u64,
    /// Wanted size of batches; 0: our own.
    pub batch_bytes: usize,
}

/// Starts to read. Dropping the stream ends it; what was given stays without acknowledgement.
pub async fn start(job: Job) -> Result<EventStream> {
    if job.count == Some(0) {
        return Ok(futures::stream::empty().boxed());
    }
    let first = FIRST_WINDOW.min(job.options.prefetch.unwrap_or(1000));
    let (consumer, rows) = (job.session.open(first, job.after).await?, Rows::new(&job.shape)?);
    let reader = Reader {
        kinds: job.options.kinds(),
        number: job.after,
        told: job.after,
        job,
        consumer,
        rows,
        ready: VecDeque::new(),
        bytes: 0,
        largest: 1,
        read: 0,
        pause: PAUSE.0,
        empty_since: None,
        cancelling: false,
        idle: false,
        over: false,
    };
    Ok(futures::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(event)) => Some((Ok(event), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed())
}

struct Reader {
    job: Job,
    kinds: Vec<Metadata>,
    consumer: Consumer,
    rows: Rows,
    ready: VecDeque<Event>,
    /// Bytes of messages in the batch at hand.
    bytes: usize,
    /// Bytes of the largest message so far.
    largest: usize,
    /// The last message's number.
    number: u64,
    /// What the last position that was given said.
    told: u64,
    /// Messages so far.
    read: u64,
    pause: Duration,
    /// Since when the queue looks empty although messages are expected.
    empty_since: Option<Instant>,
    /// The consumer was told to end.
    cancelling: bool,
    /// That the queue is empty was told since the last message.
    idle: bool,
    over: bool,
}

impl Reader {
    fn place(&self) -> String {
        format!("queue {}", self.job.options.queue)
    }

    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.over {
                return Ok(None);
            }
            if let Some(item) = self.consumer.next().now_or_never() {
                self.item(item).await?;
            } else if self.rows.count() > 0 {
                self.batch()?;
            } else if self.cancelling {
                let item = tokio::time::timeout(PATIENCE, self.consumer.next()).await;
                self.item(item.map_err(|_| unreachable(&self.place(), "a consumer that was cancelled does not end"))?).await?;
            } else if self.job.session.is_full() {
                self.full().await?;
            } else {
                self.quiet().await?;
            }
        }
    }

    async fn item(&mut self, item: Option<lapin::Result<Delivery>>) -> Result<()> {
        match item {
            Some(Ok(delivery)) => {
                (self.pause, self.idle, self.empty_since) = (PAUSE.0, false, None);
                self.message(&delivery)
            }
            Some(Err(error)) => Err(shown(&error, &self.place())),
            None if self.cancelling => {
                self.job.session.ended();
                let fits = self.job.options.fetch_bytes.unwrap_or(32 << 20) / self.largest as u64;
                let most = self.job.options.prefetch.unwrap_or(1000).max(1);
                let size = u16::try_from(fits).unwrap_or(u16::MAX).clamp(1, most);
                self.consumer = self.job.session.open(size, self.number).await?;
                self.cancelling = false;
                Ok(())
            }
            None => Err(cancelled(&self.job.options.queue)),
        }
    }

    /// The broker gives nothing more until something is acknowledged, and everything that it gave was asked for by the engine.
    async fn full(&mut self) -> Result<()> {
        if !self.job.session.is_at_limit() {
            self.job.session.cancel(&self.consumer).await?;
            self.cancelling = true;
            return Ok(());
        }
        if self.job.count.is_some() {
            tracing::warn!(
                target: "weir::rabbitmq",
                "{}: {} messages wait for their acknowledgement, and the connection has no channel left for more; the rest is for the next run",
                self.place(), self.read
            );
            self.over = true;
            return Ok(());
        }
        let freed = self.job.session.freed.notified();
        let item = tokio::select! {
            () = freed => return Ok(()),
            item = self.consumer.next() => item,
        };
        self.item(item).await
    }

    /// Nothing is here.
    async fn quiet(&mut self) -> Result<()> {
        if self.idle {
            let item = self.consumer.next().await;
            return self.item(item).await;
        }
        if let Ok(item) = tokio::time::timeout(self.pause, self.consumer.next()).await {
            return self.item(item).await;
        }
        self.pause = (self.pause * 2).min(PAUSE.1);
        if !self.job.session.is_drained().await? {
            return Ok(());
        }
        // What was given before that was asked is here by now.
        if let Some(item) = self.consumer.next().now_or_never() {
            return self.item(item).await;
        }
        if self.read < self.job.expected && self.empty_since.get_or_insert_with(Instant::now).elapsed() < ON_THEIR_WAY {
            return Ok(());
        }
        match self.job.count {
            // Somebody else took the others.
            Some(_) => self.over = true,
            None => {
                self.idle = true;
                self.ready.push_back(Event::Idle);
            }
        }
        Ok(())
    }

    fn message(&mut self, delivery: &Delivery) -> Result<()> {
        let number = self.job.session.taken(delivery.delivery_tag)?;
        self.read += 1;
        self.largest = self.largest.max(delivery.data.len());
        match self.push(delivery) {
            Ok(()) => {
                self.number = number;
                self.bytes += delivery.data.len();
            }
            Err(refusal) => {
                // What came before it goes before it, with a position that does not contain it.
                if self.rows.count() > 0 {
                    self.batch()?;
                }
                self.dead(delivery, number, refusal);
                self.number = number;
                if self.job.count.is_none() {
                    self.batch()?;
                }
            }
        }
        let limit = if self.job.batch_bytes == 0 { BATCH_BYTES } else { self.job.batch_bytes };
        let last = self.job.count.is_some_and(|count| self.read >= count);
        if self.rows.count() > 0 && (last || self.bytes >= limit || self.rows.count() >= BATCH_ROWS) {
            self.batch()?;
        }
        self.over = last;
        Ok(())
    }

    fn push(&mut self, delivery: &Delivery) -> Result<(), Refusal> {
        let values = self.kinds.iter().map(|kind| told(*kind, delivery)).collect::<Result<Vec<Told>, Refusal>>()?;
        let own: Vec<OwnValue<'_>> = values.iter().map(Told::as_own).collect();
        self.rows.push(&delivery.data, &own)
    }

    fn dead(&mut self, delivery: &Delivery, number: u64, refusal: Refusal) {
        let media_type = self.job.options.format.media_type();
        let id = delivery.properties.message_id().as_ref().map(|id| format!(", message id {id}")).unwrap_or_default();
        let place = format!("{} message {number}{id}", self.place());
        let letter = letter(&self.job.options.queue, place, (refusal.code, refusal.reason), &delivery.data, media_type);
        self.ready.push_back(Event::Dead(letter));
    }

    /// The rows so far, perhaps none, and the position behind them. A read that ends has no positions inside: what is not acknowledged comes again from
    /// the beginning, so only the whole of it may become durable.
    fn batch(&mut self) -> Result<()> {
        if self.rows.count() == 0 && self.number == self.told {
            return Ok(());
        }
        self.told = self.number;
        let source_bytes = std::mem::take(&mut self.bytes) as u64;
        let records = self.rows.finish()?;
        let position = self.job.count.is_none().then(|| json!({"message": self.number, "session": self.job.session.id()}));
        self.ready.push_back(Event::Batch(Batch { records, position, source_bytes }));
        Ok(())
    }
}
