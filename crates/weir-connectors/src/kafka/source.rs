//! Reading: a stream per topic, a split per partition, a position after every batch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::{Offset, Timestamp, TopicPartitionList};
use serde_json::Value;
use weir_connect::{
    Batch, DeadLetter, Edge, Error, Event, EventStream, Kind, Position, ReadRequest, Result, Resume, ResumeVerdict, Source,
    SourceCapabilities, Split, SplitProgress, StreamInfo, StreamReader,
};
use weir_formats::debezium::Opener;

use super::asking::Asking;
use super::client::{Address, Reading, blocking};
use super::config::{Isolation, KeyFormat, Metadata, SourceFormat, SourceOptions, whole};
use super::errors::shown;
use super::lag::Lags;
use super::offsets::{self, Range, View};
use super::read::{self, Job};
use super::registry::frame;
use super::registry::incoming::Incoming;
use super::rows::{OP, Rows, Shape, TOMBSTONE};
use super::topics;
use crate::messages::{self, Payload, letters};

/// A configured source.
pub struct KafkaSource {
    address: Address,
    options: SourceOptions,
    /// By topic, once looked at.
    shapes: tokio::sync::Mutex<BTreeMap<String, Arc<Shape>>>,
    /// The consumer that commits, once it was needed.
    committer: Arc<Mutex<Option<Reading>>>,
    asking: Asking,
}

impl KafkaSource {
    /// Connects later.
    pub fn new(address: Address, options: SourceOptions) -> Self {
        Self { address, options, shapes: tokio::sync::Mutex::default(), committer: Arc::default(), asking: Asking::default() }
    }

    fn consumer(&self, bytes: u64) -> Result<Reading> {
        self.address.consumer(self.options.group.as_deref(), self.options.isolation, bytes)
    }

    /// Asks the brokers.
    async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&Reading) -> Result<T> + Send + 'static) -> Result<T> {
        self.asking.ask(|| self.consumer(1 << 20), question).await
    }

    /// The topics that the options choose.
    async fn topics(&self) -> Result<Vec<String>> {
        let named = self.options.named();
        let address = self.address.clone();
        if !named.is_empty() {
            let all_there = move |consumer: &Reading| {
                for topic in &named {
                    address.partitions(consumer, topic)?;
                }
                Ok(named)
            };
            return self.ask(all_there).await;
        }
        let all = self.ask(move |consumer| topics::names(&address, consumer)).await?;
        let Some(pattern) = &self.options.topic_pattern else { return Ok(all) };
        let pattern = whole(pattern)?;
        let matching: Vec<String> = all.into_iter().filter(|name| pattern.is_match(name)).collect();
        if matching.is_empty() {
            let what = format!("no topic matches `{}`", self.options.topic_pattern.as_deref().unwrap_or_default());
            return Err(Error::new("WEIR-KAFKA-005", Kind::NotFound, what).at(self.address.place()));
        }
        Ok(matching)
    }

    async fn shape(&self, topic: &str) -> Result<Arc<Shape>> {
        let mut known = self.shapes.lock().await;
        if let Some(shape) = known.get(topic) {
            return Ok(shape.clone());
        }
        let one = |data_type, source: &str| {
            Arc::new(Schema::new(vec![Edge::Exact.record(Field::new("value", data_type, false), source)]))
        };
        let mut registered = None;
        let value = match self.options.format {
            SourceFormat::Text => one(DataType::Utf8, "text"),
            SourceFormat::Raw => one(DataType::Binary, "bytes"),
            SourceFormat::Json => self.json_columns(topic).await?,
            SourceFormat::DebeziumJson => {
                let row = self.json_columns(topic).await?;
                let mut fields: Vec<Field> = row.fields().iter().map(|field| field.as_ref().clone()).collect();
                fields.push(Edge::Exact.record(Field::new(OP, DataType::Utf8, false), "op"));
                Arc::new(Schema::new(fields))
            }
            SourceFormat::Csv => self.options.csv.schema(self.options.declared()?.as_ref())?,
            SourceFormat::Avro | SourceFormat::Protobuf | SourceFormat::JsonSchema => {
                let schemas = self.registered(topic).await?;
                let columns = schemas.columns().clone();
                registered = Some(Arc::new(schemas));
                columns
            }
        };
        let shape = Arc::new(Shape::new(value, &self.options, registered)?);
        known.insert(topic.to_owned(), shape.clone());
        Ok(shape)
    }

    /// The schemas of a topic whose values are registered.
    async fn registered(&self, topic: &str) -> Result<Incoming> {
        let options = &self.options;
        let kind = options.format.registered().ok_or_else(|| Error::internal("a format without schemas"))?;
        let record = options.record_name.clone();
        let subject = match &options.subject {
            Some(subject) => subject.clone(),
            None => options.subject_name_strategy.subject(topic, record.as_deref().unwrap_or_default()),
        };
        let registry = self.address.registry()?;
        let latest = registry.latest(&subject).await?;
        let mut sampled = None;
        if latest.is_none() {
            let (address, consumer, name) = (self.address.clone(), self.consumer(8 << 20)?, topic.to_owned());
            let values = blocking(move || sample(&address, &consumer, &name, 1)).await?;
            // The latest number that is there.
            sampled = values.iter().filter_map(|value| frame(value).ok()).map(|(id, _)| id).max();
        }
        let schemas = Incoming::new(registry, kind, &subject, record, latest, sampled).await;
        schemas.map_err(|error| error.at(format!("topic `{topic}`")))
    }

    async fn json_columns(&self, topic: &str) -> Result<SchemaRef> {
        let declared = self.options.declared()?;
        if let (true, Some(declared)) = (self.options.only_columns, &declared) {
            return Ok(declared.clone());
        }
        let (address, consumer, name) = (self.address.clone(), self.consumer(8 << 20)?, topic.to_owned());
        let wanted = self.options.sample_records.unwrap_or(1000).clamp(1, 1_000_000);
        let envelopes = self.options.format == SourceFormat::DebeziumJson;
        let (mut opener, mut rows) = (Opener::default(), Vec::<bytes::Bytes>::new());
        for value in blocking(move || sample(&address, &consumer, &name, wanted)).await? {
            if !envelopes {
                rows.push(value.into());
            } else if let Ok(change) = opener.open(&value, self.options.json.max_depth) {
                rows.push(change.row.to_vec().into());
            }
            // What is no envelope will be a dead letter; it says nothing of the columns.
        }
        let payload = Payload { declared, json: self.options.json.clone(), ..Payload::default() };
        Ok(messages::Shape::of(payload, Vec::new(), &rows, topic).await?.value)
    }
}

/// The values of the latest records, about so many over all partitions and one of each that has any.
fn sample(address: &Address, consumer: &Reading, topic: &str, wanted: u64) -> Result<Vec<Vec<u8>>> {
    /// Enough to know types by.
    const BYTES: usize = 8 << 20;
    let partitions = address.partitions(consumer, topic)?;
    let most = wanted.saturating_add(partitions.len() as u64);
    let share = i64::try_from(wanted.div_ceil(partitions.len().max(1) as u64)).unwrap_or(i64::MAX).max(1);
    let mut assignment = TopicPartitionList::new();
    let mut open = 0;
    for partition in partitions {
        let (low, high) = address.bounds(consumer, topic, partition)?;
        if high > low {
            open += 1;
            assignment
                .add_partition_offset(topic, partition, Offset::Offset(high.saturating_sub(share).max(low)))
                .map_err(|error| shown(&error, topic))?;
        }
    }
    let (mut values, mut bytes) = (Vec::new(), 0);
    if open == 0 {
        return Ok(values);
    }
    consumer.assign(&assignment).map_err(|error| shown(&error, topic))?;
    let end = std::time::Instant::now() + address.patience();
    while open > 0 && bytes < BYTES && (values.len() as u64) < most && std::time::Instant::now() < end {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                let Some(payload) = message.payload() else { continue };
                bytes += payload.len();
                values.push(payload.to_vec());
            }
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(super::errors::passes) => {}
            Some(Err(error)) => return Err(shown(&error, topic)),
            None => {}
        }
    }
    consumer.unassign().map_err(|error| shown(&error, topic))?;
    Ok(values)
}

#[async_trait]
impl Source for KafkaSource {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            replayable: true,
            replay_note: match self.options.isolation {
                Isolation::ReadCommitted => "kafka keeps records at their offsets: a second read gives the same ones".into(),
                Isolation::ReadUncommitted => "kafka keeps records at their offsets, those of aborted transactions too".into(),
            },
        }
    }

    fn unbounded(&self) -> bool {
        true
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let mut infos = Vec::new();
        for topic in self.topics().await? {
            let shape = self.shape(&topic).await?;
            let (address, name) = (self.address.clone(), topic.clone());
            let count = move |consumer: &Reading| {
                let partitions = address.partitions(consumer, &name)?;
                let mut records = 0;
                for &partition in &partitions {
                    let (low, high) = address.bounds(consumer, &name, partition)?;
                    records += u64::try_from(high - low).unwrap_or(0);
                }
                Ok((partitions.len(), records))
            };
            let (partitions, records) = self.ask(count).await?;
            infos.push(StreamInfo {
                name: topic,
                schema: shape.schema.clone(),
                primary_key: Vec::new(),
                estimated_rows: Some(records),
                estimated_bytes: None,
                reading: format!(
                    "{partitions} partitions by offset: a batch run up to their ends when it begins, a stream without end"
                ),
            });
        }
        Ok(infos)
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let shape = self.shape(&request.stream).await?;
        let (address, options) = (self.address.clone(), self.options.clone());
        let topic = request.stream.clone();
        let resume = request.resume.clone();
        let previous = request.previous.clone().filter(|previous| !previous.is_null());
        let unbounded = request.unbounded;
        let begin = move |consumer: &Reading| {
            let Some(resume) = resume else {
                let previous = previous.map(read_view).transpose()?;
                let view = offsets::begin(&address, consumer, &topic, &options, previous.as_ref(), unbounded)?;
                return Ok((view, BTreeMap::new(), Vec::new()));
            };
            let mut view = resumed(&resume, &topic)?;
            let (mut next, mut done) = (BTreeMap::new(), Vec::new());
            for range in &view.ranges {
                next.insert(range.partition, range.start);
            }
            for part in &resume.progress {
                let partition: i32 = part.split.id.parse().map_err(|_| broken(&part.split.id))?;
                if part.done {
                    done.push(partition);
                    next.remove(&partition);
                } else if let Some(position) = &part.position {
                    next.insert(partition, offset_of(position)?);
                }
            }
            let moved = offsets::check(&address, consumer, &view, &next, options.on_data_loss)?;
            if unbounded {
                let known: Vec<i32> = view.ranges.iter().map(|range| range.partition).collect();
                view.ranges.extend(new_partitions(&address, consumer, &topic, &known)?);
            }
            Ok((view, moved, done))
        };
        let (view, moved, done) = self.ask(begin).await?;
        Ok(Box::new(KafkaReader {
            address: self.address.clone(),
            options: self.options.clone(),
            shape,
            stream: request.stream.clone(),
            verdict: if request.resume.is_some() { ResumeVerdict::Continued } else { ResumeVerdict::Fresh },
            batch_bytes: request.batch_bytes,
            view,
            moved,
            done,
            lags: Arc::default(),
            asking: self.asking.clone(),
        }))
    }

    /// The value that was kept, into the columns as they are now.
    async fn redecode(&self, stream: &str, letter: &DeadLetter) -> Result<Vec<Event>> {
        let still = |reason: &str| letters::still(letter, reason);
        if letters::is_cut(letter) {
            return still("only the beginning of the record was kept; correct it at the source and read that again");
        }
        let kept = [Metadata::Topic, Metadata::Partition, Metadata::Offset];
        if self.options.key_format == KeyFormat::Json || self.options.metadata.iter().any(|kind| !kept.contains(kind)) {
            return still("of the record only its value was kept, and the stream has its key, headers or time as columns too");
        }
        let Some((partition, offset)) = read::place_of(stream, &letter.place) else {
            return still("the record does not say which partition and offset it came from");
        };
        let value = (letter.code != TOMBSTONE).then(|| letter.payload.clone());
        let record = OwnedMessage::new(value, None, stream.to_owned(), Timestamp::NotAvailable, partition, offset, None);
        let shape = self.shape(stream).await?;
        if let Some(schemas) = &shape.registered
            && let Ok((id, _)) = frame(&letter.payload)
            && schemas.known(id).is_none()
        {
            schemas.learn(id).await?;
        }
        let mut rows = Rows::new(&shape)?;
        if let Err(refusal) = rows.push(&record) {
            return still(&refusal.reason);
        }
        let source_bytes = letter.payload.len() as u64;
        Ok(vec![Event::Batch(Batch { records: rows.finish()?, position: None, source_bytes })])
    }

    /// For tools that show how far behind a group is; what a run goes on from is in the checkpoint.
    async fn committed(&self, stream: &str, progress: &[SplitProgress]) -> Result<()> {
        let Some(group) = self.options.group.clone() else { return Ok(()) };
        let mut list = TopicPartitionList::new();
        for part in progress {
            let view = read_view(part.split.descriptor.clone())?;
            let Some(range) = view.ranges.first() else { continue };
            let offset = match &part.position {
                Some(position) => Some(offset_of(position)?),
                None => range.end.filter(|_| part.done),
            };
            if let Some(offset) = offset {
                list.add_partition_offset(stream, range.partition, Offset::Offset(offset))
                    .map_err(|error| shown(&error, stream))?;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        let (address, isolation, committer) = (self.address.clone(), self.options.isolation, self.committer.clone());
        let told = blocking(move || {
            let mut committer = committer.lock().unwrap_or_else(PoisonError::into_inner);
            let consumer = match committer.take() {
                Some(consumer) => consumer,
                None => address.consumer(Some(&group), isolation, 1 << 20)?,
            };
            let told = consumer.commit(&list, CommitMode::Sync).map_err(|error| shown(&error, &group));
            *committer = Some(consumer);
            told
        })
        .await;
        if let Err(error) = told {
            tracing::warn!(target: "weir::kafka", "the offsets of `{stream}` were not committed to the group, whose lag looks larger than it is: {error}");
        }
        Ok(())
    }
}

fn read_view(value: Value) -> Result<View> {
    let view: View = serde_json::from_value(value)
        .map_err(|error| Error::new("WEIR-KAFKA-011", Kind::Conflict, "the state of the source cannot be read").because(error))?;
    if view.version != 1 {
        return Err(Error::new("WEIR-KAFKA-011", Kind::Conflict, "the state of the source is of a later version of Weir"));
    }
    Ok(view)
}

fn broken(id: &str) -> Error {
    Error::new("WEIR-KAFKA-011", Kind::Conflict, format!("`{id}` is no partition"))
        .hint("the state belongs to another source: `weir state reset`")
}

fn offset_of(position: &Position) -> Result<i64> {
    position.get("offset").and_then(Value::as_i64).ok_or_else(|| broken(&position.to_string()))
}

/// What the interrupted attempt was reading: as its reader said, and with what each split says of itself.
fn resumed(resume: &Resume, topic: &str) -> Result<View> {
    let mut view = match &resume.reader_state {
        Value::Null => View { version: 1, topic: topic.to_owned(), topic_id: None, ranges: Vec::new() },
        state => read_view(state.clone())?,
    };
    for part in &resume.progress {
        let split = read_view(part.split.descriptor.clone())?;
        if split.topic != topic {
            return Err(broken(&split.topic));
        }
        view.topic_id = view.topic_id.or(split.topic_id);
        for range in split.ranges {
            match view.ranges.iter_mut().find(|known| known.partition == range.partition) {
                Some(known) => *known = range,
                None => view.ranges.push(range),
            }
        }
    }
    view.ranges.sort_unstable_by_key(|range| range.partition);
    Ok(view)
}

/// Partitions that nothing is known of: from their first record, without end.
fn new_partitions(address: &Address, consumer: &Reading, topic: &str, known: &[i32]) -> Result<Vec<Range>> {
    let mut ranges = Vec::new();
    for partition in address.partitions(consumer, topic)? {
        if !known.contains(&partition) {
            let (start, _) = address.bounds(consumer, topic, partition)?;
            ranges.push(Range { partition, start, end: None });
        }
    }
    Ok(ranges)
}

/// An opened topic.
struct KafkaReader {
    address: Address,
    options: SourceOptions,
    shape: Arc<Shape>,
    stream: String,
    verdict: ResumeVerdict,
    batch_bytes: usize,
    view: View,
    /// Partitions whose next records are gone, with where they go on.
    moved: BTreeMap<i32, i64>,
    done: Vec<i32>,
    lags: Arc<Lags>,
    asking: Asking,
}

impl KafkaReader {
    fn split(&self, range: &Range) -> Split {
        let descriptor = View { ranges: vec![range.clone()], ..self.view.clone() };
        Split {
            id: range.partition.to_string(),
            descriptor: serde_json::to_value(descriptor).unwrap_or_default(),
            estimated_rows: range.end.and_then(|end| u64::try_from(end - range.start).ok()),
            estimated_bytes: None,
        }
    }
}

#[async_trait]
impl StreamReader for KafkaReader {
    fn schema(&self) -> SchemaRef {
        self.shape.schema.clone()
    }

    fn splits(&self) -> Vec<Split> {
        let mut ranges: Vec<&Range> = self.view.ranges.iter().filter(|range| !self.done.contains(&range.partition)).collect();
        ranges.sort_by_key(|range| std::cmp::Reverse(range.end.unwrap_or(range.start) - range.start));
        ranges.into_iter().map(|range| self.split(range)).collect()
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
        let client = || self.address.consumer(self.options.group.as_deref(), self.options.isolation, 1 << 20);
        let (address, topic) = (self.address.clone(), self.view.topic.clone());
        let known: Vec<i32> = self.view.ranges.iter().map(|range| range.partition).collect();
        let lags = self.lags.clone();
        let find = move |consumer: &Reading| {
            let new = new_partitions(&address, consumer, &topic, &known)?;
            lags.ask(consumer, &topic);
            Ok(new)
        };
        let new = self.asking.ask(client, find).await?;
        Ok(self.view.ranges.iter().chain(&new).map(|range| self.split(range)).collect())
    }

    fn lags(&self) -> Vec<(String, u64)> {
        self.lags.told()
    }

    fn lag_ms(&self) -> Option<u64> {
        self.lags.told_ms(std::time::Instant::now())
    }

    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        let view = read_view(split.descriptor.clone())?;
        let Some(range) = view.ranges.first() else { return Err(broken(&split.id)) };
        let start = match (self.moved.get(&range.partition), &from) {
            (Some(moved), _) => *moved,
            (None, Some(position)) => offset_of(position)?,
            (None, None) => range.start,
        };
        let bytes = self.options.fetch_bytes.unwrap_or(32 << 20);
        let consumer = self.address.consumer(self.options.group.as_deref(), self.options.isolation, bytes)?;
        read::start(
            consumer,
            Job {
                shape: self.shape.clone(),
                stream: self.stream.clone(),
                topic: view.topic,
                partition: range.partition,
                start,
                end: range.end,
                batch_bytes: self.batch_bytes,
                lags: self.lags.clone(),
                runtime: tokio::runtime::Handle::current(),
            },
        )
    }
}
