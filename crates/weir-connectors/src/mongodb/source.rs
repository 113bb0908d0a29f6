//! Reading at once: collections as streams, the plan of splits, and the event stream of one split.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::stream;
use mongodb::Cursor;
use mongodb::bson::{Bson, RawDocumentBuf, doc};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tokio::sync::OnceCell;
use weir_connect::{
    Batch, DeadLetter, Error, Event, EventStream, Kind as ErrorKind, Position, ReadRequest, Result, ResumeVerdict, Source,
    SourceCapabilities, Split, StreamInfo, StreamReader,
};

use super::bson::{Elements, Writer, elements};
use super::client::{Client, Found};
use super::config::{ConnectionOptions, SchemaMode, Shaping, SourceOptions};
use super::errors::shown;
use super::extjson;
use super::kinds::{Kind, Seen};
use super::rows::{EXTRA, ID, Layout, Rows, Shape, Unfit, UnknownKeys};
use super::scan::{self, Bound, Scan};

const SPLIT_DOCUMENTS: u64 = 100_000;
const MOST_SPLITS: u64 = 256;
const BATCH_BYTES: usize = 4 << 20;
const BATCH_ROWS: usize = 65_536;
const STATE_VERSION: u32 = 1;

/// A configured source.
pub struct MongoSource {
    /// Where.
    pub connection: ConnectionOptions,
    /// What.
    pub options: SourceOptions,
    /// Folder of relative paths.
    pub base: PathBuf,
    client: OnceCell<Client>,
}

/// What a later attempt must know.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    version: u32,
    layout: Layout,
    ranges: Vec<Range>,
}

/// One split: bounds of `_id`, the upper one excluded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Range {
    from: Option<Bound>,
    to: Option<Bound>,
}

/// A field whose value cannot be read ends the look at its document; the document becomes a dead letter when it is read.
fn readable(elements: Elements<'_>) -> impl Iterator<Item = (&str, super::bson::Value<'_>)> {
    elements.map_while(std::result::Result::ok)
}

/// The columns that a sample of documents shows: `_id` first, then in the order of appearance.
#[derive(Debug, Default)]
pub struct Sample {
    order: Vec<String>,
    seen: BTreeMap<String, Seen>,
    id: Seen,
}

impl Sample {
    /// Another document.
    pub fn see(&mut self, document: &[u8]) {
        let Ok(elements) = elements(document) else { return };
        for (name, value) in readable(elements) {
            if name == ID {
                // A null key is a value of the key.
                let null = matches!(value, super::bson::Value::Null);
                self.id.see(if null { super::bson::Value::Undefined } else { value });
            } else if let Some(seen) = self.seen.get_mut(name) {
                seen.see(value);
            } else {
                self.order.push(name.to_owned());
                self.seen.entry(name.to_owned()).or_default().see(value);
            }
        }
    }

    /// The columns; declared ones as they are declared.
    pub fn layout(&self, declared: &BTreeMap<String, Kind>) -> Layout {
        let of = |name: &str, inferred: Kind| declared.get(name).copied().unwrap_or(inferred);
        let mut layout = vec![(ID.to_owned(), of(ID, self.id.key_kind()))];
        layout.extend(self.order.iter().map(|name| (name.clone(), of(name, self.seen[name].kind()))));
        let more = declared.iter().filter(|(name, _)| *name != ID && !self.seen.contains_key(*name));
        layout.extend(more.map(|(name, kind)| (name.clone(), *kind)));
        layout
    }
}

/// The shape of a collection, by its options and a sample.
pub async fn shape(client: &Client, collection: &str, shaping: &Shaping, scan: &Scan) -> Result<Shape> {
    if shaping.mode == SchemaMode::Document {
        return Ok(Shape::document());
    }
    let mut sample = Sample::default();
    // The newest and the oldest documents by key: a sample that is the same again while they are.
    let place = format!("{}.{collection}", client.place);
    for (direction, share) in [(1, shaping.sample.div_ceil(2)), (-1, shaping.sample.div_ceil(2))] {
        let source = client.collection(collection);
        let mut find =
            source.find(scan.filter.clone()).limit(i64::try_from(share).unwrap_or(i64::MAX)).sort(doc! { ID: direction });
        if let Some(projection) = &scan.projection {
            find = find.projection(projection.clone());
        }
        let mut cursor = find.await.map_err(|error| shown(error, &place))?;
        while cursor.advance().await.map_err(|error| shown(error, &place))? {
            sample.see(cursor.current().as_bytes());
        }
    }
    let layout = sample.layout(&shaping.declared);
    if layout.iter().any(|(name, _)| name == EXTRA) && shaping.unknown == UnknownKeys::Extra {
        return Err(Error::new(
            "WEIR-MONGO-013",
            ErrorKind::Schema,
            format!("documents have a field `{EXTRA}`, the name of the column for the rest"),
        )
        .at(place)
        .hint("choose `unknown_keys: dead_letter` or `ignore`, or `schema: document`"));
    }
    Ok(Shape::new(layout, shaping.form, shaping.unknown))
}

impl MongoSource {
    /// Connects later.
    pub fn new(connection: ConnectionOptions, options: SourceOptions, base: PathBuf) -> Self {
        Self { connection, options, base, client: OnceCell::new() }
    }

    /// The client, made once.
    pub async fn client(&self) -> Result<&Client> {
        self.client.get_or_try_init(|| Client::open(&self.connection, &self.base)).await
    }

    fn scan(&self) -> Result<Scan> {
        Ok(Scan {
            filter: scan::driver_document(&self.options.filter()?)?,
            projection: self.options.projection()?.map(|bytes| scan::driver_document(&bytes)).transpose()?,
            fetch: self.options.fetch_documents,
            ..Scan::default()
        })
    }

    async fn found(&self, stream: &str) -> Result<Found> {
        let client = self.client().await?;
        let only = super::config::Choice(vec![stream.to_owned()]);
        let found = client.choose(&only, true).await?;
        found.into_iter().find(|found| found.name == stream).ok_or_else(|| {
            Error::new("WEIR-MONGO-005", ErrorKind::NotFound, format!("the collection `{stream}` does not exist (any more)"))
                .at(client.place.clone())
        })
    }

    async fn documents(&self, name: &str) -> Result<u64> {
        let client = self.client().await?;
        client.collection(name).estimated_document_count().await.map_err(|error| shown(error, &client.place))
    }

    fn wanted(&self, documents: u64) -> u64 {
        documents.div_ceil(self.options.split_documents.unwrap_or(SPLIT_DOCUMENTS)).clamp(1, MOST_SPLITS)
    }
}

#[async_trait]
impl Source for MongoSource {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            replayable: true,
            replay_note: "mongodb reads majority-committed documents in the order of `_id` and goes on after the last one; there is no single view: documents that change while they are read appear as they were at their turn".into(),
        }
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let client = self.client().await?;
        let (shaping, scan) = (self.options.shaping()?, self.scan()?);
        let mut infos = Vec::new();
        for found in client.choose(&self.options.choice()?, false).await? {
            let shape = shape(client, &found.name, &shaping, &scan).await?;
            let documents = if found.plain { Some(self.documents(&found.name).await?) } else { None };
            let reading = match (&self.options.cursor, documents) {
                (Some(cursor), _) => format!("from the last {cursor} on; everything on the first run"),
                (None, Some(documents)) => {
                    format!("{} ranges of `_id`, majority-committed; resumes after any document", self.wanted(documents))
                }
                (None, None) => "one split (a view); an interrupted read starts over".into(),
            };
            infos.push(StreamInfo {
                name: found.name,
                schema: shape.schema.clone(),
                primary_key: vec![ID.into()],
                estimated_rows: documents,
                estimated_bytes: None,
                reading,
            });
        }
        Ok(infos)
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let client = self.client().await?;
        let found = self.found(&request.stream).await?;
        let shaping = self.options.shaping()?;
        let mut scan = self.scan()?;
        let clock = client.hello().await?;
        let as_of = match clock.get("localTime") {
            Some(Bson::DateTime(time)) => time.try_to_rfc3339_string().ok(),
            _ => None,
        };
        let state = request.resume.as_ref().map(|resume| serde_json::from_value::<State>(resume.reader_state.clone()));
        let (state, verdict) = match state {
            Some(Ok(state)) if state.version == STATE_VERSION => (Some(state), None),
            Some(_) => (None, Some("the state of the earlier attempt is not readable")),
            None => (None, None),
        };
        let lower = request.cursor.as_ref().and_then(|window| Some((window.column.as_str(), window.lower.as_deref()?)));
        let shape = match &state {
            Some(state) => Shape::new(
                state.layout.clone(),
                if shaping.mode == SchemaMode::Document { extjson::Form::Canonical } else { shaping.form },
                shaping.unknown,
            ),
            None => shape(client, &request.stream, &shaping, &scan).await?,
        };
        if let Some(window) = &request.cursor {
            let kind = shape.layout.iter().find(|(name, _)| *name == window.column).map(|(_, kind)| *kind).ok_or_else(|| {
                Error::new(
                    "WEIR-MONGO-015",
                    ErrorKind::Schema,
                    format!("the cursor `{}` is no column of `{}`", window.column, request.stream),
                )
            })?;
            if let Some((column, lower)) = lower {
                let mut bound = Writer::default();
                scan::cursor_value(&mut bound, "$gte", kind, lower)?;
                let bound = scan::driver_document(&bound.finish())?;
                scan.filter = doc! { "$and": [scan.filter, { column: bound }] };
            }
        }
        scan.limit = request.limit;
        scan.ordered = found.plain && lower.is_none() && request.limit.is_none();
        let ranges = match &state {
            Some(state) => state.ranges.clone(),
            None if scan.ordered => {
                let parts = self.wanted(self.documents(&request.stream).await?);
                let bounds = scan::divide(client, &request.stream, parts).await?;
                let from = std::iter::once(None).chain(bounds.iter().cloned().map(Some));
                let to = bounds.iter().cloned().map(Some).chain(std::iter::once(None));
                from.zip(to).map(|(from, to)| Range { from, to }).collect()
            }
            None => vec![Range::default()],
        };
        let state = State { version: STATE_VERSION, layout: shape.layout.clone(), ranges };
        let progress = request.resume.iter().flat_map(|resume| &resume.progress);
        let done: Vec<&str> = progress.filter(|part| part.done).map(|part| part.split.id.as_str()).collect();
        let splits = state.ranges.iter().enumerate().map(|(at, range)| Split {
            id: at.to_string(),
            descriptor: json!(range),
            estimated_rows: None,
            estimated_bytes: None,
        });
        let splits = splits.filter(|split| verdict.is_some() || !done.contains(&split.id.as_str())).collect();
        let verdict = match (verdict, &request.resume) {
            (Some(reason), _) => ResumeVerdict::StartOver { reason: reason.into() },
            (None, Some(_)) => ResumeVerdict::Continued,
            (None, None) => ResumeVerdict::Fresh,
        };
        let batch_bytes = if request.batch_bytes == 0 { BATCH_BYTES } else { request.batch_bytes };
        Ok(Box::new(Reader {
            client: client.clone(),
            stream: request.stream,
            shape: Arc::new(shape),
            scan,
            state,
            splits,
            verdict,
            as_of,
            batch_bytes,
        }))
    }

    async fn redecode(&self, stream: &str, letter: &DeadLetter) -> Result<Vec<Event>> {
        let client = self.client().await?;
        let shape = Arc::new(shape(client, stream, &self.options.shaping()?, &self.scan()?).await?);
        let document = match std::str::from_utf8(&letter.payload) {
            Ok(text) if letter.media_type == "application/json" => extjson::document(text).map_err(Unfit::from),
            _ => Ok(letter.payload.clone()),
        };
        let mut rows = Rows::new(shape.clone());
        match document.as_ref().map_err(Clone::clone).and_then(|document| shape.row(document)) {
            Ok(cells) => rows.push(cells),
            Err(Unfit { why, .. }) => return Ok(vec![Event::Dead(DeadLetter { reason: why, ..letter.clone() })]),
        }
        let source_bytes = letter.payload.len() as u64;
        Ok(vec![Event::Batch(Batch { records: rows.finish()?.0, position: None, source_bytes })])
    }
}

struct Reader {
    client: Client,
    stream: String,
    shape: Arc<Shape>,
    scan: Scan,
    state: State,
    splits: Vec<Split>,
    verdict: ResumeVerdict,
    as_of: Option<String>,
    batch_bytes: usize,
}

#[async_trait]
impl StreamReader for Reader {
    fn schema(&self) -> SchemaRef {
        self.shape.schema.clone()
    }

    fn splits(&self) -> Vec<Split> {
        self.splits.clone()
    }

    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }

    fn state(&self) -> Json {
        json!(self.state)
    }

    fn as_of(&self) -> Option<String> {
        self.as_of.clone()
    }

    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        let range: Range = serde_json::from_value(split.descriptor.clone())
            .map_err(|error| Error::new("WEIR-MONGO-024", ErrorKind::Data, "a split is not readable").because(error))?;
        let after = match from {
            Some(Json::String(bound)) if self.scan.ordered => Some(bound),
            Some(other) => return Err(Error::new("WEIR-MONGO-024", ErrorKind::Data, format!("`{other}` is no position"))),
            None => None,
        };
        let mut scan = self.scan.clone();
        (scan.from, scan.to) = (after.clone().or(range.from), range.to);
        let cursor = scan::open(&self.client, &self.stream, &scan).await?;
        let lane = Lane {
            cursor,
            after: after.as_deref().map(scan::bound_bytes).transpose()?,
            rows: Rows::new(self.shape.clone()),
            shape: self.shape.clone(),
            stream: self.stream.clone(),
            place: format!("{}.{}", self.client.place, self.stream),
            ordered: scan.ordered,
            batch_bytes: self.batch_bytes,
            ready: Vec::new().into_iter(),
            done: false,
        };
        Ok(Box::pin(stream::try_unfold(lane, |mut lane| async move { Ok(lane.next().await?.map(|event| (event, lane))) })))
    }
}

struct Lane {
    cursor: Cursor<RawDocumentBuf>,
    /// The document that was read last before; met again, it is left out.
    after: Option<Vec<u8>>,
    rows: Rows,
    shape: Arc<Shape>,
    stream: String,
    place: String,
    ordered: bool,
    batch_bytes: usize,
    ready: std::vec::IntoIter<Event>,
    done: bool,
}

impl Lane {
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.next() {
                return Ok(Some(event));
            }
            if self.done {
                return Ok(None);
            }
            let mut events = Vec::new();
            let (mut bytes, mut position) = (0, None);
            while bytes < self.batch_bytes && self.rows.len() < BATCH_ROWS {
                if !self.cursor.advance().await.map_err(|error| shown(error, &self.place))? {
                    self.done = true;
                    break;
                }
                let document = self.cursor.current().as_bytes();
                if self.after.take().is_some_and(|after| scan::is_bound(&after, document)) {
                    continue;
                }
                bytes += document.len();
                match self.shape.row(document) {
                    Ok(cells) => {
                        self.rows.push(cells);
                        if self.ordered {
                            position = scan::bound_of(document).ok().map(Json::String);
                        }
                    }
                    Err(unfit) => events.push(Event::Dead(unfit.letter(&self.stream, document))),
                }
            }
            if !self.rows.is_empty() {
                let (records, _) = self.rows.finish()?;
                events.push(Event::Batch(Batch { records, position, source_bytes: bytes as u64 }));
            }
            self.ready = events.into_iter();
        }
    }
}
