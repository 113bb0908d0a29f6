//! The embedded store: the state as of one point, in an LSM tree on disk.
//!
//! Every epoch enters it as one atomic batch together with its point, so after a crash it is at some epoch, whole. It is not made durable each time:
//! the log is, and what the store lacks after a power failure comes from there.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use weir_error::{Error, Kind, Result};
use weir_plan::keyed::{StateChange, Stored};

use super::log::{Point, Record};

/// What it holds in memory before it writes a table.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// The smallest that the tree accepts for its own journal.
const JOURNAL_BYTES: u64 = 64 << 20;
/// An attempt that was stopped in the middle of an epoch holds the store until that is written.
const PATIENCE: Duration = Duration::from_secs(20);

const POINT: &str = "point";
const OWN: &str = "own";

pub(super) struct Store {
    database: Database,
    /// What operators keep.
    state: Keyspace,
    /// What the engine keeps: the point, and what records carry beside the changes.
    own: Keyspace,
    place: PathBuf,
}

impl Store {
    /// Opens the store in this folder, or makes an empty one.
    pub(super) fn open(place: &Path, cache_bytes: u64) -> Result<Self> {
        let begin = Instant::now();
        let database = loop {
            let builder = Database::builder(place)
                .cache_size(cache_bytes)
                .max_journaling_size(JOURNAL_BYTES)
                .worker_threads(1)
                .manual_journal_persist(false);
            match builder.open() {
                Err(fjall::Error::Locked) if begin.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
                opened => break opened.map_err(|error| failed(place, error))?,
            }
        };
        let keyspace = |name: &str, memtable: u64| {
            let made = database.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(memtable));
            made.map_err(|error| failed(place, error))
        };
        let (state, own) = (keyspace("state", MEMTABLE_BYTES)?, keyspace("own", MEMTABLE_BYTES)?);
        Ok(Self { database, state, own, place: place.to_owned() })
    }

    /// Where it is; `None`: nothing ever entered it.
    pub(super) fn point(&self) -> Result<Option<Point>> {
        let bytes = self.own.get(POINT).map_err(|error| failed(&self.place, error))?;
        Ok(bytes.and_then(|bytes| Point::of_bytes(&bytes)))
    }

    /// What the last record carried beside the changes.
    pub(super) fn own(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.own.get(OWN).map_err(|error| failed(&self.place, error))?.map(|bytes| bytes.to_vec()))
    }

    /// Enters a record, atomically.
    pub(super) fn apply(&self, record: &Record) -> Result<()> {
        let failed = |error| failed(&self.place, error);
        // A key once: all of a batch is one moment for the tree.
        let mut last: BTreeMap<&[u8], Option<&Bytes>> = BTreeMap::new();
        let mut gone: Vec<Vec<u8>> = Vec::new();
        for change in &record.changes {
            match change {
                StateChange::Put(key, value) => {
                    last.insert(key, Some(value));
                }
                StateChange::Remove(key) => {
                    last.insert(key, None);
                }
                StateChange::RemovePrefix(prefix) => {
                    let range = last.range_mut(prefix.as_slice()..).take_while(|(key, _)| key.starts_with(prefix));
                    range.for_each(|(_, value)| *value = None);
                    for entry in self.state.prefix(prefix) {
                        gone.push(entry.key().map_err(failed)?.to_vec());
                    }
                }
            }
        }
        let mut batch = self.database.batch();
        for key in gone {
            if !last.contains_key(key.as_slice()) {
                batch.remove(&self.state, key);
            }
        }
        for (key, value) in last {
            match value {
                Some(value) => batch.insert(&self.state, key, value.as_ref()),
                None => batch.remove(&self.state, key),
            }
        }
        batch.insert(&self.own, POINT, record.at.to_bytes());
        batch.insert(&self.own, OWN, record.own.as_slice());
        batch.commit().map_err(failed)
    }

    /// Makes durable what has entered.
    pub(super) fn persist(&self) -> Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(|error| failed(&self.place, error))
    }
}

impl Stored for Store {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let value = self.state.get(key).map_err(|error| failed(&self.place, error))?;
        // A copy: the tree's own slice would keep its whole block in memory.
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, prefix: &[u8]) -> Box<dyn Iterator<Item = Result<(Vec<u8>, Bytes)>> + '_> {
        Box::new(self.state.prefix(prefix).map(|entry| {
            let (key, value) = entry.into_inner().map_err(|error| failed(&self.place, error))?;
            Ok((key.to_vec(), Bytes::copy_from_slice(&value)))
        }))
    }
}

/// An error of the tree; one of the system below it is told as such.
fn failed(place: &Path, error: fjall::Error) -> Error {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return Error::from(std::io::Error::from(io.kind())).at(place.display().to_string()).because(io);
        }
        cause = inner.source();
    }
    Error::new("WEIR-STATE-016", Kind::Io, "the store of the state cannot be used")
        .at(place.display().to_string())
        .caused_by(error)
        .hint("run the same command again; if it stays, begin from a savepoint, or anew with `weir state reset`")
}
