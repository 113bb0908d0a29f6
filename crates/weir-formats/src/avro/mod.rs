//! Avro object container files: their header, their blocks, and what lies in them.
//!
//! The decoder of the Arrow project takes a file that is cut off for one that has ended, and does not come back from a block
//! whose records end before its bytes do. Therefore it gets only what was checked here: a header written anew, and blocks that
//! are decompressed and walked by the writer's schema, each holding exactly the records that it announces.

mod blocks;
mod header;
mod schema;
mod unpack;
mod walk;
mod write;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow_avro::codec::Tz;
use arrow_avro::reader::ReaderBuilder;
use weir_error::{Error, Kind, Result};

use crate::conform::Conform;
use crate::input::Input;
use crate::options::ReadOptions;
use crate::read::{DecodeStream, Decoded, FilePosition, FileSplit, Inferred, Layout};
use crate::text::{blocking, decode_on_thread, guard, open};

use blocks::{Blocks, Shared, locked};
use header::{Header, header, long};
pub(crate) use write::encoder;

/// A block may not be larger than this, neither before nor after decompression.
const MAX_BLOCK: u64 = 1 << 30;

fn corrupted(why: impl Into<String>) -> Error {
    Error::new("WEIR-FMT-004", Kind::Data, "the Avro file is cut off or corrupted")
        .because(why.into())
        .hint("write or fetch the file again")
}

/// The schema of the rows as the decoder sees it, from the header alone.
fn schema_of(header: &Header) -> Result<SchemaRef> {
    let found = guard(|| {
        let reader = ReaderBuilder::new()
            .with_tz(Tz::Utc)
            .build(std::io::Cursor::new(header.plain.clone()))
            .map_err(|error| corrupted(error.to_string()))?;
        Ok(reader.schema())
    })?;
    if !schema::same_shape(&header.row, &found) {
        return Err(Error::new("WEIR-FMT-004", Kind::Data, "the schema of the Avro file has more than one meaning")
            .because("the decoder takes one of its types for another one")
            .hint("give every record, enum and fixed of the schema a name of its own and write the file again"));
    }
    Ok(found)
}

pub(crate) async fn infer(input: &Arc<dyn Input>, options: &ReadOptions) -> Result<Inferred> {
    let found = schema_of(&header(input).await?)?;
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
    let header = header(input).await?;
    let (start, size) = (header.length, input.size());
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
        rows = rows.saturating_add(count);
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
    let header = header(&input).await?;
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
    let blocks = Blocks::new(raw, header, split.start..split.end, shared.clone());
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
