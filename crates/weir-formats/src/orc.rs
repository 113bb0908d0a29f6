//! ORC, through the `orc-rust` crate: reading by stripes; writing of the few types that its writer has.

use std::io::{self, Read};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use orc_rust::arrow_reader::ArrowReaderBuilder;
use orc_rust::arrow_writer::{ArrowWriter, ArrowWriterBuilder};
use orc_rust::error::OrcError;
use orc_rust::projection::ProjectionMask;
use orc_rust::reader::{AsyncChunkReader, ChunkReader};
use weir_error::{Error, Kind, Result};

use crate::conform::Conform;
use crate::input::Input;
use crate::options::{ReadOptions, WriteOptions};
use crate::out_buffer::OutBuffer;
use crate::parquet::{Account, rows_per_batch};
use crate::read::{DecodeStream, Decoded, FilePosition, FileSplit, Inferred, Layout};
use crate::stored::stored_batch;
use crate::text::{blocking, decode_on_thread, guard};
use crate::write::Encoder;

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new("WEIR-FMT-004", Kind::Data, "the ORC file is cut off or corrupted")
        .because(error)
        .hint("write or fetch the file again")
}

fn panicked() -> Error {
    Error::new("WEIR-FMT-006", Kind::Data, "the ORC decoder gave up on this file")
        .hint("the file is most likely corrupted; check it with another tool, and report it if that can read it")
}

/// Positional reads that never ask for bytes outside the file.
struct LocalFile {
    file: Arc<std::fs::File>,
    size: u64,
}

impl LocalFile {
    fn open(path: &std::path::Path) -> Result<Self> {
        let file = std::fs::File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), size })
    }
}

fn outside() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "bytes outside the file are wanted")
}

impl ChunkReader for LocalFile {
    type T = Box<dyn Read>;

    fn len(&self) -> u64 {
        self.size
    }

    fn get_read(&self, offset: u64) -> io::Result<Self::T> {
        let rest = self.size.checked_sub(offset).ok_or_else(outside)?;
        Ok(Box::new(self.get_bytes(offset, rest)?.reader()))
    }

    fn get_bytes(&self, offset: u64, length: u64) -> io::Result<Bytes> {
        use std::os::unix::fs::FileExt;
        if offset.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(outside());
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes.into())
    }
}

/// Ranges of an input, fetched a little ahead: the streams of a stripe lie one after the other.
struct Ranges {
    input: Arc<dyn Input>,
    ahead: (u64, Bytes),
}

const AHEAD: u64 = 4 << 20;

impl AsyncChunkReader for Ranges {
    fn len(&mut self) -> BoxFuture<'_, io::Result<u64>> {
        let size = self.input.size();
        async move { Ok(size) }.boxed()
    }

    fn get_bytes(&mut self, offset: u64, length: u64) -> BoxFuture<'_, io::Result<Bytes>> {
        async move {
            let size = self.input.size();
            let end = offset.checked_add(length).filter(|end| *end <= size).ok_or_else(outside)?;
            let (start, held) = &self.ahead;
            if offset < *start || end > start + held.len() as u64 {
                let until = end.max((offset + AHEAD).min(size));
                let bytes = self.input.range(offset..until).await.map_err(crate::compress::carry)?;
                self.ahead = (offset, bytes);
            }
            let from = (offset - self.ahead.0) as usize;
            Ok(self.ahead.1.slice(from..from + length as usize))
        }
        .boxed()
    }
}

/// What the footer says.
struct Found {
    schema: SchemaRef,
    /// Offset, bytes and rows of each stripe.
    stripes: Vec<(u64, u64, u64)>,
}

async fn look(input: &Arc<dyn Input>) -> Result<Found> {
    if input.size() < 4 {
        return Err(failed(format!("{} bytes are no ORC file", input.size())));
    }
    fn found<R>(builder: &ArrowReaderBuilder<R>) -> Found {
        let stripes = builder
            .file_metadata()
            .stripe_metadatas()
            .iter()
            .map(|s| (s.offset(), s.index_length() + s.data_length() + s.footer_length(), s.number_of_rows()))
            .collect();
        Found { schema: builder.schema(), stripes }
    }
    if let Some(path) = input.local_path() {
        let path = path.to_owned();
        return blocking(move || {
            let builder = ArrowReaderBuilder::try_new(LocalFile::open(&path)?).map_err(failed)?;
            Ok(found(&builder))
        })
        .await;
    }
    let reader = Ranges { input: input.clone(), ahead: (0, Bytes::new()) };
    let made = AssertUnwindSafe(ArrowReaderBuilder::try_new_async(reader)).catch_unwind().await;
    Ok(found(&made.map_err(|_| panicked())?.map_err(failed)?))
}

pub(crate) async fn infer(input: &Arc<dyn Input>, options: &ReadOptions) -> Result<Inferred> {
    let found = look(input).await?;
    // The writer's own notes in the metadata are not part of the rows.
    let schema = Schema::new(found.schema.fields().clone());
    let schema = crate::inference::with_declared(schema, options.declared.as_ref(), input.name())?;
    Ok(Inferred {
        schema: Arc::new(schema),
        layout: Layout::SelfDescribing,
        rows_estimate: Some(found.stripes.iter().map(|stripe| stripe.2).sum()),
        notes: Vec::new(),
    })
}

pub(crate) async fn plan_splits(input: &Arc<dyn Input>, target: u64) -> Result<Vec<FileSplit>> {
    let found = look(input).await?;
    let mut splits: Vec<FileSplit> = Vec::new();
    for (offset, bytes, rows) in found.stripes {
        if rows == 0 {
            continue;
        }
        match splits.last_mut() {
            Some(last) if last.bytes + bytes <= target => {
                last.end = offset + 1;
                last.bytes += bytes;
                last.rows = last.rows.map(|before| before + rows);
            }
            _ => {
                splits.push(FileSplit { start: offset, end: offset + 1, bytes, rows: Some(rows), layout: Layout::SelfDescribing })
            }
        }
    }
    Ok(splits)
}

pub(crate) async fn read(
    input: Arc<dyn Input>,
    split: &FileSplit,
    schema: SchemaRef,
    options: &ReadOptions,
    from: Option<FilePosition>,
) -> Result<DecodeStream> {
    let found = look(&input).await?;
    let conform = Conform::new(&found.schema, schema, options.extra_columns)?;
    let skip = match from {
        None => 0,
        Some(FilePosition::Records(records)) => records,
        Some(FilePosition::Byte { .. }) => return Err(Error::internal("a byte position in an ORC file")),
    };
    let names: Vec<String> = conform.needed.iter().map(|at| found.schema.field(*at).name().clone()).collect();
    let rows = split.rows.unwrap_or(0);
    let batch_rows = rows_per_batch(split.bytes.saturating_mul(3), rows, options);
    let range = split.start as usize..split.end as usize;
    let mut skipper =
        Skip { left: skip, account: Account { conform, rows, bytes: split.bytes, done: skip, name: input.name().to_owned() } };
    if let Some(path) = input.local_path() {
        let path = path.to_owned();
        return Ok(decode_on_thread(input.name().to_owned(), move |output| {
            let builder = ArrowReaderBuilder::try_new(LocalFile::open(&path)?).map_err(failed)?;
            let mask = ProjectionMask::named_roots(builder.file_metadata().root_data_type(), &names);
            let reader = builder.with_projection(mask).with_batch_size(batch_rows).with_file_byte_range(range).build();
            for batch in reader {
                if let Some(decoded) = skipper.take(batch.map_err(failed)?)? {
                    output.send(decoded)?;
                }
            }
            skipper.account.check()
        }));
    }
    let reader = Ranges { input, ahead: (0, Bytes::new()) };
    let made = AssertUnwindSafe(ArrowReaderBuilder::try_new_async(reader)).catch_unwind().await;
    let builder = made.map_err(|_| panicked())?.map_err(failed)?;
    let mask = ProjectionMask::named_roots(builder.file_metadata().root_data_type(), &names);
    let stream = builder.with_projection(mask).with_batch_size(batch_rows).with_file_byte_range(range).build_async();
    let guarded = AssertUnwindSafe(stream).catch_unwind().boxed();
    Ok(Box::pin(futures::stream::try_unfold((guarded, skipper), |(mut stream, mut skipper)| async move {
        loop {
            match stream.next().await {
                Some(Err(_panic)) => return Err(panicked().at(skipper.account.name.clone())),
                Some(Ok(Err(error))) => return Err(failed(error).at(skipper.account.name.clone())),
                Some(Ok(Ok(batch))) => {
                    if let Some(decoded) = skipper.take(batch)? {
                        return Ok(Some((decoded, (stream, skipper))));
                    }
                }
                None => return skipper.account.check().map(|()| None),
            }
        }
    })))
}

/// Passes over the rows that an earlier attempt has taken.
struct Skip {
    left: u64,
    account: Account,
}

impl Skip {
    fn take(&mut self, batch: RecordBatch) -> Result<Option<Decoded>> {
        let drop = self.left.min(batch.num_rows() as u64) as usize;
        self.left -= drop as u64;
        if drop == batch.num_rows() {
            return Ok(None);
        }
        self.account.take(batch.slice(drop, batch.num_rows() - drop)).map(Some)
    }
}

pub(crate) fn encoder(schema: SchemaRef, options: &WriteOptions) -> Result<Box<dyn Encoder>> {
    let out = OutBuffer::default();
    let stripe = options.orc.stripe_bytes.max(1 << 16);
    let (batches, received) = mpsc::sync_channel::<RecordBatch>(1);
    let (target, stored) = (out.clone(), schema.clone());
    let worker = std::thread::Builder::new().name("orc-writer".into()).spawn(move || {
        guard(|| {
            let mut writer: ArrowWriter<OutBuffer> =
                ArrowWriterBuilder::new(target, stored).with_stripe_byte_size(stripe).try_build().map_err(not_written)?;
            for batch in received {
                writer.write(&batch).map_err(not_written)?;
            }
            writer.close().map_err(not_written)
        })
    })?;
    Ok(Box::new(OrcEncoder { schema, batches: Some(batches), worker: Some(worker), out, stripe, held: 0, flushed: 0, rows: 0 }))
}

fn not_written(error: OrcError) -> Error {
    Error::new("WEIR-FMT-032", Kind::Data, "the rows cannot be written as ORC").because(error)
}

/// The ORC crate's writer must stay on one thread; it has its own.
struct OrcEncoder {
    schema: SchemaRef,
    batches: Option<mpsc::SyncSender<RecordBatch>>,
    worker: Option<JoinHandle<Result<()>>>,
    out: OutBuffer,
    stripe: usize,
    /// Bytes of batches that the writer may still hold, and the output when that was counted anew.
    held: usize,
    flushed: u64,
    rows: u64,
}

impl OrcEncoder {
    /// Ends the writer and gives its verdict.
    fn join(&mut self) -> Result<()> {
        self.batches = None;
        match self.worker.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(Error::internal("the ORC writer is gone")),
        }
    }
}

impl Encoder for OrcEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = stored_batch(batch, &self.schema)?;
        self.rows += batch.num_rows() as u64;
        let total = self.out.total();
        if total > self.flushed {
            (self.flushed, self.held) = (total, 0);
        }
        self.held += batch.get_array_memory_size();
        let sent = self.batches.as_ref().is_some_and(|batches| batches.send(batch).is_ok());
        if sent { Ok(()) } else { self.join().and(Err(Error::internal("the ORC writer is gone"))) }
    }

    fn drain(&mut self) -> Vec<Bytes> {
        self.out.take()
    }

    fn buffered(&self) -> usize {
        self.out.ready() + self.held.min(self.stripe)
    }

    fn estimated_bytes(&self) -> u64 {
        self.out.total() + self.held.min(self.stripe) as u64
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<Bytes>> {
        self.join()?;
        Ok(self.out.take())
    }
}
