//! Which job of a pipeline was submitted and has not been seen to end.
//!
//! A command that dies leaves its job running on the engine. The next one must find it, or it would submit a second one beside it and every row would be
//! written twice. So the job is written down here before it is followed, and forgotten when its end was seen. One file for each pipeline and engine, in
//! `engines` of the state folder.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_error::{Error, Kind, Result};

use super::{Job, Savepoint};

const VERSION: u32 = 1;

/// What is known of a pipeline's job on an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    version: u32,
    /// Where the engine was.
    pub place: String,
    /// The run that submitted it.
    pub run_id: String,
    /// The job.
    pub known: Known,
    /// The savepoint that it began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Savepoint>,
}

/// How far it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// It is being submitted: the engine may have heard it.
    Submitting,
    /// The engine has it.
    Submitted(Job),
    /// It was stopped, and the next one goes on from there.
    Suspended(Savepoint),
}

impl Entry {
    /// An entry as it is now.
    pub fn new(place: String, run_id: String, known: Known) -> Self {
        Self { version: VERSION, place, run_id, known, from: None }
    }
}

/// The entry of one pipeline on one engine, locked against other commands for as long as this value lives.
#[derive(Debug)]
pub struct Ledger {
    file: PathBuf,
    _lock: std::fs::File,
}

impl Ledger {
    /// Opens it. Fails if another command follows the same pipeline on the same engine.
    pub fn open(state_dir: &Path, pipeline: &str, engine: &str) -> Result<Self> {
        let folder = state_dir.join("engines");
        std::fs::create_dir_all(&folder).map_err(|error| Error::from(error).at(folder.display().to_string()))?;
        let file = folder.join(format!("{pipeline}.{engine}.json"));
        let lock_file = folder.join(format!("{pipeline}.{engine}.lock"));
        let lock = std::fs::File::options().create(true).append(true).open(&lock_file);
        let lock = lock.map_err(|error| Error::from(error).at(lock_file.display().to_string()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { file, _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => {
                Err(Error::new("WEIR-LAUNCH-021", Kind::Conflict, format!("another command runs `{pipeline}` on {engine}"))
                    .at(lock_file.display().to_string())
                    .hint("wait for it, or stop it with Ctrl-C"))
            }
            Err(std::fs::TryLockError::Error(error)) => Err(Error::from(error).at(lock_file.display().to_string())),
        }
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// What is known, if anything is.
    pub fn read(&self) -> Result<Option<Entry>> {
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::from(error).at(self.file.display().to_string())),
        };
        let unreadable = |why: String| {
            Error::new("WEIR-LAUNCH-020", Kind::Data, "what was written down about the job on the engine cannot be read")
                .at(self.file.display().to_string())
                .because(why)
                .hint("see on the engine that no job of this pipeline runs, then delete the file")
        };
        let entry: Entry = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        if entry.version > VERSION {
            return Err(unreadable(format!("it is of version {}, this program knows {VERSION}", entry.version)));
        }
        Ok(Some(entry))
    }

    /// Writes it down, durably.
    pub fn write(&self, entry: &Entry) -> Result<()> {
        let place = |error: std::io::Error| Error::from(error).at(self.file.display().to_string());
        let text =
            serde_json::to_string_pretty(entry).map_err(|error| Error::internal("an entry is no JSON").caused_by(error))?;
        let fresh = self.file.with_extension("new");
        let mut file = std::fs::File::create(&fresh).map_err(place)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(place)?;
        std::fs::rename(&fresh, &self.file).map_err(place)?;
        let folder = self.file.parent().unwrap_or(Path::new("."));
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(place)
    }

    /// Forgets it: the job has ended.
    pub fn clear(&self) -> Result<()> {
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::from(error).at(self.file.display().to_string()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_by_the_next_command_and_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path(), "orders", "flink").unwrap();
        assert_eq!(ledger.read().unwrap(), None);
        let entry = Entry::new("http://h:1".into(), "r1".into(), Known::Submitted(Job { ids: vec!["a1".into()] }));
        ledger.write(&entry).unwrap();
        let second = Ledger::open(dir.path(), "orders", "flink").unwrap_err();
        assert_eq!((second.code(), second.exit_code()), ("WEIR-LAUNCH-021", 1));
        Ledger::open(dir.path(), "orders", "spark").unwrap();
        drop(ledger);
        let ledger = Ledger::open(dir.path(), "orders", "flink").unwrap();
        assert_eq!(ledger.read().unwrap(), Some(entry));
        ledger.clear().unwrap();
        ledger.clear().unwrap();
        assert_eq!(ledger.read().unwrap(), None);
    }

    #[test]
    fn the_file_of_the_first_version_is_understood_and_others_are_not_guessed() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path(), "p", "flink").unwrap();
        let first = r#"{"version": 1, "place": "http://h", "run_id": "r", "known": {"suspended": "file:/s/1"}}"#;
        std::fs::write(ledger.path(), first).unwrap();
        assert_eq!(ledger.read().unwrap().unwrap().known, Known::Suspended(Savepoint("file:/s/1".into())));
        for broken in [r#"{"version": 2, "place": "", "run_id": "r", "known": "submitting"}"#, "", "{"] {
            std::fs::write(ledger.path(), broken).unwrap();
            assert_eq!(ledger.read().unwrap_err().code(), "WEIR-LAUNCH-020", "{broken}");
        }
    }
}
