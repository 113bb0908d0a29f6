//! The journal: what the source gave, durable, before any sink has it.
//!
//! * The source is told that it may forget once the journal is durable, so a sink that is down costs disk here and not at the source.
//! * Every sink reads it at its own pace. What a sink reads again after a crash is, byte for byte, what it read before: that is what makes
//!   several sinks exact, and a snapshot whose chunks cannot be read twice.
//!
//! It is a row of segments, each of records `length u32, xxh3 u64, body`. A segment begins with the boundary that stood before it. What follows the last
//! boundary was never promised to anybody; it is taken away when the journal is opened. Where segments are kept:
//!
//! * [`super::folder`]: files that grow, in a folder of this machine;
//! * [`super::bucket`]: objects that are written once, which any machine reaches.
//!
//! This file: what both have in common, and the writer. [`super::reader`] reads while it grows; [`super::segments`] is the look from outside.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tokio::sync::watch;
use twox_hash::XxHash3_64;
use weir_connect::Objects;
use weir_error::{Error, Kind, Result};
use weir_spec::{Keep, Pipeline, Role};

use super::bucket::{self, Bucket};
use super::codec::{self, Mark, Record};
use super::folder;
pub use super::reader::JournalReader;
pub use super::segments::{SegmentFile, SegmentRecords, segments_in};
use crate::run::{lock, tame};
use crate::store::{StatePlace, StateStore};

/// What stands before the body of a record.
pub(super) const HEADER: usize = 12;
/// A segment that has grown so large is followed by a new one at its next boundary.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// Where the journals of pipelines are: below the state folder, unless a place of objects is given.
#[derive(Debug, Clone)]
pub struct Journals {
    state: StatePlace,
    objects: Option<Arc<dyn Objects>>,
}

impl Journals {
    /// Below a state folder, or in these objects.
    pub fn new(state: impl Into<PathBuf>, objects: Option<Arc<dyn Objects>>) -> Self {
        Self::beside(StatePlace::Folder(state.into()), objects)
    }

    /// The same beside checkpoints that may be elsewhere.
    pub fn beside(state: StatePlace, objects: Option<Arc<dyn Objects>>) -> Self {
        Self { state, objects }
    }

    /// The state folder.
    pub(crate) fn state(&self) -> &Path {
        self.state.folder()
    }

    /// The checkpoints.
    pub(crate) async fn store(&self) -> Result<StateStore> {
        self.state.open().await
    }

    /// The journal of one source node of a pipeline.
    pub fn place(&self, pipeline: &str, node: &str) -> JournalPlace {
        match &self.objects {
            None => JournalPlace::Folder(super::folder_of(self.state(), pipeline).join(tame(node))),
            Some(objects) => JournalPlace::Objects(objects.clone(), format!("{}/{}", tame(pipeline), tame(node))),
        }
    }
}

impl Journals {
    /// Takes the journals of a pipeline away, while nothing runs: the next run begins anew.
    pub async fn clear(&self, pipeline: &Pipeline) -> Result<()> {
        let _lock = lock(self.state(), &pipeline.name)?;
        for node in pipeline.of(Role::Source) {
            self.place(&pipeline.name, &node.name).clear().await?;
        }
        Ok(())
    }
}

impl<T: AsRef<Path> + ?Sized> From<&T> for Journals {
    fn from(state: &T) -> Self {
        Self::new(state.as_ref(), None)
    }
}

/// Where one journal is.
#[derive(Debug, Clone)]
pub enum JournalPlace {
    /// Files in this folder.
    Folder(PathBuf),
    /// Objects whose names begin with this and a `/`.
    Objects(Arc<dyn Objects>, String),
}

impl JournalPlace {
    /// For people.
    pub fn show(&self) -> String {
        match self {
            Self::Folder(folder) => folder.display().to_string(),
            Self::Objects(objects, folder) => objects.show(folder),
        }
    }

    /// Whether a journal was begun there.
    pub async fn exists(&self) -> Result<bool> {
        match self {
            Self::Folder(folder) => Ok(folder.is_dir()),
            Self::Objects(objects, folder) => Ok(!bucket::named(objects, folder).await?.is_empty()),
        }
    }

    /// Deletes the journal: the next one begins anew. Nobody may be writing it.
    pub async fn clear(&self) -> Result<()> {
        match self {
            Self::Folder(folder) => folder::clear(folder),
            Self::Objects(objects, folder) => bucket::clear(objects, folder).await,
        }
    }
}

/// An open journal; one process writes it at a time (the pipeline's lock; in a bucket the journal itself keeps others out).
#[derive(Debug)]
pub struct Journal {
    pub(super) keeper: Keeper,
    /// Where durable records end.
    pub(super) tail: watch::Sender<Tail>,
    segments: Mutex<Vec<Segment>>,
}

/// Who has the segments.
#[derive(Debug)]
pub(super) enum Keeper {
    Folder(PathBuf),
    Bucket(Arc<Bucket>),
}

/// What stays of the journal that no sink needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long, or how much.
    pub keep: Option<Keep>,
    /// Beyond so many bytes in all, nothing.
    pub max_bytes: u64,
}

/// How far the journal is durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Tail {
    /// The last boundary.
    pub mark: Mark,
    /// The segment that holds it, by the number of its last part.
    pub(super) segment: u64,
    /// In a folder, where that segment ends.
    pub(super) offset: u64,
    /// Nothing more will come.
    pub closed: bool,
}

/// One segment. Segments follow each other without a gap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Segment {
    /// The number of its first part: in a folder the boundary before it, in a bucket objects are counted.
    pub first: u64,
    /// The number of its last part: more than `first` where objects were put together.
    pub last: u64,
    /// The boundary before it.
    pub seq: u64,
    pub bytes: u64,
    /// When it was written last.
    pub written: SystemTime,
    /// It is known to end with a boundary. Otherwise it may hold a part of the transaction that ends boundary `seq + 1`.
    pub whole: bool,
}

pub(super) fn frame(record: &Record, out: &mut Vec<u8>) -> Result<()> {
    let at = out.len();
    out.extend_from_slice(&[0; HEADER]);
    codec::encode(record, out)?;
    let length = u32::try_from(out.len() - at - HEADER).map_err(|_| {
        Error::new("WEIR-JOURNAL-002", Kind::Limit, "a batch of changes is larger than 4 GiB").hint("one row cannot be so large")
    })?;
    let hash = XxHash3_64::oneshot(&out[at + HEADER..]);
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    out[at + 4..at + HEADER].copy_from_slice(&hash.to_le_bytes());
    Ok(())
}

/// The length of the next whole record's body in `bytes`; `None`: it is not all there.
pub(super) fn body_length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    (bytes.len() >= HEADER + length).then_some(length)
}

pub(super) fn intact(bytes: &[u8], length: usize) -> bool {
    let hash: [u8; 8] = bytes[4..HEADER].try_into().unwrap_or_default();
    XxHash3_64::oneshot(&bytes[HEADER..HEADER + length]) == u64::from_le_bytes(hash)
}

/// What is durable is not as it was written.
pub(super) fn damaged(place: String) -> Error {
    Error::new("WEIR-JOURNAL-001", Kind::Data, "the journal holds a damaged record")
        .at(place)
        .hint("it was damaged outside of Weir; `weir state reset` begins with a new snapshot")
}

impl Journal {
    /// Opens, or begins, a journal. `start` is the boundary that a new one begins after.
    pub async fn open(place: &JournalPlace, start: &Mark, segment_bytes: u64) -> Result<(Arc<Self>, JournalWriter)> {
        match place {
            JournalPlace::Folder(path) => {
                let (segments, tail, end) = folder::open(path, start, segment_bytes)?;
                let journal = Arc::new(Self::of(Keeper::Folder(path.clone()), segments, tail));
                Ok((journal.clone(), JournalWriter { journal, end: End::Folder(end), last: None }))
            }
            JournalPlace::Objects(objects, path) => {
                let (opened, chores) = bucket::open(objects, path, start, segment_bytes).await?;
                let keeper = Keeper::Bucket(opened.bucket.clone());
                let journal = Arc::new(Self::of(keeper, opened.segments, opened.tail));
                bucket::keep_house(&journal, opened.bucket, chores);
                Ok((journal.clone(), JournalWriter { journal, end: End::Bucket(Box::new(opened.end)), last: None }))
            }
        }
    }

    fn of(keeper: Keeper, segments: Vec<Segment>, tail: Tail) -> Self {
        Self { keeper, tail: watch::Sender::new(tail), segments: Mutex::new(segments) }
    }

    pub(super) fn segments(&self) -> MutexGuard<'_, Vec<Segment>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it is.
    pub(super) fn place(&self) -> JournalPlace {
        match &self.keeper {
            Keeper::Folder(folder) => JournalPlace::Folder(folder.clone()),
            Keeper::Bucket(bucket) => bucket.place(),
        }
    }

    /// For people.
    pub fn show(&self) -> String {
        match &self.keeper {
            Keeper::Folder(folder) => folder.display().to_string(),
            Keeper::Bucket(bucket) => bucket.show(),
        }
    }

    /// The durable end.
    pub fn tail(&self) -> Tail {
        self.tail.borrow().clone()
    }

    /// Hears of every new durable end.
    pub fn watch(&self) -> watch::Receiver<Tail> {
        self.tail.subscribe()
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.bytes).sum()
    }

    /// Whether it is larger than this, and trimming could help: a single segment always stays.
    pub fn exceeds(&self, max_bytes: u64) -> bool {
        let segments = self.segments();
        segments.len() > 1 && segments.iter().map(|segment| segment.bytes).sum::<u64>() > max_bytes
    }

    /// Lets go of the segments that hold nothing after this boundary and are not to be kept. The last one stays: it knows the source's
    /// position.
    pub fn trim(&self, seq: u64, retention: &Retention) -> Result<()> {
        let mut segments = self.segments();
        let mut total: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let mut gone = 0;
        while let [first, next, ..] = &segments[gone..] {
            let needed = next.seq > seq || !first.whole && first.seq >= seq;
            if needed || total <= retention.max_bytes && kept(first, total, retention.keep) {
                break;
            }
            if let Keeper::Folder(folder) = &self.keeper {
                folder::remove(folder, first)?;
            }
            total -= first.bytes;
            gone += 1;
        }
        let gone: Vec<Segment> = segments.drain(..gone).collect();
        if let (Keeper::Bucket(bucket), Some(first)) = (&self.keeper, segments.first()) {
            bucket.let_go(&gone, first);
        }
        Ok(())
    }

    /// An error if what comes after this boundary is not here, or never was.
    pub fn holds(&self, seq: u64) -> Result<()> {
        let (first, last) = (self.segments().first().map_or(0, |segment| segment.seq), self.tail().mark.seq);
        if (first..=last).contains(&seq) {
            return Ok(());
        }
        let lost = match &self.keeper {
            Keeper::Bucket(bucket) => bucket.lost().map_or(String::new(), |name| format!("; `{name}` is not there any more")),
            Keeper::Folder(_) => String::new(),
        };
        Err(Error::new("WEIR-JOURNAL-003", Kind::Data, "the journal does not hold what a sink still needs")
            .at(self.show())
            .because(format!("it goes from boundary {first} to {last}; the sink has boundary {seq}{lost}"))
            .hint("was the journal or the state folder replaced by an older or newer copy? `weir state reset` begins with a new snapshot"))
    }

    /// A reader of everything after this boundary; see [`Self::holds`].
    pub fn read_after(self: &Arc<Self>, seq: u64) -> Result<JournalReader> {
        self.holds(seq)?;
        JournalReader::new(self, seq)
    }

    /// The segment in which what comes after a boundary begins: the first one that begins with it, else the one that holds it.
    pub(super) fn segment_after(&self, seq: u64) -> Result<Segment> {
        let segments = self.segments();
        let found = segments.iter().find(|segment| segment.seq == seq);
        let found = found.or_else(|| segments.iter().rev().find(|segment| segment.seq < seq)).copied();
        found.ok_or_else(|| Error::internal("the journal has no segment"))
    }

    /// The segment that holds the part after this one.
    pub(super) fn following(&self, part: u64) -> Option<Segment> {
        let segments = self.segments();
        let at = segments.partition_point(|segment| segment.last <= part);
        segments.get(at).copied()
    }
}

/// Whether a segment that nobody needs is still to be kept.
fn kept(segment: &Segment, total: u64, keep: Option<Keep>) -> bool {
    match keep {
        None => false,
        Some(Keep::Bytes(bytes)) => total.saturating_sub(segment.bytes) < bytes,
        // A clock that was set back: it was written just now.
        Some(Keep::Ms(ms)) => segment.written.elapsed().unwrap_or_default() < Duration::from_millis(ms),
    }
}

/// The one writer.
#[derive(Debug)]
pub struct JournalWriter {
    journal: Arc<Journal>,
    end: End,
    /// The last boundary that is written and not yet durable.
    last: Option<Mark>,
}

#[derive(Debug)]
enum End {
    Folder(folder::End),
    Bucket(Box<bucket::End>),
}

impl JournalWriter {
    /// Takes a record; nothing is promised yet. In a folder it blocks, as [`Self::sync`] does: call it where that is allowed.
    pub async fn write(&mut self, record: &Record) -> Result<()> {
        match &mut self.end {
            End::Folder(end) => end.write(record),
            End::Bucket(end) => end.write(&self.journal, record).await,
        }
    }

    /// Ends what belongs together; [`Self::sync`] makes it durable.
    pub async fn boundary(&mut self, position: Value, committed_at_us: Option<i64>) -> Result<()> {
        let before = self.last.as_ref().map_or_else(|| self.journal.tail().mark.seq, |mark| mark.seq);
        let mark = Mark { seq: before + 1, position, committed_at_us };
        match &mut self.end {
            End::Folder(end) => end.boundary(&mark)?,
            End::Bucket(end) => end.boundary(&self.journal, &mark).await?,
        }
        self.last = Some(mark);
        Ok(())
    }

    /// Makes everything up to the last boundary durable and shows it to the readers. After an error the writer must not be used again: what is
    /// durable is not known.
    pub async fn sync(&mut self) -> Result<()> {
        let Some(mark) = self.last.take() else { return Ok(()) };
        let tail = match &mut self.end {
            End::Folder(end) => end.sync(&self.journal, mark)?,
            End::Bucket(end) => end.sync(&self.journal, mark).await?,
        };
        self.journal.tail.send_replace(tail);
        Ok(())
    }

    /// What is written may wait until then for others to become durable with, because each time has a price of its own. `None`: it has none.
    pub fn rests_until(&self) -> Option<Instant> {
        match &self.end {
            End::Folder(_) => None,
            End::Bucket(end) => end.rests_until(),
        }
    }

    /// Nothing more will come: readers end when they have read everything.
    pub fn close(self) {
        self.journal.tail.send_modify(|tail| tail.closed = true);
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
