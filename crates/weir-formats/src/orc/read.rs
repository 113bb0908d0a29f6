//! Reads ORC by stripes, through the `orc-rust` crate.

use std::collections::HashMap;
use std::io::{self, Read};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use orc_rust::arrow_reader::ArrowReaderBuilder;
use orc_rust::projection::ProjectionMask;
use orc_rust::reader::{AsyncChunkReader, ChunkReader};
use orc_rust::schema::DataType as OrcType;
use weir_error::{Error, Kind, Result};

use crate::conform::Conform;
use crate::input::Input;
use crate::options::ReadOptions;
use crate::parquet::{Account, rows_per_batch};
use crate::read::{DecodeStream, Decoded, FilePosition, FileSplit, Inferred, Layout};
use crate::text::{blocking, decode_on_thread};

pub(super) fn failed(error: impl std::fmt::Display) -> Error {
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

/// The file's columns. Its timestamps have nanoseconds, unless the file tells the unit they were written in.
fn in_written_units<R>(builder: &ArrowReaderBuilder<R>) -> SchemaRef {
    let metadata = builder.file_metadata();
    let notes = metadata.user_custom_metadata().get(super::UNITS_KEY);
    let units: HashMap<usize, TimeUnit> = notes
        .and_then(|notes| std::str::from_utf8(notes).ok())
        .into_iter()
        .flat_map(|notes| notes.split(','))
        .filter_map(|note| {
            let (column, unit) = note.split_once('=')?;
            let unit = match unit {
                "s" => TimeUnit::Second,
                "ms" => TimeUnit::Millisecond,
                "us" => TimeUnit::Microsecond,
                _ => return None,
            };
            Some((column.parse().ok()?, unit))
        })
        .collect();
    let columns = metadata.root_data_type().children().iter();
    let schema = builder.schema();
    let fields = schema.fields().iter().zip(columns).map(|(field, column)| {
        let data_type = with_units(column.data_type(), field.data_type(), &units);
        field.as_ref().clone().with_data_type(data_type)
    });
    // The writer's own notes in the metadata are not part of the rows.
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn with_units(column: &OrcType, data_type: &DataType, units: &HashMap<usize, TimeUnit>) -> DataType {
    let part = |column: &OrcType, field: &Field| {
        let data_type = with_units(column, field.data_type(), units);
        field.clone().with_data_type(data_type)
    };
    match (column, data_type) {
        (OrcType::Timestamp { .. } | OrcType::TimestampWithLocalTimezone { .. }, DataType::Timestamp(unit, zone)) => {
            DataType::Timestamp(*units.get(&column.column_index()).unwrap_or(unit), zone.clone())
        }
        (OrcType::List { child, .. }, DataType::List(item)) => DataType::List(Arc::new(part(child, item))),
        (OrcType::Struct { children, .. }, DataType::Struct(fields)) => {
            DataType::Struct(children.iter().zip(fields).map(|(child, field)| part(child.data_type(), field)).collect())
        }
        (OrcType::Map { key, value, .. }, DataType::Map(entries, sorted)) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                let pair = DataType::Struct(vec![part(key, &pair[0]), part(value, &pair[1])].into());
                DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(pair)), *sorted)
            }
            _ => data_type.clone(),
        },
        _ => data_type.clone(),
    }
}

async fn look(input: &Arc<dyn Input>) -> Result<Found> {
    if input.size() < 4 {
        return Err(failed(format!("{} bytes are no ORC file", input.size())));
    }
    super::tail::check(input).await?;
    fn found<R>(builder: &ArrowReaderBuilder<R>) -> Found {
        let stripes = builder
            .file_metadata()
            .stripe_metadatas()
            .iter()
            .map(|s| (s.offset(), s.index_length() + s.data_length() + s.footer_length(), s.number_of_rows()))
            .collect();
        Found { schema: in_written_units(builder), stripes }
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
    let schema = crate::inference::with_declared(found.schema.as_ref().clone(), options.declared.as_ref(), input.name())?;
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
    let stored = Arc::new(found.schema.project(&conform.needed).map_err(failed)?);
    let mut skipper =
        Skip { left: skip, account: Account { conform, rows, bytes: split.bytes, done: skip, name: input.name().to_owned() } };
    if let Some(path) = input.local_path() {
        let path = path.to_owned();
        return Ok(decode_on_thread(input.name().to_owned(), move |output| {
            let builder = ArrowReaderBuilder::try_new(LocalFile::open(&path)?).map_err(failed)?;
            let mask = ProjectionMask::named_roots(builder.file_metadata().root_data_type(), &names);
            let builder = builder.with_projection(mask).with_schema(stored);
            let reader = builder.with_batch_size(batch_rows).with_file_byte_range(range).build();
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
    let builder = builder.with_projection(mask).with_schema(stored);
    let stream = builder.with_batch_size(batch_rows).with_file_byte_range(range).build_async();
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
