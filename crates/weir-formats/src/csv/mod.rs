//! CSV and TSV.
//!
//! * [`layout`]: what is known about a file; [`sniff`] and [`infer`] find it out.
//! * [`scan`]: where records and fields are; [`split`] cuts files between records; [`decode`] makes batches.
//! * [`encode`]: the other way.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use weir_error::{Error, Result};

use crate::format::Compression;
use crate::input::Input;
use crate::options::ReadOptions;
use crate::read::{DecodeStream, FilePosition, FileSplit, Inferred, Layout};
use crate::text::{blocking, decode_on_thread, open};

pub(crate) mod decode;
mod encode;
mod infer;
pub(crate) mod layout;
pub(crate) mod scan;
mod sniff;
mod split;

pub(crate) use encode::encoder;
pub(crate) use infer::infer;
use layout::CsvLayout;
pub(crate) use split::lines_before;

fn layout_of(layout: &Layout) -> Result<&CsvLayout> {
    match layout {
        Layout::Csv(layout) => Ok(layout),
        _ => Err(Error::internal("a CSV file without a CSV layout")),
    }
}

pub(crate) async fn plan_splits(
    input: &Arc<dyn Input>,
    _options: &ReadOptions,
    inferred: &Inferred,
    target: u64,
) -> Result<Vec<FileSplit>> {
    let layout = layout_of(&inferred.layout)?;
    let size = input.size();
    if layout.columns.is_empty() || size == 0 {
        return Ok(Vec::new());
    }
    let mut cuts = Vec::new();
    let plain = layout.compression == Compression::None && layout.encoding == encoding_rs::UTF_8.name();
    // A quote far ahead decides where records end: only a local file is worth reading twice. Comments may contain quotes
    // that mean nothing.
    if let (Some(path), true, None) = (input.local_path(), plain && size > target + target / 2, layout.comment) {
        let parts = size.div_ceil(target);
        let targets: Vec<u64> = (1..parts).map(|part| (u128::from(size) * u128::from(part) / u128::from(parts)) as u64).collect();
        let head = input.range(0..size.min(64 << 10)).await?;
        let bom = if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let skipped = bom + sniff::skip_lines(&head[bom..], layout.skip_lines, layout.terminator);
        if skipped < head.len() {
            let path = path.to_owned();
            let dialect = scan::Dialect::of(layout, false);
            cuts = blocking(move || split::record_ends(&path, skipped as u64, &targets, &dialect)).await?;
        }
    }
    cuts.push(size);
    let mut start = 0;
    let mut splits = Vec::with_capacity(cuts.len());
    for end in cuts {
        if end > start {
            splits.push(FileSplit { start, end, bytes: end - start, rows: None, layout: inferred.layout.clone() });
        }
        start = end;
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
    let layout = layout_of(&split.layout)?;
    let job = decode::Job::new(input.clone(), split, layout, schema, options, from)?;
    if job.start() > split.end {
        return Err(Error::internal("a position behind its split"));
    }
    let raw = open(&input, job.start()..split.end)?;
    Ok(decode_on_thread(input.name().to_owned(), move |output| job.run(raw, output)))
}
