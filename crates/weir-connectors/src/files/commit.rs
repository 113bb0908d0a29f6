//! The commit: staged files become visible, then the manifest names them, then what they replace goes away.
//!
//! 1. An *intent* is written beside the staging: which files will appear and what they replace.
//! 2. The files are made visible (rename, or a copy inside S3).
//! 3. The manifest is replaced: the moment that counts for readers that honour it.
//! 4. Replaced files are deleted, the staging is removed.
//!
//! Each step can be repeated. A crash before 3 is rolled forward by the next `commit` with the same tokens, or undone by
//! `discard` with the help of the intent; a crash after 3 only leaves cleaning up, which the next caller does.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use weir_connect::{CommitReport, CommitToken, WriteMode, failpoint};
use weir_error::{Error, Kind, Result};

use super::local::is_overtaken;
use super::manifest::{LiveFile, Manifest, RunRecord};
use super::rewrite;
use super::s3::REQUESTS;
use super::sink::{Shared, foreign_files, foreign_refused};
use super::storage::{Expect, FileMeta, Staged, Storage, folder_of, join};
use super::writer::{Token, TokenFile};

/// What a commit is about to do. Written before the first file appears.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// The run.
    pub run: String,
    /// Version of the manifest that it starts from.
    pub base: u64,
    /// Files that will appear.
    pub outputs: Vec<TokenFile>,
    /// Live files that leave, relative to the dataset.
    pub replaced: Vec<String>,
    /// Rows that the run wrote (not: that the outputs hold).
    pub rows: u64,
}

fn intent_path(shared: &Arc<Shared>) -> String {
    join(&shared.staging, "commit.json")
}

async fn load_intent(storage: &dyn Storage, path: &str) -> Result<Option<Intent>> {
    let Some((text, _)) = storage.read_small(path).await? else { return Ok(None) };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        Error::new("WEIR-FILE-061", Kind::Data, "the note of an unfinished commit cannot be read")
            .at(storage.show(path))
            .because(error)
    })
}

pub(crate) async fn save_intent(shared: &Arc<Shared>, intent: &Intent) -> Result<()> {
    let text = serde_json::to_vec(intent).map_err(|error| Error::internal(error.to_string()))?;
    shared.dataset.storage.put_small(&intent_path(shared), text.into(), Expect::Anything).await
}

async fn load(shared: &Arc<Shared>) -> Result<(Manifest, Expect)> {
    let found = Manifest::load(shared.dataset.storage.as_ref(), &shared.dataset.hidden).await?;
    Ok(found.unwrap_or((Manifest::default(), Expect::Absent)))
}

/// Whether this run is in the manifest already; then whatever a crash left undone is done.
pub(crate) async fn committed(shared: &Arc<Shared>) -> Result<Option<CommitReport>> {
    let (manifest, expect) = load(shared).await?;
    let report = manifest.report(&shared.run, &shared.writer, &shared.dataset.place);
    if report.is_some() {
        clean_up(shared, manifest, expect).await?;
    }
    Ok(report)
}

/// See [`weir_connect::StreamSink::commit`].
pub(crate) async fn commit(shared: &Arc<Shared>, tokens: &[CommitToken]) -> Result<CommitReport> {
    let files = Token::files_of(tokens)?;
    failpoint!("files.commit.before");
    let storage = shared.dataset.storage.as_ref();
    let lock = storage.lock(&shared.dataset.hidden).await?;
    let mut attempt = 0;
    let report = loop {
        let (manifest, expect) = load(shared).await?;
        if let Some(report) = manifest.report(&shared.run, &shared.writer, &shared.dataset.place) {
            clean_up(shared, manifest, expect).await?;
            break report;
        }
        if expect == Expect::Absent {
            // Without any manifest a reader would take the first files for somebody's plain ones, before the commit.
            manifest.clone().save(storage, &shared.dataset.hidden, expect).await.or_else(unless_conflict)?;
            continue;
        }
        let intent = intend(shared, &manifest, &files).await?;
        match carry_out(shared, manifest, expect, intent).await {
            Ok(report) => break report,
            // Somebody else's commit came between: on S3 nothing locks. Adding files goes with everything.
            Err(error) if is_overtaken(&error) && attempt < 8 && !shared.rewrites() => attempt += 1,
            Err(error) => return Err(error),
        }
    };
    drop(lock);
    Ok(report)
}

/// Step 1. An intent that a crash left is taken up again if the dataset is still the one that it was made for.
async fn intend(shared: &Arc<Shared>, manifest: &Manifest, files: &[TokenFile]) -> Result<Intent> {
    let storage = shared.dataset.storage.as_ref();
    let left = load_intent(storage, &intent_path(shared)).await?.filter(|intent| intent.run == shared.run);
    let rows = files.iter().map(|file| file.rows).sum();
    if shared.rewrites() {
        if let Some(left) = left {
            if left.base == manifest.version && left.rows == rows {
                return Ok(left);
            }
            undo(shared, &left, manifest, &HashSet::new()).await?;
        }
        let staged: Vec<Staged> = files.iter().map(|file| file.staged.clone()).collect();
        publish(storage, &staged).await?;
    }
    let (outputs, replaced) = match (&shared.dataset.single, shared.mode) {
        (Some(path), _) => (vec![rewrite::single(shared, path, files).await?], vec![]),
        (None, WriteMode::Upsert) => rewrite::upsert(shared, manifest, files).await?,
        (None, WriteMode::Overwrite) => {
            let foreign = foreign_files(shared, Some(manifest)).await?;
            if !foreign.is_empty() && !shared.overwrite_foreign {
                return Err(foreign_refused(shared, &foreign));
            }
            let live = manifest.files.iter().map(|file| file.path.clone());
            (files.to_vec(), live.chain(foreign.iter().map(|file| relative(shared, &file.path))).collect())
        }
        (None, _) => (files.to_vec(), vec![]),
    };
    let intent = Intent { run: shared.run.clone(), base: manifest.version, outputs, replaced, rows };
    save_intent(shared, &intent).await?;
    failpoint!("files.commit.intent");
    Ok(intent)
}

/// Steps 2 to 4.
async fn carry_out(shared: &Arc<Shared>, mut manifest: Manifest, expect: Expect, intent: Intent) -> Result<CommitReport> {
    let storage = shared.dataset.storage.as_ref();
    let outputs: Vec<Staged> = intent.outputs.iter().map(|file| file.staged.clone()).collect();
    publish(storage, &outputs).await?;
    failpoint!("files.commit.renamed");

    let live: Vec<LiveFile> = intent.outputs.iter().map(|file| live(shared, file)).collect();
    let report = CommitReport {
        rows: intent.rows,
        bytes: outputs.iter().map(|staged| staged.bytes).sum(),
        objects: outputs.len() as u64,
        place: shared.dataset.place.clone(),
    };
    let replaced: HashSet<&str> = intent.replaced.iter().map(String::as_str).collect();
    let added: HashSet<&str> = live.iter().map(|file| file.path.as_str()).collect();
    let apart =
        manifest.files.iter().filter(|file| replaced.contains(file.path.as_str())).filter_map(|file| file.content.clone());
    manifest.removed.extend(apart.collect::<Vec<_>>());
    manifest.files.retain(|file| !replaced.contains(file.path.as_str()) && !added.contains(file.path.as_str()));
    manifest.files.extend(live);
    manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
    manifest.removed.extend(intent.replaced);
    manifest.format = shared.write.format.as_str().to_owned();
    manifest.partition_by = shared.partition_by.clone();
    manifest.set_schema(&shared.contract.dataset)?;
    manifest.runs.push(RunRecord::new(&shared.run, &shared.writer, shared.mode, &report));
    manifest.save(storage, &shared.dataset.hidden, expect).await?;
    failpoint!("files.commit.manifest");

    let (manifest, expect) = load(shared).await?;
    clean_up(shared, manifest, expect).await?;
    Ok(report)
}

/// A file as the manifest lists it.
pub(crate) fn live(shared: &Arc<Shared>, file: &TokenFile) -> LiveFile {
    LiveFile {
        path: relative(shared, &file.staged.path),
        rows: file.rows,
        bytes: file.staged.bytes,
        partition: file.partition.clone(),
        schema: file.schema.clone(),
        run: shared.run.clone(),
        content: None,
        bounds: None,
        left: false,
    }
}

pub(crate) async fn publish(storage: &dyn Storage, staged: &[Staged]) -> Result<()> {
    let present: Vec<_> = staged.iter().map(|staged| storage.still_staged(staged)).collect();
    futures::stream::iter(present).buffer_unordered(REQUESTS).try_collect::<Vec<()>>().await?;
    let shown: Vec<_> = staged.iter().map(|staged| storage.publish(staged)).collect();
    futures::stream::iter(shown).buffer_unordered(REQUESTS).try_collect::<Vec<()>>().await?;
    storage.seal(staged).await
}

/// Step 4: deletes what left the dataset and forgets the run's staging. Repeatable; a conflict leaves it to the next one.
async fn clean_up(shared: &Arc<Shared>, mut manifest: Manifest, expect: Expect) -> Result<()> {
    let storage = shared.dataset.storage.as_ref();
    if !manifest.removed.is_empty() {
        let paths: Vec<String> = manifest.removed.iter().map(|path| join(&shared.dataset.folder, path)).collect();
        delete(storage, &paths).await?;
        let folders: Vec<String> = paths.iter().map(|path| folder_of(path).to_owned()).collect();
        storage.prune(&shared.dataset.folder, &folders).await?;
        manifest.removed.clear();
        manifest.save(storage, &shared.dataset.hidden, expect).await.or_else(unless_conflict)?;
    }
    storage.sweep(&shared.staging, &[]).await
}

/// Somebody else was faster, and that is as good.
fn unless_conflict(error: Error) -> Result<()> {
    if is_overtaken(&error) { Ok(()) } else { Err(error) }
}

pub(crate) async fn delete(storage: &dyn Storage, paths: &[String]) -> Result<()> {
    let gone: Vec<_> = paths.iter().map(|path| storage.delete(path)).collect();
    futures::stream::iter(gone).buffer_unordered(REQUESTS).try_collect::<Vec<()>>().await?;
    Ok(())
}

/// Takes back what an unfinished commit had made visible, except `keep` and what the manifest names.
pub(crate) async fn undo(shared: &Arc<Shared>, intent: &Intent, manifest: &Manifest, keep: &HashSet<String>) -> Result<()> {
    let live: HashSet<&str> = manifest.files.iter().flat_map(|file| [file.path.as_str(), file.place()]).collect();
    // A single file replaces one that may be the user's own: never deleted here, `sweep` removes what is still hidden.
    let visible: Vec<String> = intent
        .outputs
        .iter()
        .map(|file| file.staged.path.clone())
        .filter(|path| shared.dataset.single.as_ref() != Some(path))
        .filter(|path| !keep.contains(path) && !live.contains(relative(shared, path).as_str()))
        .collect();
    delete(shared.dataset.storage.as_ref(), &visible).await
}

/// See [`weir_connect::StreamSink::discard`].
pub(crate) async fn discard(shared: &Arc<Shared>, keep: &[CommitToken]) -> Result<()> {
    let storage = shared.dataset.storage.as_ref();
    let mut keep: Vec<Staged> = Token::files_of(keep)?.into_iter().map(|file| file.staged).collect();
    let kept: HashSet<String> = keep.iter().map(|staged| staged.path.clone()).collect();
    let (manifest, _) = load(shared).await?;
    let intents: Vec<FileMeta> =
        storage.list(&shared.stagings, None).await?.into_iter().filter(|file| file.name() == "commit.json").collect();
    for file in intents {
        let Some(intent) = load_intent(storage, &file.path).await? else { continue };
        let of_this_run = intent.run == shared.run && !kept.is_empty();
        if of_this_run && shared.rewrites() {
            // The commit decides whether it still fits; its outputs are hidden files that must not be swept.
            keep.extend(intent.outputs.iter().map(|output| output.staged.clone()));
        } else {
            undo(shared, &intent, &manifest, &kept).await?;
        }
        if of_this_run {
            keep.push(Staged { path: file.path, bytes: 0, hidden: None });
        }
    }
    storage.sweep(&shared.stagings, &keep).await
}

pub(crate) fn relative(shared: &Arc<Shared>, path: &str) -> String {
    let below = join(&shared.dataset.folder, "/");
    path.strip_prefix(below.as_str()).unwrap_or(path).to_owned()
}
