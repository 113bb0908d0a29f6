//! Copies of content that lies apart, for readers that do not know the manifest.
//!
//! The manifest names content below `_weir/data` that is written once and never changed. Readers that glob see a copy of each file beside it, which
//! keeps its name for life: what replaces it takes the name in one step. Because a row stays in its file, such a reader finds every row
//! once, at every moment; one that knows the manifest finds them all as of one flush.
//!
//! Where `partition_by` divides the files, a row may have to leave its file. No two names change in one step, so the files that lost rows are shown first:
//! for a moment such a reader does not find the row, and never finds it twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use weir_connect::failpoint;
use weir_error::Result;

use super::super::commit;
use super::super::manifest::{LiveFile, Manifest};
use super::super::s3::REQUESTS;
use super::super::sink::Shared;
use super::super::storage::{Staged, folder_of, join};

/// Brings the copies at these paths to what the manifest says. Repeatable.
pub(super) async fn show(shared: &Arc<Shared>, manifest: &Manifest, paths: &[String]) -> Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    let files: HashMap<&str, &LiveFile> = manifest.files.iter().map(|file| (file.path.as_str(), file)).collect();
    let divided = !manifest.partition_by.is_empty();
    let (first, then): (Vec<&String>, Vec<&String>) =
        paths.iter().partition(|path| files.get(path.as_str()).map_or(divided, |file| file.left));
    for some in [first, then] {
        show_some(shared, &files, &some, divided).await?;
    }
    Ok(())
}

async fn show_some(shared: &Arc<Shared>, files: &HashMap<&str, &LiveFile>, paths: &[&String], divided: bool) -> Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    let dataset = &shared.dataset;
    let (mut shown, mut copies, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for path in paths {
        let to = join(&dataset.folder, path);
        match files.get(path.as_str()) {
            None => gone.push(to),
            Some(LiveFile { content: Some(content), bytes, .. }) => {
                shown.push(Staged { path: to.clone(), bytes: *bytes, hidden: None });
                copies.push((join(&dataset.folder, content), to, *bytes));
            }
            Some(_) => {}
        }
    }
    let storage = dataset.storage.as_ref();
    let made: Vec<_> = copies
        .iter()
        .map(|(from, to, bytes)| async move {
            failpoint!("files.changes.show");
            storage.copy(from, to, *bytes).await
        })
        .collect();
    futures::stream::iter(made).buffer_unordered(REQUESTS).try_collect::<Vec<()>>().await?;
    storage.seal(&shown).await?;
    commit::delete(storage, &gone).await?;
    if divided && !gone.is_empty() {
        let folders: Vec<String> = gone.iter().map(|path| folder_of(path).to_owned()).collect();
        storage.prune(&dataset.folder, &folders).await?;
    }
    Ok(())
}

/// Deletes content that was retired so long ago that nobody should be reading it any more; gives all that is gone.
pub(super) async fn expire(shared: &Arc<Shared>, manifest: &Manifest, keep: Duration) -> Result<Vec<String>> {
    let limit = chrono::Utc::now().timestamp() - i64::try_from(keep.as_secs()).unwrap_or(i64::MAX);
    let old: Vec<String> =
        manifest.retired.iter().filter(|retired| retired.at <= limit).map(|retired| retired.path.clone()).collect();
    let paths: Vec<String> = old.iter().map(|path| join(&shared.dataset.folder, path)).collect();
    commit::delete(shared.dataset.storage.as_ref(), &paths).await?;
    Ok(old)
}
