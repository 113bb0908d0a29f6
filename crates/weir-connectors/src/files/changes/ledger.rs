//! How far the log of changes got, in the dataset's manifest.
//!
//! A flush adds its files and moves the progress in one replacement of the manifest: both are there, or neither. Before the files become visible an
//! intent names them, so that what a crash leaves in the folder is taken away again (`super::super::commit`). Who opens the stream writes its
//! name into the manifest; a flush of anybody else is refused from then on, so an attempt that is thought dead cannot add a file.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_connect::{CommitReport, Recovery, SplitProgress, failpoint};
use weir_error::{Error, Kind, Result};

use super::super::commit::{self, Intent};
use super::super::local::{conflict, is_overtaken};
use super::super::manifest::{LiveFile, Manifest, Retired, RunRecord};
use super::super::sink::Shared;
use super::super::storage::{Expect, Staged};
use super::super::writer::TokenFile;
use super::copies;

/// One log's place in a dataset.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogRecord {
    /// Pipeline, node and stream.
    pub writer: String,
    /// The run that wrote last.
    pub run: String,
    /// Who may go on.
    pub attempt: String,
    /// How far the run's log got.
    pub progress: Vec<SplitProgress>,
    /// Number of the next file; names are in the order of the log.
    pub next_file: u64,
    /// Changes in this place so far, over all runs: `_seq`.
    pub changes: u64,
    /// Of the run.
    pub rows: u64,
    /// Of the run.
    pub bytes: u64,
    /// Of the run.
    pub objects: u64,
}

/// A flush.
pub(super) struct Flush {
    /// The record as it is afterwards.
    pub record: LogRecord,
    /// Staged files that become visible with it.
    pub files: Vec<TokenFile>,
    /// Changes in them.
    pub rows: u64,
    /// How files of the state change; without it the files are added.
    pub swap: Option<Swap>,
}

/// Files that change.
#[derive(Debug, Default)]
pub(in super::super) struct Swap {
    /// What they were when they were read, and what they become; none: they come, or leave.
    pub files: Vec<(Option<LiveFile>, Option<LiveFile>)>,
    /// Content that was retired and is deleted by now.
    pub deleted: HashSet<String>,
    /// Copies that are as the manifest says by now.
    pub shown: HashSet<String>,
}

impl Swap {
    fn enter(&self, shared: &Shared, manifest: &mut Manifest) -> Result<()> {
        for before in self.files.iter().filter_map(|(before, _)| before.as_ref()) {
            let same = |file: &LiveFile| file.path == before.path && file.place() == before.place();
            let Some(at) = manifest.files.iter().position(same) else { return Err(conflict(&shared.dataset.place)) };
            manifest.files.remove(at);
        }
        let at = chrono::Utc::now().timestamp();
        manifest.retired.retain(|retired| !self.deleted.contains(&retired.path));
        let content = self.files.iter().filter_map(|(before, _)| before.as_ref()?.content.clone());
        manifest.retired.extend(content.map(|path| Retired { path, at }));
        manifest.unshown.retain(|path| !self.shown.contains(path));
        manifest.unshown.extend(self.paths());
        manifest.unshown.sort();
        manifest.unshown.dedup();
        manifest.files.extend(self.files.iter().filter_map(|(_, after)| after.clone()));
        Ok(())
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.files.iter().filter_map(|(before, after)| Some(before.as_ref().or(after.as_ref())?.path.clone())).collect()
    }
}

/// What is changed in the files from outside the log.
#[derive(Debug, Default)]
pub(in super::super) struct Correction {
    /// Staged files that become visible with it.
    pub files: Vec<TokenFile>,
    /// How files of the state change; without it the files are added.
    pub swap: Option<Swap>,
    /// The log's numbers as they are afterwards: of the next file and of the last change.
    pub numbers: Option<(u64, u64)>,
    /// Rows that were corrected.
    pub rows: u64,
}

/// Gives the manifest as it is afterwards, but for its version.
async fn edit(shared: &Arc<Shared>, change: impl Fn(&mut Manifest) -> Result<bool>) -> Result<Manifest> {
    let storage = shared.dataset.storage.as_ref();
    let lock = storage.lock(&shared.dataset.hidden).await?;
    let mut attempt = 0;
    let edited = loop {
        let found = Manifest::load(storage, &shared.dataset.hidden).await?;
        let (mut manifest, expect) = found.unwrap_or((Manifest::default(), Expect::Absent));
        if !change(&mut manifest)? {
            break manifest;
        }
        match manifest.clone().save(storage, &shared.dataset.hidden, expect).await {
            Ok(()) => break manifest,
            // Somebody else's commit came between: on S3 nothing locks.
            Err(error) if is_overtaken(&error) && attempt < 8 => attempt += 1,
            Err(error) => return Err(error),
        }
    };
    drop(lock);
    Ok(edited)
}

/// What the manifest knows of this run.
pub(super) async fn recover(shared: &Arc<Shared>) -> Result<Recovery> {
    let found = Manifest::load(shared.dataset.storage.as_ref(), &shared.dataset.hidden).await?;
    let Some((manifest, _)) = found else { return Ok(Recovery::default()) };
    let committed = manifest.report(&shared.run, &shared.writer, &shared.dataset.place);
    let record = manifest.logs.iter().find(|record| record.writer == shared.writer && record.run == shared.run);
    Ok(Recovery {
        committed,
        progress: record.filter(|record| !record.progress.is_empty()).map(|record| record.progress.clone()),
        rows: record.map_or(0, |record| record.rows),
    })
}

/// Takes the stream over and takes away what an earlier attempt left half done.
pub(super) async fn open(shared: &Arc<Shared>) -> Result<LogRecord> {
    let slot = std::sync::Mutex::new(LogRecord::default());
    let edited = edit(shared, |manifest| {
        let place = match manifest.logs.iter().position(|record| record.writer == shared.writer) {
            Some(place) => place,
            None => {
                manifest.logs.push(LogRecord { writer: shared.writer.clone(), ..LogRecord::default() });
                manifest.logs.len() - 1
            }
        };
        let record = &mut manifest.logs[place];
        record.attempt = shared.nonce.clone();
        if record.run != shared.run {
            record.run = shared.run.clone();
            (record.progress, record.rows, record.bytes, record.objects) = (Vec::new(), 0, 0, 0);
        }
        *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = record.clone();
        Ok(true)
    })
    .await?;
    commit::discard(shared, &[]).await?;
    // What the last flush was to show, if a crash came between.
    copies::show(shared, &edited, &edited.unshown).await?;
    Ok(slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Makes the files visible and moves the progress. Gives the manifest as it was last seen.
pub(super) async fn flush(shared: &Arc<Shared>, flush: &Flush) -> Result<Manifest> {
    let outputs: Vec<Staged> = flush.files.iter().map(|file| file.staged.clone()).collect();
    let intent =
        Intent { run: shared.run.clone(), base: 0, outputs: flush.files.clone(), replaced: Vec::new(), rows: flush.rows };
    if !outputs.is_empty() {
        commit::save_intent(shared, &intent).await?;
        failpoint!("files.changes.intent");
        commit::publish(shared.dataset.storage.as_ref(), &outputs).await?;
        failpoint!("files.changes.published");
    }
    let live: Vec<LiveFile> = flush.files.iter().map(|file| commit::live(shared, file)).collect();
    let moved = edit(shared, |manifest| {
        let known = manifest.logs.iter_mut().find(|record| record.writer == shared.writer);
        let known = known.ok_or_else(|| taken_over(shared))?;
        if known.attempt != flush.record.attempt {
            return Err(if known.attempt.starts_with(MENDED) { mended(shared) } else { taken_over(shared) });
        }
        if *known == flush.record {
            return Ok(false);
        }
        *known = flush.record.clone();
        match &flush.swap {
            Some(swap) => swap.enter(shared, manifest)?,
            None => add(manifest, &live),
        }
        manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
        manifest.format = shared.write.format.as_str().to_owned();
        manifest.partition_by = shared.partition_by.clone();
        if !shared.contract.dataset.fields().is_empty() {
            manifest.set_schema(&shared.contract.dataset)?;
        }
        Ok(true)
    });
    let mut manifest = match moved.await {
        Ok(manifest) => manifest,
        Err(error) => {
            if [TAKEN_OVER, MENDED_MEANWHILE].contains(&error.code()) {
                commit::undo(shared, &intent, &current(shared).await?, &HashSet::new()).await?;
            }
            return Err(error);
        }
    };
    failpoint!("files.changes.manifest");
    if let Some(swap) = &flush.swap {
        let paths = swap.paths();
        let mut mine = paths.is_empty();
        copies::show(shared, &manifest, &paths).await?;
        while !mine {
            // Whoever took over meanwhile has shown something newer, and must not lose it again.
            let now = current(shared).await?;
            let record = now.logs.iter().find(|record| record.writer == shared.writer);
            mine = record.is_some_and(|record| record.attempt == flush.record.attempt) || now.version == manifest.version;
            if !mine {
                copies::show(shared, &now, &paths).await?;
            }
            manifest = now;
        }
    }
    shared.dataset.storage.sweep(&shared.staging, &[]).await?;
    Ok(manifest)
}

fn add(manifest: &mut Manifest, live: &[LiveFile]) {
    let added: HashSet<&str> = live.iter().map(|file| file.path.as_str()).collect();
    manifest.files.retain(|file| !added.contains(file.path.as_str()));
    manifest.files.extend(live.iter().cloned());
}

/// Makes a correction visible; the progress of the log stays as it is. `false`: the manifest is not the one any more that it was made for, and nothing was
/// changed. Whoever writes the log is refused once with its next flush: its files are not what they were, so it begins anew where it had got to.
pub(in super::super) async fn mend(
    shared: &Arc<Shared>,
    writer: &str,
    (before, expect): (&Manifest, Expect),
    correction: &Correction,
) -> Result<bool> {
    let (storage, hidden) = (shared.dataset.storage.as_ref(), &shared.dataset.hidden);
    let outputs: Vec<Staged> = correction.files.iter().map(|file| file.staged.clone()).collect();
    let intent = Intent {
        run: shared.run.clone(),
        base: before.version,
        outputs: correction.files.clone(),
        replaced: Vec::new(),
        rows: correction.rows,
    };
    commit::save_intent(shared, &intent).await?;
    failpoint!("files.changes.intent");
    commit::publish(storage, &outputs).await?;
    failpoint!("files.changes.published");
    let mut manifest = before.clone();
    for record in &mut manifest.logs {
        record.attempt = format!("{MENDED}{}", shared.nonce);
        if let Some((next_file, changes)) = correction.numbers.filter(|_| record.writer == writer) {
            (record.next_file, record.changes) = (next_file, changes);
        }
    }
    match &correction.swap {
        Some(swap) => swap.enter(shared, &mut manifest)?,
        None => {
            let live: Vec<LiveFile> = correction.files.iter().map(|file| commit::live(shared, file)).collect();
            add(&mut manifest, &live);
        }
    }
    manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
    match manifest.save(storage, hidden, expect).await {
        Ok(()) => {}
        Err(error) if is_overtaken(&error) => {
            commit::undo(shared, &intent, &current(shared).await?, &HashSet::new()).await?;
            storage.sweep(&shared.staging, &[]).await?;
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    failpoint!("files.changes.manifest");
    let paths = correction.swap.as_ref().map(Swap::paths).unwrap_or_default();
    loop {
        let now = current(shared).await?;
        copies::show(shared, &now, &paths).await?;
        // What was shown must not be older than what somebody else has shown meanwhile.
        if paths.is_empty() || current(shared).await?.version == now.version {
            break;
        }
    }
    storage.sweep(&shared.staging, &[]).await?;
    Ok(true)
}

/// The manifest as it is.
pub(in super::super) async fn current(shared: &Arc<Shared>) -> Result<Manifest> {
    let found = Manifest::load(shared.dataset.storage.as_ref(), &shared.dataset.hidden).await?;
    Ok(found.map(|(manifest, _)| manifest).unwrap_or_default())
}

const TAKEN_OVER: &str = "WEIR-FILE-093";
const MENDED_MEANWHILE: &str = "WEIR-FILE-104";
/// How the name of an attempt begins that was a correction.
const MENDED: &str = "mend-";

fn mended(shared: &Shared) -> Error {
    Error::new(MENDED_MEANWHILE, Kind::Conflict, "rows of these files were mended meanwhile")
        .at(shared.dataset.place.clone())
        .hint("nothing is lost: the changes are applied once more, to the files as they are now")
        .transient()
}

fn taken_over(shared: &Shared) -> Error {
    Error::new(TAKEN_OVER, Kind::Conflict, "another attempt of this run goes on with these files")
        .at(shared.dataset.place.clone())
        .hint("nothing is lost: it began where this one had got to")
}

/// Ends the run; its report. Can be repeated.
pub(super) async fn finish(shared: &Arc<Shared>) -> Result<CommitReport> {
    edit(shared, |manifest| {
        if manifest.report(&shared.run, &shared.writer, &shared.dataset.place).is_some() {
            return Ok(false);
        }
        let known = manifest.logs.iter().find(|record| record.writer == shared.writer && record.run == shared.run);
        let record = known.cloned().unwrap_or_default();
        let LogRecord { rows, bytes, objects, .. } = record;
        let report = CommitReport { rows, bytes, objects, place: shared.dataset.place.clone() };
        manifest.runs.push(RunRecord::new(&shared.run, &shared.writer, shared.mode, &report));
        Ok(true)
    })
    .await?;
    shared.dataset.storage.sweep(&shared.staging, &[]).await?;
    let found = Manifest::load(shared.dataset.storage.as_ref(), &shared.dataset.hidden).await?;
    let report = found.and_then(|(manifest, _)| manifest.report(&shared.run, &shared.writer, &shared.dataset.place));
    report.ok_or_else(|| Error::internal("a run that was just committed is not in the manifest").at(shared.dataset.place.clone()))
}
