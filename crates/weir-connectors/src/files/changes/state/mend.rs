//! Rows that are corrected from outside the log (`weir verify --repair`): the files that hold them are written anew as for changes, and nothing else.
//!
//! Rows are found by the digest of their key, as a comparison names them, and then changed by the key as it stands in the files: so also a row goes that
//! has the same key written otherwise, and of several rows with one key one stays.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use futures::TryStreamExt;
use weir_connect::verify::Comparison;
use weir_connect::verify::canonical::Canonical;
use weir_connect::{ChangeBatch, DeleteMode, Op, TransactionMark};
use weir_error::{Error, Kind, Result};

use super::super::super::manifest::Manifest;
use super::super::super::rewrite::{batch_of, found, rows};
use super::super::super::schema::fit;
use super::super::super::sink::Shared;
use super::super::super::storage::join;
use super::super::ledger::Correction;
use super::merge::merge;
use super::output::broken;
use super::parts::{Part, outcome};
use super::work::Work;
use super::{mark, not_without_a_file};
use crate::changes::pending::Pending;

/// How rows are to be.
pub(in super::super::super) struct Wanted {
    /// Each is to be the only one of its key. Columns that are not in a batch stay as they are.
    pub rows: Vec<RecordBatch>,
    /// Digests of keys that are to have no row.
    pub gone: HashSet<u128>,
    /// The key alone.
    pub key: Comparison,
    pub deletes: DeleteMode,
    /// The folder only gets rows: they come in files of their own, and a row that is there is not touched.
    pub adds: bool,
}

impl Wanted {
    /// Digests of all keys that are meant, and of those that are to have a row.
    pub(in super::super::super) fn digests(&self) -> Result<(HashSet<u128>, HashSet<u128>)> {
        let mut present = HashSet::new();
        for rows in &self.rows {
            let mut forms = Canonical::new(rows, &self.key)?;
            present.extend((0..rows.num_rows()).map(|row| forms.key(row)));
        }
        Ok((self.gone.iter().chain(&present).copied().collect(), present))
    }
}

/// The key columns of the files' rows whose key has one of these digests, each key once for each way in which it is written, with the digests.
pub(in super::super::super) async fn known(
    shared: &Shared,
    manifest: &Manifest,
    key: &Comparison,
    wanted: &HashSet<u128>,
) -> Result<Vec<(RecordBatch, Vec<u128>)>> {
    let fields = key.key_names().map(|name| shared.contract.dataset.field_with_name(name).cloned().map_err(broken));
    let schema = Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?));
    let names: Vec<String> = key.key_names().map(str::to_owned).collect();
    let keys = Pending::new(&open(&schema), &names, DeleteMode::Hard)?;
    let (mut met, mut all) = (HashSet::new(), Vec::new());
    for part in manifest.files.iter().filter(|file| file.rows > 0) {
        let file = found(shared, &join(&shared.dataset.folder, part.place())).await?;
        let mut stream = rows(shared, &file, &schema).await?;
        while let Some(decoded) = stream.try_next().await? {
            let batch = batch_of(decoded, &file)?;
            let mut forms = Canonical::new(&batch, key)?;
            let written = keys.keys_of(batch.columns())?;
            let (mut places, mut digests) = (Vec::new(), Vec::new());
            for row in 0..batch.num_rows() {
                let digest = forms.key(row);
                let bytes = written.row(row);
                if wanted.contains(&digest) && !met.contains(bytes.as_ref()) {
                    met.insert(Box::<[u8]>::from(bytes.as_ref()));
                    places.push(u32::try_from(row).map_err(broken)?);
                    digests.push(digest);
                }
            }
            if !digests.is_empty() {
                all.push((take_record_batch(&batch, &UInt32Array::from(places)).map_err(broken)?, digests));
            }
        }
    }
    Ok(all)
}

/// The same columns, and each may be NULL.
fn open(schema: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>()))
}

/// Rows in the schema of the files; what they do not have is marked as absent.
pub(in super::super::super) fn fitted(
    rows: &RecordBatch,
    dataset: &SchemaRef,
    op: Op,
    mark: TransactionMark,
) -> Result<ChangeBatch> {
    let (count, schema) = (rows.num_rows(), open(dataset));
    let has: Vec<_> = schema.fields().iter().filter(|field| rows.column_by_name(field.name()).is_some()).cloned().collect();
    let own = fit(rows, &Arc::new(Schema::new(has)))?;
    let (mut columns, mut absent) = (Vec::<ArrayRef>::new(), Vec::new());
    for field in schema.fields() {
        let column = own.column_by_name(field.name());
        absent.push(column.is_none().then(|| BooleanBuffer::new_set(count)));
        columns.push(column.cloned().unwrap_or_else(|| new_null_array(field.data_type(), count)));
    }
    Ok(ChangeBatch {
        stream: String::new().into(),
        ops: vec![op; count],
        rows: RecordBatch::try_new(schema, columns).map_err(broken)?,
        absent,
        before: None,
        transactions: vec![TransactionMark { end: count, ..mark }],
        source_bytes: 0,
    })
}

/// The files as they are to become. `shared` has the schema of the files.
///
/// # Errors
/// `WEIR-FILE-124` where rows are only added and a key has a row.
pub(in super::super::super) async fn corrected(
    shared: &Arc<Shared>,
    manifest: &Manifest,
    wanted: &Wanted,
    mut next: u64,
) -> Result<(Correction, u64)> {
    let dataset = &shared.contract.dataset;
    let names: Vec<String> = wanted.key.key_names().map(str::to_owned).collect();
    let nothing = TransactionMark { end: 0, position: String::new().into(), id: None, committed_at_us: 0 };
    let mut pending = Pending::new(&open(dataset), &names, wanted.deletes)?;
    let (digests, present) = wanted.digests()?;
    let mut written: HashSet<Box<[u8]>> = HashSet::new();
    for rows in wanted.rows.iter().filter(|rows| rows.num_rows() > 0) {
        let change = fitted(rows, dataset, Op::Update, nothing.clone())?;
        let keys: Vec<ArrayRef> = pending.key().iter().map(|at| change.rows.column(*at).clone()).collect();
        written.extend(pending.keys_of(&keys)?.iter().map(|key| Box::<[u8]>::from(key.as_ref())));
        pending.add(change)?;
    }
    let there = known(shared, manifest, &wanted.key, &digests).await?;
    if wanted.adds && there.iter().any(|(_, digests)| digests.iter().any(|digest| present.contains(digest))) {
        return Err(Error::new("WEIR-FILE-124", Kind::Unsupported, "a row that is there is not replaced where rows are appended")
            .at(shared.dataset.place.clone())
            .because("with `write_mode: append` several rows of one key may be meant, so only rows whose key is not there are added; nothing was changed")
            .hint("`write_mode: upsert` or `overwrite` holds each row once; or write the folder anew with `overwrite`"));
    }
    for (rows, digests) in there {
        // What is written as the row that comes is replaced by it, where it stands.
        let places = (0..rows.num_rows()).filter(|row| wanted.gone.contains(&digests[*row]) || present.contains(&digests[*row]));
        let keys = pending.keys_of(rows.columns())?;
        let places: Vec<u32> =
            places.filter(|row| !written.contains(keys.row(*row).as_ref())).filter_map(|row| u32::try_from(row).ok()).collect();
        if !places.is_empty() {
            let rows = take_record_batch(&rows, &UInt32Array::from(places)).map_err(broken)?;
            pending.add(fitted(&rows, dataset, Op::Delete, nothing.clone())?)?;
        }
    }
    let count = pending.slots().len() as u64;
    if count == 0 {
        return Ok((Correction::default(), next));
    }
    let first_key = pending.key().first().copied().unwrap_or(0);
    let work = Arc::new(Work::mending(shared.clone(), pending, mark(shared, wanted.deletes)?));
    let parts = if wanted.adds { Vec::new() } else { Part::all(manifest) };
    let mut parts = merge(work, parts, &mut next).await?;
    if !wanted.adds {
        not_without_a_file(shared, first_key, &mut parts, &mut next).await?;
    }
    let (files, swap) = outcome(shared, &parts);
    Ok((Correction { files, swap: Some(swap), numbers: None, rows: count }, next))
}
