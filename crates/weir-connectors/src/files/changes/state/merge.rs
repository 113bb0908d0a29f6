//! Brings changes into the files: those that hold a row that is meant are written anew, hidden; new rows go to a small file, or to new ones.
//!
//! A row stays in its file as long as it lives (see `super::super::copies`). So no file is ever divided or joined with another; what keeps them from
//! being many and small is that new rows go to the smallest file there is, until it has its size.
//!
//! Where `partition_by` divides the files, a row that changes its folder changes its file: see [`divided`].
//!
//! Memory: the changes, the bits of what was found, and for each of the files that are being written a row group.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt};
use weir_error::{Error, Kind, Result};

use super::super::super::rewrite::{batch_of, found, rows};
use super::super::super::sink::Shared;
use super::super::super::storage::StagingArea;
use super::divided;
use super::output::{Output, name};
use super::parts::{Made, Part};
use super::work::Work;

/// Files that are read or written at once.
const AT_ONCE: usize = 2;

/// A hidden place for files of this flush.
pub(super) async fn area(shared: &Shared) -> Result<Arc<dyn StagingArea>> {
    let lane = format!("{}-state-{:08x}", shared.nonce, rand::random::<u32>());
    shared.dataset.storage.staging(&shared.staging, &lane).await
}

/// Runs these on threads of their own, a few at once; the results in order.
pub(super) async fn side_by_side<T: Send + 'static>(
    tasks: Vec<impl Future<Output = Result<T>> + Send + 'static>,
) -> Result<Vec<T>> {
    let running = futures::stream::iter(tasks).map(|task| async move {
        // Dropping the set gives up what is running.
        let mut one = tokio::task::JoinSet::new();
        one.spawn(task);
        match one.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) if error.is_cancelled() => Err(Error::cancelled()),
            Some(Err(error)) => Err(Error::internal(error.to_string())),
            None => Err(Error::internal("a task that was just begun is gone")),
        }
    });
    running.buffered(AT_ONCE).try_collect().await
}

/// The files after the changes. `next` is the number of the next new file.
pub(super) async fn merge(work: Arc<Work>, mut parts: Vec<Part>, next: &mut u64) -> Result<Vec<Part>> {
    let scans: Vec<_> = parts.iter().map(|part| scan(work.clone(), part.clone())).collect();
    let hits = side_by_side(scans).await?;
    let mut seen = vec![false; work.pending.slots().len()];
    for slot in hits.iter().flatten() {
        if std::mem::replace(&mut seen[*slot], true) && !work.mends() {
            return Err(twice(&work, *slot));
        }
    }
    let fresh = work.unfound(&seen)?;
    let touched: Vec<bool> = hits.iter().map(|slots| !slots.is_empty()).collect();
    let area = area(&work.shared).await?;
    if work.shared.partitioner.is_empty() {
        undivided(&work, &area, &mut parts, &touched, fresh, next).await?;
    } else {
        divided::merge(&work, &area, &mut parts, &touched, &fresh, next).await?;
    }
    area.seal().await?;
    // A file that came and went within a flush was never there.
    parts.retain(|part| part.before.is_some() || !part.is_gone());
    Ok(parts)
}

/// One folder of files.
async fn undivided(
    work: &Arc<Work>,
    area: &Arc<dyn StagingArea>,
    parts: &mut Vec<Part>,
    touched: &[bool],
    mut fresh: Vec<usize>,
    next: &mut u64,
) -> Result<()> {
    // A file that is written anyway takes the new rows, if it is small enough.
    let smallest = (0..parts.len()).filter(|at| is_small(work, &parts[*at])).min_by_key(|at| (!touched[*at], parts[*at].bytes()));
    let taker = smallest.filter(|_| !fresh.is_empty());
    let tasks: Vec<_> = (0..parts.len())
        .filter(|at| touched[*at] || taker == Some(*at))
        .map(|at| {
            let fresh = if taker == Some(at) { std::mem::take(&mut fresh) } else { Vec::new() };
            let (work, area, part) = (work.clone(), area.clone(), parts[at].clone());
            async move { Ok((at, written(&work, &area, &part, fresh).await?)) }
        })
        .collect();
    for (at, (made, left)) in side_by_side(tasks).await? {
        parts[at].becomes(made);
        fresh.extend(left);
    }
    while !fresh.is_empty() {
        let path = name(&work.shared, *next);
        *next += 1;
        let mut output = Output::create(&work.shared, area, work.first_key(), (&path, &BTreeMap::new())).await?;
        let taken = fill(work, &mut output, &fresh).await?;
        fresh.drain(..taken);
        parts.push(Part::new(path, output.finish().await?));
    }
    Ok(())
}

/// Whether new rows may go to a file.
pub(super) fn is_small(work: &Work, part: &Part) -> bool {
    !part.is_gone() && part.bytes() < work.shared.target_file_bytes / 2
}

fn twice(work: &Work, slot: usize) -> Error {
    let key = work.key_text(&work.pending.slots()[slot]);
    Error::new("WEIR-FILE-099", Kind::Data, format!("the files have more than one row with the key {key}"))
        .at(work.shared.dataset.place.clone())
        .because("changes are applied by key, and nobody can say which of the rows is meant")
        .hint("choose a `key` that is unique, or take the snapshot again into an empty folder")
}

/// The slots whose row is in the file.
async fn scan(work: Arc<Work>, part: Part) -> Result<Vec<usize>> {
    let shared = &work.shared;
    let Some(path) = part.place(shared).filter(|_| part.rows() > 0 && work.may_hold(part.bounds())) else {
        return Ok(vec![]);
    };
    let file = found(shared, &path).await?;
    let schema = key_schema(&work);
    let mut stream = rows(shared, &file, &schema).await?;
    let mut hits = Vec::new();
    while let Some(decoded) = stream.try_next().await? {
        hits.extend(work.slots(batch_of(decoded, &file)?.columns())?.into_iter().flatten());
    }
    Ok(hits)
}

fn key_schema(work: &Work) -> SchemaRef {
    let fields: Vec<_> = work.pending.key().iter().map(|at| work.schema().fields()[*at].clone()).collect();
    Arc::new(Schema::new(fields))
}

/// The file after the changes, with new rows as far as there is room; the others are given back.
async fn written(
    work: &Arc<Work>,
    area: &Arc<dyn StagingArea>,
    part: &Part,
    mut fresh: Vec<usize>,
) -> Result<(Made, Vec<usize>)> {
    let shared = &work.shared;
    let mut output = Output::create(shared, area, work.first_key(), (&part.path, &part.partition)).await?;
    if let Some(path) = part.place(shared).filter(|_| part.rows() > 0) {
        let file = found(shared, &path).await?;
        let mut stream = rows(shared, &file, work.schema()).await?;
        while let Some(decoded) = stream.try_next().await? {
            output.write(&work.applied(batch_of(decoded, &file)?)?).await?;
        }
    }
    let taken = fill(work, &mut output, &fresh).await?;
    fresh.drain(..taken);
    Ok((output.finish().await?, fresh))
}

/// Writes new rows until the file is full; how many went in.
async fn fill(work: &Arc<Work>, output: &mut Output, fresh: &[usize]) -> Result<usize> {
    let before = output.rows();
    for batch in work.fresh(fresh) {
        output.write(&batch?).await?;
        if output.is_full() {
            break;
        }
    }
    Ok(usize::try_from(output.rows() - before).unwrap_or(usize::MAX).min(fresh.len()))
}
