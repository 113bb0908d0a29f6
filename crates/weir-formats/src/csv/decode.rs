//! CSV bytes to batches: scan a chunk, then parse it column by column into builders.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::SchemaRef;
use weir_connect::DeadLetter;
use weir_error::{Error, Kind, Result};

use crate::columns::{Cell, TextColumn, broken, text_column, without_rows};
use crate::csv::infer::header_length;
use crate::csv::layout::CsvLayout;
use crate::csv::scan::{CsvCells, Dialect, Fault, Index, NullTexts, Odd, scan};
use crate::csv::sniff::skip_lines;
use crate::csv::split::lines_before;
use crate::format::Compression;
use crate::inference::is_declared;
use crate::input::Input;
use crate::json::decode::json_column;
use crate::options::{ExtraColumns, Ragged, ReadOptions};
use crate::read::{Decoded, FilePosition, FileSplit};
use crate::text::{Output, Raw, encoding_named, open_text};
use crate::text_buffer::{CHUNK, TextBuffer};

/// Bytes of a record that a dead letter keeps.
pub(crate) const KEPT: usize = 1 << 20;

/// Everything a decoding thread needs.
pub(crate) struct Job {
    input: Arc<dyn Input>,
    schema: SchemaRef,
    options: ReadOptions,
    layout: CsvLayout,
    dialect: Dialect,
    /// Per column of the schema: its place in the file.
    places: Vec<Option<usize>>,
    builders: Vec<Option<Box<dyn TextColumn>>>,
    split_start: u64,
    start: u64,
    skip_records: u64,
    lines: u64,
    /// Read from the beginning of the file: byte order mark, skipped lines and header come first.
    prologue: bool,
}

impl Job {
    /// Matches the schema with the file's columns.
    pub(crate) fn new(
        input: Arc<dyn Input>,
        split: &FileSplit,
        layout: &CsvLayout,
        schema: SchemaRef,
        options: &ReadOptions,
        from: Option<FilePosition>,
    ) -> Result<Self> {
        let mut places = Vec::with_capacity(schema.fields().len());
        let mut builders = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let place = layout.columns.iter().position(|name| name == field.name());
            if place.is_none() && !field.is_nullable() {
                return Err(missing_column(field.name()));
            }
            let strict = !is_declared(options.declared.as_ref(), field.name());
            builders.push(match place {
                None => None,
                Some(_) => Some(match text_column(field.data_type(), strict) {
                    Some(column) => column,
                    None => json_column(field, strict, &options.json)?,
                }),
            });
            places.push(place);
        }
        if options.extra_columns == ExtraColumns::Error
            && let Some(extra) = layout.columns.iter().find(|name| schema.field_with_name(name).is_err())
        {
            return Err(extra_column(extra));
        }
        let (start, lines, skip_records) = match from {
            None => (split.start, 0, 0),
            Some(FilePosition::Byte { offset, lines }) => (offset, lines, 0),
            Some(FilePosition::Records(records)) => (split.start, 0, records),
        };
        Ok(Self {
            input,
            schema,
            options: options.clone(),
            layout: layout.clone(),
            dialect: Dialect::of(layout, options.csv.ragged == Ragged::Pad),
            places,
            builders,
            split_start: split.start,
            start,
            skip_records,
            lines,
            prologue: start == 0,
        })
    }

    /// Where reading begins.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn run(self, raw: Raw, output: &Output) -> Result<()> {
        let encoding = encoding_named(&self.layout.encoding)?;
        let (reader, counter) = open_text(raw, self.layout.compression, encoding)?;
        let plain = self.layout.compression == Compression::None && encoding == encoding_rs::UTF_8;
        let mut decoder = Decoder {
            buffer: TextBuffer::new(reader, counter),
            rows: 0,
            bad_rows: Vec::new(),
            nulls: NullTexts::new(&self.options.csv.null_values),
            records: 0,
            lines: self.lines,
            lines_of_file: (self.split_start == 0).then_some(0),
            batch_from: (0, 0),
            plain,
            job: self,
            output,
        };
        decoder.run()
    }
}

pub(crate) fn missing_column(name: &str) -> Error {
    Error::new("WEIR-FMT-021", Kind::Schema, format!("the file has no column `{name}`, which may not be NULL"))
        .hint("the files of one stream must have the same required columns")
}

pub(crate) fn extra_column(name: &str) -> Error {
    Error::new("WEIR-FMT-025", Kind::Schema, format!("the file has a column `{name}` that the stream does not have"))
        .hint("declare it under `columns`, or let `extra_columns: ignore` leave it out")
}

struct Decoder<'a> {
    job: Job,
    output: &'a Output,
    buffer: TextBuffer,
    nulls: NullTexts,
    /// Rows in the builders.
    rows: usize,
    /// Those among them that do not count.
    bad_rows: Vec<u32>,
    /// Records behind us, dead letters included.
    records: u64,
    /// Lines behind us, from the beginning of the split.
    lines: u64,
    /// Lines of the file before the split, once somebody asked.
    lines_of_file: Option<u64>,
    /// Text and file bytes behind us when the batch began.
    batch_from: (u64, u64),
    /// Text bytes are file bytes.
    plain: bool,
}

impl Decoder<'_> {
    fn run(&mut self) -> Result<()> {
        if self.job.prologue {
            self.skip_prologue()?;
        }
        let mut index = Index::default();
        let mut want = CHUNK;
        loop {
            self.buffer.fill(want)?;
            if self.buffer.data().is_empty() && self.buffer.at_end() {
                break;
            }
            let skipping = self.job.skip_records - self.records.min(self.job.skip_records);
            let limit = match usize::try_from(skipping) {
                Ok(0) => self.job.options.batch_rows.max(1) - self.rows,
                Ok(skipping) => skipping,
                Err(_) => usize::MAX,
            };
            let columns = Some(self.job.layout.columns.len());
            scan(self.buffer.data(), &self.job.dialect, columns, limit, self.buffer.at_end(), &mut index);
            if index.consumed == 0 {
                if self.buffer.data().len() >= self.job.options.csv.max_record_bytes.clamp(1, 1 << 30) {
                    self.skip_long_record()?;
                    want = CHUNK;
                } else {
                    want = (self.buffer.data().len() * 2).clamp(CHUNK, 1 << 30);
                }
                continue;
            }
            want = CHUNK;
            if skipping > 0 {
                self.records += index.rows() as u64 + index.odd.iter().filter(|odd| odd.fields > 0).count() as u64;
                self.advance(index.consumed);
                self.batch_from = (self.buffer.taken(), self.buffer.file_bytes());
                continue;
            }
            self.take_chunk(&mut index)?;
            let enough_bytes = self.buffer.taken() - self.batch_from.0 >= self.job.options.batch_bytes.max(1) as u64;
            if self.rows >= self.job.options.batch_rows.max(1) || enough_bytes {
                self.send_batch()?;
            }
        }
        self.send_batch()
    }

    fn skip_prologue(&mut self) -> Result<()> {
        let mut want = CHUNK;
        loop {
            self.buffer.fill(want)?;
            let data = self.buffer.data();
            let bom = if data.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            let mut at = bom + skip_lines(&data[bom..], self.job.layout.skip_lines, self.job.layout.terminator);
            if self.job.layout.header {
                at += header_length(&data[at..], &self.job.dialect, self.buffer.at_end());
            }
            if at < data.len() || self.buffer.at_end() {
                self.advance(at);
                return Ok(());
            }
            want = data.len() * 2;
            if want > 1 << 30 {
                return Err(Error::new("WEIR-FMT-026", Kind::Data, "the header does not end").hint("is this a CSV file?"));
            }
        }
    }

    fn advance(&mut self, count: usize) {
        let data = &self.buffer.data()[..count];
        self.lines += memchr::memchr_iter(self.job.layout.terminator, data).count() as u64;
        self.buffer.take(count);
    }

    fn take_chunk(&mut self, index: &mut Index) -> Result<()> {
        let data = &self.buffer.data()[..index.consumed];
        if simdutf8::basic::from_utf8(data).is_err() {
            index.reject_invalid(data);
        }
        let index = &*index;
        let rows = index.rows();
        // First column that does not fit, by row.
        let mut bad: BTreeMap<u32, usize> = BTreeMap::new();
        let mut misfits = Vec::new();
        for (at, builder) in self.job.builders.iter_mut().enumerate() {
            let (Some(builder), Some(column)) = (builder, self.job.places[at]) else { continue };
            let cells = CsvCells { data, index, column, dialect: &self.job.dialect, nulls: &self.nulls };
            builder.extend(&cells, &mut misfits);
            if !self.job.schema.field(at).is_nullable() {
                misfits.extend((0..rows).filter(|row| matches!(cells.cell(*row), Cell::Null)).map(|row| row as u32));
            }
            for row in misfits.drain(..) {
                bad.entry(row).or_insert(at);
            }
        }
        if !bad.is_empty() || !index.odd.is_empty() {
            self.report(index, &bad)?;
        }
        self.bad_rows.extend(bad.keys().map(|row| *row + self.rows as u32));
        self.rows += rows;
        self.records += rows as u64 + index.odd.iter().filter(|odd| odd.fields > 0).count() as u64;
        self.advance(index.consumed);
        Ok(())
    }

    /// Sends the dead letters of a chunk, in the order of the file.
    fn report(&mut self, index: &Index, bad: &BTreeMap<u32, usize>) -> Result<()> {
        let mut odd = index.odd.iter().peekable();
        for (&row, &at) in bad {
            while let Some(record) = odd.next_if(|record| record.before <= row) {
                self.send_odd(record)?;
            }
            let (start, end) = index.record(row as usize);
            let field = self.job.schema.field(at).clone();
            let column = self.job.places[at].unwrap_or_default();
            let data = self.buffer.data();
            let cells = CsvCells { data, index, column, dialect: &self.job.dialect, nulls: &self.nulls };
            let raw = String::from_utf8_lossy(cells.raw(row as usize)).into_owned();
            let (code, reason) = match cells.cell(row as usize) {
                Cell::Malformed => {
                    ("WEIR-FMT-106", format!("column `{}`: text behind the closing quote: {}", field.name(), short(&raw)))
                }
                Cell::Null => ("WEIR-FMT-107", format!("column `{}` may not be NULL", field.name())),
                _ => ("WEIR-FMT-103", misfit(field.name(), field.data_type(), &raw, &self.job.options)),
            };
            self.send_dead(start, end, code, reason)?;
        }
        for record in odd {
            self.send_odd(record)?;
        }
        Ok(())
    }

    fn send_odd(&mut self, odd: &Odd) -> Result<()> {
        if odd.fields == 0 {
            return Ok(());
        }
        let columns = self.job.layout.columns.len();
        let (start, end) = (odd.start as usize, odd.end as usize);
        match odd.fault {
            Fault::Fields => {
                let reason = format!("{} fields, but there are {columns} columns", odd.fields);
                if self.job.options.csv.ragged == Ragged::Error {
                    let line = self.line_of(start)?;
                    return Err(Error::new("WEIR-FMT-101", Kind::Data, reason)
                        .at(format!("{}:{line}", self.job.input.name()))
                        .hint("let `ragged: dead_letter` set such records aside"));
                }
                self.send_dead(start, end, "WEIR-FMT-101", reason)
            }
            Fault::Unclosed => {
                let lines = memchr::memchr_iter(self.job.layout.terminator, &self.buffer.data()[start..end]).count() + 1;
                let reason = format!("a quote is never closed; {lines} line(s) up to the end of the file are inside it");
                self.send_dead(start, end, "WEIR-FMT-105", reason)
            }
            Fault::Encoding => {
                let reason = format!(
                    "not valid {}; if the file is in another encoding, set `encoding`",
                    self.job.layout.encoding.to_ascii_uppercase()
                );
                self.send_dead(start, end, "WEIR-FMT-102", reason)
            }
        }
    }

    /// The line of the file on which a place of the buffer lies.
    fn line_of(&mut self, at: usize) -> Result<u64> {
        let before = match self.lines_of_file {
            Some(lines) => lines,
            None => match self.job.input.local_path() {
                Some(path) => {
                    // Counted once per split, and only when a record has to be named.
                    let lines = lines_before(path, self.job.split_start, self.job.layout.terminator)?;
                    self.lines_of_file = Some(lines);
                    lines
                }
                None => 0,
            },
        };
        let here = memchr::memchr_iter(self.job.layout.terminator, &self.buffer.data()[..at]).count() as u64;
        Ok(before + self.lines + here + 1)
    }

    fn send_dead(&mut self, start: usize, end: usize, code: &str, reason: String) -> Result<()> {
        let line = self.line_of(start)?;
        let data = self.buffer.data();
        let payload = data[start..end.min(start + KEPT)].to_vec();
        self.output.send(Decoded::Dead(DeadLetter {
            stream: String::new(),
            code: code.into(),
            reason,
            place: format!("{}:{line}", self.job.input.name()),
            payload,
            media_type: self.job.options.format.media_type().into(),
        }))
    }

    /// A record beyond the limit: its beginning is kept, the rest read past.
    fn skip_long_record(&mut self) -> Result<()> {
        let line = self.line_of(0)?;
        let payload = self.buffer.data()[..KEPT.min(self.buffer.data().len())].to_vec();
        let mut skipper = Skipper { quoted: false, previous: self.job.dialect.terminator, closed: false, escaped: false };
        let mut size = 0u64;
        loop {
            let end = skipper.find_end(self.buffer.data(), &self.job.dialect);
            let count = end.unwrap_or(self.buffer.data().len());
            size += count as u64;
            self.advance(count);
            if end.is_some() || (self.buffer.at_end() && self.buffer.data().is_empty()) {
                break;
            }
            self.buffer.fill(CHUNK)?;
        }
        self.records += 1;
        let limit = self.job.options.csv.max_record_bytes;
        self.output.send(Decoded::Dead(DeadLetter {
            stream: String::new(),
            code: "WEIR-FMT-104".into(),
            reason: format!("a record of {size} bytes is over `max_record_bytes` ({limit}); is a quote not closed?"),
            place: format!("{}:{line}", self.job.input.name()),
            payload,
            media_type: self.job.options.format.media_type().into(),
        }))
    }

    fn send_batch(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.job.builders.len());
        for (at, builder) in self.job.builders.iter_mut().enumerate() {
            columns.push(match builder {
                Some(builder) => builder.finish()?,
                None => new_null_array(self.job.schema.field(at).data_type(), self.rows),
            });
        }
        let columns = without_rows(columns, &self.bad_rows, self.rows)?;
        let count = self.rows - self.bad_rows.len();
        self.rows = 0;
        self.bad_rows.clear();
        let source_bytes =
            if self.plain { self.buffer.taken() - self.batch_from.0 } else { self.buffer.file_bytes() - self.batch_from.1 };
        self.batch_from = (self.buffer.taken(), self.buffer.file_bytes());
        if count == 0 {
            return Ok(());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let records = RecordBatch::try_new_with_options(self.job.schema.clone(), columns, &options).map_err(broken)?;
        let position = if self.plain {
            FilePosition::Byte { offset: self.job.start + self.buffer.taken(), lines: self.lines }
        } else {
            FilePosition::Records(self.records)
        };
        self.output.send(Decoded::Batch { records, source_bytes, position })
    }
}

/// Finds the end of a record without keeping it.
struct Skipper {
    quoted: bool,
    previous: u8,
    closed: bool,
    escaped: bool,
}

impl Skipper {
    fn find_end(&mut self, data: &[u8], dialect: &Dialect) -> Option<usize> {
        for (at, &byte) in data.iter().enumerate() {
            let closed = std::mem::take(&mut self.closed);
            if std::mem::take(&mut self.escaped) {
                // An ordinary byte.
            } else if Some(byte) == dialect.quote {
                if self.quoted {
                    self.quoted = false;
                    self.closed = true;
                } else {
                    self.quoted = closed || self.previous == dialect.delimiter || self.previous == dialect.terminator;
                }
            } else if self.quoted {
                self.escaped = Some(byte) == dialect.escape;
            } else if byte == dialect.terminator {
                return Some(at + 1);
            }
            self.previous = byte;
        }
        None
    }
}

/// A text for a message.
pub(crate) fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Why a value does not fit, and what to do.
pub(crate) fn misfit(name: &str, data_type: &arrow::datatypes::DataType, raw: &str, options: &ReadOptions) -> String {
    let declared = is_declared(options.declared.as_ref(), name);
    let hint = if declared {
        "the type is the one declared under `columns`"
    } else {
        "the type was inferred from a sample: declare the column's type under `columns`, or raise `infer_rows`"
    };
    format!("column `{name}`: {} is no {data_type}; {hint}", short(raw))
}
