//! The reading side's types and the dispatch by format. What a format does is in its own module.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use futures::Stream;
use serde::{Deserialize, Serialize};
use weir_connect::DeadLetter;
use weir_error::{Error, Kind, Result};

use crate::format::{Compression, Format};
use crate::input::Input;
use crate::options::ReadOptions;
use crate::{avro, csv, inference, json, orc, parquet};

/// What a look at a file found.
#[derive(Debug, Clone)]
pub struct Inferred {
    /// Columns in the order of the file. A file without a single byte has none.
    pub schema: SchemaRef,
    /// How this file is to be read from now on.
    pub layout: Layout,
    /// Rows in the file: exact for Parquet and ORC (and small files), else a guess from the sample.
    pub rows_estimate: Option<u64>,
    /// What was decided by looking, for `weir plan`: `delimiter ';'`, `first line is a header`.
    pub notes: Vec<String>,
}

/// Everything that was found by looking and must not change during the run. Part of every split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// CSV or TSV.
    Csv(csv::layout::CsvLayout),
    /// JSON or NDJSON.
    Json(json::JsonLayout),
    /// Parquet, Avro and ORC describe themselves.
    SelfDescribing,
}

/// A part of one file that can be read by itself. Every record of the file is in exactly one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileSplit {
    /// First unit: a byte (text, Avro) or row group (Parquet) or byte of a stripe (ORC).
    pub start: u64,
    /// End, exclusive, in the same unit.
    pub end: u64,
    /// Bytes of the file this stands for, for progress.
    pub bytes: u64,
    /// Rows, if the file says so.
    pub rows: Option<u64>,
    /// How to read it.
    pub layout: Layout,
}

/// Where to go on inside a split. Made by [`read()`], to be given back to it unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilePosition {
    /// At a byte of an uncompressed text file, where a record begins.
    Byte {
        /// Offset in the file.
        offset: u64,
        /// Lines of the split before it.
        lines: u64,
    },
    /// After so many records of the split, dead letters included.
    Records(u64),
}

/// What comes out of a split.
#[derive(Debug, Clone)]
pub enum Decoded {
    /// Rows.
    Batch {
        /// In the schema given to [`read()`].
        records: RecordBatch,
        /// Bytes of the file (compressed, if it is) that were taken for them.
        source_bytes: u64,
        /// Reading from here gives the rest. Every dead letter before this place was sent before this batch.
        position: FilePosition,
    },
    /// A record that could not be decoded. `stream` is empty: the connector fills it.
    Dead(DeadLetter),
}

/// Decoded parts of a split, in the order of the file (a batch's dead letters come just before it).
/// Dropping it stops the work.
pub type DecodeStream = Pin<Box<dyn Stream<Item = Result<Decoded>> + Send>>;

/// Looks at a bounded part of a file.
///
/// # Errors
/// `WEIR-FMT-…` when the file is not in the format, is corrupted where it was looked at, or an option contradicts it.
pub async fn infer_schema(input: &Arc<dyn Input>, options: &ReadOptions) -> Result<Inferred> {
    let inferred = match options.format {
        Format::Csv | Format::Tsv => csv::infer(input, options).await,
        Format::Json | Format::Ndjson => json::infer(input, options).await,
        Format::Parquet => parquet::infer(input, options).await,
        Format::Avro => avro::infer(input, options).await,
        Format::Orc => orc::infer(input, options).await,
    };
    inferred.map_err(|error| error.at(input.name()))
}

/// Divides a file into parts of about `target_bytes`. A file that cannot be divided exactly (compressed text, remote
/// CSV, JSON arrays) is one part; a file without records is none.
///
/// # Errors
/// As [`infer_schema`].
pub async fn plan_splits(
    input: &Arc<dyn Input>,
    options: &ReadOptions,
    inferred: &Inferred,
    target_bytes: u64,
) -> Result<Vec<FileSplit>> {
    let target = target_bytes.clamp(1, u64::MAX / 4);
    let splits = match options.format {
        Format::Csv | Format::Tsv => csv::plan_splits(input, options, inferred, target).await,
        Format::Json | Format::Ndjson => json::plan_splits(input, options, inferred, target).await,
        Format::Parquet => parquet::plan_splits(input, target).await,
        Format::Avro => avro::plan_splits(input, target).await,
        Format::Orc => orc::plan_splits(input, target).await,
    };
    splits.map_err(|error| error.at(input.name()))
}

/// Reads a split, from its beginning or after a position. `schema` is the stream's: columns are found by name, a column
/// that the file lacks is NULL (an error if it may not be), columns that the stream lacks are treated as
/// `extra_columns` says. Decoding runs on tokio's blocking threads, a few batches ahead of the consumer.
///
/// # Errors
/// At once when schema and file do not fit; through the stream for everything found later. An error ends the stream.
pub async fn read(
    input: Arc<dyn Input>,
    split: &FileSplit,
    schema: SchemaRef,
    options: &ReadOptions,
    from: Option<FilePosition>,
) -> Result<DecodeStream> {
    let name = input.name().to_owned();
    let stream = match options.format {
        Format::Csv | Format::Tsv => csv::read(input, split, schema, options, from).await,
        Format::Json | Format::Ndjson => json::read(input, split, schema, options, from).await,
        Format::Parquet => parquet::read(input, split, schema, options, from).await,
        Format::Avro => avro::read(input, split, schema, options, from).await,
        Format::Orc => orc::read(input, split, schema, options, from).await,
    };
    stream.map_err(|error| error.at(name))
}

/// The schema of a stream made of several files: the union of the columns by name, in the order they appear first. Types
/// that differ widen (whole number → decimal or floating point where exact, any scalar → text); a column that some file lacks
/// may be NULL.
///
/// # Errors
/// `WEIR-FMT-020` when one column has types without a common one, naming both files.
pub fn unify_schemas(files: &[(&str, SchemaRef)]) -> Result<SchemaRef> {
    inference::unify(files)
}

/// The compression of a text file: the option, else its first bytes, else its name.
pub(crate) async fn resolve_compression(input: &Arc<dyn Input>, options: &ReadOptions) -> Result<Compression> {
    if options.compression != Compression::Auto {
        return Ok(options.compression);
    }
    let head = input.range(0..input.size().min(16)).await?;
    if let Some(found) = Compression::from_magic(&head) {
        return Ok(found);
    }
    let by_name = Format::from_path(input.name()).map(|(_, compression)| compression).unwrap_or(Compression::None);
    if by_name != Compression::None && input.size() > 0 {
        return Err(Error::new(
            "WEIR-FMT-003",
            Kind::Data,
            format!("the name says {} but the first bytes do not", by_name.as_str()),
        )
        .hint("set `compression: none` if the file is plain text, or fetch it again"));
    }
    Ok(by_name)
}

/// An empty schema.
pub(crate) fn no_columns() -> SchemaRef {
    Arc::new(Schema::empty())
}
