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
use super::super::local::is_overtaken;
use super::super::manifest::{LiveFile, Manifest, RunRecord};
use super::super::sink::Shared;
use super::super::storage::{Expect, Staged};
use super::super::writer::TokenFile;

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
}

async fn edit(shared: &Arc<Shared>, change: impl Fn(&mut Manifest) -> Result<bool>) -> Result<()> {
    let storage = shared.dataset.storage.as_ref();
    let lock = storage.lock(&shared.dataset.hidden).await?;
    let mut attempt = 0;
    loop {
        let found = Manifest::load(storage, &shared.dataset.hidden).await?;
        let (mut manifest, expect) = found.unwrap_or((Manifest::default(), Expect::Absent));
        if !change(&mut manifest)? {
            break;
        }
        match manifest.save(storage, &shared.dataset.hidden, expect).await {
            Ok(()) => break,
            // Somebody else's commit came between: on S3 nothing locks.
            Err(error) if is_overtaken(&error) && attempt < 8 => attempt += 1,
            Err(error) => return Err(error),
        }
    }
    drop(lock);
    Ok(())
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
    edit(shared, |manifest| {
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
    Ok(slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Makes the files visible and moves the progress.
pub(super) async fn flush(shared: &Arc<Shared>, flush: &Flush) -> Result<()> {
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
        let Some(known) = known.filter(|record| record.attempt == flush.record.attempt) else { return Err(taken_over(shared)) };
        if *known == flush.record {
            return Ok(false);
        }
        *known = flush.record.clone();
        let added: HashSet<&str> = live.iter().map(|file| file.path.as_str()).collect();
        manifest.files.retain(|file| !added.contains(file.path.as_str()));
        manifest.files.extend(live.iter().cloned());
        manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
        manifest.format = shared.write.format.as_str().to_owned();
        manifest.partition_by = shared.partition_by.clone();
        if !shared.contract.dataset.fields().is_empty() {
            manifest.set_schema(&shared.contract.dataset)?;
        }
        Ok(true)
    });
    if let Err(error) = moved.await {
        if error.code() == TAKEN_OVER {
            let manifest = Manifest::load(shared.dataset.storage.as_ref(), &shared.dataset.hidden).await?;
            let manifest = manifest.map(|(manifest, _)| manifest).unwrap_or_default();
            commit::undo(shared, &intent, &manifest, &HashSet::new()).await?;
        }
        return Err(error);
    }
    failpoint!("files.changes.manifest");
    shared.dataset.storage.sweep(&shared.staging, &[]).await
}

const TAKEN_OVER: &str = "WEIR-FILE-093";

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
