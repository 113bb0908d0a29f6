//! Records of a queue into events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_connect::{Batch, DeadLetter, Error, Event, EventStream, Kind, Position, Result, ResumeVerdict, Split, StreamReader};

use super::cursor::{Cursor, lost};
use super::frame::Record;
use super::queue::Queue;
use super::source::Receiver;
use crate::messages::{Own, OwnValue, Rows, Shape, letters};

/// Batch size when the engine has no wish.
const BATCH_BYTES: usize = 4 << 20;
/// The only split of a stream.
pub(super) const SPLIT: &str = "inbox";

/// Where a column about the message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// When the message came.
    At,
    /// Its number in the inbox.
    Number,
    /// A field of the record, as text.
    Text(usize),
    /// A field of the record that is a whole number in digits.
    Int(usize),
}

/// A column about the message.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub own: Own,
    pub taken: Taken,
}

/// A resume point, and what a split says of its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct At {
    /// The queue's id.
    pub inbox: String,
    /// The next record.
    pub next: u64,
}

impl At {
    pub(super) fn read(value: &Value) -> Result<Self> {
        serde_json::from_value(value.clone()).map_err(|error| {
            Error::new("WEIR-INBOX-012", Kind::Conflict, "the state of the source is not that of an inbox")
                .because(error)
                .hint("it belongs to another source: `weir state reset`")
        })
    }

    pub(super) fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The place in this queue.
    ///
    /// # Errors
    /// `WEIR-INBOX-004` if it has none such.
    pub(super) fn within(&self, queue: &Queue) -> Result<u64> {
        if self.inbox != queue.id() || self.next > queue.end() || self.next < queue.oldest() {
            return Err(lost(queue, self.next));
        }
        Ok(self.next)
    }
}

/// An opened stream.
pub(super) struct Reader {
    pub stream: String,
    pub shape: Arc<Shape>,
    pub columns: Vec<Column>,
    pub queue: Arc<Queue>,
    /// Who fills the queue; `None`: nobody does, and the stream ends where it ended when it was opened.
    pub receiver: Option<Arc<Receiver>>,
    pub end: u64,
    pub start: u64,
    pub batch_bytes: usize,
    pub verdict: ResumeVerdict,
    pub done: bool,
    /// The next record to give, for the lag.
    pub given: Arc<AtomicU64>,
}

impl Reader {
    fn at(&self, next: u64) -> At {
        At { inbox: self.queue.id().to_owned(), next }
    }
}

#[async_trait]
impl StreamReader for Reader {
    fn schema(&self) -> SchemaRef {
        self.shape.schema.clone()
    }

    fn splits(&self) -> Vec<Split> {
        if self.done {
            return Vec::new();
        }
        vec![Split {
            id: SPLIT.into(),
            descriptor: self.at(self.start).json(),
            estimated_rows: self.receiver.is_none().then(|| self.end - self.start),
            estimated_bytes: None,
        }]
    }

    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }

    fn state(&self) -> Value {
        self.at(self.end).json()
    }

    fn next_state(&self) -> Option<Value> {
        Some(self.at(self.end).json())
    }

    fn lag(&self) -> Option<u64> {
        Some(self.queue.end().saturating_sub(self.given.load(Ordering::Relaxed)))
    }

    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        let from = At::read(from.as_ref().unwrap_or(&split.descriptor))?;
        let next = from.within(&self.queue)?;
        let reading = Reading {
            stream: self.stream.clone(),
            shape: self.shape.clone(),
            columns: self.columns.clone(),
            cursor: Cursor::new(self.queue.clone(), next),
            queue: self.queue.clone(),
            receiver: self.receiver.clone(),
            end: self.end,
            batch_bytes: if self.batch_bytes == 0 { BATCH_BYTES } else { self.batch_bytes },
            given: self.given.clone(),
            idle: false,
        };
        let events = futures::stream::unfold(Some(reading), |reading| async move {
            let mut reading = reading?;
            match reading.step().await {
                Ok(None) => None,
                Ok(Some(events)) => Some((events.into_iter().map(Ok).collect::<Vec<_>>(), Some(reading))),
                Err(error) => Some((vec![Err(error)], None)),
            }
        });
        Ok(events.flat_map(futures::stream::iter).boxed())
    }
}

struct Reading {
    stream: String,
    shape: Arc<Shape>,
    columns: Vec<Column>,
    cursor: Cursor,
    queue: Arc<Queue>,
    receiver: Option<Arc<Receiver>>,
    end: u64,
    batch_bytes: usize,
    given: Arc<AtomicU64>,
    /// That nothing is left was told since the last record.
    idle: bool,
}

impl Reading {
    /// The next events; `None` at the end.
    async fn step(&mut self) -> Result<Option<Vec<Event>>> {
        loop {
            let bounded = self.receiver.is_none();
            if bounded && self.cursor.next() >= self.end {
                return Ok(None);
            }
            if self.cursor.next() < self.queue.end() {
                self.idle = false;
                return self.batch().await.map(Some);
            }
            if !std::mem::replace(&mut self.idle, true) {
                return Ok(Some(vec![Event::Idle]));
            }
            let Some(receiver) = &self.receiver else { return Ok(None) };
            tokio::select! {
                biased;
                () = self.queue.reach(self.cursor.next()) => {}
                error = receiver.failed() => return Err(error),
            }
        }
    }

    /// Letters, and then the rows around them with the position behind all of them.
    async fn batch(&mut self) -> Result<Vec<Event>> {
        let first = self.cursor.next();
        let (queue, bytes) = (self.queue.clone(), self.batch_bytes);
        let mut cursor = std::mem::replace(&mut self.cursor, Cursor::new(queue, first));
        let (cursor, read) = tokio::task::spawn_blocking(move || {
            let read = cursor.read(bytes);
            (cursor, read)
        })
        .await
        .map_err(|error| Error::internal("reading the inbox died").caused_by(error))?;
        self.cursor = cursor;
        let mut records = read?;
        if self.receiver.is_none() {
            records.truncate(usize::try_from(self.end - first).unwrap_or(usize::MAX));
            if first + records.len() as u64 != self.cursor.next() {
                self.cursor = Cursor::new(self.queue.clone(), first + records.len() as u64);
            }
        }
        let mut rows = Rows::new(&self.shape)?;
        let mut events = Vec::new();
        let mut source_bytes = 0;
        for (number, record) in (first..).zip(&records).filter(|(_, record)| !record.is_marker()) {
            source_bytes += record.payload.len() as u64;
            if let Err((code, reason)) = push(&mut rows, &self.columns, number, record) {
                events.push(Event::Dead(self.letter(number, record, code, reason)));
            }
        }
        let position = At { inbox: self.queue.id().to_owned(), next: self.cursor.next() }.json();
        events.push(Event::Batch(Batch { records: rows.finish()?, position: Some(position), source_bytes }));
        self.given.store(self.cursor.next(), Ordering::Relaxed);
        Ok(events)
    }

    fn letter(&self, number: u64, record: &Record, code: String, reason: String) -> DeadLetter {
        let place = format!("{} message {number}", self.stream);
        letters::letter(&self.stream, place, (&code, reason), &record.payload, self.shape.payload.format.media_type())
    }
}

/// A record as a row; or why it is none, as code and reason.
fn push(rows: &mut Rows, columns: &[Column], number: u64, record: &Record) -> Result<(), (String, String)> {
    if let Some(refused) = &record.refused {
        let text = String::from_utf8_lossy(refused);
        let (code, reason) = text.split_once(' ').unwrap_or(("WEIR-INBOX-013", &text));
        return Err((code.to_owned(), reason.to_owned()));
    }
    let mut own = Vec::with_capacity(columns.len());
    for column in columns {
        let field = |at: usize| record.fields.get(at).and_then(Option::as_ref);
        own.push(match column.taken {
            Taken::At => OwnValue::Time(record.at_us),
            Taken::Number => OwnValue::Int(i64::try_from(number).unwrap_or(i64::MAX)),
            Taken::Text(at) => match field(at).map(|text| std::str::from_utf8(text)) {
                None => OwnValue::Null,
                Some(Ok(text)) => OwnValue::Text(text),
                Some(Err(_)) => {
                    let reason = format!("`{}` of the message is not valid UTF-8", column.own.source);
                    return Err(("WEIR-INBOX-013".into(), reason));
                }
            },
            Taken::Int(at) => match field(at).map(digits) {
                None => OwnValue::Null,
                Some(Some(number)) => OwnValue::Int(number),
                Some(None) => {
                    let reason = format!("`{}` of the message is not a whole number of 64 bits", column.own.source);
                    return Err(("WEIR-INBOX-013".into(), reason));
                }
            },
        });
    }
    rows.push(&record.payload, &own).map_err(|refusal| (refusal.code.to_owned(), refusal.reason))
}

fn digits(text: &Bytes) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A letter once more, with the options as they are now.
pub(super) fn again(shape: &Shape, columns: &[Column], letter: &DeadLetter) -> Result<Vec<Event>> {
    if letters::is_cut(letter) {
        return letters::still(letter, "only the beginning of the message was kept");
    }
    if !columns.is_empty() {
        return letters::still(letter, "of the message only its payload was kept, and the stream has other columns of it too");
    }
    letters::again(shape, &[], letter)
}
