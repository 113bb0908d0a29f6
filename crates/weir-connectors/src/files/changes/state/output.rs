//! A file of the state on its way to staging.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use weir_error::{Error, Result};
use weir_formats::{Encoder, encoder};

use super::super::super::manifest::{DATA, fingerprint};
use super::super::super::sink::Shared;
use super::super::super::storage::{StagedWriter, StagingArea, join};
use super::super::super::writer::TokenFile;
use super::bounds::Bounds;
use super::parts::Made;

/// See the module. Dropping it leaves what staging sweeps.
pub(super) struct Output {
    shared: Arc<Shared>,
    /// Position of the first key column.
    first: usize,
    encoder: Box<dyn Encoder>,
    staged: Box<dyn StagedWriter>,
    /// Values of its folder.
    partition: BTreeMap<String, Option<String>>,
    rows: u64,
    /// Of the first key column; `None`: not known.
    bounds: Option<Bounds>,
}

impl Output {
    /// A file that readers will find as `path`, relative to the dataset's folder.
    pub(super) async fn create(
        shared: &Arc<Shared>,
        area: &Arc<dyn StagingArea>,
        first: usize,
        (path, partition): (&str, &BTreeMap<String, Option<String>>),
    ) -> Result<Self> {
        let nonce = format!("{:08x}", rand::random::<u32>());
        // Ends like no data file: not every reader leaves hidden folders out.
        let name = path.rsplit('/').next().unwrap_or(path);
        let content = join(&join(&shared.dataset.hidden, DATA), &format!("{name}.{nonce}"));
        let staged = area.create(&nonce, &content).await?;
        let encoder = encoder(shared.contract.dataset.clone(), &shared.write)?;
        Ok(Self { shared: shared.clone(), first, encoder, staged, partition: partition.clone(), rows: 0, bounds: None })
    }

    /// Rows in the dataset's schema.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let found = Bounds::of(batch.schema_ref().field(self.first), batch.column(self.first));
        self.bounds = match (self.rows, self.bounds.take(), found) {
            (0, _, found) => found,
            (_, Some(known), Some(found)) => Some(known.and(found)),
            _ => None,
        };
        self.rows += batch.num_rows() as u64;
        self.encoder.write(batch)?;
        for bytes in self.encoder.drain() {
            self.staged.write(bytes).await?;
        }
        Ok(())
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn is_full(&self) -> bool {
        self.encoder.estimated_bytes() >= self.shared.target_file_bytes
    }

    pub(super) async fn finish(mut self) -> Result<Made> {
        for bytes in self.encoder.finish()? {
            self.staged.write(bytes).await?;
        }
        let staged = self.staged.finish().await?;
        let schema = fingerprint(&self.shared.contract.dataset);
        Ok(Made { file: TokenFile { staged, rows: self.rows, partition: self.partition, schema }, bounds: self.bounds })
    }
}

/// A name for a file of the state, for its life. `listing::is_ours` knows it.
pub(super) fn name(shared: &Shared, number: u64) -> String {
    format!("part-{number:012}-{:08x}-0-00001{}", rand::random::<u32>(), shared.extension)
}

/// What an internal step of Arrow says when it should not have failed.
pub(super) fn broken(error: impl std::fmt::Display) -> Error {
    Error::internal("rows of the state cannot be put together").because(error)
}
