//! Reading: a stream per key, one split each, the id of an entry as position.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_connect::{
    DeadLetter, Error, Event, EventStream, Kind, Position, ReadRequest, Result, ResumeVerdict, Source, SourceCapabilities, Split,
    SplitProgress, StreamInfo, StreamReader,
};

use super::client::{Address, Facts, Link};
use super::config::{Metadata, OnDataLoss, SourceOptions, StartMode, is_pattern};
use super::entries::{Entry, Id};
use super::errors::{broken_state, data_loss, unexpected};
use super::loss::{Kept, Place};
use super::read::{self, Job};
use crate::messages::{Own, Payload, Shape, declared, letters};

/// The only split of a stream.
const SPLIT: &str = "entries";
/// Text that is enough to know types by.
const SAMPLE_BYTES: usize = 8 << 20;

/// Where a stream is read, as the checkpoint and the next run know it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct View {
    version: u32,
    key: String,
    from: Kept,
    /// The last id to give, and what the next run begins with; without end there is none.
    #[serde(default)]
    end: Option<Kept>,
}

impl View {
    fn read(value: Value) -> Result<Self> {
        let view: Self = serde_json::from_value(value).map_err(broken_state)?;
        if view.version == 1 { Ok(view) } else { Err(broken_state("it is of a later version of Weir")) }
    }
}

fn place(kept: &Kept) -> Result<Place> {
    kept.place().ok_or_else(|| broken_state("an id of an entry is none"))
}

fn position(value: Position) -> Result<Place> {
    let kept: Kept = serde_json::from_value(value).map_err(broken_state)?;
    place(&kept)
}

/// A configured source.
pub struct RedisSource {
    address: Address,
    options: SourceOptions,
    /// By key, once looked at.
    shapes: tokio::sync::Mutex<BTreeMap<String, Arc<Shape>>>,
    /// The connection that tells a group how far its stream is durable, once it was needed.
    teller: tokio::sync::Mutex<Option<Link>>,
}

impl RedisSource {
    /// Connects later.
    pub fn new(address: Address, options: SourceOptions) -> Self {
        Self { address, options, shapes: tokio::sync::Mutex::default(), teller: tokio::sync::Mutex::default() }
    }

    fn missing(&self, what: String) -> Error {
        Error::new("WEIR-REDIS-005", Kind::NotFound, what)
            .at(self.address.place())
            .hint("`weir discover` lists the streams that there are; a stream begins with its first entry")
    }

    /// The keys that the options choose.
    async fn keys(&self, link: &mut Link) -> Result<Vec<String>> {
        let wanted = self.options.wanted();
        if wanted.is_empty() {
            return link.streams("*").await;
        }
        let mut keys = Vec::new();
        for key in wanted {
            if !is_pattern(&key) {
                keys.push(key);
                continue;
            }
            let found = link.streams(&key).await?;
            if found.is_empty() {
                return Err(self.missing(format!("no stream matches `{key}`")));
            }
            keys.extend(found);
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    async fn facts(&self, link: &mut Link, key: &str) -> Result<Facts> {
        link.facts(key).await?.ok_or_else(|| self.missing(format!("there is no stream `{key}`")))
    }

    async fn shape(&self, link: &mut Link, key: &str) -> Result<Arc<Shape>> {
        let mut known = self.shapes.lock().await;
        if let Some(shape) = known.get(key) {
            return Ok(shape.clone());
        }
        let payload = Payload {
            format: self.options.format,
            declared: declared(&self.options.columns)?,
            only_columns: self.options.only_columns,
            json: self.options.json.clone(),
        };
        let mut kinds = self.options.metadata.clone();
        kinds.sort_unstable();
        kinds.dedup();
        let sample = self.sample(link, key, &payload).await?;
        let shape = Arc::new(Shape::of(payload, kinds.into_iter().map(column).collect(), &sample, key).await?);
        known.insert(key.to_owned(), shape.clone());
        Ok(shape)
    }

    /// The latest entries, as payloads.
    async fn sample(&self, link: &mut Link, key: &str, payload: &Payload) -> Result<Vec<Bytes>> {
        if payload.only_columns && payload.declared.is_some() {
            return Ok(Vec::new());
        }
        let wanted = self.options.sample_records.unwrap_or(1000).clamp(1, 1_000_000);
        let (mut sample, mut bytes, mut end) = (Vec::new(), 0, "+".to_owned());
        while (sample.len() as u64) < wanted && bytes < SAMPLE_BYTES {
            let mut command = redis::cmd("XREVRANGE");
            command.arg(key).arg(&end).arg("-").arg("COUNT").arg(100);
            let answer = link.ask(&command, key).await?;
            let entries = Entry::list(answer).ok_or_else(|| unexpected(key, "XREVRANGE"))?;
            let Some(last) = entries.last() else { break };
            end = format!("({}", last.id);
            for payload in entries.iter().filter_map(|entry| entry.payload(self.options.field.as_deref()).ok()) {
                bytes += payload.len();
                sample.push(payload);
            }
        }
        sample.reverse();
        Ok(sample)
    }

    /// Where the first run begins.
    async fn begin(&self, link: &mut Link, key: &str, facts: &Facts) -> Result<Place> {
        Ok(match self.options.start_mode {
            StartMode::Earliest => Place::earliest(facts),
            StartMode::Latest => Place::latest(facts),
            StartMode::Timestamp => Place::at(self.options.start_timestamp_ms.unwrap_or(0)),
            StartMode::Group => match link.group(key, self.options.group.as_deref().unwrap_or_default()).await? {
                Some(id) => Place::behind(id),
                None => Place::earliest(facts),
            },
        })
    }

    async fn tell(&self, key: &str, group: &str, place: Place) -> Result<()> {
        let mut teller = self.teller.lock().await;
        let mut link = match teller.take() {
            Some(link) => link,
            None => self.address.connect().await?,
        };
        link.set_group(key, group, place.id, place.counted).await?;
        *teller = Some(link);
        Ok(())
    }
}

fn column(kind: Metadata) -> Own {
    let (name, data_type, nullable, source) = match kind {
        Metadata::Id => ("_id", DataType::Utf8, false, "id"),
        Metadata::Stream => ("_stream", DataType::Utf8, false, "key"),
        Metadata::Timestamp => ("_timestamp", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true, "id"),
    };
    Own { name, data_type, nullable, source, json: false }
}

#[async_trait]
impl Source for RedisSource {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            replayable: true,
            replay_note: "redis keeps entries under their ids: a second read gives the same ones".into(),
        }
    }

    fn unbounded(&self) -> bool {
        true
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let mut link = self.address.connect().await?;
        let mut infos = Vec::new();
        for key in self.keys(&mut link).await? {
            let facts = self.facts(&mut link, &key).await?;
            let shape = self.shape(&mut link, &key).await?;
            infos.push(StreamInfo {
                name: key,
                schema: shape.schema.clone(),
                primary_key: Vec::new(),
                estimated_rows: Some(facts.length),
                estimated_bytes: None,
                reading: "by entry id, up to the last entry when the run begins".into(),
            });
        }
        Ok(infos)
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let key = request.stream.clone();
        let mut link = self.address.connect().await?;
        let shape = self.shape(&mut link, &key).await?;
        let known = request.resume.as_ref().and_then(|resume| resume.progress.first());
        let (view, done) = match (known, &request.resume, request.previous.filter(|previous| !previous.is_null())) {
            (Some(part), _, _) => (View::read(part.split.descriptor.clone())?, part.done),
            (None, Some(resume), _) if !resume.reader_state.is_null() => (View::read(resume.reader_state.clone())?, false),
            (_, _, previous) => {
                let facts = self.facts(&mut link, &key).await;
                let facts = match (facts, &previous) {
                    // Everything that was not read is gone.
                    (Err(error), Some(_))
                        if error.code() == "WEIR-REDIS-005" && self.options.on_data_loss == OnDataLoss::Fail =>
                    {
                        return Err(data_loss(&key, "the stream was read before and is not there any more"));
                    }
                    (facts, _) => facts?,
                };
                let from = match previous.map(View::read).transpose()? {
                    Some(previous) => place(previous.end.as_ref().unwrap_or(&previous.from))?,
                    None => self.begin(&mut link, &key, &facts).await?,
                };
                let end = (!request.unbounded).then(|| Kept::from(Place { delivered: true, ..Place::latest(&facts) }));
                (View { version: 1, key: key.clone(), from: from.into(), end }, false)
            }
        };
        if view.key != key {
            return Err(broken_state(format!("it is of the stream `{}`", view.key)));
        }
        Ok(Box::new(RedisReader {
            address: self.address.clone(),
            options: self.options.clone(),
            shape,
            verdict: if request.resume.is_some() { ResumeVerdict::Continued } else { ResumeVerdict::Fresh },
            batch_bytes: request.batch_bytes,
            view,
            done,
        }))
    }

    /// The payload that was kept, into the columns as they are now.
    async fn redecode(&self, stream: &str, letter: &DeadLetter) -> Result<Vec<Event>> {
        let still = |reason: &str| letters::still(letter, reason);
        if letters::is_cut(letter) {
            return still("only the beginning of the entry was kept; correct it at the source and read that again");
        }
        let Some(id) = read::place_of(stream, &letter.place) else {
            return still("the entry does not say which id it had");
        };
        let mut link = self.address.connect().await?;
        let shape = self.shape(&mut link, stream).await?;
        let mut kinds = self.options.metadata.clone();
        kinds.sort_unstable();
        kinds.dedup();
        let text = id.to_string();
        let own: Vec<_> = kinds.iter().map(|kind| read::own(*kind, stream, &text, id)).collect();
        letters::again(&shape, &own, letter)
    }

    /// For tools that show how far behind a group is; what a run goes on from is in the checkpoint.
    async fn committed(&self, stream: &str, progress: &[SplitProgress]) -> Result<()> {
        let (Some(group), Some(part)) = (&self.options.group, progress.last()) else { return Ok(()) };
        let reached = match &part.position {
            Some(at) => Some(position(at.clone())?),
            None if part.done => View::read(part.split.descriptor.clone())?.end.as_ref().map(place).transpose()?,
            None => None,
        };
        if let Some(reached) = reached
            && let Err(error) = self.tell(stream, group, reached).await
        {
            tracing::warn!(target: "weir::redis", "the place of `{group}` in `{stream}` was not set, whose lag looks larger than it is: {error}");
        }
        Ok(())
    }
}

/// An opened stream.
struct RedisReader {
    address: Address,
    options: SourceOptions,
    shape: Arc<Shape>,
    verdict: ResumeVerdict,
    batch_bytes: usize,
    view: View,
    done: bool,
}

#[async_trait]
impl StreamReader for RedisReader {
    fn schema(&self) -> SchemaRef {
        self.shape.schema.clone()
    }

    fn splits(&self) -> Vec<Split> {
        if self.done {
            return Vec::new();
        }
        let descriptor = self.state();
        vec![Split { id: SPLIT.into(), descriptor, estimated_rows: None, estimated_bytes: None }]
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

    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        let view = View::read(split.descriptor.clone())?;
        let begin = match from {
            Some(from) => position(from)?,
            None => place(&view.from)?,
        };
        let end: Option<Id> = view.end.as_ref().map(place).transpose()?.map(|place| place.id);
        let job = Job {
            shape: self.shape.clone(),
            options: self.options.clone(),
            key: view.key,
            from: begin,
            end,
            batch_bytes: self.batch_bytes,
        };
        read::start(&self.address, job).await
    }
}
