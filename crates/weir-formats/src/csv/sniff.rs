//! Finds out a CSV file's dialect from its first records.

use weir_error::{Error, Kind, Result};

use crate::columns::Cell;
use crate::csv::layout::CsvLayout;
use crate::csv::scan::{Dialect, Fault, Index, NullTexts, cell, scan};
use crate::format::{Compression, Format};
use crate::inference::TextSeen;
use crate::options::{CsvOptions, Decimals, Header};

/// The first bytes of a file as UTF-8 text, byte order mark removed.
pub(crate) struct Sample {
    pub(crate) text: Vec<u8>,
    /// The sample is the whole file.
    pub(crate) whole: bool,
    pub(crate) compression: Compression,
    pub(crate) encoding: &'static encoding_rs::Encoding,
}

/// Records looked at for the dialect.
const LOOK_AT: usize = 500;

/// Skips lines without looking at quotes.
pub(crate) fn skip_lines(text: &[u8], lines: usize, terminator: u8) -> usize {
    let mut at = 0;
    for _ in 0..lines {
        match memchr::memchr(terminator, &text[at..]) {
            Some(found) => at += found + 1,
            None => return text.len(),
        }
    }
    at
}

fn single_byte(option: &'static str, value: &str) -> Result<u8> {
    match value {
        "\\t" | "tab" => Ok(b'\t'),
        _ => match value.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
            _ => Err(Error::new("WEIR-FMT-014", Kind::Spec, format!("`{option}` must be one ASCII character, not `{value}`"))
                .hint("for a tab write \"\\t\"")),
        },
    }
}

/// Decides dialect, header and column names, and says in `notes` what was decided by looking.
pub(crate) fn sniff(sample: &Sample, options: &CsvOptions, format: Format, notes: &mut Vec<String>) -> Result<CsvLayout> {
    let terminator = if memchr::memchr(b'\n', &sample.text).is_some() || memchr::memchr(b'\r', &sample.text).is_none() {
        b'\n'
    } else {
        notes.push("lines end with \\r".into());
        b'\r'
    };
    let text = &sample.text[skip_lines(&sample.text, options.skip_lines, terminator)..];
    let comment = options.comment.as_deref().map(|c| single_byte("comment", c)).transpose()?;
    let escape = options.escape.as_deref().map(|c| single_byte("escape", c)).transpose()?;
    let mut dialect = Dialect { delimiter: b',', terminator, quote: Some(b'"'), escape, comment, pad: false };

    let given = match (&options.delimiter, format) {
        (Some(delimiter), _) => Some(single_byte("delimiter", delimiter)?),
        (None, Format::Tsv) => Some(b'\t'),
        (None, _) => None,
    };
    match options.quote.as_deref() {
        Some("") => dialect.quote = None,
        Some(quote) => dialect.quote = Some(single_byte("quote", quote)?),
        None => {
            if only_single_quotes(text, given) {
                dialect.quote = Some(b'\'');
                notes.push("quote `'`".into());
            }
        }
    }
    dialect.delimiter = match given {
        Some(delimiter) => delimiter,
        None => {
            let found = find_delimiter(text, dialect, sample.whole);
            if found != b',' {
                notes.push(format!("delimiter `{}`", (found as char).escape_default()));
            }
            found
        }
    };
    if Some(dialect.delimiter) == dialect.quote {
        return Err(Error::new("WEIR-FMT-014", Kind::Spec, "delimiter and quote are the same character"));
    }

    let records = first_records(text, &dialect, LOOK_AT, sample.whole);
    let (header, columns) = name_columns(&records, text, &dialect, options, notes)?;
    Ok(CsvLayout {
        compression: sample.compression,
        encoding: sample.encoding.name().to_owned(),
        delimiter: dialect.delimiter,
        quote: dialect.quote,
        escape,
        comment,
        terminator,
        skip_lines: options.skip_lines,
        header,
        columns,
    })
}

/// Start, end and number of fields of the first records; comments and blank lines left out.
fn first_records(text: &[u8], dialect: &Dialect, limit: usize, whole: bool) -> Vec<(usize, usize, usize)> {
    let mut index = Index::default();
    let mut records = Vec::new();
    let mut at = 0;
    while at < text.len() && records.len() < limit {
        scan(&text[at..], dialect, None, limit, whole, &mut index);
        if index.consumed == 0 {
            break;
        }
        for odd in index.odd.iter().filter(|odd| odd.fields > 0 && odd.fault != Fault::Unclosed) {
            records.push((at + odd.start as usize, at + odd.end as usize, odd.fields as usize));
        }
        at += index.consumed;
    }
    // One record that is longer than the sample is still a record to look at.
    if records.is_empty() && !text.is_empty() {
        scan(text, dialect, None, 1, true, &mut index);
        for odd in index.odd.iter().filter(|odd| odd.fields > 0) {
            records.push((odd.start as usize, odd.end as usize, odd.fields as usize));
        }
    }
    records
}

fn only_single_quotes(text: &[u8], delimiter: Option<u8>) -> bool {
    let is_edge = |byte: Option<&u8>| match (byte, delimiter) {
        (None | Some(b'\n' | b'\r'), _) => true,
        (Some(byte), Some(delimiter)) => *byte == delimiter,
        (Some(byte), None) => b",;\t|".contains(byte),
    };
    let (mut opens, mut closes) = (0, 0);
    for at in memchr::memchr2_iter(b'\'', b'"', text) {
        let before = if at == 0 { None } else { text.get(at - 1) };
        let (open, close) = (is_edge(before), is_edge(text.get(at + 1)));
        if text[at] == b'"' && (open || close) {
            return false;
        }
        if text[at] == b'\'' {
            opens += usize::from(open);
            closes += usize::from(close);
        }
    }
    opens > 1 && opens == closes
}

fn find_delimiter(text: &[u8], dialect: Dialect, whole: bool) -> u8 {
    let mut best = (0.0f64, 0usize, b',');
    for delimiter in [b',', b'\t', b';', b'|'] {
        let records = first_records(text, &Dialect { delimiter, ..dialect }, LOOK_AT, whole);
        let Some((count, share)) = most_common(records.iter().map(|record| record.2)) else { continue };
        if count < 2 {
            continue;
        }
        // All commas between digits, and another delimiter that fits as well: decimal commas.
        if delimiter == b',' && share > 0.0 && all_commas_are_decimal(text) {
            continue;
        }
        if share > best.0 + 1e-9 || (share > best.0 - 1e-9 && count > best.1) {
            best = (share, count, delimiter);
        }
    }
    if best.1 == 0 && most_common(first_records(text, &dialect, LOOK_AT, whole).iter().map(|r| r.2)).is_some_and(|m| m.0 > 1) {
        return b',';
    }
    best.2
}

fn all_commas_are_decimal(text: &[u8]) -> bool {
    let digit = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_digit);
    memchr::memchr_iter(b',', text).all(|at| digit(at.checked_sub(1)) && digit(Some(at + 1)))
        && [b';', b'\t', b'|'].iter().any(|other| memchr::memchr(*other, text).is_some())
}

/// The most common count and its share.
fn most_common(counts: impl Iterator<Item = usize>) -> Option<(usize, f64)> {
    let mut seen = std::collections::BTreeMap::<usize, usize>::new();
    let mut total = 0;
    for count in counts {
        *seen.entry(count).or_default() += 1;
        total += 1;
    }
    let (count, times) = seen.into_iter().max_by_key(|(count, times)| (*times, *count))?;
    Some((count, times as f64 / total as f64))
}

fn values(record: (usize, usize, usize), text: &[u8], dialect: &Dialect) -> Vec<Option<Vec<u8>>> {
    let slice = &text[record.0..record.1];
    let mut index = Index::default();
    scan(slice, &Dialect { comment: None, ..*dialect }, Some(record.2), 1, true, &mut index);
    let nulls = NullTexts::default();
    (0..record.2)
        .map(|column| {
            let cells = crate::csv::scan::CsvCells { data: slice, index: &index, column, dialect, nulls: &nulls };
            if index.rows() == 0 {
                return None;
            }
            match cell(cells.raw(0), dialect, &nulls) {
                Cell::Text(text) => Some(text.to_vec()),
                Cell::Owned(text) => Some(text),
                Cell::Null | Cell::Malformed => None,
            }
        })
        .collect()
}

fn name_columns(
    records: &[(usize, usize, usize)],
    text: &[u8],
    dialect: &Dialect,
    options: &CsvOptions,
    notes: &mut Vec<String>,
) -> Result<(bool, Vec<String>)> {
    let Some(&first) = records.first() else {
        // Nothing in the file (or only comments): the names are what the user says.
        return Ok((options.header == Header::Present, options.columns.clone().unwrap_or_default()));
    };
    let head = values(first, text, dialect);
    let header = match options.header {
        Header::Present => true,
        Header::Absent => false,
        Header::Auto => {
            let rest: Vec<_> = records[1..].iter().take(50).map(|record| values(*record, text, dialect)).collect();
            let found = match &options.columns {
                // The names are given: a header is there if it says the same.
                Some(names) => names.iter().map(|n| Some(n.as_bytes().to_vec())).eq(head.iter().cloned()),
                None => looks_like_header(&head, &rest),
            };
            notes.push(if found { "first record is a header" } else { "no header" }.into());
            found
        }
    };
    let body = if header { &records[1..] } else { records };
    let common = most_common(body.iter().map(|record| record.2));
    let width = match (header, common) {
        (true, _) => first.2,
        (false, Some((count, _))) => count,
        (false, None) => first.2,
    };
    let names = match &options.columns {
        Some(names) => {
            if names.len() != width {
                return Err(Error::new(
                    "WEIR-FMT-023",
                    Kind::Spec,
                    format!("`columns` names {} columns but the file has {width}", names.len()),
                ));
            }
            names.clone()
        }
        None if header => head.iter().map(|name| String::from_utf8_lossy(name.as_deref().unwrap_or(b"")).into_owned()).collect(),
        None => vec![String::new(); width],
    };
    if let Some((count, share)) = common.filter(|(count, share)| header && *count != width && *share > 0.5 && body.len() > 2) {
        return Err(Error::new(
            "WEIR-FMT-024",
            Kind::Data,
            format!("the header names {width} columns but {:.0} % of the records looked at have {count}", share * 100.0),
        )
        .hint("set `delimiter`, `quote` or `skip_lines`; or `header: absent` with `columns`"));
    }
    Ok((header, unique_names(names)))
}

/// An empty name becomes `column_N`, a repeated one gets `_2`, `_3`, … (the first that is free).
pub(crate) fn unique_names(names: Vec<String>) -> Vec<String> {
    let given: std::collections::HashSet<String> = names.iter().cloned().collect();
    let mut taken = std::collections::HashSet::new();
    names
        .into_iter()
        .enumerate()
        .map(|(at, name)| {
            let base = if name.is_empty() { format!("column_{}", at + 1) } else { name };
            let mut candidate = base.clone();
            let mut number = 2;
            while taken.contains(&candidate) || (candidate != base && given.contains(&candidate)) {
                candidate = format!("{base}_{number}");
                number += 1;
            }
            taken.insert(candidate.clone());
            candidate
        })
        .collect()
}

/// A first record is a header if none of its values is a number, date or truth value, it has no repeated or empty
/// middle, and it either stands above values of other types or reads like names.
fn looks_like_header(head: &[Option<Vec<u8>>], rest: &[Vec<Option<Vec<u8>>>]) -> bool {
    let is_text = |value: &[u8]| {
        let mut seen = TextSeen::default();
        seen.see(value);
        seen.data_type(Decimals::Float) == arrow::datatypes::DataType::Utf8 && !value.first().is_some_and(u8::is_ascii_digit)
    };
    if head.iter().all(Option::is_none) || !head.iter().flatten().all(|value| is_text(value)) {
        return false;
    }
    let typed_below = (0..head.len()).any(|column| {
        let mut seen = TextSeen::default();
        for value in rest.iter().filter_map(|record| record.get(column)).flatten() {
            seen.see(value);
        }
        !seen.empty() && seen.data_type(Decimals::Float) != arrow::datatypes::DataType::Utf8
    });
    if typed_below {
        return true;
    }
    let mut names: Vec<&[u8]> = head.iter().flatten().map(Vec::as_slice).collect();
    let like_names = names.iter().all(|name| {
        name.len() <= 64
            && name.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_' || *b >= 0x80)
            && name.iter().all(|b| b.is_ascii_alphanumeric() || b"_ -./()%#".contains(b) || *b >= 0x80)
    });
    names.sort_unstable();
    let before = names.len();
    names.dedup();
    // A value that comes again below is data.
    let repeated = rest.iter().any(|record| record.iter().zip(head).any(|(value, name)| value.is_some() && value == name));
    like_names && names.len() == before && !repeated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> (String, Option<char>, bool, Vec<String>) {
        look_with(text, CsvOptions::default(), Format::Csv).unwrap()
    }

    fn look_with(text: &str, options: CsvOptions, format: Format) -> Result<(String, Option<char>, bool, Vec<String>)> {
        let sample =
            Sample { text: text.as_bytes().to_vec(), whole: true, compression: Compression::None, encoding: encoding_rs::UTF_8 };
        let layout = sniff(&sample, &options, format, &mut Vec::new())?;
        Ok(((layout.delimiter as char).to_string(), layout.quote.map(char::from), layout.header, layout.columns))
    }

    #[test]
    fn dialects_are_found() {
        for (text, delimiter, quote, header, columns) in [
            ("a,b\n1,2\n", ",", '"', true, &["a", "b"][..]),
            ("a;b\n1,5;2,5\n", ";", '"', true, &["a", "b"]),
            ("1,5;2,5\n3,5;4,5\n", ";", '"', false, &["column_1", "column_2"]),
            ("1,a;x,3\n2,b;y,4\n", ",", '"', false, &["column_1", "column_2", "column_3"]),
            ("a\tb, c\n1\t2\n", "\t", '"', true, &["a", "b, c"]),
            ("id|name\n1|x\n2|y\n", "|", '"', true, &["id", "name"]),
            ("id,note\n1,\"a;b;c\"\n2,\"d;e\"\n", ",", '"', true, &["id", "note"]),
            ("id,'na,me'\n1,'x,y'\n2,'it''s'\n", ",", '\'', true, &["id", "na,me"]),
            ("name,quote\nBob,it's\nEve,rock 'n' roll\n", ",", '"', true, &["name", "quote"]),
            ("name\nalice\nbob\n", ",", '"', true, &["name"]),
            ("1\n2\n", ",", '"', false, &["column_1"]),
            ("alice,bob\nalice,dave\n", ",", '"', false, &["column_1", "column_2"]),
            ("first name,e-mail\nalice,a@x.org\n", ",", '"', true, &["first name", "e-mail"]),
            ("a,b\r1,2\r3,4\r", ",", '"', true, &["a", "b"]),
            ("a,b\r\n1,2\r\n", ",", '"', true, &["a", "b"]),
            ("a,,a,a_2\n1,2,3,4\n", ",", '"', true, &["a", "column_2", "a_3", "a_2"]),
            ("a,b", ",", '"', true, &["a", "b"]),
            ("2024,x\n2025,y\n", ",", '"', false, &["column_1", "column_2"]),
        ] {
            let (d, q, h, c) = look(text);
            assert_eq!((d.as_str(), q, h), (delimiter, Some(quote), header), "{text:?}");
            assert_eq!(c, columns, "{text:?}");
        }
        assert_eq!(look("").3, Vec::<String>::new());
    }

    #[test]
    fn options_win_over_looking() {
        let options = CsvOptions {
            delimiter: Some("\\t".into()),
            quote: Some(String::new()),
            header: Header::Absent,
            skip_lines: 1,
            columns: Some(vec!["x".into(), "y".into()]),
            ..CsvOptions::default()
        };
        let found = look_with("made by \"x\nid\t\"a\n1\t2\n", options, Format::Csv).unwrap();
        assert_eq!(found, ("\t".into(), None, false, vec!["x".into(), "y".into()]));
        for options in [
            CsvOptions { delimiter: Some("ab".into()), ..CsvOptions::default() },
            CsvOptions { quote: Some(",".into()), delimiter: Some(",".into()), ..CsvOptions::default() },
        ] {
            assert_eq!(look_with("a,b\n", options, Format::Csv).unwrap_err().code(), "WEIR-FMT-014");
        }
        let options = CsvOptions { columns: Some(vec!["x".into()]), ..CsvOptions::default() };
        assert_eq!(look_with("1,2\n", options, Format::Csv).unwrap_err().code(), "WEIR-FMT-023");
    }

    #[test]
    fn a_header_that_does_not_fit_its_records_is_refused() {
        let error = look_with("a,b\n1,2,3\n4,5,6\n7,8,9\n", CsvOptions::default(), Format::Csv).unwrap_err();
        assert_eq!(error.code(), "WEIR-FMT-024");
    }
}
