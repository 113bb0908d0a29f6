//! The files of the state, as the manifest has them and as they are to become.

use std::sync::Arc;

use super::super::super::commit;
use super::super::super::manifest::{LiveFile, Manifest};
use super::super::super::sink::Shared;
use super::super::super::storage::join;
use super::super::super::writer::TokenFile;

/// A file that is complete and hidden.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub file: TokenFile,
    pub keys: Option<[i64; 2]>,
}

/// What became of a file since the last flush.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    Same,
    Gone,
    Made(Made),
}

/// A file.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Its name, relative to the dataset's folder.
    pub path: String,
    /// As in the manifest; none for one that is new.
    pub before: Option<LiveFile>,
    pub fate: Fate,
}

impl Part {
    pub(super) fn all(manifest: &Manifest) -> Vec<Part> {
        let part = |file: &LiveFile| Part { path: file.path.clone(), before: Some(file.clone()), fate: Fate::Same };
        manifest.files.iter().map(part).collect()
    }

    pub(super) fn new(path: String, made: Made) -> Self {
        Self { path, before: None, fate: Fate::Made(made) }
    }

    /// Where its rows are now; none if it has none.
    pub(super) fn place(&self, shared: &Shared) -> Option<String> {
        match &self.fate {
            Fate::Gone => None,
            Fate::Made(made) => made.file.staged.hidden.clone(),
            Fate::Same => self.before.as_ref().map(|file| join(&shared.dataset.folder, file.place())),
        }
    }

    pub(super) fn rows(&self) -> u64 {
        match &self.fate {
            Fate::Gone => 0,
            Fate::Made(made) => made.file.rows,
            Fate::Same => self.before.as_ref().map_or(0, |file| file.rows),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        match &self.fate {
            Fate::Gone => 0,
            Fate::Made(made) => made.file.staged.bytes,
            Fate::Same => self.before.as_ref().map_or(0, |file| file.bytes),
        }
    }

    pub(super) fn keys(&self) -> Option<[i64; 2]> {
        match &self.fate {
            Fate::Gone => None,
            Fate::Made(made) => made.keys,
            Fate::Same => self.before.as_ref().and_then(|file| file.keys),
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.fate, Fate::Gone)
    }

    /// As the manifest will have it.
    pub(super) fn after(&self, shared: &Arc<Shared>) -> Option<LiveFile> {
        match &self.fate {
            Fate::Same => self.before.clone(),
            Fate::Gone => None,
            Fate::Made(made) => {
                let live = commit::live(shared, &made.file);
                Some(LiveFile { content: Some(live.path), path: self.path.clone(), keys: made.keys, ..live })
            }
        }
    }
}
