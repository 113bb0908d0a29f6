//! Reading: one stream per endpoint, one split per stream, a resume point after every page.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, Datum, RecordBatch, Scalar, StringArray};
use arrow::compute::kernels::cmp::gt_eq;
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use weir_connect::{
    Batch, DeadLetter, Error, Event, EventStream, Kind, OnLoss, Position, ReadRequest, Result, ResumeVerdict, Source,
    SourceCapabilities, Split, StreamInfo, StreamReader,
};

use super::client::{Client, Pace};
use super::config::{HttpConnection, HttpSourceOptions, Pagination};
use super::decode::{Decoder, Shape, members};
use super::endpoint::Endpoint;
use super::infer::Members;
use super::json::parse;
use super::page::{Bindings, Page, PageState, Pager, Validators, formatted};
use super::poll::{self, Poller};

/// Batch size when the engine has no wish.
const BATCH_BYTES: usize = 4 << 20;
/// Rows per batch at most, so that narrow records do not make huge batches.
const BATCH_ROWS: usize = 64 * 1024;
/// Bytes of a dead record that are kept.
const DEAD_BYTES: usize = 1 << 20;

/// The source over all endpoints of the options.
pub struct HttpSource {
    client: Arc<Client>,
    streams: BTreeMap<String, Arc<Stream>>,
    order: Vec<String>,
    on_loss: OnLoss,
}

/// One endpoint with what is known of it.
pub(super) struct Stream {
    pub endpoint: Arc<Endpoint>,
    pace: Arc<Pace>,
    shape: tokio::sync::Mutex<Option<Arc<Shape>>>,
    /// The earliest moment that the server's clock showed us.
    clock: Mutex<Option<DateTime<Utc>>>,
}

impl HttpSource {
    /// Resolves the options; does not connect.
    pub fn new(connection: &HttpConnection, options: &HttpSourceOptions, on_loss: OnLoss) -> Result<Self> {
        let endpoints = options.resolve(connection)?;
        let order = endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
        let streams = endpoints
            .into_iter()
            .map(|endpoint| {
                let pace = Arc::new(Pace::new(endpoint.rate_limit_per_second));
                let (shape, clock) = (tokio::sync::Mutex::default(), Mutex::default());
                (endpoint.name.clone(), Arc::new(Stream { endpoint: Arc::new(endpoint), pace, shape, clock }))
            })
            .collect();
        Ok(Self { client: Arc::new(Client::new(connection)?), streams, order, on_loss })
    }

    fn stream(&self, name: &str) -> Result<&Arc<Stream>> {
        self.streams.get(name).ok_or_else(|| {
            let what = format!("there is no endpoint `{name}`; there are {}", self.order.join(", "));
            Error::new("WEIR-HTTP-023", Kind::NotFound, what)
        })
    }

    fn pager(&self, stream: &Stream, bindings: Bindings, state: PageState) -> Pager {
        Pager::new(self.client.clone(), stream.pace.clone(), stream.endpoint.clone(), bindings, state)
    }

    /// The fixed shape of a stream: declared columns, and what the first pages show. Inferred once per source.
    async fn shape(&self, stream: &Stream) -> Result<Arc<Shape>> {
        let mut known = stream.shape.lock().await;
        if let Some(shape) = &*known {
            return Ok(shape.clone());
        }
        let endpoint = &stream.endpoint;
        let shared = &endpoint.shared;
        let mut seen = Members::default();
        let mut pager = self.pager(stream, Bindings::default(), PageState::first());
        for _ in 0..shared.sample_pages {
            let Some(page) = pager.next().await? else { break };
            stream.see_clock(page.date);
            for range in &page.records {
                // A record that cannot be read is a dead letter later; it says nothing about the schema.
                let Ok(text) = std::str::from_utf8(&page.body[range.clone()]) else { continue };
                let Ok(record) = parse(text) else { continue };
                seen.see(&members(record, shared.flatten.as_deref()));
            }
        }
        if let Some(separator) = &shared.flatten {
            seen.drop_absent_objects(separator);
        }
        let columns = seen.columns(&endpoint.columns.0);
        if columns.is_empty() {
            let what = format!("`{}` has no records, so its columns are not known", endpoint.name);
            return Err(Error::new("WEIR-HTTP-021", Kind::Schema, what)
                .at(self.client.shown(&endpoint.url))
                .hint("declare them under `columns`"));
        }
        let missing = endpoint.primary_key.iter().find(|key| !columns.iter().any(|(name, _)| name == *key));
        if let Some(key) = missing {
            let what = format!("the primary key column `{key}` of `{}` is not in its records", endpoint.name);
            return Err(Error::new("WEIR-HTTP-022", Kind::Schema, what));
        }
        let shape =
            Arc::new(Shape::new(columns, &endpoint.columns, shared.flatten.clone(), shared.unknown_keys, self.on_loss.clone()));
        *known = Some(shape.clone());
        Ok(shape)
    }
}

impl Stream {
    fn see_clock(&self, date: Option<DateTime<Utc>>) {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if clock.is_none() {
            *clock = date;
        }
    }

    fn filters_itself(&self) -> bool {
        let template = |value: &Value| value.to_string().contains("${cursor}") || value.to_string().contains("${last_run_time}");
        let endpoint = &self.endpoint;
        endpoint.cursor_param.is_some()
            || endpoint.query_params.values().any(template)
            || endpoint.body.as_ref().is_some_and(template)
    }

    fn reading(&self) -> String {
        let how = match &self.endpoint.pagination {
            Pagination::None => "one page",
            Pagination::LinkHeader => "pages by link header, resumable after each",
            Pagination::Page(_) => "pages by number, resumable after each",
            Pagination::Offset(_) => "pages by offset, resumable after each",
            Pagination::Cursor(_) => "pages by token, resumable after each",
            Pagination::NextUrl(_) => "pages by next address, resumable after each",
        };
        match self.endpoint.rate_limit_per_second {
            Some(rate) => format!("{how}, at most {rate} requests per second"),
            None => how.to_owned(),
        }
    }
}

#[async_trait]
impl Source for HttpSource {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            replayable: true,
            replay_note: "an http API gives the same pages again as long as its data does not change between two reads".into(),
        }
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let mut infos = Vec::with_capacity(self.order.len());
        for name in &self.order {
            let stream = &self.streams[name];
            infos.push(StreamInfo {
                name: name.clone(),
                schema: self.shape(stream).await?.schema.clone(),
                primary_key: stream.endpoint.primary_key.clone(),
                estimated_rows: None,
                estimated_bytes: None,
                reading: stream.reading(),
            });
        }
        Ok(infos)
    }

    /// The record that was kept, into the columns as they are now. Paging and bounds have nothing to say about it.
    async fn redecode(&self, stream: &str, letter: &DeadLetter) -> Result<Vec<Event>> {
        let still = |reason: String| Ok(vec![Event::Dead(DeadLetter { reason, ..letter.clone() })]);
        if letter.payload.len() >= DEAD_BYTES {
            return still("only the beginning of the record was kept; correct it at the source and read that again".into());
        }
        let mut decoder = Decoder::new(self.shape(self.stream(stream)?).await?);
        if let Err(why) = decoder.push(&letter.payload) {
            return still(why);
        }
        let source_bytes = letter.payload.len() as u64;
        Ok(vec![Event::Batch(Batch { records: decoder.finish()?, position: None, source_bytes })])
    }

    /// By asking again and again; see [`super::poll`].
    fn unbounded(&self) -> bool {
        true
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let stream = self.stream(&request.stream)?;
        if request.unbounded {
            poll::check(&stream.endpoint)?;
        }
        let shape = self.shape(stream).await?;
        let batch_bytes = if request.batch_bytes == 0 { BATCH_BYTES } else { request.batch_bytes };
        let asking = Asking { client: self.client.clone(), stream: stream.clone(), shape: shape.clone(), batch_bytes };
        if request.unbounded {
            let verdict = if request.resume.is_some() { ResumeVerdict::Continued } else { ResumeVerdict::Fresh };
            return Ok(Box::new(Poller { asking, verdict }));
        }
        let shared = &stream.endpoint.shared;
        let mut lower = None;
        let mut filter = None;
        if let Some(window) = &request.cursor {
            let known = shape.schema.field_with_name(&window.column);
            if known.is_err() {
                let what = format!("the cursor column `{}` is not in the records of `{}`", window.column, request.stream);
                return Err(Error::new("WEIR-HTTP-022", Kind::Schema, what));
            }
            lower = window.lower.as_ref().map(|lower| formatted(lower, shared.cursor_format)).transpose()?;
            if !stream.filters_itself() {
                filter = window.lower.clone().map(|lower| (window.column.clone(), lower));
            }
        }
        let bindings =
            Bindings { cursor: lower.or_else(|| shared.cursor_initial.clone()), last_run_time: request.last_run_time.clone() };
        // What must be the same for a resume to go on where the first attempt was.
        let columns: Vec<String> = shape.columns.iter().map(|(name, column)| format!("{name} {column}")).collect();
        let fingerprint = json!({"columns": columns, "cursor": bindings.cursor, "last_run_time": bindings.last_run_time});
        let mut verdict = ResumeVerdict::Fresh;
        let mut done = false;
        let mut as_of = None;
        if let Some(resume) = &request.resume {
            if resume.reader_state["read"] == fingerprint {
                verdict = ResumeVerdict::Continued;
                done = resume.progress.iter().any(|progress| progress.done);
                as_of = resume.reader_state["as_of"].as_str().map(str::to_owned);
            } else {
                let reason = format!("the columns or the bounds of `{}` are not those of the first attempt", request.stream);
                verdict = ResumeVerdict::StartOver { reason };
            }
        }
        let split = Split {
            id: "pages".into(),
            descriptor: json!({"stream": request.stream}),
            estimated_rows: None,
            estimated_bytes: None,
        };
        Ok(Box::new(HttpReader {
            asking,
            bindings,
            filter,
            verdict,
            fingerprint,
            as_of,
            opened: Utc::now(),
            splits: if done { Vec::new() } else { vec![split] },
            limit: request.limit,
        }))
    }
}

/// What every reading of a stream needs.
#[derive(Clone)]
pub(super) struct Asking {
    pub client: Arc<Client>,
    pub stream: Arc<Stream>,
    pub shape: Arc<Shape>,
    pub batch_bytes: usize,
}

impl Asking {
    /// Pages from a state on, `left` rows of them at most.
    pub fn reading(&self, bindings: Bindings, filter: Option<(String, String)>, state: PageState, left: u64) -> Reading {
        let Self { client, stream, shape, batch_bytes } = self;
        Reading {
            pager: Pager::new(client.clone(), stream.pace.clone(), stream.endpoint.clone(), bindings, state),
            stream: stream.clone(),
            place: client.shown(&stream.endpoint.url),
            decoder: Decoder::new(shape.clone()),
            filter,
            batch_bytes: *batch_bytes,
            left,
            page: None,
            ready: VecDeque::new(),
            whole: None,
            same: false,
        }
    }
}

struct HttpReader {
    asking: Asking,
    bindings: Bindings,
    filter: Option<(String, String)>,
    verdict: ResumeVerdict,
    fingerprint: Value,
    as_of: Option<String>,
    opened: DateTime<Utc>,
    splits: Vec<Split>,
    limit: Option<u64>,
}

#[async_trait]
impl StreamReader for HttpReader {
    fn schema(&self) -> SchemaRef {
        self.asking.shape.schema.clone()
    }

    fn splits(&self) -> Vec<Split> {
        self.splits.clone()
    }

    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }

    fn state(&self) -> Value {
        json!({"version": 1, "read": self.fingerprint, "as_of": self.as_of()})
    }

    /// The server's clock at the first response, which was before any record was read; ours if it does not tell.
    fn as_of(&self) -> Option<String> {
        let seen = *self.asking.stream.clock.lock().unwrap_or_else(PoisonError::into_inner);
        Some(self.as_of.clone().unwrap_or_else(|| seen.unwrap_or(self.opened).to_rfc3339_opts(SecondsFormat::AutoSi, true)))
    }

    async fn read(&self, _split: &Split, from: Option<Position>) -> Result<EventStream> {
        let state = match from {
            None => PageState::first(),
            Some(position) => serde_json::from_value(position).map_err(|error| {
                Error::new("WEIR-HTTP-024", Kind::Conflict, "the saved position is not one of this connector").because(error)
            })?,
        };
        let left = self.limit.unwrap_or(u64::MAX);
        let reading = self.asking.reading(self.bindings.clone(), self.filter.clone(), state, left);
        let events =
            stream::try_unfold(reading, |mut reading| async move { Ok(reading.next().await?.map(|event| (event, reading))) });
        Ok(events.boxed())
    }
}

/// Pages on their way.
pub(super) struct Reading {
    pager: Pager,
    stream: Arc<Stream>,
    place: String,
    decoder: Decoder,
    filter: Option<(String, String)>,
    batch_bytes: usize,
    left: u64,
    page: Option<OpenPage>,
    ready: VecDeque<Event>,
    /// Hash of a page that is known; see [`Reading::unless`].
    whole: Option<u64>,
    same: bool,
}

struct OpenPage {
    body: Bytes,
    records: std::vec::IntoIter<Range<usize>>,
    after: PageState,
    number: u64,
    record: u64,
    wire_bytes: u64,
    /// Something of it was given.
    gave: bool,
}

impl Reading {
    /// The first page is wanted only if it is another version than this, or, if its server tells no versions, has another hash than `whole`.
    pub fn unless(&mut self, whole: Option<u64>, known: Validators) {
        self.whole = whole;
        self.pager.unless(known);
    }

    /// There was nothing but what is known.
    pub fn unchanged(&self) -> bool {
        self.same || self.pager.unchanged()
    }

    /// The page behind.
    pub fn state(&self) -> &PageState {
        self.pager.state()
    }

    /// The version of the last answer.
    pub fn validators(&self) -> &Validators {
        self.pager.validators()
    }

    /// The next event; `None` after the last page.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.page.is_none() {
                if self.left == 0 {
                    return Ok(None);
                }
                let Some(page) = self.pager.next().await? else { return Ok(None) };
                self.stream.see_clock(page.date);
                if self.whole.is_some() && page.after.last == self.whole {
                    self.same = true;
                    return Ok(None);
                }
                self.page = Some(OpenPage::new(page));
            }
            self.decode()?;
        }
    }

    /// Decodes the next batch of the open page. The last batch of a page carries the position after it.
    fn decode(&mut self) -> Result<()> {
        let Some(page) = &mut self.page else { return Ok(()) };
        let mut rows = 0;
        for range in page.records.by_ref() {
            page.record += 1;
            rows += 1;
            let bytes = &page.body[range];
            if let Err(why) = self.decoder.push(bytes) {
                page.gave = true;
                self.ready.push_back(Event::Dead(DeadLetter {
                    stream: self.stream.endpoint.name.clone(),
                    code: "WEIR-HTTP-030".into(),
                    reason: why,
                    place: format!("{} page {} record {}", self.place, page.number, page.record),
                    payload: bytes[..bytes.len().min(DEAD_BYTES)].to_vec(),
                    media_type: "application/json".into(),
                }));
            }
            if self.decoder.bytes() >= self.batch_bytes || rows >= BATCH_ROWS {
                break;
            }
        }
        let ends = page.records.as_slice().is_empty();
        let position = if ends {
            Some(serde_json::to_value(&page.after).map_err(|error| Error::internal("a position").because(error))?)
        } else {
            None
        };
        let wire_bytes = if ends { page.wire_bytes } else { 0 };
        let records = at_or_above(self.decoder.finish()?, self.filter.as_ref())?;
        page.gave |= records.num_rows() > 0;
        let gave = page.gave;
        if ends {
            self.page = None;
        }
        self.left = self.left.saturating_sub(records.num_rows() as u64);
        // An empty batch is worth sending only to mark that what was given of the page is behind us.
        if records.num_rows() > 0 || (ends && gave) {
            self.ready.push_back(Event::Batch(Batch { records, position, source_bytes: wire_bytes }));
        }
        Ok(())
    }
}

impl OpenPage {
    fn new(page: Page) -> Self {
        Self {
            body: page.body,
            records: page.records.into_iter(),
            after: page.after,
            number: page.number,
            record: 0,
            wire_bytes: page.wire_bytes,
            gave: false,
        }
    }
}

/// The rows whose cursor is at or above the bound; for APIs that cannot filter.
fn at_or_above(records: RecordBatch, filter: Option<&(String, String)>) -> Result<RecordBatch> {
    let Some((column, lower)) = filter else { return Ok(records) };
    let wrong = |error: arrow::error::ArrowError| {
        let what = format!("the saved cursor value `{lower}` cannot be compared with column `{column}`");
        Error::new("WEIR-HTTP-025", Kind::Conflict, what).because(error).hint("reset the state of this stream: weir state reset")
    };
    let Some(values) = records.column_by_name(column) else { return Ok(records) };
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let bound = cast_with_options(&StringArray::from(vec![lower.as_str()]), values.data_type(), &strict).map_err(wrong)?;
    let bound = Scalar::new(bound);
    let keep = gt_eq(&values as &dyn Datum, &bound).map_err(wrong)?;
    filter_record_batch(&records, &keep).map_err(wrong)
}
