//! Writes Parquet. Columns whose values hardly repeat get no dictionary: it would be built and thrown away in each row
//! group. That is decided once, from the first rows.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression as Codec, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use weir_error::{Error, Kind, Result};

use crate::format::{Compression, Format};
use crate::options::{ParquetOptions, WriteOptions};
use crate::out_buffer::OutBuffer;
use crate::stored::{stored_batch, stored_schema};
use crate::write::Encoder;

/// Rows of a page, at most. A dictionary encoder keeps eight bytes for each value of the open page, however few bits the
/// page itself needs.
const PAGE_ROWS: usize = 32_768;
/// Rows looked at for the choice of encodings.
const SAMPLE: usize = 8192;
/// With at least this share of distinct values in the sample, a dictionary of a whole row group would overflow its page.
const MOSTLY_DISTINCT: f64 = 0.985;

pub(crate) fn encoder(schema: SchemaRef, options: &WriteOptions, compression: Compression) -> Result<Box<dyn Encoder>> {
    let codec = codec(compression, options.parquet.compression_level)?;
    let stored = stored_schema(Format::Parquet, &schema);
    Ok(Box::new(ParquetEncoder {
        stored,
        options: options.parquet.clone(),
        codec,
        writer: None,
        ready: OutBuffer::default(),
        rows: 0,
    }))
}

fn codec(compression: Compression, level: Option<i32>) -> Result<Codec> {
    let bad = |error: parquet::errors::ParquetError| {
        Error::new("WEIR-FMT-014", Kind::Spec, "`compression_level` is out of range").because(error)
    };
    Ok(match compression {
        Compression::None | Compression::Auto | Compression::Bzip2 => Codec::UNCOMPRESSED,
        Compression::Snappy => Codec::SNAPPY,
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Zstd => Codec::ZSTD(ZstdLevel::try_new(level.unwrap_or(1)).map_err(bad)?),
        Compression::Gzip => {
            let level = u32::try_from(level.unwrap_or(6))
                .map_err(|_| Error::new("WEIR-FMT-014", Kind::Spec, "`compression_level` is out of range"))?;
            Codec::GZIP(GzipLevel::try_new(level).map_err(bad)?)
        }
    })
}

struct ParquetEncoder {
    stored: SchemaRef,
    options: ParquetOptions,
    codec: Codec,
    /// Made with the first rows, which decide the encodings.
    writer: Option<ArrowWriter<OutBuffer>>,
    /// Whole row groups, until they are drained.
    ready: OutBuffer,
    rows: u64,
}

fn failed(error: parquet::errors::ParquetError) -> Error {
    Error::new("WEIR-FMT-032", Kind::Data, "the rows cannot be written as Parquet").because(error)
}

impl ParquetEncoder {
    fn properties(&self, first: Option<&RecordBatch>) -> WriterProperties {
        let mut properties = WriterProperties::builder()
            .set_compression(self.codec)
            .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_max_row_group_row_count(Some(self.options.row_group_rows.max(1)))
            .set_max_row_group_bytes(Some(self.options.row_group_bytes.max(1 << 16)))
            .set_data_page_size_limit(self.options.page_bytes.max(1 << 10))
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_write_batch_size(4096)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_dictionary_enabled(self.options.dictionary.unwrap_or(true));
        if let (None, Some(batch)) = (self.options.dictionary, first) {
            for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
                if !worth_a_dictionary(column) {
                    properties = properties.set_column_dictionary_enabled(ColumnPath::from(field.name().clone()), false);
                }
            }
        }
        properties.build()
    }

    fn writer(&mut self, first: Option<&RecordBatch>) -> Result<&mut ArrowWriter<OutBuffer>> {
        if self.writer.is_none() {
            let options = ArrowWriterOptions::new().with_properties(self.properties(first));
            let made = ArrowWriter::try_new_with_options(self.ready.clone(), self.stored.clone(), options).map_err(failed)?;
            self.writer = Some(made);
        }
        self.writer.as_mut().ok_or_else(|| Error::internal("no Parquet writer"))
    }
}

/// Whether values repeat enough, by a sample.
fn worth_a_dictionary(column: &ArrayRef) -> bool {
    let count = column.len().min(SAMPLE);
    if count < 1000 {
        return true;
    }
    let sample = column.slice(0, count);
    let hasher = RandomState::new();
    let distinct = match sample.data_type() {
        DataType::Utf8 => {
            let values = sample.as_string::<i32>();
            values.iter().flatten().map(|value| hasher.hash_one(value)).collect::<HashSet<_>>().len()
        }
        DataType::LargeUtf8 => {
            let values = sample.as_string::<i64>();
            values.iter().flatten().map(|value| hasher.hash_one(value)).collect::<HashSet<_>>().len()
        }
        DataType::Binary => {
            let values = sample.as_binary::<i32>();
            values.iter().flatten().map(|value| hasher.hash_one(value)).collect::<HashSet<_>>().len()
        }
        DataType::Int64 => sample.as_primitive::<Int64Type>().iter().flatten().collect::<HashSet<_>>().len(),
        DataType::Date32 => sample.as_primitive::<Date32Type>().iter().flatten().collect::<HashSet<_>>().len(),
        DataType::Float64 => {
            let values = sample.as_primitive::<Float64Type>();
            values.iter().flatten().map(f64::to_bits).collect::<HashSet<_>>().len()
        }
        DataType::Decimal128(..) => sample.as_primitive::<Decimal128Type>().iter().flatten().collect::<HashSet<_>>().len(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            sample.as_primitive::<TimestampMicrosecondType>().iter().flatten().collect::<HashSet<_>>().len()
        }
        _ => return true,
    };
    let values = count - sample.null_count();
    values < 1000 || (distinct as f64) < values as f64 * MOSTLY_DISTINCT
}

impl Encoder for ParquetEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = stored_batch(batch, &self.stored)?;
        self.rows += batch.num_rows() as u64;
        self.writer(Some(&batch))?.write(&batch).map_err(failed)
    }

    fn drain(&mut self) -> Vec<Bytes> {
        self.ready.take()
    }

    fn buffered(&self) -> usize {
        self.writer.as_ref().map_or(0, ArrowWriter::memory_size) + self.ready.ready()
    }

    fn estimated_bytes(&self) -> u64 {
        let Some(writer) = &self.writer else { return 0 };
        (writer.bytes_written() + writer.in_progress_size()) as u64
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<Bytes>> {
        self.writer(None)?;
        if let Some(writer) = self.writer.take() {
            writer.close().map_err(failed)?;
        }
        Ok(self.ready.take())
    }
}
