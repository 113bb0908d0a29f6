//! One stream, read from a place to an end or for ever.
//!
//! Each answer holds entries and, from the same moment, what the server says of the stream: so a loss is seen before a row behind it is given.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use futures::StreamExt;
use serde_json::Value as Json;
use weir_connect::{Batch, Error, Event, EventStream, Result};
use weir_formats::Refusal;

use super::client::{Address, BLOCK, Facts, Link};
use super::config::{Metadata, OnDataLoss, SourceOptions};
use super::entries::{Entry, Id};
use super::errors::{data_loss, is_missing, shown, unexpected};
use super::loss::{Kept, Place};
use crate::messages::letters::letter;
use crate::messages::{Format, OwnValue, Rows, Shape};

/// Batch size when the engine has no wish.
const BATCH_BYTES: usize = 4 << 20;
/// Rows per batch at most, so that narrow entries do not make huge batches.
const BATCH_ROWS: usize = 64 * 1024;
/// Entries that are asked for at first, when nothing is known of their size.
const FIRST_COUNT: u64 = 64;
/// Entries that are asked for at most.
const MOST_COUNT: u64 = 16 * 1024;

/// What one reader does.
pub struct Job {
    /// What batches look like.
    pub shape: Arc<Shape>,
    /// The options that say how.
    pub options: SourceOptions,
    /// The key, which is the stream's name.
    pub key: String,
    /// Where to begin.
    pub from: Place,
    /// The last id to give; `None`: never stop.
    pub end: Option<Id>,
    /// Wanted size of batches; 0: our own.
    pub batch_bytes: usize,
}

/// The column's value of an entry.
pub fn own<'a>(kind: Metadata, key: &'a str, id: &'a str, entry: Id) -> OwnValue<'a> {
    match kind {
        Metadata::Id => OwnValue::Text(id),
        Metadata::Stream => OwnValue::Text(key),
        // Beyond the year 292,000,000 ids are numbers and no times.
        Metadata::Timestamp => i64::try_from(entry.millis).map_or(OwnValue::Null, OwnValue::Time),
    }
}

/// Where an entry was, for dead letters.
pub fn place_of(key: &str, place: &str) -> Option<Id> {
    Id::parse(place.strip_prefix(key)?.strip_prefix(" entry ")?)
}

/// Starts to read. Dropping the stream ends it.
pub async fn start(address: &Address, job: Job) -> Result<EventStream> {
    if job.end.is_some_and(|end| job.from.id >= end) {
        return Ok(futures::stream::empty().boxed());
    }
    let (link, rows) = (address.connect().await?, Rows::new(&job.shape)?);
    let mut kinds = job.options.metadata.clone();
    kinds.sort_unstable();
    kinds.dedup();
    let reader = Reader {
        at: job.from,
        told: job.from.id,
        count: FIRST_COUNT,
        ready: VecDeque::new(),
        job,
        kinds,
        link,
        rows,
        bytes: 0,
        idle: false,
        over: false,
    };
    Ok(futures::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(event)) => Some((Ok(event), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed())
}

struct Reader {
    job: Job,
    kinds: Vec<Metadata>,
    link: Link,
    rows: Rows,
    /// Behind the last entry that was taken.
    at: Place,
    /// What the last position that was given said.
    told: Id,
    /// Entries to ask for next.
    count: u64,
    ready: VecDeque<Event>,
    /// Bytes of entries in the batch at hand.
    bytes: usize,
    /// The end of the stream was told since the last entry.
    idle: bool,
    over: bool,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.over {
                return Ok(None);
            }
            let (facts, entries) = self.fetch().await?;
            if let Some(facts) = &facts {
                self.at = self.at.anchored(facts);
            }
            if self.judge(facts.as_ref())? {
                continue;
            }
            if self.take(entries)? {
                continue;
            }
            // The end, as it was at that moment.
            if let Some(facts) = &facts {
                self.at = self.at.at_end(facts);
            }
            match self.job.end {
                Some(_) => self.over = true,
                None if self.idle => self.wait().await?,
                None => {
                    self.idle = true;
                    self.ready.push_back(Event::Idle);
                }
            }
        }
    }

    /// What there is of the stream and what follows, of one moment.
    async fn fetch(&mut self) -> Result<(Option<Facts>, Vec<Entry>)> {
        let key = &self.job.key;
        let mut both = redis::pipe();
        both.atomic().cmd("XINFO").arg("STREAM").arg(key);
        both.cmd("XREAD").arg("COUNT").arg(self.count).arg("STREAMS").arg(key).arg(self.at.id.to_string());
        let answers = match self.link.send(&both).await {
            Ok(answers) => answers,
            Err(error) if is_missing(&error) => return Ok((None, Vec::new())),
            Err(error) => return Err(shown(&error, key)),
        };
        let [facts, read] = <[redis::Value; 2]>::try_from(answers).map_err(|_| unexpected(key, "EXEC"))?;
        let facts = Facts::parse(&facts).ok_or_else(|| unexpected(key, "XINFO STREAM"))?;
        Ok((Some(facts), Entry::of_read(read).ok_or_else(|| unexpected(key, "XREAD"))?))
    }

    /// Whether everything is there that follows the place; if not, an error, or from now on the oldest entry that is left. `true`: the place is another
    /// one now, and what follows it has to be asked for.
    fn judge(&mut self, facts: Option<&Facts>) -> Result<bool> {
        let Some(lost) = self.at.lost(facts) else { return Ok(false) };
        if self.job.options.on_data_loss == OnDataLoss::Fail {
            return Err(data_loss(&self.job.key, lost));
        }
        tracing::warn!(target: "weir::redis", "stream `{}`: {lost}; reading goes on at the oldest entry", self.job.key);
        let anew =
            facts.is_none_or(|facts| facts.last < self.at.id || facts.added.zip(self.at.counted).is_some_and(|(a, c)| a < c));
        let oldest = facts.map(Place::earliest).unwrap_or_default();
        // Entries of a stream that was made anew are all new; otherwise those up to here were given.
        self.at = if anew { oldest } else { Place { counted: oldest.counted, delivered: false, ..self.at } };
        Ok(anew)
    }

    /// Whether there were any before the end.
    fn take(&mut self, entries: Vec<Entry>) -> Result<bool> {
        let mut largest = 1;
        let mut some = false;
        for entry in entries {
            if self.job.end.is_some_and(|end| entry.id > end) {
                self.flush()?;
                self.over = true;
                return Ok(true);
            }
            some = true;
            self.idle = false;
            largest = largest.max(entry.bytes());
            self.entry(&entry)?;
        }
        self.flush()?;
        if some {
            let wanted = self.job.options.fetch_bytes.unwrap_or(8 << 20).max(1) / largest as u64;
            self.count = wanted.clamp(1, (self.count * 4).min(MOST_COUNT));
        }
        Ok(some)
    }

    fn entry(&mut self, entry: &Entry) -> Result<()> {
        let payload = entry.payload(self.job.options.field.as_deref());
        let id = entry.id.to_string();
        let taken = match &payload {
            Ok(payload) => {
                let own: Vec<OwnValue<'_>> = self.kinds.iter().map(|kind| own(*kind, &self.job.key, &id, entry.id)).collect();
                self.rows.push(payload, &own)
            }
            Err(refusal) => Err(Refusal { code: refusal.code, reason: refusal.reason.clone() }),
        };
        if let Err(refusal) = taken {
            // What came before it goes before it, with a position that does not contain it.
            self.flush()?;
            self.dead(entry, payload.ok().as_deref(), refusal);
            self.at = self.at.past(entry.id);
            return self.position();
        }
        self.at = self.at.past(entry.id);
        self.bytes += entry.bytes();
        let limit = if self.job.batch_bytes == 0 { BATCH_BYTES } else { self.job.batch_bytes };
        if self.bytes >= limit || self.rows.count() >= BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn dead(&mut self, entry: &Entry, payload: Option<&[u8]>, refusal: Refusal) {
        let format = if self.job.options.field.is_some() { self.job.options.format } else { Format::Json };
        let media_type = format.media_type();
        let kept = payload.map_or_else(|| Cow::Owned(entry.told()), Cow::Borrowed);
        let place = format!("{} entry {}", self.job.key, entry.id);
        let letter = letter(&self.job.key, place, (refusal.code, refusal.reason), &kept, media_type);
        self.ready.push_back(Event::Dead(letter));
    }

    fn flush(&mut self) -> Result<()> {
        if self.rows.count() == 0 { Ok(()) } else { self.position() }
    }

    /// The rows so far, if there are any, and the position behind them.
    fn position(&mut self) -> Result<()> {
        if self.rows.count() == 0 && self.at.id == self.told {
            return Ok(());
        }
        self.told = self.at.id;
        let source_bytes = std::mem::take(&mut self.bytes) as u64;
        let position: Json = serde_json::to_value(Kept::from(self.at))
            .map_err(|error| Error::internal("a position does not serialise").because(error))?;
        let records = self.rows.finish()?;
        self.ready.push_back(Event::Batch(Batch { records, position: Some(position), source_bytes }));
        Ok(())
    }

    /// Until there is an entry, or the server has waited long enough. What it gives is read again, together with what is said of the stream.
    async fn wait(&mut self) -> Result<()> {
        let key = self.job.key.clone();
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(1).arg("BLOCK").arg(BLOCK.as_secs() * 1000).arg("STREAMS").arg(&key).arg(self.at.id.to_string());
        let _came: redis::Value = self.link.ask(&command, &key).await?;
        Ok(())
    }
}
