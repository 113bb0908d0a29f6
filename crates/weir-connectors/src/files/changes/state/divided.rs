//! `partition_by`: each file is in the folder that its rows' values say. A row whose values say another one leaves its file: the old one is written without
//! it, one of the other folder with it, in one flush.
//!
//! Rows on their way (those that move, and new ones) wait in a temporary file, folder by folder: memory does not grow with them. A folder's rows go to
//! its smallest file, else to new ones; not to a file that rows have just left, so that readers that glob can be shown the leaving first.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use futures::TryStreamExt;
use weir_connect::SchemaChange;
use weir_error::{Error, Kind, Result};

use super::super::super::manifest::Manifest;
use super::super::super::partition::Values;
use super::super::super::rewrite::{batch_of, found, rows};
use super::super::super::sink::Shared;
use super::super::super::storage::StagingArea;
use super::merge::{is_small, side_by_side};
use super::output::{Output, broken, name};
use super::parts::{Fate, Made, Part};
use super::shape::DELETED;
use super::work::Work;

/// What `partition_by` may not be where the files hold the table as it is now.
///
/// # Errors
/// `WEIR-FILE-105` if it does not depend on a row's own values, `WEIR-FILE-106` if the files that are there are divided otherwise.
pub(in super::super::super) fn check(shared: &Shared, manifest: Option<&Manifest>) -> Result<()> {
    let schema = &shared.contract.write;
    let marked = shared.partitioner.columns().any(|at| schema.field(at).name() == DELETED);
    if marked || shared.partitioner.by_run() {
        return Err(Error::new("WEIR-FILE-105", Kind::Spec, "the table as it is now is divided by values of its rows")
            .at(shared.dataset.place.clone())
            .because(match marked {
                true => "a row is marked as deleted where it is",
                false => {
                    "a bare year, month, day or hour is the time of the run, and would be another one for each change of a row"
                }
            })
            .hint("name a column: `partition_by: [country]`, or `day(created_at)`"));
    }
    match manifest.filter(|manifest| !manifest.files.is_empty() && manifest.partition_by != shared.partition_by) {
        None => Ok(()),
        Some(manifest) => {
            let before = if manifest.partition_by.is_empty() { "not divided".into() } else { manifest.partition_by.join(", ") };
            Err(Error::new("WEIR-FILE-106", Kind::Conflict, "the files that are there are divided otherwise")
                .at(shared.dataset.place.clone())
                .because(format!("`partition_by` was: {before}"))
                .hint("take the snapshot again into an empty folder, or set `partition_by` back"))
        }
    }
}

/// Whether the folders mean the same in another shape of the stream.
///
/// # Errors
/// `WEIR-FILE-107`.
pub(super) fn check_reshape(shared: &Shared, dataset: &SchemaRef, change: &SchemaChange) -> Result<()> {
    let old = &shared.contract.dataset;
    for field in shared.partitioner.columns().map(|at| old.field(at)) {
        let renamed = change.renamed.iter().any(|(from, to)| from != to && [from, to].contains(&field.name()));
        let same = dataset.field_with_name(field.name()).is_ok_and(|after| after.data_type() == field.data_type());
        if renamed || !same {
            let what = format!("column `{}`, which divides the files, becomes another one", field.name());
            return Err(Error::new("WEIR-FILE-107", Kind::Schema, what)
                .because("the folders that are there are named after its values")
                .hint("take the snapshot again into an empty folder"));
        }
    }
    Ok(())
}

/// See `super::merge::merge`.
pub(super) async fn merge(
    work: &Arc<Work>,
    area: &Arc<dyn StagingArea>,
    parts: &mut Vec<Part>,
    touched: &[bool],
    fresh: &[usize],
    next: &mut u64,
) -> Result<()> {
    let shared = &work.shared;
    let moved = Arc::new(Mutex::new(Moved::new(work.schema())?));
    let tasks: Vec<_> = (0..parts.len())
        .filter(|at| touched[*at])
        .map(|at| {
            let (work, area, part, moved) = (work.clone(), area.clone(), parts[at].clone(), moved.clone());
            async move { Ok((at, staying(&work, &area, &part, &moved).await?)) }
        })
        .collect();
    for (at, (made, left)) in side_by_side(tasks).await? {
        parts[at].becomes(made);
        parts[at].left |= left;
    }
    for batch in work.fresh(fresh) {
        for (values, rows) in shared.partitioner.divide(&batch?)? {
            held(&moved).add(shared, values, &rows)?;
        }
    }
    let moved = Arc::into_inner(moved).ok_or_else(|| broken("rows are still moving"))?;
    let arrived = Arc::new(moved.into_inner().unwrap_or_else(PoisonError::into_inner).arrived()?);
    let mut takers: HashMap<String, usize> = HashMap::new();
    for at in (0..parts.len()).filter(|at| is_small(work, &parts[*at]) && !parts[*at].left) {
        let taker = takers.entry(parts[at].folder().to_owned()).or_insert(at);
        if parts[at].bytes() < parts[*taker].bytes() {
            *taker = at;
        }
    }
    let number = Arc::new(AtomicU64::new(*next));
    let folders: Vec<String> = arrived.folders.keys().cloned().collect();
    let tasks: Vec<_> = folders
        .into_iter()
        .map(|folder| {
            let taker = takers.get(&folder).map(|at| parts[*at].clone());
            let (work, area, arrived, number) = (work.clone(), area.clone(), arrived.clone(), number.clone());
            async move { arriving(&work, &area, taker, &folder, &arrived, &number).await }
        })
        .collect();
    for (path, made) in side_by_side(tasks).await?.into_iter().flatten() {
        match parts.iter_mut().find(|part| part.path == path) {
            Some(part) => part.becomes(made),
            None => parts.push(Part::new(path, made)),
        }
    }
    *next = number.load(Ordering::Relaxed);
    // An empty table has a file without rows, wherever that is.
    if parts.iter().any(|part| part.rows() > 0) {
        parts.iter_mut().filter(|part| part.rows() == 0).for_each(|part| part.fate = Fate::Gone);
    }
    Ok(())
}

/// The file with those of its rows that belong to its folder, after the changes; and whether others have left it.
async fn staying(work: &Work, area: &Arc<dyn StagingArea>, part: &Part, moved: &Mutex<Moved>) -> Result<(Made, bool)> {
    let shared = &work.shared;
    let mut output = Output::create(shared, area, work.first_key(), (&part.path, &part.partition)).await?;
    let mut left = false;
    if let Some(path) = part.place(shared).filter(|_| part.rows() > 0) {
        let file = found(shared, &path).await?;
        let mut stream = rows(shared, &file, work.schema()).await?;
        while let Some(decoded) = stream.try_next().await? {
            let batch = work.applied(batch_of(decoded, &file)?)?;
            for (values, rows) in shared.partitioner.divide(&batch)? {
                if shared.partitioner.folder(&values) == part.folder() {
                    output.write(&rows).await?;
                } else {
                    left = true;
                    held(moved).add(shared, values, &rows)?;
                }
            }
        }
    }
    Ok((output.finish().await?, left))
}

/// The files that take the rows of a folder.
async fn arriving(
    work: &Work,
    area: &Arc<dyn StagingArea>,
    taker: Option<Part>,
    folder: &str,
    arrived: &Arrived,
    number: &AtomicU64,
) -> Result<Vec<(String, Made)>> {
    let shared = &work.shared;
    let Some((values, pieces)) = arrived.folders.get(folder) else { return Ok(Vec::new()) };
    let partition = shared.partitioner.named(values);
    let (mut made, mut open) = (Vec::new(), None);
    if let Some(part) = taker {
        let mut output = Output::create(shared, area, work.first_key(), (&part.path, &part.partition)).await?;
        if let Some(path) = part.place(shared).filter(|_| part.rows() > 0) {
            let file = found(shared, &path).await?;
            let mut stream = rows(shared, &file, work.schema()).await?;
            while let Some(decoded) = stream.try_next().await? {
                output.write(&batch_of(decoded, &file)?).await?;
            }
        }
        open = Some((part.path, output));
    }
    for piece in pieces {
        let (path, mut output) = match open.take() {
            Some(open) => open,
            None => {
                let path = format!("{folder}{}", name(shared, number.fetch_add(1, Ordering::Relaxed)));
                let output = Output::create(shared, area, work.first_key(), (&path, &partition)).await?;
                (path, output)
            }
        };
        output.write(&arrived.piece(*piece)?).await?;
        match output.is_full() {
            true => made.push((path, output.finish().await?)),
            false => open = Some((path, output)),
        }
    }
    if let Some((path, output)) = open {
        made.push((path, output.finish().await?));
    }
    Ok(made)
}

fn held(moved: &Mutex<Moved>) -> std::sync::MutexGuard<'_, Moved> {
    moved.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of each folder its values and the numbers of its batches in the file.
type Folders = BTreeMap<String, (Values, Vec<usize>)>;

/// Rows on their way.
struct Moved {
    file: FileWriter<BufWriter<File>>,
    batches: usize,
    folders: Folders,
}

impl Moved {
    fn new(schema: &SchemaRef) -> Result<Self> {
        let file = FileWriter::try_new(BufWriter::new(tempfile::tempfile()?), schema).map_err(broken)?;
        Ok(Self { file, batches: 0, folders: Folders::new() })
    }

    fn add(&mut self, shared: &Shared, values: Values, rows: &RecordBatch) -> Result<()> {
        self.file.write(rows).map_err(broken)?;
        let folder = shared.partitioner.folder(&values);
        self.folders.entry(folder).or_insert_with(|| (values, Vec::new())).1.push(self.batches);
        self.batches += 1;
        Ok(())
    }

    fn arrived(mut self) -> Result<Arrived> {
        self.file.finish().map_err(broken)?;
        let mut file = self.file.into_inner().map_err(broken)?.into_inner().map_err(|error| Error::from(error.into_error()))?;
        file.rewind()?;
        let reader = FileReader::try_new(BufReader::new(file), None).map_err(broken)?;
        Ok(Arrived { reader: Mutex::new(reader), folders: self.folders })
    }
}

/// The same, to be read.
struct Arrived {
    reader: Mutex<FileReader<BufReader<File>>>,
    folders: Folders,
}

impl Arrived {
    fn piece(&self, number: usize) -> Result<RecordBatch> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader.set_index(number).map_err(broken)?;
        reader.next().ok_or_else(|| broken("a batch is gone"))?.map_err(broken)
    }
}
