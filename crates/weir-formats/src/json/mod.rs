//! JSON and NDJSON, in UTF-8.
//!
//! * [`tape`]: the parser; [`records`]: where records are; [`infer`]: types from a sample.
//! * [`decode`]: values to columns; this file: records to batches and dead letters.
//! * [`encode`]: the other way.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use weir_connect::DeadLetter;
use weir_error::{Error, Result};

use crate::columns::{broken, without_rows};
use crate::csv::decode::KEPT;
use crate::format::Compression;
use crate::inference::is_declared;
use crate::input::Input;
use crate::options::{ExtraColumns, ReadOptions};
use crate::read::{DecodeStream, Decoded, FilePosition, FileSplit, Inferred, Layout};
use crate::text::{Output, Raw, decode_on_thread, open, open_text};
use crate::text_buffer::{CHUNK, TextBuffer};

pub(crate) mod decode;
pub(crate) mod encode;
mod infer;
mod layout;
mod records;
pub(crate) mod tape;

use decode::StructColumn;
pub(crate) use encode::encoder;
pub(crate) use infer::infer;
pub use layout::JsonLayout;
use records::{Next, Records};
use tape::{Tape, What};

fn layout_of(layout: &Layout) -> Result<&JsonLayout> {
    match layout {
        Layout::Json(layout) => Ok(layout),
        _ => Err(Error::internal("a JSON file without a JSON layout")),
    }
}

/// Skips the byte order mark.
pub(crate) fn skip_mark(buffer: &mut TextBuffer) -> Result<()> {
    buffer.fill(CHUNK)?;
    if buffer.data().starts_with(b"\xef\xbb\xbf") {
        buffer.take(3);
    }
    Ok(())
}

pub(crate) async fn plan_splits(
    input: &Arc<dyn Input>,
    _options: &ReadOptions,
    inferred: &Inferred,
    target: u64,
) -> Result<Vec<FileSplit>> {
    let layout = layout_of(&inferred.layout)?;
    let size = input.size();
    if size == 0 {
        return Ok(Vec::new());
    }
    let mut cuts = Vec::new();
    if layout.lines && layout.compression == Compression::None && size > target + target / 2 {
        let parts = size.div_ceil(target);
        for part in 1..parts {
            let wanted = (u128::from(size) * u128::from(part) / u128::from(parts)) as u64;
            if cuts.last().is_none_or(|last| *last < wanted)
                && let Some(cut) = line_end(input, wanted).await?
            {
                cuts.push(cut);
            }
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

/// The first place behind a line end at or after `from`. A line end inside a JSON text is always escaped.
async fn line_end(input: &Arc<dyn Input>, from: u64) -> Result<Option<u64>> {
    let mut at = from;
    let mut step = 64 << 10;
    while at < input.size() {
        let end = (at + step).min(input.size());
        let piece = input.range(at..end).await?;
        if let Some(found) = memchr::memchr(b'\n', &piece) {
            return Ok(Some(at + found as u64 + 1));
        }
        at = end;
        step = (step * 4).min(16 << 20);
    }
    Ok(None)
}

pub(crate) async fn read(
    input: Arc<dyn Input>,
    split: &FileSplit,
    schema: SchemaRef,
    options: &ReadOptions,
    from: Option<FilePosition>,
) -> Result<DecodeStream> {
    let layout = layout_of(&split.layout)?.clone();
    let mut json = options.json.clone();
    if options.extra_columns == ExtraColumns::Ignore {
        json.extra_keys = ExtraColumns::Ignore;
    }
    let strict = |name: &str| !is_declared(options.declared.as_ref(), name);
    let columns = StructColumn::new(schema.fields(), strict, &json)?;
    let (start, lines, skip) = match from {
        None => (split.start, 0, 0),
        Some(FilePosition::Byte { offset, lines }) => (offset, lines, 0),
        Some(FilePosition::Records(records)) => (split.start, 0, records),
    };
    if start > split.end {
        return Err(Error::internal("a position behind its split"));
    }
    let raw = open(&input, start..split.end)?;
    let decoder = Decoder {
        name: input.name().to_owned(),
        lines_of_file: (split.start == 0).then_some(0),
        split_start: split.start,
        input: input.clone(),
        options: options.clone(),
        schema,
        columns,
        layout,
        start,
        skip,
        lines,
        records: 0,
        rows: 0,
        bad_rows: Vec::new(),
        max_depth: json.max_depth,
    };
    Ok(decode_on_thread(input.name().to_owned(), move |output| decoder.run(raw, output)))
}

struct Decoder {
    input: Arc<dyn Input>,
    name: String,
    options: ReadOptions,
    schema: SchemaRef,
    columns: StructColumn,
    layout: JsonLayout,
    split_start: u64,
    start: u64,
    /// Records that an earlier attempt has taken already.
    skip: u64,
    lines: u64,
    lines_of_file: Option<u64>,
    records: u64,
    rows: usize,
    bad_rows: Vec<u32>,
    max_depth: usize,
}

impl Decoder {
    fn run(mut self, raw: Raw, output: &Output) -> Result<()> {
        let (reader, counter) = open_text(raw, self.layout.compression, encoding_rs::UTF_8)?;
        let mut buffer = TextBuffer::new(reader, counter);
        if self.start == 0 {
            skip_mark(&mut buffer)?;
        } else {
            buffer.fill(CHUNK)?;
        }
        // Only lines can be entered in the middle.
        let plain = self.layout.compression == Compression::None && self.layout.lines;
        let mut records = Records::new(self.layout.lines, self.options.json.max_record_bytes, KEPT);
        let mut tape = Tape::default();
        let mut batch_from = (0, 0);
        loop {
            match records.next(&mut buffer)? {
                Next::End => break,
                Next::TooLong { kept, size } => {
                    if self.records >= self.skip {
                        let limit = self.options.json.max_record_bytes;
                        let reason = format!("a record of {size} bytes is over `max_record_bytes` ({limit})");
                        self.dead(output, &kept, "WEIR-FMT-104", reason)?;
                    }
                    self.lines += 1;
                    self.records += 1;
                }
                Next::Record { from, to, taken } => {
                    let text = &buffer.data()[from..to];
                    let blank = self.layout.lines && text.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
                    if !blank {
                        if self.records >= self.skip {
                            self.record(text, &mut tape, output)?;
                        }
                        self.records += 1;
                    }
                    self.lines += 1;
                    buffer.take(taken);
                    if self.records <= self.skip {
                        batch_from = (buffer.taken(), buffer.file_bytes());
                    }
                }
            }
            let enough = buffer.taken() - batch_from.0 >= self.options.batch_bytes.max(1) as u64;
            if self.rows >= self.options.batch_rows.max(1) || (enough && self.rows > 0) {
                self.send_batch(&buffer, plain, &mut batch_from, output)?;
            }
        }
        self.send_batch(&buffer, plain, &mut batch_from, output)
    }

    fn record(&mut self, text: &[u8], tape: &mut Tape, output: &Output) -> Result<()> {
        if simdutf8::basic::from_utf8(text).is_err() {
            return self.dead(output, text, "WEIR-FMT-102", "not valid UTF-8".into());
        }
        if let Err(fault) = tape.parse(text, self.max_depth) {
            let code = if fault.too_deep { "WEIR-FMT-114" } else { "WEIR-FMT-111" };
            let reason = format!("{} (byte {} of the record)", fault.what, fault.at);
            return self.dead(output, text, code, reason);
        }
        if tape.nodes.first().is_none_or(|node| node.what != What::Object) {
            return self.dead(output, text, "WEIR-FMT-112", "the record is no JSON object".into());
        }
        if let Err(misfit) = self.columns.push(tape, 0, text, None) {
            self.bad_rows.push(self.rows as u32);
            self.rows += 1;
            return self.dead(output, text, misfit.code, misfit.reason);
        }
        self.rows += 1;
        Ok(())
    }

    fn place(&mut self) -> Result<String> {
        if !self.layout.lines {
            return Ok(format!("{} record {}", self.name, self.records + 1));
        }
        let before = match (self.lines_of_file, self.input.local_path()) {
            (Some(lines), _) => lines,
            (None, Some(path)) => {
                let lines = crate::csv::lines_before(path, self.split_start, b'\n')?;
                self.lines_of_file = Some(lines);
                lines
            }
            (None, None) => {
                return Ok(format!("{} line {} behind byte {}", self.name, self.lines + 1, self.split_start));
            }
        };
        Ok(format!("{}:{}", self.name, before + self.lines + 1))
    }

    fn dead(&mut self, output: &Output, text: &[u8], code: &str, reason: String) -> Result<()> {
        let place = self.place()?;
        output.send(Decoded::Dead(DeadLetter {
            stream: String::new(),
            code: code.into(),
            reason,
            place,
            payload: text[..text.len().min(KEPT)].to_vec(),
            media_type: self.options.format.media_type().into(),
        }))
    }

    fn send_batch(&mut self, buffer: &TextBuffer, plain: bool, batch_from: &mut (u64, u64), output: &Output) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let columns = without_rows(self.columns.finish_columns()?, &self.bad_rows, self.rows)?;
        let count = self.rows - self.bad_rows.len();
        self.rows = 0;
        self.bad_rows.clear();
        let source_bytes = if self.layout.compression == Compression::None {
            buffer.taken() - batch_from.0
        } else {
            buffer.file_bytes() - batch_from.1
        };
        *batch_from = (buffer.taken(), buffer.file_bytes());
        if count == 0 {
            return Ok(());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let records = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(broken)?;
        let position = if plain {
            FilePosition::Byte { offset: self.start + buffer.taken(), lines: self.lines }
        } else {
            FilePosition::Records(self.records)
        };
        output.send(Decoded::Batch { records, source_bytes, position })
    }
}
