//! Avro object container files. The blocks are walked and checked here (their lengths, sync markers and counts), because the
//! decoder of the Arrow project takes a file that is cut off for one that has ended.

use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow_avro::codec::Tz;
use arrow_avro::compression::CompressionCodec;
use arrow_avro::reader::ReaderBuilder;
use arrow_avro::writer::format::AvroOcfFormat;
use arrow_avro::writer::{Writer, WriterBuilder};
use bytes::Bytes;
use weir_error::{Error, Kind, Result};

use crate::compress::uncarry;
use crate::conform::Conform;
use crate::format::{Compression, Format};
use crate::input::Input;
use crate::options::{ReadOptions, WriteOptions};
use crate::out_buffer::OutBuffer;
use crate::read::{DecodeStream, Decoded, FilePosition, FileSplit, Inferred, Layout};
use crate::stored::{stored_batch, stored_schema};
use crate::text::{Raw, blocking, decode_on_thread, guard, open};
use crate::write::Encoder;

/// A block may not be larger than this before decompression.
const MAX_BLOCK: u64 = 1 << 30;

fn corrupted(why: impl Into<String>) -> Error {
    Error::new("WEIR-FMT-004", Kind::Data, "the Avro file is cut off or corrupted")
        .because(why.into())
        .hint("write or fetch the file again")
}

/// A zigzag number with a variable length, and its length; `None` if more bytes are needed.
fn long(bytes: &[u8]) -> Result<Option<(i64, usize)>> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().enumerate() {
        if at == 10 {
            return Err(corrupted("a number of more than ten bytes"));
        }
        value |= u64::from(byte & 0x7f) << (7 * at as u32).min(63);
        if byte & 0x80 == 0 {
            return Ok(Some(((value >> 1) as i64 ^ -((value & 1) as i64), at + 1)));
        }
    }
    if bytes.len() >= 10 { Err(corrupted("a number of more than ten bytes")) } else { Ok(None) }
}

/// Length of the header, sync marker included, and the marker; `None` if more bytes are needed.
fn header_length(bytes: &[u8]) -> Result<Option<(usize, [u8; 16])>> {
    if bytes.len() >= 4 && &bytes[..4] != b"Obj\x01" {
        return Err(Error::new("WEIR-FMT-004", Kind::Data, "this is no Avro file").because("it does not begin with `Obj`"));
    }
    let mut at = 4;
    let number = |at: &mut usize| -> Result<Option<i64>> {
        Ok(match bytes.get(*at..).map(long).transpose()?.flatten() {
            Some((value, length)) => {
                *at += length;
                Some(value)
            }
            None => None,
        })
    };
    loop {
        let Some(count) = number(&mut at)? else { return Ok(None) };
        if count == 0 {
            break;
        }
        if count < 0 && number(&mut at)?.is_none() {
            return Ok(None);
        }
        for _ in 0..count.unsigned_abs().saturating_mul(2) {
            let Some(length) = number(&mut at)? else { return Ok(None) };
            let length = usize::try_from(length).map_err(|_| corrupted("a negative length in the header"))?;
            at = at.checked_add(length).ok_or_else(|| corrupted("a length in the header"))?;
            if at > bytes.len() {
                return Ok(None);
            }
        }
    }
    match bytes.get(at..at + 16) {
        Some(marker) => {
            let mut sync = [0; 16];
            sync.copy_from_slice(marker);
            Ok(Some((at + 16, sync)))
        }
        None => Ok(None),
    }
}

/// The header's bytes and the sync marker.
async fn header(input: &Arc<dyn Input>) -> Result<(Bytes, [u8; 16])> {
    let mut want = 64u64 << 10;
    loop {
        let head = input.range(0..want.min(input.size())).await?;
        if let Some((length, sync)) = header_length(&head)? {
            return Ok((head.slice(..length), sync));
        }
        if want >= input.size() || want > 256 << 20 {
            return Err(corrupted("the header does not end"));
        }
        want *= 4;
    }
}

/// What block walker and reader tell each other; the decoder between them passes on only texts.
#[derive(Default)]
struct Shared {
    /// Why the walk stopped.
    fault: Option<Error>,
    /// Records in the blocks handed on.
    records: u64,
    /// Records in the blocks passed over.
    passed: u64,
    /// Records still to pass over.
    skip: u64,
}

/// Hands the decoder the header and then one checked block after the other.
struct Blocks {
    inner: io::BufReader<Raw>,
    sync: [u8; 16],
    current: Vec<u8>,
    at: usize,
    left: u64,
    shared: Arc<Mutex<Shared>>,
}

fn locked(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Blocks {
    fn number(&mut self, block: &mut Vec<u8>) -> Result<u64> {
        let start = block.len();
        loop {
            let mut byte = [0];
            self.exact(&mut byte)?;
            block.push(byte[0]);
            if let Some((value, _)) = long(&block[start..])? {
                return u64::try_from(value).map_err(|_| corrupted("a negative count or length"));
            }
        }
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<()> {
        if (buffer.len() as u64) > self.left {
            return Err(corrupted("the file ends inside a block"));
        }
        self.inner.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => corrupted("the file ends inside a block"),
            _ => uncarry(error),
        })?;
        self.left -= buffer.len() as u64;
        Ok(())
    }

    fn next_block(&mut self) -> Result<()> {
        while self.left > 0 {
            let mut block = std::mem::take(&mut self.current);
            block.clear();
            let count = self.number(&mut block)?;
            let length = self.number(&mut block)?;
            if length > MAX_BLOCK || length + 16 > self.left {
                return Err(corrupted("the file ends inside a block"));
            }
            let start = block.len();
            block.resize(start + length as usize + 16, 0);
            self.exact(&mut block[start..])?;
            let end = block.len() - 16;
            if block[end..] != self.sync {
                return Err(corrupted("a block does not end with the file's marker"));
            }
            self.current = block;
            self.at = 0;
            let mut shared = locked(&self.shared);
            if count <= shared.skip {
                shared.skip -= count;
                shared.passed += count;
                continue;
            }
            shared.records += count;
            return Ok(());
        }
        self.current.clear();
        self.at = 0;
        Ok(())
    }
}

impl Read for Blocks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buf.len());
        buf[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Blocks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len()
            && let Err(error) = self.next_block()
        {
            let text = io::Error::other(error.to_string());
            locked(&self.shared).fault = Some(error);
            return Err(text);
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.current.len());
    }
}

/// The schema of the rows, from the header alone.
fn schema_of(header: &Bytes) -> Result<SchemaRef> {
    guard(|| {
        let reader = ReaderBuilder::new()
            .with_tz(Tz::Utc)
            .build(io::Cursor::new(header.clone()))
            .map_err(|error| corrupted(error.to_string()))?;
        Ok(reader.schema())
    })
}

pub(crate) async fn infer(input: &Arc<dyn Input>, options: &ReadOptions) -> Result<Inferred> {
    let (header, _) = header(input).await?;
    let found = schema_of(&header)?;
    let fields: Vec<Field> = found
        .fields()
        .iter()
        .map(|field| {
            let kept = field.metadata().iter().filter(|(key, _)| !key.starts_with("avro."));
            let kept = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
            field.as_ref().clone().with_metadata(kept)
        })
        .collect();
    let schema = crate::inference::with_declared(Schema::new(fields), options.declared.as_ref(), input.name())?;
    Ok(Inferred { schema: Arc::new(schema), layout: Layout::SelfDescribing, rows_estimate: None, notes: Vec::new() })
}

pub(crate) async fn plan_splits(input: &Arc<dyn Input>, target: u64) -> Result<Vec<FileSplit>> {
    let (header, _) = header(input).await?;
    let (start, size) = (header.len() as u64, input.size());
    let mut cuts: Vec<(u64, Option<u64>)> = Vec::new();
    match input.local_path() {
        // Hopping from block to block costs a small read each: only where reads are cheap.
        Some(path) if size > target + target / 2 => {
            let path = path.to_owned();
            cuts = blocking(move || block_cuts(&path, start..size, target)).await?;
        }
        _ if size > start => cuts.push((size, None)),
        _ => {}
    }
    let mut begin = start;
    Ok(cuts
        .into_iter()
        .map(|(end, rows)| {
            let split = FileSplit { start: begin, end, bytes: end - begin, rows, layout: Layout::SelfDescribing };
            begin = end;
            split
        })
        .collect())
}

/// Ends of groups of blocks, with their rows.
fn block_cuts(path: &std::path::Path, range: Range<u64>, target: u64) -> Result<Vec<(u64, Option<u64>)>> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::open(path)?;
    let mut cuts = Vec::new();
    let (mut at, mut begin, mut rows) = (range.start, range.start, 0u64);
    while at < range.end {
        let mut head = [0u8; 20];
        let available = (range.end - at).min(20) as usize;
        file.read_exact_at(&mut head[..available], at)?;
        let cut_off = || corrupted("the file ends inside a block");
        let (count, first) = long(&head[..available])?.ok_or_else(cut_off)?;
        let (length, second) = long(&head[first..available])?.ok_or_else(cut_off)?;
        let count = u64::try_from(count).map_err(|_| corrupted("a negative count"))?;
        let length = u64::try_from(length).map_err(|_| corrupted("a negative length"))?;
        at = at.saturating_add((first + second) as u64).saturating_add(length).saturating_add(16);
        if at > range.end {
            return Err(cut_off());
        }
        rows += count;
        if at - begin >= target || at == range.end {
            cuts.push((at, Some(rows)));
            (begin, rows) = (at, 0);
        }
    }
    Ok(cuts)
}

pub(crate) async fn read(
    input: Arc<dyn Input>,
    split: &FileSplit,
    schema: SchemaRef,
    options: &ReadOptions,
    from: Option<FilePosition>,
) -> Result<DecodeStream> {
    let (header, sync) = header(&input).await?;
    let found = schema_of(&header)?;
    let conform = Conform::new(&found, schema, options.extra_columns)?;
    let skipped = match from {
        None => 0,
        Some(FilePosition::Records(records)) => records,
        Some(FilePosition::Byte { .. }) => return Err(Error::internal("a byte position in an Avro file")),
    };
    let raw = open(&input, split.start..split.end)?;
    let counter = raw.counter();
    let shared = Arc::new(Mutex::new(Shared { skip: skipped, ..Shared::default() }));
    let blocks = Blocks {
        inner: io::BufReader::with_capacity(256 << 10, raw),
        sync,
        current: header.to_vec(),
        at: 0,
        left: split.end - split.start,
        shared: shared.clone(),
    };
    let batch_rows = options.batch_rows.clamp(1, 8192);
    Ok(decode_on_thread(input.name().to_owned(), move |output| {
        let stopped = |error: String| locked(&shared).fault.take().unwrap_or_else(|| corrupted(error));
        let mut reader = ReaderBuilder::new()
            .with_batch_size(batch_rows)
            .with_tz(Tz::Utc)
            .build(blocks)
            .map_err(|error| stopped(error.to_string()))?;
        let mut seen = 0u64;
        let mut source = 0;
        while let Some(batch) = reader.next().transpose().map_err(|error| stopped(error.to_string()))? {
            let rows = batch.num_rows();
            seen += rows as u64;
            // What is left to skip lies inside the first block that was handed on.
            let (drop, passed) = {
                let mut shared = locked(&shared);
                if seen > shared.records {
                    return Err(corrupted("a block holds more records than it says"));
                }
                let drop = shared.skip.min(rows as u64);
                shared.skip -= drop;
                (drop as usize, shared.passed)
            };
            if drop == rows {
                continue;
            }
            let needed = batch.project(&conform.needed).map_err(|error| corrupted(error.to_string()))?;
            let records = conform.apply(&needed.slice(drop, rows - drop))?;
            let now = counter.load(std::sync::atomic::Ordering::Relaxed);
            let source_bytes = now - std::mem::replace(&mut source, now);
            output.send(Decoded::Batch { records, source_bytes, position: FilePosition::Records(passed + seen) })?;
        }
        let announced = locked(&shared).records;
        if seen != announced {
            return Err(corrupted(format!("its blocks announce {announced} records but hold {seen}")));
        }
        Ok(())
    }))
}

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
