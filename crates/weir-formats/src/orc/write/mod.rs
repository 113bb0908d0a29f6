//! Writes ORC by the v1 specification (file version 0.12). [`column`] turns Arrow arrays into the streams of a stripe, with the
//! encodings of [`rle`], [`text`] and [`timestamp`]; [`stream`] compresses them; [`types`] and [`stats`] describe them in the
//! footers, which [`proto`] spells. No row indexes and no bloom filters: statistics are per stripe and file.

mod arrays;
mod column;
mod proto;
mod rle;
mod stats;
mod stream;
mod text;
mod timestamp;
mod types;

use std::io::Write;

use arrow::array::{RecordBatch, StructArray};
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use weir_error::Result;

use self::column::{Column, Parts};
use self::proto::Message;
use self::stream::{CHUNK, Codec};
use self::types::Types;
use super::UNITS_KEY;
use crate::format::{Compression, Format};
use crate::options::WriteOptions;
use crate::out_buffer::OutBuffer;
use crate::stored::{stored_batch, stored_schema};
use crate::write::Encoder;

pub(crate) use self::types::stored_type;

const MAGIC: &[u8] = b"ORC";
/// Rows between two looks at the size of the stripe.
const STEP: usize = 4096;
/// An implementation without a number of its own, as the readers of Java and C++ spell it.
const WRITER: u64 = i32::MAX as u64;
/// The number that a writer's first version has.
const FIRST_VERSION: u64 = 6;
const PROLEPTIC_GREGORIAN: u64 = 2;

pub(crate) fn encoder(schema: SchemaRef, options: &WriteOptions, compression: Compression) -> Result<Box<dyn Encoder>> {
    let stored = stored_schema(Format::Orc, &schema);
    let root = Column::new(&DataType::Struct(stored.fields().clone()), String::new(), &mut 0)?;
    let mut out = OutBuffer::default();
    out.write_all(MAGIC)?;
    Ok(Box::new(OrcEncoder {
        stored,
        root,
        codec: Codec::new(compression)?,
        out,
        stripe_bytes: options.orc.stripe_bytes.max(1 << 16),
        stripe_rows: 0,
        rows: 0,
        stripes: Message::default(),
        stripe_stats: Message::default(),
    }))
}

struct OrcEncoder {
    stored: SchemaRef,
    root: Column,
    codec: Codec,
    out: OutBuffer,
    stripe_bytes: usize,
    /// Rows in the open stripe.
    stripe_rows: u64,
    rows: u64,
    /// Fields of the file's footer and metadata, for the stripes that are done.
    stripes: Message,
    stripe_stats: Message,
}

impl OrcEncoder {
    fn end_stripe(&mut self) -> Result<()> {
        let mut parts = Parts::default();
        self.root.end_stripe(&mut self.codec, &mut parts)?;
        let offset = self.out.total();
        for stream in &parts.data {
            self.out.write_all(stream)?;
        }
        let mut footer = parts.streams;
        footer.append(parts.encodings);
        footer.bytes(3, b"UTC");
        let data_end = self.out.total();
        let footer_length = self.put(footer)?;
        let mut stripe = Message::default();
        stripe.number(1, offset);
        stripe.number(2, 0);
        stripe.number(3, data_end - offset);
        stripe.number(4, footer_length);
        stripe.number(5, std::mem::take(&mut self.stripe_rows));
        self.stripes.message(3, &stripe);
        self.stripe_stats.message(1, &parts.stats);
        Ok(())
    }

    /// Writes a message, compressed, and says how long it became.
    fn put(&mut self, message: Message) -> Result<u64> {
        let mut bytes = Vec::new();
        self.codec.append(&message.into_bytes(), &mut bytes)?;
        self.out.write_all(&bytes)?;
        Ok(bytes.len() as u64)
    }

    fn end_file(&mut self) -> Result<()> {
        let content_length = self.out.total();
        let metadata = std::mem::take(&mut self.stripe_stats);
        let metadata_length = self.put(metadata)?;
        let types = Types::new(self.stored.fields())?;
        let mut footer = Message::default();
        footer.number(1, MAGIC.len() as u64);
        footer.number(2, content_length);
        footer.append(std::mem::take(&mut self.stripes));
        for message in &types.messages {
            footer.message(4, message);
        }
        if !types.units.is_empty() {
            let mut item = Message::default();
            item.bytes(1, UNITS_KEY.as_bytes());
            item.bytes(2, types.units.join(",").as_bytes());
            footer.message(5, &item);
        }
        footer.number(6, self.rows);
        self.root.file_stats(&mut footer);
        footer.number(8, 0);
        footer.number(9, WRITER);
        footer.number(11, PROLEPTIC_GREGORIAN);
        footer.bytes(12, concat!("weir ", env!("CARGO_PKG_VERSION")).as_bytes());
        let footer_length = self.put(footer)?;
        let mut postscript = Message::default();
        postscript.number(1, footer_length);
        postscript.number(2, self.codec.kind());
        postscript.number(3, CHUNK as u64);
        postscript.packed(4, [0, 12]);
        postscript.number(5, metadata_length);
        postscript.number(6, FIRST_VERSION);
        postscript.bytes(8000, MAGIC);
        let mut postscript = postscript.into_bytes();
        postscript.push(postscript.len() as u8);
        self.out.write_all(&postscript)?;
        Ok(())
    }
}

impl Encoder for OrcEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = stored_batch(batch, &self.stored)?;
        let mut from = 0;
        while from < batch.num_rows() {
            let count = STEP.min(batch.num_rows() - from);
            let rows = StructArray::from(batch.slice(from, count));
            self.root.push(&(std::sync::Arc::new(rows) as _))?;
            self.root.press(&mut self.codec)?;
            self.stripe_rows += count as u64;
            self.rows += count as u64;
            from += count;
            if self.root.held() >= self.stripe_bytes {
                self.end_stripe()?;
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> Vec<Bytes> {
        self.out.take()
    }

    fn buffered(&self) -> usize {
        self.out.ready() + self.root.held()
    }

    fn estimated_bytes(&self) -> u64 {
        self.out.total() + self.root.held() as u64
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<Bytes>> {
        if self.stripe_rows > 0 {
            self.end_stripe()?;
        }
        self.end_file()?;
        Ok(self.out.take())
    }
}
