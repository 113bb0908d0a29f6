//! The state of flows that keep some (`docs/adr/0009`): durable epoch by epoch, and given back exactly as it was at the epoch that the checkpoint and the
//! sinks agree on.
//!
//! * [`log`]: the changes of each epoch, on disk before the checkpoint names them;
//! * [`store`]: an embedded tree that confirmed epochs enter, and that memory spills to;
//! * this file: where both are, and how they are brought to one epoch.
//!
//! ```text
//! append (log, fsync) ──▶ checkpoint names the point ──▶ sinks commit ──▶ confirmed ──▶ apply (store)
//! ```
//!
//! A record enters the store only when its epoch is sure, so the store is never ahead of what sinks and checkpoint may still take back. Records stay
//! in the log until the store has them durably. What is not here: operators, watermarks (`streaming::keyed`), and the copy in a
//! folder of its own (`streaming::savepoint`).

mod log;
mod store;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;
use weir_connect::failpoint;
use weir_error::{Error, Kind, Result};
use weir_plan::keyed::{StateChange, Stored};

use crate::run::tame;
use log::{Log, Record, Records};
use store::Store;

pub use log::Point;

/// Records of so many bytes are taken out of the log once the store has them.
const LOG_BYTES: u64 = 64 << 20;
/// A part of a copy.
const COPY_BYTES: usize = 8 << 20;

/// What a checkpoint says of a flow's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateMark {
    /// The state that belongs to its positions.
    pub point: Point,
    /// The operators that it is of.
    pub fingerprint: String,
}

/// The folder of a pipeline's state.
pub(crate) fn folder_of(state: &Path, pipeline: &str) -> PathBuf {
    state.join("state").join(single(pipeline))
}

/// The folder of a flow's state.
pub(crate) fn folder_of_flow(state: &Path, pipeline: &str, flow: &str) -> PathBuf {
    folder_of(state, pipeline).join(single(flow))
}

/// A name as a folder that no other name has.
fn single(name: &str) -> String {
    match tame(name) {
        tame if tame == name => tame,
        tame => format!("{tame}-{:016x}", XxHash3_64::oneshot(name.as_bytes())),
    }
}

/// Deletes it, if it is there.
pub(crate) fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::from(error).at(folder.display().to_string())),
        _ => Ok(()),
    }
}

/// Bytes that a folder takes on disk; 0 if it is not there.
pub(crate) fn bytes_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| entry.metadata().map_or(0, |data| if data.is_dir() { bytes_of(&entry.path()) } else { taken(&data) }))
        .sum()
}

/// Journals are made long before they are full.
#[cfg(unix)]
fn taken(data: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(data) * 512
}

#[cfg(not(unix))]
fn taken(data: &fs::Metadata) -> u64 {
    data.len()
}

/// The state of one flow, open. One process has it (the pipeline's lock).
pub(crate) struct State {
    fingerprint: String,
    store: Arc<Store>,
    log: Arc<Mutex<Log>>,
    /// Of the last record in the log.
    at: Point,
    /// In the log, and not in the store.
    waiting: Option<Record>,
}

impl State {
    /// Opens the state as of this mark; without one it begins empty, and whatever is in the folder is not of this run.
    ///
    /// # Errors
    /// State that is not there, is of another moment, or of other operators. It is never taken for empty.
    pub(crate) async fn open(folder: PathBuf, fingerprint: String, mark: Option<StateMark>, cache_bytes: usize) -> Result<Self> {
        blocking(move || Self::open_now(&folder, fingerprint, mark, cache_bytes as u64)).await
    }

    fn open_now(folder: &Path, fingerprint: String, mark: Option<StateMark>, cache_bytes: u64) -> Result<Self> {
        let Some(mark) = mark else { return Self::begin(folder, fingerprint, cache_bytes) };
        if mark.fingerprint != fingerprint {
            return Err(Error::new("WEIR-STATE-010", Kind::Conflict, "the state was kept by a program that computed something else")
                .at(folder.display().to_string())
                .because("the operators with state were changed since: their windows, keys, aggregates or bounds")
                .hint(
                    "run it once with the old file and stop it; or give up what is kept, and read anew, with `weir state reset PIPELINE`",
                ));
        }
        let (tree, path) = (folder.join("store"), folder.join("log"));
        if !tree.is_dir() {
            return Err(lost(folder, &mark, "the store is not there"));
        }
        // First the store: whoever still writes holds it.
        let store = Store::open(&tree, cache_bytes)?;
        let opened = Log::open(&path, &fingerprint)?;
        let (log, mut records) = opened.ok_or_else(|| lost(folder, &mark, "the log is not there, or not whole"))?;
        let begin = store.point()?.unwrap_or_else(|| Point::origin(&fingerprint));
        let mut at = begin;
        while let Some(record) = records.next()? {
            if record.at.epoch > mark.point.epoch {
                // The checkpoint or the sinks do not have this epoch: it is read and computed again.
                break;
            }
            if record.after == at {
                store.apply(&record)?;
                at = record.at;
            } else if record.at.epoch > begin.epoch {
                return Err(lost(folder, &mark, "epochs are missing in the log"));
            }
        }
        if at != mark.point {
            let why = match at.epoch > mark.point.epoch {
                true => format!("it is of epoch {}, the checkpoint and the sinks are at {}", at.epoch, mark.point.epoch),
                false => format!("it goes to epoch {}, the checkpoint and the sinks are at {}", at.epoch, mark.point.epoch),
            };
            return Err(lost(folder, &mark, &why));
        }
        Self::settled(fingerprint, store, log, at)
    }

    fn begin(folder: &Path, fingerprint: String, cache_bytes: u64) -> Result<Self> {
        clear(folder)?;
        make(folder)?;
        let store = Store::open(&folder.join("store"), cache_bytes)?;
        let log = Log::create(&folder.join("log"), &fingerprint)?;
        sync(folder)?;
        let at = Point::origin(&fingerprint);
        Self::settled(fingerprint, store, log, at)
    }

    /// Everything of the log is in the store.
    fn settled(fingerprint: String, store: Store, mut log: Log, at: Point) -> Result<Self> {
        store.persist()?;
        log.empty()?;
        Ok(Self { fingerprint, store: Arc::new(store), log: Arc::new(Mutex::new(log)), at, waiting: None })
    }

    /// The state as of the last epoch that was applied.
    pub(crate) fn stored(&self) -> &dyn Stored {
        &*self.store
    }

    /// What the engine kept itself.
    pub(crate) fn own(&self) -> Result<Option<Vec<u8>>> {
        self.store.own()
    }

    /// Writes what an epoch did; durable when this returns, for the checkpoint to name.
    pub(crate) async fn append(&mut self, epoch: u64, own: Vec<u8>, changes: Vec<StateChange>) -> Result<StateMark> {
        if self.waiting.is_some() {
            return Err(Error::internal("an epoch of the state was not applied"));
        }
        let (log, after) = (self.log.clone(), self.at);
        let record = blocking(move || {
            let (record, bytes) = Record::new(after, epoch, own, changes)?;
            log.lock().unwrap_or_else(PoisonError::into_inner).append(&bytes)?;
            Ok(record)
        })
        .await?;
        self.at = record.at;
        self.waiting = Some(record);
        Ok(StateMark { point: self.at, fingerprint: self.fingerprint.clone() })
    }

    /// The state of this mark, as one file that needs nothing else. Nothing may be appended meanwhile. Returns its mark there.
    pub(crate) async fn copy(&self, mark: &StateMark, to: PathBuf) -> Result<StateMark> {
        if self.waiting.is_some() || self.at != mark.point {
            return Err(Error::internal("the state is not that of the checkpoint"));
        }
        let (store, mark) = (self.store.clone(), mark.clone());
        blocking(move || copy(&store, &mark, &to)).await
    }

    /// The epoch is sure: it enters the store.
    pub(crate) async fn apply(&mut self) -> Result<()> {
        let Some(record) = self.waiting.take() else { return Ok(()) };
        let (store, log) = (self.store.clone(), self.log.clone());
        blocking(move || {
            store.apply(&record)?;
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.bytes() > LOG_BYTES {
                store.persist()?;
                failpoint!("engine.state.trim");
                log.empty()?;
            }
            Ok(())
        })
        .await
    }
}

/// The state of a mark, whole, as one file that needs nothing else. Returns its mark there.
pub(crate) fn export(folder: &Path, mark: &StateMark, to: &Path) -> Result<StateMark> {
    let state = State::open_now(folder, mark.fingerprint.clone(), Some(mark.clone()), 1 << 20)?;
    copy(&state.store, mark, to)
}

/// All of a store that is at a mark.
fn copy(store: &Store, mark: &StateMark, to: &Path) -> Result<StateMark> {
    let mut log = Log::create(to, &mark.fingerprint)?;
    let own = store.own()?.unwrap_or_default();
    let mut at = Point::origin(&mark.fingerprint);
    let mut entries = store.scan(&[]);
    loop {
        let (mut changes, mut bytes) = (Vec::new(), 0);
        while bytes < COPY_BYTES {
            let Some(entry) = entries.next() else { break };
            let (key, value) = entry?;
            bytes += key.len() + value.len();
            changes.push(StateChange::Put(key, value));
        }
        if changes.is_empty() && at.epoch > 0 {
            break;
        }
        let (record, framed) = Record::new(at, at.epoch + 1, own.clone(), changes)?;
        log.append(&framed)?;
        at = record.at;
    }
    Ok(StateMark { point: at, fingerprint: mark.fingerprint.clone() })
}

/// Makes the state of a flow from such a file, in the place of what is there.
pub(crate) fn import(file: &Path, mark: &StateMark, folder: &Path) -> Result<()> {
    let state = State::begin(folder, mark.fingerprint.clone(), 1 << 20)?;
    let broken = |why: &str| {
        Error::new("WEIR-STATE-013", Kind::Data, "the savepoint is not whole").at(file.display().to_string()).because(why)
    };
    let mut records = Records::open(file, &mark.fingerprint)?.ok_or_else(|| broken("it is not a state of these operators"))?;
    let mut at = state.at;
    while at != mark.point {
        let record =
            records.next()?.filter(|record| record.after == at).ok_or_else(|| broken("a part of it is missing or changed"))?;
        state.store.apply(&record)?;
        at = record.at;
    }
    state.store.persist()
}

fn lost(folder: &Path, mark: &StateMark, why: &str) -> Error {
    Error::new("WEIR-STATE-011", Kind::Conflict, format!("the state of epoch {} is not there", mark.point.epoch))
        .at(folder.display().to_string())
        .because(why)
        .hint(
            "bring the whole state folder back as it was, from one moment; or begin from a savepoint (`weir state reset PIPELINE`, \
             `weir run --from-savepoint DIR`); or begin anew with `weir state reset PIPELINE`",
        )
}

/// Makes a folder, durable with its name.
fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| Error::from(error).at(folder.display().to_string()))?;
    // The two above may be as new: the pipeline's and the one of all states.
    folder.ancestors().skip(1).take(3).try_for_each(sync)
}

pub(crate) fn sync(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Error::from(error).at(folder.display().to_string()))
}

/// Work that waits for the disk. It is not cut short: what it holds is free when it is done.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal("writing state died").caused_by(error))?
}
