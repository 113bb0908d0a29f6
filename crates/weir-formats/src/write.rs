//! The writing side's trait and the dispatch by format.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use weir_error::Result;

use crate::fidelity::check_writable;
use crate::format::Format;
use crate::options::WriteOptions;
use crate::{avro, csv, json, orc, parquet};

/// Turns batches into the bytes of one file. CPU work only: it never blocks on I/O.
pub trait Encoder: Send {
    /// Takes rows in the schema the encoder was made with. After an error the encoder is of no use any more.
    ///
    /// # Errors
    /// `WEIR-FMT-…` when a value has no form in the format (a NaN in JSON).
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Takes the encoded bytes that are ready, in order. The file is the concatenation of everything drained and of what
    /// [`Encoder::finish`] returns.
    fn drain(&mut self) -> Vec<Bytes>;

    /// Bytes held in memory now: undrained output and what is not yet encoded.
    fn buffered(&self) -> usize;

    /// About how long the file would be if it were finished now; for cutting files at a target size.
    fn estimated_bytes(&self) -> u64;

    /// Rows taken so far.
    fn rows(&self) -> u64;

    /// The rest of the file, footer included. A file of zero rows is valid in its format and keeps the schema where the format can.
    ///
    /// # Errors
    /// As [`Encoder::write`].
    fn finish(self: Box<Self>) -> Result<Vec<Bytes>>;
}

/// An encoder for one file.
///
/// # Errors
/// `WEIR-FMT-010` for an impossible compression, `WEIR-FMT-011` when a column has no place in the format
/// ([`check_writable`]).
pub fn encoder(schema: SchemaRef, options: &WriteOptions) -> Result<Box<dyn Encoder>> {
    check_writable(options.format, &schema)?;
    let compression = options.resolved_compression()?;
    match options.format {
        Format::Csv | Format::Tsv => csv::encoder(schema, options, compression),
        Format::Json | Format::Ndjson => json::encoder(schema, options, compression),
        Format::Parquet => parquet::encoder(schema, options, compression),
        Format::Avro => avro::encoder(schema, options, compression),
        Format::Orc => orc::encoder(schema, options, compression),
    }
}
