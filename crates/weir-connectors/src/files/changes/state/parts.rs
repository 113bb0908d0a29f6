//! The files of the state, as the manifest has them and as they are to become.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::super::commit;
use super::super::super::manifest::{LiveFile, Manifest};
use super::super::super::sink::Shared;
use super::super::super::storage::join;
use super::super::super::writer::TokenFile;
use super::super::ledger::Swap;
use super::bounds::Bounds;

/// A file that is complete and hidden.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub file: TokenFile,
    pub bounds: Option<Bounds>,
}

/// What became of a file since the last flush.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    Same,
    Gone,
    Made(Box<Made>),
}

/// A file.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Its name, relative to the dataset's folder.
    pub path: String,
    /// As in the manifest; none for one that is new.
    pub before: Option<LiveFile>,
    pub fate: Fate,
    /// Values of its folder.
    pub partition: BTreeMap<String, Option<String>>,
    /// Since the last flush rows left it for files of other folders.
    pub left: bool,
}

impl Part {
    pub(super) fn all(manifest: &Manifest) -> Vec<Part> {
        let part = |file: &LiveFile| Part {
            path: file.path.clone(),
            before: Some(file.clone()),
            fate: Fate::Same,
            partition: file.partition.clone(),
            left: false,
        };
        manifest.files.iter().map(part).collect()
    }

    pub(super) fn new(path: String, made: Made) -> Self {
        let partition = made.file.partition.clone();
        Self { path, before: None, fate: Fate::Made(Box::new(made)), partition, left: false }
    }

    /// The folder that it is in, with a slash at the end; empty for none.
    pub(super) fn folder(&self) -> &str {
        self.path.rfind('/').map_or("", |at| &self.path[..=at])
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

    pub(super) fn bounds(&self) -> Option<&Bounds> {
        match &self.fate {
            Fate::Gone => None,
            Fate::Made(made) => made.bounds.as_ref(),
            Fate::Same => self.before.as_ref().and_then(|file| file.bounds.as_ref()),
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.fate, Fate::Gone)
    }

    /// It is this now; a file without rows is none.
    pub(super) fn becomes(&mut self, made: Made) {
        self.fate = if made.file.rows == 0 { Fate::Gone } else { Fate::Made(Box::new(made)) };
    }

    /// As the manifest will have it.
    pub(super) fn after(&self, shared: &Arc<Shared>) -> Option<LiveFile> {
        match &self.fate {
            Fate::Same => self.before.clone(),
            Fate::Gone => None,
            Fate::Made(made) => {
                let live = commit::live(shared, &made.file);
                Some(LiveFile {
                    content: Some(live.path),
                    path: self.path.clone(),
                    bounds: made.bounds.clone(),
                    left: self.left,
                    ..live
                })
            }
        }
    }
}

/// What a flush changes: the files that become visible, and how the files of the manifest change.
pub(super) fn outcome(shared: &Arc<Shared>, parts: &[Part]) -> (Vec<TokenFile>, Swap) {
    let (mut files, mut swap) = (Vec::new(), Swap::default());
    for part in parts.iter().filter(|part| !matches!(part.fate, Fate::Same)) {
        if let Fate::Made(made) = &part.fate {
            files.push(made.file.clone());
        }
        swap.files.push((part.before.clone(), part.after(shared)));
    }
    (files, swap)
}
