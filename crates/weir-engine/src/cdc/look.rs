//! Looking at journals from outside, also while a run writes them. Nothing is changed.
//!
//! Only what stands before the last whole boundary is shown: the rest may still be cut off. A segment that a run deletes while it is looked at
//! is left out from there on.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use weir_connect::Op;
use weir_error::{Error, Kind, Result};
use weir_spec::{Pipeline, Role};

use super::applier;
use super::codec::{self, Mark, Outline, Record};
use super::hold::{HeldStream, held_in};
use super::journal::{self, JournalPlace, Journals, SegmentFile, SegmentRecords};
use super::segments::begin;
use crate::run::going_on;
use crate::store::{FlowPlace, StateStore, Wanted};

/// One segment, as far as it is whole.
#[derive(Debug, Clone, Serialize)]
pub struct SegmentView {
    /// The file's name.
    pub file: String,
    /// The boundary before it.
    pub after: u64,
    /// Its last boundary.
    pub last: u64,
    /// On disk.
    pub bytes: u64,
    /// Changes in it.
    pub changes: u64,
    /// Commit time of its last transaction, microseconds since 1970.
    pub committed_at_us: Option<i64>,
}

/// What the journal holds of one stream.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StreamCount {
    /// The stream.
    pub stream: String,
    /// Rows that were created.
    pub creates: u64,
    /// Rows that were updated.
    pub updates: u64,
    /// Rows that were deleted.
    pub deletes: u64,
    /// Rows of the snapshot.
    pub reads: u64,
    /// How often the table was emptied.
    pub truncates: u64,
    /// Shapes that it got.
    pub shapes: u64,
    /// Records that could not be decoded.
    pub dead: u64,
}

/// How far one sink is.
#[derive(Debug, Clone, Serialize)]
pub struct SinkView {
    /// The sink node.
    pub sink: String,
    /// The boundary that is durable in all of its streams but those of `held`, by its last checkpoint; some may be further. `None`: it has nothing yet.
    pub seq: Option<u64>,
    /// Boundaries that it lacks.
    pub behind: u64,
    /// Streams of it that wait for an approval.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldStream>,
}

/// One journal.
#[derive(Debug, Clone, Serialize)]
pub struct JournalView {
    /// The source node.
    pub source: String,
    /// Where it is.
    pub folder: String,
    /// It holds what comes after this boundary.
    pub first: u64,
    /// The last boundary.
    pub last: u64,
    /// Where the source goes on after that.
    pub position: Value,
    /// On disk.
    pub bytes: u64,
    /// In order.
    pub segments: Vec<SegmentView>,
    /// By name.
    pub streams: Vec<StreamCount>,
    /// In the order of the pipeline file.
    pub sinks: Vec<SinkView>,
}

/// All journals of a pipeline.
#[derive(Debug, Clone, Serialize)]
pub struct PipelineJournals {
    /// A run is going on: what is shown is already the past.
    pub running: bool,
    /// One per source node that has one.
    pub journals: Vec<JournalView>,
}

/// One segment, by its name.
#[derive(Debug, Clone, Serialize)]
pub struct SegmentSize {
    /// The boundary before it.
    pub after: u64,
    /// On disk.
    pub bytes: u64,
}

/// What is told of one log without reading its journal through.
#[derive(Debug, Clone, Serialize)]
pub struct LogView {
    /// The source node.
    pub source: String,
    /// What of the journal can be seen from here; `None`: it is on another machine.
    pub journal: Option<JournalSize>,
    /// In the order of the pipeline file.
    pub sinks: Vec<SinkView>,
    /// What was asked of the log and is still to be carried out.
    pub asked: Vec<Wanted>,
}

/// See [`LogView`].
#[derive(Debug, Clone, Serialize)]
pub struct JournalSize {
    /// It holds what comes after this boundary.
    pub first: u64,
    /// The last boundary.
    pub last: u64,
    /// On disk.
    pub bytes: u64,
    /// In order.
    pub segments: Vec<SegmentSize>,
}

/// The journals of a pipeline, with their counts: all of them is read.
pub async fn journals(at: impl Into<Journals>, pipeline: &Pipeline) -> Result<PipelineJournals> {
    let at = at.into();
    let store = at.store().await?;
    let mut found = Vec::new();
    for (node, place) in places(&at, pipeline).await? {
        let mut view = scan(&node, &place, journal::segments_in(&place).await?).await?;
        view.sinks = sinks(&store, pipeline, &node, Some(view.last)).await?;
        found.push(view);
    }
    // A run that was killed did not say so.
    let running = store.unfinished(&pipeline.name).await?.is_some() && going_on(at.state(), &pipeline.name);
    Ok(PipelineJournals { running, journals: found })
}

/// The logs of a pipeline that have begun. Of each journal the last segment is read.
pub async fn logs(at: impl Into<Journals>, pipeline: &Pipeline) -> Result<Vec<LogView>> {
    let at = at.into();
    let store = at.store().await?;
    let mut found = Vec::new();
    for node in pipeline.of(Role::Source) {
        let place = at.place(&pipeline.name, &node.name);
        let segments = if place.exists().await? { journal::segments_in(&place).await? } else { Vec::new() };
        let sizes: Vec<SegmentSize> =
            segments.iter().map(|segment| SegmentSize { after: segment.after, bytes: segment.bytes }).collect();
        let end = scan(&node.name, &place, segments.into_iter().next_back().into_iter().collect()).await?;
        let journal = sizes.first().map(|first| JournalSize {
            first: first.after,
            last: end.last.max(sizes.last().map_or(0, |last| last.after)),
            bytes: sizes.iter().map(|segment| segment.bytes).sum(),
            segments: sizes.clone(),
        });
        let sinks = sinks(&store, pipeline, &node.name, journal.as_ref().map(|journal| journal.last)).await?;
        if journal.is_none() && sinks.iter().all(|sink| sink.seq.is_none()) {
            continue;
        }
        let asked = store.wishes(&pipeline.name, &node.name).await?.into_iter().map(|wish| wish.wanted).collect();
        found.push(LogView { source: node.name.clone(), journal, sinks, asked });
    }
    Ok(found)
}

/// How far each sink is. Where the journal cannot be seen, the sink that is furthest stands for its end.
async fn sinks(store: &StateStore, pipeline: &Pipeline, node: &str, last: Option<u64>) -> Result<Vec<SinkView>> {
    let mut found = Vec::new();
    for sink in pipeline.of(Role::Sink) {
        let reached = reached(store, pipeline, node, &sink.name).await?;
        let held = reached.as_ref().map(|reached| held_in(&reached.position)).transpose()?.unwrap_or_default();
        found.push(SinkView { sink: sink.name.clone(), seq: reached.map(|reached| reached.seq), behind: 0, held });
    }
    let last = last.or_else(|| found.iter().filter_map(|sink| sink.seq).max()).unwrap_or(0);
    for sink in &mut found {
        sink.behind = last.saturating_sub(sink.seq.unwrap_or(0));
    }
    Ok(found)
}

/// The source nodes that have a journal.
pub async fn sources(at: impl Into<Journals>, pipeline: &Pipeline) -> Result<Vec<String>> {
    Ok(places(&at.into(), pipeline).await?.into_iter().map(|(node, _)| node).collect())
}

/// The boundary after which the journal of a source node begins.
pub async fn first(at: impl Into<Journals>, pipeline: &Pipeline, node: &str) -> Result<u64> {
    let segments = journal::segments_in(&at.into().place(&pipeline.name, node)).await?;
    Ok(segments.first().map_or(0, |segment| segment.after))
}

/// The source nodes that have a journal, with its place.
pub(super) async fn places(at: &Journals, pipeline: &Pipeline) -> Result<Vec<(String, JournalPlace)>> {
    let mut found = Vec::new();
    for node in pipeline.of(Role::Source) {
        let place = at.place(&pipeline.name, &node.name);
        if place.exists().await? {
            found.push((node.name.clone(), place));
        }
    }
    Ok(found)
}

/// Where a sink is by its checkpoints.
#[derive(Debug)]
pub(super) struct Reached {
    pub seq: u64,
    /// All that the checkpoint says of it: `seq`, `shapes`, `outlets`.
    pub position: Value,
}

/// `None`: nothing of this log has come to the sink.
pub(super) async fn reached(store: &StateStore, pipeline: &Pipeline, node: &str, sink: &str) -> Result<Option<Reached>> {
    if let Some(run) = store.unfinished(&pipeline.name).await? {
        let name = applier::name(node, sink);
        let place = FlowPlace { pipeline: &pipeline.name, run_id: &run.run_id, flow: &name };
        let position = store.epochs(&place).await?.pop().and_then(|epoch| epoch.body.progress.into_iter().next()?.position);
        if let Some(position) = position {
            return Ok(position["seq"].as_u64().map(|seq| Reached { seq, position }));
        }
    }
    let left = store.stream_state(&pipeline.name, node, node).await?.previous;
    Ok(left.and_then(|left| Some(Reached { seq: left["seq"].as_u64()?, position: left })))
}

async fn scan(node: &str, place: &JournalPlace, read: Vec<SegmentFile>) -> Result<JournalView> {
    let mut segments: Vec<SegmentView> = Vec::new();
    let mut streams: BTreeMap<String, StreamCount> = BTreeMap::new();
    let mut end: Option<Mark> = None;
    // Counted only once their boundary is there.
    let mut pending: Vec<Outline> = Vec::new();
    for segment in read {
        // A run has just deleted it, or is just making it.
        let Some(mut records) = SegmentRecords::open(&segment).await? else { continue };
        if !records.continues() {
            pending.clear();
        }
        let mut view = SegmentView {
            file: segment.name,
            after: segment.after,
            last: segment.after,
            bytes: segment.bytes,
            changes: 0,
            committed_at_us: None,
        };
        while let Some(body) = records.read()? {
            match codec::outline(body)? {
                Outline::Boundary(mark) => {
                    view.last = mark.seq;
                    view.committed_at_us = mark.committed_at_us.or(view.committed_at_us);
                    for outline in pending.drain(..) {
                        view.changes += count(&mut streams, outline);
                    }
                    end = Some(mark);
                }
                outline => pending.push(outline),
            }
        }
        segments.push(view);
    }
    Ok(JournalView {
        source: node.to_owned(),
        folder: place.show(),
        first: segments.first().map_or(0, |segment| segment.after),
        last: end.as_ref().map_or(0, |mark| mark.seq),
        position: end.map(|mark| mark.position).unwrap_or_default(),
        bytes: segments.iter().map(|segment| segment.bytes).sum(),
        segments,
        streams: streams.into_values().collect(),
        sinks: Vec::new(),
    })
}

/// Adds an outline to the counts; gives its changes.
fn count(streams: &mut BTreeMap<String, StreamCount>, outline: Outline) -> u64 {
    fn of<'a>(streams: &'a mut BTreeMap<String, StreamCount>, stream: &str) -> &'a mut StreamCount {
        streams.entry(stream.to_owned()).or_insert_with(|| StreamCount { stream: stream.to_owned(), ..StreamCount::default() })
    }
    match outline {
        Outline::Changes(stream, counts) => {
            let total = of(streams, &stream);
            for (op, rows) in &counts {
                *match op {
                    Op::Create => &mut total.creates,
                    Op::Update => &mut total.updates,
                    Op::Delete => &mut total.deletes,
                    Op::Read => &mut total.reads,
                } += rows;
            }
            return counts.iter().map(|(_, rows)| rows).sum();
        }
        Outline::Truncate(stream) => of(streams, &stream).truncates += 1,
        Outline::Schema(stream) => of(streams, &stream).shapes += 1,
        Outline::Dead(stream) => of(streams, &stream).dead += 1,
        Outline::Boundary(_) => {}
    }
    0
}

/// Records after a boundary, each with the number of the boundary that ends what it belongs to.
pub struct Records {
    segments: std::vec::IntoIter<SegmentFile>,
    open: Option<SegmentRecords>,
    from: u64,
    /// The last boundary that was passed.
    passed: u64,
    pending: Vec<Record>,
    ready: std::vec::IntoIter<(u64, Record)>,
}

/// The records of a source node's journal after boundary `from`, boundaries left out. An error if the journal does not hold that.
pub async fn records(at: impl Into<Journals>, pipeline: &Pipeline, node: &str, from: u64) -> Result<Records> {
    let place = at.into().place(&pipeline.name, node);
    let mut segments = journal::segments_in(&place).await?;
    let first = segments.first().map_or(0, |segment| segment.after);
    let Some(skip) = begin(&segments, from) else { return Err(gone(&place, first, from)) };
    let segments = segments.split_off(skip);
    let passed = segments.first().map_or(0, |segment| segment.after);
    Ok(Records { segments: segments.into_iter(), open: None, from, passed, pending: Vec::new(), ready: Vec::new().into_iter() })
}

pub(super) fn gone(place: &JournalPlace, first: u64, from: u64) -> Error {
    Error::new("WEIR-JOURNAL-005", Kind::NotFound, format!("the journal does not hold what comes after boundary {from} any more"))
        .at(place.show())
        .because(format!("it begins after boundary {first}"))
        .hint("`journal: {keep: 24h}` keeps what every sink has for so long")
}

impl Records {
    /// The next record; `None` at the last whole boundary.
    pub async fn read(&mut self) -> Result<Option<(u64, Record)>> {
        loop {
            if let Some(record) = self.ready.next() {
                return Ok(Some(record));
            }
            let Some(open) = &mut self.open else {
                let Some(segment) = self.segments.next() else { return Ok(None) };
                self.open = SegmentRecords::open(&segment).await?;
                if self.open.as_ref().is_none_or(|open| !open.continues()) {
                    self.pending.clear();
                }
                continue;
            };
            let Some(body) = open.read()? else {
                self.open = None;
                continue;
            };
            match codec::boundary(body)? {
                // At the head of a segment: what was begun before goes on.
                Some(mark) if mark.seq <= self.passed => {}
                Some(mark) => {
                    self.passed = mark.seq;
                    let records = self.pending.drain(..).map(|record| (mark.seq, record));
                    self.ready = records.collect::<Vec<_>>().into_iter();
                }
                None if self.passed >= self.from => self.pending.push(codec::decode(body)?),
                None => {}
            }
        }
    }

    /// The last boundary that was passed.
    pub fn passed(&self) -> u64 {
        self.passed
    }
}
