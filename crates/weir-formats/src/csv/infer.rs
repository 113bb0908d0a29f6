//! Looks at a bounded part of a CSV file: dialect, columns, types.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::Schema;
use weir_error::Result;

use crate::columns::Cell;
use crate::compress::uncarry;
use crate::csv::layout::CsvLayout;
use crate::csv::scan::{CsvCells, Dialect, Index, NullTexts, scan};
use crate::csv::sniff::{Sample, skip_lines, sniff};
use crate::format::Compression;
use crate::inference::{TextSeen, inferred_field, with_declared};
use crate::input::Input;
use crate::options::ReadOptions;
use crate::read::{Inferred, Layout, no_columns, resolve_compression};
use crate::text::{blocking, encoding_named, open, open_text};

/// Bytes of text looked at from the beginning, and at each place further on.
const HEAD: u64 = 4 << 20;
/// Records at the beginning of a window that are not believed.
const SETTLING: usize = 16;
const WINDOW: u64 = 256 << 10;

pub(crate) async fn infer(input: &Arc<dyn Input>, options: &ReadOptions) -> Result<Inferred> {
    let compression = resolve_compression(input, options).await?;
    let given = options.csv.encoding.as_deref().map(encoding_named).transpose()?;
    let size = input.size();
    let mut head = if compression == Compression::None { size.min(HEAD) } else { size };
    let mut limit = HEAD;
    loop {
        let raw = open(input, 0..head)?;
        let whole = head == size && compression == Compression::None;
        let mut sample = blocking(move || read_sample(raw, compression, given, whole, limit)).await?;
        if sample.text.starts_with(b"\xef\xbb\xbf") {
            sample.text.drain(..3);
        }
        let mut notes = Vec::new();
        if sample.encoding != encoding_rs::UTF_8 {
            notes.push(format!("encoding {}", sample.encoding.name()));
        }
        let layout = sniff(&sample, &options.csv, options.format, &mut notes)?;
        if layout.columns.is_empty() {
            return Ok(Inferred { schema: no_columns(), layout: Layout::Csv(layout), rows_estimate: Some(0), notes });
        }
        let mut types = Types::new(&layout, options);
        let rows = types.see_head(&sample.text, sample.whole);
        // The first record may be longer than the usual sample.
        if rows == 0 && !sample.whole && limit <= options.csv.max_record_bytes as u64 {
            limit *= 4;
            head = head.max(limit.min(size));
            continue;
        }
        return finish(input, options, &sample, types, rows, notes).await;
    }
}

async fn finish(
    input: &Arc<dyn Input>,
    options: &ReadOptions,
    sample: &Sample,
    mut types: Types<'_>,
    rows: u64,
    notes: Vec<String>,
) -> Result<Inferred> {
    let size = input.size();
    let layout = types.layout;
    let plain = sample.compression == Compression::None && sample.encoding == encoding_rs::UTF_8;
    if plain && !sample.whole {
        for window in windows(size) {
            types.see_window(&input.range(window).await?);
        }
    }
    let rows_estimate = if sample.whole {
        Some(rows)
    } else if plain && types.bytes > 0 {
        Some((size as u128 * u128::from(rows) / u128::from(types.bytes)) as u64)
    } else {
        None
    };
    let fields: Vec<_> = layout
        .columns
        .iter()
        .zip(&types.seen)
        .map(|(name, seen)| inferred_field(name, seen.data_type(options.csv.decimals), seen.empty()))
        .collect();
    let schema = with_declared(Schema::new(fields), options.declared.as_ref(), input.name())?;
    Ok(Inferred { schema: Arc::new(schema), layout: Layout::Csv(layout.clone()), rows_estimate, notes })
}

/// Places further on in a large file: what comes late should not surprise the types.
fn windows(size: u64) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    for eighth in [2, 4, 6, 8] {
        let end = size / 8 * eighth;
        if let Some(start) = end.checked_sub(WINDOW).filter(|start| *start >= HEAD) {
            found.push(start..end);
        }
    }
    found
}

fn read_sample(
    raw: crate::text::Raw,
    compression: Compression,
    given: Option<&'static encoding_rs::Encoding>,
    whole_if_read: bool,
    limit: u64,
) -> Result<Sample> {
    // The mark at the beginning shows the encoding; it must be seen behind the compression.
    let (mut plain, _) = open_text(raw, compression, encoding_rs::UTF_8)?;
    let mut bytes = Vec::new();
    plain.by_ref().take(limit).read_to_end(&mut bytes).map_err(uncarry)?;
    let mut whole = whole_if_read;
    if compression != Compression::None {
        whole = plain.read(&mut [0u8; 1]).map_err(uncarry)? == 0;
    }
    let encoding = given.unwrap_or_else(|| match encoding_rs::Encoding::for_bom(&bytes) {
        Some((found, _)) => found,
        None => unmarked_utf16(&bytes).unwrap_or(encoding_rs::UTF_8),
    });
    let text = if encoding == encoding_rs::UTF_8 {
        bytes
    } else {
        let (text, _) = encoding.decode_without_bom_handling(&bytes);
        text.into_owned().into_bytes()
    };
    Ok(Sample { text, whole, compression, encoding })
}

/// UTF-16 without a mark: of the first letters, every second byte is zero. As UTF-8 that would be text full of NULs.
fn unmarked_utf16(bytes: &[u8]) -> Option<&'static encoding_rs::Encoding> {
    let head = &bytes[..bytes.len().min(1024) & !1];
    let zeros = |at: usize| head.iter().skip(at).step_by(2).filter(|byte| **byte == 0).count();
    let (first, second) = (zeros(0), zeros(1));
    let most = |zeros: usize| head.len() >= 8 && zeros * 4 >= head.len() / 2 * 3;
    match (most(first), most(second)) {
        (false, true) if first == 0 => Some(encoding_rs::UTF_16LE),
        (true, false) if second == 0 => Some(encoding_rs::UTF_16BE),
        _ => None,
    }
}

struct Types<'a> {
    layout: &'a CsvLayout,
    dialect: Dialect,
    nulls: NullTexts,
    limit: usize,
    seen: Vec<TextSeen>,
    /// Bytes of the records seen.
    bytes: u64,
    index: Index,
}

impl<'a> Types<'a> {
    fn new(layout: &'a CsvLayout, options: &ReadOptions) -> Self {
        Self {
            layout,
            dialect: Dialect::of(layout, options.csv.ragged == crate::options::Ragged::Pad),
            nulls: NullTexts::new(&options.csv.null_values),
            limit: options.csv.infer_rows.max(1),
            seen: vec![TextSeen::default(); layout.columns.len()],
            bytes: 0,
            index: Index::default(),
        }
    }

    fn see(&mut self, text: &[u8], from_row: usize) {
        for (column, seen) in self.seen.iter_mut().enumerate() {
            let cells = CsvCells { data: text, index: &self.index, column, dialect: &self.dialect, nulls: &self.nulls };
            for row in from_row..cells.rows() {
                match cells.cell(row) {
                    Cell::Text(text) => seen.see(text),
                    Cell::Owned(text) => seen.see(&text),
                    Cell::Null | Cell::Malformed => {}
                }
            }
        }
    }

    /// Rows seen.
    fn see_head(&mut self, text: &[u8], whole: bool) -> u64 {
        let columns = self.layout.columns.len();
        let mut at = skip_lines(text, self.layout.skip_lines, self.layout.terminator);
        if self.layout.header {
            at += header_length(&text[at..], &self.dialect, whole);
        }
        // When the sample is the whole file, all of it is looked at: it costs nothing and leaves no surprises.
        let limit = if whole { usize::MAX } else { self.limit };
        scan(&text[at..], &self.dialect, Some(columns), limit, whole, &mut self.index);
        let rest = &text[at..];
        self.see(rest, 0);
        self.bytes = self.index.consumed as u64;
        (self.index.rows() + self.index.odd.iter().filter(|odd| odd.fields > 0).count()) as u64
    }

    /// A part of the file that begins anywhere. It counts only if everything in it looks like whole records: a cut inside quotes shows
    /// itself by a wrong number of fields, mostly: the rest of a field of several lines may pass for a record, so the first ones
    /// are left out.
    fn see_window(&mut self, bytes: &[u8]) {
        let Some(first) = memchr::memchr(self.layout.terminator, bytes) else { return };
        let text = &bytes[first + 1..];
        if self.layout.columns.len() < 2 {
            return;
        }
        scan(text, &self.dialect, Some(self.layout.columns.len()), self.limit, false, &mut self.index);
        if self.index.odd.is_empty() {
            self.see(text, SETTLING);
        }
    }
}

/// Bytes up to the end of the header record, comments and blank lines before it included.
pub(crate) fn header_length(text: &[u8], dialect: &Dialect, at_end: bool) -> usize {
    let mut index = Index::default();
    let mut at = 0;
    while at < text.len() {
        scan(&text[at..], dialect, None, 1, at_end, &mut index);
        if index.consumed == 0 {
            return text.len();
        }
        at += index.consumed;
        if index.odd.iter().any(|odd| odd.fields > 0) {
            break;
        }
    }
    at
}
