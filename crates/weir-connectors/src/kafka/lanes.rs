//! The lanes of a stream: each is a producer with an id of its own, and writes in transactions that have the progress in them.
//!
//! Here is what rows ([`super::sink`]) and changes ([`super::changes`]) have in common: who may write, and how an epoch ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twox_hash::XxHash3_128;
use weir_connect::{Barrier, Error, Result, SplitProgress, failpoint};

use super::client::{Address, blocking};
use super::config::SinkOptions;
use super::encode::{Encoding, Records};
use super::ledger::{Ledger, State};
use super::producer::{Record, Writing};

/// What the mutex guards is whole after a panic too: it is replaced, never changed halfway.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The id of a lane's transactions: readable, and never that of another stream.
fn transactional_id(options: &SinkOptions, ledger: &Ledger, lane: &str) -> String {
    let prefix = options.transactional_id_prefix.as_deref().unwrap_or("weir");
    let name: String =
        ledger.owner[0].chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).take(60).collect();
    format!("{prefix}-{name}-{}-{lane}", short_hash(&ledger.owner))
}

/// A short name for three long ones.
fn short_hash(parts: &[String; 3]) -> String {
    let text: String = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    format!("{:032x}", XxHash3_128::oneshot(text.as_bytes()))
}

/// By lane.
pub(super) type Producers = BTreeMap<usize, Writing>;

/// Shuts every earlier attempt out, and then looks what is durable.
pub(super) fn take_over(
    address: &Address,
    options: &SinkOptions,
    ledger: &Ledger,
    lanes: usize,
) -> Result<(Producers, Option<Writing>, State)> {
    let seen = ledger.read(address, false)?;
    let width = seen.width.max(lanes);
    let producer = |lane: String| -> Result<Writing> {
        let writing = Writing::new(address, options, Some(&transactional_id(options, ledger, &lane)))?;
        writing.take_over(&ledger.topic)?;
        Ok(writing)
    };
    let (mut main, producers) = std::thread::scope(|scope| {
        let main = scope.spawn(|| producer("main".into()));
        let others: Vec<_> = (0..width).map(|lane| (lane, scope.spawn(move || producer(lane.to_string())))).collect();
        let joined = |result: std::thread::Result<Result<Writing>>| {
            result.unwrap_or_else(|_| Err(Error::internal("a thread of the kafka sink panicked")))
        };
        let producers: Result<Producers> = others.into_iter().map(|(lane, thread)| Ok((lane, joined(thread.join())?))).collect();
        (joined(main.join()), producers)
    });
    let mut producers = producers?;
    if let (Ok(main), true) = (&mut main, seen.width < width) {
        let (key, value) = ledger.width(width);
        main.begin()?;
        note(main, &ledger.topic, &key, Some(&value))?;
        main.commit()?;
    }
    let state = ledger.read(address, true)?;
    producers.retain(|lane, _| *lane < lanes);
    Ok((producers, Some(main?), state))
}

/// One line of the ledger, in the open transaction.
fn note(writing: &mut Writing, topic: &str, key: &[u8], value: Option<&[u8]>) -> Result<()> {
    writing.send(&Record { topic, key: Some(key), value, partition: Some(0), timestamp: None, headers: &[] })
}

/// What a run has written.
pub(super) struct Totals {
    pub lanes: BTreeMap<usize, (u64, u64)>,
    pub keys: BTreeSet<Vec<u8>>,
}

/// What the lanes of one stream share.
pub(super) struct Shared {
    pub address: Address,
    pub options: SinkOptions,
    pub headers: Vec<(String, String)>,
    pub topic: String,
    pub encoding: Encoding,
    pub ledger: Ledger,
    pub exactly_once: bool,
    pub state: Mutex<Totals>,
    /// Of the lanes that have no writer yet.
    pub producers: Mutex<Producers>,
    /// Writes what concerns all lanes.
    pub main: Mutex<Option<Writing>>,
}

impl Shared {
    /// Forgets the splits and lanes, and says `more` in the same transaction.
    pub fn forget(&self, more: Option<(Vec<u8>, Vec<u8>)>) -> Result<()> {
        let keys = locked(&self.state).keys.clone();
        let mut main = locked(&self.main);
        let Some(main) = main.as_mut() else { return Err(Error::internal("a sink without transactions has no ledger")) };
        if keys.is_empty() && more.is_none() {
            return Ok(());
        }
        main.begin()?;
        for key in &keys {
            note(main, &self.ledger.topic, key, None)?;
        }
        if let Some((key, value)) = &more {
            note(main, &self.ledger.topic, key, Some(value))?;
        }
        main.commit()?;
        let mut state = locked(&self.state);
        state.keys.clear();
        state.lanes.clear();
        Ok(())
    }

    /// The producer of a lane, which nobody else has.
    pub async fn hand(self: &Arc<Self>, lane: usize) -> Result<Hand> {
        let shared = self.clone();
        let writing = blocking(move || {
            if let Some(writing) = locked(&shared.producers).remove(&lane) {
                return Ok(writing);
            }
            if !shared.exactly_once {
                return Writing::new(&shared.address, &shared.options, None);
            }
            // A lane that was not announced, or a second writer of one: later attempts have to shut this one out too.
            let id = transactional_id(&shared.options, &shared.ledger, &lane.to_string());
            if let Some(main) = locked(&shared.main).as_mut()
                && shared.ledger.read(&shared.address, false)?.width <= lane
            {
                let (key, value) = shared.ledger.width(lane + 1);
                main.begin()?;
                note(main, &shared.ledger.topic, &key, Some(&value))?;
                main.commit()?;
            }
            let writing = Writing::new(&shared.address, &shared.options, Some(&id))?;
            writing.take_over(&shared.ledger.topic)?;
            Ok(writing)
        })
        .await?;
        Ok(Hand(Some(Work { writing, open: false, rows: 0, bytes: 0 })))
    }

    /// Hands a record over; its bytes count.
    pub fn send(&self, work: &mut Work, record: &Record<'_>) -> Result<()> {
        if self.exactly_once && !work.open {
            work.writing.begin()?;
            work.open = true;
        }
        work.writing.send(record)?;
        work.bytes += (record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len)) as u64;
        Ok(())
    }

    /// Hands records over, with all that they have.
    pub fn send_each(&self, work: &mut Work, records: &Records) -> Result<()> {
        for row in 0..records.count() {
            let record = Record {
                topic: &self.topic,
                key: records.key(row),
                value: Some(records.value(row)),
                partition: records.partition(row),
                timestamp: records.timestamp(row),
                headers: records.headers(row).unwrap_or(&self.headers),
            };
            self.send(work, &record)?;
        }
        Ok(())
    }

    /// Hands records over that have nothing but a key and a value; their bytes count.
    pub fn send_all(&self, work: &mut Work, records: &Records) -> Result<()> {
        if self.exactly_once && !work.open {
            work.writing.begin()?;
            work.open = true;
        }
        let all = (0..records.count()).map(|row| (records.key(row), records.value(row)));
        work.writing.send_all(&self.topic, all.clone())?;
        work.bytes += all.map(|(key, value)| (value.len() + key.map_or(0, <[u8]>::len)) as u64).sum::<u64>();
        Ok(())
    }

    /// Makes what was sent durable, with the barrier's progress in the same transaction. Gives the rows and bytes that it was.
    pub async fn flush(self: &Arc<Self>, hand: &mut Hand, lane: usize, barrier: &Barrier) -> Result<(u64, u64)> {
        let (shared, progress) = (self.clone(), barrier.progress.clone());
        failpoint!("kafka.flush.before");
        let new = hand.with(move |work| shared.finish(work, lane, &progress)).await?;
        failpoint!("kafka.flush.after");
        Ok(new)
    }

    fn finish(&self, work: &mut Work, lane: usize, progress: &[SplitProgress]) -> Result<(u64, u64)> {
        let new = (std::mem::take(&mut work.rows), std::mem::take(&mut work.bytes));
        let before = locked(&self.state).lanes.get(&lane).copied().unwrap_or_default();
        let total = (before.0 + new.0, before.1 + new.1);
        if !self.exactly_once {
            work.writing.deliver()?;
            locked(&self.state).lanes.insert(lane, total);
            return Ok(new);
        }
        if !work.open {
            work.writing.begin()?;
            work.open = true;
        }
        let mut keys = Vec::with_capacity(progress.len() + 1);
        for part in progress {
            let (key, value) = self.ledger.split(part)?;
            note(&mut work.writing, &self.ledger.topic, &key, Some(&value))?;
            keys.push(key);
        }
        let (key, value) = self.ledger.lane(lane, total.0, total.1);
        note(&mut work.writing, &self.ledger.topic, &key, Some(&value))?;
        keys.push(key);
        work.writing.commit()?;
        work.open = false;
        let mut state = locked(&self.state);
        state.lanes.insert(lane, total);
        state.keys.extend(keys);
        Ok(new)
    }
}

/// A producer at work.
pub(super) struct Work {
    writing: Writing,
    /// A transaction is open.
    open: bool,
    /// Since the last flush.
    pub rows: u64,
    /// Of keys and values.
    bytes: u64,
}

impl Drop for Work {
    /// Readers wait for an open transaction: it is given up at once, and not when its time is over.
    fn drop(&mut self) {
        if self.open {
            let _fenced_or_gone = self.writing.abort();
        }
    }
}

/// A writer's producer: gone while a thread has it, and for good after an error.
pub(super) struct Hand(Option<Work>);

impl Hand {
    /// Lets a thread work with it.
    pub async fn with<T: Send + 'static>(&mut self, act: impl FnOnce(&mut Work) -> Result<T> + Send + 'static) -> Result<T> {
        let mut work = self.0.take().ok_or_else(gone)?;
        let (work, done) = blocking(move || {
            let done = act(&mut work)?;
            Ok((work, done))
        })
        .await?;
        self.0 = Some(work);
        Ok(done)
    }

    /// Rows since the last flush.
    pub fn rows(&self) -> Result<u64> {
        self.0.as_ref().map(|work| work.rows).ok_or_else(gone)
    }
}

fn gone() -> Error {
    Error::internal("a writer was used after an error")
}

impl Drop for Hand {
    fn drop(&mut self) {
        if let Some(work) = self.0.take()
            && work.open
        {
            // Giving a transaction up asks the brokers.
            let _detached = std::thread::Builder::new().name("kafka writer ends".into()).spawn(move || drop(work));
        }
    }
}
