//! A journal as objects, which any machine reaches: a run whose machine is gone goes on on another.
//!
//! Objects are counted from 1. Object n is `log/N-N-SEQ.wj`, SEQ the boundary before it: magic, whether its first records go on with a transaction, the
//! writer, that boundary, records. It ends with a boundary, or it has none but the one at its head and is a part of a transaction. Larger ones,
//! `log/FIRST-LAST-SEQ.wj`, are made of small ones that follow each other, which are deleted afterwards.
//!
//! **One writer.** The name of object n follows from what is before it, and an object is written only where there is none. Who opens the journal begins with
//! writing the object after the last one, its claim: whoever wrote before finds it in the way of its next object, and nothing that it does later becomes
//! durable or is acknowledged. A claim stays for a week, also when what is around it is gone, so that a process which slept for long does not find
//! its place free. `claims/N` says which objects are claims.
//!
//! **Missing objects.** The journal is what leads without a gap to the last object. What is before a gap stays where it is, and is no part of it: a sink that
//! needs it is told so. What is not needed any more is deleted behind the journal's beginning, by whoever gets there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::mpsc;
use weir_connect::{ObjectInfo, Objects};
use weir_error::{Error, Kind, Result};

use super::codec::{self, Mark, Record};
use super::journal::{Journal, JournalPlace, Segment, Tail, damaged, frame};
use super::segments::SegmentRecords;

const MAGIC: &[u8; 8] = b"WEIRJRN2";
/// Magic, flags, the writer's own number.
const HEAD: usize = 8 + 1 + 16;
/// Objects are not larger than this, one record aside.
const OBJECT_BYTES: u64 = 8 << 20;
/// Objects are written no more often than this, as long as nothing else asks for it: each has its price.
const REST: Duration = Duration::from_millis(200);
/// So many small objects in a row are put together.
const TOGETHER: usize = 32;
/// How long a claim stays that holds nothing.
const CLAIM_STAYS: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often somebody else may be faster when a journal is opened.
const TRIES: usize = 20;

/// What the writer and the housekeeping share.
#[derive(Debug)]
pub(super) struct Bucket {
    objects: Arc<dyn Objects>,
    folder: String,
    /// Larger objects are not made of smaller ones.
    together_bytes: u64,
    chores: mpsc::UnboundedSender<Chore>,
    claims: Mutex<HashMap<u64, SystemTime>>,
    /// Objects that are no part of the journal (any more).
    ghosts: Mutex<Vec<Segment>>,
    /// The object whose absence cuts the journal off from what is before.
    lost: Option<String>,
}

/// What is done behind the writer's back. Nothing depends on it.
#[derive(Debug)]
pub(super) enum Chore {
    Delete(Vec<Segment>),
    Together,
}

pub(super) struct Opened {
    pub bucket: Arc<Bucket>,
    pub segments: Vec<Segment>,
    pub tail: Tail,
    pub end: End,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name_of(folder: &str, first: u64, last: u64, seq: u64) -> String {
    format!("{folder}/log/{first:020}-{last:020}-{seq:020}.wj")
}

/// What an object's name says.
fn parsed(folder: &str, object: &ObjectInfo) -> Option<Segment> {
    let rest = object.name.strip_prefix(folder)?.strip_prefix("/log/")?.strip_suffix(".wj")?;
    let mut numbers = rest.splitn(3, '-').map(|number| number.parse::<u64>().ok());
    let (first, last, seq) = (numbers.next()??, numbers.next()??, numbers.next()??);
    (1 <= first && first <= last).then_some(Segment {
        first,
        last,
        seq,
        bytes: object.bytes,
        written: object.written,
        whole: first < last,
    })
}

/// What is there.
struct Seen {
    /// What leads without a gap to the last object.
    chain: Vec<Segment>,
    /// What does not belong to it.
    ghosts: Vec<Segment>,
    /// The number that is missing between them.
    missing: Option<u64>,
    claims: HashMap<u64, SystemTime>,
    /// The number after the last one.
    next: u64,
}

impl Seen {
    async fn look(objects: &Arc<dyn Objects>, folder: &str) -> Result<Self> {
        Self::of(objects.list(folder).await?.as_slice(), folder).map_err(|error| error.at(objects.show(folder)))
    }

    fn of(listed: &[ObjectInfo], folder: &str) -> Result<Self> {
        let (claims, cleared) = (format!("{folder}/claims/"), format!("{folder}/cleared/"));
        let claim = |object: &ObjectInfo| Some((object.name.strip_prefix(&claims)?.parse().ok()?, object.written));
        let number = |object: &ObjectInfo| object.name.strip_prefix(&cleared)?.parse::<u64>().ok();
        let cleared = listed.iter().filter_map(number).max().unwrap_or(0);
        let all = listed.iter().filter_map(|object| parsed(folder, object));
        let (found, before): (Vec<Segment>, Vec<Segment>) = all.partition(|segment| segment.first > cleared);
        let (chain, mut ghosts, missing) = chain(found)?;
        ghosts.extend(before);
        let next = chain.last().map_or(cleared, |last| last.last) + 1;
        Ok(Self { chain, ghosts, missing, claims: listed.iter().filter_map(claim).collect(), next })
    }
}

/// Divides what was found into what leads without a gap to the last object and what does not; the number that is missing between them.
fn chain(found: Vec<Segment>) -> Result<(Vec<Segment>, Vec<Segment>, Option<u64>)> {
    // Of those that end at the same place the one that reaches furthest back.
    let mut ends: BTreeMap<u64, Segment> = BTreeMap::new();
    for segment in &found {
        match ends.get(&segment.last) {
            Some(known) if known.first == known.last && segment.first == segment.last => {
                let what =
                    format!("object {} is there after boundary {} and after boundary {}", known.first, known.seq, segment.seq);
                return Err(Error::new("WEIR-JOURNAL-022", Kind::Data, "two writers have written the same place of the journal")
                    .because(what)
                    .hint("the service does not honour conditional writes, or objects were put there by hand; `weir state reset` begins with a new snapshot"));
            }
            Some(known) if known.first <= segment.first => {}
            _ => {
                ends.insert(segment.last, *segment);
            }
        }
    }
    let mut chain: Vec<Segment> = Vec::new();
    let mut wanted = ends.last_key_value().map_or(0, |(last, _)| *last);
    while wanted > 0 {
        let over = || ends.range(wanted..).map(|(_, segment)| segment).find(|segment| segment.first <= wanted);
        let Some(segment) = ends.get(&wanted).or_else(over) else { break };
        chain.push(*segment);
        wanted = segment.first - 1;
    }
    chain.reverse();
    let ghosts: Vec<Segment> = found.into_iter().filter(|segment| !chain.contains(segment)).collect();
    let cut_off = ghosts.iter().any(|ghost| ghost.last < wanted);
    Ok((chain, ghosts, cut_off.then_some(wanted)))
}

/// The journal's objects for who only looks: name, the boundary before it, size.
pub(super) async fn named(objects: &Arc<dyn Objects>, folder: &str) -> Result<Vec<(String, u64, u64)>> {
    let seen = Seen::look(objects, folder).await?;
    let named = |segment: Segment| (name_of(folder, segment.first, segment.last, segment.seq), segment.seq, segment.bytes);
    Ok(seen.chain.into_iter().map(named).collect())
}

/// Takes the journal away, also one that is damaged. Objects are counted on, and the place of the next one is taken: a writer that is still there finds out.
pub(super) async fn clear(objects: &Arc<dyn Objects>, folder: &str) -> Result<()> {
    for _ in 0..TRIES {
        let listed = objects.list(folder).await?;
        let all: Vec<Segment> = listed.iter().filter_map(|object| parsed(folder, object)).collect();
        let seen = Seen::of(&listed, folder);
        let end = match &seen {
            Ok(seen) => seen.chain.last().copied(),
            Err(_) => all.iter().max_by_key(|segment| segment.last).copied(),
        };
        let Some(end) = end else { return Ok(()) };
        let number = end.last + 1;
        let bytes = objects.get(&name_of(folder, end.first, end.last, end.seq)).await?;
        let unknown = Mark { seq: end.seq, position: serde_json::Value::Null, committed_at_us: None };
        let before = bytes.and_then(|bytes| last_boundary(bytes, folder).ok()).unwrap_or(unknown);
        let fence = object(uuid::Uuid::new_v4().as_bytes(), false, &before, &[])?;
        objects.replace(&claim_of(folder, number), Bytes::new()).await?;
        if !objects.create(&name_of(folder, number, number, before.seq), fence.into()).await? {
            continue;
        }
        objects.replace(&format!("{folder}/cleared/{number:020}"), Bytes::new()).await?;
        let claims = seen.map(|seen| seen.claims).unwrap_or_default();
        for segment in all.iter().filter(|segment| segment.first < segment.last || !claims.contains_key(&segment.first)) {
            objects.delete(&name_of(folder, segment.first, segment.last, segment.seq)).await?;
        }
        // What was approved is of no journal any more.
        return objects.delete(&format!("{folder}/approved.json")).await;
    }
    Err(taken(objects.show(folder)))
}

fn claim_of(folder: &str, number: u64) -> String {
    format!("{folder}/claims/{number:020}")
}

fn taken(place: String) -> Error {
    Error::new("WEIR-JOURNAL-020", Kind::Conflict, "somebody else has taken over the journal")
        .at(place)
        .because("the place of the next object is taken: another run has opened this journal since")
        .hint("one run of a pipeline at a time; if none of yours goes on elsewhere, start this one again")
}

fn missing(place: String) -> Error {
    Error::new("WEIR-JOURNAL-021", Kind::Data, "an object of the journal is missing")
        .at(place)
        .because("it was deleted outside of Weir, by a rule of the bucket perhaps")
        .hint("restore it if the bucket keeps versions; otherwise `weir state reset` begins with a new snapshot")
}

/// What stands before the records of an object.
pub(super) struct Head {
    pub length: usize,
    pub continues: bool,
}

pub(super) fn head(bytes: &[u8], shown: &str) -> Result<Head> {
    match bytes.get(..HEAD) {
        Some(head) if head.starts_with(MAGIC) && head[8] <= 1 => Ok(Head { length: HEAD, continues: head[8] == 1 }),
        _ => Err(damaged(shown.to_owned())),
    }
}

fn object(writer: &[u8; 16], continues: bool, before: &Mark, records: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEAD + 256 + records.len());
    bytes.extend_from_slice(MAGIC);
    bytes.push(u8::from(continues));
    bytes.extend_from_slice(writer);
    frame(&Record::Boundary(before.clone()), &mut bytes)?;
    bytes.extend_from_slice(records);
    Ok(bytes)
}

/// What an object holds: its boundaries, and whether anything follows the last one.
fn outline(bytes: Bytes, shown: &str) -> Result<(Vec<Mark>, bool)> {
    let head = head(&bytes, shown)?;
    let mut records = SegmentRecords::of_object(shown.to_owned(), bytes.into(), head.length, head.continues);
    let (mut marks, mut open) = (Vec::new(), false);
    while let Some(body) = records.read()? {
        let mark = codec::boundary(body)?;
        open = mark.is_none();
        marks.extend(mark);
    }
    if marks.is_empty() { Err(damaged(shown.to_owned())) } else { Ok((marks, open)) }
}

fn last_boundary(bytes: Bytes, shown: &str) -> Result<Mark> {
    let (mut marks, _) = outline(bytes, shown)?;
    marks.pop().ok_or_else(|| damaged(shown.to_owned()))
}

/// Opens, or begins, the journal, and keeps everybody else out.
pub(super) async fn open(
    objects: &Arc<dyn Objects>,
    folder: &str,
    start: &Mark,
    segment_bytes: u64,
) -> Result<(Opened, mpsc::UnboundedReceiver<Chore>)> {
    let writer = *uuid::Uuid::new_v4().as_bytes();
    for _ in 0..TRIES {
        let Seen { chain: mut segments, ghosts, missing, mut claims, next: number } = Seen::look(objects, folder).await?;
        let before = match segments.last() {
            None => start.clone(),
            Some(last) => {
                let name = name_of(folder, last.first, last.last, last.seq);
                // Gone: somebody else keeps house there just now.
                let Some(bytes) = objects.get(&name).await? else { continue };
                last_boundary(bytes, &objects.show(&name))?
            }
        };
        // First: a claim that nobody knows as one would be deleted too early.
        objects.replace(&claim_of(folder, number), Bytes::new()).await?;
        let bytes = object(&writer, false, &before, &[])?;
        let claim = Segment {
            first: number,
            last: number,
            seq: before.seq,
            bytes: bytes.len() as u64,
            written: SystemTime::now(),
            whole: true,
        };
        if !objects.create(&name_of(folder, number, number, before.seq), bytes.into()).await? {
            continue;
        }
        claims.insert(number, claim.written);
        let (chores, housekeeping) = mpsc::unbounded_channel();
        let lost = missing.map(|number| format!("object {number}"));
        let bucket = Arc::new(Bucket {
            objects: objects.clone(),
            folder: folder.to_owned(),
            together_bytes: segment_bytes.min(OBJECT_BYTES),
            chores,
            claims: Mutex::new(claims),
            ghosts: Mutex::new(ghosts),
            lost,
        });
        // From here on nobody else writes.
        bucket.take_back(&writer, &mut segments).await?;
        segments.push(claim);
        let tail = Tail { mark: before.clone(), segment: number, offset: 0, closed: false };
        let end = End {
            bucket: bucket.clone(),
            writer,
            next: number + 1,
            durable: number,
            before,
            continues: false,
            buffer: Vec::new(),
            whole: None,
            put: None,
        };
        return Ok((Opened { bucket, segments, tail, end }, housekeeping));
    }
    Err(taken(objects.show(folder)).transient())
}

impl Bucket {
    fn name(&self, segment: &Segment) -> String {
        name_of(&self.folder, segment.first, segment.last, segment.seq)
    }

    pub fn place(&self) -> JournalPlace {
        JournalPlace::Objects(self.objects.clone(), self.folder.clone())
    }

    pub fn show(&self) -> String {
        self.objects.show(&self.folder)
    }

    pub fn show_part(&self, segment: &Segment) -> String {
        self.objects.show(&self.name(segment))
    }

    /// What is missing before the journal's beginning, if anything is.
    pub fn lost(&self) -> Option<String> {
        self.lost.clone()
    }

    pub fn missing(&self, segment: &Segment) -> Error {
        missing(self.show_part(segment))
    }

    pub async fn get(self: Arc<Self>, segment: Segment) -> Result<Option<Bytes>> {
        self.objects.get(&self.name(&segment)).await
    }

    /// Empties the objects at the end that hold a part of a transaction whose end never came. They are older than the claim: nobody writes there.
    async fn take_back(&self, writer: &[u8; 16], segments: &mut [Segment]) -> Result<()> {
        for segment in segments.iter_mut().rev() {
            if segment.first != segment.last {
                break;
            }
            let shown = self.show_part(segment);
            // Trimmed by the writer before, which has not heard yet that it is none any more.
            let Some(bytes) = self.objects.get(&self.name(segment)).await? else { break };
            let (marks, open) = outline(bytes, &shown)?;
            if open && let Some(mark) = marks.last() {
                let bytes = object(writer, false, mark, &[])?;
                segment.bytes = bytes.len() as u64;
                self.objects.replace(&self.name(segment), bytes.into()).await?;
            }
            segment.whole = true;
            if marks.len() > 1 {
                break;
            }
        }
        Ok(())
    }

    /// These are not in the journal any more, which begins with `first` now.
    pub fn let_go(&self, gone: &[Segment], first: &Segment) {
        if gone.is_empty() {
            return;
        }
        let mut ghosts = locked(&self.ghosts);
        let before: Vec<Segment> = ghosts.extract_if(.., |ghost| ghost.last < first.first).collect();
        drop(ghosts);
        let all: Vec<Segment> = gone.iter().copied().chain(before).collect();
        // Nobody keeps house any more: the next one does it.
        let _ = self.chores.send(Chore::Delete(all));
    }

    /// Deletes objects, claims only if they are old. What cannot be deleted now is found again.
    async fn delete(&self, segments: Vec<Segment>) -> Result<()> {
        for segment in segments {
            let claimed = (segment.first == segment.last).then(|| locked(&self.claims).get(&segment.first).copied()).flatten();
            if claimed.is_some_and(|at| at.elapsed().unwrap_or_default() < CLAIM_STAYS) {
                continue;
            }
            self.objects.delete(&self.name(&segment)).await?;
            if claimed.is_some() {
                self.objects.delete(&claim_of(&self.folder, segment.first)).await?;
            }
        }
        Ok(())
    }

    /// Makes one object of small ones that follow each other.
    async fn together(&self, journal: &Journal) -> Result<()> {
        let end = journal.tail().segment;
        let Some(parts) = small_ones(&journal.segments(), end, self.together_bytes) else { return Ok(()) };
        let mut whole: Vec<u8> = Vec::new();
        for part in &parts {
            // Trimmed meanwhile: then nobody needs the others either.
            let Some(bytes) = self.objects.get(&self.name(part)).await? else { return Ok(()) };
            let head = head(&bytes, &self.show_part(part))?;
            whole.extend_from_slice(if whole.is_empty() { &bytes } else { &bytes[head.length..] });
        }
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Ok(()) };
        let one = Segment { last: last.last, bytes: whole.len() as u64, written: last.written, whole: true, ..*first };
        // There already: it was made before, of the same parts.
        self.objects.create(&self.name(&one), whole.into()).await?;
        let replaced = {
            let mut segments = journal.segments();
            match segments.iter().position(|segment| segment == first) {
                Some(at) if segments[at..].starts_with(&parts) => {
                    segments.splice(at..at + parts.len(), [one]);
                    true
                }
                _ => false,
            }
        };
        self.delete(if replaced { parts } else { vec![one] }).await
    }
}

/// The small objects before the durable end that are to be put together, if they are enough: as many as make a large one, from the first on, to the end
/// of a transaction.
fn small_ones(segments: &[Segment], end: u64, together_bytes: u64) -> Option<Vec<Segment>> {
    let small = |segment: &&Segment| segment.bytes < together_bytes / 4;
    // Readers stop at the end, and must find it there.
    let shown = &segments[..segments.partition_point(|segment| segment.last < end)];
    let run = shown.iter().rev().take_while(small).count();
    if run < TOGETHER {
        return None;
    }
    let run = &shown[shown.len() - run..];
    let mut total = 0;
    let fitting = run.iter().take_while(|segment| {
        total += segment.bytes;
        total <= together_bytes
    });
    let parts = &run[..fitting.count()];
    let whole = parts.iter().rposition(|segment| segment.whole)?;
    (whole > 0).then(|| parts[..=whole].to_vec())
}

/// Deletes and puts together what it is told to, until the journal is closed.
pub(super) fn keep_house(journal: &Arc<Journal>, bucket: Arc<Bucket>, mut chores: mpsc::UnboundedReceiver<Chore>) {
    let journal = Arc::downgrade(journal);
    // The sender is in the bucket: it must not be held here.
    let bucket = Arc::downgrade(&bucket);
    tokio::spawn(async move {
        while let Some(chore) = chores.recv().await {
            let (Some(journal), Some(bucket)) = (journal.upgrade(), bucket.upgrade()) else { return };
            let done = match chore {
                Chore::Delete(segments) => bucket.delete(segments).await,
                Chore::Together => bucket.together(&journal).await,
            };
            if let Err(error) = done {
                tracing::debug!("an old part of the journal stays for now: {error}");
            }
        }
    });
}

/// Where the journal grows.
#[derive(Debug)]
pub(super) struct End {
    bucket: Arc<Bucket>,
    writer: [u8; 16],
    /// The number of the next object.
    next: u64,
    /// The last object that ends with a boundary.
    durable: u64,
    /// The boundary before what is in the buffer.
    before: Mark,
    /// The buffer goes on with a transaction of which a part is written.
    continues: bool,
    buffer: Vec<u8>,
    /// The last boundary in the buffer, and where it ends.
    whole: Option<(usize, Mark)>,
    /// When an object was written last.
    put: Option<Instant>,
}

impl End {
    pub async fn write(&mut self, journal: &Journal, record: &Record) -> Result<()> {
        frame(record, &mut self.buffer)?;
        self.put_if_large(journal).await
    }

    pub async fn boundary(&mut self, journal: &Journal, mark: &Mark) -> Result<()> {
        frame(&Record::Boundary(mark.clone()), &mut self.buffer)?;
        self.whole = Some((self.buffer.len(), mark.clone()));
        self.put_if_large(journal).await
    }

    async fn put_if_large(&mut self, journal: &Journal) -> Result<()> {
        if self.buffer.len() as u64 >= self.bucket.together_bytes { self.put(journal).await } else { Ok(()) }
    }

    /// Writes what is there up to the last boundary; without one, all of it.
    async fn put(&mut self, journal: &Journal) -> Result<()> {
        let end = self.whole.as_ref().map_or(self.buffer.len(), |(end, _)| *end);
        let bytes = object(&self.writer, self.continues, &self.before, &self.buffer[..end])?;
        let segment = Segment {
            first: self.next,
            last: self.next,
            seq: self.before.seq,
            bytes: bytes.len() as u64,
            written: SystemTime::now(),
            whole: self.whole.is_some(),
        };
        if !self.bucket.objects.create(&self.bucket.name(&segment), bytes.into()).await? {
            return Err(taken(self.bucket.show()));
        }
        self.continues = self.whole.is_none();
        if let Some((_, mark)) = self.whole.take() {
            (self.before, self.durable) = (mark, self.next);
        }
        self.buffer.drain(..end);
        self.next += 1;
        self.put = Some(Instant::now());
        let end = journal.tail().segment;
        let due = {
            let mut segments = journal.segments();
            segments.push(segment);
            small_ones(&segments, end, self.bucket.together_bytes).is_some()
        };
        if due {
            let _ = self.bucket.chores.send(Chore::Together);
        }
        Ok(())
    }

    pub async fn sync(&mut self, journal: &Journal, mark: Mark) -> Result<Tail> {
        if self.whole.is_some() {
            self.put(journal).await?;
        }
        Ok(Tail { mark, segment: self.durable, offset: 0, closed: false })
    }

    pub fn rests_until(&self) -> Option<Instant> {
        self.put.map(|put| put + REST)
    }
}

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
