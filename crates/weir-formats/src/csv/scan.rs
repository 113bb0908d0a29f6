//! Finds records and fields in CSV bytes. One pass over 64-byte blocks makes bit masks of the structural bytes; a small state
//! machine walks only those.
//!
//! A quote opens a quoted field only as the field's first byte; elsewhere in a field that does not begin with a quote it is an
//! ordinary character. Inside quotes a doubled quote (or an escaped one) stands for itself, delimiters and line ends are data.

use crate::columns::Cell;
use crate::csv::layout::CsvLayout;

/// The bytes that matter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) terminator: u8,
    pub(crate) quote: Option<u8>,
    pub(crate) escape: Option<u8>,
    pub(crate) comment: Option<u8>,
    /// Short records are filled up with empty fields.
    pub(crate) pad: bool,
}

impl Dialect {
    pub(crate) fn of(layout: &CsvLayout, pad: bool) -> Self {
        Self {
            delimiter: layout.delimiter,
            terminator: layout.terminator,
            quote: layout.quote,
            escape: layout.escape.filter(|escape| layout.quote != Some(*escape)),
            comment: layout.comment,
            pad,
        }
    }
}

/// A record that does not have the right number of fields, or a comment or blank line (`fields` = 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Odd {
    /// How many good records come before it.
    pub(crate) before: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) fields: u32,
    pub(crate) fault: Fault,
}

/// What is odd about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The number of fields.
    Fields,
    /// A quote is open at the end of the file.
    Unclosed,
    /// It is not valid UTF-8.
    Encoding,
}

/// Where the records of a chunk are.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Per good record: its start minus one (wrapping), then the end of each field.
    pub(crate) marks: Vec<u32>,
    /// Fields per record, plus one.
    pub(crate) stride: usize,
    /// Records with another number of fields, in order.
    pub(crate) odd: Vec<Odd>,
    /// Bytes that belong to whole records; the rest waits for more.
    pub(crate) consumed: usize,
}

impl Index {
    pub(crate) fn rows(&self) -> usize {
        self.marks.len().checked_div(self.stride).unwrap_or(0)
    }

    /// Bytes of a good record without its line end.
    pub(crate) fn record(&self, row: usize) -> (usize, usize) {
        let first = self.marks[row * self.stride].wrapping_add(1) as usize;
        (first, self.marks[row * self.stride + self.stride - 1] as usize)
    }

    /// Moves good records that are not valid UTF-8 to the odd ones.
    pub(crate) fn reject_invalid(&mut self, data: &[u8]) {
        let rows = self.rows();
        let stride = self.stride;
        let mut odd = std::mem::take(&mut self.odd).into_iter().peekable();
        let mut merged = Vec::new();
        let mut kept = 0;
        for row in 0..rows {
            while let Some(other) = odd.next_if(|other| other.before as usize <= row) {
                merged.push(Odd { before: kept as u32, ..other });
            }
            let (start, end) = self.record(row);
            if simdutf8::basic::from_utf8(&data[start..end]).is_ok() {
                self.marks.copy_within(row * stride..(row + 1) * stride, kept * stride);
                kept += 1;
            } else {
                let fields = (stride - 1) as u32;
                merged.push(Odd { before: kept as u32, start: start as u32, end: end as u32, fields, fault: Fault::Encoding });
            }
        }
        merged.extend(odd.map(|other| Odd { before: kept as u32, ..other }));
        for other in merged.iter_mut().filter(|other| other.fields > 0) {
            if simdutf8::basic::from_utf8(&data[other.start as usize..other.end as usize]).is_err() {
                other.fault = Fault::Encoding;
            }
        }
        self.odd = merged;
        self.marks.truncate(kept * stride);
    }
}

/// Bit masks of 64 bytes.
#[derive(Clone, Copy)]
struct Masks {
    delimiter: u64,
    terminator: u64,
    quote: u64,
    escape: u64,
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unsafe_code)]
fn masks(block: &[u8; 64], dialect: &Dialect) -> Masks {
    // SAFETY: SSE2 is part of x86_64; the function needs nothing else.
    unsafe { masks_sse2(block, dialect) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn masks_sse2(block: &[u8; 64], dialect: &Dialect) -> Masks {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    // Written with safe parts, these compile to plain vector loads.
    let half = |at: usize| -> i64 {
        let mut bytes = [0u8; 8];
        bytes.copy_from_slice(&block[at..at + 8]);
        i64::from_le_bytes(bytes)
    };
    let load = |at: usize| -> __m128i { _mm_set_epi64x(half(at + 8), half(at)) };
    let lanes = [load(0), load(16), load(32), load(48)];
    let equal = |byte: u8| -> u64 {
        let wanted = _mm_set1_epi8(byte as i8);
        let bits = |lane: __m128i| u64::from(_mm_movemask_epi8(_mm_cmpeq_epi8(lane, wanted)) as u32);
        bits(lanes[0]) | bits(lanes[1]) << 16 | bits(lanes[2]) << 32 | bits(lanes[3]) << 48
    };
    Masks {
        delimiter: equal(dialect.delimiter),
        terminator: equal(dialect.terminator),
        quote: dialect.quote.map_or(0, equal),
        escape: dialect.escape.map_or(0, equal),
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn masks(block: &[u8; 64], dialect: &Dialect) -> Masks {
    let equal = |byte: u8| -> u64 {
        let mut bits = 0;
        for (at, &b) in block.iter().enumerate() {
            bits |= u64::from(b == byte) << at;
        }
        bits
    };
    Masks {
        delimiter: equal(dialect.delimiter),
        terminator: equal(dialect.terminator),
        quote: dialect.quote.map_or(0, equal),
        escape: dialect.escape.map_or(0, equal),
    }
}

/// What the walk over structural bytes is in the middle of.
struct Walk<'a> {
    data: &'a [u8],
    terminator: u8,
    comment: Option<u8>,
    /// Expected marks per record; 0 = any number, records go to `odd` only.
    stride: usize,
    limit: usize,
    /// Short records are filled up with empty fields.
    pad: bool,
    index: &'a mut Index,
    rows: u32,
    /// Where the current record's marks begin.
    base: usize,
    record_start: u32,
    field_start: u32,
    quoted: bool,
    /// Position of the quote that closed the current field.
    closed_at: u32,
    /// A byte that an escape has made ordinary.
    escaped_at: u32,
    full: bool,
}

impl Walk<'_> {
    #[inline(always)]
    fn field(&mut self, at: u32) {
        self.index.marks.push(at);
        self.field_start = at + 1;
    }

    #[inline(always)]
    fn record(&mut self, at: u32, next: u32, unclosed: bool) {
        let mut end = at;
        if self.terminator == b'\n' && end > self.record_start && self.data[end as usize - 1] == b'\r' {
            end -= 1;
        }
        self.index.marks.push(end);
        let mut count = self.index.marks.len() - self.base;
        let first = self.data.get(self.record_start as usize).copied();
        let fault = if unclosed { Fault::Unclosed } else { Fault::Fields };
        let is_comment = self.comment.is_some() && first == self.comment && end > self.record_start;
        let blank = end == self.record_start && self.stride != 2;
        if self.pad && count < self.stride && !is_comment && !unclosed && !blank {
            self.index.marks.resize(self.base + self.stride, end);
            count = self.stride;
        }
        if count == self.stride && !is_comment && !unclosed && !blank {
            self.base = self.index.marks.len();
            self.rows += 1;
        } else {
            self.index.marks.truncate(self.base);
            let before = self.rows;
            let fields = if is_comment || blank { 0 } else { (count - 1) as u32 };
            self.index.odd.push(Odd { before, start: self.record_start, end, fields, fault });
        }
        self.index.consumed = next as usize;
        self.record_start = next;
        self.field_start = next;
        self.quoted = false;
        if self.rows as usize + self.index.odd.len() >= self.limit {
            self.full = true;
        } else {
            self.index.marks.push(next.wrapping_sub(1));
        }
    }

    /// A block in which nothing is quoted.
    #[inline(always)]
    fn plain_block(&mut self, offset: u32, masks: Masks) {
        let mut bits = masks.delimiter | masks.terminator;
        while bits != 0 {
            let bit = bits.trailing_zeros();
            bits &= bits - 1;
            let at = offset + bit;
            if masks.terminator >> bit & 1 == 0 {
                self.field(at);
            } else {
                self.record(at, at + 1, false);
                if self.full {
                    return;
                }
            }
        }
    }

    fn quoted_block(&mut self, offset: u32, masks: Masks) {
        let mut bits = masks.delimiter | masks.terminator | masks.quote | masks.escape;
        while bits != 0 {
            let bit = bits.trailing_zeros();
            bits &= bits - 1;
            let at = offset + bit;
            if self.escaped_at == at {
                continue;
            }
            if masks.quote >> bit & 1 == 1 {
                if self.quoted {
                    self.quoted = false;
                    self.closed_at = at;
                } else if at == self.field_start || (at == self.closed_at.wrapping_add(1) && at > self.field_start) {
                    self.quoted = true;
                }
            } else if self.quoted {
                if masks.escape >> bit & 1 == 1 {
                    self.escaped_at = at + 1;
                }
            } else if masks.delimiter >> bit & 1 == 1 {
                self.field(at);
            } else if masks.terminator >> bit & 1 == 1 {
                self.record(at, at + 1, false);
                if self.full {
                    return;
                }
            }
        }
    }
}

/// Finds up to `limit` records in `data`, which begins at a record. Records with `columns` fields go to `marks`, all others (and
/// comments, and blank lines unless there is one column) to `odd`; with `columns` = `None` all go to `odd`, counted.
/// With `at_end`, the last record needs no line end.
///
/// `data` must be shorter than 4 GiB.
pub(crate) fn scan(data: &[u8], dialect: &Dialect, columns: Option<usize>, limit: usize, at_end: bool, index: &mut Index) {
    index.marks.clear();
    index.odd.clear();
    index.consumed = 0;
    let stride = columns.map_or(0, |count| count + 1);
    index.stride = stride;
    index.marks.push(u32::MAX);
    let mut walk = Walk {
        data,
        terminator: dialect.terminator,
        comment: dialect.comment,
        stride,
        limit: limit.max(1),
        pad: dialect.pad,
        index,
        rows: 0,
        base: 0,
        record_start: 0,
        field_start: 0,
        quoted: false,
        closed_at: u32::MAX - 1,
        escaped_at: u32::MAX,
        full: false,
    };
    let simple = dialect.comment.is_none();
    let (blocks, tail) = data.as_chunks::<64>();
    let mut offset = 0u32;
    for block in blocks {
        let found = masks(block, dialect);
        walk_block(&mut walk, offset, found, simple);
        if walk.full {
            return;
        }
        offset += 64;
    }
    if !tail.is_empty() {
        let mut block = [0u8; 64];
        block[..tail.len()].copy_from_slice(tail);
        let mut found = masks(&block, dialect);
        let valid = u64::MAX >> (64 - tail.len());
        found.delimiter &= valid;
        found.terminator &= valid;
        found.quote &= valid;
        found.escape &= valid;
        walk_block(&mut walk, offset, found, simple);
        if walk.full {
            return;
        }
    }
    let end = data.len() as u32;
    if at_end && end > walk.record_start {
        let unclosed = walk.quoted;
        walk.record(end, end, unclosed);
    }
    let base = walk.base;
    index.marks.truncate(base);
}

#[inline(always)]
fn walk_block(walk: &mut Walk<'_>, offset: u32, found: Masks, simple: bool) {
    // Quotes in a comment line mean nothing, but the walk finds out only at its end: comments take the careful way below.
    if simple && !walk.quoted && found.quote == 0 {
        walk.plain_block(offset, found);
    } else if simple {
        walk.quoted_block(offset, found);
    } else {
        careful_block(walk, offset, found);
    }
}

/// As `quoted_block`, and inside a comment line nothing but the line end counts.
#[cold]
fn careful_block(walk: &mut Walk<'_>, offset: u32, masks: Masks) {
    let mut bits = masks.delimiter | masks.terminator | masks.quote | masks.escape;
    while bits != 0 {
        let bit = bits.trailing_zeros();
        bits &= bits - 1;
        let only = |mask: u64| mask & (1 << bit);
        let in_comment = walk.data.get(walk.record_start as usize).copied() == walk.comment;
        let one = Masks {
            delimiter: if in_comment { 0 } else { only(masks.delimiter) },
            terminator: only(masks.terminator),
            quote: if in_comment { 0 } else { only(masks.quote) },
            escape: if in_comment { 0 } else { only(masks.escape) },
        };
        walk.quoted_block(offset, one);
        if walk.full {
            return;
        }
    }
}

/// Which texts are NULL.
#[derive(Debug, Clone, Default)]
pub(crate) struct NullTexts {
    texts: Vec<Vec<u8>>,
    /// Bit n: some text has length n (63 = 63 or longer).
    lengths: u64,
}

impl NullTexts {
    pub(crate) fn new(texts: &[String]) -> Self {
        let texts: Vec<Vec<u8>> = texts.iter().filter(|text| !text.is_empty()).map(|text| text.as_bytes().to_vec()).collect();
        let lengths = texts.iter().fold(0, |bits, text| bits | 1 << text.len().min(63));
        Self { texts, lengths }
    }

    #[inline(always)]
    fn contains(&self, raw: &[u8]) -> bool {
        self.lengths >> raw.len().min(63) & 1 == 1 && self.texts.iter().any(|text| text == raw)
    }
}

/// One column of a scanned chunk.
pub(crate) struct CsvCells<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) index: &'a Index,
    pub(crate) column: usize,
    pub(crate) dialect: &'a Dialect,
    pub(crate) nulls: &'a NullTexts,
}

impl CsvCells<'_> {
    /// The field as it stands in the file.
    #[inline(always)]
    pub(crate) fn raw(&self, row: usize) -> &[u8] {
        let at = row * self.index.stride + self.column;
        let pair = &self.index.marks[at..at + 2];
        // The padding of a short record begins behind its end: empty.
        self.data.get(pair[0].wrapping_add(1) as usize..pair[1] as usize).unwrap_or_default()
    }
}

impl CsvCells<'_> {
    #[inline(always)]
    pub(crate) fn rows(&self) -> usize {
        self.index.rows()
    }

    #[inline(always)]
    pub(crate) fn cell(&self, row: usize) -> Cell<'_> {
        cell(self.raw(row), self.dialect, self.nulls)
    }
}

/// The value of a field as it stands in the file.
#[inline(always)]
pub(crate) fn cell<'a>(raw: &'a [u8], dialect: &Dialect, nulls: &NullTexts) -> Cell<'a> {
    let Some(&first) = raw.first() else { return Cell::Null };
    if nulls.contains(raw) {
        return Cell::Null;
    }
    if Some(first) == dialect.quote { unquote(raw, first, dialect.escape) } else { Cell::Text(raw) }
}

/// Takes a field out of its quotes. Text behind the closing quote, and an escape before anything but quote, escape or a
/// letter that it commonly precedes, make no sense… the escape simply makes the next byte literal.
#[inline]
fn unquote(raw: &[u8], quote: u8, escape: Option<u8>) -> Cell<'_> {
    let inner = &raw[1..];
    let first = match escape {
        Some(escape) => memchr::memchr2(quote, escape, inner),
        None => memchr::memchr(quote, inner),
    };
    match first {
        Some(at) if at + 1 == inner.len() && inner[at] == quote => return Cell::Text(&inner[..at]),
        None => return Cell::Malformed,
        _ => {}
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut at = 0;
    while at < inner.len() {
        let byte = inner[at];
        if byte == quote {
            if at + 1 == inner.len() {
                return Cell::Owned(out);
            }
            if inner[at + 1] != quote {
                return Cell::Malformed;
            }
            out.push(quote);
            at += 2;
        } else if Some(byte) == escape && at + 1 < inner.len() {
            out.push(inner[at + 1]);
            at += 2;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    Cell::Malformed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Dialect =
        Dialect { delimiter: b',', terminator: b'\n', quote: Some(b'"'), escape: None, comment: None, pad: false };

    /// Records as values, straight from the definition, byte by byte.
    fn reference(data: &[u8], quote: u8) -> (Vec<Vec<Vec<u8>>>, bool) {
        let mut records: Vec<Vec<Vec<u8>>> = Vec::new();
        let (mut record, mut field): (Vec<Vec<u8>>, Vec<u8>) = Default::default();
        let mut at = 0;
        let mut quoted = false;
        let mut reopens_at = usize::MAX;
        while at < data.len() {
            let byte = data[at];
            if quoted {
                field.push(byte);
                if byte == quote {
                    quoted = false;
                    reopens_at = at + 1;
                }
            } else if byte == quote && (field.is_empty() || at == reopens_at) {
                quoted = true;
                field.push(byte);
            } else if byte == b',' {
                record.push(std::mem::take(&mut field));
            } else if byte == b'\n' {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            } else {
                field.push(byte);
            }
            at += 1;
        }
        if !field.is_empty() || !record.is_empty() {
            record.push(field);
            records.push(record);
        }
        for record in &mut records {
            if let Some(last) = record.last_mut().filter(|last| last.last() == Some(&b'\r')) {
                last.pop();
            }
        }
        (records, quoted)
    }

    fn scanned(data: &[u8], columns: usize) -> Vec<(usize, Vec<Vec<u8>>)> {
        let mut index = Index::default();
        scan(data, &PLAIN, Some(columns), usize::MAX, true, &mut index);
        assert_eq!(index.consumed, data.len());
        let nulls = NullTexts::default();
        let mut records: Vec<(usize, Vec<Vec<u8>>)> = Vec::new();
        for row in 0..index.rows() {
            let fields = (0..columns)
                .map(|column| CsvCells { data, index: &index, column, dialect: &PLAIN, nulls: &nulls }.raw(row).to_vec())
                .collect();
            records.push((index.record(row).0, fields));
        }
        for odd in &index.odd {
            records.push((odd.start as usize, vec![data[odd.start as usize..odd.end as usize].to_vec(); odd.fields as usize]));
        }
        records.sort_by_key(|record| record.0);
        records
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_fast_walk_agrees_with_the_definition(text in "[ab,\"\n\r]{0,200}") {
            let data = text.as_bytes();
            let (expected, unclosed) = reference(data, b'"');
            let found = scanned(data, 3);
            prop_assert_eq!(found.len(), expected.len());
            for (at, ((_, found), wanted)) in found.iter().zip(&expected).enumerate() {
                if *wanted == [b""] {
                    prop_assert!(found.is_empty());
                } else if wanted.len() == 3 && !(unclosed && at + 1 == expected.len()) {
                    prop_assert_eq!(found, wanted);
                } else {
                    prop_assert_eq!(found.len(), wanted.len());
                }
            }
        }
    }

    fn value(raw: &str, escape: Option<u8>) -> Option<String> {
        let dialect = Dialect { escape, ..PLAIN };
        match cell(raw.as_bytes(), &dialect, &NullTexts::new(&["NA".into()])) {
            Cell::Null => Some("<null>".into()),
            Cell::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
            Cell::Owned(text) => Some(String::from_utf8(text).unwrap()),
            Cell::Malformed => None,
        }
    }

    #[test]
    fn fields_lose_their_quotes_and_only_those() {
        for (raw, expected) in [
            ("", Some("<null>")),
            ("\"\"", Some("")),
            ("NA", Some("<null>")),
            ("\"NA\"", Some("NA")),
            ("\"a\"\"b\"", Some("a\"b")),
            ("\"\"\"\"", Some("\"")),
            ("a\"b\"", Some("a\"b\"")),
            ("\"a\"b", None),
            ("\"a", None),
            ("\"a\"\"", None),
        ] {
            assert_eq!(value(raw, None).as_deref(), expected, "{raw}");
        }
        assert_eq!(value(r#""a\"b\\c""#, Some(b'\\')).as_deref(), Some(r#"a"b\c"#));
        assert_eq!(value(r#""a\""#, Some(b'\\')), None);
    }

    #[test]
    fn comments_hide_quotes_and_escapes_hide_quotes() {
        let mut index = Index::default();
        let dialect = Dialect { comment: Some(b'#'), ..PLAIN };
        scan(b"#it,\"s\n1,2\n#\n3,\"#\n\"\n", &dialect, Some(2), usize::MAX, true, &mut index);
        assert_eq!((index.rows(), index.odd.len()), (2, 2));
        assert!(index.odd.iter().all(|odd| odd.fields == 0));
        let dialect = Dialect { escape: Some(b'\\'), ..PLAIN };
        scan(b"\"a\\\"\n,\",2\n\"\\\\\",4\n", &dialect, Some(2), usize::MAX, true, &mut index);
        assert_eq!((index.rows(), index.odd.len()), (2, 0));
    }

    #[test]
    fn a_limit_stops_at_a_record() {
        let mut index = Index::default();
        scan(b"1,2\n3,4\n5,6\n", &PLAIN, Some(2), 2, true, &mut index);
        assert_eq!((index.rows(), index.consumed), (2, 8));
        scan(b"1,2\n3,4\n5,6", &PLAIN, Some(2), 10, false, &mut index);
        assert_eq!((index.rows(), index.consumed), (2, 8));
    }
}
