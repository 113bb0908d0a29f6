//! Mending what is in folders, by a commit of its own beside the pipeline that writes them.
//!
//! | what the folder holds | a row is missing | it differs, or is there twice | it is too many |
//! | --- | --- | --- | --- |
//! | the table as it is now (`upsert` of a log), rows of a batch (`overwrite`, `upsert`) | is added | its file is written anew | its file is written anew |
//! | rows that a batch appends | is added | refused: the older one may be meant | is kept |
//! | every change of a log | is appended as a change | is appended as a change | a delete is appended |
//!
//! What the source is asked for must not be older than what the pipeline has written when the rows change. On a disk the dataset is locked as long as that
//! takes; a bucket has no lock, so there the commit fails if anybody has written since. A pipeline that runs finds with its next flush that its files
//! are not what they were, and begins anew where it had got to (`super::super::changes::ledger`).

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use weir_connect::verify::{Comparison, Key, Mend};
use weir_connect::{DeleteMode, WriteMode};
use weir_error::{Error, Kind, Result};
use weir_formats::Format;

use super::super::changes::correct::corrections;
use super::super::changes::ledger::{self, Correction};
use super::super::changes::state::divided;
use super::super::changes::state::mend::{Wanted, corrected};
use super::super::commit;
use super::super::local::is_lost;
use super::super::manifest::Manifest;
use super::super::schema::Contract;
use super::super::sink::Shared;
use super::super::storage::{Expect, join};
use super::Written;

/// Bytes of rows that are brought into the files at once.
const MEND_BYTES: usize = 48 << 20;

/// What the folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Each row once.
    Rows,
    /// Rows that are never changed.
    Added,
    /// Every change as a row.
    Changes,
}

/// See the module.
pub(super) struct Mending {
    shared: Arc<Shared>,
    manifest: Manifest,
    expect: Expect,
    /// On a disk nobody else commits meanwhile.
    _lock: Option<Box<dyn Send + Sync>>,
    holds: Holds,
    /// Whose log it is.
    writer: String,
    /// Deletes leave what is there.
    keeps: bool,
    wanted: Wanted,
    bytes: usize,
}

fn refused(place: &str, why: &'static str, hint: &'static str) -> Error {
    Error::new("WEIR-FILE-120", Kind::Unsupported, "rows of these files are not mended one by one")
        .at(place)
        .because(why)
        .hint(hint)
}

impl Mending {
    pub(super) async fn begin(written: &Written, comparison: &Comparison) -> Result<Self> {
        let mut shared = written.beside.clone();
        let place = shared.dataset.place.clone();
        let holds = match (written.changes, shared.mode) {
            (true, WriteMode::Append) => Holds::Changes,
            (false, WriteMode::Append) => Holds::Added,
            _ => Holds::Rows,
        };
        if shared.dataset.single.is_some() {
            return Err(refused(&place, "the path names a single file", "run the pipeline again: it writes the file anew"));
        }
        if shared.write.format != Format::Parquet && holds != Holds::Changes {
            return Err(refused(&place, "only Parquet files are rewritten", "write them anew with `write_mode: overwrite`"));
        }
        let nothing = || refused(&place, "nothing has been committed here yet", "run the pipeline first");
        let storage = shared.dataset.storage.clone();
        // Looking for a dataset must not make one.
        Manifest::load(storage.as_ref(), &shared.dataset.hidden).await?.ok_or_else(nothing)?;
        let lock = storage.lock(&shared.dataset.hidden).await?;
        let (mut manifest, mut expect) = Manifest::load(storage.as_ref(), &shared.dataset.hidden).await?.ok_or_else(nothing)?;
        let schema = manifest.arrow_schema()?.ok_or_else(nothing)?;
        shared.partitioner = shared.partitioner_of(&schema)?;
        shared.contract = Contract { write: schema.clone(), dataset: schema, changes: Vec::new() };
        if shared.partitioner.by_run() {
            return Err(refused(
                &place,
                "`partition_by` names the time of the run or of its cursor, which a row alone does not tell",
                "divide by a column, `day(created_at)`, or write the folder anew with `write_mode: overwrite`",
            ));
        }
        if holds == Holds::Rows {
            divided::check(&shared, Some(&manifest))?;
        }
        shared.nonce = format!("{:08x}", rand::random::<u32>());
        shared.run = format!("mend-{}", shared.nonce);
        shared.staging = join(&shared.stagings, &shared.run);
        shared.key = comparison.key_names().map(str::to_owned).collect();
        let shared = Arc::new(shared);
        if !storage.list(&shared.stagings, None).await?.is_empty() {
            // One that was cut off has left something. Should it live all the same, it cannot commit any more: the manifest is another one first.
            manifest.save(storage.as_ref(), &shared.dataset.hidden, expect).await?;
            commit::discard(&shared, &[]).await?;
            (manifest, expect) = Manifest::load(storage.as_ref(), &shared.dataset.hidden).await?.ok_or_else(nothing)?;
        }
        let columns: Vec<_> = comparison.key.iter().map(|at| comparison.columns[*at].clone()).collect();
        let key = Comparison { key: (0..columns.len()).collect(), columns, keyed: true, carried: Vec::new() };
        // What a row is replaced by is no delete of the pipeline's.
        let deletes = if written.deletes == DeleteMode::Soft { DeleteMode::Soft } else { DeleteMode::Hard };
        let wanted = Wanted { rows: Vec::new(), gone: HashSet::new(), key, deletes, adds: holds == Holds::Added };
        let keeps = written.deletes == DeleteMode::Ignore || holds == Holds::Added;
        Ok(Self { shared, manifest, expect, _lock: lock, holds, writer: written.writer.clone(), keeps, wanted, bytes: 0 })
    }

    /// The files as they are to become, hidden.
    async fn staged(&self) -> Result<Correction> {
        let record = self.manifest.logs.iter().find(|record| record.writer == self.writer);
        match (self.holds, record) {
            (Holds::Changes, Some(record)) => corrections(&self.shared, &self.manifest, &self.wanted, record).await,
            (Holds::Changes, None) => {
                let why = "the changes here are those of another pipeline";
                Err(refused(&self.shared.dataset.place, why, "run the pipeline first, into a folder of its own"))
            }
            (_, record) => {
                let next = record.map_or(self.manifest.version, |record| record.next_file);
                let (correction, next) = corrected(&self.shared, &self.manifest, &self.wanted, next).await?;
                Ok(Correction { numbers: record.map(|record| (next, record.changes)), ..correction })
            }
        }
    }

    /// In a bucket two of them may meet: the later one takes the hidden files of the other for those of one that was cut off.
    fn disturbed(&self) -> Error {
        Error::new("WEIR-FILE-125", Kind::Conflict, "another repair of these files has begun meanwhile")
            .at(self.shared.dataset.place.clone())
            .hint("nothing was changed by this one; when the other one is through, run it again")
            .transient()
    }

    async fn is_overtaken(&self) -> bool {
        ledger::current(&self.shared).await.is_ok_and(|now| now.version != self.manifest.version)
    }
}

#[async_trait]
impl Mend for Mending {
    async fn put(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() > 0 {
            self.bytes += rows.get_array_memory_size();
            self.wanted.rows.push(rows.clone());
        }
        Ok(())
    }

    async fn delete(&mut self, keys: &[Key]) -> Result<()> {
        if !self.keeps {
            self.bytes += size_of_val(keys);
            self.wanted.gone.extend(keys.iter().map(|key| key.digest));
        }
        Ok(())
    }

    fn full(&self) -> bool {
        self.bytes >= MEND_BYTES
    }

    async fn commit(self: Box<Self>) -> Result<bool> {
        let done = match self.staged().await {
            Ok(correction) if correction.rows == 0 => return Ok(true),
            Ok(correction) => ledger::mend(&self.shared, &self.writer, (&self.manifest, self.expect.clone()), &correction).await,
            // It read files that the pipeline has replaced meanwhile.
            Err(_) if self.is_overtaken().await => return Ok(false),
            Err(error) => Err(error),
        };
        match done {
            Err(error) if is_lost(&error) => Err(self.disturbed()),
            done => done,
        }
    }
}
