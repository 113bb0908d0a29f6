//! One connection, read: its messages go through the rules of numbers and paths into the inbox.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, SinkExt, StreamExt};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as Failure};
use weir_connect::{Error, Kind, Result};

use super::client::Socket;
use super::config::{OnGap, SourceOptions, WithoutPath};
use super::feed::millis;
use super::sequence::{Sequence, Verdict};
use crate::http::json::Scanner;
use crate::http::path::Path;
use crate::inbox::{Gathered, Queue, Record};

/// How a connection ended.
pub(super) enum Ended {
    /// It is gone.
    Lost(Error),
    /// These messages are to be asked for again.
    Gap { from: i64, to: i64 },
}

/// What outlives a connection.
pub(super) struct Session {
    options: SourceOptions,
    heartbeat_text: Option<String>,
    queue: Arc<Queue>,
    pub(super) sequence: Sequence,
    /// Messages that were taken, over all connections.
    pub(super) taken: u64,
    /// How often the gap at hand was asked for.
    pub(super) asked: u32,
    /// It was asked for often enough.
    pub(super) accept_gap: bool,
    pending: Gathered,
    /// The highest number that the queue knows of, or will with `pending`.
    kept: Option<i64>,
    /// When the next message may be taken.
    next_at: Instant,
}

impl Session {
    pub(super) fn new(options: SourceOptions, queue: Arc<Queue>, sequence: Sequence) -> Result<Self> {
        Ok(Self {
            heartbeat_text: options.heartbeat_text()?,
            kept: sequence.last(),
            options,
            queue,
            sequence,
            taken: 0,
            asked: 0,
            accept_gap: false,
            pending: Gathered::default(),
            next_at: Instant::now(),
        })
    }

    pub(super) fn message_bytes(&self) -> usize {
        self.options.message_bytes().min(self.queue.max_append() / 2)
    }

    /// A connection begins.
    pub(super) fn begin(&mut self) {
        self.sequence.connected(self.options.sequence_restarts);
    }

    /// Says what a connection brought that people should know.
    pub(super) fn tell(&mut self, place: &str) {
        let repeated = std::mem::take(&mut self.sequence.repeated);
        if repeated > 0 {
            tracing::warn!(
                target: "weir::websocket",
                "{place}: {repeated} messages had numbers up to {} again and were dropped; `sequence_restarts: true` takes them where the server counts anew",
                self.sequence.last().unwrap_or_default()
            );
        }
    }

    /// Reads until the connection ends. An error is one after which no other connection may be made.
    pub(super) async fn run(&mut self, socket: &mut Socket, texts: &[String]) -> Result<Ended> {
        for text in texts {
            if let Err(failure) = socket.send(Message::text(text.as_str())).await {
                return Ok(Ended::Lost(lost("the subscription cannot be sent", failure)));
            }
        }
        let beat = &self.options.heartbeat;
        let (interval, patience) = (millis(beat.interval_ms), millis(beat.timeout_ms));
        let beats = beat.interval_ms > 0;
        let mut beat_at = Instant::now() + interval;
        // When something must have come.
        let mut dead_at: Option<Instant> = None;
        loop {
            let slow = self.next_at > Instant::now();
            let frame =
                if slow || self.pending.is_enough() || beat_at <= Instant::now() { None } else { socket.next().now_or_never() };
            let frame = match frame {
                Some(frame) => frame,
                None => {
                    if !self.pending.is_empty() || self.sequence.last() != self.kept {
                        self.flush().await?;
                        // Nothing could be heard meanwhile.
                        dead_at = dead_at.map(|at| at.max(Instant::now() + patience / 2));
                    }
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep_until(beat_at), if beats => {
                            beat_at = Instant::now() + interval;
                            dead_at.get_or_insert(Instant::now() + patience);
                            let sign = match &self.heartbeat_text {
                                Some(text) => Message::text(text.as_str()),
                                None => Message::Ping(Bytes::from_static(b"weir")),
                            };
                            // A peer that reads nothing must not hold us up for ever.
                            match tokio::time::timeout(patience, socket.send(sign)).await {
                                Ok(Ok(())) => continue,
                                Ok(Err(failure)) => return Ok(Ended::Lost(lost("a heartbeat cannot be sent", failure))),
                                Err(_) => return Ok(Ended::Lost(silent(patience))),
                            }
                        }
                        () = tokio::time::sleep_until(self.next_at), if slow => {
                            dead_at = dead_at.map(|_| Instant::now() + patience);
                            continue;
                        }
                        () = tokio::time::sleep_until(dead_at.unwrap_or_else(Instant::now)), if dead_at.is_some() && !slow => {
                            return Ok(Ended::Lost(silent(patience)));
                        }
                        frame = socket.next(), if !slow => frame,
                    }
                }
            };
            dead_at = None;
            let message = match frame {
                Some(Ok(message)) => message,
                Some(Err(Failure::Capacity(CapacityError::MessageTooLong { size, max_size }))) => {
                    let reason = format!("a message of {size} bytes or more is over `max_message_bytes` ({max_size})");
                    let record = Record::now(Bytes::new(), self.fields(None, "binary")).refused("WEIR-WS-010", &reason);
                    self.push(record);
                    return Ok(Ended::Lost(Error::new("WEIR-WS-010", Kind::Limit, reason).transient()));
                }
                Some(Err(failure)) => return Ok(Ended::Lost(lost("the connection broke", failure))),
                None => return Ok(Ended::Lost(lost("the connection is closed", "the server said nothing"))),
            };
            let (payload, kind) = match message {
                Message::Text(text) => (Bytes::from(text), "text"),
                Message::Binary(bytes) => (bytes, "binary"),
                Message::Close(frame) => {
                    let why = frame.map_or_else(
                        || "without a reason".to_owned(),
                        |frame| format!("{} {}", u16::from(frame.code), frame.reason),
                    );
                    return Ok(Ended::Lost(lost("the server closed the connection", why)));
                }
                // Pings are answered underneath.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            if let Some(rate) = self.options.rate_limit_per_second {
                let pause = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::from_secs(3600));
                self.next_at = self.next_at.max(Instant::now() - pause) + pause;
            }
            if let Some(ended) = self.message(payload, kind)? {
                return Ok(ended);
            }
        }
    }

    /// Takes a message, or says why the connection must end.
    fn message(&mut self, payload: Bytes, kind: &str) -> Result<Option<Ended>> {
        if let Some(answer) = &self.options.heartbeat.answer
            && contains(&payload, answer.as_bytes())
        {
            return Ok(None);
        }
        let number = self.options.sequence_field.as_ref().and_then(|path| number_at(path, &payload));
        if let Some(number) = number {
            match self.sequence.look(number) {
                Verdict::Next => {}
                Verdict::Repeated => {
                    self.sequence.repeated += 1;
                    return Ok(None);
                }
                Verdict::Gap { from, to } => match self.options.on_gap {
                    OnGap::Fail => {
                        return Err(Error::new("WEIR-WS-020", Kind::Data, format!("messages {from} to {to} did not come"))
                            .at(self.queue.place())
                            .hint("`on_gap: resubscribe` asks for them, `on_gap: warn` goes on without them"));
                    }
                    OnGap::Resubscribe if !self.accept_gap => return Ok(Some(Ended::Gap { from, to })),
                    OnGap::Warn | OnGap::Resubscribe => {
                        let count = self.sequence.give_up(from, to);
                        tracing::warn!(target: "weir::websocket", "{}: messages {from} to {to} ({count}) never came, {} so far", self.queue.place(), self.sequence.missing);
                    }
                },
            }
            self.sequence.take(number);
            (self.asked, self.accept_gap) = (0, false);
        }
        self.taken += 1;
        self.rows(payload, number, kind);
        Ok(None)
    }

    /// A message as the rows that are in it.
    fn rows(&mut self, payload: Bytes, number: Option<i64>, kind: &str) {
        let fields = self.fields(number, kind);
        let Some(path) = &self.options.message_path else {
            self.push(Record::now(payload, fields));
            return;
        };
        match parts(path, &payload) {
            Ok(Some(parts)) => {
                for part in parts {
                    self.push(Record::now(part, fields.clone()));
                }
            }
            Ok(None) if self.options.without_path == WithoutPath::Ignore => {}
            Ok(None) => {
                let reason = format!("the message has nothing at `message_path` ({path})");
                self.push(Record::now(payload, fields).refused("WEIR-WS-011", &reason));
            }
            Err(why) => self.push(Record::now(payload, fields).refused("WEIR-WS-012", &why)),
        }
    }

    fn fields(&self, number: Option<i64>, kind: &str) -> Vec<Option<Bytes>> {
        let digits = |number: Option<i64>| number.map(|number| Bytes::from(number.to_string()));
        vec![digits(number), Some(Bytes::copy_from_slice(kind.as_bytes())), digits(self.sequence.last())]
    }

    fn push(&mut self, record: Record) {
        self.kept = self.sequence.last();
        self.pending.push(record);
    }

    /// Puts what was taken on the disk. While the inbox is full nothing is read.
    pub(super) async fn flush(&mut self) -> Result<()> {
        if self.sequence.last() != self.kept {
            // A message without rows: its number must not look missing after a restart.
            let fields = self.fields(None, "text");
            self.push(Record::marker(fields));
        }
        self.pending.store(&self.queue).await
    }
}

fn lost(what: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-WS-007", Kind::Connect, what.to_owned()).because(why).transient()
}

fn silent(patience: Duration) -> Error {
    lost("the server is silent", format!("nothing came within {} ms after a heartbeat", patience.as_millis()))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

/// A whole number at a path, also written as a text.
fn number_at(path: &Path, payload: &[u8]) -> Option<i64> {
    let raw = std::str::from_utf8(path.first(payload).ok()??).ok()?;
    raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw).parse().ok()
}

/// The rows at a path; `None` if nothing is there.
fn parts(path: &Path, payload: &Bytes) -> Result<Option<Vec<Bytes>>, String> {
    let found = path.find(payload).map_err(|error| format!("the message is no JSON: {error}"))?;
    if !found.exists {
        return Ok(None);
    }
    let mut parts = Vec::new();
    for range in found.values {
        let part = payload.slice(range);
        let mut scanner = Scanner::new(&part);
        if path.ends_with_every() || scanner.peek() != Ok(b'[') {
            parts.push(part);
            continue;
        }
        let mut ranges = Vec::new();
        scanner.items(|scanner| scanner.skip().map(|range| ranges.push(range))).map_err(|error| error.to_string())?;
        parts.extend(ranges.into_iter().map(|range| part.slice(range)));
    }
    Ok(Some(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &str, message: &'static str) -> Option<Vec<String>> {
        let found = parts(&path.parse().unwrap(), &Bytes::from_static(message.as_bytes())).unwrap()?;
        Some(found.iter().map(|part| String::from_utf8(part.to_vec()).unwrap()).collect())
    }

    #[test]
    fn rows_are_what_is_at_the_path() {
        assert_eq!(texts("data", r#"{"data": {"a": 1.10}}"#).unwrap(), [r#"{"a": 1.10}"#]);
        assert_eq!(texts("data", r#"{"data": [{"a": 1}, {"a": 2}]}"#).unwrap(), [r#"{"a": 1}"#, r#"{"a": 2}"#]);
        assert_eq!(texts("data[*]", r#"{"data": [[1], [2]]}"#).unwrap(), ["[1]", "[2]"]);
        assert_eq!(texts("data", r#"{"data": []}"#).unwrap(), Vec::<String>::new());
        assert_eq!(texts("data", r#"{"type": "subscribed"}"#), None);
        assert!(parts(&"data".parse().unwrap(), &Bytes::from_static(b"{\"data\": 1")).is_err());
    }

    #[test]
    fn numbers_are_whole_and_may_be_texts() {
        let at = |message: &str| number_at(&"meta.seq".parse().unwrap(), message.as_bytes());
        assert_eq!(at(r#"{"meta": {"seq": 12}}"#), Some(12));
        assert_eq!(at(r#"{"meta": {"seq": "12"}}"#), Some(12));
        for message in [r#"{"meta": {"seq": 1.5}}"#, r#"{"seq": 1}"#, "garbage", r#"{"meta": {"seq": null}}"#] {
            assert_eq!(at(message), None, "{message}");
        }
    }
}
