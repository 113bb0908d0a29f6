//! Reading: a stream per topic, a split per partition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use pulsar::message::proto::schema::Type as SchemaType;
use serde_json::Value;
use weir_connect::{
    Batch, DeadLetter, Error, Event, EventStream, Kind, Position, ReadRequest, Result, Resume, ResumeVerdict, Source,
    SourceCapabilities, Split, SplitProgress, StreamInfo, StreamReader,
};

use super::admin::Admin;
use super::bookmark::{self, Bookmarks};
use super::client::{Address, is_missing, oldest};
use super::config::{Metadata, OnDataLoss, ReadBy, SourceFormat, SourceOptions, StartMode};
use super::errors::{broken, data_loss, missing, wrong};
use super::names::{Topic, whole, without_partition};
use super::position::{Entry, Id, Place, Range, Start, View};
use super::queue::Queues;
use super::read::{self, Job};
use super::rows::{self, Layout, Rows, Shape};
use super::schema::incoming::Incoming as Schemas;
use super::schema::kept::{self, Kept, word};
use super::unpack::Incoming;
use crate::messages::{self, Payload, letters};

/// A configured source.
pub struct PulsarSource {
    address: Address,
    options: Arc<SourceOptions>,
    /// By stream, once looked at.
    shapes: tokio::sync::Mutex<BTreeMap<String, Arc<Shape>>>,
    bookmarks: Bookmarks,
    /// `read_by: subscription`: what was given and is not durable.
    queues: Arc<Queues>,
}

impl PulsarSource {
    /// Connects later.
    pub fn new(address: Address, options: SourceOptions) -> Self {
        Self {
            address,
            options: Arc::new(options),
            shapes: tokio::sync::Mutex::default(),
            bookmarks: Bookmarks::default(),
            queues: Arc::default(),
        }
    }

    /// The topics that the options choose.
    async fn topics(&self) -> Result<Vec<Topic>> {
        let named = self.options.named();
        if !named.is_empty() {
            let mut topics = Vec::with_capacity(named.len());
            for name in &named {
                let topic = self.address.topic(name)?;
                if !self.address.exists(&topic).await? {
                    return Err(missing(&topic.to_string()).at(self.address.place()));
                }
                topics.push(topic);
            }
            return Ok(topics);
        }
        let own = self.address.options().namespace().to_owned();
        let Some(text) = &self.options.topic_pattern else { return self.listed(&[own], |_| true).await };
        let pattern = whole(text)?;
        let namespaces = match (&pattern.tenant, &pattern.namespace, &pattern.namespaces) {
            (Some(tenant), Some(namespace), _) => vec![format!("{tenant}/{namespace}")],
            (Some(tenant), None, Some(matching)) => {
                let admin = Admin::of(&self.address)?.ok_or_else(|| {
                    wrong(
                        "a pattern over namespaces needs `admin_url`",
                        "brokers list the topics of one namespace only; give the connection its `admin_url`, or name the namespace",
                    )
                })?;
                let all = admin.namespaces(tenant).await?;
                all.into_iter().filter(|name| name.split_once('/').is_some_and(|(_, name)| matching.is_match(name))).collect()
            }
            _ => vec![own],
        };
        let found = self.listed(&namespaces, |local| pattern.topics.is_match(local)).await?;
        if found.is_empty() {
            return Err(
                Error::new("WEIR-PULSAR-005", Kind::NotFound, format!("no topic matches `{text}`")).at(self.address.place())
            );
        }
        Ok(found)
    }

    async fn listed(&self, namespaces: &[String], wanted: impl Fn(&str) -> bool) -> Result<Vec<Topic>> {
        let mut topics = std::collections::BTreeSet::new();
        for namespace in namespaces {
            for name in self.address.topics(namespace).await? {
                let topic = Topic::parse(without_partition(&name).0, namespace)?;
                // The broker's own.
                if !topic.local.starts_with("__") && wanted(&topic.local) {
                    topics.insert(topic);
                }
            }
        }
        Ok(topics.into_iter().collect())
    }

    async fn partitions(&self, topic: &Topic) -> Result<Vec<Option<u32>>> {
        Ok(match self.address.partitions(topic).await? {
            0 => vec![None],
            count => (0..count).map(Some).collect(),
        })
    }

    async fn shape(&self, stream: &str) -> Result<Arc<Shape>> {
        let mut known = self.shapes.lock().await;
        if let Some(shape) = known.get(stream) {
            return Ok(shape.clone());
        }
        let topic = self.address.topic(stream)?;
        let kept = match self.address.schema(&topic).await {
            // Whoever takes bytes need not understand it.
            Err(error) if error.code() == kept::STRANGE && self.options.format == Some(SourceFormat::Raw) => None,
            told => told?,
        };
        let kind = kept.as_ref().map(Kept::kind);
        let format = self.options.format.unwrap_or_else(|| SourceFormat::of(kind));
        readable(&topic, format, kind)?;
        self.options.columns_fit(format).map_err(|error| error.at(topic.to_string()))?;
        if let (Some(_), Some(newest)) = (format.needs(), &kept) {
            let schemas = Schemas::new(topic.to_string(), newest)?;
            let shape = Arc::new(Shape::by_schema(format, schemas, &self.options)?);
            known.insert(stream.to_owned(), shape.clone());
            return Ok(shape);
        }
        let declared = crate::messages::declared(&self.options.columns)?;
        let sample = if format == SourceFormat::Json && !(self.options.only_columns && declared.is_some()) {
            let topics: Vec<String> =
                self.partitions(&topic).await?.into_iter().map(|partition| topic.partition(partition)).collect();
            let wanted = self.options.sample_records.unwrap_or(1000).clamp(1, 1_000_000);
            read::sample(&self.address, &topics, wanted, self.options.max_message_bytes()).await?
        } else {
            Vec::new()
        };
        let payload = Payload {
            format: format.plain(),
            declared,
            only_columns: self.options.only_columns,
            json: self.options.json.clone(),
        };
        let plain = messages::Shape::of(payload, rows::own(&self.options), &sample, &topic.to_string()).await?;
        let shape = Arc::new(Shape::plain(format, plain));
        known.insert(stream.to_owned(), shape.clone());
        Ok(shape)
    }

    /// The ends of the partitions as they are now.
    async fn ends(&self, topic: &Topic) -> Result<Vec<(Option<u32>, Entry)>> {
        let mut ends = Vec::new();
        for partition in self.partitions(topic).await? {
            let (_, last) = self.address.look(&topic.partition(partition), oldest()).await?;
            ends.push((partition, last));
        }
        Ok(ends)
    }

    /// The view of a fresh run: after `previous`, or where the options say.
    async fn begin(&self, topic: &Topic, previous: Option<&View>, unbounded: bool) -> Result<View> {
        let ends = self.ends(topic).await?;
        let mut ranges = Vec::with_capacity(ends.len());
        for (partition, last) in &ends {
            let known = previous.and_then(|view| view.ranges.iter().find(|range| range.partition == *partition));
            let start = match (known, previous) {
                (Some(range), _) => self.still_there(topic, *partition, next(range), *last).await?,
                // A partition that nothing is known of is new: it is read from its beginning.
                (None, Some(_)) => Start::Oldest,
                (None, None) => self.configured(topic, *partition, *last, ends.len()).await?,
            };
            ranges.push(Range { partition: *partition, start, end: (!unbounded).then_some(*last) });
        }
        if let Some(gone) = previous
            .and_then(|view| view.ranges.iter().find(|known| !ranges.iter().any(|range| range.partition == known.partition)))
        {
            return Err(data_loss(&topic.partition(gone.partition), "the partition is not there any more"));
        }
        self.bookmarked(topic, &ranges).await?;
        Ok(View { version: 1, topic: topic.to_string(), ranges })
    }

    /// Where the options say that a partition's reading begins.
    async fn configured(&self, topic: &Topic, partition: Option<u32>, last: Entry, partitions: usize) -> Result<Start> {
        Ok(match self.options.start_mode {
            StartMode::Earliest => Start::Oldest,
            StartMode::Latest => Start::Behind(Place::behind(last)),
            StartMode::Timestamp => Start::Published(self.options.start_timestamp_ms.unwrap_or_default().max(0)),
            StartMode::MessageId => {
                let ids = self.options.start_message_ids.iter().map(|id| Id::parse(id)).collect::<Result<Vec<_>>>()?;
                for id in &ids {
                    if id.partition.is_some_and(|number| number as usize >= partitions) {
                        let what =
                            format!("`start_message_ids` names partition {:?}, which `{topic}` does not have", id.partition);
                        return Err(wrong(what, "the third number of an id is its partition; -1 for a topic without"));
                    }
                }
                ids.iter().find(|id| id.partition == partition).map_or(Start::Oldest, |id| Start::Behind(id.before()))
            }
            StartMode::Subscription => {
                let name = self.options.subscription_name.as_deref().unwrap_or_default();
                let mark = bookmark::place(&self.address, &topic.partition(partition), name).await?;
                mark.map_or(Start::Oldest, |mark| Start::Behind(Place::behind(mark)))
            }
        })
    }

    /// Where reading goes on when it can; else what `on_data_loss` says.
    async fn still_there(&self, topic: &Topic, partition: Option<u32>, start: Start, last: Entry) -> Result<Start> {
        let Start::Behind(place) = start else { return Ok(start) };
        let needed = place.open.unwrap_or(place.at);
        if !needed.is_message() {
            return Ok(start);
        }
        let why = if last < place.at {
            format!("what was read ends at {:?}, but the partition ends at {last:?}: it was cut off or made anew", place.at)
        } else if self.options.subscription_name.is_some() {
            // The broker keeps what the subscription has not acknowledged.
            return Ok(start);
        } else {
            let Some(admin) = Admin::of(&self.address)? else { return Ok(start) };
            match admin.first_ledger(topic, partition).await? {
                Some(first) if first > needed.ledger => format!(
                    "reading stopped in ledger {}, which is deleted by now; the oldest that is kept is {first}, and what came between nobody knows",
                    needed.ledger
                ),
                _ => return Ok(start),
            }
        };
        let place = topic.partition(partition);
        match self.options.on_data_loss {
            OnDataLoss::Fail => Err(data_loss(&place, why)),
            OnDataLoss::Earliest => {
                tracing::warn!(target: "weir::pulsar", "{place}: {why}; reading goes on at the oldest message");
                Ok(Start::Oldest)
            }
        }
    }

    /// From now on the broker keeps what is not durable here.
    async fn bookmarked(&self, topic: &Topic, ranges: &[Range]) -> Result<()> {
        if let (ReadBy::Position, Some(name)) = (self.options.read_by, &self.options.subscription_name) {
            for range in ranges {
                bookmark::place(&self.address, &topic.partition(range.partition), name).await?;
            }
        }
        Ok(())
    }

    /// What the interrupted attempt was reading: as its reader said, and with what each split says of itself.
    async fn resumed(&self, topic: &Topic, resume: &Resume, unbounded: bool) -> Result<Resumed> {
        let mut view = match &resume.reader_state {
            Value::Null => View { version: 1, topic: topic.to_string(), ranges: Vec::new() },
            state => View::read(state.clone())?,
        };
        let (mut done, mut moved, mut places) = (Vec::new(), Vec::new(), BTreeMap::new());
        for part in &resume.progress {
            let split = View::read(part.split.descriptor.clone())?;
            if split.topic != view.topic {
                return Err(broken(&split.topic));
            }
            for range in split.ranges {
                match view.ranges.iter_mut().find(|known| known.partition == range.partition) {
                    Some(known) => *known = range,
                    None => view.ranges.push(range),
                }
            }
            if part.done {
                done.push(part.split.id.clone());
            } else if let Some(position) = &part.position {
                places.insert(part.split.id.clone(), position.clone());
            }
        }
        view.ranges.sort_by_key(|range| range.partition);
        if self.options.read_by == ReadBy::Position {
            let ends: BTreeMap<Option<u32>, Entry> = self.ends(topic).await?.into_iter().collect();
            for range in &mut view.ranges {
                let id = range.id();
                if done.contains(&id) {
                    continue;
                }
                let Some(last) = ends.get(&range.partition) else {
                    return Err(data_loss(&topic.partition(range.partition), "the partition is not there any more"));
                };
                if let Some(position) = places.get(&id) {
                    let start = Start::Behind(Place::of(position)?);
                    let found = self.still_there(topic, range.partition, start, *last).await?;
                    if found != start {
                        moved.push(id);
                    }
                }
            }
        }
        if unbounded {
            let known: Vec<Option<u32>> = view.ranges.iter().map(|range| range.partition).collect();
            view.ranges.extend(self.new_partitions(topic, &known).await?);
        }
        self.bookmarked(topic, &view.ranges).await?;
        Ok(Resumed { view, done, moved })
    }

    /// Partitions that nothing is known of: from their first message, without end.
    async fn new_partitions(&self, topic: &Topic, known: &[Option<u32>]) -> Result<Vec<Range>> {
        let all = self.partitions(topic).await?;
        let new = all.into_iter().filter(|partition| partition.is_some() && !known.contains(partition));
        Ok(new.map(|partition| Range { partition, start: Start::Oldest, end: None }).collect())
    }
}

/// What is left of an interrupted attempt.
struct Resumed {
    view: View,
    /// Splits that are done.
    done: Vec<String>,
    /// Splits whose next messages are gone, and that go on at the oldest that is left.
    moved: Vec<String>,
}

/// Where the next run begins when this is what the last one read.
fn next(range: &Range) -> Start {
    match (range.end, range.start) {
        (Some(end), Start::Behind(place)) if end < place.at => Start::Behind(place),
        (Some(end), _) if end.is_message() => Start::Behind(Place::behind(end)),
        (_, start) => start,
    }
}

/// Whether payloads are what the options say, as far as the broker knows what they are.
fn readable(topic: &Topic, format: SourceFormat, schema: Option<SchemaType>) -> Result<()> {
    let fits = match (format.needs(), format, schema) {
        (Some(kind), _, schema) => schema == Some(kind),
        (None, SourceFormat::Raw, _) | (None, _, None) => true,
        (None, _, Some(kind)) => matches!(kind, SchemaType::Json | SchemaType::String),
    };
    if fits {
        return Ok(());
    }
    let (what, hint) = match (format.needs(), schema) {
        (Some(needed), None) => (
            format!("the topic has no schema, and the format wants one of the kind {}", word(needed)),
            "its producers announce schemas: wait for the first one; or leave `format` out for JSON",
        ),
        (_, kind) => (
            format!(
                "the topic's messages have a schema of the kind {}, which is not read so",
                word(kind.unwrap_or(SchemaType::None))
            ),
            "without `format` JSON, STRING, AVRO, PROTOBUF_NATIVE and KEY_VALUE are read as what they are; `format: raw` takes all as they are",
        ),
    };
    Err(Error::new("WEIR-PULSAR-007", Kind::Unsupported, what).at(topic.to_string()).hint(hint))
}

#[async_trait]
impl Source for PulsarSource {
    fn capabilities(&self) -> SourceCapabilities {
        match self.options.read_by {
            ReadBy::Position => SourceCapabilities {
                replayable: true,
                replay_note: "pulsar keeps messages at their ids: a second read gives the same ones".into(),
            },
            ReadBy::Subscription => SourceCapabilities {
                replayable: false,
                replay_note: "a subscription gives what was not acknowledged again, in another order".into(),
            },
        }
    }

    fn unbounded(&self) -> bool {
        true
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let mut infos = Vec::new();
        for topic in self.topics().await? {
            let name = topic.stream(self.address.options().namespace());
            let shape = self.shape(&name).await?;
            let partitions = self.partitions(&topic).await?.len();
            let by = match (self.options.read_by, &self.options.subscription_name) {
                (ReadBy::Subscription, Some(name)) => format!("by the subscription `{name}`"),
                _ => "by message id".to_owned(),
            };
            infos.push(StreamInfo {
                name,
                schema: shape.schema.clone(),
                primary_key: Vec::new(),
                estimated_rows: None,
                estimated_bytes: None,
                reading: format!("{partitions} partitions {by}, up to their ends when the run begins"),
            });
        }
        Ok(infos)
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let shape = self.shape(&request.stream).await?;
        let topic = self.address.topic(&request.stream)?;
        let Resumed { view, done, moved } = match &request.resume {
            Some(resume) => self.resumed(&topic, resume, request.unbounded).await?,
            None => {
                let previous = request.previous.clone().filter(|previous| !previous.is_null()).map(View::read).transpose()?;
                let view = self.begin(&topic, previous.as_ref(), request.unbounded).await?;
                Resumed { view, done: Vec::new(), moved: Vec::new() }
            }
        };
        Ok(Box::new(PulsarReader {
            address: self.address.clone(),
            options: self.options.clone(),
            queues: self.queues.clone(),
            shape,
            topic,
            stream: request.stream.clone(),
            verdict: if request.resume.is_some() { ResumeVerdict::Continued } else { ResumeVerdict::Fresh },
            batch_bytes: request.batch_bytes,
            view,
            done,
            moved,
        }))
    }

    /// The payload that was kept, into the columns as they are now.
    async fn redecode(&self, stream: &str, letter: &DeadLetter) -> Result<Vec<Event>> {
        let still = |reason: &str| letters::still(letter, reason);
        if letters::is_cut(letter) {
            return still("only the beginning of the message was kept; correct it at the source and read that again");
        }
        // 026 and 027 are about the schema: the message is whole.
        let about_schema = matches!(letter.code.as_str(), "WEIR-PULSAR-026" | "WEIR-PULSAR-027");
        if letter.code.starts_with("WEIR-PULSAR-02") && !about_schema {
            return still("what was kept is not the whole message as its producer meant it; correct it at the source");
        }
        let kept = [Metadata::Topic, Metadata::Partition, Metadata::MessageId];
        if self.options.metadata.iter().any(|kind| !kept.contains(kind)) {
            return still(
                "of the message only its payload was kept, and the stream has its key, properties or times as columns too",
            );
        }
        let (place, version) = match letter.place.rsplit_once(read::SCHEMA) {
            Some((place, version)) => (place, kept::parsed(version)),
            None => (letter.place.as_str(), None),
        };
        let Some(id) = place.rsplit_once(" message ").and_then(|(_, id)| Id::parse(id).ok()) else {
            return still("the letter does not say which message it was");
        };
        let shape = self.shape(stream).await?;
        if let (Some(schemas), Some(version)) = (&shape.schemas, &version)
            && schemas.known(version).is_none()
        {
            schemas.learn(&self.address, &mut self.address.connect().await?, version).await?;
        }
        if shape.schemas.as_ref().is_some_and(|schemas| schemas.keys_are_apart(version.as_deref())) {
            return still("of the message only its payload was kept, and the stream has its key as columns too");
        }
        let layout = Layout::new(&self.options, self.address.topic(stream)?.to_string(), id.partition);
        let message = Incoming {
            index: id.index,
            last: true,
            key: None,
            properties: Vec::new(),
            publish_time: 0,
            event_time: None,
            producer: String::new(),
            sequence: 0,
            payload: letter.payload.clone(),
            schema: version,
            refusal: None,
        };
        let mut rows = Rows::new(&shape)?;
        if let Err(refusal) = layout.push(&mut rows, id.at, &message) {
            return still(&refusal.reason);
        }
        let source_bytes = letter.payload.len() as u64;
        Ok(vec![Event::Batch(Batch { records: rows.finish()?, position: None, source_bytes })])
    }

    async fn committed(&self, stream: &str, progress: &[SplitProgress]) -> Result<()> {
        let topic = self.address.topic(stream)?;
        for part in progress {
            let view = View::read(part.split.descriptor.clone())?;
            let Some(range) = view.ranges.first() else { continue };
            let name = topic.partition(range.partition);
            match (self.options.read_by, &self.options.subscription_name) {
                (ReadBy::Subscription, _) => {
                    let up_to = part.position.as_ref().map(super::queue::delivery_of).transpose()?;
                    self.queues.durable(&name, up_to.filter(|_| !part.done)).await?;
                }
                (ReadBy::Position, Some(subscription)) => {
                    let done = match &part.position {
                        Some(position) => Some(Place::of(position)?.done()),
                        None => range.end.filter(|_| part.done),
                    };
                    let Some(done) = done.filter(|done| done.is_message()) else { continue };
                    // The checkpoint knows how far we are; the broker only keeps more than it has to.
                    if let Err(error) = self.bookmarks.moved(&self.address, &name, subscription, done).await {
                        tracing::warn!(target: "weir::pulsar", "the subscription `{subscription}` of `{name}` was not moved on; it keeps more than it has to: {error}");
                    }
                }
                (ReadBy::Position, None) => {}
            }
        }
        Ok(())
    }
}

/// An opened topic.
struct PulsarReader {
    address: Address,
    options: Arc<SourceOptions>,
    queues: Arc<Queues>,
    shape: Arc<Shape>,
    topic: Topic,
    stream: String,
    verdict: ResumeVerdict,
    batch_bytes: usize,
    view: View,
    done: Vec<String>,
    moved: Vec<String>,
}

impl PulsarReader {
    fn split(&self, range: &Range) -> Split {
        let descriptor = View { ranges: vec![range.clone()], ..self.view.clone() };
        Split {
            id: range.id(),
            descriptor: serde_json::to_value(descriptor).unwrap_or_default(),
            estimated_rows: None,
            estimated_bytes: None,
        }
    }
}

#[async_trait]
impl StreamReader for PulsarReader {
    fn schema(&self) -> SchemaRef {
        self.shape.schema.clone()
    }

    fn splits(&self) -> Vec<Split> {
        self.view.ranges.iter().filter(|range| !self.done.contains(&range.id())).map(|range| self.split(range)).collect()
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
        let count = self.address.partitions(&self.topic).await?;
        let known: Vec<Option<u32>> = self.view.ranges.iter().map(|range| range.partition).collect();
        let new: Vec<Range> = (0..count)
            .map(Some)
            .filter(|partition| !known.contains(partition))
            .map(|partition| Range { partition, start: Start::Oldest, end: None })
            .collect();
        if let (ReadBy::Position, Some(name)) = (self.options.read_by, &self.options.subscription_name) {
            for range in &new {
                bookmark::place(&self.address, &self.topic.partition(range.partition), name).await?;
            }
        }
        Ok(self.view.ranges.iter().chain(&new).map(|range| self.split(range)).collect())
    }

    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        let view = View::read(split.descriptor.clone())?;
        let Some(range) = view.ranges.into_iter().next() else { return Err(broken(&split.id)) };
        let mut job = Job {
            address: self.address.clone(),
            shape: self.shape.clone(),
            layout: Layout::new(&self.options, self.topic.to_string(), range.partition),
            stream: self.stream.clone(),
            topic: self.topic.partition(range.partition),
            range,
            batch_bytes: self.batch_bytes,
            fetch_bytes: usize::try_from(self.options.fetch_bytes.unwrap_or(16 << 20)).unwrap_or(usize::MAX),
            max_message_bytes: self.options.max_message_bytes(),
            patience: Duration::from_secs(self.options.broker_timeout_secs.unwrap_or(60).max(1)),
        };
        if self.options.read_by == ReadBy::Subscription {
            return self.queues.start(job, &self.options, from).await;
        }
        if self.moved.contains(&split.id) {
            job.range.start = Start::Oldest;
        } else if let Some(from) = from {
            job.range.start = Start::Behind(Place::of(&from)?);
        }
        read::start(job)
    }
}

/// Whether a topic is there that may be read.
pub async fn reachable(address: &Address) -> Result<Option<usize>> {
    match address.topics(address.options().namespace()).await {
        Ok(topics) => {
            Ok(Some(topics.iter().map(|name| without_partition(name).0).collect::<std::collections::BTreeSet<_>>().len()))
        }
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_begins_where_this_one_ends_and_never_before_it_began() {
        let at = |ledger, entry| Entry { ledger, entry };
        let after = |start, end| next(&Range { partition: None, start, end: Some(end) });
        let behind = |ledger, entry| Start::Behind(Place::behind(at(ledger, entry)));
        assert_eq!(after(Start::Oldest, at(4, 7)), behind(4, 7));
        assert_eq!(after(Start::Published(5), at(4, 7)), behind(4, 7));
        assert_eq!(after(behind(4, 2), at(4, 7)), behind(4, 7));
        // All that was there has been deleted.
        assert_eq!(after(behind(4, 2), at(5, -1)), behind(4, 2));
        assert_eq!(after(Start::Oldest, at(-1, -1)), Start::Oldest);
    }

    #[test]
    fn a_schema_that_is_not_read_is_refused_and_not_guessed() {
        let topic = Topic::parse("t", "a/b").unwrap();
        assert!(readable(&topic, SourceFormat::Json, Some(SchemaType::Json)).is_ok());
        assert!(readable(&topic, SourceFormat::Json, None).is_ok());
        assert!(readable(&topic, SourceFormat::Raw, Some(SchemaType::Avro)).is_ok());
        assert!(readable(&topic, SourceFormat::Avro, Some(SchemaType::Avro)).is_ok());
        let error = readable(&topic, SourceFormat::Json, Some(SchemaType::Avro)).unwrap_err();
        assert_eq!(error.code(), "WEIR-PULSAR-007");
        assert!(readable(&topic, SourceFormat::Text, Some(SchemaType::Int32)).is_err());
        assert!(readable(&topic, SourceFormat::Avro, Some(SchemaType::Json)).is_err());
        assert!(readable(&topic, SourceFormat::Avro, None).unwrap_err().to_string().contains("has no schema"));
    }
}
