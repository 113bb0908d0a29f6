//! What a connector supplies to the kit: how to seed and read back the real system, and what it claims.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::Field;
use async_trait::async_trait;
use serde_json::Value;
use weir_error::{Error, Kind, Result};

use super::matrix::TypeFamily;
use crate::connector::Connector;
use crate::stream::{StreamInfo, WriteMode};

/// A connector under test, together with the real system behind it.
///
/// `name` is always lower_snake, at most 40 characters, and different for every use, so it can serve as table, folder or
/// path. Seeding and reading back go around the connector (another client, another code path), or the connector
/// would be its own judge.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The connector.
    fn connector(&self) -> Arc<dyn Connector>;

    /// What it claims to do; chooses the checks.
    fn declared(&self) -> Declared;

    /// Options of a connection that works.
    fn connection(&self) -> Value;

    /// Options of a connection with wrong credentials; `None` if the system has none.
    fn bad_connection(&self) -> Option<Value> {
        None
    }

    /// Options of a connection to a place where nobody answers; `None` if there is no network in between.
    fn unreachable_connection(&self) -> Option<Value> {
        None
    }

    /// Folder against which relative paths in options resolve.
    fn base_dir(&self) -> PathBuf {
        PathBuf::from(".")
    }

    /// Puts exactly these rows (schema of the first batch; there is always one, maybe without rows) into the system and
    /// returns the source options that read them. The kit asks for it only if [`Declared::source`].
    async fn seed(&self, name: &str, batches: &[RecordBatch]) -> Result<Value> {
        let _ = batches;
        Err(Error::internal(format!("the subject declares a source but cannot seed `{name}`")))
    }

    /// Which of the source's streams holds what was seeded under `name`; by default the only one.
    fn stream(&self, name: &str, streams: &[StreamInfo]) -> Result<StreamInfo> {
        match streams {
            [only] => Ok(only.clone()),
            _ => Err(Error::internal(format!("the source offers {} streams for `{name}`, not one", streams.len()))),
        }
    }

    /// Sink options that write into `name`. Key, contract and mode come with the target as well.
    fn sink_options(&self, name: &str, mode: WriteMode) -> Value {
        let _ = (name, mode);
        Value::Null
    }

    /// Everything that a reader of the target sees now; a target that does not exist yet is an empty list. The kit asks
    /// for it only if [`Declared::sink`].
    async fn read_back(&self, name: &str) -> Result<Vec<RecordBatch>> {
        Err(Error::internal(format!("the subject declares a sink but cannot read `{name}` back")))
    }

    /// Turns a column that came back in the system's own type into the type it had before; this IS the declared
    /// mapping. The default casts, and an overflow or an unparsable text is an error.
    fn map_back(&self, field: &Field, read: &ArrayRef) -> Result<ArrayRef> {
        if read.data_type() == field.data_type() {
            return Ok(read.clone());
        }
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(read, field.data_type(), &strict).map_err(|error| {
            Error::new("WEIR-TEST-002", Kind::Data, format!("column `{}` came back as {}", field.name(), read.data_type()))
                .because(error)
        })
    }
}

/// What a connector claims. Start from [`Declared::source`], [`Declared::sink`] or [`Declared::both`] and take away.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Declared {
    /// It reads.
    pub source: bool,
    /// It writes.
    pub sink: bool,
    /// Write modes to prove.
    pub modes: Vec<WriteMode>,
    /// Type families that must arrive exactly (as far as [`Subject::map_back`] says), in both directions. A family that is not listed is
    /// still checked in the sink when its own `sink_type` does not admit a loss.
    pub types: Vec<TypeFamily>,
    /// The source gives positions inside its splits.
    pub resumable: bool,
    /// The source reads incrementally by the cursor column `id`.
    pub incremental: bool,
    /// The sink can add a column to an existing target and refuses under `freeze`.
    pub schema_change: bool,
    /// The most that one writer holds in memory with the options of [`Subject::sink_options`], beyond the batch it is
    /// just taking.
    pub max_buffered_bytes: Option<usize>,
    /// Columns of the wide table.
    pub columns: usize,
    /// Bytes of the large cell.
    pub cell_bytes: usize,
    /// How long an unreachable host may take to be told as such.
    pub connect_bound: Duration,
}

impl Declared {
    /// A source and a sink with append only, every plain type family, 1,000 columns and 1 MiB cells.
    pub fn both() -> Self {
        Self {
            source: true,
            sink: true,
            modes: vec![WriteMode::Append],
            types: TypeFamily::PLAIN.to_vec(),
            resumable: true,
            incremental: false,
            schema_change: false,
            max_buffered_bytes: None,
            columns: 1000,
            cell_bytes: 1 << 20,
            connect_bound: Duration::from_secs(15),
        }
    }

    /// Only a source.
    pub fn source() -> Self {
        Self { sink: false, modes: Vec::new(), ..Self::both() }
    }

    /// Only a sink.
    pub fn sink() -> Self {
        Self { source: false, resumable: false, ..Self::both() }
    }

    /// With these write modes.
    #[must_use]
    pub fn modes(mut self, modes: &[WriteMode]) -> Self {
        self.modes = modes.to_vec();
        self
    }
    /// With these type families only.
    #[must_use]
    pub fn types(mut self, types: &[TypeFamily]) -> Self {
        self.types = types.to_vec();
        self
    }
    /// Without positions inside splits.
    #[must_use]
    pub fn not_resumable(mut self) -> Self {
        self.resumable = false;
        self
    }
    /// With a cursor.
    #[must_use]
    pub fn incremental(mut self) -> Self {
        self.incremental = true;
        self
    }
    /// With evolve and freeze.
    #[must_use]
    pub fn schema_change(mut self) -> Self {
        self.schema_change = true;
        self
    }
    /// With a bound on a writer's memory.
    #[must_use]
    pub fn max_buffered_bytes(mut self, bytes: usize) -> Self {
        self.max_buffered_bytes = Some(bytes);
        self
    }
    /// With another number of columns in the wide table (a system's own limit).
    #[must_use]
    pub fn columns(mut self, columns: usize) -> Self {
        self.columns = columns;
        self
    }
}
