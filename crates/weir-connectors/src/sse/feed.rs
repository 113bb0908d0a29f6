//! Request after request, into the inbox.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use weir_connect::{Error, Result, Retry};

use super::client::Target;
use super::config::{ID, SourceOptions};
use super::parse::{Event, Parser};
use crate::inbox::cursor::last_field;
use crate::inbox::{Gathered, Queue, Record};
use crate::reconnect::Attempts;

/// What reads a server for ever.
pub(super) struct Feed {
    target: Arc<Target>,
    options: SourceOptions,
    queue: Arc<Queue>,
    attempts: Attempts,
    /// The last event id.
    last_id: Option<Bytes>,
    /// The one that the queue knows of, or will with `pending`.
    kept_id: Option<Bytes>,
    pending: Gathered,
}

impl Feed {
    /// Goes on behind the last event of the queue.
    pub(super) async fn new(target: Arc<Target>, options: SourceOptions, queue: Arc<Queue>) -> Result<Self> {
        let known = last_field(&queue, ID).await?;
        let last_id = known.clone().or_else(|| options.last_event_id.clone().map(Bytes::from));
        let attempts = Attempts::new(options.reconnect_config.clone());
        Ok(Self { target, options, queue, attempts, last_id, kept_id: known, pending: Gathered::default() })
    }

    /// Until it cannot go on.
    pub(super) async fn run(mut self) -> Error {
        loop {
            let ended = self.once().await;
            // What was taken is kept, however the connection ended.
            let error = match self.flush().await {
                Ok(()) => ended,
                Err(error) => return error,
            };
            match error.retryable() {
                Retry::Never => return error,
                Retry::After(asked) => self.attempts.ask(asked),
                Retry::Transient => {}
            }
            if let Err(error) = self.attempts.pause(error).await {
                return error;
            }
        }
    }

    /// One request from its beginning to its end, and why it ended.
    async fn once(&mut self) -> Error {
        let response = match self.target.ask(self.last_id.as_deref()).await {
            Ok(response) => response,
            Err(error) => return error,
        };
        let mut pieces = response.bytes_stream();
        let max = self.options.message_bytes().min(self.queue.max_append() / 2);
        let mut parser = Parser::new(max, self.last_id.clone());
        let mut events = Vec::new();
        loop {
            let at_once = if self.pending.is_enough() { None } else { pieces.next().now_or_never() };
            let piece = match at_once {
                Some(piece) => piece,
                None => {
                    if let Err(error) = self.flush().await {
                        return error;
                    }
                    match self.options.idle_timeout_ms {
                        None => pieces.next().await,
                        Some(patience) => match tokio::time::timeout(Duration::from_millis(patience), pieces.next()).await {
                            Ok(piece) => piece,
                            Err(_) => return self.target.gone(format!("nothing came for {patience} ms")),
                        },
                    }
                }
            };
            let piece = match piece {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return self.target.gone(self.target.lost(error)),
                None => return self.target.gone("the server closed it"),
            };
            parser.push(&piece, &mut events);
            if !events.is_empty() {
                self.attempts.fruitful();
            }
            events.drain(..).for_each(|event| self.take(event));
            self.last_id = parser.last_id().cloned();
            if let Some(pause) = parser.retry_ms() {
                self.attempts.ask(Duration::from_millis(pause));
            }
        }
    }

    fn take(&mut self, event: Event) {
        self.last_id = event.id.clone();
        let wanted = &self.options.events;
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted.as_bytes() == &event.event[..]) {
            return;
        }
        let record = Record::now(event.data, vec![Some(event.event), event.id]);
        let record = match event.too_large {
            None => record,
            Some(size) => {
                let reason = format!("an event of {size} bytes is over `max_message_bytes` ({})", self.options.message_bytes());
                record.refused("WEIR-SSE-010", &reason)
            }
        };
        self.push(record);
    }

    fn push(&mut self, record: Record) {
        self.kept_id = record.fields.get(ID).cloned().flatten();
        self.pending.push(record);
    }

    /// Puts what was taken on the disk. While the inbox is full nothing is read.
    async fn flush(&mut self) -> Result<()> {
        if self.last_id != self.kept_id {
            // An event that is no row, or only an id: it must not come again after a restart.
            self.push(Record::marker(vec![None, self.last_id.clone()]));
        }
        self.pending.store(&self.queue).await
    }
}
