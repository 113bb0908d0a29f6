//! Writing Avro files: the Arrow project's encoder, a block for every so many rows.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_avro::compression::CompressionCodec;
use arrow_avro::writer::format::AvroOcfFormat;
use arrow_avro::writer::{Writer, WriterBuilder};
use bytes::Bytes;
use weir_error::{Error, Kind, Result};

use crate::format::{Compression, Format};
use crate::options::WriteOptions;
use crate::out_buffer::OutBuffer;
use crate::stored::{stored_batch, stored_schema};
use crate::write::Encoder;

pub(crate) fn encoder(schema: SchemaRef, options: &WriteOptions, compression: Compression) -> Result<Box<dyn Encoder>> {
    let codec = match compression {
        Compression::Gzip => Some(CompressionCodec::Deflate),
        Compression::Snappy => Some(CompressionCodec::Snappy),
        Compression::Zstd => Some(CompressionCodec::ZStandard),
        _ => None,
    };
    let stored = stored_schema(Format::Avro, &schema);
    let mut named = stored.as_ref().clone();
    named.metadata.insert("avro.name".into(), options.avro.record_name.clone());
    let out = OutBuffer::default();
    let writer = WriterBuilder::new(named)
        .with_compression(codec)
        .build::<OutBuffer, AvroOcfFormat>(out.clone())
        .map_err(|error| failed(error.to_string()))?;
    Ok(Box::new(AvroEncoder { stored, writer, out, block_rows: options.avro.block_rows.max(1), rows: 0 }))
}

fn failed(why: String) -> Error {
    Error::new("WEIR-FMT-032", Kind::Data, "the rows cannot be written as Avro").because(why)
}

struct AvroEncoder {
    stored: SchemaRef,
    writer: Writer<OutBuffer, AvroOcfFormat>,
    out: OutBuffer,
    block_rows: usize,
    rows: u64,
}

impl Encoder for AvroEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = stored_batch(batch, &self.stored)?;
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = self.block_rows.min(batch.num_rows() - from);
            self.writer.write(&batch.slice(from, rows)).map_err(|error| failed(error.to_string()))?;
            from += rows;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn drain(&mut self) -> Vec<Bytes> {
        self.out.take()
    }

    fn buffered(&self) -> usize {
        self.out.ready()
    }

    fn estimated_bytes(&self) -> u64 {
        self.out.total()
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<Bytes>> {
        self.writer.finish().map_err(|error| failed(error.to_string()))?;
        Ok(self.out.take())
    }
}
