//! Reading: a stream per JetStream stream, one split, a position after every batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::{Info, RetentionPolicy, Stream};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};
use weir_connect::{
    DeadLetter, Error, Event, EventStream, Kind, Position, ReadRequest, Result, ResumeVerdict, Source, SourceCapabilities, Split,
    StreamInfo, StreamReader,
};

use super::client::{Address, Link};
use super::config::{Metadata, SourceOptions, StartMode};
use super::errors::no_stream;
use super::read::{self, Job};
use super::view::{Now, View, left, read_view, sequence_of};
use crate::messages::{Own, OwnValue, Shape, letters};

/// A configured source.
pub struct NatsSource {
    address: Address,
    options: SourceOptions,
    link: OnceCell<Link>,
    /// By stream, once looked at.
    shapes: Mutex<BTreeMap<String, Arc<Shape>>>,
}

impl NatsSource {
    /// Connects later.
    pub fn new(address: Address, options: SourceOptions) -> Self {
        Self { address, options, link: OnceCell::new(), shapes: Mutex::default() }
    }

    async fn link(&self) -> Result<&Link> {
        self.link.get_or_try_init(|| self.address.connect()).await
    }

    /// The columns about the message itself.
    fn metadata(&self) -> Vec<Metadata> {
        let mut kinds = self.options.metadata.clone();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// A stream, and what the server says of it.
    async fn stream(&self, name: &str) -> Result<(Stream<()>, Info)> {
        let link = self.link().await?;
        let stream = link.jetstream().get_stream_no_info(name).await.map_err(|_| no_stream(link.place(), name))?;
        let info = stream.get_info().await.map_err(|error| match link.shown(&error) {
            missing if missing.code() == "WEIR-NATS-005" => no_stream(link.place(), name),
            other => other,
        })?;
        Ok((stream, info))
    }

    /// The streams that the options choose.
    async fn names(&self) -> Result<Vec<String>> {
        let named: Vec<String> = self.options.stream.iter().chain(&self.options.streams).cloned().collect();
        if !named.is_empty() {
            return Ok(named);
        }
        let link = self.link().await?;
        let infos: Vec<Info> = link.jetstream().streams().try_collect().await.map_err(|error| link.shown(&error))?;
        let wanted = |info: &Info| {
            // Key-value and object stores are streams as well, and nobody's events.
            let store = info.config.name.starts_with("KV_") || info.config.name.starts_with("OBJ_");
            match &self.options.subject {
                Some(subject) => info.config.subjects.iter().any(|of| overlap(of, subject)),
                None => !store && info.config.retention == RetentionPolicy::Limits,
            }
        };
        let mut names: Vec<String> = infos.iter().filter(|info| wanted(info)).map(|info| info.config.name.clone()).collect();
        names.sort();
        match (&self.options.subject, names.is_empty()) {
            (Some(subject), true) => {
                Err(Error::new("WEIR-NATS-005", Kind::NotFound, format!("no stream has the subject `{subject}`"))
                    .at(link.place().to_owned())
                    .hint("only what a JetStream stream keeps can be read: make one for the subject"))
            }
            _ => Ok(names),
        }
    }

    async fn shape(&self, name: &str) -> Result<Arc<Shape>> {
        let mut known = self.shapes.lock().await;
        if let Some(shape) = known.get(name) {
            return Ok(shape.clone());
        }
        let payload = self.options.payload()?;
        let needed = payload.format == crate::messages::Format::Json && !(payload.only_columns && payload.declared.is_some());
        let sample = if needed { self.sample(name).await? } else { Vec::new() };
        let own = self.metadata().into_iter().map(column).collect();
        let shape = Arc::new(Shape::of(payload, own, &sample, name).await?);
        known.insert(name.to_owned(), shape.clone());
        Ok(shape)
    }

    /// The latest payloads, about so many.
    async fn sample(&self, name: &str) -> Result<Vec<Bytes>> {
        /// Text that is enough to know types by.
        const BYTES: usize = 8 << 20;
        let wanted = self.options.sample_records.unwrap_or(1000).clamp(1, 1_000_000);
        let link = self.link().await?;
        let (stream, info) = self.stream(name).await?;
        let now = Now::of(&info);
        let subject = self.options.subject.as_deref();
        // The latest messages may all have other subjects; then the oldest must do.
        for start in [now.high.saturating_sub(wanted).max(now.low), now.low] {
            if start >= now.high {
                break;
            }
            let from = DeliverPolicy::ByStartSequence { start_sequence: start };
            let consumer = read::consumer(link, &stream, subject, from).await?;
            let fetch = consumer.fetch().max_messages(usize::try_from(wanted).unwrap_or(1000).min(8192));
            let mut messages = fetch.messages().await.map_err(|error| link.shown(&error))?;
            let (mut sample, mut bytes) = (Vec::new(), 0);
            while let Some(message) = messages.next().await {
                let message = message.map_err(|error| link.shown(&std::io::Error::other(error)))?;
                bytes += message.payload.len();
                sample.push(message.payload.clone());
                if bytes >= BYTES {
                    break;
                }
            }
            if !sample.is_empty() {
                return Ok(sample);
            }
        }
        Ok(Vec::new())
    }

    /// Where the options say that a fresh read begins.
    async fn configured(&self, stream: &Stream<()>, name: &str, now: &Now) -> Result<u64> {
        match self.options.start_mode {
            StartMode::Earliest => Ok(now.low),
            StartMode::Latest => Ok(now.high),
            StartMode::Sequence => {
                now.still_there(name, self.options.start_sequence.unwrap_or_default().max(1), self.options.on_data_loss)
            }
            StartMode::Timestamp => {
                let nanos = i128::from(self.options.start_timestamp_ms.unwrap_or_default()) * 1_000_000;
                let link = self.link().await?;
                let start_time = async_nats::datetime::from_nanos(nanos).map_err(|error| {
                    super::config::wrong("`start_timestamp_ms` is no time", "milliseconds since 1970").because(error)
                })?;
                let from = DeliverPolicy::ByStartTime { start_time };
                let consumer = read::consumer(link, stream, None, from).await?;
                // It stands before the first message that it would give.
                let found = consumer.cached_info().delivered.stream_sequence + 1;
                Ok(found.clamp(now.low, now.high))
            }
        }
    }
}

/// Whether some subject is meant by both: tokens, `*` for one, `>` for all that are left.
fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

fn column(kind: Metadata) -> Own {
    let own = |name, data_type, nullable, source| Own { name, data_type, nullable, source, json: false };
    match kind {
        Metadata::Subject => own("_subject", DataType::Utf8, false, "subject"),
        Metadata::Headers => Own { json: true, ..own("_headers", DataType::Utf8, true, "headers") },
        Metadata::Sequence => own("_sequence", DataType::Int64, false, "sequence"),
        Metadata::Timestamp => {
            own("_timestamp", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false, "timestamp")
        }
    }
}

/// A stream that forgets what consumers have acknowledged cannot be read again.
fn readable(info: &Info, place: &str) -> Result<()> {
    if info.config.retention == RetentionPolicy::Limits {
        return Ok(());
    }
    let what = format!("stream `{}` throws messages away once they were consumed", info.config.name);
    Err(Error::new("WEIR-NATS-009", Kind::Unsupported, what)
        .at(place.to_owned())
        .because("its retention is `workqueue` or `interest`, and Weir reads what it may have to read again")
        .hint("make a stream with `retention: limits` that has it as its source, and read that"))
}

#[async_trait]
impl Source for NatsSource {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            replayable: true,
            replay_note: "nats keeps messages at their sequences: a second read gives the same ones".into(),
        }
    }

    fn unbounded(&self) -> bool {
        true
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let mut infos = Vec::new();
        for name in self.names().await? {
            let (_, info) = self.stream(&name).await?;
            readable(&info, self.address.place())?;
            let shape = self.shape(&name).await?;
            let of = self.options.subject.as_deref().map(|subject| format!(" of {subject}")).unwrap_or_default();
            infos.push(StreamInfo {
                name,
                schema: shape.schema.clone(),
                primary_key: Vec::new(),
                estimated_rows: self.options.subject.is_none().then_some(info.state.messages),
                estimated_bytes: self.options.subject.is_none().then_some(info.state.bytes),
                reading: format!("messages{of} by sequence, up to the stream's end when the run begins"),
            });
        }
        Ok(infos)
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let name = request.stream.clone();
        let (stream, info) = self.stream(&name).await?;
        readable(&info, self.address.place())?;
        let shape = self.shape(&name).await?;
        let now = Now::of(&info);
        let choice = self.options.on_data_loss;
        let known = request.resume.as_ref().map(|resume| left(resume, &name)).transpose()?.flatten();
        let (view, next) = match known {
            Some(known) => {
                let over = |next: u64| known.view.end.is_some_and(|end| next >= end);
                let next = match known.next {
                    Some(next) if over(next) => Some(next),
                    Some(_) if !now.same(&known.view, choice)? => Some(now.low),
                    Some(next) => Some(now.still_there(&name, next, choice)?),
                    None => None,
                };
                (known.view, next)
            }
            None => {
                let start = match request.previous.clone().filter(|previous| !previous.is_null()).map(read_view).transpose()? {
                    Some(previous) if !now.same(&previous, choice)? => now.low,
                    Some(previous) => now.still_there(&name, previous.end.unwrap_or(previous.start), choice)?,
                    None => self.configured(&stream, &name, &now).await?,
                };
                let end = (!request.unbounded).then_some(now.high.max(start));
                (View { version: 1, stream: name.clone(), created: now.created, start, end }, Some(start))
            }
        };
        Ok(Box::new(NatsReader {
            link: self.link().await?.clone(),
            stream,
            options: self.options.clone(),
            metadata: self.metadata(),
            shape,
            verdict: if request.resume.is_some() { ResumeVerdict::Continued } else { ResumeVerdict::Fresh },
            batch_bytes: request.batch_bytes,
            view,
            next,
            lag: Arc::new(AtomicU64::new(u64::MAX)),
        }))
    }

    /// The payload that was kept, into the columns as they are now.
    async fn redecode(&self, stream: &str, letter: &DeadLetter) -> Result<Vec<Event>> {
        let still = |reason: &str| letters::still(letter, reason);
        if letters::is_cut(letter) {
            return still("only the beginning of the message was kept; correct it at the source and read that again");
        }
        let Some(sequence) = read::place_of(stream, &letter.place).and_then(|sequence| i64::try_from(sequence).ok()) else {
            return still("the message does not say which sequence it had");
        };
        let metadata = self.metadata();
        if metadata.iter().any(|kind| *kind != Metadata::Sequence) {
            return still(
                "of the message only its payload was kept, and the stream has its subject, headers or time as columns too",
            );
        }
        let own = vec![OwnValue::Int(sequence); metadata.len()];
        letters::again(self.shape(stream).await?.as_ref(), &own, letter)
    }
}

/// An opened stream.
struct NatsReader {
    link: Link,
    stream: Stream<()>,
    options: SourceOptions,
    metadata: Vec<Metadata>,
    shape: Arc<Shape>,
    verdict: ResumeVerdict,
    batch_bytes: usize,
    view: View,
    /// Where it goes on, which may be elsewhere than the engine knows when messages are gone; `None`: there is nothing left to read.
    next: Option<u64>,
    /// `u64::MAX`: not known yet.
    lag: Arc<AtomicU64>,
}

impl NatsReader {
    fn split(&self) -> Split {
        Split {
            id: self.view.stream.clone(),
            descriptor: serde_json::to_value(&self.view).unwrap_or_default(),
            estimated_rows: self.view.end.filter(|_| self.options.subject.is_none()).map(|end| end - self.view.start),
            estimated_bytes: None,
        }
    }
}

#[async_trait]
impl StreamReader for NatsReader {
    fn schema(&self) -> SchemaRef {
        self.shape.schema.clone()
    }

    fn splits(&self) -> Vec<Split> {
        self.next.map(|_| self.split()).into_iter().collect()
    }

    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }

    fn state(&self) -> Value {
        serde_json::to_value(&self.view).unwrap_or_default()
    }

    fn next_state(&self) -> Option<Value> {
        Some(self.state())
    }

    async fn look(&self) -> Result<Vec<Split>> {
        Ok(vec![self.split()])
    }

    fn lag(&self) -> Option<u64> {
        Some(self.lag.load(Ordering::Relaxed)).filter(|lag| *lag != u64::MAX)
    }

    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        let view = read_view(split.descriptor.clone())?;
        let wanted = from.as_ref().map_or(Ok(view.start), sequence_of)?;
        // Messages between the two are gone, and the options allow that.
        let start = wanted.max(self.next.filter(|_| self.view.created == view.created).unwrap_or(wanted));
        let largest = 2 * self.link.client.max_payload();
        let wanted_bytes = usize::try_from(self.options.fetch_bytes.unwrap_or(8 << 20)).unwrap_or(8 << 20);
        read::start(Job {
            link: self.link.clone(),
            stream: self.stream.clone(),
            name: view.stream,
            subject: self.options.subject.clone(),
            shape: self.shape.clone(),
            metadata: self.metadata.clone(),
            start,
            end: view.end,
            on_data_loss: self.options.on_data_loss,
            batch_bytes: self.batch_bytes,
            fetch_bytes: wanted_bytes.max(largest),
            lag: self.lag.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_overlap_by_their_tokens() {
        for (one, other) in [("a.b", "a.*"), ("a.>", "a.b.c"), (">", "x"), ("*.b", "a.*"), ("a.>", "*.b.c"), ("a", "a")] {
            assert!(overlap(one, other) && overlap(other, one), "{one} {other}");
        }
        for (one, other) in [("a.b", "a"), ("a.*", "b.*"), ("a.>", "a"), ("a.b", "a.b.c")] {
            assert!(!overlap(one, other) && !overlap(other, one), "{one} {other}");
        }
    }
}
